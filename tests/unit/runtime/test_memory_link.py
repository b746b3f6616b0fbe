"""The in-memory network: who gets what, when, and what goes wrong as told."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from ied_agents.runtime.memory_link import REPLAYABLE, Disturbance, MemoryNetwork

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


def test_a_link_gets_only_what_it_wants_to_hear():
    net = MemoryNetwork(random.Random(1))
    clock = Clock()
    one, two = (net.attach(number, MACS[number], clock) for number in (1, 2))
    three = net.attach(3, MACS[3], clock, hears={2})
    one.send(b"a")
    two.send(b"b")
    assert three.receive() == [b"b"]
    assert one.receive() == [b"b"]
    assert net.delivered + net.lost == 2, "what nobody wanted is not counted as lost"


def test_delivery_waits_for_its_time_and_keeps_the_order_of_equal_delays():
    net, clock, (_, two, three) = network(min_delay_s=0.5, max_delay_s=0.5)
    for number in range(3):
        assert net.send(1, bytes((number,)), 10.0) == [(2, 10.5), (3, 10.5)]
    assert net.next_deadline == net.waiting_for(2) == 10.5
    assert net.fetch(2, 10.4) == []
    clock.now = 10.5
    assert two.receive() == [b"\x00", b"\x01", b"\x02"]
    assert net.waiting_for(2) is None
    assert net.next_deadline == 10.5
    assert len(three.receive()) == 3
    assert net.next_deadline is None


def test_delays_spread_over_their_range_and_frames_overtake():
    net, _, _ = network(links=2, min_delay_s=0.1, max_delay_s=0.3)
    for number in range(200):
        net.send(1, bytes((number,)), 0.0)
    assert net.fetch(2, 0.0999) == []
    early, late = net.fetch(2, 0.2), net.fetch(2, 0.3001)
    assert len(early) + len(late) == 200
    assert 60 < len(early) < 140
    arrived = [frame[0] for frame in early + late]
    assert arrived != sorted(arrived)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_loss(share):
    net, _, _ = network(links=2, loss=share)
    for _ in range(1000):
        net.send(1, b"x", 0.0)
    delivered = len(net.fetch(2, 0.0))
    assert delivered + net.lost == 1000
    assert delivered == pytest.approx(1000 * (1 - share), abs=60 if 0 < share < 1 else 0)


def test_duplicates():
    net, _, _ = network(links=2, duplicate=0.5)
    for _ in range(1000):
        net.send(1, b"x", 0.0)
    assert len(net.fetch(2, 0.0)) == pytest.approx(1500, abs=80)


def test_bursts_lose_everything_for_a_while_on_one_way():
    net, _, _ = network(links=3, burst_share=0.3, burst_s=0.5)
    heard = {2: [], 3: []}
    for step in range(20_000):
        now = step / 100
        net.send(1, b"x", now)
        for link, way in heard.items():
            way.append(len(net.fetch(link, now)))
    for way in heard.values():
        assert sum(way) / len(way) == pytest.approx(0.7, abs=0.08)
        changes = sum(before != after for before, after in pairwise(way))
        assert changes < 400, "200 s with a burst about every 1.7 s, not single losses"
    assert heard[2] != heard[3]


def test_replay_of_old_frames():
    net, _, _ = network(links=2)
    assert net.replay(0.0) == []
    for number in range(5):
        net.send(1, bytes((number,)), 0.0)
    net.fetch(2, 0.0)
    assert net.replay(1.0, age=3) == [(2, 1.0)]
    assert net.fetch(2, 1.0) == [b"\x01"]
    net.replay(1.0, age=99_999)
    assert net.fetch(2, 1.0) == [b"\x00"]
    net.disturbance = Disturbance(replay=1.0)
    assert len(net.send(1, b"new", 2.0)) == 2
    assert len(net.fetch(2, 2.0)) == 2
    net.disturbance = Disturbance()
    for number in range(REPLAYABLE + 5):
        net.send(1, number.to_bytes(2, "big"), 3.0)
    net.fetch(2, 3.0)
    net.replay(4.0, age=REPLAYABLE + 5)
    assert net.fetch(2, 4.0) == [(5).to_bytes(2, "big")], "older ones are forgotten"


def test_partition_cuts_both_ways_until_it_is_healed():
    net, _, _ = network(links=4, min_delay_s=1.0, max_delay_s=1.0)
    net.send(1, b"a", 0.0)
    net.partition([1, 2], [3])
    assert net.send(1, b"b", 0.0) == [(2, 1.0)]
    assert net.send(3, b"c", 0.0) == []
    assert net.send(4, b"d", 0.0) == []
    assert net.fetch(3, 1.0) == [b"a"], "what was on its way gets through"
    net.partition()
    assert len(net.send(3, b"e", 2.0)) == 3


def test_a_way_can_be_cut_in_one_direction():
    net, _, _ = network(links=3)
    net.deafen([(1, 2)])
    assert net.send(1, b"a", 0.0) == [(3, 0.0)]
    assert net.send(2, b"b", 0.0) == [(1, 0.0), (3, 0.0)]
    net.deafen(())
    assert len(net.send(1, b"c", 0.0)) == 2


def test_a_frame_from_nowhere_is_heard_by_one():
    net, _, _ = network(loss=1.0)
    assert net.inject(2, b"forged", 5.0) == (2, 5.0)
    assert net.fetch(2, 5.0) == [b"forged"]
    assert net.fetch(3, 5.0) == []
    with pytest.raises(KeyError):
        net.inject(9, b"x", 5.0)


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
        disturbed = {"loss": 0.3, "duplicate": 0.2, "replay": 0.1, "max_delay_s": 1.0, "burst_share": 0.2}
        net, _, _ = network(seed, **disturbed)
        for number in range(100):
            net.send(1, bytes((number,)), number / 10)
        return [net.fetch(link, 20.0) for link in (2, 3)]

    assert run(5) == run(5)
    assert run(5) != run(6)
