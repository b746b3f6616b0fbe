"""What makes of a scenario of the campaign one that has what it takes to show that a rule is missing.

An arrangement is None where it cannot be made of a scenario.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ied_agents.dflisr.reclose import RECLAIM_S
from ied_agents.dflisr.records import Bound
from ied_agents.process.inputs import Voltage
from tools.campaign.occurrences import (
    ByHand,
    Crash,
    Fallback,
    Fault,
    Network,
    Occurrence,
    Request,
    Supply,
)
from tools.campaign.plans import QUIET

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ied_agents.dflisr.feeder import Feeder
    from tools.campaign.occurrences import Action
    from tools.campaign.scenario import Scenario

    Arrangement: TypeAlias = Callable[[Scenario], Scenario | None]

BEFORE_S: Final = 0.45
"""By then every agent has started; the first fault comes later."""
_SLOW_S: Final = 1.06
"""A breaker that takes so long to open lets everybody see a fault whose words are repeated once a second."""
_FAULT_S: Final = 0.9
"""Then the faults come of scenarios that are arranged anew."""


def anything(scenario: Scenario) -> Scenario | None:
    """Any scenario."""
    return scenario


def alive(scenario: Scenario) -> Scenario | None:
    """Those in which what can be served must be served."""
    return scenario if scenario.alive else None


def hostile(scenario: Scenario) -> Scenario | None:
    """Those in which only safety is judged."""
    return None if scenario.alive else scenario


def called(kind: str) -> Arrangement:
    """Scenarios of a kind, or with a kind of trouble, by what ``plans`` calls it."""

    def arranged(scenario: Scenario) -> Scenario | None:
        return scenario if kind in scenario.name else None

    return arranged


def with_too(*occurrences: Occurrence, later_s: float = 0.0) -> Arrangement:
    """Scenarios with communication alive, ``later_s`` later, in which something else happens too; for safety only."""

    def arranged(scenario: Scenario) -> Scenario | None:
        return _added(scenario, occurrences, later_s) if scenario.alive else None

    return arranged


def at_a_tie(act: Callable[[int], Action]) -> Arrangement:
    """Something happens at a normally open switch before the fault."""

    def arranged(scenario: Scenario) -> Scenario | None:
        ties = [switch.number for switch in scenario.system.feeder.switches if not switch.normally_closed]
        if not ties or not scenario.alive:
            return None
        tie = random.Random(scenario.seed).choice(ties)
        return _added(scenario, (Occurrence(BEFORE_S, act(tie)),))

    return arranged


def reclosing(scenario: Scenario) -> Scenario | None:
    """With shots to make: they are there once the reclaim time after the start is over."""
    if not any(switch.shots for switch in scenario.system.feeder.switches):
        return None
    return _added(scenario, (), RECLAIM_S)


def at_the_end(scenario: Scenario) -> Scenario | None:
    """A fault where one switch only bounds it; that one ends, and when it is back, people close what they can."""
    feeder = scenario.system.feeder
    ends = [section for section in _ways(scenario) if len(feeder.around[section]) == 1]
    if not ends:
        return None
    section = random.Random(scenario.seed).choice(ends)
    switch = feeder.around[section][0].switch
    closes = (Occurrence(at, Request(switch, "close"), "locked") for at in (2.1, 3.1))
    crash = Occurrence(1.0, Crash(switch, None, 0.1), "locked")
    return _instead(scenario, Occurrence(_FAULT_S, Fault(section)), crash, *closes)


def stuck(scenario: Scenario) -> Scenario | None:
    """One of the closed switches around the first fault does not open."""
    feeder = scenario.system.feeder
    faults = [o.action.section for o in scenario.occurrences if isinstance(o.action, Fault)]
    if not faults or not scenario.alive:
        return None
    around = [bound.switch for bound in feeder.around[faults[0]] if feeder.by_number[bound.switch].normally_closed]
    switch = random.Random(scenario.seed).choice(around)
    return replace(_added(scenario, ()), plant=replace(scenario.plant, fail_to_open=frozenset((switch,))))


def in_vain(scenario: Scenario) -> Scenario | None:
    """Ties do not close; each agent that has ordered it ends at once, and comes back."""
    ties = frozenset(switch.number for switch in scenario.system.feeder.switches if not switch.normally_closed)
    if not ties or not scenario.alive:
        return None
    crashes = (Occurrence(0.0, Crash(0, None, down_s), "close ordered") for down_s in (0.01, 0.3))
    return replace(_added(scenario, crashes), plant=replace(scenario.plant, fail_to_close=ties))


def anew(scenario: Scenario) -> Scenario | None:
    """After the return to normal every second agent is started anew, one by one; then there is another fault."""
    if scenario.name != "return to normal":
        return None
    at = scenario.last_s + 8.0
    crashes = []
    for number in sorted(scenario.system.agents)[::2]:
        crashes.append(Occurrence(at, Crash(number, None, 0.1)))
        at += 0.5
    loads = [section.index for section in scenario.system.feeder.sections if not section.is_source]
    fault = Occurrence(at + 3.0, Fault(random.Random(scenario.seed).choice(loads)))
    return replace(_added(scenario, (*crashes, fault)), alive=True)


def contested(scenario: Scenario) -> Scenario | None:
    """The control centre claims, with more authority, what agents are claiming."""
    if not scenario.alive:
        return None
    switch = random.Random(scenario.seed).choice(sorted(scenario.system.agents))
    claims = (Occurrence(0.01, Fallback(switch, side, 2), step) for side in (0, 1) for step in ("claimed", "promised"))
    return _added(scenario, claims)


def unlocated(scenario: Scenario) -> Scenario | None:
    """Two faults at once on a feeder with a slow breaker; who sees one does not hear the answers of its peers."""
    feeder = scenario.system.feeder
    ways = _ways(scenario)
    pairs = [
        (one, other)
        for one, way in ways.items()
        for other, its in ways.items()
        if way[-1] == its[-1]
        and way[0] not in its
        and its[0] not in way
        and len(feeder.around[other]) > 1
        and not any(feeder.by_number[n].breaker for n in its[:-1])
    ]
    if not pairs:
        return None
    one, other = random.Random(scenario.seed).choice(pairs)
    entry = ways[other][0]
    deaf = tuple((bound.switch, entry) for bound in feeder.peers(entry, other))
    cut = Occurrence(BEFORE_S, Network(QUIET, deaf=deaf))
    system, head = scenario.system, ways[other][-1]
    switches = tuple(replace(s, opening_time_s=_SLOW_S) if s.number == head else s for s in system.plant.switches)
    slow = replace(system, plant=replace(system.plant, switches=switches))
    faults = (Occurrence(_FAULT_S, Fault(section)) for section in (one, other))
    return replace(_instead(scenario, cut, *faults), system=slow)


def silenced(scenario: Scenario) -> Scenario | None:
    """A claimant and one tie, who see no voltage in their island, are cut off; a person closes another tie there."""
    rng = random.Random(scenario.seed)
    cases = [(dark, tie, other) for dark in _cut_off(scenario) for tie in dark.ties for other in dark.ties - {tie}]
    if not cases:
        return None
    dark, tie, other = rng.choice(sorted(cases, key=str))
    few = (dark.claimant.switch, tie.switch)
    return replace(
        _instead(
            scenario,
            Occurrence(_FAULT_S, Fault(dark.fault)),
            Occurrence(0.0, Network(QUIET, parts=(few,)), "capacity requested"),
            Occurrence(4.0, ByHand(other.switch, "close"), "capacity requested"),
            Occurrence(4.6, Network(QUIET, parts=((*few, *_way(scenario, tie)),)), "capacity requested"),
        ),
        plant=replace(scenario.plant, voltage_stuck={b.switch: _blind(b.side) for b in (dark.claimant, tie)}),
    )


def _blind(side: int) -> tuple[Voltage | None, Voltage | None]:
    return (Voltage.UNKNOWN, None) if side == 0 else (None, Voltage.UNKNOWN)


def generating(scenario: Scenario) -> Scenario | None:
    """Local generation holds what has lost its source."""
    if not scenario.alive or not any(section.infeed for section in scenario.system.plant.sections):
        return None
    return replace(_added(scenario, ()), plant=replace(scenario.plant, generation_trip_s=30.0))


def tried(scenario: Scenario) -> Scenario | None:
    """People close what they can once the fault is isolated."""
    if not scenario.alive:
        return None
    switches = sorted(scenario.system.agents)
    return _added(scenario, (Occurrence(1.2, Request(number, "close"), "locked") for number in switches))


def unproven(scenario: Scenario) -> Scenario | None:
    """The ties are started anew before the fault, and beside the supply of each a switch is down for good."""
    feeder = scenario.system.feeder
    ways = _ways(scenario)
    rng = random.Random(scenario.seed)
    crashes: list[Occurrence] = []
    for tie in feeder.switches:
        if tie.normally_closed:
            continue
        crashes.append(Occurrence(BEFORE_S - 0.05, Crash(tie.number, None, 0.05)))
        section = rng.choice(tie.sides)
        beside = [b.switch for b in feeder.peers(tie.number, section) if b.switch not in ways.get(section, ())]
        if beside:
            crashes.append(Occurrence(BEFORE_S - 0.1, Crash(rng.choice(beside), None, 1e3)))
    if not scenario.alive or len({o.action for o in crashes}) < 2:
        return None
    return _added(scenario, crashes)


def restarted(scenario: Scenario) -> Scenario | None:
    """Every second agent is started anew before anything else happens; what can be served is served all the same."""
    if not scenario.alive:
        return None
    crashes = [Occurrence(BEFORE_S + n, Crash(n, None, 0.1)) for n in sorted(scenario.system.agents)[::2]]
    return replace(_added(scenario, crashes, crashes[-1].at + 1.0), alive=True)


def again(scenario: Scenario) -> Scenario | None:
    """After the return to normal the same fault comes once more; ties can carry little."""
    fault = next((o.action for o in scenario.occurrences if isinstance(o.action, Fault)), None)
    poor = scarce(scenario)
    if scenario.name != "return to normal" or fault is None or poor is None:
        return None
    return replace(_added(poor, (Occurrence(scenario.last_s + 8.0, fault),)), alive=True)


def aside(scenario: Scenario) -> Scenario | None:
    """Two faults: in a dead end, behind a load-break switch whose direction nobody relies on, and beside it."""
    feeder = scenario.system.feeder
    ways = _ways(scenario)
    pairs = [
        (end, way[0], other)
        for end, way in ways.items()
        for other, beside in ways.items()
        if len(way) > 1 and len(beside) > 1 and not feeder.by_number[way[0]].breaker
        if way[-1] == beside[-1] and way[0] not in beside and beside[0] not in way
        if not any(way[0] in to for section, to in ways.items() if section != end)
    ]
    if not pairs:
        return None
    end, switch, other = random.Random(scenario.seed).choice(pairs)
    happening = _instead(scenario, Occurrence(_FAULT_S, Fault(end)), Occurrence(_FAULT_S + 0.001, Fault(other)))
    return replace(happening, plant=replace(scenario.plant, untrusted_direction=frozenset((switch,))))


def scarce(scenario: Scenario) -> Scenario | None:
    """Alive, where ties can carry little, and not all sections matter as much."""
    if not scenario.alive:
        return None
    rng = random.Random(scenario.seed)
    feeder = scenario.system.feeder
    return _other_network(
        scenario,
        switches=tuple(
            s if s.normally_closed else replace(s, rating_a=float(rng.randint(30, 120))) for s in feeder.switches
        ),
        sections=tuple(s if s.is_source else replace(s, priority=rng.randint(0, 3)) for s in feeder.sections),
    )


def tight(scenario: Scenario) -> Scenario | None:
    """Alive, where a shared transformer can carry hardly more than it does, and every switch anything."""
    feeder = scenario.system.feeder
    ways = _ways(scenario)
    members = {head for element in feeder.shared for head in element.heads}
    others = {way[-1] for way in ways.values()} - members
    if not scenario.alive or not members or not others:
        return None
    rng = random.Random(scenario.seed)
    loads = {section.index: section.load_a for section in scenario.system.plant.sections}
    shared = []
    for element in feeder.shared:
        carried = sum(loads[section] for section, way in ways.items() if way[-1] in element.heads)
        shared.append(replace(element, rating_a=carried + rng.randint(5, 40)))
    switches = tuple(replace(switch, rating_a=1000.0) for switch in feeder.switches)
    return _other_network(scenario, switches=switches, shared=tuple(shared))


def crowded(scenario: Scenario) -> Scenario | None:
    """Alive, with faults at once on two feeders; one head could take either of what they cut off, and some of both."""
    rng = random.Random(scenario.seed)
    cases = [(one, other, way[-1]) for one, other, way in _side_by_side(scenario)]
    if not scenario.alive or not cases:
        return None
    one, other, head = rng.choice(cases)
    room = max(_load(scenario, dark.sections) for dark in (one, other)) + rng.randint(10, 40)
    network = tuple(o for o in scenario.occurrences if isinstance(o.action, Network))
    faults = (Occurrence(_FAULT_S, Fault(dark.fault)) for dark in (one, other))
    return replace(_with_room(scenario, {head: room}), occurrences=(*network, *faults))


def unheard(scenario: Scenario) -> Scenario | None:
    """Two faults in turn; what they cut off gets supply through one switch, which is not heard meanwhile."""
    rng = random.Random(scenario.seed)
    cases = [(one, other, n) for one, other, way in _side_by_side(scenario) for n in way[:-1]]
    if not cases:
        return None
    one, other, between = rng.choice(cases)
    room = max(_load(scenario, dark.sections) for dark in (one, other)) + 4
    deaf = tuple((between, number) for number in sorted(scenario.system.agents) if number != between)
    return _instead(
        _with_room(scenario, {between: room}),
        Occurrence(_FAULT_S, Fault(one.fault)),
        Occurrence(0.0, Network(QUIET, deaf=deaf), "close ordered"),
        Occurrence(0.0, Fault(other.fault), "closed"),
        Occurrence(2.0, Network(QUIET), "closed"),
    )


def lying(scenario: Scenario) -> Scenario | None:
    """Alive, but that the directions of every second switch are not to be trusted."""
    if not scenario.alive:
        return None
    switches = sorted(scenario.system.agents)
    some = frozenset(random.Random(scenario.seed).sample(switches, (len(switches) + 1) // 2))
    return replace(_added(scenario, ()), plant=replace(scenario.plant, untrusted_direction=some), alive=True)


class _Dark(NamedTuple):
    """What a fault cuts off: the section that is faulted, who claims, what stays dark, and the ties it has."""

    fault: int
    claimant: Bound
    sections: frozenset[int]
    ties: frozenset[Bound]


def _cut_off(scenario: Scenario) -> list[_Dark]:
    """What faults in each of the sections cut off from their sources, where ties could feed it that a fault leaves."""
    feeder = scenario.system.feeder
    found = []
    for section, way in _ways(scenario).items():
        for bound in feeder.peers(way[0], section):
            if not feeder.by_number[bound.switch].normally_closed:
                continue
            claimant = Bound(bound.switch, 1 - bound.side)
            island = feeder.island(feeder.section(claimant), partial(_closed, feeder, besides=bound.switch))
            ties = frozenset(
                tie
                for tie in island.boundary
                if tie != claimant and (its := _way(scenario, tie)) and not {way[0], bound.switch} & set(its)
            )
            found.append(_Dark(section, claimant, island.sections, ties))
    return [dark for dark in found if dark.ties]


def _side_by_side(scenario: Scenario) -> list[tuple[_Dark, _Dark, list[int]]]:
    """Pairs of what faults on two feeders cut off, and the way that supplies of both have in common."""
    ways = _ways(scenario)
    return [
        (one, other, common)
        for one, other in permutations(_cut_off(scenario), 2)
        if ways[one.fault][-1] != ways[other.fault][-1]
        for tie, its in product(sorted(one.ties), sorted(other.ties))
        if (common := [n for n in _way(scenario, tie) if n in _way(scenario, its)])
        and common[-1] not in (ways[one.fault][-1], ways[other.fault][-1])
    ]


def _way(scenario: Scenario, tie: Bound) -> list[int]:
    """Switches from the other side of a tie to its source in the normal state, the head last."""
    feeder = scenario.system.feeder
    return feeder.path_to_source(feeder.by_number[tie.switch].sides[1 - tie.side], partial(_closed, feeder)) or []


def _closed(feeder: Feeder, number: int, besides: int = 0) -> bool:
    return number != besides and feeder.by_number[number].normally_closed


def _load(scenario: Scenario, sections: Iterable[int]) -> float:
    loads = {section.index: section.load_a for section in scenario.system.plant.sections}
    return sum(loads[section] for section in sections)


def _with_room(scenario: Scenario, room: Mapping[int, float]) -> Scenario:
    """Some switches can carry so much more than they do; all others anything."""
    ways = _ways(scenario)

    def rating_a(number: int) -> float:
        return _load(scenario, (s for s, way in ways.items() if number in way)) + room.get(number, 1000.0)

    switches = tuple(replace(s, rating_a=rating_a(s.number)) for s in scenario.system.feeder.switches)
    return _other_network(scenario, switches=switches)


def parted(scenario: Scenario) -> Scenario | None:
    """A tie is granted an island and hears of nothing more; a person opens a switch inside, a second tie is granted."""
    feeder = scenario.system.feeder
    cases = []
    for dark in _cut_off(scenario):
        for one, other in permutations(sorted(dark.ties), 2):
            ways = _way(scenario, one), _way(scenario, other)
            way = _between(feeder, feeder.section(one), feeder.section(other), dark.sections)
            if ways[0][-1] != ways[1][-1]:
                cases += [(dark, one, other, inner) for inner in way]
    if not cases:
        return None
    dark, one, other, inner = random.Random(scenario.seed).choice(cases)
    beyond = feeder.island(feeder.section(Bound(*inner)), partial(_closed, feeder, besides=inner.switch)).sections
    room = dict.fromkeys((tie.switch for tie in dark.ties), 0.0)
    room |= {other.switch: _load(scenario, beyond) + 5, one.switch: 1000.0}
    head = _way(scenario, other)[-1]
    around = {b.switch for section in dark.sections for b in feeder.around[section]} - {dark.claimant.switch}
    everybody = sorted(scenario.system.agents)
    unheard = ((head, other.switch),)
    return _instead(
        _with_room(scenario, room),
        Occurrence(_FAULT_S, Fault(dark.fault)),
        Occurrence(0.0, Network(QUIET, deaf=(*unheard, *((n, one.switch) for n in everybody))), "capacity requested"),
        Occurrence(0.02, ByHand(inner.switch, "open"), "capacity requested"),
        Occurrence(0.6, Fallback(*inner, 2), "capacity requested"),
        Occurrence(
            0.8, Network(QUIET, deaf=(*unheard, *((n, one.switch) for n in sorted(around)))), "capacity requested"
        ),
    )


def _between(feeder: Feeder, start: int, end: int, sections: Collection[int]) -> list[Bound]:
    """Closed switches on the way between two sections of an island, each with its side towards the second."""
    way: dict[int, list[Bound]] = {start: []}
    new = [start]
    for section in new:
        for bound in feeder.around[section]:
            beyond = feeder.by_number[bound.switch].sides[1 - bound.side]
            if beyond in sections and beyond not in way and _closed(feeder, bound.switch):
                way[beyond] = [*way[section], Bound(bound.switch, 1 - bound.side)]
                new.append(beyond)
    return way[end]


def overruled(scenario: Scenario) -> Scenario | None:
    """With more authority an island is split that no tie can take as a whole; then the supply of one is faulted."""
    feeder = scenario.system.feeder
    cases = [
        (dark, feeder.by_number[tie.switch].sides[1 - tie.side])
        for dark in _cut_off(scenario)
        for tie in sorted(dark.ties)
        if len(dark.ties) > 1 and len(dark.sections) > 1
    ]
    cases = [(dark, beyond) for dark, beyond in cases if not feeder.is_source(beyond)]
    if not cases:
        return None
    dark, beyond = random.Random(scenario.seed).choice(cases)
    room = 0.9 * _load(scenario, dark.sections)
    return _instead(
        _with_room(scenario, {tie.switch: room for tie in dark.ties}),
        Occurrence(_FAULT_S, Fault(dark.fault)),
        Occurrence(0.0, Fallback(*dark.claimant, 2), "claimed"),
        Occurrence(1.0, Fault(beyond), "opens to split the island"),
    )


def transferred(scenario: Scenario) -> Scenario | None:
    """Alive; feeders lose their supply for good, then their heads are started anew, and the supply comes back."""
    poor = scarce(scenario)
    ways = _ways(scenario)
    if poor is None:
        return None
    rng = random.Random(scenario.seed)
    heads = sorted({way[-1] for way in ways.values()})
    source = rng.choice([section.index for section in poor.system.feeder.sections if section.is_source])
    switches = tuple(replace(s, transfer_after_s=0.5) if s.number in heads else s for s in poor.system.feeder.switches)
    lost = Occurrence(_FAULT_S, Supply(source, live=False))
    crashes = [Occurrence(_FAULT_S + 4.0, Crash(head, None, 0.1)) for head in heads]
    back = Occurrence(_FAULT_S + 6.0, Supply(source, live=True))
    happening = _instead(_other_network(poor, switches=switches), lost, *crashes, back)
    return replace(happening, alive=True)


def _other_network(scenario: Scenario, **changes: Any) -> Scenario:
    """The same with other settings of the network, as the agents and the judge have them."""
    system = scenario.system
    feeder = replace(system.feeder, **changes)
    agents = {n: replace(known, config=replace(known.config, feeder=feeder)) for n, known in system.agents.items()}
    return replace(scenario, system=replace(system, feeder=feeder, agents=agents))


def _ways(scenario: Scenario) -> dict[int, list[int]]:
    """By section that a source feeds in the normal state the switches on the way there, the head last."""
    feeder = scenario.system.feeder
    found = {}
    for section in feeder.sections:
        way = feeder.path_to_source(section.index, partial(_closed, feeder))
        if way:
            found[section.index] = way
    return found


def _instead(scenario: Scenario, *occurrences: Occurrence) -> Scenario:
    """Something else happens; only safety is judged then."""
    return replace(scenario, occurrences=occurrences, disturbance=QUIET, alive=False)


def _added(scenario: Scenario, occurrences: Iterable[Occurrence], later_s: float = 0.0) -> Scenario:
    """Something more happens, and the rest ``later_s`` later; only safety is judged then."""
    later = (o if o.after else replace(o, at=o.at + later_s) for o in scenario.occurrences)
    return replace(scenario, occurrences=(*occurrences, *later), alive=False)


CRASHING: Final = with_too(
    *(Occurrence(0.0, Crash(0, None, 0.3), step) for step in ("promised", "reserved", "granted", "close ordered"))
)
"""Whoever takes the next step of a restoration ends, and comes back."""
