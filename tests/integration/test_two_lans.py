"""Agents on two separate networks: one of them dies in the middle of a fault, and nobody notices but the journals."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.operator_client import ask
from ied_agents.runtime.station import Station
from tools.demo.stage import Stage
from tools.lab import HOST_INTERFACES, LabUnavailable

SCD = Path(scl.__file__).parent / "samples" / "two_source.scd"
PATIENCE_S = 30.0
RCT = "0007{lan:x}05e88fb"
"""The trailer that PRP puts behind a frame (IEC 62439-3)."""


@pytest.fixture(scope="module")
def site():
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        yield read_site(samples / "two_source.toml")


def until(condition, patience_s=PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def interfaces_told(journal):
    entries = list(read_journal(journal)) if journal.exists() else []  # it is written behind time
    return [
        (kind, entry["interface"])
        for entry in entries
        for kind in ("lost", "back")
        if entry["kind"] == f"interface {kind}"
    ]


# -- a whole system ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(site, tmp_path, require):
    try:
        with Stage(site, tmp_path, PlantSettings(), 1, lans=2) as playing:
            yield playing
    except LabUnavailable as reason:
        require(False, str(reason))


DECISIONS = ("declared faulted", "locked", "clear requested", "open ordered", "close ordered", "did not close")
EXPECTED = {
    "F1/S2": {
        "declared faulted": {"F1L2": 1},
        "clear requested": {"F1L2": 1},
        "locked": {"F1L2": 1, "F1R3": 1, "T10": 1},
        "open ordered": {"F1Q1": 1, "F1R3": 1, "F1L2": 1},
        "close ordered": {"F1Q1": 1, "T9": 1},
    },
    "F2/S3": {
        "declared faulted": {"F2R7": 1},
        "locked": {"F2R7": 1, "F2L8": 1},
        "open ordered": {"F2R7": 1, "F2L8": 1},
        "close ordered": {"T9": 1},
    },
}
"""For a fault in a section, who decides what, and how often; switches without a decision are left out."""


def decided(stage, out, since_ns):
    """How often each agent took each decision since a time."""
    found = {}
    for agent in stage.site.agents.values():
        for entry in read_journal(out / f"{agent.ied}.jsonl"):
            if entry["t_ns"] >= since_ns and entry["kind"] in DECISIONS:
                found.setdefault(entry["kind"], Counter())[agent.ied] += 1
    return found


def works(stage, lan):
    return {said["interfaces"][HOST_INTERFACES[lan]]["works"] for said in stage.statuses().values()}


def heal_while_cut(stage, site, out, name, lan):
    """A fault, and 5 ms later a network dies; returns since when, ns."""
    section = next(s.index for s in site.network.sections if s.name == name)
    began_ns = time.time_ns()
    at_ns = began_ns + 10**9
    stage.inject_fault(section, at_ns)
    time.sleep((at_ns - time.time_ns()) / 1e9 + 0.005)
    stage.switch_lan(lan, on=False)
    stage.settle(12.0)
    assert decided(stage, out, began_ns) == EXPECTED[name]
    until(lambda: works(stage, lan) == {False})
    assert works(stage, 1 - lan) == {True}
    assert all(said["heard"] == said["subscribed"] for said in stage.statuses().values())
    stage.switch_lan(lan, on=True)
    until(lambda: works(stage, lan) == {True})
    return section


def test_one_network_dies_during_a_fault_and_the_other_during_the_next(stage, site, tmp_path):
    first = heal_while_cut(stage, site, tmp_path, "F1/S2", 0)
    stage.clear_fault(first)
    (event,) = {tuple(said["event"]) for said in stage.statuses().values() if "DURABLE" in said["locked"]}
    number = next(n for n, said in stage.statuses().items() if "DURABLE" in said["locked"])
    assert stage.request(number, {"request": "return", "event": event})["done"]
    normal = {switch.number: "ON" if switch.closed else "OFF" for switch in site.plant().switches}
    until(lambda: {n: said["position"] for n, said in stage.statuses().items()} == normal)
    stage.settle(12.0, 4.0)
    heal_while_cut(stage, site, tmp_path, "F2/S3", 1)
    expected = [("lost", "eth0"), ("back", "eth0"), ("lost", "eth1"), ("back", "eth1")]
    for agent in site.agents.values():
        journal = tmp_path / f"{agent.ied}.jsonl"
        until(lambda: len(interfaces_told(journal)) >= len(expected))  # noqa: B023 - called at once
        assert interfaces_told(journal) == expected
        assert not [entry for entry in read_journal(journal) if entry["kind"] == "OldStateReceived"]
    counted = stage.request(1, {"request": "counters"})["counters"]
    assert {(lan["lost"], lan["not_sent"]) for lan in counted["interfaces"].values()} == {(1, 0)}
    received, copies = (sum(lan[what] for lan in counted["interfaces"].values()) for what in ("received", "copies"))
    assert sum(stream["received"] for stream in counted["streams"].values()) == received - copies
    assert 0.2 * received < copies < 0.5 * received
    assert all(stream["lost"] == stream["missed"] == 0 for stream in counted["streams"].values())


# -- one agent, and a peer that is played ------------------------------------------------------------------------------


@pytest.fixture
def lab(make_lab):
    return make_lab("a9", "others", lans=2)


@pytest.fixture
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("r")  # a short name: the paths of sockets are bounded


@pytest.fixture
def journal(root):
    return root / "T9" / "journal.jsonl"


@pytest.fixture
def start(lab, root):
    children = []

    def run():
        words = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", "--scd", str(SCD)]
        words += ["--interface", "eth0", "--interface", "eth1", "--root", str(root)]
        children.append(lab.spawn("a9", words, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        line = children[-1].stdout.readline()
        assert line, children[-1].communicate()[1].decode()
        return children[-1]

    yield run
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def peer(lab, site):
    """``peer(interface, …)``: L4 publishes once on those, with PRP's trailer."""
    links = {}
    with lab.enter("others"):
        for interface in HOST_INTERFACES:
            links[interface] = AfPacketLink(interface, [])
    settings = next(agent for agent in site.agents.values() if agent.ied == "F1L4")
    station = Station(settings, COMMISSIONED.started(5), unclean=False, mac=links["eth0"].mac, now=0.0)
    passed = [0.0]

    def publish(*interfaces):
        passed[0] += 1.001
        for frame in station.turn(passed[0], 10**18).frames:
            for lan, interface in enumerate(interfaces, 0xA):
                links[interface].send(frame + bytes.fromhex(RCT.format(lan=lan)))

    yield publish
    for link in links.values():
        link.close()


def ip(lab, *words):
    assert lab.spawn("a9", ["ip", *words]).wait() == 0


def status(root):
    return ask(root / "T9" / "operator", {"request": "status"})["interfaces"]


def heard_on(root, peer, *interfaces):
    """Publish there until the agent says that F1L4 is heard there, and that they work."""

    def heard():
        peer(*interfaces)
        said = status(root)
        return all(said[name]["works"] and "F1L4" not in said[name]["not_heard"] for name in interfaces)

    until(heard)


def test_frames_with_the_trailer_of_prp_are_taken_once(lab, root, start, peer):
    start()
    heard_on(root, peer, "eth0", "eth1")
    counted = ask(root / "T9" / "operator", {"request": "counters"})["counters"]
    assert counted["interfaces"]["eth1"]["copies"] + counted["interfaces"]["eth0"]["copies"] >= 2
    for stream in ("gcbFast", "gcbSlow"):
        said = counted["streams"][f"F1L4FLISR/LLN0$GO${stream}"]
        assert said["received"] == said["states"] + said["repetitions"] > 0
    assert "F1Q1" in status(root)["eth1"]["not_heard"]


@pytest.mark.parametrize("missing", HOST_INTERFACES)
def test_a_missing_interface_is_told_once_and_taken_when_it_comes(lab, root, journal, start, peer, missing):
    there = next(name for name in HOST_INTERFACES if name != missing)
    ip(lab, "link", "set", missing, "down")
    ip(lab, "link", "set", missing, "name", "aside")
    child = start()
    heard_on(root, peer, there)
    said = status(root)[missing]
    assert (said["works"], said["why"].startswith(f"there is no interface {missing}")) == (False, True)
    until(lambda: interfaces_told(journal) == [("lost", missing)])
    ip(lab, "link", "set", "aside", "name", missing)
    ip(lab, "link", "set", missing, "up")
    heard_on(root, peer, *HOST_INTERFACES)
    until(lambda: interfaces_told(journal) == [("lost", missing), ("back", missing)])
    assert child.poll() is None


def test_an_interface_that_goes_down_or_away_stops_nothing(lab, root, journal, start, peer):
    child = start()
    heard_on(root, peer, "eth0", "eth1")
    ip(lab, "link", "set", "eth0", "down")
    until(lambda: peer("eth1") or not status(root)["eth0"]["works"])
    assert "down" in status(root)["eth0"]["why"]
    ip(lab, "link", "set", "eth0", "up")
    heard_on(root, peer, "eth0", "eth1")
    ip(lab, "link", "del", "eth1")
    until(lambda: peer("eth0") or not status(root)["eth1"]["works"])
    heard_on(root, peer, "eth0")
    until(lambda: len(interfaces_told(journal)) == 3)
    assert interfaces_told(journal) == [("lost", "eth0"), ("back", "eth0"), ("lost", "eth1")]
    assert child.poll() is None


def test_neither_interface_there_ends_it_with_both_names(lab, root):
    words = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", "--scd", str(SCD)]
    words += ["--interface", "eth7", "--interface", "eth8", "--root", str(root)]
    child = lab.spawn("a9", words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 2
    assert b"no interface eth7" in errors
    assert b"no interface eth8" in errors
    assert json.loads((root / "T9" / "settings.json").read_text())["interfaces"] == ["eth7", "eth8"]
