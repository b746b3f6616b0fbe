"""The simulated plant: primary equipment, faults, protection pickups, and what each agent sees of them.

Sans-IO: whoever drives it hands in the time and sends on what comes out. The same plant runs under virtual
time in the scenarios and in its own process in the demo.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Operation, SwitchCommand, SwitchInputs, Voltage
from ied_agents.process.plant_events import (
    CommandNotObeyed,
    CommandReceived,
    FaultAppeared,
    FaultCleared,
    FaultCurrentStarted,
    FaultCurrentStopped,
    OpenedAboveCapability,
    PickedUp,
    PickupReset,
    PlantEvent,
    PositionChanged,
    Refusal,
    SectionDeenergised,
    SectionEnergised,
    SourcesParalleled,
)
from ied_agents.process.plant_flow import FlowSolver, PlantFlow

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from ied_agents.process.plant_network import PlantNetwork, PlantSwitch

_OPERATION: Final = "operation"
_PICKUP: Final = "pickup"
_RESET: Final = "reset"
_REFRESH: Final = "refresh"


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

    def __post_init__(self) -> None:
        if min(self.pickup_spread_s, self.pickup_reset_s, *self.slowness.values()) < 0:
            raise ValueError("pickup_spread_s, pickup_reset_s and slowness must not be negative")
        if self.refresh_s <= 0:
            raise ValueError(f"refresh_s must be above 0, not {self.refresh_s}")


class _Switch:
    """What changes about one switch."""

    __slots__ = (
        "conducting",
        "direction",
        "due",
        "equipment",
        "operation",
        "overloaded",
        "pickup",
        "position",
        "sequence",
        "shown",
    )

    def __init__(self, equipment: PlantSwitch) -> None:
        self.equipment = equipment
        self.conducting = equipment.closed
        self.position = Dbpos.ON if equipment.closed else Dbpos.OFF
        self.operation: Operation | None = None
        self.overloaded = False
        self.pickup = False
        self.direction = Direction.UNKNOWN
        # When operation, pickup, reset and refresh are due; what is not listed is not under way.
        self.due: dict[str, float] = {}
        self.sequence = 0
        # Currents, voltages and generation as last shown, to tell whether a new solution changes them.
        self.shown: tuple[float, float, tuple[Voltage, Voltage], float] | None = None


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
        self._network = network
        self._settings = settings
        self._rng = rng
        self._now = now
        self._solver = FlowSolver(network)
        self._live = {section.index for section in network.sections if section.is_source}
        self._generation = {section.index: section.generation_a for section in network.sections}
        self._switches = {switch.number: _Switch(switch) for switch in network.switches}
        self._faults: set[int] = set()
        self._fed_faults: set[int] = set()
        self._flow = PlantFlow()
        self._out: list[SwitchInputs] = []
        self._events: list[PlantEvent] = []
        self._heap: list[tuple[float, int, str, int]] = []
        self._scheduled = 0
        for place, number in enumerate(self._switches, start=1):
            # Staggered, so that the agents are not all woken in the same moment.
            self._schedule(number, _REFRESH, now + settings.refresh_s * place / len(self._switches))
        self._solve(now)

    def inject_fault(self, section: int, now: float) -> None:
        """Put a permanent fault into a section.

        Raises:
            KeyError: there is no such section.
        """
        self._change_fault(section, now, present=True)

    def clear_fault(self, section: int, now: float) -> None:
        """Repair a section.

        Raises:
            KeyError: there is no such section.
        """
        self._change_fault(section, now, present=False)

    def command(self, command: SwitchCommand, now: float) -> None:
        """Order a switch to open or close.

        Raises:
            KeyError: there is no such switch.
        """
        switch = self._switches[command.switch]
        at = self._advance(now)
        operation = command.operation
        self._events.append(CommandReceived(at, self._stamp(at), command.switch, operation, command.number))
        if switch.operation == operation or (switch.operation is None and switch.conducting == (operation == "close")):
            self._not_obeyed(at, switch, operation, "there already")
        elif switch.operation == "open":
            self._not_obeyed(at, switch, operation, "still opening")
        elif command.switch in (self._settings.fail_to_open if operation == "open" else self._settings.fail_to_close):
            self._not_obeyed(at, switch, operation, "stuck")
        else:
            self._start_operation(at, switch, operation)

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timer` has something to do, in monotonic seconds; may lie in the past."""
        return self._now if self._out else self._due()

    def next_pickup(self) -> float | None:
        """When the next pickup is due, in monotonic seconds: the one deadline that reaction times hang on."""
        return min((switch.due[_PICKUP] for switch in self._switches.values() if _PICKUP in switch.due), default=None)

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

    def energised(self) -> dict[int, int]:
        """Each section under voltage, with the source section that feeds it."""
        return dict(self._flow.source)

    def positions(self) -> dict[int, Dbpos]:
        """Position of each switch."""
        return {number: switch.position for number, switch in self._switches.items()}

    def conducting(self) -> frozenset[int]:
        """Switches through which current can flow; one in motion conducts until it is open."""
        return frozenset(number for number, switch in self._switches.items() if switch.conducting)

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
        while (due := self._due()) is not None and due <= now:
            _, _, kind, number = heapq.heappop(self._heap)
            switch = self._switches[number]
            del switch.due[kind]
            self._now = max(self._now, due)
            if kind == _OPERATION:
                self._finish_operation(due, switch)
            elif kind == _REFRESH:
                self._show(due, switch)
                self._schedule(number, _REFRESH, due + self._settings.refresh_s)
            elif kind == _PICKUP:
                switch.pickup = True
                switch.direction = self._flow.fault[number]
                self._events.append(PickedUp(due, self._stamp(due), number, switch.direction))
                self._show(due, switch)
            else:
                switch.pickup = False
                switch.direction = Direction.UNKNOWN
                self._events.append(PickupReset(due, self._stamp(due), number))
                self._show(due, switch)
        self._now = max(self._now, now)
        return self._now

    def _start_operation(self, at: float, switch: _Switch, operation: Operation) -> None:
        equipment = switch.equipment
        switch.operation = operation
        switch.overloaded = False
        if operation == "open":
            self._judge_breaking(at, switch)
        duration = equipment.opening_time_s if operation == "open" else equipment.closing_time_s
        self._schedule(equipment.number, _OPERATION, at + duration * self._settings.slowness.get(equipment.number, 1.0))
        self._move(at, switch, Dbpos.INTERMEDIATE)
        self._show(at, switch)

    def _finish_operation(self, at: float, switch: _Switch) -> None:
        operation = switch.operation
        switch.operation = None
        if operation == "open":
            self._judge_breaking(at, switch)
            if switch.overloaded and not self._settings.opens_above_capability:
                self._not_obeyed(at, switch, "open", "not broken")
                self._move(at, switch, Dbpos.ON)
                self._show(at, switch)
                return
        switch.conducting = operation == "close"
        self._move(at, switch, Dbpos.ON if switch.conducting else Dbpos.OFF)
        self._solve(at, moved=switch)

    def _move(self, at: float, switch: _Switch, position: Dbpos) -> None:
        switch.position = position
        self._events.append(PositionChanged(at, self._stamp(at), switch.equipment.number, position))

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

    def _change_fault(self, section: int, now: float, *, present: bool) -> None:
        if section not in self._generation:
            raise KeyError(section)
        at = self._advance(now)
        if present == (section in self._faults):
            return
        if present:
            self._faults.add(section)
            self._events.append(FaultAppeared(at, self._stamp(at), section))
        else:
            self._faults.remove(section)
            self._events.append(FaultCleared(at, self._stamp(at), section))
        self._solve(at)

    def _solve(self, at: float, moved: _Switch | None = None) -> None:
        """Find the new currents and voltages; show every switch that sees a difference, and ``moved``."""
        before = self._flow
        self._flow = self._solver.solve(self.conducting(), self._live, self._faults)
        self._report_supply(at, before)
        self._follow_fault_currents(at)
        for switch in self._switches.values():
            # A measurement is no faster than the protection: fault current shows with the pickup, not before.
            if switch is moved or (_PICKUP not in switch.due and self._seen(switch) != switch.shown):
                self._show(at, switch)

    def _report_supply(self, at: float, before: PlantFlow) -> None:
        stamp = self._stamp(at)
        for section in self._generation:
            source = self._flow.source.get(section)
            if source is None and section in before.source:
                self._events.append(SectionDeenergised(at, stamp, section))
            elif source is not None and source != before.source.get(section):
                self._events.append(SectionEnergised(at, stamp, section, source))
        self._events.extend(
            SourcesParalleled(at, stamp, pair) for pair in sorted(self._flow.paralleled - before.paralleled)
        )
        fed = self._faults & self._flow.source.keys()
        self._events.extend(FaultCurrentStarted(at, stamp, section) for section in sorted(fed - self._fed_faults))
        self._events.extend(FaultCurrentStopped(at, stamp, section) for section in sorted(self._fed_faults - fed))
        self._fed_faults = fed

    def _follow_fault_currents(self, at: float) -> None:
        """Start pickups where fault current began, end them where it stopped."""
        settings = self._settings
        for number, switch in self._switches.items():
            direction = self._flow.fault.get(number)
            if direction is None:
                switch.due.pop(_PICKUP, None)
                if switch.pickup and _RESET not in switch.due:
                    self._schedule(number, _RESET, at + settings.pickup_reset_s)
                continue
            switch.due.pop(_RESET, None)
            if not switch.pickup and _PICKUP not in switch.due:
                self._schedule(number, _PICKUP, at + self._rng.uniform(0.0, settings.pickup_spread_s))
            elif switch.pickup and switch.direction is not direction:
                switch.direction = direction
                switch.shown = None

    def _current(self, number: int) -> float:
        """Magnitude of the current through a switch, A."""
        fault = self._settings.fault_current_a if number in self._flow.fault else 0.0
        return abs(self._flow.load_a.get(number, 0.0)) + fault

    def _seen(self, switch: _Switch) -> tuple[float, float, tuple[Voltage, Voltage], float]:
        """Load current, current, voltages and generation as the sensors of one switch see them."""
        number = switch.equipment.number
        side_a, side_b = switch.equipment.sides
        source = self._flow.source
        return (
            self._flow.load_a.get(number, 0.0),
            self._current(number),
            (
                Voltage.PRESENT if side_a in source else Voltage.ABSENT,
                Voltage.PRESENT if side_b in source else Voltage.ABSENT,
            ),
            sum(self._generation[side] for side in (side_a, side_b) if side in source),
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
            position=switch.position,
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

    def _schedule(self, number: int, kind: str, due: float) -> None:
        self._scheduled += 1
        self._switches[number].due[kind] = due
        heapq.heappush(self._heap, (due, self._scheduled, kind, number))

    def _due(self) -> float | None:
        """When the next thing is due; what was called off leaves the heap here."""
        while self._heap:
            due, _, kind, number = self._heap[0]
            if self._switches[number].due.get(kind) == due:
                return due
            heapq.heappop(self._heap)
        return None
