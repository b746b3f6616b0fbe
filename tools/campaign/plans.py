"""Which scenarios a campaign consists of: all drawn from a seed and a number.

Three of five are *alive*: communication, agents and apparatus are sound, up to a fifth of the frames lost; what can be
served must be served then (I7). In the others anything may go wrong, and only safety is judged.

Longer than most files: the chances of everything that can happen stand together here.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG, Authority, Behaviour
from ied_agents.dflisr.reclose import RECLAIM_S
from ied_agents.process.inputs import Operation, Voltage
from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.memory_link import Disturbance
from tools.campaign.feeders import DETECTION_S, FeederSystem, random_size, random_system
from tools.campaign.occurrences import (
    Action,
    Apparatus,
    ByHand,
    ClockJump,
    Control,
    Crash,
    Fallback,
    Fault,
    Forge,
    Mode,
    Network,
    Occurrence,
    Repair,
    ReplayOld,
    Request,
    Return,
    Supply,
    Tag,
    Unlock,
)
from tools.campaign.scenario import Scenario
from tools.campaign.world import DISK_S, CrashPoint

SETTLED_S: Final = 0.6
"""By then every agent has heard every other, and the flows are older than any picture of them must be."""
QUIET: Final = Disturbance(min_delay_s=0.0001, max_delay_s=0.0004)
REAL_FRAMES_SHARE: Final = 0.06
SHOTS_SHARE: Final = 0.35
"""Of the scenarios with reclosing breakers, those in which they are ready to reclose when the first fault comes."""
STEPS: Final = (
    "picked up",
    "declared faulted",
    "locked",
    "lock durable",
    "open ordered",
    "position",
    "claimed",
    "promised",
    "capacity requested",
    "reserved",
    "granted",
    "close ordered",
    "closed",
    "opens to split the island",
    "clear requested",
    "widened",
    "trips for a shot",
    "reclose ordered",
    "own delay has run out",
    "supply lost",
    "return to normal",
)
"""Notes of agents that occurrences wait for, to come in the midst of a restoration."""


def plan(seed: int, number: int, base: FeederSystem | None = None) -> Scenario:
    """Scenario ``number`` of a seed.

    Args:
        seed: of the campaign.
        number: from 0.
        base: the network of all scenarios; None for a random one each. In a given one the first faults take the
            sections in turn.
    """
    rng = random.Random(f"{seed} {number}")
    system = random_system(rng, random_size(rng)) if base is None else base
    draft = _Draft(rng, system)
    first = draft.sections[number // 5 % len(draft.sections)] if base is not None else rng.choice(draft.sections)
    alive = number % 5 < 3
    if alive:
        draft.alive(first)
    else:
        draft.hostile(first)
    return Scenario(
        name=draft.name,
        seed=rng.getrandbits(32),
        system=system,
        occurrences=tuple(sorted(draft.occurrences, key=lambda o: (bool(o.after), o.at))),
        disturbance=draft.disturbance,
        plant=draft.plant,
        real_frames=rng.random() < REAL_FRAMES_SHARE,
        disk_s=draft.disk_s,
        alive=alive,
    )


class _Draft:
    """A scenario that is being drawn."""

    def __init__(self, rng: random.Random, system: FeederSystem) -> None:
        self.name = ""
        self.occurrences: list[Occurrence] = []
        self.disturbance = QUIET
        self.plant = PlantSettings(pickup_spread_s=DETECTION_S, generation_trip_s=rng.choice((0.0, 0.05, 0.3)))
        self.disk_s = DISK_S
        self.sections = [s.index for s in system.plant.sections if not s.is_source]
        self._sources = [s.index for s in system.plant.sections if s.is_source]
        self._switches = sorted(system.agents)
        self._rng = rng
        self._start = SETTLED_S + rng.uniform(0.0, 0.3)
        if any(switch.shots for switch in system.feeder.switches) and rng.random() < SHOTS_SHARE:
            self._start += RECLAIM_S  # a breaker that has just started has no shots before

    # -- alive ----------------------------------------------------------------------------------------------------

    def alive(self, first: int) -> None:
        """One or two faults, or a loss of supply; a fifth of the frames may be lost."""
        rng = self._rng
        slow = rng.random() < 0.1
        lively = Disturbance(
            loss=rng.choice((0.0, rng.uniform(0.0, 0.2), rng.uniform(0.0, 0.2))),
            duplicate=rng.choice((0.0, 0.05)),
            min_delay_s=0.0001,
            max_delay_s=rng.uniform(0.001, 0.005) if slow else rng.uniform(0.0002, 0.001),
        )
        self._at(self._start - 0.05, Network(lively))
        kind = rng.random()
        if kind < 0.1 and len(self._sources) > 1:
            self.name = "loss of supply"
            self._at(self._start, Supply(rng.choice(self._sources), live=False))
            return
        self._at(self._start, self._fault(first))
        if kind < 0.5:
            self.name = "one fault"
            return
        if kind < 0.65:
            self.name = "return to normal"
            at = self._start + rng.uniform(3.0, 4.0)
            self._at(at, Repair(first))
            self._at(at + 0.1, Return(first))
            return
        self.name = "two faults"
        second = self._fault(rng.choice(self.sections))
        if rng.random() < 0.25:
            self._at(self._start + rng.uniform(0.0, 0.003), second)
        else:
            self._then(second)

    def _fault(self, section: int) -> Fault:
        rng = self._rng
        return Fault(section, rng.uniform(0.02, 0.4) if rng.random() < 0.25 else None)

    # -- hostile --------------------------------------------------------------------------------------------------

    def hostile(self, first: int) -> None:
        """Up to three faults, and several kinds of trouble at once."""
        rng = self._rng
        self._at(self._start, self._fault(first))
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            self._then(self._fault(rng.choice(self.sections)))
        troubles = [
            self._bad_network,
            self._cuts,
            self._bad_apparatus,
            self._crashes,
            self._clocks,
            self._people,
            self._repair,
            self._forgeries,
            self._supply,
        ]
        chosen = rng.sample(range(len(troubles)), rng.choice((1, 2, 2, 3, 4, 5)))
        for index in sorted(chosen):
            troubles[index]()
        self.name = "hostile: " + ", ".join(
            troubles[index].__name__.strip("_").replace("_", " ") for index in sorted(chosen)
        )

    def _bad_network(self) -> None:
        rng = self._rng
        bursts = rng.random() < 0.3
        bad = Disturbance(
            loss=rng.choice((0.0, rng.uniform(0.0, 0.6), rng.uniform(0.2, 0.6))),
            duplicate=rng.choice((0.0, 0.2)),
            replay=rng.choice((0.0, 0.03, 0.1)),
            min_delay_s=0.0001,
            max_delay_s=rng.choice((0.0005, 0.005, 0.02, 0.05)),
            burst_share=rng.uniform(0.1, 0.6) if bursts else 0.0,
            burst_s=self._log_uniform(0.02, 1.0),
        )
        self._at(self._start - rng.choice((0.05, 0.3)), Network(bad))
        if rng.random() < 0.7:
            self._at(self._start + rng.uniform(0.5, 4.0), Network(QUIET))
        if rng.random() < 0.5:
            self._at(self._start + rng.uniform(0.0, 2.0), ReplayOld(rng.randint(1, 300)))

    def _cuts(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 2)):
            share = rng.uniform(0.1, 0.6)
            part = tuple(number for number in self._switches if rng.random() < share)
            cut = Network(self.disturbance, parts=(part,))
            if rng.random() < 0.4:
                pairs = [(a, b) for a in self._switches for b in self._switches if a != b]
                cut = Network(self.disturbance, deaf=tuple(rng.sample(pairs, max(1, len(pairs) // 10))))
            at = self._then(cut, before=0.05)
            self._at(at + self._log_uniform(0.05, 3.0), Network(QUIET))

    def _bad_apparatus(self) -> None:
        rng = self._rng
        share = rng.choice((0.03, 0.1, 0.2))

        def some(chance: float) -> list[int]:
            return [number for number in self._switches if rng.random() < share] if rng.random() < chance else []

        voltages = (None, Voltage.ABSENT, Voltage.PRESENT, Voltage.UNKNOWN)
        self.plant = replace(
            self.plant,
            fail_to_open=frozenset(some(0.4)),
            fail_to_close=frozenset(some(0.4)),
            slowness={number: rng.uniform(1.0, 4.0) for number in some(0.4)},
            untrusted_direction=frozenset(some(0.4)),
            position_late_s={number: self._log_uniform(0.01, 1.0) for number in some(0.4)},
            voltage_stuck={number: (rng.choice(voltages), rng.choice(voltages)) for number in some(0.4)},
        )
        if rng.random() < 0.5:
            switch = rng.choice(self._switches)
            at = self._then(Apparatus(switch, fails_to_open=rng.random() < 0.5, fails_to_close=rng.random() < 0.5))
            self._at(at + rng.uniform(0.1, 3.0), Apparatus(switch, fails_to_open=False, fails_to_close=False))

    def _crashes(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            self.disk_s = (0.001, 0.06)
        for _ in range(rng.randint(1, 4)):
            point = rng.choice((None, *CrashPoint))
            if rng.random() < 0.6:
                # Whoever notes that step, or someone else in the same moment.
                switch = 0 if rng.random() < 0.7 else rng.choice(self._switches)
                crash = Crash(switch, point, self._log_uniform(0.02, 3.0))
                self._after(rng.choice(STEPS), rng.choice((0.0, 0.0, rng.uniform(0.0, 0.02))), crash)
            else:
                crash = Crash(rng.choice(self._switches), point, self._log_uniform(0.02, 3.0))
                self._at(self._start + rng.uniform(-0.1, 1.0), crash)

    def _clocks(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 3)):
            jump = ClockJump(rng.choice(self._switches), rng.choice((-1e9, -3600.0, -1.0, 1.0, 3600.0, 1e9)))
            at = self._start + rng.uniform(-0.2, 1.0)
            self._at(at, jump)
            if rng.random() < 0.7:
                self._at(at + rng.uniform(0.0, 0.5), Crash(jump.switch, None, self._log_uniform(0.02, 1.0)))

    def _people(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 3)):
            switch = rng.choice(self._switches)
            operation: Operation = "open" if rng.random() < 0.5 else "close"
            kind = rng.choice(("tag", "mode", "control", "by hand", "request", "fallback"))
            if kind == "tag":
                owner = rng.choice(("crew", "dispatcher"))
                at = self._then(Tag(switch, owner, rng.choice((WORK_TAG, HOT_LINE_TAG))), before=0.4)
                if rng.random() < 0.5:
                    self._at(at + rng.uniform(0.1, 2.0), Tag(switch, owner, 0))
            elif kind == "mode":
                modes = (Behaviour.BLOCKED, Behaviour.TEST, Behaviour.TEST_BLOCKED, Behaviour.OFF)
                at = self._then(Mode(switch, rng.choice(modes)), before=0.4)
                if rng.random() < 0.7:
                    self._at(at + rng.uniform(0.1, 2.0), Mode(switch, Behaviour.ON))
            elif kind == "control":
                at = self._then(Control(switch, rng.choice((Authority.LOCAL, Authority.STATION))), before=0.4)
                if rng.random() < 0.7:
                    self._at(at + rng.uniform(0.1, 2.0), Control(switch, Authority.REMOTE))
            elif kind == "by hand":
                self._then(ByHand(switch, operation), before=0.4)
            elif kind == "request":
                self._then(Request(switch, operation), before=0.4)
            else:
                self._then(Fallback(switch, rng.randrange(2), rng.choice((2, 2, 7))))

    def _repair(self) -> None:
        """After the repair what is held is unlocked, or the return to normal is ordered, now and then twice."""
        rng = self._rng
        for section in [o.action.section for o in self.occurrences if isinstance(o.action, Fault)]:
            at = self._start + self._log_uniform(0.3, 4.0)
            self._at(at, Repair(section))
            for _ in range(rng.choice((1, 1, 1, 2))):
                at += self._log_uniform(0.01, 1.0)
                self._at(at, Return(section) if rng.random() < 0.7 else Unlock(section))

    def _forgeries(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 3)):
            self._at(self._start + rng.choice((-0.2, -0.1, rng.uniform(0.0, 1.5))), Forge(simulated=rng.random() < 0.6))

    def _supply(self) -> None:
        rng = self._rng
        source = rng.choice(self._sources)
        at = self._then(Supply(source, live=False), before=0.5)
        if rng.random() < 0.6:
            self._at(at + self._log_uniform(0.05, 3.0), Supply(source, live=True))

    # -- time -----------------------------------------------------------------------------------------------------

    def _at(self, t: float, action: Action) -> None:
        self.occurrences.append(Occurrence(max(t, SETTLED_S / 2), action))

    def _after(self, step: str, delay_s: float, action: Action) -> None:
        self.occurrences.append(Occurrence(delay_s, action, step))

    def _then(self, action: Action, before: float = 0.0) -> float:
        """In the midst of what the first fault leads to; says about when."""
        rng = self._rng
        if rng.random() < 0.4:
            self._after(rng.choice(STEPS), rng.choice((0.0, rng.uniform(0.0, 0.05), rng.uniform(0.0, 0.5))), action)
            return self._start + 0.5
        at = self._start + self._log_uniform(0.001, 4.0)
        if before and rng.random() < 0.3:
            at = self._start - rng.uniform(0.0, before)
        self._at(at, action)
        return at

    def _log_uniform(self, low: float, high: float) -> float:
        return math.exp(self._rng.uniform(math.log(low), math.log(high)))
