"""Rules on structure and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scl import communication, control_blocks, ied, substation, templates
from scl.binding import Node, Private
from scl.ied import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scl.rules import Checked, Finding

_EDITIONS: Final = {
    ("", "", None), ("2003", "", None), ("2007", "A", None), ("2007", "B", None), ("2007", "B", 4), ("2007",
    "B", 5), ("2007", "C", None), ("2007", "C", 5),
}  # fmt: skip

_KEYS: Final[dict[type[Node], Callable[[Any], object]]] = {
    **{
        kind: (lambda node: node.name)
        for kind in (
            substation.Substation, substation.Line, substation.Process, substation.VoltageLevel,
            substation.Bay, substation.ConductingEquipment, substation.GeneralEquipment,
            substation.PowerTransformer, substation.TransformerWinding, substation.SubEquipment,
            substation.Function, substation.SubFunction, substation.EqFunction, substation.EqSubFunction,
            communication.SubNetwork, ied.IED, ied.AccessPoint, control_blocks.Log,
            control_blocks.DataSet, control_blocks.GSEControl, control_blocks.SampledValueControl,
            control_blocks.ReportControl, control_blocks.LogControl,
            templates.DO, templates.SDO, templates.BDA,
        )
    },
    **{
        kind: (lambda node: node.id)
        for kind in (templates.LNodeType, templates.DOType, templates.DAType, templates.EnumType)
    },
    **{kind: (lambda node: (node.name, node.ix)) for kind in (ied.DOI, ied.SDI, ied.DAI)},
    templates.DA: lambda node: (node.name, node.fc),
    templates.EnumVal: lambda node: node.ord,
    ied.LDevice: lambda node: node.inst,
    ied.LN: lambda node: (node.prefix, node.lnClass, node.inst),
    communication.ConnectedAP: lambda node: (node.iedName, node.apName),
    communication.GSE: lambda node: (node.ldInst, node.cbName),
    communication.SMV: lambda node: (node.ldInst, node.cbName),
    communication.P: lambda node: node.type,
}  # fmt: skip
"""What must differ among the elements of a kind inside one parent."""


def unknown_parts(checked: Checked) -> Iterator[Finding]:
    """Elements and attributes of SCL's name space that have no meaning where they stand."""
    for node in checked.scl.walk():
        if isinstance(node, Private | Services):
            continue
        element = node.element
        for child in element.elements():
            if child.namespace == element.namespace and child.local not in node.known_children():
                yield checked.finding("element-unknown", f"{child.tag} in {element.tag}", Node(element=child))
        known = node.known_attributes()
        for name in element.attributes:
            if ":" not in name and name != "xmlns" and name not in known:
                yield checked.finding("attribute-unknown", f"attribute {name} of {element.tag}", node)


def edition(checked: Checked) -> Iterator[Finding]:
    """Version, revision and release."""
    scl = checked.scl
    if (scl.version, scl.revision, scl.release) not in _EDITIONS:
        release = "" if scl.release is None else f" release {scl.release}"
        yield checked.finding("edition", f"version {scl.version!r} revision {scl.revision!r}{release}", scl)


def header(checked: Checked) -> Iterator[Finding]:
    """A file has a header."""
    if checked.scl.header is None:
        yield checked.finding("element-missing", "SCL without Header", checked.scl)


def duplicate_names(checked: Checked) -> Iterator[Finding]:
    """Names that stand twice among elements of one kind inside one parent."""
    for parent in checked.scl.walk():
        seen: dict[tuple[type[Node], object], Node] = {}
        for node in parent.typed_children():
            key_of = _KEYS.get(type(node))
            if key_of is None:
                continue
            key = key_of(node)
            first = seen.setdefault((type(node), key), node)
            if first is not node:
                name = "/".join(str(part) for part in key if part) if isinstance(key, tuple) else key
                tag = node.element.tag
                yield checked.finding("name-duplicate", f"second {tag} {name}; the first is in line {first.line}", node)


def duplicate_domains(checked: Checked) -> Iterator[Finding]:
    """Logical devices with one name in references, as ``A`` + ``BC`` and ``AB`` + ``C``."""
    seen: dict[str, tuple[str, str]] = {}
    for device in checked.ieds.values():
        for _, ldevice in device.ldevices():
            domain = ldevice.domain(device.name)
            other = seen.setdefault(domain, (device.name, ldevice.inst))
            if other[0] != device.name or (other[1] != ldevice.inst):
                message = f"logical device {domain} is also that of IED {other[0]}, inst {other[1]}"
                yield checked.finding("domain-duplicate", message, ldevice)


STRUCTURE_CHECKS: Final = (unknown_parts, edition, header, duplicate_names, duplicate_domains)
