"""The point table: events, deadband, loss of a device, substitution, blocking, the feed of changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.points.point import PointConfig, PointError, PointValue
from gateway.points.table import PointTable
from ied_agents.iec61850.quality import INVALID, Quality, Validity

POS = "F1Q1/XCBR1.Pos"
AMPS = "F1Q1/MMXU1.A.phsA"
OTHER = "F1Q2/XCBR1.Pos"


def make(**options):
    return PointTable(
        [
            PointConfig(name=POS, cdc="DPC", source="F1Q1"),
            PointConfig(name=AMPS, cdc="CMV", source="F1Q1", deadband=5.0),
            PointConfig(name=OTHER, cdc="DPC", source="F1Q2"),
        ],
        **options,
    )


def quality(point):
    return Quality.from_int(point.quality)


def test_a_first_value_and_a_change_are_events_and_the_same_again_is_none():
    table = make()
    assert table.get(POS) is None
    first = PointValue(2, 0, 10, 0, 11)
    assert table.update(POS, first) == first
    assert table.update(POS, first._replace(t_ns=20)) is None
    assert table.get(POS).t_ns == 20
    assert table.update(POS, PointValue(1)) == PointValue(1)
    assert table.snapshot() == {POS: PointValue(1)}


def test_a_change_of_quality_is_an_event():
    table = make()
    table.update(POS, PointValue(2))
    assert table.update(POS, PointValue(2, INVALID.to_int())) is not None
    assert table.update(POS, PointValue(2)) is not None


def test_deadband_counts_from_the_last_event_and_does_not_hide_the_value():
    table = make()
    assert table.update(AMPS, PointValue(100.0))
    assert table.update(AMPS, PointValue(104.0)) is None
    assert table.get(AMPS).value == 104.0
    assert table.update(AMPS, PointValue(105.0)) is None
    assert table.update(AMPS, PointValue(105.1)).value == 105.1
    # A slow drift is told as soon as it is beyond the deadband, however small its steps.
    events = [table.update(AMPS, PointValue(105.1 + step)) for step in range(1, 8)]
    assert [event.value for event in events if event] == [111.1]


def test_no_number_is_told_once():
    table = make()
    table.update(AMPS, PointValue(100.0))
    assert table.update(AMPS, PointValue(math.nan))
    assert table.update(AMPS, PointValue(math.nan)) is None
    assert table.update(AMPS, PointValue(100.0))


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.floats(0, 1e5))
def test_what_is_shown_is_never_further_from_the_last_event_than_the_deadband(numbers, deadband):
    table = PointTable([PointConfig(name=AMPS, cdc="MV", deadband=deadband)])
    told = None
    for number in numbers:
        event = table.update(AMPS, PointValue(number))
        told = event or told
        assert abs(table.get(AMPS).value - told.value) <= deadband


def test_unknown_points_and_values_of_another_kind_are_refused():
    table = make()
    with pytest.raises(PointError, match="no such point"):
        table.update("F9/XCBR1.Pos", PointValue(1))
    with pytest.raises(PointError, match=r"XCBR1\.Pos \(DPC\): expected a number"):
        table.update(POS, PointValue(True))
    with pytest.raises(PointError):
        table.substitute(POS, 7, "lis", 0)
    with pytest.raises(PointError, match="twice"):
        PointTable([PointConfig(name=POS, cdc="DPC")] * 2)
    assert len(table) == 3
    assert POS in table
    assert [config.name for config in table] == [POS, AMPS, OTHER]
    assert table.config(POS).cdc == "DPC"


def test_all_points_of_a_lost_device_are_old_with_the_time_of_the_loss():
    table = make()
    table.update(POS, PointValue(2, 0, 10, 0, 11))
    table.update(AMPS, PointValue(7.0, INVALID.to_int(), 10, 0, 11))
    table.update(OTHER, PointValue(1, 0, 10, 0, 11))
    events = dict(table.invalidate("F1Q1", 99))
    assert set(events) == {POS, AMPS}
    assert events[POS].value == 2
    assert quality(events[POS]) == Quality(Validity.QUESTIONABLE, oldData=True)
    assert quality(events[AMPS]) == Quality(Validity.INVALID, oldData=True)
    assert {event.t_ns for event in events.values()} == {99}
    assert table.get(OTHER).quality == 0
    assert table.invalidate("F1Q1", 100) == []
    assert table.invalidate("nobody", 100) == []
    # It comes back with the same value: that it is good again is an event.
    assert table.update(POS, PointValue(2, 0, 120, 0, 121)).quality == 0


def test_substitution_hides_the_process_until_it_is_taken_back():
    table = make()
    table.update(POS, PointValue(2, 0, 10, 0, 11))
    event = table.substitute(POS, 1, "lis", 50)
    assert (event.value, event.t_ns) == (1, 50)
    assert quality(event) == Quality(substituted=True)
    assert table.update(POS, PointValue(0, 0, 60, 0, 61)) is None
    assert table.get(POS).value == 1
    assert table.process_value(POS).value == 0
    assert table.substituted()[POS].owner == "lis"
    assert table.substitute(POS, 1, "mia", 70) is None  # the same is shown already
    assert table.substituted()[POS].owner == "mia"
    event = table.unsubstitute(POS, 80)
    assert (event.value, event.t_ns, event.quality) == (0, 80, 0)
    assert table.unsubstitute(POS, 90) is None
    assert table.substituted() == {}


def test_a_point_without_a_value_of_its_own_is_invalid_after_a_substitution():
    table = make()
    table.substitute(POS, 1, "lis", 50)
    assert quality(table.unsubstitute(POS, 60)) == INVALID


def test_a_blocked_point_shows_the_last_value_before():
    table = make()
    table.update(POS, PointValue(2, 0, 10, 0, 11))
    event = table.block(POS, "lis", 50)
    assert event.value == 2
    assert quality(event) == Quality(Validity.QUESTIONABLE, oldData=True, operatorBlocked=True)
    assert table.update(POS, PointValue(1, 0, 60, 0, 61)) is None
    assert table.invalidate("F1Q1", 65) == []
    assert table.get(POS).value == 2
    assert table.blocked() == {POS: "lis"}
    assert table.block(POS, "mia", 70) is None
    event = table.unblock(POS, 80)
    assert event.value == 1
    assert quality(event) == Quality(Validity.QUESTIONABLE, oldData=True)  # lost meanwhile
    assert table.unblock(POS, 90) is None


def test_a_substituted_value_shows_on_a_blocked_point_with_both_marks():
    table = make()
    table.update(POS, PointValue(2))
    table.block(POS, "lis", 50)
    event = table.substitute(POS, 1, "lis", 60)
    assert event.value == 1
    assert quality(event).substituted
    assert quality(event).operatorBlocked
    table.update(POS, PointValue(0))
    assert table.unsubstitute(POS, 70).value == 2
    assert table.unblock(POS, 80).value == 0


def test_a_point_blocked_before_its_first_value_shows_none():
    table = make()
    assert table.block(POS, "lis", 1) is None
    assert table.update(POS, PointValue(2)) is None
    assert table.get(POS) is None
    assert table.unblock(POS, 2).value == 2


def test_the_feed_gives_every_change_once_from_where_one_looked_last():
    table = make()
    table.update(POS, PointValue(1))
    table.update(POS, PointValue(2))
    table.update(POS, PointValue(2))
    changes, missed, place = table.changes_since(0)
    assert [change.point.value for change in changes] == [1, 2]
    assert (missed, place) == (0, 2)
    assert table.changes_since(place).changes == []
    table.update(OTHER, PointValue(1))
    assert [change.name for change in table.changes_since(place).changes] == [OTHER]
    assert [change.sequence for change in table.changes_since(0, limit=2).changes] == [1, 2]
    assert table.changes_since(0, limit=2).sequence == 2


def test_the_feed_is_bounded_and_says_what_was_missed():
    table = make(most_changes=3)
    for number in range(10):
        table.update(POS, PointValue(number % 2 + 1))
    changes, missed, place = table.changes_since(2)
    assert [change.sequence for change in changes] == [8, 9, 10]
    assert missed == 5
    assert place == table.sequence == 10
    # A looker that outlived the table starts from its end.
    assert table.changes_since(99) == ([], 0, 10)
