"""What happens in a day beside a live system, all drawn from a seed.

Every episode ends with the network in its normal state again, and with a time in which nothing happens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG, Authority, Behaviour
from tools.campaign.feeders import FeederSystem, random_system
from tools.campaign.occurrences import (
    Action,
    Apparatus,
    ByHand,
    Control,
    Fault,
    Mode,
    Repair,
    Supply,
    Tag,
    Unlock,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED_S: Final = 10.0
"""By then all agents have heard each other, and breakers are ready to reclose."""
HOUR_S: Final = 3600.0
_SETTLES_S: Final = 180.0
"""So long after its last step an episode is over."""
_MOST_HOURS: Final = 31 * 24
_SWITCHES: Final = 14


class ShadowError(ValueError):
    """What is asked for cannot be done; says why."""


@dataclass(frozen=True, slots=True)
class ReturnToNormal:
    """A person orders the return to normal for everything that is held anywhere."""


@dataclass(frozen=True, slots=True)
class PutRight:
    """A crew brings every switch into its normal position by hand."""


@dataclass(frozen=True, slots=True)
class Episode:
    """What happens together.

    Attributes:
        name: what it is.
        at: when it begins, s.
        steps: what happens, so many s after that, in order.
    """

    name: str
    at: float
    steps: tuple[Step, ...]


def draw_system(seed: int) -> FeederSystem:
    """A random network in which everything that a day has can happen."""
    rng = random.Random(f"{seed} network")
    while True:
        system = random_system(rng, _SWITCHES)
        switches = system.feeder.switches
        sources = sum(section.is_source for section in system.plant.sections)
        kinds = {switch.breaker for switch in switches if switch.normally_closed}
        if (
            sources > 1
            and len(kinds) > 1
            and any(s.shots for s in switches)
            and any(s.transfer_after_s for s in switches)
        ):
            return system


def plan_day(system: FeederSystem, hours: float, seed: int) -> list[Episode]:
    """What happens in so many hours: every kind of episode in turn, from half a minute to two hours apart.

    Raises:
        ShadowError: there is no time for one, or more than anybody would wait for.
    """
    if not 0 < hours <= _MOST_HOURS:
        raise ShadowError(f"{hours:g} hours: expected more than 0, at most {_MOST_HOURS}")
    rng = random.Random(f"{seed} day")
    draft = _Draft(rng, system)
    kinds = list(draft.kinds)
    rng.shuffle(kinds)
    episodes: list[Episode] = []
    at = STARTED_S + rng.uniform(0.0, 60.0)
    while True:
        name = kinds[len(episodes) % len(kinds)]
        steps = draft.kinds[name]()
        if at + steps[-1][0] + _SETTLES_S > hours * HOUR_S:
            break
        episodes.append(Episode(name, at, tuple(steps)))
        at += steps[-1][0] + rng.choice((rng.uniform(30.0, 300.0), rng.uniform(300.0, 2 * HOUR_S)))
    if not episodes:
        raise ShadowError(f"{hours:g} hours: nothing that takes its time can happen in them; expected some hours")
    return episodes


class _Draft:
    """Draws episodes.

    Attributes:
        kinds: by name, what draws the steps of one.
    """

    def __init__(self, rng: random.Random, system: FeederSystem) -> None:
        self._rng = rng
        self._sections = [s.index for s in system.plant.sections if not s.is_source]
        self._sources = [s.index for s in system.plant.sections if s.is_source]
        self._switches = system.feeder.switches
        self.kinds: dict[str, Callable[[], list[Step]]] = {
            "permanent fault": self._permanent,
            "transient fault": self._transient,
            "switch does not open": lambda: self._stuck(to_open=True),
            "switch does not close": lambda: self._stuck(to_open=False),
            "loss of a source": self._supply,
            "tagged": self._tagged,
            "mode": self._mode,
            "local control": self._local,
            "unlocked": self._unlocked,
            "operated by hand": self._by_hand,
            "two faults": self._two,
        }

    def _minutes(self, low: float, high: float) -> float:
        return self._rng.uniform(low * 60, high * 60)

    def _any_section(self) -> int:
        return self._rng.choice(self._sections)

    def _at(self, section: int) -> list[int]:
        """Switches at a section; where no agent guards one, all."""
        return [s.number for s in self._switches if section in s.sides] or [s.number for s in self._switches]

    def _ends(self, section: int, at: float, *before: Action) -> list[Step]:
        """Repair, return to normal, and what else has to be put right."""
        repaired = at + self._minutes(1, 20)
        back = repaired + self._minutes(1, 3)
        return [
            (repaired, Repair(section)),
            *((repaired + 20, action) for action in before),
            (back, ReturnToNormal()),
            (back + 60, PutRight()),
            (back + 90, Unlock(section)),
        ]

    def _permanent(self) -> list[Step]:
        section = self._any_section()
        return [(0, Fault(section)), *self._ends(section, 0)]

    def _transient(self) -> list[Step]:
        section = self._any_section()
        return [(0, Fault(section, self._rng.uniform(0.02, 0.3))), *self._ends(section, 0)]

    def _two(self) -> list[Step]:
        one, other = self._rng.sample(self._sections, 2) if len(self._sections) > 1 else self._sections * 2
        apart = self._rng.choice((0.03, 0.3, 5.0))
        return [(0, Fault(one)), (apart, Fault(other)), *self._ends(other, 30, Repair(one))]

    def _stuck(self, *, to_open: bool) -> list[Step]:
        section = self._any_section()
        if to_open:
            number = self._rng.choice(self._at(section))
        else:
            number = self._rng.choice([s.number for s in self._switches if not s.normally_closed] or self._at(section))
        stuck = Apparatus(number, fails_to_open=to_open, fails_to_close=not to_open)
        sound = Apparatus(number, fails_to_open=False, fails_to_close=False)
        return [(0, stuck), (30, Fault(section)), *self._ends(section, 30, sound)]

    def _supply(self) -> list[Step]:
        source = self._rng.choice(self._sources)
        back = self._minutes(0.02, 15)
        then = back + self._minutes(1, 3)
        return [
            (0, Supply(source, live=False)),
            (back, Supply(source, live=True)),
            (then, ReturnToNormal()),
            (then + 60, PutRight()),
        ]

    def _with_one_apart(self, asked: Callable[[int], tuple[Action, Action]]) -> list[Step]:
        """A fault while something was asked of an agent near by, or of a tie; taken back after the repair."""
        section = self._any_section()
        ties = [s.number for s in self._switches if not s.normally_closed]
        first, back = asked(self._rng.choice([*self._at(section), *ties]))
        return [(0, first), (30, Fault(section)), *self._ends(section, 30, back)]

    def _tagged(self) -> list[Step]:
        tags = self._rng.choice((WORK_TAG, HOT_LINE_TAG))
        return self._with_one_apart(lambda switch: (Tag(switch, "crew", tags), Tag(switch, "crew", 0)))

    def _mode(self) -> list[Step]:
        mode = self._rng.choice([mode for mode in Behaviour if mode is not Behaviour.ON])
        return self._with_one_apart(lambda switch: (Mode(switch, mode), Mode(switch, Behaviour.ON)))

    def _local(self) -> list[Step]:
        return self._with_one_apart(
            lambda switch: (Control(switch, Authority.LOCAL), Control(switch, Authority.REMOTE))
        )

    def _unlocked(self) -> list[Step]:
        """Unlocked without an order to return: a crew closes by hand."""
        section = self._any_section()
        repaired = self._minutes(1, 20)
        return [
            (0, Fault(section)),
            (repaired, Repair(section)),
            (repaired + 60, Unlock(section)),
            (repaired + 120, PutRight()),
            (repaired + 180, ReturnToNormal()),
            (repaired + 240, PutRight()),
        ]

    def _by_hand(self) -> list[Step]:
        switch = self._rng.choice([s for s in self._switches if s.normally_closed])
        back = self._minutes(1, 10)
        return [(0, ByHand(switch.number, "open")), (back, ByHand(switch.number, "close")), (back + 60, PutRight())]


Step = tuple[float, Action | ReturnToNormal | PutRight]
