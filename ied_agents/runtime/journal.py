"""What an agent saw, decided and why, as JSON lines on disk, without ever holding up the agent.

The loop only appends to a bounded queue in memory. The thread that makes the state durable takes it from
there when it has nothing better to do (``DurableWriter(background=journal.write_some)``). A disk that is full
or gone costs entries, never the agent: they are counted, and the gap is announced in the journal as soon as
it can be written.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = 1
_OPENED: Final = "JournalOpened"  # first line of each file, with the version of its format
# Encoding holds the interpreter's lock, and the loop waits for it: this many entries take some 0.1 ms.
_BATCH: Final = 10
_LONGEST_LINE: Final = 1 << 16  # octets; a longer entry is cut


class Journal:
    """The journal of one agent.

    :meth:`record` is for the loop's thread; :meth:`write_some` and :meth:`close` for one other, or for the
    same when there is no other. The current file is ``path``; older ones are ``path.1`` (the newest of them),
    ``path.2``, …

    Args:
        path: the current file.
        max_octets: size at which a file becomes an old one, octets.
        max_files: how many files are kept, the current one included; at least 2.
        capacity: how many entries wait in memory at most.

    Attributes:
        lost: entries that found no room since the start.
        failures: attempts to write that failed since the start.
        last_error: the last such failure.
    """

    def __init__(self, path: Path, *, max_octets: int = 8 << 20, max_files: int = 4, capacity: int = 10_000) -> None:
        self.lost = 0
        self.failures = 0
        self.last_error: OSError | None = None
        self._path = path
        self._max_octets = max_octets
        self._max_files = max_files
        self._capacity = capacity
        self._entries: deque[tuple[int, float, str, dict[str, Any]]] = deque()
        self._batch = b""
        self._file: int | None = None
        self._size = 0
        self._announced = (0, 0)

    def record(self, kind: str, mono: float, **fields: Any) -> None:
        """Note something. Costs a microsecond and never fails.

        Args:
            kind: what it is.
            mono: monotonic seconds, the agent's ``now``.
            fields: whatever belongs to it; must not change afterwards.
        """
        if len(self._entries) >= self._capacity:
            # The older ones stay: what began a trouble tells more than its hundredth repetition.
            self.lost += 1
        else:
            self._entries.append((time.time_ns(), mono, kind, fields))

    def write_some(self) -> bool:
        """Write the next few entries.

        Returns:
            Whether there are more, and writing works.
        """
        if not self._batch:
            self._batch = self._next_batch()
        if not self._batch:
            return False
        try:
            file = self._open() if self._file is None else self._file
            if self._size and self._size + len(self._batch) > self._max_octets:
                file = self._rotate(file)
            self._write(file)
        except OSError as error:
            self.failures += 1
            self.last_error = error
            return False
        self._batch = b""
        return bool(self._entries)

    def close(self) -> None:
        """Write what is left, as far as the disk takes it, and close the file."""
        while self.write_some():
            pass
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _next_batch(self) -> bytes:
        lines: list[bytes] = []
        while self._entries and len(lines) < _BATCH:
            t_ns, mono, kind, fields = self._entries.popleft()
            lines.append(_line(t_ns, mono, kind, fields))
        troubles = (self.lost, self.failures)
        if troubles != self._announced:
            lost, failures = self._announced
            self._announced = troubles
            gap = {
                "lost": troubles[0] - lost,
                "failures": troubles[1] - failures,
                "error": str(self.last_error),
            }
            lines.append(_line(time.time_ns(), None, "JournalGap", gap))
        return b"".join(lines)

    def _open(self) -> int:
        """Open the current file and cut off the torn line that a crash may have left."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(file).st_size
            start = max(0, size - _LONGEST_LINE)
            end = start + os.pread(file, size - start, start).rfind(b"\n") + 1
            if end != size:
                os.ftruncate(file, end)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        self._size = end
        return file

    def _rotate(self, file: int) -> int:
        """Make the current file an old one, drop the oldest, and open a new one."""
        self._file = None
        os.close(file)
        for age in range(self._max_files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                _older(self._path, age - 1).replace(_older(self._path, age))
        return self._open()

    def _write(self, file: int) -> None:
        """Write the whole batch or nothing of it."""
        octets = self._batch
        if not self._size:
            octets = _line(time.time_ns(), None, _OPENED, {"version": _VERSION}) + octets
        written = 0
        try:
            while written < len(octets):
                written += os.write(file, octets[written:])
        except OSError:
            # The batch will be written again: take back what there is of it, then open the file anew.
            with contextlib.suppress(OSError):
                os.ftruncate(file, self._size)
            self._file = None
            os.close(file)
            raise
        self._size += written


class JournalError(Exception):
    """A journal that cannot be read; the message names file and line."""


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Every entry of a journal, its old files included, from the oldest on.

    The last line of a file may be torn by a crash, or still be in writing; it is left out.

    Args:
        path: the current file.

    Raises:
        FileNotFoundError: there is no journal.
        JournalError: a line is no journal entry, or the journal was written by a newer version of this
            program.
    """
    age = 0
    while _older(path, age + 1).exists():
        age += 1
    for file in (_older(path, each) for each in range(age, -1, -1)):
        with file.open("rb") as lines:
            number = 0
            while (line := lines.readline(_LONGEST_LINE)).endswith(b"\n"):
                number += 1
                entry = _entry(file, number, line)
                if entry["kind"] != _OPENED:
                    yield entry
            if len(line) == _LONGEST_LINE:
                raise JournalError(f"{file}: line {number + 1}: longer than {_LONGEST_LINE} octets")


class JournalTail:
    """Reads a journal while it is written: what there is at first, then what comes, through every rotation.

    Args:
        path: the current file; it need not be there yet.
        only: lines that have none of these octets are passed over unread; none for all. What is parsed costs tenfold.
    """

    def __init__(self, path: Path, only: tuple[bytes, ...] = ()) -> None:
        self._path = path
        self._only = (*only, _OPENED.encode()) if only else ()
        self._file: BinaryIO | None = None
        self._number = 0
        self._begun = False

    def read(self) -> Iterator[dict[str, Any]]:
        """The entries that have come since the last call.

        Raises:
            JournalError: a line is no journal entry, or the journal was written by a newer version of this program.
        """
        if not self._begun:
            self._begun = True
            age = 0
            while _older(self._path, age + 1).exists():
                age += 1
            for each in range(age, 0, -1):
                yield from self._rest_of(_older(self._path, each))
        while True:
            if self._file is None and not self._open(self._path):
                return
            assert self._file is not None
            # Looked at before the last lines are read: nothing is written to a file after it was renamed.
            rotated = self._is_rotated(self._file)
            yield from self._lines(self._file, self._path)
            if not rotated:
                return
            self.close()

    def _rest_of(self, path: Path) -> Iterator[dict[str, Any]]:
        if self._open(path):
            assert self._file is not None
            yield from self._lines(self._file, path)
            self.close()

    def _open(self, path: Path) -> bool:
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        self._number = 0
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _is_rotated(self, file: BinaryIO) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _lines(self, file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
        while True:
            begin = file.tell()
            if begin > os.fstat(file.fileno()).st_size:
                begin = file.seek(0, os.SEEK_END)  # a torn line was cut off
            line = file.readline(_LONGEST_LINE)
            if not line.endswith(b"\n"):
                file.seek(begin)  # still in writing
                return
            self._number += 1
            if self._only and not any(each in line for each in self._only):
                continue
            entry = _entry(path, self._number, line)
            if entry["kind"] != _OPENED:
                yield entry


def _entry(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"{file}: line {number}: no JSON: {error}") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise JournalError(f"{file}: line {number}: no journal entry")
    if entry["kind"] == _OPENED and entry.get("version") != _VERSION:
        raise JournalError(
            f"{file}: line {number}: written in format {entry.get('version')}, this program reads {_VERSION}"
        )
    return entry


def _older(path: Path, age: int) -> Path:
    """The file that is ``age`` rotations old; 0 is the current one."""
    return path.with_name(f"{path.name}.{age}") if age else path


def _line(t_ns: int, mono: float | None, kind: str, fields: dict[str, Any]) -> bytes:
    entry = {"t_ns": t_ns, "mono": mono, "kind": kind, **fields}
    try:
        text = json.dumps(entry, separators=(",", ":"), allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not 0 < len(text) < _LONGEST_LINE:
        # What JSON has no way to say, or only at length, is still worth reading.
        text = json.dumps({"t_ns": t_ns, "mono": mono, "kind": kind, "repr": repr(fields)[:1000]})
    return text.encode("ascii") + b"\n"
