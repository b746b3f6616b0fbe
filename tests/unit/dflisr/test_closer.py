"""Who may close: promises, the one attempt of a claim, and the guard of every close (design section 4, step 3)."""

from __future__ import annotations

import pytest

from ied_agents.control.decision import Authority, Behaviour, Reason
from ied_agents.dflisr.closer import SUPPLY_STEADY_S
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    NO_CLAIM,
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
    SideState,
)
from ied_agents.dflisr.stored import Record
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT
BOTH_SIDES = (Bound(9, 0), Bound(9, 1))


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
        {"position": Dbpos.INTERMEDIATE},
        {"position": Dbpos.BAD},
        {"position_valid": False},
    ],
    ids=str,
)
def test_a_switch_whose_position_is_not_known_does_not_promise(tie, changes):
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
    reserve(agent, Reservation(claim.id, 10, 400, whole=True))


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
    "supply loaded meanwhile beyond what was reserved": (lambda a: a.load(5, flow_a=359.1), Reason.NO_CAPACITY),
    "load of the supply not known": (lambda a: a.agent.peer_lost(5, fast=False), Reason.NO_CAPACITY),
    "what is shared not reserved yet": (
        lambda a: reserve(a, Reservation(C, 9, 400, whole=False)),
        Reason.NO_CAPACITY,
    ),
    "reservation of another claim": (lambda a: reserve(a, Reservation(OTHER, 9, 400, whole=True)), Reason.NO_CAPACITY),
    "reservation for another tie": (lambda a: reserve(a, Reservation(C, 10, 400, whole=True)), Reason.NO_CAPACITY),
    "owner of the capacity silent": (lose(5), Reason.SUPPLY_NOT_LIVE),
    "owner of the capacity in test": (hears(5, behaviour=Behaviour.TEST), Reason.SUPPLY_NOT_LIVE),
    "own pickup": (
        feeds(pickup=True, direction=Direction.UNKNOWN, current_a=3000.0),
        Reason.ISLAND_NOT_DEAD,
    ),
    "tagged": (lambda a: a.agent.tag("crew 7", 1), Reason.TAGGED),
    "hot-line tag": (lambda a: a.agent.tag("crew 7", 2), Reason.TAGGED),
    "under local control": (lambda a: a.agent.set_authority(Authority.LOCAL), Reason.LOCAL),
    "blocked": (lambda a: a.agent.set_mode(Behaviour.BLOCKED), Reason.MODE),
    "in test": (lambda a: a.agent.set_mode(Behaviour.TEST), Reason.MODE),
    "in test, blocked": (lambda a: a.agent.set_mode(Behaviour.TEST_BLOCKED), Reason.MODE),
    "off": (lambda a: a.agent.set_mode(Behaviour.OFF), None),
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
    reserve(promised, Reservation(C, 9, 400, whole=True))
    promised.feed()
    assert promised.turn(after=0.5).orders == ["close"]


def test_a_supply_that_was_lost_must_be_steady_before_it_is_relied_on(promised):
    promised.feed(voltage=(DARK, DARK))
    promised.turn(after=0.05)
    promised.feed(voltage=(DARK, LIVE))
    grant(promised)
    promised.turn(after=0.01)
    assert promised.turns(SUPPLY_STEADY_S - 0.1).orders == []
    assert promised.turns(0.2).orders == ["close"]


def test_or_every_load_on_its_way_must_have_been_heard_anew(promised):
    promised.feed(voltage=(DARK, DARK))
    promised.turn(after=0.05)
    promised.feed(voltage=(DARK, LIVE))
    grant(promised)
    assert promised.turns(0.2).orders == []
    promised.load(5)
    assert promised.turns(0.1).orders == ["close"]


def test_a_switch_that_holds_an_island_split_closes_only_for_who_releases_it(bench, dead_section_3):
    """T9, by a claim after a fault, stays open while it holds; an operator or a return to normal may close it."""
    held = Record(held=False, clean=True, hold_claim=ClaimId(0, 1, 2), hold_event=EventId(1, 65))
    for kind in ClaimKind:
        agent = bench(9, held).quiet()
        agent.claim = dead_section_3(agent)._replace(kind=kind)
        agent.hear(3, claims=(EMPTY_CLAIM, agent.claim))
        agent.turn(after=0.01)
        grant(agent)
        releases = kind in (ClaimKind.RETURN, ClaimKind.MANUAL)
        turned = agent.turns(2.5)
        assert (turned.orders[:1] == ["close"]) is releases, kind
        if not releases:
            assert turned.fast.outcome == Outcome(C, 9, Reason.HELD)


def test_a_refused_attempt_is_spent_even_if_the_condition_comes_later(promised):
    reserve(promised)
    grant(promised)
    promised.turns(2.5)
    reserve(promised, Reservation(C, 9, 400, whole=True))
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
    turned = agent.turns(2.5)
    assert turned.orders == []
    assert turned.fast.outcome == Outcome(C, 9, Reason.SPENT), "the claimant waits for an end of the attempt"


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
    reserve(promised, Reservation(OTHER, 9, 400, whole=True))
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


@pytest.mark.parametrize("granted", [False, True])
def test_a_switch_asked_by_both_sides_opens_unless_that_same_claim_has_granted_it(promised, granted):
    """T9 has given section 3 back; R3 does not close, and has T9 serve it again under the claim that opened it."""
    promised.claim = promised.claim._replace(kind=ClaimKind.RETURN, boundary=(*BOTH_SIDES, Bound(10, 0)))
    grant(promised)
    assert promised.turn(after=0.01).orders == ["close"]
    promised.feed(position=Dbpos.ON, voltage=(LIVE, LIVE))
    if not granted:
        promised.hear(3, claims=(EMPTY_CLAIM, promised.claim))
    assert promised.turns(0.5).orders[:1] == ([] if granted else ["open"])
