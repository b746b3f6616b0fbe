"""The desk where masters' commands meet: one at a time, by the one who selected, as it was selected, in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.iec104.asdu import Cause, TypeID
from gateway.iec104.commands import DEVICE, Answer, Command, CommandDesk, CommandSettings, Happening, Phase
from gateway.iec104.image import Control

BREAKER = Control(1, 100, TypeID.C_DC_NA_1, "Q1", select=True)
SAME_BREAKER = Control(7, 1, TypeID.C_DC_NA_1, "Q1", select=True)
DIRECT = Control(1, 101, TypeID.C_SC_NA_1, "Alarm")
ASDU = b"asdu of the master"


@pytest.fixture
def desk():
    return CommandDesk(CommandSettings(select_s=30.0, confirm_s=10.0, terminate_s=60.0))


def give(desk, step, *, master=1, control=BREAKER, value=2, qualifier=0, test=False, now=0.0):
    desk.command(Command(master, ASDU, control, step, value, qualifier, test, 0), now)


def asked(desk):
    """Number of the one request that waits."""
    (request,) = desk.requests
    desk.requests.clear()
    return request.number


def told(desk):
    """Whom, cause and negative of each answer."""
    answers = [(a.master, a.cause, a.negative) for a in desk.answers]
    assert all(bool(a.why) is a.negative for a in desk.answers)
    desk.answers.clear()
    return answers


def withdrawn(desk):
    """What the device's side is told to cancel; an answer to it goes to nobody."""
    requests, desk.requests[:] = desk.requests[:], []
    for request in requests:
        assert request.step == "cancel"
        desk.confirm(request.number, 0.0)
    assert desk.answers == []
    return [(request.control.name, request.value) for request in requests]


def selected(desk, master=1, **more):
    give(desk, "select", master=master, **more)
    desk.confirm(asked(desk), 0.0)
    assert told(desk) == [(master, Cause.ACTIVATION_CON, False)]


def test_select_execute_and_termination(desk):
    selected(desk)
    give(desk, "execute")
    number = asked(desk)
    desk.confirm(number, 1.0)
    assert told(desk) == [(1, Cause.ACTIVATION_CON, False)]
    desk.terminate(number)
    assert told(desk) == [(1, Cause.TERMINATION, False)]
    give(desk, "select", master=2)
    assert asked(desk)


def test_the_request_says_all_that_was_asked(desk):
    desk.command(Command(4, ASDU, DIRECT, "execute", True, 4, True, 9), 0.0)
    (one,) = desk.requests
    assert (one.step, one.control, one.value, one.qualifier, one.test, one.master, one.originator) == (
        "execute",
        DIRECT,
        True,
        4,
        True,
        4,
        9,
    )


def test_what_needs_a_select_is_not_executed_without(desk):
    give(desk, "execute")
    assert (desk.requests, told(desk)) == ([], [(1, Cause.ACTIVATION_CON, True)])


@pytest.mark.parametrize("other", [{"value": 1}, {"qualifier": 4}, {"test": True}, {"control": SAME_BREAKER}])
def test_an_execute_that_is_not_as_selected_is_refused_and_ends_the_selection(desk, other):
    selected(desk)
    give(desk, "execute", **other)
    assert told(desk) == [(1, Cause.ACTIVATION_CON, True)]
    assert withdrawn(desk) == [("Q1", 2)]
    give(desk, "execute")
    assert told(desk) == [(1, Cause.ACTIVATION_CON, True)]


@pytest.mark.parametrize("step", ["select", "execute", "cancel"])
def test_another_master_does_nothing_to_a_selection_whatever_address_he_uses(desk, step):
    selected(desk)
    give(desk, step, master=2, control=SAME_BREAKER)
    cause = Cause.DEACTIVATION_CON if step == "cancel" else Cause.ACTIVATION_CON
    assert (desk.requests, told(desk)) == ([], [(2, cause, True)])
    give(desk, "execute")
    assert asked(desk)


def test_a_selection_is_cancelled_and_that_executes_nothing(desk):
    selected(desk)
    give(desk, "cancel")
    (request,) = desk.requests
    assert request.step == "cancel"
    desk.confirm(asked(desk), 0.0)
    assert told(desk) == [(1, Cause.DEACTIVATION_CON, False)]
    give(desk, "execute")
    assert told(desk) == [(1, Cause.ACTIVATION_CON, True)]


def test_a_selection_runs_out(desk):
    selected(desk)
    assert desk.next_deadline == 30.0
    give(desk, "execute", now=30.0)  # late, although nobody has looked at the timer
    assert told(desk) == [(1, Cause.ACTIVATION_CON, True)]
    assert withdrawn(desk) == [("Q1", 2)]
    desk.handle_timer(30.0)
    assert withdrawn(desk) == []
    give(desk, "select", master=2, now=30.0)
    assert asked(desk)
    assert desk.next_deadline == 40.0


def test_who_is_asked_and_says_nothing_is_a_no(desk):
    give(desk, "select")
    number = asked(desk)
    desk.handle_timer(10.0)
    assert told(desk) == [(1, Cause.ACTIVATION_CON, True)]
    assert withdrawn(desk) == [("Q1", 2)]  # it may have selected all the same
    desk.confirm(number, 11.0)
    assert told(desk) == []


def test_what_does_not_end_in_time_ends_badly(desk):
    give(desk, "execute", control=DIRECT, value=True)
    number = asked(desk)
    desk.confirm(number, 0.0)
    desk.handle_timer(60.0)
    assert told(desk)[1:] == [(1, Cause.TERMINATION, True)]
    desk.terminate(number)
    assert told(desk) == []


def test_a_refusal_is_passed_on_with_its_reason(desk):
    give(desk, "execute", control=DIRECT, value=True)
    desk.confirm(asked(desk), 0.0, why="locked")
    assert desk.answers == [Answer(1, ASDU, Cause.ACTIVATION_CON, negative=True, why="locked")]


def test_while_one_command_runs_no_other_does(desk):
    give(desk, "execute", control=DIRECT, value=True)
    number = asked(desk)
    for step in ("select", "execute", "cancel"):
        for master in (1, 2):
            give(desk, step, master=master, control=DIRECT, value=True)
    assert [negative for _, _, negative in told(desk)] == [True] * 6
    desk.confirm(number, 0.0)
    give(desk, "execute", master=2, control=DIRECT, value=True)
    assert told(desk) == [(1, Cause.ACTIVATION_CON, False), (2, Cause.ACTIVATION_CON, True)]
    desk.terminate(number)
    assert told(desk) == [(1, Cause.TERMINATION, False)]


def test_a_selection_does_not_outlive_its_master_and_a_movement_does(desk):
    selected(desk)
    give(desk, "execute", master=1, control=DIRECT, value=True)
    number = asked(desk)
    desk.confirm(number, 0.0)
    desk.answers.clear()
    desk.gone(1)
    assert withdrawn(desk) == [("Q1", 2)]
    give(desk, "select", master=2)
    assert asked(desk)
    give(desk, "execute", master=2, control=DIRECT, value=True)
    assert told(desk) == [(2, Cause.ACTIVATION_CON, True)]
    desk.terminate(number)
    assert told(desk) == []
    give(desk, "execute", master=2, control=DIRECT, value=True)
    assert asked(desk)


def test_every_phase_can_be_left_and_nothing_leads_from_a_movement_but_its_end():
    assert {row.source for row in DEVICE.rows} == set(Phase)
    moving = {row.event for row in DEVICE.rows if row.source is Phase.MOVING}
    assert moving == {Happening.ENDED, Happening.LATE, Happening.GONE}


STEPS = st.tuples(
    st.sampled_from(["select", "execute", "cancel", "confirm", "refuse", "terminate", "fail", "gone", "wait"]),
    st.integers(1, 2),
    st.sampled_from([BREAKER, SAME_BREAKER, DIRECT]),
    st.integers(1, 2),
)


@given(st.lists(STEPS, max_size=60))
def test_each_command_is_answered_once_and_only_what_was_selected_is_executed(steps):
    desk = CommandDesk(CommandSettings(select_s=30.0, confirm_s=10.0, terminate_s=60.0))
    now, commands = 0.0, 0
    last_select = {}
    confirmations = terminations = confirmed = 0
    taken = []
    for what, master, control, value in steps:
        if what in ("select", "execute", "cancel"):
            commands += 1
            give(desk, what, master=master, control=control, value=value, now=now)
        elif what == "gone":
            desk.gone(master)
        elif what == "wait":
            now += 20.0
            desk.handle_timer(now)
        elif desk._running:
            number = sorted(desk._running)[value % len(desk._running)]
            if what in ("terminate", "fail"):
                desk.terminate(number, why="stuck" * (what == "fail"))
            else:
                desk.confirm(number, now, why="no" * (what == "refuse"))
        for request in desk.requests:
            if request.step == "select":
                last_select[request.control.name] = (request.master, request.value)
            elif request.step == "execute" and request.control.select:
                assert last_select[request.control.name] == (request.master, request.value)
        desk.requests.clear()
        confirmations += sum(a.cause != Cause.TERMINATION for a in desk.answers)
        terminations += sum(a.cause == Cause.TERMINATION for a in desk.answers)
        confirmed += sum(a.cause == Cause.ACTIVATION_CON and not a.negative for a in desk.answers)
        # Whoever is told something, the trail has it, and says the same.
        noes = ["refused" if a.cause != Cause.TERMINATION else "failed" for a in desk.answers if a.negative]
        outcomes = [each.outcome for each in desk.trail]
        assert len(noes) <= sum(each in ("refused", "failed", "timed out") for each in outcomes)
        assert sum(not a.negative for a in desk.answers) <= sum(each in ("confirmed", "done") for each in outcomes)
        taken += outcomes
        desk.trail.clear()
        desk.answers.clear()
        assert taken.count("asked") + taken.count("refused") >= commands
        assert taken.count("confirmed") <= taken.count("asked")
        assert taken.count("done") + taken.count("failed") <= taken.count("confirmed")
        assert confirmations <= commands
        assert terminations <= confirmed
        assert len(desk._devices) <= 2


# -- the trail ------------------------------------------------------------------------------------------------------


def trail(desk):
    """Step, outcome, number of request and reason of each; who asked and what is in all of them."""
    steps, desk.trail[:] = desk.trail[:], []
    assert {(each.name, each.who) for each in steps} <= {("Q1", "shift"), ("Alarm", "shift")}
    return [(each.step, each.outcome, each.number, each.why) for each in steps]


def give_as_shift(desk, step, *, master=1, control=BREAKER, value=2, now=0.0):
    desk.command(Command(master, ASDU, control, step, value, 0, False, 0, "shift"), now)


def test_the_trail_of_a_command_that_succeeds_and_of_one_that_fails(desk):
    for why in ("", "stuck"):
        give_as_shift(desk, "select")
        desk.confirm(asked(desk), 0.0)
        give_as_shift(desk, "execute")
        number = asked(desk)
        desk.confirm(number, 0.0)
        desk.terminate(number, why=why)
        assert trail(desk) == [
            ("select", "asked", number - 1, ""),
            ("select", "confirmed", number - 1, ""),
            ("execute", "asked", number, ""),
            ("execute", "confirmed", number, ""),
            ("execute", "failed" if why else "done", number, why),
        ]


def test_the_trail_of_what_is_refused_by_the_device_and_by_the_desk(desk):
    give_as_shift(desk, "execute")
    give_as_shift(desk, "select")
    desk.confirm(asked(desk), 0.0, why="locked")
    assert trail(desk) == [
        ("execute", "refused", 0, "Q1 must be selected first"),
        ("select", "asked", 1, ""),
        ("select", "refused", 1, "locked"),
    ]


def test_the_trail_of_what_is_late(desk):
    give_as_shift(desk, "select")
    desk.handle_timer(10.0)
    assert trail(desk)[1:] == [("select", "timed out", 1, "Q1: no answer in time while selecting")]
    give_as_shift(desk, "execute", control=DIRECT, now=100.0)
    number = desk.requests[-1].number
    desk.confirm(number, 100.0)
    desk.handle_timer(200.0)
    assert trail(desk)[2:] == [("execute", "timed out", number, "Alarm: no answer in time while moving")]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda desk: desk.handle_timer(30.0), "time over"),
        (lambda desk: desk.gone(1), "master gone"),
        (lambda desk: give_as_shift(desk, "execute", value=1), "execute that is not as selected"),
    ],
)
def test_the_trail_of_a_selection_that_is_never_executed(desk, end, why):
    give_as_shift(desk, "select")
    desk.confirm(asked(desk), 0.0)
    trail(desk)
    end(desk)
    assert trail(desk)[-1] == ("select", "ended", 1, why)


def test_the_trail_goes_on_when_the_master_has_gone_while_it_moves(desk):
    give_as_shift(desk, "execute", control=DIRECT)
    number = asked(desk)
    desk.gone(1)
    desk.confirm(number, 0.0)
    desk.terminate(number)
    assert [each[1] for each in trail(desk)] == ["asked", "confirmed", "done"]
    assert desk.answers == []
