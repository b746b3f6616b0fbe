"""Dbpos: the position of a switch as two bits (IEC 61850-7-3, ``DPC.stVal``)."""

from __future__ import annotations

from enum import IntEnum

from ied_agents.iec61850.data import BitString


class Dbpos(IntEnum):
    """Double point position; the number is the two bits in the order of the wire."""

    INTERMEDIATE = 0
    OFF = 1
    ON = 2
    BAD = 3

    def to_bit_string(self) -> BitString:
        """The MMS value."""
        return BitString(int(self), 2)

    @classmethod
    def from_bit_string(cls, bits: BitString) -> Dbpos:
        """Read the MMS value.

        Raises:
            ValueError: not two bits.
        """
        if bits.size != 2:
            raise ValueError(f"Dbpos has 2 bits, not {bits.size}")
        return cls(bits.value)
