"""Our IEC 60870-5-104 beside c104's: its client at our server, our client at its server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import time

import c104_process as peer
import pytest

from gateway.iec104.asdu import Cause, Step, TypeID
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.commands import CommandDesk
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.master import Asked, CommandEnded, ControllingStation, MasterSettings, ObjectsReceived, Started
from gateway.iec104.server import Centre, Iec104Server
from gateway.iec104.station import ControlledStation, Event, StationSettings

PATIENCE_S = 20.0
UTC_NS = 1_795_000_000_123_000_000
VALUES = {
    "M_SP": True,
    "M_DP": 2,
    "M_ST": Step(-5, transient=False),
    "M_BO": 0xA5A50001,
    "M_ME_NA": 0.5,
    "M_ME_TD": -0.25,
    "M_ME_ND": 0.125,
    "M_ME_NB": -1234,
    "M_ME_TE": 32767,
    "M_ME_NC": 1.5,
    "M_ME_TF": -2.5e6,
    "M_IT": 123456,
}


def value_of(kind):
    return next(value for start, value in sorted(VALUES.items(), reverse=True) if kind.startswith(start))


def as_json(value):
    return value.position if isinstance(value, Step) else value


@pytest.fixture(autouse=True)
def _c104(require):
    require(importlib.util.find_spec("c104") is not None, "the package c104 is not installed")


class Process:
    """c104 in its own process."""

    @classmethod
    async def start(cls, *role):
        self = cls()
        words = (sys.executable, "-P", peer.__file__, *map(str, role))
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, limit=1 << 24)
        self.ready = await self._read()
        return self

    async def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        return await self._read()

    async def _read(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line, "c104's process has ended"
        return json.loads(line)

    async def heard(self, found):
        """All that it hears until what is found is true."""
        messages = []
        deadline = time.monotonic() + PATIENCE_S
        while not found(messages):
            assert time.monotonic() < deadline, messages
            await asyncio.sleep(0.05)
            messages += (await self.ask(heard=True))["heard"]
        return messages

    async def end(self):
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Events:
    """An event source in memory."""

    def __init__(self):
        self.waiting, self.taken, self.last = [], {}, 0

    def add(self, IOA, typeID, value, **more):
        self.last += 1
        qualifier = more.pop("qualifier", 0)
        self.waiting.append(
            Event(self.last, 1, IOA, typeID, Cause.SPONTANEOUS, value, qualifier, more.pop("t_ns", UTC_NS), **more)
        )

    def take(self, limit):
        events, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken |= {event.token: event for event in events}
        return events

    def acknowledge(self, tokens):
        for token in tokens:
            self.taken.pop(token, None)

    def release(self):
        self.waiting = [*self.taken.values(), *self.waiting]
        self.taken = {}


class Ours:
    """Our server with the same points, and what was asked of it."""

    def __init__(self):
        monitored = [
            Monitored(1, ioa, TypeID[kind], frozenset({3} if ioa == 1 else ())) for ioa, kind in peer.MONITORED.items()
        ]
        controls = [Control(1, ioa, self._plain(kind), f"c{ioa}") for ioa, kind in peer.COMMANDS.items()]
        controls.append(Control(1, peer.SELECTED, TypeID.C_DC_NA_1, "selected", select=True))
        controls.append(Control(1, peer.REFUSED, TypeID.C_DC_NA_1, "refused"))
        self.image = Image(monitored, controls)
        self.events, self.desk = Events(), CommandDesk()
        self.station = ControlledStation(StationSettings(), self.image, self.events, self.desk)
        self.server = Iec104Server([Centre("c104", self.station)], self.desk, self)
        self.asked = []

    @staticmethod
    def _plain(kind):
        typeID = TypeID[kind]
        return typeID if typeID < 58 else TypeID(typeID - 13)

    def command(self, request):
        self.asked.append((request.step, request.control.IOA, request.value))
        why = "it must not" if request.control.name == "refused" else ""
        self.desk.confirm(request.number, self.server.now(), why=why)
        if request.step == "execute":
            self.desk.terminate(request.number)

    def ask(self, station, asked):
        self.asked.append((asked.matter, asked.t_ns))
        station.answer(asked.number)

    def set(self, IOA, value, qualifier=0):
        entry = self.image.entry(1, IOA)
        entry.value, entry.qualifier, entry.t_ns, entry.time_invalid = value, qualifier, UTC_NS, False


@contextlib.asynccontextmanager
async def their_client():
    ours = Ours()
    port = await ours.server.listen("127.0.0.1", 0)
    client = await Process.start("client", port)
    try:
        assert client.ready == {"open": True}
        yield ours, client
    finally:
        await client.end()
        await ours.server.close()


async def test_their_client_is_told_every_type_by_interrogation_group_and_counters():
    async with their_client() as (ours, client):
        for ioa, kind in peer.MONITORED.items():
            ours.set(ioa, value_of(kind))
        assert (await client.ask(interrogate=0))["done"]
        assert (await client.ask(counters=True))["done"]
        counted = [ioa for ioa, kind in peer.MONITORED.items() if "_IT_" in kind]
        # c104 drops an answer without time tag at a point that has one.
        plain = {ioa: kind for ioa, kind in peer.MONITORED.items() if ioa < 10}
        heard = await client.heard(lambda said: {m["ioa"] for m in said} >= set(plain))
        told = {m["ioa"]: (m["value"], m["cause"]) for m in heard}
        for ioa, kind in plain.items():
            cause = "REQUESTED_BY_GENERAL_COUNTER" if ioa in counted else "INTERROGATED_BY_STATION"
            assert told[ioa] == (pytest.approx(as_json(value_of(kind))), cause), kind
        assert (await client.ask(interrogate=3))["done"]
        heard = await client.heard(lambda said: said)
        assert [(m["ioa"], m["cause"]) for m in heard] == [(1, "INTERROGATED_BY_GROUP_3")]


async def test_their_client_is_told_events_with_time_and_quality():
    async with their_client() as (ours, client):
        for ioa, kind in peer.MONITORED.items():
            ours.events.add(ioa, TypeID[kind], value_of(kind))
        ours.events.add(11, TypeID.M_SP_TB_1, False, qualifier=0x40 | 0x10)
        ours.server.events_ready()
        heard = await client.heard(lambda said: len(said) == len(peer.MONITORED) + 1)
        values = {}
        for message in heard:
            assert message["cause"] == "SPONTANEOUS"
            values.setdefault(message["ioa"], []).append(message["value"])
        expected = {ioa: [pytest.approx(as_json(value_of(kind)))] for ioa, kind in peer.MONITORED.items()}
        assert values == expected | {11: [True, False]}
        assert {m["at"] for m in heard if m["ioa"] > 10} == {UTC_NS // 10**6 / 1000}
        (blocked,) = (m["quality"] for m in heard if m["ioa"] == 11 and m["value"] is False)
        assert ("NonTopical" in blocked, "Blocked" in blocked) == (True, True)


async def test_their_client_commands_every_type_selects_and_is_refused():
    async with their_client() as (ours, client):
        values = {
            "SC": True,
            "DC": 2,
            "RC": 2,
            "SE_NA": 0.5,
            "SE_TA": 0.5,
            "SE_NB": -7,
            "SE_TB": -7,
            "BO": VALUES["M_BO"],
        }
        values |= {"SE_NC": 1.25, "SE_TC": 1.25}
        for ioa, kind in peer.COMMANDS.items():
            value = next(value for part, value in values.items() if f"_{part}" in kind)
            assert (await client.ask(command=ioa, value=value))["done"], kind
            assert ours.asked.pop() == ("execute", ioa, value)
        assert (await client.ask(command=peer.SELECTED, value=2))["done"]
        assert ours.asked == [("select", peer.SELECTED, 2), ("execute", peer.SELECTED, 2)]
        assert not (await client.ask(command=peer.REFUSED, value=1))["done"]


async def test_their_client_reads_tests_and_sets_the_clock():
    async with their_client() as (ours, client):
        ours.set(17, 4.5)
        assert (await client.ask(read=17))["done"]
        (message,) = await client.heard(lambda said: said)
        assert (message["ioa"], message["value"], message["cause"]) == (17, 4.5, "REQUEST")
        assert (await client.ask(test=True))["done"]
        before_ns = time.time_ns()
        assert (await client.ask(clock=True))["done"]
        ((matter, t_ns),) = ours.asked
        assert matter == "clock"
        assert abs(t_ns - before_ns) < 60 * 10**9


async def test_events_wait_for_their_client_until_it_is_back():
    async with their_client() as (ours, client):
        ours.events.add(1, TypeID.M_SP_NA_1, True)
        ours.server.events_ready()
        await client.heard(lambda said: said)
        client.process.kill()
        await client.process.wait()
        for _ in range(500):
            ours.events.add(17, TypeID.M_ME_TF_1, 1.0)
        again = await Process.start("client", ours.server._servers[0].sockets[0].getsockname()[1])
        heard = await again.heard(lambda said: sum(m["ioa"] == 17 for m in said) >= 500)
        assert sum(m["ioa"] == 17 for m in heard) == 500
        await again.end()


class Master:
    """Our client at their server."""

    def __init__(self, port, **settings):
        self.events = []
        self._changed = asyncio.Event()
        self.station = ControllingStation(MasterSettings((1,), **settings))
        self.client = Iec104Client(Reach("c104", (("127.0.0.1", port),)), self.station, self._tell)
        self.client.start()

    def _tell(self, event):
        self.events.append(event)
        self._changed.set()

    async def until(self, found):
        async with asyncio.timeout(PATIENCE_S):
            while not (said := found()):
                self._changed.clear()
                await self._changed.wait()
        return said

    def told(self, cause):
        asdus = [event.asdu for event in self.events if isinstance(event, ObjectsReceived)]
        return {o.IOA: (a.typeID, o) for a in asdus if a.cause == cause for o in a.objects}

    async def command(self, IOA, typeID, value, **more):
        number = self.station.command(1, IOA, typeID, value, self.client.now(), time.time_ns(), **more)
        self.client.flush()
        return await self.until(
            lambda: next((e for e in self.events if isinstance(e, CommandEnded) and e.number == number), None)
        )


@contextlib.asynccontextmanager
async def their_server(**settings):
    server = await Process.start("server")
    master = Master(server.ready["port"], **settings)
    try:
        await master.until(lambda: any(isinstance(event, Started) for event in master.events))
        yield server, master
    finally:
        await master.client.close()
        await server.end()


async def test_their_server_tells_us_every_type():
    async with their_server(counters=True, clock_s=3600.0) as (server, master):
        await master.until(lambda: sum(isinstance(event, Asked) for event in master.events) >= 3)
        assert [event for event in master.events if isinstance(event, Asked) and event.why] == []
        counters = {8, 18}
        without_quality = {9}  # c104 leaves it out
        assert set(master.told(Cause.INTERROGATED)) == set(peer.MONITORED) - counters - without_quality
        for ioa, kind in peer.MONITORED.items():
            await server.ask(set=ioa, value=as_json(value_of(kind)))
        await master.until(lambda: set(master.told(Cause.SPONTANEOUS)) >= set(peer.MONITORED))
        for ioa, (typeID, one) in master.told(Cause.SPONTANEOUS).items():
            assert typeID.name == peer.MONITORED[ioa]
            assert as_json(one.value) == pytest.approx(as_json(value_of(typeID.name))), typeID
            assert (one.time is not None) == (ioa > 10)


async def test_their_server_takes_our_commands_and_refuses():
    async with their_server(interrogate=False) as (server, master):
        values = {45: True, 46: 2, 47: 2, 48: 0.5, 49: -7, 50: 1.25, 51: 17}
        for ioa, kind in peer.COMMANDS.items():
            typeID = TypeID[kind]
            value = values[typeID if typeID < 58 else typeID - 13]
            ended = await master.command(ioa, typeID, value, terminated=False)
            assert ended.done, (kind, ended)
            message = (await server.heard(lambda said: said))[0]
            assert (message["ioa"], message["value"]) == (ioa, pytest.approx(value)), kind
        selected = await master.command(peer.SELECTED, TypeID.C_DC_NA_1, 2, select=True, terminated=False)
        assert selected.done
        refused = await master.command(peer.REFUSED, TypeID.C_DC_NA_1, 1, terminated=False)
        assert (refused.done, refused.why) == (False, "refused")
        nowhere = await master.command(999, TypeID.C_DC_NA_1, 1, terminated=False)
        assert not nowhere.done
