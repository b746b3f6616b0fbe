"""The point list as CSV and JSON: one line or object per information object."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.points.point_list import PointList, PointRow

COLUMNS: Final = (
    "CA", "IOA", "typeID", "type", "direction", "object", "name", "attribute", "cdc", "source", "description",
    "origin", "select", "scale", "offset", "inverted", "expectedValue", "groups", "event_class", "deadband",
    "cyclic", "background", "line",
)  # fmt: skip


def as_dict(row: PointRow) -> dict[str, Any]:
    """A row for JSON and CSV, by :data:`COLUMNS`."""
    special = {
        "typeID": int(row.typeID),
        "type": row.typeID.name,
        "direction": "control" if row.control else "monitor",
        "groups": sorted(row.groups),
    }
    return {column: special[column] if column in special else getattr(row, column) for column in COLUMNS}


def to_csv(rows: Iterable[PointRow]) -> str:
    """The list as CSV with a head line, for a spreadsheet or a control centre's import."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = as_dict(row)
        cells["groups"] = " ".join(str(group) for group in cells["groups"])
        writer.writerow([_cell(value) for value in cells.values()])
    return output.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def to_json(found: PointList) -> str:
    """The list with its notes and problems as JSON."""
    content = {
        "points": [as_dict(row) for row in found.rows],
        "notes": [str(note) for note in found.notes],
        "problems": [str(problem) for problem in found.problems],
    }
    return json.dumps(content, indent=1)
