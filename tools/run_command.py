"""``flisr run`` and ``flisr check``: the gateway of a site."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.app import Gateway
from gateway.site import SiteError, read_site
from ied_agents.runtime.service_manager import ServiceManager

_Site = Annotated[Path, Parameter(help="The site file.")]
_Json = Annotated[bool, Parameter(name="--json", help="Print one JSON document per line.", negative="")]


def run(site: _Site, *, as_json: _Json = False) -> None:
    """Run the gateway of a site until SIGTERM: field devices to control centres, brokers and history, commands back.

    Says on stderr who connects, who is refused, and what is wrong; tells the service manager when it is ready.
    """
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    asyncio.run(_run(Gateway(read_site(site)), as_json=as_json))


async def _run(gateway: Gateway, *, as_json: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    manager = ServiceManager()
    try:
        await gateway.start()
        served = [{"host": x.host, "port": x.port, "centres": sorted(x.centres)} for x in gateway.listeners]
        if as_json:
            ready = {"kind": "GatewayReady", "points": gateway.points, "served": served, "devices": gateway.devices}
            ready |= {"metrics": gateway.metrics, "brokers": gateway.brokers}
            print(json.dumps(ready), flush=True)
        else:
            devices = ", ".join(gateway.devices) or "none"
            print(f"{gateway.points} points; field devices: {devices}", flush=True)
            for listener in gateway.listeners:
                print(f"{', '.join(sorted(listener.centres))} at {listener.host}:{listener.port}", flush=True)
            for name, where in gateway.brokers.items():
                print(f"{name}: broker {where}", flush=True)
            if gateway.metrics is not None:
                print(f"metrics at http://{gateway.metrics[0]}:{gateway.metrics[1]}/metrics", flush=True)
        manager.ready()
        while not ended.is_set():
            manager.alive()
            try:
                async with asyncio.timeout(manager.alive_every_s):
                    await ended.wait()
            except TimeoutError:
                continue
        manager.stopping()
    finally:
        await gateway.close()


def check(site: _Site, *, as_json: _Json = False) -> None:
    """Find all that is wrong with a site file, each with its path and what was expected; exit status 1 if anything is.

    Reads what it names too: SCD, certificates, assigned addresses. Opens no connection, and changes nothing.
    """
    problems: list[str] = []
    points = 0
    try:
        points = Gateway(read_site(site)).points
    except SiteError as error:
        problems = error.problems
    if as_json:
        print(json.dumps({"site": str(site), "points": points, "problems": problems}))
    elif problems:
        print("\n".join(problems))
    else:
        print(f"{site}: nothing is wrong; {points} points")
    if problems:
        raise SystemExit(1)
