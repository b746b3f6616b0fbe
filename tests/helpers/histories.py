"""Databases of both kinds for the tests of the history, and a PostgreSQL server of their own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from gateway.points.event_log import LoggedEvent
from gateway.points.point import PointConfig, PointValue, encode_value

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


def postgresql_programs():
    """The folder of the newest server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


class PostgreSQL:
    """A server with a data folder of its own, on a loopback port; started and killed by its process."""

    def __init__(self, programs):
        self._programs = programs
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="flisr-pg-"))
        if self._user:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = self.folder / "data"
        words = [
            str(programs / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "flisr",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*self._user, *words, "--locale=C"], check=True, capture_output=True, cwd=self.folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = None
        self._databases = 0

    def start(self):
        words = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
        words += ["-k", str(self.folder), "-c", "max_connections=30", "-c", "fsync=off"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._user, *words], stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.run("SELECT 1")
            except Exception:  # noqa: BLE001
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def stop(self, how=signal.SIGINT):
        """SIGINT: a fast shutdown; SIGQUIT: as if it were killed, with its children."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def run(self, statement, database="postgres"):
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, database):
        return f"postgresql://flisr@127.0.0.1:{self.port}/{database}"

    def new(self):
        """The URL of a fresh database."""
        self._databases += 1
        name = f"history{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def end(self):
        self.stop()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def postgresql(require):
    programs = postgresql_programs()
    require(programs is not None, "no PostgreSQL server here; Debian has it in postgresql")
    require(
        os.geteuid() != 0 or subprocess.run(["id", "postgres"], check=False, capture_output=True).returncode == 0,
        "a PostgreSQL server does not run as root, and there is no user postgres",
    )
    server = PostgreSQL(programs)
    try:
        server.start()
        yield server
    finally:
        server.end()


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
