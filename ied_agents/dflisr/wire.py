"""The agents' data sets as allData octets, in the fixed-length encoding that their GSEControl declares.

Every value then stands at a fixed offset, which keeps an agent's reaction short. The layout is generated from
``scl.agent_model``; nothing else knows offsets.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

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
from ied_agents.goose.layout import ArrayOf, DataSetLayout, StructureOf
from ied_agents.iec61850.quality import Quality
from ied_agents.process.inputs import Direction, Voltage
from scl import agent_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from enum import IntEnum

    from ied_agents.goose.layout import MemberType

E_ = TypeVar("E_", bound="IntEnum")


def _layout(members: Sequence[agent_model.Member]) -> DataSetLayout:
    types: list[MemberType] = []
    for member in members:
        basic = tuple(attribute.bType for attribute in member.attributes)
        element: MemberType = StructureOf(basic) if member.structured else basic[0]
        types.append(ArrayOf(element, member.count) if member.count else element)
    return DataSetLayout(types)


FAST: Final = _layout(agent_model.FAST)
SLOW: Final = _layout(agent_model.SLOW)


def encode_fast(state: AgentState) -> bytes:
    """AllData of the fast data set. Lists longer than the data set's arrays are a programming error (ValueError)."""
    return FAST.encode(
        (
            state.incarnation,
            state.position,
            Quality.from_int(state.position_quality),
            state.close_outstanding,
            state.pickup,
            state.direction,
            Quality.from_int(state.pickup_quality),
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
            *_padded([(*r.claim, r.tie, r.deciamperes) for r in state.reservations], agent_model.RESERVATIONS, 5),
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

    def __call__(self, raw: bytes) -> AgentState:
        """The data set.

        Raises:
            GooseDecodeError: not the data set of the SCD, or an enumerated value outside its range.
        """
        values = FAST.decode(raw)
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
        number(),
        number().to_int(),
        take.flag(),
        take.flag(),
        take.literal(Direction),
        number().to_int(),
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
    quality = Quality.from_int(state.flow_quality)
    return SLOW.encode((state.incarnation, state.flow_a, quality, state.generation_a, *state.spare_a))


def decode_slow(raw: bytes) -> LoadState:
    """The slow data set.

    Raises:
        GooseDecodeError: not the data set of the SCD.
    """
    incarnation, flow, quality, generation, spare_a, spare_b = cast("tuple[Any, ...]", SLOW.decode(raw))
    if not all(map(math.isfinite, (flow, generation, spare_a, spare_b))):
        raise GooseDecodeError("allData", 0, "a current that is no number")
    return LoadState(incarnation, flow, quality.to_int(), generation, (spare_a, spare_b))


class _Taker:
    """Takes flat values of one publisher one after the other."""

    __slots__ = ("number", "switch")

    def __init__(self, values: tuple[Any, ...], switch: int) -> None:
        values_left: Iterator[Any] = iter(values)
        self.number = values_left.__next__
        self.switch = switch

    def flag(self) -> bool:
        return bool(self.number())

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
        return Claim(ClaimId(epoch, claim_number, self.switch if claim_number else 0), event, boundary, request, grants)

    def _bounds(self, count: int) -> tuple[Bound, ...]:
        codes = [self.number() for _ in range(count)]
        return tuple(Bound(code >> 1, code & 1) for code in codes if code)

    def reservations(self) -> tuple[Reservation, ...]:
        items = [Reservation(self.claim_id(), self.number(), self.number()) for _ in range(agent_model.RESERVATIONS)]
        return tuple(item for item in items if item.tie)
