"""``flisr status``: how a running gateway is, by its own word."""

from __future__ import annotations

import json
import socket
import struct
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gateway.bounded_server import short_path
from gateway.supervision import socket_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE_S: Final = 8.0
"""Longer than a gateway takes whose agents do not answer."""
_AGAIN_S: Final = 0.05
_MOST_OCTETS: Final = 16 << 20
_STORE: Final = "store"
_CREDENTIALS: Final = struct.Struct("3i")


class StatusError(OSError):
    """No gateway that says how it is; the message says why, and what may help."""


_Site = Annotated[Path, Parameter(help="The site file that it was started with.")]
_Json = Annotated[bool, Parameter(name="--json", help="Print one JSON document.", negative="")]


def status(site: _Site, *, as_json: _Json = False) -> None:
    """Say how the running gateway of a site is: control centres, field devices, agents, history, event log.

    Exit status 0 if it answers, whatever it says; 2 if none runs, or it does not answer.
    """
    said = ask_gateway(_socket_of(site))
    if as_json:
        print(json.dumps(said))
    else:
        print("\n".join(_lines(said)))


def ask_gateway(place: Path, *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The status document of the gateway that answers at a socket.

    Raises:
        StatusError: there is none, or it does not answer.
    """
    until = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        pid = _connect(asker, place, until)
        try:
            asker.settimeout(max(0.001, until - time.monotonic()))
            asker.sendall(b'{"request": "status"}\n')
            octets = b""
            while not octets.endswith(b"\n"):
                asker.settimeout(max(0.001, until - time.monotonic()))
                some = asker.recv(1 << 16)
                if not some or len(octets) > _MOST_OCTETS:
                    raise StatusError(
                        f"{place}: the gateway, process {pid}, has broken off; it may be ending: try again"
                    )
                octets += some
        except TimeoutError:
            raise StatusError(
                f"{place}: the gateway, process {pid}, runs and does not answer within {patience_s:g} s: it hangs"
            ) from None
        except (ConnectionError, BrokenPipeError):
            raise StatusError(f"{place}: the gateway, process {pid}, has broken off; try again") from None
    try:
        said = json.loads(octets)
        if said["kind"] == "GatewayStatus":
            found: dict[str, Any] = said
            return found
        why = said["why"]
    except (ValueError, LookupError, TypeError):
        why = f"{octets[:80]!r} is no status"
    raise StatusError(f"{place}: process {pid} answers something else: {why}")


def _connect(asker: socket.socket, place: Path, until: float) -> int:
    """Connect; the gateway's process."""
    while True:
        asker.settimeout(max(0.001, until - time.monotonic()))
        try:
            with short_path(place) as name:
                asker.connect(name)
            break
        except FileNotFoundError:
            raise StatusError(f"no gateway of this site runs here: there is no {place}; flisr run starts one") from None
        except ConnectionRefusedError:
            raise StatusError(
                f"no gateway of this site runs here: the one that made {place} has ended without order"
            ) from None
        except PermissionError:
            raise StatusError(f"{place}: only the user that the gateway runs as, and root, may ask it") from None
        except (BlockingIOError, TimeoutError):
            if time.monotonic() >= until:
                raise StatusError(f"{place}: the gateway takes no connections: it hangs, or too many ask it") from None
            time.sleep(_AGAIN_S)
    return int(_CREDENTIALS.unpack(asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0])


def _socket_of(site: Path) -> Path:
    """Where the gateway of a site file answers. Nothing else of the file matters: it may have become a wrong one."""
    try:
        content = tomllib.loads(site.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StatusError(f"{site}: no TOML: {error}") from None
    gateway = content.get("gateway", {})
    store = gateway.get("store", _STORE) if isinstance(gateway, dict) else _STORE
    return socket_of(site.parent / (store if isinstance(store, str) and store else _STORE))


# -- in words -------------------------------------------------------------------------------------------------------


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    now_ns = said["now_ns"]
    yield (
        f"site {said['site']}: gateway {said['program']}, pid {said['pid']}, "
        f"for {_span(now_ns - said['started_ns'])}, {said['points']} points"
    )
    yield from _table(
        "control centre",
        ((each["name"], _masters(each["masters"]), _waiting(each)) for each in said["centres"]),
    )
    yield from _table(
        "RTU",
        (
            (each["name"], _connection(each, now_ns), _ways(each["links"]) if each["connected"] else "")
            for each in said["rtus"]
        ),
    )
    yield from _table(
        "IED",
        (
            (each["name"], _connection(each, now_ns), _times(each["workers"] - 1, "worker restart"))
            for each in said["ieds"]
        ),
    )
    yield from _table(
        "GOOSE",
        (
            (each["name"], _connection(each, now_ns), f"{each['states']} states, {each['refused']} frames refused")
            for each in said["goose"]
        ),
    )
    yield from _table("agent", ((each["name"], _agent(each), _process(each, now_ns)) for each in said["agents"]))
    yield from _table(
        "MMS host",
        ((each["name"], "running" if each["pid"] else "down", _process(each, now_ns)) for each in said["hosts"]),
    )
    history = said["history"]
    if history is not None:
        how = "reachable"
        if not history["reachable"]:
            how = f"refuses for {_span(now_ns - history['since_ns'])}: {history['why']}"
        yield from _table("history", [(history["name"], how, _waiting(history))])
    yield from _table("broker", ((each["name"], _connection(each, now_ns), _waiting(each)) for each in said["brokers"]))
    log = said["event_log"]
    yield from _table(
        "event log",
        [
            (
                f"{log['octets'] / 1e6:.1f} of {log['most_octets'] / 1e6:.0f} MB",
                "the disk takes events" if log["storing"] else "EVENTS ARE NOT STORED",
                "",
            )
        ],
    )
    yield from (f"  {each}" for each in log["trouble"])


def _table(title: str, rows: Iterator[Sequence[str]] | list[tuple[str, str, str]]) -> Iterator[str]:
    found = list(rows)
    wide = max((len(row[0]) for row in found), default=0)
    for row in found:
        said = "; ".join(filter(None, row[1:]))
        yield f"{title:15} {row[0]:{wide}}  {said}".rstrip()


def _masters(masters: Sequence[Mapping[str, Any]]) -> str:
    if not masters:
        return "no master connected"
    return ", ".join(f"{each['peer']} {'started' if each['started'] else 'connected'}" for each in masters)


def _waiting(consumer: Mapping[str, Any]) -> str:
    lost = f", {consumer['lost']} LOST" if consumer["lost"] else ""
    return f"{consumer['waiting']} of {consumer['most']} events wait{lost}"


def _connection(device: Mapping[str, Any], now_ns: int) -> str:
    since = f" for {_span(now_ns - device['since_ns'])}" if device["since_ns"] else ""
    heard = f"heard {_span(now_ns - device['heard_ns'])} ago" if device["heard_ns"] else "never heard"
    if device["connected"]:
        return f"connected{since}; {heard}"
    return f"NOT CONNECTED{since}: {device['why']}; {heard}"


def _ways(links: Sequence[Mapping[str, Any]]) -> str:
    lost = [f"{each['where']}: {each['why']}" for each in links if each["why"]]
    return f"{len(links) - len(lost)} of {len(links)} links" + (f" ({'; '.join(lost)})" if lost else "")


def _agent(agent: Mapping[str, Any]) -> str:
    if agent["state"] in ("silent", "down"):
        return str(agent["state"]).upper()
    more = [f"health {agent['health']}", f"mode {agent['mode']}"]
    more += [] if agent["confirmed"] else ["HELD until an operator confirms"]
    more += [] if agent["proven"] else ["LOCKS NOT PROVEN"]
    more += [f"locked on side {' and '.join(agent['locked'])}"] if agent["locked"] else []
    return f"{agent['state']}; {', '.join(more)}"


def _process(program: Mapping[str, Any], now_ns: int) -> str:
    since = f" for {_span(now_ns - program['since_ns'])}" if program["since_ns"] else ""
    parts = [f"pid {program['pid']}{since}" if program["pid"] else f"no process{since}"]
    parts += filter(None, [_times(program["restarts"], "restart")])
    ended = program["ended"]
    return ", ".join(parts) + (f", the last ended: {ended}" if ended and program["pid"] else ended and f": {ended}")


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}" if count > 0 else ""


def _span(ns: int) -> str:
    """A length of time in its largest two units."""
    seconds = max(0, ns // 10**9)
    for size, unit, less, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{seconds} s"
