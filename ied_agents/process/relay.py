"""An agent's process behind a relay that speaks GOOSE: values by meaning in, snapshots out; orders in, states out.

Sans-IO. What the relay says is believed as long as its streams are heard and its qualities are good: without its
protection elements there is no snapshot at all, for their silence would pass for "no fault"; anything else is unknown
alone, and so is a value that cannot be read. Where several mean the same, all must be known, and positions agree.

What elements can prove: a directional start tells where the fault is; a start without direction (PIOC, an earth-fault
indicator without voltage), the relay's own trip, or starts that contradict each other tell only that there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import INVALID, Quality, Validity
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
SILENCE_S: Final = 3.0
"""A stream that was not heard for so long is not believed, however long its publisher would have it live."""
_IDLE_A: Final = 1.0
"""A current below this needs no direction: it is no load."""
_REACHED: Final = {"open": Dbpos.OFF, "close": Dbpos.ON}
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

    def usable(self, fresh: set[int], *, in_test: bool) -> bool:
        """Whether its value can be trusted; one marked as test by an agent in test alone."""
        if self.value is None or not self.streams <= fresh:
            return False
        quality = self.quality
        if quality is None:
            return True
        sound = quality.validity is Validity.GOOD and not quality.substituted and not quality.operatorBlocked
        return sound and (in_test or not quality.test)

    def take(self, part: Part, value: Any) -> None:
        """A part as heard; None if it could not be read."""
        if part == "quality":
            self.quality = INVALID if value is None else value
        elif part == "direction":
            self.direction = Direction.UNKNOWN if value is None else value
        else:
            self.value = value


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
        self._heard_at: dict[int, float] = {}
        self._sequence = 0
        self._stamp_ns = 0
        needed = ("Pos", *_PROTECTION)
        self._needed = {signal.stream for signal in config.signals if signal.signal in needed}

    def take(self, stream: int, values: tuple[Data, ...], stamp_ns: int) -> list[str]:
        """A new state of a stream, which changed at ``stamp_ns`` by the relay's clock.

        Args:
            stream: index of the stream.
            values: its members.
            stamp_ns: as its publisher says.

        Returns:
            What of it could not be read: by element, meaning and part, with the reason.
        """
        problems = []
        for signal, element in self._by_stream[stream]:
            try:
                value = _read(signal, values)
            except RelayValueError as error:
                value = None
                problems.append(str(error))
            element.take(signal.part, value)
        self._stamp_ns = max(self._stamp_ns, stamp_ns)
        return problems

    def heard(self, stream: int, now: float) -> None:
        """A frame of a stream came, with a new state or the last one once more."""
        self._heard_at[stream] = now

    def lost(self, stream: int) -> None:
        """Nothing in a stream is known until it is heard again: its time to live ran out, or it cannot be read."""
        self._heard_at.pop(stream, None)

    @property
    def heard_at(self) -> float:
        """When position and protection were heard last, s: how old a snapshot's word is."""
        return min((self._heard_at.get(stream, -math.inf) for stream in self._needed), default=-math.inf)

    def snapshot(self, now: float, *, in_test: bool) -> SwitchInputs | None:
        """What the relay says now; None if it does not see faults, or is not well.

        Args:
            now: s.
            in_test: the agent is in test: values marked as test count.
        """
        fresh = {stream for stream, at in self._heard_at.items() if now - at <= SILENCE_S}
        known: dict[str, list[_Element] | None] = {}
        for element in self._elements.values():
            so_far = known.setdefault(element.signal, [])
            usable = element.usable(fresh, in_test=in_test)
            known[element.signal] = [*so_far, element] if so_far is not None and usable else None
        if any(name in known and known[name] is None for name in (*_PROTECTION, "Health")):
            return None
        if any(element.value == _ALARM for element in known.get("Health") or ()):
            return None
        self._sequence += 1
        positions = {element.value for element in known.get("Pos") or ()}
        started = [e for name in _PROTECTION for e in known.get(name) or () if e.value]
        direction = self._direction(started)
        current = max((abs(element.value) for element in known.get("A") or ()), default=None)
        return SwitchInputs(
            switch=self._switch,
            sequence=self._sequence,
            stamp_ns=self._stamp_ns,
            position=positions.pop() if len(positions) == 1 else Dbpos.INTERMEDIATE,
            position_valid=bool(known.get("Pos")) and not positions,
            pickup=bool(started),
            direction=direction,
            direction_trusted=direction in (Direction.FORWARD, Direction.BACKWARD),
            flow_a=self._flow(current, known.get("TotW")),
            current_a=current,
            voltage=(_voltage(known.get("VolA")), _voltage(known.get("VolB"))),
            generation_a=(self._generation(0, known), self._generation(1, known)),
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
        """Load current with the sign of the active power; a current without one has no known direction."""
        if current_a is None or not power:
            return None
        watts = power[0].value
        if not watts:
            return 0.0 if current_a < _IDLE_A else None
        flow = math.copysign(current_a, watts)
        return -flow if self._config.reversed else flow

    def _generation(self, side: int, known: Mapping[str, list[_Element] | None]) -> float:
        """As measured; what is not known is reckoned with as the larger of the last word and the site's figure."""
        signal, site_a = ("GenA", "GenB")[side], self._config.generation_a[side]
        if measured := known.get(signal):
            return max(abs(float(element.value)) for element in measured)
        last = [abs(float(e.value)) for e in self._elements.values() if e.signal == signal and e.value is not None]
        return max([site_a, *last])


def _voltage(elements: list[_Element] | None) -> Voltage:
    """Present or absent if all phases say so."""
    if not elements:
        return Voltage.UNKNOWN
    parts = [abs(float(e.value)) / e.nominal if e.nominal else float(e.value) for e in elements]
    if min(parts) >= PRESENT_FROM:
        return Voltage.PRESENT
    return Voltage.ABSENT if max(parts) <= ABSENT_TO else Voltage.UNKNOWN


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

    A close ends at once with anything that speaks against it, and with an order to open.

    Args:
        pulse_s: longest time, s.

    Attributes:
        next_deadline: when :meth:`follow` must be called, s.
    """

    def __init__(self, pulse_s: float) -> None:
        self._pulse_s = pulse_s
        self.next_deadline = math.inf
        self._operation: Operation | None = None

    def give(self, operation: Operation, now: float) -> None:
        """An order of the agent."""
        self._operation = operation
        self.next_deadline = now + self._pulse_s

    def seen(self, position: Dbpos) -> None:
        """The relay tells a position that can be trusted: the one that was ordered ends the order, once and for all."""
        if self._operation is not None and position is _REACHED[self._operation]:
            self._end()

    def follow(self, now: float, *, may_close: bool, block_close: bool) -> RelayOrders:
        """What to tell the relay now.

        Args:
            now: s.
            may_close: nothing speaks against a close that was ordered.
            block_close: the relay shall let no close pass.
        """
        closing = self._operation == "close"
        if now >= self.next_deadline or (closing and (block_close or not may_close)):
            self._end()
        return RelayOrders(self._operation == "open", self._operation == "close", block_close)

    def _end(self) -> None:
        self._operation = None
        self.next_deadline = math.inf
