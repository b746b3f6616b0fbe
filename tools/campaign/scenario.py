"""One scenario as plain data, and its run: the real agents, everything that happens to them, the judge."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from ied_agents.process.plant_events import event_record
from tools.campaign.judge import Judge
from tools.campaign.occurrences import Occurrence, Occurring
from tools.campaign.world import DISK_S, StoryLine, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ied_agents.process.plant import PlantSettings
    from ied_agents.runtime.memory_link import Disturbance
    from tools.campaign.feeders import FeederSystem
    from tools.campaign.judge import Violation

QUIET_S: Final = 1.3
"""A run ends when nothing has happened and nobody was busy for so long: a frame is repeated once a second."""
LONGEST_S: Final = 8.0
"""So long after the last occurrence a run ends in any case, if what can be served must be served."""
LONGEST_HOSTILE_S: Final = 5.0
"""The same where only safety is judged."""
_SLICE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, where, and how bad the surroundings are.

    Attributes:
        name: kind of scenario, for people.
        seed: of the chance within the run: delays, losses, pickup delays.
        system: the network.
        occurrences: what happens.
        disturbance: how bad the communication network is at first.
        plant: how the apparatus behaves.
        real_frames: whether the agents exchange octets.
        disk_s: shortest and longest time that a record takes to be durable.
        alive: whether communication, agents and apparatus are sound, so that I7 must hold.
    """

    name: str
    seed: int
    system: FeederSystem
    occurrences: tuple[Occurrence, ...]
    disturbance: Disturbance
    plant: PlantSettings
    real_frames: bool = False
    disk_s: tuple[float, float] = DISK_S
    alive: bool = True

    @property
    def last_s(self) -> float:
        """When the last occurrence with a time of its own happens."""
        return max((o.at for o in self.occurrences if not o.after), default=0.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a scenario.

    Attributes:
        name: kind of scenario.
        switches: size of the network.
        alive: whether I7 was judged.
        violations: of the invariants.
        served_a, could_a: restorable load that was restored, and the most that could have been; 0 unless ``alive``.
        refused: frames refused as old, simulated or unreadable.
        ended_s: virtual time at the end.
        story: what happened, if it was asked for.
    """

    name: str
    switches: int
    alive: bool
    violations: tuple[Violation, ...]
    served_a: float
    could_a: float
    refused: int
    ended_s: float
    story: tuple[StoryLine, ...] = field(default=(), repr=False)

    @property
    def broken(self) -> set[str]:
        """The invariants that were broken."""
        return {violation.invariant for violation in self.violations}


def run_scenario(scenario: Scenario, *, telling: bool = False) -> Verdict:
    """Run one scenario to its end.

    Args:
        scenario: which.
        telling: whether the verdict comes with the story.
    """
    system = scenario.system
    judge = Judge(system)
    world = World(
        system.plant,
        scenario.plant,
        system.agents,
        random.Random(scenario.seed),
        scenario.disturbance,
        observe=judge.look,
        real_frames=scenario.real_frames,
        disk_s=scenario.disk_s,
        telling=telling,
    )
    _schedule(world, Occurring(world, judge), scenario)
    _run_until_quiet(world, scenario.last_s, LONGEST_S if scenario.alive else LONGEST_HOSTILE_S)
    service = judge.finish(world, benign=scenario.alive)
    return Verdict(
        name=scenario.name,
        switches=len(world.hosts),
        alive=scenario.alive,
        violations=tuple(judge.violations),
        served_a=service.served_a,
        could_a=service.could_a,
        refused=sum(
            counters.old_states + counters.conflicts + counters.simulation_refused + counters.undecodable
            for host in world.hosts.values()
            for counters in host.counters
        ),
        ended_s=world.now,
        story=tuple(sorted([*_plant_story(world), *world.story], key=lambda line: line.t)) if telling else (),
    )


def _schedule(world: World, occurring: Occurring, scenario: Scenario) -> None:
    waiting: dict[str, list[Occurrence]] = {}
    for occurrence in scenario.occurrences:
        if occurrence.after:
            waiting.setdefault(occurrence.after, []).append(occurrence)
        else:
            world.at(occurrence.at, partial(occurring.carry_out, occurrence.action))

    first_s = min((o.at for o in scenario.occurrences if not o.after), default=0.0)

    def heard(line: StoryLine, number: int) -> None:
        if world.now < first_s:
            return  # agents note much while they start
        for occurrence in waiting.pop(line.what, ()):
            world.at(world.now + occurrence.at, partial(occurring.carry_out, occurrence.action, number))

    world.heard = heard


def _run_until_quiet(world: World, last_s: float, longest_s: float) -> None:
    world.run(last_s)
    while world.now < max(last_s, world.occurred_at) + longest_s:
        world.run(world.now + _SLICE_S)
        if world.busy:
            world.changed_at = world.now
        elif world.now >= world.changed_at + QUIET_S:
            return


def _plant_story(world: World) -> Iterator[StoryLine]:
    for event in world.plant.told:
        record = event_record(event)
        t, what = record.pop("time_s"), record.pop("kind")
        del record["stamp_ns"]
        yield StoryLine(t, "plant", what, record)
