"""``flisr bench loss``: that its judge can fail, and each trial in a small size."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from gateway.adapters.iec104_outlet import CentreConfig
from tools import bench_loss
from tools.bench_loss import TRIALS
from tools.loss import away, chain, trials
from tools.loss.chain import Chain, LossError
from tools.loss.counting_rtu import POINTS
from tools.loss.judge import Heard, judge

PATIENCE_S = 300
DEVICES = 10
ROUNDS = {"kill": 6, "cut": 6, "disk": 1, "database": 2, "broker": 6}
SMALL = ["--kills", "3", "--cuts", "6", "--hours", "0.05", "--disks", "1", "--databases", "4", "--brokers", "4"]
BENT = {
    # Acknowledges to the device before it has stored; on a disk so slow that a kill comes between.
    "kill": """
import time
from gateway.adapters.iec104_outlet import Outlet
from gateway.points.event_log import EventLog
Outlet.when_stored = lambda self, call: call()
write = EventLog.write
def slowly(log):
    time.sleep(0.05)
    return write(log)
EventLog.write = slowly
""",
    # Takes what it has sent for acknowledged.
    "cut": """
from gateway.adapters import iec104_outlet
take = iec104_outlet._Feed.take
def hasty(feed, limit):
    events = take(feed, limit)
    feed.acknowledge([each.token for each in events])
    return events
iec104_outlet._Feed.take = hasty
""",
    # Drops what comes while the disk refuses.
    "disk": """
from gateway.adapters.iec104_outlet import Outlet
tell = Outlet.tell
Outlet.tell = lambda outlet, events: None if outlet.log.trouble else tell(outlet, events)
""",
    # Takes for stored what the database has refused.
    "database": """
import contextlib
from gateway.historian.database import HistoryError
from gateway.historian.writer import HistoryWriter
store = HistoryWriter.store
def hasty(writer, batch):
    with contextlib.suppress(HistoryError):
        store(writer, batch)
HistoryWriter.store = hasty
""",
    # Takes for acknowledged what waits to be sent; nothing is under way, so that a kill always costs.
    "broker": """
from gateway.adapters.mqtt_feed import BrokerFeed
fetch = BrokerFeed._fetch
def hasty(feed):
    fetch(feed)
    feed._waiting.acknowledge([each.sequence for each in feed._fetched])
BrokerFeed._fetch = hasty
""",
}
"""Gateways with one rule bent, by the trial that must find them out."""
MISSED = {
    "kill": {"ours", "history"},
    "cut": {"ours"},
    "disk": {"ours", "history"},
    "database": {"history"},
    "broker": {"mqtt"},
}
"""Who then misses events for certain."""


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


def test_the_device_says_its_last_number_before_it_says_that_it_was_the_last(tmp_path):
    for number in range(DEVICES):  # that a write is under way is likely, not certain
        words = [sys.executable, "-P", "-m", "tools.loss.counting_rtu", str(tmp_path / str(number)), "0", "0", "500"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as device:
            lines = [device.stdout.readline() for _ in range(20)]
            device.send_signal(signal.SIGUSR1)
            while lines[-1].strip():
                lines.append(device.stdout.readline())
            time.sleep(0.2)
            device.kill()
            after = [int(line) for line in device.stdout if line.strip()]
        assert all(each <= int(lines[-2]) for each in after)


def test_a_trial_that_cannot_go_on_is_told_beside_the_others(monkeypatch, capsys):
    async def stuck(*_):
        raise LossError("nothing comes")

    async def late(*_):
        raise TimeoutError

    monkeypatch.setattr(trials, "cut", stuck)
    monkeypatch.setattr(trials, "kill", late)
    with pytest.raises(SystemExit) as ended:
        bench_loss.loss("cut", "kill", "away", hours=0.01, as_json=True)
    assert ended.value.code == 1
    found = json.loads(capsys.readouterr().out)["trials"]
    assert (found["cut"]["ended"], found["kill"]["ended"]) == ("nothing comes", "something did not come in time")
    assert found["away"]["good"]


@pytest.mark.parametrize("trial", TRIALS)
def test_a_trial(require, trial):
    why = trials.not_here(trial)
    require(not why, why)
    command = [sys.executable, "-P", "-m", "tools.cli", "bench", "loss", trial, *SMALL, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout)
    consumers = {"away": {"ours"}, "broker": {"mqtt"}}.get(trial, {"ours", "c104", "history"})
    found = result["trials"][trial]
    assert set(found["consumers"]) == consumers
    assert all(count["made"] == count["told"] > 100 for count in found["consumers"].values())
    assert (result["lost"], result["disordered"], result["invented"]) == (0, 0, 0)


@pytest.mark.parametrize("trial", BENT)
async def test_a_gateway_that_loses_events_is_found_out(trial, require, tmp_path, monkeypatch):
    why = trials.not_here(trial)
    require(not why, why)
    monkeypatch.setattr(chain, "PATIENCE_S", 60)
    monkeypatch.setattr(Chain, "program", ("-c", f"{BENT[trial]}\nfrom tools.cli import main\nmain()"))
    found = await getattr(trials, trial)(tmp_path, ROUNDS[trial], random.Random(1), lambda _: None)
    assert not found["good"]
    assert MISSED[trial] <= {name for name, count in found["consumers"].items() if count["lost"]}


def test_an_outlet_that_keeps_too_little_for_a_master_away_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(away, "_PATIENCE_S", 3)
    monkeypatch.setattr(
        away, "CentreConfig", lambda name, rows, most_events: CentreConfig(name, rows, most_events=most_events // 2)
    )
    found = away.away(tmp_path, 0.02, lambda _: None)
    assert not found["good"]
    assert found["consumers"]["ours"]["lost"] > 100
