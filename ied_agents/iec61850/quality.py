"""Quality: the 13 bits that say how far a value can be trusted (IEC 61850-7-3)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import lru_cache
from typing import Final

from ied_agents.iec61850.data import BitString

SIZE: Final = 13


class Validity(IntEnum):
    """The first two bits; ``10`` is reserved and says nothing good."""

    GOOD = 0
    INVALID = 1
    RESERVED = 2
    QUESTIONABLE = 3


@dataclass(frozen=True, slots=True)
class Quality:
    """Validity, what is wrong in detail, source and test.

    The attributes stand in the order of the bits: validity is bits 0 and 1, operatorBlocked is bit 12.
    """

    validity: Validity = Validity.GOOD
    overflow: bool = False
    outOfRange: bool = False
    badReference: bool = False
    oscillatory: bool = False
    failure: bool = False
    oldData: bool = False
    inconsistent: bool = False
    inaccurate: bool = False
    substituted: bool = False
    test: bool = False
    operatorBlocked: bool = False
    _number: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number = int(self.validity)
        for name in _FLAGS:
            number = number << 1 | getattr(self, name)
        object.__setattr__(self, "_number", number)

    def to_int(self) -> int:
        """The 13 bits as a number; bit 0 of the standard is the most significant one."""
        return self._number

    @staticmethod
    @lru_cache(maxsize=1 << SIZE)
    def from_int(value: int) -> Quality:
        """The opposite of :meth:`to_int`. Of a value there is one object: it is cheap to ask again.

        Raises:
            ValueError: more than 13 bits.
        """
        if not 0 <= value < 1 << SIZE:
            raise ValueError(f"Quality has {SIZE} bits, {value} does not fit")
        flags = [bool(value >> shift & 1) for shift in range(len(_FLAGS) - 1, -1, -1)]
        return Quality(Validity(value >> len(_FLAGS)), *flags)

    def to_bit_string(self) -> BitString:
        """The MMS value."""
        return BitString(self.to_int(), SIZE)

    @classmethod
    def from_bit_string(cls, bits: BitString) -> Quality:
        """Read the MMS value.

        Raises:
            ValueError: not 13 bits.
        """
        if bits.size != SIZE:
            raise ValueError(f"Quality has {SIZE} bits, not {bits.size}")
        return cls.from_int(bits.value)


_FLAGS: Final = tuple(each.name for each in fields(Quality) if each.init)[1:]

GOOD: Final = Quality()
INVALID: Final = Quality(Validity.INVALID)
QUESTIONABLE: Final = Quality(Validity.QUESTIONABLE)
OLD_DATA: Final = Quality(Validity.QUESTIONABLE, oldData=True)
"""What a subscriber gives to values of a stream whose time to live ran out."""
