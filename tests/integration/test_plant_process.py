"""The plant in its own process: what comes through its sockets, its control channel and its log."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchCommand, Voltage, decode_inputs, encode_command
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch
from ied_agents.process.plant_settings import PlantProcessSettings

PATIENCE_S = 10.0
NETWORK = PlantNetwork(
    sections=(
        PlantSection(0, "busbar", is_source=True),
        PlantSection(1, "near", load_a=10.0),
        PlantSection(2, "far", load_a=20.0),
    ),
    switches=(
        PlantSwitch(1, "Q1", (0, 1), "breaker", True, 20000.0, 0.02, 0.02),
        PlantSwitch(2, "Q2", (1, 2), "load_break", True, 630.0, 0.02, 0.02),
    ),
)


class RunningPlant:
    """The process, the agents' sockets, and what it has said."""

    def __init__(self, folder, agents=(1, 2), **plant):
        self.log_path = folder / "plant.jsonl"
        self.socket_path = folder / "plant"
        self.settings = PlantProcessSettings(
            network=NETWORK,
            plant=PlantSettings(**plant),
            seed=3,
            socket=str(self.socket_path),
            agents={number: str(folder / f"agent{number}") for number in (1, 2)},
            log=str(self.log_path),
        )
        self._folder = folder
        self.agents = {number: self.listen(number) for number in agents}
        (folder / "settings.json").write_text(self.settings.to_json())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ied_agents.process.plant_process", folder / "settings.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self.said()

    def listen(self, number):
        agent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        agent.bind(self.settings.agents[number])
        agent.settimeout(PATIENCE_S)
        return agent

    def said(self):
        return json.loads(self.process.stdout.readline())

    def tell(self, **control):
        self.process.stdin.write(json.dumps(control) + "\n")
        self.process.stdin.flush()
        return self.said()

    def command(self, number, operation):
        self.agents[number].sendto(encode_command(SwitchCommand(number, operation, 1)), str(self.socket_path))

    def until(self, number, condition):
        """The first snapshot for which ``condition`` holds, and when it came."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            inputs = decode_inputs(self.agents[number].recv(4096))
            if condition(inputs):
                return inputs, time.time_ns()
        pytest.fail("no such snapshot came")

    def log(self, kind):
        return [entry for entry in map(json.loads, self.log_path.read_text().splitlines()) if entry["kind"] == kind]

    def stop(self, how):
        how()
        assert self.process.wait(PATIENCE_S) == 0
        assert self.process.stderr.read() == ""
        assert not self.socket_path.exists()
        return json.loads(self.process.stdout.read().splitlines()[-1])

    def close(self):
        for agent in self.agents.values():
            agent.close()
        self.process.kill()
        with contextlib.suppress(BrokenPipeError), self.process:
            pass


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a plant; sockets go by short relative paths, since a UNIX socket's path is short."""
    monkeypatch.chdir(tmp_path)
    plants = []

    def start_plant(**options):
        plants.append(RunningPlant(Path(), **options))
        return plants[-1]

    yield start_plant
    for plant in plants:
        plant.close()


def test_a_fault_is_seen_cleared_and_logged(start):
    plant = start(refresh_s=60.0, pickup_spread_s=0.003)
    assert plant.ready["kind"] == "PlantReady"
    assert plant.ready["pid"] == plant.process.pid
    assert plant.ready["sched_fifo"] is (plant.ready["sched_fifo_refused"] is None)
    first, received_ns = plant.until(1, lambda _: True)
    assert (first.position, first.flow_a) == (Dbpos.ON, 30.0)
    assert 0 <= received_ns - first.stamp_ns < PATIENCE_S * 1e9

    assert plant.tell(command="inject_fault", section=2) == {
        "kind": "ControlAccepted",
        "command": "inject_fault",
    }
    pickups = {number: plant.until(number, lambda inputs: inputs.pickup)[0] for number in (1, 2)}
    assert {each.direction for each in pickups.values()} == {Direction.FORWARD}

    plant.command(1, "open")
    moving, _ = plant.until(1, lambda inputs: inputs.position is not Dbpos.ON)
    opened, _ = plant.until(1, lambda inputs: inputs.position is not Dbpos.INTERMEDIATE)
    assert opened.position is Dbpos.OFF
    assert opened.stamp_ns - moving.stamp_ns == pytest.approx(20e6, abs=1e3)
    dead, _ = plant.until(2, lambda inputs: not inputs.pickup)
    assert dead.current_a == 0.0

    stopped = plant.stop(lambda: plant.tell(command="stop"))
    assert stopped["kind"] == "PlantStopped"
    assert stopped["undelivered"] == {"1": 0, "2": 0}
    assert stopped["refused_commands"] == stopped["lost_log_lines"] == 0
    assert {entry["switch"]: entry["stamp_ns"] for entry in plant.log("PickedUp")} == {
        number: inputs.stamp_ns for number, inputs in pickups.items()
    }
    appeared, started = plant.log("FaultAppeared"), plant.log("FaultCurrentStarted")
    assert [entry["section"] for entry in appeared] == [2]
    assert all(0 <= each.stamp_ns - started[0]["stamp_ns"] <= 3.001e6 for each in pickups.values())
    assert [entry["position"] for entry in plant.log("PositionChanged")] == [0, 1]


def test_a_fault_comes_at_the_time_it_was_set_for(start):
    plant = start()
    at_ns = time.time_ns() + 200_000_000
    plant.tell(command="inject_fault", section=1, at_ns=at_ns)
    plant.until(1, lambda inputs: inputs.pickup)
    plant.tell(command="clear_fault", section=1)
    plant.until(1, lambda inputs: not inputs.pickup)
    (appeared,) = plant.log("FaultAppeared")
    assert 0 <= appeared["stamp_ns"] - at_ns < PATIENCE_S * 1e9
    assert len(plant.log("FaultCleared")) == 1


def test_people_supply_and_a_transient_fault_are_told_by_line(start):
    plant = start(refresh_s=60.0)
    plant.tell(command="operate_by_hand", switch=2, operation="open")
    plant.until(2, lambda inputs: inputs.position is Dbpos.OFF)
    plant.tell(command="set_source", section=0, live=False)
    plant.until(1, lambda inputs: inputs.voltage == (Voltage.ABSENT, Voltage.ABSENT))
    plant.tell(command="inject_fault", section=1, clears_after_dead_s=0.05)
    deadline = time.monotonic() + PATIENCE_S
    while not plant.log("FaultCleared") and time.monotonic() < deadline:
        time.sleep(0.01)
    plant.tell(command="set_source", section=0, live=True)
    returned, _ = plant.until(1, lambda inputs: inputs.voltage == (Voltage.PRESENT, Voltage.PRESENT))
    assert not returned.pickup
    plant.stop(lambda: plant.tell(command="stop"))
    assert [(entry["switch"], entry["operation"]) for entry in plant.log("OperatedByHand")] == [(2, "open")]
    (appeared,), (cleared,) = plant.log("FaultAppeared"), plant.log("FaultCleared")
    assert cleared["time_s"] - appeared["time_s"] == pytest.approx(0.05)
    assert plant.log("FaultCurrentStarted") == []
    assert [len(plant.log(kind)) for kind in ("SourceLost", "SourceReturned")] == [1, 1]


def test_agents_that_are_not_there_stop_nothing(start):
    plant = start(agents=(1,), refresh_s=0.02)
    plant.tell(command="inject_fault", section=2)
    plant.until(1, lambda inputs: inputs.pickup)
    plant.agents[2] = plant.listen(2)
    late, _ = plant.until(2, lambda _: True)
    assert late.pickup, "a snapshot is whole: who comes late knows all"
    plant.agents.pop(1).close()
    plant.until(2, lambda inputs: inputs.sequence > late.sequence + 4)
    stopped = plant.stop(plant.process.terminate)
    assert all(count > 0 for count in stopped["undelivered"].values())
    assert [(entry["switch"], entry["error"]) for entry in plant.log("AgentUnreachable")] == [
        (2, "ENOENT"),
        (1, "ECONNREFUSED"),
    ]


def test_an_agent_too_slow_to_read_gets_the_newest_in_the_end(start):
    plant = start(refresh_s=60.0, pickup_spread_s=0.0, pickup_reset_s=0.0)
    queue_length = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    for _ in range(queue_length + 5):
        plant.tell(command="inject_fault", section=2)
        plant.tell(command="clear_fault", section=2)
    plant.tell(command="inject_fault", section=1)
    plant.until(1, lambda inputs: inputs.pickup and inputs.stamp_ns == plant.log("PickedUp")[-1]["stamp_ns"])
    plant.agents[1].settimeout(0.0)
    with pytest.raises(BlockingIOError):
        plant.agents[1].recv(4096)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "end of input"])
def test_it_stops_cleanly(start, how):
    plant = start()
    if how == "end of input":
        stopped = plant.stop(plant.process.stdin.close)
    else:
        stopped = plant.stop(lambda: plant.process.send_signal(signal.Signals[how]))
    assert stopped["kind"] == "PlantStopped"


def test_it_outlives_a_reader_that_went_away(start):
    plant = start()
    plant.process.stdout.close()
    plant.process.stdin.write('{"command": "inject_fault", "section": 2}\n')
    plant.process.stdin.flush()
    plant.until(1, lambda inputs: inputs.pickup)
    plant.process.terminate()
    assert plant.process.wait(PATIENCE_S) == 0
    assert plant.process.stderr.read() == ""


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "Expecting property name"),
        ("[" * 4000, "maximum recursion depth exceeded"),
        ("[]", "document: object expected"),
        (
            '{"command": "explode"}',
            "command: inject_fault, clear_fault, set_source, operate_by_hand or stop expected",
        ),
        ('{"command": "inject_fault", "section": 9}', "section: index of a section expected"),
        ('{"command": "inject_fault", "section": [1]}', "section: integer from 0 expected"),
        ('{"command": "inject_fault", "section": 1, "at_ns": "now"}', "at_ns: integer from 0 expected"),
        ('{"command": "inject_fault", "section": 1, "clears_after_dead_s": -1}', "clears_after_dead_s: number from 0"),
        ('{"command": "clear_fault", "section": 1, "clears_after_dead_s": 1}', "clears_after_dead_s: nothing of that"),
        ('{"command": "set_source", "section": 1, "live": false}', "section: source section expected"),
        ('{"command": "set_source", "section": 0, "live": 0}', "live: true or false expected"),
        ('{"command": "operate_by_hand", "switch": 3, "operation": "open"}', "switch: number of a switch expected"),
        ('{"command": "operate_by_hand", "switch": 1, "operation": "up"}', "operation: open or close expected"),
        ("x" * 10_000, "line longer than 4096 octets"),
    ],
)
def test_a_control_line_that_makes_no_sense_is_refused(start, line, error):
    plant = start()
    plant.process.stdin.write(line + "\n")
    plant.process.stdin.flush()
    refused = plant.said()
    assert refused["kind"] == "ControlRefused"
    assert error in refused["error"]
    assert plant.stop(plant.process.terminate)["kind"] in {"PlantStopped", "ControlRefused"}


def test_datagrams_that_are_no_commands_are_counted(start):
    plant = start()
    for datagram in (b"", b"garbage", encode_command(SwitchCommand(9, "open", 1)), b"x" * 60_000):
        plant.agents[1].sendto(datagram, str(plant.socket_path))
    plant.command(1, "open")
    plant.until(1, lambda inputs: inputs.position is Dbpos.OFF)
    assert plant.stop(plant.process.terminate)["refused_commands"] == 4
    assert len(plant.log("CommandRefused")) == 4


def test_without_the_right_it_says_so_and_runs_all_the_same(start, require):
    require(os.geteuid() == 0, "root, to give the right up")
    require(Path("/usr/bin/setpriv").exists(), "setpriv (util-linux)")
    plant = start()
    plant.stop(plant.process.terminate)
    unprivileged = subprocess.run(
        [
            "/usr/bin/setpriv",
            "--bounding-set=-sys_nice",
            sys.executable,
            "-m",
            "ied_agents.process.plant_process",
            "settings.json",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    ready, stopped = map(json.loads, unprivileged.stdout.splitlines())
    assert ready["sched_fifo"] is False
    assert ready["sched_fifo_refused"] == "Operation not permitted"
    assert stopped["kind"] == "PlantStopped"


def run_with(text, tmp_path):
    path = tmp_path / "settings.json"
    if text is not None:
        path.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "ied_agents.process.plant_process", path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_settings_that_cannot_be_used_are_refused_by_file_and_path(start, tmp_path):
    settings = start().settings
    for text, problem in (
        (None, "No such file"),
        ("{}", "network: a value expected"),
        (dataclasses.replace(settings, log="no/folder/log").to_json(), "No such file"),
        (dataclasses.replace(settings, socket="no/folder/socket").to_json(), "No such file"),
    ):
        (tmp_path / "settings.json").unlink(missing_ok=True)
        done = run_with(text, tmp_path)
        assert done.returncode == 2
        assert str(tmp_path / "settings.json") in done.stderr
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
