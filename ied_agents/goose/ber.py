"""Basic Encoding Rules (ISO/IEC 8825-1), as far as GOOSE goes: one-octet tags, definite lengths.

Everything that reads octets goes through :func:`read_header`, which never looks beyond ``end``.
"""

from __future__ import annotations

from ied_agents.goose.errors import GooseDecodeError


def read_header(raw: bytes, offset: int, end: int, field: str, *, strict: bool) -> tuple[int, int, int]:
    """Read tag and length of the element at ``offset``; its content must end at or before ``end``.

    Args:
        raw: the buffer.
        offset: where the tag stands.
        end: first octet that no longer belongs to the enclosing element; at most ``len(raw)``.
        field: name for the error.
        strict: refuse lengths written with more octets than needed.

    Returns:
        Tag, first octet of the content, first octet after it.

    Raises:
        GooseDecodeError: too short, indefinite or non-minimal length, more than four length octets, content
            too long.
    """
    if offset + 2 > end:
        raise GooseDecodeError(field, offset, "ends before its tag and length")
    tag, length = raw[offset], raw[offset + 1]
    start = offset + 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4:
            raise GooseDecodeError(field, offset, f"length octet 0x{length:02X} is not definite and of 1 to 4 octets")
        if start + octets > end:
            raise GooseDecodeError(field, offset, "ends within its length")
        length = int.from_bytes(raw[start : start + octets], "big")
        if strict and (length < 0x80 or length < 1 << 8 * (octets - 1)):
            raise GooseDecodeError(field, offset, f"length {length} is written in {octets + 1} octets: too many")
        start += octets
    if start + length > end:
        raise GooseDecodeError(field, offset, f"length {length}, but {end - start} octets are left")
    return tag, start, start + length


def encode_length(length: int) -> bytes:
    """The shortest encoding of a length."""
    if length < 0x80:
        return bytes((length,))
    octets = (length.bit_length() + 7) // 8
    return bytes((0x80 | octets,)) + length.to_bytes(octets, "big")


def encode_element(tag: int, content: bytes) -> bytes:
    """Tag, length, content."""
    return bytes((tag,)) + encode_length(len(content)) + content


def encode_signed(value: int) -> bytes:
    """Content of an INTEGER: two's complement, as short as it can be."""
    return value.to_bytes((value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1, "big", signed=True)
