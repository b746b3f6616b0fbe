"""A field device as points, against a device made of our own link: values, order, losses; no sockets."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iec104_field_world import (
    ACT_CON,
    DP,
    END,
    IT,
    ME,
    OLD,
    POINTS,
    SP,
    T_NS,
    UTC,
    Outlet,
    S,
    World,
    config,
    control,
    interrogated,
    point,
)

from gateway.adapters.iec104_field import FieldRtu, FieldRtus
from gateway.adapters.iec104_outlet import PointCommand
from gateway.iec104.asdu import Asdu, Cause, InformationObject, Step, TypeID, encode, mirror
from gateway.iec104.time_tag import TimeBase
from gateway.points.mapping import CommandValue
from gateway.points.mapping_rules import MappingError
from gateway.points.point import (
    TIME_UNKNOWN,
    UNSPECIFIED_ACCURACY,
    PointConfig,
    PointValue,
    decode_value,
    encode_value,
    fault_of,
)
from gateway.points.table import PointTable
from ied_agents.iec61850.quality import Quality, Validity


@pytest.fixture(autouse=True)
def only_warnings(caplog):
    caplog.set_level(logging.WARNING)


# -- values -----------------------------------------------------------------------------------------------------------


def test_what_is_told_is_a_point_with_its_time_and_quality():
    world = World()
    world.utc_ns = T_NS + 9 * S
    world.tell(1, True, at=5)
    world.tell(1, False, at=6, qualifier=0x80, invalid=True)
    world.tell(1, True)
    world.tell(3, 125.0, typeID=ME, at=7, qualifier=0x10, test=True)
    arrived = T_NS + 9 * S
    assert world.outlet.told == [
        ("in", PointValue(True, 0, T_NS + 5 * S, UNSPECIFIED_ACCURACY, arrived)),
        ("in", PointValue(False, Quality(Validity.INVALID).to_int(), T_NS + 6 * S, TIME_UNKNOWN, arrived)),
        ("in", PointValue(True, 0, arrived, TIME_UNKNOWN, arrived)),
        (
            "I",
            PointValue(
                12.5, Quality(test=True, operatorBlocked=True).to_int(), T_NS + 7 * S, UNSPECIFIED_ACCURACY, arrived
            ),
        ),
    ]


@pytest.mark.parametrize("cause", [Cause.SPONTANEOUS, Cause.RETURN_REMOTE, Cause.RETURN_LOCAL])
def test_a_state_told_again_has_happened_again_but_not_at_the_same_time(cause):
    world = World()
    for at in (1, 2, 2, 3):
        world.tell(2, 2, typeID=DP, at=at, cause=cause)
    assert world.heard() == [("Q1", 2, 0, 1.0), ("Q1", 2, 0, 2.0), ("Q1", 2, 0, 3.0)]
    world.outlet.table.substitute("Q1", 1, "me", T_NS)
    world.tell(2, 2, typeID=DP, at=4, cause=cause)
    assert world.heard() == []  # somebody has put in another value
    assert world.outlet.table.get("Q1").value == 1


def test_a_number_told_again_is_no_news():
    world = World(deadbands={"I": 1.0})
    for number, value in enumerate((100.0, 100.0, 105.0, 120.0)):
        world.tell(3, value, typeID=ME, at=number)
    assert world.heard() == [("I", 10.0, 0, 0.0), ("I", 12.0, 0, 3.0)]


@pytest.mark.parametrize(
    "cause", [Cause.PERIODIC, Cause.BACKGROUND, Cause.REQUESTED, Cause.INTERROGATED, Cause.GROUP_16]
)
def test_an_answer_is_an_event_only_if_it_is_news(cause):
    world = World()
    world.utc_ns = T_NS + 5 * S
    world.tell(1, True, cause=cause)
    world.tell(1, True, cause=cause)
    assert world.heard() == [("in", True, 0, 5.0)]
    world.tell(1, False, at=6)
    world.heard()
    world.tell(1, False, cause=cause)
    assert world.outlet.table.get("in").t_ns == T_NS + 6 * S  # when it changed, not when it was asked for
    world.tell(1, False, cause=cause, qualifier=0x40)
    assert [one[:2] for one in world.heard()] == [("in", False)]


def test_an_event_that_an_answer_came_before_is_told_with_its_time():
    world = World(interrogate=True)
    world.utc_ns = T_NS + 9 * S
    interrogated(world, 3, 100.0, typeID=ME)
    world.tell(3, 100.0, typeID=ME, at=5)
    world.tell(3, 100.0, typeID=ME, at=6)
    assert world.heard() == [("I", 10.0, 0, 9.0), ("I", 10.0, 0, 5.0)]


def test_counters_that_are_asked_for():
    world = World()
    for value in (5, 5, 6):
        world.tell(4, value, typeID=IT, cause=Cause.COUNTER_GENERAL)
    assert [value for _, value, *_ in world.heard()] == [5, 6]


def test_an_answer_with_an_older_time_tag_than_the_event_is_passed_over():
    world = World()
    world.tell(1, True, at=5)
    interrogated(world, 1, False, at=4)
    assert world.heard() == [("in", True, 0, 5.0)]
    assert world.rtu.outdated == 1
    interrogated(world, 1, False, at=6)
    assert world.heard() == [("in", False, 0, 6.0)]


def test_an_answer_without_time_gives_way_to_an_event_of_this_interrogation():
    world = World(interrogate=True)
    world.answer(ACT_CON)
    world.tell(1, True, at=5)  # later than T_NS, when it was asked
    interrogated(world, 1, False)
    assert world.heard() == [("in", True, 0, 5.0)]
    world.tell(2, 2, typeID=DP, at=-5)  # of before: it waited in the device
    interrogated(world, 2, 1, typeID=DP)
    assert [one[:2] for one in world.heard()] == [("Q1", 2), ("Q1", 1)]


def test_after_a_reconnect_a_clock_that_was_set_back_does_not_matter():
    world = World()
    world.tell(1, True, at=500)
    world.cut()
    world.connect(2)
    world.heard()
    interrogated(world, 1, False, at=5)
    assert world.heard() == [("in", False, 0, 5.0)]


def test_after_an_initialisation_times_begin_anew():
    world = World()
    world.tell(1, True, at=500)
    world.say(encode(Asdu(TypeID.M_EI_NA_1, Cause.INITIALISED, 1, (InformationObject(0, None, 2),))))
    interrogated(world, 1, False, at=5)
    assert world.heard() == [("in", True, 0, 500.0), ("in", False, 0, 5.0)]
    for ca in range(2, 300):  # of stations that are none of the device's
        world.say(encode(Asdu(TypeID.M_EI_NA_1, Cause.INITIALISED, ca, (InformationObject(0, None, 2),))))
    assert world.rtu.unknown == 298


# -- what does not fit ------------------------------------------------------------------------------------------------


def test_what_nobody_configured_is_said_once_and_counted(caplog):
    world = World()
    for _ in range(3):
        for ioa in range(1000, 1200):
            world.tell(ioa, True, at=1)
    assert world.rtu.unknown == 600
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 101
    assert "CA 1 IOA 1000, type 30, stands for no point" in said[0]
    assert "only counted" in said[-1]
    assert world.heard() == []


@pytest.mark.parametrize(
    ("typeID", "value", "cause", "why"),
    [
        (DP, 2, Cause.SPONTANEOUS, "in is told with type 31; expected 30"),
        (TypeID.M_BO_TB_1, 2, Cause.SPONTANEOUS, "in is told with type 33; expected 30"),
        (SP, True, Cause.ACTIVATION, "type 30 with cause 6 tells no value"),
        (SP, True, 63, "type 30 with cause 63 tells no value"),
    ],
)
def test_what_does_not_fit_its_point_is_passed_over_and_the_rest_is_not(caplog, typeID, value, cause, why):
    world = World()
    for _ in range(2):
        world.tell(1, value, typeID=typeID, cause=cause, at=1)
    assert [record.getMessage() for record in caplog.records] == [f"RTU: CA 1 IOA 1: passed over: {why}; said once"]
    assert (world.rtu.unfit, world.heard()) == (2, [])


def test_a_number_that_no_point_can_hold_costs_only_itself():
    world = World(config([point(1, "n", "INS", TypeID.M_ME_TE_1, scale=1e-300), point(2, "m", "MV", ME)]))
    tag = UTC.encode(T_NS)
    objects = tuple(InformationObject(1, number, 0, tag) for number in (30000, 7))
    world.say(encode(Asdu(TypeID.M_ME_TE_1, Cause.SPONTANEOUS, 1, objects)))
    assert world.rtu.unfit == 2
    nan = InformationObject(2, float("nan"), 0, tag), InformationObject(2, 1.0, 0, tag)
    world.say(encode(Asdu(ME, Cause.SPONTANEOUS, 1, nan)))
    assert [name for name, *_ in world.heard()] == ["m", "m"]


def test_quality_is_not_lost_to_a_type_that_has_none():
    world = World(config([point(1, "m", "MV", TypeID.M_ME_ND_1)]))
    world.tell(1, 0.5, typeID=TypeID.M_ME_ND_1)
    world.tell(1, 0.25, typeID=TypeID.M_ME_NA_1, qualifier=0x80)
    assert ([value for _, value, *_ in world.heard()], world.rtu.unfit) == ([0.5], 1)


def test_single_points_of_an_enumeration_say_only_what_is_on():
    of = config([point(n, "mode", "ENS", SP, expectedValue=n * 10) for n in (1, 2)], [])
    world = World(of)
    for ioa, on in ((1, True), (2, False), (1, False), (2, True)):
        world.tell(ioa, on, at=ioa)
    assert [value for _, value, *_ in world.heard()] == [10, 20]


def test_a_step_position():
    world = World(config([point(1, "tap", "BSC", TypeID.M_ST_TB_1)], []))
    world.tell(1, Step(-5, transient=True), typeID=TypeID.M_ST_TB_1, at=1)
    assert world.heard() == [("tap", (-5, 1), 0, 1.0)]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            # Like an ASDU: type, number, cause, CA 1, address 1 to 5, and whatever.
            st.builds(
                lambda typeID, number, cause, ioa, rest: bytes((typeID, number, cause, 0, 1, 0, ioa, 0, 0)) + rest,
                *(st.integers(1, 40), st.integers(1, 3), st.integers(0, 255), st.integers(1, 5)),
                st.binary(max_size=40),
            ),
            st.builds(
                lambda typeID, cause, ioa, value, tag: bytes((typeID, 1, cause, 0, 1, 0, ioa, 0, 0)) + value + tag,
                *(st.sampled_from((30, 31, 35, 36, 37)), st.sampled_from((1, 3, 11, 20)), st.integers(1, 5)),
                *(st.binary(min_size=1, max_size=5), st.binary(min_size=7, max_size=7)),
            ),
        ),
        max_size=20,
    )
)
def test_whatever_a_device_tells_only_its_points_are_told_and_can_be_stored(asdus):
    world = World()
    for octets in asdus:
        if not world.rtu.station.started:
            world = World()
        if octets:
            world.links[1].send(octets, 0.0)
            world.take(world.rtu.station.receive(1, world.links[1].data_to_send(), 0.0, T_NS))
        for name, value in world.outlet.told:
            assert decode_value(encode_value(value))[1:] == value[1:]
            assert fault_of(world.outlet.table.config(name).kind, value.value) == ""


def test_times_are_in_the_devices_time_base():
    base = TimeBase("Europe/Sarajevo")
    world = World(time_base=base)
    one = InformationObject(1, True, 0, base.encode(T_NS))
    world.say(encode(Asdu(SP, Cause.SPONTANEOUS, 1, (one,))))
    assert world.heard() == [("in", True, 0, 0.0)]


# -- losses -----------------------------------------------------------------------------------------------------------


def test_a_lost_device_makes_its_points_old_until_it_tells_them_again(caplog):
    world = World(interrogate=True)
    world.tell(1, True, at=1)
    world.tell(2, 2, typeID=DP, at=2)
    world.heard()
    world.utc_ns = T_NS + 10 * S
    world.cut()
    assert sorted(world.heard()) == [("Q1", 2, OLD, 10.0), ("in", True, OLD, 10.0)]
    assert "2 points are old" in caplog.text
    world.asdus.clear()
    world.utc_ns = T_NS + 20 * S
    world.connect(2)
    asked = world.answer(ACT_CON)
    interrogated(world, 1, True)
    assert world.heard() == [("in", True, 0, 20.0)]
    caplog.clear()
    world.say(mirror(asked, world.rtu.config.settings.sizes, END, negative=False))
    (record,) = caplog.records
    assert record.getMessage().endswith("C_IC_NA_1 did not tell 2 points, which stay as they were: Q1, I")
    assert world.outlet.table.get("Q1").quality == OLD


def test_counters_that_were_asked_for_and_not_told_are_named(caplog):
    world = World(counters=True)
    world.tell(1, True, at=1)
    asked = world.answer(ACT_CON)
    world.say(mirror(asked, world.rtu.config.settings.sizes, END, negative=False))
    assert caplog.text.rstrip().endswith("did not tell 1 points, which stay as they were: Wh")


@pytest.mark.parametrize("cause", [Cause.UNKNOWN_TYPE, Cause.UNKNOWN_CA, ACT_CON])
def test_an_interrogation_that_is_refused_is_said(cause, caplog):
    world = World(interrogate=True)
    world.answer(cause, negative=True)
    assert "C_IC_NA_1 of CA 1: " in caplog.text
    assert "did not tell 3 points" in caplog.text


def test_many_points_that_are_not_told_are_named_by_some(caplog):
    world = World(config([point(n, f"p{n}", "SPS", SP) for n in range(1, 31)], [], interrogate=True))
    asked = world.answer(ACT_CON)
    world.say(mirror(asked, world.rtu.config.settings.sizes, END, negative=False))
    assert "30 points" in caplog.text
    assert caplog.text.rstrip().endswith("p10 and 20 more")


def test_where_another_link_takes_over_nothing_grows_old():
    world = World()
    world.tell(1, True, at=1)
    world.heard()
    world.connect(2)
    world.cut(1)
    assert world.rtu.station.started
    assert world.heard() == []
    world.cut(2)
    assert [one[:3] for one in world.heard()] == [("in", True, OLD)]


def test_where_the_other_link_does_not_start_it_grows_old_after_all():
    world = World()
    world.tell(1, True, at=1)
    world.heard()
    world.rtu.station.connect(2, 0.0)  # and says nothing
    world.cut(1)
    assert world.heard() == []
    world.wait(16)
    assert [one[:3] for one in world.heard()] == [("in", True, OLD)]


def test_at_our_own_end_nothing_grows_old():
    world = World()
    world.tell(1, True, at=1)
    world.heard()
    world.rtu.ending = True
    world.rtu.station.stop(world.now)
    world.run()
    assert (world.rtu.station.started, world.heard()) == (False, [])


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 9, b"\x68\x04\x83\x00\x00", bytes.fromhex("680e0000000001010300010001000001 00")]
)
def test_garbage_costs_the_connection_and_says_so(garbage, caplog):
    world = World()
    world.tell(1, True, at=1)
    world.heard()
    world.take(world.rtu.station.receive(1, garbage + b"\x99" * 300, world.now, T_NS))
    assert not world.rtu.station.is_open(1)
    assert [one[:3] for one in world.heard()] == [("in", True, OLD)]
    assert "lost: " in caplog.text


# -- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ([config(), config()], "RTU: two devices of this name"),
        ([config(), config(name="B")], "Q1: a point of B and of RTU"),
        (
            [config([point(1, "a", "SPS", SP), point(1, "b", "SPS", SP)], [])],
            "point b at CA 1 IOA 1: the address is that",
        ),
        ([config([point(1, "a", "SPS", SP), point(2, "a", "SPS", SP)], [])], "the point stands twice"),
        ([config([point(1, "a", "SPS", SP, CA=2)], [])], "the CA is none of the device's, 1"),
        ([config([point(0, "a", "SPS", SP)], [])], "IOA 1 to 16777215 expected"),
        ([config([point(1, "a", "SPS", DP)], [])], "type 31 cannot monitor a SPS"),
        ([config([], [control(1, "a", "SPC", TypeID.C_DC_NA_1)])], "type 46 cannot control a SPC"),
        ([config([], [control(1, "a", "INC", TypeID.C_BO_NA_1, select=True)])], "a bit string cannot be selected"),
    ],
)
def test_a_configuration_that_cannot_be(of, why):
    with pytest.raises(ValueError, match=why):
        FieldRtus(of)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"I": None}, "I is not in the point table"),
        ({"Q1": {"source": "A"}}, "Q1: its source is 'A'; expected 'RTU'"),
        ({"Q1": {"cdc": "SPC"}}, "Q1: a SPC, but RTU tells it as a DPC"),
    ],
)
def test_a_table_that_does_not_have_its_points(change, why):
    known = {each.rule.name: {"cdc": each.rule.cdc, "source": "RTU"} for each in POINTS}
    for name, more in change.items():
        known[name] = more and known[name] | more
    outlet = Outlet(PointTable(PointConfig(name=name, **more) for name, more in known.items() if more))
    with pytest.raises(ValueError, match=why):
        FieldRtus([config()]).start(outlet)


def test_a_command_to_a_point_of_no_device():
    rtus = FieldRtus([])
    outlet = Outlet(PointTable([]))
    rtus.start(outlet)
    rtus.operate(PointCommand(1, "execute", "X", CommandValue(True, False, 0), False, 0))
    assert outlet.answers == [("confirm", 1, "X: no device operates it")]


def test_a_rule_that_cannot_be_is_refused():
    with pytest.raises(MappingError):
        FieldRtu(config([point(1, "a", "SPS", DP)], []), Outlet(PointTable([])))


def test_what_is_interrogated_later_is_no_older_than_events_of_before():
    world = World(interrogate=True)
    asked = world.answer(ACT_CON)
    world.tell(1, True, at=5)
    world.say(mirror(asked, world.rtu.config.settings.sizes, END, negative=False))
    interrogated(world, 1, False)
    assert [value for _, value, *_ in world.heard()] == [True, False]
