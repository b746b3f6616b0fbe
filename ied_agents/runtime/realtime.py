"""What Linux offers a process that must answer in milliseconds. Each help is optional; a refusal is reported.

None of it is needed for correctness: without it, timers and reactions are late more often.
"""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2


@dataclass(frozen=True, slots=True)
class RealTimeHelp:
    """What a process wishes for.

    Attributes:
        fifo_priority: run under SCHED_FIFO with this priority, 1 to 99: before every ordinary process. A
            process
            that computes without end then starves the machine, so only short-running agents should ask.
            Children do not inherit it. None for the ordinary scheduler.
        lock_memory: keep all memory, present and future, out of swap.
        cpus: run on these processors only; empty for any.
        freeze_gc: take what exists out of the garbage collector's sight, so that its full collections are
            short.
    """

    fifo_priority: int | None = None
    lock_memory: bool = False
    cpus: frozenset[int] = frozenset()
    freeze_gc: bool = True


@dataclass(frozen=True, slots=True)
class HelpRefused:
    """A help that the system did not give.

    Attributes:
        name: the field of :class:`RealTimeHelp`.
        reason: what the system said, and what would change it.
    """

    name: str
    reason: str


def apply(wishes: RealTimeHelp) -> tuple[HelpRefused, ...]:
    """Ask for every help wished for, for the calling process, once it has loaded and made what it needs.

    Returns:
        The refused ones; the rest is in force.
    """
    helps: list[tuple[str, bool, Callable[[], None], str]] = [
        (
            "fifo_priority",
            wishes.fifo_priority is not None,
            lambda: _run_first(wishes.fifo_priority or 0),
            "needs CAP_SYS_NICE, or a limit for rtprio (ulimit -r, LimitRTPRIO=), and a priority of 1 to 99",
        ),
        (
            "lock_memory",
            wishes.lock_memory,
            _lock_memory,
            "needs CAP_IPC_LOCK, or a higher limit for locked memory (ulimit -l, LimitMEMLOCK=)",
        ),
        (
            "cpus",
            bool(wishes.cpus),
            lambda: os.sched_setaffinity(0, wishes.cpus),
            f"this process may use the processors {sorted(os.sched_getaffinity(0))}",
        ),
    ]
    refused: list[HelpRefused] = []
    for name, wished, ask, way_out in helps:
        if wished:
            try:
                ask()
            except OSError as error:
                refused.append(HelpRefused(name, f"{error.strerror}: {way_out}"))
    if wishes.freeze_gc:
        gc.collect()
        gc.freeze()
    return tuple(refused)


def _run_first(priority: int) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def _lock_memory() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
