"""Which commands by MQTT come to the desk, and what is replied; no broker, no clock."""

from __future__ import annotations

import json

import pytest
from mqtt_world import BREAKER, LAMP, TOPICS, config

from gateway.adapters import mqtt_commands
from gateway.adapters.mqtt_commands import BrokerCommands, CommandMessage
from gateway.iec104.asdu import Cause
from gateway.iec104.commands import Answer

S = 10**9
BEGAN = 1_795_000_000 * S
NOW = BEGAN + 100 * S


class Desk:
    def __init__(self, began=BEGAN):
        self.asked, self.said, self.kept = [], [], []
        self.commands = BrokerCommands(config(), self.asked.append, self.said.append, self.kept.append, began)

    def take(self, value="on", *, at=NOW, now=NOW, name=BREAKER, correlation=b"1", payload=None, **more):
        text = {"value": value, "time": _text(at)} | more.pop("said", {})
        payload = json.dumps(text).encode() if payload is None else payload
        self.commands.take(
            CommandMessage(TOPICS.root + "/command/" + name, payload, correlation=correlation, **more), now
        )
        return self.replies()

    def answer(self, cause, why="", **more):
        self.commands.answered(Answer(None, self.asked[-1].token, cause, bool(why), why, **more), NOW)
        return self.replies()

    def replies(self):
        said, self.said[:] = list(self.said), []
        return [(json.loads(each.payload)["result"], json.loads(each.payload).get("reason", "")) for each in said]


def _text(t_ns):
    from gateway.points.words import time_text

    return time_text(t_ns)


def test_a_reply_goes_to_the_response_topic_with_the_correlation_data():
    desk = Desk()
    desk.take(reply_to="desk/7", correlation=b"\0k")
    desk.commands.answered(Answer(None, desk.asked[0].token, Cause.ACTIVATION_CON, negative=False), NOW)
    (said,) = desk.said
    assert (said.topic, said.correlation, said.retain) == ("desk/7", b"\0k", False)


def test_an_answer_is_of_its_command():
    desk = Desk()
    desk.take(correlation=b"1")
    desk.take(value=True, name=LAMP, correlation=b"2")
    first, second = desk.asked
    assert first.token != second.token
    assert desk.answer(Cause.ACTIVATION_CON) == [("accepted", "")]
    assert desk.answer(Cause.TERMINATION, "why") == [("failed", "why")]
    assert desk.answer(Cause.TERMINATION) == []  # nothing is said after what was final
    desk.commands.answered(Answer(None, b"77", Cause.TERMINATION, negative=False), NOW)
    assert desk.replies() == []


def test_what_does_not_come_as_far_as_the_desk_is_in_the_audit_trail():
    desk = Desk()
    ((_, why),) = desk.take(retained=True)
    (kept,) = desk.kept
    assert (kept.via, kept.outcome, kept.name, kept.why) == ("mqtt", "refused", BREAKER, why)
    desk.take()
    assert len(desk.kept) == 1, "the rest is the desk's"


@pytest.mark.parametrize(("ahead_s", "taken"), [(-10.5, False), (-9.5, True), (9.5, True), (10.5, False)])
def test_age(ahead_s, taken):
    desk = Desk()
    desk.take(at=NOW + round(ahead_s * S))
    assert len(desk.asked) == taken


def test_what_may_have_been_executed_before_the_start_is_not():
    desk = Desk(began=NOW - 5 * S)
    ((result, why),) = desk.take(at=NOW - 6 * S)
    assert (result, desk.asked) == ("refused", [])
    assert "may have been executed before" in why
    # Its time may be of another clock: what the broker says it has delivered before is not trusted for as long.
    desk.take(at=NOW, again=True, correlation=b"2")
    assert desk.asked == []
    desk.take(at=NOW + 10 * S, now=NOW + 10 * S, again=True, correlation=b"3")
    assert len(desk.asked) == 1


def test_expired_by_the_broker_and_without_identity():
    desk = Desk()
    assert "expiry" in desk.take(expired=True)[0][1]
    assert "no id" in desk.take(correlation=b"")[0][1]
    assert desk.asked == []
    desk.take(correlation=b"", said={"id": "k"})
    desk.take(correlation=b"", said={"id": "k"})
    assert len(desk.asked) == 1


def test_again_before_it_is_decided_is_answered_once_it_is():
    desk = Desk()
    assert desk.take() == desk.take() == []
    assert desk.answer(Cause.ACTIVATION_CON) == [("accepted", "")]
    assert desk.take(again=True) == [("accepted", "")]
    # Even when it is too old by now: the truth about it is known.
    assert desk.take(again=True, now=NOW + 60 * S) == [("accepted", "")]
    assert len(desk.asked) == 1


def test_another_who_asks_with_the_same_number_is_another():
    desk = Desk()
    desk.take(reply_to="a", correlation=b"1")
    desk.take(reply_to="b", correlation=b"1")
    assert len(desk.asked) == 2


def test_what_is_remembered_is_bounded_and_none_is_forgotten_that_could_be_executed_twice(monkeypatch):
    monkeypatch.setattr(mqtt_commands, "_MOST_KNOWN", 5)
    desk = Desk()
    for number in range(7):
        desk.take(correlation=b"%d" % number)
    assert len(desk.asked) == 5
    later = NOW + 21 * S
    desk.take(at=later, now=later, correlation=b"late")
    assert len(desk.asked) == 6
    assert len(desk.commands._known) == 5


def test_garbage_is_not_logged_without_end(caplog):
    desk = Desk()
    for _ in range(300):
        assert desk.take(payload=b"{")[0][0] == "refused"
    assert len(caplog.records) == 100


def test_a_correlation_or_id_that_is_none_of_ours():
    desk = Desk()
    assert "correlation data of 300 octets" in desk.take(correlation=b"x" * 300)[0][1]
    for each in (7, None, ["k"], "x" * 500):
        ((_, why),) = desk.take(said={"id": each})
        assert why.startswith("id ")
