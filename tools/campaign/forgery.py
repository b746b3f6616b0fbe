"""Frames that must never cause an operation: simulated, in test, old."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr import wire
from ied_agents.dflisr.records import EventId, SectionState
from ied_agents.goose.publisher import Publisher
from ied_agents.iec61850.utctime import UtcTime
from tools.campaign.world import EPOCH_NS

if TYPE_CHECKING:
    from random import Random

    from tools.campaign.world import World


def forged_frames(world: World, rng: Random) -> list[tuple[int, bytes]]:
    """For every agent, in the name of one of its peers, a declared fault: once simulated and once in test.

    Returns:
        Receiver and frame.
    """
    forged = []
    for number, host in world.hosts.items():
        peer = rng.choice(sorted(host.settings.peers))
        other = world.hosts[peer].station
        if other is None:
            continue
        state = other.agent.situation.own
        event = EventId(peer, 1_000_000)
        side = state.sides[0]._replace(
            section=SectionState.FAULTED, section_event=event, clear=True, clear_event=event
        )
        false_state = replace(state, sides=(side, side), last_event=event)
        for simulation, behaviour in ((True, Behaviour.ON), (False, Behaviour.TEST)):
            config = replace(host.settings.peers[peer].fast.publisher(bytes(6)), simulation=simulation)
            publisher = Publisher(config)
            publisher.stNum = 100_000 + rng.randrange(1000)
            frame = publisher.publish(
                wire.encode_fast(replace(false_state, behaviour=behaviour)),
                world.now,
                UtcTime.from_ns(EPOCH_NS + round(world.now * 1e9)),
            )
            assert frame is not None
            forged.append((number, frame))
    return forged
