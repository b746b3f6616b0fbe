"""SCD and site file of a feeder system of any size, with one agent per switch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scl.agent_ied import agent_ied, connected_access_point
from scl.agent_model import LDEVICE
from scl.agent_templates import SWITCH_CLASSES, data_type_templates
from scl.listening import needed_subscriptions
from scl.relay_ied import MAX_RELAYS, agent_inputs, open_inputs, relay_address, relay_ied, relay_name, relay_streams
from scl.relay_model import RELAY_LDEVICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scl.topology import Kind

MAX_SWITCHES: Final = 0x3FFF
"""Switch numbers give the APPIDs, and a class of APPIDs has 14 bits."""

_HEAD: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B" release="4">
  <Header id="{}" version="1" revision="1" toolID="flisr"/>
"""
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}", re.ASCII)
_BREAKING_A: Final = {"breaker": 16_000.0, "load_break": 630.0}
_GRADING_START_MS: Final = 100.0
_GRADING_STEP_MS: Final = 200.0


@dataclass(frozen=True, slots=True)
class SwitchSpec:
    """A switch.

    Attributes:
        name: unique in its feeder.
        kind: what it can break.
        rating_a: continuous current.
        breaking_a: largest current it can interrupt; None for 16 kA (breaker) or 630 A (load break).
        operating_time_ms: from command to position.
        trip_delay_ms: of a breaker's own protection; None for grading: 100 ms for the last, 200 ms more for
            each breaker behind it.
    """

    name: str
    kind: Kind = "load_break"
    rating_a: float = 400.0
    breaking_a: float | None = None
    operating_time_ms: float = 50.0
    trip_delay_ms: float | None = None


@dataclass(frozen=True, slots=True)
class LateralSpec:
    """A lateral from the end of a section; behind a switch it is a section, ``<feeder>/<name>``.

    Attributes:
        name: unique in its feeder.
        section: on which it hangs.
        switch: at its beginning, None for none.
        is_der: local generation instead of a line; needs a switch, for fault current may come from it.
    """

    name: str
    section: str
    switch: SwitchSpec | None = None
    is_der: bool = False


@dataclass(frozen=True, slots=True)
class FeederSpec:
    """Switches in series, the first in the substation; the section behind the nth is ``<feeder>/S<n>``.

    Attributes:
        name: unique in the network.
        substation: where it begins; feeders of one substation share a busbar.
        switches: from the source outwards.
        laterals: may hang on sections of laterals before them.
    """

    name: str
    substation: str
    switches: tuple[SwitchSpec, ...]
    laterals: tuple[LateralSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class TieSpec:
    """A normally open switch between the ends of two sections, side A first."""

    switch: SwitchSpec
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What hangs on a section."""

    load_a: float = 40.0
    customers: int = 120
    priority: int = 1
    generation_a: float = 0.0


_DER: Final = LoadSpec(0.0, 0, generation_a=30.0)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A feeder system.

    Switch numbers run from 1: feeder by feeder along the line, then the laterals of that feeder, the ties at
    last. IEDs are called feeder and switch, ``F1Q1``; ties by their own name.

    Attributes:
        name: of the system; the SCD is ``<name>.scd``.
        feeders: in order.
        ties: in order.
        loads: by section name; sections not named have the default, local generation 30 A and no load.
        voltage_kv: nominal.
        detection_time_ms: for the site file.
        relays: each agent has a relay beside it, called like the agent with a P behind, and knows and does all
            through that one by GOOSE.
    """

    name: str
    feeders: tuple[FeederSpec, ...]
    ties: tuple[TieSpec, ...] = ()
    loads: Mapping[str, LoadSpec] = field(default_factory=dict)
    voltage_kv: float = 20.0
    detection_time_ms: float = 3.0
    relays: bool = False


@dataclass(frozen=True, slots=True)
class _Switch:
    """A switch with all that follows from its place."""

    number: int
    spec: SwitchSpec
    iedName: str
    path: str
    sections: tuple[str, str]
    nodes: tuple[str, str]
    is_tie: bool


@dataclass(frozen=True, slots=True)
class GeneratedSwitch:
    """What a generated file calls a switch."""

    number: int
    iedName: str
    path: str
    sections: tuple[str, str]
    normally_open: bool


def generate_scd(spec: NetworkSpec) -> str:
    """The SCD of a feeder system, Edition 2.1 (2007B4).

    Raises:
        ValueError: a name that is not unique or cannot stand in an SCD, a section that is not there, or more
            than ``MAX_SWITCHES`` switches.
    """
    return _Plan(spec).scd()


def generate_site(spec: NetworkSpec) -> str:
    """The site file (TOML) that belongs to ``generate_scd``; raises as it does."""
    return _Plan(spec).site()


def generate_icd(kind: Kind) -> str:
    """The ICD of an agent for a switch of that kind, Edition 2.1, for any system configuration tool.

    The tool names the IED, gives its switch number, addresses and inputs.
    """
    return (
        _HEAD.format("agent_" + kind)
        + agent_ied("TEMPLATE", None, kind, (), relay_inputs=open_inputs())
        + data_type_templates((SWITCH_CLASSES[kind],))
        + "</SCL>\n"
    )


def generated_switches(spec: NetworkSpec) -> tuple[GeneratedSwitch, ...]:
    """Number, names and place of every switch of a feeder system, by number; raises as ``generate_scd``."""
    return tuple(
        GeneratedSwitch(each.number, each.iedName, each.path, each.sections, each.is_tie)
        for each in _Plan(spec).switches
    )


class _Plan:
    """A specification with numbers, names and paths given."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.switches: list[_Switch] = []
        self.level = f"V{spec.voltage_kv:g}".replace(".", "_")
        self.ends: dict[str, tuple[str, str]] = {}  # first and last node of each section
        self._taken: set[str] = set()
        self._heads: dict[str, list[_Switch]] = {feeder.substation: [] for feeder in spec.feeders}
        self._taken.update(f"{substation}/{self.level}/BB" for substation in self._heads)
        self._name(spec.name, "network")
        for feeder in spec.feeders:
            self._feeder(feeder)
        for tie in spec.ties:
            path = f"{self._section(tie.a).partition('/')[0]}/{tie.switch.name}"
            nodes = self.ends[self._section(tie.a)][1], self.ends[self._section(tie.b)][1]
            if tie.a == tie.b:
                raise ValueError(f"tie {tie.switch.name} has both ends in section {tie.a}")
            self._switch(tie.switch, tie.switch.name, path, (tie.a, tie.b), nodes, is_tie=True)
        for section in spec.loads:
            self._section(section)
        if len(self.switches) > MAX_SWITCHES:
            raise ValueError(f"{len(self.switches)} switches; at most {MAX_SWITCHES} have APPIDs of their own")
        if spec.relays and len(self.switches) > MAX_RELAYS:
            raise ValueError(f"{len(self.switches)} relays; at most {MAX_RELAYS} have APPIDs of their own")
        self._delays = self._graded()
        self._sections: dict[str, list[str]] = {feeder.name: [] for feeder in spec.feeders}
        for section in self.ends:
            self._sections[section.partition("/")[0]].append(section)
        self._along: dict[str, list[_Switch]] = {feeder.name: [] for feeder in spec.feeders}
        for switch in self.switches:
            if switch.path.count("/") == 1:
                self._along[switch.path.partition("/")[0]].append(switch)

    def _name(self, name: str, what: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what} {name!r}; expected a letter, then letters, digits and _, 32 at most")

    def _unique(self, name: str) -> str:
        if name in self._taken:
            raise ValueError(f"{name} is named twice")
        self._taken.add(name)
        return name

    def _nodes(self, first: str, *last: str) -> tuple[str, str]:
        """First and last node of a section; their names are unique among all names of their container."""
        nodes = [self._unique(node) for node in (first, *last)]
        return nodes[0], nodes[-1]

    def _section(self, name: str) -> str:
        if name not in self.ends:
            raise ValueError(f"there is no section {name!r}; there are {', '.join(self.ends)}"[:500])
        return name

    def _feeder(self, feeder: FeederSpec) -> None:
        for name, what in ((feeder.name, "feeder"), (feeder.substation, "substation")):
            self._name(name, what)
        self._unique("feeder " + feeder.name)
        if not feeder.switches:
            raise ValueError(f"feeder {feeder.name} without a switch")
        if feeder.name in self._heads:
            raise ValueError(f"feeder {feeder.name} is named like a substation")
        before, node = feeder.substation, f"{feeder.substation}/{self.level}/BB/N1"
        bay = self._unique(f"{feeder.substation}/{self.level}/{feeder.name}")
        for index, switch in enumerate(feeder.switches, start=1):
            section = self._unique(f"{feeder.name}/S{index}")
            first = f"{bay}/N1" if index == 1 else f"{section}a"
            self.ends[section] = self._nodes(first, f"{section}b")
            path = f"{bay if index == 1 else feeder.name}/{switch.name}"
            self._switch(switch, feeder.name + switch.name, path, (before, section), (node, first))
            if index == 1:
                self._heads[feeder.substation].append(self.switches[-1])
            before, node = section, f"{section}b"
        for lateral in feeder.laterals:
            self._name(lateral.name, "lateral")
            if not self._section(lateral.section).startswith(feeder.name + "/"):
                raise ValueError(f"lateral {lateral.name} of {feeder.name} hangs on {lateral.section}")
            section = self._unique(f"{feeder.name}/{lateral.name}")
            start = self.ends[lateral.section][1]
            if lateral.switch is None:
                if lateral.is_der:
                    raise ValueError(f"DER {lateral.name} of {feeder.name} without a switch")
                self._nodes(f"{section}b")
                continue
            if lateral.is_der:
                self._unique(f"{section}G")
                self.ends[section] = section, section
            else:
                self.ends[section] = self._nodes(f"{section}a", f"{section}b")
            path = f"{feeder.name}/{lateral.switch.name}"
            ends = lateral.section, section
            self._switch(lateral.switch, feeder.name + lateral.switch.name, path, ends, (start, self.ends[section][0]))

    def _switch(
        self,
        spec: SwitchSpec,
        iedName: str,
        path: str,
        sections: tuple[str, str],
        nodes: tuple[str, str],
        *,
        is_tie: bool = False,
    ) -> None:
        self._name(spec.name, "switch")
        self._unique("IED " + iedName)
        if self.spec.relays:
            self._unique("IED " + relay_name(iedName))
        self._unique(path)
        self.switches.append(_Switch(len(self.switches) + 1, spec, iedName, path, sections, nodes, is_tie))

    def _graded(self) -> dict[int, float]:
        """Trip delay of each breaker: the more breakers behind it, the longer."""
        behind: dict[str, int] = {}  # breakers in series from a section outwards
        delays = {}
        for switch in reversed(self.switches):
            near, far = switch.sections
            if switch.is_tie:
                continue
            is_breaker = switch.spec.kind == "breaker"
            if self.ends[far][0] != self.ends[far][1]:  # local generation is not protected through the feeder
                behind[near] = max(behind.get(near, 0), behind.get(far, 0) + is_breaker)
            if is_breaker:
                graded = _GRADING_START_MS + _GRADING_STEP_MS * behind.get(far, 0)
                delays[switch.number] = graded if switch.spec.trip_delay_ms is None else switch.spec.trip_delay_ms
        return delays

    def scd(self) -> str:
        substations = dict.fromkeys(feeder.substation for feeder in self.spec.feeders)
        needed = needed_subscriptions(
            {switch.number: switch.sections for switch in self.switches},
            substations,
            {switch.number for switch in self.switches if switch.is_tie},
        )
        names = {switch.number: switch.iedName for switch in self.switches}
        parts = [_HEAD.format(self.spec.name)]
        parts.extend(self._substation(substation) for substation in substations)
        parts.append('  <Communication>\n    <SubNetwork name="Station" type="8-MMS">\n')
        relays = self.spec.relays
        parts.extend(connected_access_point(each.iedName, each.number, relay=relays) for each in self.switches)
        parts.extend(relay_address(each.iedName, each.number) for each in self.switches if relays)
        parts.append("    </SubNetwork>\n  </Communication>\n")
        parts.extend(
            agent_ied(
                switch.iedName,
                switch.number,
                switch.spec.kind,
                [names[number] for number in sorted(needed[switch.number])],
                desc=f"agent of {switch.path}",
                relay_inputs=agent_inputs(switch.iedName, switch.spec.kind) if relays else "",
                relay_streams=relay_streams(switch.iedName) if relays else (),
            )
            for switch in self.switches
        )
        parts.extend(relay_ied(each.iedName, each.spec.kind) for each in self.switches if relays)
        classes = tuple(sorted({SWITCH_CLASSES[switch.spec.kind] for switch in self.switches}))
        parts.append(data_type_templates(classes, relays=relays))
        parts.extend(self._line(feeder) for feeder in self.spec.feeders)
        parts.append("</SCL>\n")
        return "".join(parts)

    def _substation(self, name: str) -> str:
        busbar = f"{name}/{self.level}/BB/N1"
        bays = [
            '      <Bay name="BB" desc="busbar">\n',
            _conductor("INF", "IFL", busbar),
            f'        <ConnectivityNode name="N1" pathName="{busbar}"/>\n',
            "      </Bay>\n",
        ]
        for head in self._heads[name]:
            bay = head.path.rpartition("/")[0]
            bays += [
                f'      <Bay name="{bay.rpartition("/")[2]}">\n',
                _equipment(head, relay=self.spec.relays),
                f'        <ConnectivityNode name="N1" pathName="{bay}/N1"/>\n',
                "      </Bay>\n",
            ]
        return (
            f'  <Substation name="{name}">\n'
            f'    <VoltageLevel name="{self.level}" nomFreq="50" numPhases="3">\n'
            f'      <Voltage unit="V" multiplier="k">{self.spec.voltage_kv:g}</Voltage>\n'
            f"{''.join(bays)}    </VoltageLevel>\n  </Substation>\n"
        )

    def _line(self, feeder: FeederSpec) -> str:
        parts = [
            f'  <Line name="{feeder.name}" type="overhead" nomFreq="50" numPhases="3">\n',
            f'      <Voltage unit="V" multiplier="k">{self.spec.voltage_kv:g}</Voltage>\n',
        ]
        nodes = []
        inside = feeder.name + "/"
        for section in self._sections[feeder.name]:
            first, last = self.ends[section]
            ends = (first,) if first == last else (first, last)
            kind, name = ("LIN", section) if len(ends) == 2 else ("GEN", section + "G")
            parts.append(_conductor(name, kind, *ends))
            nodes += [node for node in ends if node.startswith(inside)]
        for lateral in feeder.laterals:
            if lateral.switch is None:
                node = f"{inside}{lateral.name}b"
                nodes.append(node)
                parts.append(_conductor(inside + lateral.name, "LIN", self.ends[lateral.section][1], node))
        parts.extend(_equipment(switch, relay=self.spec.relays) for switch in self._along[feeder.name])
        parts.extend(
            f'        <ConnectivityNode name="{node.partition("/")[2]}" pathName="{node}"/>\n' for node in nodes
        )
        parts.append("  </Line>\n")
        return "".join(parts)

    def site(self) -> str:
        spec = self.spec
        parts = [
            f'[site]\nname = "{spec.name}"\nscd = "{spec.name}.scd"\n',
            f"detection_time_ms = {spec.detection_time_ms}\n",
        ]
        for switch in self.switches:
            breaking_a = switch.spec.breaking_a
            parts.append(
                f'\n[switch."{switch.path}"]\nnormal = "{"open" if switch.is_tie else "closed"}"\n'
                f"rating_a = {switch.spec.rating_a}\n"
                f"breaking_a = {_BREAKING_A[switch.spec.kind] if breaking_a is None else breaking_a}\n"
            )
            if switch.number in self._delays:
                parts.append(f"trip_delay_ms = {self._delays[switch.number]}\n")
            parts.append(f"operating_time_ms = {switch.spec.operating_time_ms}\n")
        for section, (first, last) in self.ends.items():
            load = spec.loads.get(section, _DER if first == last else LoadSpec())
            parts.append(
                f'\n[section."{section}"]\nload_a = {load.load_a}\ncustomers = {load.customers}\n'
                f"priority = {load.priority}\n"
            )
            if load.generation_a:
                parts.append(f"generation_a = {load.generation_a}\n")
        return "".join(parts)


def _terminal(name: str, node: str) -> str:
    steps = node.split("/")
    place = (
        f'lineName="{steps[0]}"'
        if len(steps) == 2
        else f'substationName="{steps[0]}" voltageLevelName="{steps[1]}" bayName="{steps[2]}"'
    )
    return f'          <Terminal name="{name}" connectivityNode="{node}" {place} cNodeName="{steps[-1]}"/>\n'


def _conductor(path: str, kind: str, *nodes: str) -> str:
    terminals = "".join(_terminal(f"T{index}", node) for index, node in enumerate(nodes, start=1))
    name = path.rpartition("/")[2]
    start, end = (
        f'        <ConductingEquipment name="{name}" type="{kind}">\n',
        "        </ConductingEquipment>\n",
    )
    return start + terminals + end


def _equipment(switch: _Switch, *, relay: bool) -> str:
    kind = "CBR" if switch.spec.kind == "breaker" else "DIS"
    switch_class = SWITCH_CLASSES[switch.spec.kind]
    linked = [(switch.iedName, LDEVICE, switch_class), (switch.iedName, LDEVICE, "AFSR")]
    linked += [(relay_name(switch.iedName), RELAY_LDEVICE, switch_class)] * relay
    lnodes = "".join(
        f'          <LNode iedName="{iedName}" ldInst="{ldInst}" lnClass="{lnClass}" lnInst="1"/>\n'
        for iedName, ldInst, lnClass in linked
    )
    return (
        f'        <ConductingEquipment name="{switch.spec.name}" type="{kind}">\n{lnodes}'
        f"{_terminal('T1', switch.nodes[0])}{_terminal('T2', switch.nodes[1])}"
        "        </ConductingEquipment>\n"
    )
