"""``flisr bench reaction``: a clear request in, the breaker's trip frame out, beside a bare echo in C.

A real agent process, with its state file, journal and writer thread, guards the breaker at the head of the sample's
first feeder. This process plays all its peers and its switch, and asks it to clear again and again, each time for a
new event. In turns with it, a C program that does nothing but send back what it receives gets the same frame. Each
of the two sits at the far end of a veth pair of its own whose near end is here, and is pinned to the same processor;
this process, and the load where there is one, run on another. Both times run from the kernel's stamp of the request
to its stamp of the answer, on the near end, so neither depends on when Python is scheduled here.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import random
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Self

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from gateway.site import read_site
from ied_agents.dflisr import wire
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    AgentState,
    EventId,
    LoadState,
    LockState,
    SectionState,
)
from ied_agents.dflisr.stored import COMMISSIONED, to_json
from ied_agents.goose.frame import read_frame_header
from ied_agents.goose.pdu import read_pdu_header
from ied_agents.goose.publisher import Publisher
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import (
    MAX_DATAGRAM,
    Direction,
    SwitchInputs,
    Voltage,
    decode_command,
    encode_inputs,
)
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.durable import DurableFile
from ied_agents.runtime.realtime import RealTimeHelp
from ied_agents.runtime.settings import AgentProcessSettings
from scl.agent_model import CLEARED
from tools.lab import BRIDGE, HOST_INTERFACE, Lab
from tools.wire_capture import WireCapture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.site import Site

TARGET_RATIO: Final = 10.0
_BREAKER: Final = 1
_REQUESTER: Final = 2
"""In the sample: the breaker at the head of feeder F1, and the load-break switch at the other end of its section."""
_HOSTS: Final = ("agent", "echo")
_FIFO_PRIORITY: Final = 50
_PATIENCE_S: Final = 60.0
"""Longer than a disk that others keep busy takes to make a record durable."""
_REFRESH_S: Final = 1.0
"""How often the switch says where it is, if nothing happens."""
_START_S: Final = 30.0
_LOAD_A: Final = 140.0
_WARM_UP: Final = 20


class BenchError(Exception):
    """The measurement cannot be made here, or the agent did not do what is measured."""


class Condition(NamedTuple):
    """What is measured under one pair of circumstances.

    Attributes:
        fifo: whether agent and echo run under SCHED_FIFO.
        loaded: whether the other processor is busy.
        agent_us, echo_us: from request to answer, each trial in turn; echo_us is empty where there is no compiler.
        skipped: why nothing was measured; empty if it was.
    """

    fifo: bool
    loaded: bool
    agent_us: list[float]
    echo_us: list[float]
    skipped: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{'SCHED_FIFO' if self.fifo else 'ordinary'}, {'loaded' if self.loaded else 'idle'}"

    @property
    def ratio(self) -> float | None:
        """Median of the agent over that of the echo."""
        if not self.agent_us or not self.echo_us:
            return None
        return statistics.median(self.agent_us) / statistics.median(self.echo_us)

    def as_json(self) -> dict[str, Any]:
        """Figures of this condition; times in us."""
        return {
            "fifo": self.fifo,
            "loaded": self.loaded,
            "trials": len(self.agent_us),
            "skipped": self.skipped,
            "median_ratio": None if self.ratio is None else round(self.ratio, 2),
            **_spread("", self.agent_us),
            **_spread("echo_", self.echo_us),
        }


def _spread(prefix: str, values: list[float]) -> dict[str, float | None]:
    known = sorted(values)
    figures = {
        "median_us": statistics.median(known) if known else None,
        "p99_us": known[int(len(known) * 0.99)] if known else None,
        "max_us": known[-1] if known else None,
    }
    return {prefix + name: None if value is None else round(value, 1) for name, value in figures.items()}


def reaction(
    *,
    trials: Annotated[int, Parameter(help="How many under each of the four conditions.")] = 300,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a breaker's reaction to a clear request, with and without SCHED_FIFO, idle and loaded."""
    result = figures(trials)
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        _show(result)
    if result["median_ratio"] is not None and result["median_ratio"] > TARGET_RATIO:
        raise SystemExit(1)


def figures(trials: int) -> dict[str, Any]:
    """All conditions, and on top the one with the largest ratio.

    Raises:
        LabUnavailable: no network namespaces here.
        BenchError: no trials, the agent did not react, or there is no C compiler although CI=true.
    """
    if trials < 1:
        raise BenchError(f"--trials {trials}: expected at least 1")
    with tempfile.TemporaryDirectory(prefix="flisr-") as folder:
        echo, why_not = _compile_echo(Path(folder))
        conditions = [c for fifo in (False, True) for c in _measure(Path(folder), echo, trials, fifo=fifo)]
    measured = [condition for condition in conditions if not condition.skipped]
    worst = max(measured, key=lambda c: (c.ratio or 0.0, statistics.median(c.agent_us)))
    shown = worst.as_json()
    return {
        **{name: shown[name] for name in ("median_ratio", "median_us", "p99_us")},
        "worst": worst.name,
        "target_ratio": TARGET_RATIO,
        "echo_skipped": why_not,
        "cpus": len(os.sched_getaffinity(0)),
        "conditions": [condition.as_json() for condition in conditions],
    }


def _compile_echo(folder: Path) -> tuple[Path | None, str]:
    """The echo's program; None and the reason where it cannot be made."""
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            raise BenchError("gcc is not installed, and CI=true asks for the comparison")
        return None, "gcc is not installed"
    program = folder / "goose_echo"
    with importlib.resources.as_file(importlib.resources.files("tools") / "goose_echo.c") as source:
        made = subprocess.run(  # noqa: S603 - our own source
            [compiler, "-O2", "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
    if made.returncode:
        raise BenchError(f"gcc does not compile the echo: {made.stderr}")
    return program, ""


def _measure(folder: Path, echo_program: Path | None, trials: int, *, fifo: bool) -> list[Condition]:
    """Both loads under one scheduler."""
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        site = read_site(samples / "two_source.toml")
    processors = sorted(os.sched_getaffinity(0))
    conditions: list[Condition] = []
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.open(_HOSTS))
        _take_apart(lab)
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        wishes = RealTimeHelp(_FIFO_PRIORITY if fifo else None, lock_memory=fifo, cpus=frozenset(processors[:1]))
        agent = stack.enter_context(_Agent(lab, room, site, wishes))
        if any(refused.startswith("fifo_priority") for refused in agent.refused):
            return [Condition(fifo, loaded, [], [], "; ".join(agent.refused)) for loaded in (False, True)]
        echo = None if echo_program is None else stack.enter_context(_Echo(lab, echo_program, wishes))
        stack.callback(os.sched_setaffinity, 0, processors)
        os.sched_setaffinity(0, processors[-1:])
        rng = random.Random(1)
        for loaded in (False, True):
            condition = Condition(fifo, loaded, [], [])
            with _load(lab, wanted=loaded):
                for number in range(-_WARM_UP, trials):
                    # At another moment of the agent's own rhythm each time.
                    agent.serve(rng.uniform(0.002, 0.012))
                    request, took_us = agent.trial()
                    echo_us = 0.0 if echo is None else echo.trial(request)
                    if number >= 0:
                        condition.agent_us.append(took_us)
                        if echo is not None:
                            condition.echo_us.append(echo_us)
            conditions.append(condition)
    return conditions


def _take_apart(lab: Lab) -> None:
    """Take the cables out of the bridge: what is left of each host is a veth pair whose near end is here."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - an extra

    with lab.bridge(), IPRoute() as route:
        for number in range(1, len(_HOSTS) + 1):
            route.link("set", index=route.link_lookup(ifname=f"p{number}")[0], master=0)


@contextmanager
def _load(lab: Lab, *, wanted: bool) -> Iterator[None]:
    """Keep this process's processor busy meanwhile."""
    busy = lab.spawn(BRIDGE, [sys.executable, "-I", "-S", "-c", "while True: pass"]) if wanted else None
    try:
        yield
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()


class _Line:
    """The near end of a host's cable: sends frames, and sees all in both directions with the kernel's stamps."""

    def __init__(self, lab: Lab, host: str) -> None:
        interface = f"p{_HOSTS.index(host) + 1}"
        with lab.bridge():
            self._link = AfPacketLink(interface, [])
            self.capture = WireCapture(interface)
        self.mac = self._link.mac

    def close(self) -> None:
        self._link.close()
        self.capture.close()

    def send(self, frame: bytes) -> None:
        self._link.send(frame)

    def exchange(self, frame: bytes, answers: Callable[[bytes], bool]) -> float:
        """Send a frame; us from its stamp to that of the first frame from the other end that answers it."""
        self.capture.read()
        self._link.send(frame)
        deadline = time.monotonic() + _PATIENCE_S
        asked_ns = 0
        while (left := deadline - time.monotonic()) > 0:
            select.select([self.capture], [], [], left)
            for stamp_ns, seen in self.capture.read():
                if seen == frame:
                    asked_ns = stamp_ns
                elif seen[6:12] != self.mac and answers(seen) and asked_ns:
                    return (stamp_ns - asked_ns) / 1000
        raise BenchError(f"no answer within {_PATIENCE_S:.0f} s")


class _Echo:
    """The C program, running."""

    def __init__(self, lab: Lab, program: Path, wishes: RealTimeHelp) -> None:
        self._line = _Line(lab, "echo")
        self._child = lab.spawn("echo", [str(program), HOST_INTERFACE], stdout=subprocess.PIPE)
        _await_line(self._child, "echo")
        os.sched_setaffinity(self._child.pid, wishes.cpus)
        if wishes.fifo_priority is not None:
            os.sched_setscheduler(self._child.pid, os.SCHED_FIFO, os.sched_param(wishes.fifo_priority))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._child)
        self._line.close()

    def trial(self, request: bytes) -> float:
        """Time from a frame to its echo, us."""
        return self._line.exchange(request, lambda _: True)


class _Agent:
    """The breaker's agent process; this object is its peers, its switch and the hand that closes it again.

    Attributes:
        refused: real-time help that the system did not give.
    """

    def __init__(self, lab: Lab, room: Path, site: Site, wishes: RealTimeHelp) -> None:
        settings = site.agents[_BREAKER]
        network = settings.config.feeder
        self._line = _Line(lab, "agent")
        self._own = AgentState(0)
        self._decode = wire.FastDecoder(_BREAKER)
        self._gocbRef = settings.own.fast.gocbRef
        self._incarnation = int(time.time())
        self._events = 0
        self._cleared: tuple[EventId, ...] = ()
        self._sequence = 0
        self._side = next(
            side
            for side, at in enumerate(network.by_number[_REQUESTER].sides)
            if at in network.by_number[_BREAKER].sides
        )
        self._states = {
            number: AgentState(
                self._incarnation,
                position=Dbpos.ON if network.by_number[number].normally_closed else Dbpos.OFF,
                voltage=(Voltage.PRESENT, Voltage.PRESENT),
                ready=True,
            )
            for number in settings.peers
        }
        self._fast = {n: Publisher(streams.fast.publisher(self._line.mac)) for n, streams in settings.peers.items()}
        self._slow = {n: Publisher(streams.slow.publisher(self._line.mac)) for n, streams in settings.peers.items()}
        self._inputs = str(room / "inputs")
        self._switch = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._switch.bind(str(room / "switch"))
        DurableFile.create(room / "state", to_json(COMMISSIONED)).close()
        document = room / "agent.json"
        document.write_text(
            AgentProcessSettings(
                agent=settings,
                interfaces=(HOST_INTERFACE,),
                state=str(room / "state"),
                journal=str(room / "journal.jsonl"),
                inputs=self._inputs,
                process=str(room / "switch"),
                operator=str(room / "operator"),
                realtime=wishes,
            ).to_json(),
            encoding="utf-8",
        )
        self._child = lab.spawn(
            "agent",
            [sys.executable, "-P", "-m", "ied_agents.runtime.agent_process", str(document)],
            stdout=subprocess.PIPE,
        )
        self.refused: list[str] = json.loads(_await_line(self._child, "agent"))["refused"]
        for number in settings.peers:
            self._publish_fast(number)
            load = LoadState(self._incarnation, flow_a=_LOAD_A)
            self._publish(self._slow[number], wire.encode_slow(load))
        self._show_switch(Dbpos.ON)
        self._until(lambda: self._own.ready and self._own.position is Dbpos.ON, "ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._child)
        self._switch.close()
        self._line.close()

    # -- what its surroundings say ----------------------------------------------------------------------------------

    def _publish(self, publisher: Publisher, all_data: bytes) -> bytes:
        frame = publisher.publish(all_data, time.monotonic(), UtcTime.from_ns(time.time_ns(), 0x0A))
        assert frame is not None
        self._line.send(frame)
        return frame

    def _publish_fast(self, number: int) -> bytes:
        return self._publish(self._fast[number], wire.encode_fast(self._states[number]))

    def _show_switch(self, position: Dbpos) -> None:
        closed = position is Dbpos.ON
        flow_a = _LOAD_A if closed else 0.0
        self._sequence += 1
        self._shown, self._refresh_at = position, time.monotonic() + _REFRESH_S
        inputs = SwitchInputs(
            switch=_BREAKER,
            sequence=self._sequence,
            stamp_ns=time.time_ns(),
            position=position,
            position_valid=True,
            pickup=False,
            direction=Direction.UNKNOWN,
            direction_trusted=True,
            flow_a=flow_a,
            current_a=flow_a,
            voltage=(Voltage.PRESENT, Voltage.PRESENT if closed else Voltage.ABSENT),
            generation_a=(0.0, 0.0),
        )
        self._switch.sendto(encode_inputs(inputs), self._inputs)

    # -- what it says -----------------------------------------------------------------------------------------------

    def _heard(self, frame: bytes) -> bool:
        """Whether a frame was its fast data set; what it says is taken over."""
        header = read_frame_header(frame)
        pdu = read_pdu_header(frame, header.apdu_start, header.apdu_stop, strict=True)
        if pdu.gocbRef != self._gocbRef:
            return False
        self._own = self._decode(frame[slice(*pdu.allData_span)])
        return True

    def serve(self, seconds: float) -> None:
        """Let its peers repeat what they said, and hear it, for a while."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now >= self._refresh_at:
                self._show_switch(self._shown)
            publishers = [*self._fast.values(), *self._slow.values()]
            for publisher in publishers:
                repetition = publisher.handle_timer(now)
                if repetition is not None:
                    self._line.send(repetition)
            due = min(p.next_deadline for p in publishers if p.next_deadline is not None)
            select.select([self._line.capture], [], [], max(0.0, min(end, due) - now))
            self._hear()

    def _hear(self) -> None:
        for _, frame in self._line.capture.read():
            if frame[6:12] != self._line.mac:
                self._heard(frame)

    def _until(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not reached():
            if time.monotonic() > deadline:
                raise BenchError(f"the agent did not become {what} within {_PATIENCE_S:.0f} s: {self._own}")
            self.serve(0.001)

    def trial(self) -> tuple[bytes, float]:
        """Ask it to clear for a new event, open the switch for it, clear the event and close the switch by hand.

        Returns:
            The request, and the time from it to the frame that says it trips, us.

        Raises:
            BenchError: it did not trip, ordered something else, or did not come back to rest.
        """
        self._events += 1
        event = EventId(_REQUESTER, self._incarnation + self._events)
        towards = CLEAR_SIDE._replace(clear=True, clear_event=event)
        beyond = CLEAR_SIDE._replace(
            section=SectionState.FAULTED, section_event=event, lock=LockState.VOLATILE, lock_event=event
        )
        quiet = self._states[_REQUESTER]
        sides = (towards, beyond) if self._side == 0 else (beyond, towards)
        asking = quiet._replace(sides=sides, last_event=event)
        request = self._fast[_REQUESTER].publish(
            wire.encode_fast(asking), time.monotonic(), UtcTime.from_ns(time.time_ns(), 0x0A)
        )
        assert request is not None
        took_us = self._line.exchange(request, lambda frame: self._heard(frame) and self._own.trip)
        if (order := self._order()) != "open":
            raise BenchError(f"the agent said that it trips, and ordered: {order}")
        self._show_switch(Dbpos.OFF)
        self._until(lambda: self._own.position is Dbpos.OFF, "open")
        self._cleared = (*self._cleared, event)[-CLEARED:]
        self._states[_REQUESTER] = quiet._replace(cleared=self._cleared)
        self._publish_fast(_REQUESTER)
        self._until(lambda: event in self._own.cleared, "free of the event")
        self._show_switch(Dbpos.ON)
        self._until(lambda: self._own.position is Dbpos.ON and not self._own.trip, "closed")
        return request, took_us

    def _order(self) -> str:
        """What it has ordered; the order leaves just after the frame."""
        if not select.select([self._switch], [], [], _PATIENCE_S)[0]:
            return "nothing"
        return decode_command(self._switch.recv(MAX_DATAGRAM)).operation


def _await_line(child: subprocess.Popen[bytes], name: str) -> bytes:
    """The first line of a child's output, when it is ready."""
    assert child.stdout is not None
    line = child.stdout.readline() if select.select([child.stdout], [], [], _START_S)[0] else b""
    if not line:
        raise BenchError(f"{name} did not start within {_START_S:.0f} s; its messages are above")
    return line


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def _show(result: dict[str, Any]) -> None:
    table = Table("scheduler", "other processor", "agent median", "p99", "echo median", "p99", "ratio")
    for condition in result["conditions"]:
        if condition["skipped"]:
            figures_shown = [f"skipped: {condition['skipped']}"]
        else:
            names = ("median_us", "p99_us", "echo_median_us", "echo_p99_us", "median_ratio")
            figures_shown = ["-" if condition[name] is None else str(condition[name]) for name in names]
        table.add_row(
            "SCHED_FIFO" if condition["fifo"] else "ordinary",
            "busy" if condition["loaded"] else "idle",
            *figures_shown,
        )
    console = Console()
    console.print("clear request in, trip frame out; times in us")
    console.print(table)
    if result["echo_skipped"]:
        console.print(f"[yellow]no echo beside it: {result['echo_skipped']}[/]")
