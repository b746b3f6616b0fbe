"""A gateway in this process that follows an IED by MMS, with a control centre of ours; and foreign IEDs for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import foreign_ied
from iec104_field_site import PATIENCE_S, Centre, until

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.adapters.mms_field import MmsFieldConfig
from gateway.adapters.mms_plan import plan
from gateway.adapters.mms_process import MmsFields
from gateway.iec104.master import Asked
from gateway.points.point_list import point_list
from gateway.points.table import PointTable

KINDS = ("libiec61850", "open61850")


class Foreign:
    """A foreign IED's process; what it says besides the last number is kept in ``said``."""

    @classmethod
    async def start(cls, kind, port=0, rate=0):
        made = cls()
        words = [sys.executable, "-P", foreign_ied.__file__, kind, str(port or free_port()), str(rate)]
        pipe = asyncio.subprocess.PIPE
        made.process_kind = kind
        made.process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
        line = await asyncio.wait_for(made.process.stdout.readline(), PATIENCE_S)
        assert line, f"the {kind} server has ended"
        made.port, made.last, made.said = int(line), 0, []
        made._task = asyncio.create_task(made._follow())
        return made

    async def _follow(self):
        while line := await self.process.stdout.readline():
            if line.strip().isdigit():
                self.last = int(line)
            else:
                self.said.append(line.decode().strip())

    def asked(self):
        return [json.loads(line) for line in self.said if line.startswith("{")]

    def order(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    def set(self, **values):
        """``GGIO2__Ind1={"stVal": True, "q": 0, "t": [ns, quality]}``."""
        self.order(json.dumps({name.replace("__", "."): leaves for name, leaves in values.items()}))

    async def stop(self):
        """No more is counted; the last number."""
        self.order("stop")
        await until(lambda: "stopped" in self.said)
        return self.last

    async def close(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._task


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """A gateway; ``rows`` are its centre's.

    Attributes:
        port: of the IED as the gateway sees it.
    """

    def __init__(self, folder, port, scl=foreign_ied.SCL, ied=foreign_ied.IED, **settings):
        self.rows = [row for row in point_list(scl, common=1).rows if row.source == ied]
        made = plan(scl, scl.ied(ied), self.rows)
        assert not made.problems
        pace = {"poll_s": 0.2, "first_s": 0.05, "longest_s": 0.2}
        more = {"points": made.points, "controls": made.controls, "blocks": made.blocks, **pace, **settings}
        self.config = MmsFieldConfig(name=ied, host="127.0.0.1", port=port, **more)
        self.ieds = MmsFields([self.config], folder / "mms")
        table = PointTable(point_list(scl, common=1)._replace(rows=self.rows).points())
        self.outlet = Outlet(table, folder / "log", [CentreConfig("west", self.rows)], self.ieds)
        self._ld = self.rows[0].name.partition("/")[0]

    @property
    def field(self):
        return self.ieds.fields[self.config.name]

    @property
    def pid(self):
        return self.ieds.pids[self.config.name]

    def shown(self, name):
        """Value, quality, time and its quality."""
        point = self.outlet.table.get(f"{self._ld}/{name}")
        return None if point is None else tuple(point[:4])

    def row(self, name, *, control=False):
        return next(row for row in self.rows if row.name == f"{self._ld}/{name}" and row.control is control)

    async def command(self, name, value, **more):
        """Of the centre; says whether it was done, at which stage it ended, and why."""
        row = self.row(name, control=True)
        ended = await self.centre.command(row.CA, row.IOA, row.typeID, value, **more)
        return ended.done, ended.stage, ended.why


@contextlib.asynccontextmanager
async def site(folder, port, **settings):
    """A gateway with its centre, connected and interrogated."""
    made = Site(folder, port, **settings)
    made.ieds.start(made.outlet)
    served = await made.outlet.server.listen("127.0.0.1", 0)
    made.centre = Centre(served, (1,))
    try:
        await until(lambda: any(isinstance(event, Asked) for event in made.centre.events))
        yield made
    finally:
        await made.centre.client.close()
        await made.ieds.close()
        await made.outlet.close()
