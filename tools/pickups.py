"""How far apart the protections of one machine's agents picked up the same fault current, by the agents' journals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ied_agents.runtime.journal import read_journal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def pickups(journals: Iterable[Path]) -> list[tuple[int, Path]]:
    """When each pickup was by its process's stamp, ns, and in whose journal it stands; in order.

    Raises:
        OSError, JournalError: a journal cannot be read.
    """
    return sorted(
        (entry["stamp_ns"], journal)
        for journal in journals
        for entry in read_journal(journal)
        if entry["kind"] == "picked up" and isinstance(entry.get("stamp_ns"), int)
    )


def spreads_ns(found: Iterable[tuple[int, object]], window_ns: int) -> list[int]:
    """From first to last pickup of each event that at least two agents saw, ns.

    Args:
        found: when, in order, and by whom.
        window_ns: what comes later than this after the first pickup has another cause.
    """
    spreads: list[int] = []
    first_ns, seen, last_ns = -window_ns - 1, set[object](), 0
    for at_ns, who in found:
        if at_ns - first_ns > window_ns:
            spreads += [last_ns - first_ns] * (len(seen) > 1)
            first_ns, seen = at_ns, set()
        if who not in seen:
            seen.add(who)
            last_ns = at_ns
    return spreads + [last_ns - first_ns] * (len(seen) > 1)
