"""The real agents under virtual time, on random feeders, judged by code they do not share."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

import scl
import tools.campaign.runs
from gateway.site import SiteError
from ied_agents.dflisr.records import SectionState
from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.memory_link import Disturbance
from tools.campaign.command import app, summarise
from tools.campaign.feeders import random_system
from tools.campaign.judge import Judge, Violation
from tools.campaign.occurrences import Crash, Fault, Forge, Occurrence
from tools.campaign.plans import plan
from tools.campaign.runs import Result, run_all, run_one
from tools.campaign.scenario import Verdict, run_scenario
from tools.campaign.story import tell
from tools.campaign.user_network import user_system
from tools.campaign.world import World

WORKERS = os.cpu_count() or 1
SAMPLES = Path(scl.__file__).parent / "samples"


def test_no_invariant_breaks_on_random_feeders():
    """The size for every change; ``flisr campaign`` runs the large ones."""
    summary = summarise(run_all(20, range(250), WORKERS))
    assert summary["violations"] == 0, summary["failed"]
    assert (summary["scenarios"], summary["alive"]) == (250, 150)
    assert summary["islands_served_less"] == 0, summary["served_less"]
    assert summary["restorable_load_restored"] >= 0.999
    assert summary["stale_inputs_refused"] > 0
    assert summary["over_30_switches"] >= 50
    assert summary["real_frames"] >= 13


@pytest.mark.parametrize(("name", "scenarios"), [("two_source", 100), ("two_source_relays", 30)])
def test_no_invariant_breaks_on_the_sample_networks(name, scenarios):
    summary = summarise(run_all(21, range(scenarios), WORKERS, user_system(SAMPLES / f"{name}.scd")))
    assert summary["real_frames"] > 0
    assert summary["violations"] == 0, summary["failed"]
    assert summary["islands_served_less"] == 0, summary["served_less"]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_the_same_seed_gives_the_same_story(number):
    one, other = (run_scenario(plan(47, number), telling=True) for _ in range(2))
    assert one == other
    assert len(one.story) > 20


@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_run_told_is_the_run_that_was_judged(number):
    assert replace(run_scenario(plan(5, number), telling=True), story=()) == run_scenario(plan(5, number))


def test_the_story_has_network_plant_frames_decisions_and_what_people_and_faults_did():
    scenario = next(s for s in (plan(2, n) for n in range(50)) if s.name == "one fault")
    lines = list(tell(scenario, run_scenario(scenario, telling=True)))
    for part in ("section 0", "switch 1", "FaultAppeared", "says", "declared faulted", "CommandReceived"):
        assert any(part in line for line in lines), part
    times = [float(line.split(" ms ")[0]) for line in lines if " ms  " in line]
    assert times == sorted(times)


def test_an_agent_that_dies_within_a_step_comes_back():
    for number in range(3, 2000, 5):
        scenario = plan(9, number)
        crashes = [o.action for o in scenario.occurrences if isinstance(o.action, Crash) and o.action.point is not None]
        if crashes and len(scenario.system.agents) < 15:
            break
    started = [line for line in run_scenario(scenario, telling=True).story if line.what == "started"]
    assert len(started) > len(scenario.system.agents)


def test_a_step_is_waited_for():
    scenario = plan(2, 0)
    section = next(o.action.section for o in scenario.occurrences if isinstance(o.action, Fault))
    occurrences = (
        Occurrence(1.0, Fault(section)),
        Occurrence(0.25, Crash(0, None, 0.5), "locked"),
        Occurrence(0.0, Crash(1, None, 0.5), "what nobody ever notes"),
    )
    story = run_scenario(replace(scenario, occurrences=occurrences), telling=True).story
    locked = next(line for line in story if line.what == "locked")
    crashed = [line for line in story if line.what == "crashed"]
    assert [(line.who, round(line.t - locked.t, 6)) for line in crashed] == [(locked.who, 0.25)]


@pytest.mark.parametrize("simulated", [True, False])
@pytest.mark.parametrize("real_frames", [True, False])
def test_forged_frames_order_nothing_and_are_refused(simulated, real_frames):
    scenario = plan(2, 0)
    quiet = replace(scenario, real_frames=real_frames, occurrences=(Occurrence(1.0, Forge(simulated)),))
    verdict = run_scenario(quiet, telling=True)
    assert verdict.violations == ()
    assert not any(line.what == "CommandReceived" for line in verdict.story)
    assert verdict.refused >= (len(scenario.system.agents) if simulated else 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_silent_peer_makes_the_section_suspect_and_nobody_energises_it(seed):
    rng = random.Random(seed)
    system = random_system(rng)
    judge = Judge(system)
    calm = Disturbance(max_delay_s=0.0005)
    world = World(system.plant, PlantSettings(), system.agents, rng, calm, observe=judge.look, real_frames=False)
    fed = {section for s in system.feeder.switches if s.normally_closed for section in s.sides}
    fault = next(
        s.index
        for s in system.plant.sections
        if s.index in fed and not s.is_source and not s.generation_a and len(system.feeder.around[s.index]) > 1
    )
    entering = next(s for s in system.feeder.switches if s.normally_closed and fault in s.sides)
    silent = next(b.switch for b in system.feeder.peers(entering.number, fault))
    world.run(3.0)
    world.crash(silent)
    world.plant.inject_fault(fault, world.now)
    world.run(world.now + 5.0)
    flags = {side.section for state in world.states().values() for side in state.sides}
    assert SectionState.FAULTED not in flags
    assert SectionState.SUSPECT in flags
    assert judge.violations == []
    assert fault not in world.plant.energised()


# -- what ends a run before its end ---------------------------------------------------------------------------------


def _defective(scenario):
    raise RuntimeError("made up")


def test_a_defect_is_reported_with_its_number(monkeypatch):
    monkeypatch.setattr(tools.campaign.runs, "run_scenario", _defective)
    result = run_one(1, 17)
    assert result.number == 17
    assert result.verdict.broken == {"defect"}
    assert "made up" in result.verdict.violations[0].what


def _deadly(seed, number, base=None):
    if number == 3:
        os._exit(9)
    return _real_run_one(seed, number, base)


_real_run_one = run_one


def test_a_process_that_dies_is_reported_with_its_number_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(tools.campaign.runs, "run_one", _deadly)
    results = list(run_all(1, range(6), 2))
    assert [result.number for result in results] == list(range(6))
    assert [result.verdict.broken == {"defect"} for result in results] == [False, False, False, True, False, False]


# -- command --------------------------------------------------------------------------------------------------------


def campaign(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    return ended.value.code, capsys.readouterr().out


def test_the_command_prints_json(capsys):
    _, out = campaign(capsys, "--scenarios", "4", "--seed", "3", "--workers", "1", "--json")
    result = json.loads(out)
    assert result["scenarios"] == 4
    assert result["seed"] == 3
    assert {"violations", "restorable_load_restored", "stale_inputs_refused"} <= result.keys()
    assert result["replay"] == "flisr campaign --seed 3 --replay NUMBER"


def _result(number, *invariants, served_a=0.0, could_a=0.0):
    violations = tuple(Violation(invariant, 1.0, "made up") for invariant in invariants)
    return Result(number, False, Verdict("two faults", 9, True, violations, served_a, could_a, 0, 2.0))


def test_safety_is_judged_in_every_run_and_service_over_all_together():
    summary = summarise([_result(0, served_a=990.0, could_a=990.0), _result(1, "I7", served_a=5.0, could_a=10.0)])
    assert (summary["violations"], summary["failed"]) == (0, [])
    assert summary["restorable_load_restored"] == 0.995
    assert (summary["islands_served_less"], summary["served_less"][0]["number"]) == (1, 1)
    summary = summarise([_result(0), _result(4, "I1", "I1", "I7"), _result(5, "defect")])
    assert (summary["violations"], summary["broken"]) == (3, {"I1": 2, "I7": 1, "defect": 1})
    assert [failure["number"] for failure in summary["failed"]] == [4, 5]


@pytest.mark.parametrize(("served_a", "status"), [(999.0, 0), (998.0, 1)])
def test_too_little_service_over_all_ends_with_status_1(capsys, monkeypatch, served_a, status):
    result = _result(0, "I7", served_a=served_a, could_a=1000.0)
    monkeypatch.setattr(tools.campaign.command, "run_all", lambda *_: [result])
    code, out = campaign(capsys, "--scenarios", "1")
    assert code == status
    assert "1 islands served less than possible" in " ".join(out.split())


def test_the_command_tells_a_story(capsys):
    _, out = campaign(capsys, "--seed", "3", "--replay", "1")
    assert "FaultAppeared" in out


# -- the user's own network -----------------------------------------------------------------------------------------


def test_the_users_network_is_that_of_his_scd():
    system = user_system(SAMPLES / "two_source.scd")
    assert sorted(system.agents) == list(range(1, 11))
    assert {s.number for s in system.plant.switches} == set(system.agents)
    assert system.plant.sections[0].name


def test_an_scd_without_its_site_file_is_refused(tmp_path):
    scd = tmp_path / "mine.scd"
    scd.write_bytes((SAMPLES / "two_source.scd").read_bytes())
    with pytest.raises(SiteError, match=r"mine\.toml"):
        user_system(scd)
    with pytest.raises(SiteError, match="not of"):
        user_system(scd, SAMPLES / "two_source.toml")
