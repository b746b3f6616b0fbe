"""State machines as tables: the code steps through them, and diagrams and model checks are made from them.

What is not in a table cannot happen: :meth:`Machine.step` raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

S_ = TypeVar("S_", bound=StrEnum)
E_ = TypeVar("E_", bound=StrEnum)


class Transition(NamedTuple, Generic[S_, E_]):
    """One row: in ``source``, ``event`` leads to ``target``; ``why`` says what it means."""

    source: S_
    event: E_
    target: S_
    why: str


class Machine(Generic[S_, E_]):
    """A table of transitions.

    Args:
        name: for the diagrams.
        rows: the table.

    Raises:
        ValueError: two rows for one state and event.
    """

    def __init__(self, name: str, rows: tuple[Transition[S_, E_], ...]) -> None:
        self.name = name
        self.rows = rows
        self._targets = {(row.source, row.event): row.target for row in rows}
        if len(self._targets) != len(rows):
            raise ValueError(f"{name}: two rows for one state and event")

    def can(self, state: S_, event: E_) -> bool:
        """Whether the table has a row for it."""
        return (state, event) in self._targets

    def step(self, state: S_, event: E_) -> S_:
        """The next state.

        Raises:
            KeyError: the table has no such row; a defect of the caller.
        """
        return self._targets[state, event]
