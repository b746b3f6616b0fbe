"""The systemd unit: checked by systemd's own tools, and its promises (rights, watchdog) tried without systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import scl
from ied_agents.runtime.operator_client import ask
from ied_agents.runtime.service_manager import ServiceManager
from tools.agent_unit import CAPABILITIES, unit
from tools.lab import HOST_INTERFACE

SCD = Path(scl.__file__).parent / "samples" / "two_source.scd"
PATIENCE_S = 15.0
WORST_EXPOSURE = 3.0
"""Of systemd-analyze security: 0 nothing is open, 10 everything; 2.4 is what packet sockets, SCHED_FIFO and no UID
namespace leave."""


@pytest.fixture
def analyze(require, tmp_path):
    require(shutil.which("systemd-analyze"), "systemd-analyze (Debian package systemd) is not installed")

    def run(*words):
        path = tmp_path / "flisr-agent@T9.service"
        path.write_text(unit(SCD, ["eth0"], None, "root", 50))
        # Where no systemd runs: it only reads the file.
        return subprocess.run(
            ["systemd-analyze", *words, str(path)], capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_systemd_accepts_the_unit(analyze):
    found = analyze("verify")
    assert (found.returncode, found.stderr) == (0, "")


def test_little_is_open_to_it(analyze):
    found = analyze("security", "--offline=true", "--no-pager")
    exposure = re.search(r"Overall exposure level for .*: ([\d.]+)", found.stdout)
    assert exposure, found.stdout + found.stderr
    # The test's unit runs as root, for no other user is sure to exist: what that opens is not counted.
    assert float(exposure[1]) <= WORST_EXPOSURE + 0.6


def test_it_asks_for_these_rights_and_no_others():
    text = unit(SCD, ["eth0"], None, "flisr", 50)
    assert f"AmbientCapabilities={' '.join(CAPABILITIES)}\nCapabilityBoundingSet={' '.join(CAPABILITIES)}\n" in text


def test_words_that_a_unit_would_take_apart_are_quoted():
    text = unit(Path("/srv/my site/50%.scd"), ["eth0", "eth1"], None, "flisr", 0)
    assert "--scd '/srv/my site/50%%.scd' --interface eth0 --interface eth1 " in text


# -- its rights, without systemd -----------------------------------------------------------------------------------


@pytest.fixture
def entitled(require):
    """A command prefix that leaves the unit's capabilities to an ordinary user, or to root where he may not look."""
    require(os.geteuid() == 0, "only root can give capabilities away")
    require(shutil.which("setpriv"), "setpriv (Debian package util-linux) is not installed")
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in CAPABILITIES)
    sets = [f"--bounding-set=-all,{names}", f"--inh-caps=-all,{names}", f"--ambient-caps=-all,{names}"]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *sets, "sh", "-c", 'exec "$@"', "sh"]
    trial = subprocess.run([*nobody, sys.executable, "-c", "import tools"], check=False, capture_output=True)
    return nobody if trial.returncode == 0 else ["setpriv", *sets]


def arguments(root):
    where = ("--scd", str(SCD), "--interface", HOST_INTERFACE, "--root", str(root), "--fifo", "5")
    return [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", *where]


@pytest.fixture
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("r")
    for folder in (made, *made.parents[:3]):
        folder.chmod(0o777)
    return made


@pytest.fixture
def manager(root):
    path = root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        path.chmod(0o777)
        heard.settimeout(PATIENCE_S)
        yield heard


@pytest.fixture
def running(make_lab, entitled, root, manager, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(root / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    child = make_lab("a9").spawn("a9", [*entitled, *arguments(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    yield child
    child.kill()
    child.communicate()


def test_with_those_rights_an_agent_gets_all_it_asks_for(running, root):
    line = running.stdout.readline()
    assert line, running.communicate()[1].decode()
    assert json.loads(line)["refused"] == []
    status = Path(f"/proc/{running.pid}/status").read_text()
    effective = int(re.search(r"CapEff:\s+([0-9a-f]+)", status)[1], 16)
    assert effective == 1 << 13 | 1 << 14 | 1 << 23
    assert os.sched_getscheduler(running.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    assert ask(root / "T9" / "operator", {"request": "status"})["ied"] == "T9"


def test_it_says_that_it_is_ready_alive_and_stopping_and_a_frozen_one_falls_silent(running, manager):
    assert manager.recv(100) == b"READY=1"
    assert [manager.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    running.send_signal(signal.SIGSTOP)
    manager.settimeout(0.4)
    with pytest.raises(TimeoutError):
        list(iter(lambda: manager.recv(100), b""))
    running.send_signal(signal.SIGCONT)
    manager.settimeout(PATIENCE_S)
    running.send_signal(signal.SIGTERM)
    while (said := manager.recv(100)) != b"STOPPING=1":
        assert said == b"WATCHDOG=1"
    assert running.wait(PATIENCE_S) == 0


# -- what it is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}, 1.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "often"}, None),
    ],
)
def test_who_watches(environment, every_s):
    assert ServiceManager(environment).alive_every_s == every_s


def test_a_service_manager_that_is_gone_holds_nobody_up(tmp_path):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_an_abstract_socket_is_found():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0flisr-test-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@flisr-test-{os.getpid()}"}).ready()
        assert heard.recv(100) == b"READY=1"
