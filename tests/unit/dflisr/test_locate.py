"""Locating: pickups, answers, declarations (design section 4, step 1)."""

from __future__ import annotations

from itertools import product

import pytest

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.locate import LATE_FACTOR
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LockState,
    Request,
    SectionState,
)
from ied_agents.process.inputs import Direction, Voltage

NOT_SEEN, PASSES_ON, ENTERS_TOO, UNSURE = (
    AnswerKind.NOT_SEEN,
    AnswerKind.PASSES_ON,
    AnswerKind.ENTERS_TOO,
    AnswerKind.UNSURE,
)
SILENT = AnswerKind.NONE
DETECTION_S = 0.003


def section_state(turned, side=1):
    return turned.fast.sides[side].section


# -- the entering agent: L2 sees the fault enter section 2, whose other switches are R3 and L4 ---------------


@pytest.fixture
def entering(bench):
    agent = bench(2).quiet()
    agent.pick_up()
    turned = agent.turn()
    assert (turned.fast.pickup, turned.fast.direction) == (True, Direction.FORWARD)
    assert section_state(turned) is SectionState.NONE
    return agent


@pytest.mark.parametrize(("r3", "l4"), list(product(AnswerKind, repeat=2)))
def test_a_section_is_declared_when_every_peer_answered_not_seen_or_enters_too(entering, r3, l4):
    for peer, kind in ((3, r3), (4, l4)):
        if kind is not SILENT:
            entering.answer(peer, kind)
    declared = section_state(entering.turn(after=0.004)) is SectionState.FAULTED
    assert declared == ({r3, l4} <= {NOT_SEEN, ENTERS_TOO})


def test_a_declaration_carries_a_new_event_locks_and_names_the_declaring_switch(entering):
    entering.answer(3, NOT_SEEN)
    entering.answer(4, ENTERS_TOO)
    turned = entering.turn(after=0.004)
    side = turned.fast.sides[1]
    assert side.section_event.switch == 2
    assert (side.lock, side.lock_event) == (LockState.DURABLE, side.section_event)
    assert turned.fast.last_event == side.section_event
    assert section_state(turned, 0) is SectionState.NONE
    assert turned.notes.count("declared faulted") == 1


def test_declaration_and_lock_leave_before_the_disk_has_them(entering):
    entering.disk_works = False
    entering.answer(3, NOT_SEEN)
    entering.answer(4, NOT_SEEN)
    side = entering.turn(after=0.004).fast.sides[1]
    assert (side.section, side.lock) == (SectionState.FAULTED, LockState.VOLATILE)


def test_where_there_is_no_peer_the_section_is_declared_at_once(bench):
    agent = bench(4).quiet()
    agent.pick_up()
    assert section_state(agent.turn()) is SectionState.FAULTED


def test_nothing_is_declared_twice_for_one_pickup(entering):
    for peer in (3, 4):
        entering.answer(peer, NOT_SEEN)
    event = entering.turn(after=0.004).fast.sides[1].section_event
    entering.hear(3)
    turned = entering.turn(after=0.1)
    assert turned.fast.sides[1].section_event == event
    assert "declared faulted" not in turned.notes


def test_an_answer_to_an_earlier_pickup_or_incarnation_or_another_switch_is_none(entering):
    pickup = entering.agent._locator.pickup.id
    stale = [
        Answer(2, entering.incarnation, pickup - 1, NOT_SEEN),
        Answer(2, entering.incarnation - 1, pickup, NOT_SEEN),
        Answer(3, entering.incarnation, pickup, NOT_SEEN),
    ]
    entering.answer(3, NOT_SEEN)
    entering.hear(4, answers=tuple(stale))
    assert section_state(entering.turn(after=0.05)) is SectionState.NONE
    entering.answer(4, NOT_SEEN)
    assert section_state(entering.turn()) is SectionState.FAULTED


def test_an_answer_of_a_peer_in_test_is_none(entering):
    entering.answer(3, NOT_SEEN)
    entering.hear(4, behaviour=Behaviour.TEST)
    entering.answer(4, NOT_SEEN)
    turned = entering.turn(after=0.004)
    assert section_state(turned) is SectionState.NONE
    assert turned.fast.sides[1].lock is LockState.NONE


def test_a_late_passes_on_releases_nothing_that_is_locked(entering):
    for peer in (3, 4):
        entering.answer(peer, NOT_SEEN)
    event = entering.turn(after=0.004).fast.sides[1].section_event
    entering.answer(3, PASSES_ON)
    turned = entering.turns(1.0)
    side = turned.fast.sides[1]
    assert (side.section, side.section_event, side.lock) == (SectionState.FAULTED, event, LockState.DURABLE)
    assert turned.fast.cleared == ()


def test_a_passes_on_blocks_even_when_all_others_come_later(entering):
    entering.answer(3, PASSES_ON)
    entering.turn(after=0.002)
    entering.answer(4, NOT_SEEN)
    assert section_state(entering.turn(after=0.002)) is SectionState.NONE
    assert section_state(entering.turn(after=1.0)) is SectionState.NONE


@pytest.mark.parametrize(
    ("direction", "trusted"),
    [
        (Direction.FORWARD, False),
        (Direction.BACKWARD, False),
        (Direction.UNKNOWN, True),
        (Direction.BOTH, True),
    ],
)
def test_an_untrusted_direction_declares_nothing(bench, direction, trusted):
    agent = bench(2).quiet()
    agent.pick_up(direction, trusted)
    agent.turn()
    for peer in (1, 3, 4):
        agent.answer(peer, NOT_SEEN)
    turned = agent.turn(after=0.01)
    assert [side.section for side in turned.fast.sides] == [SectionState.NONE] * 2
    assert turned.orders == []


@pytest.mark.parametrize(("number", "expected"), [(3, SectionState.SUSPECT), (1, SectionState.NONE)])
def test_a_current_without_direction_beside_a_faulted_section_may_have_gone_on_to_another_fault(
    bench, network, number, expected
):
    """R3 lies behind section 2, and nothing feeds it from behind; Q1 feeds section 1."""
    agent = bench(number).quiet()
    agent.pick_up(Direction.UNKNOWN, trusted=False)
    agent.turn()
    none, side = network.flagged(SectionState.NONE, lock=LockState.NONE), network.flagged()
    agent.hear(2, last_event=network.event, sides=(none, side) if number == 3 else (side, none))
    agent.turn(after=0.005)
    turned = agent.turn(after=0.005)
    beyond = 1 if number == 3 else 0
    assert turned.fast.sides[1 - beyond].section is SectionState.FAULTED
    assert turned.fast.sides[beyond].section is expected


def test_a_source_section_is_never_declared(bench):
    agent = bench(1).quiet()
    agent.pick_up(Direction.BACKWARD)
    assert section_state(agent.turn(), 0) is SectionState.NONE
    later = agent.turns(0.6)
    assert [side.section for side in later.fast.sides] == [SectionState.NONE] * 2


def test_a_current_that_flowed_into_the_source_keeps_nobody_from_promising_once_it_is_over(bench):
    """Local generation fed a fault on another feeder, and the breaker tripped."""
    agent = bench(1).quiet()
    agent.pick_up(Direction.BACKWARD)
    agent.turn()
    claim = Claim(ClaimId(0, 5, 2), EventId(2, 70), (Bound(1, 1),), Request(0, 0, 0), ())
    agent.hear(2, claims=(claim, EMPTY_CLAIM))
    assert agent.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    agent.turn(after=0.01)
    assert agent.turn(after=0.01).fast.promises == (NO_CLAIM, claim.id)


def test_a_loss_of_voltage_without_fault_current_starts_nothing(bench):
    agent = bench(2).quiet()
    agent.feed(voltage=(Voltage.ABSENT, Voltage.ABSENT), flow_a=0.0, current_a=0.0)
    turned = agent.turns(3.0)
    assert turned.orders == []
    assert turned.fast.last_event == EventId(0, 0)


def test_a_pickup_in_inputs_that_are_too_old_declares_nothing(bench):
    agent = bench(4).quiet()
    agent.pick_up()
    assert section_state(agent.turn(after=3.1), 1) is SectionState.NONE


# -- when answers stay out: the own delay of a breaker; voltage for a load-break switch ----------------------


@pytest.mark.parametrize("kind", [SILENT, UNSURE])
def test_after_its_own_delay_a_breaker_trips_and_holds_the_section_suspect(bench, kind):
    agent = bench(3).quiet()  # R3 sees the fault enter section 3; its delay is 100 ms
    agent.pick_up()
    agent.turn()
    agent.answer(9, NOT_SEEN)
    if kind is not SILENT:
        agent.answer(10, kind)
    before = agent.turn(after=0.0995)
    assert (section_state(before), before.orders) == (SectionState.NONE, [])
    after = agent.turn(after=0.0006)
    assert section_state(after) is SectionState.SUSPECT
    assert after.fast.sides[1].lock is LockState.DURABLE
    assert after.orders == ["open"]
    assert after.fast.trip


@pytest.fixture
def outlasted(entering):
    """R3 has passed the fault on; the current entered for 0.3 s, longer than R3 takes to open, and has gone."""
    entering.hear(3, pickup=True, pickup_id=1, direction=Direction.FORWARD)
    entering.answer(3, PASSES_ON)
    entering.turns(0.3)
    entering.feed(pickup=False, direction=Direction.UNKNOWN, current_a=0.0, voltage=(Voltage.ABSENT, Voltage.ABSENT))
    assert section_state(entering.turn()) is SectionState.NONE
    return entering


CLAIM = Claim(ClaimId(0, 7, 1), EventId(3, 9), (Bound(2, 0),), Request(0, 0, 0), ())


def promised(agent):
    agent.hear(1, claims=(EMPTY_CLAIM, CLAIM))
    return agent.turns(0.2).fast.promises[0] == CLAIM.id


def test_what_outlasted_the_peer_that_passed_it_on_is_resolved_once_that_peer_saw_it_end(outlasted):
    assert not promised(outlasted)
    outlasted.hear(3, pickup=False)
    assert promised(outlasted)
    assert section_state(outlasted.turn()) is SectionState.NONE


def test_if_that_peer_was_started_again_the_current_may_have_ended_in_the_section(outlasted):
    """It may have opened long before, and the rest of the current have fed a second fault."""
    outlasted.hear(3, pickup=False, incarnation=outlasted.peers[3].incarnation + 1, answers=())
    assert section_state(outlasted.turn()) is SectionState.SUSPECT


def test_while_that_peer_is_silent_nothing_is_promised_and_nothing_suspect(outlasted):
    outlasted.agent.peer_lost(3, fast=True)
    assert section_state(outlasted.turn()) is SectionState.NONE
    assert not promised(outlasted)


def test_not_if_the_section_is_live(outlasted):
    outlasted.feed(voltage=(Voltage.PRESENT, Voltage.PRESENT))
    outlasted.hear(3, pickup=False, incarnation=outlasted.peers[3].incarnation + 1, answers=())
    assert section_state(outlasted.turn()) is SectionState.NONE


def test_a_current_that_a_passing_switch_may_have_cleared_waits_for_nobody(entering):
    entering.hear(3, pickup=True, pickup_id=1, direction=Direction.FORWARD)
    entering.answer(3, PASSES_ON)
    entering.turn(after=0.02)
    entering.open((Voltage.ABSENT, Voltage.ABSENT))
    assert promised(entering)


def passed_on_by(agent, *peers):
    """``peers`` have picked up and pass on what enters section 2."""
    for number in peers:
        agent.hear(number, pickup=True, pickup_id=1, direction=Direction.FORWARD)
        agent.answer(number, PASSES_ON)
    agent.turn(after=0.02)
    return agent


def opened(agent, number):
    """A peer has ended what it passed on."""
    agent.hear(number, pickup=False)
    agent.turn()


def ends(agent, voltage=Voltage.ABSENT):
    agent.feed(pickup=False, direction=Direction.UNKNOWN, current_a=0.0, voltage=(voltage, voltage))
    agent.turn()
    return agent


def test_what_still_flows_when_the_peer_that_passed_it_on_has_ended_it_fed_a_second_fault(entering):
    opened(passed_on_by(entering, 3), 3)
    entering.hear(1, claims=(EMPTY_CLAIM, CLAIM))
    entering.turn(after=0.02)
    assert CLAIM.id not in ends(entering).turn().fast.promises
    assert section_state(entering.turns(0.2)) is SectionState.SUSPECT


@pytest.mark.parametrize(("later_s", "passed_on"), [(0.1, True), (0.2, False)])
def test_what_a_peer_was_heard_to_carry_much_later_is_another_current(entering, later_s, passed_on):
    """Lost frames explain some of it: it may have been carried for as long as the own one, or not."""
    entering.turn(after=later_s)
    passed_on_by(entering, 3)
    assert section_state(ends(entering).turns(0.2)) is (SectionState.NONE if passed_on else SectionState.SUSPECT)


def test_a_little_later_is_not_later(entering):
    opened(passed_on_by(entering, 3), 3)
    entering.turn(after=(LATE_FACTOR - 1) * DETECTION_S)
    assert promised(ends(entering))
    assert section_state(entering.turns(1.0)) is SectionState.NONE


def test_nor_while_another_peer_passes_it_on(entering):
    opened(passed_on_by(entering, 3, 4), 3)
    entering.turn(after=0.02)
    assert section_state(ends(entering).turns(1.0)) is SectionState.NONE


def test_nor_if_no_breaker_had_to_end_it(entering):
    opened(passed_on_by(entering, 3), 3)
    entering.turn(after=0.02)
    ends(entering, Voltage.PRESENT).turns(1.0)
    entering.feed(voltage=(Voltage.ABSENT, Voltage.ABSENT))
    assert section_state(entering.turns(1.0)) is SectionState.NONE


def test_a_breaker_that_passes_the_fault_on_trips_after_its_own_delay_and_suspects_nothing(bench):
    agent = bench(1).quiet()
    agent.pick_up()
    agent.turn()
    agent.answer(2, PASSES_ON)
    assert agent.turn(after=0.29).orders == []
    turned = agent.turn(after=0.011)
    assert turned.orders == ["open"]
    assert section_state(turned) is SectionState.NONE


@pytest.mark.parametrize(("direction", "trusted"), [(Direction.UNKNOWN, True), (Direction.FORWARD, False)])
def test_a_breaker_without_trusted_direction_trips_after_its_own_delay_and_suspects_both_sides(
    bench, direction, trusted
):
    agent = bench(3).quiet()
    agent.pick_up(direction, trusted)
    agent.turn()
    turned = agent.turn(after=0.0995)
    assert turned.orders == []
    assert [side.section for side in turned.fast.sides] == [SectionState.NONE] * 2
    turned = agent.turn(after=0.0006)
    assert turned.orders == ["open"]
    assert [side.section for side in turned.fast.sides] == [SectionState.SUSPECT] * 2
    assert [side.lock for side in turned.fast.sides] == [LockState.DURABLE] * 2
    a, b = (side.section_event for side in turned.fast.sides)
    assert a.switch == b.switch == 3
    assert a != b


def test_a_breaker_without_trusted_direction_at_a_source_suspects_what_it_feeds(bench):
    """Q1 between the busbar and section 1: what is on the busbar is for the busbar's protection."""
    agent = bench(1).quiet()
    agent.pick_up(Direction.UNKNOWN, trusted=False)
    agent.turn()
    turned = agent.turn(after=0.301)
    assert turned.orders == ["open"]
    assert [side.section for side in turned.fast.sides] == [SectionState.NONE, SectionState.SUSPECT]


def test_a_breaker_whose_pickup_resets_in_time_does_not_trip(bench):
    agent = bench(3).quiet()
    agent.pick_up()
    agent.turn()
    agent.feed(pickup=False, direction=Direction.UNKNOWN, direction_trusted=False, current_a=40.0)
    agent.turn(after=0.05)
    assert agent.turns(1.0).orders == []


@pytest.mark.parametrize(
    ("voltage", "state"),
    [
        (Voltage.ABSENT, SectionState.SUSPECT),
        (Voltage.PRESENT, SectionState.NONE),
        (Voltage.UNKNOWN, SectionState.NONE),
    ],
)
def test_a_section_is_suspect_after_the_pickup_only_if_its_voltage_is_gone(entering, voltage, state):
    entering.answer(3, NOT_SEEN)  # L4 stays silent
    entering.turn(after=0.1)
    entering.feed(
        pickup=False,
        direction=Direction.UNKNOWN,
        direction_trusted=False,
        flow_a=0.0,
        current_a=0.0,
        voltage=(Voltage.PRESENT, voltage),
    )
    assert section_state(entering.turn(after=0.2)) is SectionState.NONE, "answers may still come"
    assert section_state(entering.turn(after=0.13)) is state
    if state is SectionState.NONE:
        # The patience is over: a voltage that goes now has another reason.
        entering.turn(after=0.6)
        entering.feed(voltage=(Voltage.PRESENT, Voltage.ABSENT))
        assert section_state(entering.turn(after=0.01)) is SectionState.NONE


def test_a_section_whose_answers_come_complete_after_the_trip_is_faulted_not_suspect(entering):
    entering.answer(3, NOT_SEEN)
    entering.answer(4, NOT_SEEN)
    entering.open((Voltage.PRESENT, Voltage.ABSENT))
    assert section_state(entering.turn(after=0.1)) is SectionState.FAULTED


# -- the answering agent: R3 is asked by L2 about section 2 --------------------------------------------------


def asked(agent, **changes):
    fault = {"pickup": True, "direction": Direction.FORWARD, "direction_trusted": True, "pickup_id": 5}
    agent.hear(2, **fault | changes)


def answer_of(turned, switch=2):
    given = [a for a in turned.fast.answers if a.switch == switch]
    assert len(given) <= 1
    return given[0].kind if given else AnswerKind.NONE


def test_not_seen_is_answered_only_after_the_detection_time_from_receipt(bench):
    agent = bench(3).quiet()
    asked(agent)
    assert answer_of(agent.turn()) is SILENT
    assert agent.agent.next_deadline <= agent.now + DETECTION_S + 1e-9
    assert answer_of(agent.turn(after=DETECTION_S - 1e-4)) is SILENT
    turned = agent.turn(after=2e-4)
    assert turned.fast.answers == (Answer(2, 500, 5, NOT_SEEN),)


@pytest.mark.parametrize(
    ("direction", "trusted", "kind"),
    [
        (Direction.FORWARD, True, PASSES_ON),  # out of section 2 into section 3
        (Direction.BACKWARD, True, ENTERS_TOO),  # into section 2 from the other side
        (Direction.FORWARD, False, UNSURE),
        (Direction.BACKWARD, False, UNSURE),
        (Direction.UNKNOWN, True, UNSURE),
        (Direction.BOTH, True, UNSURE),
    ],
)
@pytest.mark.parametrize("order", ["own first", "own later"])
def test_an_own_pickup_is_answered_at_once_by_its_direction(bench, direction, trusted, kind, order):
    agent = bench(3).quiet()
    if order == "own first":
        agent.pick_up(direction, trusted)
        agent.turn(after=0.001)
        asked(agent)
        turned = agent.turn()
    else:
        asked(agent)
        agent.turn()
        agent.pick_up(direction, trusted)
        turned = agent.turn(after=0.001)
    assert answer_of(turned) is kind


def test_an_own_pickup_after_not_seen_changes_the_answer_to_passes_on(bench):
    agent = bench(3).quiet()
    asked(agent)
    agent.turn()
    assert answer_of(agent.turn(after=0.004)) is NOT_SEEN
    agent.pick_up()
    assert answer_of(agent.turn(after=0.001)) is PASSES_ON


LATE_S = LATE_FACTOR * DETECTION_S


@pytest.mark.parametrize("first", [{}, {"direction_trusted": False}], ids=["asked before", "only now"])
@pytest.mark.parametrize(("after", "kind"), [(0.0, PASSES_ON), (LATE_S - 1e-3, PASSES_ON), (LATE_S + 1e-3, UNSURE)])
def test_what_flowed_long_before_the_own_pickup_is_not_passed_on_under_another_pickup_id_either(
    bench, first, after, kind
):
    agent = bench(3).quiet()
    asked(agent, **first)
    agent.turn()
    agent.pick_up()
    agent.turn(after=after)
    asked(agent, pickup_id=6)
    assert answer_of(agent.turn(after=0.03)) is kind


def test_an_own_current_that_began_together_passes_on_although_its_direction_came_late(bench):
    agent = bench(3).quiet()
    asked(agent)
    agent.pick_up(Direction.UNKNOWN)
    agent.turn()
    agent.pick_up()
    agent.turn(after=0.03)
    asked(agent, pickup_id=6)
    assert answer_of(agent.turn(after=0.001)) is PASSES_ON


def test_a_peer_that_was_unproven_before_its_fault_current_began_is_answered_like_any_other(bench):
    agent = bench(3).quiet()
    agent.hear(2, unproven=True)
    agent.turns(0.5)
    asked(agent, unproven=True)
    agent.pick_up()
    assert answer_of(agent.turn(after=0.001)) is PASSES_ON


def test_a_second_fault_that_has_just_been_cleared_did_not_pass_on_what_flowed_before(bench):
    agent = bench(3).quiet()
    asked(agent)
    agent.turn()
    agent.pick_up()
    agent.turn(after=0.05)
    agent.feed(pickup=False, direction=Direction.UNKNOWN, direction_trusted=False)
    agent.turn(after=0.02)
    asked(agent, pickup_id=6)
    assert answer_of(agent.turn(after=0.001)) is not PASSES_ON


def test_an_old_pickup_is_no_answer_to_a_new_one(bench):
    agent = bench(3).quiet()
    agent.pick_up()
    agent.turn()
    agent.feed(pickup=False, direction=Direction.UNKNOWN, direction_trusted=False)
    agent.turn(after=0.01)
    agent.now += 0.5
    asked(agent)
    agent.turn()
    assert answer_of(agent.turn(after=0.004)) is NOT_SEEN


def test_without_valid_inputs_the_answer_is_unsure(bench):
    agent = bench(3).quiet()
    agent.now += 3.1
    asked(agent)
    assert answer_of(agent.turn()) is UNSURE


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": Direction.BACKWARD},  # enters section 1, which R3 does not bound
        {"direction": Direction.UNKNOWN},
        {"direction_trusted": False},
        {"pickup_quality": 1},
        {"pickup": False},
        {"behaviour": Behaviour.TEST},
    ],
    ids=str,
)
def test_only_a_trusted_pickup_that_enters_a_section_of_its_own_is_answered(bench, changes):
    agent = bench(3).quiet()
    asked(agent, **changes)
    agent.turn()
    assert answer_of(agent.turn(after=0.004)) is SILENT


def test_a_lost_peer_is_not_answered(bench):
    agent = bench(3).quiet()
    asked(agent)
    agent.agent.peer_lost(2, fast=True)
    agent.turn()
    assert answer_of(agent.turn(after=0.004)) is SILENT


def test_the_last_answers_are_kept_within_their_array(bench):
    agent = bench(3).quiet()
    for pickup in range(1, 20):
        asked(agent, pickup_id=pickup)
        agent.turn()
        turned = agent.turn(after=0.004)
        assert turned.fast.answers == (Answer(2, 500, pickup, NOT_SEEN),)


def test_a_peer_that_has_started_with_unproven_locks_is_greeted(bench):
    agent = bench(3).quiet()
    agent.hear(2, incarnation=501, unproven=True)
    assert agent.turn().fast.answers == (Answer(2, 501, 0, NOT_SEEN),)
