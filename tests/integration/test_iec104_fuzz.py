"""The fuzz run of 104 over real sockets, in the size of a test."""

from __future__ import annotations

import random

import pytest

from gateway.iec104 import master, station
from tools import fuzz_iec104
from tools.fuzz_iec104 import FuzzFailure, fuzz


def test_mutated_apdus():
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    found = fuzz(str(seed), 3000)
    assert found["apdus"] >= 3000
    for end in ("server", "client"):
        assert found[end]["apdus"] >= 1500
        assert found[end]["connections"] > 200
        assert found[end]["checks"] >= 1
    assert found["server"]["octets_answered"] > 1000
    assert found["client"]["events_told"] > 200


def test_the_same_seed_makes_the_same_apdus():
    made = [
        [fuzz_iec104._mutated(rng, fuzz_iec104._TO_SERVER, 0) for _ in range(200)]
        for rng in (random.Random(7), random.Random(7))
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize("module", [station, master], ids=["server", "client"])
def test_an_exception_that_gets_out_is_found(monkeypatch, module):
    decode = module.decode

    def careless(octets, sizes):
        asdu = decode(octets, sizes)
        return 1 // 0 if asdu.CA == 1 and asdu.objects[0].IOA >= 5 else asdu

    monkeypatch.setattr(module, "decode", careless)
    with pytest.raises(FuzzFailure, match=r"ZeroDivisionError|did not come|disturbed"):
        fuzz("1", 1000)
