"""Agents that the gateway runs, at c104's control centre: they move, refuse, are killed, outlive a killed gateway.

And at an MQTT broker: what moves is told there, and what must not be closed is not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import scl
from gateway.historian.reader import HistoryReader, Query
from gateway.points.words import time_text
from gateway.site import read_site
from ied_agents.control.decision import Authority
from ied_agents.dflisr.records import EventId, SectionState
from ied_agents.dflisr.stored import COMMISSIONED, StoredSide, to_json
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_settings import PlantProcessSettings
from ied_agents.runtime.durable import DurableFile, holder
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.operator_client import ask
from tools.loss.mosquitto import Mosquitto, missing
from tools.loss.mqtt_subscriber import Subscriber
from tools.status_command import ask_gateway

SAMPLES = Path(scl.__file__).parent / "samples"
C104 = Path(__file__).parents[1] / "helpers" / "c104_process.py"
PATIENCE_S = 30.0
MOVED, FREE = 11, "F1R3"
BLOCKED, LOCKED = 12, "F1L4"
LOCK, HEALTH, FAULTED = 13, 14, 15
OPERATE, OPERATE_LOCKED = 111, 112
OFF, ON = 1, 2
OLD = 0x40
"""NT, not topical."""
SITE = """
[history]
where = "h.db"

[agents]
root = "a"
mms = "127.0.0.1:{mms}"

[[agent]]
ied = "F1R3"
interfaces = ["ag1"]
process = "plant"

[[agent]]
ied = "F1L4"
interfaces = ["ag2"]
process = "plant"

[[centre]]
name = "scada"
listen = "127.0.0.1"
port = {port}
common_address = 1
points = {{ include = ["F1R3*", "F1L4*"] }}

[point."F1R3FLISR/XCBR1.Pos"]
IOA = 11
[point."F1L4FLISR/XSWI1.Pos"]
IOA = 12
[point."F1L4FLISR/XSWI1.BlkCls"]
IOA = 13
[point."F1R3FLISR/LLN0.Health"]
IOA = 14
[point."F1L4FLISR/AFSR1.FltB"]
IOA = 15
[point."F1R3FLISR/CSWI1.Pos"]
control_IOA = 111
[point."F1L4FLISR/CSWI1.Pos"]
control_IOA = 112
"""

BROKER = """
[[broker]]
name = "cloud"
host = "127.0.0.1:{port}"
commands = true
points = {{ include = ["F1R3*", "F1L4*"] }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(found, why=""):
    deadline = time.monotonic() + PATIENCE_S
    while not (said := found()):
        assert time.monotonic() < deadline, why
        time.sleep(0.02)
    return said


class Centre:
    """c104's client, in the gateway's network; all that it has heard."""

    def __init__(self, world):
        kinds = {MOVED: "M_DP_TB_1", BLOCKED: "M_DP_TB_1", LOCK: "M_SP_TB_1", FAULTED: "M_SP_TB_1", HEALTH: "M_ME_TE_1"}
        controls = {OPERATE: "C_DC_TA_1", OPERATE_LOCKED: "C_DC_TA_1"}
        setup = {"port": world.port, "monitored": kinds, "controls": controls, "selected": [*controls]}
        words = [sys.executable, str(C104), "client"]
        self.child = world.lab.spawn("gw", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.heard = []
        assert self._line({**setup, "timeout_ms": 20_000}) == {"open": True}

    def _line(self, said):
        self.child.stdin.write(json.dumps(said).encode() + b"\n")
        self.child.stdin.flush()
        assert select.select([self.child.stdout], [], [], 2 * PATIENCE_S)[0]
        return json.loads(self.child.stdout.readline())

    def ask(self, do, **more):
        return self._line({"do": do, **more})["said"]

    def hears(self, IOA, value, qualifier, since=0):
        """The first such message from so many heard on; its time, ms."""

        def found():
            self.heard += [each for each in self._line({"do": "hear"})["heard"] if "ioa" in each]
            fits = [e for e in self.heard[since:] if (e["ioa"], e["value"], e["qualifier"]) == (IOA, value, qualifier)]
            return next((each for each in fits if each["at_ms"] is not None), None)

        return until(found, (IOA, value, qualifier, self.heard))["at_ms"]

    def close(self):
        self.child.kill()
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait()


class World:
    """The site in a network of its own: its plant, its gateway, which runs its agents."""

    def __init__(self, lab, folder):
        self.lab = lab
        self.folder = folder
        self.root = folder / "a"
        self.log = folder / "gateway.log"
        self.port, mms = free_port(), free_port()
        (folder / "s.scd").write_bytes((SAMPLES / "two_source.scd").read_bytes())
        text = (SAMPLES / "two_source.toml").read_text().replace("two_source.scd", "s.scd")
        self.file = folder / "s.toml"
        self.file.write_text(text + SITE.format(port=self.port, mms=mms))
        self.site = read_site(self.file)
        locked = StoredSide(SectionState.FAULTED, EventId(3, 65), locked=True)
        remote = replace(COMMISSIONED, authority=Authority.REMOTE)
        for ied, record in ((FREE, remote), (LOCKED, replace(remote, sides=(StoredSide(), locked)))):
            (self.root / ied).mkdir(parents=True)
            DurableFile.create(self.root / ied / "state", to_json(record)).close()
        self._wire()
        self._start_plant()
        self.gateway = None

    def _wire(self):
        from pyroute2 import IPRoute

        with self.lab.enter("gw"), IPRoute() as route:
            route.link("add", ifname="lan", kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
            bridge = route.link_lookup(ifname="lan")[0]
            for number in (1, 2):
                route.link("add", ifname=f"pg{number}", kind="veth", peer=f"ag{number}")
                port, cable = (route.link_lookup(ifname=f"{name}{number}")[0] for name in ("pg", "ag"))
                route.link("set", index=port, master=bridge, state="up")
                route.link("set", index=cable, state="up")
            route.link("set", index=bridge, state="up")

    def _start_plant(self):
        inputs = {number: str(self.root / agent.ied / "inputs") for number, agent in self.site.agents.items()}
        settings = PlantProcessSettings(
            network=self.site.plant(),
            plant=PlantSettings(),
            seed=1,
            socket=str(self.folder / "plant"),
            agents=inputs,
            log=str(self.folder / "plant.jsonl"),
        )
        document = self.folder / "plant.json"
        document.write_text(settings.to_json())
        words = [sys.executable, "-P", "-m", "ied_agents.process.plant_process", str(document)]
        self.plant = self.lab.spawn("gw", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.plant.stdout.readline()

    def run(self):
        words = [sys.executable, "-P", "-m", "tools.cli", "run", str(self.file), "--json"]
        with self.log.open("ab") as log:
            self.gateway = self.lab.spawn("gw", words, stdout=subprocess.PIPE, stderr=log)
        assert self.gateway.stdout.readline(), self.log.read_text()

    def end(self, how):
        self.gateway.send_signal(how)
        code = self.gateway.wait(PATIENCE_S)
        self.gateway.stdout.close()
        return code

    def pid(self, ied):
        return holder(self.root / ied / "state")

    def ask(self, ied, **request):
        return ask(self.root / ied / "operator", request)

    def status(self):
        """What ``flisr status`` says of the agents, by name; what was said half a second ago is said again."""
        time.sleep(0.6)
        said = ask_gateway(self.folder / "store-status")
        assert [each["pid"] > 0 for each in said["hosts"]] == [True]
        assert {each["name"] for each in said["ieds"]} == {FREE, LOCKED}
        return {each["name"]: each for each in said["agents"]}

    def journal(self, ied):
        return list(read_journal(self.root / ied / "journal.jsonl"))

    def close(self):
        for ied in (FREE, LOCKED):
            if (pid := self.pid(ied)) > 0:
                os.kill(pid, signal.SIGKILL)
        for pipe in (self.plant.stdin, self.plant.stdout, *([self.gateway.stdout] if self.gateway else [])):
            pipe.close()


@pytest.fixture
def world(require, make_lab, tmp_path_factory):
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850 is not installed")
    made = World(make_lab("gw"), tmp_path_factory.mktemp("e"))
    with contextlib.closing(made):
        yield made


def test_agents_of_the_gateway_at_a_control_centre(world, require):
    require(importlib.util.find_spec("c104"), "c104 is not installed")
    world.run()
    centre = Centre(world)
    with contextlib.closing(centre):
        centre.hears(MOVED, ON, 0)
        centre.hears(HEALTH, 1, 0)
        # A switch that moves: with the agent's own time.
        assert centre.ask("command", ioa=OPERATE, value=OFF, at_ms=round(time.time() * 1000))
        at_ms = centre.hears(MOVED, OFF, 0)
        (moved,) = [e["t_ns"] for e in world.journal(FREE) if e.get("values", {}).get("SW1.Pos.stVal") == OFF]
        assert at_ms == moved // 10**6
        # A lock is seen, and refuses.
        centre.hears(BLOCKED, OFF, 0)
        centre.hears(LOCK, 1, 0)
        centre.hears(FAULTED, 1, 0)
        assert not centre.ask("command", ioa=OPERATE_LOCKED, value=ON, at_ms=round(time.time() * 1000))
        assert "AddCause 10" in world.log.read_text()
        # So does an agent that no control centre may operate.
        world.ask(FREE, request="authority", authority="station")
        assert not centre.ask("command", ioa=OPERATE, value=ON, at_ms=round(time.time() * 1000))
        world.ask(FREE, request="authority", authority="remote")
        world.ask(FREE, request="tag", owner="crew 7", tags=1)
        assert not centre.ask("command", ioa=OPERATE, value=ON, at_ms=round(time.time() * 1000))
        assert "AddCause 24" in world.log.read_text()
        asked = [json.loads(e["request"]) for e in world.journal(FREE) if e["kind"] == "operator"]
        assert ("open", "scada") in [(each["request"], each.get("orIdent")) for each in asked]
        said = world.status()
        assert {name: each["pid"] for name, each in said.items()} == {FREE: world.pid(FREE), LOCKED: world.pid(LOCKED)}
        assert [said[FREE][name] for name in ("state", "restarts", "ended")] == ["running", 0, ""]
        assert [said[FREE][name] for name in ("health", "proven", "confirmed", "mode")] == ["ok", True, True, "on"]
        assert said[LOCKED]["locked"] == "B"
        # An agent that is killed is old, and comes back.
        before, pids = len(centre.heard), (world.pid(FREE), world.pid(LOCKED))
        killed_ms = time.time() * 1000
        os.kill(pids[0], signal.SIGSTOP)  # dead and not gone: it must be killed first
        lost_ms = centre.hears(MOVED, OFF, OLD, before)
        back_ms = centre.hears(MOVED, OFF, 0, len(centre.heard))
        assert killed_ms - 1 <= lost_ms <= back_ms <= time.time() * 1000 + 1
        assert world.pid(FREE) not in (0, pids[0])
        assert world.ask(FREE, request="status")["tags"] == {"crew 7": 1}, "its state is on disk"
        said = world.status()
        assert [said[FREE][name] for name in ("state", "restarts", "proven", "health")] == ["held", 1, False, "alarm"]
        assert said[FREE]["ended"] == "it hung for 2 s: killed"
        assert said[LOCKED]["restarts"] == 0
        pids = world.pid(FREE), pids[1]
        # A gateway that is killed takes no agent with it, and its successor starts no second one.
        world.end(signal.SIGKILL)
        assert (world.pid(FREE), world.pid(LOCKED)) == pids
    world.run()
    centre = Centre(world)
    with contextlib.closing(centre):
        centre.hears(MOVED, OFF, 0)
        until(lambda: world.log.read_text().count(f"{FREE}: {FREE}FLISR/LLN0.BR.brcbStatus01 is enabled") == 2)
        world.ask(FREE, request="tag", owner="crew 7", tags=0)
        assert not centre.ask("command", ioa=OPERATE, value=ON, at_ms=round(time.time() * 1000))
        assert "AddCause 13" in world.log.read_text(), "it was killed: its locks are not proven"
        world.ask(FREE, request="confirm")
        # Confirmed, it takes the order; its neighbours are silent, so it does not close, and says so.
        assert not centre.ask("command", ioa=OPERATE, value=ON, at_ms=round(time.time() * 1000))
        assert "termination: blocked by interlocking (AddCause 10)" in world.log.read_text()
        assert (world.pid(FREE), world.pid(LOCKED)) == pids
        assert world.end(signal.SIGTERM) == 0
    assert (world.pid(FREE), world.pid(LOCKED)) == (0, 0)
    with DurableFile.open(world.root / FREE / "state") as file:
        assert file.record["clean"]
    judge_trail(world)


def judge_trail(world):
    """What was commanded is in the history: at the gateway's desk, and as the agents have it."""
    with HistoryReader(str(world.folder / "h.db")) as reader:
        steps = list(reader.steps(Query(), reader.last_step()))
    desk = [each for each in steps if each.via == "104"]
    assert all(each.who.startswith("scada 127.0.0.1:") for each in desk)
    free, locked = (f"{ied}FLISR/CSWI1.Pos" for ied in (FREE, LOCKED))
    ends = [(each.target, each.value, each.outcome, each.reason) for each in desk if each.outcome != "asked"]
    assert ends[:3] == [(free, "false", how, "") for how in ("confirmed", "confirmed", "done")]
    assert [each[:3] for each in ends[3:6]] == [(locked, "true", "refused"), *[(free, "true", "refused")] * 2]
    causes = [each[3].partition("AddCause ")[2].rstrip(")") for each in ends[3:6]]
    assert causes[0] == "10", "blocked by interlocking: the lock"
    assert causes[1] in ("1", "2", "20"), ("switching hierarchy: the authority", ends[4])
    assert causes[2] == "24", "the tag"
    own = [each for each in steps if each.via == "agent" and each.target == FREE]
    told = [(each.step, each.outcome) for each in own]
    assert told[:2] == [("open", "confirmed"), ("open", "asked")], told
    assert ("authority", "confirmed") in told
    assert ("tag", "confirmed") in told
    assert any(each.step == "tag" and "crew 7" in each.value and each.who for each in own)
    opened = own[0]
    assert "scada" in opened.who
    assert opened.t_ns < own[-1].t_ns
    # Two gateways have read these journals one after the other.
    assert len({each[:9] for each in own}) == len(own)
    assert told.count(("authority", "confirmed")) == 2


class Desk:
    """Who listens to the broker and commands there; in the gateway's network."""

    def __init__(self, world, port):
        self.root = f"flisr/{world.site.name}"
        with world.lab.enter("gw"):
            self.client = Subscriber(port, "flisr/#", "desk")
        self.close = self.client.close
        self.client.wait()

    def of(self, kind, name):
        topic = f"{self.root}/{kind}/{name}"
        return [each.said for each in list(self.client.messages) if each.topic == topic]

    def hears(self, name, value, quality, since_ns=0):
        """The first such event that is no older."""

        def found():
            wanted = {"value": value, "quality": quality}
            events = [each for each in self.of("event", name) if wanted.items() <= each.items()]
            return next((each for each in events if each["time"] >= time_text(since_ns)), None)

        return until(found, [value, quality, self.root, self.client.messages])

    def command(self, ied, value, key, step="operate", **more):
        """What is said last about it."""
        before = len(self.client.messages)
        asked = {"value": value, "time": time_text(time.time_ns()), "by": "ana", "step": step}
        topic = f"{self.root}/command/{ied}FLISR/CSWI1.Pos"
        self.client.publish(topic, json.dumps(asked), reply_to="desk", correlation=key, **more)

        def found():
            replies = [each for each in self.client.messages[before:] if each.topic == "desk"]
            said = [each.said for each in replies if each.correlation == key]
            return said[-1] if said and said[-1]["final"] else None

        return until(found, [ied, value, self.client.messages])


def test_agents_of_the_gateway_at_a_broker(world, require):
    require(not missing(), missing())
    with world.lab.enter("gw"):
        broker = Mosquitto(world.folder / "mosquitto")
        broker.start()
    with world.file.open("a") as file:
        file.write(BROKER.format(port=broker.port))
    with contextlib.ExitStack() as stack:
        stack.callback(broker.kill)
        desk = stack.enter_context(contextlib.closing(Desk(world, broker.port)))
        world.run()
        position = f"{FREE}FLISR/XCBR1.Pos"
        desk.hears(position, "on", "good")
        desk.hears(f"{LOCKED}FLISR/XSWI1.Pos", "off", "good")
        # A retained command is none, also to a switch that would obey.
        assert "retained" in desk.command(FREE, "off", b"0", retain=True)["reason"]
        # A breaker that moves: with its quality and the agent's own time. What comes twice is done once.
        began_ns = time.time_ns()
        assert desk.command(FREE, "off", b"select", "select")["result"] == "selected"
        assert desk.command(FREE, "off", b"1")["result"] == "done"
        moved = desk.hears(position, "off", "good", began_ns)
        (moved_ns,) = [e["t_ns"] for e in world.journal(FREE) if e.get("values", {}).get("SW1.Pos.stVal") == OFF]
        assert abs(moved_ns - t_ns(moved["time"])) < 1000, "as a time on the wire has it: 2^-24 s"
        assert until(lambda: desk.of("state", position)[-1]["value"] == "off")
        assert desk.command(FREE, "off", b"1")["repeated"]
        # What is locked or tagged is not closed, and the reason is told.
        until(lambda: desk.of("event", f"{LOCKED}FLISR/XSWI1.BlkCls")[-1]["value"] is True)
        refused = desk.command(LOCKED, "on", b"2", "select")
        assert refused["result"] == "refused"
        assert "AddCause 10" in refused["reason"]
        world.ask(FREE, request="tag", owner="crew 7", tags=1)
        refused = desk.command(FREE, "on", b"3", "select")
        assert refused["result"] == "refused"
        assert "AddCause 24" in refused["reason"]
        asked = [json.loads(e["request"]) for e in world.journal(FREE) if e["kind"] == "operator"]
        asked = [(each["request"], each.get("orIdent")) for each in asked]
        assert asked.count(("open", "cloud/ana")) == 1
        # A line to the agent that is lost: its values are old since then.
        killed_ns = time.time_ns()
        os.kill(int(re.findall(r"MMS host 1: started, pid (\d+)", world.log.read_text())[-1]), signal.SIGKILL)
        desk.hears(position, "off", "questionable|oldData", killed_ns)
        assert world.end(signal.SIGTERM) == 0
        assert until(lambda: desk.client.messages[-1].said.get("status")) == "offline"
    with HistoryReader(str(world.folder / "h.db")) as reader:
        steps = [each for each in reader.steps(Query(), reader.last_step()) if each.via == "mqtt"]
    ends = [(each.who, each.target, each.step, each.outcome) for each in steps if each.outcome != "asked"]
    free, locked = (f"{ied}FLISR/CSWI1.Pos" for ied in (FREE, LOCKED))
    assert ends == [
        ("cloud", free, "command", "refused"),
        ("cloud/ana", free, "select", "confirmed"),
        ("cloud/ana", free, "execute", "confirmed"),
        ("cloud/ana", free, "execute", "done"),
        ("cloud/ana", locked, "select", "refused"),
        ("cloud/ana", free, "select", "refused"),
    ]


def t_ns(text):
    """Of ISO 8601 with nine digits, ns since 1970."""
    whole, _, part = text.removesuffix("Z").partition(".")
    return round(datetime.fromisoformat(whole + "+00:00").timestamp()) * 10**9 + int(part)
