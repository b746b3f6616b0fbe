"""Who claims what, what is asked of owners and ties, and how a claim ends (design section 4, step 3).

Over 600 lines: one claim from its reason to its outcome, told with the same few feeders.
"""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Reason
from ied_agents.dflisr.claimant import GENERATION_GOES_S, REQUEST_PATIENCE_S
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    NO_EVENT,
    Answer,
    AnswerKind,
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


def hears(number, **changes):
    return lambda a: a.hear(number, **changes)


def lose(number):
    return lambda a: a.agent.peer_lost(number, fast=True)


def feeds(**changes):
    return lambda a: a.feed(**changes)


# -- the claimant: R3 bounds the fault in section 2, and through it flowed the load of section 3 -------------


@pytest.fixture
def claimant(bench, network):
    """R3 after the declaration of section 2: open, its island dark, its claim made, nobody has promised."""
    return isolated(bench(3).quiet(), network)


def isolated(agent, network):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
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
        promise(agent, number)
    assert asks_of(agent.turn(after=0.01)).deciamperes == 600


def all_promised(agent):
    promise(agent, 9)
    promise(agent, 10)
    return agent.turn(after=0.01)


WITHHOLDS = {
    "one silent": lambda a: a.agent.peer_lost(10, fast=True),
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
    reservation = Reservation(claimant.claim.id, 9, 400, whole=True)
    claimant.hear(5, reservations=(reservation,))
    promise(claimant, 9)
    WITHHOLDS[what](claimant)
    for _ in range(3):
        claim = claimant.turn(after=0.01).fast.claims[1]
        assert claim.request == Request(0, 0, 0)
        assert claim.grants == ()


def test_a_grant_follows_the_reservation_and_names_the_tie(claimant):
    all_promised(claimant)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 399, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(9, 0),)


def test_no_grant_on_the_word_of_an_owner_that_fell_silent(claimant):
    all_promised(claimant)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
    claimant.agent.peer_lost(5, fast=True)
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()


def test_no_grant_if_a_promise_was_withdrawn_before_the_reservation_came(claimant):
    all_promised(claimant)
    promise(claimant, 10, ClaimId(0, 2, 1))
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == ()


def refuse(agent, owner, tie, reason=Reason.NO_CAPACITY):
    agent.hear(owner, outcome=Outcome(agent.claim.id, tie, reason))


def test_after_a_refusal_of_capacity_the_next_tie_is_asked_and_then_none_is_left(claimant):
    all_promised(claimant)
    refuse(claimant, 5, 9)
    claimant.turn(after=0.01)
    assert asks_of(claimant.turn(after=0.01)) == Request(10, 11, 400)
    refuse(claimant, 11, 10)
    turned = claimant.turn(after=0.01)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)
    assert turned.fast.claims[1].grants == ()
    assert asks_of(turned) == Request(10, 11, 400), "the last request stands, in case capacity frees"
    claimant.hear(11, reservations=(Reservation(claimant.claim.id, 10, 400, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(10, 0),)


def test_an_owner_that_does_not_answer_is_not_waited_for_where_there_is_another_way(claimant):
    all_promised(claimant)
    assert asks_of(claimant.turns(REQUEST_PATIENCE_S - 0.1)) == Request(9, 5, 400)
    assert asks_of(claimant.turns(0.2)) == Request(10, 11, 400)
    claimant.hear(11, reservations=(Reservation(claimant.claim.id, 10, 400, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(10, 0),)


def test_where_there_is_no_other_way_a_request_without_an_answer_stands(claimant):
    claimant.load(11, flow_a=399.0)
    all_promised(claimant)
    turned = claimant.turns(3 * REQUEST_PATIENCE_S)
    assert asks_of(turned) == Request(9, 5, 400)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.PEER_SILENT)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
    assert claimant.turn(after=0.01).fast.claims[1].grants == (Bound(9, 0),)


def test_a_refused_request_that_stands_is_reported_as_refused_however_long(claimant):
    claimant.load(11, flow_a=399.0)
    all_promised(claimant)
    refuse(claimant, 5, 9)
    turned = claimant.turns(3 * REQUEST_PATIENCE_S)
    assert asks_of(turned) == Request(9, 5, 400)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)


def test_a_refusal_of_another_claim_or_tie_is_not_ours(claimant):
    all_promised(claimant)
    claimant.hear(5, outcome=Outcome(ClaimId(0, 1, 1), 9, Reason.NO_CAPACITY))
    assert asks_of(claimant.turn(after=0.01)).tie == 9
    refuse(claimant, 5, 10)
    assert asks_of(claimant.turn(after=0.01)).tie == 9


def test_ties_without_enough_to_spare_are_not_asked(claimant):
    claimant.load(5, flow_a=359.1)  # 39.9 A to spare, with 1 A for what it may lag behind
    claimant.load(11, flow_a=359.0)
    assert asks_of(all_promised(claimant)) == Request(10, 11, 400)


def test_where_nobody_can_spare_enough_the_agent_stops_and_says_so(claimant):
    claimant.load(5, flow_a=359.1)
    claimant.agent.peer_lost(11, fast=False)  # its load is too old to count
    turned = all_promised(claimant)
    assert asks_of(turned) == Request(0, 0, 0)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.NO_CAPACITY)


@pytest.mark.parametrize("connected", [False, True])
def test_a_supply_that_somebody_has_connected_with_another_one_is_no_offer(bench, network, connected):
    """Which of Q5 and Q11 would carry how much of what hangs on T9 or T10 is not known."""
    agent = isolated(bench(3, also={12: (False, (4, 6), False, 0.0)}).quiet(), network)
    if connected:
        agent.hear(12, position=Dbpos.ON)
    assert (asks_of(all_promised(agent)) == Request(0, 0, 0)) is connected


def granted(agent):
    all_promised(agent)
    agent.hear(5, reservations=(Reservation(agent.claim.id, 9, 400, whole=True),))
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
            claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
        claimant.claim = claimant.turns(0.2).fast.claims[1]
        claimant.agent._claimant._campaigns[1].excluded.clear()
    assert claimant.claim.id.number == 24


def test_when_the_island_lives_again_the_claimant_is_finished(claimant):
    granted(claimant)
    claimant.hear(9, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.feed(voltage=(DARK, LIVE))
    turned = claimant.turn(after=0.05)
    assert turned.fast.progress[:2] == (Stage.FINISHED, Reason.NONE)
    assert turned.orders == []


@pytest.mark.parametrize("somebody_else", [False, True])
def test_what_goes_dark_again_is_claimed_anew_unless_somebody_else_does(claimant, somebody_else):
    granted(claimant)
    first = claimant.turn().fast.claims[1].id
    claimant.hear(9, position=Dbpos.ON, voltage=(LIVE, LIVE))
    claimant.feed(voltage=(DARK, LIVE))
    claimant.turn(after=0.05)
    if somebody_else:
        theirs = Claim(ClaimId(0, 50, 10), EventId(10, 70), (Bound(3, 1),), Request(0, 0, 0), ())
        claimant.hear(10, claims=(theirs, EMPTY_CLAIM))
    claimant.hear(9, voltage=(DARK, DARK))
    claimant.hear(5, position=Dbpos.OFF, voltage=(LIVE, DARK))
    claimant.feed(voltage=(DARK, DARK))
    claims = claimant.turns(0.5).fast.claims
    assert (claims[1].id > first) is not somebody_else


def test_a_silent_peer_stops_the_claimant_after_its_patience_and_says_why(claimant):
    promise(claimant, 9)
    turned = claimant.turns(2.5)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.PEER_SILENT)
    # and it goes on as soon as the peer answers
    promise(claimant, 10)
    assert asks_of(claimant.turn(after=0.01)) == Request(9, 5, 400)


def test_a_held_agent_does_not_claim(bench, network):
    agent = bench(3, Record(held=True, clean=True)).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turn(after=0.01)
    assert turned.orders == ["open"]  # opening is the safe direction
    assert turned.fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)


# -- local generation: before the fault 50 A were generated in section 3, besides what came through R3 -------


def generated(agent, network, flow_a):
    """So much flowed in through R3; T10's supply has nothing to spare."""
    agent.quiet()
    agent.feed(generation_a=(0.0, 50.0), flow_a=flow_a, current_a=abs(flow_a))
    agent.turns(1.0)
    agent.hear(2, pickup=True, pickup_id=1)
    agent.turn(after=0.01)
    agent.hear(2, pickup=False)
    agent.load(11, flow_a=399.0)
    return isolated(agent, network)


@pytest.fixture
def generating(bench, network):
    """T9's supply is fed back 360 A of 400."""
    agent = generated(bench(3), network, 40.0)
    agent.load(5, flow_a=-360.0)
    return agent


def test_a_supply_that_cannot_carry_what_generation_feeds_back_is_not_asked_before_that_has_gone(generating):
    all_promised(generating)
    turned = generating.turns(GENERATION_GOES_S - 0.1)
    assert asks_of(turned) == Request(0, 0, 0)
    assert turned.fast.progress.stage is Stage.RESTORING
    assert asks_of(generating.turns(0.2)) == Request(9, 5, 900)


@pytest.mark.parametrize(("flow_a", "asked"), [(-349.1, False), (-349.0, True), (300.0, True)])
def test_a_supply_that_can_carry_it_is_asked_at_once(generating, flow_a, asked):
    """50 A more, and 1 A by which its load may lag."""
    generating.load(5, flow_a=flow_a)
    assert (asks_of(all_promised(generating)) == Request(9, 5, 900)) is asked


@pytest.mark.parametrize(("rating_a", "asked"), [({5: 50.9}, False), ({9: 50.9}, False), ({5: 51.0, 9: 51.0}, True)])
def test_the_load_of_a_supply_makes_no_room_for_it_and_the_tie_must_carry_it_too(bench, network, rating_a, asked):
    """Section 3 draws 10 A and sends 40 A back; Q5 carries 20 A."""
    agent = generated(bench(3, rating_a=rating_a), network, -40.0)
    agent.load(5, flow_a=20.0)
    assert (asks_of(all_promised(agent)) == Request(9, 5, 100)) is asked


# -- R3 trips by its own delay: generation in section 3 feeds a fault on its infeed side -----------------------


def trips_by_its_delay(agent, direction=Direction.BACKWARD):
    agent.pick_up(direction)
    agent.turn()
    agent.answer(2 if direction is Direction.BACKWARD else 10, AnswerKind.PASSES_ON)
    assert agent.turn(after=0.11).orders == ["open"]


def test_a_breaker_that_generation_has_tripped_claims_what_it_fed(bench, network):
    """The fault is in section 1, on its feeder."""
    fault, none = EventId(1, 65), network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent = bench(3).quiet()
    trips_by_its_delay(agent)
    agent.hear(1, position=Dbpos.OFF, last_event=fault, sides=(none, network.flagged(event=fault)))
    agent.hear(2, position=Dbpos.OFF, last_event=fault, sides=(network.flagged(event=fault), none))
    agent.open((DARK, DARK))
    none, claim = agent.turn(after=0.05).fast.claims
    assert none == EMPTY_CLAIM
    assert (claim.event, set(claim.boundary)) == (fault, {Bound(3, 1), Bound(9, 0), Bound(10, 0)})


@pytest.mark.parametrize("direction", [Direction.BACKWARD, Direction.FORWARD])
def test_for_a_fault_on_another_feeder_of_the_same_busbar_it_claims_if_its_current_flowed_there(
    bench, network, direction
):
    """Section 8 hangs on the busbar of Q1 by a breaker of its own."""
    fault, none = EventId(13, 65), network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent = bench(3, also={4: (False, (2, 8), False, 0.0), 13: (True, (0, 8), True, 0.3)}).quiet()
    trips_by_its_delay(agent, direction)
    agent.hear(13, position=Dbpos.OFF, last_event=fault, sides=(none, network.flagged(event=fault)))
    agent.open((LIVE, DARK))
    events = [claim.event for claim in agent.turns(1.0).fast.claims]
    assert events == [NO_EVENT, fault if direction is Direction.BACKWARD else NO_EVENT]


def enters_the_island(agent):
    """R3 carried fault current into section 3 for a moment, while it was opening: nobody has answered yet."""
    agent.pick_up(Direction.FORWARD, position=Dbpos.ON)
    agent.turn()
    agent.open((DARK, DARK))
    return agent.turn(after=0.01)


@pytest.mark.parametrize("shots", [(), (0.4,)])
def test_nothing_is_asked_or_granted_while_it_is_not_known_where_the_own_fault_current_went(bench, network, shots):
    agent = bench(3, shots={3: shots}).quiet()
    agent.turns(6.0)  # all shots are there
    isolated(agent, network)
    enters_the_island(agent)
    promise(agent, 9)
    promise(agent, 10)
    assert asks_of(agent.turn(after=0.01)) == Request(0, 0, 0)
    for peer in (9, 10):
        agent.answer(peer, AnswerKind.NOT_SEEN)
    turned = agent.turn(after=0.01)
    assert turned.fast.sides[1].section is SectionState.FAULTED
    assert asks_of(turned) == Request(0, 0, 0)


# -- the breaker that cleared: Q1 tripped for L2 and restores the sections between them ----------------------


def cleared(agent, network):
    wants = network.flagged(SectionState.NONE, lock=LockState.NONE, clear=True)
    agent.hear(2, pickup=True, pickup_id=1, last_event=network.event, sides=(wants, network.flagged()))
    assert agent.turn(after=0.01).orders == ["open"]
    agent.open((LIVE, DARK))
    agent.hear(2, pickup=False, position=Dbpos.OFF, voltage=(DARK, DARK))
    return agent


@pytest.fixture
def clearing(bench, network):
    return cleared(bench(1).quiet(), network)


def test_where_its_current_flowed_in_an_earlier_fault_says_nothing_of_the_one_it_clears(bench, network):
    agent = bench(1).quiet()
    agent.pick_up(Direction.BACKWARD)
    agent.turn()
    agent.feed(pickup=False, direction=Direction.UNKNOWN, current_a=100.0)
    agent.turns(3.0)
    assert cleared(agent, network).turn(after=0.05).fast.claims[1].event == network.event


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
    "tagged": lambda a: a.agent.tag("crew 7", 1),
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


# -- a second event --------------------------------------------------------------------------------------------

SECOND_FAULT = EventId(9, 80)
NO_FLAG = (SectionState.NONE, LockState.NONE)


def second_fault_in_3(agent, network, by=10, **changes):
    """T10 declares section 3, the island itself."""
    none = network.flagged(*NO_FLAG)
    agent.hear(by, last_event=SECOND_FAULT, sides=(network.flagged(event=SECOND_FAULT), none), **changes)


def test_an_island_that_is_found_faulted_is_not_granted_any_more(claimant, network):
    all_promised(claimant)
    second_fault_in_3(claimant, network)
    claimant.hear(5, reservations=(Reservation(claimant.claim.id, 9, 400, whole=True),))
    turned = claimant.turns(1.0)
    assert turned.fast.claims[1].grants == ()
    assert turned.fast.sides[1].lock is LockState.DURABLE
    assert turned.fast.sides[0].lock is LockState.DURABLE, "the first event holds still"


@pytest.mark.parametrize("state", [SectionState.SUSPECT, SectionState.WIDENED])
def test_an_island_held_for_suspect_or_widened_to_is_not_claimed(bench, network, state):
    agent = bench(3).quiet()
    none = network.flagged(*NO_FLAG)
    agent.hear(10, last_event=SECOND_FAULT, sides=(network.flagged(state, event=SECOND_FAULT), none))
    agent.hear(2, pickup=True, pickup_id=1, last_event=network.event, sides=(none, network.flagged()))
    agent.turn(after=0.01)
    agent.open((DARK, DARK))
    assert agent.turns(1.0).fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)


def test_a_supply_that_faults_later_is_not_asked(claimant, network):
    """The second fault is in section 4, behind T9; T10 remains."""
    none = network.flagged(*NO_FLAG)
    claimant.hear(5, last_event=SECOND_FAULT, sides=(none, network.flagged(event=SECOND_FAULT)))
    assert asks_of(all_promised(claimant))[:2] == (10, 11)


def test_a_second_event_is_claimed_for_what_it_darkens_and_the_first_keeps_its_locks(bench, network):
    """After a fault in section 1, T9 feeds sections 3, 2 and 8; now section 3 fails, and T12 could feed 2 and 8."""
    first, second = EventId(1, 65), SECOND_FAULT
    agent = bench(3, also={12: (False, (8, 6), False, 0.0)})
    none = network.flagged(*NO_FLAG)
    agent.hear(1, position=Dbpos.OFF, last_event=first, sides=(none, network.flagged(event=first)))
    agent.hear(2, position=Dbpos.OFF, last_event=first, sides=(network.flagged(event=first), none))
    agent.hear(9, position=Dbpos.ON)
    agent.load(9, flow_a=-90.0)
    agent.load(2, flow_a=0.0)
    agent.feed(flow_a=-50.0, current_a=50.0)
    agent.peers[1], agent.peers[2] = agent.peers[1], agent.peers[2]
    agent.quiet()
    agent.hear(9, pickup=True, pickup_id=1)
    agent.turn(after=0.01)
    agent.hear(9, last_event=second, sides=(network.flagged(event=second), none))
    assert agent.turn(after=0.01).orders == ["open"]
    agent.open((DARK, DARK))
    agent.hear(9, pickup=False, position=Dbpos.OFF)
    agent.turn(after=0.05)
    claim = agent.turn(after=0.05).fast.claims[0]
    assert claim.event == second
    assert {Bound(2, 1), Bound(12, 0)} <= set(claim.boundary)
    assert Bound(3, 0) not in claim.boundary, "it is locked itself"
    for number in (2, 4, 12):
        voltage = (DARK, LIVE) if number == 12 else (DARK, DARK)
        sides = (claim.id, claim.id) if number == 4 else (claim.id, NO_CLAIM)
        agent.hear(number, promises=sides, voltage=voltage)
    agent.turn(after=0.01)
    asked = agent.turn(after=0.01).fast.claims[0].request
    assert asked[:2] == (12, 11)
    assert 500 <= asked.deciamperes <= 520, "what flowed through R3 into section 2"


def test_two_claims_for_two_sides_of_one_tie_are_promised_side_by_side(bench, network):
    """T10 lies between the islands of R3 (section 3) and of Q11 (section 6), both dark."""
    agent = bench(10).quiet()
    agent.feed(voltage=(DARK, DARK))
    one = Claim(ClaimId(0, 4, 3), network.event, (Bound(9, 0), Bound(10, 0)), Request(0, 0, 0), ())
    other = Claim(ClaimId(0, 5, 11), EventId(11, 70), (Bound(10, 1),), Request(0, 0, 0), (Bound(10, 1),))
    agent.hear(3, position=Dbpos.OFF, voltage=(DARK, DARK), claims=(EMPTY_CLAIM, one))
    agent.hear(11, position=Dbpos.OFF, voltage=(DARK, DARK), claims=(other, EMPTY_CLAIM))
    turned = agent.turns(3.0)
    assert turned.fast.promises == (one.id, other.id)
    assert turned.orders == [], "neither side can feed the other"


def test_of_two_claims_on_one_island_the_higher_is_promised_and_the_lower_gets_nothing(bench, network):
    agent = bench(9).quiet()
    agent.feed(voltage=(DARK, LIVE))
    lower, higher = (
        Claim(ClaimId(0, number, who), network.event, (Bound(9, 0),), Request(9, 5, 400), (Bound(9, 0),))
        for number, who in ((4, 3), (4, 10))
    )
    agent.hear(10, claims=(higher._replace(grants=()), EMPTY_CLAIM), voltage=(DARK, LIVE))
    agent.hear(3, position=Dbpos.OFF, voltage=(DARK, DARK), claims=(EMPTY_CLAIM, lower))
    agent.hear(5, reservations=(Reservation(lower.id, 9, 400, whole=True),))
    turned = agent.turns(3.0)
    assert turned.fast.promises[0] == higher.id
    assert turned.orders == []


# -- a claimant that is killed and started again ---------------------------------------------------------------------


def started_again(bench, network, record, **changes):
    """R3 after the fault in section 2: open, its island dark, everybody has answered its start."""
    agent = bench(3, record, unclean=True, **changes)
    for number in agent.peers:
        agent.hear(number, answers=(Answer(3, agent.incarnation, 0, AnswerKind.NOT_SEEN),))
        agent.load(number)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()), position=Dbpos.OFF, voltage=(DARK, DARK))
    for number in (9, 10):
        agent.hear(number, voltage=(DARK, LIVE))
    agent.open((DARK, DARK))
    return agent


@pytest.fixture
def before_its_claim(bench, network):
    """What is on R3's disk when it has locked, and does not claim because its own fault current lasts."""
    agent = bench(3).quiet()
    agent.pick_up(Direction.BACKWARD)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turn(after=0.01)
    assert turned.orders == ["open"]
    assert turned.records[-1].locked
    assert turned.records[-1].claims == (NO_CLAIM, NO_CLAIM)
    assert turned.records[-1].duties == (NO_EVENT, network.event)
    assert turned.records[-1].island_loads == (0, 400)
    return turned.records[-1]


def test_what_it_fed_is_on_its_disk_with_the_lock_and_claimed_by_the_process_after_it(bench, network, before_its_claim):
    agent = started_again(bench, network, before_its_claim)
    turned = agent.turns(0.5)
    agent.claim = turned.fast.claims[1]
    assert agent.claim.event == network.event
    promise(agent, 9)
    promise(agent, 10)
    assert asks_of(agent.turn(after=0.01)) == Request(9, 5, 400)


@pytest.mark.parametrize(("rating_a", "asked"), [(41.0, True), (39.0, False)])
def test_where_only_the_whole_is_known_every_switch_inside_must_carry_it(bench, network, rating_a, asked):
    """L6 and section 7 lie behind R3 too; that they draw less than the 40 A is not known."""
    inside = {6: (False, (3, 8), True, 0.0), 4: (False, (2, 1), False, 0.0)}
    record = Record(held=False, duties=(NO_EVENT, network.event), island_loads=(0, 400))
    agent = started_again(bench, network, record, also=inside, rating_a={6: rating_a})
    agent.claim = agent.turns(0.5).fast.claims[1]
    agent.hear(6, promises=(agent.claim.id, agent.claim.id), voltage=(DARK, DARK))
    promise(agent, 9)
    promise(agent, 10)
    assert (asks_of(agent.turn(after=0.01)) == Request(9, 5, 400)) is asked


def test_what_is_on_disk_says_nothing_of_what_a_closed_tie_has_added_since(bench, network, before_its_claim):
    """T9 has closed, and Q5 has opened after that: section 4 is dark with section 3, and R3 never fed it."""
    agent = started_again(bench, network, before_its_claim)
    agent.hear(9, position=Dbpos.ON, voltage=(DARK, DARK))
    agent.hear(5, position=Dbpos.OFF, voltage=(LIVE, DARK))
    agent.claim = agent.turns(0.5).fast.claims[1]
    assert Bound(5, 1) in agent.claim.boundary
    agent.hear(9, promises=(agent.claim.id, agent.claim.id))
    agent.hear(5, promises=(NO_CLAIM, agent.claim.id))
    promise(agent, 10)
    turned = agent.turns(3.0)
    assert asks_of(turned) == Request(0, 0, 0)
    assert turned.fast.progress.reason is Reason.LOAD_UNKNOWN


def test_one_that_knows_nothing_of_the_time_before_the_fault_says_that_it_cannot_claim(bench, network):
    turned = started_again(bench, network, Record(held=False)).turns(0.5)
    assert turned.fast.claims == (EMPTY_CLAIM, EMPTY_CLAIM)
    assert turned.fast.progress == (Stage.STOPPED, Reason.LOAD_UNKNOWN, network.event)


@pytest.mark.parametrize(
    "other",
    [
        feeds(voltage=(DARK, LIVE)),
        hears(9, claims=(Claim(ClaimId(0, 4, 9), EventId(2, 65), (Bound(3, 1),), Request(0, 0, 0), ()), EMPTY_CLAIM)),
        hears(
            9, sides=(SideState(SectionState.SUSPECT, EventId(9, 1), *[LockState.NONE, NO_EVENT, False, NO_EVENT]),) * 2
        ),
    ],
    ids=["served meanwhile", "claimed by another", "suspect itself"],
)
def test_it_says_nothing_of_an_island_that_is_looked_after(bench, network, other):
    agent = started_again(bench, network, Record(held=False))
    other(agent)
    assert agent.turns(0.5).fast.progress.reason is not Reason.LOAD_UNKNOWN


def test_what_an_island_drew_before_an_earlier_event_says_nothing_of_a_new_one(bench, network):
    older = Record(held=False, duties=(NO_EVENT, EventId(9, 4)), island_loads=(0, 100))
    agent = bench(3, older).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.feed(voltage=(Voltage.UNKNOWN, Voltage.UNKNOWN))  # no flow is known as one of load
    agent.turns(1.0)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    turned = agent.turn(after=0.01)
    assert turned.records[-1].duties == (NO_EVENT, network.event)
    assert turned.records[-1].island_loads == (0, 0)
