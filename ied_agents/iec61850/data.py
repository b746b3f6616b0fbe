"""MMS Data values (ISO 9506-2, ``Data``) as IEC 61850-8-1 uses them.

Where Python has a type that says it all, that type is the value: ``bool`` boolean, ``int`` INTEGER, ``float``
32-bit floating point, ``bytes`` octet string, ``str`` visible string. The rest are small types of this
module. All are immutable and hashable. The types of this module are equal only to their own kind:
``Unsigned(1) != 1``. Python's own keep Python's rules, so ``True == 1 == 1.0``: compare types too where that
matters.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from ied_agents.iec61850.utctime import UtcTime


class Unsigned(int):
    """Unsigned integer, tag 0x86 (INT8U to INT32U)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Unsigned and int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __repr__(self) -> str:
        return f"Unsigned({int(self)})"


class Bcd(int):
    """Binary coded decimal, tag 0x8D: a non-negative number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Bcd and int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __repr__(self) -> str:
        return f"Bcd({int(self)})"


class Float64(float):
    """64-bit floating point, tag 0x87 with 9 octets."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is Float64 and float.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__

    def __repr__(self) -> str:
        return f"Float64({float(self)!r})"


class _Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str.__repr__(self)})"


class MMSString(_Text):
    """Unicode string, tag 0x90, UTF-8 on the wire."""

    __slots__ = ()


class ObjectId(_Text):
    """Object identifier, tag 0x8F, in dotted decimal, for example ``1.0.9506.2.3``."""

    __slots__ = ()


class BitString(NamedTuple):
    """Bit string, tag 0x84.

    Attributes:
        value: the bits as a number; the first bit on the wire is the most significant one.
        size: how many bits.
    """

    value: int
    size: int

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)


class BooleanArray(BitString):
    """Array of booleans, tag 0x8E, held like a bit string."""

    __slots__ = ()


class BinaryTime(NamedTuple):
    """Time of day, tag 0x8C.

    Attributes:
        milliseconds: since midnight.
        days: since 1984-01-01; None for the form of 4 octets, which has no date.
    """

    milliseconds: int
    days: int | None = None

    def __eq__(self, other: object) -> bool:
        return type(other) is BinaryTime and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)


class _Sequence(tuple["Data", ...]):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({tuple.__repr__(self)})"


class Structure(_Sequence):
    """Structure, tag 0xA2: a tuple of its members."""

    __slots__ = ()


class Array(_Sequence):
    """Array, tag 0xA1: a tuple of its elements."""

    __slots__ = ()


Data: TypeAlias = (
    bool
    | int
    | float
    | bytes
    | str
    | Unsigned
    | Bcd
    | Float64
    | MMSString
    | ObjectId
    | BitString
    | BooleanArray
    | BinaryTime
    | UtcTime
    | Structure
    | Array
)
