"""The gateway beside the demo's agents: their MMS servers, ``flisr run``, and a control centre made by others."""

from __future__ import annotations

import importlib.util
import itertools
import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from gateway.site_agents import FIRST_PORT, MOST_IN_A_HOST
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.mms.host_settings import HostSettings, ServedIed
from scl.agent_model import LDEVICE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.site import Site
    from tools.lab import Lab

HOST: Final = "gateway"
"""Its place in the lab."""
_PORT: Final = 2404
_POSITIONS, _LOCKS, _CONTROLS = 100, 200, 300
"""Information object addresses, each plus the number of the switch."""
_PATIENCE_S: Final = 60.0
_CATCH_UP_S: Final = 20.0
_PYTHON: Final = (sys.executable, "-P", "-m")


class GatewayError(RuntimeError):
    """A part of the gateway's side did not start or answer; says which, and what it said last."""


def missing() -> str:
    """Why there can be no gateway here; empty if there can."""
    lacking = [name for name in ("pyiec61850", "open61850", "c104") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(lacking)} not installed: pip install 'flisr[demo]'" if lacking else ""


@dataclass(slots=True)
class GatewaySide:
    """All of it, running once :meth:`start` has returned.

    Args:
        lab: with a host named ``HOST``.
        site: whose agents run.
        room: folder of their operators' sockets, and for what is written here.
        log: file of what the gateway says.
    """

    lab: Lab
    site: Site
    room: Path
    log: Path
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _ports: dict[int, int] = field(init=False)
    _centre: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._ports = dict(zip(self.site.agents, range(FIRST_PORT, 65_536), strict=False))

    def start(self, journals: dict[int, Path]) -> None:
        """Start it, and wait until the control centre knows every switch.

        Args:
            journals: of the agents, by switch.

        Raises:
            GatewayError: something did not start.
        """
        scd = self.site.file.parent / (self.site.settings.site.scd or "")  # a site with agents has one
        served = [
            ServedIed(agent.ied, "127.0.0.1", self._ports[n], str(self.room / f"{n}.operator"), str(journals[n]))
            for n, agent in self.site.agents.items()
        ]
        for first in range(0, len(served), MOST_IN_A_HOST):
            document = self.room / f"mms-{first}.json"
            settings = HostSettings(str(scd), tuple(served[first : first + MOST_IN_A_HOST]))
            document.write_text(settings.to_json(), encoding="utf-8")
            self._line(self._spawn("ied_agents.mms.host", str(document)), "MMS servers")
        (self.room / scd.name).write_bytes(scd.read_bytes())
        document = self.room / "gateway.toml"
        document.write_text(self.site.file.read_text(encoding="utf-8") + self._more(), encoding="utf-8")
        with self.log.open("wb") as log:
            self._line(self._spawn("tools.cli", "run", str(document), "--json", stderr=log), "gateway")
        self._centre = self._spawn("tools.demo.control_centre")
        monitored = {_POSITIONS + n: self._position(n) for n in self._ports}
        monitored |= {_LOCKS + n: self._lock(n) for n in self._ports}
        controls = [_CONTROLS + n for n in self._ports]
        said = self._ask({"port": _PORT, "monitored": monitored, "controls": controls})
        if not said["open"]:
            raise GatewayError(f"the control centre finds no gateway at port {_PORT}; see {self.log}")
        self._wait_until_known(set(monitored.values()))

    def _more(self) -> str:
        """What the demo's site file lacks: the agents as field devices, and a control centre."""
        agents = self.site.agents.items()
        text = [
            f'\n[[ied]]\nname = "{agent.ied}"\nhost = "127.0.0.1:{self._ports[number]}"\npoll_s = 1.0\n'
            for number, agent in agents
        ]
        names = [[self._position(n), self._lock(n), f"{agent.ied}{LDEVICE}/CSWI1.Pos"] for n, agent in agents]
        include = json.dumps(list(itertools.chain(*names)))
        text.append(
            f'\n[[centre]]\nname = "centre"\nlisten = "127.0.0.1"\nport = {_PORT}\ncommon_address = 1\n'
            f"points = {{ include = {include} }}\n"
        )
        for number, (position, lock, control) in zip(self._ports, names, strict=True):
            text.append(f'\n[point."{position}"]\nIOA = {_POSITIONS + number}\n')
            text.append(f'\n[point."{lock}"]\nIOA = {_LOCKS + number}\n')
            text.append(f'\n[point."{control}"]\ncontrol_IOA = {_CONTROLS + number}\n')
        return "".join(text)

    def _position(self, number: int) -> str:
        return f"{self._switch(number)}.Pos"

    def _lock(self, number: int) -> str:
        return f"{self._switch(number)}.BlkCls"

    def _switch(self, number: int) -> str:
        agent = self.site.agents[number]
        return f"{agent.ied}{LDEVICE}/{'XCBR1' if agent.config.feeder.by_number[number].breaker else 'XSWI1'}"

    def _wait_until_known(self, names: set[str]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            last = {message["name"]: message for message in self.heard()}
            if names <= {name for name, message in last.items() if message["quality"] == "0"}:
                return
            time.sleep(0.2)
        raise GatewayError(
            f"the control centre was not told of every switch within {_PATIENCE_S:.0f} s; see {self.log}"
        )

    # -- what is done with it ---------------------------------------------------------------------------------------

    def heard(self) -> list[dict[str, Any]]:
        """All that the control centre was told so far: ``name``, ``value``, ``quality``, ``cause``, times in ns."""
        said: list[dict[str, Any]] = self._ask({"do": "heard"})
        return said

    def catch_up(self, statuses: dict[int, dict[str, Any]]) -> None:
        """Wait, not for ever, until the control centre was told what the agents say of themselves now."""
        wanted = {self._position(n): Dbpos[said["position"]].value for n, said in statuses.items()}
        wanted |= {self._lock(n): int(any(lock != "NONE" for lock in said["locked"])) for n, said in statuses.items()}
        deadline = time.monotonic() + _CATCH_UP_S
        while time.monotonic() < deadline:
            last = {message["name"]: message["value"] for message in self.heard()}
            if wanted.items() <= last.items():
                return
            time.sleep(0.1)

    def close_from_centre(self, number: int) -> dict[str, Any]:
        """Let the control centre select and close a switch; what it was told, and the gateway's own word for it."""
        said: dict[str, Any] = self._ask({"do": "close", "address": _CONTROLS + number})
        lines = self.log.read_text(encoding="utf-8").splitlines()
        ied = self.site.agents[number].ied
        why = next((line for line in reversed(lines) if ied in line and "AddCause" in line), "")
        return {"ied": ied, "refused": not said.pop("carried_out"), **said, "log": why}

    def close_by_engineer(self, number: int) -> dict[str, Any]:
        """Let an engineer's MMS client (open61850) try to close a switch; what it was told."""
        words = (str(self._ports[number]), self.site.agents[number].ied)
        said: dict[str, Any] = self._line(self._spawn("tools.demo.engineer", *words), "MMS client")
        return said

    def close(self) -> None:
        """End all of it, in the order of who asks whom."""
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(10.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        self._children.clear()

    def _spawn(self, module: str, *words: str, stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        child = self.lab.spawn(
            HOST, [*_PYTHON, module, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
        self._children.append(child)
        return child

    def _ask(self, asked: dict[str, Any]) -> Any:
        assert self._centre.stdin is not None
        self._centre.stdin.write(json.dumps(asked).encode() + b"\n")
        self._centre.stdin.flush()
        return self._line(self._centre, "control centre")

    def _line(self, child: subprocess.Popen[bytes], name: str) -> Any:
        """The next line of JSON that a part says."""
        assert child.stdout is not None
        if not select.select([child.stdout], [], [], _PATIENCE_S)[0]:
            raise GatewayError(f"{name}: silent for {_PATIENCE_S:.0f} s; its messages are above or in {self.log}")
        line = child.stdout.readline()
        if not line:
            raise GatewayError(f"{name}: ended with status {child.wait()}; its messages are above or in {self.log}")
        return json.loads(line)
