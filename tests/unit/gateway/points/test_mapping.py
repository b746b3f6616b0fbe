"""IEC TS 61850-80-1: the quality table bit by bit, types, values both ways, commands."""

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.iec104.asdu import Asdu, Cause, InformationObject, Step, TypeID, decode, encode
from gateway.iec104.time_tag import CP56Time2a, TimeBase
from gateway.points.mapping import CommandValue, Control, Monitor, source_time
from gateway.points.mapping_rules import (
    TYPES,
    MappingError,
    Override,
    Rule,
    monitor_types,
    qds_of,
    quality_of,
    tagged,
)
from gateway.points.point import KINDS, TIME_UNKNOWN, PointValue
from ied_agents.iec61850.quality import Quality, Validity

OV, BL, SB, NT, IV = 0x01, 0x10, 0x20, 0x40, 0x80
UTC = TimeBase("UTC")
qualities = st.integers(0, 0x1FFF)


def monitor(cdc, typeID, **rule):
    return Monitor(Rule(name="F1Q1/LN1.DO", cdc=cdc, typeID=TypeID(typeID), **rule))


def control(cdc, typeID, **rule):
    return Control(Rule(name="F1Q1/LN1.DO", cdc=cdc, typeID=TypeID(typeID), **rule))


# What each detail bit gives with each validity. "questionable" alone says nothing that 104 has a bit for.
TO_104 = {
    "overflow": {"good": OV, "invalid": IV | OV, "questionable": OV},
    "outOfRange": {"good": 0, "invalid": IV, "questionable": 0},
    "badReference": {"good": 0, "invalid": IV, "questionable": 0},
    "oscillatory": {"good": 0, "invalid": IV, "questionable": 0},
    "failure": {"good": 0, "invalid": IV, "questionable": 0},
    "oldData": {"good": NT, "invalid": IV | NT, "questionable": NT},
    "inconsistent": {"good": 0, "invalid": IV, "questionable": IV},
    "inaccurate": {"good": 0, "invalid": IV, "questionable": IV},
    "substituted": {"good": SB, "invalid": IV | SB, "questionable": SB},
    "test": {"good": 0, "invalid": IV, "questionable": 0},
    "operatorBlocked": {"good": BL, "invalid": IV | BL, "questionable": BL},
}


def test_the_table_has_every_bit():
    assert list(TO_104) == [each.name for each in fields(Quality) if each.init][1:]


@pytest.mark.parametrize("bit", TO_104)
@pytest.mark.parametrize("validity", ["good", "invalid", "questionable"])
def test_quality_to_104_bit_by_bit(bit, validity):
    quality = Quality(Validity[validity.upper()], **{bit: True}).to_int()
    assert qds_of(quality) == TO_104[bit][validity]
    assert qds_of(quality, overflow=False) == TO_104[bit][validity] & ~OV
    assert monitor("SPS", 30).element(PointValue(True, quality)).test is (bit == "test")


def test_validity_alone_to_104():
    assert [qds_of(Quality(validity).to_int()) for validity in Validity] == [0, IV, IV, 0]


@given(qualities)
def test_several_bits_give_what_each_gives(number):
    quality = Quality.from_int(number)
    names = [name for name in TO_104 if getattr(quality, name)]
    expected = qds_of(Quality(quality.validity).to_int())
    for name in names:
        expected |= qds_of(Quality(quality.validity, **{name: True}).to_int())
    assert qds_of(number) == expected
    assert monitor("SPS", 30).element(PointValue(True, number)).test is quality.test


@pytest.mark.parametrize(
    ("bit", "expected"),
    [
        (OV, Quality(Validity.QUESTIONABLE, overflow=True)),
        (BL, Quality(operatorBlocked=True)),
        (SB, Quality(substituted=True)),
        (NT, Quality(Validity.QUESTIONABLE, oldData=True)),
        (IV, Quality(Validity.INVALID)),
        (0, Quality()),
        (OV | IV, Quality(Validity.INVALID, overflow=True)),
        (NT | IV, Quality(Validity.INVALID, oldData=True)),
        (0x0E, Quality()),  # reserved
    ],
)
def test_quality_from_104_bit_by_bit(bit, expected):
    assert Quality.from_int(quality_of(bit)) == expected
    tested = Quality.from_int(quality_of(bit, test=True))
    assert tested.test
    assert quality_of(bit) | Quality(test=True).to_int() == tested.to_int()


@given(st.integers(0, 255))
def test_104_quality_survives_the_way_there_and_back(octet):
    known = octet & (OV | BL | SB | NT | IV)
    assert qds_of(quality_of(octet)) == known
    # The lowest bit of a SIQ is the value, the lowest two of a DIQ.
    assert qds_of(quality_of(octet, overflow=False)) == known & ~OV


@pytest.mark.parametrize(
    ("octet", "invalid"), [(0x00, False), (0x8A, False), (0x1F, False), (0x20, True), (0x40, True), (0x7F, True)]
)
def test_time_quality(octet, invalid):
    element = monitor("SPS", 30).element(PointValue(True, 0, 5, octet))
    assert element.time_invalid is invalid
    made, _ = monitor("SPS", 30).to_object(7, PointValue(True, 0, 5, octet), UTC)
    assert made.time.invalid is invalid


def test_types_by_class_are_those_of_80_1():
    # facts.md; the first of each is the default.
    expected = {
        "SPS": ([30], []), "SPC": ([30], [58]), "DPS": ([31], []), "DPC": ([31], [59]), "INS": ([35, 30, 33], []),
        "ENS": ([35, 30], []), "ENC": ([35, 30], [62, 58]), "INC": ([35], [62]), "MV": ([36, 35], []),
        "CMV": ([36, 35], []), "APC": ([36], [63]), "BAC": ([36], [60]), "BSC": ([32], [60]), "ISC": ([32], [62]),
        "BCR": ([37], []), "SEC": ([37], []), "ACT": ([30, 39], []), "ACD": ([30, 40], []), "SPG": ([], [58]),
        "ING": ([], [62]), "ASG": ([], [63]),
    }  # fmt: skip
    assert {cdc: tuple(map(list, types)) for cdc, types in TYPES.items()} == expected
    assert set(TYPES) == set(KINDS)


@pytest.mark.parametrize(("cdc", "typeID"), [(cdc, each) for cdc in TYPES for each in TYPES[cdc].monitor])
def test_every_standard_monitor_type_can_be_made(cdc, typeID):
    expected = 1 if typeID == 30 and cdc in ("ENS", "ENC") else None
    monitor(cdc, typeID, expectedValue=expected)


@pytest.mark.parametrize(("cdc", "typeID"), [(cdc, each) for cdc in TYPES for each in TYPES[cdc].control])
def test_every_standard_control_type_can_be_made(cdc, typeID):
    expected = 1 if typeID == 58 and cdc == "ENC" else None
    control(cdc, typeID, expectedValue=expected)


@pytest.mark.parametrize(
    ("cdc", "typeID", "rule", "value", "element", "qualifier"),
    [
        ("SPS", 30, {}, True, True, 0),
        ("SPS", 30, {"inverted": True}, True, False, 0),
        ("SPS", 1, {}, False, False, 0),
        ("DPC", 31, {}, 2, 2, 0),
        ("DPC", 31, {"inverted": True}, 2, 1, 0),
        ("DPC", 31, {"inverted": True}, 3, 3, 0),
        ("DPC", 31, {"inverted": True}, 0, 0, 0),
        ("INS", 30, {}, 5, True, 0),
        ("INS", 30, {}, 0, False, 0),
        ("INS", 33, {}, -1, 0xFFFFFFFF, 0),
        ("INS", 35, {}, 40000, 32767, OV),
        ("INS", 35, {}, -40000, -32768, OV),
        ("ENS", 35, {}, 3, 3, 0),
        ("ENS", 30, {"expectedValue": 3}, 3, True, 0),
        ("ENS", 30, {"expectedValue": 3}, 2, False, 0),
        ("ENS", 30, {"expectedValue": 3, "inverted": True}, 3, False, 0),
        ("MV", 36, {}, 1.5, 1.5, 0),
        ("MV", 36, {"scale": 0.001, "offset": 1.0}, 2000.0, 3.0, 0),
        ("MV", 36, {}, 1e300, pytest.approx(3.4028e38, rel=1e-4), OV),
        ("MV", 36, {}, -math.inf, pytest.approx(-3.4028e38, rel=1e-4), OV),
        ("MV", 36, {}, math.nan, 0.0, IV),
        ("MV", 35, {}, math.nan, 0, IV),
        ("MV", 35, {"scale": 10.0}, 12.34, 123, 0),
        ("MV", 35, {}, 32768.0, 32767, OV),
        ("MV", 34, {"scale": 0.5}, 1.0, 0.5, 0),
        ("MV", 34, {}, 1.0, 32767 / 32768, 0),
        ("MV", 34, {}, 1.1, 32767 / 32768, OV),
        ("MV", 34, {}, -1.0, -1.0, 0),
        ("MV", 34, {}, -1.1, -1.0, OV),
        ("BSC", 32, {}, (-7, 1), Step(-7, True), 0),
        ("ISC", 32, {}, (64, 0), Step(63, False), OV),
        ("BCR", 37, {}, 123456, 123456, 0),
        ("BCR", 37, {}, -5, -5, 0),
        ("BCR", 37, {}, (1 << 31) + 5, 5, 0x20),
        ("ACT", 30, {}, (1,), True, 0),
        ("ACT", 30, {"element": "phsB"}, (1, 0, 1, 0, 0), True, 0),
        ("ACT", 30, {"element": "phsB"}, (1,), False, 0),
        ("ACT", 39, {}, (1, 0, 1, 0, 1), 0b010101, 0x08),
        ("ACT", 40, {}, (1, 1, 0, 1, 1), 0b1011, 0x08),
        ("ACD", 30, {"element": "neut"}, (1, 2, 0, 0, 0, 1), True, 0),
        ("ACD", 30, {"inverted": True}, (1, 2), False, 0),
        ("ACD", 40, {}, (1, 2, 1, 0, 0, 1), 0b0011, 0x08),
        ("ACD", 39, {}, (1, 2, 1, 0, 0, 1), 0b110011, 0x08),
        ("ACD", 39, {}, (1, 1), 0b000001, 0x08),
    ],
)
def test_values_to_104(cdc, typeID, rule, value, element, qualifier):
    made = monitor(cdc, typeID, **rule).element(PointValue(value))
    assert made.value == element
    assert type(made.value) is type(element) or not isinstance(made.value, bool)
    assert made.qualifier == qualifier


def test_what_each_element_has_of_quality():
    worst = Quality(
        Validity.INVALID, overflow=True, oldData=True, substituted=True, operatorBlocked=True, test=True
    ).to_int()

    def qualifier(cdc, typeID, value):
        return monitor(cdc, typeID).element(PointValue(value, worst)).qualifier

    assert qualifier("SPS", 30, True) == IV | NT | SB | BL
    assert qualifier("DPS", 31, 2) == IV | NT | SB | BL
    assert qualifier("BSC", 32, (1, 0)) == IV | NT | SB | BL | OV
    assert qualifier("INS", 33, 1) == IV | NT | SB | BL | OV
    assert qualifier("MV", 34, 0.5) == IV | NT | SB | BL | OV
    assert qualifier("MV", 35, 1.0) == IV | NT | SB | BL | OV
    assert qualifier("MV", 36, 1.0) == IV | NT | SB | BL | OV
    assert qualifier("MV", 21, 0.5) == 0
    assert qualifier("BCR", 37, 1) == IV
    assert qualifier("ACT", 39, (1,)) == IV | NT | SB | BL | 0x08
    assert monitor("SPS", 30).element(PointValue(True, worst)).test
    old = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
    assert monitor("BCR", 37).element(PointValue(1, old)).qualifier == IV
    assert monitor("BCR", 37).element(PointValue(1, Quality(substituted=True).to_int())).qualifier == 0


SAMPLES = {
    "SPS": [True, False], "SPC": [True, False], "DPS": [0, 1, 2, 3], "DPC": [0, 1, 2, 3], "INS": [-7, 0, 200],
    "ENS": [1, 2], "ENC": [1, 2], "INC": [-7, 200], "MV": [-2.5, 0.0, 80.0], "CMV": [80.0], "APC": [0.25],
    "BAC": [0.5], "BSC": [(-3, 0), (5, 1)], "ISC": [(5, 0)], "BCR": [77, -1], "SEC": [3],
    "ACT": [(1, 1, 0, 1, 0)], "ACD": [(1, 0, 1, 0, 1, 0)],
}  # fmt: skip


@pytest.mark.parametrize("quality", [0, Quality(substituted=True, test=True).to_int()])
@pytest.mark.parametrize("cdc", SAMPLES)
def test_values_survive_the_way_there_and_back(cdc, quality):
    mapping = monitor(cdc, TYPES[cdc].monitor[0])
    for value in SAMPLES[cdc]:
        point = PointValue(value, quality, 1_700_000_000_123_000_000, 0x1F, 5)
        made, test = mapping.to_object(7, point, UTC)
        again = mapping.to_point(made, 5, UTC, test=test)
        if cdc in ("ACT", "ACD"):
            assert again.value == (value[0],)
        else:
            assert again.value == value
            assert type(again.value) is type(value)
        assert again.t_ns == point.t_ns
        assert again.quality == (quality if cdc not in ("BCR", "SEC") else quality & Quality(test=True).to_int())


@given(st.integers(-32768, 32767), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_scaled_values_survive_scale_and_offset(number, scale, offset):
    mapping = monitor("MV", 35, scale=scale, offset=offset)
    value = mapping.to_point(InformationObject(1, number), 0, UTC).value
    assert mapping.element(PointValue(value)).value == number


@pytest.mark.parametrize("typeID", [39, 40])
@pytest.mark.parametrize("cdc", ["ACT", "ACD"])
def test_packed_protection_events_survive(cdc, typeID):
    mapping = monitor(cdc, typeID)
    value = (1, 1, 0, 1, 0) if cdc == "ACT" else (1, 2 if typeID == 39 else 0, 1, 0, 1, 0)
    size = len(value) - (typeID == 40)
    again = mapping.to_point(mapping.to_object(1, PointValue(value), UTC)[0], 0, UTC)
    assert again.value == value[:size]
    assert again.quality == 0


def test_an_enumeration_behind_a_single_point_tells_only_its_own_value():
    mapping = monitor("ENS", 30, expectedValue=3)
    assert mapping.to_point(InformationObject(1, True), 0, UTC).value == 3
    assert mapping.to_point(InformationObject(1, False), 0, UTC) is None


@pytest.mark.parametrize(
    ("cdc", "typeID", "value"),
    [("SPS", 30, 1), ("DPS", 31, 4), ("DPS", 31, True), ("MV", 36, Step(1, False)), ("MV", 36, None), ("BSC", 32, 5)],
)
def test_an_element_of_another_type_is_refused(cdc, typeID, value):
    with pytest.raises(MappingError, match=r"F1Q1/LN1\.DO"):
        monitor(cdc, typeID).to_point(InformationObject(1, value), 0, UTC)


def test_a_value_of_another_kind_is_refused():
    with pytest.raises(MappingError, match="expected a number"):
        monitor("DPS", 31).element(PointValue(True))


def test_events_without_time_tag_have_none():
    made, _ = monitor("SPS", 1).to_object(7, PointValue(True, 0, 5), UTC)
    assert made == InformationObject(7, True, 0, None)


def test_a_clock_beyond_the_tag_is_told_as_invalid():
    beyond = 4_000_000_000_000_000_000
    made, _ = monitor("SPS", 30).to_object(7, PointValue(True, 0, beyond, 0), UTC)
    assert made.time.invalid


def test_source_time():
    ns = 1_700_000_000_123_000_000
    tag = UTC.encode(ns)
    assert source_time(InformationObject(1, True, 0, tag), 9, UTC) == (ns, 0x1F)
    doubtful = UTC.encode(ns, invalid=True)
    assert source_time(InformationObject(1, True, 0, doubtful), 9, UTC) == (ns, TIME_UNKNOWN)
    substituted = CP56Time2a(tag[:2] + bytes((tag[2] | 0x40,)) + tag[3:])
    assert source_time(InformationObject(1, True, 0, substituted), 9, UTC) == (ns, TIME_UNKNOWN)
    assert source_time(InformationObject(1, True), 9, UTC) == (9, TIME_UNKNOWN)
    no_time = CP56Time2a(bytes(7))
    assert source_time(InformationObject(1, True, 0, no_time), 9, UTC) == (9, TIME_UNKNOWN)
    local = TimeBase("Europe/Sarajevo")
    assert source_time(InformationObject(1, True, 0, local.encode(ns)), 9, local) == (ns, 0x1F)


@pytest.mark.parametrize(
    ("cdc", "typeID", "rule", "element", "value"),
    [
        ("SPC", 58, {}, True, True),
        ("SPC", 45, {"inverted": True}, True, False),
        ("DPC", 59, {}, 1, False),
        ("DPC", 59, {}, 2, True),
        ("DPC", 59, {"inverted": True}, 2, False),
        ("ENC", 58, {"expectedValue": 5}, True, 5),
        ("ENC", 62, {}, 3, 3),
        ("INC", 62, {}, -3, -3),
        ("APC", 63, {}, 1.5, 1.5),
        ("APC", 61, {"scale": 0.01}, 0.5, 50.0),
        ("BSC", 60, {}, 1, 1),
        ("BAC", 60, {}, 2, 2),
        ("ISC", 62, {}, 7, 7),
        ("SPG", 58, {}, False, False),
        ("ING", 62, {}, 8, 8),
        ("ASG", 63, {"scale": 2.0, "offset": 1.0}, 5.0, 2.0),
    ],
)
def test_commands_both_ways(cdc, typeID, rule, element, value):
    mapping = control(cdc, typeID, **rule)
    command = mapping.to_command(InformationObject(9, element))
    assert command == CommandValue(value, select=False, qualifier=0)
    assert type(command.value) is type(value)
    assert mapping.to_object(9, command) == InformationObject(9, element)


def test_select_and_qualifier():
    mapping = control("SPC", 58)
    command = mapping.to_command(InformationObject(9, True, 0x80 | 2 << 2))
    assert command == CommandValue(True, select=True, qualifier=2)
    assert mapping.to_object(9, command).qualifier == 0x88
    mapping = control("APC", 63)
    command = mapping.to_command(InformationObject(9, 1.0, 0x83))
    assert command == CommandValue(1.0, select=True, qualifier=3)
    assert mapping.to_object(9, command).qualifier == 0x83
    mapping = control("INC", 64)
    assert mapping.to_command(InformationObject(9, 77)).value == 77
    with pytest.raises(MappingError, match="selected"):
        mapping.to_object(9, CommandValue(1, select=True, qualifier=0))


@pytest.mark.parametrize(
    ("cdc", "typeID", "element"),
    [
        ("DPC", 59, 0), ("DPC", 59, 3), ("BSC", 60, 0), ("BSC", 60, 3), ("APC", 63, math.nan), ("APC", 63, math.inf),
        ("SPC", 58, 1), ("SPC", 58, None), ("APC", 63, True),
    ],
)  # fmt: skip
def test_commands_that_ask_for_nothing_are_refused(cdc, typeID, element):
    with pytest.raises(MappingError):
        control(cdc, typeID).to_command(InformationObject(9, element))


def test_off_of_an_expected_value_is_refused():
    mapping = control("ENC", 58, expectedValue=5)
    with pytest.raises(MappingError):
        mapping.to_command(InformationObject(9, False))
    with pytest.raises(MappingError):
        mapping.to_object(9, CommandValue(4, select=False, qualifier=0))


@pytest.mark.parametrize(
    ("cdc", "typeID", "value"),
    [
        ("INC", 62, 40000), ("APC", 61, 1.5), ("APC", 63, 1e300), ("APC", 63, math.nan), ("BSC", 60, 3),
        ("INC", 64, -1), ("SPC", 58, 1), ("DPC", 59, 2),
    ],
)  # fmt: skip
def test_a_command_is_never_bent_to_fit(cdc, typeID, value):
    with pytest.raises(MappingError, match="no place"):
        control(cdc, typeID).to_object(9, CommandValue(value, select=False, qualifier=0))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"cdc": "SPS", "typeID": 36}, "types that can: 30"),
        ({"cdc": "SPG", "typeID": 30}, "types that can: none"),
        ({"cdc": "SPS", "typeID": 2}, "no date"),
        ({"cdc": "ENS", "typeID": 30}, "needs expectedValue"),
        ({"cdc": "MV", "typeID": 36, "expectedValue": 1}, "expectedValue"),
        ({"cdc": "MV", "typeID": 36, "inverted": True}, "inverted"),
        ({"cdc": "MV", "typeID": 36, "scale": 0.0}, "scale 0"),
        ({"cdc": "MV", "typeID": 36, "offset": math.nan}, "offset"),
        ({"cdc": "ACT", "typeID": 39, "element": "phsA"}, "no element"),
        ({"cdc": "SPS", "typeID": 30, "element": "phsA"}, "no element"),
        ({"cdc": "WYE", "typeID": 36}, "no mapping"),
    ],
)
def test_rules_that_cannot_be(rule, problem):
    made = Rule(name="F1Q1/LN1.DO", **rule | {"typeID": TypeID(rule["typeID"])})
    (found,) = made.problems(control=False)
    assert problem in found
    with pytest.raises(MappingError, match=r"F1Q1/LN1\.DO"):
        Monitor(made)


def test_overrides_are_checked():
    wrong = Override(
        CA=0, IOA=1 << 24, control_IOA=0, scale=0.0, offset=math.inf, groups=frozenset((0, 17)), event_class=-1,
        deadband=-1.0,
    )  # fmt: skip
    assert len(wrong.problems()) == 8
    good = Override(CA=1, IOA=1, scale=2.0, offset=0.0, groups=frozenset((1, 16)), event_class=0, deadband=0.0)
    assert good.problems() == []


def test_untagged_types_say_the_same():
    assert [tagged(TypeID(number)) for number in (1, 3, 5, 7, 9, 11, 13, 15, 21)] == [
        30,
        31,
        32,
        33,
        34,
        35,
        36,
        37,
        34,
    ]
    assert [tagged(TypeID(number)) for number in range(45, 52)] == list(range(58, 65))
    assert tagged(TypeID(36)) == 36
    assert monitor_types("MV") == {34, 35, 36}


@pytest.mark.parametrize(("cdc", "typeID"), [(cdc, each) for cdc in SAMPLES for each in sorted(monitor_types(cdc))])
def test_what_is_made_can_be_sent(cdc, typeID):
    expected = 1 if typeID == 30 and cdc in ("ENS", "ENC", "INC") else None
    mapping = monitor(cdc, typeID, expectedValue=expected)
    objects = tuple(
        mapping.to_object(7 + place, PointValue(value, 0, 1_700_000_000_123_000_000), UTC)[0]
        for place, value in enumerate(SAMPLES[cdc])
    )
    asdu = Asdu(TypeID(typeID), Cause.SPONTANEOUS, 1, objects)
    again = decode(encode(asdu))
    assert again == asdu or typeID == 36  # the element is a shorter float
    assert [mapping.to_point(received, 0, UTC) for received in again.objects] == [
        mapping.to_point(made, 0, UTC) for made in objects
    ]


@pytest.mark.parametrize(("cdc", "typeID"), [(cdc, each) for cdc in TYPES for each in TYPES[cdc].control])
def test_commands_that_are_made_can_be_sent(cdc, typeID):
    mapping = control(cdc, typeID, expectedValue=1 if typeID == 58 and cdc == "ENC" else None)
    value = {58: cdc != "ENC" or 1, 59: True, 60: 2, 62: -7, 63: 0.5}[int(typeID)]
    command = CommandValue(value, select=True, qualifier=1)
    made = mapping.to_object(7, command, UTC.encode(1_700_000_000_123_000_000))
    (received,) = decode(encode(Asdu(TypeID(typeID), Cause.ACTIVATION, 1, (made,)))).objects
    assert mapping.to_command(received) == command
