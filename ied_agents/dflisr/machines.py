"""The state machines of self-healing, as tables.

The modules that decide step through them, the exhaustive model check runs them, and the diagrams in the documentation
are drawn from them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from ied_agents.machine import Machine, Transition


class AttemptState(StrEnum):
    """What one side of a switch is bound to, as the one who may close."""

    FREE = "free"
    PROMISING = "promising"
    PROMISED = "promised"
    ORDERED = "ordered"
    SPENT = "spent"


class AttemptEvent(StrEnum):
    """What happens to it."""

    ASKED = "asked by a higher claim, position known"
    STORED = "promise durable"
    ORDER = "granted, guard holds"
    REFUSE = "granted, guard fails"
    ENDED = "closed or failed"
    RESTARTED = "restarted"


_A, _AE = AttemptState, AttemptEvent
ATTEMPT: Final = Machine(
    "promise and attempt",
    (
        Transition(_A.FREE, _AE.ASKED, _A.PROMISING, "it will obey no lower claim"),
        Transition(_A.PROMISING, _AE.STORED, _A.PROMISED, "published only now"),
        Transition(_A.PROMISING, _AE.ASKED, _A.PROMISING, "a higher claim came first"),
        Transition(_A.PROMISED, _AE.ASKED, _A.PROMISING, "what the lower claim grants is void"),
        Transition(_A.SPENT, _AE.ASKED, _A.PROMISING, "a new claim, a new attempt"),
        Transition(_A.PROMISED, _AE.ORDER, _A.ORDERED, "the one attempt of this claim"),
        Transition(_A.PROMISED, _AE.REFUSE, _A.SPENT, "published with its reason"),
        # While a close is outstanding nothing is promised: ORDERED has no row for ASKED.
        Transition(_A.ORDERED, _AE.ENDED, _A.SPENT, "a claim permits one attempt, ever"),
        Transition(_A.FREE, _AE.RESTARTED, _A.FREE, "nothing on disk"),
        Transition(_A.PROMISING, _AE.RESTARTED, _A.SPENT, "the promise may be on disk"),
        Transition(_A.PROMISED, _AE.RESTARTED, _A.SPENT, "a close may have followed"),
        Transition(_A.ORDERED, _AE.RESTARTED, _A.SPENT, "the close may still be on its way"),
        Transition(_A.SPENT, _AE.RESTARTED, _A.SPENT, ""),
    ),
)


class ClaimState(StrEnum):
    """How far a claimant is with one island."""

    NONE = "none"
    STORING = "storing"
    ASKING = "asking"
    CHOOSING = "choosing"
    REQUESTING = "requesting"
    GRANTED = "granted"
    SPENT = "spent"
    DONE = "done"


class ClaimEvent(StrEnum):
    """What happens to it."""

    CLAIMED = "claimed"
    STORED = "claim durable"
    PROMISED = "all promised, island dead"
    CHOSEN = "tie chosen"
    SPLIT = "island must be split"
    RESERVED = "one part reserved and granted"
    GRANTED = "last part granted"
    REFUSED = "refused, nothing granted yet"
    FAILED = "a switch failed"
    SERVED = "closed, live"
    OVERTAKEN = "a higher claim is obeyed"


_C, _CE = ClaimState, ClaimEvent
CLAIM: Final = Machine(
    "claim",
    (
        Transition(_C.NONE, _CE.CLAIMED, _C.STORING, "numbered above every one seen"),
        Transition(_C.STORING, _CE.STORED, _C.ASKING, "published only now"),
        Transition(_C.STORING, _CE.CLAIMED, _C.STORING, "the island has changed"),
        Transition(_C.ASKING, _CE.CLAIMED, _C.STORING, "the island has changed"),
        Transition(_C.ASKING, _CE.FAILED, _C.SPENT, "a switch cannot do what it is asked"),
        Transition(_C.ASKING, _CE.PROMISED, _C.CHOOSING, ""),
        Transition(_C.CHOOSING, _CE.CLAIMED, _C.STORING, "the island has changed"),
        Transition(_C.CHOOSING, _CE.SPLIT, _C.SPENT, "claimed anew with the splitting switches"),
        Transition(_C.CHOOSING, _CE.CHOSEN, _C.REQUESTING, "the owners of capacity are asked, head first"),
        Transition(_C.REQUESTING, _CE.CLAIMED, _C.STORING, "the island has changed"),
        Transition(_C.REQUESTING, _CE.REFUSED, _C.CHOOSING, "without that tie"),
        Transition(_C.REQUESTING, _CE.RESERVED, _C.REQUESTING, "the next part"),
        Transition(_C.REQUESTING, _CE.GRANTED, _C.GRANTED, ""),
        Transition(_C.GRANTED, _CE.SERVED, _C.DONE, ""),
        Transition(_C.GRANTED, _CE.FAILED, _C.SPENT, "claimed anew without that switch"),
        Transition(_C.SPENT, _CE.CLAIMED, _C.STORING, ""),
        *(
            Transition(state, _CE.OVERTAKEN, _C.NONE, "")
            for state in (_C.STORING, _C.ASKING, _C.CHOOSING, _C.REQUESTING, _C.SPENT)
        ),
    ),
)


class ReservationState(StrEnum):
    """Capacity in the books of its owner."""

    NONE = "none"
    STORING = "storing"
    HELD = "held"
    GIVEN = "given"


class ReservationEvent(StrEnum):
    """What happens to it."""

    REQUESTED = "requested, there is room"
    STORED = "reservation durable"
    CONFIRMED = "owners of what is shared have reserved too"
    REFUSED = "an owner of what is shared refuses"
    PROMISED_HIGHER = "tie obeys a higher claim"
    MOVED_ON = "claimant asks for another tie, not granted"
    SPENT = "tie failed, or closed and opened again"
    CARRIED = "event cleared, tie closed"


_R, _RE = ReservationState, ReservationEvent
RESERVATION: Final = Machine(
    "reservation",
    (
        Transition(_R.NONE, _RE.REQUESTED, _R.STORING, ""),
        Transition(_R.STORING, _RE.STORED, _R.HELD, "published only now, as a request to those who own what is shared"),
        Transition(_R.HELD, _RE.CONFIRMED, _R.GIVEN, "counts for a grant; made durable once more"),
        Transition(_R.HELD, _RE.REFUSED, _R.HELD, "said so; it stands as long as its claimant asks"),
        *(
            Transition(state, event, _R.NONE, "")
            for state in (_R.HELD, _R.GIVEN)
            for event in (_RE.PROMISED_HIGHER, _RE.MOVED_ON, _RE.SPENT, _RE.CARRIED)
        ),
    ),
)


class ReclosingState(StrEnum):
    """A breaker's automatic reclosing."""

    READY = "ready"
    DEAD_TIME = "dead time"
    RECLOSED = "reclosed"
    EXHAUSTED = "exhausted"


class ReclosingEvent(StrEnum):
    """What happens to it."""

    TRIPPED = "tripped, shots left"
    TRIPPED_LAST = "tripped, none left"
    ELAPSED = "dead time over, close ordered"
    REFUSED = "may not reclose"
    RECLAIMED = "reclaim time without fault current"


_S, _SE = ReclosingState, ReclosingEvent
RECLOSING: Final = Machine(
    "reclosing shots",
    (
        Transition(_S.READY, _SE.TRIPPED, _S.DEAD_TIME, "nothing is declared or locked"),
        Transition(_S.READY, _SE.TRIPPED_LAST, _S.EXHAUSTED, ""),
        Transition(_S.DEAD_TIME, _SE.ELAPSED, _S.RECLOSED, "a shot"),
        Transition(_S.DEAD_TIME, _SE.REFUSED, _S.EXHAUSTED, "tag, lock, mode, a claim, or no supply"),
        Transition(_S.RECLOSED, _SE.TRIPPED, _S.DEAD_TIME, "the fault is still there"),
        Transition(_S.RECLOSED, _SE.TRIPPED_LAST, _S.EXHAUSTED, "the last location counts"),
        Transition(_S.RECLOSED, _SE.REFUSED, _S.EXHAUSTED, "it did not close, or was opened by somebody else"),
        Transition(_S.RECLOSED, _SE.RECLAIMED, _S.READY, ""),
        Transition(_S.EXHAUSTED, _SE.RECLAIMED, _S.READY, ""),
    ),
)

MACHINES: Final = (ATTEMPT, CLAIM, RESERVATION, RECLOSING)
