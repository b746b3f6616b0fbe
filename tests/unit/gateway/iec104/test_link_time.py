"""Links of IEC 60870-5-104: t1, t2 and t3."""

from __future__ import annotations

import pytest
from iec104_links import (
    ASDU,
    CONFIG,
    TAKEN,
    U,
    assert_dead,
    closed,
    controlling,
    i,
    link,
    s,
)

from gateway.iec104.link import (
    Link,
    LinkConfig,
    LinkState,
    Role,
)


def test_t1_of_an_i_frame():
    one = link()
    one.send(ASDU, 1.0)
    one.send(ASDU, 2.0)
    assert one.next_deadline == 16.0
    one.receive(s(1), 15.0)
    assert one.next_deadline == 17.0
    assert one.handle_timer(16.999) == []
    assert closed(one.handle_timer(17.0)) == "I frame with N(S) 1 was not acknowledged within t1, 15 s"
    assert_dead(one)


@pytest.mark.parametrize("order", ["start", "stop"])
def test_t1_of_start_and_stop(order):
    one = controlling(started=order == "stop")
    getattr(one, order)(5.0)
    one.receive(U["TESTFR_ACT"] + U["TESTFR_CON"], 19.0)  # another con is no answer
    assert one.next_deadline == 20.0
    assert one.handle_timer(19.999) == []
    assert closed(one.handle_timer(20.0)) == f"{order.upper()}DT act was not confirmed within t1, 15 s"
    assert_dead(one)


@pytest.mark.parametrize("role", Role)
def test_t1_of_a_test(role):
    one = link(role)
    one.test(1.0)
    one.test(2.0)
    assert one.data_to_send() == U["TESTFR_ACT"]  # one at a time
    one.receive(i(0, 0), 15.0)  # data are no answer
    assert one.next_deadline == 16.0
    assert closed(one.handle_timer(16.0)) == "TESTFR act was not confirmed within t1, 15 s"
    assert_dead(one)


@pytest.mark.parametrize("role", Role)
def test_a_confirmed_test_is_over(role):
    one = link(role)
    one.test(1.0)
    one.receive(U["TESTFR_CON"], 2.0)
    assert one.next_deadline == 22.0
    one.test(3.0)
    assert one.data_to_send() == 2 * U["TESTFR_ACT"]


def test_t2():
    one = link()
    one.receive(i(0, 0), 1.0)
    one.receive(i(1, 0), 5.0)
    assert one.next_deadline == 11.0  # from the first that is not acknowledged
    assert one.handle_timer(10.999) == []
    assert one.data_to_send() == b""
    assert one.handle_timer(11.0) == []
    assert one.data_to_send() == s(2)
    assert one.next_deadline == 25.0
    one.receive(i(2, 0), 12.0)
    assert one.next_deadline == 22.0


@pytest.mark.parametrize(("role", "state"), TAKEN, ids=lambda one: one.value)
def test_t3_tests_in_every_state_but_not_while_a_con_is_waited_for(role, state):
    config = LinkConfig(t3_s=3.0)
    one = link(role, config, started=state in (LinkState.STARTED, LinkState.STOPPING))
    if state is LinkState.STARTING:
        one.start(0.0)
    if state is LinkState.STOPPING and role is Role.CONTROLLING:
        one.stop(0.0)
    elif state is LinkState.STOPPING:
        one.send(ASDU, 0.0)
        one.receive(U["STOPDT_ACT"], 0.0)
    one.data_to_send()
    waits = role is Role.CONTROLLING and state in (LinkState.STARTING, LinkState.STOPPING)
    assert one.next_deadline == (15.0 if waits else 3.0)
    assert one.handle_timer(3.0) == []
    assert one.data_to_send() == (b"" if waits else U["TESTFR_ACT"])


@pytest.mark.parametrize("frame", [U["TESTFR_ACT"], U["STARTDT_ACT"], s(0), i(0, 0)])
def test_every_frame_that_comes_begins_t3_anew_and_nothing_else_does(frame):
    one = link()
    one.receive(frame, 7.0)
    if one._unacknowledged:
        one.send(ASDU, 8.0)  # acknowledges
        one.receive(s(1), 7.0)
    assert one.next_deadline == 27.0
    one.receive(b"\x68\x04", 8.0)  # no frame
    assert one.next_deadline == 27.0
    one.handle_timer(20.0)
    assert one.next_deadline == 27.0
    one.data_to_send()
    one.handle_timer(27.0)
    assert one.data_to_send() == U["TESTFR_ACT"]
    assert one.next_deadline == 42.0  # t1: while it is waited for nothing else is tested
    one.receive(b"\x83\x00\x00\x00", 30.0)
    assert one.next_deadline == 50.0


def test_what_is_sent_does_not_begin_t3_anew():
    one = link(config=LinkConfig(t1_s=100.0))
    for second in range(12):
        one.send(ASDU, float(second))
    assert one.next_deadline == 20.0


def test_both_ends_may_test_at_the_same_time():
    a, b = controlling(), link()
    a.handle_timer(20.0)
    b.handle_timer(20.0)
    for _ in range(2):
        from_a, from_b = a.data_to_send(), b.data_to_send()
        assert from_a == from_b != b""
        a.receive(from_b, 21.0)
        b.receive(from_a, 21.0)
    assert (a.data_to_send(), b.data_to_send()) == (b"", b"")
    assert a.next_deadline == b.next_deadline == 41.0


def test_several_things_due_at_once():
    one = link(config=LinkConfig(t1_s=30.0, t2_s=20.0, t3_s=20.0))
    one.receive(i(0, 0), 1.0)
    assert one.handle_timer(25.0) == []
    assert one.data_to_send() == s(1) + U["TESTFR_ACT"]
    assert closed(one.handle_timer(60.0)) == "TESTFR act was not confirmed within t1, 30 s"


def test_a_new_connection_is_tested_before_any_frame_has_come():
    assert Link(CONFIG, Role.CONTROLLED, 100.0).next_deadline == 120.0
