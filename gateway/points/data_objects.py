"""What an SCL file says of a data object that matters to a point list: its value, its command, its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.iec104.asdu import TypeID
from gateway.points.mapping_rules import TYPES, control_types, monitor_types, tagged

if TYPE_CHECKING:
    from gateway.points.private_addresses import GivenAddress
    from scl.ied import DOI, LN, LN0
    from scl.templates import DO, DOType

SETTINGS: Final = {"SPG": "setVal", "ING": "setVal", "ASG": "setMag"}
VALUES: Final = {
    "SPS": ("stVal",), "SPC": ("stVal",), "DPS": ("stVal",), "DPC": ("stVal",),
    "INS": ("stVal",), "INC": ("stVal",), "ENS": ("stVal",), "ENC": ("stVal",),
    "MV": ("mag",), "CMV": ("cVal", "mag"), "APC": ("mxVal",), "BAC": ("mxVal",),
    "BSC": ("valWTr",), "ISC": ("valWTr",), "BCR": ("actVal",), "SEC": ("cnt",),
    "ACT": ("general",), "ACD": ("general",),
}  # fmt: skip
"""The attribute with the value, by common data class."""
_PHASES: Final = frozenset(("phsA", "phsB", "phsC", "neut"))


def is_control(cdc: str, address: GivenAddress, path: tuple[str, ...]) -> bool | None:
    """Direction of an address: what its type says, else where it stands; None for a type that is neither."""
    if address.typeID is None:
        return cdc in SETTINGS or path[:1] in {("Oper",), ("SBO",), ("SBOw",), ("ctlVal",), ("Cancel",)}
    base = tagged(address.typeID)
    if base in _ALL_CONTROLS:
        return True
    return False if base in _ALL_MONITORED else None


_ALL_CONTROLS: Final = frozenset(typeID for cdc in TYPES for typeID in control_types(cdc)) | {
    TypeID.C_SC_TA_1, TypeID.C_DC_TA_1, TypeID.C_RC_TA_1,
}  # fmt: skip
_ALL_MONITORED: Final = frozenset(typeID for cdc in TYPES for typeID in monitor_types(cdc))


def meaning(cdc: str, path: tuple[str, ...], *, control: bool) -> tuple[str, str]:
    """Attribute and element that a path below the data object stands for; empty where none is mapped."""
    if control:
        if cdc in SETTINGS:
            return (SETTINGS[cdc], "") if path[:1] in {(), (SETTINGS[cdc],)} else ("", "")
        if path in {(), ("Oper",), ("ctlVal",)} or path[:2] == ("Oper", "ctlVal"):
            return "Oper.ctlVal", ""
        return "", ""
    value = VALUES.get(cdc, ())
    if cdc in ("ACT", "ACD") and len(path) == 1 and path[0] in _PHASES:
        return path[0], path[0]
    if path == () or path[: len(value)] == value or path == value[: len(path)]:
        return ".".join(value), ""
    return "", ""


def default_of(do_type: DOType, attribute: str) -> str:
    """The value that a type gives an attribute; empty for none."""
    found = next((da for da in do_type.da if da.name == attribute and da.values), None)
    return found.values[0].value.strip() if found else ""


def has_value(do_type: DOType) -> bool:
    """Whether it tells a status or a measured value."""
    value = VALUES.get(do_type.cdc, ("",))[0]
    return any(da.name == value and da.fc in {"ST", "MX"} for da in do_type.da)


def is_operable(do_type: DOType, model: str) -> bool:
    """Whether it takes commands, with this ``ctlModel``."""
    if do_type.cdc in SETTINGS:
        # Settings of a group (fc SG) are changed by editing the group.
        return any(da.fc == "SP" and da.name == SETTINGS[do_type.cdc] for da in do_type.da)
    if model in {"status-only", "0"}:
        return False
    # Edition 1 had ctlVal itself with fc CO.
    return any(da.fc == "CO" and da.name in {"Oper", "ctlVal"} for da in do_type.da)


def description_of(node: LN0 | LN, item: DO, doi: DOI | None) -> str:
    """What people call it."""
    own = doi.desc if doi else ""
    return " ".join((own or node.value(item.name, "d") or item.desc).split())
