"""The doctor's verdict on hops and detection time: good, too tight, not known yet, each with the way out."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.runtime.link import LinkError
from tools import doctor, doctor_probe
from tools.doctor_probe import Hops
from tools.pickups import spreads_ns

MS = 10**6
DETECTION_S = 0.003
T9 = read_site(Path(scl.__file__).parent / "samples" / "two_source.toml").agents[9]


# -- hops ---------------------------------------------------------------------------------------------------------


def hop(monkeypatch, sent=0, taken_s=(), error=None):
    async def measure(interface, like, seconds):
        assert (interface, like, seconds) == ("eth0", T9.own.fast, 5.0)
        if error is not None:
            raise error
        return Hops(sent, tuple(sorted(taken_s)))

    monkeypatch.setattr(doctor_probe, "measure", measure)
    finding, most_s = doctor._hop(T9, "eth0", 5.0, probe=True)
    assert finding.what == "hop"
    return finding.verdict, finding.said, most_s


def test_short_hops_are_good(monkeypatch):
    verdict, said, most_s = hop(monkeypatch, 2000, [0.0002] * 1998 + [0.0006, 0.0009])
    assert verdict == "good"
    assert said == "0.20 ms at the median, 99.9 % of 2000 at most 0.60 ms"
    assert most_s == 0.0006


def test_long_hops_are_to_be_looked_at(monkeypatch):
    verdict, said, most_s = hop(monkeypatch, 100, [0.0002] * 95 + [0.0041] * 5)
    assert (verdict, most_s) == ("look", 0.0041)
    assert "at most 4.10 ms, longer than the detection time: use --fifo" in said


def test_lost_probes_are_to_be_looked_at(monkeypatch):
    verdict, said, _ = hop(monkeypatch, 100, [0.0002] * 97)
    assert verdict == "look"
    assert "3 of 100 were lost: cable, switch or load" in said


def test_a_hop_is_not_known_without_an_answer_or_an_interface(monkeypatch):
    assert hop(monkeypatch, 100)[1].startswith("not known yet: nobody answered 100 probes")
    verdict, said, most_s = hop(monkeypatch, error=LinkError(errno.ENETDOWN, "eth0: Network is down"))
    assert (verdict, said, most_s) == ("look", "not known yet: eth0: Network is down", None)


# -- detection time -----------------------------------------------------------------------------------------------


@pytest.fixture
def detection(tmp_path):
    """``detection({agent: [pickups, ms]}, hop_s)``."""

    def judge(pickups_ms, hop_s=None):
        for ied, times in pickups_ms.items():
            (tmp_path / ied).mkdir()
            entries = [{"kind": "picked up", "stamp_ns": 10**18 + round(MS * at)} for at in times]
            entries += [{"kind": "position", "position": "ON"}, {"kind": "picked up"}]
            lines = [json.dumps({"t_ns": 1, "mono": 1.0, **entry}) for entry in entries]
            (tmp_path / ied / "journal.jsonl").write_text("\n".join(lines) + "\n")
        finding = doctor._detection(DETECTION_S, tmp_path, hop_s)
        assert finding.what == "detection time"
        return finding.verdict, finding.said

    return judge


def test_pickups_within_the_detection_time_are_good(detection):
    verdict, said = detection({"F1Q1": [0.0, 5000.0], "F1L2": [1.2, 5002.0], "F1R3": [0.7]}, 0.0006)
    assert verdict == "good"
    assert said.startswith("good: pickups of one event were at most 2.00 ms apart in 2 events, and a hop takes 0.60 ms")
    assert said.endswith("the detection time is 3 ms")


def test_pickups_too_far_apart_are_too_tight_with_a_longer_time_proposed(detection):
    verdict, said = detection({"F1Q1": [0.0], "F1L2": [3.4]})
    assert verdict == "look"
    assert said.startswith("too tight: pickups of one event were at most 3.40 ms apart in 1 events; the detection time")
    assert "set detection_time_ms = 5 in the site file" in said


def test_pickups_that_the_agents_themselves_would_take_for_two_causes_are_too_tight(detection):
    verdict, said = detection({"F1Q1": [0.0], "F1L2": [15.0]})
    assert (verdict, said.partition(":")[0]) == ("look", "too tight")
    assert "set detection_time_ms = 19" in said


def test_a_hop_counts_too(detection):
    verdict, said = detection({"F1Q1": [0.0], "F1L2": [2.5]}, 0.0006)
    assert (verdict, said.partition(":")[0]) == ("look", "too tight")
    assert "set detection_time_ms = 4" in said


@pytest.mark.parametrize("pickups_ms", [{}, {"F1Q1": []}, {"F1Q1": [0.0, 1.0, 700.0]}, {"F1Q1": [0.0], "F1L2": [20.1]}])
def test_without_an_event_that_two_saw_it_is_not_known(detection, pickups_ms):
    verdict, said = detection(pickups_ms)
    assert (verdict, said.partition(":")[0]) == ("look", "not known yet")
    assert "inject current into two switches at once, or wait for one" in said


def test_a_journal_that_cannot_be_read_is_named(detection, tmp_path):
    (tmp_path / "T9").mkdir()
    (tmp_path / "T9" / "journal.jsonl").write_text("no journal\n")
    verdict, said = detection({})
    assert verdict == "look"
    assert said.startswith(f"not known yet: {tmp_path}/T9/journal.jsonl: line 1")


def test_events_are_told_apart_by_their_first_pickup():
    seen = [(0, "a"), (3, "b"), (9, "c"), (11, "a"), (12, "b"), (40, "a"), (41, "a"), (70, "b"), (71, "c"), (75, "b")]
    assert spreads_ns(seen, 10) == [9, 1, 1]
    assert spreads_ns([], 10) == []
