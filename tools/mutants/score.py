"""Mutation score of the agents' logic under its unit tests, by cosmic-ray on a copy of the sources.

The named mutants say whether the campaign sees what matters; this says how much of the code the unit tests look at.
A sample of all small changes that cosmic-ray knows is made, one at a time, and the unit tests are run on each: those
of the changed module first, up to the first failure. ``python -m tools.mutants.score``, in a checkout with the test
extra and cosmic-ray installed.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

app = App(name="score", help="Mutation score of ied_agents/dflisr and ied_agents/control under their unit tests.")

_SOURCES: Final = ("scl", "ied_agents", "gateway", "tools", "tests", "pyproject.toml", "README.md")
_MUTATED: Final = ("ied_agents/dflisr", "ied_agents/control")
_TESTS: Final = ("tests/unit/dflisr", "tests/unit/control")
_SLOW: Final = ("test_stored.py", "test_choice.py", "test_reflex.py")
"""These look at their own module only, and take as long as all others together: only that module is tried on them."""
_TIMEOUT_S: Final = 120.0
_OPERATORS: Final = re.compile(
    r"core/(NumberReplacer|AddNot|ZeroIterationForLoop|ReplaceTrueWithFalse|ReplaceFalseWithTrue"
    r"|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceUnaryOperator_Delete_Not|ReplaceBreakWithContinue"
    r"|ReplaceContinueWithBreak|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|BitAnd_BitOr|BitOr_BitAnd)"
    r"|ReplaceComparisonOperator_(Is_IsNot|IsNot_Is|Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|In_NotIn|NotIn_In"
    r"|Lt_GtE|Gt_LtE|LtE_Gt|GtE_Lt))"
)
"""One change of each sort; the many others that cosmic-ray makes of an operator die as easily as these."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A change that no unit test notices: where, what, and how it reads."""

    module: str
    line: int
    operator: str
    diff: str


@dataclass(slots=True)
class Score:
    """What became of the changes made to one module."""

    possible: int = 0
    tried: int = 0
    killed: int = 0
    """By a failing test, or by a run that took too long."""


@app.default
def score(
    *,
    sample: Annotated[int, Parameter(help="How many changes to try, shared among the modules by their size.")] = 400,
    seed: Annotated[int, Parameter(help="Of the sample.")] = 1,
    modules: Annotated[str, Parameter(help="Only modules with this in their path.")] = "",
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Try a sample of small changes on the unit tests."""
    if find_spec("cosmic_ray") is None:
        raise SystemExit("cosmic-ray is not installed: pip install cosmic-ray")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in _SOURCES:
            source = Path(name)
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        scores, survivors = _try_all(copy, sample, random.Random(seed), modules, quiet=as_json)
    tried, killed = sum(s.tried for s in scores.values()), sum(s.killed for s in scores.values())
    if as_json:
        summary = {
            "possible": sum(s.possible for s in scores.values()),
            "tried": tried,
            "killed": killed,
            "score": killed / tried if tried else 1.0,
            "modules": {name: asdict(s) for name, s in scores.items()},
            "survivors": [asdict(survivor) for survivor in survivors],
            "seed": seed,
            "wall_s": round(time.monotonic() - began),
        }
        print(json.dumps(summary, indent=1))
        return
    for survivor in survivors:
        print(f"\n{survivor.module}:{survivor.line} {survivor.operator}\n{survivor.diff}")
    print(f"{killed} of {tried} killed, {tried - killed} survive")


def _try_all(
    copy: Path, sample: int, rng: random.Random, modules: str, *, quiet: bool
) -> tuple[dict[str, Score], list[Survivor]]:
    session = copy / "session.sqlite"
    (copy / "session.toml").write_text(_config([]))
    _cosmic_ray(copy, "init", "session.toml", session.name)
    with sqlite3.connect(session) as database:
        rows = database.execute(
            "SELECT job_id, module_path, operator_name FROM mutation_specs "
            "ORDER BY module_path, start_pos_row, start_pos_col, operator_name, occurrence"
        ).fetchall()
        jobs = [(job, module) for job, module, operator in rows if _OPERATORS.fullmatch(operator) and modules in module]
    chosen = set(rng.sample(range(len(jobs)), min(sample, len(jobs))))
    failing = _failing(copy)
    scores: dict[str, Score] = defaultdict(Score)
    for _, module in jobs:
        scores[module].possible += 1
    survivors = []
    for module, score in scores.items():
        keep = {job for place, (job, of) in enumerate(jobs) if place in chosen and of == module}
        mine = copy / "module.sqlite"
        shutil.copy(session, mine)
        with sqlite3.connect(mine) as database:
            marks = ", ".join("?" * len(keep))
            for table in ("mutation_specs", "work_items"):
                database.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({marks})", sorted(keep))  # noqa: S608
        (copy / "session.toml").write_text(_config(_command(copy, module, failing)))
        _cosmic_ray(copy, "exec", "session.toml", mine.name)
        with sqlite3.connect(mine) as database:
            done = database.execute(
                "SELECT start_pos_row, operator_name, test_outcome, diff "
                "FROM mutation_specs JOIN work_results USING (job_id) ORDER BY 1, 2"
            ).fetchall()
        left = [Survivor(module, line, operator, diff) for line, operator, how, diff in done if how == "SURVIVED"]
        score.tried, score.killed = len(done), len(done) - len(left)
        survivors += left
        if not quiet:
            print(f"{module}: {score.killed} of {score.tried} killed, of {score.possible} possible", flush=True)
    return dict(scores), survivors


def _config(command: list[str]) -> str:
    paths = ", ".join(f'"{path}"' for path in _MUTATED)
    return (
        f"[cosmic-ray]\nmodule-path = [{paths}]\ntimeout = {_TIMEOUT_S}\nexcluded-modules = []\n"
        f'test-command = {json.dumps(" ".join(command) or "true")}\n[cosmic-ray.distributor]\nname = "local"\n'
    )


def _pytest(*arguments: str) -> list[str]:
    options = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0")
    return [sys.executable, "-m", "pytest", *options, *arguments]


def _command(copy: Path, module: str, failing: list[str]) -> list[str]:
    """The unit tests for one module: its own first."""
    own = f"test_{Path(module).stem}.py"
    files = [file for folder in _TESTS for file in sorted((copy / folder).glob("test_*.py"))]
    files = [file for file in files if file.name == own or file.name not in _SLOW]
    files.sort(key=lambda file: file.name != own)
    deselected = [f"--deselect={test}" for test in failing if " " not in test]
    return _pytest("-x", *deselected, *(str(file.relative_to(copy)) for file in files))


def _failing(copy: Path) -> list[str]:
    """Tests that fail without any change: they would kill everything."""
    done = subprocess.run(_pytest("-rf", *_TESTS), cwd=copy, capture_output=True, text=True, check=False)  # noqa: S603
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]


def _cosmic_ray(copy: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "cosmic_ray.cli", *arguments], cwd=copy, check=True)  # noqa: S603


if __name__ == "__main__":
    app()
