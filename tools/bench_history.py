"""``flisr bench history``: how many events of the log become rows per second, each batch durable before the next."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from gateway.historian.database import Database, HistoryUnusable
from gateway.historian.reader import HistoryReader
from gateway.historian.writer import HistoryWriter, Retention
from gateway.points.event_log import LoggedEvent
from gateway.points.point import PointConfig, PointValue, encode_value

_POINTS: Final = 1_000
_BATCH: Final = 2_000
"""As the historian takes them."""


class BenchError(Exception):
    """The measurement cannot be made here."""


def run(
    url: Annotated[str, Parameter(help="An empty PostgreSQL database; else an SQLite file that goes with it.")] = "",
    *,
    rows: Annotated[int, Parameter(help="How many; half of them measurements, half events.")] = 200_000,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Measure the rate at which a history is written, and what a row takes on disk."""
    if rows < _BATCH:
        raise BenchError(f"--rows {rows}: expected at least {_BATCH}")
    with tempfile.TemporaryDirectory(prefix="flisr-bench-history-") as folder:
        database = Database(url or str(Path(folder, "history.db")))
        result = _measure(database, url, rows)
    if as_json:
        print(json.dumps(result))
    else:
        print(f"{result['database']}: {result['rate']} rows per second, {result['octets_per_row']} octets per row")


def _measure(database: Database, url: str, rows: int) -> dict[str, Any]:
    if url and _is_there(url):
        raise BenchError(f"{database.name} has a history already; the measurement takes an empty database")
    configs = [PointConfig(name=f"RTU/P{n}", cdc="MV" if n % 2 else "SPS", source="RTU") for n in range(_POINTS)]
    writer = HistoryWriter(database, configs, Retention())
    began_ns = time.time_ns()
    events = []
    for n in range(rows):
        config = configs[n % _POINTS]
        t_ns = began_ns + n * 1_000_000
        said = PointValue(n / 8 if config.cdc == "MV" else bool(n % 3), 0, t_ns, 10, t_ns)
        events.append(LoggedEvent(n, config.name, encode_value(said), t_ns))
    writer.open()
    slowest_s = 0.0
    began = time.perf_counter()
    for at in range(0, rows, _BATCH):
        batch_began = time.perf_counter()
        writer.store(events[at : at + _BATCH])
        slowest_s = max(slowest_s, time.perf_counter() - batch_began)
    seconds = time.perf_counter() - began
    writer.close()
    with HistoryReader(url or str(database.file)) as reader:
        octets = reader.octets()
    return {
        "database": "SQLite" if database.file else "PostgreSQL",
        "rows": rows,
        "rate": round(rows / seconds),
        "batch": _BATCH,
        "slowest_batch_ms": round(slowest_s * 1000, 1),
        "octets_per_row": round(octets / rows),
    }


def _is_there(url: str) -> bool:
    try:
        HistoryReader(url).close()
    except HistoryUnusable:
        return False
    return True
