"""The codec bench: it measures what it says; the figures themselves are judged where it is run whole."""

from __future__ import annotations

import pytest

from tools import bench_goose


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(bench_goose, "FRAMES", 200)
    monkeypatch.setattr(bench_goose, "ROUNDS", 2)
    monkeypatch.setattr(bench_goose, "_PORTIONS", [slice(0, 100), slice(100, 200)])


def test_both_sides_are_timed_on_frames_that_both_read_alike(short):
    found = bench_goose.codec_figures()
    assert found["entries"] == 22
    for name in ("encode", "decode", "repeat"):
        ours, peer = found[f"{name}_us"], found[f"peer_{name}_us"]
        assert ours > 0
        assert found[f"{name}_ratio"] == pytest.approx(peer / ours, rel=0.05)


def test_a_peer_that_reads_something_else_is_noticed(short, monkeypatch):
    monkeypatch.setattr(bench_goose, "_same", lambda leaf, value: False)
    with pytest.raises(bench_goose.BenchError, match="open61850 reads"):
        bench_goose.codec_figures()


def test_burst(make_lab, monkeypatch):
    make_lab("one").close()  # skips where there are no namespaces
    found = bench_goose.burst_figures()
    assert (found["burst_sent"], found["burst_lost"], found["burst_dropped_by_kernel"]) == (5000, 0, 0)
