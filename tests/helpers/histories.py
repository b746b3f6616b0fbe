"""Databases of both kinds for the tests of the history, and a PostgreSQL server of their own."""

import contextlib

from gateway.points.event_log import LoggedEvent
from gateway.points.point import PointConfig, PointValue, encode_value
from tools.loss.postgresql import PostgreSQL, missing

T0 = 1_795_000_000_000_000_000
PATIENCE_S = 60
POINTS = (
    PointConfig(name="A/XCBR1.Pos", cdc="DPC", source="A", description="breaker"),
    PointConfig(name="A/MMXU1.TotW", cdc="MV", source="A"),
    PointConfig(name="A/MMTR1.TotWh", cdc="BCR", source="A"),
    PointConfig(name="A/ATCC1.TapChg", cdc="BSC", source="A"),
    PointConfig(name="A/LLN0.Loc", cdc="SPS", source="A"),
)
POSITION, POWER, ENERGY, TAP, LOCAL = (each.name for each in POINTS)


def logged(sequence, name, value, *, quality=0, time_quality=10, late_ns=1000):
    """An event as the log gives it."""
    t_ns = T0 + sequence
    point = PointValue(value, quality, t_ns, time_quality, t_ns + late_ns)
    return LoggedEvent(sequence, name, encode_value(point), point.arrived_ns)


@contextlib.contextmanager
def postgresql(require):
    why = missing()
    require(not why, why)
    with contextlib.closing(PostgreSQL(durable=False)) as server:
        server.start()
        yield server


def rows(url, statement):
    """What a database says, past our own reader."""
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url) as connection:
            return connection.execute(statement).fetchall()
    import sqlite3

    with (
        contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=PATIENCE_S)) as connection,
        connection,
    ):
        return connection.execute(statement).fetchall()


def execute(url, statement):
    """Change a database behind the historian's back."""
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)
        return
    import sqlite3

    with (
        contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=PATIENCE_S)) as connection,
        connection,
    ):
        connection.execute(statement)
