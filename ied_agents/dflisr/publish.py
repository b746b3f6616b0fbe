"""What an agent publishes, put together from its record, its inputs and its decisions.

What others may rely on is published only once it is on disk: locks say whether they are durable, and claims, promises,
reservations and cleared events leave only as they were stored. Locks and promises bind an island besides only while it
is known where every fault current of this switch went.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr.capacity import FLOW_DEADBAND_A, HIGHEST_CURRENT_A, spare_a
from ied_agents.dflisr.isolate import carries_fault
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    NO_CLAIM,
    NO_EVENT,
    AgentState,
    EventId,
    LoadState,
    LockState,
    SideState,
)
from ied_agents.dflisr.views import locked
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage
from scl.agent_model import CLEARED

if TYPE_CHECKING:
    from ied_agents.dflisr.locate import Pickup
    from ied_agents.dflisr.records import Claim
    from ied_agents.dflisr.stored import Record, StoredSide
    from ied_agents.dflisr.views import Situation

INVALID_QUALITY: Final = 0b01_0000_0000000
"""Validity invalid; the first quality bit is the most significant of 13."""


def position(situation: Situation, now: float) -> tuple[Dbpos, int]:
    """The own position and its quality."""
    inputs = situation.inputs
    if inputs is None or not situation.inputs_valid(now) or not inputs.position_valid:
        return Dbpos.INTERMEDIATE if inputs is None else inputs.position, INVALID_QUALITY
    return inputs.position, 0


def agent_state(
    situation: Situation,
    record: Record,
    stored: Record,
    now: float,
    *,
    pickup: Pickup | None,
    claims: tuple[Claim, Claim],
    shot_side: int | None,
    located: bool,
    **decided: Any,
) -> AgentState:
    """The fast data set.

    Args:
        situation: what is known.
        record: durable state as decided.
        stored: durable state as it is on disk.
        now: s.
        pickup: the own one, or None.
        claims: of both sides.
        shot_side: side towards which the nearest breaker is asked to trip for a reclosing shot; None for no request.
        located: it is known where the own fault current went, if there was any, also in the process before this one,
            or it is published that it still flows. Else no promise and no lock says that all this switch knows of a
            fault is in its flags: neither may bind an island.
        decided: the members that are published as they were decided.
    """
    place, quality = position(situation, now)
    inputs = situation.inputs
    valid = situation.inputs_valid(now) and inputs is not None
    own = situation.own
    past = pickup is not None and pickup.until is not None and pickup.settled
    past = past and inputs is not None and set(inputs.voltage) == {Voltage.PRESENT}
    return AgentState(
        incarnation=situation.incarnation,
        position=place,
        position_quality=quality,
        pickup=carries_fault(pickup),
        # Once it is known where the current went, and voltage is back, it is no news to anybody who starts.
        direction=Direction.UNKNOWN if pickup is None or past else pickup.direction,
        pickup_quality=0 if valid else INVALID_QUALITY,
        pickup_id=0 if pickup is None else pickup.id,
        direction_trusted=pickup is not None and (pickup.trusted or past),
        voltage=inputs.voltage if valid and inputs is not None else (Voltage.UNKNOWN, Voltage.UNKNOWN),
        sides=(
            _side(record.sides[0], stored.sides[0], situation.me.number, shot=shot_side == 0, located=located),
            _side(record.sides[1], stored.sides[1], situation.me.number, shot=shot_side == 1, located=located),
        ),
        cleared=stored.cleared[-CLEARED:],
        held=record.hold_claim != NO_CLAIM,
        hold_claim=stored.hold_claim,
        returning=stored.returning,
        tags=record.all_tags,
        claims=(
            claims[0] if claims[0].id in (NO_CLAIM, stored.claims[0]) else own.claims[0],
            claims[1] if claims[1].id in (NO_CLAIM, stored.claims[1]) else own.claims[1],
        ),
        promises=stored.promises if located else (NO_CLAIM, NO_CLAIM),
        reservations=tuple(entry.reservation for entry in stored.reservations),
        **decided,
    )


def _side(side: StoredSide, stored: StoredSide, me: int, *, shot: bool, located: bool) -> SideState:
    if side.event == NO_EVENT and side.clear_event == NO_EVENT and not shot:
        return CLEAR_SIDE  # almost always: nothing is held
    lock = LockState.NONE
    if side.locked:
        durable = located and stored.locked and stored.event == side.event
        lock = LockState.DURABLE if durable else LockState.VOLATILE
    clear = side.clear_event
    if clear == NO_EVENT and shot:
        # No event: the breaker may reclose after this one.
        clear = EventId(me, 0)
    return SideState(
        section=side.section,
        section_event=side.event,
        lock=lock,
        lock_event=side.event if side.locked else NO_EVENT,
        clear=clear != NO_EVENT,
        clear_event=clear,
    )


def load_state(situation: Situation, last: LoadState, now: float) -> LoadState:
    """The slow data set; currents within the deadband of what was published stay as they were."""
    inputs = situation.inputs
    if inputs is None or inputs.flow_a is None or not situation.inputs_valid(now):
        return replace(last, flow_quality=INVALID_QUALITY, spare_a=(0.0, 0.0))
    idle = situation.known_open(situation.me.number) and not locked(situation.own)
    spare = (spare_a(situation, 0), spare_a(situation, 1)) if idle else (0.0, 0.0)
    flow = _steady(inputs.flow_a, last.flow_a)
    generation = (
        _steady(inputs.generation_a[0], last.generation_a[0]),
        _steady(inputs.generation_a[1], last.generation_a[1]),
    )
    spare = _steady(spare[0], last.spare_a[0]), _steady(spare[1], last.spare_a[1])
    return LoadState(situation.incarnation, flow, 0, generation, spare)


def _steady(value_a: float, published_a: float) -> float:
    if abs(value_a - published_a) < FLOW_DEADBAND_A:
        return published_a
    return min(max(value_a, -HIGHEST_CURRENT_A), HIGHEST_CURRENT_A)
