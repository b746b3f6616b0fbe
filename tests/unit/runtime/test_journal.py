"""The journal: complete while the disk works, and never in the agent's way when it does not."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.runtime import journal as journal_module
from ied_agents.runtime.journal import Journal, JournalError, JournalTail, read_journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.journal"


def numbers(path):
    return [entry["n"] for entry in read_journal(path) if entry["kind"] == "Seen"]


def gaps(path):
    return [
        (entry["lost"], entry["failures"], entry["error"])
        for entry in read_journal(path)
        if entry["kind"] == "JournalGap"
    ]


def filled(path, *values, **options):
    journal = Journal(path, **options)
    for n in values:
        journal.record("Seen", n / 10, n=n)
    return journal


class FullDisk:
    """Stands in for ``os``: lets so many octets through, then the disk is full."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(journal_module, "os", self)

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, file, octets):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        octets = octets[: self.room]
        self.room -= len(octets)
        return os.write(file, octets)


def test_entries_come_back_as_they_were_noted(path):
    journal = Journal(path)
    journal.record("PickupSeen", 12.5, switch=3, direction="forward", why=["own pickup", {"id": 4}])
    journal.record("Größe", 12.6)
    assert not path.exists(), "noting something touches no disk"
    assert not journal.write_some()
    first, second = read_journal(path)
    assert first | {"t_ns": 0} == {
        "t_ns": 0,
        "mono": 12.5,
        "kind": "PickupSeen",
        "switch": 3,
        "direction": "forward",
        "why": ["own pickup", {"id": 4}],
    }
    assert second["kind"] == "Größe"
    assert first["t_ns"] <= second["t_ns"]
    opened = json.loads(path.read_bytes().split(b"\n")[0])
    assert (opened["kind"], opened["version"]) == ("JournalOpened", 1)
    journal.close()


def test_much_is_written_piece_by_piece(path):
    journal = filled(path, *range(25))
    pieces = 1
    while journal.write_some():
        pieces += 1
    assert pieces == 3
    assert numbers(path) == list(range(25))
    journal.close()


def test_a_restart_goes_on_where_the_last_run_ended_without_its_torn_line(path):
    filled(path, 1, 2).close()
    with path.open("ab") as file:
        file.write(b'{"t_ns":17953480,"mono":3.0,"kind":"Se')
    assert numbers(path) == [1, 2]
    filled(path, 3).close()
    assert numbers(path) == [1, 2, 3]


@given(st.integers(0, 400))
def test_cut_anywhere_a_journal_keeps_its_whole_lines(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("cut") / "journal"
    filled(path, *range(5)).close()
    octets = path.read_bytes()[:size]
    path.write_bytes(octets)
    whole = max(0, octets.count(b"\n") - 1)
    assert numbers(path) == list(range(5))[:whole]
    filled(path, 9).close()
    assert numbers(path) == [*range(5)[:whole], 9]


def test_old_files_are_bounded_in_number_and_size(path):
    journal = Journal(path, max_octets=2000, max_files=3)
    for n in range(500):
        journal.record("Seen", 0.0, n=n)
        journal.write_some()
    journal.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [
        path.name,
        f"{path.name}.1",
        f"{path.name}.2",
    ]
    assert all(each.stat().st_size <= 2000 for each in path.parent.iterdir())
    kept = numbers(path)
    assert kept == list(range(kept[0], 500))
    assert len(kept) > 40


@pytest.mark.parametrize("room", [0, 10, 100, 300])
def test_a_full_disk_costs_nothing_that_memory_can_hold(path, monkeypatch, room):
    filled(path, 0).close()
    disk = FullDisk(monkeypatch, room)
    journal = filled(path, *range(1, 26))
    for _ in range(4):
        assert not journal.write_some() or room
    assert journal.failures >= 3
    assert journal.last_error.errno == errno.ENOSPC
    disk.room = 10**9
    journal.close()
    assert numbers(path) == list(range(26)), "each exactly once"
    ((lost, failures, error),) = gaps(path)
    assert (lost, failures) == (0, journal.failures)
    assert "No space left" in error


def test_what_memory_cannot_hold_is_counted_and_announced(path, monkeypatch):
    disk = FullDisk(monkeypatch, 0)
    journal = Journal(path, capacity=20)
    for n in range(100):
        journal.record("Seen", 0.0, n=n)
        journal.write_some()
    # One waits encoded, twenty more behind it.
    assert journal.lost == 100 - 20 - 1
    disk.room = 10**9
    journal.record("Seen", 0.0, n=100)
    journal.close()
    assert numbers(path) == list(range(21))
    assert [gap[0] for gap in gaps(path)] == [80]


def test_a_folder_that_comes_late_loses_nothing(path):
    late = path.parent / "late" / "journal"
    journal = filled(late, 1)
    assert not journal.write_some()
    assert journal.failures == 1
    assert isinstance(journal.last_error, FileNotFoundError)
    late.parent.mkdir()
    journal.record("Seen", 0.0, n=2)
    journal.close()
    assert numbers(late) == [1, 2]
    assert gaps(late)[0][:2] == (0, 1)


def test_what_json_cannot_say_is_still_noted(path):
    journal = Journal(path)
    journal.record("Seen", 1.0, n=0, value=float("nan"))
    journal.record("Seen", 1.0, n=1, value={1, 2})
    journal.record("Seen", 1.0, n=2, value={(1, 2): 3})
    journal.record("Seen", 1.0, n=3, value="x" * 100_000)
    journal.close()
    nan, some_set, odd_keys, long = read_journal(path)
    assert nan["repr"] == "{'n': 0, 'value': nan}"
    assert some_set["value"] == "{1, 2}"
    assert odd_keys["repr"] == "{'n': 2, 'value': {(1, 2): 3}}"
    assert len(long["repr"]) == 1000


def test_closing_ends_even_when_nothing_can_be_written(path, monkeypatch):
    FullDisk(monkeypatch, 0)
    journal = filled(path, *range(50))
    journal.close()
    assert journal.failures == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"garbage\n", "no JSON"),
        (b"[" * 60_000 + b"\n", "no JSON"),
        (b"\xff\n", "no JSON"),
        (b"7\n", "no journal entry"),
        (b'{"kind":7}\n', "no journal entry"),
        (b'{"kind":"JournalOpened","version":2}\n', "written in format 2, this program reads 1"),
        (b"x" * (1 << 16) + b"\n", "longer than 65536 octets"),
    ],
)
def test_a_line_that_is_no_entry_is_named(path, line, problem):
    filled(path, 1).close()
    with path.open("ab") as file:
        file.write(line)
    with pytest.raises(JournalError) as caught:
        list(read_journal(path))
    assert str(caught.value).startswith(f"{path}: line 3: ")
    assert problem in str(caught.value)


def test_a_missing_journal_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        list(read_journal(path))


# -- read while it is written ---------------------------------------------------------------------------------------


@pytest.fixture
def tail(path):
    made = JournalTail(path)
    yield made
    made.close()


def read_now(tail):
    return [entry["n"] for entry in tail.read() if entry["kind"] == "Seen"]


def test_the_tail_of_a_journal_that_is_not_there_yet_is_empty(tail, path):
    assert read_now(tail) == []
    filled(path, 1).close()
    assert read_now(tail) == [1]


def test_the_tail_begins_with_the_oldest_file_and_follows_every_rotation(tail, path):
    journal = filled(path, *range(40), max_octets=400, max_files=20)
    while journal.write_some():
        pass
    assert read_now(tail) == list(range(40))
    assert read_now(tail) == []
    for number in range(40, 80):
        journal.record("Seen", 0.0, n=number)
        journal.write_some()
        if number % 5 == 0:
            assert read_now(tail)[-1] == number
    journal.close()
    assert read_now(tail) == [76, 77, 78, 79]


def test_a_line_that_is_still_in_writing_is_read_when_it_is_whole(tail, path):
    filled(path, 1).close()
    with path.open("ab") as file:
        file.write(b'{"kind":"Seen",')
    assert read_now(tail) == [1]
    with path.open("ab") as file:
        file.write(b'"n":2}\n')
    assert read_now(tail) == [2]


def test_a_torn_line_that_the_next_writer_cuts_off_is_no_line(tail, path):
    filled(path, 1).close()
    with path.open("ab") as file:
        file.write(b'{"kind":"Seen",')
    assert read_now(tail) == [1]
    filled(path, 2).close()
    assert read_now(tail) == [2]
