"""GOOSE on a real Ethernet interface: a Linux packet socket.

The socket takes all protocols (ETH_P_ALL) and lets a BPF program keep what is not GOOSE out, because one that
is bound to 0x88B8 neither gets the 802.1Q tag in the auxiliary data nor frames of VLANs other than the
interface's.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from typing import TYPE_CHECKING, Final

from ied_agents.runtime.link import LinkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ETH_P_ALL: Final = 0x0003
_ETHERTYPE_GOOSE: Final = 0x88B8
_ETHERTYPE_VLAN: Final = 0x8100
_SOL_PACKET: Final = 263
_PACKET_ADD_MEMBERSHIP: Final = 1
_PACKET_AUXDATA: Final = 8
_PACKET_IGNORE_OUTGOING: Final = 23
_PACKET_STATISTICS: Final = 6
_PACKET_MR_MULTICAST: Final = 0
_PACKET_OUTGOING: Final = 4
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SIOCGIFHWADDR: Final = 0x8927
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 0x1

_AUXDATA = struct.Struct("IIIHHHH")  # tp_status, tp_len, tp_snaplen, tp_mac, tp_net, tp_vlan_tci, tp_vlan_tpid
_STATISTICS = struct.Struct("II")  # tp_packets, tp_drops
_TP_STATUS_VLAN_VALID: Final = 1 << 4

_TP_STATUS_VLAN_TPID_VALID: Final = 1 << 6

_INSTRUCTION = struct.Struct("HBBI")  # code, jump if true, jump if false, operand
_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_MOST_ADDRESSES: Final = 800  # the kernel takes programs of 4,096 steps

_RECEIVE_BUFFER: Final = 8 << 20
"""Octets of socket buffer: a burst of some 5,000 frames, each counted by the kernel with its overhead."""

_LARGEST_FRAME: Final = 2048
_AUXDATA_SPACE: Final = socket.CMSG_SPACE(_AUXDATA.size)
FRAMES_AT_ONCE: Final = 64
"""Frames handed over by one call: under a flood timers still get their turn."""


class AfPacketLink:
    """A packet socket on one interface, for the multicast addresses given.

    Attributes:
        interface: its name.
        mac: its address.
    """

    def __init__(self, interface: str, multicast: Iterable[bytes], *, tags: bool = True) -> None:
        """Open the socket.

        Args:
            interface: name, for example ``eth1``.
            multicast: destination addresses to receive, 6 octets each.
            tags: whether frames are received with their 802.1Q tag; without it they are read in half the time.

        Raises:
            LinkError: no such interface, not allowed, or the interface is down.
        """
        self.interface = interface
        self._plain = not tags
        self._dropped = 0
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except PermissionError as error:
            raise LinkError(
                error.errno,
                f"{interface}: packet sockets need CAP_NET_RAW: run as root, or give the interpreter"
                " cap_net_raw+ep (setcap), or run inside a user and network namespace (unshare -Urn)",
            ) from error
        try:
            self._open(tuple(dict.fromkeys(multicast)))
        except BaseException:
            self._socket.close()
            raise

    def _open(self, addresses: Sequence[bytes]) -> None:
        try:
            index = socket.if_nametoindex(self.interface)
        except OSError as error:
            said = f"there is no interface {self.interface}; there are: {_interface_names()}"
            raise LinkError(errno.ENODEV, said) from error
        self.mac = self._request(_SIOCGIFHWADDR)[18:24]
        if not int.from_bytes(self._request(_SIOCGIFFLAGS)[16:18], "little") & _IFF_UP:
            raise LinkError(errno.ENETDOWN, f"interface {self.interface} is down: ip link set {self.interface} up")
        # Everything that must hold for the first frame is set before the socket is bound and frames begin to
        # come.
        self._attach_filter(addresses)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        except OSError:  # before Linux 4.20: receive() must see whose frames they are, to drop our own
            self._plain = False
        self._raise_buffer()
        self._socket.bind((self.interface, _ETH_P_ALL))
        for address in addresses:
            membership = struct.pack("iHH8s", index, _PACKET_MR_MULTICAST, len(address), address)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    def _request(self, code: int) -> bytes:
        """Ask the kernel about the interface: the answer follows 16 octets of name."""
        return fcntl.ioctl(self._socket, code, struct.pack("16s24x", self.interface.encode()))

    def _attach_filter(self, addresses: Sequence[bytes]) -> None:
        program = _filter_program(addresses)
        octets = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*step) for step in program))
        argument = struct.pack("HxxxxxxP", len(program), ctypes.addressof(octets))  # the kernel copies it
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)

    def _raise_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:  # in an unprivileged user namespace: as much as net.core.rmem_max lets through
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def fileno(self) -> int:
        """For the event loop: readable when :meth:`receive` has something."""
        return self._socket.fileno()

    @property
    def dropped(self) -> int:
        """Frames that the kernel threw away because we did not fetch them in time."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._dropped += _STATISTICS.unpack(statistics)[1]  # reading sets the kernel's counters to 0
        return self._dropped

    def send(self, frame: bytes) -> None:
        """Send a frame now.

        Raises:
            LinkError: the interface is gone or down, or its queue is full.
        """
        try:
            self._socket.send(frame)
        except OSError as error:
            raise LinkError(error.errno, f"{self.interface}: {error.strerror}") from error

    def receive(self, most: int = FRAMES_AT_ONCE) -> list[bytes]:
        """The frames that came; the socket stays readable while there are more.

        Args:
            most: frames at a time.

        Raises:
            LinkError: the interface is gone or went down. When it is up again frames come again.
        """
        frames: list[bytes] = []
        receive = self._socket.recvmsg
        try:
            while len(frames) < most:
                if self._plain:
                    frames.append(self._socket.recv(_LARGEST_FRAME))
                    continue
                frame, ancillary, flags, address = receive(_LARGEST_FRAME, _AUXDATA_SPACE)
                if flags & socket.MSG_TRUNC or address[2] == _PACKET_OUTGOING:
                    continue
                frames.append(_with_tag(frame, ancillary))
        except BlockingIOError:
            pass
        except OSError as error:
            raise LinkError(error.errno, f"{self.interface}: {error.strerror}") from error
        return frames

    def close(self) -> None:
        """Close the socket; harmless when repeated."""
        self._socket.close()


def _interface_names() -> str:
    try:
        return ", ".join(name for _, name in socket.if_nameindex()) or "none"
    except OSError:  # a service whose unit leaves it no netlink sockets
        return "not for this process to see"


def _with_tag(frame: bytes, ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The frame with the 802.1Q tag back in its place, which the kernel took out and told us apart."""
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(data)
            if status & _TP_STATUS_VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & _TP_STATUS_VLAN_TPID_VALID else _ETHERTYPE_VLAN, tci)
                return frame[:12] + tag + frame[12:]
    return frame


def _filter_program(addresses: Sequence[bytes]) -> list[tuple[int, int, int, int]]:
    """Classic BPF: keep GOOSE, tagged or not, for these destinations; of too many destinations, for all."""
    program = [
        (_LOAD_HALF, 0, 0, 12),
        (_JUMP_EQUAL, 4, 0, _ETHERTYPE_GOOSE),
        (_JUMP_EQUAL, 0, 1, _ETHERTYPE_VLAN),
        (_LOAD_HALF, 0, 0, 16),
        (_JUMP_EQUAL, 1, 0, _ETHERTYPE_GOOSE),
        (_RETURN, 0, 0, 0),
    ]
    if len(addresses) > _MOST_ADDRESSES:
        return [*program, (_RETURN, 0, 0, _LARGEST_FRAME)]
    for address in addresses:
        program += [
            (_LOAD_WORD, 0, 0, 0),
            (_JUMP_EQUAL, 0, 3, int.from_bytes(address[:4], "big")),
            (_LOAD_HALF, 0, 0, 4),
            (_JUMP_EQUAL, 0, 1, int.from_bytes(address[4:], "big")),
            (_RETURN, 0, 0, _LARGEST_FRAME),
        ]
    return [*program, (_RETURN, 0, 0, 0)]
