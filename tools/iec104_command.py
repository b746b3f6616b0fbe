"""``flisr 104``: a master and an outstation for the bench, on the gateway's own stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

import scl as scl_package
from gateway.adapters.audit_trail import AuditTrail
from gateway.adapters.iec104_outlet import CentreConfig, Outlet, PointCommand
from gateway.app import Listener, listeners_of
from gateway.iec104.asdu import Cause, Qds, Step, TypeID, untagged
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import (
    Asked,
    CommandEnded,
    ControllingStation,
    Lost,
    MasterEvent,
    MasterSettings,
    ObjectsReceived,
    Started,
)
from gateway.iec104.server import PORT, TLS_PORT
from gateway.iec104.time_tag import CP56Time2a, TimeBase
from gateway.interoperability import of_centre, of_rtu
from gateway.points.point import KINDS, Kind, PointValue
from gateway.points.point_list import point_list
from gateway.points.table import PointTable
from gateway.site import read_site
from ied_agents.runtime.tls import TlsFiles, client_context, server_context
from scl.reader import read
from tools.points_command import centre_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.historian.historian import Historian
    from gateway.iec104.asdu import Asdu
    from gateway.iec104.station import ControlledStation, StationAsked
    from gateway.points.point import Value

app = App(name="104", help="A master and an outstation for the bench (IEC 60870-5-104).")

SAMPLE: Final = Path(scl_package.__file__).parent / "samples" / "two_source.scd"
_MOVES_S: Final = 0.05
"""What a simulated switch takes."""
_VALUES: Final[dict[TypeID, Callable[[str], Any]]] = {
    TypeID.C_SC_NA_1: {"on": True, "off": False, "1": True, "0": False}.__getitem__,
    TypeID.C_DC_NA_1: {"close": 2, "open": 1, "on": 2, "off": 1, "2": 2, "1": 1}.__getitem__,
    TypeID.C_RC_NA_1: {"lower": 1, "higher": 2, "1": 1, "2": 2}.__getitem__,
    TypeID.C_SE_NA_1: float,
    TypeID.C_SE_NB_1: int,
    TypeID.C_SE_NC_1: float,
    TypeID.C_BO_NA_1: int,
}
"""How the value of a command is written."""

_Json = Annotated[bool, Parameter(name="--json", help="Print one JSON document per line.", negative="")]
_Certificate = Annotated[Path | None, Parameter(help="Own certificate (PEM): TLS, with --key and --authority.")]
_Key = Annotated[Path | None, Parameter(help="Its private key.")]
_Authority = Annotated[Path | None, Parameter(help="The authorities that the other end's certificate must come from.")]
_Revoked = Annotated[Path | None, Parameter(help="Their revocation lists.")]


class Iec104CommandError(ValueError):
    """A command line that names no server, object or value, or a device that does not answer."""


# -- master ---------------------------------------------------------------------------------------------------------


@app.command
def master(
    host: Annotated[str, Parameter(help="The outstation: HOST or HOST:PORT.")],
    *,
    ca: Annotated[tuple[int, ...], Parameter(help="Its common addresses, which are interrogated.")] = (1,),
    command: Annotated[
        str,
        Parameter(help="Command an object and end: CA:IOA:TYPE=VALUE, as 1:50001:59=close; TYPE by number or name."),
    ] = "",
    select: Annotated[bool, Parameter(help="Select before the execute.", negative="")] = False,
    test: Annotated[bool, Parameter(help="Set the test bit of the command.", negative="")] = False,
    counters: Annotated[bool, Parameter(help="Ask for counters too.", negative="")] = False,
    seconds: Annotated[float, Parameter(help="End after so long; 0: when interrupted.")] = 0.0,
    time_base: Annotated[str, Parameter(help="Of its time tags: UTC, or a time zone such as Europe/Sarajevo.")] = "UTC",
    certificate: _Certificate = None,
    key: _Key = None,
    authority: _Authority = None,
    revoked: _Revoked = None,
    as_json: _Json = False,
) -> None:
    """Connect to an outstation, interrogate it, and print what it tells; exit status 1 if a command failed."""
    where, _, port = host.partition(":")
    if not where or (port and not port.isdecimal()):
        raise Iec104CommandError(f"{host!r} is no HOST or HOST:PORT")
    order = _order(command) if command else None
    settings = MasterSettings(
        tuple(ca), interrogate=order is None, counters=counters and order is None, time_base=TimeBase(time_base)
    )
    files = _tls_files(certificate, key, authority, revoked)
    tls = None if files is None else client_context(files)
    reach = Reach(host, ((where, int(port or (PORT if tls is None else TLS_PORT))),), tls)
    looker = _Looker(settings, order, select=select, test=test, as_json=as_json)
    _log_to_stderr()
    if not asyncio.run(looker.run(reach, seconds)):
        raise SystemExit(1)


def _tls_files(
    certificate: Path | None, key: Path | None, authority: Path | None, revoked: Path | None
) -> TlsFiles | None:
    if certificate is None or key is None or authority is None:
        if (certificate, key, authority, revoked) == (None, None, None, None):
            return None
        raise Iec104CommandError("TLS takes --certificate, --key and --authority")
    return TlsFiles(certificate, key, authority, revoked)


def _log_to_stderr() -> None:
    """Who connects, who is refused and why."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)


def _order(text: str) -> tuple[int, int, TypeID, Any]:
    try:
        place, _, value = text.partition("=")
        ca, ioa, kind = place.split(":")
        typeID = TypeID(int(kind)) if kind.isdecimal() else TypeID[kind]
        return int(ca), int(ioa), typeID, _VALUES[untagged(typeID)](value.lower())
    except (KeyError, ValueError):
        raise Iec104CommandError(f"{text!r} is no CA:IOA:TYPE=VALUE, as 1:50001:C_DC_TA_1=close") from None


class _Looker:
    """Prints what an outstation tells, and gives one command."""

    def __init__(
        self,
        settings: MasterSettings,
        order: tuple[int, int, TypeID, Any] | None,
        *,
        select: bool,
        test: bool,
        as_json: bool,
    ) -> None:
        self._settings = settings
        self._station = ControllingStation(settings)
        self._order = order
        self._select = select
        self._test = test
        self._as_json = as_json
        self._good = True

    async def run(self, reach: Reach, seconds: float) -> bool:
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ended.set)
        client = Iec104Client(reach, self._station, self._tell)
        self._client = client
        client.start()
        limit_s = seconds or (self._settings.confirm_s + self._settings.terminate_s if self._order else None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._ended.wait()
        await client.close()
        if self._order is not None and not self._ended.is_set():
            raise Iec104CommandError(f"{reach.name} did not answer; the command was not sent, or its end is not known")
        return self._good

    def _tell(self, event: MasterEvent) -> None:
        match event:
            case Started() if self._order is not None:
                ca, ioa, typeID, value = self._order
                self._station.command(
                    ca, ioa, typeID, value, self._client.now(), time.time_ns(), select=self._select, test=self._test
                )
            case ObjectsReceived(asdu):
                self._tell_objects(asdu)
            case Asked(typeID, ca, qualifier, why):
                self._say({"asked": typeID.name, "CA": ca, "qualifier": qualifier, "why": why})
            case CommandEnded() as ended:
                said = {"done": ended.done, "stage": ended.stage, "why": ended.why}
                self._say({"command": said})
                self._good = ended.done
                self._ended.set()
            case Lost(reason):
                self._say({"lost": reason})

    def _tell_objects(self, asdu: Asdu) -> None:
        cause = Cause(asdu.cause).name.lower() if asdu.cause in list(Cause) else str(asdu.cause)
        for one in asdu.objects:
            said: dict[str, Any] = {"CA": asdu.CA, "IOA": one.IOA, "type": asdu.typeID.name, "cause": cause}
            said["value"] = list(one.value) if isinstance(one.value, Step) else one.value
            said["quality"] = one.qualifier
            if isinstance(one.time, CP56Time2a):
                said["time"] = self._time(one.time)
            if asdu.test:
                said["test"] = True
            self._say(said)

    def _time(self, tag: CP56Time2a) -> str:
        t_ns = self._settings.time_base.decode(tag)
        bad = " invalid" if tag.invalid else ""
        return f"{datetime.fromtimestamp(t_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + bad

    def _say(self, said: dict[str, Any]) -> None:
        if self._as_json:
            print(json.dumps(said), flush=True)
        elif "IOA" in said:
            quality = "|".join(flag.name or "" for flag in Qds if said["quality"] & flag) or "good"
            at = said.get("time", "")
            print(
                f"{said['CA']:5} {said['IOA']:8} {said['type']:10} {said['value']!s:12} {quality:8}",
                f"{said['cause']:12} {at}" + " test" * said.get("test", False),
                flush=True,
            )
        else:
            print(", ".join(f"{name} {value}" for name, value in said.items() if value != ""), flush=True)


# -- outstation -----------------------------------------------------------------------------------------------------


@app.command
def outstation(
    *,
    scd: Annotated[Path | None, Parameter(help="Its points are those of this SCD; else of a sample.")] = None,
    site: Annotated[
        Path | None, Parameter(help="The control centres of this site file, each with its points, address and TLS.")
    ] = None,
    host: Annotated[str | None, Parameter(help="Address to listen at; 127.0.0.1.")] = None,
    port: Annotated[int | None, Parameter(help="Port; 0 for any; 2404, with TLS 19998.")] = None,
    rate: Annotated[float, Parameter(help="Changes of points per second, at random.")] = 1.0,
    common_address: Annotated[int | None, Parameter(help="One common address for all points; 1.")] = None,
    store: Annotated[Path | None, Parameter(help="Folder of the event store; else one that goes with it.")] = None,
    history: Annotated[
        str, Parameter(help="Keep what is told in this file or database too: FILE or postgresql://HOST/NAME.")
    ] = "",
    history_days: Annotated[float | None, Parameter(help="Keep it so long; else for ever.")] = None,
    history_rows: Annotated[int, Parameter(help="Keep so many events and as many measurements.")] = 10_000_000,
    certificate: _Certificate = None,
    key: _Key = None,
    authority: _Authority = None,
    revoked: _Revoked = None,
    seed: Annotated[int, Parameter(help="Of what is invented.")] = 1,
    as_json: _Json = False,
) -> None:
    """Serve the points of an SCD to any number of connections of one master, until interrupted.

    Values are invented; commands move the point they belong to. Events wait on disk until the master has them.
    """
    given = (scd, host, port, common_address, certificate, key, authority, revoked)
    if site is not None:
        if any(each is not None for each in given):
            raise Iec104CommandError(f"{site} says points, addresses and TLS: give --site alone")
        centres, _ = read_site(site).iec104()
        if not centres:
            raise Iec104CommandError(f"{site}: no [[centre]] in it: nobody to serve")
        for centre in centres:
            centre.keep_assigned()
        configs = [centre.config for centre in centres]
        listeners = listeners_of(centres)
        points = {point.name: point for centre in centres for point in centre.points.points()}
    else:
        found = point_list(read(scd or SAMPLE), common=1 if common_address is None else common_address)
        for problem in found.problems:
            print(problem, file=sys.stderr)  # what depends on it is not served
        files = _tls_files(certificate, key, authority, revoked)
        tls = None if files is None else server_context(files)
        bound = port if port is not None else PORT if tls is None else TLS_PORT
        configs = [CentreConfig("master", found.rows)]
        listeners = [Listener(host or "127.0.0.1", bound, tls, frozenset(("master",)))]
        points = {point.name: point for point in found.points()}
    _log_to_stderr()
    with contextlib.ExitStack() as stack:
        folder = store or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flisr-104-")))
        simulated = _Simulated(configs, random.Random(seed), rate, as_json=as_json)
        table = PointTable(points.values())
        historian = _historian(history, table, history_days, history_rows) if history else None
        asyncio.run(simulated.run(table, folder, listeners, historian))


def _historian(where: str, table: PointTable, days: float | None, rows: int) -> Historian:
    from gateway.historian.historian import Historian  # noqa: PLC0415 - who wants none need not load SQLAlchemy
    from gateway.historian.writer import Retention  # noqa: PLC0415

    if rows < 1 or (days is not None and not days > 0):
        raise Iec104CommandError(f"--history-days {days}, --history-rows {rows}: expected more than none")
    return Historian(where, table, Retention(days, rows))


@app.command
def interoperability(
    site: Annotated[Path, Parameter(help="The site file.")],
    *,
    centre: Annotated[str, Parameter(help="The control centre; may be left out where there is one.")] = "",
    rtu: Annotated[str, Parameter(help="Instead: the field device, and what is asked of it.")] = "",
    as_json: _Json = False,
) -> None:
    """Print the interoperability list (IEC 60870-5-104, clause 9) of a centre or field device, as Markdown."""
    if rtu and centre:
        raise Iec104CommandError("--centre and --rtu: one of them")
    if rtu:
        _, rtus = read_site(site).iec104()
        found = next((each for each in rtus if each.config.name == rtu), None)
        if found is None:
            names = ", ".join(each.config.name for each in rtus) or "none"
            raise Iec104CommandError(f"{site}: no rtu {rtu}; there is {names}")
        told = of_rtu(found)
    else:
        told = of_centre(centre_of(site, centre))
    print(json.dumps(told.as_dict()) if as_json else told.markdown(), end="\n" if as_json else "")


class _Simulated:
    """A device whose points change at random, and as they are commanded."""

    def __init__(self, centres: list[CentreConfig], rng: random.Random, rate: float, *, as_json: bool) -> None:
        self._centres = centres
        self._rng = rng
        self._rate = rate
        self._as_json = as_json
        ours = {centre.overflow for centre in centres}  # told by the outlet
        self._kinds = {
            row.name: KINDS[row.cdc]
            for centre in centres
            for row in centre.rows
            if not row.control and row.name not in ours
        }

    async def run(self, table: PointTable, folder: Path, listeners: list[Listener], history: Historian | None) -> None:
        for name, kind in self._kinds.items():
            table.update(name, self._point(_START[kind]))
        if history is not None:
            await history.check()
        consumers = [history] if history is not None else []
        outlet = self._outlet = Outlet(table, folder, self._centres, self, listeners=consumers)
        if history is not None:
            outlet.server.trail = AuditTrail(outlet.keep).note
        ports = [
            await outlet.server.listen(each.host, each.port, tls=each.tls, only=each.centres) for each in listeners
        ]
        ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, ended.set)
        for each, bound in zip(listeners, ports, strict=True):
            count = len(
                {row.name for c in self._centres if c.name in each.centres for row in c.rows if not row.control}
            )
            names = sorted(each.centres)
            ready = {"kind": "OutstationReady", "host": each.host, "port": bound, "points": count, "centres": names}
            said = f"{count} points at {each.host}:{bound} for {', '.join(names)}"
            print(json.dumps(ready) if self._as_json else said, flush=True)
        names = list(self._kinds)
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 / self._rate if self._rate else None):
                    await ended.wait()
            if self._rate and not ended.is_set():
                name = self._rng.choice(names)
                outlet.update(name, self._point(_CHANGES[self._kinds[name]](self._rng, table.get(name))))
        if history is not None:
            await history.close()
        await outlet.close()

    @staticmethod
    def _point(value: Value) -> PointValue:
        now_ns = time.time_ns()
        return PointValue(value, 0, now_ns, 10, now_ns)

    def operate(self, command: PointCommand) -> None:
        """A master commands; the switch takes a moment."""
        asked = command.command
        print(json.dumps({"command": command.name, "step": command.step, "value": asked.value}), file=sys.stderr)
        if command.test:
            self._outlet.confirm(command.number, "the test bit is set: a bench has nothing that could be tested")
            return
        self._outlet.confirm(command.number)
        if command.step == "execute":
            self._loop.call_later(_MOVES_S, self._moved, command)

    def _moved(self, command: PointCommand) -> None:
        kind = self._kinds.get(command.name)
        value: Value = command.command.value
        if kind is Kind.DOUBLE:
            value = 2 if value else 1
        if kind in (Kind.DOUBLE, Kind.SINGLE, Kind.INTEGER, Kind.FLOAT):
            self._outlet.update(command.name, self._point(value))
        self._outlet.terminate(command.number)

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """Nothing of it can be done here, and it is said so."""
        station.answer(asked.number, why=f"{asked.matter}: this outstation is a simulation")


_START: Final[dict[Kind, Value]] = {
    Kind.SINGLE: False,
    Kind.DOUBLE: 2,
    Kind.INTEGER: 1,
    Kind.FLOAT: 0.0,
    Kind.STEP: (0, 0),
    Kind.COUNTER: 0,
    Kind.ACTIVATION: (0,),
    Kind.DIRECTION: (0, 0),
}
_CHANGES: Final[dict[Kind, Callable[[random.Random, PointValue | None], Value]]] = {
    Kind.SINGLE: lambda _, last: not (last and last.value),
    Kind.DOUBLE: lambda _, last: 1 if last and last.value == 2 else 2,
    Kind.INTEGER: lambda rng, _: rng.randrange(1, 6),
    Kind.FLOAT: lambda rng, _: round(rng.uniform(0, 400), 1),
    Kind.STEP: lambda rng, _: (rng.randrange(-10, 11), 0),
    Kind.COUNTER: lambda rng, last: (
        int(last.value) + rng.randrange(1, 9) if last and isinstance(last.value, int) else 0
    ),
    Kind.ACTIVATION: lambda rng, _: (rng.randrange(2),),
    Kind.DIRECTION: lambda rng, _: (rng.randrange(2), rng.randrange(3)),
}
