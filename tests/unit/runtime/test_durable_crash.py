"""The state file on a disk that loses power, or fails, at every single step.

The disk modelled here promises what POSIX and a journalling file system promise and nothing more. Octets
written but not synced may be there, be missing, or be zeros, and so may whatever shares a sector with them;
the file's size may have grown without them. A renamed or new file may be found under its old name, or not at
all, until its folder is synced. After a failed sync what was written before is lost for good, and later syncs
say that all is well.
"""

import errno
import os as real_os
from pathlib import Path

import pytest

from ied_agents.runtime import durable
from ied_agents.runtime.durable import DurableFile, StateDamaged

SECTOR = 16
BLOCK = 32
STATE = "agent.state"


class Inode:
    """A file's octets: those on disk for certain, and those that the running system sees."""

    def __init__(self):
        self.on_disk = b""
        self.seen = b""
        self.sync_failed = False

    def after_a_crash(self):
        """Every content that the disk may hold."""
        yield self.on_disk
        size = len(self.on_disk)
        for end in range(size + 1, len(self.seen) + 1):
            yield self.seen[:end]
        for start in range(size - size % SECTOR, len(self.seen), SECTOR):
            sector = slice(start, start + SECTOR)
            lost = bytes(len(self.seen[sector]))
            yield self.seen[:start] + lost + self.seen[start + SECTOR :]
            yield self.on_disk[:start] + self.seen[sector] + bytes(len(self.seen[start + SECTOR :]))


class Disk:
    """Stands in for ``os``: carries calls out, keeps what a crash would leave, fails one if told to."""

    def __init__(self, folder, fail_at=None):
        self.fail_at = fail_at
        self.calls = 0
        self.acknowledged = -1
        self.begun = -1
        self.images = set()
        self._folder = folder
        self._open_files = {}
        self._names_on_disk = {}
        self._renames = []
        self._identities = 0

    def __getattr__(self, name):
        return getattr(real_os, name)

    def open(self, path, flags, mode=0o777):
        path = Path(path)
        if path.suffix == ".lock":
            return real_os.open(path, flags, mode)
        self._step()
        file = real_os.open(path, flags, mode)
        self._open_files[file] = "folder" if path == self._folder else Inode()
        if path != self._folder:
            assert flags & real_os.O_TRUNC
            self._renames.append((path.name, self._open_files[file]))
        self._crash()
        return file

    def write(self, file, octets):
        self._step()
        octets = octets[: SECTOR + 3]  # a short write, as the kernel may make it
        self._open_files[file].seen += octets
        self._crash()
        return real_os.write(file, octets)

    def fdatasync(self, file):
        inode = self._open_files[file]
        try:
            self._step()
        except OSError:
            if inode != "folder":
                inode.sync_failed = True
            raise
        if inode == "folder":
            self._names_on_disk = self._names()
            self._renames = []
        elif not inode.sync_failed:
            inode.on_disk = inode.seen
        self._crash()

    fsync = fdatasync

    def replace(self, source, target):
        self._step()
        real_os.replace(source, target)  # noqa: PTH105 - the method is what this replaces
        names = self._names()
        self._renames.append((target.name, names[source.name]))
        self._crash()
        return target

    def close(self, file):
        self._open_files.pop(file, None)
        real_os.close(file)

    def urandom(self, size):
        self._identities += 1
        return self._identities.to_bytes(size, "big")

    def _names(self):
        return self._names_on_disk | dict(self._renames)

    def _step(self):
        """Count a call, and fail it if it is the one."""
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "broken")

    def _crash(self):
        """Note everything that a power cut now may leave of the state file."""
        if self.fail_at is not None and self.calls < self.fail_at:
            return  # as in the run without failure
        for count in range(len(self._renames) + 1):
            inode = (self._names_on_disk | dict(self._renames[:count])).get(STATE)
            contents = [None] if inode is None else inode.after_a_crash()
            self.images.update((self.acknowledged, self.begun, content) for content in contents)


def live(folder, monkeypatch, fail_at=None):
    """Commission, write, compact, stop, start, write again; what fails is followed by a newer record."""
    disk = Disk(folder, fail_at)
    monkeypatch.setattr(durable, "os", disk)
    monkeypatch.setattr(Path, "replace", lambda *paths: disk.replace(*paths))  # noqa: PLW0108 - binds the path
    monkeypatch.setattr(durable, "_BLOCK", BLOCK)
    monkeypatch.setattr(durable, "COMPACT_ABOVE", 4 * BLOCK)
    path = folder / STATE
    for start in range(2):
        disk.begun += start == 0
        try:
            file = DurableFile.open(path) if start else DurableFile.create(path, {"n": 0})
            disk.acknowledged += start == 0
        except OSError:
            # Where only the folder could not be synced the file is there, but nobody was told that it stays.
            file = DurableFile.open(path) if path.exists() else DurableFile.create(path, {"n": 0})
        with file:
            assert disk.acknowledged <= file.record["n"] <= disk.begun
            for _ in range(6):
                disk.begun += 1
                try:
                    file.write({"n": disk.begun})
                except OSError:
                    continue
                disk.acknowledged = disk.begun
                disk._crash()
    monkeypatch.setattr(durable, "os", real_os)
    return disk


def check(images, path, monkeypatch):
    """Every image holds a record that was begun, and none before the last one acknowledged."""
    monkeypatch.setattr(durable, "_BLOCK", BLOCK)
    found = {}
    for acknowledged, begun, content in images:
        if content is None:
            assert acknowledged == -1
            continue
        if content not in found:
            path.write_bytes(content)
            with DurableFile.open(path) as file:
                found[content] = file.record["n"]
        assert acknowledged <= found[content] <= begun
    return len(found)


def test_a_power_cut_at_any_step_loses_nothing_acknowledged(tmp_path, monkeypatch):
    disk = live(tmp_path, monkeypatch)
    assert disk.acknowledged == disk.begun == 12
    assert check(disk.images, tmp_path / "image", monkeypatch) > 300


def test_a_failure_of_any_call_and_then_a_power_cut_at_any_step_lose_nothing_acknowledged(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    whole.mkdir()
    calls = live(whole, monkeypatch).calls
    images = set()
    for fail_at in range(1, calls + 1):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        disk = live(folder, monkeypatch, fail_at)
        assert disk.calls >= fail_at
        assert disk.acknowledged >= 11, "one failure costs one record"
        images |= disk.images
    assert check(images, tmp_path / "image", monkeypatch) > 1000


def test_the_model_finds_a_file_that_is_not_synced(tmp_path, monkeypatch):
    monkeypatch.setattr(Disk, "fdatasync", lambda *_: None)
    monkeypatch.setattr(Disk, "fsync", lambda *_: None)
    disk = live(tmp_path, monkeypatch)
    with pytest.raises((AssertionError, StateDamaged)):
        check(disk.images, tmp_path / "image", monkeypatch)
