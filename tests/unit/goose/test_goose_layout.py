"""Fixed-length layouts: same values as the general codec, every type checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.goose.data import decode_all_data, encode_all_data
from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.goose.layout import ArrayOf, DataSetLayout, StructureOf
from ied_agents.iec61850.data import Array, BitString, Float64, Structure, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, INVALID, OLD_DATA, Quality
from ied_agents.iec61850.utctime import UtcTime

INTEGERS = {
    "INT8": (-128, 127),
    "Enum": (-128, 127),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "INT8U": (0, 2**8 - 1),
    "INT16U": (0, 2**16 - 1),
    "INT24U": (0, 2**24 - 1),
    "INT32U": (0, 2**32 - 1),
    "INT64U": (0, 2**64 - 1),
}
LEAVES = {name: st.integers(*ends) for name, ends in INTEGERS.items()} | {
    "BOOLEAN": st.booleans(),
    "FLOAT32": st.floats(width=32, allow_nan=False),
    "FLOAT64": st.floats(allow_nan=False),
    "Dbpos": st.sampled_from(Dbpos),
    "Quality": st.integers(0, 2**13 - 1).map(Quality.from_int),
    "Timestamp": st.builds(UtcTime, st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1), st.integers(0, 255)),
}
types = st.recursive(
    st.sampled_from(sorted(LEAVES)),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map(tuple).map(StructureOf)
        | st.builds(ArrayOf, inner, st.integers(0, 4))
    ),
    max_leaves=8,
)


def spread(member):
    if isinstance(member, StructureOf):
        return [leaf for part in member.members for leaf in spread(part)]
    if isinstance(member, ArrayOf):
        return spread(member.element) * member.count
    return [member]


def as_data(bType, leaf):
    """The MMS value of a leaf, by IEC 61850-8-1's table of basic types."""
    if bType.endswith("U"):
        return Unsigned(leaf)
    if bType == "FLOAT64":
        return Float64(leaf)
    return leaf.to_bit_string() if bType in {"Dbpos", "Quality"} else leaf


def nest(member, leaves):
    if isinstance(member, StructureOf):
        return Structure(nest(part, leaves) for part in member.members)
    if isinstance(member, ArrayOf):
        return Array(nest(member.element, leaves) for _ in range(member.count))
    return as_data(member, next(leaves))


@given(st.lists(types, max_size=6), st.data())
def test_layout_and_general_codec_agree(members, data):
    layout = DataSetLayout(members)
    bTypes = [bType for member in members for bType in spread(member)]
    leaves = tuple(data.draw(LEAVES[bType]) for bType in bTypes)
    assert layout.leaf_count == len(leaves)
    octets = layout.encode(leaves)
    assert len(octets) == layout.size
    values = tuple(nest(member, each) for each in [iter(leaves)] for member in members)
    assert repr(decode_all_data(octets)) == repr(values)
    # the fixed-length form, the shortest form, and the slow path on the fixed-length form
    for form in (octets, encode_all_data(values)):
        again = layout.decode(form)
        assert repr(again) == repr(leaves)
    assert repr(layout._decode_members(octets)) == repr(leaves)


@pytest.mark.parametrize(
    ("bType", "leaf", "octets"),
    [
        ("BOOLEAN", True, "830101"),
        ("INT8", -2, "8502fffe"),
        ("Enum", 3, "85020003"),
        ("INT16", -2, "8503fffffe"),
        ("INT32", 7, "85050000000007"),
        ("INT32", -2, "8505fffffffffe"),
        ("INT64", -2, "8509fffffffffffffffffe"),
        ("INT8U", 255, "860200ff"),
        ("INT16U", 65535, "860300ffff"),
        ("INT24U", 2**24 - 1, "860400ffffff"),
        ("INT32U", 2**32 - 1, "860500ffffffff"),
        ("FLOAT32", 1.5, "8705083fc00000"),  # tissue 817
        ("FLOAT64", 1.5, "87090b3ff8000000000000"),
        ("Dbpos", Dbpos.ON, "84020680"),
        ("Quality", INVALID, "8403034000"),
        ("Quality", OLD_DATA, "840303c100"),
        ("Timestamp", UtcTime(1, 2, 3), "91080000000100000203"),
    ],
)
def test_widths(bType, leaf, octets):
    layout = DataSetLayout([bType])
    assert layout.encode([leaf]).hex() == octets
    assert layout.decode(bytes.fromhex(octets)) == (leaf,)


@pytest.mark.parametrize(("bType", "ends"), INTEGERS.items())
def test_integers_out_of_range(bType, ends):
    layout = DataSetLayout(["BOOLEAN", bType])
    for wrong in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(GooseEncodeError, match=f"leaf 1: {wrong} "):
            layout.encode([False, wrong])
        value = Unsigned(wrong) if bType.endswith("U") and wrong > 0 else wrong
        if bType in {"INT64", "INT64U"}:
            continue  # what does not fit here has no encoding at all
        with pytest.raises(GooseDecodeError) as caught:
            layout.decode(encode_all_data([False, value]))
        assert caught.value.field == "allData[2]"


def test_integers_out_of_range_in_their_own_width():
    with pytest.raises(GooseDecodeError, match="200 does not fit INT8"):
        DataSetLayout(["INT8"]).decode(bytes.fromhex("850200c8"))
    with pytest.raises(GooseDecodeError, match="does not fit INT32"):
        DataSetLayout(["INT32"]).decode(bytes.fromhex("850500fffffffe"))
    with pytest.raises(GooseDecodeError, match="does not fit INT24U"):
        DataSetLayout(["INT24U"]).decode(bytes.fromhex("860401000000"))


@pytest.mark.parametrize(
    ("bType", "leaf"),
    [
        ("INT32", "1"),
        ("INT32", None),
        ("INT32", 1.5),
        ("FLOAT32", 1e39),
        ("FLOAT32", "x"),
        ("Dbpos", 4),
        ("Quality", 0),
        ("Timestamp", UtcTime(-1)),
        ("Timestamp", 3),
    ],
)
def test_leaves_of_another_type(bType, leaf):
    with pytest.raises(GooseEncodeError, match="leaf 0"):
        DataSetLayout([bType]).encode([leaf])


def test_wrong_number_of_leaves():
    layout = DataSetLayout(["Quality", "INT8"])
    for leaves in ([], [GOOD], [GOOD, 1, 2]):
        with pytest.raises(GooseEncodeError, match=f"{len(leaves)} leaves, the data set has 2"):
            layout.encode(leaves)


@pytest.mark.parametrize("member", ["VisString255", "Octet64", "", StructureOf(("INT8", "nothing"))])
def test_types_without_a_fixed_length(member):
    with pytest.raises(GooseEncodeError, match="no fixed-length"):
        DataSetLayout([member])


LAYOUT = DataSetLayout(["BOOLEAN", StructureOf(("INT16U", "Dbpos")), ArrayOf("FLOAT32", 2)])
VALUES = (True, Structure((Unsigned(5), BitString(1, 2))), Array((0.5, 1.5)))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (VALUES[:2], "allData[3]"),
        ((*VALUES, True), "allData"),
        ((1, *VALUES[1:]), "allData[1]"),
        ((True, Structure((5, BitString(1, 2))), VALUES[2]), "allData[2][1]"),
        ((True, Structure((Unsigned(5), BitString(1, 3))), VALUES[2]), "allData[2][2]"),
        ((True, Structure((Unsigned(5),)), VALUES[2]), "allData[2][2]"),
        ((True, Array((Unsigned(5), BitString(1, 2))), VALUES[2]), "allData[2]"),
        ((*VALUES[:2], Array((0.5,))), "allData[3][2]"),
        ((*VALUES[:2], Array((0.5, 1.5, 2.5))), "allData[3]"),
        ((*VALUES[:2], Array((0.5, Float64(1.5)))), "allData[3][2]"),
        ((True, True, VALUES[2]), "allData[2]"),
    ],
)
def test_members_of_another_type(values, field):
    octets = encode_all_data(values)
    with pytest.raises(GooseDecodeError) as caught:
        LAYOUT.decode(octets)
    assert caught.value.field == field
    assert 0 <= caught.value.offset <= len(octets)
    assert LAYOUT.decode(encode_all_data(VALUES)) == (True, 5, Dbpos.OFF, 0.5, 1.5)


def test_padding_bits_are_checked_in_the_fast_path():
    octets = LAYOUT.encode((True, 5, Dbpos.OFF, 0.5, 1.5))
    broken = octets.replace(b"\x84\x02\x06\x40", b"\x84\x02\x06\x41")
    with pytest.raises(GooseDecodeError, match="padding"):
        LAYOUT.decode(broken)


@given(st.binary(max_size=60) | st.integers(0, 40).flatmap(lambda at: st.tuples(st.just(at), st.integers(0, 255))))
def test_any_octets_give_leaves_or_a_located_error(octets):
    if isinstance(octets, tuple):
        changed = bytearray(LAYOUT.encode((True, 5, Dbpos.OFF, 0.5, 1.5)))
        changed[octets[0] % len(changed)] = octets[1]
        octets = bytes(changed)
    try:
        leaves = LAYOUT.decode(octets)
    except GooseDecodeError as error:
        leaves = error
    if not isinstance(leaves, GooseDecodeError):
        assert [type(leaf) for leaf in leaves] == [bool, int, Dbpos, float, float]
        assert repr(LAYOUT.decode(LAYOUT.encode(leaves))) == repr(leaves)
