"""The chain: counting device, ``flisr run``, a control centre of ours and one of c104, a history.

Between device and gateway, and between gateway and our centre, lies a line that can be cut. The device is never
killed; what it had on its disk must arrive everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from gateway.iec104.asdu import Cause
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import ControllingStation, MasterSettings, ObjectsReceived
from tools.loss.counting_rtu import CA, NAMES, POINTS
from tools.loss.judge import Count, Heard, judge
from tools.loss.line import Line

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S: Final = 120.0
_LAST_LINES: Final = 20
RATE: Final = 500
"""Events per second. What c104's client can take in, and the disk of a busy machine."""
CENTRE_CA: Final = 2
IOAS: Final = range(101, 101 + POINTS)
_SITE: Final = """
[site]
name = "loss"

[history]
where = "{history}"

[[centre]]
name = "ours"
listen = "127.0.0.1"
port = {ours}
most_events = 1_000_000

[[centre]]
name = "c104"
listen = "127.0.0.1"
port = {c104}
most_events = 1_000_000

[[rtu]]
name = "RTU"
hosts = ["127.0.0.1:{rtu}"]
CAs = [{CA}]
interrogate = false
"""
"""Not interrogated: c104 does not tell an answer, which may overtake events, from an event."""
_POINT: Final = """
[[rtu.point]]
name = "{name}"
cdc = "MV"
typeID = "M_ME_TF_1"
IOA = {at}

[point."{name}"]
typeID = "M_ME_TF_1"
CA = {centre}
IOA = {ioa}
"""


class LossError(Exception):
    """A trial could not be played; says why."""


class Chain:
    """All of it; an asynchronous context.

    Args:
        folder: an empty one.
        history: URL of a database; empty for a file beside the rest.
        wrap: what the gateway is started by.

    Attributes:
        program: what runs as ``flisr``.
        notes: what is to be known of how it went.
    """

    program: tuple[str, ...] = ("-m", "tools.cli")

    def __init__(self, folder: Path, history: str = "", wrap: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._history = history or "history.db"
        self._wrap = wrap
        self._made = 0
        self._no_more = asyncio.Event()
        self._ours: list[Heard] = []
        self._c104: list[Heard] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False

    async def __aenter__(self) -> Self:
        self._site = self.folder / "loss.toml"
        words = ("tools.loss.counting_rtu", self.folder / "rtu", 0, 0, RATE)
        self._rtu = await start_process(sys.executable, "-P", "-m", *words)
        rtu_port = int(await read_line(self._rtu))
        self._tasks.append(asyncio.create_task(self._follow_rtu()))
        self.field = await Line.between(rtu_port)
        ours, c104 = free_port(), free_port()
        self.centre = await Line.between(ours)
        points = [
            _POINT.format(name=name, at=1 + n, centre=CENTRE_CA, ioa=ioa)
            for n, (name, ioa) in enumerate(zip(NAMES, IOAS, strict=True))
        ]
        values = {"history": self._history, "ours": ours, "c104": c104, "rtu": self.field.port, "CA": CA}
        self._site.write_text(_SITE.format(**values) + "".join(points), encoding="utf-8")
        await self.start()
        self._station = ControllingStation(MasterSettings((CENTRE_CA,), interrogate=False))
        reach = Reach("gateway", (("127.0.0.1", self.centre.port),), first_s=0.05, longest_s=0.1)
        self._client = Iec104Client(reach, self._station, self._hear)
        self._client.start()
        if find_spec("c104") is None:
            self.notes.append("no centre of c104: the package is not installed (extra 'demo')")
        else:
            self._tasks.append(asyncio.create_task(self._keep_c104(c104)))
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()
        for line in (self.field, self.centre):
            await line.close()
        for process in (self._rtu, self.gateway):
            if process.returncode is None:
                process.kill()
            await process.wait()

    # -- what is done to it ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the gateway, and wait until it serves."""
        words = [*self._wrap, sys.executable, "-P", *self.program, "run", self._site, "--json"]
        self.gateway = await start_process(*words, log=self.folder / "gateway.log")
        ready = json.loads(await read_line(self.gateway))
        if len(ready["served"]) != 2:
            raise LossError(f"the gateway serves {ready['served']}")

    async def kill(self) -> None:
        """SIGKILL to the gateway."""
        self.gateway.kill()
        await self.gateway.wait()

    async def told_more(self) -> None:
        """Wait until our centre is told something more."""
        before = len(self._ours)
        try:
            await until(lambda: len(self._ours) > before)
        except TimeoutError:
            ended = "runs" if self._rtu.returncode is None else f"ended with status {self._rtu.returncode}"
            why = f"our centre has been told nothing for {PATIENCE_S:g} s; made: {self._made}; the device {ended}"
            for log in (self.folder / "gateway.log", self.folder / "rtu" / "rtu.log"):
                why += "\n  ".join(
                    (f"; end of {log.name}:", *log.read_text(encoding="utf-8").splitlines()[-_LAST_LINES:])
                )
            raise LossError(why) from None

    @property
    def made(self) -> int:
        """Events that the device has on its disk so far."""
        return self._made

    async def finish(self) -> dict[str, Count]:
        """Make no more events, and see what has become of them all.

        Returns:
            By consumer; the counts of who lacks something after a long wait.
        """
        self._rtu.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(self._no_more.wait(), PATIENCE_S)
        consumers = {"ours": self._ours} | ({"c104": self._c104} if find_spec("c104") else {})
        counts: dict[str, Count] = {}
        for name, heard in consumers.items():
            counts[name] = await complete(heard, self._made)
        self.gateway.terminate()  # in order: the history is written to its end
        await asyncio.wait_for(self.gateway.wait(), PATIENCE_S)
        counts["history"] = judge(await self._kept(), self._made)
        return counts

    # -- who hears ------------------------------------------------------------------------------------------------

    def _hear(self, event: object) -> None:
        if isinstance(event, ObjectsReceived) and event.asdu.cause == Cause.SPONTANEOUS:
            for one in event.asdu.objects:
                assert isinstance(one.value, float)
                clear = one.time is not None and not one.time.invalid and not one.qualifier
                self._ours.append(Heard(one.IOA - IOAS[0], round(one.value), clear))

    async def _follow_rtu(self) -> None:
        assert self._rtu.stdout is not None
        while line := await self._rtu.stdout.readline():
            if line.strip():
                self._made = int(line)
            else:
                self._no_more.set()

    async def _keep_c104(self, port: int) -> None:
        """c104's client may end its process, and is started again."""
        ends = 0
        try:
            while not self._ending:
                process = await start_process(sys.executable, "-P", "-m", "tools.loss.c104_centre", port, feeds=True)
                try:
                    assert process.stdout is not None
                    while line := await process.stdout.readline():
                        self._take_c104(line)
                    ends += 1
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        finally:
            if ends:
                self.notes.append(f"c104's client ended its process {ends} times, and was started again")

    def _take_c104(self, line: bytes) -> None:
        words = line.split()
        if len(words) == 3:
            self._c104.append(Heard(int(words[0]) - IOAS[0], int(words[1]), words[2] == b"1"))

    async def _kept(self) -> list[Heard]:
        """What the history has, read by ``flisr events``."""
        where = self._history if "://" in self._history else self.folder / self._history
        words = (sys.executable, "-P", "-m", "tools.cli", "events", where, "--newest", "0", "--json")
        reader = await asyncio.create_subprocess_exec(
            *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(reader.communicate(), PATIENCE_S)
        if reader.returncode:
            raise LossError(f"the history cannot be read: {err.decode().strip()}")
        rows = sorted((json.loads(line) for line in out.splitlines()), key=lambda row: row["sequence"])
        return [
            Heard(NAMES.index(row["point"]), round(row["value"]), row["quality"] == "good" and not row["clock"])
            for row in rows
        ]


async def complete(heard: list[Heard], made: int) -> Count:
    """The count once all is there, or nothing has come for long."""
    quiet_since, before = time.monotonic(), -1
    while True:
        if len(heard) != before:
            before, quiet_since = len(heard), time.monotonic()
            count = judge(heard, made)
            if not count.lost:
                return count
        elif time.monotonic() > quiet_since + PATIENCE_S / 4:
            return count
        await asyncio.sleep(0.2)


async def start_process(*words: object, feeds: bool = False, log: Path | None = None) -> Process:
    """Start a program; its messages go to the log, if there is one."""
    stderr = None if log is None else log.open("ab")
    try:
        return await asyncio.create_subprocess_exec(
            *map(str, words),
            stdin=asyncio.subprocess.PIPE if feeds else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    finally:
        if stderr is not None:
            stderr.close()


async def read_line(process: Process) -> bytes:
    """The next line that a process says.

    Raises:
        LossError: it has ended.
    """
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    if not line:
        raise LossError("a process of the trial ended before it was ready; its messages are above or in gateway.log")
    return line


async def until(found: Callable[[], bool]) -> None:
    """Wait until it is so; a TimeoutError says that it does not come."""
    async with asyncio.timeout(PATIENCE_S):
        while not found():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)


def free_port() -> int:
    """A TCP port that nobody has just now."""
    import socket  # noqa: PLC0415 - one that stays the same over restarts of the gateway

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
