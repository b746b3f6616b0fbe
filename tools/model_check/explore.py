"""Breadth-first search of all states that can be reached, with the shortest story to the first one that is wrong."""

from __future__ import annotations

import gc
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

S_ = TypeVar("S_", bound="Hashable")


@dataclass(frozen=True, slots=True)
class Step(Generic[S_]):
    """One step: what is done, the state after it, and what is wrong with it, if anything.

    Attributes:
        action: its name and what it is about, in words that stand in a story.
        state: after the step.
        wrong: what the step breaks; empty if nothing.
    """

    action: str
    state: S_
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        states: different states seen.
        steps: transitions looked at.
        wrong: what is broken; empty if nothing in the whole state space is.
        trace: the shortest story that breaks it, one action a line.
    """

    states: int
    steps: int
    wrong: str = ""
    trace: tuple[str, ...] = ()


def reachable(initial: Iterable[S_], successors: Callable[[S_], Iterable[Step[S_]]]) -> set[S_]:
    """All states that can be reached."""
    seen = set(initial)
    stack = list(seen)
    with _without_collector():
        while stack:
            for step in successors(stack.pop()):
                if step.state not in seen:
                    seen.add(step.state)
                    stack.append(step.state)
    return seen


def circle(states: set[S_], successors: Callable[[S_], Iterable[Step[S_]]]) -> S_ | None:
    """A state from which steps lead on for ever; None if every run among the states comes to an end."""
    arrivals = dict.fromkeys(states, 0)
    with _without_collector():
        for state in states:
            for step in successors(state):
                arrivals[step.state] += 1
        ended = [state for state, count in arrivals.items() if not count]
        left = len(states)
        while ended:
            left -= 1
            for step in successors(ended.pop()):
                arrivals[step.state] -= 1
                if not arrivals[step.state]:
                    ended.append(step.state)
    return next((state for state, count in arrivals.items() if count), None) if left else None


def explore(
    initial: Iterable[S_],
    successors: Callable[[S_], Iterable[Step[S_]]],
    at_end: Callable[[S_], str],
    most_states: int,
) -> Found:
    """Look at every state that can be reached.

    Args:
        initial: where to begin.
        successors: all steps from a state.
        at_end: what is wrong with a state from which no step leads on; empty if nothing.
        most_states: give up beyond, so that a defect cannot fill the memory.

    Raises:
        MemoryError: more states than that.
    """
    came_from: dict[S_, S_ | None] = dict.fromkeys(initial)
    queue = deque(came_from)
    steps = 0
    with _without_collector():
        while queue:
            state = queue.popleft()
            dead_end = True
            for step in successors(state):
                steps += 1
                dead_end = False
                if step.wrong:
                    story = (*_story(state, came_from, successors), step.action)
                    return Found(len(came_from), steps, step.wrong, story)
                if step.state not in came_from:
                    came_from[step.state] = state
                    queue.append(step.state)
            if dead_end and (wrong := at_end(state)):
                return Found(len(came_from), steps, wrong, tuple(_story(state, came_from, successors)))
            if len(came_from) > most_states:
                raise MemoryError(f"more than {most_states} states")
    return Found(len(came_from), steps)


@contextmanager
def _without_collector() -> Iterator[None]:
    """States hold no cycles, and looking for some among millions takes most of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _story(state: S_, came_from: dict[S_, S_ | None], successors: Callable[[S_], Iterable[Step[S_]]]) -> list[str]:
    """The actions that led to a state; they are found again, which is cheaper than keeping them all."""
    actions: list[str] = []
    before = came_from[state]
    while before is not None:
        actions.append(next(step.action for step in successors(before) if step.state == state))
        state, before = before, came_from[before]
    return actions[::-1]
