"""The network as the agents need it: switches between sections, islands, boundaries, paths to sources.

Plain graph search over a few dozen switches; whether a switch conducts is asked of the caller, who knows which
positions he may believe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ied_agents.dflisr.records import Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class FeederSwitch:
    """A switch with an agent.

    Attributes:
        number: its small integer in the SCD.
        name: equipment path, for messages.
        ied: IED that guards it.
        breaker: True for a breaker or recloser, False for a load-break switch.
        sides: section index at side A and at side B.
        normally_closed: normal position.
        rating_a: continuous rating in A.
        breaking_a: current it can interrupt in A.
        trip_delay_s: a breaker's own delay (time grading) in s; 0 for a load-break switch.
        operating_time_s: longest time from command to confirmed position, in s.
        shots: a breaker's dead times before each of its reclosing shots, in s; none for no reclosing.
        transfer_after_s: a head opens and asks to be fed from elsewhere after so long without supply, in s; 0 never.
        paralleling: two live sources may be connected here, for a return to normal without interruption.
    """

    number: int
    name: str
    ied: str
    breaker: bool
    sides: tuple[int, int]
    normally_closed: bool
    rating_a: float
    breaking_a: float
    trip_delay_s: float
    operating_time_s: float
    shots: tuple[float, ...] = ()
    transfer_after_s: float = 0.0
    paralleling: bool = False


@dataclass(frozen=True, slots=True)
class FeederSection:
    """What lies between switches with agents; a source section is fed from above, a higher priority served first."""

    index: int
    name: str
    is_source: bool
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SharedElement:
    """A transformer or busbar that several heads draw from; its load is the sum of theirs.

    Attributes:
        name: for messages.
        rating_a: continuous rating, referred to the heads' voltage, in A.
        owner: the head whose agent hands out its capacity.
        heads: switches next to the source that draw from it, the owner among them.
    """

    name: str
    rating_a: float
    owner: int
    heads: tuple[int, ...]


class Island(NamedTuple):
    """Sections that hang together, and the switch sides that bound them."""

    sections: frozenset[int]
    boundary: tuple[Bound, ...]
    inner: frozenset[int]


@dataclass(frozen=True)
class Feeder:
    """Switches and sections of all feeders that an agent may have to deal with.

    Raises:
        ValueError: a switch or shared element refers to something that is not there, or numbers repeat.
    """

    switches: tuple[FeederSwitch, ...]
    sections: tuple[FeederSection, ...]
    shared: tuple[SharedElement, ...] = ()
    by_number: dict[int, FeederSwitch] = field(init=False, compare=False)
    around: dict[int, tuple[Bound, ...]] = field(init=False, compare=False)
    """Section index to the switch sides that look into it, in SCD order."""

    def __post_init__(self) -> None:
        by_number = {switch.number: switch for switch in self.switches}
        if len(by_number) != len(self.switches):
            raise ValueError("switch numbers repeat")
        around: dict[int, list[Bound]] = {section.index: [] for section in self.sections}
        for switch in self.switches:
            for side, section in enumerate(switch.sides):
                if section not in around:
                    raise ValueError(f"switch {switch.name}: section {section} is not there")
                around[section].append(Bound(switch.number, side))
        for element in self.shared:
            if element.owner not in element.heads or not by_number.keys() >= set(element.heads):
                raise ValueError(f"shared element {element.name}: its owner must be a head of it, and heads switches")
        object.__setattr__(self, "by_number", by_number)
        object.__setattr__(self, "around", {index: tuple(bounds) for index, bounds in around.items()})
        object.__setattr__(self, "_sources", frozenset(s.index for s in self.sections if s.is_source))

    _sources: frozenset[int] = field(init=False, compare=False, repr=False)

    def section(self, bound: Bound) -> int:
        """The section that a switch side looks into."""
        return self.by_number[bound.switch].sides[bound.side]

    def is_source(self, section: int) -> bool:
        """Whether the section is fed from above."""
        return section in self._sources

    def has_source(self, sections: Iterable[int]) -> bool:
        """Whether any of the sections is fed from above."""
        return not self._sources.isdisjoint(sections)

    def peers(self, switch: int, section: int) -> list[Bound]:
        """The other switch sides that bound the section; a switch with both sides in it is no peer of itself."""
        return [bound for bound in self.around[section] if bound.switch != switch]

    def island(self, start: int, conducts: Callable[[int], bool]) -> Island:
        """All that hangs together with section ``start`` through switches that conduct.

        A switch both of whose sides are inside is on the boundary with both if it does not conduct.
        """
        sections = {start}
        inner: set[int] = set()
        boundary: list[Bound] = []
        queue = deque((start,))
        while queue:
            for bound in self.around[queue.popleft()]:
                if not conducts(bound.switch):
                    boundary.append(bound)
                    continue
                inner.add(bound.switch)
                beyond = self.by_number[bound.switch].sides[1 - bound.side]
                if beyond not in sections:
                    sections.add(beyond)
                    queue.append(beyond)
        return Island(frozenset(sections), tuple(boundary), frozenset(inner))

    def path_to_source(self, start: int, conducts: Callable[[int], bool]) -> list[int] | None:
        """Switches from section ``start`` to the nearest source section, nearest to ``start`` first; None if dead."""
        came_from: dict[int, tuple[int, int] | None] = {start: None}
        queue = deque((start,))
        while queue:
            section = queue.popleft()
            if section in self._sources:
                path = []
                step = came_from[section]
                while step is not None:
                    path.append(step[0])
                    step = came_from[step[1]]
                return path[::-1]
            for bound in self.around[section]:
                beyond = self.by_number[bound.switch].sides[1 - bound.side]
                if beyond not in came_from and conducts(bound.switch):
                    came_from[beyond] = (bound.switch, section)
                    queue.append(beyond)
        return None
