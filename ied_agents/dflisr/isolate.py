"""Isolate: whether to open now, which clear requests to make or to serve, and where to widen.

Design section 4, step 2. Breakers trip at once. A load-break switch opens when its pickup has reset and its current
is within its breaking capacity; until it is open it asks the nearest breaker of its infeed side to clear.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.records import NO_EVENT, Bound, EventId, SectionState

if TYPE_CHECKING:
    from ied_agents.dflisr.locate import Pickup
    from ied_agents.dflisr.views import Situation


WIDEN_AFTER_S: Final = 1.5
"""Longer than any switch takes, a clear request to its breaker and repeated orders included."""


def carries_fault(pickup: Pickup | None) -> bool:
    """Whether fault current flows through the own switch now."""
    return pickup is not None and pickup.until is None


def infeed_side(pickup: Pickup, locked_side: int) -> int:
    """The side from which the fault current comes; opposite the locked side where the direction says nothing."""
    entered = pickup.entered
    return 1 - (entered if entered is not None else locked_side)


def clear_request_for_me(situation: Situation) -> EventId:
    """The event whose clear request this breaker must serve, NO_EVENT if none."""
    me = situation.me
    if not me.breaker or situation.known_open(me.number):
        return NO_EVENT
    for number, state in situation.states():
        clears = state.sides[0].clear or state.sides[1].clear
        if not clears or number == me.number or situation.heard(number) is None:
            continue
        for side, said in enumerate(state.sides):
            if said.clear and said.clear_event not in situation.cleared and serves(situation, number, side):
                return said.clear_event
    return NO_EVENT


def serves(situation: Situation, requesting: int, side: int) -> bool:
    """Whether this breaker is the one to trip when a switch asks to be cleared from one of its sides.

    It is the nearest breaker if nothing but load-break switches lies between the requesting side and it, and a
    source lies behind it.
    """
    me, feeder = situation.me, situation.feeder

    def conducts(n: int) -> bool:
        return n != requesting and not feeder.by_number[n].breaker and situation.last_closed(n)

    area = feeder.island(feeder.by_number[requesting].sides[side], conducts)
    return any(bound.switch == me.number and fed_behind(situation, bound) for bound in area.boundary)


def fed_behind(situation: Situation, bound: Bound) -> bool:
    """Whether a source lies behind a switch, seen from one of its sides, and not through the own switch."""
    me = situation.me.number

    def conducts(n: int) -> bool:
        return n not in (bound.switch, me) and situation.last_closed(n)

    return situation.feeder.path_to_source(situation.other_side(bound), conducts) is not None


class Widening:
    """Which sections must be isolated too, because a switch of a faulted one does not open."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        self._waiting: dict[tuple[int, EventId], float] = {}

    def due(self, now: float) -> tuple[list[tuple[int, EventId]], float]:
        """Own sides whose section must be widened to, each with its event, and when to look again.

        A switch of a flagged section that was closed when it was last heard must be known open in time. The sections
        beyond it are for the switches that bound those; widening goes one section far.
        """
        situation, me = self._now, self._now.me
        waiting: dict[tuple[int, EventId], float] = {}
        due: list[tuple[int, EventId]] = []
        if not situation.active_events():
            self._waiting = waiting
            return due, math.inf
        for side, section in enumerate(me.sides):
            for bound in situation.feeder.peers(me.number, section):
                flagged = situation.other_side(bound)
                state, event = situation.flag(flagged, to_operate=True)
                if state not in (SectionState.FAULTED, SectionState.SUSPECT) or section == flagged:
                    continue
                if situation.known_open(bound.switch) or not situation.last_closed(bound.switch):
                    continue
                key = (bound.switch, event)
                waiting[key] = self._waiting.get(key, now)
                if now >= waiting[key] + WIDEN_AFTER_S:
                    due.append((side, event))
        self._waiting = waiting
        wake = min((at + WIDEN_AFTER_S for at in waiting.values() if at + WIDEN_AFTER_S > now), default=math.inf)
        return due, wake
