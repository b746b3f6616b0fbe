"""Who is energised, which way the load flows and where fault current runs, for one set of closed switches.

A radial model by graph search: currents add as magnitudes, and voltage is either there or not. Local
generation offsets load; it neither feeds a fault nor an island (it trips with the loss of supply). Where
a loop is closed the current takes the shorter way; the plant reports the loop as an event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.process.inputs import Direction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ied_agents.process.plant_network import PlantNetwork, PlantSwitch

_REVERSED: Final = {Direction.FORWARD: Direction.BACKWARD, Direction.BACKWARD: Direction.FORWARD}


@dataclass(frozen=True, slots=True)
class PlantFlow:
    """Currents and voltages of the whole plant at one moment.

    Attributes:
        source: for each energised section the source section that feeds it (the first one, where several do).
        load_a: for each conducting switch its load current, A, positive from side A to side B.
        fault: for each switch that carries fault current its direction.
        paralleled: pairs of live source sections that are connected with each other.
    """

    source: dict[int, int] = field(default_factory=dict)
    load_a: dict[int, float] = field(default_factory=dict)
    fault: dict[int, Direction] = field(default_factory=dict)
    paralleled: frozenset[tuple[int, int]] = frozenset()


class FlowSolver:
    """Solves one network for changing switch positions.

    Args:
        network: sections and switches.
    """

    def __init__(self, network: PlantNetwork) -> None:
        self._sections = {section.index: section for section in network.sections}
        self._at: dict[int, list[tuple[int, PlantSwitch, Direction]]] = {index: [] for index in self._sections}
        for switch in network.switches:
            side_a, side_b = switch.sides
            self._at[side_a].append((side_b, switch, Direction.FORWARD))
            self._at[side_b].append((side_a, switch, Direction.BACKWARD))

    def solve(self, conducting: Collection[int], live: Iterable[int], faults: Collection[int]) -> PlantFlow:
        """Currents and voltages with these switches conducting.

        Args:
            conducting: numbers of the switches that conduct.
            live: source sections under voltage.
            faults: faulted sections.
        """
        sources = sorted(live)
        feeder = {source: source for source in sources}
        way: dict[int, tuple[int, PlantSwitch, Direction]] = {}
        order: list[int] = []
        paralleled: set[tuple[int, int]] = set()
        queue = deque(sources)
        while queue:
            section = queue.popleft()
            order.append(section)
            for beyond, switch, direction in self._at[section]:
                if switch.number not in conducting:
                    continue
                if beyond not in feeder:
                    feeder[beyond] = feeder[section]
                    way[beyond] = (section, switch, direction)
                    queue.append(beyond)
                elif feeder[beyond] != feeder[section]:
                    first, second = sorted((feeder[beyond], feeder[section]))
                    paralleled.add((first, second))
        return PlantFlow(
            source=feeder,
            load_a=self._load(conducting, order, way),
            fault=self._fault_currents(conducting, sources, faults),
            paralleled=frozenset(paralleled),
        )

    def _load(
        self,
        conducting: Collection[int],
        order: list[int],
        way: dict[int, tuple[int, PlantSwitch, Direction]],
    ) -> dict[int, float]:
        """Sum the net load of each section up the tree along which it is fed."""
        flow = dict.fromkeys(conducting, 0.0)
        below: dict[int, float] = {}
        for section in reversed(order):
            equipment = self._sections[section]
            net = below.get(section, 0.0) + equipment.load_a - equipment.generation_a
            if section in way:
                above, switch, direction = way[section]
                flow[switch.number] = net if direction is Direction.FORWARD else -net
                below[above] = below.get(above, 0.0) + net
        return flow

    def _fault_currents(
        self, conducting: Collection[int], sources: list[int], faults: Collection[int]
    ) -> dict[int, Direction]:
        """Walk from each live source to each fault it reaches."""
        directions: dict[int, Direction] = {}
        for fault in faults:
            # Search outwards from the fault: from each source the way back to it is then known.
            towards: dict[int, tuple[int, PlantSwitch, Direction] | None] = {fault: None}
            queue = deque([fault])
            while queue:
                section = queue.popleft()
                for beyond, switch, direction in self._at[section]:
                    if switch.number in conducting and beyond not in towards:
                        towards[beyond] = (section, switch, _REVERSED[direction])
                        queue.append(beyond)
            for source in sources:
                step = towards.get(source)
                while step is not None:
                    section, switch, direction = step
                    before = directions.get(switch.number, direction)
                    directions[switch.number] = direction if before is direction else Direction.BOTH
                    step = towards[section]
        return directions
