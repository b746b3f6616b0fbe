"""The tables of self-healing: whole, without dead ends, and what they must never allow."""

from __future__ import annotations

from enum import StrEnum
from itertools import product

import pytest

from ied_agents.dflisr.machines import (
    ATTEMPT,
    CLAIM,
    MACHINES,
    RECLOSING,
    RESERVATION,
    AttemptEvent,
    AttemptState,
    ClaimEvent,
    ClaimState,
    ReclosingEvent,
    ReclosingState,
    ReservationEvent,
    ReservationState,
)
from ied_agents.machine import Machine, Transition

TABLES = {
    ATTEMPT: (AttemptState, AttemptEvent),
    CLAIM: (ClaimState, ClaimEvent),
    RESERVATION: (ReservationState, ReservationEvent),
    RECLOSING: (ReclosingState, ReclosingEvent),
}
every_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


def reached(machine, start):
    """States that lead on from ``start``, itself included."""
    found = {start}
    while more := {row.target for row in machine.rows if row.source in found} - found:
        found |= more
    return found


def ways_to(machine, target):
    """What leads to a state from another one."""
    return {(row.source, row.event) for row in machine.rows if row.target is target and row.source is not target}


def test_all_tables_are_known_here():
    assert set(MACHINES) == set(TABLES)
    assert len({machine.name for machine in MACHINES}) == len(MACHINES)


@every_machine
def test_every_state_is_reached_from_the_first_and_every_event_happens_somewhere(machine):
    states, events = TABLES[machine]
    assert reached(machine, next(iter(states))) == set(states)
    assert {row.event for row in machine.rows} == set(events)


@every_machine
def test_only_a_claim_that_is_served_leads_nowhere(machine):
    states, _ = TABLES[machine]
    ends = {state for state in states if all(row.source is not state for row in machine.rows)}
    assert ends == ({ClaimState.DONE} if machine is CLAIM else set())


@every_machine
def test_a_step_that_the_table_has_no_row_for_raises(machine):
    targets = {(row.source, row.event): row.target for row in machine.rows}
    for state, event in product(*TABLES[machine]):
        assert machine.can(state, event) is ((state, event) in targets)
        if (state, event) in targets:
            assert machine.step(state, event) is targets[state, event]
        else:
            with pytest.raises(KeyError):
                machine.step(state, event)


def test_two_rows_for_one_state_and_event_are_refused():
    class Light(StrEnum):
        RED = "red"
        GREEN = "green"

    rows = (Transition(Light.RED, Light.RED, Light.GREEN, ""), Transition(Light.RED, Light.RED, Light.RED, ""))
    with pytest.raises(ValueError, match="lamp: two rows"):
        Machine("lamp", rows)


# -- what must never be ----------------------------------------------------------------------------------------


def test_the_only_way_to_an_order_is_a_durable_promise():
    assert ways_to(ATTEMPT, AttemptState.ORDERED) == {(AttemptState.PROMISED, AttemptEvent.ORDER)}
    assert ways_to(ATTEMPT, AttemptState.PROMISED) == {(AttemptState.PROMISING, AttemptEvent.STORED)}


def test_an_attempt_that_is_spent_comes_back_only_by_another_promise():
    onward = {(row.event, row.target) for row in ATTEMPT.rows if row.source is AttemptState.SPENT}
    assert onward == {
        (AttemptEvent.ASKED, AttemptState.PROMISING),
        (AttemptEvent.RESTARTED, AttemptState.SPENT),
    }


def test_nothing_is_promised_while_a_close_is_outstanding():
    assert not ATTEMPT.can(AttemptState.ORDERED, AttemptEvent.ASKED)


@pytest.mark.parametrize("state", AttemptState)
def test_a_restart_leaves_no_permission_behind(state):
    after = ATTEMPT.step(state, AttemptEvent.RESTARTED)
    assert after is (AttemptState.FREE if state is AttemptState.FREE else AttemptState.SPENT)


def test_a_grant_needs_durable_claim_promises_and_capacity_in_this_order():
    assert ways_to(CLAIM, ClaimState.GRANTED) == {(ClaimState.REQUESTING, ClaimEvent.GRANTED)}
    assert ways_to(CLAIM, ClaimState.REQUESTING) == {(ClaimState.CHOOSING, ClaimEvent.CHOSEN)}
    assert ways_to(CLAIM, ClaimState.CHOOSING) == {
        (ClaimState.ASKING, ClaimEvent.PROMISED),
        (ClaimState.REQUESTING, ClaimEvent.REFUSED),
    }
    assert ways_to(CLAIM, ClaimState.ASKING) == {(ClaimState.STORING, ClaimEvent.STORED)}


def test_what_is_granted_is_not_given_up_for_a_higher_claim():
    assert not CLAIM.can(ClaimState.GRANTED, ClaimEvent.OVERTAKEN)
    assert not CLAIM.can(ClaimState.GRANTED, ClaimEvent.CLAIMED)


def test_capacity_is_given_only_from_a_durable_reservation_and_none_ends_before_it_is_durable():
    assert ways_to(RESERVATION, ReservationState.GIVEN) == {(ReservationState.HELD, ReservationEvent.CONFIRMED)}
    assert ways_to(RESERVATION, ReservationState.HELD) == {(ReservationState.STORING, ReservationEvent.STORED)}
    assert {source for source, _ in ways_to(RESERVATION, ReservationState.NONE)} == {
        ReservationState.HELD,
        ReservationState.GIVEN,
    }


def test_shots_come_back_only_after_the_reclaim_time():
    assert {event for _, event in ways_to(RECLOSING, ReclosingState.READY)} == {ReclosingEvent.RECLAIMED}
    assert ways_to(RECLOSING, ReclosingState.RECLOSED) == {(ReclosingState.DEAD_TIME, ReclosingEvent.ELAPSED)}
    assert {row.event for row in RECLOSING.rows if row.source is ReclosingState.EXHAUSTED} == {ReclosingEvent.RECLAIMED}
