"""A controlled station as one control centre sees it: a redundancy group of connections. Sans-IO.

Of the group's connections one is started; what is to be told goes there. Events come from a source that keeps them
until they are acknowledged at link level; what a connection has not acknowledged when it ends is handed over again on
the next. Interrogations and scans are told from the image as the link's window opens (:mod:`gateway.iec104.telling`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.iec104.asdu import (
    COMMANDS,
    DEFAULT_SIZES,
    Asdu,
    Cause,
    InformationObject,
    Sizes,
    TypeID,
    decode,
    decode_header,
    encode,
    mirror,
    untagged,
)
from gateway.iec104.commands import Command, ControlStep
from gateway.iec104.errors import Iec104DecodeError
from gateway.iec104.image import GENERAL_COUNTERS, STATION
from gateway.iec104.link import (
    Acknowledged,
    AsduReceived,
    DataTransferStarted,
    DataTransferStopped,
    Link,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    Role,
)
from gateway.iec104.telling import Teller
from gateway.iec104.time_tag import CP56Time2a, TimeBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.iec104.asdu import Value
    from gateway.iec104.commands import Answer, CommandDesk, CommandStep
    from gateway.iec104.event import EventSource
    from gateway.iec104.image import Control, Image

_NS: Final = 10**9
_MOST_REPLIES: Final = 4096
"""Replies that wait for the window of a connection; a master that asks on without reading is cut off."""
_MOST_JOBS: Final = 64
_MOST_QUESTIONS: Final = 64
"""Of one connection, that somebody has not decided yet."""
_JOB_TURN: Final = 4
"""Every so many ASDUs an interrogation has its turn, however many events there are."""
_PER_ASDU: Final = 16
"""Events taken for each ASDU that the window has room for: as many measured values with time tag fit into one."""
_SELECT_BIT: Final = 0x80
_DOUBLE: Final = (TypeID.C_DC_NA_1, TypeID.C_RC_NA_1)
PARAMETERS: Final = {
    TypeID.P_ME_NA_1: TypeID.M_ME_NA_1,
    TypeID.P_ME_NB_1: TypeID.M_ME_NB_1,
    TypeID.P_ME_NC_1: TypeID.M_ME_NC_1,
}
"""Type of a parameter, and of the measured value that it is a parameter of."""


@dataclass(frozen=True, slots=True)
class StationSettings:
    """How a control centre is served.

    Attributes:
        sizes: octets of COT, CA and IOA.
        link: window and time limits.
        time_base: of time tags, in both directions.
        command_age_s: a command whose time tag is older, or as far ahead, is refused, s.
        cyclic_s: period of the periodic scan, s; 0 for none.
        background_s: period of the background scan, s; 0 for none.
        most_connections: of the group, at a time.
    """

    sizes: Sizes = DEFAULT_SIZES
    link: LinkConfig = field(default_factory=LinkConfig)
    time_base: TimeBase = field(default_factory=lambda: TimeBase("UTC"))
    command_age_s: float = 60.0
    cyclic_s: float = 0.0
    background_s: float = 0.0
    most_connections: int = 8


Matter = Literal["clock", "reset", "parameter"]


@dataclass(frozen=True, slots=True)
class StationAsked:
    """Somebody must decide; answer with :meth:`ControlledStation.answer`.

    Attributes:
        number: to answer with.
        matter: set the clock (``t_ns``), reset the process (``qualifier``: QRP), set a parameter (``value``, QPM).
        CA: addressed station.
        IOA: of a parameter.
        value: of a parameter.
        qualifier: QRP or QPM.
        t_ns: of a clock what it shall show, ns since 1970.
    """

    number: int
    matter: Matter
    CA: int
    IOA: int = 0
    value: Value = None
    qualifier: int = 0
    t_ns: int = 0


class _Job(NamedTuple):
    """An interrogation or scan on its way; ``key`` tells it from others."""

    key: tuple[int, int, int]
    asdus: Iterator[bytes]


@dataclass(slots=True)
class _Connection:
    number: int
    peer: str
    link: Link
    replies: deque[bytes] = field(default_factory=deque)
    jobs: deque[_Job] = field(default_factory=deque)
    packed: deque[tuple[bytes, list[int]]] = field(default_factory=deque)
    in_flight: deque[tuple[int, list[int]]] = field(default_factory=deque)
    turn: int = 0
    started: bool = False


class ControlledStation:
    """One redundancy group.

    Args:
        settings: how it is served.
        image: its point list.
        events: what is to be told, kept until it is acknowledged.
        desk: where commands are decided; shared with the other groups.

    Raises:
        Iec104EncodeError: an address of the point list does not fit the sizes.

    Attributes:
        asked: what somebody must decide, oldest first; taken by whoever decides.
        notes: what is to be logged, oldest first; taken by the driver.
    """

    def __init__(self, settings: StationSettings, image: Image, events: EventSource, desk: CommandDesk) -> None:
        self.settings = settings
        self.image = image
        self.asked: list[StationAsked] = []
        self.notes: list[str] = []
        self._events = events
        self._desk = desk
        self._connections: dict[int, _Connection] = {}
        self._closed: list[tuple[int, bytes]] = []
        self._initialised = False
        self._questions: dict[int, tuple[int, bytes, ControlStep | None]] = {}
        self._last_question = 0
        self._scan_due: dict[bool, float] = {}
        self._teller = Teller(image, settings.sizes, settings.time_base, self.notes)
        self._global_CA = (1 << 8 * settings.sizes.CA) - 1
        image.check(settings.sizes)
        header = 2 + settings.sizes.COT + settings.sizes.CA
        self._link = replace(settings.link, shortest_asdu=min(settings.link.shortest_asdu, header))

    # -- connections ----------------------------------------------------------------------------------------------

    def connect(self, number: int, peer: str, now: float) -> bool:
        """A connection of this group is there; False if there are too many.

        Args:
            number: of the connection, of no other of the server.
            peer: for the log.
            now: s.
        """
        if len(self._connections) >= self.settings.most_connections:
            self.notes.append(f"{peer}: refused: the group has {len(self._connections)} connections, the most it may")
            return False
        self._connections[number] = _Connection(number, peer, Link(self._link, Role.CONTROLLED, now))
        return True

    def disconnect(self, number: int, why: str) -> None:
        """A connection has ended at the other end or below; what it has not acknowledged is handed over again."""
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._drop(connection, why)

    def receive(self, number: int, data: bytes, now: float, utc_ns: int) -> None:
        """Octets have come.

        Args:
            number: of the connection.
            data: as they came.
            now: s.
            utc_ns: CLOCK_REALTIME, for the age of commands.
        """
        connection = self._connections.get(number)
        if connection is not None:
            self._take(connection, connection.link.receive(data, now), now, utc_ns)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for connection in list(self._connections.values()):
            if now >= connection.link.next_deadline:
                self._take(connection, connection.link.handle_timer(now), now, 0)
        for background, due in list(self._scan_due.items()):
            if now >= due:
                period = self.settings.background_s if background else self.settings.cyclic_s
                self._scan_due[background] = max(due + period, now)
                self._scan(background=background)
        self.pump(now)

    @property
    def next_deadline(self) -> float:
        """When :meth:`handle_timer` is due, s."""
        links = (connection.link.next_deadline for connection in self._connections.values())
        return min((*links, *self._scan_due.values()), default=float("inf"))

    def data_to_send(self) -> list[tuple[int, bytes, bool]]:
        """What is to be written now, by connection; the third says to close it behind that."""
        out = [(number, octets, True) for number, octets in self._closed]
        self._closed.clear()
        for number, connection in self._connections.items():
            octets = connection.link.data_to_send()
            if octets:
                out.append((number, octets, False))
        return out

    @property
    def started(self) -> bool:
        """Whether one of the connections is started."""
        return any(connection.started for connection in self._connections.values())

    @property
    def masters(self) -> list[tuple[str, bool]]:
        """Its connections: who, and whether he is the one that is started."""
        return [(connection.peer, connection.started) for connection in self._connections.values()]

    def _take(self, connection: _Connection, events: Sequence[LinkEvent], now: float, utc_ns: int) -> None:
        for event in events:
            match event:
                case AsduReceived():
                    try:
                        self._asdu(connection, event.octets, utc_ns, now)
                    except Iec104DecodeError as error:
                        self._close(connection, f"ASDU {event.octets[:32].hex(' ')}: {error}")
                        return
                    if len(connection.replies) > _MOST_REPLIES:
                        self._close(connection, f"{len(connection.replies)} replies wait: it asks and does not read")
                        return
                case Acknowledged():
                    self._acknowledged(connection, event.number)
                case DataTransferStarted():
                    self._start(connection, now)
                case DataTransferStopped():
                    self._stop(connection)
                case LinkClosed():
                    self._close(connection, event.reason)
                    return
        self.pump(now)

    def _acknowledged(self, connection: _Connection, number: int) -> None:
        while connection.in_flight and connection.in_flight[0][0] <= number:
            self._events.acknowledge(connection.in_flight.popleft()[1])

    def _start(self, connection: _Connection, now: float) -> None:
        for other in self._connections.values():
            if other is not connection and other.started:
                self.notes.append(f"{other.peer}: stopped: {connection.peer} of the same group has started")
                other.link.deactivate()
                self._stop(other)
        connection.started = True
        self.notes.append(f"{connection.peer}: started")
        if not self._initialised:
            self._initialised = True
            for ca in self.image.CAs:
                ended = Asdu(TypeID.M_EI_NA_1, Cause.INITIALISED, ca, (InformationObject(0, None),))
                connection.replies.append(encode(ended, self.settings.sizes))
        for background, period in ((False, self.settings.cyclic_s), (True, self.settings.background_s)):
            if period:
                self._scan_due[background] = now + period

    def _stop(self, connection: _Connection) -> None:
        """Nothing more goes out there; all that is not acknowledged waits for the next to start."""
        if connection.started:
            connection.started = False
            self._scan_due.clear()
            self._events.release()
        connection.packed.clear()
        connection.in_flight.clear()
        connection.jobs.clear()
        connection.replies.clear()
        self._desk.gone(connection.number)
        for number in [n for n, (asker, *_) in self._questions.items() if asker == connection.number]:
            del self._questions[number]

    def _drop(self, connection: _Connection, why: str) -> None:
        self.notes.append(f"{connection.peer}: closed: {why}")
        self._stop(connection)

    def _close(self, connection: _Connection, why: str) -> None:
        if self._connections.pop(connection.number, None) is not None:
            self._closed.append((connection.number, connection.link.data_to_send()))
            self._drop(connection, why)

    # -- what comes -----------------------------------------------------------------------------------------------

    def _asdu(self, connection: _Connection, octets: bytes, utc_ns: int, now: float) -> None:
        sizes = self.settings.sizes
        header = decode_header(octets, sizes)
        serve = _SERVED.get(header.typeID)
        if header.typeID in COMMANDS and (header.CA not in self.image.CAs or header.cause not in _BOTH):
            what = "common address" if header.CA not in self.image.CAs else f"cause {header.cause}"
            self._turn_away(connection, "command", f"CA {header.CA}", f"unknown {what}")
        if serve is None:
            self._refuse(connection, octets, Cause.UNKNOWN_TYPE)
        elif header.cause not in serve.causes:
            self._refuse(connection, octets, Cause.UNKNOWN_CAUSE)
        elif header.CA not in self.image.CAs and not (serve.everybody and self._global_CA == header.CA):
            self._refuse(connection, octets, Cause.UNKNOWN_CA)
        else:
            serve.serve(self, connection, decode(octets, sizes), octets, utc_ns, now)

    def _refuse(self, connection: _Connection, octets: bytes, cause: Cause) -> None:
        connection.replies.append(mirror(octets, self.settings.sizes, cause, negative=True))

    def _confirm(self, connection: _Connection, octets: bytes, cause: Cause, *, negative: bool = False) -> None:
        connection.replies.append(mirror(octets, self.settings.sizes, cause, negative=negative))

    def _interrogate(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        qoi = asdu.objects[0].qualifier
        self._run(connection, asdu, octets, allowed=STATION <= qoi <= STATION + 16, qualifier=qoi)

    def _count(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        request = asdu.objects[0].qualifier & 0x3F
        self._run(
            connection, asdu, octets, allowed=1 <= request <= GENERAL_COUNTERS, qualifier=asdu.objects[0].qualifier
        )

    def _run(self, connection: _Connection, asdu: Asdu, octets: bytes, *, allowed: bool, qualifier: int) -> None:
        """Start an interrogation, or stop it; for all stations one after the other."""
        if asdu.objects[0].IOA:
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
            return
        cas = self.image.CAs if self._global_CA == asdu.CA else (asdu.CA,)
        running = {job.key for job in connection.jobs}
        keys = [(asdu.typeID, ca, qualifier) for ca in cas]
        if asdu.cause == Cause.DEACTIVATION:
            found = running.intersection(keys)
            connection.jobs = deque(job for job in connection.jobs if job.key not in found)
            self._confirm(connection, octets, Cause.DEACTIVATION_CON, negative=not found)
        elif not allowed or running.intersection(keys) or len(running) + len(keys) > max(_MOST_JOBS, len(cas)):
            self._confirm(connection, octets, Cause.ACTIVATION_CON, negative=True)
        else:
            connection.jobs.extend(
                _Job(key, self._teller.interrogation(asdu._replace(CA=ca))) for key, ca in zip(keys, cas, strict=True)
            )

    def tell_all(self) -> None:
        """Tell how everything stands now, as a background scan does: events were lost, and may have been the newest."""
        self._scan(background=True, all_of_it=True)

    def _scan(self, *, background: bool, all_of_it: bool = False) -> None:
        cause = Cause.BACKGROUND if background else Cause.PERIODIC
        for connection in self._connections.values():
            if not connection.started or any(job.key[::2] == (cause, all_of_it) for job in connection.jobs):
                continue  # the last scan is still under way: the line is too slow for a second one
            for ca in self.image.CAs:
                scan = self._teller.scan(ca, background=background, all_of_it=all_of_it)
                connection.jobs.append(_Job((cause, ca, all_of_it), scan))

    def _read(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        entry = self.image.entry(asdu.CA, asdu.objects[0].IOA)
        if entry is None:
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
            return
        connection.replies.append(self._teller.one(asdu, entry))

    def _test(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        if asdu.objects[0].IOA:
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
        else:
            self._confirm(connection, octets, Cause.ACTIVATION_CON)

    def _set_clock(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        tag = asdu.objects[0].time
        if asdu.objects[0].IOA:
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
            return
        assert isinstance(tag, CP56Time2a)
        try:
            t_ns = self.settings.time_base.decode(tag)
        except Iec104DecodeError as error:
            self.notes.append(f"{connection.peer}: clock not set: {error}")
            self._confirm(connection, octets, Cause.ACTIVATION_CON, negative=True)
            return
        self._ask(connection, octets, "clock", asdu, t_ns=t_ns)

    def _reset(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        if asdu.objects[0].IOA:
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
        else:
            self._ask(connection, octets, "reset", asdu)

    def _set_parameter(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        del utc_ns, now
        entry = self.image.entry(asdu.CA, asdu.objects[0].IOA)
        if entry is None or untagged(entry.config.typeID) is not PARAMETERS.get(asdu.typeID, entry.config.typeID):
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
        else:
            self._ask(connection, octets, "parameter", asdu)

    def _ask(self, connection: _Connection, octets: bytes, matter: Matter, asdu: Asdu, *, t_ns: int = 0) -> None:
        if sum(asker == connection.number for asker, *_ in self._questions.values()) >= _MOST_QUESTIONS:
            self.notes.append(f"{connection.peer}: {matter} refused: {_MOST_QUESTIONS} others are not decided yet")
            self._confirm(connection, octets, Cause.ACTIVATION_CON, negative=True)
            return
        self._last_question += 1
        one = asdu.objects[0]
        step = None
        if matter != "clock":  # some set it every minute
            name = f"CA {asdu.CA}" + (f" IOA {one.IOA}" if one.IOA else "")
            step = ControlStep(matter, "asked", name, connection.peer, originator=asdu.originator)
            step = replace(step, value=one.value, qualifier=one.qualifier, test=asdu.test)
            self._desk.record(step)
        self._questions[self._last_question] = connection.number, octets, step
        self.asked.append(
            StationAsked(self._last_question, matter, asdu.CA, one.IOA, one.value, one.qualifier, t_ns),
        )

    def answer(self, number: int, *, why: str = "") -> None:
        """Tell the master what became of what he asked; ``why`` it is refused, empty if it is done."""
        asker, octets, step = self._questions.pop(number, (0, b"", None))
        if step is not None:
            self._desk.record(replace(step, outcome="refused" if why else "confirmed", why=why))
        connection = self._connections.get(asker)
        if connection is not None:
            if why:
                self.notes.append(f"{connection.peer}: refused: {why}")
            self._confirm(connection, octets, Cause.ACTIVATION_CON, negative=bool(why))

    def _command(self, connection: _Connection, asdu: Asdu, octets: bytes, utc_ns: int, now: float) -> None:
        one = asdu.objects[0]
        plain = untagged(asdu.typeID)
        control = self.image.control(asdu.CA, one.IOA)
        step: CommandStep = "select" if one.qualifier & _SELECT_BIT else "execute"
        if asdu.cause == Cause.DEACTIVATION:
            step = "cancel"
        if control is None or control.typeID is not plain:
            self._turn_away(connection, step, f"CA {asdu.CA} IOA {one.IOA}", f"no {plain.name} there", asdu)
            self._refuse(connection, octets, Cause.UNKNOWN_IOA)
            return
        why = self._senseless(plain, one, utc_ns, aged=step != "cancel")
        if why:
            self.notes.append(f"{connection.peer}: {control.name}: {step} refused: {why}")
            self._turn_away(connection, step, control.name, why, asdu, control)
            cause = Cause.DEACTIVATION_CON if step == "cancel" else Cause.ACTIVATION_CON
            self._confirm(connection, octets, cause, negative=True)
            return
        qualifier = one.qualifier & ~_SELECT_BIT
        asked = one.value, qualifier, asdu.test, asdu.originator, connection.peer
        self._desk.command(Command(connection.number, octets, control, step, *asked), now)

    def _turn_away(
        self,
        connection: _Connection,
        step: str,
        name: str,
        why: str,
        asdu: Asdu | None = None,
        control: Control | None = None,
    ) -> None:
        """For the audit trail: a command that does not come to the desk."""
        said = ControlStep(step, "refused", name, connection.peer, why, control=control)
        if asdu is not None:
            one = asdu.objects[0]
            qualifier = one.qualifier & ~_SELECT_BIT
            said = replace(said, originator=asdu.originator, value=one.value, qualifier=qualifier, test=asdu.test)
        self._desk.record(said)

    def _senseless(self, plain: TypeID, one: InformationObject, utc_ns: int, *, aged: bool) -> str:
        """Why a command is refused before anybody is asked; to cancel it is never too late."""
        if plain in _DOUBLE and one.value not in (1, 2):
            return f"{one.value} is no value of {plain.name}; 1 or 2 expected"
        if isinstance(one.value, float) and not isfinite(one.value):
            return f"{one.value} is no set point"
        if aged and isinstance(one.time, CP56Time2a):
            if one.time.invalid:
                return "its time is marked invalid"
            try:
                age_s = (utc_ns - self.settings.time_base.decode(one.time)) / _NS
            except Iec104DecodeError as error:
                return str(error)
            if abs(age_s) > self.settings.command_age_s:
                return f"it is {age_s:.1f} s old; {self.settings.command_age_s:g} s are allowed"
        return ""

    def tell(self, answer: Answer) -> bool:
        """Pass the desk's answer on; False if its master is not of this group, or not started, any more."""
        connection = self._connections.get(answer.master) if isinstance(answer.master, int) else None
        if connection is None or not connection.started:
            return False
        if answer.negative:
            self.notes.append(f"{connection.peer}: refused: {answer.why}")
        self._confirm(connection, answer.asdu, answer.cause, negative=answer.negative)
        return True

    # -- what goes ------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Send what the windows have room for; to be called when there are new events, too."""
        for connection in self._connections.values():
            while connection.link.window:
                octets, tokens = self._next(connection)
                if not octets:
                    break
                number = connection.link.send(octets, now)
                if tokens:
                    connection.in_flight.append((number, tokens))

    def _next(self, connection: _Connection) -> tuple[bytes, list[int]]:
        """The next ASDU for a connection, with the events in it."""
        if connection.replies:
            return connection.replies.popleft(), []
        connection.turn += 1
        if not connection.packed and (connection.turn % _JOB_TURN or not connection.jobs):
            connection.packed.extend(self._teller.events(self._events.take(connection.link.window * _PER_ASDU)))
        if connection.packed and (connection.turn % _JOB_TURN or not connection.jobs):
            return connection.packed.popleft()
        while connection.jobs:
            octets = next(connection.jobs[0].asdus, b"")
            if octets:
                return octets, []
            connection.jobs.popleft()
        return connection.packed.popleft() if connection.packed else (b"", [])


class _Service(NamedTuple):
    """How a type in control direction is served: by what, for which causes, and whether at the global address."""

    serve: Callable[[ControlledStation, _Connection, Asdu, bytes, int, float], None]
    causes: frozenset[int]
    everybody: bool = False


_ACTIVATION: Final = frozenset((Cause.ACTIVATION,))
_BOTH: Final = frozenset((Cause.ACTIVATION, Cause.DEACTIVATION))
_S = ControlledStation
_SERVED: Final[dict[int, _Service]] = {
    **dict.fromkeys(COMMANDS, _Service(_S._command, _BOTH)),  # noqa: SLF001 - its own table
    TypeID.C_IC_NA_1: _Service(_S._interrogate, _BOTH, everybody=True),  # noqa: SLF001
    TypeID.C_CI_NA_1: _Service(_S._count, _BOTH, everybody=True),  # noqa: SLF001
    TypeID.C_RD_NA_1: _Service(_S._read, frozenset((Cause.REQUESTED,))),  # noqa: SLF001
    TypeID.C_CS_NA_1: _Service(_S._set_clock, _ACTIVATION, everybody=True),  # noqa: SLF001
    TypeID.C_RP_NA_1: _Service(_S._reset, _ACTIVATION, everybody=True),  # noqa: SLF001
    TypeID.C_TS_TA_1: _Service(_S._test, _ACTIVATION),  # noqa: SLF001
    TypeID.P_ME_NA_1: _Service(_S._set_parameter, _ACTIVATION),  # noqa: SLF001
    TypeID.P_ME_NB_1: _Service(_S._set_parameter, _ACTIVATION),  # noqa: SLF001
    TypeID.P_ME_NC_1: _Service(_S._set_parameter, _ACTIVATION),  # noqa: SLF001
}
SERVED_CAUSES: Final = {TypeID(typeID): service.causes for typeID, service in _SERVED.items()}
"""Types in control direction that are served at all, and for which causes."""
