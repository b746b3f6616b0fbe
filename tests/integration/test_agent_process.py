"""Real agent processes on a laboratory network: starts, operators, garbage, ends of all kinds, refusals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.dflisr.feeder import Feeder, FeederSection
from ied_agents.dflisr.records import EventId, SectionState
from ied_agents.dflisr.stored import COMMISSIONED, StoredSide, to_json
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage, decode_command, encode_inputs
from ied_agents.runtime.durable import DurableFile
from ied_agents.runtime.settings import AgentProcessSettings
from tools.lab import HOST_INTERFACE

SAMPLE = Path(scl.__file__).parent / "samples" / "two_source.toml"
PATIENCE_S = 15.0
TIE, NEIGHBOUR = 9, 4

# Runs an agent as its module does, and tells at the end which modules it had imported.
_TELLING = """
import json, sys
from ied_agents.runtime.agent_process import main
code = main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def pair():
    """The tie T9 and the switch L4 beside it as a network of two that hear each other."""
    agents = read_site(SAMPLE).agents
    whole = agents[TIE].config.feeder
    switches = tuple(whole.by_number[number] for number in (NEIGHBOUR, TIE))
    known = {section for switch in switches for section in switch.sides}
    feeder = Feeder(
        switches,
        tuple(FeederSection(s.index, s.name, s.is_source) for s in whole.sections if s.index in known),
    )
    return {
        number: replace(
            agents[number],
            config=replace(agents[number].config, feeder=feeder, subscribed=frozenset({other})),
            peers={other: agents[number].peers[other]},
        )
        for number, other in ((TIE, NEIGHBOUR), (NEIGHBOUR, TIE))
    }


class Stage:
    """Agents in hosts ``a4`` and ``a9``; the test is their process and their operator."""

    def __init__(self, lab, folder, agents):
        self.lab = lab
        self.folder = folder
        self.agents = agents
        self.children = {}
        self.sequence = 0
        self.process = self._socket("plant")
        self.asker = self._socket("asker")

    def _socket(self, name):
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.bind(str(self.folder / name))
        opened.settimeout(0.5)
        return opened

    def close(self):
        for child in self.children.values():
            child.kill()
            child.communicate()
        self.process.close()
        self.asker.close()

    def settings(self, number):
        return AgentProcessSettings(
            agent=self.agents[number],
            interfaces=(HOST_INTERFACE,),
            state=str(self.folder / f"{number}.state"),
            journal=str(self.folder / f"{number}.jsonl"),
            inputs=str(self.folder / f"{number}.inputs"),
            process=str(self.folder / "plant"),
            operator=str(self.folder / f"{number}.operator"),
        )

    def commission(self, *numbers, record=COMMISSIONED):
        for number in numbers:
            DurableFile.create(Path(self.settings(number).state), to_json(record)).close()

    def stored(self, number):
        with DurableFile.open(Path(self.settings(number).state)) as file:
            return file.record

    def spawn(self, number, command=("-m", "ied_agents.runtime.agent_process"), text=None):
        document = self.folder / f"{number}.json"
        document.write_text(self.settings(number).to_json() if text is None else text, encoding="utf-8")
        return self.lab.spawn(
            f"a{number}",
            [sys.executable, "-P", *command, str(document)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def start(self, number, **more):
        child = self.spawn(number, **more)
        self.children[number] = child
        line = child.stdout.readline()
        assert line, child.communicate()[1].decode()
        ready = json.loads(line)
        assert ready["kind"] == "AgentReady"
        self.feed(number)
        return ready

    def end(self, number, how=signal.SIGTERM):
        child = self.children.pop(number)
        child.send_signal(how)
        output, errors = child.communicate(timeout=PATIENCE_S)
        return child.returncode, output.decode(), errors.decode()

    def feed(self, number, **changes):
        self.sequence += 1
        inputs = SwitchInputs(
            *(number, self.sequence, time.time_ns(), Dbpos.OFF if number == TIE else Dbpos.ON, True),
            *(False, Direction.UNKNOWN, False, 0.0, 0.0, (Voltage.PRESENT, Voltage.PRESENT), (0.0, 0.0)),
        )
        self.send("inputs", number, encode_inputs(replace(inputs, **changes)))

    def send(self, what, number, message):
        self.asker.sendto(message, str(self.folder / f"{number}.{what}"))

    def ask(self, number, **request):
        return self.ask_raw(number, json.dumps(request).encode())

    def ask_raw(self, number, message):
        self.drain()
        self.send("operator", number, message)
        try:
            return json.loads(self.asker.recv(4096))
        except TimeoutError:
            return None

    def drain(self):
        self.asker.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.asker.recv(4096)
        self.asker.settimeout(2.0)

    def until(self, number, fed=None, **expected):
        """Wait until the agent's status is as expected; its inputs are refreshed meanwhile, with changes ``fed``."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.feed(number, **(fed or {}))
            status = self.ask(number, request="status")
            if expected.items() <= status.items():
                return status
            assert time.monotonic() < deadline, (expected, status)
            time.sleep(0.02)

    def stays(self, number, seconds, **expected):
        """The status is as expected all the time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.feed(number)
            status = self.ask(number, request="status")
            assert expected.items() <= status.items()
            time.sleep(0.02)

    def orders(self):
        found = []
        self.process.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(decode_command(self.process.recv(4096)).operation)
        return found


@pytest.fixture
def stage(make_lab, tmp_path_factory, pair):
    lab = make_lab(f"a{NEIGHBOUR}", f"a{TIE}")
    folder = tmp_path_factory.mktemp("a")  # a short name: the paths of sockets are bounded
    made = Stage(lab, folder, pair)
    yield made
    made.close()


# -- starting ------------------------------------------------------------------------------------------------


def test_without_a_state_file_an_agent_is_held_until_confirmed_and_the_confirmation_lasts(stage):
    stage.start(TIE)
    stage.stays(TIE, 0.3, ready=False)
    assert stage.ask(TIE, request="confirm") == {"done": True}
    stage.until(TIE, ready=True)
    stage.end(TIE)
    assert not stage.stored(TIE)["held"]
    stage.start(TIE)
    stage.until(TIE, ready=True)


def test_a_commissioned_agent_is_ready_and_hears_its_peer(stage):
    stage.commission(TIE, NEIGHBOUR)
    stage.start(TIE)
    stage.until(TIE, ready=True, heard=0, subscribed=1, position="OFF", stage="IDLE")
    stage.start(NEIGHBOUR)
    for number in (TIE, NEIGHBOUR):
        stage.until(number, ready=True, heard=1)


def test_each_start_is_a_new_incarnation_on_disk(stage):
    stage.commission(TIE, record=replace(COMMISSIONED, incarnation=2_000_000_000))  # later than any clock
    seen = []
    for _ in range(2):
        stage.start(TIE)
        stage.end(TIE)
        seen.append(stage.stored(TIE)["incarnation"])
    assert seen == [2_000_000_001, 2_000_000_002]


def test_an_agent_imports_none_of_the_libraries_it_must_not_carry(stage):
    stage.commission(TIE)
    stage.start(TIE, command=("-c", _TELLING))
    stage.until(TIE, ready=True)
    code, output, _ = stage.end(TIE)
    assert code == 0
    modules = json.loads(output.splitlines()[-1])
    assert "ied_agents.dflisr.agent" in modules
    forbidden = {"pydantic", "numpy", "lxml", "rich", "cyclopts", "pyroute2", "scapy", "gateway", "tools"}
    assert {module.split(".")[0] for module in modules} & forbidden == set()


# -- garbage -------------------------------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"\x00" * 2048,
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"NaN",
    b"5",
    b'"text"',
    b"{}",
    b"[" * 2000,
    b'{"request":' * 180,
    b'{"request": null}',
    b'{"request": {"a": 1}}',
    b'{"request": "dance"}',
    b'{"request": "unlock"}',
    b'{"request": "unlock", "event": 5}',
    b'{"request": "unlock", "event": []}',
    b'{"request": "unlock", "event": [1]}',
    b'{"request": "unlock", "event": ["a", "b"]}',
    b'{"request": "unlock", "event": [1e999, 1]}',
    b'{"request": "tag"}',
    b'{"request": "tag", "tags": "many"}',
    b'{"request": "tag", "tags": null}',
    b'{"request": "tag", "tags": 1e999}',
    b'{"request": "tag", "tags": NaN}',
    b'{"request": "open", "origin": "elsewhere"}',
    b'{"request": "close", "origin": 5}',
    b'{"request": "mode"}',
    b'{"request": "mode", "mode": "asleep"}',
    b'{"request": "mode", "mode": 1}',
    b'{"request": "authority", "authority": "mine"}',
    b'{"request": "return"}',
    b'{"request": "return", "event": [1]}',
    b'{"request": "return", "event": [70000, 1]}',
    b'{"request": "return", "event": [1, 4294967296]}',
    b'{"request": "return", "event": [-1, 1]}',
    b'{"request": "restore"}',
    b'{"request": "restore", "side": "A"}',
    b'{"request": "restore", "side": "C", "epoch": 2}',
    b'{"request": "restore", "side": "", "epoch": 2}',
    b'{"request": "restore", "side": "AB", "epoch": 2}',
    b'{"request": "restore", "side": "A", "epoch": 0}',
    b'{"request": "restore", "side": "A", "epoch": 256}',
    b'{"request": "restore", "side": "A", "epoch": "high"}',
    b'{"v": 99}',
    b'{"v":1,"switch":9}',
    os.urandom(300),
]


def test_garbage_on_the_inputs_socket_is_refused_and_the_agent_goes_on(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    for message in GARBAGE:
        stage.send("inputs", TIE, message)
        stage.until(TIE, ready=True, position="OFF")
    code, _, errors = stage.end(TIE)
    assert (code, errors) == (0, "")


def test_garbage_on_the_operator_socket_is_answered_and_the_agent_goes_on(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    unanswered = [message for message in GARBAGE if (stage.ask_raw(TIE, message) or {}).get("done") is not False]
    stage.until(TIE, ready=True, position="OFF")
    code, _, errors = stage.end(TIE)
    assert unanswered == []
    assert (code, errors) == (0, "")


def test_an_unlock_of_an_event_that_cannot_exist_is_refused_and_does_no_harm(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    events = [[70_000, 1], [1, 2**32], [-1, 1], [1, -1], [0, 0]]
    done = [event for event in events if stage.ask(TIE, request="unlock", event=event)["done"]]
    stage.until(TIE, ready=True)
    code, _, errors = stage.end(TIE)
    assert done == []
    assert (code, errors) == (0, "")
    assert stage.stored(TIE)["cleared"] == []


def test_a_load_beyond_all_measure_does_not_silence_the_agent(stage):
    stage.commission(TIE, NEIGHBOUR)
    stage.start(TIE)
    stage.start(NEIGHBOUR)
    stage.until(TIE, ready=True, heard=1)
    stage.feed(TIE, flow_a=1e300, generation_a=(1e300, -1e300))
    stage.until(NEIGHBOUR, heard=1)
    code, _, errors = stage.end(TIE)
    assert (code, errors) == (0, "")


# -- what an operator asks -----------------------------------------------------------------------------------


def test_a_tag_outlives_a_kill(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    assert stage.ask(TIE, request="tag", owner="crew 7", tags=1) == {"done": True}
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        stage.feed(TIE)
        stage.ask(TIE, request="status")
    stage.end(TIE, signal.SIGKILL)
    assert stage.stored(TIE)["tags"] == [{"owner": "crew 7", "tags": 1}]


def test_a_close_is_refused_with_the_reason_and_no_order_goes_out(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    stage.orders()
    # a close from before the start is assumed outstanding for the longest operating time of 50 ms
    time.sleep(0.1)
    stage.feed(TIE)  # what the process says after that time ends it
    assert stage.ask(TIE, request="close") == {"done": False, "why": "BOTH_SIDES_LIVE"}
    assert stage.ask(TIE, request="tag", owner="crew 7", tags=1) == {"done": True}
    assert stage.ask(TIE, request="close") == {"done": False, "why": "TAGGED"}
    assert stage.orders() == []


def settled(stage, number):
    """In operation, with whatever an earlier process might have ordered over, and nothing left in the queue."""
    stage.commission(number)
    stage.start(number)
    stage.until(number, ready=True)
    time.sleep(0.1)
    stage.feed(number)
    stage.orders()


def test_an_opening_is_ordered_once_and_what_comes_of_it_is_in_the_status(stage):
    settled(stage, NEIGHBOUR)
    assert stage.ask(NEIGHBOUR, request="open") == {"done": True}
    assert stage.orders() == ["open"]
    stage.until(NEIGHBOUR, fed={"position": Dbpos.OFF}, position="OFF")
    assert stage.ask(NEIGHBOUR, request="open") == {"done": True}, "it is open already"
    assert stage.orders() == []


def test_a_mode_is_in_force_at_once_and_outlives_a_kill(stage):
    settled(stage, NEIGHBOUR)
    assert stage.ask(NEIGHBOUR, request="mode", mode="test/blocked") == {"done": True}
    assert stage.ask(NEIGHBOUR, request="status")["mode"] == "TEST_BLOCKED"
    assert stage.ask(NEIGHBOUR, request="mode", mode="blocked") == {"done": True}
    assert stage.ask(NEIGHBOUR, request="open") == {"done": False, "why": "MODE"}
    assert stage.ask(NEIGHBOUR, request="close") == {"done": False, "why": "MODE"}
    assert stage.orders() == []
    stage.end(NEIGHBOUR, signal.SIGKILL)
    stage.start(NEIGHBOUR)
    stage.until(NEIGHBOUR, mode="BLOCKED")
    assert stage.ask(NEIGHBOUR, request="mode", mode="on") == {"done": True}
    assert stage.ask(NEIGHBOUR, request="open") == {"done": True}
    assert stage.orders() == ["open"]


def test_only_who_has_the_authority_operates_and_it_outlives_a_kill(stage):
    record = replace(COMMISSIONED, cleared=(EventId(3, 65),))
    stage.commission(NEIGHBOUR, record=record)
    stage.start(NEIGHBOUR)
    stage.until(NEIGHBOUR, ready=True)
    refused = {"done": False, "why": "LOCAL"}
    assert stage.ask(NEIGHBOUR, request="open", origin="remote") == refused
    assert stage.ask(NEIGHBOUR, request="authority", authority="local") == {"done": True}
    assert stage.ask(NEIGHBOUR, request="open") == refused
    assert stage.ask(NEIGHBOUR, request="return", event=[3, 65]) == refused
    unknown = stage.ask(NEIGHBOUR, request="return", event=[3, 66])
    assert not unknown["done"]
    assert "event 66 of switch 3 is not known here" in unknown["why"]
    stage.end(NEIGHBOUR, signal.SIGKILL)
    stage.start(NEIGHBOUR)
    stage.until(NEIGHBOUR, position="ON")
    assert stage.ask(NEIGHBOUR, request="open", origin="station") == refused
    assert stage.orders() == []
    assert stage.ask(NEIGHBOUR, request="open", origin="bay") == {"done": True}
    assert stage.orders() == ["open"]


def test_a_return_unlocks_and_is_on_disk_when_it_is_answered(stage):
    locked = StoredSide(SectionState.FAULTED, EventId(3, 65), locked=True)
    stage.commission(TIE, record=replace(COMMISSIONED, sides=(locked, StoredSide())))
    stage.start(TIE)
    stage.until(TIE, ready=True, locked=["DURABLE", "NONE"])
    assert stage.ask(TIE, request="return", event=[3, 65]) == {"done": True}
    stage.end(TIE, signal.SIGKILL)
    assert stage.stored(TIE)["returning"] == [3, 65]
    assert stage.stored(TIE)["cleared"] == [[3, 65]]
    stage.start(TIE)
    stage.until(TIE, locked=["NONE", "NONE"])


def test_a_higher_authority_has_a_dark_island_claimed_in_its_name(stage):
    """T9 asks L4, which is not there: nothing is energised, and the status says why."""
    settled(stage, TIE)
    dark = (Voltage.ABSENT, Voltage.PRESENT)
    stage.feed(TIE, voltage=dark)
    assert stage.ask(TIE, request="restore", side="A", epoch=2) == {"done": True}
    stage.until(TIE, fed={"voltage": dark}, stage="STOPPED", reason="PEER_SILENT")
    stage.end(TIE)
    assert stage.stored(TIE)["claims"][0][0] == 2, "the epoch of the claim"
    assert stage.orders() == []


# -- ends ----------------------------------------------------------------------------------------------------


def test_after_sigterm_the_mark_is_clean_and_the_restart_is_proven_without_any_peer(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    code, _, errors = stage.end(TIE)
    assert (code, errors) == (0, "")
    assert stage.stored(TIE)["clean"]
    assert not list(stage.folder.glob("9.inputs")) + list(stage.folder.glob("9.operator"))
    stage.start(TIE)
    stage.until(TIE, ready=True, heard=0)


def test_after_sigkill_locks_stay_unproven_while_a_peer_is_silent(stage):
    stage.commission(TIE, NEIGHBOUR)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    stage.end(TIE, signal.SIGKILL)
    assert not stage.stored(TIE)["clean"]
    stage.start(TIE)
    stage.stays(TIE, 0.5, ready=False, heard=0)
    stage.start(NEIGHBOUR)
    stage.until(TIE, ready=True, heard=1)


def test_unproven_locks_are_not_clean_even_after_sigterm(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    stage.end(TIE, signal.SIGKILL)
    stage.start(TIE)
    stage.stays(TIE, 0.2, ready=False)
    assert stage.end(TIE)[0] == 0
    assert not stage.stored(TIE)["clean"]


def test_a_lock_outlives_a_kill_and_opens_a_switch_found_closed(stage):
    locked = StoredSide(SectionState.FAULTED, EventId(3, 65), locked=True)
    stage.commission(NEIGHBOUR, record=replace(COMMISSIONED, sides=(locked, StoredSide())))
    stage.start(NEIGHBOUR)
    stage.until(NEIGHBOUR, locked=["DURABLE", "NONE"])
    assert "open" in stage.orders()
    stage.end(NEIGHBOUR, signal.SIGKILL)
    stage.orders()
    stage.start(NEIGHBOUR)
    stage.until(NEIGHBOUR, locked=["VOLATILE", "NONE"])  # others rely on it when its peers have been heard
    assert "open" in stage.orders()


# -- refusals ------------------------------------------------------------------------------------------------


def refused(child):
    output, errors = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 2
    assert output == b""
    assert b"Traceback" not in errors
    return errors.decode()


def test_a_second_process_on_one_state_file_is_refused_and_the_first_goes_on(stage):
    stage.commission(TIE)
    stage.start(TIE)
    stage.until(TIE, ready=True)
    assert f"{stage.folder / '9.state'}: in use by another process" in refused(stage.spawn(TIE))
    stage.until(TIE, ready=True)


def changed(settings, **members):
    return json.dumps(json.loads(settings.to_json()) | members)


WRONG = {
    "no JSON": (lambda settings: "{", "no JSON"),
    "member missing": (
        lambda settings: json.dumps({k: v for k, v in json.loads(settings.to_json()).items() if k != "journal"}),
        "journal: a value expected",
    ),
    "member empty": (lambda settings: changed(settings, operator=""), "operator: text expected"),
    "agent without number": (
        lambda settings: changed(
            settings,
            agent={k: v for k, v in json.loads(settings.to_json())["agent"].items() if k != "number"},
        ),
        "number: a value expected",
    ),
    "no such interface": (lambda settings: changed(settings, interfaces=["eth7"]), "eth7"),
    "folder of the state missing": (
        lambda settings: changed(settings, state="nowhere/9.state"),
        "nowhere/9.state",
    ),
    "folder of the inputs missing": (
        lambda settings: changed(settings, inputs="nowhere/inputs"),
        "nowhere/inputs",
    ),
    "folder of the journal missing": (lambda settings: changed(settings, journal="nowhere/9.jsonl"), None),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_end_the_process_with_code_2_and_name_the_member(stage, what):
    change, message = WRONG[what]
    stage.commission(TIE)
    if message is None:  # a journal that cannot be written never stops an agent
        stage.start(TIE, text=change(stage.settings(TIE)))
        stage.until(TIE, ready=True)
        return
    errors = refused(stage.spawn(TIE, text=change(stage.settings(TIE))))
    assert str(stage.folder / "9.json") in errors
    assert message in errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no state at all", "9.state"),
        (b"", "9.state"),
        ({"incarnation": 5}, "sides: a value expected"),
        ([], "9.state"),
    ],
    ids=["garbage", "empty", "member missing", "no record"],
)
def test_a_state_file_that_cannot_be_read_ends_the_process_with_code_2(stage, content, message):
    state = Path(stage.settings(TIE).state)
    if isinstance(content, bytes):
        state.write_bytes(content)
    else:
        DurableFile.create(state, content).close()
    assert message in refused(stage.spawn(TIE))


def test_wrong_arguments_end_the_process_with_code_2_and_its_usage():
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ied_agents.runtime.agent_process"],
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert b"usage" in done.stderr
