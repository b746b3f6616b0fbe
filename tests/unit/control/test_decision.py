"""Whether a switch may be operated: each condition alone forbids the close; opening is the safe direction."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product

import pytest

from ied_agents.control.decision import (
    HOT_LINE_TAG,
    WORK_TAG,
    Authority,
    Behaviour,
    Origin,
    Reason,
    SwitchCondition,
    refuse_close,
    refuse_open,
    refuse_origin,
)
from scl import agent_model

CLOSABLE = SwitchCondition(
    known_open=True,
    known_closed=False,
    close_outstanding=False,
    locked=False,
    proven=True,
    behaviour=Behaviour.ON,
    tags=0,
)
# what is wrong, and the reason given
FORBIDS = [
    ({"locked": True}, Reason.LOCKED),
    ({"tags": WORK_TAG}, Reason.TAGGED),
    ({"tags": HOT_LINE_TAG}, Reason.TAGGED),
    ({"tags": 0x80}, Reason.TAGGED),
    ({"local": True}, Reason.LOCAL),
    ({"behaviour": Behaviour.BLOCKED}, Reason.MODE),
    ({"behaviour": Behaviour.TEST}, Reason.MODE),
    ({"behaviour": Behaviour.TEST_BLOCKED}, Reason.MODE),
    ({"behaviour": Behaviour.OFF}, Reason.MODE),
    ({"proven": False}, Reason.NOT_READY),
    ({"close_outstanding": True}, Reason.NOT_READY),
    ({"known_open": False}, Reason.NOT_READY),
    ({"known_open": False, "known_closed": True}, Reason.NOT_READY),
]


def test_a_switch_with_nothing_against_it_may_close():
    assert refuse_close(CLOSABLE, Reason.NONE) is Reason.NONE


@pytest.mark.parametrize(("wrong", "reason"), FORBIDS)
def test_each_condition_alone_forbids_the_close(wrong, reason):
    assert refuse_close(replace(CLOSABLE, **wrong), Reason.NONE) is reason


@pytest.mark.parametrize("interlock", [reason for reason in Reason if reason is not Reason.NONE])
def test_the_networks_reason_forbids_the_close_and_is_given(interlock):
    assert refuse_close(CLOSABLE, interlock) is interlock


def test_only_one_combination_of_all_conditions_permits_the_close():
    flags = [field.name for field in fields(SwitchCondition) if field.name not in ("behaviour", "tags")]
    permitted = [
        condition
        for values in product((False, True), repeat=len(flags))
        for behaviour in Behaviour
        for tags in (0, WORK_TAG, HOT_LINE_TAG)
        for condition in [SwitchCondition(**dict(zip(flags, values, strict=True)), behaviour=behaviour, tags=tags)]
        if not condition.known_closed and refuse_close(condition, Reason.NONE) is Reason.NONE
    ]
    assert permitted == [CLOSABLE]


@pytest.mark.parametrize("wrong", [wrong for wrong, _ in FORBIDS if "behaviour" not in wrong])
def test_locks_tags_and_doubts_do_not_stop_an_opening(wrong):
    assert refuse_open(replace(CLOSABLE, **wrong), 100.0, 630.0) is Reason.NONE


@pytest.mark.parametrize("behaviour", [b for b in Behaviour if b is not Behaviour.ON])
def test_a_switch_that_is_not_on_is_not_opened(behaviour):
    assert refuse_open(replace(CLOSABLE, behaviour=behaviour), 0.0, 630.0) is Reason.MODE


@pytest.mark.parametrize(("current_a", "refused"), [(0.0, False), (630.0, False), (630.1, True), (16_000.0, True)])
def test_an_opening_needs_a_current_that_the_apparatus_can_break(current_a, refused):
    expected = Reason.DID_NOT_OPEN if refused else Reason.NONE
    assert refuse_open(CLOSABLE, current_a, 630.0) is expected


ORIGINS = {
    Authority.LOCAL: {Origin.BAY, Origin.AUTOMATIC_BAY},
    Authority.STATION: {Origin.STATION, Origin.AUTOMATIC_BAY},
    Authority.REMOTE: {Origin.REMOTE, Origin.AUTOMATIC_BAY},
}


@pytest.mark.parametrize("authority", Authority)
def test_one_authority_at_a_time_may_operate_and_automatics_ask_in_nobodys_name(authority):
    permitted = {origin for origin in Origin if refuse_origin(authority, origin) is Reason.NONE}
    assert permitted == ORIGINS[authority]
    assert {refuse_origin(authority, origin) for origin in Origin} == {Reason.NONE, Reason.LOCAL}


def test_reasons_and_behaviours_are_numbered_as_on_the_wire():
    texts = {
        Reason.NONE: "none",
        Reason.NO_SUPPLY: "no supply left",
        Reason.NO_CAPACITY: "not enough capacity",
        Reason.PEER_SILENT: "peer silent",
        Reason.ISOLATION_NOT_CONFIRMED: "isolation not confirmed",
        Reason.SECTION_SUSPECT: "section suspect",
        Reason.LOCKED: "locked",
        Reason.TAGGED: "tagged",
        Reason.NOT_READY: "not ready",
        Reason.MODE: "blocked by mode",
        Reason.SUPPLY_NOT_LIVE: "supply not live",
        Reason.ISLAND_NOT_DEAD: "island not dead",
        Reason.DID_NOT_CLOSE: "did not close",
        Reason.DID_NOT_OPEN: "did not open",
        Reason.BEYOND_RELEASE: "beyond this release",
        Reason.OVERTAKEN: "overtaken",
        Reason.BOTH_SIDES_LIVE: "both sides live",
        Reason.HELD: "held open",
        Reason.LOCAL: "local control",
        Reason.LOAD_UNKNOWN: "load not known",
        Reason.SPENT: "attempt spent",
    }
    assert tuple(texts[Reason(number)] for number in range(len(Reason))) == agent_model.REASON
    names = ("", *(b.name.lower().replace("_", "/") for b in Behaviour))
    assert names == agent_model.BEHAVIOUR  # IEC 61850-7-4: 1 on, 2 blocked, 3 test, 4 test/blocked, 5 off
