"""``flisr campaign``: many random scenarios, judged; a failing one is replayed by its seed as a story."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import track

from tools.campaign.scenario import Plan, Verdict, run_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

app = App(name="campaign", help="Random feeders and faults under virtual time, with the real agents, judged.")

LIVELY: Final = {"loss": 0.1, "duplicate": 0.05, "max_delay_s": 0.0008}
"""Loss and reordering, everybody alive: here every healthy section that can be served must be (I7)."""
HOSTILE: Final = {
    "loss": 0.3,
    "duplicate": 0.2,
    "replay": 0.03,
    "max_delay_s": 0.02,
    "crashes": 3,
    "forged": True,
    "trouble": True,
}
"""Heavy loss, replays, simulated frames, agents that crash and come back, apparatus, sensors and people that misbehave:
nothing unsafe may happen (I1 to I6)."""


def plans(scenarios: int, seed: int) -> Iterator[Plan]:
    """Five lively scenarios, then a hostile one, and so on; all follow from ``seed``."""
    for index in range(scenarios):
        kind: dict[str, Any] = HOSTILE if index % 6 == 5 else LIVELY
        yield Plan(seed * 1_000_000 + index, **kind)


def run_all(chosen: Iterable[Plan], workers: int) -> Iterator[Verdict]:
    """Verdicts in the order of the plans, from as many processes."""
    with ProcessPoolExecutor(max_workers=workers) as pool:
        yield from pool.map(run_scenario, chosen, chunksize=4)


@app.default
def campaign(
    *,
    scenarios: Annotated[int, Parameter(help="How many.")] = 600,
    seed: Annotated[int, Parameter(help="Everything follows from it.")] = 1,
    workers: Annotated[int, Parameter(help="Processes.")] = os.cpu_count() or 1,
    replay: Annotated[int, Parameter(help="Tell the story of one scenario, by its number in this seed.")] = -1,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a campaign."""
    if replay >= 0:
        _tell(run_scenario(list(plans(replay + 1, seed))[-1]))
        return
    began = time.monotonic()
    chosen = list(plans(scenarios, seed))
    verdicts = run_all(chosen, workers)
    if not as_json:
        verdicts = iter(track(verdicts, total=scenarios, description="scenarios"))
    result = summary(verdicts)
    result["wall_s"] = round(time.monotonic() - began, 1)
    result["seed"] = seed
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        _show(result)
    if result["violations"]:
        raise SystemExit(1)


def summary(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Figures of a campaign."""
    count = violations = lively = located = locked = refused = 0
    served = could = 0.0
    failed = []
    for verdict in verdicts:
        count += 1
        violations += len(verdict.violations)
        refused += verdict.refused
        if verdict.violations:
            failed.append(verdict.summary())
        if verdict.plan.benign:
            lively += 1
            located += verdict.located
            locked += verdict.locked
            served += verdict.served_after_a
            could += verdict.served_after_a + verdict.missed_a
    return {
        "scenarios": count,
        "violations": violations,
        "lively": lively,
        "located": located,
        "locked": locked,
        "restorable_load_restored": served / could if could else 1.0,
        "stale_inputs_refused": refused,
        "failed": failed[:20],
    }


def _show(result: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{result['scenarios']} scenarios in {result['wall_s']} s, seed {result['seed']}: "
        f"[{'red' if result['violations'] else 'green'}]{result['violations']} violations[/]"
    )
    console.print(
        f"of {result['lively']} with communication alive: {result['located']} located the section, "
        f"{result['locked']} locked exactly its switches, "
        f"{result['restorable_load_restored']:.4f} of the restorable load restored"
    )
    console.print(f"{result['stale_inputs_refused']} old, simulated or unreadable frames refused")
    for failure in result["failed"]:
        number = failure["seed"] % 1_000_000
        console.print(f"[red]scenario {number}[/] (flisr campaign --seed {result['seed']} --replay {number})")
        for violation in failure["violations"][:5]:
            console.print(f"  {violation['invariant']} at {violation['t']:.4f} s: {violation['what']}")


def _tell(verdict: Verdict) -> None:
    console = Console()
    for line in verdict.story:
        details = ", ".join(f"{name} {value}" for name, value in line.detail.items())
        console.print(f"{line.t * 1000:10.2f} ms  {line.who:8} {line.what:24} {details}", markup=False)
    for violation in verdict.violations:
        console.print(f"{violation.invariant} at {violation.t * 1000:.2f} ms: {violation.what}", style="red")
    console.print_json(json.dumps(verdict.summary()))
