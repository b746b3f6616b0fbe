"""Single faults put into a valid file: each found, alone, in its line."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

from importlib.resources import files

import pytest

from scl.generate import generate_scd
from scl.sample import TWO_SOURCE
from scl.validation import RULES, check

OPEN = ("F1/T9", "F1/T10")
SAMPLE = generate_scd(TWO_SOURCE)

# The sample with a relay and a merging unit beside the agents, so that every rule has something to judge.
RELAY = """\
  <IED name="RELAY" manufacturer="other">
    <Services nameLength="64">
      <ConfDataSet max="4" maxAttributes="8"/>
      <GOOSE max="1"/>
    </Services>
    <AccessPoint name="AP1">
      <Server>
        <Authentication/>
        <LDevice inst="CTRL">
          <LN0 lnClass="LLN0" inst="" lnType="R_LLN0">
            <DataSet name="Trips">
              <FCDA ldInst="CTRL" lnClass="PTRC" lnInst="1" doName="Tr" daName="general" fc="ST"/>
              <FCDA ldInst="CTRL" prefix="U" lnClass="MMXU" lnInst="1" doName="PhV.phsA" daName="cVal.mag.f" fc="MX"/>
              <FCDA ldInst="CTRL" prefix="U" lnClass="MMXU" lnInst="1" doName="PhV" fc="MX"/>
            </DataSet>
            <DataSet name="Events">
              <FCDA ldInst="CTRL" lnClass="LLN0" doName="Beh" fc="ST"/>
            </DataSet>
            <ReportControl name="rcb" rptID="r" datSet="Events" confRev="1" buffered="true">
              <TrgOps dchg="true"/>
              <OptFields seqNum="true"/>
              <RptEnabled max="2">
                <ClientLN iedName="MU" apRef="AP1" lnClass="ITCI" lnInst="1"/>
              </RptEnabled>
            </ReportControl>
            <LogControl name="log" logName="L" datSet="Events">
              <TrgOps dchg="true"/>
            </LogControl>
            <Log name="L"/>
            <GSEControl name="gcb" appID="RELAY_gcb" datSet="Trips" confRev="5">
              <IEDName>MU</IEDName>
            </GSEControl>
          </LN0>
          <LN lnClass="CSWI" inst="1" lnType="R_CSWI">
            <DOI name="Pos">
              <DAI name="ctlModel"><Val>sbo</Val></DAI>
            </DOI>
            <Inputs>
              <ExtRef iedName="F1Q1" ldInst="FLISR" lnClass="XCBR" lnInst="1" doName="Pos" daName="stVal" serviceType="GOOSE" srcLDInst="FLISR" srcLNClass="LLN0" srcCBName="gcbFast"/>
              <ExtRef iedName="MU" ldInst="MEAS" lnClass="LLN0" doName="Beh" daName="stVal" serviceType="SMV" srcLDInst="MEAS" srcCBName="msv"/>
              <ExtRef iedName="F1L2" ldInst="FLISR" lnClass="LLN0" doName="Beh" daName="stVal"/>
              <ExtRef intAddr="spare" pDO="Pos"/>
            </Inputs>
          </LN>
          <LN lnClass="PTRC" inst="1" lnType="R_PTRC"/>
          <LN prefix="U" lnClass="MMXU" inst="1" lnType="R_MMXU">
            <DOI name="PhV">
              <SDI name="phsA">
                <SDI name="cVal">
                  <SDI name="mag">
                    <DAI name="f"><Val>1.5</Val></DAI>
                  </SDI>
                </SDI>
              </SDI>
            </DOI>
          </LN>
        </LDevice>
      </Server>
    </AccessPoint>
    <AccessPoint name="AP2">
      <ServerAt apName="AP1"/>
    </AccessPoint>
  </IED>
  <IED name="MU">
    <AccessPoint name="AP1">
      <Server>
        <Authentication/>
        <LDevice inst="MEAS" ldName="MergingUnit">
          <LN0 lnClass="LLN0" inst="" lnType="R_LLN0">
            <DataSet name="Samples">
              <FCDA ldInst="MEAS" lnClass="LLN0" doName="Beh" daName="stVal" fc="ST"/>
            </DataSet>
            <SampledValueControl name="msv" smvID="MU1" datSet="Samples" confRev="1" smpRate="80" nofASDU="1">
              <SmvOpts sampleRate="true"/>
            </SampledValueControl>
          </LN0>
          <LN lnClass="LGOS" inst="1" lnType="R_LGOS">
            <DOI name="GoCBRef">
              <DAI name="setSrcRef"><Val>RELAYCTRL/LLN0.gcb</Val></DAI>
            </DOI>
            <DOI name="ConfRevNum">
              <DAI name="stVal"><Val>5</Val></DAI>
            </DOI>
          </LN>
        </LDevice>
      </Server>
      <LN lnClass="ITCI" inst="1" lnType="R_ITCI"/>
    </AccessPoint>
  </IED>
"""
ADDRESSES = """\
      <ConnectedAP iedName="RELAY" apName="AP1">
        <Address>
          <P type="IP">10.62.0.1</P>
        </Address>
        <GSE ldInst="CTRL" cbName="gcb">
          <Address>
            <P type="MAC-Address">01-0C-CD-01-01-F0</P>
            <P type="APPID">3F00</P>
          </Address>
          <MinTime>2</MinTime>
          <MaxTime>2000</MaxTime>
        </GSE>
      </ConnectedAP>
      <ConnectedAP iedName="MU" apName="AP1">
        <SMV ldInst="MEAS" cbName="msv">
          <Address>
            <P type="MAC-Address">01-0C-CD-04-00-01</P>
            <P type="APPID">4001</P>
          </Address>
        </SMV>
      </ConnectedAP>
"""
TYPES = """\
    <LNodeType id="R_LLN0" lnClass="LLN0"><DO name="Beh" type="R_ENS"/></LNodeType>
    <LNodeType id="R_CSWI" lnClass="CSWI"><DO name="Pos" type="R_DPC"/></LNodeType>
    <LNodeType id="R_PTRC" lnClass="PTRC"><DO name="Tr" type="R_ACT"/></LNodeType>
    <LNodeType id="R_MMXU" lnClass="MMXU"><DO name="PhV" type="R_WYE"/></LNodeType>
    <LNodeType id="R_LGOS" lnClass="LGOS"><DO name="GoCBRef" type="R_ORG"/><DO name="ConfRevNum" type="R_INS"/></LNodeType>
    <LNodeType id="R_ITCI" lnClass="ITCI"><DO name="Beh" type="R_ENS"/></LNodeType>
    <DOType id="R_ENS" cdc="ENS"><DA name="stVal" fc="ST" bType="Enum" type="R_Beh"/></DOType>
    <DOType id="R_DPC" cdc="DPC">
      <DA name="stVal" fc="ST" bType="Dbpos"/>
      <DA name="ctlModel" fc="CF" bType="Enum" type="R_Ctl"/>
    </DOType>
    <DOType id="R_ACT" cdc="ACT"><DA name="general" fc="ST" bType="BOOLEAN"/></DOType>
    <DOType id="R_ORG" cdc="ORG"><DA name="setSrcRef" fc="SP" bType="ObjRef"/></DOType>
    <DOType id="R_INS" cdc="INS"><DA name="stVal" fc="ST" bType="INT32"/></DOType>
    <DOType id="R_WYE" cdc="WYE">
      <SDO name="phsA" type="R_CMV"/>
      <DA name="numHar" fc="CF" bType="INT16U"><Val>16</Val></DA>
      <DA name="har" fc="MX" bType="FLOAT32" count="numHar"/>
    </DOType>
    <DOType id="R_CMV" cdc="CMV">
      <DA name="cVal" fc="MX" bType="Struct" type="R_Vector"/>
    </DOType>
    <DAType id="R_Vector">
      <BDA name="mag" bType="Struct" type="R_Analogue"/>
    </DAType>
    <DAType id="R_Analogue">
      <BDA name="f" bType="FLOAT32"/>
    </DAType>
    <EnumType id="R_Beh"><EnumVal ord="1">on</EnumVal></EnumType>
    <EnumType id="R_Ctl">
      <EnumVal ord="1">direct</EnumVal>
      <EnumVal ord="2">sbo</EnumVal>
    </EnumType>
"""


def put(text: str, old: str, new: str, count: int = 1) -> str:
    assert old in text, old
    return text.replace(old, new, count)


BASE = put(SAMPLE, "  <DataTypeTemplates>\n", RELAY + "  <DataTypeTemplates>\n" + TYPES)
BASE = put(BASE, "    </SubNetwork>\n", ADDRESSES + "    </SubNetwork>\n")
Q1_LINK = '          <LNode iedName="F1Q1" ldInst="FLISR" lnClass="AFSR" lnInst="1"/>\n'
RELAY_LINK = '          <LNode iedName="RELAY" ldInst="CTRL" lnClass="CSWI" lnInst="1"/>\n'
BASE = put(BASE, Q1_LINK, Q1_LINK + RELAY_LINK)

T9_LINK = '<LNode iedName="T9" ldInst="FLISR" lnClass="AFSR" lnInst="1"/>'
L2_TERMINAL = '<Terminal name="T2" connectivityNode="F1/S2a" lineName="F1" cNodeName="S2a"/>'
RELAY_FCDA = '<FCDA ldInst="CTRL" lnClass="PTRC" lnInst="1" doName="Tr" daName="general" fc="ST"/>'
WYE_FCDA = '<FCDA ldInst="CTRL" prefix="U" lnClass="MMXU" lnInst="1" doName="PhV.phsA" daName="cVal.mag.f" fc="MX"/>'
EXTREF = 'iedName="F1Q1" ldInst="FLISR" lnClass="XCBR" lnInst="1" doName="Pos" daName="stVal" serviceType="GOOSE" srcLDInst="FLISR" srcLNClass="LLN0" srcCBName="gcbFast"'
RELAY_GSE = ADDRESSES[ADDRESSES.index("        <GSE") : ADDRESSES.index("      </ConnectedAP>")]


# name: (rule, old, new, text that begins in the line of the finding; empty for the new text)
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "broken XML": ("unreadable", '<P type="APPID">3F00</P>', '<P type="APPID">3F00</Q>', ""),
    "external entity": ("unreadable", '<?xml version="1.0" encoding="UTF-8"?>\n', '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE SCL SYSTEM "x">\n', "<!DOCTYPE"),
    "foreign root": ("unreadable", "http://www.iec.ch/61850/2003/SCL", "http://www.example.org/SCL", "<SCL"),
    "access point without name": ("attribute-missing", '<SubNetwork name="Station" type="8-MMS">', '<SubNetwork type="8-MMS">', ""),
    "function without name": ("attribute-missing", '      <Bay name="BB" desc="busbar">\n', '      <Bay name="BB" desc="busbar">\n<Function/>\n', "<Function/>"),
    "boolean maybe": ("value", 'confRev="1" buffered="true"', 'confRev="1" buffered="maybe"', ""),
    "voltage in words": ("value", '<Voltage unit="V" multiplier="k">20</Voltage>', '<Voltage unit="V" multiplier="k">twenty</Voltage>', ""),
    "number of clients": ("value", '<RptEnabled max="2">', '<RptEnabled max="two">', ""),
    "logical device without LN0": ("element-missing", '      <ServerAt apName="AP1"/>\n', '      <Server>\n<LDevice inst="NEW"/>\n</Server>\n', '<LDevice inst="NEW"/>'),
    "no header": ("element-missing", '  <Header id="two_source" version="1" revision="1" toolID="flisr"/>\n', "", "<SCL"),
    "second communication": ("element-second", "  <DataTypeTemplates>\n", "<Communication/>\n  <DataTypeTemplates>\n", "<Communication/>"),
    "misspelt element": ("element-unknown", '<Log name="L"/>', '<Log name="L"/><Logg name="L"/>', ""),
    "element in the wrong place": ("element-unknown", '<LN lnClass="PTRC" inst="1" lnType="R_PTRC"/>', '<LN lnClass="PTRC" inst="1" lnType="R_PTRC"><DAI name="x"/></LN>', ""),
    "misspelt attribute": ("attribute-unknown", 'appID="RELAY_gcb"', 'appID="RELAY_gcb" fixedOff="true"', ""),
    "unknown edition": ("edition", 'version="2007" revision="B"', 'version="2099" revision="B"', "<SCL"),
    "two IEDs of one name": ("name-duplicate", "  <DataTypeTemplates>\n", '<IED name="MU"/>\n  <DataTypeTemplates>\n', '<IED name="MU"/>'),
    "two logical nodes of one name": ("name-duplicate", '<LN lnClass="PTRC" inst="1" lnType="R_PTRC"/>', '<LN lnClass="PTRC" inst="1" lnType="R_PTRC"/>\n<LN lnClass="PTRC" inst="1" lnType="R_PTRC"/><Private/>', '<LN lnClass="PTRC" inst="1" lnType="R_PTRC"/><Private/>'),
    "two data sets of one name": ("name-duplicate", '<DataSet name="Events">', '<DataSet name="Trips"><FCDA ldInst="CTRL" lnClass="LLN0" doName="Beh" fc="ST"/></DataSet>\n<DataSet name="Events">', '<DataSet name="Trips"><FCDA'),
    "two types of one name": ("name-duplicate", '    <EnumType id="R_Ctl">', '<EnumType id="R_Beh"><EnumVal ord="1">on</EnumVal></EnumType> \n    <EnumType id="R_Ctl">', '<EnumType id="R_Beh"><EnumVal ord="1">on</EnumVal></EnumType> \n'),
    "two literals of one number": ("name-duplicate", '<EnumVal ord="2">sbo</EnumVal>', '<EnumVal ord="2">sbo</EnumVal>\n<EnumVal ord="2">other</EnumVal>', '<EnumVal ord="2">other</EnumVal>'),
    "two logical devices of one name": ("domain-duplicate", 'ldName="MergingUnit"', 'ldName="RELAYCTRL"', ""),
    "unknown logical node type": ("type-missing", 'inst="1" lnType="R_PTRC"/>', 'inst="1" lnType="R_PTRX"/>', ""),
    "unknown data object type": ("type-missing", '<SDO name="phsA" type="R_CMV"/>', '<SDO name="phsA" type="R_XXX"/>', ""),
    "unknown structure": ("type-missing", 'type="R_Analogue"', 'type="R_Digital"', ""),
    "unknown enumeration": ("type-missing", 'bType="Enum" type="R_Ctl"', 'bType="Enum" type="R_Ctx"', ""),
    "type of another class": ("type-class", 'inst="1" lnType="R_PTRC"/>', 'inst="1" lnType="R_ITCI"/>', ""),
    "empty structure": ("type-empty", '    <DAType id="R_Analogue">\n      <BDA name="f" bType="FLOAT32"/>\n', '    <DAType id="R_Analogue">\n', '<DAType id="R_Analogue">'),
    "structure in itself": ("type-recursive", '<BDA name="f" bType="FLOAT32"/>', '<BDA name="f" bType="FLOAT32"/>\n<BDA name="g" bType="Struct" type="R_Vector"/>', '<BDA name="g"'),
    "data object in itself": ("type-recursive", '<DA name="cVal" fc="MX"', '<SDO name="self" type="R_WYE"/><DA name="cVal" fc="MX"', ""),
    "array of unknown size": ("type-size", 'count="numHar"', 'count="numXxx"', ""),
    "basic type": ("basic-type", '<DA name="general" fc="ST" bType="BOOLEAN"/>', '<DA name="general" fc="ST" bType="BOOL"/>', ""),
    "functional constraint": ("functional-constraint", '<DA name="numHar" fc="CF"', '<DA name="numHar" fc="XX"', ""),
    "value for unknown data object": ("instance-unknown", '            <DOI name="GoCBRef">\n', '<DOI name="Zzz"/>\n            <DOI name="GoCBRef">\n', '<DOI name="Zzz"/>'),
    "value for unknown component": ("instance-unknown", '<DAI name="f"><Val>1.5</Val></DAI>', '<DAI name="i"><Val>1.5</Val></DAI>', ""),
    "value that is no number": ("value-type", "<Val>1.5</Val>", "<Val>1,5</Val>", ""),
    "value that is no literal": ("value-type", "<Val>sbo</Val>", "<Val>sbx</Val>", ""),
    "value out of range": ("value-type", '<DA name="stVal" fc="ST" bType="INT32"/>', '<DA name="stVal" fc="ST" bType="INT32"><Val>3000000000</Val></DA>', ""),
    "data set of a GOOSE control": ("data-set-missing", 'datSet="Trips" confRev="5"', 'datSet="Trios" confRev="5"', ""),
    "data set of a report": ("data-set-missing", 'rptID="r" datSet="Events"', 'rptID="r" datSet="Event"', ""),
    "data set without members": ("data-set-empty", '<DataSet name="Events">', '<DataSet name="Empty"/><DataSet name="Events">', ""),
    "member of unknown logical node": ("member", RELAY_FCDA, RELAY_FCDA.replace('lnInst="1"', 'lnInst="2"'), ""),
    "member with unknown attribute": ("member", WYE_FCDA, WYE_FCDA.replace("mag.f", "ang.f"), ""),
    "member with another constraint": ("member", WYE_FCDA, WYE_FCDA.replace('fc="MX"', 'fc="ST"'), ""),
    "member twice": ("member-duplicate", RELAY_FCDA, f"{RELAY_FCDA}\n {RELAY_FCDA}", f" {RELAY_FCDA}\n              <FCDA ldInst"),
    "link to unknown IED": ("lnode-missing", RELAY_LINK, RELAY_LINK.replace("RELAY", "RELAX"), ""),
    "link to unknown node": ("lnode-missing", RELAY_LINK, RELAY_LINK.replace("CSWI", "CILO"), ""),
    "server of unknown access point": ("server-missing", '<ServerAt apName="AP1"/>', '<ServerAt apName="AP9"/>', ""),
    "unknown subscriber": ("subscriber-missing", "<IEDName>MU</IEDName>", "<IEDName>MV</IEDName>", ""),
    "unknown client": ("subscriber-missing", '<ClientLN iedName="MU"', '<ClientLN iedName="MV"', ""),
    "input from unknown IED": ("publisher-missing", '<ExtRef iedName="F1L2" ldInst="FLISR" lnClass="LLN0"', '<ExtRef iedName="F1L9" ldInst="FLISR" lnClass="LLN0"', ""),
    "input from unknown control block": ("publisher-missing", EXTREF + '/>\n              <ExtRef iedName="MU"', EXTREF.replace("gcbFast", "gcbFst") + '/>\n              <ExtRef iedName="MU"', ""),
    "input of unknown data": ("input-unknown", '<ExtRef iedName="F1L2" ldInst="FLISR" lnClass="LLN0" doName="Beh"', '<ExtRef iedName="F1L2" ldInst="FLISR" lnClass="LLN0" doName="Zzz"', ""),
    "input that is not sent": ("input-not-sent", EXTREF, EXTREF.replace('"Pos" daName="stVal"', '"Loc" daName="stVal"'), ""),
    "input in another control block": ("input-not-sent", EXTREF, EXTREF.replace("gcbFast", "gcbSlow"), ""),
    "revision expected by a subscriber": ("conf-rev", '<DAI name="stVal"><Val>5</Val>', '<DAI name="stVal"><Val>4</Val>', '<LN lnClass="LGOS" inst="1" lnType="R_LGOS"'),
    "supervision of unknown stream": ("publisher-missing", "RELAYCTRL/LLN0.gcb", "RELAYCTRL/LLN0.gcx", '<LN lnClass="LGOS" inst="1" lnType="R_LGOS"'),
    "supervision by an agent of an unknown stream": ("publisher-missing", "F1L2FLISR/LLN0.gcbFast", "F1L2FLISR/LLN0.gcb", ""),
    "control without revision": ("conf-rev-missing", 'appID="F1Q1_fast" datSet="fast" confRev="2"', 'appID="F1Q1_fast" datSet="fast"', ""),
    "access point of unknown IED": ("access-point-missing", "    </SubNetwork>", '<ConnectedAP iedName="NO" apName="AP1"/>\n    </SubNetwork>', '<ConnectedAP iedName="NO"'),
    "unknown access point": ("access-point-missing", "    </SubNetwork>", '<ConnectedAP iedName="MU" apName="AP3"/>\n    </SubNetwork>', '<ConnectedAP iedName="MU" apName="AP3"'),
    "address of unknown control": ("control-missing", '        <SMV ldInst="MEAS" cbName="msv">', '<SMV ldInst="MEAS" cbName="msx"/>\n        <SMV ldInst="MEAS" cbName="msv">', '<SMV ldInst="MEAS" cbName="msx"/>'),
    "GOOSE control without address": ("address-missing", RELAY_GSE, "", '<GSEControl name="gcb"'),
    "MAC of five octets": ("address", "01-0C-CD-01-01-F0", "01-0C-CD-01-01", ""),
    "address without APPID": ("address", '            <P type="APPID">4001</P>\n', "", '<Address>\n            <P type="MAC-Address">01-0C-CD-04-00-01</P>'),
    "priority 9": ("address", '<P type="APPID">3F00</P>', '<P type="APPID">3F00</P><P type="VLAN-PRIORITY">9</P>', ""),
    "two streams on one address": ("address-duplicate", '01-0C-CD-01-01-F0</P>\n            <P type="APPID">3F00', '01-0C-CD-01-00-02</P>\n            <P type="APPID">8001', '<GSE ldInst="CTRL" cbName="gcb">'),
    "two streams on one MAC": ("mac-shared", "01-0C-CD-01-01-F0", "01-0C-CD-01-00-02", '<GSE ldInst="CTRL" cbName="gcb">'),
    "two streams on one APPID": ("appid-shared", '<P type="APPID">3F00</P>', '<P type="APPID">8001</P>', '<GSE ldInst="CTRL" cbName="gcb">'),
    "unicast MAC": ("mac-unicast", "01-0C-CD-01-01-F0", "00-0C-CD-01-01-F0", '<GSE ldInst="CTRL" cbName="gcb">'),
    "GOOSE in the range of samples": ("mac-range", "01-0C-CD-01-01-F0", "01-0C-CD-04-01-F0", '<GSE ldInst="CTRL" cbName="gcb">'),
    "APPID of samples": ("appid-range", '<P type="APPID">3F00</P>', '<P type="APPID">4F00</P>', '<GSE ldInst="CTRL" cbName="gcb">'),
    "two streams of one identifier": ("go-id-duplicate", 'appID="RELAY_gcb"', 'appID="T9_slow"', ""),
    "shortest time longer than the longest": ("times", "<MinTime>2</MinTime>", "<MinTime>3000</MinTime>", '<GSE ldInst="CTRL" cbName="gcb">'),
    "no time": ("times", "<MaxTime>2000</MaxTime>", "<MaxTime>0</MaxTime>", ""),
    "IP address": ("ip", "10.62.0.1", "10.62.0.256", ""),
    "one IP address twice": ("ip-duplicate", "10.62.0.1", "10.61.0.1", ""),
    "data set too large for a frame": ("frame-size", "<Val>16</Val>", "<Val>300</Val>", '<GSEControl name="gcb"'),
    "more GOOSE than stated": ("service-limit", '<GOOSE max="1"/>', '<GOOSE max="0"/>', '<Services nameLength="64">\n      <ConfDataSet max="4"'),
    "more members than stated": ("service-limit", 'maxAttributes="8"', 'maxAttributes="2"', '<Services nameLength="64">\n      <ConfDataSet max="4"'),
    "terminal without node": ("terminal", '<Terminal name="T2" connectivityNode="F1/LAT1b" lineName="F1" cNodeName="LAT1b"/>', '<Terminal name="T2" connectivityNode="F1/LAT1c" lineName="F1" cNodeName="LAT1c"/>', ""),
    "two nodes of one path": ("node-duplicate", '        <ConnectivityNode name="LAT1b" pathName="F1/LAT1b"/>\n', '        <ConnectivityNode name="LAT1b" pathName="F1/LAT1b"/>\n<ConnectivityNode name="LAT1b" pathName="F1/LAT1b"/>\n', '<ConnectivityNode name="LAT1b" pathName="F1/LAT1b"/>\n  </Line>'),
    "path of a node": ("node-path", '<ConnectivityNode name="LAT1b" pathName="F1/LAT1b"/>', '<ConnectivityNode name="LAT1b" pathName="F2/LAT1b"/>', ""),
    "breaker with a load-break node": ("switch-kind", '<ConductingEquipment name="L2" type="DIS">', '<ConductingEquipment name="L2" type="CBR">', ""),
    "infeed along a line": ("infeed-unguarded", '        <ConductingEquipment name="LAT1" type="LIN">', '<ConductingEquipment name="PV" type="GEN"><Terminal connectivityNode="F1/S2b" cNodeName="S2b"/></ConductingEquipment>\n        <ConductingEquipment name="LAT1" type="LIN">', '<ConductingEquipment name="PV"'),
    "relay that does not hear the agent": ("relay-deaf", f'              <ExtRef {EXTREF}/>\n              <ExtRef iedName="MU"', '              <ExtRef iedName="MU"', RELAY_LINK.strip()),
}  # fmt: skip


def line_of(text: str, part: str) -> int:
    assert part in text, part
    return text[: text.index(part)].count("\n") + 1


def found(text: str, **options) -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in check(text.encode(), "x.scd", normally_open=OPEN, **options)]


def test_the_base_is_valid():
    assert found(BASE) == []
    assert found(SAMPLE) == []
    assert check((files("scl") / "samples" / "two_source.scd").read_bytes()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_single_fault(name):
    rule, old, new, place = FAULTS[name]
    text = put(BASE, old, new)
    if place:
        line = line_of(text, place)
    else:
        common = next(i for i, (a, b) in enumerate(zip(BASE, text, strict=False)) if a != b)
        line = BASE[:common].count("\n") + 1
    assert found(text) == [(rule, line)]


def test_there_are_enough_faults_and_every_rule_has_one():
    assert len(FAULTS) >= 60
    elsewhere = {"switch-terminals", "switch-agents", "switch-number", "switch-bypassed", "agent-idle"}
    elsewhere |= {"agent-data-set", "subscription-missing", "section-unfed", "section-wide"} | {
        "relay-input",
        "relay-input-missing",
        "relay-quality",
        "relay-slow",
    }
    assert {fault[0] for fault in FAULTS.values()} | elsewhere == set(RULES)
