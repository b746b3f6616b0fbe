"""``flisr bench closed``: one round of it, and agents with a rule bent are found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tools.closed.site import missing

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
            self._try(way.name, way.via, way.close)
    site.PATIENCE_S = 5  # what is missing in the audit trail then stays missing
bench_closed._Player.round = round
print(json.dumps(bench_closed.summary(bench_closed.play(Path(sys.argv[1]), 1))))
"""


@pytest.fixture(autouse=True)
def _here(require, make_lab):
    require(not missing(), missing())
    make_lab("a")


def run(*words, **environment):
    command = [sys.executable, "-P", *words]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=env)


def test_nothing_that_is_locked_or_tagged_is_closed_and_what_is_free_is():
    ended = run("-m", "tools.cli", "bench", "closed", "--rounds", "1", "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert (found["closed"], found["untrue"]) == (0, 0)
    assert found["tried"] == found["refused"] == found["audited"] == 24
    assert found["free_tried"] == found["free_closed"] == 4


def test_agents_that_ignore_tags_are_found_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    (folder / "sitecustomize.py").write_text(IGNORES_TAGS)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    ended = run("-c", TAGGED_ALONE, str(tmp_path_factory.mktemp("d")), PYTHONPATH=path)
    found = json.loads(ended.stdout)
    assert not found["good"], ended.stderr
    assert found["closed"] >= 1
