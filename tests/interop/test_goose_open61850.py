"""GOOSE both ways with open61850 over a real Ethernet, in network namespaces; every member is compared."""

from __future__ import annotations

import datetime as dt
import select

import pytest
from open61850 import data as theirs
from open61850.capture import PacketCapture
from open61850.goose import decode_goose_frame
from open61850.goose_publisher import GooseControl, GoosePublisher

from ied_agents.goose.data import encode_all_data
from ied_agents.goose.events import StateReceived, StreamLost
from ied_agents.goose.frame import format_mac
from ied_agents.goose.layout import ArrayOf, DataSetLayout, StructureOf
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.data import Array, BitString, Float64, Structure, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, OLD_DATA
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.runtime.af_packet import AfPacketLink
from tools.lab import HOST_INTERFACE

PATIENCE_S = 30
DST = bytes.fromhex("010ccd010043")
REF = "IED1LD0/LLN0$GO$gcb1"
T = UtcTime(1_700_000_000, 0x800000, 0x8A)
WHEN = dt.datetime.fromtimestamp(1_700_000_000.5, dt.UTC)
STATE = (
    *(True, False, 0, 127, 128, -1, -129, 2**31 - 1, -(2**31), 2**40),
    *map(Unsigned, (0, 127, 128, 255, 2**31, 2**32 - 1)),
    *(1.5, -0.25, Float64(0.1)),
    *(BitString(1, 2), BitString(0b1010101010101, 13), BitString(0x8001, 16)),
    *(b"", b"\x00\x01\xff", "", "abc", "x" * 130),
    *(T, UtcTime(0)),
    Structure((False, Structure((5, Unsigned(6))))),
    Array((1, 2, 3)),
)


def foreign(value):
    """A value as open61850 holds it. Its tag for MMS strings is that of object identifiers: left out."""
    match value:
        case bool():
            return theirs.BoolData(value)
        case Unsigned():
            return theirs.UIntData(int(value))
        case int():
            return theirs.IntData(value)
        case Float64():
            return theirs.FloatData(float(value), double=True)
        case float():
            return theirs.FloatData(value)
        case BitString():
            octets = (value.size + 7) // 8
            unused = 8 * octets - value.size
            return theirs.BitStringData((value.value << unused).to_bytes(octets, "big"), unused)
        case UtcTime():
            return theirs.TimestampData(dt.datetime.fromtimestamp(value.to_seconds(), dt.UTC), value.quality)
        case bytes():
            return theirs.OctetStringData(value)
        case str():
            return theirs.VisibleStringData(value)
        case Structure():
            return theirs.StructureData([foreign(member) for member in value])
        case Array():
            return theirs.ArrayData([foreign(member) for member in value])
    raise TypeError(value)


@pytest.fixture
def lab(make_lab):
    return make_lab("ours", "theirs")


@pytest.fixture
def link(lab):
    with lab.enter("ours"):
        link = AfPacketLink(HOST_INTERFACE, [DST])
    yield link
    link.close()


@pytest.fixture
def capture(lab):
    with lab.enter("theirs"):
        capture = PacketCapture(HOST_INTERFACE, timeout=PATIENCE_S)
    yield capture
    capture.close()


@pytest.mark.parametrize("vlan", [None, (5, 4), (0, 7)])
@pytest.mark.parametrize("simulation", [False, True])
def test_open61850_receives_ours(link, capture, vlan, simulation):
    vlan_id, priority = vlan or (None, 0)
    config = PublisherConfig(
        *(DST, link.mac, vlan_id, priority, 0x3001, REF, "IED1LD0/LLN0$set1", "id1", 7, len(STATE)),
        simulation=simulation,
        ndsCom=simulation,
    )
    publisher = Publisher(config)
    for number, state in enumerate((STATE, tuple(reversed(STATE))), 1):
        frames = [publisher.publish(encode_all_data(state), float(number), T)]
        frames += [publisher.handle_timer(publisher.next_deadline) for _ in range(2)]
        for sq, frame in enumerate(frames):
            link.send(frame)
            ethernet, pdu = decode_goose_frame(capture.recv().data, strict=True)
            assert ethernet.dst_mac.upper().replace(":", "-") == format_mac(DST)
            assert ethernet.src_mac.upper().replace(":", "-") == format_mac(link.mac)
            assert (ethernet.vlan_id, ethernet.vlan_priority) == (vlan or (None, None))
            assert (ethernet.app_id, ethernet.reserved1) == (0x3001, 0x8000 if simulation else 0)
            assert (pdu.gocb_ref, pdu.dat_set, pdu.go_id) == (REF, config.datSet, "id1")
            assert pdu.time_allowed_to_live == config.timeAllowedtoLive
            assert (pdu.timestamp, pdu.time_quality) == (WHEN, 0x8A)
            assert (pdu.st_num, pdu.sq_num) == (number, sq)
            assert (pdu.simulation, pdu.conf_rev, pdu.nds_com) == (simulation, 7, simulation)
            assert pdu.num_dat_set_entries == len(state)
            assert pdu.all_data == [foreign(value) for value in state]


def test_open61850_receives_our_fixed_length_members(link, capture):
    layout = DataSetLayout(
        [
            *("BOOLEAN", "INT8", "INT16", "INT32", "INT64", "INT8U", "INT16U", "INT24U", "INT32U", "INT64U"),
            *("Enum", "FLOAT32", "FLOAT64", "Dbpos", "Quality", "Timestamp"),
            ArrayOf(StructureOf(("INT16U", "INT32")), 2),
        ]
    )
    low = (
        False,
        -128,
        -32768,
        -(2**31),
        -(2**63),
        0,
        0,
        0,
        0,
        0,
        -1,
        -1.5,
        0.1,
        Dbpos.OFF,
        GOOD,
        T,
        0,
        -1,
        0,
        0,
    )
    high = (True, 127, 2**15 - 1, 2**31 - 1, 2**63 - 1, 255, 65535, 2**24 - 1, 2**32 - 1, 2**64 - 1)
    high += (126, 1.5, -1e300, Dbpos.BAD, OLD_DATA, T, 65535, 1, 5, 2**31 - 1)
    publisher = Publisher(
        PublisherConfig(DST, link.mac, 0, 4, 1, REF, "set", "id", 1, len(layout.members), fixedOffs=True)
    )
    for leaves in (low, high):
        link.send(publisher.publish(layout.encode(leaves), 0.0, T))
        _, pdu = decode_goose_frame(capture.recv().data, strict=True)
        elements = (Structure((Unsigned(leaves[at]), leaves[at + 1])) for at in (16, 18))
        values = (
            *leaves[:5],
            *map(Unsigned, leaves[5:10]),
            *leaves[10:12],
            Float64(leaves[12]),
            *(leaf.to_bit_string() for leaf in leaves[13:15]),
            leaves[15],
            Array(elements),
        )
        assert pdu.all_data == [foreign(value) for value in values]


@pytest.mark.parametrize("vlan", [None, (5, 4), (0, 7)])
def test_we_receive_open61850s(lab, link, vlan):
    vlan_id, priority = vlan or (None, None)
    control = GooseControl(
        REF,
        "IED1LD0/LLN0$set1",
        0x3001,
        format_mac(DST),
        "02-00-00-00-00-99",
        go_id="id1",
        conf_rev=7,
        vlan_id=vlan_id,
        vlan_priority=priority,
        max_time_ms=100,
        time_quality=0x8A,
    )
    subscriber = Subscriber(SubscriberConfig(DST, 0x3001, REF, control.dat_set, "id1", 7, len(STATE)))
    receiver = Receiver([subscriber])
    states = (STATE, tuple(reversed(STATE)))
    publisher = GoosePublisher(HOST_INTERFACE, control, [foreign(value) for value in states[0]])
    received = []

    def listen(frames):
        """Take frames until as many came; their number is ours to bound, their time is not."""
        while subscriber.counters.received < frames:
            readable, _, _ = select.select([link], [], [], PATIENCE_S)
            assert readable, "open61850 sends nothing"
            for frame in link.receive():
                assert frame[12:14] == (b"\x81\x00" if vlan else b"\x88\xb8")
                if vlan:
                    assert frame[14:16] == (vlan[1] << 13 | vlan[0]).to_bytes(2, "big")
                received.extend(receiver.receive(frame, 0.0))

    with lab.enter("theirs"):
        publisher.start()
    try:
        listen(5)
        publisher.publish([foreign(value) for value in states[1]])
        listen(subscriber.counters.received + 8)
    finally:
        publisher.stop()
    assert [type(event) for event in received] == [StateReceived, StateReceived]
    for number, (event, state) in enumerate(zip(received, states, strict=True), 1):
        assert (event.stNum, event.sqNum, event.t.quality) == (number, 0, 0x8A)
        assert repr(event.value) == repr(state)
    assert subscriber.counters.repetitions == subscriber.counters.received - 2
    assert list(receiver.handle_timer(1.0)) == [StreamLost(REF, 300)]
