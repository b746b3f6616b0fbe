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
from tools.closed.ways import Master, Mms, Mqtt, SelectingWay, Theirs, Told, Way
from tools.lab import LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.points.audit import AuditStep

_AWay = TypeVar("_AWay", bound=Way)
_CLOCKS_NS: Final = 10_000_000
"""The gateway counts on from a time that it has asked for now and then; attempts are further apart than that."""
_WRITTEN_NS: Final = 10_000_000_000
"""A refusal is written down no later than this."""
_OTHER: Final = ("selected by another", "for a command before this one")
"""Words of a refusal because somebody else has it."""


_CAUSE: Final = {"tagged": ("AddCause 24", "TAGGED"), "locked": ("AddCause 10", "LOCKED")}
_NOT_SELECTED: Final = ("selected first", "selection was lost")


@dataclass(slots=True)
class Trial:
    """What became of one kind of attempt.

    Attributes:
        tried: how often.
        refused: how often the one who tried was told that it was not done.
        closed: how often the switch was ordered to close.
        untrue: how often he was told what the plant contradicts, or a reason that is not the one.
        audited: how many of the refusals the audit trail has, with their reason.
        reasons: in the audit trail, by how often.
    """

    tried: int = 0
    refused: int = 0
    closed: int = 0
    untrue: int = 0
    audited: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody tried to close the switch.

    Attributes:
        trial: name of the trial; begins with ``free`` where it must succeed.
        via: the way, as the audit trail calls it.
        began_ns: when.
        ended_ns: when he was answered.
        told: what.
        reasons: one of these must be in the reason of a refusal.
    """

    trial: str
    via: str
    began_ns: int
    ended_ns: int
    told: Told
    reasons: tuple[str, ...] = ()


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
        self._attempts: list[Attempt] = []
        self._blocked: list[tuple[int, int]] = []
        self._selecting: tuple[SelectingWay, ...] = (self._north, self._mqtt, self._mms)
        self._ways: tuple[Way, ...] = (self._north, self._theirs, self._mqtt, self._mms)

    @staticmethod
    def _own(stack: contextlib.ExitStack, way: _AWay) -> _AWay:
        stack.callback(way.end)
        return way

    def round(self) -> None:
        """Every trial once."""
        site = self._site
        for how, cause in _CAUSE.items():
            site.open()
            with self._block(how):
                for way in self._ways:
                    self._try(f"{how}, {way.name}", way.via, way.close, cause)
                self._try(f"{how}, 104 without a select", "104", self._north.execute, _NOT_SELECTED)
                self._both(f"{how}, two masters at once", cause)
            for way in self._selecting:
                self._select_first(f"{how} after the select, {way.name}", way)
                with self._block(how):
                    self._try(f"{how} after the select, {way.name}", way.via, way.execute, cause)
            for part, kill in (("workers", site.kill_workers), ("gateway", site.kill_gateway)):
                trial = f"{how} after the select, {part} killed"
                self._select_first(trial, self._north)
                with self._block(how):
                    kill()
                    self._try(trial, "104", self._north.execute, _NOT_SELECTED)
                    self._try(f"{trial}, selected again", "104", self._north.close, cause)
        for way in self._ways:
            site.open()
            self._try(f"free, {way.name}", way.via, way.close)
        site.open()
        self._both("free, two masters at once", ())

    @contextlib.contextmanager
    def _block(self, how: str) -> Iterator[None]:
        block, free = (self._site.tag, self._site.untag) if how == "tagged" else (self._site.lock, self._site.unlock)
        block()
        since_ns = time.time_ns()
        yield
        self._blocked.append((since_ns, time.time_ns()))
        free()

    def _select_first(self, trial: str, way: SelectingWay) -> None:
        """Select the free switch."""
        self._site.open()
        selected = way.select()
        if not selected.done:
            raise ClosedError(f"{trial}: a free switch could not be selected: {selected.why}")

    def _both(self, trial: str, cause: tuple[str, ...]) -> None:
        """Both select and execute at once; of a free switch one of them may have it."""
        masters = (self._north, self._south)
        began_ns = self._later_ns()
        for master in masters:
            master.begin()
        told = [master.told() for master in masters]
        ended_ns = time.time_ns()
        if cause:
            self._attempts += [Attempt(trial, "104", began_ns, ended_ns, each, (*cause, *_OTHER)) for each in told]
        else:
            one = Told(sum(each.done for each in told) == 1, "; ".join(each.why for each in told))
            self._attempts.append(Attempt(trial, "104", began_ns, ended_ns, one))

    def _try(self, trial: str, via: str, close: Callable[[], Told], reasons: tuple[str, ...] = ()) -> None:
        began_ns = self._later_ns()
        told = close()
        self._attempts.append(Attempt(trial, via, began_ns, time.time_ns(), told, reasons))

    @staticmethod
    def _later_ns() -> int:
        """The time, so long after what was before that the audit trail shows what belongs to what."""
        time.sleep(2 * _CLOCKS_NS / 1e9)
        return time.time_ns()

    def judged(self) -> dict[str, Trial]:
        """What became of all attempts, once the audit trail has what it will have."""
        refusals = sum(not each.told.done for each in self._attempts)
        with HistoryReader(str(self._site.history)) as reader:

            def steps() -> list[AuditStep]:
                return [each for each in reader.steps(Query(), reader.last_step()) if each.outcome == "refused"]

            def all_there() -> bool:
                return sum(each.audited for each in judge(self._attempts, [], [], steps()).values()) == refusals

            with contextlib.suppress(ClosedError):
                until(all_there, "the audit trail lacks a refusal")
            return judge(self._attempts, self._blocked, self._site.orders(), steps())


def judge(
    attempts: Sequence[Attempt], blocked: Sequence[tuple[int, int]], orders: Sequence[int], steps: Sequence[AuditStep]
) -> dict[str, Trial]:
    """What became of attempts, by trial.

    Args:
        attempts: in their order.
        blocked: from when to when the switch was locked or tagged, ns.
        orders: when it was ordered to close, ns.
        steps: refusals of the audit trail; each stands for one attempt.
    """
    trials: dict[str, Trial] = {}
    left = list(steps)
    begins = sorted({each.began_ns for each in attempts})
    for attempt in attempts:
        trial = trials.setdefault(attempt.trial, Trial())
        ordered = any(attempt.began_ns <= at_ns <= attempt.ended_ns for at_ns in orders)
        trial.tried += 1
        trial.closed += ordered
        if attempt.told.done:
            trial.untrue += not ordered
            continue
        trial.refused += 1
        place = bisect_right(begins, attempt.began_ns)
        until_ns = begins[place] if place < len(begins) else attempt.ended_ns + _WRITTEN_NS
        target = TARGET if attempt.via == "agent" else CONTROL
        found = next(
            (
                each
                for each in left
                if (each.via, each.target) == (attempt.via, target)
                and attempt.began_ns <= each.t_ns + _CLOCKS_NS < until_ns
                and each.reason
            ),
            None,
        )
        right = found is not None and any(words in found.reason for words in attempt.reasons)
        trial.untrue += ordered or (found is not None and not right)
        if found is not None:
            left.remove(found)
            trial.audited += 1
            trial.reasons[found.reason] += 1
    tried = [each for each in attempts if not each.trial.startswith("free")]
    stray = [
        at_ns
        for at_ns in orders
        if any(since <= at_ns <= end for since, end in blocked)
        and not any(each.began_ns <= at_ns <= each.ended_ns for each in tried)
    ]
    if stray:
        trials["closed by nobody's attempt"] = Trial(closed=len(stray))
    return trials
