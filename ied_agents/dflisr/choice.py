"""Which ties restore a dead island, and at which switches it is split for that (design section 4, step 3).

The sections of an island and the closed switches between them form a tree. A choice gives every section to one offer
or leaves it dark; the switch between two sections is split where they do not go together and one of them is served.
The search walks the tree from its leaves to its root and keeps, for every section and every offer that could reach it,
what can become of everything beyond: only those states that no other one beats in worth while needing no more. Kept
whole, these lists hold the best choice there is. To have a good one early they are cut short at first, and widened
until nothing had to be cut or the effort is spent.

A loop is opened in every possible way first: in a part that is not a tree nobody knows what flows where, so it is not
fed.

Currents are whole numbers here, so that equal ones are equal: loads and ratings in mA; what an element can spare, and
what is asked of it, in dA (0.1 A), the unit in which capacity is reserved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ied_agents.dflisr.records import Bound


class Offer(NamedTuple):
    """A switch that could energise the island.

    Attributes:
        bound: the switch and its side that looks into the island.
        section: section of the island at that side.
        elements: what its current flows through on the way from the source, as (key, spare in A): the switch itself,
            those of its path, shared elements. The same key in two offers is the same element: it carries both (of two
            spares the lower holds).
        head: True for the breaker that fed the island before and restores what it carried; preferred among equals.
    """

    bound: Bound
    section: int
    elements: tuple[tuple[int, float], ...]
    head: bool


class Inner(NamedTuple):
    """A closed, dead switch inside the island.

    Attributes:
        number: the switch.
        sections: section at side A and at side B.
        rating_a: in A.
        may_split: True if it can be opened and held.
    """

    number: int
    sections: tuple[int, int]
    rating_a: float
    may_split: bool


class Part(NamedTuple):
    """What one switch is to energise; ``amount_a`` is its load, rounded up to 0.1 A."""

    bound: Bound
    sections: frozenset[int]
    amount_a: float


class Choice(NamedTuple):
    """How to restore an island; without parts, nothing of it can be.

    Attributes:
        parts: in the order to be asked, the worthiest first.
        splits: inner switches to open and hold before.
        served_a: load of all parts, in A.
    """

    parts: tuple[Part, ...]
    splits: tuple[int, ...]
    served_a: float


_State: TypeAlias = tuple[int, int, int, int, int, int]
"""What can become of a subtree: (worth; what may still be added to the open part at the root of the subtree, in mA;
load of that part, in mA; use of what is scarce; least spare left by closed parts, in dA; ties and splits)."""

_DARK: Final = -1
_UNLOADED: Final = 1 << 62
"""The least spare left by a choice that carries nothing: above any current."""
_NOTHING_YET: Final[_State] = (0, 0, 0, 0, _UNLOADED, 0)

_FIRST_WIDTH: Final = 8
_WIDENING: Final = 2

_STEP: Final = 5
_COMPARED: Final = 8
"""What costs effort: a state looked at 1, every step of a walk and every section of a tree ``_STEP``, ``_COMPARED``
comparisons 1; so that effort goes with time."""

_FIELD_BITS: Final = 64
"""Uses of scarce things are fields of one integer, added and compared at once; the top bit of a field stays free, so
that it shows whether a subtraction had to borrow."""
_FIELD: Final = (1 << _FIELD_BITS) - 1


def _milli(amperes: float) -> int:
    return round(amperes * 1000)


def _deci_up(milliamperes: int) -> int:
    return -(-milliamperes // 100)


@dataclass(frozen=True, slots=True)
class _Edge:
    """An inner switch; ``rating`` in mA, ``bit`` stands for its split."""

    inner: Inner
    rating: int
    bit: int


@dataclass(frozen=True, slots=True)
class _Tie:
    """An offer, reduced to what decides.

    Attributes:
        offer: the offer.
        cap: least spare of all its elements, in mA.
        own: least spare of those that no other offer uses, in dA.
        use: what closing it takes of what is scarce, whatever it carries.
        use_per_da: what each dA takes of that.
        closing: worth of closing it.
        bit: stands for it in masks.
    """

    offer: Offer
    cap: int
    own: int
    use: int
    use_per_da: int
    closing: int
    bit: int


@dataclass(frozen=True, slots=True)
class _Tree:
    """The island with its loops opened.

    Attributes:
        order: sections, each after its parent.
        up: parent and switch towards it, of every section that is not a root.
        splits: switches split to open loops.
        dark: sections left dark, so that a loop between them may stay.
    """

    order: list[int]
    up: dict[int, tuple[int, _Edge]]
    splits: tuple[_Edge, ...] = ()
    dark: frozenset[int] = frozenset()


class _Island:
    """The question in whole numbers.

    Attributes:
        loads: of every section, in mA.
        worth: of serving each section. One number stands for the lexicographic order: load of the highest priority,
            then of the next, and so on; operations spared; sections served; heads used.
        operation: worth of an operation spared.
        edges: inner switches.
        ties: offers that could take at least their own section; lowest switch first.
        shared: limit of each group of elements that the same offers use, in dA, by its field.
        limits: of all that is scarce, a field each: parts, splits, shared.
        guards: the free bits of these fields.
        split_use: what a split takes of what is scarce.
        cut: what a part asks for more at each of its splits, in mA.
    """

    def __init__(
        self,
        loads: Mapping[int, float],
        priorities: Mapping[int, int],
        inner: Sequence[Inner],
        offers: Sequence[Offer],
        most_parts: int,
        most_splits: int,
        cut_a: float,
    ) -> None:
        self.cut = _milli(cut_a)
        self.loads = {section: _milli(max(0.0, load)) for section, load in sorted(loads.items())}
        switches = sorted(inner)
        self.edges = [_Edge(i, _milli(i.rating_a), 1 << place) for place, i in enumerate(reversed(switches))]
        spare: dict[int, int] = {}
        for key, spare_a in chain.from_iterable(offer.elements for offer in offers):
            spare[key] = min(spare.get(key, _UNLOADED), _milli(spare_a) // 100)
        usable = sorted(o for o in offers if min(spare[key] for key, _ in o.elements) * 100 >= self.loads[o.section])
        section_worth = len(usable) + 1
        self.operation = section_worth * (len(loads) + 1)
        level_worth = self.operation * (len(inner) + len(usable) + 1)
        self.worth: dict[int, int] = {}
        for level in sorted({priorities.get(section, 0) for section in loads}):
            members = [section for section in loads if priorities.get(section, 0) == level]
            for section in members:
                self.worth[section] = level_worth * self.loads[section] + section_worth
            level_worth *= 1 + sum(self.loads[section] for section in members)
        self._take_stock(usable, spare, most_parts, most_splits)

    def _take_stock(self, usable: list[Offer], spare: dict[int, int], most_parts: int, most_splits: int) -> None:
        """Find what is scarce: elements by the offers that use them, parts and splits where they could run out."""
        users: dict[int, set[int]] = {}
        for place, offer in enumerate(usable):
            for key, _ in offer.elements:
                users.setdefault(key, set()).add(place)
        groups: dict[frozenset[int], int] = {}
        for key, places in users.items():
            group = frozenset(places)
            groups[group] = min(groups.get(group, _UNLOADED), spare[key])
        self.shared: dict[int, int] = {}
        self.limits = most_parts | most_splits << _FIELD_BITS
        use_per_da = [0] * len(usable)
        field = 2 * _FIELD_BITS
        for group, limit in groups.items():
            if len(group) > 1:
                self.shared[field] = limit
                self.limits |= limit << field
                for place in group:
                    use_per_da[place] |= 1 << field
                field += _FIELD_BITS
        # An unlimited thing is not counted: states that differ in nothing else can then replace one another.
        self.split_use = (sum(edge.inner.may_split for edge in self.edges) > most_splits) << _FIELD_BITS
        part_use = int(len(usable) > most_parts)
        self.guards = sum(1 << bit for bit in range(_FIELD_BITS - 1, field, _FIELD_BITS))
        self.ties = [
            _Tie(
                offer,
                min(spare[key] for key, _ in offer.elements) * 100,
                groups.get(frozenset({place}), _UNLOADED),
                part_use,
                use_per_da[place],
                int(offer.head) - self.operation,
                1 << len(self.edges) + len(usable) - 1 - place,
            )
            for place, offer in enumerate(usable)
        ]

    def tree(self, opened: Collection[_Edge] = ()) -> _Tree:
        """What hangs together by switches other than ``opened``, walked from the lowest section."""
        around: dict[int, list[tuple[int, _Edge]]] = {section: [] for section in self.loads}
        for edge in self.edges:
            if edge not in opened:
                a, b = edge.inner.sections
                around[a].append((b, edge))
                around[b].append((a, edge))
        order: list[int] = []
        up: dict[int, tuple[int, _Edge]] = {}
        known: set[int] = set()
        for root in self.loads:
            if root not in known:
                known.add(root)
                place = len(order)
                order.append(root)
                while place < len(order):
                    section = order[place]
                    place += 1
                    for other, edge in around[section]:
                        if other not in known:
                            known.add(other)
                            order.append(other)
                            up[other] = section, edge
        return _Tree(order, up)

    def trees(self) -> Iterator[_Tree | None]:
        """Every way to open the loops; None stands for a way that did not."""
        connected = len(self.tree().up)
        for opened in combinations(self.edges, len(self.edges) - connected):
            tree = self.tree(opened)
            if len(tree.up) < connected:
                yield None
                continue
            for kept in product((False, True), repeat=len(opened)):
                split = tuple(edge for edge, keep in zip(opened, kept, strict=True) if not keep)
                dark = frozenset(
                    s for edge, keep in zip(opened, kept, strict=True) if keep for s in edge.inner.sections
                )
                feasible = all(edge.inner.may_split for edge in split)
                yield _Tree(tree.order, tree.up, split, dark) if feasible else None

    def reach(self, tree: _Tree, tie: _Tie) -> set[int]:
        """Sections that ``tie`` could feed if it fed nothing beside its way to them."""
        around: dict[int, list[tuple[int, _Edge]]] = {section: [] for section in self.loads}
        for section, (parent, edge) in tree.up.items():
            around[section].append((parent, edge))
            around[parent].append((section, edge))
        start = tie.offer.section
        taken = {start: self.loads[start]}
        waiting = [start]
        while waiting:
            section = waiting.pop()
            for other, edge in around[section]:
                load = taken[section] + self.loads[other]
                if other not in taken and load <= tie.cap and self.loads[other] <= edge.rating:
                    taken[other] = load
                    waiting.append(other)
        return set(taken)

    def whole(self) -> Choice | None:
        """The choice without splits: one offer takes everything."""
        tree = self.tree()
        if len(tree.up) != len(self.edges) or len(tree.order) != len(tree.up) + 1:
            return None
        below = dict(self.loads)
        for section in reversed(tree.order[1:]):
            below[tree.up[section][0]] += below[section]
        amount = below[tree.order[0]]
        able = [tie for tie in self.ties if amount <= tie.cap and self._carries(tree, below, amount, tie)]
        if not able:
            return None
        return self.choice(max(able, key=lambda tie: (tie.offer.head, tie.cap, tie.bit)).bit)

    @staticmethod
    def _carries(tree: _Tree, below: dict[int, int], amount: int, tie: _Tie) -> bool:
        towards_root = set()
        section = tie.offer.section
        while section in tree.up:
            towards_root.add(section)
            section = tree.up[section][0]
        return all(
            (amount - below[section] if section in towards_root else below[section]) <= edge.rating
            for section, (_, edge) in tree.up.items()
        )

    def choice(self, mask: int) -> Choice:
        """The choice that ``mask`` stands for, without splits between two dark sections."""
        split = [edge for edge in self.edges if mask & edge.bit]
        tree = self.tree(split)
        root: dict[int, int] = {}
        for section in tree.order:
            root[section] = root[tree.up[section][0]] if section in tree.up else section
        parts: list[tuple[int, Part]] = []
        for tie in self.ties:
            if mask & tie.bit:
                sections = frozenset(s for s in root if root[s] == root[tie.offer.section])
                cuts = sum(not sections.isdisjoint(edge.inner.sections) for edge in split)
                amount_a = _deci_up(sum(self.loads[s] for s in sections) + cuts * self.cut) / 10
                parts.append((-sum(self.worth[s] for s in sections), Part(tie.offer.bound, sections, amount_a)))
        served = frozenset[int]().union(*(part.sections for _, part in parts))
        return Choice(
            tuple(part for _, part in sorted(parts)),
            tuple(sorted(edge.inner.number for edge in split if served.intersection(edge.inner.sections))),
            sum(self.loads[s] for s in served) / 1000,
        )


class _ExhaustedError(Exception):
    """The effort is spent."""


class _Meter:
    """Counts states looked at. A first walk, short as its lists are, always comes to its end."""

    def __init__(self, effort: int) -> None:
        self._left = effort
        self.enforced = False

    def spend(self, effort: int) -> None:
        self._left -= effort
        if self._left < 0 and self.enforced:
            raise _ExhaustedError


class _Walk:
    """One walk over a tree.

    Args:
        island: the question.
        tree: of the island.
        width: most states in a list.
        best: worth to be reached at least.
        meter: what the walk may cost.

    Attributes:
        cut: whether a list was cut short, so that a better choice may have been missed.
    """

    def __init__(self, island: _Island, tree: _Tree, width: int, best: int, meter: _Meter) -> None:
        self._island = island
        self._tree = tree
        self._width = width
        self._meter = meter
        self.cut = False
        self._reach = [island.reach(tree, tie) - tree.dark for tie in island.ties]
        reachable = frozenset[int]().union(*self._reach)
        self._hope = {section: island.worth[section] if section in reachable else 0 for section in tree.order}
        self._base: _State = (
            *(-island.operation * len(tree.splits), 0, 0, island.split_use * len(tree.splits), _UNLOADED),
            sum(edge.bit for edge in tree.splits),
        )
        # What a list must hold to be worth it, if everything beside it could be served as well.
        self._goal = best - self._base[0] - sum(self._hope.values())
        self._beyond = dict(self._hope)
        self._inside: dict[int, set[int]] = {section: set() for section in tree.order}
        for place, tie in enumerate(island.ties):
            self._inside[tie.offer.section].add(place)
        self._children: dict[int, list[tuple[int, _Edge]]] = {section: [] for section in tree.order}
        for section in reversed(tree.order):
            if section in tree.up:
                parent, edge = tree.up[section]
                self._beyond[parent] += self._beyond[section]
                self._inside[parent] |= self._inside[section]
                self._children[parent].append((section, edge))
        self._found: dict[tuple[int, int], list[_State]] = {}
        self._closed: dict[int, list[_State]] = {}
        self._apart: dict[int, list[_State]] = {}

    def result(self) -> tuple[int, int, int]:
        """Worth, least spare left and mask of the best choice; worth -1 if none is as good as required."""
        end, need = [self._base], self._goal + self._base[0]
        for section in reversed(self._tree.order):
            self._found[section, _DARK] = dark = self._dark(section)
            for place, reach in enumerate(self._reach):
                if section in reach:
                    self._found[section, place] = self._fed(section, place)
            closed = self._close(section)
            if section in self._tree.up:
                edge = self._tree.up[section][1]
                self._closed[section] = self._split(closed, edge)
                self._apart[section] = self._thin(self._closed[section] + self._split(dark, edge))
            else:
                need += self._beyond[section]
                end = self._join(end, dark + closed, need)
        return max(((state[0], self._least(state), state[5]) for state in end), default=(-1, 0, 0))

    def _least(self, state: _State) -> int:
        """Least spare left by a complete choice, in dA."""
        least = state[4]
        for field, limit in self._island.shared.items():
            used = state[3] >> field & _FIELD
            if used:
                least = min(least, limit - used)
        return least

    def _dark(self, section: int) -> list[_State]:
        """The section dark, and what can become of everything beyond."""
        states = [_NOTHING_YET]
        need = self._goal + self._hope[section]
        for child, _ in self._children[section]:
            need += self._beyond[child]
            states = self._join(states, self._found[child, _DARK] + self._closed[child], need)
        return states

    def _fed(self, section: int, place: int) -> list[_State]:
        """The section fed by one tie, and what can become of everything beyond."""
        island, tie = self._island, self._island.ties[place]
        load, worth = island.loads[section], island.worth[section]
        states: list[_State] = [(worth, tie.cap - load, load, 0, _UNLOADED, 0)]
        need = self._goal + self._hope[section]
        onward: list[tuple[int, list[_State]]] = []
        for child, edge in self._children[section]:
            with_it = self._found.get((child, place), [])
            if place in self._inside[child]:
                # The current comes from there: what may be added is what this switch lets through at most.
                through = [(s, min(s[1], edge.rating) - load) for s in with_it]
                states = [(s[0] + worth, slack, s[2] + load, *s[3:]) for s, slack in through if slack >= 0]
                need += self._beyond[child]
            else:
                apart = [(s[0], s[1], island.cut, *s[3:]) for s in self._apart[child]]
                onward.append((child, [s for s in with_it if s[2] <= edge.rating] + apart))
        for child, options in onward:
            need += self._beyond[child]
            states = self._join(states, options, need)
        return states

    def _close(self, section: int) -> list[_State]:
        """The section as the upper end of its part, whichever tie of the subtree feeds it."""
        island = self._island
        free = island.limits | island.guards
        cut = island.cut if section in self._tree.up else 0
        states: list[_State] = []
        for place in self._inside[section]:
            tie = island.ties[place]
            for worth, slack, amount, used, least, mask in self._found.get((section, place), []):
                if slack < cut:
                    continue
                asked = _deci_up(amount + cut)
                use = used + tie.use + tie.use_per_da * asked
                if (free - use) & island.guards == island.guards:
                    left = min(least, tie.own - asked) if asked else least
                    states.append((worth + tie.closing, 0, 0, use, left, mask | tie.bit))
        return self._thin(states)

    def _split(self, states: list[_State], edge: _Edge) -> list[_State]:
        """The states, cut off from what is above."""
        island = self._island
        if not edge.inner.may_split:
            return []
        free = island.limits | island.guards
        return [
            (worth - island.operation, 0, 0, used + island.split_use, least, mask | edge.bit)
            for worth, _, _, used, least, mask in states
            if (free - used - island.split_use) & island.guards == island.guards
        ]

    def _join(self, states: list[_State], options: list[_State], need: int) -> list[_State]:
        """Every state with every option of one more subtree, as far as limits allow and the goal needs."""
        self._meter.spend(_STEP + len(states) * len(options) // _COMPARED)
        guards = self._island.guards
        free = self._island.limits | guards
        return self._thin(
            [
                (worth + more, slack - added, amount + added, used + use, min(least, other), mask | bits)
                for worth, slack, amount, used, least, mask in states
                for more, _, added, use, other, bits in options
                if worth + more >= need and added <= slack and (free - used - use) & guards == guards
            ]
        )

    def _thin(self, states: list[_State]) -> list[_State]:
        """The states that no other one beats, the worthiest first."""
        states.sort(reverse=True)
        guards = self._island.guards
        kept: list[_State] = []
        for state in states:
            worth, slack, amount, used, least, mask = state
            self._meter.spend(1 + len(kept) // _COMPARED)
            free = used | guards
            for w, s, a, u, t, m in kept:
                if (
                    s >= slack
                    and a <= amount
                    and (free - u) & guards == guards
                    and (w > worth or (t >= least and m >= mask))
                ):
                    break
            else:
                kept.append(state)
        if len(kept) <= self._width:
            return kept
        self.cut = True
        # Evenly, from the worthiest to the one that needs least.
        last = len(kept) - 1
        return [kept[place * last // (self._width - 1)] for place in range(self._width)]


def choose(
    loads: Mapping[int, float],
    priorities: Mapping[int, int],
    inner: Sequence[Inner],
    offers: Sequence[Offer],
    *,
    most_parts: int,
    most_splits: int,
    cut_a: float = 0.0,
    effort: int,
) -> Choice:
    """Choose the ties that restore a dead island and the switches at which it is split for them.

    An offer that can take the whole island does. Else the load served counts first, by priority; then fewest
    operations (splits and closes); then sections served (those without load); then the head before other offers; then
    the largest least spare left in any element that takes up load; then the lowest switches.

    Args:
        loads: load of every section of the island in A; less than nothing counts as nothing.
        priorities: of sections, higher served first; 0 where not given.
        inner: closed switches inside the island.
        offers: switches that could energise it.
        most_parts: most ties that may be closed.
        most_splits: most switches that may be split.
        cut_a: what is added to the load of a part for each split at its edge, in A: what flowed there before is known
            only within the deadband of its measurement.
        effort: number of states after which the best choice found so far is taken. The same question always gives the
            same answer.

    Raises:
        KeyError: if a switch or an offer names a section that has no load given.
    """
    island = _Island(loads, priorities, inner, offers, most_parts, most_splits, cut_a)
    whole = island.whole()
    if whole is not None:
        return whole
    best, width, cut, meter = (0, _UNLOADED, 0), _FIRST_WIDTH, True, _Meter(effort)
    try:
        while cut:
            cut = False
            for tree in island.trees():
                meter.spend(_STEP * len(loads))
                if tree is not None:
                    walk = _Walk(island, tree, width, best[0], meter)
                    best = max(best, walk.result())
                    cut = cut or walk.cut
                    meter.enforced = True
            width *= _WIDENING
    except _ExhaustedError:
        pass
    return island.choice(best[2])
