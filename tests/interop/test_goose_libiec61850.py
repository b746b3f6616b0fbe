"""GOOSE both ways with libiec61850 over a real Ethernet, in network namespaces; every member is compared."""

from __future__ import annotations

import select
import struct
from dataclasses import replace
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import CLEAR_SIDE, AgentState, EventId, SectionState
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.dflisr.wire import encode_fast
from ied_agents.goose.data import decode_all_data, encode_all_data
from ied_agents.goose.events import StateReceived
from ied_agents.goose.layout import DataSetLayout, StructureOf
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.data import Array, BinaryTime, BitString, Float64, Structure, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, OLD_DATA
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.station import Station
from tools.lab import HOST_INTERFACE

PATIENCE_S = 30
DST = bytes.fromhex("010ccd010042")
REF = "IED1LD0/LLN0$GO$gcb1"
EPOCH_1984_MS = 441_763_200_000  # 1984-01-01T00:00:00Z
T = UtcTime(1_700_000_000, 0x800000, 0x0A)
# What libiec61850's GOOSE subscriber knows; it reads no MMS string.
STATES = [
    (
        *(True, 0, -1, 2**31 - 1, -(2**31), 2**40),
        *map(Unsigned, (0, 255, 65_535, 2**32 - 1)),
        *(1.5, -0.25, Float64(0.1)),
        *(BitString(1, 2), BitString(0b1010101010101, 13), BitString(0x8001, 16)),
        *(b"\x00\x01\xff", "abc"),
        *(T, UtcTime(0)),
        Structure((False, Structure((5, Unsigned(6))))),
        Array((1, 2, 3)),
    ),
    (
        *(False, 1, 127, -(2**31), 128, -(2**40)),
        *map(Unsigned, (1, 128, 256, 2**31)),
        *(-(2.0**100), 0.0, Float64(-1e300)),
        *(BitString(2, 2), BitString(1, 13), BitString(0, 16)),
        *(b"\xff\x00\x01", "xyz"),
        *(UtcTime(0xFFFFFFFF, 0xFFFFFF, 0xFF), T),
        Structure((True, Structure((-5, Unsigned(2**32 - 1))))),
        Array((-1, -2, -3)),
    ),
]


def described(value):
    """A value as the station describes it."""
    match value:
        case bool():
            return ["boolean", value]
        case Unsigned():
            return ["unsigned", int(value)]
        case int():
            return ["integer", value]
        case Float64():
            return ["float", float(value)]
        case float():
            return ["float", struct.unpack("f", struct.pack("f", value))[0]]
        case BitString():
            return ["bit string", f"{value.value:0{value.size}b}"]
        case UtcTime():
            return ["utc time", value.encode().hex()]
        case bytes():
            return ["octet string", value.hex()]
        case str():
            return ["visible string", value]
        case BinaryTime():
            midnight_ms = 0 if value.days is None else EPOCH_1984_MS + value.days * 86_400_000
            return ["binary time", midnight_ms + value.milliseconds]
        case Structure() | Array():
            return [type(value).__name__.lower(), [described(member) for member in value]]
    raise TypeError(value)


@pytest.fixture
def lab(make_lab):
    return make_lab("ours", "theirs")


@pytest.fixture
def station(lab, libiec61850):
    """``station("receive", ...)``: the foreign process on its host."""
    return lambda *arguments: libiec61850(lab, "theirs", *arguments)


@pytest.fixture
def link(lab):
    with lab.enter("ours"):
        link = AfPacketLink(HOST_INTERFACE, [DST])
    yield link
    link.close()


def received(link):
    """The next frames from the wire."""
    readable, _, _ = select.select([link], [], [], PATIENCE_S)
    assert readable, "nothing came"
    return link.receive()


@pytest.mark.parametrize("vlan", [None, (5, 4), (0, 7)])
@pytest.mark.parametrize("fixedOffs", [False, True])
def test_libiec61850_receives_ours(station, link, vlan, fixedOffs):
    theirs = station("receive", HOST_INTERFACE, REF, 0x3001)
    vlan_id, priority = vlan or (None, 0)
    config = PublisherConfig(
        DST,
        link.mac,
        vlan_id,
        priority,
        0x3001,
        REF,
        "IED1LD0/LLN0$set1",
        "id1",
        7,
        len(STATES[0]),
        fixedOffs=fixedOffs,
    )
    publisher = Publisher(config)
    expected = {
        "valid": True,
        "error": 0,
        "gocbRef": REF,
        "timeAllowedtoLive": config.timeAllowedtoLive,
        "datSet": config.datSet,
        "goID": "id1",
        "t_ms": 1_700_000_000_500,
        "simulation": False,
        "confRev": 7,
        "ndsCom": False,
        "vlan": None,  # the kernel keeps the tag from a socket that is bound to 0x88B8
    }
    for number, state in enumerate([*STATES, STATES[0]], 1):
        frames = [publisher.publish(encode_all_data(state), float(number), T)]
        frames += [publisher.handle_timer(publisher.next_deadline) for _ in range(3)]
        for sq, frame in enumerate(frames):
            link.send(frame)
            numbers = {"stNum": number, "sqNum": sq}
            assert theirs.line() == expected | numbers | {"allData": [described(value) for value in state]}


def test_libiec61850_receives_binary_times(station, link):
    state = (BinaryTime(0), BinaryTime(86_399_999), BinaryTime(5, 1), BinaryTime(86_399_999, 65_535))
    theirs = station("receive", HOST_INTERFACE, REF, 1)
    publisher = Publisher(PublisherConfig(DST, link.mac, 0, 4, 1, REF, "set", "id", 1, len(state)))
    link.send(publisher.publish(encode_all_data(state), 0.0, T))
    assert theirs.line()["allData"] == [described(value) for value in state]


def test_libiec61850_receives_our_fixed_length_members(station, link):
    layout = DataSetLayout(
        [
            *("BOOLEAN", "INT8", "INT16", "INT32", "INT8U", "INT16U", "INT32U", "Enum", "FLOAT32", "FLOAT64"),
            *("Dbpos", "Quality", "Timestamp"),
            StructureOf(("INT16U", "INT32")),
        ]
    )
    states = [
        (False, -128, -32768, -(2**31), 0, 0, 0, -1, -1.5, -1e300, Dbpos.OFF, GOOD, T, 0, -1),
        (True, 127, 32767, 2**31 - 1, 255, 65535, 2**32 - 1, 5, 1.5, 0.1, Dbpos.BAD, OLD_DATA, T, 65535, 1),
    ]
    theirs = station("receive", HOST_INTERFACE, REF, 1)
    publisher = Publisher(
        PublisherConfig(DST, link.mac, 0, 4, 1, REF, "set", "id", 1, len(layout.members), fixedOffs=True)
    )
    for leaves in [*states, states[0]]:
        link.send(publisher.publish(layout.encode(leaves), 0.0, T))
        message = theirs.line()
        assert (message["valid"], message["error"]) == (True, 0)
        data = [
            *(described(leaf) for leaf in leaves[:4]),
            *(["unsigned", leaf] for leaf in leaves[4:7]),
            *(described(leaf) for leaf in (*leaves[7:9], Float64(leaves[9]))),
            *(described(leaf.to_bit_string()) for leaf in leaves[10:12]),
            described(leaves[12]),
            ["structure", [["unsigned", leaves[13]], ["integer", leaves[14]]]],
        ]
        assert message["allData"] == data


@pytest.mark.parametrize("vlan", [None, (5, 4), (0, 7)])
def test_we_receive_libiec61850s(station, link, vlan):
    theirs = station("publish", HOST_INTERFACE)
    config = SubscriberConfig(DST, 0x3001, REF, "IED1LD0/LLN0$set1", "id1", 7, len(STATES[0]))
    subscriber = Subscriber(config)
    receiver = Receiver([subscriber])
    order = {
        "dst": DST.hex(),
        "vlan": vlan,
        "appid": 0x3001,
        "gocbRef": REF,
        "datSet": config.datSet,
        "goID": "id1",
        "confRev": 7,
        "ndsCom": False,
        "simulation": False,
        "timeAllowedtoLive": 500,
    }
    wanted = {"float": "double"}
    for state in [*STATES, STATES[0]]:
        members = [described(value) for value in state]
        for index, value in enumerate(state):
            if isinstance(value, Float64):
                members[index][0] = wanted["float"]
        for repetition in range(3):
            theirs.order(**order, new_state=repetition == 0, allData=members)
            (frame,) = received(link)
            assert frame[12:14] == (b"\x81\x00" if vlan else b"\x88\xb8")
            if vlan:
                assert frame[14:16] == (vlan[1] << 13 | vlan[0]).to_bytes(2, "big")
            events = receiver.receive(frame, 0.0)
            if repetition == 0:
                (event,) = events
                assert isinstance(event, StateReceived)
                assert repr(event.value) == repr(state)
            else:
                assert list(events) == []
    assert subscriber.counters.states == 3
    assert subscriber.counters.repetitions == 6


def test_simulation_and_needs_commissioning_both_ways(station, link):
    theirs = station("receive", HOST_INTERFACE, REF, 1)
    config = PublisherConfig(DST, link.mac, 0, 4, 1, REF, "set", "id", 1, 1, simulation=True, ndsCom=True)
    link.send(Publisher(config).publish(encode_all_data((True,)), 0.0, T))
    message = theirs.line()
    assert (message["simulation"], message["ndsCom"], message["allData"]) == (True, True, [["boolean", True]])


@pytest.mark.parametrize("behaviour", [Behaviour.ON, Behaviour.TEST_BLOCKED])
def test_an_agent_in_test_follows_a_fault_that_libiec61850_simulates(station, lab, behaviour):
    """The frames of the switch before it, with a declared fault: it locks in test, and would open."""
    agents = read_site(Path(scl.__file__).parent / "samples" / "two_source.toml").agents
    streams = agents[3].peers[2].fast
    config = streams.subscriber()
    record = replace(COMMISSIONED, behaviour=behaviour).started(1000)
    agent = Station(agents[3], record, unclean=False, mac=bytes(6), now=0.0)
    agent.turn(0.0, 0)
    accepted = agent.agent.set_simulation(None, on=True) is Reason.NONE
    assert accepted is (behaviour is Behaviour.TEST_BLOCKED)
    event = EventId(2, 65)
    side = CLEAR_SIDE._replace(section=SectionState.FAULTED, section_event=event)
    state = AgentState(500, sides=(side, side), last_event=event, ready=True)
    theirs = station("publish", HOST_INTERFACE)
    with lab.enter("ours"):
        link = AfPacketLink(HOST_INTERFACE, [config.dst])
    theirs.order(
        dst=config.dst.hex(),
        vlan=None,
        appid=config.appid,
        gocbRef=config.gocbRef,
        datSet=config.datSet,
        goID=config.goID,
        confRev=config.confRev,
        ndsCom=False,
        simulation=True,
        timeAllowedtoLive=2000,
        new_state=True,
        allData=[described(value) for value in decode_all_data(encode_fast(state), strict=False)],
    )
    (frame,) = received(link)
    link.close()
    agent.receive_frame(frame, 0.1)
    output = agent.turn(0.1, 10**8)
    alive, simulated, *_ = agent.supervision()[config.gocbRef]
    assert (alive, simulated, agent.agent.record.locked) == (accepted, accepted, accepted)
    assert ("would open" in [note.kind for note in output.notes]) is accepted
    assert output.commands == []
    assert agent.counters()[config.gocbRef]["simulation_refused"] == (not accepted)
