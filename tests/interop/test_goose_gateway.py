"""``flisr run`` hears the GOOSE of a foreign IED (libiec61850), and c104's control centre is told, by nothing else."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import subprocess
import sys
import time
from pathlib import Path

import goose_site
from goose_site import APPID, CONF_REV, DATASET, DST, GO_ID, GOCB

from ied_agents.iec61850.utctime import UtcTime
from tools.lab import HOST_INTERFACE
from tools.status_command import ask_gateway

C104 = Path(__file__).parents[1] / "helpers" / "c104_process.py"
PATIENCE_S = 60.0
PORT, IOA = 2404, 11
OFF, ON, OLD = 1, 2, 0x40
SITE = f"""
[site]
name = "s"
scd = "s.scd"

[[ied]]
name = "REL1"
mms = false
goose = "{HOST_INTERFACE}"

[[centre]]
name = "scada"
listen = "127.0.0.1"
port = {PORT}
common_address = 1
points = {{ include = ["REL1LD0/GGIO2.Pos1"] }}

[point."REL1LD0/GGIO2.Pos1"]
IOA = {IOA}
"""


def until(found, why):
    deadline = time.monotonic() + PATIENCE_S
    while not (said := found()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return said


def publish(station, position, t_ns):
    t = ["utc time", UtcTime.from_ns(t_ns, 10).encode().hex()]
    good = ["bit string", "0" * 13]
    members = [["bit string", position], good, t, ["boolean", False], good, t, ["integer", 0], good]
    head = {"gocbRef": GOCB, "datSet": DATASET, "goID": GO_ID, "confRev": CONF_REV, "appid": APPID, "dst": DST.hex()}
    flags = {"ndsCom": False, "simulation": False, "timeAllowedtoLive": 500, "vlan": None}
    station.order(**head, **flags, new_state=True, allData=members)


def line(child, asked=None):
    if asked is not None:
        child.stdin.write(json.dumps(asked).encode() + b"\n")
        child.stdin.flush()
    assert select.select([child.stdout], [], [], PATIENCE_S)[0]
    return json.loads(child.stdout.readline())


def test_a_breaker_that_moves_is_at_the_control_centre_with_its_own_time(make_lab, libiec61850, require, tmp_path):
    require(importlib.util.find_spec("c104"), "c104 is not installed")
    lab = make_lab("ours", "theirs")
    (tmp_path / "s.scd").write_text(goose_site.scd())
    (tmp_path / "s.toml").write_text(SITE)
    log = tmp_path / "log"
    words = [sys.executable, "-P", "-m", "tools.cli", "run", str(tmp_path / "s.toml"), "--json"]
    with contextlib.ExitStack() as stack:
        gateway = lab.spawn("ours", words, stdout=subprocess.PIPE, stderr=stack.enter_context(log.open("wb")))
        centre = lab.spawn("ours", [sys.executable, str(C104), "client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for pipe in (gateway.stdout, centre.stdout, centre.stdin):
            stack.enter_context(pipe)
        assert line(gateway)["devices"] == ["REL1"], log.read_text()
        setup = {"port": PORT, "monitored": {IOA: "M_DP_TB_1"}, "controls": {}, "selected": [], "timeout_ms": 20_000}
        assert line(centre, setup) == {"open": True}
        heard = []

        def hears(value, qualifier, at_ms):
            """A message that says so, of that time; of none if it is None."""

            def found():
                heard.extend(each for each in line(centre, {"do": "hear"})["heard"] if "ioa" in each)
                said = [(each["value"], each["qualifier"], each["at_ms"]) for each in heard]
                wanted = [each for each in said if each[:2] == (value, qualifier) and each[2] is not None]
                return any(at_ms is None or each[2] == at_ms for each in wanted)

            until(found, lambda: (heard, log.read_text()))
            heard.clear()

        def block():
            (said,) = ask_gateway(tmp_path / "store-status")["goose"]
            return said

        began_ms = (round(time.time()) - 5) * 1000
        first = libiec61850(lab, "theirs", "publish", HOST_INTERFACE)
        publish(first, "10", began_ms * 10**6)
        hears(ON, 0, began_ms)
        hears(ON, OLD, None)  # it says nothing more: its time to live is over
        until(lambda: not block()["connected"], block)
        assert "time to live" in block()["why"]
        # Another process of the publisher: it counts from the beginning again.
        publish(libiec61850(lab, "theirs", "publish", HOST_INTERFACE), "01", (began_ms + 1_000) * 10**6)
        hears(OFF, 0, began_ms + 1_000)
        gateway.terminate()
        assert gateway.wait(PATIENCE_S) == 0
