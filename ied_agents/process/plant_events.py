"""What truly happened in a simulated plant: for the log, and for the judge of a run.

Agents never see these; they see only :class:`ied_agents.process.inputs.SwitchInputs`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ied_agents.iec61850.dbpos import Dbpos
    from ied_agents.process.inputs import Direction, Operation

Refusal = Literal["stuck", "there already", "still opening", "not broken"]


@dataclass(frozen=True, slots=True)
class PlantEvent:
    """Something that happened.

    Attributes:
        time_s: when, in the plant's monotonic seconds.
        stamp_ns: when, CLOCK_REALTIME ns.
    """

    time_s: float
    stamp_ns: int


@dataclass(frozen=True, slots=True)
class CommandReceived(PlantEvent):
    """An agent ordered its switch to operate."""

    switch: int
    operation: Operation
    number: int


@dataclass(frozen=True, slots=True)
class CommandNotObeyed(PlantEvent):
    """The switch did not do what it was told.

    ``stuck``: set to fail. ``there already``: position or operation in progress is what was asked for.
    ``still opening``: it closes only from its open position. ``not broken``: it opened above its capability.
    """

    switch: int
    operation: Operation
    reason: Refusal


@dataclass(frozen=True, slots=True)
class PositionChanged(PlantEvent):
    """A switch's position contacts moved."""

    switch: int
    position: Dbpos


@dataclass(frozen=True, slots=True)
class OpenedAboveCapability(PlantEvent):
    """A switch opened on more current than it can interrupt."""

    switch: int
    current_a: float
    breaking_a: float


@dataclass(frozen=True, slots=True)
class FaultAppeared(PlantEvent):
    """A permanent fault came up in a section."""

    section: int


@dataclass(frozen=True, slots=True)
class FaultCleared(PlantEvent):
    """A fault is gone from its section: repaired."""

    section: int


@dataclass(frozen=True, slots=True)
class FaultCurrentStarted(PlantEvent):
    """Fault current flows into a section."""

    section: int


@dataclass(frozen=True, slots=True)
class FaultCurrentStopped(PlantEvent):
    """No fault current flows into a section any more."""

    section: int


@dataclass(frozen=True, slots=True)
class PickedUp(PlantEvent):
    """The protection of a switch sees fault current."""

    switch: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class PickupReset(PlantEvent):
    """The protection of a switch sees no fault current any more."""

    switch: int


@dataclass(frozen=True, slots=True)
class SectionEnergised(PlantEvent):
    """A section is fed from a source, or from another one than before."""

    section: int
    source: int


@dataclass(frozen=True, slots=True)
class SectionDeenergised(PlantEvent):
    """A section lost its supply."""

    section: int


@dataclass(frozen=True, slots=True)
class SourcesParalleled(PlantEvent):
    """Two live source sections became connected with each other."""

    sources: tuple[int, int]


def event_record(event: PlantEvent) -> dict[str, Any]:
    """``event`` as a JSON object: its kind and its members."""
    return {"kind": type(event).__name__, **asdict(event)}
