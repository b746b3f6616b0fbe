"""``flisr commission``: the test plan on a network, on a machine with agents, and by what their journals have seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scl
from ied_agents.runtime.operator_client import ask
from tools.commission import commission
from tools.lab import HOST_INTERFACE

PATIENCE_S = 15.0
SCD = Path(scl.__file__).parent / "samples" / "two_source.scd"


@pytest.fixture
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("r")  # a short name: the paths of sockets are bounded


@pytest.fixture
def plan(capsys, root):
    def carry_out(scd=SCD, *, status=0, scenarios=0):
        if status:
            with pytest.raises(SystemExit) as ended:
                commission(scd=scd, root=root, scenarios=scenarios, as_json=True)
            assert ended.value.code == status
        else:
            commission(scd=scd, root=root, scenarios=scenarios, as_json=True)
        result = json.loads(capsys.readouterr().out)
        return {(step["part"], step["what"]): (step["state"], step["said"]) for step in result["steps"]}

    return carry_out


@pytest.fixture
def running(make_lab, root):
    command = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", "--scd", str(SCD)]
    command += ["--interface", HOST_INTERFACE, "--root", str(root)]
    child = make_lab("a9").spawn("a9", command, stdout=subprocess.PIPE)
    assert json.loads(child.stdout.readline())["kind"] == "AgentReady"
    yield child
    child.kill()
    child.communicate()


def test_a_sound_network_is_done_on_paper_and_open_on_the_machine(plan):
    steps = plan(scenarios=3)
    assert steps["on paper", "SCD"][0] == "done"
    assert steps["on paper", "site file"] == ("done", "10 agents")
    assert steps["on paper", "campaign"][0] == "done"
    assert steps["on this machine", "agents"][0] == "open"


def test_what_is_wrong_on_paper_fails_with_its_place(plan, tmp_path):
    scd = tmp_path / "two_source.scd"
    text = SCD.read_text(encoding="utf-8").replace('<P type="APPID">8003</P>', '<P type="APPID">8002</P>')
    scd.write_text(text, encoding="utf-8")
    site = SCD.with_suffix(".toml").read_text(encoding="utf-8").replace("rating_a", "rated_a", 1)
    scd.with_suffix(".toml").write_text(site, encoding="utf-8")
    steps = plan(scd, status=1)
    assert steps["on paper", "SCD"][0] == "failed"
    assert "line " in steps["on paper", "SCD"][1]
    assert steps["on paper", "site file"][0] == "failed"
    assert "rated_a" in steps["on paper", "site file"][1]


def test_an_agent_that_runs_is_looked_at_and_what_its_journal_has_seen_is_ticked(plan, root, running):
    steps = plan(status=1)
    part = "T9, on this machine"
    assert steps[part, "settings"][0] == "done"
    assert steps[part, "running"][0] == "failed"  # it hears nobody, and is not confirmed
    assert "does not hear F1L2" in steps[part, "running"][1]
    assert "flisr agent confirm" in steps[part, "running"][1]
    assert steps[part, "live"] == ("done", "it operates")
    at_the_switch = {what: state for (where, what), (state, _) in steps.items() if where == "T9, at the switch"}
    assert set(at_the_switch.values()) == {"open"}
    ask(root / "T9" / "operator", {"request": "confirm"})
    ask(root / "T9" / "operator", {"request": "tag", "owner": "crew 7", "tags": 1})
    ask(root / "T9" / "operator", {"request": "mode", "mode": "test"})
    deadline = time.monotonic() + PATIENCE_S
    while (steps := plan(status=1))["T9, at the switch", "blocked it"][0] != "done":
        assert time.monotonic() < deadline, steps
        time.sleep(0.2)
    assert steps["T9, at the switch", "seen open"] == ("open", "open the switch at its panel")
    assert steps[part, "live"] == ("failed", "it is in mode test")


def test_an_agent_with_settings_of_yesterday_or_without_any_or_dead_fails(plan, root, running):
    running.kill()
    running.wait()
    assert plan(status=1)["T9, on this machine", "running"][0] == "failed"
    document = root / "T9" / "settings.json"
    document.write_text(document.read_text().replace('"detection_time_s": 0.003', '"detection_time_s": 0.004'))
    state, said = plan(status=1)["T9, on this machine", "settings"]
    assert (state, "start it anew" in said) == ("failed", True)
    document.unlink()
    state, said = plan(status=1)["T9, on this machine", "settings"]
    assert (state, "settings.json" in said) == ("failed", True)
    shutil.rmtree(root / "T9")
