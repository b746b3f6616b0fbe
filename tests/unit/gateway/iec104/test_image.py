"""What a station has to say: addresses, groups, counters, and values that have no encoding."""

from __future__ import annotations

import pytest

from gateway.iec104.asdu import Qds, Sizes, TypeID
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import GENERAL_COUNTERS, STATION, Control, Image, Monitored, without_value
from gateway.iec104.time_tag import TimeBase

UTC = TimeBase("UTC")
SP, ME, IT, EP = TypeID.M_SP_TB_1, TypeID.M_ME_TF_1, TypeID.M_IT_TB_1, TypeID.M_EP_TE_1


def addresses(entries):
    return [entry.config.IOA for entry in entries]


@pytest.fixture
def image():
    return Image(
        [
            Monitored(1, 20, ME, frozenset((2,)), cyclic=True),
            Monitored(1, 11, SP, frozenset((1, 2)), background=True),
            Monitored(1, 10, TypeID.M_SP_NA_1, frozenset((1,))),
            Monitored(1, 30, IT, frozenset((1,))),
            Monitored(1, 31, IT),
            Monitored(1, 40, EP, frozenset((1,)), cyclic=True),
            Monitored(2, 10, SP),
        ],
        [Control(3, 10, TypeID.C_SC_NA_1, "Q1")],
    )


def test_addresses(image):
    assert len(image) == 7
    assert image.CAs == (1, 2, 3)
    assert image.entry(2, 10).config.typeID is SP
    assert image.entry(2, 11) is None
    assert image.control(3, 10).name == "Q1"
    assert image.control(1, 10) is None


def test_an_interrogation_tells_by_type_and_address_and_never_counters_or_protection_events(image):
    assert addresses(image.interrogated(1, STATION)) == [10, 11, 20]
    assert addresses(image.interrogated(1, STATION + 1)) == [10, 11]
    assert addresses(image.interrogated(1, STATION + 2)) == [11, 20]
    assert addresses(image.interrogated(1, STATION + 16)) == []
    assert addresses(image.interrogated(3, STATION)) == []


def test_counters_and_scans(image):
    assert addresses(image.counters(1, GENERAL_COUNTERS)) == [30, 31]
    assert addresses(image.counters(1, 1)) == [30]
    assert addresses(image.counters(1, 2)) == []
    assert addresses(image.scanned(1, background=False)) == [20]
    assert addresses(image.scanned(1, background=True)) == [11]


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (Monitored(0, 1, SP), "no address"),
        (Monitored(65535, 1, SP), "no address"),
        (Monitored(1, 0, SP), "no address"),
        (Monitored(1, 1 << 24, SP), "no address"),
        (Monitored(1, 10, SP), "twice"),
        (Monitored(1, 1, TypeID.C_SC_NA_1), "not monitored"),
        (Monitored(1, 1, TypeID.M_SP_TA_1), "not monitored"),
        (Monitored(1, 1, TypeID.M_EI_NA_1), "not monitored"),
        (Control(1, 1, TypeID.M_SP_NA_1, "Q1"), "no command"),
        (Control(1, 1, TypeID.C_SC_TA_1, "Q1"), "no command"),
        (Control(3, 10, TypeID.C_SC_NA_1, "Q1"), "twice"),
    ],
)
def test_a_point_list_that_cannot_be_is_refused(one, why):
    monitored, controls = [Monitored(1, 10, SP)], [Control(3, 10, TypeID.C_SC_NA_1, "Q1")]
    (monitored if isinstance(one, Monitored) else controls).append(one)
    with pytest.raises(Iec104EncodeError, match=why):
        Image(monitored, controls)


@pytest.mark.parametrize("sizes", [Sizes(), Sizes(1, 1, 1), Sizes(2, 2, 1)])
def test_addresses_that_fit_their_sizes(image, sizes):
    image.check(sizes)


@pytest.mark.parametrize(("CA", "IOA", "sizes"), [(255, 1, Sizes(CA=1)), (256, 1, Sizes(CA=1)), (1, 256, Sizes(IOA=1))])
@pytest.mark.parametrize("control", [False, True])
def test_addresses_that_do_not_fit_their_sizes(CA, IOA, sizes, control):
    image = Image([], [Control(CA, IOA, TypeID.C_SC_NA_1, "Q")]) if control else Image([Monitored(CA, IOA, SP)])
    image.check(Sizes())
    with pytest.raises(Iec104EncodeError, match="does not fit"):
        image.check(sizes)


def test_what_has_no_value_yet_says_so():
    entry = Image([Monitored(1, 1, SP)]).entry(1, 1)
    one = entry.object(SP, UTC)
    assert (one.value, one.qualifier) == (False, Qds.IV | Qds.NT)
    assert one.time.invalid
    assert without_value(EP) == (0, Qds.IV | Qds.NT)
    assert without_value(TypeID.M_IT_TB_1) == (0, 0x80)


def test_a_time_that_no_tag_can_hold_is_told_as_invalid():
    assert UTC.tag(5 * 10**9, invalid=False).milliseconds == 5000
    assert UTC.tag(10**19, invalid=False).invalid
    entry = Image([Monitored(1, 1, SP)]).entry(1, 1)
    entry.value, entry.qualifier, entry.t_ns, entry.time_invalid = True, 0, -(10**19), False
    assert entry.object(SP, UTC).time.invalid


def test_counters_are_frozen_and_reset():
    image = Image([Monitored(1, 1, IT, frozenset((1,))), Monitored(1, 2, IT)])
    one, other = image.entry(1, 1), image.entry(1, 2)

    def told(entry):
        return entry.object(TypeID.M_IT_NA_1, None).value

    one.value = other.value = 7
    one.qualifier = 0
    image.freeze(1, 1)
    one.value = other.value = 9
    assert (told(one), told(other)) == (7, 9)
    image.freeze(1, GENERAL_COUNTERS)
    image.reset(1, GENERAL_COUNTERS)
    one.value = other.value = 12
    assert (told(one), told(other)) == (9, 9)
    image.freeze(1, GENERAL_COUNTERS)
    assert (told(one), told(other)) == (3, 3)


def test_a_counter_that_overflows_goes_on_below_zero():
    entry = Image([Monitored(1, 1, IT)]).entry(1, 1)
    entry.value = (1 << 31) - 1
    assert entry.counted() == (1 << 31) - 1
    entry.value += 1
    assert entry.counted() == -(1 << 31)
    entry.base = 1 << 31
    assert entry.counted() == 0
