"""The packet socket on a virtual Ethernet: tags, filters, floods, and errors that say what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

import pytest

from ied_agents.goose.frame import EthernetFrame
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.link import LinkError
from tools.lab import HOST_INTERFACE

PATIENCE_S = 30
ONE, TWO, OTHER = (bytes.fromhex(f"010ccd0100{last:02x}") for last in (1, 2, 9))


@pytest.fixture
def hosts(make_lab):
    """Two hosts whose bridge passes frames: the kernel opens its ports a moment after the cables are up."""
    lab = make_lab("left", "right")
    links = []
    for host in ("left", "right"):
        with lab.enter(host):
            links.append(AfPacketLink(HOST_INTERFACE, [OTHER]))
    repeat_until_heard(*links, frame(OTHER))
    repeat_until_heard(*reversed(links), frame(OTHER))
    for link in links:
        link.close()
    return lab


@pytest.fixture
def open_link(hosts):
    links = []

    def make(host, *addresses, **wishes):
        with hosts.enter(host):
            links.append(AfPacketLink(HOST_INTERFACE, addresses, **wishes))
        return links[-1]

    yield make
    for link in links:
        link.close()


def frame(dst=ONE, number=0, vlan=None, src=b"\x02\0\0\0\0\x77"):
    vlan_id, priority = vlan or (None, 0)
    return EthernetFrame(dst, src, vlan_id, priority, 1, False, number.to_bytes(80, "big")).encode()


def receive(link, count):
    frames = []
    while len(frames) < count:
        readable, _, _ = select.select([link], [], [], PATIENCE_S)
        assert readable, f"{len(frames)} of {count} frames came"
        frames += link.receive()
    return frames


def repeat_until_heard(sender, receiver, octets):
    for _ in range(PATIENCE_S * 100):
        sender.send(octets)
        if select.select([receiver], [], [], 0.01)[0]:
            assert set(receiver.receive()) == {octets}
            return
    pytest.fail("the bridge does not pass frames")


@pytest.mark.parametrize("vlan", [None, (0, 4), (5, 4), (4094, 7), (1, 0)])
def test_frames_arrive_as_they_were_sent(open_link, vlan):
    left, right = open_link("left", ONE), open_link("right", ONE)
    left.send(frame(vlan=vlan, src=left.mac))
    assert receive(right, 1) == [frame(vlan=vlan, src=left.mac)]
    assert right.receive() == []
    assert left.receive() == []  # not our own


@pytest.mark.parametrize("vlan", [None, (0, 4), (5, 4)])
def test_who_does_not_ask_for_tags_gets_the_frames_without(open_link, vlan):
    left, right = open_link("left", ONE, tags=False), open_link("right", ONE, tags=False)
    left.send(frame(vlan=vlan, src=left.mac))
    left.send(frame(OTHER, vlan=vlan))
    left.send(frame(number=7, vlan=vlan, src=left.mac))
    assert receive(right, 2) == [frame(src=left.mac), frame(number=7, src=left.mac)]
    assert left.receive() == []  # not our own


def test_without_tags_on_a_kernel_that_shows_a_socket_its_own_frames(open_link, monkeypatch):
    monkeypatch.setattr("ied_agents.runtime.af_packet._PACKET_IGNORE_OUTGOING", 255)  # no such option
    left, right = open_link("left", ONE, tags=False), open_link("right", ONE)
    left.send(frame(src=left.mac))
    assert receive(right, 1) == [frame(src=left.mac)]
    assert left.receive() == []


def test_both_ways_and_many_addresses(open_link):
    left, right = open_link("left", ONE, TWO, TWO), open_link("right", ONE)
    right.send(frame(TWO))
    right.send(frame(ONE))
    assert receive(left, 2) == [frame(TWO), frame(ONE)]
    left.send(frame(ONE))
    assert receive(right, 1) == [frame(ONE)]


def test_foreign_frames_are_kept_out(open_link):
    left, right = open_link("left"), open_link("right", ONE, TWO)
    sampled_values = frame()[:12] + b"\x88\xba" + frame()[14:]
    tagged_values = frame()[:12] + b"\x81\x00\x80\x05\x88\xba" + frame()[14:]
    for octets in (frame(OTHER), frame(OTHER, vlan=(5, 4)), frame(bytes(6)), sampled_values, tagged_values):
        left.send(octets)
    left.send(frame(TWO, number=7))
    assert receive(right, 1) == [frame(TWO, number=7)]


def test_more_addresses_than_the_filter_holds(open_link):
    addresses = [b"\x01\x0c\xcd\x01" + number.to_bytes(2, "big") for number in range(900)]
    left, right = open_link("left"), open_link("right", *addresses)
    left.send(frame(addresses[899]))
    assert receive(right, 1) == [frame(addresses[899])]


def test_a_flood_is_taken_in_portions_and_nothing_is_lost(open_link):
    left, right = open_link("left"), open_link("right", ONE)
    for number in range(5000):
        left.send(frame(number=number))
    portion = right.receive()
    assert len(portion) == 64
    assert [*portion, *receive(right, 5000 - 64)] == [frame(number=number) for number in range(5000)]
    assert right.dropped == 0


def test_frames_that_no_buffer_holds_are_counted(open_link):
    left, right = open_link("left"), open_link("right", ONE)
    right._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
    for number in range(1000):
        left.send(frame(number=number))
    taken = 0
    while portion := right.receive():
        taken += len(portion)
    assert 0 < taken < 1000
    assert right.dropped == right.dropped == 1000 - taken


def test_the_longest_frame(open_link):
    left, right = open_link("left"), open_link("right", ONE)
    left.send(EthernetFrame(ONE, left.mac, None, 0, 1, False, bytes(1492)).encode())
    assert len(receive(right, 1)[0]) == 1514


def test_the_mac_is_the_interfaces(hosts, open_link):
    link = open_link("left")
    with hosts.enter("left"), socket.socket() as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8927, struct.pack("16s24x", HOST_INTERFACE.encode()))
    assert link.mac == answer[18:24]
    assert len(link.mac) == 6


def test_no_such_interface(hosts):
    with (
        hosts.enter("left"),
        pytest.raises(LinkError, match=r"no interface eth7; there are: .*eth0") as caught,
    ):
        AfPacketLink("eth7", [ONE])
    assert caught.value.errno == errno.ENODEV


def test_no_such_interface_where_the_others_may_not_be_listed(hosts, monkeypatch):
    def forbidden():
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "if_nameindex", forbidden)
    with hosts.enter("left"), pytest.raises(LinkError, match="no interface eth7; there are: not for this process"):
        AfPacketLink("eth7", [ONE])


def set_up(hosts, host, *, up):
    with hosts.enter(host), socket.socket() as any_socket:
        request = struct.pack("16sH22x", HOST_INTERFACE.encode(), 0x1 if up else 0)
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def test_interface_that_is_down(hosts):
    set_up(hosts, "left", up=False)
    with hosts.enter("left"), pytest.raises(LinkError, match="eth0 is down: ip link set eth0 up") as caught:
        AfPacketLink(HOST_INTERFACE, [ONE])
    assert caught.value.errno == errno.ENETDOWN


def test_interface_that_goes_down_and_comes_back(hosts, open_link):
    left, right = open_link("left"), open_link("right", ONE)
    set_up(hosts, "right", up=False)
    with pytest.raises(LinkError, match="eth0: Network is down"):
        right.receive()
    assert right.receive() == []
    with pytest.raises(LinkError, match="eth0: Network is down"):
        right.send(frame())
    set_up(hosts, "right", up=True)
    repeat_until_heard(left, right, frame(number=1))


def test_closing_twice(open_link):
    link = open_link("left")
    link.close()
    link.close()
    with pytest.raises(LinkError):
        link.send(frame())


WITHOUT_RIGHTS = """
import os, sys
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.link import LinkError
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    AfPacketLink("lo", [])
except LinkError as error:
    print(error)
"""


def test_without_the_right(require):
    require(os.geteuid() == 0, "only root can give up its rights")
    argv = [sys.executable, "-c", WITHOUT_RIGHTS]
    output = subprocess.run(argv, capture_output=True, check=True, text=True).stdout
    assert "lo: packet sockets need CAP_NET_RAW" in output
    assert "setcap" in output
