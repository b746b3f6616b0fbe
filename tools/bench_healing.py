"""``flisr bench healing``: many faults, one after the other, each on a fresh stage of real processes.

Every attempt counts. Times are read off the wire capture and the plant's stamps, never off the agents.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import track

from gateway.site import read_site
from ied_agents.runtime.realtime import RealTimeHelp
from tools.demo.play import Record, play_on_wire
from tools.demo.scenes import permanent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def healing(
    *,
    faults: Annotated[int, Parameter(help="How many; they go round all sections.")] = 50,
    seed: Annotated[int, Parameter(help="Of the pickup delays.")] = 1,
    loss: Annotated[float, Parameter(help="Percentage of frames that every agent loses.")] = 0.0,
    site_file: Annotated[Path | None, Parameter(name="--site", help="A site file other than the sample.")] = None,
    fifo: Annotated[int, Parameter(help="SCHED_FIFO priority of the agents, with locked memory; 0 for neither.")] = 0,
    load: Annotated[bool, Parameter(help="Keep one processor busy with something else.")] = False,
    kill_plant: Annotated[float, Parameter(help="Kill the plant this many ms after each fault; 0 never.")] = 0.0,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Inject faults into the ten-process demo and measure how the agents heal it."""
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        site = read_site(site_file or samples / "two_source.toml")
    sections = [section.index for section in site.network.sections if not section.is_source]
    records: list[Record] = []
    rounds = range(faults)
    wishes = RealTimeHelp(fifo_priority=fifo or None, lock_memory=bool(fifo))
    with tempfile.TemporaryDirectory(prefix="flisr-bench-") as folder, _busy_processor(wanted=load):
        for number in rounds if as_json else track(rounds, description="faults"):
            scene = permanent(
                site,
                sections[number % len(sections)],
                seed=seed + number,
                loss=loss / 100,
                kill_plant_s=kill_plant / 1000,
                realtime=wishes,
            )
            records.append(play_on_wire(scene, Path(folder)))
    result = {**summary(records), "fifo": fifo, "load": load}
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        _show(result)
    if result["healed"] < result["faults"] and not kill_plant:
        raise SystemExit(1)


@contextlib.contextmanager
def _busy_processor(*, wanted: bool) -> Iterator[None]:
    """Keep the last processor busy meanwhile."""
    if not wanted:
        yield
        return
    cpu = max(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile os.getppid() != 1: pass"
    busy = subprocess.Popen([sys.executable, "-P", "-c", program])  # noqa: S603 - our own
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Figures over all attempts; times in ms."""
    outcomes = [record.outcome for record in records]
    return {
        "faults": len(records),
        "located": sum(record.outcome.declared == record.faulted for record in records),
        "healed": sum(record.healed for record in records),
        "failed": [
            {
                "fault": r.faulted,
                "declared": r.outcome.declared,
                "locked": r.outcome.locked,
                "missed": r.missed,
            }
            for r in records
            if not r.healed
        ],
        "agents": min((record.agents for record in records), default=0),
        "link": records[0].link if records else "",
        "cpus": os.cpu_count(),
        "pickup_to_last_lock_ms": _spread([o.pickup_to_last_lock_ms for o in outcomes]),
        "last_position_to_grants_ms": _spread([o.last_position_to_grants_ms for o in outcomes]),
    }


def _spread(values: list[float | None]) -> dict[str, float | int]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return {"count": 0}
    return {
        "count": len(known),
        "median": round(known[len(known) // 2], 2),
        "p99": round(known[min(len(known) - 1, int(len(known) * 0.99))], 2),
        "max": round(known[-1], 2),
    }


def _show(result: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{result['faults']} faults, {result['agents']} agent processes, link {result['link']}: "
        f"{result['located']} located, {result['healed']} healed"
    )
    for name in ("pickup_to_last_lock_ms", "last_position_to_grants_ms"):
        console.print(f"{name}: {result[name]}")
    for failure in result["failed"]:
        console.print(f"[red]{failure}[/]")
