"""``flisr demo``: a feeder heals itself before your eyes."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from gateway.site import Site, read_site
from tools.demo.play import Record, Script, play_in_memory, play_on_wire
from tools.demo.render import feeder_text, timeline
from tools.lab import LabUnavailable

app = App(name="demo", help="Two feeders, ten switches, one agent process each: a fault, and what the agents do.")


class DemoError(ValueError):
    """An option that cannot be used; says what there is to choose from."""


@app.default
def demo(
    *,
    fault: Annotated[str, Parameter(help="Section that gets the fault, e.g. F1/S2.")] = "F1/S2",
    kill: Annotated[str, Parameter(help="Switch whose agent is killed just before the fault, e.g. R3.")] = "",
    loss: Annotated[float, Parameter(help="Percentage of frames that every agent loses.")] = 0.0,
    seed: Annotated[int, Parameter(help="Of the pickup delays.")] = 1,
    out: Annotated[Path, Parameter(help="Folder for capture, pictures, journals and record.")] = Path("demo-out"),
    site_file: Annotated[Path | None, Parameter(name="--site", help="A site file of your own.")] = None,
    memory: Annotated[bool, Parameter(help="One process and virtual time instead of real Ethernet.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the record only.")] = False,
) -> None:
    """Let a fault happen, and show what the agents do about it."""
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        site = read_site(site_file or samples / "two_source.toml")
    if not 0 <= loss < 100:
        raise DemoError(f"--loss {loss:g}: expected 0 to below 100")
    script = Script(_section(site, fault), seed=seed, kill=_switch(site, kill) if kill else 0, loss=loss / 100)
    console = Console(quiet=as_json)
    record = _play(site, script, out, console, memory=memory)
    if as_json:
        print(json.dumps(record.as_json(), indent=1))
    else:
        _show(record, console)


def _play(site: Site, script: Script, out: Path, console: Console, *, memory: bool) -> Record:
    if not memory:
        console.print(f"Starting {len(site.agents)} agents, each in its own network namespace ...")
        try:
            return play_on_wire(site, script, out)
        except LabUnavailable as reason:
            console.print(f"[yellow]No real Ethernet here: {reason}[/]")
    console.print("Playing in memory: one process, virtual time, no packet sockets.")
    return play_in_memory(site, script, out)


def _section(site: Site, name: str) -> int:
    for section in site.network.sections:
        if section.name == name and not section.is_source:
            return section.index
    names = ", ".join(s.name for s in site.network.sections if not s.is_source)
    raise DemoError(f"--fault {name}: expected one of {names}")


def _switch(site: Site, name: str) -> int:
    for switch in site.network.switches:
        if name in (switch.name, switch.path, switch.iedName):
            return switch.number
    raise DemoError(f"--kill {name}: expected one of {', '.join(s.name for s in site.network.switches)}")


def _show(record: Record, console: Console) -> None:
    console.rule("before")
    console.print(feeder_text(record.before))
    console.rule("what happened (frame times on the wire; 0 is the fault)")
    console.print(timeline(record.rows))
    console.rule("after")
    console.print(feeder_text(record.after))
    result = record.outcome
    console.rule("result")
    console.print(f"fault in {record.faulted}; declared faulted: {', '.join(result.declared) or 'none'}")
    if result.suspect:
        console.print(f"held suspect: {', '.join(result.suspect)}")
    locked = [s.name for s in record.after.switches if s.locked]
    console.print(f"locked: {', '.join(locked) or 'none'}")
    console.print(
        f"load served: {record.served_before_a:.0f} A before, {record.served_after_a:.0f} A after, "
        f"of {record.load_a:.0f} A"
    )
    if result.pickup_to_last_lock_ms is not None:
        console.print(f"pickup to last lock with open command or clear request: {result.pickup_to_last_lock_ms:.1f} ms")
    if result.last_position_to_grants_ms is not None:
        console.print(f"last isolation position to all grants: {result.last_position_to_grants_ms:.1f} ms")
    for line in result.stopped:
        console.print(f"[yellow]stopped safely: {line}[/]")
    for line in record.missed:
        console.print(f"[yellow]left dark: {line}[/]")
    console.print(f"link: {record.link}, {record.agents} agent processes, {record.frames} GOOSE frames")
    console.print("written: " + ", ".join(record.files))
