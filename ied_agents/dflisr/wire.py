"""The agents' data sets as allData octets, in the fixed-length encoding that their GSEControl declares.

Every value then stands at a fixed offset: tags and lengths are checked with one mask over the whole data set and
the values are unpacked with one ``struct``, which keeps an agent's reaction short. The layout is generated from
``scl.agent_model``; nothing else knows offsets.

Fixed widths (IEC 61850-8-1, fixed-length encoding): BOOLEAN 1, INT8U 2, INT16U 3, INT32U 5, enumerated 2, FLOAT32 5,
Dbpos 2 and Quality 3 octets of content.
"""

from __future__ import annotations

import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    AgentState,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LoadState,
    LockState,
    Outcome,
    Progress,
    Request,
    Reservation,
    SectionState,
    SideState,
    Stage,
)
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage
from scl import agent_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from enum import IntEnum

E_ = TypeVar("E_", bound="IntEnum")

# bType -> octets in front of the value (tag, length, leading zero or padding count) and struct code of the value.
_BASIC: Final = {
    "BOOLEAN": (b"\x83\x01", "B"),
    "INT8U": (b"\x86\x02\x00", "B"),
    "INT16U": (b"\x86\x03\x00", "H"),
    "INT32U": (b"\x86\x05\x00", "I"),
    "Enum": (b"\x85\x02\x00", "B"),
    "FLOAT32": (b"\x87\x05\x08", "f"),
    "Dbpos": (b"\x84\x02\x06", "B"),
    "Quality": (b"\x84\x03\x03", "H"),
}


def _header(tag: int, length: int) -> bytes:
    if length < 0x80:
        return bytes((tag, length))
    if length < 0x100:
        return bytes((tag, 0x81, length))
    return bytes((tag, 0x82, length >> 8, length & 0xFF))


class Layout:
    """Offsets of one data set: ``pack`` turns flat values into allData, ``unpack`` does the reverse."""

    def __init__(self, members: Sequence[agent_model.Member]) -> None:
        pieces = [self._member(member) for member in members]
        self.offsets: Final = tuple(sum(len(piece[0]) for piece in pieces[:index]) for index in range(len(pieces) + 1))
        constant = b"".join(piece[0] for piece in pieces)
        mask = b"".join(piece[1] for piece in pieces)
        self._format = struct.Struct(">" + "".join(piece[2] for piece in pieces))
        self._constant = int.from_bytes(constant)
        self._mask = int.from_bytes(mask)
        self.size: Final = len(constant)
        self.entries: Final = len(members)

    @staticmethod
    def _member(member: agent_model.Member) -> tuple[bytes, bytes, str]:
        constant, mask, code = b"", b"", ""
        for attribute in member.attributes:
            lead, value = _BASIC[attribute.bType]
            width = struct.calcsize(value)
            constant += lead + bytes(width)
            mask += b"\xff" * len(lead) + bytes(width)
            code += f"{len(lead)}x{value}"
        if member.structured:
            constant, mask, code = _wrapped(0xA2, constant, mask, code)
        if member.count:
            constant, mask, code = constant * member.count, mask * member.count, code * member.count
            constant, mask, code = _wrapped(0xA1, constant, mask, code)
        return constant, mask, code

    def pack(self, values: Sequence[Any]) -> bytes:
        """Flat values in wire order to allData."""
        return (int.from_bytes(self._format.pack(*values)) | self._constant).to_bytes(self.size)

    def unpack(self, raw: bytes | memoryview) -> tuple[Any, ...]:
        """AllData to flat values in wire order.

        Raises:
            GooseDecodeError: length, tag or length octets are not those of the data set.
        """
        if len(raw) != self.size:
            raise GooseDecodeError("allData", 0, f"{len(raw)} octets, expected {self.size} in fixed-length encoding")
        if int.from_bytes(raw) & self._mask != self._constant:
            expected, mask = self._constant.to_bytes(self.size), self._mask.to_bytes(self.size)
            offset = next(i for i in range(self.size) if raw[i] & mask[i] != expected[i])
            raise GooseDecodeError("allData", offset, f"0x{raw[offset]:02x}, expected 0x{expected[offset]:02x}")
        return self._format.unpack(raw)


def _wrapped(tag: int, constant: bytes, mask: bytes, code: str) -> tuple[bytes, bytes, str]:
    header = _header(tag, len(constant))
    return header + constant, b"\xff" * len(header) + mask, f"{len(header)}x{code}"


FAST: Final = Layout(agent_model.FAST)
SLOW: Final = Layout(agent_model.SLOW)


def _hurried_spans() -> tuple[tuple[int, int], ...]:
    """Octets from the end of a frame, which is that of allData, where asking, granting and flagging stand."""
    names = [(member.do, member.da) for member in agent_model.FAST]

    def span(first: tuple[str, str], last: tuple[str, str]) -> tuple[int, int]:
        begin, end = FAST.offsets[names.index(first)], FAST.offsets[names.index(last) + 1]
        return begin - FAST.size, end - FAST.size

    return span(("SideA", "st"), ("SideB", "st")), span(("ClmA", "id"), ("Out", "st"))


_HURRIED: Final = _hurried_spans()


def unhurried(last: bytes, frame: bytes) -> bool:
    """Whether nothing that asks, grants, reserves, flags or clears differs between two frames of a fast stream."""
    if len(last) != len(frame):
        return False
    return all(last[begin:end] == frame[begin:end] for begin, end in _HURRIED)


def encode_fast(state: AgentState) -> bytes:
    """AllData of the fast data set. Lists longer than the data set's arrays are a programming error (ValueError)."""
    return FAST.pack(
        (
            state.incarnation,
            state.position << 6,
            state.position_quality << 3,
            state.close_outstanding,
            state.pickup,
            state.direction,
            state.pickup_quality << 3,
            state.pickup_id,
            state.direction_trusted,
            *_padded(state.answers, agent_model.ANSWERS, 4),
            *state.last_event,
            state.trip,
            *state.voltage,
            *_flat_side(state.sides[0]),
            *_flat_side(state.sides[1]),
            state.breaker_failure,
            state.shots,
            *_padded(state.cleared, agent_model.CLEARED, 2),
            state.held,
            *state.hold_claim,
            state.ready,
            state.behaviour,
            state.tags,
            state.unproven,
            *_flat_claim(state.claims[0]),
            *_flat_claim(state.claims[1]),
            *state.promises[0],
            *state.promises[1],
            *_padded(
                [(*r.claim, r.tie, r.deciamperes) for r in state.reservations], agent_model.RESERVATIONS, 5
            ),
            *state.outcome.claim,
            state.outcome.tie,
            state.outcome.reason,
            state.progress.stage,
            state.progress.reason,
            *state.progress.event,
        )
    )


def _padded(items: Sequence[Sequence[int]], count: int, width: int) -> list[int]:
    if len(items) > count:
        raise ValueError(f"{len(items)} entries for an array of {count}")
    return [*chain.from_iterable(items), *([0] * ((count - len(items)) * width))]


def _flat_side(side: SideState) -> tuple[int, ...]:
    return (
        side.section,
        *side.section_event,
        side.lock,
        *side.lock_event,
        side.clear,
        *side.clear_event,
    )


def _flat_claim(claim: Claim) -> tuple[int, ...]:
    return (
        claim.id.epoch,
        claim.id.number,
        *claim.event,
        *_padded([(b.switch * 2 + b.side,) for b in claim.boundary], agent_model.BOUNDARY, 1),
        *claim.request,
        *_padded([(b.switch * 2 + b.side,) for b in claim.grants], agent_model.GRANTS, 1),
    )


class FastDecoder:
    """Decodes the fast data sets of one switch; parts that did not change are taken over from the last one.

    Args:
        switch: number of the publisher.
    """

    def __init__(self, switch: int) -> None:
        self._switch = switch
        self._values: tuple[Any, ...] = ()
        self._parts: list[tuple[Any, ...]] = []

    def __call__(self, raw: bytes | memoryview) -> AgentState:
        """The data set.

        Raises:
            GooseDecodeError: not the data set of the SCD, or an enumerated value outside its range.
        """
        values = FAST.unpack(raw)
        last, known = self._values, self._parts
        parts: list[tuple[Any, ...]] = []
        for index, (begin, end, decode) in enumerate(_PARTS):
            piece = values[begin:end]
            if known and piece == last[begin:end]:
                parts.append(known[index])
            else:
                parts.append(decode(_Taker(piece, self._switch)))
        # Only what could be read whole is remembered.
        self._values, self._parts = values, parts
        return AgentState(*chain.from_iterable(parts))


def _decode_head(take: _Taker) -> tuple[Any, ...]:
    number = take.number
    return (
        number(),
        Dbpos(number() >> 6),
        number() >> 3,
        take.flag(),
        take.flag(),
        take.literal(Direction),
        number() >> 3,
        number(),
        take.flag(),
    )


def _decode_answers(take: _Taker) -> tuple[Any, ...]:
    return (take.answers(),)


def _decode_signs(take: _Taker) -> tuple[Any, ...]:
    return take.event(), take.flag(), (take.literal(Voltage), take.literal(Voltage))


def _decode_sides(take: _Taker) -> tuple[Any, ...]:
    return ((take.side(), take.side()),)


def _decode_standing(take: _Taker) -> tuple[Any, ...]:
    return (
        take.flag(),
        take.flag(),
        tuple(e for e in [take.event() for _ in range(agent_model.CLEARED)] if e.switch),
        take.flag(),
        take.claim_id(),
        take.flag(),
        take.literal(Behaviour),
        take.number(),
        take.flag(),
    )


def _decode_claims(take: _Taker) -> tuple[Any, ...]:
    return ((take.claim(), take.claim()),)


def _decode_commitments(take: _Taker) -> tuple[Any, ...]:
    return (take.claim_id(), take.claim_id()), take.reservations()


def _decode_result(take: _Taker) -> tuple[Any, ...]:
    return (
        Outcome(take.claim_id(), take.number(), take.literal(Reason)),
        Progress(take.literal(Stage), take.literal(Reason), take.event()),
    )


_CLAIM_WIDTH: Final = 4 + agent_model.BOUNDARY + 3 + agent_model.GRANTS
# Parts of the data set that change together, in wire order: how many values each has, and how it is read.
_WIDTHS: Final = (
    (9, _decode_head),
    (4 * agent_model.ANSWERS, _decode_answers),
    (5, _decode_signs),
    (18, _decode_sides),
    (10 + 2 * agent_model.CLEARED, _decode_standing),
    (2 * _CLAIM_WIDTH, _decode_claims),
    (6 + 5 * agent_model.RESERVATIONS, _decode_commitments),
    (9, _decode_result),
)
_PARTS: Final = tuple(
    (sum(width for width, _ in _WIDTHS[:index]), sum(width for width, _ in _WIDTHS[: index + 1]), decode)
    for index, (_, decode) in enumerate(_WIDTHS)
)


def encode_slow(state: LoadState) -> bytes:
    """AllData of the slow data set."""
    return SLOW.pack(
        (state.incarnation, state.flow_a, state.flow_quality << 3, state.generation_a, *state.spare_a)
    )


def decode_slow(raw: bytes | memoryview) -> LoadState:
    """The slow data set.

    Raises:
        GooseDecodeError: not the data set of the SCD.
    """
    incarnation, flow, quality, generation, spare_a, spare_b = SLOW.unpack(raw)
    if not all(map(math.isfinite, (flow, generation, spare_a, spare_b))):
        raise GooseDecodeError("allData", 0, "a current that is no number")
    return LoadState(incarnation, flow, quality >> 3, generation, (spare_a, spare_b))


class _Taker:
    """Takes flat values of one publisher one after the other."""

    __slots__ = ("number", "switch")

    def __init__(self, values: tuple[int, ...], switch: int) -> None:
        values_left: Iterator[int] = iter(values)
        self.number = values_left.__next__
        self.switch = switch

    def flag(self) -> bool:
        return self.number() != 0

    def literal(self, kind: type[E_]) -> E_:
        value = self.number()
        try:
            return kind(value)
        except ValueError:
            raise GooseDecodeError("allData", 0, f"{value} is no {kind.__name__}") from None

    def event(self) -> EventId:
        return EventId(self.number(), self.number())

    def claim_id(self) -> ClaimId:
        return ClaimId(self.number(), self.number(), self.number())

    def answers(self) -> tuple[Answer, ...]:
        number = self.number
        return tuple(
            Answer(
                switch,
                incarnation,
                pickup,
                AnswerKind(kind) if kind <= AnswerKind.UNSURE else AnswerKind.UNSURE,
            )
            for switch, incarnation, pickup, kind in [
                (number(), number(), number(), number()) for _ in range(agent_model.ANSWERS)
            ]
            if switch
        )

    def side(self) -> SideState:
        return SideState(
            self.literal(SectionState),
            self.event(),
            self.literal(LockState),
            self.event(),
            self.flag(),
            self.event(),
        )

    def claim(self) -> Claim:
        epoch, claim_number = self.number(), self.number()
        event = self.event()
        boundary = self._bounds(agent_model.BOUNDARY)
        request = Request(self.number(), self.number(), self.number())
        grants = self._bounds(agent_model.GRANTS)
        # The claiming switch is the publisher; an empty claim has no owner, so that it equals NO_CLAIM.
        return Claim(
            ClaimId(epoch, claim_number, self.switch if claim_number else 0), event, boundary, request, grants
        )

    def _bounds(self, count: int) -> tuple[Bound, ...]:
        codes = [self.number() for _ in range(count)]
        return tuple(Bound(code >> 1, code & 1) for code in codes if code)

    def reservations(self) -> tuple[Reservation, ...]:
        items = [
            Reservation(self.claim_id(), self.number(), self.number())
            for _ in range(agent_model.RESERVATIONS)
        ]
        return tuple(item for item in items if item.tie)
