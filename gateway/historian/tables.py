"""The tables of the history, the same in SQLite and PostgreSQL.

``docs/history.md`` describes them for who queries them: a changed table needs a new :data:`VERSION` and a migration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

if TYPE_CHECKING:
    from sqlalchemy.types import TypeEngine

VERSION: Final = 2
"""1: without ``control_steps``."""

METADATA: Final = MetaData()

# SQLite counts rows by itself in an INTEGER PRIMARY KEY only; AUTOINCREMENT, so that no number comes a second time.
_ID: Final = BigInteger().with_variant(Integer(), "sqlite")

history_version: Final = Table("history_version", METADATA, Column("version", Integer, nullable=False))

points: Final = Table(
    "points",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("cdc", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("description", Text, nullable=False),
)


def _history(name: str, value: TypeEngine[int] | TypeEngine[float]) -> Table:
    """A table of what points said.

    ``id`` is the order in which rows were committed. ``(sequence, arrived_ns)`` is the event's identity in the event
    log: the log gives an event at least once, the table has it once. Two gateways may share a database; that both
    give the same number to events of the same nanosecond is out of the question.
    """
    return Table(
        name,
        METADATA,
        Column("id", _ID, primary_key=True, autoincrement=True),
        Column("point_id", Integer, ForeignKey("points.id"), nullable=False),
        Column("value", value),  # null where it is no number that this column can hold
        Column("text", Text),  # the value, where "value" does not say it whole
        Column("quality", SmallInteger, nullable=False),
        Column("t_ns", BigInteger, nullable=False),
        Column("time_quality", SmallInteger, nullable=False),
        Column("arrived_ns", BigInteger, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Index(f"{name}_once", "sequence", "arrived_ns", unique=True),
        Index(f"{name}_by_time", "t_ns"),
        Index(f"{name}_by_point", "point_id", "t_ns"),
        sqlite_autoincrement=True,
    )


events: Final = _history("events", BigInteger())
measurements: Final = _history("measurements", Double())

refused: Final = Table(
    "refused",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),  # of the point, in ASCII
    Column("payload", LargeBinary, nullable=False),  # as the event log had it
    Column("reason", Text, nullable=False),
    Column("arrived_ns", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Index("refused_once", "sequence", "arrived_ns", unique=True),
    sqlite_autoincrement=True,
)
"""Events that cannot be rows of the other tables, so that they hold up nobody and are not lost."""

control_steps: Final = Table(
    "control_steps",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("t_ns", BigInteger, nullable=False),
    Column("via", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("originator", Integer, nullable=False),
    Column("target", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("test", SmallInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request", BigInteger, nullable=False),
    Column("arrived_ns", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # What an agent's journal tells may be read twice, and have another number then.
    Index("control_steps_once", "t_ns", "via", "target", "step", "outcome", "request", unique=True),
    sqlite_autoincrement=True,
)
"""The audit trail: one row for what was asked, one for what became of it."""
