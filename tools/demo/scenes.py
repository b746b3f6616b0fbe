"""The demo's scenes: a site, what happens on it, and what must have come of it in the end.

All but ``permanent`` are told on the shipped sample, so that what is expected can be written down switch by switch.
A scene may change what the agents are told of a switch (rating, reclosing shots); the plant knows neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ied_agents.runtime.realtime import RealTimeHelp

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.site import Site

MOST_LOSS: Final = 0.2
"""Share of lost frames up to which everything must be healed all the same."""
_SHOT_DEAD_S: Final = 0.3
_ARC_S: Final = 0.1
"""A transient fault is out so long after its infeed."""
_ARMED_S: Final = 6.0
"""After its start a breaker has shots only once it has been closed and quiet for 5 s."""
_IN_THE_MIDDLE_S: Final = 0.08
"""After isolation, before the first tie is closed: both take some 40 ms of apparatus."""
_TIGHT_A: Final = 70.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault.

    Attributes:
        section: its index.
        after_s: how long after the first one it appears, s.
        clears_after_dead_s: out by itself after so long without infeed, s; None for a permanent one.
    """

    section: int
    after_s: float = 0.0
    clears_after_dead_s: float | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """What happens.

    Attributes:
        faults: in the order of their times.
        seed: of the pickup delays, and in memory of everything.
        kill: switch whose agent is killed just before the first fault; 0 for none.
        kill_plant_s: kill the plant this long after the first fault, s; 0 for never.
        loss: share of frames lost on arrival.
        spread_s: pickups come within this, s.
        stuck: switches that do not open.
        quiet_s: how long nothing happens before, s.
        returns: once all is settled the faults are repaired, and an operator orders the return to normal.
        engineer: in the end somebody tries to close a locked switch by MMS.
        realtime: what the agents ask of the kernel.
    """

    faults: tuple[Fault, ...]
    seed: int = 1
    kill: int = 0
    kill_plant_s: float = 0.0
    loss: float = 0.0
    spread_s: float = 0.003
    stuck: frozenset[int] = frozenset()
    quiet_s: float = 0.0
    returns: bool = False
    engineer: bool = False
    realtime: RealTimeHelp = field(default_factory=RealTimeHelp)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have come of a scene in the end; switches and sections by name, None for what is not judged.

    Attributes:
        declared: sections held faulted.
        widened: sections isolated because a switch did not open.
        locked: switches locked.
        held: switches held open because an island was split there.
        opened: switches that are open, by the plant.
        dark: sections without voltage, by the plant.
    """

    declared: frozenset[str]
    locked: frozenset[str]
    widened: frozenset[str] = frozenset()
    held: frozenset[str] | None = None
    opened: frozenset[str] | None = None
    dark: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene.

    Attributes:
        name: for the command line.
        title: for people.
        site: where it is played.
        script: what happens.
        expected: what must come of it; None where only safety is judged: an agent or the plant is killed, or too many
            frames are lost.
    """

    name: str
    title: str
    site: Site
    script: Script
    expected: Expected | None


def permanent(site: Site, section: int, **script: Any) -> Scene:
    """A permanent fault: it is isolated by the switches around it, and whoever else can be served is.

    Args:
        site: any.
        section: index of the faulted section.
        script: more members of :class:`Script`.
    """
    played = Script((Fault(section),), **script)
    name = site.network.sections[section].name
    healed = Expected(
        declared=frozenset((name,)),
        locked=frozenset(s.name for s in site.network.switches if section in s.sections),
    )
    disturbed = played.kill or played.kill_plant_s or played.loss > MOST_LOSS
    return Scene("permanent", f"a permanent fault in {name}", site, played, None if disturbed else healed)


def scripted(name: str, site: Site, **script: Any) -> Scene:
    """One of the scenes that are told on the sample.

    Args:
        name: one of ``SCRIPTED``.
        site: the two-source sample.
        script: seed and loss.
    """
    scene = SCRIPTED[name](_Sample(site))
    return replace(scene, script=replace(scene.script, **script))


class _Sample:
    """The two-source sample by names."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._sections = {section.name: section.index for section in site.network.sections}
        self._switches = {switch.name: switch.number for switch in site.network.switches}

    def fault(self, section: str, after_s: float = 0.0, clears_after_dead_s: float | None = None) -> Fault:
        return Fault(self._sections[section], after_s, clears_after_dead_s)

    def switch(self, name: str) -> int:
        return self._switches[name]

    def told(self, *names: str, **change: Any) -> Site:
        """The site with the agents told something else about some switches."""
        numbers = {self._switches[name] for name in names}
        feeder = next(iter(self.site.agents.values())).config.feeder
        switches = tuple(replace(s, **change) if s.number in numbers else s for s in feeder.switches)
        changed = replace(feeder, switches=switches)
        agents = {
            number: replace(agent, config=replace(agent.config, feeder=changed))
            for number, agent in self.site.agents.items()
        }
        return replace(self.site, agents=agents)


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


def _transient(sample: _Sample) -> Scene:
    return Scene(
        "transient",
        f"a transient fault in F1/S2; breakers reclose once, after {_SHOT_DEAD_S:g} s",
        sample.told("Q1", "R3", "Q5", "R7", shots=(_SHOT_DEAD_S,)),
        Script((sample.fault("F1/S2", clears_after_dead_s=_ARC_S),), quiet_s=_ARMED_S),
        Expected(declared=_names(), locked=_names(), held=_names(), opened=_names("T9", "T10"), dark=_names()),
    )


def _stuck(sample: _Sample) -> Scene:
    return Scene(
        "stuck",
        "a permanent fault in F1/S2, and R3 does not open",
        sample.site,
        Script((sample.fault("F1/S2"),), stuck=frozenset((sample.switch("R3"),))),
        Expected(
            declared=_names("F1/S2"),
            widened=_names("F1/S3"),
            locked=_names("L2", "R3", "L4", "T10"),
            held=_names(),
            opened=_names("L2", "L4", "T10"),
            dark=_names("F1/S2", "F1/S3"),
        ),
    )


def _second_fault(sample: _Sample) -> Scene:
    return Scene(
        "second-fault",
        f"a permanent fault in F1/S1, and {_IN_THE_MIDDLE_S * 1000:.0f} ms later one in F1/S3, dark at that moment",
        sample.site,
        Script((sample.fault("F1/S1"), sample.fault("F1/S3", after_s=_IN_THE_MIDDLE_S))),
        Expected(
            declared=_names("F1/S1", "F1/S3"),
            locked=_names("Q1", "L2", "R3", "L4"),
            held=_names(),
            opened=_names("Q1", "L2", "R3", "L4"),
            dark=_names("F1/S1", "F1/S3"),
        ),
    )


def _split(sample: _Sample) -> Scene:
    return Scene(
        "split",
        f"a permanent fault in F1/S1; either tie carries {_TIGHT_A:.0f} A, the island behind needs 110 A",
        sample.told("T9", "T10", rating_a=_TIGHT_A),
        Script((sample.fault("F1/S1"),)),
        Expected(
            declared=_names("F1/S1"),
            locked=_names("Q1", "L2"),
            held=_names("R3"),
            opened=_names("Q1", "L2", "R3"),
            dark=_names("F1/S1"),
        ),
    )


def _return(sample: _Sample) -> Scene:
    return Scene(
        "return",
        "a permanent fault in F1/S2; once it is repaired, an operator orders the return to normal",
        sample.site,
        Script((sample.fault("F1/S2"),), returns=True),
        Expected(declared=_names(), locked=_names(), held=_names(), opened=_names("T9", "T10"), dark=_names()),
    )


SCRIPTED: Final[dict[str, Callable[[_Sample], Scene]]] = {
    "transient": _transient,
    "stuck": _stuck,
    "second-fault": _second_fault,
    "split": _split,
    "return": _return,
}
