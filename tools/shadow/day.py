"""A day beside a live system: lets it happen, and compares what both sets of agents decided each time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Origin
from ied_agents.dflisr.records import NO_EVENT
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from tools.campaign.feeders import DETECTION_S, FeederSystem
from tools.campaign.judge import Judge
from tools.campaign.occurrences import ByHand, Control, Mode, Occurring, Tag, Unlock
from tools.campaign.plans import QUIET
from tools.shadow.beside import Beside
from tools.shadow.compare import Decision, Difference, compare, decisions
from tools.shadow.episodes import HOUR_S, STARTED_S, PutRight, ReturnToNormal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.records import EventId
    from tools.campaign.occurrences import Action
    from tools.campaign.world import World
    from tools.shadow.episodes import Episode

TOGETHER_S: Final = 0.001
"""The delays are the same in both sets: what is decided later than this after the other set is decided otherwise."""
_TOLD_TO_BOTH: Final = (Tag, Mode, Control, Unlock)
"""What people ask of agents; everything else happens to the one plant."""


@dataclass(slots=True)
class Day:
    """What came of it.

    Attributes:
        decided: what the live set decided.
        shadow_decided: how much the shadow set decided.
        differences: where the two differ.
        apart_s: the longest time between a decision and the same one of the other set, s.
        live_orders: commands of the live set that reached the plant.
        shadow_orders: commands of the shadow set that did.
        streams_lost: how often an agent has missed a peer's frames for longer than they live.
        stepped_s: how much of the time was taken step by step, s.
    """

    decided: list[Decision] = field(default_factory=list)
    shadow_decided: int = 0
    differences: list[Difference] = field(default_factory=list)
    apart_s: float = 0.0
    live_orders: int = 0
    shadow_orders: int = 0
    streams_lost: int = 0
    stepped_s: float = 0.0

    @property
    def identical(self) -> bool:
        """Whether the shadow decided what the live set did, nothing else, at the same time, and operated nothing."""
        return not self.differences and self.apart_s <= TOGETHER_S and not self.shadow_orders


def in_shadow(system: FeederSystem) -> FeederSystem:
    """The same network, its agents in shadow."""
    agents = {
        number: replace(settings, config=replace(settings.config, shadow=True))
        for number, settings in system.agents.items()
    }
    return FeederSystem(system.plant, system.feeder, agents)


def run_day(
    system: FeederSystem,
    hours: float,
    seed: int,
    episodes: Iterable[Episode],
    *,
    shadows: FeederSystem | None = None,
    every_step: bool = False,
    progress: Callable[[Episode], None] = lambda _: None,
) -> Day:
    """Let both sets live through a day.

    Args:
        system: the network, with the live agents.
        hours: of virtual time.
        seed: of all delays.
        episodes: what happens.
        shadows: the network with the agents of the second set; None for the live ones in shadow.
        every_step: quiet time is taken step by step too.
        progress: called before each episode.
    """
    plant = PlantSettings(pickup_spread_s=DETECTION_S, generation_trip_s=0.05)
    beside = Beside(system, shadows or in_shadow(system), plant, seed, QUIET)
    happening = Happening(beside, system)
    day = Day()
    beside.run(STARTED_S)
    what = "start"
    for episode in episodes:
        progress(episode)
        beside.run(episode.at, every_step=every_step)
        _take(day, beside, what)
        what = f"{episode.name} at {episode.at:.0f} s"
        for after, action in episode.steps:
            beside.run(episode.at + after, every_step=every_step)
            happening.let(action)
    beside.run(hours * HOUR_S, every_step=every_step)
    _take(day, beside, what)
    day.live_orders, day.shadow_orders = beside.live.ordered, beside.shadow.ordered
    day.stepped_s = beside.stepped_s
    day.streams_lost = sum(
        counters.lost
        for world in (beside.live, beside.shadow)
        for host in world.hosts.values()
        for counters in host.counters
    )
    return day


def _take(day: Day, beside: Beside, what: str) -> None:
    """Compare what was decided since the last time."""
    live, shadow = (list(decisions(world.story)) for world in (beside.live, beside.shadow))
    for world in (beside.live, beside.shadow):
        world.story.clear()
    found = compare(what, live, shadow)
    day.decided += live
    day.shadow_decided += len(shadow)
    day.differences += found.differences
    day.apart_s = max([day.apart_s, *(abs(one.t - other.t) for one, other in found.alike)])


class Happening:
    """Lets things happen: to the plant once, to the agents of both sets.

    Args:
        beside: the two sets.
        system: their network.
    """

    def __init__(self, beside: Beside, system: FeederSystem) -> None:
        self._beside = beside
        # The judges only keep the books of what people do; nobody looks into them.
        self._live, self._shadow = (Occurring(world, Judge(system)) for world in (beside.live, beside.shadow))

    def let(self, action: Action | ReturnToNormal | PutRight) -> None:
        """Let something happen now."""
        if isinstance(action, ReturnToNormal):
            _return_to_normal(self._beside.live)
            _return_to_normal(self._beside.shadow)
        elif isinstance(action, PutRight):
            for by_hand in self._wrong():
                self._live.carry_out(by_hand)
        else:
            self._live.carry_out(action)
            if isinstance(action, _TOLD_TO_BOTH):
                self._shadow.carry_out(action)

    def _wrong(self) -> list[ByHand]:
        """What brings every switch into its normal position; what opens comes first, so that nothing is paralleled."""
        live = self._beside.live
        positions = live.plant.positions()
        right = {s.number: Dbpos.ON if s.normally_closed else Dbpos.OFF for s in live.feeder.switches}
        wrong = [number for number, position in right.items() if positions[number] is not position]
        return [
            *(ByHand(number, "open") for number in wrong if right[number] is Dbpos.OFF),
            *(ByHand(number, "close") for number in wrong if right[number] is Dbpos.ON),
        ]


def _return_to_normal(world: World) -> None:
    """One request for each event that something is held for, asked of the first agent that holds it."""
    world.occurred_at = world.now
    asked = {NO_EVENT}
    for number, host in world.hosts.items():
        if host.station is not None:
            record = host.station.agent.record
            for event in sorted({record.hold_event, *(side.event for side in record.sides)} - asked):
                asked.add(event)
                world.ask(number, partial(_return, event=event))


def _return(agent: Agent, event: EventId) -> None:
    with contextlib.suppress(ValueError):  # another agent's return has just cleared it
        agent.request_return(event, Origin.STATION)
