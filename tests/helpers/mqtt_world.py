"""A gateway in this process with a broker, and a device that does as it is told; for tests over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta

from gateway.adapters.iec104_outlet import Outlet
from gateway.adapters.mqtt_client import MqttBroker
from gateway.adapters.mqtt_feed import BrokerConfig
from gateway.adapters.mqtt_messages import Topics
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import default_row
from gateway.points.table import PointTable

PATIENCE_S = 30.0
BREAKER, SELECTED, POWER, LAMP = "NORTH/XCBR1.Pos", "NORTH/CSWI1.Pos", "NORTH/MMXU1.TotW", "NORTH/GGIO1.SPCSO1"
CDCS = {BREAKER: "DPC", SELECTED: "DPC", POWER: "MV", LAMP: "SPC"}
TOPICS = Topics("flisr", "north")
T_NS = 1_795_000_000_123_456_789


def rows():
    monitored = [default_row(name, cdc, "NORTH", control=False) for name, cdc in CDCS.items()]
    controls = [
        default_row(name, CDCS[name], "NORTH", control=True, select=name == SELECTED)
        for name in (BREAKER, SELECTED, LAMP)
    ]
    return [*monitored, *controls]


def config(port=1, **more):
    given = {
        "name": "cloud",
        "host": "127.0.0.1",
        "port": port,
        "topics": TOPICS,
        "client_id": "flisr-north-cloud",
        "rows": rows(),
        "commands": True,
        "first_s": 0.05,
        "longest_s": 0.2,
    }
    return BrokerConfig(**(given | more))


def point(value, quality=0, t_ns=T_NS, clock=10):
    return PointValue(value, quality, t_ns, clock, t_ns + 1_000_000)


def ago(seconds=0.0):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def command(value, *, age_s=0.0, **more):
    return json.dumps({"value": value, "time": ago(age_s)} | more)


class Device:
    """Operates what there is.

    Attributes:
        done: commands that came, in their order.
        how: by name of the point: what it makes of a command; else it is done.
    """

    def __init__(self):
        self.done = []
        self.how = {}
        self.outlet = None

    def operate(self, asked):
        self.done.append((asked.step, asked.name, asked.command.value, asked.test, asked.centre))
        what, _, why = self.how.get(asked.name, "do").partition(": ")
        if what == "refuse":
            self.outlet.confirm(asked.number, why)
        elif what != "ignore":
            self.outlet.confirm(asked.number)
            if asked.step == "execute":
                self.outlet.terminate(asked.number, why)

    def ask(self, station, asked):
        station.answer(asked.number, why="nobody is there")


class World:
    """The gateway."""

    def __init__(self, folder, given, settings=None):
        self.table = PointTable(PointConfig(name=name, cdc=cdc, source="NORTH") for name, cdc in CDCS.items())
        self.device = Device()
        self.broker = MqttBroker(given, self.table)
        self.outlet = Outlet(self.table, folder, [], self.device, settings, listeners=[self.broker])
        self.device.outlet = self.outlet

    def say(self, name, value, **more):
        self.outlet.update(name, point(value, **more))

    def count(self, *numbers):
        for number in numbers:
            now_ns = time.time_ns()
            self.outlet.update(POWER, PointValue(float(number), 0, now_ns, 10, now_ns))

    @property
    def waiting(self):
        return self.outlet.log.consumer("mqtt:cloud").waiting


@contextlib.asynccontextmanager
async def gateway(folder, port, settings=None, **more):
    world = World(folder, config(port, **more), settings)
    world.broker.start(world.outlet)
    try:
        yield world
    finally:
        await world.broker.close()
        await world.outlet.close()


async def until(found, what=""):
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (said := found()):  # noqa: ASYNC110 - what it looks at has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what or found} does not come") from None
    return said
