"""One agent in its own process: ``python -m ied_agents.runtime.agent_process SETTINGS.json``.

A thin driver: whatever has arrived is fetched, the station decides once, and what it decided is sent; then one timer
is armed. Beside the loop there is one thread, which makes state durable and writes the journal.

An operator's requests are JSON datagrams, each answered to its sender once its effect is on disk::

    {"request": "status"}     {"request": "confirm"}      {"request": "unlock", "event": [1, 5]}
    {"request": "close"}      {"request": "open"}         {"request": "return", "event": [1, 5]}
    {"request": "tag", "owner": "crew 7", "tags": 1}      {"request": "mode", "mode": "blocked"}
    {"request": "authority", "authority": "local"}        {"request": "restore", "side": "A", "epoch": 1}
    {"request": "sim", "sim": true}

``check`` says whether an ``operation``, open, close, mode or sim, would be permitted now, ``values`` all that the agent
publishes, by reference, and ``counters`` what the process has done since its start; ``status`` with ``"streams": true``
says too how each stream stands that it hears (:meth:`Station.supervision`). ``close``, ``open``, ``check``, ``mode``,
``sim`` and ``return`` may name their ``origin``: bay, station (if not given, but for ``mode`` and ``sim``) or remote.
Who may ask for what is :mod:`ied_agents.runtime.access`'s business; who did, and what became of it, is in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import Authority, Behaviour, Origin, Reason, refuse_origin
from ied_agents.dflisr import wire
from ied_agents.dflisr.records import EventId
from ied_agents.dflisr.stored import Record, StoredRecordError, from_json, to_json
from ied_agents.process.inputs import MAX_DATAGRAM, ProcessMessageError, decode_inputs, encode_command
from ied_agents.runtime import realtime
from ied_agents.runtime.access import CREDENTIALS_SPACE, Gatekeeper, attend, writer_of
from ied_agents.runtime.clock import time_quality
from ied_agents.runtime.durable import DurableFile, DurableFileError, DurableWriter, StateMissing
from ied_agents.runtime.journal import Journal
from ied_agents.runtime.lans import Lans
from ied_agents.runtime.local_sockets import datagram_socket, operator_socket
from ied_agents.runtime.service_manager import ServiceManager
from ied_agents.runtime.settings import AgentProcessSettings, AgentSettingsError
from ied_agents.runtime.station import Station
from scl.agent_model import BEHAVIOUR

if TYPE_CHECKING:
    import socket

    from ied_agents.dflisr.records import AgentState, LoadState
    from ied_agents.process.inputs import SwitchCommand
    from ied_agents.runtime.station import Output

LOOK_QUIET_S: Final = 0.05
LOOK_ALERT_S: Final = 0.005
"""How often the frames are read for which the process is not woken."""
_DATAGRAMS_AT_ONCE: Final = 32
_RETRY_WRITE_S: Final = 0.2
_CLOCK_CHECK_S: Final = 10.0
_ORDER_RETRY_S: Final = 0.002
_ORDER_TRIES: Final = 10
_MOST_UNANSWERED: Final = 64
_LONGEST_WHY: Final = 500
_LOOKING: Final = ("status", "values", "counters", "check")
"""Requests that leave no trace, unless they were refused."""
_KEPT_BY_A_NEW_START: Final = (*_LOOKING, "tag", "mode", "authority")
"""Requests that may come while the agent starts anew after a simulation: what they change is carried over."""


@dataclass(slots=True)
class _Counters:
    """What a process has done since its start; the two times are the longest since they were asked for last, s."""

    turns: int = 0
    frames_sent: int = 0
    timer_late_s: float = 0.0
    records_written: int = 0
    records_failed: int = 0
    record_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request: the socket that waits for the answer, and for the journal who asks for what."""

    sender: str | None
    user: str
    uid: int | None
    pid: int
    request: str


class AgentProcess:
    """Drives one station with the real clock, link, disk and process.

    Args:
        settings: of this process.
        lans: already open.
        endpoints: the sockets for the process's snapshots (None where that is a relay) and for an operator, open.
        gatekeeper: knows who may ask for what.
        file: durable state; the record of this process is already in it.
        record: that record.
        unclean: the process before this one did not stop in order.
        loop: to run on.
    """

    def __init__(
        self,
        settings: AgentProcessSettings,
        lans: Lans,
        endpoints: tuple[socket.socket | None, socket.socket],
        gatekeeper: Gatekeeper,
        file: DurableFile,
        record: Record,
        *,
        unclean: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._settings = settings
        self._lans = lans
        self._loop = loop
        self._inputs, self._operator = endpoints
        self._gatekeeper = gatekeeper
        attend(self._operator)
        self._journal = Journal(Path(settings.journal))
        self._writer = DurableWriter(file, loop, self._on_durable, self._on_failed, background=self._journal.write_some)
        self._pending: dict[int, tuple[int, Record]] = {}
        self._sequence = 0
        self._unanswered: deque[tuple[int, dict[str, Any], _Asked]] = deque(maxlen=_MOST_UNANSWERED)
        self._timer: asyncio.TimerHandle | None = None
        self._unsaved = False
        self._stopped = False
        self._counters = _Counters()
        self._submitted: dict[int, float] = {}
        self._published: tuple[AgentState | None, LoadState | None] = (None, None)
        self._station = Station(settings.agent, record, unclean=unclean, mac=lans.mac, now=loop.time())
        self._check_clock()

    def start(self, refused: list[str]) -> None:
        """Begin to listen and to speak.

        Args:
            refused: real-time help that the system did not give, for the journal.
        """
        self._journal.record("started", self._loop.time(), ied=self._settings.agent.ied, refused=refused)
        if self._inputs is not None:
            self._loop.add_reader(self._inputs, self._pump)
        self._loop.add_reader(self._operator, self._serve_operator)
        self._lans.wake(lambda fd: self._loop.add_reader(fd, self._pump), self._loop.remove_reader)
        self._pump()

    def stop(self) -> None:
        """Stop in order: mark the state as clean, write everything, close everything."""
        self._station.agent.stop()
        self._station.touch()
        self._pump()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._journal.record("stopped", self._loop.time(), ied=self._settings.agent.ied)
        if self._writer.close():  # else its thread still has the journal
            self._journal.close()
        self._lans.close()
        for endpoint, path in (
            (self._inputs, self._settings.inputs),
            (self._operator, self._settings.operator),
        ):
            if endpoint is not None:
                endpoint.close()
                Path(path).unlink(missing_ok=True)

    def abandon(self) -> None:
        """End after a defect: write what was handed in, and leave no clean mark."""
        self._stopped = True
        if self._writer.close():
            self._journal.close()

    def _pump(self) -> None:
        """Fetch all that is there, decide once, send. Also the timer's work: what has arrived goes first."""
        now = self._loop.time()
        self._counters.turns += 1
        self._fetch(now)
        output = self._station.turn(now, time.time_ns())
        self._carry_out(output, now)
        self._arm()
        self._station.prepare()
        self._note_published(now)
        for note in self._lans.look(now):
            self._journal.record(note.kind, now, **note.detail)

    def _fetch(self, now: float) -> None:
        # One by one: the first may ask for something at once.
        for frame in self._lans.prompt(now):
            self._station.receive_frame(frame, now)
            utc_ns = time.time_ns()
            tripping = self._station.react(now, utc_ns)
            if tripping is not None:
                # Others wait for the word, the switch takes its time: the order follows.
                self._send(tripping, now)
                self._carry_out(self._station.trip(now, utc_ns), now)
        # These have waited already; the order within a stream is its numbers' business.
        for frame in self._lans.others(now):
            self._station.receive_frame(frame, now)
        if self._inputs is None:
            return
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                message = self._inputs.recv(MAX_DATAGRAM + 1)
            except BlockingIOError:
                return
            try:
                self._station.receive_inputs(decode_inputs(message), now)
            except ProcessMessageError as error:
                self._journal.record("inputs refused", now, why=str(error))

    def _carry_out(self, output: Output, now: float) -> None:
        for frame in output.frames:
            self._send(frame, now)
        for command in output.commands:
            self._order(command)
        if output.record is not None:
            self._write(*output.record)
        for note in output.notes:
            self._journal.record(note.kind, now, **note.detail)

    def _send(self, frame: bytes, now: float) -> None:
        self._counters.frames_sent += 1
        self._lans.send(frame, now)

    def _note_published(self, now: float) -> None:
        """For whoever shows what this agent says to others: every state, with its time, in order."""
        fast, slow = self._station.published
        was_fast, was_slow = self._published
        if fast is not None and fast is not was_fast and fast != was_fast:
            self._journal.record("published", now, values=wire.changed(was_fast, fast))
        if slow is not None and slow is not was_slow and slow != was_slow:
            self._journal.record("published", now, values=wire.changed_load(was_slow, slow))
        self._published = fast, slow

    def _order(self, command: SwitchCommand, tries: int = _ORDER_TRIES) -> None:
        assert self._inputs is not None  # a relay gets frames
        try:
            self._inputs.sendto(encode_command(command), self._settings.process)
        except BlockingIOError:
            # The process has no room just now. Opening is tried again; a close never, for what permitted it may have
            # gone by then. An order that stays undelivered is seen by its missing effect.
            if tries and command.operation == "open":
                self._loop.call_later(_ORDER_RETRY_S, self._order, command, tries - 1)
                return
            self._journal.record("order not delivered", self._loop.time(), order=command.operation, why="queue full")
        except OSError as error:
            self._journal.record("order not delivered", self._loop.time(), order=command.operation, why=str(error))

    def _arm(self) -> None:
        now = self._loop.time()
        look = LOOK_ALERT_S if self._station.agent.alert(now) else LOOK_QUIET_S
        due = min(self._station.next_deadline, now + (0.0 if self._lans.backlog else look))
        if self._timer is not None:
            if now < self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        if self._timer is not None:
            self._counters.timer_late_s = max(self._counters.timer_late_s, self._loop.time() - self._timer.when())
        self._timer = None
        self._pump()

    # -- durable state --------------------------------------------------------------------------------------------

    def _write(self, version: int, record: Record) -> None:
        self._sequence += 1
        self._pending[self._sequence] = (version, record)
        self._submitted[self._sequence] = self._loop.time()
        self._writer.submit(self._sequence, to_json(record))

    def _on_durable(self, sequence: int) -> None:
        took_s = self._loop.time() - self._submitted.pop(sequence)
        self._counters.records_written += 1
        self._counters.record_s = max(self._counters.record_s, took_s)
        self._station.stored(*self._pending.pop(sequence))
        self._unsaved = False
        self._reply_waiting(sequence, None)
        if not self._stopped:
            self._pump()

    def _on_failed(self, sequence: int, error: OSError) -> None:
        version, record = self._pending.pop(sequence)
        del self._submitted[sequence]
        self._counters.records_failed += 1
        self._journal.record("state not durable", self._loop.time(), why=str(error))
        self._reply_waiting(sequence, error)
        self._unsaved = True
        # The newest record is tried again until the disk takes it; until then nothing relies on it.
        self._loop.call_later(_RETRY_WRITE_S, self._retry, sequence, version, record)

    def _retry(self, sequence: int, version: int, record: Record) -> None:
        # A record that another one has followed must never be written over it.
        if sequence == self._sequence and not self._stopped:
            self._write(version, record)

    # -- clock and operator ---------------------------------------------------------------------------------------

    def _check_clock(self) -> None:
        self._station.time_quality = time_quality()
        self._loop.call_later(_CLOCK_CHECK_S, self._check_clock)

    def _serve_operator(self) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                message, ancillary, _, sender = self._operator.recvmsg(MAX_DATAGRAM + 1, CREDENTIALS_SPACE)
            except BlockingIOError:
                break
            uid, pid = writer_of(ancillary)
            asked = _Asked(sender, self._gatekeeper.who(uid), uid, pid, message.decode("utf-8", "replace"))
            answer, looked = self._answer(message, uid)
            # A control that is refused when it is checked never comes to be asked for.
            if not (looked and answer["done"]):
                self._note_answered(asked, answer)
            self._station.touch()
            self._pump()
            if (self._pending or self._unsaved) and not looked:
                # Done means on disk; what a failed write left is written again under the next number.
                self._unanswered.append((self._sequence + (not self._pending), answer, asked))
            else:
                self._reply(answer, sender)

    def _note_answered(self, asked: _Asked, answer: dict[str, Any]) -> None:
        who = {"user": asked.user, "uid": asked.uid, "pid": asked.pid}
        self._journal.record("operator", self._loop.time(), **who, request=asked.request, **answer)

    def _reply(self, answer: dict[str, Any], sender: str | None) -> None:
        if sender:
            with contextlib.suppress(OSError):  # who asks and does not wait gets no answer
                self._operator.sendto(json.dumps(answer).encode(), sender)

    def _reply_waiting(self, sequence: int, failure: OSError | None) -> None:
        while self._unanswered and self._unanswered[0][0] <= sequence:
            _, answer, asked = self._unanswered.popleft()
            if failure is not None:
                answer = {"done": False, "why": f"in force, but not on disk: {failure}"}
                self._note_answered(asked, answer)
            self._reply(answer, asked.sender)

    def _answer(self, message: bytes, uid: int | None) -> tuple[dict[str, Any], bool]:
        """The answer to a request, and whether it only looked."""
        try:
            data = json.loads(message)
            request = data["request"]
            asked = data["operation"] if request == "check" else request
            if why := self._gatekeeper.refuse(asked, uid, data.get("certificate")):
                return {"done": False, "why": why, "access": False}, False
            return self._do(request, data), request in _LOOKING
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            return {"done": False, "why": f"request not understood: {error!r}"[:_LONGEST_WHY]}, False

    def _do(self, request: Any, data: dict[str, Any]) -> dict[str, Any]:
        agent = self._station.agent
        if self._station.starting_anew and request not in _KEPT_BY_A_NEW_START:
            return _outcome(Reason.NOT_READY)
        match request:
            case "status":
                streams = {"streams": self._station.supervision()} if data.get("streams") else {}
                return {"done": True, **self._status(), **streams}
            case "confirm":
                agent.confirm()
            case "unlock":
                agent.unlock(EventId(int(data["event"][0]), int(data["event"][1])))
            case "tag":
                agent.tag(str(data["owner"]), int(data["tags"]))
            case "mode":
                refusal = refuse_origin(agent.record.authority, _origin(data)) if "origin" in data else Reason.NONE
                if refusal is not Reason.NONE:
                    return _outcome(refusal)
                agent.set_mode(Behaviour[str(data["mode"]).upper().replace("/", "_")])
            case "sim":
                origin = _origin(data) if "origin" in data else None
                return self._sim(agent.set_simulation(origin, on=_truth(data, "sim")))
            case "check" if data["operation"] == "sim":
                return self._sim(agent.refuse_simulation(_origin(data), on=_truth(data, "sim")))
            case "authority":
                agent.set_authority(Authority[str(data["authority"]).upper()])
            case "close":
                return _outcome(agent.request_close(_origin(data), self._loop.time()))
            case "open":
                return _outcome(agent.request_open(_origin(data)))
            case "check" if data["operation"] in ("open", "close"):
                refusal = agent.refuse_request(data["operation"], _origin(data), self._loop.time())
                return {**_outcome(refusal), "position": agent.situation.own.position.name}
            case "check" if data["operation"] == "mode":
                return _outcome(refuse_origin(agent.record.authority, _origin(data)))
            case "counters":
                return {"done": True, "counters": self._count()}
            case "values":
                return {"done": True, "values": self._values()}
            case "return":
                event = EventId(int(data["event"][0]), int(data["event"][1]))
                return _outcome(agent.request_return(event, _origin(data)))
            case "restore":
                agent.request_restore({"A": 0, "B": 1}[data["side"]], int(data["epoch"]), self._loop.time())
            case other:
                return {"done": False, "why": f"unknown request {other!r}"}
        return {"done": True}

    def _sim(self, refusal: Reason) -> dict[str, Any]:
        mode = self._station.agent.record.behaviour
        said = f"Sim is set in test or test/blocked, and this agent is {BEHAVIOUR[mode]}"
        return _outcome(refusal) | ({"words": said} if refusal is Reason.MODE else {})

    def _count(self) -> dict[str, Any]:
        counted = asdict(self._counters)
        self._counters.timer_late_s = self._counters.record_s = 0.0
        return {
            **counted,
            "journal_lost": self._journal.lost,
            "journal_failures": self._journal.failures,
            "streams": self._station.counters(),
            "interfaces": {name: asdict(counted) for name, counted in self._lans.counters().items()},
        }

    def _values(self) -> dict[str, Any]:
        fast, slow = self._station.published
        return {
            **({} if fast is None else wire.changed(None, fast)),
            **({} if slow is None else wire.changed_load(None, slow)),
        }

    def _interfaces(self) -> dict[str, dict[str, Any]]:
        """Of each interface whether it works, why not, and who is not heard on it."""
        agent = self._settings.agent
        feeder = agent.config.feeder
        names = {
            bytes.fromhex(stream.mac): feeder.by_number[number].ied
            for number, peer in agent.peers.items()
            for stream in (peer.fast, peer.slow)
        }
        if agent.relay is not None:
            names |= {bytes.fromhex(stream.mac): "relay" for stream in agent.relay.streams}
        return {
            interface: {"works": not why, "why": why, "not_heard": sorted({names[address] for address in missing})}
            for interface, (why, missing) in self._lans.standing(self._loop.time()).items()
        }

    def _status(self) -> dict[str, Any]:
        situation = self._station.agent.situation
        own, record = situation.own, self._station.agent.record
        return {
            "ied": self._settings.agent.ied,
            "incarnation": own.incarnation,
            "ready": own.ready,
            "position": own.position.name,
            "heard": sum(view.alive and view.load_alive for view in situation.views.values()),
            "subscribed": len(situation.views),
            "stage": own.progress.stage.name,
            "reason": own.progress.reason.name,
            "locked": [side.lock.name for side in own.sides],
            "event": list(own.last_event),
            "mode": own.behaviour.name,
            "simulation": record.simulation,
            "simulated": [name for name, standing in self._station.supervision().items() if standing[1]],
            "authority": record.authority.name,
            "held_open": own.held,
            "held_until_confirmed": record.held,
            "unproven": own.unproven,
            "tags": dict(record.tags),
            "events": [list(event) for event in sorted(self._station.agent.held_events())],
            "interfaces": self._interfaces(),
            "not_heard": sorted(
                situation.feeder.by_number[number].ied
                for number, view in situation.views.items()
                if not (view.alive and view.load_alive)
            ),
        }


def _truth(data: dict[str, Any], name: str) -> bool:
    value = data[name]
    if not isinstance(value, bool):
        raise TypeError(f"{name}: true or false expected")
    return value


def _origin(data: dict[str, Any]) -> Origin:
    return Origin[str(data.get("origin", "station")).upper()]


def _outcome(refusal: Reason) -> dict[str, Any]:
    """A switch operates later than the answer: what is accepted is under way, and its end is in the status."""
    return {"done": True} if refusal is Reason.NONE else {"done": False, "why": refusal.name}


def open_state(path: Path, clock_s: int) -> tuple[DurableFile, Record, bool]:
    """Open an agent's state and begin a new incarnation, which is on disk on return.

    An agent without a state file starts held, until an operator confirms.

    Returns:
        The file, the record of the new process, and whether the one before stopped without order.

    Raises:
        DurableFileError, StoredRecordError, OSError: the state cannot be used.
    """
    try:
        file = DurableFile.open(path)
    except StateMissing:
        record = Record().started(clock_s)
        return DurableFile.create(path, to_json(record)), record, True
    before = from_json(file.record)
    record = before.started(clock_s)
    file.write(to_json(record))
    return file, record, not before.clean


def main(arguments: list[str]) -> int:
    """Run one agent until SIGTERM or SIGINT."""
    if len(arguments) != 1:
        print("usage: python -m ied_agents.runtime.agent_process SETTINGS.json", file=sys.stderr)
        return 2
    try:
        settings = AgentProcessSettings.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
        gatekeeper = Gatekeeper(settings.agent.access)
        file, record, unclean = open_state(Path(settings.state), int(time.time()))
        agent = settings.agent
        lans = Lans(
            settings.interfaces,
            agent.addresses(),
            silent_s=agent.longest_silence_s(),
            loss=settings.receive_loss,
            now=time.monotonic(),
        )
        inputs = datagram_socket(settings.inputs, 0o600) if settings.agent.relay is None else None
        endpoints = (inputs, operator_socket(settings.operator))
    except (AgentSettingsError, DurableFileError, StoredRecordError, OSError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    with asyncio.Runner() as runner:
        return runner.run(_serve(settings, lans, endpoints, gatekeeper, file, record, unclean=unclean))


def _stay_watched(loop: asyncio.AbstractEventLoop, manager: ServiceManager, every_s: float) -> None:
    manager.alive()
    loop.call_later(every_s, _stay_watched, loop, manager, every_s)


async def _serve(
    settings: AgentProcessSettings,
    lans: Lans,
    endpoints: tuple[socket.socket | None, socket.socket],
    gatekeeper: Gatekeeper,
    file: DurableFile,
    record: Record,
    *,
    unclean: bool,
) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    failures: list[BaseException] = []

    def failed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # An agent that met what it was not made for stops: its locks are on disk, and who starts it anew starts it
        # held until its peers have proven them.
        failures.append(context.get("exception") or RuntimeError(context["message"]))
        ended.set()

    loop.set_exception_handler(failed)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    process = AgentProcess(settings, lans, endpoints, gatekeeper, file, record, unclean=unclean, loop=loop)
    refused = [f"{refusal.name}: {refusal.reason}" for refusal in realtime.apply(settings.realtime)]
    refused += gatekeeper.unknown
    process.start(refused)
    print(
        json.dumps({"kind": "AgentReady", "ied": settings.agent.ied, "pid": os.getpid(), "refused": refused}),
        flush=True,
    )
    manager = ServiceManager()
    manager.ready()
    if manager.alive_every_s is not None:
        _stay_watched(loop, manager, manager.alive_every_s)
    await ended.wait()
    manager.stopping()
    if failures:
        print("".join(traceback.format_exception(failures[0])), file=sys.stderr, flush=True)
        process.abandon()
        return 1
    process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
