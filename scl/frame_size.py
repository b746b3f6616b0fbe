"""How long the frames of a GOOSE stream can get, from its data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scl.streams import GooseStream
    from scl.types import TypedAttribute

MAX_PAYLOAD: Final = 1500
"""Octets after the EtherType that one Ethernet frame carries."""

_HEADER: Final = 8  # APPID, length, two reserved words

# Longest content of each basic type in octets; an unsigned integer may need a leading zero.
_CONTENT: Final = {
    "BOOLEAN": 1, "INT8": 1, "INT16": 2, "INT24": 4, "INT32": 4, "INT64": 8, "INT128": 16,
    "INT8U": 2, "INT16U": 3, "INT24U": 4, "INT32U": 5, "FLOAT32": 5, "FLOAT64": 9,
    "Enum": 4, "Dbpos": 2, "Tcmd": 2, "Quality": 3, "Timestamp": 8, "EntryTime": 6, "Check": 2,
    "TrgOps": 2, "OptFlds": 3, "SvOptFlds": 2, "EntryID": 8, "Currency": 3, "ObjRef": 129,
}  # fmt: skip
_SIZED: Final = re.compile(r"(?:VisString|Unicode|Octet)([0-9]{1,3})", re.ASCII)
BASIC_TYPES: Final = frozenset((
    *_CONTENT, "Struct", "Octet6", "Octet16", "Octet64", "PhyComAddr",
    "VisString32", "VisString64", "VisString65", "VisString129", "VisString255", "Unicode255",
))  # fmt: skip
"""The basic types of IEC 61850-6."""


def largest_payload(stream: GooseStream) -> int:
    """Octets of the longest frame after the EtherType: every number at its longest, every text full.

    A type that is unknown counts as empty.
    """
    data = sum(_attribute(member.type) for member in stream.members)
    numbers = 6 + 7 + 7 + 7 + 5  # timeAllowedtoLive, stNum, sqNum, confRev, numDatSetEntries
    texts = sum(_tagged(len(text.encode())) for text in (stream.gocbRef, stream.datSet, stream.goID))
    flags_and_time = 3 + 3 + 10  # simulation, ndsCom, t
    return _HEADER + _tagged(texts + numbers + flags_and_time + _tagged(data))


def _attribute(attribute: TypedAttribute) -> int:
    if attribute.attributes:
        one = _tagged(sum(_attribute(part) for part in attribute.attributes))
    elif attribute.bType == "Enum" and all(-128 <= ordinal < 128 for ordinal, _ in attribute.literals):
        one = _tagged(1)
    else:
        sized = _SIZED.fullmatch(attribute.bType)
        one = _tagged(int(sized[1]) if sized else _CONTENT.get(attribute.bType, 0))
    return _tagged(one * attribute.count) if attribute.count else one


def _tagged(content: int) -> int:
    """Length with tag and length octets."""
    if content < 128:
        return content + 2
    return content + (3 if content < 256 else 4 if content < 65_536 else 5)
