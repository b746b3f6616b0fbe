"""The primary equipment that a simulated plant is made of: sections and the switches between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SwitchKind = Literal["breaker", "load_break"]


class PlantNetworkError(ValueError):
    """A network that contradicts itself; the message names the switch or section."""


@dataclass(frozen=True, slots=True)
class PlantSection:
    """What lies between switches.

    Attributes:
        index: number of the section, unique in the network.
        name: for people.
        is_source: whether it is fed from above (busbar, transformer).
        load_a: what its consumers draw, A.
        generation_a: what its local generation feeds in while it runs, A.
        infeed: whether that generation also feeds faults and keeps an island under voltage (a rotating machine);
            without, it only offsets load (an inverter that follows the network).
    """

    index: int
    name: str
    is_source: bool = False
    load_a: float = 0.0
    generation_a: float = 0.0
    infeed: bool = False


@dataclass(frozen=True, slots=True)
class PlantSwitch:
    """A switch between two sections.

    Attributes:
        number: number of the switch, unique in the network.
        name: for people.
        sides: index of the section at side A and of the one at side B.
        kind: what it is.
        closed: position at the start.
        breaking_a: highest current it can interrupt, A.
        opening_time_s: from the open command until the current is broken and the position is off, s.
        closing_time_s: from the close command until it conducts and the position is on, s.
    """

    number: int
    name: str
    sides: tuple[int, int]
    kind: SwitchKind
    closed: bool
    breaking_a: float
    opening_time_s: float
    closing_time_s: float


@dataclass(frozen=True, slots=True)
class PlantNetwork:
    """Sections and switches of one plant.

    Raises:
        PlantNetworkError: for a number given twice, a side without section, infeed without generation, or a
            negative rating or time.
    """

    sections: tuple[PlantSection, ...]
    switches: tuple[PlantSwitch, ...]

    def __post_init__(self) -> None:
        indices: set[int] = set()
        for section in self.sections:
            if section.index in indices:
                raise PlantNetworkError(f"section {section.index}: given twice")
            indices.add(section.index)
            if section.load_a < 0 or section.generation_a < 0:
                raise PlantNetworkError(f"section {section.index}: negative load or generation")
            if section.infeed and not section.generation_a:
                raise PlantNetworkError(f"section {section.index}: infeed without generation")
        numbers: set[int] = set()
        for switch in self.switches:
            if switch.number in numbers:
                raise PlantNetworkError(f"switch {switch.number}: given twice")
            numbers.add(switch.number)
            for side in switch.sides:
                if side not in indices:
                    raise PlantNetworkError(f"switch {switch.number}: section {side} does not exist")
            if switch.sides[0] == switch.sides[1]:
                raise PlantNetworkError(f"switch {switch.number}: both sides in section {switch.sides[0]}")
            if switch.kind not in ("breaker", "load_break"):
                raise PlantNetworkError(f"switch {switch.number}: kind {switch.kind!r} is not breaker or load_break")
            if min(switch.breaking_a, switch.opening_time_s, switch.closing_time_s) < 0:
                raise PlantNetworkError(f"switch {switch.number}: negative rating or operating time")
