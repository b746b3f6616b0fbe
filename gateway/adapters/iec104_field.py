"""Field devices that speak IEC 60870-5-104, as points: what they tell becomes events, commands go to them.

What a device tells is acknowledged to it only when it is on disk here, so that neither end loses an event.

* A spontaneous object is an event. A state that is told again with another time has happened again; with the same time
  it is the same event, sent twice. A value of which only an answer was known is told with its time.
* What answers an interrogation, a read, or comes by a scan is an event only if it differs from what is known; and it
  is passed over if it is older than what is known: by its time tag, or, having none, if an event came since the
  interrogation was asked and is tagged later than that. Times of one connection only are compared with each other:
  a device that comes back may have set its clock.
* A device that is lost makes its points questionable and old, until it tells them again.
* A command goes out once, in the device's own type. A selection is the device's own where it knows such, else it is
  kept here. The outcome is what the device says; a command whose answer was lost has an unknown one, which is a no.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.adapters.field_news import OUTCOME_UNKNOWN, tell_answer, tell_event
from gateway.iec104.asdu import Cause, TypeID, untagged
from gateway.iec104.client import Iec104Client
from gateway.iec104.image import GENERAL_COUNTERS, STATION
from gateway.iec104.master import (
    Asked,
    CommandConfirmed,
    CommandEnded,
    ControllingStation,
    Lost,
    ObjectsReceived,
    Started,
)
from gateway.points.mapping import Control, Monitor
from gateway.points.mapping_rules import MappingError, tagged
from gateway.points.point import KINDS, TIME_UNKNOWN, Kind
from gateway.status import LinkStatus, RtuStatus, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.adapters.iec104_outlet import Outlet, PointCommand
    from gateway.iec104.asdu import Asdu, InformationObject
    from gateway.iec104.client import Reach
    from gateway.iec104.master import MasterEvent, MasterSettings
    from gateway.iec104.station import ControlledStation, StationAsked
    from gateway.points.mapping_rules import Rule
    from gateway.points.point import PointValue

_LOG: Final = logging.getLogger(__name__)
_MOST_SAID: Final = 100
"""Addresses of which it is said that something is wrong with them; of others it is only counted."""
_MOST_NAMED: Final = 10
_EVENTS: Final = frozenset((Cause.SPONTANEOUS, Cause.RETURN_REMOTE, Cause.RETURN_LOCAL))
_INTERROGATED: Final = range(Cause.INTERROGATED, Cause.GROUP_16 + 1)
_TELLING: Final = frozenset(
    (Cause.PERIODIC, Cause.BACKGROUND, Cause.REQUESTED, *_INTERROGATED, *range(Cause.COUNTER_GENERAL, 42), *_EVENTS)
)
_MEASURED: Final = frozenset((Kind.INTEGER, Kind.FLOAT, Kind.COUNTER))
_PROTECTION: Final = frozenset((TypeID.M_EP_TE_1, TypeID.M_EP_TF_1))
_LAST_MONITORED: Final = TypeID.M_EP_TF_1


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPoint:
    """An information object that tells a point.

    Attributes:
        CA: common address.
        IOA: information object address.
        rule: how it stands for the point; the types with and without time tag are both understood.
    """

    CA: int
    IOA: int
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldControl:
    """An information object that operates a point.

    Attributes:
        CA: common address.
        IOA: information object address.
        rule: how it stands for the point; commands go out in its type, so with or without time tag.
        select: the device wants it selected before it is executed.
        terminated: the device tells the end of a command; else its confirmation is the end.
    """

    CA: int
    IOA: int
    rule: Rule
    select: bool = False
    terminated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRtuConfig:
    """A field device.

    Attributes:
        name: the source of its points.
        reach: where it is.
        settings: how it is talked to.
        points: what it tells.
        controls: what it operates.
    """

    name: str
    reach: Reach
    settings: MasterSettings
    points: Sequence[FieldPoint]
    controls: Sequence[FieldControl] = ()

    def problems(self) -> list[str]:
        """What is wrong with it; each says where."""
        return [
            *self._addresses("point", self.points, control=False),
            *self._addresses("control", self.controls, control=True),
            *(
                f"{self.name}: control of {each.rule.name}: a bit string cannot be selected"
                for each in self.controls
                if each.select and untagged(each.rule.typeID) is TypeID.C_BO_NA_1
            ),
        ]

    def _addresses(self, what: str, objects: Sequence[FieldPoint | FieldControl], *, control: bool) -> list[str]:
        found = []
        taken: dict[tuple[int, int], str] = {}
        names: set[str] = set()
        for each in objects:
            where = f"{self.name}: {what} {each.rule.name} at CA {each.CA} IOA {each.IOA}"
            if each.CA not in self.settings.CAs:
                found.append(f"{where}: the CA is none of the device's, {', '.join(map(str, self.settings.CAs))}")
            if not 0 < each.IOA < 1 << 8 * self.settings.sizes.IOA:
                found.append(f"{where}: IOA 1 to {(1 << 8 * self.settings.sizes.IOA) - 1} expected")
            other = taken.setdefault((each.CA, each.IOA), each.rule.name)
            if other != each.rule.name:
                found.append(f"{where}: the address is that of {other}")
            # Each value of an enumeration may have a single point of its own.
            elif each.rule.name in names and (control or each.rule.expectedValue is None):
                found.append(f"{where}: the {what} stands twice")
            names.add(each.rule.name)
            found += [f"{where}: {problem}" for problem in each.rule.problems(control=control)]
        return found


class _Once:
    """Says of each address once what is wrong, of many only the first; counts all."""

    def __init__(self, device: str, what: str) -> None:
        self.count = 0
        self._device = device
        self._what = what
        self._said: set[object] = set()

    def say(self, key: object, text: str) -> None:
        self.count += 1
        if key in self._said or len(self._said) > _MOST_SAID:
            return
        self._said.add(key)
        if len(self._said) > _MOST_SAID:
            text = f"{self._what} at more than {_MOST_SAID} addresses; from here on they are only counted"
        _LOG.warning("%s: %s", self._device, text)


@dataclass(slots=True)
class _Told:
    """An information object of the device, and what came of it on this connection.

    Attributes:
        config: which, and what it stands for.
        monitor: likewise.
        state: no number: that it is told again is news.
        counter: it is asked for with the counters.
        only_events: it is never asked for.
        answered: its point is known again.
        t_ns: device's time of the last that had one to be trusted, 0 before.
        event_ns: likewise of the last event.
    """

    config: FieldPoint
    monitor: Monitor
    state: bool
    counter: bool
    only_events: bool
    answered: bool = False
    t_ns: int = 0
    event_ns: int = 0


@dataclass(slots=True)
class _Operated:
    """A control of the device.

    Attributes:
        selected: the device holds a selection of ours.
        lost: why that is over, for who comes to execute it.
        cancel: cancels a selection that the device has not confirmed yet.
    """

    config: FieldControl
    control: Control
    selected: bool = False
    lost: str = ""
    cancel: PointCommand | None = None


class _Running(NamedTuple):
    operated: _Operated
    command: PointCommand
    began: float


def _told(point: FieldPoint) -> _Told:
    kind, base = KINDS[point.rule.cdc], tagged(point.rule.typeID)
    return _Told(point, Monitor(point.rule), kind not in _MEASURED, kind is Kind.COUNTER, base in _PROTECTION)


class FieldRtu:
    """One field device: its events to the outlet, the outlet's commands to it. Sans-IO.

    Args:
        config: which, and what it tells.
        outlet: takes what it tells, and the outcomes of commands.

    Raises:
        MappingError: a rule cannot be.

    Attributes:
        config: as given.
        station: what talks to the device; its events go to :meth:`take`.
        outdated: answers that were older than what was known.
        standing: of its connections.
        ending: the connections are being ended, and the points no worse for it.
    """

    def __init__(self, config: FieldRtuConfig, outlet: Outlet) -> None:
        self.config = config
        self.station = ControllingStation(config.settings, holds=True)
        self.outdated = 0
        self.standing = Standing()
        self.ending = False
        self._outlet = outlet
        self._told = {(each.CA, each.IOA): _told(each) for each in config.points}
        self._operated = {each.rule.name: _Operated(each, Control(each.rule)) for each in config.controls}
        self._running: dict[int, _Running] = {}
        self._confirmed: set[int] = set()
        self._asked_ns: dict[int, int] = {}
        self._unknown = _Once(config.name, "objects that are no points are told")
        self._unfit = _Once(config.name, "objects that do not fit their points are told")

    @property
    def unknown(self) -> int:
        """Objects that came and stand for no point."""
        return self._unknown.count

    @property
    def unfit(self) -> int:
        """Objects that could not be what they are configured to be."""
        return self._unfit.count

    def take(self, event: MasterEvent, now: float, utc_ns: int) -> None:
        """The device has told or done something.

        Args:
            event: of :attr:`station`.
            now: s.
            utc_ns: ns since 1970.
        """
        match event:
            case ObjectsReceived(asdu):
                self.standing.heard_ns = utc_ns
                self._objects(asdu, utc_ns)
            case Started():
                self.standing.begin(utc_ns)
                _LOG.info("%s: data flow", self.config.name)
                for told in self._told.values():
                    told.answered = False
                for ca in self.config.settings.CAs:
                    self._begin(ca, utc_ns)
            case Lost():
                self._lose(event, utc_ns)
            case Asked() if self.station.started:
                self._asked(event)
            case CommandConfirmed(number):
                self._confirmed.add(number)
                self._outlet.confirm(self._running[number].command.number)
                self._say_late(self._running[number], now)
            case CommandEnded():
                self._ended(event, now, utc_ns)

    # -- what it tells --------------------------------------------------------------------------------------------

    def _begin(self, CA: int, utc_ns: int) -> None:
        """A station is interrogated; its times begin anew."""
        if self.config.settings.interrogate:
            self._asked_ns[CA] = utc_ns
        for (ca, _), told in self._told.items():
            if ca == CA:
                told.t_ns = told.event_ns = 0

    def _lose(self, lost: Lost, utc_ns: int) -> None:
        for operated in self._operated.values():
            if operated.selected:
                operated.selected, operated.lost = False, lost.reason
        if self.ending:
            return
        if lost.standby:
            _LOG.warning("%s: lost, the next link takes over: %s", self.config.name, lost.reason)
            return
        self.standing.end(lost.reason, utc_ns)
        events = self._outlet.table.invalidate(self.config.name, utc_ns)
        _LOG.warning("%s: lost: %s; %d points are old", self.config.name, lost.reason, len(events))
        self._outlet.tell(events)

    def _objects(self, asdu: Asdu, arrived_ns: int) -> None:
        if asdu.typeID is TypeID.M_EI_NA_1 and asdu.CA in self.config.settings.CAs:
            _LOG.info("%s: CA %d has been initialised, cause %d", self.config.name, asdu.CA, asdu.objects[0].qualifier)
            self._begin(asdu.CA, arrived_ns)
            return
        for one in asdu.objects:
            key = asdu.CA, one.IOA
            told = self._told.get(key)
            if told is None:
                text = f"CA {asdu.CA} IOA {one.IOA}, type {asdu.typeID:d}, stands for no point: passed over; said once"
                self._unknown.say(key, text)
                continue
            try:
                self._object(told, one, asdu, arrived_ns)
            except ValueError as error:  # of this object: the others are none the worse
                self._unfit.say(key, f"CA {asdu.CA} IOA {one.IOA}: passed over: {error}; said once")

    def _object(self, told: _Told, one: InformationObject, asdu: Asdu, arrived_ns: int) -> None:
        wanted, cause = told.config.rule.typeID, asdu.cause
        if asdu.typeID > _LAST_MONITORED or cause not in _TELLING:
            raise MappingError(f"type {asdu.typeID:d} with cause {cause} tells no value")
        plain = TypeID.M_ME_ND_1  # has no quality: what has one would lose it
        if tagged(asdu.typeID) is not tagged(wanted) or (wanted is plain and asdu.typeID is not plain):
            raise MappingError(f"{told.config.rule.name} is told with type {asdu.typeID:d}; expected {wanted:d}")
        time_base = self.config.settings.time_base
        point = told.monitor.to_point(one, arrived_ns, time_base, test=asdu.test)
        if point is None:
            told.answered = True
            return
        timed = point.time_quality != TIME_UNKNOWN
        if cause in _EVENTS:
            tell_event(self._outlet, told.config.rule.name, point, state=told.state, timed=timed)
            if timed:
                told.event_ns = point.t_ns
        elif self._is_outdated(told, point, asdu, timed=timed):
            self.outdated += 1
            return
        else:
            tell_answer(self._outlet, told.config.rule.name, point)
        told.answered = True
        if timed:
            told.t_ns = point.t_ns

    def _is_outdated(self, told: _Told, point: PointValue, asdu: Asdu, *, timed: bool) -> bool:
        if timed:
            return point.t_ns < told.t_ns
        asked_ns = self._asked_ns.get(asdu.CA)
        return asdu.cause in _INTERROGATED and asked_ns is not None and told.event_ns > asked_ns

    def _asked(self, asked: Asked) -> None:
        """A request has ended; of an interrogation, say what it left open."""
        name = self.config.name
        if asked.why:
            what = f"{asked.typeID.name} of CA {asked.CA}"
            _LOG.warning("%s: %s: %s", name, what, asked.why)
        counters = asked.typeID is TypeID.C_CI_NA_1 and asked.qualifier == GENERAL_COUNTERS
        if not counters and (asked.typeID is not TypeID.C_IC_NA_1 or asked.qualifier != STATION):
            return
        if not counters:
            self._asked_ns.pop(asked.CA, None)
        names = [
            told.config.rule.name
            for (ca, _), told in self._told.items()
            if ca == asked.CA and not told.answered and told.counter is counters and not told.only_events
        ]
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            text = "%s: CA %d: %s did not tell %d points, which stay as they were: %s%s"
            _LOG.warning(text, name, asked.CA, asked.typeID.name, len(names), ", ".join(names[:_MOST_NAMED]), more)

    # -- commands -------------------------------------------------------------------------------------------------

    def operate(self, command: PointCommand, now: float, utc_ns: int) -> None:
        """Pass a command on; what becomes of it is told to the outlet.

        Args:
            command: to a point that is one of the device's controls.
            now: s.
            utc_ns: for the time tag.
        """
        operated = self._operated[command.name]
        why = ""
        match command.step:
            case "select" if operated.config.select:
                operated.lost = ""
                self._give(operated, command, now, utc_ns, now)
                return
            case "select" if not self.station.started:
                why = f"{self.config.name}: not connected"
            case "execute" if operated.lost:
                why = f"{self.config.name}: the selection was lost with the connection: {operated.lost}; select again"
                operated.lost = ""
            case "execute":
                self._give(operated, command, now, utc_ns, now)
                return
            case "cancel" if any(running.operated is operated for running in self._running.values()):
                operated.cancel = command
                return
            case "cancel" if operated.selected:
                self._give(operated, command, now, utc_ns, now)
                return
            case "cancel":
                operated.lost = ""
        self._outlet.confirm(command.number, why)

    def _give(self, operated: _Operated, command: PointCommand, now: float, utc_ns: int, began: float) -> None:
        """Send one step: a select, an execute, or a cancel; before an execute what the device wants to be selected."""
        config = operated.config
        try:
            one = operated.control.to_object(config.IOA, command.command._replace(select=False))
            where = config.CA, config.IOA, config.rule.typeID, one.value, now, utc_ns
            if command.step == "cancel":
                operated.selected = False
                number = self.station.cancel(*where, qualifier=one.qualifier, test=command.test)
            else:
                execute = command.step == "execute" and (operated.selected or not config.select)
                number = self.station.command(
                    *where,
                    qualifier=one.qualifier,
                    select=not execute,
                    execute=execute,
                    terminated=config.terminated,
                    test=command.test,
                    # Later the control centre has been told no, and nothing may move.
                    send_s=began + self._outlet.desk.settings.confirm_s - now,
                )
                operated.selected = operated.selected and not execute
        except ValueError as error:  # nothing was sent
            self._outlet.confirm(command.number, f"{self.config.name}: {error}")
        else:
            self._running[number] = _Running(operated, command, began)

    def _ended(self, ended: CommandEnded, now: float, utc_ns: int) -> None:
        running = self._running.pop(ended.number)
        operated, command, _ = running
        confirmed = ended.number in self._confirmed
        self._confirmed.discard(ended.number)
        why = ended.why and f"{self.config.name}: {ended.stage}: {ended.why}"
        if ended.moving and why:
            why += f"; {OUTCOME_UNKNOWN}"
            _LOG.warning("%s: %s", command.name, why)
        if ended.stage == "select" and ended.done:
            operated.selected = True
            if command.step == "execute":
                self._execute_selected(running, now, utc_ns)
                return
        cancel, operated.cancel = operated.cancel, None
        if confirmed:
            self._outlet.terminate(command.number, why)
        else:
            self._outlet.confirm(command.number, why)
            if command.step == "execute" and not why:
                self._outlet.terminate(command.number)
                self._say_late(running, now)
        if cancel is not None:
            self.operate(cancel, now, utc_ns)

    def _execute_selected(self, running: _Running, now: float, utc_ns: int) -> None:
        """Execute what had to be selected only for the device; not when its master has been told no by now."""
        operated, command, began = running
        if now - began < self._outlet.desk.settings.confirm_s:
            self._give(operated, command, now, utc_ns, began)
        else:
            self._outlet.confirm(command.number, f"{self.config.name}: selected after {now - began:.1f} s: too late")
            self._give(operated, command._replace(step="cancel"), now, utc_ns, began)

    def _say_late(self, running: _Running, now: float) -> None:
        limit_s = self._outlet.desk.settings.confirm_s
        if running.command.step == "execute" and now - running.began >= limit_s:
            text = "%s: %s confirmed it after %.1f s; the control centre was told no after %g s"
            _LOG.warning(text, running.command.name, self.config.name, now - running.began, limit_s)


def _status(rtu: FieldRtu, links: Mapping[str, str]) -> RtuStatus:
    standing = rtu.standing
    return RtuStatus(
        name=rtu.config.name,
        connected=standing.up,
        since_ns=standing.since_ns,
        # Why the first connection ended says less than why there is none now.
        why="" if standing.up else "; ".join(dict.fromkeys(filter(None, links.values()))) or standing.why,
        heard_ns=standing.heard_ns,
        links=tuple(LinkStatus(where=where, why=why) for where, why in links.items()),
    )


class FieldRtus:
    """The field devices of a gateway: its :class:`Device`, which sends each command to where its point comes from.

    Args:
        configs: the devices.

    Raises:
        ValueError: they cannot be; says all that is wrong.
    """

    def __init__(self, configs: Iterable[FieldRtuConfig]) -> None:
        self._configs = tuple(configs)
        self.rtus: dict[str, FieldRtu] = {}
        self._clients: dict[str, Iec104Client] = {}
        self._by_control = {each.rule.name: config.name for config in self._configs for each in config.controls}
        problems = [problem for config in self._configs for problem in config.problems()]
        names: set[str] = set()
        points: dict[str, str] = {}
        for config in self._configs:
            if config.name in names:
                problems.append(f"{config.name}: two devices of this name")
            names.add(config.name)
            rules = [*(each.rule for each in config.points), *(each.rule for each in config.controls)]
            for name in {rule.name: None for rule in rules}:
                other = points.setdefault(name, config.name)
                if other != config.name:
                    problems.append(f"{name}: a point of {config.name} and of {other}")
        if problems:
            raise ValueError("; ".join(problems))

    def start(self, outlet: Outlet) -> None:
        """Connect to the devices; what they tell goes to the outlet.

        Raises:
            ValueError: the outlet's table lacks one of their points, or has it from another source or of another kind.
        """
        for config in self._configs:
            for each in config.points:
                if each.rule.name not in outlet.table:
                    raise ValueError(f"{config.name}: {each.rule.name} is not in the point table")
                found = outlet.table.config(each.rule.name)
                if found.source != config.name:
                    raise ValueError(f"{found.name}: its source is {found.source!r}; expected {config.name!r}")
                if found.kind is not KINDS[each.rule.cdc]:
                    raise ValueError(f"{found.name}: a {found.cdc}, but {config.name} tells it as a {each.rule.cdc}")
        self._outlet = outlet
        for config in self._configs:
            rtu = self.rtus[config.name] = FieldRtu(config, outlet)
            client = Iec104Client(config.reach, rtu.station, self._taker(rtu), outlet.when_stored)
            self._clients[config.name] = client
            client.start()

    def _taker(self, rtu: FieldRtu) -> Callable[[MasterEvent], None]:
        return lambda event: rtu.take(event, self._clients[rtu.config.name].now(), time.time_ns())

    def status(self) -> tuple[RtuStatus, ...]:
        """How they are."""
        return tuple(_status(rtu, self._clients[name].links) for name, rtu in self.rtus.items())

    async def close(self) -> None:
        """End the connections; before the outlet is closed, so that what has come is stored and acknowledged."""
        for rtu in self.rtus.values():
            rtu.ending = True
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    # -- called by the outlet -------------------------------------------------------------------------------------

    def operate(self, command: PointCommand) -> None:
        """Send a command to the device of its point."""
        rtu = self._by_control.get(command.name)
        if rtu is None:
            self._outlet.confirm(command.number, f"{command.name}: no device operates it")
            return
        client = self._clients[rtu]
        self.rtus[rtu].operate(command, client.now(), time.time_ns())
        client.flush()

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """No control centre sets clocks or parameters of field devices."""
        station.answer(asked.number, why=f"{asked.matter}: not passed on to field devices")
