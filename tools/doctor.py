"""``flisr doctor``: whether an agent could do its work on this machine and at this interface, before it is started.

It only looks: it sends nothing unless it is asked to (``--probe``, ``--echo``), and what it writes beside the agent's
state to time the disk it takes away again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from ied_agents.dflisr import wire
from ied_agents.dflisr.stored import StoredRecordError, from_json
from ied_agents.goose.frame import format_mac
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.utctime import TimeQuality
from ied_agents.runtime import realtime
from ied_agents.runtime.access import Gatekeeper
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.clock import time_quality
from ied_agents.runtime.durable import DurableFile, DurableFileError, StateLocked, StateMissing
from ied_agents.runtime.journal import JournalError
from ied_agents.runtime.link import LinkError
from ied_agents.runtime.realtime import RealTimeHelp
from ied_agents.runtime.relay_streams import Relay
from tools import doctor_probe
from tools.agent_command import ROOT, Interfaces, agent_settings
from tools.pickups import pickups, spreads_ns

if TYPE_CHECKING:
    from ied_agents.dflisr.records import AgentState, LoadState
    from ied_agents.runtime.settings import AgentSettings

_TICK_S: Final = 0.001
_WRITES: Final = 50
_RECORD: Final = bytes(2048)
"""About as large as an agent's record."""
_SLOW_DISK_S: Final = 0.05
"""Two syncs lie on the way to a grant, which shall come within 0.1 s."""
_SAME_EVENT_S: Final = 0.02
"""So soon after the first pickup no breaker has opened, and whoever picks up sees the same fault current."""


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
    interface: Interfaces,
    site: Annotated[
        Path | None, Parameter(help="The site file; else the TOML beside the SCD of the same name.")
    ] = None,
    root: Annotated[Path, Parameter(help="Folder in which each agent has one of its name.")] = ROOT,
    fifo: Annotated[
        int, Parameter(help="As the agent will be run: SCHED_FIFO priority, memory locked; 0: neither.")
    ] = 0,
    seconds: Annotated[float, Parameter(help="How long to listen and to time.")] = 5.0,
    probe: Annotated[
        bool,
        Parameter(
            help="Send probes, 100 a second, and time the answers; needs --echo on another machine.", negative=""
        ),
    ] = False,
    echo: Annotated[
        bool, Parameter(help="Only answer the probes of other machines, until interrupted.", negative="")
    ] = False,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Examine machine, interfaces, clock, disk, state, subscriptions and detection time of one agent.

    Exit status 1 if it could not work.
    """
    settings = agent_settings(scd, ied, site)
    if echo:
        _echo(settings, interface, fifo)
        return
    machine = [_realtime(fifo), _clock(), _access(settings), *_disk(root / ied)]
    lines, slowest_s = _lines(settings, interface, seconds, probe=probe)
    findings = [*machine, *lines, _detection(settings.config.detection_time_s, root, slowest_s)]
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
    unknown = Gatekeeper(settings.access).unknown
    if unknown:
        return Finding("access", Verdict.BAD, f"{'; '.join(unknown)}: has no right; add it, or mend [access]")
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


def _lines(
    settings: AgentSettings, interfaces: list[str], seconds: float, *, probe: bool
) -> tuple[list[Finding], float | None]:
    """What is found at each interface, and the longest hop of all, s."""
    found: list[list[Finding]] = []
    hops: list[float] = []
    for interface in interfaces:
        each = _line(settings, interface, seconds)
        if all(finding.what != "interface" or finding.verdict is not Verdict.BAD for finding in each):
            finding, hop_s = _hop(settings, interface, seconds, probe=probe)
            each.append(finding)
            hops += () if hop_s is None else (hop_s,)
        found.append(each)
    if len(interfaces) > 1:
        found = [
            [replace(finding, said=_named(interface, finding.said)) for finding in each]
            for interface, each in zip(interfaces, found, strict=True)
        ]
    if any(all(finding.verdict is not Verdict.BAD for finding in each) for each in found):
        # One of two is enough to work.
        found = [[replace(f, verdict=Verdict.LOOK) if f.verdict is Verdict.BAD else f for f in each] for each in found]
    return [finding for each in found for finding in each], max(hops, default=None)


def _named(interface: str, said: str) -> str:
    return said if interface in said else f"{interface}: {said}"


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
    relay = None if settings.relay is None else Relay(settings.relay, settings.config.number, link.mac).receiver
    try:
        late = asyncio.run(_listen(link, [receiver] if relay is None else [receiver, relay], seconds))
        dropped = link.dropped
    except LinkError as error:
        return [Finding("interface", Verdict.BAD, str(error))]
    finally:
        link.close()
    said = f"{interface} ({link.mac.hex(':')}) is up; {len(prompt) + len(others)} multicast addresses joined"
    finding = Finding("interface", Verdict.GOOD, said)
    if dropped:
        finding = Finding("interface", Verdict.LOOK, f"{said}; {dropped} frames came too fast to be read")
    findings = [finding, _timers(late, settings.config.detection_time_s), *_streams("streams", receiver)]
    return findings if relay is None else [*findings, *_streams("relay", relay, needed=True)]


def _incarnation(state: AgentState | LoadState) -> int:
    return state.incarnation


async def _listen(link: AfPacketLink, receivers: list[Receiver], seconds: float) -> list[float]:
    """Read what comes, and say how late each of many timers was, s."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    failed: list[LinkError] = []

    def read() -> None:
        try:
            for frame in link.receive():
                for receiver in receivers:
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


def _streams(what: str, receiver: Receiver, *, needed: bool = False) -> list[Finding]:
    """By stream: heard as the SCD says, heard otherwise, or not heard; ``needed`` if the agent does nothing without."""
    wrong, silent = [], []
    for gocbRef, subscriber in receiver.subscribers.items():
        if subscriber.counters.mismatches or subscriber.counters.undecodable:
            wrong.append(gocbRef)
        elif not subscriber.counters.received:
            silent.append(gocbRef)
    every = len(receiver.subscribers)
    findings = []
    if wrong:
        said = f"{', '.join(wrong)}: not as in this SCD (confRev, data set, application): both ends need the same file"
        findings.append(Finding(what, Verdict.BAD, said))
    if silent:
        verdict = Verdict.BAD if needed or len(silent) == every else Verdict.LOOK
        publisher = "relay" if needed else "agent"
        ways = f"{publisher}, switch port, VLAN or multicast filter"
        findings.append(Finding(what, verdict, f"{len(silent)} of {every} not heard: {', '.join(silent)}: {ways}"))
    if not findings:
        findings.append(Finding(what, Verdict.GOOD, f"all {every} heard"))
    return findings


# -- detection time ---------------------------------------------------------------------------------------------------


def _hop(settings: AgentSettings, interface: str, seconds: float, *, probe: bool) -> tuple[Finding, float | None]:
    """How long a frame takes from process to process, and that in s."""
    if not probe:
        said = "not known yet: start doctor with --echo on another machine of this network, then here with --probe"
        return Finding("hop", Verdict.LOOK, said), None
    try:
        hops = asyncio.run(doctor_probe.measure(interface, settings.own.fast, seconds))
    except LinkError as error:
        return Finding("hop", Verdict.LOOK, f"not known yet: {error.strerror or error}"), None
    if not hops.taken_s:
        said = (
            f"not known yet: nobody answered {hops.sent} probes: start doctor with --echo on another machine; the"
            f" switches must pass {format_mac(doctor_probe.ASKED)} and {format_mac(doctor_probe.ANSWERED)}"
        )
        return Finding("hop", Verdict.LOOK, said), None
    median_s, most_s = hops.quantile_s(0.5), hops.quantile_s(0.999)
    said = f"{1e3 * median_s:.2f} ms at the median, 99.9 % of {len(hops.taken_s)} at most {1e3 * most_s:.2f} ms"
    lost = hops.sent - len(hops.taken_s)
    if lost:
        return Finding("hop", Verdict.LOOK, f"{said}; {lost} of {hops.sent} were lost: cable, switch or load"), most_s
    if most_s > settings.config.detection_time_s:
        said += (
            ", longer than the detection time: use --fifo on both machines; look at the switches' load and priorities"
        )
        return Finding("hop", Verdict.LOOK, said), most_s
    return Finding("hop", Verdict.GOOD, said), most_s


def _detection(detection_time_s: float, root: Path, hop_s: float | None) -> Finding:
    """Whether the detection time covers what was measured: how far apart pickups are, and a hop from the relay."""
    detection = f"the detection time is {1e3 * detection_time_s:g} ms"
    try:
        found = pickups(sorted(root.glob("*/journal.jsonl")))
    except (OSError, JournalError) as error:
        return Finding("detection time", Verdict.LOOK, f"not known yet: {error}")
    spreads = spreads_ns(found, round(1e9 * max(_SAME_EVENT_S, detection_time_s)))
    if not spreads:
        said = f"not known yet: no event that two agents of this machine picked up is in their journals; {detection}"
        return Finding(
            "detection time", Verdict.LOOK, said + ": inject current into two switches at once, or wait for one"
        )
    needed_s = max(spreads) / 1e9 + (hop_s or 0.0)
    said = f"pickups of one event were at most {max(spreads) / 1e6:.2f} ms apart in {len(spreads)} events"
    said += f", and a hop takes {1e3 * hop_s:.2f} ms; {detection}" if hop_s else f"; {detection}"
    if needed_s <= detection_time_s:
        return Finding("detection time", Verdict.GOOD, f"good: {said}")
    longer_ms = math.ceil(1.25e3 * needed_s)
    way_out = f"set detection_time_ms = {longer_ms} in the site file, if the clocks of these processes agree"
    return Finding("detection time", Verdict.LOOK, f"too tight: {said}: {way_out}")


def _echo(settings: AgentSettings, interfaces: list[str], fifo: int) -> None:
    """Answer probes until SIGINT or SIGTERM."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        stopped = loop.create_task(stop.wait())
        answering = [loop.create_task(doctor_probe.answer(name, settings.own.fast)) for name in interfaces]
        print(f"answering the probes of other machines on {', '.join(interfaces)}; interrupt to end", flush=True)
        done, left = await asyncio.wait([stopped, *answering], return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()

    _realtime(fifo)
    try:
        asyncio.run(serve())
    except LinkError as error:
        print(error.strerror or error, file=sys.stderr)
        raise SystemExit(1) from None
