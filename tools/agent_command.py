"""``flisr agent``: run one agent on this machine, look at it, and operate it.

Everything of an agent lies in one folder: what it was told (``settings.json``), its durable state, its journal, and the
sockets of its process and of its operators. Who is in the folder's group may look; who may operate, unlock and tag,
beside root and the agent's own user, ``[access]`` in the site file says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from gateway.site import Site, SiteError, site_of
from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG
from ied_agents.mms.client import PORT, TLS_PORT
from ied_agents.mms.host_settings import HostSettings, HostTls, ServedIed
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.operator_client import AgentSilentError, ask
from ied_agents.runtime.settings import AgentProcessSettings, AgentSettings
from scl.reader import read
from tools.agent_unit import unit

app = App(name="agent", help="One agent on this machine: run it, look at it, operate it.")

ROOT: Final = Path("/var/lib/flisr")
_POLL_S: Final = 0.2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)

_Ied = Annotated[str, Parameter(help="The agent's name in the SCD.")]
_Root = Annotated[Path, Parameter(help="Folder in which each agent has one of its name.")]
Interfaces = Annotated[
    list[str], Parameter(help="Ethernet interface for GOOSE; a second one where there are two separate networks.")
]
_Json = Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")]
_Origin = Annotated[Literal["bay", "station", "remote"], Parameter(help="Where the order comes from.")]
_Event = Annotated[tuple[int, int], Parameter(help="Declaring switch and counter, as the status shows it.")]


@app.command
def run(
    *,
    scd: Annotated[Path, Parameter(help="The SCD.")],
    ied: _Ied,
    interface: Interfaces,
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    root: _Root = ROOT,
    process: Annotated[
        Path | None,
        Parameter(help="Datagram socket that takes the orders to the switch; else 'process' in its folder."),
    ] = None,
    fifo: Annotated[int, Parameter(help="Run under SCHED_FIFO with this priority, memory locked; 0 for neither.")] = 0,
) -> None:
    """Run one agent until SIGTERM.

    Reads and checks SCD and site file, writes what the agent is told into its folder, and becomes the agent's process.
    An agent without a state file there is held against every close until it is confirmed.
    """
    agent = agent_settings(scd, ied, site)
    folder = root / ied
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    settings = AgentProcessSettings.in_folder(agent, folder, tuple(interface), process, fifo)
    document = folder / "settings.json"
    document.write_text(settings.to_json(), encoding="utf-8")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ied_agents.runtime.agent_process", str(document)])  # noqa: S606


def agent_settings(scd: Path, ied: str, site: Path | None) -> AgentSettings:
    """What SCD and site file say of one agent.

    Raises:
        SiteError: with every problem found, or there is no such agent.
    """
    found = site_of(scd, site)
    agents = {agent.ied: agent for agent in found.agents.values()}
    if ied not in agents:
        raise SiteError([f"{found.file}: there is no agent {ied!r}; it has {', '.join(sorted(agents))}"])
    return agents[ied]


@app.command(name="unit")
def print_unit(
    *,
    scd: Annotated[Path, Parameter(help="The SCD.")],
    interface: Interfaces,
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    user: Annotated[str, Parameter(help="An existing ordinary user, who runs it.")] = "flisr",
    fifo: Annotated[int, Parameter(help="SCHED_FIFO priority, memory locked; 0 for neither.")] = 50,
) -> None:
    """Print a systemd unit that runs agents of this machine, for /etc/systemd/system/flisr-agent@.service.

    Then, as root: systemctl enable --now flisr-agent@F1Q1.
    """
    print(unit(scd.resolve(), interface, None if site is None else site.resolve(), user, fifo), end="")


@app.command
def mms(
    *ieds: Annotated[str, Parameter(help="Names of the agents in the SCD.")],
    scd: Annotated[Path, Parameter(help="The SCD.")],
    address: Annotated[str, Parameter(help="Serve all at this IP address, on ports from --port upwards.")] = "",
    port: Annotated[int | None, Parameter(help="TCP port; 102, with TLS 3782.")] = None,
    root: _Root = ROOT,
    certificate: Annotated[Path | None, Parameter(help="Own certificate (PEM): TLS, with --key, --authority.")] = None,
    key: Annotated[Path | None, Parameter(help="Its private key.")] = None,
    authority: Annotated[Path | None, Parameter(help="Authorities that clients' certificates must come from.")] = None,
    revoked: Annotated[Path | None, Parameter(help="Their revocation lists.")] = None,
) -> None:
    """Serve agents of this machine by MMS until SIGTERM, each at its IP address of the SCD.

    Reads what they say from their journals, and hands every control to the agent, which decides. Needs the extra
    ``mms``. May be stopped, killed and started again at any time.
    """
    ips = _addresses(scd)
    missing = [ied for ied in ieds if not address and ied not in ips]
    if missing or not ieds:
        raise SiteError([f"{scd}: no IP address for {', '.join(missing) or 'anybody'}; name agents, or use --address"])
    tls = _host_tls(certificate, key, authority, revoked)
    first = port if port is not None else PORT if tls is None else TLS_PORT
    served = [
        ServedIed(
            ied,
            address or ips[ied],
            first + (place if address else 0),
            str(root / ied / "operator"),
            str(root / ied / "journal.jsonl"),
        )
        for place, ied in enumerate(ieds)
    ]
    document = root / "mms.json"
    document.write_text(HostSettings(str(scd.resolve()), tuple(served), tls).to_json(), encoding="utf-8")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ied_agents.mms.host", str(document)])  # noqa: S606


def _host_tls(
    certificate: Path | None, key: Path | None, authority: Path | None, revoked: Path | None
) -> HostTls | None:
    if certificate is None and key is None and authority is None and revoked is None:
        return None
    if certificate is None or key is None or authority is None:
        raise SiteError(["--certificate, --key and --authority: TLS takes all three"])
    return HostTls(
        str(certificate.resolve()),
        str(key.resolve()),
        str(authority.resolve()),
        "" if revoked is None else str(revoked.resolve()),
    )


def _addresses(scd: Path) -> dict[str, str]:
    """IP address of every IED that has one."""
    communication = read(scd).communication
    points = [point for net in communication.subnetworks for point in net.connected] if communication else []
    found = {point.iedName: point.address.get("IP") for point in points if point.address is not None}
    return {ied: ip.value.strip() for ied, ip in found.items() if ip is not None}


@app.command
def metrics(
    *ieds: Annotated[str, Parameter(help="Names of the agents.")],
    port: Annotated[int, Parameter(help="Serve them by HTTP at this port of the loopback address; 0: print once.")] = 0,
    root: _Root = ROOT,
) -> None:
    """Print metrics of agents for Prometheus, or serve them until interrupted."""
    from prometheus_client import generate_latest, start_http_server  # noqa: PLC0415 - slow, and only for this

    from tools.agent_metrics import registry  # noqa: PLC0415 - the same

    agents = registry(root, ieds)
    if not port:
        print(generate_latest(agents).decode(), end="")
        return
    # Blocked in every thread, so that it is waited for in this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    server, _ = start_http_server(port, "127.0.0.1", agents)
    print(json.dumps({"kind": "MetricsReady", "port": server.server_port}), flush=True)
    signal.sigwait(_ENDING)
    server.shutdown()


@app.command
def status(ied: _Ied, *, root: _Root = ROOT, as_json: _Json = False) -> None:
    """Say how an agent stands."""
    said = ask(root / ied / "operator", {"request": "status"})
    if as_json:
        print(json.dumps(said, indent=1))
        return
    for name, value in said.items():
        if name != "done":
            print(f"{name.replace('_', ' '):16} {json.dumps(value) if isinstance(value, list | dict) else value}")


@app.command
def trace(
    ied: _Ied,
    *,
    last: Annotated[int, Parameter(help="So many entries at the most.")] = 50,
    follow: Annotated[bool, Parameter(help="Go on with what comes, until interrupted.")] = False,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Print what an agent saw, decided and why; works on a stopped one too."""
    journal = root / ied / "journal.jsonl"
    entries = [entry for entry in read_journal(journal) if as_json or entry["kind"] != "published"]
    for entry in entries[max(0, len(entries) - last) :]:
        _tell(entry, as_json=as_json)
    seen = entries[-1]["t_ns"] if entries else 0
    while follow:
        time.sleep(_POLL_S)
        for entry in read_journal(journal):
            if entry["t_ns"] > seen and (as_json or entry["kind"] != "published"):
                seen = entry["t_ns"]
                _tell(entry, as_json=as_json)


def _tell(entry: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry), flush=True)
        return
    at = datetime.fromtimestamp(entry["t_ns"] / 1e9, UTC)
    rest = ", ".join(f"{name} {value}" for name, value in entry.items() if name not in ("t_ns", "mono", "kind"))
    print(f"{at:%Y-%m-%d %H:%M:%S}.{entry['t_ns'] % 10**9 // 10**3:06d}  {entry['kind']:24} {rest}", flush=True)


@app.command
def confirm(ied: _Ied, *, root: _Root = ROOT, as_json: _Json = False) -> None:
    """Vouch for an agent's locks as they are: takes a new one into service, or proves them after a restart."""
    _operate(ied, root, as_json, request="confirm")


@app.command
def unlock(ied: _Ied, event: _Event, *, root: _Root = ROOT, as_json: _Json = False) -> None:
    """Clear an event everywhere: what was held for it is sound. Nothing moves."""
    _operate(ied, root, as_json, request="unlock", event=event)


@app.command
def normalize(
    ied: _Ied, event: _Event, *, origin: _Origin = "station", root: _Root = ROOT, as_json: _Json = False
) -> None:
    """Return to normal after the repair: clear an event, and have every switch that moved for it go back."""
    _operate(ied, root, as_json, request="return", event=event, origin=origin)


@app.command
def tag(
    ied: _Ied,
    owner: Annotated[str, Parameter(help="Who tags: only he takes it off.")],
    *,
    work: Annotated[bool, Parameter(help="Somebody works there.", negative="")] = False,
    hot_line: Annotated[bool, Parameter(help="Somebody works under voltage.", negative="")] = False,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Set an owner's tags; without one of them they are taken off. A tagged switch closes for nobody."""
    _operate(ied, root, as_json, request="tag", owner=owner, tags=WORK_TAG * work | HOT_LINE_TAG * hot_line)


@app.command
def mode(
    ied: _Ied,
    to: Annotated[Literal["on", "blocked", "test", "test/blocked", "off"], Parameter(help="Mod of IEC 61850-7-4.")],
    *,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Set the mode; only an agent that is on operates its switch."""
    _operate(ied, root, as_json, request="mode", mode=to)


@app.command
def sim(
    ied: _Ied,
    to: Annotated[Literal["on", "off"], Parameter(help="LPHD.Sim of IEC 61850-7-4.")],
    *,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Have an agent in test follow simulated frames in place of real ones; what comes of them ends with it."""
    _operate(ied, root, as_json, request="sim", sim=to == "on")


@app.command
def feeder(
    head: Annotated[str, Parameter(help="The agent at the feeder's source.")],
    to: Annotated[Literal["on", "blocked"], Parameter(help="Whether the agents of the feeder may operate.")],
    *,
    scd: Annotated[Path, Parameter(help="The SCD.")],
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Enable or disable FLISR on a feeder: set the mode of its head, of all that it normally feeds, and of its ties.

    A tie that is blocked serves its other feeder no more either. Exit status 1 unless every agent has done it: one that
    is not on this machine is named, and is set there, or by MMS (LLN0.Mod).
    """
    answers: dict[str, dict[str, Any]] = {}
    for ied in _feeder_agents(site_of(scd, site), head):
        try:
            answers[ied] = ask(root / ied / "operator", {"request": "mode", "mode": to})
        except AgentSilentError as error:
            answers[ied] = {"done": False, "why": str(error)}
    if as_json:
        print(json.dumps(answers, indent=1))
    else:
        for ied, answer in answers.items():
            print(f"{ied:16} {to if answer['done'] else 'not done: ' + answer['why']}")
    if not all(answer["done"] for answer in answers.values()):
        raise SystemExit(1)


def _feeder_agents(site: Site, head: str) -> list[str]:
    """The agents of all switches around the sections that a head normally feeds, in the order of their numbers."""
    network = next(iter(site.agents.values())).config.feeder
    heads = {s.ied: s for s in network.switches if s.normally_closed and network.has_source(s.sides)}
    if head not in heads:
        raise SiteError([f"{site.file}: {head} is no agent at a source; those are {', '.join(heads)}"])
    switch = heads[head]
    fed = next(section for section in switch.sides if not network.is_source(section))
    island = network.island(fed, lambda n: n != switch.number and network.by_number[n].normally_closed)
    numbers = island.inner | {bound.switch for bound in island.boundary}
    return [network.by_number[number].ied for number in sorted(numbers)]


@app.command
def authority(
    ied: _Ied,
    to: Annotated[Literal["local", "station", "remote"], Parameter(help="Who may operate.")],
    *,
    root: _Root = ROOT,
    as_json: _Json = False,
) -> None:
    """Set who may operate the switch; while it is local it closes for nobody else."""
    _operate(ied, root, as_json, request="authority", authority=to)


@app.command(name="open")
def open_switch(ied: _Ied, *, origin: _Origin = "station", root: _Root = ROOT, as_json: _Json = False) -> None:
    """Open the switch; what it feeds goes dark and stays so."""
    _operate(ied, root, as_json, request="open", origin=origin)


@app.command
def close(ied: _Ied, *, origin: _Origin = "station", root: _Root = ROOT, as_json: _Json = False) -> None:
    """Close the switch towards a dead side: claimed, promised, reserved and guarded like every close."""
    _operate(ied, root, as_json, request="close", origin=origin)


def _operate(ied: str, root: Path, as_json: bool, **request: Any) -> None:
    """Pass a request on, and say what became of it; exit status 1 if it was refused."""
    answer = ask(root / ied / "operator", request)
    if as_json:
        print(json.dumps(answer))
    elif answer["done"]:
        print(f"{ied}: {request['request']}: accepted")
    else:
        print(f"{ied}: {request['request']}: refused: {answer.get('words', answer['why'])}", file=sys.stderr)
    if not answer["done"]:
        raise SystemExit(1)
