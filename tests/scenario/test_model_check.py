"""The restoration protocol, exhaustively: nothing unsafe in any state, an end to every benign run, no idle guard."""

import pytest

from tools.model_check.command import ALIVE, SMALL, killed, liveness, safety
from tools.model_check.mutants import MUTANTS


@pytest.mark.parametrize("setup", SMALL, ids=repr)
def test_nothing_unsafe_can_be_reached(setup):
    found = safety(setup)
    assert found.wrong == "", found.trace
    assert found.states > 5_000, "a world this small has lost its steps"


@pytest.mark.parametrize("setup", ALIVE, ids=repr)
def test_every_benign_run_ends_served_or_with_a_reason(setup):
    found = liveness(setup)
    assert found.wrong == "", found.trace


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_guard_is_needed(mutant):
    found = killed(mutant)
    assert found.wrong == mutant.harm
    assert found.trace or found.wrong == "goes round for ever"
