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
        generation_a = float(draw(st.integers(0, 60)))
        sections.append(
            PlantSection(
                index,
                f"section{index}",
                load_a=float(draw(st.integers(0, 50))),
                generation_a=generation_a,
                infeed=generation_a > 0 and draw(st.booleans()),
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
def test_radial_flows_are_what_definition_and_balance_say(case, data):
    network, closed = case
    sources = data.draw(st.sets(st.sampled_from([each.index for each in network.sections if each.is_source])))
    faults = data.draw(st.sets(st.sampled_from([each.index for each in network.sections]), max_size=2))
    running = {each.index for each in network.sections if each.generation_a and data.draw(st.booleans())}
    infeeds = {each.index for each in network.sections if each.infeed} & running
    flow = FlowSolver(network).solve(closed, sources, faults, running)

    assert flow.source == {section: source for source in sources for section in sorted(reach(network, closed, source))}
    islands = {section for infeed in infeeds for section in reach(network, closed, infeed)} - flow.source.keys()
    assert flow.island == {section: min(reach(network, closed, section) & infeeds) for section in islands}
    assert not flow.paralleled
    energised = flow.source.keys() | islands
    assert energised == {each.index for each in network.sections if flow.under_voltage(each.index)}
    assert flow.fed == faults & energised
    # Who holds an island takes up the balance; all others feed in what they have.
    assert flow.generation_a.keys() == running & energised
    holding = set(flow.island.values())
    assert all(
        flow.generation_a[each.index] == each.generation_a
        for each in network.sections
        if each.index in running & energised - holding
    )

    # What flows into a section is what it draws: in a forest this fixes every current, once the sources are free.
    assert flow.load_a.keys() == closed
    for section in network.sections:
        inflow = sum(
            flow.load_a[each.number] * (1 if each.sides[1] == section.index else -1)
            for each in network.switches
            if each.number in closed and section.index in each.sides
        )
        if section.index not in energised:
            assert inflow == 0
        elif section.index not in flow.source.values():
            assert inflow == section.load_a - flow.generation_a.get(section.index, 0)
    for each in network.switches:
        if each.number in closed and not energised & set(each.sides):
            assert flow.load_a[each.number] == 0

    fault = {}
    for each in network.switches:
        if each.number in closed:
            at_a, at_b = (reach(network, closed - {each.number}, side) for side in each.sides)
            forward = bool((sources | infeeds) & at_a and faults & at_b)
            backward = bool((sources | infeeds) & at_b and faults & at_a)
            if forward or backward:
                fault[each.number] = Direction(forward + 2 * backward)
    assert flow.fault == fault


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
