"""The part of a switch that may close: promises, the one attempt each, and the guard before every close.

Design section 4, step 3. A switch whose position is known promises a claim while no close is outstanding, and never
obeys a lower one after; a claim permits one attempt per switch, ever, also across restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.control.decision import Reason
from ied_agents.dflisr.capacity import head_of, reserved_for, spare_a, supply_path
from ied_agents.dflisr.machines import ATTEMPT, AttemptEvent, AttemptState
from ied_agents.dflisr.records import (
    NO_CLAIM,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
    SectionState,
)
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ied_agents.dflisr.stored import Record
    from ied_agents.dflisr.views import Situation

PATIENCE_S: Final = 2.0
"""So long a granted switch waits for what is missing before it refuses."""

SUPPLY_STEADY_S: Final = 1.5
"""A supply that has come back counts when the loads it carries must have been heard: they are repeated every second."""


class CloseOrder(NamedTuple):
    """Permission to close the own switch towards ``side`` under ``claim``; ``refusal`` says what is still against."""

    claim: ClaimId
    side: int
    refusal: Reason


class Closer:
    """One switch as the one who closes.

    Args:
        situation: what is known.
        record: as found on disk: a promise there may have been followed by a close.
    """

    def __init__(self, situation: Situation, record: Record) -> None:
        self._now = situation
        self._promised = list(record.promises)
        self._state = [
            ATTEMPT.step(AttemptState.FREE if promise == NO_CLAIM else AttemptState.PROMISED, AttemptEvent.RESTARTED)
            for promise in record.promises
        ]
        self._granted_at: dict[tuple[ClaimId, int], float] = {}
        self._restarted_with = record.promises
        """Promises of an earlier process; what they may have led to is spent."""

    # -- promises -------------------------------------------------------------------------------------------------

    def asked(self) -> list[tuple[int, Claim]]:
        """Claims of others that ask this switch for a promise, and by whom they are."""
        me = self._now.config.number
        return [
            (claimant, claim)
            for claimant, claim in self._now.claims()
            if any(bound.switch == me for bound in claim.boundary)
        ]

    def promise(self, promised: tuple[ClaimId, ClaimId], own: tuple[Claim, Claim]) -> tuple[ClaimId, ClaimId]:
        """Promises to make now: per side the highest claim that asks, never a lower one.

        The position must be known, and no close outstanding. A closed switch promises too: should it open, it obeys no
        lower claim, and who claims learns that it has not opened unnoticed.
        """
        due = list(promised)
        me = self._now.config.number
        for claim in (*own, *(claim for _, claim in self.asked())):
            for bound in claim.boundary:
                if bound.switch != me:
                    continue
                for side in (bound.side,) if self._now.known_open(me) else (0, 1):
                    if ATTEMPT.can(self._state[side], AttemptEvent.ASKED):
                        due[side] = higher(due[side], claim.id)
        self.follow((due[0], due[1]))
        return due[0], due[1]

    def follow(self, promises: tuple[ClaimId, ClaimId]) -> None:
        """Take up promises that are on their way to the disk."""
        for side in (0, 1):
            if promises[side] != self._promised[side] and ATTEMPT.can(self._state[side], AttemptEvent.ASKED):
                self._promised[side] = promises[side]
                self._state[side] = ATTEMPT.step(self._state[side], AttemptEvent.ASKED)

    def stored(self, promises: tuple[ClaimId, ClaimId]) -> None:
        """These promises are on disk."""
        for side in (0, 1):
            if self._state[side] is AttemptState.PROMISING and promises[side] == self._promised[side]:
                self._state[side] = ATTEMPT.step(self._state[side], AttemptEvent.STORED)

    def must_open(self) -> Claim | None:
        """A claim that asks this switch, by both its sides, to be open: to split an island, or to give one back.

        Splitting opens only what is dead; giving back opens a normally open switch under load.
        """
        situation, me = self._now, self._now.me
        inputs = situation.inputs
        for _, claim in self.asked():
            if not {Bound(me.number, 0), Bound(me.number, 1)} <= set(claim.boundary):
                continue
            if any(claim.id < promise for promise in self._promised):
                continue
            if any(bound.switch == me.number for bound in claim.grants):
                continue  # nobody else can serve what it fed
            dead = inputs is not None and inputs.voltage == (Voltage.ABSENT, Voltage.ABSENT) and not inputs.pickup
            back = claim.kind is ClaimKind.RETURN and not me.normally_closed and self._others_promised(claim)
            if dead or back:
                return claim
        return None

    def _others_promised(self, claim: Claim) -> bool:
        """Whether everybody else who is asked, and heard here, is bound: nothing goes dark for a claim that hangs."""
        return all(
            self._now.bound_by(bound, claim.id)
            for bound in claim.boundary
            if bound.switch != self._now.me.number and bound.switch in self._now.views
        )

    # -- the attempt ----------------------------------------------------------------------------------------------

    def close_order(self, own: Iterable[Claim], now: float) -> tuple[CloseOrder | None, float]:
        """The grant under which the own switch may close, judged now, and when to look again.

        Args:
            own: this switch's own claims.
            now: s.
        """
        me = self._now.me.number
        for claim in (*(claim for _, claim in self._now.claims()), *(c for c in own if c.id != NO_CLAIM)):
            for bound in claim.grants:
                if bound.switch != me:
                    continue
                side = bound.side
                if (
                    self._restarted_with[side] == claim.id
                    and self._state[side] is AttemptState.SPENT
                    and self._now.known_open(me)
                ):
                    # Nothing of the attempt can still be on its way; the claimant waits for that word.
                    return CloseOrder(claim.id, side, Reason.SPENT), float("inf")
                if self._state[side] is not AttemptState.PROMISED or self._promised[side] != claim.id:
                    continue
                refusal = self._guard(side, claim, now)
                since = self._granted_at.setdefault((claim.id, side), now)
                if refusal is not Reason.NONE and now < since + PATIENCE_S:
                    return None, since + PATIENCE_S
                return CloseOrder(claim.id, side, refusal), float("inf")
        return None, float("inf")

    def spend(self, order: CloseOrder, *, ordered: bool) -> None:
        """The attempt of a claim is made, or refused."""
        self._granted_at.clear()
        self._restarted_with = (NO_CLAIM, NO_CLAIM)
        if self._state[order.side] is AttemptState.PROMISED:
            event = AttemptEvent.ORDER if ordered else AttemptEvent.REFUSE
            self._state[order.side] = ATTEMPT.step(self._state[order.side], event)

    def closed_otherwise(self) -> None:
        """The switch has closed; what was promised and not ordered is spent, for nobody knows what closed it."""
        for side in (0, 1):
            if self._state[side] is AttemptState.PROMISED:
                self._state[side] = ATTEMPT.step(self._state[side], AttemptEvent.REFUSE)

    def ended(self) -> None:
        """No close is outstanding any more."""
        for side in (0, 1):
            if self._state[side] is AttemptState.ORDERED:
                self._state[side] = ATTEMPT.step(self._state[side], AttemptEvent.ENDED)

    def _guard(self, side: int, claim: Claim, now: float) -> Reason:
        """Every close that can energise: island dead, isolated and promised; supply live, healthy and reserved."""
        situation, me = self._now, self._now.me
        if claim.event in situation.cleared:
            return Reason.OVERTAKEN
        if situation.own.held and claim.kind in (ClaimKind.RESTORE, ClaimKind.TRANSFER):
            return Reason.HELD
        island = situation.island(me.sides[side], me.number)
        missing = situation.isolated(island, claim)
        if missing is not Reason.NONE:
            return missing
        inputs = situation.inputs
        if inputs is None or not situation.inputs_valid(now) or inputs.pickup:
            return Reason.NOT_READY
        if inputs.voltage[1 - side] is not Voltage.PRESENT:
            return Reason.SUPPLY_NOT_LIVE
        supply = situation.supply(Bound(me.number, side))
        if not situation.feeder.has_source(supply.sections) or supply.sections & island.sections:
            return Reason.SUPPLY_NOT_LIVE
        if any(situation.flag(section)[0] is not SectionState.NONE for section in supply.sections):
            return Reason.LOCKED
        path = supply_path(situation, Bound(me.number, side))
        if path is None:
            return Reason.SUPPLY_NOT_LIVE
        head = situation.heard(head_of(path, me.number))
        if head is None or not reserved_for(claim.id, me.number, head.reservations):
            return Reason.NO_CAPACITY
        # Loads may have grown since it was reserved; after a loss of supply they must have been measured anew.
        since = situation.live_since[1 - side]
        heard = all(situation.views[n].load_at >= since for n in path if n != me.number)
        if not heard and now < since + SUPPLY_STEADY_S:
            return Reason.SUPPLY_NOT_LIVE
        reserved = max(
            made.deciamperes for made in head.reservations if (made.claim, made.tie) == (claim.id, me.number)
        )
        if spare_a(situation, side) < reserved / 10:
            return Reason.NO_CAPACITY
        return Reason.NONE


def higher(promised: ClaimId, asked: ClaimId) -> ClaimId:
    """What a switch promises, open or closed: the higher claim; it never obeys a lower one again."""
    return max(promised, asked)
