"""What a site file says about field devices that speak IEC 61850 MMS: ``[[ied]]``, and how they are talked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from gateway.adapters.goose_field import GooseFieldConfig
from gateway.adapters.goose_plan import goose_plan
from gateway.adapters.mms_field import MmsFieldConfig
from gateway.adapters.mms_plan import plan
from gateway.points.point_list import point_list
from gateway.site_iec104 import Name, Seconds, SiteTls, Strict
from gateway.site_rtu import split_host
from scl.streams import GooseIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.points.point_list import PointRow
    from scl.model import SCL

PORT: Final = 102
TLS_PORT: Final = 3782


class SiteIed(Strict):
    """``[[ied]]``: an IED of the SCD that is followed by MMS, by GOOSE or by both. Times in s.

    Attributes:
        name: of the IED in the SCD.
        host: ``HOST`` or ``HOST:PORT``; its address of the SCD if left out; port 102, with TLS 3782.
        timeout_s: of each request; less than the 10 s that a control centre waits for us.
        poll_s: period in which is read what no report tells.
        mms: it is followed by MMS; False for one that is only heard.
        goose: interface on which its GOOSE is heard; None if it is not.
        goose_blocks: control blocks that are heard, ``gcb1`` or ``LD0/gcb1``; if left out, all that tell points.
        tls: its certificate must come from our authority, and ours from one of its own; None for plain TCP.
    """

    name: Name
    host: str | None = None
    timeout_s: Annotated[Seconds, Field(le=8.0)] = 5.0
    poll_s: Seconds = 5.0
    tls: SiteTls | None = None
    mms: bool = True
    goose: Name | None = None
    goose_blocks: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None


def resolve_ieds(
    ieds: tuple[SiteIed, ...], scl: SCL, wanted: Sequence[PointRow], folder: Path, section: str = "ied"
) -> tuple[list[MmsFieldConfig], list[GooseFieldConfig], list[str]]:
    """How the IEDs are followed by MMS and by GOOSE, and all that is wrong.

    What a GOOSE control block tells that is heard is not followed by MMS: an event is told once.

    Args:
        ieds: ``[[ied]]``.
        scl: the site's SCD.
        wanted: point lists of control centres and brokers: what is in them is followed, and what one would have that
            says nothing else.
        folder: of the site file.
        section: of the site file that they stand in.
    """
    resolved: list[MmsFieldConfig] = []
    heard: list[GooseFieldConfig] = []
    problems: list[str] = []
    if not ieds:
        return resolved, heard, problems
    index = GooseIndex(scl)
    rows: list[PointRow] = [*point_list(scl).rows, *wanted]
    for number, given in enumerate(ieds, 1):
        path = f"{section}[{number}]"
        problems += [
            f"{path}.name: {given.name} is {section}[{before}] too"
            for before, other in enumerate(ieds[: number - 1], 1)
            if other.name == given.name
        ]
        ied = scl.ied(given.name)
        if ied is None:
            there = ", ".join(each.name for each in scl.ieds) or "none"
            problems.append(f"{path}.name: the SCD has no IED {given.name}; it has {there}")
            continue
        if not given.mms and given.goose is None:
            problems.append(f"{path}.mms: false, and no goose: it would not be followed at all")
            continue
        if given.goose_blocks is not None and given.goose is None:
            problems.append(f"{path}.goose: missing; goose_blocks are heard on an interface")
            continue
        found = plan(scl, ied, rows)
        problems += [f"{path}: {problem}" for problem in found.problems]
        told: set[str] = set()
        if given.goose is not None:
            by_goose = goose_plan(index, given.name, found.points, given.goose_blocks or ())
            problems += [f"{path}.{problem}" for problem in by_goose.problems]
            heard.append(GooseFieldConfig(name=given.name, interface=given.goose, blocks=by_goose.blocks))
            told = {point.config.name for block in by_goose.blocks for point in block.points}
        if not given.mms:
            continue
        found = plan(scl, ied, [row for row in rows if row.control or row.name not in told])
        host = given.host or _address(scl, given.name)
        if not host:
            problems.append(f"{path}.host: missing; the SCD has no IP address of {given.name}")
            continue
        try:
            reach = split_host(host, PORT if given.tls is None else TLS_PORT)
        except ValueError as error:
            problems.append(f"{path}.host: {error}")
            continue
        resolved.append(
            MmsFieldConfig(
                name=given.name,
                host=reach[0],
                port=reach[1],
                points=found.points,
                controls=found.controls,
                blocks=found.blocks,
                timeout_s=given.timeout_s,
                poll_s=given.poll_s,
                tls=None if given.tls is None else given.tls.files(folder),
            )
        )
    return resolved, heard, problems


def _address(scl: SCL, name: str) -> str:
    """The IED's IP address, if the SCD has one."""
    for subnetwork in scl.communication.subnetworks if scl.communication else ():
        for connected in subnetwork.connected:
            parameter = connected.address.get("IP") if connected.iedName == name and connected.address else None
            if parameter is not None and parameter.value.strip():
                return parameter.value.strip()
    return ""
