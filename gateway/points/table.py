"""The point table: the last value of every point, substitution and blocking, and what is to be told of a change.

Order of arrival decides what is current, not the source's time: the clocks of a site differ, and a device that
comes back sends what it buffered in its own order.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.points.point import PLAIN, TIME_UNKNOWN, UNSPECIFIED_ACCURACY, Kind, PointError, PointValue, fault_of
from ied_agents.iec61850.quality import Quality, Validity

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from gateway.points.point import PointConfig, Value

MOST_CHANGES: Final = 10_000
"""Changes kept for those who look. At 1,000 changes per second someone may look away for ten seconds."""

_SUBSTITUTED: Final = Quality(substituted=True).to_int()
_BLOCKED: Final = Quality(oldData=True, operatorBlocked=True).to_int()
_OLD: Final = Quality(oldData=True).to_int()
_VALIDITY: Final = Quality(Validity.QUESTIONABLE).to_int()
_QUESTIONABLE: Final = _VALIDITY
_GOOD: Final = 0
_NUMBERS: Final = frozenset((Kind.INTEGER, Kind.FLOAT, Kind.COUNTER))


class Change(NamedTuple):
    """A change as it was told.

    Attributes:
        sequence: counted from 1, without gaps.
        name: of the point.
        point: what it said then.
    """

    sequence: int
    name: str
    point: PointValue


class Changes(NamedTuple):
    """What happened since someone looked last.

    Attributes:
        changes: oldest first.
        missed: how many there were before these that are kept no more; whoever missed some reads the snapshot.
        sequence: of the last change; look from here next time.
    """

    changes: list[Change]
    missed: int
    sequence: int


class Substitution(NamedTuple):
    """A value put in by hand.

    Attributes:
        value: what is shown instead of the source's value.
        owner: who did it (IEC 61850-7-3 ``subID``).
        quality: quality bits given with it, without ``substituted``.
    """

    value: Value
    owner: str
    quality: int


@dataclass(slots=True)
class _Entry:
    config: PointConfig
    kind: Kind
    plain: type | None  # a value of this type needs no other look
    deadband: float | None  # None: any difference counts
    process: PointValue | None = None  # what the source said last
    shown: PointValue | None = None  # what others are told
    told: PointValue | None = None  # the last event; deadband is counted from here
    substitution: Substitution | None = None
    frozen: PointValue | None = None  # what was shown when it was blocked
    blocked_by: str | None = None


class PointTable:
    """All points of a site.

    Whatever changes what is shown returns the value to log as an event, or None where nothing is to be told.

    Args:
        points: each name once.
        most_changes: how many changes are kept for :meth:`changes_since`.

    Raises:
        PointError: a name stands twice.
    """

    def __init__(self, points: Iterable[PointConfig], *, most_changes: int = MOST_CHANGES) -> None:
        self._entries: dict[str, _Entry] = {}
        self._by_source: dict[str, list[_Entry]] = {}
        for config in points:
            deadband = config.deadband if config.kind in _NUMBERS else None
            entry = _Entry(config, config.kind, PLAIN.get(config.kind), deadband)
            if self._entries.setdefault(config.name, entry) is not entry:
                raise PointError(f"{config.name}: stands twice in the point table")
            self._by_source.setdefault(config.source, []).append(entry)
        self._changes: deque[tuple[str, PointValue]] = deque(maxlen=most_changes)
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[PointConfig]:
        return (entry.config for entry in self._entries.values())

    def config(self, name: str) -> PointConfig:
        """What is known of a point.

        Raises:
            PointError: there is none of that name.
        """
        return self._entry(name).config

    def get(self, name: str) -> PointValue | None:
        """What a point shows; None until its first value.

        Raises:
            PointError: there is none of that name.
        """
        return self._entry(name).shown

    def process_value(self, name: str) -> PointValue | None:
        """What the source said last, whatever is substituted or blocked; raises as :meth:`get`."""
        return self._entry(name).process

    def snapshot(self) -> dict[str, PointValue]:
        """What all points show that have a value."""
        return {name: entry.shown for name, entry in self._entries.items() if entry.shown is not None}

    @property
    def sequence(self) -> int:
        """Sequence number of the last change, 0 before the first."""
        return self._sequence

    def changes_since(self, sequence: int, limit: int = MOST_CHANGES) -> Changes:
        """Changes after that one, oldest first, at most ``limit``.

        Looking takes nothing away: any number may look, each from its own place.
        """
        sequence = min(sequence, self._sequence)  # who asks beyond it has lived longer than this table
        oldest = self._sequence - len(self._changes)
        missed = max(0, oldest - sequence)
        first = max(0, sequence - oldest)
        # From the right end: who follows asks for the last few, and a deque is slow in its middle.
        wanted = max(0, len(self._changes) - first)
        newest = [change for change, _ in zip(reversed(self._changes), range(wanted), strict=False)]
        numbers = count(oldest + first + 1)
        found = [Change(number, *change) for number, change in zip(numbers, newest[::-1][:limit], strict=False)]
        return Changes(found, missed, found[-1].sequence if found else max(sequence, oldest))

    def update(self, name: str, point: PointValue) -> PointValue | None:
        """The source says something.

        A number that moved within its deadband is shown, for those who ask, but is no event. What is
        substituted or blocked goes on to show that; the source's value is kept for later.

        Args:
            name: of the point.
            point: its new value.

        Returns:
            The event, None where there is none.

        Raises:
            PointError: there is no such point, or the value is of another kind.
        """
        entry = self._entries.get(name) or self._entry(name)
        if type(point.value) is not entry.plain:
            fault = fault_of(entry.kind, point.value)
            if fault:
                raise PointError(f"{name} ({entry.config.cdc}): {fault}")
        entry.process = point
        if entry.substitution is not None or entry.blocked_by is not None:
            return None
        return self._show(entry, point)

    def invalidate(self, source: str, now_ns: int, only: Container[str] | None = None) -> list[tuple[str, PointValue]]:
        """The source is lost: what it said last is questionable and old from now on.

        Args:
            source: the device.
            now_ns: time of the loss, ns since 1970; the time of the events.
            only: names of its points that are lost, where the others come another way; None for all.

        Returns:
            The events. A point without a value has nothing that could grow old.
        """
        events = []
        for entry in self._by_source.get(source, ()):
            point = entry.process
            if point is None or point.quality & _OLD or (only is not None and entry.config.name not in only):
                continue
            quality = _worsened(point.quality, _OLD)
            entry.process = PointValue(point.value, quality, now_ns, UNSPECIFIED_ACCURACY, now_ns)
            if entry.substitution is None and entry.blocked_by is None:
                event = self._show(entry, entry.process)
                if event is not None:
                    events.append((entry.config.name, event))
        return events

    def substitute(
        self, name: str, value: Value, owner: str, now_ns: int, *, quality: int = _GOOD
    ) -> PointValue | None:
        """Put in a value by hand (IEC 61850-7-3 ``subEna``); a second one takes the place of the first.

        Args:
            name: of the point.
            value: of the point's kind.
            owner: who does it.
            now_ns: when, ns since 1970.
            quality: quality bits of the value (``subQ``); ``substituted`` is added.

        Returns:
            The event, None if the same is shown already.

        Raises:
            PointError: there is no such point, or the value is of another kind.
        """
        entry = self._entry(name)
        fault = fault_of(entry.kind, value)
        if fault:
            raise PointError(f"{name} ({entry.config.cdc}): {fault}")
        entry.substitution = Substitution(value, owner, quality)
        return self._refresh(entry, now_ns)

    def unsubstitute(self, name: str, now_ns: int) -> PointValue | None:
        """Show the source's value again, from now on; raises as :meth:`get`."""
        entry = self._entry(name)
        if entry.substitution is None:
            return None
        entry.substitution = None
        return self._refresh(entry, now_ns)

    def block(self, name: str, owner: str, now_ns: int) -> PointValue | None:
        """Stop updates (IEC 61850-7-3 ``blkEna``): it goes on to show the last value, marked as blocked and old.

        A value put in by hand shows all the same, marked too. Raises as :meth:`get`.
        """
        entry = self._entry(name)
        if entry.blocked_by is None:
            entry.frozen = entry.process
        entry.blocked_by = owner
        return self._refresh(entry, now_ns)

    def unblock(self, name: str, now_ns: int) -> PointValue | None:
        """Let updates through again and show what the source says now; raises as :meth:`get`."""
        entry = self._entry(name)
        if entry.blocked_by is None:
            return None
        entry.blocked_by = entry.frozen = None
        return self._refresh(entry, now_ns)

    def substituted(self) -> dict[str, Substitution]:
        """Points that show a value put in by hand."""
        return {name: each.substitution for name, each in self._entries.items() if each.substitution is not None}

    def blocked(self) -> dict[str, str]:
        """Points that are blocked, and who did it."""
        return {name: each.blocked_by for name, each in self._entries.items() if each.blocked_by is not None}

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise PointError(f"{name}: no such point") from None

    def _refresh(self, entry: _Entry, now_ns: int) -> PointValue | None:
        """Show what is to be shown after an operator's act, with the time of the act."""
        source = entry.process if entry.blocked_by is None else entry.frozen
        if entry.substitution is not None:
            value, quality, time_quality = (
                entry.substitution.value,
                entry.substitution.quality | _SUBSTITUTED,
                UNSPECIFIED_ACCURACY,
            )
        elif source is not None:
            value, quality, time_quality = source.value, source.quality, UNSPECIFIED_ACCURACY
        elif entry.shown is None:
            return None
        else:
            # It showed a substituted value and never had one of its own.
            value, quality, time_quality = entry.shown.value, Quality(Validity.INVALID).to_int(), TIME_UNKNOWN
        if entry.blocked_by is not None:
            quality = _worsened(quality, _BLOCKED)
        return self._show(entry, PointValue(value, quality, now_ns, time_quality, now_ns))

    def _show(self, entry: _Entry, point: PointValue) -> PointValue | None:
        entry.shown = point
        told = entry.told
        if told is not None and point.quality == told.quality:
            value, before, deadband = point.value, told.value, entry.deadband
            # Only a deadband takes a closer look: this is the hot path.
            if value == before or (deadband is not None and not _beyond(value, before, deadband)):
                return None
        entry.told = point
        self._sequence += 1
        self._changes.append((entry.config.name, point))
        return point


def _worsened(quality: int, detail: int) -> int:
    """With detail bits that say that it is not good; what is invalid stays so (IEC 61850-7-3 table 2)."""
    return quality | detail if quality & _VALIDITY else quality | detail | _QUESTIONABLE


def _beyond(value: Value, told: Value, deadband: float) -> bool:
    """Whether a number, which is another one now, has left its deadband; to become no number is to leave it."""
    if deadband == 0 and value == value:  # noqa: PLR0124  a number
        return True
    assert isinstance(value, int | float)
    assert isinstance(told, int | float)
    if math.isnan(value) or math.isnan(told):
        return math.isnan(value) != math.isnan(told)
    return abs(value - told) > deadband
