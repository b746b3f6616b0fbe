"""Frames without octets follow the same rules as real ones: both kinds of stream are fed the same."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ied_agents.dflisr import wire
from ied_agents.dflisr.records import AgentState
from ied_agents.goose.events import StateReceived, StreamLost, StreamResumed
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.utctime import UtcTime
from tools.campaign.feeders import random_system
from tools.campaign.light_station import LightFrame, LightPublisher, LightSubscriber


def stream_settings():
    return random_system(random.Random(1), 3).agents[1].own.fast


class Pair:
    """A stream twice: with octets and without."""

    def __init__(self, incarnation=1):
        settings = stream_settings()
        self.settings = settings
        self.subscriber = Subscriber(settings.subscriber(), wire.FastDecoder(1), lambda state: state.incarnation)
        self.receiver = Receiver([self.subscriber])
        self.light = LightSubscriber()
        self.start(incarnation)

    def start(self, incarnation):
        self.state = AgentState(incarnation)
        self.publishers = (
            Publisher(self.settings.publisher(bytes(6))),
            LightPublisher(1, fast=True, settings=self.settings),
        )

    def publish(self, now, tags):
        self.state = self.state._replace(tags=tags)
        stamp = UtcTime.from_ns(round((now + 1e9) * 1e9))
        return (
            self.publishers[0].publish(wire.encode_fast(self.state), now, stamp),
            self.publishers[1].publish(self.state, now),
        )

    def repeat(self, now):
        return tuple(publisher.handle_timer(now) for publisher in self.publishers)

    def deliver(self, frames, now):
        events = self.receiver.receive(frames[0], now)
        real = (
            [e.value for e in events if isinstance(e, StateReceived)],
            any(isinstance(e, StreamResumed) for e in events),
        )
        new, resumed = self.light.take(frames[1], now)
        assert real == ([frames[1].value] if new else [], resumed)
        self.agree()
        return new

    def expire(self, now):
        lost = any(isinstance(e, StreamLost) for e in self.receiver.handle_timer(now))
        assert self.light.expire(now) == lost
        self.agree()
        return lost

    def agree(self):
        assert self.light.alive == self.subscriber.alive
        real, light = self.subscriber.counters, self.light.counters
        # Missed frames and restarts are counted only where somebody looks at them.
        assert light == replace(real, missed=0, restarts=0)


@pytest.mark.parametrize("seed", range(30))
def test_loss_delay_duplicates_replays_and_restarts_are_judged_alike(seed):
    rng = random.Random(seed)
    pair = Pair()
    past = []
    now, incarnation, taken, lost = 0.0, 1, 0, 0
    for _ in range(400):
        now += rng.expovariate(1 / rng.choice((0.01, 0.5)))
        if rng.random() < 0.03:
            incarnation += 1
            pair.start(incarnation)
        frames = pair.publish(now, rng.randrange(3)) if rng.random() < 0.3 else pair.repeat(now)
        assert (frames[0] is None) == (frames[1] is None)
        if frames[0] is not None:
            past.append(frames)
        if rng.random() < 0.6 and past:
            # Mostly the last one, often an older one, sometimes a very old one.
            back = rng.choice((0, 0, 0, 1, 2, rng.randrange(len(past))))
            taken += pair.deliver(past[-1 - min(back, len(past) - 1)], now)
        if rng.random() < 0.1:
            now += rng.choice((0.1, 3.0))
        lost += pair.expire(now)
    assert taken > 20
    assert lost > 0
    assert pair.light.counters.old_states > 0


def test_both_publishers_repeat_at_the_same_times():
    pair = Pair()
    pair.publish(0.0, 1)
    for publisher_deadlines in range(8):
        real, light = pair.publishers
        assert real.next_deadline == pytest.approx(light.next_deadline)
        assert all(frame is None for frame in pair.repeat(real.next_deadline - 1e-6)), publisher_deadlines
        frames = pair.repeat(real.next_deadline)
        assert frames[1].sqNum == real.sqNum
    assert pair.publish(5.0, 1) == (None, None), "nothing changed"


def test_a_simulated_frame_is_refused_and_renews_nothing():
    pair = Pair()
    pair.deliver(pair.publish(0.0, 1), 0.0)
    before = pair.light.deadline
    frame = LightFrame(1, True, 99, 0, 2.5, pair.state._replace(tags=3), simulation=True)
    assert pair.light.take(frame, 1.0) == (False, False)
    assert pair.light.deadline == before
    assert pair.light.counters.simulation_refused == 1
