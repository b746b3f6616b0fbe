"""One object of every type of IEC 60870-5-104, with the octets that the standard gives it, put together by hand."""

from __future__ import annotations

from gateway.iec104.asdu import InformationObject, Step, TypeID
from gateway.iec104.time_tag import CP24Time2a, CP56Time2a

IOA = 1001
IOA_OCTETS = "e90300"
# 52165 ms = 0xCBC5; minute 30; SU, hour 13; Tuesday (2), day 5; month 12; year 23
TAG = "c5cb1e8d450c17"
TAG56 = CP56Time2a(bytes.fromhex(TAG))
# The same milliseconds; IV, minute 30
SHORT_TAG = "c5cb9e"
TAG24 = CP24Time2a(bytes.fromhex(SHORT_TAG))

# Type without time tag: octets after the address, value, qualifier.
_PLAIN = {
    "M_SP_NA_1": ("91", True, 0x90),  # IV, BL, SPI on
    "M_DP_NA_1": ("62", 2, 0x60),  # NT, SB, DPI on
    "M_ST_NA_1": ("fd 01", Step(-3, transient=True), 0x01),  # T, -3 in 7 bits; OV
    "M_BO_NA_1": ("78563412 80", 0x12345678, 0x80),
    "M_ME_NA_1": ("00c0 00", -0.5, 0),  # -16384
    "M_ME_NB_1": ("feff 40", -2, 0x40),
    "M_ME_NC_1": ("0000c03f 20", 1.5, 0x20),  # sign 0, exponent 127, fraction 0x400000
    "M_IT_NA_1": ("feffffff e5", -2, 0xE5),  # IV, CA, CY, sequence number 5
    "M_PS_NA_1": ("01800200 10", 0x0002_8001, 0x10),  # ST 1 and 16, CD 2
    "M_ME_ND_1": ("0020", 0.25, 0),  # 8192
    "C_SC_NA_1": ("85", True, 0x84),  # S/E, QU 1, SCS on
    "C_DC_NA_1": ("0e", 2, 0x0C),  # QU 3, DCS on
    "C_RC_NA_1": ("81", 1, 0x80),  # S/E, RCS lower
    "C_SE_NA_1": ("0080 80", -1.0, 0x80),
    "C_SE_NB_1": ("e803 00", 1000, 0),
    "C_SE_NC_1": ("000000bf 05", -0.5, 5),  # sign 1, exponent 126, fraction 0
    "C_BO_NA_1": ("0000ff7f", 0x7FFF_0000, 0),
    "M_EI_NA_1": ("81", None, 0x81),  # local manual reset, parameters were changed
    "C_IC_NA_1": ("14", None, 20),
    "C_CI_NA_1": ("45", None, 0x45),  # FRZ 1, RQT 5
    "C_RD_NA_1": ("", None, 0),
    "C_TS_NA_1": ("aa55", 0x55AA, 0),
    "C_RP_NA_1": ("01", None, 1),
    "P_ME_NA_1": ("ff7f 01", 32767 / 32768, 1),
    "P_ME_NB_1": ("6400 43", 100, 0x43),  # LPC, KPA 3
    "P_ME_NC_1": ("00000040 82", 2.0, 0x82),  # POP, KPA 2; exponent 128
    "P_AC_NA_1": ("03", None, 3),
}
# The same with the short time tag, and with the long one.
_TAGGED_24 = {
    "M_SP_TA_1": "M_SP_NA_1",
    "M_DP_TA_1": "M_DP_NA_1",
    "M_ST_TA_1": "M_ST_NA_1",
    "M_BO_TA_1": "M_BO_NA_1",
    "M_ME_TA_1": "M_ME_NA_1",
    "M_ME_TB_1": "M_ME_NB_1",
    "M_ME_TC_1": "M_ME_NC_1",
    "M_IT_TA_1": "M_IT_NA_1",
}
_TAGGED_56 = {
    "M_SP_TB_1": "M_SP_NA_1",
    "M_DP_TB_1": "M_DP_NA_1",
    "M_ST_TB_1": "M_ST_NA_1",
    "M_BO_TB_1": "M_BO_NA_1",
    "M_ME_TD_1": "M_ME_NA_1",
    "M_ME_TE_1": "M_ME_NB_1",
    "M_ME_TF_1": "M_ME_NC_1",
    "M_IT_TB_1": "M_IT_NA_1",
    "C_SC_TA_1": "C_SC_NA_1",
    "C_DC_TA_1": "C_DC_NA_1",
    "C_RC_TA_1": "C_RC_NA_1",
    "C_SE_TA_1": "C_SE_NA_1",
    "C_SE_TB_1": "C_SE_NB_1",
    "C_SE_TC_1": "C_SE_NC_1",
    "C_BO_TA_1": "C_BO_NA_1",
}
UNTAGGED = {TypeID[name]: TypeID[plain] for name, plain in (_TAGGED_24 | _TAGGED_56).items()}
# Protection: octets up to the tag, value, qualifier, CP16Time2a.
_START = ("2388 ffff", 0x23, 0x88, 65535)  # SRD, SL1, GS; IV, EI
_OUTPUT = ("0900 0100", 0x09, 0, 1)  # CL3, GC
_EVENT = ("1a e803", 2, 0x18, 1000)  # BL, EI, ES on

VECTORS: dict[TypeID, tuple[bytes, InformationObject]] = {}
"""Octets of the object, address included, and what it says."""


def _add(name, octets, *fields):
    VECTORS[TypeID[name]] = bytes.fromhex(IOA_OCTETS + octets), InformationObject(IOA, *fields)


for _name, (_octets, _value, _qualifier) in _PLAIN.items():
    _add(_name, _octets, _value, _qualifier)
for _name, _same in _TAGGED_24.items():
    _add(_name, _PLAIN[_same][0] + SHORT_TAG, *_PLAIN[_same][1:], TAG24)
for _name, _same in _TAGGED_56.items():
    _add(_name, _PLAIN[_same][0] + TAG, *_PLAIN[_same][1:], TAG56)
for _name, (_octets, _value, _qualifier, _ms) in {"TA": _EVENT, "TB": _START, "TC": _OUTPUT}.items():
    _add(f"M_EP_{_name}_1", _octets + SHORT_TAG, _value, _qualifier, TAG24, _ms)
for _name, (_octets, _value, _qualifier, _ms) in {"TD": _EVENT, "TE": _START, "TF": _OUTPUT}.items():
    _add(f"M_EP_{_name}_1", _octets + TAG, _value, _qualifier, TAG56, _ms)
_add("C_CS_NA_1", TAG, None, 0, TAG56)
_add("C_CD_NA_1", "3412", None, 0, None, 0x1234)
_add("C_TS_TA_1", "0201" + TAG, 0x0102, 0, TAG56)
