"""Splitting an island that no tie can take alone: who opens and holds, and how parts are served one after another.

The fault is in section 1, between Q1 and L2; what L2 fed is dark. Besides the ties of ``conftest`` there is T12:

    A-bus 0 --Q1-- 1 (fault) --L2-- 2 --R3-- 3 --T9-- 4 --Q5-- B-bus
                                    |        +--T10-- 6 --Q11-- C-bus
                                    L4-- 8 -----T12-- 6
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.agent import RELEASE_S
from ied_agents.dflisr.claimant import SPLIT_PATIENCE_S
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    NO_EVENT,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
    EventId,
    LockState,
    Outcome,
    Request,
    Reservation,
    SectionState,
    Stage,
)
from ied_agents.dflisr.stored import Record
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT
ALSO = {12: (False, (8, 6), False, 0.0)}
FAULT = EventId(1, 65)
FIRST, SECOND = ClaimId(0, 1, 2), ClaimId(0, 2, 2)
TIES = (Bound(9, 0), Bound(10, 0), Bound(12, 0))
INSIDE = (Bound(3, 0), Bound(4, 0))


# -- the switch that is asked with both sides: L4 ------------------------------------------------------------


def asks_to_split(agent, network, kind=ClaimKind.RESTORE, claim_id=FIRST):
    """L2 holds section 1 for faulted, is open, and asks the ties and both sides of L4."""
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    claim = Claim(claim_id, FAULT, (*TIES, Bound(4, 0), Bound(4, 1)), Request(0, 0, 0), (), kind)
    agent.hear(
        2,
        position=Dbpos.OFF,
        voltage=(DARK, DARK),
        last_event=FAULT,
        sides=(network.flagged(event=FAULT), none),
        claims=(EMPTY_CLAIM, claim),
    )
    return claim


@pytest.fixture
def inner(bench, network):
    """L4, closed and dark, asked to split."""
    agent = bench(4, also=ALSO).quiet()
    agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
    agent.claim = asks_to_split(agent, network)
    return agent


def test_a_dead_inner_switch_that_is_asked_with_both_sides_opens_and_holds_durably(inner):
    turned = inner.turn(after=0.01)
    assert turned.orders == ["open"]
    assert (turned.fast.held, turned.fast.hold_claim) == (True, FIRST)
    assert turned.records[0].hold_claim == FIRST
    assert turned.records[0].hold_event == FAULT
    inner.open((DARK, DARK))
    turned = inner.turn(after=0.05)
    assert turned.fast.promises == (FIRST, FIRST)
    assert (turned.fast.held, turned.fast.hold_claim) == (True, FIRST)


def test_the_hold_outlives_a_restart_and_ends_when_the_switch_is_closed(inner, bench):
    inner.turn(after=0.01)
    again = bench(4, replace(inner.agent._record, clean=True), also=ALSO)
    again.open((DARK, DARK))
    state = again.turn().fast
    assert (state.held, state.hold_claim) == (True, FIRST)
    again.feed(position=Dbpos.ON)
    turned = again.turn(after=0.1)
    assert (turned.fast.held, turned.fast.hold_claim) == (False, NO_CLAIM)
    assert turned.records[-1].hold_event == NO_EVENT


MAY_NOT_SPLIT = {
    "live on one side": lambda a, n: a.feed(voltage=(LIVE, DARK)),
    "live on both sides": lambda a, n: a.feed(voltage=(LIVE, LIVE)),
    "voltage unknown on one side": lambda a, n: a.feed(voltage=(DARK, Voltage.UNKNOWN)),
    "under fault current": lambda a, n: a.feed(pickup=True, direction=Direction.UNKNOWN),
    "asked with one side only": lambda a, n: a.hear(
        2, claims=(EMPTY_CLAIM, a.claim._replace(boundary=(*TIES, Bound(4, 1))))
    ),
    "asked by a silent switch": lambda a, n: a.agent.peer_lost(2, fast=True),
    "asked by one in test": lambda a, n: a.hear(2, behaviour=Behaviour.TEST),
    "event cleared": lambda a, n: a.hear(11, cleared=(FAULT,)),
    "blocked": lambda a, n: a.agent.set_mode(Behaviour.BLOCKED),
    "in test": lambda a, n: a.agent.set_mode(Behaviour.TEST),
    "to give back what is no tie": lambda a, n: (
        asks_to_split(a, n, ClaimKind.RETURN) and a.feed(voltage=(LIVE, LIVE), flow_a=20.0, current_a=20.0)
    ),
    "more current than it can break": lambda a, n: a.feed(current_a=631.0),
}


@pytest.mark.parametrize("what", MAY_NOT_SPLIT)
def test_it_does_not_open_unless_it_is_dead_and_validly_asked(inner, network, what):
    MAY_NOT_SPLIT[what](inner, network)
    turned = inner.turns(0.5)
    assert turned.orders == []
    assert not turned.fast.held


@pytest.mark.parametrize(
    ("record", "unclean"),
    [(Record(held=True, clean=True), False), (Record(held=False), True)],
    ids=["held", "unproven"],
)
def test_an_agent_that_is_not_ready_does_not_split(bench, network, record, unclean):
    agent = bench(4, record, unclean=unclean, also=ALSO).quiet()
    agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
    asks_to_split(agent, network)
    assert agent.turns(0.5).orders == []


def test_after_a_promise_to_a_higher_claim_it_does_not_open_for_a_lower_one(bench, network):
    higher = ClaimId(0, 9, 2)
    agent = bench(4, Record(held=False, clean=True, promises=(higher, NO_CLAIM)), also=ALSO).quiet()
    agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
    asks_to_split(agent, network)
    assert agent.turns(0.5).orders == []


def test_one_that_does_not_open_says_so_to_the_claimant(inner):
    turned = inner.turns(1.0)
    assert turned.orders == ["open"] * 3
    assert turned.fast.outcome == Outcome(FIRST, 4, Reason.DID_NOT_OPEN)


# -- the claimant: L2 ----------------------------------------------------------------------------------------


def promise(agent, claim_id, *numbers):
    for number in numbers:
        sides = (claim_id, claim_id) if number in (3, 4) else (claim_id, NO_CLAIM)
        voltage = (DARK, DARK) if number in (3, 4) else (DARK, LIVE)
        agent.hear(number, promises=sides, voltage=voltage)


@pytest.fixture
def claimant(bench, network):
    """L2 open at the fault, its claim made; behind Q5 50 A are to spare, behind Q11 60 A.

    Before the fault section 2 drew what flowed in through L2 less what flowed out through R3 and L4: 90 - 40 - 20 A.
    """
    ratings = {5: 60.0 + 1.0 + 50.0, 11: 200.0 + 1.0 + 60.0}
    agent = bench(2, also=ALSO, rating_a=ratings).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(1, pickup=True, pickup_id=1)
    agent.turn(after=0.01)
    agent.hear(1, pickup=False, position=Dbpos.OFF, last_event=FAULT, sides=(none, network.flagged(event=FAULT)))
    assert agent.turn(after=0.05).orders == ["open"]
    for number in (3, 4):
        agent.hear(number, voltage=(DARK, DARK))
        agent.load(number, flow_a=0.0)
    agent.open((DARK, DARK))
    agent.claim = agent.turn(after=0.05).fast.claims[1]
    return agent


def test_sections_draw_what_flowed_in_less_what_flowed_out(claimant):
    loads = claimant.situation.frozen[FAULT].loads_a
    assert {section: loads[section] for section in (2, 3, 8)} == {2: 30.0, 3: 40.0, 8: 20.0}


def split_and_claim_again(claimant):
    assert (claimant.claim.id, claimant.claim.event) == (FIRST, FAULT)
    assert set(claimant.claim.boundary) == {*TIES, *INSIDE}
    promise(claimant, FIRST, 9, 10, 12, 3, 4)
    claimant.turns(SPLIT_PATIENCE_S)
    claimant.claim = claimant.turn(after=0.01).fast.claims[1]
    return claimant.claim


def test_before_it_splits_it_waits_for_others_to_become_able_to_supply(claimant):
    """Of 0.6 s since the campaign began 0.5 are over; then Q11 has room for all 90 A and its 2 A."""
    promise(claimant, FIRST, 9, 10, 12, 3, 4)
    turned = claimant.turns(SPLIT_PATIENCE_S - 0.1)
    assert turned.fast.claims[1].id == FIRST
    assert turned.fast.claims[1].request == Request(0, 0, 0)
    claimant.load(11, flow_a=100.0)
    claim = claimant.turn(after=0.01).fast.claims[1]
    assert claim.id == FIRST
    assert (claim.request.owner, claim.request.tie in (10, 12)) == (11, True)


def test_what_no_tie_can_take_alone_is_claimed_anew_with_both_sides_of_the_switch_that_splits(claimant):
    """90 A fit nowhere. Section 3 (40 A) fits behind Q5, sections 2 and 8 (50 A) behind Q11, no other way."""
    claim = split_and_claim_again(claimant)
    assert claim.id == SECOND
    assert set(claim.boundary) == {*TIES, Bound(3, 0), Bound(3, 1), Bound(4, 0)}
    assert (claim.request, claim.grants) == (Request(0, 0, 0), ())


def reserved(claimant, owner, *made):
    claimant.hear(owner, reservations=tuple(Reservation(SECOND, tie, amount, whole=True) for tie, amount in made))


def test_the_parts_are_reserved_and_granted_one_after_the_other(claimant):
    split_and_claim_again(claimant)
    promise(claimant, SECOND, 9, 10, 12, 4)
    assert claimant.turn(after=0.01).fast.claims[1].request == Request(0, 0, 0), "R3 is not open yet"
    claimant.hear(3, position=Dbpos.OFF)
    promise(claimant, SECOND, 3)
    asked = {}
    for _ in range(4):
        claim = claimant.turn(after=0.01).fast.claims[1]
        asked.setdefault(claim.request.tie, claim.request)
        reserved(claimant, claim.request.owner, (claim.request.tie, claim.request.deciamperes))
    assert asked == {9: Request(9, 5, 410), 12: Request(12, 11, 510)}
    assert set(claim.grants) == {Bound(9, 0), Bound(12, 0)}


def test_nothing_is_granted_while_the_splitting_switch_has_promised_one_side_only(claimant):
    split_and_claim_again(claimant)
    promise(claimant, SECOND, 9, 10, 12, 4)
    claimant.hear(3, position=Dbpos.OFF, promises=(SECOND, NO_CLAIM))
    reserved(claimant, 5, (9, 410))
    reserved(claimant, 11, (12, 510))
    for _ in range(4):
        claim = claimant.turn(after=0.01).fast.claims[1]
        assert (claim.request, claim.grants) == (Request(0, 0, 0), ())


def test_a_switch_that_cannot_split_is_left_whole_and_less_is_served(claimant):
    """Without R3 only L4 can split: sections 2 and 3 together fit nowhere, section 8 fits behind Q11."""
    split_and_claim_again(claimant)
    claimant.hear(3, outcome=Outcome(SECOND, 3, Reason.DID_NOT_OPEN))
    promise(claimant, SECOND, 9, 10, 12, 4)
    claimant.turn(after=0.01)
    claim = claimant.turns(0.3).fast.claims[1]
    assert claim.id == ClaimId(0, 3, 2)
    assert set(claim.boundary) == {*TIES, *INSIDE}
    promise(claimant, claim.id, 9, 10, 12, 3, 4)
    claimant.turn(after=0.01)
    claim = claimant.turn(after=0.01).fast.claims[1]
    assert set(claim.boundary) == {*TIES, Bound(4, 0), Bound(4, 1), Bound(3, 0)}


def test_what_cannot_be_served_is_said(claimant):
    """As before, to the end: section 8 is served, the claimant stops for want of capacity."""
    test_a_switch_that_cannot_split_is_left_whole_and_less_is_served(claimant)
    claim = claimant.situation.own.claims[1]
    claimant.hear(4, position=Dbpos.OFF)
    promise(claimant, claim.id, 3, 4, 9, 10, 12)
    claim = claimant.turn(after=0.01).fast.claims[1]
    assert claim.request == Request(12, 11, 210)
    claimant.hear(11, reservations=(Reservation(claim.id, 12, 210, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(12, 0),)
    claimant.hear(12, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.hear(4, voltage=(DARK, LIVE))
    turned = claimant.turn(after=0.05)
    assert turned.fast.progress == (Stage.STOPPED, Reason.NO_CAPACITY, FAULT)


def test_a_part_refused_after_a_grant_is_claimed_anew_within_what_could_be_had_once_the_first_is_served(claimant):
    """T12 serves sections 2 and 8; for section 3, which draws 40 A, Q5 has only 25 A left for T9."""
    split_and_claim_again(claimant)
    claimant.hear(3, position=Dbpos.OFF, held=True)
    promise(claimant, SECOND, 3, 4, 9, 10, 12)
    claimant.turn(after=0.01)
    reserved(claimant, 11, (12, 510))
    assert claimant.turn(after=0.01).fast.claims[1].request == Request(9, 5, 410)
    claimant.hear(5, outcome=Outcome(SECOND, 9, Reason.NO_CAPACITY, 250))
    claim = claimant.turns(1.0).fast.claims[1]
    assert (claim.id, claim.grants) == (SECOND, (Bound(12, 0),)), "what is granted is awaited first"
    claimant.hear(12, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.hear(4, voltage=(LIVE, LIVE))
    claimant.hear(3, voltage=(LIVE, DARK))
    claimant.feed(voltage=(DARK, LIVE))
    claim = claimant.turns(0.5).fast.claims[1]
    assert (claim.id, set(claim.boundary)) == (ClaimId(0, 3, 2), {Bound(9, 0), Bound(10, 0), Bound(3, 1)})
    promise(claimant, claim.id, 9, 10)
    claimant.hear(3, promises=(NO_CLAIM, claim.id))
    turned = claimant.turns(0.5)
    assert turned.fast.claims[1].request == Request(0, 0, 0)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)
    claimant.load(11, flow_a=100.0)
    assert claimant.turn(after=0.01).fast.claims[1].request == Request(10, 11, 410)


@pytest.fixture
def served_in_part(claimant):
    """T9's supply is dead: T12 serves sections 2 and 8, section 3 is left dark."""
    promise(claimant, FIRST, 3, 4, 10, 12)
    claimant.hear(9, promises=(FIRST, NO_CLAIM), voltage=(DARK, DARK))
    claimant.turns(SPLIT_PATIENCE_S)
    assert claimant.turn(after=0.01).fast.claims[1].id == SECOND
    claimant.hear(3, position=Dbpos.OFF, held=True)
    promise(claimant, SECOND, 3, 4, 10, 12)
    claimant.hear(9, promises=(SECOND, NO_CLAIM))
    claimant.turn(after=0.01)
    reserved(claimant, 11, (12, 510))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(12, 0),)
    claimant.hear(12, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.hear(4, voltage=(LIVE, LIVE))
    claimant.hear(3, voltage=(LIVE, DARK))
    claimant.feed(voltage=(DARK, LIVE))
    turned = claimant.turns(5.0)
    assert turned.fast.claims[1].id == SECOND
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)
    return claimant


def test_what_is_left_dark_is_claimed_once_somebody_can_supply_it_who_could_not_before(served_in_part):
    served_in_part.hear(5, voltage=(LIVE, LIVE))
    served_in_part.hear(9, voltage=(DARK, LIVE))
    claim = served_in_part.turns(0.5).fast.claims[1]
    assert (claim.id, set(claim.boundary)) == (ClaimId(0, 3, 2), {Bound(9, 0), Bound(10, 0), Bound(3, 1)})
    promise(served_in_part, claim.id, 9, 10)
    served_in_part.hear(3, promises=(NO_CLAIM, claim.id))
    assert served_in_part.turn(after=0.01).fast.claims[1].request == Request(9, 5, 410)


NOBODY_MORE_FOR_THE_REST = {
    "it is live already": lambda a, n: a.hear(3, voltage=(LIVE, LIVE)),
    "the switch is held for another split": lambda a, n: a.hear(9, held=True),
    "the switch is locked": lambda a, n: a.hear(9, sides=(n.flagged(SectionState.NONE), n.flagged(SectionState.NONE))),
    "the switch is silent": lambda a, n: a.agent.peer_lost(9, fast=True),
}


@pytest.mark.parametrize("what", NOBODY_MORE_FOR_THE_REST)
def test_but_not_where(served_in_part, network, what):
    served_in_part.hear(5, voltage=(LIVE, LIVE))
    served_in_part.hear(9, voltage=(DARK, LIVE))
    NOBODY_MORE_FOR_THE_REST[what](served_in_part, network)
    assert served_in_part.turns(0.5).fast.claims[1].id == SECOND


@pytest.fixture
def returning(claimant, network):
    """Section 1 is repaired and live, L2 is to return to normal; the 90 A that it fed are dark and promised."""
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    repaired = {"position": Dbpos.ON, "voltage": (LIVE, LIVE), "sides": (none, none)}
    claimant.hear(1, returning=FAULT, cleared=(FAULT,), **repaired)
    claimant.feed(voltage=(LIVE, DARK))
    claimant.claim = claimant.turns(0.5).fast.claims[1]
    assert claimant.claim.kind is ClaimKind.RETURN
    promise(claimant, claimant.claim.id, 3, 4, 9, 10, 12)
    return claimant


def test_a_dark_island_that_returns_to_normal_is_not_split(returning):
    """Q1 has 60 A to spare now, and 90 A once load has gone."""
    returning.load(1, flow_a=339.0)
    assert returning.turns(5.0).fast.claims[1] == returning.claim
    returning.load(1, flow_a=309.0)
    assert returning.turn(after=0.01).fast.claims[1].request == Request(2, 1, 900)


def test_nor_when_its_request_is_refused_the_request_stands(returning):
    claim = returning.turns(RELEASE_S).fast.claims[1]
    assert claim.request == Request(2, 1, 900)
    returning.hear(1, outcome=Outcome(claim.id, 2, Reason.NO_CAPACITY, 500))
    turned = returning.turns(5.0)
    assert turned.fast.claims[1] == claim
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)
    returning.hear(1, reservations=(Reservation(claim.id, 2, 900, whole=True),))
    assert returning.turn(after=0.01).fast.claims[1].grants == (Bound(2, 1),)


def test_the_section_of_higher_priority_is_served_first(bench, network):
    """Only behind Q11 there are 45 A to spare: the 40 A of section 3, or 30 A of section 2, or 20 A of section 8."""
    served = {}
    for priority in ({}, {8: 5}):
        agent = bench(2, also=ALSO, rating_a={5: 61.0, 11: 246.0}, priority=priority).quiet()
        none = network.flagged(SectionState.NONE, lock=LockState.NONE)
        agent.hear(1, pickup=True, pickup_id=1)
        agent.turn(after=0.01)
        agent.hear(1, pickup=False, position=Dbpos.OFF, last_event=FAULT, sides=(none, network.flagged(event=FAULT)))
        agent.turn(after=0.05)
        agent.open((DARK, DARK))
        for number in (3, 4):
            agent.hear(number, voltage=(DARK, DARK))
        agent.turn(after=0.05)
        promise(agent, FIRST, 9, 10, 12, 3, 4)
        agent.turns(SPLIT_PATIENCE_S)
        parts = agent.agent._claimant._campaigns[1].parts
        served[bool(priority)] = [sorted(part.sections) for part in parts]
    assert served == {False: [[3]], True: [[8]]}


# -- the guard of a close into an island with switches inside: T12 takes all of it ----------------------------


@pytest.fixture
def granted(bench, network):
    """T12 has promised; L2 grants it; R3 and L4 inside are closed and have promised, T9 and T10 are open."""
    agent = bench(12, also=ALSO).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    claim = Claim(FIRST, FAULT, (*TIES, *INSIDE), Request(12, 11, 900), ())
    agent.hear(1, position=Dbpos.OFF, last_event=FAULT, sides=(none, network.flagged(event=FAULT)))
    agent.hear(
        2,
        position=Dbpos.OFF,
        voltage=(DARK, DARK),
        last_event=FAULT,
        sides=(network.flagged(event=FAULT), none),
        claims=(EMPTY_CLAIM, claim),
    )
    promise(agent, FIRST, 3, 4, 9, 10)
    agent.hear(11, reservations=(Reservation(FIRST, 12, 900, whole=True),))
    agent.feed(voltage=(DARK, LIVE))
    assert agent.turn(after=0.01).fast.promises == (FIRST, NO_CLAIM)
    agent.hear(2, claims=(EMPTY_CLAIM, claim._replace(grants=(Bound(12, 0),))))
    return agent


def test_with_everything_inside_known_it_closes(granted):
    assert granted.turn(after=0.01).orders == ["close"]


INSIDE_MISSING = {
    "one inside silent": lambda a: a.agent.peer_lost(3, fast=True),
    "one inside has not promised": lambda a: a.hear(3, promises=(NO_CLAIM, NO_CLAIM)),
    "one inside promised a higher claim": lambda a: a.hear(3, promises=(ClaimId(0, 9, 4), NO_CLAIM)),
    "one inside has opened and promised a higher claim": lambda a: a.hear(
        3, position=Dbpos.OFF, promises=(ClaimId(0, 9, 4), ClaimId(0, 9, 4))
    ),
    "position of one inside not known": lambda a: a.hear(3, position=Dbpos.INTERMEDIATE),
    "voltage on one inside": lambda a: a.hear(4, voltage=(DARK, LIVE)),
    "fault current through one inside": lambda a: a.hear(4, pickup=True),
    "section behind one inside flagged": lambda a: a.hear(4, sides=(a.peers[4].sides[0], a.peers[2].sides[0])),
}


@pytest.mark.parametrize("what", INSIDE_MISSING)
def test_it_does_not_close_while_one_inside_is_not_known_closed_dead_and_bound(granted, what):
    INSIDE_MISSING[what](granted)
    turned = granted.turns(2.5)
    assert turned.orders == []
    assert turned.fast.outcome.claim == FIRST
