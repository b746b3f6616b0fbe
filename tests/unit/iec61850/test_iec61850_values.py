"""Quality, Dbpos, UtcTime and the types of MMS Data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, INVALID, OLD_DATA, QUESTIONABLE, Quality, Validity
from ied_agents.iec61850.utctime import TimeQuality, UtcTime

# IEC 61850-8-1 numbers the bits from the left: bit 0 is the first on the wire.
QUALITY_BITS = {
    "overflow": 2,
    "outOfRange": 3,
    "badReference": 4,
    "oscillatory": 5,
    "failure": 6,
    "oldData": 7,
    "inconsistent": 8,
    "inaccurate": 9,
    "substituted": 10,
    "test": 11,
    "operatorBlocked": 12,
}


@pytest.mark.parametrize(("name", "bit"), QUALITY_BITS.items())
def test_quality_bits_stand_where_the_standard_puts_them(name, bit):
    quality = Quality(**{name: True})
    assert quality.to_bit_string() == BitString(1 << 12 - bit, 13)
    assert Quality.from_bit_string(BitString(1 << 12 - bit, 13)) == quality


def test_validity_is_the_first_two_bits():
    assert GOOD.to_int() == 0
    assert INVALID.to_int() == 0b01 << 11
    assert QUESTIONABLE.to_int() == 0b11 << 11
    assert OLD_DATA.to_int() == 0b11 << 11 | 1 << 5
    assert Quality.from_int(0b10 << 11).validity is Validity.RESERVED


@given(st.integers(0, (1 << 13) - 1))
def test_every_quality_survives(number):
    assert Quality.from_int(number).to_int() == number


@pytest.mark.parametrize("bits", [BitString(0, 12), BitString(0, 14), BitString(0, 0)])
def test_quality_has_13_bits(bits):
    with pytest.raises(ValueError, match="13 bits"):
        Quality.from_bit_string(bits)


@pytest.mark.parametrize("number", [-1, 1 << 13])
def test_quality_number_of_more_bits_is_refused(number):
    with pytest.raises(ValueError, match="13 bits"):
        Quality.from_int(number)


@pytest.mark.parametrize(
    ("position", "number"), [(Dbpos.INTERMEDIATE, 0), (Dbpos.OFF, 1), (Dbpos.ON, 2), (Dbpos.BAD, 3)]
)
def test_dbpos(position, number):
    assert position.to_bit_string() == BitString(number, 2)
    assert Dbpos.from_bit_string(BitString(number, 2)) is position


def test_dbpos_has_two_bits():
    with pytest.raises(ValueError, match="2 bits"):
        Dbpos.from_bit_string(BitString(1, 3))


def test_utc_time_on_the_wire():
    # From the corpus: GOOSE.pcap's t, which tshark shows as Jan 2, 2000 02:46:11.258165836 UTC.
    t = UtcTime.decode(bytes.fromhex("386ebbf34217280a"))
    assert t == UtcTime(946781171, 0x421728, 0x0A)
    assert t.to_ns() == pytest.approx(946781171_258165836, abs=1)
    assert t.encode().hex() == "386ebbf34217280a"


@given(st.builds(UtcTime, st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1), st.integers(0, 255)))
def test_utc_time_survives_octets_and_nanoseconds(t):
    assert UtcTime.decode(t.encode()) == t
    assert UtcTime.from_ns(t.to_ns(), t.quality) == t


@given(st.integers(0, 2**32 * 10**9 - 1))
def test_utc_time_is_never_later_than_the_time_it_was_made_of(ns):
    assert -1 <= ns - UtcTime.from_ns(ns).to_ns() < 60


def test_utc_time_from_seconds():
    assert UtcTime.from_seconds(1.5, TimeQuality.NOT_SYNCHRONISED | 10) == UtcTime(1, 1 << 23, 0x2A)


@pytest.mark.parametrize("ns", [-1, 2**32 * 10**9])
def test_utc_time_out_of_range(ns):
    with pytest.raises(ValueError, match="1970 to 2106"):
        UtcTime.from_ns(ns)


@pytest.mark.parametrize("ns", [-1, -(10**18), 2**32 * 10**9, 10**30])
def test_a_clock_out_of_range_has_failed(ns):
    told = UtcTime.of_clock(ns, TimeQuality.NOT_SYNCHRONISED | 10)
    assert told == UtcTime(0 if ns < 0 else 2**32 - 1, 0 if ns < 0 else 2**24 - 1, 0x6A)
    assert UtcTime.decode(told.encode()) == told


def test_a_clock_in_range_is_told_as_it_is():
    assert UtcTime.of_clock(1_500_000_000, 10) == UtcTime(1, 1 << 23, 10)


@pytest.mark.parametrize("t", [UtcTime(-1), UtcTime(2**32), UtcTime(0, 2**24), UtcTime(0, 0, 256), UtcTime(0, -1)])
def test_utc_time_that_does_not_fit_is_not_encoded(t):
    with pytest.raises(ValueError, match="8 octets"):
        t.encode()


def test_utc_time_quality():
    with pytest.raises(ValueError, match="octet"):
        UtcTime.from_ns(0, 256)
    assert UtcTime(0, 0, 0x80).leap_seconds_known
    assert UtcTime(0, 0, 0x40).clock_failure
    assert UtcTime(0, 0, 0x20).clock_not_synchronised
    none = UtcTime(0, 0, 0x1F)
    assert [none.leap_seconds_known, none.clock_failure, none.clock_not_synchronised] == [False] * 3
    assert none.accuracy_bits is None
    assert UtcTime(0, 0, 0xE0 | 24).accuracy_bits == 24


@pytest.mark.parametrize("size", [0, 7, 9])
def test_utc_time_has_8_octets(size):
    with pytest.raises(ValueError, match="8 octets"):
        UtcTime.decode(bytes(size))


def test_values_equal_their_own_kind_only():
    kinds = [
        *(Unsigned(1), Bcd(1), Float64(1.0), 1),
        *(BitString(1, 2), BooleanArray(1, 2), BinaryTime(1, 2), Structure((1, 2)), Array((1, 2)), (1, 2)),
        *(MMSString("1.2"), ObjectId("1.2"), "1.2", b"1.2"),
        UtcTime(1, 2, 0),
    ]
    for row, one in enumerate(kinds):
        for column, other in enumerate(kinds):
            assert (one == other) == (row == column)
            assert (one != other) == (row != column)
    assert len(set(kinds)) == len(kinds)
    assert Unsigned(1) == Unsigned(1)
    assert Structure((Unsigned(1),)) != Structure((1,))


def test_values_show_what_they_are():
    array = Array((BooleanArray(1, 2),))
    value = Structure((Unsigned(1), Bcd(2), Float64(0.5), MMSString("a"), array))
    assert repr(array) == "Array((BooleanArray(value=1, size=2),))"
    assert repr(value) == f"Structure((Unsigned(1), Bcd(2), Float64(0.5), MMSString('a'), {array}))"
