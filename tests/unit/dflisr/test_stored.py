"""The durable record: its JSON form, its refusals, and what a new process makes of it."""

from __future__ import annotations

import copy
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ied_agents.dflisr.capacity import Entry
from ied_agents.dflisr.records import Bound, ClaimId, EventId, Reservation, SectionState
from ied_agents.dflisr.stored import (
    COMMISSIONED,
    EVENT_BLOCK,
    Record,
    StoredRecordError,
    StoredSide,
    from_json,
    to_json,
)

numbers = st.integers(0, 0xFFFFFFFF)
events = st.builds(EventId, st.integers(0, 0xFFFF), numbers)
claims = st.builds(ClaimId, st.integers(0, 255), numbers, st.integers(0, 0xFFFF))
sides = st.builds(StoredSide, st.sampled_from(SectionState), events, st.booleans(), events)
bounds = st.builds(Bound, st.integers(1, 0x7FFF), st.integers(0, 1))
entries = st.builds(
    Entry,
    st.builds(Reservation, claims, st.integers(1, 0xFFFF), numbers),
    st.lists(bounds, max_size=12).map(tuple),
)
records = st.builds(
    Record,
    incarnation=numbers,
    events_reserved=numbers,
    claim_number=numbers,
    sides=st.tuples(sides, sides),
    cleared=st.lists(events, max_size=4).map(tuple),
    promises=st.tuples(claims, claims),
    claims=st.tuples(claims, claims),
    reservations=st.lists(entries, max_size=4).map(tuple),
    held=st.booleans(),
    tags=st.integers(0, 3),
    clean=st.booleans(),
)

FULL = Record(
    incarnation=5,
    events_reserved=64,
    claim_number=7,
    sides=(StoredSide(SectionState.FAULTED, EventId(2, 65), True, EventId(2, 65)), StoredSide()),
    cleared=(EventId(1, 1),),
    promises=(ClaimId(0, 7, 3), ClaimId(0, 0, 0)),
    claims=(ClaimId(0, 6, 2), ClaimId(0, 0, 0)),
    reservations=(Entry(Reservation(ClaimId(0, 7, 3), 9, 400), (Bound(9, 0), Bound(10, 0))),),
    held=False,
    tags=1,
    clean=True,
)


@given(records)
def test_a_record_comes_back_from_its_json_text(record):
    back = from_json(json.loads(json.dumps(to_json(record))))
    assert back == record
    assert repr(back) == repr(record)  # types too: an enumeration stays one, True is no 1


def paths(value, path=()):
    """Every place in a JSON document that a member name or an index leads to."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def changed(path, change):
    document = copy.deepcopy(to_json(FULL))
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return document


def member(path):
    """The member that an error about ``path`` must name: the last name on the way, not an index."""
    return [key for key in path if isinstance(key, str)][-1]


ALL = list(paths(to_json(FULL)))
NAMED = [path for path in ALL if isinstance(path[-1], str)]


@pytest.mark.parametrize("path", NAMED, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_member_is_refused_by_name(path):
    document = changed(path, lambda parent, key: parent.pop(key))
    with pytest.raises(StoredRecordError, match=member(path)):
        from_json(document)


WRONG = ("text", None, {"a": 1}, [[]], 1.5, -1, 2**32)
# value by path where the form is right and the value is not
IMPOSSIBLE = (
    (("sides", 0, "section"), 3),
    (("sides", 0, "event"), [1]),
    (("sides", 0, "event"), [1, 2, 3]),
    (("sides",), []),
    (("promises",), [[0, 0, 0]]),
    (("promises", 0), [0, 0]),
    (("claims", 1), [0, 0, 0, 0]),
    (("cleared",), [[1]]),
    (("reservations", 0, "boundary"), [[9]]),
    (("tags",), 256),
)
BROKEN = [(path, wrong) for path in ALL for wrong in WRONG] + list(IMPOSSIBLE)


def broken_under(top):
    for path, wrong in BROKEN:
        if path[0] == top:
            yield path, wrong, changed(path, lambda parent, key, wrong=wrong: parent.__setitem__(key, wrong))


@pytest.mark.parametrize("top", list(to_json(FULL)))
def test_every_wrong_value_is_refused(top):
    accepted = []
    for path, wrong, document in broken_under(top):
        try:
            from_json(document)
        except StoredRecordError:
            continue
        accepted.append((path, wrong))
    assert accepted == []


@pytest.mark.parametrize("top", list(to_json(FULL)))
def test_a_refusal_names_the_member(top):
    unnamed = []
    for path, _, document in broken_under(top):
        try:
            from_json(document)
        except StoredRecordError as error:
            if member(path) not in str(error):
                unnamed.append((path, str(error)))
    assert unnamed == []


@pytest.mark.parametrize("document", [[], None, 3, "text", {}])
def test_what_is_no_record_at_all_is_refused(document):
    with pytest.raises(StoredRecordError):
        from_json(document)


# -- a new process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "clock_s", "incarnation"),
    [
        (0, 1_700_000_000, 1_700_000_000),
        (1_700_000_000, 1_700_000_600, 1_700_000_600),
        (1_700_000_000, 1_700_000_001, 1_700_000_001),
        (1_700_000_000, 1_700_000_000, 1_700_000_001),  # restarted within the same second
        (1_700_000_000, 1_600_000_000, 1_700_000_001),  # the clock went back
        (5, 0, 6),  # no clock at all
    ],
)
def test_an_incarnation_is_the_larger_of_last_plus_one_and_the_clock(last, clock_s, incarnation):
    assert Record(incarnation=last).started(clock_s).incarnation == incarnation


@given(records, st.lists(st.integers(0, 2_000_000_000), min_size=1, max_size=5))
def test_incarnations_only_rise_whatever_the_clock_does(record, clocks):
    seen = [record.incarnation]
    for clock_s in clocks:
        record = record.started(clock_s)
        seen.append(record.incarnation)
    assert seen == sorted(set(seen))


def test_a_start_takes_a_fresh_block_of_event_counters_and_removes_the_clean_mark():
    first = FULL.started(0)
    assert first.events_reserved == FULL.events_reserved + EVENT_BLOCK
    assert not first.clean
    assert first.started(0).events_reserved == FULL.events_reserved + 2 * EVENT_BLOCK


def test_event_counters_follow_the_clock_so_that_a_replaced_disk_repeats_none():
    used = Record().started(1_700_000_000).events_reserved
    assert used == 1_700_000_000 + EVENT_BLOCK
    assert Record().started(1_700_000_000 + 2 * EVENT_BLOCK).events_reserved - EVENT_BLOCK >= used


@pytest.mark.parametrize("clock_s", [0xF000_0001, 2**32, 2**62])
def test_a_clock_gone_wild_leaves_room_in_32_bits(clock_s):
    started = Record().started(clock_s)
    for _ in range(1000):
        started = started.started(clock_s)
    assert 0xF000_0000 <= started.incarnation < 2**32
    assert started.events_reserved < 2**32


def test_a_start_forgets_nothing_else():
    started = to_json(FULL.started(100))
    kept = {k: v for k, v in to_json(FULL).items() if k not in ("incarnation", "events_reserved", "clean")}
    assert {k: started[k] for k in kept} == kept


def test_an_agent_without_a_state_file_is_held_and_an_operator_takes_it_into_service():
    assert Record().held
    assert not Record().clean
    assert not COMMISSIONED.held
    assert COMMISSIONED.clean
