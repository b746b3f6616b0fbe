"""``flisr demo``: a feeder heals itself before your eyes."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from gateway.site import Site, read_site
from tools.demo.machine import assess, generated, measure_agent, this_machine
from tools.demo.play import Record, play_in_memory, play_on_wire
from tools.demo.render import control_centre, feeder_text, timeline
from tools.demo.scenes import SCRIPTED, Scene, permanent, scripted
from tools.lab import LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

app = App(name="demo", help="Two feeders, ten switches, one agent process each: faults, and what the agents do.")

_SCENES = ("permanent", *SCRIPTED)


class DemoError(ValueError):
    """An option that cannot be used; says what there is to choose from."""


@app.default
def demo(
    *,
    scene: Annotated[
        str, Parameter(help=f"One of {', '.join(_SCENES)}. Without: the first in full, all the others in short.")
    ] = "",
    fault: Annotated[str, Parameter(help="Section that gets the permanent fault, e.g. F1/S2.")] = "",
    kill: Annotated[str, Parameter(help="Switch whose agent is killed just before the fault, e.g. R3.")] = "",
    loss: Annotated[float, Parameter(help="Percentage of frames that every agent loses.")] = 0.0,
    seed: Annotated[int, Parameter(help="Of the pickup delays.")] = 1,
    out: Annotated[Path, Parameter(help="Folder for capture, pictures, journals and record.")] = Path("demo-out"),
    site_file: Annotated[Path | None, Parameter(name="--site", help="A site file of your own.")] = None,
    switches: Annotated[int, Parameter(help="Generate a system of about so many switches instead.")] = 0,
    memory: Annotated[bool, Parameter(help="One process and virtual time instead of real Ethernet.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the record only.")] = False,
) -> None:
    """Let faults happen, and show what the agents do about them.

    Each scene is judged by the plant and the wire; exit status 1 if one did not end as it must.
    """
    if not 0 <= loss < 100:
        raise DemoError(f"--loss {loss:g}: expected 0 to below 100")
    if scene and scene not in _SCENES:
        raise DemoError(f"--scene {scene}: expected one of {', '.join(_SCENES)}")
    chosen = {"--fault": fault, "--kill": kill, "--site": site_file, "--switches": switches}
    given = [name for name, value in chosen.items() if value]
    if scene in SCRIPTED and given:
        raise DemoError(f"{given[0]}: only with the scene permanent; {scene} is told on the shipped sample")
    if site_file and switches:
        raise DemoError("--switches generates a system, --site names one: one of the two")
    console = Console(quiet=as_json)
    player = _Player(out, console, memory=memory)
    if switches and not memory:
        _say_what_it_takes(switches, console)
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        site = generated(switches, out) if switches else read_site(site_file or samples / "two_source_relays.toml")
    how: dict[str, Any] = {"seed": seed, "loss": loss / 100}
    if scene in SCRIPTED:
        main = scripted(scene, site, **how)
    else:
        main = permanent(
            site, _section(site, fault), kill=_switch(site, kill) if kill else 0, engineer=not switches, **how
        )
    record = player.play(main, out)
    records = [record]
    if not as_json:
        _show(record, console)
    if not scene and not given:
        console.rule("more of it (--scene NAME shows one in full)")
        for name in SCRIPTED:
            records.append(player.play(scripted(name, site, **how), out / name))
            _show_short(records[-1], console)
    if as_json:
        rest = {each.scene: _brief(each) for each in records[1:]}
        print(json.dumps(record.as_json() | ({"scenes": rest} if rest else {}), indent=1))
    if any(each.failures for each in records):
        raise SystemExit(1)


class _Player:
    """Plays scenes on real Ethernet, or in memory once it has turned out that there is none."""

    def __init__(self, out: Path, console: Console, *, memory: bool) -> None:
        self._memory = memory
        self._out = out
        self._console = console

    def play(self, scene: Scene, out: Path) -> Record:
        if not self._memory:
            if out == self._out:
                self._console.print(f"Starting {len(scene.site.agents)} agents, each in its own network namespace ...")
            try:
                return play_on_wire(scene, out)
            except LabUnavailable as reason:
                self._console.print(f"[yellow]No real Ethernet here: {escape(str(reason))}[/]")
                self._memory = True
        if out == self._out:
            self._console.print("Playing in memory: one process, virtual time, no packet sockets.")
        return play_in_memory(scene, out)


def _say_what_it_takes(switches: int, console: Console) -> None:
    lines, small = assess(switches, this_machine(), measure_agent())
    for line in lines:
        console.print(line)
    if small:
        console.print(
            "[yellow]So many share its processors that times will say more of this machine than of agents.[/]"
        )


def _section(site: Site, name: str) -> int:
    faultable = {s.name: s.index for s in site.network.sections if not s.is_source}
    if not name:
        name = "F1/S2" if "F1/S2" in faultable else next(iter(faultable))
    if name not in faultable:
        raise DemoError(f"--fault {name}: expected one of {', '.join(faultable)}")
    return faultable[name]


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
    if record.centre:
        console.rule("what the control centre saw (c104, IEC 60870-5-104, through flisr run)")
        console.print(control_centre(record.centre["heard"]))
    console.rule("after")
    console.print(feeder_text(record.after))
    result = record.outcome
    console.rule("result")
    console.print(f"{record.title}: {'; '.join(_found(record))}")
    if result.pickup_to_last_lock_ms is not None:
        console.print(f"pickup to last lock with open command or clear request: {result.pickup_to_last_lock_ms:.1f} ms")
    if result.last_position_to_grants_ms is not None:
        console.print(f"last isolation position to all grants: {result.last_position_to_grants_ms:.1f} ms")
    if record.engineer:
        console.print(_engineer(record.engineer), highlight=False)
    if "tried" in record.centre:
        console.print(_centre(record.centre["tried"]), highlight=False)
    for line in result.stopped:
        console.print(f"[yellow]stopped safely: {line}[/]")
    for line in record.missed:
        console.print(f"[yellow]left dark: {line}[/]")
    if not record.failures:
        console.print("[green]as it must be, by the plant and the wire[/]")
    _show_failures(record, console)
    console.print(f"link: {record.link}, {record.agents} agent processes, {record.frames} GOOSE frames")
    console.print("written: " + ", ".join(record.files))


def _show_short(record: Record, console: Console) -> None:
    verdict = "[red]WRONG[/]" if record.failures else "[green]as it must be[/]"
    told = escape(f"{record.title}: {'; '.join(_found(record))}")
    console.print(f"{verdict} [bold]{record.scene}[/]: {told}", highlight=False)
    _show_failures(record, console)


def _show_failures(record: Record, console: Console) -> None:
    for line in record.failures:
        console.print(f"[red]not as it must be: {escape(line)}[/]")


def _engineer(said: dict[str, Any]) -> str:
    if "skipped" in said:
        return f"no engineer tried to close a locked switch by MMS: {escape(said['skipped'])}"
    if not said["refused"]:
        return f"[red]an engineer's MMS client closed {said['ied']}[/]"
    return (
        f"an engineer's MMS client tried to close {said['ied']}: refused at {said['stage']}, "
        f"AddCause {said['add_cause']} ({said['cause']})"
    )


def _centre(said: dict[str, Any]) -> str:
    if not said["refused"]:
        return f"[red]the control centre closed {said['ied']}[/]"
    return (
        f"the control centre tried to select and close {said['ied']}: {escape(said['answer'])}\n"
        f"the gateway's log: {escape(said['log'])}"
    )


def _found(record: Record) -> Iterator[str]:
    """What came of it, in a few words each."""
    result, after = record.outcome, record.after
    for what, names in (
        ("declared faulted", result.declared),
        ("held suspect", result.suspect),
        ("isolated too", result.widened),
        ("locked", [s.name for s in after.switches if s.locked]),
        ("held open", record.held),
    ):
        if names:
            yield f"{what} {', '.join(names)}"
    if not any(s.locked for s in after.switches):
        yield "nothing locked"
    yield (
        f"load served {record.served_before_a:.0f} A before, {record.served_after_a:.0f} A after, "
        f"of {record.load_a:.0f} A, {record.settled_s:.2f} s later"
    )


def _brief(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.as_json().items() if name != "timeline"}
