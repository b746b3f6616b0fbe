"""The reflex: never more, and in the end nothing else, than what the turn that follows would have done."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings

from ied_agents.control.decision import Behaviour, Origin
from ied_agents.dflisr.isolate import serves
from ied_agents.dflisr.records import NO_EVENT, AgentState, AnswerKind, EventId, LockState, SectionState
from ied_agents.dflisr.reflex import Reflex
from ied_agents.dflisr.views import Situation
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage
from tools.campaign.feeders import random_system

# -- in the clear case ---------------------------------------------------------------------------------------


def _react(agent, by, before):
    """What the reflex does about the last state of a peer; None if it leaves it to the turn."""
    event = agent.agent.clear_request(by, before, agent.now)
    return None if event == NO_EVENT else agent.agent.trip(event, agent.now)


@pytest.fixture
def asks(network):
    """``asks(agent, by, event)``: peer ``by`` asks to be cleared from its side A; returns what the reflex did."""

    def play(agent, by=2, event=network.event, **changes):
        wants = network.flagged(SectionState.NONE, lock=LockState.NONE)._replace(clear=True, clear_event=event)
        before = agent.situation.views[by].state
        agent.hear(by, **{"last_event": event, "sides": (wants, network.flagged())} | changes)
        return _react(agent, by, before)

    return play


@pytest.mark.parametrize("by", [2, 4], ids=["neighbour", "beyond another load-break switch"])
def test_the_nearest_breaker_trips_before_its_turn(bench, asks, by):
    agent = bench(1).quiet()
    published = agent.situation.own
    reflex = asks(agent, by)
    assert [command.operation for command in reflex.commands] == ["open"]
    assert reflex.fast == published._replace(trip=True) == agent.situation.own
    turned = agent.turn()
    assert turned.orders == []
    assert turned.fast.trip


def test_what_it_did_is_noted_once(bench, asks):
    agent = bench(1).quiet()
    notes = [note.kind for note in asks(agent).notes] + agent.turn().notes
    assert [notes.count(kind) for kind in ("open ordered", "clears for a load-break switch")] == [1, 1]


def test_a_request_for_a_shot_leaves_the_shots_and_one_for_an_event_takes_them(bench, asks, network):
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    for event, reclosing in ((EventId(2, 0), True), (EventId(2, 65), False)):
        agent = bench(1, shots={1: (0.3,)}).quiet()
        agent.turns(6.0)
        assert agent.situation.own.shots
        agent.pick_up()
        agent.turn()
        agent.answer(2, AnswerKind.PASSES_ON)
        agent.turn()
        sides = (wants._replace(clear_event=event), network.flagged(SectionState.NONE, lock=LockState.NONE))
        assert asks(agent, event=event, sides=sides) is not None
        assert agent.turn().fast.reclosing is reclosing


def test_when_the_turn_has_prepared_it_nothing_else_comes_out(bench, asks):
    agent = bench(1).quiet()
    prepared = agent.agent.prepare()
    assert asks(agent).fast is prepared


def test_a_switch_that_has_nothing_to_trip_prepares_nothing(bench):
    assert bench(2).quiet().agent.prepare() is None
    agent = bench(1).quiet()
    agent.open((Voltage.PRESENT, Voltage.ABSENT))
    agent.turn()
    assert agent.agent.prepare() is None


# -- where anything speaks against it, the turn decides ------------------------------------------------------


def _mode(behaviour):
    def play(agent):
        agent.agent.set_mode(behaviour)
        agent.turn()

    return play


def _feeds(**inputs):
    def play(agent):
        agent.feed(**inputs)
        agent.turn()

    return play


def _silent(agent):
    agent.now += 3.5


def _tripped(agent):
    agent.pick_up(Direction.UNKNOWN, trusted=False)
    agent.turn()
    agent.turn(after=0.4)
    agent.feed(pickup=False)
    agent.turn()


AGAINST = {
    "own mode blocked": _mode(Behaviour.BLOCKED),
    "own mode test": _mode(Behaviour.TEST),
    "own mode off": _mode(Behaviour.OFF),
    "own switch open": _feeds(position=Dbpos.OFF),
    "own switch between": _feeds(position=Dbpos.INTERMEDIATE),
    "own position invalid": _feeds(position_valid=False),
    "own process silent": _silent,
    "an order on its way": _tripped,
}


@pytest.mark.parametrize("what", AGAINST)
def test_it_holds_back_by_what_its_own_switch_is(bench, asks, what):
    agent = bench(1).quiet()
    AGAINST[what](agent)
    assert asks(agent) is None


@pytest.mark.parametrize("behaviour", [Behaviour.TEST, Behaviour.TEST_BLOCKED, Behaviour.OFF])
def test_it_does_not_trip_for_a_peer_in_test_or_off(bench, asks, behaviour):
    agent = bench(1).quiet()
    agent.hear(2, behaviour=behaviour)
    agent.turn()
    assert asks(agent) is None
    assert agent.turn().orders == []


def test_in_shadow_it_comes_as_early_and_trips_nothing(bench, asks):
    agent = bench(1, shadow=True).quiet()
    reflex = asks(agent)
    assert (reflex.fast.trip, reflex.commands) == (True, [])
    assert "would open" in [note.kind for note in reflex.notes]
    assert agent.turn().orders == []


CHANGES = {
    "position": {"position": Dbpos.INTERMEDIATE},
    "pickup": {"pickup": True, "pickup_id": 9},
    "mode": {"behaviour": Behaviour.BLOCKED},
    "cleared": {"cleared": (EventId(2, 65),)},
    "return to normal": {"returning": EventId(9, 9)},
    "incarnation": {"incarnation": 501},
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_holds_back_when_the_request_comes_with_other_news(bench, asks, what):
    agent = bench(1).quiet()
    assert asks(agent, **CHANGES[what]) is None


def test_it_holds_back_when_a_section_of_its_own_is_flagged(bench, asks, network):
    agent = bench(1).quiet()
    both = network.flagged(clear=True)
    assert asks(agent, sides=(both, network.flagged())) is None
    assert agent.turn().fast.sides[1].section is SectionState.FAULTED


def test_it_does_not_trip_for_an_event_that_is_cleared(bench, asks, network):
    agent = bench(1).quiet()
    agent.hear(5, cleared=(network.event,))
    agent.turn()
    assert asks(agent) is None
    assert agent.turn().orders == []


def test_it_holds_back_for_a_peer_never_heard_before_or_lost(bench, asks):
    agent = bench(1).quiet()
    agent.situation.views[2].state = None
    assert asks(agent) is None
    agent = bench(1).quiet()
    agent.agent.peer_lost(2, fast=True)
    assert _react(agent, 2, agent.peers[2]) is None


def test_a_load_break_switch_has_no_reflex(bench, network):
    agent = bench(2).quiet()
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    before = agent.situation.views[4].state
    agent.hear(4, sides=(wants, network.flagged()))
    assert _react(agent, 4, before) is None


def test_it_follows_the_network(bench, asks):
    agent = bench(1).quiet()
    agent.agent.prepare()
    agent.hear(2, position=Dbpos.OFF)  # now nothing leads from L4 to Q1
    agent.turn()
    quiet = agent.peers[4].sides
    assert asks(agent, by=4) is None
    assert agent.turn().orders == []
    agent.hear(4, sides=quiet)
    agent.hear(2, position=Dbpos.ON)
    agent.turn()
    assert asks(agent, by=4) is not None


# -- whom it serves ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whom_it_serves_is_whom_the_turn_serves(seed, loops):
    rng = random.Random(seed)
    system = random_system(rng, rng.randint(3, 12))
    opened = rng.random() * 0.3
    for number, agent in system.agents.items():
        situation = Situation(agent.config, 1)
        if not situation.me.breaker:
            continue
        for peer, view in situation.views.items():
            closed = situation.feeder.by_number[peer].normally_closed and rng.random() >= opened
            closed = closed or (loops and rng.random() < 0.2)
            view.state, view.alive = AgentState(1, position=Dbpos.ON if closed else Dbpos.OFF), True
        sides = {(n, side) for n in situation.feeder.by_number for side in (0, 1) if n != number}
        exact = {(n, side) for n, side in sides if serves(situation, n, side)}
        served = _served(situation)
        assert served <= exact
        if not loops:
            assert served == exact


def _served(situation):
    reflex = Reflex(situation)
    reflex.prepare()
    return set(reflex._served)


# -- reflex and turn against the turn alone ------------------------------------------------------------------

EVENTS = (EventId(2, 65), EventId(4, 7), EventId(3, 0), EventId(2, 0), EventId(9, 3))


def _random_side(rng, network):
    section = rng.choice((SectionState.NONE, SectionState.NONE, *SectionState))
    lock = rng.choice(list(LockState))
    side = network.flagged(section, event=rng.choice(EVENTS), lock=lock)
    clear = rng.random() < 0.5
    return side._replace(clear=clear, clear_event=rng.choice(EVENTS) if clear else NO_EVENT)


def _random_changes(rng, network):
    """Members of a peer's state."""
    return rng.choice(
        (
            {"position": rng.choice(list(Dbpos))},
            {"behaviour": rng.choice(list(Behaviour))},
            {"pickup": True, "pickup_id": rng.randint(1, 3), "direction": rng.choice(list(Direction))},
            {"pickup": False},
            {"direction_trusted": rng.random() < 0.7},
            {"cleared": tuple(rng.sample(EVENTS, rng.randint(0, 2)))},
            {"shots": rng.random() < 0.5},
            {"sides": (_random_side(rng, network), _random_side(rng, network))},
            {"voltage": (rng.choice(list(Voltage)), rng.choice(list(Voltage)))},
            {"unproven": rng.random() < 0.3},
            {"returning": rng.choice(EVENTS)},
        )
    )


def _disturb(rng, network, number):
    """One occurrence, as a function that plays it to an agent."""
    peer = rng.choice([n for n in network.switches if n != number])
    changes = _random_changes(rng, network)
    kind = rng.choice(list(Direction))
    seed = rng.random()
    answer = rng.choice(list(AnswerKind))

    def answered(agent):
        if agent.agent._locator.pickup is not None:
            agent.answer(peer, answer)

    return rng.choice(
        (
            lambda agent: agent.hear(peer, **changes),
            lambda agent: agent.hear(peer, **changes),
            lambda agent: agent.pick_up(kind, trusted=seed < 0.7),
            lambda agent: agent.feed(pickup=False, direction=Direction.UNKNOWN, current_a=50.0),
            lambda agent: agent.feed(position=Dbpos.OFF if seed < 0.5 else Dbpos.ON),
            lambda agent: agent.feed(position_valid=seed < 0.5),
            lambda agent: agent.feed(voltage=(Voltage.PRESENT, Voltage.ABSENT if seed < 0.5 else Voltage.PRESENT)),
            answered,
            lambda agent: agent.agent.peer_lost(peer, fast=True),
            lambda agent: agent.agent.peer_resumed(peer, fast=True),
            lambda agent: agent.agent.set_mode(Behaviour.BLOCKED if seed < 0.3 else Behaviour.ON),
            lambda agent: agent.agent.request_open(Origin.STATION),
            lambda agent: agent.agent.confirm(),
            lambda agent: setattr(agent, "disk_works", seed < 0.7),
        )
    )


def _what_came_of(turned):
    orders, notes, records = sorted(turned.orders), sorted(turned.notes), turned.records
    return turned.fast, turned.slow, orders, notes, records


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # a class
@given(seed=st.integers(0, 2**32))
def test_reflex_and_turn_come_to_what_the_turn_alone_comes_to(bench, network, seed):
    rng = random.Random(seed)
    number = rng.choice((1, 1, 1, 3, 5, 10, 11, 2))
    shots = {number: rng.choice(((), (0.2,), (0.2, 0.4)))}
    pair = [bench(number, unclean=seed % 11 == 0, shots=shots).quiet() for _ in range(2)]
    with_reflex, alone = pair
    if rng.random() < 0.5:
        for agent in pair:
            agent.turns(6.0, step=1.0)  # long enough to have its shots again
    for _ in range(rng.choice((0, 0, 1, 2, 4, 8))):
        play, after = _disturb(rng, network, number), rng.choice((0.0, 0.004, 0.1, 1.0))
        for agent in pair:
            play(agent)
            agent.turn(after)
    # At rest: no time has come since the last turn.
    left = min(agent.agent.next_deadline for agent in pair) - alone.now
    assume(left > 0)
    after = rng.random() * min(left, 0.5) * 0.99
    by = rng.choice([n for n in (*network.switches, 2, 2, 4) if n != number])
    sides = [_random_side(rng, network), _random_side(rng, network)]
    if rng.random() < 0.7:
        sides[0] = network.flagged(SectionState.NONE, rng.choice(EVENTS), LockState.NONE, clear=True)
    changes = {"sides": tuple(sides), "last_event": rng.choice(EVENTS)}
    if rng.random() < 0.2:
        changes |= _random_changes(rng, network)
    before = with_reflex.situation.views[by].state
    for agent in pair:
        agent.now += after
        agent.hear(by, **changes)
    reflex = _react(with_reflex, by, before)
    both, one = with_reflex.turn(), alone.turn()
    if reflex is not None:
        assert [command.operation for command in reflex.commands] == ["open"]
        assert reflex.fast.trip
        both.orders += [command.operation for command in reflex.commands]
        both.notes += [note.kind for note in reflex.notes]
    assert _what_came_of(both) == _what_came_of(one)
    assert with_reflex.agent.next_deadline == alone.agent.next_deadline
    for _ in range(6):
        play, after = _disturb(rng, network, number), rng.choice((0.001, 0.1, 1.0))
        for agent in pair:
            play(agent)
        both, one = (agent.turn(after) for agent in pair)
        assert _what_came_of(both) == _what_came_of(one)
