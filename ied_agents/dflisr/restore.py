"""Restore: who claims which island, who promises, who may close (design section 4, step 3).

Everything is judged anew from the present situation at every call, so that frames may be lost, repeated or reordered
without harm; what must be remembered is the claim itself, the close attempts spent, and what was refused.

Scope of this release: one tie per island. An island that no single tie can take is left dark, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.control.decision import Reason
from ied_agents.dflisr.capacity import own_request_granted, supply_path
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    IDLE,
    NO_CLAIM,
    NO_EVENT,
    NO_REQUEST,
    Bound,
    Claim,
    ClaimId,
    EventId,
    Progress,
    Request,
    SectionState,
    Stage,
)
from ied_agents.dflisr.views import locked
from ied_agents.process.inputs import Voltage
from scl.agent_model import BOUNDARY

if TYPE_CHECKING:
    from ied_agents.dflisr.feeder import Island
    from ied_agents.dflisr.stored import Record
    from ied_agents.dflisr.views import Situation

_NO_CLAIMS: Final = (EMPTY_CLAIM, EMPTY_CLAIM)
AGENT_EPOCH: Final = 0
PATIENCE_S: Final = 2.0
"""After this long without progress an agent says that it is stopped, and why; it goes on as soon as it can."""
CLAIM_PAUSE_S: Final = 0.1
HIGHEST_NUMBER: Final = 0xFFFF_FFFF
CLAIMS_PER_EVENT: Final = 16


class CloseOrder(NamedTuple):
    """Permission to close the own switch towards ``side`` under ``claim``; ``refusal`` says what is still against."""

    claim: ClaimId
    side: int
    refusal: Reason


@dataclass(slots=True)
class Campaign:
    """What a claimant remembers of one island side during one event."""

    event: EventId = NO_EVENT
    claim: Claim = EMPTY_CLAIM
    excluded: dict[int, Reason] = field(default_factory=dict)
    since: float = 0.0
    claimed_at: float = float("-inf")
    claims_made: int = 0
    spent: bool = False
    finished: bool = False


class Restorer:
    """One agent's part in restoring, as claimant and as the one who closes."""

    def __init__(self, situation: Situation, record: Record) -> None:
        self._now = situation
        self._campaigns = (Campaign(), Campaign())
        # A promise of an earlier incarnation may have been followed by a close: its one attempt counts as spent.
        self._attempted = list(record.promises)
        self._granted_at: dict[tuple[ClaimId, int], float] = {}

    def claims(self) -> tuple[Claim, Claim]:
        """Both sides' present claims, durable or not."""
        return self._campaigns[0].claim, self._campaigns[1].claim

    def concerned(self) -> bool:
        """Whether there is any claim about, own or other."""
        return any(campaign.claim != EMPTY_CLAIM for campaign in self._campaigns) or any(
            view.state is not None and view.state.claims != _NO_CLAIMS for view in self._now.views.values()
        )

    # -- claimant -------------------------------------------------------------------------------------------------

    def claim(self, side: int, event: EventId, opened_for: EventId, record: Record, now: float) -> ClaimId | None:
        """The claim that must be made on the island at ``side``, None if none is needed now.

        The claimant is the switch through which the island's load flowed in before the fault. Returns the new claim
        to be made durable.
        """
        campaign = self._campaigns[side]
        if event == NO_EVENT or not self._is_claimant(side, event, opened_for):
            if campaign.claim != EMPTY_CLAIM and (event == NO_EVENT or not campaign.claim.grants):
                self._campaigns[side].claim = EMPTY_CLAIM
            return None
        if campaign.event != event:
            campaign = self._restart(side, event, now)
        if campaign.finished or (campaign.claim.grants and not campaign.spent):
            return None
        island = self._expected_island(side)
        if self._hopeless(side, event, island) is not Reason.NONE:
            return None
        boundary = self._asked(side, island)
        stands = campaign.claim != EMPTY_CLAIM and not campaign.spent and not self._overtaken(campaign.claim)
        if stands and set(campaign.claim.boundary) == set(boundary):
            return None
        if now < campaign.claimed_at + CLAIM_PAUSE_S * campaign.claims_made:
            return None
        number = max(self._now.highest_claim_number(), record.claim_number) + 1
        if campaign.claims_made >= CLAIMS_PER_EVENT or number > HIGHEST_NUMBER:
            return None
        campaign.claim = Claim(ClaimId(AGENT_EPOCH, number, self._now.me.number), event, boundary, NO_REQUEST, ())
        campaign.claimed_at = now
        campaign.claims_made += 1
        campaign.spent = False
        return campaign.claim.id

    def _overtaken(self, claim: Claim) -> bool:
        """Whether a switch that was asked has promised to a higher claim of another agent.

        To one of higher authority our claim gives way for good.
        """
        promises = [
            state.promises[bound.side]
            for bound in claim.boundary
            if (state := self._now.heard(bound.switch)) is not None
        ]
        return any(promise > claim.id and promise.epoch == AGENT_EPOCH for promise in promises)

    def _restart(self, side: int, event: EventId, now: float) -> Campaign:
        campaign = self._campaigns[side]
        campaign.event, campaign.claim, campaign.since = event, EMPTY_CLAIM, now
        campaign.excluded.clear()
        campaign.claims_made, campaign.spent, campaign.finished = 0, False, False
        return campaign

    def _is_claimant(self, side: int, event: EventId, opened_for: EventId) -> bool:
        situation, me = self._now, self._now.me
        frozen = situation.frozen.get(event)
        if frozen is None or me.number not in frozen.closed or opened_for != event:
            return False
        if situation.flag(me.sides[side])[0] is not SectionState.NONE:
            return False

        def conducted(n: int) -> bool:
            return n != me.number and n in frozen.closed

        fed_through_me = situation.feeder.path_to_source(me.sides[1 - side], conducted) is not None
        return fed_through_me and situation.feeder.path_to_source(me.sides[side], conducted) is None

    def _expected_island(self, side: int) -> Island:
        me = self._now.me
        return self._now.feeder.island(me.sides[side], lambda n: n != me.number and self._now.will_conduct(n))

    def _hopeless(self, side: int, event: EventId, island: Island) -> Reason:
        """Why no claim on the island makes sense as things stand."""
        for section in island.sections:
            state, _ = self._now.flag(section)
            if state is SectionState.FAULTED:
                return Reason.ISOLATION_NOT_CONFIRMED
            if state is SectionState.SUSPECT:
                return Reason.SECTION_SUSPECT
        if self._now.feeder.has_source(island.sections):
            return Reason.ISLAND_NOT_DEAD
        boundary = self._asked(side, island)
        frozen = self._now.frozen[event]
        around = island.inner | {bound.switch for bound in island.boundary}
        if len(boundary) > BOUNDARY or around & frozen.generating:
            return Reason.BEYOND_RELEASE
        if frozen.flow_a is None:
            return Reason.NOT_READY
        if not any(self._may_supply(bound) for bound in boundary):
            return Reason.NO_SUPPLY
        return Reason.NONE

    def _may_supply(self, bound: Bound) -> bool:
        state = self._now.state(bound.switch)
        return state is None or not locked(state)

    def _asked(self, side: int, island: Island) -> tuple[Bound, ...]:
        me = self._now.me.number
        mine_locked = locked(self._now.own)
        return tuple(bound for bound in island.boundary if not (bound == Bound(me, side) and mine_locked))

    def pursue(self, side: int, event: EventId, stored: Record, now: float) -> Progress:
        """Take the present claim on ``side`` further: request, grant, completion. Says how far it is."""
        campaign = self._campaigns[side]
        if campaign.event != event or event == NO_EVENT:
            return IDLE
        if campaign.finished:
            return Progress(Stage.FINISHED, Reason.NONE, event)
        reason = self._advance(side, campaign, stored)
        final = reason in (
            Reason.NO_SUPPLY,
            Reason.NO_CAPACITY,
            Reason.BEYOND_RELEASE,
            Reason.SECTION_SUSPECT,
        )
        if reason is not Reason.NONE and (final or now >= campaign.since + PATIENCE_S):
            return Progress(Stage.STOPPED, reason, event)
        return Progress(Stage.RESTORING, Reason.NONE, event)

    def _advance(self, side: int, campaign: Campaign, stored: Record) -> Reason:
        situation, claim, event = self._now, campaign.claim, campaign.event
        if claim.grants and not campaign.spent:
            return self._watch(side, campaign)
        if claim == EMPTY_CLAIM or stored.claims[side] != claim.id:
            if event not in situation.frozen:
                return Reason.NOT_READY
            hopeless = self._hopeless(side, event, self._expected_island(side))
            return hopeless if hopeless is not Reason.NONE else Reason.PEER_SILENT
        me = situation.me.number
        for bound in claim.boundary:
            if bound.switch != me and not situation.bound_by(bound, claim.id):
                return Reason.PEER_SILENT
        if not situation.known_open(me, claim.event):
            return Reason.ISOLATION_NOT_CONFIRMED
        missing = situation.isolated(situation.island(Bound(me, side), claim.event), claim, me)
        if missing is not Reason.NONE:
            return missing
        return self._supply(side, campaign, stored)

    def _watch(self, side: int, campaign: Campaign) -> Reason:
        granted = campaign.claim.grants[0].switch
        state = self._now.state(granted)
        if state is not None and state.outcome.claim == campaign.claim.id and state.outcome.tie == granted:
            campaign.excluded[granted] = state.outcome.reason
            campaign.spent = True
            return state.outcome.reason
        if self._now.known_closed(granted) and self._now.own.voltage[side] is Voltage.PRESENT:
            campaign.finished = True
            return Reason.NONE
        return Reason.DID_NOT_CLOSE

    def _supply(self, side: int, campaign: Campaign, stored: Record) -> Reason:
        situation, claim, me = self._now, campaign.claim, self._now.me
        own = Bound(me.number, side)
        if own in claim.boundary and me.number not in campaign.excluded and stored.promises[side] == claim.id:
            # The breaker that cleared restores what it carried before: its own feeder has that capacity.
            if situation.own.voltage[1 - side] is Voltage.PRESENT:
                campaign.claim = claim._replace(grants=(own,))
            return Reason.SUPPLY_NOT_LIVE
        request = claim.request
        if request.tie:
            owner = situation.heard(request.owner)
            if owner is None:
                return Reason.PEER_SILENT
            # A request stands: what was refused is judged again when capacity frees.
            if own_request_granted(claim, owner.reservations):
                campaign.claim = claim._replace(
                    grants=tuple(bound for bound in claim.boundary if bound.switch == request.tie)[:1]
                )
                return Reason.NONE
            if request.tie not in campaign.excluded:
                if (owner.outcome.claim, owner.outcome.tie) != (claim.id, request.tie):
                    return Reason.PEER_SILENT
                campaign.excluded[request.tie] = owner.outcome.reason
        frozen = situation.frozen.get(claim.event)
        if frozen is None or frozen.flow_a is None:
            return Reason.NOT_READY
        inflow_a = frozen.flow_a if side == 1 else -frozen.flow_a
        return self._ask_next(campaign, -int(-max(0.0, inflow_a) * situation.config.pickup_factor * 10 // 1))

    def _ask_next(self, campaign: Campaign, amount: int) -> Reason:
        situation = self._now
        offers: list[tuple[float, int, int]] = []
        possible = Reason.NO_SUPPLY
        for bound in campaign.claim.boundary:
            if bound.switch == situation.me.number or not self._may_supply(bound):
                continue
            possible = Reason.NO_CAPACITY
            view = situation.views.get(bound.switch)
            path = supply_path(situation, bound)
            if bound.switch in campaign.excluded or not path or view is None or view.load is None:
                continue
            spare = view.load.spare_a[bound.side] if view.load_alive else 0.0
            if spare * 10 >= amount:
                offers.append((-spare, bound.switch, path[-1]))
        if not offers:
            return possible
        _, tie, owner = min(offers)
        campaign.claim = campaign.claim._replace(request=Request(tie, owner, amount))
        return Reason.NONE

    # -- promises and closing -------------------------------------------------------------------------------------

    def promises_due(self, promised: tuple[ClaimId, ClaimId]) -> tuple[ClaimId, ClaimId]:
        """Promises to make: for each side the highest claim that asks for it, never lower than what is promised."""
        due = list(promised)
        for _, claim in self._now.claims():
            for bound in claim.boundary:
                if bound.switch == self._now.me.number:
                    due[bound.side] = max(due[bound.side], claim.id)
        return due[0], due[1]

    def close_order(self, record: Record, stored: Record, now: float) -> tuple[CloseOrder | None, float]:
        """The grant under which the own switch may close, judged now, and when to look again."""
        me = self._now.me.number
        for claimant, claim in [*self._now.claims(), *((me, c) for c in self.claims() if c.id != NO_CLAIM)]:
            for bound in claim.grants:
                if bound.switch != me or not (stored.promises[bound.side] == record.promises[bound.side] == claim.id):
                    continue
                if self._attempted[bound.side] >= claim.id:
                    continue
                refusal = self._guard(bound.side, claim, claimant, now)
                since = self._granted_at.setdefault((claim.id, bound.side), now)
                if refusal is not Reason.NONE and now < since + PATIENCE_S:
                    return None, since + PATIENCE_S
                return CloseOrder(claim.id, bound.side, refusal), float("inf")
        return None, float("inf")

    def spend(self, order: CloseOrder) -> None:
        """A claim permits one close attempt per switch, ever."""
        self._attempted[order.side] = order.claim
        self._granted_at.clear()

    def _guard(self, side: int, claim: Claim, claimant: int, now: float) -> Reason:
        """Every close that can energise: island dead, isolated and promised; supply live, healthy and reserved."""
        situation, me = self._now, self._now.me
        if claim.event in situation.cleared:
            return Reason.OVERTAKEN
        island = situation.island(Bound(me.number, side), claim.event)
        missing = situation.isolated(island, claim, claimant)
        if missing is not Reason.NONE:
            return missing
        inputs = situation.inputs
        if inputs is None or not situation.inputs_valid(now) or inputs.pickup:
            return Reason.NOT_READY
        if inputs.voltage[1 - side] is not Voltage.PRESENT:
            return Reason.SUPPLY_NOT_LIVE
        supply = situation.feeder.island(me.sides[1 - side], lambda n: n != me.number and not situation.known_open(n))
        if not situation.feeder.has_source(supply.sections) or supply.sections & island.sections:
            return Reason.SUPPLY_NOT_LIVE
        if any(situation.flag(section)[0] is not SectionState.NONE for section in supply.sections):
            return Reason.LOCKED
        if claimant != me.number:
            owner = situation.heard(claim.request.owner)
            path = supply_path(situation, Bound(me.number, side))
            if not path or path[-1] != claim.request.owner:
                return Reason.SUPPLY_NOT_LIVE
            if owner is None or claim.request.tie != me.number or not own_request_granted(claim, owner.reservations):
                return Reason.NO_CAPACITY
        return Reason.NONE
