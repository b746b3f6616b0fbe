"""One agent with its GOOSE streams: frames and inputs in; frames, orders, records and notes out. Sans-IO.

The same station runs on a packet socket in its own process and under virtual time in the campaign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr import wire
from ied_agents.dflisr.agent import Agent, Note
from ied_agents.goose.events import StateReceived, StreamLost, StreamResumed
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState, LoadState
    from ied_agents.dflisr.stored import Record
    from ied_agents.goose.events import Event
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.runtime.settings import AgentSettings


LEISURE_S: Final = 0.005
"""How long news on which no reaction hangs may wait for more, so that a burst of it is judged once."""
_MOST_ASIDE: Final = 64


@dataclass(slots=True)
class Output:
    """What one turn sends out: frames first, for the reaction hangs on them."""

    frames: list[bytes] = field(default_factory=list)
    commands: list[SwitchCommand] = field(default_factory=list)
    record: tuple[int, Record] | None = None
    notes: list[Note] = field(default_factory=list)


@dataclass(slots=True)
class _Distant:
    """The last frame of a switch that shares no section with ours."""

    last: bytes = b""


class Station:
    """Publishers, subscribers and the agent between them.

    Args:
        settings: of this agent.
        record: its durable state, already on disk as that of the new process.
        unclean: the process before this one did not stop in order.
        mac: own address.
        now: s.

    Attributes:
        receiver: the subscribed streams, with their counters.
        time_quality: quality octet of the clock, for the time stamps of new states.
        next_deadline: when :meth:`turn` must be called even if nothing arrives, s.
    """

    def __init__(self, settings: AgentSettings, record: Record, *, unclean: bool, mac: bytes, now: float) -> None:
        self.agent = Agent(settings.config, record, unclean=unclean, now=now)
        self.time_quality = 0
        self._fast = Publisher(settings.own.fast.publisher(mac))
        self._slow = Publisher(settings.own.slow.publisher(mac))
        self._last: tuple[AgentState | None, LoadState | None] = (None, None)
        self._streams: dict[str, tuple[int, bool]] = {}
        self._distant: dict[bytes, _Distant] = {}
        self._aside: list[bytes] = []
        subscribers: list[Subscriber[Any]] = []
        for number, streams in settings.peers.items():
            if number not in self.agent.neighbours:
                self._distant[bytes.fromhex(streams.fast.mac)] = _Distant()
            subscribers.append(Subscriber(streams.fast.subscriber(), wire.FastDecoder(number), _incarnation))
            subscribers.append(Subscriber(streams.slow.subscriber(), wire.decode_slow, _incarnation))
            self._streams[streams.fast.gocbRef] = (number, True)
            self._streams[streams.slow.gocbRef] = (number, False)
        self.receiver = Receiver(subscribers)
        self._notes: list[Note] = []
        self._arrived = True
        self._look_at = math.inf
        self.next_deadline = now

    def multicast(self) -> list[bytes]:
        """Addresses to listen to."""
        return [subscriber.config.dst for subscriber in self.receiver.subscribers.values()]

    def receive_frame(self, frame: bytes, now: float) -> None:
        """A frame off the wire. One on which no reaction hangs is put aside until there is time for it."""
        distant = self._distant.get(frame[:6])
        if distant is not None:
            last, distant.last = distant.last, frame
            if wire.unhurried(last, frame) and len(self._aside) < _MOST_ASIDE:
                self._aside.append(frame)
                self._look_at = min(self._look_at, now + LEISURE_S)
                return
        self._read_aside(now)
        for event in self.receiver.receive(frame, now):
            self._take(event)

    def _read_aside(self, now: float) -> None:
        """Read what was put aside, before anything later is."""
        aside, self._aside = self._aside, []
        for frame in aside:
            for event in self.receiver.receive(frame, now):
                self._take(event)

    def receive_inputs(self, inputs: SwitchInputs, now: float) -> None:
        """A snapshot of the process."""
        self.agent.receive_inputs(inputs, now)
        self._arrived = True

    def stored(self, version: int, record: Record) -> None:
        """A record is on disk."""
        self.agent.stored(version, record)
        self._arrived = True

    def touch(self) -> None:
        """Something else changed, an operator's request for example: decide anew in the next turn."""
        self._arrived = True

    def _take(self, event: Event[Any]) -> None:
        switch, fast = self._streams[event.gocbRef]
        match event:
            case StateReceived():
                if fast:
                    self.agent.receive_state(switch, event.value)
                else:
                    self.agent.receive_load(switch, event.value)
                self._arrived = True
                return
            case StreamLost():
                self.agent.peer_lost(switch, fast=fast)
            case StreamResumed():
                self.agent.peer_resumed(switch, fast=fast)
        self._arrived = True
        self._notes.append(Note(type(event).__name__, {"gocbRef": event.gocbRef}))

    def turn(self, now: float, utc_ns: int) -> Output:
        """Decide, once, on all that has arrived, and do what is due.

        Args:
            now: s.
            utc_ns: CLOCK_REALTIME, ns, for the time stamps of new states.
        """
        if self._arrived or now >= min(self.agent.next_deadline, self._look_at):
            self._read_aside(now)
            self._look_at = math.inf
        for lost in self.receiver.handle_timer(now):
            self._take(lost)
        output = Output()
        if self._arrived or now >= self.agent.next_deadline:
            self._arrived = False
            self._decide(now, utc_ns, output)
        for publisher in (self._fast, self._slow):
            repetition = publisher.handle_timer(now)
            if repetition is not None:
                output.frames.append(repetition)
        deadlines = (self._fast.next_deadline, self._slow.next_deadline, self.receiver.next_deadline)
        self.next_deadline = min([self.agent.next_deadline, self._look_at, *(d for d in deadlines if d is not None)])
        return output

    def _decide(self, now: float, utc_ns: int, output: Output) -> None:
        turn = self.agent.evaluate(now)
        output.notes = [*self._notes, *turn.notes]
        self._notes.clear()
        output.commands, output.record = turn.commands, turn.record
        fast, slow = self._last
        if turn.fast != fast:
            self._send(self._fast, wire.encode_fast(turn.fast), now, utc_ns, output.frames)
        if turn.slow != slow:
            self._send(self._slow, wire.encode_slow(turn.slow), now, utc_ns, output.frames)
        self._last = (turn.fast, turn.slow)

    def _send(self, publisher: Publisher, all_data: bytes, now: float, utc_ns: int, frames: list[bytes]) -> None:
        frame = publisher.publish(all_data, now, UtcTime.from_ns(utc_ns, self.time_quality))
        if frame is not None:
            frames.append(frame)


def _incarnation(state: AgentState | LoadState) -> int:
    return state.incarnation
