"""What an agent must not forget, as one immutable record and its JSON form.

The agent changes the record in memory, hands each version to the writer, and publishes promises, claims and
reservations only from the last version that is known to be on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

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

EVENT_BLOCK: Final = 64
"""Event counters are reserved on disk in blocks, so that a declaration never waits for the disk."""

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


def from_json(data: dict[str, Any]) -> Record:
    """The record of a JSON form.

    Raises:
        StoredRecordError: a member is missing or not of the expected form.
    """
    try:
        side_a, side_b = (
            StoredSide(
                SectionState(side["section"]),
                EventId(*side["event"]),
                bool(side["locked"]),
                EventId(*side["clear_event"]),
            )
            for side in data["sides"]
        )
        promise_a, promise_b = (ClaimId(*claim) for claim in data["promises"])
        claim_a, claim_b = (ClaimId(*claim) for claim in data["claims"])
        return Record(
            incarnation=int(data["incarnation"]),
            events_reserved=int(data["events_reserved"]),
            claim_number=int(data["claim_number"]),
            sides=(side_a, side_b),
            cleared=tuple(EventId(*event) for event in data["cleared"]),
            promises=(promise_a, promise_b),
            claims=(claim_a, claim_b),
            reservations=tuple(
                Entry(
                    Reservation(ClaimId(*entry["claim"]), int(entry["tie"]), int(entry["deciamperes"])),
                    tuple(Bound(*bound) for bound in entry["boundary"]),
                )
                for entry in data["reservations"]
            ),
            held=bool(data["held"]),
            tags=int(data["tags"]),
            clean=bool(data["clean"]),
        )
    except KeyError as error:
        raise StoredRecordError(f"stored state has no member {error}") from None
    except (TypeError, ValueError) as error:
        raise StoredRecordError(f"stored state: {error}") from None
