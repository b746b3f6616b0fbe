r"""The files of the event log: how a segment is laid out, written and read.

:class:`SegmentWriter` writes one segment, :func:`read_segment` reads one, damaged or not.
:mod:`gateway.points.event_log` knows what the records mean.

A segment is a header and a row of batches::

    header  8s "FLISREV\n"   u16 version   u16 0   u64 number of the segment   u32 CRC of the octets before
    batch   records, then zeros up to the next block of 4,096 octets
    record  u8 0xE1   u32 CRC   u8 kind   u16 length of the body   body

    BATCH   u32 its own offset   u64 last sequence number that may be in use   u64 oldest segment still needed
    START   u64 number of the segment before, of the same process   u64 its length, all of it synced
            per consumer: u64 events it lost   u16 length   name (UTF-8)
    KEY     u32 number of the key in this segment   key (UTF-8)
    RUN     u64 sequence of its first event   u128 consumers that wait for it (bit 0: the first in START)   u16 events
            u32 key of each   u64 t_ns of each   u16 length of each   payload of each
    EVENT   in format 1 a run of one: u64 sequence   u128 consumers that wait for it   u32 key   u64 t_ns   payload
    DONE    u16 consumer   u64 sequences of the runs that it acknowledged
    DROPPED u16 consumer   u64 events it lost so far   u64 sequences of the runs that it lost now

The header keeps this layout in every version. A batch is one write and one sync, and begins with its BATCH
record. No two batches share a block, so that writing one cannot damage the one before: only the last batch of a
file can be torn, and whatever is unreadable before a BATCH record, or in the length that the next segment's
START tells, was damaged by more than a power cut. The CRC of a record runs over kind, length and body and
starts from the number of the segment, so that what a disk block held in a former file does not pass for a
record of this one. START stands twice in a segment, at both ends of its first batch: without it no other record
has a meaning.

A segment is only appended to by the process that began it, and only while every write to it succeeded: after a
failed one the kernel may still show octets that the disk never got.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_VERSION: Final = 2
_READ: Final = (1, 2)
_MAGIC: Final = b"FLISREV\n"
_HEADER: Final = struct.Struct(">8sHHQI")
_MARKER: Final = 0xE1
_RECORD: Final = struct.Struct(">BI")
_CHECKED: Final = struct.Struct(">BH")
_FRONT: Final = _RECORD.size + _CHECKED.size

_BATCH: Final = 1
_START: Final = 2
_KEY: Final = 3
_EVENT: Final = 4
_DONE: Final = 5
_DROPPED: Final = 6
_RUN: Final = 7

_BATCH_BODY: Final = struct.Struct(">IQQ")
_PREVIOUS: Final = struct.Struct(">QQ")
_NAME: Final = struct.Struct(">QH")
_KEY_BODY: Final = struct.Struct(">I")
_EVENT_BODY: Final = struct.Struct(">Q16sIQ")
_RUN_BODY: Final = struct.Struct(">Q16sH")
_RUN_EVENT: Final = struct.Struct(">IQH")  # what an event takes beside its payload
_DONE_BODY: Final = struct.Struct(">H")
_DROPPED_BODY: Final = struct.Struct(">HQ")

# Octets: the page, and the largest sector in use.
_BLOCK: Final = 4096
# So that the longest record fits its u16.
_MOST_SEQUENCES: Final = 8000

LONGEST_PAYLOAD: Final = 0xFFFF - _RUN_BODY.size - _RUN_EVENT.size
"""Octets."""
NAMELESS: Final = ""
"""Key of an event whose own cannot be read: it keeps its place in its run, and is for nobody."""
MOST_IN_RUN: Final = 64
"""Events."""
LONGEST_RUN: Final = 16_384
"""Octets of payload in a run of several events."""
LONGEST_KEY: Final = 1000
"""Octets of UTF-8; of a consumer's name, too."""
MOST_CONSUMERS: Final = 128
RECORD_OVERHEAD: Final = 2 * _FRONT + _RUN_BODY.size + _RUN_EVENT.size + _KEY_BODY.size
"""Octets that an event takes at most beside its payload and its key: alone in its run, its key new in the segment."""

_NAME_OF_FILE: Final = re.compile(r"events-([0-9]{10,18})\.log")


class StoreError(Exception):
    """An event log that cannot be used; the message names the file and says why."""


class StoreLocked(StoreError):  # noqa: N818 - says what it is
    """Another process uses the log."""


class StoreTooNew(StoreError):  # noqa: N818 - says what it is
    """The log was written by a newer version of this program."""


class LoggedEvent(NamedTuple):
    """An event as it was handed in.

    Attributes:
        sequence: its number; rises, never repeats; gaps mean nothing.
        key: what it is about; events of one key stay in order.
        payload: what happened.
        t_ns: when it arrived, ns since 1970.
    """

    sequence: int
    key: str
    payload: bytes
    t_ns: int


class LoggedRun(NamedTuple):
    """Events that came together and wait for the same consumers: stored, told and acknowledged as one.

    Attributes:
        sequence: of its first event; the others have the next ones.
        events: key, payload and time of each, as they were handed in.
    """

    sequence: int
    events: Sequence[tuple[str, bytes, int]]

    @property
    def last(self) -> int:
        """Sequence number of its last event."""
        return self.sequence + len(self.events) - 1


class BatchRead(NamedTuple):
    """A batch begins; see the module's text."""

    offset: int
    last: int
    oldest: int


class RunRead(NamedTuple):
    """A run and the consumers, by bit, that waited for it when it was written."""

    run: LoggedRun
    mask: int


class DoneRead(NamedTuple):
    """Runs that a consumer does not wait for any more.

    Attributes:
        consumer: its place in the table.
        sequences: of their first events.
        overflowed: how many events it has lost in all, or 0 if it acknowledged these.
    """

    consumer: int
    sequences: Sequence[int]
    overflowed: int


class SegmentRead(NamedTuple):
    """What there is in a segment.

    Attributes:
        length: of the file, octets.
        consumers: name of each and how many events it lost before; None if that cannot be read, then nothing can.
        previous: number and synced length of the segment before, or zeros.
        records: the others, in order.
        gaps: begin and end of what is unreadable.
        synced: how much of it was on disk once, octets; at least.
        nameless: offsets of the runs of events whose key is unreadable.
    """

    length: int
    consumers: tuple[tuple[str, int], ...] | None
    previous: tuple[int, int]
    records: list[BatchRead | RunRead | DoneRead]
    gaps: list[tuple[int, int]]
    synced: int
    nameless: list[int]

    def damage(self, synced: int) -> list[tuple[int, str]]:
        """What is unreadable by more than a power cut: offset and what is wrong.

        Args:
            synced: how much is known from elsewhere to have been on disk, octets.
        """
        synced = max(synced, self.synced)
        damage = [
            (begin, f"damaged, {min(end, synced) - begin} octets cannot be read")
            for begin, end in self.gaps
            if begin < synced
        ]
        if self.length < synced:
            damage.append((self.length, f"the last {synced - self.length} octets are missing"))
        if self.consumers is None:
            if synced:
                damage.append((_HEADER.size, "the table of consumers is damaged, without it nothing has a meaning"))
        elif self.nameless and self.nameless[0] < synced:
            damage.append(
                (self.nameless[0], f"{len(self.nameless)} events lost their key with a damaged record before")
            )
        return damage

    def torn_octets(self, synced: int) -> int:
        """How much of a batch that was never finished is unreadable.

        Args:
            synced: as above.
        """
        synced = max(synced, self.synced)
        return sum(end - max(begin, synced) for begin, end in self.gaps if end > synced)


def least_segment(names: Iterable[str]) -> int:
    """How long a segment for consumers of these names must be at least, octets.

    So that what each segment costs, padding and both tables of consumers, is a third of it at most: writing again
    what waits in a segment would else gain nothing.

    Raises:
        ValueError: the names are too long together for the table of consumers.
    """
    body = _PREVIOUS.size + sum(_NAME.size + len(name.encode()) for name in names)
    if body > 0xFFFF:
        raise ValueError(f"the names of the consumers take {body} octets together, at most {0xFFFF} fit")
    table = _FRONT + body
    return max(16 * _BLOCK, 8 * table)


def segment_path(folder: Path, number: int) -> Path:
    """Where the segment of this number is."""
    return folder / f"events-{number:010}.log"


def segments_in(folder: Path) -> list[tuple[int, Path]]:
    """Number and path of every segment, the oldest first."""
    matches = ((_NAME_OF_FILE.fullmatch(each.name), each) for each in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


class SegmentWriter:
    """Writes one segment. Not thread-safe.

    Attributes:
        number: its number, above those of all before it.
        path: where it is.
        octets: how long it is.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.path = segment_path(folder, number)
        self.octets = 0
        self._file: int | None = None
        self._keys: dict[str, int] = {}
        self._seed = _seed(number)

    def write(
        self,
        last: int,
        oldest: int,
        runs: Iterable[tuple[LoggedRun, int]],
        done: Iterable[DoneRead],
        consumers: Sequence[tuple[str, int]],
        previous: tuple[int, int] = (0, 0),
    ) -> None:
        """Append a batch; on return it is on disk. The first one makes the file.

        Args:
            last: highest sequence number that may be given before the next write.
            oldest: number of the oldest segment still needed.
            runs: what happened, and the bits of those who wait for it.
            done: what is not waited for any more.
            consumers: name and lost events of each; the same ones in each call.
            previous: number and length of the segment before, if this process has written it.

        Raises:
            OSError: it is not known to be on disk. Call :meth:`abandon` and nothing else then.
        """
        begin = self.octets
        parts: list[bytes] = []
        if not begin:
            head = _HEADER.pack(_MAGIC, _VERSION, 0, self.number, 0)[:-4]
            parts = [head, struct.pack(">I", zlib.crc32(head))]
            begin = _HEADER.size
        self._add(parts, _BATCH, _BATCH_BODY.pack(begin, last, oldest))
        start = _PREVIOUS.pack(*previous)
        start += b"".join(_NAME.pack(lost, len(octets := name.encode())) + octets for name, lost in consumers)
        if not self.octets:
            self._add(parts, _START, start)
        self._add_runs(parts, runs)
        for each in done:
            front = _DROPPED_BODY.pack(each.consumer, each.overflowed) if each.overflowed else None
            for some in range(0, len(each.sequences), _MOST_SEQUENCES):
                sequences = each.sequences[some : some + _MOST_SEQUENCES]
                packed = struct.pack(f">{len(sequences)}Q", *sequences)
                if front is None:
                    self._add(parts, _DONE, _DONE_BODY.pack(each.consumer) + packed)
                else:
                    self._add(parts, _DROPPED, front + packed)
        if not self.octets:
            self._add(parts, _START, start)
        octets = b"".join(parts)
        self._append(octets + bytes(-(self.octets + len(octets)) % _BLOCK))

    def abandon(self) -> None:
        """Take back what a failed write may have left, as far as that goes, and close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.octets)
            self.close()
            if not self.octets:
                with contextlib.suppress(OSError):
                    self.path.unlink()

    def close(self) -> None:
        """Close the file. Closing again does nothing."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # all that counts was synced
                os.close(file)

    def _append(self, octets: bytes) -> None:
        new = self._file is None
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        view = memoryview(octets)
        written = 0
        while written < len(octets):
            written += os.write(self._file, view[written:])
        if new:
            os.fsync(self._file)
            sync_folder(self.path.parent)
        else:
            os.fdatasync(self._file)
        self.octets += written

    def _add(self, parts: list[bytes], kind: int, body: bytes) -> None:
        checked = _CHECKED.pack(kind, len(body)) + body
        parts.append(_RECORD.pack(_MARKER, zlib.crc32(checked, self._seed)))
        parts.append(checked)

    def _add_runs(self, parts: list[bytes], runs: Iterable[tuple[LoggedRun, int]]) -> None:
        # The hot path: fifty thousand events a second come through here, and the loop waits for the interpreter.
        keys = self._keys
        for (sequence, events), mask in runs:
            names, payloads, times = zip(*events, strict=True)
            for name in names:
                if name not in keys:
                    keys[name] = len(keys)
                    self._add(parts, _KEY, _KEY_BODY.pack(keys[name]) + name.encode())
            head = _RUN_BODY.pack(sequence, mask.to_bytes(16, "big"), len(events))
            numbers = map(keys.__getitem__, names)
            columns = struct.pack(_columns(len(events)), *numbers, *times, *map(len, payloads))
            self._add(parts, _RUN, b"".join((head, columns, *payloads)))


def _columns(count: int) -> str:
    """Key, time and length of so many events, as struct has it."""
    return f">{count}I{count}Q{count}H"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_segment(path: Path, number: int, content: bytes) -> SegmentRead:
    """Everything readable in a segment.

    Args:
        path: for messages.
        number: of the segment, from its name.
        content: the file's octets, whatever they are.

    Raises:
        StoreTooNew: a newer version of this program wrote it.
    """
    # A torn or damaged header keeps nothing from being read: it says nothing that the name does not.
    gaps = [] if _check_header(path, content) else [(0, min(_HEADER.size, len(content)))]
    offset = _HEADER.size
    found: list[tuple[int, int, bytes]] = []
    seed = _seed(number)
    synced = 0
    while offset < len(content):
        record = _record_at(content, offset, seed)
        if record is None:
            begin, offset = offset, _next_record(content, offset + 1, seed)
            if offset != begin + -begin % _BLOCK or content.count(0, begin, offset) < offset - begin:
                gaps.append((begin, offset))
            continue
        kind, body = record
        if kind == _BATCH and offset % _BLOCK == 0:
            synced = offset
        found.append((offset, kind, body))
        offset += _FRONT + len(body)
    consumers, previous = next((_start(body) for _, kind, body in found if kind == _START), (None, (0, 0)))
    records, nameless = _decode(found)
    return SegmentRead(
        len(content), consumers, previous, records if consumers is not None else [], gaps, synced, nameless
    )


def _decode(found: list[tuple[int, int, bytes]]) -> tuple[list[BatchRead | RunRead | DoneRead], list[int]]:
    records: list[BatchRead | RunRead | DoneRead] = []
    nameless: list[int] = []
    keys: dict[int, str] = {}
    for offset, kind, body in found:
        if kind == _EVENT:
            sequence, who, number, t_ns = _EVENT_BODY.unpack_from(body)
            key = keys.get(number)
            if key is None:
                nameless.append(offset)
                continue
            run = LoggedRun(sequence, ((key, body[_EVENT_BODY.size :], t_ns),))
            records.append(RunRead(run, int.from_bytes(who, "big")))
        elif kind == _RUN:
            sequence, who, _ = _RUN_BODY.unpack_from(body)
            events = _events_of(body, keys)
            nameless += [offset for key, _, _ in events if key == NAMELESS]
            records.append(RunRead(LoggedRun(sequence, events), int.from_bytes(who, "big")))
        elif kind == _DONE:
            count = (len(body) - _DONE_BODY.size) // 8
            (consumer,) = _DONE_BODY.unpack_from(body)
            records.append(DoneRead(consumer, struct.unpack_from(f">{count}Q", body, _DONE_BODY.size), 0))
        elif kind == _DROPPED:
            count = (len(body) - _DROPPED_BODY.size) // 8
            consumer, overflowed = _DROPPED_BODY.unpack_from(body)
            sequences = struct.unpack_from(f">{count}Q", body, _DROPPED_BODY.size)
            records.append(DoneRead(consumer, sequences, overflowed))
        elif kind == _BATCH:
            _, last, oldest = _BATCH_BODY.unpack(body)
            records.append(BatchRead(offset, last, oldest))
        elif kind == _KEY:
            keys[_KEY_BODY.unpack_from(body)[0]] = body[_KEY_BODY.size :].decode(errors="replace")
    return records, nameless


def _events_of(body: bytes, keys: dict[int, str]) -> list[tuple[str, bytes, int]]:
    _, _, count = _RUN_BODY.unpack_from(body)
    columns = struct.unpack_from(_columns(count), body, _RUN_BODY.size)
    offset = _RUN_BODY.size + count * _RUN_EVENT.size
    events = []
    for number, t_ns, length in zip(columns[:count], columns[count : 2 * count], columns[2 * count :], strict=True):
        events.append((keys.get(number, NAMELESS), body[offset : offset + length], t_ns))
        offset += length
    return events


def _start(body: bytes) -> tuple[tuple[tuple[str, int], ...], tuple[int, int]]:
    number, length = _PREVIOUS.unpack_from(body)
    return _names(body[_PREVIOUS.size :]), (number, length)


def _names(body: bytes) -> tuple[tuple[str, int], ...]:
    names = []
    offset = 0
    while offset + _NAME.size <= len(body):
        lost, length = _NAME.unpack_from(body, offset)
        offset += _NAME.size + length
        names.append((body[offset - length : offset].decode(errors="replace"), lost))
    return tuple(names)


def _check_header(path: Path, content: bytes) -> bool:
    """Whether the header is whole."""
    if len(content) < _HEADER.size or zlib.crc32(content[: _HEADER.size - 4]) != _HEADER.unpack_from(content)[4]:
        return False
    magic, version, *_ = _HEADER.unpack_from(content)
    if magic == _MAGIC and version > _VERSION:
        raise StoreTooNew(
            f"{path}: offset {len(_MAGIC)}: written in format {version}, this program reads up to {_VERSION}; "
            "upgrade it"
        )
    whole: bool = magic == _MAGIC and version in _READ
    return whole


# Shortest body of each kind.
_SHORTEST: Final = {
    _BATCH: _BATCH_BODY.size,
    _START: _PREVIOUS.size,
    _KEY: _KEY_BODY.size,
    _EVENT: _EVENT_BODY.size,
    _RUN: _RUN_BODY.size + _RUN_EVENT.size,
    _DONE: _DONE_BODY.size,
    _DROPPED: _DROPPED_BODY.size,
}


def _record_at(content: bytes, offset: int, seed: int) -> tuple[int, bytes] | None:
    """Kind and body of the record at this offset; None if there is none."""
    begin = offset + _RECORD.size
    if content[offset] != _MARKER or begin + _CHECKED.size > len(content):
        return None
    kind, length = _CHECKED.unpack_from(content, begin)
    checked = content[begin : begin + _CHECKED.size + length]
    if (
        length < _SHORTEST.get(kind, 1 << 16)
        or len(checked) != _CHECKED.size + length
        or zlib.crc32(checked, seed) != _RECORD.unpack_from(content, offset)[1]
    ):
        return None
    body = checked[_CHECKED.size :]
    if kind == _BATCH and (length != _BATCH_BODY.size or _BATCH_BODY.unpack(body)[0] != offset):
        return None
    if kind == _RUN and length < _RUN_BODY.size + _RUN_BODY.unpack_from(body)[2] * _RUN_EVENT.size:
        return None
    return kind, body


def _next_record(content: bytes, offset: int, seed: int) -> int:
    """Where the next record is, from this offset on; the end if there is none."""
    while (offset := content.find(_MARKER, offset)) >= 0:
        if _record_at(content, offset, seed) is not None:
            return offset
        offset += 1
    return len(content)


def _seed(number: int) -> int:
    return zlib.crc32(struct.pack(">Q", number))
