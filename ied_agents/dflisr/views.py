"""What an agent knows: its own switch, the last state of every other, and what of it may be believed.

Two kinds of ignorance are kept apart. A *flag* (faulted, suspect) counts from whoever said it last, alive or not,
until its event is cleared. A *permission* (open, dead, live, promised) counts only from a peer that is alive, in
operation and of good quality; towards a claim, only from one that has answered that very claim with its promise, or is
durably locked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    EMPTY_CLAIM,
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
    SideState,
)
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ied_agents.dflisr.feeder import Feeder, FeederSwitch, Island

NO_CLAIMS: Final = (EMPTY_CLAIM, EMPTY_CLAIM)
INPUTS_LIFE_S: Final = 3.0
"""Inputs older than this are not believed; a process refreshes them every second."""
IN_OPERATION: Final = frozenset((Behaviour.ON, Behaviour.BLOCKED))
"""Modes in which what an agent says is meant (IEC 61850-7-4)."""
TESTING: Final = frozenset((Behaviour.TEST, Behaviour.TEST_BLOCKED))
USABLE: Final = {
    Behaviour.ON: IN_OPERATION,
    Behaviour.BLOCKED: IN_OPERATION,
    Behaviour.TEST: frozenset(Behaviour) - {Behaviour.OFF},
    Behaviour.TEST_BLOCKED: frozenset(Behaviour) - {Behaviour.OFF},
    Behaviour.OFF: frozenset(),
}
"""By own mode, the modes of those whose data it uses."""
_USABLE_IN_SHADOW: Final = {
    own: others | {Behaviour.TEST_BLOCKED} if own in IN_OPERATION else others for own, others in USABLE.items()
}
SAID_IN_SHADOW: Final = {
    Behaviour.ON: Behaviour.TEST_BLOCKED,
    Behaviour.BLOCKED: Behaviour.TEST_BLOCKED,
    Behaviour.TEST: Behaviour.TEST,
    Behaviour.TEST_BLOCKED: Behaviour.TEST,
    Behaviour.OFF: Behaviour.OFF,
}
"""By own mode, what an agent in shadow says: nobody in operation uses it, and its like know who of them would be."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What one agent is told about itself and its surroundings.

    Attributes:
        number: the switch it guards.
        feeder: its own feeder and the neighbours it may deal with.
        subscribed: switches whose fast and slow data sets it receives.
        detection_time_s: how long after a peer's pickup an own pickup may still come.
        pickup_factor: cold load pickup; what is picked up is frozen load times this.
        shadow: it decides as in operation, notes what it would do, and operates nothing; to those in operation it is
            in test.
    """

    number: int
    feeder: Feeder
    subscribed: frozenset[int]
    detection_time_s: float = 0.003
    pickup_factor: float = 1.0
    shadow: bool = False


@dataclass(slots=True)
class PeerView:
    """The last accepted data sets of one switch, and whether their streams live."""

    state: AgentState | None = None
    alive: bool = False
    sides: tuple[SideState, SideState] = (CLEAR_SIDE, CLEAR_SIDE)
    """Flags and locks as it said them last in operation."""
    test_sides: tuple[SideState, SideState] = (CLEAR_SIDE, CLEAR_SIDE)
    """The same as it said them last in any mode, for an agent in test."""
    load: LoadState | None = None
    load_alive: bool = False
    load_at: float = float("-inf")
    """When the load was said to have changed last, s; not later than it was."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The network as it was before the first sign of an event.

    Attributes:
        at: time of that sign, s.
        closed: switches that conducted.
        flow_a: own signed flow at least 200 ms before; None if it is not known as one of load.
        loads_a: by section, what it drew when it was last live at least 200 ms before, its generation not deducted;
            sections whose load could not be known are missing.
        generation_a: by section, local generation at that time.
    """

    at: float
    closed: frozenset[int]
    flow_a: float | None
    loads_a: dict[int, float]
    generation_a: dict[int, float]


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
    live_since: list[float] = field(default_factory=lambda: [math.inf, math.inf])
    """Per own side, since when its sensor says without a break that voltage is present, s."""
    cleared: tuple[EventId, ...] = ()
    frozen: dict[EventId, Frozen] = field(default_factory=dict)
    """By event, the picture of the network before it."""
    tasks: set[EventId] = field(default_factory=set)
    """Own events that no flag stands for: an operator's close, a return to normal, a loss of supply."""
    behaviour: Behaviour = Behaviour.ON
    """Mode of the own agent: it says whose data may be used (IEC 61850-7-4)."""
    _usable: dict[Behaviour, frozenset[Behaviour]] = field(init=False)
    _turning: bool = field(default=False, init=False)
    _active: frozenset[EventId] | None = field(default=None, init=False)
    _flags: dict[tuple[int, bool], tuple[SectionState, EventId]] = field(default_factory=dict, init=False)
    _claims: tuple[tuple[int, Claim], ...] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.feeder = self.config.feeder
        self.me = self.feeder.by_number[self.config.number]
        self.views = {number: PeerView() for number in self.config.subscribed}
        self.own = AgentState(self.incarnation)
        self._usable = _USABLE_IN_SHADOW if self.config.shadow else USABLE

    def usable(self, state: AgentState) -> bool:
        """Whether data of a publisher may be used in the own mode (IEC 61850-7-4)."""
        return state.behaviour in self._usable[self.behaviour]

    def in_operation(self, state: AgentState) -> bool:
        """Whether what a publisher says is meant; in shadow, by its like too."""
        return state.behaviour in self._usable[Behaviour.ON]

    @property
    def testing(self) -> bool:
        """Whether the own agent is in test; what it finds out then must not outlast the test."""
        return self.behaviour in TESTING

    def really_flagged(self, section: int) -> bool:
        """Whether an agent in operation holds the section for faulted or suspect."""
        return any(
            view.sides[bound.side].section is not SectionState.NONE
            and view.sides[bound.side].section_event not in self.cleared
            for bound in self.feeder.around[section]
            if (view := self.views.get(bound.switch)) is not None
        )

    # -- a turn: what was found out once holds for all of it --------------------------------------------------------

    def begin_turn(self) -> None:
        """Nothing is heard any more until :meth:`end_turn`."""
        self._turning = True
        self.changed()

    def changed(self) -> None:
        """What is flagged or cleared has changed in the turn."""
        self._active = self._claims = None
        self._flags.clear()

    def say(self, own: AgentState) -> None:
        """The own state is now this."""
        flags_changed = own.sides != self.own.sides
        self.own = own
        if flags_changed:
            self.changed()

    def end_turn(self) -> None:
        """Others may be heard again."""
        self._turning = False

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
        if self._turning:
            if self._active is not None and not self._active:
                return SectionState.NONE, NO_EVENT  # nobody flags anything
            known = self._flags.get((section, to_operate))
            if known is None:
                known = self._flags[section, to_operate] = self._flag(section, to_operate=to_operate)
            return known
        return self._flag(section, to_operate=to_operate)

    def _flag(self, section: int, *, to_operate: bool) -> tuple[SectionState, EventId]:
        worst, event = SectionState.NONE, NO_EVENT
        for bound in self.feeder.around[section]:
            if bound.switch == self.config.number:
                side = self.own.sides[bound.side]
            else:
                view = self.views.get(bound.switch)
                if view is None or (to_operate and self.heard(bound.switch) is None):
                    continue
                side = (view.test_sides if self.testing else view.sides)[bound.side]
            if side.section is SectionState.NONE or side.section_event in self.cleared:
                continue
            if worst is SectionState.NONE or (side.section, -side.section_event.switch) < (
                worst,
                -event.switch,
            ):
                worst, event = side.section, side.section_event
        return worst, event

    def active_events(self) -> frozenset[EventId]:
        """Events that somebody flags and nobody has cleared."""
        if self._turning and self._active is not None:
            return self._active
        testing = self.testing
        flagged = [side for side in self.own.sides if side.section]
        for view in self.views.values():
            one, other = view.test_sides if testing else view.sides
            if one.section:
                flagged.append(one)
            if other.section:
                flagged.append(other)
        self._active = frozenset(side.section_event for side in flagged if side.section_event not in self.cleared)
        return self._active

    # -- permissions: believed only if fresh ----------------------------------------------------------------------

    def heard(self, switch: int) -> AgentState | None:
        """State of a switch that is alive and in operation; else None.

        What a switch in test says is used by a switch in test only.
        """
        if switch == self.config.number:
            state = self.own
        else:
            view = self.views.get(switch)
            if view is None or not view.alive or view.state is None:
                return None
            state = view.state
        return state if self.usable(state) else None

    def known_open(self, switch: int) -> bool:
        """Whether the switch says, alive and good, that it is open and no close is on its way."""
        state = self.heard(switch)
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

    def island(self, section: int, besides: int = 0) -> Island:
        """The island around a section: whatever is not known to be open conducts, but for switch ``besides``."""
        return self.feeder.island(section, lambda n: n != besides and not self.known_open(n))

    def supply(self, bound: Bound) -> Island:
        """What hangs together on the other side of a switch side, through switches that say they are closed."""
        return self.feeder.island(self.other_side(bound), lambda n: n != bound.switch and self.known_closed(n))

    def isolated(self, island: Island, claim: Claim) -> Reason:
        """Whether the island is dead for sure under ``claim``: NONE, or what is missing.

        Every switch on its boundary is open and either promised to the claim or durably locked; every one inside is
        closed and has promised too, so that none has opened unnoticed, and none was asked to open; at least one good
        sensor there says absent and none in it says present; nobody holds a section of it for faulted.
        """
        for section in island.sections:
            state, _ = self.flag(section)
            if state is not SectionState.NONE:
                return Reason.LOCKED if state is SectionState.FAULTED else Reason.SECTION_SUSPECT
        if self.feeder.has_source(island.sections):
            return Reason.ISLAND_NOT_DEAD
        for bound in island.boundary:
            if not self.bound_by(bound, claim.id):
                return Reason.PEER_SILENT
        for number in island.inner:
            if {Bound(number, 0), Bound(number, 1)} <= set(claim.boundary):
                return Reason.ISOLATION_NOT_CONFIRMED  # asked to open, and has not yet
            inside = self.heard(number)
            if inside is None or not self.known_closed(number) or inside.promises != (claim.id, claim.id):
                return Reason.PEER_SILENT
        absent = False
        for section in island.sections:
            for bound in self.feeder.around[section]:
                known = self.heard(bound.switch)
                if known is None:
                    continue
                if known.voltage[bound.side] is Voltage.PRESENT or known.pickup:
                    return Reason.ISLAND_NOT_DEAD
                fresh = bound.switch == self.config.number or known.promises[bound.side] == claim.id
                absent = absent or (fresh and known.voltage[bound.side] is Voltage.ABSENT)
        return Reason.NONE if absent else Reason.ISLAND_NOT_DEAD

    def bound_by(self, bound: Bound, claim: ClaimId) -> bool:
        """Whether a switch side has promised to ``claim`` and none higher, or is durably locked."""
        state = self.heard(bound.switch)
        if state is None:
            return False
        return durably_locked(state, self.cleared) or state.promises[bound.side] == claim

    def highest_claim_number(self) -> int:
        """The highest claim number seen anywhere."""
        highest = 0
        for _, state in self.states():
            for claim in state.claims:
                highest = max(highest, claim.id.number)
            for promise in state.promises:
                highest = max(highest, promise.number)
        return highest

    def claims(self) -> tuple[tuple[int, Claim], ...]:
        """Claims of the other switches that are alive and in operation, each with its claimant."""
        if self._turning and self._claims is not None:
            return self._claims
        self._claims = tuple(
            (number, claim)
            for number, view in self.views.items()
            if view.state is not None and view.state.claims != NO_CLAIMS and self.heard(number) is not None
            for claim in view.state.claims
            if claim.id != NO_CLAIM and claim.event not in self.cleared
        )
        return self._claims


def durably_locked(state: AgentState, cleared: tuple[EventId, ...]) -> bool:
    """Whether a switch says that a lock of an event that nobody has cleared is on its disk."""
    return any(side.lock is LockState.DURABLE and side.lock_event not in cleared for side in state.sides)


def locked(state: AgentState) -> bool:
    """Whether a switch says that it is locked, on any side."""
    return any(side.lock is not LockState.NONE for side in state.sides)


def own_voltage(situation: Situation, now: float) -> Voltage:
    """Whether the own switch has supply, by its own sensors; UNKNOWN where they are silent or contradict each other.

    Closed it has one supply, and what the two sensors say must agree; open it has two, and both must be there.
    """
    inputs = situation.inputs
    if inputs is None or not situation.inputs_valid(now):
        return Voltage.UNKNOWN
    said = set(inputs.voltage)
    if inputs.position is Dbpos.ON and inputs.position_valid:
        said.discard(Voltage.UNKNOWN)
        return said.pop() if len(said) == 1 else Voltage.UNKNOWN
    if Voltage.ABSENT in said:
        return Voltage.ABSENT
    return Voltage.UNKNOWN if Voltage.UNKNOWN in said else Voltage.PRESENT


def entered_side(direction: Direction) -> int | None:
    """The side (0 = A, 1 = B) into whose section a fault current flows; None if the direction says nothing."""
    if direction is Direction.FORWARD:
        return 1
    if direction is Direction.BACKWARD:
        return 0
    return None
