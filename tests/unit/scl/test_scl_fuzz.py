"""The mutation run of ``tools.fuzz_scl`` in a small size, and proof that it can fail."""

from __future__ import annotations

import os

import pytest

from tools import fuzz_scl
from tools.fuzz_scl import FuzzError, judge, run_one, seeds, summarise

FILES = 250


def test_mutated_files_are_read_or_refused(request):
    seed = request.config.option.hypothesis_seed
    corpus = os.environ.get("FLISR_CORPUS", "")
    corpus = f"{corpus}/scl" if corpus else ""
    summary = summarise([run_one(index, seed, corpus) for index in range(FILES)])
    assert summary["failed"] == [], f"python -m tools.fuzz_scl --seed {seed} --corpus '{corpus}'"
    assert summary["files"] == FILES
    # Mutations must get past the XML, or they would try nothing else.
    assert summary["findings"] > FILES / 5
    assert summary["refused"] > FILES / 10


def test_the_generated_seed_is_valid():
    assert judge(seeds("")[0]) == "valid"


def test_a_writer_that_loses_something_is_noticed(monkeypatch):
    serialise = fuzz_scl.serialise
    monkeypatch.setattr(fuzz_scl, "serialise", lambda document: serialise(document).replace(b"gcbSlow", b"gcbSlo"))
    with pytest.raises(FuzzError, match="differs"):
        judge(seeds("")[0])


def test_an_exception_that_is_no_scl_error_is_noticed(monkeypatch):
    monkeypatch.setattr(fuzz_scl, "check", lambda *_, **__: {}["x"])
    outcomes = [run_one(index, 1, "")[0] for index in range(20)]
    assert any("KeyError" in outcome for outcome in outcomes)
    assert len(summarise([(outcome, 0.1) for outcome in outcomes])["failed"]) > 0


def test_slow_files_are_noticed(monkeypatch):
    monkeypatch.setattr(fuzz_scl, "SLOW_S", 0.0)
    assert run_one(0, 1, "")[0].startswith("FAILED 0: took")


def test_the_same_number_gives_the_same_file():
    assert fuzz_scl.mutate(seeds("")[0], fuzz_scl.random.Random("1/7")) == fuzz_scl.mutate(
        seeds("")[0], fuzz_scl.random.Random("1/7")
    )


@pytest.mark.parametrize(
    "text",
    [
        "<SCL>" + "<IED/>" * 5_000 + "</SCL>",
        "<SCL>" + "<x/>" * 5_000 + "</SCL>",
        "<SCL>" + "<IED name='X'/>\n" * 5_000 + "</SCL>",
    ],
)
def test_a_file_that_is_wrong_all_over_gives_a_bounded_list(text):
    findings = fuzz_scl.check(text.encode())
    assert 1_000 <= len(findings) <= 2_100
