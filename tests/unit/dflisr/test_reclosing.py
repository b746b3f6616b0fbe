"""Reclosing shots: nothing is declared or locked while there are any; the last location counts (design 4, step 4)."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Authority, Behaviour
from ied_agents.dflisr.machines import ReclosingState
from ied_agents.dflisr.reclose import RECLAIM_S, SHOT_PATIENCE_S
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_EVENT,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LockState,
    Request,
    SectionState,
)
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT
RESET = {"pickup": False, "direction": Direction.UNKNOWN, "direction_trusted": False}


def nothing_held(turned):
    return [(side.section, side.lock) for side in turned.fast.sides] == [(SectionState.NONE, LockState.NONE)] * 2


# -- the breaker: Q1, whose fault is in section 1 ------------------------------------------------------------


@pytest.fixture
def breaker(bench):
    """Q1 with one shot after 0.5 s, long enough in operation to have it."""
    agent = bench(1, shots={1: (0.5,)}).quiet()
    agent.turns(RECLAIM_S + 0.1)
    return agent


def fault(agent):
    agent.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
    agent.turn(after=0.05)
    agent.pick_up()
    agent.turn()
    agent.answer(2, AnswerKind.NOT_SEEN)
    return agent.turn(after=0.004)


@pytest.fixture
def tripped(breaker):
    """It has tripped for a shot and is open; the dead time runs."""
    assert fault(breaker).orders == ["open"]
    breaker.open((LIVE, DARK))
    breaker.turn(after=0.05)
    return breaker


def test_after_a_start_there_are_no_shots_until_the_reclaim_time_is_over(bench):
    agent = bench(1, shots={1: (0.5,)}).quiet()
    started = agent.now - 2.0  # as long as quiet lasts
    assert not agent.turns(started + RECLAIM_S - 0.1 - agent.now).fast.shots
    assert agent.turns(0.2).fast.shots
    assert not bench(1).quiet().turns(RECLAIM_S + 1.0).fast.shots, "a breaker that has none"


def test_with_a_shot_left_a_located_fault_trips_and_declares_and_locks_nothing(breaker):
    turned = fault(breaker)
    assert turned.orders == ["open"]
    assert nothing_held(turned)
    assert turned.fast.reclosing
    assert turned.fast.last_event == NO_EVENT


def test_it_recloses_once_after_the_dead_time(tripped):
    assert tripped.turns(0.4).orders == []
    turned = tripped.turns(0.1)
    assert turned.orders == ["close"]
    assert not turned.fast.shots, "said with the last shot, so that the location after it counts"


def test_a_fault_that_is_still_there_after_the_last_shot_is_declared_and_locked_out(tripped):
    tripped.turns(0.5)
    turned = fault(tripped)
    assert turned.orders == ["open"]
    side = turned.fast.sides[1]
    assert (side.section, side.lock) == (SectionState.FAULTED, LockState.DURABLE)
    tripped.open((LIVE, DARK))
    assert "close" not in tripped.turns(10.0).orders


def test_two_shots_are_two(bench):
    agent = bench(1, shots={1: (0.3, 0.4)}).quiet()
    agent.turns(RECLAIM_S + 0.1)
    orders = []
    for dead_time_s in (0.3, 0.4, 1.0):
        orders += fault(agent).orders
        agent.open((LIVE, DARK))
        orders += agent.turns(dead_time_s + 0.05).orders
    assert orders == ["open", "close", "open", "close", "open"]


def test_a_reclosing_that_holds_gives_the_shots_back_after_the_reclaim_time(tripped):
    tripped.turns(0.5)
    tripped.feed(position=Dbpos.ON, voltage=(LIVE, LIVE), flow_a=100.0, current_a=100.0)
    state = tripped.turns(RECLAIM_S - 0.1).fast
    assert (state.shots, state.reclosing) == (False, True)
    state = tripped.turns(0.3).fast
    assert (state.shots, state.reclosing) == (True, False)


def test_a_breaker_opened_by_hand_in_the_reclaim_time_recloses_no_more(tripped):
    tripped.turns(0.5)
    tripped.feed(position=Dbpos.ON, voltage=(LIVE, LIVE), flow_a=100.0, current_a=100.0)
    assert tripped.turns(1.0).fast.reclosing
    tripped.open((LIVE, DARK))
    turned = tripped.turns(2 * RECLAIM_S)
    assert not turned.fast.reclosing
    assert turned.orders == []


def flag(agent, network, section_state):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    event = EventId(2, 70)
    agent.hear(2, last_event=event, sides=(network.flagged(section_state, event=event), none))


def ask_for_claim(agent):
    claim = Claim(ClaimId(0, 5, 2), EventId(2, 70), (Bound(1, 1),), Request(0, 0, 0), ())
    agent.hear(2, claims=(claim, EMPTY_CLAIM))


def ask_to_clear(agent, network, event):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, sides=(none._replace(clear=True, clear_event=event), none))


FORBIDS = {
    "tag": lambda a, n: a.agent.tag("crew 7", 1),
    "hot-line tag": lambda a, n: a.agent.tag("crew 7", 2),
    "local control": lambda a, n: a.agent.set_authority(Authority.LOCAL),
    "blocked": lambda a, n: a.agent.set_mode(Behaviour.BLOCKED),
    "test": lambda a, n: a.agent.set_mode(Behaviour.TEST),
    "section declared by a peer": lambda a, n: flag(a, n, SectionState.FAULTED),
    "section suspect": lambda a, n: flag(a, n, SectionState.SUSPECT),
    "a section farther out held for faulted": lambda a, n: a.hear(
        4, sides=(n.flagged(SectionState.NONE, lock=LockState.NONE), n.flagged(event=EventId(4, 70)))
    ),
    "a claim asks for it": lambda a, n: ask_for_claim(a),
    "a load-break switch asks to clear a declared fault": lambda a, n: ask_to_clear(a, n, EventId(2, 70)),
    "no supply": lambda a, n: a.feed(voltage=(DARK, DARK)),
    "supply unknown": lambda a, n: a.feed(voltage=(Voltage.UNKNOWN, DARK)),
    "the other side is live": lambda a, n: a.feed(voltage=(LIVE, LIVE)),
    "the other side is unknown": lambda a, n: a.feed(voltage=(LIVE, Voltage.UNKNOWN)),
    "position not known": lambda a, n: a.feed(position_valid=False),
    "somebody there is silent": lambda a, n: a.agent.peer_lost(4, fast=True),
    "another source beyond": lambda a, n: a.hear(9, position=Dbpos.ON),
}


@pytest.mark.parametrize("what", FORBIDS)
def test_each_of_these_alone_forbids_the_shot(tripped, network, what):
    FORBIDS[what](tripped, network)
    turned = tripped.turns(6.0)
    assert "close" not in turned.orders
    assert not turned.fast.reclosing
    assert turned.fast.sides[1].section is not SectionState.NONE, "what it has tripped for"


def test_a_request_to_clear_for_a_shot_does_not_forbid_it(tripped, network):
    ask_to_clear(tripped, network, EventId(2, 0))
    assert tripped.turns(0.6).orders == ["close"]


def test_a_shot_that_does_not_close_is_the_last(tripped):
    assert tripped.turns(0.5).orders == ["close"]
    turned = tripped.turns(4.0)
    assert turned.orders == []
    assert not turned.fast.reclosing
    assert "did not reclose" in turned.notes


def test_a_restart_in_the_dead_time_does_not_reclose(tripped, bench):
    again = bench(1, tripped.agent._record, unclean=True, shots={1: (0.5,)})
    for number in again.peers:
        again.hear(number)
    again.open((LIVE, DARK))
    turned = again.turns(6.0)
    assert turned.orders == []
    assert [side.section for side in turned.fast.sides] == [SectionState.NONE, SectionState.SUSPECT]


def test_a_breaker_that_trips_by_its_own_delay_recloses_too_and_suspects_only_after_its_last_shot(breaker):
    breaker.pick_up(Direction.UNKNOWN, trusted=False)
    breaker.turn()
    turned = breaker.turn(after=0.31)
    assert turned.orders == ["open"]
    assert nothing_held(turned)
    breaker.open((LIVE, DARK))
    turned = breaker.turns(0.55)
    assert turned.orders == ["close"]
    assert nothing_held(turned)
    breaker.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
    breaker.turn(after=0.01)
    breaker.pick_up(Direction.UNKNOWN, trusted=False)
    breaker.turn(after=0.01)
    turned = breaker.turn(after=0.31)
    assert turned.orders == ["open"]
    assert [side.section for side in turned.fast.sides] == [SectionState.NONE, SectionState.SUSPECT]
    breaker.open((LIVE, DARK))
    assert breaker.turns(2.0).orders == []


def test_an_opening_by_an_operator_is_not_followed_by_a_shot(breaker):
    from ied_agents.control.decision import Origin

    breaker.agent.request_open(Origin.STATION)
    assert breaker.turn(after=0.01).orders == ["open"]
    breaker.open((LIVE, DARK))
    assert breaker.turns(2.0).orders == []


# -- the load-break switch that locates for it: L2, whose fault is in section 2 -------------------------------


@pytest.fixture
def locating(bench):
    """L2 has located the fault; Q1 says that it has shots."""
    agent = bench(2).quiet()
    agent.hear(1, shots=True)
    agent.turn()
    agent.pick_up()
    agent.turn()
    for peer in (3, 4):
        agent.answer(peer, AnswerKind.NOT_SEEN)
    return agent


def test_it_asks_the_breaker_to_trip_without_an_event_and_declares_nothing(locating):
    turned = locating.turn(after=0.004)
    assert nothing_held(turned)
    asked = turned.fast.sides[0]
    assert (asked.clear, asked.clear_event) == (True, EventId(2, 0))
    assert not turned.fast.sides[1].clear
    assert turned.orders == []
    dark(locating, reclosing=True)
    turned = locating.turn(after=0.05)
    assert not any(side.clear for side in turned.fast.sides)
    assert nothing_held(locating.turns(2.0))
    locating.hear(1, shots=False, reclosing=True)
    assert nothing_held(locating.turns(0.1))
    locating.feed(voltage=(LIVE, LIVE))
    locating.turn(after=0.01)
    locating.hear(1, reclosing=False)
    locating.feed(voltage=(DARK, DARK))
    assert nothing_held(locating.turns(2.0))


def dark(locating, **breaker):
    """The breaker has tripped, and says so."""
    locating.hear(1, **breaker)
    locating.feed(**RESET, current_a=0.0, flow_a=0.0, voltage=(DARK, DARK))


@pytest.mark.parametrize("what", ["gives up", "is silent"])
def test_a_fault_on_which_the_breaker_does_not_reclose_is_declared(locating, what):
    locating.turn(after=0.004)
    dark(locating, reclosing=True)
    assert nothing_held(locating.turn(after=0.05))
    if what == "gives up":
        locating.hear(1, shots=False, reclosing=False)
    else:
        locating.agent.peer_lost(1, fast=True)
    side = locating.turn(after=0.01).fast.sides[1]
    assert (side.section, side.lock) == (SectionState.FAULTED, LockState.DURABLE)


def test_a_fault_for_which_the_breaker_does_not_trip_is_declared(locating):
    """Another one has cleared it."""
    locating.turn(after=0.004)
    dark(locating)
    assert nothing_held(locating.turns(SHOT_PATIENCE_S - 0.01))
    assert locating.turns(0.1).fast.sides[1].section is SectionState.FAULTED


def test_a_fault_that_the_breaker_does_not_clear_in_time_is_declared_all_the_same(locating):
    locating.turn(after=0.004)
    since = locating.now - 0.004
    locating.turn(after=since + SHOT_PATIENCE_S - 0.01 - locating.now)
    assert nothing_held(locating.turn())
    turned = locating.turn(after=0.011)
    side = turned.fast.sides[1]
    assert (side.section, side.lock) == (SectionState.FAULTED, LockState.DURABLE)


@pytest.mark.parametrize("what", ["no shots left", "breaker silent", "breaker in test"])
def test_without_a_breaker_that_says_it_has_shots_the_section_is_declared_at_once(locating, what):
    {
        "no shots left": lambda: locating.hear(1, shots=False),
        "breaker silent": lambda: locating.agent.peer_lost(1, fast=True),
        "breaker in test": lambda: locating.hear(1, behaviour=Behaviour.TEST),
    }[what]()
    assert locating.turn(after=0.004).fast.sides[1].section is SectionState.FAULTED


def test_the_breaker_that_is_asked_trips_and_recloses_but_not_for_a_declared_fault(breaker, network):
    for event, later in ((EventId(2, 0), ["close"]), (EventId(2, 70), [])):
        breaker.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
        ask_to_clear(breaker, network, EventId(0, 0))
        none = network.flagged(SectionState.NONE, lock=LockState.NONE)
        breaker.hear(2, sides=(none, none))
        breaker.turns(RECLAIM_S + 0.2)
        breaker.pick_up()
        breaker.turn()
        breaker.answer(2, AnswerKind.PASSES_ON)
        ask_to_clear(breaker, network, event)
        assert breaker.turn(after=0.01).orders == ["open"]
        breaker.open((LIVE, DARK))
        breaker.hear(2, sides=(none, none))
        assert breaker.turns(1.0).orders == later, event


def test_a_breaker_that_carries_no_fault_current_trips_for_the_shot_of_another_and_recloses_not(breaker, network):
    """The other one tries; this one would energise what it knows nothing of."""
    ask_to_clear(breaker, network, EventId(2, 0))
    assert breaker.turn().orders == ["open"]
    breaker.open((LIVE, DARK))
    assert breaker.turns(6.0).orders == []


def test_the_states_of_a_recloser_follow_its_table(tripped):
    recloser = tripped.agent._recloser
    assert recloser.state is ReclosingState.DEAD_TIME
    tripped.turns(0.5)
    assert recloser.state is ReclosingState.RECLOSED


# -- what a shot would pick up -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation_a", "ratings", "shoots"),
    [
        (0.0, {1: 60.0}, True),  # it carried that before
        (50.0, {1: 151.0}, True),
        (50.0, {1: 149.0}, False),
        (50.0, {3: 41.0}, True),
        (50.0, {3: 39.0}, False),
    ],
)
def test_what_only_local_generation_kept_within_the_ratings_is_not_picked_up_by_a_shot(
    bench, generation_a, ratings, shoots
):
    """100 A flow through Q1, 40 A through R3, with 50 A more from section 2."""
    agent = bench(1, shots={1: (0.5,)}, rating_a=ratings)
    for number, side in ((2, 1), (3, 0), (4, 0)):
        agent.load(number, generation_a=(generation_a, 0.0) if side == 0 else (0.0, generation_a))
    agent.quiet().turns(RECLAIM_S + 0.1)
    assert fault(agent).orders == ["open"]
    agent.open((LIVE, DARK))
    agent.turn(after=0.05)
    assert (agent.turns(1.0).orders == ["close"]) is shoots
