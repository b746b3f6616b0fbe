"""The picture of the network before an event: who fed whom, and what every section drew.

It says who claims which island and how much load it is; it permits nothing. What every switch said of itself is kept
for some seconds, so that at the first sign of a fault (a pickup, a voltage lost) the picture of the moments before can
be made. A section that was dark then, because of an earlier event, keeps what it drew when it was last live.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.dflisr.capacity import HIGHEST_CURRENT_A
from ied_agents.dflisr.views import Frozen
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState, EventId
    from ied_agents.dflisr.views import Situation
    from ied_agents.process.inputs import SwitchInputs

FREEZE_AGE_S: Final = 0.2
"""Frozen load is at least this much older than the first sign, so that no fault current is in it."""
QUIET_AFTER_S: Final = 2.0
"""The network counts as quiet again so long after the last sign of a fault."""
_SAME_FAULT_S: Final = 0.5
"""Signs within this time of each other may come of one fault."""
_STEADY_S: Final = 0.5
"""A load is known when none of the switches it depends on has moved for so long."""
_KEPT: Final = 32
"""Entries per switch; a new one at most every ``_SPACING_S``."""
_SPACING_S: Final = 0.02
_SIGNS_KEPT: Final = 32


class _Seen(NamedTuple):
    """What one switch said of itself from ``at`` on."""

    at: float
    closed: bool
    flow_a: float | None
    generation_a: tuple[float, float]
    voltage: tuple[Voltage, Voltage]


class _Sign(NamedTuple):
    """A sign of a fault, and the network just before."""

    at: float
    switch: int
    frozen: Frozen


class Picture:
    """One agent's picture of the network around it."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        self._seen: dict[int, deque[_Seen]] = {}
        self._own_flow: float | None = None
        self._loads: dict[int, float] = {}
        self._generation: dict[int, float] = {}
        self._signs: deque[_Sign] = deque(maxlen=_SIGNS_KEPT)
        self._pickups: dict[int, tuple[int, int]] = {}
        self.news: set[int] = set()
        """Switches of which something was heard since the last look, or that have fallen silent."""
        self._last_sign = -math.inf
        self._last_close = -math.inf

    def take(self, inputs: SwitchInputs) -> None:
        """Remember the own flow, if it is one of load."""
        # Without voltage no flow is a load.
        flow_a = inputs.flow_a if Voltage.PRESENT in inputs.voltage else None
        self._own_flow = None if flow_a is None else min(max(flow_a, -HIGHEST_CURRENT_A), HIGHEST_CURRENT_A)

    def alert(self, now: float) -> bool:
        """Whether the last sign of a fault is not long past."""
        return now < self._last_sign + QUIET_AFTER_S

    def follow(self, now: float) -> None:
        """Keep what everybody says, notice signs, and give every new event its picture."""
        situation = self._now
        signs: list[int] = []
        inputs = situation.inputs
        if inputs is not None and inputs.position_valid:
            own = situation.own
            pickup = inputs.pickup and situation.inputs_valid(now)
            seen = _Seen(now, inputs.position is not Dbpos.OFF, self._own_flow, inputs.generation_a, inputs.voltage)
            # What the own state says of a pickup that has just come is published only with this turn.
            name = (own.incarnation, own.pickup_id + (pickup and not own.pickup))
            self._look(situation.config.number, seen, own, name if pickup else None, signs)
        for number in sorted(self.news):
            view = situation.views[number]
            state = view.state
            if state is None or state.position_quality:
                continue  # it does not know itself, as after a start
            load = view.load if view.load_alive else None
            flow = load.flow_a if load is not None and not load.flow_quality else None
            generation = load.generation_a if load is not None else (0.0, 0.0)
            seen = _Seen(now, state.position is not Dbpos.OFF, flow, generation, state.voltage)
            pickup_name = (state.incarnation, state.pickup_id) if state.pickup and view.alive else None
            self._look(number, seen, state, pickup_name, signs)
        self.news.clear()
        if signs:
            self._note_signs(signs, now)
        self._freeze(now)

    def _look(
        self, number: int, seen: _Seen, said: AgentState, pickup: tuple[int, int] | None, signs: list[int]
    ) -> None:
        """Keep what one switch says; a new pickup, or a lost voltage (as switch 0), is a sign."""
        kept = self._seen.setdefault(number, deque(maxlen=_KEPT))
        last = kept[-1] if kept else None
        lost = False
        if last is None or last[1:] != seen[1:]:
            if last is not None:
                # A shot only brings back what was there before.
                if seen.closed and not last.closed and not said.reclosing:
                    self._last_close = seen.at
                lost = any(
                    was is Voltage.PRESENT and then is Voltage.ABSENT
                    for was, then in zip(last.voltage, seen.voltage, strict=True)
                )
                if seen.at - last.at < _SPACING_S and len(kept) > 1:
                    seen = seen._replace(at=kept.pop().at)
            kept.append(seen)
        if pickup is not None and self._pickups.get(number) != pickup:
            self._pickups[number] = pickup
            signs.append(number)
        elif lost and 0 not in signs:
            signs.append(0)

    def now(self, now: float) -> Frozen:
        """The picture of this moment, for what is done without a fault."""
        if not self.alert(now):
            self._renew_loads(now)
        return self._picture(now)

    def before(self, event: EventId) -> Frozen | None:
        """The picture before an event; for one that nobody flags yet, the latest."""
        frozen = self._now.frozen.get(event)
        if frozen is None and self._signs:
            frozen = self._signs[-1].frozen
        return frozen

    def _note_signs(self, switches: list[int], now: float) -> None:
        # What is heard soon after a sign may come in any order: a load and the loss of it.
        if not self.alert(now):
            self._renew_loads(now)
        # Openings take nobody's feed over: until a switch closes, a sign that follows another belongs to its picture.
        last = self._signs[-1] if self._signs else None
        if last is not None and self.alert(now) and self._last_close < last.frozen.at:
            frozen = last.frozen
        else:
            frozen = self._picture(now)
        self._last_sign = now
        self._signs.extend(_Sign(now, switch, frozen) for switch in switches)

    def _freeze(self, now: float) -> None:
        situation = self._now
        active = situation.active_events()
        for event in [e for e in situation.frozen if e not in active and e not in situation.tasks]:
            del situation.frozen[event]
        for event in active:
            if event not in situation.frozen:
                situation.frozen[event] = self._of(event, now)

    def _of(self, event: EventId, now: float) -> Frozen:
        """The picture for a new event: of the declaring switch's pickup, or else of the fault's first sign."""
        own = next((sign for sign in reversed(self._signs) if sign.switch == event.switch), None)
        if own is not None and now - own.at <= _SAME_FAULT_S:
            return own.frozen
        recent = [sign for sign in self._signs if now - sign.at <= _SAME_FAULT_S]
        if recent:
            # A fault that follows another so soon has signs of its own once a switch has closed between them.
            pickups = [sign for sign in recent if sign.switch]
            return (pickups[-1] if pickups else recent[0]).frozen
        # Declared by one whose pickup was not heard, and before any voltage was lost: all is as it was before.
        return own.frozen if own is not None else self.now(now)

    def _picture(self, now: float) -> Frozen:
        closed = frozenset(number for number, kept in self._seen.items() if kept and self._at(kept, now - 1e-6).closed)
        own, reference = self._seen.get(self._now.config.number), now - FREEZE_AGE_S
        flow = None
        # What a process that has just started sees is no load of before: its picture lacks what generates there.
        if own and own[0].at <= reference and not any(self._moved(kept, now) for kept in self._seen.values()):
            flow = self._at(own, reference).flow_a
        return Frozen(now, closed, flow, dict(self._loads), dict(self._generation))

    def _renew_loads(self, now: float) -> None:
        """What every section draws, by what its switches said ``FREEZE_AGE_S`` ago; a dark one keeps what it had."""
        feeder, reference = self._now.feeder, now - FREEZE_AGE_S
        for section in feeder.sections:
            if section.is_source:
                continue
            known = self._load_at(section.index, reference)
            if known is not None:
                self._loads[section.index], self._generation[section.index] = known
            elif (generation := self._generation_at(section.index, reference)) > 0.0:
                # Where a voltage is in doubt the load is not known; what is generated there still hides some of it.
                self._generation[section.index] = generation

    def _generation_at(self, section: int, reference: float) -> float:
        """The most that any switch of a section says of its generation."""
        seen = [(self._seen.get(bound.switch), bound.side) for bound in self._now.feeder.around[section]]
        return max((self._at(kept, reference).generation_a[side] for kept, side in seen if kept), default=0.0)

    def _load_at(self, section: int, reference: float) -> tuple[float, float] | None:
        total = generation = 0.0
        live = False
        for bound in self._now.feeder.around[section]:
            kept = self._seen.get(bound.switch)
            if not kept or kept[0].at > reference:
                return None
            seen = self._at(kept, reference)
            if self._moved(kept, reference):
                return None
            if seen.voltage[bound.side] is Voltage.ABSENT:
                return None
            live = live or seen.voltage[bound.side] is Voltage.PRESENT
            generation = max(generation, seen.generation_a[bound.side])
            if not seen.closed:
                continue
            if seen.flow_a is None:
                return None
            total += seen.flow_a if bound.side == 1 else -seen.flow_a
        return (max(0.0, total + generation), generation) if live else None

    @staticmethod
    def _moved(kept: deque[_Seen], reference: float) -> bool:
        """Whether the switch changed its position within ``_STEADY_S`` before ``reference``."""
        closed = None
        for seen in reversed(kept):
            if closed is not None and seen.closed != closed:
                return True
            if seen.at <= reference - _STEADY_S:
                return False
            if seen.at <= reference:
                closed = seen.closed
        return False

    @staticmethod
    def _at(kept: deque[_Seen], at: float) -> _Seen:
        """What was said last at a time; the oldest entry for times before it."""
        for seen in reversed(kept):
            if seen.at <= at:
                return seen
        return kept[0]
