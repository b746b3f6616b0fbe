"""Diagrams of the state machines: those in the documentation are what the tables give, and show every row."""

from enum import StrEnum, auto
from pathlib import Path

import pytest
from lxml import etree

from ied_agents.dflisr.machines import MACHINES
from ied_agents.machine import Machine, Transition
from tools.draw_machines import documents, machine_svg, main

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_files_in_docs_are_what_the_tables_give():
    written = {
        path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
        for path in (DOCS / "machines.md", *(DOCS / "machines").iterdir())
    }
    assert written == documents(MACHINES), "draw them again: python -m tools.draw_machines docs"


def test_all_files_are_written(tmp_path):
    main(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == set(documents(MACHINES))


class Light(StrEnum):
    RED = auto()
    GREEN = auto()
    AMBER = auto()


class Happening(StrEnum):
    TIMER = "time <over>"
    FAULT = auto()


ROWS = (
    Transition(Light.RED, Happening.TIMER, Light.GREEN, "go"),
    Transition(Light.GREEN, Happening.TIMER, Light.AMBER, ""),
    Transition(Light.AMBER, Happening.TIMER, Light.RED, ""),
    *(Transition(light, Happening.FAULT, Light.AMBER, "flashes") for light in Light),
)


def arrows(svg):
    """States that arrows lead from and to, by where lines end at a box; lines that touch are one."""
    root = etree.fromstring(svg.encode())
    boxes = [[float(box.get(a)) for a in ("x", "y", "width", "height")] for box in root.iterfind("{*}rect")]
    names = [text.text for text in root.iterfind("{*}text[@class='state']")]

    def at(x, y):
        return next(
            (n for n, (bx, by, w, h) in zip(names, boxes, strict=True) if bx <= x <= bx + w and by <= y <= by + h), None
        )

    heads, lines = [], []
    for path in root.iterfind("{*}path"):
        first, second = path.get("d").split()[:2]
        x, y = (float(value) for value in first[1:].split(","))
        if path.get("class") == "head":
            heads.append((x, y))
        else:
            end = float(second[1:])
            lines.append(((x, y), (end, y) if second[0] == "H" else (x, end)))
    found = set()
    for head in heads:
        reached = [line for line in lines if near(head, line)]
        rest = [line for line in lines if line not in reached]
        while joined := [line for line in rest if any(joins(line, known) for known in reached)]:
            reached += joined
            rest = [line for line in rest if line not in joined]
        found |= {(source, at(*head)) for line in reached if (source := at(*line[0]))}
    return found


def near(point, line):
    """Whether an arrow's head, up to 8 pixels long, is the end of a line."""
    return any(abs(end[0] - point[0]) <= 8 and abs(end[1] - point[1]) <= 8 for end in line)


def joins(one, other):
    """Whether an end of one line lies on the other; lines that only cross do not join."""
    return any(
        min(b[0][0], b[1][0]) <= x <= max(b[0][0], b[1][0]) and min(b[0][1], b[1][1]) <= y <= max(b[0][1], b[1][1])
        for a, b in ((one, other), (other, one))
        for x, y in a
    )


@pytest.mark.parametrize("machine", [*MACHINES, Machine("light", ROWS)], ids=lambda machine: machine.name)
def test_arrows_lead_where_the_rows_do(machine):
    assert arrows(machine_svg(machine)) == {(row.source, row.target) for row in machine.rows}


@pytest.mark.parametrize("machine", [*MACHINES, Machine("light", ROWS)], ids=lambda machine: machine.name)
def test_every_row_is_labelled_and_every_text_lies_inside_and_alone(machine):
    root = etree.fromstring(machine_svg(machine).encode())
    texts = [(text.text, float(text.get("x")), float(text.get("y"))) for text in root.iterfind("{*}text")]
    states = set(type(machine.rows[0].source))
    assert sorted(text for text, _, _ in texts) == sorted([*states, *(row.event for row in machine.rows)])
    assert len({(x, y) for _, x, y in texts}) == len(texts)
    width, height = float(root.get("width")), float(root.get("height"))
    assert all(0 < x < width and 0 < y < height for _, x, y in texts)


def test_page_has_every_row_and_picture():
    page = documents([Machine("traffic light", ROWS)])["machines.md"]
    assert "![Traffic light](machines/traffic-light.svg)" in page
    assert "| red | time <over> | green | go |" in page
    assert page.count("| fault | amber | flashes |") == 3
