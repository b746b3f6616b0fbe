"""The simulated plant in its own process: ``python -m ied_agents.process.plant_process SETTINGS.json``.

It sends each agent its switch's snapshots, and receives their commands, in UNIX datagrams, which pass between
network namespaces. An agent that is not there is no concern of the plant's.

Whoever starts it writes one JSON object a line to its standard input and reads one from its standard output::

    {"command": "inject_fault", "section": 3}       permanent; with "clears_after_dead_s", s, transient
    {"command": "clear_fault", "section": 3}
    {"command": "set_source", "section": 0, "live": false}
    {"command": "operate_by_hand", "switch": 2, "operation": "open"}
    {"command": "stop"}

All but the last are carried out at once, or with "at_ns", CLOCK_REALTIME, then. Answers are ``PlantReady`` at
the start, ``ControlAccepted`` or ``ControlRefused`` to each line, and ``PlantStopped`` in the end. The end of
standard input stops it as SIGTERM does: nobody is left who could.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import time
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from ied_agents.documents import JsonObject
from ied_agents.process.inputs import (
    MAX_DATAGRAM,
    ProcessMessageError,
    SwitchInputs,
    decode_command,
    encode_inputs,
)
from ied_agents.process.plant import Plant
from ied_agents.process.plant_events import event_record
from ied_agents.process.plant_settings import PlantProcessSettings, PlantSettingsError, read_plant_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ied_agents.process.inputs import Operation

# How long before a pickup is due it stops sleeping and spins: what a sleep is late by. Longer spinning keeps
# a processor from the agents: of two, 0.5 ms of it delayed some snapshots by 1 to 3 ms (measured).
_SPIN_S: Final = 0.00005
# A full queue of an agent is tried again after this.
_RETRY_S: Final = 0.002
_CLOCK_CHECK_S: Final = 1.0
_FIFO_PRIORITY: Final = 20
_CONTROL_LINE: Final = 4096
_COMMANDS_PER_TURN: Final = 64


class PlantProcess:
    """Drives one :class:`Plant` with the real clock and real sockets until it is stopped.

    Args:
        settings: what to simulate and where its agents are.

    Raises:
        OSError: the socket or the log could not be opened.
    """

    def __init__(self, settings: PlantProcessSettings) -> None:
        self._settings = settings
        self._plant = Plant(
            settings.network,
            settings.plant,
            random.Random(settings.seed),
            time.monotonic(),
            _clock_offset_ns(),
        )
        self._log = os.open(settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        Path(settings.socket).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(settings.socket)
        self._sections = {section.index: section for section in settings.network.sections}
        self._switches = {switch.number for switch in settings.network.switches}
        self._scheduled: list[tuple[int, Callable[[float], None]]] = []
        self._control = b""
        self._stopping = False
        self._unsent: dict[int, SwitchInputs] = {}
        self._undelivered = dict.fromkeys(settings.agents, 0)
        self._refused_commands = 0
        self._log_lines: list[dict[str, Any]] = []
        self._lost_log_lines = 0
        self._latest_pickup_s = 0.0

    def run(self) -> None:
        """Run until told to stop."""
        fifo = _try_fifo()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        gc.freeze()
        self._say({"kind": "PlantReady", "pid": os.getpid(), "sched_fifo": fifo is None, "sched_fifo_refused": fifo})
        waiting = [self._socket.fileno(), sys.stdin.fileno(), wake_read]
        check_clock = 0.0
        while not self._stopping:
            now = time.monotonic()
            if now >= check_clock:
                self._plant.clock_offset_ns = _clock_offset_ns()
                check_clock = now + _CLOCK_CHECK_S
            self._run_scheduled()
            self._deliver()
            if self._plant.next_pickup() is None:  # the disk must not hold up a pickup
                self._write_log()
            ready, _, _ = select.select(waiting, (), (), self._pause(check_clock))
            if self._socket.fileno() in ready:
                self._receive()
            if sys.stdin.fileno() in ready:
                self._read_control()
            if wake_read in ready:
                self._stopping = True
        self._write_log()
        self._say(
            {
                "kind": "PlantStopped",
                "undelivered": self._undelivered,
                "refused_commands": self._refused_commands,
                "lost_log_lines": self._lost_log_lines,
                "latest_pickup_us": round(self._latest_pickup_s * 1e6, 1),
            }
        )
        self._socket.close()
        os.close(self._log)
        Path(self._settings.socket).unlink(missing_ok=True)

    def _pause(self, check_clock: float) -> float:
        """How long nothing has to be done, s."""
        due = [check_clock]
        if (deadline := self._plant.next_deadline()) is not None:
            due.append(deadline)
        if (pickup := self._plant.next_pickup()) is not None:
            due.append(pickup - _SPIN_S)
        now = time.monotonic()
        if self._unsent:
            due.append(now + _RETRY_S)
        if self._scheduled:
            due.append(now + (self._scheduled[0][0] - time.time_ns()) / 1e9)
        return max(0.0, min(due) - now)

    def _deliver(self) -> None:
        """Send what has changed, and again what an agent had no room for."""
        now = time.monotonic()
        due = self._plant.next_pickup()
        for inputs in self._plant.handle_timer(now):
            self._send(inputs)
        if due is not None and due <= now:
            self._latest_pickup_s = max(self._latest_pickup_s, time.monotonic() - due)
        for inputs in list(self._unsent.values()):
            self._send(inputs)

    def _send(self, inputs: SwitchInputs) -> None:
        path = self._settings.agents.get(inputs.switch)
        if path is None:
            return
        self._unsent.pop(inputs.switch, None)
        try:
            self._socket.sendto(encode_inputs(inputs), path)
        except BlockingIOError:
            self._unsent[inputs.switch] = inputs
        except OSError as error:
            self._undelivered[inputs.switch] += 1
            if self._undelivered[inputs.switch] == 1:
                name = errno.errorcode.get(error.errno or 0, "")
                self._note("AgentUnreachable", switch=inputs.switch, error=name)

    def _receive(self) -> None:
        for _ in range(_COMMANDS_PER_TURN):
            try:
                datagram = self._socket.recv(MAX_DATAGRAM + 1)
            except OSError:
                return
            try:
                self._plant.command(decode_command(datagram), time.monotonic())
            except (ProcessMessageError, KeyError) as error:
                self._refused_commands += 1
                self._note("CommandRefused", error=str(error))

    def _read_control(self) -> None:
        octets = os.read(sys.stdin.fileno(), _CONTROL_LINE)
        if not octets:
            self._stopping = True
        self._control += octets
        *lines, self._control = self._control.split(b"\n")
        if len(self._control) > _CONTROL_LINE:
            self._control = b""
            self._say({"kind": "ControlRefused", "error": f"line longer than {_CONTROL_LINE} octets"})
        for line in lines:
            try:
                self._obey(json.loads(line))
            except (ValueError, RecursionError) as error:
                self._say({"kind": "ControlRefused", "error": str(error)})

    def _obey(self, line: Any) -> None:
        """Carry out one line from standard input.

        Raises:
            ValueError: it is not understood.
        """
        control = JsonObject(line, "", ValueError)
        command = control.string("command")
        if command == "stop":
            control.finish()
            self._stopping = True
        else:
            action = self._action(command, control)
            at_ns = control.integer("at_ns") if "at_ns" in control.names() else 0
            control.finish()
            self._scheduled.append((at_ns, action))
            self._scheduled.sort(key=itemgetter(0))
        self._say({"kind": "ControlAccepted", "command": command})

    def _action(self, command: str, control: JsonObject) -> Callable[[float], None]:
        """What a command asks the plant for, to be called with the time.

        Raises:
            ValueError: it is not understood.
        """
        plant = self._plant
        if command == "inject_fault":
            section = self._section(control)
            transient = "clears_after_dead_s" in control.names()
            dead_s = control.number("clears_after_dead_s") if transient else None
            return lambda now: plant.inject_fault(section, now, clears_after_dead_s=dead_s)
        if command == "clear_fault":
            section = self._section(control)
            return lambda now: plant.clear_fault(section, now)
        if command == "set_source":
            section = self._section(control)
            if not self._sections[section].is_source:
                control.refuse("section", "source section")
            live = control.boolean("live")
            return lambda now: plant.set_source(section, live, now)
        if command != "operate_by_hand":
            control.refuse("command", "inject_fault, clear_fault, set_source, operate_by_hand or stop")
        switch = control.integer("switch")
        if switch not in self._switches:
            control.refuse("switch", "number of a switch")
        operation = control.string("operation")
        if operation not in ("open", "close"):
            control.refuse("operation", "open or close")
        return lambda now: plant.operate_by_hand(switch, cast("Operation", operation), now)

    def _section(self, control: JsonObject) -> int:
        section = control.integer("section")
        if section not in self._sections:
            control.refuse("section", "index of a section")
        return section

    def _run_scheduled(self) -> None:
        while self._scheduled and self._scheduled[0][0] <= time.time_ns():
            _, action = self._scheduled.pop(0)
            action(time.monotonic())

    def _write_log(self) -> None:
        self._log_lines += map(event_record, self._plant.events())
        if not self._log_lines:
            return
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in self._log_lines)
        try:
            os.write(self._log, text.encode("ascii"))
        except OSError:
            self._lost_log_lines += len(self._log_lines)
        self._log_lines.clear()

    def _note(self, kind: str, **fields: Any) -> None:
        self._log_lines.append({"kind": kind, "stamp_ns": time.time_ns(), **fields})

    def _say(self, entry: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens any more
            os.write(sys.stdout.fileno(), (json.dumps(entry) + "\n").encode("ascii"))


def _clock_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, from the tightest of a few readings: one may be interrupted."""
    readings = []
    for _ in range(5):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        readings.append((after - before, real - (before + after) // 2))
    return min(readings)[1]


def _try_fifo() -> str | None:
    """Ask for real-time scheduling; the reason why not, if refused."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
    except OSError as error:
        return error.strerror or str(error)
    return None


def main(arguments: list[str]) -> int:
    """Run the plant of the settings file that is the one argument.

    Returns:
        Exit status: 0 stopped as told, 2 settings refused.
    """
    if len(arguments) != 1:
        print("usage: python -m ied_agents.process.plant_process SETTINGS.json", file=sys.stderr)  # noqa: T201
        return 2
    try:
        process = PlantProcess(read_plant_settings(Path(arguments[0]).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, PlantSettingsError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    process.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
