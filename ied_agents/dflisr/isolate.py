"""Isolate: which own sides must be locked, whether to open now, and which clear requests to make or to serve.

Design section 4, step 2. Breakers trip at once. A load-break switch opens when its pickup has reset and its current
is within its breaking capacity; until it is open it asks the nearest breaker of its infeed side to clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ied_agents.dflisr.records import NO_EVENT, EventId, SectionState

if TYPE_CHECKING:
    from ied_agents.dflisr.locate import Pickup
    from ied_agents.dflisr.views import Situation


class SideDuty(NamedTuple):
    """What a side's section is held for, and by which event; NONE and NO_EVENT where there is nothing."""

    section: SectionState
    event: EventId


def side_duties(situation: Situation) -> tuple[SideDuty, SideDuty]:
    """What is known about the sections at both sides of the own switch; a flagged one means: lock that side."""
    a, b = situation.me.sides
    return SideDuty(*situation.flag(a, to_operate=True)), SideDuty(*situation.flag(b, to_operate=True))


def carries_fault(pickup: Pickup | None) -> bool:
    """Whether fault current flows through the own switch now."""
    return pickup is not None and pickup.until is None


def infeed_side(pickup: Pickup, locked_side: int) -> int:
    """The side from which the fault current comes; opposite the locked side where the direction says nothing."""
    entered = pickup.entered
    return 1 - (entered if entered is not None else locked_side)


def clear_request_for_me(situation: Situation) -> EventId:
    """The event whose clear request this breaker must serve, NO_EVENT if none.

    It is the nearest breaker if nothing but load-break switches lies between the requesting side and it, and a
    source lies behind it.
    """
    me, feeder = situation.me, situation.feeder
    if not me.breaker or situation.known_open(me.number):
        return NO_EVENT
    for number, state in situation.states():
        if number == me.number or situation.heard(number) is None:
            continue
        for side, said in enumerate(state.sides):
            if not said.clear or said.clear_event in situation.cleared:
                continue

            def conducts(n: int, requesting: int = number) -> bool:
                return n != requesting and not feeder.by_number[n].breaker and situation.last_closed(n)

            area = feeder.island(feeder.by_number[number].sides[side], conducts)
            for bound in area.boundary:
                if bound.switch == me.number and _fed_behind(situation, bound.side):
                    return said.clear_event
    return NO_EVENT


def _fed_behind(situation: Situation, side: int) -> bool:
    me = situation.me
    behind = me.sides[1 - side]
    return situation.feeder.path_to_source(behind, lambda n: n != me.number and situation.last_closed(n)) is not None
