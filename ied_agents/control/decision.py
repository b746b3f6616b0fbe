"""Decides whether one switch may be operated, whoever asks and by whatever path.

The self-healing logic, an operator and later every protocol pass through :func:`refuse_close` and
:func:`refuse_open`; there is no other way to a command. What depends on the network (is the island dead, is there a
grant, is there capacity) comes in as ``interlock``, judged by whoever knows the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Behaviour(IntEnum):
    """``Beh`` (IEC 61850-7-4)."""

    ON = 1
    BLOCKED = 2
    TEST = 3
    TEST_BLOCKED = 4
    OFF = 5


class Reason(IntEnum):
    """Why something was refused, failed, or was stopped; the texts are ``scl.agent_model.REASON``."""

    NONE = 0
    NO_SUPPLY = 1
    NO_CAPACITY = 2
    PEER_SILENT = 3
    ISOLATION_NOT_CONFIRMED = 4
    SECTION_SUSPECT = 5
    LOCKED = 6
    TAGGED = 7
    NOT_READY = 8
    MODE = 9
    SUPPLY_NOT_LIVE = 10
    ISLAND_NOT_DEAD = 11
    DID_NOT_CLOSE = 12
    DID_NOT_OPEN = 13
    BEYOND_RELEASE = 14
    OVERTAKEN = 15
    BOTH_SIDES_LIVE = 16
    HELD = 17
    LOCAL = 18
    LOAD_UNKNOWN = 19
    SPENT = 20


class Origin(IntEnum):
    """Who asks (``orCat`` of IEC 61850-7-3)."""

    BAY = 1
    STATION = 2
    REMOTE = 3
    AUTOMATIC_BAY = 4


class Authority(IntEnum):
    """Who may operate the switch (``Loc`` and ``LocSta`` of IEC 61850-7-4): one at a time."""

    LOCAL = 1
    STATION = 2
    REMOTE = 3


WORK_TAG: Final = 1
HOT_LINE_TAG: Final = 2


@dataclass(frozen=True, slots=True)
class SwitchCondition:
    """All that the switch's own agent knows about its switch.

    Attributes:
        known_open: position is off, with good quality.
        known_closed: position is on, with good quality.
        close_outstanding: a close was ordered and has neither succeeded nor failed.
        locked: locked on any side, durable or not.
        proven: locks are proven since the start and the agent is commissioned.
        behaviour: mode of the switch's logical node.
        tags: ``WORK_TAG`` and ``HOT_LINE_TAG``.
        local: a person at the switch has taken it over.
    """

    known_open: bool
    known_closed: bool
    close_outstanding: bool
    locked: bool
    proven: bool
    behaviour: Behaviour
    tags: int
    local: bool = False


def refuse_close(condition: SwitchCondition, interlock: Reason) -> Reason:
    """Why the switch must not be closed now; ``NONE`` permits it.

    Args:
        condition: the switch's own condition.
        interlock: what the network says against it; ``NONE`` if nothing.
    """
    if condition.locked:
        return Reason.LOCKED
    if condition.tags:
        return Reason.TAGGED
    if condition.local:
        return Reason.LOCAL
    if condition.behaviour is not Behaviour.ON:
        return Reason.MODE
    if not condition.proven or condition.close_outstanding or not condition.known_open:
        return Reason.NOT_READY
    return interlock


def refuse_open(condition: SwitchCondition, current_a: float, breaking_a: float) -> Reason:
    """Why the switch must not be opened now; ``NONE`` permits it.

    Opening is the safe direction: locks and tags do not stop it, only what the apparatus cannot interrupt.
    """
    if condition.behaviour is not Behaviour.ON:
        return Reason.MODE
    if current_a > breaking_a:
        return Reason.DID_NOT_OPEN
    return Reason.NONE


def refuse_origin(authority: Authority, origin: Origin) -> Reason:
    """Why whoever asks may not operate now; ``NONE`` permits it. Automatics ask in nobody's name."""
    needed = {Origin.BAY: Authority.LOCAL, Origin.STATION: Authority.STATION, Origin.REMOTE: Authority.REMOTE}
    return Reason.NONE if origin is Origin.AUTOMATIC_BAY or needed[origin] is authority else Reason.LOCAL
