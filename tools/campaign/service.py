"""I7: what the agents have brought back under voltage, beside the best that could have been done.

The network is put back to what it was between isolation and restoration: switches that agents closed under a claim are
open again, those they opened to split an island are closed. What is dark then and healthy are the islands. They are
judged in the order in which they were granted, each with the capacity that those before it have left, and with the
supplies that were alive when it was claimed. Those that were granted nothing come last and see the end, less what those
of them before could have had.

The optimum leaves the agents what their measurements may be wrong by: ``MARGIN_A`` on every switch from the source to
the tie and on every head of a shared element, as their ledger does, and on every current that bounds a part, since a
part's load is known from those. What generation feeds back through one head is not counted for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from scl.agent_model import BOUNDARY, GRANTS
from tools.campaign.network_truth import NetworkTruth, way_back
from tools.campaign.optimum import Best, Feed, Island, Load, best, better

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    from ied_agents.dflisr.feeder import SharedElement
    from tools.campaign.feeders import FeederSystem

MARGIN_A: Final = 1.0
"""What agents measure may be this much behind (``dflisr.capacity.FLOW_DEADBAND_A``)."""
KEPT_FREE_A: Final = 2 * MARGIN_A
"""On every element: what is measured may be too large by the margin, and the margin is kept free."""
_REQUEST_STEP_A: Final = 0.1
"""Capacity is asked for in tenths of an ampere, rounded up."""
_NEVER: Final = float("inf")


class Restoring(NamedTuple):
    """A close under a claim that still stands.

    Attributes:
        section: what it was to energise.
        claimed_at, granted_at, closed_at: s.
        load_a: what every switch carried before it closed, A: a later fault may have made room that was not there.
    """

    section: int
    claimed_at: float
    granted_at: float
    closed_at: float
    load_a: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at the end, by the plant's truth and by what people and agents have put on the switches.

    Attributes:
        conducting: switches that conduct.
        live_sources: sources under voltage.
        generation_a: local generation that runs, by section, A.
        closed_before, flow_before_a: switches that conducted, and what they carried, A, before anything happened.
        restoring: closes under claims that still stand, by switch.
        split: switches that are held open since they were opened to split an island.
        locked: switches that are durably locked, so that no claim need ask them.
        not_closable: switches that may not be closed: locked, tagged, not in service and the like.
        out: sections that nobody should have restored: faulted, suspect, widened.
    """

    conducting: frozenset[int]
    live_sources: frozenset[int]
    generation_a: Mapping[int, float]
    closed_before: frozenset[int]
    flow_before_a: Mapping[int, float]
    restoring: Mapping[int, Restoring]
    split: frozenset[int]
    locked: frozenset[int]
    not_closable: frozenset[int]
    out: frozenset[int]


class Missed(NamedTuple):
    """An island of which more could have been served: what was, and how the best would be done."""

    sections: tuple[int, ...]
    served_a: Mapping[int, float]
    best: Best

    def __str__(self) -> str:
        """For a person who wants to know what should have been done."""
        how = "; ".join(f"switch {feed} for sections {sorted(part)}" for feed, part in sorted(self.best.parts.items()))
        cuts = f", split at {sorted(self.best.cuts)}" if self.best.cuts else ""
        return (
            f"of the dark sections {list(self.sections)} {_amounts(self.served_a)} is served; "
            f"possible is {_amounts(self.best.served_a)}: {how}{cuts}"
        )


def _amounts(served_a: Mapping[int, float]) -> str:
    by_level = sorted(served_a.items(), reverse=True)
    return " and ".join(f"{a:.1f} A of priority {level}" for level, a in by_level) or "nothing"


@dataclass(frozen=True, slots=True)
class Service:
    """What was restored and what could have been, of all that was dark after isolation and could be served.

    Attributes:
        served_a: load restored, A; of an island that is served better than the optimum as much as that.
        could_a: by the optimum, A.
        missed: islands of which more could have been served.
        islands: how many were judged.
        unproven: how many of them were too large to prove the optimum: there could be more.
    """

    served_a: float = 0.0
    could_a: float = 0.0
    missed: tuple[Missed, ...] = ()
    islands: int = 0
    unproven: int = 0


def judge_service(system: FeederSystem, truth: NetworkTruth, end: Standing) -> Service:
    """Compare what the agents have served with what they could have."""
    ratings = {number: switch.rating_a for number, switch in system.feeder.by_number.items()}
    priorities = {section.index: section.priority for section in system.feeder.sections}
    heard = {number: settings.config.subscribed | {number} for number, settings in system.agents.items()}
    factor = max(settings.config.pickup_factor for settings in system.agents.values())
    return _Inquiry(truth, end, ratings, system.feeder.shared, priorities, factor, heard).run()


class _Inquiry:
    def __init__(
        self,
        truth: NetworkTruth,
        end: Standing,
        ratings_a: Mapping[int, float],
        shared: Collection[SharedElement],
        priorities: Mapping[int, int],
        factor: float,
        heard: Mapping[int, frozenset[int]],
    ) -> None:
        self._truth = truth
        self._end = end
        self._ratings_a = ratings_a
        self._shared = shared
        self._priorities = priorities
        self._factor = factor
        self._heard = heard
        self._live_at_end = truth.reach(end.live_sources, end.conducting)
        # A tie whose supply was lost after it had closed belongs to what is dark now.
        self._restoring = {n: c for n, c in end.restoring.items() if not self._live_at_end.isdisjoint(truth.sides[n])}
        self._isolated = (end.conducting - self._restoring.keys()) | end.split
        self._dark = truth.load_a.keys() - truth.reach(end.live_sources, self._isolated)

    def run(self) -> Service:
        truth, end = self._truth, self._end
        islands = truth.islands(sorted(self._dark), self._isolated)
        healthy = [i for i in islands if not i & (end.out | truth.sources) and any(truth.load_a[s] for s in i)]
        conducting = set(self._isolated)
        served = could = 0.0
        missed = []
        unproven = 0
        for island in sorted(healthy, key=self._when_granted):
            possible = self._possible(island, conducting)
            top = best(possible)
            unproven += not top.proven
            done: dict[int, float] = {}
            for section in sorted(island & self._live_at_end):
                priority = self._priorities.get(section, 0)
                done[priority] = done.get(priority, 0.0) + truth.load_a[section]
            # Where more is served than the optimum dares, that much was possible.
            if better(done, top.served_a):
                could += sum(done.values())
                served += sum(done.values())
            else:
                could += top.total_a
                served += sum(min(a, top.served_a.get(level, 0.0)) for level, a in done.items())
                unsure = len(top.cuts) * 2 + sum(
                    number in end.closed_before for number, _ in truth.boundary(island, self._isolated)
                )
                if better(top.served_a, done, MARGIN_A * unsure):
                    missed.append(Missed(tuple(sorted(island)), done, top))
            closed = {number for number, c in self._restoring.items() if c.section in island}
            if closed:
                conducting |= closed
                conducting -= {n for n in end.split if set(truth.sides[n]) <= island}
            else:
                # What could have gone to this one could not have gone to the next one as well.
                conducting |= top.parts.keys()
                conducting -= top.cuts
        return Service(served, could, tuple(missed), len(healthy), unproven)

    def _when_granted(self, island: Collection[int]) -> tuple[float, int]:
        granted = [closed.granted_at for closed in self._restoring.values() if closed.section in island]
        return min(granted, default=_NEVER), min(island)

    def _possible(self, island: frozenset[int], conducting: Collection[int]) -> Island:
        """The island as the optimum sees it, in the network as those before it have left it."""
        truth, end = self._truth, self._end
        boundary = truth.boundary(island, self._isolated)
        feeds, spare = self._feeds(island, boundary, conducting)
        loads = {}
        for section in island:
            measured = sum(truth.sides[n][side] == section and n in end.closed_before for n, side in boundary)
            load = truth.load_a[section]
            loads[section] = Load(load, load * self._factor + MARGIN_A * measured, self._priorities.get(section, 0))
        inside = sum(island.issuperset(truth.sides[number]) for number in self._isolated)
        asked = sum(number not in end.locked for number, _ in boundary) + inside
        within = asked <= BOUNDARY
        return Island(
            loads=loads,
            inner={
                number: (*truth.sides[number], self._ratings_a[number])
                for number in self._isolated
                if island.issuperset(truth.sides[number])
            },
            feeds=feeds,
            spare_a=spare,
            cut_a=MARGIN_A,
            most_parts=GRANTS if within else 1,
            most_cuts=BOUNDARY - asked if within else 0,
        )

    def _supplies(self, island: Collection[int]) -> set[int]:
        """Sections that were alive when the island was claimed."""
        end = self._end
        claimed = min((c.claimed_at for c in self._restoring.values() if c.section in island), default=_NEVER)
        closed = {number for number, c in self._restoring.items() if c.closed_at < claimed}
        return self._truth.reach(end.live_sources, (self._isolated - end.split) | closed)

    def _known(self, path: Collection[int], boundary: Collection[tuple[int, int]]) -> bool:
        """Whether the tie hears all of its path to the source, and one who may claim the island as well.

        Of an island that a tie has put together before its supply was lost, one side of it claims the whole.
        """
        tie, *_ = path
        head = list(path)[-1]
        merged = not self._end.restoring.keys().isdisjoint(self._isolated)
        claimants = [
            self._heard[number].issuperset(path) and number in self._heard[head]
            for number, _ in boundary
            if number in self._end.closed_before
        ]
        return self._heard[tie].issuperset(path) and (all(claimants) if merged else any(claimants))

    def _feeds(
        self, island: Collection[int], boundary: Collection[tuple[int, int]], conducting: Collection[int]
    ) -> tuple[tuple[Feed, ...], dict[Hashable, float]]:
        """Who could energise an island, and what the elements on the way can carry yet, A."""
        truth, end = self._truth, self._end
        ways = truth.ways(end.live_sources, conducting)
        supplies = self._supplies(island)
        carried = {number: abs(a) for number, a in self._carried(ways).items()}
        closes = [closed for closed in self._restoring.values() if closed.section in island]
        for closed in sorted(closes, key=lambda closed: closed.closed_at)[:1]:
            for number, a in closed.load_a.items():
                carried[number] = max(carried.get(number, 0.0), abs(a))
        feeds = []
        spare: dict[Hashable, float] = {}
        for number, side in boundary:
            outside = truth.sides[number][1 - side]
            if number in end.not_closable or outside not in supplies or outside not in ways:
                continue
            path = [number, *way_back(ways, outside)]
            if not self._known(path, boundary):
                continue
            shared = [element for element in self._shared if not set(path).isdisjoint(element.heads)]
            for n in path:
                spare[n] = self._ratings_a[n] - carried.get(n, 0.0) - KEPT_FREE_A
            spare[number] -= _REQUEST_STEP_A
            for element in shared:
                load = sum(carried.get(head, 0.0) + KEPT_FREE_A for head in element.heads)
                spare[element.name] = element.rating_a - load
            # What it carried into the island before, by the same way, it may carry again.
            before = end.flow_before_a.get(number, 0.0) * (1 if side == 1 else -1)
            assured = max(before, 0.0) if end.closed_before.issuperset(path) else 0.0
            elements = (*(element.name for element in shared), *path)
            feeds.append(Feed(number, truth.sides[number][side], elements, assured))
        return tuple(feeds), spare

    def _carried(self, ways: Mapping[int, tuple[int, int] | None]) -> dict[int, float]:
        """Current of each switch, away from its source, A."""
        carried: dict[int, float] = {}
        below: dict[int, float] = {}
        for section in reversed(list(ways)):
            # What has been dark may lose its generation; its reservation covers that.
            generation = 0.0 if section in self._dark else self._end.generation_a.get(section, 0.0)
            net = below.get(section, 0.0) + self._truth.load_a[section] - generation
            step = ways[section]
            if step is not None:
                number, above = step
                carried[number] = net
                below[above] = below.get(above, 0.0) + net
        return carried
