"""Flows of the simulated plant, against definitions that know nothing of its search order."""

from hypothesis import given
from hypothesis import strategies as st

from ied_agents.process.inputs import Direction
from ied_agents.process.plant_flow import FlowSolver
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch


def switch(number, side_a, side_b):
    return PlantSwitch(number, f"S{number}", (side_a, side_b), "load_break", True, 630.0, 0.05, 0.05)


@st.composite
def radial_networks(draw):
    """A forest with one source at the root of each tree, and ties between anything."""
    sources = draw(st.integers(1, 3))
    sections = [PlantSection(index, f"source{index}", is_source=True) for index in range(sources)]
    switches = []
    root = {index: index for index in range(sources)}
    for index in range(sources, sources + draw(st.integers(0, 12))):
        above = draw(st.integers(0, index - 1))
        root[index] = root[above]
        sections.append(
            PlantSection(
                index,
                f"section{index}",
                load_a=float(draw(st.integers(0, 50))),
                generation_a=float(draw(st.integers(0, 60))),
            )
        )
        sides = (above, index) if draw(st.booleans()) else (index, above)
        switches.append(switch(len(switches) + 1, *sides))
    closed = {each.number for each in switches if draw(st.integers(0, 9)) > 0}
    if len(sections) > 1:
        for _ in range(draw(st.integers(0, 3))):
            one = draw(st.integers(0, len(sections) - 1))
            other = draw(st.integers(0, len(sections) - 1).filter(lambda index, one=one: index != one))
            switches.append(switch(len(switches) + 1, one, other))
    return PlantNetwork(tuple(sections), tuple(switches)), closed


def reach(network, closed, start):
    """Sections connected with ``start``, by growing the set until it no longer grows."""
    connected = {start}
    while True:
        more = {
            side
            for each in network.switches
            if each.number in closed and connected & set(each.sides)
            for side in each.sides
        }
        if more <= connected:
            return connected
        connected |= more


@given(radial_networks(), st.data())
def test_radial_flows_follow_from_what_a_switch_would_cut_off(case, data):
    network, closed = case
    sources = [section.index for section in network.sections if section.is_source]
    faults = data.draw(st.sets(st.sampled_from([section.index for section in network.sections]), max_size=2))
    flow = FlowSolver(network).solve(closed, sources, faults)

    assert flow.source == {section: source for source in sources for section in sorted(reach(network, closed, source))}
    assert not flow.paralleled
    net = {section.index: section.load_a - section.generation_a for section in network.sections}
    for each in network.switches:
        if each.number not in closed:
            assert each.number not in flow.load_a
            assert each.number not in flow.fault
            continue
        without = closed - {each.number}
        fed = {section for source in sources for section in reach(network, without, source)}
        behind = {side for side in each.sides if side in flow.source and side not in fed}
        cut_off = reach(network, without, behind.pop()) if behind else set()
        sign = 1 if each.sides[1] in cut_off else -1
        assert flow.load_a[each.number] == sign * sum(net[section] for section in cut_off)
        if faults & cut_off:
            assert flow.fault[each.number] is (Direction.FORWARD if sign > 0 else Direction.BACKWARD)
        else:
            assert each.number not in flow.fault


def test_two_connected_sources_are_found_and_both_feed_the_fault():
    network = PlantNetwork(
        (
            PlantSection(0, "left", is_source=True),
            PlantSection(1, "middle"),
            PlantSection(2, "right", is_source=True),
        ),
        (switch(1, 0, 1), switch(2, 1, 2)),
    )
    solver = FlowSolver(network)
    flow = solver.solve({1, 2}, [0, 2], {1})
    assert flow.paralleled == {(0, 2)}
    assert flow.fault == {1: Direction.FORWARD, 2: Direction.BACKWARD}
    # Each source feeds the fault at the other one's end: through both switches, the same way.
    assert solver.solve({1, 2}, [0, 2], {2}).fault == {1: Direction.FORWARD, 2: Direction.FORWARD}
    # With faults at both ends the middle carries current both ways.
    assert solver.solve({1, 2}, [0, 2], {0, 2}).fault == {1: Direction.BOTH, 2: Direction.BOTH}


def test_a_closed_ring_of_one_source_carries_its_current_the_shorter_way():
    sections = (
        PlantSection(0, "source", is_source=True),
        *(PlantSection(n, str(n), load_a=10) for n in (1, 2, 3)),
    )
    network = PlantNetwork(sections, (switch(1, 0, 1), switch(2, 1, 2), switch(3, 0, 3), switch(4, 3, 2)))
    flow = FlowSolver(network).solve({1, 2, 3, 4}, [0], {1})
    assert not flow.paralleled
    assert flow.fault == {1: Direction.FORWARD}
    assert flow.load_a[1] + flow.load_a[3] == 30.0
