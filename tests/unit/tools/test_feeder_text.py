"""The terminal's view of a feeder and of its timeline."""

from rich.console import Console

from tools.demo.render import TimelineRow, feeder_text, timeline
from tools.demo.state import FeederState, SectionState, SwitchState

STATE = FeederState(
    sections=(
        SectionState("BUS-A", energised=True, source=True),
        SectionState("A1", energised=True, load_a=120),
        SectionState("A2", energised=False, faulted=True, load_a=85),
        SectionState("A3", energised=False, load_a=60),
        SectionState("A4", energised=True, load_a=30),
        SectionState("BUS-B", energised=True, source=True),
    ),
    switches=(
        SwitchState("CB", "breaker", "BUS-A", "A1", "closed"),
        SwitchState("R1", "breaker", "A1", "A2", "open", locked=True),
        SwitchState("L2", "load_break", "A3", "A2", "unknown", agent_alive=False),
        SwitchState("L3", "load_break", "A1", "A4", "closed"),
        SwitchState("T", "load_break", "A3", "BUS-B", "open", tie=True),
    ),
)


def lines(renderable, width=80):
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(renderable)
        return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_every_switch_has_its_line_in_the_order_of_the_feeder():
    assert lines(feeder_text(STATE)) == [
        "switch position section load / A state",
        "══ source BUS-A energised",
        "■ CB closed A1 120 energised",
        "├──● L3 closed A4 30 energised",
        "■ R1 open locked A2 85 faulted".replace("■", "□"),
        "? L2 unknown no agent A3 60 dead",
        "",
        "══ source BUS-B energised",
        "",
        "○ T open A3 \N{EN DASH} BUS-B tie",
    ]


def test_ten_switches_with_long_names_fit_the_terminal():
    sections = [SectionState("SUBSTATION-NORTH", energised=True, source=True)]
    switches = []
    for number in range(10):
        sections.append(SectionState(f"NORTH-LINE-{number}", energised=True, load_a=100))
        parent = sections[number // 2].name
        switches.append(SwitchState(f"RECLOSER-{number}", "breaker", parent, sections[-1].name, "unknown", locked=True))
    text = "\n".join(lines(feeder_text(FeederState(tuple(sections), tuple(switches)))))
    assert "…" not in text
    assert all(switch.name in text for switch in switches)


def test_timeline_keeps_order_and_text():
    rows = [
        TimelineRow(0.0, "R1", "picked up", "enters A2 [forward]"),
        TimelineRow(3.456, "L2", "answered", "not seen"),
    ]
    assert lines(timeline(rows)) == [
        "t / ms who what detail",
        "0.00 R1 picked up enters A2 [forward]",
        "3.46 L2 answered not seen",
    ]
