"""Judges a scene by what the plant logged and what was on the wire; no agent is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tools.demo.play import Record
    from tools.demo.scenes import Expected


def failures(record: Record, expected: Expected | None) -> list[str]:
    """What is not as it must be, one line each; empty if all is well.

    Args:
        record: of the scene.
        expected: what must have come of it; None judges safety alone, and that somebody says why not all is healed:
            a section is suspect, or an agent has stopped.
    """
    found = [
        f"{section}: fault current flowed into it {times} times; once is when the fault came up or showed itself"
        for section, times in record.fault_currents.items()
        if times > 1
    ]
    if record.paralleled:
        found.append(f"two supplies were connected with each other, {record.paralleled} times")
    result = record.outcome
    if expected is None:
        if not record.healed and not result.stopped and not result.suspect:
            found.append("not all is healed, and no agent says why")
        return found
    after = record.after
    _compare(found, "declared faulted", result.declared, expected.declared)
    _compare(found, "widened", result.widened, expected.widened)
    _compare(found, "suspect", result.suspect, ())
    _compare(found, "locked", [s.name for s in after.switches if s.locked], expected.locked)
    _compare(found, "held open", record.held, expected.held)
    _compare(found, "open", [s.name for s in after.switches if s.position == "open"], expected.opened)
    _compare(found, "dark", [s.name for s in after.sections if not s.energised], expected.dark)
    found += [f"left dark: {island}" for island in record.missed]
    return found


def _compare(found: list[str], what: str, is_so: Sequence[str], expected: Collection[str] | None) -> None:
    if expected is not None and set(is_so) != set(expected):
        found.append(f"{what}: {_listed(is_so)}; expected: {_listed(expected)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
