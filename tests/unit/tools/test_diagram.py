"""One-line diagrams: what is drawn is what is connected, for any radial feeder with ties."""

import re
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tools.demo.diagram import feeder_svg
from tools.demo.state import FeederState, SectionState, SwitchState

RED, GREEN = "#dc2626", "#15803d"
WIRES = {"4", "8"}  # stroke widths of conductors and busbars


@st.composite
def feeders(draw):
    """One to four radial feeders with up to 15 switches each and up to six ties, all sections energised."""
    sections, switches, names = [], [], []
    for feeder in range(draw(st.integers(1, 4))):
        own = [f"BUS{feeder}"]
        sections.append(SectionState(own[0], energised=True, source=True))
        for number in range(draw(st.integers(1, 15))):
            parent = own[draw(st.integers(0, len(own) - 1))]
            own.append(f"S{feeder}_{number}")
            sections.append(SectionState(own[-1], energised=True, load_a=10.0))
            kind = draw(st.sampled_from(["breaker", "load_break"]))
            ends = draw(st.permutations([parent, own[-1]]))
            switches.append(SwitchState(f"Q{feeder}_{number}", kind, *ends, "closed"))
        names += own
    for number in range(draw(st.integers(0, 6))):
        ends = draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True))
        switches.append(SwitchState(f"T{number}", "breaker", *ends, "open", tie=True))
    return FeederState(tuple(sections), tuple(draw(st.permutations(switches))))


def mark(state, name):
    """The same feeders with one section faulted, so that its conductors alone are red."""
    sections = (
        SectionState(section.name, energised=True, faulted=section.name == name, source=section.source)
        for section in state.sections
    )
    return FeederState(tuple(sections), state.switches)


def drawing(state):
    return etree.fromstring(feeder_svg(state, "title").encode())


def conductors(root, colour):
    """Straight pieces of the conductors of a colour, left or upper end first; the legend's are in groups."""
    pieces = []
    for line in root.iterfind("{*}polyline"):
        if line.get("stroke") == colour and line.get("stroke-width") in WIRES:
            points = [tuple(float(x) for x in point.split(",")) for point in line.get("points").split()]
            pieces += [tuple(sorted(piece)) for piece in pairwise(points)]
    return pieces


def overlap(one, other):
    """Length that two horizontal or vertical pieces have in common; 0 where they only cross."""
    for along in (0, 1):
        across = 1 - along
        if one[0][across] == one[1][across] == other[0][across] == other[1][across]:
            return min(one[1][along], other[1][along]) - max(one[0][along], other[0][along])
    return 0


def touch(one, other):
    return all(max(one[0][axis], other[0][axis]) <= min(one[1][axis], other[1][axis]) + 0.2 for axis in (0, 1))


@settings(max_examples=40)
@given(feeders(), st.data())
def test_conductors_of_a_section_hang_together_and_share_no_path_with_others(state, data):
    name = data.draw(st.sampled_from([section.name for section in state.sections]))
    root = drawing(mark(state, name))
    red, green = conductors(root, RED), conductors(root, GREEN)
    assert all(overlap(one, other) <= 0 for one in red for other in green)
    reached, rest = red[:1], red[1:]
    while joined := [piece for piece in rest if any(touch(piece, known) for known in reached)]:
        reached += joined
        rest = [piece for piece in rest if piece not in joined]
    assert not rest
    # It leads to each of its switches: to a contact, 11 pixels beside the middle of the symbol.
    labels = {text.text: text for text in root.iterfind("{*}text")}
    for switch in state.switches:
        if name in (switch.section_a, switch.section_b):
            x, y = float(labels[switch.name].get("x")), float(labels[switch.name].get("y")) + 19
            contacts = [(x - 11, y), (x + 11, y)]
            assert any(touch((contact, contact), piece) for contact in contacts for piece in red)


@settings(max_examples=40)
@given(feeders())
def test_everything_is_named_once_and_nothing_lies_on_another(state):
    root = drawing(state)
    texts = Counter(text.text for text in root.iterfind("{*}text"))
    for part in (*state.sections, *state.switches):
        assert texts[part.name] == 1
    assert texts["n.o."] == sum(switch.tie for switch in state.switches)
    names = {part.name for part in (*state.sections, *state.switches)}
    spots = [(text.get("x"), text.get("y")) for text in root.iterfind("{*}text") if text.text in names]
    assert len(set(spots)) == len(spots)
    width, height = float(root.get("width")), float(root.get("height"))
    for x, y in ((float(text.get("x")), float(text.get("y"))) for text in root.iterfind("{*}text")):
        assert 0 < x < width
        assert 0 < y < height


@given(feeders())
def test_positions_do_not_move_anything(state):
    switches = (
        SwitchState(switch.name, switch.kind, switch.section_a, switch.section_b, "closed", tie=switch.tie)
        for switch in state.switches
    )
    places = [
        {text.text: (text.get("x"), text.get("y")) for text in drawing(each).iterfind("{*}text")}
        for each in (state, FeederState(state.sections, tuple(switches)))
    ]
    assert places[0] == places[1]


def single(switch, **section):
    return feeder_svg(
        FeederState((SectionState("A", energised=True, source=True), SectionState("B", **section)), (switch,)),
        "one",
    )


def test_locked_switch_has_a_padlock_and_dead_agent_is_said():
    plain = single(SwitchState("Q", "breaker", "A", "B", "open"), energised=False)
    locked = single(SwitchState("Q", "breaker", "A", "B", "open", locked=True, agent_alive=False), energised=False)
    assert locked.count("#b45309") == plain.count("#b45309") + 2  # body and shackle
    assert "no agent" in locked
    assert "no agent" not in plain


def test_load_of_a_dead_section_is_not_served():
    svg = single(SwitchState("Q", "breaker", "A", "B", "open"), energised=False, load_a=42.0)
    assert "42 A not served" in svg
    assert "load served: 0 A of 42 A" in svg


def test_symbols_tell_positions_apart():
    symbols = {
        re.sub(r"<text.*?</text>", "", single(SwitchState("Q", kind, "A", "B", position), energised=True))
        for kind in ("breaker", "load_break")
        for position in ("open", "closed", "unknown")
    }
    assert len(symbols) == 6


def test_names_are_escaped():
    svg = single(SwitchState("<Q&1>", "breaker", "A", "B", "open"), energised=True)
    assert "<Q&1>" in [text.text for text in etree.fromstring(svg.encode()).iterfind("{*}text")]


def test_long_chain_is_drawn():
    sections = [SectionState("S0", energised=True, source=True)]
    switches = []
    for number in range(2000):
        sections.append(SectionState(f"S{number + 1}", energised=True))
        switches.append(SwitchState(f"Q{number}", "breaker", f"S{number}", f"S{number + 1}", "closed"))
    root = drawing(FeederState(tuple(sections), tuple(switches)))
    assert len(conductors(root, GREEN)) > 2000
