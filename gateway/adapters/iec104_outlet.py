"""Points to control centres by IEC 60870-5-104: each centre's point list, its image, and its events until it has them.

A change of a point is appended to the event log and told when it is on disk. Each centre is a consumer of the log, of
its own name: what it has not acknowledged waits there, also over a restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.iec104 import image
from gateway.iec104.asdu import InformationObject, untagged
from gateway.iec104.commands import CommandDesk, CommandSettings
from gateway.iec104.event import Event, EventHead, address_octets, object_writer
from gateway.iec104.server import Centre, Iec104Server
from gateway.iec104.station import ControlledStation, StationSettings
from gateway.points.event_log import Consumer, ConsumerConfig, EventLog
from gateway.points.mapping import CommandValue, Control, Monitor
from gateway.points.mapping_rules import MappingError
from gateway.points.point import (
    UNSPECIFIED_ACCURACY,
    PointDecodeError,
    PointError,
    PointValue,
    decode_value,
    encode_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from gateway.iec104.commands import Answer, Command, CommandRequested
    from gateway.iec104.event import ObjectWriter
    from gateway.iec104.station import StationAsked
    from gateway.points.event_log import LoggedRun
    from gateway.points.mapping import Element
    from gateway.points.mapping_rules import Rule
    from gateway.points.point_list import PointRow
    from gateway.points.table import PointTable

_LOG: Final = logging.getLogger(__name__)
_AGAIN_S: Final = 1.0
"""How long a disk that refuses is left alone."""
_SOON_S: Final = 0.1
_CROWD: Final = 32
_GATHER_S: Final = 0.003
"""How long the next write gathers what comes when the last one had a crowd of events: each costs as much as twenty."""
_MOST_NAMED: Final = 20
"""Wrong changes of one update that its error names."""
_MOST_FRESH: Final = 10_000
"""Events that a centre's feed keeps in the form in which it tells them; others it reads from the log's own."""


@dataclass(frozen=True)
class CentreConfig:
    """A control centre.

    Attributes:
        name: of the centre; its events wait under this name.
        rows: its point list.
        station: how it is served.
        clients: networks that its masters connect from; none for any.
        certificates: common names of its masters' certificates; none for any.
        most_events: that wait for it.
        overflow: name of a point (SPS) of its list that is on from when it loses events to that bound until less than
            half of it waits; empty for none. It is told before all others, and lost last.
    """

    name: str
    rows: Sequence[PointRow]
    station: StationSettings = field(default_factory=StationSettings)
    clients: tuple[IPv4Network | IPv6Network, ...] = ()
    certificates: frozenset[str] = field(default_factory=frozenset)
    most_events: int = 100_000
    overflow: str = ""


class PointCommand(NamedTuple):
    """A command to a point; answered with :meth:`Outlet.confirm` and :meth:`Outlet.terminate`.

    Attributes:
        number: to answer with.
        step: select, execute or cancel.
        name: of the point.
        command: what is asked.
        test: nothing may move.
        originator: the master's originator address.
        centre: name of its control centre; empty if its connection is over.
    """

    number: int
    step: str
    name: str
    command: CommandValue
    test: bool
    originator: int
    centre: str = ""


class Requester(NamedTuple):
    """Who commands by another protocol than IEC 60870-5-104.

    Attributes:
        outlet: name of the outlet that he commands through; it is told the answers.
        who: he is, among those of that outlet; a selection is his.
        origin: what devices, logs and the audit trail are told.
    """

    outlet: str
    who: str
    origin: str


class AsItIs(NamedTuple):
    """Detail of a control whose value need not be translated."""

    name: str


class Device(Protocol):
    """Whoever operates what the points stand for."""

    def operate(self, command: PointCommand) -> None:
        """Answered through the outlet, then or later."""

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """A master sets a clock or a parameter, or resets a process; answered with ``station.answer``."""


class Listener(Protocol):
    """Another consumer of the event log, beside the centres; closed by whoever made it, before the outlet."""

    @property
    def config(self) -> ConsumerConfig:
        """Of its consumer."""

    def begin(self, consumer: Consumer, acknowledged: Callable[[], None]) -> None:
        """Take events from now on, and say when some are acknowledged."""

    def events_ready(self) -> None:
        """Events may be offered."""


class _Told(NamedTuple):
    """One of the information objects that a point is told by, and what stands in each of its events."""

    element: Callable[[PointValue], Element]
    entry: image.Entry
    address: bytes
    kind: _Kind


class _Kind(NamedTuple):
    """What objects of one type and common address have in common."""

    write: ObjectWriter
    heads: tuple[EventHead, EventHead]  # the second one of a test


class _Feed:
    """The events of one centre: from the log to the station."""

    def __init__(
        self, log: EventLog, centre: str, told: dict[str, list[_Told]], acknowledged: Callable[[], None]
    ) -> None:
        self._consumer = log.consumer(centre)
        self._acknowledged = acknowledged
        self._told = told
        self._fresh: dict[int, list[Event]] = {}
        self._kept = 0

    def take(self, limit: int) -> list[Event]:
        """Events with the addresses of this centre, by the run: what came together is acknowledged together."""
        events: list[Event] = []
        done = []
        for run in self._consumer.take_runs(limit):
            fresh = self._fresh.pop(run.sequence, None)
            if fresh is None:
                fresh = self._events(run.sequence, _decoded(run))
            else:
                self._kept -= len(run.events)
            if not fresh:
                done.append(run.sequence)  # the point list has lost all its points since, or they have become others
            events += fresh
        if done:
            self._consumer.acknowledge_runs(done)
            self._acknowledged()  # what follows is asked for after the write, should nothing have been left of these
        return events

    @staticmethod
    def show(objects: list[_Told], point: PointValue) -> None:
        """This is how a point stands now, for who asks."""
        for told in objects:
            entry = told.entry
            entry.value, entry.qualifier, entry.t_ns, entry.time_invalid, _ = told.element(point)

    def tell(self, sequence: int, points: Sequence[tuple[str, PointValue]]) -> None:
        """A run that is in the log: shown from now on, and kept as it will be told, unless too many are."""
        if self._kept >= _MOST_FRESH:
            self._fresh.clear()
            self._kept = 0
        self._kept += len(points)
        self._fresh[sequence] = self._events(sequence, points, shown=True)

    def _events(self, sequence: int, points: Iterable[tuple[str, PointValue]], *, shown: bool = False) -> list[Event]:
        """A run as it is told: each point by all its objects, those in a row that share a head together."""
        together: list[tuple[EventHead, list[bytes]]] = []
        before: EventHead | None = None
        objects: list[bytes] = []
        for name, point in points:
            for element, entry, address, (write, heads) in self._told.get(name, ()):
                try:
                    value, qualifier, t_ns, time_invalid, test = element(point)
                except MappingError as error:
                    # The point has become another since: what can't be told must not hold up all that follows.
                    _LOG.error("%s: an event of run %d can't be told: %s", name, sequence, error)
                    continue
                if shown:
                    entry.value, entry.qualifier, entry.t_ns, entry.time_invalid = value, qualifier, t_ns, time_invalid
                head = heads[test]
                if head is not before:
                    before, objects = head, []
                    together.append((head, objects))
                objects.append(write(address, value, qualifier, t_ns, time_invalid))
        return [Event(sequence, head, b"".join(objects)) for head, objects in together]

    def acknowledge(self, tokens: Iterable[int]) -> None:
        """Told when all objects of a run have arrived."""
        self._acknowledged()
        self._consumer.acknowledge_runs(tokens)

    def release(self) -> None:
        """All that has not arrived is given again, each run with all its objects."""
        self._fresh.clear()
        self._kept = 0
        self._consumer.release()


def _decoded(run: LoggedRun) -> Iterator[tuple[str, PointValue]]:
    """The points of a run that was stored, but for those that can't be read."""
    for number, (name, payload, _) in enumerate(run.events, run.sequence):
        try:
            yield name, decode_value(payload)
        except PointDecodeError as error:
            _LOG.error("%s: event %d can't be told: %s", name, number, error)


class _Overflow:
    """Whether a centre is losing events, as a point if it has a name."""

    def __init__(self, consumer: Consumer, name: str, station: ControlledStation) -> None:
        self.name = name
        self.station = station
        self._consumer = consumer
        self._lost = consumer.overflowed
        self.on: bool | None = None

    def changed(self) -> bool | None:
        """What the point is to say now; None: what it said before."""
        before, lost = self.on, self._lost
        self._lost = self._consumer.overflowed
        if self._lost > lost:
            self.on = True
        elif not self.on or self._consumer.waiting < self._consumer.most / 2:
            self.on = False
        return None if self.on is before else self.on


class Outlet:
    """All control centres of a gateway.

    Args:
        table: the points.
        folder: of the event log.
        centres: the control centres.
        device: operates what the points stand for.
        commands: time limits of commands.
        listeners: who else gets the events.

    Raises:
        StoreError: the event log can't be used.
        MappingError, Iec104EncodeError: a point list can't be served; names the point.
    """

    def __init__(
        self,
        table: PointTable,
        folder: Path,
        centres: Sequence[CentreConfig],
        device: Device,
        commands: CommandSettings | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.table = table
        self._device = device
        self._feeds: dict[str, list[tuple[_Feed, list[_Told]]]] = {}
        self.desk = CommandDesk(commands or CommandSettings())
        lists = [_PointList(centre) for centre in centres]
        self.log = EventLog.open(
            folder,
            [
                *(ConsumerConfig(each.centre.name, each.classes.get, each.centre.most_events) for each in lists),
                *(each.config for each in listeners),
            ],
        )
        self._overflows = []
        served = []
        for each in lists:
            feed = _Feed(self.log, each.centre.name, each.told, self._write_soon)
            for name, objects in each.told.items():
                self._feeds.setdefault(name, []).append((feed, objects))
            station = ControlledStation(each.centre.station, each.image, feed, self.desk)
            served.append(Centre(each.centre.name, station, each.centre.clients, each.centre.certificates))
            self._overflows.append(_Overflow(self.log.consumer(each.centre.name), each.centre.overflow, station))
        self.server = Iec104Server(served, self.desk, self)
        self.server.elsewhere = self._answer
        self._answered: dict[str, Callable[[Answer], None]] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._writing: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._closed = False
        self._said: set[str] = set()
        self._until_stored: deque[tuple[int, Callable[[], None]]] = deque()
        self._loop = asyncio.get_running_loop()
        for name, point in table.snapshot().items():
            self._show(name, point)
        self._tell_overflows()
        self._listeners = listeners
        for listener in listeners:
            listener.begin(self.log.consumer(listener.config.name), self._write_soon)
        self._write_now()  # what waits from before is told once the disk has taken a write

    # -- points ---------------------------------------------------------------------------------------------------

    def update(self, name: str, point: PointValue) -> None:
        """The source of a point says something; raises as :meth:`update_all`."""
        self.update_all([(name, point)])

    def update_all(self, changes: Iterable[tuple[str, PointValue]]) -> None:
        """A source says something of several points; the more at once the less each costs.

        Raises:
            PointError: there is no such point, or its value is of another kind. All others are taken in.
        """
        events = []
        quiet = []
        faults = []
        update = self.table.update
        for name, point in changes:
            try:
                event = update(name, point)
            except PointError as error:
                faults.append(error)
                continue
            if event is not None:
                events.append((name, event))
            else:
                quiet.append(name)  # within the deadband; or what is substituted, or blocked
        self.tell(events)
        for name in quiet:  # behind its event, should one of the same point have come with it
            shown = self.table.get(name)
            try:
                if shown is not None:
                    self._show(name, shown)
            except MappingError as error:
                faults.append(PointError(f"{name}: {error}"))
        if faults:
            raise faults[0] if len(faults) == 1 else PointError("; ".join(map(str, faults[:_MOST_NAMED])))

    def tell(self, events: Iterable[tuple[str, PointValue]]) -> None:
        """Events of the point table are to go to the centres that have the points."""
        stored = []
        told = []
        for name, event in events:
            try:
                stored.append((name, encode_value(event), max(0, event.arrived_ns)))
            except PointError as error:
                _LOG.error("%s: an event is lost: %s", name, error)
            else:
                told.append((name, event))
        rest = iter(told)
        for run in self.log.extend(stored):
            some = list(islice(rest, len(run.events)))
            for feed, _ in self._feeds.get(some[0][0], ()):  # who gets one of a run gets all of it
                feed.tell(run.sequence, some)
        self._write_now()

    def keep(self, key: str, payload: bytes, t_ns: int) -> None:
        """What is no point's event is stored as durably, for whoever takes it; arguments as of ``log.append``."""
        self.log.append(key, payload, t_ns)
        self._write_now()

    def when_stored(self, call: Callable[[], None]) -> None:
        """Call once all events that were told before are on disk, or the disk refuses and they are told from memory.

        It may be called at once, and is not called any more after :meth:`close`.
        """
        self._until_stored.append((self.log.last, call))
        self._tell_stored(idle=self._writing is None)

    def _tell_stored(self, *, idle: bool = True) -> None:
        """Call those who wait for what is on disk; ``idle``: no write is under way."""
        waiting = self._until_stored
        # An event that is for no centre is never written: it is safe as soon as nothing else waits.
        while waiting and (waiting[0][0] <= self.log.offered or (idle and not self.log.needs_write)):
            waiting.popleft()[1]()

    def _write_now(self) -> None:
        if self._writing is None and not self._closed:
            self._writing = self._loop.create_task(self._write())

    def _write_soon(self) -> None:
        """Acknowledgements can wait for others: one that is lost costs no more than telling an event twice."""
        if self._soon is None:
            self._soon = self._loop.call_later(_SOON_S, self._write_then)

    def _write_then(self) -> None:
        self._soon = None
        self._write_now()

    def _show(self, name: str, point: PointValue) -> None:
        for feed, objects in self._feeds.get(name, ()):
            feed.show(objects, point)

    async def _write(self) -> None:
        """Put on disk what waits, and let it be told; ends when nothing waits."""
        log = self.log
        try:
            while log.needs_write:
                try:
                    result = await self._loop.run_in_executor(self._writer, log.write)
                except OSError as error:
                    log.degraded(error)
                    self._say_trouble()
                    self._tell_stored()
                    self._tell_overflows()
                    self._events_ready()
                    await asyncio.sleep(_AGAIN_S)
                else:
                    log.written(result)
                    self._say_trouble()
                    self._tell_stored()
                    self._tell_overflows()
                    self._events_ready()
                    if sum(len(entry.run.events) for entry in result.entries) >= _CROWD:
                        await asyncio.sleep(_GATHER_S)
        finally:
            self._writing = None

    def _events_ready(self) -> None:
        self.server.events_ready()
        for listener in self._listeners:
            listener.events_ready()

    def _say_trouble(self) -> None:
        """What an operator should know of the event log: events not stored or lost, files damaged; each once.

        How many are lost grows and is no news: what stands before the first comma tells one thing from another.
        """
        trouble = {each.partition(",")[0]: each for each in self.log.trouble}
        for what in trouble.keys() - self._said:
            _LOG.error("%s", trouble[what])
        self._said = set(trouble)

    def _tell_overflows(self) -> None:
        now_ns = time.time_ns()
        for each in self._overflows:
            before, on = each.on, each.changed()
            if before and on is False:
                each.station.tell_all()
            if on is not None and each.name:
                self.update(each.name, PointValue(on, 0, now_ns, UNSPECIFIED_ACCURACY, now_ns))

    async def close(self) -> None:
        """Tell nobody any more; what is not acknowledged stays on disk."""
        await self.server.close()
        self._closed = True
        if self._soon is not None:
            self._soon.cancel()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        self._writer.shutdown()
        try:
            while self.log.needs_write:
                self.log.written(self.log.write())
        except OSError as error:
            self.log.degraded(error)
            self._say_trouble()
        finally:
            self.log.close()

    # -- commands -------------------------------------------------------------------------------------------------

    def command(self, request: CommandRequested) -> None:
        """Called by the server: translate a command, and pass it on."""
        control, master = request.control.detail, request.master
        if isinstance(control, AsItIs):
            assert isinstance(request.value, bool | int | float)
            name, command = control.name, CommandValue(request.value, request.step == "select", request.qualifier)
        else:
            assert isinstance(control, Control)
            name = control.rule.name
            try:
                command = control.to_command(InformationObject(request.control.IOA, request.value, request.qualifier))
            except MappingError as error:
                self.desk.confirm(request.number, self.server.now(), why=str(error))
                return
        self._device.operate(
            PointCommand(
                request.number,
                request.step,
                name,
                command,
                request.test,
                request.originator,
                master.origin if isinstance(master, Requester) else self.server.centre_of(master),
            )
        )

    def answers_of(self, outlet: str, answered: Callable[[Answer], None]) -> None:
        """Answers to who commands through another outlet, of this name, go there."""
        self._answered[outlet] = answered

    def ask_desk(self, asked: Command) -> None:
        """A :class:`Requester` commands: at the desk of all masters, so that he and they meet at the device."""
        self.desk.command(asked, self.server.now())
        self.server.serve()

    def _answer(self, answer: Answer) -> None:
        if isinstance(answer.master, Requester) and answer.master.outlet in self._answered:
            self._answered[answer.master.outlet](answer)

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """Called by the server."""
        self._device.ask(station, asked)

    def confirm(self, number: int, why: str = "") -> None:
        """The device has decided; ``why`` it refuses, empty if it does not."""
        self.desk.confirm(number, self.server.now(), why=why)
        self.server.serve()

    def terminate(self, number: int, why: str = "") -> None:
        """The device has come to the end of a command; ``why`` it failed, empty if it did not."""
        self.desk.terminate(number, why=why)
        self.server.serve()


class _PointList:
    """A centre's rows as an image, and which point is told by which of its objects."""

    def __init__(self, centre: CentreConfig) -> None:
        self.centre = centre
        monitored = [row for row in centre.rows if not row.control]
        controls = [row for row in centre.rows if row.control]
        self.image = image.Image(
            (image.Monitored(row.CA, row.IOA, row.typeID, row.groups, row.cyclic, row.background) for row in monitored),
            (
                # Its own rule goes with it: another centre may have another point, or another sense, at this address.
                image.Control(row.CA, row.IOA, untagged(row.typeID), row.name, row.select, Control(row.rule))
                for row in controls
            ),
        )
        settings = centre.station
        # One of each kind and rule for all points: with ten thousand, the processor's caches are what is short.
        kinds: dict[int, _Kind] = {}
        monitors: dict[Rule, Monitor] = {}
        self.told: dict[str, list[_Told]] = {}
        self.classes: dict[str, int] = {}
        for row in monitored:
            entry = self.image.entry(row.CA, row.IOA)
            assert entry is not None
            address = address_octets(row.CA, row.IOA, settings.sizes)
            key = row.CA << 8 | row.typeID
            if key not in kinds:
                write = object_writer(row.CA, row.typeID, settings.sizes, settings.time_base, _LOG.error)
                heads = EventHead(row.CA, row.typeID), EventHead(row.CA, row.typeID, test=True)
                kinds[key] = _Kind(write, heads)
            rule = replace(row.rule, name="its point")
            if rule not in monitors:
                Monitor(row.rule)  # if it cannot be, then by its name
                monitors[rule] = Monitor(rule)
            self.told.setdefault(row.name, []).append(_Told(monitors[rule].element, entry, address, kinds[key]))
            self.classes[row.name] = min(row.event_class, self.classes.get(row.name, row.event_class))
        if centre.overflow:
            if self.classes.get(centre.overflow) is None:
                raise MappingError(f"{centre.name}: its overflow point {centre.overflow!r} is not in its point list")
            self.classes[centre.overflow] = -1
