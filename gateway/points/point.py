"""A point: what one data object of the field says, with quality, source time and arrival time.

Everything that crosses the gateway is a point; no protocol is translated into another directly.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple, TypeAlias

from ied_agents.iec61850.quality import SIZE as QUALITY_SIZE
from ied_agents.iec61850.utctime import TimeQuality

Value: TypeAlias = bool | int | float | str | tuple[int, ...]

UNSPECIFIED_ACCURACY: Final = 0x1F
TIME_UNKNOWN: Final = int(TimeQuality.NOT_SYNCHRONISED) | UNSPECIFIED_ACCURACY
"""Time quality of a time that the source did not tell: ours, taken at arrival."""


class PointError(ValueError):
    """Misuse of a point: unknown, or of another kind than the value; says which point."""


class PointDecodeError(ValueError):
    """Octets that are no stored point value.

    Attributes:
        field: what could not be read.
        offset: where, octets from the start.
        reason: what was expected.
    """

    def __init__(self, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{field} at octet {offset}: {reason}")
        self.field = field
        self.offset = offset
        self.reason = reason


class Kind(Enum):
    """What a point's value is; several common data classes (IEC 61850-7-3) share one."""

    SINGLE = auto()
    """bool: SPS, SPC, SPG."""
    DOUBLE = auto()
    """int 0 to 3 as ``Dbpos``, which are the states of a double point of IEC 60870-5-101 too: DPS, DPC."""
    INTEGER = auto()
    """int: INS, INC, ING; of ENS and ENC the ordinal."""
    FLOAT = auto()
    """float: MV, APC, BAC, ASG; of CMV the magnitude."""
    STEP = auto()
    """(position, transient): BSC, ISC."""
    COUNTER = auto()
    """int: BCR, SEC."""
    ACTIVATION = auto()
    """(general, phsA, phsB, phsC, neut), each 0 or 1, those at the end may be left out: ACT."""
    DIRECTION = auto()
    """(general, dirGeneral, phsA, phsB, phsC, neut), as ACT; dirGeneral 0 to 3, 2 is backward: ACD."""


KINDS: Final[dict[str, Kind]] = {
    "SPS": Kind.SINGLE, "SPC": Kind.SINGLE, "SPG": Kind.SINGLE,
    "DPS": Kind.DOUBLE, "DPC": Kind.DOUBLE,
    "INS": Kind.INTEGER, "INC": Kind.INTEGER, "ING": Kind.INTEGER, "ENS": Kind.INTEGER, "ENC": Kind.INTEGER,
    "MV": Kind.FLOAT, "CMV": Kind.FLOAT, "APC": Kind.FLOAT, "BAC": Kind.FLOAT, "ASG": Kind.FLOAT,
    "BSC": Kind.STEP, "ISC": Kind.STEP,
    "BCR": Kind.COUNTER, "SEC": Kind.COUNTER,
    "ACT": Kind.ACTIVATION, "ACD": Kind.DIRECTION,
}  # fmt: skip
"""Kind of a point by its common data class. WYE, DEL and SEQ are no points: their sub data objects (CMV) are."""

_LONGEST: Final = {Kind.STEP: (2, 2), Kind.ACTIVATION: (1, 5), Kind.DIRECTION: (1, 6)}


class PointValue(NamedTuple):
    """What a point said last.

    Attributes:
        value: by its :class:`Kind`.
        quality: the 13 bits of IEC 61850-7-3 as :meth:`Quality.to_int` has them.
        t_ns: source time, ns since 1970 UTC.
        time_quality: quality octet of the source time (IEC 61850-8-1 ``UtcTime``); says if its clock is to be
            trusted.
        arrived_ns: when the gateway got it, ns since 1970 UTC by its own clock.
    """

    value: Value
    quality: int = 0
    t_ns: int = 0
    time_quality: int = UNSPECIFIED_ACCURACY
    arrived_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PointConfig:
    """What is known of a point before it says anything.

    Attributes:
        name: reference of the data object, ``F1Q1FLISR/XCBR1.Pos``; sub data objects after points.
        cdc: common data class, a key of :data:`KINDS`.
        source: the device it comes from, the IED's name; all its points are lost together.
        deadband: a number that moved by no more than this since the last event makes none; in the unit of the
            value, 0 for every change.
        description: for people.
    """

    name: str
    cdc: str
    source: str = ""
    deadband: float = 0.0
    description: str = ""

    def __post_init__(self) -> None:
        if self.cdc not in KINDS:
            raise PointError(f"{self.name}: common data class {self.cdc!r}; expected one of {', '.join(KINDS)}")
        if not self.deadband >= 0:
            raise PointError(f"{self.name}: deadband {self.deadband}; expected 0 or more")

    @property
    def kind(self) -> Kind:
        """What its value is."""
        return KINDS[self.cdc]


PLAIN: Final[dict[Kind, type]] = {Kind.SINGLE: bool, Kind.FLOAT: float, Kind.INTEGER: int, Kind.COUNTER: int}
"""Kinds of which every value of a type is right: where it is of that very type :func:`fault_of` need not be asked."""


def fault_of(kind: Kind, value: Value) -> str:
    """What is wrong with a value for a point of that kind; empty if nothing."""
    truth = value is True or value is False
    if kind is Kind.SINGLE:
        return "" if truth else f"expected true or false, not {value!r}"
    if kind in _LONGEST:
        least, most = _LONGEST[kind]
        if isinstance(value, tuple) and least <= len(value) <= most and all(isinstance(each, int) for each in value):
            return ""
        return f"expected {least} to {most} whole numbers, not {value!r}"
    # A bool is an int to Python; taken for a double point, "on" would become "off".
    if truth:
        return f"expected a number, not {value!r}"
    if kind is Kind.FLOAT:
        return "" if isinstance(value, int | float) else f"expected a number, not {value!r}"
    if not isinstance(value, int):
        return f"expected a whole number, not {value!r}"
    if kind is Kind.DOUBLE and not 0 <= value <= 3:
        return f"expected 0 to 3, not {value!r}"
    return ""


# Stored form: tag octet (high half the version, low half what the value is), quality, time quality, source
# time, arrival time, value. The event log keeps it on disk: a new layout needs a new version.
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BHBqq")
_INTEGER: Final = struct.Struct(">q")
_FLOAT: Final = struct.Struct(">d")
_FALSE, _TRUE, _INT, _REAL, _TEXT, _TUPLE = range(6)
_WITH_FLOAT: Final = struct.Struct(_HEAD.format + _FLOAT.format[1:])
_VALUE_AT: Final = _HEAD.size
_LONGEST_TEXT: Final = 60_000
"""Octets; what the event log takes."""


def encode_value(point: PointValue) -> bytes:
    """The octets of a point value for the event log.

    Raises:
        PointError: a number that does not fit 64 bits, a text too long, or a quality or time that is none.
    """
    value, quality, t_ns, time_quality, arrived_ns = point
    try:
        if type(value) is float:  # the most by far
            return _WITH_FLOAT.pack(_VERSION << 4 | _REAL, quality, time_quality, t_ns, arrived_ns, value)
        if value is True or value is False:
            kind, tail = (_TRUE if value else _FALSE), b""
        elif isinstance(value, int):
            kind, tail = _INT, _INTEGER.pack(value)
        elif isinstance(value, float):
            kind, tail = _REAL, _FLOAT.pack(value)
        elif isinstance(value, str):
            kind, tail = _TEXT, value.encode()
            if len(tail) > _LONGEST_TEXT:
                raise PointError(f"a text of {len(tail)} octets cannot be stored, at most {_LONGEST_TEXT} can")
        else:
            kind, tail = _TUPLE, struct.pack(f">{len(value)}q", *value)
        tag = _VERSION << 4 | kind
        return _HEAD.pack(tag, quality, time_quality, t_ns, arrived_ns) + tail
    except (struct.error, UnicodeEncodeError) as error:
        raise PointError(f"{point} cannot be stored: {error}") from None


def decode_value(octets: bytes) -> PointValue:
    """Read what :func:`encode_value` wrote.

    Raises:
        PointDecodeError: it is not that, or a newer version wrote it.
    """
    if len(octets) < _VALUE_AT:
        raise PointDecodeError("head", len(octets), f"expected {_VALUE_AT} octets")
    tag, quality, time_quality, t_ns, arrived_ns = _HEAD.unpack_from(octets)
    if tag >> 4 != _VERSION:
        raise PointDecodeError("version", 0, f"format {tag >> 4}; this program reads format {_VERSION}")
    if quality >> QUALITY_SIZE:
        raise PointDecodeError("quality", 1, f"expected {QUALITY_SIZE} bits")
    return PointValue(_read_value(tag & 0xF, octets[_VALUE_AT:]), quality, t_ns, time_quality, arrived_ns)


def _read_value(kind: int, octets: bytes) -> Value:
    sizes = {_FALSE: 0, _TRUE: 0, _INT: 8, _REAL: 8}
    if len(octets) != sizes.get(kind, len(octets)):
        raise PointDecodeError("value", _VALUE_AT, f"{len(octets)} octets; expected {sizes[kind]}")
    if kind in (_FALSE, _TRUE):
        return kind == _TRUE
    if kind == _INT:
        return int(_INTEGER.unpack(octets)[0])
    if kind == _REAL:
        return float(_FLOAT.unpack(octets)[0])
    if kind == _TEXT:
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            raise PointDecodeError("value", _VALUE_AT + error.start, "no UTF-8") from None
    if kind == _TUPLE:
        if len(octets) % 8:
            raise PointDecodeError("value", _VALUE_AT, f"{len(octets)} octets; expected a multiple of 8")
        return struct.unpack(f">{len(octets) // 8}q", octets)
    raise PointDecodeError("value", 0, f"kind {kind} is unknown")
