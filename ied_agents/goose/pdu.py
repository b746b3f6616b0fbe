"""IECGoosePdu (IEC 61850-8-1, annex A), to octets and back.

Strict reading takes exactly what the standard describes. Lenient reading is for looking at what devices
really
send: besides what :mod:`ied_agents.goose.data` lists it takes the fields in any order, skips unknown ones,
    and takes a missing allData as empty, a numDatSetEntries that does not fit it, any text in the references,
    and octets after the PDU. Both need every other mandatory field, none twice, a timeAllowedtoLive above 0
    and counters of 32 bits, in whatever width they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.goose.ber import encode_element, encode_signed, read_header
from ied_agents.goose.data import decode_values, encode_all_data
from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from ied_agents.goose.layout import DataSetLayout
    from ied_agents.iec61850.data import Data

MAX_COUNTER: Final = 0xFFFFFFFF
MAX_REFERENCE: Final = 129
"""Characters of gocbRef, datSet and goID (VisibleString129)."""

_PDU: Final = 0x61
_NAMES: Final = (
    "gocbRef",
    "timeAllowedtoLive",
    "datSet",
    "goID",
    "t",
    "stNum",
    "sqNum",
    "simulation",
    "confRev",
    "ndsCom",
    "numDatSetEntries",
    "allData",
)
_TAGS: Final = (*range(0x80, 0x8B), 0xAB)
_NUMBER_OF_TAG: Final = tuple(_TAGS.index(tag) if tag in _TAGS else -1 for tag in range(256))
_ALL_DATA: Final = 11
_OPTIONAL: Final = frozenset({"goID", "simulation", "ndsCom"})  # DEFAULT FALSE for the two booleans
_ABSENT: Final = (-1, -1)


@dataclass(frozen=True, slots=True)
class GoosePdu:
    """One GOOSE message, without its Ethernet frame.

    Attributes:
        gocbRef: reference of the control block, for example ``IED1LD0/LLN0$GO$gcb1``.
        timeAllowedtoLive: milliseconds until the next message must have come.
        datSet: reference of the data set.
        goID: the application's identifier; None where the message carries none.
        t: when stNum last changed.
        stNum: number of the state, counted up with every change of a member.
        sqNum: number of the message within the state.
        simulation: whether a test device speaks in place of the real one.
        confRev: revision of the data set's configuration.
        ndsCom: whether the publisher needs commissioning.
        numDatSetEntries: how many members.
        allData: the members.
    """

    gocbRef: str
    timeAllowedtoLive: int
    datSet: str
    goID: str | None
    t: UtcTime
    stNum: int
    sqNum: int
    simulation: bool
    confRev: int
    ndsCom: bool
    numDatSetEntries: int
    allData: tuple[Data, ...]


class PduHeader(NamedTuple):
    """The fields before allData, and where in the buffer the octets lie that a subscriber compares."""

    gocbRef: str
    timeAllowedtoLive: int
    datSet: str
    goID: str | None
    t: UtcTime
    stNum: int
    sqNum: int
    simulation: bool
    confRev: int
    ndsCom: bool
    numDatSetEntries: int
    t_start: int
    stNum_span: tuple[int, int]
    sqNum_span: tuple[int, int]
    allData_span: tuple[int, int]


def read_pdu_header(raw: bytes, offset: int, end: int, *, strict: bool) -> PduHeader:
    """Read the PDU that begins at ``offset``, all but the members.

    Args:
        raw: the buffer.
        offset: where the tag 0x61 stands.
        end: first octet that no longer belongs to the APDU.
        strict: see the module.

    Raises:
        GooseDecodeError: names field and octet, counted from the beginning of ``raw``.
    """
    tag, position, stop = read_header(raw, offset, end, "IECGoosePdu", strict=strict)
    if tag != _PDU:
        raise GooseDecodeError("IECGoosePdu", offset, f"tag 0x{tag:02X}, not 0x61")
    if strict and stop != end:
        raise GooseDecodeError("IECGoosePdu", stop, f"{end - stop} octets after the PDU")
    spans = _field_spans(raw, position, stop, strict=strict)
    live = _counter(raw, spans, 1, strict=strict)
    if not live:
        raise GooseDecodeError("timeAllowedtoLive", spans[1][0], "0")
    t_start, t_stop = spans[4]
    if t_stop - t_start != 8:
        raise GooseDecodeError("t", t_start, f"UTC time of {t_stop - t_start} octets, not 8")
    return PduHeader(
        _reference(raw, spans, 0, strict=strict),
        live,
        _reference(raw, spans, 2, strict=strict),
        None if spans[3] is _ABSENT else _reference(raw, spans, 3, strict=strict),
        UtcTime.decode(raw[t_start:t_stop]),
        _counter(raw, spans, 5, strict=strict),
        _counter(raw, spans, 6, strict=strict),
        _boolean(raw, spans, 7),
        _counter(raw, spans, 8, strict=strict),
        _boolean(raw, spans, 9),
        _counter(raw, spans, 10, strict=strict),
        t_start,
        spans[5],
        spans[6],
        spans[_ALL_DATA],
    )


def decode_pdu(apdu: bytes | memoryview, *, strict: bool = True) -> GoosePdu:
    """Read a whole PDU.

    Args:
        apdu: the octets after Reserved2.
        strict: see the module.

    Raises:
        GooseDecodeError: names field and octet.
    """
    raw = bytes(apdu)
    header = read_pdu_header(raw, 0, len(raw), strict=strict)
    start, stop = header.allData_span
    allData = decode_values(raw, start, stop, strict=strict)
    if strict and len(allData) != header.numDatSetEntries:
        raise GooseDecodeError(
            "numDatSetEntries", start, f"{header.numDatSetEntries}, but allData has {len(allData)} members"
        )
    return GoosePdu(*header[:11], allData)


def encode_pdu(pdu: GoosePdu, layout: DataSetLayout | None = None) -> bytes:
    """The octets of a PDU.

    Args:
        pdu: what to send.
        layout: the types of the members, for the fixed-length encoding of header and members; None for the
            shortest encoding.

    Raises:
        GooseEncodeError: a field or member that has no encoding, or a wrong numDatSetEntries.
        GooseDecodeError: members of other types than the layout's.
    """
    if len(pdu.allData) != pdu.numDatSetEntries:
        raise GooseEncodeError(f"numDatSetEntries {pdu.numDatSetEntries}, but allData has {len(pdu.allData)} members")
    allData = encode_all_data(pdu.allData)
    if layout is not None:
        allData = layout.encode(layout.decode(allData))
    counter = encode_fixed_counter if layout else encode_counter
    content = (
        encode_reference(0x80, pdu.gocbRef)
        + counter(0x81, pdu.timeAllowedtoLive)
        + encode_reference(0x82, pdu.datSet)
        + (b"" if pdu.goID is None else encode_reference(0x83, pdu.goID))
        + b"\x84\x08"
        + pdu.t.encode()
        + counter(0x85, pdu.stNum)
        + counter(0x86, pdu.sqNum)
        + encode_boolean(0x87, pdu.simulation)
        + counter(0x88, pdu.confRev)
        + encode_boolean(0x89, pdu.ndsCom)
        + counter(0x8A, pdu.numDatSetEntries)
        + encode_element(0xAB, allData)
    )
    return encode_element(_PDU, content)


def encode_counter(tag: int, value: int) -> bytes:
    """An INT32U field, as short as it can be.

    Raises:
        GooseEncodeError: negative or above 32 bits.
    """
    if not 0 <= value <= MAX_COUNTER:
        raise GooseEncodeError(f"{_NAMES[tag & 0x1F]} {value} does not fit 32 bits")
    content = encode_signed(value)
    return bytes((tag, len(content))) + content


def encode_fixed_counter(tag: int, value: int) -> bytes:
    """An INT32U field in 5 octets, whatever its value (fixed-length GOOSE).

    Raises:
        GooseEncodeError: as :func:`encode_counter`.
    """
    if not 0 <= value <= MAX_COUNTER:
        raise GooseEncodeError(f"{_NAMES[tag & 0x1F]} {value} does not fit 32 bits")
    return bytes((tag, 5)) + value.to_bytes(5, "big")


def encode_boolean(tag: int, value: bool) -> bytes:
    """A BOOLEAN field."""
    return bytes((tag, 1, value))


def encode_reference(tag: int, text: str) -> bytes:
    """A VisibleString129 field.

    Raises:
        GooseEncodeError: more than 129 characters, or others than 0x20 to 0x7E.
    """
    if not (len(text) <= MAX_REFERENCE and text.isascii() and text.isprintable()):
        raise GooseEncodeError(f"{_NAMES[tag & 0x1F]} {text!r} is no VisibleString of up to {MAX_REFERENCE}")
    return encode_element(tag, text.encode())


def _field_spans(raw: bytes, position: int, stop: int, *, strict: bool) -> list[tuple[int, int]]:
    """Where the content of each field lies, by its number; :data:`_ABSENT` for those that are not there."""
    spans = [_ABSENT] * len(_TAGS)
    last = -1
    while position < stop:
        # Nearly every field has a length of one octet: no call for it.
        start = position + 2
        if start <= stop and (length := raw[position + 1]) < 0x80 and start + length <= stop:
            tag, following = raw[position], start + length
        else:
            tag, start, following = read_header(raw, position, stop, "IECGoosePdu", strict=strict)
        number = _NUMBER_OF_TAG[tag]
        if number > last:
            spans[number] = (start, following)
            last = number
        elif number < 0:
            if strict:
                raise GooseDecodeError("IECGoosePdu", position, f"tag 0x{tag:02X} is no field of it")
        elif spans[number] is not _ABSENT:
            raise GooseDecodeError(_NAMES[number], position, "comes twice")
        elif strict:
            raise GooseDecodeError(_NAMES[number], position, f"comes after {_NAMES[last]}")
        else:
            spans[number] = (start, following)
        position = following
    if not strict and spans[_ALL_DATA] is _ABSENT:
        spans[_ALL_DATA] = (stop, stop)
    if _ABSENT in spans:
        for name, span in zip(_NAMES, spans, strict=True):
            if span is _ABSENT and name not in _OPTIONAL:
                raise GooseDecodeError(name, stop, "missing")
    return spans


def _counter(raw: bytes, spans: list[tuple[int, int]], number: int, *, strict: bool) -> int:
    start, stop = spans[number]
    size = stop - start
    if not 1 <= size <= 9:
        raise GooseDecodeError(_NAMES[number], start, f"integer of {size} octets")
    value = int.from_bytes(raw[start:stop], "big")
    if strict and raw[start] >= 0x80:
        raise GooseDecodeError(_NAMES[number], start, "negative")
    if value > MAX_COUNTER:
        raise GooseDecodeError(_NAMES[number], start, f"{value} is above 32 bits")
    return value


def _boolean(raw: bytes, spans: list[tuple[int, int]], number: int) -> bool:
    start, stop = spans[number]
    if start < 0:
        return False
    if stop - start != 1:
        raise GooseDecodeError(_NAMES[number], start, f"boolean of {stop - start} octets")
    return raw[start] != 0


def _reference(raw: bytes, spans: list[tuple[int, int]], number: int, *, strict: bool) -> str:
    start, stop = spans[number]
    text = raw[start:stop].decode("latin-1")
    if strict and not (len(text) <= MAX_REFERENCE and text.isascii() and text.isprintable()):
        raise GooseDecodeError(_NAMES[number], start, f"no VisibleString of up to {MAX_REFERENCE}")
    return text
