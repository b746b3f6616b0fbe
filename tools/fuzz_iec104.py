"""``flisr fuzz 104``: broken APDUs and ASDUs by the million, over real sockets on loopback.

At the server hostile masters say half of them, at the client hostile devices the other half. Beside them a master of
another control centre is served all the while: its interrogations must be complete and its events arrive. Nothing may
end but the connection that spoils itself, no exception may get out, and nothing may grow. The same seed makes the same
APDUs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import resource
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from cyclopts import Parameter

from gateway.iec104.apci import UFunction, encode_i, encode_s, encode_u
from gateway.iec104.asdu import DEFAULT_SIZES, Asdu, Cause, InformationObject, Step, TypeID, encode
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.commands import CommandDesk
from gateway.iec104.event import Event, EventHead, address_octets, object_writer
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.master import Asked, ControllingStation, MasterEvent, MasterSettings, ObjectsReceived, Started
from gateway.iec104.server import Centre, Iec104Server
from gateway.iec104.station import ControlledStation, StationSettings
from gateway.iec104.time_tag import CP56Time2a, TimeBase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.iec104.commands import CommandRequested
    from gateway.iec104.station import StationAsked

_GOOD: Final = "127.0.0.2"
_HOSTILE: Final = "127.0.3.{}"
_HOSTS: Final = 250
"""Addresses that hostile masters come from by turns: each has so many ports only, and one that was used rests."""
_POINTS: Final = 200
_MOST_AT_ONCE: Final = 6
"""APDUs of one connection: more would mostly not be read any more."""
_CHECKED: Final = 2000
"""After so many APDUs the other master is looked at."""
_EVENTS: Final = 10
_PATIENCE_S: Final = 30.0
_MOST_GROWTH_KB: Final = 32_768
_T_NS: Final = 1_750_000_000_000_000_000
_TAG: Final = CP56Time2a(bytes.fromhex("0000000a130619"))
_STARTDT, _STARTED = encode_u(UFunction.STARTDT_ACT), encode_u(UFunction.STARTDT_CON)


class FuzzFailure(Exception):  # noqa: N818 - the finding, not a fault of the tool
    """An APDU did what none may; the message holds what was said last."""


def run(
    *,
    apdus: Annotated[int, Parameter(help="Mutated APDUs, half of them at the server, half at the client.")] = 1_000_000,
    seed: Annotated[int, Parameter(help="Makes the same APDUs again.")] = 1,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Say mutated APDUs to server and client; other masters must not notice, and nothing may grow."""
    result = fuzz(str(seed), apdus)
    print(json.dumps(result, indent=1) if as_json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def fuzz(seed: str, apdus: int) -> dict[str, Any]:
    """Mutated APDUs at server and client.

    Raises:
        FuzzFailure: an exception got out, another master was disturbed, or memory grew.
    """
    start = time.monotonic()
    with _listening() as errors:
        at_server = asyncio.run(_fuzz_server(random.Random(f"{seed}/server"), apdus - apdus // 2, errors))
        at_client = asyncio.run(_fuzz_client(random.Random(f"{seed}/client"), apdus // 2, errors))
    return {
        "seed": seed,
        "apdus": at_server["apdus"] + at_client["apdus"],
        "server": at_server,
        "client": at_client,
        "growth_kb": max(at_server["growth_kb"], at_client["growth_kb"]),
        "wall_s": round(time.monotonic() - start, 1),
    }


class _Errors(logging.Handler):
    """What is logged as an error: an exception that got out of a callback, a task, or whoever is called back."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []
        self.said = b""

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{self.format(record)}\nafter {self.said.hex()}")

    def check(self) -> None:
        if self.found:
            raise FuzzFailure(self.found[0])


@contextlib.contextmanager
def _listening() -> Iterator[_Errors]:
    """Connections end by the thousand, and each is logged: only errors are of interest."""
    errors = _Errors()
    loggers = [logging.getLogger(name) for name in ("asyncio", "gateway.iec104")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(errors)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    try:
        yield errors
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(errors)
            logger.setLevel(level)
            logger.propagate = propagate


# -- whom nobody may disturb ----------------------------------------------------------------------------------------


class _Source:
    """Events in memory."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self.taken: dict[int, Event] = {}
        self.added = 0
        self._write = object_writer(1, TypeID.M_BO_TB_1, DEFAULT_SIZES, TimeBase(), self._refuse)

    @staticmethod
    def _refuse(why: str) -> None:
        raise AssertionError(why)

    def add(self) -> None:
        self.added += 1
        octets = self._write(address_octets(1, 1, DEFAULT_SIZES), self.added, 0, _T_NS, False)
        self.waiting.append(Event(self.added, EventHead(1, TypeID.M_BO_TB_1), octets))

    def take(self, limit: int) -> Sequence[Event]:
        out, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken.update((event.token, event) for event in out)
        return out

    def acknowledge(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            del self.taken[token]

    def release(self) -> None:
        self.waiting = [*self.taken.values(), *self.waiting]
        self.taken.clear()


class _Site:
    """A server with two control centres, and the good one's master; operates nothing and confirms every other time."""

    def __init__(self, rng: random.Random, errors: _Errors) -> None:
        self._rng = rng
        self._errors = errors
        self._desk = CommandDesk()
        self._source = _Source()
        self._told: list[int] = []
        self._asked: list[str] = []
        centres = []
        for name, network, source in (("good", f"{_GOOD}/32", self._source), ("hostile", "127.0.3.0/24", _Source())):
            image = Image(
                [Monitored(1, ioa, TypeID.M_BO_TB_1, frozenset((1,))) for ioa in range(1, _POINTS + 1)]
                + [Monitored(1, 1000, TypeID.M_IT_TB_1), Monitored(1, 1001, TypeID.M_ME_TF_1)],
                [
                    Control(1, 2001, TypeID.C_DC_NA_1, f"Q {name}", select=True),
                    Control(1, 2002, TypeID.C_SE_NC_1, f"P {name}"),
                ],
            )
            station = ControlledStation(StationSettings(), image, source, self._desk)
            centres.append(Centre(name, station, (ip_network(network),)))
        self.server = Iec104Server(centres, self._desk, self)
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self.server.listen("127.0.0.1", 0)
        self._master = ControllingStation(MasterSettings((1,)))
        reach = Reach("good", (("127.0.0.1", self.port),), source=_GOOD)
        self._client = Iec104Client(reach, self._master, self._tell)
        self._client.start()
        try:
            await self._until(lambda: len(self._asked) == 1, "the first interrogation")
        except FuzzFailure:
            await self.__aexit__()
            raise
        return self

    def command(self, request: CommandRequested) -> None:
        self._desk.confirm(request.number, self.server.now(), why=self._rng.choice(("", "fuzz")))
        self._desk.terminate(request.number, why=self._rng.choice(("", "fuzz")))

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        station.answer(asked.number, why=self._rng.choice(("", "fuzz")))

    def _tell(self, event: MasterEvent) -> None:
        if isinstance(event, Asked):
            self._asked.append(event.why)
        elif isinstance(event, ObjectsReceived):
            spontaneous = event.asdu.cause == Cause.SPONTANEOUS
            self._told += [int(one.value) if spontaneous else -one.IOA for one in event.asdu.objects]  # type: ignore[arg-type]
        elif not isinstance(event, Started):
            self._asked.append(f"disturbed: {event}")

    async def check(self) -> None:
        """The good master is served: an interrogation, and events."""
        self._errors.check()
        self._told.clear()
        self._asked.clear()
        for _ in range(_EVENTS):
            self._source.add()
        self.server.events_ready()
        self._master.interrogate(1, self._client.now())
        self._client.flush()
        await self._until(lambda: self._asked, "an interrogation of the good master")
        await self._until(lambda: len(self._told) >= _EVENTS + _POINTS + 1, "events of the good master")
        told = [value for value in self._told if value >= 0]
        objects = {-value for value in self._told if value < 0}
        if self._asked != [""] or told != list(range(self._source.added - _EVENTS + 1, self._source.added + 1)):
            raise FuzzFailure(f"the good master was told {self._asked}, {told}, after {self._errors.said.hex()}")
        if objects != {*range(1, _POINTS + 1), 1001}:
            raise FuzzFailure(f"{len(objects)} objects at the good master, after {self._errors.said.hex()}")

    async def _until(self, condition: Any, what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not condition():
                    self._errors.check()
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise FuzzFailure(f"{what} did not come, after {self._errors.said.hex()}") from None

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self.server.close()
        await asyncio.sleep(0)  # transports close one turn later


class _Growth:
    """Of memory, since all that fills up once has filled up."""

    def __init__(self, apdus: int) -> None:
        self._from = apdus // 10
        self._before_kb: int | None = None

    def note(self, said: int) -> None:
        if self._before_kb is None and said >= self._from:
            self._before_kb = _memory_kb()

    def check(self, apdus: int) -> int:
        grown_kb = _memory_kb() - (self._before_kb or _memory_kb())
        if grown_kb > _MOST_GROWTH_KB:
            raise FuzzFailure(f"{grown_kb} kB more memory after {apdus} APDUs")
        return grown_kb


# -- hostile masters and devices ------------------------------------------------------------------------------------


async def _fuzz_server(rng: random.Random, apdus: int, errors: _Errors) -> dict[str, Any]:
    growth = _Growth(apdus)
    said = connections = answered = checks = 0
    async with _Site(rng, errors) as site:
        while said < apdus:
            batch = [_mutated(rng, _TO_SERVER, ns) for ns in range(rng.randrange(1, _MOST_AT_ONCE + 1))]
            errors.said = b"".join(batch)
            source = _HOSTILE.format(connections % _HOSTS + 1)
            answered += await _say(site.port, source, (_STARTDT if rng.random() < 0.95 else b"") + errors.said)
            growth.note(said)
            connections += 1
            said += len(batch)
            if said // _CHECKED != (said - len(batch)) // _CHECKED:
                await site.check()
                checks += 1
        await site.check()
    errors.check()
    return {
        "apdus": said,
        "connections": connections,
        "octets_answered": answered,
        "checks": checks + 1,
        "growth_kb": growth.check(said),
    }


async def _say(port: int, source: str, octets: bytes) -> int:
    """Say it and nothing more; returns how many octets came until the server closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    answered = 0
    try:
        async with asyncio.timeout(_PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                writer.write(octets)
                writer.write_eof()
                while some := await reader.read(1 << 16):
                    answered += len(some)
    except TimeoutError:
        raise FuzzFailure(f"a connection was not closed, after {octets.hex()}") from None
    finally:
        writer.transport.abort()
    return answered


async def _fuzz_client(rng: random.Random, apdus: int, errors: _Errors) -> dict[str, Any]:
    growth = _Growth(apdus)
    said = connections = told = checks = 0
    done = asyncio.Event()

    async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said, connections
        with contextlib.suppress(OSError, EOFError):
            await reader.readexactly(len(_STARTDT))
            batch = [_mutated(rng, _TO_CLIENT, ns) for ns in range(rng.randrange(1, _MOST_AT_ONCE + 1))]
            said += len(batch)
            connections += 1
            growth.note(said)
            errors.said = b"".join(batch)
            writer.write((_STARTED if rng.random() < 0.95 else b"") + errors.said)
            writer.write_eof()
            while await reader.read(1 << 16):
                pass
        writer.transport.abort()
        if said >= apdus:
            done.set()

    def tell(event: MasterEvent) -> None:
        nonlocal told
        told += 1
        if isinstance(event, Started):
            with contextlib.suppress(ValueError):  # it may have ended already
                station.command(1, 2001, TypeID.C_DC_NA_1, 2, client.now(), _T_NS, select=rng.random() < 0.5)

    server = await asyncio.start_server(device, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    station = ControllingStation(MasterSettings((1,), counters=True))
    reach = Reach("hostile", (("127.0.0.1", port),), first_s=0.0001, longest_s=0.0001)
    client = Iec104Client(reach, station, tell)
    async with _Site(rng, errors) as site:
        client.start()
        try:
            while apdus and not done.is_set():
                before = said
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await done.wait()
                await site.check()
                checks += 1
                if said == before:
                    raise FuzzFailure(f"the client came no more, after {errors.said.hex()}")
        finally:
            await client.close()
            server.close()
            await server.wait_closed()
    errors.check()
    return {
        "apdus": said,
        "connections": connections,
        "events_told": told,
        "checks": checks,
        "growth_kb": growth.check(said),
    }


# -- what is said ---------------------------------------------------------------------------------------------------


def _one(typeID: TypeID, value: Any = None, qualifier: int = 0, *, IOA: int = 0, cause: int = 6, **more: Any) -> bytes:
    return encode(Asdu(typeID, cause, 1, (InformationObject(IOA, value, qualifier, **more),)))


_TO_SERVER: Final = (
    _one(TypeID.C_IC_NA_1, None, 20),
    _one(TypeID.C_IC_NA_1, None, 21),
    _one(TypeID.C_IC_NA_1, None, 20, cause=Cause.DEACTIVATION),
    _one(TypeID.C_CI_NA_1, None, 5),
    _one(TypeID.C_CI_NA_1, None, 0x85),
    _one(TypeID.C_RD_NA_1, IOA=1, cause=Cause.REQUESTED),
    _one(TypeID.C_CS_NA_1, time=_TAG),
    _one(TypeID.C_RP_NA_1, None, 1),
    _one(TypeID.C_TS_TA_1, 7, time=_TAG),
    _one(TypeID.P_ME_NC_1, 1.5, 1, IOA=1001),
    _one(TypeID.C_DC_NA_1, 2, 0x80, IOA=2001),
    _one(TypeID.C_DC_NA_1, 2, IOA=2001),
    _one(TypeID.C_DC_NA_1, 2, IOA=2001, cause=Cause.DEACTIVATION),
    _one(TypeID.C_DC_TA_1, 2, 0x80, IOA=2001, time=_TAG),
    _one(TypeID.C_SE_NC_1, 1.5, IOA=2002),
    _one(TypeID.M_SP_NA_1, True, IOA=1, cause=3),
)
_TO_CLIENT: Final = (
    _one(TypeID.M_SP_NA_1, True, IOA=1, cause=20),
    _one(TypeID.M_DP_TB_1, 2, 0x80, IOA=2, cause=3, time=_TAG),
    _one(TypeID.M_ST_TB_1, Step(5, transient=False), IOA=3, cause=3, time=_TAG),
    _one(TypeID.M_ME_NC_1, 1.5, IOA=4, cause=1),
    _one(TypeID.M_IT_TB_1, 5, IOA=5, cause=37, time=_TAG),
    _one(TypeID.M_EP_TD_1, 1, IOA=6, cause=3, time=_TAG, elapsed_ms=7),
    encode(Asdu(TypeID.M_ME_NB_1, 20, 1, tuple(InformationObject(n, n) for n in range(1, 60)), sequence=True)),
    _one(TypeID.M_EI_NA_1, cause=4),
    *(_one(TypeID.C_IC_NA_1, None, 20, cause=cause) for cause in (7, 10, 44)),
    *(_one(TypeID.C_CI_NA_1, None, 5, cause=cause) for cause in (7, 10)),
    *(_one(TypeID.C_DC_NA_1, 2, 0x80, IOA=2001, cause=cause) for cause in (7, 47)),
    *(_one(TypeID.C_DC_NA_1, 2, IOA=2001, cause=cause) for cause in (7, 10)),
)
_ODD: Final = tuple(bytes((octet,)) for octet in (0x00, 0x01, 0x03, 0x04, 0x2C, 0x40, 0x7F, 0x80, 0x81, 0xFE, 0xFF))


def _mutated(rng: random.Random, originals: Sequence[bytes], ns: int) -> bytes:
    """An APDU whose ASDU has up to three things wrong with it; of one in eight its frame has too."""
    if rng.random() < 0.06:
        apdu = bytearray(rng.choice([encode_s(rng.randrange(32768)), encode_u(rng.choice(list(UFunction)))]))
    else:
        asdu = bytearray(rng.choice(originals))
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            _spoil(rng, asdu, originals)
        apdu = bytearray(encode_i(ns, 0, bytes(asdu[:249]).ljust(6, b"\0")))
    if rng.random() < 0.125:
        _spoil(rng, apdu, originals)
    return bytes(apdu)


def _spoil(rng: random.Random, octets: bytearray, originals: Sequence[bytes]) -> None:
    at = rng.randrange(len(octets)) if octets else 0
    match rng.randrange(8):
        case 0 | 1:
            octets[at : at + 1] = rng.randbytes(1)
        case 2 if octets:
            octets[at] ^= 1 << rng.randrange(8)
        case 3:
            octets[at : at + 1] = rng.choice(_ODD)
        case 4:
            del octets[at:]
        case 5:
            del octets[at : at + rng.randrange(1, 8)]
        case 6:
            octets[at:at] = rng.randbytes(rng.randrange(1, 16))
        case _:
            other = rng.choice(originals)
            octets[at:] = other[rng.randrange(len(other)) :]


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
