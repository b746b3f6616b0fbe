"""The reading side of the history: what points said, in order of the devices' own time. Never in the writer's way."""

from __future__ import annotations

import contextlib
import heapq
import json
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from sqlalchemy import bindparam, func, select

from gateway.historian.database import Database, HistoryUnusable
from gateway.historian.tables import METADATA, VERSION, control_steps, events, measurements, points, refused
from gateway.points.audit import AuditStep
from gateway.points.point import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import BindParameter, Select, Table
    from sqlalchemy.engine import Connection

    from gateway.points.point import Value

_AT_ONCE: Final = 1_000
_TABLES: Final = {events.name: events, measurements.name: measurements}


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is asked for.

    Attributes:
        points: patterns that names fit, as of a shell; none for all.
        from_ns: first source time, ns since 1970.
        to_ns: the source time that is too late.
        tables: "events", "measurements" or both.
        newest: so many of the latest; 0 for all.
    """

    points: Sequence[str] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    tables: Sequence[str] = tuple(_TABLES)
    newest: int = 0


class Said(NamedTuple):
    """What a point said.

    Attributes:
        table: "events" or "measurements".
        id: order of commit in its table.
        point: its name.
        cdc: its common data class; empty if the gateway did not know it.
        value: what it said; text where it is no number ("nan").
        quality: 13 bits.
        t_ns: source time, ns since 1970.
        time_quality: octet of the source time.
        arrived_ns: when the gateway got it.
        sequence: its number in the gateway's event log.
    """

    table: str
    id: int
    point: str
    cdc: str
    value: Value
    quality: int
    t_ns: int
    time_quality: int
    arrived_ns: int
    sequence: int


class HistoryReader:
    """Reads one database; for one thread, to be closed.

    Args:
        where: URL, or path of an SQLite file.

    Raises:
        HistoryUnusable: no such URL, no such file, or no history in it.
        HistoryError: the server can't be reached.
    """

    def __init__(self, where: str) -> None:
        self.database = Database(where)
        file = self.database.file
        if file is not None and not file.is_file():
            raise HistoryUnusable(f"{self.database.name}: there is no such file")
        with self.database.speaking():
            self._connection = self.database.engine(read_only=True).connect()
            try:
                with self._connection.begin():
                    self._version = self.database.check(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refused(self) -> int:
        """How many events the database would not take as rows."""
        with self._speaking() as connection:
            return int(connection.execute(select(func.count()).select_from(refused)).scalar_one())

    def octets(self) -> int:
        """What the history takes on disk, indexes included."""
        if self.database.file is not None:
            return sum(
                each.stat().st_size
                for each in self.database.file.parent.iterdir()
                if each.name.startswith(self.database.file.name)
            )
        with self._speaking() as connection:
            there = METADATA.tables.keys() - (set() if self._version == VERSION else {control_steps.name})
            sizes = [func.pg_total_relation_size(name) for name in sorted(there)]
            return sum(connection.execute(select(*sizes)).one())

    def names(self, patterns: Sequence[str] = ()) -> list[str]:
        """The points that fit one of these patterns, or all."""
        with self._speaking() as connection:
            return sorted(name for name, _ in self._points(connection, patterns).values())

    def read(self, query: Query, last: dict[str, int]) -> Iterator[Said]:
        """What fits a query, up to these rows, oldest source time first. Reads on while it is iterated."""
        with self._speaking() as connection:
            known = self._points(connection, query.points)
            parts = []
            for name in query.tables:
                table = _TABLES[name]
                chosen = self._chosen(table, query, known).where(table.c.id <= last[name])
                if query.newest:
                    newest = chosen.order_by(table.c.t_ns.desc(), table.c.id.desc()).limit(query.newest).subquery()
                    chosen = select(newest).order_by(newest.c.t_ns, newest.c.id)
                else:
                    chosen = chosen.order_by(table.c.t_ns, table.c.id)
                parts.append(_said(name, known, connection.execution_options(yield_per=_AT_ONCE).execute(chosen)))
            merged = heapq.merge(*parts, key=attrgetter("t_ns"))
            yield from list(merged)[-query.newest :] if query.newest else merged

    def last(self) -> dict[str, int]:
        """The last row of each table, by its id."""
        with self._speaking() as connection:
            ends = {name: connection.execute(select(func.max(table.c.id))).scalar() for name, table in _TABLES.items()}
        return {name: end or 0 for name, end in ends.items()}

    def after(self, last: dict[str, int], query: Query) -> Iterator[Said]:
        """What was committed after these rows and fits a query, by source time; ``last`` is kept up.

        What has become a point since is read too.
        """
        with self._speaking() as connection:
            known = self._points(connection, query.points)
            found: list[Said] = []
            for name in query.tables:
                table = _TABLES[name]
                chosen = self._chosen(table, query, known).where(table.c.id > last[name]).order_by(table.c.id)
                part = list(_said(name, known, connection.execute(chosen.limit(_AT_ONCE))))
                if part:
                    last[name] = part[-1].id
                found += part
        yield from sorted(found, key=attrgetter("t_ns"))

    def last_step(self) -> int:
        """The last row of the audit trail, by its id.

        Raises:
            HistoryUnusable: an older flisr has kept this history, and no trail.
        """
        if self._version < VERSION:
            raise HistoryUnusable(
                f"{self.database.name}: an older flisr keeps this history, without an audit trail; "
                "it has one once a gateway of this version has run"
            )
        with self._speaking() as connection:
            return connection.execute(select(func.max(control_steps.c.id))).scalar() or 0

    def steps(self, query: Query, last: int) -> Iterator[AuditStep]:
        """Steps of the audit trail up to this row, oldest first; reads on while it is iterated.

        Args:
            query: of it the times, how many of the newest, and patterns that targets fit.
            last: of :meth:`last_step`.
        """
        chosen = self._chosen_steps(query).where(control_steps.c.id <= last)
        if query.newest and not query.points:
            order = control_steps.c.t_ns.desc(), control_steps.c.id.desc()
            newest = chosen.order_by(*order).limit(query.newest).subquery()
            chosen = select(newest).order_by(newest.c.t_ns, newest.c.id)
        else:
            chosen = chosen.order_by(control_steps.c.t_ns, control_steps.c.id)
        with self._speaking() as connection:
            found = _steps(connection.execution_options(yield_per=_AT_ONCE).execute(chosen), query.points)
            yield from deque(found, query.newest) if query.newest else found

    def steps_after(self, last: int, query: Query) -> tuple[list[AuditStep], int]:
        """Some of those that were committed after this row and fit a query, and the row after which to go on."""
        chosen = self._chosen_steps(query).where(control_steps.c.id > last).order_by(control_steps.c.id)
        with self._speaking() as connection:
            rows = connection.execute(chosen.limit(_AT_ONCE)).all()
        return list(_steps(rows, query.points)), rows[-1].id if rows else last

    @staticmethod
    def _chosen_steps(query: Query) -> Select[Any]:
        chosen = select(*(each for each in control_steps.c if each.name not in ("arrived_ns", "sequence")))
        if query.from_ns is not None:
            chosen = chosen.where(control_steps.c.t_ns >= query.from_ns)
        if query.to_ns is not None:
            chosen = chosen.where(control_steps.c.t_ns < query.to_ns)
        return chosen

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[Connection]:
        """A transaction; it sees the database as it is now."""
        with self.database.speaking(), self._connection.begin():
            yield self._connection

    @staticmethod
    def _points(connection: Connection, patterns: Sequence[str]) -> dict[int, tuple[str, str]]:
        return {
            number: (name, cdc)
            for number, name, cdc in connection.execute(select(points.c.id, points.c.name, points.c.cdc))
            if not patterns or any(fnmatchcase(name, each) for each in patterns)
        }

    @staticmethod
    def _chosen(table: Table, query: Query, known: dict[int, tuple[str, str]]) -> Select[Any]:
        chosen = select(table)
        if query.points:
            numbers: BindParameter[list[int]] = bindparam(
                "numbers", sorted(known), expanding=True, literal_execute=True
            )
            chosen = chosen.where(table.c.point_id.in_(numbers))
        if query.from_ns is not None:
            chosen = chosen.where(table.c.t_ns >= query.from_ns)
        if query.to_ns is not None:
            chosen = chosen.where(table.c.t_ns < query.to_ns)
        return chosen


def _steps(rows: Iterable[Any], patterns: Sequence[str]) -> Iterator[AuditStep]:
    for _, *columns in rows:
        step = AuditStep(*columns)
        if not patterns or any(fnmatchcase(step.target, each) for each in patterns):
            yield step._replace(test=bool(step.test))


def _said(table: str, known: dict[int, tuple[str, str]], rows: Iterable[Any]) -> Iterator[Said]:
    for number, point_id, value, text, quality, t_ns, time_quality, arrived_ns, sequence in rows:
        # A point may be younger than the look at the points.
        name, cdc = known.get(point_id, (f"point {point_id}", ""))
        told = _value(KINDS.get(cdc), value, text)
        yield Said(table, number, name, cdc, told, quality, t_ns, time_quality, arrived_ns, sequence)


def _value(kind: Kind | None, value: Any, text: str | None) -> Value:
    """What the point said, from its columns."""
    if text is not None:
        if text.startswith("["):
            with contextlib.suppress(ValueError):
                return tuple(json.loads(text))
        return int(text) if kind is Kind.COUNTER else text
    if kind is Kind.SINGLE:
        return bool(value)
    if kind is Kind.COUNTER:
        return int(value)
    told: Value = value
    return told
