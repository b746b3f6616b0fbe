"""One agent with its GOOSE streams: frames and inputs in; frames, orders, records and notes out. Sans-IO.

The same station runs on a packet socket in its own process and under virtual time in the campaign.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr import wire
from ied_agents.dflisr.agent import Agent, Note
from ied_agents.dflisr.records import NO_EVENT
from ied_agents.dflisr.views import TESTING
from ied_agents.goose.events import StateReceived, StreamLost, StreamResumed
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.runtime.relay_streams import Relay, Standing
from ied_agents.runtime.simulation import Simulation, as_in_test

if TYPE_CHECKING:
    from ied_agents.dflisr.agent import Turn
    from ied_agents.dflisr.records import AgentState, LoadState
    from ied_agents.dflisr.stored import Record
    from ied_agents.goose.events import Event
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.runtime.settings import AgentSettings


SOON_S: Final = 1e-3
"""Until the next turn where the disk has nothing to do and the agent goes on at once."""


@dataclass(slots=True)
class Output:
    """What one turn sends out: frames first, for the reaction hangs on them."""

    frames: list[bytes] = field(default_factory=list)
    commands: list[SwitchCommand] = field(default_factory=list)
    record: tuple[int, Record] | None = None
    notes: list[Note] = field(default_factory=list)


class Station:
    """Publishers, subscribers and the agent between them.

    Args:
        settings: of this agent.
        record: its durable state, already on disk as that of the new process.
        unclean: the process before this one did not stop in order.
        mac: own address.
        now: s.

    Attributes:
        receiver: the subscribed streams of other agents, with their counters.
        relay: the relay beside the agent; None where its process is of another kind.
        time_quality: quality octet of the clock, for the time stamps of new states.
        next_deadline: when :meth:`turn` must be called even if nothing arrives, s.
    """

    def __init__(self, settings: AgentSettings, record: Record, *, unclean: bool, mac: bytes, now: float) -> None:
        self._config = settings.config
        self.agent = Agent(settings.config, record, unclean=unclean, now=now)
        self._simulation: Simulation | None = None
        self.time_quality = 0
        self._in_test = False
        self._fast = Publisher(settings.own.fast.publisher(mac))
        self._slow = Publisher(settings.own.slow.publisher(mac))
        self._last: tuple[AgentState | None, LoadState | None] = (None, None)
        self._streams: dict[str, tuple[int, bool]] = {}
        subscribers: list[Subscriber[Any]] = []
        for number, streams in settings.peers.items():
            subscribers.append(Subscriber(streams.fast.subscriber(), wire.FastDecoder(number), _incarnation))
            subscribers.append(Subscriber(streams.slow.subscriber(), wire.decode_slow, _incarnation))
            self._streams[streams.fast.gocbRef] = (number, True)
            self._streams[streams.slow.gocbRef] = (number, False)
        self.receiver = Receiver(subscribers)
        self.relay = None if settings.relay is None else Relay(settings.relay, settings.config.number, mac)
        self._encode_fast = wire.FastEncoder()
        self._notes: list[Note] = []
        self._arrived = True
        self._alone: tuple[int, AgentState | None] | None = None
        """The switch whose new state is the only news since the last turn, and its state before."""
        self._prepared: tuple[AgentState | None, bytes] = (None, b"")
        """What a trip would have the agent publish, with its octets."""
        self._tripping_for = NO_EVENT
        self.next_deadline = now

    def receive_frame(self, frame: bytes, now: float) -> None:
        """A frame off the wire."""
        self._follow_simulation()
        relay = self.relay
        if relay is not None and frame[:6] in relay.addresses:
            notes = relay.receive(frame, now)
            if notes is not None:
                self._hear_relay(notes, now)
                return
        for event in self.receiver.receive(frame, now):
            self._take(event)

    def receive_inputs(self, inputs: SwitchInputs, now: float) -> None:
        """A snapshot of the process."""
        self.agent.receive_inputs(inputs, now)
        self._arrived = True

    def _hear_relay(self, notes: list[Note], now: float) -> None:
        """Pass on what the relay says now, if there is news or it is time to."""
        assert self.relay is not None
        self._notes += notes
        testing = self._testing()
        if not self.relay.due(now) and self._in_test is testing:
            return
        self._in_test = testing
        inputs, heard_at = self.relay.snapshot(now, in_test=testing)
        if inputs is None:
            self.agent.process_lost()
        else:
            self.agent.receive_inputs(inputs, now, heard_at)
        self._arrived, self._alone = True, None

    def _testing(self) -> bool:
        """Whether values that the relay marks as test count; from the very turn on in which the mode changes."""
        return self.agent.record.behaviour in TESTING

    def stored(self, version: int, record: Record) -> None:
        """A record is on disk."""
        if self._simulation is None:
            self.agent.stored(version, record)
        else:
            self._simulation.stored(version)
        self._arrived = True

    def touch(self) -> None:
        """Something else changed, an operator's request for example: decide anew in the next turn."""
        self._arrived = True

    def _take(self, event: Event[Any]) -> None:
        switch, fast = self._streams[event.gocbRef]
        match event:
            case StateReceived():
                simulation = self._simulation
                if event.simulation and simulation is not None:
                    view = self.agent.situation.views[switch]
                    if simulation.remember(switch, view, fast=fast):
                        self._notes.append(Note("simulation followed", {"gocbRef": event.gocbRef}))
                if fast:
                    value = as_in_test(event.value) if event.simulation else event.value
                    before = self.agent.situation.views[switch].state
                    self._alone = None if self._arrived else (switch, before)
                    self.agent.receive_state(switch, value)
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

    def react(self, now: float, utc_ns: int) -> bytes | None:
        """The frame that says that this switch trips, where the frame just received asks for that; mostly None.

        The order itself comes from :meth:`trip`, to be called as soon as the frame is sent; :meth:`turn` must follow.

        Args:
            now: s.
            utc_ns: as for :meth:`turn`.
        """
        alone, self._alone = self._alone, None
        if alone is None or now >= self.next_deadline or self._simulation is not None:
            return None
        event = self.agent.clear_request(*alone, now)
        if event == NO_EVENT:
            return None
        self._tripping_for = event
        self.prepare()  # nothing is left to do if it was called after the last turn
        state, octets = self._prepared
        self._last = (state, self._last[1])
        return self._fast.publish(octets, now, UtcTime.of_clock(utc_ns, self.time_quality))

    def trip(self, now: float, utc_ns: int) -> Output:
        """The order that belongs to the frame of :meth:`react`."""
        turn = self.agent.trip(self._tripping_for, now)
        output = Output(commands=turn.commands, notes=turn.notes)
        self._order(output, now, utc_ns)
        return output

    def prepare(self) -> None:
        """Get ready for :meth:`react`, when all that the last turn gave has been sent."""
        if self._simulation is not None:
            return
        state = self.agent.prepare()
        if state is not None and state is not self._prepared[0]:
            self._prepared = state, self._encode_fast(state)

    def counters(self) -> dict[str, dict[str, int]]:
        """What became of the frames of each subscribed stream, by ``gocbRef``."""
        return {reference: asdict(one.counters) for reference, one in self._subscribers().items()}

    def supervision(self) -> dict[str, tuple[bool, bool, int | None, int, int | None]]:
        """How each subscribed stream stands, by ``gocbRef``.

        That is: whether its time to live runs, whether it is simulated, the last stNum, the expected confRev, and the
        one that comes. The two that come are None before the first frame.
        """
        return {
            reference: (one.alive, one.simulation, one.stNum, one.config.confRev, one.received_confRev)
            for reference, one in self._subscribers().items()
        }

    def _subscribers(self) -> dict[str, Subscriber[Any]]:
        relay = {} if self.relay is None else self.relay.receiver.subscribers
        return self.receiver.subscribers | relay

    @property
    def published(self) -> tuple[AgentState | None, LoadState | None]:
        """The fast and the slow state that was published last."""
        return self._last

    def turn(self, now: float, utc_ns: int) -> Output:
        """Decide, once, on all that has arrived, and do what is due.

        Args:
            now: s.
            utc_ns: CLOCK_REALTIME, ns, for the time stamps of new states.
        """
        self._alone = None
        self._follow_simulation()
        for lost in self.receiver.handle_timer(now):
            self._take(lost)
        if self.relay is not None and (now >= self.relay.next_deadline or self._in_test is not self._testing()):
            self._hear_relay(self.relay.lost(now), now)
        output = Output()
        starting = self.starting_anew and not self._start_anew(output, now, utc_ns)
        if not starting and (self._arrived or now >= self.agent.next_deadline):
            self._arrived = False
            output = self._hand_over(self.agent.evaluate(now), now, utc_ns)
        for publisher in (self._fast, self._slow):
            repetition = publisher.handle_timer(now)
            if repetition is not None:
                output.frames.append(repetition)
        self._order(output, now, utc_ns)
        deadlines = (self._fast.next_deadline, self._slow.next_deadline, self.receiver.next_deadline)
        decides_at = now + SOON_S if self._arrived else self.agent.next_deadline
        if starting:
            decides_at = math.inf  # until the disk answers
        self.next_deadline = min([decides_at, *(d for d in deadlines if d is not None)])
        if self.relay is not None:
            self.next_deadline = min(self.next_deadline, self.relay.next_deadline)
        return output

    def _order(self, output: Output, now: float, utc_ns: int) -> None:
        """Where there is a relay, orders go to it, and whether closing is blocked."""
        if self.relay is None:
            return
        t = UtcTime.of_clock(utc_ns, self.time_quality)
        real = None if self._simulation is None else self._simulation.real
        output.frames += self.relay.orders(output.commands, Standing.of(self.agent, now, real), now, t)
        output.commands = []

    def _hand_over(self, turn: Turn, now: float, utc_ns: int) -> Output:
        output = Output(commands=turn.commands, record=turn.record, notes=[*self._notes, *turn.notes])
        self._notes.clear()
        if self._simulation is not None:
            self._keep_what_is_real(self._simulation, output)
        fast, slow = self._last
        if turn.fast != fast:
            self._send(self._fast, self._encode_fast(turn.fast), now, utc_ns, output.frames)
        if turn.slow != slow:
            self._send(self._slow, wire.encode_slow(turn.slow), now, utc_ns, output.frames)
        self._last = (turn.fast, turn.slow)
        return output

    # -- simulation -----------------------------------------------------------------------------------------------

    @property
    def starting_anew(self) -> bool:
        """Simulation has ended, and the agent that starts anew waits for the disk: nothing is decided."""
        return self._simulation is not None and self._simulation.over

    def _follow_simulation(self) -> None:
        """Accept simulated frames from the moment in which it is set, and none from that in which it is not."""
        simulation, record = self._simulation, self.agent.record
        if record.simulation is (simulation is not None):
            return
        if simulation is None:
            self._simulation = Simulation(record)
            self.receiver.accept_simulation()
            if self.relay is not None:
                self.relay.receiver.accept_simulation()
        elif not simulation.over:
            simulation.over = True
            simulation.restore(self.agent.situation.views)
            followed = self.receiver.end_simulation() + ([] if self.relay is None else self.relay.end_simulation())
            self._notes.append(Note("simulation over", {"followed": followed}))
        self._arrived, self._alone = True, None

    def _keep_what_is_real(self, simulation: Simulation, output: Output) -> None:
        """Give the disk what of a turn is real; the rest is done with at once."""
        situation = self.agent.situation
        simulation.observe(situation, relay_simulated=self.relay is not None and all(self.relay.simulated))
        version, record = output.record or (self.agent.next_version(), self.agent.record)
        output.record = simulation.hand_over(version, record, situation)
        confirmed = simulation.confirmed()
        if confirmed is not None:
            self.agent.stored(*confirmed)
            self._arrived = True

    def _start_anew(self, output: Output, now: float, utc_ns: int) -> bool:
        """After a simulation: once the record of the new start is on disk another agent takes over, without traces."""
        simulation, old = self._simulation, self.agent
        assert simulation is not None
        clock_s = max(0, utc_ns // 1_000_000_000)
        output.record = simulation.start_anew(old.next_version(), old.record, old.situation, clock_s)
        if not simulation.on_disk:
            return False
        self._simulation = None
        self.agent = Agent(self._config, simulation.real, unclean=True, now=now)
        self.agent.succeed(old)
        self._arrived, self._prepared = True, (None, b"")
        return True

    def _send(self, publisher: Publisher, all_data: bytes, now: float, utc_ns: int, frames: list[bytes]) -> None:
        frame = publisher.publish(all_data, now, UtcTime.of_clock(utc_ns, self.time_quality))
        if frame is not None:
            frames.append(frame)


def _incarnation(state: AgentState | LoadState) -> int:
    return state.incarnation
