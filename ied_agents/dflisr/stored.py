"""What an agent must not forget, as one immutable record and its JSON form.

The agent changes the record in memory, hands each version to the writer, and publishes promises, claims and
reservations only from the last version that is known to be on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG
from ied_agents.dflisr.capacity import Entry
from ied_agents.dflisr.records import (
    NO_CLAIM,
    NO_EVENT,
    Bound,
    ClaimId,
    EventId,
    Reservation,
    SectionState,
)
from ied_agents.documents import JsonObject
from scl.agent_model import RESERVATIONS

EVENT_BLOCK: Final = 64
"""Event counters are reserved on disk in blocks, so that a declaration never waits for the disk."""

_UINT16: Final = 0xFFFF
_UINT32: Final = 0xFFFF_FFFF
_EVENT: Final = (_UINT16, _UINT32)
_CLAIM: Final = (0xFF, _UINT32, _UINT16)
CLEARED_KEPT: Final = 128
"""So many cleared event ids are remembered; the newest few are published."""
CLOCK_LIMIT_S: Final = 0xF000_0000
"""A clock beyond the year 2097 is wrong; incarnations and counters must fit 32 bits."""


class StoredRecordError(ValueError):
    """A stored record that this version cannot read; names the member and what was expected."""


@dataclass(frozen=True, slots=True)
class StoredSide:
    """What one side's section is held for, whether that side is locked, and an own clear request."""

    section: SectionState = SectionState.NONE
    event: EventId = NO_EVENT
    locked: bool = False
    clear_event: EventId = NO_EVENT


@dataclass(frozen=True, slots=True)
class Record:
    """Durable state of one agent.

    Attributes:
        incarnation: of the running, or last running, process.
        events_reserved: event counters up to here may have been used.
        claim_number: highest claim number used by this agent.
        sides: flags, locks, clear requests.
        cleared: event ids cleared, newest last, at most ``CLEARED_KEPT``.
        promises, claims: per side.
        reservations: capacity handed out.
        held: held against every close until an operator confirms.
        tags: ``WORK_TAG`` and ``HOT_LINE_TAG`` of ``control.decision``.
        clean: the last process stopped in order.
    """

    incarnation: int = 0
    events_reserved: int = 0
    claim_number: int = 0
    sides: tuple[StoredSide, StoredSide] = (StoredSide(), StoredSide())
    cleared: tuple[EventId, ...] = ()
    promises: tuple[ClaimId, ClaimId] = (NO_CLAIM, NO_CLAIM)
    claims: tuple[ClaimId, ClaimId] = (NO_CLAIM, NO_CLAIM)
    reservations: tuple[Entry, ...] = ()
    held: bool = True
    tags: int = 0
    clean: bool = False

    def started(self, clock_s: int) -> Record:
        """The record of a new process, to be on disk before its first frame.

        A new incarnation, the larger of last + 1 and the clock's seconds, and a fresh block of event counters.
        """
        return replace(
            self,
            incarnation=max(self.incarnation + 1, min(clock_s, CLOCK_LIMIT_S)),
            # From the clock too: after a replaced disk no id comes twice.
            events_reserved=max(self.events_reserved, min(clock_s, CLOCK_LIMIT_S)) + EVENT_BLOCK,
            clean=False,
        )


COMMISSIONED: Final = Record(held=False, clean=True)
"""The record an operator creates when he takes a new agent into service."""


def to_json(record: Record) -> dict[str, Any]:
    """JSON form of a record."""
    return {
        "incarnation": record.incarnation,
        "events_reserved": record.events_reserved,
        "claim_number": record.claim_number,
        "sides": [
            {
                "section": int(side.section),
                "event": list(side.event),
                "locked": side.locked,
                "clear_event": list(side.clear_event),
            }
            for side in record.sides
        ],
        "cleared": [list(event) for event in record.cleared],
        "promises": [list(claim) for claim in record.promises],
        "claims": [list(claim) for claim in record.claims],
        "reservations": [
            {
                "claim": list(entry.reservation.claim),
                "tie": entry.reservation.tie,
                "deciamperes": entry.reservation.deciamperes,
                "boundary": [list(bound) for bound in entry.boundary],
            }
            for entry in record.reservations
        ],
        "held": record.held,
        "tags": record.tags,
        "clean": record.clean,
    }


def from_json(data: Any) -> Record:
    """The record of a JSON form.

    Raises:
        StoredRecordError: a member is missing or not of the expected form.
    """
    root = JsonObject(data, "", StoredRecordError)
    sides = tuple(_side(side) for side in root.objects("sides"))
    promises = [ClaimId(*claim) for claim in root.integer_lists("promises", _CLAIM)]
    claims = [ClaimId(*claim) for claim in root.integer_lists("claims", _CLAIM)]
    for name, pair in (("sides", sides), ("promises", promises), ("claims", claims)):
        if len(pair) != 2:
            root.refuse(name, "one for each of two sides")
    record = Record(
        incarnation=root.integer("incarnation", high=_UINT32),
        events_reserved=root.integer("events_reserved", high=_UINT32),
        claim_number=root.integer("claim_number", high=_UINT32),
        sides=(sides[0], sides[1]),
        cleared=tuple(EventId(*event) for event in root.integer_lists("cleared", _EVENT)),
        promises=(promises[0], promises[1]),
        claims=(claims[0], claims[1]),
        reservations=tuple(_entry(entry) for entry in root.objects("reservations")),
        held=root.boolean("held"),
        tags=root.integer("tags", high=WORK_TAG | HOT_LINE_TAG),
        clean=root.boolean("clean"),
    )
    if len(record.reservations) > RESERVATIONS:
        root.refuse("reservations", f"at most {RESERVATIONS}")
    root.finish()
    return record


def _side(side: JsonObject) -> StoredSide:
    result = StoredSide(
        SectionState(side.integer("section", high=max(SectionState))),
        EventId(*side.integers("event", _EVENT)),
        side.boolean("locked"),
        EventId(*side.integers("clear_event", _EVENT)),
    )
    side.finish()
    return result


def _entry(entry: JsonObject) -> Entry:
    result = Entry(
        Reservation(
            ClaimId(*entry.integers("claim", _CLAIM)),
            entry.integer("tie", high=_UINT16),
            entry.integer("deciamperes", high=_UINT32),
        ),
        tuple(Bound(*bound) for bound in entry.integer_lists("boundary", (_UINT16, 1))),
    )
    entry.finish()
    return result
