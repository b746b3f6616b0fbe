"""The historian behind a real event log: killed, with a full disk, a locked database, a server that is restarted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from histories import POINTS, POSITION, POWER, execute, rows

from gateway.adapters.iec104_outlet import Outlet
from gateway.historian import historian as module
from gateway.historian.database import HistoryUnusable
from gateway.historian.historian import Historian
from gateway.points.point import PointValue
from gateway.points.table import PointTable

PATIENCE_S = 60.0
PROCESS = Path(__file__).parents[1] / "helpers" / "history_process.py"
APART = 100_000
KILLS = 6


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(module, "_GATHER_S", 0.01)
    monkeypatch.setattr(module, "_FIRST_S", 0.05)
    monkeypatch.setattr(module, "_LONGEST_S", 0.2)


@contextlib.asynccontextmanager
async def gateway(folder, url):
    table = PointTable(POINTS)
    historian = Historian(url, table)
    outlet = Outlet(table, folder, [], None, listeners=[historian])
    try:
        yield outlet, historian
    finally:
        await historian.close()
        await outlet.close()


def say(outlet, *numbers):
    for n in numbers:
        now_ns = time.time_ns()
        name, value = (POWER, float(n)) if n % 2 else (POSITION, n // 2 % 4)
        outlet.update(name, PointValue(value, 0, now_ns, 10, now_ns))


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what happens elsewhere has no event
            await asyncio.sleep(0.01)


def stored(url):
    return sorted(value for (value,) in rows(url, "SELECT value FROM measurements"))


def drained(outlet):
    return lambda: not outlet.log.needs_write and not outlet.log.consumer("history").waiting


async def test_a_gateway_that_never_lives_long_stores_what_fills_a_transaction(history, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GATHER_S", 2 * PATIENCE_S)
    monkeypatch.setattr(module, "_MOST", 10)
    async with gateway(tmp_path / "log", history) as (outlet, _):
        say(outlet, *range(20))
        await until(drained(outlet))
        assert stored(history) == list(range(1, 20, 2))


async def test_what_is_in_the_log_is_in_the_database_once_and_in_order_whenever_it_is_killed(history, tmp_path):
    rng = random.Random()
    promised = set()
    for life in range(KILLS + 1):
        first = life * APART
        last = life == KILLS
        words = (str(PROCESS), str(tmp_path / "log"), history, str(first), "0" if last else "1000")
        process = await asyncio.create_subprocess_exec(sys.executable, "-P", *words, stdout=asyncio.subprocess.PIPE)
        try:
            if last:
                assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
                break
            heard = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
            await asyncio.sleep(rng.uniform(0.05, 0.6))
        finally:
            if process.returncode is None:
                process.kill()
            heard = [heard, *(await process.stdout.read()).split(b"\n")]
            await process.wait()
        said = [int(line) for line in heard[:-1] if line.strip()]
        if said:
            promised.update(range(first + 1, max(said) + 1))
    assert len(promised) > KILLS * 20
    found = []
    for table in ("events", "measurements"):
        there = rows(history, f"SELECT point_id, value, sequence FROM {table} ORDER BY id")
        assert len({sequence for _, _, sequence in there}) == len(there)
        newest = {}
        for point, value, _ in there:
            assert value > newest.get(point, 0), "out of order"
            newest[point] = value
        found += [int(value) for _, value, _ in there]
    assert len(set(found)) == len(found)
    assert promised <= set(found)
    # Of those beyond what a life has promised, none is invented: they follow each other.
    assert all(number - 1 in promised or number - 1 in found for number in set(found) - promised if number % APART > 1)


async def test_a_database_that_is_locked_by_another_is_waited_for_and_said_once(history, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("gateway.historian.database._BUSY_MS", 50)
    monkeypatch.setattr("gateway.historian.database._LOCK_MS", 50)
    caplog.set_level(logging.INFO)
    async with gateway(tmp_path / "log", history) as (outlet, historian):
        say(outlet, 1)
        await until(drained(outlet))
        if history.startswith("sqlite"):
            other = sqlite3.connect(history.removeprefix("sqlite:///"), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
        else:
            import psycopg

            other = psycopg.connect(history)
            other.execute("LOCK TABLE measurements IN EXCLUSIVE MODE")
        say(outlet, 3, 5)
        await until(lambda: historian.trouble)
        began, turns = time.monotonic(), 0
        while time.monotonic() < began + 0.5:
            await asyncio.sleep(0.001)  # the loop lives
            turns += 1
        assert turns > 50
        other.rollback()
        other.close()
        await until(drained(outlet))
        await until(lambda: not historian.trouble)
    assert stored(history) == [1, 3, 5]
    said = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert len(said) == 2, said
    assert "lock" in said[0]
    assert "events wait in the event log" in said[0]
    assert said[1].endswith("events are stored again")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_is_restarted_misses_nothing(postgresql, tmp_path, caplog, how):
    caplog.set_level(logging.INFO)
    url = postgresql.new()
    async with gateway(tmp_path / "log", url) as (outlet, historian):
        say(outlet, 1)
        await until(drained(outlet))
        await asyncio.to_thread(postgresql.stop, how)
        try:
            say(outlet, 3)
            await until(lambda: historian.trouble)
            say(outlet, 5)
            await asyncio.sleep(0.3)
        finally:
            await asyncio.to_thread(postgresql.start)
        await until(drained(outlet))
        await until(lambda: not historian.trouble)
    assert stored(url) == [1, 3, 5]
    said = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert len(said) == 2, said


async def test_a_server_that_is_not_there_at_the_start_is_waited_for_over_a_restart_of_the_gateway(
    postgresql, tmp_path, caplog
):
    url = postgresql.new()
    await asyncio.to_thread(postgresql.stop)
    try:
        async with gateway(tmp_path / "log", url) as (outlet, historian):
            await historian.check()
            say(outlet, 1, 3)
            await until(lambda: historian.trouble)
    finally:
        await asyncio.to_thread(postgresql.start)
    async with gateway(tmp_path / "log", url) as (outlet, _):
        await until(drained(outlet))
    assert stored(url) == [1, 3]
    assert "refused" in caplog.text


@pytest.fixture
def small_disk(tmp_path, require):
    """A folder on a file system of 512 kB, and what makes it larger."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(place)]
    mounted = os.geteuid() == 0 and shutil.which("mount") and not subprocess.run(mount, check=False).returncode
    require(mounted, "needs a file system of its own: root only")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_costs_nothing(small_disk, tmp_path, caplog):
    place, grow = small_disk
    url = f"sqlite:///{place / 'history.db'}"
    async with gateway(tmp_path / "log", url) as (outlet, historian):
        say(outlet, 1)
        await until(drained(outlet))
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        numbers = range(3, 10_003, 2)
        for n in numbers:
            say(outlet, n)
            if n % 500 == 1:
                await asyncio.sleep(0.005)
        await until(lambda: historian.trouble)
        assert len(stored(url)) < 5001
        (place / "filler").unlink()
        grow()
        await until(drained(outlet))
        await until(lambda: not historian.trouble)
    assert stored(url) == [1, *numbers]
    assert "disk is full" in caplog.text or "disk I/O error" in caplog.text


async def test_what_waits_for_a_database_that_stays_away_is_bounded_and_counted(tmp_path, caplog, monkeypatch):
    history = f"sqlite:///{tmp_path / 'h.db'}"
    monkeypatch.setattr("gateway.historian.database._BUSY_MS", 20)
    async with gateway(tmp_path / "log", history) as (outlet, historian):
        say(outlet, 1)
        await until(drained(outlet))
        other = sqlite3.connect(tmp_path / "h.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        consumer = outlet.log.consumer("history")
        consumer.most = 100
        for n in range(3, 1003, 2):
            say(outlet, n)
            await asyncio.sleep(0)
        await until(lambda: historian.trouble)
        assert consumer.waiting <= 100
        lost = consumer.overflowed
        assert lost >= 400
        other.rollback()
        other.close()
        await until(drained(outlet))
    assert len(stored(history)) + lost == 501
    assert stored(history)[-100:] == list(range(803, 1003, 2))
    assert "consumer history: more events were waiting than there is room for" in caplog.text


async def test_a_defect_is_told_with_its_place_and_does_not_end_the_history(tmp_path, caplog, monkeypatch):
    history = f"sqlite:///{tmp_path / 'h.db'}"
    async with gateway(tmp_path / "log", history) as (outlet, historian):
        store = historian._writer.store
        monkeypatch.setattr(historian._writer, "store", lambda _: {}["missing"])
        say(outlet, 1)
        await until(lambda: historian.trouble)
        monkeypatch.setattr(historian._writer, "store", store)
        await until(drained(outlet))
    assert stored(history) == [1]
    assert "KeyError: 'missing'" in caplog.text


async def test_old_rows_go_while_new_ones_come(history, tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.historian.writer._STEP_ROWS", 50)
    monkeypatch.setattr(module, "_MOST", 20)
    table = PointTable(POINTS)
    historian = Historian(history, table, module.Retention(rows=100))
    outlet = Outlet(table, tmp_path / "log", [], None, listeners=[historian])
    for n in range(1, 2001, 2):
        say(outlet, n)
    await until(drained(outlet))
    await until(lambda: len(stored(history)) <= 100)
    await historian.close()
    await outlet.close()
    assert stored(history) == list(range(1801, 2001, 2))


async def test_what_waiting_does_not_help_is_refused_at_the_start(history, tmp_path):
    async with gateway(tmp_path / "log", history) as (outlet, _):
        say(outlet, 1)
        await until(drained(outlet))
    execute(history, "UPDATE history_version SET version = 99")
    with pytest.raises(HistoryUnusable, match="format 99"):
        await Historian(history, POINTS).check()
    with pytest.raises(HistoryUnusable, match="there is no folder"):
        Historian(str(tmp_path / "none" / "h.db"), POINTS)
