"""The data model of one IED for libiec61850's server, built from its SCL description.

Logical devices and nodes, data objects and attributes with the values that the file gives, data sets, and report
control blocks. GOOSE control blocks are left out: the library would publish on a client's word, and only an agent
publishes for its switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.mms.library import FC, REPORT_OPTIONS
from scl.templates import SDO
from scl.types import TypeResolutionError, Types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.control_blocks import DataSet, ReportControl
    from scl.ied import DAI, DOI, IED, LN, LN0, SDI, LDevice
    from scl.model import SCL
    from scl.types import TypedAttribute

_MODEL_FCS: Final = frozenset(FC) - {"RP", "BR", "LG", "GO"}
_TYPE: Final = {
    "BOOLEAN": 0,
    "INT8": 1,
    "INT16": 2,
    "INT32": 3,
    "INT64": 4,
    "INT128": 5,
    "INT8U": 6,
    "INT16U": 7,
    "INT24U": 8,
    "INT32U": 9,
    "FLOAT32": 10,
    "FLOAT64": 11,
    "Enum": 12,
    "Octet64": 13,
    "Octet6": 14,
    "EntryID": 15,
    "VisString32": 16,
    "VisString64": 17,
    "VisString65": 18,
    "VisString129": 19,
    "ObjRef": 19,
    "VisString255": 20,
    "Unicode255": 21,
    "Timestamp": 22,
    "Quality": 23,
    "Check": 24,
    "Dbpos": 25,
    "Tcmd": 25,
    "SvOptFlds": 26,
    "Struct": 27,
    "EntryTime": 28,
    "PhyComAddr": 29,
    "Currency": 30,
    "OptFlds": 31,
    "TrgOps": 32,
}
"""``DataAttributeType`` by the basic type of SCL."""
_SIGNED: Final = frozenset(("INT8", "INT16", "INT32", "INT64", "Enum"))
_UNSIGNED: Final = frozenset(("INT8U", "INT16U", "INT24U", "INT32U"))
_TEXTS: Final = frozenset(name for name in _TYPE if name.startswith("VisString")) | {"ObjRef", "Currency"}
_BITS: Final = {"Dbpos": 2, "Tcmd": 2, "Quality": 13, "Check": 2}
_MOST_INSTANCES: Final = 99
_DEEPEST: Final = 10
_MOST_ATTRIBUTES: Final = 200_000


class MmsModelError(ValueError):
    """An IED whose SCL description makes no model; the message names the IED, the place and what was expected."""


class Attribute(NamedTuple):
    """A basic data attribute of a built model.

    Attributes:
        node: pointer to its model node.
        bType: its basic type as in SCL.
        literals: of an enumeration, ordinal by literal.
    """

    node: int
    bType: str
    literals: dict[str, int]


@dataclass(frozen=True, slots=True)
class Model:
    """A built model; it lives as long as the server made from it.

    Attributes:
        handle: pointer to it.
        iedName: of the IED.
        attributes: basic attributes by reference without the IED's name, ``FLISR/XCBR1.Pos.stVal``; elements of
            arrays with their index, ``FLISR/AFSR1.Ans.ans(0).sw``.
        controls: pointer to every data object with a control service, by reference, ``FLISR/CSWI1.Pos``.
    """

    handle: int
    iedName: str
    attributes: dict[str, Attribute]
    controls: dict[str, int]


def build(library: Any, scl: SCL, iedName: str) -> Model:
    """Build the model of an IED.

    Args:
        library: as loaded.
        scl: the file that describes the IED.
        iedName: its name.

    Raises:
        MmsModelError: it is not there, has no server, or its types do not resolve.
    """
    ied = next((ied for ied in scl.ieds if ied.name == iedName), None)
    if ied is None:
        raise MmsModelError(f"{iedName}: no such IED in the file; there are {', '.join(i.name for i in scl.ieds)}")
    if not any(True for _ in ied.ldevices()):
        raise MmsModelError(f"{iedName}: no access point of it has a server with logical devices")
    return _Builder(library, Types(scl.templates), ied).build()


class _Builder:
    """Builds one model. What is created belongs to the model and goes with it."""

    def __init__(self, library: Any, types: Types, ied: IED) -> None:
        self._library = library
        self._types = types
        self._ied = ied
        self._attributes: dict[str, Attribute] = {}
        self._controls: dict[str, int] = {}

    def build(self) -> Model:
        handle = self._library.IedModel_create(self._ied.name.encode())
        devices = [ldevice for _, ldevice in self._ied.ldevices()]
        nodes: list[tuple[LDevice, LN0 | LN, int]] = []
        for ldevice in devices:
            ldName = ldevice.ldName.encode() or None
            device = self._library.LogicalDevice_createEx(ldevice.inst.encode(), handle, ldName)
            for ln in ldevice.nodes():
                node = self._library.LogicalNode_create(ln.name.encode(), device)
                nodes.append((ldevice, ln, node))
                self._add_data_objects(ldevice, ln, node)
        # Data sets refer to nodes of any device, control blocks to data sets.
        for ldevice, ln, node in nodes:
            for data_set in ln.datasets:
                self._add_data_set(ldevice, data_set, node)
        for _, ln, node in nodes:
            for report in ln.reports:
                self._add_reports(report, node)
        return Model(handle, self._ied.name, self._attributes, self._controls)

    # -- data -----------------------------------------------------------------------------------------------------

    def _add_data_objects(self, ldevice: LDevice, ln: LN0 | LN, node: int) -> None:
        lnode_type = self._types.lnode_type(ln.lnType)
        if lnode_type is None:
            raise MmsModelError(f"{self._ied.name}: {ldevice.inst}/{ln.name}: no LNodeType {ln.lnType!r}")
        for do in lnode_type.data_objects:
            reference = f"{ldevice.inst}/{ln.name}.{do.name}"
            given = next((doi for doi in ln.doi if doi.name == do.name), None)
            try:
                self._add_data_object(reference, (ln.lnType, do.name), node, given)
            except TypeResolutionError as error:
                raise MmsModelError(f"{self._ied.name}: {reference}: {error}") from None

    def _add_data_object(self, reference: str, typed: tuple[str, str], parent: int, given: DOI | SDI | None) -> None:
        """A data object or sub data object.

        Args:
            reference: its own.
            typed: type of its logical node, and its name from there.
            parent: node that it belongs to.
            given: values of the instance.
        """
        lnType, doName = typed
        if doName.count(".") > _DEEPEST or len(self._attributes) > _MOST_ATTRIBUTES:
            raise TypeResolutionError("types nested too deep or of too many parts; do they contain themselves?")
        do_type, count = self._types.data_object(lnType, doName)
        made = self._library.DataObject_create(doName.split(".")[-1].encode(), parent, count)
        for place, node in self._elements(count, made):
            for part in do_type.parts():
                inner = f"{reference}{place}.{part.name}"
                if isinstance(part, SDO):
                    sub = next((sdi for sdi in given.sdi if sdi.name == part.name), None) if given else None
                    self._add_data_object(inner, (lnType, f"{doName}.{part.name}"), node, sub)
                elif part.fc in _MODEL_FCS:
                    attribute = self._types.resolve(lnType, doName, part.name, part.fc)
                    on = _triggers(dchg=part.dchg, qchg=part.qchg, dupd=part.dupd)
                    self._add_attribute(inner, attribute, node, (part.fc, on), given)
                    if part.fc == "CO":
                        self._controls[reference] = made

    def _add_attribute(
        self,
        reference: str,
        attribute: TypedAttribute,
        parent: int,
        service: tuple[str, int],
        given: DOI | SDI | None,
    ) -> None:
        """A data attribute or component of one, with what is below it.

        Args:
            reference: its own.
            attribute: its type.
            parent: node that it belongs to.
            service: its functional constraint and triggers.
            given: values of the instance.
        """
        kind = _TYPE.get(attribute.bType)
        if kind is None:
            raise MmsModelError(f"{self._ied.name}: {reference}: basic type {attribute.bType!r} is none of MMS")
        node = self._library.DataAttribute_create(
            attribute.name.encode(), parent, kind, FC[service[0]], service[1], attribute.count, 0
        )
        for place, element in self._elements(attribute.count, node):
            here = reference + place
            if attribute.attributes:
                sub = next((sdi for sdi in given.sdi if sdi.name == attribute.name), None) if given else None
                for component in attribute.attributes:
                    self._add_attribute(f"{here}.{component.name}", component, element, service, sub)
                continue
            literals = {literal: ordinal for ordinal, literal in attribute.literals}
            made = self._attributes[here] = Attribute(element, attribute.bType, literals)
            text = _value_of(given.dai if given else (), attribute.name) or attribute.default
            if text is not None:
                self._give(made, text)

    def _elements(self, count: int, node: int) -> Iterator[tuple[str, int]]:
        """The node itself, or of an array every element, with what their references end in."""
        if not count:
            yield "", node
        for index in range(count):
            yield f"({index})", self._library.ModelNode_getChildWithIdx(node, index)

    def _give(self, attribute: Attribute, text: str) -> None:
        value = read_text(attribute, text.strip())
        if value is None:
            return
        made = new_value(self._library, attribute, value)
        if made is None:
            return
        self._library.DataAttribute_setValue(attribute.node, made)
        self._library.MmsValue_delete(made)

    # -- data sets and reports ------------------------------------------------------------------------------------

    def _add_data_set(self, ldevice: LDevice, data_set: DataSet, node: int) -> None:
        made = self._library.DataSet_create(data_set.name.encode(), node)
        for fcda in data_set.members:
            device = next((d for _, d in self._ied.ldevices() if d.inst == fcda.ldInst), ldevice)
            ln = device.node(fcda.prefix, fcda.lnClass, fcda.lnInst)
            if ln is None:
                raise MmsModelError(
                    f"{self._ied.name}: data set {data_set.name}: no logical node "
                    f"{fcda.ldInst}/{fcda.prefix}{fcda.lnClass}{fcda.lnInst}"
                )
            names = [ln.name, fcda.fc, *fcda.doName.split("."), *(fcda.daName.split(".") if fcda.daName else ())]
            variable = "$".join(names)
            if device is not ldevice:
                variable = f"{device.ldName or device.inst}/{variable}"
            index = -1 if fcda.ix is None else fcda.ix
            self._library.DataSetEntry_create(made, variable.encode(), index, None)

    def _add_reports(self, report: ReportControl, node: int) -> None:
        on = report.triggers
        triggers = _triggers() if on is None else _triggers(on.dchg, on.qchg, on.dupd, on.period, on.gi)
        options = sum(bit for name, bit in REPORT_OPTIONS.items() if report.options and getattr(report.options, name))
        instances = min(report.enabled.max if report.enabled else 1, _MOST_INSTANCES)
        for number in range(1, instances + 1):
            name = f"{report.name}{number:02}" if report.indexed else report.name
            self._library.ReportControlBlock_create(
                name.encode(),
                node,
                report.rptID.encode() or None,
                report.buffered,
                report.datSet.encode() or None,
                report.confRev or 0,
                triggers,
                options,
                report.bufTime,
                report.intgPd,
            )


def _triggers(
    dchg: bool = False, qchg: bool = False, dupd: bool = False, period: bool = False, gi: bool = False
) -> int:
    """``TRG_OPT_…`` of the library."""
    return dchg * 1 | qchg * 2 | dupd * 4 | period * 8 | gi * 16


def _value_of(given: tuple[DAI, ...], name: str) -> str | None:
    dai = next((dai for dai in given if dai.name == name), None)
    return dai.values[0].value if dai is not None and dai.values else None


# -- values -----------------------------------------------------------------------------------------------------------


def read_text(attribute: Attribute, text: str) -> bool | int | float | str | None:
    """The value that a text of an SCL file stands for; None where it stands for none of this type."""
    try:
        if attribute.bType == "BOOLEAN":
            return {"true": True, "1": True, "false": False, "0": False}[text]
        if attribute.bType == "Enum":
            return attribute.literals[text] if text in attribute.literals else int(text)
        if attribute.bType == "Dbpos":
            literals = {"intermediate-state": 0, "off": 1, "on": 2, "bad-state": 3}
            return Dbpos(literals[text] if text in literals else int(text, 2))
        if attribute.bType in _SIGNED | _UNSIGNED:
            return int(text)
        if attribute.bType in ("FLOAT32", "FLOAT64"):
            return float(text)
    except (KeyError, ValueError):
        return None
    return text if attribute.bType in _TEXTS or attribute.bType == "Unicode255" else None


def new_value(library: Any, attribute: Attribute, value: bool | float | str | bytes) -> int | None:
    """A new MmsValue; whoever asks deletes it. None for a type that no value can be given.

    Args:
        library: as loaded.
        attribute: whose value it is to be.
        value: bool; int for integers, enumerations and, with the first bit the most significant, for bit strings
            (Dbpos, Quality); float; str; for a Timestamp the 8 octets of IEC 61850-8-1.
    """
    kind = attribute.bType
    made: int | None = None
    if kind == "BOOLEAN":
        made = library.MmsValue_newBoolean(bool(value))
    elif kind in _SIGNED:
        made = library.MmsValue_newIntegerFromInt64(int(value))
    elif kind in _UNSIGNED:
        made = library.MmsValue_newUnsignedFromUint32(int(value))
    elif kind == "FLOAT32":
        made = library.MmsValue_newFloat(float(value))
    elif kind in _BITS:
        made = library.MmsValue_newBitString(_BITS[kind])
        library.MmsValue_setBitStringFromIntegerBigEndian(made, int(value))
    elif kind == "Timestamp":
        made = library.MmsValue_newUtcTimeByMsTime(0)
        library.MmsValue_setUtcTimeByBuffer(made, value)
    elif kind in _TEXTS:
        made = library.MmsValue_newVisibleString(str(value).encode("ascii", "replace"))
    elif kind == "Unicode255":
        made = library.MmsValue_newMmsString(str(value).encode())
    return made
