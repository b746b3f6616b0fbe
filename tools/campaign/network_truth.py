"""The plant's network as the judge and the optimum see it: who hangs together, which way to a source, what is served.

Own graph search, on purpose: the agents' one is among what is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ied_agents.process.plant_network import PlantNetwork


class NetworkTruth:
    """Sections and the switches between them.

    Args:
        network: the plant's primary equipment.

    Attributes:
        sides: section at side A and at side B, by switch.
        at: by section the switches that look into it, each with its side there and the section beyond.
        sources: source sections.
        load_a: what the consumers of each section draw, A.
    """

    def __init__(self, network: PlantNetwork) -> None:
        self.sides = {switch.number: switch.sides for switch in network.switches}
        self.at: dict[int, list[tuple[int, int, int]]] = {section.index: [] for section in network.sections}
        for number, (a, b) in self.sides.items():
            self.at[a].append((number, 0, b))
            self.at[b].append((number, 1, a))
        self.sources = frozenset(section.index for section in network.sections if section.is_source)
        self.load_a = {section.index: section.load_a for section in network.sections}

    def reach(self, start: Iterable[int], conducting: Collection[int]) -> set[int]:
        """Sections connected with any of ``start`` through the conducting switches."""
        reached = set(start)
        new = list(reached)
        while new:
            for number, _, beyond in self.at[new.pop()]:
                if beyond not in reached and number in conducting:
                    reached.add(beyond)
                    new.append(beyond)
        return reached

    def islands(self, sections: Collection[int], conducting: Collection[int]) -> list[frozenset[int]]:
        """The sections, put together as they hang together; each island once, in the order of its first section."""
        found: list[frozenset[int]] = []
        seen: set[int] = set()
        for section in sections:
            if section not in seen:
                island = self.reach((section,), conducting)
                seen |= island
                found.append(frozenset(island))
        return found

    def ways(self, roots: Iterable[int], conducting: Collection[int]) -> dict[int, tuple[int, int] | None]:
        """By section that a root reaches the next switch and section on its way there; None at the root itself."""
        way: dict[int, tuple[int, int] | None] = dict.fromkeys(roots)
        new = list(way)
        for section in new:
            for number, _, beyond in self.at[section]:
                if beyond not in way and number in conducting:
                    way[beyond] = (number, section)
                    new.append(beyond)
        return way

    def boundary(self, island: Collection[int], conducting: Collection[int]) -> list[tuple[int, int]]:
        """Switch sides that look into the island and do not conduct."""
        return [
            (number, side)
            for section in sorted(island)
            for number, side, _ in self.at[section]
            if number not in conducting
        ]


def way_back(ways: dict[int, tuple[int, int] | None], section: int) -> list[int]:
    """Switches from a section to its root, by what :meth:`NetworkTruth.ways` found; empty at a root.

    Raises:
        KeyError: no root reaches the section.
    """
    switches = []
    step = ways[section]
    while step is not None:
        switches.append(step[0])
        step = ways[step[1]]
    return switches


def live_sections(network: PlantNetwork, conducting: Collection[int]) -> set[int]:
    """Sections that a source has under voltage, all sources being alive."""
    truth = NetworkTruth(network)
    return truth.reach(truth.sources, conducting)


def served_a(network: PlantNetwork, conducting: Collection[int]) -> float:
    """Load under voltage, A."""
    live = live_sections(network, conducting)
    return sum(section.load_a for section in network.sections if section.index in live)
