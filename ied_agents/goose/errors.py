"""What goes wrong with a GOOSE message."""

from __future__ import annotations


class GooseDecodeError(ValueError):
    """The octets are no valid GOOSE: the sender's fault, never ours.

    Attributes:
        field: which one, in the standard's spelling; of allData with the member's number.
        offset: octet of the decoded buffer where the field, or what is wrong in it, begins.
        reason: what was found and what was expected.
    """

    def __init__(self, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{field} at octet {offset}: {reason}")
        self.field = field
        self.offset = offset
        self.reason = reason


class GooseEncodeError(ValueError):
    """A value that has no GOOSE encoding: a misuse of our own API."""
