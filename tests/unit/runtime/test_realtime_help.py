"""Real-time help: in force when granted, reported when refused. In children, for it cannot be undone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

ASK = """
import gc, json, os, resource, sys
from ied_agents.runtime.realtime import RealTimeHelp, apply
wishes = json.loads(sys.argv[1])
wishes["cpus"] = frozenset(wishes.get("cpus", ()))
if os.geteuid() == 0 and "unprivileged" in sys.argv:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
refused = apply(RealTimeHelp(**wishes))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "refused": {help.name: help.reason for help in refused},
    "scheduler": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
    "priority": os.sched_getparam(0).sched_priority,
    "locked_kb": int(status["VmLck"].split()[0]),
    "cpus": sorted(os.sched_getaffinity(0)),
    "frozen": gc.get_freeze_count() > 0,
}))
"""


def ask(*arguments, **wishes):
    argv = [sys.executable, "-c", ASK, json.dumps(wishes), *arguments]
    return json.loads(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)


@pytest.fixture
def as_root(require):
    require(os.geteuid() == 0, "only root is granted all of it")


def test_nothing_but_the_collector_by_default():
    found = ask()
    assert found["refused"] == {}
    assert (found["scheduler"], found["locked_kb"], found["frozen"]) == (os.SCHED_OTHER, 0, True)


def test_granted_to_root(as_root):
    cpu = max(os.sched_getaffinity(0))
    found = ask(fifo_priority=10, lock_memory=True, cpus=[cpu], freeze_gc=False)
    assert found["refused"] == {}
    assert (found["scheduler"], found["priority"]) == (os.SCHED_FIFO, 10)
    assert found["locked_kb"] > 1000
    assert (found["cpus"], found["frozen"]) == ([cpu], False)


def test_refused_and_said_so(as_root):
    found = ask("unprivileged", fifo_priority=10, lock_memory=True, cpus=[4095])
    assert found["refused"].keys() == {"fifo_priority", "lock_memory", "cpus"}
    assert "CAP_SYS_NICE" in found["refused"]["fifo_priority"]
    assert "CAP_IPC_LOCK" in found["refused"]["lock_memory"]
    assert str(sorted(os.sched_getaffinity(0))) in found["refused"]["cpus"]
    assert (found["scheduler"], found["locked_kb"], found["frozen"]) == (os.SCHED_OTHER, 0, True)


def test_an_impossible_priority_is_refused(as_root):
    assert "1 to 99" in ask(fifo_priority=100)["refused"]["fifo_priority"]
