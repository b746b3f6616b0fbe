"""Isolating: who opens when, clear requests, locks (design section 4, step 2)."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import AnswerKind, EventId, LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage


@pytest.fixture
def declared(network):
    """``declared(agent, by)``: peer ``by`` has declared section 2, at side B of L2 and side A of others."""

    def play(agent, by, **changes):
        none = network.flagged(SectionState.NONE, lock=LockState.NONE)
        sides = (none, network.flagged()) if by == 2 else (network.flagged(), none)
        agent.hear(by, last_event=network.event, sides=sides, **changes)

    return play


NO_FAULT = {"pickup": False, "direction": Direction.UNKNOWN, "direction_trusted": False}


# -- breakers ------------------------------------------------------------------------------------------------


def test_a_breaker_at_the_faulted_section_locks_and_trips_at_once(bench, declared, network):
    agent = bench(3).quiet()
    declared(agent, 2)
    turned = agent.turn()
    assert turned.orders == ["open"]
    side = turned.fast.sides[0]
    assert (side.section, side.section_event) == (SectionState.FAULTED, network.event)
    assert (side.lock, side.lock_event) == (LockState.DURABLE, network.event)
    assert turned.fast.sides[1].lock is LockState.NONE
    assert turned.fast.trip


def test_a_breaker_trips_under_fault_current_too(bench, declared):
    agent = bench(3).quiet()
    agent.pick_up(Direction.BACKWARD)
    agent.turn()
    declared(agent, 2)
    assert agent.turn().orders == ["open"]


def test_the_order_to_open_does_not_wait_for_the_disk(bench, declared):
    agent = bench(3).quiet()
    agent.disk_works = False
    declared(agent, 2)
    turned = agent.turn()
    assert turned.orders == ["open"]
    assert turned.fast.sides[0].lock is LockState.VOLATILE
    assert turned.records[0].sides[0].locked
    agent.disk_works = True
    assert agent.turn(after=0.001).fast.sides[0].lock is LockState.DURABLE


def test_one_fault_gives_one_order(bench, declared):
    agent = bench(3).quiet()
    declared(agent, 2)
    orders = agent.turn().orders + agent.turn(after=0.01).orders + agent.turn(after=0.05).orders
    assert orders == ["open"]


def test_an_order_without_effect_is_repeated_and_then_given_up_with_the_reason(bench, declared):
    agent = bench(3).quiet()
    declared(agent, 2)
    first = agent.turn()
    rest = agent.turns(2.0)
    assert first.orders + rest.orders == ["open"] * 3
    assert rest.fast.progress[:2] == (5, 13)  # stopped, did not open


def test_a_switch_that_is_open_already_locks_and_gives_no_order(bench, declared):
    agent = bench(3).quiet()
    agent.open((Voltage.PRESENT, Voltage.PRESENT))
    agent.turn(after=0.01)
    declared(agent, 2)
    turned = agent.turn(after=0.01)
    assert turned.orders == []
    assert turned.fast.sides[0].lock is LockState.DURABLE


def test_a_switch_that_does_not_bound_the_section_does_nothing(bench, declared):
    for number in (1, 5, 9, 11):
        agent = bench(number).quiet()
        declared(agent, 2)
        turned = agent.turn()
        assert turned.orders == []
        assert [side.lock for side in turned.fast.sides] == [LockState.NONE] * 2


# -- load-break switches -------------------------------------------------------------------------------------


def test_a_load_break_switch_without_fault_current_opens_at_once(bench, declared):
    agent = bench(4).quiet()
    declared(agent, 2)
    turned = agent.turn()
    assert turned.orders == ["open"]
    assert not any(side.clear for side in turned.fast.sides)


def test_a_load_break_switch_under_fault_current_locks_asks_to_clear_and_waits_for_the_reset(bench, declared, network):
    agent = bench(2).quiet()
    agent.pick_up()
    agent.turn()
    declared(agent, 3)
    turned = agent.turn()
    assert turned.orders == []
    assert turned.fast.sides[1].lock is LockState.DURABLE
    infeed = turned.fast.sides[0]
    assert (infeed.clear, infeed.clear_event) == (True, network.event)
    assert not turned.fast.sides[1].clear
    assert not turned.fast.trip, "nothing has been ordered open"
    agent.feed(**NO_FAULT, current_a=0.0, flow_a=0.0)
    turned = agent.turn(after=0.05)
    assert turned.orders == ["open"]
    assert turned.fast.trip


def test_the_clear_request_stands_until_the_switch_is_seen_open(bench, declared):
    agent = bench(2).quiet()
    agent.pick_up()
    agent.turn()
    declared(agent, 3)
    agent.turn()
    agent.feed(**NO_FAULT, current_a=0.0, flow_a=0.0)
    assert agent.turn(after=0.05).fast.sides[0].clear
    agent.open((Voltage.ABSENT, Voltage.ABSENT))
    turned = agent.turn(after=0.05)
    assert not turned.fast.sides[0].clear
    assert turned.fast.sides[1].lock is LockState.VOLATILE, "not all have answered where the current went"
    assert agent.turn(after=0.1).fast.sides[1].lock is LockState.DURABLE


def test_a_clear_request_goes_to_the_side_the_fault_current_comes_from(bench, declared):
    agent = bench(2).quiet()
    agent.pick_up(Direction.BACKWARD)  # from section 2 into section 1
    agent.turn()
    declared(agent, 3)
    sides = agent.turn().fast.sides
    assert [side.clear for side in sides] == [False, True]


def test_an_untrusted_direction_asks_the_side_opposite_the_fault(bench, declared):
    agent = bench(2).quiet()
    agent.pick_up(Direction.FORWARD, trusted=False)
    agent.turn()
    declared(agent, 3)
    assert [side.clear for side in agent.turn().fast.sides] == [True, False]


@pytest.mark.parametrize(("current_a", "orders"), [(630.0, ["open"]), (631.0, [])])
def test_a_load_break_switch_opens_only_what_it_can_break(bench, declared, current_a, orders):
    agent = bench(4).quiet()
    agent.feed(current_a=current_a)
    agent.turn()
    declared(agent, 2)
    assert agent.turn().orders == orders
    if not orders:
        agent.feed(current_a=100.0)
        assert agent.turn(after=0.05).orders == ["open"]


# -- the breaker that is asked -------------------------------------------------------------------------------


@pytest.fixture
def asks(network):
    """``asks(agent, side)``: L2 under fault current asks the breaker of its ``side`` to clear."""

    def play(agent, side=0, **changes):
        flag = network.flagged()
        empty = network.flagged(SectionState.NONE, lock=LockState.NONE)
        wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
        sides = (wants, flag) if side == 0 else (empty, flag._replace(clear=True, clear_event=network.event))
        agent.hear(2, last_event=network.event, sides=sides, **changes)

    return play


def test_the_nearest_breaker_trips_on_a_clear_request_without_locking(bench, asks):
    agent = bench(1).quiet()
    asks(agent)
    turned = agent.turn()
    assert turned.orders == ["open"]
    assert [side.lock for side in turned.fast.sides] == [LockState.NONE] * 2
    assert turned.fast.trip


@pytest.mark.parametrize(("earlier_s", "state"), [(0.05, SectionState.SUSPECT), (0.005, SectionState.NONE)])
def test_a_current_without_direction_that_began_long_before_the_one_it_clears_may_have_another_fault(
    bench, asks, earlier_s, state
):
    agent = bench(1).quiet()
    agent.pick_up(trusted=False)
    agent.turn()
    agent.now += earlier_s
    asks(agent, pickup=True, pickup_id=1, direction=Direction.FORWARD)
    turned = agent.turn()
    assert turned.orders == ["open"]
    assert turned.fast.sides[1].section is state


def test_a_clear_request_is_served_once_per_event(bench, asks, network):
    agent = bench(1).quiet()
    asks(agent)
    agent.turn()
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    agent.turn(after=0.05)
    assert agent.turns(0.5).orders == []


def test_only_the_breaker_of_the_asking_side_trips(bench, asks):
    for number in (3, 5, 11):
        agent = bench(number).quiet()
        asks(agent)
        without_flag = agent.peers[2].sides[1]._replace(section=SectionState.NONE)
        agent.hear(2, sides=(agent.peers[2].sides[0], without_flag))
        assert agent.turn().orders == []


def test_a_load_break_switch_does_not_serve_a_clear_request(bench, network):
    agent = bench(2).quiet()
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    empty = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(4, last_event=network.event, sides=(wants, empty))
    assert agent.turn().orders == []


def test_a_breaker_without_a_source_behind_it_does_not_trip(bench, asks):
    agent = bench(3).quiet()  # both its ties are open: section 3 is fed from nowhere else
    asks(agent, side=1)
    agent.hear(2, sides=tuple(side._replace(section=SectionState.NONE) for side in agent.peers[2].sides))
    assert agent.turn().orders == []


def test_a_clear_request_of_a_cleared_event_is_not_served(bench, asks, network):
    agent = bench(1).quiet()
    agent.hear(5, cleared=(network.event,))
    agent.turn()
    asks(agent)
    assert agent.turn().orders == []


# -- whom nobody opens for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour.ON, Behaviour.BLOCKED])
def test_a_peer_whose_outputs_are_blocked_still_sees_and_says_the_truth(bench, declared, behaviour):
    agent = bench(3).quiet()
    declared(agent, 2, behaviour=behaviour)
    assert agent.turn().orders == ["open"]


@pytest.mark.parametrize("behaviour", [Behaviour.TEST, Behaviour.TEST_BLOCKED, Behaviour.OFF])
def test_nothing_opens_or_locks_for_a_peer_in_test_or_off(bench, declared, asks, behaviour):
    for number, play in ((3, declared), (4, declared)):
        agent = bench(number).quiet()
        play(agent, 2, behaviour=behaviour)
        turned = agent.turns(0.5)
        assert turned.orders == []
        assert turned.fast.sides[0].lock is LockState.NONE
    agent = bench(1).quiet()
    asks(agent, behaviour=behaviour)
    assert agent.turns(0.5).orders == []


def test_nothing_opens_or_locks_for_a_dead_peer(bench, declared, asks):
    for number in (3, 4):
        agent = bench(number).quiet()
        declared(agent, 2)
        agent.agent.peer_lost(2, fast=True)
        turned = agent.turns(0.5)
        assert turned.orders == []
        assert turned.fast.sides[0].lock is LockState.NONE
    agent = bench(1).quiet()
    asks(agent)
    agent.agent.peer_lost(2, fast=True)
    assert agent.turns(0.5).orders == []


def test_a_lock_stays_when_the_peer_that_declared_dies_or_falls_silent_about_it(bench, declared, network):
    agent = bench(3).quiet()
    declared(agent, 2)
    agent.turn()
    agent.agent.peer_lost(2, fast=True)
    assert agent.turn(after=0.01).fast.sides[0].lock is LockState.DURABLE
    empty = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, incarnation=501, sides=(empty, empty), last_event=EventId(0, 0))
    assert agent.turn(after=0.01).fast.sides[0].lock is LockState.DURABLE


def test_a_suspect_section_becomes_faulted_when_a_peer_declares_it(bench, network):
    agent = bench(3).quiet()
    suspect = network.flagged(SectionState.SUSPECT)
    empty = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(empty, suspect))
    assert agent.turn().fast.sides[0].section is SectionState.SUSPECT
    agent.hear(2, sides=(empty, network.flagged(SectionState.FAULTED)))
    assert agent.turn(after=0.01).fast.sides[0].section is SectionState.FAULTED
    agent.hear(2, sides=(empty, suspect))
    assert agent.turn(after=0.01).fast.sides[0].section is SectionState.FAULTED


def test_inputs_for_another_switch_are_not_believed(bench):
    from dataclasses import replace

    agent = bench(3).quiet()
    stray = replace(
        agent.inputs,
        switch=4,
        sequence=10**6,
        stamp_ns=10**6,
        position=Dbpos.OFF,
        voltage=(Voltage.ABSENT,) * 2,
    )
    agent.agent.receive_inputs(stray, agent.now)
    assert agent.turn().fast.position is Dbpos.ON


def test_an_older_snapshot_does_not_follow_a_newer_one(bench):
    from dataclasses import replace

    agent = bench(3).quiet()
    older = replace(agent.inputs, sequence=1, stamp_ns=1, position=Dbpos.OFF)
    agent.agent.receive_inputs(older, agent.now)
    assert agent.turn().fast.position is Dbpos.ON
    restarted = replace(older, stamp_ns=agent.inputs.stamp_ns + 1)  # the process counts anew, time goes on
    agent.agent.receive_inputs(restarted, agent.now)
    assert agent.turn().fast.position is Dbpos.OFF


# -- what an order leaves behind -----------------------------------------------------------------------------


def test_a_switch_closed_again_by_people_has_opened_for_nothing(bench, declared, network):
    agent = bench(3).quiet()
    declared(agent, 2)
    agent.turn()
    agent.feed(position=Dbpos.OFF)
    assert agent.turn(after=0.05).fast.trip
    agent.agent.unlock(network.event)
    agent.feed(position=Dbpos.ON)
    assert not agent.turn(after=0.01).fast.trip
    agent.feed(position=Dbpos.OFF)
    turned = agent.turn(after=5.0)
    assert turned.orders == []
    assert not turned.fast.trip


def test_tries_used_up_for_one_fault_are_there_again_for_the_next(bench):
    """L2 passes it on, and Q1 trips by its own delay: it holds nothing, so all its orders are for the one fault."""
    agent = bench(1).quiet()
    for fault in range(2):
        agent.pick_up()
        agent.turn()
        agent.hear(2, pickup=True)
        agent.answer(2, AnswerKind.PASSES_ON)
        ordered = []
        for _ in range(40):
            ordered += agent.turn(after=0.1).orders
            agent.pick_up()
        agent.hear(2, pickup=False)
        assert ordered == ["open"] * 3, f"fault {fault}"
        agent.feed(**NO_FAULT, current_a=0.0)
        agent.turn(after=0.5)


def test_a_clear_request_ends_with_its_event(bench, declared, network):
    agent = bench(2).quiet()
    agent.pick_up()
    agent.turn()
    declared(agent, 3)
    assert agent.turn().fast.sides[0].clear
    agent.agent.unlock(network.event)
    agent.turn()
    assert not any(side.clear for side in agent.turn().fast.sides)
