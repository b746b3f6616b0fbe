"""What an agent makes of what its relay says, and how long it tells the relay something."""

from __future__ import annotations

import math

import pytest

from ied_agents.iec61850.data import BitString, Structure
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, INVALID, Quality, Validity
from ied_agents.process.inputs import Direction, Voltage
from ied_agents.process.relay import OrderPulses, RelayConfig, RelayInputs, RelayOrders, RelaySignal

STATUS, MEASURED = 0, 1
ON = Dbpos.ON.to_bit_string()
OPEN, CLOSE, IDLE = RelayOrders(open=True), RelayOrders(close=True), RelayOrders()


def signal(name, place, part="value", element="", stream=STATUS, nominal=0.0):
    return RelaySignal(name, part, element or name, stream, (place,), nominal)


SIGNALS = (
    signal("Pos", 0),
    signal("Pos", 1, "quality"),
    signal("Str", 2, element="PTOC"),
    signal("Str", 3, "direction", element="PTOC"),
    signal("Str", 4, "quality", element="PTOC"),
    signal("Str", 5, element="PIOC"),
    signal("Str", 6, element="PSDE"),
    signal("Str", 7, "direction", element="PSDE"),
    signal("Tr", 8),
    signal("Health", 9),
    signal("A", 0, element="A.phsA", stream=MEASURED),
    signal("A", 1, element="A.phsB", stream=MEASURED),
    signal("TotW", 2, stream=MEASURED),
    signal("TotW", 3, "quality", stream=MEASURED),
    signal("VolA", 4, element="PhV.phsA", stream=MEASURED, nominal=11_547.0),
    signal("VolA", 5, element="PhV.phsB", stream=MEASURED, nominal=11_547.0),
    signal("VolB", 6, stream=MEASURED),
    signal("GenA", 7, stream=MEASURED),
)
QUIET = [ON, GOOD.to_bit_string(), False, 0, GOOD.to_bit_string(), False, False, 0, False, 1]
LOADED = [100.0, 90.0, -3e6, GOOD.to_bit_string(), 11_500.0, 11_600.0, True, 5.0]


class Relay:
    def __init__(self, *, signals=SIGNALS, reversed_=False):
        config = RelayConfig(signals, reversed_, (7.0, 9.0), 0.05)
        self.inputs = RelayInputs(config, 3)
        self.status, self.measured = list(QUIET), list(LOADED)
        self.say()

    def say(self, status=None, measured=None):
        for place, value in (status or {}).items():
            self.status[place] = value
        for place, value in (measured or {}).items():
            self.measured[place] = value
        return self.hear(STATUS, self.status) + self.hear(MEASURED, self.measured)

    def hear(self, stream, values, now=0.0):
        self.inputs.heard(stream, now)
        return self.inputs.take(stream, tuple(values), 1_000)

    def shot(self, now=0.0, *, in_test=False):
        return self.inputs.snapshot(now, in_test=in_test)


@pytest.fixture
def relay():
    return Relay()


def test_a_snapshot_of_a_healthy_relay(relay):
    shot = relay.shot()
    assert (shot.switch, shot.stamp_ns) == (3, 1_000)
    assert (shot.position, shot.position_valid) == (Dbpos.ON, True)
    assert not shot.pickup
    assert (shot.flow_a, shot.current_a) == (-100.0, 100.0)
    assert shot.voltage == (Voltage.PRESENT, Voltage.PRESENT)
    assert shot.generation_a == (5.0, 9.0)
    assert relay.shot().sequence == shot.sequence + 1


@pytest.mark.parametrize(
    ("starts", "direction", "trusted"),
    [
        ({2: True, 3: 1}, Direction.FORWARD, True),
        ({2: True, 3: 2}, Direction.BACKWARD, True),
        ({2: True, 3: 0}, Direction.UNKNOWN, False),
        ({2: True, 3: 3}, Direction.BOTH, False),
        ({5: True}, Direction.UNKNOWN, False),
        ({8: True}, Direction.UNKNOWN, False),
        ({6: True, 7: 2}, Direction.BACKWARD, True),
        ({2: True, 3: 1, 5: True, 8: True}, Direction.FORWARD, True),
        ({2: True, 3: 1, 6: True, 7: 1}, Direction.FORWARD, True),
        ({2: True, 3: 1, 6: True, 7: 2}, Direction.BOTH, False),
    ],
)
def test_what_starts_prove(relay, starts, direction, trusted):
    relay.say(starts)
    shot = relay.shot()
    assert shot.pickup
    assert (shot.direction, shot.direction_trusted) == (direction, trusted)


def test_a_direction_without_a_start_proves_nothing(relay):
    relay.say({3: 1})
    assert (relay.shot().pickup, relay.shot().direction_trusted) == (False, False)


def test_a_relay_that_looks_the_other_way():
    relay = Relay(reversed_=True)
    relay.say({2: True, 3: 1})
    assert relay.shot().direction is Direction.BACKWARD
    assert relay.shot().flow_a == 100.0


@pytest.mark.parametrize(
    "quality",
    [
        INVALID,
        Quality(Validity.QUESTIONABLE),
        Quality(test=True),
        Quality(substituted=True),
        Quality(operatorBlocked=True),
    ],
)
def test_a_relay_whose_protection_is_not_to_be_trusted_says_nothing_at_all(relay, quality):
    relay.say({4: quality.to_bit_string()})
    assert relay.shot() is None
    relay.say({4: GOOD.to_bit_string()})
    assert relay.shot() is not None


def test_an_agent_in_test_hears_a_relay_in_test(relay):
    relay.say({4: Quality(test=True).to_bit_string()})
    assert relay.shot(in_test=True) is not None


def test_a_position_that_is_not_to_be_trusted_is_unknown_alone(relay):
    relay.say({1: INVALID.to_bit_string()})
    shot = relay.shot()
    assert (shot.position, shot.position_valid) == (Dbpos.INTERMEDIATE, False)
    assert shot.voltage == (Voltage.PRESENT, Voltage.PRESENT)


@pytest.mark.parametrize(("health", "well"), [(1, True), (2, True), (3, False)])
def test_a_relay_in_alarm_says_nothing(relay, health, well):
    relay.say({9: health})
    assert (relay.shot() is not None) is well


def test_a_relay_that_has_not_spoken_or_fell_silent_says_nothing(relay):
    inputs = RelayInputs(RelayConfig(SIGNALS, reversed=False, generation_a=(0.0, 0.0), pulse_s=0.05), 3)
    assert inputs.snapshot(0.0, in_test=False) is None
    assert inputs.heard_at == -math.inf
    relay.inputs.lost(STATUS)
    assert relay.shot() is None
    relay.inputs.heard(STATUS, 1.0)
    assert relay.shot(1.0).position is Dbpos.ON


def test_its_word_is_as_old_as_what_was_heard_of_position_and_protection_however_long_it_would_live(relay):
    relay.inputs.heard(MEASURED, 2.9)
    assert relay.inputs.heard_at == 0.0
    assert relay.shot(3.0) is not None
    assert relay.shot(3.1) is None
    relay.inputs.heard(STATUS, 3.2)
    assert relay.shot(5.8).voltage == (Voltage.PRESENT, Voltage.PRESENT)
    assert relay.shot(6.0).voltage == (Voltage.UNKNOWN, Voltage.UNKNOWN)


def test_without_its_measurements_loads_and_voltages_are_unknown(relay):
    relay.inputs.lost(MEASURED)
    shot = relay.shot()
    assert (shot.flow_a, shot.current_a) == (None, None)
    assert shot.voltage == (Voltage.UNKNOWN, Voltage.UNKNOWN)
    assert shot.generation_a == (7.0, 9.0)
    assert shot.position_valid


def test_generation_that_is_not_heard_any_more_is_reckoned_with(relay):
    relay.say(measured={7: 80.0})
    relay.inputs.lost(MEASURED)
    assert relay.shot().generation_a == (80.0, 9.0)


def test_one_phase_that_is_not_known_makes_the_current_unknown():
    relay = Relay(signals=(*SIGNALS, signal("A", 8, "quality", element="A.phsB", stream=MEASURED)))
    relay.measured.append(GOOD.to_bit_string())
    relay.say()
    assert relay.shot().current_a == 100.0
    relay.say(measured={8: Quality(Validity.QUESTIONABLE, overflow=True).to_bit_string()})
    assert (relay.shot().current_a, relay.shot().flow_a) == (None, None)


@pytest.mark.parametrize(("other", "valid"), [(ON, True), (Dbpos.OFF.to_bit_string(), False), (True, False)])
def test_positions_of_several_poles_must_agree_and_all_be_known(other, valid):
    relay = Relay(signals=(*SIGNALS, signal("Pos", 10, element="XCBR2")))
    relay.status.append(other)
    relay.say()
    assert relay.shot().position_valid is valid
    assert (relay.shot().position is Dbpos.ON) is valid


def test_a_relay_whose_health_is_not_heard_any_more_is_not_well():
    relay = Relay(signals=(*SIGNALS, signal("Health", 0, element="LPHD", stream=2)))
    relay.hear(2, (1,))
    assert relay.shot() is not None
    relay.inputs.lost(2)
    assert relay.shot() is None


def test_a_current_without_a_sign_is_no_load(relay):
    relay.say(measured={3: INVALID.to_bit_string()})
    assert (relay.shot().flow_a, relay.shot().current_a) == (None, 100.0)
    relay.say(measured={2: 0.0, 3: GOOD.to_bit_string()})
    assert relay.shot().flow_a is None
    relay.say(measured={0: 0.5, 1: 0.9})
    assert relay.shot().flow_a == 0.0


@pytest.mark.parametrize(
    ("phases", "side_b", "voltage"),
    [
        ((11_547.0, 9_238.0), True, (Voltage.PRESENT, Voltage.PRESENT)),
        ((11_547.0, 9_237.0), True, (Voltage.UNKNOWN, Voltage.PRESENT)),
        ((0.0, 2_309.0), False, (Voltage.ABSENT, Voltage.ABSENT)),
        ((0.0, 2_310.0), False, (Voltage.UNKNOWN, Voltage.ABSENT)),
        ((0.0, 11_547.0), True, (Voltage.UNKNOWN, Voltage.PRESENT)),
        ((-11_547.0, 11_547.0), True, (Voltage.PRESENT, Voltage.PRESENT)),
    ],
)
def test_voltage_is_present_or_absent_in_all_phases(relay, phases, side_b, voltage):
    relay.say(measured={4: phases[0], 5: phases[1], 6: side_b})
    assert relay.shot().voltage == voltage


def test_a_phase_in_a_stream_that_fell_silent_makes_the_voltage_unknown():
    third = signal("VolA", 0, element="PhV.phsC", stream=2, nominal=11_547.0)
    relay = Relay(signals=(*SIGNALS, third))
    relay.hear(2, (11_500.0,))
    assert relay.shot().voltage[0] is Voltage.PRESENT
    relay.inputs.lost(2)
    assert relay.shot().voltage[0] is Voltage.UNKNOWN


def test_a_value_inside_a_structure():
    place = RelaySignal("Pos", "value", "Pos", STATUS, (0, 0))
    relay = RelayInputs(RelayConfig((place,), reversed=False, generation_a=(0.0, 0.0), pulse_s=0.05), 3)
    relay.heard(STATUS, 0.0)
    assert relay.take(STATUS, (Structure((Dbpos.OFF.to_bit_string(), BitString(0, 13))),), 5) == []
    assert relay.snapshot(0.0, in_test=False).position is Dbpos.OFF


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        (0, True, "Pos (Pos, value): BitString expected, not bool"),
        (0, BitString(1, 3), "Dbpos has 2 bits, not 3"),
        (1, BitString(0, 12), "Quality has 13 bits"),
        (2, 1, "PTOC (Str, value): bool expected, not int"),
        (3, 4, "4 is not a valid Direction"),
        (3, True, "int expected, not bool"),
        (9, 1.0, "Health (Health, value): int expected, not float"),
    ],
)
def test_values_of_another_type_are_told_by_name(relay, place, value, what):
    (told,) = relay.say({place: value})
    assert what in told


@pytest.mark.parametrize("place", [2, 4, 9])
def test_protection_or_health_that_cannot_be_read_makes_the_relay_say_nothing(relay, place):
    relay.say({place: "x"})
    assert relay.shot() is None


def test_a_position_that_cannot_be_read_is_unknown_alone_and_so_is_one_whose_quality_cannot(relay):
    for place in (0, 1):
        relay.say({place: "x"})
        assert (relay.shot().position_valid, relay.shot().flow_a) == (False, -100.0)
        relay.say({0: ON, 1: GOOD.to_bit_string()})
        assert relay.shot().position_valid


def test_a_direction_that_cannot_be_read_proves_nothing(relay):
    relay.say({2: True, 3: 4})
    assert (relay.shot().pickup, relay.shot().direction_trusted) == (True, False)


@pytest.mark.parametrize("value", [math.nan, math.inf, 5, "x"])
def test_what_is_no_measured_value_is_told_and_unknown_alone(relay, value):
    (told,) = relay.say(measured={6: value})
    assert "VolB (VolB, value)" in told
    assert relay.shot().voltage == (Voltage.PRESENT, Voltage.UNKNOWN)
    assert relay.shot().current_a == 100.0


def test_members_that_are_not_there_are_told(relay):
    (told,) = relay.hear(STATUS, relay.status[:-1])
    assert "Health (Health, value)" in told


# -- orders -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pulses():
    return OrderPulses(0.1)


@pytest.mark.parametrize(
    ("operation", "said", "before", "after"),
    [("open", OPEN, Dbpos.ON, Dbpos.OFF), ("close", CLOSE, Dbpos.OFF, Dbpos.ON)],
)
def test_an_order_is_held_until_the_switch_has_moved(pulses, operation, said, before, after):
    def told(position, now):
        pulses.seen(position)
        return pulses.follow(now, may_close=True, block_close=False)

    pulses.give(operation, 1.0)
    assert told(before, 1.0) == said
    assert told(Dbpos.INTERMEDIATE, 1.05) == said
    assert told(after, 1.06) == IDLE
    assert told(before, 1.07) == IDLE


def test_a_position_that_was_reached_and_left_within_one_turn_ends_the_order(pulses):
    pulses.give("close", 1.0)
    pulses.seen(Dbpos.ON)
    pulses.seen(Dbpos.OFF)
    assert pulses.follow(1.01, may_close=True, block_close=False) == IDLE


@pytest.mark.parametrize("operation", ["open", "close"])
def test_or_for_the_longest_time_an_operation_takes(pulses, operation):
    pulses.give(operation, 1.0)
    assert pulses.next_deadline == 1.1
    assert pulses.follow(1.099, may_close=True, block_close=False) != IDLE
    assert pulses.follow(1.1, may_close=True, block_close=False) == IDLE
    assert pulses.next_deadline == math.inf


@pytest.mark.parametrize(
    "against", [{"may_close": True, "block_close": True}, {"may_close": False, "block_close": False}]
)
def test_a_close_ends_with_what_speaks_against_it_and_does_not_come_back(pulses, against):
    pulses.give("close", 1.0)
    assert pulses.follow(1.0, may_close=True, block_close=False) == CLOSE
    assert pulses.follow(1.01, **against) == RelayOrders(block_close=against["block_close"])
    assert pulses.follow(1.02, may_close=True, block_close=False) == IDLE


def test_a_close_ends_with_an_order_to_open_which_nothing_ends(pulses):
    pulses.give("close", 1.0)
    pulses.follow(1.0, may_close=True, block_close=False)
    pulses.give("open", 1.01)
    assert pulses.follow(1.01, may_close=False, block_close=True) == RelayOrders(open=True, block_close=True)
