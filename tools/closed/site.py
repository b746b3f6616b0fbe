"""A site in a network of its own: ten agents that the gateway runs, their plant, a broker, three control centres.

All that this process starts or connects inside :meth:`ClosedSite.enter` is in that network.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from gateway.site import read_site
from ied_agents.control.decision import Authority
from ied_agents.dflisr.records import LockState
from ied_agents.dflisr.stored import COMMISSIONED, to_json
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_settings import PlantProcessSettings
from ied_agents.runtime.durable import DurableFile, holder
from ied_agents.runtime.operator_client import AgentSilentError, ask
from tools.bench_processes import free_ports
from tools.lab import Lab
from tools.loss import mosquitto
from tools.loss.mosquitto import Mosquitto
from tools.status_command import ask_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

HOST: Final = "gw"
TARGET: Final = "F1L4"
"""The IED whose switch all try to close: normally closed, at the end of its feeder; opened, it could close again."""
CONTROL: Final = f"{TARGET}FLISR/CSWI1.Pos"
CONTROL_IOA: Final = 300
CENTRES: Final = ("north", "south", "theirs")
BROKER: Final = "cloud"
_SWITCH: Final = 4
_FAULTED: Final = 5
"""The section before it: a fault there locks it."""
_BREAKER: Final = "F1R3"
"""What trips then."""
_MMS: Final = 12_000
PATIENCE_S: Final = 60.0
_PYTHON: Final = (sys.executable, "-P", "-m")


class ClosedError(RuntimeError):
    """The site does not do what the trial needs; says what was waited for."""


def missing() -> str:
    """Why it can't be played here; empty if it can."""
    lacking = [each for each in ("pyiec61850", "c104", "pyroute2") if importlib.util.find_spec(each) is None]
    if lacking:
        return f"{' and '.join(lacking)} not installed: pip install 'flisr[demo,mms]'"
    return mosquitto.missing()


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait for it.

    Raises:
        ClosedError: it does not come.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (said := found()):
        if time.monotonic() > deadline:
            raise ClosedError(f"after {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.02)
    return said


class ClosedSite:
    """All of it; use it as a context.

    Args:
        folder: an empty one, with a short path.
        program: what the interpreter runs as gateway.

    Attributes:
        ports: of the control centres, by name.
        mms: port of the target's own MMS server.
        broker: the MQTT broker.
        folder: as given.
    """

    def __init__(self, folder: Path, program: tuple[str, ...] = ("-m", "tools.cli")) -> None:
        self.folder = folder
        self.ports = dict(zip(CENTRES, free_ports(len(CENTRES)), strict=True))
        self.mms = _MMS + _SWITCH - 1
        self._program = program
        self._root = folder / "a"
        self._log = folder / "gateway.log"
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start it, and wait until all agents are ready; the caller's thread is in its network from then on."""
        with contextlib.ExitStack() as stack:
            self._lab = stack.enter_context(Lab.open([HOST]))
            stack.enter_context(self._lab.enter(HOST))
            self.broker = Mosquitto(self.folder / "mosquitto")
            stack.callback(self.broker.kill)
            self.broker.start()
            self._write()
            self._wire()
            self._start_plant()
            stack.callback(self._end)
            self.start_gateway()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._exit.close()

    # -- making it ----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
            (self.folder / "two_source.scd").write_bytes((samples / "two_source.scd").read_bytes())
            text = (samples / "two_source.toml").read_text(encoding="utf-8")
        sample = self.folder / "sample.toml"
        sample.write_text(text, encoding="utf-8")
        self._site = read_site(sample)
        self._ieds = [agent.ied for agent in self._site.agents.values()]
        text += f'\n[history]\nwhere = "h.db"\n\n[agents]\nroot = "a"\nmms = "127.0.0.1:{_MMS}"\n'
        text += "".join(
            f'\n[[agent]]\nied = "{ied}"\ninterfaces = ["ag{number}"]\nprocess = "plant"\n'
            for number, ied in enumerate(self._ieds, 1)
        )
        text += "".join(
            f'\n[[centre]]\nname = "{name}"\nlisten = "127.0.0.1"\nport = {port}\ncommon_address = 1\n'
            f'points = {{ include = ["{TARGET}*"] }}\n'
            for name, port in self.ports.items()
        )
        text += f'\n[point."{CONTROL}"]\ncontrol_IOA = {CONTROL_IOA}\n'
        text += f'\n[[broker]]\nname = "{BROKER}"\nhost = "127.0.0.1:{self.broker.port}"\ncommands = true\n'
        text += f'points = {{ include = ["{TARGET}*"] }}\n'
        self._file = self.folder / "s.toml"
        self._file.write_text(text, encoding="utf-8")
        record = replace(COMMISSIONED, authority=Authority.REMOTE)
        for ied in self._ieds:
            (self._root / ied).mkdir(parents=True)
            DurableFile.create(self._root / ied / "state", to_json(record)).close()

    def _wire(self) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 - an extra

        with IPRoute() as route:
            route.link("add", ifname="lan", kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
            bridge = route.link_lookup(ifname="lan")[0]
            for number in range(1, len(self._ieds) + 1):
                route.link("add", ifname=f"pg{number}", kind="veth", peer=f"ag{number}")
                port, cable = (route.link_lookup(ifname=f"{name}{number}")[0] for name in ("pg", "ag"))
                route.link("set", index=port, master=bridge, state="up")
                route.link("set", index=cable, state="up")
            route.link("set", index=bridge, state="up")

    def _start_plant(self) -> None:
        settings = PlantProcessSettings(
            network=self._site.plant(),
            plant=PlantSettings(),
            seed=1,
            socket=str(self.folder / "plant"),
            agents={number: str(self._root / agent.ied / "inputs") for number, agent in self._site.agents.items()},
            log=str(self.folder / "plant.jsonl"),
        )
        document = self.folder / "plant.json"
        document.write_text(settings.to_json(), encoding="utf-8")
        words = [*_PYTHON, "ied_agents.process.plant_process", str(document)]
        self._plant = self._lab.spawn(HOST, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._first_line(self._plant, "plant")

    def start_gateway(self) -> None:
        """Start it, or another one after it was killed, and wait until its agents are ready and it is connected."""
        words = [sys.executable, "-P", *self._program, "run", str(self._file), "--json"]
        with self._log.open("ab") as log:
            self._gateway = self._lab.spawn(HOST, words, stdout=subprocess.PIPE, stderr=log)
        self._first_line(self._gateway, "gateway")
        until(lambda: all(self.ask(ied).get("ready") for ied in self._ieds), f"an agent is not ready; see {self._log}")
        until(self._connected, f"the gateway has not heard {TARGET}; see {self._log}")

    def _connected(self) -> bool:
        said = ask_gateway(self.folder / "store-status")
        return any(each["name"] == TARGET and each["connected"] and each["heard_ns"] for each in said["ieds"])

    def _first_line(self, child: subprocess.Popen[bytes], name: str) -> None:
        assert child.stdout is not None
        if not select.select([child.stdout], [], [], PATIENCE_S)[0] or not child.stdout.readline():
            raise ClosedError(f"the {name} does not start; see {self._log}")

    def _end(self) -> None:
        self._gateway.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._gateway.wait(PATIENCE_S)
        for ied in self._ieds:
            if (pid := holder(self._root / ied / "state")) > 0:
                os.kill(pid, signal.SIGKILL)
        for child in (self._gateway, self._plant):
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    # -- what happens to it -------------------------------------------------------------------------------------------

    def ask(self, ied: str, **request: Any) -> dict[str, Any]:
        """An operator at an agent; without a request its status, empty if it does not answer."""
        try:
            return ask(self._root / ied / "operator", request or {"request": "status"})
        except AgentSilentError:
            return {}

    def demand(self, ied: str, **request: Any) -> None:
        """An operator at an agent, who is obeyed.

        Raises:
            ClosedError: he is not.
        """
        if not (said := self.ask(ied, origin="remote", **request)).get("done"):
            raise ClosedError(f"{ied}: {request} is refused: {said}")

    def open(self) -> None:
        """Have the target open, with nothing against closing it."""
        self._wait(lambda said: said["position"] in ("ON", "OFF"), "moves")
        if self.ask(TARGET)["position"] == Dbpos.ON.name:
            self.demand(TARGET, request="open")
        self._wait(lambda said: said["position"] == Dbpos.OFF.name and said["stage"] in ("IDLE", "FINISHED"), "open")

    def _wait(self, found: Callable[[dict[str, Any]], bool], what: str) -> None:
        try:
            until(lambda: (said := self.ask(TARGET)) and found(said), "")
        except ClosedError:
            raise ClosedError(f"{TARGET} is not {what} after {PATIENCE_S:.0f} s: {self.ask(TARGET)}") from None

    def tag(self) -> None:
        """A crew hangs a tag on it."""
        self.demand(TARGET, request="tag", owner="crew 7", tags=1)

    def untag(self) -> None:
        """And takes it away."""
        self.demand(TARGET, request="tag", owner="crew 7", tags=0)

    def lock(self) -> None:
        """A fault before it: the agents isolate its section, and lock."""
        self._tell_plant(command="inject_fault", section=_FAULTED)
        self._wait(lambda said: LockState.DURABLE.name in said["locked"], "locked")
        until(lambda: self.ask(_BREAKER).get("position") == Dbpos.OFF.name, f"{_BREAKER} does not trip")
        self._wait(lambda said: said["stage"] == "FINISHED", "done with what it has to restore")

    def unlock(self) -> None:
        """The section is repaired, and all return to normal."""
        self._tell_plant(command="clear_fault", section=_FAULTED)
        self.demand(TARGET, request="return", event=self.ask(TARGET)["event"])
        self._wait(lambda said: set(said["locked"]) == {LockState.NONE.name}, "unlocked")
        self._wait(lambda said: said["position"] == Dbpos.ON.name, "as it is normally")

    def kill_workers(self) -> None:
        """SIGKILL to every MMS client process of the gateway; they are started again."""
        pid = self._gateway.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            if b"ied_agents.mms.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
        until(lambda: not self._connected(), "the gateway does not notice that its workers are gone")
        until(self._connected, f"the gateway has not heard {TARGET} again; see {self._log}")

    def kill_gateway(self) -> None:
        """SIGKILL to the gateway, and another one; agents outlive it."""
        self._gateway.kill()
        self._gateway.wait()
        assert self._gateway.stdout is not None
        self._gateway.stdout.close()
        self.start_gateway()

    def _tell_plant(self, **command: Any) -> None:
        assert self._plant.stdin is not None
        self._plant.stdin.write(json.dumps(command).encode() + b"\n")
        self._plant.stdin.flush()

    # -- witnesses ----------------------------------------------------------------------------------------------------

    def orders(self) -> list[int]:
        """When the plant's switch was ordered to close, by its own log, ns."""
        lines = (self.folder / "plant.jsonl").read_text(encoding="utf-8").splitlines()
        said = [json.loads(line) for line in lines]
        return [
            each["stamp_ns"]
            for each in said
            if (each["kind"], each.get("switch"), each.get("operation")) == ("CommandReceived", _SWITCH, "close")
        ]

    @property
    def history(self) -> Path:
        """Where the audit trail is."""
        return self.folder / "h.db"
