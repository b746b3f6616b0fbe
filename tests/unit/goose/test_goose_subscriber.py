"""Subscriber and receiver: what is new, what is old, what is refused, and how long a stream lives."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.goose.data import encode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.events import (
    ConfigurationMismatch,
    DecodeFailed,
    FramesMissed,
    OldStateReceived,
    SimulationRefused,
    StateConflict,
    StateReceived,
    StreamLost,
    StreamResumed,
)
from ied_agents.goose.frame import EthernetFrame
from ied_agents.goose.pdu import GoosePdu, encode_pdu
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.utctime import TimeQuality, UtcTime

REF = "IED1LD0/LLN0$GO$gcb1"
CONFIG = SubscriberConfig(
    dst=bytes.fromhex("010ccd010001"),
    appid=1,
    gocbRef=REF,
    datSet="IED1LD0/LLN0$set1",
    goID=REF,
    confRev=7,
    numDatSetEntries=1,
)
SRC = bytes.fromhex("020000000001")
LIVE_S = 2.0
MAX = 2**32 - 1


def frame(
    st=1,
    sq=0,
    value=10,
    *,
    t=100,
    quality=0,
    simulated=False,
    dst=CONFIG.dst,
    appid=1,
    src=SRC,
    tail=b"",
    **changes,
):
    fields = {
        "gocbRef": REF,
        "timeAllowedtoLive": round(LIVE_S * 1000),
        "datSet": CONFIG.datSet,
        "goID": REF,
        "t": UtcTime(t, 0, quality),
        "stNum": st,
        "sqNum": sq,
        "simulation": simulated,
        "confRev": 7,
        "ndsCom": False,
        "numDatSetEntries": 1,
        "allData": (value,),
    }
    apdu = encode_pdu(GoosePdu(**fields | changes))
    return EthernetFrame(dst, src, 0, 4, appid, simulated, apdu).encode() + tail


@pytest.fixture
def subscriber():
    return Subscriber(CONFIG)


@pytest.fixture
def receiver(subscriber):
    return Receiver([subscriber])


def state(st, sq=0, value=10, *, t=100, quality=0, simulation=False, restarted=False):
    return StateReceived(REF, st, sq, UtcTime(t, 0, quality), (value,), simulation, restarted)


def test_first_frame_then_repetitions_then_a_new_state(receiver, subscriber):
    assert list(receiver.receive(frame(5, 3), 0.0)) == [state(5, 3)]
    for sq in range(4, 9):
        assert list(receiver.receive(frame(5, sq), 0.1)) == []
    assert list(receiver.receive(frame(6, 0, 11, t=101), 0.2)) == [state(6, 0, 11, t=101)]
    assert subscriber.counters.received == 7
    assert subscriber.counters.repetitions == 5
    assert subscriber.counters.states == 2
    assert (subscriber.alive, subscriber.stNum, subscriber.sqNum) == (True, 6, 0)


def test_decoding_happens_for_new_states_only():
    seen = []
    receiver = Receiver([Subscriber(CONFIG, lambda all_data: seen.append(all_data) or len(seen))])
    (first,) = receiver.receive(frame(1, 0), 0.0)
    receiver.receive(frame(1, 1), 0.1)
    (second,) = receiver.receive(memoryview(frame(2, 0, 11)), 0.2)
    assert (first.value, second.value) == (1, 2)
    assert seen == [encode_all_data((10,)), encode_all_data((11,))]


def test_time_to_live(receiver, subscriber):
    assert receiver.next_deadline is None
    receiver.receive(frame(1, 0), 10.0)
    assert receiver.next_deadline == 10.0 + LIVE_S
    receiver.receive(frame(1, 1), 11.0)
    assert list(receiver.handle_timer(12.0)) == []
    assert receiver.next_deadline == 11.0 + LIVE_S
    assert list(receiver.handle_timer(12.999)) == []
    assert list(receiver.handle_timer(13.0)) == [StreamLost(REF, 2000)]
    assert list(receiver.handle_timer(14.0)) == []
    assert receiver.next_deadline is None
    assert (subscriber.alive, subscriber.counters.lost) == (False, 1)


def test_a_lost_stream_resumes_with_a_later_frame_only(receiver):
    receiver.receive(frame(1, 5), 0.0)
    receiver.handle_timer(2.0)
    assert list(receiver.receive(frame(1, 5), 3.0)) == []
    assert list(receiver.receive(frame(1, 4), 3.0)) == []
    assert receiver.next_deadline is None
    assert list(receiver.receive(frame(1, 6), 4.0)) == [StreamResumed(REF)]
    assert receiver.next_deadline == 6.0
    receiver.handle_timer(6.0)
    assert list(receiver.receive(frame(2, 0, 11), 7.0)) == [StreamResumed(REF), state(2, 0, 11)]


def test_the_time_to_live_of_each_frame_counts(receiver):
    receiver.receive(frame(1, 0), 0.0)
    receiver.receive(frame(1, 1, timeAllowedtoLive=100), 1.0)
    assert receiver.next_deadline == pytest.approx(1.1)
    receiver.receive(frame(1, 2, timeAllowedtoLive=5000), 1.05)
    assert list(receiver.handle_timer(1.1)) == []
    assert receiver.next_deadline == pytest.approx(6.05)


def test_deadlines_of_many_streams():
    other = dataclasses.replace(CONFIG, gocbRef="other")
    receiver = Receiver([Subscriber(CONFIG), Subscriber(other)])
    receiver.receive(frame(), 0.0)
    receiver.receive(frame(gocbRef="other", timeAllowedtoLive=500), 0.1)
    assert receiver.next_deadline == pytest.approx(0.6)
    assert list(receiver.handle_timer(0.6)) == [StreamLost("other", 500)]
    assert receiver.next_deadline == 2.0
    assert list(receiver.handle_timer(9.0)) == [StreamLost(REF, 2000)]


def test_duplicates_are_dropped_and_do_not_prolong_the_life(receiver, subscriber):
    """PRP delivers every frame twice; a replayed frame must not keep a stream alive."""
    receiver.receive(frame(1, 0), 0.0)
    assert list(receiver.receive(frame(1, 0, tail=bytes.fromhex("0001b05e88fb")), 0.5)) == []
    receiver.receive(frame(1, 1), 1.0)
    assert list(receiver.receive(frame(1, 0), 1.5)) == []
    assert (subscriber.counters.duplicates, subscriber.counters.out_of_order) == (1, 1)
    assert list(receiver.handle_timer(3.0)) == [StreamLost(REF, 2000)]


def test_padding_and_prp_trailers_on_every_kind_of_frame(receiver):
    trailer = bytes.fromhex("0001a05e88fb")
    assert list(receiver.receive(frame(1, 0, tail=trailer), 0.0)) == [state(1, 0)]
    assert list(receiver.receive(frame(1, 1, tail=trailer), 0.0)) == []
    assert list(receiver.receive(frame(1, 2, tail=bytes(30)), 0.0)) == []
    assert list(receiver.receive(frame(2, 0, 11), 0.0)) == [state(2, 0, 11)]


def test_missed_frames(receiver, subscriber):
    receiver.receive(frame(1, 0), 0.0)
    assert list(receiver.receive(frame(1, 4), 0.1)) == [FramesMissed(REF, 0, 3)]
    assert list(receiver.receive(frame(4, 2, 11), 0.2)) == [FramesMissed(REF, 2, 2), state(4, 2, 11)]
    assert subscriber.counters.missed == 3 + 2 + 2


def test_numbers_overrun(receiver):
    receiver.receive(frame(MAX, MAX - 1), 0.0)
    assert list(receiver.receive(frame(MAX, MAX), 0.0)) == []
    assert list(receiver.receive(frame(MAX, 1), 0.0)) == []
    assert list(receiver.receive(frame(MAX, 2), 0.0)) == []
    assert list(receiver.receive(frame(1, 0, 11, t=101), 0.0)) == [state(1, 0, 11, t=101)]


@pytest.mark.parametrize("sq", [0, 1])
def test_restart_with_stNum_1(receiver, subscriber, sq):
    receiver.receive(frame(57, 3), 0.0)
    events = list(receiver.receive(frame(1, sq, 11, t=200), 0.1))
    assert events == [state(1, sq, 11, t=200, restarted=True)]
    assert list(receiver.receive(frame(1, sq + 1, 11, t=200), 0.2)) == []
    assert subscriber.counters.restarts == 1


def test_restart_whose_first_frames_were_lost(receiver):
    receiver.receive(frame(57, 3), 0.0)
    assert list(receiver.receive(frame(3, 4, 11, t=200), 0.1)) == [state(3, 4, 11, t=200, restarted=True)]


def test_restart_into_the_same_stNum(receiver):
    receiver.receive(frame(1, 3), 0.0)
    assert list(receiver.receive(frame(1, 0, 11, t=200), 0.1)) == [state(1, 0, 11, t=200, restarted=True)]
    assert list(receiver.receive(frame(1, 1, 11, t=200), 0.1)) == []
    # and with the same members
    assert list(receiver.receive(frame(1, 0, 11, t=300), 0.2)) == [state(1, 0, 11, t=300, restarted=True)]


def test_restart_with_a_clock_that_says_it_is_not_to_be_trusted(receiver):
    failed, free = TimeQuality.CLOCK_FAILURE, TimeQuality.NOT_SYNCHRONISED
    receiver.receive(frame(57, 3), 0.0)
    event = state(1, 0, 11, t=0, quality=free, restarted=True)
    assert list(receiver.receive(frame(1, 0, 11, t=0, quality=free), 0.1)) == [event]
    receiver.receive(frame(2, 0, 12, t=1, quality=free), 0.2)
    event = state(1, 1, 13, t=0, quality=failed, restarted=True)
    assert list(receiver.receive(frame(1, 1, 13, t=0, quality=failed), 0.3)) == [event]


def test_a_delayed_first_frame_is_no_restart(receiver, subscriber):
    receiver.receive(frame(2, 0, 11, t=101), 0.0)
    assert list(receiver.receive(frame(1, 0, 10, t=100), 0.1)) == [OldStateReceived(REF, 1, 0, UtcTime(100), 2)]
    assert list(receiver.receive(frame(1, 1, 10, t=100), 0.1)) == []  # said once
    assert (subscriber.stNum, subscriber.counters.old_states) == (2, 2)


def test_old_states_do_not_prolong_the_life_and_are_reported_again_after_a_good_frame(receiver):
    receiver.receive(frame(7, 0, 11, t=101), 0.0)
    old = OldStateReceived(REF, 6, 0, UtcTime(100), 7)
    assert list(receiver.receive(frame(6, 0, 10), 1.0)) == [old]
    assert list(receiver.receive(frame(7, 1, 11, t=101), 1.1)) == []
    assert list(receiver.receive(frame(6, 0, 10), 2.0)) == [old]
    assert list(receiver.handle_timer(3.1)) == [StreamLost(REF, 2000)]


def test_after_the_loss_any_numbers_are_taken(receiver):
    receiver.receive(frame(57, 3), 0.0)
    assert isinstance(receiver.receive(frame(9, 9, 11, t=5), 1.0)[0], OldStateReceived)
    receiver.handle_timer(2.0)
    assert list(receiver.receive(frame(9, 10, 11, t=5), 2.1)) == [
        StreamResumed(REF),
        state(9, 10, 11, t=5, restarted=True),
    ]


def test_other_members_under_the_same_stNum_end_the_stream(receiver, subscriber):
    receiver.receive(frame(5, 0), 0.0)
    assert list(receiver.receive(frame(5, 1, 11), 0.5)) == [StateConflict(REF, 5, 1)]
    assert list(receiver.receive(frame(5, 2, 11), 1.0)) == []
    assert subscriber.counters.conflicts == 2
    assert list(receiver.handle_timer(2.0)) == [StreamLost(REF, 2000)]
    assert list(receiver.receive(frame(5, 3, 11), 2.1)) == [
        StreamResumed(REF),
        state(5, 3, 11, restarted=True),
    ]


def test_a_publisher_that_moves_t_without_a_change_is_tolerated(receiver):
    receiver.receive(frame(5, 0, t=100), 0.0)
    assert list(receiver.receive(frame(5, 1, t=101), 0.5)) == []
    assert receiver.next_deadline <= 2.5
    assert list(receiver.handle_timer(2.4)) == []


def test_same_members_under_a_new_stNum_are_a_new_state(receiver):
    receiver.receive(frame(5, 0), 0.0)
    assert list(receiver.receive(frame(6, 0, t=101), 0.5)) == [state(6, 0, t=101)]


def test_the_revision_that_comes_is_known_before_a_frame_was_applied_and_after(receiver, subscriber):
    assert subscriber.received_confRev is None
    receiver.receive(frame(1, 0, confRev=8), 0.0)
    assert subscriber.received_confRev == 8
    receiver.receive(frame(1, 0), 0.1)
    assert subscriber.received_confRev == 7
    receiver.receive(frame(2, 0, confRev=9), 0.2)
    assert subscriber.received_confRev == 9
    receiver.receive(frame(1, 1), 0.3)
    assert subscriber.received_confRev == 7


@pytest.mark.parametrize(
    ("changes", "field", "expected", "found"),
    [
        ({"dst": bytes(6)}, "dst", CONFIG.dst, bytes(6)),
        ({"appid": 2}, "appid", 1, 2),
        ({"datSet": "x"}, "datSet", CONFIG.datSet, "x"),
        ({"goID": "x"}, "goID", REF, "x"),
        ({"goID": None}, "goID", REF, None),
        ({"confRev": 8}, "confRev", 7, 8),
        ({"numDatSetEntries": 2, "allData": (10, 11)}, "numDatSetEntries", 1, 2),
        ({"ndsCom": True}, "ndsCom", False, True),
    ],
)
def test_mismatch(receiver, subscriber, changes, field, expected, found):
    mismatch = ConfigurationMismatch(REF, field, expected, found)
    receiver.receive(frame(1, 0), 0.0)
    assert list(receiver.receive(frame(2, 0, **changes), 0.1)) == [mismatch]
    assert list(receiver.receive(frame(2, 1, **changes), 0.2)) == []
    assert subscriber.counters.mismatches == 2
    assert subscriber.stNum == 1
    assert subscriber.received_confRev == (8 if field == "confRev" else 7)
    assert list(receiver.handle_timer(2.0)) == [StreamLost(REF, 2000)]


UNREADABLE_MEMBER = frame().replace(encode_all_data((10,)), b"\x88\x01\x00")


@pytest.mark.parametrize(
    "refused",
    [frame(confRev=8), frame(goID="x"), frame(appid=2), frame(simulated=True), UNREADABLE_MEMBER],
    ids=["confRev", "goID", "appid", "simulation", "member"],
)
def test_a_refused_first_frame_does_not_hide_the_real_ones(receiver, refused):
    for _ in range(2):
        receiver.receive(refused, 0.0)
    assert list(receiver.receive(frame(1, 0), 0.1)) == [state(1, 0)]
    assert list(receiver.receive(frame(1, 1), 0.1)) == []
    assert list(receiver.receive(frame(2, 0, 11), 0.1)) == [state(2, 0, 11)]


def test_any_goID_where_none_is_configured():
    receiver = Receiver([Subscriber(dataclasses.replace(CONFIG, goID=None))])
    assert len(receiver.receive(frame(1, 0, goID="x"), 0.0)) == 1
    assert len(receiver.receive(frame(2, 0, 11, goID=None), 0.0)) == 1


def test_simulation_is_refused(receiver, subscriber):
    receiver.receive(frame(1, 0), 0.0)
    assert list(receiver.receive(frame(2, 0, 99, simulated=True), 0.1)) == [SimulationRefused(REF)]
    assert list(receiver.receive(frame(2, 1, 99, simulated=True), 0.2)) == []
    assert subscriber.counters.simulation_refused == 2
    assert list(receiver.receive(frame(2, 0, 11), 0.3)) == [state(2, 0, 11)]


@pytest.mark.parametrize("where", ["frame", "pdu"])
def test_either_simulation_flag_counts(receiver, where):
    octets = EthernetFrame.decode(frame(1, 0, simulated=where == "pdu"))
    octets = dataclasses.replace(octets, simulated=where == "frame").encode()
    assert list(receiver.receive(octets, 0.0)) == [SimulationRefused(REF)]


def test_simulation_is_followed_where_accepted(receiver, subscriber):
    receiver.accept_simulation()
    receiver.receive(frame(50, 3), 0.0)
    (event,) = receiver.receive(frame(1, 7, 99, simulated=True), 0.1)
    assert event == state(1, 7, 99, simulation=True, restarted=True)
    assert list(receiver.receive(frame(51, 0, 11), 0.2)) == []
    assert list(receiver.receive(frame(50, 4), 0.2)) == []
    assert subscriber.counters.real_ignored == 2
    assert list(receiver.handle_timer(2.1)) == [StreamLost(REF, 2000)]
    assert list(receiver.receive(frame(51, 1, 11), 2.2)) == []
    assert receiver.end_simulation() == [REF]
    assert list(receiver.receive(frame(1, 8, 99, simulated=True), 2.3)) == [SimulationRefused(REF)]
    resumed, _, event = receiver.receive(frame(51, 2, 11), 2.4)
    assert (resumed, event) == (StreamResumed(REF), state(51, 2, 11))


def test_after_simulation_the_real_stream_is_lost_until_it_is_heard_again(receiver, subscriber):
    receiver.accept_simulation()
    receiver.receive(frame(50, 3), 0.0)
    receiver.receive(frame(9, 0, 99, simulated=True), 0.1)
    assert (subscriber.simulation, subscriber.alive, subscriber.stNum) == (True, True, 9)
    receiver.end_simulation()
    assert (subscriber.simulation, subscriber.alive, subscriber.stNum) == (False, False, 50)
    assert list(receiver.handle_timer(99.0)) == []
    assert list(receiver.receive(frame(50, 7), 99.0)) == [StreamResumed(REF), FramesMissed(REF, 0, 3)]
    assert subscriber.alive


def test_a_stream_that_was_heard_simulated_only_is_unknown_after_it(receiver, subscriber):
    receiver.accept_simulation()
    receiver.receive(frame(9, 0, 99, simulated=True), 0.1)
    receiver.end_simulation()
    assert (subscriber.alive, subscriber.stNum) == (False, None)
    *_, event = receiver.receive(frame(1, 0), 0.2)
    assert event == state(1, 0)
    assert list(receiver.receive(frame(1, 1), 0.3)) == []


@pytest.mark.parametrize("last", [None, 50])
@pytest.mark.parametrize("bad", [{"confRev": 8}, {"goID": "x"}, {"ndsCom": True}], ids=lambda bad: next(iter(bad)))
def test_a_simulated_frame_that_cannot_be_used_takes_nobodys_place(receiver, subscriber, last, bad):
    receiver.accept_simulation()
    if last is not None:
        receiver.receive(frame(last, 3), 0.0)
    receiver.receive(frame(60, 0, 99, simulated=True, **bad), 0.1)
    unreadable = Subscriber(CONFIG, _unreadable)
    unreadable.accept_simulation = True
    Receiver([unreadable]).receive(frame(60, 0, 99, simulated=True), 0.1)
    assert unreadable.counters.undecodable == 1
    assert (unreadable.simulation, unreadable.stNum) == (False, None)
    assert (subscriber.simulation, subscriber.stNum) == (False, last)
    assert [type(event).__name__ for event in receiver.receive(frame(51, 0, 11), 0.2)][-1] == "StateReceived"


def _unreadable(_):
    raise GooseDecodeError("member", 0, "as the test wants it")


@given(
    st_numbers=st.lists(
        st.tuples(st.booleans(), st.integers(1, 5), st.integers(0, 3), st.integers(0, 200)), max_size=20
    ),
    incarnations=st.booleans(),
)
def test_no_number_of_a_simulated_frame_decides_what_real_one_is_taken_after_it(st_numbers, incarnations):
    """Beside a stream that was silent for as long, and never heard a simulated frame."""
    how = {"incarnation": lambda value: value[0]} if incarnations else {}
    played, silent = (Receiver([Subscriber(CONFIG, **how)]) for _ in range(2))
    for one in (played, silent):
        one.receive(frame(3, 1, 100, t=200), 0.0)
    played.accept_simulation()
    began = False
    for simulated, *numbers in st_numbers:
        began = began or simulated
        if simulated or began:
            played.receive(frame(*numbers, t=300, simulated=simulated), 0.1)
    played.end_simulation()
    silent.handle_timer(50.0)
    played.handle_timer(50.0)
    for _, *numbers in st_numbers:
        taken = [
            [event for event in one.receive(frame(*numbers, t=250), 60.0) if isinstance(event, StateReceived)]
            for one in (played, silent)
        ]
        assert taken[0] == taken[1]


def test_unreadable_members_leave_the_state_as_it_is():
    def refuse(all_data):
        if all_data != encode_all_data((10,)):
            raise GooseDecodeError("allData[1]", 0, "not ten")
        return 10

    subscriber = Subscriber(CONFIG, refuse)
    receiver = Receiver([subscriber])
    receiver.receive(frame(1, 0), 0.0)
    assert list(receiver.receive(frame(2, 0, 11), 0.1)) == [DecodeFailed(REF, "allData[1] at octet 0: not ten")]
    assert list(receiver.receive(frame(2, 1, 11), 0.2)) == []
    assert (subscriber.stNum, subscriber.counters.undecodable) == (1, 2)
    assert list(receiver.receive(frame(3, 0, 10), 0.3))[-1] == StateReceived(
        REF, 3, 0, UtcTime(100), 10, simulation=False, restarted=False
    )


def test_wrong_number_of_members_in_a_frame_that_says_otherwise(receiver, subscriber):
    octets = frame(1, 0).replace(encode_all_data((10,)), b"\x83\x00\x00")
    (event,) = receiver.receive(octets, 0.0)
    assert isinstance(event, DecodeFailed)
    two = frame(1, 0, value=300).replace(b"\xab\x04" + encode_all_data((300,)), b"\xab\x04\x83\x00\xa2\x00")
    receiver.receive(two, 0.0)
    assert subscriber.counters.undecodable == 2
    assert subscriber.stNum is None


def test_a_broken_header_of_a_known_stream(receiver, subscriber):
    octets = frame(1, 0).replace(b"\x85\x01\x01", b"\x85\x01\xff")
    (event,) = receiver.receive(octets, 0.0)
    assert isinstance(event, DecodeFailed)
    assert "stNum" in event.reason
    assert list(receiver.receive(octets, 0.0)) == []
    assert subscriber.counters.undecodable == subscriber.counters.received == 2


def test_lenient_receiver_takes_what_devices_send():
    octets = frame(1, 0).replace(b"\x85\x01\x01", b"\x85\x01\xff")
    subscriber = Subscriber(CONFIG)
    assert list(Receiver([subscriber], strict=False).receive(octets, 0.0)) == [state(255, 0)]


def test_foreign_frames_are_counted_and_nothing_else(receiver, subscriber):
    assert list(receiver.receive(frame(gocbRef="other"), 0.0)) == []
    for octets in (b"", bytes(10), bytes(60), frame()[:30], frame()[:-1]):
        assert list(receiver.receive(octets, 0.0)) == []
    assert (receiver.unknown, receiver.malformed, subscriber.counters.received) == (1, 5, 0)


def test_a_gocbRef_has_one_subscriber():
    with pytest.raises(ValueError, match=r"two subscribers for IED1LD0/LLN0\$GO\$gcb1"):
        Receiver([Subscriber(CONFIG), Subscriber(CONFIG)])


def test_streams_that_share_all_addresses_and_lengths():
    """One device, one multicast address, one APPID: only gocbRef tells its streams apart."""
    names = ["a", "b", "c"]
    receiver = Receiver([Subscriber(dataclasses.replace(CONFIG, gocbRef=name)) for name in names])
    for number, name in enumerate(names):
        (event,) = receiver.receive(frame(1, 0, number, gocbRef=name), 0.0)
        assert event.value == (number,)
    for sq in range(1, 5):
        for name in names:
            assert list(receiver.receive(frame(1, sq, names.index(name), gocbRef=name), 0.1)) == []
    assert [s.counters.repetitions for s in receiver.subscribers.values()] == [4, 4, 4]


def test_changing_sources_do_not_grow_the_receiver(receiver, subscriber):
    for number in range(1000):
        source = number.to_bytes(6, "big")
        receiver.receive(frame(1, number, src=source), 0.0)
    assert subscriber.counters.repetitions == 999
    assert len(receiver._recent) <= 4


def test_publisher_and_receiver_understand_each_other():
    config = PublisherConfig(CONFIG.dst, SRC, 5, 4, 1, REF, CONFIG.datSet, REF, 7, 1)
    publisher, subscriber = Publisher(config), Subscriber(CONFIG)
    receiver = Receiver([subscriber])
    values = []
    for number in range(300):
        now = number * 10.0
        octets = publisher.publish(encode_all_data((number,)), now, UtcTime(number))
        values += [event.value[0] for event in receiver.receive(octets, now)]
        for _ in range(number % 7):
            now = publisher.next_deadline
            assert list(receiver.handle_timer(now)) == []
            assert list(receiver.receive(publisher.handle_timer(now), now)) == []
    assert values == list(range(300))
    assert subscriber.counters.missed == 0
