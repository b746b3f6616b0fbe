"""Field devices that speak IEC 61850 MMS, as points: what they report becomes events, commands go to them.

The connection to a device is a worker's, a process of its own (:mod:`gateway.adapters.mms_process`); here is what is
made of a worker's words. Sans-IO.

* A buffered report is an event, with the device's own time; where to go on after it (its EntryID) is kept only once the
  event is on disk here, so that neither end loses one. What is told twice is one event if it has the same time.
* What answers an interrogation, or was read, is an event only if it differs from what is known.
* A device that is lost, or its worker, makes its points questionable and old, until it tells them again. A point that
  it does not have, or has no value for, is invalid.
* A command goes out once, as its ``ctlModel`` has it. The outcome is what the device says; a command whose answer was
  lost, with the device or with the worker, has an unknown one, which is a no. A selection that was lost is said to be.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.adapters.field_news import OUTCOME_UNKNOWN, tell_answer, tell_event
from gateway.adapters.mms_values import MmsPoint, MmsValueError, fc_of, read_leaves
from gateway.points.point import KINDS, UNSPECIFIED_ACCURACY, Kind, PointError, PointValue
from gateway.status import Standing
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.mms.worker_messages import (
    Alive,
    Begin,
    Blocks,
    Confirmed,
    Connected,
    Enabled,
    Ended,
    Lost,
    Noted,
    Order,
    Told,
    Watched,
    WorkerMessageError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.adapters.iec104_outlet import Outlet, PointCommand
    from ied_agents.iec61850.data import Data
    from ied_agents.mms.worker_messages import FromWorker
    from ied_agents.runtime.tls import TlsFiles

_LOG: Final = logging.getLogger(__name__)
_MOST_SAID: Final = 100
"""Points of which it is said that something is wrong with them; of others it is only counted."""
_LONGEST_IDENT: Final = 64
"""Octets of orIdent (IEC 61850-7-3)."""
_MEASURED: Final = frozenset((Kind.INTEGER, Kind.FLOAT, Kind.COUNTER))
_INVALID: Final = Quality(Validity.INVALID).to_int()
_ENTRY_ID_SIZE: Final = 8
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsFieldConfig:
    """A field device.

    Attributes:
        name: the source of its points.
        host: where it is.
        port: TCP port.
        points: what it tells.
        controls: names of the points that it operates, and whether each is to be selected first.
        blocks: its report control blocks that tell them.
        timeout_s: of each request, s.
        poll_s: period in which is read what no report tells, s.
        first_s: before a worker that has ended is started again, s; then twice as long, and so on.
        longest_s: at most so long, and so long between attempts to connect, s.
        hung_s: a worker that says nothing for so long is killed, s.
        tls: its files; None for plain TCP.
    """

    name: str
    host: str
    port: int
    points: tuple[MmsPoint, ...]
    controls: Mapping[str, bool] = field(default_factory=dict)
    blocks: tuple[Blocks, ...] = ()
    timeout_s: float = 5.0
    poll_s: float = 5.0
    first_s: float = 1.0
    longest_s: float = 30.0
    hung_s: float = 20.0
    tls: TlsFiles | None = None


@dataclass(slots=True)
class _Followed:
    """A point, and what is known of it on this connection.

    Attributes:
        leaves: what was told last of its value and quality; of a data set with single attributes not all come at once.
    """

    config: MmsPoint
    state: bool
    leaves: dict[str, Data] = field(default_factory=dict)


@dataclass(slots=True)
class _Operated:
    """A control.

    Attributes:
        selects: the device is to be asked for a selection.
        selected: it holds one of ours.
        lost: why that is over, for who comes to execute it.
    """

    selects: bool
    selected: bool = False
    lost: str = ""


class _Running(NamedTuple):
    operated: _Operated
    command: PointCommand


class MmsField:
    """One field device: its events to the outlet, the outlet's commands to it.

    Args:
        config: which, and what it tells.
        outlet: takes what it tells, and the outcomes of commands.
        entries: EntryID by report control block, as it was kept.

    Attributes:
        config: as given.
        orders: for the worker, oldest first; whoever drives it takes them.
        standing: whether the worker has a connection, since when, and why not.
        unstored: reports that are not on disk yet.
        entries: EntryID to go on after, of which all before is on disk.
        changed: ``entries`` is not as it is kept.
        overflows: reports before which a device has lost entries.
    """

    def __init__(self, config: MmsFieldConfig, outlet: Outlet, entries: Mapping[str, bytes]) -> None:
        self.config = config
        self.orders: deque[Order] = deque()
        self.standing = Standing()
        self.unstored = 0
        self.entries = dict(entries)
        self.changed = False
        self.overflows = 0
        self._told_entries = dict(entries)
        self._blocks = frozenset(block for each in config.blocks for block in each.candidates)
        self._outlet = outlet
        self._points = {each.name: _Followed(each, KINDS[each.cdc] not in _MEASURED) for each in config.points}
        self._operated = {name: _Operated(selects) for name, selects in config.controls.items()}
        self._running: dict[int, _Running] = {}
        self._confirmed: set[int] = set()
        self._said: set[str] = set()

    @property
    def connected(self) -> bool:
        """The worker has a connection."""
        return self.standing.up

    # -- what it tells --------------------------------------------------------------------------------------------

    def begin(self) -> Begin:
        """What a new worker is told first."""
        config = self.config
        objects = tuple(Watched(each.name, fc_of(each.cdc), each.leaves) for each in config.points)
        reach = config.host, config.port, config.timeout_s, config.poll_s, config.longest_s
        tls = config.tls
        files = () if tls is None else (tls.certificate, tls.key, tls.authority, tls.revoked)
        return Begin(
            *reach, objects, config.blocks, dict(self._told_entries), tuple(str(file) for file in files if file)
        )

    def take(self, message: FromWorker, utc_ns: int) -> None:
        """The worker says something.

        Args:
            message: of the worker.
            utc_ns: ns since 1970.

        Raises:
            WorkerMessageError: it tells of a block that nobody asked for.
        """
        name = self.config.name
        match message:
            case Told():
                self._told(message, utc_ns)
            case Connected(missing):
                self.standing.begin(utc_ns)
                _LOG.info("%s: connected", name)
                for followed in self._points.values():
                    followed.leaves.clear()
                for reference, why in missing.items():
                    self._fault(reference, why, utc_ns)
            case Enabled(block, resumed):
                _LOG.info("%s: %s is enabled", name, block)
                if not resumed:
                    _LOG.warning("%s: %s does not know our last entry any more: events may be lost", name, block)
            case Noted(text):
                if not self.connected:
                    self.standing.why = text
                _LOG.warning("%s: %s", name, text)
            case Confirmed(number) if number in self._running and number not in self._confirmed:
                self._confirm(number)
            case Ended(number) if number in self._running:
                self._ended(message)
            case Lost() | Alive() | Confirmed() | Ended():
                pass

    def lose(self, why: str, utc_ns: int) -> None:
        """The worker has ended, or its connection."""
        self.standing.end(why, utc_ns)
        self.orders.clear()
        for operated in self._operated.values():
            if operated.selected:
                operated.selected, operated.lost = False, why
        for number, (_, command) in list(self._running.items()):
            # Nobody knows how far it came: whether it was sent, and what the device made of it.
            self._ended(Ended(number, why, unknown=command.step == "execute"))
        events = self._outlet.table.invalidate(self.config.name, utc_ns, self._points)
        _LOG.warning("%s: lost: %s; %d points are old", self.config.name, why, len(events))
        self._outlet.tell(events)

    def _told(self, told: Told, utc_ns: int) -> None:
        self.standing.heard_ns = utc_ns
        if told.entryID and (told.block not in self._blocks or len(told.entryID) != _ENTRY_ID_SIZE):
            raise WorkerMessageError(f"entry {told.entryID.hex():.40} of {told.block!r:.80}")
        if told.overflow:
            self.overflows += 1
            text = "%s: %s: its buffer has overflowed: events before %s are lost"
            _LOG.warning(text, self.config.name, told.block, told.entryID.hex() or "this report")
        for reference, octets in told.objects.items():
            try:
                self._object(reference, octets, told, utc_ns)
            except (MmsValueError, PointError) as error:  # of this point: the others are none the worse
                self._fault(reference, str(error), utc_ns)
        if told.entryID:
            self._told_entries[told.block] = told.entryID
            self.unstored += 1
            self._outlet.when_stored(lambda: self._stored(told.block, told.entryID))

    def _stored(self, block: str, entryID: bytes) -> None:
        self.unstored -= 1
        self.entries[block] = entryID
        self.changed = True

    def _object(self, reference: str, octets: Mapping[str, bytes], told: Told, arrived_ns: int) -> None:
        followed = self._points.get(reference)
        if followed is None:
            raise MmsValueError("it is no point of this device")
        config, given = followed.config, read_leaves(octets)
        # A time is that of what it came with, and of nothing that comes later without one.
        followed.leaves |= {leaf: value for leaf, value in given.items() if leaf != "t"}
        if any(leaf not in followed.leaves for leaf in config.leaves if leaf != "t"):
            return  # the rest comes with what is read
        point = config.value(
            {**followed.leaves, **({"t": given["t"]} if "t" in given else {})}, told.entry_ms * _NS_PER_MS, arrived_ns
        )
        if told.answer:
            tell_answer(self._outlet, reference, point)
        else:
            tell_event(self._outlet, reference, point, state=followed.state, timed="t" in given)

    def _fault(self, reference: str, why: str, utc_ns: int) -> None:
        """A point is not to be had: what it said last is invalid; one that never said anything is so already."""
        if reference not in self._said and len(self._said) <= _MOST_SAID:
            self._said.add(reference)
            _LOG.error("%s: %s is invalid: %s; said once", self.config.name, reference, why)
        followed = self._points.get(reference)
        known = None if followed is None else self._outlet.table.process_value(reference)
        if known is not None and known.quality != _INVALID:
            self._outlet.update(reference, PointValue(known.value, _INVALID, utc_ns, UNSPECIFIED_ACCURACY, utc_ns))

    # -- commands -------------------------------------------------------------------------------------------------

    def operate(self, command: PointCommand, now: float) -> None:
        """Pass a command on; what becomes of it is told to the outlet.

        Args:
            command: to a point that is one of the device's controls.
            now: s, on the machine's monotonic clock.
        """
        operated = self._operated[command.name]
        why, name = "", self.config.name
        match command.step:
            case "cancel" if not (
                operated.selected or any(each.operated is operated for each in self._running.values())
            ):
                operated.lost = ""
            case "execute" if operated.lost:
                why = f"{name}: not executed: the selection was lost: {operated.lost}; select again"
                operated.lost = ""
            case _ if not self.connected:
                why = f"{name}: not connected: nothing was sent"
            case "select" if not operated.selects:
                pass
            case _:
                self._give(operated, command, now)
                return
        self._say(command, why)
        self._outlet.confirm(command.number, why)

    def _give(self, operated: _Operated, command: PointCommand, now: float) -> None:
        operated.lost = ""
        operated.selected = False
        who = f"{command.centre}/{command.originator}" if command.originator else command.centre
        order = Order(
            command.number,
            command.step,
            command.name,
            command.command.value,
            command.test,
            who.encode("ascii", "replace")[:_LONGEST_IDENT].decode(),
            # Later the control centre has been told no, and nothing may move.
            now + self._outlet.desk.settings.confirm_s,
        )
        self._running[command.number] = _Running(operated, command)
        self.orders.append(order)

    def _confirm(self, number: int) -> None:
        self._confirmed.add(number)
        self._say(self._running[number].command, "", "accepted")
        self._outlet.confirm(number)

    def _ended(self, ended: Ended) -> None:
        operated, command = self._running.pop(ended.number)
        confirmed = ended.number in self._confirmed
        self._confirmed.discard(ended.number)
        why = ended.why and f"{self.config.name}: {ended.why}"
        if why and ended.unknown:
            why += f"; {OUTCOME_UNKNOWN}"
        operated.selected = command.step == "select" and not why
        self._say(command, why)
        if not confirmed:
            self._outlet.confirm(command.number, why)
        if command.step == "execute" and (confirmed or not why):
            self._outlet.terminate(command.number, why)

    def _say(self, command: PointCommand, why: str, done: str = "done") -> None:
        """The trace of every command: who, what, and what became of it."""
        who = f"{command.centre or 'a control centre that is gone'} ({command.originator})"
        text = "%s: %s %s of %s for %s%s: %s"
        test = ", test" if command.test else ""
        level = logging.WARNING if why else logging.INFO
        value = command.command.value
        _LOG.log(level, text, self.config.name, command.step, value, command.name, who, test, why or done)
