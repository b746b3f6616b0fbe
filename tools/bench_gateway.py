"""``flisr bench gateway``: from a report of IEDs by MMS to a control centre by IEC 104, beside a bare MMS client.

The IEDs are servers of libiec61850 with 20 measured values each in one buffered report control block, up to 25 of them
in a process; the gateway is ``flisr run`` with events on disk as in production; the control centre is a master of
ours. The bare client is one process with a connection to each IED and the same blocks enabled, that counts in the
library's callback and does nothing else. The rate is the highest of a row at which all changes of a few seconds
arrive, the last no later than a second after it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from tools.bench_processes import JsonChild, answer, answer_requests, free_ports, requests, used_s

if TYPE_CHECKING:
    from collections.abc import Callable

_POINTS: Final = 20
"""Of each IED."""
_IEDS: Final = (1, 10, 50, 100)
_PER_PROCESS: Final = 25
_RATES: Final = (100, 200, 400, 700, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 6000, 8000, 10000, 12000)
_SECONDS: Final = 3.0
_LATE_S: Final = 1.0
_LATENCIES: Final = 200
_LATENCY_GAP_S: Final = 0.02
_TICK_S: Final = 0.005
_PATIENCE_S: Final = 180.0
_BUFFER_MS: Final = 5
"""bufTime of the blocks: changes so close together are one report."""


class BenchError(Exception):
    """The measurement cannot be made here."""


def run(
    *,
    ieds: Annotated[tuple[int, ...], Parameter(help="How many IEDs, one measurement for each number.")] = _IEDS,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Measure rate, latency and what each part of the way costs, for several numbers of IEDs."""
    if find_spec("pyiec61850") is None:
        raise BenchError("libiec61850 is not installed here; it comes with the extra 'mms'")
    rows = []
    for count in ieds:
        rows.append(_measure(count))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    largest = rows[-1]
    result = {
        "ieds": [row["ieds"] for row in rows],
        "points_per_s": largest["points_per_s"],
        "latency_ms_p50": largest["latency_ms_p50"],
        "latency_ms_p99": largest["latency_ms_p99"],
        "rate_ratio": largest["rate_ratio"],
        "runs": rows,
    }
    print(json.dumps(result, indent=1) if as_json else "\n".join(_line(row) for row in rows))


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['ieds']} IEDs: {row['points_per_s']} changes/s, bare client {row['bare_points_per_s']}; latency "
        f"{row['latency_ms_p50']:.1f} ms, p99 {row['latency_ms_p99']:.1f}; known after {row['known_after_s']:.0f} s; "
        f"per change: gateway {row['gateway_us']:.0f} us, workers {row['workers_us']:.0f}, bare {row['bare_us']:.0f}; "
        f"idle {100 * row['idle']:.1f} % of a processor, {row['memory_mb']:.0f} MB"
    )


# -- one measurement ------------------------------------------------------------------------------------------------


def _measure(count: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flisr-bench-gateway-")))
        ports = free_ports(count + 1)
        port = ports.pop()
        servers = [
            stack.enter_context(_child("ieds", first, *ports[first : first + _PER_PROCESS]))
            for first in range(0, count, _PER_PROCESS)
        ]
        with _child("bare", *ports) as client:
            bare, (bare_us,) = _best_rate(servers, client, [[client.pid]])
        site = folder / "site.toml"
        (folder / "site.scd").write_text(_scd(count), encoding="utf-8")
        site.write_text(_site(ports, port), encoding="utf-8")
        began = time.monotonic()
        gateway = stack.enter_context(JsonChild("tools.cli", "run", str(site), "--json", log=folder / "gateway.log"))
        stack.callback(gateway.stop)
        sink = stack.enter_context(_child("sink", port))
        _until(lambda: sink.ask({"known": True})["known"] == count * _POINTS, folder / "gateway.log")
        known_after_s = time.monotonic() - began
        # What the IEDs had in their buffers since the bare client's measurement comes first.
        _settled(sink)
        pids = [gateway.pid, *_children(gateway.pid)]
        before, at = used_s(*pids), time.monotonic()
        time.sleep(_SECONDS)
        idle = (used_s(*pids) - before) / (time.monotonic() - at)
        latencies = _latencies(servers, sink)
        rate, (gateway_us, workers_us) = _best_rate(servers, sink, [[gateway.pid], pids[1:]])
        memory_mb = sum(map(_own_mb, pids))
    return {
        "ieds": count,
        "points": count * _POINTS,
        "points_per_s": rate,
        "bare_points_per_s": bare,
        "rate_ratio": round(rate / bare, 2) if bare else None,
        **latencies,
        "known_after_s": known_after_s,
        "idle": idle,
        "memory_mb": memory_mb,
        "gateway_us": gateway_us,
        "workers_us": workers_us,
        "bare_us": bare_us,
    }


def _best_rate(servers: list[JsonChild], sink: JsonChild, groups: list[list[int]]) -> tuple[int, list[float]]:
    """The highest rate at which all arrive in time; processor time of each group of processes per change then, us."""
    best, used = 0, [0.0] * len(groups)
    for rate in _RATES:
        sink.ask({"reset": True})
        before = [used_s(*group) for group in groups]
        for server in servers:
            server.say({"rate": rate / len(servers), "seconds": _SECONDS})
        said = [server.hear() for server in servers]
        sent, last_ns = sum(each["sent"] for each in said), max(each["last_ns"] for each in said)
        got = _settled(sink)
        late_s = max(0, got["last_ns"] - last_ns) / 1e9
        if got["received"] < sent or late_s > _LATE_S or sent < 0.9 * rate * _SECONDS:
            break
        best = rate
        used = [1e6 * (used_s(*group) - was) / sent for group, was in zip(groups, before, strict=True)]
    return best, used


def _settled(sink: JsonChild) -> dict[str, Any]:
    before = -1
    while (got := sink.ask({"count": True}))["received"] != before:
        before = got["received"]
        time.sleep(_LATE_S)
    return got


def _latencies(servers: list[JsonChild], sink: JsonChild) -> dict[str, float]:
    sink.ask({"reset": True})
    made = servers[0].ask({"latencies": _LATENCIES})["at"]
    _settled(sink)
    come = sink.ask({"times": True})["at"]
    found = sorted((come[value] - made[value]) / 1e6 for value in made.keys() & come.keys())
    if len(found) < _LATENCIES // 2:
        raise BenchError(f"{len(found)} of {_LATENCIES} single changes arrived")
    return {"latency_ms_p50": median(found), "latency_ms_p99": quantiles(found, n=100)[98]}


def _until(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8").splitlines()[-3:]
            raise BenchError(f"the control centre does not know all points after {_PATIENCE_S:.0f} s; {last}")
        time.sleep(0.1)


def _child(role: str, *numbers: int) -> JsonChild:
    return JsonChild("tools.bench_gateway", role, *map(str, numbers))


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _own_mb(pid: int) -> float:
    """Memory that is its own, and its share of what several use, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


# -- files ----------------------------------------------------------------------------------------------------------


def _ied(number: int) -> str:
    dos = "".join(
        f'<FCDA ldInst="LD0" lnClass="GGIO" lnInst="1" doName="AnIn{n}" fc="MX"/>' for n in range(1, _POINTS + 1)
    )
    return (
        f'<IED name="R{number}"><AccessPoint name="P1"><Server><Authentication/><LDevice inst="LD0">'
        f'<LN0 lnClass="LLN0" inst="" lnType="LLN0"><DataSet name="values">{dos}</DataSet>'
        '<ReportControl name="values" rptID="values" datSet="values" confRev="1" buffered="true" '
        f'bufTime="{_BUFFER_MS}">'
        '<TrgOps dchg="true" qchg="true" gi="true"/><OptFields seqNum="true" timeStamp="true" reasonCode="true" '
        'entryID="true" bufOvfl="true"/><RptEnabled max="2"/></ReportControl></LN0>'
        '<LN lnClass="GGIO" inst="1" lnType="GGIO"/></LDevice></Server></AccessPoint></IED>'
    )


def _scd(count: int, first: int = 0) -> str:
    dos = "".join(f'<DO name="AnIn{n}" type="MV"/>' for n in range(1, _POINTS + 1))
    return (
        '<?xml version="1.0"?><SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B" release="4">'
        '<Header id="bench"/>' + "".join(_ied(number) for number in range(first, first + count)) + "<DataTypeTemplates>"
        '<LNodeType id="LLN0" lnClass="LLN0"><DO name="Beh" type="INS"/></LNodeType>'
        f'<LNodeType id="GGIO" lnClass="GGIO">{dos}</LNodeType>'
        '<DOType id="INS" cdc="INS"><DA name="stVal" bType="INT32" fc="ST" dchg="true"/></DOType>'
        '<DOType id="MV" cdc="MV"><DA name="mag" bType="Struct" type="Analogue" fc="MX" dchg="true"/>'
        '<DA name="q" bType="Quality" fc="MX" qchg="true"/><DA name="t" bType="Timestamp" fc="MX"/></DOType>'
        '<DAType id="Analogue"><BDA name="f" bType="FLOAT32"/></DAType></DataTypeTemplates></SCL>'
    )


def _site(ports: list[int], port: int) -> str:
    text = '[site]\nname = "bench"\nscd = "site.scd"\n'
    text += "".join(f'\n[[ied]]\nname = "R{n}"\nhost = "127.0.0.1:{each}"\n' for n, each in enumerate(ports))
    text += f'\n[[centre]]\nname = "centre"\nlisten = "127.0.0.1"\nport = {port}\ncommon_address = 1\n'
    return text + 'points = { include = ["*GGIO1.AnIn*"] }\n'


# -- the children ---------------------------------------------------------------------------------------------------


def _serve(first: int, ports: list[int]) -> None:
    """Some of the IEDs; a value is the number of its change."""
    from ied_agents.iec61850.utctime import UtcTime  # noqa: PLC0415 - not where they are not needed
    from ied_agents.mms.library import load  # noqa: PLC0415
    from ied_agents.mms.server import MmsServer  # noqa: PLC0415
    from scl.reader import parse  # noqa: PLC0415

    servers: list[Any] = []
    for number, port in enumerate(ports, first):
        servers.append(MmsServer(load(), parse(_scd(1, number)), f"R{number}", _Nobody()))
        servers[-1].start("127.0.0.1", port)
    lock = threading.Lock()
    value = 0

    def process() -> None:
        while True:
            with lock:
                for server in servers:
                    server.process()
            time.sleep(0.001)

    def change(count: int) -> int:
        """As many changes, an IED's together."""
        nonlocal value
        made: dict[int, dict[str, Any]] = {}
        for _ in range(count):
            value += 1
            where, point = divmod(value // _POINTS % len(servers) * _POINTS + value % _POINTS, _POINTS)
            name = f"LD0/GGIO1.AnIn{point + 1}"
            made.setdefault(where, {}).update(
                {f"{name}.t": UtcTime.from_ns(time.time_ns(), 10).encode(), f"{name}.mag.f": float(value)}
            )
        with lock:
            for where, values in made.items():
                servers[where].update(values)
        return value

    threading.Thread(target=process, daemon=True).start()
    answer({"ready": True})
    for request in requests():
        if "latencies" in request:
            at = {}
            for _ in range(request["latencies"]):
                begun_ns = time.monotonic_ns()
                at[change(1)] = begun_ns
                time.sleep(_LATENCY_GAP_S)
            answer({"at": at})
            continue
        began, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < request["seconds"]:
            due = int(elapsed * request["rate"]) - sent
            if due:
                change(due)
                sent += due
            time.sleep(_TICK_S)
        answer({"sent": sent, "last_ns": time.monotonic_ns()})


class _Nobody:
    """Controls nothing."""

    def check(self, request: Any) -> Any:
        raise BenchError(f"nothing is commanded here: {request}")

    start = outcome = check


class _Counted:
    """What has come, and when."""

    def __init__(self) -> None:
        self.received = self.last_ns = 0
        self.times: dict[int, int] = {}

    def take(self, values: list[Any]) -> None:
        self.last_ns = time.monotonic_ns()
        self.received += len(values)
        if len(self.times) < 2 * _LATENCIES:
            self.times.update(dict.fromkeys(map(round, values), self.last_ns))

    def say(self, request: dict[str, Any]) -> dict[str, Any]:
        if "reset" in request:
            self.received = self.last_ns = 0
            self.times.clear()
        if "times" in request:
            return {"at": self.times}
        return {"received": self.received, "last_ns": self.last_ns}


def _bare_client(ports: list[int]) -> None:
    """A connection to each IED, and in the library's callback a count."""
    from ied_agents.mms.client import MmsClient  # noqa: PLC0415
    from ied_agents.mms.client_report import Subscription  # noqa: PLC0415
    from ied_agents.mms.library import load  # noqa: PLC0415

    counted, lock = _Counted(), threading.Lock()
    to_float = load().MmsValue_toFloat
    to_float.argtypes, to_float.restype = [ctypes.c_void_p], ctypes.c_float

    class Bare(Subscription):
        def _receive(self, _: int, report: int) -> None:
            library = self._client.library
            given = library.ClientReport_getDataSetValues(report)
            values: list[float] = []
            for place in range(library.MmsValue_getArraySize(given)):
                if library.ClientReport_getReasonForInclusion(report, place) in (1, 2):
                    magnitude = library.MmsValue_getElement(library.MmsValue_getElement(given, place), 0)
                    values.append(to_float(library.MmsValue_getElement(magnitude, 0)))
            with lock:
                counted.take(values)

    clients = [MmsClient("127.0.0.1", port) for port in ports]
    kept = [Bare(client, f"{client.devices()[0]}/LLN0.BR.values01", _never) for client in clients]
    answer({"ready": True})
    for request in requests():
        with lock:
            answer(counted.say(request))
    for client, _ in zip(clients, kept, strict=True):  # the library calls them as long as there are connections
        client.close()


def _never(report: Any) -> None:
    raise BenchError(f"{report}: counted already")


async def _sink(port: int) -> None:
    """The control centre."""
    from gateway.iec104.asdu import Cause  # noqa: PLC0415
    from gateway.iec104.client import Iec104Client, Reach  # noqa: PLC0415
    from gateway.iec104.master import ControllingStation, MasterSettings, ObjectsReceived  # noqa: PLC0415

    counted, known = _Counted(), set[int]()

    def tell(event: Any) -> None:
        if type(event) is ObjectsReceived:
            known.update(each.IOA for each in event.asdu.objects if each.IOA and not each.qualifier)
            if event.asdu.cause == Cause.SPONTANEOUS:
                counted.take([each.value for each in event.asdu.objects])

    client = Iec104Client(Reach("centre", (("127.0.0.1", port),)), ControllingStation(MasterSettings((1,))), tell)
    client.start()
    answer({"ready": True})

    async def serve(request: dict[str, Any]) -> dict[str, Any]:
        return {"known": len(known)} if "known" in request else counted.say(request)

    await answer_requests(serve)
    await client.close()


def _main(role: str, *numbers: str) -> None:
    values = [int(number) for number in numbers]
    match role:
        case "ieds":
            _serve(values[0], values[1:])
        case "bare":
            _bare_client(values)
        case "sink":
            asyncio.run(_sink(values[0]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
