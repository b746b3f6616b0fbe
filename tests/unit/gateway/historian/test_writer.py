"""Events of the log to rows, on both kinds of database."""

import logging
import random
from pathlib import Path

import pytest
from histories import ENERGY, LOCAL, POINTS, POSITION, POWER, T0, TAP, execute, logged, rows

from gateway.historian.database import Database, HistoryError, HistoryUnusable
from gateway.historian.reader import HistoryReader, Query
from gateway.historian.writer import HistoryWriter, Retention
from gateway.points.event_log import LoggedEvent

DAY_NS = 86_400 * 10**9


@pytest.fixture
def writer(history):
    writer = HistoryWriter(Database(history), POINTS, Retention())
    yield writer
    writer.close()


def read(history, **query):
    with HistoryReader(history) as reader:
        return list(reader.read(Query(**query), reader.last()))


def test_states_are_events_and_numbers_measurements_with_all_that_was_said(writer, history):
    writer.store(
        [
            logged(1, POSITION, 2, quality=0x0002, time_quality=0x20),
            logged(2, POWER, 1.5, late_ns=7),
            logged(3, ENERGY, 12),
            logged(4, TAP, (-3, 1)),
            logged(5, LOCAL, True),
        ]
    )
    assert rows(history, "SELECT name, cdc, source, description FROM points ORDER BY id") == [
        ("A/ATCC1.TapChg", "BSC", "A", ""),
        ("A/LLN0.Loc", "SPS", "A", ""),
        ("A/MMTR1.TotWh", "BCR", "A", ""),
        ("A/MMXU1.TotW", "MV", "A", ""),
        ("A/XCBR1.Pos", "DPC", "A", "breaker"),
    ]
    columns = "name, value, text, quality, t_ns, time_quality, arrived_ns, sequence"
    joined = "SELECT " + columns + " FROM {0} JOIN points ON points.id = point_id ORDER BY {0}.id"
    assert rows(history, joined.format("events")) == [
        (POSITION, 2, None, 2, T0 + 1, 0x20, T0 + 1001, 1),
        (TAP, -3, "[-3, 1]", 0, T0 + 4, 10, T0 + 1004, 4),
        (LOCAL, 1, None, 0, T0 + 5, 10, T0 + 1005, 5),
    ]
    assert rows(history, joined.format("measurements")) == [
        (POWER, 1.5, None, 0, T0 + 2, 10, T0 + 9, 2),
        (ENERGY, 12.0, None, 0, T0 + 3, 10, T0 + 1003, 3),
    ]
    assert [(one.point, one.value) for one in read(history)] == [
        (POSITION, 2),
        (POWER, 1.5),
        (ENERGY, 12),
        (TAP, (-3, 1)),
        (LOCAL, True),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (POWER, float("nan")),
        (POWER, float("inf")),
        (POWER, float("-inf")),
        (POWER, 5e-324),
        (POWER, 1.7976931348623157e308),
        (POWER, 7),
        (ENERGY, 2**63 - 1),
        (ENERGY, -(2**63)),
        (ENERGY, 2**53 + 1),
        (POSITION, 2**63 - 1),
        (POSITION, "text"),
        (TAP, ()),
        ("unknown", 1.5),
        ("unknown", 3),
    ],
)
def test_a_value_comes_out_as_it_went_in(writer, history, name, value):
    writer.store([logged(1, name, value)])
    (one,) = read(history)
    assert one.point == name
    assert one.value == (repr(value) if repr(value) in ("nan", "inf", "-inf") else value)
    assert rows(history, "SELECT * FROM refused") == []


def test_an_event_that_comes_again_is_there_once(writer, history):
    batch = [logged(n, POINTS[n % 2].name, 2 if n % 2 == 0 else 1.0) for n in range(1, 100)]
    writer.store(batch[:60])
    writer.store(batch[40:])
    writer.close()
    writer.store(batch)
    assert sorted(one.sequence for one in read(history)) == list(range(1, 100))


def test_two_gateways_in_one_database_keep_their_events_apart(writer, history):
    other = HistoryWriter(Database(history), POINTS, Retention())
    writer.store([logged(1, POSITION, 2, late_ns=5)])
    other.store([logged(1, POSITION, 1, late_ns=6)])
    other.close()
    assert [one.value for one in read(history)] == [2, 1]


def nul(sequence):
    return LoggedEvent(sequence, "A/\0.Pos", logged(sequence, POSITION, 1).payload, T0)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_database_never_takes_holds_up_nobody_and_is_kept_as_it_was(writer, history, caplog, seed):
    chance = random.Random(seed)
    writer.store([logged(1000, POSITION, 1)])
    column = "CHECK (sequence % 7 <> 0)"
    if history.startswith("postgresql"):
        execute(history, f"ALTER TABLE events ADD CONSTRAINT seventh {column}")
    else:
        execute(
            history,
            "CREATE TRIGGER seventh BEFORE INSERT ON events WHEN NEW.sequence % 7 = 0 BEGIN "
            "SELECT RAISE(ABORT, 'CHECK constraint failed: seventh'); END",
        )
    batch = [logged(n, POSITION, n % 4) for n in range(1, 200)]
    bad = {each.sequence: each for each in batch if each.sequence % 7 == 0}
    broken = LoggedEvent(200, POSITION, b"\x00 no point value", T0)
    batch.append(broken)
    bad[200] = broken
    if history.startswith("postgresql"):  # SQLite takes it
        batch.append(nul(201))
        bad[201] = batch[-1]
    chance.shuffle(batch)
    with caplog.at_level(logging.ERROR):
        writer.store(batch)
        writer.store(batch)
    assert sorted(rows(history, "SELECT sequence FROM events")) == [
        (n,) for n in sorted(set(range(1, 200)) - bad.keys() | {1000})
    ]
    kept = rows(history, "SELECT sequence, payload, reason, arrived_ns FROM refused ORDER BY sequence")
    assert [(n, bytes(payload), at) for n, payload, _, at in kept] == [
        (n, bad[n].payload, bad[n].t_ns) for n in sorted(bad)
    ]
    reasons = {n: reason for n, _, reason, _ in kept}
    assert "seventh" in reasons[7]
    assert "head at octet 16" in reasons[200]
    assert "are in its table refused" in caplog.text
    with HistoryReader(history) as reader:
        assert reader.refused() == len(bad)


def test_names_and_values_with_zeros_and_odd_letters(writer, history):
    writer.store([nul(1), logged(2, "Ä/ж'\"%\\.Pos", 1), logged(3, POSITION, "a\0b"), logged(4, POSITION, 1)])
    with HistoryReader(history) as reader:
        there = [one.sequence for one in reader.read(Query(), reader.last())]
        assert len(there) + reader.refused() == 4
    assert {2, 4} <= set(there)


def test_what_is_known_of_a_point_follows_the_configuration(writer, history):
    writer.store([logged(1, POSITION, 1), logged(2, "new", 1)])
    changed = HistoryWriter(
        Database(history), [POINTS[0].__class__(name="new", cdc="SPS", source="B", description="d")], Retention()
    )
    changed.store([logged(3, "new", True), logged(4, POSITION, 2)])
    changed.close()
    statement = "SELECT name, cdc, source, description FROM points"
    found = {name: more for name, *more in rows(history, statement)}
    assert found == {POSITION: ["DPC", "A", "breaker"], "new": ["SPS", "B", "d"]}


def test_rows_above_the_bound_go_in_steps_oldest_first(history, monkeypatch):
    monkeypatch.setattr("gateway.historian.writer._STEP_ROWS", 10)
    writer = HistoryWriter(Database(history), POINTS, Retention(rows=30))
    writer.store([logged(n, POSITION, 1) for n in range(1, 101)] + [logged(n, POWER, 1.0) for n in range(101, 111)])
    counts = []
    more = True
    while more:
        more = writer.tidy(T0)
        counts.append(rows(history, "SELECT count(*), min(sequence) FROM events")[0])
    assert counts == [(100 - 10 * n, 1 + 10 * n) for n in range(1, 8)] + [(30, 71)]
    assert rows(history, "SELECT count(*) FROM measurements") == [(10,)]
    writer.close()


def test_rows_above_the_age_go_in_steps_and_none_that_is_younger(history, monkeypatch):
    monkeypatch.setattr("gateway.historian.writer._STEP_ROWS", 10)
    writer = HistoryWriter(Database(history), POINTS, Retention(days=1))
    writer.store([logged(n, POWER, 1.0, late_ns=n * DAY_NS // 50) for n in range(1, 101)])
    while writer.tidy(T0 + 2 * DAY_NS):
        pass
    (oldest,) = rows(history, "SELECT min(arrived_ns), count(*) FROM measurements")
    assert oldest[0] >= T0 + DAY_NS
    assert oldest[1] == 51
    while writer.tidy(T0 + 100 * DAY_NS):
        pass
    assert rows(history, "SELECT count(*) FROM measurements") == [(0,)]
    writer.store([logged(200, POWER, 1.0)])  # numbers go on, so who follows misses nothing
    assert rows(history, "SELECT id FROM measurements") == [(101,)]
    writer.close()


def test_a_newer_schema_is_refused(writer, history):
    writer.open()
    execute(history, "UPDATE history_version SET version = 99")
    writer.close()
    with pytest.raises(HistoryUnusable, match="format 99; this program reads format 2: use a newer flisr"):
        writer.store([logged(1, POSITION, 1)])
    with pytest.raises(HistoryUnusable, match="format 99"):
        HistoryReader(history)


def test_others_tables_are_left_alone(writer, history):
    if history.startswith("sqlite"):
        execute(history, "CREATE TABLE other (a)")
    execute(history, "CREATE TABLE events (a integer)")
    with pytest.raises(HistoryUnusable, match="table events is there and is no history of flisr"):
        writer.open()
    with pytest.raises(HistoryUnusable, match="table events"):
        HistoryReader(history)


def test_a_database_whose_tables_were_taken_away_is_an_error_that_passes(writer, history):
    writer.store([logged(1, POSITION, 1)])
    execute(history, "ALTER TABLE events RENAME TO elsewhere")
    with pytest.raises(HistoryError, match="events") as caught:
        writer.store([logged(2, POSITION, 1)])
    assert "secret" not in str(caught.value)
    execute(history, "ALTER TABLE elsewhere RENAME TO events")
    writer.store([logged(2, POSITION, 1)])
    assert [one.sequence for one in read(history)] == [1, 2]
    assert rows(history, "SELECT count(*) FROM refused") == [(0,)]


def test_a_file_that_was_removed_is_made_again(tmp_path):
    history = f"sqlite:///{tmp_path / 'h.db'}"
    writer = HistoryWriter(Database(history), POINTS, Retention())
    writer.store([logged(1, POSITION, 1)])
    for each in tmp_path.glob("h.db*"):
        Path(each).unlink()
    writer.store([logged(2, POSITION, 1)])
    assert [one.sequence for one in read(history)] == [2]
    writer.close()


def test_an_sqlite_history_survives_a_power_cut(tmp_path):
    writer = HistoryWriter(Database(str(tmp_path / "h.db")), POINTS, Retention())
    writer.open()
    said = {
        name: writer._connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
    }
    assert said == {"journal_mode": "wal", "synchronous": 2}
    writer.close()


@pytest.mark.parametrize("wrong", [{"days": 0}, {"days": -1.0}, {"days": float("nan")}, {"rows": 0}])
def test_a_retention_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="expected more than none"):
        Retention(**wrong)
