"""What two sets of agents decided, and where they differ."""

from __future__ import annotations

from collections import defaultdict
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.dflisr.records import Stage
from tools.campaign.story import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tools.campaign.world import StoryLine

_IN_SHADOW: Final = {f"would {what}": f"{what} ordered" for what in ("open", "close", "reclose")}
DECISIONS: Final = frozenset(
    (
        "answered",
        "capacity refused",
        "capacity requested",
        "claimed",
        "clear requested",
        "clears for a load-break switch",
        "close ordered",
        "close refused",
        "declared faulted",
        "granted",
        "held suspect",
        "lock released",
        "locked",
        "may not reclose",
        "open ordered",
        "opens to split the island",
        "own delay has run out",
        "promised",
        "reclose ordered",
        "reserved",
        "return to normal",
        "stopped",
        "supply lost",
        "task finished",
        "trips for a shot",
        "widened",
        "would open",
    )
)
"""What agents note of their own will; ``would open`` is one whose mode forbids it to operate."""


class Decision(NamedTuple):
    """One thing that an agent decided: virtual time in s, its name, what, and about what."""

    t: float
    who: str
    what: str
    about: str


class Difference(NamedTuple):
    """Where the decisions of an agent and of its shadow part.

    Attributes:
        t: of the first decision that only one of them took, s.
        occurrence: what had happened last.
        switch: whose agents.
        live, shadow: what either decided there, in its order.
    """

    t: float
    occurrence: str
    switch: str
    live: tuple[str, ...]
    shadow: tuple[str, ...]


class Compared(NamedTuple):
    """What came out of one occurrence: the differences, and the decisions taken alike, in pairs."""

    differences: list[Difference]
    alike: list[tuple[Decision, Decision]]


def decisions(story: Iterable[StoryLine]) -> Iterator[Decision]:
    """The decisions in a story; an order that a shadow withheld is told as the live agent's."""
    for line in story:
        t, who, what, detail = line
        if what == "says":
            progress = detail.get("progress")
            if progress is not None and progress.stage is Stage.STOPPED:
                yield Decision(t, who, "stopped", plain((progress.reason, progress.event)))
            continue
        if detail.get("mode") == "SHADOW":
            what = _IN_SHADOW[what]
            detail = {name: value for name, value in detail.items() if name != "mode"}
        if what in DECISIONS:
            yield Decision(t, who, what, ", ".join(f"{name} {plain(value)}" for name, value in detail.items()))


def compare(occurrence: str, live: Iterable[Decision], shadow: Iterable[Decision]) -> Compared:
    """Compare what two sets decided after an occurrence, switch by switch, each in its order."""
    found = Compared([], [])
    by_switch: dict[str, tuple[list[Decision], list[Decision]]] = defaultdict(lambda: ([], []))
    for decision in live:
        by_switch[decision.who][0].append(decision)
    for decision in shadow:
        by_switch[decision.who][1].append(decision)
    for who, (ours, theirs) in sorted(by_switch.items()):
        matched = SequenceMatcher(None, [d[2:] for d in ours], [d[2:] for d in theirs], autojunk=False)
        for how, a, b, c, d in matched.get_opcodes():
            if how == "equal":
                found.alike.extend(zip(ours[a:b], theirs[c:d], strict=True))
            else:
                first = min(decision.t for decision in (*ours[a:b], *theirs[c:d]))
                found.differences.append(Difference(first, occurrence, who, _told(ours[a:b]), _told(theirs[c:d])))
    found.differences.sort()
    return found


def _told(decided: Sequence[Decision]) -> tuple[str, ...]:
    return tuple(f"{decision.what} ({decision.about})" if decision.about else decision.what for decision in decided)
