"""``flisr doctor``: a good set-up, and broken ones, each with a verdict that names what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import scl
from ied_agents.dflisr.stored import COMMISSIONED, to_json
from ied_agents.runtime.durable import DurableFile
from tools.lab import HOST_INTERFACE

SCD = Path(scl.__file__).parent / "samples" / "two_source.scd"

# Publishes the streams of all agents but T9's; arguments: those to leave out, and what to add to every confRev.
_PUBLISHING = """
import sys, time
from dataclasses import replace
from pathlib import Path
from gateway.site import site_of
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.station import Station

link = AfPacketLink("eth0", [])
frames = []
for agent in site_of(Path(sys.argv[1])).agents.values():
    if agent.ied == "T9" or agent.ied in sys.argv[2].split(","):
        continue
    more = int(sys.argv[3])
    own = replace(agent.own, **{n: replace(getattr(agent.own, n), confRev=getattr(agent.own, n).confRev + more)
                                for n in ("fast", "slow")})
    station = Station(replace(agent, own=own), COMMISSIONED.started(5), unclean=False, mac=link.mac, now=0.0)
    frames += station.turn(0.0, 10**18).frames
print("ready", flush=True)
while True:
    for frame in frames:
        link.send(frame)
    time.sleep(0.1)
"""


@pytest.fixture
def lab(make_lab):
    return make_lab("a9", "others")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "T9"
    folder.mkdir()
    DurableFile.create(folder / "state", to_json(COMMISSIONED)).close()
    return tmp_path


@pytest.fixture
def publish(lab):
    children = []

    def start(*silent, confrev=0):
        words = [sys.executable, "-P", "-c", _PUBLISHING, str(SCD), ",".join(silent), str(confrev)]
        children.append(lab.spawn("others", words, stdout=subprocess.PIPE))
        assert children[-1].stdout.readline() == b"ready\n"

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def examine(lab, root):
    def run(*before, interface=HOST_INTERFACE, folder=None, fifo=0):
        words = ["doctor", "--scd", str(SCD), "--ied", "T9", "--interface", interface, "--seconds", "1.5", "--json"]
        where = ["--root", str(root if folder is None else folder), "--fifo", str(fifo)]
        child = lab.spawn(
            "a9",
            [*before, sys.executable, "-P", "-m", "tools.cli", *words, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = child.communicate()
        assert out, errors.decode()
        report = json.loads(out)
        assert child.returncode == (1 if report["verdict"] == "bad" else 0)
        found = {}
        for finding in report["findings"]:
            found.setdefault(finding["what"], []).append((finding["verdict"], finding["said"]))
        return report["verdict"], found

    return run


def test_a_good_set_up_is_ready(publish, examine):
    publish()
    verdict, found = examine(fifo=5)
    assert verdict != "bad", found
    assert found["streams"] == [("good", "all 18 heard")]
    for what in ("disk", "state", "interface", "timers"):
        assert found[what][0][0] in ("good", "look"), found[what]
    assert {"real time", "clock"} <= found.keys()


def bad(verdict, found, what):
    assert verdict == "bad"
    ((how, said),) = found[what]
    assert how == "bad"
    return said


def test_an_interface_that_is_not_there(examine):
    assert "there is no interface eth7; there are: " in bad(*examine(interface="eth7"), "interface")


def test_an_interface_that_is_down(lab, examine):
    assert lab.spawn("a9", ["ip", "link", "set", HOST_INTERFACE, "down"]).wait() == 0
    assert f"interface {HOST_INTERFACE} is down: ip link set" in bad(*examine(), "interface")


def test_no_right_to_packet_sockets(examine):
    without = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", "--reuid", "65534", "--clear-groups")
    assert "need CAP_NET_RAW" in bad(*examine(*without), "interface")


def test_a_folder_that_cannot_be_written(examine, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    said = bad(*examine(folder=file), "disk")
    assert said.startswith(f"{file}/T9: ")
    assert "name another with --root" in said


def test_a_damaged_state_file(examine, root):
    (root / "T9" / "state").write_bytes(b"nothing that an agent wrote")
    assert str(root / "T9" / "state") in bad(*examine(), "state")


def test_a_silent_peer_is_named_and_all_silent_is_fatal(publish, examine):
    assert "18 of 18 not heard" in bad(*examine(), "streams")
    publish("F1R3")
    verdict, found = examine()
    assert verdict == "look"
    ((how, said),) = found["streams"]
    assert how == "look"
    assert "2 of 18 not heard: F1R3FLISR/LLN0$GO$gcbFast, F1R3FLISR/LLN0$GO$gcbSlow" in said


def test_peers_with_another_scd_are_named(publish, examine):
    publish(confrev=1)
    said = bad(*examine(), "streams")
    assert "F1Q1FLISR/LLN0$GO$gcbFast" in said
    assert "not as in this SCD" in said
