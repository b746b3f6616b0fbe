"""What a controlled station tells, as ASDUs: interrogations, scans, single objects, events. Sans-IO.

An interrogation is made as it goes, one ASDU at a time: however many objects there are, none waits in memory, and none
is older than an event that has gone before it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from gateway.iec104.asdu import (
    Asdu,
    Cause,
    InformationObject,
    Sizes,
    TypeID,
    encode,
    join,
    most_objects,
    pack,
    untagged,
)
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.image import GENERAL_COUNTERS, without_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.iec104.event import Event, EventHead
    from gateway.iec104.image import Entry, Image
    from gateway.iec104.time_tag import TimeBase


class _Group(NamedTuple):
    """Events that may share an ASDU: their objects, and where in these each event ends, with its token."""

    head: EventHead
    objects: bytearray
    ends: list[tuple[int, int]]


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

    def scan(self, CA: int, *, background: bool, all_of_it: bool = False) -> Iterator[bytes]:
        """The objects of a periodic or background scan of one station, or all that can be asked for."""
        cause = Cause.BACKGROUND if background else Cause.PERIODIC
        head = Asdu(TypeID.M_SP_NA_1, cause, CA, ())
        return self._told(head, self._image.scanned(CA, background=background, all_of_it=all_of_it), cause)

    def one(self, asdu: Asdu, entry: Entry) -> bytes:
        """The answer to a read command."""
        typeID = entry.config.typeID
        objects = [entry.object(typeID, self._time_base)]
        packed = self._pack(typeID, Cause.REQUESTED, asdu.CA, objects, originator=asdu.originator, test=asdu.test)
        return packed[0][0]

    def events(self, events: Iterable[Event]) -> list[tuple[bytes, list[int]]]:
        """ASDUs of events, each with the tokens of those whose last octets are in it.

        Objects of one type and address go together; each object's events stay in order.
        """
        groups: list[_Group] = []
        last: dict[int, _Group] = {}
        for token, head, octets in events:
            key = head.CA << 8 | head.typeID  # a number: this is the hot path, and an enumeration's hash is slow
            group = last.get(key)
            if group is None or group.head != head:
                group = last[key] = _Group(head, bytearray(), [])
                groups.append(group)
            group.objects.extend(octets)
            group.ends.append((len(group.objects), token))
        told: list[tuple[bytes, list[int]]] = []
        ends_in: dict[int, int] = {}
        for head, objects, ends in groups:
            first = len(told)
            octets_each, asdus = join(head.typeID, head.cause, head.CA, objects, self._sizes, test=head.test)
            told += [(asdu, []) for asdu in asdus]
            for end, token in ends:
                ends_in[token] = first + (end - 1) // octets_each  # the last one counts
        for token, at in ends_in.items():
            told[at][1].append(token)
        return told

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
