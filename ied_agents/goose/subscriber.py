"""Subscribes to GOOSE control blocks: order, time to live, supervision (IEC 61850-8-1). Sans-IO.

What makes a frame newer than the last one of its stream:

* A higher stNum (in serial arithmetic: after 4294967295 comes 1) is a new state.
* The same stNum with the same members is a repetition if its sqNum is higher, else a duplicate or a late one.
* A stNum that is not higher, with other content, is a restart of the publisher if its ``t`` is later than the
  last one. Where the two times cannot be compared (a clock failed, or only one of them is synchronised),
  stNum 1 with sqNum 0 or 1 is a restart. Anything else is an old state or a conflict: reported, not applied,
  and the time to live is not renewed. Once that has run out the next frame is taken whatever its numbers are,
  as a restart if they went back: a publisher that came back with a wrong clock is heard after one time to
  live.

A stream whose members carry the publisher's incarnation is ordered by that instead of ``t`` and losses.

Where simulated frames are accepted (``LPHD.Sim``), the first readable one takes the place of the real publisher: from
then on real ones are ignored, and the simulated ones have an order and a time to live of their own. What was known of
the real publisher is kept apart, and taken up again as after a loss when simulation ends: no number of a simulated
frame outlives it, and no old real frame passes for a new one.

A condition that persists (mismatch, refusal, conflict, old states, unreadable frames) is one event when it
begins; the counters count every frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from ied_agents.goose.ber import read_header
from ied_agents.goose.data import decode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.events import (
    ConfigurationMismatch,
    DecodeFailed,
    Event,
    FramesMissed,
    OldStateReceived,
    SimulationRefused,
    StateConflict,
    StateReceived,
    StreamLost,
    StreamResumed,
)
from ied_agents.goose.frame import FrameHeader, read_frame_header
from ied_agents.goose.pdu import MAX_COUNTER, PduHeader, read_pdu_header
from ied_agents.iec61850.utctime import TimeQuality, UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

_HALF: Final = 1 << 31
_SYNCHRONISATION: Final = TimeQuality.CLOCK_FAILURE | TimeQuality.NOT_SYNCHRONISED
_KEY: Final = 22  # octets of a frame that choose the streams to compare it with: addresses, tag, APPID, Length

_OF_PUBLISHER: Final = (
    *("stNum", "sqNum", "t", "before_t", "before_sqNum", "after_sqNum", "sqNum_span"),
    *("_last_incarnation", "_shape", "_between", "_all_data"),
)
"""What a subscriber knows of the publisher that it follows."""
_KEYS_PER_STREAM: Final = 4  # Length changes when a counter grows by an octet; a tag may come and go


@dataclass(frozen=True, slots=True)
class SubscriberConfig:
    """What a frame must say, as the SCD gives it.

    Attributes:
        dst: multicast address, 6 octets.
        appid: 16 bits.
        gocbRef: reference of the control block; chooses the stream.
        datSet: reference of the data set.
        goID: identifier; None takes any, and none.
        confRev: configuration revision.
        numDatSetEntries: members of the data set.
        accept_simulation: follow a test device once it speaks (``LPHD.Sim``).
    """

    dst: bytes
    appid: int
    gocbRef: str
    datSet: str
    goID: str | None
    confRev: int
    numDatSetEntries: int
    accept_simulation: bool = False


@dataclass(slots=True)
class StreamCounters:
    """How many frames of one stream came, and what became of them (``LGOS`` supervision)."""

    received: int = 0
    states: int = 0
    repetitions: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    missed: int = 0
    restarts: int = 0
    lost: int = 0
    old_states: int = 0
    conflicts: int = 0
    mismatches: int = 0
    simulation_refused: int = 0
    real_ignored: int = 0
    undecodable: int = 0


class _Shape(NamedTuple):
    """What the octets of a frame say besides its state, and where the state lies in them."""

    live_s: float
    simulation: bool
    t_start: int
    stNum_start: int
    stNum_stop: int
    sqNum_start: int
    sqNum_stop: int
    data_start: int
    data_stop: int

    @classmethod
    def of(cls, pdu: PduHeader, *, simulation: bool) -> _Shape:
        return cls(
            pdu.timeAllowedtoLive / 1000,
            simulation,
            pdu.t_start,
            *pdu.stNum_span,
            *pdu.sqNum_span,
            *pdu.allData_span,
        )


class Subscriber(Generic[T]):
    """State machine of one stream; a :class:`Receiver` feeds it.

    Attributes:
        config: as given.
        counters: what came.
        alive: whether the time to live runs.
        stNum: of the last applied frame; None before the first.
        sqNum: of the last applied frame.
        t: of the last applied frame.
        simulation: whether a simulated publisher is followed. From its first frame on the real ones are ignored,
            until :meth:`end_simulation`.
        accept_simulation: whether simulated frames are followed (``LPHD.Sim``); may be set at any time, and only
            :meth:`end_simulation` takes it back.
        deadline: when the time to live runs out; None while not alive.
    """

    def __init__(
        self,
        config: SubscriberConfig,
        decode: Callable[[bytes], T] | None = None,
        incarnation: Callable[[T], int] | None = None,
    ) -> None:
        """Prepare for the first frame.

        Args:
            config: what the frames must say.
            decode: makes the value of the members (the content of allData); called for new states only. It
                raises GooseDecodeError for what it cannot read. By default the values as MMS Data, strictly.
            incarnation: reads from a value how often its publisher has started. Where the members carry that,
                (incarnation, stNum, sqNum) alone orders the frames: times and losses decide nothing, so that
                no old frame ever passes for a new one.
        """
        self.config = config
        self.counters = StreamCounters()
        self.alive = False
        self.stNum: int | None = None
        self.sqNum = 0
        self.t = UtcTime(0)
        self.simulation = False
        self.accept_simulation = config.accept_simulation
        self.deadline: float | None = None
        # Of the last applied frame: what comes before t, before sqNum, and from there to the members' end.
        self.before_t = b""
        self.before_sqNum = b""
        self.after_sqNum = b""
        self.sqNum_span = (0, 0)
        self._decode: Callable[[bytes], Any] = decode or self._decode_data
        self._incarnation: Callable[[T], int] | None = incarnation
        self._last_incarnation = -1
        self._shape = _Shape(0.0, False, 0, 0, 0, 0, 0, 0, 0)
        self._between = (b"", b"", b"")
        self._all_data = b""
        self._condition: object = None
        self._real: dict[str, Any] = {}
        """What was known of the real publisher when a simulated one took its place."""

    @property
    def received_confRev(self) -> int | None:
        """Of the last frame, applied or not; None before the first."""
        match self._condition:
            case (kind, "confRev", int(found)) if kind is ConfigurationMismatch:
                return found
        return None if self.stNum is None else self.config.confRev

    def _decode_data(self, all_data: bytes) -> object:
        values = decode_all_data(all_data)
        if len(values) != self.config.numDatSetEntries:
            reason = f"{self.config.numDatSetEntries}, but allData has {len(values)} members"
            raise GooseDecodeError("numDatSetEntries", 0, reason)
        return values

    def repeat(self, sqNum: int, now: float) -> Sequence[Event[T]]:
        """A frame that differs from the remembered one in nothing but, maybe, its sqNum."""
        if not _later(sqNum, self.sqNum):
            if sqNum == self.sqNum:
                self.counters.duplicates += 1
            else:
                self.counters.out_of_order += 1
            return ()
        missed = (sqNum - self.sqNum) % MAX_COUNTER - 1
        self.counters.repetitions += 1
        self.sqNum = sqNum
        self.deadline = now + self._shape.live_s
        self._condition = None
        if self.alive and not missed:
            return ()
        return [*self._resume(), *self._miss(0, missed)]

    def accept(self, raw: bytes, frame: FrameHeader, pdu: PduHeader, now: float) -> Sequence[Event[T]]:
        """A readable frame with this stream's gocbRef."""
        simulation = frame.simulated or pdu.simulation
        if simulation and not self.accept_simulation:
            return self._refuse_simulation()
        if self.simulation and not simulation:
            self.counters.real_ignored += 1
            return ()
        mismatch = self._mismatch(frame, pdu)
        if mismatch is not None:
            self.counters.mismatches += 1
            return self._report(mismatch, mismatch.field, mismatch.found)
        shape = _Shape.of(pdu, simulation=simulation)
        return (
            self._follow(raw, shape, now) if simulation is self.simulation else self._begin_simulation(raw, shape, now)
        )

    def end_simulation(self) -> bool:
        """Follow the real publisher again, as after a loss, and accept no simulated frame any more.

        Returns:
            Whether a simulated one was followed.
        """
        self.accept_simulation = False
        if not self.simulation:
            return False
        self.__dict__.update(self._real)
        self._real = {}
        self._condition = None
        self.simulation = self.alive = False
        self.deadline = None
        self.counters.lost += 1
        return True

    def _begin_simulation(self, raw: bytes, shape: _Shape, now: float) -> Sequence[Event[T]]:
        """The first simulated frame: if it can be read, its sender takes the real one's place."""
        real = {name: getattr(self, name) for name in _OF_PUBLISHER}
        self.stNum, self._last_incarnation = None, -1
        events = self._follow(raw, shape, now)
        if self.simulation:
            self._real = real
        else:
            self.__dict__.update(real)
        return events

    def differs_in_state_only(self, raw: bytes) -> bool:
        """Whether a frame has the last applied one's octets but in t, stNum, sqNum and the members."""
        shape = self._shape
        return (
            raw.startswith(self._between[0], shape.t_start + 8)
            and raw.startswith(self._between[1], shape.stNum_stop)
            and raw.startswith(self._between[2], shape.sqNum_stop)
            and len(raw) >= shape.data_stop
            and raw[shape.stNum_start] < 0x80
            and raw[shape.sqNum_start] < 0x80
        )

    def change(self, raw: bytes, now: float) -> Sequence[Event[T]]:
        """A frame that :meth:`differs_in_state_only`: what else it says has been judged before."""
        return self._follow(raw, self._shape, now)

    def _follow(self, raw: bytes, shape: _Shape, now: float) -> Sequence[Event[T]]:
        """Judge numbers, time and members of a frame that is as configured."""
        stNum = int.from_bytes(raw[shape.stNum_start : shape.stNum_stop], "big")
        sqNum = int.from_bytes(raw[shape.sqNum_start : shape.sqNum_stop], "big")
        t = UtcTime.decode(raw[shape.t_start : shape.t_start + 8])
        all_data = raw[shape.data_start : shape.data_stop]
        restarted, states_missed = False, 0
        if self.stNum is not None:
            ahead = (stNum - self.stNum) % MAX_COUNTER
            same = not ahead and all_data == self._all_data
            if same and (t == self.t or _later(sqNum, self.sqNum)):
                self._remember(raw, shape, t)
                return self.repeat(sqNum, now)
            restarted = not 0 < ahead < _HALF
            suspect = restarted and self.alive and self._incarnation is None
            if suspect and not self._is_restart(stNum, sqNum, t):
                return self._stale(stNum, sqNum, t)
            states_missed = 0 if restarted else ahead - 1
        try:
            value = self._decode(all_data)
        except GooseDecodeError as error:
            return self.undecodable(error)
        if self._incarnation is not None:
            incarnation = self._incarnation(value)
            if incarnation < self._last_incarnation or (incarnation == self._last_incarnation and restarted):
                return self._stale(stNum, sqNum, t)
            restarted = 0 <= self._last_incarnation < incarnation
            self._last_incarnation = incarnation
        self._remember(raw, shape, t)
        first = self.stNum is None or restarted
        restarted = restarted or shape.simulation is not self.simulation
        self.stNum, self.sqNum, self._all_data = stNum, sqNum, all_data
        self.simulation = shape.simulation
        self.deadline = now + shape.live_s
        self.counters.states += 1
        self.counters.restarts += restarted
        self._condition = None
        missed = () if first else self._miss(states_missed, sqNum)
        state = StateReceived(self.config.gocbRef, stNum, sqNum, t, value, shape.simulation, restarted)
        return [*self._resume(), *missed, state]

    def undecodable(self, error: GooseDecodeError) -> Sequence[Event[T]]:
        """A frame with this stream's gocbRef that cannot be read."""
        self.counters.undecodable += 1
        return self._report(DecodeFailed(self.config.gocbRef, str(error)))

    def expire(self, now: float) -> StreamLost | None:
        """The loss of the stream, if its time to live has run out."""
        if self.deadline is None or now < self.deadline:
            return None
        self.alive = False
        self.deadline = None
        self.counters.lost += 1
        return StreamLost(self.config.gocbRef, round(self._shape.live_s * 1000))

    def _refuse_simulation(self) -> Sequence[Event[T]]:
        self.counters.simulation_refused += 1
        return self._report(SimulationRefused(self.config.gocbRef))

    def _mismatch(self, frame: FrameHeader, pdu: PduHeader) -> ConfigurationMismatch | None:
        config = self.config
        for field, expected, found in (
            ("dst", config.dst, frame.dst),
            ("appid", config.appid, frame.appid),
            ("datSet", config.datSet, pdu.datSet),
            ("goID", pdu.goID if config.goID is None else config.goID, pdu.goID),
            ("confRev", config.confRev, pdu.confRev),
            ("numDatSetEntries", config.numDatSetEntries, pdu.numDatSetEntries),
            ("ndsCom", False, pdu.ndsCom),
        ):
            if expected != found:
                return ConfigurationMismatch(config.gocbRef, field, expected, found)
        return None

    def _is_restart(self, stNum: int, sqNum: int, t: UtcTime) -> bool:
        """Whether a frame that is not ahead of the last one comes from a publisher that counts anew."""
        if stNum == self.stNum and _later(sqNum, self.sqNum):
            return False
        quality = t.quality & _SYNCHRONISATION
        if quality & TimeQuality.CLOCK_FAILURE or quality != self.t.quality & _SYNCHRONISATION:
            return stNum == 1 and sqNum <= 1
        return t[:2] > self.t[:2]

    def _stale(self, stNum: int, sqNum: int, t: UtcTime) -> Sequence[Event[T]]:
        gocbRef = self.config.gocbRef
        if stNum == self.stNum:
            self.counters.conflicts += 1
            return self._report(StateConflict(gocbRef, stNum, sqNum), stNum)
        self.counters.old_states += 1
        return self._report(OldStateReceived(gocbRef, stNum, sqNum, t, self.stNum or 0), stNum)

    def _remember(self, raw: bytes, shape: _Shape, t: UtcTime) -> None:
        self.t = t
        self.before_sqNum = raw[: shape.sqNum_start]
        self.after_sqNum = raw[shape.sqNum_stop : shape.data_stop]
        self.sqNum_span = shape.sqNum_start, shape.sqNum_stop
        if shape is self._shape:
            return
        self._shape = shape
        self.before_t = raw[: shape.t_start]
        self._between = (
            raw[shape.t_start + 8 : shape.stNum_start],
            raw[shape.stNum_stop : shape.sqNum_start],
            raw[shape.sqNum_stop : shape.data_start],
        )

    def _resume(self) -> Sequence[StreamResumed]:
        if self.alive:
            return ()
        self.alive = True
        return (StreamResumed(self.config.gocbRef),) if self.counters.lost else ()

    def _miss(self, states: int, frames: int) -> Sequence[FramesMissed]:
        if not states and not frames:
            return ()
        self.counters.missed += states + frames
        return (FramesMissed(self.config.gocbRef, states, frames),)

    def _report(self, event: Event[T], *details: object) -> Sequence[Event[T]]:
        """The event, unless the last frame that could not be applied already gave the same."""
        condition = (type(event), *details)
        if condition == self._condition:
            return ()
        self._condition = condition
        return (event,)


class Receiver:
    """Gives whole Ethernet frames to the streams they belong to.

    Attributes:
        subscribers: the streams by gocbRef.
        unknown: frames of GOOSE control blocks that nobody here subscribed to.
        malformed: frames that could not be read as far as their gocbRef, those of other protocols included.
    """

    def __init__(self, subscribers: Iterable[Subscriber[Any]], *, strict: bool = True) -> None:
        """Take the streams.

        Args:
            subscribers: each with its own gocbRef.
            strict: refuse PDUs that are not exactly as the standard says.

        Raises:
            ValueError: a gocbRef twice.
        """
        self.subscribers: dict[str, Subscriber[Any]] = {}
        for subscriber in subscribers:
            if subscriber.config.gocbRef in self.subscribers:
                raise ValueError(f"two subscribers for {subscriber.config.gocbRef}")
            self.subscribers[subscriber.config.gocbRef] = subscriber
        self.unknown = 0
        self.malformed = 0
        self._strict = strict
        self._by_reference = {gocbRef.encode("latin-1"): subscriber for gocbRef, subscriber in self.subscribers.items()}
        self._recent: dict[bytes, tuple[Subscriber[Any], ...]] = {}
        self._earliest: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`: no time to live runs out before; None if none runs."""
        return self._earliest

    def receive(self, frame: bytes | memoryview, now: float) -> Sequence[Event[Any]]:
        """Take a frame, from its destination address on.

        Args:
            frame: the octets, with the 802.1Q tag if there was one.
            now: seconds.

        Returns:
            What it changed, in order; mostly nothing.
        """
        raw = frame if type(frame) is bytes else bytes(frame)
        for subscriber in self._recent.get(raw[:_KEY], ()):
            if not raw.startswith(subscriber.before_t):
                continue
            start, stop = subscriber.sqNum_span
            if (
                raw.startswith(subscriber.before_sqNum)
                and raw.startswith(subscriber.after_sqNum, stop)
                and raw[start] < 0x80
            ):
                events = subscriber.repeat(int.from_bytes(raw[start:stop], "big"), now)
            elif self._strict and subscriber.differs_in_state_only(raw):
                events = subscriber.change(raw, now)
            else:
                break
            subscriber.counters.received += 1
            if events:
                self._watch(subscriber)
            return events
        return self._receive_changed(raw, now)

    def handle_timer(self, now: float) -> Sequence[StreamLost]:
        """Report the streams whose time to live has run out."""
        if self._earliest is None or now < self._earliest:
            return ()
        lost: list[StreamLost] = []
        self._earliest = None
        for subscriber in self.subscribers.values():
            event = subscriber.expire(now)
            if event is not None:
                lost.append(event)
            self._watch(subscriber)
        return lost

    def accept_simulation(self) -> None:
        """Follow simulated publishers from their first frame on."""
        for subscriber in self.subscribers.values():
            subscriber.accept_simulation = True

    def end_simulation(self) -> list[str]:
        """Follow the real publishers again; ``gocbRef`` of those in whose place a simulated one was followed."""
        self._recent.clear()  # the octets to compare with are others now
        return [reference for reference, subscriber in self.subscribers.items() if subscriber.end_simulation()]

    def _receive_changed(self, raw: bytes, now: float) -> Sequence[Event[Any]]:
        try:
            header = read_frame_header(raw)
            _, start, stop = read_header(raw, header.apdu_start, header.apdu_stop, "IECGoosePdu", strict=self._strict)
            _, start, stop = read_header(raw, start, stop, "gocbRef", strict=self._strict)
        except GooseDecodeError:
            self.malformed += 1
            return ()
        subscriber = self._by_reference.get(raw[start:stop])
        if subscriber is None:
            self.unknown += 1
            return ()
        subscriber.counters.received += 1
        try:
            pdu = read_pdu_header(raw, header.apdu_start, header.apdu_stop, strict=self._strict)
        except GooseDecodeError as error:
            return subscriber.undecodable(error)
        events = subscriber.accept(raw, header, pdu, now)
        if subscriber.stNum is not None and raw.startswith(subscriber.before_sqNum):
            self._recall(raw[:_KEY], subscriber)
            self._watch(subscriber)
        return events

    def _recall(self, key: bytes, subscriber: Subscriber[Any]) -> None:
        """Let the next frame that begins with ``key`` be compared with this stream's last one."""
        known = self._recent.get(key, ())
        if subscriber in known:
            return
        if len(self._recent) >= _KEYS_PER_STREAM * len(self.subscribers):
            self._recent.clear()
            known = ()
        self._recent[key] = (*known, subscriber)

    def _watch(self, subscriber: Subscriber[Any]) -> None:
        deadline = subscriber.deadline
        if deadline is not None and (self._earliest is None or deadline < self._earliest):
            self._earliest = deadline


def _later(sqNum: int, last: int) -> bool:
    """Whether a frame of the same state was sent after the last one; after 4294967295 comes 1, never 0."""
    return sqNum != 0 and 0 < (sqNum - last) % MAX_COUNTER < _HALF
