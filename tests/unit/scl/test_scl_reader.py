"""Typed elements: values, defaults, and every fault located."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

import pytest

from scl.document import SclError
from scl.reader import parse, parse_all, read

HEAD = '<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B" release="4">'


def test_minimal_file():
    scl = parse(HEAD + '<Header id="x"/></SCL>')
    assert (scl.version, scl.revision, scl.release) == ("2007", "B", 4)
    assert scl.header is not None
    assert scl.header.id == "x"
    assert scl.header.nameStructure == "IEDName"
    assert scl.ieds == ()


def test_edition_1_has_no_version():
    assert parse("<SCL><Header id=''/></SCL>").version == ""


def test_values_children_and_private_data():
    scl = parse(
        HEAD
        + """<IED name="X" desc="d"><Private type="t"><any xmlns="urn:x"/></Private>
<AccessPoint name="P" clock="true"><Server timeout=" 5 "><Authentication/><LDevice inst="L"><LN0 lnClass="LLN0" inst=""
 lnType="T"><GSEControl name="g" appID="a" confRev="7" fixedOffs="1"/><DOI name="Pos"><SDI name="s"><DAI name="v"><Val>
 on </Val></DAI></SDI></DOI></LN0></LDevice></Server></AccessPoint></IED></SCL>"""
    )
    ied = scl.ied("X")
    assert ied is not None
    assert scl.ied("Y") is None
    assert [private.type for private in ied.privates] == ["t"]
    (point,) = ied.access_points
    assert point.clock is True
    assert point.router is False
    assert point.server is not None
    assert point.server.timeout == 5
    ldevice = ied.ldevice("L")
    assert ldevice is not None
    (control,) = ldevice.ln0.gse_controls
    assert (control.confRev, control.fixedOffs, control.type, control.line) == (7, True, "GOOSE", 3)
    assert ldevice.ln0.value("Pos", "s", "v") == "on"
    assert ldevice.ln0.value("Pos", "s", "w") is None
    assert ldevice.ln0.value("Pos", "v") is None
    assert ldevice.ln0.value("No", "v") is None


@pytest.mark.parametrize(
    ("inner", "line", "path", "message"),
    [
        ("\n<IED/>", 2, "/SCL/IED", "IED without the attribute name"),
        ('\n<Communication>\n<SubNetwork name="S"><BitRate>fast</BitRate></SubNetwork></Communication>', 3,
         '/SCL/Communication/SubNetwork[@name="S"]/BitRate', "expected a number, found 'fast'"),
        ('<IED name="X"><AccessPoint name="P"><Server>\n<LDevice inst="L"/></Server></AccessPoint></IED>', 2,
         '/SCL/IED[@name="X"]/AccessPoint[@name="P"]/Server/LDevice[@inst="L"]', "LDevice without LN0"),
        ('<IED name="X"><AccessPoint\n name="P" router="maybe"/></IED>', 1, '/SCL/IED[@name="X"]/AccessPoint[@name="P"]',
         "AccessPoint@router: expected true or false"),
        ('<Header id="1"/>\n<Header id="2"/>', 2, '/SCL/Header[@id="2"]', "second Header"),
        ('<DataTypeTemplates><EnumType id="E">\n<EnumVal ord="1e3">x</EnumVal></EnumType></DataTypeTemplates>', 2,
         '/SCL/DataTypeTemplates/EnumType[@id="E"]/EnumVal[@ord="1e3"]', "expected a whole number"),
        ('<DataTypeTemplates><EnumType id="E">\n<EnumVal ord="٣">x</EnumVal></EnumType></DataTypeTemplates>', 2,
         '/SCL/DataTypeTemplates/EnumType[@id="E"]/EnumVal[@ord="٣"]', "expected a whole number"),
        ('<Substation name="S"><VoltageLevel name="V"><Voltage>NaN</Voltage></VoltageLevel></Substation>', 1,
         '/SCL/Substation[@name="S"]/VoltageLevel[@name="V"]/Voltage', "expected a number"),
    ],
)  # fmt: skip
def test_faults_are_located(inner, line, path, message):
    with pytest.raises(SclError, match=message) as caught:
        parse(HEAD + inner + "</SCL>", "f.scd")
    assert (caught.value.file, caught.value.line, caught.value.path) == ("f.scd", line, path)


def test_one_run_finds_all_faults():
    scl, problems = parse_all(HEAD + '<IED/>\n<IED name="X"><AccessPoint/></IED></SCL>')
    assert [problem.line for problem in problems] == [1, 2]
    assert [ied.name for ied in scl.ieds] == ["", "X"]


@pytest.mark.parametrize("root", ["<CID/>", '<SCL xmlns="urn:other"/>', '<x:SCL xmlns:x="urn:other"/>'])
def test_foreign_root(root):
    with pytest.raises(SclError, match=r"expected \{http://www.iec.ch/61850/2003/SCL\}SCL") as caught:
        parse(root)
    assert caught.value.line == 1


def test_prefixed_name_space():
    scl = parse('<s:SCL xmlns:s="http://www.iec.ch/61850/2003/SCL"><s:IED name="X"/><IED name="foreign"/></s:SCL>')
    assert [ied.name for ied in scl.ieds] == ["X"]


def test_missing_file(tmp_path):
    with pytest.raises(SclError, match=r"none\.scd: cannot be read: No such file"):
        read(tmp_path / "none.scd")


def test_read_takes_the_file_name_into_errors(tmp_path):
    path = tmp_path / "bad.icd"
    path.write_text("<SCL>\n<", encoding="utf-8")
    with pytest.raises(SclError, match=r"bad\.icd:2: "):
        read(path)
