"""Modes (IEC 61850-7-4, Mod/Beh): who operates, whose data is used by whom, and the shadow of an agent at work."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ied_agents.control.decision import Behaviour, Origin, Reason
from ied_agents.dflisr.records import Answer, AnswerKind, LockState, SectionState
from ied_agents.dflisr.stored import Record
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

IN_OPERATION = {Behaviour.ON, Behaviour.BLOCKED}
IN_TEST = {Behaviour.TEST, Behaviour.TEST_BLOCKED}


def in_mode(bench, number, behaviour, **config):
    return bench(number, Record(held=False, clean=True, behaviour=behaviour), **config).quiet()


def declare(agent, network, **changes):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()), **changes)


def test_a_mode_is_published_durable_and_kept_over_a_restart(bench):
    agent = bench(3).quiet()
    agent.agent.set_mode(Behaviour.BLOCKED)
    turned = agent.turn()
    assert turned.fast.behaviour is Behaviour.BLOCKED
    again = bench(3, replace(turned.records[-1], clean=True))
    assert again.turn().fast.behaviour is Behaviour.BLOCKED


@pytest.mark.parametrize("behaviour", Behaviour)
def test_only_an_agent_that_is_on_operates_its_switch(bench, network, behaviour):
    agent = in_mode(bench, 3, behaviour)
    declare(agent, network)
    turned = agent.turns(2.0)
    assert (turned.orders[:1] == ["open"]) is (behaviour is Behaviour.ON)


@pytest.mark.parametrize(("own", "peer"), list(product(Behaviour, Behaviour)))
def test_whose_declaration_locks_whom(bench, network, own, peer):
    """On and blocked use what on and blocked say; those in test use all but off; off uses nothing."""
    agent = in_mode(bench, 3, own)
    declare(agent, network, behaviour=peer)
    locked = agent.turns(0.2).fast.sides[0].lock is not LockState.NONE
    used = peer in IN_OPERATION if own in IN_OPERATION else own in IN_TEST and peer is not Behaviour.OFF
    assert locked is used


@pytest.mark.parametrize(("number", "by", "side"), [(3, 2, 0), (2, 3, 1)])
@pytest.mark.parametrize("peer", [Behaviour.TEST, Behaviour.ON])
def test_what_was_locked_by_the_word_of_one_in_test_is_free_after_the_test(bench, network, number, by, side, peer):
    agent = in_mode(bench, number, Behaviour.TEST)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    sides = (none, network.flagged()) if by == 2 else (network.flagged(), none)
    agent.hear(by, last_event=network.event, sides=sides, behaviour=peer)
    assert agent.turns(0.2).fast.sides[side].lock is not LockState.NONE
    agent.agent.set_mode(Behaviour.ON)
    turned = agent.turns(0.2)
    assert (turned.fast.sides[side].lock is LockState.NONE) is (peer is Behaviour.TEST)
    assert (turned.orders == []) is (peer is Behaviour.TEST)
    if network.event.switch != number:  # for its own event: see the next test
        assert turned.fast.ready


def test_after_a_test_in_which_it_saw_current_a_person_must_confirm_that_it_was_injected(bench):
    agent = in_mode(bench, 2, Behaviour.TEST)
    agent.pick_up(Direction.FORWARD)
    agent.turn()
    for number in (3, 4):
        agent.answer(number, AnswerKind.NOT_SEEN)
    assert agent.turn(after=0.004).fast.sides[1].section is SectionState.FAULTED
    agent.agent.set_mode(Behaviour.ON)
    turned = agent.turns(0.2)
    assert turned.fast.sides[1].section is SectionState.NONE
    assert not turned.fast.ready
    assert agent.agent.record.held
    agent.agent.confirm()
    assert agent.turns(0.2).fast.ready


@pytest.mark.parametrize(("own", "peer"), list(product(Behaviour, Behaviour)))
def test_whose_answers_count_for_a_declaration(bench, own, peer):
    agent = in_mode(bench, 2, own)
    agent.pick_up(Direction.FORWARD)
    agent.turn()
    for number in (3, 4):
        agent.hear(number, behaviour=peer)
        agent.answer(number, AnswerKind.NOT_SEEN)
    declared = agent.turn(after=0.004).fast.sides[1].section is SectionState.FAULTED
    used = peer in IN_OPERATION if own in IN_OPERATION else own in IN_TEST and peer is not Behaviour.OFF
    assert declared is used


@pytest.mark.parametrize(("own", "peer"), list(product((Behaviour.ON, Behaviour.TEST), Behaviour)))
def test_whom_an_agent_answers(bench, own, peer):
    agent = in_mode(bench, 3, own)
    fault = {"pickup": True, "direction": Direction.FORWARD, "direction_trusted": True, "pickup_id": 5}
    agent.hear(2, behaviour=peer, **fault)
    agent.turn()
    answers = agent.turn(after=0.004).fast.answers
    used = peer in IN_OPERATION if own is Behaviour.ON else peer is not Behaviour.OFF
    assert answers == ((Answer(2, network_incarnation(agent), 5, AnswerKind.NOT_SEEN),) if used else ())


def network_incarnation(agent):
    return agent.peers[2].incarnation


def test_an_agent_that_is_off_says_what_it_sees_and_decides_nothing(bench, network):
    agent = in_mode(bench, 3, Behaviour.OFF)
    agent.pick_up()
    declare(agent, network)
    turned = agent.turns(1.0)
    state = turned.fast
    assert (state.answers, state.claims, state.promises) == ((), agent.agent._claimant.claims(), ((0, 0, 0),) * 2)
    assert turned.orders == []


def test_an_agent_switched_on_again_takes_up_the_locks_of_its_peers(bench, network):
    agent = in_mode(bench, 3, Behaviour.OFF)
    declare(agent, network)
    assert agent.turns(0.5).orders == []
    agent.agent.set_mode(Behaviour.ON)
    turned = agent.turns(0.05)
    assert turned.orders == ["open"]
    assert turned.fast.sides[0].lock is LockState.DURABLE


# -- shadow --------------------------------------------------------------------------------------------------


def _decided(turned):
    """What was decided, told alike of an agent in operation and of its shadow."""
    state = turned.fast._replace(behaviour=Behaviour.ON)
    return state, turned.slow, [kind.replace("would open", "open ordered") for kind in turned.notes], turned.records


def test_a_shadow_decides_what_the_live_agent_decides_and_operates_nothing(bench, network):
    """Told to open, twice in vain, and open at last by the live system's order; unlocked and closed again by hand."""
    live, shadow = agents = [bench(3, shadow=shadow).quiet() for shadow in (False, True)]

    def both(*steps):
        for step in steps:
            one, other = (step(agent) for agent in agents)
            assert _decided(one) == _decided(other)
            assert other.orders == []

    dark = (Voltage.ABSENT, Voltage.ABSENT)
    for agent in agents:
        declare(agent, network)
    both(lambda agent: agent.turn(), lambda agent: agent.turns(0.22))
    for agent in agents:
        agent.open(dark)
    both(lambda agent: agent.turn(), lambda agent: agent.turns(1.0))
    assert shadow.agent.record.sides[0].locked
    for agent in agents:
        agent.agent.unlock(network.event)
        agent.feed(position=Dbpos.ON, voltage=(Voltage.PRESENT, Voltage.PRESENT))
    both(lambda agent: agent.turn(), lambda agent: agent.turns(3.0))
    assert not live.agent.record.locked


def test_a_shadow_says_what_it_would_order_and_is_in_test_to_its_peers(bench, network):
    agent = bench(3, shadow=True).quiet()
    declare(agent, network)
    turned = agent.turn()
    assert (turned.orders, turned.notes.count("would open"), turned.notes.count("open ordered")) == ([], 1, 0)
    assert turned.fast.behaviour is Behaviour.TEST_BLOCKED, "so that nobody in operation relies on it"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (Behaviour.ON, Behaviour.TEST_BLOCKED),
        (Behaviour.BLOCKED, Behaviour.TEST_BLOCKED),
        (Behaviour.TEST, Behaviour.TEST),
        (Behaviour.TEST_BLOCKED, Behaviour.TEST),
        (Behaviour.OFF, Behaviour.OFF),
    ],
)
def test_a_shadow_in_a_mode_never_says_that_it_is_in_operation(bench, own, said):
    assert in_mode(bench, 3, own, shadow=True).turn().fast.behaviour is said


@pytest.mark.parametrize(("own", "peer"), list(product(Behaviour, Behaviour)))
def test_shadows_hear_each_other_as_live_agents_do(bench, network, own, peer):
    """What a peer in ``peer`` says locks a shadow exactly if it locks a live agent."""
    said = in_mode(bench, 2, peer, shadow=True).turn().fast.behaviour
    live, shadow = in_mode(bench, 3, own), in_mode(bench, 3, own, shadow=True)
    declare(live, network, behaviour=peer)
    declare(shadow, network, behaviour=said)
    locked = [agent.turns(0.2).fast.sides[0].lock is not LockState.NONE for agent in (live, shadow)]
    assert locked[0] is locked[1]


def test_a_shadow_takes_over_what_its_like_have_cleared(bench, network):
    agent = bench(3, shadow=True).quiet()
    agent.hear(2, behaviour=Behaviour.TEST_BLOCKED)
    declare(agent, network)
    assert agent.turn().fast.sides[0].section is SectionState.FAULTED
    agent.hear(2, cleared=(network.event,))
    assert agent.turn().fast.sides[0].section is SectionState.NONE


def test_a_shadow_does_not_close_whatever_it_is_granted(bench, dead_section_3):
    live, shadow = (bench(9, shadow=shadow).quiet() for shadow in (False, True))
    for agent in (live, shadow):
        claim = dead_section_3(agent)
        agent.turn(after=0.01)
        agent.hear(3, claims=(agent.peers[3].claims[0], claim._replace(grants=(claim.boundary[0],))))
    turned = shadow.turns(3.0)
    assert (live.turns(3.0).orders, turned.orders) == (["close"], [])
    assert turned.notes.count("would close") == 1


def test_a_shadow_does_not_reclose(bench, network):
    """It notes the trip and the shot where the live agent has them, and leaves the switch alone."""
    orders, notes = [], []
    for shadow in (False, True):
        agent = bench(3, shadow=shadow, shots={3: (0.3,)}).quiet()
        agent.turns(6.0)
        agent.pick_up()
        agent.turn()
        agent.turn(after=0.2)
        agent.open((Voltage.PRESENT, Voltage.ABSENT))
        turned = agent.turns(0.35)
        orders.append(turned.orders)
        notes.append([kind for kind in turned.notes if "reclose" in kind])
    assert orders == [["close"], []]
    assert notes == [["reclose ordered"], ["would reclose"]]


@pytest.mark.parametrize("behaviour", Behaviour)
def test_a_mode_set_at_a_shadow_does_not_make_it_operate(bench, network, behaviour):
    agent = bench(3, shadow=True).quiet()
    agent.agent.set_mode(behaviour)
    declare(agent, network)
    assert agent.turns(1.0).orders == []


@pytest.mark.parametrize("operation", ["open", "close"])
def test_a_shadow_refuses_a_person_who_would_operate(bench, operation):
    agent = bench(3 if operation == "open" else 9, shadow=True).quiet()
    request = agent.agent.request_open if operation == "open" else agent.agent.request_close
    answer = request(Origin.STATION) if operation == "open" else request(Origin.STATION, agent.now)
    assert answer is Reason.MODE
    assert agent.turns(1.0).orders == []
