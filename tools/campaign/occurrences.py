"""What can happen in a scenario: to the plant, the network, the agents and by people. Plain data, and how it is done.

An action that names a switch or a section that is not there (any more, after shrinking) does nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ied_agents.control.decision import Authority, Origin
from ied_agents.dflisr.records import NO_EVENT
from tools.campaign.forgery import forge

if TYPE_CHECKING:
    from ied_agents.control.decision import Behaviour
    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.records import EventId
    from ied_agents.process.inputs import Operation
    from ied_agents.runtime.memory_link import Disturbance
    from tools.campaign.judge import Judge
    from tools.campaign.world import CrashPoint, World


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault comes up in a section; permanent, or out once it had no infeed for ``clears_after_dead_s``."""

    section: int
    clears_after_dead_s: float | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """The fault of a section is repaired."""

    section: int


@dataclass(frozen=True, slots=True)
class Supply:
    """A source section loses its supply from above, or gets it back."""

    section: int
    live: bool


@dataclass(frozen=True, slots=True)
class ByHand:
    """A person at the apparatus operates a switch."""

    switch: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Apparatus:
    """From now on a switch does, or does not, obey."""

    switch: int
    fails_to_open: bool
    fails_to_close: bool


@dataclass(frozen=True, slots=True)
class Network:
    """From now on the network is like this: how disturbed, which parts do not hear each other, who hears whom not."""

    disturbance: Disturbance
    parts: tuple[tuple[int, ...], ...] = ()
    deaf: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayOld:
    """Old frames, the oldest still kept first, are heard again."""

    frames: int


@dataclass(frozen=True, slots=True)
class Forge:
    """A test device sends every agent false states of a peer: marked as simulated, or with the behaviour of a test."""

    simulated: bool


@dataclass(frozen=True, slots=True)
class Crash:
    """An agent ends, at once or at a point of its next turn with something to write, and comes back.

    Switch 0 is the one whose note the occurrence waited for.
    """

    switch: int
    point: CrashPoint | None
    down_s: float


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The wall clock of an agent jumps."""

    switch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Tag:
    """A person sets his tags of a switch; 0 takes them away."""

    switch: int
    owner: str
    tags: int


@dataclass(frozen=True, slots=True)
class Mode:
    """A person changes an agent's mode."""

    switch: int
    behaviour: Behaviour


@dataclass(frozen=True, slots=True)
class Control:
    """A person says who may operate a switch: nobody but himself while it is local."""

    switch: int
    authority: Authority


@dataclass(frozen=True, slots=True)
class Request:
    """A person asks an agent to operate its switch."""

    switch: int
    operation: Operation


@dataclass(frozen=True, slots=True)
class Fallback:
    """The control centre claims the dark island at one side of a switch, with a higher authority."""

    switch: int
    side: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Unlock:
    """A person unlocks what the agents around a section hold for it."""

    section: int


@dataclass(frozen=True, slots=True)
class Return:
    """A person orders the return to normal after what the agents around a section hold for it."""

    section: int


Action: TypeAlias = (
    Fault
    | Repair
    | Supply
    | ByHand
    | Apparatus
    | Network
    | ReplayOld
    | Forge
    | Crash
    | ClockJump
    | Tag
    | Mode
    | Control
    | Request
    | Fallback
    | Unlock
    | Return
)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An action and its time.

    Attributes:
        at: virtual time, s; with ``after`` so long after that.
        action: what happens.
        after: kind of note: it waits until an agent has noted that first.
    """

    at: float
    action: Action
    after: str = ""


class Occurring:
    """Lets things happen in a world.

    Args:
        world: where.
        judge: is told what people do.
    """

    def __init__(self, world: World, judge: Judge) -> None:
        self._world = world
        self._judge = judge
        self._tagged_by: dict[int, set[str]] = {}

    def carry_out(self, action: Action, who: int = 0) -> None:
        """Let an action happen now; ``who`` stands for switch 0."""
        world = self._world
        if not self._exists(action, who):
            return
        world.changed_at = world.occurred_at = world.now
        world.tell("scenario", type(action).__name__, {name: getattr(action, name) for name in action.__slots__})
        match action:
            case Fault(section, clears):
                world.plant.inject_fault(section, world.now, clears_after_dead_s=clears)
            case Repair(section):
                world.plant.clear_fault(section, world.now)
            case Supply(section, live):
                world.plant.set_source(section, live, world.now)
            case ByHand(switch, operation):
                world.plant.operate_by_hand(switch, operation, world.now)
            case Apparatus(switch, fails_to_open, fails_to_close):
                world.plant.fail_switch(switch, to_open=fails_to_open, to_close=fails_to_close, now=world.now)
            case Network(disturbance, parts, deaf):
                world.network.disturbance = disturbance
                world.network.partition(*parts)
                world.network.deafen(deaf)
                self._judge.cut(world)
            case ReplayOld(frames):
                world.replay(frames)
            case Forge(simulated):
                forge(world, simulated=simulated)
            case Crash(switch, point, down_s):
                self._crash(switch or who, point, down_s)
            case ClockJump(switch, seconds):
                world.hosts[switch].clock_s += seconds
            case Unlock(section) | Return(section):
                self._settle(section, returning=isinstance(action, Return))
            case _:
                self._ask(action)

    def _exists(self, action: Action, who: int) -> bool:
        if isinstance(action, Fault | Repair | Supply | Unlock | Return):
            return any(section.index == action.section for section in self._world.feeder.sections)
        switch = getattr(action, "switch", None)
        return switch is None or (switch or who) in self._world.hosts

    def _crash(self, number: int, point: CrashPoint | None, down_s: float) -> None:
        world = self._world
        if point is not None:
            world.doom(number, point, down_s)
        else:
            world.crash(number)
            world.at(world.now + down_s, partial(world.start, number))

    def _ask(self, action: Tag | Mode | Control | Request | Fallback) -> None:
        """What people ask of one agent."""
        world, judge, switch = self._world, self._judge, action.switch
        match action:
            case Tag(_, owner, tags):
                self._tag(switch, owner, tags)
            case Mode(_, behaviour):
                world.ask(switch, lambda agent: agent.set_mode(behaviour))
            case Control(_, Authority.LOCAL):
                request = partial(_set_authority, authority=Authority.LOCAL)
                world.ask(switch, request, lambda: judge.local(switch, world.now))
            case Control(_, authority):
                judge.remote(switch)
                world.ask(switch, partial(_set_authority, authority=authority))
            case Request(_, "open"):
                judge.ordered()
                world.ask(switch, lambda agent: agent.request_open(Origin.STATION))
            case Request(_, _):
                judge.ordered()
                world.ask(switch, lambda agent: agent.request_close(Origin.STATION, world.now))
            case Fallback(_, side, epoch):
                judge.ordered()
                world.ask(switch, lambda agent: agent.request_restore(side, epoch, world.now))

    def _tag(self, switch: int, owner: str, tags: int) -> None:
        owners = self._tagged_by.setdefault(switch, set())
        if tags:
            # Only what the agent has acknowledged, from disk, protects anybody.
            acknowledged = partial(self._tagged, switch, owner)
            self._world.ask(switch, lambda agent: agent.tag(owner, tags), acknowledged)
            return
        owners.discard(owner)
        if not owners:
            self._judge.untagged(switch)
        self._world.ask(switch, lambda agent: agent.tag(owner, 0))

    def _tagged(self, switch: int, owner: str) -> None:
        self._tagged_by[switch].add(owner)
        self._judge.tagged(switch, self._world.now)

    def _settle(self, section: int, *, returning: bool) -> None:
        """One request for each event that the agents around a section hold something for, asked of one of them."""
        asked: set[EventId] = set()
        for bound in self._world.feeder.around[section]:
            station = self._world.hosts[bound.switch].station
            if station is None:
                continue
            side = station.agent.situation.own.sides[bound.side]
            for event in {side.section_event, side.lock_event} - asked - {NO_EVENT, *station.agent.situation.cleared}:
                asked.add(event)
                self._judge.unlocked(event)
                request = partial(_return if returning else _unlock, event=event)
                self._world.ask(bound.switch, request)


def _set_authority(agent: Agent, authority: Authority) -> None:
    agent.set_authority(authority)


def _unlock(agent: Agent, event: EventId) -> None:
    with contextlib.suppress(ValueError):  # it holds nothing for that event any more
        agent.unlock(event)


def _return(agent: Agent, event: EventId) -> None:
    agent.request_return(event, Origin.STATION)
