"""Random feeder systems for the campaign: sources, feeders with laterals, ties, ratings and loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch
from ied_agents.dflisr.views import AgentConfig
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch
from ied_agents.runtime.settings import AgentSettings, StreamSettings, SwitchStreams
from scl.agent_model import FAST, SLOW

if TYPE_CHECKING:
    from random import Random

OPERATING_TIME_S: Final = 0.06
"""Longest operating time that the agents are told; the plant's switches are a little faster."""


@dataclass(frozen=True, slots=True)
class FeederSystem:
    """One network, as the plant has it and as the agents know it.

    Attributes:
        plant: truth.
        feeder: the agents' picture.
        agents: settings by switch number.
    """

    plant: PlantNetwork
    feeder: Feeder
    agents: dict[int, AgentSettings]


@dataclass(slots=True)
class _Draft:
    rng: Random
    switches: list[FeederSwitch]
    sections: list[PlantSection]

    def section(self, name: str, load_a: float, *, is_source: bool = False) -> int:
        index = len(self.sections)
        self.sections.append(PlantSection(index, name, is_source=is_source, load_a=load_a))
        return index

    def switch(
        self,
        sides: tuple[int, int],
        *,
        breaker: bool,
        closed: bool,
        rating_a: float,
        trip_delay_s: float = 0.3,
    ) -> None:
        number = len(self.switches) + 1
        if self.rng.random() < 0.5:
            sides = (sides[1], sides[0])
        self.switches.append(
            FeederSwitch(
                number=number,
                name=f"{'Q' if breaker else 'L' if closed else 'T'}{number}",
                ied=f"IED{number}",
                breaker=breaker,
                sides=sides,
                normally_closed=closed,
                rating_a=rating_a,
                breaking_a=16000.0 if breaker else 630.0,
                trip_delay_s=trip_delay_s if breaker else 0.0,
                operating_time_s=OPERATING_TIME_S,
            )
        )


def random_system(rng: Random, most_switches: int = 14, detection_time_s: float = 0.003) -> FeederSystem:
    """A random radial system of 2 to 4 feeders with laterals and ties between them.

    Args:
        rng: source of chance.
        most_switches: about how many switches at the most.
        detection_time_s: of the agents.
    """
    draft = _Draft(rng, [], [])
    feeders = rng.randint(2, 4)
    per_feeder = max(1, (most_switches - feeders) // feeders - 1)
    live = [_feeder(draft, feeder, rng.randint(1, per_feeder)) for feeder in range(feeders)]
    ties = rng.randint(feeders - 1, feeders + 1)
    for tie in range(ties):
        one, other = (tie % feeders, (tie + 1) % feeders) if tie < feeders else rng.sample(range(feeders), 2)
        draft.switch(
            (rng.choice(live[one]), rng.choice(live[other])),
            breaker=rng.random() < 0.2,
            closed=False,
            rating_a=rng.choice((200.0, 400.0)),
        )
    return assemble(_rated(draft), draft.sections, detection_time_s)


def _rated(draft: _Draft) -> list[FeederSwitch]:
    """The switches, none of them overloaded in normal operation."""
    behind: dict[int, list[FeederSwitch]] = {}
    for switch in draft.switches:
        if switch.normally_closed:
            for section in switch.sides:
                behind.setdefault(section, []).append(switch)
    load: dict[int, float] = {}

    def collect(section: int, came_by: int) -> float:
        total = draft.sections[section].load_a
        for switch in behind.get(section, ()):
            if switch.number != came_by:
                beyond = switch.sides[1 - switch.sides.index(section)]
                load[switch.number] = collect(beyond, switch.number)
                total += load[switch.number]
        return total

    for source in [section.index for section in draft.sections if section.is_source]:
        collect(source, 0)
    return [replace(s, rating_a=max(s.rating_a, load.get(s.number, 0.0))) for s in draft.switches]


def _feeder(draft: _Draft, feeder: int, line_switches: int) -> list[int]:
    rng = draft.rng
    source = draft.section(f"source {feeder}", 0.0, is_source=True)
    sections = [draft.section(f"F{feeder}S1", float(rng.randint(5, 60)))]
    draft.switch(
        (source, sections[0]),
        breaker=True,
        closed=True,
        rating_a=rng.choice((300.0, 400.0, 600.0)),
        trip_delay_s=0.5,
    )
    for _ in range(line_switches):
        # Mostly the main line, sometimes a lateral from further up.
        behind = sections[-1] if rng.random() < 0.7 else rng.choice(sections)
        sections.append(draft.section(f"F{feeder}S{len(sections) + 1}", float(rng.randint(5, 60))))
        draft.switch(
            (behind, sections[-1]),
            breaker=rng.random() < 0.4,
            closed=True,
            rating_a=rng.choice((300.0, 400.0)),
        )
    return sections


def assemble(switches: list[FeederSwitch], sections: list[PlantSection], detection_time_s: float) -> FeederSystem:
    """The plant and the agents' settings of a network; every agent hears every other."""
    plant = PlantNetwork(
        tuple(sections),
        tuple(
            PlantSwitch(
                number=s.number,
                name=s.name,
                sides=s.sides,
                kind="breaker" if s.breaker else "load_break",
                closed=s.normally_closed,
                breaking_a=s.breaking_a,
                opening_time_s=0.8 * s.operating_time_s,
                closing_time_s=0.8 * s.operating_time_s,
            )
            for s in switches
        ),
    )
    feeder = Feeder(tuple(switches), tuple(FeederSection(s.index, s.name, s.is_source) for s in sections))
    streams = {s.number: _streams(s) for s in switches}
    agents = {
        s.number: AgentSettings(
            ied=s.ied,
            config=AgentConfig(
                number=s.number,
                feeder=feeder,
                subscribed=frozenset(streams) - {s.number},
                detection_time_s=detection_time_s,
            ),
            own=streams[s.number],
            peers={number: other for number, other in streams.items() if number != s.number},
        )
        for s in switches
    }
    return FeederSystem(plant, feeder, agents)


def _streams(switch: FeederSwitch) -> SwitchStreams:
    def stream(name: str, base: int, entries: int) -> StreamSettings:
        ld = f"{switch.ied}FLISR/LLN0"
        return StreamSettings(
            mac=f"010ccd01{base + switch.number:04x}",
            appid=0x8000 + base + switch.number,
            vlan_id=0,
            vlan_priority=4,
            gocbRef=f"{ld}$GO$gcb{name.title()}",
            datSet=f"{ld}${name}",
            goID=f"{switch.ied} {name}",
            confRev=1,
            entries=entries,
            min_time_ms=4,
            max_time_ms=1000,
        )

    return SwitchStreams(stream("fast", 0, len(FAST)), stream("slow", 0x100, len(SLOW)))
