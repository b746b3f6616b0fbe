"""What an agent knows: its own switch, the last state of every other, and what of it may be believed.

Two kinds of ignorance are kept apart. A *flag* (faulted, suspect) counts from whoever said it last, alive or not,
until its event is cleared. A *permission* (open, dead, live, promised) counts only from a peer that is alive, in
operation, of good quality and, during an event, known to have seen that event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    NO_CLAIM,
    NO_EVENT,
    AgentState,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LoadState,
    LockState,
    SectionState,
)
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ied_agents.dflisr.feeder import Feeder, FeederSwitch, Island

INPUTS_LIFE_S: Final = 3.0
"""Inputs older than this are not believed; a process refreshes them every second."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What one agent is told about itself and its surroundings.

    Attributes:
        number: the switch it guards.
        feeder: its own feeder and the neighbours it may deal with.
        subscribed: switches whose fast and slow data sets it receives.
        detection_time_s: how long after a peer's pickup an own pickup may still come.
        pickup_factor: cold load pickup; what is picked up is frozen load times this.
    """

    number: int
    feeder: Feeder
    subscribed: frozenset[int]
    detection_time_s: float = 0.003
    pickup_factor: float = 1.0


@dataclass(slots=True)
class PeerView:
    """The last accepted data sets of one switch, and whether their streams live."""

    state: AgentState | None = None
    alive: bool = False
    load: LoadState | None = None
    load_alive: bool = False


@dataclass(frozen=True, slots=True)
class Frozen:
    """The network as it was when it was last quiet.

    Attributes:
        at: time of the first sign of the event, s.
        closed: switches that conducted.
        generating: switches that saw local generation beside them.
        flow_a: own signed flow, the last value at least 200 ms older than the first pickup and than the loss of the
            own voltage; None if there is none.
    """

    at: float
    closed: frozenset[int]
    generating: frozenset[int]
    flow_a: float | None


@dataclass
class Situation:
    """Everything known at one moment; the decision modules read it, only the agent writes it."""

    config: AgentConfig
    incarnation: int
    views: dict[int, PeerView] = field(init=False)
    me: FeederSwitch = field(init=False)
    feeder: Feeder = field(init=False)
    own: AgentState = field(init=False)
    """What this agent published last; the modules see others through the same type."""
    inputs: SwitchInputs | None = None
    inputs_at: float = float("-inf")
    cleared: tuple[EventId, ...] = ()
    frozen: dict[EventId, Frozen] = field(default_factory=dict)
    """By event, the picture of the network before it."""

    def __post_init__(self) -> None:
        self.feeder = self.config.feeder
        self.me = self.feeder.by_number[self.config.number]
        self.views = {number: PeerView() for number in self.config.subscribed}
        self.own = AgentState(self.incarnation)

    # -- own switch -----------------------------------------------------------------------------------------------

    def inputs_valid(self, now: float) -> bool:
        """Whether the process was heard lately."""
        return self.inputs is not None and now - self.inputs_at <= INPUTS_LIFE_S

    def other_side(self, bound: Bound) -> int:
        """The section on the other side of a switch side."""
        return self.feeder.by_number[bound.switch].sides[1 - bound.side]

    # -- flags: believed until cleared ----------------------------------------------------------------------------

    def states(self) -> Iterator[tuple[int, AgentState]]:
        """Last state of every switch heard so far, this one's own first."""
        yield self.config.number, self.own
        for number, view in self.views.items():
            if view.state is not None:
                yield number, view.state

    def state(self, switch: int) -> AgentState | None:
        """Last state of a switch; the own one as published last."""
        if switch == self.config.number:
            return self.own
        view = self.views.get(switch)
        return view.state if view is not None else None

    def flag(self, section: int, *, to_operate: bool = False) -> tuple[SectionState, EventId]:
        """What anybody who bounds the section holds it for; faulted outweighs suspect.

        Args:
            section: its index.
            to_operate: count only what may cause an operation: said by a switch that is alive and not in test.
        """
        worst, event = SectionState.NONE, NO_EVENT
        for bound in self.feeder.around[section]:
            state = self.heard(bound.switch) if to_operate else self.state(bound.switch)
            if state is None:
                continue
            side = state.sides[bound.side]
            if side.section is SectionState.NONE or side.section_event in self.cleared:
                continue
            if worst is SectionState.NONE or (side.section, -side.section_event.switch) < (
                worst,
                -event.switch,
            ):
                worst, event = side.section, side.section_event
        return worst, event

    def active_events(self) -> set[EventId]:
        """Events that somebody flags and nobody has cleared."""
        return {
            side.section_event
            for _, state in self.states()
            for side in state.sides
            if side.section is not SectionState.NONE and side.section_event not in self.cleared
        }

    # -- permissions: believed only if fresh ----------------------------------------------------------------------

    def heard(self, switch: int, event: EventId = NO_EVENT) -> AgentState | None:
        """State of a switch that is alive and in operation and, if asked, has seen ``event``; else None."""
        if switch == self.config.number:
            state = self.own
        else:
            view = self.views.get(switch)
            if view is None or not view.alive or view.state is None:
                return None
            state = view.state
        if state.behaviour is not Behaviour.ON:
            return None
        if event not in (NO_EVENT, state.last_event):
            return None
        return state

    def known_open(self, switch: int, event: EventId = NO_EVENT) -> bool:
        """Whether the switch says, fresh and good, that it is open and no close is on its way."""
        state = self.heard(switch, event)
        return (
            state is not None
            and state.position is Dbpos.OFF
            and state.position_quality == 0
            and not state.close_outstanding
        )

    def known_closed(self, switch: int) -> bool:
        """Whether the switch says, fresh and good, that it is closed."""
        state = self.heard(switch)
        return state is not None and state.position is Dbpos.ON and state.position_quality == 0

    def last_closed(self, switch: int) -> bool:
        """Whether the switch was closed when it was last heard; by its normal position if it never was.

        Says where current comes from, and permits no close: who is silent for a moment has not moved.
        """
        state = self.state(switch)
        if state is None:
            return self.feeder.by_number[switch].normally_closed
        return state.position is not Dbpos.OFF

    def will_conduct(self, switch: int) -> bool:
        """Whether the switch may be closed for all we know; one that says it is locked is on its way to open."""
        if self.known_open(switch):
            return False
        state = self.heard(switch)
        return state is None or not locked(state)

    def island(self, bound: Bound, event: EventId) -> Island:
        """The island at a switch side, by positions that have seen ``event``; the switch itself does not conduct."""
        return self.feeder.island(
            self.feeder.section(bound), lambda n: n != bound.switch and not self.known_open(n, event)
        )

    def isolated(self, island: Island, claim: Claim, claimant: int) -> Reason:
        """Whether the island is dead for sure under ``claim``: NONE, or what is missing.

        Every switch on its boundary is open, fresh, and either promised to the claim or durably locked; at least
        one good sensor on it says absent and none says present; nobody holds a section of it for faulted.
        """
        for section in island.sections:
            state, _ = self.flag(section)
            if state is not SectionState.NONE:
                return Reason.LOCKED if state is SectionState.FAULTED else Reason.SECTION_SUSPECT
        if self.feeder.has_source(island.sections):
            return Reason.ISLAND_NOT_DEAD
        for bound in island.boundary:
            if not self.known_open(bound.switch, claim.event):
                return Reason.ISOLATION_NOT_CONFIRMED
            if bound.switch != claimant and not self.bound_by(bound, claim.id):
                return Reason.PEER_SILENT
        absent = False
        for section in island.sections:
            for bound in self.feeder.around[section]:
                known = self.heard(bound.switch)
                if known is None:
                    continue
                if known.voltage[bound.side] is Voltage.PRESENT or known.pickup:
                    return Reason.ISLAND_NOT_DEAD
                fresh = known.last_event == claim.event
                absent = absent or (fresh and known.voltage[bound.side] is Voltage.ABSENT)
        return Reason.NONE if absent else Reason.ISLAND_NOT_DEAD

    def bound_by(self, bound: Bound, claim: ClaimId) -> bool:
        """Whether a switch side has promised to ``claim`` and none higher, or is durably locked."""
        state = self.heard(bound.switch)
        if state is None:
            return False
        durable = any(side.lock is LockState.DURABLE and side.lock_event not in self.cleared for side in state.sides)
        return durable or state.promises[bound.side] == claim

    def highest_claim_number(self) -> int:
        """The highest claim number seen anywhere."""
        highest = 0
        for _, state in self.states():
            for claim in state.claims:
                highest = max(highest, claim.id.number)
            for promise in state.promises:
                highest = max(highest, promise.number)
        return highest

    def claims(self) -> Iterator[tuple[int, Claim]]:
        """Claims of the other switches that are alive and in operation."""
        for number in self.views:
            state = self.heard(number)
            if state is not None:
                for claim in state.claims:
                    if claim.id != NO_CLAIM and claim.event not in self.cleared:
                        yield number, claim


def locked(state: AgentState) -> bool:
    """Whether a switch says that it is locked, on any side."""
    return any(side.lock is not LockState.NONE for side in state.sides)


def entered_side(direction: Direction) -> int | None:
    """The side (0 = A, 1 = B) into whose section a fault current flows; None if the direction says nothing."""
    if direction is Direction.FORWARD:
        return 1
    if direction is Direction.BACKWARD:
        return 0
    return None
