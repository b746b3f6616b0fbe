"""The Ethernet frame of a GOOSE message (ISO/IEC 8802-3, IEEE 802.1Q, IEC 61850-8-1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError

ETHERTYPE: Final = b"\x88\xb8"
VLAN_TAG: Final = b"\x81\x00"
MAX_PAYLOAD: Final = 1500
"""Octets after the EtherType: APPID, Length, Reserved1, Reserved2 and APDU."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}([-:])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_SIMULATED: Final = 0x80


def parse_mac(text: str) -> bytes:
    """The six octets of ``01-0C-CD-01-00-00`` (SCL) or ``01:0c:cd:01:00:00``.

    Raises:
        ValueError: anything else.
    """
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is no MAC address")
    return bytes.fromhex(text.replace(text[2], ""))


def format_mac(mac: bytes) -> str:
    """The spelling of SCL: ``01-0C-CD-01-00-00``."""
    return mac.hex("-").upper()


class FrameHeader(NamedTuple):
    """What stands before the APDU, and where the APDU lies in the frame."""

    dst: bytes
    src: bytes
    vlan_id: int | None
    vlan_priority: int
    appid: int
    simulated: bool
    apdu_start: int
    apdu_stop: int


def read_frame_header(frame: bytes) -> FrameHeader:
    """Read all but the APDU. What follows it (padding, a PRP trailer) is left alone.

    Raises:
        GooseDecodeError: another EtherType, too short, or a Length that does not fit.
    """
    vlan_id, vlan_priority, offset = None, 0, 14
    if frame[12:14] == VLAN_TAG:
        offset = 18
        tag = int.from_bytes(frame[14:16], "big")
        vlan_id, vlan_priority = tag & 0xFFF, tag >> 13
    if len(frame) < offset + 8:
        raise GooseDecodeError("frame", len(frame), f"{len(frame)} octets, too short for a GOOSE header")
    if frame[offset - 2 : offset] != ETHERTYPE:
        raise GooseDecodeError("EtherType", offset - 2, f"0x{frame[offset - 2 : offset].hex()}, not 0x88b8")
    length = frame[offset + 2] << 8 | frame[offset + 3]
    if not 8 <= length <= len(frame) - offset:
        raise GooseDecodeError("Length", offset + 2, f"{length}, but {len(frame) - offset} octets are there")
    return FrameHeader(
        frame[:6],
        frame[6:12],
        vlan_id,
        vlan_priority,
        frame[offset] << 8 | frame[offset + 1],
        frame[offset + 4] & _SIMULATED != 0,
        offset + 8,
        offset + length,
    )


@dataclass(frozen=True, slots=True)
class EthernetFrame:
    """One frame.

    Attributes:
        dst: destination, 6 octets; GOOSE multicast is 01-0C-CD-01-xx-xx.
        src: source, 6 octets.
        vlan_id: of the 802.1Q tag, 0 for a tag that only carries the priority; None for no tag.
        vlan_priority: 0 to 7, of no meaning without a tag.
        appid: 16 bits.
        simulated: the bit 0x8000 of Reserved1.
        apdu: the IECGoosePdu.
    """

    dst: bytes
    src: bytes
    vlan_id: int | None
    vlan_priority: int
    appid: int
    simulated: bool
    apdu: bytes

    @classmethod
    def decode(cls, frame: bytes | memoryview) -> EthernetFrame:
        """Read a frame, from the destination address on, without check sequence.

        Raises:
            GooseDecodeError: as :func:`read_frame_header`.
        """
        raw = bytes(frame)
        header = read_frame_header(raw)
        return cls(*header[:6], raw[header.apdu_start : header.apdu_stop])

    def encode(self) -> bytes:
        """The octets of the frame. Short ones are not padded: the network interface does that.

        Raises:
            GooseEncodeError: a field that does not fit.
        """
        head = encode_frame_header(self.dst, self.src, self.vlan_id, self.vlan_priority, self.appid)
        if len(self.apdu) > 0xFFFF - 8:
            raise GooseEncodeError(f"an APDU of {len(self.apdu)} octets does not fit the Length field")
        return head + encode_length_and_reserved(len(self.apdu), simulated=self.simulated) + self.apdu


def encode_frame_header(dst: bytes, src: bytes, vlan_id: int | None, vlan_priority: int, appid: int) -> bytes:
    """The octets up to and including APPID.

    Raises:
        GooseEncodeError: a field that does not fit.
    """
    if len(dst) != 6 or len(src) != 6:
        raise GooseEncodeError("a MAC address has 6 octets")
    if not 0 <= appid <= 0xFFFF:
        raise GooseEncodeError(f"APPID {appid} does not fit 16 bits")
    tag = b""
    if vlan_id is not None:
        if not 0 <= vlan_id <= 0xFFF or not 0 <= vlan_priority <= 7:
            raise GooseEncodeError(f"VLAN {vlan_id} with priority {vlan_priority} does not fit 12 and 3 bits")
        tag = VLAN_TAG + (vlan_priority << 13 | vlan_id).to_bytes(2, "big")
    return dst + src + tag + ETHERTYPE + appid.to_bytes(2, "big")


def encode_length_and_reserved(apdu_length: int, *, simulated: bool) -> bytes:
    """The fields Length, Reserved1 and Reserved2."""
    return (apdu_length + 8).to_bytes(2, "big") + (b"\x80\0\0\0" if simulated else b"\0\0\0\0")
