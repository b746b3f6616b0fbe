"""``flisr bench reaction`` at a small size: real agent, real echo, real cables."""

from __future__ import annotations

import shutil

import pytest

from tools import bench_reaction
from tools.bench_reaction import BenchError, Condition, figures, reaction
from tools.lab import LabUnavailable


def test_agent_and_echo_answer_under_all_four_conditions(require):
    require(shutil.which("gcc"), "gcc is not installed")
    try:
        result = figures(5)
    except LabUnavailable as reason:
        require(False, str(reason))
    assert [(c["fifo"], c["loaded"]) for c in result["conditions"]] == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]
    measured = [c for c in result["conditions"] if not c["skipped"]]
    assert {(c["fifo"], c["loaded"]) for c in measured} >= {(False, False), (False, True)}
    for condition in measured:
        assert condition["trials"] == 5
        assert condition["echo_median_us"] > 0
        assert 0 < condition["median_us"] <= condition["p99_us"]
        ratio = condition["median_us"] / condition["echo_median_us"]
        assert condition["median_ratio"] == pytest.approx(ratio, rel=0.02, abs=0.02)
    worst = max(measured, key=lambda c: c["median_ratio"])
    assert (result["median_ratio"], result["median_us"]) == (worst["median_ratio"], worst["median_us"])


def test_without_a_compiler_there_is_no_echo_and_the_reason_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    assert bench_reaction._compile_echo(tmp_path) == (None, "gcc is not installed")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(BenchError, match="gcc is not installed"):
        bench_reaction._compile_echo(tmp_path)


def test_no_trials_are_refused():
    with pytest.raises(BenchError, match="--trials 0: expected at least 1"):
        figures(0)


def test_the_ratio_is_that_of_the_medians():
    condition = Condition(fifo=True, loaded=False, agent_us=[100.0, 300.0, 900.0], echo_us=[30.0, 20.0, 70.0])
    assert condition.ratio == 10.0
    assert condition.as_json()["max_us"] == 900.0
    assert condition.name == "SCHED_FIFO, idle"


def test_a_condition_without_echo_has_no_ratio():
    shown = Condition(fifo=False, loaded=True, agent_us=[100.0], echo_us=[]).as_json()
    assert shown["median_ratio"] is None
    assert shown["median_us"] == 100.0


@pytest.mark.parametrize(("ratio", "fails"), [(10.0, False), (10.1, True), (None, False)])
def test_the_exit_status_says_whether_the_target_is_met(monkeypatch, capsys, ratio, fails):
    monkeypatch.setattr(bench_reaction, "figures", lambda _: {"median_ratio": ratio})
    if fails:
        with pytest.raises(SystemExit) as ended:
            reaction(as_json=True)
        assert ended.value.code == 1
    else:
        reaction(as_json=True)
    assert '"median_ratio"' in capsys.readouterr().out
