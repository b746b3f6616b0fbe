"""CP56Time2a and CP24Time2a: bits by hand, clock times of zones with all that clocks do."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.iec104.errors import Iec104DecodeError, Iec104EncodeError
from gateway.iec104.time_tag import CP24Time2a, CP56Time2a, TimeBase

MS = 1_000_000
ZONES = ["UTC", "Europe/Sarajevo", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]


def tag(text):
    return CP56Time2a(bytes.fromhex(text))


def ns(text):
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000) * MS


def test_parts_of_a_tag():
    # 0xCBC5 ms; IV, GEN, minute 30; SU, hour 13; Tuesday, day 5; month 12; year 23
    one = tag("c5cb de 8d 45 0c 17")
    assert (one.milliseconds, one.minute, one.hour) == (52165, 30, 13)
    assert (one.day, one.day_of_week, one.month, one.year) == (5, 2, 12, 23)
    assert one.invalid
    assert one.substituted
    assert one.summer
    assert one.valid_date


def test_parts_of_a_tag_with_all_the_other_bits():
    one = tag("3a34 21 72 1a f3 e3")
    assert (one.milliseconds, one.minute, one.hour) == (13370, 33, 18)
    assert (one.day, one.day_of_week, one.month, one.year) == (26, 0, 3, 99)
    assert not one.invalid
    assert not one.substituted
    assert not one.summer


def test_short_tag():
    one = CP24Time2a(bytes.fromhex("5fea bb"))
    assert (one.milliseconds, one.minute, one.invalid, one.substituted) == (59999, 59, True, False)
    assert CP24Time2a(bytes.fromhex("000040")).substituted


@pytest.mark.parametrize("kind", [CP56Time2a, CP24Time2a])
def test_tags_have_their_length(kind):
    for size in range(10):
        if size == kind.SIZE:
            assert kind(bytes(size)) == bytes(size)
            continue
        with pytest.raises(Iec104EncodeError, match=rf"{kind.__name__} has {kind.SIZE} octets, not {size}"):
            kind(bytes(size))


def test_utc():
    # From zeek's c_se_tb_1.test.
    one = tag("ddd9 03 09 10 07 18")
    assert TimeBase("UTC").decode(one) == TimeBase().decode(one) == ns("2024-07-16T09:03:55.773+00:00")
    assert TimeBase().encode(ns("2024-07-16T09:03:55.773+00:00") + 999_999) == one
    assert TimeBase().encode(ns("2024-07-16T09:03:55.773+00:00"), invalid=True) == tag("ddd9 83 09 10 07 18")


@pytest.mark.parametrize(
    ("octets", "time"),
    [
        ("0000 00 00 01 01 46", "1970-01-01T00:00:00+00:00"),
        ("5fea 3b 17 1f 0c 63", "1999-12-31T23:59:59.999+00:00"),
        ("0000 00 00 01 01 00", "2000-01-01T00:00:00+00:00"),
        ("0000 00 00 1d 02 18", "2024-02-29T00:00:00+00:00"),
        ("5fea 3b 17 1f 0c 45", "2069-12-31T23:59:59.999+00:00"),
    ],
)
def test_years(octets, time):
    assert TimeBase().encode(ns(time)) == tag(octets)
    assert TimeBase().decode(tag(octets)) == ns(time)


def test_summer_bit_tells_the_repeated_hour_apart():
    base = TimeBase("Europe/Sarajevo")
    first, second = ns("2026-10-25T02:30:00+02:00"), ns("2026-10-25T02:30:00+01:00")
    assert second - first == 3_600_000 * MS
    assert base.encode(first) == tag("0000 1e 82 19 0a 1a")
    assert base.encode(second) == tag("0000 1e 02 19 0a 1a")
    assert base.decode(tag("0000 1e 82 19 0a 1a")) == first
    assert base.decode(tag("0000 1e 02 19 0a 1a")) == second


def test_local_midnight_is_another_day():
    assert TimeBase("Europe/Sarajevo").encode(ns("2026-06-30T22:00:00+00:00")) == tag("0000 00 80 01 07 1a")


def test_irish_winter_time_is_no_summer_time():
    # By law Irish standard time is that of summer, and winter the deviation.
    base = TimeBase("Europe/Dublin")
    assert base.encode(ns("2026-07-01T12:00:00+00:00")) == tag("0000 00 8d 01 07 1a")
    assert base.encode(ns("2026-01-01T12:00:00+00:00")) == tag("0000 00 0c 01 01 1a")


@pytest.mark.parametrize(
    ("octets", "field", "offset"),
    [
        ("60ea 00 00 01 01 1a", "milliseconds", 0),
        ("0000 3c 00 01 01 1a", "minute", 2),
        ("0000 00 18 01 01 1a", "hour", 3),
        ("0000 00 00 00 01 1a", "day", 4),
        ("0000 00 00 1d 02 1a", "day", 4),
        ("0000 00 00 01 00 1a", "month", 5),
        ("0000 00 00 01 0d 1a", "month", 5),
        ("0000 00 00 01 01 64", "year", 6),
    ],
)
def test_what_is_no_time(octets, field, offset):
    assert not tag(octets).valid_date
    with pytest.raises(Iec104DecodeError) as caught:
        TimeBase().decode(tag(octets))
    assert (caught.value.field, caught.value.offset) == (field, offset)


@pytest.mark.parametrize(
    ("zone", "octets", "field"),
    [
        ("UTC", "0000 00 80 01 07 1a", "SU"),
        ("Europe/Sarajevo", "0000 00 8c 01 01 1a", "SU"),
        ("Europe/Sarajevo", "0000 00 0c 01 07 1a", "SU"),
        ("Europe/Sarajevo", "0000 1e 02 1d 03 1a", "hour"),  # 02:30 on 29 March 2026
        ("Europe/Sarajevo", "0000 1e 82 1d 03 1a", "hour"),
    ],
)
def test_times_that_a_zone_does_not_have(zone, octets, field):
    assert tag(octets).valid_date
    with pytest.raises(Iec104DecodeError, match=zone) as caught:
        TimeBase(zone).decode(tag(octets))
    assert (caught.value.field, caught.value.offset) == (field, 3)


@pytest.mark.parametrize("time_ns", [-1, ns("2070-01-01T00:00:00+00:00"), -(1 << 80), 1 << 80])
def test_time_that_no_tag_holds(time_ns):
    with pytest.raises(Iec104EncodeError, match="1970 to 2069"):
        TimeBase().encode(time_ns)
    assert TimeBase().encode(time_ns, invalid=True) == tag("0000 80 00 01 01 46")


def test_the_first_second_of_1970_west_of_greenwich():
    with pytest.raises(Iec104EncodeError):
        TimeBase("America/New_York").encode(0)
    assert TimeBase("America/New_York").encode(0, invalid=True) == tag("0000 80 00 01 01 46")
    assert TimeBase("Asia/Kathmandu").encode(0) == tag("0000 1e 05 01 01 46")


def test_offset_with_seconds():
    with pytest.raises(Iec104EncodeError):  # Liberia kept 44 min 30 s until 7 January 1972
        TimeBase("Africa/Monrovia").encode(ns("1971-06-01T00:00:00+00:00"))
    assert TimeBase("Africa/Monrovia").encode(ns("1973-06-01T00:00:00+00:00")) == tag("0000 00 00 01 06 49")


@pytest.mark.parametrize("name", ["Europe/Nowhere", "Europe", "", "/etc/passwd", "../UTC"])
def test_no_zone(name):
    with pytest.raises(Iec104EncodeError, match="no time zone"):
        TimeBase(name)


@given(
    st.sampled_from(ZONES),
    st.integers(ns("1970-01-02T00:00:00+00:00") // MS, ns("2069-12-30T00:00:00+00:00") // MS),
    st.lists(st.tuples(st.integers(-100_000, 100_000), st.booleans()), max_size=5),
)
def test_any_time_comes_back(zone, start_ms, others):
    base = TimeBase(zone)
    for offset_ms, invalid in [(0, False), *others]:
        time_ns = (start_ms + offset_ms) * MS
        one = base.encode(time_ns + 123_456, invalid=invalid)
        assert type(one) is CP56Time2a
        assert len(one) == 7
        assert one.invalid == invalid
        assert base.decode(one) == time_ns
        assert TimeBase(zone).decode(one) == time_ns  # whatever was told before
        assert one.valid_date


@given(st.sampled_from(ZONES), st.binary(min_size=7, max_size=7))
def test_any_octets_are_a_time_or_refused(zone, octets):
    one = CP56Time2a(octets)
    base = TimeBase(zone)
    try:
        time_ns = base.decode(one)
    except Iec104DecodeError as error:
        field = error.field
        assert field in {"milliseconds", "minute", "hour", "SU", "day", "month", "year"}
        assert not one.valid_date or field in {"hour", "SU"}
        return
    assert one.valid_date
    # All but GEN, the day of the week and the reserved bits
    mask = (0xFF, 0xFF, 0xBF, 0x9F, 0x1F, 0x0F, 0x7F)
    assert base.encode(time_ns, invalid=one.invalid) == bytes(a & b for a, b in zip(octets, mask, strict=True))


@given(st.integers(0, 50 * 365 * 1440), st.integers(0, 255), st.sampled_from(ZONES))
def test_plausible_octets(minute, bits, zone):
    """As above, but mostly times: SU, IV, GEN and reserved bits at will."""
    octets = bytearray(TimeBase().encode(minute * 60_000 * MS))
    octets[3] |= bits & 0xE0
    octets[2] |= bits << 6 & 0xC0
    test_any_octets_are_a_time_or_refused.hypothesis.inner_test(zone, bytes(octets))
