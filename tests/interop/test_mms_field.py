"""Foreign IEDs as points: servers of libiec61850, open61850 and iec61850 in processes of their own, to a control centre."""

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
