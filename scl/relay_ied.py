"""A simulated relay as SCL text: its IED with what it takes from its agent, its addresses, and its agent's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scl.agent_ied import access_point_address, goose_control
from scl.agent_model import LDEVICE, RELAY, RELAY_CONTROL
from scl.agent_templates import SWITCH_CLASSES, TYPE_PREFIX
from scl.relay_model import (
    MEASURED,
    MEASURED_CONTROL,
    MEASURED_DATASET,
    ORDERS,
    RELAY_LDEVICE,
    SIGNALS,
    STATUS,
    STATUS_CONTROL,
    STATUS_DATASET,
)

if TYPE_CHECKING:
    from scl.agent_model import Member
    from scl.topology import Kind

MAX_RELAYS: Final = 0xFFF
"""Addresses of a relay's streams follow from the number of its switch."""
CONF_REV: Final = 1
_BLOCKS: Final = ((STATUS_CONTROL, STATUS_DATASET, STATUS), (MEASURED_CONTROL, MEASURED_DATASET, MEASURED))

_SERVICES: Final = """\
    <Services nameLength="64">
      <ConfDataSet max="2" maxAttributes="32" modify="false"/>
      <GSESettings cbName="Fix" datSet="Fix" appID="Conf"/>
      <GOOSE max="2" fixedOffs="true"/>
      <ClientServices goose="true"/>
    </Services>
"""


def relay_name(agent: str) -> str:
    """What the relay beside an agent is called."""
    return agent + "P"


def relay_ied(agent: str, kind: Kind) -> str:
    """The ``IED`` element of the relay beside an agent."""
    switch_class = SWITCH_CLASSES[kind]
    name = relay_name(agent)
    sets = "".join(
        f'            <DataSet name="{data_set}">\n'
        + "".join(f"              <FCDA {_data(RELAY_LDEVICE, m, switch_class)}/>\n" for _, m in members)
        + "            </DataSet>\n"
        for _, data_set, members in _BLOCKS
    )
    controls = "".join(goose_control(name, control, data_set, CONF_REV) for control, data_set, _ in _BLOCKS)
    nodes = "".join(
        f'          <LN lnClass="{lnClass}" inst="{inst}" lnType="{TYPE_PREFIX}{lnClass}"/>\n'
        for lnClass, inst in (
            ("LPHD", 1),
            *((c, 1) for c in ("PTOC", "PIOC")),
            *(("MMXU", inst) for inst in (1, 2, 3, 4)),
        )
    )
    orders = "".join(
        f'              <ExtRef iedName="{agent}" {_input(LDEVICE, member, switch_class)}'
        f' serviceType="GOOSE" srcLDInst="{LDEVICE}" srcLNClass="LLN0" srcCBName="{RELAY_CONTROL}"'
        f' intAddr="{member.do}"/>\n'
        for member in RELAY
        if member.do in ORDERS and member.da != "q"
    )
    return f"""\
  <IED name="{name}" type="relay" manufacturer="flisr" configVersion="1" desc="simulated relay of {agent}"\
 originalSclVersion="2007" originalSclRevision="B" originalSclRelease="4">
{_SERVICES}\
    <AccessPoint name="P1">
      <Server>
        <Authentication/>
        <LDevice inst="{RELAY_LDEVICE}">
          <LN0 lnClass="LLN0" inst="" lnType="{TYPE_PREFIX}LLN0">
{sets}{controls}\
          </LN0>
{nodes}\
          <LN lnClass="{switch_class}" inst="1" lnType="{TYPE_PREFIX}{switch_class}">
            <Inputs>
{orders}\
            </Inputs>
          </LN>
        </LDevice>
      </Server>
    </AccessPoint>
  </IED>
"""


def relay_address(agent: str, number: int) -> str:
    """The ``ConnectedAP`` element of the relay beside an agent."""
    streams = (
        (RELAY_LDEVICE, STATUS_CONTROL, 0xA000 + number, 0xA000 + number),
        (RELAY_LDEVICE, MEASURED_CONTROL, 0xB000 + number, 0x1000 + number),
    )
    return access_point_address(relay_name(agent), f"10.62.{number >> 8}.{number & 0xFF}", streams)


def agent_inputs(agent: str, kind: Kind) -> str:
    """The ``ExtRef`` elements by which an agent hears the relay beside it."""
    switch_class = SWITCH_CLASSES[kind]
    return "".join(
        f'              <ExtRef iedName="{relay_name(agent)}" {_input(RELAY_LDEVICE, member, switch_class)}'
        f' serviceType="GOOSE" srcLDInst="{RELAY_LDEVICE}" srcLNClass="LLN0" srcCBName="{control}"'
        f' intAddr="{signal}"/>\n'
        for control, _, members in _BLOCKS
        for signal, member in members
    )


def relay_streams(agent: str) -> tuple[str, ...]:
    """References of the control blocks of the relay beside an agent."""
    return tuple(f"{relay_name(agent)}{RELAY_LDEVICE}/LLN0.{control}" for control, _, _ in _BLOCKS)


def open_inputs() -> str:
    """The ``ExtRef`` elements of an agent that is not bound to a relay yet (IEC 61850-6 Ed. 2.1, later binding)."""
    return "".join(
        f'              <ExtRef pServT="GOOSE" pLN="{signal.pLN}" pDO="{signal.pDO}" intAddr="{name}"'
        f' desc="{signal.meaning}"/>\n'
        for name, signal in SIGNALS.items()
    )


def _input(ldInst: str, member: Member, switch_class: str) -> str:
    return _data(ldInst, member, switch_class).partition(" fc=")[0]


def _data(ldInst: str, member: Member, switch_class: str) -> str:
    ln = member.ln.replace("SW1", f"{switch_class}1")
    node = 'lnClass="LLN0"' if ln == "LLN0" else f'lnClass="{ln[:-1]}" lnInst="{ln[-1]}"'
    return f'ldInst="{ldInst}" {node} doName="{member.do}" daName="{member.da}" fc="{member.fc}"'
