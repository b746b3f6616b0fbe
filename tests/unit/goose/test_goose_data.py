"""MMS Data to octets and back. Beside these, tests/golden reads our octets with tshark."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.goose.data import MAX_DEPTH, MAX_VALUES, decode_all_data, encode_all_data, encode_data
from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.iec61850.data import (
    Array,
    Bcd,
    BinaryTime,
    BitString,
    BooleanArray,
    Float64,
    MMSString,
    ObjectId,
    Structure,
    Unsigned,
)
from ied_agents.iec61850.utctime import UtcTime


def float32(value):
    return struct.unpack(">f", struct.pack(">f", value))[0]


visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=140)
bits = st.integers(0, 70).flatmap(lambda size: st.tuples(st.integers(0, max(2**size - 1, 0)), st.just(size)))
basic = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1).map(Unsigned),
    st.integers(0, 2**64 - 1).map(Bcd),
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False).map(Float64),
    st.binary(max_size=300),
    visible,
    st.text(max_size=60).map(MMSString),
    bits.map(lambda pair: BitString(*pair)),
    bits.map(lambda pair: BooleanArray(*pair)),
    st.builds(BinaryTime, st.integers(0, 86_399_999), st.none() | st.integers(0, 65_535)),
    st.builds(UtcTime, st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1), st.integers(0, 255)),
    st.tuples(st.integers(0, 1), st.integers(0, 39), st.integers(0, 2**60)).map(
        lambda arcs: ObjectId(".".join(map(str, arcs)))
    ),
)
data = st.recursive(
    basic,
    lambda members: st.lists(members, max_size=4).map(Structure) | st.lists(members, max_size=4).map(Array),
)


@given(st.lists(data, max_size=12))
def test_values_survive_strict_and_lenient(values):
    octets = encode_all_data(values)
    for strict in (True, False):
        again = decode_all_data(octets, strict=strict)
        assert again == tuple(values)
        assert repr(again) == repr(tuple(values))
    assert decode_all_data(memoryview(octets)) == tuple(values)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (True, "830101"),
        (False, "830100"),
        (0, "850100"),
        (127, "85017f"),
        (128, "85020080"),
        (-1, "8501ff"),
        (-128, "850180"),
        (-129, "8502ff7f"),
        (Unsigned(255), "860200ff"),
        (1.5, "8705083fc00000"),
        (Float64(1.5), "87090b3ff8000000000000"),
        (BitString(1, 2), "84020640"),
        (BitString(0, 13), "8403030000"),
        (b"\x01", "890101"),
        ("abc", "8a03616263"),
        (MMSString("ä"), "9002c3a4"),
        (BinaryTime(1000), "8c04000003e8"),
        (BinaryTime(1000, 1), "8c06000003e80001"),
        (ObjectId("1.0.9506.2.3"), "8f0528ca220203"),
        (ObjectId("2.999.3"), "8f03883703"),
        (UtcTime(0x4886_5D1F, 0x540000, 0x0A), "910848865d1f5400000a"),
        (Structure((True, Array((1,)))), "a208830101a103850101"),
        ("x" * 128, "8a8180" + "78" * 128),
        (b"\0" * 256, "89820100" + "00" * 256),
    ],
)
def test_octets(value, octets):
    assert encode_data(value).hex() == octets
    assert decode_all_data(bytes.fromhex(octets)) == (value,)


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("8505000000002a", 42),
        ("8505ffffffffd6", -42),
        ("8509000000000000000001", 1),
        ("86050000000001", Unsigned(1)),
        ("8609" + "00" + "ff" * 8, Unsigned(2**64 - 1)),
        ("8301ff", True),
        ("8e020740", None),
    ],
)
def test_fixed_length_integers_are_plain_ber(octets, value):
    if value is None:
        with pytest.raises(GooseDecodeError, match="padding"):
            decode_all_data(bytes.fromhex(octets))
        return
    assert decode_all_data(bytes.fromhex(octets)) == (value,)
    assert decode_all_data(bytes.fromhex(octets), strict=False) == (value,)


@pytest.mark.parametrize(
    ("octets", "lenient", "reason"),
    [
        ("83810101", True, "too many"),
        ("8382000101", True, "too many"),
        ("84020641", BitString(1, 2), "padding"),
        ("8403030007", BitString(0, 13), "padding"),
        ("8601ff", Unsigned(255), "sign bit"),
        ("87043fc00000", 1.5, "of 4 octets"),
        ("87083ff8000000000000", Float64(1.5), "of 8 octets"),
        ("8705003fc00000", 1.5, "exponent"),
        ("87090b3ff8000000000000", Float64(1.5), None),
        ("8a03610062", "a\0b", "visible string"),
        ("8a01e4", "ä", "visible string"),
        ("9001e4", MMSString("\\xe4"), "UTF-8"),
        ("8c0405265c00", BinaryTime(86_400_000), "more than a day"),
    ],
)
def test_what_only_lenient_reading_takes(octets, lenient, reason):
    raw = bytes.fromhex(octets)
    assert repr(decode_all_data(raw, strict=False)) == repr((lenient,))
    if reason is None:
        assert decode_all_data(raw) == (lenient,)
        return
    with pytest.raises(GooseDecodeError, match=reason) as caught:
        decode_all_data(b"\x83\x01\x01" + raw)
    assert caught.value.field == "allData[2]"
    assert 3 <= caught.value.offset < 3 + len(raw)


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        ("83", "allData[1]", 0),
        ("8301", "allData[1]", 0),
        ("83010185", "allData[2]", 3),
        ("8300", "allData[1]", 0),
        ("83020101", "allData[1]", 0),
        ("8500", "allData[1]", 0),
        ("850a" + "00" * 10, "allData[1]", 0),
        ("8600", "allData[1]", 0),
        ("8400", "allData[1]", 0),
        ("840108", "allData[1]", 2),
        ("840101", "allData[1]", 2),
        ("84020800", "allData[1]", 2),
        ("8700", "allData[1]", 0),
        ("870608" + "00" * 5, "allData[1]", 0),
        ("8c0500" + "00" * 4, "allData[1]", 0),
        ("9107" + "00" * 7, "allData[1]", 0),
        ("8f00", "allData[1]", 2),
        ("8f0181", "allData[1]", 2),
        ("8f028001", "allData[1]", 2),
        ("8f0b2a" + "ff" * 9 + "01", "allData[1]", 12),
        ("8800", "allData[1]", 0),
        ("a000", "allData[1]", 0),
        ("0000", "allData[1]", 0),
        ("8380", "allData[1]", 0),
        ("83850000000001", "allData[1]", 0),
        ("8384ffffffff", "allData[1]", 0),
        ("838201", "allData[1]", 0),
        ("a20483010185", "allData[1][2]", 5),
        ("830101a204a1028305", "allData[2][1][1]", 7),
        ("830101a203830201", "allData[2][1]", 5),
    ],
)
def test_what_nobody_takes(octets, field, offset):
    for strict in (True, False):
        with pytest.raises(GooseDecodeError) as caught:
            decode_all_data(bytes.fromhex(octets), strict=strict)
        assert (caught.value.field, caught.value.offset) == (field, offset)


def nested(depth):
    value = True
    for _ in range(depth):
        value = Structure((value,))
    return value


def test_depth_is_limited():
    assert decode_all_data(encode_data(nested(MAX_DEPTH))) == (nested(MAX_DEPTH),)
    for strict in (True, False):
        with pytest.raises(GooseDecodeError, match="levels deep"):
            decode_all_data(encode_data(nested(MAX_DEPTH + 1)), strict=strict)


def test_count_is_limited():
    assert len(decode_all_data(b"\x83\x01\x00" * MAX_VALUES)) == MAX_VALUES
    with pytest.raises(GooseDecodeError, match="values"):
        decode_all_data(b"\x83\x01\x00" * (MAX_VALUES + 1))
    many = encode_data(Array((False,) * (MAX_VALUES // 2)))
    with pytest.raises(GooseDecodeError, match="values"):
        decode_all_data(many * 2)


@pytest.mark.parametrize(
    "value",
    [
        None,
        (1, 2),
        [1],
        1j,
        2**63,
        -(2**63) - 1,
        Unsigned(-1),
        Unsigned(2**64),
        Bcd(-1),
        1e39,
        BitString(4, 2),
        BitString(0, -1),
        BitString(-1, 8),
        "ä",
        MMSString("\ud800"),
        BinaryTime(86_400_000),
        BinaryTime(-1),
        BinaryTime(0, 65_536),
        UtcTime(-1),
        ObjectId("1"),
        ObjectId("1.40"),
        ObjectId("3.1"),
        ObjectId("1.0.-1"),
        ObjectId("one.two"),
        Structure((True, None)),
    ],
)
def test_what_has_no_encoding(value):
    with pytest.raises(GooseEncodeError):
        encode_data(value)


def test_not_a_number_survives():
    (one, two) = decode_all_data(encode_all_data((math.nan, Float64(math.nan))))
    assert math.isnan(one)
    assert math.isnan(two)
    assert type(two) is Float64


@given(st.binary(max_size=80), st.booleans())
def test_any_octets_give_a_value_or_a_located_error(octets, strict):
    outcome = decoded(octets, strict=strict)
    if isinstance(outcome, GooseDecodeError):
        assert 0 <= outcome.offset <= len(octets)
        assert outcome.field.startswith("allData")
    elif strict:
        assert repr(decode_all_data(encode_all_data(outcome))) == repr(outcome)


def decoded(octets, *, strict):
    try:
        return decode_all_data(octets, strict=strict)
    except GooseDecodeError as error:
        return error
