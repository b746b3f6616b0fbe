"""A whole feeder system under virtual time: plant, agents, disks and network in one deterministic loop.

The agents are the real ones; only time, the wire, the disk and the apparatus are simulated. Agents are woken as their
processes are: at once by their inputs, their disk and the fast streams of the switches next to them, and now and then
by everything else (``ied_agents.runtime.agent_process``). The same seed gives the same run.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ied_agents.dflisr.records import Stage
from ied_agents.dflisr.stored import COMMISSIONED, Record, from_json, to_json
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import Plant, PlantSettings
from ied_agents.runtime.agent_process import LOOK_ALERT_S, LOOK_QUIET_S
from ied_agents.runtime.memory_link import REPLAYABLE, Disturbance, MemoryNetwork
from ied_agents.runtime.station import Station
from tools.campaign.light_station import LightFrame, LightOutput, LightStation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.feeder import Feeder
    from ied_agents.dflisr.records import AgentState
    from ied_agents.goose.subscriber import StreamCounters
    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.process.plant_events import PlantEvent
    from ied_agents.process.plant_network import PlantNetwork
    from ied_agents.runtime.memory_link import Delivery
    from ied_agents.runtime.settings import AgentSettings
    from ied_agents.runtime.station import Output

EPOCH_NS: Final = 1_700_000_000_000_000_000
"""CLOCK_REALTIME at virtual time 0."""
PROCESS_DELAY_S: Final = 50e-6
DISK_S: Final = (0.0001, 0.004)
"""A record takes between these times to be durable."""
_NEVER: Final = math.inf


class CrashPoint(IntEnum):
    """Where in the work of one turn an agent ends: each step has been done, the next one has not."""

    DECIDED = 0
    SENT = 1
    ORDERED = 2
    WRITTEN = 3


class StoryLine(NamedTuple):
    """One line of what happened: virtual time in s, who, what, details."""

    t: float
    who: str
    what: str
    detail: dict[str, Any]


class ToldPlant(Plant):
    """A plant whose events can be told again after somebody has drained them.

    Attributes:
        told: all of them so far.
    """

    def __init__(self, network: PlantNetwork, settings: PlantSettings, rng: Random) -> None:
        super().__init__(network, settings, rng, 0.0, EPOCH_NS)
        self.told: list[PlantEvent] = []

    def events(self) -> list[PlantEvent]:
        """What happened since the last call."""
        events = super().events()
        self.told += events
        return events


@dataclass(slots=True)
class Host:
    """One agent and its disk.

    Attributes:
        settings: of the agent.
        number: its switch.
        disk: what survives.
        near: switches whose fast streams wake it at once.
        phase_s: when in the interval between two looks it looks.
        station: None while the agent is down.
        clock_s: how far its wall clock is off.
        life: counts starts and crashes: what was meant for a process before this one is void.
        timer_at: when the station's timer is due.
        look_at: when it reads next what does not wake it.
        look_s: how often it looks.
        inputs: snapshots on their way, with the times when they arrive.
        unwritten: records handed to the disk, oldest first.
        writing: the one that is being written.
        asked: whom to tell when which version is on disk.
        doomed: where it ends in the next turn that has something to write; None for not at all.
        down_s: how long it stays down then.
        spent: counters of its streams before the last crash.
    """

    settings: AgentSettings
    number: int
    disk: Record
    near: frozenset[int]
    phase_s: float
    station: Station | LightStation | None = None
    clock_s: float = 0.0
    life: int = 0
    timer_at: float = _NEVER
    look_at: float = -_NEVER
    look_s: float = LOOK_QUIET_S
    inputs: list[tuple[float, SwitchInputs]] = field(default_factory=list)
    unwritten: list[tuple[int, Record]] = field(default_factory=list)
    writing: tuple[int, Record] | None = None
    asked: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    doomed: CrashPoint | None = None
    down_s: float = 1.0
    spent: list[StreamCounters] = field(default_factory=list)

    @property
    def counters(self) -> list[StreamCounters]:
        """Of all streams it has subscribed to, in all its lives."""
        if self.station is None:
            return self.spent
        if isinstance(self.station, Station):
            return [*self.spent, *(s.counters for s in self.station.receiver.subscribers.values())]
        return [*self.spent, *self.station.counters]


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
        real_frames: whether frames are octets, as on the wire, or the states themselves.
        disk_s: shortest and longest time that a record takes to be durable.

    Attributes:
        now: virtual time, s.
        story: what the agents noted.
        hosts: agents by switch number.
        acted: the agent whose step it was; 0 for the plant and everybody else.
        changed_at: when something happened last: to the plant, or to what an agent says in its fast data set, s.
        occurred_at: when somebody other than an agent did something last, s.
        heard: called with each new line of the story, and the number of its switch, 0 for none.
        telling: whether the story has every change of what an agent says, too.
    """

    plant_network: PlantNetwork
    plant_settings: PlantSettings
    agents: dict[int, AgentSettings]
    rng: Random
    disturbance: Disturbance
    observe: Callable[[World], None] | None = None
    tap: Callable[[float, Any], None] | None = None
    real_frames: bool = True
    disk_s: tuple[float, float] = DISK_S
    heard: Callable[[StoryLine, int], None] | None = None
    telling: bool = False
    now: float = 0.0
    story: list[StoryLine] = field(default_factory=list)
    acted: int = 0
    changed_at: float = 0.0
    occurred_at: float = 0.0
    hosts: dict[int, Host] = field(init=False)
    plant: ToldPlant = field(init=False)
    network: MemoryNetwork[Any] = field(init=False)
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _plant_at: float = _NEVER

    def __post_init__(self) -> None:
        self.plant = self.build_plant()
        self.network = MemoryNetwork(self.rng, self.disturbance)
        self.hosts = {}
        for number, settings in self.agents.items():
            feeder = settings.config.feeder
            near = {b.switch for section in feeder.by_number[number].sides for b in feeder.around[section]}
            phase_s = self.rng.uniform(0.0, LOOK_QUIET_S)
            # Each hears the plant itself, whatever relays it has.
            self.hosts[number] = Host(replace(settings, relay=None), number, COMMISSIONED, frozenset(near), phase_s)
        for number in self.hosts:
            self.start(number)

    def build_plant(self) -> ToldPlant:
        """The plant as it is at virtual time 0."""
        return ToldPlant(self.plant_network, self.plant_settings, self.rng)

    # -- agents ---------------------------------------------------------------------------------------------------

    def start(self, number: int) -> None:
        """Start an agent from its disk. Harmless while it runs."""
        host = self.hosts[number]
        if host.station is not None:
            return
        before = from_json(to_json(host.disk))
        host.disk = record = before.started(int(EPOCH_NS // 10**9 + self.now + host.clock_s))
        mac = bytes((2, 0, 0, 0, number >> 8, number & 0xFF))
        self.network.attach(number, mac, lambda: self.now, host.settings.peers)
        if self.real_frames:
            host.station = Station(host.settings, record, unclean=not before.clean, mac=mac, now=self.now)
        else:
            host.station = LightStation(host.settings, record, unclean=not before.clean, now=self.now)
        self.tell(host.settings.ied, "started", {"incarnation": record.incarnation}, number)
        # Its process may also be heard only with the next repetition, long after its peers.
        if not self.now or self.rng.random() < 0.5:
            self._send_inputs(self.plant.snapshot(number, self.now))

    def crash(self, number: int) -> None:
        """End an agent at once: its memory is lost, its disk stays as it was written last. Harmless while it is down.

        A record that is just being written may have reached the disk or not.
        """
        host = self.hosts[number]
        if host.station is None:
            return
        if host.writing is not None and self.rng.random() < 0.5:
            host.disk = host.writing[1]
        host.spent = host.counters
        self.acted = number
        host.station = None
        host.life += 1
        host.timer_at = _NEVER
        host.inputs.clear()
        host.unwritten.clear()
        host.asked.clear()
        host.writing = host.doomed = None
        self.network.detach(number)
        self.tell(host.settings.ied, "crashed", {}, number)

    def ask(
        self, number: int, request: Callable[[Agent], object], acknowledged: Callable[[], None] | None = None
    ) -> None:
        """Let a person ask something of an agent, if it runs.

        Args:
            number: its switch.
            request: the call.
            acknowledged: called once the effect is on disk; never if the agent ends before.
        """
        host = self.hosts[number]
        if host.station is None:
            return
        request(host.station.agent)
        host.station.touch()
        self._pump(host)
        if acknowledged is not None and host.unwritten:
            host.asked.append((host.unwritten[-1][0], acknowledged))
        elif acknowledged is not None:
            acknowledged()

    def doom(self, number: int, point: CrashPoint, down_s: float) -> None:
        """Let an agent end within its next turn that has something to write, and come back ``down_s`` later."""
        self.hosts[number].doomed, self.hosts[number].down_s = point, down_s

    def tell(self, who: str, what: str, detail: dict[str, Any], number: int = 0) -> None:
        """Add a line to the story."""
        line = StoryLine(self.now, who, what, detail)
        self.story.append(line)
        if self.heard is not None:
            self.heard(line, number)

    def inject(self, number: int, frame: bytes | LightFrame) -> None:
        """Let an agent hear a frame that nobody here has sent."""
        _, due = self.network.inject(number, frame, self.now)
        self._look(self.hosts[number], due)

    def replay(self, frames: int) -> None:
        """Let so many old frames be heard again, the oldest still kept first."""
        oldest = min(self.network.sent, REPLAYABLE) - 1
        for age in range(oldest, max(oldest - frames, -1), -1):
            for number, due in self.network.replay(self.now, age):
                self._look(self.hosts[number], due)

    def at(self, t: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time."""
        heapq.heappush(self._queue, (t, next(self._order), action))

    def states(self) -> dict[int, AgentState]:
        """What each running agent says now."""
        return {n: h.station.agent.situation.own for n, h in self.hosts.items() if h.station is not None}

    @property
    def feeder(self) -> Feeder:
        """The network as the agents know it."""
        return next(iter(self.agents.values())).config.feeder

    @property
    def busy(self) -> bool:
        """Whether an agent is isolating, restoring or returning to normal, or waits for its disk."""
        switches = self.feeder.by_number
        return any(host.unwritten for host in self.hosts.values()) or any(
            state.close_outstanding
            or (state.returning.counter and state.position is Dbpos.OFF and switches[number].normally_closed)
            or state.progress.stage in (Stage.LOCATING, Stage.ISOLATING, Stage.RESTORING)
            for number, state in self.states().items()
        )

    # -- the loop -------------------------------------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Let everything run until virtual time ``until``, in s."""
        self._follow_plant()
        queue = self._queue
        while queue and queue[0][0] <= until:
            t, _, action = heapq.heappop(queue)
            self.now = max(self.now, t)
            self.acted = 0
            action()
            self._follow_plant()
            if self.observe is not None:
                self.observe(self)
        self.now = until

    def pass_over(self, until: float, said: Iterable[SwitchInputs]) -> None:
        """Let time go by in which nothing happens, without its steps; for light stations.

        Args:
            until: virtual time, s.
            said: what the process of every switch says then; agents take it before they look at the time.
        """
        passed_s, self.now = until - self.now, until
        for host in self.hosts.values():
            if isinstance(host.station, LightStation):
                host.station.pass_over(passed_s)
        for inputs in said:
            host = self.hosts[inputs.switch]
            if host.station is not None:
                host.inputs.append((until, inputs))
                self._pump(host)

    def _follow_plant(self) -> None:
        """Hand out what the plant shows, and come back when it has more to do."""
        due = self.plant.next_deadline()
        if due is not None and due <= self.now:
            for inputs in self.plant.handle_timer(self.now):
                self._send_inputs(inputs)
            due = self.plant.next_deadline()
        if due is not None and due != self._plant_at:
            self._plant_at = due
            self.at(due, _nothing)

    def _send_inputs(self, inputs: SwitchInputs) -> None:
        host = self.hosts[inputs.switch]
        if host.station is None:
            return
        due = self.now + PROCESS_DELAY_S
        host.inputs.append((due, inputs))
        self.at(due, partial(self._pump_if_alive, host, host.life))

    def _pump_if_alive(self, host: Host, life: int) -> None:
        if host.life == life:
            self._pump(host)

    def _pump_on_time(self, host: Host, at: float) -> None:
        if host.timer_at == at:
            self._pump(host)

    def _pump_for_frames(self, host: Host, life: int) -> None:
        if host.life == life:
            due = self.network.waiting_for(host.number)
            if due is not None and due <= self.now:
                self._pump(host)

    def _pump(self, host: Host) -> None:
        """Fetch all that is there, decide once, send."""
        station = host.station
        assert station is not None
        now = self.now
        for frame in self.network.fetch(host.number, now):
            station.receive_frame(frame, now)
        while host.inputs and host.inputs[0][0] <= now:
            station.receive_inputs(host.inputs.pop(0)[1], now)
        if isinstance(station, LightStation) and station.idle(now):
            self._look_for_more(host)
            return
        self.acted = host.number
        before = station.agent.situation.own
        if isinstance(station, Station):
            output: Output | LightOutput = station.turn(now, EPOCH_NS + round((now + host.clock_s) * 1e9))
        else:
            output = station.turn(now)
        after = station.agent.situation.own
        if after is not before and after != before:
            self.changed_at = now
            if self.telling:
                self.tell(host.settings.ied, "says", _difference(before, after))
        self._carry_out(host, output)
        if host.station is station:
            self._arm(host, station)

    def _arm(self, host: Host, station: Station | LightStation) -> None:
        if station.next_deadline != host.timer_at:
            host.timer_at = max(station.next_deadline, self.now)
            if host.timer_at < _NEVER:
                self.at(host.timer_at, partial(self._pump_on_time, host, host.timer_at))
        host.look_s = LOOK_ALERT_S if station.agent.alert(self.now) else LOOK_QUIET_S
        self._look_for_more(host)

    def _look_for_more(self, host: Host) -> None:
        waiting = self.network.waiting_for(host.number)
        if waiting is not None:
            self._look(host, waiting)

    def _look(self, host: Host, due: float) -> None:
        """Let an agent look for what arrives at ``due`` without waking it."""
        looks = math.ceil((max(due, self.now) - host.phase_s) / host.look_s)
        at = max(due, host.phase_s + looks * host.look_s)
        if not due <= host.look_at <= at:
            host.look_at = at
            self.at(at, partial(self._pump_for_frames, host, host.life))

    def _carry_out(self, host: Host, output: Output | LightOutput) -> None:
        """Do what a turn decided, in the order of the process: frames, orders, record, notes."""
        doomed = host.doomed if output.record is not None else None
        if doomed is not CrashPoint.DECIDED:
            for frame in output.frames:
                self._convey(host.number, frame, self.network.send(host.number, frame, self.now))
            if doomed is not CrashPoint.SENT:
                for command in output.commands:
                    self.at(self.now + PROCESS_DELAY_S, partial(self._obey, command))
        for note in output.notes:
            self.tell(host.settings.ied, note.kind, note.detail, host.number)
        if doomed is not None and doomed is not CrashPoint.WRITTEN:
            self._end(host)
        elif output.record is not None:
            host.unwritten.append(output.record)
            if host.writing is None:
                self._write(host)

    def _convey(self, sender: int, frame: bytes | LightFrame, deliveries: Sequence[Delivery]) -> None:
        if self.tap is not None:
            self.tap(self.now, frame)
        fast = frame.fast if isinstance(frame, LightFrame) else self._is_fast(sender, frame)
        for number, due in deliveries:
            host = self.hosts[number]
            if fast and sender in host.near:
                self.at(due, partial(self._pump_for_frames, host, host.life))
            else:
                self._look(host, due)

    def _is_fast(self, sender: int, frame: bytes) -> bool:
        return frame[:6].hex() == self.agents[sender].own.fast.mac

    def _obey(self, command: SwitchCommand) -> None:
        self.changed_at = self.now
        self.plant.command(command, self.now)

    def _end(self, host: Host) -> None:
        down_s = host.down_s
        self.crash(host.number)
        self.at(self.now + down_s, partial(self.start, host.number))

    # -- disk -----------------------------------------------------------------------------------------------------

    def _write(self, host: Host) -> None:
        """Write the newest record; it covers those before it, as the durable writer has it."""
        host.writing = host.unwritten[-1]
        self.at(self.now + self.rng.uniform(*self.disk_s), partial(self._written, host, host.life))

    def _written(self, host: Host, life: int) -> None:
        if host.life != life or host.writing is None:
            return
        newest, record = host.writing
        host.disk = record
        host.writing = None
        if host.doomed is CrashPoint.WRITTEN:
            self._end(host)
            return
        while host.asked and host.asked[0][0] <= newest:
            host.asked.pop(0)[1]()
        covered = [item for item in host.unwritten if item[0] <= newest]
        del host.unwritten[: len(covered)]
        for version, written in covered:
            if host.station is not None:
                host.station.stored(version, written)
                self._pump(host)
        if host.unwritten and host.writing is None and host.station is not None:
            self._write(host)


def _difference(before: AgentState, after: AgentState) -> dict[str, Any]:
    """What of a state changed."""
    return {name: getattr(after, name) for name in after._fields if getattr(after, name) != getattr(before, name)}


def _nothing() -> None:
    """The plant is looked after behind every step."""
