"""Queries on both kinds of database, beside a writer at work."""

import sqlite3

import pytest
from histories import LOCAL, POINTS, POSITION, POWER, T0, logged

from gateway.historian.database import Database, HistoryError, HistoryUnusable
from gateway.historian.reader import HistoryReader, Query
from gateway.historian.writer import HistoryWriter, Retention


@pytest.fixture
def filled(history):
    """A history of 300 events and 300 measurements in turn; its writer."""
    writer = HistoryWriter(Database(history), POINTS, Retention())
    names = (POSITION, POWER, LOCAL, POWER)
    values = (2, 0.5, True, 1.5)
    writer.store([logged(n, names[n % 4], values[n % 4]) for n in range(600)])
    yield writer
    writer.close()


def sequences(history, **query):
    with HistoryReader(history) as reader:
        return [one.sequence for one in reader.read(Query(**query), reader.last())]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, list(range(600))),
        ({"tables": ("events",)}, list(range(0, 600, 2))),
        ({"tables": ("measurements",)}, list(range(1, 600, 2))),
        ({"points": ("*.Pos",)}, list(range(0, 600, 4))),
        ({"points": ("*.Pos", "*/LLN0.*")}, list(range(0, 600, 2))),
        ({"points": ("nobody",)}, []),
        ({"newest": 3}, [597, 598, 599]),
        ({"newest": 3, "tables": ("events",)}, [594, 596, 598]),
        ({"newest": 1, "points": ("*.Pos",)}, [596]),
        ({"newest": 1000}, list(range(600))),
        ({"from_ns": T0 + 10, "to_ns": T0 + 13}, [10, 11, 12]),
        ({"from_ns": T0 + 10, "newest": 2, "to_ns": T0 + 13}, [11, 12]),
        ({"from_ns": T0 + 600}, []),
        ({"to_ns": T0}, []),
    ],
)
def test_what_fits_is_read_in_order_of_time(filled, history, query, expected):
    assert sequences(history, **query) == expected


def test_the_order_is_the_devices_time_not_that_of_arrival(filled, history):
    late = logged(5000, POSITION, 1)
    early = late._replace(sequence=5001, payload=logged(-5, POSITION, 1).payload)
    filled.store([late, early])
    found = sequences(history)
    assert (found[0], found[-1]) == (5001, 5000)


def test_who_follows_gets_each_row_once_whatever_its_time_and_new_points_too(filled, history):
    with HistoryReader(history) as reader:
        last = reader.last()
        filled.store([logged(700, POSITION, 1), logged(-9, POWER, 1.0)])
        query = Query(points=("A/*", "new"))
        assert len(list(reader.read(query, last))) == 600
        assert [one.sequence for one in reader.after(last, query)] == [-9, 700]
        assert list(reader.after(last, query)) == []
        filled.store([logged(701, "new", 1), logged(702, "elsewhere", 1), logged(703, POWER, 2.0)])
        assert [one.sequence for one in reader.after(last, query)] == [701, 703]


def test_a_reader_in_the_middle_holds_up_nobody_and_sees_one_moment(filled, history):
    with HistoryReader(history) as reader:
        reading = reader.read(Query(), reader.last())
        begun = [next(reading).sequence for _ in range(5)]
        filled.store([logged(n, POSITION, 1) for n in range(600, 700)])
        assert begun + [one.sequence for one in reading] == list(range(600))
    assert len(sequences(history)) == 700


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "no history is named"),
        ("nowhere.db", "nowhere.db: there is no such file"),
        ("sqlite:///nowhere.db", "nowhere.db: there is no such file"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a.db?mode=memory", "names no file"),
        ("mysql://u:secret@h/d", "mysql is no database for a history"),
        ("postgresql+psycopg2://h/d", "is no database for a history"),
        ("postgresql://u:secret@h:port/d", "cannot be read"),
        ("://", "cannot be read"),
    ],
)
def test_what_names_no_history(where, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryUnusable, match=said) as caught:
        HistoryReader(where)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_and_one_without_a_history(tmp_path):
    file = tmp_path / "a file.db"
    file.write_text("no database" * 1000)
    with pytest.raises(HistoryUnusable, match=r"a file\.db: file is not a database"):
        HistoryReader(str(file))
    with pytest.raises(HistoryUnusable, match="file is not a database"):
        HistoryWriter(Database(str(file)), POINTS, Retention()).open()
    file.write_bytes(b"")
    with pytest.raises(HistoryUnusable, match="there is no history of flisr in it"):
        HistoryReader(str(file))
    with pytest.raises(HistoryError, match=str(tmp_path)):
        HistoryWriter(Database(str(tmp_path)), POINTS, Retention()).open()


def test_a_damaged_file_is_said_with_its_name(tmp_path):
    file = tmp_path / "h.db"
    writer = HistoryWriter(Database(str(file)), POINTS, Retention())
    writer.store([logged(n, POSITION, 1) for n in range(2000)])
    writer.close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    octets = bytearray(file.read_bytes())
    octets[8192 : len(octets)] = b"\xff" * (len(octets) - 8192)
    file.write_bytes(octets)
    with pytest.raises(HistoryError, match=r"h\.db: .*malformed"), HistoryReader(str(file)) as reader:
        list(reader.read(Query(), {"events": 10**9, "measurements": 10**9}))


@pytest.mark.parametrize("name", ["with space.db", "q?uery#.db", "per%20cent.db", "ж.db"])
def test_files_of_any_name(tmp_path, name):
    file = tmp_path / name
    writer = HistoryWriter(Database(str(file)), POINTS, Retention())
    writer.store([logged(1, POSITION, 1)])
    writer.close()
    assert sequences(str(file)) == [1]
    assert {each.name.removesuffix("-wal").removesuffix("-shm") for each in tmp_path.iterdir()} == {name}


def test_a_server_that_is_not_there():
    with pytest.raises(HistoryError, match=r"postgresql://u:\*\*\*@127.0.0.1:1/d: .*refused") as caught:
        HistoryReader("postgresql://u:secret@127.0.0.1:1/d")
    assert not isinstance(caught.value, HistoryUnusable)
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_missing(monkeypatch):
    monkeypatch.setattr("gateway.historian.database.find_spec", lambda _: None)
    with pytest.raises(HistoryUnusable, match=r"pip install 'flisr\[postgresql\]'"):
        Database("postgresql://h/d")
