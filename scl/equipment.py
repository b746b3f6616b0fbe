"""The primary equipment of a file in one list each, with full paths, from all containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scl.substation import Bay, Line, Process, Substation, VoltageLevel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scl.model import SCL
    from scl.substation import (
        ConductingEquipment,
        ConnectivityNode,
        Container,
        EqFunction,
        EqSubFunction,
        Function,
        LNode,
        PowerTransformer,
        SubFunction,
        Voltage,
    )

_MULTIPLIERS = {"": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece of conducting equipment with its path, ``ALPHA/V20/F1/Q1``."""

    path: str
    equipment: ConductingEquipment


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A connectivity node with its path and nominal voltage, None where the file does not give it."""

    path: str
    node: ConnectivityNode
    voltage_v: float | None


@dataclass(frozen=True, slots=True)
class PlacedTransformer:
    """A power transformer with its path; ``in_line`` if it stands in a Line, not in a substation."""

    path: str
    transformer: PowerTransformer
    in_line: bool


@dataclass(frozen=True, slots=True)
class Primary:
    """All primary equipment in the order of the file."""

    nodes: tuple[PlacedNode, ...]
    equipment: tuple[Placed, ...]
    transformers: tuple[PlacedTransformer, ...]


def walk_primary(scl: SCL) -> Primary:
    """Collect the primary equipment of a file."""
    nodes: list[PlacedNode] = []
    equipment: list[Placed] = []
    transformers: list[PlacedTransformer] = []
    for path, container, voltage_v in containers(scl):
        transformers.extend(
            PlacedTransformer(f"{path}/{transformer.name}", transformer, isinstance(container, Line))
            for transformer in container.transformers
        )
        if isinstance(container, Bay | Line | Process):
            nodes.extend(PlacedNode(f"{path}/{node.name}", node, voltage_v) for node in container.connectivity_nodes)
            equipment.extend(Placed(f"{path}/{item.name}", item) for item in container.conducting_equipment)
        equipment.extend(_of_functions(path, container.functions))
    return Primary(tuple(nodes), tuple(equipment), tuple(transformers))


def containers(scl: SCL) -> Iterator[tuple[str, Container, float | None]]:
    """All containers of equipment with their path and nominal voltage in V, in the order of the file."""
    tops = (*scl.substations, *scl.lines, *scl.processes)
    for top in sorted(tops, key=lambda container: container.line):
        yield from _inside("", top, None)


def _inside(
    prefix: str, container: Container, voltage_v: float | None
) -> Iterator[tuple[str, Container, float | None]]:
    path = prefix + container.name
    inner: Iterable[Container] = ()
    match container:
        case Substation():
            inner = container.voltage_levels
        case VoltageLevel():
            voltage_v, inner = _volts(container.voltage), container.bays
        case Line():
            voltage_v = _volts(container.voltage)
        case Process():
            tops = (*container.substations, *container.lines, *container.processes)
            inner = sorted(tops, key=lambda top: top.line)
    yield path, container, voltage_v
    for item in inner:
        yield from _inside(path + "/", item, voltage_v)


def _volts(voltage: Voltage | None) -> float | None:
    if voltage is None or voltage.unit != "V" or voltage.multiplier not in _MULTIPLIERS or not voltage.value > 0:
        return None
    return voltage.value * _MULTIPLIERS[voltage.multiplier]


def _of_functions(path: str, functions: Iterable[Function | SubFunction]) -> Iterator[Placed]:
    for function in functions:
        inner = f"{path}/{function.name}"
        for item in function.conducting_equipment:
            yield Placed(f"{inner}/{item.name}", item)
        yield from _of_functions(inner, function.sub_functions)


def lnodes_of(equipment: ConductingEquipment) -> Iterator[LNode]:
    """All links of a piece of equipment to logical nodes: its own, and those of its parts and functions."""
    yield from equipment.lnodes
    for part in equipment.sub_equipment:
        yield from part.lnodes
        yield from _lnodes_of_functions(part.functions)
    yield from _lnodes_of_functions(equipment.functions)


def _lnodes_of_functions(functions: Iterable[EqFunction | EqSubFunction]) -> Iterator[LNode]:
    for function in functions:
        yield from function.lnodes
        yield from _lnodes_of_functions(function.sub_functions)
