"""The point list of an SCD: what becomes a point, addresses of the SCD, generated ones, overrides."""

import json
import random
import re

import pytest

from gateway.iec104.asdu import TypeID
from gateway.points.assigned import (
    AssignedAddress,
    AssignedError,
    Wanted,
    assign,
    format_assigned,
    natural,
    parse_assigned,
)
from gateway.points.list_output import COLUMNS, to_csv, to_json
from gateway.points.mapping import Control, Monitor
from gateway.points.mapping_rules import Override
from gateway.points.point import PointError
from gateway.points.point_list import Selection, point_list
from scl.reader import parse

TEMPLATES = """
<DataTypeTemplates>
 <LNodeType id="LLN0" lnClass="LLN0"><DO name="Mod" type="Mod"/><DO name="Beh" type="ENS"/>
  <DO name="Health" type="ENS"/><DO name="NamPlt" type="LPL"/></LNodeType>
 <LNodeType id="LPHD" lnClass="LPHD"><DO name="PhyHealth" type="ENS"/><DO name="Proxy" type="SPS"/></LNodeType>
 <LNodeType id="XCBR" lnClass="XCBR"><DO name="Beh" type="ENS"/><DO name="Pos" type="DPC" desc="position"/>
  <DO name="Loc" type="SPS"/><DO name="BlkOpn" type="SPC"/><DO name="BlkCls" type="SPCstatus"/></LNodeType>
 <LNodeType id="MMXU" lnClass="MMXU"><DO name="A" type="WYE"/><DO name="Hz" type="MV"/></LNodeType>
 <LNodeType id="PTOC" lnClass="PTOC"><DO name="Str" type="ACD"/><DO name="Op" type="ACT"/><DO name="StrVal" type="ASG"/>
  </LNodeType>
 <LNodeType id="ATCC" lnClass="ATCC"><DO name="TapChg" type="BSC"/><DO name="Cnt" type="BCR"/></LNodeType>
 <DOType id="Mod" cdc="ENC"><DA name="stVal" fc="ST" bType="Enum" type="E"/>
  <DA name="Oper" fc="CO" bType="Struct" type="O"/>
  <DA name="ctlModel" fc="CF" bType="Enum" type="E"><Val>direct-with-normal-security</Val></DA></DOType>
 <DOType id="ENS" cdc="ENS"><DA name="stVal" fc="ST" bType="Enum" type="E"/></DOType>
 <DOType id="LPL" cdc="LPL"><DA name="vendor" fc="DC" bType="VisString255"/></DOType>
 <DOType id="SPS" cdc="SPS"><DA name="stVal" fc="ST" bType="BOOLEAN"/></DOType>
 <DOType id="SPC" cdc="SPC"><DA name="Oper" fc="CO" bType="Struct" type="O"/></DOType>
 <DOType id="SPCstatus" cdc="SPC"><DA name="stVal" fc="ST" bType="BOOLEAN"/>
  <DA name="Oper" fc="CO" bType="Struct" type="O"/>
  <DA name="ctlModel" fc="CF" bType="Enum" type="E"><Val>status-only</Val></DA></DOType>
 <DOType id="DPC" cdc="DPC"><DA name="stVal" fc="ST" bType="Dbpos"/><DA name="Oper" fc="CO" bType="Struct" type="O"/>
  <DA name="ctlModel" fc="CF" bType="Enum" type="E"><Val>sbo-with-enhanced-security</Val></DA></DOType>
 <DOType id="WYE" cdc="WYE"><SDO name="phsA" type="CMV"/><SDO name="phsB" type="CMV"/></DOType>
 <DOType id="CMV" cdc="CMV"><DA name="cVal" fc="MX" bType="Struct" type="V"/></DOType>
 <DOType id="MV" cdc="MV"><DA name="mag" fc="MX" bType="Struct" type="A"/></DOType>
 <DOType id="ACD" cdc="ACD"><DA name="general" fc="ST" bType="BOOLEAN"/></DOType>
 <DOType id="ACT" cdc="ACT"><DA name="general" fc="ST" bType="BOOLEAN"/></DOType>
 <DOType id="ASG" cdc="ASG"><DA name="setMag" fc="SP" bType="Struct" type="A"/></DOType>
 <DOType id="BSC" cdc="BSC"><DA name="valWTr" fc="ST" bType="Struct" type="W"/>
  <DA name="Oper" fc="CO" bType="Struct" type="O"/></DOType>
 <DOType id="BCR" cdc="BCR"><DA name="actVal" fc="ST" bType="INT64"/></DOType>
 <DAType id="O"><BDA name="ctlVal" bType="BOOLEAN"/></DAType>
 <DAType id="V"><BDA name="mag" bType="Struct" type="A"/></DAType>
 <DAType id="A"><BDA name="f" bType="FLOAT32"/></DAType>
 <DAType id="W"><BDA name="posVal" bType="INT8"/></DAType>
 <EnumType id="E"><EnumVal ord="1">on</EnumVal></EnumType>
</DataTypeTemplates>
"""


def address(**given):
    attributes = " ".join(f'{name}="{value}"' for name, value in given.items())
    return (
        '<Private type="IEC_60870_5_104">'
        f'<a:Address xmlns:a="http://www.iec.ch/61850-80-1/2007/IEC_60870-5-104" {attributes}/></Private>'
    )


def ied(name, *, xcbr="", mmxu="", ptoc="", lln0="", extra="", at_ied="", at_ld="", at_ln=""):
    return f"""<IED name="{name}">{at_ied}<AccessPoint name="P1"><Server><Authentication/><LDevice inst="LD">{at_ld}
    <LN0 lnClass="LLN0" inst="" lnType="LLN0">{lln0}</LN0>
    <LN lnClass="LPHD" inst="1" lnType="LPHD"/>
    <LN lnClass="XCBR" inst="1" lnType="XCBR">{at_ln}{xcbr}</LN>
    <LN lnClass="MMXU" inst="1" lnType="MMXU">{mmxu}</LN>
    <LN lnClass="PTOC" inst="1" lnType="PTOC">{ptoc}</LN>{extra}
    </LDevice></Server></AccessPoint></IED>"""


def scd(*ieds, templates=TEMPLATES):
    return parse(
        '<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B" release="4">'
        f'<Header id="t"/>{"".join(ieds)}{templates}</SCL>',
        "t.scd",
    )


def table(found):
    assert found.problems == []
    return {row.object: (row.CA, row.IOA, int(row.typeID)) for row in found.rows}


TAPS = '<LN lnClass="ATCC" inst="1" lnType="ATCC"/>'


def test_what_becomes_a_point_and_where():
    found = table(point_list(scd(ied("Q1", extra=TAPS))))
    assert found == {
        "Q1LD/PTOC1.Op.general": (1, 10001, 30),
        "Q1LD/PTOC1.Str.general": (1, 10002, 30),
        "Q1LD/XCBR1.BlkCls.stVal": (1, 10003, 30),
        "Q1LD/XCBR1.Loc.stVal": (1, 10004, 30),
        "Q1LD/ATCC1.TapChg.valWTr": (1, 20001, 32),
        "Q1LD/XCBR1.Pos.stVal": (1, 20002, 31),
        "Q1LD/LLN0.Beh.stVal": (1, 30001, 35),
        "Q1LD/LLN0.Health.stVal": (1, 30002, 35),
        "Q1LD/LPHD1.PhyHealth.stVal": (1, 30003, 35),
        "Q1LD/MMXU1.A.phsA.cVal.mag": (1, 30004, 36),
        "Q1LD/MMXU1.A.phsB.cVal.mag": (1, 30005, 36),
        "Q1LD/MMXU1.Hz.mag": (1, 30006, 36),
        "Q1LD/ATCC1.Cnt.actVal": (1, 40001, 37),
        "Q1LD/ATCC1.TapChg.Oper.ctlVal": (1, 50001, 60),
        "Q1LD/XCBR1.BlkOpn.Oper.ctlVal": (1, 50002, 58),
        "Q1LD/XCBR1.Pos.Oper.ctlVal": (1, 50003, 59),
    }


def test_rows_say_all_that_an_engineer_asks():
    found = point_list(scd(ied("Q1", xcbr='<DOI name="Pos" desc="Q0  breaker"/>')))
    rows = {row.object: row for row in found.rows}
    row = rows["Q1LD/XCBR1.Pos.Oper.ctlVal"]
    assert (row.name, row.cdc, row.source, row.control, row.select) == ("Q1LD/XCBR1.Pos", "DPC", "Q1", True, True)
    assert row.description == "Q0 breaker"
    assert row.origin == "generated"
    assert rows["Q1LD/XCBR1.Loc.stVal"].description == ""
    assert not rows["Q1LD/XCBR1.BlkOpn.Oper.ctlVal"].select
    points = {point.name: point for point in found.points()}
    assert len(points) == len(found.rows) - 1  # Pos is one point with two addresses
    assert points["Q1LD/XCBR1.Pos"].source == "Q1"
    for row in found.rows:
        (Control if row.control else Monitor)(row.rule)


def test_ctlModel_of_the_instance_counts():
    xcbr = '<DOI name="Pos"><DAI name="ctlModel"><Val>status-only</Val></DAI></DOI>'
    found = table(point_list(scd(ied("Q1", xcbr=xcbr))))
    assert "Q1LD/XCBR1.Pos.Oper.ctlVal" not in found
    assert "Q1LD/XCBR1.Pos.stVal" in found


def test_selection():
    scl = scd(ied("Q1"))
    every = table(point_list(scl, selection=Selection(housekeeping=True)))
    assert {"Q1LD/XCBR1.Beh.stVal", "Q1LD/LLN0.Mod.stVal", "Q1LD/LLN0.Mod.Oper.ctlVal"} <= set(every)
    assert "Q1LD/LPHD1.Proxy.stVal" in every
    settings = table(point_list(scl, selection=Selection(settings=True)))
    assert settings["Q1LD/PTOC1.StrVal.setMag"] == (1, 50001, 63)
    only = table(point_list(scl, selection=Selection(include=("*/XCBR*.Pos", "*.Hz"), exclude=("*.Hz",))))
    assert set(only) == {"Q1LD/XCBR1.Pos.stVal", "Q1LD/XCBR1.Pos.Oper.ctlVal"}
    assert point_list(scl, selection=Selection(addressed_only=True)).rows == []


def test_of_supervision_only_what_it_says():
    templates = TEMPLATES.replace(
        "<DataTypeTemplates>",
        '<DataTypeTemplates><LNodeType id="LGOS" lnClass="LGOS"><DO name="St" type="SPS"/><DO name="SimSt" type="SPS"/>'
        "</LNodeType>",
    )
    scl = scd(ied("Q1", extra='<LN lnClass="LGOS" inst="1" lnType="LGOS"/>'), templates=templates)
    names = {row.name for row in point_list(scl).rows}
    assert {name for name in names if "LGOS" in name} == {"Q1LD/LGOS1.St"}
    assert "Q1LD/LGOS1.SimSt" in table_names(point_list(scl, selection=Selection(housekeeping=True)))


def table_names(found):
    return {row.name for row in found.rows}


def test_addresses_of_the_scd():
    xcbr = (
        f'<DOI name="Pos"><SDI name="Oper"><DAI name="ctlVal">{address(casdu=7, ioa=50, ti=59)}</DAI></SDI>'
        f'<DAI name="stVal">{address(casdu=7, ioa=5, ti=31)}</DAI></DOI>'
        f'<DOI name="Beh">{address(casdu=7, ioa=6, ti=30, expectedValue=5)}</DOI>'
    )
    mmxu = (
        f'<DOI name="A"><SDI name="phsB"><SDI name="cVal"><SDI name="mag"><DAI name="f">'
        f"{address(casdu=7, ioa=9, ti=35, scaleMultiplier='2', scaleOffset='-1', unitMultiplier='k')}"
        "</DAI></SDI></SDI></SDI></DOI>"
    )
    ptoc = (
        f'<DOI name="Str"><DAI name="phsA">{address(casdu=7, ioa=10, ti=30)}</DAI>'
        f'<DAI name="general">{address(casdu=7, ioa=11, ti=40)}</DAI></DOI>'
        f'<DOI name="StrVal"><SDI name="setMag"><DAI name="f">{address(casdu=7, ioa=12, ti=63)}</DAI></SDI></DOI>'
    )
    found = point_list(scd(ied("Q1", xcbr=xcbr, mmxu=mmxu, ptoc=ptoc)), selection=Selection(addressed_only=True))
    assert table(found) == {
        "Q1LD/XCBR1.Pos.stVal": (7, 5, 31),
        "Q1LD/XCBR1.Beh.stVal=5": (7, 6, 30),
        "Q1LD/MMXU1.A.phsB.cVal.mag": (7, 9, 35),
        "Q1LD/PTOC1.Str.phsA": (7, 10, 30),
        "Q1LD/PTOC1.Str.general": (7, 11, 40),
        "Q1LD/PTOC1.StrVal.setMag": (7, 12, 63),
        "Q1LD/XCBR1.Pos.Oper.ctlVal": (7, 50, 59),
    }
    assert found.notes == []
    rows = {row.IOA: row for row in found.rows}
    assert {row.origin for row in found.rows} == {"scd"}
    assert (rows[9].scale, rows[9].offset) == (0.002, -1.0)
    assert (rows[10].element, rows[11].element) == ("phsA", "")
    assert rows[6].expectedValue == 5
    # The rest is generated at the common address that the IED has in the SCD.
    everything = table(point_list(scd(ied("Q1", xcbr=xcbr, mmxu=mmxu, ptoc=ptoc))))
    assert everything["Q1LD/XCBR1.Loc.stVal"] == (7, 10003, 30)
    assert everything["Q1LD/XCBR1.Pos.stVal"] == (7, 5, 31)


def test_two_addresses_of_one_attribute():
    both = address(casdu=1, ioa=5) + address(casdu=1, ioa=6, inverted="true")
    xcbr = f'<DOI name="Loc"><DAI name="stVal">{both}</DAI></DOI>'
    found = table(point_list(scd(ied("Q1", xcbr=xcbr)), selection=Selection(addressed_only=True)))
    assert found == {"Q1LD/XCBR1.Loc.stVal": (1, 5, 30), "Q1LD/XCBR1.Loc.stVal inverted": (1, 6, 30)}


def test_the_older_name_of_the_element_is_taken():
    old = (
        '<Private type="IEC_60870_5_104"><g:GlobalAddress104 xmlns:g="http://www.iec.ch/61850-80-1/2007/SCL" '
        'casdu="3" ioa="4" ti="30"/></Private>'
    )
    found = point_list(scd(ied("Q1", xcbr=f'<DOI name="Loc"><DAI name="stVal">{old}</DAI></DOI>')))
    assert table(found)["Q1LD/XCBR1.Loc.stVal"] == (3, 4, 30)


def test_what_an_address_leaves_open_is_generated():
    xcbr = f'<DOI name="Loc"><DAI name="stVal">{address(ti=30)}</DAI></DOI>'
    xcbr += f'<DOI name="Pos">{address(casdu=9, ioa="")}</DOI>'
    found = table(point_list(scd(ied("Q1", xcbr=xcbr))))
    assert found["Q1LD/XCBR1.Loc.stVal"] == (1, 10004, 30)
    assert found["Q1LD/XCBR1.Pos.stVal"] == (9, 20001, 31)


def test_a_common_address_above_the_data_objects():
    assert table(point_list(scd(ied("Q1", at_ied=address(casdu=5)))))["Q1LD/XCBR1.Pos.stVal"][0] == 5
    found = table(point_list(scd(ied("Q1", at_ied=address(casdu=5), at_ld=address(casdu=6), at_ln=address(casdu=7)))))
    assert found["Q1LD/XCBR1.Pos.stVal"][0] == 7
    assert found["Q1LD/MMXU1.Hz.mag"][0] == 6
    found = point_list(scd(ied("Q1", at_ln=address(casdu=5, ioa=6))))
    assert "at no data object" in found.problems[0].message
    assert found.problems[0].line > 0


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"casdu": "x", "ioa": 5}, "casdu: expected a whole number"),
        ({"casdu": 0, "ioa": 5}, "casdu 0; expected 1 to 65534"),
        ({"casdu": 65535, "ioa": 5}, "casdu 65535"),
        ({"casdu": 1, "ioa": 1 << 24}, "ioa 16777216; expected 1 to 16777215"),
        ({"casdu": 1, "ioa": 5, "ti": 99}, "ti 99; no type"),
        ({"casdu": 1, "ioa": 5, "ti": 100}, "ti 100 neither tells"),
        ({"casdu": 1, "ioa": 5, "ti": 36}, "type 36 cannot monitor a SPS; types that can: 30"),
        ({"casdu": 1, "ioa": 5, "ti": 58}, "a SPS cannot be commanded"),
        ({"casdu": 1, "ioa": 5, "inverted": "maybe"}, "inverted: expected true or false"),
        ({"casdu": 1, "ioa": 5, "scaleMultiplier": 0}, "scaleMultiplier 0"),
        ({"casdu": 1, "ioa": 5, "unitMultiplier": "q"}, "unitMultiplier 'q'"),
        ({"casdu": 1, "ioa": 5, "expectedValue": 1}, "expectedValue with type 30 of a SPS"),
    ],
)
def test_an_address_that_cannot_be_is_a_located_error(given, problem):
    found = point_list(scd(ied("Q1", xcbr=f'<DOI name="Loc">\n{address(**given)}</DOI>')))
    (error,) = found.problems
    assert problem in error.message
    assert error.file == "t.scd"
    assert error.path.endswith('DOI[@name="Loc"]/Private[@type="IEC_60870_5_104"]/a:Address')
    assert error.line == 5
    assert error.rule == "iec104-address"
    assert found.rows


@pytest.mark.parametrize(
    ("inside", "note"),
    [
        (f'<SDI name="Oper"><DAI name="Check">{address(check="interlocking", ti=59)}</DAI></SDI>', "checks"),
        (f'<DAI name="q">{address(casdu=1, ioa=5, ti=31)}</DAI>', "not mapped"),
        (f'<DAI name="stVal" ix="0">{address(casdu=1, ioa=5, ti=31)}</DAI>', "arrays"),
    ],
)
def test_addresses_that_are_not_used_are_noted(inside, note):
    found = point_list(scd(ied("Q1", xcbr=f'<DOI name="Pos">{inside}</DOI>')))
    assert found.problems == []
    (noted,) = found.notes
    assert note in noted.message
    assert noted.line > 0
    assert table(found)["Q1LD/XCBR1.Pos.stVal"] == (1, 20001, 31)


def test_addresses_of_other_classes_and_of_what_is_not_there():
    found = point_list(scd(ied("Q1", lln0=f'<DOI name="NamPlt">{address(casdu=1, ioa=5)}</DOI>')))
    assert "LPL: no mapping" in found.notes[0].message
    found = point_list(scd(ied("Q1", mmxu=f'<DOI name="A">{address(casdu=1, ioa=5)}</DOI>')))
    assert "no data object that could be a point" in found.notes[0].message
    found = point_list(scd(ied("Q1", xcbr=f'<DOI name="Poss">{address(casdu=1, ioa=5)}</DOI>')))
    assert "not in LNodeType" in found.problems[0].message


def test_one_address_for_two_objects_is_an_error_in_one_direction_only():
    xcbr = f'<DOI name="Loc">{address(casdu=1, ioa=5)}</DOI><DOI name="BlkCls">{address(casdu=1, ioa=5)}</DOI>'
    (problem,) = point_list(scd(ied("Q1", xcbr=xcbr))).problems
    assert "CA 1 IOA 5: Q1LD/XCBR1.BlkCls.stVal has it too" in problem.message
    xcbr = f'<DOI name="Pos">{address(casdu=1, ioa=5, ti=31)}{address(casdu=1, ioa=5, ti=59)}</DOI>'
    found = table(point_list(scd(ied("Q1", xcbr=xcbr))))
    assert found["Q1LD/XCBR1.Pos.stVal"] == (1, 5, 31)
    assert found["Q1LD/XCBR1.Pos.Oper.ctlVal"] == (1, 5, 59)
    xcbr = f'<DOI name="Loc">{address(casdu=1, ioa=5)}{address(casdu=1, ioa=6)}</DOI>'
    (problem,) = point_list(scd(ied("Q1", xcbr=xcbr))).problems
    assert "second address for the same" in problem.message


def test_broken_types_cost_only_what_depends_on_them():
    templates = TEMPLATES.replace('<DO name="Hz" type="MV"/>', '<DO name="Hz" type="gone"/>')
    found = point_list(scd(ied("Q1", extra='<LN lnClass="GGIO" inst="1" lnType="none"/>'), templates=templates))
    assert all(problem.line > 0 for problem in found.problems)
    assert ["DOType gone" in found.problems[0].message, "LNodeType none" in found.problems[1].message] == [True, True]
    assert len(found.problems) == 2
    assert "Q1LD/XCBR1.Pos.stVal" in {row.object for row in found.rows}


def test_names_that_stand_twice_are_errors():
    twice = '<LN lnClass="XCBR" inst="1" lnType="XCBR"/>'
    found = point_list(scd(ied("Q1", extra=twice)))
    assert all("stands twice" in problem.message for problem in found.problems)
    (problem,) = point_list(scd(ied("Q1"), ied("Q1"))).problems
    assert "second IED" in problem.message


def test_the_list_does_not_depend_on_the_order_of_ieds():
    names = ["Q1", "Q2", "Q10", "A"]
    expected = point_list(scd(*(ied(name) for name in names)))
    for seed in range(5):
        shuffled = random.Random(seed).sample(names, len(names))
        found = point_list(scd(*(ied(name) for name in shuffled)))
        assert table(found) == table(expected)
        assert found.assigned == expected.assigned
    common = {row.source: row.CA for row in expected.rows}
    assert common == {"A": 1, "Q1": 2, "Q2": 3, "Q10": 4}


def test_with_the_file_addresses_stay_when_ieds_and_points_come_and_go():
    first = point_list(scd(ied("Q2")))
    second = point_list(scd(ied("Q1"), ied("Q2", extra=TAPS)), assigned=first.assigned)
    before, after = table(first), table(second)
    assert {name: after[name] for name in before} == before
    assert after["Q1LD/XCBR1.Pos.stVal"] == (2, 20001, 31)
    assert after["Q2LD/ATCC1.TapChg.valWTr"] == (1, 20002, 32)
    origins = {row.object: row.origin for row in second.rows}
    assert origins["Q2LD/XCBR1.Pos.stVal"] == "assigned"
    assert origins["Q2LD/ATCC1.TapChg.valWTr"] == "generated"
    assert second.assigned[: len(first.assigned)] == first.assigned
    # Q2 is gone: its addresses are not given to others, and are there when it comes back.
    third = point_list(scd(ied("Q1"), ied("Q3")), assigned=second.assigned)
    assert {row.CA for row in third.rows} == {2, 3}
    fourth = point_list(scd(ied("Q1"), ied("Q3"), ied("Q2", extra=TAPS)), assigned=third.assigned)
    assert {name: table(fourth)[name] for name in after} == after
    assert fourth.assigned == third.assigned


def test_generated_addresses_keep_clear_of_those_of_the_scd():
    xcbr = f'<DOI name="Loc"><DAI name="stVal">{address(casdu=1, ioa=10001)}</DAI></DOI>'
    found = table(point_list(scd(ied("Q1", xcbr=xcbr))))
    assert len(set(found.values())) == len(found)
    assert found["Q1LD/PTOC1.Op.general"] == (1, 10002, 30)


def test_an_address_of_the_scd_that_was_given_to_another_before_is_an_error():
    first = point_list(scd(ied("Q1")))
    taken = table(first)["Q1LD/PTOC1.Op.general"]
    xcbr = f'<DOI name="Loc"><DAI name="stVal">{address(casdu=taken[0], ioa=taken[1])}</DAI></DOI>'
    found = point_list(scd(ied("Q1", xcbr=xcbr)), assigned=first.assigned)
    assert "was given to Q1LD/PTOC1.Op.general before" in found.problems[0].message
    # Once a point has an address of the SCD, the one that it had before is kept free.
    xcbr = f'<DOI name="Loc"><DAI name="stVal">{address(casdu=1, ioa=3)}</DAI></DOI>'
    second = point_list(scd(ied("Q1", xcbr=xcbr)), assigned=first.assigned)
    third = point_list(scd(ied("Q1", xcbr=xcbr), ied("Q2")), assigned=second.assigned, common=1)
    old = table(first)["Q1LD/XCBR1.Loc.stVal"]
    assert old not in table(third).values()


def test_one_common_address_for_all():
    found = table(point_list(scd(ied("Q1"), ied("Q2")), common=77))
    assert {place[0] for place in found.values()} == {77}
    assert len(set(found.values())) == len(found)


def test_overrides():
    override = Override(
        typeID=TypeID.M_ME_TE_1, IOA=123, CA=4, scale=100.0, offset=1.0, groups=frozenset((2,)), event_class=3,
        deadband=0.05, cyclic=True, background=True,
    )  # fmt: skip
    found = point_list(scd(ied("Q1")), overrides={"Q1LD/MMXU1.Hz": override})
    row = next(row for row in found.rows if row.name == "Q1LD/MMXU1.Hz")
    assert (row.CA, row.IOA, row.typeID, row.origin) == (4, 123, TypeID.M_ME_TE_1, "override")
    assert (row.scale, row.offset, row.event_class, row.deadband) == (100.0, 1.0, 3, 0.05)
    assert (row.groups, row.cyclic, row.background) == (frozenset((2,)), True, True)
    assert {point.name: point.deadband for point in found.points()}["Q1LD/MMXU1.Hz"] == 0.05
    control = Override(control_IOA=9, inverted=True, control_typeID=TypeID.C_DC_NA_1, typeID=TypeID.M_DP_NA_1)
    found = table(point_list(scd(ied("Q1")), overrides={"Q1LD/XCBR1.Pos": control}))
    assert found["Q1LD/XCBR1.Pos.Oper.ctlVal inverted"] == (1, 9, 46)
    assert found["Q1LD/XCBR1.Pos.stVal inverted"] == (1, 20001, 3)
    # An override is a word that the point is wanted.
    asked = Override(typeID=TypeID.M_SP_TB_1, expectedValue=5)
    found = table(point_list(scd(ied("Q1")), overrides={"Q1LD/XCBR1.Beh": asked}))
    assert found["Q1LD/XCBR1.Beh.stVal=5"][2] == 30


@pytest.mark.parametrize(
    ("name", "override", "problem"),
    [
        ("Q1LD/XCBR1.Poss", Override(), "an override for no point of t.scd"),
        ("Q1LD/XCBR1.Pos", Override(CA=0), "CA 0"),
        ("Q1LD/XCBR1.Pos", Override(typeID=TypeID.M_ME_TF_1), "types that can: 31"),
        ("Q1LD/MMXU1.Hz", Override(inverted=True), "cannot be inverted"),
    ],
)
def test_overrides_that_cannot_be(name, override, problem):
    with pytest.raises(PointError, match=re.escape(problem)):
        point_list(scd(ied("Q1")), overrides={name: override})


def test_output():
    found = point_list(scd(ied("Q1", xcbr='<DOI name="Loc" desc="a, &quot;b&quot;"/>')))
    lines = to_csv(found.rows).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + len(found.rows)
    (loc,) = [line for line in lines if "XCBR1.Loc" in line]
    assert loc.startswith("1,10004,30,M_SP_TB_1,monitor,Q1LD/XCBR1.Loc.stVal,Q1LD/XCBR1.Loc,stVal,SPS,Q1,")
    assert '"a, ""b"""' in loc
    content = json.loads(to_json(found))
    assert [point["object"] for point in content["points"]] == [row.object for row in found.rows]
    assert (content["notes"], content["problems"]) == ([], [])


# ---------------------------------------------------------------- the file of assigned addresses


def test_the_file_reads_what_it_wrote():
    entries = point_list(scd(ied("Q1"))).assigned
    text = format_assigned(entries)
    assert text.startswith("# flisr assigned addresses, version 1\nsource,object,CA,IOA,origin\nQ1,")
    assert parse_assigned(text) == entries


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f.csv:1: no file of assigned addresses"),
        ("source,object\n", "f.csv:1: no file of assigned addresses"),
        ("# flisr assigned addresses, version 2\n", "version 2; this program reads up to 1"),
        ("# flisr assigned addresses, version x\n", "no file of assigned addresses"),
        ("# flisr assigned addresses, version 1\nA,b,1\n", "f.csv:2: 3 columns"),
        ("# flisr assigned addresses, version 1\nA,b,0,1,generated\n", "f.csv:2: '0'"),
        ("# flisr assigned addresses, version 1\nA,b,1,x,generated\n", "f.csv:2: 'x'"),
        ('# flisr assigned addresses, version 1\nA,"b,1\n', "f.csv:2: "),
        (
            "# flisr assigned addresses, version 1\nA,b,1,2,generated\nA,c,1,2,generated\n",
            "f.csv:3: CA 1 IOA 2 of c was given to b before",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(text, problem):
    with pytest.raises(AssignedError, match=re.escape(problem)):
        parse_assigned(text, "f.csv")


def wanted(count, source="Q1", typeID=TypeID.M_SP_TB_1):
    return [Wanted(source=source, object=f"o{number}", typeID=typeID, control=False) for number in range(count)]


def test_a_full_block_goes_on_above_the_others():
    result = assign(wanted(10_001), common=1)
    places = [IOA for _, IOA in result.addresses.values()]
    assert len(set(places)) == 10_001
    assert sorted(places)[9998:] == [19_999, 70_001, 70_002]
    again = assign(wanted(10_002), result.entries, common=1)
    assert again.addresses["o10001"] == (1, 70_003)
    assert {name: again.addresses[name] for name in result.addresses} == result.addresses


def test_addresses_end_somewhere():
    last = AssignedAddress("Q1", "x", 1, 16_759_999, "generated")  # the last single point
    result = assign(wanted(1), [last], common=1)
    assert result.addresses == {}
    assert "no address is left" in result.problems[0][1]


def test_names_are_sorted_as_people_count():
    assert sorted(["Q10", "Q2", "Q02", "Q", "A1B", "A1"], key=natural) == ["A1", "A1B", "Q", "Q02", "Q2", "Q10"]
