"""``flisr check-protocol``: the restoration protocol, exhaustively, and what each of its guards is there for."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from tools.model_check.explore import Found, circle, explore, reachable
from tools.model_check.mutants import MUTANTS, Mutant
from tools.model_check.protocol import REAL, Kind, Protocol, Rules, Setup
from tools.model_check.settle import Settling

if TYPE_CHECKING:
    from collections.abc import Iterator

app = App(name="check-protocol", help="The restoration protocol of the agents in a small world, exhaustively.")

MOST_STATES: Final = 4_000_000
_W, _P, _A, _B = Kind
SCARCE: Final = Setup((), crashes=0, trips=1)
"""Capacity for the island, or for a part of it and for X."""
AMPLE: Final = Setup((), crashes=0, trips=1, competitor=False, rating=9)
"""Capacity never stands in the way of a second source."""
SMALL: Final = (
    *(replace(SCARCE, kinds=kinds, crashes=1) for kinds in ((_W, _W), (_P,))),
    *(replace(AMPLE, kinds=kinds) for kinds in ((_W, _P), (_P, _P), (_W, _A))),
    replace(SCARCE, kinds=(_A, _W, _B), trips=0, split=True),
)
LARGE: Final = (
    *(replace(world, kinds=kinds, crashes=1) for world in (SCARCE, AMPLE) for kinds in product((_W, _P), repeat=2)),
    *(replace(world, kinds=(_W, _A), crashes=1) for world in (SCARCE, AMPLE)),
    *(replace(world, kinds=(_W, _W, _W)) for world in (SCARCE, AMPLE)),
    *(replace(world, kinds=kinds, split=True) for world in (SCARCE, AMPLE) for kinds in ((_A, _B), (_A, _W, _B))),
)
ALIVE: Final = (
    replace(SCARCE, kinds=(_W,), sensors=True),
    replace(SCARCE, kinds=(_W,), crashes=1, trips=0, sensors=True),
    replace(SCARCE, kinds=(_P,), trips=0, sensors=True),
)
LARGE_ALIVE: Final = tuple(
    replace(world, kinds=(kind,), crashes=1, sensors=True) for world in (SCARCE, AMPLE) for kind in (_W, _P)
)


def safety(setup: Setup, rules: Rules = REAL) -> Found:
    """Look at every state of a world for something that must never be.

    Raises:
        MemoryError: more than ``MOST_STATES`` states.
    """
    world = Protocol(setup, rules)
    return explore([world.initial()], world.successors, lambda _: "", MOST_STATES)


def liveness(setup: Setup, rules: Rules = REAL) -> Found:
    """From every state of a world, see to what end all benign runs come.

    Raises:
        MemoryError: more than ``MOST_STATES`` states.
    """
    world, benign = Protocol(setup, rules), Settling(setup, rules)
    quiet = benign.settled(reachable([world.initial()], world.successors))
    found = explore(quiet, benign.successors, benign.at_end, MOST_STATES)
    if not found.wrong and circle(reachable(quiet, benign.successors), benign.successors) is not None:
        return Found(found.states, found.steps, "goes round for ever")
    return found


def killed(mutant: Mutant) -> Found:
    """What a mutant breaks in its world."""
    return (liveness if mutant.starves else safety)(mutant.setup, mutant.rules)


@app.default
def check(
    *,
    full: Annotated[bool, Parameter(help="Larger worlds too: minutes, and gigabytes.")] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check safety and liveness, and that every guard is needed."""
    rows = []
    for row in _rows(full=full):
        rows.append(row)
        if not as_json:
            print(f"{row['check']:9} {row['what']}: {row['found']}, {row['states']} states, {row['seconds']:.1f} s")
            if not row["as_expected"]:
                print(*(f"    {line}" for line in row["trace"]), sep="\n")
    if as_json:
        print(json.dumps({"unexpected": sum(not row["as_expected"] for row in rows), "checks": rows}, indent=1))
    if not all(row["as_expected"] for row in rows):
        raise SystemExit(1)


def _rows(*, full: bool) -> Iterator[dict[str, Any]]:
    for setup in (*SMALL, *(LARGE if full else ())):
        yield _row("safety", _name(setup), "", lambda setup=setup: safety(setup))
    for setup in (*ALIVE, *(LARGE_ALIVE if full else ())):
        yield _row("liveness", _name(setup), "", lambda setup=setup: liveness(setup))
    for mutant in MUTANTS:
        yield _row("mutant", mutant.name, mutant.harm, lambda mutant=mutant: killed(mutant))


def _row(check: str, what: str, expected: str, run: Any) -> dict[str, Any]:
    begun = time.perf_counter()
    found = run()
    return {
        "check": check,
        "what": what,
        "found": found.wrong or "holds",
        "as_expected": found.wrong == expected,
        "states": found.states,
        "steps": found.steps,
        "seconds": round(time.perf_counter() - begun, 1),
        "trace": found.trace,
    }


def _name(setup: Setup) -> str:
    kinds = ", ".join(kind.name.lower() for kind in setup.kinds)
    split = ", S open" if setup.split else ""
    return f"claims {kinds}{split}; {setup.crashes} crashes, {setup.trips} trips, capacity {setup.rating}"
