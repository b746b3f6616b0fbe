"""The MMS host beside real agents, before clients of two makers: what they see, and that the agents decide."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from mms_clients import CLIENTS, Libiec61850, RefusedError
from mms_hosted import NUMBER, SAMPLES, SITE, Hosted

from ied_agents.iec61850.addcause import AddCause
from ied_agents.process.plant import PlantSettings
from scl.agent_ied import CONF_REV
from scl.agent_model import INDICATIONS, PROGRESS
from tools.demo.stage import Stage

REMOTE, AUTOMATIC = 3, 4
PATIENCE_S = 10.0


@pytest.fixture
def hosted(make_lab, tmp_path):
    with Stage(SITE, tmp_path / "out", PlantSettings(), 1) as stage:
        made = Hosted(stage, tmp_path)
        made.start()
        yield made
        made.kill()


def value(client, ied, reference):
    return client.read(f"{ied}FLISR/{reference}")


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


OFF, ON = b"\x40", b"\x80"


def refused(client, ied, close, **how):
    with pytest.raises(RefusedError) as said:
        client.operate(f"{ied}FLISR/CSWI1.Pos", close, **how)
    return said.value.stage, said.value.add_cause


@pytest.mark.parametrize("maker", CLIENTS.values(), ids=CLIENTS)
def test_a_client_operates_a_switch_and_the_agent_refuses_what_it_must(hosted, maker):
    with hosted.client("F1R3", maker) as client:
        assert value(client, "F1R3", "XCBR1$ST$Pos$stVal") == ON
        client.operate("F1R3FLISR/CSWI1.Pos", False)
        assert value(client, "F1R3", "CSWI1$ST$Pos$stVal") == OFF
        assert refused(client, "F1R3", close=False) == ("select", AddCause.POSITION_REACHED)
        (asked,) = [json.loads(entry["request"]) for entry in hosted.journal("F1R3") if entry["kind"] == "operator"]
        assert (asked["request"], asked["origin"]) == ("open", "station")
        assert asked["orIdent"] in ("test", "flisr")  # as each maker's client names itself
        assert asked["by"].startswith("MMS 127.0.0.1:")
        hosted.ask("F1R3", request="tag", owner="crew 7", tags=1)
        assert refused(client, "F1R3", close=True) == ("select", AddCause.BLOCKED_BY_COMMAND)
        hosted.ask("F1R3", request="tag", owner="crew 7", tags=0)
        hosted.ask("F1R3", request="mode", mode="blocked")
        assert refused(client, "F1R3", close=True) == ("select", AddCause.BLOCKED_BY_MODE)
        until(lambda: value(client, "F1R3", "LLN0$ST$Beh$stVal") == 2)
        hosted.ask("F1R3", request="mode", mode="on")
        hosted.ask("F1R3", request="authority", authority="local")
        assert refused(client, "F1R3", close=True) == ("select", AddCause.BLOCKED_BY_SWITCHING_HIERARCHY)
        until(lambda: value(client, "F1R3", "LLN0$ST$Loc$stVal") is True)
        hosted.ask("F1R3", request="authority", authority="station")
        for orCat in (REMOTE, AUTOMATIC):
            assert refused(client, "F1R3", close=True, orCat=orCat)[1] == AddCause.BLOCKED_BY_SWITCHING_HIERARCHY
        assert refused(client, "F1R3", close=True, test=True) == ("select", AddCause.BLOCKED_BY_MODE)
        client.operate("F1R3FLISR/CSWI1.Pos", True, termination_s=30.0)
        assert value(client, "F1R3", "XCBR1$ST$Pos$stVal") == ON
    with hosted.client("T9", maker) as client:
        mode = "T9FLISR/LLN0.Mod"
        client.operate(mode, 2)
        until(lambda: value(client, "T9", "LLN0$ST$Mod$stVal") == 2)
        assert hosted.ask("T9", request="status")["mode"] == "BLOCKED"
        for wrong in ({"value": 9}, {"value": 1, "orCat": REMOTE}):
            with pytest.raises(RefusedError):
                client.operate(mode, **wrong)
        assert hosted.ask("T9", request="status")["mode"] == "BLOCKED"
        client.operate(mode, 1)
        until(lambda: value(client, "T9", "LLN0$ST$Beh$stVal") == 1)
        assert refused(client, "T9", close=True) == ("select", AddCause.BLOCKED_BY_SYNCHROCHECK)


@pytest.mark.parametrize("maker", CLIENTS.values(), ids=CLIENTS)
def test_a_client_sets_simulation_in_test_and_nowhere_else(hosted, maker):
    sim = "F1R3FLISR/LPHD1.Sim"
    with hosted.client("F1R3", maker) as client:
        for mode in ("on", "blocked", "off"):
            hosted.ask("F1R3", request="mode", mode=mode)
            with pytest.raises(RefusedError) as said:
                client.operate(sim, True)
            assert (said.value.stage, said.value.add_cause) == ("operate", AddCause.BLOCKED_BY_MODE)
        hosted.ask("F1R3", request="mode", mode="test/blocked")
        with pytest.raises(RefusedError):
            client.operate(sim, True, orCat=REMOTE)
        assert value(client, "F1R3", "LPHD1$ST$Sim$stVal") is False
        client.operate(sim, True)
        assert value(client, "F1R3", "LPHD1$ST$Sim$stVal") is True
        assert hosted.ask("F1R3", request="status")["simulation"]
        client.operate("F1R3FLISR/LLN0.Mod", 1)
        until(lambda: value(client, "F1R3", "LPHD1$ST$Sim$stVal") is False)
        until(lambda: hosted.ask("F1R3", request="status")["ready"])
        notes = [entry["kind"] for entry in hosted.journal("F1R3")]
        assert "simulation over" in notes
        client.operate("F1R3FLISR/CSWI1.Pos", False)


def test_a_locked_switch_is_not_closed_and_the_lock_can_be_read(hosted):
    section = next(s.index for s in SITE.network.sections if s.name == "F1/S3")
    hosted.stage.inject_fault(section, time.time_ns() + 10**8)
    with hosted.client("F1R3") as client, hosted.client("F1R3", Libiec61850) as other:
        until(lambda: value(client, "F1R3", "AFSR1$ST$SideB$st$lock") == 2)
        until(lambda: value(client, "F1R3", "XCBR1$ST$Pos$stVal") == OFF)
        for one in (client, other):
            assert refused(one, "F1R3", close=True) == ("select", AddCause.BLOCKED_BY_INTERLOCKING)
        # The same for whoever knows no private words.
        told = {name: value(client, "F1R3", f"AFSR1$ST${name}$stVal") for name in INDICATIONS}
        assert [name for name, stVal in told.items() if stVal] == ["FltB", "LokB"]
        until(lambda: value(client, "F1R3", "AFSR1$ST$Stage$stVal") == PROGRESS.index("finished"))


def test_what_happened_while_the_host_was_dead_is_reported_with_its_times(hosted):
    hosted.kill()
    before = time.time()
    hosted.ask("F1R3", request="open")
    until(lambda: hosted.ask("F1R3", request="status")["position"] == "OFF")
    after = time.time()
    time.sleep(1.5)
    hosted.start()
    with hosted.client("F1R3") as client, hosted.client("F1R3", Libiec61850) as other:
        for one, number in ((client, 1), (other, 2)):
            reports = one.enable(f"F1R3FLISR/LLN0.BR.brcbStatus0{number}")
            opened = until(lambda reports=reports: [r for r in reports if r.member == 0 and r.value == OFF])
            assert before - 0.1 <= opened[-1].t <= after + 0.1


def watching(client, ied):
    """The nodes of one IED that watch F1L4's streams."""
    nodes = sorted(node for node in client.nodes(f"{ied}FLISR") if node.startswith("LGOS"))
    return [node for node in nodes if "F1L4" in value(client, ied, f"{node}$SP$GoCBRef$setSrcRef")]


def test_while_its_agent_does_not_answer_its_values_are_old_and_its_streams_are_lost_to_others(hosted):
    with hosted.client("F1R3", Libiec61850) as peer:
        nodes = watching(peer, "F1R3")
        assert len(nodes) == 2
        until(lambda: all(value(peer, "F1R3", f"{node}$ST$St$stVal") for node in nodes))
        assert value(peer, "F1R3", f"{nodes[0]}$ST$LastStNum$stVal") > 0
        revisions = {value(peer, "F1R3", f"{nodes[0]}$ST${name}$stVal") for name in ("ConfRevNum", "RxConfRevNum")}
        assert revisions == {CONF_REV}
        assert value(peer, "F1R3", "LTMS1$ST$TmSrc$stVal") == "CLOCK_REALTIME"
    hosted.stage.agents[NUMBER["F1L4"]].send_signal(signal.SIGSTOP)
    stopped = time.time()
    try:
        with hosted.client("F1R3", Libiec61850) as peer:
            until(lambda: not any(value(peer, "F1R3", f"{node}$ST$St$stVal") for node in nodes))
            assert stopped < value(peer, "F1R3", f"{nodes[0]}$ST$St$t").to_seconds() < time.time()
        with hosted.client("F1L4") as client:
            until(lambda: value(client, "F1L4", "XSWI1$ST$Pos$q")[0] >> 6 == 3)
            assert refused(client, "F1L4", close=False) == ("select", AddCause.BLOCKED_BY_HEALTH)
    finally:
        hosted.stage.agents[NUMBER["F1L4"]].send_signal(signal.SIGCONT)
    with hosted.client("F1L4") as client, hosted.client("F1R3", Libiec61850) as peer:
        until(lambda: value(client, "F1L4", "XSWI1$ST$Pos$q")[0] >> 6 == 0)
        until(lambda: all(value(peer, "F1R3", f"{node}$ST$St$stVal") for node in nodes))


def test_settings_that_cannot_be_used_are_named(tmp_path):
    def said(text):
        path = tmp_path / "host.json"
        path.write_text(text)
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "ied_agents.mms.host", str(path)], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2
        return ended.stderr

    assert "ieds" in said('{"scd": "x"}')
    assert "/nowhere.scd" in said('{"scd": "/nowhere.scd", "ieds": []}')
    served = {"ied": "X1", "address": "127.0.0.1", "port": 10102, "operator": "/o", "journal": "/j"}
    scd = str(SAMPLES / "two_source.scd")
    assert "X1: no such IED" in said(json.dumps({"scd": scd, "ieds": [served]}))
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        port = taken.getsockname()[1]
        message = said(json.dumps({"scd": scd, "ieds": [{**served, "ied": "T9", "port": port}]}))
        assert f"T9: cannot listen on 127.0.0.1 port {port}" in message
