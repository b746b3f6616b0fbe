"""The members of one data set as a fixed list of typed leaves, in fixed-length GOOSE encoding.

Fixed-length GOOSE (GSEControl ``fixedOffs``, IEC 61850-8-1 annex A) writes every member in the full width of
its type, so all frames of a control block have the same shape. Encoding is then one ``struct.pack`` and
decoding one comparison with the shape and one ``struct.unpack``. It is plain BER: any decoder reads it.

Widths: an integer of n octets takes n + 1, signed or not; FLOAT32 takes 5 (0x08 first, tissue 817);
    enumerations are INT8 (tissue 2037); lengths are minimal (tissue 1345). [U] Not confirmed from the
    standard's text: INT64 and INT64U in 9 octets and INT24U in 4 (by analogy). Strings have no fixed length
    here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ied_agents.goose.ber import encode_length, read_header
from ied_agents.goose.data import decode_values
from ied_agents.goose.errors import GooseDecodeError, GooseEncodeError
from ied_agents.iec61850.data import Float64
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import SIZE as QUALITY_SIZE
from ied_agents.iec61850.quality import Quality
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STRUCTURE: Final = 0xA2
_ARRAY: Final = 0xA1

Leaf: TypeAlias = bool | int | float | Dbpos | Quality | UtcTime
"""One basic value: bool for BOOLEAN, int for integers and Enum, float, Dbpos, Quality, UtcTime for
Timestamp."""


@dataclass(frozen=True, slots=True)
class StructureOf:
    """A structure of these members, in order."""

    members: tuple[MemberType, ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array of ``count`` equal elements."""

    element: MemberType
    count: int


MemberType: TypeAlias = str | StructureOf | ArrayOf
"""What a member is: an SCL ``bType``, or made of such."""


@dataclass(frozen=True, slots=True)
class _Basic:
    """How one bType is written.

    Attributes:
        shape: tag, length and constant octets of the content; zero where the value stands.
        mask: which bits do not belong to the value; a frame has them as in ``shape``, but for the sign.
        code: format of the value for ``struct``, with pad octets for the rest.
        low: least value of an integer.
        high: greatest value of an integer.
        pack: makes what ``struct`` takes.
        unpack: makes the leaf of what ``struct`` gives.
        from_data: makes the leaf of the MMS Data value.
    """

    shape: bytes
    mask: bytes
    code: str
    low: int = 0
    high: int = 0
    pack: Callable[[Any], object] | None = None
    unpack: Callable[[Any], Leaf] | None = None
    from_data: Callable[[Any], Leaf] | None = None


def _integer(tag: int, octets: int, code: str, low: int) -> _Basic:
    """Tag, length, an octet of sign or zero, the number."""
    high = (1 << 8 * octets) - 1 + low
    shape = bytes((tag, octets + 1)) + bytes(octets + 1)
    return _Basic(shape, b"\xff\xff\xff" + bytes(octets), code, low, high, from_data=int)


def _signed(octets: int, code: str) -> _Basic:
    return _integer(0x85, octets, "xxx" + code, -(1 << 8 * octets - 1))


def _unsigned(octets: int, code: str) -> _Basic:
    return _integer(0x86, octets, code, 0)


@lru_cache(maxsize=1 << QUALITY_SIZE)
def _quality(number: int) -> Quality:
    return Quality.from_int(number >> 16 - QUALITY_SIZE)


# Called for every leaf of every frame: built-in functions where there are some.
_BASIC: Final = {
    "BOOLEAN": _Basic(b"\x83\1\0", b"\xff\xff\0", "xx?"),
    "INT8": _signed(1, "b"),
    "Enum": _signed(1, "b"),
    "INT16": _signed(2, "h"),
    "INT32": _signed(4, "i"),
    "INT64": _signed(8, "q"),
    "INT8U": _unsigned(1, "xxxB"),
    "INT16U": _unsigned(2, "xxxH"),
    "INT24U": _unsigned(3, "xxI"),
    "INT32U": _unsigned(4, "xxxI"),
    "INT64U": _unsigned(8, "xxxQ"),
    "FLOAT32": _Basic(b"\x87\5\x08" + bytes(4), b"\xff\xff\xff" + bytes(4), "xxxf"),
    "FLOAT64": _Basic(b"\x87\x09\x0b" + bytes(8), b"\xff\xff\xff" + bytes(8), "xxxd", from_data=float),
    "Dbpos": _Basic(
        b"\x84\2\6\0",
        b"\xff\xff\xff\x3f",
        "xxxB",
        pack=(6).__rlshift__,  # value << 6; struct refuses what is no Dbpos
        unpack=tuple(Dbpos(octet >> 6) for octet in range(256)).__getitem__,
        from_data=Dbpos.from_bit_string,
    ),
    "Quality": _Basic(
        b"\x84\3\3\0\0",
        b"\xff\xff\xff\0\7",
        "xxxH",
        pack=lambda value: value.to_int() << 16 - QUALITY_SIZE,
        unpack=_quality,
        from_data=Quality.from_bit_string,
    ),
    "Timestamp": _Basic(
        b"\x91\x08" + bytes(8), b"\xff\xff" + bytes(8), "xx8s", pack=UtcTime.encode, unpack=UtcTime.decode
    ),
}


class DataSetLayout:
    """Encodes and decodes the members of one data set as a flat tuple of leaves, in the order of the wire.

    Attributes:
        members: as given.
        leaf_count: how many leaves, all structures and arrays spread out.
        size: octets of the encoded members.
    """

    def __init__(self, members: Sequence[MemberType]) -> None:
        """Prepare the shape.

        Raises:
            GooseEncodeError: a bType that has no fixed-length encoding.
        """
        self.members = tuple(members)
        self._leaves: list[_Basic] = []
        shape, mask, sign_bits, code = bytearray(), bytearray(), bytearray(), [">"]
        for member in self.members:
            self._add(member, shape, mask, sign_bits, code)
        self.leaf_count = len(self._leaves)
        self.size = len(shape)
        self._struct = struct.Struct("".join(code))
        # All octets as one number each: a frame is checked, and completed, in a few operations.
        self._shape = int.from_bytes(shape, "big")
        self._mask = int.from_bytes(mask, "big")
        self._sign_bits = int.from_bytes(sign_bits, "big")
        leaves = list(enumerate(self._leaves))
        self._packers = [(index, leaf.pack) for index, leaf in leaves if leaf.pack]
        self._unpackers = [(index, leaf.unpack) for index, leaf in leaves if leaf.unpack]

    def _add(
        self, member: MemberType, shape: bytearray, mask: bytearray, sign_bits: bytearray, code: list[str]
    ) -> None:
        if isinstance(member, str):
            basic = _BASIC.get(member)
            if basic is None:
                raise GooseEncodeError(f"bType {member} has no fixed-length encoding here")
            self._leaves.append(basic)
            shape += basic.shape
            mask += basic.mask
            sign_bits += bytes(3) + b"\x80" + bytes(len(basic.shape) - 4) if basic.low else bytes(len(basic.shape))
            code.append(basic.code)
            return
        tag = _STRUCTURE if isinstance(member, StructureOf) else _ARRAY
        head = bytes((tag,)) + encode_length(sum(map(_size, _parts(member))))
        shape += head
        mask += b"\xff" * len(head)
        sign_bits += bytes(len(head))
        code.append(f"{len(head)}x")
        for part in _parts(member):
            self._add(part, shape, mask, sign_bits, code)

    def encode(self, leaves: Sequence[Leaf]) -> bytes:
        """The members: the content of allData.

        Raises:
            GooseEncodeError: a wrong number of leaves, or one that its type cannot hold, named by its place
                counted from 0.
        """
        values: list[object] = list(leaves)
        try:
            for index, pack in self._packers:
                values[index] = pack(values[index])
            number = int.from_bytes(self._struct.pack(*values), "big")
        except (struct.error, ValueError, TypeError, AttributeError, OverflowError, IndexError):
            raise self._wrong_leaf(leaves) from None
        if number & self._mask:
            raise self._wrong_leaf(leaves)  # struct's format holds more than the type
        return (number | self._shape | self._sign_octets(number)).to_bytes(self.size, "big")

    def _sign_octets(self, number: int) -> int:
        """The octets that stand before each negative integer of a frame, all ones."""
        negative = number & self._sign_bits
        return (negative << 9) - (negative << 1)

    def decode(self, all_data: bytes) -> tuple[Leaf, ...]:
        """The leaves of the members.

        Args:
            all_data: the content of allData; fixed-length, or any other encoding of the same types.

        Raises:
            GooseDecodeError: other types or another number of members, or no strict encoding; names member
                and octet.
        """
        number = int.from_bytes(all_data, "big")
        shape = self._shape | self._sign_octets(number)
        if len(all_data) != self.size or number & self._mask != shape:
            return self._decode_members(all_data)
        leaves = list(self._struct.unpack(all_data))
        for index, unpack in self._unpackers:
            leaves[index] = unpack(leaves[index])
        return tuple(leaves)

    def _decode_members(self, raw: bytes) -> tuple[Leaf, ...]:
        reader = _MemberReader(raw)
        reader.members(self.members, 0, len(raw), "allData")
        return tuple(reader.leaves)

    def _wrong_leaf(self, leaves: Sequence[Leaf]) -> GooseEncodeError:
        """Find what :meth:`encode` stumbled over."""
        if len(leaves) != self.leaf_count:
            return GooseEncodeError(f"{len(leaves)} leaves, the data set has {self.leaf_count}")
        wrong = next(
            index
            for index, (basic, leaf) in enumerate(zip(self._leaves, leaves, strict=True))
            if not _fits(basic, leaf)
        )
        return GooseEncodeError(f"leaf {wrong}: {leaves[wrong]!r} does not fit its type")


def _fits(basic: _Basic, leaf: Any) -> bool:
    try:
        value = basic.pack(leaf) if basic.pack else leaf
        struct.pack(">" + basic.code, value)
    except (struct.error, ValueError, TypeError, AttributeError, OverflowError):
        return False
    return not basic.high or basic.low <= leaf <= basic.high


def _parts(member: StructureOf | ArrayOf) -> tuple[MemberType, ...]:
    return member.members if isinstance(member, StructureOf) else (member.element,) * member.count


def _size(member: MemberType) -> int:
    if isinstance(member, str):
        return len(_BASIC[member].shape) if member in _BASIC else 0
    content = sum(map(_size, _parts(member)))
    return 1 + len(encode_length(content)) + content


class _MemberReader:
    """Reads members of any encoding one by one; each must be of its type."""

    def __init__(self, raw: bytes) -> None:
        self.leaves: list[Leaf] = []
        self._raw = raw

    def members(self, types: Sequence[MemberType], position: int, end: int, field: str) -> None:
        for number, member in enumerate(types, 1):
            name = f"{field}[{number}]"
            if position == end:
                raise GooseDecodeError(name, position, f"missing: {number - 1} members, not {len(types)}")
            tag, start, stop = read_header(self._raw, position, end, name, strict=True)
            if isinstance(member, str):
                expected = _BASIC[member].shape[0]
            else:
                expected = _STRUCTURE if isinstance(member, StructureOf) else _ARRAY
            if tag != expected:
                raise GooseDecodeError(name, position, f"tag 0x{tag:02X}, not 0x{expected:02X}")
            if isinstance(member, str):
                self.leaves.append(self._leaf(member, position, stop, name))
            else:
                self.members(_parts(member), start, stop, name)
            position = stop
        if position != end:
            raise GooseDecodeError(field, position, f"more than {len(types)} members")

    def _leaf(self, bType: str, position: int, stop: int, name: str) -> Leaf:
        basic = _BASIC[bType]
        data: Any = decode_values(self._raw, position, stop, strict=True)[0]
        try:
            leaf: Leaf = basic.from_data(data) if basic.from_data else data
        except ValueError as error:
            raise GooseDecodeError(name, position, str(error)) from error
        if basic.high and not basic.low <= data <= basic.high:
            raise GooseDecodeError(name, position, f"{data} does not fit {bType}")
        if isinstance(leaf, float) and isinstance(data, Float64) != (bType == "FLOAT64"):
            raise GooseDecodeError(name, position, f"floating point of another width than {bType}")
        return leaf
