"""What a worker and the gateway say to each other, and what the gateway makes of garbage."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.mms import worker_messages as m

MESSAGES = [
    m.Alive(),
    m.Connected({"LD/A.B": "gone"}),
    m.Enabled("LD/LLN0.BR.b01", resumed=False),
    m.Noted("said"),
    m.Told(
        "LD/LLN0.BR.b01", bytes(8), True, False, 1_600_000_000_000, {"LD/A.B": {"stVal": b"\x83\x01\x01", "q": b""}}
    ),
    m.Confirmed(7),
    m.Ended(7, "", unknown=True),
    m.Lost("cut"),
]
ORDERS = [
    m.Begin(
        "host",
        102,
        5.0,
        2.5,
        30.0,
        (m.Watched("LD/A.B", "ST", ("stVal", "q")),),
        (m.Blocks(("b",), True),),
        {"b": b"12"},
        ("own.pem", "own.key", "authority.pem"),
    ),
    *(m.Order(1, "execute", "LD/A.B", value, False, "west/3", 12.5) for value in (True, 2, 2.5)),
]


def body(message):
    octets = m.frame(message)
    (length,) = m.LENGTH.unpack(octets[:4])
    assert length == len(octets) - 4
    return octets[4:]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_a_workers_message_is_read_as_it_was_written(message):
    assert m.read_from_worker(body(message)) == message


@pytest.mark.parametrize("message", ORDERS)
def test_a_gateways_message_is_read_as_it_was_written(message):
    read = m.read_to_worker(body(message))
    assert read == message
    if isinstance(message, m.Order):
        assert type(read.value) is type(message.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "no pair"),
        ('["Told"]', "no pair"),
        ('["Order", {}]', "'Order'; expected one of"),
        ('["Lost", {}]', "why: missing; expected a text"),
        ('["Lost", {"why": 1}]', "why: 1; expected a text"),
        ('["Lost", {"why": "", "more": 1}]', "Lost: has no 'more'"),
        ('["Confirmed", {"number": true}]', "number: True; expected a whole number"),
        ('["Confirmed", {"number": -1}]', "expected 0 or more"),
        ('["Confirmed", {"number": 1e999}]', "expected a whole number"),
        ('["Ended", {"number": 1, "why": "", "unknown": 0}]', "unknown: 0; expected true or false"),
        ('["Connected", {"missing": {"a": 1}}]', "missing: 1; expected a text"),
    ],
)
def test_what_is_no_message_is_named(text, why):
    with pytest.raises(m.WorkerMessageError) as said:
        m.read_from_worker(text.encode())
    assert why in str(said.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
_MEMBERS = {name for each in MESSAGES for name in json.loads(body(each))[1]}


@given(st.binary(max_size=60) | st.builds(lambda x: json.dumps(x).encode(), _JSON))
def test_any_octets_are_a_message_or_are_refused(octets):
    with pytest.raises(m.WorkerMessageError):
        m.read_from_worker(octets)


@given(
    st.sampled_from([type(each).__name__ for each in MESSAGES]),
    st.dictionaries(st.sampled_from(sorted(_MEMBERS)), _JSON, max_size=6),
)
def test_any_members_are_a_message_or_are_refused(name, members):
    with contextlib.suppress(m.WorkerMessageError):
        m.read_from_worker(json.dumps([name, members]).encode())
