"""Frames that we send, read by tshark: no complaint, and the values that went in."""

from __future__ import annotations

import random

import pytest

from ied_agents.goose.data import encode_all_data
from ied_agents.goose.frame import EthernetFrame
from ied_agents.goose.layout import ArrayOf, DataSetLayout, StructureOf
from ied_agents.goose.pdu import GoosePdu, encode_pdu
from ied_agents.goose.publisher import Publisher, PublisherConfig
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
from ied_agents.iec61850.quality import OLD_DATA
from ied_agents.iec61850.utctime import UtcTime
from tools.pcap import PcapWriter

DST = bytes.fromhex("010ccd010007")
SRC = bytes.fromhex("020000000007")
NOW = UtcTime(1_700_000_000, 0x800000, 0x8A)
VALUES = (
    *(True, False),
    *(0, 1, -1, 127, 128, -128, -129, 32767, -32769, 2**31 - 1, -(2**31)),
    *map(Unsigned, (0, 1, 127, 128, 255, 256, 65535, 2**31 - 1)),
    *(0.0, -0.0, 1.5, -123.25, 2.0**127, float("inf"), float("-inf")),
    *(Float64(0.1), Float64(-1e300)),
    *(b"", b"\x00\x01\xff", bytes(range(200))),
    *("", "abc", "x" * 130),
    *(MMSString(""), MMSString("abc")),
    *(BitString(0, 0), BitString(1, 2), BitString(0b1010101010101, 13), BitString(255, 8), BitString(1, 32)),
    *(BooleanArray(5, 3), BooleanArray(0, 16)),
    *(NOW, UtcTime(0), UtcTime(0xFFFFFFFF, 0xFFFFFF, 0xFF)),
    *(BinaryTime(0), BinaryTime(86_399_999), BinaryTime(1, 0), BinaryTime(86_399_999, 65_535)),
    *(Bcd(0), Bcd(42)),
    *(ObjectId("1.0.9506.2.3"), ObjectId("2.999.1234567")),
    *(Structure(()), Array(()), Array((1, 2, 3)), Structure((True, Structure((Array((Unsigned(3),)), "a"))))),
)


def shown(value):
    """A value as the tshark reader gives it."""
    if isinstance(value, Structure | Array):
        return type(value)(shown(member) for member in value)
    return (value.to_ns() // 10, value.quality) if isinstance(value, UtcTime) else value


def rounded(value):
    if isinstance(value, Structure | Array):
        return type(value)(rounded(member) for member in value)
    return (value.ns // 10, value.quality) if hasattr(value, "ns") else value


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(map(shown, ours), map(rounded, theirs), strict=True):
        assert type(one) is type(other)
        assert repr(one) == repr(other)  # repr tells -0.0 from 0.0 and keeps nested types apart


def pdu(values, **changes):
    fields = {
        "gocbRef": "IED1LD0/LLN0$GO$gcb1",
        "timeAllowedtoLive": 2000,
        "datSet": "IED1LD0/LLN0$set1",
        "goID": "one",
        "t": NOW,
        "stNum": 5,
        "sqNum": 7,
        "simulation": False,
        "confRev": 3,
        "ndsCom": False,
        "numDatSetEntries": len(values),
        "allData": tuple(values),
    }
    return GoosePdu(**fields | changes)


def write(path, frames):
    with path.open("wb") as file:
        writer = PcapWriter(file)
        for number, frame in enumerate(frames):
            writer.write(number, frame)


def test_every_data_type(tmp_path, read_with_tshark):
    groups = [VALUES[start : start + 8] for start in range(0, len(VALUES), 8)]
    frames = [EthernetFrame(DST, SRC, 5, 4, 0x3001, False, encode_pdu(pdu(group))).encode() for group in groups]
    write(tmp_path / "own.pcap", frames)
    read = read_with_tshark(tmp_path / "own.pcap")
    assert [frame.complaints for frame in read] == [()] * len(groups)
    for group, frame in zip(groups, read, strict=True):
        same(group, frame.all_data)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("counter", [0, 1, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32 - 1])
def test_header_fields(tmp_path, read_with_tshark, counter, fixed):
    message = pdu(
        (True, False),
        goID=None if counter == 0 else "goose",
        timeAllowedtoLive=max(counter & 0x7FFFFFFF, 1),
        stNum=counter,
        sqNum=counter,
        simulation=counter % 2 == 0,
        confRev=counter & 0x7FFFFFFF,
        ndsCom=counter % 2 == 1,
    )
    apdu = encode_pdu(message, DataSetLayout(["BOOLEAN", "BOOLEAN"]) if fixed else None)
    frame = EthernetFrame(DST, SRC, None, 0, 0xBFFF, message.simulation, apdu)
    write(tmp_path / "own.pcap", [frame.encode()])
    (read,) = read_with_tshark(tmp_path / "own.pcap")
    assert read.complaints == ()
    assert read.shown["goose.appid"] == "0xbfff"
    assert read.shown["goose.reserve1.s_bit"] == str(int(message.simulation))
    for name in ("timeAllowedtoLive", "stNum", "sqNum", "confRev", "simulation", "ndsCom"):
        assert int(read.shown["goose." + name]) == int(getattr(message, name))
    assert read.shown.get("goose.goID") == message.goID
    assert read.all_data == (True, False)


def test_fixed_length_members(tmp_path, read_with_tshark):
    layout = DataSetLayout(
        [
            *("BOOLEAN", "INT8", "INT16", "INT32", "INT8U", "INT16U", "INT24U", "INT32U", "Enum", "FLOAT32"),
            *("FLOAT64", "Dbpos", "Quality", "Timestamp"),
            ArrayOf(StructureOf(("INT16U", "INT32", "Enum")), 2),
        ]
    )
    low = (
        False,
        -128,
        -32768,
        -(2**31),
        0,
        0,
        0,
        0,
        -1,
        -1.5,
        -1e300,
        Dbpos.OFF,
        OLD_DATA,
        NOW,
        0,
        -1,
        0,
        1,
        1,
        3,
    )
    high = (
        True,
        127,
        32767,
        2**31 - 1,
        255,
        65535,
        2**24 - 1,
        2**31 - 1,
        126,
        1.5,
        1e300,
        Dbpos.BAD,
        OLD_DATA,
        NOW,
    )
    leaves = [low, (*high, 65535, 2**31 - 1, 5, 0, 0, 0)]
    config = PublisherConfig(DST, SRC, 0, 4, 1, "A/LLN0$GO$f", "A/LLN0$f", "f", 1, len(layout.members), fixedOffs=True)
    publisher = Publisher(config)
    write(tmp_path / "own.pcap", [publisher.publish(layout.encode(each), 0.0, NOW) for each in leaves])
    first, second = read_with_tshark(tmp_path / "own.pcap")
    assert first.complaints == second.complaints == ()
    assert first.shown["len"] == second.shown["len"]
    for read, each in ((first, leaves[0]), (second, leaves[1])):
        unsigned = tuple(map(Unsigned, each[4:8]))
        elements = each[14:17], each[17:20]
        expected = (
            *each[:4],
            *unsigned,
            *each[8:10],
            Float64(each[10]),
            each[11].to_bit_string(),
            each[12].to_bit_string(),
            NOW,
            Array(Structure((Unsigned(a), b, c)) for a, b, c in elements),
        )
        same(expected, read.all_data)


def test_publisher_over_a_run(tmp_path, read_with_tshark):
    """States and repetitions, long and short encodings of the counters, as one capture."""
    rng = random.Random(7)
    publisher = Publisher(PublisherConfig(DST, SRC, 0, 4, 1, "A/LLN0$GO$f", "A/LLN0$f", None, 1, 2))
    publisher.stNum = 2**31 - 3
    frames, expected = [], []
    for step in range(40):
        state = (step, Unsigned(rng.randrange(2**31)))
        frames.append(publisher.publish(encode_all_data(state), float(step), UtcTime(step)))
        publisher.sqNum = 125
        expected.append((publisher.stNum, 0, state))
        for repetition in range(1, 5):
            frames.append(publisher.handle_timer(publisher.next_deadline))
            expected.append((publisher.stNum, 125 + repetition, state))
    write(tmp_path / "own.pcap", frames)
    read = read_with_tshark(tmp_path / "own.pcap")
    assert {frame.complaints for frame in read} == {()}
    assert [(int(f.shown["goose.stNum"]), int(f.shown["goose.sqNum"]), f.all_data) for f in read] == expected
