"""Two interfaces as one link: copies, what fails, what is told of it; the packet sockets are played."""

from __future__ import annotations

import errno
import socket

import pytest

from ied_agents.goose.frame import EthernetFrame
from ied_agents.runtime import lans
from ied_agents.runtime.lans import BACK_S, LOOK_S, LanHealth, Lans
from ied_agents.runtime.link import LinkError

PROMPT, OTHER = bytes.fromhex("010ccd010001"), bytes.fromhex("010ccd010002")
SILENT_S = 2.5


class Line:
    """What the interfaces of a machine do."""

    def __init__(self):
        self.index = {"eth0": 1, "eth1": 2}
        self.broken = {}
        self.links = []
        self.sent = {"eth0": [], "eth1": []}

    def arrive(self, interface, *frames, prompt=True):
        """Frames arrive at the newest link."""
        links = [link for link in self.links if link.interface == interface and link.prompt is prompt]
        links[-1].waiting += frames

    def open(self, interface, addresses, *, tags):
        assert tags is False
        link = Link(self, interface, addresses)
        self.links.append(link)
        return link

    def find(self, interface):
        if interface not in self.index:
            raise OSError(errno.ENODEV, "no such device")
        return self.index[interface]


class Link:
    def __init__(self, line, interface, addresses):
        if interface not in line.index:
            raise LinkError(errno.ENODEV, f"there is no interface {interface}")
        self.interface = interface
        self.prompt = PROMPT in addresses
        self.mac = bytes(5) + bytes([line.index[interface]])
        self.closed = False
        self.waiting = []
        self._line = line

    def fileno(self):
        return id(self)

    def send(self, frame):
        if self.interface in self._line.broken:
            raise LinkError(errno.ENETDOWN, f"{self.interface}: down")
        self._line.sent[self.interface].append(frame)

    def receive(self, most):
        if self.interface in self._line.broken:
            raise LinkError(errno.ENETDOWN, f"{self.interface}: down")
        frames, self.waiting = self.waiting[:most], self.waiting[most:]
        return frames

    def close(self):
        self.closed = True


@pytest.fixture
def line(monkeypatch):
    made = Line()
    monkeypatch.setattr(lans, "AfPacketLink", made.open)
    monkeypatch.setattr(socket, "if_nametoindex", made.find)
    return made


def opened(*interfaces, now=0.0):
    return Lans(interfaces, ([PROMPT], [OTHER]), silent_s=SILENT_S, loss=0.0, now=now)


@pytest.fixture
def both(line):
    return opened("eth0", "eth1")


def frame(number, dst=PROMPT, src=b"\x02\0\0\0\0\x01", vlan=None):
    return EthernetFrame(dst, src, *(vlan or (None, 0)), 1, False, number.to_bytes(60, "big")).encode()


def rct(sequence, lan, octets):
    """The trailer of PRP (IEC 62439-3): sequence number, LAN and size, suffix."""
    return sequence.to_bytes(2, "big") + (lan << 12 | octets).to_bytes(2, "big") + b"\x88\xfb"


# -- copies ----------------------------------------------------------------------------------------------------------


def test_every_frame_goes_out_on_both_with_one_address(line, both):
    assert both.mac == bytes(5) + b"\x01"
    both.send(b"one", 1.0)
    assert line.sent == {"eth0": [b"one"], "eth1": [b"one"]}


def test_the_first_copy_counts_whichever_interface_brings_it(line, both):
    line.arrive("eth0", frame(1), frame(2))
    line.arrive("eth1", frame(1), frame(2), frame(3))
    assert list(both.prompt(1.0)) == [frame(1), frame(2), frame(3)]
    line.arrive("eth0", frame(3))
    assert list(both.prompt(1.1)) == []
    counted = both.counters()
    assert (counted["eth0"].received, counted["eth0"].copies) == (3, 1)
    assert (counted["eth1"].received, counted["eth1"].copies) == (3, 2)


def test_a_copy_that_comes_late_is_none_the_less_a_copy(line, both):
    line.arrive("eth0", frame(1), frame(2), frame(3))
    assert len(list(both.prompt(1.0))) == 3
    line.arrive("eth1", frame(1))
    assert list(both.prompt(1.4)) == []


def test_what_one_interface_brings_twice_is_no_copy_but_the_streams_business(line, both):
    line.arrive("eth0", frame(1), frame(1))
    assert list(both.prompt(1.0)) == [frame(1), frame(1)]
    line.arrive("eth1", frame(1), frame(1))
    assert list(both.prompt(1.0)) == [frame(1)]


@pytest.mark.parametrize("vlan", [None, (5, 4)])
def test_copies_may_differ_in_what_lies_outside_the_message(line, both, vlan):
    line.arrive("eth0", frame(1, vlan=vlan) + rct(7, 0xA, 80), prompt=True)
    line.arrive("eth1", frame(1) + bytes(12) + rct(7, 0xB, 92))
    assert list(both.prompt(1.0)) == [frame(1, vlan=vlan) + rct(7, 0xA, 80)]


def test_so_are_those_that_have_waited(line, both):
    line.arrive("eth0", frame(1, OTHER), prompt=False)
    line.arrive("eth1", frame(1, OTHER), frame(2, OTHER), prompt=False)
    assert list(both.others(1.0)) == [frame(1, OTHER), frame(2, OTHER)]
    assert not both.backlog
    line.arrive("eth1", *(frame(n, OTHER) for n in range(10, 90)), prompt=False)
    assert len(list(both.others(1.0))) == lans.FRAMES_AT_ONCE
    assert both.backlog
    assert len(list(both.others(1.0))) == 80 - lans.FRAMES_AT_ONCE
    assert not both.backlog


def test_what_is_remembered_of_frames_without_a_copy_is_bounded(line, both):
    for number in range(2000):
        line.arrive("eth0", frame(number))
        list(both.prompt(1.0))
    assert len(both._first) <= 256


def test_garbage_is_passed_on_for_the_streams_to_refuse(line, both):
    line.arrive("eth0", b"", b"\xff", bytes(14), bytes(60))
    assert len(list(both.prompt(1.0))) == 4


def test_with_one_interface_nothing_is_compared(line):
    one = opened("eth0")
    line.arrive("eth0", frame(1), frame(1))
    assert list(one.prompt(1.0)) == [frame(1), frame(1)]
    assert one._first == {}


# -- what fails ------------------------------------------------------------------------------------------------------


def told(made, now):
    return [(note.kind, note.detail) for note in made.look(now)]


def run(line, made, since, until, alive=("eth0", "eth1")):
    """Pass time with a frame on each living interface every 0.1 s; returns what was told."""
    found, now = [], since
    while now < until:
        now = round(now + 0.1, 3)
        for interface in alive:
            line.arrive(interface, frame(int(1000 * now) + (interface == "eth1")))
        list(made.prompt(now))
        made.send(b"x", now)
        found += told(made, now)
    return found


def test_a_silent_interface_is_lost_once_and_back_once(line, both):
    assert run(line, both, 0.0, 3.0) == []
    lost = [("interface lost", {"interface": "eth1", "why": "nothing heard for 2.5 s"})]
    assert run(line, both, 3.0, 20.0, alive=("eth0",)) == lost
    standing = both.standing(20.0)
    assert standing["eth0"] == ("", {OTHER})
    assert standing["eth1"] == ("nothing heard for 2.5 s", {PROMPT, OTHER})
    assert run(line, both, 20.0, 30.0) == [("interface back", {"interface": "eth1"})]
    assert both.counters()["eth1"].lost == 1
    assert both.counters()["eth0"].lost == 0


def test_an_interface_that_is_down_is_told_with_the_reason_and_the_other_goes_on(line, both):
    run(line, both, 0.0, 1.0)
    line.broken["eth0"] = True
    before = len(line.sent["eth1"])
    assert run(line, both, 1.0, 5.0) == [("interface lost", {"interface": "eth0", "why": "eth0: down"})]
    assert len(line.sent["eth1"]) == before + 40
    assert both.counters()["eth0"].not_sent == 40
    del line.broken["eth0"]
    assert run(line, both, 5.0, 8.0) == [("interface back", {"interface": "eth0"})]


def test_an_interface_that_comes_and_goes_is_not_told_every_time(line, both):
    found, now = [], 0.0
    while now < 20.0:
        line.broken.pop("eth1", None)
        found += run(line, both, now, now + 0.5)
        line.broken["eth1"] = True
        found += run(line, both, now + 0.5, now + 0.8)
        now = round(now + 0.8, 3)
    assert found == [("interface lost", {"interface": "eth1", "why": "eth1: down"})]


def test_one_that_is_not_there_at_the_start_is_opened_when_it_comes(line):
    del line.index["eth0"]
    made = opened("eth0", "eth1")
    assert made.mac == bytes(5) + b"\x02"
    added, removed = [], []
    made.wake(added.append, removed.append)
    assert len(added) == 1
    assert run(line, made, 0.0, 4.0, alive=("eth1",)) == [
        ("interface lost", {"interface": "eth0", "why": "there is no interface eth0"})
    ]
    line.index["eth0"] = 7
    run(line, made, 4.0, 4.0 + LOOK_S, alive=("eth1",))
    assert len(added) == 2
    assert run(line, made, 5.0, 8.0) == [("interface back", {"interface": "eth0"})]
    assert removed == []
    assert made.mac == bytes(5) + b"\x02", "who hears us knows us by it"


def test_one_that_is_made_anew_is_opened_anew(line, both):
    added, removed = [], []
    both.wake(added.append, removed.append)
    run(line, both, 0.0, 1.0)
    line.broken["eth1"] = True
    line.index["eth1"] = 9
    run(line, both, 1.0, 3.0, alive=("eth0",))
    assert removed == added[1:2]
    assert [link.closed for link in line.links if link.interface == "eth1"][:2] == [True, True]
    del line.broken["eth1"]
    assert ("interface back", {"interface": "eth1"}) in run(line, both, 3.0, 6.0)


def test_without_any_interface_there_is_no_agent(line):
    line.index.clear()
    with pytest.raises(LinkError, match="there is no interface eth0; there is no interface eth1"):
        opened("eth0", "eth1")


def test_all_is_closed(line, both):
    both.close()
    both.close()
    assert len(line.links) == 4
    assert all(link.closed for link in line.links)


def test_health_is_not_back_before_it_was_heard_for_a_while():
    health = LanHealth(SILENT_S, 0.0)
    health.failed("down", 1.0)
    assert health.judge(0.9, 1.0)
    assert not health.judge(0.9, 1.0 + 2 * BACK_S)
    assert not health.judge(1.4, 1.0 + BACK_S / 2)
    assert health.judge(2.9, 3.0)
    assert health.why == ""
