"""The real agents under virtual time, on random feeders, judged by code they do not share."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from functools import partial

import pytest

from ied_agents.dflisr.records import SectionState
from ied_agents.process.inputs import SwitchCommand
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import PlantSection
from ied_agents.runtime.memory_link import Disturbance
from tools.campaign.command import LIVELY, plans, run_all, summary
from tools.campaign.feeders import FeederSystem, assemble, random_system
from tools.campaign.judge import Judge, unserved
from tools.campaign.scenario import Plan, run_scenario
from tools.campaign.world import World

WORKERS = os.cpu_count() or 1


def test_500_random_feeders_under_loss_and_reordering_break_no_invariant():
    chosen = [Plan(20_000_000 + index, **LIVELY) for index in range(500)]
    result = summary(run_all(chosen, WORKERS))
    assert result["violations"] == 0, result["failed"]
    assert result["scenarios"] == 500
    assert result["located"] >= 495, "late answers may move a declaration, but seldom"
    assert result["stale_inputs_refused"] > 0, "reordering was on"


def test_crashes_replays_and_forged_frames_break_no_invariant():
    chosen = [plan for plan in plans(600, 30) if plan.crashes]
    result = summary(run_all(chosen, WORKERS))
    assert result["violations"] == 0, result["failed"]
    assert result["scenarios"] == 100


def test_the_same_seed_gives_the_same_story():
    one, other = (run_scenario(Plan(4711, **LIVELY)) for _ in range(2))
    assert one.story == other.story
    assert len(one.story) > 20


# The judge must be able to fail: for each invariant, a world in which it is broken.


def _system(rng: random.Random) -> FeederSystem:
    """Two sources, each with a head breaker and one section, and a tie between the sections."""
    template = random_system(rng).feeder.switches[0]
    section = [
        PlantSection(0, "source 0", is_source=True),
        PlantSection(1, "S1", load_a=50.0),
        PlantSection(2, "S2", load_a=50.0),
        PlantSection(3, "source 1", is_source=True),
    ]
    switches = [
        replace(template, number=1, name="Q1", ied="IED1", breaker=True, sides=(0, 1), normally_closed=True),
        replace(template, number=2, name="T2", ied="IED2", breaker=True, sides=(1, 2), normally_closed=False),
        replace(template, number=3, name="Q3", ied="IED3", breaker=True, sides=(3, 2), normally_closed=True),
    ]
    return assemble(switches, section, 0.003)


def _world(**ratings: float) -> tuple[World, Judge]:
    rng = random.Random(1)
    system = _system(rng)
    judge = Judge({s.number: ratings.get(s.name, s.rating_a) for s in system.feeder.switches})
    world = World(
        system.plant, PlantSettings(), system.agents, rng, Disturbance(max_delay_s=0.0005), observe=judge.look
    )
    world.run(2.0)
    assert not judge.violations
    return world, judge


def _order(world: World, switch: int, operation: str) -> None:
    world.at(world.now, partial(world.plant.command, SwitchCommand(switch, operation, 99), world.now))
    world.run(world.now + 0.5)


def test_judge_sees_a_faulted_section_energised():
    world, judge = _world()
    world.plant.inject_fault(1, world.now)
    world.run(world.now + 2.0)
    assert not judge.violations
    world.crash(1)  # alive, it would order its locked switch open again before it is closed
    _order(world, 1, "close")
    assert {"I1", "I3"} <= {violation.invariant for violation in judge.violations}


def test_judge_sees_sources_paralleled():
    world, judge = _world()
    _order(world, 2, "close")
    assert "I2" in {violation.invariant for violation in judge.violations}


def test_judge_sees_an_overload_by_restoration():
    world, judge = _world(Q3=60.0)
    _order(world, 1, "open")
    _order(world, 2, "close")
    # The judge's orders were granted by nobody, which its books note as well.
    assert {violation.invariant for violation in judge.violations} == {"I4", "P"}


def test_judge_sees_load_left_dark():
    system = _system(random.Random(1))
    ratings = {s.number: s.rating_a for s in system.feeder.switches}
    assert [missed.switch for missed in unserved(system.plant, ratings, {3}, ())] == [1]
    assert unserved(system.plant, ratings, {3}, {1}) == []
    assert unserved(system.plant, {1: 400.0, 2: 10.0, 3: 400.0}, {3}, ()) != []


def test_forged_frames_order_nothing_and_a_real_fault_is_still_healed():
    verdict = run_scenario(Plan(99, forged=True, **LIVELY))
    assert verdict.violations == []
    assert verdict.located
    assert any(line.what == "SimulationRefused" for line in verdict.story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_silent_peer_makes_the_section_suspect_and_nobody_energises_it(seed):
    rng = random.Random(seed)
    system = random_system(rng)
    judge = Judge({s.number: s.rating_a for s in system.feeder.switches})
    world = World(
        system.plant, PlantSettings(), system.agents, rng, Disturbance(max_delay_s=0.0005), observe=judge.look
    )
    fault = next(
        s.index
        for s in system.plant.sections
        if not s.is_source and len(system.feeder.around[s.index]) > 1 and s.index in _fed_by_closed(system)
    )
    entering = next(s for s in system.feeder.switches if s.normally_closed and fault in s.sides)
    silent = next(b.switch for b in system.feeder.peers(entering.number, fault))
    world.run(3.0)
    world.crash(silent)
    world.plant.inject_fault(fault, world.now)
    world.run(world.now + 5.0)
    flags = {
        side.section
        for host in world.hosts.values()
        if host.station is not None
        for side in host.station.agent.situation.own.sides
    }
    assert SectionState.FAULTED not in flags
    assert SectionState.SUSPECT in flags
    assert judge.violations == []
    assert fault not in world.plant.energised()


def _fed_by_closed(system: FeederSystem) -> set[int]:
    return {section for s in system.feeder.switches if s.normally_closed for section in s.sides}
