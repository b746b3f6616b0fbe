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
from itertools import count
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
_SAFETY: Final = frozenset(("I1", "I2", "I3", "I4", "I4'", "I5", "P"))


@dataclass(frozen=True, slots=True)
class Found:
    """What the campaign saw of one mutant.

    Attributes:
        name: of the mutant.
        attacks: invariants that its rule is there for.
        killed_after: scenarios until something was broken; 0 if nothing was.
        by: what was broken then, and in which scenario.
        number: of that scenario.
        attacked_after: scenarios until one of those was broken that it attacks; 0 if none was.
        attacked_number: of that scenario.
        what: the first words of the judge on that, or else on the first.
        scenarios: run in all.
        model: what the model check says of the same rule taken away; "" unless it was asked, the campaign having
            found nothing.
        seconds: it took.
    """

    name: str
    attacks: tuple[str, ...]
    killed_after: int
    by: tuple[str, ...]
    number: int
    attacked_after: int
    attacked_number: int
    what: str
    scenarios: int
    model: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether the campaign or the model check has found it."""
        return bool(self.killed_after or self.model)


def aims(mutant: Mutant) -> frozenset[str]:
    """What the judge calls the invariants that a mutant attacks; I6 is any of the others, under crash and replay."""
    return (mutant.attacks - {"I6"}) | (_SAFETY if "I6" in mutant.attacks else frozenset())


def hunt(mutant: Mutant, seed: int, limit: int) -> Found:
    """Run scenarios with a mutant until one of the invariants that it attacks is broken, or ``limit`` were run.

    A scenario that breaks something without the mutant too does not count.
    """
    began = time.monotonic()
    killed_after = number_killed = attacked_after = number_attacked = run = 0
    by: tuple[str, ...] = ()
    what = ""
    for number in count():
        if run == limit or attacked_after:
            break
        scenario = mutant.where(plan(seed, number))
        if scenario is None or len(scenario.system.agents) > LARGEST:
            continue
        run += 1
        with made(mutant.changes):
            violations = _violations(scenario)
        broken = {violation.invariant for violation in violations}
        hit = bool(broken & aims(mutant))
        if not violations or (killed_after and not hit) or _violations(scenario):
            continue
        told = next(v for v in violations if not hit or v.invariant in aims(mutant))
        what = f"{told.invariant}: {told.what}"
        if not killed_after:
            killed_after, number_killed, by = run, number, tuple(sorted(broken))
        if hit:
            attacked_after, number_attacked = run, number
    return Found(
        name=mutant.name,
        attacks=tuple(sorted(mutant.attacks)),
        killed_after=killed_after,
        by=by,
        number=number_killed,
        attacked_after=attacked_after,
        attacked_number=number_attacked,
        what=what,
        scenarios=run,
        model="" if killed_after or not mutant.model else _in_model_check(mutant.model),
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
    name = f"{'/'.join(found.attacks):12} {found.name}"
    if found.model:
        print(f"{name}: killed by the model check ({found.model}), not in {found.scenarios} scenarios")
        return
    if not found.killed_after:
        print(f"{name}: SURVIVES {found.scenarios} scenarios, {found.seconds} s")
        return
    how = f"killed by {', '.join(found.by)} after {found.killed_after}"
    if not found.attacked_after:
        how += f" ({' '.join(found.attacks)} not seen in {found.scenarios})"
    elif found.attacked_after != found.killed_after:
        how += f", as aimed after {found.attacked_after}"
    print(f"{name}: {how}, {found.seconds} s\n             {found.what}")
