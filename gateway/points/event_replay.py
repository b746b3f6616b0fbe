"""Reads the segments of an event log at the start: who still waits for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.points.event_backlog import Entry, Segment
from gateway.points.event_segments import BatchRead, DoneRead, RunRead, SegmentRead

if TYPE_CHECKING:
    from collections.abc import Iterable


class Replay:
    """Follows the segments of a log, the oldest first.

    Args:
        names: the consumers that are configured; they have the bits from 0 on, others the next ones.

    Attributes:
        entries: runs that somebody waits for, by sequence.
        overflowed: how many events each consumer has lost, by name.
        last: the highest sequence number that may be given already.
        oldest: number of the oldest segment that is still needed.
        proven: the last sequence number of an event that is on disk for certain.
        unproven: runs of the last write, by sequence. The kernel has them; whether the disk has is not known.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.entries: dict[int, Entry] = {}
        self.overflowed: dict[str, int] = {}
        self.last = 0
        self.oldest = 0
        self.proven = 0
        self.unproven: dict[int, Segment] = {}
        self._seen = 0
        self._table = 0
        self._bits = {name: 1 << index for index, name in enumerate(names)}
        self._configured = len(self._bits)

    def apply(self, segment: Segment, read: SegmentRead) -> None:
        """Follow one segment."""
        if read.consumers is None:
            return
        table = [self._bits.setdefault(name, 1 << len(self._bits)) for name, _ in read.consumers]
        self.overflowed = {name: max(lost, self.overflowed.get(name, 0)) for name, lost in read.consumers}
        self._keep(sum(table))
        masks: dict[int, int] = {}
        for record in read.records:
            if isinstance(record, RunRead):
                mask = masks.get(record.mask)
                if mask is None:
                    mask = masks[record.mask] = sum(bit for at, bit in enumerate(table) if record.mask >> at & 1)
                self._run(record, mask, segment)
            elif isinstance(record, DoneRead):
                if record.consumer < len(table):
                    self._done(record, table[record.consumer], read.consumers[record.consumer][0])
            else:
                self._batch(record)
        self.last = max(self.last, self._seen)

    def unconfigured(self) -> list[tuple[str, int]]:
        """Name of each consumer that is not configured any more, and how many events wait for it."""
        counts = [
            (name, sum(len(each.run.events) for each in self.entries.values() if each.mask & bit))
            for name, bit in list(self._bits.items())[self._configured :]
        ]
        return [(name, count) for name, count in counts if count]

    def _run(self, record: RunRead, mask: int, segment: Segment) -> None:
        sequence = record.run.sequence
        self._seen = max(self._seen, record.run.last)
        entry = self.entries.get(sequence)
        if entry is None:
            entry = self.entries[sequence] = Entry(record.run, mask, 0)
            entry.segment = segment
        # Where it was before, it is needed until this copy is known to be on disk.
        entry.mask = mask
        self.unproven[sequence] = segment

    def _batch(self, record: BatchRead) -> None:
        # What came before this write was synced by then.
        for sequence, segment in self.unproven.items():
            entry = self.entries.get(sequence)
            if entry is not None:
                entry.segment = segment
        self.unproven.clear()
        self.proven = self._seen
        self.last = max(self.last, record.last)
        if record.oldest > self.oldest:
            self.oldest = record.oldest
            for sequence, entry in list(self.entries.items()):
                if entry.segment is not None and entry.segment.number < record.oldest:
                    del self.entries[sequence]

    def _done(self, record: DoneRead, bit: int, name: str) -> None:
        for sequence in record.sequences:
            entry = self.entries.get(sequence)
            if entry is not None:
                entry.mask &= ~bit
                if not entry.mask:
                    del self.entries[sequence]
        self.overflowed[name] = max(record.overflowed, self.overflowed[name])

    def _keep(self, mask: int) -> None:
        """A consumer that is not in the table of a segment had stopped waiting when that was begun."""
        if mask != self._table:
            self._table = mask
            for sequence, entry in list(self.entries.items()):
                entry.mask &= mask
                if not entry.mask:
                    del self.entries[sequence]
