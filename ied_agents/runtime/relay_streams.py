"""The relay beside an agent, by GOOSE: its streams in, snapshots of the process out; the agent's orders in, frames out.

Sans-IO; a part of the station.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import LockState
from ied_agents.goose.data import decode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.events import StateReceived, StreamLost, StreamResumed
from ied_agents.goose.layout import DataSetLayout
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, Quality
from ied_agents.process.relay import REFRESH_S, OrderPulses, RelayInputs, RelayOrders, RelayValueError
from scl import agent_model

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ied_agents.dflisr.records import AgentState
    from ied_agents.goose.events import Event
    from ied_agents.iec61850.utctime import UtcTime
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.runtime.settings import RelaySettings

ORDERS: Final = DataSetLayout([attribute.bType for member in agent_model.RELAY for attribute in member.attributes])
_TEST: Final = Quality(test=True)


@dataclass(frozen=True, slots=True)
class Told:
    """What was published to the relay last, with its quality."""

    orders: RelayOrders
    quality: Quality

    def leaves(self) -> tuple[bool | Quality, ...]:
        """In the order of ``agent_model.RELAY``."""
        orders, quality = self.orders, self.quality
        return orders.open, quality, orders.close, quality, orders.block_close, quality


class Relay:
    """What an agent hears of its relay and tells it.

    Args:
        settings: streams and what is in them.
        switch: number of the switch.
        mac: own address.

    Attributes:
        addresses: multicast addresses of the relay's streams.
        receiver: those streams, with their counters.
    """

    def __init__(self, settings: RelaySettings, switch: int, mac: bytes) -> None:
        self._inputs = RelayInputs(settings.config, switch)
        self._pulses = OrderPulses(settings.config.pulse_s)
        self._publisher = Publisher(settings.orders.publisher(mac))
        self._index = {stream.gocbRef: index for index, stream in enumerate(settings.streams)}
        self.addresses: Collection[bytes] = frozenset(bytes.fromhex(stream.mac) for stream in settings.streams)
        # What other makers send is read as far as it can be told what it means.
        self.receiver = Receiver(
            [
                Subscriber(stream.subscriber(), partial(self._decode, index, stream.entries))
                for index, stream in enumerate(settings.streams)
            ],
            strict=False,
        )
        self._refresh = 0.0
        self._told: Told | None = None
        self._position = Dbpos.INTERMEDIATE

    def _decode(self, index: int, entries: int, all_data: bytes) -> Any:
        values = decode_all_data(all_data, strict=False)
        if len(values) != entries:
            raise GooseDecodeError("numDatSetEntries", 0, f"{entries}, but allData has {len(values)} members")
        try:
            return self._inputs.read(index, values)
        except RelayValueError as error:
            raise GooseDecodeError("allData", 0, str(error)) from error

    @property
    def next_deadline(self) -> float:
        """When :meth:`lost` or :meth:`orders` must be called even if nothing happens, s."""
        due = (self.receiver.next_deadline, self._publisher.next_deadline)
        return min(self._refresh, self._pulses.next_deadline, *(d for d in due if d is not None))

    def receive(self, frame: bytes, now: float) -> Sequence[Event[Any]]:
        """A frame for one of :attr:`addresses`; what it was, if it changed anything."""
        return self._take(self.receiver.receive(frame, now))

    def lost(self, now: float) -> Sequence[Event[Any]]:
        """The streams whose time to live has run out."""
        return self._take(self.receiver.handle_timer(now))

    def _take(self, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        for event in events:
            match event:
                case StateReceived():
                    self._inputs.take(self._index[event.gocbRef], event.value, event.t.to_ns())
                case StreamLost():
                    self._inputs.lost(self._index[event.gocbRef])
                case StreamResumed():
                    self._inputs.resumed(self._index[event.gocbRef])
        if events:
            self._refresh = 0.0
        return events

    def due(self, now: float) -> bool:
        """Whether a snapshot is to be made: something changed, or it is time to say that nothing did."""
        return now >= self._refresh

    def snapshot(self, now: float, *, in_test: bool) -> SwitchInputs | None:
        """What the relay says now; None if nothing it says can be relied on."""
        self._refresh = now + REFRESH_S
        inputs = self._inputs.snapshot(in_test=in_test)
        known = inputs is not None and inputs.position_valid
        self._position = inputs.position if inputs is not None and known else Dbpos.INTERMEDIATE
        return inputs

    def orders(
        self, commands: Sequence[SwitchCommand], own: AgentState, now: float, t: UtcTime, *, shadow: bool
    ) -> list[bytes]:
        """Frames for the relay.

        Args:
            commands: what the agent has just ordered.
            own: what it publishes.
            now: s.
            t: time for a new state.
            shadow: it operates and blocks nothing.
        """
        for command in commands:
            self._pulses.give(command.operation, now)
        block = own.tags != 0 or own.unproven or any(side.lock is not LockState.NONE for side in own.sides)
        in_test = shadow or own.behaviour in (Behaviour.TEST, Behaviour.TEST_BLOCKED)
        told = Told(
            self._pulses.follow(self._position, now, block_close=block and not shadow), _TEST if in_test else GOOD
        )
        frames = []
        if told != self._told:
            self._told = told
            frame = self._publisher.publish(ORDERS.encode(told.leaves()), now, t)
            if frame is not None:
                frames.append(frame)
        repetition = self._publisher.handle_timer(now)
        return frames if repetition is None else [*frames, repetition]
