"""What becomes of every state once nothing more goes wrong: the island must be served, or a failure published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tools.model_check.explore import Step
from tools.model_check.protocol import (
    C_ASKING,
    GRANTABLE,
    MOST_GRANTS,
    OVER,
    REAL,
    SWITCH_OF,
    UNITS,
    Claimed,
    Kind,
    Protocol,
    Rules,
    Setup,
    State,
    live,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FRESH: Final = 4
"""Claims that may be made after all is quiet: one, and one more for every late step that changes what is dark."""


class Settling(Protocol):
    """The same world, benign: no crash, no trip, every frame comes, apparatus does as it is told or says that not.

    Of the claims made before, the claimants have gone, which is the worst that can be; what they left stands. A fresh
    claimant sees the switches as they are.
    """

    def __init__(self, setup: Setup, rules: Rules = REAL) -> None:
        super().__init__(setup, rules)
        self._before = len(setup.kinds)

    def settled(self, states: Iterable[State]) -> set[State]:
        """The states with nothing more to go wrong in them, and no fresh claim yet."""
        return {self._tidy(s._replace(crashes=0, trips=0)) for s in states}

    def _all(self, s: State) -> Iterator[Step[State]]:
        fresh = len(s.claims) if len(s.claims) > self._before else 0
        newest = s.claims[fresh - 1] if fresh else OVER
        wanted = self._wanted(s)
        if wanted is not None and len(s.claims) < self._before + _FRESH and self._is_over(s, newest, wanted):
            claim = Claimed(wanted, C_ASKING, True)
            yield Step(f"fresh claim {len(s.claims) + 1}, {wanted.name}", s._replace(claims=(*s.claims, claim)))
        if newest is not OVER:
            yield from self._claimant_steps(s, fresh, newest)
            # In the end the owner has heard the last that was said.
            yield from self._reserve_steps(s, fresh, newest._replace(heard=len(newest.snapshots) - 1))
        for rank, claim in enumerate(s.claims, 1):
            if claim is not OVER:
                yield from self._end_steps(s, rank, claim)
        for k in range(4):
            yield from self._attempt_steps(s, k)
        for j in range(3):
            yield from self._promise_steps(s, j)
            yield from self._apparatus_steps(s, j)
        if any(claim.books != claim.disk for claim in s.claims):
            yield Step("the owner's books reach the disk", self._write(s))

    @staticmethod
    def _is_over(s: State, newest: Claimed, wanted: Kind) -> bool:
        """Whether the newest claim cannot do what is wanted: made for something else, or its ties have closed."""
        if newest is OVER:
            return True
        if not newest.granted:
            return newest.kind != wanted
        return all(s.switches[SWITCH_OF[k]].closed for k in range(4) if newest.granted >> k & 1)

    def _wanted(self, s: State) -> Kind | None:
        """What is dark and can be served; what a closed tie has reserved stays reserved until its event is cleared."""
        a, b = live(s.switches)
        held = sum(
            UNITS[claim.kind]
            for claim in s.claims
            for k in range(4)
            if claim.books >> 2 * k & 3 and s.switches[SWITCH_OF[k]].closed
        )
        room = self._setup.rating - (s.competitor > 0) - max(held, a + b)
        if (a and b) or room < 1:
            return None
        if not s.switches[2].closed:
            return Kind.SPLIT if not (a or b) else Kind.PART_B if a else Kind.PART_A
        return Kind.WHOLE if room >= UNITS[Kind.WHOLE] else Kind.SPLIT

    def _may_refuse(self, s: State, me: Claimed) -> bool:
        """The owner has no room, and there is another tie to ask."""
        others = [k for k in GRANTABLE[me.kind] if not (me.refused | me.grants) >> k & 1 and k != me.request - 1]
        return bool(others) and not self._has_room(s, me)

    def _may_finish(self, s: State, me: Claimed) -> bool:
        """All parts are granted, or there is no room for more."""
        return me.grants.bit_count() == MOST_GRANTS[me.kind] or not self._has_room(s, me)

    def _has_room(self, s: State, me: Claimed) -> bool:
        return self._setup.rating - self._reserved(s) >= UNITS[me.kind]

    def at_end(self, s: State) -> str:
        """What is wrong with a state in which nothing more happens."""
        if self._wanted(s) is None or any(claim.failed for claim in s.claims[self._before :]):
            return ""
        return "dark for ever, and nobody says why"
