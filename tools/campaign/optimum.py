"""The best that can be done for one dead island: every split and every assignment of ties, tried.

Branch and bound over the sections in the order of a walk from one of them: each goes with its parent, or is cut off
from it and fed by a tie of its own, or is left dark. What is left out by a bound is proven to be no better: the bound
supposes that all load not decided yet is served as far as there is capacity at all. Nothing of the agents' own choice
(``ied_agents.dflisr.choice``) is used, neither code nor method.

Best is, in this order: most load of the highest priority, of the next one and so on, then fewest operations.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

EFFORT: Final = 400_000
"""Steps after which a search is given up where it may be; some seconds."""
ALWAYS_FINISHED: Final = 12
"""Inner switches up to which a search is never given up."""
_DARK: Final = -1


class Load(NamedTuple):
    """What a section draws, A: ``served_a`` counts as served, ``needed_a`` is what must be provided for it."""

    served_a: float
    needed_a: float
    priority: int = 0


class Feed(NamedTuple):
    """A switch that could energise the island.

    Attributes:
        switch: its number.
        section: what it would energise directly.
        elements: what its current would flow through, itself included, the one next to the source last.
        assured_a: up to this, A, it needs no leave: what it has carried into this island before.
    """

    switch: int
    section: int
    elements: tuple[Hashable, ...]
    assured_a: float = 0.0


@dataclass(frozen=True, slots=True)
class Island:
    """What is dark and how it could be fed.

    Attributes:
        loads: by section.
        inner: dead closed switches between two of them: number, sections, rating in A.
        feeds: who could energise it.
        spare_a: what each element of the feeds can carry yet, A, all feeds together.
        cut_a: what a cut adds to the need of the part at either side, A: one more current that is not known exactly.
        most_parts: how many feeds can be used together.
        most_cuts: how many inner switches can be opened.
    """

    loads: Mapping[int, Load]
    inner: Mapping[int, tuple[int, int, float]]
    feeds: tuple[Feed, ...]
    spare_a: Mapping[Hashable, float]
    cut_a: float = 0.0
    most_parts: int = 4
    most_cuts: int = 4


@dataclass(frozen=True, slots=True)
class Best:
    """What can be done at best.

    Attributes:
        served_a: load served, A, by priority.
        operations: switches to open or close for it.
        parts: by feed the sections it takes.
        cuts: inner switches to open.
        proven: False if the search was given up: then there may be better.
    """

    served_a: dict[int, float] = field(default_factory=dict)
    operations: int = 0
    parts: dict[int, frozenset[int]] = field(default_factory=dict)
    cuts: frozenset[int] = frozenset()
    proven: bool = True

    @property
    def total_a(self) -> float:
        """Load served, A."""
        return sum(self.served_a.values())


def best(island: Island, effort: int = EFFORT) -> Best:
    """Find the best for an island.

    Args:
        island: a tree of sections; a ring is not judged: the answer is nothing, not proven.
        effort: steps after which an island of more than ``ALWAYS_FINISHED`` inner switches is given up.
    """
    if len(island.inner) != len(island.loads) - 1:
        return Best(proven=False)
    search = _Search(island, effort if len(island.inner) > ALWAYS_FINISHED else 0)
    return search.run()


def better(one: Mapping[int, float], other: Mapping[int, float], tolerance_a: float = 0.0) -> bool:
    """Whether ``one`` serves more than ``other``, by the highest priority in which they differ by more than that."""
    for priority in sorted(one.keys() | other.keys(), reverse=True):
        difference = one.get(priority, 0.0) - other.get(priority, 0.0)
        if abs(difference) > tolerance_a:
            return difference > 0
    return False


class _GivenUp(Exception):  # noqa: N818 (no error: it ends a search)
    """The effort is spent."""


def _ma(amperes: float) -> int:
    """In whole mA, so that equal sums are equal."""
    return round(amperes * 1000)


class _Search:
    """One search. Sections are numbered by their place in the walk; currents are in mA.

    Args:
        island: which.
        effort: steps; 0 for no limit.
    """

    def __init__(self, island: Island, effort: int) -> None:
        self._island = island
        self._effort = effort
        self._steps = 0
        self._levels = sorted({load.priority for load in island.loads.values()}, reverse=True)
        self._walk()
        self._prepare_loads()
        self._prepare_feeds()
        places = len(self._order)
        feeds = len(self._feeds)
        self._label = [_DARK] * places
        self._need = [0] * feeds
        self._top = [-1] * feeds
        self._through = [0] * places
        """By section what flows through the switch towards its parent."""
        self._used: Counter[Hashable] = Counter()
        self._served = [0] * len(self._levels)
        self._parts = 0
        self._cuts = 0
        self._best_key: tuple[tuple[int, ...], int] = (tuple([0] * len(self._levels)), 0)
        self._best_label = list(self._label)

    # -- preparation ----------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        """Put the sections into the order of a walk, each subtree in one piece."""
        island = self._island
        around: dict[int, list[tuple[int, int]]] = {section: [] for section in island.loads}
        for number, (a, b, _) in island.inner.items():
            around[a].append((number, b))
            around[b].append((number, a))
        start = island.feeds[0].section if island.feeds else next(iter(island.loads))
        self._order: list[int] = []
        self._parent: list[int] = []
        self._switch: list[int] = []
        self._end: list[int] = []
        self._place: dict[int, int] = {}

        def visit(section: int, parent: int, by: int) -> None:
            place = len(self._order)
            self._place[section] = place
            self._order.append(section)
            self._parent.append(parent)
            self._switch.append(by)
            self._end.append(0)
            for number, beyond in around[section]:
                if number != by:
                    visit(beyond, place, number)
            self._end[place] = len(self._order)

        visit(start, -1, -1)

    def _prepare_loads(self) -> None:
        loads = [self._island.loads[section] for section in self._order]
        self._load = [_ma(load.served_a) for load in loads]
        self._needed = [_ma(load.needed_a) for load in loads]
        self._level = [self._levels.index(load.priority) for load in loads]
        # What is still to come from a place on, by level.
        places = len(loads)
        self._rest = [[0] * len(self._levels) for _ in range(places + 1)]
        for place in range(places - 1, -1, -1):
            self._rest[place] = list(self._rest[place + 1])
            self._rest[place][self._level[place]] += self._load[place]
        self._rating = [_ma(self._island.inner[number][2]) if number >= 0 else 0 for number in self._switch]
        self._cut_need = _ma(self._island.cut_a)

    def _prepare_feeds(self) -> None:
        island = self._island
        self._spare = {element: _ma(spare) for element, spare in island.spare_a.items()}
        self._feeds = [feed for feed in island.feeds if feed.section in self._place]
        self._entry = [self._place[feed.section] for feed in self._feeds]
        self._assured = [_ma(feed.assured_a) for feed in self._feeds]
        self._limit = [
            max(self._assured[i], min(self._spare[e] for e in feed.elements)) for i, feed in enumerate(self._feeds)
        ]
        # By feed and place the switches on the way between them, each named by the section below it.
        self._way: list[list[list[int]]] = [
            [self._between(entry, place) for place in range(len(self._order))] for entry in self._entry
        ]
        at_source: dict[Hashable, list[int]] = {}
        for i, feed in enumerate(self._feeds):
            at_source.setdefault(feed.elements[-1], []).append(i)
        self._groups = list(at_source.items())

    def _between(self, one: int, other: int) -> list[int]:
        """The switches on the way between two sections, each named by the section below it."""
        way = []
        while one != other:
            if one > other:
                way.append(one)
                one = self._parent[one]
            else:
                way.append(other)
                other = self._parent[other]
        return way

    # -- search ---------------------------------------------------------------------------------------------------

    def run(self) -> Best:
        proven = True
        try:
            self._decide(0)
        except _GivenUp:
            proven = False
        return self._result(proven=proven)

    def _decide(self, place: int) -> None:
        """Try everything for the section at ``place`` and all behind it."""
        self._steps += 1
        if self._effort and self._steps > self._effort:
            raise _GivenUp
        if place == len(self._order):
            key = (tuple(self._served), -self._parts - self._cuts)
            if key > self._best_key:
                self._best_key = key
                self._best_label = list(self._label)
            return
        if not self._promising(place):
            return
        parent = self._parent[place]
        above = self._label[parent] if parent >= 0 else _DARK
        if above != _DARK:
            self._take(place, above, cut=False)
            if place <= self._entry[above] < self._end[place]:
                return  # the feed is below: what it feeds above hangs on this section
        for feed, entry in enumerate(self._entry):
            if place <= entry < self._end[place] and feed != above:
                self._take(place, feed, cut=parent >= 0)
        self._leave(place, cut=above != _DARK)

    def _promising(self, place: int) -> bool:
        """Whether what is still to come could make this better than the best so far."""
        spare = self._spare_left(place)
        bound = []
        for level, rest in enumerate(self._rest[place]):
            more = min(rest, spare)
            spare -= more
            bound.append(self._served[level] + more)
        return (tuple(bound), -self._parts - self._cuts) > self._best_key

    def _spare_left(self, place: int) -> int:
        """What all feeds together can take yet, at most; one whose subtree is behind us takes nothing more."""
        total = 0
        for source, feeds in self._groups:
            left = 0
            assured = 0
            for i in feeds:
                if self._may_grow(i, place):
                    left += self._limit[i] - self._need[i]
                    assured += max(0, self._assured[i] - self._need[i])
            total += min(left, max(assured, self._spare[source] - self._used[source]))
        return total

    def _may_grow(self, feed: int, place: int) -> bool:
        top = self._top[feed]
        if top >= 0:
            return self._end[top] > place
        return self._entry[feed] >= place and self._parts < self._island.most_parts

    def _take(self, place: int, feed: int, *, cut: bool) -> None:
        """Let a feed have the section at ``place``, go on from there, and take it back."""
        parent = self._parent[place]
        above = self._label[parent] if parent >= 0 else _DARK
        starts = above != feed
        if starts and self._parts == self._island.most_parts:
            return
        if cut and self._cuts == self._island.most_cuts:
            return
        needs = [(feed, place, self._needed[place] + (self._cut_need if cut else 0))]
        if cut and above != _DARK:
            needs.append((above, parent, self._cut_need))
        top = self._top[feed]
        self._label[place] = feed
        self._parts += starts
        self._cuts += cut
        self._served[self._level[place]] += self._load[place]
        if starts:
            self._top[feed] = place
        if self._add(needs):
            self._decide(place + 1)
        self._remove(needs)
        self._top[feed] = top
        self._served[self._level[place]] -= self._load[place]
        self._cuts -= cut
        self._parts -= starts
        self._label[place] = _DARK

    def _leave(self, place: int, *, cut: bool) -> None:
        """Leave the section at ``place`` dark, go on from there, and come back."""
        if not cut:
            self._decide(place + 1)
            return
        if self._cuts == self._island.most_cuts:
            return
        parent = self._parent[place]
        needs = [(self._label[parent], parent, self._cut_need)]
        self._cuts += 1
        if self._add(needs):
            self._decide(place + 1)
        self._remove(needs)
        self._cuts -= 1

    def _add(self, needs: list[tuple[int, int, int]]) -> bool:
        """Let feeds carry more, each to a place; False if that is too much anywhere."""
        possible = True
        for feed, place, need in needs:
            self._need[feed] += need
            for element in self._feeds[feed].elements:
                self._used[element] += need
            for below in self._way[feed][place]:
                self._through[below] += need
                possible = possible and self._through[below] <= self._rating[below]
        return possible and all(self._within(feed) for feed, _, _ in needs)

    def _remove(self, needs: list[tuple[int, int, int]]) -> None:
        for feed, place, need in needs:
            self._need[feed] -= need
            for element in self._feeds[feed].elements:
                self._used[element] -= need
            for below in self._way[feed][place]:
                self._through[below] -= need

    def _within(self, feed: int) -> bool:
        """Whether every element of a feed has room, or only feeds draw on it that need no leave."""
        return all(
            self._used[element] <= self._spare[element]
            or all(
                self._need[i] <= self._assured[i]
                for i, other in enumerate(self._feeds)
                if self._need[i] and element in other.elements
            )
            for element in self._feeds[feed].elements
        )

    def _result(self, *, proven: bool) -> Best:
        served: dict[int, float] = {}
        parts: dict[int, set[int]] = {}
        cuts = set()
        for place, label in enumerate(self._best_label):
            section = self._order[place]
            parent = self._parent[place]
            if parent >= 0 and label != self._best_label[parent]:
                cuts.add(self._switch[place])
            if label != _DARK:
                load = self._island.loads[section]
                served[load.priority] = served.get(load.priority, 0.0) + load.served_a
                parts.setdefault(self._feeds[label].switch, set()).add(section)
        return Best(
            served_a=served,
            operations=len(parts) + len(cuts),
            parts={switch: frozenset(sections) for switch, sections in parts.items()},
            cuts=frozenset(cuts),
            proven=proven,
        )
