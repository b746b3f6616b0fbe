"""A gateway in this process: field devices, outlet, a control centre of ours; for tests over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time

from gateway.adapters.iec104_field import FieldControl, FieldPoint, FieldRtuConfig, FieldRtus
from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import Cause
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import Asked, CommandEnded, ControllingStation, MasterSettings, ObjectsReceived, Started
from gateway.points.mapping_rules import Rule
from gateway.points.point import PointConfig
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable

PATIENCE_S = 60.0


def point(IOA, name, cdc, typeID, **more):
    return FieldPoint(CA=1, IOA=IOA, rule=Rule(name=name, cdc=cdc, typeID=typeID, **more))


def control(IOA, name, cdc, typeID, *, select=False, terminated=True, **more):
    rule = Rule(name=name, cdc=cdc, typeID=typeID, **more)
    return FieldControl(CA=1, IOA=IOA, rule=rule, select=select, terminated=terminated)


def rtu(name, ports, points, controls=(), **settings):
    return FieldRtuConfig(
        name=name,
        reach=Reach(name, tuple(("127.0.0.1", port) for port in ports), first_s=0.05, longest_s=0.2),
        settings=MasterSettings((1,), **settings),
        points=points,
        controls=controls,
    )


def rows(config, CA, **more):
    """The same addresses and types for a centre, at another CA."""
    common = {"CA": CA, "source": config.name}
    for each in (*config.points, *config.controls):
        is_control = isinstance(each, FieldControl)
        yield PointRow(
            **common,
            IOA=each.IOA,
            typeID=each.rule.typeID,
            control=is_control,
            name=each.rule.name,
            attribute="Oper.ctlVal" if is_control else "stVal",
            cdc=each.rule.cdc,
            select=is_control and more.get("select", each.select),
        )


class Centre:
    """A control centre and what it was told."""

    def __init__(self, port, CAs, **settings):
        self.events = []
        self.station = ControllingStation(MasterSettings(CAs, **settings))
        reach = Reach("centre", (("127.0.0.1", port),), first_s=0.05, longest_s=0.1)
        self.client = Iec104Client(reach, self.station, self.events.append)
        self.client.start()

    async def started(self):
        await until(lambda: any(isinstance(event, Started) for event in self.events))

    def told(self, cause=Cause.SPONTANEOUS):
        """(CA, IOA, value, qualifier, test) of all objects of a cause."""
        asdus = [event.asdu for event in self.events if isinstance(event, ObjectsReceived)]
        return [(a.CA, o.IOA, o.value, o.qualifier, a.test) for a in asdus if a.cause == cause for o in a.objects]

    async def hears(self, *wanted):
        """Wait until these have come, each after the one before."""

        def found():
            told = iter(self.told())
            return all(one in told for one in wanted)

        try:
            await until(found)
        except TimeoutError:
            raise AssertionError(f"not told {wanted}, but {self.told()}") from None

    async def command(self, CA, IOA, typeID, value, **more):
        number = self.station.command(CA, IOA, typeID, value, self.client.now(), time.time_ns(), **more)
        return await self._ended(number)

    async def cancel(self, CA, IOA, typeID, value):
        return await self._ended(self.station.cancel(CA, IOA, typeID, value, self.client.now(), time.time_ns()))

    async def _ended(self, number):
        self.client.flush()
        return await until(
            lambda: next((e for e in self.events if isinstance(e, CommandEnded) and e.number == number), None)
        )


async def until(found):
    async with asyncio.timeout(PATIENCE_S):
        while not (said := found()):  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)
    return said


class Gateway:
    """Field devices behind an outlet; a centre sees the points of the n-th at ``first_CA`` + n."""

    def __init__(self, folder, configs, select=None, first_CA=10):
        self.rtus = FieldRtus(configs)
        more = {} if select is None else {"select": select}
        listed = [row for number, config in enumerate(configs) for row in rows(config, first_CA + number, **more)]
        table = PointTable(
            PointConfig(name=each.rule.name, cdc=each.rule.cdc, source=config.name)
            for config in configs
            for each in {each.rule.name: each for each in (*config.controls, *config.points)}.values()
        )
        self.outlet = Outlet(table, folder, [CentreConfig("centre", listed)], self.rtus)
        self.CAs = tuple(first_CA + number for number in range(len(configs)))


@contextlib.asynccontextmanager
async def gateway(folder, *configs, centre=True, **more):
    """A gateway with its centre, connected and interrogated."""
    site = Gateway(folder, configs, **more)
    site.port = await site.outlet.server.listen("127.0.0.1", 0)
    site.rtus.start(site.outlet)
    site.centre = Centre(site.port, site.CAs) if centre else None
    try:
        if centre:
            await until(lambda: sum(isinstance(event, Asked) for event in site.centre.events) >= len(site.CAs))
        yield site
    finally:
        if centre:
            await site.centre.client.close()
        await site.rtus.close()
        await site.outlet.close()
