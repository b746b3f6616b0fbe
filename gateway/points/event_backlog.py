"""What waits: for the disk, and for the consumers. The part of the event log that the loop works with.

:class:`Backlog` has what is not on disk yet, :class:`Consumer` what one consumer has not acknowledged.
:mod:`gateway.points.event_log` brings them together.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.points.event_segments import LONGEST_KEY, NAMELESS, DoneRead, LoggedEvent, LoggedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

# Runs and acknowledgements in one write. Bounds how long it keeps the interpreter.
_MOST_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """One who must get events.

    Attributes:
        name: under which the log remembers what waits for it; another name is another consumer.
        classify: gives the priority class of a key, 0 before 1; None: not for this consumer. Asked about a key
            now and then, always with the same answer while the log is open; must not raise.
        most: how many events wait for it at most.
    """

    name: str
    classify: Callable[[str], int | None]
    most: int = 100_000

    def __post_init__(self) -> None:
        """Check the values."""
        octets = len(self.name.encode())
        if not 1 <= octets <= LONGEST_KEY:
            raise ValueError(f"name of a consumer must have 1 to {LONGEST_KEY} octets, not {octets}")
        if self.most < 1:
            raise ValueError(f"consumer {self.name}: most is {self.most}, must be at least 1")


class Segment:
    """What the loop knows of a file.

    Attributes:
        number: rises from file to file.
        path: where it is.
        octets: its length.
        damaged: whether it is set aside rather than removed when nobody needs it.
        live: the runs in it that somebody waits for, by sequence.
    """

    __slots__ = ("damaged", "live", "number", "octets", "path")

    def __init__(self, number: int, path: Path, octets: int) -> None:
        self.number = number
        self.path = path
        self.octets = octets
        self.damaged = False
        self.live: dict[int, Entry] = {}


class Entry:
    """A run that somebody waits for, once for all of them.

    Attributes:
        run: what was handed in.
        mask: bits of the consumers that wait. Only the loop's thread changes it.
        size: octets it takes on disk.
        segment: where it is on disk; None: nowhere yet.
    """

    __slots__ = ("mask", "run", "segment", "size")

    def __init__(self, run: LoggedRun, mask: int, size: int) -> None:
        self.run = run
        self.mask = mask
        self.size = size
        self.segment: Segment | None = None


Queue = deque[Entry]
_Item = TypeVar("_Item", Entry, Entry | DoneRead)


class Backlog:
    """Events and acknowledgements on their way to the disk; both threads use it.

    Attributes:
        offered: the last sequence number that consumers may have. Loop's thread.
        live_octets: size of all events that somebody waits for, octets. Loop's thread.
    """

    def __init__(self) -> None:
        self.offered = 0
        self.live_octets = 0
        self._lock = threading.Lock()
        self._unwritten: list[Entry | DoneRead] = []
        self._copies: list[Entry] = []
        self._tidy_above = 2 * _MOST_AT_ONCE

    def __len__(self) -> int:
        return len(self._unwritten) + len(self._copies)

    def add(self, item: Entry | DoneRead) -> None:
        """Have this written."""
        with self._lock:
            self._unwritten.append(item)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Have these written, perhaps once more."""
        with self._lock:
            self._unwritten += entries

    def copy(self, entries: Iterable[Entry]) -> None:
        """Have these written once more, because their segment is to go."""
        with self._lock:
            self._copies += entries

    def cut(self, most_octets: int) -> list[Entry | DoneRead]:
        """Take what is to be written next, not much longer than this many octets.

        While there are copies to be made they get three quarters: they make room on the disk faster than new events
        can fill it, and those need not wait for all of them.
        """
        with self._lock:
            share = 4 if self._copies else 1
            return [
                *_cut(self._copies, _MOST_AT_ONCE * 3 // 4, most_octets * 3 // 4),
                *_cut(self._unwritten, _MOST_AT_ONCE // share, most_octets // share),
            ]

    def put_back(self, batch: list[Entry | DoneRead]) -> None:
        """What was cut is not on disk after all."""
        with self._lock:
            self._unwritten[:0] = batch

    def tidy(self) -> None:
        """If the disk is far behind: forget events that need not be written any more, and who acknowledged them.

        So what waits for the disk is bounded by what waits for consumers.
        """
        if len(self._unwritten) <= self._tidy_above:
            return
        with self._lock:
            entries = [each for each in self._unwritten if isinstance(each, Entry)]
            nowhere = {each.run.sequence for each in entries if each.segment is None}
            done = merged(each for each in self._unwritten if isinstance(each, DoneRead))
            self._unwritten = [each for each in entries if each.mask]
            kept = len(self._unwritten)
            for each in done:
                sequences = [sequence for sequence in each.sequences if sequence not in nowhere]
                kept += len(sequences)
                if sequences or each.overflowed:
                    # With none left it still says how many were lost.
                    self._unwritten.append(each._replace(sequences=sequences or each.sequences[-1:]))
            self._tidy_above = 2 * (kept + _MOST_AT_ONCE)


def _cut(items: list[_Item], most: int, most_octets: int) -> list[_Item]:
    """Take the first items out of a list: so many, or until they have so many octets."""
    batch = items[:most]
    octets = 0
    for count, each in enumerate(batch, start=1):
        octets += each.size if isinstance(each, Entry) else 8 * len(each.sequences)
        if octets >= most_octets:
            del batch[count:]
            break
    del items[: len(batch)]
    return batch


def merged(done: Iterable[DoneRead]) -> list[DoneRead]:
    """The same with one record per consumer and kind."""
    lists: dict[tuple[int, bool], tuple[list[int], int]] = {}
    for each in done:
        key = (each.consumer, bool(each.overflowed))
        sequences, overflowed = lists.get(key, ([], 0))
        sequences.extend(each.sequences)
        lists[key] = (sequences, max(overflowed, each.overflowed))
    return [DoneRead(consumer, sequences, overflowed) for (consumer, _), (sequences, overflowed) in lists.items()]


class Consumer:
    """What waits for one consumer; made by the event log, for the loop's thread.

    Events are taken and acknowledged one by one or, at a fraction of the cost, by the run. This and :meth:`release` are
    for whoever serves the consumer, the rest is the log's.

    Attributes:
        name: as configured.
        waiting: how many events it has not acknowledged; those that are not yet on disk included.
        overflowed: how many it has lost because of the bounds since it was first configured; survives restarts.
        bit: stands for it in masks.
        most: how many may wait.
        octets: size of what waits.
    """

    def __init__(self, backlog: Backlog, index: int, config: ConsumerConfig) -> None:
        self.name = config.name
        self.waiting = 0
        self.overflowed = 0
        self.bit = 1 << index
        self.most = config.most
        self.octets = 0
        self._backlog = backlog
        self._index = index
        self._classify = config.classify
        self._queues: dict[int, Queue] = {}
        # Queues of those classes again, in order of priority.
        self._ordered: list[Queue] = []
        self._taken: dict[int, tuple[Entry, Queue]] = {}
        # Of what was taken by the event: the run of each, and how many of a run are not acknowledged.
        self._runs: dict[int, int] = {}
        self._left: dict[int, int] = {}

    def take(self, limit: int) -> list[LoggedEvent]:
        """The next events: the lowest class first, within a class by sequence. Not again until :meth:`release`.

        Args:
            limit: how many at most, but for the rest of the last run.
        """
        events: list[LoggedEvent] = []
        nothing = []
        for sequence, run in self.take_runs(limit):
            mine = [
                LoggedEvent(number, *event)
                for number, event in enumerate(run, sequence)
                # Not for it, where a run is older than the configuration.
                if event[0] != NAMELESS and self._classify(event[0]) is not None
            ]
            for event in mine:
                self._runs[event.sequence] = sequence
            events += mine
            if mine:
                self._left[sequence] = len(mine)
            else:
                nothing.append(sequence)
        self.acknowledge_runs(nothing)
        return events

    def take_runs(self, limit: int) -> list[LoggedRun]:
        """The same, by the run; events in them that are not for this consumer are to be passed over."""
        runs: list[LoggedRun] = []
        offered = self._backlog.offered
        taken = self._taken
        count = 0
        for queue in self._ordered:
            while queue and count < limit:
                entry = queue[0]
                run = entry.run
                if run.sequence > offered:
                    break
                queue.popleft()
                taken[run.sequence] = (entry, queue)
                runs.append(run)
                count += len(run.events)
        return runs

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """The consumer has these for certain; they are not offered again, once it has all that came with them.

        Args:
            sequences: of events taken and not released since, in any order; others are ignored.
        """
        whole = []
        for sequence in sequences:
            run = self._runs.pop(sequence, None)
            if run is None:
                continue
            self._left[run] -= 1
            if not self._left[run]:
                del self._left[run]
                whole.append(run)
        self.acknowledge_runs(whole)

    def acknowledge_runs(self, sequences: Iterable[int]) -> None:
        """The consumer has these runs for certain, each by the sequence of its first event."""
        taken = self._taken
        entries = [taken.pop(sequence)[0] for sequence in sequences if sequence in taken]
        if entries:
            self._finish(entries)
            self._backlog.add(DoneRead(self._index, [entry.run.sequence for entry in entries], 0))

    def release(self) -> None:
        """What was taken and not acknowledged is offered again, before what follows it in its class."""
        back: dict[int, tuple[Queue, list[Entry]]] = {}
        for entry, queue in self._taken.values():
            back.setdefault(id(queue), (queue, []))[1].append(entry)
        self._taken.clear()
        self._runs.clear()
        self._left.clear()
        for queue, entries in back.values():
            # Taken in order, so ahead of everything that is left.
            queue.extendleft(reversed(entries))

    def queue_for(self, key: str) -> Queue | None:
        """Where events of this key wait; None: they are not for it."""
        priority = self._classify(key)
        if priority is None:
            return None
        if priority not in self._queues:
            self._queues[priority] = deque()
            self._ordered = [self._queues[each] for each in sorted(self._queues)]
        return self._queues[priority]

    def drop_oldest(self) -> None:
        """Lose the oldest run of the last class; one that is with the consumer only if there is no other."""
        queue = next((each for each in reversed(self._ordered) if each), None)
        if queue is None:
            self.release()
            queue = next(each for each in reversed(self._ordered) if each)
        entry = queue.popleft()
        self.overflowed += len(entry.run.events)
        self._finish([entry])
        self._backlog.add(DoneRead(self._index, (entry.run.sequence,), self.overflowed))

    def _finish(self, entries: list[Entry]) -> None:
        """No longer wait for these; what nobody waits for any more is forgotten."""
        others = ~self.bit
        count = octets = forgotten = 0
        for entry in entries:
            size = entry.size
            count += len(entry.run.events)
            octets += size
            entry.mask &= others
            if not entry.mask:
                forgotten += size
                if entry.segment is not None:
                    entry.segment.live.pop(entry.run.sequence, None)
        self.waiting -= count
        self.octets -= octets
        self._backlog.live_octets -= forgotten
