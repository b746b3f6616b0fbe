"""The settings document of an agent process: there and back, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import scl
from gateway.site import read_site
from ied_agents.dflisr.feeder import SharedElement
from ied_agents.runtime.access import Access
from ied_agents.runtime.settings import AgentProcessSettings, AgentSettings, AgentSettingsError

SAMPLE = Path(scl.__file__).parent / "samples" / "two_source.toml"


@pytest.fixture(scope="module")
def agents():
    return read_site(SAMPLE).agents


@pytest.fixture(scope="module")
def settings(agents):
    return AgentProcessSettings(
        agent=agents[3],
        interfaces=("eth0", "eth1"),
        state="3.state",
        journal="3.jsonl",
        inputs="3.inputs",
        process="plant",
        operator="3.operator",
        receive_loss=0.25,
    )


def test_every_agent_of_the_sample_comes_back_from_its_document(agents):
    for agent in agents.values():
        assert AgentSettings.from_json(agent.to_json()) == agent


def test_what_the_site_says_of_reclosing_transfer_priorities_and_sharing_comes_back(agents):
    agent = agents[1]
    feeder = agent.config.feeder
    first = replace(feeder.switches[0], shots=(0.5, 15.0), transfer_after_s=2.0, paralleling=True)
    feeder = replace(
        feeder,
        switches=(first, *feeder.switches[1:]),
        sections=(replace(feeder.sections[0], priority=3), *feeder.sections[1:]),
        shared=(SharedElement("T1", 600.0, 5, (1, 5)),),
    )
    access = Access(operate=("anna",), unlock=("@shift",))
    made = replace(agent, config=replace(agent.config, feeder=feeder), access=access)
    back = AgentSettings.from_json(made.to_json())
    assert back == made
    assert back.config.feeder.shared == (SharedElement("T1", 600.0, 5, (1, 5)),)
    assert back.config.feeder.switches[0].shots == (0.5, 15.0)


def test_a_process_comes_back_from_its_document(settings):
    assert AgentProcessSettings.from_json(settings.to_json()) == settings


def test_the_document_is_plain_json_without_gaps(settings):
    document = json.loads(settings.to_json())
    assert set(document) == {
        *("interfaces", "state", "journal", "inputs", "process", "operator", "receive_loss", "realtime", "agent")
    }
    assert document["agent"]["number"] == 3
    assert len(document["agent"]["switches"]) == 10


def broken(settings, path, change):
    document = json.loads(settings.to_json())
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return json.dumps(document)


PEER = ("agent", "peers", "4")
MEMBERS = [
    ("interfaces",),
    ("state",),
    ("journal",),
    ("inputs",),
    ("process",),
    ("operator",),
    ("receive_loss",),
    ("agent",),
    ("agent", "ied"),
    ("agent", "number"),
    ("agent", "detection_time_s"),
    ("agent", "pickup_factor"),
    ("agent", "switches"),
    ("agent", "sections"),
    ("agent", "own"),
    ("agent", "peers"),
    ("agent", "own", "fast"),
    ("agent", "own", "slow"),
    ("agent", "own", "fast", "mac"),
    ("agent", "own", "slow", "gocbRef"),
    (*PEER, "slow"),
    (*PEER, "fast", "appid"),
    ("agent", "switches", 0, "sides"),
    ("agent", "switches", 0, "rating_a"),
    ("agent", "switches", 0, "shots"),
    ("agent", "switches", 0, "transfer_after_s"),
    ("agent", "switches", 0, "paralleling"),
    ("agent", "sections", 0, "priority"),
    ("agent", "sections", 0, "is_source"),
    ("agent", "shared"),
    ("agent", "access"),
    ("agent", "access", "unlock"),
]


@pytest.mark.parametrize("path", MEMBERS, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_member_is_refused_by_name(settings, path):
    text = broken(settings, path, lambda parent, key: parent.pop(key))
    with pytest.raises(AgentSettingsError, match=path[-1]):
        AgentProcessSettings.from_json(text)


WRONG = [
    (("interfaces",), "eth0"),
    (("interfaces",), []),
    (("interfaces",), [""]),
    (("interfaces",), ["eth0", "eth0"]),
    (("interfaces",), ["eth0", "eth1", "eth2"]),
    (("state",), None),
    (("journal",), 5),
    (("operator",), ["a"]),
    (("receive_loss",), "much"),
    (("receive_loss",), 1.5),
    (("receive_loss",), -0.1),
    (("agent",), []),
    (("agent", "number"), 77),
    (("agent", "number"), "3"),
    (("agent", "detection_time_s"), "fast"),
    (("agent", "detection_time_s"), -1.0),
    (("agent", "pickup_factor"), None),
    (("agent", "ied"), 7),
    (("agent", "switches"), {}),
    (("agent", "switches", 0, "sides"), [1]),
    (("agent", "switches", 0, "rating_a"), "large"),
    (("agent", "switches", 0, "shots"), 0.5),
    (("agent", "switches", 0, "shots"), ["soon"]),
    (("agent", "switches", 0, "paralleling"), 1),
    (("agent", "sections", 0, "priority"), -1),
    (("agent", "shared"), {}),
    (("agent", "shared"), [{"name": "T1"}]),
    (("agent", "access"), []),
    (("agent", "access", "operate"), "anna"),
    (("agent", "access", "tag"), [""]),
    (("agent", "own", "fast", "mac"), "01-0c-cd"),
    (("agent", "own", "fast", "mac"), "zz0ccd010001"),
    (("agent", "own", "fast", "appid"), "8001"),
    (("agent", "own", "fast", "appid"), 0x10000),
    (("agent", "own", "fast", "min_time_ms"), 0),
    (("agent", "own", "slow", "confRev"), None),
    ((*PEER, "fast", "mac"), 12),
    (("agent", "peers"), []),
]


@pytest.mark.parametrize(("path", "wrong"), WRONG, ids=lambda value: repr(value)[:60])
def test_a_wrong_member_is_refused_by_name(settings, path, wrong):
    text = broken(settings, path, lambda parent, key: parent.__setitem__(key, wrong))
    name = [key for key in path if isinstance(key, str)][-1]
    with pytest.raises(AgentSettingsError, match=name):
        AgentProcessSettings.from_json(text)


def test_a_switch_in_a_section_that_is_not_there_is_refused_with_both_names(settings):
    text = broken(settings, ("agent", "switches", 0, "sides"), lambda parent, key: parent.__setitem__(key, [0, 99]))
    with pytest.raises(AgentSettingsError, match=r"switch ALPHA/V20/F1/Q1.*section 99"):
        AgentProcessSettings.from_json(text)


def test_a_member_that_nobody_knows_is_refused_by_name(settings):
    for path in [("agent", "switches", 0, "colour"), ("agent", "own", "fast", "colour")]:
        text = broken(settings, path, lambda parent, key: parent.__setitem__(key, "red"))
        with pytest.raises(AgentSettingsError, match="colour"):
            AgentProcessSettings.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '"text"', "{}"])
def test_what_is_no_settings_document_is_refused(text):
    with pytest.raises(AgentSettingsError):
        AgentProcessSettings.from_json(text)


@pytest.mark.parametrize(
    ("number", "near"),
    [
        (1, {2, 3, 10}),  # Q1 breaker: beyond L2 it clears for the open tie T10 too, and R3 trips for itself
        (3, {1, 2, 4, 9, 10}),  # R3 breaker: beyond L4 the tie T9, beyond L2 the head Q1
        (4, {3, 9}),  # L4 clears for nobody: its neighbours alone
        (9, {4, 8}),
    ],
)
def test_a_breaker_is_woken_by_every_switch_that_it_may_have_to_clear_for(agents, number, near):
    streams = agents[number].peers
    prompt, others = agents[number].addresses()
    assert set(prompt) == {bytes.fromhex(streams[n].fast.mac) for n in near}
    every = {bytes.fromhex(s.mac) for peer in streams.values() for s in (peer.fast, peer.slow)}
    assert set(others) == every - set(prompt)
    assert len(prompt) + len(others) == len(every)
