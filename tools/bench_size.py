"""``flisr bench size``: what one fault costs all agents together, for networks of 10, 100 and 1,000 switches.

The feeders stay as long as they are, there are only more of them, each tied to the next. All agents are the real ones,
with real frames, under virtual time in one process; what is counted is their work: decisions taken, frames read, and
processor time spent in them, from just before the fault until everybody has been quiet again for a second.
"""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.console import Console

from ied_agents.dflisr.feeder import FeederSwitch
from ied_agents.dflisr.records import Stage
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import PlantSection
from ied_agents.runtime.memory_link import Disturbance
from ied_agents.runtime.station import Output, Station
from tools.campaign.feeders import assemble
from tools.campaign.world import World

if TYPE_CHECKING:
    from tools.campaign.feeders import FeederSystem

PER_FEEDER: Final = 9
"""Switches along each feeder; a tie to the next feeder makes ten."""
_SETTLE_S: Final = 3.0
_LOAD_A: Final = 20.0
_RATING_A: Final = 600.0


def size(
    *,
    switches: Annotated[tuple[int, ...], Parameter(help="Sizes of the networks.")] = (10, 100, 1000),
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure the work that one fault causes against the size of the network."""
    rows = [measure(count) for count in switches]
    first = rows[0]
    for row in rows:
        row["turns_per_fault_to_first"] = round(row["turns"] / first["turns"], 2)
        row["idle_us_per_agent_second_to_first"] = round(
            row["idle_us_per_agent_second"] / first["idle_us_per_agent_second"], 2
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    console = Console()
    for row in rows:
        console.print(
            f"{row['switches']:5} switches: fault {'healed' if row['healed'] else '[red]not healed[/]'}, "
            f"{row['turns']} decisions by {row['agents_at_work']} agents, {row['frames_read']} frames read, "
            f"{row['fault_cpu_ms']:.0f} ms of processor time; idle {row['idle_us_per_agent_second']:.0f} us per agent "
            "and second"
        )


class _Meter:
    """Counts what the stations of one world do; put between world and stations."""

    def __init__(self) -> None:
        self.turns: dict[int, int] = {}
        self.frames = 0
        self.cpu_s = 0.0

    def watch(self, number: int, station: Station) -> None:
        take, turn, evaluate = station.receive_frame, station.turn, station.agent.evaluate

        def receive_frame(frame: bytes, now: float) -> None:
            began = time.process_time()
            take(frame, now)
            self.cpu_s += time.process_time() - began
            self.frames += 1

        def counted_turn(now: float, utc_ns: int) -> Output:
            began = time.process_time()
            output = turn(now, utc_ns)
            self.cpu_s += time.process_time() - began
            return output

        def counted_evaluate(now: float) -> Any:
            self.turns[number] = self.turns.get(number, 0) + 1
            return evaluate(now)

        station.receive_frame = receive_frame  # type: ignore[method-assign]
        station.turn = counted_turn  # type: ignore[method-assign]
        station.agent.evaluate = counted_evaluate  # type: ignore[method-assign]


def measure(switches: int) -> dict[str, Any]:
    """One fault in the middle of the first feeder of a network of so many switches."""
    feeders = max(1, switches // (PER_FEEDER + 1))
    system = _system(feeders)
    world = World(
        system.plant,
        PlantSettings(),
        system.agents,
        random.Random(1),
        Disturbance(min_delay_s=0.0001, max_delay_s=0.0004),
    )
    meter = _Meter()
    for number, host in world.hosts.items():
        assert isinstance(host.station, Station)
        meter.watch(number, host.station)
    world.run(_SETTLE_S)
    meter.cpu_s = 0.0
    world.run(_SETTLE_S + 2.0)
    idle = meter.cpu_s / 2.0 / len(world.hosts)
    meter.turns.clear()
    meter.frames, meter.cpu_s = 0, 0.0
    fault = system.feeder.by_number[PER_FEEDER // 2 + 1].sides[1]
    world.plant.inject_fault(fault, world.now)
    began = world.now
    while world.now < began + 6.0 and (world.busy or world.now < began + 1.0):
        world.run(world.now + 0.1)
    lasted = world.now - began
    live = world.plant.energised()
    healed = all(s.index in live for s in system.plant.sections if s.index != fault)
    finished = [host.station.agent.situation.own.progress.stage for host in world.hosts.values() if host.station]
    return {
        "switches": len(world.hosts),
        "healed": healed and Stage.STOPPED not in finished,
        "turns": sum(meter.turns.values()),
        "agents_at_work": len(meter.turns),
        "most_turns_of_one_agent": max(meter.turns.values()),
        "frames_read": meter.frames,
        "fault_cpu_ms": round(1e3 * (meter.cpu_s - idle * len(world.hosts) * lasted), 1),
        "idle_us_per_agent_second": round(1e6 * idle, 1),
        "subscribed_at_most": max(len(settings.config.subscribed) for settings in system.agents.values()),
    }


def _system(feeders: int) -> FeederSystem:
    """Feeders of the same length, each tied at its end to the next; one alone has its tie to a second source."""
    sections: list[PlantSection] = []
    switches: list[FeederSwitch] = []

    def section(name: str, *, is_source: bool = False) -> int:
        sections.append(PlantSection(len(sections), name, is_source=is_source, load_a=0.0 if is_source else _LOAD_A))
        return len(sections) - 1

    def switch(sides: tuple[int, int], *, breaker: bool, closed: bool = True) -> None:
        number = len(switches) + 1
        switches.append(
            FeederSwitch(
                number=number,
                name=f"SW{number}",
                ied=f"IED{number}",
                breaker=breaker,
                sides=sides,
                normally_closed=closed,
                rating_a=_RATING_A,
                breaking_a=16000.0 if breaker else 630.0,
                trip_delay_s=0.3 if breaker else 0.0,
                operating_time_s=0.06,
            )
        )

    ends = []
    for feeder in range(feeders):
        last = section(f"source {feeder}", is_source=True)
        for place in range(PER_FEEDER):
            following = section(f"F{feeder}S{place}")
            switch((last, following), breaker=place % 3 == 0)
            last = following
        ends.append(last)
    if feeders == 1:
        ends.append(section("second source", is_source=True))
    for one, other in zip(ends, [*ends[1:], ends[0]], strict=True):
        if feeders > 1 or one == ends[0]:
            switch((one, other), breaker=False, closed=False)
    return assemble(switches, sections, 0.003)
