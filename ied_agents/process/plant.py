"""The simulated plant: primary equipment, faults, protection pickups, and what each agent sees of them.

Sans-IO: whoever drives it hands in the time and sends on what comes out. The same plant runs under virtual
time in the scenarios and in its own process in the demo.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Operation, SwitchCommand, SwitchInputs, Voltage
from ied_agents.process.plant_events import (
    ApparatusChanged,
    CommandNotObeyed,
    CommandReceived,
    FaultAppeared,
    FaultCleared,
    GenerationStopped,
    OpenedAboveCapability,
    OperatedByHand,
    PickedUp,
    PickupReset,
    PlantEvent,
    PositionChanged,
    Refusal,
    SourceLost,
    SourceReturned,
)
from ied_agents.process.plant_flow import FlowSolver, PlantFlow
from ied_agents.process.plant_supply import supply_changes

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from ied_agents.process.plant_network import PlantNetwork, PlantSwitch

# What can be due at a switch ...
_OPERATION: Final = "operation"
_PICKUP: Final = "pickup"
_RESET: Final = "reset"
_REFRESH: Final = "refresh"
_REPORT: Final = "report"
# ... and in a section.
_FAULT_OUT: Final = "fault out"
_GENERATION_STOP: Final = "generation stop"


# Load current, current, voltages and generation as the sensors of one switch see them.
_Seen = tuple[float, float, tuple[Voltage, Voltage], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class PlantSettings:
    """How the plant behaves.

    Raises:
        ValueError: a time is negative, or there is no time between refreshes.

    Attributes:
        fault_current_a: current into a fault, A.
        pickup_spread_s: the protection of a switch picks up after a delay drawn uniformly from 0 to this, s.
        pickup_reset_s: how long after the fault current the pickup resets, s.
        refresh_s: how often each switch's snapshot is repeated without a change, s.
        opens_above_capability: whether a switch that opens on more than it can interrupt gets open all the
            same; if not, it stays closed.
        fail_to_open: switches that do not obey an open command.
        fail_to_close: switches that do not obey a close command.
        slowness: factor on the operating times, by switch; 1 where not given.
        untrusted_direction: switches whose protection tells a direction that may not be relied on.
        generation_trip_s: how long local generation keeps running after its section has lost the last source, s.
        position_late_s: how much later than it moves a switch's position is reported, s; 0 where not given.
        voltage_stuck: what the voltage sensors of a switch, at side A and at side B, always say; None for a
            sound one.
    """

    fault_current_a: float = 4000.0
    pickup_spread_s: float = 0.003
    pickup_reset_s: float = 0.010
    refresh_s: float = 1.0
    opens_above_capability: bool = True
    fail_to_open: frozenset[int] = frozenset()
    fail_to_close: frozenset[int] = frozenset()
    slowness: Mapping[int, float] = field(default_factory=dict)
    untrusted_direction: frozenset[int] = frozenset()
    generation_trip_s: float = 0.0
    position_late_s: Mapping[int, float] = field(default_factory=dict)
    voltage_stuck: Mapping[int, tuple[Voltage | None, Voltage | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.pickup_spread_s, self.pickup_reset_s, *self.slowness.values()) < 0:
            raise ValueError("pickup_spread_s, pickup_reset_s and slowness must not be negative")
        if min(self.generation_trip_s, *self.position_late_s.values(), 0.0) < 0:
            raise ValueError("generation_trip_s and position_late_s must not be negative")
        if self.refresh_s <= 0:
            raise ValueError(f"refresh_s must be above 0, not {self.refresh_s}")


class _Switch:
    """What changes about one switch."""

    __slots__ = (
        "conducting",
        "direction",
        "equipment",
        "operation",
        "overloaded",
        "pickup",
        "position",
        "reported",
        "reports",
        "sequence",
        "shown",
    )

    def __init__(self, equipment: PlantSwitch) -> None:
        self.equipment = equipment
        self.conducting = equipment.closed
        self.position = Dbpos.ON if equipment.closed else Dbpos.OFF
        # The position that the agent is told, and those that it has yet to be told, each with its time.
        self.reported = self.position
        self.reports: deque[tuple[float, Dbpos]] = deque()
        self.operation: Operation | None = None
        self.overloaded = False
        self.pickup = False
        self.direction = Direction.UNKNOWN
        self.sequence = 0
        # What the sensors last showed, to tell whether a new solution changes it.
        self.shown: _Seen | None = None


class Plant:
    """Simulates one network.

    Time runs forward only: a ``now`` before the latest one seen counts as that one.

    Args:
        network: sections and switches.
        settings: how the plant behaves.
        rng: source of the pickup delays.
        now: monotonic seconds at the start.
        clock_offset_ns: CLOCK_REALTIME minus the monotonic clock, ns.

    Attributes:
        clock_offset_ns: may be set anew when the clock was adjusted.
    """

    def __init__(
        self,
        network: PlantNetwork,
        settings: PlantSettings,
        rng: random.Random,
        now: float = 0.0,
        clock_offset_ns: int = 0,
    ) -> None:
        self.clock_offset_ns = clock_offset_ns
        self._settings = settings
        self._rng = rng
        self._now = now
        self._solver = FlowSolver(network)
        self._sections = {section.index: section for section in network.sections}
        self._live = {section.index for section in network.sections if section.is_source}
        self._switches = {switch.number: _Switch(switch) for switch in network.switches}
        self._conducting = frozenset(switch.number for switch in network.switches if switch.closed)
        # Generation runs where there is a source at the start; once stopped, it takes longer to return than a
        # plant is run for.
        supplied = self._solver.solve(self._conducting, self._live, ()).source
        self._running = {section.index for section in network.sections if section.generation_a} & supplied.keys()
        # Faulted sections, with the time without infeed after which the fault is out by itself; None never.
        self._faults: dict[int, float | None] = {}
        self._fails_to: dict[Operation, set[int]] = {
            "open": set(settings.fail_to_open),
            "close": set(settings.fail_to_close),
        }
        self._flow = PlantFlow()
        self._out: list[SwitchInputs] = []
        self._events: list[PlantEvent] = []
        # What is under way, by kind and number of the switch or index of the section; the heap has it in the
        # order of time, along with what was called off.
        self._under_way: dict[tuple[str, int], float] = {}
        self._heap: list[tuple[float, int, str, int]] = []
        self._scheduled = 0
        self._happen: dict[str, Callable[[float, int], None]] = {
            _OPERATION: self._finish_operation,
            _PICKUP: self._pick_up,
            _RESET: self._reset_pickup,
            _REFRESH: self._refresh,
            _REPORT: self._report_position,
            _FAULT_OUT: self._end_fault,
            _GENERATION_STOP: self._stop_generation,
        }
        for place, number in enumerate(self._switches, start=1):
            # Staggered, so that the agents are not all woken in the same moment.
            self._schedule(_REFRESH, number, now + settings.refresh_s * place / len(self._switches))
        self._solve(now)

    def inject_fault(self, section: int, now: float, *, clears_after_dead_s: float | None = None) -> None:
        """Put a fault into a section; one that is faulted already stays as it is.

        Args:
            section: index of the section.
            now: monotonic seconds.
            clears_after_dead_s: the fault is out by itself once no fault current has flowed into it for this
                long, s; None for a permanent one.

        Raises:
            KeyError: there is no such section.
            ValueError: the time is negative.
        """
        self._sections[section]  # raises
        if clears_after_dead_s is not None and clears_after_dead_s < 0:
            raise ValueError(f"clears_after_dead_s must not be negative, as {clears_after_dead_s} is")
        at = self._advance(now)
        if section not in self._faults:
            self._faults[section] = clears_after_dead_s
            self._events.append(FaultAppeared(at, self._stamp(at), section, clears_after_dead_s))
            self._solve(at)

    def clear_fault(self, section: int, now: float) -> None:
        """Repair a section.

        Raises:
            KeyError: there is no such section.
        """
        self._sections[section]  # raises
        at = self._advance(now)
        if section in self._faults:
            self._under_way.pop((_FAULT_OUT, section), None)
            self._end_fault(at, section)

    def set_source(self, section: int, live: bool, now: float) -> None:
        """Take a source section's supply from above away, or give it back.

        Raises:
            KeyError: there is no such section.
            ValueError: it is not a source section.
        """
        if not self._sections[section].is_source:
            raise ValueError(f"section {section} is no source section")
        at = self._advance(now)
        if live == (section in self._live):
            return
        if live:
            self._live.add(section)
            self._events.append(SourceReturned(at, self._stamp(at), section))
        else:
            self._live.remove(section)
            self._events.append(SourceLost(at, self._stamp(at), section))
        self._solve(at)

    def fail_switch(self, number: int, *, to_open: bool, to_close: bool, now: float) -> None:
        """Let a switch disobey commands, or obey them again, from now on; what it has begun it finishes.

        Args:
            number: of the switch.
            to_open: whether it no longer obeys an open command.
            to_close: whether it no longer obeys a close command.
            now: monotonic seconds.

        Raises:
            KeyError: there is no such switch.
        """
        self._switches[number]  # raises
        at = self._advance(now)
        self._events.append(ApparatusChanged(at, self._stamp(at), number, to_open, to_close))
        for switches, fails in ((self._fails_to["open"], to_open), (self._fails_to["close"], to_close)):
            (switches.add if fails else switches.discard)(number)

    def operate_by_hand(self, number: int, operation: Operation, now: float) -> None:
        """Let a person at the apparatus operate a switch: by hand crank, so that one that is stuck moves too.

        Raises:
            KeyError: there is no such switch.
        """
        switch = self._switches[number]
        at = self._advance(now)
        self._events.append(OperatedByHand(at, self._stamp(at), number, operation))
        self._operate(at, switch, operation, stuck=False)

    def command(self, command: SwitchCommand, now: float) -> None:
        """Order a switch to open or close.

        Raises:
            KeyError: there is no such switch.
        """
        number, operation = command.switch, command.operation
        switch = self._switches[number]
        at = self._advance(now)
        self._events.append(CommandReceived(at, self._stamp(at), number, operation, command.number))
        self._operate(at, switch, operation, stuck=number in self._fails_to[operation])

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timer` has something to do, in monotonic seconds; may lie in the past."""
        return self._now if self._out else self._next_due()

    def next_pickup(self) -> float | None:
        """When the next pickup is due, in monotonic seconds: the one deadline that reaction times hang on."""
        return min((due for (kind, _), due in self._under_way.items() if kind == _PICKUP), default=None)

    def handle_timer(self, now: float) -> list[SwitchInputs]:
        """Let the plant run until ``now``.

        Returns:
            A snapshot for each change since the last call, in the order in which they happened, each stamped
            with its own moment.
        """
        self._advance(now)
        out, self._out = self._out, []
        return out

    def snapshot(self, number: int, now: float) -> SwitchInputs:
        """What the process of one switch says at ``now``.

        Raises:
            KeyError: there is no such switch.
        """
        return self._inputs(self._advance(now), self._switches[number])

    def flow(self) -> PlantFlow:
        """Currents and voltages of the whole plant, as they truly are."""
        return self._flow

    def energised(self) -> dict[int, int]:
        """Each section under voltage, with the section that feeds it: a source, or one whose generation runs."""
        return {**self._flow.source, **self._flow.island}

    def positions(self) -> dict[int, Dbpos]:
        """True position of each switch."""
        return {number: switch.position for number, switch in self._switches.items()}

    def conducting(self) -> frozenset[int]:
        """Switches through which current can flow; one in motion conducts until it is open."""
        return self._conducting

    def load_flow(self) -> dict[int, float]:
        """Load current of each conducting switch, A, positive from side A to side B."""
        return dict(self._flow.load_a)

    def faults(self) -> frozenset[int]:
        """Faulted sections."""
        return frozenset(self._faults)

    def events(self) -> list[PlantEvent]:
        """What happened since the last call; whoever runs a plant for long drains it."""
        events, self._events = self._events, []
        return events

    def _advance(self, now: float) -> float:
        """Carry out everything due until ``now``, each at its own time; return the plant's time then."""
        while (due := self._next_due()) is not None and due <= now:
            _, _, kind, number = heapq.heappop(self._heap)
            del self._under_way[kind, number]
            self._now = max(self._now, due)
            self._happen[kind](due, number)
        self._now = max(self._now, now)
        return self._now

    def _operate(self, at: float, switch: _Switch, operation: Operation, *, stuck: bool) -> None:
        if switch.operation == operation or (switch.operation is None and switch.conducting == (operation == "close")):
            self._not_obeyed(at, switch, operation, "there already")
        elif switch.operation == "open":
            self._not_obeyed(at, switch, operation, "still opening")
        elif stuck:
            self._not_obeyed(at, switch, operation, "stuck")
        else:
            self._start_operation(at, switch, operation)

    def _start_operation(self, at: float, switch: _Switch, operation: Operation) -> None:
        equipment = switch.equipment
        switch.operation = operation
        switch.overloaded = False
        if operation == "open":
            self._judge_breaking(at, switch)
        duration = equipment.opening_time_s if operation == "open" else equipment.closing_time_s
        self._schedule(_OPERATION, equipment.number, at + duration * self._settings.slowness.get(equipment.number, 1.0))
        self._move(at, switch, Dbpos.INTERMEDIATE)
        self._show(at, switch)

    def _finish_operation(self, at: float, number: int) -> None:
        switch = self._switches[number]
        operation = switch.operation
        switch.operation = None
        if operation == "open":
            self._judge_breaking(at, switch)
            if switch.overloaded and not self._settings.opens_above_capability:
                self._not_obeyed(at, switch, "open", "not broken")
                self._move(at, switch, Dbpos.ON)
                self._show(at, switch)
                return
        conducts = operation == "close"
        self._move(at, switch, Dbpos.ON if conducts else Dbpos.OFF)
        if switch.conducting == conducts:  # an opening that cut a closing short
            self._show(at, switch)
            return
        switch.conducting = conducts
        self._conducting ^= {number}
        self._solve(at, moved=switch)

    def _move(self, at: float, switch: _Switch, position: Dbpos) -> None:
        number = switch.equipment.number
        switch.position = position
        self._events.append(PositionChanged(at, self._stamp(at), number, position))
        late_s = self._settings.position_late_s.get(number, 0.0)
        if not late_s:
            switch.reported = position
            return
        switch.reports.append((at + late_s, position))
        if len(switch.reports) == 1:
            self._schedule(_REPORT, number, at + late_s)

    def _report_position(self, at: float, number: int) -> None:
        switch = self._switches[number]
        _, switch.reported = switch.reports.popleft()
        if switch.reports:
            self._schedule(_REPORT, number, switch.reports[0][0])
        self._show(at, switch)

    def _pick_up(self, at: float, number: int) -> None:
        switch = self._switches[number]
        switch.pickup = True
        switch.direction = self._flow.fault[number]
        self._events.append(PickedUp(at, self._stamp(at), number, switch.direction))
        self._show(at, switch)

    def _reset_pickup(self, at: float, number: int) -> None:
        switch = self._switches[number]
        switch.pickup = False
        switch.direction = Direction.UNKNOWN
        self._events.append(PickupReset(at, self._stamp(at), number))
        self._show(at, switch)

    def _refresh(self, at: float, number: int) -> None:
        self._show(at, self._switches[number])
        self._schedule(_REFRESH, number, at + self._settings.refresh_s)

    def _end_fault(self, at: float, section: int) -> None:
        del self._faults[section]
        self._events.append(FaultCleared(at, self._stamp(at), section))
        if section in self._flow.fed:
            self._solve(at)

    def _stop_generation(self, at: float, section: int) -> None:
        self._running.remove(section)
        self._events.append(GenerationStopped(at, self._stamp(at), section))
        if section in self._flow.island:
            self._solve(at)

    def _not_obeyed(self, at: float, switch: _Switch, operation: Operation, reason: Refusal) -> None:
        self._events.append(CommandNotObeyed(at, self._stamp(at), switch.equipment.number, operation, reason))

    def _judge_breaking(self, at: float, switch: _Switch) -> None:
        """Note, once per operation, that it opens on more than it can interrupt."""
        current = self._current(switch.equipment.number)
        if switch.conducting and not switch.overloaded and current > switch.equipment.breaking_a:
            switch.overloaded = True
            self._events.append(
                OpenedAboveCapability(
                    at, self._stamp(at), switch.equipment.number, current, switch.equipment.breaking_a
                )
            )

    def _solve(self, at: float, moved: _Switch | None = None) -> None:
        """Find the new currents and voltages; show every switch that sees a difference, and ``moved``."""
        before = self._flow
        self._flow = self._solver.solve(self._conducting, self._live, self._faults, self._running)
        self._follow_generation(at)
        self._events.extend(supply_changes(at, self._stamp(at), before, self._flow))
        self._follow_faults(at)
        self._follow_fault_currents(at)
        for number, switch in self._switches.items():
            # A measurement is no faster than the protection: fault current shows with the pickup, not before.
            if switch is moved or ((_PICKUP, number) not in self._under_way and self._seen(switch) != switch.shown):
                self._show(at, switch)

    def _follow_generation(self, at: float) -> None:
        """Let generation stop, at once or after its time, where there is no source."""
        lost = sorted(self._running - self._flow.source.keys())
        for section in self._running - set(lost):
            self._under_way.pop((_GENERATION_STOP, section), None)
        if self._settings.generation_trip_s:
            for section in lost:
                if (_GENERATION_STOP, section) not in self._under_way:
                    self._schedule(_GENERATION_STOP, section, at + self._settings.generation_trip_s)
        elif lost:
            self._running.difference_update(lost)
            self._events.extend(GenerationStopped(at, self._stamp(at), section) for section in lost)
            self._flow = self._solver.solve(self._conducting, self._live, self._faults, self._running)

    def _follow_faults(self, at: float) -> None:
        """Let transient faults go out where they have been without infeed for their time."""
        for section, dead_s in self._faults.items():
            if section in self._flow.fed:
                self._under_way.pop((_FAULT_OUT, section), None)
            elif dead_s is not None and (_FAULT_OUT, section) not in self._under_way:
                self._schedule(_FAULT_OUT, section, at + dead_s)

    def _follow_fault_currents(self, at: float) -> None:
        """Start pickups where fault current began, end them where it stopped."""
        settings = self._settings
        for number, switch in self._switches.items():
            direction = self._flow.fault.get(number)
            if direction is None:
                self._under_way.pop((_PICKUP, number), None)
                if switch.pickup and (_RESET, number) not in self._under_way:
                    self._schedule(_RESET, number, at + settings.pickup_reset_s)
                continue
            self._under_way.pop((_RESET, number), None)
            if not switch.pickup:
                if (_PICKUP, number) not in self._under_way:
                    self._schedule(_PICKUP, number, at + self._rng.uniform(0.0, settings.pickup_spread_s))
            elif switch.direction is not direction:
                switch.direction = direction
                switch.shown = None

    def _current(self, number: int) -> float:
        """Magnitude of the current through a switch, A."""
        fault = self._settings.fault_current_a if number in self._flow.fault else 0.0
        return abs(self._flow.load_a.get(number, 0.0)) + fault

    def _seen(self, switch: _Switch) -> _Seen:
        number = switch.equipment.number
        side_a, side_b = switch.equipment.sides
        flow = self._flow
        voltage = (
            Voltage.PRESENT if flow.under_voltage(side_a) else Voltage.ABSENT,
            Voltage.PRESENT if flow.under_voltage(side_b) else Voltage.ABSENT,
        )
        if stuck := self._settings.voltage_stuck.get(number):
            voltage = (
                voltage[0] if stuck[0] is None else stuck[0],
                voltage[1] if stuck[1] is None else stuck[1],
            )
        return (
            flow.load_a.get(number, 0.0),
            self._current(number),
            voltage,
            (flow.generation_a.get(side_a, 0.0), flow.generation_a.get(side_b, 0.0)),
        )

    def _show(self, at: float, switch: _Switch) -> None:
        self._out.append(self._inputs(at, switch))

    def _inputs(self, at: float, switch: _Switch) -> SwitchInputs:
        number = switch.equipment.number
        switch.shown = self._seen(switch)
        switch.sequence += 1
        flow_a, current_a, voltage, generation_a = switch.shown
        return SwitchInputs(
            switch=number,
            sequence=switch.sequence,
            stamp_ns=self._stamp(at),
            position=switch.reported,
            position_valid=True,
            pickup=switch.pickup,
            direction=switch.direction,
            direction_trusted=number not in self._settings.untrusted_direction,
            flow_a=flow_a,
            current_a=current_a,
            voltage=voltage,
            generation_a=generation_a,
        )

    def _stamp(self, at: float) -> int:
        return round(at * 1e9) + self.clock_offset_ns

    def _schedule(self, kind: str, number: int, due: float) -> None:
        self._scheduled += 1
        self._under_way[kind, number] = due
        heapq.heappush(self._heap, (due, self._scheduled, kind, number))

    def _next_due(self) -> float | None:
        """When the next thing is due; what was called off leaves the heap here."""
        while self._heap:
            due, _, kind, number = self._heap[0]
            if self._under_way.get((kind, number)) == due:
                return due
            heapq.heappop(self._heap)
        return None
