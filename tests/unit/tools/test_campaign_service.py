"""I7 on networks small enough to know the answer: order of the islands, capacity, supplies, margins, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.dflisr.feeder import FeederSwitch, SharedElement
from ied_agents.process.plant_network import PlantSection
from tools.campaign.feeders import FeederSystem, assemble
from tools.campaign.network_truth import NetworkTruth
from tools.campaign.service import Restoring, Service, Standing, judge_service

LOADS_A = {1: 20.0, 2: 10.0, 3: 30.0, 4: 40.0, 8: 50.0}
SOURCES = (0, 9)


def _system(shared=(), priorities=None, **ratings) -> FeederSystem:
    """Section 2 is the faulted one, between 1, 3 and 4; section 8 is the neighbour's.

    source 0 -1- 1 -2- 2 -3- 3 .4. 8 -6- source 9;  2 -7- 4 .5. 3;  4 .8. 8   (. is open)
    """
    template = FeederSwitch(0, "", "", True, (0, 0), True, 400.0, 16000.0, 0.2, 0.06)
    ends = {1: (0, 1), 2: (1, 2), 3: (2, 3), 4: (3, 8), 5: (3, 4), 6: (9, 8), 7: (2, 4), 8: (4, 8)}
    switches = [
        replace(
            template,
            number=n,
            name=f"Q{n}",
            ied=f"IED{n}",
            sides=sides,
            normally_closed=n not in (4, 5, 8),
            rating_a=ratings.get(f"q{n}", 400.0),
        )
        for n, sides in ends.items()
    ]
    sections = [
        PlantSection(i, f"S{i}", is_source=i in SOURCES, load_a=LOADS_A.get(i, 0.0)) for i in (*LOADS_A, *SOURCES)
    ]
    return assemble(switches, sections, 0.003, shared=shared, priorities=priorities)


def _judge(system: FeederSystem, conducting: set[int], restoring=None, **changes) -> Service:
    """With section 2 isolated by the locked switches 2, 3 and 7; switch 1 has opened and may close again."""
    end = Standing(
        conducting=frozenset(conducting),
        live_sources=frozenset(SOURCES),
        generation_a={},
        closed_before=frozenset({1, 2, 3, 6, 7}),
        flow_before_a={1: 100.0, 2: 80.0, 3: 30.0, 6: 50.0, 7: 40.0},
        restoring=restoring or {},
        split=frozenset(),
        locked=frozenset({2, 3, 7}),
        not_closable=frozenset({2, 3, 7}),
        out=frozenset({2}),
    )
    return judge_service(system, NetworkTruth(system.plant), replace(end, **changes))


def _closed(section: int, at: float) -> Restoring:
    return Restoring(section, at, at + 0.1, at + 0.2, {})


def test_all_restored_is_all_that_could_be():
    service = _judge(_system(), {6, 1, 4, 8}, {1: _closed(1, 1), 4: _closed(3, 1), 8: _closed(4, 1)})
    assert service == Service(90.0, 90.0, (), islands=3)


def test_what_was_never_claimed_is_missed_also_where_its_supply_came_up_later():
    service = _judge(_system(), {6, 1, 4}, {1: _closed(1, 1), 4: _closed(3, 1)}, not_closable=frozenset({2, 3, 7, 8}))
    assert [missed.best.parts for missed in service.missed] == [{5: frozenset({4})}]
    assert (service.served_a, service.could_a) == (50.0, 90.0)


def test_who_fed_the_island_before_needs_no_room_for_what_it_carried():
    assert not _judge(_system(q1=20.0), {6, 4, 8}, {4: _closed(3, 1), 8: _closed(4, 1)}, out=frozenset({1, 2})).missed
    service = _judge(_system(q1=20.0), {6, 4, 8}, {4: _closed(3, 1), 8: _closed(4, 1)})
    assert [missed.best.parts for missed in service.missed] == [{1: frozenset({1})}]


@pytest.mark.parametrize(("left_a", "could"), [(42.9, 0.0), (43.1, 40.0)])
def test_margins_on_an_element_and_on_a_load_known_from_a_flow(left_a, could):
    # Section 4 draws 40 A, known from the flow of switch 7: 1 A more. On switch 6 1 A is kept free, and 1 A may be
    # measured too much.
    service = _judge(_system(q6=50.0 + left_a), {6}, out=frozenset({1, 2, 3}))
    assert service.could_a == could


@pytest.mark.parametrize(("first", "second"), [(3, 4), (4, 3)])
def test_who_is_granted_first_takes_the_capacity(first, second):
    ties = {3: 4, 4: 8}
    restoring = {ties[first]: _closed(first, 1)}
    service = _judge(_system(q6=95.0), {6, ties[first]}, restoring, out=frozenset({1, 2}))
    assert service.could_a == service.served_a == LOADS_A[first]
    service = _judge(_system(q6=150.0), {6, ties[first]}, restoring, out=frozenset({1, 2}))
    assert [missed.sections for missed in service.missed] == [(second,)]


def test_a_supply_that_came_up_after_the_claim_was_no_offer():
    system = _system()
    late = {4: Restoring(3, 1.0, 5.0, 5.1, {}), 5: Restoring(4, 1.0, 5.2, 5.3, {})}
    service = _judge(system, {6, 4, 5}, late, out=frozenset({1, 2}), not_closable=frozenset({2, 3, 7, 8}))
    assert (service.served_a, service.could_a, service.missed) == (70.0, 70.0, ())


def test_shared_elements_and_generation_that_still_runs():
    shared = (SharedElement("T", 130.0, 6, (6, 1)),)
    out = frozenset({1, 2})
    service = _judge(_system(shared=shared), {6}, out=out)
    assert service.could_a == 70.0, "130 A less 50 A"
    service = _judge(_system(shared=shared, q6=100.0), {6}, out=out, generation_a={8: 20.0})
    assert service.could_a == 30.0, "switch 6 carries 30 A, and may carry 69 A more: not 70 A with its margins"
    service = _judge(_system(shared=(replace(shared[0], rating_a=91.0),)), {6}, out=out)
    assert service.could_a == 30.0


def test_better_priorities_count_before_load():
    restoring = {8: _closed(4, 1)}
    # One island of 3 and 4: switch 5 is closed inside it.
    system = _system(q6=95.0, priorities={3: 1})
    split = {"split": frozenset({5}), "out": frozenset({1, 2})}
    service = _judge(system, {6, 8}, restoring, **split)
    assert [(m.served_a, m.best.served_a) for m in service.missed] == [({0: 40.0}, {1: 30.0})]
    assert (service.served_a, service.could_a) == (0.0, 30.0)
    service = _judge(system, {6, 4}, {4: _closed(3, 1)}, **split)
    assert service.missed == ()


def test_an_island_that_hangs_on_a_dead_source_is_not_judged():
    service = _judge(_system(), {1, 4, 6, 8}, {1: _closed(1, 1)}, live_sources=frozenset({0}))
    assert (service.islands, service.could_a) == (1, 20.0)
