"""Agents beside relays in SCL: what their inputs mean, and what is missing on either side."""

from __future__ import annotations

from importlib.resources import files

import pytest

from scl.generate import generate_icd, generate_scd
from scl.reader import parse
from scl.relay_inputs import relay_inputs
from scl.relay_model import MEASURED, SIGNALS, STATUS
from scl.sample import TWO_SOURCE_RELAYS
from scl.streams import GooseIndex
from scl.validation import check

OPEN = ("F1/T9", "F1/T10")
SAMPLE = generate_scd(TWO_SOURCE_RELAYS)
AGENT = '<IED name="F1L2"'
RELAY = '<IED name="F1L2P"'
LINK = '<LNode iedName="F1L2P"'


def change(old: str, new: str, start: str = AGENT) -> str:
    head, mark, tail = SAMPLE.partition(start)
    assert mark
    assert old in tail
    return head + mark + tail.replace(old, new, 1)


def found(text: str) -> list[tuple[str, int]]:
    return [(each.rule, each.line) for each in check(text.encode(), normally_open=OPEN)]


def line_of(text: str, start: str, part: str = "") -> int:
    return text[: text.index(part, text.index(start))].count("\n") + 1


def inputs_of(text: str):
    scl = parse(text.encode(), "x.scd")
    ied = scl.ied("F1L2")
    (ln,) = [ln for _, ldevice in ied.ldevices() for ln in ldevice.lns if ln.lnClass == "AFSR"]
    return relay_inputs(GooseIndex(scl), "F1L2", ln)


def test_the_sample_that_ships_is_the_generated_one_and_valid():
    assert (files("scl") / "samples" / "two_source_relays.scd").read_text(encoding="utf-8") == SAMPLE
    assert found(SAMPLE) == []


@pytest.mark.parametrize("kind", ["breaker", "load_break"])
def test_the_icd_offers_a_place_for_every_signal(kind):
    text = generate_icd(kind)
    assert check(text.encode()) == []
    assert all(f'intAddr="{name}"' in text for name in SIGNALS)


def test_every_input_of_the_sample_has_its_place():
    inputs, problems = inputs_of(SAMPLE)
    assert problems == []
    expected = [(signal, (place,)) for members in (STATUS, MEASURED) for place, (signal, _) in enumerate(members)]
    assert [(each.signal, each.place) for each in inputs] == expected
    start = [(each.part, each.element) for each in inputs if each.signal == "Str"]
    directional, plain = "F1L2P/PROT/PTOC1.Str", "F1L2P/PROT/PIOC1.Str"
    assert start == [
        ("value", directional),
        ("direction", directional),
        ("quality", directional),
        ("value", plain),
        ("quality", plain),
    ]


def test_a_whole_data_object_gives_all_it_has():
    position = '<FCDA ldInst="PROT" lnClass="XSWI" lnInst="1" doName="Pos" daName="{}" fc="ST"/>'
    text = change(position.format("stVal"), position.format("").replace(' daName=""', ""), RELAY)
    named = 'iedName="F1L2P" ldInst="PROT" lnClass="XSWI" lnInst="1" doName="Pos"'
    text = text.replace(f'{named} daName="stVal"', named)
    inputs, problems = inputs_of(text)
    assert problems == []
    places = [(each.part, each.place, each.bType) for each in inputs if each.signal == "Pos"]
    assert ("value", (0, 0), "Dbpos") in places
    assert ("quality", (0, 1), "Quality") in places


@pytest.mark.parametrize("signal", [name for name, signal in SIGNALS.items() if signal.needed])
def test_what_an_agent_needs_is_missed(signal):
    head, _, rest = SAMPLE.partition(AGENT)
    body, end, tail = rest.partition("</IED>")
    lines = [line for line in body.splitlines(keepends=True) if f'intAddr="{signal}"' not in line]
    text = head + AGENT + "".join(lines) + end + tail
    assert found(text) == [("relay-input-missing", line_of(text, AGENT, '<LN lnClass="AFSR"'))]
    (finding,) = check(text.encode(), normally_open=OPEN)
    assert SIGNALS[signal].meaning in finding.message


def test_an_input_without_a_meaning_for_agents_is_refused():
    text = change('intAddr="Health"', 'intAddr="Helth"')
    (finding,) = check(text.encode(), normally_open=OPEN)
    assert finding.rule == "relay-input"
    assert "'Helth' means nothing to an agent; expected one of Pos, Str" in finding.message


def test_an_input_that_is_not_what_it_means_is_refused():
    text = change('intAddr="Health"', 'intAddr="VolA"')
    (finding,) = check(text.encode(), normally_open=OPEN)
    assert finding.rule == "relay-input"
    assert "it gives no voltage at side A" in finding.message


@pytest.mark.parametrize("order", ["OpOpn", "OpCls", "BlkCls"])
def test_a_relay_that_does_not_take_an_order_is_found(order):
    head, _, rest = SAMPLE.partition(RELAY)
    body, end, tail = rest.partition("</IED>")
    lines = [line for line in body.splitlines(keepends=True) if f'intAddr="{order}"' not in line]
    text = head + RELAY + "".join(lines) + end + tail
    assert found(text) == [("relay-deaf", line_of(text, LINK))]


def test_an_agent_beside_a_relay_that_publishes_no_orders_is_found():
    head, _, rest = SAMPLE.partition(AGENT)
    body, end, tail = rest.partition("</IED>")
    changed = body.replace('datSet="relay"', 'datSet="slow"')
    text = head + AGENT + changed + end + tail
    assert ("agent-data-set", line_of(text, AGENT, 'name="gcbRelay"')) in found(text)


def test_a_relay_that_sends_no_quality_along_is_found():
    named = 'iedName="F1L2P" ldInst="PROT" lnClass="PTOC" lnInst="1" doName="Str" daName="q"'
    lines = [line for line in SAMPLE.splitlines(keepends=True) if named not in line]
    (finding,) = check("".join(lines).encode(), normally_open=OPEN)
    assert (finding.rule, finding.severity) == ("relay-quality", "warning")
    assert "F1L2P/PROT/PTOC1.Str (Str)" in finding.message


def test_a_relay_that_repeats_too_seldom_is_found():
    text = change(
        '<MaxTime unit="s" multiplier="m">1000', '<MaxTime unit="s" multiplier="m">1001', 'iedName="F1L2P" apName'
    )
    (finding,) = check(text.encode(), normally_open=OPEN)
    assert finding.rule == "relay-slow"
    assert "F1L2PPROT/LLN0$GO$gcbStatus" in finding.message
