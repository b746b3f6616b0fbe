"""Single faults in the primary system and in agents, and what the site's normal positions add."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

import pytest

from scl.generate import FeederSpec, LateralSpec, NetworkSpec, SwitchSpec, generate_scd
from scl.reader import parse
from scl.sample import TWO_SOURCE
from scl.validation import check, validate

OPEN = ("F1/T9", "F1/T10")
SAMPLE = generate_scd(TWO_SOURCE)
L2 = '<ConductingEquipment name="L2" type="DIS">'
AGENT_L2 = '<IED name="F1L2"'
AFSR = '<LN lnClass="AFSR" inst="1" lnType="flisr_AFSR">'


def change(text: str, start: str, old: str, new: str) -> tuple[str, int]:
    """Replace the first ``old`` behind ``start``; also the line it stood in."""
    head, mark, tail = text.partition(start)
    assert mark, start
    before, found, rest = tail.partition(old)
    assert found, old
    return head + mark + before + new + rest, (head + mark + before).count("\n") + 1


def line_after(text: str, start: str, part: str) -> int:
    return text[: text.index(part, text.index(start))].count("\n") + 1


def found(text: str, normally_open=OPEN) -> list[tuple[str, int]]:
    return [(each.rule, each.line) for each in check(text.encode(), normally_open=normally_open)]


FAULTS = {
    "one terminal": ("switch-terminals", L2, '<Terminal name="T2" connectivityNode="F1/S2a" lineName="F1" cNodeName="S2a"/>', "", (L2, "")),
    "grounded terminal": ("switch-terminals", L2, 'connectivityNode="F1/S2a" lineName="F1" cNodeName="S2a"', 'cNodeName="grounded"', (L2, "")),
    "two agents": ("switch-agents", L2, "<Terminal", '<LNode iedName="T9" ldInst="FLISR" lnClass="AFSR" lnInst="1"/><Terminal', (L2, "")),
    "number twice": ("switch-number", AGENT_L2, "<Val>2</Val>", "<Val>1</Val>", (AGENT_L2, AFSR)),
    "number 0": ("switch-number", AGENT_L2, "<Val>2</Val>", "<Val>0</Val>", (AGENT_L2, AFSR)),
    "number too large": ("switch-number", AGENT_L2, "<Val>2</Val>", "<Val>32768</Val>", (AGENT_L2, AFSR)),
    "no number": ("switch-number", AGENT_L2, "<Val>2</Val>", "", (AGENT_L2, AFSR)),
    "bypassed": ("switch-bypassed", '<Line name="F1"', "        <ConductingEquipment", '<ConductingEquipment name="BY" type="CAB"><Terminal connectivityNode="F1/S1b" cNodeName="S1b"/><Terminal connectivityNode="F1/S2a" cNodeName="S2a"/></ConductingEquipment>        <ConductingEquipment', (L2, "")),
    "agent without switch": ("agent-idle", '<ConductingEquipment name="L4"', """
          <LNode iedName="F1L4" ldInst="FLISR" lnClass="XSWI" lnInst="1"/>
          <LNode iedName="F1L4" ldInst="FLISR" lnClass="AFSR" lnInst="1"/>""", "", ('<IED name="F1L4"', AFSR)),
    "members in another order": ("agent-data-set", AGENT_L2, """daName="general" fc="ST"/>
              <FCDA ldInst="FLISR" lnClass="PTOC" lnInst="1" doName="Str" daName="dirGeneral\"""", """daName="dirGeneral" fc="ST"/>
              <FCDA ldInst="FLISR" lnClass="PTOC" lnInst="1" doName="Str" daName="general\"""", (AGENT_L2, 'doName="Str"')),
    "last member missing": ("agent-data-set", AGENT_L2, '              <FCDA ldInst="FLISR" lnClass="AFSR" lnInst="1" doName="Prg" daName="st" fc="ST"/>\n', "", (AGENT_L2, '<DataSet name="fast"')),
    "control block of another data set": ("agent-data-set", AGENT_L2, 'datSet="slow"', 'datSet="fast"', (AGENT_L2, '<GSEControl name="gcbSlow"')),
    "no subscription to a peer": ("subscription-missing", AGENT_L2, '<ExtRef iedName="F1R3"', '<ExtRef intAddr="spare"', (AGENT_L2, AFSR)),
    "no subscription across a tie": ("subscription-missing", AGENT_L2, '<ExtRef iedName="F2L8"', '<ExtRef intAddr="spare"', (AGENT_L2, AFSR)),
    "no subscription to the slow stream": ("subscription-missing", AGENT_L2 + "", 'srcCBName="gcbSlow"', 'srcCBName="gcbFast"', (AGENT_L2, AFSR)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_single_fault(name):
    rule, start, old, new, (anchor, part) = FAULTS[name]
    text, _ = change(SAMPLE, start, old, new)
    assert found(text) == [(rule, line_after(text, anchor, part))]


def test_without_normal_positions_only_peers_are_asked_for():
    peer, _ = change(SAMPLE, AGENT_L2, '<ExtRef iedName="F1R3"', '<ExtRef intAddr="spare"')
    distant, _ = change(SAMPLE, AGENT_L2, '<ExtRef iedName="F2L8"', '<ExtRef intAddr="spare"')
    assert [rule for rule, _ in found(peer, None)] == ["subscription-missing"]
    assert found(distant, None) == []


def test_the_message_names_what_is_missing():
    text, _ = change(SAMPLE, AGENT_L2, '<ExtRef iedName="F2L8"', '<ExtRef intAddr="spare"')
    (finding,) = check(text.encode(), "s.scd", normally_open=OPEN)
    assert finding.message == "agent F1L2 does not subscribe to F2L8 gcbFast"
    assert finding.severity == "error"
    assert finding.file == "s.scd"
    assert finding.path.endswith('/LDevice[@inst="FLISR"]/LN[@lnClass="AFSR"][@inst="1"]')


def breaker(name: str) -> SwitchSpec:
    return SwitchSpec(name, "breaker")


def test_network_without_source():
    text = generate_scd(NetworkSpec("n", (FeederSpec("F", "S", (breaker("Q"), breaker("R"))),)))
    changed, _ = change(text, "<Bay", 'type="IFL"', 'type="VTR"')
    assert found(text) == []
    assert found(changed) == [("section-unfed", line_after(text, "<Bay", '<ConductingEquipment name="Q"'))]


def test_section_with_more_peers_than_can_be_answered():
    def spec(laterals: int) -> str:
        inner = tuple(LateralSpec(f"X{n}", "F/S1", SwitchSpec(f"L{n}")) for n in range(laterals))
        return generate_scd(NetworkSpec("n", (FeederSpec("F", "S", (breaker("Q"),), inner),)))

    assert found(spec(8)) == []
    text = spec(9)
    assert found(text) == [("section-wide", line_after(text, "<Bay", '<ConductingEquipment name="Q"'))]


def test_a_type_that_all_agents_share():
    old = 'name="inc" fc="ST" dchg="true" bType="INT32U"'
    text, _ = change(SAMPLE, "<DataTypeTemplates>", old, old.replace("INT32U", "INT32"))
    lines = [
        number for number, line in enumerate(text.splitlines(), start=1) if "<FCDA" in line and 'daName="inc"' in line
    ]
    assert len(lines) == 20
    assert found(text) == [("agent-data-set", line) for line in lines]


def test_copies_in_other_files():
    scl = parse(SAMPLE, "system.scd")
    revision, line = change(
        SAMPLE,
        AGENT_L2,
        'appID="F1L2_fast" datSet="fast" confRev="2"',
        'appID="F1L2_fast" datSet="fast" confRev="3"',
    )
    assert validate(scl, others=[parse(SAMPLE, "same.cid")]) == []
    (finding,) = validate(scl, others=[parse(revision, "relay.cid")])
    assert (finding.rule, finding.file, finding.line) == ("conf-rev", "relay.cid", line)
    assert finding.message == "gcbFast of F1L2 has confRev 3 here, 2 in system.scd"
    member, _ = change(SAMPLE, AGENT_L2, 'doName="Beh" daName="stVal"', 'doName="Mod" daName="stVal"')
    (finding,) = validate(scl, others=[parse(member, "relay.cid")])
    assert (finding.rule, finding.line) == ("conf-rev", line_after(member, AGENT_L2, '<DataSet name="fast"'))
