r"""An agent's state on disk: what it has published as durable survives a kill or power cut at any moment.

:class:`DurableFile` is the file, :class:`DurableWriter` the one thread beside the loop that writes it.

A file is a header and a row of records, each a full snapshot of the state as JSON; the last one counts::

    header  8s "FLISRST\n"   u16 version   u16 0   8s identity   u32 CRC of the octets before
    record  u32 index   u32 length   u32 CRC   payload   zeros up to the next block of 4,096 octets

A record's CRC runs over identity, index, length and payload, so that neither a record of a former file whose
blocks are used again nor one out of its turn passes for one of this file. Each record is on disk before the
next is begun, and they share no block, so that writing one cannot damage the one before: only the last can be
torn. A bad record with a good one behind it is damage that no power cut explains, and refused.

A file is only ever appended to by the process that wrote its header, and only while every write to it
succeeded. Otherwise the state goes to a new file that takes the old one's place once it is on disk whole.
That is so for the first record after opening, too: after a failed write the kernel may still show octets that
the disk never got.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import threading
import zlib
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

Record = dict[str, Any]

_VERSION: Final = 1
_MAGIC: Final = b"FLISRST\n"
_HEADER: Final = struct.Struct(">8sHH8sI")
_RECORD: Final = struct.Struct(">III")
_CHECKED: Final = struct.Struct(">8sII")

# Octets: the page, and the largest sector in use.
_BLOCK: Final = 4096
COMPACT_ABOVE: Final = 1 << 20
"""Octets. A file larger than this is replaced by one that holds only the newest record."""


class DurableFileError(Exception):
    """A state file that cannot be used; the message names it and says why."""


class StateMissing(DurableFileError):  # noqa: N818 - says what it is
    """There is no state file: this agent was never commissioned, or its disk was exchanged."""


class StateLocked(DurableFileError):  # noqa: N818 - says what it is
    """Another process uses the state file."""


class StateDamaged(DurableFileError):  # noqa: N818 - says what it is
    """What is in the file is no state, or was damaged by more than a power cut.

    Attributes:
        offset: where in the file, octets.
    """

    def __init__(self, path: Path, offset: int, problem: str) -> None:
        super().__init__(f"{path}: offset {offset}: {problem}")
        self.offset = offset


class StateTooNew(DurableFileError):  # noqa: N818 - says what it is
    """The file was written by a newer version of this program."""


class DurableFile:
    """The state file of one agent, locked for this process while it is open.

    Made by :meth:`create` or :meth:`open`. Not thread-safe: hand it to a :class:`DurableWriter` or keep it.

    Attributes:
        path: where it is.
        record: the state as last known to be in the file.
        torn_octets: octets of an unfinished record that were found behind it and ignored; they were never
            reported durable.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.record: Record = {}
        self.torn_octets = 0
        self._lock = lock
        self._file: int | None = None
        self._identity = b""
        self._index = 0
        self._size = 0

    @classmethod
    def create(cls, path: Path, record: Record) -> Self:
        """Commission: make the state file and write its first record.

        Raises:
            FileExistsError: there is one already.
            StateLocked: another process uses it.
            OSError: it is not known to be on disk; try again, or open the file if it is there.
        """
        lock = _lock(path)
        if path.exists():
            os.close(lock)
            raise FileExistsError(f"{path}: state file exists already")
        file = cls(path, lock)
        try:
            file.write(record)
        except BaseException:
            file.close()
            raise
        return file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the state file and read its last whole record.

        That record was read, not written: a crash may still take it back if it was never reported durable. It
        is safe from then on when the next record is.

        Raises:
            StateMissing: there is none.
            StateLocked: another process uses it.
            StateTooNew: a newer version of this program wrote it.
            StateDamaged: what is in it is no state.
            OSError: it could not be read.
        """
        if not path.exists():
            raise StateMissing(f"{path}: no state file; commission this agent first")
        file = cls(path, _lock(path))
        try:
            # Under the lock: only now does nobody replace the file any more.
            file.record, file.torn_octets = _read(path, path.read_bytes())
        except BaseException:
            file.close()
            raise
        return file

    def write(self, record: Record) -> None:
        """Make ``record`` the state; on return it is on disk.

        Raises:
            OSError: it is not known to be on disk. The file then holds this record or the one before, and the
                next write starts a new file.
            TypeError, ValueError: it cannot be written as JSON.
        """
        self.write_payload(encode_record(record))
        self.record = record

    def write_payload(self, payload: bytes) -> None:
        """As :meth:`write`, for an encoded record; leaves :attr:`record` as it is."""
        if self._lock < 0:
            raise ValueError(f"{self.path}: closed")
        file, self._file = self._file, None
        if file is None or self._size + _RECORD.size + len(payload) > COMPACT_ABOVE:
            if file is not None:
                os.close(file)
            self._file = self._replace(payload)
            return
        try:
            self._append(file, payload)
            os.fdatasync(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def close(self) -> None:
        """Give the file free for others. Closing again does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replace(self, payload: bytes) -> int:
        """Write a new file with this one record and put it in the place of the old one."""
        new = self.path.with_name(self.path.name + ".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._identity = os.urandom(8)
            self._index = 0
            self._size = 0
            head = _HEADER.pack(_MAGIC, _VERSION, 0, self._identity, 0)[:-4]
            self._write_all(file, head + struct.pack(">I", zlib.crc32(head)))
            self._append(file, payload)
            os.fsync(file)
            new.replace(self.path)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except BaseException:
            os.close(file)
            raise
        return file

    def _append(self, file: int, payload: bytes) -> None:
        crc = _record_crc(self._identity, self._index, payload)
        record = _RECORD.pack(self._index, len(payload), crc) + payload
        self._write_all(file, record + bytes(_block_end(self._size + len(record)) - self._size - len(record)))
        self._index += 1

    def _write_all(self, file: int, octets: bytes) -> None:
        written = 0
        while written < len(octets):
            written += os.write(file, octets[written:])
        self._size += written


def encode_record(record: Record) -> bytes:
    """A record as its octets in the file.

    Raises:
        TypeError, ValueError: it cannot be written as JSON.
    """
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")


def _lock(path: Path) -> int:
    """Lock the file against other processes.

    The lock is on a file of its own, since the state file is replaced by others of its name. Who has it stands in it,
    for :func:`holder`.
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        os.close(lock)
        raise StateLocked(f"{path}: in use by another process") from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def holder(path: Path) -> int:
    """The process that uses a state file now; 0 if none does, -1 if it is not known which one.

    Args:
        path: of the state file, which need not exist.

    Raises:
        OSError: its lock cannot be looked at.
    """
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(lock, 20, 0).strip()
        return int(said) if said.isdigit() else -1
    finally:
        os.close(lock)
    return 0


def _block_end(offset: int) -> int:
    """Where the block ends in which a record ends."""
    return -(-offset // _BLOCK) * _BLOCK


def _record_crc(identity: bytes, index: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(identity, index, len(payload))))


def _read(path: Path, content: bytes) -> tuple[Record, int]:
    """The last whole record of a file, and the number of octets behind it."""
    identity = _read_header(path, content)
    offset = _HEADER.size
    index = 0
    last: bytes | None = None
    while (payload := _record_at(content, offset, identity, index)) is not None:
        last = payload
        offset = _block_end(offset + _RECORD.size + len(payload))
        index += 1
    for later in range(_block_end(offset + 1), len(content), _BLOCK):
        if _record_at(content, later, identity) is not None:
            raise StateDamaged(path, offset, "damaged record with a whole one behind it")
    if last is None:
        raise StateDamaged(path, offset, "no whole record")
    try:
        record = json.loads(last)
    except (ValueError, RecursionError) as error:
        raise StateDamaged(path, 0, f"last record is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise StateDamaged(path, 0, "last record is no JSON object")
    return record, max(0, len(content) - offset)


def _read_header(path: Path, content: bytes) -> bytes:
    """Check the header and return the file's identity."""
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise StateDamaged(path, 0, "no flisr state file")
    version: int
    identity: bytes
    _, version, _, identity, crc = _HEADER.unpack_from(content)
    # Before the checksum: a newer header may be laid out in another way.
    if version > _VERSION:
        raise StateTooNew(f"{path}: written in format {version}, this program reads up to {_VERSION}; upgrade it")
    if version != _VERSION or crc != zlib.crc32(content[: _HEADER.size - 4]):
        raise StateDamaged(path, _HEADER.size - 4, "header checksum does not match")
    return identity


def _record_at(content: bytes, offset: int, identity: bytes, index: int | None = None) -> bytes | None:
    """Payload of the record of this file, with this index or any, at this offset; None if it is not whole."""
    if offset + _RECORD.size > len(content):
        return None
    found, length, crc = _RECORD.unpack_from(content, offset)
    payload = content[offset + _RECORD.size : offset + _RECORD.size + length]
    if len(payload) != length or index not in (None, found) or crc != _record_crc(identity, found, payload):
        return None
    return payload


class DurableWriter:
    """Writes an agent's state in a thread of its own; the only thread beside the agent's loop.

    Everything but :meth:`close` is for the loop's thread and never waits. If several records are handed in
    while one is being written, only the newest of them is written; being full snapshots, it covers the
    others.

    Args:
        file: where the state goes; the writer closes it in the end.
        loop: where the callbacks run.
        on_durable: called with a record's sequence number once it, or a later one, is on disk.
        on_failed: called with the sequence number and the error when it is not known to be on disk; it counts
            only if handed in again.
        background: work of low priority (the journal) done a piece at a time while no record waits; returns
            whether there is more.
        background_every_s: how often it is looked for, s.
    """

    def __init__(
        self,
        file: DurableFile,
        loop: asyncio.AbstractEventLoop,
        on_durable: Callable[[int], None],
        on_failed: Callable[[int, OSError], None],
        *,
        background: Callable[[], bool] | None = None,
        background_every_s: float = 0.2,
    ) -> None:
        self._file = file
        self._loop = loop
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._background = background
        self._background_every_s = background_every_s
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._pending: deque[int] = deque()
        self._newest: tuple[int, bytes] = (-1, b"")
        self._closing = False
        # A daemon, so that a disk that never answers cannot keep a stopped agent alive.
        self._thread = threading.Thread(target=self._run, name="durable-writer", daemon=True)
        self._thread.start()

    def submit(self, sequence: int, record: Record) -> None:
        """Have a record written.

        Args:
            sequence: above the one of every record handed in before.
            record: the whole state.

        Raises:
            TypeError, ValueError: it cannot be written as JSON; or the sequence number is not above the last
                one.
            RuntimeError: the writer has ended.
        """
        if self._closing or not self._thread.is_alive():
            raise RuntimeError("the writer has ended")
        if sequence <= self._newest[0]:
            raise ValueError(f"sequence {sequence} does not follow {self._newest[0]}")
        payload = encode_record(record)
        # In this order: whoever waits is then covered by the newest record, whenever the thread looks.
        self._newest = (sequence, payload)
        self._pending.append(sequence)
        self._wake.put(True)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what is still waiting, do the background work that is left, and end the thread. Waits.

        Returns:
            Whether the thread ended in time. The file stays locked otherwise.
        """
        self._closing = True
        self._wake.put(True)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with self._file:
            more = closing = False
            while not closing or self._pending or more:
                # Taken before the look for work: what was handed in before closing is still done.
                closing = self._closing
                self._wait(0.0 if more or closing else self._background_every_s)
                if self._pending:
                    self._write()
                elif self._background is not None:
                    more = self._background()

    def _wait(self, seconds: float) -> None:
        """Wait until woken, and take all wake-ups at once."""
        with contextlib.suppress(Empty):
            if seconds > 0:
                self._wake.get(timeout=seconds)
            while True:
                self._wake.get_nowait()

    def _write(self) -> None:
        newest, payload = self._newest
        failure: OSError | None = None
        try:
            self._file.write_payload(payload)
        except OSError as error:
            failure = error
        covered = []
        while self._pending and self._pending[0] <= newest:
            covered.append(self._pending.popleft())
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._report, covered, failure)

    def _report(self, covered: list[int], failure: OSError | None) -> None:
        for sequence in covered:
            if failure is None:
                self._on_durable(sequence)
            else:
                self._on_failed(sequence, failure)
