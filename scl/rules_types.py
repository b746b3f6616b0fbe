"""Rules on type templates and on the values that instances give."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from scl.binding import Node, boolean, decimal
from scl.frame_size import BASIC_TYPES
from scl.ied import DAI, SDI, AnyLN
from scl.templates import BDA, DA, DOType
from scl.types import ENUMERATION, STRUCTURE, TypeResolutionError, array_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scl.ied import DOI, Val
    from scl.rules import Checked, Finding
    from scl.templates import SDO

_CONSTRAINTS: Final = frozenset(("ST", "MX", "SP", "SV", "CF", "DC", "SG", "SE", "SR", "OR", "BL", "EX"))
_CONTROL_CONSTRAINT: Final = "CO"  # Edition 1 files and libiec61850's tools write it

_SIGNED: Final = {"INT8": 7, "INT16": 15, "INT24": 23, "INT32": 31, "INT64": 63, "INT128": 127}
_UNSIGNED: Final = {"INT8U": 8, "INT16U": 16, "INT24U": 24, "INT32U": 32}
_LITERALS: Final = {
    "Dbpos": ("intermediate", "off", "on", "bad", "intermediate-state", "bad-state"),
    "Tcmd": ("stop", "lower", "higher", "reserved"),
}
_TEXT_SIZE: Final = re.compile(r"(?:VisString|Unicode)([0-9]{1,3})", re.ASCII)


def references(checked: Checked) -> Iterator[Finding]:
    """Types that are referred to and are not there, basic types, functional constraints, array sizes."""
    types = checked.types
    templates = checked.scl.templates
    for ied in checked.scl.ieds:
        for node in ied.walk():
            if not isinstance(node, AnyLN) or "lnType" not in node.element.attributes:
                continue
            lnode_type = types.lnode_type(node.lnType)
            if lnode_type is None:
                yield checked.finding("type-missing", f"LNodeType {node.lnType} is not in the file", node)
            elif lnode_type.lnClass != node.lnClass:
                message = f"a {node.lnClass} of type {node.lnType}, which is for {lnode_type.lnClass}"
                yield checked.finding("type-class", message, node)
    if templates is None:
        return
    for lnode_type in templates.lnode_types:
        for do in lnode_type.data_objects:
            if types.do_type(do.type) is None:
                yield checked.finding("type-missing", f"DOType {do.type} is not in the file", do)
    for do_type in templates.do_types:
        for sdo in do_type.sdo:
            if types.do_type(sdo.type) is None:
                yield checked.finding("type-missing", f"DOType {sdo.type} is not in the file", sdo)
            yield from _size(checked, sdo, do_type.da)
        for da in do_type.da:
            if da.fc not in _CONSTRAINTS and da.fc != _CONTROL_CONSTRAINT:
                yield checked.finding("functional-constraint", f"{da.fc!r} is no functional constraint", da)
            yield from _attribute(checked, da, do_type.da)
    for da_type in templates.da_types:
        for bda in da_type.bda:
            yield from _attribute(checked, bda, da_type.bda)


def _attribute(checked: Checked, item: DA | BDA, siblings: Sequence[DA | BDA]) -> Iterator[Finding]:
    if item.bType not in BASIC_TYPES:
        yield checked.finding("basic-type", f"{item.bType!r} is no basic type", item)
    elif item.bType == STRUCTURE and checked.types.da_type(item.type) is None:
        yield checked.finding("type-missing", f"DAType {item.type} is not in the file", item)
    elif item.bType == ENUMERATION and checked.types.enum_type(item.type) is None:
        yield checked.finding("type-missing", f"EnumType {item.type} is not in the file", item)
    else:
        yield from _values(checked, item, item.values)
    yield from _size(checked, item, siblings)


def _size(checked: Checked, item: DA | BDA | SDO, siblings: Iterable[DA | BDA]) -> Iterator[Finding]:
    try:
        array_size(item, siblings)
    except TypeResolutionError as error:
        yield checked.finding("type-size", str(error), item)


def empty(checked: Checked) -> Iterator[Finding]:
    """Types without content."""
    templates = checked.scl.templates
    if templates is None:
        return
    contents: list[tuple[Node, object]] = [
        *((each, each.data_objects) for each in templates.lnode_types),
        *((each, each.sdo or each.da) for each in templates.do_types),
        *((each, each.bda) for each in templates.da_types),
        *((each, each.values) for each in templates.enum_types),
    ]
    for node, content in contents:
        if not content:
            yield checked.finding("type-empty", f"{node.element.tag} without content", node)


def recursive(checked: Checked) -> Iterator[Finding]:
    """Types that contain themselves; reported where the circle closes."""
    templates = checked.scl.templates
    if templates is None:
        return
    do_edges = {each.id: [(sdo.type, sdo) for sdo in each.sdo] for each in templates.do_types}
    da_edges = {each.id: _structures(each.bda) for each in templates.da_types}
    for edges in (do_edges, da_edges):
        yield from _circles(checked, edges)


def _structures(bda: Iterable[BDA]) -> list[tuple[str, BDA]]:
    return [(each.type, each) for each in bda if each.bType == STRUCTURE]


def _circles(
    checked: Checked, edges: dict[str, list[tuple[str, SDO]]] | dict[str, list[tuple[str, BDA]]]
) -> Iterator[Finding]:
    finished: set[str] = set()
    for start in edges:
        trail: list[str] = [start]
        under_way: dict[str, Iterator[tuple[str, Node]]] = {start: iter(edges[start])}
        while trail and start not in finished:
            current = trail[-1]
            target, node = next(under_way[current], (None, None))
            if target is None or node is None:
                finished.add(trail.pop())
            elif target in trail:
                yield checked.finding("type-recursive", f"type {target} contains itself", node)
            elif target in edges and target not in finished:
                trail.append(target)
                under_way[target] = iter(edges[target])


def instances(checked: Checked) -> Iterator[Finding]:
    """Values of instances: for data that the type has, and of its type."""
    for ied in checked.scl.ieds:
        for _, ldevice in ied.ldevices():
            for ln in ldevice.nodes():
                lnode_type = checked.type_of(ln)
                if lnode_type is None:
                    continue
                objects = {do.name: do for do in lnode_type.data_objects}
                for doi in ln.doi:
                    if doi.name not in objects:
                        message = f"{lnode_type.lnClass} of type {ln.lnType} has no data object {doi.name}"
                        yield checked.finding("instance-unknown", message, doi)
                        continue
                    do_type = checked.types.do_type(objects[doi.name].type)
                    if do_type is not None:
                        yield from _inside(checked, doi, do_type)


def _inside(checked: Checked, node: DOI | SDI, kind: DOType | tuple[BDA, ...]) -> Iterator[Finding]:
    """Compare what an instance gives with the parts of its type."""
    attributes: Sequence[DA | BDA] = kind.da if isinstance(kind, DOType) else kind
    inner: DOType | tuple[BDA, ...] | None
    children: tuple[SDI | DAI, ...] = (*node.sdi, *node.dai)
    for child in children:
        sdo = next((each for each in kind.sdo if each.name == child.name), None) if isinstance(kind, DOType) else None
        named = [each for each in attributes if each.name == child.name]
        if isinstance(child, SDI) and sdo is not None:
            inner = checked.types.do_type(sdo.type)
        elif not named or (isinstance(child, SDI) != (named[0].bType == STRUCTURE)):
            where = f"DOType {kind.id}" if isinstance(kind, DOType) else "its structure"
            yield checked.finding("instance-unknown", f"{where} has no {child.element.tag} {child.name}", child)
            continue
        elif isinstance(child, DAI):
            yield from _values(checked, named[0], child.values)
            continue
        else:
            inner = checked.types.da_type(named[0].type)
        if inner and isinstance(child, SDI):
            yield from _inside(checked, child, inner)


def _values(checked: Checked, item: DA | BDA, values: Iterable[Val]) -> Iterator[Finding]:
    for val in values:
        text = val.value.strip()
        if text and (expected := _mismatch(checked, item, text)):
            yield checked.finding("value-type", f"{item.name}: expected {expected}, found {text[:40]!r}", val)


def _mismatch(checked: Checked, item: DA | BDA, text: str) -> str:
    """What a value should have been; empty if it is well."""
    bType = item.bType
    if bType == ENUMERATION:
        enumeration = checked.types.enum_type(item.type)
        literals = [each.value.strip() for each in enumeration.values] if enumeration else [text]
        return "" if text in literals else f"a literal of EnumType {item.type}"
    if bType in _LITERALS:
        return "" if text in _LITERALS[bType] else f"one of {', '.join(_LITERALS[bType])}"
    if bType in _SIGNED:
        limit = 2 ** _SIGNED[bType]
        return "" if _is_integer(text, -limit, limit - 1) else f"an {bType}"
    if bType in _UNSIGNED:
        return "" if _is_integer(text, 0, 2 ** _UNSIGNED[bType] - 1) else f"an {bType}"
    if bType == "BOOLEAN":
        return _refused(boolean, text, "true or false")
    if bType in {"FLOAT32", "FLOAT64"}:
        return _refused(decimal, text, "a number")
    sized = _TEXT_SIZE.fullmatch(bType)
    return f"at most {sized[1]} characters" if sized and len(text) > int(sized[1]) else ""


def _is_integer(text: str, low: int, high: int) -> bool:
    return re.fullmatch("[+-]?[0-9]{1,39}", text, re.ASCII) is not None and low <= int(text) <= high


def _refused(convert: Callable[[str], object], text: str, expected: str) -> str:
    try:
        convert(text)
    except ValueError:
        return expected
    return ""


TYPE_CHECKS: Final = (references, empty, recursive, instances)
