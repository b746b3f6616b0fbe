"""Publisher: numbers, gaps, time to live."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.goose.data import encode_all_data
from ied_agents.goose.errors import GooseEncodeError
from ied_agents.goose.frame import EthernetFrame
from ied_agents.goose.pdu import decode_pdu
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.iec61850.utctime import UtcTime

CONFIG = PublisherConfig(
    dst=bytes.fromhex("010ccd010001"),
    src=bytes.fromhex("020000000001"),
    vlan_id=0,
    vlan_priority=4,
    appid=0x0001,
    gocbRef="IED1LD0/LLN0$GO$gcb1",
    datSet="IED1LD0/LLN0$set1",
    goID="IED1LD0/LLN0$GO$gcb1",
    confRev=7,
    numDatSetEntries=1,
)
T = UtcTime(1_700_000_000)


def publisher(**changes):
    return Publisher(dataclasses.replace(CONFIG, **changes))


def members(*values):
    return encode_all_data(values)


def read(frame):
    return decode_pdu(EthernetFrame.decode(frame).apdu)


def test_first_state():
    pub = publisher()
    assert pub.next_deadline is None
    assert pub.handle_timer(5.0) is None
    octets = pub.publish(members(1), 10.0, T)
    frame, pdu = EthernetFrame.decode(octets), read(octets)
    assert (frame.dst, frame.src, frame.appid) == (CONFIG.dst, CONFIG.src, CONFIG.appid)
    assert (frame.vlan_id, frame.vlan_priority, frame.simulated) == (0, 4, False)
    assert (pdu.gocbRef, pdu.datSet, pdu.goID, pdu.confRev) == (
        CONFIG.gocbRef,
        CONFIG.datSet,
        CONFIG.goID,
        CONFIG.confRev,
    )
    assert (pdu.stNum, pdu.sqNum, pdu.t, pdu.numDatSetEntries, pdu.allData) == (1, 0, T, 1, (1,))
    assert (pdu.simulation, pdu.ndsCom) == (False, False)


def test_gaps_are_4_16_100_then_every_1000_ms_and_do_not_drift():
    pub = publisher()
    pub.publish(members(1), 10.0, T)
    due, times = [], []
    for late in (0.0, 0.001, 0.002, 0.003, 0.9, 0.0):
        due.append(pub.next_deadline)
        assert pub.handle_timer(pub.next_deadline - 1e-6) is None
        times.append(read(pub.handle_timer(pub.next_deadline + late)).sqNum)
    assert due == pytest.approx([10.004, 10.020, 10.120, 11.120, 12.120, 13.120])
    assert times == [1, 2, 3, 4, 5, 6]


def test_a_late_timer_sends_one_frame():
    pub = publisher()
    pub.publish(members(1), 0.0, T)
    assert read(pub.handle_timer(50.0)).sqNum == 1
    assert pub.handle_timer(50.0) is None
    assert pub.next_deadline == pytest.approx(50.016)


@pytest.mark.parametrize(
    ("min_time_ms", "max_time_ms", "gaps"),
    [
        (4, 1000, (4, 16, 100, 1000)),
        (10, 2000, (10, 16, 100, 2000)),
        (20, 1000, (20, 100, 1000)),
        (4, 50, (4, 16, 50)),
        (4, 16, (4, 16)),
        (500, 500, (500, 500)),
        (1, 100, (1, 16, 100)),
    ],
)
def test_ends_of_the_curve_come_from_the_scd(min_time_ms, max_time_ms, gaps):
    pub = publisher(min_time_ms=min_time_ms, max_time_ms=max_time_ms)
    pub.publish(members(1), 0.0, T)
    now, found = 0.0, []
    for _ in range(len(gaps) + 2):
        found.append(round((pub.next_deadline - now) * 1000))
        now = pub.next_deadline
        pub.handle_timer(now)
    assert tuple(found) == (*gaps, gaps[-1], gaps[-1])


@pytest.mark.parametrize(("low", "high"), [(0, 1000), (-1, 1000), (1001, 1000)])
def test_impossible_ends(low, high):
    with pytest.raises(GooseEncodeError, match="MinTime"):
        publisher(min_time_ms=low, max_time_ms=high)


@given(st.integers(1, 50), st.integers(50, 60_000))
def test_time_to_live_is_at_least_twice_the_next_gap(low, high):
    pub = publisher(min_time_ms=low, max_time_ms=high)
    frame = pub.publish(members(1), 0.0, T)
    now = 0.0
    for _ in range(6):
        gap = pub.next_deadline - now
        assert read(frame).timeAllowedtoLive >= 2 * gap * 1000 - 1e-6
        now = pub.next_deadline
        frame = pub.handle_timer(now)


def test_a_change_is_a_new_state_and_no_change_is_none():
    pub = publisher()
    pub.publish(members(1), 0.0, T)
    for _ in range(5):
        pub.handle_timer(pub.next_deadline)
    deadline = pub.next_deadline
    assert pub.publish(members(1), 1.0, UtcTime(2)) is None
    assert pub.next_deadline == deadline
    pdu = read(pub.publish(members(2), 2.0, UtcTime(2)))
    assert (pdu.stNum, pdu.sqNum, pdu.t, pdu.allData) == (2, 0, UtcTime(2), (2,))
    assert pub.next_deadline == pytest.approx(2.004)
    pdu = read(pub.handle_timer(2.004))
    assert (pdu.stNum, pdu.sqNum, pdu.t, pdu.allData) == (2, 1, UtcTime(2), (2,))


@pytest.mark.parametrize("fixedOffs", [False, True])
def test_numbers_grow_and_overrun(fixedOffs):
    pub = publisher(fixedOffs=fixedOffs)
    pub.stNum = 2**32 - 2
    assert read(pub.publish(members(1), 0.0, T)).stNum == 2**32 - 1
    for before, after in (
        (126, 127),
        (127, 128),
        (255, 256),
        (2**31 - 1, 2**31),
        (2**32 - 2, 2**32 - 1),
        (2**32 - 1, 1),
    ):
        pub.sqNum = before
        pdu = read(pub.handle_timer(pub.next_deadline))
        assert (pdu.stNum, pdu.sqNum, pdu.allData) == (2**32 - 1, after, (1,))
    assert read(pub.publish(members(2), 99.0, T)).stNum == 1


def test_flags():
    octets = publisher(simulation=True, ndsCom=True, vlan_id=None, goID=None).publish(members(1), 0.0, T)
    frame, pdu = EthernetFrame.decode(octets), read(octets)
    assert (frame.vlan_id, frame.simulated) == (None, True)
    assert (pdu.simulation, pdu.ndsCom, pdu.goID) == (True, True, None)


def test_fixed_offsets_keep_the_length():
    pub = publisher(fixedOffs=True)
    frame = pub.publish(members(1), 0.0, T)
    pub.sqNum = 2**32 - 2
    assert len(pub.handle_timer(1.0)) == len(frame)


def test_wrong_number_of_members_is_refused():
    pub = publisher(numDatSetEntries=2)
    with pytest.raises(GooseEncodeError, match="1 members, the data set has 2"):
        pub.publish(members(1), 0.0, T)
    assert read(pub.publish(members(1, 2), 0.0, T)).stNum == 1


def test_a_frame_too_long_is_refused_and_changes_nothing():
    pub = publisher()
    frame = pub.publish(members(b""), 0.0, T)
    with pytest.raises(GooseEncodeError, match="1500"):
        pub.publish(members(bytes(1500)), 1.0, UtcTime(9))
    pub.sqNum = 127
    again = read(pub.handle_timer(1.0))
    assert (again.stNum, again.sqNum, again.t, again.allData) == (1, 128, T, (b"",))
    assert read(frame).stNum == 1
    fits = pub.publish(members(bytes(1300)), 2.0, T)
    assert read(fits).stNum == 2
