"""Datagrams between plant and agent: whole, exact, and strict about anything else."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import (
    MAX_DATAGRAM,
    Direction,
    ProcessMessageError,
    SwitchCommand,
    SwitchInputs,
    Voltage,
    decode_command,
    decode_inputs,
    encode_command,
    encode_inputs,
)

INPUTS = SwitchInputs(
    switch=7,
    sequence=12,
    stamp_ns=1_795_348_072_509_546_630,
    position=Dbpos.ON,
    position_valid=True,
    pickup=True,
    direction=Direction.BACKWARD,
    direction_trusted=False,
    flow_a=-41.5,
    current_a=4041.5,
    voltage=(Voltage.PRESENT, Voltage.ABSENT),
    generation_a=(3.25, 0.0),
)

finite = st.floats(allow_nan=False, allow_infinity=False)
snapshots = st.builds(
    SwitchInputs,
    switch=st.integers(1, 32767),
    sequence=st.integers(0, 2**63 - 1),
    stamp_ns=st.integers(0, 2**63 - 1),
    position=st.sampled_from(Dbpos),
    position_valid=st.booleans(),
    pickup=st.booleans(),
    direction=st.sampled_from(Direction),
    direction_trusted=st.booleans(),
    flow_a=finite,
    current_a=finite,
    voltage=st.tuples(st.sampled_from(Voltage), st.sampled_from(Voltage)),
    generation_a=st.tuples(finite, finite),
)


@given(snapshots)
def test_a_snapshot_arrives_as_it_was_sent(inputs):
    datagram = encode_inputs(inputs)
    received = decode_inputs(datagram)
    assert received == inputs
    assert [type(value) for value in dataclasses.astuple(received)] == [
        type(value) for value in dataclasses.astuple(inputs)
    ]
    assert len(datagram) <= MAX_DATAGRAM


def test_the_datagram_is_this_json():
    assert json.loads(encode_inputs(INPUTS)) == {
        "v": 1,
        "switch": 7,
        "sequence": 12,
        "stamp_ns": 1795348072509546630,
        "position": 2,
        "position_valid": True,
        "pickup": True,
        "direction": 2,
        "direction_trusted": False,
        "flow_a": -41.5,
        "current_a": 4041.5,
        "voltage": [2, 1],
        "generation_a": [3.25, 0.0],
    }
    command = SwitchCommand(7, "close", 3)
    assert json.loads(encode_command(command)) == {"v": 1, "switch": 7, "operation": "close", "number": 3}
    assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("v", "1"),
        ("switch", 0),
        ("switch", 32768),
        ("switch", True),
        ("sequence", -1),
        ("stamp_ns", 1.5),
        ("position", 4),
        ("position_valid", 1),
        ("pickup", None),
        ("direction", -1),
        ("direction_trusted", "true"),
        ("flow_a", "1"),
        ("flow_a", float("nan")),
        ("current_a", float("inf")),
        ("current_a", 10**400),
        ("voltage", [1]),
        ("voltage", [1, 3]),
        ("voltage", [True, 1]),
        ("voltage", {"0": 1, "1": 1}),
        ("generation_a", []),
        ("generation_a", [1.0]),
        ("generation_a", [1.0, "2"]),
        ("extra", 1),
    ],
)
def test_a_wrong_member_is_named(field, value):
    message = json.loads(encode_inputs(INPUTS)) | {field: value}
    with pytest.raises(ProcessMessageError) as caught:
        decode_inputs(json.dumps(message).encode())
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["v", "switch", "stamp_ns", "voltage", "generation_a"])
def test_a_missing_member_is_named(field):
    message = json.loads(encode_inputs(INPUTS))
    del message[field]
    with pytest.raises(ProcessMessageError) as caught:
        decode_inputs(json.dumps(message).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("operation", ["trip", 1, None, ["open"]])
def test_a_command_opens_or_closes_and_nothing_else(operation):
    message = {"v": 1, "switch": 7, "operation": operation, "number": 3}
    with pytest.raises(ProcessMessageError) as caught:
        decode_command(json.dumps(message).encode())
    assert caught.value.field == "operation"


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\xff\xfe", b"[]", b"7", b"{", b"[" * 2000, b"1" * 2000, b" " * (MAX_DATAGRAM + 1), b'"\xc3"'],
)
def test_what_is_no_json_object_is_refused_as_a_whole(datagram):
    for decode in (decode_inputs, decode_command):
        with pytest.raises(ProcessMessageError) as caught:
            decode(datagram)
        assert caught.value.field == "message"


@given(st.binary(max_size=MAX_DATAGRAM + 10))
def test_any_octets_are_a_message_or_a_message_error(datagram):
    for decode in (decode_inputs, decode_command):
        with pytest.raises(ProcessMessageError):
            decode(datagram)


@given(st.data())
def test_a_damaged_message_is_a_message_or_a_message_error(data):
    octets = bytearray(encode_inputs(INPUTS))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        received = decode_inputs(bytes(octets))
    except ProcessMessageError:
        return
    assert decode_inputs(encode_inputs(received)) == received
