"""What a flisr agent looks like in SCL: its logical nodes and the data sets it publishes.

The one description of the agents' wire format. The generator writes it into SCD files, the agents bind to it,
and both refuse a file whose data sets differ from it. Members stand in wire order. Standard logical nodes
carry what the standard has a place for; the private node ``AFSR`` (name space ``flisr:2026``) carries the
rest.

Switch numbers are small integers, unique in the SCD, in ``AFSR1.SwNum.setVal``. ``0`` means "none".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DATA_NAME_SPACE: Final = "flisr:2026"
LDEVICE: Final = "FLISR"
FAST_DATASET: Final = "fast"
SLOW_DATASET: Final = "slow"
RELAY_DATASET: Final = "relay"
FAST_CONTROL: Final = "gcbFast"
SLOW_CONTROL: Final = "gcbSlow"
RELAY_CONTROL: Final = "gcbRelay"

# Array sizes. They bound what one agent can say in one frame of 1,500 octets.
ANSWERS: Final = 8
CLEARED: Final = 4
BOUNDARY: Final = 24
GRANTS: Final = 4
RESERVATIONS: Final = 7


@dataclass(frozen=True, slots=True)
class Attribute:
    """One basic data attribute: name and SCL ``bType``; an ``Enum`` with its literals, ord = index."""

    name: str
    bType: str
    literals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One FCDA of a data set.

    Attributes:
        ln: logical node class with instance, for example ``AFSR1``; ``SW1`` stands for ``XCBR1`` or
        ``XSWI1``.
        do: data object name.
        da: data attribute name.
        fc: functional constraint.
        attributes: one attribute for a basic member, several for a structure (``bType`` Struct).
        count: array size; 0 for a member that is no array.
    """

    ln: str
    do: str
    da: str
    fc: str
    attributes: tuple[Attribute, ...]
    count: int = 0

    @property
    def structured(self) -> bool:
        """Whether the member, or each element of its array, is a structure."""
        return len(self.attributes) > 1


DIRECTION: Final = ("unknown", "forward", "backward", "both")
ANSWER: Final = ("none", "not seen", "passes on", "enters too", "unsure")
VOLTAGE: Final = ("unknown", "absent", "present")
SECTION_STATE: Final = ("none", "faulted", "suspect", "widened")
LOCK_STATE: Final = ("none", "volatile", "durable")
BEHAVIOUR: Final = ("", "on", "blocked", "test", "test/blocked", "off")  # IEC 61850-7-4: 1..5
PROGRESS: Final = ("idle", "locating", "isolating", "restoring", "finished", "stopped")
REASON: Final = (
    "none",
    "no supply left",
    "not enough capacity",
    "peer silent",
    "isolation not confirmed",
    "section suspect",
    "locked",
    "tagged",
    "not ready",
    "blocked by mode",
    "supply not live",
    "island not dead",
    "did not close",
    "did not open",
    "beyond this release",
    "overtaken",
    "both sides live",
    "held open",
    "local control",
    "load not known",
    "attempt spent",
)
CLAIM_KIND: Final = ("restore", "return", "manual", "transfer")
INDICATIONS: Final = ("FltA", "FltB", "SusA", "SusB", "LokA", "LokB", "Held")
"""Of AFSR1, by MMS alone, of common data classes that everybody knows: whether the section at a side is faulted or
suspect, whether the switch is locked for it, and whether it is held open. ``Stage`` says how far the agent is."""


def _one(ln: str, do: str, da: str, bType: str, literals: tuple[str, ...] = (), *, fc: str = "ST") -> Member:
    return Member(ln, do, da, fc, (Attribute(da, bType, literals),))


def _struct(do: str, da: str, *attributes: Attribute, count: int = 0) -> Member:
    return Member("AFSR1", do, da, "ST", attributes, count)


_EPOCH = Attribute("epoch", "INT8U")
_NUMBER = Attribute("num", "INT32U")
_SWITCH = Attribute("sw", "INT16U")
_EVENT = (Attribute("evSw", "INT16U"), Attribute("evCnt", "INT32U"))
_CLAIM_ID = (_EPOCH, _NUMBER, _SWITCH)


def _side(letter: str) -> Member:
    """State of the section on one side: flag, lock and clear request, each with the event it belongs to."""
    return _struct(
        "Side" + letter,
        "st",
        Attribute("sec", "Enum", SECTION_STATE),
        Attribute("secSw", "INT16U"),
        Attribute("secCnt", "INT32U"),
        Attribute("lock", "Enum", LOCK_STATE),
        Attribute("lockSw", "INT16U"),
        Attribute("lockCnt", "INT32U"),
        Attribute("clr", "BOOLEAN"),
        Attribute("clrSw", "INT16U"),
        Attribute("clrCnt", "INT32U"),
    )


def _claim(letter: str) -> tuple[Member, ...]:
    """The claim on the island at one side: identity, who is asked to promise, capacity asked, grants.

    ``bnd`` and ``grant`` hold switch number * 2 + side (0 = A, 1 = B), the side that looks into the island.
    """
    return (
        _struct("Clm" + letter, "id", _EPOCH, _NUMBER, *_EVENT, Attribute("kind", "Enum", CLAIM_KIND)),
        Member("AFSR1", "Clm" + letter, "bnd", "ST", (Attribute("bnd", "INT16U"),), BOUNDARY),
        _struct(
            "Clm" + letter,
            "req",
            Attribute("tie", "INT16U"),
            Attribute("owner", "INT16U"),
            Attribute("deciA", "INT32U"),
        ),
        Member("AFSR1", "Clm" + letter, "grant", "ST", (Attribute("grant", "INT16U"),), GRANTS),
    )


RELAY: Final[tuple[Member, ...]] = (
    _one("CSWI1", "OpOpn", "general", "BOOLEAN"),
    _one("CSWI1", "OpOpn", "q", "Quality"),
    _one("CSWI1", "OpCls", "general", "BOOLEAN"),
    _one("CSWI1", "OpCls", "q", "Quality"),
    _one("SW1", "BlkCls", "stVal", "BOOLEAN"),
    _one("SW1", "BlkCls", "q", "Quality"),
)
"""What an agent beside a relay publishes for it: open, close, and whether closing is blocked, for interlocking."""


FAST: Final[tuple[Member, ...]] = (
    _one("AFSR1", "Id", "inc", "INT32U"),
    _one("SW1", "Pos", "stVal", "Dbpos"),
    _one("SW1", "Pos", "q", "Quality"),
    _one("AFSR1", "Sw", "clsOut", "BOOLEAN"),
    _one("PTOC1", "Str", "general", "BOOLEAN"),
    _one("PTOC1", "Str", "dirGeneral", "Enum", DIRECTION),
    _one("PTOC1", "Str", "q", "Quality"),
    _one("AFSR1", "Pkp", "id", "INT32U"),
    _one("AFSR1", "Pkp", "dirOk", "BOOLEAN"),
    _struct(
        "Ans",
        "ans",
        _SWITCH,
        Attribute("inc", "INT32U"),
        Attribute("pkp", "INT32U"),
        Attribute("ans", "Enum", ANSWER),
        count=ANSWERS,
    ),
    _struct("Evt", "last", *_EVENT),
    _one("PTRC1", "Tr", "general", "BOOLEAN"),
    _one("AFSR1", "Vlt", "sideA", "Enum", VOLTAGE),
    _one("AFSR1", "Vlt", "sideB", "Enum", VOLTAGE),
    _side("A"),
    _side("B"),
    _one("RBRF1", "OpEx", "general", "BOOLEAN"),
    _one("AFSR1", "Rec", "shots", "BOOLEAN"),
    _one("AFSR1", "Rec", "prog", "BOOLEAN"),
    _struct("Clr", "ids", *_EVENT, count=CLEARED),
    _struct("Hold", "st", Attribute("on", "BOOLEAN"), *_CLAIM_ID),
    _struct("Rtn", "ev", *_EVENT),
    _one("AFSR1", "Sw", "rdy", "BOOLEAN"),
    _one("LLN0", "Beh", "stVal", "Enum", BEHAVIOUR),
    _one("AFSR1", "Sw", "tags", "INT8U"),
    _one("AFSR1", "Sw", "unprv", "BOOLEAN"),
    *_claim("A"),
    *_claim("B"),
    _struct("PrmA", "id", *_CLAIM_ID),
    _struct("PrmB", "id", *_CLAIM_ID),
    _struct(
        "Rsv",
        "rsv",
        *_CLAIM_ID,
        Attribute("tie", "INT16U"),
        Attribute("deciA", "INT32U"),
        Attribute("whole", "BOOLEAN"),
        count=RESERVATIONS,
    ),
    _struct(
        "Out",
        "st",
        *_CLAIM_ID,
        Attribute("tie", "INT16U"),
        Attribute("reason", "Enum", REASON),
        Attribute("deciA", "INT32U"),
    ),
    _struct("Prg", "st", Attribute("prg", "Enum", PROGRESS), Attribute("reason", "Enum", REASON), *_EVENT),
)
"""The fast data set: every step of locating, isolating and restoring, as state. AFSR attributes by data
object:

Id.inc incarnation; Sw.clsOut close outstanding; Sw.rdy ready, Sw.tags bit 0 work tag, bit 1 hot-line tag,
Sw.unprv locks unproven since the start; Pkp id of the last pickup and whether its direction is trusted; Ans
answers to peers' pickups, by switch, incarnation and pickup id; Evt last event id seen; Vlt voltage per side;
SideA/SideB section state, lock, clear request; Rec reclosing shots left, and one in progress; Clr event ids
cleared; Hold held open, for which claim; Rtn event whose return to normal is under way; ClmA/ClmB claims;
PrmA/PrmB promises; Rsv reservations given as owner of capacity, whole once owners of what is shared agree; Out
claim refused or failed, for which tie, why, and what could be had instead; Prg how far this agent is with which event.
"""

SLOW: Final[tuple[Member, ...]] = (
    _one("AFSR1", "Id", "inc", "INT32U"),
    _one("AFSR1", "Ld", "flow", "FLOAT32", fc="MX"),
    _one("AFSR1", "Ld", "q", "Quality", fc="MX"),
    _one("AFSR1", "Ld", "genA", "FLOAT32", fc="MX"),
    _one("AFSR1", "Ld", "genB", "FLOAT32", fc="MX"),
    _one("AFSR1", "Spr", "sideA", "FLOAT32", fc="MX"),
    _one("AFSR1", "Spr", "sideB", "FLOAT32", fc="MX"),
)
"""The slow data set: Ld.flow load current in A, positive from A to B, with quality; Ld.genA, genB local
generation in A that the section at that side feeds in; Spr what this switch, closing, could carry into the section at
that side, in A.
"""
