"""What a control's outcome is, where the journal lags behind the switch or the agent answers late."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

import scl
from ied_agents.iec61850.addcause import AddCause
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
