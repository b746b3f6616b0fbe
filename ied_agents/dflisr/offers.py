"""What a dark island will draw, and what the ways to its ties could carry for it (design section 4, step 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ied_agents.dflisr.capacity import (
    FLOW_DEADBAND_A,
    flow_a,
    head_of,
    outstanding_a,
    path_loads,
    shared_by,
    shared_load_a,
    supply_path,
)
from ied_agents.dflisr.records import SectionState
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from ied_agents.dflisr.feeder import Island
    from ied_agents.dflisr.records import Bound, ClaimId, EventId
    from ied_agents.dflisr.views import Frozen, Situation


def expected_loads(
    situation: Situation, side: int, event: EventId, island: Island, remembered_a: float
) -> tuple[dict[int, float], float | None]:
    """What every section of an island will draw, and their total where that is known better, in A.

    Local generation has gone with the supply, so it is not deducted.

    Args:
        situation: of the switch through which the island was fed.
        side: of that switch, towards the island.
        event: after which the island is dark.
        island: as it is now.
        remembered_a: what the island drew by the word of the process before this one; 0 if nothing is known.

    Returns:
        Nothing where a load is not known.
    """
    me = situation.me
    frozen, factor = situation.frozen[event], situation.config.pickup_factor
    loads = {s: frozen.loads_a[s] * factor for s in island.sections if s in frozen.loads_a}
    for bound in island.boundary:
        section = situation.feeder.section(bound)
        if bound.switch in frozen.closed and bound.switch != me.number and section in loads:
            loads[section] += FLOW_DEADBAND_A
    fed, drawn = drawn_a(situation, side, frozen)
    total = None
    if drawn is not None and island.sections <= fed:
        # Where part of it is served already, only the sections' own loads can tell what is left.
        if island.sections == fed:
            total = drawn * factor
    elif len(loads) < len(island.sections) and island.sections <= _fed_normally(situation, side):
        # This process was not there when the island was live; the one before it has written down what it drew. What a
        # closed tie has added since is not in it.
        total = remembered_a or None
    if total is not None:
        unknown = [s for s in island.sections if s not in loads]
        # Where in the island it is drawn is not known then: every switch inside must carry all of it.
        if unknown and any(situation.feeder.by_number[n].rating_a < total for n in island.inner):
            return {}, None
        loads |= dict.fromkeys(unknown, max(0.0, total - sum(loads.values())) / len(unknown) if unknown else 0.0)
    elif len(loads) < len(island.sections):
        return {}, None
    return loads, total


def drawn_a(situation: Situation, side: int, frozen: Frozen) -> tuple[frozenset[int], float | None]:
    """What hung at one side of the own switch before an event, and what it drew in A; None if that is not known.

    Local generation is not deducted.
    """
    me = situation.me
    fed = situation.feeder.island(me.sides[side], lambda n: n != me.number and n in frozen.closed).sections
    if me.number not in frozen.closed or frozen.flow_a is None:
        return fed, None
    inflow = frozen.flow_a if side == 1 else -frozen.flow_a
    return fed, max(0.0, inflow + sum(frozen.generation_a.get(section, 0.0) for section in fed))


def _fed_normally(situation: Situation, side: int) -> frozenset[int]:
    """What hangs at one side of the own switch in the normal state."""
    me, feeder = situation.me, situation.feeder
    return feeder.island(me.sides[side], lambda n: n != me.number and feeder.by_number[n].normally_closed).sections


def relies_on_generation(situation: Situation, side: int, frozen: Frozen) -> bool:
    """Whether what hung at ``side`` before an event is more than this switch, or one behind it, may carry alone.

    Local generation that bore a part of it has gone with the supply.
    """
    me, feeder = situation.me, situation.feeder
    fed, drawn = drawn_a(situation, side, frozen)
    if not any(frozen.generation_a.get(section) for section in fed):
        return False
    behind = [(me, fed)]
    for number in frozen.closed - {me.number}:
        switch = feeder.by_number[number]
        if not set(switch.sides) <= fed:
            continue
        ways = [feeder.island(s, lambda n: n not in (number, me.number) and n in frozen.closed) for s in switch.sides]  # noqa: B023
        behind += [(switch, way.sections) for way in ways if me.sides[side] not in way.sections]
    loads = {switch: sum(frozen.loads_a.get(s, 0.0) for s in sections) for switch, sections in behind}
    loads[me] = max(loads[me], drawn or 0.0)
    return any(load > switch.rating_a for switch, load in loads.items())


def takes_back(situation: Situation, bound: Bound, island: Island, generation_a: float) -> bool:
    """Whether an island, and the way from a switch to its source, can carry what its generation would feed back."""
    if not generation_a:
        return True
    switches = situation.feeder.by_number
    backs = dict.fromkeys((bound.switch, *island.inner), 0.0)
    section = situation.other_side(bound)
    for number in supply_path(situation, bound) or ():
        sides = switches[number].sides
        flow = flow_a(situation, number) or 0.0
        backs[number] = max(0.0, flow if sides.index(section) == 0 else -flow)
        section = sides[1 - sides.index(section)]
    return all(back + generation_a + FLOW_DEADBAND_A <= switches[n].rating_a for n, back in backs.items())


def spare_elements(situation: Situation, bound: Bound, claim: ClaimId) -> tuple[tuple[int, float], ...] | None:
    """Everything on the way from a switch to its source with what it can spare, in A; None if that is not known.

    What is shared has the numbers -1, -2, … in the site's order. Reservations count where all of a feeder's supplies
    pass: at its head and at what it shares. On the way between its owner knows better.
    """
    feeder = situation.feeder
    state = situation.heard(bound.switch)
    path = supply_path(situation, bound)
    if state is None or path is None or state.voltage[1 - bound.side] is not Voltage.PRESENT:
        return None
    supply = situation.supply(bound).sections
    if any(situation.flag(section)[0] is not SectionState.NONE for section in supply):
        return None
    if sum(map(feeder.is_source, supply)) > 1:
        return None  # somebody has connected two supplies: which of them would carry how much is not known
    head = head_of(path, bound.switch)
    spare = {bound.switch: feeder.by_number[bound.switch].rating_a}
    for number, load in path_loads(situation, bound, path).items():
        if load is None:
            return None
        spare[number] = feeder.by_number[number].rating_a - load - FLOW_DEADBAND_A
    for place, element in enumerate(feeder.shared):
        if element in shared_by(situation, head):
            # Only its owner must hear all who draw from it.
            load = shared_load_a(situation, element)
            if load is not None:
                spare[-1 - place] = element.rating_a - load - _reserved(situation, element.owner, claim)
    # The head may keep reservations of other heads too, for what they share: those of its own feeder count here.
    on_feeder = frozenset((bound.switch,))
    if path:
        own = feeder.island(
            situation.other_side(bound), lambda n: n not in (head, bound.switch) and situation.known_closed(n)
        )
        on_feeder = own.inner | {b.switch for b in own.boundary}
    spare[head] -= _reserved(situation, head, claim, on_feeder)
    return tuple(spare.items())


def _reserved(situation: Situation, owner: int, claim: ClaimId, ties: frozenset[int] | None = None) -> float:
    """What an owner has reserved for other claims, in A; with ``ties``, for those."""
    state = situation.heard(owner)
    return sum(
        outstanding_a(situation, made.tie, made.deciamperes)
        for made in (() if state is None else state.reservations)
        if made.claim != claim and (ties is None or made.tie in ties)
    )
