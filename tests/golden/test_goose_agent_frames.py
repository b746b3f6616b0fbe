"""The agents' own frames, read by tshark: every member in its place, with its value, and no complaint."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    AgentState,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
    EventId,
    LoadState,
    LockState,
    Outcome,
    Progress,
    Request,
    Reservation,
    SectionState,
    SideState,
    Stage,
)
from ied_agents.dflisr.wire import encode_fast, encode_slow
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.iec61850.data import Array, BitString, Structure, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import Direction, Voltage
from scl import agent_model
from tools.pcap import PcapWriter

# What each member's attributes are set to, by name; with agent_model it gives the expected reading.
# Only the state below says which of our own fields stands for which of them.
VALUES = {
    "Id.inc": 1_700_000_000,
    "Pos.stVal": BitString(1, 2),
    "Pos.q": BitString(0b1100000000001, 13),
    "Sw.clsOut": True,
    "Str.general": True,
    "Str.dirGeneral": 1,
    "Str.q": BitString(0b0100000000010, 13),
    "Pkp.id": 41,
    "Pkp.dirOk": True,
    "Ans.ans": [{"sw": 10 + n, "inc": 20 + n, "pkp": 30 + n, "ans": 1 + n % 4} for n in range(8)],
    "Evt.last": {"evSw": 42, "evCnt": 43},
    "Tr.general": True,
    "Vlt.sideA": 2,
    "Vlt.sideB": 1,
    "SideA.st": {
        "sec": 1,
        "secSw": 44,
        "secCnt": 45,
        "lock": 2,
        "lockSw": 46,
        "lockCnt": 47,
        "clr": True,
        "clrSw": 48,
        "clrCnt": 49,
    },
    "SideB.st": {
        "sec": 2,
        "secSw": 50,
        "secCnt": 51,
        "lock": 1,
        "lockSw": 52,
        "lockCnt": 53,
        "clr": True,
        "clrSw": 54,
        "clrCnt": 55,
    },
    "OpEx.general": True,
    "Rec.shots": True,
    "Rec.prog": True,
    "Clr.ids": [{"evSw": 60 + n, "evCnt": 70 + n} for n in range(4)],
    "Hold.st": {"on": True, "epoch": 80, "num": 81, "sw": 82},
    "Rtn.ev": {"evSw": 221, "evCnt": 222},
    "Sw.rdy": True,
    "Beh.stVal": 3,
    "Sw.tags": 2,
    "Sw.unprv": True,
    "ClmA.id": {"epoch": 83, "num": 84, "evSw": 85, "evCnt": 86, "kind": 2},
    "ClmA.bnd": [2 * (100 + n) + 1 for n in range(agent_model.BOUNDARY)],
    "ClmA.req": {"tie": 87, "owner": 88, "deciA": 89},
    "ClmA.grant": [2 * (120 + n) for n in range(4)],
    "ClmB.id": {"epoch": 90, "num": 91, "evSw": 92, "evCnt": 93, "kind": 1},
    "ClmB.bnd": [2 * (130 + n) for n in range(agent_model.BOUNDARY)],
    "ClmB.req": {"tie": 94, "owner": 95, "deciA": 96},
    "ClmB.grant": [2 * (150 + n) + 1 for n in range(4)],
    "PrmA.id": {"epoch": 97, "num": 98, "sw": 99},
    "PrmB.id": {"epoch": 160, "num": 161, "sw": 162},
    "Rsv.rsv": [
        {"epoch": 170 + n, "num": 180 + n, "sw": 190 + n, "tie": 200 + n, "deciA": 70_000 + n, "whole": n % 2 == 1}
        for n in range(agent_model.RESERVATIONS)
    ],
    "Out.st": {"epoch": 163, "num": 164, "sw": 165, "tie": 166, "reason": 12, "deciA": 70_009},
    "Prg.st": {"prg": 4, "reason": 1, "evSw": 167, "evCnt": 168},
}
STATE = AgentState(
    incarnation=1_700_000_000,
    position=Dbpos.OFF,
    position_quality=0b1100000000001,
    close_outstanding=True,
    pickup=True,
    direction=Direction.FORWARD,
    pickup_quality=0b0100000000010,
    pickup_id=41,
    direction_trusted=True,
    answers=tuple(Answer(10 + n, 20 + n, 30 + n, AnswerKind(1 + n % 4)) for n in range(8)),
    last_event=EventId(42, 43),
    trip=True,
    voltage=(Voltage.PRESENT, Voltage.ABSENT),
    sides=(
        SideState(SectionState.FAULTED, EventId(44, 45), LockState.DURABLE, EventId(46, 47), True, EventId(48, 49)),
        SideState(SectionState.SUSPECT, EventId(50, 51), LockState.VOLATILE, EventId(52, 53), True, EventId(54, 55)),
    ),
    breaker_failure=True,
    shots=True,
    reclosing=True,
    cleared=tuple(EventId(60 + n, 70 + n) for n in range(4)),
    held=True,
    hold_claim=ClaimId(80, 81, 82),
    returning=EventId(221, 222),
    ready=True,
    behaviour=Behaviour.TEST,
    tags=2,
    unproven=True,
    claims=(
        Claim(
            ClaimId(83, 84, 7),
            EventId(85, 86),
            tuple(Bound(100 + n, 1) for n in range(agent_model.BOUNDARY)),
            Request(87, 88, 89),
            tuple(Bound(120 + n, 0) for n in range(4)),
            ClaimKind.MANUAL,
        ),
        Claim(
            ClaimId(90, 91, 7),
            EventId(92, 93),
            tuple(Bound(130 + n, 0) for n in range(agent_model.BOUNDARY)),
            Request(94, 95, 96),
            tuple(Bound(150 + n, 1) for n in range(4)),
            ClaimKind.RETURN,
        ),
    ),
    promises=(ClaimId(97, 98, 99), ClaimId(160, 161, 162)),
    reservations=tuple(
        Reservation(ClaimId(170 + n, 180 + n, 190 + n), 200 + n, 70_000 + n, n % 2 == 1)
        for n in range(agent_model.RESERVATIONS)
    ),
    outcome=Outcome(ClaimId(163, 164, 165), 166, Reason.DID_NOT_CLOSE, 70_009),
    progress=Progress(Stage.FINISHED, Reason.NO_SUPPLY, EventId(167, 168)),
)
SLOW_VALUES = {
    "Id.inc": 1_700_000_000,
    "Ld.flow": -12.5,
    "Ld.q": BitString(0b1100000000001, 13),
    "Ld.genA": 3.25,
    "Ld.genB": 6.5,
    "Spr.sideA": 4.5,
    "Spr.sideB": 5.75,
}
LOAD = LoadState(1_700_000_000, -12.5, 0b1100000000001, (3.25, 6.5), (4.5, 5.75))


def expected(member, value):
    """The MMS value that the SCD's types give to the values of one member."""
    if member.count:
        assert len(value) == member.count
        return Array(element(member, item) for item in value)
    return element(member, value)


def element(member, value):
    if not member.structured:
        return basic(member.attributes[0].bType, value)
    assert list(value) == [attribute.name for attribute in member.attributes]
    return Structure(basic(attribute.bType, value[attribute.name]) for attribute in member.attributes)


def basic(bType, value):
    return Unsigned(value) if bType.endswith("U") else value


@pytest.mark.parametrize(
    ("members", "values", "octets"),
    [
        pytest.param(agent_model.FAST, VALUES, encode_fast(STATE), id="fast"),
        pytest.param(agent_model.SLOW, SLOW_VALUES, encode_slow(LOAD), id="slow"),
    ],
)
def test_tshark_reads_every_member_of_an_agents_frame(tmp_path, read_with_tshark, members, values, octets):
    publisher = Publisher(
        PublisherConfig(
            dst=bytes.fromhex("010ccd010007"),
            src=bytes.fromhex("020000000007"),
            vlan_id=0,
            vlan_priority=4,
            appid=0x8007,
            gocbRef="F1L7FLISR/LLN0$GO$gcbFast",
            datSet="F1L7FLISR/LLN0$fast",
            goID="F1L7/fast",
            confRev=1,
            numDatSetEntries=len(members),
            fixedOffs=True,
        )
    )
    frame = publisher.publish(octets, 0.0, UtcTime(1_700_000_000, 0, 0x0A))
    assert len(frame) <= 1518  # with the 802.1Q tag, without the check sequence
    with (tmp_path / "agent.pcap").open("wb") as file:
        PcapWriter(file).write(0, frame)
    [read] = read_with_tshark(tmp_path / "agent.pcap")
    assert read.complaints == ()
    assert list(values) == [f"{member.do}.{member.da}" for member in members]
    for member, found in zip(members, read.all_data, strict=True):
        name = f"{member.do}.{member.da}"
        assert (name, repr(found)) == (name, repr(expected(member, values[name])))
