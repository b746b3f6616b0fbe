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
class OperatedByHand(PlantEvent):
    """A person at the apparatus operates a switch."""

    switch: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class ApparatusChanged(PlantEvent):
    """From now on a switch does, or does not, obey commands to open and to close."""

    switch: int
    fails_to_open: bool
    fails_to_close: bool


@dataclass(frozen=True, slots=True)
class CommandNotObeyed(PlantEvent):
    """The switch did not do what it was told, or what a person tried.

    ``stuck``: set to fail. ``there already``: position or operation in progress is what was asked for.
    ``still opening``: it closes only from its open position. ``not broken``: it opened above its capability.
    """

    switch: int
    operation: Operation
    reason: Refusal


@dataclass(frozen=True, slots=True)
class PositionChanged(PlantEvent):
    """A switch truly moved; its agent may learn of it later."""

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
    """A fault came up in a section: permanent, or gone once it had no infeed for ``clears_after_dead_s``."""

    section: int
    clears_after_dead_s: float | None


@dataclass(frozen=True, slots=True)
class FaultCleared(PlantEvent):
    """A fault is gone from its section: repaired, or transient and out."""

    section: int


@dataclass(frozen=True, slots=True)
class FaultCurrentStarted(PlantEvent):
    """Fault current flows into a fault, from sources or from local generation."""

    section: int


@dataclass(frozen=True, slots=True)
class FaultCurrentStopped(PlantEvent):
    """No fault current flows into a fault any more."""

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
class SectionIslanded(PlantEvent):
    """A section has no source; running generation of the section ``generation`` has it under voltage."""

    section: int
    generation: int


@dataclass(frozen=True, slots=True)
class SectionDeenergised(PlantEvent):
    """A section is under voltage no more."""

    section: int


@dataclass(frozen=True, slots=True)
class SourceLost(PlantEvent):
    """A source section is no longer fed from above."""

    section: int


@dataclass(frozen=True, slots=True)
class SourceReturned(PlantEvent):
    """A source section is fed from above again."""

    section: int


@dataclass(frozen=True, slots=True)
class GenerationStopped(PlantEvent):
    """The local generation of a section tripped, for want of a source, and stays stopped."""

    section: int


@dataclass(frozen=True, slots=True)
class SourcesParalleled(PlantEvent):
    """Two live source sections became connected with each other."""

    sources: tuple[int, int]


@dataclass(frozen=True, slots=True)
class IslandParalleled(PlantEvent):
    """An island under voltage was closed, without synchronism, onto a live network or another such island.

    ``generation``: section whose generation had held the island. ``onto``: the source section that feeds it
    now, or the section whose generation holds the island it became part of.
    """

    generation: int
    onto: int


def event_record(event: PlantEvent) -> dict[str, Any]:
    """``event`` as a JSON object: its kind and its members."""
    return {"kind": type(event).__name__, **asdict(event)}
