"""``flisr bench loss``: that its judge can fail, and each trial in a small size."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tools.bench_loss import TRIALS
from tools.loss import trials
from tools.loss.chain import Chain
from tools.loss.counting_rtu import POINTS
from tools.loss.judge import Heard, judge

PATIENCE_S = 300
SMALL = ["--kills", "3", "--cuts", "6", "--hours", "0.05", "--disks", "1", "--databases", "4"]
HASTY = """
from gateway.adapters.iec104_outlet import Outlet
Outlet.when_stored = lambda self, call: call()
from tools.cli import main
main()
"""


def told(*numbers, clear=True):
    return [Heard(number % POINTS, number, clear) for number in numbers]


ALL = told(*range(1, 51))


def test_whole_and_in_order_is_good():
    count = judge(ALL, 50)
    assert count.good
    assert count.as_dict() == {
        "made": 50, "told": 50, "lost": 0, "disordered": 0, "invented": 0, "repeated": 0, "answers": 0
    }  # fmt: skip


def test_told_again_is_counted_and_good():
    count = judge([*ALL, *told(7, 7), *told(8, clear=False)], 50)
    assert count.good
    assert (count.repeated, count.answers) == (2, 1)


@pytest.mark.parametrize(
    ("heard", "made", "what"),
    [
        (ALL[:-1], 50, "lost"),
        ([*ALL[:10], *ALL[11:]], 50, "lost"),
        ([*ALL[:10], *told(11, clear=False), *ALL[11:]], 50, "lost"),
        ([*told(25), *ALL], 50, "disordered"),
        (ALL, 49, "invented"),
        ([*ALL, Heard(3, 4, clear=True)], 50, "invented"),
        ([*ALL, Heard(0, 0, clear=True)], 50, "invented"),
    ],
)
def test_what_is_wrong_is_found_and_named(heard, made, what):
    count = judge(heard, made)
    assert not count.good
    assert count.as_dict()[what] == 1
    assert list(count.as_dict()["first"]) == [what]


def test_nothing_at_all_is_not_good():
    assert not judge([], 0).good


@pytest.mark.parametrize("trial", TRIALS)
def test_a_trial(require, trial):
    why = trials.not_here(trial)
    require(not why, why)
    command = [sys.executable, "-P", "-m", "tools.cli", "bench", "loss", trial, *SMALL, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout)
    consumers = {"ours"} if trial == "away" else {"ours", "c104", "history"}
    found = result["trials"][trial]
    assert set(found["consumers"]) == consumers
    assert all(count["made"] == count["told"] > 100 for count in found["consumers"].values())
    assert (result["lost"], result["disordered"], result["invented"]) == (0, 0, 0)


async def test_a_gateway_that_acknowledges_before_it_has_stored_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(Chain, "program", ("-c", HASTY))
    found = await trials.kill(tmp_path, 6, random.Random(1), lambda _: None)
    assert not found["good"]
    assert all(found["consumers"][name]["lost"] for name in ("ours", "history"))
