"""An agent's process behind a relay that speaks GOOSE: values by meaning in, snapshots out; orders in, states out.

Sans-IO. What the relay says is believed as long as its streams live and its qualities are good: without its protection
elements there is no snapshot at all, for their silence would pass for "no fault"; anything else is unknown alone.
What elements can prove: a directional start tells where the fault is; a start without direction (PIOC, an earth-fault
indicator without voltage), the relay's own trip, or starts that contradict each other tell only that there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ied_agents.iec61850.data import Data
    from ied_agents.process.inputs import Operation

PRESENT_FROM: Final = 0.8
ABSENT_TO: Final = 0.2
"""Of the nominal voltage; between them it is unknown."""
REFRESH_S: Final = 0.5
"""How often a snapshot is made without news, while the streams live."""
_ALARM: Final = 3  # Health (IEC 61850-7-4)
_PROTECTION: Final = frozenset(("Str", "Tr"))

Part = Literal["value", "quality", "direction"]


class RelayValueError(ValueError):
    """A value of a relay's data set that is not of the type the SCD gives; the message names the element."""


@dataclass(frozen=True, slots=True)
class RelaySignal:
    """One basic value of a relay's stream and what it means.

    Attributes:
        signal: ``Pos``, ``Str`` and so on, as in ``scl.relay_model.SIGNALS``.
        part: the value itself, its quality, or the direction of a start.
        element: the data object it belongs to; its parts go together.
        stream: index of the stream.
        place: in which member of the data set, and in which component of that.
        nominal: of a voltage in V; 0 for one that is told as present or not, and for anything else.
    """

    signal: str
    part: Part
    element: str
    stream: int
    place: tuple[int, ...]
    nominal: float = 0.0


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """What an agent must know of its relay.

    Attributes:
        signals: its values.
        reversed: the relay's forward direction is from side B to side A.
        generation_a: local generation at side A and at side B to reckon with where none is measured, A.
        pulse_s: how long an order is held at the most, s.
    """

    signals: tuple[RelaySignal, ...]
    reversed: bool
    generation_a: tuple[float, float]
    pulse_s: float


@dataclass(slots=True, eq=False)
class _Element:
    """A data object of the relay, as heard last."""

    signal: str
    value: Any = None
    quality: Quality | None = None
    direction: Direction = Direction.UNKNOWN
    nominal: float = 0.0
    streams: set[int] = field(default_factory=set)

    def usable(self, alive: set[int], *, in_test: bool) -> bool:
        """Whether its value can be trusted; one marked as test by an agent in test alone."""
        if self.value is None or not self.streams <= alive:
            return False
        quality = self.quality
        if quality is None:
            return True
        sound = quality.validity is Validity.GOOD and not quality.substituted and not quality.operatorBlocked
        return sound and (in_test or not quality.test)


class RelayInputs:
    """Makes snapshots of what a relay says.

    Args:
        config: what its values mean.
        switch: number of the switch.
    """

    def __init__(self, config: RelayConfig, switch: int) -> None:
        self._config = config
        self._switch = switch
        self._elements: dict[tuple[str, str], _Element] = {}
        self._by_stream: dict[int, list[tuple[RelaySignal, _Element]]] = {}
        for signal in config.signals:
            element = self._elements.setdefault((signal.signal, signal.element), _Element(signal.signal))
            element.nominal = element.nominal or signal.nominal
            element.streams.add(signal.stream)
            self._by_stream.setdefault(signal.stream, []).append((signal, element))
        self._alive: set[int] = set()
        self._sequence = 0
        self._stamp_ns = 0

    def read(self, stream: int, values: tuple[Data, ...]) -> list[tuple[_Element, Part, Any]]:
        """What a state of a stream says, for :meth:`take`.

        Args:
            stream: index of the stream.
            values: its members.

        Raises:
            RelayValueError: a value is not there, or not of the type it should have.
        """
        return [(element, signal.part, _read(signal, values)) for signal, element in self._by_stream[stream]]

    def take(self, stream: int, said: list[tuple[_Element, Part, Any]], stamp_ns: int) -> None:
        """A new state of a stream, which changed at ``stamp_ns`` by the relay's clock."""
        for element, part, value in said:
            setattr(element, part, value)
        self._stamp_ns = max(self._stamp_ns, stamp_ns)
        self._alive.add(stream)

    def lost(self, stream: int) -> None:
        """A stream's time to live ran out: nothing in it is known any more."""
        self._alive.discard(stream)

    def resumed(self, stream: int) -> None:
        """It goes on as it was; a new state follows if it changed meanwhile."""
        self._alive.add(stream)

    def snapshot(self, *, in_test: bool) -> SwitchInputs | None:
        """What the relay says now; None if it does not see faults, or is not well.

        Args:
            in_test: the agent is in test: values marked as test count.
        """
        elements = self._elements.values()
        known = [element for element in elements if element.usable(self._alive, in_test=in_test)]
        blind = len(known) < len(elements) and any(e.signal in _PROTECTION and e not in known for e in elements)
        ill = any(element.signal == "Health" and element.value == _ALARM for element in known)
        if blind or ill:
            return None
        by_signal: dict[str, list[_Element]] = {}
        for element in known:
            by_signal.setdefault(element.signal, []).append(element)
        self._sequence += 1
        position = by_signal.get("Pos")
        started = [e for name in _PROTECTION for e in by_signal.get(name, ()) if e.value]
        direction = self._direction(started)
        current = max((abs(e.value) for e in by_signal.get("A", ())), default=None)
        return SwitchInputs(
            switch=self._switch,
            sequence=self._sequence,
            stamp_ns=self._stamp_ns,
            position=position[0].value if position else Dbpos.INTERMEDIATE,
            position_valid=position is not None,
            pickup=bool(started),
            direction=direction,
            direction_trusted=direction in (Direction.FORWARD, Direction.BACKWARD),
            flow_a=self._flow(current, by_signal.get("TotW")),
            current_a=current,
            voltage=(self._voltage("VolA", by_signal), self._voltage("VolB", by_signal)),
            generation_a=(self._generation(0, by_signal), self._generation(1, by_signal)),
        )

    def _direction(self, started: Iterable[_Element]) -> Direction:
        told = {e.direction for e in started if e.direction is not Direction.UNKNOWN}
        if len(told) != 1 or Direction.BOTH in told:
            return Direction.BOTH if told else Direction.UNKNOWN
        (direction,) = told
        if not self._config.reversed:
            return direction
        return Direction.BACKWARD if direction is Direction.FORWARD else Direction.FORWARD

    def _flow(self, current_a: float | None, power: list[_Element] | None) -> float | None:
        """Load current with the sign of the active power."""
        if current_a is None or not power:
            return None
        flow = math.copysign(current_a, power[0].value) if power[0].value else 0.0
        return -flow if self._config.reversed else flow

    def _voltage(self, signal: str, by_signal: Mapping[str, list[_Element]]) -> Voltage:
        """Present or absent if all phases say so, and every one that is configured is heard."""
        heard = by_signal.get(signal, [])
        configured = sum(name == signal for name, _ in self._elements)
        if not heard or len(heard) < configured:
            return Voltage.UNKNOWN
        parts = [float(e.value) / e.nominal if e.nominal else float(e.value) for e in heard]
        if min(parts) >= PRESENT_FROM:
            return Voltage.PRESENT
        return Voltage.ABSENT if max(parts) <= ABSENT_TO else Voltage.UNKNOWN

    def _generation(self, side: int, by_signal: Mapping[str, list[_Element]]) -> float:
        measured = by_signal.get(("GenA", "GenB")[side])
        return abs(measured[0].value) if measured else self._config.generation_a[side]


def _read(signal: RelaySignal, values: tuple[Data, ...]) -> Any:
    """The value of a signal in a state.

    Raises:
        RelayValueError: it is not there, or of another type.
    """
    value: Any = values
    try:
        for step in signal.place:
            value = value[step]
        if signal.part == "quality":
            return Quality.from_bit_string(_of(BitString, value))
        if signal.part == "direction":
            return Direction(_of(int, value))
        if signal.signal == "Pos":
            return Dbpos.from_bit_string(_of(BitString, value))
        if signal.signal in _PROTECTION:
            return _of(bool, value)
        if signal.signal == "Health":
            return _of(int, value)
        if type(value) is bool and signal.signal in ("VolA", "VolB"):
            return value
        return _finite(_of(float, value))
    except (IndexError, TypeError, ValueError) as error:
        raise RelayValueError(f"{signal.element} ({signal.signal}, {signal.part}): {error}") from None


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no measured value")
    return value


@dataclass(frozen=True, slots=True)
class RelayOrders:
    """What the relay is told: whether to open, to close, and whether closing is blocked."""

    open: bool = False
    close: bool = False
    block_close: bool = False


class OrderPulses:
    """Holds orders as state until they have had their effect, or for the longest time an operation takes.

    A close ends at once with anything that speaks against it: an order to open, or a block.

    Args:
        pulse_s: longest time, s.

    Attributes:
        orders: what the relay is told now.
        next_deadline: when :meth:`follow` must be called, s.
    """

    def __init__(self, pulse_s: float) -> None:
        self._pulse_s = pulse_s
        self.orders = RelayOrders()
        self.next_deadline = math.inf
        self._operation: Operation | None = None

    def give(self, operation: Operation, now: float) -> None:
        """An order of the agent."""
        self._operation = operation
        self.next_deadline = now + self._pulse_s

    def follow(self, position: Dbpos, now: float, *, block_close: bool) -> RelayOrders:
        """What to tell the relay now.

        Args:
            position: of the switch; anything but on and off if it is not known.
            now: s.
            block_close: closing is blocked.
        """
        reached = {"open": Dbpos.OFF, "close": Dbpos.ON}
        operation = self._operation
        if operation is not None and (
            position is reached[operation] or now >= self.next_deadline or (operation == "close" and block_close)
        ):
            self._operation = operation = None
            self.next_deadline = math.inf
        self.orders = RelayOrders(operation == "open", operation == "close", block_close)
        return self.orders
