"""A day beside a live system: what happens in it, and what both sets of agents decided each time.

Every occurrence ends with the network in its normal state again, and with hours in which nothing happens.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG, Authority, Behaviour, Origin
from ied_agents.dflisr.records import NO_EVENT
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from tools.campaign.feeders import DETECTION_S, FeederSystem, random_system
from tools.campaign.judge import Judge
from tools.campaign.occurrences import (
    Action,
    Apparatus,
    ByHand,
    Control,
    Fault,
    Mode,
    Occurring,
    Repair,
    Supply,
    Tag,
    Unlock,
)
from tools.campaign.plans import QUIET
from tools.shadow.beside import Beside
from tools.shadow.compare import Difference, compare, decisions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.records import EventId
    from ied_agents.process.inputs import Operation
    from tools.campaign.world import World

_STARTED_S: Final = 10.0
"""By then all agents have heard each other, and breakers are ready to reclose."""
_SWITCHES: Final = 14
_HOUR_S: Final = 3600.0
_TOLD_TO_BOTH: Final = (Tag, Mode, Control, Unlock)
"""What people ask of agents; everything else happens to the one plant."""


@dataclass(frozen=True, slots=True)
class ReturnToNormal:
    """A person orders the return to normal for everything that is held anywhere."""


@dataclass(frozen=True, slots=True)
class PutRight:
    """A crew brings every switch into its normal position by hand."""


Step = tuple[float, "Action | ReturnToNormal | PutRight"]


@dataclass(frozen=True, slots=True)
class Story:
    """What happens together.

    Attributes:
        name: what it is.
        at: when it begins, s.
        steps: what happens, so long after that.
    """

    name: str
    at: float
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Day:
    """What came of it.

    Attributes:
        hours: virtual time.
        switches: in the network.
        occurrences: how often each kind of story came.
        decisions: of the live set, by kind.
        shadow_decisions: of the shadow set, all.
        differences: where the two sets differ.
        apart_s: the longest time between a decision and the same one of the other set, s.
        live_orders: commands of the live set that reached the plant.
        shadow_orders: commands of the shadow set that did.
        stepped_s: how much of the time was taken step by step, s.
    """

    hours: float
    switches: int
    occurrences: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    shadow_decisions: int = 0
    differences: list[Difference] = field(default_factory=list)
    apart_s: float = 0.0
    live_orders: int = 0
    shadow_orders: int = 0
    stepped_s: float = 0.0

    @property
    def identical(self) -> bool:
        """Whether the shadow decided all that the live set did, and nothing else, and operated nothing."""
        return not self.differences and not self.shadow_orders and self.decisions.total() == self.shadow_decisions


def in_shadow(system: FeederSystem) -> FeederSystem:
    """The same network, its agents in shadow."""
    agents = {
        number: replace(settings, config=replace(settings.config, shadow=True))
        for number, settings in system.agents.items()
    }
    return FeederSystem(system.plant, system.feeder, agents)


def draw_system(seed: int) -> FeederSystem:
    """A random network in which everything that a day has can happen."""
    rng = random.Random(f"{seed} network")
    while True:
        system = random_system(rng, _SWITCHES)
        switches = system.feeder.switches
        sources = sum(section.is_source for section in system.plant.sections)
        kinds = {switch.breaker for switch in switches if switch.normally_closed}
        if sources > 1 and len(kinds) > 1 and any(s.shots for s in switches) and any(s.transfer_after_s for s in switches):
            return system


def plan_day(system: FeederSystem, hours: float, seed: int) -> list[Story]:
    """What happens in so many hours: every kind of story in turn, between half a minute and two hours apart."""
    rng = random.Random(f"{seed} day")
    draft = _Draft(rng, system)
    kinds = list(draft.kinds)
    rng.shuffle(kinds)
    stories: list[Story] = []
    at = _STARTED_S + rng.uniform(0.0, 60.0)
    while True:
        name = kinds[len(stories) % len(kinds)]
        steps = draft.kinds[name]()
        if at + steps[-1][0] + _HOUR_S / 20 > hours * _HOUR_S:
            return stories
        stories.append(Story(name, at, tuple(steps)))
        at += steps[-1][0] + rng.choice((rng.uniform(30.0, 300.0), rng.uniform(300.0, 2 * _HOUR_S)))


def run_day(
    system: FeederSystem,
    hours: float,
    seed: int,
    *,
    shadows: FeederSystem | None = None,
    every_step: bool = False,
    progress: Callable[[Story], None] = lambda _: None,
) -> Day:
    """Let both sets live through a day.

    Args:
        system: the network, with the live agents.
        hours: of virtual time.
        seed: of what happens and of all delays.
        shadows: the network with the agents of the second set; None for the live ones in shadow.
        every_step: quiet hours are taken step by step too.
        progress: called before each story.
    """
    plant = PlantSettings(pickup_spread_s=DETECTION_S, generation_trip_s=0.05)
    beside = Beside(system, shadows or in_shadow(system), plant, f"{seed} delays", QUIET)
    day = Day(hours, len(system.agents))
    happening = _Happening(beside, system)
    beside.run(_STARTED_S)
    occurrence = "start"
    for story in plan_day(system, hours, seed):
        progress(story)
        beside.run(story.at, every_step=every_step)
        _take(day, beside, occurrence)
        occurrence = f"{story.name} at {story.at:.0f} s"
        day.occurrences[story.name] += 1
        for after, action in story.steps:
            beside.run(story.at + after, every_step=every_step)
            happening.let(action)
    beside.run(hours * _HOUR_S, every_step=every_step)
    _take(day, beside, occurrence)
    day.live_orders, day.shadow_orders = beside.live.ordered, beside.shadow.ordered
    day.stepped_s = beside.stepped_s
    return day


def _take(day: Day, beside: Beside, occurrence: str) -> None:
    """Compare what was decided since the last time."""
    live, shadow = (list(decisions(world.story)) for world in (beside.live, beside.shadow))
    for world in (beside.live, beside.shadow):
        world.story.clear()
    found = compare(occurrence, live, shadow)
    day.decisions.update(decision.what for decision in live)
    day.shadow_decisions += len(shadow)
    day.differences += found.differences
    day.apart_s = max([day.apart_s, *(abs(one.t - other.t) for one, other in found.alike)])


class _Happening:
    """Lets things happen: to the plant once, to the agents of both sets."""

    def __init__(self, beside: Beside, system: FeederSystem) -> None:
        self._beside = beside
        # The judges only keep the books of what people do; nobody looks into them.
        self._live, self._shadow = (Occurring(world, Judge(system)) for world in (beside.live, beside.shadow))

    def let(self, action: Action | ReturnToNormal | PutRight) -> None:
        """Let something happen now."""
        beside = self._beside
        if isinstance(action, ReturnToNormal):
            for world in (beside.live, beside.shadow):
                world.occurred_at = world.now
                _return_to_normal(world)
        elif isinstance(action, PutRight):
            for by_hand in self._put_right():
                self._live.carry_out(by_hand)
        else:
            self._live.carry_out(action)
            if isinstance(action, _TOLD_TO_BOTH):
                self._shadow.carry_out(action)

    def _put_right(self) -> list[ByHand]:
        """First what opens: nothing is paralleled."""
        live = self._beside.live
        positions = live.plant.positions()
        wrong = [
            switch
            for switch in live.feeder.switches
            if positions[switch.number] is not (Dbpos.ON if switch.normally_closed else Dbpos.OFF)
        ]
        return [
            ByHand(switch.number, "close" if switch.normally_closed else "open")
            for switch in sorted(wrong, key=lambda switch: switch.normally_closed)
        ]


def _return_to_normal(world: World) -> None:
    asked: set[EventId] = {NO_EVENT}
    for number, host in world.hosts.items():
        if host.station is None:
            continue
        record = host.station.agent.record
        for event in sorted({record.hold_event, *(side.event for side in record.sides)} - asked):
            asked.add(event)
            world.ask(number, _Returning(event))


@dataclass(frozen=True, slots=True)
class _Returning:
    """The request to return, of one event."""

    event: EventId

    def __call__(self, agent: Agent) -> None:
        with contextlib.suppress(ValueError):  # another agent's return has just cleared it
            agent.request_return(self.event, Origin.STATION)


class _Draft:
    """Draws stories.

    Attributes:
        kinds: by name, what draws the steps of one.
    """

    def __init__(self, rng: random.Random, system: FeederSystem) -> None:
        self._rng = rng
        self._sections = [s.index for s in system.plant.sections if not s.is_source]
        self._sources = [s.index for s in system.plant.sections if s.is_source]
        self._switches = system.feeder.switches
        self.kinds: dict[str, Callable[[], list[Step]]] = {
            "permanent fault": self._permanent,
            "transient fault": self._transient,
            "switch does not open": lambda: self._stuck(to_open=True),
            "switch does not close": lambda: self._stuck(to_open=False),
            "loss of a source": self._supply,
            "tagged": self._tagged,
            "mode": self._mode,
            "local control": self._local,
            "unlocked": self._unlocked,
            "operated by hand": self._by_hand,
            "two faults": self._two,
        }

    def _minutes(self, low: float, high: float) -> float:
        return self._rng.uniform(low * 60, high * 60)

    def _any_section(self) -> int:
        return self._rng.choice(self._sections)

    def _at(self, section: int) -> list[int]:
        """Switches at a section."""
        return [switch.number for switch in self._switches if section in switch.sides]

    def _ends(self, section: int, at: float, *before: Action) -> list[Step]:
        """Repair, return to normal, and what else has to be put right."""
        repaired = at + self._minutes(1, 20)
        back = repaired + self._minutes(1, 3)
        return [
            (repaired, Repair(section)),
            *((repaired + 20, action) for action in before),
            (back, ReturnToNormal()),
            (back + 60, PutRight()),
            (back + 90, Unlock(section)),
        ]

    def _permanent(self) -> list[Step]:
        section = self._any_section()
        return [(0, Fault(section)), *self._ends(section, 0)]

    def _transient(self) -> list[Step]:
        section = self._any_section()
        return [(0, Fault(section, self._rng.uniform(0.02, 0.3))), *self._ends(section, 0)]

    def _two(self) -> list[Step]:
        one, other = self._rng.sample(self._sections, 2) if len(self._sections) > 1 else self._sections * 2
        apart = self._rng.choice((0.03, 0.3, 5.0))
        return [(0, Fault(one)), (apart, Fault(other)), *((t, a) for t, a in self._ends(other, 30, Repair(one)))]

    def _stuck(self, *, to_open: bool) -> list[Step]:
        section = self._any_section()
        if to_open:
            number = self._rng.choice(self._at(section))
        else:
            number = self._rng.choice([s.number for s in self._switches if not s.normally_closed] or self._at(section))
        stuck = Apparatus(number, fails_to_open=to_open, fails_to_close=not to_open)
        sound = Apparatus(number, fails_to_open=False, fails_to_close=False)
        return [(0, stuck), (30, Fault(section)), *self._ends(section, 30, sound)]

    def _supply(self) -> list[Step]:
        source = self._rng.choice(self._sources)
        back = self._minutes(0.02, 15)
        then = back + self._minutes(1, 3)
        return [
            (0, Supply(source, live=False)),
            (back, Supply(source, live=True)),
            (then, ReturnToNormal()),
            (then + 60, PutRight()),
        ]

    def _with_one_apart(self, asked: Callable[[int], tuple[Action, Action]]) -> list[Step]:
        """A fault while something was asked of an agent near by, or of a tie; taken back after the repair."""
        section = self._any_section()
        ties = [s.number for s in self._switches if not s.normally_closed]
        first, back = asked(self._rng.choice([*self._at(section), *ties]))
        return [(0, first), (30, Fault(section)), *self._ends(section, 30, back)]

    def _tagged(self) -> list[Step]:
        tags = self._rng.choice((WORK_TAG, HOT_LINE_TAG))
        return self._with_one_apart(lambda switch: (Tag(switch, "crew", tags), Tag(switch, "crew", 0)))

    def _mode(self) -> list[Step]:
        mode = self._rng.choice([mode for mode in Behaviour if mode is not Behaviour.ON])
        return self._with_one_apart(lambda switch: (Mode(switch, mode), Mode(switch, Behaviour.ON)))

    def _local(self) -> list[Step]:
        return self._with_one_apart(
            lambda switch: (Control(switch, Authority.LOCAL), Control(switch, Authority.REMOTE))
        )

    def _unlocked(self) -> list[Step]:
        """Unlocked without an order to return: a crew closes by hand."""
        section = self._any_section()
        repaired = self._minutes(1, 20)
        return [
            (0, Fault(section)),
            (repaired, Repair(section)),
            (repaired + 60, Unlock(section)),
            (repaired + 120, PutRight()),
            (repaired + 180, ReturnToNormal()),
            (repaired + 240, PutRight()),
        ]

    def _by_hand(self) -> list[Step]:
        switch = self._rng.choice([s for s in self._switches if s.normally_closed])
        operation: Operation = "open"
        back = self._minutes(1, 10)
        return [(0, ByHand(switch.number, operation)), (back, ByHand(switch.number, "close")), (back + 60, PutRight())]
