"""The audit trail of a history as ``flisr events --audit`` prints it."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.points.words import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from gateway.historian.reader import HistoryReader, Query
    from gateway.points.audit import AuditStep

_COLUMNS: Final = (
    "time", "via", "who", "originator", "target", "step", "value", "test", "outcome", "reason", "request",
)  # fmt: skip


class AuditRows:
    """Prints steps.

    Args:
        reader: of the history.
        query: what is asked for.
        zone: None for that of the machine.
        as_csv: print CSV.
        as_json: print one JSON document per line.
    """

    def __init__(
        self, reader: HistoryReader, query: Query, zone: tzinfo | None, *, as_csv: bool, as_json: bool
    ) -> None:
        self._reader = reader
        self._query = query
        self._zone = zone
        self._last = reader.last_step()
        self._as_json = as_json
        self._csv = csv.writer(sys.stdout, lineterminator="\n") if as_csv else None

    def first(self) -> int:
        """Print what there is; returns how many."""
        if self._csv is not None:
            self._csv.writerow(_COLUMNS)
        elif not self._as_json:
            zone_name = "UTC" if self._zone is not None else datetime.now(UTC).astimezone().tzname()
            print(f"{f'time ({zone_name})':36} outcome")
        return self._put(self._reader.steps(self._query, self._last))

    def more(self) -> int:
        """Print what has come since; returns how many rows were looked at."""
        found, last = self._reader.steps_after(self._last, self._query)
        self._put(found)
        looked_at, self._last = last - self._last, last
        return looked_at

    def _put(self, steps: Iterable[AuditStep]) -> int:
        count = 0
        for count, step in enumerate(steps, start=1):  # noqa: B007 - how many is what is asked
            cells = _cells(step, self._zone)
            if self._csv is not None:
                self._csv.writerow(cells.values())
            elif self._as_json:
                print(json.dumps(cells | {"t_ns": step.t_ns}))
            else:
                print(f"{cells['time']:36} {_words(step)}")
        return count


def _cells(step: AuditStep, zone: tzinfo | None) -> dict[str, Any]:
    cells: tuple[object, ...] = (time_text(step.t_ns, zone), *step[1:])
    return dict(zip(_COLUMNS, cells, strict=True))


def _words(step: AuditStep) -> str:
    """One line: what became of what, by whom, and why."""
    what = " ".join(filter(None, (step.step, step.value, "of" if step.value else "", step.target)))
    test = " (test)" if step.test else ""
    who = f" by {step.who}" if step.who else ""
    originator = f" ({step.originator})" if step.originator else ""
    reason = f": {step.reason}" if step.reason else ""
    return f"{step.outcome:9} {what}{test}{who}{originator}{reason}"
