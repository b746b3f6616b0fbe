"""Fault current without a direction to rely on: which own sections it makes doubtful (design section 4, step 1).

It flags nothing by itself. What others flag explains it, or does not; what nothing explains may have ended here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.picture import FREEZE_AGE_S
from ied_agents.dflisr.records import SectionState
from ied_agents.dflisr.views import INPUTS_LIFE_S
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ied_agents.dflisr.locate import Pickup
    from ied_agents.dflisr.records import EventId
    from ied_agents.dflisr.stored import StoredSide
    from ied_agents.dflisr.views import Frozen, Situation

_STALE_S: Final = 2 * INPUTS_LIFE_S
"""What a live peer says of its voltage is not older: it believes its process for one of these, and we it for less."""


def doubtful_sides(
    situation: Situation,
    pickup: Pickup,
    held: tuple[StoredSide, StoredSide],
    flagged: Mapping[EventId, Collection[int]],
    *,
    ended_with_supply: bool,
) -> list[int]:
    """Own sides that are suspect because of what is flagged.

    - One side is suspect: the fault may be on the other as well.
    - Behind one side lies no source: the current has flowed into what lies there. If nothing is flagged there, or the
      own section on the other side is faulted, there may be a second fault. As long as the current flows, or the
      supply is there after it, it may have been an inrush.

    Args:
        situation: what is known.
        pickup: the own one, without direction.
        held: the own sides.
        flagged: events that may explain the current, each with the sections that are flagged for it.
        ended_with_supply: the current has ended, and the supply with it.
    """
    doubtful = []
    sections = {section for flags in flagged.values() for section in flags}
    pictures = [picture for event in flagged if (picture := situation.frozen.get(event)) is not None]
    for side in (0, 1):
        if held[side].section is not SectionState.NONE:
            continue
        other = held[1 - side]
        frozen = situation.frozen.get(other.event)
        if frozen is None or pickup.since >= frozen.at - FREEZE_AGE_S:
            unfed = [s for s in (0, 1) if frozen is not None and not _fed(situation, s, frozen)]
            # What this switch itself holds where no source lies behind says all there is to say of its current.
            own = other.event.switch == situation.me.number and 1 - side in unfed
            suspect = other.section is SectionState.SUSPECT and not own
            if suspect or (other.section is SectionState.FAULTED and side in unfed):
                doubtful.append(side)
                continue
        if not ended_with_supply:
            continue
        if any(not _fed(situation, side, picture) for picture in pictures) and not any(
            sections & _behind(situation, side, picture) for picture in pictures
        ):
            doubtful.append(side)
    return doubtful


def supplied_by_all_accounts(situation: Situation, ended: float, now: float) -> bool:
    """Whether everybody else who has a sensor on an own section says that it is live, and somebody has on each.

    Args:
        situation: what is known.
        ended: when the own fault current ended, s; what was said before a breaker could trip on it counts for nothing.
        now: s.
    """
    if now < ended + _STALE_S:
        return False
    for section in situation.me.sides:
        peers = situation.feeder.peers(situation.me.number, section)
        heard = ((bound.side, situation.heard(bound.switch)) for bound in peers)
        said = {state.voltage[side] for side, state in heard if state is not None} - {Voltage.UNKNOWN}
        if said != {Voltage.PRESENT}:
            return False
    return True


def _fed(situation: Situation, side: int, frozen: Frozen) -> bool:
    """Whether a source lay behind a side of this switch when the network was quiet."""
    return situation.feeder.has_source(_behind(situation, side, frozen))


def _behind(situation: Situation, side: int, frozen: Frozen) -> frozenset[int]:
    """Sections that hung together behind a side of this switch when the network was quiet."""
    me = situation.me
    return situation.feeder.island(me.sides[side], lambda n: n != me.number and n in frozen.closed).sections
