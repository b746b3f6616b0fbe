"""What an agent does without a fault: an operator's close, a return to normal, a transfer after a loss of supply.

Each becomes a claim on the island at one side, so that every close is promised, reserved and guarded in the same way,
whatever its origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Reason
from ied_agents.dflisr.capacity import FLOW_DEADBAND_A, LOADS_SETTLE_S
from ied_agents.dflisr.claimant import AGENT_EPOCH, Purpose
from ied_agents.dflisr.records import NO_EVENT, ClaimKind, EventId, SectionState, Stage
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from collections.abc import Callable

    from ied_agents.dflisr.records import Progress
    from ied_agents.dflisr.views import Frozen, Situation

RETURN_TOLD_S: Final = 5.0
"""The order to return to normal is published at least for so long, so that all who moved hear it."""
_FAULT_BEFORE_S: Final = 2.0
"""A loss of supply so soon after fault current is a breaker's doing."""


@dataclass(slots=True)
class _Task:
    kind: ClaimKind
    frozen: Frozen
    epoch: int = AGENT_EPOCH
    event: EventId = NO_EVENT


class Tasks:
    """The tasks of one switch, one per side."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        self._tasks: list[_Task | None] = [None, None]
        self.normal_side = _fed_side(situation)
        self._dark_since = math.inf
        self._last_pickup = -math.inf
        self._told_since = math.inf
        self._left_open = NO_EVENT
        """The return to normal that is over for this switch, because somebody has opened it meanwhile."""
        self.open_wanted = False
        """An operator wants the switch open."""
        self.deadline = math.inf
        """When a loss of supply has lasted long enough, s."""

    def any(self) -> bool:
        """Whether there is anything to do."""
        return self._tasks != [None, None]

    # -- what is to be done ---------------------------------------------------------------------------------------

    def refuse_close(self) -> Reason:
        """Why an operator's close makes no sense as the network stands; NONE permits it."""
        inputs, me = self._now.inputs, self._now.me
        if inputs is None:
            return Reason.NOT_READY
        if inputs.voltage == (Voltage.PRESENT, Voltage.PRESENT):
            return Reason.BOTH_SIDES_LIVE
        if set(inputs.voltage) != {Voltage.PRESENT, Voltage.ABSENT}:
            return Reason.SUPPLY_NOT_LIVE
        side = inputs.voltage.index(Voltage.ABSENT)
        for section in self._now.island(me.sides[side], me.number).sections:
            if self._now.flag(section)[0] is not SectionState.NONE:
                return Reason.LOCKED
        return Reason.NONE

    def open(self, returning: EventId) -> list[EventId]:
        """An operator's opening, not refused: no return to normal closes the switch again.

        Returns:
            Events of tasks that are over by that.
        """
        self.open_wanted = True
        self._left_open = returning
        over = []
        for side, task in enumerate(self._tasks):
            if task is not None and task.kind is ClaimKind.RETURN:
                self._tasks[side] = None
                self._now.tasks.discard(task.event)
                over.append(task.event)
        return [event for event in over if event != NO_EVENT]

    def close(self, frozen: Frozen) -> None:
        """An operator's close, not refused: towards the dead side, from the live one."""
        inputs = self._now.inputs
        assert inputs is not None
        side = inputs.voltage.index(Voltage.ABSENT)
        if self._tasks[side] is None:
            self._tasks[side] = _Task(ClaimKind.MANUAL, frozen)

    def restore(self, side: int, epoch: int, frozen: Frozen) -> None:
        """A higher authority wants the island at ``side`` served."""
        self._tasks[side] = _Task(ClaimKind.RESTORE, frozen, epoch)

    def transfer(self, frozen: Frozen) -> None:
        """The own supply is gone: the feeder is to be fed from elsewhere."""
        me = self._now.me
        side = 1 if self._now.feeder.is_source(me.sides[0]) else 0
        self._tasks[side] = _Task(ClaimKind.TRANSFER, frozen)

    def supply_lost(self, now: float, *, closed: bool) -> bool:
        """Whether supply has been gone, without fault current, for as long as the site set for a transfer."""
        inputs, me = self._now.inputs, self._now.me
        self.deadline = math.inf
        if not me.transfer_after_s or inputs is None:
            return False
        if inputs.pickup:
            self._last_pickup = now
        dark = inputs.voltage == (Voltage.ABSENT, Voltage.ABSENT) and self._now.inputs_valid(now)
        # A sensor may be wrong: no current may flow, and nobody around may see voltage.
        dark = (
            dark
            and inputs.current_a is not None
            and inputs.current_a < FLOW_DEADBAND_A
            and not self._anybody_sees_voltage()
        )
        if not dark or not closed or any(self._now.flag(section)[0] for section in me.sides):
            self._dark_since = math.inf
            return False
        self._dark_since = min(self._dark_since, now)
        if self._dark_since < self._last_pickup + _FAULT_BEFORE_S:
            return False
        due = self._dark_since + me.transfer_after_s
        # If it may not open then, every later word of the process is another occasion.
        self.deadline = due if now < due else math.inf
        return now >= due

    def _anybody_sees_voltage(self) -> bool:
        situation = self._now
        for section in situation.me.sides:
            for bound in situation.feeder.peers(situation.me.number, section):
                state = situation.heard(bound.switch)
                if state is not None and state.voltage[bound.side] is Voltage.PRESENT:
                    return True
        return False

    def follow_return(
        self,
        returning: EventId,
        now: float,
        *,
        is_open: bool,
        may_close: Callable[[], bool],
        is_locked: bool,
        frozen: Callable[[], Frozen],
    ) -> bool:
        """Go back to the normal position after an event; True once there is nothing left of the order to do."""
        situation, side = self._now, self.normal_side
        if returning == NO_EVENT:
            self._told_since = math.inf
            return False
        self._told_since = min(self._told_since, now)
        told = now >= self._told_since + RETURN_TOLD_S
        # Another event may hold the switch, or a person have it open.
        if is_locked or returning == self._left_open or side is None or not is_open:
            self.deadline = min(self.deadline, self._told_since + RETURN_TOLD_S if not told else math.inf)
            return told
        inputs = situation.inputs
        # Who is fed through others waits until they have closed; who may not close interrupts nobody.
        if (
            not may_close()
            or inputs is None
            or inputs.voltage[1 - side] is not Voltage.PRESENT
            or self._tasks[side] is not None
        ):
            return False
        # What a tie feeds is cut off for the return: first it must be known what the supply can carry.
        settled = situation.live_since[1 - side] + LOADS_SETTLE_S
        if inputs.voltage[side] is Voltage.ABSENT or now >= settled:
            self._tasks[side] = _Task(ClaimKind.RETURN, frozen())
        else:
            self.deadline = min(self.deadline, settled)
        return False

    # -- as claims ------------------------------------------------------------------------------------------------

    def nameless(self, side: int) -> bool:
        """Whether the task on a side still needs an event id."""
        task = self._tasks[side]
        return task is not None and task.event == NO_EVENT

    def name(self, side: int, event: EventId) -> None:
        """Give the task on a side its event id; claims are made for it from now on."""
        task = self._tasks[side]
        if task is not None and event != NO_EVENT:
            task.event = event
            self._now.tasks.add(event)
            self._now.frozen[event] = task.frozen

    def epoch(self, side: int) -> int:
        """The authority in whose name the island at a side is claimed."""
        task = self._tasks[side]
        return AGENT_EPOCH if task is None else task.epoch

    def purpose(self, side: int) -> Purpose | None:
        """What the task on a side is a claim for."""
        task = self._tasks[side]
        if task is None or task.event == NO_EVENT:
            return None
        return Purpose(task.kind, task.event, task.epoch)

    def finished(self, side: int, progress: Progress) -> ClaimKind | None:
        """Forget the task on a side once its claim has come to an end; says what kind it was.

        An operator's close ends with its first refusal: he will ask again.
        """
        task = self._tasks[side]
        if task is None or task.event == NO_EVENT or progress.event != task.event:
            return None
        over = progress.stage is Stage.FINISHED or (task.kind is ClaimKind.MANUAL and progress.stage is Stage.STOPPED)
        if not over:
            return None
        self._tasks[side] = None
        self._now.tasks.discard(task.event)
        return task.kind


def _fed_side(situation: Situation) -> int | None:
    """The side that is fed through this switch in the normal state of the network; None for a normally open one."""
    me, feeder = situation.me, situation.feeder
    if not me.normally_closed:
        return None

    def conducts(n: int) -> bool:
        return n != me.number and feeder.by_number[n].normally_closed

    for side in (0, 1):
        if feeder.path_to_source(me.sides[1 - side], conducts) is not None:
            return side
    return None
