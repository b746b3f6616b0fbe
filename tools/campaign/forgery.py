"""Frames that must never cause an operation: what a test device sends in a real publisher's name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr import wire
from ied_agents.dflisr.records import EventId, LockState, SectionState
from ied_agents.goose.publisher import Publisher
from ied_agents.iec61850.utctime import UtcTime
from tools.campaign.light_station import LightFrame
from tools.campaign.world import EPOCH_NS

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState
    from tools.campaign.world import World

_COUNTER: Final = 1_000_000
_stNum: Final = 100_000
_LIVE_S: Final = 2.5


def forge(world: World, *, simulated: bool) -> None:
    """Send every agent, in the name of one of its peers, a declared fault with lock and clear request.

    Args:
        world: where.
        simulated: whether the frames are marked as simulated; if not, their states say that they are of a test.
    """
    states = world.states()
    for number, host in world.hosts.items():
        peers = [peer for peer in sorted(host.settings.peers) if peer in states]
        if host.station is None or not peers:
            continue
        peer = world.rng.choice(peers)
        false_state = _false(peer, states[peer])
        if not simulated:
            false_state = false_state._replace(behaviour=Behaviour.TEST)
        if world.real_frames:
            world.inject(number, _octets(world, peer, false_state, simulated=simulated))
        else:
            world.inject(number, LightFrame(peer, True, _stNum, 0, _LIVE_S, false_state, simulated))


def _false(peer: int, state: AgentState) -> AgentState:
    event = EventId(peer, _COUNTER)
    side = state.sides[0]._replace(
        section=SectionState.FAULTED,
        section_event=event,
        lock=LockState.DURABLE,
        lock_event=event,
        clear=True,
        clear_event=event,
    )
    return state._replace(sides=(side, side), last_event=event)


def _octets(world: World, peer: int, state: AgentState, *, simulated: bool) -> bytes:
    config = world.agents[peer].own.fast.publisher(bytes(6))
    publisher = Publisher(replace(config, simulation=simulated))
    publisher.stNum = _stNum
    frame = publisher.publish(wire.encode_fast(state), world.now, UtcTime.from_ns(EPOCH_NS + round(world.now * 1e9)))
    assert frame is not None
    return frame
