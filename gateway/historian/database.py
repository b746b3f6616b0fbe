"""Where the history is: an SQLite file or a PostgreSQL server, its schema, and what can be wrong with either."""

from __future__ import annotations

import contextlib
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import create_engine, event, func, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from gateway.historian.tables import METADATA, VERSION, control_steps, history_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

_BUSY_MS: Final = 2_000
"""How long another's lock on an SQLite file is waited for."""
_LOCK_MS: Final = 10_000
"""The same for tables of PostgreSQL."""
_WRITERS_LOCK: Final = 0x666C697372
_POSTGRESQL: Final = {
    "connect_timeout": "5",
    # A server that is gone without a word is missed after half a minute, not after hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "flisr history",
}


class HistoryError(Exception):
    """The history cannot be written or read, now; names the database and the cause."""


class HistoryUnusable(HistoryError):  # noqa: N818 - a kind of it, as StoreLocked is
    """The same, and waiting does not help: a wrong URL, a missing driver, a file or schema that is not ours."""


class Database:
    """A database by its URL.

    Args:
        where: ``postgresql://USER:PASSWORD@HOST:PORT/NAME``, ``sqlite:///FILE``, or just the path of an SQLite file.

    Attributes:
        name: the database as messages name it; without password.
        file: of SQLite; None for PostgreSQL.

    Raises:
        HistoryUnusable: no such URL, or the driver is not installed.
    """

    def __init__(self, where: str) -> None:
        self.file: Path | None = None
        if "://" not in where:
            if not where:
                raise HistoryUnusable("no history is named; expected a file, sqlite:///FILE or postgresql://HOST/NAME")
            self.name, self.file = where, Path(where)
            return
        try:
            url = make_url(where)
        except (ArgumentError, ValueError):
            # Not repeated: it may hold a password where nobody would look for one.
            raise HistoryUnusable("the URL of the history cannot be read; expected " + _EXPECTED) from None
        self.name = url.render_as_string(hide_password=True)
        if url.drivername == "sqlite":
            if not url.database or url.host or url.query or url.database == ":memory:":
                raise HistoryUnusable(f"{self.name} names no file; expected sqlite:///FILE")
            self.file = Path(url.database)
        elif url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
            if find_spec("psycopg") is None:
                raise HistoryUnusable(f"{self.name} needs a driver: pip install 'flisr[postgresql]'")
            self._url: URL = url.set(drivername="postgresql+psycopg")
        else:
            raise HistoryUnusable(f"{self.name}: {url.drivername} is no database for a history; expected {_EXPECTED}")

    def engine(self, *, read_only: bool = False) -> Engine:
        """What connects to it; each connection is its own, no pool.

        Raises:
            HistoryUnusable: the driver does not load.
        """
        if self.file is None:
            arguments: dict[str, Any] = {key: each for key, each in _POSTGRESQL.items() if key not in self._url.query}
            try:
                return create_engine(self._url, poolclass=NullPool, connect_args=arguments)
            except ImportError as error:
                raise HistoryUnusable(f"{self.name}: the driver psycopg does not load: {error}") from None
        mode = "ro" if read_only else "rwc"
        place = f"file:{quote(str(self.file.absolute()))}?mode={mode}"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(place, uri=True, isolation_level=None, timeout=_BUSY_MS / 1000)
            try:
                if not read_only:
                    connection.execute("PRAGMA journal_mode = WAL")  # who reads does not hold up who writes
                    connection.execute("PRAGMA synchronous = FULL")  # what is acknowledged survives a power cut
            except BaseException:
                connection.close()
                raise
            return connection

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        # The driver's own BEGIN comes late and takes the lock for writing later still: two writers could then fail.
        begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Whatever goes wrong inside is a :class:`HistoryError` that names this database."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            said = " ".join(str(cause).split()) or type(cause).__name__
            # SQLite's words for what opening it again cannot mend.
            kind = HistoryUnusable if "file is not a database" in said else HistoryError
            raise kind(f"{self.name}: {said}") from error

    def prepare(self, connection: Connection) -> None:
        """Make the tables where there are none, or see that they are ours, and of this version. In a transaction.

        Raises:
            HistoryUnusable: a newer version made them, or somebody else.
        """
        version = self.check(connection, empty_is_fine=True)
        if version == VERSION:
            return
        if not version:
            METADATA.create_all(connection, checkfirst=False)
        elif control_steps.name in inspect(connection).get_table_names():
            raise HistoryUnusable(
                f"{self.name}: table {control_steps.name} is there and is no history of flisr: use another database"
            )
        else:
            control_steps.create(connection, checkfirst=False)
        connection.execute(insert(history_version).values(version=VERSION))

    def check(self, connection: Connection, *, empty_is_fine: bool = False) -> int:
        """The format of the history that is there; 0 if there is none.

        Args:
            connection: to the database.
            empty_is_fine: nothing there yet is no error.

        Raises:
            HistoryUnusable: a newer version made it, or there is something else in its place.
        """
        there = set(inspect(connection).get_table_names())
        if history_version.name in there:
            version = connection.execute(select(func.max(history_version.c.version))).scalar()
            if version is None or version > VERSION:
                raise HistoryUnusable(
                    f"{self.name}: a history of format {version}; this program reads format {VERSION}: "
                    "use a newer flisr"
                )
            return int(version)
        taken = sorted(there & set(METADATA.tables))
        if taken:
            raise HistoryUnusable(
                f"{self.name}: table {taken[0]} is there and is no history of flisr: use another database"
            )
        if not empty_is_fine:
            raise HistoryUnusable(f"{self.name}: there is no history of flisr in it")
        return 0

    def serialise(self, connection: Connection) -> None:
        """The first words of a transaction that adds rows: one at a time, and durable when it is committed.

        So the ``id`` of rows is their order of commit, and who follows them misses none.
        """
        if self.file is None:
            connection.execute(
                text("SELECT set_config('lock_timeout', :ms, true), set_config('synchronous_commit', 'on', true)"),
                {"ms": str(_LOCK_MS)},
            )
            connection.execute(select(func.pg_advisory_xact_lock(_WRITERS_LOCK)))


_EXPECTED: Final = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
