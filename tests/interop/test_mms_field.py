"""Foreign IEDs as points: servers of libiec61850, open61850 and iec61850 in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time

import pytest
from iec104_field_site import until
from mms_field_site import KINDS, Foreign, site

from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.iec61850.utctime import UtcTime

T_NS = 1_600_000_000_250_000_000
UNSYNCHRONISED = 0x2A
OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
BLOCKED = Quality(Validity.QUESTIONABLE, oldData=True, operatorBlocked=True).to_int()


def at(ns):
    """A time as the wire has it, to the next 60 ns."""
    return UtcTime.from_ns(ns).to_ns()


@pytest.fixture(params=KINDS)
async def ied(request, require):
    import importlib.util

    require(importlib.util.find_spec("pyiec61850"), "pyiec61850-ng is not installed")
    made = await Foreign.start(request.param)
    yield made
    await made.close()


async def settled(made):
    """All points are known."""
    await until(lambda: made.field.connected and len(made.outlet.table.snapshot()) == len(made.config.points))


VALUES = [
    ("GGIO2.Ind1", {"stVal": True}, True),
    ("GGIO2.Pos1", {"stVal": 2}, 2),
    ("GGIO2.IntIn1", {"stVal": -7}, -7),
    ("GGIO2.EnIn1", {"stVal": 3}, 3),
    ("MMTR1.TotWh", {"actVal": 123_456}, 123_456),
    ("PTOC1.Op", {"general": True, "phsA": False, "phsC": True}, (1, 0, 0, 1)),
    ("PTOC1.Str", {"general": True, "dirGeneral": 2}, (1, 2)),
    ("ATCC1.TapChg", {"valWTr.posVal": -3, "valWTr.transInd": True}, (-3, 1)),
    ("GGIO1.AnIn7", {"mag.f": 1.5}, 1.5),
    ("GGIO4.AnIn1", {"mag.i": 40}, 120.0),
    ("GGIO4.Ind1", {"stVal": True}, True),
    ("MMXU1.A.phsB", {"cVal.mag.f": 230.5}, 230.5),
    ("GGIO5.Ind1", {"stVal": True}, True),
    ("GGIO5.AnIn1", {"mag.f": -2.25}, -2.25),
]


async def test_values_quality_and_the_devices_own_time_come_through(ied, tmp_path):
    """Buffered, unbuffered and polled."""
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for number, (name, leaves, _) in enumerate(VALUES):
            tag = [T_NS + number * 10**9, UNSYNCHRONISED]
            ied.set(**{name.replace(".", "__"): {**leaves, "q": BLOCKED, "t": tag}})
        for number, (name, _, value) in enumerate(VALUES):
            expected = (value, BLOCKED, at(T_NS + number * 10**9), UNSYNCHRONISED)
            with contextlib.suppress(TimeoutError):
                await until(lambda name=name, expected=expected: made.shown(name) == expected)
            assert made.shown(name) == expected, name
        # A data set of single attributes without a time: that of the report.
        begun = time.time_ns()
        ied.set(GGIO3__Ind1={"stVal": True, "q": BLOCKED})
        await until(lambda: made.shown("GGIO3.Ind1")[:2] == (True, BLOCKED))
        assert abs(made.shown("GGIO3.Ind1")[2] - begun) < 60 * 10**9
        row = made.row("GGIO2.Pos1")
        await made.centre.hears((row.CA, row.IOA, 2, 0x50, False))  # NT, BL


async def test_a_lost_worker_and_a_lost_ied_make_points_old_until_they_tell_again(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        ied.set(GGIO2__Ind1={"stVal": True, "q": 0, "t": [T_NS, 10]})
        good = True, 0, at(T_NS), 10
        await until(lambda: made.shown("GGIO2.Ind1") == good)
        before = made.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        await until(lambda: made.shown("GGIO2.Ind1") == good)
        assert made.pid not in (0, before)
        ied.process.kill()
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        row = made.row("GGIO2.Ind1")
        heard = [(row.CA, row.IOA, True, qds, False) for qds in (0, 0x40, 0, 0x40)]
        await made.centre.hears(*heard)


# -- commands ---------------------------------------------------------------------------------------------------------

CONTROLS = [
    ("CSWI1.Pos", 2, True, 2),  # select before operate, enhanced security
    ("CSWI2.Pos", 2, False, 2),  # direct, enhanced
    ("GGIO6.SPCSO1", True, False, True),  # direct, normal
    ("GGIO6.SPCSO2", True, True, True),  # select before operate, normal
    ("GGIO6.ISCSO1", 17, False, 17),
]


async def test_commands_go_out_as_ctlModel_has_it_with_their_origin(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for name, value, select, _ in CONTROLS:
            assert await made.command(name, value, select=select) == (True, "termination", ""), name
        # A select with normal security names nobody.
        asked = [each for each in ied.asked() if not (each.get("select") and each["asked"].endswith("SPCSO2"))]
        assert {each["asked"] for each in asked} == {f"LD0/{name}" for name, *_ in CONTROLS}
        assert {(each["orCat"], each["orIdent"], each["test"]) for each in asked} == {(3, "west", False)}
        if ied.process_kind == "open61850":  # its server carries out what it accepts
            for name, _, _, value in CONTROLS:
                await until(lambda name=name, value=value: made.shown(name)[0] == value)


async def test_a_refusal_is_the_devices_own(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for name, value, select, _ in CONTROLS[:2]:
            ied.order(f"refuse {name} 10")
            done, stage, _why = await made.command(name, value, select=select)
            assert (done, stage) == (False, "select" if select else "execute")
        ied.order("refuse CSWI1.Pos 0")
        assert (await made.command("CSWI1.Pos", 1, select=True))[0]


async def test_a_test_command_carries_its_flag(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        await made.command("CSWI2.Pos", 2, test=True)
        assert ied.asked()[-1]["test"] is True


async def test_a_worker_killed_between_select_and_execute_loses_the_selection_and_says_so(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        row = made.row("CSWI1.Pos", control=True)
        centre = made.centre
        assert (await centre.command(row.CA, row.IOA, row.typeID, 2, select=True, execute=False)).done
        before = len(ied.asked())
        worker = made.pid
        os.kill(worker, signal.SIGKILL)
        await until(lambda: made.pid not in (0, worker) and made.field.connected)
        ended = await centre.command(row.CA, row.IOA, row.typeID, 2)
        assert (ended.done, ended.moving) == (False, False)
        assert len(ied.asked()) == before  # nothing was sent
        assert (await made.command("CSWI1.Pos", 2, select=True))[0]


async def test_a_worker_killed_while_a_command_runs_leaves_its_outcome_unknown_which_is_a_no(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    ied = await Foreign.start("libiec61850")
    try:
        async with site(tmp_path, ied.port) as made:
            await settled(made)
            ied.order("refuse end CSWI2.Pos -1")  # it goes on moving
            await asyncio.sleep(0.2)
            row = made.row("CSWI2.Pos", control=True)
            running = asyncio.create_task(made.centre.command(row.CA, row.IOA, row.typeID, 2))
            await until(lambda: any("accepted" in each for each in caplog.messages))
            os.kill(made.pid, signal.SIGKILL)
            ended = await running
            assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)
            assert any("its outcome is not known" in each for each in caplog.messages)
    finally:
        await ied.close()


async def test_nothing_is_sent_while_there_is_no_connection(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        ied.process.kill()
        await until(lambda: not made.field.connected)
        assert (await made.command("CSWI2.Pos", 2))[:2] == (False, "execute")
        assert (await made.command("CSWI1.Pos", 2, select=True))[:2] == (False, "select")


async def test_a_worker_that_hangs_is_killed_and_started_again(ied, tmp_path, caplog):
    async with site(tmp_path, ied.port, hung_s=2.5) as made:
        await settled(made)
        hung = made.pid
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        assert any("has said nothing for 2.5 s" in each for each in caplog.messages)
        await until(lambda: made.pid not in (0, hung) and made.shown("GGIO2.Ind1")[1] == 0)
        assert not os.path.exists(f"/proc/{hung}")  # noqa: ASYNC240, PTH110 - the kernel answers at once
