"""Links of IEC 60870-5-104: STOPDT and deactivation, with I frames on the way."""

from __future__ import annotations

from iec104_links import (
    ASDU,
    STARTED,
    STOPPED,
    U,
    closed,
    controlling,
    i,
    link,
    s,
)

from gateway.iec104.link import (
    Acknowledged,
    AsduReceived,
    LinkState,
)


def test_a_stop_waits_for_the_acknowledgement_of_what_was_sent():
    one = link()
    one.send(ASDU, 0.0)
    one.send(ASDU, 0.0)
    assert one.receive(i(0, 0) + U["STOPDT_ACT"], 1.0) == [AsduReceived(ASDU)]
    assert one.data_to_send() == i(0, 0) + i(1, 0) + s(1)  # what was received is acknowledged at once
    assert (one.state, one.window) == (LinkState.STOPPING, 0)
    assert one.receive(s(1), 2.0) == [Acknowledged(0)]
    assert one.receive(U["STOPDT_ACT"] + s(1), 3.0) == []  # asked again: confirmed once
    assert one.data_to_send() == b""
    assert one.receive(s(2), 4.0) == [Acknowledged(1), STOPPED]
    assert one.data_to_send() == U["STOPDT_CON"]
    assert closed(one.receive(s(2), 5.0)).startswith("S frame that acknowledges nothing new while stopped")


def test_a_stop_does_not_wait_longer_than_t1():
    one = link()
    one.send(ASDU, 1.0)
    one.receive(U["STOPDT_ACT"], 2.0)
    assert one.next_deadline == 16.0
    assert closed(one.handle_timer(16.0)) == "I frame with N(S) 0 was not acknowledged within t1, 15 s"
    assert U["STOPDT_CON"] not in one.data_to_send()


def test_no_i_frame_is_taken_behind_a_stop():
    one = link()
    one.send(ASDU, 0.0)
    events = one.receive(U["STOPDT_ACT"] + i(0, 1), 1.0)
    assert closed(events).startswith("I frame while stopping; expected: ")
    assert len(events) == 1


def test_a_master_that_thinks_better_of_its_stop():
    one = link()
    one.send(ASDU, 0.0)
    assert one.receive(U["STOPDT_ACT"] + U["STARTDT_ACT"], 1.0) == []
    assert one.data_to_send() == i(0, 0) + U["STARTDT_CON"]
    assert one.receive(s(1), 1.0) == [Acknowledged(0)]
    assert one.data_to_send() == b""
    assert one.window == 12
    one.send(ASDU, 2.0)
    one.data_to_send()
    one.deactivate()
    assert one.receive(s(2), 3.0) == [Acknowledged(1)]
    assert one.data_to_send() == b""  # the stop that was withdrawn is not confirmed later either


def test_while_a_master_stops_it_acknowledges_each_frame_at_once():
    one = controlling()
    one.receive(i(0, 0), 1.0)
    one.stop(1.0)
    assert one.data_to_send() == s(1) + U["STOPDT_ACT"]
    one.receive(i(1, 0), 2.0)
    assert one.data_to_send() == s(2)
    one.receive(i(2, 0) + U["STOPDT_CON"], 2.0)
    assert one.data_to_send() == s(3)
    assert closed(one.receive(i(3, 0), 3.0)).startswith("I frame while stopped")


def test_a_device_that_confirms_a_stop_first_and_acknowledges_then():
    one = controlling()
    one.send(ASDU, 0.0)
    one.send(ASDU, 1.0)
    one.stop(1.0)
    assert one.receive(U["STOPDT_CON"], 2.0) == [STOPPED]
    assert one.receive(s(1), 3.0) == [Acknowledged(0)]
    one.start(4.0)
    assert one.receive(s(2), 5.0) == [Acknowledged(1)]
    assert one.receive(U["STARTDT_CON"], 5.0) == [STARTED]


def test_a_device_that_confirms_a_stop_and_never_acknowledges():
    one = controlling()
    one.send(ASDU, 0.0)
    one.stop(1.0)
    one.receive(U["STOPDT_CON"], 2.0)
    assert closed(one.handle_timer(15.0)) == "I frame with N(S) 0 was not acknowledged within t1, 15 s"


def test_deactivation_stops_without_con_and_without_being_told():
    one = link()
    one.receive(i(0, 0), 1.0)
    one.deactivate()
    assert (one.state, one.window) == (LinkState.STOPPED, 0)
    assert one.data_to_send() == s(1)
    one.deactivate()
    assert one.receive(U["STOPDT_ACT"], 2.0) == []
    assert one.data_to_send() == U["STOPDT_CON"]
    assert one.receive(U["STARTDT_ACT"], 3.0) == [STARTED]


def test_deactivation_waits_for_acknowledgements():
    one = link()
    one.send(ASDU, 0.0)
    one.data_to_send()
    one.deactivate()
    assert (one.state, one.window) == (LinkState.STOPPING, 0)
    assert one.receive(s(1), 2.0) == [Acknowledged(0)]
    assert one.state is LinkState.STOPPED
    assert one.data_to_send() == b""


def test_a_stop_that_comes_upon_a_deactivation_is_confirmed():
    one = link()
    one.send(ASDU, 0.0)
    one.data_to_send()
    one.deactivate()
    assert one.receive(U["STOPDT_ACT"], 2.0) == []
    assert one.data_to_send() == b""
    assert one.receive(s(1), 2.0) == [Acknowledged(0)]
    assert one.data_to_send() == U["STOPDT_CON"]


def test_a_start_that_comes_upon_a_deactivation():
    one = link()
    one.send(ASDU, 0.0)
    one.deactivate()
    assert one.receive(U["STARTDT_ACT"], 2.0) == [STARTED]
    assert one.window == 11


def test_a_command_on_a_deactivated_connection_is_refused():
    one = link()
    one.deactivate()
    assert closed(one.receive(i(0, 0), 2.0)).startswith("I frame while stopped")
