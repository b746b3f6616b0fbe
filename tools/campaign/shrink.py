"""Makes a failing scenario small: takes away whatever the failure does not need."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.memory_link import Disturbance
from scl.agent_model import ANSWERS
from tools.campaign.occurrences import Network, Occurrence
from tools.campaign.scenario import Scenario, Verdict, run_scenario
from tools.campaign.world import DISK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from tools.campaign.feeders import FeederSystem

RUNS: Final = 400
"""At most so many runs are spent on one failure."""
_SOUND: Final = PlantSettings()
_CALM: Final = Disturbance(min_delay_s=0.0001, max_delay_s=0.0001)


def shrink(
    scenario: Scenario,
    broken: Collection[str],
    *,
    runs: int = RUNS,
    run: Callable[[Scenario], Verdict] = run_scenario,
) -> Scenario:
    """A smaller scenario that breaks one of the same invariants.

    Every candidate is run: what is taken away changes the chance of what remains, so not every step that could be
    taken is found.

    Args:
        scenario: that fails.
        broken: invariants, one of which must be broken still.
        runs: how many runs may be spent.
        run: how a scenario is run.
    """
    budget = iter(range(runs))
    reduced = True
    while reduced:
        reduced = False
        for reduce in _REDUCTIONS:
            smaller = _first_failing(reduce(scenario), set(broken), budget, run)
            while smaller is not None:
                scenario, reduced = smaller, True
                smaller = _first_failing(reduce(scenario), set(broken), budget, run)
    return scenario


def _first_failing(
    candidates: Iterator[Scenario], broken: set[str], budget: Iterator[int], run: Callable[[Scenario], Verdict]
) -> Scenario | None:
    # The budget is asked first: a candidate that is not run is not drawn.
    for _, candidate in zip(budget, candidates, strict=False):
        if not broken.isdisjoint(run(candidate).broken):
            return candidate
    return None


def _fewer_occurrences(scenario: Scenario) -> Iterator[Scenario]:
    """Without a half, a quarter, ... one of the occurrences."""
    occurrences = scenario.occurrences
    size = len(occurrences) // 2
    while size:
        for start in range(0, len(occurrences), size):
            yield replace(scenario, occurrences=occurrences[:start] + occurrences[start + size :])
        size //= 2


def _less_network(scenario: Scenario) -> Iterator[Scenario]:
    """Without a section and all that only it feeds; without an open switch; with two sections become one.

    What is left is fed in normal operation as it was.
    """
    system = scenario.system
    sources = {section.index for section in system.plant.sections if section.is_source}
    gone = {frozenset(_fed_only_through(system, section.index)) for section in system.plant.sections}
    for sections in sorted(gone, key=lambda sections: (-len(sections), sorted(sections))):
        smaller = system.without(sections=sections)
        if smaller.agents:
            yield replace(scenario, system=smaller)
    for switch in system.plant.switches:
        if not switch.closed and len(system.agents) > 1:
            yield replace(scenario, system=system.without(switches={switch.number}))
    for switch in system.plant.switches:
        if switch.closed and sources.isdisjoint(switch.sides):
            for one, other in (switch.sides, switch.sides[::-1]):
                smaller = system.without(merged={one: other}, switches={switch.number})
                if _normal(smaller):
                    yield replace(scenario, system=smaller)


def _normal(system: FeederSystem) -> bool:
    """Whether the agents can answer for every section."""
    return all(len(system.feeder.around[s.index]) <= ANSWERS + 1 for s in system.feeder.sections if not s.is_source)


def _fed_only_through(system: FeederSystem, section: int) -> set[int]:
    """A section, and those that have no normal way to a source without it."""
    plant = system.plant
    reached = {s.index for s in plant.sections if s.is_source and s.index != section}
    grown = True
    while grown:
        grown = False
        for switch in plant.switches:
            a, b = switch.sides
            if switch.closed and section not in switch.sides and (a in reached) != (b in reached):
                reached |= {a, b}
                grown = True
    return {s.index for s in plant.sections} - reached


def _sounder_plant(scenario: Scenario) -> Iterator[Scenario]:
    """With all apparatus as it should be, with one kind of trouble less, with one switch less in trouble."""
    plant = scenario.plant
    if plant == _SOUND:
        return
    yield replace(scenario, plant=_SOUND)
    for troubled in fields(PlantSettings):
        name = troubled.name
        value = getattr(plant, name)
        less: list[Any] = [getattr(_SOUND, name)]
        if isinstance(value, frozenset):
            less += [value - {number} for number in sorted(value)]
        elif isinstance(value, dict):
            less += [{other: value[other] for other in value if other != number} for number in value]
        for fewer in less if value != less[0] else ():
            yield replace(scenario, plant=replace(plant, **{name: fewer}))


def _calmer_network(scenario: Scenario) -> Iterator[Scenario]:
    """With each disturbance calm, or calmer in one respect; with frames that are no octets, and a quick disk."""
    if scenario.real_frames:
        yield replace(scenario, real_frames=False)
    if scenario.disk_s != DISK_S:
        yield replace(scenario, disk_s=DISK_S)
    for calmer in _calmer(scenario.disturbance):
        yield replace(scenario, disturbance=calmer)
    for index, occurrence in enumerate(scenario.occurrences):
        if isinstance(occurrence.action, Network):
            for calmer in _calmer(occurrence.action.disturbance):
                action = replace(occurrence.action, disturbance=calmer)
                yield _with(scenario, index, replace(occurrence, action=action))


def _calmer(disturbance: Disturbance) -> Iterator[Disturbance]:
    if disturbance == _CALM:
        return
    yield _CALM
    for name in ("loss", "duplicate", "replay", "burst_share"):
        if getattr(disturbance, name):
            yield replace(disturbance, **{name: 0.0})


def _with(scenario: Scenario, index: int, occurrence: Occurrence) -> Scenario:
    occurrences = list(scenario.occurrences)
    occurrences[index] = occurrence
    return replace(scenario, occurrences=tuple(occurrences))


_REDUCTIONS: Final = (_fewer_occurrences, _less_network, _sounder_plant, _calmer_network)
