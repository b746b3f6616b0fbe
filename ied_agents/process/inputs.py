"""What a plant (or a real relay) and an agent tell each other, and the datagrams that carry it.

The agent knows the process only through :class:`SwitchInputs` and acts on it only through
:class:`SwitchCommand`. Each travels as one JSON object in one UNIX datagram, so nothing is ever split or
joined on the way.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal, NoReturn, cast

from ied_agents.iec61850.dbpos import Dbpos

MAX_DATAGRAM: Final = 2048
"""Octets; a snapshot takes some 350."""

_VERSION: Final = 1
_INT64_MAX: Final = 2**63 - 1
_SWITCH_MAX: Final = 32767  # the wire format publishes switch number * 2 + side in 16 bits

Operation = Literal["open", "close"]


class Direction(IntEnum):
    """Direction of a fault current, ``dirGeneral`` of an ACD (IEC 61850-7-3); forward is from side A to B."""

    UNKNOWN = 0
    FORWARD = 1
    BACKWARD = 2
    BOTH = 3


class Voltage(IntEnum):
    """What the voltage sensor of one side says."""

    UNKNOWN = 0
    ABSENT = 1
    PRESENT = 2


class ProcessMessageError(ValueError):
    """A datagram between plant and agent that is not what it should be.

    Attributes:
        field: name of the member at fault; ``"message"`` for the datagram as a whole.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


@dataclass(frozen=True, slots=True)
class SwitchInputs:
    """Everything one switch's process says at one moment; always whole, never a difference.

    Attributes:
        switch: switch number.
        sequence: counts this switch's snapshots; an older one is not believed after a newer one.
        stamp_ns: CLOCK_REALTIME of the moment described, ns.
        position: double-point position.
        position_valid: whether the position's sensors are sound.
        pickup: whether the protection sees fault current.
        direction: which way it flows; means nothing without pickup.
        direction_trusted: whether that direction may be relied on.
        flow_a: load current, A, positive from side A to side B; None where it is not known.
        current_a: magnitude of the current, fault current included, A; None where it is not known.
        voltage: what the sensors of side A and side B say.
        generation_a: local generation running in the section at side A and at side B, A.
    """

    switch: int
    sequence: int
    stamp_ns: int
    position: Dbpos
    position_valid: bool
    pickup: bool
    direction: Direction
    direction_trusted: bool
    flow_a: float | None
    current_a: float | None
    voltage: tuple[Voltage, Voltage]
    generation_a: tuple[float, float]


@dataclass(frozen=True, slots=True)
class SwitchCommand:
    """An agent's order to its own switch.

    Attributes:
        switch: switch number.
        operation: what to do.
        number: the agent's count of its commands, for the log.
    """

    switch: int
    operation: Operation
    number: int


def encode_inputs(inputs: SwitchInputs) -> bytes:
    """The datagram that carries ``inputs``."""
    return _encode(
        {
            "v": _VERSION,
            "switch": inputs.switch,
            "sequence": inputs.sequence,
            "stamp_ns": inputs.stamp_ns,
            "position": int(inputs.position),
            "position_valid": inputs.position_valid,
            "pickup": inputs.pickup,
            "direction": int(inputs.direction),
            "direction_trusted": inputs.direction_trusted,
            "flow_a": inputs.flow_a,
            "current_a": inputs.current_a,
            "voltage": [int(side) for side in inputs.voltage],
            "generation_a": list(inputs.generation_a),
        }
    )


def decode_inputs(datagram: bytes) -> SwitchInputs:
    """Read what :func:`encode_inputs` wrote.

    Raises:
        ProcessMessageError: for any other octets.
    """
    members = _Members(datagram)
    inputs = SwitchInputs(
        switch=members.integer("switch", 1, _SWITCH_MAX),
        sequence=members.integer("sequence", 0, _INT64_MAX),
        stamp_ns=members.integer("stamp_ns", 0, _INT64_MAX),
        position=Dbpos(members.integer("position", 0, 3)),
        position_valid=members.boolean("position_valid"),
        pickup=members.boolean("pickup"),
        direction=Direction(members.integer("direction", 0, 3)),
        direction_trusted=members.boolean("direction_trusted"),
        flow_a=members.number_or_none("flow_a"),
        current_a=members.number_or_none("current_a"),
        voltage=members.voltages("voltage"),
        generation_a=members.numbers("generation_a"),
    )
    members.finish()
    return inputs


def encode_command(command: SwitchCommand) -> bytes:
    """The datagram that carries ``command``."""
    return _encode({"v": _VERSION, "switch": command.switch, "operation": command.operation, "number": command.number})


def decode_command(datagram: bytes) -> SwitchCommand:
    """Read what :func:`encode_command` wrote.

    Raises:
        ProcessMessageError: for any other octets.
    """
    members = _Members(datagram)
    command = SwitchCommand(
        switch=members.integer("switch", 1, _SWITCH_MAX),
        operation=members.operation("operation"),
        number=members.integer("number", 0, _INT64_MAX),
    )
    members.finish()
    return command


def _encode(message: dict[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")


class _Members:
    """The members of one datagram, each taken once by name and type."""

    def __init__(self, datagram: bytes) -> None:
        if len(datagram) > MAX_DATAGRAM:
            raise ProcessMessageError("message", f"{len(datagram)} octets, at most {MAX_DATAGRAM} expected")
        try:
            message = json.loads(datagram)
        except (ValueError, RecursionError) as error:
            raise ProcessMessageError("message", f"no JSON: {error}") from None
        if not isinstance(message, dict):
            raise ProcessMessageError("message", f"JSON object expected, not {type(message).__name__}")
        self._left: dict[str, Any] = message
        version = self.integer("v", 0, _INT64_MAX)
        if version != _VERSION:
            raise ProcessMessageError("v", f"message version {version}, this program knows {_VERSION}")

    def integer(self, field: str, low: int, high: int) -> int:
        value = self._take(field)
        if type(value) is not int or not low <= value <= high:
            _refuse(field, f"integer from {low} to {high}", value)
        return value

    def number(self, field: str) -> float:
        return _number(field, self._take(field))

    def number_or_none(self, field: str) -> float | None:
        value = self._take(field)
        return None if value is None else _number(field, value)

    def numbers(self, field: str) -> tuple[float, float]:
        value = self._take(field)
        if not isinstance(value, list) or len(value) != 2:
            _refuse(field, "two numbers", value)
        return _number(field, value[0]), _number(field, value[1])

    def boolean(self, field: str) -> bool:
        value = self._take(field)
        if type(value) is not bool:
            _refuse(field, "true or false", value)
        return value

    def operation(self, field: str) -> Operation:
        value = self._take(field)
        if value not in ("open", "close"):
            _refuse(field, '"open" or "close"', value)
        return cast("Operation", value)

    def voltages(self, field: str) -> tuple[Voltage, Voltage]:
        value = self._take(field)
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(type(side) is int and 0 <= side <= 2 for side in value)
        ):
            _refuse(field, "two integers from 0 to 2", value)
        return Voltage(value[0]), Voltage(value[1])

    def finish(self) -> None:
        """Refuse members that nobody asked for: they would come from another version of this format."""
        for field in self._left:
            raise ProcessMessageError(_short(field), "unknown member")

    def _take(self, field: str) -> Any:
        if field not in self._left:
            raise ProcessMessageError(field, "missing")
        return self._left.pop(field)


def _number(field: str, value: object) -> float:
    if type(value) is int and abs(value) <= _INT64_MAX:
        value = float(value)
    if type(value) is not float or not math.isfinite(value):
        _refuse(field, "finite number", value)
    return value


def _refuse(field: str, expected: str, value: object) -> NoReturn:
    raise ProcessMessageError(field, f"{expected} expected, not {_short(value)}")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
