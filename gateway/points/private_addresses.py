"""Addresses of IEC 60870-5-104 that stand in an SCD (IEC TS 61850-80-1 annex A).

``<Private type="IEC_60870_5_104"><Address casdu ioa ti/></Private>``. The name space of ``Address`` is
``http://www.iec.ch/61850-80-1/2007/IEC_60870-5-104``; older tools write ``GlobalAddress104`` in
``http://www.iec.ch/61850-80-1/2007/SCL``. Both are taken in any name space, since the ``Private`` says what it is.
Where it stands says what it is about:

* DAI: this attribute: ``stVal``, ``mag.f``, ``phsA.cVal.mag.f``, ``general``, ``Oper.ctlVal``. One ``Private`` may
  hold several addresses, such as one per expected value of an enumeration, or a second one that is inverted.
* DOI, SDI: the data object, in the direction that ``ti`` names.
* LN, LN0, LDevice, AccessPoint, IED: an ``Address`` with ``casdu`` alone is the common address of what is below.

Each of ``casdu``, ``ioa`` and ``ti`` may be missing: tools write it so before somebody fills it in. It is then
generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.iec104.asdu import TypeID
from scl.binding import boolean, decimal, integer
from scl.document import SclError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scl.binding import Described, Private
    from scl.document import Element
    from scl.ied import DOI, SDI

T = TypeVar("T")

PRIVATE_TYPE: Final = "IEC_60870_5_104"
RULE: Final = "iec104-address"
"""Rule that its errors name."""
_NAMES: Final = ("Address", "GlobalAddress104")
_MOST_CA: Final = 0xFFFE
_MOST_IOA: Final = (1 << 24) - 1

_PREFIXES: Final = {
    "y": -24, "z": -21, "a": -18, "f": -15, "p": -12, "n": -9, "mu": -6, "m": -3, "c": -2, "d": -1, "": 0,
    "da": 1, "h": 2, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "Z": 21, "Y": 24,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAddress:
    """One address as it stands in the file; None for what it leaves open.

    Attributes:
        path: attribute below the DOI, ``("Oper", "ctlVal")``; empty for the DOI itself.
        CA: ``casdu``.
        IOA: ``ioa``.
        typeID: ``ti``.
        scale: ``scaleMultiplier`` over the factor of ``unitMultiplier``: in ``k`` what is sent is a thousandth.
        offset: ``scaleOffset``.
        inverted: off is on.
        expectedValue: what ON stands for.
        check: an address that sets a check of a control, ``interlocking`` or ``synchrocheck``.
        indexed: it is about an element of an array.
        element: where it stands.
    """

    path: tuple[str, ...]
    CA: int | None
    IOA: int | None
    typeID: TypeID | None
    scale: float
    offset: float
    inverted: bool
    expectedValue: int | None
    check: str
    indexed: bool
    element: Element


class AddressReader:
    """Reads the addresses of one file.

    Args:
        file: its name, for errors.
        problems: takes a located error for each address that cannot be read; it is then left out.
    """

    def __init__(self, file: str, problems: list[SclError]) -> None:
        self._file = file
        self._problems = problems

    def of_data_object(self, doi: DOI) -> list[GivenAddress]:
        """All addresses at a data object and below it."""
        found = []
        for path, indexed, private in _walk(doi, (), indexed=False):
            for element in _addresses(private):
                address = self._read(element, path, indexed=indexed)
                if address is not None:
                    found.append(address)
        return found

    def common_address(self, node: Described) -> int | None:
        """The common address that a logical node, logical device, access point or IED gives all below it."""
        for private in node.privates:
            for element in _addresses(private):
                address = self._read(element, (), indexed=False)
                if address is None:
                    continue
                if address.IOA is not None:
                    self.error(
                        "an information object address at no data object; it stands at a DOI, SDI or DAI", element
                    )
                elif address.CA is not None:
                    return address.CA
        return None

    def error(self, message: str, element: Element) -> None:
        """Keep an error located at an element."""
        self._problems.append(SclError(message, file=self._file, line=element.line, path=element.path, rule=RULE))

    def _read(self, element: Element, path: tuple[str, ...], *, indexed: bool) -> GivenAddress | None:
        given = element.attributes
        try:
            return GivenAddress(
                path=path,
                CA=_bounded(given, "casdu", _MOST_CA),
                IOA=_bounded(given, "ioa", _MOST_IOA),
                typeID=_type(given),
                scale=_scale(given),
                offset=_named(given, "scaleOffset", decimal) or 0.0,
                inverted=bool(_named(given, "inverted", boolean)),
                expectedValue=_named(given, "expectedValue", integer),
                check=given.get("check", ""),
                indexed=indexed,
                element=element,
            )
        except ValueError as error:
            self.error(str(error), element)
            return None


def _walk(node: DOI | SDI, path: tuple[str, ...], *, indexed: bool) -> Iterator[tuple[tuple[str, ...], bool, Private]]:
    indexed = indexed or node.ix is not None
    for private in node.privates:
        yield path, indexed, private
    for dai in node.dai:
        for private in dai.privates:
            yield (*path, dai.name), indexed or dai.ix is not None, private
    for sdi in node.sdi:
        yield from _walk(sdi, (*path, sdi.name), indexed=indexed)


def _addresses(private: Private) -> list[Element]:
    if private.type != PRIVATE_TYPE:
        return []
    return [element for element in private.element.elements() if element.local in _NAMES]


def _named(given: dict[str, str], name: str, convert: Callable[[str], T]) -> T | None:
    raw = given.get(name, "").strip()
    if not raw:
        return None
    try:
        return convert(raw)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _bounded(given: dict[str, str], name: str, most: int) -> int | None:
    number = _named(given, name, integer)
    if number is not None and not 0 < number <= most:
        raise ValueError(f"{name} {number}; expected 1 to {most}")
    return number


def _scale(given: dict[str, str]) -> float:
    unit = given.get("unitMultiplier", "")
    if unit not in _PREFIXES:
        raise ValueError(f"unitMultiplier {unit[:40]!r}; expected a prefix such as k or m")
    scale = _named(given, "scaleMultiplier", decimal)
    if scale == 0:
        raise ValueError("scaleMultiplier 0; nothing could be told from it")
    return (1.0 if scale is None else scale) * 10.0 ** -_PREFIXES[unit]


def _type(given: dict[str, str]) -> TypeID | None:
    number = _named(given, "ti", integer)
    if number is None:
        return None
    try:
        return TypeID(number)
    except ValueError:
        raise ValueError(f"ti {number}; no type of IEC 60870-5-104") from None
