"""Links of IEC 60870-5-104: whole exchanges octet by octet, each rule and its violation."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iec104_links import (
    ASDU,
    CONFIG,
    STARTED,
    STOPPED,
    TAKEN,
    WRAP,
    U,
    assert_dead,
    closed,
    controlling,
    i,
    link,
    s,
)

from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.link import (
    CONTROLLED_LINK,
    MACHINES,
    Acknowledged,
    AsduReceived,
    LinkClosed,
    LinkConfig,
    LinkInput,
    LinkState,
    Role,
)

# -- whole exchanges --------------------------------------------------------------------------------------------------

GI_ACT = "64 01 06 00 01 00 00 00 00 14"
GI_CON = "64 01 07 00 01 00 00 00 00 14"
GI_END = "64 01 0a 00 01 00 00 00 00 14"
POINT = "01 01 14 00 01 00 10 00 00 01"


def received(octets):
    return AsduReceived(bytes.fromhex(octets))


CONTROLLED_EXCHANGE = [
    ("<", "68 04 43 00 00 00", []),
    (">", "68 04 83 00 00 00"),
    ("<", "68 04 07 00 00 00", [STARTED]),
    (">", "68 04 0b 00 00 00"),
    ("<", "68 0e 00 00 00 00" + GI_ACT, [received(GI_ACT)]),
    ("send", GI_CON, 0),
    (">", "68 0e 00 00 02 00" + GI_CON),
    ("send", POINT, 1),
    (">", "68 0e 02 00 02 00" + POINT),
    ("<", "68 04 01 00 02 00", [Acknowledged(0)]),
    ("send", GI_END, 2),
    (">", "68 0e 04 00 02 00" + GI_END),
    ("<", "68 0e 02 00 06 00" + GI_ACT, [Acknowledged(2), received(GI_ACT)]),
    ("<", "68 04 13 00 00 00", [STOPPED]),
    (">", "68 04 01 00 04 00 68 04 23 00 00 00"),
    ("<", "68 04 43 00 00 00", []),
    (">", "68 04 83 00 00 00"),
    ("<", "68 04 07 00 00 00", [STARTED]),
    (">", "68 04 0b 00 00 00"),
    ("send", POINT, 3),
    (">", "68 0e 06 00 04 00" + POINT),
    ("<", "68 04 13 00 00 00", []),
    (">", ""),
    ("<", "68 04 01 00 08 00", [Acknowledged(3), STOPPED]),
    (">", "68 04 23 00 00 00"),
]
CONTROLLING_EXCHANGE = [
    ("start",),
    (">", "68 04 07 00 00 00"),
    ("<", "68 04 0b 00 00 00", [STARTED]),
    ("send", GI_ACT, 0),
    (">", "68 0e 00 00 00 00" + GI_ACT),
    ("<", "68 0e 00 00 02 00" + GI_CON, [Acknowledged(0), received(GI_CON)]),
    ("<", "68 0e 02 00 02 00" + POINT, [received(POINT)]),
    ("stop",),
    (">", "68 04 01 00 04 00 68 04 13 00 00 00"),
    ("<", "68 0e 04 00 02 00" + GI_END, [received(GI_END)]),
    (">", "68 04 01 00 06 00"),
    ("<", "68 04 23 00 00 00", [STOPPED]),
    ("test",),
    (">", "68 04 43 00 00 00"),
    ("<", "68 04 83 00 00 00", []),
    ("start",),
    (">", "68 04 07 00 00 00"),
    ("<", "68 04 0b 00 00 00", [STARTED]),
    ("send", GI_ACT, 1),
    (">", "68 0e 02 00 06 00" + GI_ACT),
]
TAIL = U["TESTFR_CON"]


def whole(link, octets):
    return link.receive(octets, 1.0)


def by_octet(link, octets):
    """Nothing is told before the last octet has come."""
    for octet in octets[:-1]:
        assert link.receive(bytes([octet]), 1.0) == []
    return link.receive(octets[-1:], 1.0)


def with_tail(cut):
    """Behind each message comes the beginning of a harmless one, whose rest comes alone."""

    def feed(link, octets):
        events = link.receive(octets + TAIL[:cut], 1.0)
        sent = len(link._out)
        assert link.receive(TAIL[cut:], 1.0) == []
        assert len(link._out) == sent
        return events

    return feed


@pytest.mark.parametrize(
    "feed",
    [whole, by_octet, with_tail(1), with_tail(3), with_tail(5), with_tail(6)],
    ids=["whole", "octets", "tail 1", "tail 3", "tail 5", "tail 6"],
)
@pytest.mark.parametrize(
    ("role", "exchange"),
    [(Role.CONTROLLED, CONTROLLED_EXCHANGE), (Role.CONTROLLING, CONTROLLING_EXCHANGE)],
    ids=["controlled", "controlling"],
)
def test_exchange(role, exchange, feed):
    one = link(role, started=False)
    for what, *rest in exchange:
        match what, rest:
            case "<", [octets, events]:
                assert feed(one, bytes.fromhex(octets)) == events
            case ">", [octets]:
                assert one.data_to_send() == bytes.fromhex(octets)
            case "send", [octets, number]:
                assert one.send(bytes.fromhex(octets), 1.0) == number
            case "start", []:
                one.start(1.0)
            case "stop", []:
                one.stop(1.0)
            case "test", []:
                one.test(1.0)
    assert one.data_to_send() == b""
    assert one.state is not LinkState.CLOSED


@pytest.mark.parametrize(
    ("role", "exchange"),
    [(Role.CONTROLLED, CONTROLLED_EXCHANGE), (Role.CONTROLLING, CONTROLLING_EXCHANGE)],
    ids=["controlled", "controlling"],
)
@given(junk=st.binary(max_size=300), data=st.data())
def test_garbage_at_any_moment_ends_in_a_closing_with_a_reason_and_nothing_else(role, exchange, junk, data):
    one = link(role, started=False)
    moment = data.draw(st.integers(0, len(exchange)))
    for what, *rest in exchange[:moment]:
        match what:
            case "<":
                one.receive(bytes.fromhex(rest[0]), 1.0)
            case "send":
                one.send(bytes.fromhex(rest[0]), 1.0)
            case "start" | "stop" | "test":
                getattr(one, what)(1.0)
    kinds = [st.just(junk), *(st.just(octets) for octets in U.values())]
    kinds += [st.builds(s, st.integers(0, 6)), st.builds(i, st.integers(0, 6), st.integers(0, 6))]
    octets = b"".join(data.draw(st.lists(st.one_of(kinds), max_size=5)))
    events = []
    for cut in range(0, len(octets), step := data.draw(st.integers(1, 400))):
        new = one.receive(octets[cut : cut + step], 1.0)
        assert not (events and isinstance(events[-1], LinkClosed) and new)
        events += new
    if one.state is LinkState.CLOSED:
        assert closed(events)
        assert_dead(one)
    else:
        assert not any(isinstance(event, LinkClosed) for event in events)
        assert len(one._out) <= 400


# -- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_is_reached_and_every_one_may_fail(machine):
    found = {LinkState.STOPPED}
    while more := {row.target for row in machine.rows if row.source in found} - found:
        found |= more
    assert found == set(LinkState) - ({LinkState.STARTING} if machine is CONTROLLED_LINK else set())
    for state in found - {LinkState.CLOSED}:
        assert machine.step(state, LinkInput.FAILED) is LinkState.CLOSED
    assert not [row for row in machine.rows if row.source is LinkState.CLOSED]


def test_every_input_stands_in_a_table():
    assert {row.event for machine in MACHINES for row in machine.rows} == set(LinkInput)


def bring(role, state):
    """A link in a state; where it can be so, with one unacknowledged I frame."""
    one = link(role, started=state in (LinkState.STARTED, LinkState.STOPPING))
    if one.state is LinkState.STARTED:
        one.send(ASDU, 0.0)
    if state is LinkState.STARTING:
        one.start(0.0)
    if state is LinkState.STOPPING:
        one.stop(0.0) if role is Role.CONTROLLING else one.receive(U["STOPDT_ACT"], 0.0)
    assert one.state is state
    one.data_to_send()
    return one


FRAMES = {
    "STARTDT act": U["STARTDT_ACT"],
    "STARTDT con": U["STARTDT_CON"],
    "STOPDT act": U["STOPDT_ACT"],
    "STOPDT con": U["STOPDT_CON"],
    "I frame": i(0, 0),
    "S frame that acknowledges nothing new": s(0),
    "S frame that acknowledges": s(1),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(("role", "state"), TAKEN, ids=lambda one: one.value)
def test_what_each_state_takes_and_refuses(role, state, name):
    """S frames that acknowledge what was never sent are refused, too, if for another reason."""
    one = bring(role, state)
    events = one.receive(FRAMES[name], 1.0)
    short = {"S frame that acknowledges": "S1", "S frame that acknowledges nothing new": "S0"}.get(name, name)
    if short in TAKEN[role, state]:
        assert one.state is not LinkState.CLOSED
    else:
        reason = closed(events)
        assert len(events) == 1
        waits = state in (LinkState.STOPPED, LinkState.STARTING) and role is Role.CONTROLLING
        if short == "S1" and waits:
            assert reason == "N(R) 1; 0 expected"
        else:
            assert reason.startswith(f"{name} while {state}; expected: ")
        assert_dead(one)


@pytest.mark.parametrize(("role", "state"), TAKEN, ids=lambda one: one.value)
def test_a_test_is_answered_in_every_state_and_its_con_taken(role, state):
    one = bring(role, state)
    assert one.receive(U["TESTFR_ACT"] + U["TESTFR_CON"] + U["TESTFR_ACT"], 1.0) == []
    assert one.data_to_send() == 2 * U["TESTFR_CON"]
    assert one.state is state


def test_reasons_name_what_came_and_what_was_expected():
    assert closed(link(started=False).receive(i(0, 0), 0.0)) == (
        "I frame while stopped; expected: STARTDT act, STOPDT act"
    )
    assert closed(controlling(started=False).receive(U["STARTDT_CON"], 0.0)) == (
        "STARTDT con while stopped; expected: S frame that acknowledges"
    )


@pytest.mark.parametrize("role", Role)
def test_orders_at_the_wrong_time_are_misuse(role):
    one = link(role)
    with pytest.raises(ValueError, match="start ordered while started"):
        one.start(0.0)
    if role is Role.CONTROLLED:
        with pytest.raises(ValueError, match="stop ordered while started and controlled"):
            one.stop(0.0)
    else:
        with pytest.raises(ValueError, match="itself"):
            one.deactivate()
        one.stop(0.0)
        with pytest.raises(ValueError, match="stop ordered while stopping"):
            one.stop(0.0)
        with pytest.raises(ValueError, match="start ordered while stopping"):
            one.start(0.0)
    assert one.state is not LinkState.CLOSED


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("expected", "ns"), [(0, 1), (0, 32767), (5, 4), (5, 6), (32767, 0), (32767, 32766)])
def test_another_than_the_next_number_closes(role, expected, ns):
    one = link(role, number=expected)
    assert one.receive(i(ns, expected), 1.0) == [LinkClosed(f"I frame with N(S) {ns}; {expected} expected")]
    assert one.data_to_send() == b""


@pytest.mark.parametrize("first", [0, 7, 32764, 32765, 32766, 32767, 65534])
def test_only_what_was_sent_and_not_more_is_acknowledged(first):
    for sent in range(4):
        for nr in (*range(first - 3, first + 7), first + 16384):
            for frame in (s(nr % WRAP), i(first % WRAP, nr % WRAP)):
                one = link(number=first)
                for _ in range(sent):
                    one.send(ASDU, 0.0)
                events = one.receive(frame, 1.0)
                news = [event for event in events if not isinstance(event, AsduReceived)]
                if first <= nr <= first + sent:
                    assert news == ([Acknowledged(nr - 1)] if nr > first else [])
                    assert one.window == 12 - sent + nr - first
                else:
                    low, high = first % WRAP, (first + sent) % WRAP
                    reason = (
                        f"N(R) {nr % WRAP}; {low} expected"
                        if not sent
                        else f"N(R) {nr % WRAP}; {low} to {high} expected"
                    )
                    assert events == [LinkClosed(reason)]


def test_an_acknowledgement_is_not_taken_back():
    one = link()
    one.send(ASDU, 0.0)
    one.send(ASDU, 0.0)
    assert one.receive(s(2), 1.0) == [Acknowledged(1)]
    assert closed(one.receive(s(1), 1.0)) == "N(R) 1; 2 expected"


def test_numbers_wrap_at_32768_in_both_directions():
    a, b = controlling(), link()
    for number in range(2 * WRAP + 20):
        assert a.send(ASDU, 0.0) == number
        assert b.receive(a.data_to_send(), 0.0)[-1] == AsduReceived(ASDU)
        assert b.send(ASDU, 0.0) == number
        octets = b.data_to_send()
        assert octets[2:6] == control_field(number) + control_field(number + 1)
        assert a.receive(octets, 0.0) == [Acknowledged(number), AsduReceived(ASDU)]
    assert (a.window, b.window) == (12, 11)


def control_field(number):
    """The two octets of a number: 15 bits, the lowest first, above a 0."""
    return (number % WRAP * 2).to_bytes(2, "little")


def test_numbers_go_on_over_a_stop():
    one = link()
    one.send(ASDU, 0.0)
    one.receive(i(0, 1) + U["STOPDT_ACT"] + U["STARTDT_ACT"], 1.0)
    assert one.data_to_send() == i(0, 0) + s(1) + U["STOPDT_CON"] + U["STARTDT_CON"]
    assert one.send(ASDU, 1.0) == 1
    assert one.data_to_send() == i(1, 1)


# -- windows ----------------------------------------------------------------------------------------------------------


def test_window():
    one = link(config=LinkConfig(k=3, w=2))
    assert one.window == 3
    for left in (2, 1, 0):
        one.send(ASDU, 0.0)
        assert one.window == left
    with pytest.raises(ValueError, match=r"the window is 0: started, 3 of 3 unacknowledged"):
        one.send(ASDU, 0.0)
    assert one.receive(s(2), 1.0) == [Acknowledged(1)]
    assert one.window == 2


@pytest.mark.parametrize("state", [state for state in LinkState if state not in (LinkState.STARTED, LinkState.CLOSED)])
@pytest.mark.parametrize("role", Role)
def test_nothing_is_sent_unless_started(role, state):
    if (role, state) not in TAKEN:
        return
    one = bring(role, state)
    assert one.window == 0
    with pytest.raises(ValueError, match=f"the window is 0: {state}"):
        one.send(ASDU, 0.0)
    assert one.data_to_send() == b""


@pytest.mark.parametrize("asdu", [b"", bytes(250)])
def test_an_asdu_that_fits_no_frame_is_misuse_and_leaves_no_trace(asdu):
    one = link()
    with pytest.raises(Iec104EncodeError):
        one.send(asdu, 0.0)
    assert one.data_to_send() == b""
    assert one.window == 12
    assert one.send(ASDU, 0.0) == 0


def test_the_largest_window():
    one = link(config=LinkConfig(k=32767, w=32767), number=12345)
    for _ in range(32767):
        one.send(ASDU, 0.0)
    assert one.window == 0
    assert one.receive(s((12345 + 32767) % WRAP), 1.0) == [Acknowledged(12345 + 32766)]
    assert one.window == 32767


@pytest.mark.parametrize("w", [1, 2, 8])
def test_w_received_frames_are_acknowledged_at_once(w):
    one = link(config=LinkConfig(w=w))
    for ns in range(3 * w):
        one.receive(i(ns, 0), 1.0)
        assert one.data_to_send() == (s(ns + 1) if ns % w == w - 1 else b"")


def test_one_acknowledgement_does_for_all_of_one_call():
    one = link()
    assert len(one.receive(b"".join(i(ns, 0) for ns in range(1000)), 1.0)) == 1000
    assert one.data_to_send() == s(1000)


def test_an_own_i_frame_acknowledges():
    one = link()
    one.receive(b"".join(i(ns, 0) for ns in range(7)), 1.0)
    one.send(ASDU, 2.0)
    assert one.data_to_send() == i(0, 7)
    assert one.next_deadline == 17.0  # t1 of the own frame: nothing is to be acknowledged by t2
    one.receive(i(7, 1), 3.0)
    assert one.data_to_send() == b""  # w counts from the own frame on


def test_acknowledgements_are_told_in_order_with_the_asdus():
    one = link()
    for _ in range(3):
        one.send(ASDU, 0.0)
    assert one.receive(i(0, 1) + i(1, 1) + s(3), 1.0) == [
        Acknowledged(0),
        AsduReceived(ASDU),
        AsduReceived(ASDU),
        Acknowledged(2),
    ]


def test_nothing_grows_when_a_peer_asks_and_does_not_read():
    one = link(config=LinkConfig(most_queued=10))
    for _ in range(10):
        assert one.receive(U["TESTFR_ACT"], 1.0) == []
    assert closed(one.receive(U["TESTFR_ACT"], 1.0)) == "11 answers wait to be sent: the peer asks and does not read"
    assert one.data_to_send() == 11 * U["TESTFR_CON"]
    read = link(config=LinkConfig(most_queued=10))
    for _ in range(100):
        read.receive(U["TESTFR_ACT"], 1.0)
        assert read.data_to_send() == U["TESTFR_CON"]
    assert read.state is LinkState.STARTED


# -- closing and configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", ["69", "68 03", "68 fe", "68 04 43 01", "68 04 47", "68 0e 01", "68 04 00"])
@pytest.mark.parametrize("role", Role)
def test_octets_that_are_no_frame(role, junk):
    one = link(role)
    one.send(ASDU, 0.0)
    one.data_to_send()
    events = one.receive(i(0, 1) + U["TESTFR_ACT"] + bytes.fromhex(junk), 1.0)
    assert events[:-1] == [Acknowledged(0), AsduReceived(ASDU)]  # what came before it is good
    assert " at octet " in closed(events)
    assert one.data_to_send() == U["TESTFR_CON"]  # what is left may be written still
    assert_dead(one)


def test_what_comes_behind_a_violation_is_not_looked_at():
    one = link()
    assert one.receive(i(1, 0) + i(0, 0) + U["TESTFR_ACT"], 1.0) == [LinkClosed("I frame with N(S) 1; 0 expected")]
    assert one.data_to_send() == b""


def test_short_asdus_need_a_configuration():
    asdu = bytes.fromhex("66 01 05 01 07")  # COT, CA and IOA of one octet each
    assert " at octet " in closed(link().receive(i(0, 0, asdu), 1.0))
    one = link(config=LinkConfig(shortest_asdu=4))
    assert one.receive(i(0, 0, asdu), 1.0) == [AsduReceived(asdu)]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"k": 0}, "k is 0; 1 to 32767 expected"),
        ({"k": 32768}, "k is 32768; 1 to 32767 expected"),
        ({"w": 0}, "w is 0; 1 to k, which is 12, expected"),
        ({"w": 13}, "w is 13; 1 to k, which is 12, expected"),
        ({"t1_s": 0.0}, "t1 is 0.0 s; more than 0 expected"),
        ({"t1_s": inf}, "t1 is inf s; more than 0 expected"),
        ({"t2_s": -1.0}, "t2 is -1.0 s; more than 0 expected"),
        ({"t3_s": float("nan")}, "t3 is nan s; more than 0 expected"),
        ({"t2_s": 15.0}, "t2 is 15 s; less than t1, which is 15 s, expected"),
        ({"most_queued": 0}, "most_queued is 0; 1 or more expected"),
        ({"shortest_asdu": 0}, "shortest_asdu is 0; 1 to 6 expected"),
        ({"shortest_asdu": 7}, "shortest_asdu is 7; 1 to 6 expected"),
    ],
)
def test_configuration_out_of_range(changed, reason):
    with pytest.raises(ValueError, match=reason):
        replace(CONFIG, **changed)
