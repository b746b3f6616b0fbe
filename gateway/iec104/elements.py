"""Type identifications and their information elements (IEC 60870-5-101, 7.2.6 and 7.3), to octets and back.

One table, :data:`ELEMENTS`, says for every type what an information object has after its address: the element that
holds value and qualifier, a CP16Time2a or not, a time tag or not. All of it is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple, TypeAlias

from gateway.iec104.time_tag import CP24Time2a, CP56Time2a


class TypeID(IntEnum):
    """Type identification; those of file transfer (120 to 127) are left out."""

    M_SP_NA_1 = 1
    M_SP_TA_1 = 2
    M_DP_NA_1 = 3
    M_DP_TA_1 = 4
    M_ST_NA_1 = 5
    M_ST_TA_1 = 6
    M_BO_NA_1 = 7
    M_BO_TA_1 = 8
    M_ME_NA_1 = 9
    M_ME_TA_1 = 10
    M_ME_NB_1 = 11
    M_ME_TB_1 = 12
    M_ME_NC_1 = 13
    M_ME_TC_1 = 14
    M_IT_NA_1 = 15
    M_IT_TA_1 = 16
    M_EP_TA_1 = 17
    M_EP_TB_1 = 18
    M_EP_TC_1 = 19
    M_PS_NA_1 = 20
    M_ME_ND_1 = 21
    M_SP_TB_1 = 30
    M_DP_TB_1 = 31
    M_ST_TB_1 = 32
    M_BO_TB_1 = 33
    M_ME_TD_1 = 34
    M_ME_TE_1 = 35
    M_ME_TF_1 = 36
    M_IT_TB_1 = 37
    M_EP_TD_1 = 38
    M_EP_TE_1 = 39
    M_EP_TF_1 = 40
    C_SC_NA_1 = 45
    C_DC_NA_1 = 46
    C_RC_NA_1 = 47
    C_SE_NA_1 = 48
    C_SE_NB_1 = 49
    C_SE_NC_1 = 50
    C_BO_NA_1 = 51
    C_SC_TA_1 = 58
    C_DC_TA_1 = 59
    C_RC_TA_1 = 60
    C_SE_TA_1 = 61
    C_SE_TB_1 = 62
    C_SE_TC_1 = 63
    C_BO_TA_1 = 64
    M_EI_NA_1 = 70
    C_IC_NA_1 = 100
    C_CI_NA_1 = 101
    C_RD_NA_1 = 102
    C_CS_NA_1 = 103
    C_TS_NA_1 = 104
    C_RP_NA_1 = 105
    C_CD_NA_1 = 106
    C_TS_TA_1 = 107
    P_ME_NA_1 = 110
    P_ME_NB_1 = 111
    P_ME_NC_1 = 112
    P_AC_NA_1 = 113


class Qds(IntFlag):
    """Quality descriptor. All but OV stand at the same bits in SIQ, DIQ and QDP."""

    OV = 0x01
    BL = 0x10
    SB = 0x20
    NT = 0x40
    IV = 0x80


class Step(NamedTuple):
    """A step position (VTI).

    Attributes:
        position: -64 to 63.
        transient: the equipment is under way.
    """

    position: int
    transient: bool


Value: TypeAlias = bool | int | float | Step | None


class InformationObject(NamedTuple):
    """One object of an ASDU.

    Attributes:
        IOA: information object address.
        value: by element. SIQ, SCO: bool. DIQ, DCO, RCO, SEP: int 0 to 3. VTI: :class:`Step`. BSI: int of 32 bits.
            NVA: float, -1 to 1 - 2**-15 in steps of 2**-15. SVA: int of 16 bits with sign. R32: float of single
            precision. BCR: int of 32 bits with sign. SCD: int of 32 bits, the states below and the changes above.
            SPE, OCI: int, their octet. FBP, TSC: int of 16 bits. None where there is nothing but a qualifier or time.
        qualifier: the octet beside the value, or those bits of the value's octet that are not the value: QDS, QDP,
            the quality bits of SIQ and DIQ, the upper bits of SCO, DCO and RCO (S/E at 0x80), QOS, QPM, the counter's
            sequence octet, QOI, QCC, QRP, QPA, COI; 0 where the type has none.
        time: of those types that have a tag.
        elapsed_ms: CP16Time2a, 0 to 65535: duration or operating time of protection; of C_CD_NA_1 the delay.
    """

    IOA: int
    value: Value
    qualifier: int = 0
    time: CP56Time2a | CP24Time2a | None = None
    elapsed_ms: int = 0


Write: TypeAlias = Callable[[Any, int], bytes]
"""Octets of a value and its qualifier; struct.error, TypeError, ValueError or OverflowError if they have none."""
Read: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Value and qualifier from where they begin in a buffer that is long enough."""


class Element(NamedTuple):
    """What an information object of one type has after its address.

    Attributes:
        typeID: the type.
        write: see :data:`Write`.
        read: see :data:`Read`.
        core: octets of value and qualifier.
        elapsed: a CP16Time2a follows.
        tag: the time tag at the end.
        size: octets altogether.
        sequence: whether the standard has it with SQ = 1.
        alone: whether the standard has it alone in an ASDU only.
        layout: of value and qualifier as struct has it; empty where they need more than that.
    """

    typeID: TypeID
    write: Write
    read: Read
    core: int
    elapsed: bool
    tag: type[CP56Time2a | CP24Time2a] | None
    size: int
    sequence: bool
    alone: bool
    layout: str


class _Form(NamedTuple):
    write: Write
    read: Read
    core: int
    layout: str = ""


def _plain(layout: str) -> _Form:
    """A value as struct knows it, and the qualifier's octet: no Python between caller and struct."""
    wire = struct.Struct("<" + layout + "B")
    return _Form(wire.pack, wire.unpack_from, wire.size, layout + "B")


def _bare(layout: str) -> _Form:
    """A value as struct knows it, without qualifier."""
    wire = struct.Struct("<" + layout)

    def write(value: Any, qualifier: int) -> bytes:
        if qualifier:
            raise ValueError("this type has no qualifier")
        return wire.pack(value)

    def read(octets: bytes, offset: int) -> tuple[Any, int]:
        return wire.unpack_from(octets, offset)[0], 0

    return _Form(write, read, wire.size)


def _bits(mask: int, kind: type[int]) -> _Form:
    """Value and qualifier share an octet; the value has the bits of ``mask``, the lowest."""
    table = tuple((kind(octet & mask), octet & ~mask) for octet in range(256))

    def write(value: Any, qualifier: int) -> bytes:
        if not 0 <= value <= mask:
            raise ValueError(f"the value is 0 to {mask}")
        if qualifier & mask:
            raise ValueError(f"0x{mask:02X} of the qualifier's octet is the value")
        return bytes((value | qualifier,))

    def read(octets: bytes, offset: int) -> tuple[Any, int]:
        return table[octets[offset]]

    return _Form(write, read, 1)


def _step() -> _Form:
    """VTI, QDS."""
    table = tuple(Step((octet & 0x7F ^ 0x40) - 0x40, transient=octet >= 0x80) for octet in range(256))

    def write(value: Any, qualifier: int) -> bytes:
        position, transient = value
        if not -64 <= position <= 63:
            raise ValueError("a step position is -64 to 63")
        return bytes((position & 0x7F | bool(transient) << 7, qualifier))

    def read(octets: bytes, offset: int) -> tuple[Any, int]:
        return table[octets[offset]], octets[offset + 1]

    return _Form(write, read, 2)


def _normalised(*, qualified: bool) -> _Form:
    """NVA, with the octet of a qualifier or not."""
    form = _plain("h") if qualified else _bare("h")

    def write(value: Any, qualifier: int) -> bytes:
        return form.write(round(value * 32768), qualifier)

    def read(octets: bytes, offset: int) -> tuple[Any, int]:
        value, qualifier = form.read(octets, offset)
        return value / 32768, qualifier

    return _Form(write, read, form.core)


def _nothing(core: int) -> _Form:
    """No value; the octet of a qualifier or not even that."""

    def write(value: Any, qualifier: int) -> bytes:
        if value is not None:
            raise ValueError("this type has no value")
        return qualifier.to_bytes(core, "little")

    def read(octets: bytes, offset: int) -> tuple[Any, int]:
        return None, octets[offset] if core else 0

    return _Form(write, read, core)


_SIQ = _bits(1, bool)
_DIQ = _bits(3, int)
_VTI = _step()
_BSI = _plain("I")  # SCD has the same shape
_NVA = _normalised(qualified=True)
_SVA = _plain("h")
_R32 = _plain("f")
_BCR = _plain("i")
_PACKED = _plain("B")  # SPE or OCI, QDP
_STRING = _bare("I")
_OCTET = _nothing(1)
_EMPTY = _nothing(0)
_PATTERN = _bare("H")

ENCODING_FAULTS: Final = (struct.error, TypeError, ValueError, OverflowError, AttributeError)
"""What the ``write`` of an element raises for what has no encoding."""

_P: Final = TypeID  # short, for the table below
_SEQUENCES: Final = frozenset((1, 3, 5, 7, 9, 11, 13, 15, 20, 21))
_PACKED_EVENTS: Final = frozenset((18, 19, 39, 40))
_FIRST_COMMAND: Final = 45


def _element(typeID: TypeID, form: _Form, tag: type[CP56Time2a | CP24Time2a] | None, *, elapsed: bool) -> Element:
    size = form.core + 2 * elapsed + (tag.SIZE if tag else 0)
    alone = typeID in _PACKED_EVENTS or typeID >= _FIRST_COMMAND
    write, read, core, layout = form
    return Element(typeID, write, read, core, elapsed, tag, size, typeID in _SEQUENCES, alone, layout)


_UNTAGGED: Final = {
    _P.M_SP_NA_1: _SIQ,
    _P.M_DP_NA_1: _DIQ,
    _P.M_ST_NA_1: _VTI,
    _P.M_BO_NA_1: _BSI,
    _P.M_ME_NA_1: _NVA,
    _P.M_ME_NB_1: _SVA,
    _P.M_ME_NC_1: _R32,
    _P.M_IT_NA_1: _BCR,
    _P.M_PS_NA_1: _BSI,
    _P.M_ME_ND_1: _normalised(qualified=False),
    _P.C_SC_NA_1: _SIQ,
    _P.C_DC_NA_1: _DIQ,
    _P.C_RC_NA_1: _DIQ,
    _P.C_SE_NA_1: _NVA,
    _P.C_SE_NB_1: _SVA,
    _P.C_SE_NC_1: _R32,
    _P.C_BO_NA_1: _STRING,
    _P.M_EI_NA_1: _OCTET,
    _P.C_IC_NA_1: _OCTET,
    _P.C_CI_NA_1: _OCTET,
    _P.C_RD_NA_1: _EMPTY,
    _P.C_TS_NA_1: _PATTERN,
    _P.C_RP_NA_1: _OCTET,
    _P.P_ME_NA_1: _NVA,
    _P.P_ME_NB_1: _SVA,
    _P.P_ME_NC_1: _R32,
    _P.P_AC_NA_1: _OCTET,
}
_WITH_CP24: Final = {
    _P.M_SP_TA_1: _SIQ,
    _P.M_DP_TA_1: _DIQ,
    _P.M_ST_TA_1: _VTI,
    _P.M_BO_TA_1: _BSI,
    _P.M_ME_TA_1: _NVA,
    _P.M_ME_TB_1: _SVA,
    _P.M_ME_TC_1: _R32,
    _P.M_IT_TA_1: _BCR,
}
_WITH_CP56: Final = {
    _P.M_SP_TB_1: _SIQ,
    _P.M_DP_TB_1: _DIQ,
    _P.M_ST_TB_1: _VTI,
    _P.M_BO_TB_1: _BSI,
    _P.M_ME_TD_1: _NVA,
    _P.M_ME_TE_1: _SVA,
    _P.M_ME_TF_1: _R32,
    _P.M_IT_TB_1: _BCR,
    _P.C_SC_TA_1: _SIQ,
    _P.C_DC_TA_1: _DIQ,
    _P.C_RC_TA_1: _DIQ,
    _P.C_SE_TA_1: _NVA,
    _P.C_SE_TB_1: _SVA,
    _P.C_SE_TC_1: _R32,
    _P.C_BO_TA_1: _STRING,
    _P.C_CS_NA_1: _EMPTY,
    _P.C_TS_TA_1: _PATTERN,
}
_WITH_ELAPSED: Final[dict[TypeID, tuple[_Form, type[CP56Time2a | CP24Time2a] | None]]] = {
    _P.M_EP_TA_1: (_DIQ, CP24Time2a),
    _P.M_EP_TB_1: (_PACKED, CP24Time2a),
    _P.M_EP_TC_1: (_PACKED, CP24Time2a),
    _P.M_EP_TD_1: (_DIQ, CP56Time2a),
    _P.M_EP_TE_1: (_PACKED, CP56Time2a),
    _P.M_EP_TF_1: (_PACKED, CP56Time2a),
    _P.C_CD_NA_1: (_EMPTY, None),
}

ELEMENTS: Final[dict[int, Element]] = {
    **{typeID: _element(typeID, form, None, elapsed=False) for typeID, form in _UNTAGGED.items()},
    **{typeID: _element(typeID, form, CP24Time2a, elapsed=False) for typeID, form in _WITH_CP24.items()},
    **{typeID: _element(typeID, form, CP56Time2a, elapsed=False) for typeID, form in _WITH_CP56.items()},
    **{typeID: _element(typeID, form, tag, elapsed=True) for typeID, (form, tag) in _WITH_ELAPSED.items()},
}
"""By type identification."""
