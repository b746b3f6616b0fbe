"""``flisr 104``: outstation and master from the command line, in processes of their own, over loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import scl
from tools.cli import main

WORDS = [sys.executable, "-P", "-m", "tools.cli", "104"]
PATIENCE_S = 60


@pytest.fixture
def outstation(tmp_path):
    """``outstation(*words)``: starts one; gives what it says when it is ready."""
    children = []

    def start(*words):
        command = [*WORDS, "outstation", "--port", "0", "--rate", "50", "--store", str(tmp_path), "--json", *words]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        return json.loads(children[-1].stdout.readline())

    yield start
    for child in children:
        child.terminate()
        child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0


def master(port, *words):
    command = [*WORDS, "master", f"127.0.0.1:{port}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_master_is_told_all_points_and_then_their_changes(outstation):
    ready = outstation()
    run = master(ready["port"], "--seconds", "3", "--json")
    assert run.returncode == 0
    said = [json.loads(line) for line in run.stdout.splitlines()]
    told = {one["IOA"] for one in said if one.get("cause") == "interrogated"}
    assert len(told) > 300
    assert {"asked": "C_IC_NA_1", "CA": 1, "qualifier": 20, "why": ""} in said
    events = [one for one in said if one.get("cause") == "spontaneous"]
    assert events
    assert all("invalid" not in one["time"] for one in events)
    assert "connected" in run.stderr


def test_events_wait_on_disk_for_the_next_start(outstation, tmp_path):
    outstation()
    assert list(tmp_path.glob("events-*.log"))


@pytest.mark.parametrize(
    ("order", "words", "status", "said"),
    [
        ("1:50001:C_DC_TA_1=close", ["--select"], 0, "'done': True, 'stage': 'termination'"),
        ("1:50001:46=close", ["--select"], 0, "'done': True, 'stage': 'termination'"),
        ("1:50001:59=close", [], 1, "'stage': 'execute', 'why': 'refused'"),
        ("1:50001:59=close", ["--select", "--test"], 1, "'stage': 'select', 'why': 'refused'"),
        ("1:9:59=close", [], 1, "it does not know the object"),
        ("9:50001:59=close", [], 1, "it does not know the common address"),
    ],
)
def test_a_command_ends_as_the_outstation_says(outstation, order, words, status, said):
    run = master(outstation()["port"], "--command", order, *words)
    assert run.returncode == status
    assert said in run.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["master", "127.0.0.1:x"], "is no HOST or HOST:PORT"),
        (["master", "h", "--command", "1:2=close"], "is no CA:IOA:TYPE=VALUE"),
        (["master", "h", "--command", "1:2:30=1"], "is no CA:IOA:TYPE=VALUE"),
        (["master", "h", "--command", "1:2:59=ajar"], "is no CA:IOA:TYPE=VALUE"),
        (["master", "h", "--time-base", "Europe/Nowhere"], "is no time zone of this machine"),
        (["master", "h", "--certificate", "a.pem"], "TLS takes --certificate, --key and --authority"),
        (["outstation", "--certificate", "a", "--key", "b", "--authority", "c"], "a: No such file or directory"),
        (["outstation", "--scd", "nowhere.scd"], "nowhere.scd"),
        (["master", "127.0.0.1:9", "--command", "1:2:59=close", "--seconds", "0.1"], "did not answer"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["flisr", "104", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flisr: ")]
    assert said in line


def test_a_centre_is_served_at_its_own_address_only(tmp_path):
    samples = Path(scl.__file__).parent / "samples"
    (tmp_path / "two_source.scd").write_bytes((samples / "two_source.scd").read_bytes())
    base = (samples / "two_source.toml").read_text(encoding="utf-8")
    centres = "".join(
        f'[[centre]]\nname = "{name}"\nlisten = "127.0.0.1"\nport = 0\ncommon_address = {ca}\n'
        f'points = {{ include = ["{ied}FLISR/CSWI1.Pos"] }}\nassigned = "{name}.csv"\n'
        f"overflow_CA = {ca}\noverflow_IOA = 9\n"
        for name, ca, ied in (("a", 1, "F1Q1"), ("b", 2, "F2Q5"))
    )
    site = tmp_path / "two_source.toml"
    site.write_text(base + centres, encoding="utf-8")
    command = [*WORDS, "outstation", "--site", str(site), "--rate", "0", "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = [json.loads(child.stdout.readline()) for _ in range(2)]
        assert [(each["centres"], each["points"]) for each in ready] == [(["a"], 2), (["b"], 2)]
        for each, ca, other in zip(ready, (1, 2), (2, 1), strict=True):
            run = master(each["port"], "--seconds", "2", "--json", "--ca", str(ca), "--ca", str(other))
            said = [json.loads(line) for line in run.stdout.splitlines()]
            told = [one for one in said if one.get("cause") == "interrogated"]
            assert {one["CA"] for one in told} == {ca}
            assert [one["value"] for one in told if one["IOA"] == 9] == [False], "no events are being lost"
            refused = {"asked": "C_IC_NA_1", "CA": other, "qualifier": 20}
            assert refused | {"why": "it does not know the common address"} in said
    finally:
        child.terminate()
        child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    assert "F2Q5FLISR/CSWI1.Pos.stVal,2,20001" in (tmp_path / "b.csv").read_text(encoding="utf-8")
