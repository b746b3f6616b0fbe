"""The durable record: its JSON form, its refusals, and what a new process makes of it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ied_agents.control.decision import Authority, Behaviour
from ied_agents.dflisr.capacity import Entry
from ied_agents.dflisr.records import ClaimId, EventId, Reservation, SectionState
from ied_agents.dflisr.stored import (
    COMMISSIONED,
    EVENT_BLOCK,
    Record,
    StoredRecordError,
    StoredSide,
    from_json,
    to_json,
)
from scl.agent_model import RESERVATIONS

numbers = st.integers(0, 0xFFFFFFFF)
events = st.builds(EventId, st.integers(0, 0xFFFF), numbers)
claims = st.builds(ClaimId, st.integers(0, 255), numbers, st.integers(0, 0xFFFF))
sides = st.builds(StoredSide, st.sampled_from(SectionState), events, st.booleans(), events)
entries = st.builds(
    Entry,
    st.builds(Reservation, claims, st.integers(1, 0xFFFF), numbers, st.booleans()),
    events,
    st.integers(0, 1),
    st.lists(st.integers(1, 0x7FFF), max_size=10).map(tuple),
)
tags = st.lists(st.tuples(st.text(min_size=1, max_size=20), st.integers(1, 3)), max_size=16).map(tuple)
records = st.builds(
    Record,
    incarnation=numbers,
    events_reserved=numbers,
    claim_number=numbers,
    sides=st.tuples(sides, sides),
    cleared=st.lists(events, max_size=4).map(tuple),
    promises=st.tuples(claims, claims),
    claims=st.tuples(claims, claims),
    reservations=st.lists(entries, max_size=RESERVATIONS).map(tuple),
    held=st.booleans(),
    hold_claim=claims,
    hold_event=events,
    returning=events,
    island_loads=st.tuples(numbers, numbers),
    shot_for=st.tuples(st.booleans(), st.booleans()),
    behaviour=st.sampled_from(Behaviour),
    simulation=st.booleans(),
    authority=st.sampled_from(Authority),
    tags=tags,
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
    reservations=(Entry(Reservation(ClaimId(0, 7, 3), 9, 400, whole=False), EventId(2, 65), 1, (7, 5)),),
    held=False,
    hold_claim=ClaimId(0, 8, 2),
    hold_event=EventId(2, 66),
    returning=EventId(2, 64),
    island_loads=(1200, 35),
    shot_for=(False, True),
    behaviour=Behaviour.BLOCKED,
    simulation=True,
    authority=Authority.REMOTE,
    tags=(("crew 7", 1), ("dispatcher", 2)),
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
# What has no version is read as a record of the first one, see below.
NAMED = [path for path in ALL if isinstance(path[-1], str) and path != ("version",)]


@pytest.mark.parametrize("path", NAMED, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_member_is_refused_by_name(path):
    document = changed(path, lambda parent, key: parent.pop(key))
    with pytest.raises(StoredRecordError, match=member(path)):
        from_json(document)


WRONG = ("text", None, {"a": 1}, [[]], 1.5, -1, 2**32)
# value by path where the form is right and the value is not
IMPOSSIBLE = (
    (("sides", 0, "section"), 4),
    (("sides", 0, "event"), [1]),
    (("sides", 0, "event"), [1, 2, 3]),
    (("sides",), []),
    (("promises",), [[0, 0, 0]]),
    (("promises", 0), [0, 0]),
    (("claims", 1), [0, 0, 0, 0]),
    (("cleared",), [[1]]),
    (("reservations", 0, "side"), 2),
    (("tags",), 256),
    (("tags", 0, "tags"), 0),
    (("tags", 0, "tags"), 4),
    (("behaviour",), 0),
    (("behaviour",), 6),
    (("authority",), 0),
    (("authority",), 4),
    (("island_loads",), [1]),
    (("hold_claim",), [0, 0]),
    (("returning",), [1, 2, 3]),
    (("reservations",), [to_json(FULL)["reservations"][0]] * (RESERVATIONS + 1)),
)
ANY_TEXT = {("tags", 0, "owner"), ("tags", 1, "owner")}
ANY_NUMBER = {("reservations", 0, "path", 0), ("reservations", 0, "path", 1)}
BROKEN = [
    (path, wrong)
    for path in ALL
    for wrong in WRONG
    if not (path in ANY_TEXT and isinstance(wrong, str)) and not (path in ANY_NUMBER and isinstance(wrong, int))
] + list(IMPOSSIBLE)


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


# -- versions ------------------------------------------------------------------------------------------------

# Written by the release before records had a version; only what follows from its program is in it.
FIRST_VERSION = {
    "incarnation": 5,
    "events_reserved": 64,
    "claim_number": 7,
    "sides": [
        {"section": 1, "event": [2, 65], "locked": True, "clear_event": [2, 65]},
        {"section": 0, "event": [0, 0], "locked": False, "clear_event": [0, 0]},
    ],
    "cleared": [[1, 1]],
    "promises": [[0, 7, 3], [0, 0, 0]],
    "claims": [[0, 6, 2], [0, 0, 0]],
    "reservations": [
        {"claim": [0, 7, 3], "tie": 9, "deciamperes": 400, "boundary": [[9, 0], [10, 1]]},
        {"claim": [0, 7, 3], "tie": 10, "deciamperes": 50, "boundary": [[9, 0], [10, 1]]},
    ],
    "held": False,
    "tags": 3,
    "clean": True,
}


def test_a_record_of_the_first_version_keeps_all_that_stood_in_it():
    assert from_json(FIRST_VERSION) == Record(
        incarnation=5,
        events_reserved=64,
        claim_number=7,
        sides=(StoredSide(SectionState.FAULTED, EventId(2, 65), True, EventId(2, 65)), StoredSide()),
        cleared=(EventId(1, 1),),
        promises=(ClaimId(0, 7, 3), ClaimId(0, 0, 0)),
        claims=(ClaimId(0, 6, 2), ClaimId(0, 0, 0)),
        reservations=(
            Entry(Reservation(ClaimId(0, 7, 3), 9, 400, whole=True), EventId(0, 0), 0, ()),
            Entry(Reservation(ClaimId(0, 7, 3), 10, 50, whole=True), EventId(0, 0), 1, ()),
        ),
        held=False,
        tags=(("operator", 3),),
        clean=True,
    )


@pytest.mark.parametrize(("tags", "owners"), [(0, ()), (1, (("operator", 1),)), (2, (("operator", 2),))])
def test_tags_of_the_first_version_belong_to_its_one_operator(tags, owners):
    record = from_json(FIRST_VERSION | {"tags": tags})
    assert record.tags == owners
    assert record.all_tags == tags


@pytest.mark.parametrize("path", list(FIRST_VERSION))
def test_a_member_missing_from_the_first_version_is_refused_by_name(path):
    with pytest.raises(StoredRecordError, match=path):
        from_json({name: value for name, value in FIRST_VERSION.items() if name != path})


@pytest.mark.parametrize(("member", "wrong"), [
    ("tags", 4), ("tags", "many"), ("tags", -1), ("reservations", [5]), ("reservations", 5), ("sides", None),
])  # fmt: skip
def test_a_wrong_value_in_the_first_version_is_refused_by_name(member, wrong):
    with pytest.raises(StoredRecordError, match=member):
        from_json(FIRST_VERSION | {member: wrong})


def test_a_record_of_the_second_version_keeps_all_that_stood_in_it():
    written = {name: value for name, value in to_json(FULL).items() if name not in ("shot_for", "simulation")}
    assert from_json(written | {"version": 2}) == replace(FULL, shot_for=(False, False), simulation=False)


def test_a_record_of_the_third_version_keeps_all_that_stood_in_it():
    written = {name: value for name, value in to_json(FULL).items() if name != "simulation"} | {"version": 3}
    assert from_json(written) == replace(FULL, simulation=False)


def test_a_record_written_by_a_newer_program_is_refused_with_both_versions():
    with pytest.raises(StoredRecordError, match=r"version: 5.*newer program.*up to 4"):
        from_json(to_json(FULL) | {"version": 5, "more": "members that nobody knows"})


@pytest.mark.parametrize("version", [0, 1, -1, "2", None, 2.5])
def test_a_version_that_never_was_is_refused(version):
    with pytest.raises(StoredRecordError, match="version"):
        from_json(to_json(FULL) | {"version": version})


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 3)), max_size=4))
def test_the_tags_of_a_switch_are_those_of_all_owners_together(given_tags):
    assert Record(tags=tuple(given_tags)).all_tags == sum({1, 2} & {b for _, t in given_tags for b in (t & 1, t & 2)})


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
