"""Agents beside simulated relays, which know nothing but GOOSE, with real processes on real packet sockets."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import time

import pytest

from gateway.site import read_site
from ied_agents.process.plant import PlantSettings
from tools.demo.play import play_on_wire
from tools.demo.scenes import permanent
from tools.demo.stage import Stage
from tools.lab import LabUnavailable

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def site():
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        yield read_site(samples / "two_source_relays.toml")


@pytest.fixture
def stage(site, tmp_path, require):
    try:
        with Stage(site, tmp_path, PlantSettings(), 1) as playing:
            yield playing
    except LabUnavailable as reason:
        require(False, str(reason))


def until(stage, wanted):
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(states := stage.statuses()):
        assert time.monotonic() < deadline, states
        time.sleep(0.1)
    return states


@pytest.mark.parametrize("section", ["F1/S2", "F2/S3"])
def test_agents_heal_a_fault_by_what_their_relays_say(site, section, tmp_path, require):
    index = next(s.index for s in site.network.sections if s.name == section)
    try:
        record = play_on_wire(permanent(site, index), tmp_path)
    except LabUnavailable as reason:
        require(False, str(reason))
    assert record.outcome.declared == (section,)
    assert record.healed
    assert record.failures == []


def test_agents_whose_relays_fall_silent_are_not_ready_and_touch_nothing(stage):
    until(stage, lambda states: len(states) == 10 and all(s["ready"] for s in states.values()))
    relays = stage.relays
    relays.kill()
    relays.wait()
    states = until(stage, lambda states: len(states) == 10 and not any(s["ready"] for s in states.values()))
    assert {s["stage"] for s in states.values()} == {"IDLE"}
    assert {tuple(s["locked"]) for s in states.values()} == {("NONE", "NONE")}
    stage.start_relays()
    until(stage, lambda states: len(states) == 10 and all(s["ready"] for s in states.values()))


def test_relays_refuse_wrong_settings(tmp_path):
    document = tmp_path / "relays.json"
    document.write_text('{"relays": [{}], "interface": "lo", "inputs": "x"}')
    command = [sys.executable, "-P", "-m", "ied_agents.runtime.relay_process", str(document)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "relays[0].switch: a value expected" in run.stderr
