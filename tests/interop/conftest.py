"""Foreign stations for the tests beside, in processes of their own: libiec61850 for GOOSE, c104 for 104."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from c104_peers import Stage

STATION = Path(__file__).with_name("libiec61850_goose.py")
PATIENCE_S = 30


class Station:
    """The foreign process and its lines."""

    def __init__(self, lab, host, *arguments):
        argv = [sys.executable, str(STATION), *map(str, arguments)]
        self.process = lab.spawn(host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.line() == "ready"

    def line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert readable, "the foreign station says nothing"
        return json.loads(self.process.stdout.readline())

    def order(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        assert self.line() == "sent"

    def close(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def libiec61850(require):
    """``libiec61850(lab, host, "receive", ...)``: the foreign process on a host."""
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850-ng is not installed")
    with contextlib.ExitStack() as stations:
        yield lambda *arguments: stations.enter_context(contextlib.closing(Station(*arguments)))


@pytest.fixture
async def stage(require, tmp_path):
    """c104 and ours; what ours sent is shown to tshark afterwards."""
    require(importlib.util.find_spec("c104") is not None, "the package c104 is not installed")
    require(shutil.which("tshark"), "tshark is not installed")
    stage = Stage()
    try:
        yield stage
    finally:
        await stage.close()
    stage.check(tmp_path)
