"""``flisr scl``: generate, check and look at SCL files."""

from __future__ import annotations

import json
import tomllib
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from scl.document import SclError
from scl.generate import generate_icd, generate_scd, generate_site
from scl.reader import load, read
from scl.regular import regular_network
from scl.streams import GooseIndex
from scl.topology import Kind, primary_network
from scl.validation import check as check_scl
from tools.demo.diagram import feeder_svg
from tools.demo.render import feeder_text
from tools.demo.state import FeederState, SectionState, SwitchState

if TYPE_CHECKING:
    from scl.ied import IED, LDevice
    from scl.model import SCL
    from scl.topology import PrimaryNetwork
    from scl.validation import Finding

app = App(name="scl", help="SCL files (IEC 61850-6): generate, check, look at.")

_Json = Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")]
_Site = Annotated[Path | None, Parameter(name="--site", help="Site file; says which switches are normally open.")]


class SclCommandError(ValueError):
    """An argument that cannot be used."""


@app.command
def generate(
    scd: Path,
    *,
    feeders: Annotated[int, Parameter(help="How many feeders.")] = 2,
    switches: Annotated[int, Parameter(help="Switches in series along each feeder.")] = 4,
    laterals: Annotated[int, Parameter(help="Laterals with a switch on each feeder.")] = 0,
    ties: Annotated[int, Parameter(help="Ties between each two neighbouring feeders.")] = 1,
    ders: Annotated[int, Parameter(help="Local generation behind a breaker on each feeder.")] = 0,
    breaker_every: Annotated[int, Parameter(help="Each nth switch is a breaker; the others break load.")] = 2,
    as_json: _Json = False,
) -> None:
    """Write the SCD of a feeder system, and its site file (.toml) beside it."""
    try:
        spec = regular_network(
            scd.stem,
            feeders=feeders,
            switches=switches,
            laterals=laterals,
            ties=ties,
            ders=ders,
            breaker_every=breaker_every,
        )
        text, site_text = generate_scd(spec), generate_site(spec)
    except ValueError as error:
        raise SclCommandError(str(error)) from None
    if scd.suffix != ".scd":
        raise SclCommandError(f"{scd}: expected a name that ends in .scd")
    site = scd.with_suffix(".toml")
    scd.write_text(text, encoding="utf-8")
    site.write_text(site_text, encoding="utf-8")
    result = {
        "scd": str(scd),
        "site": str(site),
        "switches": site_text.count("\n[switch."),
        "octets": len(text),
    }
    if as_json:
        print(json.dumps(result))
    else:
        print(f"{scd} and {site}: {result['switches']} switches")


@app.command
def icd(
    *,
    kind: Annotated[Kind, Parameter(help="What the agent's switch can break.")] = "breaker",
    out: Annotated[Path | None, Parameter(help="File to write; standard output without it.")] = None,
) -> None:
    """Write the ICD of an agent, for any system configuration tool."""
    text = generate_icd(kind)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")


@app.command
def check(
    scd: Path,
    *,
    site: _Site = None,
    against: Annotated[tuple[Path, ...], Parameter(help="CID or IID files that must agree with this one.")] = (),
    as_json: _Json = False,
) -> None:
    """Validate a file; exit status 1 if there is an error, 0 if there are warnings at most."""
    others = [read(path) for path in against]
    findings = check_scl(load(scd), str(scd), normally_open=_normally_open(site), others=others)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        print(json.dumps({"errors": errors, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        _print_findings(findings)
        print(f"{scd}: {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise SystemExit(1)


def _print_findings(findings: list[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for finding in findings:
        style = "red" if finding.severity == "error" else "yellow"
        place = f"{finding.file}:{finding.line}: " if finding.line else f"{finding.file}: "
        console.print(Text(place) + Text(finding.severity, style) + Text(f" {finding.rule}: {finding.message}"))
        if finding.path:
            console.print(Text("    " + finding.path, "dim"))


def _normally_open(site: Path | None) -> list[str] | None:
    """Paths of the switches that a site file says are normally open."""
    if site is None:
        return None
    try:
        switches = tomllib.loads(site.read_text(encoding="utf-8")).get("switch", {})
        return [path for path, entry in switches.items() if entry["normal"] == "open"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise SclCommandError(f"{site}: no site file: {error!r}") from None


@app.command
def show(scd: Path, *, as_json: _Json = False) -> None:
    """Show what is in a file: IEDs with their logical nodes, data sets, GOOSE streams and inputs."""
    content = _content(read(scd))
    if as_json:
        print(json.dumps(content, indent=1))
    else:
        Console(highlight=False).print(_tree(str(scd), content))


def _content(scl: SCL) -> dict[str, Any]:
    index = GooseIndex(scl)
    edition = " ".join(part for part in (scl.version or "2003", scl.revision, str(scl.release or "")) if part)
    return {
        "edition": edition,
        "header": {"id": scl.header.id, "version": scl.header.version, "revision": scl.header.revision}
        if scl.header
        else {},
        "substations": [each.name for each in scl.substations],
        "lines": [each.name for each in scl.lines],
        "processes": [each.name for each in scl.processes],
        "subnetworks": {
            each.name: [f"{point.iedName} {point.apName}" for point in each.connected]
            for each in (scl.communication.subnetworks if scl.communication else ())
        },
        "ieds": {ied.name: _ied(index, ied) for ied in scl.ieds},
    }


def _ied(index: GooseIndex, ied: IED) -> dict[str, Any]:
    devices = {f"{point.name} {ldevice.inst}": _ldevice(index, ied, ldevice) for point, ldevice in ied.ldevices()}
    try:
        found, missing = index.subscriptions(ied.name)
        inputs: dict[str, Any] = {"streams": [each.stream.gocbRef for each in found]}
        if missing:
            inputs["unresolved"] = [each.reason for each in missing]
    except SclError as error:
        inputs = {"error": str(error)}
    return {"manufacturer": ied.manufacturer, "line": ied.line, "ldevices": devices, "inputs": inputs}


def _ldevice(index: GooseIndex, ied: IED, ldevice: LDevice) -> dict[str, Any]:
    return {
        "nodes": [node.name for node in ldevice.nodes()],
        "datasets": {
            f"{node.name}.{data_set.name}": len(data_set.members)
            for node in ldevice.nodes()
            for data_set in node.datasets
        },
        "goose": {control.name: _stream(index, ied, ldevice, control.name) for control in ldevice.ln0.gse_controls},
        "samples": [control.name for control in ldevice.ln0.sv_controls],
        "reports": [f"{node.name}.{report.name}" for node in ldevice.nodes() for report in node.reports],
    }


def _stream(index: GooseIndex, ied: IED, ldevice: LDevice, cbName: str) -> dict[str, Any]:
    try:
        stream = index.stream(ied.name, ldevice.inst, cbName)
    except SclError as error:
        return {"error": str(error)}
    if stream is None:
        return {"error": "no GOOSE"}
    address = stream.address
    return {
        "gocbRef": stream.gocbRef,
        "datSet": stream.datSet,
        "goID": stream.goID,
        "confRev": stream.confRev,
        "mac": address.mac.hex("-").upper() if address else None,
        "appid": f"{address.appid:04X}" if address else None,
        "vlan": f"{address.vlan_id:03X}" if address else None,
        "priority": address.vlan_priority if address else None,
        "members": [f"{member.reference} [{member.fc}] {member.type.bType}" for member in stream.members],
    }


def _tree(label: str, content: object) -> Tree:
    """Nested values as a tree; what is empty is left out."""
    tree = Tree(Text(label))
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, dict | list):
                if value:
                    tree.children.append(_tree(str(key), value))
            elif value not in {"", None}:
                tree.add(Text(f"{key}: {value}"))
    elif isinstance(content, list):
        for value in content:
            tree.add(Text(str(value)))
    return tree


@app.command
def topology(
    scd: Path,
    *,
    site: _Site = None,
    svg: Annotated[Path | None, Parameter(help="Draw the network into this file.")] = None,
    as_json: _Json = False,
) -> None:
    """Show switches, sections, sources and ties of the primary network.

    Without a site file, switches that join what is fed already are taken for ties.
    """
    network = primary_network(read(scd))
    if not network.switches:
        raise SclCommandError(f"{scd}: no switch with an agent")
    paths = _normally_open(site)
    is_open = (
        _loop_closers(network)
        if paths is None
        else {switch.number for switch in network.switches if switch.path in paths}
    )
    state = _state(network, is_open)
    if svg is not None:
        svg.write_text(feeder_svg(state, scd.name), encoding="utf-8")
    if as_json:
        print(json.dumps(_network(network, is_open), indent=1))
        return
    console = Console(highlight=False)
    console.print(feeder_text(state))
    table = Table("section", "bounded by", "equipment", title="sections", title_justify="left")
    for section in network.sections:
        bounds = " ".join(f"{network.switch(number).iedName}.{'AB'[side]}" for number, side in section.switches)
        kinds = " ".join(sorted({item.equipment.type for item in section.equipment}))
        table.add_row(Text(section.name, "bold" if section.is_source else ""), bounds, kinds)
    console.print(table)


def _loop_closers(network: PrimaryNetwork) -> set[int]:
    """Switches that join two sections which can be reached from sources without them, by breadth."""
    reached = {section.index for section in network.sections if section.is_source}
    closers: set[int] = set()
    passed: set[int] = set()
    queue = deque(sorted(reached))
    for section in network.sections:
        if not queue:
            if section.index in reached:
                continue
            reached.add(section.index)
            queue.append(section.index)
        while queue:
            for number, _ in network.sections[queue.popleft()].switches:
                if number in passed:
                    continue
                passed.add(number)
                new = [index for index in network.switch(number).sections if index not in reached]
                if not new:
                    closers.add(number)
                reached.update(new)
                queue.extend(new)
    return closers


def _state(network: PrimaryNetwork, is_open: set[int]) -> FeederState:
    """The network in its normal state, as the demo's pictures show it."""
    live: set[int] = set()
    stack = [section.index for section in network.sections if section.is_source]
    while stack:
        index = stack.pop()
        if index not in live:
            live.add(index)
            closed = [number for number, _ in network.sections[index].switches if number not in is_open]
            stack.extend(other for number in closed for other in network.switch(number).sections)
    names = [section.name for section in network.sections]
    return FeederState(
        tuple(SectionState(each.name, each.index in live, source=each.is_source) for each in network.sections),
        tuple(
            SwitchState(
                switch.iedName,
                switch.kind,
                names[switch.sections[0]],
                names[switch.sections[1]],
                "open" if switch.number in is_open else "closed",
                tie=switch.number in is_open,
            )
            for switch in network.switches
        ),
    )


def _network(network: PrimaryNetwork, is_open: set[int]) -> dict[str, Any]:
    return {
        "switches": [
            {
                "number": switch.number,
                "path": switch.path,
                "kind": switch.kind,
                "ied": switch.iedName,
                "sections": [network.sections[index].name for index in switch.sections],
                "normal": "open" if switch.number in is_open else "closed",
                "line": switch.equipment.line,
            }
            for switch in network.switches
        ],
        "sections": [
            {
                "name": section.name,
                "source": section.is_source,
                "switches": [{"number": number, "side": "AB"[side]} for number, side in section.switches],
                "nodes": list(section.nodes),
                "equipment": [{"path": item.path, "type": item.equipment.type} for item in section.equipment],
            }
            for section in network.sections
        ],
    }
