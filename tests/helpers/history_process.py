"""A gateway that counts into a history: each change has the next number as its value. Tests kill and restart it.

Says on standard output the last number that is in the event log on disk, line by line. With a rate of 0 it makes
none, and ends when the history has all.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from gateway.adapters.iec104_outlet import Outlet
from gateway.historian import historian as module
from gateway.historian.historian import Historian
from gateway.points.point import PointConfig, PointValue
from gateway.points.table import PointTable

POINTS = 20
# Numbers and states in turn.
CONFIGS = [PointConfig(name=f"RTU/P{n}", cdc="MV" if n % 2 else "INS", source="RTU") for n in range(POINTS)]


async def main(folder: str, url: str, first: str, rate: str) -> None:
    module._GATHER_S = 0.01  # so that a kill often comes upon it at work
    module._MOST = 50
    table = PointTable(CONFIGS)
    historian = Historian(url, table)
    outlet = Outlet(table, Path(folder), [], None, listeners=[historian])
    told = outlet.server.events_ready
    made = int(first)

    def ready():
        if not outlet.log.needs_write:
            print(made, flush=True)
        told()

    outlet.server.events_ready = ready
    while float(rate):
        made += 1
        config = CONFIGS[made % POINTS]
        now_ns = time.time_ns()
        value = float(made) if config.cdc == "MV" else made
        outlet.update(config.name, PointValue(value, 0, now_ns, 10, now_ns))
        await asyncio.sleep(1 / float(rate))
    while outlet.log.consumer("history").waiting:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.02)
    await historian.close()
    await outlet.close()


asyncio.run(main(*sys.argv[1:]))
