"""What an agent's inputs from a relay are: which place of which stream has which meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scl.relay_model import DIRECTION_ATTRIBUTE, QUALITY, SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.control_blocks import ExtRef
    from scl.datasets import Member
    from scl.ied import LN
    from scl.streams import GooseIndex, GooseStream
    from scl.types import TypedAttribute

Part = Literal["value", "quality", "direction"]


@dataclass(frozen=True, slots=True)
class RelayInput:
    """One basic value that an agent takes from a relay.

    Attributes:
        signal: what it means, a key of ``relay_model.SIGNALS``.
        part: the value itself, its quality, or the direction of a start.
        element: data object it belongs to, as IED, logical device, node and name: ``F1Q1P/PROT/PTOC1.Str``.
        stream: in which it comes.
        place: in which member of the data set, and in which component of that, from 0.
        bType: its basic type.
    """

    signal: str
    part: Part
    element: str
    stream: GooseStream
    place: tuple[int, ...]
    bType: str


def relay_inputs(index: GooseIndex, iedName: str, ln: LN) -> tuple[list[RelayInput], list[tuple[ExtRef, str]]]:
    """Inputs of an agent that say in ``intAddr`` what they mean; those that are not bound to data are left out.

    Args:
        index: streams of the file.
        iedName: the agent's IED.
        ln: its ``AFSR``.

    Returns:
        The inputs, and those that cannot be used with the reason; what ``scl.validation`` finds wrong with any input
        is not told again.

    Raises:
        SclError: a stream cannot be resolved.
    """
    found: list[RelayInput] = []
    problems: list[tuple[ExtRef, str]] = []
    for extref in ln.inputs.extrefs if ln.inputs else ():
        if not extref.intAddr or not extref.iedName:
            continue
        if extref.intAddr not in SIGNALS:
            known = ", ".join(SIGNALS)
            problems.append((extref, f"intAddr {extref.intAddr!r} means nothing to an agent; expected one of {known}"))
            continue
        block = index.find(extref, iedName)
        stream = (
            None if isinstance(block, str) else index.stream(block.ied.name, block.ldevice.inst, block.control.name)
        )
        if stream is None:
            continue
        inputs = list(_inputs(extref, stream))
        if not inputs:
            expected = " or ".join(f"{da} ({' or '.join(t)})" for da, t in SIGNALS[extref.intAddr].values.items())
            problems.append((extref, f"it gives no {SIGNALS[extref.intAddr].meaning}: expected {expected}"))
        found.extend(inputs)
    return found, problems


def _inputs(extref: ExtRef, stream: GooseStream) -> Iterator[RelayInput]:
    wanted = (extref.ldInst, extref.prefix, extref.lnClass, extref.lnInst, extref.doName)
    for number, member in enumerate(stream.members):
        fcda = member.fcda
        if (fcda.ldInst, fcda.prefix, fcda.lnClass, fcda.lnInst, fcda.doName) != wanted or fcda.ix is not None:
            continue
        for name, place, leaf in _leaves(member, number):
            part = _part(extref.intAddr, name, leaf.bType)
            if part is not None and (not extref.daName or f"{name}.".startswith(f"{extref.daName}.")):
                element = f"{extref.iedName}/{extref.ldInst}/{member.ln}.{extref.doName}"
                yield RelayInput(extref.intAddr, part, element, stream, place, leaf.bType)


def _leaves(member: Member, number: int) -> Iterator[tuple[str, tuple[int, ...], TypedAttribute]]:
    """The basic values of a member, by name within its data object, with their place; arrays are left out."""
    waiting: list[tuple[str, tuple[int, ...], TypedAttribute]] = [(member.daName, (number,), member.type)]
    while waiting:
        name, place, attribute = waiting.pop(0)
        if attribute.count:
            continue
        if not attribute.attributes:
            yield name, place, attribute
        for inner, part in enumerate(attribute.attributes):
            waiting.append((f"{name}.{part.name}" if name else part.name, (*place, inner), part))


def _part(signal: str, name: str, bType: str) -> Part | None:
    if name == QUALITY and bType == "Quality":
        return "quality"
    if signal == "Str" and name == DIRECTION_ATTRIBUTE and bType == "Enum":
        return "direction"
    return "value" if bType in SIGNALS[signal].values.get(name, ()) else None
