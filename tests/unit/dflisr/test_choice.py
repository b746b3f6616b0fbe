"""The choice of ties and splits for a dead island, against every choice there is."""

from __future__ import annotations

import random
from itertools import chain, combinations, product
from math import inf

import pytest

from ied_agents.dflisr.choice import Choice, Inner, Offer, Part, choose
from ied_agents.dflisr.records import Bound

PLENTY = 1_000_000


def tie(number, section, spare, *more, head=False):
    """An offer with one element of its own and those of ``more``."""
    return Offer(Bound(number, 0), section, ((number, float(spare)), *more), head)


def line(*ratings, first=11, may_split=True):
    """Switches between sections 1, 2, 3, ... in a row."""
    return [Inner(first + i, (i + 1, i + 2), float(rating), may_split) for i, rating in enumerate(ratings)]


def ask(loads, inner, offers, *, priorities=None, most_parts=4, most_splits=4, effort=PLENTY):
    if not isinstance(loads, dict):
        loads = dict(enumerate(loads, 1))
    return choose(loads, priorities or {}, inner, offers, most_parts=most_parts, most_splits=most_splits, effort=effort)


# -- every choice there is -------------------------------------------------------------------------------------------


def pieces(sections, kept):
    """What hangs together by ``kept``, each as (sections, switches)."""
    left = set(sections)
    while left:
        piece, grown = {min(left)}, True
        while grown:
            more = {s for i in kept for s in i.sections if piece.intersection(i.sections)} - piece
            piece |= more
            grown = bool(more)
        left -= piece
        yield frozenset(piece), [i for i in kept if piece.issuperset(i.sections)]


def fed(loads, piece, kept, offer):
    """Whether ``offer`` may feed ``piece`` as far as its switches go: a tree, each within its rating."""
    if offer.section not in piece or len(kept) != len(piece) - 1:
        return False
    for switch in kept:
        without = [i for i in kept if i is not switch]
        far = next(p for p, _ in pieces(piece, without) if offer.section not in p)
        if sum(loads[s] for s in far) > switch.rating_a:
            return False
    return True


def value_of(loads, priorities, offers, splits, feeding):
    """What a choice is worth, as a tuple; None if it overloads an element. ``feeding`` is [(offer, sections)]."""
    spare = {}
    for offer in offers:
        for key, amount in offer.elements:
            spare[key] = min(spare.get(key, inf), amount)
    rest, carries = dict(spare), set()
    for offer, piece in feeding:
        amount = sum(loads[s] for s in piece)
        for key in {key for key, _ in offer.elements}:
            rest[key] -= amount
            if amount:
                carries.add(key)
            if rest[key] < 0:
                return None
    served = frozenset(chain.from_iterable(piece for _, piece in feeding))
    return (
        [
            sum(loads[s] for s in served if priorities.get(s, 0) == level)
            for level in sorted({priorities.get(s, 0) for s in loads}, reverse=True)
        ],
        -len(splits) - len(feeding),
        len(served),
        sum(offer.head for offer, _ in feeding),
        min((rest[key] for key in carries), default=inf),
        tuple(-n for n in sorted(offer.bound.switch for offer, _ in feeding)),
        tuple(-n for n in sorted(splits)),
    )


def best_of_all(loads, priorities, inner, offers, most_parts, most_splits):
    """The best value, by trying every set of splits with every assignment of offers."""
    best = None
    may = [i for i in inner if i.may_split]
    for count in range(min(len(may), most_splits) + 1):
        for split in combinations(may, count):
            kept = [i for i in inner if i not in split]
            options = []
            for piece, switches in pieces(loads, kept):
                options.append([None, *((o, piece) for o in offers if fed(loads, piece, switches, o))])
            for assignment in product(*options):
                feeding = [pair for pair in assignment if pair is not None]
                if len(feeding) > most_parts:
                    continue
                value = value_of(loads, priorities, offers, [i.number for i in split], feeding)
                if value is not None and (best is None or value > best):
                    best = value
    return best


def judged(choice, loads, priorities, inner, offers):
    """The value of ``choice``, judged from its own words."""
    by_bound = {o.bound: o for o in offers}
    split = set(choice.splits)
    assert split <= {i.number for i in inner if i.may_split}
    whole = dict(pieces(loads, [i for i in inner if i.number not in split]))
    for part in choice.parts:
        assert part.sections in whole
        assert fed(loads, part.sections, whole[part.sections], by_bound[part.bound])
        assert part.amount_a == pytest.approx(sum(loads[s] for s in part.sections))
    assert sum(len(p.sections) for p in choice.parts) == len(frozenset().union(*(p.sections for p in choice.parts)))
    assert choice.served_a == pytest.approx(sum(p.amount_a for p in choice.parts))
    value = value_of(loads, priorities, offers, split, [(by_bound[p.bound], p.sections) for p in choice.parts])
    assert value is not None
    return value


def some_island(rng, sections, loops=0):
    loads = {s: float(rng.choice((0, 5, 10, 10, 20, 30, rng.randrange(40)))) for s in range(1, sections + 1)}
    priorities = {s: rng.choice((0, 0, 0, 1, 2)) for s in loads if rng.random() < rng.choice((0, 1))}
    ends = [(rng.randrange(max(1, s - 3), s), s) for s in range(2, sections + 1)]
    ends += [(rng.randrange(1, sections + 1), rng.randrange(1, sections + 1)) for _ in range(loops)]
    total = sum(loads.values())
    inner = [
        Inner(50 + n, pair if rng.random() < 0.5 else pair[::-1], rng.choice((1000.0, 60.0, 25.0)), rng.random() < 0.8)
        for n, pair in enumerate(rng.sample(ends, len(ends)))
    ]
    offers = []
    shared = {-1: total * rng.choice((0.4, 0.7, 2)), -2: total * rng.choice((0.2, 0.5)), -3: 50.0}
    for number in rng.sample(range(1, 40), rng.randrange(1, 5)):
        elements = [(number, float(rng.randrange(int(total) + 20)))]
        elements += [(k, float(int(spare))) for k, spare in shared.items() if rng.random() < 0.3]
        offers.append(Offer(Bound(number, rng.randrange(2)), rng.randrange(1, sections + 1), tuple(elements), False))
    if rng.random() < 0.3:
        offers[0] = offers[0]._replace(head=True)
    return loads, priorities, inner, offers, rng.choice((1, 2, 4)), rng.choice((0, 1, 2, 6))


def answer(island, effort=PLENTY):
    loads, priorities, inner, offers, most_parts, most_splits = island
    choice = choose(loads, priorities, inner, offers, most_parts=most_parts, most_splits=most_splits, effort=effort)
    assert len(choice.parts) <= most_parts
    assert len(choice.splits) <= most_splits
    return choice, judged(choice, loads, priorities, inner, offers)


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_on_a_small_island_is_better(seed):
    rng = random.Random(seed)
    for _ in range(80):
        island = some_island(rng, rng.randrange(1, 7))
        choice, value = answer(island)
        # Nothing but sections without load: the rule for the whole island comes first.
        if any(island[0].values()) or not choice.parts:
            assert value == best_of_all(*island), island


@pytest.mark.parametrize("seed", range(10))
def test_no_choice_on_an_island_with_loops_is_better(seed):
    rng = random.Random(1000 + seed)
    for _ in range(30):
        island = some_island(rng, rng.randrange(2, 6), loops=rng.randrange(1, 3))
        choice, value = answer(island)
        if any(island[0].values()) or not choice.parts:
            assert value == best_of_all(*island), island


def test_the_question_may_be_put_in_any_order():
    rng = random.Random(7)
    for _ in range(100):
        loads, priorities, inner, offers, *limits = some_island(rng, 8)
        turned = (dict(reversed(loads.items())), priorities, inner[::-1], offers[::-1], *limits)
        assert answer((loads, priorities, inner, offers, *limits)) == answer(turned)


def large_island(rng):
    """20 sections with six offers, too few for all."""
    loads = {s: round(rng.uniform(3, 40), 1) for s in range(1, 21)}
    inner = [Inner(100 + s, (rng.randrange(max(1, s - 4), s), s), 150.0, True) for s in range(2, 21)]
    offers = [
        tie(n, rng.randrange(1, 21), rng.randrange(20, 250), *((k, spare) for k, spare in ((-1, 200.0), (-2, 120.0))))
        for n in range(1, 7)
    ]
    return loads, {s: rng.choice((0, 0, 1, 2)) for s in loads}, inner, offers, 4, 6


def test_more_effort_never_does_worse_and_none_still_serves():
    rng = random.Random(3)
    better = 0
    for _ in range(5):
        island = large_island(rng)
        values = [answer(island, effort)[1] for effort in (0, 2_000, 10_000)]
        assert values == sorted(values)
        assert sum(values[0][0]) > 0
        better += values[0] < values[-1]
    assert better


# -- one offer for all ----------------------------------------------------------------------------------------------


def test_one_offer_that_can_take_all_does_and_the_one_with_most_left_is_chosen():
    choice = ask([10, 20, 30], line(400, 400), [tie(1, 1, 60), tie(2, 3, 90), tie(3, 2, 59.9)])
    assert choice == Choice((Part(Bound(2, 0), frozenset({1, 2, 3}), 60.0),), (), 60.0)


def test_the_head_goes_before_an_offer_with_more_left():
    choice = ask([10, 20], line(400), [tie(1, 1, 31, head=True), tie(2, 2, 90)])
    assert [part.bound.switch for part in choice.parts] == [1]


def test_of_equal_offers_the_lowest_switch_is_chosen():
    assert ask([10], [], [tie(8, 1, 50), tie(3, 1, 50), tie(5, 1, 50)]).parts[0].bound == Bound(3, 0)


def test_what_is_left_counts_on_the_weakest_element_of_the_way():
    choice = ask([10], [], [tie(1, 1, 500, (21, 40.0)), tie(2, 1, 60, (22, 300.0))])
    assert choice.parts[0].bound.switch == 2


def test_an_island_without_any_load_is_fed_whole():
    assert ask([0, 0, 0], line(400, 400), [tie(4, 2, 5)]).parts == (Part(Bound(4, 0), frozenset({1, 2, 3}), 0.0),)


def test_generation_that_exceeds_the_load_of_a_section_makes_no_room_in_others():
    choice = ask({1: -50.0, 2: 40.0}, line(400), [tie(1, 1, 39)])
    assert choice.parts == ()
    assert ask({1: -50.0, 2: 40.0}, line(400), [tie(1, 1, 40)]).served_a == 40.0


@pytest.mark.parametrize(("spare", "parts"), [(10.1, 1), (10.0, 0)])
def test_amounts_are_rounded_up_to_what_can_be_asked_for(spare, parts):
    choice = ask([10.03], [], [tie(1, 1, spare)])
    assert [part.amount_a for part in choice.parts] == [10.1] * parts


def test_an_inner_switch_of_too_small_a_rating_excludes_an_offer():
    choice = ask([10, 15, 30], line(400, 29), [tie(1, 1, 500), tie(2, 3, 100)])
    assert [part.bound.switch for part in choice.parts] == [2]


# -- splitting ------------------------------------------------------------------------------------------------------


def test_two_offers_share_an_island_that_neither_can_take():
    choice = ask([30, 30, 30], line(400, 400), [tie(1, 1, 40), tie(2, 3, 70)])
    assert choice == Choice(
        (Part(Bound(2, 0), frozenset({2, 3}), 60.0), Part(Bound(1, 0), frozenset({1}), 30.0)), (11,), 90.0
    )


def test_what_no_offer_can_take_is_split_off_and_stays_dark():
    choice = ask([30, 30, 30], line(400, 400), [tie(1, 1, 60)])
    assert choice == Choice((Part(Bound(1, 0), frozenset({1, 2}), 60.0),), (12,), 60.0)


def test_without_a_switch_to_split_nothing_is_served():
    assert ask([30, 30], line(400, may_split=False), [tie(1, 1, 30), tie(2, 2, 30)]) == Choice((), (), 0.0)


def test_a_higher_priority_goes_before_more_load():
    loads, inner, offers = [20, 5, 90], line(400, 400), [tie(1, 2, 95)]
    assert ask(loads, inner, offers).parts[0].sections == {2, 3}
    assert ask(loads, inner, offers, priorities={1: 1}).parts[0].sections == {1, 2}


def test_the_part_of_the_highest_priority_is_asked_for_first():
    choice = ask([30, 40], line(400), [tie(1, 1, 40), tie(2, 2, 40)], priorities={1: 3})
    assert [part.bound.switch for part in choice.parts] == [1, 2]


def test_an_element_that_two_offers_share_carries_both():
    inner = line(400)
    apart = [tie(1, 1, 40), tie(2, 2, 40)]
    together = [tie(1, 1, 40, (-1, 50.0)), tie(2, 2, 40, (-1, 50.0))]
    assert ask([30, 25], inner, apart).served_a == 55.0
    assert ask([30, 25], inner, together).served_a == 30.0


def test_of_two_values_for_one_element_the_lower_holds():
    assert ask([30], [], [tie(1, 1, 40, (-1, 50.0)), tie(2, 1, 60, (-1, 20.0))]).parts == ()
    assert ask([30], [], [tie(1, 1, 40, (-1, 50.0)), tie(2, 1, 60, (-1, 30.0))]).served_a == 30.0


def test_a_section_without_load_is_served_where_it_costs_no_operation():
    inner = [*line(400, 400), Inner(13, (2, 4), 400.0, True)]
    # Between section 1 and two that must stay dark: serving 2 as well would take a second split.
    assert ask([30, 0, 50, 50], inner, [tie(1, 1, 40)]).parts[0].sections == {1}
    assert ask([30, 0, 50], line(400, 400), [tie(1, 1, 40)]).splits == (12,)


# Section 3 is where the current comes from; 5 hangs on it, 4 on section 2, which lies on the way to section 1.
FORK = [Inner(11, (1, 2), 400, True), Inner(12, (2, 3), 30, True), Inner(13, (2, 4), 400, True)]
FORK += [Inner(14, (3, 5), 400, True)]


def test_what_a_switch_lets_through_goes_to_the_highest_priority():
    choice = ask([30, 0, 0, 30, 40], FORK, [tie(1, 3, 90)], priorities={1: 2, 4: 1})
    assert choice.parts[0].sections == {1, 2, 3, 5}


def test_a_part_takes_less_where_that_leaves_room_for_another():
    offers = [tie(8, 3, 90, (-1, 100.0)), tie(9, 1, 90, (-1, 100.0))]
    choice = ask([65, 0, 0, 30, 40], FORK, offers, priorities={1: 2, 5: 1})
    assert {part.bound.switch: set(part.sections) for part in choice.parts} == {9: {1}, 8: {2, 3, 4}}


def test_limits_on_parts_and_splits_hold():
    loads, inner = [30, 30, 30], line(400, 400)
    offers = [tie(n, n, 30) for n in (1, 2, 3)]
    assert ask(loads, inner, offers).served_a == 90.0
    assert ask(loads, inner, offers, most_parts=2).served_a == 60.0
    assert ask(loads, inner, offers, most_splits=1).served_a == 30.0
    assert ask(loads, inner, offers, most_splits=0).parts == ()


# -- loops ----------------------------------------------------------------------------------------------------------


def ring(may_split):
    return [Inner(10 + n, (n, n % 3 + 1), 400.0, n in may_split) for n in (1, 2, 3)]


def test_a_loop_is_opened_before_it_is_fed():
    choice = ask([10, 10, 10], ring({3}), [tie(1, 1, 100)])
    assert choice == Choice((Part(Bound(1, 0), frozenset({1, 2, 3}), 30.0),), (13,), 30.0)


def test_a_loop_that_cannot_be_opened_is_not_fed():
    assert ask([10, 10, 10], ring(()), [tie(1, 1, 100)]) == Choice((), (), 0.0)


def test_a_dark_loop_may_stay():
    choice = ask([10, 10, 10, 40], [*ring(()), Inner(14, (3, 4), 400.0, True)], [tie(1, 4, 100)])
    assert choice == Choice((Part(Bound(1, 0), frozenset({4}), 40.0),), (14,), 40.0)


def test_no_switch_is_split_between_dark_sections_even_in_haste():
    inner = [*ring({1, 2, 3}), Inner(14, (3, 4), 400.0, True)]
    assert ask([90, 90, 90, 40], inner, [tie(1, 4, 80)], effort=0).splits == (14,)


# -- wrong questions ------------------------------------------------------------------------------------------------


def test_no_offer_no_choice():
    assert ask([10, 10], line(400), []) == Choice((), (), 0.0)


@pytest.mark.parametrize(("inner", "offers"), [(line(400), [tie(1, 1, 50)]), ([], [tie(1, 2, 50)])])
def test_a_section_without_a_load_is_a_mistake_of_the_caller(inner, offers):
    with pytest.raises(KeyError):
        ask([10], inner, offers)
