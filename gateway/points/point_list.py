"""The point list: which information objects stand for an SCD's data objects, and where.

What becomes a point: every data object with a common data class of IEC TS 61850-80-1 that has a value of status or
measurand (fc ST, MX), and a command for each that may be operated (fc CO, ``ctlModel`` not ``status-only``). What a
control centre does not want unless somebody says so is left out:

* ``Mod``, ``Beh`` and ``Health`` of logical nodes; ``Beh`` and ``Health`` of LLN0 stay: they tell of a logical
  device whether it works. ``Mod`` is a command that takes a device out of service. (:attr:`Selection.housekeeping`)
* ``Proxy`` and ``Sim`` of LPHD, and of the supervision of streams (LGOS, LSVS) all but ``St``. (likewise)
* settings, SPG, ING and ASG: they are protection settings more often than set points. (:attr:`Selection.settings`)

An address in the SCD is such a word: what has one is in the list, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.iec104.asdu import TypeID
from gateway.points.assigned import GENERATED, Wanted, assign
from gateway.points.data_objects import (
    SETTINGS,
    VALUES,
    default_of,
    description_of,
    has_value,
    is_control,
    is_operable,
    meaning,
)
from gateway.points.mapping_rules import TYPES, Override, OverrideError, Rule, tagged
from gateway.points.point import PointConfig
from gateway.points.private_addresses import RULE, AddressReader
from scl.binding import MAX_PROBLEMS
from scl.document import SclError
from scl.types import TypeResolutionError, Types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.points.assigned import AssignedAddress
    from gateway.points.private_addresses import GivenAddress
    from scl.binding import Node
    from scl.ied import DOI, IED, LN, LN0, LDevice
    from scl.model import SCL
    from scl.templates import DO, DOType

SCD: Final = "scd"
OVERRIDE: Final = "override"
ASSIGNED: Final = "assigned"

_PHASED: Final = ("WYE", "DEL", "SEQ")
"""Classes that go by their sub data objects, each a CMV."""
_HOUSEKEEPING: Final = frozenset(("Mod", "Beh", "Health"))
_SUPERVISION: Final = frozenset(("LGOS", "LSVS"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which data objects become points, beside those that have an address in the SCD.

    Attributes:
        include: patterns such as ``*/XCBR*.Pos``; only what fits one of them. Empty for all.
        exclude: what fits one of them is left out, even with an address in the SCD.
        housekeeping: with what else is left out of every logical node, but settings.
        settings: with SPG, ING and ASG.
        addressed_only: nothing but what has an address in the SCD.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    housekeeping: bool = False
    settings: bool = False
    addressed_only: bool = False

    def shows(self, name: str) -> bool:
        """Whether the patterns let a data object through."""
        if self.excludes(name):
            return False
        return not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)

    def excludes(self, name: str) -> bool:
        """Whether a data object is left out, or, by ``LD/LN.``, all of a logical node."""
        return any(fnmatchcase(name, pattern) for pattern in self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRow:
    """A line of the point list: one information object.

    Attributes:
        CA: common address.
        IOA: information object address.
        typeID: of its events; an interrogation answers with the type without time tag. Of a command the one with
            time tag; the one without is understood too.
        control: control direction.
        name: the point: reference of the data object.
        attribute: of the data object: ``stVal``, ``mag``, ``general``, ``Oper.ctlVal``.
        cdc: common data class.
        source: IED.
        description: from the SCD.
        origin: who gave the address: ``scd``, ``override``, ``assigned`` (by the file) or ``generated`` (new).
        select: the command is to be selected first (``ctlModel`` sbo).
        element: see :class:`Rule`, as the next four.
        scale: factor from the process value to what is sent.
        offset: added after it.
        inverted: off is on.
        expectedValue: what ON stands for.
        groups: interrogation groups.
        event_class: priority of its events, 0 first.
        deadband: in the unit of the process value.
        cyclic: sent with every periodic scan.
        background: sent with every background scan.
        line: where it stands in the SCD.
    """

    CA: int
    IOA: int
    typeID: TypeID
    control: bool
    name: str
    attribute: str
    cdc: str
    source: str
    description: str = ""
    origin: str = GENERATED
    select: bool = False
    element: str = ""
    scale: float = 1.0
    offset: float = 0.0
    inverted: bool = False
    expectedValue: int | None = None
    groups: frozenset[int] = frozenset()
    event_class: int = 0
    deadband: float = 0.0
    cyclic: bool = False
    background: bool = False
    line: int = 0

    @property
    def object(self) -> str:
        """What has the address: the attribute's reference, with what tells several addresses of it apart."""
        expected = "" if self.expectedValue is None else f"={self.expectedValue}"
        return f"{self.name}.{self.attribute}{expected}{' inverted' if self.inverted else ''}"

    @property
    def rule(self) -> Rule:
        """How it stands for its data object."""
        return Rule(
            name=self.name,
            cdc=self.cdc,
            typeID=self.typeID,
            element=self.element,
            scale=self.scale,
            offset=self.offset,
            inverted=self.inverted,
            expectedValue=self.expectedValue,
        )


class PointList(NamedTuple):
    """What a file gives.

    Attributes:
        rows: by CA, IOA and direction.
        notes: addresses of the SCD that are understood and not used, and why.
        problems: what is wrong in the file, and where; what depends on it is not in the list.
        assigned: the file of assigned addresses as it is to be written.
    """

    rows: list[PointRow]
    notes: list[SclError]
    problems: list[SclError]
    assigned: list[AssignedAddress]

    def points(self) -> list[PointConfig]:
        """The points of the table, one for each data object."""
        found: dict[str, PointConfig] = {}
        for row in self.rows:
            known = found.get(row.name)
            if known is None or (row.deadband and not known.deadband):
                found[row.name] = PointConfig(
                    name=row.name,
                    cdc=row.cdc,
                    source=row.source,
                    deadband=row.deadband,
                    description=row.description,
                )
        return list(found.values())


def point_list(
    scl: SCL,
    *,
    selection: Selection | None = None,
    overrides: Mapping[str, Override] | None = None,
    assigned: Iterable[AssignedAddress] = (),
    common: int | None = None,
    others: Iterable[PointRow] = (),
) -> PointList:
    """The point list of an SCL file.

    Args:
        scl: the file.
        selection: which data objects; the default is said at the top.
        overrides: by name of the point.
        assigned: addresses that were given before.
        common: one common address for all that has none yet.
        others: rows of points beside those of the file, CA and IOA 0 where they are to be given; they are in the list
            whatever the selection. Of a point that the file has its own rows stand.

    Returns:
        The list. It does not depend on the order of IEDs, logical devices and nodes in the file.

    Raises:
        OverrideError: overrides name no point, or cannot be.
    """
    builder = _Builder(scl, selection or Selection(), overrides or {})
    builder.build(others)
    return builder.assigned(assigned, common)


@dataclass(frozen=True, slots=True)
class _DataObject:
    """A data object that may be a point."""

    source: str
    name: str
    steps: tuple[str, ...]  # sub data objects below the DOI
    do_type: DOType
    cdc: str
    description: str
    common: int | None
    node: Node  # where problems are located
    has_value: bool
    operable: bool
    select: bool
    wanted: bool


class _Builder:
    def __init__(self, scl: SCL, selection: Selection, overrides: Mapping[str, Override]) -> None:
        self._scl = scl
        self._types = Types(scl.templates)
        self._selection = selection
        self._overrides = overrides
        self._problems: list[SclError] = []
        self._notes: list[SclError] = []
        self._reader = AddressReader(scl.file, self._problems)
        self._rows: dict[str, PointRow] = {}
        self._open: dict[str, tuple[int | None, int | None]] = {}  # CA and IOA that are given, by object
        self._places: dict[str, Node | None] = {}
        self._names: set[str] = set()
        self._faults: list[tuple[str, str]] = []

    def build(self, others: Iterable[PointRow]) -> None:
        ieds: set[str] = set()
        for ied in self._scl.ieds:
            if ied.name in ieds:
                self._problem(f"second IED of the name {ied.name}", ied)
                continue
            ieds.add(ied.name)
            for access_point, ldevice in ied.ldevices():
                common = next(
                    (
                        address
                        for level in (ldevice, access_point, ied)
                        if (address := self._reader.common_address(level)) is not None
                    ),
                    None,
                )
                for node in ldevice.nodes():
                    own = self._reader.common_address(node)
                    self._node(ied, ldevice, node, common if own is None else own)
        beside = [row for row in others if row.name not in self._names]
        for row in beside:
            override = self._overrides.get(row.name)
            if override is not None and (faults := override.problems()):
                self._faults.append((row.name, "; ".join(faults)))
            else:
                self._add(row, None, row.CA or None, row.IOA or None, override, row.origin)
        self._names.update(row.name for row in beside)
        no_point = f"an override for no point of {self._scl.file or 'this file'}"
        self._faults += [(name, no_point) for name in self._overrides if name not in self._names]
        if self._faults:
            raise OverrideError(self._faults, self._names)

    def assigned(self, before: Iterable[AssignedAddress], common: int | None) -> PointList:
        """Give every row its address."""
        wanted = []
        for key, row in self._rows.items():
            CA, IOA = self._open[key]
            wanted.append(
                Wanted(
                    source=row.source,
                    object=key,
                    typeID=row.typeID,
                    control=row.control,
                    CA=CA,
                    IOA=IOA,
                    origin=row.origin,
                )
            )
        result = assign(wanted, before, common=common)
        for key, reason in result.problems:
            self._problem(f"{key}: {reason}", self._places[key])
        rows = [
            replace(
                self._rows[key],
                CA=CA,
                IOA=IOA,
                origin=ASSIGNED if key in result.kept else self._rows[key].origin,
            )
            for key, (CA, IOA) in result.addresses.items()
        ]
        rows.sort(key=lambda row: (row.CA, row.IOA, row.control, row.object))
        return PointList(rows, self._notes, self._problems, result.entries)

    def _problem(self, message: str, node: Node | None) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(
                SclError(message, rule=RULE) if node is None else self._scl.error(RULE, message, node)
            )

    def _note(self, message: str, address: GivenAddress) -> None:
        if len(self._notes) < MAX_PROBLEMS:
            element = address.element
            self._notes.append(SclError(message, file=self._scl.file, line=element.line, path=element.path, rule=RULE))

    def _node(self, ied: IED, ldevice: LDevice, node: LN0 | LN, common: int | None) -> None:
        prefix = f"{ldevice.domain(ied.name)}/{node.name}."
        if self._selection.excludes(prefix):
            return
        lnode_type = self._types.lnode_type(node.lnType)
        if lnode_type is None:
            self._problem(f"LNodeType {node.lnType} of {node.name} is unknown", node)
            return
        given: dict[str, list[GivenAddress]] = {}
        for doi in node.doi:
            given.setdefault(doi.name, []).extend(self._reader.of_data_object(doi))
        known = {item.name for item in lnode_type.data_objects}
        for doi in node.doi:
            if doi.name not in known and given.get(doi.name):
                self._problem(f"DOI {doi.name}: not in LNodeType {node.lnType}", doi)
        seen: set[str] = set()
        for item in lnode_type.data_objects:
            if item.name in seen:
                continue
            seen.add(item.name)
            own = next((doi for doi in node.doi if doi.name == item.name), None)
            addresses = given.get(item.name, [])
            for each in self._data_objects(ied, node, item, own, prefix, common, addresses):
                self._rows_of(each, addresses)

    def _data_objects(
        self,
        ied: IED,
        node: LN0 | LN,
        item: DO,
        doi: DOI | None,
        prefix: str,
        common: int | None,
        addresses: list[GivenAddress],
    ) -> Iterator[_DataObject]:
        """The data object, or those of its sub data objects, that may be points."""
        place: Node = node if doi is None else doi
        try:
            do_type, _ = self._types.data_object(node.lnType, item.name)
        except TypeResolutionError as error:
            self._problem(f"{node.name}.{item.name}: {error}", place)
            return
        parts: list[tuple[tuple[str, ...], DOType]] = [((), do_type)] if do_type.cdc in TYPES else []
        if do_type.cdc in _PHASED:
            for sdo in do_type.sdo:
                try:
                    phase, array = self._types.data_object(node.lnType, f"{item.name}.{sdo.name}")
                except TypeResolutionError as error:
                    self._problem(f"{node.name}.{item.name}: {error}", place)
                    continue
                if phase.cdc in TYPES and not array:
                    parts.append(((sdo.name,), phase))
        if not parts:
            for address in addresses:
                self._note(f"{item.name} is a {do_type.cdc}: no mapping to IEC 60870-5-104", address)
        for steps, part in parts:
            name = prefix + ".".join((item.name, *steps))
            model = node.value(item.name, *steps, "ctlModel") or default_of(part, "ctlModel")
            operable = is_operable(part, model)
            if name in self._names:
                self._problem(f"{name}: stands twice in the file", place)
                continue
            self._names.add(name)
            yield _DataObject(
                source=ied.name,
                name=name,
                steps=steps,
                do_type=part,
                cdc=part.cdc,
                description=description_of(node, item, doi),
                common=common,
                node=place,
                has_value=has_value(part),
                operable=operable,
                select=operable and model.startswith(("sbo", "2", "4")),
                wanted=self._wanted(node, item, part.cdc),
            )
        for address in addresses:
            if parts and not any(address.path[: len(steps)] == steps for steps, _ in parts):
                self._note(f"{item.name}: no data object that could be a point is at this address", address)

    def _wanted(self, node: LN0 | LN, item: DO, cdc: str) -> bool:
        selection = self._selection
        if selection.addressed_only or (cdc in SETTINGS and not selection.settings):
            return False
        if selection.housekeeping:
            return True
        if item.name in _HOUSEKEEPING:
            return node.lnClass == "LLN0" and item.name != "Mod"
        if node.lnClass in _SUPERVISION:
            return item.name == "St"
        return not (node.lnClass == "LPHD" and item.name in ("Proxy", "Sim"))

    def _rows_of(self, each: _DataObject, addresses: list[GivenAddress]) -> None:
        if not self._selection.shows(each.name):
            return
        override = self._overrides.get(each.name)
        if override is not None and (faults := override.problems()):
            self._faults.append((each.name, "; ".join(faults)))
            return
        directions: set[bool] = set()
        for address in addresses:
            depth = len(each.steps)
            if address.path[:depth] != each.steps:
                continue
            row = self._given(each, address, address.path[depth:])
            if row is not None:
                directions.add(row.control)
                self._add(row, each.node, address.CA or each.common, address.IOA, override, SCD)
        asked = each.wanted or override is not None
        if each.cdc in SETTINGS:
            if asked and each.operable and True not in directions:
                self._default(each, override, control=True)
            return
        if asked and each.has_value and False not in directions:
            self._default(each, override, control=False)
        if asked and each.operable and True not in directions and TYPES[each.cdc].control:
            self._default(each, override, control=True)

    def _default(self, each: _DataObject, override: Override | None, *, control: bool) -> None:
        row = _row(each, control=control, line=each.node.line)
        self._add(row, each.node, each.common, None, override, GENERATED)

    def _given(self, each: _DataObject, address: GivenAddress, path: tuple[str, ...]) -> PointRow | None:
        """The row of an address of the SCD; None, with a note, where it is about something else."""
        label = ".".join((each.name, *path))
        if address.indexed:
            self._note(f"{label}: elements of arrays are no points", address)
            return None
        if address.check or path[-1:] == ("Check",):
            self._note(f"{label}: checks of a command are asked for by the command's own settings", address)
            return None
        control = is_control(each.cdc, address, path)
        if control is None:
            self._reader.error(f"ti {address.typeID:d} neither tells of a data object nor commands it", address.element)
            return None
        attribute, element = meaning(each.cdc, path, control=control)
        if not attribute:
            self._note(f"{label}: this attribute of a {each.cdc} is not mapped", address)
            return None
        types = TYPES[each.cdc]
        possible = types.control if control else types.monitor
        if not possible:
            direction = "commanded" if control else "monitored"
            self._reader.error(f"{label}: a {each.cdc} cannot be {direction}", address.element)
            return None
        typeID = possible[0] if address.typeID is None else address.typeID
        if tagged(typeID) is not TypeID.M_SP_TB_1:
            element = ""
        row = replace(
            _row(each, control=control, line=address.element.line),
            typeID=typeID,
            attribute=attribute,
            element=element,
            scale=address.scale,
            offset=address.offset,
            inverted=address.inverted,
            expectedValue=address.expectedValue,
        )
        faults = row.rule.problems(control=control)
        if faults:
            self._reader.error(f"{label}: {'; '.join(faults)}", address.element)
            return None
        return row

    def _add(
        self,
        row: PointRow,
        node: Node | None,
        CA: int | None,
        IOA: int | None,
        override: Override | None,
        origin: str,
    ) -> None:
        if override is not None:
            row, given = _overridden(row, override)
            faults = row.rule.problems(control=row.control)
            if faults:
                self._faults.append((row.name, "; ".join(faults)))
            if given is not None:
                IOA, origin = given, OVERRIDE
            CA = CA if override.CA is None else override.CA
        key = row.object
        if key in self._rows:
            self._problem(f"{key}: a second address for the same", node)
            return
        self._rows[key] = replace(row, origin=origin if IOA is not None else GENERATED)
        self._open[key] = CA, IOA
        self._places[key] = node


def default_row(
    name: str, cdc: str, source: str, *, control: bool, description: str = "", select: bool = False, line: int = 0
) -> PointRow:
    """The row of a data object whose type and address nobody has said; its class has a type in that direction."""
    value = (SETTINGS[cdc],) if cdc in SETTINGS else ("Oper", "ctlVal") if control else VALUES[cdc]
    return PointRow(
        CA=0,
        IOA=0,
        typeID=(TYPES[cdc].control if control else TYPES[cdc].monitor)[0],
        control=control,
        name=name,
        attribute=".".join(value),
        cdc=cdc,
        source=source,
        description=description,
        select=select,
        line=line,
    )


def _row(each: _DataObject, *, control: bool, line: int) -> PointRow:
    return default_row(
        each.name,
        each.cdc,
        each.source,
        control=control,
        description=each.description,
        select=control and each.select,
        line=line,
    )


def _overridden(row: PointRow, override: Override) -> tuple[PointRow, int | None]:
    """The row as a site wants it, and its address if the site says one."""
    typeID = override.control_typeID if row.control else override.typeID
    changes: dict[str, Any] = {} if typeID is None else {"typeID": typeID}
    numeric = tagged(typeID or row.typeID) not in (TypeID.M_SP_TB_1, TypeID.C_SC_TA_1)
    for name in ("scale", "offset", "groups", "event_class", "deadband", "cyclic", "background"):
        value = getattr(override, name)
        if value is not None:
            changes[name] = value
    if override.inverted is not None:
        changes["inverted"] = override.inverted
    if override.expectedValue is not None and not numeric:
        changes["expectedValue"] = override.expectedValue
    return replace(row, **changes), override.control_IOA if row.control else override.IOA
