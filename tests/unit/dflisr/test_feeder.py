"""The network as graph: against a brute force that knows no queue, on random networks with loops and ties."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch
from ied_agents.dflisr.records import Bound


def make(sides, sources, sections):
    return Feeder(
        tuple(
            FeederSwitch(number, f"SW{number}", "IED", True, pair, True, 1.0, 1.0, 0.1, 0.1)
            for number, pair in sides.items()
        ),
        tuple(FeederSection(index, f"S{index}", index in sources) for index in range(sections)),
    )


@st.composite
def networks(draw):
    """Any graph: loops, parallel switches, switches with both sides in one section, several sources."""
    sections = draw(st.integers(1, 7))
    index = st.integers(0, sections - 1)
    pairs = draw(st.lists(st.tuples(index, index), max_size=9))
    sides = {3 * n + 1: pair for n, pair in enumerate(pairs)}
    sources = draw(st.sets(index, max_size=2))
    closed = draw(st.sets(st.sampled_from(sorted(sides)))) if sides else set()
    return make(sides, sources, sections), sides, sources, closed, draw(index)


def reachable(start, sides, closed):
    """Brute force: join sections until nothing is left to join."""
    joined = {start}
    while True:
        more = {
            section
            for number in closed
            for section in sides[number]
            if joined & set(sides[number]) and section not in joined
        }
        if not more:
            return joined
        joined |= more


def simple_paths(start, goals, sides, closed):
    """All ways from ``start`` to a goal that use no section twice."""
    ways = []

    def walk(section, visited, way):
        if section in goals:
            ways.append(way)
            return
        for number in sorted(closed):
            for here, there in (sides[number], sides[number][::-1]):
                if here == section and there not in visited:
                    walk(there, visited | {there}, [*way, number])

    walk(start, {start}, [])
    return ways


@given(networks())
def test_an_island_is_what_a_brute_force_joins(drawn):
    feeder, sides, _, closed, start = drawn
    island = feeder.island(start, lambda n: n in closed)
    expected = reachable(start, sides, closed)
    assert island.sections == expected
    assert island.inner == {n for n in closed if expected & set(sides[n])}
    boundary = [(n, side) for n, pair in sides.items() for side in (0, 1) if n not in closed and pair[side] in expected]
    assert sorted(island.boundary) == boundary
    assert all(isinstance(bound, Bound) for bound in island.boundary)


@given(networks())
def test_a_path_is_one_of_the_shortest_ways_to_a_source(drawn):
    feeder, sides, sources, closed, start = drawn
    path = feeder.path_to_source(start, lambda n: n in closed)
    ways = simple_paths(start, sources, sides, closed)
    if not ways:
        assert path is None
    else:
        assert path in ways
        assert len(path) == min(map(len, ways))


@given(networks())
def test_sources_and_peers_are_as_drawn(drawn):
    feeder, sides, sources, _, _ = drawn
    for section in range(len(feeder.sections)):
        assert feeder.is_source(section) == (section in sources)
        around = [(n, side) for n, pair in sides.items() for side in (0, 1) if pair[side] == section]
        assert list(feeder.around[section]) == around
        for number in sides:
            assert feeder.peers(number, section) == [bound for bound in around if bound[0] != number]
    assert feeder.has_source(range(len(feeder.sections))) == bool(sources)
    assert not feeder.has_source(())


def test_a_switch_with_both_sides_in_a_section_bounds_it_twice_while_open():
    feeder = make({1: (0, 1), 2: (1, 1)}, {0}, 2)
    assert feeder.island(1, lambda _: False).boundary == (Bound(1, 1), Bound(2, 0), Bound(2, 1))
    assert feeder.peers(2, 1) == [Bound(1, 1)]


def test_a_source_section_has_the_empty_path():
    feeder = make({1: (0, 1)}, {0}, 2)
    assert feeder.path_to_source(0, lambda _: True) == []
    assert feeder.path_to_source(1, lambda _: True) == [1]
    assert feeder.path_to_source(1, lambda _: False) is None


def test_numbers_that_repeat_are_refused():
    switch = make({1: (0, 1)}, {0}, 2).switches[0]
    with pytest.raises(ValueError, match="repeat"):
        Feeder((switch, switch), (FeederSection(0, "a", True), FeederSection(1, "b", False)))


def test_a_section_that_is_not_there_is_refused_by_name_of_the_switch():
    with pytest.raises(ValueError, match="switch SW1: section 5 is not there"):
        make({1: (0, 5)}, {0}, 2)
