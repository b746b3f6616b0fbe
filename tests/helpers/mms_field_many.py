"""What it costs a gateway to follow many IEDs: ``python tests/helpers/mms_field_many.py COUNT``.

Each IED is a server of libiec61850 with the 43 points of ``foreign_ied.py``, 25 of them in one process; three buffered
and one unbuffered block each, three points are polled every 5 s. Measured are the workers and the gateway, idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import foreign_ied

from gateway.adapters.iec104_outlet import Outlet
from gateway.adapters.mms_field import MmsFieldConfig
from gateway.adapters.mms_plan import plan
from gateway.adapters.mms_process import MmsFields
from gateway.points.point_list import point_list
from gateway.points.table import PointTable
from ied_agents.mms.library import load
from ied_agents.mms.server import MmsServer
from scl.reader import parse

PER_PROCESS = 25
IDLE_S = 20.0
PATIENCE_S = 180.0


def described(number):
    """The file of one IED of many, and its name."""
    name = f"R{number}"
    return parse(foreign_ied.scd().replace(foreign_ied.IED, name)), name


def serve(first, ports):
    servers = []
    for number, port in enumerate(ports, first):
        servers.append(MmsServer(load(), *described(number), object()))
        servers[-1].start("127.0.0.1", port)
    print("ready", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        for server in servers:
            server.process()
        time.sleep(0.01)


def used_s(pid):
    """Processor time, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_mb(pid):
    """Memory that is its own, and its share of what several use, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def follow(ports, folder):
    configs, lists = [], []
    for number, port in enumerate(ports):
        scl, name = described(number)
        rows = point_list(scl, common=1)
        made = plan(scl, scl.ied(name), rows.rows)
        configs.append(MmsFieldConfig(name=name, host="127.0.0.1", port=port, points=made.points, blocks=made.blocks))
        lists += rows.points()
    ieds = MmsFields(configs, folder / "mms")
    outlet = Outlet(PointTable(lists), folder / "log", [], ieds)
    began = time.monotonic()
    ieds.start(outlet)
    while len(outlet.table.snapshot()) < len(lists):
        await asyncio.sleep(0.1)
        if time.monotonic() - began > PATIENCE_S:
            unknown = [config.name for config in lists if outlet.table.get(config.name) is None]
            raise TimeoutError(f"{len(unknown)} points are not known: {unknown[:5]}; workers {ieds.pids}")
    took_s = time.monotonic() - began
    await asyncio.sleep(5.0)
    pids = list(ieds.pids.values())
    before, ours, at = [used_s(pid) for pid in pids], used_s(os.getpid()), time.monotonic()
    await asyncio.sleep(IDLE_S)
    span_s = time.monotonic() - at
    workers = sum(used_s(pid) - one for pid, one in zip(pids, before, strict=True)) / span_s
    gateway = (used_s(os.getpid()) - ours) / span_s
    print(
        f"{len(ports)} IEDs: all points known after {took_s:.1f} s; idle, the workers use {workers:.1%} of a processor "
        f"together, the gateway {gateway:.1%}; {sum(map(own_mb, pids)):.0f} MB in the workers"
    )
    await ieds.close()
    await outlet.close()


def main(count):
    with contextlib.ExitStack() as probes:  # all at once, so that no port is had twice
        ports = [probes.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]
    children = []
    for first in range(0, count, PER_PROCESS):
        words = [sys.executable, "-P", __file__, "serve", str(first), *map(str, ports[first : first + PER_PROCESS])]
        children.append(subprocess.Popen(words, stdout=subprocess.PIPE))
    try:
        for child in children:
            assert child.stdout.readline(), "a server could not be started"
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(follow(ports, Path(folder)))
    finally:
        for child in children:
            child.kill()
            child.communicate()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
    else:
        main(int(sys.argv[1]))
