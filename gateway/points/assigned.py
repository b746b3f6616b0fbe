"""Addresses for points that have none in the SCD: laid out by a rule, kept in a file.

A control centre trusts an address to mean one thing for ever: a number that moves to another breaker when a device
is added is the worst that a point list can do. So the addresses that were given are kept in a small file of text
that belongs beside the SCD, under the same version control. It is read first and only ever added to at its end: a
line is neither changed nor taken out, and the address of a point that is gone is never given to another one. A
hash of the name would need no file, but it scatters numbers that nobody can read over the telephone, and two names
may share one.

What is not in the file yet gets, in the order of the names and not of the SCD (so the first run is stable too):

* a common address per IED, from 1: an operator may then interrogate one device, and a device that is added takes
  the next one; all points may share one common address instead;
* an information object address by what the object is, counted from the block's start: 10001 single points, 20001
  double points, steps and bit strings, 30001 measured values, 40001 counters and protection events, 50001
  commands. They fit two octets. A block that is full goes on 60,000 above.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.points.mapping_rules import tagged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.iec104.asdu import TypeID

_TITLE: Final = "# flisr assigned addresses, version "
_VERSION: Final = 1
_COLUMNS: Final = ("source", "object", "CA", "IOA", "origin")
GENERATED: Final = "generated"

_BLOCK: Final = 10_000
_PER_BLOCK: Final = _BLOCK - 1
_PAGE: Final = 60_000
_MOST_IOA: Final = (1 << 24) - 1
_MOST_CA: Final = 0xFFFE
_CONTROL_BLOCK: Final = 5
_BLOCKS: Final = {30: 1, 31: 2, 32: 2, 33: 2, 34: 3, 35: 3, 36: 3, 37: 4, 38: 4, 39: 4, 40: 4}


class AssignedError(ValueError):
    """A file of assigned addresses that cannot be used; says file, line and what was expected."""


class AssignedAddress(NamedTuple):
    """A line of the file.

    Attributes:
        source: IED.
        object: what has the address: reference of the attribute, with what tells several addresses of it apart.
        CA: common address.
        IOA: information object address.
        origin: who gave it: ``generated`` by us, ``scd`` or ``override``; what others gave is only kept free.
    """

    source: str
    object: str
    CA: int
    IOA: int
    origin: str


def parse_assigned(text: str, file: str = "") -> list[AssignedAddress]:
    """Read the file.

    Raises:
        AssignedError: it is none, a newer version wrote it, or an address was given twice.
    """
    lines = text.splitlines()
    version = lines[0].removeprefix(_TITLE) if lines and lines[0].startswith(_TITLE) else ""
    if not version.strip().isdecimal():
        raise AssignedError(f"{file}:1: no file of assigned addresses; expected {_TITLE}{_VERSION}")
    if int(version) > _VERSION:
        raise AssignedError(f"{file}:1: version {version}; this program reads up to {_VERSION}: upgrade it")
    found: list[AssignedAddress] = []
    owners: dict[tuple[int, int], str] = {}
    reader = csv.reader(lines[1:], strict=True)
    try:
        for row in reader:
            place = f"{file}:{reader.line_num + 1}"
            if not row or tuple(row) == _COLUMNS:
                continue
            if len(row) != len(_COLUMNS):
                raise AssignedError(f"{place}: {len(row)} columns; expected {', '.join(_COLUMNS)}")
            source, name, ca, ioa, origin = row
            entry = AssignedAddress(source, name, _number(ca, _MOST_CA, place), _number(ioa, _MOST_IOA, place), origin)
            owner = owners.setdefault((entry.CA, entry.IOA), name) if origin == GENERATED else name
            if owner != name:
                raise AssignedError(f"{place}: CA {ca} IOA {ioa} of {name} was given to {owner} before")
            found.append(entry)
    except csv.Error as error:
        raise AssignedError(f"{file}:{reader.line_num + 1}: {error}") from None
    return found


def read_assigned(file: Path) -> list[AssignedAddress]:
    """The addresses that a file has; none while it is not there.

    Raises:
        AssignedError: it is no such file; names the line.
    """
    if not file.exists():
        return []
    try:
        return parse_assigned(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise AssignedError(f"{file}: no text in UTF-8") from None


def write_assigned(file: Path, entries: Iterable[AssignedAddress]) -> None:
    """Replace the file as a whole: half a list of addresses would give the other half to others."""
    new = file.with_name(file.name + ".new")
    with new.open("w", encoding="utf-8", newline="") as stream:
        stream.write(format_assigned(entries))
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def _number(text: str, most: int, place: str) -> int:
    if not re.fullmatch("[0-9]{1,8}", text, re.ASCII) or not 0 < int(text) <= most:
        raise AssignedError(f"{place}: {text[:40]!r}; expected 1 to {most}")
    return int(text)


def format_assigned(entries: Iterable[AssignedAddress]) -> str:
    """The file's text; entries in the order in which they were given."""
    output = io.StringIO()
    output.write(f"{_TITLE}{_VERSION}\n")
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(entries)
    return output.getvalue()


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that counts: ``Q2`` before ``Q10``; the name itself decides between ``Q2`` and ``Q02``."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts)), name


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An information object that is to have an address.

    Attributes:
        source: IED.
        object: see :class:`AssignedAddress`; each once.
        typeID: of the information object.
        control: control direction.
        CA: what the SCD or the site says, None for neither.
        IOA: likewise.
        origin: who said so.
    """

    source: str
    object: str
    typeID: TypeID
    control: bool
    CA: int | None = None
    IOA: int | None = None
    origin: str = GENERATED


class Assignment(NamedTuple):
    """Result of :func:`assign`.

    Attributes:
        addresses: CA and IOA by object.
        kept: objects whose address is the one that the file says.
        problems: objects that could not get an address, or not this one, and why.
        entries: the file as it is to be written: what was in it, then what is new.
    """

    addresses: dict[str, tuple[int, int]]
    kept: set[str]
    problems: list[tuple[str, str]]
    entries: list[AssignedAddress]


def assign(
    wanted: Iterable[Wanted], assigned: Iterable[AssignedAddress] = (), *, common: int | None = None
) -> Assignment:
    """Give every object its address.

    Args:
        wanted: the objects, in any order.
        assigned: what the file says.
        common: one common address for all that has none yet; without it, each IED gets its own.
    """
    before = list(assigned)
    work = sorted(wanted, key=lambda each: natural(each.object))
    result = Assignment({}, set(), [], list(before))
    of_source = _common_addresses(work, before, common)
    # Generated addresses differ in both directions, so that a list can be read by number alone.
    owners: dict[tuple[int, int], str] = {(entry.CA, entry.IOA): entry.object for entry in before}
    ours = {entry.object: entry for entry in before if entry.origin == GENERATED}
    fixed: dict[tuple[int, int, bool], str] = {}
    for each in work:
        if each.IOA is None:
            continue
        place = each.CA or of_source[each.source], each.IOA
        other = fixed.setdefault((*place, each.control), each.object)
        if other != each.object:
            result.problems.append((each.object, f"CA {place[0]} IOA {place[1]}: {other} has it too"))
            continue
        result.addresses[each.object] = place
        owners[place] = each.object
    last: dict[tuple[int, int], int] = {}
    for entry in ours.values():
        block, number = _number_of(entry.IOA)
        last[entry.CA, block] = max(last.get((entry.CA, block), 0), number)
    for each in work:
        if each.IOA is not None:
            continue
        known = ours.get(each.object)
        if known is not None and each.CA in (None, known.CA):
            place = known.CA, known.IOA
            taken = next((fixed[(*place, way)] for way in (False, True) if (*place, way) in fixed), None)
            if taken is not None:
                reason = f"CA {place[0]} IOA {place[1]} was given to {each.object} before"
                result.problems.append((taken, f"{reason}; give another one, or that point an address of its own"))
                continue
            result.addresses[each.object] = place
            result.kept.add(each.object)
            continue
        CA = each.CA or of_source[each.source]
        block = _CONTROL_BLOCK if each.control else _BLOCKS[tagged(each.typeID)]
        number = last.get((CA, block), 0) + 1
        while (CA, _address(block, number)) in owners:
            number += 1
        last[CA, block] = number
        place = CA, _address(block, number)
        if place[1] > _MOST_IOA or CA > _MOST_CA:
            result.problems.append((each.object, f"no address is left; CA {CA} IOA {place[1]} is beyond the last"))
            continue
        result.addresses[each.object] = place
        owners[place] = each.object
    seen = {(entry.object, entry.CA, entry.IOA) for entry in before}
    added = [
        AssignedAddress(each.source, each.object, *result.addresses[each.object], each.origin)
        for each in work
        if each.object in result.addresses and (each.object, *result.addresses[each.object]) not in seen
    ]
    result.entries.extend(sorted(added, key=lambda entry: (entry.CA, entry.IOA, entry.object)))
    return result


def _common_addresses(work: list[Wanted], before: list[AssignedAddress], common: int | None) -> Mapping[str, int]:
    """Common address of each IED for what has none."""
    stated: dict[str, set[int]] = {}
    for each in work:
        known = stated.setdefault(each.source, set())
        if each.CA is not None and each.origin != GENERATED:
            known.add(each.CA)
    found: dict[str, int] = {}
    if common is not None:
        return dict.fromkeys(stated, common)
    for entry in before:
        if entry.origin == GENERATED:
            found.setdefault(entry.source, entry.CA)
    used = {entry.CA for entry in before} | {CA for known in stated.values() for CA in known}
    following = 0
    for source in sorted(stated, key=natural):
        if source in found:
            continue
        if len(stated[source]) == 1:
            (found[source],) = stated[source]
            continue
        following += 1
        while following in used:
            following += 1
        found[source] = following
    return found


def _address(block: int, number: int) -> int:
    page, place = divmod(number - 1, _PER_BLOCK)
    return page * _PAGE + block * _BLOCK + 1 + place


def _number_of(IOA: int) -> tuple[int, int]:
    """Block and number of an address that was generated; the opposite of :func:`_address`."""
    page, rest = divmod(IOA, _PAGE)
    block, place = divmod(rest, _BLOCK)
    return block, page * _PER_BLOCK + place
