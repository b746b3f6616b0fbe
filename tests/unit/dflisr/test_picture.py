"""The picture of the network before an event: what every section drew, who fed whom; a second event."""

from __future__ import annotations

import pytest

from ied_agents.dflisr.records import EventId, LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT


def fault(agent, network, event=None, by=2, side=1):
    """Peer ``by`` sees fault current and, 10 ms later, declares the section at its ``side``."""
    event = network.event if event is None else event
    agent.hear(by, pickup=True, pickup_id=agent.peers[by].pickup_id + 1)
    agent.turn(after=0.01)
    sides = [network.flagged(SectionState.NONE, lock=LockState.NONE)] * 2
    sides[side] = network.flagged(event=event)
    agent.hear(by, last_event=event, sides=tuple(sides))
    agent.turn(after=0.01)
    return agent.situation.frozen[event]


def test_a_section_draws_what_flows_in_less_what_flows_out(bench, network):
    frozen = fault(bench(9).quiet(), network)
    assert frozen.loads_a == {1: 10.0, 2: 30.0, 3: 40.0, 4: 60.0, 6: 200.0, 8: 20.0}
    assert frozen.closed == {1, 2, 3, 4, 5, 11}


def test_the_direction_of_the_flow_counts(bench, network):
    """Section 3 is fed from T9, backwards through R3, into section 2."""
    agent = bench(10).quiet()
    agent.hear(9, position=Dbpos.ON)
    agent.hear(2, position=Dbpos.OFF)
    for number, flow in ((9, -100.0), (3, -50.0), (2, 0.0), (5, 160.0), (1, 10.0)):
        agent.load(number, flow_a=flow)
    for _ in range(4):
        agent.feed()
        agent.turn(after=0.4)
    loads = fault(agent, network).loads_a
    assert {section: loads[section] for section in (1, 2, 3, 4, 8)} == {1: 10.0, 2: 30.0, 3: 50.0, 4: 60.0, 8: 20.0}


def test_local_generation_is_load_that_comes_back_without_it(bench, network):
    agent = bench(9).quiet()
    agent.load(3, flow_a=15.0, generation_a=(0.0, 25.0))
    agent.load(2, flow_a=65.0)
    agent.load(1, flow_a=75.0)
    for _ in range(4):
        agent.feed()
        agent.turn(after=0.4)
    frozen = fault(agent, network)
    assert frozen.loads_a[3] == 40.0
    assert frozen.generation_a[3] == 25.0
    assert frozen.loads_a[2] == 30.0


def test_an_event_of_which_the_flag_is_the_first_sign_has_a_picture_too(bench, network):
    """Nobody's pickup was heard, and no voltage is gone yet."""
    agent = bench(9).quiet()
    clear = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(clear, network.flagged()))
    agent.turn()
    assert agent.situation.frozen[network.event].loads_a[3] == 40.0


@pytest.mark.parametrize("what", ["flow of bad quality", "stream lost", "never heard"])
def test_a_section_whose_flows_are_not_all_known_has_no_load(bench, network, what):
    agent = bench(9)
    for number in agent.peers:
        agent.hear(number)
        if not (what == "never heard" and number == 3):
            agent.load(number)
    if what == "flow of bad quality":
        agent.load(3, flow_quality=1)
    elif what == "stream lost":
        agent.agent.peer_lost(3, fast=False)
    for _ in range(4):
        agent.feed()
        agent.turn(after=0.4)
    loads = fault(agent, network).loads_a
    assert 3 not in loads
    assert 2 not in loads
    assert loads[4] == 60.0


def test_what_flows_in_the_last_200_ms_is_not_counted_as_load(bench, network):
    agent = bench(9).quiet()
    agent.load(3, flow_a=2900.0)
    agent.turn(after=0.15)
    assert fault(agent, network).loads_a[3] == 40.0


def test_a_dark_section_keeps_what_it_drew_when_it_was_last_live(bench, network):
    """The first fault darkens section 3; the second comes while it is dark."""
    agent = bench(11).quiet()
    fault(agent, network)
    agent.hear(2, pickup=False, position=Dbpos.OFF, voltage=(DARK, DARK))
    agent.hear(3, position=Dbpos.OFF, voltage=(DARK, DARK))
    agent.hear(4, voltage=(DARK, DARK))
    for number in (2, 3, 4):
        agent.load(number, flow_a=0.0)
    agent.hear(9, voltage=(DARK, LIVE))
    agent.hear(10, voltage=(DARK, LIVE))
    agent.load(5, flow_a=70.0)
    for _ in range(8):
        agent.feed()
        agent.turn(after=0.4)
    second = fault(agent, network, EventId(5, 70), by=5)
    assert second.loads_a[3] == 40.0
    assert second.loads_a[4] == 70.0, "what is live is measured anew"
    assert 3 not in second.closed


def test_each_event_has_the_picture_before_its_own_first_sign(bench, network):
    agent = bench(11).quiet()
    first = fault(agent, network)
    agent.hear(2, pickup=False, position=Dbpos.OFF)
    agent.turn(after=0.5)
    agent.turn(after=2.0)
    second = fault(agent, network, EventId(5, 70), by=5)
    assert 2 in first.closed
    assert 2 not in second.closed
    assert second.at > first.at
    assert agent.situation.frozen[network.event] == first


@pytest.mark.parametrize("closed_between", [False, True])
def test_until_a_switch_closes_a_second_sign_soon_after_belongs_to_the_first_picture(bench, network, closed_between):
    """Openings take nobody's feed over; a tie that has closed does."""
    agent = bench(11).quiet()
    fault(agent, network)
    agent.hear(2, pickup=False, position=Dbpos.OFF)
    if closed_between:
        agent.hear(9, position=Dbpos.ON)
    agent.turn(after=0.7)
    second = fault(agent, network, EventId(5, 70), by=5)
    assert (2 in second.closed) is not closed_between
    assert (9 in second.closed) is closed_between


def test_an_event_of_which_no_pickup_was_heard_belongs_to_the_last_pickup_and_not_to_a_fault_just_before(
    bench, network
):
    """R5 picks up and is heard; the section is declared by another, whose pickup was lost on the way."""
    agent = bench(11).quiet()
    fault(agent, network)
    agent.hear(9, position=Dbpos.ON)
    agent.turn(after=0.1)
    agent.hear(5, pickup=True, pickup_id=agent.peers[5].pickup_id + 1)
    agent.turn(after=0.01)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(3, last_event=EventId(3, 70), sides=(none, network.flagged(event=EventId(3, 70))))
    agent.turn(after=0.01)
    assert 9 in agent.situation.frozen[EventId(3, 70)].closed


def test_a_reclosing_shot_only_brings_back_what_was_there(bench, network):
    agent = bench(11).quiet()
    fault(agent, network)
    agent.hear(2, pickup=False, position=Dbpos.OFF)
    agent.hear(3, position=Dbpos.OFF, reclosing=True)
    agent.turn(after=0.01)
    agent.hear(3, position=Dbpos.ON)
    agent.turn(after=0.7)
    second = fault(agent, network, EventId(5, 70), by=5)
    assert {2, 3} <= second.closed


def test_a_picture_goes_with_its_event(bench, network):
    agent = bench(9).quiet()
    fault(agent, network)
    agent.hear(11, cleared=(network.event,))
    agent.turn(after=0.01)
    agent.turn(after=0.01)
    assert network.event not in agent.situation.frozen


def test_the_agent_is_alert_for_a_while_after_a_sign(bench):
    agent = bench(9).quiet()
    assert not agent.agent.alert(agent.now + 10.0)
    agent.hear(2, pickup=True, pickup_id=1)
    agent.turn(after=0.01)
    assert agent.agent.alert(agent.now + 1.9)
    assert not agent.agent.alert(agent.now + 2.1)


def test_the_own_flow_without_voltage_is_no_load(bench, network):
    agent = bench(3).quiet()
    agent.feed(voltage=(DARK, DARK), flow_a=7.0, current_a=7.0)
    agent.turns(3.0)
    agent.pick_up(Direction.UNKNOWN, trusted=False)
    agent.turn(after=0.3)
    assert fault(agent, network).flow_a is None


def test_what_flows_when_a_process_starts_is_no_load_of_before(bench, network):
    """It comes back after the fault: what it sees is net of generation that its picture does not have."""
    agent = bench(3)
    for number in agent.peers:
        agent.hear(number)
        agent.load(number)
    sides = (network.flagged(SectionState.NONE, lock=LockState.NONE), network.flagged())
    agent.hear(2, last_event=network.event, sides=sides)
    agent.feed(flow_a=10.0, generation_a=(0.0, 32.0))
    agent.turn(after=0.01)
    assert agent.situation.frozen[network.event].flow_a is None
