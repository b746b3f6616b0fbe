"""``flisr agent``: one agent run from SCD and site file, looked at and operated from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from open61850.mms.client import MmsClient
from prometheus_client.parser import text_string_to_metric_families

import scl
from gateway.site import SiteError
from ied_agents.runtime.operator_client import AgentSilentError, ask
from tools.agent_command import app
from tools.lab import HOST_INTERFACE

SCD = Path(scl.__file__).parent / "samples" / "two_source.scd"
PATIENCE_S = 15.0


@pytest.fixture
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("r")  # a short name: the paths of sockets are bounded


def arguments(root, ied="T9", scd=SCD):
    where = ("--scd", str(scd), "--interface", HOST_INTERFACE, "--root", str(root))
    return [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", ied, *where]


@pytest.fixture
def running(make_lab, root):
    child = make_lab("a9").spawn("a9", arguments(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = child.stdout.readline()
    assert line, child.communicate()[1].decode()
    assert json.loads(line)["kind"] == "AgentReady"
    yield child
    child.kill()
    child.communicate()


@pytest.fixture
def flisr(capsys, root):
    def run(*words, status=0):
        with pytest.raises(SystemExit) as ended:
            app([*words, "--root", str(root)])
        assert ended.value.code == status
        return capsys.readouterr()

    return run


def test_a_new_agent_is_held_until_it_is_confirmed_and_says_how_it_stands(running, flisr):
    before = json.loads(flisr("status", "T9", "--json").out)
    assert (before["ied"], before["held_until_confirmed"], before["ready"]) == ("T9", True, False)
    assert len(before["not_heard"]) == before["subscribed"] == 9
    assert "accepted" in flisr("confirm", "T9").out
    assert not json.loads(flisr("status", "T9", "--json").out)["held_until_confirmed"]
    assert "held until confirmed False" in " ".join(flisr("status", "T9").out.split())


def test_what_is_asked_of_it_is_done_or_refused_with_the_reason(running, flisr):
    flisr("confirm", "T9")
    flisr("tag", "T9", "crew 7", "--work", "--hot-line")
    flisr("tag", "T9", "dispatcher", "--hot-line")
    flisr("mode", "T9", "blocked")
    flisr("authority", "T9", "local")
    status = json.loads(flisr("status", "T9", "--json").out)
    assert (status["tags"], status["mode"]) == ({"crew 7": 3, "dispatcher": 2}, "BLOCKED")
    assert status["authority"] == "LOCAL"
    assert "LOCAL" in flisr("close", "T9", status=1).err
    flisr("tag", "T9", "crew 7")
    assert json.loads(flisr("status", "T9", "--json").out)["tags"] == {"dispatcher": 2}
    assert "holds nothing" in flisr("unlock", "T9", "3", "17", status=1).err
    refused = json.loads(flisr("normalize", "T9", "3", "17", "--json", status=1).out)
    assert not refused["done"]


def test_simulation_is_set_in_test_and_refused_in_words_elsewhere(running, flisr):
    flisr("mode", "T9", "blocked")
    assert "this agent is blocked" in flisr("sim", "T9", "on", status=1).err
    assert json.loads(flisr("sim", "T9", "on", "--json", status=1).out)["why"] == "MODE"
    flisr("mode", "T9", "test/blocked")
    assert "accepted" in flisr("sim", "T9", "on").out
    status = json.loads(flisr("status", "T9", "--json").out)
    assert (status["simulation"], status["simulated"]) == (True, [])
    assert 'flisr_agent_simulation{ied="T9"} 1.0' in flisr("metrics", "T9").out
    flisr("mode", "T9", "blocked")
    assert not json.loads(flisr("status", "T9", "--json").out)["simulation"]
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE_S) == 0
    kinds = [json.loads(line)["kind"] for line in flisr("trace", "T9", "--json").out.splitlines()]
    assert kinds.count("simulation asked") == 3
    assert kinds.count("simulation over") == 1


def test_its_journal_is_told_whether_it_runs_or_not(running, flisr):
    flisr("confirm", "T9")
    running.send_signal(signal.SIGTERM)
    assert running.wait(PATIENCE_S) == 0
    entries = [json.loads(line) for line in flisr("trace", "T9", "--json").out.splitlines()]
    (asked,) = (entry for entry in entries if entry["kind"] == "operator")
    assert (json.loads(asked["request"]), asked["done"]) == ({"request": "confirm"}, True)
    (last,) = flisr("trace", "T9", "--last", "1").out.splitlines()
    assert entries[-1]["kind"] in last


def test_flisr_is_disabled_and_enabled_for_a_feeder_and_who_is_not_there_is_named(running, flisr):
    flisr("confirm", "T9")
    where = ("--scd", str(SCD), "--json")
    answers = json.loads(flisr("feeder", "F1Q1", "blocked", *where, status=1).out)
    assert list(answers) == ["F1Q1", "F1L2", "F1R3", "F1L4", "T9", "T10"]
    assert [ied for ied, answer in answers.items() if answer["done"]] == ["T9"]
    assert "no agent listens there" in answers["F1R3"]["why"]
    assert json.loads(flisr("status", "T9", "--json").out)["mode"] == "BLOCKED"
    assert json.loads(flisr("feeder", "F2Q5", "on", *where, status=1).out)["T9"] == {"done": True}
    assert json.loads(flisr("status", "T9", "--json").out)["mode"] == "ON"


def test_a_feeder_is_named_by_its_head(root):
    with pytest.raises(SiteError, match="F1R3 is no agent at a source; those are F1Q1, F2Q5"):
        app(["feeder", "F1R3", "on", "--scd", str(SCD), "--root", str(root)])


def test_it_is_served_by_mms(running, root):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ("--scd", str(SCD), "--root", str(root), "--address", "127.0.0.1", "--port", str(port))
    words = [sys.executable, "-P", "-m", "tools.cli", "agent", "mms", "T9", *where]
    host = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert json.loads(host.stdout.readline())["ieds"] == ["T9"]
        with MmsClient.connect("127.0.0.1", port) as client:
            assert client.read("T9FLISR/AFSR1$SP$SwNum$setVal").value == 9
    finally:
        host.terminate()
        host.communicate()
    assert host.returncode == 0


def test_an_ied_without_an_address_is_named(root):
    with pytest.raises(SiteError, match="no IP address for T99"):
        app(["mms", "T9", "T99", "--scd", str(SCD), "--root", str(root)])


def families(text):
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def test_its_metrics_are_printed_and_one_that_is_down_is_down(running, flisr):
    flisr("confirm", "T9")
    found = families(flisr("metrics", "T9", "T10").out)
    assert {s.labels["ied"]: s.value for s in found["flisr_agent_up"]} == {"T9": 1.0, "T10": 0.0}
    assert [s.value for s in found["flisr_agent_held_until_confirmed"]] == [0.0]
    assert found["flisr_agent_records_written"][0].value >= 1.0
    assert 0.0 < found["flisr_agent_record_s"][0].value < PATIENCE_S
    assert [s.labels["stage"] for s in found["flisr_agent_stage"] if s.value] == ["idle"]
    streams = {s.labels["gocbRef"] for s in found["flisr_goose_frames"]}
    assert len(streams) == 18
    assert "F1Q1FLISR/LLN0$GO$gcbFast" in streams
    assert [(s.labels["interface"], s.value) for s in found["flisr_interface_works"]] == [("eth0", 1.0)]
    counted = {s.labels["what"]: s.value for s in found["flisr_interface_frames"]}
    assert counted["sent"] > 0
    assert counted["received"] == counted["copies"] == counted["not_sent"] == counted["lost"] == 0


def test_its_metrics_are_scraped(running, root):
    words = [sys.executable, "-P", "-m", "tools.cli", "agent", "metrics", "T9", "--port", "0", "--root", str(root)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        words[8] = str(probe.getsockname()[1])
    served = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        port = json.loads(served.stdout.readline())["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            found = families(answer.read().decode())
        assert [s.value for s in found["flisr_agent_up"]] == [1.0]
    finally:
        served.terminate()
        served.communicate()
    assert served.returncode == 0


def test_one_that_does_not_run_is_named(flisr, root):
    (root / "T9").mkdir()
    with pytest.raises(AgentSilentError, match=r"T9/operator: no agent listens there"):
        app(["status", "T9", "--root", str(root)])


def test_one_that_does_not_answer_is_named_and_leaves_nothing_behind(running, root):
    running.send_signal(signal.SIGSTOP)
    with pytest.raises(AgentSilentError, match=r"no answer within 0\.2 s"):
        ask(root / "T9" / "operator", {"request": "status"}, patience_s=0.2)
    running.send_signal(signal.SIGCONT)
    assert list((root / "T9" / "operator.answers").iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_refused_as_such(tmp_path):
    with pytest.raises(AgentSilentError, match="at most 107 octets"):
        ask(tmp_path / ("x" * 120) / "operator", {"request": "status"})


@pytest.mark.parametrize(
    ("ied", "site", "said"),
    [("T99", True, r"no agent 'T99'; it has .*T10"), ("T9", False, r"no two_source\.toml beside it")],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(root, tmp_path, ied, site, said):
    scd = tmp_path / SCD.name
    shutil.copy(SCD, scd)
    if site:
        shutil.copy(SCD.with_suffix(".toml"), scd.with_suffix(".toml"))
    with pytest.raises(SiteError, match=said):
        app(arguments(root, ied, scd)[5:])
    assert list(root.iterdir()) == []
