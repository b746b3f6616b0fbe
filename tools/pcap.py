"""Reads captures in classic pcap and pcapng, writes classic pcap with nanoseconds.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Needs nothing but the standard library, on any
    system.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ETHERNET: Final = 1
"""The link type of Ethernet frames."""

_MAX_RECORD: Final = 262_144  # octets: the longest snapshot that libpcap takes
_MAX_BLOCK: Final = 16 << 20
_NS: Final = 1_000_000_000

# Classic pcap: the four magic octets give byte order and nanoseconds per tick.
_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_SECTION: Final = 0x0A0D0D0A  # reads the same in both byte orders
_INTERFACE: Final = 1
_SIMPLE_PACKET: Final = 3
_ENHANCED_PACKET: Final = 6
_BYTE_ORDER: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_OPTION_TSRESOL: Final = 9
_OPTION_TSOFFSET: Final = 14


class CaptureError(ValueError):
    """The file is no capture, or broken.

    Attributes:
        offset: octet of the file where what is wrong begins.
        reason: what was found and what was expected.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"at octet {offset} of the capture: {reason}")
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured packet.

    Attributes:
        time_ns: nanoseconds since 1970; 0 where the file has no time for it.
        data: as many of its octets as were captured.
        length: octets that it had on the wire.
        link_type: what the octets are; 1 for Ethernet.
    """

    time_ns: int
    data: bytes
    length: int
    link_type: int


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    ticks_per_s: int
    offset_s: int


def read_capture(path: Path) -> Iterator[Packet]:
    """The packets of a file, one by one.

    Raises:
        CaptureError: while iterating, where the file is broken or ends in the middle of a packet: what was
            read before
            it has been given out.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        yield from read_stream(file)


def read_stream(file: BinaryIO) -> Iterator[Packet]:
    """The packets of an open file or pipe that stands at its beginning.

    Raises:
        CaptureError: as :func:`read_capture`.
    """
    reader = _Reader(file)
    magic = reader.take(4, "the file's first octets")
    if magic in _MAGIC:
        return _classic(reader, *_MAGIC[magic])
    if int.from_bytes(magic, "big") == _SECTION:
        return _next_generation(reader)
    raise CaptureError(0, f"{magic.hex()} is neither pcap nor pcapng")


class _Reader:
    """Takes octets from a file and knows where it stands."""

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self._file = file

    def take(self, size: int, what: str) -> bytes:
        octets = self._file.read(size)
        if len(octets) < size:
            raise CaptureError(self.offset, f"the file ends within {what}: {len(octets)} of {size} octets")
        self.offset += size
        return octets

    def at_end(self) -> bytes:
        """Nothing at the end of the file, else the four octets that follow."""
        octets = self._file.read(4)
        if 0 < len(octets) < 4:
            raise CaptureError(self.offset, f"the file ends with {len(octets)} octets that begin nothing")
        self.offset += len(octets)
        return octets


def _classic(reader: _Reader, order: str, tick_ns: int) -> Iterator[Packet]:
    _, _, _, _, _, link = struct.unpack(order + "HHiIII", reader.take(20, "the file header"))
    record = struct.Struct(order + "III")
    link_type = link & 0x0FFFFFFF  # the upper bits tell of check sequences
    while seconds := reader.at_end():
        start = reader.offset - 4
        fraction, captured, length = record.unpack(reader.take(12, "a packet's header"))
        if captured > _MAX_RECORD:
            raise CaptureError(start, f"a packet of {captured} octets; {_MAX_RECORD} is the longest there can be")
        time_ns = int.from_bytes(seconds, "little" if order == "<" else "big") * _NS + fraction * tick_ns
        yield Packet(time_ns, reader.take(captured, "a packet"), length, link_type)


def _next_generation(reader: _Reader) -> Iterator[Packet]:
    order = "<"
    interfaces: list[_Interface] = []
    kind_octets = _SECTION.to_bytes(4, "big")
    while kind_octets:
        start = reader.offset - 4
        length_octets = reader.take(4, "a block's header")
        body = b""
        section = int.from_bytes(kind_octets, "big") == _SECTION
        if section:
            body = reader.take(4, "a section header")
            if body not in _BYTE_ORDER:
                raise CaptureError(start + 8, f"byte order mark {body.hex()}")
            order = _BYTE_ORDER[body]
            interfaces = []
        kind, length = struct.unpack(order + "II", kind_octets + length_octets)
        if length % 4 or not 12 + len(body) <= length <= _MAX_BLOCK:
            raise CaptureError(start, f"a block of {length} octets")
        body += reader.take(length - 12 - len(body), "a block")
        if reader.take(4, "a block's end") != length_octets:
            raise CaptureError(reader.offset - 4, "the length at the block's end differs from the one at its beginning")
        try:
            if kind == _INTERFACE:
                interfaces.append(_read_interface(body, order))
            elif kind == _ENHANCED_PACKET:
                yield _read_enhanced(body, order, interfaces)
            elif kind == _SIMPLE_PACKET:
                yield _read_simple(body, order, interfaces)
        except (struct.error, IndexError):
            raise CaptureError(start, f"a block of type {kind} that is too short or names no interface") from None
        kind_octets = reader.at_end()


def _read_interface(body: bytes, order: str) -> _Interface:
    link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
    ticks_per_s, offset_s, position = 1_000_000, 0, 8
    while position + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, position)
        value = body[position + 4 : position + 4 + size]
        if code == 0:
            break
        if code == _OPTION_TSRESOL and size == 1:
            ticks_per_s = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OPTION_TSOFFSET and size == 8:
            offset_s = struct.unpack(order + "q", value)[0]
        position += 4 + size + -size % 4
    return _Interface(link_type, snap_length, ticks_per_s, offset_s)


def _read_enhanced(body: bytes, order: str, interfaces: list[_Interface]) -> Packet:
    number, high, low, captured, length = struct.unpack_from(order + "IIIII", body)
    interface = interfaces[number]
    data = body[20 : 20 + captured]
    if len(data) < captured:
        raise IndexError
    time_ns = (high << 32 | low) * _NS // interface.ticks_per_s + interface.offset_s * _NS
    return Packet(time_ns, data, length, interface.link_type)


def _read_simple(body: bytes, order: str, interfaces: list[_Interface]) -> Packet:
    (length,) = struct.unpack_from(order + "I", body)
    interface = interfaces[0]
    captured = min(length, interface.snap_length or length)
    data = body[4 : 4 + captured]
    if len(data) < captured:
        raise IndexError
    return Packet(0, data, length, interface.link_type)


class PcapWriter:
    """Writes Ethernet frames to a classic pcap file as they come; complete after every frame once flushed."""

    def __init__(self, file: BinaryIO) -> None:
        """Write the file header.

        Args:
            file: open for writing octets, at its beginning. The caller closes it.
        """
        self._file = file
        self._file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, _MAX_RECORD, ETHERNET))

    def write(self, time_ns: int, frame: bytes) -> None:
        """Append one frame.

        Args:
            time_ns: nanoseconds since 1970.
            frame: from its destination address on, without check sequence.

        Raises:
            ValueError: a time outside of 1970 to 2106.
        """
        seconds, fraction = divmod(time_ns, _NS)
        if not 0 <= seconds <= 0xFFFFFFFF:
            raise ValueError(f"classic pcap holds the years 1970 to 2106, not {time_ns} ns")
        self._file.write(struct.pack("<IIII", seconds, fraction, len(frame), len(frame)) + frame)
