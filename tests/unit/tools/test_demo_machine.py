"""What a machine can carry of a larger demo, and systems of the size asked for."""

import pytest

from tools.demo.machine import AgentCost, Machine, TooLargeError, assess, generated, measure_agent, this_machine

COST = AgentCost(start_s=0.25, memory_mb=30)


def test_what_it_takes_is_said_before():
    lines, small = assess(40, Machine(cores=2, memory_mb=4000), COST)
    assert not small
    assert "2 processors, 4000 MB free" in lines[0]
    assert "30 MB, 0.25 s" in lines[0]
    assert "Here: 40, 1200 MB" in lines[1]


def test_more_than_processors_answer_in_time_is_warned_of():
    assert assess(41, Machine(cores=2, memory_mb=10_000), COST)[1]
    assert not assess(41, Machine(cores=4, memory_mb=10_000), COST)[1]


@pytest.mark.parametrize(
    ("agents", "machine", "reason"),
    [
        (80, Machine(cores=2, memory_mb=2000), "can carry 53 (memory"),
        (101, Machine(cores=2, memory_mb=100_000), "can carry 100 (processors"),
        (1001, Machine(cores=64, memory_mb=1_000_000), "can carry 1000 (the ports"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_the_limit(agents, machine, reason):
    with pytest.raises(TooLargeError) as refusal:
        assess(agents, machine, COST)
    assert reason in str(refusal.value)


def test_cost_and_machine_are_measured_here():
    cost = measure_agent()
    assert 5 < cost.memory_mb < 200
    assert 0.01 < cost.start_s < 60
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_mb > 0


@pytest.mark.parametrize(("wanted", "least", "most"), [(3, 3, 3), (16, 15, 17), (40, 38, 42)])
def test_generated_systems_have_about_the_size_asked_for(tmp_path, wanted, least, most):
    site = generated(wanted, tmp_path)
    assert least <= len(site.agents) <= most
    assert sum(s.is_source for s in site.network.sections) >= 2
    assert (tmp_path / "demo.toml").exists()


def test_two_switches_are_no_feeder_system(tmp_path):
    with pytest.raises(TooLargeError, match="at least 3"):
        generated(2, tmp_path)
