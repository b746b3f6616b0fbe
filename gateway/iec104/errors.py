"""What goes wrong with IEC 60870-5-104."""

from __future__ import annotations


class Iec104DecodeError(ValueError):
    """The octets are no valid IEC 60870-5-104: the peer's fault, never ours.

    Attributes:
        field: which one, in the standard's spelling.
        offset: octet of what was decoded (stream, ASDU, time tag) where the field, or what is wrong in it, begins.
        reason: what was found and what was expected.
    """

    def __init__(self, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{field} at octet {offset}: {reason}")
        self.field = field
        self.offset = offset
        self.reason = reason


class Iec104EncodeError(ValueError):
    """A value that has no encoding: a misuse of our own API."""
