"""The controlling station against devices made of our own link: requests, commands, what is lost, garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.iec104.asdu import Asdu, Cause, InformationObject, TypeID, decode, encode, mirror
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.link import AsduReceived, Link, LinkConfig, Role
from gateway.iec104.master import (
    Asked,
    CommandConfirmed,
    CommandEnded,
    ControllingStation,
    Lost,
    MasterSettings,
    ObjectsReceived,
    Started,
)
from gateway.iec104.time_tag import TimeBase

T_NS = 1_750_000_000_000_000_000
TAG = TimeBase("UTC").encode(T_NS)
ACT, ACT_CON, END = Cause.ACTIVATION, Cause.ACTIVATION_CON, Cause.TERMINATION
DC, SE = TypeID.C_DC_NA_1, TypeID.C_SE_NC_1


class World:
    """A master and the links of its device; what the device is told is kept, and answered by the test."""

    def __init__(self, **more):
        self.now = 0.0
        self.settings = MasterSettings(more.pop("CAs", (1,)), **{"interrogate": False, **more})
        self.master = ControllingStation(self.settings)
        self.links = {}
        self.asdus = []
        self.events = []

    def connect(self, number=1, **config):
        self.links[number] = Link(LinkConfig(**config), Role.CONTROLLED, self.now)
        self.master.connect(number, self.now)
        self.run()

    def run(self):
        for _ in range(100):
            said = self.master.data_to_send()
            for number, octets in said:
                for event in self.links[number].receive(octets, self.now):
                    if isinstance(event, AsduReceived):
                        self.asdus.append(event.octets)
            answers = [(number, link.data_to_send()) for number, link in self.links.items()]
            for number, octets in answers:
                self.events += self.master.receive(number, octets, self.now, T_NS)
            if not said and not any(octets for _, octets in answers):
                return

    def told(self):
        """The one ASDU that the device was told."""
        (octets,) = self.asdus
        self.asdus.clear()
        return octets

    def say(self, octets, number=1):
        """The device says something; returns what the master makes of it."""
        self.links[number].send(octets if isinstance(octets, bytes) else encode(octets), self.now)
        return self.heard()

    def heard(self):
        self.run()
        events, self.events = self.events, []
        return events

    def answer(self, cause, *, negative=False, change=None):
        octets = bytearray(mirror(self.told(), self.settings.sizes, cause, negative=negative))
        for at, octet in (change or {}).items():
            octets[at] = octet
        return self.say(bytes(octets))

    def wait(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.events += self.master.handle_timer(self.now, T_NS)
            for link in self.links.values():
                link.handle_timer(self.now)
            self.run()
        return self.heard()

    def cut(self, number=1):
        del self.links[number]
        self.events += self.master.disconnect(number, "cut", self.now)
        return self.heard()

    def command(self, typeID=DC, value=2, **more):
        number = self.master.command(1, 9, typeID, value, self.now, T_NS, **more)
        self.run()
        return number


def started(**more):
    world = World(**more)
    world.connect()
    assert world.heard() == [Started(1)]
    return world


def value(number, *, typeID=TypeID.M_ME_NB_1, cause=Cause.SPONTANEOUS, IOA=1, **more):
    return Asdu(typeID, cause, 1, (InformationObject(IOA, number),), **more)


# -- requests ---------------------------------------------------------------------------------------------------------


def test_after_the_start_clock_interrogation_and_counters():
    world = started(interrogate=True, counters=True, clock_s=60.0, CAs=(1, 7), originator=4)
    asked = [decode(octets) for octets in world.asdus]
    assert [(asdu.typeID, asdu.CA) for asdu in asked] == [
        *((TypeID.C_CS_NA_1, ca) for ca in (1, 7)),
        *((typeID, ca) for ca in (1, 7) for typeID in (TypeID.C_IC_NA_1, TypeID.C_CI_NA_1)),
    ]
    assert {asdu.originator for asdu in asked} == {4}
    assert asked[0].objects[0].time == TAG
    assert [asdu.objects[0].qualifier for asdu in asked[2:]] == [20, 5, 20, 5]


def test_an_interrogation_ends_with_its_termination():
    world = started(interrogate=True)
    asked = world.told()
    for cause, events in ((ACT_CON, []), (END, [Asked(TypeID.C_IC_NA_1, 1, 20, "")]), (END, [])):
        assert world.say(mirror(asked, world.settings.sizes, cause, negative=False)) == events


@pytest.mark.parametrize(
    ("cause", "negative", "why"),
    [
        (ACT_CON, True, "refused"),
        (Cause.UNKNOWN_TYPE, True, "it does not know the type"),
        (Cause.UNKNOWN_CA, True, "it does not know the common address"),
        (Cause.UNKNOWN_IOA, False, "it does not know the object"),
    ],
)
def test_an_interrogation_that_is_refused(cause, negative, why):
    world = started(interrogate=True)
    assert world.answer(cause, negative=negative) == [Asked(TypeID.C_IC_NA_1, 1, 20, why)]


def test_a_request_that_nobody_answers_ends_and_may_be_made_again():
    world = started(interrogate=True)
    assert world.wait(16) == [Asked(TypeID.C_IC_NA_1, 1, 20, "no answer in time")]
    world.asdus.clear()
    world.master.interrogate(1, world.now)
    world.run()
    assert world.answer(ACT_CON) == []
    world.wait(50)
    assert world.say(value(1)) == [ObjectsReceived(decode(encode(value(1))))]  # it goes on: time begins anew
    assert world.wait(50) == []
    assert world.wait(11) == [Asked(TypeID.C_IC_NA_1, 1, 20, "no termination in time")]


def test_two_requests_of_one_type_are_told_apart():
    world = started()
    world.master.count(1, 0.0, freeze=1)
    world.master.count(1, 0.0)
    world.master.interrogate(1, 0.0, group=2)
    world.run()
    freeze, read, group = world.asdus
    sizes = world.settings.sizes
    assert world.say(mirror(read, sizes, ACT_CON, negative=False)) == []
    assert world.say(mirror(read, sizes, END, negative=False)) == [Asked(TypeID.C_CI_NA_1, 1, 5, "")]
    assert world.say(mirror(group, sizes, ACT_CON, negative=True)) == [Asked(TypeID.C_IC_NA_1, 1, 22, "refused")]
    refused = Asked(TypeID.C_CI_NA_1, 1, 5 | 1 << 6, "refused")
    assert world.say(mirror(freeze, sizes, ACT_CON, negative=True)) == [refused]


def test_the_same_is_not_asked_twice_at_once():
    world = started()
    for _ in range(3):
        world.master.interrogate(1, 0.0)
    world.run()
    assert len(world.asdus) == 1


@pytest.mark.parametrize("what", ["set_clock", "test"])
def test_clock_and_test(what):
    world = started()
    getattr(world.master, what)(1, 0.0, T_NS)
    world.run()
    ((asked),) = world.answer(ACT_CON)
    assert asked.why == ""


def test_reset_and_read():
    world = started()
    world.master.reset(1, 0.0)
    world.run()
    assert world.answer(ACT_CON) == [Asked(TypeID.C_RP_NA_1, 1, 1, "")]
    world.master.read(1, 5, 0.0)
    world.run()
    asdu = decode(world.told())
    assert (asdu.typeID, asdu.cause, asdu.objects[0].IOA) == (TypeID.C_RD_NA_1, Cause.REQUESTED, 5)


def test_a_read_ends_with_its_object_with_a_refusal_or_with_nothing():
    world = started()
    world.master.read(1, 5, 0.0)
    world.run()
    told = world.say(value(1, cause=Cause.REQUESTED, IOA=5))
    assert told[1:] == [Asked(TypeID.C_RD_NA_1, 1, 5, "")]
    world.asdus.clear()
    world.master.read(1, 6, 0.0)
    world.run()
    assert world.answer(Cause.UNKNOWN_IOA, negative=True) == [
        Asked(TypeID.C_RD_NA_1, 1, 6, "it does not know the object")
    ]
    world.master.read(1, 7, 0.0)
    world.run()
    assert world.wait(16) == [Asked(TypeID.C_RD_NA_1, 1, 7, "no answer in time")]


def test_an_execute_that_is_not_answered_may_have_been_carried_out():
    world = started()
    world.command()
    (ended,) = world.wait(16)
    assert (ended.done, ended.stage, ended.moving) == (False, "execute", True)


def test_to_stop_twice_is_to_stop_once():
    world = started()
    world.master.stop(0.0)
    world.master.stop(0.0)
    world.run()
    assert not world.master.started


def test_the_clock_is_set_again():
    world = started(clock_s=60.0)
    assert world.answer(ACT_CON) == [Asked(TypeID.C_CS_NA_1, 1, 0, "")]
    world.wait(61)
    assert decode(world.told()).typeID == TypeID.C_CS_NA_1


def test_a_device_that_begins_anew_is_interrogated():
    world = started(interrogate=True)
    world.answer(ACT_CON, negative=True)
    world.say(value(None, typeID=TypeID.M_EI_NA_1, cause=Cause.INITIALISED, IOA=0))
    assert decode(world.told()).typeID == TypeID.C_IC_NA_1


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typeID", [DC, TypeID.C_DC_TA_1])
@pytest.mark.parametrize("test", [False, True])
def test_select_execute_terminate(typeID, test):
    world = started()
    number = world.command(typeID, select=True, qualifier=4, test=test)
    asdu = decode(world.asdus[0])
    assert (asdu.objects[0].value, asdu.objects[0].qualifier, asdu.test) == (2, 0x84, test)
    assert world.answer(ACT_CON) == []
    execute = world.asdus[0]
    asdu = decode(execute)
    assert (asdu.cause, asdu.objects[0].value, asdu.objects[0].qualifier, asdu.test) == (ACT, 2, 4, test)
    assert world.answer(ACT_CON) == [CommandConfirmed(number)]
    told = world.say(mirror(execute, world.settings.sizes, END, negative=False))
    assert told == [CommandEnded(number, done=True, stage="termination", moving=True)]


@pytest.mark.parametrize("stage", ["select", "execute"])
@pytest.mark.parametrize("cause", [ACT_CON, Cause.UNKNOWN_CA, Cause.UNKNOWN_IOA])
def test_a_command_that_is_refused(stage, cause):
    world = started()
    world.command(select=stage == "select")
    (ended,) = world.answer(cause, negative=True)
    assert (ended.done, ended.stage, bool(ended.why), ended.moving) == (False, stage, True, False)
    assert world.asdus == []
    assert world.command()


def test_a_device_that_drops_the_test_bit_is_not_given_the_execute():
    world = started()
    world.command(select=True, test=True)
    assert world.answer(ACT_CON, change={2: ACT_CON}) == []
    assert world.asdus == []  # no execute, and by no means one without the bit
    assert "not given" in world.master.notes[0]
    (ended,) = world.wait(16)
    assert not ended.done


@pytest.mark.parametrize("change", [{9: 1}, {9: 0x80 | 1}, {9: 2}, {2: 0x80 | ACT_CON}])
def test_a_confirmation_of_another_command_is_none(change):
    world = started()
    world.command(select=True)
    assert world.answer(ACT_CON, change=change) == []
    assert world.asdus == []


def test_a_termination_that_says_no_or_does_not_come():
    world = started()
    world.command()
    execute = world.asdus[0]
    world.answer(ACT_CON)
    (ended,) = world.say(mirror(execute, world.settings.sizes, END, negative=True))
    assert (ended.done, ended.moving) == (False, True)
    world.command()
    world.answer(ACT_CON)
    (ended,) = world.wait(61)
    assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)


def test_a_device_without_terminations():
    world = started()
    world.command(terminated=False)
    (ended,) = world.answer(ACT_CON)
    assert ended.done


@pytest.mark.parametrize(
    ("typeID", "number"), [(SE, 0.1), (TypeID.C_SE_NA_1, 0.3), (TypeID.C_SE_TC_1, 231.7), (TypeID.C_SE_NB_1, -5)]
)
def test_a_set_point_is_confirmed_as_the_device_reads_it(typeID, number):
    world = started()
    world.command(typeID, number, select=True)
    assert world.answer(ACT_CON) == []
    execute = world.asdus[0]
    world.answer(ACT_CON)
    (ended,) = world.say(mirror(execute, world.settings.sizes, END, negative=False))
    assert ended.done


def test_a_command_whose_failure_was_told_is_not_sent_later():
    world = World(link=LinkConfig(k=1, w=1, t1_s=100.0, t2_s=99.0), confirm_s=5.0)
    world.connect(k=8, w=8, t1_s=100.0, t2_s=99.0)
    world.heard()
    world.master.read(1, 1, 0.0)  # fills the window
    world.run()
    world.told()
    world.master.set_clock(1, 0.0, T_NS)
    number = world.command()
    assert world.asdus == []
    ended, *asked = world.wait(6)
    assert (ended.number, ended.done, ended.moving) == (number, False, False)
    assert [(each.typeID, bool(each.why)) for each in asked] == [(TypeID.C_RD_NA_1, True), (TypeID.C_CS_NA_1, True)]
    assert world.say(value(1)) != []  # acknowledges: the window opens
    assert world.asdus == []


def test_a_command_that_cannot_be_is_refused_and_leaves_nothing_behind():
    world = World()
    with pytest.raises(ValueError, match="not connected"):
        world.command()
    world.connect()
    for typeID, number in ((SE, float("nan")), (SE, float("inf")), (DC, 5), (TypeID.C_IC_NA_1, 1)):
        with pytest.raises(ValueError):
            world.command(typeID, number)
    with pytest.raises(Iec104EncodeError):
        world.command(TypeID.C_BO_NA_1, 1, select=True)
    world.command()
    with pytest.raises(ValueError, match="another command runs"):
        world.command()
    assert len(world.asdus) == 1


def test_the_end_of_the_connection_ends_all():
    world = started(interrogate=True)
    number = world.command()
    ended, asked, lost = world.cut()
    assert (ended.number, ended.done, ended.why) == (number, False, "the connection was lost: cut")
    assert asked == Asked(TypeID.C_IC_NA_1, 1, 20, "the connection was lost: cut")
    assert lost == Lost("cut")
    world.connect(2)
    assert len(world.asdus) == 3  # an interrogation again, and not the command


# -- connections ------------------------------------------------------------------------------------------------------


def test_the_second_connection_stands_by_and_takes_over():
    world = started()
    world.connect(2)
    assert world.heard() == []
    assert world.cut(1) == [Lost("cut", standby=True), Started(2)]
    assert world.cut(2) == [Lost("cut")]
    assert not world.master.started


def test_a_device_that_does_not_start_is_left_for_the_other():
    world = World()
    world.master.connect(1, 0.0)  # nobody answers
    world.links[1] = Link(LinkConfig(), Role.CONTROLLED, 0.0)
    world.master.data_to_send()
    world.connect(2)
    assert world.wait(16) == [Started(2)]
    assert not world.master.is_open(1)


def test_types_of_its_makers_own_are_passed_over_and_said_once():
    world = started()
    private = bytes.fromhex("82 01 03 00 01 00 01 00 00 07")
    for _ in range(3):
        assert world.say(private) == []
    assert len(world.master.notes) == 1
    assert len(world.say(value(1))) == 1


@pytest.mark.parametrize(
    "octets", ["01 02 03 00 01 00 01 00 00 01", "0b 00 03 00 01 00", "64 81 0a 00 01 00 00 00 00 14"]
)
def test_an_asdu_that_is_none_closes_its_connection(octets):
    world = started()
    (lost,) = world.say(bytes.fromhex(octets))
    assert isinstance(lost, Lost)
    assert not world.master.is_open(1)
    assert "closed: ASDU" in world.master.notes[0]


GOOD = [
    encode(value(1)),
    encode(value(True, typeID=TypeID.M_SP_NA_1)),
    encode(Asdu(DC, ACT_CON, 1, (InformationObject(9, 2, 0x80),))),
    encode(Asdu(DC, END, 1, (InformationObject(9, 2),))),
    encode(Asdu(TypeID.C_IC_NA_1, ACT_CON, 1, (InformationObject(0, None, 20),))),
    encode(Asdu(TypeID.C_IC_NA_1, END, 1, (InformationObject(0, None, 20),))),
    encode(Asdu(TypeID.M_EI_NA_1, Cause.INITIALISED, 1, (InformationObject(0, None),))),
]


@st.composite
def mutated(draw):
    octets = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 3))):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets + draw(st.sampled_from([b"", b"", b"\0", b"\xff" * 9])))


@settings(max_examples=200)
@given(st.lists(mutated(), max_size=12))
def test_whatever_the_device_says_ends_in_events_or_its_connection(asdus):
    world = started(interrogate=True)
    world.connect(2)
    world.command(select=True)
    for octets in asdus:
        number = world.master._started
        if number is None:
            break
        world.asdus.clear()
        before = world.master.notes[:]
        world.say(octets, number)
        if not world.master.is_open(number):
            assert world.master.notes != before
            del world.links[number]
    world.wait(100)
    assert world.master._commands == {}
    assert all(request.deadline > world.now for request in world.master._requests.values())


@settings(max_examples=200)
@given(st.lists(st.one_of(st.integers(-9, 9), st.sampled_from(["cut", "wait"])), max_size=40), st.integers(1, 12))
def test_what_the_device_tells_is_handed_on_once_and_in_order(steps, w):
    world = started(link=LinkConfig(w=w))
    said, told = [], []
    for step in steps:
        if step == "cut":
            (number,) = world.links
            world.cut(number)
            world.connect(number + 1)
        elif step == "wait":
            told += world.wait(5)
        elif world.links[max(world.links)].window:
            told += world.say(value(step), max(world.links))
            said.append(step)
    told += world.heard()
    assert [event.asdu.objects[0].value for event in told if isinstance(event, ObjectsReceived)] == said


@given(st.binary(max_size=300))
def test_any_octets_close_at_most_their_connection(octets):
    world = started()
    world.connect(2)
    world.master.receive(1, octets, 0.0, T_NS)
    if not world.master.is_open(1):
        del world.links[1]
        world.run()
        assert world.master.started


# -- what a listener makes safe ---------------------------------------------------------------------------------------


def test_a_device_is_acknowledged_what_is_stored():
    world = World(link=LinkConfig(w=1))
    world.master = ControllingStation(world.settings, holds=True)
    world.connect()
    world.heard()
    before = world.links[1].window
    for number in range(2):
        assert world.say(value(number)) == [ObjectsReceived(value(number))]
    assert (world.master.received(1), world.master.received(2)) == (2, 0)
    assert world.links[1].window == before - 2
    world.master.stored(1, 1, world.now)
    world.heard()
    assert world.links[1].window == before - 1
    world.master.stored(2, 2, world.now)  # no such connection, any more
    world.master.stop(world.now)
    assert world.heard() == []  # the device waits for the rest
    world.master.stored(1, 2, world.now)
    assert world.heard() == [Lost("data transfer was stopped")]


# -- select and cancel that stand alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("test", [False, True])
def test_a_selection_is_made_and_cancelled_and_never_executed(test):
    world = started()
    number = world.command(select=True, execute=False, qualifier=4, test=test)
    assert world.answer(ACT_CON) == [CommandEnded(number, done=True, stage="select")]
    assert world.asdus == []
    number = world.master.cancel(1, 9, DC, 2, world.now, T_NS, qualifier=4, test=test)
    world.run()
    asdu = decode(world.asdus[0])
    assert (asdu.cause, asdu.test, asdu.objects[0].value) == (Cause.DEACTIVATION, test, 2)
    assert asdu.objects[0].qualifier == 0x84
    told = world.answer(Cause.DEACTIVATION_CON)
    assert told == [CommandEnded(number, done=True, stage="cancel")]
    assert world.asdus == []


@pytest.mark.parametrize("cause", [Cause.DEACTIVATION_CON, Cause.UNKNOWN_CAUSE])
def test_a_cancel_that_is_refused(cause):
    world = started()
    world.master.cancel(1, 9, DC, 2, world.now, T_NS)
    world.run()
    (ended,) = world.answer(cause, negative=True)
    assert (ended.done, ended.stage, bool(ended.why), ended.moving) == (False, "cancel", True, False)


def test_a_cancel_that_is_not_answered():
    world = started()
    world.master.cancel(1, 9, DC, 2, world.now, T_NS)
    world.run()
    (ended,) = world.wait(16)
    assert (ended.done, ended.why, ended.moving) == (False, "no answer to the cancel in time", False)


# -- the standby ------------------------------------------------------------------------------------------------------


def test_where_the_standby_does_not_start_either_it_is_said():
    world = started()
    world.master.connect(2, world.now)  # it never says anything
    world.links[2] = Link(LinkConfig(), Role.CONTROLLED, world.now)
    world.master.data_to_send()
    events = world.master.disconnect(1, "cut", world.now)
    del world.links[1]
    assert events == [Lost("cut", standby=True)]
    world.master.data_to_send()  # its start is lost
    assert world.master.disconnect(2, "cut too", world.now) == [Lost("cut too")]
    assert world.master.disconnect(2, "cut too", world.now) == []
    world.master.connect(3, world.now)
    world.master.data_to_send()
    assert world.master.disconnect(3, "cut as well", world.now) == []  # it is known
