"""Capacity: what a tie can offer, and the ledgers that hand it out (design section 4, step 3).

The head switch of a feeder, the one next to its source, owns the capacity of everything between that source and the
ties. What several heads share, a transformer or a busbar, is owned by one of them: a head that has reserved asks, by
its reservation, the owners of what it shares, and says that it is whole once they have reserved too. So a claimant and
a tie need to hear no one but the head. Each checks its elements less what it has reserved on them already. Amounts are
in amperes here and in tenths of an ampere on the wire.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Reason
from ied_agents.dflisr.machines import RESERVATION, ReservationEvent, ReservationState
from ied_agents.dflisr.records import NO_CLAIM, NO_EVENT, Bound, Claim, ClaimId, EventId, Outcome, Reservation
from ied_agents.iec61850.dbpos import Dbpos
from scl.agent_model import RESERVATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ied_agents.dflisr.feeder import SharedElement
    from ied_agents.dflisr.views import Situation


FLOW_DEADBAND_A: Final = 1.0
"""A published load current may be this much behind the real one, in A; capacity counts it as load."""

SHORT_CONFIRMED_S: Final = 0.06
"""A request is refused for lack of capacity when it has been lacking for so long."""
LOADS_SETTLE_S: Final = 2.5
"""A published load is at the most as old as its longest interval, 2 s, and the time to the next look at it."""

HIGHEST_CURRENT_A: Final = 1e6
"""Beyond any apparatus; keeps currents within what the wire can carry."""


def supply_path(situation: Situation, bound: Bound) -> list[int] | None:
    """Switches from the side opposite to ``bound`` up to its source, the head switch last; None if it has none.

    Only paths of which every switch is heard count, and only switches that say they are closed.
    """
    behind = situation.other_side(bound)
    return situation.feeder.path_to_source(behind, lambda n: n != bound.switch and situation.known_closed(n))


def head_of(path: Sequence[int], tie: int) -> int:
    """The head of a supply: the switch next to the source, the tie itself where nothing lies between."""
    return path[-1] if path else tie


def shared_by(situation: Situation, head: int) -> list[SharedElement]:
    """What a head draws from together with others, in the site's order."""
    return [element for element in situation.feeder.shared if head in element.heads]


def flow_a(situation: Situation, switch: int) -> float | None:
    """A switch's load current in A, positive from side A to side B; None if it is not known or not fresh."""
    if switch == situation.me.number:
        known = situation.inputs is not None and situation.own.pickup_quality == 0
        return situation.inputs.flow_a if known and situation.inputs is not None else None
    view = situation.views.get(switch)
    if view is None or view.load is None or not view.load_alive or view.load.flow_quality:
        return None
    if view.state is not None and view.load.incarnation != view.state.incarnation:
        return None
    return view.load.flow_a


def load_a(situation: Situation, switch: int) -> float | None:
    """Magnitude of a switch's load current in A; None if it is not known or not fresh."""
    flow = flow_a(situation, switch)
    return None if flow is None else abs(flow)


def path_loads(situation: Situation, bound: Bound, path: Sequence[int]) -> dict[int, float | None]:
    """By switch of a supply's path, its load current away from the source, in A; None where it is not known.

    What local generation sends back towards the source is no load, and makes no room either.
    """
    loads: dict[int, float | None] = {}
    section = situation.other_side(bound)
    for number in path:
        side = situation.feeder.by_number[number].sides.index(section)
        flow = flow_a(situation, number)
        loads[number] = None if flow is None else max(0.0, flow if side == 1 else -flow)
        section = situation.feeder.by_number[number].sides[1 - side]
    return loads


def shared_load_a(situation: Situation, element: SharedElement) -> float | None:
    """What a shared element carries at the most, in A; None if that of a head is not known.

    Power that local generation feeds back through one head is not counted against the load of another.
    """
    total = 0.0
    for head in element.heads:
        load = load_a(situation, head)
        if load is None:
            return None
        total += load + FLOW_DEADBAND_A
    return total


def spare_a(situation: Situation, side: int) -> float:
    """What the own switch, closing, could carry into its ``side``, in A; 0 if anything on the way is not known."""
    path = supply_path(situation, Bound(situation.me.number, side))
    if path is None:
        return 0.0
    spare = situation.me.rating_a
    for number, load in path_loads(situation, Bound(situation.me.number, side), path).items():
        if load is None:
            return 0.0
        spare = min(spare, situation.feeder.by_number[number].rating_a - load - FLOW_DEADBAND_A)
    return max(0.0, spare)


def outstanding_a(situation: Situation, tie: int, deciamperes: int) -> float:
    """What a reservation still counts beside the measured load, in A: all of it until its tie carries it."""
    reserved = deciamperes / 10
    if situation.known_open(tie):
        return reserved
    carried = load_a(situation, tie)
    return reserved if carried is None else max(0.0, reserved - carried)


@dataclass(frozen=True, slots=True)
class Entry:
    """One reservation with what is needed to know when it ends and where it counts.

    Attributes:
        reservation: as published.
        event: that the claim was made for.
        side: of the tie, that looks into the island.
        path: switches from the tie to the source when it was made.
    """

    reservation: Reservation
    event: EventId
    side: int
    path: tuple[int, ...]


class Ledger:
    """Capacity handed out by this switch, as head of its feeder and as owner of what it shares."""

    def __init__(self, situation: Situation, entries: tuple[Entry, ...] = ()) -> None:
        self._now = situation
        me = situation.me.number
        everywhere = (*situation.feeder.by_number, me)
        # One of an older file names no way: it counts on all of them.
        self.entries = tuple(
            entry if entry.path or entry.reservation.tie == me else replace(entry, path=everywhere) for entry in entries
        )
        self._closed_since: dict[tuple[ClaimId, int], float] = {}
        self._was_ready: set[tuple[ClaimId, int]] = set()
        """Of which entries the tie was heard open under their claim: what it closes after that is its one attempt."""
        self._was_closed: set[tuple[ClaimId, int]] = set()
        self._shots: dict[int, float] = {}
        """Breakers in a sequence of shots, and when what they carry will have been measured, s."""
        self._missing_a = 0.0
        """By how much the last request that was refused was too large."""
        self._short: dict[tuple[ClaimId, int], float] = {}
        """Requests for which there is no room, and since when."""
        self._open_with_load: dict[int, float] = {}
        """Heads of what is shared that are open and say a load, and since when, s."""
        self._asked: set[tuple[ClaimId, int]] = set()
        """Of which entries this process has heard the request: only then does it know that one has ended."""

    def concerned(self) -> bool:
        """Whether there are entries, or another head asks for some."""
        heads = {
            h for element in self._now.feeder.shared if element.owner == self._now.me.number for h in element.heads
        }
        states = (self._now.heard(head) for head in heads)
        return bool(self.entries) or any(state is not None and state.reservations for state in states)

    def find(self, claim: ClaimId, tie: int, deciamperes: int) -> Entry | None:
        """The reservation that covers a request."""
        for entry in self.entries:
            made = entry.reservation
            if made.claim == claim and made.tie == tie and made.deciamperes >= deciamperes:
                return entry
        return None

    def follow(self, now: float) -> None:
        """Take every entry one step further in the table: confirm it, or remove it for one of the reasons there."""
        self._closed_since = {
            key: self._closed_since.get(key, now)
            for key in ((entry.reservation.claim, entry.reservation.tie) for entry in self.entries)
            if self._now.known_closed(key[1])
        }
        for entry in self.entries:
            made = entry.reservation
            tie = self._now.heard(made.tie)
            if tie is not None and self._now.known_open(made.tie) and tie.promises[entry.side] == made.claim:
                self._was_ready.add((made.claim, made.tie))
        self._was_closed |= self._closed_since.keys() & self._was_ready
        self._was_ready &= {(entry.reservation.claim, entry.reservation.tie) for entry in self.entries}
        self._was_closed &= self._was_ready
        self._asked &= {(entry.reservation.claim, entry.reservation.tie) for entry in self.entries}
        kept = []
        for entry in self.entries:
            made = entry.reservation
            state = ReservationState.GIVEN if made.whole else ReservationState.HELD
            event = self._happened(entry, now)
            if event is not None and RESERVATION.can(state, event):
                state = RESERVATION.step(state, event)
            if state is ReservationState.NONE:
                continue
            whole, amount = state is ReservationState.GIVEN, self._still_needed(entry, now)
            now_made = made._replace(whole=whole, deciamperes=amount)
            kept.append(entry if now_made == made else replace(entry, reservation=now_made))
        if tuple(kept) != self.entries:
            self.entries = tuple(kept)

    def _still_needed(self, entry: Entry, now: float) -> int:
        """What a reservation must cover, in tenths of an ampere: less once part of its island has been cut off again.

        A later fault may do that. What is cut off reserves anew when it comes back.
        """
        situation, made = self._now, entry.reservation
        head = head_of(entry.path, made.tie)
        if head != situation.me.number:
            state = situation.heard(head)
            theirs = [] if state is None else [r for r in state.reservations if r[:2] == made[:2]]
            return min([made.deciamperes, *(r.deciamperes for r in theirs)])
        closed_since = self._closed_since.get((made.claim, made.tie))
        frozen = situation.frozen.get(entry.event)
        if closed_since is None or now < closed_since + LOADS_SETTLE_S or frozen is None:
            return made.deciamperes
        bound = Bound(made.tie, entry.side)
        fed = situation.feeder.island(situation.feeder.section(bound), lambda n: n != made.tie and not self._cut_off(n))
        if not fed.sections <= frozen.loads_a.keys() or situation.feeder.has_source(fed.sections):
            return made.deciamperes
        needed = sum(frozen.loads_a[s] for s in fed.sections) * situation.config.pickup_factor
        unsure = sum(FLOW_DEADBAND_A for other in fed.boundary if other.switch in frozen.closed)
        return min(made.deciamperes, math.ceil((needed + unsure) * 10))

    def _cut_off(self, switch: int) -> bool:
        """Whether a switch is open, and not in the dead time of a shot, which needs no reservation."""
        state = self._now.heard(switch)
        return state is not None and self._now.known_open(switch) and not state.reclosing

    def _happened(self, entry: Entry, now: float) -> ReservationEvent | None:
        situation, made = self._now, entry.reservation
        head = head_of(entry.path, made.tie)
        if head != situation.me.number:
            # Reserved for a head, which knows best when it ends.
            state = situation.heard(head)
            if state is None:
                return None
            if any((other.claim, other.tie) == (made.claim, made.tie) for other in state.reservations):
                self._asked.add((made.claim, made.tie))
                return None
            return ReservationEvent.MOVED_ON if (made.claim, made.tie) in self._asked else None
        tie = situation.heard(made.tie)
        closed_since = self._closed_since.get((made.claim, made.tie))
        measured = closed_since is not None and now >= closed_since + LOADS_SETTLE_S
        # Closed, it carries under this claim, and must be measured before its reservation goes.
        at_rest = situation.known_open(made.tie) or measured
        if tie is not None and at_rest and promised_higher(made.claim, tie.promises[entry.side]):
            return ReservationEvent.PROMISED_HIGHER
        claimant = situation.heard(made.claim.switch)
        for claim in () if claimant is None else claimant.claims:
            if asks_for(claim, made):
                self._asked.add((made.claim, made.tie))
            elif claim.id == made.claim and (made.claim, made.tie) in self._asked:
                return ReservationEvent.MOVED_ON
        # What is not whole has never been granted; then the outcome of a head that is its own tie is a refusal.
        if tie is not None and made.whole and (tie.outcome.claim, tie.outcome.tie) == (made.claim, made.tie):
            return ReservationEvent.SPENT
        key = made.claim, made.tie
        if key in self._was_closed and situation.known_open(made.tie):
            # It has closed and opened again: its one attempt is over.
            return ReservationEvent.SPENT
        own = made.tie == made.claim.switch and key in self._was_ready and situation.known_open(made.tie)
        if own and tie is not None and all(claim.id != made.claim for claim in tie.claims):
            # It would close under a claim of its own, and has given that up.
            return ReservationEvent.SPENT
        # The one attempt has been made, and what it carries must have been measured.
        if entry.event in situation.cleared and measured:
            return ReservationEvent.CARRIED
        if made.whole:
            return None
        if self._shared_refusal(made) is not None:
            return ReservationEvent.REFUSED
        others = [situation.heard(element.owner) for element in shared_by(situation, head) if element.owner != head]
        confirmed = all(
            owner is not None and reserved_for(made.claim, made.tie, owner.reservations, made.deciamperes)
            for owner in others
        )
        return ReservationEvent.CONFIRMED if confirmed else None

    def _shared_refusal(self, made: Reservation) -> Outcome | None:
        """The refusal of a reservation by an owner of what this head shares; None if none refuses."""
        me = self._now.me.number
        for element in shared_by(self._now, me):
            owner = self._now.heard(element.owner) if element.owner != me else None
            if owner is not None and (owner.outcome.claim, owner.outcome.tie) == (made.claim, made.tie):
                return owner.outcome
        return None

    def refused_elsewhere(self) -> list[Outcome]:
        """What owners of what is shared refuse of own reservations that wait for them."""
        waiting = [entry.reservation for entry in self.entries if not entry.reservation.whole]
        return [refusal for made in waiting if (refusal := self._shared_refusal(made)) is not None]

    def forwarded(self, now: float) -> list[Outcome]:
        """As owner of what is shared: reserve what other heads have reserved; says what was new, and the answer."""
        situation, me = self._now, self._now.me.number
        answers = []
        for element in situation.feeder.shared:
            for head in element.heads if element.owner == me else ():
                state = situation.heard(head)
                for made in () if state is None or head == me else state.reservations:
                    if self.find(made.claim, made.tie, made.deciamperes) is not None:
                        continue
                    others = self._others(made.claim, made.tie)
                    pending = self._shot_pending(now)
                    room = self._shared_room(head, others, made.deciamperes / 10, now)
                    reason = Reason.PEER_SILENT if pending else room
                    if reason is Reason.NONE and len(others) == RESERVATIONS:
                        reason, self._missing_a = Reason.NO_CAPACITY, made.deciamperes / 10
                    if reason is Reason.NONE:
                        self.entries = (*others, Entry(made._replace(whole=True), NO_EVENT, 0, (head,)))
                    answers.append(self._answer(made.claim, made.tie, made.deciamperes, reason))
        return answers

    def _others(self, claim: ClaimId, tie: int) -> tuple[Entry, ...]:
        return tuple(e for e in self.entries if (e.reservation.claim, e.reservation.tie) != (claim, tie))

    def judge(self, claim: Claim, now: float) -> Outcome:
        """Reserve what ``claim`` requests, or say why not; PEER_SILENT if it cannot be known now."""
        request = claim.request
        return self._answer(claim.id, request.tie, request.deciamperes, self._confirmed(claim, now))

    def _answer(self, claim: ClaimId, tie: int, deciamperes: int, reason: Reason) -> Outcome:
        short = reason is Reason.NO_CAPACITY
        possible = max(0, deciamperes - math.ceil(round(self._missing_a * 10, 6))) if short else 0
        return Outcome(claim, tie, reason, possible)

    def _confirmed(self, claim: Claim, now: float) -> Reason:
        key = (claim.id, claim.request.tie)
        reason = self._judge(claim, now)
        if reason is not Reason.NO_CAPACITY:
            self._short.pop(key, None)
            return reason
        # A load may be measured a moment before its tie is heard to have closed.
        since = self._short.setdefault(key, now)
        self._short = {other: at for other, at in self._short.items() if now < at + LOADS_SETTLE_S}
        return reason if now >= since + SHORT_CONFIRMED_S else Reason.PEER_SILENT

    def _judge(self, claim: Claim, now: float) -> Reason:
        situation, request, me = self._now, claim.request, self._now.me.number
        bounds = [b for b in claim.boundary if b.switch == request.tie]
        if not bounds or request.tie not in situation.feeder.by_number:
            return Reason.BEYOND_RELEASE
        # Of a tie asked by both sides, to open, one side has a supply behind it.
        ways = [(b, way) for b in bounds if (way := supply_path(situation, b)) is not None]
        bound, path = ways[0] if ways else (bounds[0], None)
        tie = situation.heard(request.tie)
        # A tie that is not seen open under this very claim cannot use what would be reserved for it now.
        ready = tie is not None and situation.known_open(request.tie) and tie.promises[bound.side] == claim.id
        if path is None or not ready:
            return Reason.PEER_SILENT
        if head_of(path, request.tie) != me:
            return Reason.NO_SUPPLY
        if self._shot_pending(now):
            return Reason.PEER_SILENT
        shared = shared_by(situation, me)
        if any(situation.heard(element.owner) is None for element in shared):
            return Reason.PEER_SILENT
        others, wanted = self._others(claim.id, request.tie), request.deciamperes / 10
        loads = path_loads(situation, bound, path)
        own = load_a(situation, me)
        # Where nothing is generated, no more flows further out than through the head.
        passing = HIGHEST_CURRENT_A if own is None or self._generating() else own
        for number in (*path, request.tie):
            load = 0.0 if number == request.tie else loads[number]
            if load is None:
                return Reason.PEER_SILENT
            on_it = [entry for entry in others if number in (*entry.path, entry.reservation.tie)]
            rating = situation.feeder.by_number[number].rating_a
            # The own load is measured now; what others measured may be older than the close of a tie.
            spare = rating - load - FLOW_DEADBAND_A - wanted
            sure = spare if number == me else rating - passing - FLOW_DEADBAND_A - wanted
            reason = self._room(spare, [] if number == me else on_it, on_it, now, sure)
            if reason is not Reason.NONE:
                return reason
        reason = self._shared_room(me, others, wanted, now)
        if reason is not Reason.NONE:
            return reason
        if len(others) == RESERVATIONS:
            self._missing_a = wanted
            return Reason.NO_CAPACITY
        whole = all(element.owner == me for element in shared)
        reservation = Reservation(claim.id, request.tie, request.deciamperes, whole)
        self.entries = (*others, Entry(reservation, claim.event, bound.side, tuple(path)))
        self._asked.add((claim.id, request.tie))
        self._was_ready.add((claim.id, request.tie))
        return Reason.NONE

    def _shot_pending(self, now: float) -> bool:
        """Whether a breaker that is heard is in the dead time of a shot, or its load is not measured since.

        It takes its load back without asking.
        """
        for number in self._now.views:
            state = self._now.heard(number)
            if state is None or not state.reclosing:
                self._shots.pop(number, None)
            elif state.position is not Dbpos.ON:
                self._shots[number] = now + LOADS_SETTLE_S
        return any(now < measured for measured in self._shots.values())

    def _shared_room(self, head: int, others: tuple[Entry, ...], wanted: float, now: float) -> Reason:
        """Whether everything that this switch owns and ``head`` draws from has room for ``wanted`` A more."""
        situation, me = self._now, self._now.me.number
        for element in shared_by(situation, head):
            if element.owner != me:
                continue
            load = shared_load_a(situation, element)
            if load is None:
                return Reason.PEER_SILENT
            on_it = [entry for entry in others if head_of(entry.path, entry.reservation.tie) in element.heads]
            theirs = [entry for entry in on_it if head_of(entry.path, entry.reservation.tie) != me]
            reason = self._room(element.rating_a - load - wanted, theirs, on_it, now)
            if reason is Reason.NO_CAPACITY and self._says_load_open(element, now):
                return Reason.PEER_SILENT
            if reason is not Reason.NONE:
                return reason
        return Reason.NONE

    def _says_load_open(self, element: SharedElement, now: float) -> bool:
        """Whether a head that is open says a load that it had before: what it says now has been lost, and comes again.

        It is believed after a while: a head may be seen closed late, or measure wrongly.
        """
        for head in element.heads:
            if not self._now.known_open(head) or (load_a(self._now, head) or 0.0) <= FLOW_DEADBAND_A:
                self._open_with_load.pop(head, None)
            elif now < self._open_with_load.setdefault(head, now) + LOADS_SETTLE_S:
                return True
        return False

    def _generating(self) -> bool:
        """Whether anybody around says that there is local generation."""
        inputs = self._now.inputs
        loads = (view.load for view in self._now.views.values())
        return (inputs is not None and any(inputs.generation_a)) or any(
            load is not None and any(load.generation_a) for load in loads
        )

    def _room(
        self, spare: float, uncertain: list[Entry], entries: list[Entry], now: float, sure: float = -HIGHEST_CURRENT_A
    ) -> Reason:
        """Whether ``spare`` A are enough for the entries; PEER_SILENT while only settled loads can tell.

        Args:
            spare: what is left by the measured load, A.
            uncertain: entries whose tie may carry already what the measured load does not show yet.
            entries: all, those included.
            now: s.
            sure: what is left at the least, with all that flows now, in A.
        """
        least = most = 0.0
        for entry in entries:
            made = entry.reservation
            outstanding = self._outstanding(entry)
            since = self._closed_since.get((made.claim, made.tie))
            if since is None or now >= since + LOADS_SETTLE_S:
                least += outstanding
                most += outstanding
            else:
                most += made.deciamperes / 10 if entry in uncertain else outstanding
        if least > spare:
            self._missing_a = least - spare
            return Reason.NO_CAPACITY
        return Reason.NONE if most <= spare or least <= sure else Reason.PEER_SILENT

    def _outstanding(self, entry: Entry) -> float:
        return outstanding_a(self._now, entry.reservation.tie, entry.reservation.deciamperes)


def promised_higher(claim: ClaimId, promise: ClaimId) -> bool:
    """Whether a tie obeys a higher claim by its promise: it can never close under this one any more."""
    return promise > claim


def asks_for(claim: Claim, made: Reservation) -> bool:
    """Whether a claimant requests or grants a reserved tie.

    A claimant does not come back to a tie it has left under one claim: once heard to ask and then not to, nothing can
    close on that reservation.
    """
    return claim.id == made.claim and (
        claim.request.tie == made.tie or any(bound.switch == made.tie for bound in claim.grants)
    )


def reserved_for(claim: ClaimId, tie: int, reservations: tuple[Reservation, ...], deciamperes: int = 0) -> bool:
    """Whether the reservations of an owner cover a tie under a claim, those of what is shared included."""
    return claim != NO_CLAIM and any(
        made.whole and made.claim == claim and made.tie == tie and made.deciamperes >= deciamperes
        for made in reservations
    )
