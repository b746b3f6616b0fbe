"""What changed in the supply of a plant between two moments, as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ied_agents.process.plant_events import (
    FaultCurrentStarted,
    FaultCurrentStopped,
    IslandParalleled,
    PlantEvent,
    SectionDeenergised,
    SectionEnergised,
    SectionIslanded,
    SourcesParalleled,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ied_agents.process.plant_flow import PlantFlow


def supply_changes(at: float, stamp_ns: int, before: PlantFlow, after: PlantFlow) -> Iterator[PlantEvent]:
    """Tell two flows apart.

    Args:
        at: moment of ``after``, in the plant's monotonic seconds.
        stamp_ns: the same moment, CLOCK_REALTIME ns.
        before: flow until then.
        after: flow from then on.
    """
    for section, source in sorted(after.source.items()):
        if before.source.get(section) != source:
            yield SectionEnergised(at, stamp_ns, section, source)
    for section, generation in sorted(after.island.items()):
        if before.island.get(section) != generation:
            yield SectionIslanded(at, stamp_ns, section, generation)
    for section in sorted({*before.source, *before.island}):
        if not after.under_voltage(section):
            yield SectionDeenergised(at, stamp_ns, section)
    for pair in sorted(after.paralleled - before.paralleled):
        yield SourcesParalleled(at, stamp_ns, pair)
    held_before = set(before.island.values())
    for generation in sorted(held_before):
        if generation in after.source:
            yield IslandParalleled(at, stamp_ns, generation, after.source[generation])
            continue
        # Where it has stopped, the next one of its island may have taken over: that one held none before.
        holder = after.island.get(generation)
        if holder != generation and holder in held_before:
            yield IslandParalleled(at, stamp_ns, generation, holder)
    for section in sorted(after.fed - before.fed):
        yield FaultCurrentStarted(at, stamp_ns, section)
    for section in sorted(before.fed - after.fed):
        yield FaultCurrentStopped(at, stamp_ns, section)
