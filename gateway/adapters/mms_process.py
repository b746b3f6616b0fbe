"""Workers of field devices that speak MMS: each device has one, a process that is watched and started again.

One per device: what foreign code does in one of them, crash or hang, concerns no other device, and costs grow with the
number of devices and no faster. This process loads nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

from gateway.adapters.mms_entries import read_entries, write_entries
from gateway.adapters.mms_field import MmsField
from gateway.status import IedStatus
from ied_agents.mms.worker_messages import (
    LENGTH,
    LONGEST,
    Lost,
    WorkerMessageError,
    frame,
    read_from_worker,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.adapters.iec104_outlet import Outlet, PointCommand
    from gateway.adapters.mms_field import MmsFieldConfig
    from gateway.iec104.station import ControlledStation, StationAsked

_LOG: Final = logging.getLogger(__name__)
_MOST_UNSTORED: Final = 2_000
"""Reports of a device that are not on disk yet, before the next is taken from its worker."""
_KEEP_S: Final = 0.1
"""What was stored meanwhile is kept together."""
_MOST_STARTING: Final = 4
"""Workers that start at a time: a hundred at once would keep each other from answering their devices."""
_LONG_S: Final = 60.0
"""A worker that lived so long is started again as if it were the first."""
_SOON_S: Final = 0.01
_CLOSE_S: Final = 5.0
_WORKER: Final = ("-P", "-m", "ied_agents.mms.worker")


class _Worker:
    """The worker of one device, whichever process it is just now.

    Attributes:
        pid: of the process; 0 while there is none.
        lives: how many processes there were.
    """

    def __init__(self, field: MmsField, file: Path, starting: asyncio.Semaphore) -> None:
        self.field = field
        self.pid = 0
        self.lives = 0
        self._file = file
        self._starting = starting
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._said: str | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """One process after the other."""
        config = self.field.config
        pause_s = config.first_s
        while True:
            began = time.monotonic()
            try:
                why = await self._live()
            except OSError as error:
                why = f"no worker can be started: {error}"
            except Exception as error:  # noqa: BLE001 - one device's trouble is not to be another's, nor to end this one's
                _LOG.exception("%s: internal error", config.name)
                why = f"internal error: {error!r}"
            self.field.lose(why, time.time_ns())
            if time.monotonic() - began >= _LONG_S:
                pause_s = config.first_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, config.longest_s)

    async def _live(self) -> str:
        """The life of one process; returns why it is over."""
        ours, its = socket.socketpair()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        process = None
        try:
            async with self._starting:
                with its:
                    words = [sys.executable, *_WORKER, str(its.fileno())]
                    process = await asyncio.create_subprocess_exec(
                        *words, stdin=asyncio.subprocess.DEVNULL, pass_fds=[its.fileno()]
                    )
                self.pid = process.pid
                self.lives += 1
                self._writer.write(frame(self.field.begin()))
                why = await self._take(reader)
            while not why:
                why = await self._take(reader)
            return why
        finally:
            its.close()
            self.pid = 0
            self._writer.close()
            self._writer = None
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _take(self, reader: asyncio.StreamReader) -> str:
        """Take the next message; if it is the last, or none comes, or none that may come, the reason why it is over."""
        field = self.field
        try:
            async with asyncio.timeout(field.config.hung_s):
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if length > LONGEST:
                    return f"its worker announced {length} octets, at most {LONGEST} may come: ended"
                message = read_from_worker(await reader.readexactly(length))
            if isinstance(message, Lost):
                return message.why
            field.take(message, time.time_ns())
        except TimeoutError:
            return f"its worker has said nothing for {field.config.hung_s:g} s: ended"
        except (asyncio.IncompleteReadError, ConnectionError):
            return "its worker has ended"
        except WorkerMessageError as error:
            return f"its worker said what it may not: {error}: ended"
        while field.unstored > _MOST_UNSTORED:  # noqa: ASYNC110 - it is rare, and storing has no event
            await asyncio.sleep(_SOON_S)
        return ""

    def flush(self) -> None:
        """Send what is to be sent."""
        while self.field.orders:
            order = self.field.orders.popleft()
            if self._writer is not None:
                self._writer.write(frame(order))

    async def keep(self) -> None:
        """Write down what is stored, if more is than before."""
        if not self.field.changed:
            return
        self.field.changed = False
        try:
            await asyncio.to_thread(write_entries, self._file, dict(self.field.entries))
        except OSError as error:
            self.field.changed = True
            if error.strerror != self._said:
                self._said = error.strerror
                _LOG.error("%s: %s; what follows may be told twice", self._file, error.strerror)

    async def close(self) -> None:
        """End the process; what it has told is stored, and that is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        until = time.monotonic() + _CLOSE_S
        while self.field.unstored and time.monotonic() < until:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(_SOON_S)
        await self.keep()


def _status(worker: _Worker) -> IedStatus:
    standing = worker.field.standing
    return IedStatus(
        name=worker.field.config.name,
        connected=standing.up,
        since_ns=standing.since_ns,
        why="" if standing.up else standing.why or "not connected yet",
        heard_ns=standing.heard_ns,
        pid=worker.pid,
        workers=worker.lives,
        overflows=worker.field.overflows,
    )


class MmsFields:
    """The field devices of a gateway that speak MMS: passes each command to where its point comes from.

    Args:
        configs: the devices.
        folder: where is kept what has been stored of each device's reports.

    Attributes:
        controls: names of the points that they operate.
    """

    def __init__(self, configs: Iterable[MmsFieldConfig], folder: Path) -> None:
        self._configs = tuple(configs)
        self._folder = folder
        self._workers: dict[str, _Worker] = {}
        self._by_control = {name: config.name for config in self._configs for name in config.controls}
        self.controls = frozenset(self._by_control)
        self._keeping: asyncio.Task[None] | None = None

    def start(self, outlet: Outlet) -> None:
        """Connect to the devices; what they tell goes to the outlet.

        Raises:
            EntriesError: a newer version of this program has kept what is stored.
            OSError: the folder cannot be used.
        """
        if self._configs:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._outlet = outlet
        starting = asyncio.Semaphore(_MOST_STARTING)
        for config in self._configs:
            file = self._folder / f"{config.name}.json"
            self._workers[config.name] = _Worker(MmsField(config, outlet, read_entries(file)), file, starting)
        for worker in self._workers.values():
            worker.start()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_S)
            for worker in self._workers.values():
                await worker.keep()

    @property
    def fields(self) -> dict[str, MmsField]:
        """The devices by name."""
        return {name: worker.field for name, worker in self._workers.items()}

    def status(self) -> tuple[IedStatus, ...]:
        """How they are."""
        return tuple(_status(worker) for worker in self._workers.values())

    @property
    def pids(self) -> dict[str, int]:
        """Process of each device's worker; 0 while there is none."""
        return {name: worker.pid for name, worker in self._workers.items()}

    async def close(self) -> None:
        """End the workers; before the outlet is closed, so that what has come is stored and kept as such."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    # -- called by the outlet -------------------------------------------------------------------------------------

    def operate(self, command: PointCommand) -> None:
        """Send a command to the device of its point."""
        device = self._by_control.get(command.name)
        if device is None:
            self._outlet.confirm(command.number, f"{command.name}: no device operates it")
            return
        worker = self._workers[device]
        worker.field.operate(command, time.monotonic())
        worker.flush()

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """No control centre sets clocks or parameters of field devices."""
        station.answer(asked.number, why=f"{asked.matter}: not passed on to field devices")
