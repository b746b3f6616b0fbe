"""The agents' data sets as octets: against the generic decoder, and there and back through one decoder."""

from __future__ import annotations

import struct
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

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
from ied_agents.dflisr.wire import (
    FastDecoder,
    FastEncoder,
    changed,
    changed_load,
    decode_slow,
    encode_fast,
    encode_slow,
)
from ied_agents.goose.data import decode_all_data, encode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.iec61850.data import Array, BitString, Structure, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage
from scl import agent_model

ME = 7

# -- every field set, each with a value of its own -----------------------------------------------------------

FULL = AgentState(
    incarnation=0xF0000001,
    position=Dbpos.ON,
    position_quality=0b1100000000001,
    close_outstanding=True,
    pickup=True,
    direction=Direction.BACKWARD,
    pickup_quality=0b0100000000010,
    pickup_id=0xF0000002,
    direction_trusted=True,
    answers=tuple(Answer(100 + n, 0xF0000100 + n, 200 + n, AnswerKind(1 + n % 4)) for n in range(agent_model.ANSWERS)),
    last_event=EventId(301, 0xF0000003),
    trip=True,
    voltage=(Voltage.ABSENT, Voltage.PRESENT),
    sides=(
        SideState(
            SectionState.FAULTED,
            EventId(302, 11),
            LockState.DURABLE,
            EventId(303, 12),
            True,
            EventId(304, 13),
        ),
        SideState(
            SectionState.SUSPECT,
            EventId(305, 14),
            LockState.VOLATILE,
            EventId(306, 15),
            True,
            EventId(307, 16),
        ),
    ),
    breaker_failure=True,
    shots=True,
    reclosing=True,
    cleared=tuple(EventId(400 + n, 20 + n) for n in range(agent_model.CLEARED)),
    held=True,
    hold_claim=ClaimId(1, 30, 500),
    returning=EventId(320, 41),
    ready=True,
    behaviour=Behaviour.TEST_BLOCKED,
    tags=3,
    unproven=True,
    claims=(
        Claim(
            ClaimId(2, 31, ME),
            EventId(308, 17),
            tuple(Bound(600 + n, n % 2) for n in range(agent_model.BOUNDARY)),
            Request(620, 621, 0xF0000004),
            tuple(Bound(630 + n, n % 2) for n in range(agent_model.GRANTS)),
            ClaimKind.TRANSFER,
        ),
        Claim(
            ClaimId(3, 32, ME),
            EventId(309, 18),
            tuple(Bound(640 + n, n % 2) for n in range(agent_model.BOUNDARY)),
            Request(660, 661, 35),
            tuple(Bound(670 + n, n % 2) for n in range(agent_model.GRANTS)),
            ClaimKind.RETURN,
        ),
    ),
    promises=(ClaimId(4, 33, 501), ClaimId(5, 34, 502)),
    reservations=tuple(
        Reservation(ClaimId(6, 40 + n, 510 + n), 700 + n, 5000 + n, n % 2 == 1) for n in range(agent_model.RESERVATIONS)
    ),
    outcome=Outcome(ClaimId(7, 36, 503), 710, Reason.OVERTAKEN, 70_007),
    progress=Progress(Stage.STOPPED, Reason.DID_NOT_OPEN, EventId(310, 19)),
)


def number(value):
    return Unsigned(value)


# What a stranger must read, by the reference that stands in the SCD; written out by hand.
U = number
EXPECTED = {
    "AFSR1.Id.inc": U(0xF0000001),
    "SW1.Pos.stVal": BitString(2, 2),
    "SW1.Pos.q": BitString(0b1100000000001, 13),
    "AFSR1.Sw.clsOut": True,
    "PTOC1.Str.general": True,
    "PTOC1.Str.dirGeneral": 2,
    "PTOC1.Str.q": BitString(0b0100000000010, 13),
    "AFSR1.Pkp.id": U(0xF0000002),
    "AFSR1.Pkp.dirOk": True,
    "AFSR1.Ans.ans": Array(Structure((U(100 + n), U(0xF0000100 + n), U(200 + n), 1 + n % 4)) for n in range(8)),
    "AFSR1.Evt.last": Structure((U(301), U(0xF0000003))),
    "PTRC1.Tr.general": True,
    "AFSR1.Vlt.sideA": 1,
    "AFSR1.Vlt.sideB": 2,
    "AFSR1.SideA.st": Structure((1, U(302), U(11), 2, U(303), U(12), True, U(304), U(13))),
    "AFSR1.SideB.st": Structure((2, U(305), U(14), 1, U(306), U(15), True, U(307), U(16))),
    "RBRF1.OpEx.general": True,
    "AFSR1.Rec.shots": True,
    "AFSR1.Rec.prog": True,
    "AFSR1.Clr.ids": Array(Structure((U(400 + n), U(20 + n))) for n in range(4)),
    "AFSR1.Hold.st": Structure((True, U(1), U(30), U(500))),
    "AFSR1.Rtn.ev": Structure((U(320), U(41))),
    "AFSR1.Sw.rdy": True,
    "LLN0.Beh.stVal": 4,
    "AFSR1.Sw.tags": U(3),
    "AFSR1.Sw.unprv": True,
    "AFSR1.ClmA.id": Structure((U(2), U(31), U(308), U(17), 3)),
    "AFSR1.ClmA.bnd": Array(U(2 * (600 + n) + n % 2) for n in range(agent_model.BOUNDARY)),
    "AFSR1.ClmA.req": Structure((U(620), U(621), U(0xF0000004))),
    "AFSR1.ClmA.grant": Array(U(2 * (630 + n) + n % 2) for n in range(4)),
    "AFSR1.ClmB.id": Structure((U(3), U(32), U(309), U(18), 1)),
    "AFSR1.ClmB.bnd": Array(U(2 * (640 + n) + n % 2) for n in range(agent_model.BOUNDARY)),
    "AFSR1.ClmB.req": Structure((U(660), U(661), U(35))),
    "AFSR1.ClmB.grant": Array(U(2 * (670 + n) + n % 2) for n in range(4)),
    "AFSR1.PrmA.id": Structure((U(4), U(33), U(501))),
    "AFSR1.PrmB.id": Structure((U(5), U(34), U(502))),
    "AFSR1.Rsv.rsv": Array(
        Structure((U(6), U(40 + n), U(510 + n), U(700 + n), U(5000 + n), n % 2 == 1))
        for n in range(agent_model.RESERVATIONS)
    ),
    "AFSR1.Out.st": Structure((U(7), U(36), U(503), U(710), 15, U(70_007))),
    "AFSR1.Prg.st": Structure((5, 13, U(310), U(19))),
}


def references(members):
    return [f"{member.ln}.{member.do}.{member.da}" for member in members]


def assert_identical(ours, theirs):
    """Equal and of the same type, at every depth: ``True`` is no ``1`` here."""
    assert repr(ours) == repr(theirs)


def test_every_member_of_the_fast_data_set_is_what_a_generic_decoder_reads():
    read = decode_all_data(encode_fast(FULL), strict=True)
    assert list(EXPECTED) == references(agent_model.FAST)
    for (reference, expected), found in zip(EXPECTED.items(), read, strict=True):
        assert (reference, repr(found)) == (reference, repr(expected))


def test_every_member_of_the_slow_data_set_is_what_a_generic_decoder_reads():
    state = LoadState(0xF0000001, -12.5, 0b1100000000001, (3.25, 6.5), (4.5, 5.75))
    read = decode_all_data(encode_slow(state), strict=True)
    assert references(agent_model.SLOW) == [
        "AFSR1.Id.inc",
        "AFSR1.Ld.flow",
        "AFSR1.Ld.q",
        "AFSR1.Ld.genA",
        "AFSR1.Ld.genB",
        "AFSR1.Spr.sideA",
        "AFSR1.Spr.sideB",
    ]
    assert_identical(read, (Unsigned(0xF0000001), -12.5, BitString(0b1100000000001, 13), 3.25, 6.5, 4.5, 5.75))
    assert decode_slow(encode_slow(state)) == state


def test_a_full_state_comes_back_whole():
    assert FastDecoder(ME)(encode_fast(FULL)) == FULL


def test_the_first_state_of_an_agent_comes_back_whole():
    assert FastDecoder(ME)(encode_fast(AgentState(1))) == AgentState(1)


def test_every_state_takes_the_same_octets_so_that_it_fits_one_frame():
    assert len(encode_fast(FULL)) == len(encode_fast(AgentState(0))) < 1400


# -- there and back, in any sequence -------------------------------------------------------------------------

switches = st.integers(1, 0x3FFF)
u32 = st.integers(0, 0xFFFFFFFF)
u16 = st.integers(0, 0xFFFF)
u8 = st.integers(0, 0xFF)
qualities = st.integers(0, 0x1FFF)
events = st.just(EventId(0, 0)) | st.builds(EventId, switches, u32)
real_events = st.builds(EventId, switches, u32)
claim_ids = st.just(ClaimId(0, 0, 0)) | st.builds(ClaimId, u8, u32, u16)
bounds = st.builds(Bound, switches, st.integers(0, 1))


def lists(items, count):
    return st.lists(items, max_size=count).map(tuple)


sides = st.builds(
    SideState,
    st.sampled_from(SectionState),
    events,
    st.sampled_from(LockState),
    events,
    st.booleans(),
    events,
)
claims = st.just(AgentState(0).claims[0]) | st.builds(
    Claim,
    st.builds(ClaimId, u8, st.integers(1, 0xFFFFFFFF), st.just(ME)),
    events,
    lists(bounds, agent_model.BOUNDARY),
    st.builds(Request, u16, u16, u32),
    lists(bounds, agent_model.GRANTS),
    st.sampled_from(ClaimKind),
)
states = st.builds(
    AgentState,
    incarnation=u32,
    position=st.sampled_from(Dbpos),
    position_quality=qualities,
    close_outstanding=st.booleans(),
    pickup=st.booleans(),
    direction=st.sampled_from(Direction),
    pickup_quality=qualities,
    pickup_id=u32,
    direction_trusted=st.booleans(),
    answers=lists(st.builds(Answer, switches, u32, u32, st.sampled_from(AnswerKind)), agent_model.ANSWERS),
    last_event=events,
    trip=st.booleans(),
    voltage=st.tuples(st.sampled_from(Voltage), st.sampled_from(Voltage)),
    sides=st.tuples(sides, sides),
    breaker_failure=st.booleans(),
    shots=st.booleans(),
    reclosing=st.booleans(),
    cleared=lists(real_events, agent_model.CLEARED),
    held=st.booleans(),
    hold_claim=claim_ids,
    returning=events,
    ready=st.booleans(),
    behaviour=st.sampled_from(Behaviour),
    tags=u8,
    unproven=st.booleans(),
    claims=st.tuples(claims, claims),
    promises=st.tuples(claim_ids, claim_ids),
    reservations=lists(st.builds(Reservation, claim_ids, switches, u32, st.booleans()), agent_model.RESERVATIONS),
    outcome=st.builds(Outcome, claim_ids, u16, st.sampled_from(Reason), u32),
    progress=st.builds(Progress, st.sampled_from(Stage), st.sampled_from(Reason), events),
)


@st.composite
def sequences(draw):
    """States of one agent, each a mixture of the one before and a new one, as life brings them."""
    sequence = [draw(states)]
    names = list(AgentState._fields)
    for _ in range(draw(st.integers(0, 4))):
        new = draw(states)
        changed = draw(st.lists(st.sampled_from(names), unique=True, max_size=4))
        sequence.append(sequence[-1]._replace(**{name: getattr(new, name) for name in changed}))
    return sequence


@settings(max_examples=50)  # each is a sequence of up to five states
@given(sequences())
def test_any_sequence_of_states_comes_back_through_one_decoder(sequence):
    decode = FastDecoder(ME)
    assert [decode(encode_fast(state)) for state in sequence] == sequence


@settings(max_examples=50)
@given(sequences())
def test_an_encoder_that_uses_its_octets_again_gives_what_a_new_one_gives(sequence):
    encode = FastEncoder()
    assert [encode(state) for state in sequence] == [encode_fast(state) for state in sequence]


def test_an_encoder_that_refused_a_state_encodes_the_next_one():
    encode = FastEncoder()
    with pytest.raises(ValueError, match="entries for an array"):
        encode(FULL._replace(cleared=(EventId(1, 1),) * (agent_model.CLEARED + 1)))
    assert encode(FULL) == encode_fast(FULL)


def test_members_in_their_shortest_encoding_are_read_too_and_what_was_known_stays():
    decode, raw = FastDecoder(ME), encode_fast(FULL)
    assert decode(raw) == FULL
    short = encode_all_data(decode_all_data(encode_fast(AgentState(1, pickup_id=1))))
    assert len(short) < len(raw)
    assert decode(short) == AgentState(1, pickup_id=1)
    assert decode(raw) == FULL


def read_or_refusal(read, raw):
    """The value, or the text of the refusal; anything else than GooseDecodeError comes through."""
    try:
        return read(raw)
    except GooseDecodeError as error:
        return str(error)


@settings(max_examples=50)
@given(sequences(), st.data())
def test_garbage_in_between_does_not_change_what_follows(sequence, data):
    decode = FastDecoder(ME)
    for state in sequence:
        raw = bytearray(encode_fast(state))
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        read_or_refusal(decode, bytes(raw))
        assert decode(encode_fast(state)) == state


SIZE = len(encode_fast(FULL))


@given(st.binary(max_size=1600) | st.binary(min_size=SIZE, max_size=SIZE))
def test_any_octets_give_a_state_or_an_error_that_names_the_data(raw):
    for read, kind in ((FastDecoder(ME), AgentState), (decode_slow, LoadState)):
        result = read_or_refusal(read, raw)
        assert isinstance(result, kind) or result.startswith("allData")


@given(st.integers(0, SIZE - 1), st.integers(0, 255))
def test_one_wrong_octet_gives_a_state_or_an_error_that_names_the_data(position, octet):
    raw = bytearray(encode_fast(FULL))
    raw[position] = octet
    result = read_or_refusal(FastDecoder(ME), bytes(raw))
    assert isinstance(result, AgentState) or result.startswith("allData")


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [-1, 1, 40])
def test_a_wrong_length_is_refused_with_the_place_where_it_shows(change):
    good = encode_fast(FULL)
    raw = good[:change] if change < 0 else good + bytes(change)
    with pytest.raises(GooseDecodeError, match=r"allData.* octet \d+: "):
        FastDecoder(ME)(raw)


def test_no_octets_at_all_are_refused():
    with pytest.raises(GooseDecodeError, match=r"allData.* octet 0: "):
        FastDecoder(ME)(b"")
    with pytest.raises(GooseDecodeError, match=r"allData.* octet 0: "):
        decode_slow(b"")


def test_a_wrong_tag_is_refused_with_its_offset():
    raw = bytearray(encode_fast(FULL))
    raw[0] = 0x85
    with pytest.raises(GooseDecodeError, match=r"octet 0\b.*0x85.*0x86"):
        FastDecoder(ME)(bytes(raw))
    raw = bytearray(encode_fast(FULL))
    raw[7] = 0x83  # after INT32U incarnation of 7 octets: Dbpos
    with pytest.raises(GooseDecodeError, match=r"octet 7\b.*0x83.*0x84"):
        FastDecoder(ME)(bytes(raw))


def member_offsets(members, raw):
    """Where each member's tag stands, found by walking the octets, not by our layout."""
    offsets, position = {}, 0
    for reference in references(members):
        offsets[reference] = position
        length, header = raw[position + 1], 2
        if length & 0x80:
            header += length & 0x7F
            length = int.from_bytes(raw[position + 2 : position + header])
        position += header + length
    assert position == len(raw)
    return offsets


# reference, octets from the member's tag to the value, first value that is none, name in the message
ENUMERATED = [
    ("PTOC1.Str.dirGeneral", 3, 4, "Direction"),
    ("AFSR1.Vlt.sideA", 3, 3, "Voltage"),
    ("AFSR1.Vlt.sideB", 3, 3, "Voltage"),
    ("AFSR1.SideA.st", 5, 4, "SectionState"),
    ("AFSR1.SideB.st", 5, 4, "SectionState"),
    ("LLN0.Beh.stVal", 3, 6, "Behaviour"),
    ("LLN0.Beh.stVal", 3, 0, "Behaviour"),
    ("AFSR1.Prg.st", 5, 6, "Stage"),
    ("AFSR1.Prg.st", 9, 21, "Reason"),
]


@pytest.mark.parametrize(("reference", "offset", "value", "name"), ENUMERATED)
def test_an_enumerated_value_out_of_range_is_refused_by_name(reference, offset, value, name):
    raw = bytearray(encode_fast(FULL))
    raw[member_offsets(agent_model.FAST, raw)[reference] + offset] = value
    with pytest.raises(GooseDecodeError, match=f"allData.*{value} is no {name}"):
        FastDecoder(ME)(bytes(raw))


def test_an_answer_this_release_does_not_know_counts_as_unsure():
    raw = bytearray(encode_fast(FULL._replace(answers=(Answer(3, 4, 5, AnswerKind.PASSES_ON),))))
    start = member_offsets(agent_model.FAST, raw)["AFSR1.Ans.ans"]
    # array header 3 octets, structure header 2, INT16U 5, INT32U 7, INT32U 7, enumerated 3 before its value
    assert raw[start + 27] == AnswerKind.PASSES_ON
    raw[start + 27] = 9
    assert FastDecoder(ME)(bytes(raw)).answers == (Answer(3, 4, 5, AnswerKind.UNSURE),)


@pytest.mark.parametrize(
    ("field", "item", "count"),
    [
        ("answers", Answer(1, 1, 1, AnswerKind.UNSURE), agent_model.ANSWERS),
        ("cleared", EventId(1, 1), agent_model.CLEARED),
        ("reservations", Reservation(ClaimId(0, 1, 1), 1, 1, True), agent_model.RESERVATIONS),
    ],
)
def test_a_list_longer_than_its_array_is_our_own_error(field, item, count):
    encode_fast(FULL._replace(**{field: (item,) * count}))
    with pytest.raises(ValueError, match=f"{count + 1} entries for an array of {count}"):
        encode_fast(FULL._replace(**{field: (item,) * (count + 1)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_load_that_is_no_finite_number_is_refused(value):
    accepted = []
    for member in ("AFSR1.Ld.flow", "AFSR1.Ld.genA", "AFSR1.Ld.genB", "AFSR1.Spr.sideA", "AFSR1.Spr.sideB"):
        raw = bytearray(encode_slow(LoadState(1, 1.0, 0, (1.0, 1.0), (1.0, 1.0))))
        start = member_offsets(agent_model.SLOW, raw)[member]
        raw[start + 3 : start + 7] = struct.pack(">f", value)
        try:
            decode_slow(bytes(raw))
        except GooseDecodeError:
            continue
        accepted.append(member)
    assert accepted == []


# -- what has changed, by name ----------------------------------------------------------------------------------------


def test_what_has_changed_is_named_and_nothing_else():
    before = AgentState(5)
    assert changed(before, before) == {}
    after = before._replace(ready=True, position=Dbpos.ON, answers=(Answer(3, 7, 9, AnswerKind.UNSURE),))
    assert changed(before, after) == {
        "AFSR1.Sw.rdy": True,
        "SW1.Pos.stVal": 2,
        "AFSR1.Ans.ans(0).sw": 3,
        "AFSR1.Ans.ans(0).inc": 7,
        "AFSR1.Ans.ans(0).pkp": 9,
        "AFSR1.Ans.ans(0).ans": 4,
    }
    assert changed(before, before._replace(position_quality=1 << 12)) == {"SW1.Pos.q": 1 << 12}


def test_where_there_was_nothing_everything_is_named():
    values = changed(None, AgentState(5))
    assert len(values) == sum(len(member.attributes) * max(1, member.count) for member in agent_model.FAST)
    assert values["AFSR1.Id.inc"] == 5
    assert values["AFSR1.ClmB.bnd(23)"] == 0


def test_the_same_of_loads():
    before = LoadState(5, 10.0)
    assert changed_load(before, before) == {}
    assert changed_load(before, replace(before, flow_a=-3.5)) == {"AFSR1.Ld.flow": -3.5}
    assert changed_load(None, before) == {
        "AFSR1.Id.inc": 5,
        "AFSR1.Ld.flow": 10.0,
        "AFSR1.Ld.q": 0,
        "AFSR1.Ld.genA": 0.0,
        "AFSR1.Ld.genB": 0.0,
        "AFSR1.Spr.sideA": 0.0,
        "AFSR1.Spr.sideB": 0.0,
    }


# -- whatever an agent comes to publish can be published -----------------------------------------------------


@pytest.mark.parametrize("value", [1e300, -1e300, 3.5e38])
@pytest.mark.parametrize("member", ["flow_a", "generation_a"])
def test_any_load_that_the_process_may_report_can_be_published(bench, member, value):
    agent = bench(2).quiet()
    agent.feed(**({"flow_a": value} if member == "flow_a" else {"generation_a": (value, -value)}))
    assert decode_all_data(encode_slow(agent.turn().slow))


@pytest.mark.parametrize("event", [EventId(70_000, 1), EventId(1, 2**32), EventId(-1, 5)])
def test_an_unlock_of_an_event_that_cannot_exist_leaves_the_agent_able_to_publish(bench, event):
    agent = bench(2).quiet()
    try:
        agent.agent.unlock(event)
    except ValueError:
        return  # refused: as good
    assert decode_all_data(encode_fast(agent.turn().fast))


def test_a_peer_with_the_highest_claim_number_leaves_the_claimant_able_to_publish(bench, network):
    agent = bench(1).quiet()
    agent.hear(9, promises=(ClaimId(0, 0xFFFFFFFF, 9), ClaimId(0, 0, 0)))
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged(clear=False)))
    agent.hear(2, sides=(network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True), network.flagged()))
    agent.turn()
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    assert decode_all_data(encode_fast(agent.turn(after=0.05).fast))
