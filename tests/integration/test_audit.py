"""The audit trail: what a control centre commands, and what becomes of it, is in the history whatever becomes of it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from histories import execute, rows
from iec104_field_site import PATIENCE_S, Centre, until
from site_world import CA, CONTROL, OFF, ON, SITE, Device, world

from gateway.historian.database import Database
from gateway.historian.writer import HistoryWriter, Retention
from gateway.iec104.asdu import TypeID
from gateway.iec104.commands import CommandSettings
from gateway.iec104.master import Asked

FLISR = [sys.executable, "-P", "-m", "tools.cli"]
POINT = "NORTH/Q1.Pos"


def audit(history, *words):
    run = subprocess.run(
        [*FLISR, "events", str(history), "--audit", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def trail(history, *words):
    """Step, value, outcome, reason of each."""
    said = [json.loads(line) for line in audit(history, "--json", *words).splitlines()]
    return [(each["step"], each["value"], each["outcome"], each["reason"]) for each in said]


async def kept(site):
    """Once all that has come is in the database."""
    log = site.gateway._outlet.log
    await until(lambda: not log.needs_write and not log.consumer("history").waiting)


@pytest.fixture
def where(history):
    return f'\n[history]\nwhere = "{history}"\n'


async def test_a_command_that_succeeds(tmp_path, where, history):
    began_ns = time.time_ns()
    async with world(tmp_path, where) as site:
        ended = await site.command(ON, select=True)
        assert ended.done
        await kept(site)
    assert await asyncio.to_thread(trail, history) == [
        ("select", "true", "asked", ""),
        ("select", "true", "confirmed", ""),
        ("execute", "true", "asked", ""),
        ("execute", "true", "confirmed", ""),
        ("execute", "true", "done", ""),
    ]
    said = [json.loads(line) for line in (await asyncio.to_thread(audit, history, "--json")).splitlines()]
    assert {(each["via"], each["target"], each["test"]) for each in said} == {("104", POINT, False)}
    assert all(each["who"].startswith("scada 127.0.0.1:") for each in said)
    assert [each["request"] for each in said] == [1, 1, 2, 2, 2]
    times = [each["t_ns"] for each in said]
    assert times == sorted(times)
    assert began_ns < times[0] < times[-1] < time.time_ns()
    assert rows(history, "SELECT count(*) FROM refused") == [(0,)]


async def test_what_a_lock_refuses(tmp_path, where, history):
    async with world(tmp_path, where) as site:
        site.device.does = "refuses"
        assert not (await site.command(ON, select=True)).done
        await kept(site)
    asked, refused = await asyncio.to_thread(trail, history)
    assert asked == ("select", "true", "asked", "")
    assert refused == ("select", "true", "refused", "NORTH: select: refused")


async def test_what_ends_badly_and_what_does_not_answer_in_time(tmp_path, where, history):
    async with world(tmp_path, where, rtu="confirm_s = 0.3\nterminate_s = 0.4") as site:
        site.device.does = "sticks"
        assert not (await site.command(ON, select=True)).done
        site.device.does = "sleeps"
        assert not (await site.command(OFF, select=True)).done
        await kept(site)
    found = (await asyncio.to_thread(trail, history))[2:]
    assert [each[:3] for each in found] == [
        ("execute", "true", "asked"),
        ("execute", "true", "confirmed"),
        ("execute", "true", "failed"),
        ("select", "false", "asked"),
        ("select", "false", "refused"),
    ]
    assert found[2][3].endswith("it did not reach its end; it may have been executed: its outcome is not known")
    assert found[-1][3].startswith("NORTH: select: no answer")


async def test_what_the_desk_gives_up_waiting_for(tmp_path, where, history):
    async with world(tmp_path, where) as site:
        site.gateway._outlet.desk.settings = CommandSettings(confirm_s=0.3, select_s=0.3)
        await site.command(ON, select=True, execute=False)
        await until(lambda: not site.gateway._outlet.desk._devices)  # its selection has run out
        site.device.does = "sleeps"
        assert not (await site.command(OFF, select=True)).done
        await kept(site)
    assert await asyncio.to_thread(trail, history) == [
        ("select", "true", "asked", ""),
        ("select", "true", "confirmed", ""),
        ("select", "true", "ended", "time over"),
        ("select", "false", "asked", ""),
        ("select", "false", "timed out", f"{POINT}: no answer in time while selecting"),
    ]


async def test_what_is_refused_before_anybody_is_asked(tmp_path, where, history):
    async with world(tmp_path, where) as site:
        # Not selected; at an address that stands for nothing; of another type; to a station that is not there.
        assert not (await site.command(ON)).done
        assert not (await site.command(ON, IOA=4711)).done
        assert not (await site.centre.command(CA, CONTROL, TypeID.C_SC_TA_1, True)).done
        assert not (await site.centre.command(CA + 1, CONTROL, TypeID.C_DC_TA_1, ON)).done
        late_ns = time.time_ns() - 3_600_000_000_000
        number = site.centre.station.command(CA, CONTROL, TypeID.C_DC_TA_1, ON, site.centre.client.now(), late_ns)
        assert not (await site.centre._ended(number)).done
        await kept(site)
    found = await asyncio.to_thread(trail, history)
    assert [each[0] for each in found] == ["execute", "execute", "execute", "command", "execute"]
    assert {each[2] for each in found} == {"refused"}
    assert [each[3] for each in found[:4]] == [
        f"{POINT} must be selected first",
        "no C_DC_NA_1 there",
        "no C_SC_NA_1 there",
        "unknown common address",
    ]
    assert found[4][3].endswith("s old; 60 s are allowed")
    assert rows(history, "SELECT target FROM control_steps WHERE id IN (2, 4) ORDER BY id") == [
        (f"CA {CA} IOA 4711",),
        (f"CA {CA + 1}",),
    ]


async def test_a_reset_of_the_process(tmp_path, where, history):
    async with world(tmp_path, where) as site:
        site.centre.station.reset(CA, site.centre.client.now())
        site.centre.client.flush()
        await until(lambda: any(isinstance(e, Asked) and e.typeID is TypeID.C_RP_NA_1 for e in site.centre.events))
        await kept(site)
    assert await asyncio.to_thread(trail, history) == [
        ("reset", "", "asked", ""),
        ("reset", "", "refused", "reset: not passed on to field devices"),
    ]


async def test_a_selection_that_ends_with_its_connection(tmp_path, where, history):
    async with world(tmp_path, where) as site:
        assert (await site.command(ON, select=True, execute=False)).done
        await site.centre.client.close()
        await until(lambda: not site.gateway._outlet.desk._devices)
        await kept(site)
    found = await asyncio.to_thread(trail, history)
    assert found[-1] == ("select", "true", "ended", "master gone")


async def test_a_flood_of_commands_is_counted_and_does_not_fill_the_log(tmp_path, where, history, monkeypatch):
    monkeypatch.setattr("gateway.adapters.audit_trail.BURST", 20)
    monkeypatch.setattr("gateway.adapters.audit_trail.PER_S", 10.0)
    async with world(tmp_path, where) as site:
        for _ in range(200):
            assert not (await site.command(ON)).done
        await asyncio.sleep(1)
        assert (await site.command(ON, select=True)).done
        await kept(site)
    found = await asyncio.to_thread(trail, history, "--newest", "0")
    missing = [int(each[3].split()[0]) for each in found if each[2] == "missing"]
    assert 100 < sum(missing) < 200
    assert sum(missing) + sum(each[2] == "refused" for each in found) == 200
    assert found[-1][2] == "done"


async def test_a_trail_waits_for_a_database_that_is_away_over_a_restart(tmp_path):
    """And nobody who waits for events is told of it."""
    (tmp_path / "device").mkdir()
    device = Device(tmp_path / "device")
    port = await device.outlet.server.listen("127.0.0.1", 0)
    file = tmp_path / "north.toml"
    (tmp_path / "db").mkdir()
    file.write_text(SITE.format(port=port, rtu="") + '\n[history]\nwhere = "db/h.db"\n')
    words = [*FLISR, "run", str(file), "--json"]

    async def begin():
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*words, stdout=pipe, stderr=null)
        return process, json.loads(await process.stdout.readline())["served"][0]["port"]

    process, served = await begin()
    try:
        execute(f"sqlite:///{tmp_path}/db/h.db", "DROP TABLE control_steps")
        centre = Centre(served, (CA,))
        await centre.started()
        assert (await centre.command(CA, CONTROL, TypeID.C_DC_TA_1, ON, select=True)).done
        await centre.client.close()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        (tmp_path / "db" / "h.db").unlink()
        process, served = await begin()
        found = await asyncio.to_thread(_wait_for_trail, tmp_path / "db" / "h.db", 5)
        assert [each[2] for each in found] == ["asked", "confirmed", "asked", "confirmed", "done"]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await device.outlet.close()


def _wait_for_trail(history, count):
    deadline = time.monotonic() + PATIENCE_S
    while len(found := trail(history)) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


async def test_it_is_printed_in_words_as_CSV_by_point_and_followed(tmp_path):
    async with world(tmp_path, '\n[history]\nwhere = "h.db"\n') as site:
        assert (await site.command(ON, select=True)).done
        assert not (await site.command(ON, IOA=4711)).done
        await kept(site)
        file = tmp_path / "h.db"
        lines = (await asyncio.to_thread(audit, file)).splitlines()
        assert len(lines) == 7
        assert lines[0].split() == ["time", "(UTC)", "outcome"]
        assert " done      execute true of NORTH/Q1.Pos by scada 127.0.0.1:" in lines[5]
        assert lines[6].split()[1:9] == ["refused", "execute", "2", "of", "CA", "7", "IOA", "4711"]
        assert lines[6].endswith(": no C_DC_NA_1 there")
        table = list(csv.DictReader(io.StringIO(await asyncio.to_thread(audit, file, "--csv", "--point", "NORTH/*"))))
        assert [row["outcome"] for row in table] == ["asked", "confirmed", "asked", "confirmed", "done"]
        assert table[0]["time"].endswith("Z")
        newest = await asyncio.to_thread(trail, file, "--newest", "2")
        assert [each[2] for each in newest] == ["done", "refused"]
        assert await asyncio.to_thread(trail, file, "--to", "2020-01-01") == []
        follow = [*FLISR, "events", str(file), "--audit", "--json", "--follow", "--newest", "1", "--point", "NORTH/*"]
        follower = await asyncio.create_subprocess_exec(
            *follow, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        try:
            first = json.loads(await asyncio.wait_for(follower.stdout.readline(), PATIENCE_S))
            assert first["outcome"] == "done"
            assert not (await site.command(ON, IOA=4711)).done
            assert not (await site.command(OFF)).done
            said = json.loads(await asyncio.wait_for(follower.stdout.readline(), PATIENCE_S))
            assert (said["value"], said["outcome"]) == ("false", "refused")
        finally:
            follower.send_signal(signal.SIGINT)
            assert await follower.wait() == 0


def test_a_history_of_the_format_before_is_gone_on_with(history):
    writer = HistoryWriter(Database(history), [], Retention())
    writer.open()
    writer.close()
    execute(history, "DROP TABLE control_steps")
    execute(history, "UPDATE history_version SET version = 1")
    run = subprocess.run([*FLISR, "events", history, "--audit"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "an older flisr keeps this history, without an audit trail" in run.stderr
    plain = subprocess.run([*FLISR, "events", history], capture_output=True, text=True, check=False)
    assert plain.returncode == 0
    writer.open()
    writer.close()
    assert trail(history) == []
    assert rows(history, "SELECT max(version) FROM history_version") == [(2,)]
