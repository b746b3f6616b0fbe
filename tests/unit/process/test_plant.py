"""The simulated plant over time: pickups, operations, faults, and what each switch's agent gets to see."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchCommand, Voltage
from ied_agents.process.plant import Plant, PlantSettings
from ied_agents.process.plant_events import (
    ApparatusChanged,
    CommandNotObeyed,
    FaultAppeared,
    FaultCleared,
    FaultCurrentStarted,
    FaultCurrentStopped,
    OpenedAboveCapability,
    PickedUp,
    PickupReset,
    PositionChanged,
    SectionDeenergised,
    SectionEnergised,
    SourceLost,
    SourceReturned,
    SourcesParalleled,
    event_record,
)
from ied_agents.process.plant_network import PlantNetwork, PlantNetworkError, PlantSection, PlantSwitch

# source 0 -[1]- 10 A -[2]- 20 A -(3 open)- 30 A, 5 A of generation -[4]- source 4
BREAKER_LEFT, LOAD_BREAK, TIE, BREAKER_RIGHT = 1, 2, 3, 4
NETWORK = PlantNetwork(
    sections=(
        PlantSection(0, "left", is_source=True),
        PlantSection(1, "near", load_a=10.0),
        PlantSection(2, "far", load_a=20.0),
        PlantSection(3, "beyond", load_a=30.0, generation_a=5.0),
        PlantSection(4, "right", is_source=True),
    ),
    switches=(
        PlantSwitch(BREAKER_LEFT, "Q1", (0, 1), "breaker", True, 20000.0, 0.05, 0.06),
        PlantSwitch(LOAD_BREAK, "Q2", (1, 2), "load_break", True, 630.0, 0.1, 0.1),
        PlantSwitch(TIE, "Q3", (3, 2), "load_break", False, 630.0, 0.1, 0.1),
        PlantSwitch(BREAKER_RIGHT, "Q4", (4, 3), "breaker", True, 20000.0, 0.05, 0.06),
    ),
)
OFFSET_NS = 1_700_000_000_000_000_000


def make_plant(seed=1, **settings):
    """A plant at second 1 that has sent nothing yet, without refreshes unless told otherwise."""
    settings = {"refresh_s": 1e6} | settings
    return Plant(NETWORK, PlantSettings(**settings), random.Random(seed), 1.0, OFFSET_NS)


def order(plant, switch, operation, now):
    plant.command(SwitchCommand(switch, operation, 1), now)


def of(kind, events):
    return [event for event in events if type(event) is kind]


def test_at_the_start_every_switch_says_what_it_sees():
    plant = make_plant()
    assert plant.next_deadline() == 1.0
    near, _, tie, right = plant.handle_timer(1.0)
    assert (near.switch, near.position, near.flow_a, near.current_a) == (BREAKER_LEFT, Dbpos.ON, 30.0, 30.0)
    assert (near.stamp_ns, near.sequence) == (OFFSET_NS + 1_000_000_000, 1)
    assert (tie.position, tie.flow_a, tie.voltage) == (Dbpos.OFF, 0.0, (Voltage.PRESENT, Voltage.PRESENT))
    assert (right.flow_a, right.generation_a) == (25.0, (0.0, 5.0))
    assert plant.energised() == {0: 0, 1: 0, 2: 0, 3: 4, 4: 4}
    assert len(of(SectionEnergised, plant.events())) == 5


@given(st.integers(0, 2**32), st.floats(0.0001, 0.1))
def test_pickups_come_in_their_order_each_at_its_own_time_and_within_the_spread(seed, spread_s):
    plant = make_plant(seed=seed, pickup_spread_s=spread_s)
    plant.handle_timer(1.0)
    plant.inject_fault(2, 2.0)
    first = plant.next_pickup()
    shown = plant.handle_timer(3.0)
    assert [each.switch for each in shown if each.pickup] == [each.switch for each in shown]
    assert {each.switch for each in shown} == {BREAKER_LEFT, LOAD_BREAK}
    stamps = [each.stamp_ns for each in shown]
    assert stamps == sorted(stamps)
    assert stamps[0] == OFFSET_NS + round(first * 1e9)
    assert all(0 <= stamp - OFFSET_NS - 2_000_000_000 <= spread_s * 1e9 + 1 for stamp in stamps)
    assert {each.direction for each in shown} == {Direction.FORWARD}
    assert {each.current_a for each in shown} == {4030.0, 4020.0}


def test_pickups_spread_over_the_whole_of_their_time():
    delays = []
    for seed in range(200):
        plant = make_plant(seed=seed, pickup_spread_s=0.01)
        plant.inject_fault(2, 2.0)
        delays.append(plant.next_pickup() - 2.0)
    # The earlier of two uniform delays: its mean is a third of the spread, and it is seen at both ends.
    assert 0.0026 < sum(delays) / len(delays) < 0.0040
    assert min(delays) < 0.0005
    assert max(delays) > 0.008


def test_the_same_seed_gives_the_same_run():
    def run():
        plant = make_plant(seed=7)
        plant.inject_fault(2, 2.0)
        return plant.handle_timer(3.0)

    assert run() == run()


def test_a_handful_of_late_calls_give_what_one_exact_call_each_gives():
    def script(plant):
        yield 2.0, lambda: plant.inject_fault(2, 2.0)
        yield 2.004, lambda: order(plant, BREAKER_LEFT, "open", 2.004)
        yield 2.2, lambda: order(plant, LOAD_BREAK, "open", 2.2)
        yield 4.0, lambda: order(plant, TIE, "close", 4.0)

    lazy = make_plant(refresh_s=0.3)
    for _, act in script(lazy):
        act()
    late = lazy.handle_timer(5.0)

    exact = make_plant(refresh_s=0.3)
    prompt = []
    for when, act in [*script(exact), (5.0, lambda: None)]:
        while (due := exact.next_deadline()) is not None and due <= when:
            prompt += exact.handle_timer(due)
        act()
    prompt += exact.handle_timer(5.0)
    assert late == prompt
    assert [event_record(event) for event in lazy.events()] == [event_record(event) for event in exact.events()]


def test_a_breaker_interrupts_the_fault_when_it_is_open_and_not_before():
    plant = make_plant(pickup_reset_s=0.02)
    plant.handle_timer(1.0)
    plant.inject_fault(2, 2.0)
    order(plant, BREAKER_LEFT, "open", 2.01)
    plant.handle_timer(2.059)
    assert plant.positions()[BREAKER_LEFT] is Dbpos.INTERMEDIATE
    assert BREAKER_LEFT in plant.conducting()
    assert plant.snapshot(BREAKER_LEFT, 2.059).pickup

    opened = {each.switch: each for each in plant.handle_timer(2.06)}
    assert opened[BREAKER_LEFT].position is Dbpos.OFF
    assert opened[BREAKER_LEFT].pickup, "the relay takes its time to reset"
    assert opened[LOAD_BREAK].voltage == (Voltage.ABSENT, Voltage.ABSENT)
    assert opened[LOAD_BREAK].current_a == 0.0
    reset = plant.handle_timer(2.081)
    assert [(each.switch, each.pickup, each.direction) for each in reset] == [
        (BREAKER_LEFT, False, Direction.UNKNOWN),
        (LOAD_BREAK, False, Direction.UNKNOWN),
    ]
    assert {each.stamp_ns for each in reset} == {OFFSET_NS + 2_080_000_000}

    events = plant.events()
    assert [(event.switch, event.position) for event in of(PositionChanged, events)] == [
        (BREAKER_LEFT, Dbpos.INTERMEDIATE),
        (BREAKER_LEFT, Dbpos.OFF),
    ]
    assert {event.section for event in of(SectionDeenergised, events)} == {1, 2}
    assert [event.time_s for event in of(FaultCurrentStarted, events)] == [2.0]
    assert [event.time_s for event in of(FaultCurrentStopped, events)] == pytest.approx([2.06])
    assert {event.switch for event in of(PickedUp, events)} == {BREAKER_LEFT, LOAD_BREAK}
    assert {event.switch for event in of(PickupReset, events)} == {BREAKER_LEFT, LOAD_BREAK}
    assert not of(OpenedAboveCapability, events)


def test_a_fault_gone_before_the_relay_saw_it_gives_no_pickup():
    plant = make_plant(pickup_spread_s=10.0)
    plant.handle_timer(1.0)
    plant.inject_fault(2, 2.0)
    assert plant.next_pickup() is not None
    plant.clear_fault(2, 2.001)
    assert plant.next_pickup() is None
    assert plant.handle_timer(20.0) == []


def test_fault_current_that_returns_before_the_reset_holds_the_pickup():
    plant = make_plant(pickup_reset_s=0.05)
    plant.handle_timer(1.0)
    plant.inject_fault(2, 2.0)
    plant.handle_timer(2.1)
    plant.clear_fault(2, 2.2)
    plant.inject_fault(2, 2.24)
    assert all(each.pickup for each in plant.handle_timer(3.0))
    assert plant.snapshot(BREAKER_LEFT, 3.0).current_a == 4030.0


def test_closing_onto_a_fault_picks_up_there_too():
    plant = make_plant()
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.inject_fault(2, 3.0)
    plant.handle_timer(3.0)
    order(plant, TIE, "close", 4.0)
    shown = {each.switch: each for each in plant.handle_timer(4.2)}
    assert {number for number, each in shown.items() if each.pickup} == {TIE, BREAKER_RIGHT}
    assert shown[TIE].direction is Direction.FORWARD
    assert shown[LOAD_BREAK].voltage == (Voltage.PRESENT, Voltage.PRESENT)
    assert [event.section for event in of(FaultCurrentStarted, plant.events())] == [2]


def test_a_fault_in_a_dead_section_shows_nothing_until_it_is_energised():
    plant = make_plant()
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.handle_timer(2.5)
    plant.inject_fault(2, 3.0)
    assert plant.next_pickup() is None
    assert plant.handle_timer(3.5) == []


def test_a_direction_that_may_not_be_relied_on_is_marked():
    plant = make_plant(untrusted_direction=frozenset({LOAD_BREAK}))
    plant.handle_timer(1.0)
    plant.inject_fault(2, 2.0)
    assert {each.switch: each.direction_trusted for each in plant.handle_timer(2.1)} == {
        BREAKER_LEFT: True,
        LOAD_BREAK: False,
    }


@pytest.mark.parametrize("opens", [True, False])
def test_a_load_break_switch_that_opens_on_fault_current_is_noted(opens):
    plant = make_plant(opens_above_capability=opens)
    plant.inject_fault(2, 2.0)
    order(plant, LOAD_BREAK, "open", 2.1)
    plant.handle_timer(3.0)
    events = plant.events()
    (broke,) = of(OpenedAboveCapability, events)
    assert (broke.time_s, broke.switch, broke.current_a, broke.breaking_a) == (2.1, LOAD_BREAK, 4020.0, 630.0)
    assert plant.positions()[LOAD_BREAK] is (Dbpos.OFF if opens else Dbpos.ON)
    assert (LOAD_BREAK in plant.conducting()) is not opens
    assert [event.reason for event in of(CommandNotObeyed, events)] == ([] if opens else ["not broken"])


def test_a_fault_that_comes_while_the_switch_opens_is_noted_when_its_contacts_part():
    plant = make_plant()
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.inject_fault(2, 2.05)
    plant.handle_timer(3.0)
    assert [event.time_s for event in of(OpenedAboveCapability, plant.events())] == [2.1]


@pytest.mark.parametrize(
    ("setting", "switch", "operation"),
    [("fail_to_open", LOAD_BREAK, "open"), ("fail_to_close", TIE, "close")],
)
def test_a_stuck_switch_stays_where_it_is(setting, switch, operation):
    plant = make_plant(**{setting: frozenset({switch})})
    before = plant.positions()
    order(plant, switch, operation, 2.0)
    plant.handle_timer(9.0)
    assert plant.positions() == before
    (refused,) = of(CommandNotObeyed, plant.events())
    assert (refused.switch, refused.operation, refused.reason) == (switch, operation, "stuck")


def test_a_slow_switch_takes_its_multiple_of_the_time():
    plant = make_plant(slowness={LOAD_BREAK: 3.0})
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.handle_timer(9.0)
    assert [event.time_s for event in of(PositionChanged, plant.events())] == pytest.approx([2.0, 2.3])


def test_commands_that_make_no_sense_are_noted_and_change_nothing():
    plant = make_plant()
    order(plant, TIE, "open", 2.0)
    order(plant, LOAD_BREAK, "open", 2.0)
    order(plant, LOAD_BREAK, "open", 2.01)
    order(plant, LOAD_BREAK, "close", 2.02)
    plant.handle_timer(3.0)
    assert [(event.switch, event.reason) for event in of(CommandNotObeyed, plant.events())] == [
        (TIE, "there already"),
        (LOAD_BREAK, "there already"),
        (LOAD_BREAK, "still opening"),
    ]
    assert plant.positions()[LOAD_BREAK] is Dbpos.OFF
    with pytest.raises(KeyError):
        order(plant, 99, "open", 4.0)
    with pytest.raises(KeyError):
        plant.inject_fault(99, 4.0)


def test_a_trip_overrides_a_close_in_progress():
    plant = make_plant()
    order(plant, TIE, "close", 2.0)
    order(plant, TIE, "open", 2.05)
    plant.handle_timer(9.0)
    events = plant.events()
    assert [(event.time_s, event.position) for event in of(PositionChanged, events)] == [
        (2.0, Dbpos.INTERMEDIATE),
        (2.05, Dbpos.INTERMEDIATE),
        (pytest.approx(2.15), Dbpos.OFF),
    ]
    assert not of(SourcesParalleled, events)


def test_a_transient_fault_is_out_after_its_time_without_infeed():
    plant = make_plant()
    plant.inject_fault(2, 2.0, clears_after_dead_s=0.3)
    plant.inject_fault(2, 2.01)  # faulted already: it stays transient
    order(plant, BREAKER_LEFT, "open", 2.1)  # open at 2.15
    order(plant, BREAKER_LEFT, "close", 2.35)  # closed at 2.41: too early, and onto the fault again
    order(plant, BREAKER_LEFT, "open", 2.5)  # open at 2.55
    order(plant, BREAKER_RIGHT, "open", 2.6)  # something else, which does not hold the fault's end up
    plant.handle_timer(2.84)
    assert plant.faults() == {2}
    plant.handle_timer(2.86)
    assert plant.faults() == set()
    order(plant, BREAKER_LEFT, "close", 3.0)
    plant.handle_timer(9.0)
    events = plant.events()
    assert [(event.time_s, event.clears_after_dead_s) for event in of(FaultAppeared, events)] == [(2.0, 0.3)]
    assert [event.time_s for event in of(FaultCurrentStarted, events)] == pytest.approx([2.0, 2.41])
    assert [event.time_s for event in of(FaultCleared, events)] == pytest.approx([2.85])


def test_a_transient_fault_that_is_repaired_first_is_cleared_once():
    plant = make_plant()
    order(plant, BREAKER_LEFT, "open", 2.0)
    plant.inject_fault(2, 3.0, clears_after_dead_s=0.5)
    plant.clear_fault(2, 3.1)
    plant.inject_fault(2, 3.2)
    plant.handle_timer(9.0)
    assert [event.time_s for event in of(FaultCleared, plant.events())] == [3.1]
    assert plant.faults() == {2}
    with pytest.raises(ValueError, match="clears_after_dead_s"):
        plant.inject_fault(1, 10.0, clears_after_dead_s=-0.1)


def test_a_source_goes_and_comes_back():
    plant = make_plant()
    plant.handle_timer(1.0)
    plant.set_source(0, True, 1.5)  # it is there already
    plant.events()
    plant.set_source(0, False, 2.0)
    shown = {each.switch: each for each in plant.handle_timer(2.0)}
    assert shown.keys() == {BREAKER_LEFT, LOAD_BREAK, TIE}
    assert shown[BREAKER_LEFT].voltage == (Voltage.ABSENT, Voltage.ABSENT)
    assert shown[TIE].voltage == (Voltage.PRESENT, Voltage.ABSENT)
    assert not shown[BREAKER_LEFT].pickup
    order(plant, BREAKER_LEFT, "open", 3.0)
    order(plant, TIE, "close", 3.0)
    plant.handle_timer(3.2)
    assert plant.energised() == {1: 4, 2: 4, 3: 4, 4: 4}
    plant.set_source(0, True, 4.0)
    assert plant.energised() == {0: 0, 1: 4, 2: 4, 3: 4, 4: 4}
    events = plant.events()
    assert [(event.time_s, event.section) for event in of(SourceLost, events)] == [(2.0, 0)]
    assert [(event.time_s, event.section) for event in of(SourceReturned, events)] == [(4.0, 0)]
    assert [event.section for event in of(SectionDeenergised, events)] == [0, 1, 2]
    assert not of(SourcesParalleled, events)
    with pytest.raises(ValueError, match="section 1 is no source section"):
        plant.set_source(1, True, 5.0)
    with pytest.raises(KeyError):
        plant.set_source(99, True, 5.0)


def test_a_busbar_without_supply_can_be_fed_from_the_other_side():
    plant = make_plant()
    plant.set_source(0, False, 2.0)
    order(plant, TIE, "close", 2.0)
    plant.handle_timer(2.2)
    assert plant.energised() == dict.fromkeys(range(5), 4)
    plant.set_source(0, True, 3.0)
    assert [event.sources for event in of(SourcesParalleled, plant.events())] == [(0, 4)]


def test_a_late_position_is_reported_late_and_in_order():
    plant = make_plant(position_late_s={TIE: 0.25})
    plant.handle_timer(1.0)
    order(plant, TIE, "close", 2.0)
    shown = []
    while (due := plant.next_deadline()) < 9.0:
        shown += [(due, each.position) for each in plant.handle_timer(due) if each.switch == TIE]
    # Moves at 2.0 and at 2.1, seen at 2.25 and 2.35; what else changes is seen at once.
    assert shown == [
        (2.0, Dbpos.OFF),
        (pytest.approx(2.1), Dbpos.OFF),
        (2.25, Dbpos.INTERMEDIATE),
        (pytest.approx(2.35), Dbpos.ON),
    ]
    assert [(event.time_s, event.position) for event in of(PositionChanged, plant.events())] == [
        (2.0, Dbpos.INTERMEDIATE),
        (2.1, Dbpos.ON),
    ]
    assert plant.positions()[TIE] is Dbpos.ON


def test_a_stuck_voltage_sensor_says_the_same_whatever_happens():
    plant = make_plant(voltage_stuck={TIE: (None, Voltage.ABSENT), LOAD_BREAK: (Voltage.PRESENT, Voltage.UNKNOWN)})
    assert plant.snapshot(TIE, 1.0).voltage == (Voltage.PRESENT, Voltage.ABSENT)
    order(plant, BREAKER_LEFT, "open", 2.0)
    plant.set_source(4, False, 2.0)
    plant.handle_timer(3.0)
    assert plant.snapshot(TIE, 3.0).voltage == (Voltage.ABSENT, Voltage.ABSENT)
    assert plant.snapshot(LOAD_BREAK, 3.0).voltage == (Voltage.PRESENT, Voltage.UNKNOWN)


def test_a_switch_begins_to_fail_and_is_put_right_again():
    plant = make_plant(fail_to_close=frozenset({LOAD_BREAK}))
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.fail_switch(LOAD_BREAK, to_open=True, to_close=False, now=2.05)  # what is under way is finished
    order(plant, LOAD_BREAK, "close", 2.2)
    order(plant, LOAD_BREAK, "open", 2.4)
    plant.fail_switch(LOAD_BREAK, to_open=False, to_close=False, now=2.5)
    order(plant, LOAD_BREAK, "open", 2.6)
    plant.handle_timer(3.0)
    events = plant.events()
    assert [(event.time_s, event.reason) for event in of(CommandNotObeyed, events)] == [(2.4, "stuck")]
    assert [event.time_s for event in of(PositionChanged, events)] == pytest.approx([2.0, 2.1, 2.2, 2.3, 2.6, 2.7])
    assert [(event.fails_to_open, event.fails_to_close) for event in of(ApparatusChanged, events)] == [
        (True, False),
        (False, False),
    ]
    with pytest.raises(KeyError):
        plant.fail_switch(99, to_open=True, to_close=True, now=4.0)


def test_a_person_moves_even_a_stuck_switch_and_no_command_is_noted():
    plant = make_plant(fail_to_open=frozenset({LOAD_BREAK}))
    plant.handle_timer(1.0)
    plant.operate_by_hand(LOAD_BREAK, "open", 2.0)
    plant.operate_by_hand(TIE, "open", 2.0)
    shown = [each.position for each in plant.handle_timer(3.0) if each.switch == LOAD_BREAK]
    assert shown == [Dbpos.INTERMEDIATE, Dbpos.OFF]
    assert [event_record(event) for event in plant.events() if event.time_s == 2.0] == [
        {"kind": kind, "time_s": 2.0, "stamp_ns": OFFSET_NS + 2_000_000_000} | members
        for kind, members in (
            ("OperatedByHand", {"switch": LOAD_BREAK, "operation": "open"}),
            ("PositionChanged", {"switch": LOAD_BREAK, "position": 0}),
            ("OperatedByHand", {"switch": TIE, "operation": "open"}),
            ("CommandNotObeyed", {"switch": TIE, "operation": "open", "reason": "there already"}),
        )
    ]
    with pytest.raises(KeyError):
        plant.operate_by_hand(99, "open", 4.0)


def test_two_sources_brought_together_are_noted():
    plant = make_plant()
    order(plant, TIE, "close", 2.0)
    plant.handle_timer(3.0)
    assert [event.sources for event in of(SourcesParalleled, plant.events())] == [(0, 4)]


def test_restoration_moves_the_load_to_the_other_source():
    plant = make_plant()
    order(plant, LOAD_BREAK, "open", 2.0)
    plant.handle_timer(2.5)
    order(plant, TIE, "close", 3.0)
    shown = {each.switch: each for each in plant.handle_timer(4.0)}
    assert plant.energised() == {0: 0, 1: 0, 2: 4, 3: 4, 4: 4}
    assert plant.load_flow() == {BREAKER_LEFT: 10.0, TIE: 20.0, BREAKER_RIGHT: 45.0}
    assert shown[BREAKER_RIGHT].flow_a == 45.0
    assert [(event.section, event.source) for event in of(SectionEnergised, plant.events()) if event.time_s > 1] == [
        (2, 4)
    ]


def test_each_snapshot_is_repeated_staggered_and_in_order():
    plant = make_plant(refresh_s=1.0)
    plant.handle_timer(1.0)
    shown = []
    while (due := plant.next_deadline()) <= 3.0:
        shown += plant.handle_timer(due)
    assert [(each.switch, (each.stamp_ns - OFFSET_NS) / 1e9) for each in shown] == [
        (1, 1.25), (2, 1.5), (3, 1.75), (4, 2.0), (1, 2.25), (2, 2.5), (3, 2.75), (4, 3.0),
    ]  # fmt: skip
    assert [each.sequence for each in shown if each.switch == 1] == [2, 3]


def test_time_does_not_run_backwards():
    plant = make_plant()
    plant.handle_timer(5.0)
    plant.inject_fault(2, 3.0)
    assert all(each.stamp_ns >= OFFSET_NS + 5_000_000_000 for each in plant.handle_timer(6.0))
    assert plant.faults() == {2}


def test_a_corrected_clock_shows_in_the_stamps_only():
    plant = make_plant()
    plant.handle_timer(1.0)
    plant.clock_offset_ns += 1000
    assert plant.snapshot(TIE, 2.0).stamp_ns == OFFSET_NS + 2_000_001_000


def test_events_become_json_objects():
    plant = make_plant()
    plant.events()
    order(plant, TIE, "close", 2.0)
    assert [event_record(event) for event in plant.events()] == [
        {
            "kind": "CommandReceived",
            "time_s": 2.0,
            "stamp_ns": OFFSET_NS + 2_000_000_000,
            "switch": TIE,
            "operation": "close",
            "number": 1,
        },
        {
            "kind": "PositionChanged",
            "time_s": 2.0,
            "stamp_ns": OFFSET_NS + 2_000_000_000,
            "switch": TIE,
            "position": 0,
        },
    ]
    assert plant.events() == []


@pytest.mark.parametrize(
    "setting",
    [
        {"refresh_s": 0.0},
        {"pickup_spread_s": -1.0},
        {"slowness": {1: -1.0}},
        {"generation_trip_s": -1.0},
        {"position_late_s": {1: -1.0}},
    ],
)
def test_a_plant_whose_time_would_stand_still_or_run_back_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        PlantSettings(**setting)


SECTION = PlantSection(0, "a")
OTHER = PlantSection(1, "b")
SWITCH = PlantSwitch(1, "Q", (0, 1), "breaker", True, 100.0, 0.1, 0.1)


@pytest.mark.parametrize(
    ("sections", "switches", "problem"),
    [
        ((SECTION, SECTION), (), "section 0: given twice"),
        ((SECTION, OTHER), (SWITCH, SWITCH), "switch 1: given twice"),
        ((SECTION,), (SWITCH,), "switch 1: section 1 does not exist"),
        ((PlantSection(0, "a", load_a=-1.0),), (), "section 0: negative load or generation"),
        ((PlantSection(0, "a", infeed=True),), (), "section 0: infeed without generation"),
        (
            (SECTION, OTHER),
            (PlantSwitch(1, "Q", (0, 0), "breaker", True, 100.0, 0.1, 0.1),),
            "switch 1: both sides in section 0",
        ),
        (
            (SECTION, OTHER),
            (PlantSwitch(1, "Q", (0, 1), "fuse", True, 100.0, 0.1, 0.1),),
            "switch 1: kind 'fuse' is not breaker or load_break",
        ),
        (
            (SECTION, OTHER),
            (PlantSwitch(1, "Q", (0, 1), "breaker", True, 100.0, -0.1, 0.1),),
            "switch 1: negative rating or operating time",
        ),
    ],
)
def test_a_network_that_contradicts_itself_is_refused(sections, switches, problem):
    with pytest.raises(PlantNetworkError) as caught:
        PlantNetwork(sections, switches)
    assert str(caught.value) == problem
