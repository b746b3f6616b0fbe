"""Store and forward: every event is on disk before a consumer gets it, and stays until that one acknowledges it.

:class:`EventLog` keeps the events, :class:`Consumer` is the view of one who must get them: a redundancy group of
IEC 60870-5-104, later MQTT or the historian. :mod:`gateway.points.event_segments` has the files.

Events that come together for the same consumers are a run: stored, offered and acknowledged as one, at a fraction of
what each would cost alone.

What is promised: at least once, in order per key, none invented. An event whose write has returned is offered
until it is acknowledged, whatever happens to process and power. An acknowledgement may be lost with the power;
its events are then offered again.

Who waits for an event is settled when it comes, and stored with it. So a consumer that is new in the
configuration begins with the next event; one that is no longer there stops waiting with the first write; one
whose classification changes keeps what it waited for, but for the keys that are not for it any more.

What waits is in memory too, once for all consumers. Two bounds hold it, and with it memory and disk: so many events
per consumer, and so many octets in all. At the first, that consumer loses its oldest events of its last
class; at the second, the one for whom most octets wait loses the same, and nobody else anything. Losses are
counted durably. Events that wait in an old segment are written again into the newest one when room is short,
so that the old one can go.

Threads: :meth:`EventLog.write` may run in a thread of its own, one call at a time, each result handed to
:meth:`EventLog.written` before the next call; the rest is for the loop's thread.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from gateway.points.event_backlog import Backlog, Consumer, ConsumerConfig, Entry, Queue, Segment, merged
from gateway.points.event_replay import Replay
from gateway.points.event_segments import (
    LONGEST_KEY,
    LONGEST_PAYLOAD,
    LONGEST_RUN,
    MOST_CONSUMERS,
    MOST_IN_RUN,
    NAMELESS,
    RECORD_OVERHEAD,
    DoneRead,
    LoggedEvent,
    LoggedRun,
    SegmentRead,
    SegmentWriter,
    StoreError,
    StoreLocked,
    StoreTooNew,
    least_segment,
    read_segment,
    segment_path,
    segments_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "Consumer",
    "ConsumerConfig",
    "EventLog",
    "LoggedEvent",
    "LoggedRun",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "Written",
]

# Keys whose consumers are remembered; there are as many as points.
_MOST_KEYS: Final = 1 << 17
# Files set aside, each as long as a segment.
_MOST_DAMAGED: Final = 4
_MOST_FOUND: Final = 20
# How many sequence numbers each write reserves. As many events may be offered while the disk refuses, and the process
# die then with the clock set back, before a number repeats.
_RESERVED: Final = 1 << 20


class Written(NamedTuple):
    """What a write has put on disk; for :meth:`EventLog.written`.

    Attributes:
        number: of the segment.
        path: of the segment.
        octets: its length now.
        entries: the events in it.
        fresh: whether it is more than a copy of what was there already.
    """

    number: int
    path: Path
    octets: int
    entries: list[Entry]
    fresh: bool


class _Audience(NamedTuple):
    """Who waits for events: their bits, and in which queues. One object for all keys that have the same."""

    mask: int
    queues: tuple[tuple[Consumer, Queue], ...]


_Target = tuple[_Audience, int]


class EventLog:
    """The events that consumers still wait for, in a folder that is locked for this process.

    Made by :meth:`open`.

    Attributes:
        torn_octets: octets of unfinished writes that were found and ignored; they were never reported written.
    """

    def __init__(
        self, folder: Path, lock: int, consumers: Iterable[ConsumerConfig], segment_octets: int, most_octets: int
    ) -> None:
        self.torn_octets = 0
        self._folder = folder
        self._lock_file = lock
        self._segment_octets = segment_octets
        self._most_octets = most_octets
        self._longest = min(LONGEST_PAYLOAD, segment_octets // 8)
        self._backlog = Backlog()
        self._consumers = [Consumer(self._backlog, index, config) for index, config in enumerate(consumers)]
        # A run is lost as a whole: it must be a small part of what may wait.
        fewest = min((each.most for each in self._consumers), default=MOST_IN_RUN)
        self._most_in_run = max(1, min(MOST_IN_RUN, fewest // 16))
        self._longest_run = min(LONGEST_RUN, segment_octets // 8)
        self._found: list[str] = []
        self._error: BaseException | None = None
        # Loop's thread only.
        self._segments: list[Segment] = []
        self._moving: Segment | None = None
        # The newest segment when something new was written last.
        self._newest = 0
        self._targets: dict[str, _Target] = {}
        self._audiences: dict[tuple[int, ...], _Audience] = {}
        self._last = 0
        self._lost_before: list[int] = []
        # Both threads, under the lock.
        self._lock = threading.Lock()
        self._unneeded: list[Segment] = []
        self._oldest = 0
        # Writer's thread only.
        self._writer: SegmentWriter | None = None
        self._number = 0
        self._previous = (0, 0)
        self._begun = False

    @classmethod
    def open(
        cls,
        folder: Path,
        consumers: Iterable[ConsumerConfig],
        *,
        segment_octets: int = 4 << 20,
        most_octets: int = 64 << 20,
        now_ns: int | None = None,
    ) -> Self:
        """Open the log in a folder, made if need be, and read what is waiting. Writes no event file yet.

        Damage does not keep it from opening: see :attr:`trouble`.

        Args:
            folder: for this log alone.
            consumers: all of them, up to 128.
            segment_octets: length at which a file is full, octets; at least 16 blocks of 4,096.
            most_octets: length of all files together at most, at least 16 segments; half of it is for events.
            now_ns: the clock, ns since 1970. Sequence numbers begin at its microseconds or, where those were
                given before, after the last one: so they do not even repeat if the disk took none of them.

        Raises:
            StoreLocked: another process uses it.
            StoreTooNew: a newer version of this program wrote it.
            OSError: the folder cannot be used at all.
            ValueError: two consumers of one name, too many, or bounds that do not fit each other.
        """
        consumers = list(consumers)
        names = [each.name for each in consumers]
        if len(names) > MOST_CONSUMERS or len(set(names)) < len(names):
            raise ValueError(f"at most {MOST_CONSUMERS} consumers with different names, not {names}")
        if segment_octets < least_segment(names):
            raise ValueError(f"segment_octets is {segment_octets}, must be at least {least_segment(names)}")
        if most_octets < 16 * segment_octets:
            raise ValueError(f"most_octets is {most_octets}, must hold 16 segments of {segment_octets} octets")
        folder.mkdir(parents=True, exist_ok=True)
        log = cls(folder, _lock(folder), consumers, segment_octets, most_octets)
        try:
            log._load(time.time_ns() if now_ns is None else now_ns)
        except BaseException:
            log.close()
            raise
        return log

    def consumer(self, name: str) -> Consumer:
        """The consumer of this name.

        Raises:
            KeyError: none of this name is configured.
        """
        for each in self._consumers:
            if each.name == name:
                return each
        raise KeyError(name)

    @property
    def trouble(self) -> list[str]:
        """What an operator should know: the disk refuses, events were lost, files were found damaged."""
        trouble = [] if self._error is None else [f"{self._folder}: events are not stored: {self._error}"]
        trouble += [
            f"consumer {each.name}: more events were waiting than there is room for, {each.overflowed - before} of the "
            f"oldest lost since the start, {each.overflowed} in all"
            for each, before in zip(self._consumers, self._lost_before, strict=True)
            if each.overflowed > before
        ]
        trouble += self._found[:_MOST_FOUND]
        if len(self._found) > _MOST_FOUND:
            trouble.append(f"{self._folder}: {len(self._found) - _MOST_FOUND} more places are damaged")
        return trouble

    @property
    def last(self) -> int:
        """Sequence number of the last event."""
        return self._last

    @property
    def offered(self) -> int:
        """Events up to this sequence number are on disk; or were taken in while the disk is known to refuse."""
        return self._backlog.offered

    @property
    def octets(self) -> int:
        """Length of all segments together, octets, as of the last :meth:`written`."""
        return sum(each.octets for each in self._segments)

    @property
    def most_octets(self) -> int:
        """Bound of :attr:`octets`."""
        return self._most_octets

    @property
    def storing(self) -> bool:
        """Whether the disk takes what is written."""
        return self._error is None

    @property
    def needs_write(self) -> bool:
        """Whether something is not on disk yet."""
        return len(self._backlog) > 0 or not self._begun

    def append(self, key: str, payload: bytes, t_ns: int) -> int:
        """Take an event in. It is offered once :meth:`written` has been told so, or the disk is known to refuse.

        Args:
            key: what it is about.
            payload: what happened, at most 65,495 octets or an eighth of a segment.
            t_ns: when it arrived, ns since 1970.

        Returns:
            Its sequence number.

        Raises:
            ValueError: the event is too long, or the time out of range.
        """
        return self.extend([(key, payload, t_ns)])[0].sequence

    def extend(self, events: Sequence[tuple[str, bytes, int]]) -> list[LoggedRun]:
        """Take events in, in this order and with consecutive numbers: all of them, or none if one is wrong.

        Args:
            events: key, payload and time of each, as :meth:`append` has them.

        Returns:
            The runs that they make, in this order.

        Raises:
            ValueError: as :meth:`append`.
        """
        made = self._runs_of(events)
        self._last += len(events)
        entries = []
        octets = 0
        crowded = False
        for entry, audience in made:
            if audience.queues:
                entries.append(entry)
                size, count = entry.size, len(entry.run.events)
                octets += size
                for consumer, queue in audience.queues:
                    queue.append(entry)
                    consumer.waiting += count
                    consumer.octets += size
                    if consumer.waiting > consumer.most:
                        crowded = True
        backlog = self._backlog
        backlog.extend(entries)
        backlog.live_octets += octets
        if crowded:  # only now: what is lost must stand in the backlog behind the event itself
            self._drop_beyond_most()
        if backlog.live_octets > self._most_octets // 2:
            self._make_room()
        if self._error is not None:
            backlog.offered = self._last
        backlog.tidy()
        return [entry.run for entry, _ in made]

    def _runs_of(self, events: Sequence[tuple[str, bytes, int]]) -> list[tuple[Entry, _Audience]]:
        targets, longest, first = self._targets, self._longest, self._last + 1
        made: list[tuple[Entry, _Audience]] = []
        begin = size = octets = 0
        audience = None
        for at, (key, payload, t_ns) in enumerate(events):
            length = len(payload)
            if length > longest or not 0 <= t_ns < 1 << 64:
                raise ValueError(f"event of {key}: {length} octets at {t_ns} ns is too long or out of time")
            its, overhead = targets.get(key) or self._target(key)
            octets += length
            if its is not audience or at - begin >= self._most_in_run or octets > self._longest_run:
                if audience is not None:
                    made.append((Entry(LoggedRun(first + begin, events[begin:at]), audience.mask, size), audience))
                audience, begin, size, octets = its, at, 0, length
            size += overhead + length
        if audience is not None:
            made.append((Entry(LoggedRun(first + begin, events[begin:]), audience.mask, size), audience))
        return made

    def write(self) -> Written:
        """Put on disk what is not there yet, up to a quarter of a segment, and remove files that nobody needs any more.

        Takes as long as the disk. Look at :attr:`needs_write` afterwards: there may be more.

        Raises:
            OSError: it is not known to be on disk. Nothing is lost: the same is written again by the next call.
        """
        batch = self._backlog.cut(self._segment_octets // 4)
        last = self._last + _RESERVED
        with self._lock:
            unneeded, self._unneeded = self._unneeded, []
            oldest = self._oldest
        try:
            entries = [each for each in batch if isinstance(each, Entry)]
            done = merged(each for each in batch if isinstance(each, DoneRead))
            writer = self._write(last, oldest, entries, done)
        except BaseException:
            self._backlog.put_back(batch)
            with self._lock:
                self._unneeded[:0] = unneeded
            raise
        self._begun = True
        # Only now: that they are not needed is on disk, so that one that stays behind cannot bring events back.
        kept = [each for each in unneeded if not self._remove(each)]
        with self._lock:
            self._unneeded[:0] = kept
        fresh = bool(done) or any(each.segment is None for each in entries)
        return Written(writer.number, writer.path, writer.octets, entries, fresh)

    def written(self, result: Written) -> None:
        """A write has succeeded: what is in it is offered from now on."""
        self._error = None
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.number != result.number:
            segment = Segment(result.number, result.path, 0)
            self._segments.append(segment)
        segment.octets = result.octets
        offered = self._backlog.offered
        live = segment.live
        for entry in result.entries:
            sequence = entry.run.sequence
            if entry.segment is not None:
                entry.segment.live.pop(sequence, None)
            entry.segment = segment
            if entry.mask:
                live[sequence] = entry
            offered = max(offered, entry.run.last)
        self._backlog.offered = offered
        if result.fresh:
            self._newest = result.number
        self._tidy_segments()

    def degraded(self, error: BaseException) -> None:
        """The disk refuses: until it takes a write again, events are offered from memory, and :attr:`trouble` says so.

        A control centre that misses events for a full disk is worse off than one that may miss some after a
        power cut.
        """
        self._error = error
        self._backlog.offered = self._last

    def close(self) -> None:
        """Give the folder free for others; what is not written is lost. Closing again does nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # For the loop's thread.

    def _target(self, key: str) -> _Target:
        """Who waits for events of this key, in which queues, and what one costs beside its payload."""
        octets = len(key.encode())
        if octets > LONGEST_KEY:
            raise ValueError(f"key of {octets} octets, at most {LONGEST_KEY} fit")
        queues = [(each, each.queue_for(key)) for each in self._consumers if key != NAMELESS]
        wanted = tuple((each, queue) for each, queue in queues if queue is not None)
        mask = sum(each.bit for each, _ in wanted)
        audience = self._audiences.setdefault((mask, *(id(queue) for _, queue in wanted)), _Audience(mask, wanted))
        if len(self._targets) >= _MOST_KEYS:
            self._targets.clear()
        self._targets[key] = target = (audience, octets + RECORD_OVERHEAD)
        return target

    def _drop_beyond_most(self) -> None:
        for consumer in self._consumers:
            while consumer.waiting > consumer.most:
                consumer.drop_oldest()

    def _make_room(self) -> None:
        """Let the consumer for whom most octets wait lose its oldest ones, until the rest fits."""
        while self._backlog.live_octets > self._most_octets // 2:
            max(self._consumers, key=lambda each: each.octets).drop_oldest()

    def _tidy_segments(self) -> None:
        """Find the files that nobody needs; when room is short, write again what waits in the oldest."""
        gone = 0
        # The last one stays: it says who waits and where the numbers stand.
        while gone < len(self._segments) - 1 and not self._segments[gone].live:
            gone += 1
        if gone:
            unneeded = self._segments[:gone]
            del self._segments[:gone]
            with self._lock:
                self._unneeded += unneeded
                self._oldest = self._segments[0].number
        oldest = self._segments[0]
        if (
            self.octets > self._most_octets * 3 // 4
            and self._moving is not oldest
            # Copies are not copied again before something new comes: this ends in any case.
            and oldest.number < self._newest
        ):
            self._moving = oldest
            self._backlog.copy(oldest.live.values())

    # For the writer's thread.

    def _write(self, last: int, oldest: int, entries: list[Entry], done: list[DoneRead]) -> SegmentWriter:
        writer = self._writer
        if writer is None or writer.octets >= self._segment_octets:
            if writer is not None:
                self._previous = (writer.number, writer.octets)
                writer.close()
            self._number += 1
            writer = self._writer = SegmentWriter(self._folder, self._number)
        runs = ((each.run, mask) for each in entries if (mask := each.mask))
        try:
            consumers = [(each.name, each.overflowed) for each in self._consumers]
            writer.write(last, oldest, runs, done, consumers, self._previous)
        except BaseException:
            self._writer = None
            if writer.octets:
                self._previous = (writer.number, writer.octets)
            writer.abandon()
            raise
        return writer

    def _remove(self, segment: Segment) -> bool:
        """Remove a file, or set it aside if it is damaged; whether it is gone."""
        try:
            if segment.damaged:
                segment.path.replace(segment.path.with_name(segment.path.name + ".damaged"))
                for each in sorted(self._folder.glob("events-*.log.damaged"))[:-_MOST_DAMAGED]:
                    each.unlink(missing_ok=True)
            else:
                segment.path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    # At the start.

    def _load(self, now_ns: int) -> None:
        replay = Replay([each.name for each in self._consumers])
        before: SegmentRead | None = None
        stated: dict[int, int] = {}
        for number, path in segments_in(self._folder):
            segment = Segment(number, path, 0)
            read: SegmentRead | None = None
            try:
                read = read_segment(path, number, path.read_bytes())
            except OSError as error:
                self._say_damage(segment, [(0, f"cannot be read: {error}")])
            if read is not None:
                segment.octets = read.length
                stated[read.previous[0]] = read.previous[1]
                replay.apply(segment, read)
            if before is not None:
                self._judge(self._segments[-1], before, stated)
            self._segments.append(segment)
            before = read
        if before is not None:
            self._judge(self._segments[-1], before, stated)
        numbers = {each.number for each in self._segments}
        missing = [number for number in stated if number not in numbers and number >= max(1, replay.oldest)]
        self._found += [f"{segment_path(self._folder, each)}: offset 0: the file is missing" for each in missing]
        damaged = bool(missing) or any(each.damaged for each in self._segments)
        self._number = max([now_ns // 1_000_000_000, *(each.number for each in self._segments)])
        self._last = max(now_ns // 1000, replay.last)
        entries = sorted(replay.entries.values(), key=lambda each: each.run.sequence)
        self._found += [
            f"consumer {name} is no longer configured, {count} events waited for it"
            for name, count in replay.unconfigured()
        ]
        for each in self._consumers:
            each.overflowed = replay.overflowed.get(each.name, 0)
        self._lost_before = [each.overflowed for each in self._consumers]
        self._backlog.offered = replay.proven
        waiting = [each for each in entries if self._resume(each)]
        # The last write may have been seen by the kernel only: it is done again before its events are offered. If
        # something is damaged everything moves, so that the damaged file can be set aside.
        self._backlog.extend([each for each in waiting if damaged or each.run.sequence in replay.unproven])
        self._drop_beyond_most()
        self._make_room()

    def _judge(self, segment: Segment, read: SegmentRead, stated: dict[int, int]) -> None:
        """Tell damage from a write that was not finished, knowing what the next segment states about this one."""
        synced = stated.get(segment.number, 0)
        self.torn_octets += read.torn_octets(synced)
        self._say_damage(segment, read.damage(synced))

    def _say_damage(self, segment: Segment, damage: list[tuple[int, str]]) -> None:
        if damage:
            segment.damaged = True
            self._found += [f"{segment.path}: offset {offset}: {problem}" for offset, problem in damage]

    def _resume(self, entry: Entry) -> bool:
        """Let an event that was read wait again for those for whom it is; whether there are any."""
        queues: dict[Consumer, Queue] = {}
        entry.size = 0
        for key, payload, _ in entry.run.events:
            audience, overhead = self._targets.get(key) or self._target(key)
            entry.size += overhead + len(payload)
            queues = dict(audience.queues) | queues
        mask = entry.mask
        entry.mask &= sum(consumer.bit for consumer in queues)
        if not entry.mask:
            return False
        self._backlog.live_octets += entry.size
        assert entry.segment is not None
        entry.segment.live[entry.run.sequence] = entry
        for consumer, queue in queues.items():
            if mask & consumer.bit:
                queue.append(entry)
                consumer.waiting += len(entry.run.events)
                consumer.octets += entry.size
        return True


def _lock(folder: Path) -> int:
    """Lock the folder against other processes."""
    path = folder / "events.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreLocked(f"{path}: in use by another process") from None
    except BaseException:
        os.close(lock)
        raise
    return lock
