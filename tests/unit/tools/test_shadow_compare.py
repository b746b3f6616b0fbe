"""What counts as a decision, and what as a difference between a set of agents and its shadow."""

import pytest

from ied_agents.control.decision import Reason
from ied_agents.dflisr.records import EventId, Progress, Stage
from tools.campaign.world import StoryLine
from tools.shadow.compare import Decision, Difference, compare, decisions

EVENT = EventId(2, 65)


def made(*what, who="IED3", t=1.0):
    return [Decision(t + i, who, kind, "") for i, kind in enumerate(what)]


@pytest.mark.parametrize("what", ["open", "close", "reclose"])
def test_an_order_withheld_in_shadow_is_the_live_agents_order(what):
    live = StoryLine(1.0, "IED3", f"{what} ordered", {"event": EVENT})
    shadow = StoryLine(1.0, "IED3", f"would {what}", {"event": EVENT, "mode": "SHADOW"})
    assert (
        list(decisions([live]))
        == list(decisions([shadow]))
        == [Decision(1.0, "IED3", f"{what} ordered", "event (2 65)")]
    )


def test_what_a_mode_forbids_is_no_order():
    blocked = StoryLine(1.0, "IED3", "would open", {"event": EVENT, "mode": "BLOCKED"})
    assert [decision.what for decision in decisions([blocked])] == ["would open"]


def test_what_is_only_seen_is_no_decision():
    seen = [StoryLine(1.0, "IED3", what, {}) for what in ("picked up", "position", "lock durable", "started")]
    assert list(decisions(seen)) == []


def test_a_stop_is_a_decision_and_other_progress_is_none():
    def says(stage):
        return StoryLine(1.0, "IED3", "says", {"progress": Progress(stage, Reason.NO_CAPACITY, EVENT)})

    lines = [says(Stage.ISOLATING), says(Stage.STOPPED), StoryLine(1.0, "IED3", "says", {"tags": 1})]
    assert list(decisions(lines)) == [Decision(1.0, "IED3", "stopped", "(NO_CAPACITY (2 65))")]


def test_the_same_decisions_at_other_times_are_alike():
    found = compare("x", made("locked", "claimed"), made("locked", "claimed", t=1.5))
    assert found.differences == []
    assert [(one.what, other.t - one.t) for one, other in found.alike] == [("locked", 0.5), ("claimed", 0.5)]


@pytest.mark.parametrize(
    ("live", "shadow", "told"),
    [
        (["locked", "claimed"], ["locked"], (2.0, ("claimed",), ())),
        (["locked"], ["locked", "claimed"], (2.0, (), ("claimed",))),
        (["locked", "claimed"], ["locked", "widened"], (2.0, ("claimed",), ("widened",))),
    ],
    ids=["missing", "too many", "another"],
)
def test_a_difference_is_told_with_time_switch_and_both_sides(live, shadow, told):
    t, ours, theirs = told
    assert compare("a fault", made(*live), made(*shadow)).differences == [
        Difference(t, "a fault", "IED3", ours, theirs)
    ]


def test_order_counts_at_one_switch_and_not_between_switches():
    assert compare("x", made("locked", "claimed"), made("claimed", "locked")).differences
    one, other = made("locked"), made("claimed", who="IED4")
    assert compare("x", one + other, other + one).differences == []


def test_what_a_decision_is_about_counts():
    other = [Decision(1.0, "IED3", "claimed", "claim (0 2 3)")]
    assert compare("x", [other[0]._replace(about="claim (0 1 3)")], other).differences
