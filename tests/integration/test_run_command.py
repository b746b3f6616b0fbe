"""``flisr run`` and ``flisr check``: what is wrong with a site, and a service manager that is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cli import main

WORDS = [sys.executable, "-P", "-m", "tools.cli"]
PATIENCE_S = 60
CENTRE = """
[site]
name = "north"

[[centre]]
name = "scada"
listen = "127.0.0.1"
port = 0
points = { include = ["NORTH/*"] }

[[rtu]]
name = "NORTH"
hosts = ["127.0.0.1:1"]
CAs = [1]

[[rtu.point]]
name = "NORTH/Q1.Pos"
cdc = "DPC"
typeID = "M_DP_TB_1"
IOA = 12
"""


@pytest.fixture
def site(tmp_path):
    """``site(text)``: writes it as a site file."""

    def write(text):
        file = tmp_path / "north.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def checked(monkeypatch, capsys):
    """``checked(file)``: what ``flisr check`` finds, and how many points there are."""

    def play(file):
        monkeypatch.setattr(sys, "argv", ["flisr", "check", str(file), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = json.loads(capsys.readouterr().out)
        assert ended.value.code == (1 if said["problems"] else 0)
        return [problem.removeprefix(f"{file}: ") for problem in said["problems"]], said["points"]

    return play


def test_a_site_without_fault(site, checked):
    assert checked(site(CENTRE)) == ([], 1)


def test_all_that_is_wrong_with_certificates_too(site, checked):
    tls = 'tls = { certificate = "own.pem", key = "own.key", authority = "ca.pem" }\n'
    text = CENTRE.replace("port = 0\n", "port = 0\n" + tls).replace("CAs = [1]\n", "CAs = [1]\n" + tls)
    problems, _ = checked(site(text))
    assert [problem.partition(":")[0] for problem in problems] == ["centre scada", "rtu NORTH"]
    assert all("own.pem" in problem for problem in problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[site]\nname = "north"\n', "no [[centre]], no [[broker]], no [[rtu]], no [[ied]] and no [[agent]]"),
        (CENTRE + "[history]\n", "history.where: Field required"),
        (CENTRE + '[history]\nwhere = "h.db"\nrows = 0\n', "history.rows: Input should be greater than 0"),
        (CENTRE + '[metrics]\nlisten = "9104"\nport = 1\n', "metrics.port: Extra inputs"),
        (
            CENTRE + '[metrics]\nlisten = "localhost:http"\n',
            "metrics.listen: Value error, 'localhost:http'; expected HOST",
        ),
        (CENTRE + '[gateway]\nstore = ""\n', "gateway.store: String should have at least 1 character"),
        (CENTRE.replace("[[rtu.point]]", "[[rtu.point]]\nscales = 1"), "rtu[1].point[1].scales: Extra inputs"),
    ],
)
def test_what_a_site_file_cannot_be(site, checked, text, said):
    problems, _ = checked(site(text))
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_checking_changes_nothing(site, checked, tmp_path):
    file = site(CENTRE.replace("port = 0\n", 'port = 0\nassigned = "addresses.csv"\n'))
    checked(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def run(file, **environment):
    return subprocess.Popen(
        [*WORDS, "run", str(file), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_service_manager_is_told_and_an_end_is_in_order(site, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_S)
        manager.bind(str(tmp_path / "notify"))
        child = run(site(CENTRE), NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="300000")
        try:
            assert manager.recv(100) == b"READY=1"
            assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
            child.send_signal(signal.SIGTERM)
            while (said := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1"
            out, _ = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
            child.wait()
    ready = json.loads(out.splitlines()[0])
    assert (ready["points"], ready["devices"]) == (1, ["NORTH"])
    assert ready["served"][0]["centres"] == ["scada"]
    assert child.returncode == 0


def test_the_unit_in_the_manual_is_one_that_systemd_accepts(require, tmp_path):
    require(shutil.which("systemd-analyze"), "systemd-analyze (Debian package systemd) is not installed")
    manual = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
    unit = manual.partition("```ini\n")[2].partition("```")[0]
    assert "Type=notify\n" in unit
    assert "KillMode=process\n" in unit, "an agent outlives a gateway that is killed"
    # The program and the user are those of another machine.
    unit = unit.replace("/opt/flisr/bin/flisr", sys.executable).replace("=flisr\n", "=root\n")
    file = tmp_path / "flisr.service"
    file.write_text(unit)
    found = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_what_cannot_be_had_is_named(site, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        child = run(site(CENTRE.replace("port = 0", f"port = {port}")))
        _, said = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 2
    assert str(port) in said
    assert "Traceback" not in said
    (tmp_path / "blocked").write_text("no folder")
    child = run(site(CENTRE + '[gateway]\nstore = "blocked"\n'))
    _, said = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 2
    assert "blocked" in said
    assert "Traceback" not in said


def test_a_second_gateway_of_the_same_store_is_refused(site):
    file = site(CENTRE)
    first = run(file)
    try:
        assert first.stdout.readline()
        second = run(file)
        _, said = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 2
        assert "store" in said
        assert "Traceback" not in said
    finally:
        first.terminate()
        first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0
