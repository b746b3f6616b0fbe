"""The fuzz run and the flood of foreign streams, in the size of a test."""

from __future__ import annotations

import random

import pytest

from tools import fuzz_goose
from tools.fuzz_goose import FuzzFailure, flood, fuzz


def test_mutated_frames():
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    found = fuzz(str(seed), 3000)
    assert found["frames"] == 3000
    assert 300 < found["decoded_strict"] < found["decoded_lenient"] < 2000


def test_foreign_streams():
    found = flood(100, 180)
    assert found["unknown"] > 100 * 150


def test_a_decoder_that_fails_is_found(monkeypatch):
    def careless(apdu, *, strict):
        return apdu[40]

    monkeypatch.setattr(fuzz_goose, "decode_pdu", careless)
    with pytest.raises(FuzzFailure, match="IndexError"):
        fuzz("1", 1000)
