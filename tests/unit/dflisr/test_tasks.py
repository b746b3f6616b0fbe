"""What an agent does without a fault: an operator's orders, return to normal, transfer, a higher authority.

Over 600 lines: all of them become claims on the same small feeder, and meet each other there.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.control.decision import Authority, Behaviour, Origin, Reason
from ied_agents.dflisr.agent import RELEASE_S
from ied_agents.dflisr.capacity import LOADS_SETTLE_S
from ied_agents.dflisr.closer import SUPPLY_STEADY_S
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
from ied_agents.dflisr.stored import COMMISSIONED, Record, StoredSide
from ied_agents.dflisr.tasks import RETURN_TOLD_S
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE, UNKNOWN = Voltage.ABSENT, Voltage.PRESENT, Voltage.UNKNOWN
NO_CLAIMS = (EMPTY_CLAIM, EMPTY_CLAIM)


# -- an operator's close: T9, towards section 3 that people have cut off at R3 --------------------------------


@pytest.fixture
def tie(bench):
    agent = bench(9).quiet()
    agent.hear(3, position=Dbpos.OFF, voltage=(LIVE, DARK))
    agent.load(3, flow_a=0.0)
    agent.hear(10, voltage=(DARK, LIVE))
    agent.feed(voltage=(DARK, LIVE))
    agent.turn(after=0.05)
    agent.turn(after=0.05)
    return agent


def claim_of(agent, side):
    return agent.situation.own.claims[side]


def promised_by_all(agent, claim):
    agent.hear(3, promises=(NO_CLAIM, claim.id))
    agent.hear(10, promises=(claim.id, NO_CLAIM))


def test_an_operators_close_is_claimed_promised_reserved_and_guarded_like_any_other(tie):
    assert tie.agent.request_close(Origin.STATION, tie.now) is Reason.NONE
    assert tie.turn(after=0.01).orders == []
    claim = claim_of(tie, 0)
    assert (claim.id, claim.kind, claim.event.switch) == (ClaimId(0, 1, 9), ClaimKind.MANUAL, 9)
    assert set(claim.boundary) == {Bound(9, 0), Bound(3, 1), Bound(10, 0)}
    promised_by_all(tie, claim)
    assert tie.turn(after=0.01).orders == []
    assert claim_of(tie, 0).request == Request(9, 5, 400), "what section 3 drew before people cut it off"
    tie.hear(5, reservations=(Reservation(claim.id, 9, 400, whole=True),))
    assert tie.turn(after=0.01).orders == ["close"]
    assert claim_of(tie, 0).grants == (Bound(9, 0),)


def test_no_other_tie_is_closed_for_an_operator_who_asked_this_one(tie):
    tie.load(5, flow_a=399.0)
    tie.agent.request_close(Origin.STATION, tie.now)
    tie.turn(after=0.01)
    promised_by_all(tie, claim_of(tie, 0))
    for _ in range(30):
        turned = tie.turns(0.1)
        assert turned.orders == []
        assert turned.fast.claims[0].request == Request(0, 0, 0)


REFUSED_AT_ONCE = {
    "both sides live": (lambda a: a.feed(voltage=(LIVE, LIVE)), Reason.BOTH_SIDES_LIVE),
    "both sides dark": (lambda a: a.feed(voltage=(DARK, DARK)), Reason.SUPPLY_NOT_LIVE),
    "a side unknown": (lambda a: a.feed(voltage=(DARK, UNKNOWN)), Reason.SUPPLY_NOT_LIVE),
    "closed": (lambda a: a.feed(position=Dbpos.ON), Reason.NOT_READY),
    "position not known": (lambda a: a.feed(position_valid=False), Reason.NOT_READY),
    "tagged": (lambda a: a.agent.tag("crew 7", 1), Reason.TAGGED),
    "hot-line tag": (lambda a: a.agent.tag("crew 7", 2), Reason.TAGGED),
    "blocked": (lambda a: a.agent.set_mode(Behaviour.BLOCKED), Reason.MODE),
    "in test": (lambda a: a.agent.set_mode(Behaviour.TEST), Reason.MODE),
}


@pytest.mark.parametrize("what", REFUSED_AT_ONCE)
def test_a_close_that_cannot_be_is_refused_at_once_and_leaves_nothing_behind(tie, what):
    spoil, reason = REFUSED_AT_ONCE[what]
    spoil(tie)
    tie.turn(after=0.01)
    assert tie.agent.request_close(Origin.STATION, tie.now) is reason
    turned = tie.turns(1.0)
    assert turned.fast.claims == NO_CLAIMS
    assert turned.orders == []


def test_a_close_refused_for_a_tag_does_not_come_when_the_tag_is_gone(tie):
    tie.agent.tag("crew 7", 1)
    assert tie.agent.request_close(Origin.STATION, tie.now) is Reason.TAGGED
    tie.agent.tag("crew 7", 0)
    for _ in range(5):
        claim = tie.turn(after=0.05)
        assert claim.orders == []
        assert claim.fast.claims == NO_CLAIMS
        tie.feed()


@pytest.mark.parametrize("state", [SectionState.FAULTED, SectionState.SUSPECT, SectionState.WIDENED])
def test_a_close_towards_a_section_that_anybody_holds_for_faulted_is_refused(tie, network, state):
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    tie.hear(10, sides=(network.flagged(state, event=EventId(10, 65)), none))
    tie.agent.peer_lost(10, fast=True)  # a flag counts from whoever said it last, alive or not
    tie.turn(after=0.01)
    assert tie.agent.request_close(Origin.STATION, tie.now) is not Reason.NONE
    assert tie.turns(1.0).fast.claims == NO_CLAIMS


def test_a_locked_switch_refuses_an_operators_close(bench, network):
    agent = bench(3).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=network.event, sides=(none, network.flagged()))
    agent.turn(after=0.01)
    agent.open((DARK, LIVE))
    agent.turn(after=0.05)
    assert agent.agent.request_close(Origin.STATION, agent.now) is Reason.LOCKED
    assert "close" not in agent.turns(1.0).orders


def test_an_operators_close_ends_with_its_first_refusal(tie):
    tie.agent.request_close(Origin.STATION, tie.now)
    tie.turn(after=0.01)
    claim = claim_of(tie, 0)
    tie.turns(2.5)  # R3 is silent about its promise
    promised_by_all(tie, claim)
    tie.hear(5, reservations=(Reservation(claim.id, 9, 400, whole=True),))
    turned = tie.turns(2.0)
    assert turned.orders == []
    assert turned.fast.claims[0].grants == ()


# -- who may ask ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("authority", "origin"), [
    (Authority.LOCAL, Origin.STATION), (Authority.LOCAL, Origin.REMOTE),
    (Authority.STATION, Origin.REMOTE), (Authority.STATION, Origin.BAY),
    (Authority.REMOTE, Origin.STATION), (Authority.REMOTE, Origin.BAY),
])  # fmt: skip
def test_who_has_not_the_authority_operates_nothing(tie, network, authority, origin):
    tie.hear(2, cleared=(network.event,))
    tie.turn(after=0.01)
    tie.agent.set_authority(authority)
    assert tie.agent.request_close(origin, tie.now) is Reason.LOCAL
    assert tie.agent.request_open(origin) is Reason.LOCAL
    assert tie.agent.request_return(network.event, origin) is Reason.LOCAL
    turned = tie.turns(1.0)
    assert turned.orders == []
    assert turned.fast.claims == NO_CLAIMS
    assert turned.fast.returning == NO_EVENT


def test_authority_is_durable(bench):
    agent = bench(9).quiet()
    agent.agent.set_authority(Authority.REMOTE)
    record = agent.turn().records[-1]
    assert record.authority is Authority.REMOTE
    again = bench(9, replace(record, clean=True)).quiet()
    assert again.agent.request_open(Origin.STATION) is Reason.LOCAL
    assert again.agent.request_open(Origin.REMOTE) is Reason.NONE


def test_an_operators_opening_is_ordered_and_starts_nothing(bench):
    agent = bench(3).quiet()
    assert agent.agent.request_open(Origin.STATION) is Reason.NONE
    assert agent.turn(after=0.01).orders == ["open"]
    agent.open((LIVE, DARK))
    turned = agent.turns(3.0)
    assert turned.orders == []
    assert turned.fast.claims == NO_CLAIMS


def test_what_a_load_break_switch_cannot_break_an_operator_cannot_open(bench):
    agent = bench(2).quiet()
    agent.feed(current_a=631.0)
    agent.agent.request_open(Origin.STATION)
    assert agent.turn(after=0.01).orders == []


# -- return to normal: R3 was opened for a fault in section 2, and T9 feeds section 3 -------------------------

HELD = StoredSide(SectionState.FAULTED, EventId(2, 65), True)


def repaired(agent, network, **changes):
    """The operator has unlocked the event at L2 and ordered the return; section 2 is live again."""
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    l2 = {"position": Dbpos.ON, "voltage": (LIVE, LIVE), "sides": (none, none)}
    agent.hear(2, returning=network.event, cleared=(network.event,), **(l2 | changes))


def fed_from_t9(agent):
    agent.hear(9, position=Dbpos.ON)
    agent.load(9, flow_a=-40.0)
    agent.feed(position=Dbpos.OFF, voltage=(DARK, LIVE), flow_a=0.0, current_a=0.0)


@pytest.fixture
def opened(bench):
    agent = bench(3, Record(held=False, clean=True, sides=(HELD, StoredSide())))
    agent.hear(9, position=Dbpos.ON)
    agent.load(9, flow_a=-40.0)
    agent.inputs = replace(agent.inputs, position=Dbpos.OFF, voltage=(DARK, LIVE), flow_a=0.0, current_a=0.0)
    return agent.quiet()


def test_what_moved_for_the_event_goes_back_and_remembers_the_order(opened, network):
    repaired(opened, network)
    turned = opened.turn(after=0.01)
    assert turned.fast.returning == network.event
    assert turned.fast.sides[0].lock is LockState.NONE


def test_who_has_not_moved_for_the_event_has_nothing_to_return(bench, network):
    for number in (1, 5, 10, 11):
        agent = bench(number).quiet()
        repaired(agent, network)
        turned = agent.turns(1.0)
        assert (turned.fast.returning, turned.fast.claims, turned.orders) == (NO_EVENT, NO_CLAIMS, [])


def test_it_waits_until_its_normal_supply_is_live(opened, network):
    repaired(opened, network)
    assert opened.turns(1.0).fast.claims == NO_CLAIMS
    opened.feed(voltage=(UNKNOWN, LIVE))
    assert opened.turns(0.3).fast.claims == NO_CLAIMS
    opened.feed(voltage=(LIVE, LIVE))
    assert opened.turns(LOADS_SETTLE_S - 0.1).fast.claims == NO_CLAIMS, "not yet measured what the supply carries"
    opened.turns(0.2)
    assert claim_of(opened, 1).kind is ClaimKind.RETURN


@pytest.fixture
def returning(opened, network):
    repaired(opened, network)
    opened.feed(voltage=(LIVE, LIVE))
    opened.turns(LOADS_SETTLE_S + 0.1)
    opened.claim = claim_of(opened, 1)
    return opened


def given_back(agent, claim):
    """T9 has opened, section 3 is dark, everybody has promised."""
    agent.hear(9, position=Dbpos.OFF, voltage=(DARK, LIVE), promises=(claim.id, claim.id))
    agent.load(9, flow_a=0.0)
    agent.hear(10, voltage=(DARK, LIVE), promises=(claim.id, NO_CLAIM))
    agent.feed(voltage=(LIVE, DARK))


def test_it_claims_what_it_feeds_normally_and_asks_the_tie_to_open_by_both_its_sides(returning):
    assert returning.claim.event.switch == 3
    assert set(returning.claim.boundary) == {Bound(3, 1), Bound(10, 0), Bound(9, 0), Bound(9, 1)}


def test_break_before_make_it_closes_only_when_the_tie_is_open_and_the_section_dead(returning):
    claim = returning.claim
    returning.hear(1, reservations=(Reservation(claim.id, 3, 5000, whole=True),))
    returning.hear(10, promises=(claim.id, NO_CLAIM))
    turned = returning.turns(0.5)
    assert turned.orders == []
    assert turned.fast.claims[1].grants == ()


def test_it_closes_with_capacity_of_its_own_feeder(returning, network):
    claim = returning.claim
    given_back(returning, claim)
    returning.turns(RELEASE_S)
    assert claim_of(returning, 1).request == Request(3, 1, 410), "T9 may lag 1 A behind"
    returning.hear(1, reservations=(Reservation(claim.id, 3, 410, whole=True),))
    assert returning.turns(SUPPLY_STEADY_S + 0.1).orders == ["close"]
    returning.feed(position=Dbpos.ON, voltage=(LIVE, LIVE), flow_a=40.0, current_a=40.0)
    turned = returning.turns(RETURN_TOLD_S + 1.0)
    assert turned.fast.returning == NO_EVENT
    assert turned.orders == []


def test_what_a_person_opens_while_the_return_is_told_stays_open(returning):
    given_back(returning, returning.claim)
    returning.hear(1, reservations=(Reservation(returning.claim.id, 3, 410, whole=True),))
    assert returning.turns(RELEASE_S + SUPPLY_STEADY_S + 0.1).orders == ["close"]
    returning.feed(position=Dbpos.ON, voltage=(LIVE, LIVE), flow_a=40.0, current_a=40.0)
    returning.turns(0.5)
    assert returning.agent.request_open(Origin.STATION) is Reason.NONE
    assert returning.turn(after=0.01).orders == ["open"]
    returning.open((LIVE, DARK))
    turned = returning.turns(RETURN_TOLD_S + LOADS_SETTLE_S)
    assert (turned.orders, turned.fast.claims, turned.fast.returning) == ([], NO_CLAIMS, NO_EVENT)


def test_nor_is_what_a_person_has_said_is_to_be_open_closed_by_a_return_that_waits_or_is_granted(returning):
    given_back(returning, returning.claim)
    returning.turns(RELEASE_S)
    assert returning.agent.request_open(Origin.STATION) is Reason.NONE
    returning.hear(1, reservations=(Reservation(returning.claim.id, 3, 410, whole=True),))
    turned = returning.turns(RETURN_TOLD_S + LOADS_SETTLE_S)
    assert (turned.orders, turned.fast.claims, turned.fast.returning) == ([], NO_CLAIMS, NO_EVENT)


def test_a_person_who_opens_while_the_close_is_under_way_is_obeyed(returning):
    given_back(returning, returning.claim)
    returning.turns(RELEASE_S)
    returning.hear(1, reservations=(Reservation(returning.claim.id, 3, 410, whole=True),))
    assert returning.turn(after=0.01).orders == ["close"]
    assert returning.agent.request_open(Origin.STATION) is Reason.NONE
    assert returning.turn(after=0.01).orders == [], "of an open switch"
    returning.feed(position=Dbpos.INTERMEDIATE)
    assert returning.turn(after=0.01).orders == ["open"]
    returning.open((LIVE, DARK))
    assert returning.turns(RETURN_TOLD_S + LOADS_SETTLE_S).orders == []


@pytest.mark.parametrize("how_it_ends", [{"position": Dbpos.ON}, {"position": Dbpos.OFF}], ids=["closed", "gave up"])
def test_who_cannot_break_a_fault_opens_for_a_person_only_after_the_shot_of_a_breaker(bench, how_it_ends):
    agent = bench(2).quiet()
    agent.hear(1, position=Dbpos.OFF, reclosing=True)
    agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
    agent.turn(after=0.01)
    assert agent.agent.request_open(Origin.STATION) is Reason.NONE
    assert agent.turns(0.3).orders == []
    agent.hear(1, reclosing=False, **how_it_ends)
    assert agent.turn(after=0.01).orders == ["open"]


def test_nor_does_it_wait_for_a_breaker_that_is_silent_or_where_it_is_live(bench):
    for make in (lambda a: a.agent.peer_lost(1, fast=True), lambda a: a.feed(voltage=(LIVE, LIVE))):
        agent = bench(2).quiet()
        agent.hear(1, position=Dbpos.OFF, reclosing=True)
        agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
        agent.turn(after=0.01)
        make(agent)
        agent.agent.request_open(Origin.STATION)
        assert agent.turn(after=0.01).orders == ["open"]


def test_until_nobody_can_believe_its_lock_any_more_a_switch_promises_nothing(opened, network):
    """Who has not heard of the unlock may count it among those that cannot close."""
    repaired(opened, network)
    asks = Claim(ClaimId(0, 7, 9), EventId(9, 1), (Bound(3, 1),), Request(0, 0, 0), ())
    opened.hear(9, claims=(EMPTY_CLAIM, asks))
    assert opened.turns(RELEASE_S - 0.1).fast.promises[1] == NO_CLAIM
    assert opened.turns(0.2).fast.promises[1] == asks.id


def test_an_order_that_was_adopted_is_not_adopted_again_after_it_is_done(opened, network):
    """L2 says it long after R3 has done it."""
    opened.hear(2, cleared=(network.event,))
    opened.turn(after=0.01)
    repaired(opened, network)
    notes = opened.turn(after=0.01).notes
    opened.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
    turned = opened.turns(3 * RETURN_TOLD_S)
    assert (notes + turned.notes).count("return to normal") == 1
    assert turned.fast.returning == NO_EVENT


def test_a_return_that_has_failed_is_not_tried_again_although_order_and_unlock_came_in_one_frame(returning):
    """R3 does not close, T9 feeds section 3 again; L2 still says the order."""
    given_back(returning, returning.claim)
    returning.turn(after=0.01)
    returning.hear(1, reservations=(Reservation(returning.claim.id, 3, 410, whole=True),))
    returning.turns(SUPPLY_STEADY_S + 1.0)
    again = claim_of(returning, 1)
    given_back(returning, again)
    returning.turn(after=0.01)
    returning.hear(5, reservations=(Reservation(again.id, 9, 410, whole=True),))
    returning.turn(after=0.01)
    returning.hear(9, position=Dbpos.ON, voltage=(LIVE, LIVE))
    returning.hear(10, voltage=(LIVE, LIVE))
    returning.feed(voltage=(LIVE, LIVE))
    turned = returning.turns(5.0)
    assert "return to normal" not in turned.notes
    assert turned.fast.claims == NO_CLAIMS


def test_what_cannot_be_closed_is_fed_from_the_tie_again(returning):
    """R3 does not close: the previous feed is restored under a new claim."""
    claim = returning.claim
    given_back(returning, claim)
    returning.turn(after=0.01)
    returning.hear(1, reservations=(Reservation(claim.id, 3, 410, whole=True),))
    turned = returning.turns(SUPPLY_STEADY_S + 1.0)  # and it stays open
    assert turned.orders == ["close"]
    assert turned.fast.outcome == Outcome(claim.id, 3, Reason.DID_NOT_CLOSE)
    again = claim_of(returning, 1)
    assert again.id > claim.id
    given_back(returning, again)
    returning.turn(after=0.01)
    assert claim_of(returning, 1).request[:2] == (9, 5)


def test_the_order_outlives_a_restart_and_is_resumed(returning, bench, network):
    record = replace(returning.agent._record, clean=True)
    assert record.returning == network.event
    again = bench(3, record)
    again.hear(9, position=Dbpos.ON)
    again.load(9, flow_a=-40.0)
    again.inputs = replace(again.inputs, position=Dbpos.OFF, voltage=(LIVE, LIVE), flow_a=0.0, current_a=0.0)
    again.quiet()
    again.turn(after=0.01)
    claim = claim_of(again, 1)
    assert claim.kind is ClaimKind.RETURN
    assert claim.id > returning.claim.id


def test_who_ordered_a_return_does_not_take_it_for_a_new_one_while_others_still_tell_it(bench, network):
    first, second = EventId(2, 65), EventId(2, 66)
    locked = StoredSide(SectionState.FAULTED, first, locked=True)
    agent = bench(3, replace(COMMISSIONED, sides=(locked, StoredSide()), cleared=(second,))).quiet()
    for event in (first, second):
        assert agent.agent.request_return(event, Origin.STATION) is Reason.NONE
        agent.turn(after=0.01)
    agent.hear(2, returning=first)
    assert agent.turn(after=0.01).fast.returning == second


def test_a_later_event_overtakes_the_return(returning, network):
    later = EventId(4, 70)
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    returning.hear(4, last_event=later, sides=(network.flagged(event=later), none))
    turned = returning.turns(RETURN_TOLD_S + 1.0)
    assert turned.fast.returning == NO_EVENT
    assert turned.fast.sides[0].lock is LockState.DURABLE
    assert turned.fast.claims[1].grants == ()
    assert turned.orders == []


KNOWN = {
    "its lock heard": lambda a, n: a.hear(3, sides=(n.flagged(), n.flagged(SectionState.NONE, lock=LockState.NONE))),
    "cleared": lambda a, n: a.hear(3, cleared=(n.event,)),
}


@pytest.mark.parametrize("how", KNOWN)
def test_an_operator_may_order_it_wherever_its_event_is_known_and_it_is_published_durably(bench, network, how):
    agent = bench(2).quiet()
    KNOWN[how](agent, network)
    agent.turn(after=0.01)
    agent.disk_works = False
    assert agent.agent.request_return(network.event, Origin.STATION) is Reason.NONE
    turned = agent.turn()
    assert turned.fast.returning == NO_EVENT
    assert turned.records[-1].returning == network.event
    agent.disk_works = True
    state = agent.turn(after=0.01).fast
    assert state.returning == network.event
    assert network.event in state.cleared


def test_it_may_be_ordered_where_nothing_is_left_of_the_event_but_a_hold(bench, network):
    agent = bench(3, replace(COMMISSIONED, hold_claim=ClaimId(0, 7, 1), hold_event=network.event)).quiet()
    assert agent.agent.request_return(network.event, Origin.STATION) is Reason.NONE
    assert agent.turn(after=0.01).fast.returning == network.event


@pytest.mark.parametrize("event", [EventId(2, 65), NO_EVENT], ids=["never heard of", "none"])
def test_a_return_of_an_event_that_nobody_knows_is_a_mistake_and_leaves_nothing(bench, event):
    agent = bench(2).quiet()
    with pytest.raises(ValueError, match="not known here"):
        agent.agent.request_return(event, Origin.STATION)
    state = agent.turn(after=0.01).fast
    assert state.returning == NO_EVENT
    assert state.cleared == ()


# -- the tie that gives back: T9 -----------------------------------------------------------------------------


def asked_to_give_back(agent, kind):
    agent.feed(position=Dbpos.ON, voltage=(LIVE, LIVE), flow_a=-40.0, current_a=40.0)
    agent.turn(after=0.01)
    boundary = (Bound(3, 1), Bound(10, 0), Bound(9, 0), Bound(9, 1))
    claim = Claim(ClaimId(0, 3, 3), EventId(3, 70), boundary, Request(0, 0, 0), (), kind)
    agent.hear(3, claims=(EMPTY_CLAIM, claim))
    return claim


@pytest.mark.parametrize("kind", ClaimKind)
def test_a_tie_opens_under_load_only_for_a_return_to_normal(bench, kind):
    agent = bench(9).quiet()
    claim = asked_to_give_back(agent, kind)
    assert agent.turn(after=0.01).orders == [], "others have not promised yet"
    agent.hear(3, promises=(NO_CLAIM, claim.id))
    assert agent.turn(after=0.01).orders == []
    agent.hear(10, promises=(claim.id, NO_CLAIM))
    turned = agent.turn(after=0.01)
    assert turned.orders == (["open"] if kind is ClaimKind.RETURN else [])
    assert not turned.fast.held, "open is where it belongs"
    agent.open((DARK, LIVE))
    agent.turn(after=0.05)
    assert agent.turn(after=0.01).fast.promises == (claim.id, claim.id)


# -- loss of supply: Q1, where the site allows a transfer after 2 s ------------------------------------------


@pytest.fixture
def head(bench):
    return bench(1, transfer_after_s={1: 2.0}).quiet()


def go_dark(agent):
    agent.feed(voltage=(DARK, DARK), flow_a=0.0, current_a=0.0)
    for number in (2, 3, 4):
        agent.hear(number, voltage=(DARK, DARK))


def test_after_so_long_without_supply_the_head_opens_holds_and_claims_its_feeder(head):
    go_dark(head)
    assert head.turns(1.9).orders == []
    turned = head.turns(0.2)
    assert turned.orders == ["open"]
    head.open((DARK, DARK))
    state = head.turns(0.1).fast
    assert state.claims[1].kind is ClaimKind.TRANSFER
    ties, inside = {Bound(9, 0), Bound(10, 0)}, {Bound(2, 0), Bound(3, 0), Bound(4, 0)}
    assert set(state.claims[1].boundary) == {Bound(1, 1), *ties, *inside}
    assert (state.held, state.hold_claim) == (True, state.claims[1].id)


def test_a_head_that_may_not_open_does_not_ask_for_the_next_turn_at_once(head):
    head.agent.set_mode(Behaviour.BLOCKED)
    go_dark(head)
    for _ in range(50):
        assert head.turns(0.1).orders == []
        assert head.agent.next_deadline > head.now


def test_it_does_not_supply_itself(head):
    go_dark(head)
    head.turns(2.1)
    head.open((LIVE, DARK))  # the supply is back
    claim = head.turns(0.1).fast.claims[1]
    for number in (2, 3, 4, 9, 10):
        tie = number in (9, 10)
        promises = (claim.id, NO_CLAIM if tie else claim.id)
        head.hear(number, promises=promises, voltage=(DARK, LIVE) if tie else (DARK, DARK))
    head.turn(after=0.01)
    assert claim_of(head, 1).request.tie in (9, 10)


NO_TRANSFER = {
    "one side live": lambda a: a.feed(voltage=(LIVE, DARK)),
    "feeder live": lambda a: a.feed(voltage=(DARK, LIVE)),
    "unknown": lambda a: a.feed(voltage=(UNKNOWN, DARK)),
    "open already": lambda a: a.feed(position=Dbpos.OFF),
    "position not known": lambda a: a.feed(position_valid=False),
    "blocked": lambda a: a.agent.set_mode(Behaviour.BLOCKED),
}


@pytest.mark.parametrize("what", NO_TRANSFER)
def test_no_transfer_unless_both_sides_are_dark_and_the_head_is_closed(head, what):
    go_dark(head)
    NO_TRANSFER[what](head)
    turned = head.turns(5.0)
    assert turned.orders == []
    assert turned.fast.claims == NO_CLAIMS


def test_no_transfer_where_the_site_does_not_allow_it(bench):
    agent = bench(1).quiet()
    go_dark(agent)
    assert agent.turns(5.0).orders == []


def test_no_transfer_after_fault_current_but_what_it_may_have_flowed_into_is_suspect(head):
    head.pick_up(Direction.UNKNOWN, trusted=False)
    head.turn(after=0.01)
    head.feed(pickup=False, direction=Direction.UNKNOWN)
    go_dark(head)
    turned = head.turns(5.0)
    assert turned.fast.claims == NO_CLAIMS
    assert [side.section for side in turned.fast.sides].count(SectionState.SUSPECT) == 1, "a source never is"


def test_no_transfer_when_the_supply_comes_back_in_time(head):
    go_dark(head)
    head.turns(1.9)
    head.feed(voltage=(LIVE, LIVE))
    head.turns(0.5)
    go_dark(head)
    assert head.turns(1.9).orders == []


# -- a higher authority: the centralized fallback claims through R3 ------------------------------------------


@pytest.mark.parametrize("epoch", [-1, 0, 256])
def test_an_epoch_that_is_no_higher_authority_is_refused(bench, epoch):
    agent = bench(3).quiet()
    with pytest.raises(ValueError, match=f"epoch {epoch}"):
        agent.agent.request_restore(1, epoch, agent.now)
    assert agent.turn().fast.claims == NO_CLAIMS


def test_a_higher_authority_claims_in_its_epoch_with_the_same_needs(bench):
    agent = bench(3).quiet()
    agent.open((LIVE, DARK))
    for number in (9, 10):
        agent.hear(number, voltage=(DARK, LIVE))
    agent.turn(after=0.05)
    agent.agent.request_restore(1, 2, agent.now)
    agent.turn(after=0.01)
    claim = claim_of(agent, 1)
    assert (claim.id, claim.kind) == (ClaimId(2, 1, 3), ClaimKind.RESTORE)
    assert set(claim.boundary) == {Bound(3, 1), Bound(9, 0), Bound(10, 0)}
    assert claim.grants == ()
    turned = agent.turns(3.0)
    assert turned.fast.progress[:2] == (Stage.STOPPED, Reason.PEER_SILENT)
    assert turned.orders == []


def test_an_agents_claim_gives_way_to_a_higher_authority_for_good(bench, network):
    agent = bench(3).quiet()
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, pickup=True, pickup_id=1, last_event=network.event, sides=(none, network.flagged()))
    agent.turn(after=0.01)
    agent.open((DARK, DARK))
    agent.hear(2, pickup=False, position=Dbpos.OFF)
    claim = agent.turn(after=0.05).fast.claims[1]
    for number in (9, 10):
        agent.hear(number, promises=(ClaimId(1, 1, 40), NO_CLAIM), voltage=(DARK, LIVE))
    turned = agent.turns(3.0)
    assert "claimed" not in turned.notes, "not claimed anew above it"
    assert turned.fast.claims[1].id == claim.id
    assert turned.fast.claims[1].grants == ()
