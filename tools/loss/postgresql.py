"""A PostgreSQL server of its own, from Debian's programs, on a loopback port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

_PATIENCE_S: Final = 60.0


def _programs() -> Path | None:
    """The folder of the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda each: int(each.parts[-3]))
    return found[-1].parent if found else None


def missing() -> str:
    """Why there can be none here; empty if there can."""
    if _programs() is None:
        return "no PostgreSQL server here; Debian has it in postgresql"
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'flisr[postgresql]'"
    if os.geteuid() == 0 and not any(each.pw_name == "postgres" for each in pwd.getpwall()):
        return "a PostgreSQL server does not run as root, and there is no user postgres"
    return ""


class PostgreSQL:
    """A server with a data folder of its own; started, stopped and killed by its process.

    Args:
        durable: it syncs, as in production.
    """

    def __init__(self, *, durable: bool = True) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._durable = durable
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="flisr-pg-"))
        if self._user:
            shutil.chown(self.folder, "postgres", "postgres")
        self._data = self.folder / "data"
        words = [str(programs / "initdb"), "-D", str(self._data), "-U", "flisr", "-A", "trust", "-E", "UTF8"]
        subprocess.run(  # noqa: S603 - our own words
            [*self._user, *words, "--no-sync", "--locale=C"], check=True, capture_output=True, cwd=self.folder
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
        words += ["-k", str(self.folder), "-c", "max_connections=30", "-c", f"fsync={'on' if self._durable else 'off'}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._user, *words], stdout=log, stderr=log, cwd=self.folder)  # noqa: S603
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg  # noqa: PLC0415 - LGPL-3.0, of an extra

        with contextlib.suppress(psycopg.Error):
            self.run("SELECT 1")
            return True
        return False

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: a fast shutdown; SIGQUIT: as if it were killed, with its children."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Execute a statement, and give its rows."""
        import psycopg  # noqa: PLC0415 - as above

        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """Of one of its databases."""
        return f"postgresql://flisr@127.0.0.1:{self.port}/{database}"

    def new(self) -> str:
        """The URL of a fresh database."""
        self._databases += 1
        name = f"history{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def close(self) -> None:
        """Stop it, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder)
