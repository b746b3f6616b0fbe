"""The event log: what it promises, kept by a model; test_event_log_crash has the power cuts at every step."""

import contextlib
import errno
import os
import random
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import event_log_kill
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog, StoreLocked, StoreTooNew

T0 = 1_795_000_000_000_000_000
SMALL = {"segment_octets": 8192, "most_octets": 16 * 8192}


def priority(key):
    """Class of keys like "a0", "b1": the digit; keys with "-" are for nobody."""
    return None if "-" in key else int(key[1:2])


SCADA = ConsumerConfig("scada", priority)
BACKUP = ConsumerConfig("backup", lambda key: 0 if key[0] == "a" else None)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """So that small segments hold something."""
    with event_log_kill.small_blocks():
        yield


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events"


def opened(folder, *consumers, **options):
    return EventLog.open(folder, consumers or (SCADA,), **({"now_ns": T0} | options))


def store(log):
    """Write everything."""
    while log.needs_write:
        log.written(log.write())


def payloads(consumer, limit=10**9):
    return [each.payload.decode() for each in consumer.take(limit)]


def filled(log, *names):
    """Append events whose key is the first two letters of their payload, and write them."""
    sequences = [log.append(each[:2], each.encode(), T0 + at) for at, each in enumerate(names)]
    store(log)
    return sequences


class FullDisk:
    """Stands in for ``os``: lets so many octets through, then the disk is full."""

    def __init__(self, monkeypatch, room):
        self.room = room
        monkeypatch.setattr(event_segments, "os", self)

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, file, octets):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        octets = octets[: self.room]
        self.room -= len(octets)
        return os.write(file, octets)


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


def test_on_a_file_system_without_room_it_starts_works_and_recovers(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs a file system of its own: root only")
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


PAYLOAD = b"%03d" + 97 * b"x"


def several_files(folder):
    """Some files with several writes each, some events acknowledged; what waits, by payload."""
    with opened(folder, SCADA, BACKUP, **SMALL) as log:
        for n in range(40):
            for at in range(5):
                log.append(f"{'ab'[at % 2]}{n % 3}", PAYLOAD % (5 * n + at), T0)
            log.written(log.write())
            log.consumer("scada").acknowledge([each.sequence for each in log.consumer("scada").take(3)])
        store(log)
        log.consumer("scada").release()
        return {name: {each[1:3] for each in log.consumer(name).take(10**9)} for name in ("scada", "backup")}


EVERYTHING = {(f"{'ab'[at % 2]}{n % 3}", PAYLOAD % (5 * n + at)) for n in range(40) for at in range(5)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    waiting = several_files(folder)
    files = {each.name: each.read_bytes() for each in folder.glob("events-*.log")}
    assert len(files) > 3
    return files, waiting


def damaged(files, *places):
    """The files with octets at these places, counted through all of them, turned to others; and where that is."""
    files = {name: bytearray(content) for name, content in files.items()}
    where = []
    for place, change in places:
        at = place % sum(map(len, files.values()))
        for name, content in sorted(files.items()):
            if at < len(content):
                content[at] ^= change
                where.append((name, at))
                break
            at -= len(content)
    return files, where


def read_back(files):
    """Open a log of these files twice; what it offers, its trouble, and the names of all files in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each, content in files.items():
            (folder / each).write_bytes(content)
        with opened(folder, SCADA, BACKUP, **SMALL) as log:
            trouble = log.trouble
            store(log)
            log.written(log.write())
            offered = {each: [x[1:3] for x in log.consumer(each).take(10**9)] for each in ("scada", "backup")}
        with opened(folder, SCADA, BACKUP, **SMALL) as log:
            store(log)
            again = {each: [x[1:3] for x in log.consumer(each).take(10**9)] for each in ("scada", "backup")}
            assert again == offered, "what could be read is safe now"
            assert not [each for each in log.trouble if "offset" in each]
        for each in offered.values():
            assert len(each) == len(set(each))
            assert set(each) <= EVERYTHING, "invented"
        return {name: set(each) for name, each in offered.items()}, trouble, {each.name for each in folder.iterdir()}


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 255)), min_size=1, max_size=5))
def test_damaged_octets_cost_what_they_hit_and_are_named(sound, places):
    files, waiting = sound
    changed, where = damaged(files, *places)
    offered, trouble, names = read_back(changed)
    lost = (waiting["scada"] - offered["scada"]) | (waiting["backup"] - offered["backup"])
    # A hit costs an event or, where it hits the key, those of that key in the file; or both copies of the table.
    assert len(lost) <= 2 * len(where) * 5 * 2 or len(where) > 1
    last = max(files)
    for name, at in where:
        if changed[name][at] == files[name][at]:
            continue  # hit twice
        if name != last:
            assert any(f"/{name}: offset " in each for each in trouble)
            assert f"{name}.damaged" in names or len([each for each in names if each.endswith(".damaged")]) == 4
    if not trouble:
        assert not lost or {name for name, _ in where} == {last}


def test_one_damaged_octet_in_an_event_costs_that_event(sound):
    files, waiting = sound
    name = sorted(files)[1]
    for victim in (each for each in waiting["backup"] if files[name].count(each[1]) == 1):
        at = files[name].index(victim[1])
        changed = dict(files)
        changed[name] = files[name][:at] + b"\xe1" + files[name][at + 1 :]
        offered, trouble, names = read_back(changed)
        assert waiting["backup"] - offered["backup"] == {victim}
        (line,) = trouble
        assert f"/{name}: offset {at - 44}: damaged, {44 + 100} octets cannot be read" in line
        assert f"{name}.damaged" in names
        break
    else:
        pytest.fail("no such event")


def test_a_damaged_header_costs_nothing(sound):
    files, waiting = sound
    for name in sorted(files)[:-1]:
        changed = dict(files)
        changed[name] = bytes(24) + files[name][24:]
        offered, trouble, _ = read_back(changed)
        assert offered == waiting
        assert any(f"{name}: offset 0: damaged, 24 octets" in each for each in trouble)


def test_a_missing_or_shortened_file_is_named(sound):
    files, waiting = sound
    name = sorted(files)[2]
    changed = dict(files)
    del changed[name]
    offered, trouble, _ = read_back(changed)
    assert offered["backup"] < waiting["backup"]
    assert any(each.endswith(f"/{name}: offset 0: the file is missing") for each in trouble)
    for length in (0, 10, 24, 5000):
        changed[name] = files[name][:length]
        _, trouble, names = read_back(changed)
        missing = len(files[name]) - length
        assert any(f"/{name}: offset {length}: the last {missing} octets are missing" in each for each in trouble)
        assert f"{name}.damaged" in names


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 5), st.sampled_from([b"", b"FLISREV\n", b"\xe1\xe1\xe1\xe1"]))
def test_whatever_stands_in_a_file_it_opens(sound, garbage, which, front):
    files, waiting = sound
    name = sorted(files)[which]
    offered, _, _ = read_back({**files, name: front + garbage * 20})
    others = {each for each in waiting["backup"] if not any(each[1] in files[name] for _ in [0])}
    assert others <= offered["backup"]


def test_what_cannot_be_read_at_all_is_named_and_passed_over(sound, tmp_path):
    files, _ = sound
    for each, content in files.items():
        (tmp_path / each).write_bytes(content)
    name = min(files)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with opened(tmp_path, SCADA, BACKUP, **SMALL) as log:
        assert any(f"{name}: offset 0: cannot be read: [Errno 21]" in each for each in log.trouble)
        store(log)
        log.written(log.write())
        assert log.consumer("backup").waiting > 50
    assert (tmp_path / f"{name}.damaged").is_dir()


def test_few_damaged_files_are_kept_and_much_damage_is_summed_up(sound, tmp_path):
    files, _ = sound
    for each, content in files.items():
        (tmp_path / each).write_bytes(bytes(x ^ (at % 3000 == 100) for at, x in enumerate(content)))
    for n in range(10):
        (tmp_path / f"events-000000000{n}.log.damaged").write_bytes(b"old")
    with opened(tmp_path, SCADA, BACKUP, **SMALL) as log:
        assert len(log.trouble) <= 21
        store(log)
        log.written(log.write())
    assert len(list(tmp_path.glob("*.damaged"))) == 4


def test_a_newer_format_is_refused_by_name(folder):
    with opened(folder) as log:
        filled(log, "a0")
    (path,) = folder.glob("events-*.log")
    octets = bytearray(path.read_bytes())
    octets[9] = 2
    path.write_bytes(octets)
    with opened(folder) as log:  # the checksum says that this is damage
        assert log.consumer("scada").waiting == 1
    octets[20:24] = event_segments.zlib.crc32(octets[:20]).to_bytes(4, "big")
    path.write_bytes(octets)
    with pytest.raises(StoreTooNew, match=f"{path}: offset 8: written in format 2, this program reads up to 1"):
        opened(folder)
    octets[9] = 1
    octets[20:24] = event_segments.zlib.crc32(octets[:20]).to_bytes(4, "big")
    path.write_bytes(octets)
    opened(folder).close()


# The model.

FEW = ConsumerConfig("few", priority, most=6)
EXTRA = ConsumerConfig("extra", lambda key: 1 if key[0] == "b" else None)
BLOCK = 64
BOUNDS = {"segment_octets": 1024, "most_octets": 16 * 1024}


class Modelled:
    """One consumer as it should be."""

    def __init__(self, config):
        self.config = config
        self.waiting = {}  # class by sequence
        self.taken = set()
        self.overflowed = 0
        self.must = set()  # offered after any crash now
        self.may = set()
        self.unsure = set()  # acknowledged or lost, but that may not be on disk yet

    def append(self, sequence, key):
        priority = self.config.classify(key)
        if priority is None:
            return
        self.waiting[sequence] = priority
        self.may.add(sequence)
        if len(self.waiting) > self.config.most:
            oldest = min(set(self.waiting) - self.taken, key=lambda each: (-self.waiting[each], each))
            self.finish(oldest)
            self.overflowed += 1

    def finish(self, sequence):
        del self.waiting[sequence]
        self.taken.discard(sequence)
        self.must.discard(sequence)
        self.unsure.add(sequence)

    def stored(self):
        self.may -= self.unsure
        self.unsure.clear()
        self.must = set(self.waiting)

    def next(self, limit, unoffered):
        ready = set(self.waiting) - self.taken - unoffered
        return sorted(ready, key=lambda each: (self.waiting[each], each))[:limit]


class Machine(RuleBasedStateMachine):
    """The log and its model, with power cuts, refusing disks and changes of the configuration."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(event_segments, "_BLOCK", BLOCK)
        # The model cuts the power itself.
        self.patch.setattr(os, "fsync", lambda _: None)
        self.patch.setattr(os, "fdatasync", lambda _: None)
        self.events = {}
        self.unoffered = set()
        self.degraded = False
        self.starts = 0

    @initialize()
    def begin(self):
        self.model = {each.name: Modelled(each) for each in (SCADA, FEW)}
        self.open()
        self.store()

    def open(self):
        self.starts += 1
        self.log = EventLog.open(
            self.folder,
            [each.config for each in self.model.values()],
            **BOUNDS,
            now_ns=T0 // self.starts,
        )

    def store(self):
        store(self.log)
        self.unoffered.clear()
        self.degraded = False
        for each in self.model.values():
            each.stored()

    @precondition(lambda self: len(self.events) < 70)
    @rule(names=st.lists(st.sampled_from(["a0", "a1", "b0", "b1", "c-"]), min_size=1, max_size=5))
    def append(self, names):
        for key in names:
            payload = b"%d" % len(self.events)
            sequence = self.log.append(key, payload, len(self.events))
            assert sequence > max(self.events, default=0)
            self.events[sequence] = (sequence, key, payload, len(self.events))
            if not self.degraded:
                self.unoffered.add(sequence)
            for each in self.model.values():
                each.append(sequence, key)

    @rule()
    def write(self):
        self.store()

    @rule(room=st.integers(0, 200), degraded=st.booleans())
    def refuse(self, room, degraded):
        if not self.log.needs_write:
            return
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, room)
            try:
                while self.log.needs_write:
                    self.log.written(self.log.write())
            except OSError as error:
                if degraded:
                    self.log.degraded(error)
                    self.degraded = True
            disk.room = 0
        if degraded and self.degraded:
            self.unoffered.clear()
        else:
            # Some of it may have been stored: make sure.
            self.store()

    @rule(data=st.data(), limit=st.integers(0, 20))
    def take(self, data, limit):
        name = data.draw(st.sampled_from(sorted(self.model)))
        model = self.model[name]
        expected = model.next(limit, self.unoffered)
        assert self.log.consumer(name).take(limit) == [self.events[each] for each in expected]
        model.taken |= set(expected)

    @rule(data=st.data())
    def acknowledge(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        model = self.model[name]
        done = data.draw(st.sets(st.sampled_from(sorted(model.taken)))) if model.taken else set()
        self.log.consumer(name).acknowledge(done)
        for each in done:
            model.finish(each)

    @rule(data=st.data())
    def release(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.log.consumer(name).release()
        self.model[name].taken.clear()

    @rule(data=st.data(), zeros=st.booleans())
    def power_cut(self, data, zeros):
        """In the middle of a write: the file it grew ends at any octet, or the rest of it is zeros."""
        before = self.files()
        least = {name: each.overflowed for name, each in self.model.items()} if not self.log.needs_write else {}
        self.log.write()
        after = self.files()
        self.log.close()
        (name,) = [each for each in after if after[each] != before.get(each)]
        begin = len(before.get(name, b""))
        end = data.draw(st.integers(begin, len(after[name])))
        if end == len(after[name]) and data.draw(st.booleans()):
            image = after
        else:
            rest = bytes(len(after[name]) - end) if zeros else b""
            image = before | {name: after[name][:end] + rest}
        for each in self.folder.glob("events-*"):
            each.unlink()
        for each, content in image.items():
            (self.folder / each).write_bytes(content)
        self.open()
        assert not [each for each in self.log.trouble if "offset" in each], "a power cut is no damage"
        self.look(least)

    @rule(extra=st.booleans(), stored=st.booleans())
    def restart(self, extra, stored):
        if stored:
            self.store()
        self.log.close()
        waited = self.model.pop("extra", None)
        if extra:
            self.model["extra"] = waited or Modelled(EXTRA)
        self.open()
        self.look({})

    def look(self, least):
        """Whatever the log says it has must lie within what the model allows; from here on it is certain."""
        store(self.log)
        self.degraded = False
        self.unoffered.clear()
        for name, model in self.model.items():
            consumer = self.log.consumer(name)
            offered = [each.sequence for each in consumer.take(10**9)]
            assert set(offered) <= model.may, "invented"
            if len(model.may) <= model.config.most:
                assert model.must <= set(offered), "lost"
                assert consumer.overflowed <= model.overflowed
            assert consumer.overflowed >= least.get(name, 0)
            assert offered == sorted(offered, key=lambda each: (model.config.classify(self.events[each][1]), each))
            consumer.release()
            model.waiting = {each: model.config.classify(self.events[each][1]) for each in offered}
            model.taken.clear()
            model.unsure.clear()
            model.may = set(offered)
            model.must = set(offered)
            model.overflowed = consumer.overflowed

    def files(self):
        return {each.name: each.read_bytes() for each in self.folder.glob("events-*.log")}

    def check_counts(self):
        for name, model in self.model.items():
            consumer = self.log.consumer(name)
            assert (consumer.waiting, consumer.overflowed) == (len(model.waiting), model.overflowed)
        assert self.log.octets <= BOUNDS["most_octets"]

    def teardown(self):
        if hasattr(self, "log"):
            self.check_counts()
            self.log.close()
        self.patch.undo()
        shutil.rmtree(self.folder)


TestModel = Machine.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40)


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
