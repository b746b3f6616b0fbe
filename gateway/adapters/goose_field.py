"""Field devices that are heard by GOOSE, as points: what their control blocks publish becomes events. Sans-IO.

* Order, time to live and supervision are those of :mod:`ied_agents.goose.subscriber`.
* A frame is taken whole or not at all: one whose members are not of the types of the SCD changes nothing.
* A value has the time of its own ``t`` where the data set has it, else that of the frame, which is when the publisher's
  state changed last.
* A block that is lost makes its points questionable and old, until it is heard again.
* What is refused is said once until the block is lost and comes back, at most once a minute, and counted always.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.adapters.field_news import tell_event
from gateway.adapters.mms_values import MmsPoint, MmsValueError
from gateway.points.point import KINDS, Kind
from gateway.status import GooseStatus, Standing
from ied_agents.goose.data import decode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.events import (
    ConfigurationMismatch,
    DecodeFailed,
    FramesMissed,
    OldStateReceived,
    SimulationRefused,
    StateConflict,
    StateReceived,
    StreamLost,
    StreamResumed,
)
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.data import Array, BitString, Structure
from ied_agents.iec61850.quality import SIZE as QUALITY_SIZE
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.adapters.iec104_outlet import Outlet
    from gateway.points.point import PointValue
    from ied_agents.goose.events import Event
    from ied_agents.iec61850.data import Data
    from scl.types import TypedAttribute

    _Members: TypeAlias = tuple[dict[str, Data], ...]
    """The leaves of a block's points, in its order; they have been read once, so that they can be."""

_LOG: Final = logging.getLogger(__name__)
_MEASURED: Final = frozenset((Kind.INTEGER, Kind.FLOAT, Kind.COUNTER))
_BITS: Final = {"Dbpos": 2, "Tcmd": 2, "Quality": QUALITY_SIZE}
_QUIET_NS: Final = 60 * 10**9
"""A block that comes and goes is said to be heard, and lost, once in so long."""
_NO_FRAME: Final = "nothing has been heard of it"


@dataclass(frozen=True, slots=True)
class GoosePoint:
    """A point that a control block tells.

    Attributes:
        config: the point.
        places: where its leaves stand: the member's number, and those within it, counted from 0.
    """

    config: MmsPoint
    places: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class GooseBlock:
    """A control block.

    Attributes:
        config: what its frames must say.
        members: types of the members.
        points: what they tell.
    """

    config: SubscriberConfig
    members: tuple[TypedAttribute, ...]
    points: tuple[GoosePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GooseFieldConfig:
    """A field device that is heard by GOOSE.

    Attributes:
        name: the source of its points.
        interface: where it is heard.
        blocks: its control blocks.
    """

    name: str
    interface: str
    blocks: tuple[GooseBlock, ...]


class _Stream:
    """A control block, and what is known of it."""

    def __init__(self, block: GooseBlock) -> None:
        self.block = block
        self.names = frozenset(point.config.name for point in block.points)
        self.standing = Standing(why=_NO_FRAME)
        self.said: set[str] = set()
        self.loud = True
        self.quiet_until_ns = 0
        self.state: tuple[_Members, UtcTime] | None = None
        self.subscriber = Subscriber(block.config, partial(_decode, block))


class GooseField:
    """One field device: what its GOOSE says to the outlet.

    Args:
        config: which, and what it tells.
        outlet: takes what it tells.
    """

    def __init__(self, config: GooseFieldConfig, outlet: Outlet) -> None:
        self.config = config
        self._outlet = outlet
        self._streams = {block.config.gocbRef: _Stream(block) for block in config.blocks}
        # What other makers send is read as far as it can be told what it means.
        self._receiver = Receiver([stream.subscriber for stream in self._streams.values()], strict=False)

    @property
    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, s; None while no time to live runs."""
        return self._receiver.next_deadline

    def receive(self, frame: bytes, now: float, utc_ns: int) -> None:
        """Take a frame, from its destination address on; any octets may be in it.

        Args:
            frame: the octets.
            now: s, on the machine's monotonic clock.
            utc_ns: ns since 1970.
        """
        self._take(self._receiver.receive(frame, now), utc_ns)

    def handle_timer(self, now: float, utc_ns: int) -> None:
        """Times to live may have run out."""
        self._take(self._receiver.handle_timer(now), utc_ns)

    def lose(self, why: str, utc_ns: int) -> None:
        """The interface is gone: what was heard of it is old as of now."""
        for stream in self._streams.values():
            self._lost(stream, why, utc_ns)

    def status(self) -> tuple[GooseStatus, ...]:
        """How its control blocks are."""
        return tuple(
            GooseStatus(
                name=gocbRef,
                connected=stream.standing.up,
                since_ns=stream.standing.since_ns,
                why=stream.standing.why,
                heard_ns=stream.standing.heard_ns,
                ied=self.config.name,
                interface=self.config.interface,
                points=len(stream.names),
                received=counters.received,
                states=counters.states,
                missed=counters.missed,
                lost=counters.lost,
                refused=counters.mismatches
                + counters.undecodable
                + counters.simulation_refused
                + counters.old_states
                + counters.conflicts,
            )
            for gocbRef, stream in self._streams.items()
            for counters in (stream.subscriber.counters,)
        )

    def _take(self, events: Iterable[Event[_Members]], utc_ns: int) -> None:
        for event in events:
            stream = self._streams[event.gocbRef]
            match event:
                case StateReceived():
                    stream.state = event.value, event.t
                    self._heard(stream, utc_ns)
                case StreamResumed():
                    self._heard(stream, utc_ns)
                case StreamLost(_, live_ms):
                    self._lost(stream, f"nothing acceptable was heard for its time to live, {live_ms} ms", utc_ns)
                case FramesMissed(_, states, frames):
                    if states:
                        self._say(stream, "missed", f"{states} states were missed: events may be lost")
                    elif frames:
                        self._say(stream, "missed", f"{frames} frames were missed")
                case _:
                    self._refused(stream, event)

    def _heard(self, stream: _Stream, utc_ns: int) -> None:
        """Tell the points what the last state says; of one that is known so already nothing comes of it."""
        if not stream.standing.up:
            stream.standing.begin(utc_ns)
            stream.loud = utc_ns >= stream.quiet_until_ns
            if stream.loud:
                stream.quiet_until_ns = utc_ns + _QUIET_NS
                stream.said.clear()
                _LOG.info("%s: %s is heard", self.config.name, stream.block.config.gocbRef)
        stream.standing.heard_ns = utc_ns
        if stream.state is None:
            return
        members, t = stream.state
        for point, leaves in zip(stream.block.points, members, strict=True):
            state = KINDS[point.config.cdc] not in _MEASURED
            value = _value(point, leaves, t, utc_ns)
            tell_event(self._outlet, point.config.name, value, state=state, timed="t" in leaves)

    def _lost(self, stream: _Stream, why: str, utc_ns: int) -> None:
        was_up = stream.standing.up
        stream.standing.end(why, utc_ns)
        if not was_up:
            return
        events = self._outlet.table.invalidate(self.config.name, utc_ns, stream.names)
        gocbRef = stream.block.config.gocbRef
        if stream.loud:
            _LOG.warning("%s: %s is lost: %s; %d points are old", self.config.name, gocbRef, why, len(events))
        self._outlet.tell(events)

    def _refused(self, stream: _Stream, event: Event[_Members]) -> None:
        match event:
            case ConfigurationMismatch(_, "ndsCom"):
                kind, why = "ndsCom", "its publisher says that it needs commissioning (ndsCom)"
            case ConfigurationMismatch(_, field, expected, found):
                kind, why = field, f"{field} is {_plain(found)}; the SCD says {_plain(expected)}"
            case SimulationRefused():
                kind, why = "simulation", "it is simulated"
            case DecodeFailed(_, reason):
                kind, why = "members", f"it cannot be read: {reason}"
            case OldStateReceived(_, stNum, _, _, current):
                kind, why = "old", f"stNum {stNum} is older than {current}: delayed, replayed, or of a second publisher"
            case StateConflict(_, stNum):
                kind, why = "conflict", f"stNum {stNum} comes with two contents: is there a second publisher?"
            case _:
                return
        if not stream.standing.up:
            stream.standing.why = f"refused: {why}"
        self._say(stream, kind, f"refused: {why}")

    def _say(self, stream: _Stream, kind: str, text: str) -> None:
        """Once of each kind while the block is heard, or is not."""
        if kind not in stream.said:
            stream.said.add(kind)
            _LOG.warning("%s: %s: %s; said once", self.config.name, stream.block.config.gocbRef, text)


def _plain(found: object) -> str:
    return found.hex("-").upper() if isinstance(found, bytes) else f"{found!r:.150}"


def _decode(block: GooseBlock, all_data: bytes) -> _Members:
    """The leaves of the points.

    Raises:
        GooseDecodeError: a member is not of its type, or a value none of its point's class.
    """
    values = decode_all_data(all_data, strict=False)
    if len(values) != len(block.members):
        raise GooseDecodeError("allData", 0, f"{len(values)} members; the SCD has {len(block.members)}")
    for number, (member, value) in enumerate(zip(block.members, values, strict=True), 1):
        if not _fits(member, value):
            kind = "Array" if member.count else member.bType
            raise GooseDecodeError(f"allData[{number}]", 0, f"{member.name} is {value!r:.60}; the SCD says {kind}")
    leaves = tuple({leaf: _at(values, place) for leaf, place in point.places.items()} for point in block.points)
    for point, given in zip(block.points, leaves, strict=True):
        try:
            _value(point, given, UtcTime(0), 0)
        except MmsValueError as error:
            raise GooseDecodeError(point.config.name, 0, str(error)) from None
    return leaves


def _value(point: GoosePoint, leaves: Mapping[str, Data], t: UtcTime, utc_ns: int) -> PointValue:
    """As the data says, or else the frame; a publisher without a clock, whose frames are of 1970, says no time."""
    frame: dict[str, Data] = {"t": t} if t.seconds else {}
    return point.config.value({**frame, **leaves}, 0, utc_ns)


def _at(values: tuple[Data, ...], place: tuple[int, ...]) -> Data:
    found: Data = values[place[0]]
    for number in place[1:]:
        assert isinstance(found, Structure)
        found = found[number]
    return found


def _fits(attribute: TypedAttribute, value: Data, *, element: bool = False) -> bool:
    """Whether a value is of its type: shape and kind, not the width of its number."""
    if attribute.count and not element:
        size = isinstance(value, Array) and len(value) == attribute.count
        return size and isinstance(value, Array) and all(_fits(attribute, each, element=True) for each in value)
    if attribute.attributes:
        if not isinstance(value, Structure) or len(value) != len(attribute.attributes):
            return False
        return all(_fits(part, each) for part, each in zip(attribute.attributes, value, strict=True))
    match attribute.bType:
        case "BOOLEAN":
            return isinstance(value, bool)
        case "Dbpos" | "Tcmd" | "Quality":
            return isinstance(value, BitString) and value.size == _BITS[attribute.bType]
        case "Timestamp":
            return isinstance(value, UtcTime)
        case "FLOAT32" | "FLOAT64":
            return isinstance(value, float)
        case bType if bType == "Enum" or bType.startswith("INT"):
            return isinstance(value, int) and not isinstance(value, bool)
    return True  # strings and the like: no point is made of them
