"""Where things go in a one-line diagram: feeders as trees from their sources, ties in a channel between them.

The layout depends on what is connected and which switches are ties, not on positions, so that pictures of one
feeder at different times compare. Units: a column per section of depth, a lane per end of a branch.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.demo.state import FeederState, SectionState, SwitchState


@dataclass(slots=True, eq=False)
class Branch:
    """A section in its tree.

    Attributes:
        section: the section.
        switch: the switch through which it is fed; None for the root.
        depth: number of switches up to the root.
        children: sections fed through it, the one with the longest way below it first.
        ties: switches from it that belong to no tree.
        lane: vertical position.
        tie_lanes: vertical positions at which its ties leave, in their order.
    """

    section: SectionState
    switch: SwitchState | None
    depth: int
    children: list[Branch] = field(default_factory=list)
    ties: list[SwitchState] = field(default_factory=list)
    lane: int = 0
    tie_lanes: list[int] = field(default_factory=list)

    def walk(self) -> list[Branch]:
        """Return this branch and all below it, each before its children."""
        found: list[Branch] = []
        stack = [self]
        while stack:
            found.append(branch := stack.pop())
            stack += reversed(branch.children)
        return found


@dataclass(frozen=True, slots=True)
class End:
    """Where a tie leaves a branch: at which lane, and whether of a tree that grows to the left."""

    branch: Branch
    lane: int
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A tie in the channel between the trees.

    Attributes:
        switch: the tie.
        first: its end further to the left or up.
        second: its other end.
        track: which vertical track of the channel joins their lanes; None where they face each other.
    """

    switch: SwitchState
    first: End
    second: End
    track: int | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Trees that grow from the left edge to the right, trees that face them, and the channel between.

    Attributes:
        left: roots of the former, from the top.
        right: roots of the latter, from the top.
        links: the ties in the channel.
        tracks: number of vertical tracks in the channel.
        lanes: height of the whole.
    """

    left: list[Branch]
    right: list[Branch]
    links: list[Link]
    tracks: int
    lanes: int


def grow_trees(state: FeederState) -> list[Branch]:
    """Return the feeders as trees, one per source, ties left out where every section is reached without."""
    sections = {section.name: section for section in state.sections}
    beside: dict[str, list[SwitchState]] = {name: [] for name in sections}
    for switch in state.switches:
        beside[switch.section_a].append(switch)
        beside[switch.section_b].append(switch)
    placed: dict[str, Branch] = {}
    used: set[str] = set()

    def grow(start: Iterable[Branch], *, over_ties: bool) -> None:
        queue = deque(start)
        while queue:
            branch = queue.popleft()
            for switch in beside[branch.section.name]:
                beyond = switch.section_b if switch.section_a == branch.section.name else switch.section_a
                if beyond in placed or (switch.tie and not over_ties):
                    continue
                used.add(switch.name)
                placed[beyond] = child = Branch(sections[beyond], switch, branch.depth + 1)
                branch.children.append(child)
                queue.append(child)

    def plant(section: SectionState) -> Branch:
        placed[section.name] = root = Branch(section, None, 0)
        return root

    roots = [plant(section) for section in state.sections if section.source]
    grow(roots, over_ties=False)
    grow(list(placed.values()), over_ties=True)
    for section in state.sections:
        if section.name not in placed:
            roots.append(plant(section))
            grow(roots[-1:], over_ties=True)
    for switch in state.switches:
        if switch.name not in used:
            placed[switch.section_a].ties.append(switch)
            placed[switch.section_b].ties.append(switch)
    for root in roots:
        heights: dict[int, int] = {}
        for branch in reversed(root.walk()):
            heights[id(branch)] = 1 + max((heights[id(child)] for child in branch.children), default=0)
            branch.children.sort(key=lambda child: -heights[id(child)])
    return roots


def lay_out(state: FeederState) -> Layout:
    """Place the trees of a feeder and the ties between them."""
    left, right = _take_sides(grow_trees(state))
    bottom = _assign_lanes(left, {})
    wanted = {
        switch.name: lane
        for root in left
        for branch in root.walk()
        for switch, lane in zip(branch.ties, branch.tie_lanes, strict=True)
    }
    right.sort(key=lambda root: _mean_wanted(root, wanted))
    for branch in (branch for root in right for branch in root.walk()):
        branch.children.sort(key=lambda child: _mean_wanted(child, wanted))
        branch.ties.sort(key=lambda switch: wanted.get(switch.name, math.inf))
    bottom = max(bottom, _assign_lanes(right, wanted))
    links, tracks = _link(left, right)
    return Layout(left, right, links, tracks, bottom)


def _take_sides(trees: list[Branch]) -> tuple[list[Branch], list[Branch]]:
    """Put trees that ties join on opposite sides, as far as that goes."""
    tree_at: dict[str, list[int]] = {}
    for number, root in enumerate(trees):
        for branch in root.walk():
            for switch in branch.ties:
                tree_at.setdefault(switch.name, []).append(number)
    on_right: dict[int, bool] = {}
    for start in range(len(trees)):
        queue = deque([start] if start not in on_right else [])
        on_right.setdefault(start, False)
        while queue:
            number = queue.popleft()
            for ends in tree_at.values():
                if number in ends:
                    for other in ends:
                        if other not in on_right:
                            on_right[other] = not on_right[number]
                            queue.append(other)
    return (
        [root for number, root in enumerate(trees) if not on_right[number]],
        [root for number, root in enumerate(trees) if on_right[number]],
    )


def _mean_wanted(root: Branch, wanted: dict[str, int]) -> float:
    """Return the mean lane that the ties of a branch and all below it lead to; infinity without any."""
    lanes = [wanted[switch.name] for branch in root.walk() for switch in branch.ties if switch.name in wanted]
    return sum(lanes) / len(lanes) if lanes else math.inf


def _assign_lanes(roots: list[Branch], wanted: dict[str, int]) -> int:
    """Give every branch and tie the topmost lane that is free in all columns it spans; return the next free.

    A trunk goes straight on in its lane, and with it a tie from its end. What leaves it goes below all that
    leaves it further on, so that no way out crosses another one.

    Args:
        roots: the trees, from the top.
        wanted: lanes that ties are to share with their other ends, across the channel. They are placed no
            higher, and no other tie into the channel gets such a lane.
    """
    columns = 2 + max((branch.depth for root in roots for branch in root.walk()), default=0)
    free = 0
    for root in roots:
        free_in = [free] * columns

        def claim(first: int, last: int, tie: SwitchState | None, free_in: list[int] = free_in) -> int:
            lane = max(free_in[first : last + 1])
            if tie is not None:
                own = wanted.get(tie.name)
                taken = set(wanted.values()) - {own}
                lane = max(lane, own or 0)
                while lane in taken:
                    lane += 1
            free_in[first : last + 1] = [lane + 1] * (last + 1 - first)
            return lane

        work: list[tuple[Branch, bool]] = [(root, False)]
        while work:
            start, ties_only = work.pop()
            if ties_only:
                for tie in start.ties[len(start.tie_lanes) :]:
                    start.tie_lanes.append(claim(start.depth + 1, columns - 1, tie))
                continue
            trunk = [start]
            while trunk[-1].children:
                trunk.append(trunk[-1].children[0])
            end = trunk[-1]
            if end.ties:
                lane = claim(start.depth, columns - 1, end.ties[0])
                end.tie_lanes.append(lane)
            else:
                lane = claim(start.depth, end.depth, None)
            for branch in trunk:
                branch.lane = lane
                work.append((branch, True))
                work += [(child, False) for child in reversed(branch.children[1:])]
        free = max(free_in)
    return free


def _link(left: list[Branch], right: list[Branch]) -> tuple[list[Link], int]:
    """Pair the ends of each tie, and give those that are not level a track on which no other one passes."""
    ends: dict[str, list[End]] = {}
    ties: dict[str, SwitchState] = {}
    for root in (*left, *right):
        for branch in root.walk():
            for switch, lane in zip(branch.ties, branch.tie_lanes, strict=True):
                ties[switch.name] = switch
                ends.setdefault(switch.name, []).append(End(branch, lane, mirrored=root in right))
    links = []
    taken: list[list[tuple[int, int]]] = []
    for name, (first, second) in ends.items():
        track = None
        if first.lane != second.lane or first.mirrored == second.mirrored:
            top, bottom = sorted((first.lane, second.lane))
            fits = (n for n, spans in enumerate(taken) if all(bottom < low or high < top for low, high in spans))
            track = next(fits, len(taken))
            if track == len(taken):
                taken.append([])
            taken[track].append((top, bottom))
        links.append(Link(ties[name], first, second, track))
    return links, len(taken)
