"""Feeder systems for the campaign: random ones, and what is left of one when parts are taken away."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch, SharedElement
from ied_agents.dflisr.views import AgentConfig
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch
from ied_agents.runtime.settings import AgentSettings, StreamSettings, SwitchStreams
from scl.agent_model import ANSWERS, FAST, SLOW
from scl.listening import needed_subscriptions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from random import Random

DETECTION_S: Final = 0.003
MOST_SWITCHES: Final = 60
_LARGE_SHARE: Final = 0.22
_LARGE: Final = 31
_APPARATUS_SHARE: Final = 0.8
"""The plant's switches take this share of the longest operating time that the agents are told."""
_MOST_AT_SECTION: Final = min(ANSWERS + 1, 7)
_MOST_OPEN_AT_FEEDER: Final = 7
"""Open points bound an island; a claim names at most ``BOUNDARY`` switches, those inside included."""


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

    def without(
        self,
        sections: Collection[int] = (),
        switches: Collection[int] = (),
        merged: Mapping[int, int] | None = None,
    ) -> FeederSystem:
        """What is left when parts are taken away, with the agents of the switches that are left.

        Args:
            sections: that go, with every switch at them.
            switches: that go.
            merged: sections that become part of another one, with their loads; a switch between the two goes too.
        """
        into = merged or {}
        there = {s.index for s in self.plant.sections} - set(sections) - into.keys()

        def moved(sides: tuple[int, int]) -> tuple[int, int]:
            return into.get(sides[0], sides[0]), into.get(sides[1], sides[1])

        left = {
            s.number for s in self.feeder.switches if s.number not in switches and len(there & set(moved(s.sides))) == 2
        }
        plant = PlantNetwork(
            tuple(
                _with_loads(s, [other for other in self.plant.sections if into.get(other.index) == s.index])
                for s in self.plant.sections
                if s.index in there
            ),
            tuple(replace(s, sides=moved(s.sides)) for s in self.plant.switches if s.number in left),
        )
        shared = []
        for element in self.feeder.shared:
            heads = tuple(head for head in element.heads if head in left)
            if element.owner in heads:
                shared.append(replace(element, heads=heads))
        feeder = Feeder(
            tuple(replace(s, sides=moved(s.sides)) for s in self.feeder.switches if s.number in left),
            tuple(s for s in self.feeder.sections if s.index in there),
            tuple(shared),
        )
        agents = {}
        for number in sorted(left):
            settings = self.agents[number]
            peers = {peer: streams for peer, streams in settings.peers.items() if peer in left}
            config = replace(settings.config, feeder=feeder, subscribed=frozenset(peers))
            agents[number] = replace(settings, config=config, peers=peers)
        return FeederSystem(plant, feeder, agents)


def _with_loads(section: PlantSection, others: Sequence[PlantSection]) -> PlantSection:
    parts = (section, *others)
    return replace(
        section,
        load_a=sum(part.load_a for part in parts),
        generation_a=sum(part.generation_a for part in parts),
        infeed=any(part.infeed for part in parts),
    )


def random_size(rng: Random) -> int:
    """How many switches: more than a fifth of the networks have over 30."""
    if rng.random() < _LARGE_SHARE:
        # The work grows faster than the network: most are little larger than that.
        return round(_LARGE + (MOST_SWITCHES - _LARGE) * rng.random() ** 3)
    return round(rng.triangular(3, _LARGE - 1, 9))


def random_system(rng: Random, switches: int = 14, detection_time_s: float = DETECTION_S) -> FeederSystem:
    """A random radial system: feeders with laterals on one or several busbars, open ties and ring points.

    Args:
        rng: source of chance.
        switches: how many; at least 3.
        detection_time_s: of the agents.
    """
    draft = _Draft(rng)
    heads = min(max(2, round(switches / rng.uniform(4.0, 8.0))), switches - 1)
    ties = max(1, round((switches - heads) * rng.uniform(0.15, 0.4)))
    draft.lay_feeders(heads, switches - heads - ties)
    draft.tie(ties)
    draft.rate()
    draft.share_transformers()
    return assemble(
        draft.switches,
        draft.sections,
        detection_time_s,
        shared=draft.shared,
        priorities=draft.priorities,
    )


class _Draft:
    """A network that is being drawn."""

    def __init__(self, rng: Random) -> None:
        self.switches: list[FeederSwitch] = []
        self.sections: list[PlantSection] = []
        self.shared: list[SharedElement] = []
        self.priorities: dict[int, int] = {}
        self._rng = rng
        self._feeders: list[list[int]] = []
        self._source_of: list[int] = []
        self._breaker_share = rng.choice((0.0, 0.3, 0.6, 1.0))
        self._longest_s = rng.choice((0.06, 0.06, 0.5))
        self._der_share = rng.choice((0.0, 0.0, 0.2))
        self._shots = rng.choice(((), (), (), (0.3,), (0.4, 1.0)))
        self._transfer_s = rng.choice((0.0, 0.0, 0.0, 0.5, 1.2))
        self._ranked = rng.random() < 0.4

    def lay_feeders(self, heads: int, line_switches: int) -> None:
        """Busbars with their heads, and what hangs on them."""
        rng = self._rng
        sources: list[int] = []
        for feeder in range(heads):
            # One busbar for all only where there are just two feeders, and then seldom.
            if not sources or rng.random() < (0.5 if len(sources) > 1 or heads == 2 else 0.3):
                sources.append(self._section(f"source {len(sources)}", is_source=True))
            source = rng.choice(sources)
            self._source_of.append(source)
            first = self._section(f"F{feeder}S1")
            self._feeders.append([first])
            shots = self._shots if rng.random() < 0.7 else ()
            self._switch((source, first), breaker=True, closed=True, shots=shots, transfer_after_s=self._transfer_s)
        for _ in range(line_switches):
            feeder = rng.randrange(heads)
            sections = self._feeders[feeder]
            # Mostly the main line, sometimes a lateral from further up.
            behind = sections[-1] if rng.random() < 0.65 else self._free(sections)
            beyond = self._section(f"F{feeder}S{len(sections) + 1}")
            sections.append(beyond)
            breaker = rng.random() < self._breaker_share
            shots = self._shots if breaker and rng.random() < 0.4 else ()
            self._switch((behind, beyond), breaker=breaker, closed=True, shots=shots)

    def tie(self, ties: int) -> None:
        """Open switches: a chain through all feeders first, then anywhere: rings within a feeder, foreign busbars."""
        rng = self._rng
        feeders = self._feeders
        order = rng.sample(range(len(feeders)), len(feeders))
        wanted = list(pairwise(order))[:ties]
        wanted += [(rng.randrange(len(feeders)), rng.randrange(len(feeders))) for _ in range(ties - len(wanted))]
        for one, other in wanted:
            here = rng.choice(feeders[one]) if rng.random() < 0.4 else feeders[one][-1]
            there = self._free(feeders[other])
            sources = sorted(set(self._source_of) - {self._source_of[one]})
            if sources and rng.random() < 0.07:
                there = rng.choice(sources)
            if here == there or self._degree(here) >= _MOST_AT_SECTION:
                here, there = self._free(feeders[one]), self._free(feeders[(one + 1) % len(feeders)])
            if here == there or max(self._open_points(one), self._open_points(other)) >= _MOST_OPEN_AT_FEEDER:
                # There is no room for another one: the line grows instead.
                there = self._section(f"F{one}S{len(feeders[one]) + 1}")
                here = self._free(feeders[one])
                feeders[one].append(there)
                self._switch((here, there), breaker=False, closed=True)
                continue
            self._switch((here, there), breaker=rng.random() < 0.3, closed=False, paralleling=rng.random() < 0.2)

    def rate(self) -> None:
        """Ratings that normal operation never exceeds, with or without generation; own delays by time grading."""
        rng = self._rng
        rated = []
        for switch in self.switches:
            if not switch.normally_closed:
                rated.append(replace(switch, rating_a=float(rng.choice((80, 120, 200, 300, 400)))))
                continue
            below = self._below(switch)
            load = sum(self.sections[s].load_a for s in below)
            net = abs(load - sum(self.sections[s].generation_a for s in below))
            rating = max(50.0, 10.0 * math.ceil(max(load, net) * rng.uniform(1.02, 2.6) / 10 + 0.1))
            levels = self._levels(switch)
            delay_s = 0.2 + 0.1 * levels if switch.breaker else 0.0
            rated.append(replace(switch, rating_a=rating, trip_delay_s=delay_s))
        self.switches = rated

    def share_transformers(self) -> None:
        """Some busbars of several feeders hang on a transformer that cannot carry all of them at their ratings."""
        rng = self._rng
        for section in [s for s in self.sections if s.is_source]:
            heads = [s for s in self.switches if section.index in s.sides and s.normally_closed]
            if len(heads) < 2 or rng.random() < 0.4:
                continue
            load = sum(self.sections[s].load_a for head in heads for s in self._below(head))
            rating = max(100.0, 10.0 * math.ceil(load * rng.uniform(1.05, 1.8) / 10 + 0.1))
            numbers = tuple(head.number for head in heads)
            self.shared.append(SharedElement(f"T{section.index}", rating, rng.choice(numbers), numbers))

    def _section(self, name: str, *, is_source: bool = False) -> int:
        rng, index = self._rng, len(self.sections)
        if is_source:
            self.sections.append(PlantSection(index, name, is_source=True))
            return index
        generation = float(rng.randint(5, 60)) if rng.random() < self._der_share else 0.0
        load = 0.0 if rng.random() < 0.05 else float(rng.randint(3, 50))
        infeed = generation > 0 and rng.random() < 0.3
        self.sections.append(PlantSection(index, name, load_a=load, generation_a=generation, infeed=infeed))
        self.priorities[index] = rng.choice((0, 0, 0, 1, 2, 3)) if self._ranked else 0
        return index

    def _switch(
        self,
        sides: tuple[int, int],
        *,
        breaker: bool,
        closed: bool,
        shots: tuple[float, ...] = (),
        transfer_after_s: float = 0.0,
        paralleling: bool = False,
    ) -> None:
        number = len(self.switches) + 1
        self.switches.append(
            FeederSwitch(
                number=number,
                name=f"{'Q' if breaker else 'L' if closed else 'T'}{number}",
                ied=f"IED{number}",
                breaker=breaker,
                sides=sides if self._rng.random() < 0.5 else (sides[1], sides[0]),
                normally_closed=closed,
                rating_a=0.0,
                breaking_a=16000.0 if breaker else 1250.0,
                trip_delay_s=0.2 if breaker else 0.0,
                operating_time_s=0.06 if breaker else self._rng.uniform(0.06, self._longest_s),
                shots=shots,
                transfer_after_s=transfer_after_s,
                paralleling=paralleling,
            )
        )

    def _degree(self, section: int) -> int:
        return sum(section in switch.sides for switch in self.switches)

    def _free(self, sections: Sequence[int]) -> int:
        """A section that can take another switch, or else the last one."""
        free = [section for section in sections if self._degree(section) < _MOST_AT_SECTION]
        return self._rng.choice(free or sections[-1:])

    def _open_points(self, feeder: int) -> int:
        own = set(self._feeders[feeder])
        return sum(not switch.normally_closed and not own.isdisjoint(switch.sides) for switch in self.switches)

    def _below(self, switch: FeederSwitch) -> set[int]:
        """Sections that a closed switch feeds; a section's index rises with its distance from the source."""
        found = {max(switch.sides)}
        for other in self.switches[switch.number :]:
            if other.normally_closed and not found.isdisjoint(other.sides) and other.number != switch.number:
                found |= set(other.sides)
        return found

    def _levels(self, switch: FeederSwitch) -> int:
        """The longest chain of breakers below a switch."""
        below = self._below(switch)
        nearest = [
            s for s in self.switches[switch.number :] if s.normally_closed and s.breaker and below >= set(s.sides)
        ]
        return 1 + max(map(self._levels, nearest)) if nearest else 0


def assemble(
    switches: Sequence[FeederSwitch],
    sections: Sequence[PlantSection],
    detection_time_s: float,
    *,
    shared: Sequence[SharedElement] = (),
    priorities: Mapping[int, int] | None = None,
) -> FeederSystem:
    """The plant and the agents' settings of a network; agents hear each other as ``scl.listening`` has it.

    Args:
        switches: with their agents.
        sections: loads and generation, as the plant has them.
        detection_time_s: of the agents.
        shared: transformers and busbars that several heads draw from.
        priorities: by section; 0 where not given.
    """
    ranks = priorities or {}
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
                opening_time_s=_APPARATUS_SHARE * s.operating_time_s,
                closing_time_s=_APPARATUS_SHARE * s.operating_time_s,
            )
            for s in switches
        ),
    )
    feeder = Feeder(
        tuple(switches),
        tuple(FeederSection(s.index, s.name, s.is_source, ranks.get(s.index, 0)) for s in sections),
        tuple(shared),
    )
    streams = {s.number: _streams(s) for s in switches}
    heard = needed_subscriptions(
        {s.number: s.sides for s in switches},
        [s.index for s in sections if s.is_source],
        [s.number for s in switches if not s.normally_closed],
    )
    agents = {
        s.number: AgentSettings(
            ied=s.ied,
            config=AgentConfig(
                number=s.number,
                feeder=feeder,
                subscribed=heard[s.number],
                detection_time_s=detection_time_s,
            ),
            own=streams[s.number],
            peers={number: streams[number] for number in sorted(heard[s.number])},
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
