"""Restoring: claims, promises, grants, and the guard of every close (design section 4, step 3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LockState,
    Outcome,
    Request,
    Reservation,
    SectionState,
    SideState,
    Stage,
)
from ied_agents.dflisr.stored import Record
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT


# -- promises: T9 is asked by R3 -----------------------------------------------------------------------------


@pytest.fixture
def tie(bench, dead_section_3):
    agent = bench(9).quiet()
    agent.claim = dead_section_3(agent)
    return agent


def test_an_open_switch_promises_to_the_claim_that_asks_it(tie):
    turned = tie.turn(after=0.01)
    assert turned.fast.promises == (tie.claim.id, NO_CLAIM)
    assert turned.orders == []


def test_a_promise_is_published_only_when_it_is_durable(tie):
    tie.disk_works = False
    turned = tie.turn(after=0.01)
    assert turned.fast.promises == (NO_CLAIM, NO_CLAIM)
    assert turned.records[-1].promises == (tie.claim.id, NO_CLAIM)
    tie.disk_works = True
    assert tie.turn(after=0.01).fast.promises == (tie.claim.id, NO_CLAIM)


@pytest.mark.parametrize(
    "changes",
    [
        {"position": Dbpos.ON},
        {"position": Dbpos.INTERMEDIATE},
        {"position": Dbpos.BAD},
        {"position_valid": False},
    ],
    ids=str,
)
def test_a_switch_that_is_not_known_to_be_open_does_not_promise(tie, changes):
    tie.feed(**changes)
    assert tie.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)


def test_after_a_start_a_close_is_assumed_outstanding_for_its_longest_operating_time(bench, dead_section_3):
    agent = bench(9)
    for number in agent.peers:
        agent.hear(number)
    agent.feed()
    claim = dead_section_3(agent)
    early = agent.turn(after=0.049)
    assert early.fast.close_outstanding
    assert early.fast.promises == (NO_CLAIM, NO_CLAIM)
    silent = agent.turn(after=0.002)
    assert silent.fast.close_outstanding, "a process that says nothing may still have the order before it"
    agent.feed()
    late = agent.turn(after=0.002)
    assert not late.fast.close_outstanding
    assert late.fast.promises == (claim.id, NO_CLAIM)


@pytest.mark.parametrize(
    ("record", "unclean"),
    [(Record(held=True, clean=True), False), (Record(held=False), True)],
    ids=["held", "unproven"],
)
def test_a_held_or_unproven_agent_does_not_promise(bench, dead_section_3, record, unclean):
    agent = bench(9, record, unclean=unclean).quiet()
    dead_section_3(agent)
    assert agent.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)


def test_a_lower_claim_is_not_promised_after_a_higher_one(tie):
    tie.turn(after=0.01)
    lower = tie.claim._replace(id=ClaimId(0, 6, 3))
    tie.hear(3, claims=(EMPTY_CLAIM, lower))
    assert tie.turn(after=0.01).fast.promises == (tie.claim.id, NO_CLAIM)


@pytest.mark.parametrize("higher", [ClaimId(0, 8, 1), ClaimId(0, 7, 4), ClaimId(1, 1, 1)], ids=str)
def test_a_higher_claim_replaces_a_promise(tie, higher):
    tie.turn(after=0.01)
    tie.hear(1, claims=(EMPTY_CLAIM, tie.claim._replace(id=higher)), last_event=tie.claim.event)
    assert tie.turn(after=0.01).fast.promises == (higher, NO_CLAIM)


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "in test"])
def test_a_claim_of_a_lost_peer_or_one_in_test_is_not_promised(tie, lost):
    if lost:
        tie.agent.peer_lost(3, fast=True)
    else:
        tie.hear(3, behaviour=Behaviour.TEST)
    assert tie.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)


def test_a_claim_on_a_cleared_event_is_not_promised(tie):
    tie.hear(11, cleared=(tie.claim.event,))
    assert tie.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)


def test_a_claim_that_does_not_ask_this_switch_is_not_promised(tie):
    tie.hear(3, claims=(EMPTY_CLAIM, tie.claim._replace(boundary=(Bound(10, 0),))))
    assert tie.turn(after=0.01).fast.promises == (NO_CLAIM, NO_CLAIM)


# -- the guard of a close: T9 holds a grant; each line takes away one condition ------------------------------


@pytest.fixture
def promised(tie):
    tie.turn(after=0.01)
    assert tie.situation.own.promises == (tie.claim.id, NO_CLAIM)
    return tie


def grant(agent):
    agent.hear(3, claims=(EMPTY_CLAIM, agent.claim._replace(grants=(Bound(9, 0),))))


def test_a_grant_with_every_condition_met_closes_once(promised):
    grant(promised)
    turned = promised.turn(after=0.01)
    assert turned.orders == ["close"]
    assert turned.fast.close_outstanding
    assert promised.turns(1.0).orders == []


def flag_3(agent, state):
    event = agent.claim.event
    side = SideState(state, event, LockState.DURABLE, event, False, EventId(0, 0))
    agent.hear(3, sides=(agent.peers[3].sides[0], side))


def flag_supply(agent, at):
    """Q5 holds the section at one of its sides for faulted; side B is next to T9."""
    event, none = EventId(1, 65), EventId(0, 0)
    sides = list(agent.peers[5].sides)
    sides[at] = SideState(SectionState.FAULTED, event, LockState.NONE, none, False, none)
    agent.hear(5, sides=tuple(sides))


def ask_for_10(agent):
    claim = agent.claim._replace(grants=(Bound(9, 0),), request=Request(10, 5, 400))
    agent.hear(3, claims=(EMPTY_CLAIM, claim))
    reserve(agent, Reservation(claim.id, 10, 400))


def reserve(agent, *reservations):
    agent.hear(5, reservations=reservations)


def lose(number):
    return lambda a: a.agent.peer_lost(number, fast=True)


def hears(number, **changes):
    return lambda a: a.hear(number, **changes)


def feeds(**changes):
    return lambda a: a.feed(**changes)


OTHER = ClaimId(0, 8, 3)
C = ClaimId(0, 7, 3)
# what is missing: how it is taken away, and the reason published once patience is over (None: none)
MISSING = {
    "section of the island faulted": (lambda a: flag_3(a, SectionState.FAULTED), Reason.LOCKED),
    "section of the island suspect": (lambda a: flag_3(a, SectionState.SUSPECT), Reason.LOCKED),
    "section of the supply faulted": (lambda a: flag_supply(a, 1), Reason.LOCKED),
    "section farther up the supply faulted": (lambda a: flag_supply(a, 0), Reason.LOCKED),
    "request and reservation for another tie": (ask_for_10, Reason.NO_CAPACITY),
    "boundary closed": (hears(3, position=Dbpos.ON), Reason.LOCKED),
    "boundary in between": (hears(3, position=Dbpos.INTERMEDIATE), Reason.LOCKED),
    "boundary open with bad quality": (hears(3, position_quality=1), Reason.LOCKED),
    "boundary with a close on its way": (hears(3, close_outstanding=True), Reason.LOCKED),
    "boundary open before the event": (hears(3, last_event=EventId(2, 64)), Reason.LOCKED),
    "other tie of the boundary closed": (hears(10, position=Dbpos.ON), Reason.ISLAND_NOT_DEAD),
    "other tie of the boundary silent": (lose(10), Reason.ISLAND_NOT_DEAD),
    "other tie of the boundary in test": (hears(10, behaviour=Behaviour.TEST), Reason.ISLAND_NOT_DEAD),
    "other tie has not promised": (hears(10, promises=(NO_CLAIM, NO_CLAIM)), Reason.PEER_SILENT),
    "other tie promised a higher claim": (hears(10, promises=(OTHER, NO_CLAIM)), Reason.PEER_SILENT),
    "other tie promised for its other side": (hears(10, promises=(NO_CLAIM, C)), Reason.PEER_SILENT),
    "voltage present on one sensor": (hears(10, voltage=(LIVE, LIVE)), Reason.ISLAND_NOT_DEAD),
    "fault current at the boundary": (hears(10, pickup=True), Reason.ISLAND_NOT_DEAD),
    "voltage of the own dead side present": (feeds(voltage=(LIVE, LIVE)), Reason.ISLAND_NOT_DEAD),
    "supply without voltage": (feeds(voltage=(DARK, DARK)), Reason.SUPPLY_NOT_LIVE),
    "supply of unknown voltage": (feeds(voltage=(DARK, Voltage.UNKNOWN)), Reason.SUPPLY_NOT_LIVE),
    "supply cut from its source": (hears(5, position=Dbpos.OFF), Reason.SUPPLY_NOT_LIVE),
    "reservation missing": (reserve, Reason.NO_CAPACITY),
    "reservation too small": (lambda a: reserve(a, Reservation(C, 9, 399)), Reason.NO_CAPACITY),
    "reservation of another claim": (lambda a: reserve(a, Reservation(OTHER, 9, 400)), Reason.NO_CAPACITY),
    "reservation for another tie": (lambda a: reserve(a, Reservation(C, 10, 400)), Reason.NO_CAPACITY),
    "owner of the capacity silent": (lose(5), Reason.SUPPLY_NOT_LIVE),
    "owner of the capacity in test": (hears(5, behaviour=Behaviour.TEST), Reason.SUPPLY_NOT_LIVE),
    "own pickup": (
        feeds(pickup=True, direction=Direction.UNKNOWN, current_a=3000.0),
        Reason.ISLAND_NOT_DEAD,
    ),
    "tagged": (lambda a: a.agent.tag(1), Reason.TAGGED),
    "hot-line tag": (lambda a: a.agent.tag(2), Reason.TAGGED),
    "position of bad quality": (feeds(position_valid=False), None),
    "claimant silent": (lose(3), None),
    "claimant in test": (hears(3, behaviour=Behaviour.TEST), None),
    "event cleared by a peer": (hears(11, cleared=(EventId(2, 65),)), None),
    "promised to a higher claim": (
        hears(1, claims=(EMPTY_CLAIM, Claim(OTHER, EventId(2, 65), (Bound(9, 0),), Request(0, 0, 0), ()))),
        None,
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_a_grant_does_not_close_while_one_condition_is_missing(promised, what):
    take_away, reason = MISSING[what]
    grant(promised)
    take_away(promised)
    assert promised.turn(after=0.01).orders == []
    turned = promised.turns(2.5)
    assert turned.orders == []
    if reason is not None:
        assert turned.fast.outcome == Outcome(promised.claim.id, 9, reason)


def test_a_condition_that_comes_within_patience_still_closes(promised):
    reserve(promised)
    grant(promised)
    assert promised.turn(after=0.5).orders == []
    reserve(promised, Reservation(C, 9, 400))
    promised.feed()
    assert promised.turn(after=0.5).orders == ["close"]


def test_a_refused_attempt_is_spent_even_if_the_condition_comes_later(promised):
    reserve(promised)
    grant(promised)
    promised.turns(2.5)
    reserve(promised, Reservation(C, 9, 400))
    assert promised.turns(1.0).orders == []


def test_voltage_that_is_unknown_everywhere_does_not_count_as_absent(promised):
    unknown = (Voltage.UNKNOWN, Voltage.UNKNOWN)
    promised.hear(3, voltage=unknown)
    promised.hear(10, voltage=(Voltage.UNKNOWN, LIVE))
    promised.feed(voltage=(Voltage.UNKNOWN, LIVE))
    grant(promised)
    turned = promised.turns(2.5)
    assert turned.orders == []
    assert turned.fast.outcome.reason is Reason.ISLAND_NOT_DEAD


def test_one_sensor_that_says_absent_is_enough_among_unknown_ones(promised):
    promised.hear(3, voltage=(Voltage.UNKNOWN, Voltage.UNKNOWN))
    promised.hear(10, voltage=(DARK, LIVE))
    promised.feed(voltage=(Voltage.UNKNOWN, LIVE))
    grant(promised)
    assert promised.turn(after=0.01).orders == ["close"]


def test_inputs_that_are_too_old_close_nothing(promised):
    grant(promised)
    assert promised.turn(after=3.2).orders == []


def test_a_promise_that_is_not_durable_closes_nothing(tie):
    tie.disk_works = False
    tie.turn(after=0.01)
    grant(tie)
    assert tie.turns(0.5).orders == []
    tie.disk_works = True
    assert tie.turn(after=0.01).orders == ["close"]


def test_a_promise_of_an_earlier_incarnation_closes_nothing(bench, dead_section_3):
    agent = bench(9, Record(held=False, clean=True, promises=(C, NO_CLAIM))).quiet()
    agent.claim = dead_section_3(agent)
    assert agent.turn(after=0.01).fast.promises == (C, NO_CLAIM)
    grant(agent)
    assert agent.turns(2.5).orders == []


def test_a_grant_for_the_other_side_or_another_switch_closes_nothing(promised):
    for grants in [(Bound(9, 1),), (Bound(10, 0),)]:
        promised.hear(3, claims=(EMPTY_CLAIM, promised.claim._replace(grants=grants)))
        assert promised.turns(0.5).orders == []


def test_a_close_on_its_way_is_not_followed_by_another_under_a_higher_claim(promised):
    grant(promised)
    assert promised.turn(after=0.01).orders == ["close"]
    higher = promised.claim._replace(id=OTHER, grants=(Bound(9, 0),))
    promised.hear(3, claims=(EMPTY_CLAIM, higher))
    promised.hear(10, promises=(OTHER, NO_CLAIM))
    reserve(promised, Reservation(OTHER, 9, 400))
    turned = promised.turn(after=0.02)
    assert turned.orders == []
    assert turned.fast.promises == (C, NO_CLAIM)
    # Only when the first has failed for good does it promise and obey the higher one.
    assert promised.turns(0.3).orders == ["close"]


def test_a_close_without_effect_is_published_as_failed_and_not_repeated(promised):
    grant(promised)
    promised.turn(after=0.01)
    turned = promised.turns(1.0)
    assert turned.orders == []
    assert not turned.fast.close_outstanding
    assert turned.fast.outcome == Outcome(C, 9, Reason.DID_NOT_CLOSE)


def test_a_close_that_succeeded_is_published_as_such(promised):
    grant(promised)
    promised.turn(after=0.01)
    promised.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
    turned = promised.turn(after=0.04)
    assert "closed" in turned.notes
    assert not turned.fast.close_outstanding
    assert turned.fast.outcome.reason is Reason.NONE


# -- the claimant: R3 bounds the fault in section 2, and through it flowed the load of section 3 -------------


@pytest.fixture
def claimant(bench, network):
    """R3 after the declaration of section 2: open, its island dark, its claim made, nobody has promised."""
    agent = bench(3).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    for number in (9, 10):
        agent.load(number, spare_a=(300.0, 0.0) if number == 9 else (100.0, 0.0))
    assert agent.turn(after=0.01).orders == ["open"]
    agent.open((DARK, DARK))
    agent.hear(2, position=Dbpos.OFF)
    turned = agent.turn(after=0.05)
    agent.claim = turned.fast.claims[1]
    return agent


def promise(agent, number, claim_id=None, **changes):
    given = (agent.claim.id if claim_id is None else claim_id, NO_CLAIM)
    agent.hear(number, promises=given, last_event=agent.claim.event, voltage=(DARK, LIVE), **changes)


def asks_of(turned):
    return turned.fast.claims[1].request


def test_the_switch_through_which_the_load_flowed_claims_and_asks_every_other_switch(claimant, network):
    assert claimant.claim == Claim(ClaimId(0, 1, 3), network.event, (Bound(9, 0), Bound(10, 0)), Request(0, 0, 0), ())


def test_a_claim_is_published_only_when_it_is_durable(bench, network):
    agent = bench(3).quiet()
    agent.disk_works = False
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    assert agent.turn(after=0.01).fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)
    agent.disk_works = True
    assert agent.turn(after=0.01).fast.claims[1].id == ClaimId(0, 1, 3)


@pytest.mark.parametrize("number", [2, 4, 5, 9, 10, 11])
def test_no_other_switch_claims(bench, network, number):
    agent = bench(number).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(3, last_event=network.event, sides=(network.flagged(), none), position=Dbpos.OFF)
    for peer in (2, 4):
        if peer != number:
            sides = (none, network.flagged()) if peer == 2 else (network.flagged(), none)
            agent.hear(peer, last_event=network.event, sides=sides, position=Dbpos.OFF)
    agent.turn(after=0.01)
    if number in (2, 4):
        agent.open((DARK, DARK))
    assert agent.turns(1.0).fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)


@pytest.mark.parametrize(("seen", "own"), [(41, 0), (0, 41), (41, 17), (17, 41)])
def test_a_claim_is_numbered_above_every_one_seen_and_used(bench, network, seen, own):
    agent = bench(3, Record(held=False, clean=True, claim_number=own)).quiet()
    agent.hear(11, promises=(ClaimId(0, seen, 1), NO_CLAIM))
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turn(after=0.01)
    assert turned.fast.claims[1].id == ClaimId(0, 42, 3)
    assert turned.records[-1].claim_number == 42


def test_capacity_is_asked_only_after_all_have_promised(claimant):
    assert asks_of(claimant.turn(after=0.01)) == Request(0, 0, 0)
    promise(claimant, 9)
    assert asks_of(claimant.turn(after=0.01)) == Request(0, 0, 0)
    promise(claimant, 10)
    # the tie with more to spare; its head owns the capacity; 40 A flowed in before the fault
    assert asks_of(claimant.turn(after=0.01)) == Request(9, 5, 400)


def test_a_durably_locked_switch_need_not_promise(claimant, network):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    other = EventId(11, 70)
    promise(claimant, 9)
    claimant.hear(
        10,
        last_event=claimant.claim.event,
        voltage=(DARK, LIVE),
        sides=(none, network.flagged(event=other, lock=LockState.VOLATILE)),
    )
    assert asks_of(claimant.turn(after=0.01)) == Request(0, 0, 0)
    claimant.hear(10, sides=(none, network.flagged(event=other)))
    assert asks_of(claimant.turn(after=0.01)) == Request(9, 5, 400)


def test_the_load_is_the_last_one_200_ms_before_the_fault_times_the_pickup_factor(bench, network):
    agent = bench(3, pickup_factor=1.5).quiet()
    agent.feed(flow_a=2900.0)  # already fault current
    agent.turn(after=0.1)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    agent.turn(after=0.05)
    agent.open((DARK, DARK))
    agent.hear(2, position=Dbpos.OFF)
    agent.claim = agent.turn(after=0.05).fast.claims[1]
    for number in (9, 10):
        agent.load(number, spare_a=(300.0, 0.0))
        promise(agent, number)
    assert asks_of(agent.turn(after=0.01)).deciamperes == 600


def all_promised(agent):
    promise(agent, 9)
    promise(agent, 10)
    return agent.turn(after=0.01)


WITHHOLDS = {
    "one silent": lambda a: a.agent.peer_lost(10, fast=True),
    "one has not seen the event": lambda a: promise(a, 10) or a.hear(10, last_event=EventId(0, 0)),
    "one promised a higher claim": lambda a: promise(a, 10, ClaimId(0, 2, 1)),
    "one promised a lower claim": lambda a: promise(a, 10, ClaimId(0, 1, 2)),
    "one is not open": lambda a: promise(a, 10, position=Dbpos.INTERMEDIATE),
    "one has a close on its way": lambda a: promise(a, 10, close_outstanding=True),
    "voltage present": lambda a: promise(a, 10) or a.hear(10, voltage=(LIVE, LIVE)),
    "island flagged": lambda a: (
        promise(a, 10) or a.hear(10, sides=(a.peers[2].sides[1]._replace(lock=LockState.NONE), a.peers[2].sides[0]))
    ),
    "claimant not open": lambda a: promise(a, 10) or a.feed(position=Dbpos.INTERMEDIATE),
}


@pytest.mark.parametrize("what", WITHHOLDS)
def test_nothing_is_asked_or_granted_while_the_island_is_not_dead_and_bound(claimant, what):
    reservation = Reservation(claimant.claim.id, 9, 400)
    claimant.hear(5, reservations=(reservation,))
    promise(claimant, 9)
    WITHHOLDS[what](claimant)
    for _ in range(3):
        claim = claimant.turn(after=0.01).fast.claims[1]
        assert claim.request == Request(0, 0, 0)
        assert claim.grants == ()


def test_a_grant_follows_the_reservation_and_names_the_tie(claimant):
    all_promised(claimant)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 399),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(9, 0),)


def test_no_grant_on_the_word_of_an_owner_that_fell_silent(claimant):
    all_promised(claimant)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400),))
    claimant.agent.peer_lost(5, fast=True)
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()


def test_no_grant_if_a_promise_was_withdrawn_before_the_reservation_came(claimant):
    all_promised(claimant)
    promise(claimant, 10, ClaimId(0, 2, 1))
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()


def refuse(agent, owner, tie, reason=Reason.NO_CAPACITY):
    agent.hear(owner, outcome=Outcome(agent.claim.id, tie, reason))


def test_after_a_refusal_of_capacity_the_next_tie_is_asked_and_then_none_is_left(claimant):
    all_promised(claimant)
    refuse(claimant, 5, 9)
    assert asks_of(claimant.turn(after=0.01)) == Request(10, 11, 400)
    refuse(claimant, 11, 10)
    turned = claimant.turn(after=0.01)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)
    assert turned.fast.claims[1].grants == ()


def test_a_refusal_of_another_claim_or_tie_is_not_ours(claimant):
    all_promised(claimant)
    claimant.hear(5, outcome=Outcome(ClaimId(0, 1, 1), 9, Reason.NO_CAPACITY))
    assert asks_of(claimant.turn(after=0.01)).tie == 9
    refuse(claimant, 5, 10)
    assert asks_of(claimant.turn(after=0.01)).tie == 9


def test_ties_without_enough_to_spare_are_not_asked(claimant):
    claimant.load(9, spare_a=(39.9, 300.0))
    claimant.load(10, spare_a=(40.0, 0.0))
    assert asks_of(all_promised(claimant)) == Request(10, 11, 400)


def test_where_nobody_can_spare_enough_the_agent_stops_and_says_so(claimant):
    claimant.load(9, spare_a=(39.9, 0.0))
    claimant.agent.peer_lost(10, fast=False)  # its 100 A are too old to count
    turned = all_promised(claimant)
    assert asks_of(turned) == Request(0, 0, 0)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)


def granted(agent):
    all_promised(agent)
    agent.hear(5, reservations=(Reservation(agent.claim.id, 9, 400),))
    turned = agent.turn(after=0.01)
    assert turned.fast.claims[1].grants == (Bound(9, 0),)


def test_after_a_refused_close_the_claimant_claims_anew_and_asks_another_tie(claimant):
    granted(claimant)
    refuse(claimant, 9, 9, Reason.SUPPLY_NOT_LIVE)
    claimant.turn(after=0.01)
    turned = claimant.turns(0.3)
    claimant.claim = claim = turned.fast.claims[1]
    assert claim.id == ClaimId(0, 2, 3)
    assert (claim.request, claim.grants) == (Request(0, 0, 0), ())
    assert set(claim.boundary) == {Bound(9, 0), Bound(10, 0)}  # all must promise anew
    assert asks_of(all_promised(claimant)) == Request(10, 11, 400)


def test_claims_on_one_event_are_bounded(claimant):
    for _ in range(60):
        if claimant.claim.grants:
            refuse(claimant, 9, 9)
        else:
            all_promised(claimant)
            claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400),))
        claimant.claim = claimant.turns(0.2).fast.claims[1]
        claimant.agent._restorer._campaigns[1].excluded.clear()
    assert claimant.claim.id.number <= 16


def test_when_the_island_lives_again_the_claimant_is_finished(claimant):
    granted(claimant)
    claimant.hear(9, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.feed(voltage=(DARK, LIVE))
    turned = claimant.turn(after=0.05)
    assert turned.fast.progress[:2] == (Stage.FINISHED, Reason.NONE)
    assert turned.orders == []


def test_a_silent_peer_stops_the_claimant_after_its_patience_and_says_why(claimant):
    promise(claimant, 9)
    turned = claimant.turns(2.5)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.PEER_SILENT)
    # and it goes on as soon as the peer answers
    promise(claimant, 10)
    claimant.load(9, spare_a=(300.0, 0.0))
    assert asks_of(claimant.turn(after=0.01)) == Request(9, 5, 400)


def test_a_held_agent_does_not_claim(bench, network):
    agent = bench(3, Record(held=True, clean=True)).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turn(after=0.01)
    assert turned.orders == ["open"]  # opening is the safe direction
    assert turned.fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)


# -- the breaker that cleared: Q1 tripped for L2 and restores the sections between them ----------------------


@pytest.fixture
def clearing(bench, network):
    agent = bench(1).quiet()
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    agent.hear(2, last_event=network.event, sides=(wants, network.flagged()))
    assert agent.turn(after=0.01).orders == ["open"]
    agent.open((LIVE, DARK))
    agent.hear(2, position=Dbpos.OFF, voltage=(DARK, DARK))
    return agent


def test_the_breaker_that_cleared_grants_itself_and_closes_when_the_island_is_isolated(clearing, network):
    turned = clearing.turn(after=0.05)
    turned.orders += clearing.turn(after=0.001).orders
    claim = clearing.situation.own.claims[1]
    assert claim.id == ClaimId(0, 1, 1)
    assert claim.grants == (Bound(1, 1),)
    assert turned.orders == ["close"]
    assert [side.lock for side in turned.fast.sides] == [LockState.NONE] * 2


NOT_YET = {
    "load-break switch not open": hears(2, position=Dbpos.ON),
    "load-break switch in between": hears(2, position=Dbpos.INTERMEDIATE),
    "load-break switch silent": lose(2),
    "its lock is not durable": lambda a: a.hear(
        2, sides=(a.peers[2].sides[0], a.peers[2].sides[1]._replace(lock=LockState.VOLATILE))
    ),
    "busbar without voltage": feeds(voltage=(DARK, DARK)),
    "busbar voltage unknown": feeds(voltage=(Voltage.UNKNOWN, DARK)),
    "island alive": feeds(voltage=(LIVE, LIVE)),
    "tagged": lambda a: a.agent.tag(1),
    "own position unknown": feeds(position_valid=False),
}


@pytest.mark.parametrize("what", NOT_YET)
def test_the_breaker_that_cleared_does_not_close_while_one_condition_is_missing(clearing, what):
    NOT_YET[what](clearing)
    assert "close" not in clearing.turns(2.5).orders


def test_a_breaker_that_did_not_clear_does_not_claim(bench, network):
    agent = bench(1).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turns(1.0)
    assert turned.orders == []
    assert turned.fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)


def test_an_own_claim_does_not_replace_a_promise_to_a_higher_authority(bench, network):
    higher = ClaimId(1, 1, 40)
    agent = bench(1, Record(held=False, clean=True, promises=(NO_CLAIM, higher))).quiet()
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    agent.hear(2, last_event=network.event, sides=(wants, network.flagged()))
    agent.turn(after=0.01)
    agent.open((LIVE, DARK))
    agent.hear(2, position=Dbpos.OFF, voltage=(DARK, DARK))
    turned = agent.turns(1.0)
    assert turned.fast.promises[1] == higher
    assert turned.orders == []


# -- the owner of capacity: Q5, head of the feeder behind T9 -------------------------------------------------


@pytest.fixture
def owner(bench, dead_section_3):
    agent = bench(5).quiet()
    agent.claim = Claim(C, EventId(2, 65), (Bound(9, 0), Bound(10, 0)), Request(9, 5, 400), ())
    agent.hear(3, claims=(EMPTY_CLAIM, agent.claim), last_event=EventId(2, 65))
    return agent


def test_an_owner_publishes_a_reservation_only_when_it_is_durable(owner):
    owner.disk_works = False
    turned = owner.turn(after=0.01)
    assert turned.fast.reservations == ()
    assert [entry.reservation for entry in turned.records[-1].reservations] == [Reservation(C, 9, 400)]
    owner.disk_works = True
    assert owner.turn(after=0.01).fast.reservations == (Reservation(C, 9, 400),)


def test_an_owner_publishes_its_refusal_with_claim_tie_and_reason(owner):
    owner.hear(3, claims=(EMPTY_CLAIM, owner.claim._replace(request=Request(9, 5, 9000))))
    turned = owner.turn(after=0.01)
    assert turned.fast.outcome == Outcome(C, 9, Reason.NO_CAPACITY)
    assert turned.fast.reservations == ()


def test_an_owner_judges_a_refused_request_again_when_capacity_frees(owner):
    owner.feed(flow_a=390.0)
    assert owner.turn(after=0.01).fast.outcome == Outcome(C, 9, Reason.NO_CAPACITY)
    owner.feed(flow_a=60.0)
    assert owner.turn(after=0.01).fast.reservations == (Reservation(C, 9, 400),)


@pytest.mark.parametrize(
    "changes", [{"owner": 11}, {"owner": 0}, {"tie": 0}], ids=["of another", "of nobody", "for nothing"]
)
def test_a_request_to_another_owner_is_left_alone(owner, changes):
    owner.hear(3, claims=(EMPTY_CLAIM, owner.claim._replace(request=owner.claim.request._replace(**changes))))
    assert owner.turn(after=0.01).fast.reservations == ()


def test_an_owner_keeps_its_reservations_over_a_restart(owner, bench):
    owner.turn(after=0.01)
    again = bench(5, replace(owner.agent._record, clean=True)).quiet()
    assert again.turn(after=0.01).fast.reservations == (Reservation(C, 9, 400),)
