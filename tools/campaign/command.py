"""``flisr campaign``: many scenarios, judged; a failing one is replayed by its seed, shrunk, and told as a story."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import track

from tools.campaign.plans import plan
from tools.campaign.runs import run_all
from tools.campaign.scenario import run_scenario
from tools.campaign.shrink import shrink
from tools.campaign.story import tell
from tools.campaign.user_network import user_system

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from tools.campaign.feeders import FeederSystem
    from tools.campaign.judge import Violation
    from tools.campaign.runs import Result

app = App(name="campaign", help="Random feeders and faults under virtual time, with the real agents, judged.")

_FAILURES_SHOWN: Final = 20
_COUNT_EVERY: Final = 500
LEAST_RESTORED: Final = 0.999
"""I7 is judged over all runs together: so much of the restorable load must be restored."""


@app.default
def campaign(
    *,
    scenarios: Annotated[int, Parameter(help="How many.")] = 600,
    seed: Annotated[int, Parameter(help="Everything follows from it.")] = 1,
    scd: Annotated[Path | None, Parameter(help="Your own network: an SCD file.")] = None,
    site: Annotated[
        Path | None, Parameter(help="Its site file; else the TOML beside the SCD of the same name.")
    ] = None,
    workers: Annotated[int, Parameter(help="Processes.")] = os.cpu_count() or 1,
    replay: Annotated[int, Parameter(help="Tell the story of one scenario, by its number in this seed.")] = -1,
    whole: Annotated[bool, Parameter(help="With --replay: do not shrink a failing scenario first.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a campaign.

    Exit status 1 if an invariant was broken: I1 to I6 in any run, I7 over all runs together.
    """
    base = user_system(scd, site) if scd is not None else None
    if replay >= 0:
        _replay(seed, replay, base, whole=whole)
        return
    began = time.monotonic()
    results: Iterable[Result] = run_all(seed, range(scenarios), workers, base)
    console = Console(stderr=True)
    results = track(results, total=scenarios, description="scenarios", console=console)
    summary = summarise(_told(results, None if console.is_terminal else scenarios))
    summary["wall_s"] = round(time.monotonic() - began, 1)
    summary["seed"] = seed
    where = f" --scd {scd}" + (f" --site {site}" if site is not None else "") if scd is not None else ""
    summary["replay"] = f"flisr campaign --seed {seed}{where} --replay NUMBER"
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        _show(summary)
    if summary["violations"] or summary["restorable_load_restored"] < LEAST_RESTORED:
        raise SystemExit(1)


def _told(results: Iterable[Result], of: int | None) -> Iterator[Result]:
    """Says what is broken as soon as it is known: the rest may take long. Counts up to ``of`` where no bar can."""
    for done, result in enumerate(results, 1):
        if of and not done % _COUNT_EVERY:
            print(f"{done} of {of} scenarios", file=sys.stderr, flush=True)
        for violation in result.verdict.violations[:1]:
            where = f"scenario {result.number} ({result.verdict.name}, {result.verdict.switches} switches)"
            print(f"{where}: {violation.invariant}: {violation.what}", file=sys.stderr, flush=True)
        yield result


def summarise(results: Iterable[Result]) -> dict[str, Any]:
    """Figures of a campaign."""
    count = large = alive = refused = real = 0
    served = could = 0.0
    failed: list[dict[str, Any]] = []
    short: list[dict[str, Any]] = []
    broken: Counter[str] = Counter()
    for result in results:
        verdict = result.verdict
        count += 1
        large += verdict.switches > 30
        real += result.real_frames
        refused += verdict.refused
        broken.update(violation.invariant for violation in verdict.violations)
        unsafe = [violation for violation in verdict.violations if violation.invariant != "I7"]
        if unsafe and len(failed) < _FAILURES_SHOWN:
            failed.append(_entry(result, unsafe))
        elif verdict.violations and not unsafe and len(short) < _FAILURES_SHOWN:
            short.append(_entry(result, verdict.violations))
        if verdict.alive:
            alive += 1
            served += verdict.served_a
            could += verdict.could_a
    return {
        "scenarios": count,
        "violations": broken.total() - broken["I7"],
        "broken": dict(sorted((invariant, times) for invariant, times in broken.items() if times)),
        "restorable_load_restored": served / could if could else 1.0,
        "restorable_a": round(could, 1),
        "islands_served_less": broken["I7"],
        "stale_inputs_refused": refused,
        "alive": alive,
        "over_30_switches": large,
        "real_frames": real,
        "failed": failed,
        "served_less": short,
    }


def _entry(result: Result, violations: Collection[Violation]) -> dict[str, Any]:
    return {
        "number": result.number,
        "name": result.verdict.name,
        "switches": result.verdict.switches,
        "violations": [violation._asdict() for violation in list(violations)[:5]],
    }


def _show(summary: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{summary['scenarios']} scenarios ({summary['over_30_switches']} of more than 30 switches, "
        f"{summary['real_frames']} through real frames) in {summary['wall_s']} s, seed {summary['seed']}: "
        f"[{'red' if summary['violations'] else 'green'}]{summary['violations']} violations[/]"
    )
    console.print(
        f"of {summary['alive']} with communication alive: "
        f"{summary['restorable_load_restored']:.5f} of {summary['restorable_a']:.0f} A of restorable load restored, "
        f"{summary['islands_served_less']} islands served less than possible"
    )
    console.print(f"{summary['stale_inputs_refused']} old, simulated or unreadable frames refused")
    for failure in (*summary["failed"], *summary["served_less"]):
        console.print(f"[red]scenario {failure['number']}[/] ({failure['name']}, {failure['switches']} switches)")
        for violation in failure["violations"]:
            console.print(f"  {violation['invariant']} at {violation['t']:.4f} s: {violation['what']}", markup=False)
    console.print(f"tell a scenario's story: {summary['replay']}")


def _replay(seed: int, number: int, base: FeederSystem | None, *, whole: bool) -> None:
    scenario = plan(seed, number, base)
    verdict = run_scenario(scenario)
    if verdict.violations and not whole:
        broken = ", ".join(sorted(verdict.broken))
        print(f"scenario {number} of seed {seed} breaks {broken}; made smaller:")
        scenario = shrink(scenario, verdict.broken)
    verdict = run_scenario(scenario, telling=True)
    for line in tell(scenario, verdict):
        print(line)
    if verdict.violations:
        raise SystemExit(1)
