"""Every way by which somebody outside may close a switch, one class each: what it asked, and what it was told."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.points.words import time_text
from ied_agents.mms.client import MmsClient, MmsClientError
from ied_agents.mms.client_control import Control
from tools.bench_processes import JsonChild
from tools.closed.site import BROKER, CONTROL, CONTROL_IOA, ClosedError, until
from tools.loss.mqtt_subscriber import Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.closed.site import ClosedSite

_REMOTE: Final = 3
"""Originator category: remote control."""
_ROOT: Final = "flisr/two_source"


class Told(NamedTuple):
    """What somebody was told of what he asked.

    Attributes:
        done: that it was done; of a select, that it is selected.
        why: that it was not.
    """

    done: bool
    why: str


class Way(ABC):
    """One who commands.

    Attributes:
        name: of the way.
        via: what the audit trail calls it.
    """

    name: str
    via: str

    @abstractmethod
    def close(self) -> Told:
        """All that it takes to close the switch."""

    @abstractmethod
    def end(self) -> None:
        """Let go of it."""


class SelectingWay(Way):
    """One that can select now and execute later."""

    @abstractmethod
    def select(self) -> Told:
        """Select only."""

    @abstractmethod
    def execute(self) -> Told:
        """Execute what was selected."""


class Master(SelectingWay):
    """A master of ours: select and execute."""

    via = "104"

    def __init__(self, site: ClosedSite, centre: str) -> None:
        self.name = f"104 {centre}"
        self._child = JsonChild("tools.closed.master", str(site.ports[centre]))

    def close(self) -> Told:
        """As :class:`Way` says."""
        return self._ask(select=True, execute=True)

    def select(self) -> Told:
        """As :class:`SelectingWay` says."""
        return self._ask(select=True, execute=False)

    def execute(self) -> Told:
        """As :class:`SelectingWay` says."""
        return self._ask(select=False, execute=True)

    def begin(self) -> None:
        """Begin to close, without waiting; :meth:`told` says what became of it."""
        self._child.say({"IOA": CONTROL_IOA, "select": True, "execute": True})

    def told(self) -> Told:
        """The answer to :meth:`begin`."""
        said = self._child.hear()
        return Told(said["done"], said["why"])

    def _ask(self, *, select: bool, execute: bool) -> Told:
        said = self._child.ask({"IOA": CONTROL_IOA, "select": select, "execute": execute})
        return Told(said["done"], said["why"])

    def end(self) -> None:
        """As :class:`Way` says."""
        self._child.__exit__()


class Theirs(Way):
    """A master made with c104: select and execute."""

    name = "104 c104"
    via = "104"

    def __init__(self, site: ClosedSite) -> None:
        self._setup = {"port": site.ports["theirs"], "monitored": {}, "controls": [CONTROL_IOA]}

    def close(self) -> Told:
        """As :class:`Way` says; by a new process, for c104's client may take minutes to find a gateway again."""
        with JsonChild("tools.demo.control_centre", first=self._setup) as child:
            if not child.ready["open"]:
                raise ClosedError(f"c104 finds no gateway at port {self._setup['port']}")
            said = child.ask({"do": "close", "address": CONTROL_IOA})
        return Told(said["carried_out"], said["answer"])

    def end(self) -> None:
        """As :class:`Way` says: there is nothing."""


class Mqtt(SelectingWay):
    """A client of the broker."""

    name = "MQTT"
    via = "mqtt"

    def __init__(self, site: ClosedSite) -> None:
        self._client = Subscriber(site.broker.port, "desk")
        self._client.wait()
        self._count = 0

    def close(self) -> Told:
        """As :class:`Way` says."""
        selected = self.select()
        return self.execute() if selected.done else selected

    def select(self) -> Told:
        """As :class:`SelectingWay` says."""
        return self._ask("select", "selected")

    def execute(self) -> Told:
        """As :class:`SelectingWay` says."""
        return self._ask("operate", "done")

    def _ask(self, step: str, good: str) -> Told:
        self._count += 1
        key = b"%d" % self._count
        asked = {"value": "on", "time": time_text(time.time_ns()), "by": "ana", "step": step}
        topic = f"{_ROOT}/command/{CONTROL}"
        self._client.publish(topic, json.dumps(asked), reply_to="desk", correlation=key)

        def found() -> dict[str, str] | None:
            said = [each.said for each in list(self._client.messages) if each.correlation == key]
            return said[-1] if said and said[-1]["final"] else None

        said = until(found, f"{BROKER}: a command is not answered")
        return Told(said["result"] == good, said.get("reason", ""))

    def end(self) -> None:
        """As :class:`Way` says."""
        self._client.close()


class Mms(SelectingWay):
    """An MMS client (libiec61850) at the agent's own server, past the gateway."""

    name = "MMS"
    via = "agent"

    def __init__(self, site: ClosedSite) -> None:
        self._port = site.mms
        self._exit = ExitStack()

    def close(self) -> Told:
        """As :class:`Way` says."""
        selected = self.select()
        return self.execute() if selected.done else selected

    def select(self) -> Told:
        """As :class:`SelectingWay` says; by a new connection."""
        self._exit.close()
        client = MmsClient("127.0.0.1", self._port)
        self._exit.callback(client.close)
        self._control = self._exit.enter_context(Control(client, CONTROL, orCat=_REMOTE, orIdent="engineer"))
        return self._do(self._control.select)

    def execute(self) -> Told:
        """As :class:`SelectingWay` says."""
        return self._do(self._control.operate)

    @staticmethod
    def _do(step: Callable[[bool], None]) -> Told:
        try:
            step(True)
        except MmsClientError as error:
            return Told(False, str(error))
        return Told(True, "")

    def end(self) -> None:
        """As :class:`Way` says."""
        self._exit.close()
