"""The in-memory network: who gets what, when, and what goes wrong as told."""

from __future__ import annotations

import random

import pytest

from ied_agents.runtime.memory_link import Disturbance, MemoryNetwork

MACS = {number: bytes((2, 0, 0, 0, 0, number)) for number in range(1, 5)}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def network(seed=1, links=3, **disturbance):
    net = MemoryNetwork(random.Random(seed), Disturbance(**disturbance))
    clock = Clock()
    return net, clock, [net.attach(number, MACS[number], clock) for number in range(1, links + 1)]


def test_a_frame_reaches_all_but_its_sender():
    net, _, (one, two, three) = network()
    one.send(b"frame")
    assert one.receive() == []
    assert two.receive() == [b"frame"]
    assert three.receive() == [b"frame"]
    assert two.receive() == []
    assert (net.sent, net.delivered, net.lost) == (1, 2, 0)
    assert one.mac == MACS[1]


def test_delivery_waits_for_its_time_and_keeps_the_order_of_equal_delays():
    net, clock, (_, two, _) = network(min_delay_s=0.5, max_delay_s=0.5)
    for number in range(3):
        net.send(1, bytes((number,)), 10.0)
    assert net.next_deadline == 10.5
    assert net.deliver(10.4) == []
    clock.now = 10.5
    assert two.receive() == [b"\x00", b"\x01", b"\x02"]
    assert net.next_deadline is None


def test_delays_spread_over_their_range_and_frames_overtake():
    net, _, _ = network(links=2, min_delay_s=0.1, max_delay_s=0.3)
    for number in range(200):
        net.send(1, bytes((number,)), 0.0)
    assert net.deliver(0.0999) == []
    early, late = net.deliver(0.2), net.deliver(0.3001)
    assert len(early) + len(late) == 200
    assert 60 < len(early) < 140
    arrived = [frame[0] for _, frame in early + late]
    assert arrived != sorted(arrived)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_loss(share):
    net, _, _ = network(links=2, loss=share)
    for _ in range(1000):
        net.send(1, b"x", 0.0)
    delivered = len(net.deliver(0.0))
    assert delivered + net.lost == 1000
    assert delivered == pytest.approx(1000 * (1 - share), abs=60 if 0 < share < 1 else 0)


def test_duplicates():
    net, _, _ = network(links=2, duplicate=0.5)
    for _ in range(1000):
        net.send(1, b"x", 0.0)
    assert len(net.deliver(0.0)) == pytest.approx(1500, abs=80)


def test_replay_of_old_frames():
    net, _, _ = network(links=2)
    net.replay(0.0)
    assert net.deliver(0.0) == []
    for number in range(5):
        net.send(1, bytes((number,)), 0.0)
    net.deliver(0.0)
    net.replay(1.0, age=3)
    assert net.deliver(1.0) == [(2, b"\x01")]
    net.replay(1.0, age=99)
    assert net.deliver(1.0) == [(2, b"\x00")]
    net.disturbance.replay = 1.0
    net.send(1, b"new", 2.0)
    assert len(net.deliver(2.0)) == 2
    for number in range(1000):
        net.send(1, number.to_bytes(2, "big"), 3.0)
    assert len(net._past) == 256


def test_partition_cuts_both_ways_and_frames_on_their_way():
    net, _, _ = network(links=4, min_delay_s=1.0, max_delay_s=1.0)
    net.send(1, b"a", 0.0)
    net.partition([1, 2], [3])
    assert net.deliver(1.0) == [(2, b"a")]
    net.send(3, b"b", 1.0)
    net.send(4, b"c", 1.0)
    assert net.deliver(2.0) == []
    net.partition()
    net.send(3, b"d", 2.0)
    assert [link for link, _ in net.deliver(3.0)] == [1, 2, 4]


def test_a_closed_link_hears_nothing_and_its_name_is_free():
    net, clock, (one, two, three) = network()
    with pytest.raises(ValueError, match="attached already"):
        net.attach(2, MACS[2], clock)
    one.send(b"a")
    two.close()
    two.close()
    assert three.receive() == [b"a"]
    assert net.lost == 1
    again = net.attach(2, MACS[2], clock)
    one.send(b"b")
    assert again.receive() == [b"b"]


def test_same_seed_same_run():
    def run(seed):
        net, _, _ = network(seed, loss=0.3, duplicate=0.2, replay=0.1, min_delay_s=0.0, max_delay_s=1.0)
        for number in range(100):
            net.send(1, bytes((number,)), number / 10)
        return net.deliver(20.0)

    assert run(5) == run(5)
    assert run(5) != run(6)
