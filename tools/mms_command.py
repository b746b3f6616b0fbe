"""``flisr mms``: look at any IEC 61850 server, and operate it. Needs the extra ``mms``."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms.client import PORT, TIMEOUT_S, TLS_PORT, MmsClient, MmsClientError, Reference
from ied_agents.mms.client_control import STATION, TERMINATION_S, Control, ControlRefusedError, words
from ied_agents.mms.client_report import Report, ReportQueue, Subscription
from ied_agents.mms.values import Cause
from ied_agents.runtime.tls import TlsFiles, client_context

if TYPE_CHECKING:
    import ssl

app = App(name="mms", help="Look at an IEC 61850 server by MMS, and operate it.")

_LOOK_S: Final = 0.5
_VALUES: Final = {"close": True, "on": True, "true": True, "open": False, "off": False, "false": False}

_Host = Annotated[str, Parameter(help="The server: HOST or HOST:PORT.")]
_Json = Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class _Way:
    """How to connect."""

    timeout: Annotated[float, Parameter(help="How long connecting, and every request, may take, s.")] = TIMEOUT_S
    certificate: Annotated[Path | None, Parameter(help="Own certificate (PEM): TLS, with --key, --authority.")] = None
    key: Annotated[Path | None, Parameter(help="Its private key.")] = None
    authority: Annotated[Path | None, Parameter(help="Authorities that the server's certificate must come from.")] = (
        None
    )
    revoked: Annotated[Path | None, Parameter(help="Their revocation lists.")] = None

    def tls(self) -> ssl.SSLContext | None:
        if self.certificate is None or self.key is None or self.authority is None:
            if (self.certificate, self.key, self.authority, self.revoked) == (None, None, None, None):
                return None
            raise MmsCommandError("TLS takes --certificate, --key and --authority")
        return client_context(TlsFiles(self.certificate, self.key, self.authority, self.revoked))


_PLAIN: Final = _Way()


class MmsCommandError(ValueError):
    """A command line that names no server or no value."""


def _connect(host: str, way: _Way) -> MmsClient:
    name, _, port = host.partition(":")
    if not name or (port and not (port.isdecimal() and 0 < int(port) < 1 << 16)):
        raise MmsCommandError(f"{host!r} is no HOST or HOST:PORT")
    tls = way.tls()
    return MmsClient(name, int(port or (PORT if tls is None else TLS_PORT)), timeout_s=way.timeout, tls=tls)


@app.command
def browse(
    host: _Host,
    reference: Annotated[str, Parameter(help="Logical device, or logical node LD/LN, to look into.")] = "",
    *,
    way: _Way = _PLAIN,
    as_json: _Json = False,
) -> None:
    """List logical devices with their nodes, data sets and report control blocks, or a node's variables."""
    device, _, node = reference.partition("/")
    with _connect(host, way) as client:
        if node:
            parts = [name.split("$") for name in client.variables(device)]
            found: Any = [
                str(Reference(device, ".".join([node, *part[2:]]), part[1]))
                for part in parts
                if part[0] == node and len(part) > 2
            ]
            if not found:
                raise MmsCommandError(f"{client.peer}: {device} has no logical node {node}")
        else:
            found = {
                name: {
                    "nodes": client.nodes(name),
                    "data_sets": client.data_sets(name),
                    "reports": client.report_blocks(name),
                }
                for name in ([device] if device else client.devices())
            }
    if as_json:
        print(json.dumps(found, indent=1))
    elif node:
        print("\n".join(found))
    else:
        for name, lists in found.items():
            print(name)
            for kind, entries in lists.items():
                print(f"  {kind.replace('_', ' '):10} {' '.join(entries)}")


@app.command
def read(
    host: _Host,
    *references: Annotated[str, Parameter(help="LD/LN.DO.DA, also with [FC] behind; a data set: LD/LN.NAME.")],
    way: _Way = _PLAIN,
    as_json: _Json = False,
) -> None:
    """Read data objects, attributes or data sets with all that is in them."""
    if not references:
        raise MmsCommandError("nothing to read: name at least one reference")
    values: dict[str, Any] = {}
    with _connect(host, way) as client:
        for reference in references:
            plain = Reference.read(reference)
            if not plain.fc and plain.plain in client.data_sets(plain.device):
                values |= client.read_data_set(reference)
            else:
                values |= client.read_leaves(reference)
    if as_json:
        print(json.dumps({name: _plain(value) for name, value in values.items()}, indent=1))
    else:
        for name, value in values.items():
            print(f"{name}  {_shown(value)}")


@app.command
def control(
    host: _Host,
    reference: Annotated[str, Parameter(help="The controllable data object, LD/LN.DO.")],
    value: Annotated[str, Parameter(help="close, open, on, off, true, false or a number.")],
    *,
    orcat: Annotated[int, Parameter(help="Originator category: 1 bay, 2 station, 3 remote.")] = STATION,
    test: Annotated[bool, Parameter(help="Set the Test flag.", negative="")] = False,
    wait: Annotated[float, Parameter(help="How long to wait for the termination, s.")] = TERMINATION_S,
    way: _Way = _PLAIN,
    as_json: _Json = False,
) -> None:
    """Operate a data object as its control model asks for, and say how it ended; exit status 1 if it was refused."""
    wanted = _value(value)
    said: dict[str, Any] = {"reference": reference, "value": wanted, "done": True}
    with _connect(host, way) as client, Control(client, reference, orCat=orcat, test=test) as operated:
        said["model"] = operated.model.name.lower().replace("_", " ")
        try:
            operated.execute(wanted, termination_s=wait)
        except ControlRefusedError as error:
            add_cause = error.add_cause
            said |= {"done": False, "stage": error.stage, "cause": str(error.cause)}
            said |= {} if add_cause is None else {"add_cause": add_cause.value, "why": words(add_cause)}
            message = str(error)
    if as_json:
        print(json.dumps(said))
    elif said["done"]:
        enhanced = "enhanced" in said["model"]
        print(f"{reference}: {value}: {'carried out, positive termination' if enhanced else 'accepted'}")
    else:
        print(message, file=sys.stderr)
    if not said["done"]:
        raise SystemExit(1)


@app.command
def report(
    host: _Host,
    reference: Annotated[str, Parameter(help="Report control block, LD/LN.BR.NAME; without it they are listed.")] = "",
    *,
    after: Annotated[str, Parameter(help="Go on after this EntryID, in hexadecimal.")] = "",
    count: Annotated[int, Parameter(help="End after so many reports; 0: when interrupted.")] = 0,
    interrogate: Annotated[bool, Parameter(help="Ask for all members at once.", negative="")] = False,
    way: _Way = _PLAIN,
    as_json: _Json = False,
) -> None:
    """Enable a report control block and print what it reports, until interrupted."""
    with _connect(host, way) as client:
        if not reference:
            _list_blocks(client, as_json=as_json)
            return
        try:
            entry = bytes.fromhex(after) if after else None
        except ValueError:
            raise MmsCommandError(f"{after!r} is no EntryID: 16 hexadecimal digits expected") from None
        stop: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: stop.append(received))
        reports = ReportQueue()
        block = Subscription(client, reference, reports.put, after=entry, interrogate=interrogate)
        if not block.resumed:
            print(f"{reference}: entry {after} is gone; all that is buffered follows", file=sys.stderr)
        told = 0
        while not stop and not (count and told >= count):
            one = reports.get(_LOOK_S)
            if one is not None:
                told += 1
                _tell(one, as_json=as_json)
            elif not client.connected or reports.lost:
                lost = f"{reports.lost} reports lost: they came faster than they were printed" * bool(reports.lost)
                raise MmsClientError(client.peer, reference, Cause.CONNECTION_LOST, lost)
        block.close()


def _list_blocks(client: MmsClient, *, as_json: bool) -> None:
    blocks = [block for device in client.devices() for block in client.report_blocks(device)]
    enabled = {block: client.read(block.replace(".", "$") + "$RptEna") for block in blocks}
    if as_json:
        print(json.dumps(enabled, indent=1))
    else:
        for block, taken in enabled.items():
            print(f"{block}  {'enabled' if taken else 'free'}")


def _tell(one: Report, *, as_json: bool) -> None:
    entry = None if one.entryID is None else one.entryID.hex()
    if as_json:
        values = {name: _plain(value) for name, value in one.values.items()}
        about = {"rptID": one.rptID, "entryID": entry, "seqNum": one.seqNum, "time_ms": one.time_ms}
        print(json.dumps({**about, "overflow": one.overflow, "values": values, "reasons": one.reasons}), flush=True)
        return
    at = "" if one.time_ms is None else f" {datetime.fromtimestamp(one.time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"
    print(f"{one.rptID}{at} entry {entry} number {one.seqNum}{' after an overflow' * one.overflow}")
    for name, value in one.values.items():
        print(f"  {name} ({one.reasons[name]})  {_shown(value)}", flush=True)


def _value(text: str) -> bool | float:
    if text.lower() in _VALUES:
        return _VALUES[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise MmsCommandError(f"{text!r} is no value: close, open, on, off, true, false or a number expected")


def _plain(value: Any) -> Any:
    """As JSON has it: octets in hexadecimal, bit strings as text of 0 and 1, times in ns since 1970."""
    match value:
        case Cause():
            return {"error": str(value)}
        case bytes():
            return value.hex()
        case BitString():
            return f"{value.value:0{value.size}b}"
        case UtcTime():
            return value.to_ns()
        case tuple() if not hasattr(value, "_fields"):
            return [_plain(member) for member in value]
    return value


def _shown(value: Any) -> str:
    match value:
        case Cause():
            return f"({value})"
        case UtcTime():
            bad = " not synchronised" * value.clock_not_synchronised + " clock failure" * value.clock_failure
            return f"{datetime.fromtimestamp(value.to_seconds(), UTC):%Y-%m-%d %H:%M:%S.%f}Z{bad}"
        case tuple() if not hasattr(value, "_fields"):
            return "(" + ", ".join(_shown(member) for member in value) + ")"
    return str(_plain(value))
