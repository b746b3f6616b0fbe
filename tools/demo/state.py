"""What a picture of a feeder shows: its switches and sections at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SwitchState:
    """A switch between two sections.

    Attributes:
        name: name shown beside it, unique in the feeder.
        kind: how it is drawn: circuit breaker (recloser) or load-break switch.
        section_a: name of the section on one side.
        section_b: name of the section on the other side.
        position: as last reported; ``unknown`` covers intermediate and faulty.
        tie: normally open, whatever its position now; such switches do not shape the picture.
        locked: locked out against closing.
        agent_alive: its agent is heard.
    """

    name: str
    kind: Literal["breaker", "load_break"]
    section_a: str
    section_b: str
    position: Literal["open", "closed", "unknown"]
    tie: bool = False
    locked: bool = False
    agent_alive: bool = True


@dataclass(frozen=True, slots=True)
class SectionState:
    """What lies between switches.

    Attributes:
        name: name shown beside it, unique in the feeder.
        energised: under voltage.
        faulted: declared faulted.
        source: fed from above (busbar, transformer).
        load_a: load current of its consumers when served, in A.
    """

    name: str
    energised: bool
    faulted: bool = False
    source: bool = False
    load_a: float = 0.0


@dataclass(frozen=True, slots=True)
class FeederState:
    """Feeders with their sources and ties, in the order in which they are shown."""

    sections: tuple[SectionState, ...]
    switches: tuple[SwitchState, ...]

    @property
    def served_a(self) -> float:
        """Load of the energised sections, in A."""
        return sum(section.load_a for section in self.sections if section.energised)

    @property
    def load_a(self) -> float:
        """Load of all sections, in A."""
        return sum(section.load_a for section in self.sections)
