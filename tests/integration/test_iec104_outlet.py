"""Points to control centres: over real sockets, with the event log on disk, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import Cause, TypeID
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import Asked, CommandEnded, ControllingStation, MasterSettings, ObjectsReceived, Started
from gateway.points.mapping_rules import MappingError
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable
from tools.loss import counting_rtu

PATIENCE_S = 60.0
PROCESS = Path(counting_rtu.__file__)


def row(name, IOA, typeID, cdc, *, control=False, **more):
    attribute = "Oper.ctlVal" if control else "stVal"
    return PointRow(
        CA=1, IOA=IOA, typeID=typeID, control=control, name=name, attribute=attribute, cdc=cdc, source="IED", **more
    )


SWITCH = [
    row("A/XCBR1.Pos", 1, TypeID.M_DP_TB_1, "DPC"),
    row("A/XCBR1.Pos", 100, TypeID.C_DC_TA_1, "DPC", control=True, select=True),
]


def point(value, *, quality=0):
    now_ns = time.time_ns()
    return PointValue(value, quality, now_ns, 10, now_ns)


class Centre:
    """A control centre and what it was told."""

    def __init__(self, port, number=1, **settings):
        self.events = []
        self._changed = asyncio.Event()
        self.station = ControllingStation(MasterSettings((1,), **settings))
        reach = Reach("outlet", (("127.0.0.1", port),), source=f"127.0.3.{number}", first_s=0.05, longest_s=0.1)
        self.client = Iec104Client(reach, self.station, self._tell)
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

    async def started(self):
        await self.until(lambda: any(isinstance(event, Started) for event in self.events))

    def told(self, cause=Cause.SPONTANEOUS):
        """(IOA, value, qualifier, test) of all objects of a cause."""
        asdus = [event.asdu for event in self.events if isinstance(event, ObjectsReceived)]
        return [(o.IOA, o.value, o.qualifier, a.test) for a in asdus if a.cause == cause for o in a.objects]

    async def command(self, IOA, value, **more):
        number = self.station.command(1, IOA, TypeID.C_DC_TA_1, value, self.client.now(), time.time_ns(), **more)
        self.client.flush()
        return await self.until(
            lambda: next((e for e in self.events if isinstance(e, CommandEnded) and e.number == number), None)
        )


class Device:
    """Moves at once, unless it is told to refuse."""

    def __init__(self):
        self.outlet = None
        self.asked = []
        self.why = ""

    def operate(self, command):
        self.asked.append((command.step, command.name, command.command.value, command.test))
        self.outlet.confirm(command.number, self.why)
        if command.step == "execute" and not self.why:
            self.outlet.update(command.name, point(2 if command.command.value else 1))
            self.outlet.terminate(command.number)

    def ask(self, station, asked):
        station.answer(asked.number, why="not here")


@contextlib.asynccontextmanager
async def serving(folder, *centres, points=None):
    rows = {r.name: r for centre in centres for r in centre.rows}
    table = PointTable(points or [PointConfig(name=name, cdc=r.cdc, source="IED") for name, r in rows.items()])
    device = Device()
    outlet = device.outlet = Outlet(table, folder, centres, device)
    try:
        yield outlet, device, await outlet.server.listen("127.0.0.1", 0)
    finally:
        await outlet.close()


async def test_a_change_is_told_with_quality_and_test_bit_and_interrogated(tmp_path):
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (outlet, _, port):
        outlet.update("A/XCBR1.Pos", point(1))
        centre = Centre(port)
        await centre.until(centre.told)
        outlet.update("A/XCBR1.Pos", point(2, quality=0x0003))  # test, operatorBlocked
        await centre.until(lambda: len(centre.told()) > 1)
        assert centre.told() == [(1, 1, 0, False), (1, 2, 0x10, True)]
        await centre.until(lambda: any(isinstance(e, Asked) and not e.why for e in centre.events))
        assert [IOA for IOA, *_ in centre.told(Cause.INTERROGATED)] == [1]
        await centre.client.close()


async def test_events_wait_while_the_centre_is_away_over_a_restart(tmp_path):
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (outlet, _, _):
        for value in (1, 2, 1):
            outlet.update("A/XCBR1.Pos", point(value))
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (_, _, port):
        centre = Centre(port, interrogate=False)
        await centre.until(lambda: len(centre.told()) >= 3)
        assert [value for _, value, _, _ in centre.told()] == [1, 2, 1]
        await centre.client.close()
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (outlet, _, port):
        centre = Centre(port, interrogate=False)
        outlet.update("A/XCBR1.Pos", point(2))
        await centre.until(centre.told)
        assert [value for _, value, _, _ in centre.told()] == [2]  # what was acknowledged does not come again
        await centre.client.close()


async def test_an_address_means_for_each_centre_what_its_own_list_says(tmp_path):
    other = [
        row("B/XCBR1.Pos", 1, TypeID.M_DP_TB_1, "DPC", inverted=True),
        row("B/XCBR1.Pos", 100, TypeID.C_DC_TA_1, "DPC", control=True, inverted=True),
    ]
    centres = [
        CentreConfig("one", SWITCH, clients=(ip_network("127.0.3.1"),)),
        CentreConfig("two", other, clients=(ip_network("127.0.3.2"),)),
    ]
    async with serving(tmp_path, *centres) as (outlet, device, port):
        one, two = Centre(port, 1), Centre(port, 2)
        await one.started()
        await two.started()
        assert (await one.command(100, 2, select=True)).done
        assert (await two.command(100, 2)).done
        assert device.asked == [
            ("select", "A/XCBR1.Pos", True, False),
            ("execute", "A/XCBR1.Pos", True, False),
            ("execute", "B/XCBR1.Pos", False, False),
        ]
        await one.until(one.told)
        await two.until(two.told)
        assert (one.told(), two.told()) == ([(1, 2, 0, False)], [(1, 2, 0, False)])
        assert outlet.table.get("B/XCBR1.Pos").value == 1
        for centre in (one, two):
            await centre.client.close()


async def test_two_centres_meet_at_the_switch(tmp_path):
    elsewhere = [row("A/XCBR1.Pos", 7, TypeID.C_DC_TA_1, "DPC", control=True)]
    centres = [
        CentreConfig("one", SWITCH, clients=(ip_network("127.0.3.1"),)),
        CentreConfig("two", elsewhere, clients=(ip_network("127.0.3.2"),)),
    ]
    async with serving(tmp_path, *centres) as (outlet, device, port):
        one, two = Centre(port, 1), Centre(port, 2)
        await one.started()
        await two.started()
        outlet.confirm = lambda *_: None  # the device is slow to answer
        pending = asyncio.create_task(one.command(100, 2, select=True))
        while not device.asked:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        ended = await two.command(7, 1)
        assert (ended.done, ended.stage) == (False, "execute")
        assert len(device.asked) == 1
        pending.cancel()
        for centre in (one, two):
            await centre.client.close()


async def test_a_refusal_is_a_refusal(tmp_path):
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (_, device, port):
        centre = Centre(port)
        await centre.started()
        device.why = "locked"
        ended = await centre.command(100, 2, select=True)
        assert (ended.done, ended.stage, ended.why) == (False, "select", "refused")
        assert [step for step, *_ in device.asked] == ["select"]
        await centre.client.close()


async def test_a_disk_that_refuses_does_not_blind_the_centre(tmp_path, monkeypatch):
    async with serving(tmp_path, CentreConfig("c", SWITCH)) as (outlet, _, port):
        centre = Centre(port, interrogate=False)
        await centre.started()
        write = outlet.log.write

        def full():
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(outlet.log, "write", full)
        outlet.update("A/XCBR1.Pos", point(2))
        await centre.until(centre.told)
        assert "No space left" in outlet.log.trouble[0]
        monkeypatch.setattr(outlet.log, "write", write)
        outlet.update("A/XCBR1.Pos", point(1))
        await centre.until(lambda: len(centre.told()) == 2)
        await centre.client.close()


async def test_events_that_are_lost_because_the_centre_is_away_are_counted_and_said_once(tmp_path, caplog):
    async with serving(tmp_path, CentreConfig("far away", SWITCH, most_events=3)) as (outlet, _, port):
        for _ in range(2):
            for value in (1, 2, 1, 2):
                outlet.update("A/XCBR1.Pos", point(value))
            while outlet.log.needs_write:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
        said = [record.getMessage() for record in caplog.records if "far away" in record.getMessage()]
        assert len(said) == 1
        assert "of the oldest lost" in said[0]
        centre = Centre(port, interrogate=False)
        await centre.until(lambda: len(centre.told()) == 3)
        assert [value for _, value, _, _ in centre.told()] == [2, 1, 2]
        assert outlet.log.consumer("far away").overflowed == 5
        await centre.client.close()


async def test_a_centre_is_told_first_that_it_has_lost_events(tmp_path):
    config = CentreConfig(
        "far away", (*SWITCH, row("flisr/lost", 900, TypeID.M_SP_TB_1, "SPS")), most_events=4, overflow="flisr/lost"
    )
    async with serving(tmp_path, config) as (outlet, _, port):
        for value in (1, 2) * 4:
            outlet.update("A/XCBR1.Pos", point(value))
        while not (shown := outlet.table.get("flisr/lost")) or not shown.value:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        centre = Centre(port, interrogate=False)
        await centre.until(lambda: len(centre.told()) >= 5)
        told = [(ioa, value) for ioa, value, _, _ in centre.told()]
        assert [value for ioa, value in told if ioa == 900][-2:] == [True, False]
        assert (900, True) in told[:2]  # before it, perhaps, that there was nothing lost at the start
        kept = [value for ioa, value in told if ioa != 900]
        assert 2 <= len(kept) < 8
        assert kept == [1, 2, 1, 2][-len(kept) :]
        await centre.client.close()


async def test_what_was_lost_may_have_been_the_newest_of_a_point_so_all_is_told_once_there_is_room(tmp_path):
    """A/XCBR1 moves once and is lost behind what B/XCBR1 does after it; the centre asks for nothing."""
    rows = (*SWITCH, row("B/XCBR1.Pos", 901, TypeID.M_DP_TB_1, "DPC"))
    async with serving(tmp_path, CentreConfig("far away", rows, most_events=4)) as (outlet, _, port):
        outlet.update("A/XCBR1.Pos", point(2))
        for value in (1, 2) * 8:
            outlet.update("B/XCBR1.Pos", point(value))
            while outlet.log.needs_write:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        centre = Centre(port, interrogate=False)
        await centre.until(lambda: len(centre.told(Cause.BACKGROUND)) == 2)
        assert {ioa for ioa, *_ in centre.told()} == {901}
        assert {value for _, value, *_ in centre.told(Cause.BACKGROUND)} == {2}
        await centre.client.close()


def test_an_overflow_point_that_is_not_in_the_list_is_named(tmp_path):
    async def serve():
        async with serving(tmp_path, CentreConfig("c", SWITCH, overflow="flisr/lost")):
            pass

    with pytest.raises(MappingError, match=r"c: its overflow point 'flisr/lost' is not in its point list"):
        asyncio.run(serve())


KILLS = 4
APART = 100_000
"""Numbers from one life of the process to the next: more than it can make in one."""


async def test_nothing_that_was_on_disk_is_lost_whenever_it_is_killed(tmp_path):
    rng = random.Random(KILLS)
    port, centre, promised = 0, None, set()
    for life in range(KILLS + 1):
        first = life * APART
        words = (sys.executable, "-P", str(PROCESS), str(tmp_path), str(port), str(first), "2000")
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        try:
            port = int(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
            centre = centre or Centre(port, interrogate=False)
            if life == KILLS:
                await centre.until(lambda told=centre.told: {round(value) for _, value, _, _ in told()} >= promised)
            else:
                await asyncio.sleep(rng.uniform(0.1, 0.6))
        finally:
            process.kill()
            *stored, _ = (await process.stdout.read()).split(b"\n")
            await process.wait()
        promised.update(range(first + 1, int(stored[-1]) + 1) if stored else ())
    await centre.client.close()
    assert len(promised) > KILLS
    last = {}
    seen = set()
    for IOA, value, _, _ in centre.told():
        number = round(value)
        assert 1 + number % 20 == IOA
        if number not in seen:
            assert number > last.get(IOA, 0), "out of order"
            seen.add(number)
            last[IOA] = number


async def test_all_that_has_come_is_on_disk_when_it_is_closed_however_much_it_is(tmp_path):
    rows = [row("in", 1, TypeID.M_ME_TF_1, "MV")]
    async with serving(tmp_path, CentreConfig("scada", rows)) as (outlet, *_):
        outlet.update_all(("in", point(float(number))) for number in range(25_000))
    async with serving(tmp_path, CentreConfig("scada", rows)) as (outlet, *_):
        assert outlet.log.consumer("scada").waiting == 25_000


async def test_a_disk_that_refuses_at_the_end_gives_the_folder_free_and_it_is_said(tmp_path, monkeypatch, caplog):
    def refuse():
        raise OSError("no space left")

    async with serving(tmp_path, CentreConfig("scada", SWITCH)) as (outlet, *_):
        outlet.update("A/XCBR1.Pos", point(2))
        monkeypatch.setattr(outlet.log, "write", refuse)
    assert "events are not stored: no space left" in caplog.text
    async with serving(tmp_path, CentreConfig("scada", SWITCH)):
        pass


async def test_an_interrogation_tells_what_was_said_last_within_one_update_too(tmp_path):
    rows = [row("I", 1, TypeID.M_ME_TF_1, "MV")]
    points = [PointConfig(name="I", cdc="MV", source="IED", deadband=5.0)]
    async with serving(tmp_path, CentreConfig("scada", rows), points=points) as (outlet, _, port):
        outlet.update_all([("I", point(10.0)), ("I", point(12.0)), ("I", point(20.0)), ("I", point(21.0))])
        centre = Centre(port)
        await centre.until(lambda: any(isinstance(event, Asked) for event in centre.events))
        assert centre.told(Cause.INTERROGATED) == [(1, 21.0, 0, False)]
        await centre.until(lambda: len(centre.told()) == 2)
        assert centre.told() == [(1, 10.0, 0, False), (1, 20.0, 0, False)]
        await centre.client.close()


async def test_a_point_that_its_list_takes_for_another_kind_costs_no_other_point_its_event(tmp_path):
    rows = [row("in", 1, TypeID.M_SP_TB_1, "SPS"), row("tap", 2, TypeID.M_ME_TE_1, "INS")]
    points = [PointConfig(name="in", cdc="SPS", source="IED"), PointConfig(name="tap", cdc="MV", source="IED")]
    async with serving(tmp_path, CentreConfig("scada", rows), points=points) as (outlet, _, port):
        outlet.update("tap", point(1.5))
        with pytest.raises(ValueError, match="tap"):
            outlet.update_all([("in", point(True)), ("tap", point(1.5))])
        centre = Centre(port)
        await centre.until(centre.told)
        assert centre.told() == [(1, True, 0, False)]
        await centre.client.close()
