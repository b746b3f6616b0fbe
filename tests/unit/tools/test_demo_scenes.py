"""The demo's scenes in memory, and the judge that says whether one ended as it must."""

import importlib.resources
from dataclasses import replace

import pytest

from gateway.site import read_site
from tools.demo.play import play_in_memory
from tools.demo.scenes import SCRIPTED, permanent, scripted
from tools.demo.verdict import failures


@pytest.fixture(scope="module")
def site():
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        yield read_site(samples / "two_source.toml")


@pytest.fixture(scope="module")
def stuck(site, tmp_path_factory):
    return play_in_memory(scripted("stuck", site), tmp_path_factory.mktemp("stuck"))


@pytest.mark.parametrize("name", SCRIPTED)
def test_every_scene_ends_as_it_must(site, tmp_path, name):
    record = play_in_memory(scripted(name, site, seed=5), tmp_path)
    assert record.failures == []
    assert record.served_after_a == record.load_a - sum(s.load_a for s in record.after.sections if not s.energised)


def test_a_scene_changes_what_agents_are_told_and_not_the_sample(site):
    scene = scripted("split", site)
    ratings = {a.config.feeder.by_number[9].rating_a for a in scene.site.agents.values()}
    assert ratings == {70.0}
    assert {a.config.feeder.by_number[9].rating_a for a in site.agents.values()} == {400.0}


def test_a_widened_section_is_told_apart_from_the_faulted_one(stuck):
    assert (stuck.outcome.declared, stuck.outcome.widened) == (("F1/S2",), ("F1/S3",))
    assert any(row.what == "widened" for row in stuck.rows)
    assert any(row.what == "switch is stuck" and row.detail == "R3 does not open" for row in stuck.rows)


def test_the_timeline_tells_a_shot_a_hold_and_a_return(site, tmp_path):
    told = {
        (name, row.what)
        for name in ("transient", "split", "return")
        for row in play_in_memory(scripted(name, site), tmp_path / name).rows
    }
    assert {
        ("transient", "will reclose"),
        ("transient", "fault is gone"),
        ("split", "holds open"),
        ("return", "returns to normal"),
        ("return", "unlocked"),
    } <= told


def test_times_are_given_for_one_event_only(site, stuck, tmp_path):
    # The widening comes 0.3 s later; the first figure is about the switches around the fault.
    assert stuck.outcome.pickup_to_last_lock_ms < 50
    second = play_in_memory(scripted("second-fault", site), tmp_path)
    assert second.outcome.pickup_to_last_lock_ms is None
    assert second.outcome.last_position_to_grants_ms is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"declared": frozenset()}, "declared faulted: F1/S2; expected: none"),
        ({"widened": frozenset()}, "widened: F1/S3; expected: none"),
        ({"locked": frozenset({"L2"})}, "locked: L2, L4, R3, T10; expected: L2"),
        ({"held": frozenset({"L4"})}, "held open: none; expected: L4"),
        ({"opened": frozenset({"L2"})}, "open: L2, L4, T10; expected: L2"),
        ({"dark": frozenset()}, "dark: F1/S2, F1/S3; expected: none"),
    ],
)
def test_whatever_ends_otherwise_is_said(site, stuck, change, complaint):
    expected = scripted("stuck", site).expected
    assert failures(stuck, expected) == []
    assert failures(stuck, replace(expected, **change)) == [complaint]


def test_safety_is_judged_whatever_is_expected(site, stuck):
    for expected in (None, scripted("stuck", site).expected):
        twice = replace(stuck, fault_currents={"F1/S2": 2})
        assert "fault current flowed into it 2 times" in failures(twice, expected)[0]
        assert "two supplies were connected" in failures(replace(stuck, paralleled=1), expected)[0]


def test_who_is_not_healed_must_hear_why(site, tmp_path):
    killed = play_in_memory(permanent(site, _section(site, "F1/S2"), kill=3), tmp_path)
    assert not killed.healed
    assert killed.failures == []
    mute = replace(killed, outcome=replace(killed.outcome, stopped=(), suspect=()))
    assert failures(mute, None) == ["not all is healed, and no agent says why"]


def test_what_is_left_dark_although_it_could_be_served_is_said(site, tmp_path):
    scene = permanent(site, _section(site, "F1/S2"))
    record = play_in_memory(scene, tmp_path)
    assert record.failures == []
    assert failures(replace(record, missed=["an island"]), scene.expected) == ["left dark: an island"]


def _section(site, name):
    return next(s.index for s in site.network.sections if s.name == name)
