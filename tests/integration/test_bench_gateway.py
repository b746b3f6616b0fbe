"""The measurement of the gateway in its smallest size: IEDs, gateway and control centre are real processes."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tools import bench_gateway


@pytest.fixture
def small(monkeypatch, require):
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850 is not installed")
    monkeypatch.setattr(bench_gateway, "_RATES", (50,))
    monkeypatch.setattr(bench_gateway, "_SECONDS", 0.5)
    monkeypatch.setattr(bench_gateway, "_LATENCIES", 20)


def test_every_change_of_two_ieds_arrives_at_the_control_centre_and_is_counted(small, capsys):
    bench_gateway.run(ieds=(2,), as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert {"points_per_s", "latency_ms_p50", "latency_ms_p99", "ieds"} <= result.keys()
    (row,) = result["runs"]
    assert (row["ieds"], row["points"]) == (2, 2 * 20)
    assert 0 < row["latency_ms_p50"] <= row["latency_ms_p99"]
    assert row["memory_mb"] > 0
