"""Random feeder systems: varied, radial, within what agents can handle, and never overloaded as they stand."""

from __future__ import annotations

import random

import pytest

from scl.agent_model import ANSWERS
from tools.campaign.feeders import MOST_SWITCHES, random_size, random_system


def systems(count=300):
    for seed in range(count):
        rng = random.Random(seed)
        yield random_system(rng, random_size(rng))


def test_sizes_reach_from_3_to_60_and_a_fifth_is_over_30():
    rng = random.Random(1)
    sizes = [random_size(rng) for _ in range(50_000)]
    assert min(sizes) == 3
    assert max(sizes) == MOST_SWITCHES == 60
    assert sum(size > 30 for size in sizes) > 0.2 * len(sizes)


@pytest.mark.parametrize("size", [3, 4, 7, 30, 31, 60])
def test_a_system_has_the_size_it_was_asked_for(size):
    for seed in range(20):
        assert len(random_system(random.Random(seed), size).agents) == size


def test_every_section_has_exactly_one_way_to_a_source():
    for system in systems():
        sources = {s.index for s in system.plant.sections if s.is_source}
        reached = set(sources)
        closed = [s.sides for s in system.plant.switches if s.closed]
        used = 0
        while fresh := [(a, b) for a, b in closed if (a in reached) != (b in reached)]:
            assert len(fresh) == len({tuple(sorted(ends)) for ends in fresh})
            reached |= {end for ends in fresh for end in ends}
            used += len(fresh)
        assert len(reached) == len(system.plant.sections)
        assert used == len(closed), "a closed switch between two live sections would be a loop"


def test_no_section_has_more_switches_than_agents_can_answer():
    for system in systems():
        for section in system.feeder.sections:
            if not section.is_source:
                assert len(system.feeder.around[section.index]) <= ANSWERS + 1


def test_nothing_is_overloaded_as_it_stands_with_or_without_generation():
    for system in systems():
        by_index = {s.index: s for s in system.plant.sections}
        below = {s.index: [] for s in system.plant.sections}
        order = [s.index for s in system.plant.sections if s.is_source]
        came = {}
        for section in order:
            for switch in system.feeder.switches:
                if switch.normally_closed and section in switch.sides and came.get(section) != switch.number:
                    beyond = switch.sides[1 - switch.sides.index(section)]
                    came[beyond] = switch.number
                    below[section].append((switch, beyond))
                    order.append(beyond)
        load, net = {}, {}
        carried = {}
        for section in reversed(order):
            load[section] = by_index[section].load_a + sum(load[b] for _, b in below[section])
            generation = by_index[section].generation_a
            net[section] = by_index[section].load_a - generation + sum(net[b] for _, b in below[section])
            for switch, beyond in below[section]:
                carried[switch.number] = load[beyond]
                assert switch.rating_a > load[beyond]
                assert switch.rating_a > abs(net[beyond])
                assert switch.breaking_a > switch.rating_a
        for element in system.feeder.shared:
            assert element.rating_a > sum(carried[head] for head in element.heads)


def test_breakers_grade_their_delays_towards_the_source():
    for system in systems(100):
        for switch in system.feeder.switches:
            if not switch.breaker:
                assert switch.trip_delay_s == 0
                continue
            for section in switch.sides:
                for bound in system.feeder.around[section]:
                    other = system.feeder.by_number[bound.switch]
                    downstream = (
                        other.normally_closed and switch.normally_closed and max(other.sides) > max(switch.sides)
                    )
                    if other.breaker and downstream and max(switch.sides) in other.sides:
                        assert other.trip_delay_s < switch.trip_delay_s


def fed_from(system):
    """By section the source that feeds it normally, and the head on the way."""
    found = {s.index: (s.index, 0) for s in system.plant.sections if s.is_source}
    grown = True
    while grown:
        grown = False
        for switch in system.plant.switches:
            a, b = switch.sides
            if switch.closed and (a in found) != (b in found):
                known, new = (a, b) if a in found else (b, a)
                source, head = found[known]
                found[new] = (source, head or switch.number)
                grown = True
    return found


def test_the_systems_are_of_all_kinds():
    seen = set()
    for system in systems():
        fed = fed_from(system)
        for switch in system.feeder.switches:
            (one, head), (other, other_head) = (fed[section] for section in switch.sides)
            if not switch.normally_closed:
                seen.add("tie" if one != other else "same busbar" if head != other_head else "ring")
                seen.add("open switch at a busbar" if 0 in (head, other_head) else "open point")
            seen.add(("breaker" if switch.breaker else "load-break", switch.normally_closed))
            seen.update(name for name in ("shots", "transfer_after_s", "paralleling") if getattr(switch, name))
            if switch.sides[0] > switch.sides[1] and switch.normally_closed:
                seen.add("side A beyond side B")
        for section in system.plant.sections:
            seen.add("generation" if section.generation_a else "no generation")
            seen.add("infeed" if section.infeed else "no infeed")
        seen.add("shared" if system.feeder.shared else "not shared")
        seen.add(f"{min(4, sum(s.is_source for s in system.plant.sections))} sources")
        seen.update(f"priority {section.priority}" for section in system.feeder.sections)
    assert seen >= {
        *("tie", "same busbar", "ring", "open switch at a busbar", "generation", "infeed", "shared", "not shared"),
        *("shots", "transfer_after_s", "paralleling", "priority 0", "priority 3", "side A beyond side B"),
        *("1 sources", "2 sources", "4 sources"),
        *((kind, closed) for kind in ("breaker", "load-break") for closed in (True, False)),
    }


def test_often_no_single_tie_can_take_everything():
    tight = 0
    for system in systems():
        fed = fed_from(system)
        load = {}
        for section in system.plant.sections:
            head = fed[section.index][1]
            load[head] = load.get(head, 0.0) + section.load_a
        for head in (s for s in system.feeder.switches if s.number in load):
            ties = [
                s.rating_a
                for s in system.feeder.switches
                if not s.normally_closed
                and {fed[section][1] for section in s.sides} - {head.number}
                and any(fed[section][1] == head.number for section in s.sides)
            ]
            tight += bool(ties) and max(ties) < load[head.number]
    assert tight > 60


def is_whole(system):
    """Whether plant, feeder and agents speak of the same switches and sections."""
    numbers = set(system.agents)
    assert {s.number for s in system.plant.switches} == {s.number for s in system.feeder.switches} == numbers
    assert [s.sides for s in system.plant.switches] == [s.sides for s in system.feeder.switches]
    assert {s.index for s in system.plant.sections} == {s.index for s in system.feeder.sections}
    for settings in system.agents.values():
        assert settings.config.feeder is system.feeder
        assert settings.config.subscribed == settings.peers.keys() <= numbers
    for element in system.feeder.shared:
        assert element.owner in element.heads
        assert numbers >= set(element.heads)
    return True


def test_what_is_left_without_a_section_is_a_system_of_its_own():
    for system in systems(30):
        section = next(s.index for s in system.plant.sections if not s.is_source)
        left = system.without(sections={section})
        assert set(left.agents) == set(system.agents) - {bound.switch for bound in system.feeder.around[section]}
        assert is_whole(left)
        left = system.without(switches={1})
        assert set(left.agents) == set(system.agents) - {1}
        assert is_whole(left)


def test_two_sections_become_one_with_the_loads_of_both():
    system = random_system(random.Random(3), 20)
    by_index = {s.index: s for s in system.plant.sections}
    switch = next(s for s in system.plant.switches if not any(by_index[side].is_source for side in s.sides))
    gone, kept = switch.sides
    left = system.without(merged={gone: kept})
    assert is_whole(left)
    between = {s.number for s in system.plant.switches if set(s.sides) == {gone, kept}}
    assert set(left.agents) == set(system.agents) - between
    assert gone not in {s.index for s in left.plant.sections}
    loads = {s.index: s.load_a for s in left.plant.sections}
    assert loads[kept] == by_index[gone].load_a + by_index[kept].load_a
    assert sum(loads.values()) == sum(s.load_a for s in system.plant.sections)


def test_agents_hear_their_own_feeder_and_those_across_its_ties_only():
    system = random_system(random.Random(5), 60)
    assert all(number not in settings.peers for number, settings in system.agents.items())
    heard = [len(settings.peers) for settings in system.agents.values()]
    assert max(heard) < 59
    for section in system.feeder.sections:
        if not section.is_source:
            around = {bound.switch for bound in system.feeder.around[section.index]}
            assert all(around - {number} <= system.agents[number].peers.keys() for number in around)
