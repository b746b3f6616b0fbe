"""A child process of a measurement that is asked by lines of JSON and answers each with one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE_S: Final = 60.0


class JsonChildError(Exception):
    """A child ended before it had answered; says which."""


class JsonChild:
    """One; its first line says that it is ready.

    Args:
        module: what it runs.
        words: its arguments.
        log: file of what it says on stderr; None for ours.

    Attributes:
        ready: its first line.
        pid: of its process.

    Raises:
        JsonChildError: it ended at once.
    """

    def __init__(self, module: str, *words: str, log: Path | None = None) -> None:
        self._name = " ".join((module, *words[:1]))
        self._log: IO[bytes] | None = None if log is None else log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.pid = self._process.pid
        self.ready = self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._log is not None:
            self._log.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say it, and hear the answer."""
        self.say(request)
        return self.hear()

    def say(self, request: dict[str, Any]) -> None:
        """Ask for something; :meth:`hear` has the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise JsonChildError(f"{self._name}: ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


def answer(said: dict[str, Any]) -> None:
    """In the child: say this."""
    print(json.dumps(said), flush=True)


def requests() -> Iterator[dict[str, Any]]:
    """In the child: what is asked, until there is nobody who asks."""
    for line in sys.stdin:
        yield json.loads(line)
