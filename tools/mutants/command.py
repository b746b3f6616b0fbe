"""``flisr mutants``: how many scenarios the campaign needs to find each of the mutants."""

from __future__ import annotations

import gc
import json
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from tools.campaign.judge import Violation
from tools.campaign.plans import plan
from tools.campaign.scenario import run_scenario
from tools.model_check.command import killed
from tools.model_check.mutants import MUTANTS as MODEL_MUTANTS
from tools.mutants.catalogue import MUTANTS
from tools.mutants.change import made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.campaign.scenario import Scenario
    from tools.mutants.catalogue import Mutant

app = App(name="mutants", help="The agents' logic with one rule bent each: does the campaign find every one?")

LARGEST: Final = 15
"""Switches of the largest network that is tried: small ones show as much, and sooner."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen of one mutant.

    Attributes:
        name: of the mutant.
        attacks: invariants that its rule is there for.
        scenarios: of the campaign that were run until something was broken, or in all.
        by: what was broken; empty if the campaign has found nothing.
        number: of that scenario; -1 if there is none.
        what: the first words of the judge on it.
        model: what the model check says of the same rule taken away; "" unless it was asked, the campaign having
            found nothing.
        seconds: it took.
    """

    name: str
    attacks: tuple[str, ...]
    scenarios: int
    by: tuple[str, ...]
    number: int
    what: str
    model: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether the campaign or the model check has found it."""
        return bool(self.by or self.model)


def hunt(mutant: Mutant, seed: int, limit: int) -> Found:
    """Run scenarios with a mutant until something is broken, or ``limit`` were run.

    A scenario that breaks something without the mutant too does not count.
    """
    began = time.monotonic()
    violations: tuple[Violation, ...] = ()
    run = 0
    number = -1
    while run < limit and not violations:
        number += 1
        scenario = mutant.where(plan(seed, number))
        if scenario is None or len(scenario.system.agents) > LARGEST:
            continue
        run += 1
        with made(mutant.changes):
            violations = _violations(scenario)
        if violations and _violations(scenario):
            violations = ()
    return Found(
        name=mutant.name,
        attacks=tuple(sorted(mutant.attacks)),
        scenarios=run,
        by=tuple(sorted({violation.invariant for violation in violations})),
        number=number if violations else -1,
        what=violations[0].what if violations else "",
        model="" if violations or not mutant.model else _in_model_check(mutant.model),
        seconds=round(time.monotonic() - began, 1),
    )


def _violations(scenario: Scenario) -> tuple[Violation, ...]:
    """What is broken in a scenario; a defect that ends it counts."""
    gc.disable()  # as the campaign does: a world is freed as a whole
    try:
        return run_scenario(scenario).violations
    except Exception as error:  # noqa: BLE001 - whatever a mutant leads to
        return (Violation("defect", 0.0, f"{type(error).__name__}: {error}"),)
    finally:
        gc.collect()


def _in_model_check(name: str) -> str:
    return killed(next(mutant for mutant in MODEL_MUTANTS if mutant.name == name)).wrong


def hunt_all(mutants: tuple[Mutant, ...], seed: int, limit: int, workers: int) -> Iterator[Found]:
    """What the campaign saw of each mutant, in their order, from as many processes."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(_hunt_named, seed=seed, limit=limit), [mutant.name for mutant in mutants])


def _hunt_named(name: str, seed: int, limit: int) -> Found:
    return hunt(next(mutant for mutant in MUTANTS if mutant.name == name), seed, limit)


@app.default
def mutants(
    *,
    seed: Annotated[int, Parameter(help="Of the campaign.")] = 1,
    limit: Annotated[int, Parameter(help="Scenarios for each mutant at the most.")] = 300,
    only: Annotated[str, Parameter(help="Mutants with these words in their name, or that attack this invariant.")] = "",
    workers: Annotated[int, Parameter(help="Processes.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let the campaign look for every mutant.

    Exit status 1 if one survives.
    """
    chosen = tuple(mutant for mutant in MUTANTS if only in mutant.name or only in mutant.attacks)
    rows = []
    for found in hunt_all(chosen, seed, limit, workers):
        rows.append(found)
        if not as_json:
            _show(found)
    survivors = [found.name for found in rows if not found.killed]
    by = Counter(invariant for found in rows for invariant in found.by or ("model check",) if found.killed)
    if as_json:
        summary: dict[str, Any] = {
            "mutants": len(rows),
            "killed": len(rows) - len(survivors),
            "survivors": survivors,
            "killed_by": dict(sorted(by.items())),
            "seed": seed,
            "limit": limit,
            "found": [asdict(found) for found in rows],
        }
        print(json.dumps(summary, indent=1))
    else:
        print(f"{len(rows) - len(survivors)} of {len(rows)} mutants killed")
    if survivors:
        raise SystemExit(1)


def _show(found: Found) -> None:
    name = f"{' '.join(found.attacks):9} {found.name}"
    if found.by:
        print(f"{name}: {', '.join(found.by)} after {found.scenarios}, {found.seconds} s\n          {found.what}")
    elif found.model:
        print(f"{name}: not in {found.scenarios}; model check: {found.model}, {found.seconds} s")
    else:
        print(f"{name}: SURVIVES {found.scenarios}, {found.seconds} s")
