"""Orders to the own switch: what was ordered last, for which event or claim, and whether it came to anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Reason, refuse_open
from ied_agents.dflisr.records import NO_EVENT
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Operation, SwitchCommand

if TYPE_CHECKING:
    from ied_agents.control.decision import SwitchCondition
    from ied_agents.dflisr.feeder import FeederSwitch
    from ied_agents.dflisr.records import ClaimId, EventId

OPEN_RETRIES: Final = 3
_PATIENCE: Final = 2.0
"""An order is given up after so many longest operating times."""


class Orders:
    """Orders to one switch.

    Args:
        me: the switch.
        now: s.

    Attributes:
        opened_for: event for which the switch was ordered open, or asked another one to clear, last.
        was_open: the last known position was open.
        tripped_at: when it was ordered open because of a fault, s; None if it has closed since.
        tripped_into: side into which the fault current flowed then; None if that is not known.
        tripped_by_delay: it was ordered open by its own delay, and no event has a name for that yet.
    """

    def __init__(self, me: FeederSwitch, now: float) -> None:
        self.opened_for = NO_EVENT
        self.tripped_by_delay = False
        self._me = me
        self._count = 0
        self._open_until = math.inf
        self._tries: dict[EventId, int] = {}
        self.was_open = False
        self.tripped_at: float | None = None
        self.tripped_into: int | None = None
        # What a process before this one may have ordered can still be on its way.
        self._close_until = now + me.operating_time_s
        self._closing_for: ClaimId | None = None
        self._withheld: EventId | None = None

    def withhold(self, event: EventId) -> bool:
        """Note that the mode forbids an order to open for an event; True the first time."""
        first = self._withheld != event
        self._withheld = event
        return first

    def rename(self, event: EventId) -> None:
        """What the switch opened for has a name only now, or another one than before."""
        self.opened_for = event
        self.tripped_by_delay = False

    @property
    def close_outstanding(self) -> bool:
        """A close was ordered, maybe by the process before, and has neither succeeded nor failed."""
        return self._close_until != math.inf

    @property
    def opening(self) -> bool:
        """Whether an order to open is on its way, has been in vain, or was not followed by a close yet."""
        return bool(self._tries) or self._open_until != math.inf or self.tripped_at is not None

    @property
    def open_failed(self) -> bool:
        """All tries to open are used up."""
        return self._tries.get(self.opened_for, 0) >= OPEN_RETRIES and self._open_until == math.inf

    def deadline(self, now: float) -> float:
        """When an order runs out, s; what has run out already waits for the process's next word."""
        return min(
            self._open_until if self._open_until > now else math.inf,
            self._close_until if self._close_until > now else math.inf,
        )

    def new_pickup(self) -> None:
        """A new fault current gives every order its tries anew."""
        self._tries.clear()

    def closed(self, position: Dbpos, heard_at: float) -> tuple[ClaimId | None, Reason]:
        """The claim whose close has ended now, and how; None if none has.

        That it did not close is concluded only from what the process said after the order ran out: while it is silent
        the order may still lie before it.

        Args:
            position: of good quality; INTERMEDIATE where it is not.
            heard_at: when the process said so, s.
        """
        if position is Dbpos.ON and self.was_open:
            # Closed again, by whomever: what it once opened for is over for this switch.
            self.opened_for = NO_EVENT
            self.tripped_at, self.tripped_by_delay = None, False
        if position is not Dbpos.INTERMEDIATE:
            self.was_open = position is Dbpos.OFF
        claim = self._closing_for
        if claim is not None and position is Dbpos.ON:
            self._close_until, self._closing_for = math.inf, None
            return claim, Reason.NONE
        if heard_at > self._close_until:
            self._close_until, self._closing_for = math.inf, None
            return claim, Reason.DID_NOT_CLOSE
        return None, Reason.NONE

    def open_overdue(self, position: Dbpos, now: float) -> bool:
        """Whether an order to open has just run out without effect."""
        if position is Dbpos.OFF:
            self._open_until = math.inf
            self._tries.clear()
        elif now >= self._open_until:
            self._open_until = math.inf
            return True
        return False

    def open(
        self, event: EventId, condition: SwitchCondition, current_a: float, now: float, *, protecting: bool
    ) -> SwitchCommand | None:
        """The order to open for an event; None while one is on its way, when all tries are used up, or refused.

        Args:
            event: what for.
            condition: of the switch.
            current_a: that it would break; infinity if that is not known. A breaker breaks any.
            now: s.
            protecting: because of a fault, not to split an island or for an operator.
        """
        tries = self._tries.get(event, 0)
        if self._open_until != math.inf or tries >= OPEN_RETRIES:
            return None
        breaking = math.inf if self._me.breaker else self._me.breaking_a
        if refuse_open(condition, current_a, breaking) is not Reason.NONE:
            return None
        self._tries[event] = tries + 1
        self._open_until = now + _PATIENCE * self._me.operating_time_s
        self.opened_for = event
        self.tripped_at = now if protecting else self.tripped_at
        return self._command("open")

    def close(self, claim: ClaimId, now: float) -> SwitchCommand:
        """The order to close under a claim, NO_CLAIM for a reclosing shot; the caller has asked ``refuse_close``."""
        self._close_until = now + _PATIENCE * self._me.operating_time_s
        self._closing_for = claim
        return self._command("close")

    def _command(self, operation: Operation) -> SwitchCommand:
        self._count += 1
        return SwitchCommand(self._me.number, operation, self._count)
