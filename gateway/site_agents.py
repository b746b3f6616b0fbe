"""What a site file says about the agents that the gateway runs: ``[agents]`` and ``[[agent]]``, and what they are told.

Each is followed by MMS as any ``[[ied]]``, through a host process on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from gateway.site_iec104 import Name, Strict
from gateway.site_ied import SiteIed
from gateway.site_rtu import split_host
from ied_agents.mms.host_settings import HostSettings, ServedIed
from ied_agents.runtime.settings import MOST_INTERFACES, AgentProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ied_agents.runtime.settings import AgentSettings

FIRST_PORT: Final = 10_102
MOST_IN_A_HOST: Final = 25
"""IEDs that one MMS host process serves."""
_LAST_PORT: Final = 65_535
_LONGEST_SOCKET: Final = 107
"""Octets of a socket's path that Linux takes."""
_ANSWER: Final = "/operator.answers/4194304.00000000"
"""The longest path below an agent's folder on which somebody waits."""

_Interface = Annotated[str, Field(pattern=r"^[^/\s]{1,15}$")]


class SiteAgents(Strict):
    """``[agents]``: what holds for all agents that the gateway runs.

    Attributes:
        root: folder, beside the site file, in which each has one of its name; short, for sockets are in it.
        mms: where their MMS servers listen, the first of them; the others on the ports above.
        fifo: SCHED_FIFO priority, memory locked; 0 for neither.
        outlive: they go on when the gateway is stopped; the next one takes them over.
    """

    root: Annotated[str, Field(min_length=1)] = "agents"
    mms: str = f"127.0.0.1:{FIRST_PORT}"
    fifo: Annotated[int, Field(ge=0, le=99)] = 0
    outlive: bool = False


class SiteAgent(Strict):
    """``[[agent]]``: an IED of the SCD that is an agent on this machine.

    Attributes:
        ied: its name in the SCD.
        interfaces: for GOOSE: one, or two on separate networks.
        process: datagram socket that takes the orders to the switch, beside the site file; of an agent without a relay.
    """

    ied: Name
    interfaces: Annotated[tuple[_Interface, ...], Field(min_length=1, max_length=MOST_INTERFACES)]
    process: str | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """The agents that a gateway runs, and the hosts that serve them by MMS.

    Attributes:
        root: their folder.
        agents: by IED name.
        hosts: which of them each host serves.
        outlive: they go on when the gateway is stopped.
    """

    root: Path
    agents: dict[str, AgentProcessSettings]
    hosts: tuple[HostSettings, ...]
    outlive: bool


def followed(given: SiteAgents, agents: tuple[SiteAgent, ...]) -> tuple[SiteIed, ...]:
    """The agents as IEDs that are followed by MMS; none of one whose place is wrong, for that is said elsewhere."""
    try:
        host, first = split_host(given.mms, FIRST_PORT)
    except ValueError:
        return ()
    return tuple(
        SiteIed(name=each.ied, host=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", poll_s=1.0)
        for port, each in enumerate(agents, first)
        if port <= _LAST_PORT and each.ied not in {other.ied for other in agents[: port - first]}
    )


def agent_problems(
    given: SiteAgents,
    listed: tuple[SiteAgent, ...],
    agents: Iterable[AgentSettings],
    ieds: tuple[SiteIed, ...],
    folder: Path,
) -> list[str]:
    """All that is wrong with ``[agents]`` and ``[[agent]]``.

    Args:
        given: what holds for all.
        listed: the agents.
        agents: those of the SCD.
        ieds: what is followed by MMS besides.
        folder: of the site file.
    """
    problems = []
    known = {agent.ied: agent for agent in agents}
    try:
        _, first = split_host(given.mms, FIRST_PORT)
        if first + len(listed) - 1 > _LAST_PORT:
            problems.append(f"agents.mms: {given.mms} leaves no {len(listed)} ports, one for each agent")
    except ValueError as error:
        problems.append(f"agents.mms: {error}")
    by_name: dict[str, int] = {}
    by_interface: dict[str, tuple[int, str]] = {}
    for number, each in enumerate(listed, 1):
        path = f"agent[{number}]"
        if each.ied in by_name:
            problems.append(f"{path}.ied: {each.ied} is agent[{by_name[each.ied]}] too")
            continue
        by_name[each.ied] = number
        agent = known.get(each.ied)
        if agent is None:
            problems.append(f"{path}.ied: the SCD has no agent {each.ied}; it has {', '.join(known) or 'none'}")
            continue
        problems += [
            f"{path}.ied: {each.ied} is ied[{place}] too; an agent that the gateway runs is followed without that"
            for place, ied in enumerate(ieds, 1)
            if ied.name == each.ied
        ]
        if len(set(each.interfaces)) < len(each.interfaces):
            problems.append(f"{path}.interfaces: twice the same; a second one is on another network")
        for name in each.interfaces:
            # The kernel gives what one socket sends on an interface to no other socket there.
            before, other = by_interface.setdefault(name, (number, each.ied))
            if other != each.ied:
                problems.append(
                    f"{path}.interfaces: {name} is agent[{before}]'s; agents on one interface do not hear each other: "
                    "give each its own (ip link add link IF name NAME type macvlan mode bridge)"
                )
        if agent.relay is not None and each.process is not None:
            problems.append(f"{path}.process: {each.ied} operates its switch by the relay that the SCD gives it")
        longest = f"{(folder / given.root / each.ied).absolute()}{_ANSWER}"
        if len(longest.encode()) > _LONGEST_SOCKET:
            problems.append(f"agents.root: {longest}: a socket's path has at most {_LONGEST_SOCKET} octets")
    return problems


def embedded(
    given: SiteAgents, listed: tuple[SiteAgent, ...], agents: Iterable[AgentSettings], scd: Path, folder: Path
) -> Embedded:
    """What the gateway runs; ``agent_problems`` found nothing.

    Args:
        given: what holds for all.
        listed: the agents.
        agents: those of the SCD.
        scd: the SCD.
        folder: of the site file.
    """
    root = (folder / given.root).absolute()
    known = {agent.ied: agent for agent in agents}
    host, first = split_host(given.mms, FIRST_PORT)
    settings, served = {}, []
    for port, each in enumerate(listed, first):
        process = None if each.process is None else (folder / each.process).absolute()
        made = AgentProcessSettings.in_folder(known[each.ied], root / each.ied, each.interfaces, process, given.fifo)
        settings[each.ied] = made
        served.append(ServedIed(each.ied, host, port, made.operator, made.journal))
    hosts = tuple(
        HostSettings(str(scd.absolute()), tuple(served[start : start + MOST_IN_A_HOST]))
        for start in range(0, len(served), MOST_IN_A_HOST)
    )
    return Embedded(root, settings, hosts, given.outlive)
