"""What an agent must not forget, as one immutable record and its JSON form.

The agent changes the record in memory, hands each version to the writer, and publishes promises, claims and
reservations only from the last version that is known to be on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG, Authority, Behaviour
from ied_agents.dflisr.capacity import Entry
from ied_agents.dflisr.records import (
    NO_CLAIM,
    NO_EVENT,
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
TAG_OWNERS: Final = 16
"""So many may have tags on one switch at a time."""
_VERSION: Final = 4
CLOCK_LIMIT_S: Final = 0xF000_0000
"""A clock beyond the year 2097 is wrong; incarnations and counters must fit 32 bits."""


class StoredRecordError(ValueError):
    """A stored record that this version cannot read; names the member and what was expected."""


@dataclass(frozen=True, slots=True)
class StoredSide:
    """What one side's section is held for, whether that side is locked, and an own clear request.

    ``test``: it came of a test and ends with it.
    """

    section: SectionState = SectionState.NONE
    event: EventId = NO_EVENT
    locked: bool = False
    clear_event: EventId = NO_EVENT
    test: bool = False


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
        hold_claim, hold_event: claim for which an island is split here, and its event; the switch is held open.
        returning: event whose return to normal was ordered last.
        duties: per side, the event after which this switch must see the island there served, while it is open.
        island_loads: per side, what that island drew, in tenths of an ampere.
        shot_for: per side, whether this breaker has opened for a fault there that it is to reclose on.
        behaviour: mode that an operator set.
        simulation: simulated frames are accepted (``LPHD.Sim``); a new process says that they were, and ends it.
        authority: who may operate the switch.
        tags: by owner, ``WORK_TAG`` and ``HOT_LINE_TAG`` of ``control.decision``.
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
    hold_claim: ClaimId = NO_CLAIM
    hold_event: EventId = NO_EVENT
    returning: EventId = NO_EVENT
    duties: tuple[EventId, EventId] = (NO_EVENT, NO_EVENT)
    island_loads: tuple[int, int] = (0, 0)
    shot_for: tuple[bool, bool] = (False, False)
    behaviour: Behaviour = Behaviour.ON
    simulation: bool = False
    authority: Authority = Authority.STATION
    tags: tuple[tuple[str, int], ...] = ()
    clean: bool = False

    @property
    def locked(self) -> bool:
        """Whether the switch is locked on any side."""
        return self.sides[0].locked or self.sides[1].locked

    @property
    def all_tags(self) -> int:
        """Tags of all owners together."""
        if not self.tags:
            return 0
        return (WORK_TAG if any(bits & WORK_TAG for _, bits in self.tags) else 0) | (
            HOT_LINE_TAG if any(bits & HOT_LINE_TAG for _, bits in self.tags) else 0
        )

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
        "version": _VERSION,
        "incarnation": record.incarnation,
        "events_reserved": record.events_reserved,
        "claim_number": record.claim_number,
        "sides": [
            {
                "section": int(side.section),
                "event": list(side.event),
                "locked": side.locked,
                "clear_event": list(side.clear_event),
                "test": side.test,
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
                "whole": entry.reservation.whole,
                "event": list(entry.event),
                "path": list(entry.path),
                "side": entry.side,
            }
            for entry in record.reservations
        ],
        "held": record.held,
        "hold_claim": list(record.hold_claim),
        "hold_event": list(record.hold_event),
        "returning": list(record.returning),
        "duties": [list(event) for event in record.duties],
        "island_loads": list(record.island_loads),
        "shot_for": [int(side) for side in record.shot_for],
        "behaviour": int(record.behaviour),
        "simulation": record.simulation,
        "authority": int(record.authority),
        "tags": [{"owner": owner, "tags": tags} for owner, tags in record.tags],
        "clean": record.clean,
    }


def from_json(data: Any) -> Record:
    """The record of a JSON form.

    Raises:
        StoredRecordError: a member is missing or not of the expected form.
    """
    root = JsonObject(_migrated(data), "", StoredRecordError)
    version = root.integer("version")
    if version != _VERSION:
        raise StoredRecordError(f"version: {version}, written by a newer program; this one knows up to {_VERSION}")
    sides = tuple(_side(side) for side in root.objects("sides"))
    promises = [ClaimId(*claim) for claim in root.integer_lists("promises", _CLAIM)]
    claims = [ClaimId(*claim) for claim in root.integer_lists("claims", _CLAIM)]
    duties = [EventId(*event) for event in root.integer_lists("duties", _EVENT)]
    for name, pair in (("sides", sides), ("promises", promises), ("claims", claims), ("duties", duties)):
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
        hold_claim=ClaimId(*root.integers("hold_claim", _CLAIM)),
        hold_event=EventId(*root.integers("hold_event", _EVENT)),
        returning=EventId(*root.integers("returning", _EVENT)),
        duties=(duties[0], duties[1]),
        island_loads=_pair(root.integers("island_loads", (_UINT32, _UINT32))),
        shot_for=_flags(root.integers("shot_for", (1, 1))),
        behaviour=Behaviour(root.integer("behaviour", low=min(Behaviour), high=max(Behaviour))),
        simulation=root.boolean("simulation"),
        authority=Authority(root.integer("authority", low=min(Authority), high=max(Authority))),
        tags=tuple(_tag(tag) for tag in root.objects("tags")),
        clean=root.boolean("clean"),
    )
    if len(record.reservations) > RESERVATIONS:
        root.refuse("reservations", f"at most {RESERVATIONS}")
    root.finish()
    return record


def _migrated(data: Any) -> Any:
    """A record of version 2 or 3, or of version 1, which had no version, as one of this version."""
    if not isinstance(data, dict) or data.get("version", 2) not in (2, 3):
        return data
    empty = to_json(Record())
    if "version" in data:
        later = ("shot_for", "simulation") if data["version"] == 2 else ("simulation",)
        return {name: empty[name] for name in later} | data | {"version": _VERSION}
    added = ("version", "hold_claim", "hold_event", "returning", "duties", "island_loads", "shot_for", "simulation")
    root = {name: empty[name] for name in (*added, "behaviour", "authority")} | data
    if isinstance(data.get("tags"), int):
        root["tags"] = [{"owner": "operator", "tags": data["tags"]}] if data["tags"] else []
    if isinstance(data.get("sides"), list):
        root["sides"] = [{"test": False, **side} if isinstance(side, dict) else side for side in data["sides"]]
    if isinstance(data.get("reservations"), list):
        root["reservations"] = [_migrated_entry(entry) for entry in data["reservations"]]
    return root


def _migrated_entry(entry: Any) -> Any:
    """A reservation of version 1, which named all switches of its claim instead of the side of the tie."""
    if not isinstance(entry, dict) or not isinstance(entry.get("boundary"), list):
        return entry
    rest = {name: value for name, value in entry.items() if name != "boundary"}
    side = 1 if [entry.get("tie"), 1] in entry["boundary"] else 0
    return {"whole": True, "event": [0, 0], "path": [], "side": side, **rest}


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def _flags(values: list[int]) -> tuple[bool, bool]:
    return bool(values[0]), bool(values[1])


def _tag(tag: JsonObject) -> tuple[str, int]:
    result = tag.string("owner"), tag.integer("tags", low=1, high=WORK_TAG | HOT_LINE_TAG)
    tag.finish()
    return result


def _side(side: JsonObject) -> StoredSide:
    result = StoredSide(
        SectionState(side.integer("section", high=max(SectionState))),
        EventId(*side.integers("event", _EVENT)),
        side.boolean("locked"),
        EventId(*side.integers("clear_event", _EVENT)),
        side.boolean("test"),
    )
    side.finish()
    return result


def _entry(entry: JsonObject) -> Entry:
    result = Entry(
        Reservation(
            ClaimId(*entry.integers("claim", _CLAIM)),
            entry.integer("tie", high=_UINT16),
            entry.integer("deciamperes", high=_UINT32),
            entry.boolean("whole"),
        ),
        EventId(*entry.integers("event", _EVENT)),
        entry.integer("side", high=1),
        tuple(entry.integers("path")),
    )
    entry.finish()
    return result
