"""``flisr bench closed``: one round of it, and agents with a rule bent are found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gateway.points.audit import AuditStep
from tools.bench_closed import Attempt, judge, summary
from tools.closed.site import CONTROL, missing
from tools.closed.ways import Told

PATIENCE_S = 600
IGNORES_TAGS = """
import ied_agents.control.decision as decision
kept = decision.refuse_close
def refuse_close(condition, interlock):
    refusal = kept(condition, interlock)
    return interlock if refusal is decision.Reason.TAGGED else refusal
decision.refuse_close = refuse_close
"""
TAGGED_ALONE = """
import json, sys
from pathlib import Path
from tools import bench_closed
from tools.closed import site
def round(self):
    self._site.open()
    with self._block("tagged"):
        for way in self._ways:
            self._try(way.name, way.via, way.close, bench_closed._CAUSE["tagged"])
    site.PATIENCE_S = 5  # what is missing in the audit trail then stays missing
bench_closed._Player.round = round
print(json.dumps(bench_closed.summary(bench_closed.play(Path(sys.argv[1]), 1))))
"""


@pytest.fixture
def _here(require, make_lab):
    require(not missing(), missing())
    make_lab("a")


def run(*words, **environment):
    command = [sys.executable, "-P", *words]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=env)


@pytest.mark.usefixtures("_here")
def test_nothing_that_is_locked_or_tagged_is_closed_and_what_is_free_is():
    ended = run("-m", "tools.cli", "bench", "closed", "--rounds", "1", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert (found["closed"], found["untrue"]) == (0, 0)
    assert found["tried"] == found["refused"] == found["audited"] == 28
    assert found["free_tried"] == found["free_closed"] == 5


@pytest.mark.usefixtures("_here")
def test_agents_that_ignore_tags_are_found_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    (folder / "sitecustomize.py").write_text(IGNORES_TAGS)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    ended = run("-c", TAGGED_ALONE, str(tmp_path_factory.mktemp("d")), PYTHONPATH=path)
    found = json.loads(ended.stdout)
    assert not found["good"], ended.stderr
    assert found["closed"] >= 1


S = 10**9


def attempt(at, trial="locked, MQTT", *, done=False):
    return Attempt(trial, "mqtt", at * S, at * S + S // 2, Told(done, "why"), ("AddCause 10",))


def refusal(at, why="blocked (AddCause 10)"):
    return AuditStep(at * S + 1000, "mqtt", "ana", 0, CONTROL, "execute", "true", False, "refused", why, 1)


FREE = attempt(100, "free, MQTT", done=True)
FREE_ORDER = 100 * S + 1
BLOCKED = [(0, 50 * S)]
WRONG = {
    "ordered to close": ([attempt(1)], [S + 1], [refusal(1)], "closed"),
    "ordered to close by nobody's attempt": ([attempt(1)], [40 * S], [refusal(1)], "closed"),
    "told done and not ordered": ([attempt(1, done=True)], [], [], "untrue"),
    "told refused and ordered": ([attempt(1)], [S + 1], [refusal(1)], "untrue"),
    "refused for another reason": ([attempt(1)], [], [refusal(1, "no answer")], "untrue"),
    "not in the audit trail": ([attempt(1)], [], [], "audited"),
    "two refusals, one of them in the audit trail": ([attempt(1), attempt(1)], [], [refusal(1)], "audited"),
    "in the audit trail at another time": ([attempt(3)], [], [refusal(1)], "audited"),
}


def test_what_is_as_it_must_be_is_good():
    found = summary(judge([attempt(1), attempt(3), FREE], BLOCKED, [FREE_ORDER], [refusal(1), refusal(3)]))
    assert found["good"]
    assert (found["tried"], found["free_tried"]) == (2, 1)


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(what):
    attempts, orders, steps, count = WRONG[what]
    found = summary(judge([*attempts, FREE], BLOCKED, [*orders, FREE_ORDER], steps))
    assert not found["good"]
    if count == "audited":
        assert found["audited"] < found["refused"]
    else:
        assert found[count] == 1


def test_a_free_switch_that_does_not_close_is_found():
    refused = attempt(100, "free, MQTT")
    assert not summary(judge([attempt(1), refused], BLOCKED, [], [refusal(1), refusal(100)]))["good"]
