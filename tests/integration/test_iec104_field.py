"""Field devices as points, over real sockets: killed, cut off, talking rubbish; a disk that is slow, full or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import iec104_field_kill
import pytest
from c104_peers import Ours, Recorder
from iec104_field_site import control, gateway, point, rtu, until

from gateway.iec104.apci import UFunction, encode_i, encode_u
from gateway.iec104.asdu import Cause, TypeID
from gateway.iec104.image import Monitored
from gateway.iec104.link import LinkConfig
from gateway.points.event_log import ConsumerConfig, EventLog
from gateway.points.point import PointValue

SP, ME, DC, SC = TypeID.M_SP_TB_1, TypeID.M_ME_TF_1, TypeID.C_DC_TA_1, TypeID.C_SC_NA_1
T_NS = 1_795_000_000_000_000_000
OLD = 0x40
"""Not topical: what a centre sees of what is old."""
KILLS = 20
PROCESS = Path(iec104_field_kill.RTU)
Q_SBO, Q_DIRECT = 122, 101
"""Controls of ``Ours``: C_DC_TA_1 to be selected, C_SC_NA_1 not."""


class Rtu(Ours):
    """A field device of ours; a test may keep the answers to commands back."""

    def __init__(self, count=3, **more):
        super().__init__(points=[Monitored(1, ioa, SP) for ioa in range(1, count + 1)], centres={"gateway": ()}, **more)
        self.silent = False

    def command(self, request):
        if self.silent:
            self.requests.append(request)
        else:
            super().command(request)

    def tell(self, ioa, value, second):
        """Something happens."""
        self.set(ioa, value, t_ns=T_NS + second * 10**9)
        self.events.add(ioa, SP, value, t_ns=T_NS + second * 10**9)
        self.server.events_ready()


@contextlib.asynccontextmanager
async def rtu_with(links=1, **more):
    """A field device; its links go over recorders that tests can cut."""
    device = Rtu(**more)
    port = await device.server.listen("127.0.0.1", 0)
    device.links = [Recorder(port) for _ in range(links)]
    device.ports = [await link.listen() for link in device.links]
    try:
        yield device
    finally:
        for link in device.links:
            await link.close()
        await device.server.close()


def points(prefix="", count=3):
    return [point(ioa, f"{prefix}p{ioa}", "SPS", SP) for ioa in range(1, count + 1)]


CONTROLS = [control(Q_SBO, "Q1", "DPC", DC, select=True), control(Q_DIRECT, "Q2", "SPC", SC)]


# -- nothing is lost --------------------------------------------------------------------------------------------------


async def test_no_event_is_lost_whenever_the_gateway_is_killed(tmp_path, record_property):
    count = await iec104_field_kill.campaign(tmp_path, KILLS, seed=None)
    record_property("count", str(count))
    print(count)
    assert count.kills == KILLS
    assert count.made > 50 * KILLS
    assert (count.lost, count.disordered, count.invented) == ([], [], [])


async def quiet(site):
    """All points are known, and nothing waits for the disk."""
    outlet = site.outlet
    await until(lambda: len(outlet.table.snapshot()) == len(outlet.table))
    await until(lambda: not outlet.log.needs_write and outlet._writing is None)


async def test_a_device_is_acknowledged_what_is_on_disk(tmp_path, monkeypatch):
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), link=LinkConfig(w=1))) as site:
        await quiet(site)
        goes_on, write = threading.Event(), site.outlet.log.write

        def hangs():
            goes_on.wait()
            return write()

        monkeypatch.setattr(site.outlet.log, "write", hangs)
        try:
            device.tell(1, True, 1)
            await until(lambda: site.outlet.table.get("p1").value)
            await asyncio.sleep(0.3)
            assert len(device.events.taken) == 1  # not acknowledged; and the centre is not told either
            assert (10, 1, True, 0, False) not in site.centre.told()
        finally:
            goes_on.set()
        await until(lambda: not device.events.taken)
        await site.centre.hears((10, 1, True, 0, False))


async def test_with_a_disk_that_refuses_events_go_on_and_it_is_said(tmp_path, monkeypatch, caplog):
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), link=LinkConfig(w=1))) as site:
        await quiet(site)
        write = site.outlet.log.write

        def full():
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(site.outlet.log, "write", full)
        device.tell(1, True, 0)
        await until(lambda: site.outlet.table.get("p1").value and not device.events.taken)
        for second in range(30):  # more than a window: it would stand still without acknowledgements
            device.tell(1, bool(second % 2), second)
        await until(lambda: not device.events.taken and not device.events.waiting)
        await until(lambda: [one[2] for one in site.centre.told() if one[1] == 1][-2:] == [False, True])
        assert "No space left" in caplog.text
        assert "A: lost" not in caplog.text  # as it would be without acknowledgements
        monkeypatch.setattr(site.outlet.log, "write", write)
        await until(lambda: not site.outlet.log.trouble)
        device.tell(2, True, 99)
        await site.centre.hears((10, 2, True, 0, False))


async def test_what_is_stored_is_told_in_order_and_at_once_where_nothing_waits(tmp_path, monkeypatch):
    async with gateway(tmp_path, rtu("A", [1], points()), centre=False) as site:
        outlet, calls = site.outlet, []
        await until(lambda: not outlet.log.needs_write and outlet._writing is None)
        outlet.when_stored(lambda: calls.append("nothing waits"))
        assert calls == ["nothing waits"]
        outlet.log.append("of no centre's points", b"", 0)
        outlet.when_stored(lambda: calls.append("nor for this"))
        for number in range(2):
            outlet.update(f"p{number + 1}", PointValue(True))
            outlet.when_stored(lambda number=number: calls.append(number))
        assert calls[2:] == []
        await until(lambda: len(calls) == 4)
        assert (calls, outlet.log.offered) == (["nothing waits", "nor for this", 0, 1], outlet.log.last)
        # Nor is anything stored while a write is under way that has taken all there was.
        await until(lambda: outlet._writing is None)
        goes_on, taken, write = threading.Event(), threading.Event(), outlet.log.write

        def hangs():
            result = write()
            taken.set()
            goes_on.wait()
            return result

        monkeypatch.setattr(outlet.log, "write", hangs)
        try:
            outlet.update("p1", PointValue(False))
            await until(taken.is_set)
            assert not outlet.log.needs_write
            outlet.when_stored(lambda: calls.append("written"))
            assert "written" not in calls
        finally:
            goes_on.set()
        await until(lambda: calls[-1] == "written")


# -- losses -----------------------------------------------------------------------------------------------------------


async def test_a_device_that_is_killed_makes_its_points_old_and_good_again(tmp_path):
    folder = tmp_path / "rtu"
    measured = [point(1 + n, f"RTU/M{n}", "MV", ME) for n in range(20)]
    process, port = await iec104_field_kill.start(PROCESS, folder, 0, 0, 200)
    try:
        async with gateway(tmp_path / "gateway", rtu("RTU", [port], measured)) as site:
            centre = site.centre

            def shows(quality):
                last = {ioa: qualifier for _, ioa, _, qualifier, _ in centre.told()}
                return last == dict.fromkeys(range(1, 21), quality)

            await until(lambda: shows(0))
            for life in range(2):
                process.kill()
                await process.wait()
                await until(lambda: shows(OLD))
                values = {name: one.value for name, one in site.outlet.table.snapshot().items()}
                last = {f"RTU/M{ioa - 1}": value for _, ioa, value, _, _ in centre.told()}
                assert values == last
                centre.events.clear()
                process, _ = await iec104_field_kill.start(PROCESS, folder, port, (life + 1) * 10**5, 200)
                await until(lambda: shows(0))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_link_that_is_cut_costs_no_event(tmp_path):
    soon = LinkConfig(t2_s=0.2)
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), link=soon)) as site:
        said = []
        for second in range(40):
            device.tell(1, bool(second % 2), second)
            said.append((10, 1, bool(second % 2), 0, False))
            if second % 10 == 5:
                device.links[0].cut()
                await until(lambda second=second: len(device.links[0].lines) > second // 10 + 1)
            await asyncio.sleep(0.005)
        await site.centre.hears(*said)
        await until(lambda: not device.events.taken)


async def test_one_of_two_links_dies_and_nothing_grows_old(tmp_path):
    async with rtu_with(2) as device, gateway(tmp_path, rtu("A", device.ports, points())) as site:
        device.tell(1, True, 1)
        await site.centre.hears((10, 1, True, 0, False))
        station = site.rtus.rtus["A"].station
        await until(lambda: len(station._links) == 2)
        before = len(site.centre.told())
        started = next(link for link in device.links if any(link.asdus(from_server=True)))
        started.cut()
        device.tell(1, False, 2)
        await site.centre.hears((10, 1, False, 0, False))
        assert not any(qualifier & OLD for _, _, _, qualifier, _ in site.centre.told()[before:])
        for link in device.links:
            await link.close()
        await site.centre.hears((10, 1, False, OLD, False))


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x68\xff" + b"\x00" * 300,
        encode_i(0, 0, bytes.fromhex("1e 01 03 00 01 00 01 00 00 01")),  # an object that is cut off
        encode_i(5, 0, bytes.fromhex("01 01 03 00 01 00 01 00 00 01")),  # a number out of turn
    ],
)
async def test_garbage_from_one_device_does_not_touch_the_other(tmp_path, garbage, caplog):
    connections = []

    async def rubbish(reader, writer):
        connections.append(writer)
        with contextlib.suppress(OSError):
            await reader.read(6)
            writer.write(encode_u(UFunction.STARTDT_CON) + garbage)
            await reader.read()
            writer.close()

    server = await asyncio.start_server(rubbish, "127.0.0.1", 0)
    bad = rtu("bad", [server.sockets[0].getsockname()[1]], points("bad "))
    try:
        async with rtu_with() as device, gateway(tmp_path, bad, rtu("A", device.ports, points())) as site:
            device.tell(1, True, 1)
            await site.centre.hears((11, 1, True, 0, False))
            await until(lambda: len(connections) > 3)  # it is tried again
            device.tell(1, False, 2)
            await site.centre.hears((11, 1, False, 0, False))
            assert not any(one[0] == 10 for one in site.centre.told())
            assert "bad: lost: " in caplog.text
    finally:
        server.close()
        await server.wait_closed()
        for writer in connections:
            writer.close()


# -- commands ---------------------------------------------------------------------------------------------------------


async def test_commands_go_to_the_device_of_their_point(tmp_path):
    other = [control(Q_DIRECT, "B2", "SPC", SC)]
    async with (
        rtu_with() as a,
        rtu_with() as b,
        gateway(tmp_path, rtu("A", a.ports, points(), CONTROLS), rtu("B", b.ports, points("b"), other)) as site,
    ):
        await until(lambda: all(each.station.started for each in site.rtus.rtus.values()))
        centre = site.centre
        for test in (False, True):
            ended = await centre.command(10, Q_SBO, DC, 2, select=True, test=test, qualifier=4)
            assert (ended.done, ended.stage) == (True, "termination")
        assert (await centre.command(11, Q_DIRECT, SC, True)).done
        assert [(r.step, r.control.IOA, r.value, r.qualifier, r.test) for r in a.requests] == [
            (step, Q_SBO, 2, 4, test) for test in (False, True) for step in ("select", "execute")
        ]
        assert [(r.step, r.control.IOA) for r in b.requests] == [("execute", Q_DIRECT)]
        assert (await centre.command(10, Q_SBO, DC, 1, select=True, execute=False)).done
        assert (await centre.cancel(10, Q_SBO, DC, 1)).done
        assert [r.step for r in a.requests[4:]] == ["select", "cancel"]


async def test_a_selection_whose_master_goes_is_cancelled_at_the_device(tmp_path):
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), CONTROLS)) as site:
        await until(lambda: site.rtus.rtus["A"].station.started)
        assert (await site.centre.command(10, Q_SBO, DC, 2, select=True, execute=False)).done
        await site.centre.client.close()
        await until(lambda: [r.step for r in device.requests] == ["select", "cancel"])


async def test_a_command_under_which_the_link_is_cut_is_not_given_twice(tmp_path):
    async with rtu_with(2) as device, gateway(tmp_path, rtu("A", device.ports, points(), CONTROLS)) as site:
        station = site.rtus.rtus["A"].station
        await until(lambda: len(station._links) == 2 and station.started)
        device.silent = True
        command = asyncio.create_task(site.centre.command(10, Q_DIRECT, SC, True))
        await until(lambda: device.requests)
        for link in device.links:
            link.cut()
        ended = await command
        assert (ended.done, ended.stage) == (False, "execute")
        await until(lambda: station.started)
        device.tell(1, True, 1)
        await site.centre.hears((10, 1, True, 0, False))
        assert len(device.requests) == 1


async def test_a_link_that_is_cut_before_the_end_makes_it_a_no(tmp_path, caplog):
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), CONTROLS)) as site:
        await until(lambda: site.rtus.rtus["A"].station.started)
        device.silent = True
        command = asyncio.create_task(site.centre.command(10, Q_DIRECT, SC, True))
        await until(lambda: device.requests)
        device.desk.confirm(device.requests[0].number, device.server.now())
        device.server.serve()
        await until(lambda: site.outlet.desk._running)
        await asyncio.sleep(0.2)
        device.links[0].cut()
        ended = await command
        assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)
        assert "its outcome is not known" in caplog.text


async def test_without_a_link_a_command_is_refused(tmp_path):
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), CONTROLS)) as site:
        await device.links[0].close()
        await until(lambda: not site.rtus.rtus["A"].station.started)
        for ioa, kind, value, select in ((Q_SBO, DC, 2, True), (Q_DIRECT, SC, True, False)):
            ended = await site.centre.command(10, ioa, kind, value, select=select)
            assert (ended.done, ended.why) == (False, "refused")
        assert device.requests == []


# -- at its own end ---------------------------------------------------------------------------------------------------


async def test_a_gateway_that_is_ended_has_stored_and_acknowledged_all(tmp_path):
    async with rtu_with() as device:
        async with gateway(tmp_path, rtu("A", device.ports, points()), centre=False) as site:
            await until(lambda: site.rtus.rtus["A"].station.started)
            for second in range(100):
                device.tell(1, bool(second % 2), second)
            await until(lambda: not device.events.waiting)
        assert device.events.taken == {}
        with EventLog.open(tmp_path, [ConsumerConfig("centre", lambda _: 0)]) as log:
            while log.needs_write:
                log.written(log.write())
            waiting = log.consumer("centre").take(10**6)
        assert [each.key for each in waiting].count("p1") >= 100


async def test_a_refusal_is_logged_with_the_devices_cause(tmp_path):
    wrong = [control(999, "Q9", "SPC", SC)]
    async with rtu_with() as device, gateway(tmp_path, rtu("A", device.ports, points(), wrong)) as site:
        await until(lambda: site.rtus.rtus["A"].station.started)
        answers = []
        confirm = site.outlet.confirm
        site.outlet.confirm = lambda number, why="": (answers.append(why), confirm(number, why))
        assert not (await site.centre.command(10, 999, SC, True)).done
        assert answers == ["A: execute: it does not know the object"]
        assert site.centre.told(Cause.INTERROGATED)
