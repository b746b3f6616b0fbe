"""The part of a switch that claims: which islands it must see served, and how it has them served.

Design section 4, step 3. Everything is judged anew from the present situation at every call, so that frames may be
lost, repeated or reordered without harm; what must be remembered is the claim itself and what was refused.
What an island draws and what its ties can offer stands in ``offers``, which of them serve it in ``choice``.
Longer than most files: it is one claim from its cause to its end, and every step reads what the one before has kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.control.decision import Reason
from ied_agents.dflisr.capacity import FLOW_DEADBAND_A, head_of, reserved_for, supply_path
from ied_agents.dflisr.choice import Choice, Inner, Offer, Part, choose
from ied_agents.dflisr.machines import CLAIM, ClaimEvent, ClaimState
from ied_agents.dflisr.offers import drawn_a, expected_loads, spare_elements, takes_back
from ied_agents.dflisr.records import (
    EMPTY_CLAIM,
    IDLE,
    NO_CLAIM,
    NO_EVENT,
    NO_REQUEST,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
    EventId,
    Progress,
    Request,
    SectionState,
    Stage,
)
from ied_agents.dflisr.views import locked
from ied_agents.process.inputs import Voltage
from scl.agent_model import BOUNDARY, GRANTS

if TYPE_CHECKING:
    from ied_agents.dflisr.feeder import Island
    from ied_agents.dflisr.stored import Record
    from ied_agents.dflisr.views import Frozen, Situation

AGENT_EPOCH: Final = 0
PATIENCE_S: Final = 2.0
"""After this long without progress an agent says that it is stopped, and why; it goes on as soon as it can."""
REQUEST_PATIENCE_S: Final = 3.0
"""An owner of capacity that has neither reserved nor refused in so long is not waited for where there is another."""
GRANT_PATIENCE_S: Final = 8.0
"""Longer than a granted switch waits, closes and is heard of."""
SPLIT_PATIENCE_S: Final = 0.6
"""An island is split, or left dark in part, so long after the event: until then others may become able to supply."""
TRIPPED_BEFORE_S: Final = 1.0
"""A breaker may have tripped for a fault so long before the fault current that led to its declaration."""
GENERATION_GOES_S: Final = 2.0
"""Local generation has left an island that is dead for so long (EN 50549-1, IEEE 1547)."""
CLAIM_PAUSE_S: Final = 0.1
HIGHEST_NUMBER: Final = 0xFFFF_FFFF
CLAIMS_PER_EVENT: Final = 24
CHOICE_EFFORT: Final = 20_000
"""Bounds the time that a choice takes to some 20 ms; capacity and promises do not hang on it."""
_FINAL: Final = frozenset((Reason.NO_SUPPLY, Reason.NO_CAPACITY, Reason.BEYOND_RELEASE, Reason.SECTION_SUSPECT))


class Purpose(NamedTuple):
    """Why an island is claimed: what for, which event, under which authority."""

    kind: ClaimKind
    event: EventId
    epoch: int = AGENT_EPOCH


@dataclass(slots=True)
class Campaign:
    """What a claimant remembers of one island side during one event.

    Attributes:
        purpose: None while there is nothing to do.
        claim: as published, once durable.
        state: by the table of claims.
        targets: a section of each dark part that is left to be served.
        opening: closed ties that must open, for a return to normal.
        splits: inner switches to open and hold.
        parts: chosen, in the order to be asked; the first of them are granted.
        sections: all that was to be served when ties were chosen.
        served: of those, what is live again.
        excluded: ties not to be asked again, and why.
        limits: what owners have said that a tie can have at the most, in A.
        whole: inner switches that cannot split.
        stale: the island is not what it was when it was claimed: the claim goes no further.
        short: why something of ``sections`` stays dark.
        kept: ties that a claim before this one has closed, and that serve a part: they do not open again.
        dead_since: when all that is claimed was first known to be dead, s.
        generating: local generation may still run there, and feed back once there is voltage.
        withheld: a tie is no offer because of that.
        offered: switches that could supply something when ties were last chosen.
        refused_in_part: after a grant another part was refused; what is left is claimed anew once the first is served.
    """

    purpose: Purpose | None = None
    targets: tuple[int, ...] = ()
    opening: frozenset[int] = frozenset()
    since: float = 0.0
    claim: Claim = EMPTY_CLAIM
    state: ClaimState = ClaimState.NONE
    splits: frozenset[int] = frozenset()
    parts: tuple[Part, ...] = ()
    sections: frozenset[int] = frozenset()
    served: frozenset[int] = frozenset()
    excluded: dict[int, Reason] = field(default_factory=dict)
    limits: dict[int, float] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    stale: bool = False
    short: Reason = Reason.NONE
    claimed_at: float = float("-inf")
    requested_at: float = float("-inf")
    claims_made: int = 0
    refused_in_part: bool = False
    kept: frozenset[int] = frozenset()
    dead_since: float = math.inf
    generating: bool = True
    withheld: bool = False
    offered: set[int] = field(default_factory=set)

    @property
    def whole_until(self) -> float:
        """Until when nothing is split or left dark, s.

        What is dark before it returns to normal stays so until its normal supply can take it as a whole.
        """
        returning = self.purpose is not None and self.purpose.kind is ClaimKind.RETURN
        return math.inf if returning and not self.opening else self.since + SPLIT_PATIENCE_S

    def limit(self, tie: int, reason: Reason, possible_a: float) -> None:
        """Ask no more of a tie than it can have; one whose supply is not heard is no offer until it is heard again."""
        if possible_a:
            self.limits[tie] = possible_a
        elif reason is not Reason.SUPPLY_NOT_LIVE:
            self.excluded[tie] = reason

    def to(self, event: ClaimEvent) -> None:
        """Step through the table of claims."""
        self.state = CLAIM.step(self.state, event)


class Claimant:
    """One switch as the one who claims, on either side."""

    def __init__(self, situation: Situation, island_loads: tuple[int, int]) -> None:
        self._now = situation
        self._campaigns = [Campaign(), Campaign()]
        self._fed: dict[frozenset[int], tuple[bool, bool]] = {}
        """By the switches that conducted before an event, behind which own side a source lay."""
        self.progress = [IDLE, IDLE]
        """Per side, how far the claim is."""
        self.island_loads = island_loads
        """Per side, what the island claimed there last drew, in tenths of an ampere."""

    def claims(self) -> tuple[Claim, Claim]:
        """Both sides' present claims, durable or not."""
        return self._campaigns[0].claim, self._campaigns[1].claim

    def remember(self, side: int, event: EventId) -> None:
        """Note what the island at ``side`` drew before an event, for the process after this one; 0 if not known."""
        situation = self._now
        frozen = situation.frozen.get(event)
        drawn = None if frozen is None else drawn_a(situation, side, frozen)[1]
        amounts = list(self.island_loads)
        amounts[side] = 0 if drawn is None else round(drawn * situation.config.pickup_factor * 10)
        self.island_loads = (amounts[0], amounts[1])

    # -- whether to claim -----------------------------------------------------------------------------------------

    def fault_event(self, side: int, tripped_at: float | None, tripped_into: int | None) -> EventId:
        """The event after which this switch must see the island at ``side`` served; NO_EVENT if none.

        The claimant is the switch through which the island's load flowed in before the event: of several the first in
        the SCD. Of several events the latest.

        Args:
            side: of this switch.
            tripped_at: when it was ordered open because of a fault, s; None if it was not.
            tripped_into: side into which the fault current flowed then; None if that is not known.
        """
        situation = self._now
        if situation.flag(situation.me.sides[side])[0] is not SectionState.NONE:
            return NO_EVENT
        active = situation.active_events()
        mine = []
        for event, frozen in situation.frozen.items():
            if event not in active or not self._fed_island(side, frozen):
                continue
            tripped = tripped_at is not None and tripped_at >= frozen.at - TRIPPED_BEFORE_S
            tripped = tripped and self._near(event, tripped_into)
            if tripped or self._holds(event):
                mine.append((frozen.at, event))
        return max(mine)[1] if mine else NO_EVENT

    def _near(self, event: EventId, into: int | None) -> bool:
        """Whether an event's section was where this switch's fault current flowed: only then did it trip for it.

        Where the direction is not known it must be on the switch's own feeder.
        """
        situation, me, feeder = self._now, self._now.me, self._now.feeder
        closed = situation.frozen[event].closed

        def conducted(n: int) -> bool:
            within = into is not None or not any(feeder.is_source(section) for section in feeder.by_number[n].sides)
            return n != me.number and n in closed and within

        ways = me.sides if into is None else (me.sides[into],)
        ours = [feeder.island(section, conducted).sections for section in ways]
        return any(situation.flag(section)[1] == event for sections in ours for section in sections)

    def _holds(self, event: EventId) -> bool:
        return any(side.lock and side.lock_event == event for side in self._now.own.sides)

    def _fed_island(self, side: int, frozen: Frozen) -> bool:
        """Whether the load at ``side`` flowed in through this switch before an event."""
        situation, me, feeder = self._now, self._now.me, self._now.feeder
        closed = frozen.closed
        if me.number not in closed:
            return False
        fed = self._fed.get(closed)
        if fed is None:
            ways = (feeder.path_to_source(s, lambda n: n != me.number and n in closed) for s in me.sides)
            # Of pictures that are over nothing is asked any more.
            pictures = {picture.closed for picture in situation.frozen.values()}
            self._fed = {c: known for c, known in self._fed.items() if c in pictures}
            one, other = ways
            self._fed[closed] = fed = one is not None, other is not None
        if not fed[1 - side]:
            return False
        if not fed[side]:
            return True
        # Fed from several ends: the first switch of the SCD among those through which load flowed into what is dark.
        island = self._expected_island(me.sides[side], self._campaigns[side])

        def outside(n: int) -> bool:
            return n in closed and n not in island.inner and all(n != bound.switch for bound in island.boundary)

        infeeds = {
            bound.switch
            for bound in island.boundary
            if bound.switch in closed and feeder.path_to_source(situation.other_side(bound), outside) is not None
        }
        first = next((switch.number for switch in feeder.switches if switch.number in infeeds), 0)
        return first == me.number and not feeder.has_source(island.sections)

    # -- claiming -------------------------------------------------------------------------------------------------

    def claim(self, side: int, purpose: Purpose | None, record: Record, now: float) -> ClaimId | None:
        """The claim that must be made on the island at ``side`` and made durable, None if none is needed now."""
        campaign = self._campaigns[side]
        if purpose != campaign.purpose:
            if campaign.state is ClaimState.GRANTED and campaign.claim.event not in self._now.cleared:
                # What is granted may still close; its end is awaited first.
                return None
            opening = self._ties_to_open(side) if purpose is not None and purpose.kind is ClaimKind.RETURN else ()
            campaign = self._campaigns[side] = Campaign(purpose, (self._now.me.sides[side],), frozenset(opening), now)
        elif purpose is not None and self._dark_again(side, campaign):
            anew = Campaign(purpose, (self._now.me.sides[side],), frozenset(), now)
            if self._hopeless(anew, purpose, self._islands(anew)) is Reason.NONE:
                campaign = self._campaigns[side] = anew
        elif purpose is not None and (rest := self._rest(campaign, now)) is not None:
            campaign = self._campaigns[side] = rest
        running = campaign.state in (ClaimState.DONE, ClaimState.GRANTED) or bool(campaign.claim.grants)
        if purpose is None or (running and campaign.state is not ClaimState.SPENT):
            return None
        islands = self._islands(campaign)
        if self._hopeless(campaign, purpose, islands) is not Reason.NONE:
            return None
        boundary = self._asked(side, campaign, islands)
        if campaign.claim != EMPTY_CLAIM and campaign.state is not ClaimState.SPENT:
            if self._overtaken(campaign.claim):
                campaign.to(ClaimEvent.OVERTAKEN)
                campaign.claim = EMPTY_CLAIM
            else:
                campaign.stale = set(boundary) != set(campaign.claim.boundary)
                if not campaign.stale:
                    return None
        split = bool(campaign.splits) and campaign.state is ClaimState.SPENT
        if not split and now < campaign.claimed_at + CLAIM_PAUSE_S * min(campaign.claims_made, 5):
            return None
        number = max(self._now.highest_claim_number(), record.claim_number) + 1
        if campaign.claims_made >= CLAIMS_PER_EVENT or number > HIGHEST_NUMBER:
            return None
        campaign.to(ClaimEvent.CLAIMED)
        identity = ClaimId(purpose.epoch, number, self._now.me.number)
        campaign.claim = Claim(identity, purpose.event, boundary, NO_REQUEST, (), purpose.kind)
        campaign.claimed_at, campaign.stale = now, False
        campaign.claims_made += 1
        if not split:
            campaign.parts = ()
        return identity

    def _dark_again(self, side: int, campaign: Campaign) -> bool:
        """Whether what was restored has lost its supply, and nobody else asks for it."""
        situation, me = self._now, self._now.me
        return (
            campaign.state is ClaimState.DONE
            and me.sides[side] in campaign.served
            and situation.own.voltage[side] is Voltage.ABSENT
            and situation.known_open(me.number)
            and not any(Bound(me.number, side) in claim.boundary for _, claim in situation.claims())
        )

    def _rest(self, campaign: Campaign, now: float) -> Campaign | None:
        """The campaign for what was left dark, once somebody can supply it who could not when ties were chosen."""
        situation, left = self._now, campaign.sections - campaign.served
        if campaign.state is not ClaimState.DONE or campaign.short is Reason.NONE or campaign.opening or not left:
            return None
        kept = campaign.kept | {bound.switch for bound in campaign.claim.grants}
        rest = Campaign(campaign.purpose, since=now, sections=left, kept=kept)
        rest.excluded, rest.limits, rest.whole = campaign.excluded, campaign.limits, campaign.whole
        self._start_over(rest)
        for island in self._islands(rest):
            around = [bound for section in island.sections for bound in situation.feeder.around[section]]
            heard = [(situation.heard(bound.switch), bound.side) for bound in around]
            if any(state is not None and state.voltage[at] is Voltage.PRESENT for state, at in heard):
                continue
            others = [b for b in island.boundary if b.switch not in campaign.offered | campaign.excluded.keys()]
            for bound in others:
                if self._held(bound.switch) or not self._may_supply(bound):
                    continue
                if spare_elements(situation, bound, NO_CLAIM) is not None:
                    return rest
        return None

    def _ties_to_open(self, side: int) -> list[int]:
        """For a return to normal: the normally open switch through which the island at ``side`` is fed now."""
        situation, me = self._now, self._now.me
        path = situation.feeder.path_to_source(me.sides[side], lambda n: n != me.number and situation.known_closed(n))
        ties = [n for n in path or () if not situation.feeder.by_number[n].normally_closed]
        return ties[:1]

    def _overtaken(self, claim: Claim) -> bool:
        """Whether a switch that was asked has promised to a higher claim of another agent.

        To one of higher authority our claim gives way for good.
        """
        promises = [
            state.promises[bound.side]
            for bound in claim.boundary
            if (state := self._now.heard(bound.switch)) is not None
        ]
        return any(promise > claim.id and promise.epoch == claim.id.epoch for promise in promises)

    def _expected_island(self, section: int, campaign: Campaign) -> Island:
        """The island around a section as it will be once everybody has opened that must."""
        me = self._now.me.number

        def conducts(n: int) -> bool:
            if n == me or n in campaign.opening - campaign.kept:
                return False
            return n in campaign.splits or self._now.will_conduct(n)

        return self._now.feeder.island(section, conducts)

    def _islands(self, campaign: Campaign) -> list[Island]:
        islands: list[Island] = []
        for target in campaign.targets:
            if not any(target in island.sections for island in islands):
                islands.append(self._expected_island(target, campaign))
        return islands

    def _hopeless(self, campaign: Campaign, purpose: Purpose, islands: list[Island]) -> Reason:
        """Why no claim makes sense as things stand."""
        situation = self._now
        if purpose.event not in situation.frozen:
            return Reason.LOAD_UNKNOWN
        offered = False
        for island in islands:
            for section in island.sections:
                state, _ = situation.flag(section)
                if state is SectionState.FAULTED:
                    return Reason.ISOLATION_NOT_CONFIRMED
                if state is not SectionState.NONE:
                    return Reason.SECTION_SUSPECT
            if situation.feeder.has_source(island.sections):
                return Reason.ISLAND_NOT_DEAD
            if len(campaign.splits) + len(island.inner) + len(island.boundary) > BOUNDARY:
                return Reason.BEYOND_RELEASE
            offered = offered or any(self._may_supply(bound) for bound in island.boundary)
        return Reason.NONE if offered else Reason.NO_SUPPLY

    def _may_supply(self, bound: Bound) -> bool:
        state = self._now.state(bound.switch)
        return state is None or not locked(state)

    def _asked(self, side: int, campaign: Campaign, islands: list[Island]) -> tuple[Bound, ...]:
        """Switch sides to ask: the boundary, one side of what is inside, and both sides of what must open."""
        me = self._now.me.number
        mine_locked = locked(self._now.own)
        must_open = sorted(campaign.opening - campaign.kept | campaign.splits)
        asked = [
            bound
            for island in islands
            for bound in island.boundary
            if bound.switch not in must_open and not (bound == Bound(me, side) and mine_locked)
        ]
        inside = [Bound(n, 0) for island in islands for n in sorted(island.inner) if n not in must_open]
        return tuple(dict.fromkeys((*asked, *inside, *(Bound(number, s) for number in must_open for s in (0, 1)))))

    # -- pursuing -------------------------------------------------------------------------------------------------

    def pursue(self, side: int, stored: Record, now: float) -> Progress:
        """Take the present claim on ``side`` further: request, grant, completion. Says how far it is."""
        self.progress[side] = progress = self._pursue(side, stored, now)
        return progress

    def _pursue(self, side: int, stored: Record, now: float) -> Progress:
        campaign = self._campaigns[side]
        purpose = campaign.purpose
        if purpose is None:
            return IDLE
        campaign.generating = now < campaign.dead_since + GENERATION_GOES_S
        reason = Reason.NONE
        # A refusal leads to another choice at once.
        for _ in range(len(campaign.claim.boundary) + 1):
            if campaign.state is ClaimState.DONE:
                break
            before = campaign.state, campaign.claim
            reason = self._advance(side, campaign, purpose, stored, now)
            if (campaign.state, campaign.claim) == before or reason is Reason.NONE:
                break
        if campaign.state is ClaimState.DONE:
            stage = Stage.FINISHED if campaign.short is Reason.NONE else Stage.STOPPED
            return Progress(stage, campaign.short, purpose.event)
        since = max(campaign.since, campaign.claimed_at)
        # An owner that is asked has a patience of its own.
        waits = now < campaign.requested_at + REQUEST_PATIENCE_S
        asked = waits and campaign.state is ClaimState.REQUESTING and reason is Reason.PEER_SILENT
        waits_for_generation = (
            reason is Reason.ISLAND_NOT_DEAD and now < campaign.dead_since + GENERATION_GOES_S < math.inf
        )
        asked = asked or waits_for_generation
        if reason is not Reason.NONE and not asked and (reason in _FINAL or now >= since + PATIENCE_S):
            return Progress(Stage.STOPPED, reason, purpose.event)
        return Progress(Stage.RESTORING, Reason.NONE, purpose.event)

    def _advance(self, side: int, campaign: Campaign, purpose: Purpose, stored: Record, now: float) -> Reason:
        if campaign.state is ClaimState.STORING:
            if stored.claims[side] != campaign.claim.id:
                return Reason.PEER_SILENT
            campaign.to(ClaimEvent.STORED)
        if campaign.stale and not campaign.claim.grants:
            return Reason.PEER_SILENT
        if campaign.state is ClaimState.ASKING:
            missing = self._gather(campaign, stored)
            if missing is not Reason.NONE:
                return missing
            campaign.dead_since = min(campaign.dead_since, now)
        if campaign.state is ClaimState.CHOOSING:
            missing = self._choose(side, campaign, purpose, now)
            if missing is not Reason.NONE:
                return missing
        if campaign.state is ClaimState.REQUESTING:
            missing = self._request(side, campaign, purpose, now)
            if missing is not Reason.NONE:
                return missing
        if campaign.state is ClaimState.GRANTED:
            return self._watch(side, campaign, now)
        missing = self._hopeless(campaign, purpose, self._islands(campaign))
        return missing if missing is not Reason.NONE else Reason.PEER_SILENT

    def _gather(self, campaign: Campaign, stored: Record) -> Reason:
        """Await all promises, and the islands dead."""
        situation, claim, me = self._now, campaign.claim, self._now.me.number
        for bound in claim.boundary:
            if bound.switch == me:
                if stored.promises[bound.side] != claim.id:
                    return Reason.PEER_SILENT
                continue
            state = situation.heard(bound.switch)
            if state is not None and (state.outcome.claim, state.outcome.tie) == (claim.id, bound.switch):
                # It was asked to open and could not.
                campaign.whole.add(bound.switch)
                self._start_over(campaign)
                campaign.to(ClaimEvent.FAILED)
                return state.outcome.reason
            if not situation.bound_by(bound, claim.id):
                return Reason.PEER_SILENT
        parts = [part.sections for part in campaign.parts] if campaign.splits else [{t} for t in campaign.targets]
        for sections in parts:
            island = situation.island(min(sections), me)
            if any(bound.switch == me for bound in island.boundary) and not situation.known_open(me):
                return Reason.ISOLATION_NOT_CONFIRMED
            missing = situation.isolated(island, claim)
            if missing is not Reason.NONE:
                return missing
        campaign.to(ClaimEvent.PROMISED)
        return Reason.NONE

    def _start_over(self, campaign: Campaign) -> None:
        """Look anew at what of the campaign is dark, as the switches stand now."""
        left = set(campaign.sections - campaign.served) or set(campaign.targets)
        campaign.splits, campaign.parts = frozenset(), ()
        targets = []
        while left:
            targets.append(min(left))
            left -= self._expected_island(min(left), campaign).sections
        campaign.targets = tuple(targets)

    def _choose(self, side: int, campaign: Campaign, purpose: Purpose, now: float) -> Reason:
        """Choose ties and where to split; where the island is split for this claim already, that is done."""
        if not (campaign.splits and campaign.parts):
            campaign.withheld = False
            choice, dark, reason = self._best(side, campaign, purpose)
            if not choice.parts:
                # Who has not answered for long is asked again where there is nobody else.
                silent = [tie for tie, why in campaign.excluded.items() if why is Reason.PEER_SILENT]
                for tie in silent:
                    del campaign.excluded[tie]
                return Reason.ISLAND_NOT_DEAD if campaign.withheld else reason
            left_out = dark - frozenset[int]().union(*(part.sections for part in choice.parts))
            if (choice.splits or left_out) and (now < campaign.whole_until or campaign.withheld):
                return Reason.ISLAND_NOT_DEAD if campaign.withheld else Reason.PEER_SILENT
            campaign.parts = choice.parts
            campaign.sections |= dark
            loads = self._now.frozen[purpose.event].loads_a
            campaign.short = Reason.NO_CAPACITY if any(loads.get(s, 1.0) for s in left_out) else Reason.NONE
            if choice.splits:
                campaign.splits = frozenset(choice.splits)
                campaign.to(ClaimEvent.SPLIT)
                return Reason.NONE
        campaign.to(ClaimEvent.CHOSEN)
        return Reason.NONE

    def _best(self, side: int, campaign: Campaign, purpose: Purpose) -> tuple[Choice, frozenset[int], Reason]:
        """The best choice for all dark parts together, their sections, and why there is none if there is none."""
        situation, feeder = self._now, self._now.feeder
        parts: tuple[Part, ...] = ()
        splits: tuple[int, ...] = ()
        dark: frozenset[int] = frozenset()
        reason = Reason.NO_SUPPLY
        campaign.offered = set()
        for target in campaign.targets:
            island = situation.island(target, situation.me.number)
            dark |= island.sections
            offers, missing = self._offers(island, campaign, purpose, parts)
            campaign.offered |= {offer.bound.switch for offer in offers}
            if not offers:
                reason = missing
                continue
            loads, total = expected_loads(situation, side, purpose.event, island, self.island_loads[side] / 10)
            if not loads:
                reason = Reason.LOAD_UNKNOWN
                continue
            amounts = list(self.island_loads)
            amounts[side] = round((sum(loads.values()) if total is None else total) * 10)
            self.island_loads = (amounts[0], amounts[1])
            inner = [
                Inner(n, feeder.by_number[n].sides, feeder.by_number[n].rating_a, n not in campaign.whole)
                for n in sorted(island.inner)
            ]
            priorities = {s.index: s.priority for s in feeder.sections if s.index in island.sections}
            reason = Reason.NO_CAPACITY
            choice = None
            if total is not None:
                # What flowed in through this switch is known better than the sum of all that flowed inside.
                known = sum(loads.values())
                exact = {s: load * total / known if known else total / len(loads) for s, load in loads.items()}
                choice = choose(exact, priorities, inner, offers, most_parts=1, most_splits=0, effort=CHOICE_EFFORT)
            if choice is None or not choice.parts:
                room = BOUNDARY - len(campaign.claim.boundary) - len(splits)
                choice = choose(
                    loads,
                    priorities,
                    inner,
                    offers,
                    most_parts=GRANTS - len(parts),
                    most_splits=room if island.sections <= self._now.frozen[purpose.event].loads_a.keys() else 0,
                    cut_a=FLOW_DEADBAND_A,
                    effort=CHOICE_EFFORT,
                )
            parts += choice.parts
            splits += choice.splits
        return Choice(parts, splits, 0.0), dark, reason

    def _offers(
        self, island: Island, campaign: Campaign, purpose: Purpose, taken: tuple[Part, ...]
    ) -> tuple[list[Offer], Reason]:
        """Switches that could energise an island, with what is left of every element on their way."""
        situation, me = self._now, self._now.me.number
        generation = situation.frozen[purpose.event].generation_a
        generation_a = sum(generation.get(section, 0.0) for section in island.sections)
        # What is dark returns to its normal supply, as long as that has refused nothing.
        only_own = campaign.whole_until == math.inf and me not in campaign.excluded and me not in campaign.limits
        offers: list[Offer] = []
        missing = Reason.NO_SUPPLY
        for bound in island.boundary:
            own = bound.switch == me
            if (
                bound not in campaign.claim.boundary
                or any(part.bound.switch == bound.switch for part in taken)
                or (purpose.kind is ClaimKind.TRANSFER and own)
                or ((purpose.kind is ClaimKind.MANUAL or only_own) and not own)
                or (not own and self._held(bound.switch))
                or not self._may_supply(bound)
            ):
                continue
            if bound.switch in campaign.excluded:
                missing = campaign.excluded[bound.switch]
                continue
            elements = spare_elements(situation, bound, campaign.claim.id)
            if elements is None:
                missing = Reason.SUPPLY_NOT_LIVE if missing is Reason.NO_SUPPLY else missing
                continue
            if campaign.generating and not takes_back(situation, bound, island, generation_a):
                missing, campaign.withheld = Reason.ISLAND_NOT_DEAD, True
                continue
            if bound.switch in campaign.limits:
                elements = (*elements, (bound.switch, campaign.limits[bound.switch]))
            offers.append(Offer(bound, situation.feeder.section(bound), elements, own))
        return offers, missing

    def _held(self, switch: int) -> bool:
        """Whether a switch is held open to split an island: only a return to normal closes it."""
        state = self._now.state(switch)
        return state is None or state.held

    def _request(self, side: int, campaign: Campaign, purpose: Purpose, now: float) -> Reason:
        """Have the next parts reserved, one after the other, and grant them."""
        situation = self._now
        while True:
            claim = campaign.claim
            part = campaign.parts[len(claim.grants)]
            tie, amount = part.bound.switch, round(part.amount_a * 10)
            path = supply_path(situation, part.bound)
            if path is None:
                return self._refused(side, campaign, purpose, tie, Reason.SUPPLY_NOT_LIVE)
            number = head_of(path, tie)
            head = situation.heard(number)
            if head is None or not reserved_for(claim.id, tie, head.reservations, amount):
                wanted = Request(tie, number, amount)
                if claim.request != wanted:
                    campaign.claim = claim._replace(request=wanted)
                    campaign.requested_at = now
                elif head is not None and (head.outcome.claim, head.outcome.tie) == (claim.id, tie):
                    return self._refused(
                        side, campaign, purpose, tie, head.outcome.reason, head.outcome.deciamperes / 10
                    )
                elif now >= campaign.requested_at + REQUEST_PATIENCE_S:
                    # It may not hear this switch, or wait for another tie that will never close.
                    return self._refused(side, campaign, purpose, tie, Reason.PEER_SILENT)
                return Reason.PEER_SILENT
            campaign.claim = claim._replace(grants=(*claim.grants, part.bound))
            if len(campaign.claim.grants) == len(campaign.parts):
                campaign.to(ClaimEvent.GRANTED)
                return Reason.NONE
            campaign.to(ClaimEvent.RESERVED)

    def _refused(
        self, side: int, campaign: Campaign, purpose: Purpose, tie: int, reason: Reason, possible_a: float = 0.0
    ) -> Reason:
        """A tie cannot have its capacity: do without it. Where nothing else is left, the request stands."""
        if campaign.claim.grants:
            granted = len(campaign.claim.grants)
            campaign.parts = (*campaign.parts[:granted], *campaign.parts[granted + 1 :])
            campaign.short, campaign.refused_in_part = reason, True
            campaign.limit(tie, reason, possible_a)
            if granted == len(campaign.parts):
                campaign.to(ClaimEvent.GRANTED)
            return Reason.NONE
        # What could be had instead may do for a part of the island; else the tie is out.
        limit = campaign.limits.get(tie)
        campaign.limit(tie, reason, possible_a)
        chosen, splits = campaign.parts, campaign.splits
        if splits:
            self._start_over(campaign)
        best, dark, _ = self._best(side, campaign, purpose)
        whole = not best.splits and dark <= frozenset[int]().union(*(part.sections for part in best.parts))
        if not splits and not (best.parts and (whole or campaign.whole_until < math.inf)):
            campaign.excluded.pop(tie, None)
            campaign.limits.pop(tie, None)
            if limit is not None:
                campaign.limits[tie] = limit
            campaign.parts = chosen
            return reason
        campaign.parts = ()
        campaign.to(ClaimEvent.REFUSED)
        return reason

    def _watch(self, side: int, campaign: Campaign, now: float) -> Reason:
        """Await the end of every granted attempt."""
        situation, claim = self._now, campaign.claim
        failed: dict[int, Reason] = {}
        for part, bound in zip(campaign.parts, claim.grants, strict=True):
            state = situation.state(bound.switch)
            if state is not None and (state.outcome.claim, state.outcome.tie) == (claim.id, bound.switch):
                failed[bound.switch] = state.outcome.reason
                continue
            if now >= campaign.claimed_at + GRANT_PATIENCE_S and situation.known_open(bound.switch):
                # It has had its time, or has said so and been overheard: a new claim makes sure of it.
                failed[bound.switch] = Reason.DID_NOT_CLOSE
                continue
            mine = situation.me.sides[side] in part.sections
            if not situation.known_closed(bound.switch) or (
                mine and situation.own.voltage[side] is not Voltage.PRESENT
            ):
                return Reason.DID_NOT_CLOSE
            campaign.served |= part.sections
        if not failed and not campaign.refused_in_part:
            campaign.to(ClaimEvent.SERVED)
            return Reason.NONE
        campaign.excluded |= failed
        campaign.refused_in_part = False
        campaign.kept |= {bound.switch for bound in claim.grants if bound.switch not in failed}
        self._start_over(campaign)
        campaign.to(ClaimEvent.FAILED)
        return max(failed.values(), default=campaign.short)
