"""A link that holds: it acknowledges what is stored, as soon as it may and no sooner."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iec104_links import ASDU, STOPPED, U, closed, i, s

from gateway.iec104.apci import FrameSplitter, IFrame, SFrame
from gateway.iec104.link import AsduReceived, Link, LinkConfig, Role

CONFIG = LinkConfig(w=3)


def holding(config=CONFIG):
    one = Link(config, Role.CONTROLLING, 0.0, holds=True)
    one.start(0.0)
    one.receive(U["STARTDT_CON"], 0.0)
    one.data_to_send()
    return one


def give(one, numbers, now=0.0):
    events = one.receive(b"".join(i(number, 0) for number in numbers), now)
    assert events == [AsduReceived(ASDU)] * len(numbers)


def test_w_frames_are_acknowledged_when_they_are_stored():
    one = holding()
    give(one, range(4))
    assert one.data_to_send() == b""
    one.stored(2, 0.0)  # more than w have come: what can be said is said
    assert one.data_to_send() == s(2)
    one.stored(4, 0.0)  # and these two are no w
    assert one.data_to_send() == b""
    give(one, [4])  # with this one they are
    assert one.data_to_send() == s(4)
    one.stored(5, 0.0)
    assert one.data_to_send() == b""
    assert one.received == 5


def test_t2_counts_from_the_receipt_and_is_made_up_for_at_once():
    one = holding()
    give(one, range(2), now=1.0)
    assert one.next_deadline == 20.0 + 1.0  # there is nothing that t2 could do
    one.stored(1, 2.0)
    assert one.next_deadline == 11.0
    assert one.handle_timer(11.0) == []
    assert one.data_to_send() == s(1)
    assert one.next_deadline == 21.0
    one.stored(2, 12.0)  # it is late
    assert one.data_to_send() == s(2)
    give(one, [2], now=13.0)
    one.stored(3, 13.0)
    assert one.next_deadline == 23.0


def test_an_i_frame_acknowledges_what_is_stored_and_no_more():
    one = holding()
    give(one, range(2), now=1.0)
    one.send(ASDU, 2.0)
    assert one.data_to_send() == i(0, 0)
    one.stored(1, 2.0)
    one.send(ASDU, 3.0)
    assert one.data_to_send() == i(1, 1)
    one.stored(2, 3.0)
    assert one.next_deadline == 11.0
    one.send(ASDU, 4.0)
    assert one.data_to_send() == i(2, 2)
    assert one.next_deadline == 17.0  # t1 of the first


def test_what_comes_too_late_or_twice_does_nothing():
    one = holding()
    give(one, range(3))
    one.stored(3, 0.0)
    assert one.data_to_send() == s(3)
    for received in (3, 1, 0):
        one.stored(received, 0.0)
    one.send(ASDU, 0.0)
    assert one.data_to_send() == i(0, 3)  # nothing is taken back
    give(one, [3])
    assert one.data_to_send() == b""
    assert closed(one.receive(i(9, 0), 0.0))
    one.stored(4, 0.0)
    assert one.data_to_send() == b""
    assert one.next_deadline == inf


def test_the_stop_waits_for_the_storing():
    one = holding()
    give(one, range(2))
    one.stored(1, 0.0)
    one.stop(0.0)
    assert one.data_to_send() == s(1) + U["STOPDT_ACT"]
    give(one, [2])
    assert one.data_to_send() == b""
    one.stored(2, 0.0)
    assert one.data_to_send() == s(2)
    one.stored(3, 0.0)
    assert one.data_to_send() == s(3)
    assert one.receive(U["STOPDT_CON"], 0.0) == [STOPPED]


def test_nothing_is_acknowledged_where_no_i_frame_may_come():
    one = holding()
    give(one, range(2))
    one.stop(0.0)
    one.receive(U["STOPDT_CON"], 0.0)  # the device did not wait for it
    one.data_to_send()
    one.stored(2, 50.0)
    assert one.data_to_send() == b""
    one.start(50.0)
    one.data_to_send()
    one.receive(U["STARTDT_CON"], 50.0)
    assert one.data_to_send() == s(2)


def test_a_link_that_does_not_hold_is_as_it_was():
    one = Link(CONFIG, Role.CONTROLLING, 0.0)
    one.start(0.0)
    one.receive(U["STARTDT_CON"], 0.0)
    one.data_to_send()
    give(one, range(3))
    assert one.data_to_send() == s(3)
    one.stored(3, 0.0)
    assert one.data_to_send() == b""


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(1, 5)),
        st.tuples(st.just("store"), st.integers(1, 5)),
        st.tuples(st.just("wait"), st.integers(1, 6)),
        st.tuples(st.just("send"), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 8))
@pytest.mark.parametrize("first", [0, 32760])
def test_whatever_happens_it_never_says_more_and_never_forgets(first, steps, w):
    one = holding(LinkConfig(k=8, w=w, t1_s=1e6, t2_s=10.0, t3_s=1e9))
    one._expected = first
    now, came, stored, said, since = 0.0, 0, 0, 0, {}
    splitter = FrameSplitter()
    for step, number in steps:
        match step:
            case "give":
                for _ in range(number):
                    one.receive(i((first + came) % 32768, one._acknowledged % 32768), now)
                    since[came] = now
                    came += 1
            case "store":
                stored = min(came, stored + number)
                one.stored(stored, now)
            case "wait":
                end = now + number
                while one.next_deadline <= end:
                    now = max(now, one.next_deadline)
                    one.handle_timer(now)
                now = end
            case "send" if one.window:
                one.send(ASDU, now)
        for frame in splitter.feed(one.data_to_send()):
            if isinstance(frame, IFrame | SFrame):
                said += (frame.nr - first - said) % 32768
        assert said <= stored
        if stored > said:  # neither t2 nor w may ask for it
            assert came - said < w
            assert now - since[said] < 10.0 or step == "wait"
    one.stored(came, now)
    one.handle_timer(now + 10.0)
    for frame in splitter.feed(one.data_to_send()):
        said += (frame.nr - first - said) % 32768
    assert said == came
