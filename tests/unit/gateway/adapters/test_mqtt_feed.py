"""Events until they are acknowledged, and states: the feed of a broker on a real event log, without a broker."""

from __future__ import annotations

import json

import pytest
from mqtt_world import BREAKER, CDCS, LAMP, POWER, TOPICS, config, point

from gateway.adapters.mqtt_feed import BrokerFeed, Publication
from gateway.points.event_log import EventLog
from gateway.points.point import PointConfig, encode_value
from gateway.points.table import PointTable


class Broker:
    """Takes what it is sent."""

    def __init__(self, folder, **more):
        self.table = PointTable(PointConfig(name=name, cdc=cdc, source="N") for name, cdc in CDCS.items())
        self.feed = BrokerFeed(config(**more), self.table)
        self.log = EventLog.open(folder, [self.feed.consumer])
        self.waiting = self.log.consumer(self.feed.consumer.name)
        self.written = 0
        self.feed.begin(self.waiting, self._acknowledged)
        self.now = 0.0
        self.last = 0
        self.sent = {}

    def _acknowledged(self):
        self.written += 1

    def tell(self, name, *values):
        for value in values:
            event = self.table.update(name, point(value))
            self.log.append(name, encode_value(event), 1)
        self.log.written(self.log.write())
        self.feed.look()

    def run(self):
        """All there is room for."""
        made = []
        while (publication := self.feed.next(self.now)) is not None:
            self.last += 1
            self.sent[self.last] = publication
            self.feed.sent(self.last, publication)
            made.append(publication)
        return made

    def acknowledge(self, *numbers, fault=""):
        for number in numbers or sorted(self.sent):
            del self.sent[number]
            self.feed.acknowledged(number, fault, self.now)

    def drain(self):
        made = []
        while more := self.run():
            made += more
            self.acknowledge()
        return made


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path)
    yield made
    made.log.close()


def values(publications, name=POWER):
    return [json.loads(each.payload)["value"] for each in publications if each.topic == TOPICS.event(name)]


def states(publications):
    return [each.topic.removeprefix(TOPICS.root + "/state/") for each in publications if each.state]


def test_an_event_leaves_the_log_with_its_acknowledgement_only(broker):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.tell(POWER, 1.0, 2.0, 3.0)
    assert values(broker.run()) == [1.0, 2.0, 3.0]
    assert broker.waiting.waiting == 3
    second = next(number for number, each in broker.sent.items() if each.sequence and b"2.0" in each.payload)
    broker.acknowledge(second)
    assert (broker.waiting.waiting, broker.written) == (2, 1)
    broker.feed.lost()
    broker.sent.clear()
    assert broker.run() == []
    broker.feed.connected(100, 1.0, remembered=True)
    assert values(broker.run()) == [1.0, 3.0]


def test_the_window_is_the_brokers_or_ours_whichever_is_less(broker):
    broker.tell(POWER, *map(float, range(200)))
    for window, most in ((65_535, 100), (2, 2), (0, 1)):
        broker.feed.connected(window, 0.0, remembered=True)
        assert len(broker.run()) == most
        broker.feed.lost()
        broker.sent.clear()


@pytest.mark.parametrize("window", [1, 8])
def test_events_states_and_replies_do_not_wait_for_each_other(broker, window):
    broker.feed.connected(window, 0.0, remembered=False)
    broker.tell(POWER, *map(float, range(100)))
    made = []
    while len(made) < 40:  # who commands without end and points that change without end
        broker.feed.say(Publication("desk/1", b"{}"))
        broker.tell(BREAKER, 1, 2)
        made += broker.run()
        broker.acknowledge()
    assert values(made) == list(range(len(values(made))))
    kinds = ["event" if each.sequence else "state" if each.state else "reply" for each in made]
    assert set(kinds[-16:]) == {"event", "state", "reply"}


def test_a_state_is_the_newest_and_all_are_sent_first(broker):
    broker.tell(BREAKER, 1, 2)
    broker.feed.connected(100, 0.0, remembered=True)
    made = broker.run()
    assert sorted(states(made)) == sorted(CDCS)
    said = {each.state: json.loads(each.payload) for each in made if each.state}
    assert said[BREAKER]["value"] == "on"
    assert said[LAMP] == {"point": LAMP, "cdc": "SPC", "value": None, "quality": "invalid"}
    assert all(each.retain == bool(each.state) for each in made)
    broker.acknowledge()
    assert broker.run() == []
    broker.tell(BREAKER, 1)
    assert states(broker.run()) == [BREAKER]


@pytest.mark.parametrize(("remembered", "later_s", "again"), [(False, 10_000, 4), (True, 10_000, 0), (True, 3_000, 4)])
def test_states_again_where_the_broker_may_have_forgotten_them(broker, remembered, later_s, again):
    broker.feed.connected(100, 0.0, remembered=False)
    broker.drain()
    broker.feed.lost()
    broker.now = later_s
    broker.feed.connected(100, broker.now, remembered=remembered)
    assert len(states(broker.run())) == again


def test_a_state_that_was_under_way_is_sent_again_though_the_broker_remembers(broker):
    broker.feed.connected(100, 0.0, remembered=False)
    broker.drain()
    broker.now = 10_000.0
    broker.tell(BREAKER, 2)
    broker.run()
    broker.feed.lost()
    broker.now = 20_000.0
    broker.feed.connected(100, broker.now, remembered=True)
    assert states(broker.run()) == [BREAKER]


def test_what_is_refused_is_held_with_what_follows_and_tried_again(broker, caplog):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.tell(POWER, 1.0, 2.0)
    made = broker.run()
    broker.acknowledge(fault="Not authorized")
    assert values(made) == [1.0, 2.0]
    assert broker.waiting.waiting == 2
    broker.tell(POWER, 3.0)
    assert values(broker.run()) == []
    broker.now = broker.feed.held_until
    broker.feed.release_held(broker.now)
    assert values(broker.drain()) == [1.0, 2.0, 3.0]
    assert broker.waiting.waiting == 0
    assert sum("events are held" in each.getMessage() for each in caplog.records) == 1


def test_what_is_under_way_beside_what_is_refused_is_decided_first(broker):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.drain()
    broker.tell(POWER, 1.0, 2.0, 3.0)
    broker.run()
    first, second, _ = (number for number, each in broker.sent.items() if each.sequence)
    broker.acknowledge(first, fault="Quota exceeded")
    broker.acknowledge(second)
    broker.now = broker.feed.held_until
    broker.feed.release_held(broker.now)
    assert values(broker.run()) == []
    assert broker.feed.held_until > broker.now
    broker.feed.lost()
    broker.sent.clear()
    broker.feed.connected(100, broker.now, remembered=True)
    assert values(broker.run()) == [1.0, 3.0], "given again in their order, by the log alone"
    broker.acknowledge()
    assert broker.waiting.waiting == 0


def test_an_event_that_is_none_any_more_holds_up_nobody(broker, caplog):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.log.append(POWER, b"\xff" * 30, 1)
    broker.log.append(BREAKER, encode_value(point(1.5)), 1)
    broker.tell(POWER, 1.0)
    assert values(broker.drain()) == [1.0]
    assert broker.waiting.waiting == 0
    assert sum("can't be told" in each.getMessage() for each in caplog.records) == 2


def test_replies_outlive_the_connection_and_are_bounded(broker, caplog):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.drain()
    broker.feed.say(Publication("desk/1", b"{}"))
    broker.feed.say(Publication(TOPICS.status, b"{}", retain=True))
    broker.run()
    broker.feed.lost()
    for number in range(1_500):
        broker.feed.say(Publication("desk/2", b"%d" % number))
    broker.tell(POWER, 1.0)
    broker.feed.connected(100, 0.0, remembered=True)
    broker.sent.clear()
    made = broker.drain()
    assert next(each.payload for each in made if each.topic.startswith("desk/")) == b"500"
    assert not any(each.topic == TOPICS.status for each in made)  # a birth is of its connection
    assert "the oldest are lost" in caplog.text


def test_more_changes_than_the_table_keeps(tmp_path):
    broker = Broker(tmp_path)
    broker.feed.connected(100, 0.0, remembered=True)
    broker.drain()
    for number in range(10_050):
        broker.table.update(POWER, point(float(number + 1)))
    broker.feed.look()
    assert POWER in states(broker.run())
    broker.log.close()


def test_nothing_new_is_sent_while_it_closes(broker):
    broker.feed.connected(100, 0.0, remembered=True)
    broker.drain()
    broker.tell(POWER, 1.0)
    broker.feed.closing = True
    assert broker.run() == []
    assert broker.feed.idle
