"""Frames that must never cause an operation: what a test device sends in a real publisher's name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ied_agents.dflisr import wire
from ied_agents.dflisr.records import EventId, SectionState
from ied_agents.goose.publisher import Publisher
from ied_agents.iec61850.utctime import UtcTime
from tools.campaign.world import EPOCH_NS

if TYPE_CHECKING:
    from random import Random

    from tools.campaign.world import World


def forged_frames(world: World, rng: Random) -> list[tuple[int, bytes]]:
    """For every agent, in the name of one of its peers, a declared fault and a clear request, marked as simulated.

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
        side = state.sides[0]._replace(section=SectionState.FAULTED, section_event=event, clear=True, clear_event=event)
        false_state = replace(state, sides=(side, side), last_event=event)
        config = replace(host.settings.peers[peer].fast.publisher(bytes(6)), simulation=True)
        publisher = Publisher(config)
        publisher.stNum = 100_000 + rng.randrange(1000)
        stamp = UtcTime.from_ns(EPOCH_NS + round(world.now * 1e9))
        frame = publisher.publish(wire.encode_fast(false_state), world.now, stamp)
        assert frame is not None
        forged.append((number, frame))
    return forged
