"""An outstation that counts: each change of a point has the next number as its value. Tests kill and restart it.

Says on standard output, line by line: its port, and then the last number that is on disk. Reads nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import TypeID
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable

POINTS = 20
NAMES = [f"RTU/M{number}" for number in range(POINTS)]


async def main(folder: str, port: str, first: str, rate: str) -> None:
    rows = [
        PointRow(
            CA=1, IOA=1 + n, typeID=TypeID.M_ME_TF_1, control=False, name=name, attribute="mag", cdc="MV", source="RTU"
        )
        for n, name in enumerate(NAMES)
    ]
    table = PointTable(PointConfig(name=name, cdc="MV", source="RTU") for name in NAMES)
    outlet = Outlet(table, Path(folder), [CentreConfig("centre", rows)], None)
    told = outlet.server.events_ready
    made = int(first)
    offered = []

    def ready():
        if not outlet.log.needs_write:
            offered.append(made)
            print(made, flush=True)
        told()

    outlet.server.events_ready = ready
    print(await outlet.server.listen("127.0.0.1", int(port)), flush=True)
    while True:
        made += 1
        now_ns = time.time_ns()
        outlet.update(NAMES[made % POINTS], PointValue(float(made), 0, now_ns, 10, now_ns))
        await asyncio.sleep(1 / float(rate))


asyncio.run(main(*sys.argv[1:]))
