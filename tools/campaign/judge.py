"""Judges a run by the plant's truth. Shares no code with the agents' logic: its own graph search, its own books.

I1  a faulted, suspect or locked section is never energised by a command that was let through
I2  two sources are never connected with each other
I3  nothing closes a locked or tagged switch; tags are those that the scenario set, not those an agent remembers
I4  no element carries more than its rating because of a restoration
I4' no load-break switch opens on more than it can break
I5  stale, invalid, test or simulated input never causes an operation (see ``scenario``)
I6  all of it under loss, duplication, reordering, replay, crash and restart: I1 to I5 are judged after every step
P   the protocol's books: who is ordered to close was granted it, and every other switch that bounds the dead island
    in the plant had published its promise to that claim, or its lock
I7  with communication alive, no healthy section stays dark that one closable switch could serve within all ratings
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant_events import (
    CommandReceived,
    OpenedAboveCapability,
    PositionChanged,
    SourcesParalleled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ied_agents.process.plant_events import PlantEvent
    from ied_agents.process.plant_network import PlantNetwork
    from tools.campaign.world import World

_TOLERANCE_A = 0.2
_MARGIN_A = 1.0  # what agents measure may be this much behind, so they leave that much free


class Violation(NamedTuple):
    """A broken invariant: which, when in virtual seconds, and what happened."""

    invariant: str
    t: float
    what: str


class _Line(NamedTuple):
    """A switch as the judge sees it."""

    number: int
    a: int
    b: int


@dataclass(slots=True)
class _Lock:
    """A lock or tag that an agent has published."""

    section: int
    event: tuple[int, int]


class Judge:
    """Watches one world; ``look`` is its ``observe``."""

    def __init__(self, ratings_a: dict[int, float]) -> None:
        self.violations: list[Violation] = []
        self.tagged: set[int] = set()
        self.events: list[PlantEvent] = []
        self._ratings = ratings_a
        self._flow_before: dict[int, float] | None = None
        self._locks: dict[int, list[_Lock]] = {}
        self._ever_closed: set[int] = set()

    # -- after every step -----------------------------------------------------------------------------------------

    def look(self, world: World) -> None:
        """Judge what the last step did."""
        if self._flow_before is None:
            self._flow_before = {n: abs(a) for n, a in world.plant.load_flow().items()}
        self._read_locks(world)
        events = world.plant.events()
        if not events:
            return
        self.events.extend(events)
        for event in events:
            if isinstance(event, CommandReceived) and event.operation == "close":
                self._judge_close(world, event.switch)
            elif isinstance(event, OpenedAboveCapability):
                self._break(world, "I4'", f"switch {event.switch} opened on {event.current_a:.0f} A")
            elif isinstance(event, SourcesParalleled):
                self._break(world, "I2", f"sources {event.sources} are connected")
            elif isinstance(event, PositionChanged) and event.position is Dbpos.ON:
                self._judge_closed(world, event.switch)
        self._judge_sources(world)
        self._judge_loads(world)

    def _break(self, world: World, invariant: str, what: str) -> None:
        self.violations.append(Violation(invariant, world.now, what))

    def _read_locks(self, world: World) -> None:
        """Note what the agents hold locked, and forget what has been cleared by its own declarer."""
        for number, host in world.hosts.items():
            if host.station is None:
                continue  # a lock of an agent that is down stays what it was
            state = host.station.agent.situation.own
            sides = next(s.sides for s in world.plant_network.switches if s.number == number)
            self._locks[number] = [
                _Lock(section, (side.lock_event.switch, side.lock_event.counter))
                for section, side in zip(sides, state.sides, strict=True)
                if side.lock
            ]

    def _judge_close(self, world: World, switch: int) -> None:
        self._ever_closed.add(switch)
        locks = self._locks.get(switch)
        if locks:
            self._break(world, "I3", f"switch {switch} was ordered to close while locked for {locks}")
        if switch in self.tagged:
            self._break(world, "I3", f"switch {switch} was ordered to close while tagged")
        self._judge_books(world, switch)

    def _judge_books(self, world: World, switch: int) -> None:
        """Whether the close was granted, and the island bound, by what the agents have published."""
        published = {n: h.station.agent.situation.own for n, h in world.hosts.items() if h.station is not None}
        grants = [
            (claim.id, bound.side)
            for state in published.values()
            for claim in state.claims
            for bound in claim.grants
            if bound.switch == switch
        ]
        if not grants:
            self._break(world, "P", f"switch {switch} was ordered to close without a grant")
            return
        lines = _lines(world.plant_network)
        claim, side = max(grants)
        start = (lines[switch].a, lines[switch].b)[side]
        island = _reach(lines, world.plant.conducting() - {switch}, {start})
        for line in lines.values():
            for at, section in enumerate((line.a, line.b)):
                other = published.get(line.number)
                if line.number in (switch, claim.switch) or section not in island or other is None:
                    continue
                inside = line.number in world.plant.conducting()
                if not inside and other.promises[at] < claim and not any(s.lock for s in other.sides):
                    self._break(world, "P", f"switch {switch} closes; {line.number} bounds the island unbound")

    def _judge_closed(self, world: World, switch: int) -> None:
        """A switch has closed: nothing faulted or locked may hang on it now."""
        if switch not in self._ever_closed:
            return
        lines = _lines(world.plant_network)
        live = _reach(lines, world.plant.conducting(), _sources(world.plant_network))
        hanging = _reach(lines, world.plant.conducting(), {lines[switch].a, lines[switch].b})
        if not hanging & live:
            return
        for section in hanging & world.plant.faults():
            self._break(world, "I1", f"switch {switch} energised faulted section {section}")
        held = {lock.section for locks in self._locks.values() for lock in locks}
        for section in hanging & held:
            self._break(world, "I1", f"switch {switch} energised section {section}, which agents hold locked")

    def _judge_sources(self, world: World) -> None:
        sources = _sources(world.plant_network)
        for source in sources:
            if len(_reach(_lines(world.plant_network), world.plant.conducting(), {source}) & sources) > 1:
                self._break(world, "I2", f"source {source} is connected with another")

    def _judge_loads(self, world: World) -> None:
        assert self._flow_before is not None
        for number, flow in world.plant.load_flow().items():
            rating = self._ratings[number]
            if abs(flow) > rating + _TOLERANCE_A and abs(flow) > self._flow_before.get(number, 0.0) + _TOLERANCE_A:
                self._break(world, "I4", f"switch {number} carries {abs(flow):.1f} A, rating {rating:.1f} A")


class Missed(NamedTuple):
    """A healthy dark island that one closable switch could serve within all ratings (I7)."""

    sections: tuple[int, ...]
    switch: int
    load_a: float

    def __str__(self) -> str:
        return f"sections {list(self.sections)} could be served by switch {self.switch}"


def unserved(
    network: PlantNetwork, ratings_a: dict[int, float], conducting: Iterable[int], faults: Iterable[int]
) -> list[Missed]:
    """What was left dark although one switch could serve it; each island once."""
    lines, closed, faulted = _lines(network), set(conducting), set(faults)
    sources = _sources(network)
    live = _reach(lines, closed, sources)
    loads = {section.index: section.load_a for section in network.sections}
    missed: list[Missed] = []
    seen: set[int] = set()
    for section in loads:
        if section in live or section in seen:
            continue
        island = _reach(lines, closed, {section})
        seen |= island
        if island & faulted or not sum(loads[s] for s in island):
            continue
        for line in lines.values():
            if line.number in closed or {line.a, line.b} & faulted:
                continue
            if not ((line.a in island and line.b in live) or (line.b in island and line.a in live)):
                continue
            carried = _tree_flows(lines, closed | {line.number}, sources, loads)
            if all(flow + _MARGIN_A <= ratings_a[number] for number, flow in carried.items()):
                missed.append(Missed(tuple(sorted(island)), line.number, sum(loads[s] for s in island)))
                break
    return missed


def live_sections(network: PlantNetwork, conducting: Iterable[int]) -> set[int]:
    """Sections under voltage."""
    return _reach(_lines(network), conducting, _sources(network))


def served_a(network: PlantNetwork, conducting: Iterable[int]) -> float:
    """Load under voltage, A."""
    live = live_sections(network, conducting)
    return sum(section.load_a for section in network.sections if section.index in live)


def _lines(network: PlantNetwork) -> dict[int, _Line]:
    return {s.number: _Line(s.number, s.sides[0], s.sides[1]) for s in network.switches}


def _sources(network: PlantNetwork) -> set[int]:
    return {section.index for section in network.sections if section.is_source}


def _reach(lines: dict[int, _Line], conducting: Iterable[int], start: set[int]) -> set[int]:
    """Sections connected with any of ``start``: repeated relaxation, nothing clever."""
    reached = set(start)
    edges = [(lines[n].a, lines[n].b) for n in conducting]
    grew = True
    while grew:
        grew = False
        for a, b in edges:
            if (a in reached) != (b in reached):
                reached |= {a, b}
                grew = True
    return reached


def _tree_flows(
    lines: dict[int, _Line], conducting: Iterable[int], sources: set[int], loads: dict[int, float]
) -> dict[int, float]:
    """Load current of each conducting switch of a radial network, A: what lies beyond it, seen from the sources."""
    closed = set(conducting)
    return {
        n: sum(loads[s] for s in _reach(lines, closed, sources) - _reach(lines, closed - {n}, sources)) for n in closed
    }
