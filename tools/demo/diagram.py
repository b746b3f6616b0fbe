"""A feeder as a one-line diagram in SVG."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final, Literal

from tools.demo.layout import lay_out
from tools.demo.state import SwitchState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.demo.layout import Branch, Link
    from tools.demo.state import FeederState, SectionState

    Point = tuple[float, float]

_ENERGISED: Final = "#15803d"
_DEAD: Final = "#9ca3af"
_FAULTED: Final = "#dc2626"
_LOCKED: Final = "#b45309"
_INK: Final = "#1f2937"
_FAINT: Final = "#6b7280"
_PAPER: Final = "#fdfdfc"

# Lengths in pixels.
_MARGIN: Final = 36
_INFEED: Final = 70  # symbol of a source, left of its busbar
_TOP: Final = 136  # of the first lane
_LANE: Final = 94
_TRACK: Final = 24
_CONTACT: Final = 11  # half of a switch's symbol
_CHARACTER: Final = 7.3  # width at 12 px, on the safe side
_LEAST_SWITCH: Final = 60
_LEAST_SECTION: Final = 104
_LEAST_WIDTH: Final = 920


def feeder_svg(state: FeederState, title: str) -> str:
    """Return the feeders as a one-line diagram, an SVG document.

    Sections are green where energised, grey where dead, red where faulted; breakers are squares, load-break
    switches blades with a round contact. Two pictures of one feeder differ only in its state.

    Args:
        state: the feeders.
        title: heading of the picture.
    """
    return _Drawing(state).document(title)


class _Drawing:
    """One diagram in the making. Trees that grow to the left are drawn by mirroring their x coordinates."""

    def __init__(self, state: FeederState) -> None:
        self._state = state
        self._layout = layout = lay_out(state)
        self._switch = _room((switch.name for switch in state.switches), _LEAST_SWITCH)
        self._column = self._switch + _room((section.name for section in state.sections), _LEAST_SECTION)
        self._bus = _MARGIN + _INFEED
        reach = [
            self._bus + self._column * max(branch.depth for root in roots for branch in root.walk()) if roots else 0
            for roots in (layout.left, layout.right)
        ]
        bands = 1 + any(link.first.mirrored for link in layout.links)
        channel = bands * (self._switch + _TRACK) + layout.tracks * _TRACK if layout.links else _TRACK
        self._width = max(reach[0] + channel + (reach[1] or _MARGIN), _LEAST_WIDTH)
        self._channel = reach[0], self._width - reach[1]
        self._wires: list[str] = []
        self._marks: list[str] = []

    def document(self, title: str) -> str:
        """Return the whole picture."""
        for roots, mirrored in ((self._layout.left, False), (self._layout.right, True)):
            for root in roots:
                self._draw_source(root, mirrored=mirrored)
                for branch in root.walk():
                    self._draw_branch(branch, mirrored=mirrored)
        for link in self._layout.links:
            self._draw_link(link)
        legend, height = _legend(self._width, _TOP + self._layout.lanes * _LANE)
        served = f"load served: {self._state.served_a:.0f} A of {self._state.load_a:.0f} A"
        size = f'width="{self._width:.0f}" height="{height:.0f}" viewBox="0 0 {self._width:.0f} {height:.0f}"'
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
                f"<title>{html.escape(title)}</title>",
                f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
                _text(_MARGIN, 46, title, size=21, anchor="start", weight="bold"),
                _text(_MARGIN, 70, served, size=14, anchor="start", colour=_FAINT),
                *self._wires,
                *self._marks,
                *legend,
                "</svg>\n",
            )
        )

    def _x(self, x: float, *, mirrored: bool) -> float:
        return self._width - x if mirrored else x

    def _wire(self, colour: str, *points: Point, width: float = 4) -> None:
        self._wires.append(_line(colour, *points, width=width))

    def _draw_source(self, root: Branch, *, mirrored: bool) -> None:
        """Draw the busbar and what feeds it."""
        colour = _colour(root.section)
        lanes = [root.lane, *(child.lane for child in root.children), *root.tie_lanes]
        bus = self._x(self._bus, mirrored=mirrored)
        top, bottom = _y(min(lanes)) - 26, _y(max(lanes)) + 26
        self._wire(colour, (bus, top), (bus, bottom), width=8)
        edge = self._x(_MARGIN, mirrored=mirrored)
        name = _text(edge, top - 12, root.section.name, anchor="end" if mirrored else "start", weight="bold")
        self._marks.append(name)
        if root.section.load_a:
            self._marks.append(_load(root.section, bus, bottom))
        if root.section.faulted:
            self._marks.append(_bolt(bus, top))
        if not root.section.source:
            return
        y = _y(root.lane)
        near, far = (self._x(self._bus - offset, mirrored=mirrored) for offset in (27, 41))
        self._wire(colour, (near, y), (bus, y))
        self._marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" fill="{fill}" stroke="{colour}" stroke-width="2.5"/>'
            for x, fill in ((far, _PAPER), (near, _PAPER), (far, "none"))
        ]

    def _draw_branch(self, branch: Branch, *, mirrored: bool) -> None:
        """Draw a section, the ways out of it up to the next switches, and the switch that leads into it."""
        colour = _colour(branch.section)
        y, end = _y(branch.lane), self._x(self._bus + branch.depth * self._column, mirrored=mirrored)
        ways = [child.lane for child in branch.children] + branch.tie_lanes
        toward = -1 if mirrored else 1
        if branch.switch is not None:
            start = end - toward * self._column
            contact = start + toward * self._switch / 2
            stop = end if ways else end - toward * 16
            self._wire(colour, (contact + toward * _CONTACT, y), (stop, y))
            middle = (start + end + toward * self._switch) / 2
            self._marks.append(_section(branch.section, middle, y))
            self._marks.append(_switch(branch.switch, contact, y))
            outermost = {min([branch.lane, *ways]), max([branch.lane, *ways])}
            for lane in outermost - {branch.lane}:
                self._wire(colour, (end, y), (end, _y(lane)))
            dots = [lane for lane in {branch.lane, *ways} if lane not in outermost]
            if len(ways) > 1 and branch.lane in ways:
                dots.append(branch.lane)
            self._marks += [f'<circle cx="{end:.1f}" cy="{_y(lane):.1f}" r="4.5" fill="{colour}"/>' for lane in dots]
        for child in branch.children:
            self._wire(colour, (end, _y(child.lane)), (end + toward * (self._switch / 2 - _CONTACT), _y(child.lane)))
        for lane in branch.tie_lanes:
            self._wire(colour, (end, _y(lane)), (self._channel[mirrored], _y(lane)))

    def _draw_link(self, link: Link) -> None:
        """Draw a tie through the channel. Its switch stands where it leaves its first end."""
        left, right = self._channel
        first, second = link.first, link.second
        y = _y(first.lane)
        start, goal = (self._channel[end.mirrored] for end in (first, second))
        toward = -1 if first.mirrored else 1
        band = self._switch + _TRACK
        x = start + toward * band / 2 if self._layout.tracks else (left + right) / 2
        self._wire(_colour(first.branch.section), (start, y), (x - toward * _CONTACT, y))
        after: list[Point] = [(x + toward * _CONTACT, y)]
        if link.track is not None:
            track = left + band + link.track * _TRACK
            after += [(track, y), (track, _y(second.lane))]
        self._wire(_colour(second.branch.section), *after, (goal, _y(second.lane)))
        self._marks.append(_switch(link.switch, x, y))


def _room(names: Iterable[str], least: float) -> float:
    """Return the width that the longest name needs."""
    return max(least, max(map(len, names), default=0) * _CHARACTER + 12)


def _y(lane: int) -> float:
    return _TOP + lane * _LANE


def _colour(section: SectionState) -> str:
    if section.faulted:
        return _FAULTED
    return _ENERGISED if section.energised else _DEAD


def _line(colour: str, *points: Point, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    stroke = f'stroke="{colour}" stroke-width="{width:g}" stroke-linecap="square"'
    return f'<polyline points="{path}" fill="none" {stroke}/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "middle",
    weight: str = "normal",
    colour: str = _INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{html.escape(text)}</text>'
    )


def _section(section: SectionState, x: float, y: float) -> str:
    """Return a section's name, load and fault mark around a point of its line."""
    marks = [_text(x, y - (34 if section.faulted else 11), section.name, colour=_colour(section), weight="bold")]
    if section.faulted:
        marks.append(_bolt(x, y))
    if section.load_a:
        marks.append(_load(section, x, y))
    return "".join(marks)


def _load(section: SectionState, x: float, y: float) -> str:
    """Return the arrow of a load and its current."""
    colour = _colour(section)
    figure = f"{section.load_a:.0f} A" if section.energised else f"{section.load_a:.0f} A not served"
    return (
        _line(colour, (x, y), (x, y + 14), width=2)
        + f'<path d="M{x - 5:.1f},{y + 13:.1f} h10 l-5,9 z" fill="{colour}"/>'
        + _text(x, y + 36, figure, size=11, colour=_INK if section.energised else _FAINT)
    )


def _bolt(x: float, y: float) -> str:
    """Return a flash that strikes a point."""
    flash = "m0,0 l9,-17 h-7 l5,-12 h-9 l-6,17 h7 z"
    return f'<path d="M{x:.1f},{y:.1f} {flash}" fill="{_FAULTED}" stroke="{_PAPER}" stroke-width="1.2"/>'


def _switch(switch: SwitchState, x: float, y: float) -> str:
    """Return a switch's symbol, its name above and its marks below."""
    symbol = _breaker(switch, x, y) if switch.kind == "breaker" else _load_break(switch, x, y)
    marks = [_text(x, y - 19, switch.name)]
    below = y + 26
    if switch.locked:
        marks.append(_padlock(x, below))
        below += 17
    if switch.tie:
        marks.append(_text(x, below, "n.o.", size=10, colour=_FAINT))
        below += 12
    if not switch.agent_alive:
        marks.append(_text(x, below, "no agent", size=10, colour=_FAULTED, weight="bold"))
    return symbol + "".join(marks)


def _breaker(switch: SwitchState, x: float, y: float) -> str:
    fill = {"closed": _INK, "open": _PAPER, "unknown": "#e5e7eb"}[switch.position]
    square = (
        f'<rect x="{x - _CONTACT:.1f}" y="{y - _CONTACT:.1f}" width="{2 * _CONTACT}" height="{2 * _CONTACT}" '
        f'fill="{fill}" stroke="{_INK}" stroke-width="2.5"/>'
    )
    return square + (_text(x, y + 5, "?", size=14, weight="bold") if switch.position == "unknown" else "")


def _load_break(switch: SwitchState, x: float, y: float) -> str:
    """Return a switch-disconnector after IEC 60617: a blade, and a circle with a bar at the fixed contact."""
    hinge, contact = x - _CONTACT, x + _CONTACT
    tip = {"closed": (contact - 4, y), "open": (contact - 3, y - 14), "unknown": (contact - 3, y - 7)}[switch.position]
    dashes = ' stroke-dasharray="3 2.5"' if switch.position == "unknown" else ""
    return (
        f'<rect x="{hinge:.1f}" y="{y - 4:.1f}" width="{2 * _CONTACT}" height="8" fill="{_PAPER}"/>'
        f'<circle cx="{hinge:.1f}" cy="{y:.1f}" r="2.8" fill="{_INK}"/>'
        f'<g stroke="{_INK}" stroke-width="2.5">'
        f'<path d="M{hinge:.1f},{y:.1f} L{tip[0]:.1f},{tip[1]:.1f}"{dashes}/>'
        f'<circle cx="{contact - 4:.1f}" cy="{y:.1f}" r="3.6" fill="{_PAPER}" stroke-width="2"/>'
        f'<path d="M{contact:.1f},{y - 8:.1f} v16"/></g>'
        + (_text(x, y + 16, "?", weight="bold") if switch.position == "unknown" else "")
    )


def _padlock(x: float, y: float) -> str:
    return (
        f'<rect x="{x - 6.5:.1f}" y="{y - 5:.1f}" width="13" height="10" rx="2" fill="{_LOCKED}"/>'
        f'<path d="M{x - 4:.1f},{y - 5:.1f} v-3 a4,4 0 0 1 8,0 v3" fill="none" stroke="{_LOCKED}"'
        ' stroke-width="2"/>'
    )


def _legend(width: float, top: float) -> tuple[list[str], float]:
    """Return the key to the symbols, below everything else, and where it ends."""

    def sample(kind: Literal["breaker", "load_break"], position: Literal["open", "closed", "unknown"]) -> str:
        wires = _line(_FAINT, (-24, 0), (-_CONTACT, 0), width=3) + _line(_FAINT, (_CONTACT, 0), (24, 0), width=3)
        return wires + _switch(SwitchState("", kind, "", "", position), 0, 0)

    entries = [
        *(
            (_line(colour, (-20, 0), (20, 0), width=4), name)
            for colour, name in ((_ENERGISED, "energised"), (_DEAD, "dead"))
        ),
        (_line(_FAULTED, (-20, 0), (20, 0), width=4) + _bolt(0, 0), "faulted"),
        (sample("breaker", "closed"), "breaker closed"),
        (sample("breaker", "open"), "open"),
        (sample("load_break", "closed"), "load-break switch closed"),
        (sample("load_break", "open"), "open"),
        (sample("breaker", "unknown"), "position unknown"),
        (_padlock(0, 2), "locked out"),
        (_text(0, 4, "n.o.", size=10, colour=_FAINT), "normally open"),
    ]
    drawn = [_line("#e5e7eb", (_MARGIN, top), (width - _MARGIN, top), width=1)]
    x, y = float(_MARGIN), top + 42
    for picture, name in entries:
        needed = 64 + len(name) * _CHARACTER * 0.9
        if x + needed > width - _MARGIN:
            x, y = float(_MARGIN), y + 40
        drawn.append(f'<g transform="translate({x + 24:.1f},{y:.1f})">{picture}</g>')
        drawn.append(_text(x + 54, y + 4, name, anchor="start", colour=_FAINT))
        x += needed + 18
    return drawn, y + 34
