"""IEC TS 61850-80-1 both ways: the value of a data object to an information object and back, and its commands.

What 80-1 leaves open is decided here:

* The process value times ``scale`` plus ``offset`` is what goes out; a value that comes in is turned round.
* A measured value that does not fit its element is sent as the nearest that fits, with OV. A command that does
  not fit is refused: nobody asked for the nearest one.
* A counter has no quality but IV: it is set for old data as well, as nothing else could tell that it stands still.
* Elapsed times of protection events are not known to a data object: they are 0 and marked as invalid (EI).
* An enumeration behind a single point says whether the value is ``expectedValue``; a command ON sets that value,
  a command OFF has no meaning and is refused.
* A time tag that is none, or marked as substituted on the way, does not cost the value: the point then has the
  time of arrival and a clock that is not synchronised.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.iec104.asdu import InformationObject, Step, TypeID
from gateway.iec104.errors import Iec104DecodeError
from gateway.iec104.time_tag import CP56Time2a
from gateway.points.mapping_rules import (
    BO,
    C_BO,
    DC,
    DISTRUSTED,
    EI,
    IT,
    IV,
    NT,
    NVA,
    OCI,
    OV,
    R32,
    RC,
    SC,
    SE_NVA,
    SE_R32,
    SE_SVA,
    SET_POINTS,
    SP,
    SPE,
    SVA,
    TEST,
    WITH_OVERFLOW,
    MappingError,
    places_of,
    qds_of,
    quality_of,
    require,
    tagged,
)
from gateway.points.point import KINDS, PLAIN, TIME_UNKNOWN, UNSPECIFIED_ACCURACY, Kind, PointValue, fault_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.iec104.asdu import Value as ElementValue
    from gateway.iec104.time_tag import TimeBase
    from gateway.points.mapping_rules import Rule
    from gateway.points.point import Value


class Element(NamedTuple):
    """What an information object says of a point, before it has an address and a time tag.

    Attributes:
        value: of the information element.
        qualifier: quality bits; of a counter its octet (SQ 0).
        t_ns: source time, ns since 1970.
        time_invalid: the clock is not to be trusted.
        test: the ASDU is to have its test bit set.
    """

    value: ElementValue
    qualifier: int
    t_ns: int
    time_invalid: bool
    test: bool


_NVA_STEPS: Final = 32768
_R32_MOST: Final = struct.unpack(">f", bytes.fromhex("7f7fffff"))[0]
_R32_LEAST: Final = -_R32_MOST
_CY: Final = 0x20
_BACKWARD: Final = 2
_FORWARD: Final = 1


class Monitor:
    """One information object in monitor direction.

    Args:
        rule: how it stands for its data object.

    Raises:
        MappingError: the rule cannot be.
    """

    def __init__(self, rule: Rule) -> None:
        require(rule, control=False)
        self.rule = rule
        self._base = tagged(rule.typeID)
        self._kind = KINDS[rule.cdc]
        self._plain = PLAIN.get(self._kind)
        self._overflow = self._base in WITH_OVERFLOW
        self._no_quality = rule.typeID == TypeID.M_ME_ND_1
        places = places_of(rule.cdc)
        self._place = places.get(rule.element or "general", 0)
        self._phases = tuple(places[phase] for phase in ("phsA", "phsB", "phsC", "neut")) if places else ()
        self._to_element = self._encoder()
        self._to_value = self._decoder()

    def element(self, point: PointValue) -> Element:
        """What is to be sent of a value.

        Raises:
            MappingError: the value is of another kind than the point.
        """
        value, quality, t_ns, time_quality, _ = point
        if type(value) is not self._plain:
            fault = fault_of(self._kind, value)
            if fault:
                raise MappingError(f"{self.rule.name} ({self.rule.cdc}): {fault}")
        said, qualifier = self._to_element(value)
        if quality:
            qds = qds_of(quality, overflow=self._overflow)
            qualifier |= qds if self._base is not IT else IV if qds & (IV | NT) else 0
        if self._no_quality:
            qualifier = 0
        invalid, test = time_quality & DISTRUSTED != 0, quality & TEST != 0
        # Past the constructor of the tuple: this is the hot path.
        return tuple.__new__(Element, (said, qualifier, t_ns, invalid, test))

    def to_object(self, IOA: int, point: PointValue, time_base: TimeBase) -> tuple[InformationObject, bool]:
        """The information object of a value, and whether its ASDU has the test bit; raises as :meth:`element`."""
        value, qualifier, t_ns, invalid, test = self.element(point)
        time = time_base.tag(t_ns, invalid=invalid) if self._base == self.rule.typeID else None
        return InformationObject(IOA, value, qualifier, time), test

    def to_point(
        self, received: InformationObject, arrived_ns: int, time_base: TimeBase, *, test: bool = False
    ) -> PointValue | None:
        """The value that an information object tells.

        Args:
            received: of the rule's type, with any time tag or none.
            arrived_ns: when it came, ns since 1970; its time where it has none of its own.
            time_base: what its time tag counts in.
            test: test bit of the ASDU.

        Returns:
            The value; None where it says only that an enumeration has not the expected value.

        Raises:
            MappingError: the element is of another type.
        """
        try:
            value = self._to_value(received.value)
        except (TypeError, AttributeError, ValueError, OverflowError):
            message = f"{self.rule.name}: {received.value!r} is no element of type {self.rule.typeID:d}"
            raise MappingError(message) from None
        if value is None:
            return None
        if self._base is IT:
            quality = quality_of(received.qualifier & IV, test=test)
        elif self._no_quality:
            quality = quality_of(0, test=test)
        else:
            quality = quality_of(received.qualifier, overflow=self._overflow, test=test)
        t_ns, time_quality = source_time(received, arrived_ns, time_base)
        return PointValue(value, quality, t_ns, time_quality, arrived_ns)

    def _encoder(self) -> Callable[[Value], tuple[ElementValue, int]]:
        kind, base, rule = self._kind, self._base, self.rule
        if kind is Kind.SINGLE:
            return lambda value: (value is not rule.inverted, 0)
        if kind is Kind.DOUBLE:
            return lambda value: (_turned(_whole(value)) if rule.inverted else _whole(value), 0)
        if kind is Kind.STEP:
            return _step
        if kind is Kind.COUNTER:
            return _counter
        if kind in (Kind.ACTIVATION, Kind.DIRECTION):
            return self._protection
        if base is SP:
            expected = rule.expectedValue
            if expected is None:
                return lambda value: ((value != 0) is not rule.inverted, 0)
            return lambda value: ((value == expected) is not rule.inverted, 0)
        if base is BO:
            return lambda value: (_whole(value) & 0xFFFFFFFF, 0)
        if base is R32:
            return _short(rule.scale, rule.offset)
        return lambda value: _measured(base, _number(value) * rule.scale + rule.offset)

    def _decoder(self) -> Callable[[ElementValue], Value | None]:
        kind, base, rule = self._kind, self._base, self.rule
        if kind is Kind.SINGLE:
            return lambda value: _truth(value) is not rule.inverted
        if kind is Kind.DOUBLE:
            return lambda value: _turned(_state(value)) if rule.inverted else _state(value)
        if kind is Kind.STEP:
            return _read_step
        if kind is Kind.COUNTER:
            return _whole
        if kind in (Kind.ACTIVATION, Kind.DIRECTION):
            return self._read_protection
        if base is SP:
            expected = rule.expectedValue
            if expected is None:
                return lambda value: int(_truth(value) is not rule.inverted)
            return lambda value: expected if _truth(value) is not rule.inverted else None
        if base is BO:
            return _whole
        if kind is Kind.INTEGER:
            return lambda value: _integer((_number(value) - rule.offset) / rule.scale)
        return lambda value: (_number(value) - rule.offset) / rule.scale

    def _protection(self, value: Value) -> tuple[ElementValue, int]:
        assert isinstance(value, tuple)
        if self._base is SP:
            on = self._place < len(value) and bool(value[self._place])
            return on is not self.rule.inverted, 0
        octet = int(bool(value[0]))
        for bit, place in enumerate(self._phases, 1):
            if place < len(value) and value[place]:
                octet |= 1 << bit
        if self._base is OCI:
            return octet & 0x0F, EI  # GC and CL1 to CL3: output circuits know no neutral
        if self._kind is Kind.DIRECTION and len(value) > 1 and value[1] == _BACKWARD:
            octet |= 0x20  # SRD
        return octet, EI

    def _read_protection(self, value: ElementValue) -> Value | None:
        if self._base is SP:
            on = int(_truth(value) is not self.rule.inverted)
            if self._place == 0:
                return (on,)
            return (*(0,) * self._place, on)
        octet = _whole(value)
        general = octet & 1
        phases = tuple(octet >> bit & 1 for bit in range(1, 5 if self._base is SPE else 4))
        if self._kind is Kind.ACTIVATION:
            return (general, *phases)
        direction = 0
        if self._base is SPE and general:
            direction = _BACKWARD if octet & 0x20 else _FORWARD
        return (general, direction, *phases)


def source_time(received: InformationObject, arrived_ns: int, time_base: TimeBase) -> tuple[int, int]:
    """Time, ns since 1970, and time quality of an information object.

    One without a whole time tag, or with one that is no time, has the time of arrival, and a clock that is not
    synchronised, since nobody said when it happened.
    """
    tag = received.time
    if not isinstance(tag, CP56Time2a):
        return arrived_ns, TIME_UNKNOWN
    try:
        t_ns = time_base.decode(tag)
    except Iec104DecodeError:
        return arrived_ns, TIME_UNKNOWN
    return t_ns, TIME_UNKNOWN if tag.invalid or tag.substituted else UNSPECIFIED_ACCURACY


def _whole(value: object) -> int:
    if value is True or value is False or not isinstance(value, int):
        raise TypeError
    return int(value)


def _integer(number: float) -> int:
    whole = round(number)
    if not -(1 << 63) <= whole < 1 << 63:
        raise OverflowError
    return whole


def _number(value: object) -> float:
    if type(value) is float:
        return value
    if value is True or value is False or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _truth(value: object) -> bool:
    if value is True or value is False:
        return value
    raise TypeError


def _state(value: object) -> int:
    state = _whole(value)
    if not 0 <= state <= 3:
        raise ValueError
    return state


def _turned(state: int) -> int:
    return 3 - state if state in (1, 2) else state


def _step(value: Value) -> tuple[ElementValue, int]:
    assert isinstance(value, tuple)
    position = max(-64, min(63, value[0]))
    return Step(position, bool(value[1])), 0 if position == value[0] else OV


def _read_step(value: ElementValue) -> Value:
    if not isinstance(value, Step):
        raise TypeError
    return value.position, int(value.transient)


def _counter(value: Value) -> tuple[ElementValue, int]:
    count = _whole(value)
    if -(1 << 31) <= count < 1 << 31:
        return count, 0
    # The reading is what a register of 31 bits would show, with its carry.
    return count % (1 << 31), _CY


def _short(scale: float, offset: float) -> Callable[[Value], tuple[ElementValue, int]]:
    """The encoder of a short floating point number: :func:`_measured` for what does not fit, or is no number."""

    def encode(value: Value) -> tuple[ElementValue, int]:
        number = (value if type(value) is float else _number(value)) * scale + offset
        return (number, 0) if _R32_LEAST <= number <= _R32_MOST else _measured(R32, number)

    return encode


def _measured(base: TypeID, number: float) -> tuple[ElementValue, int]:
    """A number as the element of a measured value, with the quality bits that this costs."""
    if number != number:  # noqa: PLR0124  no number
        return (0.0 if base is not SVA else 0), IV
    if base is SVA:
        scaled = max(-32768.0, min(32767.0, number))
        return round(scaled), OV if abs(number - scaled) > 0.5 else 0
    if base is R32:
        short = max(-_R32_MOST, min(_R32_MOST, number))
        return short, 0 if short == number else OV
    steps = max(-float(_NVA_STEPS), min(float(_NVA_STEPS - 1), number * _NVA_STEPS))
    # 1 is what a normalised value is for, and the element ends one step below it.
    return round(steps) / _NVA_STEPS, OV if abs(number * _NVA_STEPS - steps) > 1 else 0


class CommandValue(NamedTuple):
    """What a command asks for.

    Attributes:
        value: the control value by its common data class: SPC, SPG bool; DPC bool; INC, ISC, ING int; ENC the
            ordinal; APC, ASG float; BSC and BAC 1 lower, 2 higher (``Tcmd``).
        select: select only (S/E bit).
        qualifier: QU of a command, 0 none, 1 short pulse, 2 long pulse, 3 persistent; QL of a set point.
    """

    value: bool | int | float
    select: bool
    qualifier: int


_SELECT: Final = 0x80
_ELEMENTS: Final = {SE_NVA: NVA, SE_SVA: SVA, SE_R32: R32}
"""Types of measured values with the element of a set point."""


class Control:
    """One information object in control direction.

    Args:
        rule: how it stands for its data object.

    Raises:
        MappingError: the rule cannot be.
    """

    def __init__(self, rule: Rule) -> None:
        require(rule, control=True)
        self.rule = rule
        self._base = tagged(rule.typeID)
        self._integer = rule.cdc in ("ENC", "INC", "ING", "ISC")

    def to_command(self, received: InformationObject) -> CommandValue:
        """What an information object asks for.

        Raises:
            MappingError: it asks for nothing that there is, such as a double command 0; it is to be refused.
        """
        try:
            value = self._read(received.value)
        except (TypeError, ValueError, OverflowError):
            raise MappingError(f"{self.rule.name}: {received.value!r} is no command") from None
        octet = received.qualifier
        if self._base is C_BO:
            return CommandValue(value, select=False, qualifier=0)
        select = bool(octet & _SELECT)
        qualifier = octet & 0x7F if self._base in SET_POINTS else octet >> 2 & 0x1F
        return CommandValue(value, select, qualifier)

    def to_object(self, IOA: int, command: CommandValue, time: CP56Time2a | None = None) -> InformationObject:
        """The information object that asks for it, with a time tag if the type has one.

        Raises:
            MappingError: the type has no place for the value.
        """
        try:
            value = self._write(command.value)
        except (TypeError, ValueError, OverflowError):
            message = f"{self.rule.name}: type {self.rule.typeID:d} has no place for {command.value!r}"
            raise MappingError(message) from None
        octet = command.qualifier if self._base in SET_POINTS else command.qualifier << 2
        if self._base is C_BO:
            if command.select:
                raise MappingError(f"{self.rule.name}: a bit string cannot be selected")
            octet = 0
        return InformationObject(IOA, value, octet | (_SELECT if command.select else 0), time)

    def _read(self, value: object) -> bool | int | float:
        rule, base = self.rule, self._base
        if base is SC:
            on = _truth(value) is not rule.inverted
            if rule.expectedValue is None:
                return on
            if not on:
                raise ValueError
            return rule.expectedValue
        if base in (DC, RC):
            state = _whole(value)
            if state not in (1, 2):
                raise ValueError
            return state if base is RC else (state == 2) is not rule.inverted
        if base is C_BO:
            return _whole(value)
        number = (_number(value) - rule.offset) / rule.scale
        if not math.isfinite(number):
            raise ValueError
        return round(number) if self._integer else number

    def _write(self, value: object) -> ElementValue:
        rule, base = self.rule, self._base
        if base is SC:
            if rule.expectedValue is None:
                return _truth(value) is not rule.inverted
            if _whole(value) != rule.expectedValue:
                raise ValueError
            return not rule.inverted
        if base is DC:
            return 2 if _truth(value) is not rule.inverted else 1
        if base is RC:
            step = _whole(value)
            if step not in (1, 2):
                raise ValueError
            return step
        if base is C_BO:
            bits = _whole(value)
            if not 0 <= bits < 1 << 32:
                raise ValueError
            return bits
        element, fault = _measured(_ELEMENTS[base], _number(value) * rule.scale + rule.offset)
        if fault:
            raise ValueError
        return element
