"""Sets the scene for real agents: namespaces, a bridge, a capture, the plant, relays, and one process per switch.

Everything started here ends with it: children die with their parent, namespaces with their last process, sockets and
settings with their temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from ied_agents.dflisr.stored import COMMISSIONED, to_json
from ied_agents.process.plant_settings import PlantProcessSettings
from ied_agents.runtime.durable import DurableFile
from ied_agents.runtime.operator_client import AgentSilentError, ask
from ied_agents.runtime.realtime import RealTimeHelp
from ied_agents.runtime.relay_process import RelayProcessSettings
from ied_agents.runtime.settings import AgentProcessSettings
from tools.demo.gateway_side import HOST, GatewaySide
from tools.lab import BRIDGE, HOST_INTERFACES, Lab

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.site import Site
    from ied_agents.process.plant import PlantSettings
    from ied_agents.runtime.relay_process import SimulatedRelay

READY_S: Final = 30.0
_READY_PER_AGENT_S: Final = 1.0
"""Starting one takes 0.3 to 0.4 s of a processor; they may have to share one."""
_PYTHON: Final = (sys.executable, "-P", "-m")


class StageError(RuntimeError):
    """A process of the stage did not start or ended too early; says which and what it said."""


@dataclass(slots=True)
class Stage:
    """Agents, plant and capture, all running.

    Args:
        site: the site to play.
        out: folder for the capture, the journals and the plant's log.
        plant: how the plant behaves.
        seed: of the plant's pickup delays.
        loss: share of frames that each agent loses on arrival.
        realtime: what the agents ask of the kernel.
        lans: how many separate networks join the agents, 1 or 2; relays speak on the first alone.
        with_gateway: a gateway and a control centre follow the agents, where what they need is installed.

    Attributes:
        gateway: that gateway's side; None where there is none.
        agents: process of each switch's agent.
        pcap: the capture.
        relays: process of the simulated relays; None where the agents have none.
        room: folder of sockets, settings and states; gone with the stage.
    """

    site: Site
    out: Path
    plant: PlantSettings
    seed: int
    loss: float = 0.0
    realtime: RealTimeHelp = field(default_factory=RealTimeHelp)
    lans: int = 1
    with_gateway: bool = False
    gateway: GatewaySide | None = None
    agents: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    pcap: Path = field(init=False)
    relays: subprocess.Popen[bytes] | None = None
    _lab: Lab = field(init=False)
    _plant: subprocess.Popen[bytes] = field(init=False)
    _capture: subprocess.Popen[bytes] = field(init=False)
    _pipes: list[IO[bytes]] = field(default_factory=list)
    _relays: tuple[SimulatedRelay, ...] = ()
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    room: Path = field(init=False)
    _patience_s: float = field(init=False)

    def __enter__(self) -> Self:
        """Start everything and wait until every agent hears all it subscribes to.

        Raises:
            LabUnavailable: no network namespaces here.
            StageError, GatewayError: something did not start.
        """
        with contextlib.ExitStack() as stack:
            self._patience_s = READY_S + _READY_PER_AGENT_S * len(self.site.agents)
            self.out.mkdir(parents=True, exist_ok=True)
            self.pcap = self.out / "goose.pcap"
            # Socket paths must be short, wherever the output goes.
            self.room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flisr-")))
            stack.callback(self._close_pipes)
            hosts = [a.ied for a in self.site.agents.values()]
            self._lab = stack.enter_context(Lab.open([*hosts, HOST] if self.with_gateway else hosts, self.lans))
            stack.callback(self._end_agents)
            self._start_capture()
            self._relays = self.site.simulated_relays()
            self._start_plant()
            if self._relays:
                self.start_relays()
            for number, agent in self.site.agents.items():
                self._journal(agent.ied).unlink(missing_ok=True)
                self._start_agent(number)
            for number, child in self.agents.items():
                self._ready(child, self.site.agents[number].ied)
            self._wait_until_heard()
            if self.with_gateway:
                self.gateway = GatewaySide(self._lab, self.site, self.room, self.out / "gateway.log")
                stack.callback(self.gateway.close)
                self.gateway.start({n: self._journal(agent.ied) for n, agent in self.site.agents.items()})
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._exit.close()

    # -- starting -------------------------------------------------------------------------------------------------

    def _start_capture(self) -> None:
        self._capture = self._lab.spawn(
            BRIDGE, [*_PYTHON, "tools.wire_capture", "--out", str(self.pcap)], stdout=subprocess.PIPE
        )
        self._ready(self._capture, "capture")

    def _start_plant(self) -> None:
        settings = PlantProcessSettings(
            network=self.site.plant(),
            plant=self.plant,
            seed=self.seed,
            socket=str(self.room / "plant"),
            agents={number: str(self.room / self._listener(number)) for number in self.site.agents},
            log=str(self.out / "plant.jsonl"),
        )
        Path(settings.log).unlink(missing_ok=True)
        document = self.room / "plant.json"
        document.write_text(settings.to_json(), encoding="utf-8")
        self._plant = self._lab.spawn(
            BRIDGE,
            [*_PYTHON, "ied_agents.process.plant_process", str(document)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ready(self._plant, "plant")

    def _listener(self, number: int) -> str:
        """Socket of whoever hears the plant for a switch."""
        return "relays" if self._relays else f"{number}.inputs"

    def start_relays(self) -> None:
        """Start the relays' process, at the beginning or when it is gone, and wait until it speaks.

        Raises:
            StageError: it did not start.
        """
        (self.room / "relays").unlink(missing_ok=True)
        settings = RelayProcessSettings(self._relays, BRIDGE, str(self.room / "relays"), str(self.room / "plant"))
        document = self.room / "relays.json"
        document.write_text(settings.to_json(), encoding="utf-8")
        command = [*_PYTHON, "ied_agents.runtime.relay_process", str(document)]
        self.relays = self._lab.spawn(BRIDGE, command, stdout=subprocess.PIPE)
        self._ready(self.relays, "relays")

    def _start_agent(self, number: int) -> None:
        agent = self.site.agents[number]
        state = self.room / f"{number}.state"
        if not state.exists():
            # The demo takes its own agents into service; elsewhere an operator does.
            DurableFile.create(state, to_json(COMMISSIONED)).close()
        settings = AgentProcessSettings(
            agent=agent,
            interfaces=HOST_INTERFACES[: self.lans],
            state=str(state),
            journal=str(self._journal(agent.ied)),
            inputs=str(self.room / f"{number}.inputs"),
            process=str(self.room / "plant"),
            operator=str(self.room / f"{number}.operator"),
            receive_loss=self.loss,
            realtime=self.realtime,
        )
        document = self.room / f"{number}.json"
        document.write_text(settings.to_json(), encoding="utf-8")
        self.agents[number] = self._lab.spawn(
            agent.ied, [*_PYTHON, "ied_agents.runtime.agent_process", str(document)], stdout=subprocess.PIPE
        )

    def _journal(self, ied: str) -> Path:
        return self.out / f"{ied}.jsonl"

    def _ready(self, child: subprocess.Popen[bytes], name: str) -> None:
        assert child.stdout is not None
        self._pipes.extend(pipe for pipe in (child.stdin, child.stdout) if pipe is not None)
        if not select.select([child.stdout], [], [], self._patience_s)[0]:
            raise StageError(f"{name} did not start within {self._patience_s:.0f} s; its messages are above")
        if not child.stdout.readline():
            raise StageError(f"{name} ended with status {child.wait()} before it was ready; its messages are above")

    def _wait_until_heard(self) -> None:
        deadline = time.monotonic() + self._patience_s
        while True:
            states = self.statuses()
            if len(states) == len(self.agents) and all(
                s["ready"] and s["heard"] == s["subscribed"] for s in states.values()
            ):
                return
            if time.monotonic() > deadline:
                late = [
                    self.site.agents[n].ied
                    for n in self.agents
                    if n not in states or states[n]["heard"] < states[n]["subscribed"]
                ]
                raise StageError(f"these agents do not hear all others: {', '.join(late)}")
            time.sleep(0.2)

    # -- acting ---------------------------------------------------------------------------------------------------

    def statuses(self) -> dict[int, dict[str, Any]]:
        """What every agent that answers says of itself, by switch number."""
        return self._ask(self.agents, {"request": "status"})

    def request(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        """An operator's request to one agent, with its answer; empty if it does not answer."""
        return self._ask((number,), request).get(number, {})

    def _ask(self, numbers: Iterable[int], request: dict[str, Any]) -> dict[int, dict[str, Any]]:
        answers: dict[int, dict[str, Any]] = {}
        for number in numbers:
            with contextlib.suppress(AgentSilentError):
                answers[number] = ask(self.room / f"{number}.operator", request, patience_s=1.0)
        return answers

    def inject_fault(self, section: int, at_ns: int, clears_after_dead_s: float | None = None) -> None:
        """Put a fault into a section.

        Args:
            section: its index.
            at_ns: when, CLOCK_REALTIME, ns.
            clears_after_dead_s: out by itself after so long without infeed, s; None for a permanent one.
        """
        transient = {} if clears_after_dead_s is None else {"clears_after_dead_s": clears_after_dead_s}
        self._tell_plant({"command": "inject_fault", "section": section, "at_ns": at_ns, **transient})

    def clear_fault(self, section: int) -> None:
        """Repair a section now."""
        self._tell_plant({"command": "clear_fault", "section": section})

    def switch_lan(self, lan: int, *, on: bool) -> None:
        """Cut one of the networks, or mend it."""
        self._lab.switch_lan(lan, on=on)

    def kill(self, number: int) -> None:
        """Kill an agent at once; on return it is gone."""
        child = self.agents.pop(number)
        child.kill()
        child.wait()

    def restart(self, number: int) -> None:
        """Start a killed agent again, with the state file and the journal it left, and wait until it listens.

        Raises:
            StageError: it did not start.
        """
        self._start_agent(number)
        self._ready(self.agents[number], self.site.agents[number].ied)

    def kill_plant(self) -> None:
        """Kill the plant at once."""
        self._plant.kill()
        self._plant.wait()

    def _tell_plant(self, command: dict[str, Any]) -> None:
        assert self._plant.stdin is not None
        self._plant.stdin.write(json.dumps(command).encode() + b"\n")
        self._plant.stdin.flush()

    def settle(self, longest_s: float, quiet_s: float = 1.0) -> None:
        """Wait until no agent's status has changed for ``quiet_s``, or ``longest_s`` have gone by."""
        deadline = time.monotonic() + longest_s
        last, since = self.statuses(), time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.statuses()
            busy = any(s["stage"] in ("LOCATING", "ISOLATING", "RESTORING") for s in now.values())
            if now != last or busy:
                last, since = now, time.monotonic()
            elif time.monotonic() - since >= quiet_s:
                return

    def finish(self) -> dict[str, Any]:
        """Stop agents, plant and capture in order, so that their files are whole.

        Returns:
            What the capture and the plant said in the end.
        """
        if self.gateway is not None:
            self.gateway.close()
        self._end_agents()
        said: dict[str, Any] = {}
        if self._plant.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._tell_plant({"command": "stop"})
            said.update(_last_line(self._plant))
        self._capture.send_signal(signal.SIGTERM)
        said.update(_last_line(self._capture))
        return said

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _end_agents(self) -> None:
        for agent in self.agents.values():
            agent.terminate()
        for agent in self.agents.values():
            try:
                agent.wait(5.0)
            except subprocess.TimeoutExpired:
                agent.kill()
        self.agents.clear()


def _last_line(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    try:
        output, _ = child.communicate(timeout=10.0)
    except subprocess.TimeoutExpired:
        child.kill()
        return {}
    lines = output.splitlines()
    said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return said
