"""``flisr run`` as a utility starts it: c104's server as field device, c104's client as control centre, a history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import pytest
from c104_peers import CONTROLS, UTC_NS, as_ours, tagged_ms

from gateway.historian.database import HistoryUnusable
from gateway.historian.reader import HistoryReader, Query
from gateway.iec104.asdu import TypeID

WORDS = [sys.executable, "-P", "-m", "tools.cli"]
PATIENCE_S = 60
POSITION, OPERATE = 12, 112
SITE = """
[site]
name = "north"

[history]
where = "history.db"

[[centre]]
name = "scada"
listen = "127.0.0.1"
port = 0

[point."NORTH/Q1.Pos"]
CA = 1
IOA = {position}
control_IOA = {operate}

[[rtu]]
name = "NORTH"
hosts = ["127.0.0.1:{port}"]
CAs = [1]

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "M_DP_TB_1"
IOA = {position}

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "C_DC_TA_1"
IOA = {operate}
direction = "control"
terminated = false
"""


class Running:
    """The gateway's process."""

    def __init__(self, process, ready):
        self.process = process
        self.ready = ready

    @property
    def port(self):
        (served,) = self.ready["served"]
        return served["port"]

    async def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@pytest.fixture
async def run():
    """``await run(site)``: the gateway in a process of its own, ready."""
    processes = []

    async def start(file):
        words = [*WORDS, "run", str(file), "--json"]
        process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
        processes.append(process)
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        return Running(process, json.loads(line))

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


def site_file(folder, port):
    file = folder / "north.toml"
    file.write_text(SITE.format(position=POSITION, operate=OPERATE, port=port))
    return file


def told(message):
    return message.get("ioa") == POSITION and message["cause"] == "SPONTANEOUS"


async def test_a_field_device_is_served_to_a_centre_and_a_history(stage, run, tmp_path):
    server, field = await stage.their_server()
    gateway = await run(site_file(tmp_path, field.port))
    assert gateway.ready["devices"] == ["NORTH"]
    assert gateway.ready["points"] == 1
    client = await stage.their_client(await stage.record(gateway.port, ours_is_server=True), selected=())
    # What it had when it was asked comes first.
    await client.heard(lambda said: any(told(each) for each in said))
    at_ms = UTC_NS // 10**6
    assert await server.ask("set", ioa=POSITION, value=2, cause="SPONTANEOUS", at_ms=at_ms)
    (moved,) = [each for each in await client.heard(lambda said: any(told(m) for m in said)) if told(each)]
    assert as_ours(moved) == (2, 0, 0, at_ms * 10**6), "the device's own time"
    assert await client.ask("command", ioa=OPERATE, value=1, **tagged_ms(CONTROLS[OPERATE]))
    (ordered,) = await server.heard(lambda said: any(each.get("ioa") == OPERATE for each in said))
    assert (ordered["ioa"], ordered["value"], ordered["type"]) == (OPERATE, 1, TypeID.C_DC_TA_1.name)
    assert await gateway.end() == 0
    words = [*WORDS, "events", str(tmp_path / "history.db"), "--json"]
    events = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    kept, _ = await asyncio.wait_for(events.communicate(), PATIENCE_S)
    assert at_ms * 10**6 in [json.loads(line)["t_ns"] for line in kept.splitlines()]


async def test_what_a_centre_has_not_got_outlives_a_kill(stage, run, tmp_path):
    server, field = await stage.their_server()
    file = site_file(tmp_path, field.port)
    gateway = await run(file)
    await has_kept(tmp_path, 1)  # what it had when it was asked: told later, it would be the last of the five
    acknowledged = UTC_NS // 10**6
    for number in range(5):
        await tell(server, 1 + number % 2, acknowledged + number)
    wanted = [(acknowledged + number) * 10**6 for number in range(5)]
    await has_kept(tmp_path, 6)
    await gateway.end(signal.SIGKILL)
    again = await run(file)
    client = await stage.their_client(await stage.record(again.port, ours_is_server=True), selected=())

    def arrived(said):
        times = [as_ours(each)[3] for each in said if told(each)]
        return set(wanted) <= set(times)

    heard = await client.heard(arrived)
    times = [as_ours(each)[3] for each in heard if told(each)]
    assert [t for t in dict.fromkeys(times) if t in wanted] == wanted, "in their order"
    assert await again.end() == 0


async def tell(server, value, at_ms):
    """The device tells it as soon as somebody hears it."""
    async with asyncio.timeout(PATIENCE_S):
        while not await server.ask("set", ioa=POSITION, value=value, cause="SPONTANEOUS", at_ms=at_ms):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)


async def has_kept(folder, events):
    """Wait until so many are in the history: then they are on the disk of the event log."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(HistoryUnusable), HistoryReader(str(folder / "history.db")) as reader:
                if len(list(reader.read(Query(), reader.last()))) >= events:
                    return
            await asyncio.sleep(0.1)
