"""Data objects as MMS has them to points and back to the wire of IEC 60870-5-104."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.mms_values import MmsPoint, MmsValueError, leaves_of, read_leaves
from gateway.points.mapping import Monitor
from gateway.points.mapping_rules import TYPES, Rule
from gateway.points.point import KINDS, TIME_UNKNOWN, fault_of
from ied_agents.goose.data import encode_data
from ied_agents.iec61850.data import BitString, Float64, Unsigned
from ied_agents.iec61850.utctime import UtcTime

T = UtcTime.from_ns(1_600_000_000_250_000_000, 0x0A)
GOOD = BitString(0, 13)

CASES = [
    ("SPS", {"stVal": True}, True),
    ("SPC", {"stVal": False}, False),
    ("DPS", {"stVal": BitString(0, 2)}, 0),
    ("DPC", {"stVal": BitString(1, 2)}, 1),
    ("DPC", {"stVal": BitString(2, 2)}, 2),
    ("DPC", {"stVal": BitString(3, 2)}, 3),
    ("INS", {"stVal": -5}, -5),
    ("INC", {"stVal": Unsigned(5)}, 5),
    ("ENS", {"stVal": 2}, 2),
    ("MV", {"mag.f": 1.5}, 1.5),
    ("MV", {"mag.f": Float64(0.1)}, 0.1),
    ("MV", {"mag.i": 40}, 40.0),
    ("CMV", {"cVal.mag.f": 2.5}, 2.5),
    ("APC", {"mxVal.f": 2.5}, 2.5),
    ("BAC", {"mxVal.f": 2.5}, 2.5),
    ("BSC", {"valWTr.posVal": -3, "valWTr.transInd": True}, (-3, 1)),
    ("ISC", {"valWTr.posVal": 3, "valWTr.transInd": False}, (3, 0)),
    ("BCR", {"actVal": 1 << 40}, 1 << 40),
    ("SEC", {"cnt": Unsigned(3)}, 3),
    ("ACT", {"general": True}, (1,)),
    ("ACT", {"general": True, "phsB": True}, (1, 0, 1)),
    ("ACT", {"general": True, "phsA": True, "phsB": False, "phsC": True, "neut": False}, (1, 1, 0, 1, 0)),
    ("ACD", {"general": True, "dirGeneral": 2}, (1, 2)),
    ("ACD", {"general": True, "dirGeneral": 1, "neut": True}, (1, 1, 0, 0, 0, 1)),
]


def point(cdc, leaves, **more):
    made = leaves_of(cdc, {*leaves, "q", "t", "d", "subEna"})
    return MmsPoint(name="LD/LN.DO", cdc=cdc, leaves=made, **more)


@pytest.mark.parametrize(("cdc", "leaves", "value"), CASES)
def test_a_value_is_that_of_its_class_and_goes_on_to_104(cdc, leaves, value):
    made = point(cdc, leaves)
    given = read_leaves({name: encode_data(each) for name, each in {**leaves, "q": GOOD, "t": T}.items()})
    found = made.value(given, 0, 1)
    assert (found.value, type(found.value)) == (value, type(value))
    assert not fault_of(KINDS[cdc], found.value)
    assert (found.quality, found.t_ns, found.time_quality, found.arrived_ns) == (0, T.to_ns(), 0x0A, 1)
    rule = Rule(name="x", cdc=cdc, typeID=TYPES[cdc].monitor[0])
    Monitor(rule).element(found)


def test_every_class_that_is_monitored_has_a_case():
    assert {cdc for cdc, types in TYPES.items() if types.monitor} - {"ENC"} == {cdc for cdc, *_ in CASES}


def test_quality_is_bit_by_bit():
    made = point("SPS", {"stVal": True})
    for bit in range(13):
        found = made.value({"stVal": True, "q": BitString(1 << bit, 13), "t": T}, 0, 1)
        assert found.quality == 1 << bit


@pytest.mark.parametrize("quality", [0x00, 0x80, 0x40, 0x20, 0x3F, 0xFF])
def test_time_quality_is_the_devices(quality):
    made = point("SPS", {"stVal": True})
    assert made.value({"stVal": True, "q": GOOD, "t": T._replace(quality=quality)}, 0, 1).time_quality == quality


def test_an_integer_measurand_is_scaled():
    made = point("MV", {"mag.i": 1}, scale=0.1, offset=5.0)
    assert made.leaves == ("mag.i", "q", "t")
    assert made.value({"mag.i": 40, "q": GOOD, "t": T}, 0, 1).value == pytest.approx(9.0)


def test_a_value_without_a_time_has_that_of_its_report_and_else_of_its_arrival_and_no_clock_is_vouched_for():
    made = point("SPS", {"stVal": True})
    for entry_ns, t_ns in ((5, 5), (0, 7)):
        found = made.value({"stVal": True, "q": GOOD}, entry_ns, 7)
        assert (found.t_ns, found.time_quality) == (t_ns, TIME_UNKNOWN)


@pytest.mark.parametrize(
    ("cdc", "leaves", "why"),
    [
        ("SPS", {"stVal": 1}, "stVal: 1; expected true or false"),
        ("DPS", {"stVal": 1}, "stVal: 1; expected 2 bits"),
        ("DPS", {"stVal": BitString(1, 3)}, "expected 2 bits"),
        ("INS", {"stVal": True}, "stVal: True; expected a whole number"),
        ("INS", {"stVal": 1.0}, "expected a whole number"),
        ("MV", {"mag.f": "x"}, "mag.f: 'x'; expected a whole number"),
        ("BSC", {"valWTr.posVal": "x", "valWTr.transInd": True}, "valWTr.posVal: 'x'; expected a whole number"),
        ("SPS", {"stVal": True, "q": BitString(0, 12)}, "q: Quality has 13 bits, not 12"),
        ("SPS", {"stVal": True, "q": 0}, "q: 0; expected 13 bits"),
        ("SPS", {"stVal": True, "t": 0}, "t: 0; expected a time"),
    ],
)
def test_what_is_no_value_of_its_class_is_named(cdc, leaves, why):
    made = point(cdc, {name for name in leaves if name not in "qt"})
    with pytest.raises(MmsValueError) as said:
        made.value({"q": GOOD, "t": T, **leaves}, 0, 1)
    assert why in str(said.value)


@pytest.mark.parametrize("octets", [b"", b"\x83", b"\x83\x01\x00\x83\x01\x00", b"\xff\x00"])
def test_what_is_no_data_is_named(octets):
    with pytest.raises(MmsValueError, match="stVal"):
        read_leaves({"stVal": octets})


@given(st.binary(max_size=40), st.sampled_from(sorted({cdc for cdc, *_ in CASES})))
def test_any_octets_are_a_value_or_are_refused(octets, cdc):
    leaves = next(leaves for each, leaves, _ in CASES if each == cdc)
    made = point(cdc, leaves)
    try:
        given = read_leaves(dict.fromkeys(made.leaves, octets))
        assert not fault_of(KINDS[cdc], made.value(given, 0, 1).value)
    except MmsValueError:
        pass


def test_a_data_object_without_its_value_has_no_leaves():
    assert leaves_of("MV", {"q", "t"}) == ()
    assert leaves_of("BSC", {"valWTr.posVal", "q"}) == ()
    assert leaves_of("MV", {"mag.f", "mag.i", "q"}) == ("mag.f", "q")
