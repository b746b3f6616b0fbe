"""One scenario: a random network, a fault, disturbances; run with the real agents and judged."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import WORK_TAG
from ied_agents.dflisr.records import LockState, SectionState
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_events import CommandReceived
from ied_agents.runtime.memory_link import Disturbance
from tools.campaign.feeders import FeederSystem, random_system
from tools.campaign.forgery import forged_frames
from tools.campaign.judge import Judge, Violation, served_a, unserved
from tools.campaign.world import World

if TYPE_CHECKING:
    from tools.campaign.world import StoryLine

SETTLE_S: Final = 3.0
DETECTION_S: Final = 0.003


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens in a scenario.

    Attributes:
        seed: everything follows from it.
        loss, duplicate, replay: shares of frames.
        max_delay_s: frames take between 0.1 ms and this.
        crashes: at most this many agents crash at random moments and come back.
        forged: whether simulated copies of frames are thrown in.
        trouble: whether apparatus, sensors, network and people misbehave too: switches that stick or are slow,
            directions that cannot be trusted, a network cut in two for a while, work tags.
        most_switches: about how many.
    """

    seed: int
    loss: float = 0.1
    duplicate: float = 0.05
    replay: float = 0.0
    max_delay_s: float = 0.0008
    crashes: int = 0
    forged: bool = False
    trouble: bool = False
    most_switches: int = 14

    @property
    def benign(self) -> bool:
        """Whether communication and agents are alive, so that I7 must hold."""
        return self.crashes == 0 and self.loss <= 0.2 and not self.trouble


@dataclass(slots=True)
class Verdict:
    """What came of a scenario.

    Attributes:
        plan: as given.
        switches: size of the network.
        violations: of I1 to I7.
        located: the faulted section was declared, and no other.
        locked: exactly the switches of the faulted section are locked and open.
        served_before_a, served_after_a: loads under voltage before the fault and in the end.
        missed_a: load left dark that could have been served; judged only where I7 holds.
        stopped: agents that said they cannot finish, with the reason.
        refused: frames refused as old, simulated or not readable.
        story: what happened.
    """

    plan: Plan
    switches: int
    violations: list[Violation]
    located: bool
    locked: bool
    served_before_a: float
    served_after_a: float
    missed_a: float
    stopped: list[str]
    refused: int
    story: list[StoryLine] = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.plan.seed,
            "switches": self.switches,
            "violations": [v._asdict() for v in self.violations],
            "located": self.located,
            "locked": self.locked,
            "served_before_a": self.served_before_a,
            "served_after_a": self.served_after_a,
            "stopped": self.stopped,
            "refused": self.refused,
        }


def run_scenario(plan: Plan) -> Verdict:
    """Run one scenario to its end."""
    rng = random.Random(plan.seed)
    system = random_system(rng, plan.most_switches, DETECTION_S)
    judge = Judge({switch.number: switch.rating_a for switch in system.feeder.switches})
    world = World(
        system.plant,
        _plant_settings(plan, system, rng),
        system.agents,
        rng,
        Disturbance(plan.loss, plan.duplicate, plan.replay, 0.0001, plan.max_delay_s),
        observe=judge.look,
    )
    fault = rng.choice([s.index for s in system.plant.sections if not s.is_source])
    world.run(SETTLE_S)
    before = served_a(system.plant, world.plant.conducting())
    if plan.forged:
        _forge(world, rng)
        world.run(world.now + 1.0)
        _judge_quiet(judge)
    at = world.now + rng.random() * 0.5
    world.at(at, partial(world.plant.inject_fault, fault, at))
    for _ in range(rng.randint(0, plan.crashes) if plan.crashes else 0):
        victim = rng.choice(list(world.hosts))
        down = at + rng.uniform(-0.01, 0.3)
        world.at(down, partial(_crash, world, victim))
        world.at(down + rng.uniform(0.05, 3.0), partial(_restart, world, victim))
    if plan.trouble:
        _trouble(world, judge, rng, at)
    world.run(at + 6.0)
    return _verdict(plan, system, world, judge, fault, before)


def _plant_settings(plan: Plan, system: FeederSystem, rng: random.Random) -> PlantSettings:
    if not plan.trouble:
        return PlantSettings(pickup_spread_s=DETECTION_S)
    numbers = [switch.number for switch in system.feeder.switches]

    def some(share: float) -> frozenset[int]:
        return frozenset(number for number in numbers if rng.random() < share)

    return PlantSettings(
        pickup_spread_s=DETECTION_S,
        fail_to_open=some(0.05),
        fail_to_close=some(0.1),
        slowness={number: rng.uniform(1.0, 3.0) for number in some(0.1)},
        untrusted_direction=some(0.05),
    )


def _trouble(world: World, judge: Judge, rng: random.Random, at: float) -> None:
    numbers = list(world.hosts)
    if rng.random() < 0.5:
        tagged = rng.choice(numbers)
        station = world.hosts[tagged].station
        if station is not None:
            station.agent.tag(WORK_TAG)
            station.touch()
            judge.tagged.add(tagged)
    if rng.random() < 0.5:
        part = [number for number in numbers if rng.random() < 0.3]
        cut = at + rng.uniform(-0.02, 0.3)
        world.at(cut, partial(world.network.partition, part))
        world.at(cut + rng.uniform(0.1, 2.0), world.network.partition)


def _crash(world: World, number: int) -> None:
    if world.hosts[number].station is not None:
        world.crash(number)


def _restart(world: World, number: int) -> None:
    if world.hosts[number].station is None:
        world.start(number)


def _forge(world: World, rng: random.Random) -> None:
    """Throw in what a test device would send in a real publisher's name: a declared fault, marked as simulated."""
    for link, frame in forged_frames(world, rng):
        station = world.hosts[link].station
        if station is not None:
            station.receive_frame(frame, world.now)


def _judge_quiet(judge: Judge) -> None:
    """Forged input came, nothing happened in the plant: no operation may have been ordered (I5)."""
    judge.violations.extend(
        Violation("I5", event.time_s, f"switch {event.switch} was ordered to {event.operation} by forged input")
        for event in judge.events
        if isinstance(event, CommandReceived)
    )


def _verdict(plan: Plan, system: FeederSystem, world: World, judge: Judge, fault: int, before: float) -> Verdict:
    flagged: set[int] = set()
    locked: set[int] = set()
    stopped = []
    refused = 0
    for number, host in world.hosts.items():
        if host.station is None:
            continue
        state = host.station.agent.situation.own
        for section, side in zip(system.feeder.by_number[number].sides, state.sides, strict=True):
            if side.section is SectionState.FAULTED:
                flagged.add(section)
            if side.lock is LockState.DURABLE:
                locked.add(number)
        if state.progress.reason:
            stopped.append(f"{host.settings.ied}: {state.progress.reason.name}")
        for subscriber in host.station.receiver.subscribers.values():
            counters = subscriber.counters
            refused += counters.old_states + counters.simulation_refused + counters.undecodable
    around = {bound.switch for bound in system.feeder.around[fault]}
    open_now = set(world.hosts) - world.plant.conducting()
    missed_a = 0.0
    if plan.benign:
        ratings = {switch.number: switch.rating_a for switch in system.feeder.switches}
        missed = unserved(system.plant, ratings, world.plant.conducting(), world.plant.faults())
        missed_a = sum(island.load_a for island in missed)
        judge.violations.extend(Violation("I7", world.now, str(island)) for island in missed)
    return Verdict(
        plan=plan,
        switches=len(world.hosts),
        violations=judge.violations,
        located=flagged == {fault},
        locked=locked == around and around <= open_now,
        served_before_a=before,
        served_after_a=served_a(system.plant, world.plant.conducting()),
        missed_a=missed_a,
        stopped=stopped,
        refused=refused,
        story=world.story,
    )
