"""A small world in which the restoration protocol is run through every interleaving.

An island of two sections::

    source -- T0 -- a -- S -- b -- T1 -- source

T0 and T1 are ties, S a closed switch at which the island may be split. Both ties draw from one transformer, whose
owner hands out its capacity: a section needs one unit of it, and X, a claimant of another island that is granted
whatever it is promised, one more than there is. Claimants are interchangeable, claims are numbered by rank, and a
claimant may take any number not yet used: that covers every order of authority epoch, number and switch, and claimants
that have not seen each other's claims.

Frames are facts that stay true once they were published: "T0, open, has promised claim 2", "S, closed, has promised it
on both sides". A receiver may act on any of them at any time or never, so loss, delay, duplication, reordering and
replay need no steps of their own. Only where an old frame could say what a newer one takes back, the requests of a
claimant and the positions of a tie as the owner of capacity hears them, their order is kept, and forgotten when the
receiver restarts.

A record that was handed to the disk and has not arrived there when its agent crashes was never published; the run is
then the same as one in which the step before it was not taken. Steps that make something durable are therefore one with
the writing, as long as the tables keep it so; a table that does not leaves the disk behind.

Clocks appear nowhere, save in one assumption: an apparatus moves within its longest operating time or not at all. So
measured loads may be of any age here, and what a tie carries counts by its reservation alone.

What it does not model: fault current and flags, locks, tags, modes and tests, returns to normal and transfers; a
reservation that ends because its event is cleared (CARRIED: a matter of time); an owner of what is shared beside the
head, so neither HELD nor its refusals; a person who closes a switch by hand; what amounts are made of. Authority epochs
are in the ranks: of all orders in which claims can stand, every one is run.

Longer than most: the world is one thing, and its steps read side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ied_agents.dflisr.capacity import asks_for, promised_higher
from ied_agents.dflisr.closer import higher
from ied_agents.dflisr.machines import (
    ATTEMPT,
    CLAIM,
    RESERVATION,
    AttemptEvent,
    AttemptState,
    ClaimEvent,
    ClaimState,
    ReservationEvent,
    ReservationState,
)
from ied_agents.dflisr.records import NO_CLAIM, NO_EVENT, Bound, Claim, ClaimId, Request, Reservation
from tools.model_check.explore import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ied_agents.machine import Machine

SWITCHES: Final = ("T0", "T1", "S")
SIDES: Final = ("T0", "T1", "S towards a", "S towards b")
"""Switch sides that can energise a section: the first and third section a, the others b."""
SWITCH_OF: Final = (0, 1, 2, 2)
_SIDES_OF: Final = ((0,), (1,), (2, 3))
_SPLITTER: Final = 2


class Kind(IntEnum):
    """What a claim covers, by the positions that its claimant believes in."""

    WHOLE = 0
    SPLIT = 1
    PART_A = 2
    PART_B = 3


ASKED: Final = ((0, 1, 2), (0, 1, 2, 3), (0, 2), (1, 3))
"""By kind, the sides named in the claim; of a switch inside one side, which stands for both while it is closed."""
GRANTABLE: Final = ((0, 1), (0, 1), (0, 2), (1, 3))
"""By what is served, the sides that can energise it."""
MOST_GRANTS: Final = (1, 2, 1, 1)
UNITS: Final = (2, 1, 1, 1)

S_CLOSED: Final = 1 << 8
"""Fact of a claim: S has said that it is closed and that both its sides promised the claim."""
T_CLOSED: Final = (1 << 9, 1 << 10)
"""The same of T0 and T1."""
_S_STAGES: Final = 0xF0
S_OPENED: Final = 1 << 11
"""Fact of a claim: S has said that it is open after it promised the claim."""


_SERVED: Final = (
    (Kind.WHOLE, Kind.PART_A, Kind.PART_B),
    (Kind.SPLIT,),
    (Kind.PART_A,),
    (Kind.PART_B,),
)
"""By kind, what may come to be served: a claim on the whole goes on for a part once S is found open."""
_PARTS: Final = ((Kind.WHOLE,), (Kind.PART_A, Kind.PART_B), (Kind.PART_A,), (Kind.PART_B,))
_OPENED: Final = ((), (Kind.PART_A, Kind.PART_B))


class Table:
    """A machine of :mod:`ied_agents.dflisr.machines` with states and events as small integers."""

    def __init__(self, machine: Machine[Any, Any], states: Iterable[Any], events: Iterable[Any]) -> None:
        number = {state: place for place, state in enumerate(states)}
        self.step = {
            (number[state], place): number[machine.step(state, event)]
            for state in states
            for place, event in enumerate(events)
            if machine.can(state, event)
        }


_A: Final = {state: place for place, state in enumerate(AttemptState)}
_C: Final = {state: place for place, state in enumerate(ClaimState)}
_R: Final = {state: place for place, state in enumerate(ReservationState)}
A_FREE, A_PROMISING, A_PROMISED, A_ORDERED, A_SPENT = (_A[state] for state in AttemptState)
C_NONE, C_STORING, C_ASKING, C_CHOOSING, C_REQUESTING, C_GRANTED, C_SPENT, C_DONE = (_C[state] for state in ClaimState)
R_NONE, R_STORING, R_HELD, R_GIVEN = (_R[state] for state in ReservationState)


@cache
def claim_id(rank: int) -> ClaimId:
    """The claim of a rank, 0 for none."""
    return ClaimId(0, rank, rank) if rank else NO_CLAIM


@cache
def _promises(promised: int, asked: int) -> bool:
    """The real rule: does a switch that promised one claim promise another?"""
    return higher(claim_id(promised), claim_id(asked)) != claim_id(promised)


@cache
def _higher(rank: int, promise: int) -> bool:
    """The real rule: does a tie that promised so never close under the claim any more?"""
    return promised_higher(claim_id(rank), claim_id(promise))


@cache
def _asks(requested: int, grants: int, side: int) -> bool:
    """The real rule: does a claimant ask for a side, by its request (0 for none, else side + 1) and its grants?"""
    bounds = [Bound(SWITCH_OF[k] + 1, k & 1) for k in range(4)]
    tie = 0 if not requested else bounds[requested - 1].switch
    granted = tuple(bounds[k] for k in range(4) if grants >> k & 1)
    claim = Claim(claim_id(1), NO_EVENT, (), Request(tie, 9, 10), granted)
    return asks_for(claim, Reservation(claim_id(1), bounds[side].switch, 10, whole=True))


@dataclass(frozen=True, slots=True)
class Rules:
    """Tables and predicates that the world runs; the defaults are the real ones, mutants replace one.

    Attributes:
        attempt, claim, reservation: tables.
        promises: (claim promised, claim asking): whether to promise.
        may_promise: (a close outstanding): whether the switch, open or closed, may promise at all.
        obeys: (claim promised, claim granted): whether a grant counts.
        asked: by kind of claim, the sides whose promises are awaited.
        fewer: promises that claimant and tie do without.
        open_only: a closed tie that has promised does not count as open.
        split_open: what is to be split is isolated only once the splitting switch is open.
        inner_asked: what hangs together through S is isolated only if S has promised, closed.
        one_promise: a part bounded by S is isolated only if S, open, has promised for that side.
        ends_higher: (claim, promise): whether the claim's reservation for the tie that promised ends.
        open_higher: the tie must have said so open: what it carries, closed, may not be measured yet.
        asks: (requested, grants, side): whether a claimant asks for a side.
        heard_request: a request must have been heard since the owner's start before it can be seen moved on.
        seen_ready: a tie must have been heard open with its promise before its closing counts as its attempt.
        says_again: (open, a close outstanding): whether a restarted switch answers a grant as spent.
        outstanding_after_restart: a restarted switch assumes a close on its way.
        checks_reservation: who grants, and who closes, waits for the reservation; else nobody reserves but X.
        counts_all: a reservation counts as soon as it is in the books.
        apparatus_in_time: an order to close is given up only when the apparatus must have ended.
    """

    attempt: Machine[Any, Any] = ATTEMPT
    claim: Machine[Any, Any] = CLAIM
    reservation: Machine[Any, Any] = RESERVATION
    promises: Callable[[int, int], bool] = _promises
    may_promise: Callable[[bool], bool] = lambda outstanding: not outstanding
    obeys: Callable[[int, int], bool] = lambda promised, granted: promised == granted
    asked: tuple[tuple[int, ...], ...] = ASKED
    fewer: int = 0
    open_only: bool = True
    split_open: bool = True
    inner_asked: bool = True
    one_promise: bool = True
    ends_higher: Callable[[int, int], bool] = _higher
    open_higher: bool = True
    asks: Callable[[int, int, int], bool] = _asks
    heard_request: bool = True
    seen_ready: bool = True
    says_again: Callable[[bool, bool], bool] = lambda is_open, outstanding: is_open and not outstanding
    outstanding_after_restart: bool = True
    checks_reservation: bool = True
    counts_all: bool = True
    apparatus_in_time: bool = True


REAL: Final = Rules()


@dataclass(frozen=True, slots=True)
class Setup:
    """How large a world.

    Attributes:
        kinds: of the claims, lowest first.
        crashes: of any participants, together.
        trips: of closed switches, together.
        competitor: whether X asks for capacity.
        rating: capacity of the transformer, in what a section needs.
        split: whether S is open to begin with.
        sensors: whether a switch sees rightly which of its sides are live; else it may think what it likes.
    """

    kinds: tuple[Kind, ...]
    crashes: int = 1
    trips: int = 1
    competitor: bool = True
    rating: int = 2
    split: bool = False
    sensors: bool = False


class Side(NamedTuple):
    """One switch side.

    Attributes:
        attempt: state by the table.
        promised, disk: rank of the claim promised, in memory and on disk.
        said, said_open: highest rank ever published, and published while open.
        tried: a close was ordered under the claim promised.
        again: the promise is that of an earlier process, which may have closed under it.
    """

    attempt: int
    promised: int
    disk: int
    said: int
    said_open: int
    tried: bool
    again: bool


class Switch(NamedTuple):
    """A switch and its agent.

    Attributes:
        closed: the apparatus.
        order: on its way to it: 0, else 4 * rank + side.
        outstanding: the agent knows of an order.
        held: open to split the island: not to be closed by a claim.
        was_closed: it has said so once; kept for the mutant that needs it.
    """

    closed: bool
    order: int
    outstanding: bool
    held: bool = False
    was_closed: bool = False


class Claimed(NamedTuple):
    """One claim with everything that hangs on it. Sets of sides are bits.

    Attributes:
        kind: what it covers.
        state: by the table.
        durable: its number is on disk.
        refused, request, grants: as its claimant remembers them; ``request`` is side + 1, or 0.
        wide: sides that were requested for both sections together.
        facts: published once: two bits a side, how far it has gone under this claim (0 not ready, 1 open and promised,
            2 closed after that, 3 open again), and the other facts by name.
        granted, given, failed: published once: its grants, reservations, outcomes.
        snapshots: (request, grants) as published, in order.
        heard: how many of them the owner of capacity has passed since it started.
        requested: requests that the owner has granted since it started.
        books, disk: reservations in the owner's memory and on its disk, two bits of state each.
    """

    kind: int
    state: int
    durable: bool
    refused: int = 0
    request: int = 0
    grants: int = 0
    wide: int = 0
    facts: int = 0
    granted: int = 0
    given: int = 0
    failed: int = 0
    snapshots: tuple[tuple[int, int], ...] = ((0, 0),)
    heard: int = 0
    requested: int = 0
    books: int = 0
    disk: int = 0


OVER: Final = Claimed(0, -1, True)
"""A claim that nothing can come of any more."""


class State(NamedTuple):
    """Everything. ``competitor`` is what X has: 0 nothing, 1 in the books, 2 on disk, so that it may close."""

    sides: tuple[Side, ...]
    switches: tuple[Switch, ...]
    claims: tuple[Claimed, ...]
    competitor: int
    crashes: int
    trips: int


def live(switches: tuple[Switch, ...]) -> tuple[bool, bool]:
    """Whether sections a and b are energised."""
    t0, t1, s = (switch.closed for switch in switches)
    return t0 or (s and t1), t1 or (s and t0)


def broken(s: State, rating: int) -> str:
    """What is wrong with a state; empty if nothing."""
    t0, t1, splitter = (switch.closed for switch in s.switches)
    if t0 and t1 and splitter:
        return "two sources on one island"
    if sum(live(s.switches)) + (s.competitor == 2) > rating:
        return "more load than capacity"
    return ""


class Protocol:
    """All steps of a world under certain rules."""

    def __init__(self, setup: Setup, rules: Rules = REAL) -> None:
        self._setup = setup
        self._rules = rules
        self._attempt = Table(rules.attempt, AttemptState, AttemptEvent).step
        self._claim = Table(rules.claim, ClaimState, ClaimEvent).step
        self._reservation = Table(rules.reservation, ReservationState, ReservationEvent).step

    def initial(self) -> State:
        """All claims are published, none has been heard: when that happens is the receivers' choice."""
        state = self._claim[C_NONE, E_C[ClaimEvent.CLAIMED]]
        durable = state == C_STORING
        if durable:
            state = self._claim[C_STORING, E_C[ClaimEvent.STORED]]
        side = Side(A_FREE, 0, 0, 0, 0, False, False)
        is_open = Switch(False, 0, False)
        return State(
            (side, side, side, side),
            (is_open, is_open, Switch(not self._setup.split, 0, False)),
            tuple(Claimed(kind, state, durable) for kind in self._setup.kinds),
            0,
            self._setup.crashes,
            self._setup.trips,
        )

    def successors(self, s: State) -> Iterator[Step[State]]:
        """All steps from a state."""
        for step in self._all(s):
            yield step if step.wrong else Step(step.action, self._tidy(step.state))

    def _all(self, s: State) -> Iterator[Step[State]]:
        for rank, claim in enumerate(s.claims, 1):
            if claim is not OVER:
                yield from self._claimant_steps(s, rank, claim)
                yield from self._reserve_steps(s, rank, claim)
                yield from self._end_steps(s, rank, claim)
        for k in range(4):
            yield from self._attempt_steps(s, k)
        for j in range(3):
            yield from self._promise_steps(s, j)
            yield from self._apparatus_steps(s, j)
        yield from self._books_steps(s)

    def _tidy(self, s: State) -> State:
        """The same state without what can make no difference any more."""
        rules, claims = self._rules, list(s.claims)
        changed = False
        for place, claim in enumerate(claims):
            if claim is OVER:
                continue
            rank = place + 1
            asked = ASKED[claim.kind]
            if (
                all(s.sides[k].said > rank for k in asked)
                and not any(
                    rules.obeys(promise, rank) for k in asked for promise in (s.sides[k].promised, s.sides[k].disk)
                )
                and all(self._promised_higher(s, rank, k) for k in range(4) if claim.books >> 2 * k & 3)
            ):
                # Nobody obeys it, and its reservations may end at once.
                claims[place] = OVER
                changed = True
            elif not s.crashes and claim.heard:
                claims[place] = claim._replace(snapshots=claim.snapshots[claim.heard :], heard=0)
                changed = True
        return s._replace(claims=tuple(claims)) if changed else s

    # -- claimants ------------------------------------------------------------------------------------------------

    # A claimant that stops, for whatever reason, is one that takes no more steps: rows of the table that only lead to
    # states without anything to publish are not walked.

    def _claimant_steps(self, s: State, rank: int, me: Claimed) -> Iterator[Step[State]]:
        table, name = self._claim, f"claimant of {rank}"
        if not me.durable and s.crashes:
            anew = me._replace(state=C_ASKING, refused=0, request=0, grants=0)
            if anew != me:
                after = _with_claim(s, rank, anew)._replace(crashes=s.crashes - 1)
                yield Step(f"{name} crashes, and uses the number again", after)
        target = table.get((me.state, E_C[ClaimEvent.PROMISED]))
        if target is not None and self._gathered(me):
            served = [kind for kind in _SERVED[me.kind] if all(self._isolated(me, part) for part in _PARTS[kind])]
            yield from self._choose(s, rank, me._replace(state=target), served, f"{name} has all promises")
        if me.request:
            k = me.request - 1
            if me.given >> k & 1 or not self._rules.checks_reservation:
                yield from self._grant(s, rank, me, k)
            target = table.get((me.state, E_C[ClaimEvent.REFUSED]))
            if target is not None and not (me.grants and me.state == C_REQUESTING) and self._may_refuse(s, me):
                refused = me._replace(state=target, refused=me.refused | 1 << k)
                # By positions alone; that all is isolated is the tie's business now.
                served = [kind for kind in _SERVED[me.kind] if kind in (me.kind, *_OPENED[bool(me.facts & S_OPENED)])]
                yield from self._choose(s, rank, refused, served, f"{name} is refused {SIDES[k]}")

    def _gathered(self, me: Claimed) -> bool:
        """Whether the claimant has heard all promises that it asked for."""
        closed = (T_CLOSED[0], T_CLOSED[1], S_CLOSED, S_CLOSED)
        missing = sum(not (_stage(me, k) or me.facts & closed[k]) for k in self._rules.asked[me.kind])
        return missing <= self._rules.fewer

    def _isolated(self, claim: Claimed, part: Kind) -> bool:
        """Whether what lies around the sections of a part is known to be isolated under a claim."""
        rules = self._rules
        ties = [
            bool(_stage(claim, k) or (not rules.open_only and claim.facts & T_CLOSED[k])) for k in GRANTABLE[Kind.WHOLE]
        ]
        whole = [*ties, bool(claim.facts & S_CLOSED) or not rules.inner_asked]
        splits = claim.kind == Kind.SPLIT
        if not (splits and rules.split_open) and whole.count(False) <= rules.fewer and (splits or part == Kind.WHOLE):
            return True
        if part == Kind.WHOLE:
            return False
        k = part - Kind.PART_A
        bounds = [ties[k], bool(_stage(claim, 2 + k)) or not rules.one_promise]
        return bounds.count(False) <= rules.fewer

    def _choose(self, s: State, rank: int, me: Claimed, served: list[Kind], before: str) -> Iterator[Step[State]]:
        target = self._claim.get((me.state, E_C[ClaimEvent.CHOSEN]))
        if target is None:
            return
        for kind in served:
            for k in GRANTABLE[kind]:
                if not me.refused >> k & 1 and k in GRANTABLE[me.kind]:
                    wide = me.wide | (kind == Kind.WHOLE) << k
                    chosen = _published(me._replace(state=target, request=k + 1, wide=wide))
                    yield Step(f"{before}, requests {SIDES[k]} for {kind.name}", _with_claim(s, rank, chosen))

    def _grant(self, s: State, rank: int, me: Claimed, k: int) -> Iterator[Step[State]]:
        me = me._replace(grants=me.grants | 1 << k)
        target = self._claim.get((me.state, E_C[ClaimEvent.GRANTED]))
        if target is not None and self._may_finish(s, me):
            granted = _published(me._replace(state=target))
            yield Step(f"claimant of {rank} grants {SIDES[k]}", _with_claim(s, rank, granted))
        target = self._claim.get((me.state, E_C[ClaimEvent.RESERVED]))
        if target is not None and me.grants.bit_count() < MOST_GRANTS[me.kind]:
            for other in GRANTABLE[me.kind]:
                if not (me.grants | me.refused) >> other & 1:
                    granted = _published(me._replace(state=target, request=other + 1))
                    yield Step(
                        f"claimant of {rank} grants {SIDES[k]}, requests {SIDES[other]}", _with_claim(s, rank, granted)
                    )

    def _may_refuse(self, s: State, me: Claimed) -> bool:  # noqa: ARG002 - the benign world looks at them
        """Whether the present request may be refused: here always, by an owner on the way that is not modelled."""
        return True

    def _may_finish(self, s: State, me: Claimed) -> bool:  # noqa: ARG002 - the benign world looks at them
        """Whether a claimant may be content with what it has granted: here always."""
        return True

    # -- switches -------------------------------------------------------------------------------------------------

    def _promise_steps(self, s: State, j: int) -> Iterator[Step[State]]:
        """A switch promises, with all the sides that are asked, and with that on disk."""
        switch, table, rules = s.switches[j], self._attempt, self._rules
        if not rules.may_promise(switch.outstanding):
            return
        for rank, claim in enumerate(s.claims, 1):
            if claim is OVER:
                continue
            named = [k for k in _SIDES_OF[j] if k in ASKED[claim.kind]]
            sides = list(s.sides)
            for k in (_SIDES_OF[j] if switch.closed else named) if named else ():
                side = s.sides[k]
                target = table.get((side.attempt, E_A[AttemptEvent.ASKED]))
                if target is None or not rules.promises(side.promised, rank):
                    continue
                disk = side.disk
                if target == A_PROMISING:
                    target, disk = table[A_PROMISING, E_A[AttemptEvent.STORED]], rank
                sides[k] = side._replace(attempt=target, promised=rank, disk=disk, tried=False, again=False)
            if tuple(sides) != s.sides:
                yield Step(f"{SWITCHES[j]} promises {rank}", self._say(s._replace(sides=tuple(sides)), j))
        for k in _SIDES_OF[j]:
            if s.sides[k].disk != s.sides[k].promised:
                yield Step(
                    f"{SIDES[k]}: the promise reaches the disk",
                    _with_side(s, k, s.sides[k]._replace(disk=s.sides[k].promised)),
                )

    def _say(self, s: State, j: int) -> State:
        """What a switch publishes now becomes a fact: its position and its promises, together."""
        switch, sides, claims = s.switches[j], list(s.sides), list(s.claims)
        known_open = not switch.closed and not switch.outstanding
        for k in _SIDES_OF[j]:
            side = sides[k]
            said = max(side.said, side.promised)
            sides[k] = side._replace(said=said, said_open=max(side.said_open, side.promised * known_open))
        for place, claim in enumerate(claims):
            if claim is OVER:
                continue
            facts = claim.facts
            ours = [k for k in _SIDES_OF[j] if sides[k].promised == place + 1]
            if switch.closed and ours == list(_SIDES_OF[j]):
                facts |= S_CLOSED if j == _SPLITTER else T_CLOSED[j]
            for k in _SIDES_OF[j]:
                stage = facts >> 2 * k & 3
                if (
                    (stage == 0 and known_open and k in ours)
                    or (stage == 1 and switch.closed)
                    or (stage == 2 and known_open)
                ):
                    facts += 1 << 2 * k
            if j == _SPLITTER and known_open and claim.kind == Kind.WHOLE and facts & (S_CLOSED | _S_STAGES):
                facts |= S_OPENED
            if facts != claim.facts:
                claims[place] = claim._replace(facts=facts)
        s = s._replace(sides=tuple(sides), claims=tuple(claims))
        if switch.closed and not self._rules.seen_ready:
            s = _with_switch(s, j, switch._replace(was_closed=True))
        return s

    def _attempt_steps(self, s: State, k: int) -> Iterator[Step[State]]:
        """A switch side that is granted orders its close, or says why not."""
        side, j, table = s.sides[k], SWITCH_OF[k], self._attempt
        switch = s.switches[j]
        order = table.get((side.attempt, E_A[AttemptEvent.ORDER]))
        refuse = table.get((side.attempt, E_A[AttemptEvent.REFUSE]))
        again = side.again and side.attempt == A_SPENT and self._rules.says_again(not switch.closed, switch.outstanding)
        if order is None and refuse is None and not again:
            return
        for rank, claim in enumerate(s.claims, 1):
            if claim is OVER or not claim.granted >> k & 1 or not self._rules.obeys(side.promised, rank):
                continue
            failed = _with_claim(s, rank, claim._replace(failed=claim.failed | 1 << k))
            if order is not None and self._guard(s, k, claim):
                wrong = "a second attempt under one claim" if side.tried and side.promised == rank else ""
                wrong = wrong or ("a close under a claim lower than one promised" if side.said > rank else "")
                after = _with_side(s, k, side._replace(attempt=order, tried=True))
                after = _with_switch(after, j, switch._replace(order=4 * rank + k, outstanding=True))
                yield Step(f"{SIDES[k]} orders its close under {rank}", after, wrong)
            if refuse is not None:
                after = _with_side(failed, k, side._replace(attempt=refuse))
                yield Step(f"{SIDES[k]} refuses to close under {rank}", after)
            if again:
                after = _with_side(failed, k, side._replace(again=False))
                yield Step(f"{SIDES[k]}, restarted, answers the grant of {rank} as spent", after)

    def _guard(self, s: State, k: int, claim: Claimed) -> bool:
        """What a switch knows for sure: its own position, hold and sensors, what the others have published."""
        a, b = live(s.switches)
        here, beyond = (a, b) if k in (0, 2) else (b, a)
        if s.switches[SWITCH_OF[k]].closed or s.switches[SWITCH_OF[k]].held:
            return False
        island = (Kind.PART_A if k in (0, 2) else Kind.PART_B, *((Kind.WHOLE,) if SWITCH_OF[k] != _SPLITTER else ()))
        if not any(self._isolated(claim, part) for part in island):
            return False
        if self._setup.sensors and (here or (k >= 2 and not beyond)):
            return False
        return not self._rules.checks_reservation or bool(claim.given >> k & 1)

    def _apparatus_steps(self, s: State, j: int) -> Iterator[Step[State]]:
        switch, name = s.switches[j], SWITCHES[j]
        if switch.order:
            after = self._ended(_with_switch(s, j, switch._replace(closed=True, order=0, held=False)), j)
            rank, k = divmod(switch.order, 4)
            wrong = (
                "a close under a claim lower than one promised"
                if s.sides[k].said > rank
                else broken(after, self._setup.rating)
            )
            yield Step(f"{name} closes", after, wrong)
            yield Step(f"{name} does not close", self._ended(_with_switch(s, j, switch._replace(order=0)), j))
            if not self._rules.apparatus_in_time and switch.outstanding:
                yield Step(f"{name}'s agent gives the close up", self._ended(s, j))
        if switch.closed and s.trips:
            after = self._say(_with_switch(s, j, switch._replace(closed=False)), j)
            yield Step(f"{name} trips", after._replace(trips=s.trips - 1))
        if j == _SPLITTER and switch.closed and not any(live(s.switches)):
            highest = max(s.sides[2].promised, s.sides[3].promised)
            for rank, claim in enumerate(s.claims, 1):
                if claim is not OVER and claim.kind == Kind.SPLIT and rank >= highest:
                    after = self._say(_with_switch(s, j, switch._replace(closed=False, held=True)), j)
                    yield Step(f"{name} opens for {rank}", after)
        if s.crashes:
            after = self._restarted(s, j)
            if after != s:
                yield Step(f"{name}'s agent crashes and restarts", after._replace(crashes=s.crashes - 1))

    def _ended(self, s: State, j: int) -> State:
        """The switch's agent sees that no close is outstanding any more."""
        if not s.switches[j].outstanding:
            return self._say(s, j)
        for k in _SIDES_OF[j]:
            side = s.sides[k]
            target = self._attempt.get((side.attempt, E_A[AttemptEvent.ENDED]))
            if target is not None:
                s = _with_side(s, k, side._replace(attempt=target))
                claim = s.claims[side.promised - 1]
                if not s.switches[j].closed and claim is not OVER:
                    s = _with_claim(s, side.promised, claim._replace(failed=claim.failed | 1 << k))
        return self._say(_with_switch(s, j, s.switches[j]._replace(outstanding=False)), j)

    def _restarted(self, s: State, j: int) -> State:
        """A switch's agent has lost its memory. It promises what its disk says, once more, and by the table."""
        for k in _SIDES_OF[j]:
            side = s.sides[k]
            disk = side.disk
            attempt = self._attempt[A_PROMISED if disk else A_FREE, E_A[AttemptEvent.RESTARTED]]
            s = _with_side(s, k, side._replace(attempt=attempt, promised=disk, again=bool(disk)))
        switch = s.switches[j]
        # An order assumed that is not there runs out, and till then the agent does nothing: as if it had not come yet.
        outstanding = bool(switch.order) and self._rules.outstanding_after_restart
        return self._say(_with_switch(s, j, switch._replace(outstanding=outstanding)), j)

    # -- capacity -------------------------------------------------------------------------------------------------

    def _reserved(self, s: State) -> int:
        units = 1 if s.competitor else 0
        for claim in s.claims:
            for k in range(4):
                state = claim.books >> 2 * k & 3
                if state in (R_HELD, R_GIVEN) or (state == R_STORING and self._rules.counts_all):
                    units += units_for(claim, k)
        return units

    def _write(self, s: State) -> State:
        """The books are on disk; what was being stored is given, and published."""
        claims = []
        for claim in s.claims:
            books, given = claim.books, claim.given
            for k in range(4):
                state = books >> 2 * k & 3
                # The head owns what is shared, so that nobody else need confirm it.
                for event in (ReservationEvent.STORED, ReservationEvent.CONFIRMED):
                    target = self._reservation.get((state, E_R[event]))
                    if target is not None:
                        books += (target - state) << 2 * k
                        state = target
                given |= (state == R_GIVEN) << k
            claims.append(claim._replace(books=books, disk=books, given=given) if claim is not OVER else claim)
        return s._replace(claims=tuple(claims), competitor=2 if s.competitor else 0)

    def _reserve_steps(self, s: State, rank: int, claim: Claimed) -> Iterator[Step[State]]:
        """The owner of capacity hears a request for a tie open and promised, and there is room."""
        if not self._rules.checks_reservation:
            return
        room = self._setup.rating - self._reserved(s)
        for place in range(claim.heard, len(claim.snapshots)):
            request, grants = claim.snapshots[place]
            k = request - 1
            if not request or grants >> k & 1 or not _stage(claim, k) or room < units_for(claim, k):
                continue
            target = self._reservation.get((claim.books >> 2 * k & 3, E_R[ReservationEvent.REQUESTED]))
            if target is None:
                continue
            books = claim.books + (target << 2 * k)
            after = claim._replace(books=books, heard=place, requested=claim.requested | 1 << k)
            name = f"owner reserves for {SIDES[k]} under {rank}"
            if target == R_STORING:
                yield Step(name, self._write(_with_claim(s, rank, after)))
            else:
                yield Step(name, _with_claim(s, rank, after._replace(given=after.given | 1 << k)))

    def _end_steps(self, s: State, rank: int, claim: Claimed) -> Iterator[Step[State]]:
        """The owner of capacity hears that a reservation has ended."""
        rules = self._rules
        for k in range(4):
            if not claim.books >> 2 * k & 3:
                continue
            for place in range(claim.heard, len(claim.snapshots)):
                request, grants = claim.snapshots[place]
                passed = claim.snapshots[claim.heard : place]
                known = claim.requested >> k & 1 or any(rules.asks(r, g, k) for r, g in passed)
                if not rules.asks(request, grants, k) and (known or not rules.heard_request):
                    name = f"owner sees the claimant of {rank} move on from {SIDES[k]}"
                    yield from self._free(s, rank, k, ReservationEvent.MOVED_ON, name, place)
            if self._promised_higher(s, rank, k):
                name = f"owner sees {SIDES[k]} obey a higher claim than {rank}"
                yield from self._free(s, rank, k, ReservationEvent.PROMISED_HIGHER, name, claim.heard)
            switch = s.switches[SWITCH_OF[k]]
            closed = _stage(claim, k) == 3 if rules.seen_ready else switch.was_closed and bool(_stage(claim, k))
            if claim.failed >> k & 1 or closed:
                name = f"owner sees that {SIDES[k]} has spent its attempt under {rank}"
                yield from self._free(s, rank, k, ReservationEvent.SPENT, name, claim.heard)

    def _promised_higher(self, s: State, rank: int, k: int) -> bool:
        """Whether a tie has published what ends a reservation of a claim for it."""
        side = s.sides[k]
        return self._rules.ends_higher(rank, side.said_open if self._rules.open_higher else side.said)

    def _free(
        self, s: State, rank: int, k: int, event: ReservationEvent, name: str, heard: int
    ) -> Iterator[Step[State]]:
        claim = s.claims[rank - 1]
        state = claim.books >> 2 * k & 3
        target = self._reservation.get((state, E_R[event]))
        if target is not None:
            books = claim.books + ((target - state) << 2 * k)
            after = claim._replace(books=books, heard=heard, requested=claim.requested & ~(1 << k))
            yield Step(name, self._write(_with_claim(s, rank, after)))

    def _books_steps(self, s: State) -> Iterator[Step[State]]:
        if self._setup.competitor and not s.competitor and self._reserved(s) < self._setup.rating:
            after = self._write(s._replace(competitor=1))
            yield Step("owner reserves for X, which closes", after, broken(after, self._setup.rating))
        if any(claim.books != claim.disk for claim in s.claims):
            yield Step("the owner's books reach the disk", self._write(s))
        if s.crashes:
            claims = tuple(
                claim._replace(books=claim.disk, heard=0, requested=0) if claim is not OVER else claim
                for claim in s.claims
            )
            if claims != s.claims:
                yield Step("owner crashes and restarts", s._replace(claims=claims, crashes=s.crashes - 1))


def _published(claim: Claimed) -> Claimed:
    """A claim with its request and grants published."""
    snapshot = (claim.request, claim.grants)
    snapshots = claim.snapshots if claim.snapshots[-1] == snapshot else (*claim.snapshots, snapshot)
    return claim._replace(granted=claim.granted | claim.grants, snapshots=snapshots)


def _stage(claim: Claimed, k: int) -> int:
    return claim.facts >> 2 * k & 3


def units_for(claim: Claimed, k: int) -> int:
    """What a claim has requested or would request for a side."""
    return UNITS[Kind.WHOLE] if claim.wide >> k & 1 else UNITS[Kind.PART_A]


def _with_claim(s: State, rank: int, claim: Claimed) -> State:
    return s._replace(claims=(*s.claims[: rank - 1], claim, *s.claims[rank:]))


def _with_side(s: State, k: int, side: Side) -> State:
    return s._replace(sides=(*s.sides[:k], side, *s.sides[k + 1 :]))


def _with_switch(s: State, j: int, switch: Switch) -> State:
    return s._replace(switches=(*s.switches[:j], switch, *s.switches[j + 1 :]))


E_A: Final = {event: place for place, event in enumerate(AttemptEvent)}
E_C: Final = {event: place for place, event in enumerate(ClaimEvent)}
E_R: Final = {event: place for place, event in enumerate(ReservationEvent)}
