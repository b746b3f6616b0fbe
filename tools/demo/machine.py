"""What this machine can carry of a demo with more agents, said before it is started; and a system of that size.

What one agent process costs is measured here and now, by loading its program once. What cannot be known before, how
late processes are that share a processor, is taken from measurement (docs/measurements.md).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.site import read_site
from scl.generate import LoadSpec, generate_scd, generate_site
from scl.regular import regular_network

if TYPE_CHECKING:
    from gateway.site import Site

MOST_PORTS: Final = 1000
"""A Linux bridge has 1023 ports."""
AGENTS_PER_CORE: Final = 20
"""Measured: with so many, reactions still take what they take with five."""
MOST_PER_CORE: Final = 50
"""Measured: so many start, hear each other and heal a fault; each takes 0.5 % of a processor while nothing happens."""
_MEMORY_SHARE: Final = 0.8
_MOST_IN_SERIES: Final = 9
_LOAD_A: Final = 18.0
"""Of each section: a feeder of nine then has room for another one's whole load."""
_PROGRAM: Final = """
import ied_agents.runtime.agent_process, os
print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
"""


class TooLargeError(ValueError):
    """This machine cannot carry so many agents; says what it can, and why."""


@dataclass(frozen=True, slots=True)
class AgentCost:
    """What starting one agent process takes: processor time in s, memory in MB."""

    start_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is: processors, and memory in MB that processes may still take."""

    cores: int
    memory_mb: float


def this_machine() -> Machine:
    """The machine this runs on."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available_kb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return Machine(len(os.sched_getaffinity(0)), available_kb / 1024)


def measure_agent() -> AgentCost:
    """Load the agents' program once in a process of its own.

    Raises:
        OSError: it did not load.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.run([sys.executable, "-P", "-c", _PROGRAM], stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
    if child.returncode:
        raise OSError(child.returncode, "the agents' program did not load; its messages are above")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return AgentCost(start_s, int(child.stdout) / 1e6)


def assess(agents: int, machine: Machine, cost: AgentCost) -> tuple[list[str], bool]:
    """What carrying so many agents means.

    Returns:
        What to tell people, and whether the machine is small for it: then times say more of it than of the agents.

    Raises:
        TooLargeError: it cannot be.
    """
    by_memory = int(_MEMORY_SHARE * machine.memory_mb / cost.memory_mb)
    by_cores = MOST_PER_CORE * machine.cores
    limits = {
        by_memory: f"memory: {machine.memory_mb:.0f} MB free, {cost.memory_mb:.0f} MB each",
        by_cores: f"processors: {machine.cores}, up to {MOST_PER_CORE} on each",
        MOST_PORTS: "the ports of a Linux bridge",
    }
    most = min(limits)
    if agents > most:
        raise TooLargeError(f"{agents} agents; this machine can carry {most} ({limits[most]})")
    good = min(most, AGENTS_PER_CORE * machine.cores)
    about_machine = (
        f"This machine: {machine.cores} processors, {machine.memory_mb:.0f} MB free. One agent process, measured now: "
        f"{cost.memory_mb:.0f} MB, {cost.start_s:.2f} s of a processor to load."
    )
    about_size = (
        f"It can carry {most} agents ({limits[most]}); with up to {good} their times are worth looking at. "
        f"Here: {agents}, {agents * cost.memory_mb:.0f} MB, about {_start_s(agents, machine, cost):.0f} s to start."
    )
    return [about_machine, about_size], agents > good


def _start_s(agents: int, machine: Machine, cost: AgentCost) -> float:
    # Reading its settings and binding its streams takes an agent about as long again as half of loading.
    return 3.0 + 1.5 * agents * cost.start_s / machine.cores


def generated(switches: int, folder: Path) -> Site:
    """A system of about so many switches: equal feeders in a ring, tied at their ends.

    Its SCD and site file are left in ``folder``, for ``--site``.

    Raises:
        TooLargeError: fewer than 3 switches, with which there is nothing to restore.
    """
    if switches < 3:
        raise TooLargeError(f"{switches} switches; at least 3: two heads and a tie")
    shapes = [
        (feeders, along) for feeders in range(2, max(3, switches // 3)) for along in range(1, _MOST_IN_SERIES + 1)
    ]

    def misses(shape: tuple[int, int]) -> tuple[int, int]:
        feeders, along = shape
        return abs(feeders * along + (feeders if feeders > 2 else 1) - switches), feeders

    feeders, along = min(shapes, key=misses)
    network = regular_network("demo", feeders=feeders, switches=along, ties=1)
    sections = [f"{feeder.name}/S{number}" for feeder in network.feeders for number in range(1, along + 1)]
    network = replace(network, loads=dict.fromkeys(sections, LoadSpec(_LOAD_A)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.scd").write_text(generate_scd(network), encoding="utf-8")
    (folder / "demo.toml").write_text(generate_site(network), encoding="utf-8")
    return read_site(folder / "demo.toml")
