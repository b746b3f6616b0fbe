"""``flisr commission``: the test plan of ``docs/commissioning.md``, carried out as far as a program can.

On paper: the SCD, the site file, and the agents under the campaign on the user's own network. On this machine: the
agents that run here. At the switches: what of the primary and secondary tests the agents' journals have seen.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from gateway.site import SiteError, site_of
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage
from ied_agents.runtime.journal import JournalError, read_journal
from ied_agents.runtime.operator_client import AgentSilentError, ask
from ied_agents.runtime.settings import AgentProcessSettings, AgentSettings, AgentSettingsError
from scl.reader import read
from scl.validation import validate
from tools.agent_command import ROOT
from tools.campaign.command import summarise
from tools.campaign.runs import run_all
from tools.campaign.user_network import user_system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_WORKERS: Final = 2
_SEED: Final = 1
_LISTED: Final = 5
"""Findings that one step tells of."""


class State(StrEnum):
    """How a step stands."""

    DONE = "done"
    OPEN = "open"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan.

    Attributes:
        part: ``on paper``, ``on this machine``, or the agent at whose switch it is done.
        what: what is checked or tried.
        state: how it stands.
        said: what was found; of an open step, what to do.
    """

    part: str
    what: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class _Exercise:
    """What is tried at a switch, how, and by which entry of the journal it shows."""

    what: str
    how: str
    shows: Callable[[dict[str, Any]], bool]


def _published(name: str, value: int) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: entry["kind"] == "published" and entry.get("values", {}).get(name) == value


def _noted(kind: str, **detail: str) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: entry["kind"] == kind and all(entry.get(name) == value for name, value in detail.items())


_EXERCISES: Final = (
    _Exercise("seen open", "open the switch at its panel", _published("SW1.Pos.stVal", Dbpos.OFF)),
    _Exercise("seen closed", "close the switch at its panel", _published("SW1.Pos.stVal", Dbpos.ON)),
    _Exercise(
        "saw current forward", "inject fault current from side A to side B", _noted("picked up", direction="FORWARD")
    ),
    _Exercise(
        "saw current backward", "inject fault current from side B to side A", _noted("picked up", direction="BACKWARD")
    ),
    *(
        _Exercise(
            f"voltage of side {side} {voltage.name.lower()}",
            f"{'apply' if voltage is Voltage.PRESENT else 'take away'} the voltage of side {side}",
            _published(f"AFSR1.Vlt.side{side}", voltage),
        )
        for side in "AB"
        for voltage in (Voltage.PRESENT, Voltage.ABSENT)
    ),
    _Exercise("opened it", "flisr agent open, or a fault injected while it is on", _noted("open ordered")),
    _Exercise("closed it", "flisr agent close, with the section dead behind it", _noted("close ordered")),
    _Exercise("blocked it", "flisr agent tag; no close may pass at the relay's panel", _noted("tags set")),
    _Exercise("missed a stream", "pull the network cable for 5 s", _noted("StreamLost")),
)


def commission(
    *,
    scd: Annotated[Path, Parameter(help="The SCD.")],
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    root: Annotated[Path, Parameter(help="Folder in which each agent has one of its name.")] = ROOT,
    scenarios: Annotated[int, Parameter(help="Of the campaign on this network; 0 for none.")] = 200,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Carry out the test plan as far as a program can, and say what is left for people.

    Exit status 1 if a step failed; open ones fail nothing.
    """
    steps = list(_steps(scd, site, root, scenarios))
    if as_json:
        print(json.dumps({"steps": [asdict(step) for step in steps], **_count(steps)}, indent=1))
    else:
        part = ""
        for step in steps:
            if step.part != part:
                part = step.part
                print(part)
            print(f"  {step.state:6} {step.what:24} {step.said}")
        print(", ".join(f"{count} {state}" for state, count in _count(steps).items()))
    if any(step.state is State.FAILED for step in steps):
        raise SystemExit(1)


def _count(steps: Iterable[Step]) -> dict[str, int]:
    states = [step.state for step in steps]
    return {state.value: states.count(state) for state in State}


def _steps(scd: Path, site_file: Path | None, root: Path, scenarios: int) -> Iterator[Step]:
    try:
        site = site_of(scd, site_file)
    except SiteError as error:
        yield _scd(scd, None)
        yield _step("on paper", "site file", error.problems, "")
        return
    yield _scd(scd, [path for path, switch in site.settings.switch.items() if switch.normal == "open"])
    yield _step("on paper", "site file", [], f"{len(site.agents)} agents")
    if scenarios:
        yield _campaign(scd, site_file, scenarios)
    here = [agent for agent in site.agents.values() if (root / agent.ied).is_dir()]
    if not here:
        yield Step(
            "on this machine", "agents", State.OPEN, f"none has a folder in {root}: start them, flisr agent unit"
        )
    for agent in here:
        yield from _running(agent, root / agent.ied)
        yield from _exercised(agent, root / agent.ied / "journal.jsonl")


def _step(part: str, what: str, problems: list[str], said: str) -> Step:
    if not problems:
        return Step(part, what, State.DONE, said)
    more = f" ... and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return Step(part, what, State.FAILED, "; ".join(problems[:_LISTED]) + more)


def _scd(scd: Path, normally_open: list[str] | None) -> Step:
    """With the normal positions it is known too who must hear whom across ties."""
    findings = validate(read(scd), normally_open=normally_open)
    problems = [f"line {finding.line}: {finding.message}" for finding in findings]
    return _step("on paper", "SCD", problems, f"{scd} has no findings")


def _campaign(scd: Path, site_file: Path | None, scenarios: int) -> Step:
    summary = summarise(run_all(_SEED, range(scenarios), _WORKERS, user_system(scd, site_file)))
    problems = [f"scenario {failed['number']}: {failed['violations'][0]['what']}" for failed in summary["failed"]]
    what = f"{scenarios} scenarios on this network"
    return _step(
        "on paper", "campaign", problems, f"{what}, {summary['restorable_load_restored']:.4f} of load restored"
    )


def _running(agent: AgentSettings, folder: Path) -> Iterator[Step]:
    part = f"{agent.ied}, on this machine"
    try:
        told = AgentProcessSettings.from_json((folder / "settings.json").read_text(encoding="utf-8")).agent
    except (OSError, AgentSettingsError) as error:
        yield Step(part, "settings", State.FAILED, f"{folder / 'settings.json'}: {error}")
        return
    stale = [] if told == agent else ["it runs with other settings than SCD and site file give now: start it anew"]
    yield _step(part, "settings", stale, "as SCD and site file say")
    try:
        status = ask(folder / "operator", {"request": "status"})
    except AgentSilentError as error:
        yield Step(part, "running", State.FAILED, str(error))
        return
    wrong = [f"does not hear {', '.join(status['not_heard'])}"] * bool(status["not_heard"])
    wrong += [f"{name}: {said['why']}" for name, said in status["interfaces"].items() if not said["works"]]
    if status["held_until_confirmed"]:
        wrong.append("waits to be taken into service: flisr agent confirm")
    elif not status["ready"]:
        wrong.append("is not ready: its process is not heard, or its locks are not proven")
    yield _step(part, "running", wrong, f"hears all {status['subscribed']}, mode {status['mode'].lower()}")
    if agent.config.shadow:
        yield Step(part, "live", State.OPEN, "it is a shadow: take shadow out of the site file when all else is done")
    else:
        yield _step(part, "live", ["it is in mode " + status["mode"].lower()] * (status["mode"] != "ON"), "it operates")


def _exercised(agent: AgentSettings, journal: Path) -> Iterator[Step]:
    part = f"{agent.ied}, at the switch"
    seen: dict[str, int] = {}
    try:
        for entry in read_journal(journal) if journal.exists() else ():  # it is written behind time
            for exercise in _EXERCISES:
                if exercise.shows(entry):
                    seen[exercise.what] = entry["t_ns"]
    except (OSError, JournalError) as error:
        yield Step(part, "journal", State.FAILED, str(error))
        return
    for exercise in _EXERCISES:
        if exercise.what in seen:
            when = datetime.fromtimestamp(seen[exercise.what] / 1e9, UTC).isoformat(timespec="seconds")
            yield Step(part, exercise.what, State.DONE, f"last {when}")
        else:
            yield Step(part, exercise.what, State.OPEN, exercise.how)
