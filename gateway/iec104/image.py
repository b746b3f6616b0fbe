"""What a controlled station has to say, by address: the last value of each information object, and its controls.

An image is one point list. Control centres with the same list share one; it knows nothing of connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.iec104.asdu import COMMANDS, InformationObject, Qds, Sizes, Step, TypeID, tag_of, untagged
from gateway.iec104.errors import Iec104EncodeError
from gateway.iec104.time_tag import CP24Time2a

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.iec104.asdu import Value
    from gateway.iec104.time_tag import TimeBase

STATION: Final = 20
"""QOI of a station interrogation; 21 to 36 are its groups 1 to 16."""
GENERAL_COUNTERS: Final = 5
"""RQT of a general request for counters; 1 to 4 are their groups."""

_INVALID_COUNTER: Final = 0x80
_NO_VALUE: Final = int(Qds.IV | Qds.NT)
_UNKNOWN: Final[dict[TypeID, tuple[Value, int]]] = {
    TypeID.M_SP_NA_1: (False, _NO_VALUE),
    TypeID.M_DP_NA_1: (0, _NO_VALUE),
    TypeID.M_ST_NA_1: (Step(0, transient=False), _NO_VALUE),
    TypeID.M_BO_NA_1: (0, _NO_VALUE),
    TypeID.M_ME_NA_1: (0.0, _NO_VALUE),
    TypeID.M_ME_NB_1: (0, _NO_VALUE),
    TypeID.M_ME_NC_1: (0.0, _NO_VALUE),
    TypeID.M_IT_NA_1: (0, _INVALID_COUNTER),
    TypeID.M_PS_NA_1: (0, _NO_VALUE),
    TypeID.M_ME_ND_1: (0.0, 0),
}
"""What an interrogation tells of what has no value yet, by type without time tag; ME_ND has no quality to say so."""
_ONLY_EVENTS: Final = frozenset((TypeID.M_EP_TD_1, TypeID.M_EP_TE_1, TypeID.M_EP_TF_1))
"""Protection events are told when they happen, and never asked for."""


class Monitored(NamedTuple):
    """An information object in monitor direction.

    Attributes:
        CA: common address.
        IOA: information object address.
        typeID: of its events, with or without time tag.
        groups: interrogation groups that it is in, 1 to 16; a counter's 1 to 4.
        cyclic: sent with every periodic scan.
        background: sent with every background scan.
    """

    CA: int
    IOA: int
    typeID: TypeID
    groups: frozenset[int] = frozenset()
    cyclic: bool = False
    background: bool = False


class Control(NamedTuple):
    """An information object in control direction.

    Attributes:
        CA: common address.
        IOA: information object address.
        typeID: 45 to 51; the same with a time tag is understood too.
        name: what is controlled; two controls of one name are one device, whatever their addresses.
        select: it must be selected before it is executed.
        detail: whatever who operates it wants to find again.
    """

    CA: int
    IOA: int
    typeID: TypeID
    name: str
    select: bool = False
    detail: object = None


@dataclass(slots=True)
class Entry:
    """The last value of an information object.

    Attributes:
        config: its address and what it is part of.
        value: as it stands.
        qualifier: quality bits; of a counter its whole octet.
        t_ns: its time, ns since 1970, None if it has none.
        time_invalid: the clock that told the time is not to be trusted.
        elapsed_ms: of a protection event.
        frozen: of a counter value and octet when it was frozen last.
        base: of a counter what it had counted when it was reset.
    """

    config: Monitored
    value: Value
    qualifier: int
    t_ns: int | None = None
    time_invalid: bool = True
    elapsed_ms: int = 0
    frozen: tuple[int, int] | None = None
    base: int = 0

    def counted(self) -> int:
        """What a counter has counted since it was reset; 32 bits, signed, as it goes over the wire."""
        assert isinstance(self.value, int)
        return (self.value - self.base + (1 << 31)) % (1 << 32) - (1 << 31)

    def object(self, typeID: TypeID, base: TimeBase | None) -> InformationObject:
        """As it is told, with a time tag in ``base`` if the type has one."""
        config = self.config
        value, qualifier = self.value, self.qualifier
        if untagged(config.typeID) is TypeID.M_IT_NA_1:
            value, qualifier = (self.counted(), qualifier) if self.frozen is None else self.frozen
        tag = None
        if base is not None and tag_of(typeID) is not None:
            tag = base.tag(self.t_ns or 0, invalid=self.time_invalid or self.t_ns is None)
        return InformationObject(config.IOA, value, qualifier, tag, self.elapsed_ms)


class Image:
    """All information objects of one point list.

    Args:
        monitored: what is told; each address once.
        controls: what may be operated.

    Raises:
        Iec104EncodeError: an address stands twice or is none, or its type can't stand there.

    Attributes:
        CAs: common addresses, in order.
    """

    def __init__(self, monitored: Iterable[Monitored], controls: Iterable[Control] = ()) -> None:
        self._entries: dict[tuple[int, int], Entry] = {}
        self._controls: dict[tuple[int, int], Control] = {}
        for config in monitored:
            _check_address(config.CA, config.IOA, self._entries)
            known = config.typeID in _ONLY_EVENTS or untagged(config.typeID) in _UNKNOWN
            if not known or tag_of(config.typeID) is CP24Time2a:
                raise Iec104EncodeError(f"CA {config.CA} IOA {config.IOA}: {config.typeID.name} is not monitored")
            entry = Entry(config, *without_value(config.typeID))
            self._entries[config.CA, config.IOA] = entry
        for control in controls:
            _check_address(control.CA, control.IOA, self._controls)
            if control.typeID not in COMMANDS or untagged(control.typeID) is not control.typeID:
                raise Iec104EncodeError(f"CA {control.CA} IOA {control.IOA}: {control.typeID.name} is no command")
            self._controls[control.CA, control.IOA] = control
        # In the order in which an interrogation tells them: by type and address, so that they pack best.
        self._told: dict[int, list[Entry]] = {}
        self._counters: dict[int, list[Entry]] = {}
        for entry in sorted(
            self._entries.values(), key=lambda entry: (untagged(entry.config.typeID), entry.config.IOA)
        ):
            if entry.config.typeID not in _ONLY_EVENTS:
                counter = untagged(entry.config.typeID) is TypeID.M_IT_NA_1
                (self._counters if counter else self._told).setdefault(entry.config.CA, []).append(entry)
        self.CAs = tuple(sorted({ca for ca, _ in (*self._entries, *self._controls)}))

    def check(self, sizes: Sizes) -> None:
        """See that each address can be told.

        Raises:
            Iec104EncodeError: names the first that does not fit, or is the global address.
        """
        for CA, IOA in (*self._entries, *self._controls):
            if CA >= (1 << 8 * sizes.CA) - 1 or IOA >= 1 << 8 * sizes.IOA:
                raise Iec104EncodeError(f"CA {CA} IOA {IOA}: does not fit {sizes}")

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, CA: int, IOA: int) -> Entry | None:
        """The information object there."""
        return self._entries.get((CA, IOA))

    def control(self, CA: int, IOA: int) -> Control | None:
        """What is controlled there."""
        return self._controls.get((CA, IOA))

    def interrogated(self, CA: int, QOI: int) -> list[Entry]:
        """What a station (20) or group (21 to 36) interrogation tells of a common address; never counters."""
        entries = self._told.get(CA, [])
        return entries if QOI == STATION else [e for e in entries if QOI - STATION in e.config.groups]

    def counters(self, CA: int, request: int) -> list[Entry]:
        """The counters of a general request (5) or of a group (1 to 4)."""
        entries = self._counters.get(CA, [])
        return entries if request == GENERAL_COUNTERS else [e for e in entries if request in e.config.groups]

    def scanned(self, CA: int, *, background: bool, all_of_it: bool = False) -> list[Entry]:
        """What a periodic or a background scan tells."""
        entries = self._told.get(CA, ())
        return [e for e in entries if all_of_it or (e.config.background if background else e.config.cyclic)]

    def freeze(self, CA: int, request: int) -> None:
        """Freeze counters as they are now: requests are answered with that until they are frozen again."""
        for entry in self.counters(CA, request):
            entry.frozen = entry.counted(), entry.qualifier

    def reset(self, CA: int, request: int) -> None:
        """Let counters count from zero."""
        for entry in self.counters(CA, request):
            assert isinstance(entry.value, int)
            entry.base = entry.value


def without_value(typeID: TypeID) -> tuple[Value, int]:
    """Value and qualifier of an object of which nothing is known."""
    return _UNKNOWN.get(untagged(typeID), (0, _NO_VALUE))


def _check_address(CA: int, IOA: int, taken: dict[tuple[int, int], Entry] | dict[tuple[int, int], Control]) -> None:
    if not 0 < CA < 0xFFFF or not 0 < IOA < 1 << 24:
        raise Iec104EncodeError(f"CA {CA} IOA {IOA}: no address; CA 1 to 65534 and IOA 1 to 16777215 expected")
    if (CA, IOA) in taken:
        raise Iec104EncodeError(f"CA {CA} IOA {IOA}: stands twice in the point list")
