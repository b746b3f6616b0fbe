"""What an operator asks of an agent: it takes effect, it is published, and it outlives the process."""

from __future__ import annotations

import pytest

from ied_agents.dflisr.records import EventId, LockState, SectionState
from ied_agents.dflisr.stored import Record
from ied_agents.process.inputs import Direction, Voltage

DARK, LIVE = Voltage.ABSENT, Voltage.PRESENT
EVENTS = [EventId(2, 65 + number) for number in range(6)]


def written(turned):
    assert turned.records, "nothing was handed to the disk"
    return turned.records[-1]


def lock(agent, network, event):
    """L2 declared section 2 faulted; R3, which bounds it, locks its side A."""
    none = network.flagged(SectionState.NONE, lock=LockState.NONE)
    agent.hear(2, last_event=event, sides=(none, network.flagged(event=event)))
    return agent.turn(after=0.01).fast.sides[0]


def test_a_new_agent_is_held_until_an_operator_confirms_and_that_is_durable(bench):
    agent = bench(9, Record(), unclean=True).quiet()
    state = agent.turn().fast
    assert (state.ready, state.unproven) == (False, True)
    agent.agent.confirm()
    turned = agent.turn()
    assert (turned.fast.ready, turned.fast.unproven) == (True, False)
    assert not written(turned).held


@pytest.mark.parametrize("tags", [1, 2, 3, 0])
def test_tags_are_published_and_durable(bench, tags):
    agent = bench(9, Record(held=False, clean=True, tags=(("crew 7", 3 - tags),))).quiet()
    agent.agent.tag("crew 7", tags)
    turned = agent.turn()
    assert turned.fast.tags == tags
    assert written(turned).tags == ((("crew 7", tags),) if tags else ())


@pytest.mark.parametrize("tags", [4, 8, 255, -1])
def test_tags_that_nobody_knows_are_refused(bench, tags):
    agent = bench(9).quiet()
    with pytest.raises(ValueError, match=f"tags {tags}"):
        agent.agent.tag("crew 7", tags)
    assert agent.turn().fast.tags == 0


def test_a_tag_without_an_owner_is_refused(bench):
    agent = bench(9).quiet()
    with pytest.raises(ValueError, match="owner"):
        agent.agent.tag("", 1)
    assert agent.turn().fast.tags == 0


def test_each_owner_takes_off_only_his_own_tag(bench):
    agent = bench(9).quiet()
    seen = []
    for owner, tags in (("crew 7", 1), ("crew 8", 1), ("crew 9", 2), ("crew 7", 0), ("crew 9", 0), ("crew 8", 0)):
        agent.agent.tag(owner, tags)
        seen.append(agent.turn().fast.tags)
    assert seen == [1, 1, 3, 3, 1, 0]


def test_owners_of_tags_are_bounded_and_those_who_have_one_may_change_it(bench):
    agent = bench(9).quiet()
    for number in range(16):
        agent.agent.tag(f"crew {number}", 1)
    with pytest.raises(ValueError, match="16 owners"):
        agent.agent.tag("crew 16", 1)
    agent.agent.tag("crew 0", 0)
    agent.agent.tag("crew 16", 1)
    assert len(written(agent.turn()).tags) == 16


def test_an_unlock_is_published_and_durable_even_where_nothing_is_locked(bench, network):
    agent = bench(11).quiet()
    assert lock(agent, network, EVENTS[0]).lock is LockState.NONE
    agent.agent.unlock(EVENTS[0])
    turned = agent.turn()
    assert turned.fast.cleared == (EVENTS[0],)
    assert written(turned).cleared == (EVENTS[0],)


def test_an_unlock_is_published_only_when_it_is_durable(bench, network):
    agent = bench(11).quiet()
    lock(agent, network, EVENTS[0])
    agent.disk_works = False
    agent.agent.unlock(EVENTS[0])
    assert agent.turn().fast.cleared == ()
    agent.disk_works = True
    assert agent.turn(after=0.01).fast.cleared == (EVENTS[0],)


def test_an_unlock_releases_the_lock_of_its_event_only(bench, network):
    agent = bench(3).quiet()
    assert lock(agent, network, EVENTS[1]).lock is LockState.DURABLE
    with pytest.raises(ValueError, match="event 65 of switch 2 holds nothing"):
        agent.agent.unlock(EVENTS[0])
    assert agent.turn(after=0.01).fast.sides[0].lock is LockState.DURABLE
    agent.agent.unlock(EVENTS[1])
    side = agent.turn(after=0.01).fast.sides[0]
    assert (side.section, side.lock) == (SectionState.NONE, LockState.NONE)


def test_a_cleared_event_does_not_come_back_by_a_peer_that_still_flags_it(bench, network):
    agent = bench(3).quiet()
    lock(agent, network, EVENTS[0])
    agent.agent.unlock(EVENTS[0])
    agent.turn(after=0.01)
    agent.hear(2)
    assert agent.turn(after=0.01).fast.sides[0].lock is LockState.NONE


def test_an_unlock_at_a_peer_releases_the_own_lock(bench, network):
    agent = bench(3).quiet()
    lock(agent, network, EVENTS[0])
    agent.hear(2, cleared=(EVENTS[0],))
    turned = agent.turn(after=0.01)
    assert turned.fast.sides[0].lock is LockState.NONE
    assert turned.fast.cleared == (EVENTS[0],)


def test_the_unlock_of_the_sixth_fault_works_like_that_of_the_first(bench, network):
    agent = bench(3).quiet()
    released = []
    for event in EVENTS:
        assert lock(agent, network, event).lock is LockState.DURABLE
        agent.agent.unlock(event)
        agent.turn(after=0.01)
        agent.hear(2, cleared=agent.situation.own.cleared)
        released.append(agent.turn(after=0.01).fast.sides[0].lock is LockState.NONE)
    assert released == [True] * len(EVENTS)
    assert EVENTS[-1] in agent.turn(after=0.01).fast.cleared


def test_peers_that_remember_different_cleared_events_come_to_rest(bench):
    """Each knows more than one list can hold; still nobody may publish new states for ever."""
    one, other = bench(2).quiet(), bench(3).quiet()
    one.hear(3, cleared=tuple(EVENTS[:4]))
    other.hear(2, cleared=tuple(EVENTS[2:6]))
    published = []
    for _ in range(12):
        published.append((one.turn(after=0.01).fast.cleared, other.turn(after=0.01).fast.cleared))
        one.hear(3, cleared=published[-1][1])
        other.hear(2, cleared=published[-1][0])
    assert published[-1] == published[-2] == published[-3]


def test_an_orderly_stop_leaves_the_mark_of_a_clean_end(bench):
    agent = bench(9).quiet()
    agent.agent.stop()
    assert written(agent.turn()).clean


def test_a_stop_with_unproven_locks_leaves_no_clean_mark(bench):
    agent = bench(9, unclean=True).quiet()
    agent.agent.stop()
    records = agent.turn().records
    assert not any(record.clean for record in records)


# -- proof of locks after a crash ----------------------------------------------------------------------------


def greet(agent, numbers):
    from ied_agents.dflisr.records import Answer, AnswerKind

    for number in numbers:
        seen = Answer(agent.number, agent.incarnation, 0, AnswerKind.NOT_SEEN)
        agent.hear(number, answers=(seen,))


def test_after_a_crash_locks_are_proven_by_all_peers_of_both_sections(bench):
    agent = bench(9, unclean=True).quiet()
    greet(agent, [3, 10])  # the peers in section 3; Q5 is the one in section 4
    assert agent.turn(after=0.01).fast.unproven
    greet(agent, [5])
    state = agent.turn(after=0.01).fast
    assert (state.unproven, state.ready) == (False, True)


@pytest.mark.parametrize("silent", [3, 10, 5])
def test_one_silent_peer_leaves_the_locks_unproven(bench, silent):
    agent = bench(9, unclean=True).quiet()
    greet(agent, [3, 10, 5])
    agent.agent.peer_lost(silent, fast=True)
    state = agent.turn(after=0.01).fast
    assert (state.unproven, state.ready) == (True, False)


def test_an_answer_to_an_earlier_start_proves_nothing(bench):
    from ied_agents.dflisr.records import Answer, AnswerKind

    agent = bench(9, unclean=True).quiet()
    for number in (3, 10, 5):
        agent.hear(number, answers=(Answer(9, agent.incarnation - 1, 0, AnswerKind.NOT_SEEN),))
    assert agent.turn(after=0.01).fast.unproven


@pytest.fixture
def forgetful(bench):
    """R3 after a crash, dark; the last fault current of L2 entered section 2 between them, and nobody holds anything.

    It may have gone on into section 3, and R3 alone may have known.
    """
    agent = bench(3, unclean=True).quiet()
    agent.hear(2, pickup_id=1, direction=Direction.FORWARD, direction_trusted=True, voltage=(DARK, DARK))
    agent.hear(4, voltage=(DARK, DARK))
    agent.feed(voltage=(DARK, DARK))
    return agent


def held_after(agent):
    greet(agent, [2, 4, 9, 10])
    turned = agent.turn(after=0.01)
    assert not turned.fast.unproven
    return [side.section for side in turned.fast.sides]


def test_after_a_crash_the_side_where_a_fault_current_may_have_gone_is_suspect(forgetful):
    assert held_after(forgetful) == [SectionState.NONE, SectionState.SUSPECT]


def test_its_locks_are_not_proven_before_it_is(forgetful):
    """The disk must have the counters of its events first."""
    forgetful.agent._stored = Record()
    greet(forgetful, [2, 4, 9, 10])
    turned = forgetful.turn(after=0.01)
    assert (turned.fast.unproven, turned.fast.sides[1].section) == (True, SectionState.NONE)
    forgetful.agent._stored = forgetful.agent._record
    turned = forgetful.turn(after=0.01)
    assert (turned.fast.unproven, turned.fast.sides[1].section) == (False, SectionState.SUSPECT)


NOT_FORGOTTEN = {
    "voltage there": lambda a, n: a.feed(voltage=(LIVE, DARK)),
    "a neighbour sees voltage there": lambda a, n: a.hear(4, voltage=(LIVE, DARK)),
    "something held beyond": lambda a, n: a.hear(
        4, sides=(n.flagged(SectionState.NONE, lock=LockState.NONE), n.flagged())
    ),
    "the neighbour never picked up": lambda a, n: a.hear(2, pickup_id=0),
    "its fault current entered another section": lambda a, n: a.hear(2, direction=Direction.BACKWARD),
}


@pytest.mark.parametrize("what", NOT_FORGOTTEN)
def test_after_a_crash_it_is_not_suspect_if(forgetful, network, what):
    NOT_FORGOTTEN[what](forgetful, network)
    assert held_after(forgetful) == [SectionState.NONE, SectionState.NONE]


def test_after_a_crash_a_normally_open_switch_suspects_nothing(bench):
    """Q5's fault current entered section 4; it did not go on through T9."""
    agent = bench(9, unclean=True).quiet()
    agent.hear(5, pickup_id=1, direction=Direction.FORWARD, direction_trusted=True)
    agent.feed(voltage=(DARK, DARK))
    greet(agent, [3, 10, 5])
    state = agent.turn(after=0.01).fast
    assert (state.unproven, [side.section for side in state.sides]) == (False, [SectionState.NONE] * 2)


def test_an_agent_that_finds_itself_locked_but_closed_opens_again(bench):
    from ied_agents.dflisr.stored import StoredSide

    side = StoredSide(SectionState.FAULTED, EVENTS[0], True)
    agent = bench(3, Record(held=False, clean=False, sides=(side, StoredSide())), unclean=True)
    agent.feed()
    assert agent.turn().orders == ["open"]
