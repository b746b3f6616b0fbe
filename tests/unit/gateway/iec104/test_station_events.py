"""What a controlled station tells, over cuts, handovers and slow masters: against a strict model."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iec104_world import (
    ACT_CON,
    BO,
    END,
    KEYS,
    ME,
    SP,
    T_NS,
    TAG,
    UTC,
    World,
    causes,
    interrogation,
    one,
    started,
)

from gateway.iec104.apci import encode_s
from gateway.iec104.asdu import Cause, Qds, Step, TypeID, encode
from gateway.iec104.image import Image, Monitored
from gateway.iec104.link import LinkConfig, LinkState


@pytest.fixture
def world():
    return World()


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
    assert sum("told as invalid" in note for note in world.source.notes) == 2
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
    assert [event.head.typeID for event in world.source.taken.values()] == [SP]
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
