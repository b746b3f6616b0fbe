"""Agents on a stage and the MMS host process that serves some of them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

from mms_clients import Open61850

import scl
from gateway.site import read_site
from ied_agents.runtime.journal import read_journal

SAMPLES = Path(scl.__file__).parent / "samples"
SITE = read_site(SAMPLES / "two_source.toml")
NUMBER = {agent.ied: number for number, agent in SITE.agents.items()}
SERVED = ("F1R3", "F2R7", "F1L4", "T9")


class Hosted:
    """The stage, and a host process that serves some of its agents."""

    def __init__(self, stage, folder):
        self.stage = stage
        self.settings = folder / "host.json"
        self.ports = {ied: free_port() for ied in SERVED}
        ieds = [
            {
                "ied": ied,
                "address": "127.0.0.1",
                "port": self.ports[ied],
                "operator": str(stage.room / f"{NUMBER[ied]}.operator"),
                "journal": str(stage.out / f"{ied}.jsonl"),
            }
            for ied in SERVED
        ]
        self.settings.write_text(json.dumps({"scd": str(SAMPLES / "two_source.scd"), "ieds": ieds}))

    def start(self):
        words = [sys.executable, "-P", "-m", "ied_agents.mms.host", str(self.settings)]
        self.child = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert json.loads(self.child.stdout.readline())["kind"] == "HostReady"

    def kill(self):
        self.child.kill()
        self.child.communicate()

    def ask(self, ied, **request):
        answer = self.stage.request(NUMBER[ied], request)
        assert answer["done"], answer
        return answer

    def journal(self, ied):
        return list(read_journal(self.stage.out / f"{ied}.jsonl"))

    @contextlib.contextmanager
    def client(self, ied, maker=Open61850):
        made = maker(self.ports[ied])
        try:
            yield made
        finally:
            made.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
