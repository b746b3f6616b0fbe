"""Capacity: what a tie offers, and the ledger of the head switch that hands it out.

A published load may be 1 A behind the real one; every element counts that 1 A as load.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.capacity import Ledger, load_a, own_request_granted, spare_a, supply_path
from ied_agents.dflisr.records import Bound, Claim, ClaimId, LoadState, Request, Reservation
from ied_agents.iec61850.dbpos import Dbpos

FIRST, SECOND, THIRD = ClaimId(0, 7, 3), ClaimId(0, 8, 3), ClaimId(0, 9, 1)


BOTH_TIES = (Bound(9, 0), Bound(10, 0))


def claim(claim_id=FIRST, amperes=100.0, tie=9, owner=5, boundary=BOTH_TIES):
    return Claim(claim_id, (2, 65), boundary, Request(tie, owner, round(amperes * 10)), ())


def hears(situation, number, **changes):
    view = situation.views[number]
    view.state = replace(view.state, **changes)


def carries(situation, number, amperes):
    if number == situation.me.number:
        from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

        situation.inputs = SwitchInputs(
            *(number, 1, 1, Dbpos.ON, True, False, Direction.UNKNOWN, False),
            *(amperes, abs(amperes), (Voltage.PRESENT, Voltage.PRESENT), 0.0),
        )
    else:
        situation.views[number].load = LoadState(situation.views[number].state.incarnation, amperes)


@pytest.fixture
def head(situation):
    """Q5, head of the feeder behind T9, carrying 60 A of 400."""
    made = situation(5)
    carries(made, 5, 60.0)
    return made


# -- what a tie offers ---------------------------------------------------------------------------------------


def test_the_path_of_a_tie_ends_with_the_head_of_its_feeder(situation):
    assert supply_path(situation(9), Bound(9, 0)) == [5]
    assert supply_path(situation(9), Bound(9, 1)) == [3, 2, 1]


def test_a_tie_offers_the_least_of_rating_minus_load_along_its_path(situation):
    tie = situation(9)
    assert spare_a(tie, 1) == 299.0  # Q1 carries 100 of 400, L2 90, R3 40
    carries(tie, 2, -350.0)  # the direction of the load does not matter
    assert spare_a(tie, 1) == 49.0


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
    "open": lambda view: setattr(view, "state", replace(view.state, position=Dbpos.OFF)),
    "position of bad quality": lambda view: setattr(view, "state", replace(view.state, position_quality=1)),
    "in test": lambda view: setattr(view, "state", replace(view.state, behaviour=Behaviour.TEST)),
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
    assert ledger.judge(claim(amperes=339.0)) is Reason.NONE
    assert ledger.find(FIRST, 9, 3390) is not None
    assert ledger.find(FIRST, 9, 3391) is None
    assert ledger.find(SECOND, 9, 3390) is None
    assert ledger.find(FIRST, 10, 3390) is None


def test_a_head_refuses_what_exceeds_its_rating_by_a_tenth_of_an_ampere(head):
    ledger = Ledger(head)
    assert ledger.judge(claim(amperes=339.1)) is Reason.NO_CAPACITY
    assert ledger.entries == ()


def test_the_tie_itself_must_bear_the_request(situation):
    head = situation(5, rating_a={9: 90.0})
    carries(head, 5, 60.0)
    assert Ledger(head).judge(claim(amperes=89.0)) is Reason.NONE
    assert Ledger(head).judge(claim(amperes=89.1)) is Reason.NO_CAPACITY


def test_an_element_between_head_and_tie_must_bear_the_request(situation):
    head = situation(1)
    carries(head, 1, 100.0)
    carries(head, 2, 350.0)
    to_9_from_below = claim(tie=9, owner=1, amperes=49.0, boundary=(Bound(9, 1),))
    assert Ledger(head).judge(to_9_from_below) is Reason.NONE
    assert Ledger(head).judge(claim(tie=9, owner=1, amperes=49.1, boundary=(Bound(9, 1),))) is Reason.NO_CAPACITY


def test_two_reservations_together_stay_within_the_rating(head):
    ledger = Ledger(head)
    assert ledger.judge(claim(FIRST, 200.0)) is Reason.NONE
    assert ledger.judge(claim(THIRD, 139.1)) is Reason.NO_CAPACITY
    assert ledger.judge(claim(THIRD, 139.0)) is Reason.NONE
    assert [entry.reservation.deciamperes for entry in ledger.entries] == [2000, 1390]


def test_what_a_claim_asks_anew_replaces_what_it_had(head):
    ledger = Ledger(head)
    assert ledger.judge(claim(FIRST, 200.0)) is Reason.NONE
    assert ledger.judge(claim(FIRST, 339.0)) is Reason.NONE
    assert [entry.reservation for entry in ledger.entries] == [Reservation(FIRST, 9, 3390)]


def test_a_refused_increase_leaves_what_was_reserved(head):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 200.0))
    assert ledger.judge(claim(FIRST, 350.0)) is Reason.NO_CAPACITY
    assert [entry.reservation for entry in ledger.entries] == [Reservation(FIRST, 9, 2000)]


def test_a_reservation_ends_only_when_all_switches_of_its_claim_promised_a_higher_one(head):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 300.0))
    none = ClaimId(0, 0, 0)
    for nine, ten, ended in [
        (none, none, False),
        (FIRST, FIRST, False),
        (SECOND, FIRST, False),
        (FIRST, SECOND, False),
        (SECOND, SECOND, True),
    ]:
        hears(head, 9, promises=(nine, none))
        hears(head, 10, promises=(ten, none))
        assert ledger.drop_ended() is ended, (nine, ten)
    assert ledger.entries == ()
    assert ledger.judge(claim(SECOND, 339.0)) is Reason.NONE


def test_a_promise_for_the_other_side_does_not_end_a_reservation(head):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 300.0))
    for number in (9, 10):
        hears(head, number, promises=(ClaimId(0, 0, 0), SECOND))
    assert not ledger.drop_ended()


@pytest.mark.parametrize("silent", [9, 10])
def test_a_silent_switch_keeps_its_reservation_alive(head, silent):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 300.0))
    for number in (9, 10):
        hears(head, number, promises=(SECOND, ClaimId(0, 0, 0)))
    head.views[silent].alive = False
    assert not ledger.drop_ended()
    assert len(ledger.entries) == 1


def test_what_the_closed_tie_carries_is_counted_once(head):
    ledger = Ledger(head)
    assert ledger.judge(claim(FIRST, 200.0)) is Reason.NONE
    hears(head, 9, position=Dbpos.ON)
    carries(head, 9, -150.0)
    carries(head, 5, 60.0 + 150.0)
    # 210 A flow, 50 A of the reservation are not picked up yet: 139 A are left of 400 A
    assert ledger.judge(claim(THIRD, 139.1, tie=10, boundary=(Bound(10, 0),))) is not Reason.NONE
    assert ledger.judge(claim(THIRD, 139.1, boundary=(Bound(9, 0),))) is Reason.NO_CAPACITY
    assert ledger.judge(claim(THIRD, 139.0, boundary=(Bound(9, 0),))) is Reason.NONE


def test_a_tie_that_carries_more_than_reserved_does_not_count_as_a_credit(head):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 100.0))
    hears(head, 9, position=Dbpos.ON)
    carries(head, 9, -150.0)
    carries(head, 5, 60.0 + 150.0)
    assert ledger.judge(claim(THIRD, 189.1, boundary=(Bound(9, 0),))) is Reason.NO_CAPACITY
    assert ledger.judge(claim(THIRD, 189.0, boundary=(Bound(9, 0),))) is Reason.NONE


def test_a_closed_tie_whose_load_is_unknown_keeps_its_whole_reservation(head):
    ledger = Ledger(head)
    ledger.judge(claim(FIRST, 200.0))
    hears(head, 9, position=Dbpos.ON)
    head.views[9].load_alive = False
    assert ledger.judge(claim(THIRD, 139.1, boundary=(Bound(9, 0),))) is Reason.NO_CAPACITY


def test_no_more_reservations_are_given_than_one_frame_can_say(head):
    ledger = Ledger(head)
    for number in range(4):
        assert ledger.judge(claim(ClaimId(0, 20 + number, 3), 1.0)) is Reason.NONE
    assert ledger.judge(claim(ClaimId(0, 30, 3), 1.0)) is Reason.NO_CAPACITY
    assert len(ledger.entries) == 4


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
    ledger = Ledger(head)
    assert ledger.judge(request_) is reason
    assert ledger.entries == ()


def test_what_cannot_be_known_now_is_neither_given_nor_refused(head, situation):
    head.inputs = None
    assert Ledger(head).judge(claim()) is Reason.PEER_SILENT
    one = situation(1)
    carries(one, 1, 100.0)
    one.views[2].alive = False
    ledger = Ledger(one)
    assert ledger.judge(claim(tie=9, owner=1, boundary=(Bound(9, 1),))) is Reason.PEER_SILENT
    assert ledger.entries == ()


def test_a_ledger_goes_on_with_the_reservations_of_the_process_before(head):
    before = Ledger(head)
    before.judge(claim(FIRST, 300.0))
    assert Ledger(head, before.entries).judge(claim(THIRD, 100.0)) is Reason.NO_CAPACITY


@pytest.mark.parametrize(
    ("reservation", "granted"),
    [
        (Reservation(FIRST, 9, 1000), True),
        (Reservation(FIRST, 9, 1001), True),
        (Reservation(FIRST, 9, 999), False),
        (Reservation(SECOND, 9, 1000), False),
        (Reservation(FIRST, 10, 1000), False),
    ],
)
def test_a_request_is_granted_by_a_reservation_for_this_claim_tie_and_amount(reservation, granted):
    assert own_request_granted(claim(FIRST, 100.0), (reservation,)) is granted
    assert not own_request_granted(claim(FIRST, 100.0), ())
    assert not own_request_granted(claim(ClaimId(0, 0, 0), 0.0), (Reservation(ClaimId(0, 0, 0), 9, 0),))
