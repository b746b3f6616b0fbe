"""UtcTime: the time stamp of IEC 61850-8-1 (``t`` attributes), 8 octets on the wire."""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import NamedTuple

_WIRE = struct.Struct(">II")
_NS = 1_000_000_000


class TimeQuality(IntFlag):
    """The quality octet's flags; the low five bits hold the accuracy (see :attr:`UtcTime.accuracy_bits`)."""

    LEAP_SECONDS_KNOWN = 0x80
    CLOCK_FAILURE = 0x40
    NOT_SYNCHRONISED = 0x20


class UtcTime(NamedTuple):
    """A point in time with the quality of the clock that told it.

    Attributes:
        seconds: since 1970-01-01T00:00:00Z, 32 bits, leap seconds not counted.
        fraction: of a second in units of 2**-24 s (60 ns).
        quality: the quality octet: :class:`TimeQuality` flags and accuracy.
    """

    seconds: int
    fraction: int = 0
    quality: int = 0

    def __eq__(self, other: object) -> bool:
        return type(other) is UtcTime and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    @classmethod
    def from_ns(cls, ns: int, quality: int = 0) -> UtcTime:
        """The last representable time not after ``ns``, nanoseconds since 1970.

        Raises:
            ValueError: outside of 1970 to 2106, or a quality that is no octet.
        """
        seconds, rest = divmod(ns, _NS)
        if not 0 <= seconds <= 0xFFFFFFFF:
            raise ValueError(f"UtcTime holds the years 1970 to 2106, not {ns} ns")
        if not 0 <= quality <= 0xFF:
            raise ValueError(f"the time quality is one octet, not {quality}")
        return cls(seconds, (rest << 24) // _NS, quality)

    @classmethod
    def of_clock(cls, ns: int, quality: int = 0) -> UtcTime:
        """Like :meth:`from_ns`, of a clock that may show anything: outside of 1970 to 2106 it has failed, and says so.

        Who works by a monotonic clock must not stop because the other one was set wrong.
        """
        known = min(max(ns, 0), (1 << 32) * _NS - 1)
        return cls.from_ns(known, quality if known == ns else quality | TimeQuality.CLOCK_FAILURE)

    @classmethod
    def from_seconds(cls, seconds: float, quality: int = 0) -> UtcTime:
        """Like :meth:`from_ns`, from seconds since 1970 (a float is exact to about 0.2 us)."""
        return cls.from_ns(round(seconds * _NS), quality)

    def to_ns(self) -> int:
        """Nanoseconds since 1970, rounded up, so that ``from_ns(t.to_ns(), t.quality) == t``."""
        return self.seconds * _NS + -(-self.fraction * _NS >> 24)

    def to_seconds(self) -> float:
        """Seconds since 1970."""
        return self.seconds + self.fraction / 0x1000000

    @property
    def leap_seconds_known(self) -> bool:
        """Whether the clock takes leap seconds into account."""
        return bool(self.quality & TimeQuality.LEAP_SECONDS_KNOWN)

    @property
    def clock_failure(self) -> bool:
        """Whether the clock says that it failed: the time means nothing."""
        return bool(self.quality & TimeQuality.CLOCK_FAILURE)

    @property
    def clock_not_synchronised(self) -> bool:
        """Whether the clock is not synchronised with UTC."""
        return bool(self.quality & TimeQuality.NOT_SYNCHRONISED)

    @property
    def accuracy_bits(self) -> int | None:
        """How many bits of the fraction are accurate; None where unspecified (31) or out of range."""
        bits = self.quality & 0x1F
        return bits if bits <= 24 else None

    def encode(self) -> bytes:
        """The 8 octets of the wire.

        Raises:
            ValueError: a member that does not fit its octets.
        """
        seconds, fraction, quality = self
        if 0 <= quality <= 0xFF:
            try:
                return _WIRE.pack(seconds, fraction << 8 | quality)
            except struct.error:
                pass
        raise ValueError(f"{self} does not fit 8 octets")

    @classmethod
    def decode(cls, octets: bytes) -> UtcTime:
        """Read the 8 octets of the wire.

        Raises:
            ValueError: not 8 octets.
        """
        if len(octets) != 8:
            raise ValueError(f"UtcTime has 8 octets, not {len(octets)}")
        seconds, rest = _WIRE.unpack(octets)
        return tuple.__new__(cls, (seconds, rest >> 8, rest & 0xFF))  # half the time of cls(...)
