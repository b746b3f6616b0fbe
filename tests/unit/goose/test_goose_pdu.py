"""PDU and Ethernet frame: what strict and lenient reading take, and where they say it went wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.goose.frame import EthernetFrame, format_mac, parse_mac
from ied_agents.goose.layout import DataSetLayout
from ied_agents.goose.pdu import GoosePdu, decode_pdu, encode_pdu
from ied_agents.iec61850.data import BitString, Unsigned
from ied_agents.iec61850.utctime import UtcTime

# GOOSE_DEMO.pcap of the corpus, VLAN 10 priority 4, APPID 0x2000, ten booleans.
FIELDS = [
    ("gocbRef", "8003313131"),
    ("timeAllowedtoLive", "81022710"),
    ("datSet", "8203323232"),
    ("goID", "8303333333"),
    ("t", "84084ddda4dadbe76d0a"),
    ("stNum", "850101"),
    ("sqNum", "860101"),
    ("simulation", "870100"),
    ("confRev", "880101"),
    ("ndsCom", "890100"),
    ("numDatSetEntries", "8a0102"),
    ("allData", "ab06830100830101"),
]
PDU = GoosePdu(
    gocbRef="111",
    timeAllowedtoLive=10000,
    datSet="222",
    goID="333",
    t=UtcTime(0x4DDDA4DA, 0xDBE76D, 0x0A),
    stNum=1,
    sqNum=1,
    simulation=False,
    confRev=1,
    ndsCom=False,
    numDatSetEntries=2,
    allData=(False, True),
)


def apdu(*, order=None, tail="", **changes):
    """The PDU with fields replaced (or, as "", left out)."""
    fields = dict(FIELDS) | changes
    content = bytes.fromhex("".join(fields[name] for name in order or fields))
    return bytes((0x61, len(content))) + content + bytes.fromhex(tail)


def without(*names):
    return apdu(order=[name for name, _ in FIELDS if name not in names])


def test_plain_pdu():
    assert decode_pdu(apdu()) == decode_pdu(apdu(), strict=False) == PDU
    assert encode_pdu(PDU) == apdu()


def test_optional_fields():
    pdu = decode_pdu(without("goID", "simulation", "ndsCom"))
    assert (pdu.goID, pdu.simulation, pdu.ndsCom) == (None, False, False)
    assert decode_pdu(encode_pdu(pdu)) == pdu


@pytest.mark.parametrize("name", [name for name, _ in FIELDS if name not in {"goID", "simulation", "ndsCom"}])
def test_missing_mandatory_field(name):
    with pytest.raises(GooseDecodeError) as caught:
        decode_pdu(without(name))
    assert (caught.value.field, caught.value.reason) == (name, "missing")
    if name == "allData":
        assert decode_pdu(without(name), strict=False).allData == ()
        return
    with pytest.raises(GooseDecodeError, match=f"{name} .*missing"):
        decode_pdu(without(name), strict=False)


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (apdu(tail="00"), "IECGoosePdu", "after the PDU"),
        (
            apdu(order=["confRev", *(name for name, _ in FIELDS if name != "confRev")]),
            "gocbRef",
            "after confRev",
        ),
        (apdu(goID="83033333338c0100"), "IECGoosePdu", "0x8C is no field"),
        (apdu(gocbRef="8003310031"), "gocbRef", "VisibleString"),
        (apdu(datSet="8203e43232"), "datSet", "VisibleString"),
        (apdu(stNum="8501ff"), "stNum", "negative"),
        (apdu(numDatSetEntries="8a0103"), "numDatSetEntries", "2 members"),
        (apdu(numDatSetEntries="8a0100"), "numDatSetEntries", "2 members"),
        (apdu(gocbRef="808103313131"), "IECGoosePdu", "too many"),
        (apdu(allData="ab0783010084020641"), "allData[2]", "padding"),
    ],
)
def test_what_strict_reading_refuses(raw, field, reason):
    with pytest.raises(GooseDecodeError, match=reason) as caught:
        decode_pdu(raw)
    assert caught.value.field == field
    assert decode_pdu(raw, strict=False).t == PDU.t


def test_what_lenient_reading_makes_of_it():
    pdu = decode_pdu(apdu(stNum="8501ff", gocbRef="8003e43131", allData="ab0783010084020641"), strict=False)
    assert (pdu.stNum, pdu.gocbRef, pdu.allData) == (255, "ä11", (False, BitString(1, 2)))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timeAllowedtoLive": "810100"}, "timeAllowedtoLive"),
        ({"timeAllowedtoLive": "8105" + "00" * 5}, "timeAllowedtoLive"),
        ({"stNum": "8500"}, "stNum"),
        ({"sqNum": "86050100000000"}, "sqNum"),
        ({"sqNum": "860a" + "00" * 10}, "sqNum"),
        ({"simulation": "87020000"}, "simulation"),
        ({"ndsCom": "8900"}, "ndsCom"),
        ({"t": "84074ddda4dadbe76d"}, "t"),
        ({"goID": "83033333338303333333"}, "goID"),
        ({"allData": "ab02830101"}, "IECGoosePdu"),
        ({"allData": "ab058301008305"}, "allData[2]"),
        ({"allData": "ab7f"}, "IECGoosePdu"),
    ],
)
def test_what_nobody_takes(changes, field):
    raw = apdu(**changes)
    for strict in (True, False):
        with pytest.raises(GooseDecodeError) as caught:
            decode_pdu(raw, strict=strict)
        assert caught.value.field == field
        assert 0 < caught.value.offset <= len(raw)


@pytest.mark.parametrize("raw", [b"", b"\x61", b"\x60\x00", b"\x61\x80", b"\x61\x05\x80"])
def test_no_pdu(raw):
    for strict in (True, False):
        with pytest.raises(GooseDecodeError, match="IECGoosePdu"):
            decode_pdu(raw, strict=strict)


@given(st.data())
def test_every_truncation_and_every_changed_octet(data):
    raw = bytearray(apdu())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for strict in (True, False):
        outcome = decoded(bytes(raw), strict=strict)
        if isinstance(outcome, GooseDecodeError):
            assert 0 <= outcome.offset <= len(raw)
        else:
            assert outcome.timeAllowedtoLive > 0


def decoded(raw, *, strict):
    try:
        return decode_pdu(raw, strict=strict)
    except GooseDecodeError as error:
        return error


def test_fixed_length_header():
    raw = encode_pdu(PDU, DataSetLayout(["BOOLEAN", "BOOLEAN"]))
    for tag in (0x81, 0x85, 0x86, 0x88, 0x8A):
        assert bytes((tag, 5)) in raw
    assert decode_pdu(raw) == PDU
    with pytest.raises(GooseDecodeError, match="tag 0x83"):
        encode_pdu(PDU, DataSetLayout(["BOOLEAN", "INT8"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"gocbRef": "x" * 130},
        {"gocbRef": "ä"},
        {"datSet": "a\nb"},
        {"goID": "ä"},
        {"stNum": -1},
        {"stNum": 2**32},
        {"numDatSetEntries": 3},
        {"allData": (None, None)},
    ],
)
def test_what_cannot_be_sent(changes):
    fields = {name: getattr(PDU, name) for name in PDU.__dataclass_fields__}
    with pytest.raises(GooseEncodeError):
        encode_pdu(GoosePdu(**fields | changes))


FRAME = EthernetFrame(
    dst=bytes.fromhex("010ccd010001"),
    src=bytes.fromhex("0017a4dd981e"),
    vlan_id=10,
    vlan_priority=4,
    appid=0x2000,
    simulated=False,
    apdu=apdu(),
)


def test_frame_with_and_without_tag():
    tagged = FRAME.encode()
    head = "010ccd0100010017a4dd981e8100800a88b82000"
    assert tagged.hex().startswith(head + f"{len(apdu()) + 8:04x}0000000061")
    assert EthernetFrame.decode(tagged) == FRAME
    untagged = EthernetFrame(FRAME.dst, FRAME.src, None, 0, 0xBFFF, True, apdu())
    assert untagged.encode().hex().startswith("010ccd0100010017a4dd981e88b8bfff")
    assert EthernetFrame.decode(untagged.encode()) == untagged


@pytest.mark.parametrize(
    "trailer",
    [
        bytes(12),  # padding of a short frame
        bytes.fromhex("0001a05e88fb"),  # PRP: sequence number, LAN A and size, suffix (IEC 62439-3)
        bytes(8) + bytes.fromhex("0001b05e88fb"),
    ],
)
def test_padding_and_prp_trailer_are_left_alone(trailer):
    assert EthernetFrame.decode(memoryview(FRAME.encode() + trailer)) == FRAME


@pytest.mark.parametrize(
    ("octets", "field"),
    [
        (b"", "frame"),
        (FRAME.encode()[:20], "frame"),
        (bytes(60), "EtherType"),
        (FRAME.encode()[:14] + b"\x80\x0a\x81\x00" + bytes(40), "EtherType"),
        (FRAME.encode()[:-1], "Length"),
        (FRAME.encode()[:20] + b"\x00\x07" + FRAME.encode()[22:], "Length"),
    ],
)
def test_frames_that_are_none(octets, field):
    with pytest.raises(GooseDecodeError) as caught:
        EthernetFrame.decode(octets)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "changes",
    [
        {"dst": b"\x01"},
        {"src": b""},
        {"vlan_id": 4096},
        {"vlan_id": -1},
        {"vlan_priority": 8},
        {"appid": 0x10000},
        {"appid": -1},
        {"apdu": bytes(65_528)},
    ],
)
def test_frames_that_cannot_be_sent(changes):
    fields = {name: getattr(FRAME, name) for name in FRAME.__dataclass_fields__}
    with pytest.raises(GooseEncodeError):
        EthernetFrame(**fields | changes).encode()


def test_mac_addresses():
    assert parse_mac("01-0C-CD-01-00-FF") == parse_mac("01:0c:cd:01:00:ff") == bytes.fromhex("010ccd0100ff")
    assert format_mac(bytes.fromhex("010ccd0100ff")) == "01-0C-CD-01-00-FF"


@pytest.mark.parametrize(
    "text",
    ["", "01-0C-CD-01-00", "01-0C:CD-01-00-00", "01-0C-CD-01-00-0G", "010CCD010000", "01-0C-CD-01-00-00 "],
)
def test_no_mac_address(text):
    with pytest.raises(ValueError, match="MAC"):
        parse_mac(text)


def test_counters_of_any_width_are_read():
    for width in range(1, 10):
        pdu = decode_pdu(apdu(stNum=f"85{width:02x}" + "00" * (width - 1) + "05"))
        assert pdu.stNum == 5
    assert decode_pdu(apdu(allData="ab0c860500000000ff8503000001", order=None)).allData == (Unsigned(255), 1)
