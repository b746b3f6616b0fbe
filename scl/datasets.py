"""Data sets resolved to typed members, in wire order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scl.types import TypedAttribute, TypeResolutionError

if TYPE_CHECKING:
    from scl.control_blocks import FCDA, DataSet
    from scl.ied import IED, LN, LN0
    from scl.model import SCL
    from scl.types import Types


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a data set.

    Attributes:
        reference: object reference, ``F1Q1FLISR/XCBR1.Pos.stVal``; an element of an array as
        ``HA.phsAHar(3)``.
        ln: logical node class with instance and prefix, ``XCBR1``.
        doName: data object, sub data objects after points.
        daName: attribute, components after points; empty for a whole data object.
        fc: functional constraint.
        type: basic type, enumeration literals, array size and nested attributes.
        fcda: where it stands in the file.
    """

    reference: str
    ln: str
    doName: str
    daName: str
    fc: str
    type: TypedAttribute
    fcda: FCDA


def resolve_data_set(scl: SCL, types: Types, ied: IED, data_set: DataSet) -> tuple[Member, ...]:
    """All members of a data set with their types.

    Args:
        scl: the file.
        types: its type templates.
        ied: the IED that has the data set.
        data_set: the data set.

    Raises:
        SclError: a member names a logical device, node, data object or attribute that the IED does not have.
    """
    return tuple(resolve_member(scl, types, ied, fcda) for fcda in data_set.members)


def resolve_member(scl: SCL, types: Types, ied: IED, fcda: FCDA) -> Member:
    """One member with its type; as ``resolve_data_set``."""
    ldevice = ied.ldevice(fcda.ldInst)
    if ldevice is None:
        raise scl.error("member", f"IED {ied.name} has no logical device {fcda.ldInst!r}", fcda)
    node: LN0 | LN | None = ldevice.node(fcda.prefix, fcda.lnClass, fcda.lnInst)
    name = fcda.prefix + fcda.lnClass + fcda.lnInst
    if node is None:
        raise scl.error("member", f"logical device {fcda.ldInst} of {ied.name} has no logical node {name!r}", fcda)
    if not fcda.doName:
        raise scl.error("member", "data set member without doName; members are data objects or attributes", fcda)
    try:
        found = types.resolve(node.lnType, fcda.doName, fcda.daName, fcda.fc, indexed=fcda.ix is not None)
    except TypeResolutionError as error:
        raise scl.error("types" if error.in_types else "member", str(error), fcda) from None
    index = "" if fcda.ix is None else f"({fcda.ix})"
    attribute = f".{fcda.daName}" if fcda.daName else ""
    reference = f"{ldevice.domain(ied.name)}/{name}.{fcda.doName}{index}{attribute}"
    return Member(reference, name, fcda.doName, fcda.daName, fcda.fc, found, fcda)
