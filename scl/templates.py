"""DataTypeTemplates: types of logical nodes, data objects and attributes (IEC 61850-6 clause 9.5)."""

# ruff: noqa: TC001  types of fields: the binding reads them at run time

from __future__ import annotations

from dataclasses import dataclass

from scl.binding import Described, Node, text
from scl.ied import Val


@dataclass(frozen=True, slots=True, kw_only=True)
class DO(Described):
    """A data object of a logical node type."""

    name: str
    type: str
    transient: bool = False
    accessControl: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LNodeType(Described):
    """Type of logical nodes."""

    id: str
    lnClass: str
    iedType: str = ""
    data_objects: tuple[DO, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SDO(Described):
    """A sub data object; ``count`` as in ``AnyDA``."""

    name: str
    type: str
    count: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtNs(Node):
    """Name space of protocol specific attributes."""

    type: str = "8-MMS"
    value: str = text("")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyDA(Described):
    """What attributes of data objects and components of structures have in common.

    Attributes:
        bType: basic type, or ``Struct`` or ``Enum`` with their ``type``.
        count: size of an array: a number or the name of an attribute that holds it; empty for no array.
    """

    name: str
    bType: str
    type: str = ""
    count: str = ""
    sAddr: str = ""
    valKind: str = "Set"
    valImport: bool = False
    values: tuple[Val, ...] = ()
    prot_ns: tuple[ProtNs, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DA(AnyDA):
    """An attribute of a data object type."""

    fc: str
    dchg: bool = False
    qchg: bool = False
    dupd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BDA(AnyDA):
    """A component of a structured attribute type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DOType(Described):
    """Type of data objects."""

    id: str
    cdc: str
    iedType: str = ""
    sdo: tuple[SDO, ...] = ()
    da: tuple[DA, ...] = ()

    def parts(self) -> list[SDO | DA]:
        """Sub data objects and attributes in the order of the file, which is their order on the wire."""
        place = {id(child): index for index, child in enumerate(self.element.children)}
        return sorted((*self.sdo, *self.da), key=lambda part: place[id(part.element)])


@dataclass(frozen=True, slots=True, kw_only=True)
class DAType(Described):
    """Type of structured attributes."""

    id: str
    iedType: str = ""
    bda: tuple[BDA, ...] = ()
    prot_ns: tuple[ProtNs, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumVal(Node):
    """One literal of an enumeration."""

    ord: int
    desc: str = ""
    value: str = text("")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumType(Described):
    """An enumeration."""

    id: str
    values: tuple[EnumVal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTypeTemplates(Node):
    """All types of a file."""

    lnode_types: tuple[LNodeType, ...] = ()
    do_types: tuple[DOType, ...] = ()
    da_types: tuple[DAType, ...] = ()
    enum_types: tuple[EnumType, ...] = ()
