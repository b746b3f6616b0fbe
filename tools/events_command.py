"""``flisr events``: the sequence of events and the measurements of a history."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gateway.historian.reader import HistoryReader, Query
from gateway.points.point import KINDS, Kind
from gateway.points.words import clock_text, quality_text, time_text
from ied_agents.iec61850.dbpos import Dbpos
from tools.audit_rows import AuditRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import tzinfo

    from gateway.historian.reader import Said

_NEWEST: Final = 100
_LOOK_S: Final = 0.5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS: Final = ("time", "clock", "point", "cdc", "value", "quality", "arrived", "table", "sequence")


class EventsCommandError(ValueError):
    """An argument that cannot be used."""


def events(
    history: Annotated[
        str, Parameter(help="The history: a file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME.")
    ],
    *,
    points: Annotated[
        tuple[str, ...], Parameter(name="--point", help="Only points that fit a pattern, such as '*/XCBR*.Pos'.")
    ] = (),
    begin: Annotated[
        str, Parameter(name="--from", help="Not before this time: 2026-11-23, 2026-11-23T08:00:00.5 or with +01:00.")
    ] = "",
    end: Annotated[str, Parameter(name="--to", help="Before this time.")] = "",
    only: Annotated[
        str, Parameter(help="Only 'events' (positions, states, steps) or 'measurements' (and counters).")
    ] = "",
    audit: Annotated[
        bool, Parameter(help="The audit trail instead: what was commanded, by whom, and its outcome.", negative="")
    ] = False,
    newest: Annotated[
        int | None, Parameter(help=f"So many of the latest; 0 for all. {_NEWEST}, unless --from or --to is given.")
    ] = None,
    follow: Annotated[bool, Parameter(help="Go on with what comes in, until interrupted.", negative="")] = False,
    local: Annotated[
        bool, Parameter(help="Times are those of this machine's zone, given and shown; else UTC.", negative="")
    ] = False,
    as_csv: Annotated[bool, Parameter(name="--csv", help="Print CSV.", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON document per line.", negative="")] = False,
) -> None:
    """Print what points said, in order of the devices' own time.

    The time is the device's, with what its clock says of itself; when the gateway got it is in CSV and JSON. The
    gateway may go on writing meanwhile. With --audit, print every step of every command instead, who and what, its
    outcome and why: times are the gateway's, and --point is what was commanded.
    """
    if as_csv and as_json:
        raise EventsCommandError("--csv and --json: one of them")
    if audit and only:
        raise EventsCommandError("--audit and --only: one of them")
    if only not in ("", "events", "measurements"):
        raise EventsCommandError(f"--only {only}: expected events or measurements")
    if newest is not None and newest < 0:
        raise EventsCommandError(f"--newest {newest}: expected 0 or more")
    zone = None if local else UTC
    limit = newest if newest is not None else 0 if begin or end else _NEWEST
    query = Query(
        points=points,
        from_ns=_ns(begin, zone) if begin else None,
        to_ns=_ns(end, zone) if end else None,
        tables=(only,) if only else ("events", "measurements"),
        newest=limit,
    )
    with HistoryReader(history) as reader:
        kind = AuditRows if audit else _PointRows
        rows = kind(reader, query, zone, as_csv=as_csv, as_json=as_json)
        try:
            count = rows.first()
            if newest is None and count == limit > 0:
                print(f"the latest {count}; --newest or --from for more", file=sys.stderr)
            refused = reader.refused()
            if refused:
                print(f"{refused} events could not be rows and are in the table refused", file=sys.stderr)
            while follow:
                sys.stdout.flush()
                time.sleep(0 if rows.more() else _LOOK_S)
        except BrokenPipeError:
            # Who read it has seen enough; nothing is left for Python to flush at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            if not follow:
                raise


class _PointRows:
    """Prints what points said; arguments as of :class:`AuditRows`."""

    def __init__(
        self, reader: HistoryReader, query: Query, zone: tzinfo | None, *, as_csv: bool, as_json: bool
    ) -> None:
        names = reader.names(query.points)
        if query.points and not names:
            raise EventsCommandError(f"{reader.database.name}: no point of it fits {' or '.join(query.points)}")
        self._reader = reader
        self._query = query
        self._last = reader.last()
        self._show = _shower(names, zone, as_csv=as_csv, as_json=as_json)

    def first(self) -> int:
        """Print what there is; returns how many."""
        return self._show(self._reader.read(self._query, self._last))

    def more(self) -> int:
        """Print what has come since; likewise."""
        return self._show(self._reader.after(self._last, self._query))


def _ns(text: str, zone: tzinfo | None) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise EventsCommandError(f"{text!r} is no time; expected such as 2026-11-23T08:00:00 or with +01:00") from None
    if at.tzinfo is None:
        at = at.astimezone() if zone is None else at.replace(tzinfo=zone)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _shower(names: list[str], zone: tzinfo | None, *, as_csv: bool, as_json: bool) -> Callable[[Iterable[Said]], int]:
    """What prints some of them, and says how many there were."""
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)

        def put(said: Said) -> None:
            writer.writerow(_cells(said, zone).values())

    elif as_json:

        def put(said: Said) -> None:
            numbers = {"t_ns": said.t_ns, "time_quality": said.time_quality, "quality_bits": said.quality}
            print(json.dumps(_cells(said, zone) | {"value": said.value} | numbers))

    else:
        wide = max((len(name) for name in names), default=5)
        zone_name = "UTC" if zone is not None else datetime.now(UTC).astimezone().tzname()
        print(f"{f'time ({zone_name})':36} {'point':{wide}} {'value':14} {'quality':12} clock")

        def put(said: Said) -> None:
            cells = _cells(said, zone)
            value, quality, clock = cells["value"], cells["quality"], cells["clock"]
            print(f"{cells['time']:36} {said.point:{wide}} {value:14} {quality:12} {clock}".rstrip())

    def show(every: Iterable[Said]) -> int:
        count = 0
        for count, said in enumerate(every, start=1):  # noqa: B007 - how many is what is asked
            put(said)
        return count

    return show


def _cells(said: Said, zone: tzinfo | None) -> dict[str, Any]:
    cells = (
        time_text(said.t_ns, zone), clock_text(said.time_quality), said.point, said.cdc, _value(said),
        quality_text(said.quality), time_text(said.arrived_ns, zone), said.table, said.sequence,
    )  # fmt: skip
    return dict(zip(_COLUMNS, cells, strict=True))


def _value(said: Said) -> str:
    if KINDS.get(said.cdc) is Kind.DOUBLE and isinstance(said.value, int) and said.value in list(Dbpos):
        return Dbpos(said.value).name.lower()
    if isinstance(said.value, bool):
        return "true" if said.value else "false"
    return " ".join(map(str, said.value)) if isinstance(said.value, tuple) else str(said.value)
