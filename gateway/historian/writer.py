"""The writing side of the history: events of the event log to rows, each once, and old rows away in small steps.

All of it may wait for disk or server: it is for the historian's own thread.
"""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from gateway.historian.tables import control_steps, events, measurements, points, refused
from gateway.points.audit import AUDIT_KEY, AuditDecodeError, decode_step
from gateway.points.point import KINDS, Kind, PointDecodeError, decode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Table
    from sqlalchemy.engine import Connection, Engine

    from gateway.historian.database import Database
    from gateway.points.event_log import LoggedEvent
    from gateway.points.point import PointConfig, Value

_LOG: Final = logging.getLogger(__name__)
_STEP_ROWS: Final = 4_000
"""Rows that are deleted in one transaction: twice as many as one adds at most."""
_NUMBERS: Final = (Kind.FLOAT, Kind.COUNTER)
_EXACT: Final = 1 << 53
"""Whole numbers up to here are exact as a float."""
_DAY_NS: Final = 86_400_000_000_000
# What a database says of a row that it will never take; whatever else it says may be over later.
_NEVER: Final = (DataError, IntegrityError, OverflowError, ValueError)


@dataclass(frozen=True)
class Retention:
    """How long rows are kept.

    Attributes:
        days: since their arrival; None: for ever.
        rows: of each table at most, the oldest go first.
    """

    days: float | None = None
    rows: int = 10_000_000

    def __post_init__(self) -> None:
        if self.rows < 1 or (self.days is not None and not self.days > 0):
            raise ValueError(f"a history is kept for {self.days} days and {self.rows} rows; expected more than none")


class _Row(NamedTuple):
    """Columns of a row but its id, in their order, and the event that it is made of."""

    columns: tuple[Any, ...]
    event: LoggedEvent


class _PointRow(NamedTuple):
    """What the database has of a point."""

    id: int
    cdc: str
    source: str
    description: str


class HistoryWriter:
    """Writes to one database, over one connection that is made when it is needed.

    Args:
        database: where.
        configs: of the points; one that is not among them is kept by what its value is.
        retention: how long.
    """

    def __init__(self, database: Database, configs: Iterable[PointConfig], retention: Retention) -> None:
        self.database = database
        self._configs: Mapping[str, PointConfig] = {each.name: each for each in configs}
        self._retention = retention
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._file: tuple[int, int] | None = None
        self._points: dict[str, _PointRow] = {}

    def open(self) -> None:
        """Connect, and make the tables where there are none.

        Raises:
            HistoryError: that fails.
        """
        try:
            with self.database.speaking():
                if self._connection is not None and self._file == self._file_now():
                    return
                self.close()
                self._engine = self._engine or self.database.engine()
                connection = self._connection = self._engine.connect()
                with connection.begin():
                    self.database.serialise(connection)
                    self.database.prepare(connection)
                    self._points = {
                        name: _PointRow(*more)
                        for name, *more in connection.execute(
                            select(points.c.name, points.c.id, points.c.cdc, points.c.source, points.c.description)
                        )
                    }
                self._file = self._file_now()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the connection; the next call makes a new one. What was known of the database is known no more."""
        connection, self._connection = self._connection, None
        self._points = {}
        if connection is not None:
            try:
                connection.close()
            except Exception as error:  # noqa: BLE001 - it is given up because it is broken
                _LOG.debug("%s: %s", self.database.name, error)

    def store(self, batch: Sequence[LoggedEvent]) -> None:
        """Have these events in the database, each once, whether or not some are there already.

        One that the database will never take goes to the table ``refused``, with the reason and as it was.

        Raises:
            HistoryError: none of them is known to be there; worth trying again.
        """
        self.open()
        connection = self._connection
        assert connection is not None
        never: list[tuple[LoggedEvent, str]] = []
        try:
            with self.database.speaking(), connection.begin():
                self.database.serialise(connection)
                known, names = self._known(connection, {each.key for each in batch} - {AUDIT_KEY})
                rows: dict[str, list[_Row]] = {events.name: [], measurements.name: [], control_steps.name: []}
                for each in batch:
                    if each.key == AUDIT_KEY:
                        try:
                            rows[control_steps.name].append(_Row(_step(each), each))
                        except AuditDecodeError as error:
                            never.append((each, str(error)))
                        continue
                    point = known.get(each.key)
                    if point is None:
                        never.append((each, names[each.key]))
                        continue
                    try:
                        table, columns = _columns(point, each)
                    except PointDecodeError as error:
                        never.append((each, str(error)))
                    else:
                        rows[table.name].append(_Row(columns, each))
                for table in (events, measurements, control_steps):
                    _add(connection, table, rows[table.name], lambda row, why: never.append((row.event, why)))
                if never:
                    connection.execute(
                        _once(connection, refused),
                        [
                            {
                                "name": ascii(each.key)[1:-1],
                                "payload": each.payload,
                                "reason": ascii(why)[1:-1],
                                "arrived_ns": each.t_ns % (1 << 63),
                                "sequence": each.sequence,
                            }
                            for each, why in never
                        ],
                    )
        except BaseException:
            self.close()
            raise
        self._points = known
        if never:
            event, why = never[0]
            _LOG.error(
                "%s: %d events can't be rows of the history and are in its table refused; event %d of %s: %s",
                self.database.name, len(never), event.sequence, ascii(event.key), why,
            )  # fmt: skip

    def tidy(self, now_ns: int) -> bool:
        """Delete some of the rows that are too old or too many.

        Args:
            now_ns: the clock, ns since 1970.

        Returns:
            Whether there are more of them.

        Raises:
            HistoryError: the database refuses.
        """
        self.open()
        connection = self._connection
        assert connection is not None
        more = False
        try:
            for table in (events, measurements, control_steps, refused):
                with self.database.speaking(), connection.begin():
                    more |= self._tidy_table(connection, table, now_ns)
        except BaseException:
            self.close()
            raise
        return more

    def _tidy_table(self, connection: Connection, table: Table, now_ns: int) -> bool:
        first, last = connection.execute(select(func.min(table.c.id), func.max(table.c.id))).one()
        if first is None:
            return False
        # Rows that were offered twice leave holes in PostgreSQL's numbers, so there may be fewer.
        end = first + min(max(0, last - first + 1 - self._retention.rows), _STEP_ROWS) - 1
        if self._retention.days is not None:
            before_ns = now_ns - int(self._retention.days * _DAY_NS)
            front = select(table.c.id, table.c.arrived_ns).order_by(table.c.id).limit(_STEP_ROWS).subquery()
            # What came before an old one is as old, whatever the gateway's clock was then.
            old = connection.execute(select(func.max(front.c.id)).where(front.c.arrived_ns < before_ns)).scalar()
            end = max(end, old or 0)
        if end < first:
            return False
        connection.execute(delete(table).where(table.c.id <= end))
        return bool(end - first + 1 >= _STEP_ROWS)

    def _file_now(self) -> tuple[int, int] | None:
        """Which file has the name: one that was removed takes rows for ever, and keeps none."""
        if self.database.file is None:
            return None
        try:
            found = os.stat(self.database.file)  # noqa: PTH116 - of each batch
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _known(self, connection: Connection, names: set[str]) -> tuple[dict[str, _PointRow], dict[str, str]]:
        """The points, with these among them, and why some of these cannot be."""
        known = self._points
        wanted = {
            name: (config.cdc, config.source, config.description) if config else ("", "", "")
            for name in names
            for config in [self._configs.get(name)]
            if name not in known or (config and known[name][1:] != (config.cdc, config.source, config.description))
        }
        if not wanted:
            return known, {}
        for name in wanted.keys() & known.keys():
            cdc, source, description = wanted[name]
            change = update(points).where(points.c.name == name)
            connection.execute(change.values(cdc=cdc, source=source, description=description))
        why: dict[str, str] = {}
        new = [
            {"name": name, "cdc": cdc, "source": source, "description": description}
            for name, (cdc, source, description) in sorted(wanted.items())
            if name not in known
        ]
        _divide(
            connection,
            new,
            lambda part: connection.execute(_once(connection, points), part),
            lambda one, reason: why.setdefault(one["name"], reason),
        )
        known = dict(known)
        chosen = select(points.c.name, points.c.id, points.c.cdc, points.c.source, points.c.description)
        known.update((name, _PointRow(*more)) for name, *more in connection.execute(chosen))
        return known, why


def _columns(point: _PointRow, logged: LoggedEvent) -> tuple[Table, tuple[Any, ...]]:
    said = decode_value(logged.payload)
    kind = KINDS.get(point.cdc)
    number = isinstance(said.value, float) if kind is None else kind in _NUMBERS
    value, text = _number(said.value) if number else _state(said.value)
    more = (said.quality, said.t_ns, said.time_quality, said.arrived_ns, logged.sequence)
    return measurements if number else events, (point.id, value, text, *more)


def _step(logged: LoggedEvent) -> tuple[Any, ...]:
    """Columns of a step of the audit trail."""
    step = decode_step(logged.payload)
    columns = [int(each) if isinstance(each, bool) else each for each in step]
    return (*columns, logged.t_ns, logged.sequence)


def _number(value: Value) -> tuple[float | None, str | None]:
    """Column and text of a measurement. NaN would spoil every average, and is null to SQLite anyway."""
    if isinstance(value, float):
        return (value, None) if math.isfinite(value) else (None, repr(value))
    if isinstance(value, int):
        return float(value), None if -_EXACT <= value <= _EXACT else str(value)
    return None, value if isinstance(value, str) else json.dumps(value)


def _state(value: Value) -> tuple[int | None, str | None]:
    """Column and text of an event: position or general of those that have parts, which are whole in the text."""
    if isinstance(value, int):
        return int(value), None
    if isinstance(value, tuple):
        return (value[0] if value else None), json.dumps(value)
    return None, value if isinstance(value, str) else repr(value)


def _once(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Insert, but for what is there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _add(connection: Connection, table: Table, rows: list[_Row], refuse: Callable[[_Row, str], object]) -> None:
    """Insert rows by the quickest way of the database: SQLAlchemy's own takes as long as the rest together."""
    columns = [each for each in table.c if each is not table.c.id]
    names = [each.name for each in columns]
    if connection.dialect.name == "postgresql":
        arrays = (bindparam(each.name, type_=postgresql.ARRAY(each.type)) for each in columns)
        select_all = select(*func.unnest(*arrays).table_valued(*names).render_derived().c)
        every = postgresql.insert(table).from_select(names, select_all).on_conflict_do_nothing()

        def insert(part: list[_Row]) -> None:
            transposed = zip(*(row.columns for row in part), strict=True)
            connection.execute(every, dict(zip(names, map(list, transposed), strict=True)))

    else:
        one = str(_once(connection, table).compile(dialect=connection.dialect, column_keys=names))

        def insert(part: list[_Row]) -> None:
            connection.exec_driver_sql(one, [row.columns for row in part])

    _divide(connection, rows, insert, refuse)


def _divide(
    connection: Connection, rows: list[Any], insert: Callable[[list[Any]], object], refuse: Callable[[Any, str], object]
) -> None:
    """Insert them all but those that the database will never take, which are found by halving."""
    if not rows:
        return
    try:
        with connection.begin_nested():
            insert(rows)
    except _NEVER as error:
        if len(rows) == 1:
            refuse(rows[0], " ".join(str(getattr(error, "orig", None) or error).split()))
            return
        half = len(rows) // 2
        _divide(connection, rows[:half], insert, refuse)
        _divide(connection, rows[half:], insert, refuse)
