"""``flisr bench kill``: agents killed with SIGKILL at random moments of a restoration, and started again.

Each moment has a fresh stage of real processes, one fault and one kill; the agent comes back after a random pause
with the state file it left. What may not be is judged from two witnesses, neither of them an agent: the plant's log
and the wire. The files of a moment with a violation are kept.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import random
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.console import Console
from rich.progress import track

from gateway.site import read_site
from ied_agents.dflisr.records import LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from tools.campaign.network_truth import live_sections
from tools.demo.stage import Stage
from tools.demo.wire_story import WireReader, outcome
from tools.pcap import read_capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.site import Site
    from ied_agents.dflisr.records import AgentState, EventId

_FAULT_AFTER_S: Final = 1.0
_BEFORE_FAULT_S: Final = 0.05
_BEYOND: Final = 1.1
"""Moments lie up to so many times the length of an undisturbed restoration after the fault."""
_LONGEST_PAUSE_S: Final = 1.0
_NEAR: Final = 0.6
"""Share of the kills that hit a switch of the faulted section: those are the ones with locks."""
_LONGEST_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One kill.

    Attributes:
        section: index of the section that gets a permanent fault.
        switch: whose agent is killed; 0 for none.
        after_s: how long after the fault, s; negative before it.
        pause_s: how long it stays away, s.
        seed: of the plant's pickup delays.
    """

    section: int
    switch: int
    after_s: float
    pause_s: float
    seed: int


@dataclass(slots=True)
class Verdict:
    """What the witnesses say of one moment.

    Attributes:
        violations: broken invariants.
        locks_lost: durable locks that were gone later although their event was not cleared.
        durable_at_kill: durable locks that the killed agent had published before it was killed.
        healed: right section declared, its switches locked, every other section under voltage.
        dark: the other sections that are not.
        stopped: who said that it cannot finish, and why.
        restored_s: from the fault to the last movement of a switch, s.
    """

    violations: list[str] = field(default_factory=list)
    locks_lost: list[str] = field(default_factory=list)
    durable_at_kill: int = 0
    healed: bool = False
    dark: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    restored_s: float = 0.0


def kill(
    *,
    moments: Annotated[int, Parameter(help="How many; the faults go round all sections.")] = 100,
    seed: Annotated[int, Parameter(help="Of moments, switches, pauses and pickup delays.")] = 1,
    site_file: Annotated[Path | None, Parameter(name="--site", help="A site file other than the sample.")] = None,
    out: Annotated[Path, Parameter(help="Folder that keeps the files of moments with a violation.")] = Path("kill-out"),
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Kill agents of the demo at random moments of a restoration and judge what comes of it."""
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        site = read_site(site_file or samples / "two_source.toml")
    started = time.monotonic()
    rng = random.Random(seed)
    rehearsal = play(site, Moment(_sections(site)[0], 0, 0.0, 0.0, seed), out / "rehearsal")
    played: list[tuple[Moment, Verdict]] = []
    planned = plan(site, moments, rng, rehearsal.restored_s * _BEYOND)
    for number, moment in enumerate(track(planned, "moments", console=Console(stderr=True)), 1):
        played.append((moment, play(site, moment, out / str(number))))
    with contextlib.suppress(OSError):  # not empty: there is something to look at
        out.rmdir()
    result = {
        **summary(site, played),
        "restoration_ms": round(rehearsal.restored_s * 1000, 1),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
    }
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        _show(result)
    if result["violations"] or result["locks_lost"]:
        raise SystemExit(1)


def plan(site: Site, moments: int, rng: random.Random, longest_s: float) -> list[Moment]:
    """Moments from just before the fault to ``longest_s`` after it, evenly."""
    sections = _sections(site)
    planned: list[Moment] = []
    for number in range(moments):
        section = sections[number % len(sections)]
        around = [s.number for s in site.network.switches if section in s.sections]
        planned.append(
            Moment(
                section,
                rng.choice(around if rng.random() < _NEAR else sorted(site.agents)),
                rng.uniform(-_BEFORE_FAULT_S, longest_s),
                rng.uniform(0.0, _LONGEST_PAUSE_S),
                rng.randrange(1 << 31),
            )
        )
    return planned


def play(site: Site, moment: Moment, out: Path) -> Verdict:
    """Play one moment; its files stay in ``out`` only if something was violated.

    Raises:
        LabUnavailable: this machine has no network namespaces for us.
        StageError: a process did not start.
    """
    killed_ns = 0
    with Stage(site, out, PlantSettings(), moment.seed) as stage:
        at_ns = time.time_ns() + round(_FAULT_AFTER_S * 1e9)
        stage.inject_fault(moment.section, at_ns)
        if moment.switch:
            _sleep_until(at_ns + round(moment.after_s * 1e9))
            killed_ns = time.time_ns()
            stage.kill(moment.switch)
            time.sleep(moment.pause_s)
            stage.restart(moment.switch)
        _sleep_until(at_ns + round(_BEFORE_FAULT_S * 1e9))
        stage.settle(_LONGEST_S)
        dropped = stage.finish()["dropped"]
        packets = [(packet.time_ns, packet.data) for packet in read_capture(stage.pcap)]
        plant = [json.loads(line) for line in (out / "plant.jsonl").read_text(encoding="utf-8").splitlines()]
    states = list(WireReader(site).states(packets))
    verdict = judge(site, moment, killed_ns, states, plant)
    if dropped:
        verdict.violations.append(f"the capture lost {dropped} frames: nothing is proven")
    if not verdict.violations and not verdict.locks_lost:
        shutil.rmtree(out)
    return verdict


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9))


def _sections(site: Site) -> list[int]:
    return [section.index for section in site.network.sections if not section.is_source]


# -- the judge ------------------------------------------------------------------------------------------------------


def judge(
    site: Site,
    moment: Moment,
    killed_ns: int,
    states: Sequence[tuple[int, int, AgentState]],
    plant: Sequence[dict[str, Any]],
) -> Verdict:
    """Judge one moment by what the plant logged and what was on the wire.

    Args:
        site: the site.
        moment: what was played.
        killed_ns: CLOCK_REALTIME of the kill.
        states: new states in the order of the wire: time in ns, switch, state.
        plant: the plant's log.
    """
    verdict = Verdict()
    fault_ns = next(e["stamp_ns"] for e in plant if e["kind"] == "FaultAppeared")
    _judge_locks(site, moment, killed_ns, states, verdict)
    _judge_plant(site, moment, states, [e for e in plant if e["stamp_ns"] >= fault_ns], verdict)
    _judge_outcome(site, moment, [s for s in states if s[0] >= fault_ns], plant, verdict)
    moves = [e["stamp_ns"] for e in plant if e["kind"] == "PositionChanged"]
    verdict.restored_s = (max(moves, default=fault_ns) - fault_ns) / 1e9
    return verdict


def _judge_locks(
    site: Site, moment: Moment, killed_ns: int, states: Sequence[tuple[int, int, AgentState]], verdict: Verdict
) -> None:
    """No durable lock is missing in a later frame, and the killed agent speaks again, as a new incarnation."""
    # A withdrawn declaration is published as cleared once that is durable, a little later than its unlock.
    cleared = {event for _, _, state in states for event in state.cleared}
    last: dict[int, AgentState] = {}
    back = not moment.switch
    for t_ns, number, state in states:
        before = last.get(number)
        if number == moment.switch and t_ns > killed_ns and before is not None:
            if not back:
                verdict.durable_at_kill = sum(side.lock is LockState.DURABLE for side in before.sides)
            back = back or state.incarnation > before.incarnation
        if before is not None:
            verdict.locks_lost.extend(
                f"{_name(site, number)} side {'AB'[at]}: durable lock for {old.lock_event} gone"
                for at, (old, new) in enumerate(zip(before.sides, state.sides, strict=True))
                if old.lock is LockState.DURABLE and new.lock is LockState.NONE and old.lock_event not in cleared
            )
        last[number] = state
    if not back:
        verdict.violations.append(f"{_name(site, moment.switch)}: killed and started again, and never heard again")


def _judge_plant(
    site: Site,
    moment: Moment,
    states: Sequence[tuple[int, int, AgentState]],
    plant: Sequence[dict[str, Any]],
    verdict: Verdict,
) -> None:
    """Walk through the plant's log beside the wire."""
    published: dict[int, AgentState] = {}
    coming = iter(states)
    upcoming = next(coming, None)
    held_at_close: dict[int, set[int]] = {}
    closing = 0
    shots = {s.number: len(site.settings.switch[s.path].shots_ms) for s in site.network.switches}
    for event in plant:
        while upcoming is not None and upcoming[0] <= event["stamp_ns"]:
            published[upcoming[1]] = upcoming[2]
            upcoming = next(coming, None)
        match event["kind"]:
            case "SourcesParalleled":
                verdict.violations.append(f"I2: sources {event['sources']} connected with each other")
            case "CommandReceived" if event["operation"] == "close":
                held_at_close[event["switch"]] = _held(site, published)
                state = published.get(event["switch"])
                if state is not None and any(side.lock is not LockState.NONE for side in state.sides):
                    verdict.violations.append(f"I3: {_name(site, event['switch'])} ordered to close while locked")
            case "PositionChanged" if event["position"] == Dbpos.ON:
                closing = event["switch"]
            case "SectionEnergised":
                section = event["section"]
                flagged = section in held_at_close.get(closing, set())
                if section == moment.section and not flagged and shots.get(closing):
                    shots[closing] -= 1  # a reclosing shot, before anyone has declared the fault
                elif flagged or section == moment.section:
                    verdict.violations.append(
                        f"I1: {_name(site, closing)} energised {site.network.sections[section].name}, "
                        f"{'faulted' if section == moment.section else 'held faulted or suspect'}"
                    )


def _held(site: Site, published: dict[int, AgentState]) -> set[int]:
    """Sections that someone holds faulted or suspect, by what is published now."""
    cleared: set[EventId] = {event for state in published.values() for event in state.cleared}
    return {
        section
        for number, state in published.items()
        for section, side in zip(site.network.switch(number).sections, state.sides, strict=True)
        if side.section is not SectionState.NONE and side.section_event not in cleared
    }


def _judge_outcome(
    site: Site,
    moment: Moment,
    states: Sequence[tuple[int, int, AgentState]],
    plant: Sequence[dict[str, Any]],
    verdict: Verdict,
) -> None:
    """How far the restoration came."""
    network = site.plant()
    closed = {s.number for s in network.switches if s.closed}
    for event in plant:
        if event["kind"] == "PositionChanged":
            (closed.add if event["position"] == Dbpos.ON else closed.discard)(event["switch"])
    seen = outcome(site, states, {})
    around = tuple(sorted(s.number for s in network.switches if moment.section in s.sides))
    live = live_sections(network, closed)
    verdict.stopped = seen.stopped
    verdict.dark = tuple(s.name for s in network.sections if s.index not in {*live, moment.section})
    declared = seen.declared == (network.sections[moment.section].name,)
    verdict.healed = declared and seen.locked == around and not verdict.dark


def _name(site: Site, number: int) -> str:
    return site.network.switch(number).name if number else "nothing"


# -- the result -----------------------------------------------------------------------------------------------------


def summary(site: Site, played: Iterable[tuple[Moment, Verdict]]) -> dict[str, Any]:
    """Figures over all moments, and each that was not clean."""
    pairs = list(played)
    verdicts = [verdict for _, verdict in pairs]
    return {
        "moments": len(pairs),
        "violations": sum(len(v.violations) for v in verdicts),
        "locks_lost": sum(len(v.locks_lost) for v in verdicts),
        "durable_locks_at_kill": sum(v.durable_at_kill for v in verdicts),
        "healed": sum(v.healed for v in verdicts),
        "stopped": sum(bool(v.stopped) and not v.healed for v in verdicts),
        "neither": sum(not v.stopped and not v.healed for v in verdicts),
        "agents": len(site.agents),
        "not_clean": [
            {**asdict(moment), "violations": verdict.violations, "locks_lost": verdict.locks_lost}
            for moment, verdict in pairs
            if verdict.violations or verdict.locks_lost
        ],
        "not_healed": [
            {
                "section": site.network.sections[moment.section].name,
                "killed": _name(site, moment.switch),
                "after_ms": round(moment.after_s * 1000, 1),
                "pause_ms": round(moment.pause_s * 1000, 1),
                "dark": verdict.dark,
                "stopped": verdict.stopped,
            }
            for moment, verdict in pairs
            if not verdict.healed
        ],
    }


def _show(result: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{result['moments']} moments in {result['seconds']:.0f} s, {result['agents']} agent processes: "
        f"{result['violations']} violations, {result['locks_lost']} of the durable locks lost "
        f"({result['durable_locks_at_kill']} were held by the killed), {result['healed']} healed, "
        f"{result['stopped']} stopped safely, {result['neither']} neither"
    )
    for entry in result["not_clean"]:
        console.print(f"[red]{entry}[/]")
    for entry in result["not_healed"]:
        console.print(str(entry))
