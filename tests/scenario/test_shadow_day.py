"""Agents in shadow beside live ones, on one plant: decisions identical, operations none; and what shows otherwise."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from tools.campaign.feeders import FeederSystem, random_system
from tools.campaign.occurrences import Fault, Repair, Unlock
from tools.campaign.plans import QUIET
from tools.shadow.beside import Beside
from tools.shadow.command import app
from tools.shadow.compare import compare
from tools.shadow.day import Day, Happening, in_shadow, run_day
from tools.shadow.episodes import Episode, PutRight, ReturnToNormal, ShadowError, draw_system, plan_day

SEED = 2
SYSTEM = draw_system(SEED)
FED = next(s for s in SYSTEM.feeder.switches if s.breaker and s.normally_closed)
SECTION = max(FED.sides)
ONE_FAULT = [Episode("permanent fault", 30.0, ((0, Fault(SECTION)), (60, Repair(SECTION)), (70, ReturnToNormal())))]
MINUTES = 5 / 60


def with_one_other(shadows, number, **changes):
    """One agent of the second set is told something else."""
    settings = shadows.agents[number]
    other = replace(settings, config=replace(settings.config, **changes))
    return FeederSystem(shadows.plant, shadows.feeder, {**shadows.agents, number: other})


def test_hours_beside_a_live_system():
    """Some hours for every change; ``flisr shadow`` runs the day."""
    hours = 2.2
    episodes = plan_day(SYSTEM, hours, SEED)
    day = run_day(SYSTEM, hours, SEED, episodes)
    assert day.identical, day.differences
    assert len(episodes) >= 6
    assert len(day.decided) == day.shadow_decided > 200
    assert (day.apart_s, day.shadow_orders, day.streams_lost) == (0.0, 0, 0)
    assert day.live_orders > 20
    assert {"declared faulted", "claimed", "granted", "open ordered", "close ordered"} <= {d.what for d in day.decided}


def test_a_shadow_that_is_told_something_else_decides_differently():
    """One agent waits for the pickup of its own switch for ever: it never says that it has not seen the fault."""
    number = next(s.number for s in SYSTEM.feeder.switches if SECTION in s.sides and s.number != FED.number)
    shadows = with_one_other(in_shadow(SYSTEM), number, detection_time_s=100.0)
    day = run_day(SYSTEM, MINUTES, SEED, ONE_FAULT, shadows=shadows)
    assert not day.identical
    name = SYSTEM.agents[number].ied
    missing = next(difference for difference in day.differences if difference.switch == name)
    assert missing.live[0].startswith("answered")
    assert 30.0 < missing.t < 31.0
    assert missing.occurrence == "permanent fault at 30 s"
    assert missing.shadow[:1] != missing.live[:1]
    assert day.shadow_orders == 0


def test_an_order_that_a_shadow_lets_through_is_counted():
    shadows = with_one_other(in_shadow(SYSTEM), FED.number, shadow=False)
    day = run_day(SYSTEM, MINUTES, SEED, ONE_FAULT, shadows=shadows)
    assert day.shadow_orders > 0
    assert not day.identical


@pytest.mark.parametrize(("apart_s", "identical"), [(0.0005, True), (0.002, False)])
def test_the_same_decisions_at_other_times_are_not_identical(apart_s, identical):
    assert Day(apart_s=apart_s).identical is identical


def test_quiet_time_that_is_passed_over_changes_no_decision():
    whole, short = (run_day(SYSTEM, MINUTES, SEED, ONE_FAULT, every_step=every_step) for every_step in (True, False))
    assert short.stepped_s < 0.6 * whole.stepped_s
    assert whole.decided
    assert compare("", whole.decided, short.decided).differences == []


def test_agents_notice_nothing_of_the_time_passed_over():
    """Hours of it: no stream is lost, no input too old, nobody says anything new."""
    beside = Beside(SYSTEM, in_shadow(SYSTEM), PlantSettings(), SEED, QUIET)
    beside.run(30.0)
    before = [world.states() for world in (beside.live, beside.shadow)]
    for world in (beside.live, beside.shadow):
        world.story.clear()
    beside.run(3 * 3600.0)
    assert beside.stepped_s < 70.0
    assert [world.story for world in (beside.live, beside.shadow)] == [[], []]
    assert [world.states() for world in (beside.live, beside.shadow)] == before
    agents = [host.station.agent for world in (beside.live, beside.shadow) for host in world.hosts.values()]
    assert all(agent.situation.inputs_valid(beside.now) for agent in agents)


def test_a_crew_puts_every_switch_right():
    beside = Beside(SYSTEM, in_shadow(SYSTEM), PlantSettings(), SEED, QUIET)
    happening = Happening(beside, SYSTEM)
    for at, action in ((10.0, Fault(SECTION)), (15.0, Repair(SECTION)), (16.0, Unlock(SECTION)), (20.0, PutRight())):
        beside.run(at)
        before = wrong(beside)
        happening.let(action)
    beside.run(beside.now + 1.0)
    assert (before > 0, wrong(beside)) == (True, 0)


def wrong(beside):
    positions = beside.live.plant.positions()
    return sum(
        positions[s.number] is not (Dbpos.ON if s.normally_closed else Dbpos.OFF) for s in SYSTEM.feeder.switches
    )


def test_the_same_seed_draws_the_same_day():
    assert draw_system(5).feeder == draw_system(5).feeder
    assert plan_day(SYSTEM, 24.0, 5) == plan_day(SYSTEM, 24.0, 5) != plan_day(SYSTEM, 24.0, 6)
    assert len({episode.name for episode in plan_day(SYSTEM, 24.0, 5)}) == 11


def test_episodes_of_any_network_follow_each_other():
    for seed in range(20):
        episodes = plan_day(random_system(random.Random(seed), 3 + seed), 48.0, seed)
        for episode in episodes:
            assert [after for after, _ in episode.steps] == sorted(after for after, _ in episode.steps)
        ends = [episode.at + episode.steps[-1][0] for episode in episodes]
        assert all(end < later.at for end, later in zip(ends, episodes[1:], strict=False))
        assert ends[-1] < 48 * 3600


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf"), 0.01])
def test_hours_in_which_nothing_can_happen_are_refused(hours):
    with pytest.raises(ShadowError, match="hours: "):
        plan_day(SYSTEM, hours, 1)


def test_the_command_reports_in_json(capsys):
    app(["--hours", "0.5", "--seed", "3", "--json"], result_action="return_value")
    summary = json.loads(capsys.readouterr().out)
    assert (summary["differences"], summary["orders_from_shadow"]) == (0, 0)
    assert summary["decisions"] == summary["decisions_in_shadow"] > 0


def test_the_command_tells_each_difference_and_fails(capsys, monkeypatch):
    other = with_one_other(in_shadow(SYSTEM), FED.number, shadow=False, detection_time_s=100.0)
    monkeypatch.setattr("tools.shadow.day.in_shadow", lambda _: other)
    monkeypatch.setattr("tools.shadow.command.plan_day", lambda *_: ONE_FAULT)
    with pytest.raises(SystemExit) as stop:
        app(["--hours", str(MINUTES), "--seed", str(SEED)])
    assert stop.value.code == 1
    text = capsys.readouterr().out
    assert "differences" in text
    assert "shadow: " in text
