"""What the agents said, read off a capture: every step with the time of the frame that carried it.

Knows nothing of the agents' own journals: times and steps come from the wire alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ied_agents.dflisr import wire
from ied_agents.dflisr.records import (
    NO_CLAIM,
    NO_EVENT,
    AgentState,
    AnswerKind,
    LockState,
    SectionState,
    Stage,
)
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.frame import read_frame_header
from ied_agents.goose.pdu import read_pdu_header
from ied_agents.iec61850.dbpos import Dbpos
from scl.agent_model import REASON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.site import Site
    from ied_agents.dflisr.records import EventId


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the wire.

    Attributes:
        t_ns: CLOCK_REALTIME of the frame at the capture point.
        switch: number of the publishing switch.
        what: in a word or two.
        detail: the rest, for people.
    """

    t_ns: int
    switch: int
    what: str
    detail: str = ""


class WireReader:
    """Follows the fast data sets of a site through a capture."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._streams = {agent.own.fast.gocbRef: number for number, agent in site.agents.items()}
        self._names = {switch.number: switch.name for switch in site.network.switches}
        self._decoders = {number: wire.FastDecoder(number) for number in site.agents}
        self._last: dict[int, AgentState] = {}
        self.frames = 0
        self.unread = 0

    def states(self, packets: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int, AgentState]]:
        """New states in the capture: time in ns, switch, state."""
        for t_ns, raw in packets:
            try:
                header = read_frame_header(raw)
                pdu = read_pdu_header(raw, header.apdu_start, header.apdu_stop, strict=True)
                switch = self._streams.get(pdu.gocbRef)
                self.frames += 1
                if switch is None or pdu.sqNum:
                    continue
                state = self._decoders[switch](raw[slice(*pdu.allData_span)])
            except GooseDecodeError:
                self.unread += 1
                continue
            yield t_ns, switch, state

    def steps(self, packets: Iterable[tuple[int, bytes]]) -> list[Step]:
        """Every step in the capture, in order."""
        found: list[Step] = []
        for t_ns, switch, state in self.states(packets):
            last = self._last.get(switch, AgentState(state.incarnation, position=state.position))
            found.extend(Step(t_ns, switch, what, detail) for what, detail in self._difference(switch, last, state))
            self._last[switch] = state
        return found

    def _section(self, switch: int, side: int) -> str:
        return self._site.network.sections[self._site.network.switch(switch).sections[side]].name

    def _difference(self, switch: int, old: AgentState, new: AgentState) -> Iterator[tuple[str, str]]:
        name = self._names
        if new.pickup and (not old.pickup or new.pickup_id != old.pickup_id):
            yield "saw fault current", f"{new.direction.name.lower()}, pickup {new.pickup_id}"
        for answer in new.answers:
            if answer not in old.answers and answer.pickup:
                kind = AnswerKind(answer.kind).name.lower().replace("_", " ")
                yield "answered", f"{kind} to {name[answer.switch]}"
        for side in (0, 1):
            yield from self._side_difference(switch, side, old, new)
        if new.trip and not old.trip:
            yield "ordered open", ""
        if new.position is not old.position and new.position in (Dbpos.OFF, Dbpos.ON):
            yield ("open" if new.position is Dbpos.OFF else "closed"), "position confirmed"
        for side in (0, 1):
            before, claim = old.claims[side], new.claims[side]
            if claim.id not in (NO_CLAIM, before.id):
                asked = ", ".join(name[b.switch] for b in claim.boundary)
                yield (
                    "claimed",
                    f"island at {self._section(switch, side)}, claim {claim.id.number}; asked: {asked}",
                )
            if claim.request.tie and claim.request != before.request:
                yield (
                    "requested capacity",
                    (
                        f"{claim.request.deciamperes / 10:.1f} A through {name[claim.request.tie]} "
                        f"from {name[claim.request.owner]}"
                    ),
                )
        for reservation in new.reservations:
            if reservation not in old.reservations:
                yield "reserved", f"{reservation.deciamperes / 10:.1f} A for {name[reservation.tie]}"
        for before, claim in zip(old.claims, new.claims, strict=True):
            if claim.grants and claim.grants != before.grants:
                yield "granted", ", ".join(name[b.switch] for b in claim.grants)
        promised = {new for old, new in zip(old.promises, new.promises, strict=True) if new not in (NO_CLAIM, old)}
        for promise in sorted(promised):
            yield "promised", f"claim {promise.number} of {name[promise.switch]}"
        yield from self._standing_difference(old, new)
        if new.close_outstanding and not old.close_outstanding:
            yield "ordered close", "reclosing shot" if new.reclosing else ""
        if new.outcome != old.outcome and new.outcome.reason:
            yield "refused", f"claim {new.outcome.claim.number}: {REASON[new.outcome.reason]}"
        if new.progress.stage is Stage.STOPPED and new.progress != old.progress:
            yield "cannot finish", REASON[new.progress.reason]

    def _standing_difference(self, old: AgentState, new: AgentState) -> Iterator[tuple[str, str]]:
        """What stands beyond single orders: shots, holds, return to normal, breaker failure."""
        if new.reclosing and not old.reclosing:
            yield "will reclose", "shots left"
        if new.hold_claim not in (NO_CLAIM, old.hold_claim):
            yield "holds open", f"claim {new.hold_claim.number} of {self._names[new.hold_claim.switch]}"
        if new.returning not in (NO_EVENT, old.returning):
            yield "returns to normal", f"after event {new.returning.counter} of {self._names[new.returning.switch]}"
        if new.breaker_failure and not old.breaker_failure:
            yield "breaker failure", "asks the busbar's protection to trip"

    def _side_difference(self, switch: int, side: int, old: AgentState, new: AgentState) -> Iterator[tuple[str, str]]:
        before, now = old.sides[side], new.sides[side]
        section = self._section(switch, side)
        if now.section is SectionState.WIDENED and before.section is not now.section:
            yield "widened", f"{section} is isolated too: a switch did not open"
        elif now.section is not before.section and now.section is not SectionState.NONE:
            verb = "declared" if now.section_event.switch == switch else "took note of"
            yield verb, f"{section} {now.section.name.lower()}"
        if now.lock is not before.lock:
            yield {
                LockState.NONE: ("unlocked", section),
                LockState.VOLATILE: ("locked", section),
                LockState.DURABLE: ("lock on disk", section),
            }[now.lock]
        if now.clear and not before.clear:
            shot = "" if now.clear_event.counter else ", for a reclosing shot"
            yield "asked to clear", f"the breaker towards {section}{shot}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it in the end, by the wire and the plant's stamps.

    The times are in ms, and of one fault: None where it never came to it, where there was more than one event, or,
    for the grants, where an island was split.

    Attributes:
        declared: sections declared faulted, by name.
        suspect: sections held suspect.
        widened: sections isolated because a switch did not open.
        locked: switches locked, by number.
        held: switches held open to split an island, by number.
        pickup_to_last_lock_ms: from the declaring switch's pickup (the plant's stamp) to the last bounding switch's
            frame with lock and open command or clear request.
        last_position_to_grants_ms: from the last isolating switch's frame with its open position to the last grant.
        grants: how many switches were granted.
        load_break_opened: whether a load-break switch with fault current waited for a breaker.
        stopped: switches that said they cannot finish, with the reason.
    """

    declared: tuple[str, ...]
    suspect: tuple[str, ...]
    widened: tuple[str, ...]
    locked: tuple[int, ...]
    held: tuple[int, ...]
    pickup_to_last_lock_ms: float | None
    last_position_to_grants_ms: float | None
    grants: int
    load_break_opened: bool
    stopped: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def outcome(site: Site, states: Iterable[tuple[int, int, AgentState]], pickups_ns: dict[int, int]) -> Outcome:
    """Judge a capture.

    Args:
        site: the site.
        states: new states in the order of the wire (:meth:`WireReader.states`).
        pickups_ns: the plant's stamp of each switch's first pickup.
    """
    network = site.network
    last: dict[int, AgentState] = {}
    clock = _Clock()
    for t_ns, switch, state in states:
        clock.take(t_ns, switch, last.get(switch), state)
        last[switch] = state
    sections: dict[SectionState, set[str]] = {kind: set() for kind in SectionState}
    for number, state in last.items():
        for index, side in zip(network.switch(number).sections, state.sides, strict=True):
            sections[side.section].add(network.sections[index].name)
    return Outcome(
        declared=tuple(sorted(sections[SectionState.FAULTED])),
        suspect=tuple(sorted(sections[SectionState.SUSPECT])),
        widened=tuple(sorted(sections[SectionState.WIDENED])),
        locked=tuple(sorted(number for number, state in last.items() if _locked(state))),
        held=tuple(sorted(number for number, state in last.items() if state.held)),
        pickup_to_last_lock_ms=clock.to_last_lock_ms(last, pickups_ns),
        last_position_to_grants_ms=clock.to_grants_ms(),
        grants=len(clock.granted),
        load_break_opened=clock.waited,
        stopped=tuple(
            f"{network.switch(n).name}: {REASON[state.progress.reason]}"
            for n, state in sorted(last.items())
            if state.progress.stage is Stage.STOPPED
        ),
    )


class _Clock:
    """When what was first seen on the wire, ns, by switch."""

    def __init__(self) -> None:
        self._acted: dict[int, int] = {}
        self._opened: dict[int, int] = {}
        self.granted: dict[int, int] = {}
        self.waited = False
        self._declarer = 0
        self._events: set[EventId] = set()
        self._split = False

    def take(self, t_ns: int, switch: int, before: AgentState | None, state: AgentState) -> None:
        clears = any(side.clear for side in state.sides)
        self.waited = self.waited or clears
        self._split = self._split or state.held
        for side in state.sides:
            if side.section is not SectionState.NONE:
                self._events.add(side.section_event)
                if side.section_event.switch == switch:
                    self._declarer = self._declarer or switch
        if _bounds(state) and (state.trip or clears or state.position is Dbpos.OFF):
            self._acted.setdefault(switch, t_ns)
        if before is not None and before.position is not Dbpos.OFF and state.position is Dbpos.OFF:
            self._opened[switch] = t_ns
        for claim in state.claims:
            if claim.grants:
                self._events.add(claim.event)
                self.granted.setdefault(switch, t_ns)

    def to_last_lock_ms(self, last: dict[int, AgentState], pickups_ns: dict[int, int]) -> float | None:
        locked = {number for number, state in last.items() if _bounds(state)}
        if self._declarer not in pickups_ns or len(self._events) != 1 or not locked or not locked <= self._acted.keys():
            return None
        return (max(self._acted[number] for number in locked) - pickups_ns[self._declarer]) / 1e6

    def to_grants_ms(self) -> float | None:
        if not self.granted or not self._opened or len(self._events) != 1 or self._split:
            return None
        return (max(self.granted.values()) - max(self._opened.values())) / 1e6


def _locked(state: AgentState) -> bool:
    return any(side.lock is not LockState.NONE for side in state.sides)


def _bounds(state: AgentState) -> bool:
    """Whether it is locked because it bounds a section that is faulted or suspect, not one widened to."""
    return any(
        side.lock is not LockState.NONE and side.section in (SectionState.FAULTED, SectionState.SUSPECT)
        for side in state.sides
    )
