"""``flisr doctor``: a good set-up, and broken ones, each with a verdict that names what is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scl
from gateway.site import site_of
from ied_agents.dflisr.stored import COMMISSIONED, to_json
from ied_agents.goose.frame import EthernetFrame
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.durable import DurableFile
from tools.doctor_probe import ANSWERED, ASKED, probe_frame, read_probe
from tools.lab import HOST_INTERFACE

PATIENCE_S = 15.0
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
    def run(*before, interface=HOST_INTERFACE, second=None, folder=None, fifo=0, probe=False, scd=SCD):
        words = ["doctor", "--scd", str(scd), "--ied", "T9", "--interface", interface, "--seconds", "1.5", "--json"]
        words += ["--interface", second] * bool(second) + ["--probe"] * probe
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


@pytest.fixture
def echo(lab):
    words = ["doctor", "--scd", str(SCD), "--ied", "F1Q1", "--interface", HOST_INTERFACE, "--echo"]
    child = lab.spawn("others", [sys.executable, "-P", "-m", "tools.cli", *words], stdout=subprocess.PIPE)
    assert child.stdout.readline().startswith(b"answering the probes of other machines on eth0")
    yield child
    child.kill()
    child.communicate()


def test_a_good_set_up_is_ready(publish, examine):
    publish()
    verdict, found = examine(fifo=5)
    assert verdict != "bad", found
    assert found["streams"] == [("good", "all 18 heard")]
    assert found["access"] == [("good", "nobody besides its own user and root")]
    assert [said.partition(":")[0] for what in ("hop", "detection time") for _, said in found[what]] == 2 * [
        "not known yet"
    ]
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


_RELAY = """
import sys, time
from gateway.site import site_of
from pathlib import Path
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.relay_process import RelayPublishers

link = AfPacketLink("eth0", [])
site = site_of(Path(sys.argv[1]))
(relay,) = [r for r in site.simulated_relays() if site.agents[r.switch].ied == "T9"]
says = SwitchInputs(relay.switch, 1, 10**18, Dbpos.OFF, True, False, Direction.UNKNOWN, False, 0.0, 0.0,
                    (Voltage.PRESENT, Voltage.PRESENT), (0.0, 0.0))
frames = RelayPublishers(relay, link.mac).say(says, 0.0)[: int(sys.argv[2])]
print("ready", flush=True)
while True:
    for frame in frames:
        link.send(frame)
    time.sleep(0.1)
"""


@pytest.mark.parametrize(("heard", "how"), [(0, "bad"), (1, "bad"), (2, "good")])
def test_a_relay_that_is_not_wholly_heard_is_fatal_and_its_streams_are_named(lab, examine, heard, how):
    scd = SCD.with_name("two_source_relays.scd")
    words = [sys.executable, "-P", "-c", _RELAY, str(scd), str(heard)]
    child = lab.spawn("others", words, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        _, found = examine(scd=scd)
    finally:
        child.kill()
        child.communicate()
    ((verdict, said),) = found["relay"]
    assert verdict == how
    silent = [f"T9PPROT/LLN0$GO$gcb{name}" for name in ("Status", "Measured")][heard:]
    assert said.startswith(f"{len(silent)} of 2 not heard: {', '.join(silent)}: relay, " if silent else "all 2 heard")


def test_users_that_this_machine_does_not_have(examine, tmp_path):
    scd = tmp_path / SCD.name
    scd.write_bytes(SCD.read_bytes())
    site = SCD.with_suffix(".toml").read_text() + '\n[access]\nunlock = ["@nobody-at-all"]\n'
    scd.with_suffix(".toml").write_text(site)
    said = bad(*examine(scd=scd), "access")
    assert said.startswith("access: there is no group 'nobody-at-all' on this machine: has no right; add it")


# -- two interfaces -----------------------------------------------------------------------------------------------


def test_one_of_two_interfaces_is_enough_and_the_other_is_named(publish, examine):
    publish()
    verdict, found = examine(second="eth7")
    assert verdict == "look"
    assert [how for how, _ in found["interface"]] == ["good", "look"]
    assert "there is no interface eth7" in found["interface"][1][1]
    assert found["streams"] == [("good", "eth0: all 18 heard")]


def test_neither_of_two_interfaces(examine):
    verdict, found = examine(interface="eth7", second="eth8")
    assert verdict == "bad"
    assert [how for how, _ in found["interface"]] == ["bad", "bad"]


# -- hops ---------------------------------------------------------------------------------------------------------


def test_a_hop_is_timed_with_the_echo_of_another_machine(echo, examine):
    _, found = examine(probe=True)
    ((_, said),) = found["hop"]
    median, _, most = re.fullmatch(
        r"([\d.]+) ms at the median, 99.9 % of (\d+) at most ([\d.]+) ms(?:[;,] .*)?", said
    ).groups()
    assert 0 < float(median) <= float(most)
    echo.send_signal(signal.SIGINT)
    assert echo.wait(PATIENCE_S) == 0


def test_without_an_echo_a_hop_is_not_known(examine):
    ((how, said),) = examine(probe=True)[1]["hop"]
    assert how == "look"
    assert said.startswith("not known yet: nobody answered 150 probes: start doctor with --echo on another machine")
    assert "03-66-6C-69-73-51 and 03-66-6C-69-73-41" in said


def link(lab, *addresses):
    with lab.enter("others"):
        return AfPacketLink(HOST_INTERFACE, addresses)


def test_nothing_is_sent_without_the_flag_and_with_it_100_small_frames_a_second(lab, examine):
    heard = link(lab, ASKED, ANSWERED)
    try:
        examine()
        assert heard.receive() == []
        examine(probe=True)
        frames = [frame for _ in range(10) for frame in heard.receive()]
    finally:
        heard.close()
    assert len(frames) == 150
    (like,) = [agent.own.fast for agent in site_of(SCD).agents.values() if agent.ied == "T9"]
    for frame in map(EthernetFrame.decode, frames):
        assert (frame.dst, frame.appid, frame.vlan_id, frame.vlan_priority) == (
            *(ASKED, 0xFFFF, like.vlan_id, like.vlan_priority),
        )


def test_an_echo_answers_probes_only_and_no_flood(lab, echo):
    (like,) = [agent.own.fast for agent in site_of(SCD).agents.values() if agent.ied == "T9"]
    with lab.enter("a9"):
        line = AfPacketLink(HOST_INTERFACE, [ANSWERED])
    try:
        probe = probe_frame(ASKED, line.mac, like, b"tokentok" + bytes(4))
        for other in (
            probe[:-1],
            EthernetFrame(ASKED, line.mac, 0, 4, 0x3FFF, False, bytes(300)).encode(),
            EthernetFrame(ASKED, line.mac, 0, 4, 0xFFFF, False, bytes(301)).encode(),
            probe_frame(ANSWERED, line.mac, like, b"tokentok" + bytes(4)),
        ):
            line.send(other)
        time.sleep(0.3)
        assert line.receive() == []
        line.send(probe)
        time.sleep(0.3)
        (answer,) = line.receive()
        assert read_probe(answer) == b"tokentok" + bytes(4)
        for _ in range(60):
            line.send(probe)
        time.sleep(0.5)
        assert 10 <= len(line.receive()) < 60
    finally:
        line.close()
    assert echo.poll() is None


def test_an_echo_without_an_interface_ends_with_its_name(lab):
    words = ["doctor", "--scd", str(SCD), "--ied", "F1Q1", "--interface", "eth7", "--echo"]
    child = lab.spawn("others", [sys.executable, "-P", "-m", "tools.cli", *words], stderr=subprocess.PIPE)
    _, errors = child.communicate()
    assert child.returncode == 1
    assert errors.startswith(b"there is no interface eth7")
