"""What a site file says about field devices that speak IEC 60870-5-104: ``[[rtu]]``, and how they are talked to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from gateway.adapters.iec104_field import FieldControl, FieldPoint, FieldRtuConfig
from gateway.iec104.asdu import TypeID, untagged
from gateway.iec104.client import Reach
from gateway.iec104.master import MasterSettings
from gateway.iec104.server import PORT, TLS_PORT
from gateway.iec104.time_tag import TimeBase
from gateway.points.mapping_rules import TYPES, Rule
from gateway.points.point_list import PointRow, default_row
from gateway.site_iec104 import (
    CommonAddress,
    Name,
    ObjectAddress,
    OwnAddress,
    Period,
    Seconds,
    SiteLink,
    SiteSizes,
    SiteTls,
    Strict,
    TypeName,
    ZoneName,
)
from ied_agents.runtime.tls import TlsFiles, client_context

if TYPE_CHECKING:
    from pathlib import Path


class SiteRtuPoint(Strict):
    """``[[rtu.point]]``: an information object of a field device; CA: may be left out where the device has one.

    ``element`` as :class:`Rule` has it, ``select`` and ``terminated`` as :class:`FieldControl`.
    """

    name: Annotated[str, Field(min_length=1)]
    cdc: str
    typeID: TypeName
    IOA: ObjectAddress
    direction: Literal["monitor", "control"] = "monitor"
    CA: CommonAddress | None = None
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    inverted: bool = False
    expectedValue: int | None = None
    element: str = ""
    description: str = ""
    select: bool = False
    terminated: bool = True


class SiteRtu(Strict):
    """``[[rtu]]``: a field device. Times in s.

    Attributes:
        hosts: of its redundant links, each ``HOST`` or ``HOST:PORT``, IPv6 as ``[ADDRESS]:PORT``.
        source: own address to connect from.
        clock_s: its clock is set after each start and so often; 0 for never.
        confirm_s: how long it may take to confirm; less than the 10 s that a control centre waits for us.
    """

    name: Name
    hosts: Annotated[tuple[str, ...], Field(min_length=1)]
    CAs: Annotated[tuple[CommonAddress, ...], Field(min_length=1)]
    source: OwnAddress | Literal[""] = ""
    tls: SiteTls | None = None
    sizes: SiteSizes = SiteSizes()
    link: SiteLink = SiteLink()
    time_zone: ZoneName = "UTC"
    originator: Annotated[int, Field(ge=0, le=255)] = 0
    interrogate: bool = True
    counters: bool = False
    clock_s: Period = 0.0
    confirm_s: Seconds = 8.0
    terminate_s: Seconds = 60.0
    point: tuple[SiteRtuPoint, ...] = ()

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            split_host(each, PORT)
        return value


@dataclass(frozen=True, slots=True)
class RtuOfSite:
    """A field device as the site file has it.

    Attributes:
        config: for the adapter, without TLS.
        tls: its files; None for plain TCP.
        rows: its points for the control centres, which give them types and addresses of their own.
    """

    config: FieldRtuConfig
    tls: TlsFiles | None
    rows: tuple[PointRow, ...] = ()

    def ready(self) -> FieldRtuConfig:
        """With what the files hold.

        Raises:
            TlsError: names the first file that is wrong.
        """
        if self.tls is None:
            return self.config
        return replace(self.config, reach=replace(self.config.reach, tls=client_context(self.tls)))


def split_host(text: str, port: int) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT`` or ``[ADDRESS]:PORT``.

    Raises:
        ValueError: it is none of them.
    """
    host, colon, digits = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or (colon and not (digits.isdecimal() and 0 < int(digits) <= 0xFFFF)):
        raise ValueError(f"{text!r}; expected HOST, HOST:PORT or [ADDRESS]:PORT")
    return host, int(digits) if colon else port


def resolve_rtus(rtus: tuple[SiteRtu, ...], folder: Path) -> tuple[list[RtuOfSite], list[str]]:
    """How the field devices are talked to, and all that is wrong."""
    resolved: list[RtuOfSite] = []
    problems: list[str] = []
    names: dict[str, str] = {}
    for number, rtu in enumerate(rtus, 1):
        path = f"rtu[{number}]"
        problems += [
            f"{path}.name: {rtu.name} is rtu[{before}] too; each needs its own"
            for before, other in enumerate(rtus[: number - 1], 1)
            if other.name == rtu.name
        ]
        problems += [
            f"{path}.CAs: {CA} does not fit {rtu.sizes.CA} octet" for CA in rtu.CAs if CA >= (1 << 8 * rtu.sizes.CA) - 1
        ]
        if rtu.originator and rtu.sizes.COT == 1:
            problems.append(f"{path}.originator: there is none where the cause of transmission has one octet")
        objects, why = _objects(rtu, path, names)
        problems += why
        settings = MasterSettings(
            CAs=rtu.CAs,
            sizes=rtu.sizes.sizes(),
            link=rtu.link.config(),
            time_base=TimeBase(rtu.time_zone),
            originator=rtu.originator,
            interrogate=rtu.interrogate,
            counters=rtu.counters,
            clock_s=rtu.clock_s,
            confirm_s=rtu.confirm_s,
            terminate_s=rtu.terminate_s,
        )
        port = PORT if rtu.tls is None else TLS_PORT
        reach = Reach(rtu.name, tuple(split_host(host, port) for host in rtu.hosts), source=rtu.source)
        config = FieldRtuConfig(
            name=rtu.name,
            reach=reach,
            settings=settings,
            points=[each for each in objects if isinstance(each, FieldPoint)],
            controls=[each for each in objects if isinstance(each, FieldControl)],
        )
        resolved.append(RtuOfSite(config, None if rtu.tls is None else rtu.tls.files(folder), _rows(rtu)))
    return resolved, problems


def _rows(rtu: SiteRtu) -> tuple[PointRow, ...]:
    """One for each point and direction: that a device tells a point by several objects is no matter of a centre."""
    rows: dict[tuple[str, bool], PointRow] = {}
    for point in rtu.point:
        control = point.direction == "control"
        types = TYPES.get(point.cdc)
        if types is not None and (types.control if control else types.monitor):
            row = default_row(
                point.name, point.cdc, rtu.name, control=control, description=point.description, select=point.select
            )
            rows.setdefault((point.name, control), row)
    return tuple(rows.values())


def _objects(rtu: SiteRtu, path: str, names: dict[str, str]) -> tuple[list[FieldPoint | FieldControl], list[str]]:
    """The information objects of a device; ``names`` has those of the devices before it, with their path."""
    objects: list[FieldPoint | FieldControl] = []
    problems = []
    taken: dict[tuple[int, int, bool], str] = {}
    cdcs: dict[str, str] = {}
    for number, point in enumerate(rtu.point, 1):
        place = f"{path}.point[{number}]"
        control = point.direction == "control"
        CA = point.CA if point.CA is not None else rtu.CAs[0]
        if point.CA is None and len(rtu.CAs) > 1:
            problems.append(f"{place}.CA: missing; {rtu.name} has {', '.join(map(str, rtu.CAs))}")
        elif CA not in rtu.CAs:
            problems.append(f"{place}.CA: {CA} is none of {rtu.name}, which has {', '.join(map(str, rtu.CAs))}")
        if point.IOA >= 1 << 8 * rtu.sizes.IOA:
            problems.append(f"{place}.IOA: {point.IOA} does not fit {rtu.sizes.IOA} octets")
        other = taken.setdefault((CA, point.IOA, control), f"point[{number}]")
        if other != f"point[{number}]":
            problems.append(f"{place}.IOA: CA {CA} IOA {point.IOA}: {other} has it too")
        key = f"{point.name} {point.direction}"
        known = names.setdefault(key, place)
        # Each value of an enumeration may have a single point of its own, of one device.
        another = not control and point.expectedValue is not None and known.startswith(f"{path}.")
        if known != place and not another:
            problems.append(f"{place}.name: {point.name} is {known} too, in the same direction")
        if cdcs.setdefault(point.name, point.cdc) != point.cdc:
            problems.append(f"{place}.cdc: {point.cdc}, and {cdcs[point.name]} in the other direction")
        if point.cdc not in TYPES:
            problems.append(f"{place}.cdc: {point.cdc!r}; expected one of {', '.join(TYPES)}")
            continue
        if point.select and not control:
            problems.append(f"{place}.select: only in control direction")
        if point.select and untagged(point.typeID) is TypeID.C_BO_NA_1:
            problems.append(f"{place}.select: a bit string cannot be selected")
        rule = Rule(
            name=point.name,
            cdc=point.cdc,
            typeID=point.typeID,
            element=point.element,
            scale=point.scale,
            offset=point.offset,
            inverted=point.inverted,
            expectedValue=point.expectedValue,
        )
        problems += [f"{place}: {fault}" for fault in rule.problems(control=control)]
        if control:
            objects.append(
                FieldControl(CA=CA, IOA=point.IOA, rule=rule, select=point.select, terminated=point.terminated)
            )
        else:
            objects.append(FieldPoint(CA=CA, IOA=point.IOA, rule=rule))
    return objects, problems
