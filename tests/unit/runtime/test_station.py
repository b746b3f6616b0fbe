"""One agent with its streams: what reaches it and in which order, across starts of the publisher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.dflisr.records import CLEAR_SIDE, AgentState, EventId, LoadState
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.dflisr.wire import FastDecoder, decode_slow, encode_fast, encode_slow
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage
from ied_agents.runtime.station import Station
from tools.campaign.light_station import LightFrame, LightStation

SAMPLE = Path(scl.__file__).parent / "samples" / "two_source.toml"
MAC = bytes.fromhex("020000000003")
UTC_NS = 1_700_000_000_000_000_000
ME, PEER = 3, 4


@pytest.fixture(scope="module")
def agents():
    return read_site(SAMPLE).agents


class Peer:
    """The publisher of L4 as one process of it; a new one counts from 1 again."""

    def __init__(self, streams, incarnation, clock_s=1_700_000_000):
        self.incarnation = incarnation
        self.fast = Publisher(streams.fast.publisher(bytes.fromhex("020000000004")))
        self.slow = Publisher(streams.slow.publisher(bytes.fromhex("020000000004")))
        self.clock_s = clock_s

    def says(self, pickup_id, now=0.0):
        """The frame of a new state that is told apart by its pickup id."""
        state = AgentState(self.incarnation, pickup_id=pickup_id)
        self.clock_s += 1
        return self.fast.publish(encode_fast(state), now, UtcTime(self.clock_s))

    def carries(self, amperes, now=0.0):
        self.clock_s += 1
        return self.slow.publish(encode_slow(LoadState(self.incarnation, amperes)), now, UtcTime(self.clock_s))


@pytest.fixture
def station(agents):
    return Station(agents[ME], COMMISSIONED.started(1000), unclean=False, mac=MAC, now=0.0)


@pytest.fixture
def start(agents):
    return lambda incarnation, **more: Peer(agents[ME].peers[PEER], incarnation, **more)


def heard(station):
    view = station.agent.situation.views[PEER]
    return None if view.state is None else (view.state.incarnation, view.state.pickup_id)


@pytest.mark.parametrize("utc_ns", [-(10**18), 2**64 * 10**9])
def test_a_clock_that_shows_no_time_is_said_to_have_failed_and_stops_nothing(station, utc_ns):
    frames = station.turn(0.0, utc_ns).frames
    assert frames
    assert all(UtcTime.of_clock(utc_ns).encode() in frame for frame in frames)


# -- order: (incarnation, stNum, sqNum) and nothing else -----------------------------------------------------


def test_states_of_one_incarnation_are_taken_in_order(station, start):
    peer = start(100)
    for pickup_id in (1, 2, 3):
        station.receive_frame(peer.says(pickup_id), 0.0)
        assert heard(station) == (100, pickup_id)


def test_a_delayed_frame_of_the_same_incarnation_is_not_taken(station, start):
    peer = start(100)
    first, second = peer.says(1), peer.says(2)
    for frame in (second, first):
        station.receive_frame(frame, 0.0)
    assert heard(station) == (100, 2)


def test_a_restart_with_a_lower_stNum_but_a_higher_incarnation_is_taken_at_once(station, start):
    old = start(100)
    for pickup_id in range(1, 30):
        station.receive_frame(old.says(pickup_id), 0.0)
    station.receive_frame(start(101).says(1), 0.0)
    assert heard(station) == (101, 1)


def test_a_restart_is_taken_even_if_its_clock_went_back(station, start):
    station.receive_frame(start(100).says(7), 0.0)
    station.receive_frame(start(101, clock_s=5).says(1), 0.0)
    assert heard(station) == (101, 1)


def test_a_frame_of_an_earlier_incarnation_is_never_taken_again(station, start):
    old, new = start(100), start(101)
    delayed = [old.says(pickup_id) for pickup_id in range(1, 50)]  # higher stNum than the new one ever had
    station.receive_frame(delayed[0], 0.0)
    station.receive_frame(new.says(1), 0.0)
    for frame in delayed:
        station.receive_frame(frame, 0.0)
    assert heard(station) == (101, 1)


@pytest.mark.parametrize("incarnation", [100, 101], ids=["earlier incarnation", "same incarnation"])
def test_not_even_after_the_stream_was_lost(station, start, incarnation):
    frames = {}
    for number in (100, 101):
        peer = start(number)
        frames[number] = [peer.says(1), peer.says(2)]
        for frame in frames[number]:
            station.receive_frame(frame, 0.0)
    station.turn(60.0, UTC_NS)
    assert not station.agent.situation.views[PEER].alive
    station.receive_frame(frames[incarnation][0], 60.0)  # a replay of the first state
    assert heard(station) == (101, 2)
    assert not station.agent.situation.views[PEER].alive


def test_a_replay_of_the_very_last_frame_keeps_the_state_and_is_no_new_life(station, start):
    frame = start(100).says(1)
    station.receive_frame(frame, 0.0)
    station.turn(60.0, UTC_NS)
    station.receive_frame(frame, 60.0)
    assert heard(station) == (100, 1)
    assert not station.agent.situation.views[PEER].alive


def test_load_and_state_are_ordered_alike(station, start):
    view = station.agent.situation.views[PEER]
    old, new = start(100), start(101)
    late = [old.carries(10.0), old.carries(20.0)]
    station.receive_frame(new.carries(30.0), 0.0)
    for frame in late:
        station.receive_frame(frame, 0.0)
    assert view.load == LoadState(101, 30.0)


# -- loss and return -----------------------------------------------------------------------------------------


def test_a_stream_that_is_lost_is_no_more_believed_and_its_state_kept(station, start):
    peer = start(100)
    station.receive_frame(peer.says(1, now=0.0), 0.0)
    station.receive_frame(peer.carries(10.0), 0.0)
    view = station.agent.situation.views[PEER]
    assert (view.alive, view.load_alive) == (True, True)
    live_s = peer.fast.config.timeAllowedtoLive / 1000
    station.turn(live_s - 0.001, UTC_NS)
    assert view.alive
    station.turn(live_s + 0.001, UTC_NS)
    assert (view.alive, view.load_alive) == (False, False)
    assert heard(station) == (100, 1)


def test_a_lost_stream_resumes_with_its_next_repetition(station, start):
    peer = start(100)
    station.receive_frame(peer.says(1, now=0.0), 0.0)
    station.turn(60.0, UTC_NS)
    view = station.agent.situation.views[PEER]
    assert not view.alive
    station.receive_frame(peer.fast.handle_timer(60.0), 60.0)
    assert view.alive
    assert heard(station) == (100, 1)
    assert not view.load_alive


def test_a_lost_stream_resumes_with_a_new_state(station, start):
    peer = start(100)
    station.receive_frame(peer.says(1), 0.0)
    station.turn(60.0, UTC_NS)
    station.receive_frame(peer.says(2), 60.0)
    assert station.agent.situation.views[PEER].alive
    assert heard(station) == (100, 2)


def test_loss_and_return_are_noted(station, start):
    peer = start(100)
    station.receive_frame(peer.says(1), 0.0)
    station.turn(0.0, UTC_NS)
    lost = station.turn(60.0, UTC_NS)
    assert "StreamLost" in [note.kind for note in lost.notes]
    station.receive_frame(peer.fast.handle_timer(60.0), 60.0)
    assert "StreamResumed" in [note.kind for note in station.turn(60.0, UTC_NS).notes]


def test_it_says_how_each_stream_stands(station, start, agents):
    fast, slow = (agents[ME].peers[PEER].fast, agents[ME].peers[PEER].slow)
    confRev = fast.confRev
    assert set(station.supervision()) == {s.gocbRef for p in agents[ME].peers.values() for s in (p.fast, p.slow)}
    assert station.supervision()[fast.gocbRef] == (False, False, None, confRev, None)
    peer = start(100)
    station.receive_frame(peer.says(1), 0.0)
    station.receive_frame(peer.says(2), 0.1)
    assert station.supervision()[fast.gocbRef] == (True, False, 2, confRev, confRev)
    assert station.supervision()[slow.gocbRef] == (False, False, None, confRev, None)
    station.turn(60.0, UTC_NS)
    assert station.supervision()[fast.gocbRef] == (False, False, 2, confRev, confRev)


# -- what is not ours or not readable ------------------------------------------------------------------------


# what is wrong with a frame that is otherwise the peer's own
FOREIGN = {
    "simulated": {"simulation": True},
    "other configuration": {"confRev": 99},
    "other data set": {"datSet": "F1L4FLISR/LLN0$fest"},
    "other APPID": {"appid": 1},
    "other identifier": {"goID": "F1L4_fest"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_frame_is_refused_and_the_real_stream_heard_after_it(station, start, agents, what):
    config = agents[ME].peers[PEER].fast.publisher(bytes.fromhex("020000000004"))
    publisher = Publisher(replace(config, **FOREIGN[what]))
    station.receive_frame(publisher.publish(encode_fast(AgentState(100)), 0.0, UtcTime(1)), 0.0)
    assert heard(station) is None
    station.receive_frame(start(100).says(2), 0.0)
    assert heard(station) == (100, 2)


def test_a_state_with_an_impossible_value_is_refused_and_noted_and_the_next_one_taken(station, start):
    peer = start(100)
    on, off = (encode_fast(AgentState(100, behaviour=behaviour)) for behaviour in (1, 5))
    position = next(i for i, pair in enumerate(zip(on, off, strict=True)) if pair[0] != pair[1])
    bad = on[:position] + bytes((9,)) + on[position + 1 :]
    station.receive_frame(peer.fast.publish(bad, 0.0, UtcTime(1)), 0.0)
    assert heard(station) is None
    notes = [note.detail for note in station.turn(0.0, UTC_NS).notes if note.kind == "DecodeFailed"]
    assert [detail["gocbRef"] for detail in notes] == ["F1L4FLISR/LLN0$GO$gcbFast"]
    station.receive_frame(peer.says(2), 0.0)
    assert heard(station) == (100, 2)


@pytest.mark.parametrize("frame", [b"", b"\x01", bytes(14), bytes(60), b"\x01\x0c\xcd\x01" * 300])
def test_garbage_on_the_wire_changes_nothing(station, frame):
    station.receive_frame(frame, 0.0)
    station.turn(0.0, UTC_NS)
    assert heard(station) is None
    assert station.receiver.malformed == 1


# -- what it sends -------------------------------------------------------------------------------------------


def snapshot(number, sequence=1, **changes):
    return replace(
        SwitchInputs(
            *(number, sequence, sequence, Dbpos.ON, True, False, Direction.UNKNOWN, False),
            *(10.0, 10.0, (Voltage.PRESENT, Voltage.PRESENT), (0.0, 0.0)),
        ),
        **changes,
    )


@pytest.fixture
def subscriber(agents):
    own = agents[ME].own
    return Receiver(
        [
            Subscriber(own.fast.subscriber(), FastDecoder(ME), lambda state: state.incarnation),
            Subscriber(own.slow.subscriber(), decode_slow, lambda state: state.incarnation),
        ]
    )


def test_a_change_leaves_as_a_new_state_in_the_turn_that_sees_it(station, subscriber):
    station.turn(0.0, UTC_NS)
    station.receive_inputs(snapshot(ME), 0.1)
    frames = station.turn(0.1, UTC_NS).frames
    events = [event for frame in frames for event in subscriber.receive(frame, 0.1)]
    fast, slow = (event.value for event in events)
    assert (fast.incarnation, fast.position, fast.ready) == (1000, Dbpos.ON, True)
    assert slow == LoadState(1000, 10.0)


def test_nothing_new_gives_repetitions_only(station, subscriber):
    station.receive_inputs(snapshot(ME), 0.0)
    for frame in station.turn(0.0, UTC_NS).frames:
        subscriber.receive(frame, 0.0)
    now, frames = 0.0, 0
    while now < 2.0:
        now = station.next_deadline
        for frame in station.turn(now, UTC_NS).frames:
            frames += 1
            kinds = [type(event).__name__ for event in subscriber.receive(frame, now)]
            if now > 0.1:  # the close assumed outstanding since the start has ended by then
                assert kinds == []
    assert frames >= 8


def test_next_deadline_never_lies_in_the_past_of_a_turn(station):
    now = 0.0
    for _ in range(50):
        station.turn(now, UTC_NS)
        assert station.next_deadline > now
        now = station.next_deadline


# -- what does not wait for its turn -------------------------------------------------------------------------

BREAKER, ASKING = 1, 2


class Asked:
    """The breaker at the head of feeder F1 in operation, and the load-break switch at the other end of its section."""

    def __init__(self, agents):
        settings = agents[BREAKER]
        network = settings.config.feeder
        self.station = Station(settings, COMMISSIONED.started(1000), unclean=False, mac=MAC, now=0.0)
        self.side = next(
            i for i, at in enumerate(network.by_number[ASKING].sides) if at in network.by_number[BREAKER].sides
        )
        self.state = AgentState(100, position=Dbpos.ON)
        self.publishers = {n: Publisher(streams.fast.publisher(bytes(6))) for n, streams in settings.peers.items()}
        for number in settings.peers:
            self.station.receive_frame(self.says(number), 0.0)
        self.station.receive_inputs(snapshot(BREAKER), 0.0)
        for now in (0.0, 0.5, 0.6):
            self.station.receive_inputs(snapshot(BREAKER, round(now * 10) + 2), now)
            self.station.turn(now, UTC_NS)
        self.now = 0.601
        self.station.prepare()

    def says(self, number, **changes):
        self.state = self.state._replace(**changes)
        return self.publishers[number].publish(encode_fast(self.state), 0.0, UtcTime(1_700_000_000))

    def asks(self):
        """The frame in which the load-break switch asks to be cleared."""
        wants = CLEAR_SIDE._replace(clear=True, clear_event=EventId(ASKING, 65))
        return self.says(ASKING, sides=(wants, CLEAR_SIDE) if self.side == 0 else (CLEAR_SIDE, wants))


@pytest.fixture
def asked(agents):
    return Asked(agents)


@pytest.fixture
def of_breaker(agents):
    streams = agents[BREAKER].own.fast
    return Receiver([Subscriber(streams.subscriber(), FastDecoder(BREAKER), lambda state: state.incarnation)])


@pytest.mark.parametrize("prepared", [True, False])
def test_a_clear_request_is_answered_with_order_and_trip_before_the_turn(asked, of_breaker, prepared):
    station = asked.station
    if not prepared:
        station._prepared = (None, b"")
    station.receive_frame(asked.asks(), asked.now)
    frame = station.react(asked.now, UTC_NS + 7)
    urgent = station.trip(asked.now, UTC_NS + 7)
    (event,) = of_breaker.receive(frame, asked.now)
    assert event.value.trip
    assert event.t == UtcTime.from_ns(UTC_NS + 7)
    assert (urgent.frames, [command.operation for command in urgent.commands]) == ([], ["open"])
    turned = station.turn(asked.now, UTC_NS + 8)
    assert turned.commands == []
    states = [e.value for frame in turned.frames for e in of_breaker.receive(frame, asked.now)]
    assert all(state.trip for state in states)
    assert station.agent.situation.own.trip


def test_the_turn_alone_does_the_same_if_nobody_asks_for_more_haste(asked):
    asked.station.receive_frame(asked.asks(), asked.now)
    assert [command.operation for command in asked.station.turn(asked.now, UTC_NS).commands] == ["open"]


def test_a_request_is_not_answered_twice(asked):
    frame = asked.asks()
    asked.station.receive_frame(frame, asked.now)
    assert asked.station.react(asked.now, UTC_NS) is not None
    asked.station.trip(asked.now, UTC_NS)
    asked.station.receive_frame(frame, asked.now)
    assert asked.station.react(asked.now, UTC_NS) is None


OTHER_NEWS = {
    "inputs": lambda asked: asked.station.receive_inputs(snapshot(BREAKER, 99), asked.now),
    "another state": lambda asked: asked.station.receive_frame(asked.says(3, pickup_id=5), asked.now),
    "an operator": lambda asked: asked.station.touch(),
    "the disk": lambda asked: asked.station.stored(1, COMMISSIONED),
}


@pytest.mark.parametrize("what", OTHER_NEWS)
def test_nothing_is_done_ahead_of_the_turn_if_there_is_other_news(asked, what):
    request = asked.asks()
    OTHER_NEWS[what](asked)
    asked.station.receive_frame(request, asked.now)
    assert asked.station.react(asked.now, UTC_NS) is None


def test_nothing_is_done_ahead_of_the_turn_when_something_else_is_due(asked):
    due = asked.station.next_deadline
    asked.station.receive_frame(asked.asks(), due)
    assert asked.station.react(due, UTC_NS) is None
    assert [command.operation for command in asked.station.turn(due, UTC_NS).commands] == ["open"]


def test_the_station_without_octets_hands_out_the_same_with_its_turn(agents, asked):
    light = LightStation(agents[BREAKER], COMMISSIONED.started(1000), unclean=False, now=0.0)
    state = AgentState(100, position=Dbpos.ON)
    for number in agents[BREAKER].peers:
        light.receive_frame(LightFrame(number, True, 1, 0, 9.0, state), 0.0)
    for sequence, now in enumerate((0.0, 0.5, 0.6), 1):
        light.receive_inputs(snapshot(BREAKER, sequence), now)
        light.turn(now)
    request = asked.asks()
    light.receive_frame(LightFrame(ASKING, True, 2, 0, 9.0, asked.state), asked.now)
    output = light.turn(asked.now)
    asked.station.receive_frame(request, asked.now)
    tripping = asked.station.react(asked.now, UTC_NS)
    urgent, turned = asked.station.trip(asked.now, UTC_NS), asked.station.turn(asked.now, UTC_NS)
    assert [command.operation for command in output.commands] == ["open"]
    assert len(output.frames) == len([tripping, *turned.frames])
    assert output.frames[0].value.trip
    assert sorted(n.kind for n in output.notes) == sorted(n.kind for n in [*urgent.notes, *turned.notes])
