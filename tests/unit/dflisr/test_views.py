"""What an agent knows, and what of it may be believed."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Reason
from ied_agents.dflisr.records import NO_CLAIM, NO_EVENT, Bound, Claim, ClaimId, Request, SectionState
from ied_agents.dflisr.views import INPUTS_LIFE_S
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage

CLAIM = ClaimId(0, 7, 3)
DARK = (Voltage.ABSENT, Voltage.ABSENT)


def test_between_turns_a_flag_is_what_was_heard_last(situation, network):
    known = situation(3)
    assert known.flag(2) == (SectionState.NONE, NO_EVENT)
    known.views[2].sides = (network.flagged(SectionState.NONE), network.flagged())
    assert known.flag(2) == (SectionState.FAULTED, network.event)


@pytest.fixture
def dead(situation):
    """R3 of the dead sections 2 and 8, which L4 connects; everybody has promised."""
    known = situation(3)
    promises = (CLAIM, CLAIM)
    known.own = known.own._replace(position=Dbpos.OFF, promises=promises, voltage=DARK)
    for number, position in ((2, Dbpos.OFF), (4, Dbpos.ON)):
        view = known.views[number]
        view.state = view.state._replace(position=position, promises=promises, voltage=DARK)
    return known


def asked(*bounds):
    return Claim(CLAIM, NO_EVENT, tuple(Bound(*bound) for bound in bounds), Request(0, 0, 0), ())


def test_an_island_is_isolated_when_all_that_bounds_it_is_open_and_bound_and_all_inside_has_promised(dead):
    assert dead.isolated(dead.island(2), asked((2, 1), (3, 0), (4, 0))) is Reason.NONE


def test_not_while_a_switch_inside_that_was_asked_to_open_is_closed(dead):
    claim = asked((2, 1), (3, 0), (4, 0), (4, 1))
    assert dead.isolated(dead.island(2), claim) is Reason.ISOLATION_NOT_CONFIRMED


@pytest.mark.parametrize("promises", [(NO_CLAIM, CLAIM), (CLAIM, NO_CLAIM)])
def test_not_while_one_inside_has_not_promised_for_both_its_sides(dead, promises):
    dead.views[4].state = dead.views[4].state._replace(promises=promises)
    assert dead.isolated(dead.island(2), asked((2, 1), (3, 0), (4, 0))) is Reason.PEER_SILENT


def test_a_process_that_falls_silent_is_noticed_when_its_last_word_expires(bench):
    agent = bench(3).quiet()
    agent.turn()
    assert agent.situation.inputs_at + INPUTS_LIFE_S < agent.agent.next_deadline
    assert agent.agent.next_deadline <= agent.situation.inputs_at + INPUTS_LIFE_S + 0.01


def test_what_a_tie_could_carry_is_steady_side_by_side(bench):
    """299 A into side A's supply, 339 A into side B's."""
    agent = bench(9).quiet()
    before = agent.turn().slow.spare_a
    assert before == (339.0, 299.0)
    agent.load(5, flow_a=60.5)
    assert agent.turn(after=0.1).slow.spare_a == before
    agent.load(5, flow_a=62.0)
    assert agent.turn(after=0.1).slow.spare_a == (337.0, 299.0)
