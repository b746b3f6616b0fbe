"""The agents' data sets as allData octets, in the fixed-length encoding that their GSEControl declares.

Every value then stands at a fixed offset, which keeps an agent's reaction short. The layout is generated from
``scl.agent_model``; nothing else knows offsets.
"""

from __future__ import annotations

import math
from enum import IntEnum
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import (
    AgentState,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
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
    from collections.abc import Callable, Iterator, Sequence

    from ied_agents.goose.layout import MemberType

E_ = TypeVar("E_", bound=IntEnum)


class _Literals(dict[int, E_]):
    """The literals of an enumeration by their value."""

    def __init__(self, kind: type[E_]) -> None:
        super().__init__((int(literal), literal) for literal in kind)
        self._name = kind.__name__

    def __missing__(self, value: int) -> E_:
        raise GooseDecodeError("allData", 0, f"{value} is no {self._name}")


_DIRECTION: Final = _Literals(Direction)
_VOLTAGE: Final = _Literals(Voltage)
_SECTION: Final = _Literals(SectionState)
_LOCK: Final = _Literals(LockState)
_BEHAVIOUR: Final = _Literals(Behaviour)
_CLAIM_KIND: Final = _Literals(ClaimKind)
_STAGE: Final = _Literals(Stage)
_REASON: Final = _Literals(Reason)


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
    return FastEncoder()(state)


class FastEncoder:
    """Encodes the fast data sets of one switch; the octets of parts that did not change are used again."""

    def __init__(self) -> None:
        self._fields: list[Any] = [None] * len(_PARTS)
        self._pieces = [b""] * len(_PARTS)

    def __call__(self, state: AgentState) -> bytes:
        """The data set, as :func:`encode_fast`."""
        for index, part in enumerate(_PARTS):
            fields = part.fields(state)
            if fields != self._fields[index]:
                self._pieces[index] = part.layout.encode(part.leaves(fields))
                self._fields[index] = fields
        return b"".join(self._pieces)


def _padded(items: Sequence[Sequence[int]], count: int, width: int) -> list[int]:
    if len(items) > count:
        raise ValueError(f"{len(items)} entries for an array of {count}")
    return [*chain.from_iterable(items), *([0] * ((count - len(items)) * width))]


class FastDecoder:
    """Decodes the fast data sets of one switch; parts whose octets did not change are taken over from the last one.

    Args:
        switch: number of the publisher.
    """

    def __init__(self, switch: int) -> None:
        self._switch = switch
        self._pieces: list[bytes] = [b""] * len(_PARTS)
        self._values: list[tuple[Any, ...]] = [()] * len(_PARTS)

    def __call__(self, raw: bytes) -> AgentState:
        """The data set.

        Raises:
            GooseDecodeError: not the data set of the SCD, or an enumerated value outside its range.
        """
        if len(raw) == FAST.size:
            try:
                return self._decode_changed(raw)
            except GooseDecodeError:
                pass
        # In another encoding of the same types, or not readable: read as a whole, so that an error names its place.
        leaves = FAST.decode(raw)
        return AgentState(
            *chain.from_iterable(part.read(leaves[part.leaf : part.leaf_end], self._switch) for part in _PARTS)
        )

    def _decode_changed(self, raw: bytes) -> AgentState:
        pieces, values = self._pieces.copy(), self._values.copy()
        for index, part in enumerate(_PARTS):
            piece = raw[part.begin : part.end]
            if piece != pieces[index]:
                pieces[index] = piece
                values[index] = part.read(part.layout.decode(piece), self._switch)
        # Only what could be read whole is remembered.
        self._pieces, self._values = pieces, values
        return AgentState(*chain.from_iterable(values))


# Parts of the data set that change together: how the values of their fields become leaves, and the leaves values.


def _head_leaves(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    incarnation, position, position_quality, outstanding, pickup, direction, pickup_quality, number, trusted = fields
    qualities = Quality.from_int(position_quality), Quality.from_int(pickup_quality)
    return incarnation, position, qualities[0], outstanding, pickup, direction, qualities[1], number, trusted


def _read_head(leaves: tuple[Any, ...], _: int) -> tuple[Any, ...]:
    incarnation, position, position_quality, outstanding, pickup, direction, pickup_quality, number, trusted = leaves
    qualities = position_quality.to_int(), pickup_quality.to_int()
    return (
        incarnation,
        position,
        qualities[0],
        outstanding,
        pickup,
        _DIRECTION[direction],
        qualities[1],
        number,
        trusted,
    )


def _answer_leaves(answers: tuple[Answer, ...]) -> list[int]:
    return _padded(answers, agent_model.ANSWERS, 4)


def _read_answers(leaves: tuple[Any, ...], _: int) -> tuple[Any, ...]:
    given = (leaves[at : at + 4] for at in range(0, len(leaves), 4) if leaves[at])
    # An answer of a kind that a later release knows settles nothing.
    return (
        tuple(Answer(to, inc, pickup, AnswerKind(min(kind, AnswerKind.UNSURE))) for to, inc, pickup, kind in given),
    )


def _sign_leaves(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    last_event, trip, voltage = fields
    return (*last_event, trip, *voltage)


def _read_signs(leaves: tuple[Any, ...], _: int) -> tuple[Any, ...]:
    switch, counter, trip, a, b = leaves
    return EventId(switch, counter), trip, (_VOLTAGE[a], _VOLTAGE[b])


def _side_leaves(sides: tuple[SideState, SideState]) -> list[int]:
    return [
        leaf
        for side in sides
        for leaf in (
            side.section,
            *side.section_event,
            side.lock,
            *side.lock_event,
            side.clear,
            *side.clear_event,
        )
    ]


def _read_sides(leaves: tuple[Any, ...], _: int) -> tuple[Any, ...]:
    half = len(leaves) // 2
    return ((_side(*leaves[:half]), _side(*leaves[half:])),)


def _side(
    section: int,
    section_switch: int,
    section_counter: int,
    lock: int,
    lock_switch: int,
    lock_counter: int,
    clear: bool,
    clear_switch: int,
    clear_counter: int,
) -> SideState:
    return SideState(
        _SECTION[section],
        EventId(section_switch, section_counter),
        _LOCK[lock],
        EventId(lock_switch, lock_counter),
        clear,
        EventId(clear_switch, clear_counter),
    )


def _standing_leaves(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    failure, shots, reclosing, cleared, held, hold_claim, returning, *rest = fields
    return (
        failure,
        shots,
        reclosing,
        *_padded(cleared, agent_model.CLEARED, 2),
        held,
        *hold_claim,
        *returning,
        *rest,
    )


def _read_standing(leaves: tuple[Any, ...], switch: int) -> tuple[Any, ...]:
    take = _Taker(leaves, switch)
    number = take.number
    return (
        number(),
        number(),
        number(),
        tuple(e for e in [take.event() for _ in range(agent_model.CLEARED)] if e.switch),
        number(),
        take.claim_id(),
        take.event(),
        number(),
        _BEHAVIOUR[number()],
        number(),
        number(),
    )


def _claim_leaves(claims: tuple[Claim, Claim]) -> list[int]:
    return [
        leaf
        for claim in claims
        for leaf in (
            claim.id.epoch,
            claim.id.number,
            *claim.event,
            claim.kind,
            *_padded([(b.switch * 2 + b.side,) for b in claim.boundary], agent_model.BOUNDARY, 1),
            *claim.request,
            *_padded([(b.switch * 2 + b.side,) for b in claim.grants], agent_model.GRANTS, 1),
        )
    ]


def _read_claims(leaves: tuple[Any, ...], switch: int) -> tuple[Any, ...]:
    take = _Taker(leaves, switch)
    return ((take.claim(), take.claim()),)


def _commitment_leaves(fields: tuple[Any, ...]) -> tuple[int, ...]:
    promises, reservations = fields
    given = [(*r.claim, r.tie, r.deciamperes, r.whole) for r in reservations]
    return (*promises[0], *promises[1], *_padded(given, agent_model.RESERVATIONS, 6))


def _read_commitments(leaves: tuple[Any, ...], switch: int) -> tuple[Any, ...]:
    take = _Taker(leaves, switch)
    return (take.claim_id(), take.claim_id()), take.reservations()


def _result_leaves(fields: tuple[Any, ...]) -> tuple[int, ...]:
    outcome, progress = fields
    return (
        *outcome.claim,
        outcome.tie,
        outcome.reason,
        outcome.deciamperes,
        progress.stage,
        progress.reason,
        *progress.event,
    )


def _read_result(leaves: tuple[Any, ...], switch: int) -> tuple[Any, ...]:
    take = _Taker(leaves, switch)
    number = take.number
    return (
        Outcome(take.claim_id(), number(), _REASON[number()], number()),
        Progress(_STAGE[number()], _REASON[number()], take.event()),
    )


class _Part(NamedTuple):
    """Some members of the data set, side by side: octets ``begin`` to ``end``, leaves ``leaf`` to ``leaf_end``."""

    layout: DataSetLayout
    begin: int
    end: int
    leaf: int
    leaf_end: int
    fields: Callable[[AgentState], Any]
    """The fields of the state that the part holds: one value, or a tuple of several."""
    leaves: Callable[[Any], Sequence[Any]]
    read: Callable[[tuple[Any, ...], int], tuple[Any, ...]]
    """Makes the values of the fields of leaves and the number of the publisher."""


def _parts() -> tuple[_Part, ...]:
    parts: list[_Part] = []
    members, octet, leaf = list(agent_model.FAST), 0, 0
    head = "incarnation position position_quality close_outstanding pickup direction pickup_quality pickup_id"
    for count, names, leaves, read in (
        (9, head + " direction_trusted", _head_leaves, _read_head),
        (1, "answers", _answer_leaves, _read_answers),
        (4, "last_event trip voltage", _sign_leaves, _read_signs),
        (2, "sides", _side_leaves, _read_sides),
        (
            10,
            "breaker_failure shots reclosing cleared held hold_claim returning ready behaviour tags unproven",
            _standing_leaves,
            _read_standing,
        ),
        (8, "claims", _claim_leaves, _read_claims),
        (3, "promises reservations", _commitment_leaves, _read_commitments),
        (2, "outcome progress", _result_leaves, _read_result),
    ):
        layout = _layout(members[:count])
        del members[:count]
        end, leaf_end = octet + layout.size, leaf + layout.leaf_count
        parts.append(_Part(layout, octet, end, leaf, leaf_end, attrgetter(*names.split()), leaves, read))
        octet, leaf = end, leaf_end
    return tuple(parts)


_PARTS: Final = _parts()


def _names(members: Sequence[agent_model.Member]) -> tuple[str, ...]:
    """The reference of every leaf of a data set, as ``AFSR1.Ans.ans(3).sw``; SW1 stands for the switch's node."""
    names: list[str] = []
    for member in members:
        stem = f"{member.ln}.{member.do}.{member.da}"
        for place in [f"({index})" for index in range(member.count)] or [""]:
            names += [f"{stem}{place}{'.' + a.name if member.structured else ''}" for a in member.attributes]
    return tuple(names)


_FAST_NAMES: Final = _names(agent_model.FAST)
_SLOW_NAMES: Final = _names(agent_model.SLOW)


def changed(before: AgentState | None, after: AgentState) -> dict[str, Any]:
    """What of the fast data set is not as it was, all of it where there was nothing: values by reference.

    Enumerations and Dbpos are numbers, Quality a number whose first bit is the most significant of 13.
    """
    values: dict[str, Any] = {}
    for part in _PARTS:
        fields = part.fields(after)
        was = None if before is None else part.fields(before)
        if fields == was:
            continue
        new = part.leaves(fields)
        old = [None] * len(new) if before is None else part.leaves(was)
        for name, value, last in zip(_FAST_NAMES[part.leaf : part.leaf_end], new, old, strict=True):
            if value != last:
                values[name] = _plain(value)
    return values


def changed_load(before: LoadState | None, after: LoadState) -> dict[str, Any]:
    """The same of the slow data set."""
    new = _load_leaves(after)
    old = [None] * len(new) if before is None else _load_leaves(before)
    return {name: _plain(value) for name, value, last in zip(_SLOW_NAMES, new, old, strict=True) if value != last}


def _plain(value: Any) -> bool | int | float:
    if isinstance(value, Quality):
        return value.to_int()
    return int(value) if isinstance(value, IntEnum) else value


def _load_leaves(state: LoadState) -> tuple[Any, ...]:
    quality = Quality.from_int(state.flow_quality)
    return state.incarnation, state.flow_a, quality, *state.generation_a, *state.spare_a


def encode_slow(state: LoadState) -> bytes:
    """AllData of the slow data set."""
    return SLOW.encode(_load_leaves(state))


def decode_slow(raw: bytes) -> LoadState:
    """The slow data set.

    Raises:
        GooseDecodeError: not the data set of the SCD.
    """
    incarnation, flow, quality, gen_a, gen_b, spare_a, spare_b = cast("tuple[Any, ...]", SLOW.decode(raw))
    if not all(map(math.isfinite, (flow, gen_a, gen_b, spare_a, spare_b))):
        raise GooseDecodeError("allData", 0, "a current that is no number")
    return LoadState(incarnation, flow, quality.to_int(), (gen_a, gen_b), (spare_a, spare_b))


class _Taker:
    """Takes flat values of one publisher one after the other."""

    __slots__ = ("number", "switch")

    def __init__(self, values: tuple[Any, ...], switch: int) -> None:
        values_left: Iterator[Any] = iter(values)
        self.number = values_left.__next__
        self.switch = switch

    def event(self) -> EventId:
        return EventId(self.number(), self.number())

    def claim_id(self) -> ClaimId:
        return ClaimId(self.number(), self.number(), self.number())

    def claim(self) -> Claim:
        epoch, claim_number = self.number(), self.number()
        event = self.event()
        kind = _CLAIM_KIND[self.number()]
        boundary = self._bounds(agent_model.BOUNDARY)
        request = Request(self.number(), self.number(), self.number())
        grants = self._bounds(agent_model.GRANTS)
        # The claiming switch is the publisher; an empty claim has no owner, so that it equals NO_CLAIM.
        identity = ClaimId(epoch, claim_number, self.switch if claim_number else 0)
        return Claim(identity, event, boundary, request, grants, kind)

    def _bounds(self, count: int) -> tuple[Bound, ...]:
        codes = [self.number() for _ in range(count)]
        return tuple(Bound(code >> 1, code & 1) for code in codes if code)

    def reservations(self) -> tuple[Reservation, ...]:
        items = [
            Reservation(self.claim_id(), self.number(), self.number(), self.number())
            for _ in range(agent_model.RESERVATIONS)
        ]
        return tuple(item for item in items if item.tie)
