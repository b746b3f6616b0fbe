"""Simulated relays in one process: ``python -m ied_agents.runtime.relay_process SETTINGS.json``.

To the plant they are its agents: they get each switch's snapshots and send it commands. To the agents they are relays
that know nothing but GOOSE: each publishes its status and what it measures, and obeys its agent's orders, unless that
blocks closing at the same time. They run until SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ied_agents.documents import JsonObject, read_json
from ied_agents.goose.events import StateReceived
from ied_agents.goose.layout import DataSetLayout
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.quality import GOOD, INVALID
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import (
    MAX_DATAGRAM,
    Direction,
    ProcessMessageError,
    SwitchCommand,
    Voltage,
    decode_inputs,
    encode_command,
)
from ied_agents.runtime import realtime
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.link import LinkError
from ied_agents.runtime.realtime import RealTimeHelp
from ied_agents.runtime.relay_streams import ORDERS
from ied_agents.runtime.settings import AgentSettingsError, StreamSettings, read_stream
from scl.relay_model import MEASURED, STATUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ied_agents.goose.layout import Leaf
    from ied_agents.process.inputs import Operation, SwitchInputs
    from scl.agent_model import Member

_FIFO_PRIORITY: Final = 20
_HEALTHY: Final = 1
_SQRT3: Final = math.sqrt(3)


def _layout(members: Sequence[tuple[str, Member]]) -> DataSetLayout:
    return DataSetLayout([attribute.bType for _, member in members for attribute in member.attributes])


STATUS_LAYOUT: Final = _layout(STATUS)
MEASURED_LAYOUT: Final = _layout(MEASURED)


@dataclass(frozen=True, slots=True)
class SimulatedRelay:
    """One relay.

    Attributes:
        switch: number of the switch.
        nominal_v: voltage between phases, V.
        status, measured: what it publishes.
        orders: what its agent publishes for it.
    """

    switch: int
    nominal_v: float
    status: StreamSettings
    measured: StreamSettings
    orders: StreamSettings


@dataclass(frozen=True, slots=True)
class RelayProcessSettings:
    """Everything the process is told.

    Attributes:
        relays: those to simulate.
        interface: Ethernet interface for GOOSE.
        inputs: path of the datagram socket on which the plant's snapshots arrive.
        plant: path of the datagram socket that takes the plant's commands.
    """

    relays: tuple[SimulatedRelay, ...]
    interface: str
    inputs: str
    plant: str

    def to_json(self) -> str:
        """The document that :meth:`from_json` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> RelayProcessSettings:
        """Read the document.

        Raises:
            AgentSettingsError: it is no JSON, or a member is missing or wrong.
        """
        root = JsonObject(read_json(text, AgentSettingsError), "", AgentSettingsError)
        settings = cls(
            tuple(_relay(relay) for relay in root.objects("relays")),
            root.string("interface"),
            root.string("inputs"),
            root.string("plant"),
        )
        if not settings.relays:
            root.refuse("relays", "one at least")
        root.finish()
        return settings


def _relay(relay: JsonObject) -> SimulatedRelay:
    result = SimulatedRelay(
        relay.integer("switch", low=1),
        relay.number("nominal_v", low=1.0),
        *(read_stream(relay.object(name)) for name in ("status", "measured", "orders")),
    )
    relay.finish()
    return result


class RelayPublishers:
    """What one relay says. Sans-IO.

    Args:
        relay: as set.
        mac: own address.
    """

    def __init__(self, relay: SimulatedRelay, mac: bytes) -> None:
        self._nominal_v = relay.nominal_v
        self._status = Publisher(relay.status.publisher(mac))
        self._measured = Publisher(relay.measured.publisher(mac))

    def say(self, inputs: SwitchInputs, now: float) -> list[bytes]:
        """Frames of what has changed; status first."""
        t = UtcTime.of_clock(inputs.stamp_ns)
        frames = (
            self._status.publish(STATUS_LAYOUT.encode(self._status_of(inputs)), now, t),
            self._measured.publish(MEASURED_LAYOUT.encode(self._measured_of(inputs)), now, t),
        )
        return [frame for frame in frames if frame is not None]

    def repeat(self, now: float) -> list[bytes]:
        """Repetitions that are due."""
        frames = (self._status.handle_timer(now), self._measured.handle_timer(now))
        return [frame for frame in frames if frame is not None]

    @property
    def next_deadline(self) -> float:
        """When :meth:`repeat` is due, s."""
        return min(
            (d for d in (self._status.next_deadline, self._measured.next_deadline) if d is not None), default=math.inf
        )

    def _status_of(self, inputs: SwitchInputs) -> tuple[Leaf, ...]:
        direction = inputs.direction if inputs.pickup and inputs.direction_trusted else Direction.UNKNOWN
        sound = GOOD if inputs.position_valid else INVALID
        return (inputs.position, sound, inputs.pickup, int(direction), GOOD, inputs.pickup, GOOD, _HEALTHY)

    def _measured_of(self, inputs: SwitchInputs) -> tuple[Leaf, ...]:
        power = (inputs.flow_a or 0.0) * self._nominal_v * _SQRT3
        voltages: list[Leaf] = []
        for side in inputs.voltage:
            voltages += [self._nominal_v * (side is Voltage.PRESENT), INVALID if side is Voltage.UNKNOWN else GOOD]
        return (
            inputs.current_a or 0.0,
            INVALID if inputs.current_a is None else GOOD,
            power,
            INVALID if inputs.flow_a is None else GOOD,
            *voltages,
            *inputs.generation_a,
        )


class RelayProcess:
    """Drives the relays with the real clock and real sockets.

    Args:
        settings: of this process.
        link: already open.
        inputs: socket for the plant's snapshots, already open.
        loop: to run on.
    """

    def __init__(
        self,
        settings: RelayProcessSettings,
        link: AfPacketLink,
        inputs: socket.socket,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._settings, self._link, self._inputs, self._loop = settings, link, inputs, loop
        self._relays = {relay.switch: RelayPublishers(relay, link.mac) for relay in settings.relays}
        self._switches = {relay.orders.gocbRef: relay.switch for relay in settings.relays}
        self._receiver = Receiver([Subscriber(r.orders.subscriber(), ORDERS.decode) for r in settings.relays])
        self._orders: dict[int, tuple[bool, bool]] = {}
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to listen and to speak."""
        self._loop.add_reader(self._inputs, self._hear_plant)
        self._loop.add_reader(self._link.fileno(), self._hear_agents)

    def _hear_plant(self) -> None:
        while True:
            try:
                datagram = self._inputs.recv(MAX_DATAGRAM + 1)
            except BlockingIOError:
                break
            with contextlib.suppress(ProcessMessageError, KeyError):  # no word of our plant
                inputs = decode_inputs(datagram)
                self._send(self._relays[inputs.switch].say(inputs, self._loop.time()))
        self._arm()

    def _hear_agents(self) -> None:
        now = self._loop.time()
        with contextlib.suppress(LinkError):
            for frame in self._link.receive():
                for event in self._receiver.receive(frame, now):
                    if isinstance(event, StateReceived):
                        self._obey(self._switches[event.gocbRef], event.value)

    def _obey(self, switch: int, leaves: tuple[Any, ...]) -> None:
        """Act on an order when it comes up; what stood when this relay began to listen is old."""
        opening, closing, blocked = leaves[0], leaves[2], leaves[4]
        in_test = leaves[1].test
        was = self._orders.get(switch, (True, True))
        self._orders[switch] = (opening, closing)
        operation: Operation | None = None
        if opening and not was[0]:
            operation = "open"
        elif closing and not was[1] and not opening and not blocked:
            operation = "close"
        if operation is None or in_test:
            return
        self._sent += 1
        with contextlib.suppress(OSError):  # a plant that is gone moves nothing
            self._inputs.sendto(encode_command(SwitchCommand(switch, operation, self._sent)), self._settings.plant)

    def _send(self, frames: list[bytes]) -> None:
        for frame in frames:
            with contextlib.suppress(LinkError):  # it is said again
                self._link.send(frame)

    def _arm(self) -> None:
        due = min(relay.next_deadline for relay in self._relays.values())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due == math.inf else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        self._receiver.handle_timer(now)  # an agent that was started again is heard whatever its clock says
        for relay in self._relays.values():
            if now >= relay.next_deadline:
                self._send(relay.repeat(now))
        self._arm()


async def _serve(settings: RelayProcessSettings, link: AfPacketLink, inputs: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    RelayProcess(settings, link, inputs, loop).start()
    refused = realtime.apply(RealTimeHelp(fifo_priority=_FIFO_PRIORITY, freeze_gc=True))
    print(
        json.dumps({"kind": "RelaysReady", "pid": os.getpid(), "refused": [refusal.name for refusal in refused]}),
        flush=True,
    )
    await ended.wait()


def main(arguments: list[str]) -> int:
    """Run the relays of the settings file that is the one argument.

    Returns:
        Exit status: 0 stopped as told, 2 settings refused.
    """
    if len(arguments) != 1:
        print("usage: python -m ied_agents.runtime.relay_process SETTINGS.json", file=sys.stderr)
        return 2
    try:
        settings = RelayProcessSettings.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
        link = AfPacketLink(settings.interface, [bytes.fromhex(relay.orders.mac) for relay in settings.relays])
        inputs = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        inputs.bind(settings.inputs)
    except (AgentSettingsError, OSError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    asyncio.run(_serve(settings, link, inputs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
