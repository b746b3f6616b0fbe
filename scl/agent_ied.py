"""One flisr agent as SCL text: its IED and its addresses."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from scl import agent_model
from scl.agent_model import (
    FAST_CONTROL,
    FAST_DATASET,
    LDEVICE,
    RELAY_CONTROL,
    RELAY_DATASET,
    SLOW_CONTROL,
    SLOW_DATASET,
)
from scl.agent_templates import SWITCH_CLASSES, TYPE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scl.agent_model import Member
    from scl.topology import Kind

ACCESS_POINT: Final = "P1"
CONF_REV: Final = 2
"""Revision of the agents' data sets. Raise it with every change of ``agent_model``."""
MIN_TIME_MS: Final = 4
MAX_TIME_MS: Final = 1000
_VLAN_PRIORITY: Final = 4
_TRIP_APPID: Final = 0x8000

_BLOCKS: Final = ((FAST_CONTROL, FAST_DATASET), (SLOW_CONTROL, SLOW_DATASET))

_SERVICES: Final = """\
    <Services nameLength="64">
      <DynAssociation max="5"/>
      <GetDirectory/>
      <GetDataObjectDefinition/>
      <DataObjectDirectory/>
      <GetDataSetValue/>
      <DataSetDirectory/>
      <ConfDataSet max="5" maxAttributes="64" modify="false"/>
      <ReadWrite/>
      <GetCBValues/>
      <ConfReportControl max="10"/>
      <ReportSettings rptID="Fix" optFields="Dyn" bufTime="Dyn" trgOps="Dyn" intgPd="Dyn"/>
      <GSESettings cbName="Fix" datSet="Fix" appID="Conf"/>
      <GOOSE max="3" fixedOffs="true"/>
      <ConfLNs fixPrefix="true" fixLnInst="true"/>
      <ClientServices goose="true"/>
      <SupSubscription maxGo="512" maxSv="0"/>
    </Services>
"""

_SETTING: Final = """\
            <DOI name="SwNum">
              <DAI name="setVal">
                <Val>{}</Val>
              </DAI>
            </DOI>
"""

# On one line: with two for each agent that is heard, this is much of a large file.
_SUPERVISION: Final = (
    '          <LN lnClass="LGOS" inst="{}" lnType="{}LGOS"><DOI name="GoCBRef"><DAI name="setSrcRef">'
    "<Val>{}</Val></DAI></DOI></LN>\n"
)

_STATUS_DATASET: Final = "status"
_LOADS_DATASET: Final = "loads"
_STATUS: Final = (
    *("SW1.Pos", "CSWI1.Pos", "PTOC1.Str", "PTRC1.Tr", "RBRF1.OpEx", "LLN0.Beh", "LLN0.Loc"),
    *(f"AFSR1.{name}" for name in ("Vlt", "SideA", "SideB", "Sw", "Hold", "Rec", "Rtn", "Out", "Prg")),
    *(f"AFSR1.{name}" for name in (*agent_model.INDICATIONS, "Stage")),
)
"""Data objects whose changes are reported."""
_REPORTS: Final = """\
            <ReportControl name="brcbStatus" rptID="{ied}_status" datSet="status" confRev="1" buffered="true"\
 bufTime="50">
              <TrgOps dchg="true" qchg="true" gi="true"/>
              <OptFields seqNum="true" timeStamp="true" dataSet="true" reasonCode="true" entryID="true"\
 configRef="true"/>
              <RptEnabled max="5"/>
            </ReportControl>
            <ReportControl name="urcbLoads" rptID="{ied}_loads" datSet="loads" confRev="1" bufTime="100">
              <TrgOps dchg="true" qchg="true" period="true" gi="true"/>
              <OptFields seqNum="true" timeStamp="true" dataSet="true" reasonCode="true" configRef="true"/>
              <RptEnabled max="5"/>
            </ReportControl>
"""


@cache
def _data_sets(switch_class: str, *, relay: bool) -> str:
    published = [(FAST_DATASET, agent_model.FAST), (SLOW_DATASET, agent_model.SLOW)]
    published += [(RELAY_DATASET, agent_model.RELAY)] * relay
    sets = [(name, "".join(_fcda(member, switch_class) for member in members)) for name, members in published]
    sets.append((_STATUS_DATASET, "".join(_reported(reference, "ST", switch_class) for reference in _STATUS)))
    sets.append((_LOADS_DATASET, "".join(_reported(f"AFSR1.{do}", "MX", switch_class) for do in ("Ld", "Spr"))))
    return "".join(f'            <DataSet name="{name}">\n{members}            </DataSet>\n' for name, members in sets)


def _reported(reference: str, fc: str, switch_class: str) -> str:
    ln, do = reference.split(".")
    ln = f"{switch_class}1" if ln == "SW1" else ln
    return f'              <FCDA ldInst="{LDEVICE}" {_node(ln)} doName="{do}" fc="{fc}"/>\n'


def _node(ln: str) -> str:
    return 'lnClass="LLN0"' if ln == "LLN0" else f'lnClass="{ln[:-1]}" lnInst="{ln[-1]}"'


def _fcda(member: Member, switch_class: str) -> str:
    ln = _node(member.ln.replace("SW1", f"{switch_class}1"))
    names = f'doName="{member.do}" daName="{member.da}" fc="{member.fc}"'
    return f'              <FCDA ldInst="{LDEVICE}" {ln} {names}/>\n'


def agent_ied(
    iedName: str,
    number: int | None,
    kind: Kind,
    publishers: Iterable[str],
    desc: str = "",
    relay_inputs: str = "",
    relay_streams: Iterable[str] = (),
) -> str:
    """The ``IED`` element of an agent.

    Args:
        iedName: its name.
        number: of its switch; None where it is given later.
        kind: of its switch.
        publishers: names of the agents it hears, in order; one input stands for a whole stream, whose data
            set ``agent_model`` fixes.
        desc: description.
        relay_inputs: ``ExtRef`` elements for the relay beside it; with them it publishes orders for that.
        relay_streams: references of that relay's control blocks.
    """
    switch_class = SWITCH_CLASSES[kind]
    streams = [(publisher, control) for publisher in publishers for control, _ in _BLOCKS]
    inputs = "".join(
        f'              <ExtRef iedName="{publisher}" ldInst="{LDEVICE}" lnClass="AFSR" lnInst="1"'
        f' doName="Id" daName="inc" serviceType="GOOSE" srcLDInst="{LDEVICE}" srcLNClass="LLN0"'
        f' srcCBName="{control}"/>\n'
        for publisher, control in streams
    )
    inputs += relay_inputs
    if inputs:
        inputs = f"            <Inputs>\n{inputs}            </Inputs>\n"
    blocks = (*_BLOCKS, (RELAY_CONTROL, RELAY_DATASET)) if relay_inputs else _BLOCKS
    controls = "".join(goose_control(iedName, control, data_set, CONF_REV) for control, data_set in blocks)
    nodes = "".join(
        f'          <LN lnClass="{lnClass}" inst="1" lnType="{TYPE_PREFIX}{lnClass}"/>\n'
        for lnClass in ("LPHD", switch_class, "CSWI", "PTOC", "PTRC", "RBRF", "LTMS")
    )
    watched = [f"{publisher}{LDEVICE}/LLN0.{control}" for publisher, control in streams] + [*relay_streams]
    nodes += "".join(_SUPERVISION.format(place, TYPE_PREFIX, stream) for place, stream in enumerate(watched, 1))
    setting = "" if number is None else _SETTING.format(number)
    described = f' desc="{desc}"' if desc else ""
    return f"""\
  <IED name="{iedName}" type="agent" manufacturer="flisr" configVersion="1"{described}\
 originalSclVersion="2007" originalSclRevision="B" originalSclRelease="4">
{_SERVICES}\
    <AccessPoint name="{ACCESS_POINT}">
      <Server>
        <Authentication/>
        <LDevice inst="{LDEVICE}">
          <LN0 lnClass="LLN0" inst="" lnType="{TYPE_PREFIX}LLN0">
{_data_sets(switch_class, relay=bool(relay_inputs))}{_REPORTS.format(ied=iedName)}{controls}\
          </LN0>
{nodes}\
          <LN lnClass="AFSR" inst="1" lnType="{TYPE_PREFIX}AFSR">
{setting}{inputs}\
          </LN>
        </LDevice>
      </Server>
    </AccessPoint>
  </IED>
"""


def goose_control(iedName: str, control: str, data_set: str, conf_rev: int) -> str:
    """A ``GSEControl`` element."""
    return (
        f'            <GSEControl name="{control}" appID="{iedName}_{data_set}" datSet="{data_set}"'
        f' confRev="{conf_rev}" type="GOOSE" fixedOffs="true"/>\n'
    )


def connected_access_point(iedName: str, number: int, *, relay: bool) -> str:
    """The ``ConnectedAP`` element of an agent; all addresses follow from the number of its switch.

    Args:
        iedName: its name.
        number: of its switch.
        relay: it publishes orders for a relay.
    """
    streams = [
        (LDEVICE, FAST_CONTROL, 2 * number, _TRIP_APPID + number),
        (LDEVICE, SLOW_CONTROL, 2 * number + 1, number),
    ]
    if relay:
        streams.append((LDEVICE, RELAY_CONTROL, 0x8000 + number, _TRIP_APPID + 0x1000 + number))
    return access_point_address(iedName, f"10.61.{number >> 8}.{number & 0xFF}", streams)


def access_point_address(iedName: str, ip: str, streams: Iterable[tuple[str, str, int, int]]) -> str:
    """A ``ConnectedAP`` element.

    Args:
        iedName: the IED.
        ip: its address.
        streams: logical device, control block, last two octets of the multicast address, APPID.
    """
    addresses = "".join(
        f"""\
        <GSE ldInst="{ldInst}" cbName="{control}">
          <Address>
            <P type="MAC-Address">01-0C-CD-01-{index >> 8:02X}-{index & 0xFF:02X}</P>
            <P type="APPID">{appid:04X}</P>
            <P type="VLAN-ID">000</P>
            <P type="VLAN-PRIORITY">{_VLAN_PRIORITY}</P>
          </Address>
          <MinTime unit="s" multiplier="m">{MIN_TIME_MS}</MinTime>
          <MaxTime unit="s" multiplier="m">{MAX_TIME_MS}</MaxTime>
        </GSE>
"""
        for ldInst, control, index, appid in streams
    )
    return f"""\
      <ConnectedAP iedName="{iedName}" apName="{ACCESS_POINT}">
        <Address>
          <P type="IP">{ip}</P>
          <P type="IP-SUBNET">255.255.0.0</P>
        </Address>
{addresses}\
      </ConnectedAP>
"""
