"""The agents of this machine, and the MMS hosts that serve them, as processes of the gateway: started, watched, ended.

An agent outlives a gateway that dies: its protection goes on, and the next gateway takes it over. Who runs an agent is
whoever holds the lock of its state, so there is never a second one. A host ends with the gateway that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ied_agents.runtime.durable import holder

if TYPE_CHECKING:
    from gateway.site_agents import Embedded
    from ied_agents.mms.host_settings import HostSettings
    from ied_agents.runtime.settings import AgentProcessSettings

_LOG: Final = logging.getLogger(__name__)
FIRST_S: Final = 0.2
"""Before what has ended is started again; then twice as long, and so on."""
LONGEST_S: Final = 30.0
_LONG_S: Final = 60.0
"""What lived so long is started again as if it were the first time."""
_END_S: Final = 5.0
"""From SIGTERM to SIGKILL."""
WATCHED_S: Final = 2.0
"""An agent whose loop does not turn for so long is killed, as its systemd unit has it."""
_READY_S: Final = 30.0
"""From the start of an agent to its first word."""
_LOOK_S: Final = 0.5
_MOST_LOG: Final = 1 << 20
"""Octets of what a process has written on stderr before the file is begun anew."""
_LONGEST_ERROR: Final = 300
_MARK: Final = "FLISR_GATEWAY"
"""In the environment of an agent that a gateway has started: its settings."""
_AGENT: Final = ("-P", "-m", "ied_agents.runtime.agent_process")
_HOST: Final = ("-P", "-m", "ied_agents.mms.host")


class _Process:
    """A process that is watched: our own child, or one that a gateway before this one has started."""

    def __init__(self, pid: int, child: asyncio.subprocess.Process | None) -> None:
        self.pid = pid
        self.child = child
        self._fd = os.pidfd_open(pid)

    async def ended(self) -> str:
        """Wait for its end; how it was."""
        if self.child is not None:
            code = await self.child.wait()
            return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
        while not select.select([self._fd], [], [], 0)[0]:  # noqa: ASYNC110 - a descriptor of another's process
            await asyncio.sleep(FIRST_S / 4)
        return "it ended"

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)

    async def end(self) -> None:
        """In order if it does so in time."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(_END_S):
                await self.ended()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.ended()

    def close(self) -> None:
        os.close(self._fd)


class Program(ABC):
    """What is to run all the time: one process after the other.

    Args:
        kind: of it, for people.
        name: likewise.
        log: file of what it writes on stderr and stdout.

    Attributes:
        kind, name: as given.
        process: the one that runs now.
    """

    def __init__(self, kind: str, name: str, log: Path) -> None:
        self.kind = kind
        self.name = name
        self.process: _Process | None = None
        self._error = ""
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it, and watch it."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        pause_s = FIRST_S
        while True:
            began = time.monotonic()
            try:
                why = await self._live()
            except OSError as error:
                why = f"it cannot be started: {error}"
            except Exception as error:  # noqa: BLE001 - one's trouble is not to be another's, nor to end this one's
                _LOG.exception("%s %s: internal error", self.kind, self.name)
                why = f"internal error: {error!r}"
            self._forget()
            if why != self._error:
                self._error = why
                _LOG.error("%s %s: %s", self.kind, self.name, why)
            if time.monotonic() - began >= _LONG_S:
                pause_s = FIRST_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_S)

    @abstractmethod
    async def _live(self) -> str:
        """The life of one process; returns why it is over."""

    async def _spawn(self, words: tuple[str, ...], environment: dict[str, str]) -> None:
        # A file: a pipe would end with the gateway.
        big = self._log.exists() and self._log.stat().st_size > _MOST_LOG
        env = {name: value for name, value in os.environ.items() if name not in _MANAGER} | environment
        with self._log.open("wb" if big else "ab") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,  # an interrupt from the terminal is the gateway's
            )
        self._runs(_Process(child.pid, child), taken_over=False)

    def _runs(self, process: _Process, *, taken_over: bool) -> None:
        self.process = process
        how = "taken over from the gateway before" if taken_over else "started"
        _LOG.info("%s %s: %s, pid %d", self.kind, self.name, how, process.pid)

    def _forget(self) -> None:
        if self.process is not None:
            self.process.close()
            self.process = None

    def _why(self, how: str) -> str:
        """How a process ended, with what it wrote last where it ended by itself."""
        words = self._last_words() if how.startswith("it ended with") else ""
        return f"{how}{words and ': '}{words}"

    def _last_words(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - 4 * _LONGEST_ERROR))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        # A line of JSON is its word that it is ready.
        return next((line[:_LONGEST_ERROR] for line in reversed(lines) if line and not line.startswith("{")), "")

    async def close(self, *, leave: bool = False) -> None:
        """Watch it no longer.

        Args:
            leave: let it go on, without anybody who watches.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.process is not None and not leave:
            await self.process.end()
        self._forget()


_MANAGER: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", _MARK)
"""What a service manager has told the gateway is not for others."""


class AgentProgram(Program):
    """One agent.

    Args:
        settings: what it is told.
        folder: its own.
    """

    def __init__(self, settings: AgentProcessSettings, folder: Path) -> None:
        super().__init__("agent", settings.agent.ied, folder / "log")
        self._text = settings.to_json()
        self._state = Path(settings.state)
        self._folder = folder
        self._document = folder / "settings.json"
        self._notify: socket.socket | None = None
        self._alive = 0.0

    async def _live(self) -> str:
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._listen()
        pid = holder(self._state)
        if pid:
            why = await self._find(pid)
            if why:
                return why
        if self.process is None:
            await asyncio.to_thread(self._document.write_text, self._text, encoding="utf-8")
            patience_us = str(round(WATCHED_S * 1e6))
            watched = {"NOTIFY_SOCKET": str(self._folder / "notify"), "WATCHDOG_USEC": patience_us}
            self._alive = time.monotonic() + _READY_S - WATCHED_S
            await self._spawn((*_AGENT, str(self._document)), {**watched, _MARK: str(self._document)})
        return await self._watch()

    async def _find(self, pid: int) -> str:
        """Somebody runs it: take him over, or say why not; empty if it may be started."""
        if pid < 0:
            return f"somebody uses {self._state}, and does not say who: another is not started"
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()  # noqa: ASYNC240 - never waits
            process = _Process(pid, None)
        except PermissionError:
            environment, process = b"", None
        except (FileNotFoundError, ProcessLookupError):
            return ""  # gone meanwhile
        if f"{_MARK}={self._document}".encode() not in environment.split(b"\0"):
            if process is not None:
                process.close()
            return f"process {pid} runs it, which no gateway has started: it is left alone, and another is not started"
        if process is not None and self._document.read_text(encoding="utf-8") != self._text:
            _LOG.warning("agent %s: it runs with other settings than the site file's: started anew", self.name)
            await process.end()
            process.close()
        elif process is not None:
            self._alive = time.monotonic()
            self._runs(process, taken_over=True)
        return ""

    async def _watch(self) -> str:
        """Until it ends; one that hangs is killed."""
        process = self.process
        assert process is not None
        ending = asyncio.ensure_future(process.ended())
        hung = ""
        try:
            while not (await asyncio.wait([ending], timeout=_LOOK_S))[0]:
                self._hear()
                if time.monotonic() - self._alive > WATCHED_S and not hung:
                    hung = f"it hung for {WATCHED_S:g} s: killed"
                    process.send(signal.SIGKILL)
            return hung or self._why(ending.result())
        finally:
            ending.cancel()

    def _listen(self) -> None:
        """For the words that its loop turns."""
        if self._notify is None:
            path = self._folder / "notify"
            path.unlink(missing_ok=True)
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._notify.bind(str(path))
            path.chmod(0o600)

    def _hear(self) -> None:
        assert self._notify is not None
        with contextlib.suppress(BlockingIOError):
            while self._notify.recv(64):
                self._alive = max(self._alive, time.monotonic())

    async def close(self, *, leave: bool = False) -> None:
        """Watch it no longer, and hear it no longer."""
        await super().close(leave=leave)
        if self._notify is not None:
            self._notify.close()
            self._notify = None


class HostProgram(Program):
    """One MMS host process."""

    def __init__(self, number: int, settings: HostSettings, root: Path) -> None:
        super().__init__("MMS host", str(number), root / f"mms-{number}.log")
        self._settings = replace(settings, parent=os.getpid())
        self._document = root / f"mms-{number}.json"

    async def _live(self) -> str:
        self._document.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        await asyncio.to_thread(self._document.write_text, self._settings.to_json(), encoding="utf-8")
        await self._spawn((*_HOST, str(self._document)), {})
        assert self.process is not None
        return self._why(await self.process.ended())


class EmbeddedAgents:
    """All of a site."""

    def __init__(self, embedded: Embedded | None) -> None:
        self._outlive = embedded is not None and embedded.outlive
        self._agents: list[AgentProgram] = []
        self._hosts: list[HostProgram] = []
        if embedded is not None:
            self._agents = [AgentProgram(each, embedded.root / name) for name, each in embedded.agents.items()]
            self._hosts = [HostProgram(number, each, embedded.root) for number, each in enumerate(embedded.hosts, 1)]

    def start(self) -> None:
        """Start what does not run, and watch all."""
        for program in (*self._agents, *self._hosts):
            program.start()

    async def close(self) -> None:
        """End the hosts, then the agents, in order."""
        await asyncio.gather(*(host.close() for host in self._hosts))
        await asyncio.gather(*(agent.close(leave=self._outlive) for agent in self._agents))
