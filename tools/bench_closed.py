"""``flisr bench closed``: whether a switch that is locked or tagged can be closed by any way from outside.

A site whose agents move a simulated plant, run by ``flisr run``; masters of ours and one made with c104, an MQTT client
and an MMS client try to close one switch. What counts is the plant's own log: an order to the switch while it was
locked or tagged is a wrong close, whoever says what.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from gateway.historian.reader import HistoryReader, Query
from tools.closed.site import CONTROL, TARGET, ClosedError, ClosedSite, missing, until
from tools.closed.ways import Direct, Master, Mms, Mqtt, SelectingWay, Theirs, Told, Way
from tools.lab import LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AWay = TypeVar("_AWay", bound=Way)
_CLOCKS_NS: Final = 10_000_000
"""The gateway counts on from a time that it has asked for now and then; attempts are further apart than that."""


@dataclass(slots=True)
class Trial:
    """What became of one kind of attempt.

    Attributes:
        tried: how often.
        refused: how often the one who tried was told that it was not done.
        closed: how often the switch was ordered to close.
        untrue: how often he was told what the plant contradicts.
        audited: how many of the refusals the audit trail has.
        reasons: told, by how often.
    """

    tried: int = 0
    refused: int = 0
    closed: int = 0
    untrue: int = 0
    audited: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Attempt:
    trial: str
    via: str
    began_ns: int
    ended_ns: int
    told: Told


def closed(
    *,
    rounds: Annotated[int, Parameter(help="How often each trial is played.")] = 20,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Try to close a locked and a tagged switch by every way there is, and a free one, which must close.

    Each way tries while the switch is locked or tagged; selects before and executes after; two masters at once; the
    gateway's MMS workers, or the gateway, are killed between select and execute. Exit status 1 if the switch was
    ordered to close although it was locked or tagged, if one was told what is not so, if a refusal is not in the audit
    trail, or if a free switch does not close.
    """
    if rounds < 1:
        raise ClosedError("--rounds: expected more than none")
    why = missing()
    if why:
        _leave_out(why, as_json=as_json)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flisr-") as name:
        try:
            trials = play(Path(name), rounds)
        except LabUnavailable as error:
            _leave_out(str(error), as_json=as_json)
            return
    result = summary(trials) | {"rounds": rounds, "wall_s": round(time.monotonic() - began, 1)}
    print(json.dumps(result, indent=1) if as_json else _table(result))
    if not result["good"]:
        raise SystemExit(1)


def _leave_out(why: str, *, as_json: bool) -> None:
    print(json.dumps({"left_out": why}) if as_json else f"left out: {why}")
    if os.environ.get("CI") == "true":
        raise SystemExit(1)


def summary(trials: dict[str, Trial]) -> dict[str, Any]:
    """All figures; ``good`` if nothing is wrong in them."""
    blocked = [trial for name, trial in trials.items() if not name.startswith("free")]
    free = [trial for name, trial in trials.items() if name.startswith("free")]
    found = {
        "tried": sum(each.tried for each in blocked),
        "refused": sum(each.refused for each in blocked),
        "closed": sum(each.closed for each in blocked),
        "untrue": sum(each.untrue for each in (*blocked, *free)),
        "audited": sum(each.audited for each in blocked),
        "free_tried": sum(each.tried for each in free),
        "free_closed": sum(each.closed for each in free),
    }
    good = (
        found["closed"] == found["untrue"] == 0
        and found["refused"] == found["audited"] == found["tried"] > 0
        and found["free_closed"] == found["free_tried"] > 0
    )
    shown = {
        name: {
            "tried": each.tried,
            "refused": each.refused,
            "closed": each.closed,
            "untrue": each.untrue,
            "audited": each.audited,
            "reasons": dict(each.reasons.most_common()),
        }
        for name, each in trials.items()
    }
    return {**found, "good": good, "trials": shown}


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'':44}{'tried':>7}{'refused':>9}{'closed':>8}{'untrue':>8}{'audited':>9}"]
    for name, each in result["trials"].items():
        lines.append(
            f"{name:44}{each['tried']:7}{each['refused']:9}{each['closed']:8}{each['untrue']:8}{each['audited']:9}"
        )
    return "\n".join(lines)


# -- playing --------------------------------------------------------------------------------------------------------


def play(folder: Path, rounds: int, program: tuple[str, ...] = ("-m", "tools.cli")) -> dict[str, Trial]:
    """Play all trials; by trial what became of them.

    Args:
        folder: an empty one, with a short path.
        rounds: of each.
        program: what the interpreter runs as gateway.

    Raises:
        LabUnavailable: this machine has no network namespaces for us.
        ClosedError: a part did not do what a trial needs.
    """
    with contextlib.ExitStack() as stack:
        site = stack.enter_context(ClosedSite(folder, program))
        player = _Player(site, stack)
        for number in range(1, rounds + 1):
            player.round()
            print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
        return player.judged()


class _Player:
    """Plays rounds, and notes every attempt."""

    def __init__(self, site: ClosedSite, stack: contextlib.ExitStack) -> None:
        self._site = site
        self._north, self._south = self._own(stack, Master(site, "north")), self._own(stack, Master(site, "south"))
        self._mqtt, self._mms = self._own(stack, Mqtt(site)), self._own(stack, Mms(site))
        self._theirs = self._own(stack, Theirs(site))
        self._attempts: list[_Attempt] = []
        self._blocked: list[tuple[int, int]] = []
        self._selecting: tuple[SelectingWay, ...] = (self._north, self._mqtt, self._mms)
        self._ways: tuple[Way, ...] = (Direct(self._north), self._north, self._theirs, self._mqtt, self._mms)

    @staticmethod
    def _own(stack: contextlib.ExitStack, way: _AWay) -> _AWay:
        stack.callback(way.end)
        return way

    def round(self) -> None:
        """Every trial once."""
        site = self._site
        for how in ("tagged", "locked"):
            site.open()
            with self._block(how):
                for way in self._ways:
                    self._try(f"{how}, {way.name}", way.via, way.close)
                self._both(f"{how}, two masters at once")
            for way in self._selecting:
                self._after_select(f"{how} after the select, {way.name}", how, way, lambda: None)
            for part, kill in (("workers", site.kill_workers), ("gateway", site.kill_gateway)):
                self._after_select(f"{how} after the select, {part} killed", how, self._north, kill)
        for way in self._ways:
            if isinstance(way, Direct):
                continue  # the gateway lets nobody execute what must be selected first
            site.open()
            self._try(f"free, {way.name}", way.via, way.close)

    @contextlib.contextmanager
    def _block(self, how: str) -> Iterator[None]:
        block, free = (self._site.tag, self._site.untag) if how == "tagged" else (self._site.lock, self._site.unlock)
        block()
        since_ns = time.time_ns()
        yield
        self._blocked.append((since_ns, time.time_ns()))
        free()

    def _after_select(self, trial: str, how: str, way: SelectingWay, between: Callable[[], None]) -> None:
        """Select a free switch; tag or lock it; execute."""
        self._site.open()
        selected = way.select()
        if not selected.done:
            raise ClosedError(f"{trial}: a free switch could not be selected: {selected.why}")
        with self._block(how):
            between()
            self._try(trial, way.via, way.execute)

    def _both(self, trial: str) -> None:
        began_ns = self._later_ns()
        for master in (self._north, self._south):
            master.begin()
        told = [master.told() for master in (self._north, self._south)]
        for each in told:
            self._attempts.append(_Attempt(trial, "104", began_ns, time.time_ns(), each))

    def _try(self, trial: str, via: str, close: Callable[[], Told]) -> None:
        began_ns = self._later_ns()
        told = close()
        self._attempts.append(_Attempt(trial, via, began_ns, time.time_ns(), told))

    @staticmethod
    def _later_ns() -> int:
        """The time, so long after what was before that the audit trail shows what belongs to what."""
        time.sleep(2 * _CLOCKS_NS / 1e9)
        return time.time_ns()

    # -- judging ------------------------------------------------------------------------------------------------------

    def judged(self) -> dict[str, Trial]:
        """What became of all attempts, once the audit trail has what it will have."""
        orders = self._site.orders()
        trials: dict[str, Trial] = {}
        # A refusal is written down as it is told, before the next attempt.
        begins = sorted({each.began_ns for each in self._attempts} | {time.time_ns()})
        windows = [(each, begins[bisect_right(begins, each.began_ns)]) for each in self._attempts]
        with HistoryReader(str(self._site.history)) as reader:
            with contextlib.suppress(ClosedError):
                until(lambda: all(self._in(reader, *each) for each in windows if not each[0].told.done), "audit")
            for attempt, until_ns in windows:
                trial = trials.setdefault(attempt.trial, Trial())
                ordered = any(attempt.began_ns <= at_ns <= attempt.ended_ns for at_ns in orders)
                trial.tried += 1
                trial.refused += not attempt.told.done
                trial.closed += ordered
                trial.untrue += attempt.told.done != ordered
                trial.audited += not attempt.told.done and bool(why := self._in(reader, attempt, until_ns))
                if not attempt.told.done:
                    trial.reasons[why] += 1
        stray = [at for at in orders if any(since <= at <= end for since, end in self._blocked)]
        known = [each for each in self._attempts if not each.trial.startswith("free")]
        stray = [at for at in stray if not any(each.began_ns <= at <= each.ended_ns for each in known)]
        if stray:
            trials["closed by nobody's attempt"] = Trial(len(stray), 0, len(stray))
        return trials

    @staticmethod
    def _in(reader: HistoryReader, attempt: _Attempt, until_ns: int) -> str:
        """The reason that the audit trail has for a refusal; empty if it has none."""
        query = Query(from_ns=attempt.began_ns - _CLOCKS_NS, to_ns=until_ns - _CLOCKS_NS)
        target = TARGET if attempt.via == "agent" else CONTROL
        for step in reader.steps(query, reader.last_step()):
            if (step.via, step.target) == (attempt.via, target) and step.outcome in ("refused", "failed", "unknown"):
                return step.reason
        return ""
