"""The primary network: sections, sides, sources, peers, and what makes it impossible."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

from importlib.resources import files

import pytest

from scl.document import SclError
from scl.reader import parse, read
from scl.topology import A, B, primary_network

SAMPLE = files("scl") / "samples" / "two_source.scd"


def agent(name: str, number: object = 1, value: str = "") -> str:
    given = value or f'<DOI name="SwNum"><DAI name="setVal"><Val>{number}</Val></DAI></DOI>'
    return f"""<IED name="{name}"><AccessPoint name="P"><Server><Authentication/><LDevice inst="FLISR">
<LN0 lnClass="LLN0" inst="" lnType="L"/><LN lnClass="AFSR" inst="1" lnType="A">{given}</LN></LDevice></Server></AccessPoint></IED>"""


def terminals(*nodes: str) -> str:
    return "".join(f'<Terminal connectivityNode="{node}" cNodeName="{node.rpartition("/")[2]}"/>' for node in nodes)


def equipment(name: str, kind: str, *nodes: str, ied: str = "", lnClass: str = "AFSR") -> str:
    link = f'<LNode iedName="{ied}" ldInst="FLISR" lnClass="{lnClass}" lnInst="1"/>' if ied else ""
    return f'<ConductingEquipment name="{name}" type="{kind}">{link}{terminals(*nodes)}</ConductingEquipment>'


def line(content: str, nodes: str = "abcdef", name: str = "L") -> str:
    inner = "".join(f'<ConnectivityNode name="{node}" pathName="{name}/{node}"/>' for node in nodes)
    return f'<Line name="{name}">{content}{inner}</Line>'


def network(content: str):
    return primary_network(parse(f"<SCL>{content}</SCL>", "n.scd"))


def test_sample():
    found = primary_network(read(str(SAMPLE)))
    sections = {section.name: section for section in found.sections}
    assert {
        switch.number: (
            switch.path,
            switch.kind,
            switch.iedName,
            *(found.sections[i].name for i in switch.sections),
        )
        for switch in found.switches
    } == {
        1: ("ALPHA/V20/F1/Q1", "breaker", "F1Q1", "ALPHA/V20/BB/N1", "F1/S1"),
        2: ("F1/L2", "load_break", "F1L2", "F1/S1", "F1/S2"),
        3: ("F1/R3", "breaker", "F1R3", "F1/S2", "F1/S3"),
        4: ("F1/L4", "load_break", "F1L4", "F1/S3", "F1/S4"),
        5: ("BRAVO/V20/F2/Q5", "breaker", "F2Q5", "BRAVO/V20/BB/N1", "F2/S1"),
        6: ("F2/L6", "load_break", "F2L6", "F2/S1", "F2/S2"),
        7: ("F2/R7", "breaker", "F2R7", "F2/S2", "F2/S3"),
        8: ("F2/L8", "load_break", "F2L8", "F2/S3", "F2/S4"),
        9: ("F1/T9", "load_break", "T9", "F1/S4", "F2/S4"),
        10: ("F1/T10", "load_break", "T10", "F1/S2", "F2/S2"),
    }
    assert {name for name, section in sections.items() if section.is_source} == {
        "ALPHA/V20/BB/N1",
        "BRAVO/V20/BB/N1",
    }
    assert sections["F1/S2"].switches == ((2, B), (3, A), (10, A))
    assert [item.path for item in sections["F1/S2"].equipment] == ["F1/S2", "F1/LAT1"]
    assert "F1/LAT1b" in sections["F1/S2"].nodes
    assert found.peers(2, B) == ((3, A), (10, A))
    assert found.peers(1, A) == ()
    assert found.switch(9).name == "T9"
    assert found.section("F1/S3").switches == ((3, B), (4, A))
    with pytest.raises(KeyError):
        found.switch(99)
    with pytest.raises(KeyError):
        found.section("F9/S1")


def test_sides_follow_the_terminals_not_the_feeding():
    found = network(
        line(equipment("Q", "CBR", "L/b", "L/a", ied="X") + equipment("S", "LIN", "L/a", "L/c")) + agent("X")
    )
    assert [found.sections[index].nodes for index in found.switch(1).sections] == [("L/b",), ("L/a", "L/c")]


def test_switch_without_agent_conducts():
    content = line(
        equipment("Q", "CBR", "L/a", "L/b", ied="X")
        + equipment("D", "DIS", "L/b", "L/c")
        + equipment("Z", "CBR", "L/c", "L/d", ied="RELAY", lnClass="XCBR")
        + equipment("S", "LIN", "L/d", "L/e")
    )
    found = network(content + agent("X"))
    assert [section.nodes for section in found.sections] == [("L/a",), ("L/b", "L/c", "L/d", "L/e")]
    assert found.sections[1].name == "L/S"


@pytest.mark.parametrize(
    "ground", ['<Terminal connectivityNode="L/grounded"/>', '<Terminal cNodeName="grounded"/>', ""]
)
def test_earthing_switches_join_nothing(ground):
    earthing = f'<ConductingEquipment name="E" type="DIS">{terminals("L/b")}{ground}</ConductingEquipment>'
    other = earthing.replace("L/b", "L/a").replace('"E"', '"E2"')
    found = network(line(equipment("Q", "CBR", "L/a", "L/b", ied="X") + earthing + other) + agent("X"))
    assert [section.nodes for section in found.sections] == [("L/a",), ("L/b",)]
    assert [item.path for section in found.sections for item in section.equipment] == ["L/E2", "L/E"]


def test_terminal_by_names_alone():
    bay = """<Substation name="S"><VoltageLevel name="V"><Bay name="B"><ConductingEquipment name="Q" type="CBR">
<LNode iedName="X" ldInst="FLISR" lnClass="XSWI" lnInst="1"/>
<Terminal substationName="S" voltageLevelName="V" bayName="B" cNodeName="n"/><Terminal lineName="L" cNodeName="a"/>
</ConductingEquipment><ConnectivityNode name="n"/></Bay></VoltageLevel></Substation>"""
    found = network(bay + line("") + agent("X"))
    assert [section.name for section in found.sections] == ["S/V/B/n", "L/a"]
    assert found.switch(1).kind == "load_break"


def test_inside_a_process_and_a_function():
    inner = line(equipment("S", "LIN", "P/L/a", "P/L/b"))
    function = f'<Function name="F"><SubFunction name="G">{equipment("Q", "DIS", "P/L/b", "P/L/c", ied="X")}</SubFunction></Function>'
    found = network(f'<Process name="P">{function}{inner}</Process>' + agent("X"))
    assert found.switch(1).path == "P/F/G/Q"
    assert [section.nodes for section in found.sections] == [("P/L/a", "P/L/b"), ("P/L/c",)]
    assert found.switch(1).kind == "load_break"


def substation(hv: str, mv: str) -> str:
    level = '<VoltageLevel name="{0}">{1}<Bay name="B"><ConnectivityNode name="n"/></Bay></VoltageLevel>'
    voltage = '<Voltage unit="V" multiplier="k">{}</Voltage>'
    windings = "".join(
        f'<TransformerWinding name="W{level_}" type="PTW">{terminals(f"T/{level_}/B/n")}</TransformerWinding>'
        for level_ in ("H", "M")
    )
    return (
        f'<Substation name="T"><PowerTransformer name="T1" type="PTR">{windings}</PowerTransformer>'
        + level.format("H", voltage.format(hv) if hv else "")
        + level.format("M", voltage.format(mv) if mv else "")
        + "</Substation>"
    )


@pytest.mark.parametrize(
    ("hv", "mv", "sources"),
    [
        ("110", "20", ["T/M/B/n"]),
        ("20", "110", ["T/H/B/n"]),
        ("", "20", ["T/H/B/n", "T/M/B/n"]),
        ("20", "20", ["T/H/B/n", "T/M/B/n"]),
    ],
)
def test_a_transformer_feeds_all_but_its_highest_voltage(hv, mv, sources):
    switches = equipment("Q1", "CBR", "T/H/B/n", "L/a", ied="X") + equipment("Q2", "CBR", "T/M/B/n", "L/b", ied="Y")
    found = network(substation(hv, mv) + line(switches) + agent("X", 1) + agent("Y", 2))
    assert [section.name for section in found.sections if section.is_source] == sources


def test_a_transformer_along_a_line_feeds_nothing():
    transformer = (
        '<PowerTransformer name="T" type="PTR"><TransformerWinding name="W1" type="PTW">'
        + terminals("L/b")
        + "</TransformerWinding></PowerTransformer>"
    )
    found = network(line(transformer + equipment("Q", "CBR", "L/a", "L/b", ied="X")) + agent("X"))
    assert not any(section.is_source for section in found.sections)


def test_number_from_the_type():
    types = """<DataTypeTemplates><LNodeType id="A" lnClass="AFSR"><DO name="SwNum" type="N"/></LNodeType><DOType id="N" cdc="ING">
<DA name="setVal" fc="SP" bType="INT32"><Val>7</Val></DA></DOType></DataTypeTemplates>"""
    found = network(line(equipment("Q", "CBR", "L/a", "L/b", ied="X")) + agent("X", value=" ") + types)
    assert [switch.number for switch in found.switches] == [7]


Q = equipment("Q", "CBR", "L/a", "L/b", ied="X")


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (line(equipment("Q", "CBR", "L/a", "L/zz", ied="X")) + agent("X"), "Terminal", "names no connectivity node: 'L/zz'"),
        (line(equipment("S", "LIN", "L/a", "L/zz")), "Terminal", "names no connectivity node"),
        (line(equipment("Q", "CBR", "L/a", ied="X")) + agent("X"), "Equipment", "L/Q has an agent and 1 terminals"),
        (line(equipment("Q", "CBR", "L/a", "L/grounded", ied="X")) + agent("X"), "Equipment", "and 1 terminals"),
        (line(equipment("Q", "CBR", "L/a", "L/b", "L/c", ied="X")) + agent("X"), "Equipment", "and 3 terminals"),
        (line(Q + equipment("R", "CBR", "L/b", "L/c", ied="X")) + agent("X"), "Equipment", "X guards L/Q and L/R"),
        (line(Q + equipment("R", "CBR", "L/b", "L/c", ied="Y")) + agent("X") + agent("Y"), "AFSR", "number 1 of L/R is also that of L/Q"),
        (line(Q) + agent("X", 0), "AFSR", "switch number '0' of X; expected 1 to 32767"),
        (line(Q) + agent("X", 32768), "AFSR", "switch number '32768'"),
        (line(Q) + agent("X", "one"), "AFSR", "switch number 'one'"),
        (line(Q) + agent("X", value=" "), "AFSR", "no switch number: LNodeType A is unknown"),
        (line(Q + equipment("S", "LIN", "L/a", "L/b")) + agent("X"), "Equipment", "both sides in one section: bypassed"),
        (line(Q) + line("") + agent("X"), "ConnectivityNode", "second connectivity node L/a"),
        (line(Q.replace("<Terminal", '<LNode iedName="Y" ldInst="FLISR" lnClass="AFSR"/><Terminal', 1)) + agent("X") + agent("Y", 2),
         "Equipment", "linked to the agents X/FLISR and Y/FLISR"),
    ],
)  # fmt: skip
def test_what_makes_no_network_is_located(content, place, message):
    with pytest.raises(SclError, match=message) as caught:
        network(content)
    assert caught.value.file == "n.scd"
    assert caught.value.line > 0
    assert place in caught.value.path


def test_all_problems_in_one_run_and_the_rest_of_the_network():
    content = line(Q + equipment("R", "CBR", "L/b", ied="Y") + equipment("S", "LIN", "L/b", "L/zz"))
    problems: list[SclError] = []
    found = primary_network(parse(f"<SCL>{content}{agent('X')}{agent('Y', 2)}</SCL>"), problems)
    assert len(problems) == 2
    assert [switch.path for switch in found.switches] == ["L/Q"]
