"""Runs many scenarios in several processes."""

from __future__ import annotations

import gc
import traceback
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Final, NamedTuple

from tools.campaign.judge import Violation
from tools.campaign.plans import plan
from tools.campaign.scenario import Verdict, run_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from tools.campaign.feeders import FeederSystem

_AHEAD: Final = 8
"""Scenarios given to each process before the first of them is done."""


class Result(NamedTuple):
    """What came of one scenario of a campaign."""

    number: int
    real_frames: bool
    verdict: Verdict


def run_one(seed: int, number: int, base: FeederSystem | None = None) -> Result:
    """Plan and run one scenario; a defect of ours that ends it is a violation too, so that its number is not lost."""
    gc.disable()
    name, switches, real_frames = "not planned", 0, False
    try:
        scenario = plan(seed, number, base)
        name, switches, real_frames = scenario.name, len(scenario.system.agents), scenario.real_frames
        return Result(number, real_frames, run_scenario(scenario))
    except Exception:  # noqa: BLE001 - whatever it is, it is reported with the number that repeats it
        what = traceback.format_exc(limit=-6)
        return Result(number, real_frames, _failed(name, switches, what))
    finally:
        # A world is full of cycles: freed as a whole, once, instead of looked through again and again.
        gc.collect()


def run_all(seed: int, numbers: Iterable[int], workers: int, base: FeederSystem | None = None) -> Iterator[Result]:
    """Results in the order of the numbers, from as many processes.

    A process that dies takes its scenario with it: that one is reported as failed, the others go on.
    """
    left = deque(numbers)
    pending: deque[tuple[int, Future[Result]]] = deque()
    pool = ProcessPoolExecutor(workers)
    try:
        while left or pending:
            while left and len(pending) < _AHEAD * workers:
                number = left.popleft()
                pending.append((number, pool.submit(run_one, seed, number, base)))
            number, future = pending.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=False)
                yield _alone(seed, number, base)
                # The others are as innocent as this one may have been: each is asked alone.
                for other, lost in pending:
                    done = lost.done() and lost.exception() is None
                    yield lost.result() if done else _alone(seed, other, base)
                pending.clear()
                pool = ProcessPoolExecutor(workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _alone(seed: int, number: int, base: FeederSystem | None) -> Result:
    """One scenario in a process of its own, in case that dies."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(run_one, seed, number, base).result()
        except BrokenProcessPool as error:
            return Result(number, False, _failed("not finished", 0, f"the process died: {error}"))


def _failed(name: str, switches: int, what: str) -> Verdict:
    return Verdict(name, switches, False, (Violation("defect", 0.0, what),), 0.0, 0.0, 0, 0.0)
