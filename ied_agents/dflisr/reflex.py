"""The one decision that does not wait for its turn: a breaker trips on a clear request.

Fault current flows through a load-break switch that must open, and only this breaker can end it; deciding everything
anew takes several times as long as deciding this. So where a clear request is the only news since the last turn, and
nothing that it says besides could move this switch, the breaker trips on it first. The turn that follows finds the
order given and comes to all the rest: what both leave behind is what the turn alone would have. Whatever else is the
case, the turn decides.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.isolate import fed_behind
from ied_agents.dflisr.records import NO_EVENT, AgentState, Bound, EventId
from ied_agents.iec61850.dbpos import Dbpos

if TYPE_CHECKING:
    from ied_agents.dflisr.views import Situation

_MAY_CHANGE: Final = frozenset(("sides", "last_event", "voltage", "progress"))
"""Members that no turn operates this switch for, but for the flags of its own sections and clear requests."""
_the_rest = itemgetter(*(place for place, name in enumerate(AgentState._fields) if name not in _MAY_CHANGE))


class Reflex:
    """What one breaker keeps ready for the next clear request.

    Args:
        situation: as the agent knows it.
    """

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        self._served: frozenset[Bound] | None = None
        self._own = situation.own
        self._tripping = situation.own._replace(trip=True)

    def moved(self) -> None:
        """A peer is not in the position any more that it was in: this breaker may be the nearest for others now."""
        self._served = None

    def prepare(self) -> AgentState:
        """Work out, while there is time, whom this breaker serves.

        Returns:
            What a trip now would have it publish.
        """
        if self._served is None:
            self._served = _served(self._now)
        own = self._now.own
        if own is not self._own:
            if own != self._own:
                self._tripping = own._replace(trip=True)
            self._own = own
        return self._tripping

    def request(self, switch: int, before: AgentState | None, now: float) -> EventId:
        """The event whose clear request this breaker can serve without a turn; NO_EVENT if there is none.

        The situation is as the last turn left it, but for the last state of ``switch``.

        Args:
            switch: a peer that has just been heard, as the only one.
            before: its state until then; None if it has never been heard.
            now: s.
        """
        situation, me = self._now, self._now.me
        state = situation.heard(switch)
        if not me.breaker or before is None or state is None:
            return NO_EVENT
        a, b = state.sides
        if not (a.clear or b.clear) or _the_rest(before) != _the_rest(state):
            return NO_EVENT
        if situation.behaviour is not Behaviour.ON or not situation.inputs_valid(now):
            return NO_EVENT
        own = situation.own
        if own.position is not Dbpos.ON or own.position_quality:
            return NO_EVENT
        for section, said, said_before in zip(
            situation.feeder.by_number[switch].sides, state.sides, before.sides, strict=True
        ):
            if section in me.sides and said[:2] != said_before[:2]:
                # A flag of a section of this switch locks it too.
                return NO_EVENT
        if self._served is None:
            self._served = _served(situation)
        for side, said in enumerate(state.sides):
            if said.clear and said.clear_event not in situation.cleared and (switch, side) in self._served:
                return said.clear_event
        return NO_EVENT


def _served(situation: Situation) -> frozenset[Bound]:
    """Switch sides whose clear requests this breaker serves, as ``isolate.serves`` says, found in one search.

    Of a switch that is part of a closed loop, only the side from which it is reached first.
    """
    me, feeder = situation.me, situation.feeder
    served: set[Bound] = set()
    for own_side, start in enumerate(me.sides):
        if not me.breaker or not fed_behind(situation, Bound(me.number, own_side)):
            continue
        reached_by = {start: me.number}
        queue = deque((start,))
        while queue:
            section = queue.popleft()
            for bound in feeder.around[section]:
                # From beyond a switch it is not asked; its own side there is fed through itself.
                if bound.switch in (me.number, reached_by[section]):
                    continue
                served.add(bound)
                switch = feeder.by_number[bound.switch]
                beyond = switch.sides[1 - bound.side]
                if beyond not in reached_by and not switch.breaker and situation.last_closed(bound.switch):
                    reached_by[beyond] = bound.switch
                    queue.append(beyond)
    return frozenset(served)
