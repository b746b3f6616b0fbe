"""Longest frames, beside what open61850 encodes for the same data at its longest."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files

import pytest
from open61850.data import (
    ArrayData,
    BitStringData,
    BoolData,
    FloatData,
    IntData,
    OctetStringData,
    StructureData,
    TimestampData,
    UIntData,
    VisibleStringData,
)
from open61850.goose import GoosePDU, encode_goose_pdu

from scl.frame_size import BASIC_TYPES, MAX_PAYLOAD, largest_payload
from scl.reader import read
from scl.streams import GooseIndex
from scl.types import TypedAttribute

TIME = datetime(2026, 11, 22, tzinfo=UTC)
SAMPLE = read(str(files("scl") / "samples" / "two_source.scd"))


def longest(attribute: TypedAttribute):
    """The longest value of an attribute, for the foreign encoder."""
    if attribute.count:
        element = TypedAttribute(
            attribute.name, attribute.bType, attribute.fc, attribute.literals, 0, attribute.attributes
        )
        return ArrayData([longest(element) for _ in range(attribute.count)])
    if attribute.attributes:
        return StructureData([longest(part) for part in attribute.attributes])
    return {
        "BOOLEAN": BoolData(True),
        "Enum": IntData(127),
        "INT32": IntData(-(2**31)),
        "INT64": IntData(-(2**63)),
        "INT8U": UIntData(255),
        "INT16U": UIntData(2**16 - 1),
        "INT32U": UIntData(2**32 - 1),
        "FLOAT32": FloatData(1.5),
        "Dbpos": BitStringData(b"\x80", 6),
        "Quality": BitStringData(b"\xff\xf8", 3),
        "Timestamp": TimestampData(TIME),
        "VisString64": VisibleStringData("x" * 64),
        "Octet64": OctetStringData(bytes(64)),
    }[attribute.bType]


def encoded(stream) -> int:
    pdu = GoosePDU(
        gocb_ref=stream.gocbRef,
        time_allowed_to_live=2**31 - 1,
        dat_set=stream.datSet,
        go_id=stream.goID,
        timestamp=TIME,
        st_num=2**32 - 1,
        sq_num=2**32 - 1,
        simulation=False,
        conf_rev=2**32 - 1,
        nds_com=False,
        num_dat_set_entries=len(stream.members),
        all_data=[longest(member.type) for member in stream.members],
    )
    return 8 + len(encode_goose_pdu(pdu))


@pytest.mark.parametrize("iedName", ["F1Q1", "T9"])
def test_agents_frames(iedName):
    for stream in GooseIndex(SAMPLE).published_by(iedName):
        actual = encoded(stream)
        # Never too low; the number of entries is allowed one octet more than these few need.
        assert actual <= largest_payload(stream) <= actual + 2
        assert largest_payload(stream) < MAX_PAYLOAD


def test_there_is_room_for_the_longest_names():
    stream = GooseIndex(SAMPLE).published_by("F1Q1")[0]
    longer = len("F" * 64) - len("F1Q1")
    assert largest_payload(stream) + 3 * longer + 3 < MAX_PAYLOAD


def test_all_basic_types_are_known():
    assert {"INT128", "Octet64", "VisString255", "Currency", "Check", "EntryTime"} <= BASIC_TYPES
