"""The relay beside an agent, by GOOSE: its streams in, snapshots of the process out; the agent's orders in, frames out.

Sans-IO; a part of the station.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.agent import Note
from ied_agents.goose.data import decode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.events import DecodeFailed, StateReceived, StreamLost
from ied_agents.goose.layout import DataSetLayout
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.quality import GOOD, Quality
from ied_agents.process.relay import REFRESH_S, OrderPulses, RelayInputs
from scl import agent_model

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.stored import Record
    from ied_agents.goose.events import Event
    from ied_agents.iec61850.data import Data
    from ied_agents.iec61850.utctime import UtcTime
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.runtime.settings import RelaySettings

ORDERS: Final = DataSetLayout([attribute.bType for member in agent_model.RELAY for attribute in member.attributes])
_TEST: Final = Quality(test=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """What of the agent decides about what its relay is told.

    Attributes:
        blocked: closing is blocked: a lock, a tag, or the agent is not sure of its locks or not in service.
        test_block: it is blocked by nothing but a test.
        may_close: nothing speaks against a close that was ordered.
        in_test: orders are those of a test.
        shadow: it operates and blocks nothing.
    """

    blocked: bool
    test_block: bool
    may_close: bool
    in_test: bool
    shadow: bool

    @classmethod
    def of(cls, agent: Agent, now: float, kept: Record | None = None) -> Standing:
        """How it stands.

        Args:
            agent: the agent.
            now: s.
            kept: durable state without what came of a simulation, while there is one: no frame of that releases a
                real lock.
        """
        record, situation = agent.record, agent.situation
        inputs = situation.inputs
        sides = [side for each in (record, kept) if each is not None for side in each.sides if side.locked]
        held = record.held or (kept is not None and kept.held)
        blocked = bool(record.all_tags or held or situation.own.unproven)
        real = blocked or any(not side.test for side in sides)
        return cls(
            blocked=real or bool(sides),
            test_block=bool(sides) and not real,
            may_close=situation.inputs_valid(now)
            and inputs is not None
            and not inputs.pickup
            and record.behaviour is Behaviour.ON,
            in_test=record.behaviour in (Behaviour.TEST, Behaviour.TEST_BLOCKED),
            shadow=situation.config.shadow,
        )


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
        self._make_inputs = partial(RelayInputs, settings.config, switch)
        self._inputs = self._make_inputs()
        self._pulses = OrderPulses(settings.config.pulse_s)
        self._publisher = Publisher(settings.orders.publisher(mac))
        self.addresses: Collection[bytes] = frozenset(bytes.fromhex(stream.mac) for stream in settings.streams)
        subscribers = [Subscriber(s.subscriber(), partial(_decode, s.entries)) for s in settings.streams]
        self._index = {subscriber.config.gocbRef: index for index, subscriber in enumerate(subscribers)}
        # What other makers send is read as far as it can be told what it means.
        self.receiver = Receiver(subscribers, strict=False)
        self._accepted = [0] * len(subscribers)
        self._real: dict[int, tuple[Any, int]] = {}
        """Last real values of each stream, with their time."""
        self._refresh = 0.0
        self._told: tuple[bool | Quality, ...] = ()

    @property
    def next_deadline(self) -> float:
        """When :meth:`lost` and :meth:`orders` must be called even if nothing happens, s."""
        due = (self.receiver.next_deadline, self._publisher.next_deadline)
        return min(self._refresh, self._pulses.next_deadline, *(d for d in due if d is not None))

    def receive(self, frame: bytes, now: float) -> list[Note] | None:
        """A frame for one of :attr:`addresses`; what there is to note, None if it is none of the relay's streams."""
        unknown = self.receiver.unknown
        events = self.receiver.receive(frame, now)
        if self.receiver.unknown > unknown:
            return None
        for index, subscriber in enumerate(self.receiver.subscribers.values()):
            accepted = subscriber.counters.states + subscriber.counters.repetitions
            if accepted != self._accepted[index]:
                self._accepted[index] = accepted
                self._inputs.heard(index, now)
        return self._take(events)

    @property
    def simulated(self) -> list[bool]:
        """By stream, whether a simulated relay is followed."""
        return [subscriber.simulation for subscriber in self.receiver.subscribers.values()]

    def end_simulation(self) -> list[str]:
        """Follow the real relay again; ``gocbRef`` of the streams that were simulated.

        All streams are as silent as after a loss: the next frame of each says that its last real values still hold.
        """
        self._inputs = self._make_inputs()
        for index, (values, t_ns) in self._real.items():
            self._inputs.take(index, values, t_ns)
        self._refresh = 0.0
        return self.receiver.end_simulation()

    def lost(self, now: float) -> list[Note]:
        """What there is to note of streams whose time to live has run out."""
        return self._take(self.receiver.handle_timer(now))

    def _take(self, events: Sequence[Event[Any]]) -> list[Note]:
        notes = []
        for event in events:
            index = self._index[event.gocbRef]
            self._refresh = 0.0
            if isinstance(event, StateReceived):
                if not event.simulation:
                    self._real[index] = event.value, event.t.to_ns()
                elif event.restarted:
                    notes.append(Note("simulation followed", {"gocbRef": event.gocbRef}))
                problems = self._inputs.take(index, event.value, event.t.to_ns())
                if problems:
                    notes.append(Note("relay values refused", {"gocbRef": event.gocbRef, "why": problems}))
                continue
            if isinstance(event, StreamLost | DecodeFailed):
                self._inputs.lost(index)
            detail = {name: value for name, value in asdict(event).items() if isinstance(value, str | int)}
            notes.append(Note(type(event).__name__, detail))
        return notes

    def due(self, now: float) -> bool:
        """Whether a snapshot is to be made: something changed, or it is time to say that nothing did."""
        return now >= self._refresh

    def snapshot(self, now: float, *, in_test: bool) -> tuple[SwitchInputs | None, float]:
        """What the relay says now, None if nothing it says can be relied on; and how old its word is: since when, s."""
        self._refresh = now + REFRESH_S
        inputs = self._inputs.snapshot(now, in_test=in_test)
        if inputs is not None and inputs.position_valid and not any(self.simulated):
            self._pulses.seen(inputs.position)
        return inputs, self._inputs.heard_at

    def orders(self, commands: Sequence[SwitchCommand], standing: Standing, now: float, t: UtcTime) -> list[bytes]:
        """Frames for the relay.

        Args:
            commands: what the agent has just ordered.
            standing: of the agent.
            now: s.
            t: time for a new state.
        """
        for command in commands:
            self._pulses.give(command.operation, now)
        blocked = standing.blocked and not standing.shadow
        said = self._pulses.follow(now, may_close=standing.may_close, block_close=blocked)
        ordered = _TEST if standing.in_test or standing.shadow else GOOD
        block = _TEST if standing.test_block or standing.shadow else GOOD
        told = (said.open, ordered, said.close, ordered, said.block_close, block)
        frames = []
        if told != self._told:
            self._told = told
            frame = self._publisher.publish(ORDERS.encode(told), now, t)
            if frame is not None:
                frames.append(frame)
        repetition = self._publisher.handle_timer(now)
        return frames if repetition is None else [*frames, repetition]


def _decode(entries: int, all_data: bytes) -> tuple[Data, ...]:
    values = decode_all_data(all_data, strict=False)
    if len(values) != entries:
        raise GooseDecodeError("numDatSetEntries", 0, f"{entries}, but allData has {len(values)} members")
    return values
