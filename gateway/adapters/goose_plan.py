"""What an SCD says of an IED to whoever follows it by GOOSE: its control blocks, and which points their members are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.adapters.goose_field import GooseBlock, GoosePoint
from gateway.adapters.mms_values import fc_of
from ied_agents.goose.subscriber import SubscriberConfig
from scl.document import SclError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.adapters.mms_values import MmsPoint
    from scl.streams import ControlBlock, GooseIndex, GooseStream
    from scl.types import TypedAttribute


class GoosePlan(NamedTuple):
    """How an IED is followed by GOOSE.

    Attributes:
        blocks: its control blocks that tell points, in the order of the file.
        problems: what is wrong, and where.
    """

    blocks: tuple[GooseBlock, ...]
    problems: tuple[str, ...]


def goose_plan(index: GooseIndex, name: str, points: Sequence[MmsPoint], wanted: tuple[str, ...]) -> GoosePlan:
    """How an IED is followed by GOOSE. A point that several blocks tell is the first one's.

    Args:
        index: of the SCD.
        name: of the IED.
        points: those that are followed at all.
        wanted: control blocks, ``gcb1`` or ``LD0/gcb1``; empty for all that tell a point.
    """
    there = {f"{block.ldevice.inst}/{block.control.name}": block for block in index.blocks() if block.ied.name == name}
    chosen, problems = _chosen(there, name, wanted)
    blocks: list[GooseBlock] = []
    rest = {point.name: point for point in points}
    for place, block in chosen.items():
        try:
            stream = index.stream(name, block.ldevice.inst, block.control.name) if block.control.datSet else None
        except SclError as error:
            problems.append(f"goose_blocks: {place}: {error}")
            continue
        told = () if stream is None else tuple(_told(stream, rest.values()))
        if stream is None or not told:
            if wanted:
                problems.append(
                    f"goose_blocks: {place} tells no point: none of them has value and quality in its data set"
                )
            continue
        address = stream.address
        if address is None:
            problems.append(f"goose_blocks: {place} has no GSE address in the Communication section of the SCD")
            continue
        config = SubscriberConfig(
            dst=address.mac,
            appid=address.appid,
            gocbRef=stream.gocbRef,
            datSet=stream.datSet,
            goID=stream.goID or None,
            confRev=stream.confRev,
            numDatSetEntries=len(stream.members),
        )
        blocks.append(GooseBlock(config, tuple(member.type for member in stream.members), told))
        for point in told:
            del rest[point.config.name]
    if not blocks and not problems:
        names = ", ".join(there) or "none"
        problems.append(f"goose: no GOOSE control block of {name} tells a point; the SCD has {names}")
    return GoosePlan(tuple(blocks), tuple(problems))


def _chosen(
    there: dict[str, ControlBlock], name: str, wanted: tuple[str, ...]
) -> tuple[dict[str, ControlBlock], list[str]]:
    if not wanted:
        return there, []
    problems = []
    chosen: dict[str, ControlBlock] = {}
    for given in wanted:
        found = [place for place in there if given in (place, place.rpartition("/")[2])]
        if len(found) == 1:
            chosen[found[0]] = there[found[0]]
        else:
            many = f"{name} has several: {', '.join(found)}"
            none = f"{name} has no such GOOSE control block; it has {', '.join(there) or 'none'}"
            problems.append(f"goose_blocks: {given}: {many if found else none}")
    return chosen, problems


def _told(stream: GooseStream, points: Iterable[MmsPoint]) -> Iterator[GoosePoint]:
    """Points of which the data set has all but maybe the time, and where each leaf stands in it."""
    places: dict[tuple[str, str], tuple[int, ...]] = {}
    for number, member in enumerate(stream.members):
        if not member.type.count:
            for path, place in _leaves(member.type):
                places[member.fc, f"{member.reference}{path}"] = (number, *place)
    for point in points:
        fc = fc_of(point.cdc)
        found = {leaf: places.get((fc, f"{point.name}.{leaf}")) for leaf in point.leaves}
        if all(place is not None or leaf == "t" for leaf, place in found.items()):
            yield GoosePoint(point, {leaf: place for leaf, place in found.items() if place is not None})


def _leaves(attribute: TypedAttribute) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Basic attributes below one: the rest of their reference, and the way there by numbers."""
    if not attribute.attributes:
        yield "", ()
    for number, part in enumerate(attribute.attributes):
        if not part.count:
            for path, place in _leaves(part):
                yield f".{part.name}{path}", (number, *place)
