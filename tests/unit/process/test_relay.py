"""What an agent makes of what its relay says, and how long it tells the relay something."""

from __future__ import annotations

import math

import pytest

from ied_agents.iec61850.data import BitString, Structure
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, INVALID, Quality, Validity
from ied_agents.process.inputs import Direction, Voltage
from ied_agents.process.relay import OrderPulses, RelayConfig, RelayInputs, RelayOrders, RelaySignal, RelayValueError

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
        for stream, values in ((STATUS, self.status), (MEASURED, self.measured)):
            self.inputs.take(stream, self.inputs.read(stream, tuple(values)), 1_000)

    def shot(self, *, in_test=False):
        return self.inputs.snapshot(in_test=in_test)


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
    assert inputs.snapshot(in_test=False) is None
    relay.inputs.lost(STATUS)
    assert relay.shot() is None
    relay.inputs.resumed(STATUS)
    assert relay.shot().position is Dbpos.ON


def test_without_its_measurements_loads_and_voltages_are_unknown(relay):
    relay.inputs.lost(MEASURED)
    shot = relay.shot()
    assert (shot.flow_a, shot.current_a) == (None, None)
    assert shot.voltage == (Voltage.UNKNOWN, Voltage.UNKNOWN)
    assert shot.generation_a == (7.0, 9.0)
    assert shot.position_valid


def test_a_current_without_a_sign_is_no_load(relay):
    relay.say(measured={3: INVALID.to_bit_string()})
    assert (relay.shot().flow_a, relay.shot().current_a) == (None, 100.0)
    relay.say(measured={2: 0.0, 3: GOOD.to_bit_string()})
    assert relay.shot().flow_a == 0.0


@pytest.mark.parametrize(
    ("phases", "side_b", "voltage"),
    [
        ((11_547.0, 9_238.0), True, (Voltage.PRESENT, Voltage.PRESENT)),
        ((11_547.0, 9_237.0), True, (Voltage.UNKNOWN, Voltage.PRESENT)),
        ((0.0, 2_309.0), False, (Voltage.ABSENT, Voltage.ABSENT)),
        ((0.0, 2_310.0), False, (Voltage.UNKNOWN, Voltage.ABSENT)),
        ((0.0, 11_547.0), True, (Voltage.UNKNOWN, Voltage.PRESENT)),
    ],
)
def test_voltage_is_present_or_absent_in_all_phases(relay, phases, side_b, voltage):
    relay.say(measured={4: phases[0], 5: phases[1], 6: side_b})
    assert relay.shot().voltage == voltage


def test_a_phase_in_a_stream_that_fell_silent_makes_the_voltage_unknown():
    third = signal("VolA", 0, element="PhV.phsC", stream=2, nominal=11_547.0)
    relay = Relay(signals=(*SIGNALS, third))
    relay.inputs.take(2, relay.inputs.read(2, (11_500.0,)), 1_000)
    assert relay.shot().voltage[0] is Voltage.PRESENT
    relay.inputs.lost(2)
    assert relay.shot().voltage[0] is Voltage.UNKNOWN


def test_a_value_inside_a_structure():
    place = RelaySignal("Pos", "value", "Pos", STATUS, (0, 0))
    relay = RelayInputs(RelayConfig((place,), reversed=False, generation_a=(0.0, 0.0), pulse_s=0.05), 3)
    relay.take(STATUS, relay.read(STATUS, (Structure((Dbpos.OFF.to_bit_string(), BitString(0, 13))),)), 5)
    assert relay.snapshot(in_test=False).position is Dbpos.OFF


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
def test_values_of_another_type_are_refused_by_name(relay, place, value, what):
    relay.status[place] = value
    with pytest.raises(RelayValueError) as refused:
        relay.inputs.read(STATUS, tuple(relay.status))
    assert what in str(refused.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 5, "x"])
def test_what_is_no_measured_value_is_refused(relay, value):
    relay.measured[0] = value
    with pytest.raises(RelayValueError, match=r"A\.phsA \(A, value\)"):
        relay.inputs.read(MEASURED, tuple(relay.measured))


def test_members_that_are_not_there_are_refused(relay):
    with pytest.raises(RelayValueError, match="Health"):
        relay.inputs.read(STATUS, tuple(relay.status[:-1]))


# -- orders -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pulses():
    return OrderPulses(0.1)


@pytest.mark.parametrize(
    ("operation", "said", "before", "after"),
    [("open", OPEN, Dbpos.ON, Dbpos.OFF), ("close", CLOSE, Dbpos.OFF, Dbpos.ON)],
)
def test_an_order_is_held_until_the_switch_has_moved(pulses, operation, said, before, after):
    pulses.give(operation, 1.0)
    assert pulses.follow(before, 1.0, block_close=False) == said
    assert pulses.follow(Dbpos.INTERMEDIATE, 1.05, block_close=False) == said
    assert pulses.follow(after, 1.06, block_close=False) == IDLE
    assert pulses.follow(before, 1.07, block_close=False) == IDLE


@pytest.mark.parametrize("operation", ["open", "close"])
def test_or_for_the_longest_time_an_operation_takes(pulses, operation):
    pulses.give(operation, 1.0)
    assert pulses.next_deadline == 1.1
    assert pulses.follow(Dbpos.INTERMEDIATE, 1.099, block_close=False) != IDLE
    assert pulses.follow(Dbpos.INTERMEDIATE, 1.1, block_close=False) == IDLE
    assert pulses.next_deadline == math.inf


def test_a_close_ends_with_a_block_and_does_not_come_back(pulses):
    pulses.give("close", 1.0)
    assert pulses.follow(Dbpos.OFF, 1.0, block_close=False) == CLOSE
    assert pulses.follow(Dbpos.OFF, 1.01, block_close=True) == RelayOrders(block_close=True)
    assert pulses.follow(Dbpos.OFF, 1.02, block_close=False) == IDLE


def test_a_close_ends_with_an_order_to_open_which_a_block_does_not_end(pulses):
    pulses.give("close", 1.0)
    pulses.follow(Dbpos.OFF, 1.0, block_close=False)
    pulses.give("open", 1.01)
    assert pulses.follow(Dbpos.INTERMEDIATE, 1.01, block_close=True) == RelayOrders(open=True, block_close=True)
