"""What a control's outcome is, where the journal lags behind the switch or the agent answers late."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

import scl
from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms import device
from ied_agents.mms.library import load
from ied_agents.mms.server import ControlRequest
from ied_agents.runtime.operator_client import AgentLateError, AgentSilentError
from scl.reader import read

SCL = read(Path(scl.__file__).parent / "samples" / "two_source.scd")
CLOSE = ControlRequest("FLISR/CSWI1.Pos", 1, select=False, test=False, orCat=2, orIdent="", peer="127.0.0.1:1")


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("")

    def publish(position, t_ns):
        entry = {"t_ns": t_ns, "mono": 1.0, "kind": "published", "values": {"SW1.Pos.stVal": position}}
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    publish(2, time.time_ns() - 10**9)
    publish.path = path
    return publish


@pytest.fixture
def one(journal):
    made = device.Device(load(), SCL, "F1Q1", journal.path.with_name("operator"), journal.path)
    made.refill()
    yield made
    made.close()


def says(monkeypatch, answer):
    def ask(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(device, "ask", ask)


def test_what_was_published_before_confirms_nothing(one, journal, monkeypatch):
    """The switch has opened a moment ago, and the journal does not say so yet."""
    says(monkeypatch, {"done": True, "position": "OFF"})
    assert one.check(CLOSE) is AddCause.NONE
    assert one.start(CLOSE) is AddCause.NONE
    assert one.outcome(CLOSE) is None
    journal(1, time.time_ns())
    assert one.outcome(CLOSE) is None
    journal(2, time.time_ns())
    assert one.outcome(CLOSE) is AddCause.NONE


def test_an_order_that_is_answered_late_may_be_carried_out_and_is_not_called_refused(one, journal, monkeypatch):
    says(monkeypatch, AgentLateError("late"))
    assert one.check(CLOSE) is AddCause.BLOCKED_BY_HEALTH
    assert one.start(CLOSE) is AddCause.NONE
    assert one.outcome(CLOSE) is None
    journal(2, time.time_ns())
    assert one.outcome(CLOSE) is AddCause.NONE


def test_an_order_that_reaches_nobody_is_refused(one, monkeypatch):
    says(monkeypatch, AgentSilentError("gone"))
    assert one.start(CLOSE) is AddCause.BLOCKED_BY_HEALTH


@pytest.mark.parametrize(
    ("entry", "ended"),
    [
        ({"kind": "close refused", "reason": "LOCKED"}, AddCause.BLOCKED_BY_INTERLOCKING),
        ({"kind": "task finished", "how": "NO_CAPACITY"}, AddCause.BLOCKED_BY_INTERLOCKING),
        ({"kind": "task finished", "how": "NONE"}, None),
        ({"kind": "did not close"}, AddCause.BLOCKED_BY_PROCESS),
        ({"kind": "close refused", "reason": "OF_A_LATER_RELEASE"}, AddCause.UNKNOWN),
    ],
)
def test_why_a_close_did_not_come_about_is_said_with_its_cause(one, journal, monkeypatch, entry, ended):
    says(monkeypatch, {"done": True, "position": "OFF"})
    assert one.start(CLOSE) is AddCause.NONE
    with journal.path.open("a") as file:
        file.write(json.dumps({"t_ns": time.time_ns(), "mono": 1.0, **entry}) + "\n")
    assert one.outcome(CLOSE) is ended


def test_who_has_no_right_at_the_agent_is_told_so(one, monkeypatch):
    says(monkeypatch, {"done": False, "why": "user web has no right to operate", "access": False})
    assert one.check(CLOSE) is AddCause.NO_ACCESS_AUTHORITY
    assert one.start(CLOSE) is AddCause.NO_ACCESS_AUTHORITY


def test_the_agent_is_told_whom_the_client_says_it_is(one, monkeypatch):
    asked = []
    monkeypatch.setattr(device, "ask", lambda _, request, **__: asked.append(request) or {"done": True})
    one.start(replace(CLOSE, orIdent="dispatcher 3"))
    assert asked == [{"request": "close", "origin": "station", "by": "MMS 127.0.0.1:1", "orIdent": "dispatcher 3"}]


# -- supervision ------------------------------------------------------------------------------------------------------

FAST = "F1L2FLISR/LLN0$GO$gcbFast"


@pytest.fixture
def shown(one, monkeypatch):
    """What the server was told since the start, and how often."""
    told = {}
    update = one.server.update

    def note(values):
        for reference, value in values.items():
            told[reference] = (value, told.get(reference, (None, 0))[1] + 1)
        update(values)

    monkeypatch.setattr(one.server, "update", note)
    return told


def status(**streams):
    return {"done": True, "authority": "STATION", "streams": streams}


def test_each_stream_is_shown_by_the_node_that_watches_it(one, shown, monkeypatch):
    says(monkeypatch, status(**{FAST: [True, False, 7, 2, 3], "F9L9FLISR/LLN0$GO$gcbFast": [True, False, 1, 2, 2]}))
    assert one.look()
    assert one.look()
    node = {
        name: shown[f"FLISR/LGOS1.{name}.stVal"] for name in ("St", "SimSt", "LastStNum", "ConfRevNum", "RxConfRevNum")
    }
    assert node == {
        "St": (True, 1),
        "SimSt": (False, 1),
        "LastStNum": (7, 1),
        "ConfRevNum": (2, 1),
        "RxConfRevNum": (3, 1),
    }
    assert not any(name.startswith("FLISR/LGOS2.") for name in shown)
    says(monkeypatch, status(**{FAST: [False, True, 4_000_000_000, 2, None]}))
    assert one.look()
    node = {name: shown[f"FLISR/LGOS1.{name}.stVal"][0] for name in ("St", "SimSt", "LastStNum", "RxConfRevNum")}
    assert node == {"St": False, "SimSt": True, "LastStNum": 2**31 - 1, "RxConfRevNum": 0}


def test_the_loss_of_a_stream_has_the_time_at_which_the_agent_noticed_it(one, shown, journal, monkeypatch):
    says(monkeypatch, status(**{FAST: [True, False, 7, 2, 2]}))
    one.look()
    then = time.time_ns() - 5 * 10**8
    for kind, t_ns in (("StreamLost", then), ("StreamResumed", then + 10**8), ("StreamLost", then + 2 * 10**8)):
        with journal.path.open("a") as file:
            file.write(json.dumps({"t_ns": t_ns, "mono": 1.0, "kind": kind, "gocbRef": FAST}) + "\n")
    one.follow()
    assert shown["FLISR/LGOS1.St.stVal"] == (False, 4)
    seconds = UtcTime.decode(shown["FLISR/LGOS1.St.t"][0])
    assert seconds.to_ns() == pytest.approx(then + 2 * 10**8, abs=100)


@pytest.mark.parametrize(("quality", "accuracy", "synchronised"), [(0x3F, 31, 0), (10, 10, 1), (0x4A, 10, 0)])
def test_the_clock_is_shown_as_the_kernel_judges_it(one, shown, monkeypatch, quality, accuracy, synchronised):
    says(monkeypatch, status())
    monkeypatch.setattr(device, "time_quality", lambda: quality)
    one.look()
    clock = {name: shown[f"FLISR/LTMS1.{name}.stVal"][0] for name in ("TmSrc", "TmAcc", "TmSyn")}
    assert clock == {"TmSrc": "CLOCK_REALTIME", "TmAcc": accuracy, "TmSyn": synchronised}


def test_an_agent_of_another_release_that_says_nothing_of_streams_is_shown_all_the_same(one, monkeypatch):
    says(monkeypatch, {"done": True, "authority": "LOCAL"})
    assert one.look()
