"""A gateway between the counting outstation ``tools.loss.counting_rtu`` and a control centre. Tests kill it.

Arguments: folder of the event log, port of the outstation, own port, what a write takes on top, s, and ``at once`` for
one that acknowledges before it has stored. Says its port on standard output.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from gateway.adapters.iec104_field import FieldPoint, FieldRtuConfig, FieldRtus
from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import TypeID
from gateway.iec104.client import Reach
from gateway.iec104.master import MasterSettings
from gateway.points.mapping_rules import Rule
from gateway.points.point import PointConfig
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable

POINTS = 20


async def main(folder: str, rtu_port: str, port: str, write_s: str, order: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    names = [f"RTU/M{number}" for number in range(POINTS)]
    more = {"typeID": TypeID.M_ME_TF_1, "cdc": "MV"}
    rtus = FieldRtus(
        [
            FieldRtuConfig(
                name="RTU",
                reach=Reach("RTU", (("127.0.0.1", int(rtu_port)),), first_s=0.05, longest_s=0.1),
                settings=MasterSettings((1,)),
                points=[FieldPoint(CA=1, IOA=1 + n, rule=Rule(name=name, **more)) for n, name in enumerate(names)],
            )
        ]
    )
    rows = [
        PointRow(CA=2, IOA=101 + n, control=False, name=name, attribute="mag", source="RTU", **more)
        for n, name in enumerate(names)
    ]
    table = PointTable(PointConfig(name=name, cdc="MV", source="RTU") for name in names)
    outlet = Outlet(table, Path(folder), [CentreConfig("centre", rows)], rtus)
    write = outlet.log.write

    def slowly():
        time.sleep(float(write_s))
        return write()

    outlet.log.write = slowly
    if order == "at once":
        outlet.when_stored = lambda call: call()
    print(await outlet.server.listen("127.0.0.1", int(port)), flush=True)
    rtus.start(outlet)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
