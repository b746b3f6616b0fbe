"""The picture of the quiet network: who fed whom, and what flowed, before the first sign of a fault.

It says who claims which island and how much load it is; it permits nothing. Every event keeps the picture that was held
when it was first heard of: a lock that stays for the days of a repair does not keep the picture from being renewed for
the next event.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.capacity import HIGHEST_CURRENT_A
from ied_agents.dflisr.views import Frozen
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from ied_agents.dflisr.records import EventId
    from ied_agents.dflisr.views import Situation
    from ied_agents.process.inputs import SwitchInputs

FREEZE_AGE_S: Final = 0.2
"""Frozen load is at least this much older than the first pickup, so that no fault current is in it."""
QUIET_AFTER_S: Final = 2.0
"""The network counts as quiet again so long after the last sign of a fault."""
PICKUP_LASTS_S: Final = 10.0
"""Longer than any breaker's own delay: a pickup that lasts longer is stuck."""
_FLOWS_KEPT: Final = 64


class Picture:
    """One agent's picture of the network around it."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        self._flows: deque[tuple[float, float]] = deque(maxlen=_FLOWS_KEPT)
        self._live_until = math.inf
        self._closed: frozenset[int] | None = None
        self._generating: frozenset[int] = frozenset()
        self._held: Frozen | None = None
        self._last_sign = -math.inf
        self._began = math.inf
        self._pickups: dict[tuple[int, int, int], float] = {}
        self._unseen: set[EventId] = set()
        """Events that came before this agent had a picture."""

    def take(self, inputs: SwitchInputs, now: float) -> None:
        """Remember the flow of a snapshot, if it is one of load."""
        if Voltage.PRESENT in inputs.voltage:
            self._live_until = math.inf
            self._flows.append((now, min(max(inputs.flow_a, -HIGHEST_CURRENT_A), HIGHEST_CURRENT_A)))
        else:
            # Without voltage no flow is a load; and what came just before may have been a fault.
            self._live_until = min(self._live_until, now)

    def alert(self, now: float) -> bool:
        """Whether the last sign of a fault is not long past."""
        return now < self._last_sign + QUIET_AFTER_S

    def closed_before(self, event: EventId) -> frozenset[int] | None:
        """Switches that conducted before an event; None if this agent has not seen the network quiet."""
        if event in self._unseen:
            return None
        frozen = self._now.frozen.get(event)
        return frozen.closed if frozen is not None else self._closed

    def follow(self, now: float) -> float:
        """Renew the picture while all is quiet, hold it from the first sign of a fault on; says when to look again."""
        situation = self._now
        active = situation.active_events()
        for event in situation.frozen.keys() - active:
            del situation.frozen[event]
        self._unseen &= active
        new = active - situation.frozen.keys() - self._unseen
        if self._fault_current(now) or new:
            self._last_sign = now
            if self._held is None and self._closed is not None:
                reference = min(now, self._live_until) - FREEZE_AGE_S
                flow = next((a for at, a in reversed(self._flows) if at <= reference), None)
                self._held = Frozen(now, self._closed, self._generating, flow)
            if self._held is not None:
                situation.frozen.update(dict.fromkeys(new, self._held))
            else:
                self._unseen |= new
            return math.inf
        if self.alert(now):
            return self._last_sign + QUIET_AFTER_S
        self._held = None
        self._began = min(self._began, now)
        everybody = all(view.state is not None for view in situation.views.values())
        if not everybody and now < self._began + QUIET_AFTER_S:
            return self._began + QUIET_AFTER_S
        self._renew()
        return math.inf

    def _fault_current(self, now: float) -> bool:
        """Whether somebody has seen fault current lately; a pickup that stays on is a sign of itself only."""
        situation = self._now
        seen = {
            (number, state.incarnation, state.pickup_id): now
            for number, state in situation.states()
            if state.pickup and (number == situation.me.number or situation.heard(number) is not None)
        }
        self._pickups = {key: self._pickups.get(key, now) for key in seen}
        inputs = situation.inputs
        starts = inputs is not None and inputs.pickup and situation.inputs_valid(now) and not situation.own.pickup
        return starts or any(now < since + PICKUP_LASTS_S for since in self._pickups.values())

    def _renew(self) -> None:
        situation, me = self._now, self._now.me.number
        # Who is silent for a moment has not moved.
        closed = {n for n, state in situation.states() if n != me and state.position is Dbpos.ON}
        generating = {n for n, view in situation.views.items() if view.load is not None and view.load.generation_a > 0}
        inputs = situation.inputs
        if inputs is not None:
            closed |= {me} if inputs.position is Dbpos.ON and inputs.position_valid else set()
            generating |= {me} if inputs.generation_a > 0 else set()
        self._closed, self._generating = frozenset(closed), frozenset(generating)
