"""Plays one fault on a site and keeps the record: on real sockets with one process per agent, or in memory.

The record is made from two witnesses, neither of them an agent: the wire and the plant.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ied_agents.dflisr.records import LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_events import event_record
from ied_agents.runtime.memory_link import Disturbance
from ied_agents.runtime.realtime import RealTimeHelp
from tools.campaign.judge import live_sections, served_a, unserved
from tools.campaign.world import EPOCH_NS, World
from tools.demo import state as picture
from tools.demo.diagram import feeder_svg
from tools.demo.render import TimelineRow
from tools.demo.stage import Stage
from tools.demo.wire_story import Outcome, WireReader, outcome
from tools.pcap import PcapWriter, read_capture

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.site import Site
    from ied_agents.dflisr.records import AgentState

FAULT_AFTER_S: Final = 0.3
LONGEST_S: Final = 12.0
KILL_BEFORE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Script:
    """What is played.

    Attributes:
        section: index of the section that gets a permanent fault.
        seed: of the pickup delays, and in memory of everything.
        kill: switch whose agent is killed just before the fault; 0 for none.
        kill_plant_s: kill the plant this long after the fault, s; 0 for never.
        loss: share of frames lost on arrival.
        spread_s: pickups come within this, s.
        realtime: what the agents ask of the kernel.
    """

    section: int
    seed: int = 1
    kill: int = 0
    kill_plant_s: float = 0.0
    loss: float = 0.0
    spread_s: float = 0.003
    realtime: RealTimeHelp = field(default_factory=RealTimeHelp)


@dataclass(slots=True)
class Record:
    """What happened, for people and for machines.

    Attributes:
        link: ``af_packet`` or ``memory``.
        agents: how many agent processes there were (1 in memory).
        outcome: by the wire.
        faulted: name of the section that had the fault.
        missed: healthy sections that could have been served and were not.
        load_a, served_before_a, served_after_a: loads.
        before, after: pictures.
        rows: the timeline.
        frames: GOOSE frames on the wire.
        files: what was written.
        said: last words of plant and capture.
    """

    link: str
    agents: int
    outcome: Outcome
    faulted: str
    missed: list[str]
    load_a: float
    served_before_a: float
    served_after_a: float
    before: picture.FeederState
    after: picture.FeederState
    rows: list[TimelineRow]
    frames: int
    files: list[str] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def healed(self) -> bool:
        """Right section, right switches, nothing healthy left dark that could be served."""
        around = {s.name for s in self.after.switches if self.faulted in (s.section_a, s.section_b)}
        locked = {s.name for s in self.after.switches if s.locked}
        return self.outcome.declared == (self.faulted,) and locked == around and not self.missed

    def as_json(self) -> dict[str, Any]:
        """The record without pictures."""
        return {
            "link": self.link,
            "agents": self.agents,
            "faulted": self.faulted,
            "healed": self.healed,
            "outcome": self.outcome.as_json(),
            "missed": self.missed,
            "load_a": self.load_a,
            "served_before_a": self.served_before_a,
            "served_after_a": self.served_after_a,
            "frames": self.frames,
            "timeline": [asdict(row) for row in self.rows],
            "files": self.files,
            "said": self.said,
        }


def play_on_wire(site: Site, script: Script, out: Path) -> Record:
    """Play on packet sockets in network namespaces, one process per agent.

    Raises:
        LabUnavailable: this machine has no network namespaces for us.
        StageError: a process did not start.
    """
    plant_settings = PlantSettings(pickup_spread_s=script.spread_s)
    with Stage(site, out, plant_settings, script.seed, script.loss, script.realtime) as stage:
        agents = len(stage.agents)
        at_ns = time.time_ns() + round(FAULT_AFTER_S * 1e9)
        stage.inject_fault(script.section, at_ns)
        if script.kill:
            time.sleep(FAULT_AFTER_S - KILL_BEFORE_S)
            stage.kill(script.kill)
        if script.kill_plant_s:
            time.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9 + script.kill_plant_s))
            stage.kill_plant()
        time.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9 + 0.1))
        stage.settle(LONGEST_S)
        said = stage.finish()
        packets = [(packet.time_ns, packet.data) for packet in read_capture(stage.pcap)]
        lines = (out / "plant.jsonl").read_text(encoding="utf-8").splitlines()
        plant = [json.loads(line) for line in lines]
    return _record("af_packet", agents, site, script, packets, plant, out, said)


def play_in_memory(site: Site, script: Script, out: Path) -> Record:
    """Play in this process under virtual time, with the same agents and frames."""
    out.mkdir(parents=True, exist_ok=True)
    packets: list[tuple[int, bytes]] = []
    world = World(
        site.plant(),
        PlantSettings(pickup_spread_s=script.spread_s),
        site.agents,
        random.Random(script.seed),
        Disturbance(loss=script.loss, min_delay_s=0.0001, max_delay_s=0.0005),
        tap=lambda t, frame: packets.append((EPOCH_NS + round(t * 1e9), frame)),
    )
    world.run(3.0)
    if script.kill:
        world.crash(script.kill)
        world.run(world.now + KILL_BEFORE_S)
    world.plant.inject_fault(script.section, world.now)
    world.run(world.now + LONGEST_S / 2)
    plant = [event_record(event) for event in world.plant.events()]
    with (out / "goose.pcap").open("wb") as file:
        writer = PcapWriter(file)
        for t_ns, frame in packets:
            writer.write(t_ns, frame)
    return _record("memory", 1, site, script, packets, plant, out, {})


def _record(
    link: str,
    agents: int,
    site: Site,
    script: Script,
    packets: list[tuple[int, bytes]],
    plant: list[dict[str, Any]],
    out: Path,
    said: dict[str, Any],
) -> Record:
    fault_ns = next(e["stamp_ns"] for e in plant if e["kind"] == "FaultAppeared")
    pickups: dict[int, int] = {}
    for event in plant:
        if event["kind"] == "PickedUp":
            pickups.setdefault(event["switch"], event["stamp_ns"])
    reader = WireReader(site)
    network = site.plant()
    ratings = {s.number: site.settings.switch[s.path].rating_a for s in site.network.switches}
    start = frozenset(s.number for s in network.switches if s.closed)
    end = set(start)
    for event in plant:
        if event["kind"] == "PositionChanged":
            (end.add if event["position"] == Dbpos.ON else end.discard)(event["switch"])
    states = list(WireReader(site).states(packets))
    last: dict[int, AgentState] = {switch: state for _, switch, state in states}
    names = {s.number: s.name for s in site.network.switches}
    rows = [
        TimelineRow((step.t_ns - fault_ns) / 1e6, names[step.switch], step.what, step.detail)
        for step in reader.steps(packets)
        if step.t_ns >= fault_ns
    ]
    rows += [TimelineRow(*row) for row in _plant_rows(site, plant, fault_ns)]
    if script.kill:
        rows.append(TimelineRow(-1000 * KILL_BEFORE_S, names[script.kill], "agent killed", "by the demo"))
    rows.sort(key=lambda row: row.t_ms)
    record = Record(
        link=link,
        agents=agents,
        outcome=outcome(site, [s for s in states if s[0] >= fault_ns], pickups),
        faulted=site.network.sections[script.section].name,
        missed=[str(island) for island in unserved(network, ratings, end, {script.section})],
        load_a=sum(s.load_a for s in network.sections),
        served_before_a=served_a(network, start),
        served_after_a=served_a(network, end),
        before=_picture(site, start, {}, 0, None),
        after=_picture(site, end, last, script.kill, script.section),
        rows=rows,
        frames=reader.frames,
        said=said,
    )
    _write(record, out)
    return record


def _plant_rows(site: Site, plant: list[dict[str, Any]], fault_ns: int) -> list[tuple[float, str, str, str]]:
    sections = [section.name for section in site.network.sections]
    texts = {
        "FaultAppeared": "fault appears",
        "FaultCurrentStopped": "fault current stops",
        "SectionDeenergised": "section dead",
        "SectionEnergised": "section energised",
    }
    return [
        ((event["stamp_ns"] - fault_ns) / 1e6, "plant", texts[event["kind"]], sections[event["section"]])
        for event in plant
        if event["kind"] in texts and event["stamp_ns"] >= fault_ns
    ]


def _picture(
    site: Site,
    closed: set[int] | frozenset[int],
    states: dict[int, AgentState],
    dead: int,
    fault: int | None,
) -> picture.FeederState:
    network = site.plant()
    live = live_sections(network, closed)
    faulted = {
        site.network.sections[index].name
        for number, state in states.items()
        for index, side in zip(site.network.switch(number).sections, state.sides, strict=True)
        if side.section is SectionState.FAULTED
    }
    if fault is not None:
        faulted.add(site.network.sections[fault].name)
    return picture.FeederState(
        sections=tuple(
            picture.SectionState(
                name=s.name,
                energised=s.index in live,
                faulted=s.name in faulted,
                source=s.is_source,
                load_a=s.load_a,
            )
            for s in network.sections
        ),
        switches=tuple(
            picture.SwitchState(
                name=s.name,
                kind=s.kind,
                section_a=network.sections[s.sides[0]].name,
                section_b=network.sections[s.sides[1]].name,
                position="closed" if s.number in closed else "open",
                tie=not s.closed,
                locked=s.number in states and any(side.lock is not LockState.NONE for side in states[s.number].sides),
                agent_alive=s.number != dead,
            )
            for s in network.switches
        ),
    )


def _write(record: Record, out: Path) -> None:
    for name, state, title in (
        ("before.svg", record.before, "Before the fault"),
        ("after.svg", record.after, f"After a fault in {record.faulted}"),
    ):
        (out / name).write_text(feeder_svg(state, title), encoding="utf-8")
    record.files = [str(out / name) for name in ("goose.pcap", "before.svg", "after.svg", "record.json")]
    (out / "record.json").write_text(json.dumps(record.as_json(), indent=1), encoding="utf-8")
