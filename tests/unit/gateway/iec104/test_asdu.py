"""ASDUs: every type against octets put together by hand, what is refused, and how objects are packed."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from iec104_vectors import TAG, TAG24, TAG56, UNTAGGED, VECTORS

from gateway.iec104.asdu import (
    LONGEST_ASDU,
    Asdu,
    Cause,
    Header,
    InformationObject,
    Qds,
    Sizes,
    Step,
    TypeID,
    UnknownTypeError,
    decode,
    decode_header,
    encode,
    mirror,
    pack,
    tag_of,
    untagged,
)
from gateway.iec104.elements import ELEMENTS
from gateway.iec104.errors import Iec104DecodeError, Iec104EncodeError
from gateway.iec104.time_tag import CP24Time2a, CP56Time2a

SMALL = Sizes(1, 1, 1)
ALL_SIZES = [Sizes(cot, ca, ioa) for cot in (1, 2) for ca in (1, 2) for ioa in (1, 2, 3)]
T = TypeID
EVERY = sorted(T)
SEQUENCES = [T(number) for number in (1, 3, 5, 7, 9, 11, 13, 15, 20, 21)]
LONE_EVENTS = [T(number) for number in (18, 19, 39, 40)]
MONITORED = [typeID for typeID in EVERY if typeID <= 40]


def one(typeID, octets=None, *, head="01030001 00"):
    """An ASDU of one object: COT 3, originator 0, CA 1."""
    return bytes((typeID,)) + bytes.fromhex(head) + (VECTORS[typeID][0] if octets is None else bytes.fromhex(octets))


def refused(octets, sizes=None):
    with pytest.raises(Iec104DecodeError) as caught:
        decode(octets, sizes or Sizes())
    return caught.value.field, caught.value.offset


def test_every_type_is_there():
    numbers = [*range(1, 22), *range(30, 41), *range(45, 52), *range(58, 65), 70, *range(100, 108), *range(110, 114)]
    assert [int(typeID) for typeID in EVERY] == numbers
    assert VECTORS.keys() == ELEMENTS.keys() == set(T)


@pytest.mark.parametrize("typeID", EVERY, ids=lambda typeID: typeID.name)
def test_type(typeID):
    octets = one(typeID, head="01 03 00 0100")
    expected = VECTORS[typeID][1]
    asdu = decode(octets)
    assert asdu == Asdu(typeID, Cause.SPONTANEOUS, 1, (expected,))
    (found,) = asdu.objects
    assert type(asdu.typeID) is TypeID
    assert [type(part) for part in found] == [type(part) for part in expected]
    assert encode(asdu) == octets
    assert pack(typeID, 3, 1, [expected]) == [(octets, 1)]


@pytest.mark.parametrize("typeID", EVERY, ids=lambda typeID: typeID.name)
def test_type_cut_short_or_with_a_tail(typeID):
    octets = one(typeID, head="01 03 00 0100")
    for size in range(len(octets)):
        assert refused(octets[:size]) == (("data unit identifier", size) if size < 6 else ("number of objects", 1))
    assert refused(octets + b"\0") == ("number of objects", 1)


@pytest.mark.parametrize("sizes", ALL_SIZES, ids=str)
@pytest.mark.parametrize("typeID", EVERY, ids=lambda typeID: typeID.name)
def test_field_sizes(typeID, sizes):
    expected = VECTORS[typeID][1]._replace(IOA=0xFE)
    octets = (
        bytes((typeID, 1, 3))
        + bytes((sizes.COT - 1) * [7])
        + b"\x09\0"[: sizes.CA]
        + b"\xfe\0\0"[: sizes.IOA]
        + VECTORS[typeID][0][3:]
    )
    asdu = decode(octets, sizes)
    assert asdu == Asdu(typeID, 3, 9, (expected,), originator=7 * (sizes.COT - 1))
    assert encode(asdu, sizes) == octets


def test_header():
    assert decode_header(bytes.fromhex("fe85c6 0a 9001")) == Header(254, True, 5, 6, True, True, 10, 400)
    assert decode_header(bytes.fromhex("647f3f ff ffff 00")) == Header(100, False, 127, 63, False, False, 255, 65535)
    assert decode_header(bytes.fromhex("01804501"), SMALL) == Header(1, True, 0, 5, True, False, 0, 1)


@pytest.mark.parametrize("bit", range(8))
def test_bits_of_the_cause(bit):
    octets = one(T.M_SP_NA_1, head=f"01 {1 << bit:02x} 00 0100")
    asdu = decode(octets)
    assert (asdu.cause, asdu.negative, asdu.test) == ((1 << bit) % 64, bit == 6, bit == 7)
    assert encode(asdu) == octets


def test_several_objects():
    octets = bytes.fromhex("03 03 14 05 0200  e90300 01  010203 02  ffffff 83")
    objects = (InformationObject(1001, 1), InformationObject(0x030201, 2), InformationObject(0xFFFFFF, 3, Qds.IV))
    asdu = decode(octets)
    assert asdu == Asdu(T.M_DP_NA_1, Cause.INTERROGATED, 2, objects, originator=5)
    assert encode(asdu) == octets


def test_sequence_of_consecutive_addresses():
    octets = bytes.fromhex("0d 82 03 00 9001  c71500  20b0c640 00  ac1cdabe 01")  # zeek's m_me_nc_1-sq-1.test
    asdu = decode(octets)
    assert [found.IOA for found in asdu.objects] == [5575, 5576]
    assert [found.value for found in asdu.objects] == pytest.approx([6.209, -0.426], rel=1e-4)
    assert [found.qualifier for found in asdu.objects] == [0, Qds.OV]
    assert asdu.sequence
    assert encode(asdu) == octets


@pytest.mark.parametrize("typeID", MONITORED, ids=lambda typeID: typeID.name)
def test_sequence_of_any_monitored_type(typeID):
    octets = bytes((typeID, 0x82)) + bytes.fromhex("0300 0100") + VECTORS[typeID][0] + VECTORS[typeID][0][3:]
    asdu = decode(octets)
    first = VECTORS[typeID][1]
    assert asdu.objects == (first, first._replace(IOA=1002))
    assert asdu.sequence
    assert encode(asdu) == octets


def test_sequence_beyond_the_last_address():
    assert len(decode(bytes.fromhex("0182030001 00 feffff 00 00")).objects) == 2
    assert refused(bytes.fromhex("0183030001 00 feffff 00 00 00")) == ("IOA", 6)
    assert refused(bytes.fromhex("01820301 ff 0000"), SMALL) == ("IOA", 4)


@pytest.mark.parametrize("typeID", [typeID for typeID in EVERY if typeID >= 45], ids=lambda typeID: typeID.name)
def test_what_is_alone(typeID):
    octets = VECTORS[typeID][0]
    assert refused(one(typeID, octets.hex(), head="81 0600 0100")) == ("number of objects", 1)
    assert refused(one(typeID, octets.hex() * 2, head="02 0600 0100")) == ("number of objects", 1)
    expected = VECTORS[typeID][1]
    for asdu in (Asdu(typeID, 6, 1, (expected,), sequence=True), Asdu(typeID, 6, 1, (expected, expected))):
        with pytest.raises(Iec104EncodeError, match="in one ASDU"):
            encode(asdu)
    assert [count for _, count in pack(typeID, 6, 1, [expected, expected._replace(IOA=1002)])] == [1, 1]


def test_no_object():
    assert refused(bytes.fromhex("01 00 0300 0100")) == ("number of objects", 1)
    assert refused(bytes.fromhex("01 80 0300 0100 010000")) == ("number of objects", 1)
    with pytest.raises(Iec104EncodeError, match="0 objects"):
        encode(Asdu(T.M_SP_NA_1, 3, 1, ()))
    assert pack(T.M_SP_NA_1, 3, 1, []) == []


def test_unknown_types():
    for number in set(range(256)) - {int(typeID) for typeID in T}:
        with pytest.raises(UnknownTypeError, match=f"typeID at octet 0: {number} is unknown") as caught:
            decode(bytes((number,)) + bytes.fromhex("0046 01 0200"))
        assert caught.value.header == Header(number, False, 0, 6, True, False, 1, 2)


def test_longer_than_a_frame():
    assert len(decode(bytes.fromhex("0f 9e 2500 0100 010000") + bytes(5 * 30)).objects) == 30
    assert len(decode(bytes.fromhex("0f b0 2500 0100 010000") + bytes(5 * 48)).objects) == 48  # 249 octets
    assert refused(bytes.fromhex("0f b1 2500 0100 010000") + bytes(5 * 49)) == ("ASDU", 249)
    with pytest.raises(Iec104EncodeError, match="254 octets, 249 at most"):
        encode(Asdu(T.M_IT_NA_1, 37, 1, tuple(InformationObject(ioa, 0) for ioa in range(49)), sequence=True))


def test_every_octet_of_shared_octets():
    for octet in range(256):
        for typeID in (T.M_SP_NA_1, T.M_DP_NA_1, T.C_SC_NA_1, T.C_DC_NA_1, T.C_RC_NA_1):
            octets = one(typeID, f"010000 {octet:02x}")
            (found,) = decode(octets).objects
            mask = 1 if typeID in (T.M_SP_NA_1, T.C_SC_NA_1) else 3
            assert (found.value, found.qualifier) == (octet & mask, octet & ~mask)
            assert encode(decode(octets)) == octets
        (found,) = decode(one(T.M_ST_NA_1, f"010000 {octet:02x} 00")).objects
        position = octet & 0x7F
        assert found.value == Step(position - 128 if position > 63 else position, transient=octet > 127)


def test_figures_at_their_ends():
    def values(typeID, *octets):
        asdus = [one(typeID, "010000" + text) for text in octets]
        assert [encode(decode(octets)) for octets in asdus] == asdus
        return [decode(octets).objects[0].value for octets in asdus]

    assert values(T.M_ME_ND_1, "0080", "ffff", "0000", "ff7f") == [-1.0, -1 / 32768, 0.0, 1 - 2**-15]
    assert values(T.M_ME_NB_1, "008000", "ff7f00") == [-32768, 32767]
    assert values(T.M_IT_NA_1, "0000008000", "ffffff7f00") == [-(1 << 31), (1 << 31) - 1]
    assert values(T.M_BO_NA_1, "ffffffff00") == [0xFFFFFFFF]
    assert values(T.M_ME_NC_1, "0000807f00", "000080ff00", "0000008000") == [math.inf, -math.inf, 0.0]
    assert math.isnan(values(T.M_ME_NC_1, "0100c07f00")[0])


@pytest.mark.parametrize(
    ("typeID", "fields", "reason"),
    [
        (T.M_SP_NA_1, (2,), "the value is 0 to 1"),
        (T.M_SP_NA_1, (None,), "M_SP_NA_1"),
        (T.M_SP_NA_1, (0.0,), "M_SP_NA_1"),
        (T.M_SP_NA_1, (True, Qds.OV), "0x01 of the qualifier's octet is the value"),
        (T.M_SP_NA_1, (True, 256), "M_SP_NA_1"),
        (T.M_SP_NA_1, (True, -256), "M_SP_NA_1"),
        (T.M_DP_NA_1, (4,), "the value is 0 to 3"),
        (T.M_DP_NA_1, (-1,), "the value is 0 to 3"),
        (T.M_DP_NA_1, (1, 2), "0x03 of the qualifier's octet is the value"),
        (T.M_ST_NA_1, (Step(64, transient=False),), "-64 to 63"),
        (T.M_ST_NA_1, (Step(-65, transient=False),), "-64 to 63"),
        (T.M_ST_NA_1, (3,), "M_ST_NA_1"),
        (T.M_BO_NA_1, (1 << 32,), "M_BO_NA_1"),
        (T.M_BO_NA_1, (-1,), "M_BO_NA_1"),
        (T.M_ME_NA_1, (1.0,), "M_ME_NA_1"),
        (T.M_ME_NA_1, (-1.001,), "M_ME_NA_1"),
        (T.M_ME_NA_1, (math.nan,), "M_ME_NA_1"),
        (T.M_ME_NA_1, (math.inf,), "M_ME_NA_1"),
        (T.M_ME_NA_1, (0.5, 256), "M_ME_NA_1"),
        (T.M_ME_NB_1, (32768,), "M_ME_NB_1"),
        (T.M_ME_NB_1, (1.5,), "M_ME_NB_1"),
        (T.M_ME_NC_1, (1e39,), "M_ME_NC_1"),
        (T.M_ME_NC_1, ("1",), "M_ME_NC_1"),
        (T.M_IT_NA_1, (1 << 31,), "M_IT_NA_1"),
        (T.M_ME_ND_1, (0.0, Qds.IV), "no qualifier"),
        (T.C_BO_NA_1, (0, 0x80), "no qualifier"),
        (T.C_IC_NA_1, (0, 20), "no value"),
        (T.C_IC_NA_1, (None, 256), "C_IC_NA_1"),
        (T.C_RD_NA_1, (None, 1), "C_RD_NA_1"),
        (T.M_SP_NA_1, (True, 0, TAG56), "time tag expected: None"),
        (T.M_SP_TB_1, (True, 0), "time tag expected: CP56Time2a"),
        (T.M_SP_TB_1, (True, 0, TAG24), "time tag expected: CP56Time2a"),
        (T.M_SP_TA_1, (True, 0, TAG56), "time tag expected: CP24Time2a"),
        (T.C_CS_NA_1, (None,), "time tag expected: CP56Time2a"),
        (T.M_SP_TB_1, (True, 0, TAG), "M_SP_TB_1"),
        (T.M_SP_NA_1, (True, 0, None, 1), "no elapsed time"),
        (T.M_EP_TD_1, (1, 0, TAG56, 65536), "M_EP_TD_1"),
        (T.M_EP_TD_1, (1, 0, TAG56, -1), "M_EP_TD_1"),
    ],
)
def test_objects_that_have_no_encoding(typeID, fields, reason):
    objects = (InformationObject(77, *fields),)
    with pytest.raises(Iec104EncodeError, match=reason) as caught:
        encode(Asdu(typeID, 3, 1, objects))
    assert "IOA=77" in str(caught.value)
    with pytest.raises(Iec104EncodeError, match=reason):
        pack(typeID, 3, 1, objects)


@pytest.mark.parametrize(
    ("changes", "sizes", "reason"),
    [
        ({"cause": 64}, Sizes(), "cause 64"),
        ({"cause": -1}, Sizes(), "cause -1"),
        ({"CA": 65536}, Sizes(), "CA 65536"),
        ({"CA": 256}, SMALL, "CA 256"),
        ({"CA": -1}, Sizes(), "CA -1"),
        ({"originator": 256}, Sizes(), "originator 256"),
        ({"originator": 1}, SMALL, "originator 1"),
        ({"objects": (InformationObject(1 << 24, 0),)}, Sizes(), "IOA=16777216"),
        ({"objects": (InformationObject(256, 0),)}, SMALL, "IOA=256"),
        ({"objects": (InformationObject(-1, 0),)}, Sizes(), "IOA=-1"),
        ({"objects": (InformationObject("1", 0),)}, Sizes(), "IOA='1'"),
        ({"objects": (InformationObject(1, 0), InformationObject(3, 0)), "sequence": True}, Sizes(), "IOA 3 with SQ 1"),
        ({"objects": (InformationObject(1, 0),) * 128}, Sizes(), "128 objects"),
        ({"objects": (InformationObject(1, 0),) * 61}, Sizes(), "250 octets"),
    ],
)
def test_asdus_that_have_no_encoding(changes, sizes, reason):
    asdu = Asdu(T.M_DP_NA_1, 3, 1, (InformationObject(1, 1),))._replace(**changes)
    with pytest.raises(Iec104EncodeError, match=reason):
        encode(asdu, sizes)


def test_mirror():
    octets = bytes.fromhex("2d 01 86 0a 0100 010000 81")
    assert mirror(octets, Sizes(), Cause.ACTIVATION_CON, negative=False).hex() == "2d01870a010001000081"
    assert mirror(octets, Sizes(), Cause.UNKNOWN_IOA, negative=True).hex() == "2d01ef0a010001000081"
    unknown = bytes.fromhex("fd ff 46 01 05 06 07")
    assert mirror(unknown, SMALL, Cause.UNKNOWN_TYPE, negative=False).hex() == "fdff2c01050607"
    with pytest.raises(Iec104DecodeError, match="data unit identifier"):
        mirror(octets[:5], Sizes(), 7, negative=False)
    with pytest.raises(Iec104EncodeError, match="cause 64"):
        mirror(octets, Sizes(), 64, negative=False)


@pytest.mark.parametrize("typeID", EVERY, ids=lambda typeID: typeID.name)
def test_types_without_time(typeID):
    assert untagged(typeID) is UNTAGGED.get(typeID, typeID)
    time = VECTORS[typeID][1].time
    assert tag_of(typeID) is (type(time) if time is not None else None)
    assert untagged(typeID) is typeID or tag_of(untagged(typeID)) is None


def points(typeID, addresses):
    return [VECTORS[typeID][1]._replace(IOA=address) for address in addresses]


@pytest.mark.parametrize(
    ("typeID", "addresses", "counts"),
    [
        (T.M_SP_NA_1, range(1, 1000), [127] * 7 + [110]),  # SQ 1: 9 octets and 1 each, 127 are the most
        (T.M_SP_NA_1, range(1, 2000, 2), [60] * 16 + [40]),  # SQ 0: 6 octets and 4 each
        (T.M_ME_NC_1, range(1, 101), [48, 48, 4]),  # 9 octets and 5 each
        (T.M_ME_NC_1, range(1, 201, 2), [30, 30, 30, 10]),  # 6 octets and 8 each
        (T.M_ME_TF_1, range(1, 101), [16] * 6 + [4]),  # never SQ 1 with time tags: 6 octets and 15 each
        (T.M_SP_NA_1, [1], [1]),
        (T.M_SP_NA_1, [1, 2], [2]),
        (T.M_SP_NA_1, [5, 5, 5], [3]),
        (T.M_SP_NA_1, [3, 2, 1], [3]),
        (T.M_SP_NA_1, [*range(1, 100), 500], [99, 1]),
        (T.M_SP_NA_1, [*range(1, 20), *range(30, 40)], [29]),
        (T.M_EP_TE_1, [1, 2, 3], [1, 1, 1]),
        (T.C_SC_NA_1, [1, 2, 3], [1, 1, 1]),
    ],
)
def test_how_many_go_together(typeID, addresses, counts):
    objects = points(typeID, addresses)
    packed = pack(typeID, 20, 1, objects)
    assert [count for _, count in packed] == counts
    assert [found for octets, _ in packed for found in decode(octets).objects] == objects


def test_the_form_that_is_shorter():
    assert pack(T.M_SP_NA_1, 20, 1, points(T.M_SP_NA_1, [1]))[0][0].hex() == "01011400010001000091"
    assert pack(T.M_SP_NA_1, 20, 1, points(T.M_SP_NA_1, [1, 2]))[0][0].hex() == "0182140001000100009191"
    assert pack(T.M_SP_NA_1, 20, 1, points(T.M_SP_NA_1, [1, 3]))[0][0].hex() == "0102140001000100009103000091"


def test_what_is_packed_has_the_header_that_was_asked_for():
    ((octets, _),) = pack(T.M_DP_NA_1, 11, 9, points(T.M_DP_NA_1, [1]), SMALL, originator=0, test=True, negative=True)
    assert octets.hex() == "0301cb090162"
    ((octets, _),) = pack(T.M_DP_NA_1, 11, 9, points(T.M_DP_NA_1, [1]), originator=3)
    assert octets.hex() == "03010b03090001000062"


@given(st.sampled_from(EVERY), st.data(), st.sampled_from(ALL_SIZES), st.booleans(), st.booleans())
def test_packed_objects_come_back_in_order(typeID, data, sizes, test, negative):
    starts = data.draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 160)), max_size=6))
    addresses = [start + index for start, run in starts for index in range(run)]
    objects = points(typeID, addresses)
    packed = pack(typeID, 3, 1, objects, sizes, test=test, negative=negative)
    assert sum(count for _, count in packed) == len(objects)
    begin = 0
    for octets, count in packed:
        assert len(octets) <= LONGEST_ASDU
        asdu = decode(octets, sizes)
        assert list(asdu.objects) == objects[begin : begin + count]
        assert asdu[:3] == (typeID, 3, 1)
        assert asdu[4:7] == (negative, test, 0)
        assert not asdu.sequence or (typeID in SEQUENCES and count > 1)
        assert count == 1 or typeID not in LONE_EVENTS
        begin += count
        if begin < len(objects) and typeID not in LONE_EVENTS and typeID < 45:
            for sequence in {False, typeID in SEQUENCES}:  # one more in no form
                with pytest.raises(Iec104EncodeError):
                    encode(asdu._replace(objects=(*asdu.objects, objects[begin]), sequence=sequence), sizes)


@st.composite
def plausible(draw):
    """Right lengths, any content."""
    sizes = draw(st.sampled_from(ALL_SIZES))
    element = ELEMENTS[draw(st.sampled_from(EVERY))]
    sequence = draw(st.booleans()) and element.typeID < 45
    count = 1 if element.typeID >= 45 else draw(st.integers(1, 5))
    body = sizes.IOA + count * element.size if sequence else count * (sizes.IOA + element.size)
    rest = draw(st.binary(min_size=sizes.COT + sizes.CA + body, max_size=sizes.COT + sizes.CA + body))
    return bytes((element.typeID, count | sequence << 7)) + rest, sizes


@given(plausible())
def test_any_content_comes_back_octet_by_octet(case):
    octets, sizes = case
    try:
        asdu = decode(octets, sizes)
    except Iec104DecodeError as error:
        field = error.field
        assert field == "IOA"  # the last address of a sequence
        return
    # A signalling NaN comes back quiet: float has no room for it.
    assume(not any(isinstance(found.value, float) and math.isnan(found.value) for found in asdu.objects))
    assert encode(asdu, sizes) == octets
    for found in asdu.objects:
        assert 0 <= found.qualifier <= 255
        assert 0 <= found.elapsed_ms <= 65535
        assert type(found.time) in {type(None), CP24Time2a, CP56Time2a}


@given(st.binary(max_size=260), st.sampled_from(ALL_SIZES))
def test_any_octets_are_an_asdu_or_refused(octets, sizes):
    try:
        asdu = decode(octets, sizes)
    except Iec104DecodeError as error:
        offset = error.offset
        assert 0 <= offset <= len(octets)
        return
    assert len(encode(asdu, sizes)) == len(octets)
