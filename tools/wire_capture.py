"""What was on the wire, and when: every frame of an interface with the kernel's own time of arrival.

The kernel stamps a frame within the sender's own ``send`` call and lays it into memory shared with this
process, so neither the stamp nor the capture depends on when Python is scheduled. As a program::

    python -m tools.wire_capture --out FILE.pcap

captures the bridge of the laboratory network it runs beside until SIGTERM or SIGINT. It prints one JSON line
once it captures, ``{"capturing": "br0"}``, and one when the file is complete:
``{"frames": 5000, "dropped": 0, "truncated": 0}``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import signal
import socket
import struct
from pathlib import Path
from typing import Final, Self

from tools.lab import BRIDGE
from tools.pcap import PcapWriter

# Linux UAPI: <asm/socket.h>, <linux/if_packet.h>
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_RX_RING: Final = 5
_PACKET_STATISTICS: Final = 6
_PACKET_VERSION: Final = 10
_PACKET_MR_PROMISC: Final = 1
_TPACKET_V2: Final = 1
_SO_TIMESTAMPNS: Final = 35
_ETH_P_ALL: Final = 3

_STATUS_USER: Final = 1 << 0
_STATUS_VLAN_VALID: Final = 1 << 4
_STATUS_VLAN_TPID_VALID: Final = 1 << 6
# tpacket2_hdr: status, length, length captured, offset of the frame, offset of its payload, s, ns, TCI, TPID
_HEADER: Final = struct.Struct("=IIIHHIIHH")
_STATUS: Final = struct.Struct("=I")
_TAG: Final = struct.Struct("!HH")
_TPID_8021Q: Final = 0x8100

_SLOT: Final = 2048
"""Octets of the ring for one frame: header, alignment and 1,518 octets of frame fit."""
_BLOCK: Final = 1 << 16
_RING: Final = 16 << 20
"""Octets of the whole ring: 8,192 frames may wait for ``read``."""


class WireCapture:
    """Frames in and out of one interface of the calling thread's network namespace, whoever they are for.

    802.1Q tags, which the kernel takes out of frames, are put back.

    Attributes:
        dropped: frames lost since the start because the ring was full, as of the last ``read``.
        truncated: frames longer than a slot since the start, of which only the beginning is kept.
    """

    def __init__(self, interface: str = BRIDGE) -> None:
        self.dropped = 0
        self.truncated = 0
        self._next = 0
        with contextlib.ExitStack() as undo:
            # Bound to no protocol until the ring stands, so that nothing is queued outside it.
            self._socket = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
            # Without it the kernel would stamp only on delivery, after the bridge has passed the frame on.
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            ring = struct.pack("=4I", _BLOCK, _RING // _BLOCK, _SLOT, _RING // _SLOT)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
            self._ring = undo.enter_context(mmap.mmap(self._socket.fileno(), _RING))
            member = struct.pack("=iHH8s", socket.if_nametoindex(interface), _PACKET_MR_PROMISC, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
            self._socket.bind((interface, _ETH_P_ALL))
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        """Return the capture itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Stop capturing; what was not read is lost."""
        self._undo.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when ``read`` has something to return."""
        return self._socket.fileno()

    def read(self) -> list[tuple[int, bytes]]:
        """Return what has arrived since the last call, without waiting.

        Returns:
            Of each frame the time of arrival in ns since 1970 (CLOCK_REALTIME), and its octets without FCS.
        """
        frames: list[tuple[int, bytes]] = []
        ring = self._ring
        # One turn of the ring at most: a sender that never pauses does not keep us here.
        for _ in range(_RING // _SLOT):
            at = self._next
            status, length, captured, start, _, seconds, nanoseconds, tci, tpid = _HEADER.unpack_from(ring, at)
            if not status & _STATUS_USER:
                break
            frame = ring[at + start : at + start + captured]
            if status & _STATUS_VLAN_VALID:
                tag = _TAG.pack(tpid if status & _STATUS_VLAN_TPID_VALID else _TPID_8021Q, tci)
                frame = frame[:12] + tag + frame[12:]
            if captured < length:
                self.truncated += 1
            frames.append((seconds * 1_000_000_000 + nanoseconds, frame))
            _STATUS.pack_into(ring, at, 0)  # the slot is the kernel's again
            self._next = (at + _SLOT) % _RING
        # Reading the kernel's counters sets them to zero. It counts the dropped ones among all, too.
        _, dropped = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self.dropped += dropped
        return frames


def main() -> None:
    """Capture into a file until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.wire_capture", description="Capture an interface into a file."
    )
    parser.add_argument("--out", type=Path, required=True, help="the capture file to write (classic pcap, ns)")
    parser.add_argument("--interface", default=BRIDGE, help="the interface (default: %(default)s)")
    arguments = parser.parse_args()

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # they wait until sigtimedwait takes them
    frames = 0
    with WireCapture(arguments.interface) as capture, arguments.out.open("wb") as file:
        writer = PcapWriter(file)
        print(json.dumps({"capturing": arguments.interface}), flush=True)
        stopping = False
        while not stopping:
            stopping = signal.sigtimedwait(stop, 0.05) is not None
            for stamp, frame in capture.read():
                writer.write(stamp, frame)
                frames += 1
    print(json.dumps({"frames": frames, "dropped": capture.dropped, "truncated": capture.truncated}), flush=True)


if __name__ == "__main__":
    main()
