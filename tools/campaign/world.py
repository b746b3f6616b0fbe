"""A whole feeder system under virtual time: plant, agents, disks and network in one deterministic loop.

The agents are the real ones, with real frames; only time, the wire, the disk and the apparatus are simulated. The
same seed gives the same run.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr.stored import COMMISSIONED, Record, from_json, to_json
from ied_agents.process.plant import Plant, PlantSettings
from ied_agents.runtime.memory_link import Disturbance, MemoryNetwork
from ied_agents.runtime.station import Station

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.process.plant_network import PlantNetwork
    from ied_agents.runtime.settings import AgentSettings

EPOCH_NS: Final = 1_700_000_000_000_000_000
"""CLOCK_REALTIME at virtual time 0."""
PROCESS_DELAY_S: Final = 50e-6
DISK_DELAY_S: Final = (0.0001, 0.004)


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One line of what happened: virtual time in s, who, what, details."""

    t: float
    who: str
    what: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Host:
    """One agent and its disk. ``station`` is None while it is down; ``disk`` is what survives."""

    settings: AgentSettings
    link: int
    disk: dict[str, Any]
    station: Station | None = None
    life: int = 0


@dataclass(slots=True)
class World:
    """Runs stations and plant together.

    Args:
        plant_network: primary equipment.
        plant_settings: how it behaves.
        agents: settings by switch number.
        rng: source of all chance in this run.
        disturbance: how bad the network is.
        observe: called after every step with the world.
        tap: called with every frame that is sent, and its time in s.
    """

    plant_network: PlantNetwork
    plant_settings: PlantSettings
    agents: dict[int, AgentSettings]
    rng: Random
    disturbance: Disturbance
    observe: Callable[[World], None] | None = None
    tap: Callable[[float, bytes], None] | None = None
    now: float = 0.0
    story: list[StoryLine] = field(default_factory=list)
    hosts: dict[int, Host] = field(init=False)
    plant: Plant = field(init=False)
    network: MemoryNetwork = field(init=False)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.plant = Plant(self.plant_network, self.plant_settings, self.rng, 0.0, EPOCH_NS)
        self.network = MemoryNetwork(self.rng, self.disturbance)
        self.hosts = {number: Host(settings, number, to_json(COMMISSIONED)) for number, settings in self.agents.items()}
        for number in self.hosts:
            self.start(number)

    # -- agents ---------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start an agent from its disk."""
        host = self.hosts[number]
        before = from_json(host.disk)
        record = before.started(int(EPOCH_NS // 10**9 + self.now))
        host.disk = to_json(record)
        host.life += 1
        mac = bytes((2, 0, 0, 0, number >> 8, number & 0xFF))
        self.network.attach(host.link, mac, lambda: self.now)
        host.station = Station(host.settings, record, unclean=not before.clean, mac=mac, now=self.now)
        self._send_inputs(self.plant.snapshot(number, self.now))
        self.tell(host.settings.ied, "started", {"incarnation": record.incarnation})

    def crash(self, number: int) -> None:
        """End an agent at once: its memory is lost, its disk stays as it was written last."""
        host = self.hosts[number]
        host.station = None
        host.life += 1
        self.network.detach(host.link)
        self.tell(host.settings.ied, "crashed", {})

    def tell(self, who: str, what: str, detail: dict[str, Any]) -> None:
        """Add a line to the story."""
        self.story.append(StoryLine(self.now, who, what, detail))

    def at(self, t: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        heapq.heappush(self._queue, (t, next(self._order), action))

    # -- the loop -------------------------------------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Let everything run until virtual time ``until``, in s."""
        while True:
            t = self._next()
            if t > until:
                self.now = until
                return
            self.now = max(self.now, t)
            self._step()
            if self.observe is not None:
                self.observe(self)

    def _next(self) -> float:
        deadlines = [self._queue[0][0]] if self._queue else []
        others = (self.plant.next_deadline(), self.network.next_deadline)
        deadlines.extend(deadline for deadline in others if deadline is not None)
        deadlines.extend(h.station.next_deadline for h in self.hosts.values() if h.station is not None)
        return min(deadlines)

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()
        for inputs in self.plant.handle_timer(self.now):
            self._send_inputs(inputs)
        woken = set()
        for link, frame in self.network.deliver(self.now):
            station = self.hosts[link].station
            if station is not None:
                station.receive_frame(frame, self.now)
                woken.add(link)
        for number, host in self.hosts.items():
            if host.station is not None and (number in woken or host.station.next_deadline <= self.now):
                self._turn(host)

    def _turn(self, host: Host) -> None:
        station = host.station
        assert station is not None
        output = station.turn(self.now, EPOCH_NS + round(self.now * 1e9))
        for frame in output.frames:
            self.network.send(host.link, frame, self.now)
            if self.tap is not None:
                self.tap(self.now, frame)
        for command in output.commands:
            self.at(self.now + PROCESS_DELAY_S, partial(self._obey, command))
        if output.record is not None:
            self._write(host, *output.record)
        for note in output.notes:
            self.tell(host.settings.ied, note.kind, note.detail)

    def _obey(self, command: SwitchCommand) -> None:
        self.plant.command(command, self.now)

    def _write(self, host: Host, version: int, record: Record) -> None:
        life = host.life

        def written() -> None:
            if host.life == life and host.station is not None:
                host.disk = to_json(record)
                host.station.stored(version, record)
                self._turn(host)

        # Versions reach the disk in order; a faster one waits for the slower one before it.
        due = self.now + self.rng.uniform(*DISK_DELAY_S)
        self._disk_free[host.link] = due = max(due, self._disk_free.get(host.link, 0.0) + 1e-9)
        self.at(due, written)

    _disk_free: dict[int, float] = field(default_factory=dict)

    def _send_inputs(self, inputs: SwitchInputs) -> None:
        host = self.hosts[inputs.switch]
        life = host.life

        def arrived() -> None:
            if host.life == life and host.station is not None:
                host.station.receive_inputs(replace(inputs), self.now)
                self._turn(host)

        self.at(self.now + PROCESS_DELAY_S, arrived)
