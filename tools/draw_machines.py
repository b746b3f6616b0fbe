"""Diagrams and tables of the agents' state machines, drawn from what the agents run.

``python -m tools.draw_machines docs`` writes them again after a table has changed.
"""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr.machines import MACHINES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from ied_agents.machine import Machine

PAGE: Final = "machines.md"
FOLDER: Final = "machines"

# Lengths in pixels.
_MARGIN: Final = 16
_LINE: Final = 16  # from one line of text to the next
_PORT: Final = 12  # of an arrow that comes in, and air around every port
_BOX: Final = 120  # least width of a state
_CHARACTER: Final = 6.6  # width at 12 px, on the safe side
_TRACK: Final = 16  # between vertical lines
_GAP: Final = 26  # between states
_STYLE: Final = (
    "text{fill:#1f2937;font:12px Helvetica,Arial,sans-serif}"
    ".state{font-weight:bold;text-anchor:middle;font-size:13px}.left{text-anchor:end}"
    "rect{fill:#e8eef7;stroke:#64748b;stroke-width:1.5}"
    "path{fill:none;stroke:#64748b;stroke-width:1.5}"
    ".head,circle{fill:#64748b;stroke:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}rect{fill:#1e3a5f}}"
)


def documents(machines: Iterable[Machine[Any, Any]]) -> dict[str, str]:
    """All files that describe machines, by their path in the folder of documentation."""
    files, page = {}, [_PREFACE]
    for machine in machines:
        picture = f"{FOLDER}/{machine.name.replace(' ', '-')}.svg"
        files[picture] = machine_svg(machine)
        rows = (f"| {row.source} | {row.event} | {row.target} | {row.why} |" for row in machine.rows)
        title = machine.name.capitalize()
        page += [f"## {title}", "", f"![{title}]({picture})", "", "| In | when | goes to | |", "|---|---|---|---|"]
        page += [*rows, ""]
    return files | {PAGE: "\n".join(page)}


_PREFACE: Final = """\
# State machines

Drawn by `python -m tools.draw_machines docs` from the tables that the agents run (`ied_agents.dflisr.machines`). What
is not in a table cannot happen. `flisr check-protocol` runs the first three exhaustively in small worlds.
"""


def machine_svg(machine: Machine[Any, Any]) -> str:
    """Return a machine as an SVG document: states in a column, steps onward at its right, steps back at its left."""
    return _Drawing(machine).document()


@dataclass(slots=True)
class _Way:
    """Arrows on one side of the column that mean the same and end in the same state; they share a vertical line."""

    target: StrEnum
    events: tuple[str, ...]
    sources: list[StrEnum]
    track: int = 0
    rows: dict[StrEnum, float] = field(default_factory=dict)
    """Height of the line out of each source, y."""
    end: float = 0.0
    """Height of the arrow into the target, y."""


class _Drawing:
    """One diagram in the making."""

    def __init__(self, machine: Machine[Any, Any]) -> None:
        self._machine = machine
        kind: type[StrEnum] = type(machine.rows[0].source)
        self._states = list(kind)
        place = {state: n for n, state in enumerate(self._states)}
        self._down: dict[StrEnum, tuple[str, ...]] = {}
        self._ways: tuple[list[_Way], list[_Way]] = ([], [])
        events: dict[tuple[StrEnum, StrEnum], list[str]] = {}
        for row in machine.rows:
            events.setdefault((row.source, row.target), []).append(str(row.event))
        for (source, target), labels in events.items():
            if place[target] == place[source] + 1:
                self._down[source] = tuple(labels)
                continue
            ways = self._ways[place[target] >= place[source]]
            same = next((way for way in ways if way.target is target and way.events == tuple(labels)), None)
            if same is None:
                ways.append(_Way(target, tuple(labels), [source]))
            else:
                same.sources.append(source)
        self._top: dict[StrEnum, float] = {}
        self._bottom: dict[StrEnum, float] = {}
        self._height = self._stack()
        self._box = max(_BOX, *(len(state) * _CHARACTER * 1.2 + 24 for state in self._states))
        reach = [self._lay_tracks(ways) for ways in self._ways]
        self._left = _MARGIN + reach[0]
        self._width = self._left + self._box + max(reach[1], *map(_room, self._down.values())) + _MARGIN

    def _stack(self) -> float:
        """Give every state room for its arrows, and every arrow its height. Returns the height of all."""
        y = float(_MARGIN)
        for state in self._states:
            self._top[state] = y
            ends = []
            for ways in self._ways:
                port = y + _PORT / 2
                for way in ways:
                    if state in way.sources:
                        port += len(way.events) * _LINE
                        way.rows[state] = port
                        port += _PORT / 2
                for way in ways:
                    if way.target is state:
                        port += _PORT
                        way.end = port
                ends.append(port + _PORT)
            self._bottom[state] = y = max(*ends, y + 2.5 * _LINE)
            y += max(_GAP, len(self._down.get(state, ())) * _LINE + _PORT)
        return self._bottom[self._states[-1]] + _MARGIN

    @staticmethod
    def _lay_tracks(ways: list[_Way]) -> float:
        """Give ways vertical lines that do not touch, short ones first. Returns how far the side reaches out."""
        tracks: list[list[tuple[float, float]]] = []
        for way in sorted(ways, key=_length):
            low, high = _span(way)
            for way.track, taken in enumerate(tracks):
                if all(high + 2 < other_low or other_high + 2 < low for other_low, other_high in taken):
                    break
            else:
                way.track = len(tracks)
                tracks.append([])
            tracks[way.track].append((low, high))
        return max((_room(way.events) for way in ways), default=0.0) + len(tracks) * _TRACK if ways else 0.0

    def document(self) -> str:
        """Return the whole picture."""
        size = f'width="{self._width:.0f}" height="{self._height:.0f}"'
        drawn = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {self._width:.0f} {self._height:.0f}">',
            f"<title>{html.escape(self._machine.name)}</title>",
            f"<style>{_STYLE}</style>",
        ]
        for right, ways in enumerate(self._ways):
            labels = max((_room(way.events) for way in ways), default=0.0)
            for way in ways:
                drawn += self._draw_way(way, labels, right=bool(right))
        middle = self._left + self._box / 2
        for n, state in enumerate(self._states):
            top, bottom = self._top[state], self._bottom[state]
            drawn.append(
                f'<rect x="{self._left:.1f}" y="{top:.1f}" width="{self._box:.1f}" height="{bottom - top:.1f}" rx="9"/>'
            )
            drawn.append(_text(middle, (top + bottom) / 2 + 4, str(state), "state"))
            if state in self._down:
                below = self._top[self._states[n + 1]]
                drawn.append(f'<path d="M{middle:.1f},{bottom:.1f} V{below - 6:.1f}"/>')
                drawn.append(_head(middle, below, "l-4,-8 h8 z"))
                first = (bottom + below - (len(self._down[state]) - 1) * _LINE) / 2 + 3
                drawn += [
                    _text(middle + 8, first + line * _LINE, label) for line, label in enumerate(self._down[state])
                ]
        return "\n".join((*drawn, "</svg>\n"))

    def _draw_way(self, way: _Way, labels: float, *, right: bool) -> list[str]:
        """Draw lines out of the sources to a common vertical line, and from there the arrow into the target."""
        toward = 1 if right else -1
        edge = self._left + self._box if right else self._left
        track = edge + toward * (labels + way.track * _TRACK + _TRACK / 2)
        low, high = _span(way)
        drawn = [f'<path d="M{track:.1f},{low:.1f} V{high:.1f}"/>']
        for y in way.rows.values():
            drawn.append(f'<path d="M{edge:.1f},{y:.1f} H{track:.1f}"/>')
            if low < y < high:
                drawn.append(f'<circle cx="{track:.1f}" cy="{y:.1f}" r="3"/>')
            for line, label in enumerate(reversed(way.events)):
                drawn.append(_text(edge + toward * 8, y - 4 - line * _LINE, label, "" if right else "left"))
        drawn.append(f'<path d="M{track:.1f},{way.end:.1f} H{edge + toward * 6:.1f}"/>')
        drawn.append(_head(edge, way.end, f"l{toward * 8},-4 v8 z"))
        return drawn


def _span(way: _Way) -> tuple[float, float]:
    ends = (*way.rows.values(), way.end)
    return min(ends), max(ends)


def _length(way: _Way) -> float:
    low, high = _span(way)
    return high - low


def _room(labels: tuple[str, ...]) -> float:
    """Width of labels beside a state."""
    return max(map(len, labels)) * _CHARACTER + 16


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"' + (f' class="{kind}"' if kind else "") + f">{html.escape(words)}</text>"


def _head(x: float, y: float, shape: str) -> str:
    """The head of an arrow that points to (x, y)."""
    return f'<path class="head" d="M{x:.1f},{y:.1f} {shape}"/>'


def main(folder: Path) -> None:
    """Write all files below a folder of documentation."""
    for name, content in documents(MACHINES).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
