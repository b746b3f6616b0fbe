"""``flisr bench loss``: whether an event is lost, whatever happens to gateway, lines, disk, database and masters."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from tools.loss import trials
from tools.loss.away import away
from tools.loss.chain import LossError

if TYPE_CHECKING:
    from collections.abc import Callable

TRIALS: Final = ("kill", "cut", "away", "disk", "database", "broker")
Trial = Literal["kill", "cut", "away", "disk", "database", "broker"]


class BenchError(Exception):
    """The command line asks for nothing that can be played."""


def loss(
    *only: Annotated[Trial, Parameter(help="Play these trials; all, if none is named.")],
    kills: Annotated[int, Parameter(help="SIGKILL to the gateway, at random moments.")] = 100,
    cuts: Annotated[int, Parameter(help="Lines cut within a window, two of three to the control centre.")] = 300,
    hours: Annotated[float, Parameter(help="Of virtual time, in which the master is away.")] = 1.0,
    disks: Annotated[int, Parameter(help="How often the disk of the event log is full.")] = 10,
    databases: Annotated[
        int, Parameter(help="Crashes of PostgreSQL; with each fourth one the gateway is killed.")
    ] = 20,
    brokers: Annotated[int, Parameter(help="SIGKILL to an MQTT broker or the gateway, in turn.")] = 100,
    seed: Annotated[int, Parameter(help="Of the moments.")] = 1,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Count what becomes of numbered events, from a field device through ``flisr run`` to everybody who wants them.

    A counting device, our gateway as it is installed, a control centre of ours and one made with c104, and a history;
    all on this machine, in processes of their own. Every event that the device had on its disk must arrive everywhere
    at least once, those of a point in order, and none that was never made. Exit status 1 if one does not, or a trial
    cannot be played to its end, or not here (outside of CI=true: is left out, which is said).

    A killed process does not show what a power cut does: the kernel writes what it has.
    """
    if min(kills, cuts, disks, databases, brokers) < 1 or hours <= 0:
        raise BenchError("--kills, --cuts, --hours, --disks, --databases, --brokers: expected more than none")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    rounds = {
        "kill": kills,
        "cut": cuts,
        "away": round(hours * 3600),
        "disk": disks,
        "database": databases,
        "broker": brokers,
    }
    result: dict[str, Any] = {"seed": seed, "trials": {}}
    for trial in only or TRIALS:
        result["trials"][trial] = _play(trial, rounds[trial], seed)
    for what in ("lost", "disordered", "invented"):
        result[what] = sum(
            count[what] for each in result["trials"].values() for count in each.get("consumers", {}).values()
        )
    print(json.dumps(result) if as_json else _table(result))
    strict = os.environ.get("CI") == "true"
    if not all(each.get("good", not strict) for each in result["trials"].values()):
        raise SystemExit(1)


def _play(trial: Trial, rounds: int, seed: int) -> dict[str, Any]:
    why = trials.not_here(trial)
    if why:
        return {"left_out": why}
    done = _progress(trial, rounds)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"flisr-loss-{trial}-") as name:
        folder = Path(name)
        try:
            if trial == "away":
                found = away(folder, rounds / 3600, done)
            else:
                found = asyncio.run(getattr(trials, trial)(folder, rounds, random.Random(seed), done))
        except (LossError, TimeoutError) as error:
            # The others are played, and count, all the same.
            found = {"ended": str(error) or "something did not come in time", "good": False}
    return {"rounds": rounds, **found, "wall_s": round(time.monotonic() - began, 1)}


def _progress(trial: str, rounds: int) -> Callable[[int], None]:
    last = time.monotonic()

    def done(number: int) -> None:
        nonlocal last
        if time.monotonic() > last + 10 or number == rounds:
            last = time.monotonic()
            print(f"{trial}: {number} of {rounds}", file=sys.stderr, flush=True)

    return done


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'':10}{'to':9}{'made':>9}{'told':>9}{'lost':>7}{'disordered':>12}{'invented':>10}{'repeated':>10}"]
    for trial, found in result["trials"].items():
        if "left_out" in found:
            lines.append(f"{trial:10}left out: {found['left_out']}")
            continue
        if "ended" in found:
            lines.append(f"{trial:10}could not be played to its end: {found['ended']}")
            continue
        for name, count in found["consumers"].items():
            numbers = [count[what] for what in ("made", "told", "lost", "disordered", "invented", "repeated")]
            widths = (9, 9, 7, 12, 10, 10)
            cells = "".join(f"{number:{wide}}" for number, wide in zip(numbers, widths, strict=True))
            lines.append(f"{trial:10}{name:9}{cells}")
        lines += [f"{'':10}{note}" for note in found["notes"]]
    return "\n".join(lines)
