"""What an agent publishes, as immutable values; the wire form is in ``wire``, the meaning in design section 4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage


class AnswerKind(IntEnum):
    """What a peer answers to a pickup that enters a section both bound."""

    NONE = 0
    NOT_SEEN = 1
    PASSES_ON = 2
    ENTERS_TOO = 3
    UNSURE = 4


class SectionState(IntEnum):
    """What an agent holds a section for.

    WIDENED: isolated because a switch of a faulted section did not open; it does not widen further.
    """

    NONE = 0
    FAULTED = 1
    SUSPECT = 2
    WIDENED = 3


class ClaimKind(IntEnum):
    """What a claim is made for: after a fault, to return to normal, by an operator, after a loss of supply."""

    RESTORE = 0
    RETURN = 1
    MANUAL = 2
    TRANSFER = 3


class LockState(IntEnum):
    """A lock counts for energising only when it is durable."""

    NONE = 0
    VOLATILE = 1
    DURABLE = 2


class Stage(IntEnum):
    """How far an agent is with an event."""

    IDLE = 0
    LOCATING = 1
    ISOLATING = 2
    RESTORING = 3
    FINISHED = 4
    STOPPED = 5


class EventId(NamedTuple):
    """A fault declaration: the declaring switch and its durable counter."""

    switch: int
    counter: int


class ClaimId(NamedTuple):
    """A claim; tuples order claims as design section 4 does: authority epoch, number, switch."""

    epoch: int
    number: int
    switch: int


class Bound(NamedTuple):
    """One side (0 = A, 1 = B) of a switch."""

    switch: int
    side: int


class Answer(NamedTuple):
    """The answer to pickup ``pickup`` of incarnation ``incarnation`` of ``switch``."""

    switch: int
    incarnation: int
    pickup: int
    kind: AnswerKind


class Request(NamedTuple):
    """Capacity asked of ``owner`` for closing ``tie``, in tenths of an ampere."""

    tie: int
    owner: int
    deciamperes: int


class Reservation(NamedTuple):
    """Capacity that its publisher reserved for ``claim``, in tenths of an ampere.

    ``whole`` once the owners of what is shared have reserved too; before, it asks them to.
    """

    claim: ClaimId
    tie: int
    deciamperes: int
    whole: bool


class Outcome(NamedTuple):
    """A refusal or failure of what ``claim`` asked for at ``tie``.

    ``deciamperes`` is what could be had instead where capacity is short, in tenths of an ampere.
    """

    claim: ClaimId
    tie: int
    reason: Reason
    deciamperes: int = 0


class Progress(NamedTuple):
    """Where this agent stands with ``event``; STOPPED carries the reason and calls the fallback."""

    stage: Stage
    reason: Reason
    event: EventId


class SideState(NamedTuple):
    """State of the section at one side, each part with the event it belongs to."""

    section: SectionState
    section_event: EventId
    lock: LockState
    lock_event: EventId
    clear: bool
    clear_event: EventId


class Claim(NamedTuple):
    """A claim on the island at one side of its publisher.

    ``boundary`` names the sides asked to promise; ``grants`` those that may close under it.
    """

    id: ClaimId
    event: EventId
    boundary: tuple[Bound, ...]
    request: Request
    grants: tuple[Bound, ...]
    kind: ClaimKind = ClaimKind.RESTORE


NO_EVENT: Final = EventId(0, 0)
NO_CLAIM: Final = ClaimId(0, 0, 0)
NO_REQUEST: Final = Request(0, 0, 0)
NO_OUTCOME: Final = Outcome(NO_CLAIM, 0, Reason.NONE)
CLEAR_SIDE: Final = SideState(SectionState.NONE, NO_EVENT, LockState.NONE, NO_EVENT, False, NO_EVENT)
EMPTY_CLAIM: Final = Claim(NO_CLAIM, NO_EVENT, (), NO_REQUEST, ())
IDLE: Final = Progress(Stage.IDLE, Reason.NONE, NO_EVENT)


class AgentState(NamedTuple):
    """The fast data set of one agent. Pairs are (side A, side B).

    A tuple, for it is made anew of every frame that says something new, and most of its members are compared then.

    ``position_quality`` and ``pickup_quality`` are the 13 quality bits of IEC 61850-7-3, first bit of the wire
    most significant; 0 is good.
    """

    incarnation: int
    position: Dbpos = Dbpos.INTERMEDIATE
    position_quality: int = 0
    close_outstanding: bool = False
    pickup: bool = False
    direction: Direction = Direction.UNKNOWN
    pickup_quality: int = 0
    pickup_id: int = 0
    direction_trusted: bool = False
    answers: tuple[Answer, ...] = ()
    last_event: EventId = NO_EVENT
    trip: bool = False
    voltage: tuple[Voltage, Voltage] = (Voltage.UNKNOWN, Voltage.UNKNOWN)
    sides: tuple[SideState, SideState] = (CLEAR_SIDE, CLEAR_SIDE)
    breaker_failure: bool = False
    shots: bool = False
    reclosing: bool = False
    cleared: tuple[EventId, ...] = ()
    held: bool = False
    hold_claim: ClaimId = NO_CLAIM
    returning: EventId = NO_EVENT
    ready: bool = False
    behaviour: Behaviour = Behaviour.ON
    tags: int = 0
    unproven: bool = False
    claims: tuple[Claim, Claim] = (EMPTY_CLAIM, EMPTY_CLAIM)
    promises: tuple[ClaimId, ClaimId] = (NO_CLAIM, NO_CLAIM)
    reservations: tuple[Reservation, ...] = ()
    outcome: Outcome = NO_OUTCOME
    progress: Progress = IDLE


@dataclass(frozen=True, slots=True)
class LoadState:
    """The slow data set of one agent, in amperes; ``flow_a`` is positive from side A to side B.

    ``spare_a`` is what this switch, closing, could carry into the section at that side.
    """

    incarnation: int
    flow_a: float = 0.0
    flow_quality: int = 0
    generation_a: tuple[float, float] = (0.0, 0.0)
    spare_a: tuple[float, float] = (0.0, 0.0)
