"""Commands to a field device, against a device made of our own link; no sockets."""

from __future__ import annotations

import pytest
from iec104_field_world import ACT_CON, DEACT_CON, END, T_NS, UTC, S, World, config, control

from gateway.iec104.asdu import Cause, InformationObject, TypeID, decode, mirror
from gateway.iec104.link import Link, LinkConfig, Role


@pytest.mark.parametrize("test", [False, True])
def test_a_command_goes_out_in_the_devices_type_and_ends_when_it_says_so(test):
    world = World()
    world.operate(7, "execute", "Q2", True, qualifier=1, test=test)
    asdu = decode(world.asdus[0])
    assert (asdu.typeID, asdu.cause, asdu.test, asdu.CA) == (TypeID.C_SC_NA_1, Cause.ACTIVATION, test, 1)
    assert asdu.objects == (InformationObject(14, True, 4),)
    assert world.answers() == []
    execute = world.answer(ACT_CON)
    assert world.answers() == [("confirm", 7, "")]
    world.say(mirror(execute, world.rtu.config.settings.sizes, END, negative=False))
    assert world.answers() == [("terminate", 7, "")]


def test_a_device_without_terminations_has_ended_with_its_confirmation():
    world = World()
    world.operate(7, "execute", "P", 12.5)
    world.answer(ACT_CON)
    assert world.answers() == [("confirm", 7, ""), ("terminate", 7, "")]


def test_select_execute_passes_through():
    world = World()
    world.operate(1, "select", "Q1", True)
    asdu = decode(world.asdus[0])
    assert (asdu.typeID, asdu.objects[0][:3]) == (TypeID.C_DC_TA_1, (12, 2, 0x80))
    assert UTC.decode(asdu.objects[0].time) == T_NS
    world.answer(ACT_CON)
    assert (world.answers(), world.asdus) == ([("confirm", 1, "")], [])
    world.operate(2, "execute", "Q1", True)
    assert decode(world.asdus[0]).objects[0][:3] == (12, 2, 0)
    world.answer(ACT_CON)
    assert world.answers() == [("confirm", 2, "")]


def test_select_cancel_passes_through():
    world = World()
    world.operate(1, "select", "Q1", True)
    world.answer(ACT_CON)
    world.operate(2, "cancel", "Q1", True)
    assert decode(world.asdus[0]).cause == Cause.DEACTIVATION
    world.answer(DEACT_CON)
    assert world.answers() == [("confirm", 1, ""), ("confirm", 2, "")]
    world.operate(3, "execute", "Q1", True)  # the selection is over: it is selected anew
    assert decode(world.asdus[0]).objects[0].qualifier == 0x80


def test_what_only_the_device_wants_selected_is_selected_for_it():
    world = World()
    world.operate(1, "execute", "Q1", False)
    assert decode(world.asdus[0]).objects[0][:3] == (12, 1, 0x80)
    world.answer(ACT_CON)
    assert world.answers() == []
    assert decode(world.asdus[0]).objects[0][:3] == (12, 1, 0)
    execute = world.answer(ACT_CON)
    world.say(mirror(execute, world.rtu.config.settings.sizes, END, negative=True))
    assert [one[:2] for one in world.answers()] == [("confirm", 1), ("terminate", 1)]


def test_what_was_selected_too_late_for_its_master_is_cancelled_and_not_executed():
    world = World()
    world.operate(1, "execute", "Q1", False)
    world.wait(world.outlet.desk.settings.confirm_s)
    world.answer(ACT_CON)
    (answer,) = world.answers()
    assert answer[:2] == ("confirm", 1)
    assert "too late" in answer[2]
    assert decode(world.asdus[0]).cause == Cause.DEACTIVATION


def test_what_only_the_centre_wants_selected_is_kept_here():
    world = World()
    for number, step in enumerate(("select", "cancel", "select")):
        world.operate(number, step, "Q2", True)
        assert (world.answers(), world.asdus) == ([("confirm", number, "")], [])
    world.operate(3, "execute", "Q2", True)
    assert len(world.asdus) == 1
    world.cut()
    world.answers()
    world.operate(4, "select", "Q2", True)
    assert world.answers() == [("confirm", 4, "RTU: not connected")]


def test_a_selection_that_is_called_back_before_it_is_confirmed_is_cancelled_then():
    world = World()
    world.operate(1, "select", "Q1", True)
    world.operate(2, "cancel", "Q1", True)
    assert len(world.asdus) == 1
    world.answer(ACT_CON)
    assert decode(world.asdus[0]).cause == Cause.DEACTIVATION
    world.answer(DEACT_CON)
    assert world.answers() == [("confirm", 1, ""), ("confirm", 2, "")]


@pytest.mark.parametrize(
    ("cause", "why"),
    [(ACT_CON, "refused"), (Cause.UNKNOWN_IOA, "it does not know the object"), (Cause.UNKNOWN_CA, "common address")],
)
@pytest.mark.parametrize("step", ["select", "execute"])
def test_a_refusal_is_the_devices_own(step, cause, why):
    world = World()
    world.operate(1, step, "Q1" if step == "select" else "Q2", True)
    world.answer(cause, negative=True)
    (answer,) = world.answers()
    assert answer[:2] == ("confirm", 1)
    assert answer[2].startswith(f"RTU: {step}: ")
    assert answer[2].endswith(why)


def test_what_cannot_be_sent_is_refused_at_once_and_never_sent():
    world = World()
    world.operate(1, "execute", "P", 1e300)  # no short floating point number
    (answer,) = world.answers()
    assert "no place" in answer[2]
    world.cut()
    world.operate(2, "execute", "Q2", True)
    assert world.answers() == [("confirm", 2, "RTU: not connected to the device: the command was not sent")]
    world.connect(2)
    assert world.asdus == []


def test_an_outcome_that_is_not_known_is_a_no_that_says_so(caplog):
    world = World()
    world.operate(1, "execute", "Q2", True)
    world.cut()
    ((what, number, why),) = world.answers()
    assert (what, number) == ("confirm", 1)
    assert why == ("RTU: execute: the connection was lost: cut; it may have been executed: its outcome is not known")
    assert why in caplog.text
    world.connect(2)
    assert len(world.asdus) == 1  # what went out before the loss, and never again
    world.asdus.clear()
    world.operate(2, "execute", "Q2", True)
    world.answer(ACT_CON)
    world.cut(2)
    confirmed, (what, number, why) = world.answers()
    assert confirmed == ("confirm", 2, "")
    assert (what, number) == ("terminate", 2)
    assert "its outcome is not known" in why


def test_a_device_that_does_not_answer():
    world = World(confirm_s=5.0, terminate_s=8.0)
    world.operate(1, "execute", "Q2", True)
    world.wait(5)
    ((what, _, why),) = world.answers()
    assert (what, "no answer to the execute in time" in why, "not known" in why) == ("confirm", True, True)
    world.asdus.clear()
    world.operate(2, "execute", "Q2", True)
    world.answer(ACT_CON)
    world.wait(8)
    _, (what, number, why) = world.answers()
    assert (what, number) == ("terminate", 2)
    assert "no answer to the termination in time" in why


def test_a_selection_does_not_outlive_its_connection():
    world = World()
    world.operate(1, "select", "Q1", True)
    world.answer(ACT_CON)
    world.connect(2)
    world.cut(1)
    world.answers()
    world.operate(2, "execute", "Q1", True)
    ((_, _, why),) = world.answers()
    assert why.endswith("the selection was lost with the connection: cut; select again")
    assert world.asdus == []
    world.operate(3, "select", "Q1", True)
    assert len(world.asdus) == 1


def test_a_confirmation_after_the_centre_was_told_no_is_said(caplog):
    world = World()
    world.operate(1, "execute", "Q2", True)
    world.wait(world.outlet.desk.settings.confirm_s)
    world.answer(ACT_CON)
    assert "Q2: RTU confirmed it after 10.0 s; the control centre was told no after 10 s" in caplog.text


@pytest.mark.parametrize(("name", "step"), [("Q2", "execute"), ("Q1", "execute"), ("Q1", "select")])
def test_a_command_that_waits_for_the_window_is_not_sent_after_its_master_was_told_no(name, step):
    world = World(start=False, link=LinkConfig(k=1, w=1))
    world.links[1] = Link(LinkConfig(t2_s=12.0), Role.CONTROLLED, world.now)  # acknowledges after 12 s
    world.rtu.station.connect(1, world.now)
    world.run()
    world.operate(1, "execute", "P", 1.0)
    world.operate(2, step, name, True)
    assert len(world.asdus) == 1  # the other one waits
    world.wait(16.0)  # the desk has said no after 10 s
    assert len(world.asdus) == 1
    stage = "execute" if name == "Q2" else "select"
    why = f"RTU: {stage}: no answer to the {stage} in time: it was not sent"
    assert [each for each in world.answers() if each[1] == 2] == [("confirm", 2, why)]
    world.asdus.clear()
    world.operate(3, step, name, True)  # the window is open again
    assert len(world.asdus) == 1


def test_a_selection_that_is_renewed_when_its_master_goes_is_cancelled_when_the_device_has_answered():
    world = World()
    world.operate(1, "select", "Q1", True)
    world.answer(ACT_CON)
    world.operate(2, "select", "Q1", True)
    world.operate(3, "cancel", "Q1", True)
    world.answer(ACT_CON)
    assert decode(world.asdus[0]).cause == Cause.DEACTIVATION
    world.answer(DEACT_CON)
    assert world.answers() == [("confirm", each, "") for each in (1, 2, 3)]


@pytest.mark.parametrize("cause", [ACT_CON, Cause.UNKNOWN_IOA])
@pytest.mark.parametrize("failover", [False, True])
def test_the_answer_to_a_command_that_was_given_up_is_not_taken_for_that_to_the_next(failover, cause):
    world = World(config(controls=[control(12, "Q1", "DPC", TypeID.C_DC_TA_1)]))
    world.operate(1, "execute", "Q1", True)
    (first,) = world.asdus
    world.asdus.clear()
    if failover:
        world.connect(2)
        world.cut(1)
    else:
        world.wait(16.0)
    ((_, _, why),) = world.answers()
    assert "its outcome is not known" in why
    world.utc_ns += 16 * S
    world.operate(2, "execute", "Q1", True)
    world.say(mirror(first, world.rtu.config.settings.sizes, cause, negative=cause != ACT_CON))
    assert world.answers() == []
    world.answer(ACT_CON, negative=True)
    assert world.answers() == [("confirm", 2, "RTU: execute: refused")]
