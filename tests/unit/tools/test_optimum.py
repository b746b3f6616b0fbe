"""The judge's optimum against trying everything by brute force, and on islands that can be worked out by hand."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from tools.campaign.optimum import Best, Feed, Island, Load, best, better


def _line(loads, feeds, spare, *, rating=400.0, **limits):
    """Sections 0, 1, 2 ... in a row, with switch 100 + i between i and i + 1."""
    return Island(
        loads={i: load if isinstance(load, Load) else Load(load, load) for i, load in enumerate(loads)},
        inner={100 + i: (i, i + 1, rating) for i in range(len(loads) - 1)},
        feeds=feeds,
        spare_a=spare,
        **limits,
    )


def test_one_feed_that_can_takes_all_with_one_operation():
    feeds = (Feed(1, 0, ("a",)), Feed(2, 2, ("b",)))
    found = best(_line([10.0, 20.0, 30.0], feeds, {"a": 70.0, "b": 40.0}))
    assert found == Best({0: 60.0}, 1, {1: frozenset({0, 1, 2})}, frozenset(), proven=True)


def test_split_between_two_feeds_at_the_only_place_that_fits():
    feeds = (Feed(1, 0, ("a",)), Feed(2, 2, ("b",)))
    found = best(_line([10.0, 20.0, 30.0], feeds, {"a": 35.0, "b": 30.0}))
    assert found == Best({0: 60.0}, 3, {1: frozenset({0, 1}), 2: frozenset({2})}, frozenset({101}), proven=True)


def test_a_cut_makes_each_side_need_more():
    feeds = (Feed(1, 0, ("a",)), Feed(2, 2, ("b",)))
    island = _line([10.0, 20.0, 30.0], feeds, {"a": 30.9, "b": 31.0}, cut_a=1.0)
    assert best(island).parts == {1: frozenset({0}), 2: frozenset({2})}
    assert best(replace(island, spare_a={"a": 31.0, "b": 31.0})).total_a == 60.0


def test_a_shared_element_is_not_handed_out_twice():
    feeds = (Feed(1, 0, ("a", "transformer")), Feed(2, 2, ("b", "transformer")))
    found = best(_line([10.0, 20.0, 30.0], feeds, {"a": 100.0, "b": 100.0, "transformer": 45.0}))
    assert found.total_a == 40.0
    assert best(_line([10.0, 20.0, 30.0], feeds, {"a": 100.0, "b": 100.0, "transformer": 60.0})).total_a == 60.0


def test_the_highest_priority_comes_before_more_load():
    loads = [Load(20.0, 20.0, 0), Load(10.0, 10.0, 2), Load(45.0, 45.0, 0)]
    # From the right, serving section 1 needs section 2 as well; from the left it needs section 0.
    found = best(_line(loads, (Feed(1, 0, ("a",)),), {"a": 50.0}))
    assert found.served_a == {2: 10.0, 0: 20.0}
    found = best(_line([loads[1], loads[0], loads[2]], (Feed(1, 1, ("a",)),), {"a": 65.0}))
    assert found.served_a == {2: 10.0, 0: 20.0}, "65 A would do for the other two, without priority 2"


def test_inner_ratings_count_in_the_direction_of_the_feed():
    island = _line([10.0, 20.0, 30.0], (Feed(2, 2, ("b",)),), {"b": 100.0}, rating=29.0)
    assert best(island).total_a == 50.0
    assert best(_line([10.0, 20.0, 30.0], (Feed(1, 0, ("a",)),), {"a": 100.0}, rating=29.0)).total_a == 30.0


def test_no_more_parts_and_cuts_than_allowed():
    feeds = tuple(Feed(1 + i, i, (i,)) for i in range(5))
    island = _line([10.0] * 5, feeds, dict.fromkeys(range(5), 10.0), most_parts=4, most_cuts=4)
    assert best(island).total_a == 40.0
    assert best(replace(island, most_parts=5)).total_a == 50.0
    assert best(replace(island, most_parts=5, most_cuts=2)).total_a == 20.0


def test_who_fed_it_before_needs_no_leave_for_that_much():
    feeds = (Feed(1, 0, ("a",), assured_a=60.0),)
    assert best(_line([10.0, 20.0, 30.0], feeds, {"a": -5.0})).total_a == 60.0
    assert best(_line([10.0, 20.0, 31.0], feeds, {"a": -5.0})).total_a == 30.0


def test_an_element_short_of_room_refuses_others_beside_the_one_that_needs_no_leave():
    feeds = (Feed(1, 0, ("a", "t"), assured_a=30.0), Feed(2, 2, ("b", "t")))
    assert best(_line([10.0, 20.0, 30.0], feeds, {"a": 0.0, "b": 100.0, "t": 29.0})).total_a == 30.0
    assert best(_line([10.0, 20.0, 30.0], feeds, {"a": 30.0, "b": 100.0, "t": 60.0})).total_a == 60.0


def test_no_feed_and_a_ring():
    assert best(_line([10.0, 20.0], (), {})) == Best()
    ring = replace(
        _line([1.0, 1.0, 1.0], (Feed(1, 0, ("a",)),), {"a": 9.0}),
        inner={7: (0, 1, 9.0), 8: (1, 2, 9.0), 9: (2, 0, 9.0)},
    )
    assert not best(ring).proven


def test_a_search_of_many_switches_is_given_up_and_says_so_but_not_one_of_few():
    rng = random.Random(3)
    loads = [float(rng.randint(5, 60)) for _ in range(40)]
    feeds = tuple(Feed(i, 9 * i, (i,)) for i in range(5))
    spare = dict.fromkeys(range(5), 97.3)
    assert not best(_line(loads, feeds, spare), effort=500).proven
    assert best(_line(loads[:13], feeds[:2], spare), effort=1).proven


def test_better_goes_by_the_highest_priority_that_differs():
    assert better({2: 10.0, 0: 5.0}, {2: 9.0, 0: 500.0})
    assert better({2: 9.5, 0: 500.0}, {2: 10.0, 0: 5.0}, tolerance_a=1.0)
    assert not better({1: 5.0}, {1: 5.0})


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_brute_force(seed):
    island = _random_island(random.Random(seed))
    found = best(island)
    served, operations = _brute_force(island)
    assert found.proven
    assert not better(served, found.served_a, 1e-6)
    assert not better(found.served_a, served, 1e-6)
    assert found.operations == operations
    labels = {section: switch for switch, sections in found.parts.items() for section in sections}
    assert _judge(island, labels) == (pytest.approx(found.served_a), operations)


def _random_island(rng: random.Random) -> Island:
    sections = rng.randint(1, 6)
    inner = {
        100 + i: (rng.randrange(i), i, float(rng.choice((40, 80, 400)))) if i % 2 else (i, rng.randrange(i), 400.0)
        for i in range(1, sections)
    }
    feeds = []
    for i in range(rng.randint(1, 3)):
        elements = (("tie", i), ("head", rng.randrange(2))) + ((("transformer", 0),) if rng.random() < 0.5 else ())
        assured = 50.0 if i == 0 and rng.random() < 0.3 else 0.0
        feeds.append(Feed(10 + i, rng.randrange(sections), elements, assured))
    loads = {}
    for section in range(sections):
        load = float(rng.randint(5, 60))
        loads[section] = Load(load, load + rng.choice((0.0, 1.0)), rng.choice((0, 0, 1)))
    return Island(
        loads=loads,
        inner=inner,
        feeds=tuple(feeds),
        spare_a={element: rng.uniform(0.0, 200.0) for feed in feeds for element in feed.elements},
        cut_a=rng.choice((0.0, 1.0)),
        most_parts=rng.choice((1, 2, 4)),
        most_cuts=rng.choice((1, 2, 4)),
    )


def _brute_force(island: Island) -> tuple[dict[int, float], int]:
    """Every assignment of feeds to sections, those that cannot be left out."""
    top: tuple[dict[int, float], int] = ({}, 0)
    sections = list(island.loads)
    for assignment in product([None, *(feed.switch for feed in island.feeds)], repeat=len(sections)):
        labels = {s: feed for s, feed in zip(sections, assignment, strict=True) if feed is not None}
        judged = _judge(island, labels)
        if judged is None:
            continue
        if better(judged[0], top[0], 1e-9) or (not better(top[0], judged[0], 1e-9) and judged[1] < top[1]):
            top = judged
    return top


def _judge(island: Island, labels: dict[int, int]) -> tuple[dict[int, float], int] | None:
    """What an assignment serves, and its operations; None if it is not possible."""
    cuts = [n for n, (a, b, _) in island.inner.items() if labels.get(a) != labels.get(b)]
    if len(cuts) > island.most_cuts or len(set(labels.values())) > island.most_parts:
        return None
    need = {s: island.loads[s].needed_a for s in labels}
    for n in cuts:
        for section in island.inner[n][:2]:
            if section in labels:
                need[section] += island.cut_a
    used: Counter[object] = Counter()
    totals: dict[int, float] = {}
    for feed in island.feeds:
        part = {s for s, switch in labels.items() if switch == feed.switch}
        if part and not _carries(island, feed.section, part, need):
            return None
        totals[feed.switch] = sum(need[s] for s in part)
        for element in feed.elements:
            used[element] += totals[feed.switch]
    for element, load in used.items():
        drawing = [f for f in island.feeds if element in f.elements and totals[f.switch]]
        if load > island.spare_a[element] + 1e-9 and any(totals[f.switch] > f.assured_a for f in drawing):
            return None
    served: Counter[int] = Counter()
    for section in labels:
        served[island.loads[section].priority] += island.loads[section].served_a
    return dict(served), len(cuts) + len(set(labels.values()))


def _carries(island: Island, entry: int, part: set[int], need: dict[int, float]) -> bool:
    """Whether a part hangs together from its entry, and no switch in it carries too much."""
    if entry not in part:
        return False
    reached = {entry}

    def beyond(section: int, came_by: int) -> float:
        total = need[section]
        for n, (a, b, rating) in island.inner.items():
            if n != came_by and section in (a, b) and {a, b} <= part:
                other = b if section == a else a
                reached.add(other)
                carried = beyond(other, n)
                if carried > rating + 1e-9:
                    raise OverflowError
                total += carried
        return total

    try:
        beyond(entry, -1)
    except OverflowError:
        return False
    return reached == part
