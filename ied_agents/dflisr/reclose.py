"""Reclosing shots of a breaker (design section 4, step 4).

While a breaker has shots left, a located fault only selects the breaker that trips: nothing is declared or locked. It
says so in what it publishes before it makes its last shot, so the location after that one counts. Shots that are given
up leave the fault where it was located: it is declared then.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.isolate import fed_behind
from ied_agents.dflisr.machines import RECLOSING, ReclosingEvent, ReclosingState
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from ied_agents.dflisr.views import Situation

RECLAIM_S: Final = 5.0
"""Without fault current for so long after a close, all shots are there again."""
SHOT_PATIENCE_S: Final = 0.5
"""A fault is declared, shots or not, whose breaker has not tripped for it so long after it was asked to, or after the
current has gone."""


class Recloser:
    """The shots of one breaker. After a start none are left until the reclaim time is over.

    Args:
        dead_times_s: before each shot.
        now: s.
    """

    def __init__(self, dead_times_s: tuple[float, ...], now: float) -> None:
        self._dead_times = dead_times_s
        self._made = len(dead_times_s)
        self._due = math.inf
        self._quiet_since = now
        self.state = ReclosingState.EXHAUSTED

    @property
    def armed(self) -> bool:
        """Whether a trip now would be followed by a shot."""
        return self.state is not ReclosingState.EXHAUSTED and self._made < len(self._dead_times)

    @property
    def reclosing(self) -> bool:
        """Whether a sequence of shots is under way."""
        return self.state in (ReclosingState.DEAD_TIME, ReclosingState.RECLOSED)

    def tripped(self, now: float, *, final: bool) -> None:
        """The breaker was ordered open because of fault current; ``final`` if the fault has been declared."""
        if not self._dead_times:
            return
        event = ReclosingEvent.TRIPPED if self.armed and not final else ReclosingEvent.TRIPPED_LAST
        if not RECLOSING.can(self.state, event):
            return
        self.state = RECLOSING.step(self.state, event)
        self._due = now + self._dead_times[self._made] if event is ReclosingEvent.TRIPPED else math.inf

    def due(self, now: float) -> bool:
        """Whether the dead time is over."""
        return self.state is ReclosingState.DEAD_TIME and now >= self._due

    def deadline(self, now: float) -> float:
        """When to look again, s."""
        if self.state is ReclosingState.DEAD_TIME:
            return self._due
        if self._dead_times and self.state is not ReclosingState.READY:
            return max(self._quiet_since + RECLAIM_S, now + 1e-3)
        return math.inf

    def shoot(self) -> None:
        """The close is ordered."""
        self.state = RECLOSING.step(self.state, ReclosingEvent.ELAPSED)
        self._made += 1

    def give_up(self) -> None:
        """It may not reclose, or did not close."""
        if RECLOSING.can(self.state, ReclosingEvent.REFUSED):
            self.state = RECLOSING.step(self.state, ReclosingEvent.REFUSED)
            self._made = len(self._dead_times)

    def follow(self, now: float, *, closed: bool, pickup: bool) -> None:
        """Count the reclaim time: closed and without fault current."""
        if pickup or not closed:
            self._quiet_since = now
        elif now >= self._quiet_since + RECLAIM_S and RECLOSING.can(self.state, ReclosingEvent.RECLAIMED):
            self.state = RECLOSING.step(self.state, ReclosingEvent.RECLAIMED)
            self._made = 0


def shots_before(situation: Situation, side: int, own: Recloser) -> tuple[bool, bool]:
    """Whether a breaker that would clear a fault beyond ``side`` of this switch has shots left, and is reclosing.

    That breaker is this switch itself, or any next breaker on the infeed side.
    """
    me, feeder = situation.me, situation.feeder
    if me.breaker:
        return own.armed, own.reclosing

    def conducts(n: int) -> bool:
        return n != me.number and not feeder.by_number[n].breaker and situation.last_closed(n)

    area = feeder.island(me.sides[1 - side], conducts)
    feeding = [bound.switch for bound in area.boundary if bound.switch != me.number and fed_behind(situation, bound)]
    states = [state for number in feeding if (state := situation.heard(number)) is not None]
    return any(state.shots for state in states), any(state.reclosing for state in states)


def reclosing_is_safe(situation: Situation) -> bool:
    """Whether supply is live on one side and the other dead, and nobody holds anything there for faulted.

    Nobody who is silent may hold anything where the shot brings voltage.
    """
    inputs = situation.inputs
    if inputs is None or set(inputs.voltage) != {Voltage.PRESENT, Voltage.ABSENT}:
        return False
    dark = inputs.voltage.index(Voltage.ABSENT)
    me = situation.me
    for side in (0, 1):
        island = situation.island(me.sides[side], me.number)
        if any(situation.flag(section)[0] for section in island.sections):
            return False
        around = {bound.switch for bound in island.boundary} | island.inner
        if side == dark and (
            situation.feeder.has_source(island.sections) or any(situation.heard(n) is None for n in around)
        ):
            return False
    return not any(said.clear and said.clear_event.counter for _, state in situation.states() for said in state.sides)
