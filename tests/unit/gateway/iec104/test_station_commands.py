"""Commands at a controlled station: what is executed, and what is not."""

from __future__ import annotations

import pytest
from iec104_world import (
    ACT_CON,
    BREAKER,
    DEACT,
    DEACT_CON,
    END,
    T_NS,
    UTC,
    World,
    causes,
    decided,
    one,
    started,
    switch,
)

from gateway.iec104.asdu import TypeID, encode
from gateway.iec104.commands import CommandDesk
from gateway.iec104.time_tag import CP56Time2a


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
