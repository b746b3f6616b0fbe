"""What a site file says about IEC 60870-5-104: control centres and single points.

``[[centre]]`` and ``[point."IED/LN.DO"]`` as they are written, and what serves a centre. Field devices are in
:mod:`gateway.site_rtu`. All that is wrong is found at once, each with its path; sections of a list
are counted from 1, as in ``centre[1].link.w``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo, field_validator

from gateway.adapters.iec104_outlet import CentreConfig
from gateway.iec104.asdu import Sizes, TypeID
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import Image, Monitored
from gateway.iec104.link import LinkConfig
from gateway.iec104.server import PORT, TLS_PORT
from gateway.iec104.station import StationSettings
from gateway.iec104.time_tag import TimeBase
from gateway.points.assigned import AssignedError, read_assigned, write_assigned
from gateway.points.mapping_rules import Override, OverrideError
from gateway.points.point_list import OVERRIDE, Selection, default_row, point_list
from ied_agents.runtime.tls import TlsFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.points.assigned import AssignedAddress
    from gateway.points.point import PointConfig
    from gateway.points.point_list import PointList, PointRow
    from scl.model import SCL


class Strict(BaseModel):
    """A section of the site file: nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _type_id(value: object) -> object:
    """A type by its number or name, ``30`` or ``M_SP_TB_1``."""
    try:
        return TypeID[value] if isinstance(value, str) else TypeID(value)  # type: ignore[arg-type]
    except (KeyError, ValueError):
        raise ValueError(f"{value!r} is no type identification; expected a name or number such as M_SP_TB_1") from None


def _zone(value: str) -> str:
    try:
        TimeBase(value)
    except Iec104EncodeError as error:
        raise ValueError(str(error)) from None
    return value


def _address(value: str) -> str:
    ip_address(value)
    return value


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Period = Annotated[float, Field(ge=0, allow_inf_nan=False)]
CommonAddress = Annotated[int, Field(gt=0, lt=0xFFFF)]
ObjectAddress = Annotated[int, Field(gt=0, lt=1 << 24)]
_Port = Annotated[int, Field(ge=0, le=0xFFFF)]
TypeName = Annotated[TypeID, BeforeValidator(_type_id)]
ZoneName = Annotated[str, BeforeValidator(_zone)]
OwnAddress = Annotated[str, BeforeValidator(_address)]
_Network = Annotated[IPv4Network | IPv6Network, PlainValidator(lambda value: ip_network(str(value)))]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class SiteTls(Strict):
    """``tls``: PEM files, relative to the site file; see :class:`TlsFiles`."""

    certificate: str
    key: str
    authority: str
    revoked: str | None = None

    def files(self, folder: Path) -> TlsFiles:
        """The same as paths."""
        revoked = None if self.revoked is None else folder / self.revoked
        return TlsFiles(folder / self.certificate, folder / self.key, folder / self.authority, revoked)


class SiteSizes(Strict):
    """``sizes``: octets of cause of transmission, common address and information object address."""

    COT: Annotated[int, Field(ge=1, le=2)] = 2
    CA: Annotated[int, Field(ge=1, le=2)] = 2
    IOA: Annotated[int, Field(ge=1, le=3)] = 3

    def sizes(self) -> Sizes:
        """The same for the stack."""
        return Sizes(self.COT, self.CA, self.IOA)


class SiteLink(Strict):
    """``link``: window and time limits, see :class:`LinkConfig`; times in s."""

    k: int = 12
    w: int = 8
    t1_s: float = 15.0
    t2_s: float = 10.0
    t3_s: float = 20.0

    @field_validator("*")
    @classmethod
    def _possible(cls, value: Any, info: ValidationInfo) -> Any:
        """Each beside those before it, so that an error bears the name of the later one."""
        least: dict[str, Any] = {"w": 1, "t2_s": math.ulp(0.0)}
        assert info.field_name is not None
        LinkConfig(**(least | info.data | {info.field_name: value}))
        return value

    def config(self) -> LinkConfig:
        """The same for the stack."""
        return LinkConfig(self.k, self.w, self.t1_s, self.t2_s, self.t3_s)


class SitePoints(Strict):
    """``points``: which data objects a centre gets; see :class:`Selection`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    housekeeping: bool = False
    settings: bool = False
    addressed_only: bool = False


class SiteCentre(Strict):
    """``[[centre]]``: a control centre. Times in s.

    Attributes:
        listen: own address that its masters connect to.
        port: 2404, with TLS 19998; 0 for any.
        clients: networks that they connect from; none for any.
        certificates: common names of their certificates; none for any.
        common_address: one for all points that have none yet.
        assigned: file of addresses that were given before.
        overflow_CA: with ``overflow_IOA`` the address of a single point that is on while it loses events to
            ``most_events``; neither for none.
    """

    name: Name
    listen: OwnAddress
    port: _Port | None = None
    clients: tuple[_Network, ...] = ()
    certificates: tuple[str, ...] = ()
    tls: SiteTls | None = None
    sizes: SiteSizes = SiteSizes()
    link: SiteLink = SiteLink()
    time_zone: ZoneName = "UTC"
    command_age_s: Seconds = 60.0
    cyclic_s: Period = 0.0
    background_s: Period = 0.0
    most_events: Annotated[int, Field(gt=0)] = 100_000
    overflow_CA: CommonAddress | None = None
    overflow_IOA: ObjectAddress | None = None
    most_connections: Annotated[int, Field(gt=0)] = 8
    points: SitePoints = SitePoints()
    assigned: str | None = None
    common_address: CommonAddress | None = None

    @property
    def bound_port(self) -> int:
        """The port as given, or the standard's."""
        return self.port if self.port is not None else PORT if self.tls is None else TLS_PORT


class SitePoint(Strict):
    """``[point."IED/LN.DO"]``: what is not as the mapping has it; see :class:`Override`."""

    typeID: TypeName | None = None
    control_typeID: TypeName | None = None
    CA: CommonAddress | None = None
    IOA: ObjectAddress | None = None
    control_IOA: ObjectAddress | None = None
    scale: float | None = None
    offset: float | None = None
    inverted: bool | None = None
    expectedValue: int | None = None
    groups: frozenset[int] | None = None
    event_class: int | None = None
    deadband: float | None = None
    cyclic: bool | None = None
    background: bool | None = None

    @field_validator("*")
    @classmethod
    def _possible(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        faults = Override(**{info.field_name: value}).problems()
        if faults:
            raise ValueError("; ".join(faults))
        return value

    def override(self) -> Override:
        """The same for the point list."""
        return Override(**dict(self))


_OURS: Final = "flisr"
"""Source of the points that the gateway tells of itself."""
_ALL: Final = SiteCentre(name="all", listen="127.0.0.1", points=SitePoints(housekeeping=True, settings=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCentre:
    """A control centre as it is served.

    Attributes:
        config: for the outlet.
        listen: own address.
        port: TCP port.
        tls: its files; None for plain TCP.
        points: its point list with what was noted.
        assigned: file of assigned addresses; None for none.
    """

    config: CentreConfig
    listen: str
    port: int
    tls: TlsFiles | None
    points: PointList
    assigned: Path | None

    def keep_assigned(self) -> None:
        """Add the addresses that are new to the centre's file."""
        if self.assigned is not None and self.points.assigned != read_assigned(self.assigned):
            write_assigned(self.assigned, self.points.assigned)


def rows_for(
    points: SitePoints, overrides: dict[str, Override], scl: SCL, field_rows: Sequence[PointRow]
) -> tuple[PointList | None, list[str]]:
    """What is let through for somebody who has no use for addresses; and all that is wrong."""
    return _points_of(_ALL.model_copy(update={"points": points}), scl, overrides, Path(), field_rows)


# -- centres --------------------------------------------------------------------------------------------------------


def resolve_centres(
    centres: tuple[SiteCentre, ...],
    points: dict[str, SitePoint],
    scl: SCL,
    folder: Path,
    field_rows: Sequence[PointRow] = (),
) -> tuple[list[ServedCentre], list[str]]:
    """What serves the centres, and all that is wrong.

    Args:
        centres: ``[[centre]]``.
        points: ``[point]``.
        scl: the site's SCD.
        folder: of the site file.
        field_rows: points of field devices; a centre gets those that its ``points`` let through.
    """
    problems = _among(centres)
    overrides = {name: point.override() for name, point in points.items()}
    if overrides and not centres:
        problems += _points_of(_ALL, scl, overrides, folder, field_rows)[1]
    served = []
    for number, centre in enumerate(centres, 1):
        path = f"centre[{number}]"
        found, why = _points_of(centre, scl, overrides, folder, field_rows)
        problems += [each if each.startswith("point.") else f"{path}.{each}" for each in why]
        if found is None:
            continue
        tls = None if centre.tls is None else centre.tls.files(folder)
        station = StationSettings(
            sizes=centre.sizes.sizes(),
            link=centre.link.config(),
            time_base=TimeBase(centre.time_zone),
            command_age_s=centre.command_age_s,
            cyclic_s=centre.cyclic_s,
            background_s=centre.background_s,
            most_connections=centre.most_connections,
        )
        try:
            Image(Monitored(row.CA, row.IOA, row.typeID) for row in found.rows if not row.control).check(station.sizes)
            Image(Monitored(row.CA, row.IOA, TypeID.M_SP_NA_1) for row in found.rows if row.control).check(
                station.sizes
            )
        except Iec104EncodeError as error:
            problems.append(f"{path}.sizes: {error}")
        config = CentreConfig(
            centre.name,
            found.rows,
            station,
            centre.clients,
            frozenset(centre.certificates),
            centre.most_events,
            "" if centre.overflow_IOA is None else _overflow(centre),
        )
        served.append(
            ServedCentre(
                config=config,
                listen=centre.listen,
                port=centre.bound_port,
                tls=tls,
                points=found,
                assigned=None if centre.assigned is None else folder / centre.assigned,
            )
        )
    return served, list(dict.fromkeys(problems))


def all_points(
    points: dict[str, SitePoint], scl: SCL, field_rows: Sequence[PointRow], centres: Sequence[ServedCentre]
) -> list[PointConfig]:
    """All points that a site has, whoever gets them; of a site without problems."""
    overrides = {name: point.override() for name, point in points.items()}
    found, _ = _points_of(_ALL, scl, overrides, Path(), field_rows)
    assert found is not None
    # What has no address of its own in the list of all may have one in a centre's.
    rows = [*found.rows, *field_rows, *(row for centre in centres for row in centre.points.rows)]
    return found._replace(rows=rows).points()


def _among(centres: tuple[SiteCentre, ...]) -> list[str]:
    """What cannot be beside each other."""
    problems = []
    for number, centre in enumerate(centres, 1):
        path = f"centre[{number}]"
        if centre.certificates and centre.tls is None:
            problems.append(f"{path}.certificates: only with tls: without it nobody shows one")
        if (centre.overflow_CA is None) != (centre.overflow_IOA is None):
            missing = "overflow_CA" if centre.overflow_CA is None else "overflow_IOA"
            problems.append(f"{path}.{missing}: missing; a point has both")
        for before, other in enumerate(centres[: number - 1], 1):
            if other.name == centre.name:
                problems.append(f"{path}.name: {centre.name} is centre[{before}] too; each needs its own")
            if centre.assigned is not None and centre.assigned == other.assigned:
                problems.append(f"{path}.assigned: {centre.assigned} is that of centre[{before}]; each needs its own")
            if centre.bound_port == 0 or (centre.listen, centre.bound_port) != (other.listen, other.bound_port):
                continue
            if centre.tls != other.tls:
                problems.append(f"{path}.tls: centre[{before}] listens at the same address and port with another one")
            elif not _apart(other, centre):
                problems.append(
                    f"{path}: centre[{before}] listens there too and would get its masters; "
                    "give them clients or certificates that tell them apart, or another port"
                )
    return problems


def _apart(one: SiteCentre, other: SiteCentre) -> bool:
    if one.certificates and other.certificates and not set(one.certificates) & set(other.certificates):
        return True
    if not one.clients or not other.clients:
        return False
    return not any(a.version == b.version and a.overlaps(b) for a in one.clients for b in other.clients)


def _overflow(centre: SiteCentre) -> str:
    """Name of the point that tells a centre that it loses events."""
    return f"{_OURS}/{centre.name}.EvtLost"


def _others(
    centre: SiteCentre, selection: Selection, overrides: dict[str, Override], field_rows: Sequence[PointRow]
) -> list[PointRow]:
    """What a centre gets beside the points of the SCD."""
    rows = [
        row
        for row in field_rows
        if selection.shows(row.name) and (row.name in overrides or not selection.addressed_only)
    ]
    if centre.overflow_CA is not None and centre.overflow_IOA is not None:
        row = default_row(_overflow(centre), "SPS", _OURS, control=False, description="events are being lost")
        rows.append(replace(row, CA=centre.overflow_CA, IOA=centre.overflow_IOA, origin=OVERRIDE))
    return rows


def _points_of(
    centre: SiteCentre,
    scl: SCL,
    overrides: dict[str, Override],
    folder: Path,
    field_rows: Sequence[PointRow],
) -> tuple[PointList | None, list[str]]:
    before: list[AssignedAddress] = []
    problems: list[str] = []
    if centre.assigned is not None:
        file = folder / centre.assigned
        try:
            before = read_assigned(file)
        except AssignedError as error:
            problems.append(f"assigned: {error}")
        except OSError as error:
            problems.append(f"assigned: {file}: {error.strerror}")
    selection = Selection(**dict(centre.points))
    others = _others(centre, selection, overrides, field_rows)
    withheld = {row.name for row in field_rows} - {row.name for row in others}
    try:
        found = point_list(
            scl,
            selection=selection,
            overrides={name: override for name, override in overrides.items() if name not in withheld},
            assigned=before,
            common=centre.common_address,
            others=others,
        )
    except OverrideError as error:
        for name, reason in error.faults:
            near = get_close_matches(name, error.names | withheld, 3, 0.8) if name not in error.names else []
            problems.append(f'point."{name}": {reason}' + (f"; there is {', '.join(near)}" if near else ""))
        return None, problems
    problems += [f"points: {problem}" for problem in found.problems]
    if all(row.source == _OURS for row in found.rows):
        problems.append("points: no point is left")
    return found, problems
