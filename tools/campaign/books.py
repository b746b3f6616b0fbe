"""The judge's books: what every agent has said, and whether what it then orders agrees with the protocol.

P, for every close: its switch had promised to a claim that granted it, or it is a reclosing shot (judged elsewhere); a
claim lets each switch try once, ever; every other switch that in truth bounds the dead island had promised to that very
claim or was durably locked; and no other granted claim can still act on that island.

An agent that is down is held to what it said last. Flags and locks stand until someone entitled has cleared their
event, whatever becomes of the agent's memory: a person, or the agent that declared it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import NO_CLAIM, AgentState, ClaimId, EventId, LockState, SectionState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ied_agents.dflisr.records import Claim, SideState
    from tools.campaign.network_truth import NetworkTruth


_BELIEVED_S: Final = 2.5
"""How long a state may be believed at the most: the time to live of the agents' fast stream."""


class Permission(NamedTuple):
    """What lets a switch close: the claim it has promised to and that granted it, and the side it energises."""

    claim: Claim
    side: int


@dataclass(slots=True)
class _Held:
    """What one agent holds the section at one of its sides for."""

    section: int
    event: EventId
    since: float
    state: SectionState
    lock: LockState


@dataclass(slots=True)
class _Said:
    """What one agent has said; ``since`` has, by what stands against a close, from when on it does."""

    state: AgentState
    released_at: float = -math.inf
    """When it last said that it is not locked any more."""
    since: dict[str, float] = field(default_factory=dict)
    held: list[_Held | None] = field(default_factory=lambda: [None, None])
    promise: list[ClaimId] = field(default_factory=lambda: [NO_CLAIM, NO_CLAIM])
    """By side what it has promised to last; while it locates a fault current it keeps it and does not say so."""
    promised: tuple[set[ClaimId], set[ClaimId]] = field(default_factory=lambda: (set(), set()))
    durable_until: float = -math.inf
    """When it last ceased to say that a lock of its is durable."""


class Books:
    """What the agents of one network have said.

    Args:
        truth: the network.

    Attributes:
        cleared: events that someone entitled has cleared.
        claimed_at: by claim when it was first heard of, s.
        granted_at: by claim that granted anything when it first did, s.
        claims: claims as they were said last.
    """

    def __init__(self, truth: NetworkTruth) -> None:
        self.cleared: set[EventId] = set()
        self.claimed_at: dict[ClaimId, float] = {}
        self.granted_at: dict[ClaimId, float] = {}
        self.claims: dict[ClaimId, Claim] = {}
        self._truth = truth
        self._said = {number: _Said(AgentState(0)) for number in truth.sides}
        self._grants: dict[tuple[int, int], set[ClaimId]] = {}
        self._declared: set[EventId] = set()
        self._attempts: set[tuple[ClaimId, int]] = set()

    # -- what agents say ------------------------------------------------------------------------------------------

    def hear(self, number: int, state: AgentState, now: float, *, sent: bool = True) -> list[EventId]:
        """Note what an agent says now.

        Args:
            number: its switch.
            state: its fast data set.
            now: s.
            sent: False if it may have died before anybody heard it: what it permits counts, what it forbids does not.

        Returns:
            Events that it holds a section for, although their own switch has never declared them.
        """
        said = self._said[number]
        before = said.state
        said.state = state
        in_test = before.behaviour in (Behaviour.TEST, Behaviour.TEST_BLOCKED)  # then nobody counts it
        if _locked(before, LockState.DURABLE) and not _locked(state, LockState.VOLATILE) and not in_test:
            said.released_at = now
        if _locked(before, LockState.DURABLE) and not _locked(state, LockState.DURABLE):
            said.durable_until = now
        if state.claims != before.claims:
            for claim in state.claims:
                self._note_claim(claim, now)
        if state.promises != before.promises:
            for side, promise in enumerate(state.promises):
                if promise != NO_CLAIM:
                    said.promise[side] = promise
                    said.promised[side].add(promise)
        outcome = state.outcome
        if outcome != before.outcome and outcome.tie == number:
            for side in (0, 1):
                if outcome.claim in self._grants.get((number, side), ()):
                    self._attempts.add((outcome.claim, number))  # granted, and refused by the switch itself
        if state.cleared != before.cleared:
            self.cleared.update(event for event in state.cleared if event.switch == number)
        undeclared: list[EventId] = []
        if state.sides != before.sides:
            events = {side.section_event for side in state.sides} | {side.lock_event for side in state.sides}
            self._declared.update(event for event in events if event.switch == number)
            undeclared.extend(event for event in events if event.switch and event not in self._declared)
            self._declared.update(undeclared)  # told once
            # What is held in a test ends with it.
            if sent and state.behaviour not in (Behaviour.TEST, Behaviour.TEST_BLOCKED):
                for side in (0, 1):
                    self._note_side(said, self._truth.sides[number][side], side, state.sides[side], now)
        if sent:
            _note_standing(said.since, state, now)
        return undeclared

    def _note_claim(self, claim: Claim, now: float) -> None:
        if not claim.id.number:
            return
        self.claims[claim.id] = claim
        self.claimed_at.setdefault(claim.id, now)
        for bound in claim.grants:
            self.granted_at.setdefault(claim.id, now)
            self._grants.setdefault((bound.switch, bound.side), set()).add(claim.id)

    def _note_side(self, said: _Said, section: int, side: int, state: SideState, now: float) -> None:
        held = said.held[side]
        if state.section is SectionState.NONE and state.lock is LockState.NONE:
            if held is not None and held.event in self.cleared:
                said.held[side] = None
            return
        event = state.section_event if state.section is not SectionState.NONE else state.lock_event
        if held is None or held.event != event:
            said.held[side] = _Held(section, event, now, state.section, state.lock)
        else:
            held.state, held.lock = state.section, state.lock

    # -- what stands now ------------------------------------------------------------------------------------------

    def held_sections(self, before: float, unheard: Collection[int] = ()) -> frozenset[int]:
        """Sections that somebody holds for faulted, suspect or widened, or locked, and did at ``before``, s.

        What those say who are unheard counts only once their silence must have been noticed.
        """
        return frozenset(
            held.section
            for number, held in self._standing()
            if held.since <= before - (_BELIEVED_S if number in unheard else 0.0)
        )

    def _standing(self) -> Iterator[tuple[int, _Held]]:
        for number, said in self._said.items():
            for held in said.held:
                if held is not None and held.event not in self.cleared:
                    yield number, held

    def flagged(self, section: int) -> set[SectionState]:
        """What a section is held for, by anybody."""
        return {held.state for _, held in self._standing() if held.section == section} - {SectionState.NONE}

    def clear(self, event: EventId) -> set[int]:
        """A person clears an event; returns the sections that were held for it."""
        sections = {held.section for _, held in self._standing() if held.event == event}
        self.cleared.add(event)
        return sections

    def objections(self, number: int, before: float) -> list[str]:
        """What an agent itself says against closing its switch, and did at ``before``, s."""
        said = self._said[number]
        against = [what for what, since in said.since.items() if since <= before]
        against.extend(
            f"locked for event {held.event.counter} of switch {held.event.switch}"
            for held in said.held
            if held is not None and held.lock and held.since <= before and held.event not in self.cleared
        )
        return against

    def out_of_service(self, number: int, before: float) -> bool:
        """Whether an agent says, and did at ``before``, s, that it is blocked, in test or off."""
        return self._said[number].since.get("not in service", before + 1.0) <= before

    def locked_for(self, number: int, least: LockState) -> list[int]:
        """Sections for which a switch is locked, as durably as ``least``, by what its agent said."""
        return [
            held.section
            for held in self._said[number].held
            if held is not None and held.lock >= least and held.event not in self.cleared
        ]

    def held_open(self, number: int) -> bool:
        """Whether a switch says that it is held open for a claim."""
        state = self._said[number].state
        return state.held and state.hold_claim.number > 0

    # -- P --------------------------------------------------------------------------------------------------------

    def permission(self, number: int) -> Permission | None:
        """What lets a switch close now; None for nothing."""
        said = self._said[number]
        for side in (0, 1):
            claim = said.promise[side]
            # Under a claim it has used a switch closes no more: if it does all the same, nothing permits it.
            if claim in self._grants.get((number, side), ()) and (claim, number) not in self._attempts:
                return Permission(self.claims[claim], side)
        return None

    def held_against(self, number: int, claim: ClaimId) -> bool:
        """Whether a switch says that it is held open for a claim above this one; a higher one releases it."""
        state = self._said[number].state
        return state.held and state.hold_claim > claim

    def attempt(self, number: int, permission: Permission, conducting: Collection[int], now: float) -> list[str]:
        """Enter that a switch tries to close, and say what is against it."""
        wrong = []
        since = now - self._said[number].released_at
        if since < _BELIEVED_S:
            wrong.append(
                f"switch {number} closes {since:.2f} s after its lock was released: somebody may count it still"
            )
        claim = permission.claim.id
        if (claim, number) in self._attempts:
            wrong.append(f"switch {number} tries twice under claim {tuple(claim)}")
        self._attempts.add((claim, number))
        inner = set(conducting) - {number}
        island = self._truth.reach((self._truth.sides[number][permission.side],), inner)
        loose = self._loose(island, inner, number, claim, now)
        while loose and not island & self._truth.sources:
            # Who says nothing may be closed for all the agents know: what lies beyond is bound in its stead.
            inner |= loose.keys()
            island = self._truth.reach(island, inner)
            loose = self._loose(island, inner, number, claim, now)
        if island & self._truth.sources:
            wrong.append(f"switch {number} closes under claim {tuple(claim)}; nothing binds the island")
        for other, side in self._truth.boundary(island, inner):
            if other == number:
                continue
            rival = self._said[other].promise[side]
            if rival != claim and rival in self._grants.get((other, side), ()) and (rival, other) not in self._attempts:
                wrong.append(f"switch {number} closes under claim {tuple(claim)}; {other} may under {tuple(rival)}")
        return wrong

    def _loose(
        self, island: Collection[int], inner: Collection[int], closing: int, claim: ClaimId, now: float
    ) -> dict[int, int]:
        """Switches on an island's boundary, and their sides there, that nothing binds to a claim."""
        return {
            other: side
            for other, side in self._truth.boundary(island, inner)
            if other != closing and not self._bound_by(other, side, claim, now)
        }

    def _bound_by(self, number: int, side: int, claim: ClaimId, now: float) -> bool:
        said = self._said[number]
        # Who has released a lock closes nothing until nobody can believe it any more: that is judged when it closes.
        if claim in said.promised[side] or now < said.released_at + _BELIEVED_S:
            return True
        # A lock binds as long as its agent says so: that a person has cleared the event may not have reached it. Who
        # claims cannot be granted anything but by itself: its own lock binds it before it is durable. Where it is no
        # longer said to be durable, somebody may not have heard so yet; it is in force all the same.
        believed = number == claim.switch or now < said.durable_until + _BELIEVED_S
        return _locked(said.state, LockState.VOLATILE if believed else LockState.DURABLE)


def _locked(state: AgentState, least: LockState) -> bool:
    return any(side.lock >= least for side in state.sides)


def _note_standing(since: dict[str, float], state: AgentState, now: float) -> None:
    for what, stands in (
        ("not in service", state.behaviour is not Behaviour.ON),
        ("not sure of its locks", state.unproven),
    ):
        if stands:
            since.setdefault(what, now)
        else:
            since.pop(what, None)
