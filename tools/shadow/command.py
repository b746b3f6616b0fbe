"""``flisr shadow``: a day beside a live system; the agents in shadow must decide the same and operate nothing."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from rich.console import Console

from tools.campaign.user_network import user_system
from tools.shadow.day import TOGETHER_S, run_day
from tools.shadow.episodes import draw_system, plan_day

if TYPE_CHECKING:
    from tools.shadow.compare import Difference
    from tools.shadow.episodes import Episode

app = App(name="shadow", help="Agents in shadow beside live ones, under virtual time: what do they decide?")

_DIFFERENCES_SHOWN: Final = 50


@app.default
def shadow(
    *,
    scd: Annotated[Path | None, Parameter(help="Your own network: an SCD file; else a random one.")] = None,
    site: Annotated[
        Path | None, Parameter(help="Its site file; else the TOML beside the SCD of the same name.")
    ] = None,
    hours: Annotated[float, Parameter(help="Of virtual time.")] = 24.0,
    seed: Annotated[int, Parameter(help="Everything follows from it.")] = 1,
    every_step: Annotated[bool, Parameter(help="Take quiet hours step by step too; many times slower.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a live set of agents and its shadow on one plant, and compare what they decide.

    Faults permanent and transient, switches that do not obey, loss of a source, tags, modes, local control, unlocks,
    returns to normal, switches operated by hand. Both sets hear the same process and the same people; the shadow set
    talks on a network of its own, on which a frame takes as long as on the other.

    Exit status 1 if they decided differently or at other times, or if a command of the shadow set reached the plant.
    """
    system = user_system(scd, site) if scd is not None else draw_system(seed)
    episodes = plan_day(system, hours, seed)
    began = time.process_time()
    day = run_day(system, hours, seed, episodes, every_step=every_step, progress=_progress)
    names = {settings.ied: system.feeder.by_number[number].name for number, settings in system.agents.items()}
    summary: dict[str, Any] = {
        "hours": hours,
        "seed": seed,
        "switches": len(system.agents),
        "episodes": dict(Counter(episode.name for episode in episodes)),
        "decisions": len(day.decided),
        "decisions_in_shadow": day.shadow_decided,
        "decided": dict(Counter(decision.what for decision in day.decided).most_common()),
        "differences": len(day.differences),
        "different": [_entry(difference, names) for difference in day.differences[:_DIFFERENCES_SHOWN]],
        "apart_s": day.apart_s,
        "orders": day.live_orders,
        "orders_from_shadow": day.shadow_orders,
        "streams_lost": day.streams_lost,
        "stepped_s": round(day.stepped_s),
        "cpu_s": round(time.process_time() - began, 1),
    }
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        _show(summary)
    if not day.identical:
        raise SystemExit(1)


def _progress(episode: Episode) -> None:
    print(f"{episode.at / 3600:6.2f} h  {episode.name}", file=sys.stderr, flush=True)


def _entry(difference: Difference, names: dict[str, str]) -> dict[str, Any]:
    return {**difference._asdict(), "switch": f"{names[difference.switch]} ({difference.switch})"}


def _show(summary: dict[str, Any]) -> None:
    console = Console()
    differ, apart, let_through = (
        "red" if bad else "green"
        for bad in (summary["differences"], summary["apart_s"] > TOGETHER_S, summary["orders_from_shadow"])
    )
    console.print(
        f"{summary['hours']:g} h beside {summary['switches']} live agents, seed {summary['seed']}, "
        f"{sum(summary['episodes'].values())} episodes, in {summary['cpu_s']} s of processor time"
    )
    console.print(
        f"{summary['decisions']} decisions, {summary['decisions_in_shadow']} in shadow, "
        f"[{differ}]{summary['differences']} differences[/]; "
        f"the same decision at most [{apart}]{summary['apart_s']:g} s[/] apart"
    )
    console.print(
        f"{summary['orders']} orders reached the plant, [{let_through}]{summary['orders_from_shadow']} from shadow[/]"
    )
    for entry in summary["different"]:
        console.print(f"{entry['t']:.4f} s, {entry['switch']}, after {entry['occurrence']}", markup=False)
        for who in ("live", "shadow"):
            console.print(f"  {who + ':':8}{'; '.join(entry[who]) or 'nothing'}", markup=False)
