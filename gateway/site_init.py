"""A first site file for an SCD: all that the SCD says, and for what it cannot say a value that does no harm.

Agents are in shadow and carry 1 A, the control centre is served at the loopback address: whoever takes the site into
service sets these. What cannot be followed stands in the file as a comment, with the reason.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.points.point_list import Selection, point_list
from gateway.site_ied import SiteIed, resolve_ieds
from scl.document import SclError
from scl.reader import read
from scl.topology import AGENT_CLASS, primary_network
from scl.types import Types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scl.ied import IED
    from scl.model import SCL
    from scl.topology import PrimaryNetwork


def site_text(scd: Path, file: Path) -> str:
    """The content of a site file for an SCD.

    Args:
        scd: to be read.
        file: where the content will stand; paths in it are relative to that.

    Raises:
        SclError: the SCD cannot be read, its primary network is not as its agents need it, or it has nothing to tell.
        OSError: it cannot be opened.
    """
    scl = read(scd)
    found: list[SclError] = []
    network = primary_network(scl, found)
    if found and any(_is_agent(ied) for ied in scl.ieds):
        raise found[0]  # without agents nobody asks for the network
    untyped = tuple(_untyped(scl))
    if not point_list(scl, selection=Selection(exclude=untyped)).rows:
        raise SclError("no IED in it has a data object that is a point: there is nothing for a gateway", file=str(scd))
    parts = [*_head(scd, file, network), *_centre(file, untyped), *_switches(network), *_ieds(scl, file.parent)]
    return "\n".join(parts) + "\n"


def _head(scd: Path, file: Path, network: PrimaryNetwork) -> Iterator[str]:
    yield f"# Site file of {scd.name}: set what is marked with SET, then ask `flisr check {file.name}`."
    yield "[site]"
    yield f"name = {_quoted(file.stem)}"
    yield f"scd = {_quoted(os.path.relpath(scd, file.parent))}"
    if network.switches:
        yield "shadow = true  # SET to false when all below is true: until then the agents operate nothing"
    yield ""
    yield "[history]"
    yield f"where = {_quoted(f'{file.stem}.sqlite')}"


def _centre(file: Path, untyped: tuple[str, ...]) -> Iterator[str]:
    yield ""
    yield "[[centre]]"
    yield 'name = "centre"'
    yield 'listen = "127.0.0.1"  # SET to the own address that its masters connect to'
    yield "common_address = 1"
    yield f"assigned = {_quoted(f'{file.stem}.addresses.csv')}  # keeps addresses when the SCD changes"
    if untyped:
        yield "# Their types are not in the SCD:"
        yield f"points = {{ exclude = [{', '.join(map(_quoted, untyped))}] }}"


def _untyped(scl: SCL) -> Iterator[str]:
    """Patterns for the logical nodes whose types the SCD does not have."""
    types = Types(scl.templates)
    for ied in scl.ieds:
        for _, ldevice in ied.ldevices():
            names = {node.name for node in ldevice.nodes() if types.lnode_type(node.lnType) is None}
            yield from (f"{ldevice.domain(ied.name)}/{name}.*" for name in sorted(names))


def _switches(network: PrimaryNetwork) -> Iterator[str]:
    for switch in network.switches:
        yield ""
        yield f"[switch.{_quoted(switch.path)}]"
        yield 'normal = "closed"  # SET'
        yield "rating_a = 1.0  # SET"
        yield "breaking_a = 1.0  # SET"
        yield "operating_time_ms = 100.0  # SET: the longest"
        if switch.kind == "breaker":
            yield "trip_delay_ms = 500.0  # SET: its own delay, graded with the others"


def _ieds(scl: SCL, folder: Path) -> Iterator[str]:
    for ied in scl.ieds:
        if _is_agent(ied):
            continue
        yield ""
        problem = _problem(scl, ied, folder)
        if problem:
            yield f"# {ied.name} is not followed: {problem}"
        yield from (f"# {line}" if problem else line for line in ("[[ied]]", f"name = {_quoted(ied.name)}"))


def _is_agent(ied: IED) -> bool:
    return any(ln.lnClass == AGENT_CLASS for _, ldevice in ied.ldevices() for ln in ldevice.lns)


def _problem(scl: SCL, ied: IED, folder: Path) -> str:
    """Why an IED cannot be followed by MMS; empty if it can."""
    if not any(ied.ldevices()):
        return "it has no logical device"
    try:
        given = SiteIed(name=ied.name)
    except ValueError:
        return "its name has characters that a site file does not take"
    devices, _, problems = resolve_ieds((given,), scl, [], folder)
    if problems:
        return "; ".join(problem.partition(": ")[2] for problem in problems)
    return "" if devices[0].points else "none of its data objects are points"


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
