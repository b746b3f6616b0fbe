"""The primary network as the agents see it: switches with an agent, and the sections between them.

Built from Substation, Line and Process: equipment hangs on connectivity nodes by its terminals; whatever
conducts and has no agent (lines, cables, transformers of instruments, switches without an agent) joins its
nodes into one section. Earthing switches join nothing, and neither do the windings of power transformers.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from scl.binding import MAX_PROBLEMS
from scl.document import SclError
from scl.equipment import lnodes_of, walk_primary
from scl.types import TypeResolutionError, Types

if TYPE_CHECKING:
    from scl.binding import Node
    from scl.equipment import Placed, PlacedTransformer
    from scl.ied import LN
    from scl.model import SCL
    from scl.substation import ConductingEquipment, Terminal

Kind = Literal["breaker", "load_break"]
A: Final = 0
"""Side of the first Terminal."""
B: Final = 1
"""Side of the second Terminal."""

AGENT_CLASS: Final = "AFSR"
MAX_NUMBER: Final = 32_767
"""Largest switch number: number * 2 + side must fit the 16 bits it has on the wire."""

_GROUNDED: Final = "grounded"
_CONDUCTORS: Final = frozenset({"LIN", "CAB", "GIL"})
_INFEED: Final = "IFL"


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch with an agent.

    Attributes:
        number: its number in frames, 1 to 32,767.
        path: path of its equipment, ``ALPHA/V20/F1/Q1``.
        name: last part of the path.
        kind: ``breaker`` can interrupt fault current, ``load_break`` load current.
        iedName: the agent's IED.
        ldInst: the agent's logical device.
        sections: index of the section on side A (first Terminal) and on side B (second).
        equipment: where it stands in the file.
    """

    number: int
    path: str
    name: str
    kind: Kind
    iedName: str
    ldInst: str
    sections: tuple[int, int]
    equipment: ConductingEquipment


@dataclass(frozen=True, slots=True)
class Section:
    """What lies between switches with an agent.

    Attributes:
        index: its place in ``PrimaryNetwork.sections``.
        name: path of its first line or cable in the file, else of its first connectivity node; no two are
        equal.
        switches: the switches that bound it, as number and side (``A`` or ``B``) that looks into it, by
        number.
        is_source: fed from above: it has an infeed (IFL), or a transformer winding that is not known to be
            the one of the highest voltage.
        nodes: paths of its connectivity nodes, in the order of the file.
        equipment: what conducting equipment hangs on it, switches with an agent aside.
    """

    index: int
    name: str
    switches: tuple[tuple[int, int], ...]
    is_source: bool
    nodes: tuple[str, ...]
    equipment: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class PrimaryNetwork:
    """Switches by ascending number, sections by their first node in the file."""

    switches: tuple[Switch, ...]
    sections: tuple[Section, ...]

    def switch(self, number: int) -> Switch:
        """The switch of that number.

        Raises:
            KeyError: there is none.
        """
        index = bisect_left(self.switches, number, key=lambda switch: switch.number)
        if index == len(self.switches) or self.switches[index].number != number:
            raise KeyError(number)
        return self.switches[index]

    def section(self, name: str) -> Section:
        """The section of that name.

        Raises:
            KeyError: there is none.
        """
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)

    def peers(self, number: int, side: int) -> tuple[tuple[int, int], ...]:
        """The other switches that bound the section on that side, as number and side that looks into it."""
        section = self.sections[self.switch(number).sections[side]]
        return tuple(end for end in section.switches if end[0] != number)


def primary_network(scl: SCL, problems: list[SclError] | None = None) -> PrimaryNetwork:
    """Build the network of all switches that have an agent.

    Args:
        scl: the file.
        problems: takes the located errors, the equipment they concern is left out; without it the first
            is raised.

    Raises:
        SclError: a terminal names no connectivity node; a switch with an agent has not two terminals, lies in
            one section with both sides, or shares its agent; a number is missing, wrong or given twice.
    """
    found: list[SclError] = []
    network = _Builder(scl, found).build()
    for problem in found:
        problem.file = scl.file
    if problems is not None:
        problems.extend(found)
    elif found:
        raise found[0]
    return network


@dataclass(frozen=True, slots=True)
class _Agent:
    """An agent found in the IEDs."""

    iedName: str
    ldInst: str
    ln: LN


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A switch with an agent, before its nodes are joined into sections."""

    placed: Placed
    agent: _Agent
    number: int
    kind: Kind
    ends: tuple[int, int]


class _Builder:
    def __init__(self, scl: SCL, problems: list[SclError]) -> None:
        self._problems = problems
        self._types = Types(scl.templates)
        self._primary = walk_primary(scl)
        self._nodes: dict[str, int] = {}  # index by path
        self._aliases: dict[str, int] = {}  # index by pathName
        self._voltages: list[float | None] = []  # by index
        self._joined: list[int] = []  # union-find over connectivity nodes
        self._numbers: dict[int, str] = {}  # path of the switch by number
        self._guards: dict[str, str] = {}  # path of the switch by IED
        self._agents = {
            (ied.name, ldevice.inst): _Agent(ied.name, ldevice.inst, ln)
            for ied in scl.ieds
            for _, ldevice in ied.ldevices()
            for ln in ldevice.lns
            if ln.lnClass == AGENT_CLASS
        }

    def build(self) -> PrimaryNetwork:
        for placed in self._primary.nodes:
            if placed.path in self._nodes:
                self._problem("node-duplicate", f"second connectivity node {placed.path}", placed.node)
            else:
                self._nodes[placed.path] = len(self._nodes)
                self._voltages.append(placed.voltage_v)
        for placed in self._primary.nodes:  # a wrong pathName still tells which node its terminals mean
            self._aliases.setdefault(placed.node.pathName, self._nodes[placed.path])
        self._joined = list(range(len(self._nodes)))
        candidates = []
        others: list[tuple[Placed, list[int]]] = []
        for item in self._primary.equipment:
            agent = self._agent(item)
            if agent is None:
                ends = self._ends(item.equipment.terminals)
                others.append((item, ends))
                for end in ends[1:]:
                    self._joined[self._root(end)] = self._root(ends[0])
            elif (candidate := self._candidate(item, agent)) is not None:
                candidates.append(candidate)
        sources = {self._root(end) for item, ends in others for end in ends if item.equipment.type == _INFEED}
        sources.update(self._root(end) for item in self._primary.transformers for end in self._fed(item))
        return self._network(candidates, others, sources)

    def _problem(self, rule: str, message: str, node: Node) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(SclError(message, line=node.line, path=node.path, rule=rule))

    def _root(self, node: int) -> int:
        while self._joined[node] != node:
            self._joined[node] = node = self._joined[self._joined[node]]
        return node

    def _agent(self, item: Placed) -> _Agent | None:
        """The agent that guards a switch: the one of the logical device that a link of the switch names."""
        agents = {
            key: agent
            for lnode in lnodes_of(item.equipment)
            if (agent := self._agents.get(key := (lnode.iedName, lnode.ldInst))) is not None
        }
        if not agents:
            return None
        if len(agents) > 1:
            names = " and ".join(f"{iedName}/{ldInst}" for iedName, ldInst in agents)
            self._problem(
                "switch-agents",
                f"{item.path} is linked to the agents {names}; a switch has one",
                item.equipment,
            )
        return next(iter(agents.values()))

    def _ends(self, terminals: tuple[Terminal, ...]) -> list[int]:
        """Connectivity nodes of the terminals, by index; grounded terminals left out."""
        ends = []
        for terminal in terminals:
            if _grounded(terminal):
                continue
            steps = (
                terminal.processName,
                terminal.lineName or terminal.substationName,
                terminal.voltageLevelName,
                terminal.bayName,
                terminal.cNodeName,
            )
            path = "/".join(step for step in steps if step)
            name = terminal.connectivityNode
            node = self._nodes.get(name, self._nodes.get(path, self._aliases.get(name) if name else None))
            if node is None:
                self._problem(
                    "terminal",
                    f"terminal names no connectivity node: {name or path!r}",
                    terminal,
                )
            else:
                ends.append(node)
        return ends

    def _candidate(self, item: Placed, agent: _Agent) -> _Candidate | None:
        equipment = item.equipment
        ends = self._ends(equipment.terminals)
        if len(equipment.terminals) != 2 or any(map(_grounded, equipment.terminals)):
            live = sum(not _grounded(terminal) for terminal in equipment.terminals)
            self._problem(
                "switch-terminals",
                f"switch {item.path} has an agent and {live} terminals in the network; expected 2",
                equipment,
            )
            return None
        guarded = self._guards.get(agent.iedName)
        if guarded is not None:
            self._problem(
                "switch-agents",
                f"IED {agent.iedName} guards {guarded} and {item.path}; an agent has one switch",
                equipment,
            )
            return None
        self._guards[agent.iedName] = item.path
        number = self._number(agent)
        if number is None or len(ends) != 2:
            return None
        other = self._numbers.get(number)
        if other is not None:
            self._problem("switch-number", f"switch number {number} of {item.path} is also that of {other}", agent.ln)
            return None
        self._numbers[number] = item.path
        return _Candidate(item, agent, number, _kind(item, agent), (ends[0], ends[1]))

    def _number(self, agent: _Agent) -> int | None:
        text = agent.ln.value("SwNum", "setVal")
        if text is None:
            try:
                text = self._types.resolve(agent.ln.lnType, "SwNum", "setVal").default
            except TypeResolutionError as error:
                self._problem("switch-number", f"no switch number: {error}", agent.ln)
                return None
        if text is None:
            self._problem("switch-number", f"agent {agent.iedName} without a switch number in SwNum.setVal", agent.ln)
            return None
        if re.fullmatch("[0-9]{1,5}", text, re.ASCII) and 1 <= int(text) <= MAX_NUMBER:
            return int(text)
        self._problem(
            "switch-number",
            f"switch number {text[:40]!r} of {agent.iedName}; expected 1 to {MAX_NUMBER}",
            agent.ln,
        )
        return None

    def _fed(self, item: PlacedTransformer) -> list[int]:
        """Nodes that a transformer feeds: those of all windings but that of the highest voltage.

        Where voltages do not tell, a transformer in a substation feeds all its nodes, one along a line (it
        steps down to customers) none.
        """
        windings = [self._ends(winding.terminals) for winding in item.transformer.windings]
        ends = [end for winding in windings for end in winding]
        voltages = [self._voltages[end] for end in ends]
        known = [voltage for voltage in voltages if voltage is not None]
        if len(known) == len(ends) and len(set(known)) > 1:
            return [end for end, voltage in zip(ends, known, strict=True) if voltage < max(known)]
        return [] if item.in_line else ends

    def _network(
        self, candidates: list[_Candidate], others: list[tuple[Placed, list[int]]], sources: set[int]
    ) -> PrimaryNetwork:
        bounded = {self._root(end) for candidate in candidates for end in candidate.ends}
        indices: dict[int, int] = {}  # section by root node
        nodes: list[list[str]] = []
        for path, node in self._nodes.items():
            root = self._root(node)
            if root in bounded:
                if root not in indices:
                    indices[root] = len(nodes)
                    nodes.append([])
                nodes[indices[root]].append(path)
        equipment: list[list[Placed]] = [[] for _ in nodes]
        for item, ends in others:
            if ends and self._root(ends[0]) in bounded:
                equipment[indices[self._root(ends[0])]].append(item)
        ends_of: list[list[tuple[int, int]]] = [[] for _ in nodes]
        switches = []
        for candidate in sorted(candidates, key=lambda each: each.number):
            first, second = (indices[self._root(end)] for end in candidate.ends)
            item = candidate.placed
            if first == second:
                self._problem(
                    "switch-bypassed",
                    f"switch {item.path} lies with both sides in one section: bypassed",
                    item.equipment,
                )
                continue
            ends_of[first].append((candidate.number, A))
            ends_of[second].append((candidate.number, B))
            agent = candidate.agent
            switches.append(
                Switch(
                    number=candidate.number,
                    path=item.path,
                    name=item.equipment.name,
                    kind=candidate.kind,
                    iedName=agent.iedName,
                    ldInst=agent.ldInst,
                    sections=(first, second),
                    equipment=item.equipment,
                )
            )
        fed = {indices[root] for root in sources if root in indices}
        sections = tuple(
            Section(
                index=index,
                name=next((i.path for i in equipment[index] if i.equipment.type in _CONDUCTORS), nodes[index][0]),
                switches=tuple(ends_of[index]),
                is_source=index in fed,
                nodes=tuple(nodes[index]),
                equipment=tuple(equipment[index]),
            )
            for index in range(len(nodes))
        )
        return PrimaryNetwork(tuple(switches), sections)


def _grounded(terminal: Terminal) -> bool:
    return _GROUNDED in {terminal.cNodeName, terminal.connectivityNode.rpartition("/")[2]}


def _kind(item: Placed, agent: _Agent) -> Kind:
    """What the switch can break: as its link says (XCBR or XSWI), else by the type of equipment."""
    classes = {lnode.lnClass for lnode in lnodes_of(item.equipment) if lnode.iedName == agent.iedName}
    if "XCBR" in classes:
        return "breaker"
    if "XSWI" in classes:
        return "load_break"
    return "breaker" if item.equipment.type == "CBR" else "load_break"
