"""The controlled station against masters made of our own link: services, events, commands, handovers, garbage."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.iec104.apci import encode_s
from gateway.iec104.asdu import Asdu, Cause, InformationObject, Qds, Sizes, Step, TypeID, decode, encode
from gateway.iec104.commands import CommandDesk
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.link import AsduReceived, Link, LinkConfig, LinkState, Role
from gateway.iec104.station import ControlledStation, Event, StationSettings
from gateway.iec104.time_tag import CP56Time2a, TimeBase

UTC = TimeBase("UTC")
T_NS = 1_750_000_000_000_000_000
SP, ME, BO, IT = TypeID.M_SP_TB_1, TypeID.M_ME_TE_1, TypeID.M_BO_TB_1, TypeID.M_IT_TB_1
ACT, ACT_CON, DEACT, DEACT_CON = Cause.ACTIVATION, Cause.ACTIVATION_CON, Cause.DEACTIVATION, Cause.DEACTIVATION_CON
END = Cause.TERMINATION
TAG = UTC.encode(T_NS)
KEYS = [(ME, 1, 1), (ME, 1, 2), (BO, 1, 3), (BO, 7, 1)]


class Source:
    """Keeps events until they are acknowledged, and is strict about how it is asked."""

    def __init__(self):
        self.waiting = []
        self.taken = {}
        self.added = 0

    def add(self, typeID=SP, value=True, CA=1, IOA=1, qualifier=0, t_ns=T_NS, **more):
        self.added += 1
        self.waiting.append(Event(self.added, CA, IOA, typeID, Cause.SPONTANEOUS, value, qualifier, t_ns, **more))

    def take(self, limit):
        assert limit > 0
        out, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken.update((event.token, event) for event in out)
        return out

    def acknowledge(self, tokens):
        for token in tokens:
            del self.taken[token]

    def release(self):
        self.waiting = sorted((*self.taken.values(), *self.waiting), key=lambda event: event.token)
        self.taken.clear()


class World:
    """A station and its masters; octets go from one to the other when they are told to."""

    def __init__(self, image=None, *, desk=None, source=None, first=1, **more):
        self.now = 0.0
        self.utc_ns = T_NS
        self.source = source or Source()
        self.desk = desk or CommandDesk()
        self.image = image or Image([Monitored(1, 1, SP)], [Control(1, 1, TypeID.C_SC_NA_1, "Q1")])
        self.station = ControlledStation(StationSettings(**more), self.image, self.source, self.desk)
        self.masters = {}
        self.told = defaultdict(list)
        self.closed = set()
        self.last = first - 1

    def connect(self, *, start=True, **config):
        self.last += 1
        assert self.station.connect(self.last, f"m{self.last}", self.now)
        self.masters[self.last] = Link(LinkConfig(**config), Role.CONTROLLING, self.now)
        if start:
            self.masters[self.last].start(self.now)
            self.run()
        return self.last

    def up(self, number):
        self.station.receive(number, self.masters[number].data_to_send(), self.now, self.utc_ns)

    def down(self, *, only=None, lost=()):
        for number, octets, close in self.station.data_to_send():
            master = self.masters.get(number)
            if master is not None and number not in lost and only in (None, number):
                for event in master.receive(octets, self.now):
                    if isinstance(event, AsduReceived):
                        self.told[number].append(decode(event.octets, self.station.settings.sizes))
            if close:
                self.closed.add(number)
                self.masters.pop(number, None)

    def run(self):
        """Until nobody has anything to say."""
        for _ in range(100_000):
            for number in list(self.masters):
                self.up(number)
            self.station.pump(self.now)
            before = sum(map(len, self.told.values())), len(self.closed)
            self.down()
            after = sum(map(len, self.told.values())), len(self.closed)
            if after == before and not any(master._out for master in self.masters.values()):
                return
        raise AssertionError("never quiet")

    def wait(self, seconds):
        """Let time pass, with timers, in small steps."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.utc_ns += 10**9
            self.station.handle_timer(self.now)
            self.desk.handle_timer(self.now)
            for master in self.masters.values():
                master.handle_timer(self.now)
            self.pass_on()
            self.run()

    def pass_on(self):
        for answer in self.desk.answers:
            self.station.tell(answer)
        self.desk.answers.clear()

    def say(self, number, asdu):
        """A master says something; returns what it is told then."""
        octets = asdu if isinstance(asdu, bytes) else encode(asdu, self.station.settings.sizes)
        self.masters[number].send(octets, self.now)
        return self.hear(number)

    def hear(self, number):
        self.run()
        self.pass_on()
        self.run()
        told, self.told[number] = self.told[number], []
        return told

    def cut(self, number):
        self.masters.pop(number)
        self.station.disconnect(number, "cut")


def one(typeID, value=None, qualifier=0, *, IOA=0, CA=1, cause=ACT, time=None, elapsed=0, **more):
    return Asdu(typeID, cause, CA, (InformationObject(IOA, value, qualifier, time, elapsed),), **more)


def interrogation(qualifier=20, **more):
    return one(TypeID.C_IC_NA_1, None, qualifier, **more)


def causes(told):
    return [(asdu.typeID, asdu.cause, asdu.negative) for asdu in told]


@pytest.fixture
def world():
    return World()


def started(world, **config):
    number = world.connect(**config)
    assert [asdu.typeID for asdu in world.told.pop(number)] == [TypeID.M_EI_NA_1] * len(world.image.CAs)
    return number


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


# -- events -----------------------------------------------------------------------------------------------------------


def test_events_keep_their_test_bit_quality_and_time(world):
    number = started(world)
    world.source.add(SP, True, qualifier=Qds.IV, test=True)
    world.source.add(SP, False, time_invalid=True)
    world.source.add(TypeID.M_EP_TD_1, 1, IOA=9, qualifier=0x10, elapsed_ms=44)
    told = world.hear(number)
    assert told == [
        one(SP, True, int(Qds.IV), IOA=1, cause=Cause.SPONTANEOUS, time=TAG, test=True),
        one(SP, False, IOA=1, cause=Cause.SPONTANEOUS, time=UTC.encode(T_NS, invalid=True)),
        one(TypeID.M_EP_TD_1, 1, 0x10, IOA=9, cause=Cause.SPONTANEOUS, time=TAG, elapsed=44),
    ]


def test_an_event_that_has_no_encoding_is_told_as_invalid_and_holds_up_nobody(world):
    number = started(world)
    world.source.add(ME, 40_000, IOA=1)
    world.source.add(ME, 7, IOA=2)
    world.source.add(ME, 8, IOA=3, t_ns=10**19)
    world.source.add(TypeID.M_ST_TB_1, Step(200, transient=False), IOA=4)
    objects = {each.IOA: each for asdu in world.hear(number) for each in asdu.objects}
    assert (objects[1].value, objects[1].qualifier, objects[1].time) == (0, Qds.IV | Qds.NT, TAG)
    assert (objects[2].value, objects[2].qualifier) == (7, 0)
    assert (objects[3].value, objects[3].time.invalid) == (8, True)
    assert objects[4].qualifier == Qds.IV | Qds.NT
    assert sum("told as invalid" in note for note in world.station.notes) == 2
    world.wait(15)
    assert not world.source.taken


def test_a_value_that_has_no_encoding_does_not_cut_an_interrogation():
    world = World(Image([Monitored(1, ioa, ME) for ioa in range(1, 1001)]))
    for ioa in range(1, 1001):
        world.image.entry(1, ioa).value, world.image.entry(1, ioa).qualifier = ioa, 0
    world.image.entry(1, 500).value = 1 << 20
    number = started(world)
    told = world.say(number, interrogation())
    objects = [each for asdu in told[1:-1] for each in asdu.objects]
    assert [each.IOA for each in objects] == list(range(1, 1001))
    assert [each.IOA for each in objects if each.qualifier] == [500]
    assert told[-1].cause == END
    world.image.entry(1, 1).t_ns, world.image.entry(1, 1).time_invalid = 10**19, False
    (asdu,) = world.say(number, one(TypeID.C_RD_NA_1, IOA=500, cause=Cause.REQUESTED))
    assert asdu.objects[0].qualifier == Qds.IV | Qds.NT
    (asdu,) = world.say(number, one(TypeID.C_RD_NA_1, IOA=1, cause=Cause.REQUESTED))
    assert asdu.objects[0].time.invalid


def test_what_is_not_acknowledged_is_handed_over_in_order(world):
    first = started(world)
    for value in range(5):
        world.source.add(BO, value)
    world.station.pump(0.0)
    world.down(lost={first})
    second = world.connect()
    assert [each.value for asdu in world.told[second] for each in asdu.objects] == list(range(5))
    assert [master.state for master in world.masters.values()][1] is LinkState.STARTED
    assert not world.told[first]
    world.wait(15)
    assert not world.source.taken
    assert not world.source.waiting


def test_only_what_is_acknowledged_is_not_told_again(world):
    first = started(world)
    world.source.add(ME, 1)
    world.source.add(BO, 2, IOA=2)
    world.source.add(SP, True, IOA=3)
    world.station.pump(0.0)
    # Number 0 was the end of initialisation: two of the three events.
    world.station.receive(first, encode_s(3), 0.0, T_NS)
    assert [event.value for event in world.source.taken.values()] == [True]
    world.cut(first)
    second = world.connect()
    assert [each.value for asdu in world.told[second] for each in asdu.objects] == [True]


def test_a_stop_between_two_windows_loses_and_repeats_nothing():
    world = World(Image([Monitored(CA, IOA, typeID) for typeID, CA, IOA in KEYS]), link=LinkConfig(k=1, w=1))
    number = started(world, k=1, w=1)
    for index in range(64):
        typeID, CA, IOA = KEYS[index % 4]
        world.source.add(typeID, index, CA, IOA)
    master = world.masters[number]
    world.station.pump(0.0)
    assert len(world.source.taken) > 4
    master.stop(0.0)
    world.run()
    assert master.state is LinkState.STOPPED
    assert not world.source.taken
    master.start(0.0)
    told = [each.value for asdu in world.hear(number) for each in asdu.objects]
    assert sorted(told) == list(range(64))
    for kind in range(4):
        assert [value for value in told if value % 4 == kind] == list(range(kind, 64, 4))


def test_an_interrogation_tells_what_is_when_its_turn_comes():
    world = World(Image([Monitored(1, 3 * ioa, SP) for ioa in range(1, 201)]), link=LinkConfig(k=1, w=1))
    number = started(world, k=1, w=1)
    world.masters[number].send(encode(interrogation()), 0.0)
    for _ in range(2):  # confirmation and the first of four with objects
        world.up(number)
        world.down()
    entry = world.image.entry(1, 600)
    entry.value, entry.qualifier = True, 0
    world.source.add(SP, True, IOA=600)
    told = [(asdu.cause, each.value) for asdu in world.hear(number) for each in asdu.objects if each.IOA == 600]
    assert told == [(Cause.SPONTANEOUS, True), (Cause.INTERROGATED, True)]


class Strict:
    """What a control centre may be told of events: each, in order for each object, none invented."""

    def __init__(self):
        self.made = defaultdict(list)
        self.received = defaultdict(set)
        self.at = {}

    def make(self, source, key, qualifier, test):
        typeID, CA, IOA = key
        self.made[key].append((qualifier, test))
        source.add(typeID, len(self.made[key]) - 1, CA, IOA, qualifier, T_NS + len(self.made[key]) * 10**6, test=test)

    def check(self, session, asdu):
        for each in asdu.objects:
            key = asdu.typeID, asdu.CA, each.IOA
            qualifier, test = self.made[key][each.value]
            assert asdu.cause == Cause.SPONTANEOUS
            assert (each.qualifier, asdu.test) == (qualifier, test)
            assert UTC.decode(each.time) == T_NS + (each.value + 1) * 10**6
            last = self.at.get((session, key))
            if last is None:
                assert set(range(each.value)) <= self.received[key]
            else:
                assert each.value == last + 1
            self.at[session, key] = each.value
            self.received[key].add(each.value)


ACTIONS = st.one_of(
    st.tuples(st.just("event"), st.sampled_from(KEYS), st.sampled_from([0, 0, 0x80]), st.booleans()),
    st.tuples(st.just("events"), st.integers(1, 400)),
    st.tuples(st.just("connect"), st.integers(1, 12)),
    st.tuples(st.sampled_from(["start", "stop", "cut", "down", "up", "lose", "ask"]), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 20])),
)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=60), st.integers(1, 12))
def test_every_event_arrives_in_order_over_cuts_and_handovers(actions, k):
    world = World(Image([Monitored(CA, IOA, typeID) for typeID, CA, IOA in KEYS]), link=LinkConfig(k=k, w=min(k, 8)))
    strict = Strict()
    sessions = defaultdict(int)

    def take():
        for number, told in world.told.items():
            for asdu in told:
                if asdu.typeID in (ME, BO):
                    strict.check((number, sessions[number]), asdu)
        world.told.clear()

    def pick(index):
        numbers = sorted(world.masters)
        return numbers[index % len(numbers)] if numbers else None

    for action, *more in actions:
        match action:
            case "event":
                strict.make(world.source, *more)
            case "events":
                for number in range(more[0]):
                    strict.make(world.source, KEYS[number * 7 % 4], 0, test=False)
            case "connect" if len(world.masters) < 8:
                world.connect(start=False, w=more[0])
            case "wait":
                world.now += more[0]
                world.station.handle_timer(world.now)
                for master in world.masters.values():
                    master.handle_timer(world.now)
            case "start" | "stop" | "cut" | "up" | "lose" | "down" | "ask" if world.masters:
                number = pick(*more)
                master = world.masters[number]
                if action == "start" and master.state is LinkState.STOPPED:
                    sessions[number] += 1
                    master.start(world.now)
                elif action == "stop" and master.state is LinkState.STARTED:
                    master.stop(world.now)
                elif action == "cut":
                    world.cut(number)
                elif action == "up":
                    world.up(number)
                elif action == "down":
                    world.down(only=None)
                elif action == "ask" and master.window:
                    master.send(encode(interrogation()), world.now)
                elif action == "lose":
                    world.down(lost={number})
                    world.cut(number) if number in world.masters else None
        world.station.pump(world.now)
        # A link that has closed itself takes its connection with it.
        for number in [n for n, master in world.masters.items() if master.state is LinkState.CLOSED]:
            world.cut(number)
        take()
    for number in list(world.masters):
        world.cut(number)
    world.connect(w=1)
    take()
    world.wait(30)
    take()
    assert {key: len(values) for key, values in strict.received.items() if values} == {
        key: len(made) for key, made in strict.made.items() if made
    }
    assert not world.source.waiting
    assert not world.source.taken


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["change", "change", "down", "up", "ask"])), max_size=80))
def test_after_interrogation_and_events_the_master_sees_what_is(actions):
    """An interrogation must not tell an older value behind a newer event."""
    world = World(Image([Monitored(1, 3 * ioa, SP) for ioa in range(1, 601)]), link=LinkConfig(k=1, w=1))
    number = started(world, k=1, w=1)
    for index, action in actions:
        ioa = 3 * 100 * index
        if action == "change":
            entry = world.image.entry(1, ioa)
            entry.value, entry.qualifier = not entry.value, 0
            world.source.add(SP, entry.value, IOA=ioa)
            world.station.pump(0.0)
        elif action == "down":
            world.down()
        elif action == "up":
            world.up(number)
        elif world.masters[number].window:
            world.masters[number].send(encode(interrogation()), 0.0)
    world.run()
    assert not world.source.taken
    seen = {}
    for asdu in world.told[number]:
        if asdu.typeID in (SP, TypeID.M_SP_NA_1):
            seen.update((each.IOA, each.value) for each in asdu.objects)
    for ioa, value in seen.items():
        assert value == world.image.entry(1, ioa).value


@settings(max_examples=3)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1 << 32))
def test_an_interrogation_of_100_000_objects_is_complete_under_random_acknowledgements(k, w, seed):
    rng = random.Random(seed)
    types = (SP, ME, TypeID.M_ME_TF_1, TypeID.M_DP_TB_1)
    objects = [Monitored(1, ioa + ioa // 50 % 3 * 200_000, types[ioa % 4000 // 1000]) for ioa in range(1, 100_001)]
    world = World(Image(objects), link=LinkConfig(k=k, w=min(k, w)))
    number = started(world, w=w)
    world.masters[number].send(encode(interrogation()), 0.0)
    link = world.masters[number]
    world.up(number)
    while not world.told[number] or world.told[number][-1].cause != END:
        world.down()
        if rng.random() < 0.7 or world.station._connections[number].link.window == 0:
            link._send_owed_s()
        world.up(number)
        if rng.random() < 0.1:
            world.source.add(SP, True, IOA=1)
    told = [each.IOA for asdu in world.told[number] if asdu.cause == Cause.INTERROGATED for each in asdu.objects]
    assert sorted(told) == sorted(each.IOA for each in objects)
    assert causes(world.told[number])[0] in ((TypeID.C_IC_NA_1, ACT_CON, False), (SP, Cause.SPONTANEOUS, False))


# -- commands ---------------------------------------------------------------------------------------------------------

BREAKER = Image(
    [Monitored(1, 1, SP)],
    [Control(1, 1, TypeID.C_DC_NA_1, "Q1", select=True), Control(1, 2, TypeID.C_SE_NC_1, "P")],
)


def switch(value=2, *, select=False, qualifier=0, **more):
    return one(TypeID.C_DC_NA_1, value, qualifier | (0x80 if select else 0), IOA=1, **more)


def decided(world, number, why=""):
    """The device answers the one request there is."""
    (request,) = world.desk.requests
    world.desk.requests.clear()
    world.desk.confirm(request.number, world.now, why=why)
    return request, world.hear(number)


def test_select_execute_terminate():
    world = World(BREAKER)
    number = started(world)
    for select in (True, False):
        asdu = switch(select=select, originator=5, test=True)
        assert world.say(number, asdu) == []  # nothing before the device has spoken
        request, told = decided(world, number)
        assert (request.step, request.value, request.test) == ("select" if select else "execute", 2, True)
        assert told == [asdu._replace(cause=ACT_CON)]
    world.desk.terminate(request.number)
    assert world.hear(number) == [asdu._replace(cause=END)]


def test_two_masters_of_two_centres_meet_at_the_device():
    desk = CommandDesk()
    one_centre, other = World(BREAKER, desk=desk), World(BREAKER, desk=desk, first=50)
    first, second = started(one_centre), started(other)
    one_centre.say(first, switch(select=True))
    decided(one_centre, first)
    for asdu in (switch(), switch(select=True), switch(cause=DEACT)):
        other.masters[second].send(encode(asdu), 0.0)
        other.run()
        (answer,) = desk.answers
        assert not one_centre.station.tell(answer)
        told = other.hear(second)
        assert [each.negative for each in told] == [True]
        assert desk.requests == []
    one_centre.say(first, switch())
    assert decided(one_centre, first)[0].step == "execute"


@pytest.mark.parametrize("change", [{"value": 1}, {"qualifier": 4}, {"test": True}])
def test_what_was_not_so_selected_is_not_executed(change):
    world = World(BREAKER)
    number = started(world)
    world.say(number, switch(select=True))
    decided(world, number)
    (told,) = world.say(number, switch(**change))
    assert (told.cause, told.negative, told.test) == (ACT_CON, True, change.get("test", False))
    assert [request.step for request in world.desk.requests] == ["cancel"]


def test_a_cancel_never_executes():
    world = World(BREAKER)
    number = started(world)
    assert causes(world.say(number, switch(cause=DEACT))) == [(TypeID.C_DC_NA_1, DEACT_CON, True)]
    for with_bit in (False, True):
        world.say(number, switch(select=True))
        decided(world, number)
        world.say(number, switch(select=with_bit, cause=DEACT))
        request, told = decided(world, number)
        assert request.step == "cancel"
        assert causes(told) == [(TypeID.C_DC_NA_1, DEACT_CON, False)]
    assert causes(world.say(number, switch())) == [(TypeID.C_DC_NA_1, ACT_CON, True)]


@pytest.mark.parametrize("how", ["cut", "stop", "handover"])
def test_a_selection_does_not_outlive_its_connection(how):
    world = World(BREAKER)
    number = started(world)
    world.say(number, switch(select=True))
    decided(world, number)
    if how == "cut":
        world.cut(number)
        number = world.connect()
    elif how == "stop":
        world.masters[number].stop(0.0)
        world.run()
        world.masters[number].start(0.0)
        world.run()
    else:
        number = world.connect()
    assert causes(world.say(number, switch())) == [(TypeID.C_DC_NA_1, ACT_CON, True)]
    assert [request.step for request in world.desk.requests] == ["cancel"]


def test_a_command_repeated_on_the_next_connection_is_not_executed_twice():
    world = World(BREAKER)
    number = started(world)
    world.say(number, switch(select=True))
    decided(world, number)
    world.say(number, switch())
    (request,) = world.desk.requests
    world.cut(number)
    number = world.connect()
    for select in (True, False):
        assert [asdu.negative for asdu in world.say(number, switch(select=select))] == [True]
    assert world.desk.requests == [request]
    world.desk.confirm(request.number, 0.0)
    world.desk.terminate(request.number)
    assert world.hear(number) == []  # it was another connection's


@pytest.mark.parametrize("value", [0, 3])
def test_a_double_command_that_is_neither_on_nor_off_is_refused(value):
    world = World(BREAKER)
    number = started(world)
    assert [asdu.negative for asdu in world.say(number, switch(value, select=True))] == [True]
    assert world.desk.requests == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_set_point_that_is_no_number_is_refused(value):
    world = World(BREAKER)
    number = started(world)
    assert [asdu.negative for asdu in world.say(number, one(TypeID.C_SE_NC_1, value, IOA=2))] == [True]
    assert world.desk.requests == []


@pytest.mark.parametrize(("age_s", "good"), [(0, True), (59, True), (61, False), (-61, False)])
def test_the_age_of_a_command(age_s, good):
    world = World(BREAKER)
    number = started(world)
    asdu = one(TypeID.C_SE_TC_1, 1.5, IOA=2, time=UTC.encode(T_NS - age_s * 10**9))
    assert [told.negative for told in world.say(number, asdu)] == ([] if good else [True])
    assert len(world.desk.requests) == good


@pytest.mark.parametrize(
    "tag", [UTC.encode(T_NS, invalid=True), CP56Time2a(bytes.fromhex("ffff3f1f1f0f7f"))], ids=["IV", "nonsense"]
)
def test_a_command_with_a_time_that_is_none_is_refused(tag):
    world = World(BREAKER)
    number = started(world)
    assert [told.negative for told in world.say(number, one(TypeID.C_SE_TC_1, 1.5, IOA=2, time=tag))] == [True]
    assert world.desk.requests == []


def test_a_device_that_says_nothing_is_a_no():
    world = World(BREAKER)
    number = started(world)
    world.say(number, one(TypeID.C_SE_NC_1, 1.5, IOA=2))
    world.wait(11)
    assert causes(world.told[number]) == [(TypeID.C_SE_NC_1, ACT_CON, True)]


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
    assert not world.station.unsent(number)


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
    assert not world.station.unsent(number)
