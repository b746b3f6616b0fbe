"""The controlled station against masters made of our own link: services, and what breaks rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iec104_world import (
    ACT_CON,
    BREAKER,
    DEACT,
    DEACT_CON,
    END,
    IT,
    ME,
    SP,
    T_NS,
    TAG,
    World,
    causes,
    interrogation,
    one,
    started,
    switch,
)

from gateway.iec104.asdu import Cause, InformationObject, Qds, Sizes, TypeID, encode
from gateway.iec104.commands import CommandDesk
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import Image, Monitored
from gateway.iec104.link import Link, LinkConfig, Role
from gateway.iec104.time_tag import CP56Time2a


@pytest.fixture
def world():
    return World()


# -- services ---------------------------------------------------------------------------------------------------------


def test_the_end_of_initialisation_is_told_once_for_each_station():
    world = World(Image([Monitored(1, 1, SP), Monitored(7, 1, SP)]))
    number = world.connect()
    assert [(asdu.typeID, asdu.cause, asdu.CA) for asdu in world.told[number]] == [
        (TypeID.M_EI_NA_1, Cause.INITIALISED, 1),
        (TypeID.M_EI_NA_1, Cause.INITIALISED, 7),
    ]
    other = world.connect()
    assert world.told[other] == []


def test_an_interrogation_is_confirmed_told_and_terminated():
    world = World(Image([Monitored(1, 5, SP), Monitored(1, 6, SP, frozenset((3,))), Monitored(1, 7, ME)]))
    world.image.entry(1, 5).value, world.image.entry(1, 5).qualifier = True, 0
    number = started(world)
    told = world.say(number, interrogation(originator=9, test=True))
    assert [(asdu.typeID, asdu.cause) for asdu in told] == [
        (TypeID.C_IC_NA_1, ACT_CON),
        (TypeID.M_SP_NA_1, Cause.INTERROGATED),
        (TypeID.M_ME_NB_1, Cause.INTERROGATED),
        (TypeID.C_IC_NA_1, END),
    ]
    assert all((asdu.originator, asdu.test, asdu.negative) == (9, True, False) for asdu in told)
    assert told[1].objects == (InformationObject(5, True), InformationObject(6, False, Qds.IV | Qds.NT))
    told = world.say(number, interrogation(23))
    assert [asdu.cause for asdu in told] == [ACT_CON, Cause.GROUP_3, END]
    assert [each.IOA for each in told[1].objects] == [6]


def test_an_interrogation_of_all_stations_is_one_for_each():
    world = World(Image([Monitored(1, 1, SP), Monitored(7, 1, SP)]))
    number = started(world)
    told = world.say(number, interrogation(CA=0xFFFF))
    assert [(asdu.CA, asdu.cause) for asdu in told] == [
        (ca, cause) for ca in (1, 7) for cause in (ACT_CON, Cause.INTERROGATED, END)
    ]


def test_a_confirmation_is_not_negative_because_the_request_was(world):
    number = started(world)
    assert not any(asdu.negative for asdu in world.say(number, interrogation(negative=True)))


@pytest.mark.parametrize("qualifier", [0, 19, 37, 255])
def test_a_qualifier_that_is_none_is_refused(world, qualifier):
    number = started(world)
    assert causes(world.say(number, interrogation(qualifier))) == [(TypeID.C_IC_NA_1, ACT_CON, True)]


def test_an_interrogation_is_stopped(world):
    number = started(world)
    assert causes(world.say(number, interrogation(cause=DEACT))) == [(TypeID.C_IC_NA_1, DEACT_CON, True)]
    world.masters[number].send(encode(interrogation()), 0.0)
    told = causes(world.say(number, interrogation(cause=DEACT)))
    assert told[-1] == (TypeID.C_IC_NA_1, DEACT_CON, False)
    assert (TypeID.C_IC_NA_1, END, False) not in told


def test_the_same_interrogation_twice_at_once_is_refused():
    world = World(Image([Monitored(1, 2 * ioa, SP) for ioa in range(1, 3000)]))
    number = started(world, k=12)
    for _ in range(2):
        world.masters[number].send(encode(interrogation()), 0.0)
    told = world.hear(number)
    assert causes(told).count((TypeID.C_IC_NA_1, ACT_CON, True)) == 1
    assert causes(told)[-1] == (TypeID.C_IC_NA_1, END, False)
    assert sum(len(asdu.objects) for asdu in told if asdu.cause == Cause.INTERROGATED) == 2999


def test_counters():
    world = World(Image([Monitored(1, 1, IT, frozenset((2,))), Monitored(1, 2, IT)]))
    for ioa in (1, 2):
        world.image.entry(1, ioa).value, world.image.entry(1, ioa).qualifier = 10 * ioa, 0
    number = started(world)

    def ask(qualifier):
        told = world.say(number, one(TypeID.C_CI_NA_1, None, qualifier))
        assert (told[0].cause, told[-1].cause) == (ACT_CON, END)
        return [(asdu.cause, [each.value for each in asdu.objects]) for asdu in told[1:-1]]

    assert ask(5) == [(Cause.COUNTER_GENERAL, [10, 20])]
    assert ask(5 | 2 << 6) == []  # freeze and reset
    world.image.entry(1, 1).value = 13
    assert ask(5) == [(Cause.COUNTER_GENERAL, [10, 20])]
    assert ask(2 | 1 << 6) == []
    assert ask(2) == [(Cause.COUNTER_2, [3])]
    assert causes(world.say(number, one(TypeID.C_CI_NA_1, None, 6))) == [(TypeID.C_CI_NA_1, ACT_CON, True)]


def test_read():
    world = World(Image([Monitored(1, 1, ME)]))
    entry = world.image.entry(1, 1)
    entry.value, entry.qualifier, entry.t_ns, entry.time_invalid = 5, 0, T_NS, False
    number = started(world)
    (asdu,) = world.say(number, one(TypeID.C_RD_NA_1, IOA=1, cause=Cause.REQUESTED, test=True, originator=3))
    assert asdu == one(ME, 5, IOA=1, cause=Cause.REQUESTED, time=TAG, test=True, originator=3)
    (asdu,) = world.say(number, one(TypeID.C_RD_NA_1, IOA=2, cause=Cause.REQUESTED))
    assert (asdu.cause, asdu.negative) == (Cause.UNKNOWN_IOA, True)


@pytest.mark.parametrize(
    ("asdu", "cause"),
    [
        (one(TypeID.M_SP_NA_1, True, IOA=1), Cause.UNKNOWN_TYPE),
        (one(TypeID.C_CD_NA_1), Cause.UNKNOWN_TYPE),
        (bytes.fromhex("7a 01 06 00 01 00 01 02 03"), Cause.UNKNOWN_TYPE),
        (bytes.fromhex("ff 00 86 07 01 00"), Cause.UNKNOWN_TYPE),
        (interrogation(cause=Cause.SPONTANEOUS), Cause.UNKNOWN_CAUSE),
        (one(TypeID.C_RD_NA_1, IOA=1), Cause.UNKNOWN_CAUSE),
        (one(TypeID.C_SC_NA_1, True, IOA=1, cause=ACT_CON), Cause.UNKNOWN_CAUSE),
        (one(TypeID.C_CS_NA_1, time=TAG, cause=DEACT), Cause.UNKNOWN_CAUSE),
        (interrogation(CA=2), Cause.UNKNOWN_CA),
        (one(TypeID.C_SC_NA_1, True, IOA=1, CA=0xFFFF), Cause.UNKNOWN_CA),
        (interrogation(IOA=1), Cause.UNKNOWN_IOA),
        (one(TypeID.C_SC_NA_1, True, IOA=2), Cause.UNKNOWN_IOA),
        (one(TypeID.C_DC_NA_1, 1, IOA=1), Cause.UNKNOWN_IOA),
        (one(TypeID.C_CS_NA_1, IOA=5, time=TAG), Cause.UNKNOWN_IOA),
        (one(TypeID.P_ME_NC_1, 1.0, IOA=1), Cause.UNKNOWN_IOA),
    ],
)
@pytest.mark.parametrize("test", [False, True])
def test_what_is_unknown_is_mirrored(world, asdu, cause, test):
    number = started(world)
    octets = bytearray(asdu if isinstance(asdu, bytes) else encode(asdu))
    octets[2] |= 0x80 if test else 0
    # An unknown type cannot be decoded: looked at as octets.
    world.masters[number].send(bytes(octets), world.now)
    world.up(number)
    ((_, sent, closed),) = world.station.data_to_send()
    assert not closed
    assert sent[6:] == bytes((*octets[:2], cause | 0x40 | octets[2] & 0x80, *octets[3:]))
    assert world.desk.requests == []


def test_a_test_command_is_confirmed(world):
    number = started(world)
    (asdu,) = world.say(number, one(TypeID.C_TS_TA_1, 0xABCD, time=TAG, test=True))
    assert asdu == one(TypeID.C_TS_TA_1, 0xABCD, time=TAG, test=True, cause=ACT_CON)


def test_clock_and_reset_are_confirmed_with_the_word_of_who_decides(world):
    number = started(world)
    assert world.say(number, one(TypeID.C_CS_NA_1, time=TAG)) == []
    (asked,) = world.station.asked
    assert (asked.matter, asked.t_ns) == ("clock", T_NS)
    world.station.answer(asked.number)
    assert causes(world.hear(number)) == [(TypeID.C_CS_NA_1, ACT_CON, False)]
    world.station.answer(asked.number)  # once only
    assert world.hear(number) == []
    world.say(number, one(TypeID.C_RP_NA_1, None, 1))
    assert world.station.asked[1].qualifier == 1
    world.station.answer(world.station.asked[1].number, why="no")
    assert causes(world.hear(number)) == [(TypeID.C_RP_NA_1, ACT_CON, True)]
    world.say(number, one(TypeID.C_CS_NA_1, time=CP56Time2a(bytes.fromhex("ffff3f1f1f0f7f"))))
    assert len(world.station.asked) == 2


def test_an_answer_that_comes_after_a_stop_is_not_told_at_the_next_start(world):
    number = started(world)
    world.say(number, one(TypeID.C_RP_NA_1, None, 1))
    world.masters[number].stop(world.now)
    world.run()
    world.station.answer(world.station.asked[0].number)
    world.masters[number].start(world.now)
    assert world.hear(number) == []


def test_a_commands_answer_that_comes_after_a_stop_is_not_told_at_the_next_start(world):
    number = started(world)
    world.say(number, one(TypeID.C_SC_NA_1, True, IOA=1))
    world.desk.confirm(world.desk.requests[0].number, 0.0)
    world.masters[number].stop(world.now)
    world.run()
    (answer,) = world.desk.answers
    assert not world.station.tell(answer)
    world.desk.answers.clear()
    world.masters[number].start(world.now)
    assert world.hear(number) == []


def test_questions_that_nobody_decides_do_not_pile_up(world):
    number = started(world)
    told = []
    for _ in range(100):
        told += world.say(number, one(TypeID.C_RP_NA_1, None, 1))
    assert len(world.station.asked) == len(world.station._questions) == 64
    assert causes(told) == [(TypeID.C_RP_NA_1, ACT_CON, True)] * 36
    world.cut(number)
    assert world.station._questions == {}


def test_scans():
    world = World(
        Image([Monitored(1, 1, ME, cyclic=True), Monitored(1, 2, ME, background=True), Monitored(1, 3, ME)]),
        cyclic_s=10.0,
        background_s=60.0,
    )
    number = started(world)
    world.wait(60.5)
    told = [(asdu.typeID, asdu.cause, asdu.objects[0].IOA) for asdu in world.told[number]]
    assert told.count((TypeID.M_ME_NB_1, Cause.PERIODIC, 1)) == 6
    assert told.count((TypeID.M_ME_NB_1, Cause.BACKGROUND, 2)) == 1
    assert len(told) == 7


@pytest.mark.parametrize("sizes", [Sizes(1, 1, 1), Sizes(1, 2, 2), Sizes(2, 1, 3)])
def test_smaller_fields(sizes):
    world = World(sizes=sizes)
    number = world.last + 1
    assert world.station.connect(number, "m", 0.0)
    world.last = number
    header = 2 + sizes.COT + sizes.CA
    world.masters[number] = Link(LinkConfig(shortest_asdu=header), Role.CONTROLLING, 0.0)
    world.masters[number].start(0.0)
    world.run()
    (asdu,) = world.say(number, one(TypeID.C_RD_NA_1, IOA=1, cause=Cause.REQUESTED))[1:]
    assert (asdu.typeID, asdu.cause) == (SP, Cause.REQUESTED)
    assert world.say(number, interrogation(CA=(1 << 8 * sizes.CA) - 1))[0].cause == ACT_CON


def test_addresses_that_do_not_fit_are_refused_at_once():
    with pytest.raises(Iec104EncodeError, match="does not fit"):
        World(Image([Monitored(1, 256, SP)]), sizes=Sizes(IOA=1))


def test_too_many_connections_are_refused(world):
    for _ in range(8):
        world.connect(start=False)
    assert not world.station.connect(99, "m99", 0.0)
    assert "m99: refused" in world.station.notes[-1]
    world.cut(1)
    assert world.station.connect(99, "m99", 0.0)


# -- peers that break rules -------------------------------------------------------------------------------------------


def test_a_master_that_asks_and_does_not_read_is_cut_off(world):
    number = started(world)
    link = world.masters[number]
    octets = encode(one(TypeID.C_TS_TA_1, 1, time=TAG))
    for _ in range(6000):
        link._t1_of.clear()  # it does not care for its own window
        link.send(octets, 0.0)
        world.up(number)
    assert "it asks and does not read" in "".join(world.station.notes)
    assert number not in world.station._connections


GOOD = [
    interrogation(),
    one(TypeID.C_CI_NA_1, None, 5),
    one(TypeID.C_RD_NA_1, IOA=1, cause=Cause.REQUESTED),
    one(TypeID.C_CS_NA_1, time=TAG),
    one(TypeID.C_TS_TA_1, 1, time=TAG),
    one(TypeID.C_RP_NA_1, None, 1),
    one(TypeID.P_ME_NC_1, 1.0, IOA=1),
    switch(select=True),
    switch(),
    one(TypeID.C_SE_TC_1, 1.5, IOA=2, time=TAG),
]


@st.composite
def mutated(draw):
    octets = bytearray(encode(draw(st.sampled_from(GOOD))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(octets) - 1)) if octets else 0
        match draw(st.sampled_from(["set", "cut", "more", "whole"])):
            case "set" if octets:
                octets[at] = draw(st.integers(0, 255))
            case "cut":
                del octets[max(at, 6) :]
            case "more":
                octets += draw(st.binary(max_size=8))
            case "whole":
                octets = bytearray(draw(st.binary(min_size=6, max_size=249)))
    return bytes(octets[:249])


@settings(max_examples=200)
@given(st.lists(mutated(), max_size=12))
def test_whatever_comes_closes_at_most_its_own_connection(asdus):
    desk = CommandDesk()
    world, other = World(BREAKER, desk=desk), World(BREAKER, desk=desk, first=50)
    second = started(other)
    number = None
    for octets in asdus:
        if number not in world.masters:
            number = world.connect()
        master = world.masters[number]
        if not master.window:
            world.cut(number)
            continue
        master.send(octets, world.now)
        world.up(number)
        for asked in world.station.asked:
            world.station.answer(asked.number)
        world.station.asked.clear()
        for request in desk.requests:
            desk.confirm(request.number, 0.0)
        desk.requests.clear()
        for answer in desk.answers:
            assert world.station.tell(answer) or not world.station.unsent(number)
        desk.answers.clear()
        world.station.pump(0.0)
        # The answers may mirror what nobody can decode: acknowledged, not looked into.
        for to, out, close in world.station.data_to_send():
            master.receive(out, world.now)
            if close:
                assert to == number
                assert any("closed: ASDU" in note for note in world.station.notes)
                del world.masters[number]
    told = other.say(second, interrogation())
    assert [asdu.cause for asdu in told] == [ACT_CON, Cause.INTERROGATED, END]


@settings(max_examples=200)
@given(st.binary(max_size=600))
def test_any_octets_close_at_most_their_own_connection(octets):
    world = World(BREAKER)
    number = world.connect(start=False)
    other = world.connect()
    world.told.clear()
    world.station.receive(number, octets, 0.0, T_NS)
    world.station.handle_timer(0.0)
    assert [asdu.cause for asdu in world.say(other, interrogation())] == [ACT_CON, Cause.INTERROGATED, END]


def test_a_link_that_is_silent_is_tested_and_closed(world):
    number = started(world)
    world.masters.clear()
    for second in range(40):
        world.station.handle_timer(float(second))
    assert number not in world.station._connections
