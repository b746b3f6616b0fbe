"""A station whose frames are the published states themselves: no octets are written or read.

Most runs of the campaign use it, because coding and decoding would be most of their time; the others, and every real
process, use :class:`~ied_agents.runtime.station.Station`. The agent is the same, and so are the rules of the streams:
repetition curve, order by (incarnation, stNum, sqNum), time to live, loss and resumption, refusal of simulated frames.
What the wire format alone can do (round a current to 32 bits, cut a list) happens only with real frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from ied_agents.dflisr.agent import Agent, Note
from ied_agents.dflisr.records import NO_EVENT, AgentState, LoadState
from ied_agents.goose.events import StreamLost, StreamResumed
from ied_agents.goose.subscriber import StreamCounters

if TYPE_CHECKING:
    from ied_agents.dflisr.agent import Turn
    from ied_agents.dflisr.stored import Record
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.runtime.settings import AgentSettings, StreamSettings

StateT = TypeVar("StateT", AgentState, LoadState)

_HALF: Final = 1 << 31
_MAC: Final = bytes(6)


class LightFrame(NamedTuple):
    """What one frame says.

    ``switch`` and ``fast`` name the stream; ``value`` is what the data set says; the rest is as in a GOOSE PDU, the
    time to live in s.
    """

    switch: int
    fast: bool
    stNum: int
    sqNum: int
    live_s: float
    value: AgentState | LoadState
    simulation: bool = False


class LightOutput(NamedTuple):
    """What one turn sends out."""

    frames: list[LightFrame]
    commands: list[SwitchCommand]
    record: tuple[int, Record] | None
    notes: list[Note]


class LightPublisher(Generic[StateT]):
    """State machine of one control block, as :class:`~ied_agents.goose.publisher.Publisher`."""

    def __init__(self, switch: int, *, fast: bool, settings: StreamSettings) -> None:
        config = settings.publisher(_MAC)
        self._name = (switch, fast)
        self._gaps = tuple(gap / 1000 for gap in config.gaps_ms)
        self._live_s = config.timeAllowedtoLive / 1000
        self._sent = 0
        self._value: StateT | None = None
        self._stNum = self._sqNum = 0
        self.next_deadline = float("inf")

    def publish(self, value: StateT, now: float) -> LightFrame | None:
        """The frame of a new state; None if nothing changed."""
        if value == self._value:
            return None
        self._value = value
        self._stNum += 1
        self._sqNum = self._sent = 0
        self.next_deadline = now + self._gaps[0]
        return LightFrame(*self._name, self._stNum, 0, self._live_s, value)

    def handle_timer(self, now: float) -> LightFrame | None:
        """The next repetition if it is due, else None."""
        if now < self.next_deadline or self._value is None:
            return None
        self._sqNum += 1
        self._sent = min(self._sent + 1, len(self._gaps) - 1)
        gap = self._gaps[self._sent]
        self.next_deadline += gap
        if self.next_deadline <= now:
            self.next_deadline = now + gap
        return LightFrame(*self._name, self._stNum, self._sqNum, self._live_s, self._value)


class LightSubscriber:
    """State machine of one stream that carries its publisher's incarnation.

    Follows :class:`~ied_agents.goose.subscriber.Subscriber`; a test feeds both the same frames.

    Attributes:
        counters: what came.
        alive: whether the time to live runs.
        deadline: when it runs out, s; infinity while not alive.
    """

    __slots__ = ("_incarnation", "_sqNum", "_stNum", "_value", "alive", "counters", "deadline")

    def __init__(self) -> None:
        self.counters = StreamCounters()
        self.alive = False
        self.deadline = float("inf")
        self._value: AgentState | LoadState | None = None
        self._stNum = self._sqNum = 0
        self._incarnation = -1

    def take(self, frame: LightFrame, now: float) -> tuple[bool, bool]:
        """Judge a frame: whether it is a new state, and whether the lost stream goes on with it."""
        counters = self.counters
        counters.received += 1
        if frame.simulation:
            counters.simulation_refused += 1
            return False, False
        value = frame.value
        same = frame.stNum == self._stNum and (value is self._value or value == self._value)
        if same and self._value is not None:
            if frame.sqNum < self._sqNum:
                counters.out_of_order += 1
                return False, False
            if frame.sqNum == self._sqNum:
                counters.duplicates += 1
                return False, False
            counters.repetitions += 1
        else:
            incarnation = value.incarnation
            ahead = (frame.stNum - self._stNum) & 0xFFFF_FFFF
            restarted = self._value is not None and not 0 < ahead < _HALF
            if incarnation < self._incarnation or (incarnation == self._incarnation and restarted):
                if frame.stNum == self._stNum:
                    counters.conflicts += 1
                else:
                    counters.old_states += 1
                return False, False
            counters.states += 1
            self._incarnation = incarnation
            self._stNum, self._value = frame.stNum, value
        self._sqNum = frame.sqNum
        self.deadline = now + frame.live_s
        resumed = not self.alive and counters.lost > 0
        self.alive = True
        return not same, resumed

    def expire(self, now: float) -> bool:
        """Whether the time to live has run out just now."""
        if now < self.deadline:
            return False
        self.alive = False
        self.deadline = float("inf")
        self.counters.lost += 1
        return True


class LightStation:
    """Does what :class:`~ied_agents.runtime.station.Station` does, with :class:`LightFrame` for frames.

    Args:
        settings: of this agent.
        record: its durable state, already on disk as that of the new process.
        unclean: the process before this one did not stop in order.
        now: s.

    Attributes:
        agent: the agent.
        subscribers: the subscribed streams, by switch and whether it is the fast one.
        next_deadline: when :meth:`turn` must be called even if nothing arrives, s.
    """

    def __init__(self, settings: AgentSettings, record: Record, *, unclean: bool, now: float) -> None:
        number = settings.config.number
        self.agent = Agent(settings.config, record, unclean=unclean, now=now)
        self.subscribers = {(peer, fast): LightSubscriber() for peer in settings.peers for fast in (True, False)}
        self.next_deadline = now
        self._fast = LightPublisher[AgentState](number, fast=True, settings=settings.own.fast)
        self._slow = LightPublisher[LoadState](number, fast=False, settings=settings.own.slow)
        self._names = {
            (peer, fast): (streams.fast if fast else streams.slow).gocbRef
            for peer, streams in settings.peers.items()
            for fast in (True, False)
        }
        self._notes: list[Note] = []
        self._arrived = True
        self._reflex: Turn | None = None
        """What was done ahead of the next turn."""
        self._expiry = float("inf")
        """No time to live runs out before, s."""

    @property
    def counters(self) -> list[StreamCounters]:
        """Those of the subscribed streams."""
        return [subscriber.counters for subscriber in self.subscribers.values()]

    def receive_frame(self, frame: LightFrame, now: float) -> None:
        """A frame off the wire."""
        key = frame[:2]
        new, resumed = self.subscribers[key].take(frame, now)
        self._expiry = min(self._expiry, now + frame.live_s)
        if resumed:
            self.agent.peer_resumed(frame.switch, fast=frame.fast)
            self._note(StreamResumed, key)
        if not new:
            return
        alone = not self._arrived and now < self.next_deadline
        self._arrived = True
        if isinstance(frame.value, AgentState):
            before = self.agent.situation.views[frame.switch].state
            self.agent.receive_state(frame.switch, frame.value)
            event = self.agent.clear_request(frame.switch, before, now) if alone else NO_EVENT
            if event != NO_EVENT:
                self._reflex = self.agent.trip(event, now)
        else:
            self.agent.receive_load(frame.switch, frame.value)

    def receive_inputs(self, inputs: SwitchInputs, now: float) -> None:
        """A snapshot of the process."""
        self.agent.receive_inputs(inputs, now)
        self._arrived = True

    def stored(self, version: int, record: Record) -> None:
        """A record is on disk."""
        self.agent.stored(version, record)
        self._arrived = True

    def touch(self) -> None:
        """Something else changed: decide anew in the next turn."""
        self._arrived = True

    def pass_over(self, seconds: float) -> None:
        """Let time go by in which all streams only repeat: what is due, and what runs out, is so much later."""
        self._fast.next_deadline += seconds
        self._slow.next_deadline += seconds
        for subscriber in self.subscribers.values():
            subscriber.deadline += seconds
        self._expiry += seconds

    def idle(self, now: float) -> bool:
        """Whether a turn now would change and send nothing."""
        return not self._arrived and now < self.next_deadline

    def turn(self, now: float) -> LightOutput:
        """Decide, once, on all that has arrived, and do what is due."""
        if now >= self._expiry:
            self._expire(now)
        frames: list[LightFrame | None] = []
        output = LightOutput([], [], None, [])
        if self._arrived or now >= self.agent.next_deadline:
            self._arrived = False
            reflex, self._reflex = self._reflex, None
            if reflex is not None:
                frames = [self._fast.publish(reflex.fast, now)]
                output.commands.extend(reflex.commands)
                self._notes += reflex.notes
            turn = self.agent.evaluate(now)
            frames += (self._fast.publish(turn.fast, now), self._slow.publish(turn.slow, now))
            output = LightOutput([], output.commands + turn.commands, turn.record, [*self._notes, *turn.notes])
            self._notes.clear()
        frames += (self._fast.handle_timer(now), self._slow.handle_timer(now))
        output.frames.extend(frame for frame in frames if frame is not None)
        self.next_deadline = min(
            self.agent.next_deadline, self._fast.next_deadline, self._slow.next_deadline, self._expiry
        )
        return output

    def _expire(self, now: float) -> None:
        self._expiry = float("inf")
        for key, subscriber in self.subscribers.items():
            if subscriber.expire(now):
                self.agent.peer_lost(key[0], fast=key[1])
                self._note(StreamLost, key)
            self._expiry = min(self._expiry, subscriber.deadline)

    def _note(self, kind: type[StreamLost | StreamResumed], key: tuple[int, bool]) -> None:
        self._arrived = True
        self._notes.append(Note(kind.__name__, {"gocbRef": self._names[key]}))
