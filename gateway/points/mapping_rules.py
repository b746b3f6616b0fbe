"""Rules of IEC TS 61850-80-1: types by common data class, quality bit by bit both ways, what a site may override."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.iec104.asdu import Qds, TypeID
from gateway.points.point import KINDS, Kind, PointError
from ied_agents.iec61850.quality import SIZE as QUALITY_SIZE
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.iec61850.utctime import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Mapping


class MappingError(ValueError):
    """A rule that cannot be, or a command that a rule has no place for; says which point."""


class OverrideError(PointError):
    """Overrides that cannot be.

    Attributes:
        faults: name of the point, and why.
        names: all points that could have one.
    """

    def __init__(self, faults: list[tuple[str, str]], names: set[str]) -> None:
        super().__init__("\n".join(f"{name}: {reason}" for name, reason in faults))
        self.faults = faults
        self.names = names


class CdcTypes(NamedTuple):
    """Types of IEC 60870-5-104 for a common data class; the first is the default.

    Attributes:
        monitor: in monitor direction, with CP56Time2a.
        control: in control direction, with CP56Time2a; without it they are understood too.
    """

    monitor: tuple[TypeID, ...] = ()
    control: tuple[TypeID, ...] = ()


SP, DP, ST, BO = TypeID.M_SP_TB_1, TypeID.M_DP_TB_1, TypeID.M_ST_TB_1, TypeID.M_BO_TB_1
NVA, SVA, R32 = TypeID.M_ME_TD_1, TypeID.M_ME_TE_1, TypeID.M_ME_TF_1
IT, SPE, OCI = TypeID.M_IT_TB_1, TypeID.M_EP_TE_1, TypeID.M_EP_TF_1
SC, DC, RC = TypeID.C_SC_TA_1, TypeID.C_DC_TA_1, TypeID.C_RC_TA_1
SE_NVA, SE_SVA, SE_R32, C_BO = TypeID.C_SE_TA_1, TypeID.C_SE_TB_1, TypeID.C_SE_TC_1, TypeID.C_BO_TA_1

TYPES: Final[dict[str, CdcTypes]] = {
    "SPS": CdcTypes((SP,)),
    "SPC": CdcTypes((SP,), (SC,)),
    "DPS": CdcTypes((DP,)),
    "DPC": CdcTypes((DP,), (DC,)),
    # 35 rather than 30 and 33: it needs to be told nothing about the number to be right.
    "INS": CdcTypes((SVA, SP, BO)),
    "ENS": CdcTypes((SVA, SP)),
    "ENC": CdcTypes((SVA, SP), (SE_SVA, SC)),
    "INC": CdcTypes((SVA,), (SE_SVA,)),
    # 36 rather than 35: without a scale per point a scaled value loses what is behind the point.
    "MV": CdcTypes((R32, SVA)),
    "CMV": CdcTypes((R32, SVA)),
    "APC": CdcTypes((R32,), (SE_R32,)),
    "BAC": CdcTypes((R32,), (RC,)),
    "BSC": CdcTypes((ST,), (RC,)),
    "ISC": CdcTypes((ST,), (SE_SVA,)),
    "BCR": CdcTypes((IT,)),
    "SEC": CdcTypes((IT,)),
    "ACT": CdcTypes((SP, SPE)),
    "ACD": CdcTypes((SP, OCI)),
    "SPG": CdcTypes((), (SC,)),
    "ING": CdcTypes((), (SE_SVA,)),
    "ASG": CdcTypes((), (SE_R32,)),
}
"""IEC TS 61850-80-1: types by common data class. WYE, DEL and SEQ go by their sub data objects, each a CMV."""

_NUMBER_TYPES: Final = frozenset((NVA, SVA, R32))
_PROTECTION: Final = frozenset((SP, SPE, OCI))
_POSSIBLE: Final[dict[Kind, frozenset[TypeID]]] = {
    Kind.SINGLE: frozenset((SP,)),
    Kind.DOUBLE: frozenset((DP,)),
    Kind.INTEGER: _NUMBER_TYPES | {SP, BO},
    Kind.FLOAT: _NUMBER_TYPES,
    Kind.STEP: frozenset((ST,)),
    Kind.COUNTER: frozenset((IT,)),
    Kind.ACTIVATION: _PROTECTION,
    Kind.DIRECTION: _PROTECTION,
}
"""Types, with time tag, that can say what a point of a kind says; an override may choose among them."""
SET_POINTS: Final = frozenset((SE_NVA, SE_SVA, SE_R32))
_POSSIBLE_CONTROL: Final[dict[str, frozenset[TypeID]]] = {
    "SPC": frozenset((SC,)),
    "SPG": frozenset((SC,)),
    "DPC": frozenset((DC,)),
    "ENC": SET_POINTS | {SC, C_BO},
    "INC": SET_POINTS | {SC, C_BO},
    "ING": SET_POINTS | {SC, C_BO},
    "APC": SET_POINTS,
    "ASG": SET_POINTS,
    "BAC": frozenset((RC,)),
    "BSC": frozenset((RC,)),
    "ISC": SET_POINTS,
}

_TAGGED: Final[dict[int, TypeID]] = {
    1: SP, 2: SP, 3: DP, 4: DP, 5: ST, 6: ST, 7: BO, 8: BO, 9: NVA, 10: NVA, 21: NVA, 11: SVA, 12: SVA,
    13: R32, 14: R32, 15: IT, 16: IT, 18: SPE, 19: OCI,
    45: SC, 46: DC, 47: RC, 48: SE_NVA, 49: SE_SVA, 50: SE_R32, 51: C_BO,
}  # fmt: skip
_SHORT_TIME: Final = frozenset((2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19))


def tagged(typeID: TypeID) -> TypeID:
    """The type that says the same with CP56Time2a."""
    return _TAGGED.get(typeID, typeID)


def monitor_types(cdc: str) -> frozenset[TypeID]:
    """All types with time tag that can say what a point of this class says; empty for a setting."""
    return _POSSIBLE[KINDS[cdc]] if TYPES[cdc].monitor else frozenset()


def control_types(cdc: str) -> frozenset[TypeID]:
    """All types with time tag that can command a point of this class; empty where it cannot be."""
    return _POSSIBLE_CONTROL.get(cdc, frozenset())


# ---------------------------------------------------------------- quality

OV, BL, SB, NT, IV = int(Qds.OV), int(Qds.BL), int(Qds.SB), int(Qds.NT), int(Qds.IV)
EI: Final = 0x08
"""QDP (IEC 60870-5-101 7.2.6.4): the elapsed time is invalid. Its other bits are those of the QDS, without OV."""
TEST: Final = Quality(test=True).to_int()


def _to_qds(quality: Quality) -> int:
    doubtful = quality.validity is Validity.QUESTIONABLE and (quality.inconsistent or quality.inaccurate)
    # The reserved validity says nothing good.
    invalid = quality.validity in (Validity.INVALID, Validity.RESERVED) or doubtful
    return (
        (IV if invalid else 0)
        | (NT if quality.oldData else 0)
        | (SB if quality.substituted else 0)
        | (BL if quality.operatorBlocked else 0)
        | (OV if quality.overflow else 0)
    )


_QDS: Final = tuple(_to_qds(Quality.from_int(number)) for number in range(1 << QUALITY_SIZE))


def _to_quality(qds: int) -> int:
    doubtful = Validity.QUESTIONABLE if qds & (OV | NT) else Validity.GOOD
    validity = Validity.INVALID if qds & IV else doubtful
    return Quality(
        validity,
        overflow=bool(qds & OV),
        oldData=bool(qds & NT),
        substituted=bool(qds & SB),
        operatorBlocked=bool(qds & BL),
    ).to_int()


_QUALITY: Final = tuple(_to_quality(octet) for octet in range(256))
WITH_OVERFLOW: Final = frozenset((ST, BO, NVA, SVA, R32))
"""Types with a QDS; SIQ, DIQ and QDP have all of its bits but OV, BCR only IV."""


def qds_of(quality: int, *, overflow: bool = True) -> int:
    """Quality bits of IEC 60870-5-101 for those of IEC 61850.

    IV: invalid, or questionable as inconsistent or inaccurate. NT: oldData. SB: substituted. BL: operatorBlocked.
    OV: overflow, where the element has it. Test is a bit of the ASDU. The other bits have
    no counterpart.

    Args:
        quality: the 13 bits as :meth:`Quality.to_int` has them.
        overflow: the element is a measured value, a step position or a bit string: it has OV.
    """
    return _QDS[quality] if overflow else _QDS[quality] & ~OV


def quality_of(qds: int, *, overflow: bool = True, test: bool = False) -> int:
    """Quality bits of IEC 61850 for those of IEC 60870-5-101.

    IV makes it invalid; OV or NT without IV make it questionable.

    Args:
        qds: the octet; bits that are no quality are ignored.
        overflow: the lowest bit is OV, not part of the value.
        test: test bit of the ASDU.
    """
    quality = _QUALITY[qds & 0xFF if overflow else qds & 0xFE]
    return quality | TEST if test else quality


DISTRUSTED: Final = int(TimeQuality.CLOCK_FAILURE | TimeQuality.NOT_SYNCHRONISED)
"""Bits of a time's quality for which its time tag has IV."""


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What a site sets for one point in place of the standard's mapping; None leaves a part as it is.

    Attributes:
        typeID: type in monitor direction; one without time tag sends events without it.
        control_typeID: type in control direction.
        CA: common address of both directions, 1 to 65534.
        IOA: information object address in monitor direction, 1 to 16777215.
        control_IOA: the one in control direction.
        scale: factor from the process value to what is sent; for a normalised value the reciprocal of what is 1.
        offset: added after that, in the unit of what is sent.
        inverted: single and double points, and commands to them, turned round: off is on.
        expectedValue: of an enumeration or number behind a single point: what ON stands for.
        groups: interrogation groups 1 to 16 it is in; a counter's 1 to 4.
        event_class: priority of its events in the buffer, 0 is sent first.
        deadband: in the unit of the process value.
        cyclic: sent with every periodic scan.
        background: sent with every background scan.
    """

    typeID: TypeID | None = None
    control_typeID: TypeID | None = None
    CA: int | None = None
    IOA: int | None = None
    control_IOA: int | None = None
    scale: float | None = None
    offset: float | None = None
    inverted: bool | None = None
    expectedValue: int | None = None
    groups: frozenset[int] | None = None
    event_class: int | None = None
    deadband: float | None = None
    cyclic: bool | None = None
    background: bool | None = None

    def problems(self) -> list[str]:
        """What is out of range."""
        found = []
        if self.CA is not None and not 0 < self.CA < 0xFFFF:
            found.append(f"CA {self.CA}; expected 1 to 65534")
        for label, address in (("IOA", self.IOA), ("control_IOA", self.control_IOA)):
            if address is not None and not 0 < address < 1 << 24:
                found.append(f"{label} {address}; expected 1 to 16777215")
        for label, factor in (("scale", self.scale), ("offset", self.offset)):
            if factor is not None and not math.isfinite(factor):
                found.append(f"{label} {factor}; expected a number")
        if self.scale == 0:
            found.append("scale 0; nothing could be told from it")
        if self.groups is not None and not self.groups <= set(range(1, 17)):
            found.append(f"groups {sorted(self.groups)}; expected some of 1 to 16")
        if self.event_class is not None and self.event_class < 0:
            found.append(f"event_class {self.event_class}; expected 0 or more")
        if self.deadband is not None and not self.deadband >= 0:
            found.append(f"deadband {self.deadband}; expected 0 or more")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one information object stands for a data object.

    Attributes:
        name: of the point.
        cdc: its common data class.
        typeID: of the information object; its direction is that of the rule.
        element: of a protection event behind a single point: ``general``, ``phsA``, ``phsB``, ``phsC`` or ``neut``;
            empty for ``general``.
        scale: see :class:`Override`, as the others.
        offset: added after the scale.
        inverted: off is on.
        expectedValue: what ON stands for.
    """

    name: str
    cdc: str
    typeID: TypeID
    element: str = ""
    scale: float = 1.0
    offset: float = 0.0
    inverted: bool = False
    expectedValue: int | None = None

    def problems(self, *, control: bool) -> list[str]:
        """Why it cannot be."""
        types = TYPES.get(self.cdc)
        if types is None:
            return [f"common data class {self.cdc!r} has no mapping"]
        possible = control_types(self.cdc) if control else monitor_types(self.cdc)
        if self.typeID in _SHORT_TIME:
            return [f"type {self.typeID:d} has no date; IEC 60870-5-104 uses the type with CP56Time2a instead"]
        base = tagged(self.typeID)
        direction = "control" if control else "monitor"
        if base not in possible:
            there = ", ".join(f"{each:d}" for each in sorted(possible)) or "none"
            return [f"type {self.typeID:d} cannot {direction} a {self.cdc}; types that can: {there}"]
        found = Override(scale=self.scale, offset=self.offset).problems()
        enumerated = KINDS[self.cdc] is Kind.INTEGER and base in (SP, SC)
        if enumerated and self.expectedValue is None and (control or self.cdc != "INS"):
            found.append(f"a {self.cdc} as type {self.typeID:d} needs expectedValue")
        if self.expectedValue is not None and not enumerated:
            found.append(f"expectedValue with type {self.typeID:d} of a {self.cdc}; it is for numbers as ON or OFF")
        if self.inverted and base not in (SP, DP, SC, DC):
            found.append(f"type {self.typeID:d} cannot be inverted; 30, 31, 58 and 59 can")
        if self.element and (base is not SP or self.element not in places_of(self.cdc)):
            found.append(f"type {self.typeID:d} of a {self.cdc} has no element {self.element!r}")
        return found


def places_of(cdc: str) -> Mapping[str, int]:
    """Where each phase stands in the value of a protection event."""
    if cdc == "ACT":
        return {"general": 0, "phsA": 1, "phsB": 2, "phsC": 3, "neut": 4}
    return {"general": 0, "phsA": 2, "phsB": 3, "phsC": 4, "neut": 5} if cdc == "ACD" else {}


def require(rule: Rule, *, control: bool) -> None:
    """Refuse a rule that cannot be.

    Raises:
        MappingError: says the point and all reasons.
    """
    problems = rule.problems(control=control)
    if problems:
        raise MappingError(f"{rule.name}: {'; '.join(problems)}")
