"""Events on their way to a control centre: what has happened, as the octets that tell it. Sans-IO.

The octets of an event are made once, when it happens; the station only packs them into ASDUs.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.iec104.asdu import Cause, Sizes, TypeID
from gateway.iec104.elements import ELEMENTS, ENCODING_FAULTS
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import without_value
from gateway.iec104.time_tag import CP56Time2a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.iec104.asdu import Value
    from gateway.iec104.time_tag import TimeBase


class EventHead(NamedTuple):
    """What events must have in common to share an ASDU.

    Attributes:
        CA: common address.
        typeID: with or without time tag.
        cause: mostly spontaneous.
        test: it comes from a test.
    """

    CA: int
    typeID: TypeID
    cause: Cause = Cause.SPONTANEOUS
    test: bool = False


class Event(NamedTuple):
    """An event, or several that came together and are told under one head.

    Attributes:
        token: to acknowledge it with; what is taken together may share it.
        head: of the ASDUs that may tell it.
        octets: its information objects, each with address, elements, time tag.
    """

    token: int
    head: EventHead
    octets: bytes


class EventSource(Protocol):
    """Keeps events until they are acknowledged."""

    def take(self, limit: int) -> Sequence[Event]:
        """The next events, in order for each object; not again until :meth:`release`."""

    def acknowledge(self, tokens: Iterable[int]) -> None:
        """All that was taken under these has arrived."""

    def release(self) -> None:
        """What was taken and is not acknowledged is given again, before all that follows."""


class ObjectWriter(Protocol):
    """Makes the octets of information objects of one type."""

    def __call__(
        self, address: bytes, value: Value, qualifier: int, t_ns: int, time_invalid: bool, elapsed_ms: int = 0, /
    ) -> bytes:
        """The octets of one object.

        Args:
            address: octets of its IOA.
            value: of the type's element; what has no encoding is told as invalid.
            qualifier: quality bits; of a counter its whole octet.
            t_ns: when it happened, ns since 1970.
            time_invalid: the clock that said so is not to be trusted.
            elapsed_ms: of a protection event.
        """


def object_writer(
    CA: int, typeID: TypeID, sizes: Sizes, time_base: TimeBase, say: Callable[[str], None]
) -> ObjectWriter:
    """What makes the octets of events. One for all objects of a type: with ten thousand, caches are what is short.

    Args:
        CA: common address, for messages.
        typeID: of the events.
        sizes: of which the addresses are.
        time_base: of time tags.
        say: told of a value that has no encoding; it goes as invalid, so that it does not hold up all others.
    """
    element = ELEMENTS[typeID]
    write, tag, tagged, elapsed = element.write, time_base.octets, element.tag is not None, element.elapsed

    def octets(
        address: bytes, value: Value, qualifier: int, t_ns: int, time_invalid: bool, elapsed_ms: int = 0, /
    ) -> bytes:
        try:
            told = address + write(value, qualifier)
            if elapsed:
                told += elapsed_ms.to_bytes(2, "little")
        except ENCODING_FAULTS as error:
            IOA = int.from_bytes(address, "little")
            say(f"CA {CA} IOA {IOA}: told as invalid: {typeID.name}, {value}: {error}")
            return octets(address, *without_value(typeID), t_ns, time_invalid)
        return told + tag(t_ns, invalid=time_invalid) if tagged else told

    if not element.layout or element.tag is not CP56Time2a or elapsed:
        return octets
    # One call of struct makes most of what there is, at half the cost; what it can't is looked into above.
    pack, parts = Struct(f"<{sizes.IOA}s{element.layout}H5s").pack, time_base.parts

    def octets_at_once(
        address: bytes, value: Value, qualifier: int, t_ns: int, time_invalid: bool, elapsed_ms: int = 0, /
    ) -> bytes:
        try:
            return pack(address, value, qualifier, *parts(t_ns, time_invalid))
        except ENCODING_FAULTS:
            return octets(address, value, qualifier, t_ns, time_invalid, elapsed_ms)

    return octets_at_once


def address_octets(CA: int, IOA: int, sizes: Sizes) -> bytes:
    """The octets of an IOA.

    Raises:
        Iec104EncodeError: it does not fit.
    """
    try:
        return IOA.to_bytes(sizes.IOA, "little")
    except OverflowError:
        raise Iec104EncodeError(f"CA {CA} IOA {IOA}: does not fit {sizes}") from None
