"""``flisr bench machine`` with a few real agents and the host that serves them."""

from __future__ import annotations

import json

from tools.bench_machine import machine
from tools.lab import LabUnavailable


def test_it_counts_what_the_kernel_says_of_real_processes(capsys, require):
    try:
        machine(ieds=4, seconds=1.0, as_json=True)
    except LabUnavailable as obstacle:
        require(condition=False, reason=str(obstacle))
    result = json.loads(capsys.readouterr().out)
    assert result["agents"] == 3
    assert 5 < result["agent_mb_median"] <= result["agent_mb_max"] < 100
    assert 5 < result["host_mb"] < 200
    assert 0 <= result["agent_cpu_percent_median"] <= result["agent_cpu_percent_max"]
    assert result["agent_ready_s"] > 0
    assert result["host_ready_s"] > 0
