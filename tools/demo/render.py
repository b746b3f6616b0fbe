"""What the demo says in a terminal of 80 columns: the state of a feeder, and what happened on it when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from tools.demo.layout import Branch, grow_trees

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.demo.state import FeederState, SectionState, SwitchState


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One thing that happened.

    Attributes:
        t_ms: when, in ms from the zero of the timeline.
        who: the agent or device.
        what: the event, in a word or two.
        detail: the rest.
    """

    t_ms: float
    who: str
    what: str
    detail: str = ""


def timeline(rows: Iterable[TimelineRow]) -> Table:
    """Return the rows as a table for the terminal, in the order given."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("t / ms", justify="right", no_wrap=True)
    table.add_column("who", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for row in rows:
        table.add_row(f"{row.t_ms:.2f}", Text(row.who), Text(row.what), Text(row.detail))
    return table


_POSITIONS: Final = ("moving", "open", "closed", "faulty")
_LOCKED: Final = ("not blocked", "blocked against closing")


def control_centre(heard: Iterable[dict[str, Any]]) -> Table:
    """Return what a control centre was told, in the order of the devices' own times."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("t / ms", justify="right", no_wrap=True)
    table.add_column("point", no_wrap=True)
    table.add_column("value", no_wrap=True)
    table.add_column("quality", no_wrap=True)
    table.add_column("later / ms", justify="right", no_wrap=True)
    for each in heard:
        words = _POSITIONS if each["name"].endswith(".Pos") else _LOCKED
        quality = "good" if each["quality"] == "0" else f"QDS {each['quality']}"
        table.add_row(str(each["t_ms"]), each["name"], words[each["value"]], quality, str(each["later_ms"]))
    return table


def feeder_text(state: FeederState) -> Table:
    """Return the feeders as a table for the terminal.

    A line per switch, downward from the source, laterals indented before their trunk goes on; then the ties.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("switch", "position", "section"):
        table.add_column(heading, no_wrap=True)
    table.add_column("load / A", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    ties: set[str] = set()
    for root in grow_trees(state):
        for rule, branch in _outline(root):
            section = branch.section
            style, condition = _condition(section)
            ties |= {switch.name for switch in branch.ties}
            table.add_row(
                Text(rule) + (_switch_text(branch.switch) if branch.switch else Text("══", style)),
                _position_text(branch.switch) if branch.switch else Text("source" if section.source else ""),
                Text(section.name, style),
                f"{section.load_a:.0f}" if section.load_a else "",
                Text(condition, style),
            )
        table.add_row()
    for switch in (switch for switch in state.switches if switch.name in ties):
        ends = Text(f"{switch.section_a} \N{EN DASH} {switch.section_b}")
        table.add_row(_switch_text(switch), _position_text(switch), ends, "", "tie" if switch.tie else "")
    return table


def _outline(root: Branch) -> list[tuple[str, Branch]]:
    """Return a tree's branches with the rules to draw before them, as ``tree`` does for folders."""
    lines = []
    stack = [(root, 0, False)]
    while stack:
        branch, level, starts_lateral = stack.pop()
        lines.append(("│  " * (level - 1) + "├──" if starts_lateral else "│  " * level, branch))
        stack += [(child, level, False) for child in branch.children[:1]]
        stack += [(child, level + 1, True) for child in reversed(branch.children[1:])]
    return lines


def _condition(section: SectionState) -> tuple[str, str]:
    """Return style and word for a section."""
    if section.faulted:
        return "bold red", "faulted, live" if section.energised else "faulted"
    return ("green", "energised") if section.energised else ("dim", "dead")


def _switch_text(switch: SwitchState) -> Text:
    symbols = {"breaker": ("■", "□"), "load_break": ("●", "○")}[switch.kind]
    symbol = {"closed": symbols[0], "open": symbols[1], "unknown": "?"}[switch.position]
    return Text(f"{symbol} {switch.name}")


def _position_text(switch: SwitchState) -> Text:
    text = Text(switch.position)
    if switch.locked:
        text.append(" locked", "yellow")
    if not switch.agent_alive:
        text.append(" no agent", "red")
    return text
