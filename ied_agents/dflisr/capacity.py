"""Capacity: what a tie can offer, and the ledger of the head switch that hands it out (design section 4, step 3).

The head switch of a feeder, the one next to its source, owns the capacity of everything between that source and the
ties. It checks every element of the path less what it has reserved already. Amounts are in amperes here and in
tenths of an ampere on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Reason
from ied_agents.dflisr.records import NO_CLAIM, Bound, Claim, ClaimId, Reservation
from scl.agent_model import RESERVATIONS

if TYPE_CHECKING:
    from ied_agents.dflisr.views import Situation


FLOW_DEADBAND_A: Final = 1.0
"""A published load current may be this much behind the real one, in A; capacity counts it as load."""

HIGHEST_CURRENT_A: Final = 1e6
"""Beyond any apparatus; keeps currents within what the wire can carry."""


def supply_path(situation: Situation, bound: Bound) -> list[int] | None:
    """Switches from the side opposite to ``bound`` up to its source, the head switch last; None if it has none.

    Only paths of which every switch is heard count, and only switches that say they are closed.
    """
    behind = situation.other_side(bound)
    return situation.feeder.path_to_source(behind, lambda n: n != bound.switch and situation.known_closed(n))


def load_a(situation: Situation, switch: int) -> float | None:
    """Magnitude of a switch's load current in A; None if it is not known or not fresh."""
    if switch == situation.me.number:
        known = situation.inputs is not None and situation.own.pickup_quality == 0
        return abs(situation.inputs.flow_a) if known and situation.inputs is not None else None
    view = situation.views.get(switch)
    if view is None or view.load is None or not view.load_alive or view.load.flow_quality:
        return None
    if view.state is not None and view.load.incarnation != view.state.incarnation:
        return None
    return abs(view.load.flow_a)


def spare_a(situation: Situation, side: int) -> float:
    """What the own switch, closing, could carry into its ``side``, in A; 0 if anything on the way is not known."""
    path = supply_path(situation, Bound(situation.me.number, side))
    if path is None:
        return 0.0
    spare = situation.me.rating_a
    for number in path:
        load = load_a(situation, number)
        if load is None:
            return 0.0
        spare = min(spare, situation.feeder.by_number[number].rating_a - load - FLOW_DEADBAND_A)
    return max(0.0, spare)


@dataclass(frozen=True, slots=True)
class Entry:
    """One reservation with what is needed to know when it ends."""

    reservation: Reservation
    boundary: tuple[Bound, ...]


class Ledger:
    """Capacity handed out by this switch as head of its feeder."""

    def __init__(self, situation: Situation, entries: tuple[Entry, ...] = ()) -> None:
        self._now = situation
        self.entries = entries

    def find(self, claim: ClaimId, tie: int, deciamperes: int) -> Entry | None:
        """The reservation that covers a request."""
        return next(
            (
                entry
                for entry in self.entries
                if entry.reservation.claim == claim
                and entry.reservation.tie == tie
                and entry.reservation.deciamperes >= deciamperes
            ),
            None,
        )

    def drop_ended(self) -> bool:
        """Remove what has ended: all switches of its claim have promised a higher one. True if anything went."""
        kept = tuple(entry for entry in self.entries if not self._ended(entry))
        changed = kept != self.entries
        self.entries = kept
        return changed

    def _ended(self, entry: Entry) -> bool:
        def promised_higher(bound: Bound) -> bool:
            state = self._now.heard(bound.switch)
            return state is not None and state.promises[bound.side] > entry.reservation.claim

        return all(promised_higher(bound) for bound in entry.boundary)

    def judge(self, claim: Claim) -> Reason:
        """Reserve what ``claim`` requests, or say why not; PEER_SILENT if it cannot be known now."""
        request = claim.request
        bound = next((b for b in claim.boundary if b.switch == request.tie), None)
        if bound is None or request.tie not in self._now.feeder.by_number:
            return Reason.BEYOND_RELEASE
        path = supply_path(self._now, bound)
        if path is None:
            return Reason.PEER_SILENT
        if not path or path[-1] != self._now.me.number:
            return Reason.NO_SUPPLY
        others = [entry for entry in self.entries if entry.reservation.claim != claim.id]
        reserved = sum(self._outstanding_a(entry) for entry in others)
        for number in (*path, request.tie):
            load = 0.0 if number == request.tie else load_a(self._now, number)
            if load is None:
                return Reason.PEER_SILENT
            # Every reservation runs through this head; counting all of them on every element errs to the safe side.
            wanted = load + FLOW_DEADBAND_A + reserved + request.deciamperes / 10
            if wanted > self._now.feeder.by_number[number].rating_a:
                return Reason.NO_CAPACITY
        if len(others) == RESERVATIONS:
            return Reason.NO_CAPACITY
        entry = Entry(Reservation(claim.id, request.tie, request.deciamperes), claim.boundary)
        self.entries = (*others, entry)
        return Reason.NONE

    def _outstanding_a(self, entry: Entry) -> float:
        """What a reservation still counts beside the measured load: all of it until its tie carries it."""
        reserved = entry.reservation.deciamperes / 10
        if self._now.known_open(entry.reservation.tie):
            return reserved
        carried = load_a(self._now, entry.reservation.tie)
        return reserved if carried is None else max(0.0, reserved - carried)


def own_request_granted(claim: Claim, reservations: tuple[Reservation, ...]) -> bool:
    """Whether the reservations of an owner cover what ``claim`` requested."""
    return claim.id != NO_CLAIM and any(
        r.claim == claim.id and r.tie == claim.request.tie and r.deciamperes >= claim.request.deciamperes
        for r in reservations
    )
