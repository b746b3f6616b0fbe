"""Capacity: what a tie offers, and the ledger of the head switch that hands it out.

A published load may be 1 A behind the real one; every element counts that 1 A as load.
Longer than most files: offer and ledger are tried on the same feeders.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.capacity import (
    LOADS_SETTLE_S,
    SHORT_CONFIRMED_S,
    Entry,
    Ledger,
    load_a,
    reserved_for,
    shared_load_a,
    spare_a,
    supply_path,
)
from ied_agents.dflisr.feeder import SharedElement
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
    NO_EVENT,
    NO_OUTCOME,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LoadState,
    Outcome,
    Request,
    Reservation,
)
from ied_agents.dflisr.views import Frozen
from ied_agents.iec61850.dbpos import Dbpos
from scl.agent_model import RESERVATIONS

EVENT = EventId(2, 65)
NOW = 100.0
FIRST, SECOND, THIRD = ClaimId(0, 7, 3), ClaimId(0, 8, 3), ClaimId(0, 9, 1)


BOTH_TIES = (Bound(9, 0), Bound(10, 0))
FROM_BELOW = (Bound(9, 1), Bound(10, 1))
ALSO = {12: (False, (8, 4), False, 0.0)}


def claim(claim_id=FIRST, amperes=100.0, tie=9, owner=5, boundary=BOTH_TIES):
    return Claim(claim_id, EVENT, boundary, Request(tie, owner, round(amperes * 10)), ())


def elsewhere(amperes):
    """Another claim asks for T12, that hangs on Q5 too."""
    return claim(THIRD, amperes, tie=12, boundary=(Bound(12, 0),))


def ask(ledger, asked, now=NOW):
    """The tie has promised to the claim that asks, as it must before anything is reserved for it."""
    situation = ledger._now
    bound = next(bound for bound in asked.boundary if bound.switch == asked.request.tie)
    promises = list(situation.state(bound.switch).promises)
    promises[bound.side] = asked.id
    hears(situation, bound.switch, promises=tuple(promises))
    return ledger.judge(asked, now).reason


def refused(ledger, asked, now=NOW):
    """A lack of capacity is said only once it has lasted."""
    assert ask(ledger, asked, now) is Reason.PEER_SILENT
    return ask(ledger, asked, now + 0.1) is Reason.NO_CAPACITY


def instead(answer, deciamperes):
    """Whether a refusal names this amount, in tenths of an ampere, as what could be had: rounded down."""
    return answer.reason is Reason.NO_CAPACITY and deciamperes - 1 <= answer.deciamperes <= deciamperes


def hears(situation, number, **changes):
    view = situation.views[number]
    view.state = view.state._replace(**changes)


def carries(situation, number, amperes):
    if number == situation.me.number:
        from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

        situation.inputs = SwitchInputs(
            *(number, 1, 1, Dbpos.ON, True, False, Direction.UNKNOWN, False),
            *(amperes, abs(amperes), (Voltage.PRESENT, Voltage.PRESENT), (0.0, 0.0)),
        )
    else:
        situation.views[number].load = LoadState(situation.views[number].state.incarnation, amperes)


@pytest.fixture
def head(situation):
    """Q5, head of the feeder behind T9, carrying 60 A of 400."""
    made = situation(5, also=ALSO)
    carries(made, 5, 60.0)
    return made


# -- what a tie offers ---------------------------------------------------------------------------------------


def test_the_path_of_a_tie_ends_with_the_head_of_its_feeder(situation):
    assert supply_path(situation(9), Bound(9, 0)) == [5]
    assert supply_path(situation(9), Bound(9, 1)) == [3, 2, 1]


def test_a_tie_offers_the_least_of_rating_minus_load_along_its_path(situation):
    tie = situation(9)
    assert spare_a(tie, 1) == 299.0  # Q1 carries 100 of 400, L2 90, R3 40
    carries(tie, 2, 350.0)
    assert spare_a(tie, 1) == 49.0


@pytest.mark.parametrize("sides", [(1, 2), (2, 1)], ids=["A towards the source", "B towards the source"])
def test_what_generation_sends_back_on_the_path_is_no_load_and_makes_no_room(situation, sides):
    tie = situation(9, also={2: (False, sides, True, 0.0)}, rating_a={2: 200.0})
    outward = 1.0 if sides == (1, 2) else -1.0
    carries(tie, 2, outward * 150.0)
    assert spare_a(tie, 1) == 49.0
    carries(tie, 2, outward * -150.0)
    assert spare_a(tie, 1) == 199.0


def test_a_tie_offers_no_more_than_its_own_rating(situation):
    assert spare_a(situation(9, rating_a={9: 70.0}), 0) == 70.0


def test_an_overloaded_path_offers_nothing_rather_than_less(situation):
    tie = situation(9)
    carries(tie, 5, 500.0)
    assert spare_a(tie, 0) == 0.0


# each takes away one thing that must be known about Q5, the only switch on the way
UNKNOWN = {
    "stream of its state lost": lambda view: setattr(view, "alive", False),
    "stream of its load lost": lambda view: setattr(view, "load_alive", False),
    "load never heard": lambda view: setattr(view, "load", None),
    "load of bad quality": lambda view: setattr(view, "load", replace(view.load, flow_quality=1)),
    "load of an earlier incarnation": lambda view: setattr(
        view, "load", replace(view.load, incarnation=view.load.incarnation - 1)
    ),
    "open": lambda view: setattr(view, "state", view.state._replace(position=Dbpos.OFF)),
    "position of bad quality": lambda view: setattr(view, "state", view.state._replace(position_quality=1)),
    "in test": lambda view: setattr(view, "state", view.state._replace(behaviour=Behaviour.TEST)),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_tie_offers_nothing_if_anything_on_its_path_is_unknown(situation, what):
    tie = situation(9)
    UNKNOWN[what](tie.views[5])
    assert spare_a(tie, 0) == 0.0


def test_a_load_of_bad_quality_or_unheard_is_unknown(situation):
    tie = situation(9)
    assert load_a(tie, 5) == 60.0
    assert load_a(tie, 9) is None  # no inputs yet
    assert load_a(tie, 77) is None


# -- the ledger ----------------------------------------------------------------------------------------------


def test_a_head_reserves_what_fits_and_finds_it_again(head):
    ledger = Ledger(head)
    assert ask(ledger, claim(amperes=339.0), NOW) is Reason.NONE
    assert ledger.find(FIRST, 9, 3390) is not None
    assert ledger.find(FIRST, 9, 3391) is None
    assert ledger.find(SECOND, 9, 3390) is None
    assert ledger.find(FIRST, 10, 3390) is None


def test_a_head_refuses_what_exceeds_its_rating_by_a_tenth_of_an_ampere(head):
    ledger = Ledger(head)
    assert refused(ledger, claim(amperes=339.1), NOW)
    assert ledger.entries == ()


def test_a_lack_of_capacity_is_said_once_it_has_lasted_and_with_what_could_be_had_instead(head):
    ledger = Ledger(head)
    asked = claim(amperes=400.0)
    assert ask(ledger, asked, NOW) is Reason.PEER_SILENT
    assert ask(ledger, asked, NOW + SHORT_CONFIRMED_S - 0.01) is Reason.PEER_SILENT
    answer = ledger.judge(asked, NOW + SHORT_CONFIRMED_S + 0.01)
    assert answer[:3] == (FIRST, 9, Reason.NO_CAPACITY)
    assert instead(answer, 3390)
    assert ask(ledger, claim(amperes=answer.deciamperes / 10), NOW + 0.1) is Reason.NONE


@pytest.mark.parametrize("between", ["room", "not known"])
def test_a_lack_that_was_over_in_between_must_last_anew(head, between):
    ledger = Ledger(head)
    assert ask(ledger, claim(amperes=350.0), NOW) is Reason.PEER_SILENT
    if between == "room":
        carries(head, 5, 10.0)
        assert ask(ledger, claim(amperes=350.0), NOW + 0.05) is Reason.NONE
        ledger.entries = ()
        carries(head, 5, 60.0)
    else:
        head.inputs, was = None, head.inputs
        assert ask(ledger, claim(amperes=350.0), NOW + 0.05) is Reason.PEER_SILENT
        head.inputs = was
    assert refused(ledger, claim(amperes=350.0), NOW + 0.1)


def test_the_tie_itself_must_bear_the_request(situation):
    head = situation(5, rating_a={9: 90.0})
    carries(head, 5, 60.0)
    assert ask(Ledger(head), claim(amperes=89.0), NOW) is Reason.NONE
    assert refused(Ledger(head), claim(amperes=89.1), NOW)


def test_an_element_between_head_and_tie_must_bear_the_request(situation):
    head = situation(1)
    carries(head, 1, 100.0)
    carries(head, 2, 350.0)
    to_9_from_below = claim(tie=9, owner=1, amperes=49.0, boundary=(Bound(9, 1),))
    assert ask(Ledger(head), to_9_from_below, NOW) is Reason.NONE
    assert refused(Ledger(head), claim(tie=9, owner=1, amperes=49.1, boundary=(Bound(9, 1),)), NOW)


def test_two_reservations_together_stay_within_the_rating(head):
    ledger = Ledger(head)
    assert ask(ledger, claim(FIRST, 200.0), NOW) is Reason.NONE
    assert refused(ledger, elsewhere(139.1), NOW)
    assert ask(ledger, elsewhere(139.0), NOW) is Reason.NONE
    assert [entry.reservation.deciamperes for entry in ledger.entries] == [2000, 1390]


def test_what_a_claim_asks_anew_replaces_what_it_had(head):
    ledger = Ledger(head)
    assert ask(ledger, claim(FIRST, 200.0), NOW) is Reason.NONE
    assert ask(ledger, claim(FIRST, 339.0), NOW) is Reason.NONE
    assert [entry.reservation for entry in ledger.entries] == [Reservation(FIRST, 9, 3390, whole=True)]


def test_a_refused_increase_leaves_what_was_reserved(head):
    ledger = Ledger(head)
    ask(ledger, claim(FIRST, 200.0), NOW)
    assert refused(ledger, claim(FIRST, 350.0), NOW)
    assert [entry.reservation for entry in ledger.entries] == [Reservation(FIRST, 9, 2000, whole=True)]


READY = {
    "promises": (FIRST, NO_CLAIM),
    "position": Dbpos.OFF,
    "position_quality": 0,
    "close_outstanding": False,
    "behaviour": Behaviour.ON,
}
NOT_READY = {
    "not promised": {"promises": (NO_CLAIM, NO_CLAIM)},
    "promised on its other side": {"promises": (NO_CLAIM, FIRST)},
    "promised to a lower claim": {"promises": (ClaimId(0, 6, 3), NO_CLAIM)},
    "promised to a higher claim": {"promises": (SECOND, NO_CLAIM)},
    "closed": {"position": Dbpos.ON},
    "position not known": {"position_quality": 1},
    "close outstanding": {"close_outstanding": True},
    "in test": {"behaviour": Behaviour.TEST},
}


@pytest.mark.parametrize("what", NOT_READY)
def test_nothing_is_reserved_for_a_tie_that_is_not_seen_open_and_promised_to_this_very_claim(head, what):
    hears(head, 9, promises=(FIRST, NO_CLAIM))
    hears(head, 9, **NOT_READY[what])
    ledger = Ledger(head)
    assert ledger.judge(claim(), NOW).reason is Reason.PEER_SILENT
    assert ledger.entries == ()
    hears(head, 9, **READY)
    assert ledger.judge(claim(), NOW).reason is Reason.NONE


# -- how a reservation ends ----------------------------------------------------------------------------------


@pytest.fixture
def reserved(head):
    """Q5 has reserved 300 A at T9 for a claim of R3 that T9 and T10 were asked for."""
    ledger = Ledger(head)
    assert ask(ledger, claim(FIRST, 300.0), NOW) is Reason.NONE
    hears(head, 3, claims=(EMPTY_CLAIM, claim(FIRST, 300.0)))
    for tie in (9, 10):
        hears(head, tie, promises=(FIRST, NO_CLAIM))
    ledger.follow(NOW)
    assert [entry.reservation.tie for entry in ledger.entries] == [9]
    return ledger


@pytest.mark.parametrize(("promises", "left"), [
    ((NO_CLAIM, NO_CLAIM), 1), ((FIRST, NO_CLAIM), 1), ((ClaimId(0, 7, 2), NO_CLAIM), 1), ((NO_CLAIM, SECOND), 1),
    ((SECOND, NO_CLAIM), 0), ((THIRD, NO_CLAIM), 0), ((ClaimId(1, 1, 1), NO_CLAIM), 0),
])  # fmt: skip
def test_it_ends_when_its_tie_has_promised_a_higher_claim_for_that_side(head, reserved, promises, left):
    hears(head, 9, promises=promises)
    reserved.follow(NOW)
    assert len(reserved.entries) == left


def test_a_silent_tie_keeps_it_alive(head, reserved):
    hears(head, 9, promises=(SECOND, NO_CLAIM))
    head.views[9].alive = False
    reserved.follow(NOW)
    assert len(reserved.entries) == 1


def test_it_ends_when_its_tie_has_closed_and_opened_again(head, reserved):
    hears(head, 9, position=Dbpos.ON)
    reserved.follow(NOW)
    hears(head, 9, position=Dbpos.OFF, close_outstanding=True)
    reserved.follow(NOW)
    assert len(reserved.entries) == 1, "that may be before its close"
    hears(head, 9, close_outstanding=False)
    reserved.follow(NOW)
    assert reserved.entries == ()


def test_a_close_that_was_under_way_before_the_tie_was_seen_ready_is_not_its_attempt(head, reserved):
    """As after a restart of the owner: what it finds closed may have closed under a claim before this one."""
    again = Ledger(head, reserved.entries)
    hears(head, 9, position=Dbpos.ON)
    again.follow(NOW)
    hears(head, 9, position=Dbpos.OFF)
    again.follow(NOW)
    assert again.entries == reserved.entries
    hears(head, 9, position=Dbpos.ON)
    again.follow(NOW)
    hears(head, 9, position=Dbpos.OFF)
    again.follow(NOW)
    assert again.entries == (), "this time it was seen open under its claim before"


def test_it_ends_when_its_claimant_turns_to_another_tie(head, reserved):
    other = claim(FIRST, 300.0, tie=10, owner=11)
    hears(head, 3, claims=(EMPTY_CLAIM, other._replace(grants=(Bound(9, 0),))))
    reserved.follow(NOW)
    assert len(reserved.entries) == 1, "what is granted may still close"
    hears(head, 3, claims=(EMPTY_CLAIM, other))
    reserved.follow(NOW)
    assert reserved.entries == ()


@pytest.mark.parametrize("said", [EMPTY_CLAIM, claim(SECOND, 300.0, tie=10)], ids=["no claim", "a higher claim"])
def test_it_does_not_end_because_the_claimant_says_nothing_of_its_claim(head, reserved, said):
    hears(head, 3, claims=(EMPTY_CLAIM, said))
    reserved.follow(NOW)
    assert len(reserved.entries) == 1


def test_a_claimant_that_turned_away_and_fell_silent_keeps_it_alive(head, reserved):
    hears(head, 3, claims=(EMPTY_CLAIM, claim(FIRST, 300.0, tie=10, owner=11)))
    head.views[3].alive = False
    reserved.follow(NOW)
    assert len(reserved.entries) == 1


@pytest.mark.parametrize(
    ("outcome", "left"),
    [
        (Outcome(FIRST, 9, Reason.DID_NOT_CLOSE), 0),
        (Outcome(FIRST, 9, Reason.SPENT), 0),
        (Outcome(SECOND, 9, Reason.DID_NOT_CLOSE), 1),
        (Outcome(FIRST, 10, Reason.DID_NOT_CLOSE), 1),
    ],
    ids=["did not close", "spent", "of another claim", "of another tie"],
)
def test_it_ends_when_its_tie_says_that_the_attempt_failed(head, reserved, outcome, left):
    hears(head, 9, outcome=outcome)
    reserved.follow(NOW)
    assert len(reserved.entries) == left


@pytest.mark.parametrize(("cleared", "position", "left"), [
    ((EVENT,), Dbpos.ON, 0),
    ((EVENT,), Dbpos.OFF, 1),
    ((EVENT,), Dbpos.INTERMEDIATE, 1),
    ((), Dbpos.ON, 1),
    ((EventId(2, 66),), Dbpos.ON, 1),
])  # fmt: skip
def test_it_ends_when_its_event_is_over_and_its_tie_carries_the_load(head, reserved, cleared, position, left):
    head.cleared = cleared
    hears(head, 9, position=position)
    reserved.follow(NOW)
    assert len(reserved.entries) == 1, "what it carries is in no load yet"
    reserved.follow(NOW + LOADS_SETTLE_S - 0.1)
    assert len(reserved.entries) == 1
    reserved.follow(NOW + LOADS_SETTLE_S)
    assert len(reserved.entries) == left


def test_a_tie_that_was_not_heard_for_a_moment_must_settle_anew(head, reserved):
    head.cleared = (EVENT,)
    hears(head, 9, position=Dbpos.ON)
    reserved.follow(NOW)
    head.views[9].alive = False
    reserved.follow(NOW + 1.0)
    head.views[9].alive = True
    reserved.follow(NOW + 2.0)
    reserved.follow(NOW + 2.0 + LOADS_SETTLE_S - 0.1)
    assert len(reserved.entries) == 1
    reserved.follow(NOW + 2.0 + LOADS_SETTLE_S)
    assert reserved.entries == ()


def test_nothing_is_reserved_while_a_breaker_is_to_reclose_nor_before_its_load_is_measured_again(head):
    ledger = Ledger(head)
    hears(head, 3, position=Dbpos.OFF, reclosing=True)
    assert ask(ledger, claim(), NOW) is Reason.PEER_SILENT
    hears(head, 3, position=Dbpos.ON)
    assert ask(ledger, claim(), NOW + LOADS_SETTLE_S - 0.1) is Reason.PEER_SILENT
    assert ask(ledger, claim(), NOW + LOADS_SETTLE_S) is Reason.NONE


def test_shots_that_are_given_up_hold_up_nobody(head):
    ledger = Ledger(head)
    hears(head, 3, position=Dbpos.OFF, reclosing=True)
    assert ask(ledger, claim(), NOW) is Reason.PEER_SILENT
    hears(head, 3, reclosing=False)
    assert ask(ledger, claim(), NOW + 0.1) is Reason.NONE


# -- an island of which a later fault cuts off a part ---------------------------------------------------------


@pytest.fixture
def feeding(head, reserved):
    """With its 300 A T9 feeds sections 3 (40 A), 2 and 8 since ``NOW``; L2 is open, R3 opens for a second fault."""
    head.frozen[EVENT] = Frozen(NOW - 9.0, frozenset({1, 2, 3, 4, 5}), None, {2: 240.0, 3: 40.0, 8: 20.0}, {})
    hears(head, 2, position=Dbpos.OFF)
    hears(head, 9, position=Dbpos.ON)
    reserved.follow(NOW)
    hears(head, 3, position=Dbpos.OFF)
    return reserved


def reserves(ledger, now):
    ledger.follow(now)
    (entry,) = ledger.entries
    return entry.reservation.deciamperes


def test_what_is_cut_off_is_reserved_no_more_once_the_closed_tie_is_measured(feeding):
    assert reserves(feeding, NOW + LOADS_SETTLE_S - 0.1) == 3000
    assert reserves(feeding, NOW + LOADS_SETTLE_S) == 410, "R3 may have lagged 1 A behind"


def test_what_comes_back_is_not_reserved_by_itself(head, feeding):
    reserves(feeding, NOW + LOADS_SETTLE_S)
    hears(head, 3, position=Dbpos.ON)
    assert reserves(feeding, NOW + LOADS_SETTLE_S) == 410


NOT_LESS = {
    "nothing is cut off": lambda s: hears(s, 3, position=Dbpos.ON),
    "it is in the dead time of a shot": lambda s: hears(s, 3, reclosing=True),
    "it is not known to be cut off": lambda s: setattr(s.views[3], "alive", False),
    "the tie is silent": lambda s: setattr(s.views[9], "alive", False),
    "a load is unknown": lambda s: s.frozen[EVENT].loads_a.pop(3),
    "nothing is known of the event": lambda s: s.frozen.clear(),
}


@pytest.mark.parametrize("what", NOT_LESS)
def test_the_whole_stays_reserved_if(head, feeding, what):
    NOT_LESS[what](head)
    assert reserves(feeding, NOW + LOADS_SETTLE_S) == 3000


def test_the_whole_stays_reserved_while_the_tie_has_not_closed(head, reserved):
    head.frozen[EVENT] = Frozen(NOW - 9.0, frozenset({3}), None, {3: 40.0}, {})
    hears(head, 3, position=Dbpos.OFF)
    assert reserves(reserved, NOW + LOADS_SETTLE_S) == 3000


# -- what a closed tie carries -------------------------------------------------------------------------------


def test_what_the_closed_tie_carries_is_counted_once(head):
    ledger = Ledger(head)
    assert ask(ledger, claim(FIRST, 200.0), NOW) is Reason.NONE
    hears(head, 9, position=Dbpos.ON)
    carries(head, 9, -150.0)
    carries(head, 5, 60.0 + 150.0)
    # 210 A flow, 50 A of the reservation are not picked up yet: 139 A are left of 400 A
    assert refused(ledger, elsewhere(139.1), NOW)
    assert ask(ledger, elsewhere(139.0), NOW) is Reason.NONE


def test_a_tie_that_carries_more_than_reserved_does_not_count_as_a_credit(head):
    ledger = Ledger(head)
    ask(ledger, claim(FIRST, 100.0), NOW)
    hears(head, 9, position=Dbpos.ON)
    carries(head, 9, -150.0)
    carries(head, 5, 60.0 + 150.0)
    assert refused(ledger, elsewhere(189.1), NOW)
    assert ask(ledger, elsewhere(189.0), NOW) is Reason.NONE


def test_a_closed_tie_whose_load_is_unknown_keeps_its_whole_reservation(head):
    ledger = Ledger(head)
    ask(ledger, claim(FIRST, 200.0), NOW)
    hears(head, 9, position=Dbpos.ON)
    head.views[9].load_alive = False
    assert refused(ledger, elsewhere(139.1), NOW)


def test_no_more_reservations_are_given_than_one_frame_can_say(head):
    ledger = Ledger(head)
    for number in range(RESERVATIONS):
        assert ask(ledger, claim(ClaimId(0, 20 + number, 3), 1.0), NOW) is Reason.NONE
    assert refused(ledger, claim(ClaimId(0, 30, 3), 1.0), NOW)
    assert len(ledger.entries) == RESERVATIONS


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (
            claim(tie=11, boundary=(Bound(9, 0),)),
            Reason.BEYOND_RELEASE,
        ),  # the tie is not on the claim's boundary
        (claim(tie=77, boundary=(Bound(77, 0),)), Reason.BEYOND_RELEASE),  # nobody knows this switch
        (claim(tie=10), Reason.NO_SUPPLY),  # its path ends at another head
    ],
    ids=["tie not on the boundary", "tie unknown", "tie fed by another head"],
)
def test_a_request_that_makes_no_sense_is_refused(head, request_, reason):
    hears(head, 10, promises=(FIRST, NO_CLAIM))
    ledger = Ledger(head)
    assert ledger.judge(request_, NOW).reason is reason
    assert ledger.entries == ()


def test_what_cannot_be_known_now_is_neither_given_nor_refused(head, situation):
    head.inputs = None
    assert ask(Ledger(head), claim(), NOW) is Reason.PEER_SILENT
    one = situation(1)
    carries(one, 1, 100.0)
    one.views[2].alive = False
    ledger = Ledger(one)
    assert ask(ledger, claim(tie=9, owner=1, boundary=(Bound(9, 1),)), NOW) is Reason.PEER_SILENT
    assert ledger.entries == ()


def test_a_ledger_goes_on_with_the_reservations_of_the_process_before(head):
    before = Ledger(head)
    ask(before, claim(FIRST, 300.0), NOW)
    assert refused(Ledger(head, before.entries), elsewhere(100.0), NOW)


@pytest.mark.parametrize(
    ("reservation", "covers"),
    [
        (Reservation(FIRST, 9, 1000, whole=True), True),
        (Reservation(FIRST, 9, 1001, whole=True), True),
        (Reservation(FIRST, 9, 999, whole=True), False),
        (Reservation(SECOND, 9, 1000, whole=True), False),
        (Reservation(FIRST, 10, 1000, whole=True), False),
        (Reservation(FIRST, 9, 1000, whole=False), False),
    ],
    ids=["exact", "more", "less", "other claim", "other tie", "shared not reserved yet"],
)
def test_a_tie_is_covered_by_a_whole_reservation_for_this_claim_tie_and_amount(reservation, covers):
    assert reserved_for(FIRST, 9, (reservation,), 1000) is covers
    assert not reserved_for(FIRST, 9, (), 1000)
    assert not reserved_for(NO_CLAIM, 9, (Reservation(NO_CLAIM, 9, 1000, whole=True),), 1000)


@pytest.fixture
def below(situation):
    """Q1 is head of L2 (rated 320 A) and R3; T9 has picked up 200 A from below, as reserved, and carries them."""
    head = situation(1, rating_a={2: 320.0})
    carries(head, 1, 100.0)
    ledger = Ledger(head)
    assert ask(ledger, claim(FIRST, 200.0, owner=1, boundary=FROM_BELOW), NOW) is Reason.NONE
    hears(head, 5, position=Dbpos.OFF)
    hears(head, 9, position=Dbpos.ON)
    carries(head, 9, 200.0)
    carries(head, 1, 300.0)  # measured here and now
    ledger.follow(NOW)
    return head, ledger


def more(amperes):
    return claim(THIRD, amperes, tie=10, owner=1, boundary=FROM_BELOW)


def test_a_closed_tie_counts_whole_until_every_load_on_its_way_must_be_in(below):
    """L2 still says 90 A: 320 - 90 - 1 - 200 are left as long as that may be old."""
    _, ledger = below
    assert ask(ledger, more(29.1), NOW + 2.4) is Reason.PEER_SILENT
    assert ask(ledger, more(29.0), NOW + 2.4) is Reason.NONE
    assert ask(ledger, more(29.1), NOW + LOADS_SETTLE_S) is Reason.NONE


def test_where_nothing_is_generated_no_more_flows_further_out_than_through_the_head(below):
    """L2 says 290 A already: not 320 - 290 - 1 - 200 but 320 - 300 - 1 are left, unless generation hides load."""
    head, ledger = below
    carries(head, 2, 290.0)
    assert ask(ledger, more(19.1), NOW + 2.4) is Reason.PEER_SILENT
    head.views[11].load = replace(head.views[11].load, generation_a=(0.0, 5.0))
    assert ask(ledger, more(19.0), NOW + 2.4) is Reason.PEER_SILENT
    head.views[11].load = replace(head.views[11].load, generation_a=(0.0, 0.0))
    assert ask(ledger, more(19.0), NOW + 2.4) is Reason.NONE


# -- what several heads share: T1 above Q5 and Q11, owned by Q11 ----------------------------------------------

# 60 A flow through Q5 and 200 A through Q11, each rounded up by 1 A: 38 A of 300 A are left
T1 = SharedElement("T1", 300.0, 11, (5, 11))


@pytest.fixture
def sharing(situation):
    """Q5, head of the feeder behind T9, that draws from T1."""
    made = situation(5, shared=(T1,))
    carries(made, 5, 60.0)
    return made


@pytest.fixture
def owner(situation):
    """Q11, owner of T1 and head of its own feeder."""
    made = situation(11, shared=(T1,))
    carries(made, 11, 200.0)
    return made


def test_a_shared_element_carries_the_load_of_all_its_heads(owner):
    assert shared_load_a(owner, T1) == 262.0
    carries(owner, 5, -60.0)  # fed back by generation: no relief for the other head
    assert shared_load_a(owner, T1) == 262.0
    owner.views[5].load_alive = False
    assert shared_load_a(owner, T1) is None


def test_a_head_reserves_first_and_is_covered_only_when_the_owner_of_what_it_shares_has_reserved_too(sharing):
    ledger = Ledger(sharing)
    assert ask(ledger, claim(FIRST, 38.0), NOW) is Reason.NONE
    assert [entry.reservation for entry in ledger.entries] == [Reservation(FIRST, 9, 380, whole=False)]
    for wrong in (
        Reservation(FIRST, 9, 379, whole=True),
        Reservation(SECOND, 9, 380, whole=True),
        Reservation(FIRST, 10, 380, whole=True),
        Reservation(FIRST, 9, 380, whole=False),
    ):
        hears(sharing, 11, reservations=(wrong,))
        ledger.follow(NOW)
        assert not ledger.entries[0].reservation.whole, wrong
    hears(sharing, 11, reservations=(Reservation(FIRST, 9, 380, whole=True),))
    sharing.views[11].alive = False
    ledger.follow(NOW)
    assert not ledger.entries[0].reservation.whole, "an owner that is silent"
    sharing.views[11].alive = True
    ledger.follow(NOW)
    assert ledger.entries[0].reservation.whole


def test_a_refusal_of_the_owner_becomes_the_heads_answer_and_what_it_reserved_stands_while_it_is_asked_for(sharing):
    """So that its owner can judge it again; it ends as any other when the claimant turns to another tie."""
    ledger = Ledger(sharing)
    hears(sharing, 3, claims=(EMPTY_CLAIM, claim(FIRST, 39.0)))
    ask(ledger, claim(FIRST, 39.0), NOW)
    assert ledger.refused_elsewhere() == []
    made = Reservation(FIRST, 9, 390, whole=False)
    hears(sharing, 11, outcome=Outcome(FIRST, 9, Reason.NO_CAPACITY, 380))
    ledger.follow(NOW)
    assert [entry.reservation for entry in ledger.entries] == [made]
    assert ledger.refused_elsewhere() == [Outcome(FIRST, 9, Reason.NO_CAPACITY, 380)]
    hears(sharing, 11, outcome=NO_OUTCOME, reservations=(made._replace(whole=True),))
    ledger.follow(NOW)
    assert [entry.reservation for entry in ledger.entries] == [made._replace(whole=True)]
    assert ledger.refused_elsewhere() == []


def test_what_an_owner_refuses_ends_when_its_claimant_turns_to_another_tie(sharing):
    ledger = Ledger(sharing)
    hears(sharing, 3, claims=(EMPTY_CLAIM, claim(FIRST, 39.0)))
    ask(ledger, claim(FIRST, 39.0), NOW)
    hears(sharing, 11, outcome=Outcome(FIRST, 9, Reason.NO_CAPACITY))
    ledger.follow(NOW)
    hears(sharing, 3, claims=(EMPTY_CLAIM, claim(FIRST, 39.0, tie=10, owner=11)))
    ledger.follow(NOW)
    assert ledger.entries == ()


def test_a_head_reserves_nothing_while_the_owner_of_what_it_shares_is_silent(sharing):
    sharing.views[11].alive = False
    ledger = Ledger(sharing)
    assert ask(ledger, claim(FIRST, 10.0), NOW) is Reason.PEER_SILENT
    assert ledger.entries == ()


@pytest.mark.parametrize(("deciamperes", "answer"), [(380, Reason.NONE), (381, Reason.NO_CAPACITY)])
def test_an_owner_gives_what_the_loads_of_all_heads_leave(owner, deciamperes, answer):
    asks = Reservation(FIRST, 9, deciamperes, whole=False)
    hears(owner, 5, reservations=(asks,))
    ledger = Ledger(owner)
    (said,) = ledger.forwarded(NOW)
    assert said[:3] == (FIRST, 9, answer)
    assert instead(said, 380) if answer else said.deciamperes == 0
    given = [] if answer else [Reservation(FIRST, 9, deciamperes, whole=True)]
    assert [entry.reservation for entry in ledger.entries] == given
    if given:
        assert ledger.forwarded(NOW) == [], "given once"


def test_an_owner_waits_for_the_load_of_a_head_that_has_opened(owner):
    """Its last word of a load was lost: it says 60 A, and is open."""
    hears(owner, 5, position=Dbpos.OFF, reservations=(Reservation(FIRST, 9, 900, whole=False),))
    ledger = Ledger(owner)
    assert [answer.reason for answer in ledger.forwarded(NOW)] == [Reason.PEER_SILENT]
    just = NOW + LOADS_SETTLE_S - 0.01
    assert [answer.reason for answer in ledger.forwarded(just)] == [Reason.PEER_SILENT]
    assert ledger.entries == ()
    measured = ledger.forwarded(NOW + LOADS_SETTLE_S)
    assert [answer.reason for answer in measured] == [Reason.NO_CAPACITY], "it may measure wrongly: believed"
    carries(owner, 5, 0.0)
    assert [answer.reason for answer in ledger.forwarded(NOW + LOADS_SETTLE_S)] == [Reason.NONE]


def test_an_owner_believes_the_load_of_a_head_that_is_closed(owner):
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 900, whole=False),))
    assert [answer.reason for answer in Ledger(owner).forwarded(NOW)] == [Reason.NO_CAPACITY]


def test_an_owner_counts_what_it_has_given_to_all_heads_together(owner):
    ledger = Ledger(owner)
    assert ask(ledger, claim(SECOND, 20.0, tie=10, owner=11), NOW) is Reason.NONE
    assert [entry.reservation for entry in ledger.entries] == [Reservation(SECOND, 10, 200, whole=True)]
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 181, whole=False),))
    assert [answer.reason for answer in ledger.forwarded(NOW)] == [Reason.NO_CAPACITY]
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 180, whole=False),))
    assert [answer.reason for answer in ledger.forwarded(NOW)] == [Reason.NONE]
    assert refused(ledger, claim(THIRD, 0.1, tie=10, owner=11), NOW)


@pytest.mark.parametrize("what", ["load of a head unknown", "head silent"])
def test_an_owner_gives_nothing_on_what_it_cannot_know(owner, what):
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 100, whole=False),))
    if what == "head silent":
        owner.views[5].alive = False
    else:
        owner.views[5].load_alive = False
    ledger = Ledger(owner)
    assert [answer.reason for answer in ledger.forwarded(NOW)] == (
        [Reason.PEER_SILENT] if what != "head silent" else []
    )
    assert ledger.entries == ()


def test_what_an_owner_has_given_ends_with_the_reservation_of_its_head_and_not_with_its_silence(owner):
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 380, whole=False),))
    ledger = Ledger(owner)
    ledger.forwarded(NOW)
    ledger.follow(NOW)
    assert len(ledger.entries) == 1
    hears(owner, 5, reservations=())
    owner.views[5].alive = False
    ledger.follow(NOW)
    assert len(ledger.entries) == 1
    owner.views[5].alive = True
    ledger.follow(NOW)
    assert ledger.entries == ()


def test_an_owner_follows_its_head_to_less_and_not_back_to_more(owner):
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 380, whole=False),))
    ledger = Ledger(owner)
    ledger.forwarded(NOW)
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 100, whole=True), Reservation(SECOND, 9, 50, whole=True)))
    owner.views[5].alive = False
    assert reserves(ledger, NOW) == 380, "a head that is silent"
    owner.views[5].alive = True
    assert reserves(ledger, NOW) == 100
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 380, whole=True),))
    assert reserves(ledger, NOW) == 100


def test_a_load_that_moved_behind_another_head_counts_whole_until_that_heads_load_is_in(owner):
    ledger = Ledger(owner)
    hears(owner, 5, reservations=(Reservation(FIRST, 9, 300, whole=False),))
    ledger.forwarded(NOW)
    hears(owner, 9, position=Dbpos.ON)
    carries(owner, 9, -30.0)
    ledger.follow(NOW)
    # Q5 still says 60 A: what T9 carries is in no load yet, so 8 A are left, not 38
    asks = claim(SECOND, 8.1, tie=10, owner=11)
    assert ask(ledger, asks, NOW + 2.4) is Reason.PEER_SILENT
    carries(owner, 5, 90.0)
    assert ask(ledger, claim(SECOND, 8.0, tie=10, owner=11), NOW + LOADS_SETTLE_S) is Reason.NONE
    assert refused(ledger, claim(SECOND, 8.1, tie=10, owner=11), NOW + LOADS_SETTLE_S)


def test_a_head_that_owns_what_it_shares_gives_a_whole_reservation_at_once(owner):
    ledger = Ledger(owner)
    assert refused(ledger, claim(FIRST, 38.1, tie=10, owner=11), NOW)
    assert ask(ledger, claim(FIRST, 38.0, tie=10, owner=11), NOW) is Reason.NONE
    assert ledger.entries[0].reservation.whole


def test_after_a_restart_a_request_that_is_no_longer_heard_is_no_end_of_a_reservation(head, owner):
    """What this process has not heard asked for may still be asked for: the frame that asks may only be late."""
    made = Ledger(head)
    ask(made, claim(FIRST, 100.0), NOW)
    hears(head, 3, claims=(EMPTY_CLAIM, claim(FIRST, 100.0, tie=10, owner=11)))
    again = Ledger(head, made.entries)
    again.follow(NOW)
    assert again.entries == made.entries
    given = Entry(Reservation(FIRST, 9, 100, whole=True), NO_EVENT, 0, (5,))
    again = Ledger(owner, (given,))
    again.follow(NOW)
    assert again.entries == (given,)


def test_a_reservation_of_before_that_names_no_path_still_counts_and_ends_like_any_other(head):
    """As a record of the first version leaves it (see ``stored``): 60 A flow, 300 A are reserved."""
    made = Reservation(FIRST, 9, 3000, whole=True)
    hears(head, 9, promises=(FIRST, NO_CLAIM))
    ledger = Ledger(head, (Entry(made, NO_EVENT, 0, ()),))
    ledger.follow(NOW)
    assert [entry.reservation for entry in ledger.entries] == [made]
    assert refused(ledger, elsewhere(39.1), NOW)
    hears(head, 9, promises=(SECOND, NO_CLAIM))
    ledger.follow(NOW)
    assert ledger.entries == ()


def test_a_reservation_of_before_that_names_no_path_counts_on_every_switch_of_the_way(situation):
    """L2 carries 90 A of 320: 300 A less 70 A are left there, although nobody knows whether T9 draws through it."""
    head = situation(1, rating_a={2: 320.0, 1: 4000.0})
    carries(head, 1, 4000.0 - 1000.0)
    ledger = Ledger(head, (Entry(Reservation(FIRST, 9, 700, whole=True), NO_EVENT, 1, ()),))
    asks = {"tie": 10, "owner": 1, "boundary": FROM_BELOW}
    assert refused(ledger, claim(THIRD, 159.1, **asks), NOW)
    assert ask(ledger, claim(THIRD, 159.0, **asks), NOW) is Reason.NONE


# -- the agent of a head: Q5, head of the feeder behind T9 -------------------------------------------------


@pytest.fixture
def agent(bench):
    made = bench(5).quiet()
    made.hear(9, promises=(FIRST, NO_CLAIM))
    made.claim = Claim(FIRST, EVENT, (Bound(9, 0), Bound(10, 0)), Request(9, 5, 400), ())
    made.hear(3, claims=(EMPTY_CLAIM, made.claim), last_event=EVENT)
    return made


def test_an_owner_publishes_a_reservation_only_when_it_is_durable(agent):
    agent.disk_works = False
    turned = agent.turn(after=0.01)
    assert turned.fast.reservations == ()
    assert [entry.reservation for entry in turned.records[-1].reservations] == [Reservation(FIRST, 9, 400, whole=True)]
    agent.disk_works = True
    assert agent.turn(after=0.01).fast.reservations == (Reservation(FIRST, 9, 400, whole=True),)


def test_an_owner_publishes_its_refusal_with_claim_tie_and_reason(agent):
    agent.hear(3, claims=(EMPTY_CLAIM, agent.claim._replace(request=Request(9, 5, 9000))))
    first = agent.turn(after=0.01)
    assert first.fast.outcome == NO_OUTCOME, "a load may be measured a moment before its tie is heard to have closed"
    assert agent.agent.next_deadline <= agent.now + SHORT_CONFIRMED_S
    turned = agent.turns(0.1)
    assert turned.fast.outcome[:3] == (FIRST, 9, Reason.NO_CAPACITY)
    assert instead(turned.fast.outcome, 3390), "Q5 carries 60 A of 400, rounded up by 1 A"
    assert turned.notes.count("capacity refused") == 1
    assert turned.fast.reservations == ()


def test_an_owner_judges_a_refused_request_again_when_capacity_frees(agent):
    agent.feed(flow_a=390.0)
    agent.turn(after=0.01)
    assert agent.turn(after=0.1).fast.outcome[:3] == (FIRST, 9, Reason.NO_CAPACITY)
    agent.feed(flow_a=60.0)
    assert agent.turn(after=0.01).fast.reservations == (Reservation(FIRST, 9, 400, whole=True),)


@pytest.mark.parametrize(
    "changes", [{"owner": 11}, {"owner": 0}, {"tie": 0}], ids=["of another", "of nobody", "for nothing"]
)
def test_a_request_to_another_owner_is_left_alone(agent, changes):
    request = agent.claim.request._replace(**changes)
    agent.hear(3, claims=(EMPTY_CLAIM, agent.claim._replace(request=request)))
    assert agent.turn(after=0.01).fast.reservations == ()


def test_an_owner_keeps_its_reservations_over_a_restart(agent, bench):
    agent.turn(after=0.01)
    again = bench(5, replace(agent.agent._record, clean=True)).quiet()
    assert again.turn(after=0.01).fast.reservations == (Reservation(FIRST, 9, 400, whole=True),)


# -- the agents of Q5, a head, and Q11, the owner of T1 that both draw from --------------------------------

HELD = Reservation(FIRST, 9, 380, whole=False)


@pytest.fixture
def asked_head(bench):
    """R3 asks Q5 for 38 A at T9."""
    made = bench(5, shared=(T1,)).quiet()
    made.hear(9, promises=(FIRST, NO_CLAIM))
    made.claim = Claim(FIRST, EVENT, BOTH_TIES, Request(9, 5, 380), ())
    made.hear(3, claims=(EMPTY_CLAIM, made.claim), last_event=EVENT)
    return made


@pytest.fixture
def owning(bench):
    return bench(11, shared=(T1,)).quiet()


def test_a_heads_reservation_is_on_disk_before_it_asks_the_owner_and_again_before_it_counts(asked_head):
    asked_head.disk_works = False
    assert asked_head.turn(after=0.01).fast.reservations == ()
    asked_head.disk_works = True
    assert asked_head.turn(after=0.01).fast.reservations == (HELD,)
    asked_head.disk_works = False
    asked_head.hear(11, reservations=(HELD._replace(whole=True),))
    turned = asked_head.turn(after=0.01)
    assert turned.fast.reservations == (HELD,)
    assert [entry.reservation for entry in turned.records[-1].reservations] == [HELD._replace(whole=True)]
    asked_head.disk_works = True
    assert asked_head.turn(after=0.01).fast.reservations == (HELD._replace(whole=True),)


def test_a_head_passes_on_what_the_owner_refuses_until_the_owner_has_reserved(asked_head):
    asked_head.turn(after=0.01)
    asked_head.hear(11, outcome=Outcome(FIRST, 9, Reason.NO_CAPACITY))
    turned = asked_head.turn(after=0.01)
    assert turned.fast.outcome == Outcome(FIRST, 9, Reason.NO_CAPACITY)
    assert turned.notes.count("capacity refused") == 1
    assert asked_head.turn(after=0.01).notes.count("capacity refused") == 0, "said once"
    asked_head.hear(11, outcome=NO_OUTCOME, reservations=(HELD._replace(whole=True),))
    turned = asked_head.turn(after=0.01)
    assert turned.fast.reservations == (HELD._replace(whole=True),)
    assert turned.fast.outcome == NO_OUTCOME


def test_a_head_waits_for_an_owner_that_it_does_not_hear_and_says_nothing(asked_head, bench):
    asked_head.turn(after=0.01)
    asked_head.agent.peer_lost(11, fast=True)
    turned = asked_head.turns(1.0)
    assert (turned.fast.reservations, turned.fast.outcome) == ((HELD,), NO_OUTCOME)
    late = bench(5, shared=(T1,)).quiet()
    late.hear(9, promises=(FIRST, NO_CLAIM))
    late.agent.peer_lost(11, fast=True)
    late.hear(3, claims=(EMPTY_CLAIM, asked_head.claim), last_event=EVENT)
    turned = late.turns(1.0)
    assert (turned.fast.reservations, turned.fast.outcome) == ((), NO_OUTCOME)


def test_an_owner_reserves_for_a_head_on_disk_first(owning):
    owning.hear(5, reservations=(HELD,), last_event=EVENT)
    owning.disk_works = False
    turned = owning.turn(after=0.01)
    assert turned.fast.reservations == ()
    assert [entry.reservation for entry in turned.records[-1].reservations] == [HELD._replace(whole=True)]
    owning.disk_works = True
    assert owning.turn(after=0.01).fast.reservations == (HELD._replace(whole=True),)


def test_an_owner_refuses_a_head_and_reserves_when_capacity_frees(owning):
    asks = HELD._replace(deciamperes=381)
    owning.hear(5, reservations=(asks,), last_event=EVENT)
    turned = owning.turn(after=0.01)
    assert turned.fast.reservations == ()
    assert turned.fast.outcome[:3] == (FIRST, 9, Reason.NO_CAPACITY)
    assert instead(turned.fast.outcome, 380)
    owning.feed(flow_a=190.0, current_a=190.0)
    turned = owning.turn(after=0.01)
    assert (turned.fast.reservations, turned.fast.outcome) == ((asks._replace(whole=True),), NO_OUTCOME)


def test_what_an_owner_reserved_for_a_head_outlives_its_restart_and_ends_with_the_heads_own(owning, bench):
    owning.hear(5, reservations=(HELD,), last_event=EVENT)
    record = owning.turn(after=0.01).records[-1]
    again = bench(11, replace(record, clean=True), shared=(T1,))
    assert again.turn().fast.reservations == (HELD._replace(whole=True),)
    again.quiet()
    assert again.turn(after=0.01).fast.reservations == (HELD._replace(whole=True),), "Q5 may not have said so yet"
    again.hear(5, reservations=(HELD._replace(whole=True),))
    again.turn(after=0.01)
    again.hear(5, reservations=())
    assert again.turn(after=0.01).fast.reservations == ()
