"""Processes of a measurement: children that are asked by lines of JSON, ports for them, what a process takes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_PATIENCE_S: Final = 60.0


class JsonChildError(Exception):
    """A child ended before it had answered; says which."""


class JsonChild:
    """One; its first line says that it is ready.

    Args:
        module: what it runs.
        words: its arguments.
        log: file of what it says on stderr; None for ours.
        first: what it is told before it is ready.

    Attributes:
        ready: its first line.
        pid: of its process.

    Raises:
        JsonChildError: it ended at once.
    """

    def __init__(self, module: str, *words: str, log: Path | None = None, first: dict[str, Any] | None = None) -> None:
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
        if first is not None:
            self.say(first)
        self.ready = self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it: nobody asks any more."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._log is not None:
            self._log.close()

    def stop(self) -> None:
        """Tell one to end that does not read what it is asked."""
        self._process.terminate()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say it, and hear the answer."""
        self.say(request)
        return self.hear()

    def say(self, request: dict[str, Any]) -> None:
        """Ask for something; :meth:`hear` has the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def hear(self) -> dict[str, Any]:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        found: dict[str, Any] = json.loads(line)
        return found

    def _ended(self) -> JsonChildError:
        return JsonChildError(f"{self._name}: ended with status {self._process.wait()}")


def answer(said: dict[str, Any]) -> None:
    """In the child: say this."""
    print(json.dumps(said), flush=True)


def requests() -> Iterator[dict[str, Any]]:
    """In the child: what is asked, until there is nobody who asks."""
    for line in sys.stdin:
        yield json.loads(line)


async def answer_requests(serve: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> None:
    """In a child with an event loop: answer what is asked, until there is nobody who asks."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer(await serve(json.loads(line)))


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback address, all of them different."""
    with ExitStack() as probes:  # all at once, so that none is had twice
        return [probes.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def used_s(*pids: int) -> float:
    """Processor time of processes so far, s."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
