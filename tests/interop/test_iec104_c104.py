"""c104's IEC 60870-5-104 client at our server.

All that ours sends in each test is read by tshark afterwards, and must be there what we meant, without a complaint.
"""

from __future__ import annotations

import asyncio
import sys
import time
from ipaddress import ip_network
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from c104_peers import (
    CONTROLS,
    COUNTERS,
    MONITORED,
    PATIENCE_S,
    PROTECTION,
    SELECTED,
    TO_REFUSE,
    TO_SELECT,
    UTC_NS,
    CrashedError,
    as_ours,
    commands,
    expected,
    monitored,
    tagged_ms,
    u_frames,
    vectors,
)

from gateway.iec104.apci import UFunction
from gateway.iec104.asdu import Cause, TypeID, tag_of
from gateway.iec104.image import Monitored
from gateway.iec104.link import LinkConfig
from gateway.iec104.station import StationSettings
from tools.loss import counting_rtu

OUTLET = Path(counting_rtu.__file__)
CONFIRMED = {
    UFunction.STARTDT_ACT: UFunction.STARTDT_CON,
    UFunction.STOPDT_ACT: UFunction.STOPDT_CON,
}


async def test_their_client_is_told_events_of_every_type_value_quality_and_time(stage):
    ours, client, recorder = await stage.both()
    for ioa, kind in MONITORED.items():
        for number, (value, qualifier, elapsed_ms) in enumerate(vectors(kind)):
            t_ns = UTC_NS + number * 10**6
            ours.events.add(ioa, TypeID[kind], value, qualifier, t_ns, elapsed_ms=elapsed_ms)
    count = ours.events.last
    ours.server.events_ready()
    heard = await client.heard(lambda said: sum("ioa" in message for message in said) >= count)
    assert [message for message in heard if "ioa" not in message] == [{"initialized": "LOCAL_POWER_ON"}]
    for ioa, kind in MONITORED.items():
        told = [message for message in heard if message.get("ioa") == ioa]
        assert {(m["type"], m["cause"], m["test"]) for m in told} == {(kind, "SPONTANEOUS", False)}
        assert [as_ours(message) for message in told] == expected(kind)
    assert started_and_stopped(recorder) == [UFunction.STARTDT_ACT]


def started_and_stopped(recorder):
    """What their client asked for in turn; each time it asked it was confirmed, once.

    Where its STARTDT is slow it is asked to unmute, and sends a second one.
    """
    asked = u_frames(recorder, from_server=False)
    assert u_frames(recorder, from_server=True) == [CONFIRMED[function] for function in asked]
    return [function for function, _ in groupby(asked)]


async def test_their_client_interrogates_station_and_groups(stage):
    ours, client, recorder = await stage.both(client={"originator": 7})
    for ioa, kind in MONITORED.items():
        value, qualifier, _ = vectors(kind)[1]
        ours.set(ioa, value, qualifier)
    # c104 takes an answer without time tag only for a point that has none.
    plain = {ioa for ioa, kind in MONITORED.items() if tag_of(TypeID[kind]) is None} - COUNTERS
    all_told = set(MONITORED) - COUNTERS - PROTECTION
    for what, cause, theirs, on_wire in (
        ({}, "INTERROGATED_BY_STATION", plain, all_told),
        ({"CA": 65535}, "INTERROGATED_BY_STATION", plain, all_told),
        ({"group": 3}, "INTERROGATED_BY_GROUP_3", {1}, {1}),
        ({"group": 16}, "INTERROGATED_BY_GROUP_16", plain, all_told),
        ({"group": 5}, "", set(), set()),
    ):
        before = len(recorder.asdus(from_server=True))
        assert await client.ask("interrogate", **what)
        heard = await client.heard(lambda said, theirs=theirs: {m.get("ioa") for m in said} >= theirs)
        told = [message for message in heard if "ioa" in message]
        assert {message["ioa"]: message["cause"] for message in told} == dict.fromkeys(theirs, cause)
        for message in told:
            assert as_ours(message)[:2] == vectors(MONITORED[message["ioa"]])[1][:2]
        asdus = recorder.asdus(from_server=True)[before:]
        assert {o.IOA for asdu in asdus if asdu.typeID < 45 for o in asdu.objects} == on_wire
        assert {asdu.originator for asdu in asdus if asdu.typeID != TypeID.M_EI_NA_1} == {7}
    assert not await client.ask("interrogate", CA=99)
    assert recorder.asdus(from_server=True)[-1].cause == Cause.UNKNOWN_CA
    assert not await client.ask("interrogate", cause="DEACTIVATION")
    assert recorder.asdus(from_server=True)[-1][:2] == (TypeID.C_IC_NA_1, Cause.DEACTIVATION_CON)


async def test_their_client_asks_for_counters_and_freezes_them(stage):
    ours, client, _ = await stage.both()

    async def counted(cause):
        heard = await client.heard(lambda said: any(m.get("ioa") == 8 for m in said))
        (message,) = (m for m in heard if m.get("ioa") == 8)
        assert message["cause"] == cause
        return message["value"]

    ours.set(8, 100)
    for group, cause in ((0, "GENERAL"), (1, "GROUP_1"), (4, "GROUP_4")):
        assert await client.ask("counters", group=group)
        assert await counted(f"REQUESTED_BY_{cause}_COUNTER") == 100
    assert await client.ask("counters", freeze="FREEZE_WITH_RESET")
    ours.set(8, 130)
    assert await client.ask("counters")
    assert await counted("REQUESTED_BY_GENERAL_COUNTER") == 100
    assert await client.ask("counters", freeze="FREEZE_WITHOUT_RESET")
    assert await client.ask("counters")
    assert await counted("REQUESTED_BY_GENERAL_COUNTER") == 30
    assert await client.ask("counters", freeze="COUNTER_RESET")
    assert await client.ask("counters", freeze="FREEZE_WITHOUT_RESET")
    assert await client.ask("counters")
    assert await counted("REQUESTED_BY_GENERAL_COUNTER") == 0
    assert not await client.ask("counters", CA=99)


async def test_their_client_reads_every_type(stage):
    ours, client, recorder = await stage.both(client={"monitored": MONITORED | {999: "M_SP_NA_1"}})
    for ioa, kind in MONITORED.items():
        value, qualifier, elapsed_ms = vectors(kind)[1]
        ours.set(ioa, value, qualifier, elapsed_ms=elapsed_ms)
        assert await client.ask("read", ioa=ioa)
        heard = await client.heard(lambda said: any("ioa" in message for message in said))
        (message,) = (m for m in heard if "ioa" in m)
        assert (message["ioa"], message["type"], message["cause"]) == (ioa, kind, "REQUEST")
        assert as_ours(message) == (value, qualifier, elapsed_ms, UTC_NS if tag_of(TypeID[kind]) else None)
    assert not await client.ask("read", ioa=999)
    assert recorder.asdus(from_server=True)[-1][:2] == (TypeID.C_RD_NA_1, Cause.UNKNOWN_IOA)


async def test_their_client_tests_and_sets_the_clock(stage):
    ours, client, recorder = await stage.both()
    assert await client.ask("test")
    # Type 104 is of IEC 60870-5-101 only.
    assert not await client.ask("test", with_time=False)
    assert recorder.asdus(from_server=True)[-1][:2] == (TypeID.C_TS_NA_1, Cause.UNKNOWN_TYPE)
    assert not await client.ask("test", CA=99)
    before_ns = time.time_ns()
    assert await client.ask("clock")
    assert await client.ask("clock", CA=65535)
    assert not await client.ask("clock", CA=99)
    assert [(asked.matter, asked.CA) for asked in ours.asked] == [("clock", 1), ("clock", 65535)]
    assert all(before_ns - 10**6 <= asked.t_ns <= time.time_ns() for asked in ours.asked)


async def test_their_client_commands_every_type_with_every_qualifier(stage):
    ours, client, _ = await stage.both(client={"originator": 9})
    for ioa, kind, value, qualifier, told in commands():
        done = await client.ask("command", ioa=ioa, value=value, qualifier=qualifier, **tagged_ms(kind))
        assert done is (ioa not in TO_REFUSE), (kind, value, qualifier)
        steps = ("select", "execute") if ioa in TO_SELECT else ("execute",)
        asked = [(r.step, r.control.IOA, r.value, r.qualifier, r.originator, r.test) for r in ours.requests]
        assert asked == [(step, ioa, value, told, 9, False) for step in steps]
        ours.requests.clear()


async def test_their_client_is_refused_what_makes_no_sense(stage):
    ours, client, recorder = await stage.both(client={"controls": CONTROLS | {999: "C_DC_NA_1", 11: "C_SC_NA_1"}})

    async def refused(cause, /, **what):
        assert not await client.ask("command", **what)
        asdu = recorder.asdus(from_server=True)[-1]
        assert (asdu.cause, asdu.negative) == (cause, True)

    await refused(Cause.ACTIVATION_CON, ioa=102, value=0)
    await refused(Cause.ACTIVATION_CON, ioa=102, value=3)
    await refused(Cause.ACTIVATION_CON, ioa=112, value=2, at_ms=time.time_ns() // 10**6 - 120_000)
    await refused(Cause.ACTIVATION_CON, ioa=112, value=2, at_ms=time.time_ns() // 10**6 + 120_000)
    await refused(Cause.UNKNOWN_IOA, ioa=999, value=2)
    await refused(Cause.UNKNOWN_IOA, ioa=11, value=True)
    await refused(Cause.DEACTIVATION_CON, ioa=102, value=2, cause="DEACTIVATION")
    await refused(Cause.DEACTIVATION_CON, ioa=SELECTED, value=2, cause="DEACTIVATION")
    assert ours.requests == []
    assert await client.ask("command", ioa=102, value=2)


async def test_their_client_must_select(stage):
    ours, client, recorder = await stage.both(client={"selected": ()})
    for ioa in TO_SELECT:
        assert not await client.ask("command", ioa=ioa, value=2, **tagged_ms(CONTROLS[ioa]))
        assert recorder.asdus(from_server=True)[-1][:2] == (TypeID[CONTROLS[ioa]], Cause.ACTIVATION_CON)
    assert ours.requests == []


async def test_their_client_is_told_by_scans(stage):
    points = monitored(cyclic=True, background=True)
    settings = StationSettings(cyclic_s=0.1, background_s=0.15)
    ours, client, _ = await stage.both(points=points, settings=settings)
    plain = {ioa for ioa, kind in MONITORED.items() if tag_of(TypeID[kind]) is None} - COUNTERS
    for ioa in plain:
        ours.set(ioa, *vectors(MONITORED[ioa])[1][:2])

    def twice(said):
        seen = [(m.get("ioa"), m.get("cause")) for m in said]
        return all(seen.count((ioa, cause)) >= 2 for ioa in plain for cause in ("PERIODIC", "BACKGROUND_SCAN"))

    heard = await client.heard(twice)
    values = {m["ioa"]: as_ours(m)[:2] for m in heard if "ioa" in m}
    assert values == {ioa: vectors(MONITORED[ioa])[1][:2] for ioa in plain}


async def test_their_client_stops_and_starts_data_transfer(stage):
    ours, client, recorder = await stage.both()
    ours.events.add(17, TypeID.M_ME_TF_1, -1.0)
    ours.server.events_ready()
    await client.heard(lambda said: any("ioa" in message for message in said))
    for turn in range(3):
        assert await client.ask("mute")
        until = time.monotonic() + PATIENCE_S
        while ours.stations[0].started:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        for number in range(50):
            ours.events.add(17, TypeID.M_ME_TF_1, float(turn * 50 + number))
        ours.server.events_ready()
        assert await client.ask("unmute")
        heard = await client.heard(lambda said: sum("ioa" in message for message in said) >= 50)
        assert [message["value"] for message in heard] == [float(turn * 50 + number) for number in range(50)]
    asked = [UFunction.STARTDT_ACT, *[UFunction.STOPDT_ACT, UFunction.STARTDT_ACT] * 3]
    assert started_and_stopped(recorder) == asked


async def test_idle_links_are_tested_from_both_ends(stage):
    settings = StationSettings(link=LinkConfig(t3_s=1.0))
    _, client, recorder = await stage.both(settings=settings, client={"parameters": {"keep_alive_interval": 2}})
    until = time.monotonic() + PATIENCE_S
    while u_frames(recorder, from_server=False).count(UFunction.TESTFR_CON) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    assert await client.ask("test")
    # And the other way round: c104 is quicker to test than we.
    ours = await stage.ours()
    second = await stage.record(ours.port, ours_is_server=True)
    await stage.their_client(second, parameters={"keep_alive_interval": 1})
    while u_frames(second, from_server=True).count(UFunction.TESTFR_CON) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    assert UFunction.TESTFR_ACT not in u_frames(second, from_server=True)


@pytest.mark.parametrize(("k", "w"), [(1, 1), (12, 8), (300, 8)])
async def test_windows_of_other_sizes(stage, k, w):
    # Theirs is left as it is: w = 8 of c104 beside our k = 1 goes only by its t2.
    parameters = {"receive_window_size": min(w, k)}
    ours, client, _ = await stage.both(
        settings=StationSettings(link=LinkConfig(k=k, w=w)), client={"parameters": parameters}
    )
    for number in range(2000):
        ours.events.add(4, TypeID.M_BO_NA_1, number)
        ours.events.add(14, TypeID.M_BO_TB_1, number)
    ours.server.events_ready()
    heard = await client.heard(lambda said: sum("ioa" in message for message in said) >= 4000)
    for ioa in (4, 14):
        assert [message["value"] for message in heard if message.get("ioa") == ioa] == list(range(2000))


@pytest.mark.parametrize("count", [5_000, 100_000])
async def test_their_client_interrogates_many(stage, count):
    points = [Monitored(1, ioa, TypeID.M_ME_NC_1) for ioa in range(1, count + 1)]
    kinds = dict.fromkeys(range(1, count + 1), "M_ME_NC_1")
    client_setup = {"monitored": kinds, "controls": {}, "deaf": True, "timeout_ms": 100_000}
    ours, client, recorder = await stage.both(points=points, client=client_setup)
    for ioa in kinds:
        ours.set(ioa, float(ioa))
    assert await client.ask("interrogate")
    until = time.monotonic() + PATIENCE_S
    while (await client.ask("values", last=True)) != float(count):
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    values = await client.ask("values")
    assert len(values) == count
    assert all(value == float(ioa) for ioa, value in values.items())
    told = [asdu for asdu in recorder.asdus(from_server=True) if asdu.typeID == TypeID.M_ME_NC_1]
    assert sum(len(asdu.objects) for asdu in told) == count


# -- several, away, and killed -----------------------------------------------------------------------------------------


async def test_their_clients_of_one_group_take_over_from_each_other(stage):
    ours, first, recorder = await stage.both()
    ours.events.add(4, TypeID.M_BO_NA_1, 1)
    ours.server.events_ready()
    await first.heard(lambda said: any(message.get("value") == 1 for message in said))
    second = await stage.their_client(recorder)
    ours.events.add(4, TypeID.M_BO_NA_1, 2)
    ours.server.events_ready()
    heard = await second.heard(lambda said: any(message.get("value") == 2 for message in said))
    # The first has not acknowledged (w = 8): what it was told is told again.
    assert [message["value"] for message in heard if "ioa" in message][-1] == 2
    # The first does not know that it was stopped: what it sends closes it, and it comes back to be started.
    assert not await first.ask("command", ioa=102, value=2)
    assert ours.requests == []
    assert await first.ask("opened")
    await first.heard(lambda said: any(message.get("value") == 2 for message in said))
    assert await first.ask("command", ioa=102, value=2)
    ours.events.add(4, TypeID.M_BO_NA_1, 3)
    ours.server.events_ready()
    heard = await first.heard(lambda said: any(message.get("value") == 3 for message in said))
    assert [message["value"] for message in heard if "ioa" in message] == [3]


async def test_their_clients_of_different_centres(stage):
    centres = {name: (ip_network(f"127.0.6.{number}/32"),) for number, name in enumerate("abc", 1)}
    ours = await stage.ours(centres=centres)
    clients = []
    for number in (1, 2, 3):
        recorder = await stage.record(ours.port, ours_is_server=True, source=f"127.0.6.{number}")
        clients.append(await stage.their_client(recorder))
    for source in ours.sources.values():
        for number in range(300):
            source.add(14, TypeID.M_BO_TB_1, number)
    ours.server.events_ready()
    for client in clients:
        heard = await client.heard(lambda said: sum("ioa" in message for message in said) >= 300)
        assert [message["value"] for message in heard if "ioa" in message] == list(range(300))
    assert await asyncio.gather(*(client.ask("interrogate") for client in clients)) == [True] * 3
    done = await asyncio.gather(*(client.ask("command", ioa=101 + n, value=1) for n, client in enumerate(clients, 1)))
    assert done == [True] * 3
    assert sorted(request.control.IOA for request in ours.requests) == [102, 103, 104]


async def test_events_wait_for_their_client_that_was_killed(stage):
    ours, client, recorder = await stage.both()
    given = 0
    for _ in range(4):
        for _ in range(700):
            ours.events.add(14, TypeID.M_BO_TB_1, given)
            given += 1
        ours.server.events_ready()
        await client.heard(lambda said: any("ioa" in message for message in said))
        await client.kill()
        for _ in range(700):
            ours.events.add(14, TypeID.M_BO_TB_1, given)
            given += 1
        ours.server.events_ready()
        client = await stage.their_client(recorder)
    last = await client.heard(lambda said: any(message.get("value") == given - 1 for message in said))
    heard = [message["value"] for message in last if "ioa" in message]
    # Each client begins with what the one before has not acknowledged, and goes on in order.
    assert heard == list(range(heard[0], given))
    told = [
        [one.value for asdu in recorder.asdus(from_server=True, line=line) if asdu.typeID == 33 for one in asdu.objects]
        for line in range(5)
    ]
    for before, after in pairwise(told):
        assert after == list(range(after[0], after[-1] + 1))
        assert before[0] <= after[0] <= before[-1] + 1


async def test_their_client_comes_back_after_the_network_failed(stage):
    ours, client, recorder = await stage.both()
    given = 0
    for _ in range(3):
        for _ in range(500):
            ours.events.add(14, TypeID.M_BO_TB_1, given)
            given += 1
        ours.server.events_ready()
        recorder.cut()
    assert await client.ask("opened")
    heard = await client.heard(lambda said: any(message.get("value") == given - 1 for message in said))
    assert set(range(given)) == {message["value"] for message in heard if "ioa" in message}
    assert await client.ask("command", ioa=102, value=2)


class Outlet:
    """Our gateway's outlet in a process of its own: counts, with its events on disk."""

    @classmethod
    async def start(cls, stage, folder, first):
        self = cls()
        self.last, self.reading = first, None
        words = (sys.executable, str(OUTLET), str(folder), "0", str(first), "2000")
        root = str(OUTLET.parents[2])
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*words, stdout=pipe, cwd=root, env={"PYTHONPATH": root})
        stage.at_end(self.kill)
        self.port = int(await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S))
        self.reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while line := await self.process.stdout.readline():
            if line.endswith(b"\n"):
                self.last = int(line)

    async def reached(self, number):
        until = time.monotonic() + PATIENCE_S
        while self.last < number:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self.reading is not None:
            await self.reading


async def test_their_client_gets_all_of_a_gateway_that_was_killed(stage, tmp_path):
    for attempt in range(3):
        try:
            await kill_four_times(stage, tmp_path / f"log{attempt}")
        except CrashedError:  # one of ten: then nothing is known of us
            continue
        return
    pytest.fail("c104's client crashed three times")


async def kill_four_times(stage, folder):
    recorder = await stage.record(ours_is_server=True)
    outlet = await Outlet.start(stage, folder, 0)
    recorder.target = outlet.port
    kinds = dict.fromkeys(range(1, 21), "M_ME_TF_1")
    client = await stage.their_client(recorder, monitored=kinds, controls={})
    heard, owed = [], set()
    first = 0
    for turn in range(4):
        await outlet.reached(first + 500)
        heard += await client.heard(lambda said, first=first: any(m.get("value", 0) > first + 500 for m in said))
        if turn == 3:
            break
        await outlet.kill()
        owed |= set(range(first + 1, outlet.last + 1))
        # What was not on disk yet may have been told, or not: the next counts on from above it.
        first = outlet.last + 10_000
        outlet = await Outlet.start(stage, folder, first)
        recorder.target = outlet.port
    end = outlet.last
    owed |= set(range(first + 1, end + 1))
    heard += await client.heard(lambda said: any(m.get("value", 0) >= end for m in said + heard))
    await outlet.kill()
    assert owed <= {m["value"] for m in heard if m.get("cause") == "SPONTANEOUS"}
