"""Events as ASDUs: which of them an acknowledgement stands for."""

from __future__ import annotations

import pytest
from iec104_world import ME, SP, T_NS, UTC, event_of

from gateway.iec104.asdu import DEFAULT_SIZES, Sizes, decode, most_objects
from gateway.iec104.event import Event
from gateway.iec104.image import Image
from gateway.iec104.telling import Teller


def events_of(token, typeID, IOAs, sizes=DEFAULT_SIZES, **more):
    """Several that came together, as one."""
    each = [event_of(token, 1, IOA, typeID, IOA % 2, 0, T_NS, sizes=sizes, **more) for IOA in IOAs]
    return Event(token, each[0].head, b"".join(one.octets for one in each))


def told(events, sizes=DEFAULT_SIZES):
    packed = Teller(Image([]), sizes, UTC, []).events(events)
    return [([one.IOA for one in decode(octets, sizes).objects], tokens) for octets, tokens in packed]


@pytest.mark.parametrize("sizes", [DEFAULT_SIZES, Sizes(COT=1, CA=1, IOA=2)])
def test_what_takes_several_asdus_has_arrived_with_the_last(sizes):
    most, _ = most_objects(ME, sizes)
    whole = list(range(1, 3 * most + 1))
    assert told([events_of(7, ME, whole, sizes), events_of(8, ME, [500], sizes)], sizes) == [
        (whole[:most], []),
        (whole[most : 2 * most], []),
        (whole[2 * most :], [7]),
        ([500], [8]),
    ]
    assert told([events_of(7, ME, whole[:-1], sizes), events_of(8, ME, [500], sizes)], sizes)[2:] == [
        ([*whole[2 * most : -1], 500], [7, 8]),
    ]


def test_what_is_told_under_several_heads_has_arrived_with_the_last():
    parts = [events_of(7, SP, [1]), events_of(7, ME, [2]), events_of(7, SP, [3]), events_of(8, SP, [4], test=True)]
    assert told([*parts, events_of(9, ME, [5])]) == [([1, 3], []), ([2, 5], [7, 9]), ([4], [8])]
