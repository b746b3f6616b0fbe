"""References resolved to types; types that multiply or contain themselves are refused."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

import pytest

from scl.datasets import resolve_data_set
from scl.document import SclError
from scl.reader import parse
from scl.types import TypeResolutionError, Types

TEMPLATES = """
<DataTypeTemplates>
 <LNodeType id="LN" lnClass="MMXU">
  <DO name="Pos" type="DPC"/><DO name="PhV" type="WYE"/><DO name="Ha" type="HWYE"/><DO name="Loop" type="LOOP"/>
  <DO name="Big" type="BIG"/><DO name="Lost" type="NOWHERE"/><DO name="Bad" type="BAD"/><DO name="Tree" type="Tree0"/>
 </LNodeType>
 <DOType id="DPC" cdc="DPC">
  <DA name="stVal" fc="ST" bType="Dbpos"/><DA name="q" fc="ST" bType="Quality"/>
  <DA name="ctlModel" fc="CF" bType="Enum" type="Model"><Val>sbo</Val></DA>
  <DA name="x" fc="CF" bType="INT8"/><DA name="x" fc="SV" bType="INT16"/>
 </DOType>
 <DOType id="WYE" cdc="WYE">
  <SDO name="phsA" type="CMV"/><DA name="angRef" fc="CF" bType="INT32"/><SDO name="phsB" type="CMV"/>
  <DA name="t" fc="MX" bType="Timestamp"/>
 </DOType>
 <DOType id="CMV" cdc="CMV"><DA name="cVal" fc="MX" bType="Struct" type="Vector"/><DA name="q" fc="MX" bType="Quality"/></DOType>
 <DOType id="HWYE" cdc="HWYE">
  <SDO name="har" type="CMV" count="numHar"/><DA name="numHar" fc="CF" bType="INT16U"><Val>16</Val></DA>
  <DA name="raw" fc="MX" bType="FLOAT32" count="4"/><DA name="lost" fc="MX" bType="FLOAT32" count="none"/>
 </DOType>
 <DOType id="LOOP" cdc="ENS"><SDO name="self" type="LOOP"/></DOType>
 <DOType id="BIG" cdc="ENS"><DA name="v" fc="ST" bType="Struct" type="Big0"/></DOType>
 <DOType id="BAD" cdc="ENS"><DA name="e" fc="ST" bType="Enum" type="Lost"/><DA name="s" fc="ST" bType="Struct" type="Lost"/></DOType>
 <DAType id="Vector"><BDA name="mag" bType="Struct" type="Analogue"/><BDA name="ang" bType="FLOAT32"/></DAType>
 <DAType id="Analogue"><BDA name="f" bType="FLOAT32"/></DAType>
 %s
 <EnumType id="Model"><EnumVal ord="0">status</EnumVal><EnumVal ord="2"> sbo </EnumVal></EnumType>
</DataTypeTemplates>"""
BIG = "".join(
    f'<DAType id="Big{n}">' + "".join(f'<BDA name="b{i}" bType="Struct" type="Big{n + 1}"/>' for i in range(10)) + "</DAType>"
    for n in range(8)
) + '<DAType id="Big8"><BDA name="f" bType="FLOAT32"/></DAType>' + "".join(
    f'<DOType id="Tree{n}" cdc="X">' + "".join(f'<SDO name="s{i}" type="Tree{n + 1}"/>' for i in range(10)) + "</DOType>" for n in range(25)
) + '<DOType id="Tree25" cdc="X"><DA name="q" fc="MX" bType="Quality"/></DOType>'  # fmt: skip


@pytest.fixture(scope="module")
def types() -> Types:
    return Types(parse(f"<SCL>{TEMPLATES % BIG}</SCL>").templates)


def test_basic_attribute(types):
    found = types.resolve("LN", "Pos", "stVal", "ST")
    assert (found.name, found.bType, found.fc, found.count, found.attributes) == (
        "stVal",
        "Dbpos",
        "ST",
        0,
        (),
    )


def test_enumeration_has_its_literals_and_default(types):
    found = types.resolve("LN", "Pos", "ctlModel", "CF")
    assert found.literals == ((0, "status"), (2, "sbo"))
    assert found.default == "sbo"


def test_functional_constraint_selects_among_equal_names(types):
    assert types.resolve("LN", "Pos", "x", "SV").bType == "INT16"
    assert types.resolve("LN", "Pos", "x").bType == "INT8"


def test_component_of_sub_data_object(types):
    found = types.resolve("LN", "PhV.phsA", "cVal.mag.f", "MX")
    assert (found.bType, found.fc) == ("FLOAT32", "MX")


def test_whole_data_object_keeps_file_order_and_leaves_out_what_has_none_of_the_constraint(types):
    found = types.resolve("LN", "PhV", fc="MX")
    assert [part.name for part in found.attributes] == ["phsA", "phsB", "t"]
    assert [part.name for part in found.attributes[0].attributes] == ["cVal", "q"]
    assert found.leaves() == 7
    assert [part.name for part in types.resolve("LN", "PhV", fc="CF").attributes] == ["angRef"]


def test_arrays(types):
    assert types.resolve("LN", "Ha", "raw", "MX").count == 4
    assert types.resolve("LN", "Ha", "raw", "MX", indexed=True).count == 0
    assert types.resolve("LN", "Ha.har", fc="MX").count == 16
    assert types.resolve("LN", "Ha.har", fc="MX").leaves() == 48


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (("LX", "Pos", "q", "ST"), "LNodeType LX is unknown"),
        (("LN", "Nope", "q", "ST"), "data object Nope is not in LNodeType LN"),
        (("LN", "Pos", "nope", "ST"), "Pos.nope is not in DOType DPC"),
        (("LN", "Pos", "q", "MX"), "Pos.q has fc ST, not MX"),
        (("LN", "Pos", "q.x", "ST"), "q is a Quality and has no components"),
        (("LN", "PhV.phsA", "cVal.nope", "MX"), "no component nope"),
        (("LN", "PhV.phsX", "q", "MX"), "sub data object phsX is not in DOType WYE"),
        (("LN", "Pos", "", "MX"), "Pos has no attribute with fc MX"),
        (("LN", "Lost", "q", "ST"), "DOType NOWHERE of Lost is unknown"),
        (("LN", "Bad", "e", "ST"), "EnumType Lost of e is unknown"),
        (("LN", "Bad", "s", "ST"), "DAType Lost of s is unknown"),
        (("LN", "Ha", "lost", "MX"), "array size 'none' of lost"),
        (("LN", "Loop", "", "ST"), "do they contain themselves"),
        (("LN", "Tree", "", "ST"), "more than 10000 parts"),
        (("LN", "Big", "v", "ST"), "more than 10000 parts"),
    ],
)
def test_what_cannot_be_resolved_says_why(types, reference, message):
    with pytest.raises(TypeResolutionError, match=message):
        types.resolve(*reference)


SERVER = """<SCL><IED name="X"><AccessPoint name="P"><Server><Authentication/><LDevice inst="LD">
<LN0 lnClass="LLN0" inst="" lnType="LN"><DataSet name="d">%s</DataSet></LN0>
<LN prefix="A" lnClass="MMXU" inst="1" lnType="LN"/></LDevice></Server></AccessPoint></IED>%s</SCL>"""


def members(fcda: str):
    scl = parse(SERVER % (fcda, TEMPLATES % ""))
    ied = scl.ieds[0]
    return resolve_data_set(scl, Types(scl.templates), ied, ied.access_points[0].server.ldevices[0].ln0.datasets[0])


def test_data_set_members_in_order():
    found = members(
        '<FCDA ldInst="LD" prefix="A" lnClass="MMXU" lnInst="1" doName="Ha" daName="raw" ix="3" fc="MX"/>'
        '<FCDA ldInst="LD" lnClass="LLN0" doName="Pos" fc="ST"/>'
    )
    assert [member.reference for member in found] == ["XLD/AMMXU1.Ha(3).raw", "XLD/LLN0.Pos"]
    assert [(member.type.bType, member.type.count) for member in found] == [("FLOAT32", 0), ("Struct", 0)]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('ldInst="LX" lnClass="LLN0" doName="Pos"', "X has no logical device 'LX'"),
        ('ldInst="LD" lnClass="XCBR" lnInst="1" doName="Pos"', "has no logical node 'XCBR1'"),
        ('ldInst="LD" lnClass="LLN0"', "without doName"),
        ('ldInst="LD" lnClass="LLN0" doName="Pos" daName="zzz"', "Pos.zzz is not in DOType DPC"),
    ],
)
def test_member_that_does_not_resolve_is_located(attributes, message):
    with pytest.raises(SclError, match=message) as caught:
        members(f'<FCDA ldInst="LD" lnClass="LLN0" doName="Pos" fc="ST"/>\n<FCDA fc="ST" {attributes}/>')
    assert caught.value.line == 3
    assert "/FCDA" in caught.value.path
