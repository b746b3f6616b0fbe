"""Tells a scenario as a story: the network, then a timeline of plant, frames and decisions."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.campaign.feeders import FeederSystem
    from tools.campaign.scenario import Scenario, Verdict


def tell(scenario: Scenario, verdict: Verdict) -> Iterator[str]:
    """The lines of a story: network, surroundings, timeline, broken invariants."""
    yield f"{scenario.name}; {verdict.switches} switches, {'real' if scenario.real_frames else 'light'} frames"
    yield from _network(scenario.system)
    yield f"communication: {scenario.disturbance}"
    yield f"plant: {scenario.plant}"
    for line in verdict.story:
        details = ", ".join(f"{name} {plain(value)}" for name, value in line.detail.items())
        yield f"{line.t * 1000:10.2f} ms  {line.who:10} {line.what:22} {details}"
    for violation in verdict.violations:
        yield f"{violation.t * 1000:10.2f} ms  BROKEN     {violation.invariant:22} {violation.what}"


def plain(value: Any) -> str:
    """A value of a state or a note, short."""
    match value:
        case IntEnum():
            return value.name
        case tuple() | list() | set() | frozenset():
            return "(" + " ".join(plain(item) for item in value) + ")"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _network(system: FeederSystem) -> Iterator[str]:
    ranks = {section.index: section.priority for section in system.feeder.sections}
    for section in system.plant.sections:
        kind = "source" if section.is_source else f"load {section.load_a:g} A"
        generation = f", generation {section.generation_a:g} A" if section.generation_a else ""
        infeed = " that feeds faults" if section.infeed else ""
        rank = f", priority {ranks[section.index]}" if ranks[section.index] else ""
        yield f"section {section.index} {section.name}: {kind}{generation}{infeed}{rank}"
    for switch in system.feeder.switches:
        kind = "breaker" if switch.breaker else "load-break switch"
        position = "closed" if switch.normally_closed else "open"
        extras = "".join(
            f", {name} {plain(getattr(switch, name))}"
            for name in ("shots", "transfer_after_s", "paralleling")
            if getattr(switch, name)
        )
        yield (
            f"switch {switch.number} {switch.name}: {kind} from section {switch.sides[0]} to {switch.sides[1]}, "
            f"{position}, {switch.rating_a:g} A{extras}"
        )
    for element in system.feeder.shared:
        yield f"{element.name}: {element.rating_a:g} A for heads {plain(element.heads)}, owner {element.owner}"
