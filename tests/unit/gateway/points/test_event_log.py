"""The event log: what it promises; other files have its model, its damage and the power cuts at every step."""

import contextlib
import errno
import os
import random
import resource
import shutil
import subprocess
import threading
import time
from pathlib import Path

import event_log_kill
import pytest
from event_logs import (
    BACKUP,
    SCADA,
    SMALL,
    T0,
    FullDisk,
    filled,
    opened,
    payloads,
    priority,
    store,
)

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog, StoreLocked


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """So that small segments hold something."""
    with event_log_kill.small_blocks():
        yield


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events"


def test_events_are_offered_once_they_are_written_and_until_they_are_acknowledged(folder):
    with opened(folder) as log:
        scada = log.consumer("scada")
        first = log.append("a0", b"closed", T0)
        second = log.append("a0", b"open", T0 + 1)
        assert (scada.take(10), scada.waiting) == ([], 2)
        result = log.write()
        assert scada.take(10) == [], "the loop has not been told"
        log.written(result)
        assert scada.take(1) == [(first, "a0", b"closed", T0)]
        assert scada.take(10) == [(second, "a0", b"open", T0 + 1)]
        assert scada.take(10) == []
        scada.acknowledge([second, second, 77])
        assert scada.waiting == 1
        scada.release()
        assert scada.take(10) == [(first, "a0", b"closed", T0)]
        scada.acknowledge([first])
        assert scada.waiting == 0
        assert log.needs_write
        store(log)
    with opened(folder) as log:
        assert log.consumer("scada").waiting == 0


def test_the_lowest_class_comes_first_and_within_it_the_oldest(folder):
    with opened(folder) as log:
        filled(log, "a1 x", "b0 x", "a2 x", "b0 y", "a1 y")
        scada = log.consumer("scada")
        assert payloads(scada, 3) == ["b0 x", "b0 y", "a1 x"]
        filled(log, "b0 z", "a1 z")
        assert payloads(scada, 2) == ["b0 z", "a1 y"]
        scada.release()
        assert payloads(scada) == ["b0 x", "b0 y", "b0 z", "a1 x", "a1 y", "a1 z", "a2 x"]
    with opened(folder) as log:
        store(log)
        assert payloads(log.consumer("scada")) == ["b0 x", "b0 y", "b0 z", "a1 x", "a1 y", "a1 z", "a2 x"]


def test_each_consumer_gets_what_is_for_it_and_acknowledges_for_itself(folder):
    with opened(folder, SCADA, BACKUP) as log:
        sequences = filled(log, "a1", "b0", "a0", "c-")
        assert payloads(log.consumer("scada")) == ["b0", "a0", "a1"]
        assert payloads(log.consumer("backup")) == ["a1", "a0"]
        log.consumer("scada").acknowledge(sequences)
        log.consumer("backup").acknowledge(sequences[:1])
        store(log)
        with pytest.raises(KeyError):
            log.consumer("historian")
    with opened(folder, BACKUP, SCADA) as log:
        store(log)
        assert log.consumer("scada").waiting == 0
        assert payloads(log.consumer("backup")) == ["a0"]


def test_a_new_consumer_begins_with_the_next_event_and_one_that_goes_holds_nothing(folder):
    with opened(folder, SCADA) as log:
        filled(log, "a0 1", "a0 2")
    with opened(folder, SCADA, BACKUP) as log:
        store(log)
        assert (log.consumer("scada").waiting, log.consumer("backup").waiting) == (2, 0)
        filled(log, "a0 3")
        filled(log, "a0 3b")
    with opened(folder, BACKUP) as log:
        store(log)
        assert log.trouble == ["consumer scada is no longer configured, 4 events waited for it"]
        assert payloads(log.consumer("backup")) == ["a0 3", "a0 3b"]
        filled(log, "a0 4")
    with opened(folder, SCADA, BACKUP) as log:
        store(log)
        assert log.trouble == []
        assert payloads(log.consumer("scada")) == []
        assert payloads(log.consumer("backup")) == ["a0 3", "a0 3b", "a0 4"]


def test_without_any_consumer_nothing_is_kept(folder):
    with EventLog.open(folder, []) as log:
        assert log.append("a0", b"", T0) < log.append("a0", b"", T0)
        store(log)
        log.written(log.write())


def test_a_changed_classification_counts_for_what_waits_already(folder):
    with opened(folder) as log:
        filled(log, "a0", "b1", "c2")
    turned = ConsumerConfig("scada", lambda key: {"a": 9, "b": None, "c": 0}[key[0]])
    with opened(folder, turned) as log:
        store(log)
        assert payloads(log.consumer("scada")) == ["c2", "a0"]


def test_sequence_numbers_never_repeat_whatever_the_clock_does(folder):
    last = 0
    for now_ns in (T0, T0 + 10**9, T0 - 10**15, 0):
        with opened(folder, now_ns=now_ns) as log:
            sequences = filled(log, "a0", "-- for nobody") + filled(log, "a0")
            assert sequences == sorted(sequences)
            assert last < sequences[0]
            last = sequences[-1]
            log.consumer("scada").acknowledge([each.sequence for each in log.consumer("scada").take(9)])
            store(log)


def test_too_many_lose_the_oldest_of_the_last_class_and_that_is_counted_for_good(folder):
    few = ConsumerConfig("few", priority, most=3)
    with opened(folder, few, SCADA) as log:
        filled(log, "a0 1", "a1 1", "a1 2", "a0 2", "a0 3", "a1 3")
        assert log.consumer("few").overflowed == 3
        assert payloads(log.consumer("few")) == ["a0 1", "a0 2", "a0 3"]
        assert log.consumer("scada").waiting == 6
        assert "few: more events were waiting than there is room for, 3 of the oldest lost" in log.trouble[0]
        filled(log, "a0 4")
        assert payloads(log.consumer("few")) == [], "the three that are with it stay with it"
        store(log)
    with opened(folder, few, SCADA) as log:
        store(log)
        assert (log.consumer("few").overflowed, log.consumer("few").waiting) == (4, 3)
        assert log.trouble == []
        assert log.consumer("scada").waiting == 7
        assert log.consumer("scada").overflowed == 0
    fewer = ConsumerConfig("few", priority, most=1)
    with opened(folder, fewer, SCADA) as log:
        store(log)
        assert payloads(log.consumer("few")) == ["a0 3"]
        assert log.consumer("few").overflowed == 6


def test_one_that_never_acknowledges_loses_its_oldest_and_the_others_nothing(folder):
    with opened(folder, SCADA, BACKUP, **SMALL) as log:
        scada, backup = log.consumer("scada"), log.consumer("backup")
        starved = log.append("a9", b"least of all", T0)
        got = []
        for n in range(3000):
            log.append("a0", b"%d" % n, T0 + n)
            if n % 7 == 0:
                log.append("b0", b"x" * 60, T0)
            if n % 10 == 0:
                store(log)
                got += [each for each in scada.take(20) if each.key != "a9"]
                scada.acknowledge(each.sequence for each in got[-20:])
                assert log.octets <= SMALL["most_octets"]
        store(log)
        got += [each for each in scada.take(10**9) if each.key != "a9"]
        assert [int(each.payload) for each in got if each.key == "a0"] == list(range(3000))
        assert (scada.waiting, scada.overflowed) == (1 + len([e for e in got if e.sequence in scada._taken]), 0)
        assert backup.overflowed > 1000
        assert backup.waiting + backup.overflowed == 3001
        kept = [int(each.payload) for each in backup.take(10**9)]
        assert kept == list(range(3000 - len(kept), 3000))
        scada.release()
        assert scada.take(10**9)[-1].sequence == starved, "moved from file to file"
        lost = backup.overflowed
    with opened(folder, SCADA, BACKUP, **SMALL) as log:
        store(log)
        assert log.consumer("backup").overflowed == lost
        assert log.consumer("scada").take(10**9)[-1].sequence == starved
        assert sum(each.stat().st_size for each in folder.iterdir()) <= SMALL["most_octets"]


def test_even_what_is_with_a_consumer_is_lost_if_it_takes_all_the_room(folder):
    with opened(folder, **SMALL) as log:
        scada = log.consumer("scada")
        for n in range(2000):
            log.append("a0", b"%d" % n, T0)
            if n % 50 == 0:
                store(log)
                scada.take(10**9)
        store(log)
        assert scada.waiting + scada.overflowed == 2000
        assert scada.waiting * 40 < SMALL["most_octets"]


def test_making_room_ends_even_where_there_is_none_to_be_made(folder):
    with opened(folder, **SMALL) as log:
        for n in range(300):
            filled(log, f"a0 {n}")
        log._most_octets = 10_000
        log.written(log.write())
        writes = 0
        while log.needs_write:
            log.written(log.write())
            writes += 1
            assert writes < 100
        assert log.consumer("scada").waiting == 300


def test_copies_of_a_process_that_was_killed_before_the_sync_do_not_replace_what_they_are_copies_of(folder):
    with opened(folder) as log:
        filled(log, "a0 1", "a0 2", "a0 3")
        filled(log, "a0 4")
    (first,) = folder.glob("events-*")
    with opened(folder) as log:
        store(log)
        log._backlog.copy(log._segments[0].live.values())
        log.write()  # as if killed in it: the loop is never told, and the disk may not have it
    with opened(folder) as log:
        log._segment_octets = 4  # one entry in each write
        while log.needs_write:
            assert first.exists(), "not all of it is known to be elsewhere"
            log.written(log.write())
        log.written(log.write())
        assert not first.exists()
        assert payloads(log.consumer("scada")) == ["a0 1", "a0 2", "a0 3", "a0 4"]


def test_files_go_when_nobody_needs_them(folder):
    with opened(folder, **SMALL) as log:
        scada = log.consumer("scada")
        for n in range(200):
            filled(log, f"a0 {n}")
            assert payloads(scada, 1) == [f"a0 {n}"]
            scada.acknowledge(list(scada._taken))
        store(log)
        assert len(list(folder.glob("events-*"))) <= 3


def test_a_file_that_cannot_be_removed_is_no_trouble(folder, monkeypatch):
    with monkeypatch.context() as patched, opened(folder, **SMALL) as log:

        def refuse(*_, **__):
            raise PermissionError(errno.EACCES, "no")

        patched.setattr(Path, "unlink", refuse)
        for n in range(200):
            filled(log, f"a0 {n}")
            payloads(log.consumer("scada"))
            log.consumer("scada").acknowledge(list(log.consumer("scada")._taken))
        store(log)
        assert len(list(folder.glob("events-*"))) > 5
        patched.undo()
        log.written(log.write())
        assert len(list(folder.glob("events-*"))) <= 2


def test_another_process_is_kept_out(folder):
    with opened(folder), pytest.raises(StoreLocked, match=f"{folder}/events.lock: in use"):
        opened(folder)
    with opened(folder) as log:
        log.close()
        opened(folder).close()


def test_misuse_is_refused_where_it_happens(folder):
    for name in ("", "x" * 1001):
        with pytest.raises(ValueError, match="name of a consumer"):
            ConsumerConfig(name, priority)
    with pytest.raises(ValueError, match="at least 1"):
        ConsumerConfig("x", priority, most=0)
    with pytest.raises(ValueError, match="different names"):
        opened(folder, SCADA, SCADA)
    with pytest.raises(ValueError, match="at most 65535 fit"):
        opened(folder, *(ConsumerConfig(f"{n:01000}", priority) for n in range(65)))
    with pytest.raises(ValueError, match="16 segments"):
        opened(folder, most_octets=1 << 20)
    with pytest.raises(ValueError, match="must be at least 8192"):
        opened(folder, segment_octets=8191)
    with pytest.raises(ValueError, match="must be at least 82"):
        opened(folder, ConsumerConfig("x" * 1000, priority), segment_octets=8192)
    with opened(folder, **SMALL) as log, pytest.raises(ValueError, match="1025 octets"):
        log.append("a0", bytes(1025), T0)
    with opened(folder) as log:
        before = log.append("a0", b"x" * event_segments.LONGEST_PAYLOAD, 0)
        for key, payload, t_ns in (
            ("a0", b"x" * (event_segments.LONGEST_PAYLOAD + 1), T0),
            ("a0", b"", -1),
            ("a0", b"", 1 << 64),
            ("a0" * 501, b"", T0),
            ("a0\ud800", b"", T0),
        ):
            with pytest.raises(ValueError):
                log.append(key, payload, t_ns)
        assert log.append("a0" + "ä" * 499, b"", 0) == before + 1
        store(log)
    with opened(folder) as log:
        store(log)
        assert [len(each.payload) for each in log.consumer("scada").take(9)] == [event_segments.LONGEST_PAYLOAD, 0]


def test_a_folder_that_is_none_is_an_os_error(folder):
    folder.write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        opened(folder)


@pytest.mark.parametrize("room", [0, 1, 30, 4095, 5000, 9000])
@pytest.mark.parametrize("degraded", [False, True])
def test_a_full_disk_loses_nothing(folder, monkeypatch, room, degraded):
    with opened(folder) as log:
        filled(log, "a0 0")
        scada = log.consumer("scada")
        disk = FullDisk(monkeypatch, room)
        names = [f"a0 {n}" for n in range(1, 300)]
        for each in names:
            log.append("a0", each.encode(), T0)
        for _ in range(3):
            with pytest.raises(OSError, match="No space") as caught:
                log.written(log.write())
            disk.room = room
        assert payloads(scada) == ["a0 0"]
        if degraded:
            log.degraded(caught.value)
            assert payloads(scada) == names
            assert "events are not stored: [Errno 28] No space" in log.trouble[0]
            log.append("a0", b"a0 late", T0)
            assert payloads(scada) == ["a0 late"], "offered at once"
            names.append("a0 late")
        disk.room = 10**9
        store(log)
        assert log.trouble == []
        assert payloads(scada) == ([] if degraded else names)
    with opened(folder) as log:
        assert log.torn_octets == 0
        store(log)
        assert payloads(log.consumer("scada")) == ["a0 0", *names]


def test_a_limit_of_the_operating_system_is_a_full_disk_too(folder):
    with opened(folder) as log:
        filled(log, "a0 0")
        for n in range(1000):
            log.append("a0", b"%d" % n, T0)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                log.write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        store(log)
        assert log.consumer("scada").waiting == 1001
    with opened(folder) as log:
        assert (log.consumer("scada").waiting, log.trouble) == (1001, [])


def test_on_a_file_system_without_room_it_starts_works_and_recovers(tmp_path, require):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    require(not os.geteuid() and shutil.which("mount"), "needs a file system of its own: root only")
    subprocess.run(mount, check=True)
    try:
        filler = tmp_path / "filler"
        folder = tmp_path / "events"
        with opened(folder) as log:
            filled(log, *(f"a0 {n}" for n in range(100)))
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for _ in range(17):
                file.write(bytes(4096))
        with opened(folder) as log:
            log.append("a0", b"new", T0)
            with pytest.raises(OSError, match="No space") as caught:
                log.write()
            log.degraded(caught.value)
            assert len(log.consumer("scada").take(10**9)) == 101
            filler.unlink()
            store(log)
        with opened(folder) as log:
            assert (log.consumer("scada").waiting, log.trouble) == (101, [])
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_while_the_disk_refuses_memory_stays_bounded(folder, monkeypatch):
    few = ConsumerConfig("few", priority, most=50)
    with opened(folder, few, SCADA) as log:
        filled(log, *(f"a0 before {n}" for n in range(40)))
        monkeypatch.setattr("gateway.points.event_backlog._MOST_AT_ONCE", 100)
        log._backlog._tidy_above = 200
        disk = FullDisk(monkeypatch, 0)
        scada = log.consumer("scada")
        longest = 0
        for n in range(5000):
            log.append("a0", b"a0 %d" % n, T0)
            if n % 100 == 0:
                with pytest.raises(OSError, match="No space") as caught:
                    log.write()
                log.degraded(caught.value)
            scada.acknowledge([each.sequence for each in scada.take(10)])
            longest = max(longest, len(log._backlog))
        assert longest < 1000
        disk.room = 10**9
        store(log)
        assert log.consumer("few").overflowed == 5000 + 40 - 50
    with opened(folder, few, SCADA) as log:
        store(log)
        assert log.consumer("few").overflowed == 5000 + 40 - 50
        assert payloads(log.consumer("few")) == [f"a0 {n}" for n in range(4950, 5000)]
        assert payloads(log.consumer("scada")) == []


def test_one_thread_writes_while_the_other_appends(folder):
    """Nothing is lost between the two; the writer's results are handed over as a loop does it."""
    with opened(folder, SCADA, BACKUP, segment_octets=1 << 20, most_octets=16 << 20) as log:
        stop = threading.Event()
        results = []
        ready = threading.Semaphore(0)
        told = threading.Semaphore(0)

        def run():
            while not stop.is_set() or log.needs_write:
                if not log.needs_write:
                    time.sleep(0.0005)
                    continue
                results.append(log.write())
                ready.release()
                told.acquire()

        thread = threading.Thread(target=run)
        thread.start()
        seen = {"scada": [], "backup": []}

        def serve():
            if ready.acquire(blocking=False):
                log.written(results.pop())
                told.release()
            for name, got in seen.items():
                events = log.consumer(name).take(50)
                got += [int(each.payload) for each in events]
                log.consumer(name).acknowledge([each.sequence for each in events])

        for n in range(20_000):
            log.append("a0", b"%d" % n, T0)
            if n % 25 == 0:
                serve()
        while any(len(each) < 20_000 for each in seen.values()):
            serve()
        stop.set()
        while thread.is_alive():
            serve()
        assert seen == {"scada": list(range(20_000)), "backup": list(range(20_000))}
        assert log.consumer("scada").overflowed == 0
    with opened(folder, SCADA, BACKUP) as log:
        assert log.consumer("scada").waiting == 0


def test_killed_at_random_moments_it_loses_nothing_and_invents_nothing(tmp_path):
    assert len(event_log_kill.campaign(tmp_path, 4).events) > 20


# Damage.


def test_the_bound_on_disk_holds_for_events_of_any_size(folder):
    chance = random.Random(1)
    with opened(folder, SCADA, BACKUP, **SMALL) as log:
        for n in range(1500):
            log.append(chance.choice(["a0", "b1"]), bytes(chance.choice([0, 30, 300, 1000])), T0)
            if chance.random() < 0.3:
                store(log)
            scada = log.consumer("scada")
            scada.acknowledge([each.sequence for each in scada.take(n % 5)])
            assert sum(each.stat().st_size for each in folder.glob("events-*")) <= SMALL["most_octets"]
