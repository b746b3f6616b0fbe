"""The rules of validation, and what they are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from scl.streams import GooseIndex
from scl.topology import AGENT_CLASS, PrimaryNetwork, primary_network
from scl.types import Types

if TYPE_CHECKING:
    from collections.abc import Collection

    from scl.binding import Node
    from scl.document import SclError
    from scl.ied import IED, LN, AnyLN, LDevice
    from scl.model import SCL
    from scl.templates import LNodeType

Severity = Literal["error", "warning"]

RULES: Final[dict[str, tuple[Severity, str]]] = {
    # structure
    "unreadable": ("error", "the file is well-formed XML without a document type, with the root SCL"),
    "attribute-missing": ("error", "required attributes are there"),
    "value": ("error", "numbers and booleans can be read"),
    "element-missing": ("error", "required elements are there"),
    "element-second": ("error", "an element that may stand once stands once"),
    "element-unknown": ("warning", "elements are known where they stand"),
    "attribute-unknown": ("warning", "attributes are known where they stand"),
    "edition": ("warning", "version, revision and release are those of an edition"),
    "name-duplicate": ("error", "names and instances are unique where they must be"),
    "domain-duplicate": ("error", "no two logical devices have the same name in references"),
    # types
    "type-missing": ("error", "types that are referred to are in DataTypeTemplates"),
    "type-class": ("error", "a logical node has the class of its type"),
    "type-empty": ("error", "types have content"),
    "type-recursive": ("error", "types do not contain themselves"),
    "type-size": ("error", "array sizes are numbers or name an attribute that has one"),
    "basic-type": ("error", "basic types are those of IEC 61850-6"),
    "functional-constraint": ("error", "functional constraints are those of IEC 61850-7-2"),
    "instance-unknown": ("error", "values are given for data that the type has"),
    "value-type": ("error", "values are of their attribute's type"),
    # references
    "data-set-missing": ("error", "a control block's data set is in its logical node"),
    "data-set-empty": ("error", "data sets have members"),
    "member": ("error", "data set members resolve to data of the IED"),
    "member-duplicate": ("warning", "a data set has each member once"),
    "lnode-missing": ("error", "links of the primary system lead to logical nodes"),
    "server-missing": ("error", "ServerAt names an access point with a server"),
    "subscriber-missing": ("warning", "subscribers and clients that are named are in the file"),
    "publisher-missing": ("error", "inputs name an IED and a control block that are in the file"),
    "input-unknown": ("error", "inputs name data that the publisher has"),
    "input-not-sent": ("error", "the control block that an input names sends its data"),
    "conf-rev": ("error", "what a subscriber knows of a publisher agrees with the publisher"),
    "conf-rev-missing": ("error", "GOOSE control blocks have a confRev, and it is not 0"),
    # communication
    "access-point-missing": ("error", "connected access points are those of IEDs in the file"),
    "control-missing": ("error", "addresses are those of control blocks in the file"),
    "address-missing": ("error", "GOOSE control blocks in use have an address"),
    "address": ("error", "addresses are complete and well formed"),
    "address-duplicate": ("error", "no two streams of a subnetwork have the same MAC and APPID"),
    "mac-shared": ("warning", "each stream of a subnetwork has its own MAC"),
    "mac-unicast": ("error", "MAC addresses of streams are multicast"),
    "mac-range": ("warning", "MAC addresses are in the range of their service"),
    "appid-shared": ("warning", "each stream of a subnetwork has its own APPID"),
    "appid-range": ("warning", "APPIDs are in the range of their service"),
    "go-id-duplicate": ("error", "GOOSE identifiers are unique"),
    "times": ("error", "MinTime and MaxTime are positive, and MinTime is the shorter"),
    "ip": ("error", "IP addresses are well formed"),
    "ip-duplicate": ("error", "no two access points of a subnetwork have the same IP address"),
    "frame-size": ("error", "a data set fits one Ethernet frame"),
    "service-limit": (
        "warning",
        "an IED has no more data sets, members and GOOSE control blocks than it states",
    ),
    # primary system and agents
    "terminal": ("error", "terminals name connectivity nodes"),
    "node-duplicate": ("error", "connectivity nodes are unique"),
    "node-path": ("error", "the path of a connectivity node is where it stands"),
    "switch-terminals": ("error", "a switch with an agent has two terminals in the network"),
    "switch-agents": ("error", "one switch has one agent, one agent one switch"),
    "switch-number": ("error", "switch numbers are there, in range and unique"),
    "switch-bypassed": ("error", "a switch separates two sections"),
    "switch-kind": ("warning", "breakers are CBR with XCBR, load-break switches DIS with XSWI"),
    "agent-idle": ("error", "an agent guards a switch"),
    "agent-data-set": ("error", "an agent's data sets are those of this release"),
    "subscription-missing": ("error", "an agent subscribes to the switches it needs"),
    "infeed-unguarded": ("warning", "no infeed stands in a section with a line or cable"),
    "section-unfed": ("warning", "sections can be reached from a source"),
    "section-wide": ("error", "an agent's answers to all peers of a section fit its data set"),
    "relay-deaf": (
        "warning",
        "a relay that operates an agent's switch subscribes to the agent's lock, and to its orders",
    ),
    "relay-input": ("error", "an agent's inputs from a relay give what their intAddr says"),
    "relay-quality": ("warning", "a relay sends the quality of position, starts and voltages along"),
    "relay-slow": ("warning", "a relay repeats every second at least: agents believe nothing older than 3 s"),
    "relay-input-missing": ("error", "an agent beside a relay hears from it what it needs"),
}
"""Severity, and what a rule asks for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        rule: which of ``RULES`` is broken.
        severity: ``error``: will not work; ``warning``: works, or may, but is not as it should be.
        message: what is wrong.
        file: where, as given to the reader.
        line: line the element starts in.
        path: path of the element.
    """

    rule: str
    severity: Severity
    message: str
    file: str
    line: int
    path: str


def of_error(error: SclError) -> Finding:
    """A located error as a finding."""
    return Finding(error.rule, RULES[error.rule][0], error.message, error.file, error.line, error.path)


class Checked:
    """A file under validation, with what several rules need of it, made once."""

    def __init__(self, scl: SCL, normally_open: Collection[str] | None, others: tuple[SCL, ...]) -> None:
        self.scl = scl
        self.normally_open = normally_open
        self.others = others
        self.types = Types(scl.templates)
        self.goose = GooseIndex(scl, self.types)
        self.ieds: dict[str, IED] = {}
        for ied in scl.ieds:
            self.ieds.setdefault(ied.name, ied)

    def finding(self, rule: str, message: str, node: Node, scl: SCL | None = None) -> Finding:
        """A finding at an element of the file, or of another one."""
        return Finding(rule, RULES[rule][0], message, (scl or self.scl).file, node.line, node.path)

    def type_of(self, node: AnyLN) -> LNodeType | None:
        """Type of a logical node; None where it is missing or for another class, which is reported there."""
        lnode_type = self.types.lnode_type(node.lnType)
        return lnode_type if lnode_type is not None and lnode_type.lnClass == node.lnClass else None

    @cached_property
    def network(self) -> tuple[PrimaryNetwork, list[SclError]]:
        """The primary network as far as it can be built, and what stands in its way."""
        problems: list[SclError] = []
        return primary_network(self.scl, problems), problems

    @cached_property
    def agents(self) -> list[tuple[IED, LDevice, LN]]:
        """All agents: IED, logical device, and the logical node that makes it one."""
        return [
            (ied, ldevice, ln)
            for ied in self.scl.ieds
            for _, ldevice in ied.ldevices()
            for ln in ldevice.lns
            if ln.lnClass == AGENT_CLASS
        ]
