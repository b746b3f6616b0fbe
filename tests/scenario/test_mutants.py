"""The named mutants: each fits the logic as it is, every invariant is attacked, and a few are found here and now."""

import inspect
import json

import pytest

from ied_agents.control.decision import Behaviour, Reason, SwitchCondition, refuse_close, refuse_origin
from tools.model_check.mutants import MUTANTS as MODEL_MUTANTS
from tools.mutants.catalogue import MUTANTS, Mutant
from tools.mutants.change import Change, ChangeError, made
from tools.mutants.command import app, hunt

DECISION = "ied_agents.control.decision"
LOCKED = SwitchCondition(
    known_open=True,
    known_closed=False,
    close_outstanding=False,
    locked=True,
    proven=True,
    behaviour=Behaviour.ON,
    tags=0,
)
SOON = {
    "shots are not counted": "P",
    "an island is claimed and promised before it is known where the fault is": "I1",
    "switches inside an island are not asked": "P",
    "a tag does not keep a switch from closing": "I3",
    "only the head's rating counts": "I4",
    "a load-break switch opens under fault current": "I4'",
    "what a test says is taken for real": "I5",
    "an attempt is not spent by a restart": "P",
    "nobody claims": "I7",
}


def by_name(name):
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_logic_as_it_is(mutant):
    with made(mutant.changes):
        pass
    assert mutant.changes
    assert not mutant.model or any(other.name == mutant.model for other in MODEL_MUTANTS)


def test_each_invariant_is_attacked_in_several_ways():
    attacked = [invariant for mutant in MUTANTS for invariant in mutant.attacks]
    assert {i for i in attacked if attacked.count(i) >= 2} == {"I1", "I2", "I3", "I4", "I4'", "I5", "I6", "I7"}
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS}) >= 24


@pytest.mark.parametrize(("name", "broken"), SOON.items())
def test_a_mutant_is_found(name, broken):
    found = hunt(by_name(name), 1, 60)
    assert broken in found.by


def test_the_logic_as_it_is_passes_where_mutants_are_found():
    found = hunt(Mutant("none", frozenset({"I1", "I7"}), "", ()), 1, 10)
    assert (found.scenarios, found.killed, found.what) == (10, False, "")


def test_a_mutant_that_the_campaign_misses_is_looked_for_in_the_model_check():
    found = hunt(by_name("a switch obeys a lower claim after a higher one"), 1, 0)
    assert (found.by, found.killed) == ((), True)
    assert found.model == "a close under a claim lower than one promised"


def test_a_change_holds_for_who_imported_the_function_and_is_taken_back():
    as_it_was = inspect.getsource(refuse_close)
    with made((Change(f"{DECISION}:refuse_close", "if condition.locked:", "if not condition.locked:"),)):
        assert refuse_close(LOCKED, Reason.NONE) is Reason.NONE
    assert refuse_close(LOCKED, Reason.NONE) is Reason.LOCKED
    assert inspect.getsource(refuse_close) == as_it_was


def test_a_change_is_taken_back_when_its_mutant_ends_in_a_defect():
    with (
        pytest.raises(ZeroDivisionError),
        made((Change(f"{DECISION}:refuse_close", "condition.locked", "1 / 0"),)),
    ):
        refuse_close(LOCKED, Reason.NONE)
    assert refuse_close(LOCKED, Reason.NONE) is Reason.LOCKED


def test_several_changes_of_one_function_go_together_and_properties_can_be_changed():
    changes = (
        Change("ied_agents.dflisr.stored:Record.all_tags", "WORK_TAG if", "4 if"),
        Change("ied_agents.dflisr.stored:Record.all_tags", "HOT_LINE_TAG if", "8 if"),
    )
    from ied_agents.dflisr.stored import Record

    record = Record(tags=(("crew", 1), ("dispatcher", 2)))
    with made(changes):
        assert record.all_tags == 12
    assert record.all_tags == 3


@pytest.mark.parametrize(
    ("function", "old", "said"),
    [
        (f"{DECISION}:refuse_close", "if condition.licked:", "found 0 times"),
        (f"{DECISION}:refuse_close", "return", "expected once"),
        (f"{DECISION}:refuse", "return", "refuse"),
        (f"{DECISION}:WORK_TAG", "1", "not a function"),
    ],
)
def test_a_change_that_does_not_fit_says_so_and_changes_nothing(function, old, said):
    before = refuse_close.__code__, refuse_origin.__code__
    fits = Change(f"{DECISION}:refuse_origin", "return Reason.NONE", "return Reason.LOCAL")
    with pytest.raises(ChangeError, match=said), made((fits, Change(function, old, "pass"))):
        pass
    assert (refuse_close.__code__, refuse_origin.__code__) == before


def mutants(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        app([*arguments, "--workers", "1"])
    return ended.value.code, capsys.readouterr().out


def test_the_command_lists_what_was_found(capsys):
    code, out = mutants(capsys, "--only", "what a test says", "--limit", "10", "--json")
    summary = json.loads(out)
    assert (code, summary["mutants"], summary["killed"], summary["survivors"]) == (0, 1, 1, [])
    assert summary["found"][0]["attacks"] == ["I5"]
    assert summary["killed_by"] == {"I5": 1}


def test_the_command_fails_if_a_mutant_survives(capsys):
    code, out = mutants(capsys, "--only", "nobody claims", "--limit", "0")
    assert code == 1
    assert "SURVIVES" in out
