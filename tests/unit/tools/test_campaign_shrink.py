"""A failing scenario is made as small as its failure allows."""

from __future__ import annotations

from dataclasses import replace

from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.memory_link import Disturbance
from tools.campaign.judge import Violation
from tools.campaign.occurrences import Crash, Fault
from tools.campaign.plans import plan
from tools.campaign.scenario import Verdict
from tools.campaign.shrink import shrink


class Runner:
    """Stands in for the run: says that a scenario fails as long as ``needs`` finds in it what the failure needs."""

    def __init__(self, needs, invariant="I1"):
        self.needs, self.invariant, self.runs = needs, invariant, 0

    def __call__(self, scenario):
        self.runs += 1
        broken = (Violation(self.invariant, 1.0, "made up"),) if self.needs(scenario) else ()
        return Verdict("made up", 0, False, broken, 0.0, 0.0, 0, 1.0)


def hostile(*kinds):
    """The first scenario of a kind that has occurrences of all these kinds."""
    return next(
        scenario
        for scenario in (plan(1, number) for number in range(3, 3000))
        if {kind for kind in kinds if any(isinstance(o.action, kind) for o in scenario.occurrences)} == set(kinds)
        and len(scenario.system.agents) > 15
    )


def test_only_what_the_failure_needs_is_left():
    scenario = hostile(Fault, Crash)
    section = next(o.action.section for o in scenario.occurrences if isinstance(o.action, Fault))
    scenario = replace(
        scenario,
        real_frames=True,
        disk_s=(0.001, 0.06),
        disturbance=Disturbance(loss=0.5, duplicate=0.1, max_delay_s=0.05),
        plant=PlantSettings(fail_to_open=frozenset({1, 2}), slowness={3: 2.0}),
    )

    def needs(candidate):
        there = any(s.index == section for s in candidate.system.plant.sections)
        return there and any(isinstance(o.action, Fault) and o.action.section == section for o in candidate.occurrences)

    runner = Runner(needs)
    small = shrink(scenario, {"I1"}, run=runner)
    assert [type(o.action) for o in small.occurrences] == [Fault]
    assert len(small.system.agents) <= 2
    assert section in {s.index for s in small.system.plant.sections}
    assert small.plant == PlantSettings()
    assert small.disturbance.loss == small.disturbance.duplicate == 0
    assert not small.real_frames
    assert small.disk_s < (0.001, 0.06)


def test_another_failure_is_not_taken_for_the_same():
    scenario = hostile(Fault)
    assert shrink(scenario, {"I2"}, run=Runner(lambda _: True, "I1")) == scenario


def test_effort_is_bounded():
    runner = Runner(lambda _: False)
    scenario = hostile(Fault, Crash)
    shrink(replace(scenario, occurrences=scenario.occurrences * 9), {"I1"}, runs=17, run=runner)
    assert runner.runs == 17
