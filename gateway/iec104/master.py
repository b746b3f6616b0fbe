"""A controlling station: one field device, by one or several connections of which one is started. Sans-IO.

After each start it sets the clock where that is wanted and interrogates; what it is told it hands on. The outcome of a
command is what the device itself says of it: the matching confirmations and the termination, or that they did not come.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Final

from gateway.iec104.asdu import (
    COMMANDS,
    DEFAULT_SIZES,
    Asdu,
    Cause,
    InformationObject,
    Sizes,
    TypeID,
    UnknownTypeError,
    decode,
    encode,
    tag_of,
)
from gateway.iec104.errors import Iec104DecodeError
from gateway.iec104.image import GENERAL_COUNTERS, STATION
from gateway.iec104.link import (
    AsduReceived,
    DataTransferStarted,
    DataTransferStopped,
    Link,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    Role,
)
from gateway.iec104.time_tag import TimeBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.iec104.asdu import Value

_SELECT_BIT: Final = 0x80
_MOST_WAITING: Final = 1024
_INF: Final = float("inf")
_UNKNOWN: Final = {
    Cause.UNKNOWN_TYPE: "it does not know the type",
    Cause.UNKNOWN_CAUSE: "it does not know the cause",
    Cause.UNKNOWN_CA: "it does not know the common address",
    Cause.UNKNOWN_IOA: "it does not know the object",
}


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """How a field device is talked to.

    Attributes:
        CAs: its common addresses.
        sizes: octets of COT, CA and IOA.
        link: window and time limits.
        time_base: of time tags, in both directions.
        originator: our originator address.
        interrogate: a station interrogation after each start.
        counters: a general request for counters after each start.
        clock_s: its clock is set after each start and so often, s; 0 for never.
        confirm_s: a confirmation is expected within this, s.
        terminate_s: the termination of a command, or the next object of an interrogation, within this, s.
    """

    CAs: tuple[int, ...]
    sizes: Sizes = DEFAULT_SIZES
    link: LinkConfig = field(default_factory=LinkConfig)
    time_base: TimeBase = field(default_factory=lambda: TimeBase("UTC"))
    originator: int = 0
    interrogate: bool = True
    counters: bool = False
    clock_s: float = 0.0
    confirm_s: float = 15.0
    terminate_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Started:
    """Data flow from the device, on this connection."""

    connection: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The started connection is gone, and with it all that is not told yet.

    Attributes:
        reason: why.
        standby: another connection is being started in its place. If none of them can be, it is told once more.
    """

    reason: str
    standby: bool = False


@dataclass(frozen=True, slots=True)
class ObjectsReceived:
    """The device tells values."""

    asdu: Asdu


@dataclass(frozen=True, slots=True)
class Asked:
    """A request has ended: interrogation, counters, clock, test, reset, read.

    Attributes:
        typeID: what was asked.
        CA: whom.
        qualifier: QOI, QCC or QRP; of a read the IOA.
        why: it failed, because of this; empty: it was confirmed, and terminated where that belongs to it.
    """

    typeID: TypeID
    CA: int
    qualifier: int
    why: str


@dataclass(frozen=True, slots=True)
class CommandConfirmed:
    """The device has confirmed the execute of a command that it terminates; its end is still to come."""

    number: int


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """A command has come to its end.

    Attributes:
        number: of :meth:`ControllingStation.command`.
        done: the device confirmed and terminated it; a select or a cancel that stood alone, that it confirmed it.
        stage: where it ended: select, execute, termination or cancel.
        why: of what was not done.
        moving: it may move, or have moved, done or not: it was confirmed, or its execute was sent and not answered.
    """

    number: int
    done: bool
    stage: str
    why: str = ""
    moving: bool = False


MasterEvent = Started | Lost | ObjectsReceived | Asked | CommandConfirmed | CommandEnded


class _Stage(Enum):
    SELECT = "select"
    EXECUTE = "execute"
    TERMINATION = "termination"
    CANCEL = "cancel"


@dataclass(slots=True)
class _Command:
    number: int
    CA: int
    typeID: TypeID
    object: InformationObject
    stage: _Stage
    executed: bool
    terminated: bool
    test: bool
    latest: float = _INF
    deadline: float = _INF
    octets: bytes = b""


@dataclass(slots=True)
class _Request:
    asdu: Asdu
    octets: bytes
    confirmed: bool = False
    deadline: float = _INF


class ControllingStation:
    """Talks to one field device.

    Args:
        settings: how.
        holds: what the device tells is acknowledged at link level only when :meth:`stored` says so, so that it is not
            lost with us; else at once.

    Attributes:
        notes: what is to be logged, oldest first; taken by the driver.
    """

    def __init__(self, settings: MasterSettings, *, holds: bool = False) -> None:
        self.settings = settings
        self.notes: list[str] = []
        self._holds = holds
        self._replacing = False
        self._links: dict[int, Link] = {}
        self._started: int | None = None
        self._starting: int | None = None
        self._waiting: list[tuple[bytes, float]] = []  # for the window; not sent any more from so many s on
        self._wanted = True
        self._commands: dict[tuple[int, int], _Command] = {}
        self._unanswered: dict[tuple[int, int], object] = {}  # time tags of the last ones
        self._requests: dict[tuple[int, int, int], _Request] = {}
        self._unknown_types: set[int] = set()
        self._last = 0
        self._clock_due = _INF
        header = 2 + settings.sizes.COT + settings.sizes.CA
        self._link = replace(settings.link, shortest_asdu=min(settings.link.shortest_asdu, header))

    @property
    def started(self) -> bool:
        """Whether data flow."""
        return self._started is not None

    # -- connections ----------------------------------------------------------------------------------------------

    def connect(self, number: int, now: float) -> None:
        """A connection is there; the first one is started, the others stand by and are tested."""
        self._links[number] = Link(self._link, Role.CONTROLLING, now, holds=self._holds)
        self._start_one(now)

    def disconnect(self, number: int, why: str, now: float) -> list[MasterEvent]:
        """A connection has ended; the next one is started."""
        if self._links.pop(number, None) is None:
            return []
        return self._end(number, why, now)

    def stop(self, now: float) -> None:
        """Acknowledge what has come, and ask for no more; over with :class:`Lost`."""
        if self._wanted and self._started is not None:
            self._links[self._started].stop(now)
        self._wanted = False

    def receive(self, number: int, data: bytes, now: float, utc_ns: int) -> list[MasterEvent]:
        """Octets have come; what they mean, in order."""
        link = self._links.get(number)
        return [] if link is None else self._take(number, link.receive(data, now), now, utc_ns)

    def received(self, number: int) -> int:
        """How many ASDUs have come on a connection, for :meth:`stored`; 0 where it is none any more."""
        link = self._links.get(number)
        return 0 if link is None else link.received

    def stored(self, number: int, received: int, now: float) -> None:
        """Whoever listens has made safe what has come on a connection, up to so many ASDUs."""
        link = self._links.get(number)
        if link is not None:
            link.stored(received, now)

    def handle_timer(self, now: float, utc_ns: int) -> list[MasterEvent]:
        """Do what is due."""
        out: list[MasterEvent] = []
        for number, link in list(self._links.items()):
            if now >= link.next_deadline:
                out += self._take(number, link.handle_timer(now), now, utc_ns)
        for command in [c for c in self._commands.values() if now >= c.deadline]:
            out.append(self._ended(command, f"no answer to the {command.stage.value} in time"))
        for key, request in [(k, r) for k, r in self._requests.items() if now >= r.deadline]:
            del self._requests[key]
            self._take_back(request.octets)
            out.append(_asked(request.asdu, "no termination in time" if request.confirmed else "no answer in time"))
        if now >= self._clock_due:
            self._set_clocks(now, utc_ns)
        self._pump(now)
        return out

    @property
    def next_deadline(self) -> float:
        """When :meth:`handle_timer` is due, s."""
        return min(
            self._clock_due,
            min((link.next_deadline for link in self._links.values()), default=_INF),
            min((command.deadline for command in self._commands.values()), default=_INF),
            min((request.deadline for request in self._requests.values()), default=_INF),
        )

    def data_to_send(self) -> list[tuple[int, bytes]]:
        """What is to be written now, by connection."""
        out = [(number, link.data_to_send()) for number, link in self._links.items()]
        return [(number, octets) for number, octets in out if octets]

    def is_open(self, number: int) -> bool:
        """Whether a connection is to be kept."""
        return number in self._links

    def _start_one(self, now: float) -> None:
        if self._wanted and self._started is None and self._starting is None and self._links:
            self._starting = next(iter(self._links))
            self._links[self._starting].start(now)

    def _end(self, number: int, why: str, now: float) -> list[MasterEvent]:
        out: list[MasterEvent] = []
        if number == self._starting:
            self._starting = None
        if number == self._started:
            self._started = None
            self._clock_due = _INF
            out = [self._ended(c, f"the connection was lost: {why}") for c in list(self._commands.values())]
            self._waiting.clear()
            out += [_asked(request.asdu, f"the connection was lost: {why}") for request in self._requests.values()]
            self._requests.clear()
            self._start_one(now)
            self._replacing = self._starting is not None
            out.append(Lost(why, self._replacing))
            return out
        self._start_one(now)
        if self._replacing and self._starting is None:
            self._replacing = False
            out.append(Lost(why))
        return out

    def _take(self, number: int, events: Sequence[LinkEvent], now: float, utc_ns: int) -> list[MasterEvent]:
        out: list[MasterEvent] = []
        for event in events:
            match event:
                case AsduReceived():
                    try:
                        out += self._asdu(decode(event.octets, self.settings.sizes), now, utc_ns)
                    except UnknownTypeError as error:  # of its maker's own: it can be passed over, and is no fault
                        if error.header.typeID not in self._unknown_types:
                            self._unknown_types.add(error.header.typeID)
                            self.notes.append(f"passed over: {error}; this is said once")
                    except Iec104DecodeError as error:
                        self.notes.append(f"closed: ASDU {event.octets[:32].hex(' ')}: {error}")
                        del self._links[number]
                        return out + self._end(number, str(error), now)
                case DataTransferStarted():
                    self._starting, self._started, self._replacing = None, number, False
                    out.append(Started(number))
                    self._begin(now, utc_ns)
                case DataTransferStopped() if number == self._started:
                    out += self._end(number, "data transfer was stopped", now)
                case LinkClosed():
                    self._links.pop(number, None)
                    return out + self._end(number, event.reason, now)
        self._pump(now)
        return out

    def _begin(self, now: float, utc_ns: int) -> None:
        if self.settings.clock_s:
            self._set_clocks(now, utc_ns)
        for ca in self.settings.CAs:
            if self.settings.interrogate:
                self.interrogate(ca, now)
            if self.settings.counters:
                self.count(ca, now)

    # -- requests -------------------------------------------------------------------------------------------------

    def interrogate(self, CA: int, now: float, *, group: int = 0) -> None:
        """Ask a station for all its values, or for those of a group, 1 to 16."""
        self._ask(TypeID.C_IC_NA_1, CA, InformationObject(0, None, STATION + group), now)

    def count(self, CA: int, now: float, *, request: int = GENERAL_COUNTERS, freeze: int = 0) -> None:
        """Ask a station for its counters (5: all, 1 to 4: a group), or freeze (1), freeze and reset (2), reset (3)."""
        self._ask(TypeID.C_CI_NA_1, CA, InformationObject(0, None, request | freeze << 6), now)

    def set_clock(self, CA: int, now: float, utc_ns: int) -> None:
        """Tell a station the time."""
        tag = self.settings.time_base.encode(utc_ns)
        self._ask(TypeID.C_CS_NA_1, CA, InformationObject(0, None, 0, tag), now)

    def reset(self, CA: int, now: float, *, QRP: int = 1) -> None:
        """Reset a station's process (1), or its buffer of events (2)."""
        self._ask(TypeID.C_RP_NA_1, CA, InformationObject(0, None, QRP), now)

    def test(self, CA: int, now: float, utc_ns: int) -> None:
        """Send a test command."""
        tag = self.settings.time_base.encode(utc_ns)
        self._ask(TypeID.C_TS_TA_1, CA, InformationObject(0, 0xAA, 0, tag), now)

    def read(self, CA: int, IOA: int, now: float) -> None:
        """Ask for one object; what comes is an :class:`ObjectsReceived` with the cause *requested*."""
        self._ask(TypeID.C_RD_NA_1, CA, InformationObject(IOA, None), now)

    def _set_clocks(self, now: float, utc_ns: int) -> None:
        self._clock_due = now + self.settings.clock_s
        for ca in self.settings.CAs:
            self.set_clock(ca, now, utc_ns)

    def _ask(self, typeID: TypeID, CA: int, one: InformationObject, now: float) -> None:
        key = (typeID, CA, one.qualifier or one.IOA)
        if key in self._requests:
            return  # the same is asked already: its answer answers both
        cause = Cause.REQUESTED if typeID is TypeID.C_RD_NA_1 else Cause.ACTIVATION
        asdu = Asdu(typeID, cause, CA, (one,))
        octets = self._encode(asdu)
        self._requests[key] = _Request(asdu, octets, deadline=now + self.settings.confirm_s)
        self._send(octets, now)

    # -- commands -------------------------------------------------------------------------------------------------

    def command(
        self,
        CA: int,
        IOA: int,
        typeID: TypeID,
        value: Value,
        now: float,
        utc_ns: int,
        *,
        qualifier: int = 0,
        select: bool = False,
        execute: bool = True,
        terminated: bool = True,
        test: bool = False,
        send_s: float = _INF,
    ) -> int:
        """Command an object.

        Args:
            CA: common address.
            IOA: information object address.
            typeID: 45 to 51, or 58 to 64 for the same with a time tag.
            value: of the type.
            now: s.
            utc_ns: for the time tag.
            qualifier: QU or QL.
            select: select it before.
            execute: execute it; else it ends with the confirmation of the select, to be executed or cancelled later.
            terminated: the device terminates its commands; else the confirmation ends it.
            test: set the test bit.
            send_s: what the window has not let out within this is not sent any more, s.

        Returns:
            The number that :class:`CommandEnded` will bear.

        Raises:
            ValueError: no connection is started, too much waits, another command to this object runs, the type is
                none, or the value is none of the type.
        """
        one = InformationObject(IOA, value, qualifier)
        stage = _Stage.SELECT if select else _Stage.EXECUTE
        command = _Command(0, CA, typeID, one, stage, execute, terminated, test, latest=now + send_s)
        return self._begin_command(command, now, utc_ns)

    def cancel(
        self,
        CA: int,
        IOA: int,
        typeID: TypeID,
        value: Value,
        now: float,
        utc_ns: int,
        *,
        qualifier: int = 0,
        test: bool = False,
    ) -> int:
        """Cancel a selection (cause 8), as it was made; arguments, result and errors as of :meth:`command`."""
        one = InformationObject(IOA, value, qualifier)
        command = _Command(0, CA, typeID, one, _Stage.CANCEL, executed=False, terminated=False, test=test)
        return self._begin_command(command, now, utc_ns)

    def _begin_command(self, command: _Command, now: float, utc_ns: int) -> int:
        value = command.object.value
        place = command.CA, command.object.IOA
        if command.typeID not in COMMANDS:
            raise ValueError(f"{command.typeID.name} is no command")
        if self._started is None:
            raise ValueError("not connected to the device: the command was not sent")
        if place in self._commands:
            raise ValueError(f"CA {place[0]} IOA {place[1]}: another command runs")
        if len(self._waiting) >= _MOST_WAITING:
            raise ValueError(f"{len(self._waiting)} requests wait for the device: the command was not sent")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{value} is no set point")
        self._last += 1
        command.number = self._last
        self._advance(command, command.stage, now, utc_ns)
        self._commands[place] = command
        return command.number

    def _advance(self, command: _Command, stage: _Stage, now: float, utc_ns: int) -> None:
        command.stage = stage
        command.deadline = now + self.settings.confirm_s
        one = command.object
        qualifier = one.qualifier & ~_SELECT_BIT | (0 if stage is _Stage.EXECUTE else _SELECT_BIT)
        cause = Cause.DEACTIVATION if stage is _Stage.CANCEL else Cause.ACTIVATION
        tag = None if tag_of(command.typeID) is None else self.settings.time_base.encode(utc_ns)
        one = one._replace(qualifier=qualifier, time=tag)
        command.octets = self._encode(Asdu(command.typeID, cause, command.CA, (one,), test=command.test))
        # As the device reads it: a set point of its type is not quite what was asked for.
        command.object = decode(command.octets, self.settings.sizes).objects[0]
        self._send(command.octets, now, command.latest)

    def _ended(self, command: _Command, why: str = "", *, answered: bool = False) -> CommandEnded:
        self._commands.pop((command.CA, command.object.IOA), None)
        sent = not self._take_back(command.octets)
        if why and not sent:
            why += ": it was not sent"
        elif why and not answered:
            self._unanswered[command.CA, command.object.IOA] = command.object.time
        moving = command.stage is _Stage.TERMINATION or (command.stage is _Stage.EXECUTE and sent and not answered)
        return CommandEnded(command.number, not why, command.stage.value, why, moving)

    # -- what comes -----------------------------------------------------------------------------------------------

    def _asdu(self, asdu: Asdu, now: float, utc_ns: int) -> list[MasterEvent]:
        if asdu.typeID in COMMANDS:
            return self._command_answered(asdu, now, utc_ns)
        if asdu.typeID in _WHOLE:
            request = self._requests.get((asdu.typeID, asdu.CA, asdu.objects[0].qualifier or asdu.objects[0].IOA))
            return [] if request is None else self._answered(request, asdu, now)
        if asdu.typeID is TypeID.M_EI_NA_1 and self.settings.interrogate and asdu.CA in self.settings.CAs:
            self.interrogate(asdu.CA, now)
        for asked in self._requests.values():
            if asked.confirmed and asked.asdu.CA == asdu.CA:
                asked.deadline = now + self.settings.terminate_s
        out: list[MasterEvent] = [ObjectsReceived(asdu)]
        if asdu.cause == Cause.REQUESTED:
            reads = [self._requests.pop((TypeID.C_RD_NA_1, asdu.CA, one.IOA), None) for one in asdu.objects]
            out += [_asked(read.asdu, "") for read in reads if read is not None]
        return out

    def _answered(self, request: _Request, asdu: Asdu, now: float) -> list[MasterEvent]:
        why = ""
        if asdu.cause in _UNKNOWN:
            why = _UNKNOWN[Cause(asdu.cause)]
        elif asdu.negative:
            why = "refused"
        elif asdu.cause == Cause.ACTIVATION_CON and asdu.typeID in _TERMINATED:
            request.confirmed, request.deadline = True, now + self.settings.terminate_s
            return []
        elif asdu.cause not in (Cause.ACTIVATION_CON, Cause.TERMINATION):
            return []
        self._requests.pop((asdu.typeID, asdu.CA, asdu.objects[0].qualifier or asdu.objects[0].IOA), None)
        return [_asked(request.asdu, why)]

    def _command_answered(self, asdu: Asdu, now: float, utc_ns: int) -> list[MasterEvent]:
        one = asdu.objects[0]
        command = self._commands.get((asdu.CA, one.IOA))
        if command is None or asdu.typeID is not command.typeID:
            return []
        sent = command.object
        late = one.time is not None and sent.time != one.time == self._unanswered.get((asdu.CA, one.IOA))
        if asdu.cause in _UNKNOWN and not late:
            return [self._ended(command, _UNKNOWN[Cause(asdu.cause)], answered=True)]
        if late or (one.value, one.qualifier, asdu.test) != (sent.value, sent.qualifier, command.test):
            self.notes.append(f"CA {asdu.CA} IOA {one.IOA}: an answer to a command not given, or given up: {one}")
            return []
        match asdu.cause, command.stage:
            case Cause.ACTIVATION_CON, _Stage.SELECT | _Stage.EXECUTE if asdu.negative:
                return [self._ended(command, "refused", answered=True)]
            case Cause.ACTIVATION_CON, _Stage.SELECT if command.executed:
                self._advance(command, _Stage.EXECUTE, now, utc_ns)
            case Cause.ACTIVATION_CON, _Stage.EXECUTE if command.terminated:
                command.stage, command.deadline = _Stage.TERMINATION, now + self.settings.terminate_s
                return [CommandConfirmed(command.number)]
            case Cause.ACTIVATION_CON, _Stage.SELECT | _Stage.EXECUTE:
                return [self._ended(command)]
            case Cause.TERMINATION, _Stage.TERMINATION:
                return [self._ended(command, "it did not reach its end" if asdu.negative else "")]
            case Cause.DEACTIVATION_CON, _Stage.CANCEL:
                return [self._ended(command, "refused" if asdu.negative else "", answered=True)]
        return []

    # -- what goes ------------------------------------------------------------------------------------------------

    def _encode(self, asdu: Asdu) -> bytes:
        return encode(asdu._replace(originator=self.settings.originator), self.settings.sizes)

    def _send(self, octets: bytes, now: float, latest: float = _INF) -> None:
        if self._started is None or len(self._waiting) >= _MOST_WAITING:
            return  # the time limit of whoever asked says so
        self._waiting.append((octets, latest))
        self._pump(now)

    def _take_back(self, octets: bytes) -> bool:
        """What still waits for the window must not go to the device when its failure is told; whether it still did."""
        before = len(self._waiting)
        self._waiting = [waiting for waiting in self._waiting if waiting[0] is not octets]
        return len(self._waiting) < before

    def _pump(self, now: float) -> None:
        link = self._links.get(self._started) if self._started is not None else None
        for each in tuple(self._waiting):
            # What is too late stays until its time limit says so: it is not to be taken for sent.
            if link is not None and link.window and now < each[1]:
                self._waiting.remove(each)
                link.send(each[0], now)


_WHOLE: Final = frozenset(
    (TypeID.C_IC_NA_1, TypeID.C_CI_NA_1, TypeID.C_CS_NA_1, TypeID.C_RP_NA_1, TypeID.C_TS_TA_1, TypeID.C_RD_NA_1)
)
_TERMINATED: Final = frozenset((TypeID.C_IC_NA_1, TypeID.C_CI_NA_1))


def _asked(asdu: Asdu, why: str) -> Asked:
    return Asked(asdu.typeID, asdu.CA, asdu.objects[0].qualifier or asdu.objects[0].IOA, why)
