"""The state file and the thread that writes it; test_durable_crash has the crashes at every step."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.runtime import durable
from ied_agents.runtime.durable import (
    DurableFile,
    DurableWriter,
    StateDamaged,
    StateLocked,
    StateMissing,
    StateTooNew,
)

HEADER = 24


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.state"


def reopened(path):
    with DurableFile.open(path) as file:
        return file.record, file.torn_octets


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 octets, so that every octet of a file can be tried."""
    monkeypatch.setattr(durable, "_BLOCK", 64)


def records_written(path, count):
    """Write records ``{"n": 0}``, ``{"n": 1}``, …; for each, where it starts and where its last octet is."""
    spans = []
    start = HEADER
    with DurableFile.create(path, {"n": 0}) as file:
        for n in range(count):
            if n:
                file.write({"n": n})
            spans.append((start, start + 12 + len('{"n":0}')))
            start = path.stat().st_size
    return spans


def test_the_last_record_is_the_state(path):
    with DurableFile.create(path, {"n": 0, "name": "Schütz 1"}) as file:
        assert file.record == {"n": 0, "name": "Schütz 1"}
        assert reopened_elsewhere_is_refused(path)
        file.write({"n": 1})
        file.write({"n": 2, "locks": [[1, 2], [3, 4]]})
        assert file.record["n"] == 2
    assert reopened(path) == ({"n": 2, "locks": [[1, 2], [3, 4]]}, 0)


def reopened_elsewhere_is_refused(path):
    with pytest.raises(StateLocked, match=str(path)):
        DurableFile.open(path)
    with pytest.raises(StateLocked):
        DurableFile.create(path, {})
    return True


def test_the_lock_outlives_the_exchange_of_the_file(path, monkeypatch):
    monkeypatch.setattr(durable, "COMPACT_ABOVE", 20000)
    with DurableFile.create(path, {"n": 0}) as file:
        with path.open("rb") as former:
            for n in range(20):
                file.write({"n": n})
            assert not os.path.samestat(path.stat(), os.fstat(former.fileno()))
        assert reopened_elsewhere_is_refused(path)
    assert reopened(path) == ({"n": 19}, 0)


def test_the_lock_holds_against_another_process_and_ends_with_its_holder(path):
    script = (
        "import sys, pathlib\n"
        "from ied_agents.runtime.durable import DurableFile\n"
        "file = DurableFile.create(pathlib.Path(sys.argv[1]), {'n': 1})\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateLocked):
            DurableFile.open(path)
        holder.kill()
        holder.wait()
        assert reopened(path) == ({"n": 1}, 0)


def test_killed_at_any_moment_the_file_holds_at_least_what_was_acknowledged(path):
    script = (
        "import sys, pathlib\n"
        "from ied_agents.runtime import durable\n"
        "durable.COMPACT_ABOVE = 20000\n"
        "with durable.DurableFile.open(pathlib.Path(sys.argv[1])) as file:\n"
        "    n = file.record['n']\n"
        "    while True:\n"
        "        n += 1\n"
        "        file.write({'n': n, 'pad': 'x' * (n % 400)})\n"
        "        print(n, flush=True)\n"
    )
    DurableFile.create(path, {"n": 0}).close()
    acknowledged = 0
    for run in range(5):
        with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(10 + 7 * run):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            last = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        record, _ = reopened(path)
        assert record["n"] >= max([acknowledged, *last])
        acknowledged = record["n"]
    assert acknowledged >= 5 * 10


def test_commissioning_twice_is_refused(path):
    DurableFile.create(path, {"n": 0}).close()
    with pytest.raises(FileExistsError, match=str(path)):
        DurableFile.create(path, {"n": 1})
    assert reopened(path) == ({"n": 0}, 0)


def test_a_missing_file_is_no_empty_state(path):
    with pytest.raises(StateMissing, match=f"{path}: no state file"):
        DurableFile.open(path)
    with pytest.raises(StateMissing):
        DurableFile.open(path / "no" / "folder")


@pytest.mark.usefixtures("small_blocks")
def test_cut_anywhere_the_last_whole_record_counts(path):
    spans = records_written(path, 4)
    whole = path.read_bytes()
    assert len(whole) == 4 * 64
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        complete = [n for n, (_, end) in enumerate(spans) if end <= size]
        if complete:
            assert reopened(path) == ({"n": complete[-1]}, max(0, size - 64 * len(complete)))
        else:
            with pytest.raises(StateDamaged, match=str(path)):
                DurableFile.open(path)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_a_tail_that_the_disk_never_got_is_ignored(path, filler):
    spans = records_written(path, 3)
    whole = path.read_bytes()
    for kept in range(spans[2][0], spans[2][1]):
        # The size is on disk, some of the octets are not.
        path.write_bytes(whole[:kept] + filler * (len(whole) - kept))
        assert reopened(path) == ({"n": 1}, 64)


def test_no_two_records_share_a_block(path):
    with DurableFile.create(path, {"n": 0}) as file:
        assert path.stat().st_size == 4096
        file.write({"pad": "x" * 5000})
        assert path.stat().st_size == 3 * 4096
        file.write({"n": 2})
        assert path.stat().st_size == 4 * 4096
    assert reopened(path) == ({"n": 2}, 0)


def test_a_record_of_a_former_file_in_reused_blocks_does_not_count(path):
    records_written(path, 3)
    former = path.read_bytes()
    path.unlink()
    records_written(path, 1)
    path.write_bytes(path.read_bytes() + former[4096:])
    assert reopened(path) == ({"n": 0}, 2 * 4096)


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_record_with_whole_ones_behind_it_is_refused_with_its_offset(path):
    spans = records_written(path, 4)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        hit = [n for n, (start, end) in enumerate(spans) if start <= place < end]
        if place < HEADER:
            with pytest.raises((StateDamaged, StateTooNew), match=str(path)):
                DurableFile.open(path)
        elif not hit:
            assert reopened(path) == ({"n": 3}, 0), "padding means nothing"
        elif hit[0] < 3:
            start = spans[hit[0]][0]
            with pytest.raises(StateDamaged) as caught:
                DurableFile.open(path)
            assert caught.value.offset == start
            assert str(caught.value).startswith(f"{path}: offset {start}: ")
        else:
            # Not to be told from a record that was never finished: reported, not refused.
            assert reopened(path) == ({"n": 2}, 64)


def test_a_newer_format_is_refused_by_name(path):
    records_written(path, 1)
    octets = bytearray(path.read_bytes())
    octets[9] = 2
    path.write_bytes(octets)
    with pytest.raises(StateTooNew, match=f"{path}: written in format 2, this program reads up to 1"):
        DurableFile.open(path)


@given(st.binary(max_size=200))
def test_garbage_is_refused(tmp_path_factory, garbage):
    path = tmp_path_factory.getbasetemp() / "garbage.state"
    for octets in (garbage, b"FLISRST\n" + garbage):
        path.write_bytes(octets)
        with pytest.raises((StateDamaged, StateTooNew), match=str(path)):
            DurableFile.open(path)


def test_after_opening_nothing_is_appended_to_what_others_wrote(path):
    records_written(path, 3)
    with path.open("ab") as former:
        former.write(b"torn")
        former.flush()
        with DurableFile.open(path) as file:
            assert file.torn_octets == 4
            file.write({"n": 7})
        assert not os.path.samestat(path.stat(), os.fstat(former.fileno()))
    assert reopened(path) == ({"n": 7}, 0)


def test_the_file_stays_small(path, monkeypatch):
    monkeypatch.setattr(durable, "COMPACT_ABOVE", 5 * 4096)
    with DurableFile.create(path, {"n": 0}) as file:
        for n in range(20):
            file.write({"n": n, "pad": "x" * 50})
            assert path.stat().st_size <= 5 * 4096
        file.write({"n": 20, "pad": "x" * 50_000})
    assert reopened(path)[0]["n"] == 20
    assert {each.name for each in path.parent.iterdir()} == {"agent.state", "agent.state.lock"}


def test_what_json_cannot_say_is_refused_before_anything_is_written(path):
    with DurableFile.create(path, {"n": 0}) as file:
        before = path.read_bytes()
        for record in ({"n": float("nan")}, {"n": object()}):
            with pytest.raises((TypeError, ValueError)):
                file.write(record)
        assert path.read_bytes() == before
        assert file.record == {"n": 0}
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.write({"n": 1})


def test_a_folder_in_its_place_is_an_os_error(path):
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        DurableFile.open(path)
    path.rmdir()
    records_written(path, 1)  # and the lock was given back


class GatedFile:
    """In place of a DurableFile: each write waits for the test, and ends as the test says."""

    def __init__(self):
        self.begun = asyncio.Queue()
        self.gate = threading.Semaphore(0)
        self.outcomes = []
        self.closed = False
        self._loop = asyncio.get_running_loop()

    def write_payload(self, payload):
        self._loop.call_soon_threadsafe(self.begun.put_nowait, payload)
        self.gate.acquire()
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


class Reports:
    """Collects what a writer reports, in the loop's thread."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self._thread = threading.get_ident()

    def durable(self, sequence):
        assert threading.get_ident() == self._thread
        self.queue.put_nowait(("durable", sequence))

    def failed(self, sequence, error):
        assert threading.get_ident() == self._thread
        self.queue.put_nowait(("failed", sequence, error.errno))

    async def take(self, count):
        return [await self.queue.get() for _ in range(count)]


async def test_the_writer_writes_the_newest_and_reports_all_it_covers():
    file, reports = GatedFile(), Reports()
    writer = DurableWriter(file, asyncio.get_running_loop(), reports.durable, reports.failed)
    writer.submit(1, {"n": 1})
    assert await file.begun.get() == b'{"n":1}'
    for n in (2, 3, 5):
        writer.submit(n, {"n": n})
    assert reports.queue.empty()
    file.gate.release()
    assert await reports.take(1) == [("durable", 1)]
    assert await file.begun.get() == b'{"n":5}'
    file.gate.release()
    assert await reports.take(3) == [("durable", 2), ("durable", 3), ("durable", 5)]
    assert writer.close()
    assert file.closed
    assert file.begun.empty()


async def test_a_record_that_was_not_written_is_reported_as_failed_and_not_written_again():
    file, reports = GatedFile(), Reports()
    file.outcomes = [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")]
    writer = DurableWriter(file, asyncio.get_running_loop(), reports.durable, reports.failed)
    writer.submit(1, {"n": 1})
    await file.begun.get()
    writer.submit(2, {"n": 2})
    writer.submit(3, {"n": 3})
    file.gate.release(2)
    assert await reports.take(3) == [
        ("failed", 1, errno.ENOSPC),
        ("failed", 2, errno.EIO),
        ("failed", 3, errno.EIO),
    ]
    writer.submit(4, {"n": 4})
    file.gate.release()
    assert await reports.take(1) == [("durable", 4)]
    assert writer.close()


async def test_closing_writes_what_waits_and_finishes_the_background_work(path):
    work = list(range(25))
    reports = Reports()
    writer = DurableWriter(
        DurableFile.create(path, {"n": 0}),
        asyncio.get_running_loop(),
        reports.durable,
        reports.failed,
        background=lambda: bool(work and work.pop()) or bool(work),
    )
    for n in range(1, 50):
        writer.submit(n, {"n": n})
    assert writer.close()
    assert work == []
    assert reopened(path) == ({"n": 49}, 0)
    assert await reports.take(49) == [("durable", n) for n in range(1, 50)]
    with pytest.raises(RuntimeError):
        writer.submit(50, {"n": 50})


async def test_state_goes_before_background_work():
    file, reports = GatedFile(), Reports()
    file.gate.release(100)
    done, begun, go = [], asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def background():
        if not done:
            loop.call_soon_threadsafe(begun.set)
            go.wait()
        done.append(len(done))
        return len(done) < 10

    writer = DurableWriter(
        file,
        loop,
        lambda sequence: reports.queue.put_nowait((sequence, len(done))),
        reports.failed,
        background=background,
        background_every_s=0.001,
    )
    await begun.wait()
    writer.submit(1, {})
    go.set()
    assert await file.begun.get() == b"{}"
    assert (await reports.take(1))[0][0] == 1
    assert writer.close()
    assert len(done) >= 10


async def test_a_disk_that_does_not_answer_holds_up_neither_submit_nor_close():
    file, reports = GatedFile(), Reports()
    writer = DurableWriter(file, asyncio.get_running_loop(), reports.durable, reports.failed)
    for n in range(1000):
        writer.submit(n, {"n": n})
    assert not writer.close(timeout_s=0.01)
    assert not file.closed
    file.gate.release(2)
    assert writer.close()


async def test_misuse_is_refused_where_it_happens(path):
    reports = Reports()
    writer = DurableWriter(
        DurableFile.create(path, {"n": 0}), asyncio.get_running_loop(), reports.durable, reports.failed
    )
    with pytest.raises(TypeError):
        writer.submit(1, {"n": object()})
    writer.submit(1, {"n": 1})
    with pytest.raises(ValueError, match="sequence 1 does not follow 1"):
        writer.submit(1, {"n": 2})
    assert writer.close()
    assert reopened(path) == ({"n": 1}, 0)


def test_the_files_descriptors_are_not_inherited(path):
    with DurableFile.create(path, {"n": 0}):
        open_files = {int(each.name): each for each in Path("/proc/self/fd").iterdir() if each.exists()}
        ours = [number for number, each in open_files.items() if str(each.readlink()).startswith(str(path))]
        assert len(ours) == 2
        assert not any(os.get_inheritable(number) for number in ours)
