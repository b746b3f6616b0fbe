"""Plays one scene and keeps the record: on real sockets with one process per agent, or in memory.

The record is made from two witnesses, neither of them an agent: the wire and the plant.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import Origin
from ied_agents.dflisr.records import LockState, SectionState
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_events import event_record
from ied_agents.runtime.memory_link import Disturbance
from scl.agent_model import LDEVICE
from tools.campaign.feeders import FeederSystem
from tools.campaign.network_truth import NetworkTruth, live_sections, served_a
from tools.campaign.service import Standing, judge_service
from tools.campaign.world import EPOCH_NS, World
from tools.demo import state as picture
from tools.demo.diagram import feeder_svg
from tools.demo.gateway_side import GatewaySide, missing
from tools.demo.render import TimelineRow
from tools.demo.stage import Stage
from tools.demo.verdict import failures
from tools.demo.wire_story import Outcome, WireReader, outcome
from tools.pcap import PcapWriter, read_capture

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.site import Site
    from ied_agents.dflisr.records import AgentState
    from tools.demo.scenes import Scene

FAULT_AFTER_S: Final = 1.0
"""Loads must be known before: heard 0.2 s ago, with no switch moved, or heard for the first time, 0.5 s before that."""
LONGEST_S: Final = 12.0
KILL_BEFORE_S: Final = 0.05
_RETURN_QUIET_S: Final = 4.0
"""A return to normal goes from switch to switch, each once its supply is measured: over when so long nothing moved."""
_WARM_UP_S: Final = 3.0
"""In memory, until every agent has heard every other and knows the loads."""


@dataclass(slots=True)
class Record:
    """What happened, for people and for machines.

    Attributes:
        scene: its name.
        title: what it is about.
        link: ``af_packet`` or ``memory``.
        agents: how many agent processes there were (1 in memory).
        outcome: by the wire.
        faulted: names of the sections that had a fault.
        fault_currents: how often fault current began to flow into each of them, by the plant.
        paralleled: how often two supplies were connected with each other, by the plant.
        missed: healthy sections that could have been served and were not.
        held: switches that are held open to split an island.
        load_a, served_before_a, served_after_a: loads.
        settled_s: from the first fault, or from the repair, to the last movement of a switch.
        before, after: pictures.
        rows: the timeline.
        frames: GOOSE frames on the wire.
        files: what was written.
        said: last words of plant and capture.
        failures: what is not as it must be.
        engineer: what became of an engineer's try to close a locked switch by MMS.
        centre: what a control centre was told by IEC 104 (``heard``), and what became of its try (``tried``).
    """

    scene: str
    title: str
    link: str
    agents: int
    outcome: Outcome
    faulted: tuple[str, ...]
    fault_currents: dict[str, int]
    paralleled: int
    missed: list[str]
    held: list[str]
    load_a: float
    served_before_a: float
    served_after_a: float
    settled_s: float
    before: picture.FeederState
    after: picture.FeederState
    rows: list[TimelineRow]
    frames: int
    files: list[str] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    engineer: dict[str, Any] = field(default_factory=dict)
    centre: dict[str, Any] = field(default_factory=dict)

    @property
    def healed(self) -> bool:
        """Right sections, right switches, nothing healthy left dark that could be served."""
        around = {s.name for s in self.after.switches if not {s.section_a, s.section_b}.isdisjoint(self.faulted)}
        locked = {s.name for s in self.after.switches if s.locked}
        return self.outcome.declared == self.faulted and locked == around and not self.missed

    def as_json(self) -> dict[str, Any]:
        """The record without pictures."""
        without = ("before", "after", "rows", "outcome")
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name not in without},
            "healed": self.healed,
            "outcome": self.outcome.as_json(),
            "timeline": [asdict(row) for row in self.rows],
        }


def play_on_wire(scene: Scene, out: Path) -> Record:
    """Play on packet sockets in network namespaces, one process per agent.

    Raises:
        LabUnavailable: this machine has no network namespaces for us.
        StageError: a process did not start.
    """
    script = scene.script
    lacking = missing() if script.engineer else ""
    with Stage(
        scene.site,
        out,
        _plant_settings(scene),
        script.seed,
        script.loss,
        script.realtime,
        with_gateway=script.engineer and not lacking,
    ) as stage:
        agents = len(stage.agents)
        at_ns = time.time_ns() + round((script.quiet_s + FAULT_AFTER_S) * 1e9)
        for fault in script.faults:
            stage.inject_fault(fault.section, at_ns + round(fault.after_s * 1e9), fault.clears_after_dead_s)
        if script.kill:
            _sleep_until(at_ns, -KILL_BEFORE_S)
            stage.kill(script.kill)
        if script.kill_plant_s:
            _sleep_until(at_ns, script.kill_plant_s)
            stage.kill_plant()
        _sleep_until(at_ns, script.faults[-1].after_s + 0.1)
        stage.settle(LONGEST_S)
        if script.returns:
            for fault in script.faults:
                stage.clear_fault(fault.section)
            for number, said in stage.statuses().items():
                if set(said["locked"]) != {LockState.NONE.name}:
                    stage.request(number, {"request": "return", "event": said["event"]})
                    break
            stage.settle(LONGEST_S, _RETURN_QUIET_S)
        engineer: dict[str, Any] = {"skipped": lacking} if lacking else {}
        centre: dict[str, Any] = {}
        if stage.gateway is not None:
            engineer, centre = _outsiders(stage, stage.gateway)
        said = stage.finish()
        packets = [(packet.time_ns, packet.data) for packet in read_capture(stage.pcap)]
        lines = (out / "plant.jsonl").read_text(encoding="utf-8").splitlines()
        plant = [json.loads(line) for line in lines]
    record = _record("af_packet", agents, scene, packets, plant, out, said)
    record.engineer, record.centre = engineer, centre
    record.failures += [
        f"{tried['ied']}: a locked switch obeyed an order to close by {how}"
        for how, tried in (("MMS", engineer), ("IEC 104", centre.get("tried", {})))
        if not tried.get("refused", True)
    ]
    if centre:
        record.failures += _not_told(scene.site, plant, centre["heard"])
        centre["heard"] = _since_the_fault(plant, centre["heard"])
    return record


def _outsiders(stage: Stage, gateway: GatewaySide) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the control centre was told; then an engineer and it try to close a locked switch, preferably a breaker."""
    gateway.catch_up(stage.statuses())
    heard = [message for message in gateway.heard() if message["cause"] == "SPONTANEOUS"]
    breakers = {number for number, agent in stage.site.agents.items() if agent.config.feeder.by_number[number].breaker}
    locked = [n for n, said in stage.statuses().items() if set(said["locked"]) != {LockState.NONE.name}]
    if not locked:
        return {}, {"heard": heard}
    number = min(locked, key=lambda n: n not in breakers)
    engineer = gateway.close_by_engineer(number)
    stage.request(number, {"request": "authority", "authority": "remote"})
    return engineer, {"heard": heard, "tried": gateway.close_from_centre(number)}


def _since_the_fault(plant: list[dict[str, Any]], heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a control centre was told of the time since the fault, with that time and how much later it came, in ms."""
    fault_ns = next(event["stamp_ns"] for event in plant if event["kind"] == "FaultAppeared")
    told = []
    for message in heard:
        at_ns, came_ns = message.pop("at_ns"), message.pop("came_ns")
        # Times of IEC 104 are whole milliseconds.
        if at_ns is not None and at_ns >= fault_ns - 1_000_000:
            later_ms = round((came_ns - at_ns) / 1e6, 1)
            told.append({"t_ms": round((at_ns - fault_ns) / 1e6), **message, "later_ms": later_ms})
    return sorted(told, key=lambda each: float(each["t_ms"]))


def _not_told(site: Site, plant: list[dict[str, Any]], heard: list[dict[str, Any]]) -> list[str]:
    """Switches that ended otherwise than they began, and of which the control centre was told something else."""
    began = {s.number: s.closed for s in site.plant().switches}
    end, _, _ = _end(plant, frozenset(n for n, closed in began.items() if closed))
    told = {message["name"].split("/")[0]: message["value"] for message in heard if message["name"].endswith(".Pos")}
    found = []
    for number, agent in site.agents.items():
        position = Dbpos.ON if number in end else Dbpos.OFF
        if (number in end) != began[number] and told.get(f"{agent.ied}{LDEVICE}") != position:
            found.append(f"{agent.ied}: the control centre was not told that it is {position.name}")
    return found


def _sleep_until(at_ns: int, after_s: float) -> None:
    time.sleep(max(0.0, (at_ns - time.time_ns()) / 1e9 + after_s))


def play_in_memory(scene: Scene, out: Path) -> Record:
    """Play in this process under virtual time, with the same agents and frames; without relays."""
    out.mkdir(parents=True, exist_ok=True)
    script = scene.script
    packets: list[tuple[int, bytes]] = []
    world = World(
        scene.site.plant(),
        _plant_settings(scene),
        scene.site.agents,
        random.Random(script.seed),
        Disturbance(loss=script.loss, min_delay_s=0.0001, max_delay_s=0.0005),
        tap=lambda t, frame: packets.append((EPOCH_NS + round(t * 1e9), frame)),
    )
    world.run(_WARM_UP_S + script.quiet_s)
    if script.kill:
        world.crash(script.kill)
        world.run(world.now + KILL_BEFORE_S)
    for fault in script.faults:
        world.run(_WARM_UP_S + script.quiet_s + KILL_BEFORE_S + fault.after_s)
        world.plant.inject_fault(fault.section, world.now, clears_after_dead_s=fault.clears_after_dead_s)
    world.run(world.now + LONGEST_S / 2)
    if script.returns:
        for fault in script.faults:
            world.plant.clear_fault(fault.section, world.now)
        locks = ((n, side) for n, state in world.states().items() for side in state.sides)
        for number, event in [(n, side.lock_event) for n, side in locks if side.lock is not LockState.NONE][:1]:
            world.ask(number, lambda agent: agent.request_return(event, Origin.STATION))  # noqa: B023 - called at once
        world.run(world.now + LONGEST_S / 2)
    world.plant.events()
    plant = [event_record(event) for event in world.plant.told]
    with (out / "goose.pcap").open("wb") as file:
        writer = PcapWriter(file)
        for t_ns, frame in packets:
            writer.write(t_ns, frame)
    return _record("memory", 1, scene, packets, plant, out, {})


def _plant_settings(scene: Scene) -> PlantSettings:
    return PlantSettings(pickup_spread_s=scene.script.spread_s, fail_to_open=scene.script.stuck)


def _record(
    link: str,
    agents: int,
    scene: Scene,
    packets: list[tuple[int, bytes]],
    plant: list[dict[str, Any]],
    out: Path,
    said: dict[str, Any],
) -> Record:
    site, script = scene.site, scene.script
    fault_ns = next(e["stamp_ns"] for e in plant if e["kind"] == "FaultAppeared")
    pickups: dict[int, int] = {}
    for event in plant:
        if event["kind"] == "PickedUp":
            pickups.setdefault(event["switch"], event["stamp_ns"])
    reader = WireReader(site)
    network = site.plant()
    start = frozenset(s.number for s in network.switches if s.closed)
    end, faults, moved_ns = _end(plant, start)
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
    result = outcome(site, [s for s in states if s[0] >= fault_ns], pickups)
    sections = [section.name for section in site.network.sections]
    currents = Counter(sections[event["section"]] for event in plant if event["kind"] == "FaultCurrentStarted")
    began_ns = max(
        (e["stamp_ns"] for e in plant if script.returns and e["kind"] == "FaultCleared"),
        default=fault_ns,
    )
    record = Record(
        scene=scene.name,
        title=scene.title,
        link=link,
        agents=agents,
        outcome=result,
        faulted=tuple(sorted(sections[fault.section] for fault in script.faults)),
        fault_currents=dict(currents),
        paralleled=sum(event["kind"] in ("SourcesParalleled", "IslandParalleled") for event in plant),
        missed=_missed(site, end, faults, result.held),
        held=[names[number] for number in result.held],
        load_a=sum(s.load_a for s in network.sections),
        served_before_a=served_a(network, start),
        served_after_a=served_a(network, end),
        settled_s=(max(moved_ns, began_ns) - began_ns) / 1e9,
        before=_picture(site, start, {}, 0, set()),
        after=_picture(site, end, last, script.kill, faults),
        rows=rows,
        frames=reader.frames,
        said=said,
    )
    record.failures = failures(record, scene.expected)
    _write(record, out)
    return record


def _end(plant: list[dict[str, Any]], start: frozenset[int]) -> tuple[set[int], set[int], int]:
    """Switches that conduct in the end, sections that are still faulted, and when a switch moved last, ns."""
    conducting, faults, moved_ns = set(start), set[int](), 0
    for event in plant:
        match event["kind"]:
            case "PositionChanged":
                (conducting.add if event["position"] == Dbpos.ON else conducting.discard)(event["switch"])
                moved_ns = event["stamp_ns"]
            case "FaultAppeared":
                faults.add(event["section"])
            case "FaultCleared":
                faults.discard(event["section"])
    return conducting, faults, moved_ns


def _missed(site: Site, conducting: set[int], faults: set[int], held: tuple[int, ...]) -> list[str]:
    """What is dark and healthy and could be served as the network stands."""
    network = site.plant()
    truth = NetworkTruth(network)
    around = frozenset(number for section in faults for number, _, _ in truth.at[section])
    end = Standing(
        conducting=frozenset(conducting),
        live_sources=truth.sources,
        generation_a={},
        closed_before=frozenset(switch.number for switch in network.switches if switch.closed),
        flow_before_a={},
        restoring={},
        split=frozenset(),
        locked=around,
        not_closable=around.union(held),
        out=frozenset(faults),
    )
    feeder = next(iter(site.agents.values())).config.feeder
    service = judge_service(FeederSystem(network, feeder, site.agents), truth, end)
    return [str(island) for island in service.missed]


def _plant_rows(site: Site, plant: list[dict[str, Any]], fault_ns: int) -> list[tuple[float, str, str, str]]:
    sections = [section.name for section in site.network.sections]
    texts = {
        "FaultAppeared": "fault appears",
        "FaultCurrentStarted": "fault current flows",
        "FaultCurrentStopped": "fault current stops",
        "FaultCleared": "fault is gone",
        "SectionDeenergised": "section dead",
        "SectionEnergised": "section energised",
        "SourcesParalleled": "supplies connected",
    }
    rows = []
    for event in plant:
        at_ms = (event["stamp_ns"] - fault_ns) / 1e6
        if at_ms < 0:
            continue
        if event["kind"] in texts:
            section = sections[event["section"]] if "section" in event else ""
            rows.append((at_ms, "plant", texts[event["kind"]], section))
        elif event["kind"] == "CommandNotObeyed" and event["reason"] == "stuck":
            name = site.network.switch(event["switch"]).name
            rows.append((at_ms, "plant", "switch is stuck", f"{name} does not {event['operation']}"))
    return rows


def _picture(
    site: Site,
    closed: set[int] | frozenset[int],
    states: dict[int, AgentState],
    dead: int,
    faults: set[int],
) -> picture.FeederState:
    network = site.plant()
    live = live_sections(network, closed)
    faulted = faults | {
        index
        for number, state in states.items()
        for index, side in zip(site.network.switch(number).sections, state.sides, strict=True)
        if side.section is SectionState.FAULTED
    }
    return picture.FeederState(
        sections=tuple(
            picture.SectionState(
                name=s.name,
                energised=s.index in live,
                faulted=s.index in faulted,
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
        ("after.svg", record.after, f"After a fault in {' and '.join(record.faulted)}"),
    ):
        (out / name).write_text(feeder_svg(state, title), encoding="utf-8")
    record.files = [str(out / name) for name in ("goose.pcap", "before.svg", "after.svg", "record.json")]
    (out / "record.json").write_text(json.dumps(record.as_json(), indent=1), encoding="utf-8")
