"""Fault current without a direction to rely on: what explains it, and what becomes suspect if nothing does."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.locate import ANSWER_PATIENCE_S, RESET_PATIENCE_S
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    NO_REQUEST,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LockState,
    SectionState,
)
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

NONE, SUSPECT = SectionState.NONE, SectionState.SUSPECT
BEYOND_R3 = EventId(3, 9)
DARK = (Voltage.ABSENT, Voltage.ABSENT)
CLAIM = ClaimId(0, 7, 1)


def sections(turned):
    return [side.section for side in turned.fast.sides]


def end_current(agent, voltage=DARK):
    agent.feed(
        pickup=False, direction=Direction.UNKNOWN, direction_trusted=False, current_a=0.0, flow_a=0.0, voltage=voltage
    )
    return agent.turn()


def r3_picks_up(agent):
    agent.hear(3, pickup=True, pickup_id=1, direction=Direction.FORWARD, direction_trusted=True)
    agent.turn()


@pytest.fixture
def declares(network):
    """``declares(agent)``: R3 sees fault current, and declares section 3 faulted."""

    def play(agent, *, picks_up=True):
        if picks_up:
            r3_picks_up(agent)
        clear = network.flagged(NONE, lock=network.flagged().lock.NONE)
        agent.hear(3, last_event=BEYOND_R3, sides=(clear, network.flagged(event=BEYOND_R3)))
        return agent.turn(after=0.001)

    return play


def carries(bench, number, *, trusted=False):
    """An agent whose switch has just picked up."""
    agent = bench(number).quiet()
    agent.pick_up(trusted=trusted)
    assert sections(agent.turn()) == [NONE, NONE]
    return agent


def test_behind_a_switch_without_a_source_there_may_be_a_second_fault(bench, declares):
    """L4 leads to section 8 and nowhere else: its current has not gone to section 3."""
    agent = carries(bench, 4)
    assert sections(declares(agent)) == [NONE, NONE], "it may be an inrush"
    assert sections(end_current(agent)) == [NONE, SUSPECT]
    agent.open(DARK)
    assert sections(agent.turns(1.0)) == [NONE, SUSPECT], "section 2 is where the current came from"


@pytest.mark.parametrize("voltage", [(Voltage.PRESENT, Voltage.PRESENT), (Voltage.PRESENT, Voltage.UNKNOWN)])
def test_an_inrush_during_a_fault_elsewhere_opens_no_sound_lateral(bench, declares, voltage):
    agent = carries(bench, 4)
    declares(agent)
    agent.hear(3, position=Dbpos.OFF)
    end_current(agent, voltage)
    agent.turn(after=RESET_PATIENCE_S + 0.01)
    agent.feed(voltage=DARK)
    assert sections(agent.turns(1.0)) == [NONE, NONE]


def test_a_direction_to_rely_on_is_located_as_ever(bench, declares):
    agent = carries(bench, 2, trusted=True)
    assert sections(declares(agent)) == [NONE, NONE]


def test_what_is_faulted_behind_the_switch_explains_its_current(bench, declares):
    agent = carries(bench, 2)
    assert sections(declares(agent)) == [NONE, NONE]
    end_current(agent)
    assert sections(agent.turns(1.0)) == [NONE, NONE]


def test_without_fault_current_nothing_is_doubted(bench, declares):
    agent = bench(4).quiet()
    assert sections(declares(agent)) == [NONE, NONE]
    agent.feed(voltage=DARK)
    assert sections(agent.turns(1.0)) == [NONE, NONE]


def test_what_ended_with_the_supply_and_nobody_explains_is_suspect_on_both_sides(bench):
    agent = carries(bench, 2)
    end_current(agent)
    assert sections(agent.turn(after=ANSWER_PATIENCE_S - 0.01)) == [NONE, NONE]
    assert sections(agent.turn(after=0.02)) == [SUSPECT, SUSPECT]


def test_an_explanation_may_come_until_then(bench, declares):
    agent = carries(bench, 2)
    r3_picks_up(agent)
    end_current(agent)
    agent.hear(3, pickup=False)
    agent.turn(after=ANSWER_PATIENCE_S - 0.01)
    declares(agent, picks_up=False)
    assert sections(agent.turns(1.0)) == [NONE, NONE]


def test_while_a_breaker_recloses_nothing_is_suspect_yet(bench):
    agent = carries(bench, 2)
    agent.hear(1, trip=True, reclosing=True)
    end_current(agent)
    assert sections(agent.turns(0.5)) == [NONE, NONE]
    agent.hear(1, trip=True, reclosing=False)
    assert sections(agent.turn(after=0.01)) == [SUSPECT, SUSPECT]


@pytest.mark.parametrize("voltage", [(Voltage.PRESENT, Voltage.PRESENT), (Voltage.UNKNOWN, Voltage.PRESENT)])
def test_a_current_that_leaves_the_voltage_was_an_inrush_or_a_fuse(bench, voltage):
    agent = carries(bench, 2)
    end_current(agent, voltage)
    agent.turn(after=RESET_PATIENCE_S + 0.01)
    agent.feed(voltage=DARK)
    assert sections(agent.turns(1.0)) == [NONE, NONE]


UNKNOWN_SUPPLY = pytest.mark.parametrize(
    "voltage", [(Voltage.UNKNOWN, Voltage.UNKNOWN), (Voltage.ABSENT, Voltage.PRESENT), None]
)
"""Sensors silent, at odds on a closed switch, or with the process lost."""


def end_unknown(agent, voltage):
    if voltage is not None:
        end_current(agent, voltage)
    else:
        agent.agent.process_lost()
        agent.turn()


@UNKNOWN_SUPPLY
def test_while_the_supply_is_not_known_nothing_is_concluded_or_promised(bench, declares, voltage):
    agent = carries(bench, 2)
    end_unknown(agent, voltage)
    agent.turn(after=RESET_PATIENCE_S + 0.01)
    assert claimed(agent) == (NO_CLAIM, NO_CLAIM)
    end_current(agent)
    assert sections(agent.turns(1.0)) == [SUSPECT, SUSPECT]


@pytest.mark.parametrize("dead", [None, 1, 3])
def test_sensors_at_odds_are_outvoted_by_all_others(bench, dead):
    """Opened long after, a switch with a sensor that hangs must not have a sound section isolated."""
    agent = carries(bench, 2)
    end_current(agent, (Voltage.PRESENT, Voltage.ABSENT))
    if dead is not None:
        agent.hear(dead, voltage=DARK)
    agent.turns(7.0)
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    assert sections(agent.turns(1.0)) == ([NONE, NONE] if dead is None else [SUSPECT, SUSPECT])


def test_an_operator_who_confirms_vouches_for_a_current_that_has_ended(bench):
    agent = carries(bench, 2)
    end_current(agent, (Voltage.UNKNOWN, Voltage.UNKNOWN))
    agent.agent.confirm()
    agent.turn()
    assert CLAIM in claimed(agent)


def test_an_open_switch_has_two_supplies(bench):
    agent = carries(bench, 2)
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    agent.turn()
    assert sections(agent.turns(1.0)) == [SUSPECT, SUSPECT]


def test_a_process_lost_for_a_moment_does_not_settle_a_current_with_a_direction(bench):
    agent = carries(bench, 2, trusted=True)
    agent.agent.process_lost()
    agent.turn()
    agent.open(DARK)
    assert sections(agent.turns(1.0)) == [NONE, SUSPECT], "R3 and L4 never answered"


def test_what_was_seen_in_test_is_not_held_after_it(bench):
    """Only a person knows whether it was injected: until he says so, nothing is promised."""
    agent = bench(2).quiet()
    agent.agent.set_mode(Behaviour.TEST)
    agent.turn()
    agent.pick_up(trusted=False)
    agent.turn()
    end_current(agent)
    agent.agent.set_mode(Behaviour.ON)
    assert sections(agent.turns(1.0)) == [NONE, NONE]
    assert claimed(agent) == (NO_CLAIM, NO_CLAIM)
    agent.agent.confirm()
    agent.turn()
    assert CLAIM in claimed(agent)


def test_a_fault_of_long_ago_explains_nothing(bench, declares):
    agent = bench(2).quiet()
    declares(agent)
    agent.hear(3, pickup=False, position=Dbpos.OFF)
    agent.turns(0.6)
    agent.pick_up(trusted=False)
    agent.turn()
    end_current(agent)
    assert sections(agent.turn(after=ANSWER_PATIENCE_S + 0.01)) == [SUSPECT, SUSPECT]


@pytest.mark.parametrize("how", ["began long before", "outlasts it", "began after it was isolated"])
def test_a_current_is_explained_by_one_that_came_and_went_with_it(bench, declares, how):
    """L2's own, and that for which R3 has declared section 3."""
    agent = carries(bench, 2)
    if how == "began long before":
        agent.turn(after=0.15)
    declares(agent)
    if how != "began long before":
        agent.turn(after=0.06)
        agent.hear(3, pickup=False, position=Dbpos.OFF)
        agent.turn()
    if how == "outlasts it":
        agent.turn(after=0.25)
    if how == "began after it was isolated":
        end_current(agent, (Voltage.PRESENT, Voltage.PRESENT))
        agent.turn(after=0.3)
        agent.pick_up(trusted=False)
        agent.turn(after=0.1)
    end_current(agent)
    assert sections(agent.turns(1.0)) == [SUSPECT, SUSPECT]


def test_who_unlocks_an_old_event_does_not_vouch_for_a_new_current(bench, network):
    agent = bench(2).quiet()
    old = EventId(4, 3)
    clear = network.flagged(NONE, lock=network.flagged().lock.NONE)
    agent.hear(4, last_event=old, sides=(network.flagged(SUSPECT, event=old), clear))
    agent.turns(8.0)  # L2 does not open
    agent.pick_up(trusted=False)
    agent.turn()
    agent.hear(1, trip=True, reclosing=True)
    end_current(agent)
    for event in {side.section_event for side in agent.turn(after=0.3).fast.sides if side.section}:
        agent.agent.unlock(event)
    agent.hear(4, sides=(clear, clear))
    agent.turn()
    agent.hear(1, trip=True, reclosing=False)
    assert SUSPECT in sections(agent.turns(3.0))


# -- a promise says that all the switch knows of a fault is in its flags ----------------------------------------------


def claimed(agent):
    """Q1 claims the island of L2, up to R3."""
    claim = Claim(CLAIM, BEYOND_R3, (Bound(1, 1), Bound(2, 0), Bound(3, 0)), NO_REQUEST, ())
    agent.hear(1, claims=(claim, EMPTY_CLAIM))
    return agent.turn(after=0.005).fast.promises


def test_nothing_is_promised_until_the_current_is_explained(bench, declares):
    agent = carries(bench, 2)
    end_current(agent)
    assert claimed(agent) == (NO_CLAIM, NO_CLAIM), "the claim has overtaken the declaration"
    assert CLAIM in declares(agent).fast.promises


def test_a_switch_between_waits_for_the_breaker_that_recloses(bench):
    """R3 is a breaker itself, with shots or without: it is Q1 that has tripped."""
    agent = carries(bench, 3)
    agent.hear(1, trip=True, reclosing=True)
    end_current(agent)
    assert sections(agent.turns(0.5)) == [NONE, NONE]


def test_neither_a_promise_nor_a_lock_binds_while_a_current_is_being_located(bench, network):
    """Both came before the current did; once it is explained, or not, they bind again."""
    agent = bench(2).quiet()
    assert CLAIM in claimed(agent)
    clear = network.flagged(NONE, lock=network.flagged().lock.NONE)
    agent.hear(1, last_event=EventId(1, 3), sides=(clear, network.flagged(event=EventId(1, 3))))
    agent.open(DARK)
    bound = agent.turn().fast
    assert (bound.sides[0].lock, CLAIM in bound.promises) == (LockState.DURABLE, True)
    agent.pick_up()  # it has not opened after all, and R3 and L4 do not answer
    agent.turn()
    located = end_current(agent).fast
    assert (located.sides[0].lock, located.promises) == (LockState.VOLATILE, (NO_CLAIM, NO_CLAIM))
    again = agent.turns(1.0).fast
    assert (again.sides[0].lock, again.sides[1].section) == (LockState.DURABLE, SUSPECT)
    assert CLAIM in again.promises


@pytest.mark.parametrize("first", [0, 1])
def test_each_side_is_unlocked_for_itself(bench, first):
    agent = carries(bench, 2)
    end_current(agent)
    held = agent.turn(after=ANSWER_PATIENCE_S + 0.01)
    events = [side.section_event for side in held.fast.sides]
    agent.open(DARK)  # else it widens past itself
    agent.agent.unlock(events[first])
    left = [SUSPECT, SUSPECT]
    left[first] = NONE
    assert sections(agent.turns(1.0)) == left
    agent.agent.unlock(events[1 - first])
    assert sections(agent.turns(1.0)) == [NONE, NONE]


def test_whoever_unlocks_what_was_suspect_vouches_for_it(bench):
    agent = carries(bench, 2)
    end_current(agent)
    held = agent.turn(after=ANSWER_PATIENCE_S + 0.01)
    for side in held.fast.sides:
        agent.agent.unlock(side.section_event)
    agent.turn()
    assert sections(agent.turns(3.0)) == [NONE, NONE]
    assert CLAIM in claimed(agent)


def test_whoever_is_held_binds_nothing_by_its_lock(bench, network):
    """A test has ended: what was seen in it is forgotten, and with it what the lock was to vouch for."""
    agent = bench(2).quiet()
    agent.agent.set_mode(Behaviour.TEST)
    agent.turn()
    agent.pick_up(trusted=False)
    agent.turn()
    clear = network.flagged(NONE, lock=network.flagged().lock.NONE)
    agent.hear(1, last_event=EventId(1, 3), sides=(clear, network.flagged(event=EventId(1, 3))))
    agent.open(DARK)
    agent.agent.set_mode(Behaviour.ON)
    assert agent.turns(1.0).fast.sides[0].lock is LockState.VOLATILE
    agent.agent.confirm()
    assert agent.turn().fast.sides[0].lock is LockState.DURABLE


def test_a_direction_without_a_voltage_beside_it_settles_nothing(bench):
    agent = carries(bench, 2, trusted=True)
    end_current(agent, (Voltage.UNKNOWN, Voltage.UNKNOWN))
    agent.turn(after=RESET_PATIENCE_S + 0.01)
    assert claimed(agent) == (NO_CLAIM, NO_CLAIM)
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    assert sections(agent.turns(1.0)) == [NONE, SUSPECT], "R3 and L4 never answered"


@pytest.mark.parametrize("position", [Dbpos.ON, Dbpos.OFF])
def test_a_section_that_is_suspect_for_want_of_the_own_word_does_not_explain_what_was_forgotten(
    bench, network, position
):
    """It went through L2 into section 2 and its process died; section 1 is suspect because L2 had not answered."""
    agent = bench(2, unclean=True)
    agent.open(DARK)
    agent.feed(position=position)
    agent.turns(3.0)  # until no close of before can be on its way
    suspect = network.flagged(SUSPECT, event=EventId(1, 3))
    clear = network.flagged(NONE, lock=network.flagged().lock.NONE)
    given = Answer(2, agent.incarnation, 0, AnswerKind.NOT_SEEN)
    for number in agent.peers:
        agent.hear(number, answers=(given,), voltage=DARK)
    agent.hear(1, pickup_id=4, direction=Direction.FORWARD, direction_trusted=True, sides=(clear, suspect))
    assert sections(agent.turn(after=0.01)) == [SUSPECT, SUSPECT]
