"""Rules on the primary system and on flisr agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scl import agent_model
from scl.agent_model import FAST_CONTROL, FAST_DATASET, SLOW_CONTROL, SLOW_DATASET
from scl.document import SclError
from scl.equipment import lnodes_of, walk_primary
from scl.listening import needed_in
from scl.rules import of_error
from scl.streams import inputs_of
from scl.topology import A, B

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.agent_model import Member as ModelMember
    from scl.control_blocks import DataSet
    from scl.datasets import Member
    from scl.ied import IED, LDevice
    from scl.rules import Checked, Finding
    from scl.streams import GooseStream
    from scl.topology import PrimaryNetwork

_INFEEDS: Final = frozenset(("IFL", "GEN"))
_LINES: Final = frozenset(("LIN", "CAB", "GIL"))
_SWITCH_CLASSES: Final = {"CBR": "XCBR", "DIS": "XSWI"}


def network(checked: Checked) -> Iterator[Finding]:
    """What stands in the way of the primary network."""
    yield from (of_error(problem) for problem in checked.network[1])


def node_paths(checked: Checked) -> Iterator[Finding]:
    """The path that a connectivity node gives is where it stands."""
    for placed in walk_primary(checked.scl).nodes:
        if placed.node.pathName and placed.node.pathName != placed.path:
            message = f"pathName {placed.node.pathName!r} of {placed.path}"
            yield checked.finding("node-path", message, placed.node)


def kinds(checked: Checked) -> Iterator[Finding]:
    """Switches with an agent: type of equipment and class of the logical node agree."""
    for switch in checked.network[0].switches:
        expected = _SWITCH_CLASSES.get(switch.equipment.type)
        found = {lnode.lnClass for lnode in lnodes_of(switch.equipment) if lnode.iedName == switch.iedName}
        if expected is None or expected not in found:
            classes = ", ".join(sorted(found & {"XCBR", "XSWI"})) or "neither XCBR nor XSWI"
            message = f"{switch.path} is a {switch.equipment.type} with {classes}"
            yield checked.finding("switch-kind", message, switch.equipment)


def idle(checked: Checked) -> Iterator[Finding]:
    """Agents without a switch."""
    linked = {
        (lnode.iedName, lnode.ldInst)
        for placed in walk_primary(checked.scl).equipment
        for lnode in lnodes_of(placed.equipment)
    }
    for ied, ldevice, ln in checked.agents:
        if (ied.name, ldevice.inst) not in linked and ied.name != "TEMPLATE":
            yield checked.finding("agent-idle", f"agent {ied.name} is linked to no switch", ln)


def data_sets(checked: Checked) -> Iterator[Finding]:
    """The data sets of agents are those of ``agent_model``, sent by the control blocks it names."""
    for ied, ldevice, _ in checked.agents:
        for control_name, set_name, model in (
            (FAST_CONTROL, FAST_DATASET, agent_model.FAST),
            (SLOW_CONTROL, SLOW_DATASET, agent_model.SLOW),
        ):
            yield from published(checked, ied, ldevice, (control_name, set_name), model)


def published(
    checked: Checked, ied: IED, ldevice: LDevice, names: tuple[str, str], model: tuple[ModelMember, ...]
) -> Iterator[Finding]:
    """Where what an agent publishes, by the names of control block and data set, is not what ``agent_model`` says."""
    control_name, set_name = names
    control = next((each for each in ldevice.ln0.gse_controls if each.name == control_name), None)
    if control is None or control.datSet != set_name:
        message = f"agent {ied.name} without GOOSE control block {control_name} for data set {set_name}"
        yield checked.finding("agent-data-set", message, control or ldevice.ln0)
        return
    try:
        stream = checked.goose.stream(ied.name, ldevice.inst, control_name)
    except SclError:
        return  # reported by the rule that it breaks
    if stream is not None:
        data_set = next(each for each in ldevice.ln0.datasets if each.name == set_name)
        yield from _contents(checked, stream, data_set, model)


def _contents(
    checked: Checked, stream: GooseStream, data_set: DataSet, model: tuple[ModelMember, ...]
) -> Iterator[Finding]:
    for member, expected in zip(stream.members, model, strict=False):
        if reason := _difference(member, expected):
            yield checked.finding("agent-data-set", f"{member.reference} {reason}", member.fcda)
            return
    if len(stream.members) != len(model):
        message = f"data set {data_set.name} has {len(stream.members)} members; agents expect {len(model)}"
        yield checked.finding("agent-data-set", message, data_set)


def _difference(member: Member, expected: ModelMember) -> str:
    """How a member differs from what agents expect in its place; empty if it does not."""
    ln = member.ln if expected.ln != "SW1" else member.ln.replace("XCBR1", "SW1").replace("XSWI1", "SW1")
    if (ln, member.doName, member.daName, member.fc) != (expected.ln, expected.do, expected.da, expected.fc):
        return f"stands where agents expect {expected.ln}.{expected.do}.{expected.da} [{expected.fc}]"
    if member.type.count != expected.count:
        return f"has {member.type.count} elements; agents expect {expected.count}"
    parts = member.type.attributes or (member.type,)
    found = [(part.bType, tuple(text for _, text in part.literals)) for part in parts]
    wanted = [(part.bType, tuple(text for text in part.literals if text)) for part in expected.attributes]
    return "" if found == wanted else "is not of the type that agents expect"


def subscriptions(checked: Checked) -> Iterator[Finding]:
    """Agents hear the switches they need; without the site's normal positions, their peers."""
    primary = checked.network[0]
    if checked.normally_open is None:
        needed = {switch.number: _peers(primary, switch.number) for switch in primary.switches}
    else:
        is_open = {switch.number for switch in primary.switches if switch.path in checked.normally_open}
        needed = needed_in(primary, is_open)
    switches = {switch.number: switch for switch in primary.switches}
    guarded = {(switch.iedName, switch.ldInst): switch for switch in primary.switches}
    for ied, ldevice, ln in checked.agents:
        own = guarded.get((ied.name, ldevice.inst))
        if own is None:
            continue
        heard = _heard(checked, ied)
        missing = [
            f"{switches[number].iedName} {control}"
            for number in sorted(needed[own.number])
            for control in (FAST_CONTROL, SLOW_CONTROL)
            if (switches[number].iedName, switches[number].ldInst, control) not in heard
        ]
        if missing:
            message = f"agent {ied.name} does not subscribe to {', '.join(missing)}"
            yield checked.finding("subscription-missing", message, ln)


def _peers(primary: PrimaryNetwork, number: int) -> frozenset[int]:
    return frozenset(peer for side in (A, B) for peer, _ in primary.peers(number, side))


def _heard(checked: Checked, ied: IED) -> set[tuple[str, str, str]]:
    """Control blocks that an IED has inputs from, as IED, logical device and name."""
    heard = set()
    for extref in inputs_of(ied):
        if extref.iedName and extref.srcCBName:
            heard.add((extref.iedName, extref.srcLDInst or extref.ldInst, extref.srcCBName))
        elif extref.iedName and not isinstance(block := checked.goose.find(extref, ied.name), str):
            heard.add((block.ied.name, block.ldevice.inst, block.control.name))
    return heard


def infeeds(checked: Checked) -> Iterator[Finding]:
    """Infeeds stand behind a switch with an agent, not in a section with a line."""
    for section in checked.network[0].sections:
        types = {item.equipment.type for item in section.equipment}
        if types & _LINES:
            for item in section.equipment:
                if item.equipment.type in _INFEEDS:
                    message = f"infeed {item.path} without a switch with an agent in section {section.name}"
                    yield checked.finding("infeed-unguarded", message, item.equipment)


def unfed(checked: Checked) -> Iterator[Finding]:
    """Sections that no way leads to from a source; one finding for those that hang together."""
    primary = checked.network[0]
    reached: set[int] = set()
    starts = [section for section in primary.sections if section.is_source]
    for section in (*starts, *primary.sections):
        if section.index in reached:
            continue
        if not section.is_source:
            switch = primary.switch(section.switches[0][0])
            message = f"no source feeds section {section.name} and what hangs together with it"
            yield checked.finding("section-unfed", message, switch.equipment)
        stack = [section.index]
        while stack:
            index = stack.pop()
            if index not in reached:
                reached.add(index)
                ends = primary.sections[index].switches
                stack.extend(other for number, _ in ends for other in primary.switch(number).sections)


def wide(checked: Checked) -> Iterator[Finding]:
    """Sections with more peers than an agent can answer; source sections are never located in."""
    primary = checked.network[0]
    for section in primary.sections:
        if not section.is_source and len(section.switches) - 1 > agent_model.ANSWERS:
            switch = primary.switch(section.switches[0][0])
            message = (
                f"section {section.name} is bounded by {len(section.switches)} switches; "
                f"agents can answer {agent_model.ANSWERS} peers"
            )
            yield checked.finding("section-wide", message, switch.equipment)


AGENT_CHECKS: Final = (
    network,
    node_paths,
    kinds,
    idle,
    data_sets,
    subscriptions,
    infeeds,
    unfed,
    wide,
)
