"""Widening: where a switch of a faulted section does not open, the section beyond it is isolated too, once."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.isolate import WIDEN_AFTER_S
from ied_agents.dflisr.records import EMPTY_CLAIM, Bound, EventId, LockState, SectionState, Stage
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT


def held(turned, side):
    said = turned.fast.sides[side]
    return said.section, said.section_event, said.lock


NOTHING = (SectionState.NONE, EventId(0, 0), LockState.NONE)


# -- the switch that does not open itself --------------------------------------------------------------------


def declared_2(agent, network, by=3):
    """Section 2 is declared: at side B of L2, side A of R3 and L4."""
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(by, last_event=network.event, sides=(network.flagged(), none), position=Dbpos.OFF)


def test_a_switch_that_fails_to_open_isolates_the_section_on_its_other_side(bench, network):
    agent = bench(2).quiet()
    declared_2(agent, network)
    assert held(agent.turn(), 0) == NOTHING
    turned = agent.turns(0.5)
    assert turned.orders == ["open"] * 2, "three tries with the first"
    assert held(turned, 0) == (SectionState.WIDENED, network.event, LockState.DURABLE)
    assert held(turned, 1) == (SectionState.FAULTED, network.event, LockState.DURABLE)
    assert not turned.fast.breaker_failure


def test_widening_ends_with_the_event(bench, network):
    agent = bench(2).quiet()
    declared_2(agent, network)
    agent.turn()
    agent.turns(0.5)
    agent.open((DARK, DARK))
    agent.agent.unlock(network.event)
    agent.turn()
    turned = agent.turn(after=0.01)
    assert (held(turned, 0), held(turned, 1)) == (NOTHING, NOTHING)


def test_towards_a_source_there_is_no_widening_but_a_breaker_failure(bench, network):
    agent = bench(1).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(network.flagged(), none), position=Dbpos.OFF)
    agent.turn()
    turned = agent.turns(0.5)
    assert turned.fast.breaker_failure
    assert held(turned, 0) == NOTHING
    assert turned.fast.progress == (Stage.STOPPED, Reason.DID_NOT_OPEN, network.event)
    agent.open((LIVE, DARK))
    assert not agent.turn(after=0.05).fast.breaker_failure


# -- the neighbour beyond: Q1 sees that L2 does not open -----------------------------------------------------


@pytest.fixture
def beyond(bench, network):
    """Q1; section 2 is declared by R3, and L2 is still closed."""
    agent = bench(1).quiet()
    declared_2(agent, network)
    agent.turn()
    return agent


def test_a_switch_not_seen_open_in_time_is_isolated_beyond(beyond, network):
    assert beyond.turns(WIDEN_AFTER_S - 0.1).orders == []
    turned = beyond.turns(0.2)
    assert turned.orders == ["open"]
    assert held(turned, 1) == (SectionState.WIDENED, network.event, LockState.DURABLE)
    assert held(turned, 0) == NOTHING


@pytest.mark.parametrize("what", ["silent", "intermediate", "bad quality", "open with a close on its way", "in test"])
def test_whatever_the_reason_that_it_is_not_known_open(beyond, what):
    {
        "silent": lambda: beyond.agent.peer_lost(2, fast=True),
        "intermediate": lambda: beyond.hear(2, position=Dbpos.INTERMEDIATE),
        "bad quality": lambda: beyond.hear(2, position=Dbpos.ON, position_quality=1),
        "open with a close on its way": lambda: beyond.hear(2, position=Dbpos.ON, close_outstanding=True),
        "in test": lambda: beyond.hear(2, behaviour=Behaviour.TEST),
    }[what]()
    turned = beyond.turns(WIDEN_AFTER_S + 0.1)
    assert turned.orders == ["open"]
    assert held(turned, 1)[0] is SectionState.WIDENED


def test_one_that_opens_in_time_is_not_isolated_beyond(beyond):
    beyond.turns(WIDEN_AFTER_S - 0.2)
    beyond.hear(2, position=Dbpos.OFF)
    turned = beyond.turns(3.0)
    assert turned.orders == []
    assert held(turned, 1) == NOTHING


def test_one_that_was_open_when_it_fell_silent_has_not_moved(beyond):
    beyond.hear(2, position=Dbpos.OFF)
    beyond.turn(after=0.01)
    beyond.agent.peer_lost(2, fast=True)
    assert beyond.turns(3.0).orders == []


def test_a_declaration_of_one_in_test_or_silent_widens_nothing(beyond, network):
    beyond.hear(3, behaviour=Behaviour.TEST)
    assert beyond.turns(3.0).orders == []
    beyond.hear(3, behaviour=Behaviour.ON)
    beyond.agent.peer_lost(3, fast=True)
    assert beyond.turns(3.0).orders == []


def test_a_widened_section_does_not_widen_further(bench, network):
    """L4 failed for a fault in section 8; section 2 is widened to, and now L2 does not open either."""
    event = EventId(4, 65)
    agent = bench(1).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(
        3, last_event=event, position=Dbpos.OFF, sides=(network.flagged(SectionState.WIDENED, event=event), none)
    )
    agent.hear(2, last_event=event, sides=(none, network.flagged(SectionState.WIDENED, event=event)))
    turned = agent.turns(5.0)
    assert turned.orders == []
    assert held(turned, 1) == NOTHING


def test_its_own_failure_to_open_for_a_widened_section_does_not_widen_either(bench, network):
    event = EventId(4, 65)
    agent = bench(2).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(
        3, last_event=event, position=Dbpos.OFF, sides=(network.flagged(SectionState.WIDENED, event=event), none)
    )
    agent.turn()
    turned = agent.turns(5.0)
    assert turned.orders == ["open"] * 2
    assert held(turned, 1)[0] is SectionState.WIDENED
    assert held(turned, 0) == NOTHING


def test_a_widened_section_is_neither_claimed_nor_energised(bench, network, dead_section_3):
    widened = network.flagged(SectionState.WIDENED)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent = bench(3).quiet()
    agent.hear(2, pickup=True, pickup_id=1, last_event=network.event, sides=(none, network.flagged()))
    agent.hear(10, sides=(widened, none))
    agent.turn(after=0.01)
    agent.open((DARK, DARK))
    agent.hear(2, pickup=False, position=Dbpos.OFF)
    assert agent.turns(1.0).fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)

    tie = bench(9).quiet()
    claim = dead_section_3(tie)
    tie.turn(after=0.01)
    tie.hear(10, sides=(widened, none))
    tie.hear(3, claims=(EMPTY_CLAIM, claim._replace(grants=(Bound(9, 0),))))
    assert tie.turns(3.0).orders == []
