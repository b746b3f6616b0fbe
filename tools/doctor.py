"""``flisr doctor``: whether an agent could do its work on this machine and at this interface, before it is started.

It only looks: it sends nothing, and what it writes beside the agent's state to time the disk it takes away again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from ied_agents.dflisr import wire
from ied_agents.dflisr.stored import StoredRecordError, from_json
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.utctime import TimeQuality
from ied_agents.runtime import realtime
from ied_agents.runtime.access import AccessError, Gatekeeper
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.clock import time_quality
from ied_agents.runtime.durable import DurableFile, DurableFileError, StateLocked, StateMissing
from ied_agents.runtime.link import LinkError
from ied_agents.runtime.realtime import RealTimeHelp
from tools.agent_command import ROOT, agent_settings

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState, LoadState
    from ied_agents.runtime.settings import AgentSettings

_TICK_S: Final = 0.001
_WRITES: Final = 50
_RECORD: Final = bytes(2048)
"""About as large as an agent's record."""
_SLOW_DISK_S: Final = 0.05
"""Two syncs lie on the way to a grant, which shall come within 0.1 s."""


class Verdict(StrEnum):
    """What a finding means for the agent: nothing, less than it could be, or that it cannot work."""

    GOOD = "good"
    LOOK = "look"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what would help where it is not good."""

    what: str
    verdict: Verdict
    said: str


def doctor(
    *,
    scd: Annotated[Path, Parameter(help="The SCD.")],
    ied: Annotated[str, Parameter(help="The agent's name in the SCD.")],
    interface: Annotated[str, Parameter(help="Ethernet interface for GOOSE.")],
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    root: Annotated[Path, Parameter(help="Folder in which each agent has one of its name.")] = ROOT,
    fifo: Annotated[
        int, Parameter(help="As the agent will be run: SCHED_FIFO priority, memory locked; 0: neither.")
    ] = 0,
    seconds: Annotated[float, Parameter(help="How long to listen and to time.")] = 5.0,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Examine machine, interface, clock, disk, state and subscriptions of one agent.

    Exit status 1 if it could not work.
    """
    settings = agent_settings(scd, ied, site)
    machine = [_realtime(fifo), _clock(), _access(settings), *_disk(root / ied)]
    findings = [*machine, *_line(settings, interface, seconds)]
    worst = max((finding.verdict for finding in findings), key=list(Verdict).index)
    if as_json:
        print(json.dumps({"verdict": worst, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            print(f"{finding.verdict.upper():5} {finding.what:14} {finding.said}")
        print({"good": "ready", "look": "ready; look at what is marked", "bad": "not ready"}[worst])
    if worst is Verdict.BAD:
        raise SystemExit(1)


def _realtime(fifo: int) -> Finding:
    """Apply what the agent will ask for to this process too: what follows is timed under it."""
    if not fifo:
        return Finding("real time", Verdict.LOOK, "not asked for: under load answers come late; see --fifo")
    refused = realtime.apply(RealTimeHelp(fifo_priority=fifo, lock_memory=True))
    if refused:
        return Finding("real time", Verdict.LOOK, "; ".join(f"{r.name}: {r.reason}" for r in refused))
    return Finding("real time", Verdict.GOOD, f"SCHED_FIFO {fifo}, memory locked")


def _clock() -> Finding:
    quality = time_quality()
    if quality & TimeQuality.NOT_SYNCHRONISED:
        said = "not synchronised: decisions do not need it, the times in reports and journals do; start NTP or PTP"
        return Finding("clock", Verdict.LOOK, said)
    return Finding("clock", Verdict.GOOD, f"synchronised to about 2^-{quality} s")


def _access(settings: AgentSettings) -> Finding:
    named = {name for right in asdict(settings.access).values() for name in right}
    try:
        Gatekeeper(settings.access)
    except AccessError as error:
        return Finding("access", Verdict.BAD, f"{error}: the agent does not start; add it, or mend [access]")
    return Finding("access", Verdict.GOOD, f"{', '.join(sorted(named)) or 'nobody'} besides its own user and root")


# -- disk -----------------------------------------------------------------------------------------------------------


def _disk(folder: Path) -> list[Finding]:
    trial = folder / f"doctor.{os.getpid()}"
    times = []
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = os.open(trial, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        try:
            for _ in range(_WRITES):
                began = time.monotonic()
                os.write(file, _RECORD)
                os.fdatasync(file)
                times.append(time.monotonic() - began)
        finally:
            os.close(file)
    except OSError as error:
        said = (
            f"{folder}: {error.strerror}: the agent's state goes there; make it writable, or name another with --root"
        )
        return [Finding("disk", Verdict.BAD, said)]
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
    times.sort()
    median, most = 1e3 * times[_WRITES // 2], 1e3 * times[-1]
    said = f"a record is on disk after {median:.1f} ms at the median, {most:.1f} ms at the most"
    slow = times[-1] > _SLOW_DISK_S
    finding = Finding("disk", Verdict.LOOK if slow else Verdict.GOOD, said + "; grants wait for it" * slow)
    return [finding, _state(folder / "state")]


def _state(path: Path) -> Finding:
    try:
        with DurableFile.open(path) as file:
            record = from_json(file.record)
    except StateMissing:
        return Finding("state", Verdict.LOOK, f"{path}: none yet: a new agent is held until it is confirmed")
    except StateLocked:
        return Finding("state", Verdict.GOOD, f"{path}: in use: the agent runs")
    except (DurableFileError, StoredRecordError, OSError) as error:
        return Finding("state", Verdict.BAD, str(error))
    if record.held:
        return Finding("state", Verdict.LOOK, f"{path}: held against every close until it is confirmed")
    return Finding("state", Verdict.GOOD, f"{path}: incarnation {record.incarnation}")


# -- line -----------------------------------------------------------------------------------------------------------


def _line(settings: AgentSettings, interface: str, seconds: float) -> list[Finding]:
    """The interface, and what is heard there; timers are timed meanwhile, for an agent waits for both at once."""
    prompt, others = settings.addresses()
    try:
        link = AfPacketLink(interface, [*prompt, *others])
    except LinkError as error:
        return [Finding("interface", Verdict.BAD, error.strerror or str(error))]
    subscribers = [
        Subscriber(stream.subscriber(), decoder, _incarnation)
        for number, peer in settings.peers.items()
        for stream, decoder in ((peer.fast, wire.FastDecoder(number)), (peer.slow, wire.decode_slow))
    ]
    receiver = Receiver(subscribers)
    try:
        late = asyncio.run(_listen(link, receiver, seconds))
        dropped = link.dropped
    except LinkError as error:
        return [Finding("interface", Verdict.BAD, str(error))]
    finally:
        link.close()
    said = f"{interface} ({link.mac.hex(':')}) is up; {len(prompt) + len(others)} multicast addresses joined"
    finding = Finding("interface", Verdict.GOOD, said)
    if dropped:
        finding = Finding("interface", Verdict.LOOK, f"{said}; {dropped} frames came too fast to be read")
    return [finding, _timers(late, settings.config.detection_time_s), *_streams(settings, receiver)]


def _incarnation(state: AgentState | LoadState) -> int:
    return state.incarnation


async def _listen(link: AfPacketLink, receiver: Receiver, seconds: float) -> list[float]:
    """Read what comes, and say how late each of many timers was, s."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    failed: list[LinkError] = []

    def read() -> None:
        try:
            for frame in link.receive():
                receiver.receive(frame, loop.time())
        except LinkError as error:
            failed.append(error)
            loop.remove_reader(link.fileno())

    loop.add_reader(link.fileno(), read)
    end = loop.time() + seconds
    while (due := loop.time() + _TICK_S) < end and not failed:
        await asyncio.sleep(_TICK_S)
        late.append(loop.time() - due)
    loop.remove_reader(link.fileno())
    if failed:
        raise failed[0]
    return sorted(late)


def _timers(late: list[float], detection_time_s: float) -> Finding:
    most = late[min(len(late) - 1, int(0.999 * len(late)))]
    bound = f"the detection time is {1e3 * detection_time_s:g} ms"
    said = f"99.9 % of {len(late)} timers are at most {1e3 * most:.2f} ms late; {bound}"
    if most <= detection_time_s:
        return Finding("timers", Verdict.GOOD, said)
    return Finding(
        "timers", Verdict.LOOK, f"{said}: answers may come too late; use --fifo, or leave it a processor of its own"
    )


def _streams(settings: AgentSettings, receiver: Receiver) -> list[Finding]:
    """By stream: heard as the SCD says, heard otherwise, or not heard."""
    stands: Counter[str] = Counter()
    wrong, silent = [], []
    for peer in settings.peers.values():
        for stream in (peer.fast, peer.slow):
            counters = receiver.subscribers[stream.gocbRef].counters
            if counters.mismatches or counters.undecodable:
                wrong.append(stream.gocbRef)
            elif not counters.received:
                silent.append(stream.gocbRef)
            else:
                stands["heard"] += 1
    every = 2 * len(settings.peers)
    findings = []
    if wrong:
        said = f"{', '.join(wrong)}: not as in this SCD (confRev, data set, application): both ends need the same file"
        findings.append(Finding("streams", Verdict.BAD, said))
    if silent:
        verdict = Verdict.BAD if len(silent) == every else Verdict.LOOK
        said = f"{len(silent)} of {every} not heard: {', '.join(silent)}: agent, switch port, VLAN or multicast filter"
        findings.append(Finding("streams", verdict, said))
    if not findings:
        findings.append(Finding("streams", Verdict.GOOD, f"all {every} heard"))
    return findings
