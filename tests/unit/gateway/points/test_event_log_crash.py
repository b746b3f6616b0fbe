"""The event log on a disk that loses power, or fails, at every single step.

The disk modelled here promises what POSIX and a journalling file system promise and nothing more; see
``tests/unit/runtime/test_durable_crash.py``, which has the same for one file.
"""

import errno
import os as real_os
from pathlib import Path

import pytest

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog

SECTOR = 16
BLOCK = 32
BOUNDS = {"segment_octets": 600, "most_octets": 16 * 600}


class Inode:
    """A file's octets: those on disk for certain, and those that the running system sees."""

    def __init__(self):
        self.on_disk = b""
        self.seen = b""
        self.sync_failed = False

    def after_a_crash(self):
        """Every content that the disk may hold."""
        yield self.on_disk
        if self.seen == self.on_disk:
            return
        size = len(self.on_disk)
        for end in range(size + 1, len(self.seen.rstrip(b"\0")) + 2):
            yield self.seen[:end]
        for start in range(size - size % SECTOR, len(self.seen), SECTOR):
            sector = slice(start, start + SECTOR)
            yield self.seen[:start] + bytes(len(self.seen[sector])) + self.seen[start + SECTOR :]
            yield self.on_disk[:start] + self.seen[sector] + bytes(len(self.seen[start + SECTOR :]))


class Killed(BaseException):
    """The process is gone; the kernel and the disk are not."""


class Disk:
    """Stands in for ``os``: carries calls out, keeps what a crash would leave, fails one if told to."""

    partly = True  # whether a power cut leaves parts of what was not synced, or nothing of it
    kill_at = 0  # number of the sync at which the process is killed
    killed = False
    syncs = 0

    def __init__(self, folder, monkeypatch, fail_at=None, *, cut=True):
        self.fail_at = fail_at
        self.cut = cut
        self.calls = 0
        self.images = {}
        self.expected = None
        self._folder = folder
        self._open = {}
        self._inodes = {}
        self._names_on_disk = {}
        self._changes = []
        monkeypatch.setattr(event_segments, "os", self)
        monkeypatch.setattr(Path, "unlink", lambda path, **_: self.unlink(path))
        monkeypatch.setattr(event_segments, "_BLOCK", BLOCK)

    def __getattr__(self, name):
        return getattr(real_os, name)

    def open(self, path, flags, mode=0o777):
        self._step()
        file = real_os.open(path, flags, mode)
        if path == self._folder:
            self._open[file] = "folder"
        else:
            self._open[file] = inode = Inode()
            self._change(path.name, inode)
        return file

    def write(self, file, octets):
        self._step()
        octets = bytes(octets[:61])  # a short write, as the kernel may make it
        self._open[file].seen += octets
        self._crash()
        return real_os.write(file, octets)

    def ftruncate(self, file, size):
        if self.killed:
            return
        self._step()
        self._open[file].seen = self._open[file].seen[:size]
        real_os.ftruncate(file, size)

    def fdatasync(self, file):
        inode = self._open[file]
        self.syncs += 1
        if self.syncs == self.kill_at:
            self.killed = True
            raise Killed
        try:
            self._step()
        except OSError:
            if inode != "folder":
                inode.sync_failed = True
            raise
        if inode == "folder":
            self._names_on_disk = self._names()
            self._changes = []
        elif not inode.sync_failed:
            inode.on_disk = inode.seen
        self._crash()

    fsync = fdatasync

    def unlink(self, path):
        if self.killed:
            return
        self._step()
        real_os.unlink(path)  # noqa: PTH108 - the method is what this replaces
        self._change(path.name, None)

    def close(self, file):
        self._open.pop(file, None)
        real_os.close(file)

    def contents(self):
        """What is on disk for certain, but for names."""
        return {name: inode.on_disk for name, inode in self._names().items()}

    def _change(self, name, inode):
        self._changes.append((name, inode))
        self._crash()

    def _names(self, changes=None):
        names = dict(self._names_on_disk)
        for name, inode in self._changes if changes is None else changes:
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode
        return names

    def _step(self):
        """Count a call, and fail it if it is the one."""
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "broken")

    def _crash(self):
        """Note everything that a power cut now may leave."""
        if not self.cut:
            return
        for count in range(len(self._changes) + 1):
            names = self._names(self._changes[:count])
            certain = {name: inode.on_disk for name, inode in names.items()}
            for name, inode in names.items() or [(None, Inode())]:
                for content in inode.after_a_crash() if self.partly else [inode.on_disk]:
                    image = frozenset((certain | {name: content}).items()) if name else frozenset()
                    must, may = self.images.get(image, (frozenset(), None))
                    # The same image at several moments: what held at each of them must hold.
                    known_must, known_may = self.expected
                    may = known_may if may is None else may & known_may
                    self.images[image] = (must | known_must, may)


def consumers():
    return [
        ConsumerConfig("scada", lambda key: int(key[1]) % 2),
        ConsumerConfig("backup", lambda key: 0 if key < "k4" else None),
    ]


NAMES = ("scada", "backup")


class Story:
    """What a gateway does with its log, and what it knows to be certain meanwhile."""

    def __init__(self, folder, disk):
        self.folder = folder
        self.disk = disk
        self.must = set()
        self.may = set()
        self.failed = 0
        self.moved = False
        self.n = 0
        self.tell()

    def tell(self):
        self.disk.expected = (frozenset(self.must), frozenset(self.may))

    def live(self, starts=3, rounds=6):
        for start in range(starts):
            with EventLog.open(self.folder, consumers(), now_ns=start * 10**9, **BOUNDS) as log:
                self.disk.killed = False
                log._most_octets = 3300  # so that what waits is moved from file to file
                going = []
                for _ in range(rounds):
                    new = []
                    for _ in range(3):
                        self.n = n = self.n + 1
                        key = f"k{n % 8}"
                        sequence = log.append(key, b"%d" % n, n)
                        new += [(0, sequence, n)] + ([(1, sequence, n)] if key < "k4" else [])
                    self.may |= set(new)
                    self.tell()
                    self.write(log)
                    self.must |= set(new)
                    self.may -= set(going)
                    self.tell()
                    going = []
                    for index, name in enumerate(NAMES):
                        consumer = log.consumer(name)
                        events = consumer.take(5 + index)
                        # Every seventh, or sixth, event never: it stays and must be moved.
                        done = [(index, each.sequence, each.t_ns) for each in events if each.t_ns % (7 - index)]
                        self.must -= set(done)
                        going += done
                        consumer.acknowledge(sequence for _, sequence, _ in done)
                        consumer.release()
                    self.tell()
                self.write(log)
                self.may -= set(going)
                self.tell()
                assert log.trouble == []

    def write(self, log):
        while log.needs_write:
            try:
                result = log.write()
            except OSError:
                self.failed += 1
                continue
            log.written(result)
            self.moved = self.moved or log._moving is not None


def check(image, must, may, folder):
    for each in folder.glob("events-*"):
        each.unlink()
    for name, content in image:
        (folder / name).write_bytes(content)
    with EventLog.open(folder, consumers(), now_ns=0, **BOUNDS) as log:
        assert log.trouble == [], "a power cut is no damage"
        log.degraded(OSError("not to be written"))
        offered = {
            (index, each.sequence, each.t_ns)
            for index, name in enumerate(NAMES)
            for each in log.consumer(name).take(10**6)
        }
    assert must <= offered
    assert offered <= may


def test_a_power_cut_at_any_step_loses_nothing_and_invents_nothing(tmp_path, monkeypatch):
    live, look = tmp_path / "live", tmp_path / "look"
    live.mkdir()
    look.mkdir()
    with monkeypatch.context() as patched:
        disk = Disk(live, patched)
        story = Story(live, disk)
        story.live()
    assert story.failed == 0
    assert story.moved, "the story is about that, too"
    assert len(disk.images) > 2000
    monkeypatch.setattr(event_segments, "_BLOCK", BLOCK)
    for image, (must, may) in disk.images.items():
        check(image, must, may, look)


def test_any_call_may_fail_and_what_is_synced_then_is_enough(tmp_path, monkeypatch):
    look = tmp_path / "look"
    look.mkdir()
    fail_at = 0
    while True:
        fail_at += 1
        live = tmp_path / str(fail_at)
        live.mkdir()
        with monkeypatch.context() as patched:
            disk = Disk(live, patched, fail_at, cut=False)
            story = Story(live, disk)
            story.live(starts=2)
        if disk.calls < fail_at:
            break
        with monkeypatch.context() as patched:
            patched.setattr(event_segments, "_BLOCK", BLOCK)
            check(disk.contents().items(), story.must, story.may, look)
    assert fail_at > 80


def test_killed_before_a_sync_the_next_start_does_not_rely_on_it(tmp_path, monkeypatch):
    """What the kernel shows may not be on disk, and the older copies of it go only when it is."""
    look = tmp_path / "look"
    look.mkdir()
    kill_at = 0
    while True:
        kill_at += 1
        live = tmp_path / str(kill_at)
        live.mkdir()
        with monkeypatch.context() as patched:
            disk = Disk(live, patched, cut=False)
            disk.kill_at = kill_at
            story = Story(live, disk)
            try:
                story.live(starts=2, rounds=8)
            except Killed:
                # The power goes somewhere in the next run.
                disk.cut, disk.partly = True, False
                story.live(starts=1, rounds=1)
            else:
                break
        with monkeypatch.context() as patched:
            patched.setattr(event_segments, "_BLOCK", BLOCK)
            for image, (must, may) in disk.images.items():
                check(image, must, may, look)
    assert story.moved
    assert kill_at > 20


def test_the_model_finds_a_log_that_is_not_synced(tmp_path, monkeypatch):
    live, look = tmp_path / "live", tmp_path / "look"
    live.mkdir()
    look.mkdir()
    monkeypatch.setattr(Disk, "fdatasync", lambda *_: None)
    monkeypatch.setattr(Disk, "fsync", lambda *_: None)
    with monkeypatch.context() as patched:
        disk = Disk(live, patched, cut=False)
        story = Story(live, disk)
        story.live(starts=1)
    monkeypatch.setattr(event_segments, "_BLOCK", BLOCK)
    with pytest.raises(AssertionError):
        check(disk.contents().items(), story.must, story.may, look)
