"""Who is energised, which way the load flows and where fault current runs, for one set of closed switches.

A radial model by graph search: currents add as magnitudes, and voltage is either there or not. Local
generation offsets load; where it is an infeed it also feeds faults, and holds what hangs on it under voltage
when there is no source, as one of its sections that takes up the balance. Where a loop is closed the current
takes the shorter way; the plant reports the loop as an event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.process.inputs import Direction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ied_agents.process.plant_network import PlantNetwork, PlantSwitch

_REVERSED: Final = {Direction.FORWARD: Direction.BACKWARD, Direction.BACKWARD: Direction.FORWARD}


@dataclass(frozen=True, slots=True)
class PlantFlow:
    """Currents and voltages of the whole plant at one moment.

    Attributes:
        source: for each section with a source the source section that feeds it (the first one, where several do).
        island: for each section that has none, but is under voltage all the same, the section whose generation
            holds it (the first one, where several do).
        generation_a: for each section under voltage whose local generation runs what that feeds in, A.
        load_a: for each conducting switch its load current, A, positive from side A to side B; running
            generation is deducted.
        fault: for each switch that carries fault current its direction, whoever feeds it.
        fed: faulted sections that fault current flows into.
        paralleled: pairs of live source sections that are connected with each other.
    """

    source: Mapping[int, int] = field(default_factory=dict)
    island: Mapping[int, int] = field(default_factory=dict)
    generation_a: Mapping[int, float] = field(default_factory=dict)
    load_a: Mapping[int, float] = field(default_factory=dict)
    fault: Mapping[int, Direction] = field(default_factory=dict)
    fed: frozenset[int] = frozenset()
    paralleled: frozenset[tuple[int, int]] = frozenset()

    def under_voltage(self, section: int) -> bool:
        """Whether a section is energised, from a source or by local generation."""
        return section in self.source or section in self.island


class FlowSolver:
    """Solves one network for changing switch positions.

    Args:
        network: sections and switches.
    """

    def __init__(self, network: PlantNetwork) -> None:
        self._load_a = {section.index: section.load_a for section in network.sections}
        self._generation_a = {section.index: section.generation_a for section in network.sections}
        self._infeed = {section.index for section in network.sections if section.infeed}
        self._at: dict[int, list[tuple[int, PlantSwitch, Direction]]] = {index: [] for index in self._load_a}
        for switch in network.switches:
            side_a, side_b = switch.sides
            self._at[side_a].append((side_b, switch, Direction.FORWARD))
            self._at[side_b].append((side_a, switch, Direction.BACKWARD))

    def solve(
        self,
        conducting: Collection[int],
        live: Iterable[int],
        faults: Collection[int],
        running: Collection[int] = (),
    ) -> PlantFlow:
        """Currents and voltages with these switches conducting.

        Args:
            conducting: numbers of the switches that conduct.
            live: source sections under voltage.
            faults: faulted sections.
            running: sections whose local generation runs; it feeds in only where there is voltage.
        """
        sources = sorted(live)
        infeeds = sorted(self._infeed.intersection(running))
        feeder = {source: source for source in sources}
        way: dict[int, tuple[int, PlantSwitch, Direction]] = {}
        order: list[int] = []
        paralleled: set[tuple[int, int]] = set()
        self._spread(conducting, sources, feeder, way, order, paralleled)
        fed_by_sources = len(order)
        for infeed in infeeds:
            if infeed not in feeder:
                feeder[infeed] = infeed
                self._spread(conducting, [infeed], feeder, way, order, paralleled)
        generation_a = {section: self._generation_a[section] for section in running if section in feeder}
        return PlantFlow(
            source={section: feeder[section] for section in order[:fed_by_sources]},
            island={section: feeder[section] for section in order[fed_by_sources:]},
            generation_a=generation_a,
            load_a=self._load(conducting, order, way, generation_a, sources),
            fault=self._fault_currents(conducting, [*sources, *infeeds], faults) if faults else {},
            fed=frozenset(feeder.keys() & faults),
            paralleled=frozenset(paralleled),
        )

    def _spread(
        self,
        conducting: Collection[int],
        roots: list[int],
        feeder: dict[int, int],
        way: dict[int, tuple[int, PlantSwitch, Direction]],
        order: list[int],
        paralleled: set[tuple[int, int]],
    ) -> None:
        """Search outwards from the roots; note who feeds each section, over which way, and in which order."""
        queue = deque(roots)
        while queue:
            section = queue.popleft()
            order.append(section)
            feeds = feeder[section]
            for beyond, switch, direction in self._at[section]:
                if switch.number not in conducting:
                    continue
                other = feeder.get(beyond)
                if other is None:
                    feeder[beyond] = feeds
                    way[beyond] = (section, switch, direction)
                    queue.append(beyond)
                elif other != feeds:
                    paralleled.add((min(other, feeds), max(other, feeds)))

    def _load(
        self,
        conducting: Collection[int],
        order: list[int],
        way: dict[int, tuple[int, PlantSwitch, Direction]],
        generation_a: dict[int, float],
        live: Collection[int],
    ) -> dict[int, float]:
        """Sum the net load of each section up the tree along which it is fed."""
        flow = dict.fromkeys(conducting, 0.0)
        below: dict[int, float] = {}
        for section in reversed(order):
            net = below.get(section, 0.0) + self._load_a[section] - generation_a.get(section, 0.0)
            if section in way:
                above, switch, direction = way[section]
                flow[switch.number] = net if direction is Direction.FORWARD else -net
                below[above] = below.get(above, 0.0) + net
            elif section in generation_a and section not in live:
                # The generation that holds an island takes up what the rest of it leaves.
                generation_a[section] += net
        return flow

    def _fault_currents(
        self, conducting: Collection[int], infeeds: list[int], faults: Collection[int]
    ) -> dict[int, Direction]:
        """Walk from each infeed to each fault it reaches."""
        directions: dict[int, Direction] = {}
        for fault in faults:
            # Search outwards from the fault: from each infeed the way back to it is then known.
            towards: dict[int, tuple[int, PlantSwitch, Direction] | None] = {fault: None}
            queue = deque([fault])
            while queue:
                section = queue.popleft()
                for beyond, switch, direction in self._at[section]:
                    if switch.number in conducting and beyond not in towards:
                        towards[beyond] = (section, switch, _REVERSED[direction])
                        queue.append(beyond)
            for infeed in infeeds:
                step = towards.get(infeed)
                while step is not None:
                    section, switch, direction = step
                    before = directions.get(switch.number, direction)
                    directions[switch.number] = direction if before is direction else Direction.BOTH
                    step = towards[section]
        return directions
