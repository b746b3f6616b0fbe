"""What a campaign consists of: everything that can happen does, in a fixed share, and the seed decides."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from tools.campaign.feeders import random_system
from tools.campaign.occurrences import Action, ByHand, Crash, Fault, Network, Repair, Return, Supply
from tools.campaign.plans import STEPS, plan


@pytest.fixture(scope="module")
def scenarios():
    return [plan(7, number) for number in range(600)]


def test_the_seed_and_the_number_decide():
    assert plan(3, 8) == plan(3, 8)
    assert plan(3, 8) != plan(3, 9)
    assert plan(3, 8) != plan(4, 8)


def test_everything_that_can_happen_does(scenarios):
    happening = [o for scenario in scenarios for o in scenario.occurrences]
    assert {type(o.action) for o in happening} == set(get_args(Action))
    assert {o.after for o in happening} == {"", *STEPS}
    assert any(isinstance(o.action, Fault) and o.action.clears_after_dead_s is not None for o in happening)
    assert {o.action.point for o in happening if isinstance(o.action, Crash)} >= {None, 0, 1, 2, 3}
    disturbances = [o.action.disturbance for o in happening if isinstance(o.action, Network)]
    assert max(d.loss for d in disturbances) > 0.5
    assert max(d.max_delay_s for d in disturbances) == 0.05
    for name in ("duplicate", "replay", "burst_share"):
        assert any(getattr(d, name) for d in disturbances), name
    plants = [scenario.plant for scenario in scenarios]
    for name in (
        "fail_to_open",
        "fail_to_close",
        "slowness",
        "untrusted_direction",
        "position_late_s",
        "voltage_stuck",
    ):
        assert any(getattr(plant, name) for plant in plants), name


def test_shares(scenarios):
    assert sum(scenario.alive for scenario in scenarios) == 360
    assert sum(scenario.real_frames for scenario in scenarios) >= 0.04 * 600
    # A fifth and more, see random_size; of 600 a few fewer by chance.
    assert sum(len(scenario.system.agents) > 30 for scenario in scenarios) >= 0.17 * 600
    faults = [sum(isinstance(o.action, Fault) for o in s.occurrences) for s in scenarios]
    assert {0, 1, 2, 3} <= set(faults)


def test_in_what_is_judged_for_service_everybody_is_sound(scenarios):
    for scenario in scenarios:
        if scenario.alive:
            assert {type(o.action) for o in scenario.occurrences} <= {Fault, Network, Repair, Return, Supply}
            assert scenario.plant.fail_to_close == frozenset()
            for occurrence in scenario.occurrences:
                if isinstance(occurrence.action, Network):
                    assert occurrence.action.disturbance.loss <= 0.2
                    assert occurrence.action.parts == occurrence.action.deaf == ()


def test_occurrences_name_what_is_there(scenarios):
    for scenario in scenarios:
        sections = {s.index for s in scenario.system.plant.sections}
        for occurrence in scenario.occurrences:
            section = getattr(occurrence.action, "section", None)
            switch = getattr(occurrence.action, "switch", None)
            assert section is None or section in sections
            assert switch is None or switch in scenario.system.agents or (switch == 0 and occurrence.after)
            assert not (isinstance(occurrence.action, ByHand) and switch == 0)


def test_on_a_given_network_every_section_gets_its_fault():
    base = random_system(random.Random(1), 12)
    inner = {s.index for s in base.plant.sections if not s.is_source}
    firsts = {}
    for number in range(5 * len(inner)):
        scenario = plan(1, number, base)
        assert scenario.system is base
        for occurrence in scenario.occurrences:
            if isinstance(occurrence.action, Fault):
                firsts.setdefault(occurrence.action.section, set()).add(scenario.alive)
    assert firsts.keys() == inner
    assert all(alive == {True, False} for alive in firsts.values())
