"""What a controlled station tells, as ASDUs: interrogations, scans, single objects, events. Sans-IO.

An interrogation is made as it goes, one ASDU at a time: however many objects there are, none waits in memory, and none
is older than an event that has gone before it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.iec104.asdu import (
    Asdu,
    Cause,
    InformationObject,
    Sizes,
    TypeID,
    encode,
    most_objects,
    pack,
    tag_of,
    untagged,
)
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import GENERAL_COUNTERS, without_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.iec104.asdu import Value
    from gateway.iec104.image import Entry, Image
    from gateway.iec104.time_tag import TimeBase


class Event(NamedTuple):
    """An event on its way to a control centre.

    Attributes:
        token: to acknowledge it with.
        CA: common address.
        IOA: information object address.
        typeID: with or without time tag.
        cause: mostly spontaneous.
        value: of the type's element.
        qualifier: quality bits; of a counter its whole octet.
        t_ns: when it happened, ns since 1970.
        time_invalid: the clock that said so is not to be trusted.
        elapsed_ms: of a protection event.
        test: it comes from a test.
    """

    token: int
    CA: int
    IOA: int
    typeID: TypeID
    cause: Cause
    value: Value
    qualifier: int
    t_ns: int
    time_invalid: bool = False
    elapsed_ms: int = 0
    test: bool = False


class EventSource(Protocol):
    """Keeps events until they are acknowledged."""

    def take(self, limit: int) -> Sequence[Event]:
        """The next events, in order for each object; not again until :meth:`release`."""

    def acknowledge(self, tokens: Iterable[int]) -> None:
        """They have arrived."""

    def release(self) -> None:
        """What was taken and is not acknowledged is given again, before all that follows."""


class _Group(NamedTuple):
    """Events that may share an ASDU, and what their first one says for all."""

    first: Event
    objects: list[InformationObject]
    tokens: list[int]
    tagged: bool


class Teller:
    """Makes ASDUs of one point list.

    Args:
        image: the point list.
        sizes: octets of COT, CA and IOA.
        time_base: of time tags.
        notes: takes what is to be logged.
    """

    def __init__(self, image: Image, sizes: Sizes, time_base: TimeBase, notes: list[str]) -> None:
        self._image = image
        self._sizes = sizes
        self._time_base = time_base
        self._notes = notes

    def interrogation(self, asdu: Asdu) -> Iterator[bytes]:
        """Confirmation, objects and termination of an interrogation of one station."""
        sizes = self._sizes
        asdu = asdu._replace(negative=False)
        yield encode(asdu._replace(cause=Cause.ACTIVATION_CON), sizes)
        qualifier = asdu.objects[0].qualifier
        if asdu.typeID is TypeID.C_IC_NA_1:
            yield from self._told(asdu, self._image.interrogated(asdu.CA, qualifier), Cause(qualifier))
        else:
            request, freeze = qualifier & 0x3F, qualifier >> 6
            if freeze in (1, 2):
                self._image.freeze(asdu.CA, request)
            if freeze in (2, 3):
                self._image.reset(asdu.CA, request)
            if not freeze:
                cause = Cause.COUNTER_GENERAL if request == GENERAL_COUNTERS else Cause(Cause.COUNTER_GENERAL + request)
                yield from self._told(asdu, self._image.counters(asdu.CA, request), cause)
        yield encode(asdu._replace(cause=Cause.TERMINATION), sizes)

    def scan(self, CA: int, *, background: bool) -> Iterator[bytes]:
        """The objects of a periodic or background scan of one station."""
        cause = Cause.BACKGROUND if background else Cause.PERIODIC
        head = Asdu(TypeID.M_SP_NA_1, cause, CA, ())
        return self._told(head, self._image.scanned(CA, background=background), cause)

    def one(self, asdu: Asdu, entry: Entry) -> bytes:
        """The answer to a read command."""
        typeID = entry.config.typeID
        objects = [entry.object(typeID, self._time_base)]
        packed = self._pack(typeID, Cause.REQUESTED, asdu.CA, objects, originator=asdu.originator, test=asdu.test)
        return packed[0][0]

    def events(self, events: Iterable[Event]) -> Iterator[tuple[bytes, list[int]]]:
        """ASDUs of events, each with its events' tokens.

        Objects of one type and address go together; each object's events stay in order.
        """
        base = self._time_base
        groups: list[_Group] = []
        last: dict[int, _Group] = {}
        for event in events:
            token, CA, IOA, typeID, cause, value, qualifier, t_ns, time_invalid, elapsed_ms, test = event
            key = CA << 8 | typeID  # a number: this is the hot path, and an enumeration's hash is slow
            group = last.get(key)
            if group is None or group.first.cause != cause or group.first.test != test:
                group = last[key] = _Group(event, [], [], tag_of(typeID) is not None)
                groups.append(group)
            tag = base.tag(t_ns, invalid=time_invalid) if group.tagged else None
            group.objects.append(InformationObject(IOA, value, qualifier, tag, elapsed_ms))
            group.tokens.append(token)
        for first, objects, tokens, _ in groups:
            begin = 0
            for octets, count in self._pack(first.typeID, first.cause, first.CA, objects, test=first.test):
                yield octets, tokens[begin : begin + count]
                begin += count

    def _told(self, asdu: Asdu, entries: Sequence[Entry], cause: Cause) -> Iterator[bytes]:
        """Objects without time tags, each ASDU as it stands when it goes: no newer event has gone before it."""
        for typeID, same in groupby(entries, key=lambda entry: untagged(entry.config.typeID)):
            rest = list(same)
            most, most_in_sequence = most_objects(typeID, self._sizes)
            begin = 0
            while begin < len(rest):
                some = rest[begin : begin + most_in_sequence]
                span = some[-1].config.IOA - some[0].config.IOA
                if span >= len(some):
                    some = some[:most]
                objects = [entry.object(typeID, None) for entry in some]
                packed = self._pack(typeID, cause, asdu.CA, objects, originator=asdu.originator, test=asdu.test)
                octets, count = packed[0]
                yield octets
                begin += count

    def _pack(
        self,
        typeID: TypeID,
        cause: int,
        CA: int,
        objects: list[InformationObject],
        *,
        originator: int = 0,
        test: bool = False,
    ) -> list[tuple[bytes, int]]:
        """As :func:`pack`, but what has no encoding is told as invalid: one wrong value must not hold up all others."""
        sizes = self._sizes
        try:
            return pack(typeID, cause, CA, objects, sizes, originator=originator, test=test)
        except Iec104EncodeError:
            sound = [self._sound(typeID, CA, one) for one in objects]
            return pack(typeID, cause, CA, sound, sizes, originator=originator, test=test)

    def _sound(self, typeID: TypeID, CA: int, one: InformationObject) -> InformationObject:
        try:
            encode(Asdu(typeID, Cause.SPONTANEOUS, CA, (one,)), self._sizes)
        except Iec104EncodeError as error:
            self._notes.append(f"CA {CA} IOA {one.IOA}: told as invalid: {error}")
            value, qualifier = without_value(typeID)
            return InformationObject(one.IOA, value, qualifier, one.time)
        return one
