"""Point values, what may be in them, and their stored form."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.points.point import (
    KINDS,
    Kind,
    PointConfig,
    PointDecodeError,
    PointError,
    PointValue,
    decode_value,
    encode_value,
    fault_of,
)
from ied_agents.iec61850.dbpos import Dbpos

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
values = st.one_of(st.booleans(), int64, st.floats(allow_nan=False), st.text(), st.lists(int64, max_size=6).map(tuple))
point_values = st.builds(PointValue, values, st.integers(0, 0x1FFF), int64, st.integers(0, 255), int64)


@given(point_values)
def test_stored_form_gives_the_value_back(point):
    again = decode_value(encode_value(point))
    assert again == point
    assert type(again.value) is type(point.value)


def test_stored_form_is_what_it_was():
    # The log is on disk: octets of version 1 must be read by every later version.
    octets = encode_value(PointValue(True, 0x1801, 2, 0x2A, 3))
    assert octets.hex() == "1118012a00000000000000020000000000000003"
    assert encode_value(PointValue(1.5))[20:].hex() == "3ff8000000000000"


def test_no_number_is_stored_too():
    assert math.isnan(decode_value(encode_value(PointValue(math.nan))).value)


@given(st.binary(max_size=40))
def test_any_octets_are_a_value_or_a_located_error(octets):
    try:
        point = decode_value(octets)
    except PointDecodeError as caught:
        error = caught
    else:
        assert decode_value(encode_value(point)) == point or math.isnan(point.value)
        return
    assert 0 <= error.offset <= len(octets)
    assert error.field


def test_every_octet_short_is_an_error():
    octets = encode_value(PointValue((1, 2, 3)))
    for size in range(len(octets)):
        if size in (20, 28, 36):  # fewer numbers; the log's own length and CRC tell these apart
            continue
        with pytest.raises(PointDecodeError):
            decode_value(octets[:size])


@pytest.mark.parametrize(
    ("octets", "field"),
    [
        (b"", "head"),
        (struct.pack(">BHBqq", 0x21, 0, 0, 0, 0), "version"),
        (struct.pack(">BHBqq", 0x11, 0x2000, 0, 0, 0), "quality"),
        (struct.pack(">BHBqq", 0x1F, 0, 0, 0, 0), "value"),
        (struct.pack(">BHBqq", 0x11, 0, 0, 0, 0) + b"x", "value"),
        (struct.pack(">BHBqq", 0x14, 0, 0, 0, 0) + b"\xff", "value"),
        (struct.pack(">BHBqq", 0x15, 0, 0, 0, 0) + b"xyz", "value"),
    ],
)
def test_errors_name_the_field(octets, field):
    with pytest.raises(PointDecodeError) as caught:
        decode_value(octets)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "point", [PointValue(1 << 63), PointValue((1 << 63,)), PointValue(1, 1 << 16), PointValue("\ud800")]
)
def test_what_cannot_be_stored_is_refused(point):
    with pytest.raises(PointError):
        encode_value(point)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Kind.SINGLE, [True, False], [0, 1, "on", None]),
        (Kind.DOUBLE, [0, 3, Dbpos.ON], [True, 4, -1, 1.0]),
        (Kind.INTEGER, [-5, 1 << 40], [True, 1.5, "1"]),
        (Kind.FLOAT, [1, 1.5, math.inf], [False, "1", (1,)]),
        (Kind.STEP, [(3, 0), (-64, True)], [3, (1,), (1, 2, 3), (1.0, 0)]),
        (Kind.COUNTER, [0, 1 << 62], [True, 1.0]),
        (Kind.ACTIVATION, [(1,), (1, 0, 0, 1, 0)], [(), (1,) * 6, True]),
        (Kind.DIRECTION, [(1,), (1, 2, 0, 1, 0, 1)], [(), (1,) * 7]),
    ],
)
def test_a_value_is_of_the_kind_of_its_point(kind, good, bad):
    assert [fault_of(kind, value) for value in good] == [""] * len(good)
    assert all(fault_of(kind, value) for value in bad)


def test_every_kind_is_that_of_some_class():
    assert set(KINDS.values()) == set(Kind)


@pytest.mark.parametrize("wrong", [{"cdc": "WYE"}, {"deadband": -1.0}, {"deadband": math.nan}])
def test_configuration_is_checked(wrong):
    with pytest.raises(PointError, match=r"F1Q1/XCBR1\.Pos"):
        PointConfig(**{"name": "F1Q1/XCBR1.Pos", "cdc": "DPC"} | wrong)
