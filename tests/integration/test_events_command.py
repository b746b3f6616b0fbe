"""``flisr events``, and an outstation that writes the history meanwhile; from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest
from histories import POINTS, POSITION, POWER, T0, logged

from gateway.historian.database import Database
from gateway.historian.writer import HistoryWriter, Retention

FLISR = [sys.executable, "-P", "-m", "tools.cli"]
PATIENCE_S = 60
CLOCK = ("failure|not", "synchronised")


def events(*words, zone="UTC"):
    command = [*FLISR, "events", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, "TZ": zone}
    )


@pytest.fixture
def filled(history):
    writer = HistoryWriter(Database(history), POINTS, Retention())
    batch = [logged(n * 10**9, *((POSITION, n % 4) if n % 2 else (POWER, n / 4))) for n in range(150)]
    writer.store([*batch, logged(200 * 10**9, POSITION, 1, quality=0x0826, time_quality=0x60)])
    writer.close()
    return history


def test_the_table_says_time_value_quality_and_clock_in_words(filled):
    run = events(filled, "--newest", "3")
    assert run.returncode == 0
    assert [line.split() for line in run.stdout.splitlines()] == [
        ["time", "(UTC)", "point", "value", "quality", "clock"],
        ["2026-11-18T11:09:08.000000000Z", POWER, "37.0", "good"],
        ["2026-11-18T11:09:09.000000000Z", POSITION, "off", "good"],
        ["2026-11-18T11:10:00.000000000Z", POSITION, "off", "invalid|oldData|substituted|test", *CLOCK],
    ]
    assert run.stderr == ""


def test_csv_and_json_say_the_same_and_all_where_a_time_is_given(filled):
    words = (filled, "--from", "2026-11-18")
    table = list(csv.DictReader(io.StringIO(events(*words, "--csv").stdout)))
    documents = [json.loads(line) for line in events(*words, "--json").stdout.splitlines()]
    assert [row["sequence"] for row in table] == [str(each["sequence"]) for each in documents]
    assert len(documents) == 151
    assert documents[0]["value"] == 0.0
    assert documents[0]["t_ns"] == T0
    assert documents[-1]["quality"] == table[-1]["quality"]
    assert [each["t_ns"] for each in documents] == sorted(each["t_ns"] for each in documents)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 100),
        (("--newest", "0"), 151),
        (("--only", "events", "--newest", "0"), 76),
        (("--only", "measurements", "--newest", "0"), 75),
        (("--point", "*.Pos", "--newest", "0"), 76),
        (("--from", "2026-11-18T11:06:40", "--to", "2026-11-18T11:06:50"), 10),
        (("--from", "2026-11-18T12:06:40+01:00", "--to", "2026-11-18T11:06:50Z"), 10),
        (("--from", "2026-11-18T12:06:40", "--to", "2026-11-18T12:06:50", "--local"), 10),
    ],
)
def test_filters(filled, words, count):
    run = events(filled, "--json", *words, zone="Europe/Sarajevo")
    assert len(run.stdout.splitlines()) == count
    assert ("the latest 100" in run.stderr) == (not words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.db",), "nowhere.db: there is no such file"),
        (("postgresql://u:secret@127.0.0.1:1/d",), "u:***@127.0.0.1:1/d: "),
        (("oracle://h/d",), "oracle is no database for a history"),
        (("FILLED", "--point", "nobody"), "no point of it fits nobody"),
        (("FILLED", "--from", "yesterday"), "'yesterday' is no time"),
        (("FILLED", "--only", "all"), "--only all: expected events or measurements"),
        (("FILLED", "--newest", "-1"), "--newest -1: expected 0 or more"),
        (("FILLED", "--csv", "--json"), "one of them"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, words, said):
    history = str(tmp_path / "h.db")
    writer = HistoryWriter(Database(history), POINTS, Retention())
    writer.store([logged(1, POSITION, 1)])
    writer.close()
    run = events(*(history if word == "FILLED" else word for word in words))
    assert run.returncode == 2
    assert run.stderr.startswith("flisr: ")
    assert run.stderr.count("\n") == 1
    assert said in run.stderr
    assert "secret" not in run.stderr


def test_who_reads_only_the_beginning_gets_no_complaint(filled):
    command = [*FLISR, "events", filled, "--follow", "--newest", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        writer = HistoryWriter(Database(filled), POINTS, Retention())
        writer.store([logged(n, POSITION, 1) for n in range(1, 3000)])
        writer.close()
        assert process.wait(PATIENCE_S) == 0
        assert "Broken pipe" not in process.stderr.read()


def test_an_outstation_keeps_a_history_and_it_can_be_followed(history, tmp_path):
    words = [
        "104",
        "outstation",
        "--port",
        "0",
        "--rate",
        "100",
        "--store",
        str(tmp_path),
        "--history",
        history,
        "--json",
    ]
    outstation = subprocess.Popen([*FLISR, *words], stdout=subprocess.PIPE, text=True)
    try:
        outstation.stdout.readline()
        follow = [*FLISR, "events", history, "--follow", "--json", "--newest", "1"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
            seen = [json.loads(following.stdout.readline()) for _ in range(100)]
            following.send_signal(signal.SIGINT)
            assert following.wait(PATIENCE_S) == 0
    finally:
        outstation.send_signal(signal.SIGINT)
        assert outstation.wait(PATIENCE_S) == 0
        outstation.stdout.close()
    assert len({each["sequence"] for each in seen}) == 100
    assert {each["quality"] for each in seen} == {"good"}
