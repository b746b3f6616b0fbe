"""What a subscriber reports. Every event names its stream by gocbRef."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from ied_agents.iec61850.utctime import UtcTime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StateReceived(Generic[T]):
    """A new state, valid from now on.

    Attributes:
        gocbRef: the stream.
        stNum: number of the state.
        sqNum: number of the frame that brought it; above 0 when the first ones were lost.
        t: when the publisher entered the state.
        value: the decoded members.
        simulation: whether a test device sent it.
        restarted: whether the publisher counts anew: what came before has no order with this.
    """

    gocbRef: str
    stNum: int
    sqNum: int
    t: UtcTime
    value: T
    simulation: bool
    restarted: bool


@dataclass(frozen=True, slots=True)
class StreamLost:
    """Time to live ran out. The last value stays, but it is old now: questionable."""

    gocbRef: str
    timeAllowedtoLive: int


@dataclass(frozen=True, slots=True)
class StreamResumed:
    """A lost stream goes on; a :class:`StateReceived` follows if the state is another one."""

    gocbRef: str


@dataclass(frozen=True, slots=True)
class FramesMissed:
    """Numbers were skipped.

    Attributes:
        gocbRef: the stream.
        states: whole states that were never seen.
        frames: frames of the state now seen.
    """

    gocbRef: str
    states: int
    frames: int


@dataclass(frozen=True, slots=True)
class OldStateReceived:
    """stNum went back and it is no restart: a frame that was delayed or replayed. It was not applied."""

    gocbRef: str
    stNum: int
    sqNum: int
    t: UtcTime
    current_stNum: int


@dataclass(frozen=True, slots=True)
class StateConflict:
    """Other members under the number of the current state: two publishers, or one that breaks the rule.

    Not applied, and the time to live is not renewed, because nobody can tell which of the two is true: if it
    goes on, the stream is lost, and its value questionable, when the time to live of the last consistent
    frame runs out.
    """

    gocbRef: str
    stNum: int
    sqNum: int


@dataclass(frozen=True, slots=True)
class ConfigurationMismatch:
    """The frame names our control block but is not what we were configured for. It was not applied.

    Attributes:
        gocbRef: the stream.
        field: ``dst``, ``appid``, ``datSet``, ``goID``, ``confRev``, ``numDatSetEntries`` or ``ndsCom``.
        expected: what the configuration says.
        found: what the frame says.
    """

    gocbRef: str
    field: str
    expected: object
    found: object


@dataclass(frozen=True, slots=True)
class SimulationRefused:
    """A simulated frame came, and simulation is not accepted here."""

    gocbRef: str


@dataclass(frozen=True, slots=True)
class DecodeFailed:
    """The frame, or its members, cannot be read. It was not applied.

    Attributes:
        gocbRef: the stream.
        reason: field, octet and what is wrong.
    """

    gocbRef: str
    reason: str


Event: TypeAlias = (
    StateReceived[T]
    | StreamLost
    | StreamResumed
    | FramesMissed
    | OldStateReceived
    | StateConflict
    | ConfigurationMismatch
    | SimulationRefused
    | DecodeFailed
)
