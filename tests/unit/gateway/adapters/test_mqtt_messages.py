"""Topics and JSON of MQTT: each against docs/mqtt-schema.json."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schemas import faults

from gateway.adapters.mqtt_messages import (
    CommandAsked,
    CommandError,
    Topics,
    point_json,
    read_command,
    reply_json,
    status_json,
    topic_fault,
)
from gateway.points.point import KINDS, PointValue

TOPICS = Topics("flisr", "north")
T_NS = 1_795_000_000_123_456_789
VALUES = [
    ("SPS", True, True),
    ("DPC", 0, "intermediate"),
    ("DPS", 1, "off"),
    ("DPC", 2, "on"),
    ("DPS", 3, "bad"),
    ("ENS", 7, 7),
    ("MV", 1.25, 1.25),
    ("MV", math.nan, "nan"),
    ("CMV", math.inf, "inf"),
    ("APC", -math.inf, "-inf"),
    ("BSC", (-3, 1), {"position": -3, "transient": True}),
    ("BCR", 2**60, 2**60),
    ("ACT", (1,), {"general": True}),
    ("ACT", (1, 0, 1, 0, 0), {"general": True, "phsA": False, "phsB": True, "phsC": False, "neut": False}),
    ("ACD", (1, 2, 1), {"general": True, "dirGeneral": "backward", "phsA": True}),
]


@pytest.mark.parametrize(("cdc", "value", "said"), VALUES)
def test_a_value_in_json(cdc, value, said):
    event = json.loads(point_json("A/B.C", cdc, PointValue(value, 0, T_NS, 10, T_NS + 1), 5))
    assert faults(event, "event") == []
    assert event == {
        "point": "A/B.C",
        "cdc": cdc,
        "value": said,
        "quality": "good",
        "time": "2026-11-18T11:06:40.123456789Z",
        "clock": "",
        "arrived": "2026-11-18T11:06:40.123456790Z",
        "sequence": 5,
    }
    state = json.loads(point_json("A/B.C", cdc, PointValue(value, 0, T_NS, 10, T_NS + 1)))
    assert faults(state, "state") == []
    assert state == {key: each for key, each in event.items() if key != "sequence"}


@given(st.integers(0, (1 << 13) - 1), st.integers(0, 255), st.integers(0, 1 << 62))
def test_every_quality_and_time_fits_the_schema(quality, clock, t_ns):
    event = json.loads(
        point_json("A/B.C", "SPS", PointValue(value=True, quality=quality, t_ns=t_ns, time_quality=clock), 1)
    )
    assert faults(event, "event") == []
    assert event["quality"].startswith("good") == (quality >> 11 == 0)


def test_what_nobody_has_told_is_invalid_and_has_no_time():
    said = json.loads(point_json("A/B.C", "MV", None))
    assert faults(said, "unknown_state") == []
    assert said["quality"] == "invalid"


def test_every_class_has_a_form():
    assert {cdc for cdc, *_ in VALUES} >= {"SPS", "DPC", "ENS", "MV", "BSC", "BCR", "ACT", "ACD"}
    assert {KINDS[cdc] for cdc, *_ in VALUES} == set(KINDS.values())


def test_status_and_reply_fit_the_schema():
    assert faults(json.loads(status_json("online", "", T_NS)), "status") == []
    assert faults(json.loads(status_json("offline", "why")), "status") == []
    reply = json.loads(reply_json("A/B.C", "failed", "why", T_NS, final=True, id="7", repeated=True))
    assert faults(reply, "reply") == []


def test_the_schema_can_be_missed():
    event = json.loads(point_json("A/B.C", "SPS", PointValue(value=True, t_ns=T_NS), 1))
    for wrong in (
        event | {"quality": "fine"},
        event | {"time": "2026-11-18"},
        event | {"sequence": 0},
        event | {"sequence": True},
        event | {"value": "maybe"},
        event | {"more": 1},
        {key: each for key, each in event.items() if key != "clock"},
    ):
        assert faults(wrong, "event"), wrong


@pytest.mark.parametrize("topic", ["desk/7", "flisr/north/reply/ana", "other/flisr/x"])
def test_replies_go_where_who_asks_may_listen(topic):
    assert TOPICS.reply_fault(topic) == ""


@pytest.mark.parametrize(
    "topic",
    [
        "", "a/#", "+/a", "$SYS/x", "flisr", "flisr/north/state/A", "flisr/south/command/A", "flisr/north/reply/#",
        "x" * 70_000,
    ],
)  # fmt: skip
def test_replies_do_not_speak_in_the_gateways_name(topic):
    assert TOPICS.reply_fault(topic)


@pytest.mark.parametrize("text", ["", "A/#", "A+B", "/A", "A/", "$A", "A\nB", "A\0", "ä" * 30_000])
def test_what_cannot_stand_in_a_topic(text):
    assert topic_fault(text)


@pytest.mark.parametrize(
    ("cdc", "value", "read"),
    [
        ("SPC", True, True),
        ("DPC", "on", True),
        ("DPC", "off", False),
        ("INC", -5, -5),
        ("ENC", 3, 3),
        ("ISC", 7, 7),
        ("APC", 2, 2.0),
        ("BSC", "lower", 1),
        ("BAC", "higher", 2),
    ],
)
def test_a_command_is_read(cdc, value, read):
    said = {
        "id": "k",
        "step": "select",
        "value": value,
        "time": "2026-11-18T12:06:40.5+01:00",
        "by": "ana",
        "test": True,
    }
    assert faults(said, "command") == []
    asked = read_command(json.dumps(said).encode(), cdc)
    assert asked == CommandAsked("k", "select", read, 1_795_000_000_500_000_000, "ana", test=True)
    assert type(asked.value) is type(read)


@pytest.mark.parametrize(
    ("cdc", "value"),
    [
        ("SPC", 1), ("SPC", "on"), ("DPC", True), ("DPC", 2), ("DPC", ["on"]), ("INC", 1.0), ("INC", True),
        ("INC", 2**31),
        ("APC", "1"), ("APC", True), ("APC", 1e39), ("BSC", 1), ("BSC", "up"), ("ENC", None),
    ],
)  # fmt: skip
def test_a_value_that_is_none_of_the_class_is_refused(cdc, value):
    with pytest.raises(CommandError, match=f"for a {cdc}"):
        read_command(json.dumps({"value": value, "time": "2026-11-18T12:06:40Z"}).encode(), cdc)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "step", "value", "time", "by", "test", "x"]), inner, max_size=6)
    ),
)


@given(st.binary(max_size=200) | JSON.map(lambda each: json.dumps(each).encode()))
def test_whatever_comes_is_a_command_or_an_error_that_says_what_was_expected(payload):
    for cdc in ("SPC", "DPC", "INC", "APC", "BSC"):
        try:
            read_command(payload, cdc)
        except CommandError as error:
            assert 10 < len(str(error)) < 300  # noqa: PT017 - most examples raise, some need not
