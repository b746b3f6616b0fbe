"""A whole gateway of a site file in this process, a field device that does as it is told, and a control centre."""

from __future__ import annotations

import contextlib
import socket
import time

from iec104_field_site import Centre, until

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.app import Gateway
from gateway.iec104.asdu import TypeID
from gateway.iec104.master import Asked
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable
from gateway.site import read_site

SITE = """
[site]
name = "north"

[[rtu]]
name = "NORTH"
hosts = ["127.0.0.1:{port}"]
CAs = [1]
{rtu}

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "M_DP_TB_1"
IOA = 12

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "C_DC_TA_1"
IOA = 112
direction = "control"
select = true

[[centre]]
name = "scada"
listen = "127.0.0.1"
port = 0
common_address = 7

[point."NORTH/Q1.Pos"]
IOA = 1
control_IOA = 2
"""
POSITION, CONTROL = 1, 2
CA = 7
OFF, ON = 1, 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Device:
    """A field device with one switch.

    ``does``: "moves", "refuses" (with a negative confirmation), "sticks" (it is confirmed and ends badly), or nothing.
    """

    def __init__(self, folder):
        common = {"CA": 1, "name": "Q1.Pos", "cdc": "DPC", "source": "Q1"}
        rows = [
            PointRow(IOA=12, typeID=TypeID.M_DP_TB_1, control=False, attribute="stVal", **common),
            PointRow(IOA=112, typeID=TypeID.C_DC_TA_1, control=True, attribute="Oper.ctlVal", select=True, **common),
        ]
        table = PointTable([PointConfig(name="Q1.Pos", cdc="DPC", source="Q1")])
        self.does = "moves"
        self.outlet = Outlet(table, folder, [CentreConfig("gateway", rows)], self)

    def say(self, position):
        now_ns = time.time_ns()
        self.outlet.update("Q1.Pos", PointValue(position, 0, now_ns, 10, now_ns))

    def operate(self, command):
        if command.step != "execute" and self.does != "sleeps":
            self.outlet.confirm(command.number, "locked" if self.does == "refuses" else "")
            return
        match self.does:
            case "moves":
                self.outlet.confirm(command.number)
                self.say(ON if command.command.value else OFF)
                self.outlet.terminate(command.number)
            case "sticks":
                self.outlet.confirm(command.number)
                self.outlet.terminate(command.number, "it did not move")

    def ask(self, station, asked):
        station.answer(asked.number, why="no")


class World:
    """The site, running."""

    def __init__(self, folder, device, file, gateway, centre):
        self.folder, self.device, self.file, self.gateway, self.centre = folder, device, file, gateway, centre

    async def command(self, value=ON, IOA=CONTROL, **more):
        return await self.centre.command(CA, IOA, TypeID.C_DC_TA_1, value, **more)


@contextlib.asynccontextmanager
async def world(folder, more="", *, rtu="", centre=True):
    """The site with these sections more, its device, and its centre, connected and interrogated."""
    (folder / "device").mkdir()
    device = Device(folder / "device")
    port = await device.outlet.server.listen("127.0.0.1", 0)
    file = folder / "north.toml"
    file.write_text(SITE.format(port=port, rtu=rtu) + more)
    gateway = Gateway(read_site(file))
    made = World(folder, device, file, gateway, None)
    try:
        await gateway.start()
        if centre:
            made.centre = Centre(gateway.listeners[0].port, (CA,))
            await until(lambda: any(isinstance(event, Asked) for event in made.centre.events))
        yield made
    finally:
        if made.centre is not None:
            await made.centre.client.close()
        await gateway.close()
        await device.outlet.close()
