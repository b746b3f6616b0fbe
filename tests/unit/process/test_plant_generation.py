"""Local generation of the simulated plant: what it feeds, how long it runs, and what becomes of its islands."""

import random

import pytest

from ied_agents.process.inputs import Direction, SwitchCommand, Voltage
from ied_agents.process.plant import Plant, PlantSettings
from ied_agents.process.plant_events import (
    FaultCleared,
    FaultCurrentStarted,
    FaultCurrentStopped,
    GenerationStopped,
    IslandParalleled,
    SectionDeenergised,
    SectionEnergised,
    SectionIslanded,
    SourcesParalleled,
)
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch

# source 0 -[1]- 10 A -[2]- 20 A, machine of 8 A -[3]- 4 A, inverter of 6 A -(4 open)- source 4
BREAKER, MIDDLE, FAR, TIE = 1, 2, 3, 4
NEAR_SECTION, MACHINE, INVERTER = 1, 2, 3
NETWORK = PlantNetwork(
    sections=(
        PlantSection(0, "left", is_source=True),
        PlantSection(NEAR_SECTION, "near", load_a=10.0),
        PlantSection(MACHINE, "machine", load_a=20.0, generation_a=8.0, infeed=True),
        PlantSection(INVERTER, "inverter", load_a=4.0, generation_a=6.0),
        PlantSection(4, "right", is_source=True),
    ),
    switches=(
        PlantSwitch(BREAKER, "Q1", (0, NEAR_SECTION), "breaker", True, 20000.0, 0.05, 0.06),
        PlantSwitch(MIDDLE, "Q2", (NEAR_SECTION, MACHINE), "load_break", True, 630.0, 0.1, 0.1),
        PlantSwitch(FAR, "Q3", (MACHINE, INVERTER), "load_break", True, 630.0, 0.1, 0.1),
        PlantSwitch(TIE, "Q4", (4, INVERTER), "load_break", False, 630.0, 0.1, 0.1),
    ),
)
# machine 1 -[1]- 2 -[2]- 3 machine -(3)- source 0
PAIR = PlantNetwork(
    sections=(
        PlantSection(0, "source", is_source=True, load_a=3.0, generation_a=3.0, infeed=True),
        PlantSection(1, "one", generation_a=5.0, infeed=True),
        PlantSection(2, "between", load_a=7.0),
        PlantSection(3, "other", generation_a=5.0, infeed=True),
    ),
    switches=(
        PlantSwitch(1, "Q1", (1, 2), "breaker", True, 20000.0, 0.05, 0.05),
        PlantSwitch(2, "Q2", (2, 3), "breaker", True, 20000.0, 0.05, 0.05),
        PlantSwitch(3, "Q3", (3, 0), "breaker", True, 20000.0, 0.05, 0.05),
    ),
)
WITH_SUPPLY = {BREAKER: 20.0, MIDDLE: 10.0, FAR: -2.0}
FORWARD, BACKWARD = Direction.FORWARD, Direction.BACKWARD


def make_plant(network=NETWORK, **settings):
    """A plant at second 1 whose snapshots and events of the start are gone."""
    plant = Plant(network, PlantSettings(refresh_s=1e6, pickup_spread_s=0.0, **settings), random.Random(1), 1.0)
    plant.handle_timer(1.0)
    plant.events()
    return plant


def order(plant, switch, operation, now):
    plant.command(SwitchCommand(switch, operation, 1), now)


def of(kind, events):
    return [event for event in events if type(event) is kind]


def told(kind, events):
    """Time and section of each event of a kind."""
    return [(pytest.approx(event.time_s), event.section) for event in of(kind, events)]


def test_generation_offsets_load_and_is_told_side_by_side():
    plant = make_plant()
    assert plant.load_flow() == WITH_SUPPLY
    assert plant.flow().generation_a == {MACHINE: 8.0, INVERTER: 6.0}
    generation = {number: plant.snapshot(number, 1.0).generation_a for number in (BREAKER, MIDDLE, FAR, TIE)}
    assert generation == {BREAKER: (0.0, 0.0), MIDDLE: (0.0, 8.0), FAR: (8.0, 6.0), TIE: (0.0, 6.0)}


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (0, {BREAKER: BACKWARD, MIDDLE: BACKWARD}),
        (NEAR_SECTION, {BREAKER: FORWARD, MIDDLE: BACKWARD}),
        (MACHINE, {BREAKER: FORWARD, MIDDLE: FORWARD}),
        (INVERTER, {BREAKER: FORWARD, MIDDLE: FORWARD, FAR: FORWARD}),
    ],
)
def test_a_machine_feeds_the_fault_too_and_switches_see_which_way(section, fault):
    plant = make_plant()
    plant.inject_fault(section, 2.0)
    shown = {each.switch: each for each in plant.handle_timer(2.0)}
    assert plant.flow().fault == fault
    assert {number: each.direction for number, each in shown.items() if each.pickup} == fault
    assert shown[MIDDLE].current_a == 4010.0


def test_without_time_to_run_on_generation_stops_with_the_loss_of_supply_and_stays_stopped():
    plant = make_plant()
    order(plant, BREAKER, "open", 2.0)
    shown = {each.switch: each for each in plant.handle_timer(2.1)}
    events = plant.events()
    assert told(GenerationStopped, events) == [(2.05, MACHINE), (2.05, INVERTER)]
    assert told(SectionDeenergised, events) == [(2.05, NEAR_SECTION), (2.05, MACHINE), (2.05, INVERTER)]
    assert not of(SectionIslanded, events)
    assert shown[FAR].generation_a == (0.0, 0.0)
    assert shown[FAR].voltage == (Voltage.ABSENT, Voltage.ABSENT)
    order(plant, BREAKER, "close", 3.0)
    plant.handle_timer(4.0)
    assert plant.load_flow() == {BREAKER: 34.0, MIDDLE: 24.0, FAR: 4.0}
    assert not of(IslandParalleled, plant.events())


def test_generation_in_a_section_without_supply_at_the_start_does_not_run():
    opened = PlantSwitch(3, "Q3", (3, 0), "breaker", False, 20000.0, 0.05, 0.05)
    plant = make_plant(PlantNetwork(PAIR.sections, (*PAIR.switches[:2], opened)), generation_trip_s=5.0)
    assert plant.energised() == {0: 0}
    assert plant.flow().generation_a == {0: 3.0}


def test_a_machine_holds_its_island_until_it_trips():
    plant = make_plant(generation_trip_s=0.5)
    order(plant, BREAKER, "open", 2.0)
    shown = {each.switch: each for each in plant.handle_timer(2.5)}
    events = plant.events()
    assert of(GenerationStopped, events) == of(SectionDeenergised, events) == []
    assert told(SectionIslanded, events) == [(2.05, NEAR_SECTION), (2.05, MACHINE), (2.05, INVERTER)]
    assert {event.generation for event in of(SectionIslanded, events)} == {MACHINE}
    assert plant.energised() == {0: 0, NEAR_SECTION: MACHINE, MACHINE: MACHINE, INVERTER: MACHINE, 4: 4}
    # The machine takes up the balance: 10 A go back to the near section, 2 A come from the inverter.
    assert plant.load_flow() == {MIDDLE: -10.0, FAR: -2.0}
    assert shown[BREAKER].voltage == (Voltage.PRESENT, Voltage.PRESENT)

    dead = {each.switch: each for each in plant.handle_timer(2.55)}
    assert told(GenerationStopped, plant.events()) == [(2.55, MACHINE), (2.55, INVERTER)]
    assert plant.energised() == {0: 0, 4: 4}
    assert dead[BREAKER].voltage == (Voltage.PRESENT, Voltage.ABSENT)
    assert dead[MIDDLE].flow_a == 0.0


def test_an_inverter_alone_holds_nothing_but_rides_through_a_gap():
    plant = make_plant(generation_trip_s=0.5)
    order(plant, FAR, "open", 2.0)
    plant.handle_timer(2.1)
    assert plant.energised() == {0: 0, 1: 0, 2: 0, 4: 4}
    assert plant.snapshot(FAR, 2.1).generation_a == (8.0, 0.0)
    order(plant, FAR, "close", 2.2)
    plant.handle_timer(2.4)
    assert plant.load_flow() == WITH_SUPPLY
    plant.handle_timer(9.0)
    assert not of(GenerationStopped, plant.events())

    order(plant, FAR, "open", 10.0)
    plant.handle_timer(11.0)
    assert told(GenerationStopped, plant.events()) == [(10.6, INVERTER)]
    order(plant, FAR, "close", 12.0)
    plant.handle_timer(13.0)
    assert plant.load_flow() == {BREAKER: 26.0, MIDDLE: 16.0, FAR: 4.0}


@pytest.mark.parametrize(("switch", "onto"), [(BREAKER, 0), (TIE, 4)])
def test_an_island_closed_onto_a_source_is_reported_and_runs_on(switch, onto):
    plant = make_plant(generation_trip_s=0.5)
    order(plant, BREAKER, "open", 2.0)
    plant.handle_timer(2.1)
    order(plant, switch, "close", 2.2)
    plant.handle_timer(5.0)
    (paralleled,) = of(IslandParalleled, events := plant.events())
    assert (paralleled.generation, paralleled.onto) == (MACHINE, onto)
    assert paralleled.time_s == pytest.approx(2.26 if switch == BREAKER else 2.3)
    assert not of(GenerationStopped, events)
    assert not of(SourcesParalleled, events)
    assert plant.load_flow()[switch] == 20.0


def test_a_dead_section_closed_onto_an_island_is_no_paralleling():
    plant = make_plant(generation_trip_s=5.0)
    order(plant, FAR, "open", 2.0)
    order(plant, BREAKER, "open", 2.0)
    plant.handle_timer(2.1)
    plant.events()
    order(plant, FAR, "close", 3.0)
    plant.handle_timer(3.1)
    events = plant.events()
    assert told(SectionIslanded, events) == [(3.1, INVERTER)]
    assert not of(IslandParalleled, events)


def test_a_machine_feeds_the_fault_in_its_island_and_a_transient_one_burns_on():
    plant = make_plant(generation_trip_s=0.5)
    plant.inject_fault(NEAR_SECTION, 2.0, clears_after_dead_s=0.2)
    order(plant, BREAKER, "open", 2.0)
    plant.handle_timer(2.1)
    assert plant.flow().fault == {MIDDLE: BACKWARD}
    assert not plant.snapshot(BREAKER, 2.1).pickup
    assert plant.snapshot(MIDDLE, 2.1).pickup
    plant.handle_timer(2.749)
    assert plant.faults() == {NEAR_SECTION}
    plant.handle_timer(4.0)
    events = plant.events()
    assert told(FaultCurrentStarted, events) == [(2.0, NEAR_SECTION)]
    assert told(FaultCurrentStopped, events) == [(2.55, NEAR_SECTION)]
    assert told(FaultCleared, events) == [(2.75, NEAR_SECTION)]


def test_two_islands_closed_onto_each_other_are_reported():
    plant = make_plant(PAIR, generation_trip_s=5.0)
    order(plant, 3, "open", 2.0)
    order(plant, 1, "open", 2.2)
    plant.handle_timer(2.5)
    assert plant.flow().island == {1: 1, 2: 3, 3: 3}
    assert not of(IslandParalleled, plant.events())
    order(plant, 1, "close", 3.0)
    plant.handle_timer(3.1)
    assert [(event.generation, event.onto) for event in of(IslandParalleled, plant.events())] == [(3, 1)]


def test_when_one_of_two_machines_trips_the_other_takes_over_without_a_report():
    plant = make_plant(PAIR, generation_trip_s=1.0)
    order(plant, 1, "open", 2.0)
    plant.handle_timer(2.5)
    order(plant, 3, "open", 2.6)
    plant.handle_timer(2.7)
    order(plant, 1, "close", 2.8)
    plant.handle_timer(2.9)
    assert len(of(IslandParalleled, plant.events())) == 1
    plant.handle_timer(3.6)
    events = plant.events()
    assert told(GenerationStopped, events) == [(3.05, 1)]
    assert [(event.section, event.generation) for event in of(SectionIslanded, events)] == [(1, 3), (2, 3), (3, 3)]
    assert not of(IslandParalleled, events)
    plant.handle_timer(3.7)
    assert told(SectionDeenergised, plant.events()) == [(3.65, 1), (3.65, 2), (3.65, 3)]


def test_a_source_that_returns_to_an_island_held_at_its_own_busbar_is_reported():
    plant = make_plant(PAIR, generation_trip_s=5.0)
    plant.set_source(0, False, 2.0)
    assert plant.energised() == {0: 0, 1: 0, 2: 0, 3: 0}
    assert plant.flow().source == {}
    plant.set_source(0, True, 3.0)
    events = plant.events()
    assert [(event.time_s, event.generation, event.onto) for event in of(IslandParalleled, events)] == [(3.0, 0, 0)]
    assert told(SectionEnergised, events) == [(3.0, section) for section in (0, 1, 2, 3)]
