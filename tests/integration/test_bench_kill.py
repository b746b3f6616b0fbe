"""``flisr bench kill``: its judge on made-up evidence, and one moment with real processes."""

from __future__ import annotations

import importlib.resources
import random
from dataclasses import replace

import pytest

from gateway.site import read_site
from ied_agents.dflisr.records import CLEAR_SIDE, AgentState, EventId, LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from tools.bench_kill import Moment, judge, plan, play, summary
from tools.lab import LabUnavailable

MS = 1_000_000
FAULT_NS = 1_000_000 * MS
KILLED_NS = FAULT_NS + 50 * MS
EVENT = EventId(2, 7)
LOCKED = CLEAR_SIDE._replace(
    section=SectionState.FAULTED, section_event=EVENT, lock=LockState.DURABLE, lock_event=EVENT
)


@pytest.fixture(scope="module")
def site():
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        yield read_site(samples / "two_source.toml")


@pytest.fixture(scope="module")
def section(site):
    return next(s.index for s in site.network.sections if s.name == "F1/S2")


@pytest.fixture(scope="module")
def moment(section):
    return Moment(section, 3, 0.05, 0.2, 1)


class Evidence:
    """A fault in F1/S2: R3 locks, is killed at 50 ms and is back at 300 ms; then whatever a test adds."""

    def __init__(self, site, moment):
        self.site, self.moment = site, moment
        self.r3 = AgentState(100, position=Dbpos.OFF, sides=self.towards(3, LOCKED))
        self.states = [
            (FAULT_NS + 10 * MS, 3, self.r3),
            (FAULT_NS + 300 * MS, 3, self.r3._replace(incarnation=101)),
        ]
        self.plant = [self.event(0, "FaultAppeared", section=moment.section)]

    def towards(self, switch, side):
        """Sides of a switch, with ``side`` towards the faulted section."""
        a, _ = self.site.network.switch(switch).sections
        return (side, CLEAR_SIDE) if a == self.moment.section else (CLEAR_SIDE, side)

    @staticmethod
    def event(after_ms, kind, **members):
        return {"kind": kind, "stamp_ns": FAULT_NS + after_ms * MS, **members}

    def closes(self, switch, *sections, at_ms=400):
        """A switch is ordered to close, and sections come under voltage when it does."""
        self.plant.append(self.event(at_ms, "CommandReceived", switch=switch, operation="close"))
        self.plant.append(self.event(at_ms + 40, "PositionChanged", switch=switch, position=int(Dbpos.ON)))
        self.plant.extend(self.event(at_ms + 40, "SectionEnergised", section=s, source=0) for s in sections)

    def verdict(self):
        return judge(self.site, self.moment, KILLED_NS, self.states, self.plant)


@pytest.fixture
def evidence(site, moment):
    return Evidence(site, moment)


def _section(site, name):
    return next(s.index for s in site.network.sections if s.name == name)


def test_a_lock_that_survives_the_kill_is_counted_and_nothing_is_charged(evidence, site):
    evidence.closes(9, _section(site, "F1/S4"))
    verdict = evidence.verdict()
    assert verdict.violations == []
    assert verdict.locks_lost == []
    assert verdict.durable_at_kill == 1
    assert verdict.restored_s == 0.44


def test_a_durable_lock_that_is_gone_after_the_restart_is_lost(evidence):
    evidence.states[-1] = (FAULT_NS + 300 * MS, 3, AgentState(101, position=Dbpos.OFF))
    assert evidence.verdict().locks_lost == ["R3 side A: durable lock for EventId(switch=2, counter=7) gone"]


def test_a_lock_whose_event_was_cleared_may_go(evidence):
    evidence.states[-1] = (FAULT_NS + 300 * MS, 3, AgentState(101, position=Dbpos.OFF))
    evidence.states.append((FAULT_NS + 400 * MS, 2, AgentState(100, cleared=(EVENT,))))
    assert evidence.verdict().locks_lost == []


def test_a_lock_that_was_not_durable_yet_may_be_forgotten(evidence):
    evidence.states = [
        (t_ns, n, state._replace(sides=evidence.towards(3, LOCKED._replace(lock=lock))))
        for (t_ns, n, state), lock in zip(evidence.states, (LockState.VOLATILE, LockState.NONE), strict=True)
    ]
    verdict = evidence.verdict()
    assert verdict.locks_lost == []
    assert verdict.durable_at_kill == 0


@pytest.mark.parametrize("incarnation", [None, 100])
def test_an_agent_that_never_comes_back_is_a_violation(evidence, incarnation):
    last = evidence.states.pop()
    if incarnation is not None:
        evidence.states.append((last[0], 3, last[2]._replace(incarnation=incarnation)))
    assert evidence.verdict().violations == ["R3: killed and started again, and never heard again"]


def test_paralleled_sources_are_a_violation(evidence):
    evidence.plant.append(evidence.event(100, "SourcesParalleled", sources=[0, 5]))
    assert evidence.verdict().violations == ["I2: sources [0, 5] connected with each other"]


def test_an_order_to_close_a_locked_switch_is_a_violation(evidence):
    evidence.closes(3)
    assert evidence.verdict().violations == ["I3: R3 ordered to close while locked"]


def test_the_lock_of_a_dead_agent_counts(evidence):
    evidence.closes(3, at_ms=100)
    assert evidence.verdict().violations == ["I3: R3 ordered to close while locked"]


def test_voltage_on_the_faulted_section_is_a_violation(evidence, section):
    evidence.states = [(t_ns, n, state._replace(sides=AgentState(0).sides)) for t_ns, n, state in evidence.states]
    evidence.closes(2, section, at_ms=200)
    assert evidence.verdict().violations == ["I1: L2 energised F1/S2, faulted"]


def test_a_reclosing_shot_onto_a_fault_that_nobody_has_declared_is_none_but_not_one_too_many(evidence, site, section):
    path = site.network.switch(1).path
    shots = {**site.settings.switch, path: site.settings.switch[path].model_copy(update={"shots_ms": (300.0,)})}
    evidence.site = replace(site, settings=site.settings.model_copy(update={"switch": shots}))
    evidence.states = [(t_ns, n, state._replace(sides=AgentState(0).sides)) for t_ns, n, state in evidence.states]
    evidence.closes(1, section, at_ms=300)
    assert evidence.verdict().violations == []
    evidence.closes(1, section, at_ms=700)
    assert evidence.verdict().violations == ["I1: Q1 energised F1/S2, faulted"]


def test_voltage_on_a_section_held_suspect_is_a_violation(evidence, site):
    suspect = LOCKED._replace(section=SectionState.SUSPECT)
    sides = (suspect, suspect)
    evidence.states.append((FAULT_NS + 350 * MS, 4, AgentState(100, position=Dbpos.OFF, sides=sides)))
    evidence.closes(9, _section(site, "F1/S4"))
    assert evidence.verdict().violations == ["I1: T9 energised F1/S4, held faulted or suspect"]


def test_a_section_held_suspect_only_after_the_order_is_not_charged(evidence, site):
    suspect = LOCKED._replace(section=SectionState.SUSPECT)
    sides = (suspect, suspect)
    evidence.states.append((FAULT_NS + 420 * MS, 4, AgentState(100, position=Dbpos.OFF, sides=sides)))
    evidence.closes(9, _section(site, "F1/S4"))
    assert evidence.verdict().violations == []


def test_moments_cover_the_restoration_all_sections_and_repeat_with_their_seed(site):
    moments = plan(site, 200, random.Random(3), 0.16)
    assert moments == plan(site, 200, random.Random(3), 0.16)
    assert {m.section for m in moments} == {s.index for s in site.network.sections if not s.is_source}
    assert {m.switch for m in moments} == set(site.agents)
    assert min(m.after_s for m in moments) < 0
    assert 0.15 < max(m.after_s for m in moments) <= 0.16


def test_what_stays_dark_is_told_and_not_healed(evidence):
    evidence.plant.append(evidence.event(60, "PositionChanged", switch=7, position=int(Dbpos.OFF)))
    verdict = evidence.verdict()
    assert verdict.dark == ("F2/S3", "F2/S4")
    assert not verdict.healed


def test_a_summary_names_what_was_not_clean(evidence, site):
    evidence.closes(3)
    result = summary(site, [(evidence.moment, evidence.verdict())])
    assert result["moments"] == result["violations"] == 1
    assert result["durable_locks_at_kill"] == 1
    assert result["not_clean"][0]["switch"] == 3


def test_a_killed_agent_comes_back_with_its_locks(site, section, tmp_path, require):
    moment = Moment(section, 3, 0.1, 0.1, 5)
    try:
        verdict = play(site, moment, tmp_path / "moment")
    except LabUnavailable as reason:
        require(False, str(reason))
    assert verdict.violations == []
    assert verdict.locks_lost == []
    assert verdict.durable_at_kill == 1
    assert not (tmp_path / "moment").exists(), "only files of moments with a violation are kept"
