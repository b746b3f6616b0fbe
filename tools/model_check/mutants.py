"""Rules with one guard taken away each, and the world in which that does harm: none of them is there for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr.machines import (
    ATTEMPT,
    CLAIM,
    RESERVATION,
    AttemptEvent,
    AttemptState,
    ClaimEvent,
    ClaimState,
    ReservationEvent,
    ReservationState,
)
from ied_agents.machine import Machine, Transition
from tools.model_check.protocol import ASKED, Kind, Rules, Setup

if TYPE_CHECKING:
    from enum import StrEnum

_W, _P, _A, _B = Kind
_AMPLE: Final = 9


@dataclass(frozen=True, slots=True)
class Mutant:
    """One guard taken away.

    Attributes:
        name: what the mutant does.
        rules: that do so.
        setup: a world small enough to find the harm in, and large enough to show it.
        harm: what it breaks there.
        starves: the harm is found among the benign runs.
    """

    name: str
    rules: Rules
    setup: Setup
    harm: str
    starves: bool = False


def _but(machine: Machine[Any, Any], *rows: tuple[StrEnum, StrEnum, StrEnum | None]) -> Machine[Any, Any]:
    """A machine with other rows; a row without a target is taken away."""
    changed = {(source, event) for source, event, _ in rows}
    kept = tuple(row for row in machine.rows if (row.source, row.event) not in changed)
    added = tuple(Transition(source, event, target, "mutant") for source, event, target in rows if target is not None)
    return Machine(machine.name, kept + added)


_AS, _AE = AttemptState, AttemptEvent
_CS, _CE = ClaimState, ClaimEvent
_RS, _RE = ReservationState, ReservationEvent
_TWO_SOURCES: Final = "two sources on one island"
_OVERLOAD: Final = "more load than capacity"
_LOWER: Final = "a close under a claim lower than one promised"
_SECOND: Final = "a second attempt under one claim"
_WHOLE_TWICE: Final = Setup((_W, _W), crashes=1, trips=1, competitor=False, rating=_AMPLE)
_WHOLE_FULL: Final = Setup((_W, _W), crashes=1, trips=0)

MUTANTS: Final = (
    Mutant(
        "a promise is published before it is on disk",
        Rules(attempt=_but(ATTEMPT, *((s, _AE.ASKED, _AS.PROMISED) for s in (_AS.FREE, _AS.PROMISED, _AS.SPENT)))),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "a switch promises while a close is on its way",
        Rules(
            attempt=_but(ATTEMPT, (_AS.ORDERED, _AE.ASKED, _AS.PROMISING)),
            may_promise=lambda _: True,
        ),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "a closed tie that has promised counts as open",
        Rules(open_only=False),
        _WHOLE_TWICE,
        _TWO_SOURCES,
    ),
    Mutant(
        "a splitting switch still closed counts as isolated",
        Rules(split_open=False),
        replace(_WHOLE_TWICE, kinds=(_P,), trips=0),
        _TWO_SOURCES,
    ),
    Mutant(
        "a switch inside the island is not asked",
        Rules(inner_asked=False, asked=((0, 1), *ASKED[1:]), checks_reservation=False),
        Setup((_A, _W, _B), crashes=0, trips=0, competitor=False, rating=_AMPLE, split=True),
        _TWO_SOURCES,
    ),
    Mutant(
        "a part is isolated by a splitting switch that has not promised",
        Rules(one_promise=False, asked=(ASKED[0], ASKED[1], (0,), (1,))),
        Setup((_A, _W), crashes=0, trips=0, competitor=False, rating=_AMPLE),
        _TWO_SOURCES,
    ),
    Mutant(
        "a switch promises a lower claim",
        Rules(promises=lambda promised, asked: promised != asked),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "claimant and tie do with one promise less",
        Rules(fewer=1),
        replace(_WHOLE_TWICE, kinds=(_P,), crashes=0),
        _TWO_SOURCES,
    ),
    Mutant(
        "a grant of a lower claim is obeyed",
        Rules(obeys=lambda promised, granted: 0 < granted <= promised),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "an attempt is not spent by a restart",
        Rules(attempt=_but(ATTEMPT, (_AS.PROMISED, _AE.RESTARTED, _AS.PROMISED))),
        _WHOLE_TWICE,
        _SECOND,
    ),
    Mutant(
        "an attempt is not spent when it ends",
        Rules(attempt=_but(ATTEMPT, (_AS.ORDERED, _AE.ENDED, _AS.PROMISED))),
        _WHOLE_TWICE,
        _SECOND,
    ),
    Mutant(
        "a restarted switch assumes no close on its way",
        Rules(outstanding_after_restart=False),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "a close is given up before the apparatus must have ended",
        Rules(apparatus_in_time=False),
        _WHOLE_TWICE,
        _LOWER,
    ),
    Mutant(
        "a claimant grants two ties of one island",
        Rules(claim=_but(CLAIM, (_CS.GRANTED, _CE.REFUSED, _CS.CHOOSING))),
        replace(_WHOLE_TWICE, kinds=(_W,)),
        _TWO_SOURCES,
    ),
    Mutant(
        "a claim is published before its number is on disk",
        Rules(claim=_but(CLAIM, (_CS.NONE, _CE.CLAIMED, _CS.ASKING))),
        replace(_WHOLE_TWICE, kinds=(_W,)),
        _TWO_SOURCES,
    ),
    Mutant(
        "capacity is given before it is on disk",
        Rules(reservation=_but(RESERVATION, (_RS.NONE, _RE.REQUESTED, _RS.GIVEN))),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "capacity in the books counts only once it is on disk",
        Rules(
            counts_all=False,
            reservation=_but(RESERVATION, (_RS.NONE, _RE.REQUESTED, _RS.GIVEN), (_RS.GIVEN, _RE.STORED, _RS.GIVEN)),
        ),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "capacity is freed when the tie obeys that very claim",
        Rules(ends_higher=lambda rank, promise: promise >= rank),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "capacity is freed when the tie, closed under the claim, promises a higher one",
        Rules(open_higher=False),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "capacity is freed when the claimant requests another tie, though this one is granted",
        Rules(asks=lambda requested, _, side: requested == side + 1),
        Setup((_P,), crashes=0, trips=0),
        _OVERLOAD,
    ),
    Mutant(
        "capacity is freed when a tie is open that was closed before it promised",
        Rules(seen_ready=False),
        Setup((_W, _W), crashes=0, trips=1),
        _OVERLOAD,
    ),
    Mutant(
        "capacity is freed on an old frame of the claimant, after a restart",
        Rules(heard_request=False),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "a restarted switch says that its attempt is spent while its close may be on its way",
        Rules(says_again=lambda is_open, _: is_open),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "a restarted switch says that its attempt is spent while it is closed",
        Rules(says_again=lambda _, outstanding: not outstanding),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
    Mutant(
        "a tie is granted and closes without a reservation",
        Rules(checks_reservation=False),
        _WHOLE_FULL,
        _OVERLOAD,
    ),
)
