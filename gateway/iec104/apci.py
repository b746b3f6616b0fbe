"""APCI of IEC 60870-5-104 (clause 5): frames of formats I, S and U, to octets and out of a stream."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from gateway.iec104.errors import Iec104DecodeError, Iec104EncodeError

START: Final = 0x68
SEQUENCE_NUMBERS: Final = 1 << 15
"""N(S) and N(R) run from 0 to one less."""
SHORTEST_ASDU: Final = 6
"""Octets of an ASDU's header with the field sizes of IEC 60870-5-104."""
LONGEST_ASDU: Final = 249
"""The length octet allows 253 octets, of which the control field has 4."""

_CONTROL_FIELD: Final = 4
_U_FORMAT: Final = 3
_WIRE: Final = struct.Struct("<BBHH")


class UFunction(IntEnum):
    """What a U frame says; the first octet of its control field."""

    STARTDT_ACT = 0x07
    STARTDT_CON = 0x0B
    STOPDT_ACT = 0x13
    STOPDT_CON = 0x23
    TESTFR_ACT = 0x43
    TESTFR_CON = 0x83


class IFrame(NamedTuple):
    """Format I: an ASDU.

    Attributes:
        ns: N(S), the number of this frame.
        nr: N(R), the number of the I frame that is expected next: all before it have come.
        asdu: 6 to 249 octets.
    """

    ns: int
    nr: int
    asdu: bytes


class SFrame(NamedTuple):
    """Format S: an acknowledgement.

    Attributes:
        nr: as in :class:`IFrame`.
    """

    nr: int


class UFrame(NamedTuple):
    """Format U: start, stop, test.

    Attributes:
        function: what is asked or confirmed.
    """

    function: UFunction


Frame: TypeAlias = IFrame | SFrame | UFrame
"""Compare frames of one class only: they are tuples."""

_U_FRAMES: Final = {int(function): UFrame(function) for function in UFunction}


class FrameError(Iec104DecodeError):
    """The stream is broken: where its next frame begins can't be known.

    Attributes:
        frames: those that were complete before it in the same data. They are still good.
    """

    def __init__(self, field: str, offset: int, reason: str, frames: tuple[Frame, ...] = ()) -> None:
        super().__init__(field, offset, reason)
        self.frames = frames


def encode_i(ns: int, nr: int, asdu: bytes) -> bytes:
    """An I frame.

    Raises:
        Iec104EncodeError: a number outside of 0 to 32767, or an ASDU that is too short or too long.
    """
    if not 0 <= ns < SEQUENCE_NUMBERS or not 0 <= nr < SEQUENCE_NUMBERS:
        raise Iec104EncodeError(f"N(S) {ns}, N(R) {nr}: 0 to {SEQUENCE_NUMBERS - 1} expected")
    if not 0 < len(asdu) <= LONGEST_ASDU:
        raise Iec104EncodeError(f"an ASDU of {len(asdu)} octets; 1 to {LONGEST_ASDU} expected")
    return _WIRE.pack(START, _CONTROL_FIELD + len(asdu), ns << 1, nr << 1) + asdu


def encode_s(nr: int) -> bytes:
    """An S frame.

    Raises:
        Iec104EncodeError: a number outside of 0 to 32767.
    """
    if not 0 <= nr < SEQUENCE_NUMBERS:
        raise Iec104EncodeError(f"N(R) {nr}: 0 to {SEQUENCE_NUMBERS - 1} expected")
    return _WIRE.pack(START, _CONTROL_FIELD, 1, nr << 1)


def encode_u(function: UFunction) -> bytes:
    """A U frame."""
    return _WIRE.pack(START, _CONTROL_FIELD, function, 0)


class FrameSplitter:
    """Cuts the octets of a connection into frames. Keeps at most one incomplete frame.

    Reads strictly: where the length is wrong or a reserved bit is set, the stream may have slipped, and whatever
    follows could be taken for a command.

    Args:
        shortest_asdu: fewest octets of an I frame's ASDU; less than the default only with smaller address fields.
    """

    def __init__(self, shortest_asdu: int = SHORTEST_ASDU) -> None:
        self._shortest = _CONTROL_FIELD + shortest_asdu
        self._rest = b""
        self._offset = 0  # of the rest's first octet in the stream
        self._error: FrameError | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order.

        What comes out depends on the octets only, never on how they are cut into ``data``.

        Raises:
            FrameError: as soon as the first wrong octet has come; its offset counts from the beginning of the stream.
                From then on every call raises it, without frames.
        """
        if self._error is not None:
            raise FrameError(self._error.field, self._error.offset, self._error.reason)
        buffer = self._rest + data
        end = len(buffer)
        position = 0
        frames: list[Frame] = []
        # One pass without calls for I frames: thousands may come at once.
        while end - position >= 6:
            start, length, first, second = _WIRE.unpack_from(buffer, position)
            if start != START or (first | second) & 1 or not self._shortest <= length <= _CONTROL_FIELD + LONGEST_ASDU:
                frame = self._short_frame(buffer[position : position + 6])
                if frame is None:
                    break
                frames.append(frame)
                position += 6
                continue
            following = position + 2 + length
            if following > end:
                break
            frames.append(IFrame(first >> 1, second >> 1, buffer[position + 6 : following]))
            position = following
        self._rest = buffer[position:]
        self._offset += position
        fault = self._find_fault(self._rest)
        if fault is not None:
            self._rest = b""
            self._error = FrameError(*fault, tuple(frames))
            raise self._error
        return frames

    @staticmethod
    def _short_frame(octets: bytes) -> SFrame | UFrame | None:
        """The S or U frame that these 6 octets are, else None."""
        start, length, first, second = _WIRE.unpack(octets)
        if start != START or length != _CONTROL_FIELD:
            return None
        if first == 1 and not second & 1:
            return SFrame(second >> 1)
        return _U_FRAMES.get(first) if second == 0 else None

    def _find_fault(self, octets: bytes) -> tuple[str, int, str] | None:
        """What is wrong with an incomplete frame, as far as it has come: field, offset in the stream, reason."""
        offset = self._offset
        if octets and octets[0] != START:
            return "START", offset, f"0x{octets[0]:02X}, not 0x68"
        if len(octets) < 2:
            return None
        length = octets[1]
        if not _CONTROL_FIELD <= length <= _CONTROL_FIELD + LONGEST_ASDU:
            return "length", offset + 1, f"{length}, not 4 to {_CONTROL_FIELD + LONGEST_ASDU}"
        if len(octets) < 3:
            return None
        first = octets[2]
        if first & 1 == 0:
            if length < self._shortest:
                return "length", offset + 1, f"{length} of an I frame, not {self._shortest} or more"
        elif length != _CONTROL_FIELD:
            return "length", offset + 1, f"{length} of an S or U frame, not 4"
        elif first & _U_FORMAT == _U_FORMAT:
            if first not in _U_FRAMES:
                return "control field", offset + 2, f"0x{first:02X} is no function of a U frame"
            return self._find_set(octets, offset, (0, 0xFF, 0xFF, 0xFF))
        elif first != 1:
            return "control field", offset + 2, f"0x{first:02X} in an S frame, not 0x01"
        else:
            return self._find_set(octets, offset, (0, 0xFF, 0x01, 0))
        return self._find_set(octets, offset, (0, 0, 0x01, 0))

    @staticmethod
    def _find_set(octets: bytes, offset: int, reserved: tuple[int, ...]) -> tuple[str, int, str] | None:
        """The first octet of the control field in which a reserved bit is set."""
        for index, (octet, mask) in enumerate(zip(octets[2:6], reserved, strict=False), 2):
            if octet & mask:
                return "control field", offset + index, f"0x{octet:02X}: reserved bits are set"
        return None
