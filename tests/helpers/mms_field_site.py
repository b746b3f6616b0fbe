"""A gateway in this process that follows IEDs by MMS, with a control centre of ours; and foreign IEDs for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from iec104_field_site import Centre, until

import scl
from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.adapters.mms_field import MmsFieldConfig
from gateway.adapters.mms_plan import plan
from gateway.adapters.mms_process import MmsFields
from gateway.iec104.master import Asked
from gateway.points.point_list import point_list
from gateway.points.table import PointTable
from scl.reader import read

SCD_FILE = Path(scl.__file__).parent / "samples" / "two_source.scd"
SCL = read(SCD_FILE)
IED = "F1Q1"
LD = f"{IED}FLISR"
LIST = point_list(SCL, common=1)
ROWS = [row for row in LIST.rows if row.source == IED]


def address(name, *, control=False):
    return next(row.IOA for row in ROWS if row.name == f"{LD}/{name}" and row.control is control)


def config(port, rows=ROWS, **more):
    made = plan(SCL, SCL.ied(IED), rows)
    assert not made.problems
    pace = {"poll_s": 0.2, "first_s": 0.05, "longest_s": 0.2}
    settings = {"points": made.points, "controls": made.controls, "blocks": made.blocks, **pace, **more}
    return MmsFieldConfig(name=IED, host="127.0.0.1", port=port, **settings)


class Gateway:
    def __init__(self, folder, config, rows=ROWS):
        self.config = config
        self.ieds = MmsFields([config], folder / "mms")
        table = PointTable(LIST._replace(rows=rows).points())
        self.outlet = Outlet(table, folder / "log", [CentreConfig("west", rows)], self.ieds)

    @property
    def field(self):
        return self.ieds.fields[self.config.name]

    @property
    def pid(self):
        return self.ieds.pids[self.config.name]

    def point(self, name):
        return self.outlet.table.get(f"{LD}/{name}")


@contextlib.asynccontextmanager
async def gateway(folder, config, rows=ROWS):
    """A gateway with its centre, connected and interrogated."""
    site = Gateway(folder, config, rows)
    site.port = await site.outlet.server.listen("127.0.0.1", 0)
    site.ieds.start(site.outlet)
    site.centre = Centre(site.port, (1,))
    try:
        await until(lambda: any(isinstance(event, Asked) for event in site.centre.events))
        yield site
    finally:
        await site.centre.client.close()
        await site.ieds.close()
        await site.outlet.close()
