"""``flisr bench machine``: what agents and their MMS host cost a machine while nothing happens, beside their targets.

All agents of a generated feeder system run as in the demo, each in a process and a namespace of its own, and one host
serves as many IEDs. Counted is what the kernel says of each process.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from rich.console import Console

from ied_agents.mms.host_settings import HostSettings, ServedIed
from ied_agents.process.plant import PlantSettings
from tools.bench_processes import free_ports, used_s
from tools.demo.machine import generated
from tools.demo.stage import READY_S, Stage, StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET_MB: Final = 40.0
TARGET_CPU_PERCENT: Final = 0.5
TARGET_READY_S: Final = 1.0
_MB: Final = 1 << 20
_STARTS: Final = 5


def machine(
    *,
    ieds: Annotated[int, Parameter(help="How many agents, and IEDs served.")] = 25,
    seconds: Annotated[float, Parameter(help="How long to count idle processor time.")] = 20.0,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure memory, idle processor time and start time of agents and of the MMS host that serves them."""
    with tempfile.TemporaryDirectory(prefix="flisr-") as folder:
        site = generated(ieds, Path(folder))
        with Stage(site, Path(folder) / "out", PlantSettings(), 1) as stage:
            host, host_ready_s = _start_host(stage, Path(folder))
            try:
                result = _measure(stage, host, seconds)
            finally:
                host.kill()
                host.communicate()
            result["agent_ready_s"] = round(statistics.median(_starts(stage)), 2)
    result |= {"agents": len(site.agents), "host_ready_s": round(host_ready_s, 2), "seconds": seconds}
    if as_json:
        print(json.dumps(result, indent=1))
        return
    console = Console()
    console.print(
        f"{result['agents']} agents: {result['agent_mb_median']:.0f} MB each (at most {result['agent_mb_max']:.0f}; "
        f"target {TARGET_MB:.0f}), {result['agent_cpu_percent_median']:.2f} % of a processor while idle (at most "
        f"{result['agent_cpu_percent_max']:.2f}; target {TARGET_CPU_PERCENT}), one ready after "
        f"{result['agent_ready_s']:.2f} s among the others (target {TARGET_READY_S:.0f})"
    )
    console.print(
        f"their MMS host: {result['host_mb']:.0f} MB, {result['host_cpu_percent']:.1f} % of a processor without "
        f"clients, ready after {result['host_ready_s']:.2f} s"
    )


def _measure(stage: Stage, host: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    agents = [child.pid for child in stage.agents.values()]
    before = {pid: used_s(pid) for pid in (*agents, host.pid)}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    percent = {pid: 100 * (used_s(pid) - cpu) / passed for pid, cpu in before.items()}
    memory = [_resident_mb(pid) for pid in agents]
    return {
        "agent_mb_median": round(statistics.median(memory), 1),
        "agent_mb_max": round(max(memory), 1),
        "agent_cpu_percent_median": round(statistics.median(percent[pid] for pid in agents), 2),
        "agent_cpu_percent_max": round(max(percent[pid] for pid in agents), 2),
        "host_mb": round(_resident_mb(host.pid), 1),
        "host_cpu_percent": round(percent[host.pid], 2),
    }


def _starts(stage: Stage) -> Iterator[float]:
    """Kill and start agents one by one: from the start until each listens, s."""
    for number in list(stage.agents)[:_STARTS]:
        stage.kill(number)
        began = time.monotonic()
        stage.restart(number)
        yield time.monotonic() - began


def _start_host(stage: Stage, folder: Path) -> tuple[subprocess.Popen[bytes], float]:
    ports = free_ports(len(stage.site.agents))
    served = tuple(
        ServedIed(
            agent.ied, "127.0.0.1", port, str(stage.room / f"{number}.operator"), str(stage.out / f"{agent.ied}.jsonl")
        )
        for port, (number, agent) in zip(ports, stage.site.agents.items(), strict=True)
    )
    document = folder / "mms.json"
    document.write_text(HostSettings(str(next(folder.glob("*.scd"))), served).to_json(), encoding="utf-8")
    began = time.monotonic()
    words = [sys.executable, "-P", "-m", "ied_agents.mms.host", str(document)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE)  # noqa: S603 - our own words
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], READY_S)[0] or not child.stdout.readline():
        child.kill()
        child.communicate()
        raise StageError("the MMS host did not start; its messages are above")
    return child, time.monotonic() - began


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB
