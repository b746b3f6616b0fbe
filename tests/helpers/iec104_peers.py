"""A server with control centres on loopback, and masters that tests drive frame by frame."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network

import iec104_world

from gateway.iec104.asdu import Asdu, Cause, InformationObject, TypeID, decode, encode
from gateway.iec104.commands import CommandDesk
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.link import AsduReceived, DataTransferStarted, Link, LinkClosed, LinkConfig, Role
from gateway.iec104.server import Centre, Iec104Server
from gateway.iec104.station import ControlledStation, StationSettings

T_NS = 1_750_000_000_000_000_000
PATIENCE_S = 30.0


class Source(iec104_world.Source):
    """Events in memory, kept until they are acknowledged: numbers, as bit strings."""

    def add(self, IOA, value):
        super().add(TypeID.M_BO_TB_1, value, IOA=IOA, t_ns=T_NS + value * 10**6)


class Operator:
    """Says yes to everything, and at once; or fails."""

    def __init__(self, desk):
        self.desk = desk
        self.requests = []
        self.fails = False

    def command(self, request):
        self.requests.append(request)
        if self.fails:
            raise RuntimeError("the handler is broken")
        self.desk.confirm(request.number, asyncio.get_running_loop().time())
        self.desk.terminate(request.number)

    def ask(self, station, asked):
        if self.fails:
            raise RuntimeError("the handler is broken")
        station.answer(asked.number)


class Site:
    """A server; ``sources`` and ``stations`` by the centre's name."""

    def __init__(self, centres, *, points=10, tls=None, **settings):
        self.desk = CommandDesk()
        self.operator = Operator(self.desk)
        self.sources = {name: Source() for name, _, _ in centres}
        self.stations = {}
        served = []
        for name, clients, certificates in centres:
            image = Image(
                [Monitored(1, ioa, TypeID.M_BO_TB_1) for ioa in range(1, points + 1)],
                [Control(1, 1, TypeID.C_SC_NA_1, f"Q {name}")],
            )
            self.stations[name] = ControlledStation(StationSettings(**settings), image, self.sources[name], self.desk)
            networks = (ip_network(clients),) if clients else ()
            served.append(Centre(name, self.stations[name], networks, frozenset(certificates)))
        self.server = Iec104Server(served, self.desk, self.operator)
        self.tls = tls
        self.points = points
        self.port = 0


@asynccontextmanager
async def serving(*centres, **more):
    """A site that listens; centres as name, network of its clients, common names."""
    site = Site([(*centre, "", ())[:3] if len(centre) < 3 else centre for centre in centres], **more)
    site.port = await site.server.listen("127.0.0.1", 0, tls=site.tls)
    try:
        yield site
    finally:
        await site.server.close()


class Peer:
    """A master."""

    def __init__(self, reader, writer, **config):
        self.reader = reader
        self.writer = writer
        self.loop = asyncio.get_running_loop()
        self.link = Link(LinkConfig(**config), Role.CONTROLLING, self.loop.time())

    @classmethod
    async def connect(cls, port, source="127.0.0.1", ssl=None, **config):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), ssl=ssl)
        return cls(reader, writer, **config)

    def flush(self):
        self.writer.write(self.link.data_to_send())

    def say(self, asdu):
        self.link.send(asdu if isinstance(asdu, bytes) else encode(asdu), self.loop.time())
        self.flush()

    async def hear(self, until):
        """ASDUs and link events up to the one that is waited for."""
        heard = []
        async with asyncio.timeout(PATIENCE_S):
            while not any(until(each) for each in heard):
                octets = await self.reader.read(65536)
                if not octets:
                    raise ConnectionError("closed by the server")
                for event in self.link.receive(octets, self.loop.time()):
                    if isinstance(event, LinkClosed):
                        raise ConnectionError(event.reason)
                    heard.append(decode(event.octets) if isinstance(event, AsduReceived) else event)
                self.flush()
        return heard

    async def start(self):
        self.link.start(self.loop.time())
        self.flush()
        return await self.hear(lambda each: isinstance(each, DataTransferStarted))

    async def interrogate(self):
        """How many objects an interrogation has told; the link is one that works."""
        self.say(Asdu(TypeID.C_IC_NA_1, Cause.ACTIVATION, 1, (InformationObject(0, None, 20),)))
        heard = await self.hear(lambda each: isinstance(each, Asdu) and each[:2] == (100, Cause.TERMINATION))
        asdus = [each for each in heard if isinstance(each, Asdu) and each.cause == Cause.INTERROGATED]
        return len({one.IOA for asdu in asdus for one in asdu.objects})

    async def closed(self):
        """Wait until the server has closed; what came before that is dropped."""
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        await self.close()

    async def close(self):
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
