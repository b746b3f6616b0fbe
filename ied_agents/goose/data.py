"""The Data values of allData, to octets and back (ISO 9506-2 ``Data``, tags as in IEC 61850-8-1).

Strict reading refuses what the standards do not allow; lenient reading takes what real devices send:

===========================  =================================  ======================================
what                         strict                             lenient
===========================  =================================  ======================================
length in too many octets    refused                            read
bits in the padding          refused                            ignored
unsigned with the sign bit   refused: negative                  read as unsigned
float of 4 or 8 octets       refused                            read (fixed length before tissue 817)
float's exponent width       must be 8 or 11                    ignored
visible string               0x20 to 0x7E                       ISO 8859-1
MMS string                   UTF-8                              other octets escaped with a backslash
time of more than a day      refused                            read
===========================  =================================  ======================================

Both read integers of any width up to 9 octets: fixed-length encodings are plain BER with leading octets that
say nothing. Both refuse unknown tags, more than :data:`MAX_DEPTH` levels and more than :data:`MAX_VALUES`
values.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ied_agents.goose.ber import encode_element, encode_length, encode_signed, read_header
from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.iec61850.data import (
    Array,
    Bcd,
    BinaryTime,
    BitString,
    BooleanArray,
    Data,
    Float64,
    MMSString,
    ObjectId,
    Structure,
    Unsigned,
)
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_DEPTH: Final = 10
"""Levels of structures and arrays within each other; the deepest standard data object needs five."""

MAX_VALUES: Final = 4096
"""Values in one allData, nested ones counted; a frame of 1,500 octets holds less than 750."""

_MAX_INTEGER: Final = 9  # INT64U with its leading zero
_FLOAT32 = struct.Struct(">f")
_FLOAT64 = struct.Struct(">d")
_DAY_MS: Final = 86_400_000
_MAX_ARC: Final = 9  # octets of one object identifier arc: 63 bits


def encode_data(value: Data) -> bytes:
    """One value with tag and length.

    Raises:
        GooseEncodeError: a type that is no Data, or a value that its type cannot hold.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise GooseEncodeError(f"{value!r} of type {type(value).__name__} is no MMS Data value")
    return encoder(value)


def encode_all_data(values: Iterable[Data]) -> bytes:
    """The values one after the other: the content of allData, without its own tag and length.

    Raises:
        GooseEncodeError: as :func:`encode_data`.
    """
    return b"".join([encode_data(value) for value in values])


def _encode_bool(value: bool) -> bytes:
    return b"\x83\x01\x01" if value else b"\x83\x01\x00"


def _encode_int(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise GooseEncodeError(f"{value} does not fit 64 bits")
    content = encode_signed(value)
    return bytes((0x85, len(content))) + content


def _encode_unsigned(tag: int, value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise GooseEncodeError(f"{value!r} does not fit 64 bits without sign")
    content = encode_signed(value)
    return bytes((tag, len(content))) + content


def _encode_float(value: float) -> bytes:
    try:
        return b"\x87\x05\x08" + _FLOAT32.pack(value)
    except OverflowError:
        raise GooseEncodeError(f"{value!r} does not fit a 32-bit float") from None


def _encode_bits(tag: int, bits: BitString) -> bytes:
    value, size = bits
    if size < 0 or not 0 <= value < 1 << size:
        raise GooseEncodeError(f"{bits!r}: the value does not fit the size")
    octets = (size + 7) // 8
    padding = octets * 8 - size
    content = bytes((padding,)) + (value << padding).to_bytes(octets, "big")
    return encode_element(tag, content)


def _encode_text(tag: int, codec: str, text: str) -> bytes:
    try:
        content = text.encode(codec)
    except UnicodeEncodeError as error:
        raise GooseEncodeError(f"{text!r} is not {codec}") from error
    return encode_element(tag, content)


def _encode_binary_time(value: BinaryTime) -> bytes:
    milliseconds, days = value
    if not 0 <= milliseconds < _DAY_MS or not 0 <= (days or 0) <= 0xFFFF:
        raise GooseEncodeError(f"{value!r} is not within a day and 65,535 days after 1984")
    content = milliseconds.to_bytes(4, "big") + (b"" if days is None else days.to_bytes(2, "big"))
    return encode_element(0x8C, content)


def _encode_object_id(value: ObjectId) -> bytes:
    try:
        first, second, *rest = (int(arc) for arc in value.split("."))
    except ValueError:
        raise GooseEncodeError(f"{value!r} is no object identifier in dotted decimal") from None
    if not 0 <= first <= 2 or second < 0 or (first < 2 and second > 39) or any(arc < 0 for arc in rest):
        raise GooseEncodeError(f"{value!r} is outside of the object identifier tree")
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc >> shift & 0x7F for shift in range(0, max(arc.bit_length(), 1), 7)]
        content += bytes([group | 0x80 for group in groups[:0:-1]] + [groups[0]])
    return encode_element(0x8F, bytes(content))


def _encode_utc_time(value: UtcTime) -> bytes:
    try:
        return b"\x91\x08" + value.encode()
    except ValueError as error:
        raise GooseEncodeError(str(error)) from error


def _encode_members(tag: bytes, members: Iterable[Data]) -> bytes:
    content = encode_all_data(members)
    return tag + encode_length(len(content)) + content


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    bytes: lambda value: encode_element(0x89, value),
    str: lambda value: _encode_text(0x8A, "ascii", value),
    Unsigned: lambda value: _encode_unsigned(0x86, value),
    Bcd: lambda value: _encode_unsigned(0x8D, value),
    Float64: lambda value: b"\x87\x09\x0b" + _FLOAT64.pack(value),
    MMSString: lambda value: _encode_text(0x90, "utf-8", value),
    ObjectId: _encode_object_id,
    BitString: lambda value: _encode_bits(0x84, value),
    BooleanArray: lambda value: _encode_bits(0x8E, value),
    BinaryTime: _encode_binary_time,
    UtcTime: _encode_utc_time,
    Structure: lambda value: _encode_members(b"\xa2", value),
    Array: lambda value: _encode_members(b"\xa1", value),
}


def decode_all_data(raw: bytes | memoryview, *, strict: bool = True) -> tuple[Data, ...]:
    """The values in the content of allData (without its own tag and length).

    Raises:
        GooseDecodeError: names the member by its number, counted from 1, and the octet.
    """
    raw = bytes(raw)
    return decode_values(raw, 0, len(raw), strict=strict)


def decode_values(raw: bytes, start: int, end: int, *, strict: bool) -> tuple[Data, ...]:
    """The values between ``start`` and ``end`` of a larger buffer; errors count octets from its beginning.

    Raises:
        GooseDecodeError: as :func:`decode_all_data`.
    """
    return tuple(_Decoder(raw, strict=strict).sequence(start, end, "allData", MAX_DEPTH))


class _Decoder:
    """Reads values of one buffer and counts them."""

    __slots__ = ("_budget", "_raw", "_strict")

    def __init__(self, raw: bytes, *, strict: bool) -> None:
        self._raw = raw
        self._strict = strict
        self._budget = MAX_VALUES

    def sequence(self, offset: int, end: int, field: str, depth: int) -> list[Data]:
        """All values from ``offset`` up to ``end``. The frequent types stand first, and inline."""
        raw = self._raw
        strict = self._strict
        values: list[Data] = []
        append = values.append
        while offset < end:
            if offset + 2 <= end and raw[offset + 1] < 0x80:
                tag = raw[offset]
                start = offset + 2
                stop = start + raw[offset + 1]
                if stop > end:
                    read_header(raw, offset, end, _member(field, values), strict=strict)
            else:
                tag, start, stop = read_header(raw, offset, end, _member(field, values), strict=strict)
            size = stop - start
            if tag == 0x83 and size == 1:
                append(raw[start] != 0)
            elif tag == 0x85 and 0 < size <= _MAX_INTEGER:
                append(int.from_bytes(raw[start:stop], "big", signed=True))
            elif tag == 0x87 and size == 5 and raw[start] == 8:
                append(_FLOAT32.unpack_from(raw, start + 1)[0])
            elif tag == 0x84 and size > 1 and raw[start] < 8:
                padding = raw[start]
                if strict and raw[stop - 1] & (1 << padding) - 1:
                    raise GooseDecodeError(_member(field, values), stop - 1, f"bits set in the {padding} of padding")
                append(BitString(int.from_bytes(raw[start + 1 : stop], "big") >> padding, 8 * (size - 1) - padding))
            elif tag == 0x86 and 0 < size <= _MAX_INTEGER and raw[start] < 0x80:
                append(Unsigned.from_bytes(raw[start:stop], "big"))
            elif tag in (0xA1, 0xA2):
                if not depth:
                    raise GooseDecodeError(_member(field, values), offset, f"nested more than {MAX_DEPTH} levels deep")
                members = self.sequence(start, stop, _member(field, values), depth - 1)
                append(Structure(members) if tag == 0xA2 else Array(members))
            else:
                append(self._rare(tag, offset, start, stop, _member(field, values)))
            offset = stop
        self._budget -= len(values)
        if self._budget < 0:
            raise GooseDecodeError(field, offset, f"more than {MAX_VALUES} values")
        return values

    def _rare(self, tag: int, offset: int, start: int, stop: int, field: str) -> Data:
        """Types that GOOSE seldom carries, and what is wrong or unusual with the frequent ones."""
        content = self._raw[start:stop]
        size = stop - start
        strict = self._strict
        match tag:
            case 0x83:
                raise GooseDecodeError(field, offset, f"boolean of {size} octets")
            case 0x84 | 0x8E:
                kind = BitString if tag == 0x84 else BooleanArray
                return _unusual_bits(kind, content, offset, start, field, strict=strict)
            case 0x85 | 0x86 | 0x8D:
                if not 0 < size <= _MAX_INTEGER:
                    raise GooseDecodeError(field, offset, f"integer of {size} octets")
                if strict and content[0] >= 0x80:
                    raise GooseDecodeError(field, start, "unsigned integer with the sign bit set")
                return (Unsigned if tag == 0x86 else Bcd)(int.from_bytes(content, "big"))
            case 0x87:
                return _unusual_float(content, offset, start, field, strict=strict)
            case 0x89:
                return content
            case 0x8A:
                return _visible(content, start, field, strict=strict)
            case 0x8C:
                if size not in (4, 6):
                    raise GooseDecodeError(field, offset, f"binary time of {size} octets, not 4 or 6")
                milliseconds = int.from_bytes(content[:4], "big")
                if strict and milliseconds >= _DAY_MS:
                    raise GooseDecodeError(field, start, f"{milliseconds} ms are more than a day")
                return BinaryTime(milliseconds, int.from_bytes(content[4:], "big") if size == 6 else None)
            case 0x8F:
                return _object_id(content, start, field)
            case 0x90:
                try:
                    return MMSString(content.decode("utf-8", "strict" if strict else "backslashreplace"))
                except UnicodeDecodeError as error:
                    raise GooseDecodeError(field, start + error.start, "not UTF-8") from None
            case 0x91:
                if size != 8:
                    raise GooseDecodeError(field, offset, f"UTC time of {size} octets, not 8")
                return UtcTime.decode(content)
            case _:
                raise GooseDecodeError(field, offset, f"tag 0x{tag:02X} is no MMS Data")


def _unusual_bits(
    kind: type[BitString], content: bytes, offset: int, start: int, field: str, *, strict: bool
) -> BitString:
    """Boolean arrays, bit strings without bits, wrong ones."""
    if not content:
        raise GooseDecodeError(field, offset, "bit string without its padding octet")
    padding, bits = content[0], 8 * (len(content) - 1)
    if padding > min(7, bits):
        raise GooseDecodeError(field, start, f"{padding} bits of padding in {len(content) - 1} octets")
    value = int.from_bytes(content[1:], "big")
    if strict and value & (1 << padding) - 1:
        raise GooseDecodeError(field, start + len(content) - 1, f"bits set in the {padding} of padding")
    return kind(value >> padding, bits - padding)


def _unusual_float(content: bytes, offset: int, start: int, field: str, *, strict: bool) -> Data:
    size = len(content)
    if size not in (5, 9) and (strict or size not in (4, 8)):
        raise GooseDecodeError(field, offset, f"floating point of {size} octets, not 5 or 9")
    if strict and content[0] != (8 if size == 5 else 11):
        raise GooseDecodeError(field, start, f"exponent of {content[0]} bits in {size} octets")
    if size < 8:
        number: float = _FLOAT32.unpack(content[-4:])[0]
        return number
    return Float64(_FLOAT64.unpack(content[-8:])[0])


def _visible(content: bytes, start: int, field: str, *, strict: bool) -> str:
    text = content.decode("latin-1")
    if strict and not (text.isascii() and text.isprintable()):
        index = next(index for index, octet in enumerate(content) if not 0x20 <= octet <= 0x7E)
        raise GooseDecodeError(field, start + index, f"octet 0x{content[index]:02X} in a visible string")
    return text


def _object_id(content: bytes, start: int, field: str) -> ObjectId:
    if not content or content[-1] & 0x80:
        raise GooseDecodeError(field, start, "object identifier is empty or ends within an arc")
    arcs: list[int] = []
    arc = octets = 0
    for index, octet in enumerate(content):
        if not octets and octet == 0x80:
            raise GooseDecodeError(field, start + index, "object identifier arc with a leading zero octet")
        arc, octets = arc << 7 | octet & 0x7F, octets + 1
        if octets > _MAX_ARC:
            raise GooseDecodeError(field, start + index, f"object identifier arc of more than {_MAX_ARC} octets")
        if octet < 0x80:
            arcs.append(arc)
            arc = octets = 0
    first = min(arcs[0] // 40, 2)
    return ObjectId(".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:]))))


def _member(field: str, values: list[Data]) -> str:
    """Name of the member after ``values``: ``allData[3]``, its second member ``allData[3][2]``."""
    return f"{field}[{len(values) + 1}]"
