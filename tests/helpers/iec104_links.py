"""Links and frames, short, for the tests of links."""

from __future__ import annotations

from math import inf

import pytest

from gateway.iec104.apci import UFunction, encode_i, encode_s, encode_u
from gateway.iec104.link import (
    DataTransferStarted,
    DataTransferStopped,
    Link,
    LinkClosed,
    LinkConfig,
    LinkState,
    Role,
)

ASDU = bytes.fromhex("64010600010000000014")
CONFIG = LinkConfig()
STARTED, STOPPED = DataTransferStarted(), DataTransferStopped()
WRAP = 32768

U = {function.name: encode_u(function) for function in UFunction}


def i(ns, nr, asdu=ASDU):
    return encode_i(ns, nr, asdu)


def s(nr):
    return encode_s(nr)


def link(role=Role.CONTROLLED, config=CONFIG, *, started=True, number=0):
    """A link at 0 s; ``number``: of the next frame in both directions."""
    one = Link(config, role, 0.0)
    one._sent = one._acknowledged = number
    one._expected = number % WRAP
    if started:
        if role is Role.CONTROLLED:
            assert one.receive(U["STARTDT_ACT"], 0.0) == [STARTED]
        else:
            one.start(0.0)
            assert one.receive(U["STARTDT_CON"], 0.0) == [STARTED]
        one.data_to_send()
    return one


def controlling(**settings):
    return link(Role.CONTROLLING, **settings)


def closed(events):
    """The reason of the closing that the events end with."""
    assert [type(event) for event in events].count(LinkClosed) == 1
    assert isinstance(events[-1], LinkClosed)
    return events[-1].reason


def assert_dead(one):
    """After its closing a link says and does nothing more."""
    one.data_to_send()
    assert one.next_deadline == inf
    assert one.window == 0
    for octets in (*U.values(), i(0, 0), s(0), b"junk"):
        assert one.receive(octets, 1e6) == []
    assert one.handle_timer(1e6) == []
    one.test(1e6)
    if one.role is Role.CONTROLLED:
        one.deactivate()
    for order in (one.start, one.stop):
        order(1e6)  # who orders it may not have seen the closing yet
    with pytest.raises(ValueError, match="the window is 0: closed"):
        one.send(ASDU, 1e6)
    assert one.data_to_send() == b""
    assert one.state is LinkState.CLOSED


TAKEN = {
    (Role.CONTROLLED, LinkState.STOPPED): ["STARTDT act", "STOPDT act"],
    (Role.CONTROLLED, LinkState.STARTED): ["STARTDT act", "STOPDT act", "I frame", "S1", "S0"],
    (Role.CONTROLLED, LinkState.STOPPING): ["STARTDT act", "STOPDT act", "S1", "S0"],
    (Role.CONTROLLING, LinkState.STOPPED): [],
    (Role.CONTROLLING, LinkState.STARTING): ["STARTDT con"],
    (Role.CONTROLLING, LinkState.STARTED): ["I frame", "S1", "S0"],
    (Role.CONTROLLING, LinkState.STOPPING): ["STOPDT con", "I frame", "S1", "S0"],
}
