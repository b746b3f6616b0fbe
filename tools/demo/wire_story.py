"""What the agents said, read off a capture: every step with the time of the frame that carried it.

Knows nothing of the agents' own journals: times and steps come from the wire alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ied_agents.dflisr import wire
from ied_agents.dflisr.records import (
    NO_CLAIM,
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
            if claim.grants and claim.grants != before.grants:
                yield "granted", ", ".join(name[b.switch] for b in claim.grants)
            if new.promises[side] not in (NO_CLAIM, old.promises[side]):
                promise = new.promises[side]
                yield "promised", f"claim {promise.number} of {name[promise.switch]}"
        for reservation in new.reservations:
            if reservation not in old.reservations:
                yield "reserved", f"{reservation.deciamperes / 10:.1f} A for {name[reservation.tie]}"
        if new.close_outstanding and not old.close_outstanding:
            yield "ordered close", ""
        if new.outcome != old.outcome and new.outcome.reason:
            yield "refused", f"claim {new.outcome.claim.number}: {REASON[new.outcome.reason]}"
        if new.progress.stage is Stage.STOPPED and new.progress != old.progress:
            yield "cannot finish", REASON[new.progress.reason]

    def _side_difference(self, switch: int, side: int, old: AgentState, new: AgentState) -> Iterator[tuple[str, str]]:
        before, now = old.sides[side], new.sides[side]
        section = self._section(switch, side)
        if now.section is not before.section and now.section is not SectionState.NONE:
            verb = "declared" if now.section_event.switch == switch else "took note of"
            yield verb, f"{section} {now.section.name.lower()}"
        if now.lock is not before.lock:
            yield {
                LockState.NONE: ("unlocked", section),
                LockState.VOLATILE: ("locked", section),
                LockState.DURABLE: ("lock on disk", section),
            }[now.lock]
        if now.clear and not before.clear:
            yield "asked to clear", f"the breaker towards {section}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault, by the wire and the plant's stamps. Times in ms; None where it never came to it.

    Attributes:
        declared: sections declared faulted, by name.
        suspect: sections held suspect.
        locked: switches locked at the end, by number.
        pickup_to_last_lock_ms: from the declaring switch's pickup (the plant's stamp) to the last bounding switch's
            frame with lock and open command or clear request.
        last_position_to_grants_ms: from the last isolating switch's frame with its open position to the last grant.
        grants: how many switches were granted.
        load_break_opened: whether a load-break switch with fault current waited for a breaker.
        stopped: switches that said they cannot finish, with the reason.
    """

    declared: tuple[str, ...]
    suspect: tuple[str, ...]
    locked: tuple[int, ...]
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
    acted: dict[int, int] = {}
    opened: dict[int, int] = {}
    granted: dict[int, int] = {}
    last: dict[int, AgentState] = {}
    declarer = 0
    waited = False
    for t_ns, switch, state in states:
        before = last.get(switch)
        last[switch] = state
        locked_now = any(side.lock is not LockState.NONE for side in state.sides)
        clears = any(side.clear for side in state.sides)
        waited = waited or clears
        if any(s.section is not SectionState.NONE and s.section_event.switch == switch for s in state.sides):
            declarer = declarer or switch
        if locked_now and (state.trip or clears or state.position is Dbpos.OFF):
            acted.setdefault(switch, t_ns)
        if before is not None and before.position is not Dbpos.OFF and state.position is Dbpos.OFF:
            opened[switch] = t_ns
        if any(claim.grants for claim in state.claims):
            granted.setdefault(switch, t_ns)
    locked = {n for n, state in last.items() if any(side.lock is not LockState.NONE for side in state.sides)}
    names: dict[SectionState, set[str]] = {SectionState.FAULTED: set(), SectionState.SUSPECT: set()}
    for number, state in last.items():
        for index, side in zip(network.switch(number).sections, state.sides, strict=True):
            if side.section is not SectionState.NONE:
                names[side.section].add(network.sections[index].name)
    to_lock = to_grant = None
    if declarer in pickups_ns and locked and locked <= acted.keys():
        to_lock = (max(acted[n] for n in locked) - pickups_ns[declarer]) / 1e6
    if granted and opened:
        to_grant = (max(granted.values()) - max(opened.values())) / 1e6
    return Outcome(
        declared=tuple(sorted(names[SectionState.FAULTED])),
        suspect=tuple(sorted(names[SectionState.SUSPECT])),
        locked=tuple(sorted(locked)),
        pickup_to_last_lock_ms=to_lock,
        last_position_to_grants_ms=to_grant,
        grants=len(granted),
        load_break_opened=waited,
        stopped=tuple(
            f"{network.switch(n).name}: {REASON[state.progress.reason]}"
            for n, state in sorted(last.items())
            if state.progress.stage is Stage.STOPPED
        ),
    )
