"""While an agent follows simulated frames (``LPHD.Sim``): what is real, and how it comes back to that. Sans-IO.

What simulated frames bring about is kept in memory only. The disk has the record from before, with what has become
real since: tags, mode and authority, numbers that must not come twice, locks for faults that agents in operation
declare in real frames. When simulation ends, the agent starts anew from there, as a process does after a kill:
another incarnation, on disk before its first frame; locks unproven until its peers have answered it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import NO_EVENT, SectionState
from ied_agents.dflisr.views import TESTING

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState, EventId, LoadState, SideState
    from ied_agents.dflisr.stored import Record, StoredSide
    from ied_agents.dflisr.views import PeerView, Situation

_MOST_WAITING: Final = 64
"""Versions that wait for the disk; of more than these the oldest is confirmed with the next."""


def as_in_test(state: AgentState) -> AgentState:
    """A simulated state, whatever its sender says of itself: never meant, and used in test only."""
    return state if state.behaviour is Behaviour.OFF else state._replace(behaviour=Behaviour.TEST)


class Simulation:
    """One simulation, from the moment in which it is set until the agent that has started anew takes over.

    Args:
        before: durable state when it was set.

    Attributes:
        over: it has ended; the record of the new start is on its way to the disk.
        real: durable state without what came of the simulation, as handed to the disk last.
        on_disk: whether that is on disk.
    """

    def __init__(self, before: Record) -> None:
        self.over = False
        self.real = before
        self.on_disk = False
        self._before = before
        self._saw_current = False
        self._states: dict[int, tuple[AgentState | None, tuple[SideState, SideState]]] = {}
        self._loads: dict[int, tuple[LoadState | None, float]] = {}
        self._given_with: int | None = None
        self._waiting: deque[tuple[int, int, Record]] = deque(maxlen=_MOST_WAITING)
        self._clock_s: int | None = None

    # -- what was heard for real ----------------------------------------------------------------------------------

    def remember(self, switch: int, view: PeerView, *, fast: bool) -> bool:
        """Keep the last real word of a stream before a simulated one replaces it; True for the first one."""
        if switch in (self._states if fast else self._loads):
            return False
        if fast:
            self._states[switch] = view.state, view.test_sides
        else:
            self._loads[switch] = view.load, view.load_at
        return True

    def restore(self, views: dict[int, PeerView]) -> None:
        """Forget what was simulated: those peers are as silent as if their streams had been lost."""
        for switch, (state, test_sides) in self._states.items():
            view = views[switch]
            view.state, view.test_sides, view.alive = state, test_sides, False
        for switch, (load, load_at) in self._loads.items():
            view = views[switch]
            view.load, view.load_at, view.load_alive = load, load_at, False

    def observe(self, situation: Situation, *, relay_simulated: bool) -> None:
        """Notice fault current: whether it was injected only a person knows, unless the whole relay was simulated."""
        if situation.inputs is not None and situation.inputs.pickup and not relay_simulated:
            self._saw_current = True

    # -- durable state --------------------------------------------------------------------------------------------

    def hand_over(self, version: int, record: Record, situation: Situation) -> tuple[int, Record] | None:
        """What of a new version is for the disk; None if that has all of it, or will have.

        Args:
            version: of the agent.
            record: its own.
            situation: what it knows.
        """
        real = self._real(record, situation)
        new = self._given_with is None or real != self.real
        if new:
            self.real, self.on_disk, self._given_with = real, False, version
        assert self._given_with is not None
        self._waiting.append((self._given_with, version, record))
        return (version, real) if new else None

    def stored(self, version: int) -> None:
        """What was handed to the disk with this version is there."""
        if self._given_with is not None and version >= self._given_with:
            self.on_disk = True

    def confirmed(self) -> tuple[int, Record] | None:
        """The last version of the agent of which all that is real is on disk, each once."""
        if not self.on_disk or not self._waiting:
            return None
        _, version, record = self._waiting[-1]
        self._waiting.clear()
        return version, record

    def start_anew(self, version: int, record: Record, situation: Situation, clock_s: int) -> tuple[int, Record] | None:
        """The record of the start that ends it, for the disk; None if it has been handed over.

        Args:
            version: number for it.
            record: the agent's own, for what a person has set meanwhile.
            situation: what it knows.
            clock_s: the clock's seconds.
        """
        if self._clock_s is None:
            self._clock_s = clock_s
        real = replace(self._real(record, situation), simulation=False)
        if real.behaviour not in TESTING:
            real = replace(real, returning=NO_EVENT)
        real = real.started(self._clock_s)
        if real == self.real:
            return None
        self.real, self.on_disk, self._given_with = real, False, version
        return version, real

    def _real(self, record: Record, situation: Situation) -> Record:
        before = self._before
        return replace(
            before,
            sides=(self._real_side(0, situation), self._real_side(1, situation)),
            # Numbers that somebody may have heard are never used for anything else.
            events_reserved=max(before.events_reserved, record.events_reserved),
            claim_number=max(before.claim_number, record.claim_number),
            held=before.held or self._saw_current,
            behaviour=record.behaviour,
            simulation=record.simulation,
            authority=record.authority,
            tags=record.tags,
            clean=False,
        )

    def _real_side(self, side: int, situation: Situation) -> StoredSide:
        """As before, or locked for what agents in operation have flagged since."""
        known = self._before.sides[side]
        if known.section is not SectionState.NONE:
            return known
        section, event = self._flagged(situation.me.sides[side], situation)
        return known if section is SectionState.NONE else replace(known, section=section, event=event, locked=True)

    def _flagged(self, section: int, situation: Situation) -> tuple[SectionState, EventId]:
        flags = [
            view.sides[bound.side]
            for bound in situation.feeder.around[section]
            if (view := situation.views.get(bound.switch)) is not None
        ]
        cleared = self._before.cleared
        real = [(f.section, f.section_event) for f in flags if f.section and f.section_event not in cleared]
        return min(real, default=(SectionState.NONE, NO_EVENT))
