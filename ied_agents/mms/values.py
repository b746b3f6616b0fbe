"""Values of the library as values of Python, and back: each goes through its octets, which our own codec knows."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ied_agents.goose.data import decode_all_data, encode_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.iec61850.data import Array, Data, Structure
from ied_agents.mms.library import MmsType

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cause(IntEnum):
    """Why a service failed: ``IedClientError`` of the library; the names say it in words."""

    NONE = 0
    NOT_CONNECTED = 1
    ALREADY_CONNECTED = 2
    CONNECTION_LOST = 3
    SERVICE_NOT_SUPPORTED = 4
    CONNECTION_REJECTED = 5
    TOO_MANY_OUTSTANDING_REQUESTS = 6
    INVALID_ARGUMENT = 10
    DATA_SET_MISMATCH = 11
    INVALID_REFERENCE = 12
    UNEXPECTED_VALUE = 13
    NO_ANSWER_IN_TIME = 20
    ACCESS_DENIED = 21
    NO_SUCH_OBJECT = 22
    OBJECT_EXISTS = 23
    ACCESS_UNSUPPORTED = 24
    TYPE_INCONSISTENT = 25
    TEMPORARILY_UNAVAILABLE = 26
    OBJECT_UNDEFINED = 27
    INVALID_ADDRESS = 28
    HARDWARE_FAULT = 29
    TYPE_UNSUPPORTED = 30
    ATTRIBUTE_INCONSISTENT = 31
    VALUE_INVALID = 32
    OBJECT_INVALIDATED = 33
    MALFORMED_MESSAGE = 34
    CONSTRAINT_CONFLICT = 35
    SERVICE_NOT_IMPLEMENTED = 98
    UNKNOWN = 99

    @classmethod
    def _missing_(cls, _: object) -> Cause:
        return cls.UNKNOWN

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


_ACCESS_ERRORS = (
    Cause.OBJECT_INVALIDATED,
    Cause.HARDWARE_FAULT,
    Cause.TEMPORARILY_UNAVAILABLE,
    Cause.ACCESS_DENIED,
    Cause.OBJECT_UNDEFINED,
    Cause.INVALID_ADDRESS,
    Cause.TYPE_UNSUPPORTED,
    Cause.TYPE_INCONSISTENT,
    Cause.ATTRIBUTE_INCONSISTENT,
    Cause.ACCESS_UNSUPPORTED,
    Cause.NO_SUCH_OBJECT,
    Cause.VALUE_INVALID,
)
"""By number of ``DataAccessError`` (ISO 9506-2)."""


def to_data(library: Any, value: int | None) -> Data | Cause:
    """An MmsValue, or why there is none. It stays its owner's.

    Args:
        library: as loaded.
        value: pointer to it; None where the server gave none.
    """
    if not value:
        return Cause.UNEXPECTED_VALUE
    if library.MmsValue_getType(value) == MmsType.DATA_ACCESS_ERROR:
        number = library.MmsValue_getDataAccessError(value)
        return _ACCESS_ERRORS[number] if 0 <= number < len(_ACCESS_ERRORS) else Cause.UNKNOWN
    size = library.MmsValue_encodeMmsData(value, None, 0, False)
    octets = ctypes.create_string_buffer(size)
    library.MmsValue_encodeMmsData(value, octets, 0, True)
    try:
        return decode_all_data(octets.raw, strict=False)[0]
    except GooseDecodeError:  # an error in the midst of a structure is no Data
        return Cause.MALFORMED_MESSAGE


def to_mms(library: Any, data: Data) -> int | None:
    """A new MmsValue; whoever asks deletes it. None if the library knows no such type.

    Raises:
        GooseEncodeError: no MMS Data.
    """
    octets = encode_data(data)
    made: int | None = library.MmsValue_decodeMmsData(octets, 0, len(octets), None)
    return made


def octet_string(library: Any, value: int | None) -> bytes | None:
    """The octets of an MmsValue that is an octet string, of an EntryID for example."""
    if not value:
        return None
    return ctypes.string_at(library.MmsValue_getOctetStringBuffer(value), library.MmsValue_getOctetStringSize(value))


def strings(library: Any, chain: int | None) -> list[str]:
    """The texts of a list of the library, which is freed."""
    found: list[str] = []
    element = library.LinkedList_getNext(chain) if chain else None
    while element:
        found.append(ctypes.string_at(library.LinkedList_getData(element)).decode("utf-8", "replace"))
        element = library.LinkedList_getNext(element)
    if chain:
        library.LinkedList_destroy(chain)
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """What a variable is made of, as far as names are needed.

    Attributes:
        name: of a component in its structure.
        parts: components of a structure.
        element: of an array.
    """

    name: str = ""
    parts: tuple[Shape, ...] = ()
    element: Shape | None = None

    @classmethod
    def of(cls, library: Any, specification: int) -> Shape:
        """Copy an MmsVariableSpecification."""
        kind = library.MmsVariableSpecification_getType(specification)
        name = (library.MmsVariableSpecification_getName(specification) or b"").decode("utf-8", "replace")
        if kind == MmsType.ARRAY:
            inner = library.MmsVariableSpecification_getArrayElementSpecification(specification)
            return cls(name, element=cls.of(library, inner))
        if kind != MmsType.STRUCTURE:
            return cls(name)
        parts = [
            cls.of(library, library.MmsVariableSpecification_getChildSpecificationByIndex(specification, place))
            for place in range(library.MmsVariableSpecification_getSize(specification))
        ]
        return cls(name, tuple(parts))

    def paths(self, path: str = "") -> Iterator[str]:
        """Where its basic values are below it, with points; what is in an array is left out."""
        if self.parts:
            for part in self.parts:
                yield from part.paths(f"{path}.{part.name}" if path else part.name)
        elif self.element is None:
            yield path

    def leaves(self, data: Data, reference: str) -> Iterator[tuple[str, Data]]:
        """The basic values in a value of this shape, each with its reference."""
        if isinstance(data, Structure) and len(data) == len(self.parts):
            for part, member in zip(self.parts, data, strict=True):
                yield from part.leaves(member, f"{reference}.{part.name}")
        elif isinstance(data, Array) and self.element is not None:
            for place, member in enumerate(data):
                yield from self.element.leaves(member, f"{reference}({place})")
        else:
            yield reference, data
