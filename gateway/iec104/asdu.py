"""Application service data units of IEC 60870-5-104, to octets and back (IEC 60870-5-101, 7.1 and 7.2).

Reading is strict where octets could be taken for something they are not: the number of objects fits the length exactly,
and what is alone in its ASDU by the standard (everything but process information in monitor direction) is alone. It is
lenient where nothing can be mistaken: any cause and address, reserved bits, SQ = 1 with time tags.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.iec104.apci import LONGEST_ASDU
from gateway.iec104.elements import ELEMENTS, ENCODING_FAULTS, Element, InformationObject, Qds, Step, TypeID, Value
from gateway.iec104.errors import Iec104DecodeError, Iec104EncodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.iec104.time_tag import CP24Time2a, CP56Time2a

__all__ = [
    "COMMANDS",
    "DEFAULT_SIZES",
    "LONGEST_ASDU",
    "MOST_OBJECTS",
    "Asdu",
    "Cause",
    "Header",
    "InformationObject",
    "Qds",
    "Sizes",
    "Step",
    "TypeID",
    "UnknownTypeError",
    "Value",
    "decode",
    "decode_header",
    "encode",
    "mirror",
    "most_objects",
    "pack",
    "tag_of",
    "untagged",
]

MOST_OBJECTS: Final = 127
"""The number of objects has 7 bits."""

_SQ: Final = 0x80
_NEGATIVE: Final = 0x40
_TEST: Final = 0x80
_CAUSE: Final = 0x3F
_FIRST_COMMAND: Final = TypeID.C_SC_NA_1


class Cause(IntEnum):
    """Cause of transmission (7.2.3)."""

    PERIODIC = 1
    BACKGROUND = 2
    SPONTANEOUS = 3
    INITIALISED = 4
    REQUESTED = 5
    ACTIVATION = 6
    ACTIVATION_CON = 7
    DEACTIVATION = 8
    DEACTIVATION_CON = 9
    TERMINATION = 10
    RETURN_REMOTE = 11
    RETURN_LOCAL = 12
    FILE = 13
    INTERROGATED = 20
    GROUP_1 = 21
    GROUP_2 = 22
    GROUP_3 = 23
    GROUP_4 = 24
    GROUP_5 = 25
    GROUP_6 = 26
    GROUP_7 = 27
    GROUP_8 = 28
    GROUP_9 = 29
    GROUP_10 = 30
    GROUP_11 = 31
    GROUP_12 = 32
    GROUP_13 = 33
    GROUP_14 = 34
    GROUP_15 = 35
    GROUP_16 = 36
    COUNTER_GENERAL = 37
    COUNTER_1 = 38
    COUNTER_2 = 39
    COUNTER_3 = 40
    COUNTER_4 = 41
    UNKNOWN_TYPE = 44
    UNKNOWN_CAUSE = 45
    UNKNOWN_CA = 46
    UNKNOWN_IOA = 47


class Sizes(NamedTuple):
    """Octets of the fields whose size a system chooses. IEC 60870-5-104 fixes them to the defaults.

    Attributes:
        COT: cause of transmission, 1 or 2; the second is the originator address.
        CA: common address of ASDU, 1 or 2.
        IOA: information object address, 1 to 3.
    """

    COT: int = 2
    CA: int = 2
    IOA: int = 3


DEFAULT_SIZES: Final = Sizes()


class Header(NamedTuple):
    """The data unit identifier.

    Attributes:
        typeID: 0 to 255, known or not.
        sequence: SQ: the objects have consecutive addresses, of which only the first is written.
        count: of objects, 0 to 127.
        cause: 0 to 63, known or not.
        negative: P/N: a negative confirmation.
        test: T: sent for a test; nothing may be operated.
        originator: address of the control centre that caused it; 0 where the field has no second octet.
        CA: common address.
    """

    typeID: int
    sequence: bool
    count: int  # type: ignore[assignment]  # hides tuple.count, which is of no use here
    cause: int
    negative: bool
    test: bool
    originator: int
    CA: int


class Asdu(NamedTuple):
    """A whole ASDU; fields as in :class:`Header`."""

    typeID: TypeID
    cause: int
    CA: int
    objects: tuple[InformationObject, ...]
    negative: bool = False
    test: bool = False
    originator: int = 0
    sequence: bool = False


class UnknownTypeError(Iec104DecodeError):
    """The type identification is none of :class:`TypeID`: to be answered with cause 44.

    Attributes:
        header: what could be read.
    """

    def __init__(self, header: Header) -> None:
        super().__init__("typeID", 0, f"{header.typeID} is unknown")
        self.header = header


def untagged(typeID: TypeID) -> TypeID:
    """The type for the same without time tag: what an interrogation is answered with; itself if there is none.

    Protection events (17 to 19 and 38 to 40) have a tag and no such type: ask :func:`tag_of` whether there is a tag.
    """
    return _UNTAGGED.get(typeID, typeID)


def tag_of(typeID: TypeID) -> type[CP56Time2a | CP24Time2a] | None:
    """Which time tag the objects of a type have."""
    return ELEMENTS[typeID].tag


_UNTAGGED: Final = {
    **{TypeID(number): TypeID(number - 1) for number in (2, 4, 6, 8, 10, 12, 14, 16)},
    **{TypeID(30 + index): TypeID(1 + 2 * index) for index in range(8)},
    **{TypeID(number): TypeID(number - 13) for number in range(58, 65)},
}


COMMANDS: Final = frozenset(TypeID(number) for number in (*range(45, 52), *range(58, 65)))
"""Commands to an object, without and with time tag."""


def decode_header(octets: bytes, sizes: Sizes = DEFAULT_SIZES) -> Header:
    """Read the data unit identifier of an ASDU of any type.

    Raises:
        Iec104DecodeError: the octets end within it.
    """
    cot_octets, ca_octets, _ = sizes
    size = 2 + cot_octets + ca_octets
    if len(octets) < size:
        raise Iec104DecodeError("data unit identifier", len(octets), f"the ASDU ends; {size} octets expected")
    vsq = octets[1]
    cot = octets[2]
    return Header(
        octets[0],
        vsq >= _SQ,
        vsq & MOST_OBJECTS,
        cot & _CAUSE,
        cot & _NEGATIVE != 0,
        cot >= _TEST,
        octets[3] if cot_octets == 2 else 0,
        int.from_bytes(octets[2 + cot_octets : size], "little"),
    )


def decode(octets: bytes, sizes: Sizes = DEFAULT_SIZES) -> Asdu:
    """Read an ASDU.

    Raises:
        UnknownTypeError: its type identification is unknown.
        Iec104DecodeError: names field and octet.
    """
    header = decode_header(octets, sizes)
    typeID, sequence, count, cause, negative, test, originator, CA = header
    element = ELEMENTS.get(typeID)
    if element is None:
        raise UnknownTypeError(header)
    name = element.typeID.name
    if not count:
        raise Iec104DecodeError("number of objects", 1, f"0 in {name}")
    if typeID >= _FIRST_COMMAND and (sequence or count > 1):
        raise Iec104DecodeError("number of objects", 1, f"SQ {sequence:d}, {count} objects: {name} has one, and SQ 0")
    first = 2 + sizes.COT + sizes.CA
    length = first + (sizes.IOA + count * element.size if sequence else count * (sizes.IOA + element.size))
    if len(octets) != length:
        reason = f"{count} of {name} with SQ {sequence:d} take {length} octets, the ASDU has {len(octets)}"
        raise Iec104DecodeError("number of objects", 1, reason)
    if length > LONGEST_ASDU:
        raise Iec104DecodeError("ASDU", LONGEST_ASDU, f"{length} octets, {LONGEST_ASDU} at most")
    step = element.size if sequence else sizes.IOA + element.size
    start = first + sizes.IOA
    bodies = range(start, start + count * step, step)
    if sequence:
        base = int.from_bytes(octets[first:start], "little")
        if base + count - 1 >> 8 * sizes.IOA:
            raise Iec104DecodeError("IOA", first, f"{base} with SQ 1: that of the last object is above {sizes}")
        addresses: Iterable[int] = range(base, base + count)
    else:
        addresses = [int.from_bytes(octets[body - sizes.IOA : body], "little") for body in bodies]
    objects = _read_objects(element, octets, addresses, bodies)
    return Asdu(element.typeID, cause, CA, objects, negative, test, originator, sequence)


def _read_objects(
    element: Element, octets: bytes, addresses: Iterable[int], bodies: Iterable[int]
) -> tuple[InformationObject, ...]:
    """The objects with these addresses, whose elements begin at ``bodies``."""
    _, _, read, core, elapsed, tag, size, *_ = element
    tag_at = size - (tag.SIZE if tag else 0)
    objects = []
    for IOA, body in zip(addresses, bodies, strict=True):
        value, qualifier = read(octets, body)
        # Past the constructors of tuple and tag, which take as long as all the rest: the length is known.
        time = bytes.__new__(tag, octets[body + tag_at : body + size]) if tag else None
        elapsed_ms = int.from_bytes(octets[body + core : body + core + 2], "little") if elapsed else 0
        objects.append(tuple.__new__(InformationObject, (IOA, value, qualifier, time, elapsed_ms)))
    return tuple(objects)


def encode(asdu: Asdu, sizes: Sizes = DEFAULT_SIZES) -> bytes:
    """The octets of an ASDU.

    Raises:
        Iec104EncodeError: a field or object that has no encoding, no object, or more than fit.
    """
    typeID, cause, CA, objects, negative, test, originator, sequence = asdu
    element = ELEMENTS[typeID]
    items = _write_objects(element, objects, sizes.IOA)
    if not 0 < len(items) <= MOST_OBJECTS or (typeID >= _FIRST_COMMAND and (sequence or len(items) > 1)):
        raise Iec104EncodeError(f"{len(items)} objects of {element.typeID.name} with SQ {sequence:d} in one ASDU")
    if sequence:
        for IOA, one in enumerate(objects, objects[0].IOA):
            if one.IOA != IOA:
                raise Iec104EncodeError(f"IOA {one.IOA} with SQ 1, where {IOA} follows")
        items[1:] = [item[sizes.IOA :] for item in items[1:]]
    head = _write_header(element.typeID, cause, CA, sizes, originator=originator, test=test, negative=negative)
    octets = head[0] + bytes((len(items) | sequence << 7,)) + head[1] + b"".join(items)
    if len(octets) > LONGEST_ASDU:
        raise Iec104EncodeError(f"an ASDU of {len(octets)} octets, {LONGEST_ASDU} at most")
    return octets


def pack(
    typeID: TypeID,
    cause: int,
    CA: int,
    objects: Sequence[InformationObject],
    sizes: Sizes = DEFAULT_SIZES,
    *,
    originator: int = 0,
    test: bool = False,
    negative: bool = False,
) -> list[tuple[bytes, int]]:
    """Objects of one type, in their order, in as few ASDUs as they need.

    Each takes as many as it can. The form with SQ = 1 is used for types that have it where it takes at least as many
    as the other, and not for a single object.

    Returns:
        Octets of each ASDU, and how many objects are in it.

    Raises:
        Iec104EncodeError: as :func:`encode`.
    """
    element = ELEMENTS[typeID]
    before, after = _write_header(element.typeID, cause, CA, sizes, originator=originator, test=test, negative=negative)
    items = _write_objects(element, objects, sizes.IOA)
    most, most_in_sequence = most_objects(element.typeID, sizes)
    packed = []
    begin = 0
    while begin < len(items):
        count = min(most, len(items) - begin)
        run = _find_run(objects, begin, most_in_sequence) if count > 1 else 0
        if run >= count:
            followers = [item[sizes.IOA :] for item in items[begin + 1 : begin + run]]
            octets = before + bytes((run | _SQ,)) + after + items[begin] + b"".join(followers)
            count = run
        else:
            octets = before + bytes((count,)) + after + b"".join(items[begin : begin + count])
        packed.append((octets, count))
        begin += count
    return packed


def join(
    typeID: TypeID, cause: int, CA: int, objects: bytes | bytearray, sizes: Sizes = DEFAULT_SIZES, *, test: bool = False
) -> tuple[int, list[bytes]]:
    """ASDUs of information objects that are octets already, one behind the other, each with its address (SQ = 0).

    Returns:
        How many octets of objects each takes but the last, which may take less; and the ASDUs.
    """
    before, after = _write_header(typeID, cause, CA, sizes, originator=0, test=test, negative=False)
    size = sizes.IOA + ELEMENTS[typeID].size
    most = size * most_objects(typeID, sizes)[0]
    asdus = []
    for begin in range(0, len(objects), most):
        some = objects[begin : begin + most]
        asdus.append(b"".join((before, bytes((len(some) // size,)), after, some)))
    return most, asdus


def most_objects(typeID: TypeID, sizes: Sizes = DEFAULT_SIZES) -> tuple[int, int]:
    """How many objects of a type fit into one ASDU: with SQ = 0, and with SQ = 1; that is 0 for types without it."""
    element = ELEMENTS[typeID]
    room = LONGEST_ASDU - 2 - sizes.COT - sizes.CA
    most = 1 if element.alone else min(MOST_OBJECTS, room // (sizes.IOA + element.size))
    return most, min(MOST_OBJECTS, (room - sizes.IOA) // element.size) if element.sequence else 0


def mirror(octets: bytes, sizes: Sizes, cause: int, *, negative: bool) -> bytes:
    """The same ASDU of whatever type with another cause, as confirmations and causes 44 to 47 want it.

    Raises:
        Iec104DecodeError: the octets end within the data unit identifier.
        Iec104EncodeError: a cause outside of 0 to 63.
    """
    decode_header(octets, sizes)
    if not 0 <= cause <= _CAUSE:
        raise Iec104EncodeError(f"cause {cause}: 0 to {_CAUSE} expected")
    return octets[:2] + bytes((cause | negative << 6 | octets[2] & _TEST,)) + octets[3:]


def _find_run(objects: Sequence[InformationObject], begin: int, most: int) -> int:
    """How many objects from ``begin`` on have consecutive addresses, up to ``most``."""
    end = min(len(objects), begin + most)
    index = begin
    shift = objects[begin].IOA - begin
    while index < end and index + shift == objects[index].IOA:
        index += 1
    return index - begin


def _write_header(
    typeID: TypeID, cause: int, CA: int, sizes: Sizes, *, originator: int, test: bool, negative: bool
) -> tuple[bytes, bytes]:
    """What stands before and after the variable structure qualifier."""
    if not 0 <= cause <= _CAUSE:
        raise Iec104EncodeError(f"cause {cause}: 0 to {_CAUSE} expected")
    cot = bytes((cause | bool(negative) << 6 | bool(test) << 7,))
    try:
        return bytes((typeID,)), cot + originator.to_bytes(sizes.COT - 1, "little") + CA.to_bytes(sizes.CA, "little")
    except OverflowError as error:
        raise Iec104EncodeError(f"originator {originator}, CA {CA}: one does not fit {sizes}") from error


def _write_objects(element: Element, objects: Sequence[InformationObject], ioa_octets: int) -> list[bytes]:
    """Each object with its address."""
    _, write, _, _, elapsed, tag, size, *_ = element
    size += ioa_octets
    items = []
    for one in objects:
        try:
            IOA, value, qualifier, time, elapsed_ms = one
            octets = IOA.to_bytes(ioa_octets, "little") + write(value, qualifier)
            if elapsed:
                octets += elapsed_ms.to_bytes(2, "little")
            if time is not None:
                octets += time
        except ENCODING_FAULTS as error:
            raise Iec104EncodeError(f"{element.typeID.name}, {one}: {error}") from error
        if len(octets) != size:
            raise Iec104EncodeError(f"{element.typeID.name}, {one}: time tag expected: {tag and tag.__name__}")
        if elapsed_ms and not elapsed:
            raise Iec104EncodeError(f"{element.typeID.name}, {one}: this type has no elapsed time")
        items.append(octets)
    return items
