"""What an SCD says of an IED to whoever follows it by MMS: its points' attributes, and where reports tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.adapters.mms_values import MmsPoint, fc_of, leaves_of
from gateway.points.data_objects import SETTINGS
from ied_agents.mms.worker_messages import Blocks
from scl.types import TypeResolutionError, Types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.points.point_list import PointRow
    from scl.control_blocks import DataSet, ReportControl
    from scl.ied import IED, LN, LN0, LDevice
    from scl.model import SCL
    from scl.types import TypedAttribute

_MOST_INSTANCES: Final = 99


class Plan(NamedTuple):
    """How an IED is followed.

    Attributes:
        points: what it tells.
        controls: names of those that are operated, and whether they are to be selected.
        blocks: report control blocks, first those to be enabled first.
        problems: points that cannot be, and why.
    """

    points: tuple[MmsPoint, ...]
    controls: dict[str, bool]
    blocks: tuple[Blocks, ...]
    problems: tuple[str, ...]


def plan(scl: SCL, ied: IED, rows: Iterable[PointRow]) -> Plan:
    """How an IED is followed.

    Args:
        scl: the file.
        ied: of the file.
        rows: of the point list; those of other IEDs are passed over.
    """
    types = Types(scl.templates)
    nodes = {
        f"{ldevice.domain(ied.name)}/{node.name}": node for _, ldevice in ied.ldevices() for node in ldevice.nodes()
    }
    points: dict[str, MmsPoint] = {}
    controls: dict[str, bool] = {}
    problems: dict[str, str] = {}
    for row in rows:
        if row.source != ied.name:
            continue
        if row.control:
            if row.cdc not in SETTINGS:  # nobody sets those here, and who tries is told so
                controls[row.name] = row.select
        elif row.name not in points and row.name not in problems:
            found = _point(types, nodes, row)
            if isinstance(found, MmsPoint):
                points[row.name] = found
            else:
                problems[row.name] = f"{row.name}: {found}"
    return Plan(tuple(points.values()), controls, tuple(_blocks(ied, points.values())), tuple(problems.values()))


def _point(types: Types, nodes: dict[str, LN0 | LN], row: PointRow) -> MmsPoint | str:
    place, _, path = row.name.partition(".")
    node = nodes.get(place)
    if node is None:
        return f"{place} is no logical node of {row.source}"
    try:
        made = types.resolve(node.lnType, path, "", fc_of(row.cdc))
    except TypeResolutionError as error:
        return str(error)
    leaves = leaves_of(row.cdc, set(_paths(made)))
    if not leaves:
        return f"its type has no value of a {row.cdc}"
    scale, offset = 1.0, 0.0
    if leaves[0].endswith(".i"):
        given = {name: _number(types, node, path, name) for name in ("scaleFactor", "offset")}
        scale, offset = given["scaleFactor"] or 1.0, given["offset"] or 0.0
    return MmsPoint(name=row.name, cdc=row.cdc, leaves=leaves, scale=scale, offset=offset)


def _paths(made: TypedAttribute, path: str = "") -> Iterator[str]:
    for each in made.attributes:
        below = f"{path}.{each.name}" if path else each.name
        if each.attributes:
            yield from _paths(each, below)
        else:
            yield below


def _number(types: Types, node: LN0 | LN, path: str, name: str) -> float | None:
    """A part of ``sVC`` as the file has it."""
    first, *others = path.split(".")
    text = node.value(first, *others, "sVC", name)
    if text is None:
        try:
            text = types.resolve(node.lnType, path, f"sVC.{name}", "CF").default
        except TypeResolutionError:
            return None
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _blocks(ied: IED, points: Iterable[MmsPoint]) -> Iterator[Blocks]:
    """Blocks that tell the points: as few as will do, buffered ones before the others."""
    there = [(each, frozenset(point.name for point in points if _tells(each.places, point))) for each in _reports(ied)]
    told: frozenset[str] = frozenset()
    for buffered in (True, False):
        rest = [(each, tells) for each, tells in there if each.report.buffered is buffered]
        while rest:
            best = max(rest, key=lambda one: len(one[1] - told))
            if not best[1] - told:
                break
            rest.remove(best)
            told |= best[1]
            yield Blocks(best[0].candidates, buffered)


class _Report(NamedTuple):
    report: ReportControl
    candidates: tuple[str, ...]
    places: frozenset[str]  # "F1Q1FLISR/XCBR1.Pos[ST]": members of its data set


def _reports(ied: IED) -> Iterator[_Report]:
    for _, ldevice in ied.ldevices():
        for node in ldevice.nodes():
            sets = {each.name: each for each in node.datasets}
            for report in node.reports:
                if report.datSet in sets:
                    kind = "BR" if report.buffered else "RP"
                    first = f"{ldevice.domain(ied.name)}/{node.name}.{kind}.{report.name}"
                    instances = min(report.enabled.max if report.enabled else 1, _MOST_INSTANCES)
                    numbers = range(1, instances + 1)
                    names = tuple(f"{first}{n:02}" for n in numbers) if report.indexed else (first,)
                    yield _Report(report, names, frozenset(_members(ied, ldevice, sets[report.datSet])))


def _members(ied: IED, own: LDevice, data_set: DataSet) -> Iterator[str]:
    for fcda in data_set.members:
        ldevice = ied.ldevice(fcda.ldInst) or own
        path = ".".join(part for part in (fcda.doName, fcda.daName) if part)
        yield f"{ldevice.domain(ied.name)}/{fcda.prefix}{fcda.lnClass}{fcda.lnInst}.{path}[{fcda.fc}]"


def _tells(places: frozenset[str], point: MmsPoint) -> bool:
    """Whether a data set has all of a point; that of a change without its time is that of the report."""
    fc = fc_of(point.cdc)
    return all(
        leaf == "t" or any(f"{each}[{fc}]" in places for each in _above(f"{point.name}.{leaf}"))
        for leaf in point.leaves
    )


def _above(reference: str) -> Iterator[str]:
    """A reference, and all data objects and attributes that it is part of."""
    while "." in reference:
        yield reference
        reference = reference.rpartition(".")[0]
