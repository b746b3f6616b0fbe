"""Values of data objects as MMS has them, as points: the value by its common data class, its quality, its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.points.point import KINDS, TIME_UNKNOWN, Kind, PointValue
from ied_agents.goose.data import decode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.quality import Quality
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.points.point import Value
    from ied_agents.iec61850.data import Data

_MEASURED: Final = {"MV": "mag", "CMV": "cVal.mag", "APC": "mxVal", "BAC": "mxVal"}
"""``AnalogueValue`` with the value."""
_PHASES: Final = ("phsA", "phsB", "phsC", "neut")
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "BSC": ("valWTr.posVal", "valWTr.transInd"),
    "ISC": ("valWTr.posVal", "valWTr.transInd"),
    "BCR": ("actVal",),
    "SEC": ("cnt",),
    "ACT": ("general",),
    "ACD": ("general", "dirGeneral"),
}
"""Leaves with the value; of the classes that are not here ``stVal``."""


class MmsValueError(ValueError):
    """A value that is none of the point's common data class; says which leaf, and what was expected."""


def fc_of(cdc: str) -> str:
    """Functional constraint of the value."""
    return "MX" if cdc in _MEASURED else "ST"


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsPoint:
    """A data object that is a point.

    Attributes:
        name: its reference, ``F1Q1FLISR/XCBR1.Pos``.
        cdc: common data class.
        leaves: attributes that are asked for, with points: those of the value, then ``q`` and ``t`` if it has them.
        scale: factor from an integer ``mag.i`` to the value (``sVC.scaleFactor``).
        offset: added after it.
    """

    name: str
    cdc: str
    leaves: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0

    def value(self, given: Mapping[str, Data], entry_ns: int, arrived_ns: int) -> PointValue:
        """The point's value.

        Args:
            given: the leaves.
            entry_ns: when the device made the report, ns since 1970, its time where it has none of its own; 0 if it
                did not say.
            arrived_ns: when it came, the time where nobody said one.

        Raises:
            MmsValueError: a leaf is missing, or is none of its class.
        """
        value = self._value([given[leaf] for leaf in self.leaves if leaf not in ("q", "t")])
        quality = 0
        if "q" in self.leaves:
            q = given["q"]
            if not isinstance(q, BitString):
                raise MmsValueError(f"q: {q!r:.40}; expected 13 bits")
            try:
                quality = Quality.from_bit_string(q).to_int()
            except ValueError as error:
                raise MmsValueError(f"q: {error}") from None
        t = given.get("t")
        if isinstance(t, UtcTime):
            return PointValue(value, quality, t.to_ns(), t.quality, arrived_ns)
        if t is not None:
            raise MmsValueError(f"t: {t!r:.40}; expected a time")
        return PointValue(value, quality, entry_ns or arrived_ns, TIME_UNKNOWN, arrived_ns)

    def _value(self, given: list[Data]) -> Value:
        leaf, first, kind = self.leaves[0], given[0], KINDS[self.cdc]
        if kind is Kind.SINGLE:
            if not isinstance(first, bool):
                raise MmsValueError(f"{leaf}: {first!r:.40}; expected true or false")
            return first
        if kind is Kind.DOUBLE:
            if not isinstance(first, BitString) or first.size != 2:
                raise MmsValueError(f"{leaf}: {first!r:.40}; expected 2 bits")
            return first.value
        if kind is Kind.FLOAT:
            if isinstance(first, float):
                return float(first)
            return _whole(leaf, first) * self.scale + self.offset
        if kind in (Kind.INTEGER, Kind.COUNTER):
            return _whole(leaf, first)
        # The rest are numbers and truths, each at its place.
        numbers = [
            int(x) if isinstance(x, bool) else _whole(leaf, x) for leaf, x in zip(self.leaves, given, strict=False)
        ]
        if kind is Kind.STEP:
            return numbers[0], numbers[1]
        # A phase that the data object lacks stands as 0 before one that it has.
        by_leaf = dict(zip(self.leaves, numbers, strict=False))
        places = ("general", "dirGeneral", *_PHASES) if kind is Kind.DIRECTION else ("general", *_PHASES)
        last = max(place for place, leaf in enumerate(places) if leaf in by_leaf)
        return tuple(by_leaf.get(leaf, 0) for leaf in places[: last + 1])


def leaves_of(cdc: str, there: Collection[str]) -> tuple[str, ...]:
    """The leaves to be asked for of a data object that has these; empty if its value is not among them."""
    if cdc in _MEASURED:
        value = tuple(leaf for leaf in (f"{_MEASURED[cdc]}.f", f"{_MEASURED[cdc]}.i") if leaf in there)[:1]
    else:
        value = _VALUES.get(cdc, ("stVal",))
        if not set(value) <= set(there):
            return ()
        if cdc in ("ACT", "ACD"):
            value += tuple(phase for phase in _PHASES if phase in there)
    return value and (*value, *(leaf for leaf in ("q", "t") if leaf in there))


def read_leaves(given: Mapping[str, bytes]) -> dict[str, Data]:
    """Leaves from their octets.

    Raises:
        MmsValueError: one is no MMS Data, or the device has no value for it.
    """
    found = {}
    for leaf, octets in given.items():
        try:
            (found[leaf],) = decode_all_data(octets, strict=False)
        except GooseDecodeError as error:
            raise MmsValueError(f"{leaf}: {error}") from None
        except ValueError:
            raise MmsValueError(f"{leaf}: the device gives no value") from None
    return found


def _whole(leaf: str, given: Data) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise MmsValueError(f"{leaf}: {given!r:.40}; expected a whole number")
    return int(given)
