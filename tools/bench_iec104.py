"""``flisr bench 104``: our outstation and master beside c104's, each in a process of its own, in the same run.

Both tell measured values with time tag over loopback; our events are on disk before they are told, as in production,
and c104 runs at its fastest tick. The rate is the highest of a row at which a few seconds' changes all arrive, the
last of them no later than a second after it happened. The latency is from the change to the master's callback, at a
rate at which nobody has to wait.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any, Final, Self

from cyclopts import Parameter

from tools.bench_processes import JsonChild, answer, answer_requests, free_ports, requests

_POINTS: Final = 1000
_FIRST_MASTER: Final = "127.0.2."
_RATES: Final = (
    *(500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 10000, 12000, 16000, 20000, 24000, 28000, 32000, 36000),
    *range(40000, 124000, 4000),
)
_SECONDS: Final = 3.0
_LATE_S: Final = 1.0
_LATENCIES: Final = 300
_LATENCY_GAP_S: Final = 0.011
_TICK_S: Final = 0.002
_MOST_AT_ONCE: Final = 100
"""Changes that our source hands in together, as a report or an ASDU of a field device would bring them."""
_PATIENCE_S: Final = 60.0
_GI_POINTS: Final = 100_000
_MASTERS: Final = 100


class BenchError(Exception):
    """The measurement cannot be made here."""


def run(
    *,
    gi_points: Annotated[int, Parameter(help="Points of the large interrogation.")] = _GI_POINTS,
    masters: Annotated[int, Parameter(help="Masters at once, each a control centre of its own.")] = _MASTERS,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.", negative="")] = False,
) -> None:
    """Measure rate, latency, a large interrogation and many masters; ratios are ours over c104's."""
    if find_spec("c104") is None:
        raise BenchError("c104 is not installed here; it comes with the extra 'demo'")
    found: dict[str, Any] = {}
    for name, source, sink in (("ours", "source", "sink"), ("c104", "c104-source", "c104-sink")):
        with _Pair(source, sink, _POINTS, 1) as pair:
            latencies = pair.latencies()
            rate, tried = pair.best_rate()
        found[name] = {"rate": rate, "latency_ms": latencies, "tried": tried}
        _say(f"{name}: {rate} changes per second all arrive, latency {latencies['p50']:.2f} ms")
    with _Pair("source", "sink", gi_points, 1) as pair:
        asked = pair.sink.ask({"interrogate": True})
        found["gi"] = {**asked, "source_mb": pair.source.ask({"memory": True})["mb"]}
        _say(f"interrogation: {asked['objects']} of {gi_points} points in {asked['seconds']:.2f} s")
    with _Pair("source", "sink", _POINTS, masters) as pair:
        many = pair.run(200.0)
        found["masters"] = {**many, "source_mb": pair.source.ask({"memory": True})["mb"]}
        _say(f"{masters} masters: {many['received']} of {many['sent'] * masters} events")
    ours, peer = found["ours"], found["c104"]
    result = {
        "rate_ratio": round(ours["rate"] / peer["rate"], 2) if peer["rate"] else None,
        "latency_ratio": round(ours["latency_ms"]["p50"] / peer["latency_ms"]["p50"], 4),
        "gi_points": gi_points,
        "gi_missing": gi_points - found["gi"]["objects"],
        "gi_s": found["gi"]["seconds"],
        "gi_memory_mb": found["gi"]["source_mb"],
        "masters": masters,
        "masters_missing": found["masters"]["sent"] * masters - found["masters"]["received"],
        "masters_memory_mb": found["masters"]["source_mb"],
        "ours": ours,
        "c104": peer,
    }
    print(json.dumps(result, indent=1) if as_json else _table(result))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'':24}{'ours':>12}{'c104':>12}"]
    lines.append(f"{'lossless changes per s':24}{result['ours']['rate']:12}{result['c104']['rate']:12}")
    for part in ("p50", "p99"):
        ours, peer = result["ours"]["latency_ms"][part], result["c104"]["latency_ms"][part]
        lines.append(f"{f'change to master {part}, ms':24}{ours:12.2f}{peer:12.2f}")
    lines.append(f"interrogation of {result['gi_points']}: {result['gi_missing']} missing, {result['gi_s']:.2f} s")
    lines.append(f"{result['masters']} masters: {result['masters_missing']} events missing")
    return "\n".join(lines)


class _Pair:
    """An outstation and its masters."""

    def __init__(self, source: str, sink: str, points: int, masters: int) -> None:
        with ExitStack() as stack:
            self.source = stack.enter_context(_child(source, points, masters))
            self.sink = stack.enter_context(_child(sink, self.source.ready["port"], points, masters))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, rate: float) -> dict[str, Any]:
        """Changes at this rate; how many were made and have arrived at the last."""
        self.sink.ask({"reset": True})
        sent = self.source.ask({"rate": rate, "seconds": _SECONDS})
        deadline = time.monotonic() + _PATIENCE_S
        before = -1
        while True:
            got = self.sink.ask({"count": True})
            if got["last_ns"] and time.monotonic() > deadline:
                break
            if got["received"] == before:
                break
            before = got["received"]
            time.sleep(_LATE_S)
        late_s = max(0, got["last_ns"] - sent["last_ns"]) / 1e9
        return {"rate": sent["sent"] / sent["seconds"], "sent": sent["sent"], **got, "late_s": late_s}

    def best_rate(self) -> tuple[int, list[dict[str, Any]]]:
        """The highest rate at which all arrive in time, and all that was tried."""
        best, tried = 0, []
        for rate in _RATES:
            one = self.run(rate)
            tried.append({name: one[name] for name in ("rate", "sent", "received", "late_s")})
            if one["received"] < one["sent"] or one["late_s"] > _LATE_S or one["rate"] < 0.95 * rate:
                break
            best = rate
        return best, tried

    def latencies(self) -> dict[str, float]:
        """From change to callback, ms."""
        self.sink.ask({"reset": True})
        made = self.source.ask({"latencies": _LATENCIES})["at"]
        time.sleep(_LATE_S)
        come = self.sink.ask({"times": True})["at"]
        found = sorted((come[value] - made[value]) / 1e6 for value in made.keys() & come.keys())
        if len(found) < _LATENCIES // 2:
            raise BenchError(f"{len(found)} of {_LATENCIES} single changes arrived")
        return {"p50": median(found), "p99": quantiles(found, n=100)[98], "arrived": len(found)}


def _child(role: str, *numbers: int) -> JsonChild:
    return JsonChild("tools.bench_iec104", role, *map(str, numbers))


# -- the children ---------------------------------------------------------------------------------------------------


def _memory() -> dict[str, Any]:
    return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


async def _source(points: int, masters: int) -> None:
    """Our outstation."""
    from gateway.adapters.iec104_outlet import CentreConfig, Outlet  # noqa: PLC0415 - not in c104's processes
    from gateway.iec104.asdu import TypeID  # noqa: PLC0415
    from gateway.points.point import PointConfig, PointValue  # noqa: PLC0415
    from gateway.points.point_list import PointRow  # noqa: PLC0415
    from gateway.points.table import PointTable  # noqa: PLC0415

    names = [f"RTU/M{number}" for number in range(points)]
    rows = [
        PointRow(
            CA=1, IOA=1 + n, typeID=TypeID.M_ME_TF_1, control=False, name=name, attribute="mag", cdc="MV", source="RTU"
        )
        for n, name in enumerate(names)
    ]
    centres = [
        CentreConfig(f"centre{n}", rows, clients=(ip_network(f"{_FIRST_MASTER}{1 + n}"),)) for n in range(masters)
    ]
    table = PointTable(PointConfig(name=name, cdc="MV", source="RTU") for name in names)
    value = 0

    with tempfile.TemporaryDirectory(prefix="flisr-bench-104-") as folder:
        outlet = Outlet(table, Path(folder), centres, _Nobody())

        def change(count: int) -> int:
            nonlocal value
            changes = []
            for _ in range(count):
                value += 1
                now_ns = time.time_ns()
                changes.append((names[value % points], PointValue(float(value), 0, now_ns, 10, now_ns)))
            outlet.update_all(changes)
            return value

        async def serve(request: dict[str, Any]) -> dict[str, Any]:
            nonlocal value
            if "memory" in request:
                return _memory()
            if "latencies" in request:
                at = {}
                for _ in range(request["latencies"]):
                    begun_ns = time.monotonic_ns()
                    at[change(1)] = begun_ns
                    await asyncio.sleep(_LATENCY_GAP_S)
                return {"at": at}
            began, sent = time.monotonic(), 0
            while (elapsed := time.monotonic() - began) < request["seconds"]:
                due = int(elapsed * request["rate"]) - sent
                change(min(due, _MOST_AT_ONCE))
                sent += min(due, _MOST_AT_ONCE)
                await asyncio.sleep(_TICK_S if due < _MOST_AT_ONCE else 0)
            return {"sent": sent, "seconds": time.monotonic() - began, "last_ns": time.monotonic_ns()}

        port = await outlet.server.listen("127.0.0.1", 0)
        answer({"port": port})
        await answer_requests(serve)
        await outlet.close()


class _Nobody:
    """Operates nothing."""

    def operate(self, command: Any) -> None:
        raise BenchError(f"nothing is commanded here: {command}")

    def ask(self, station: Any, asked: Any) -> None:
        station.answer(asked.number, why="nobody is there")


async def _sink(port: int, points: int, masters: int) -> None:
    """Our masters."""
    del points
    from gateway.iec104.asdu import Cause, TypeID  # noqa: PLC0415 - not in c104's processes
    from gateway.iec104.client import Iec104Client, Reach  # noqa: PLC0415
    from gateway.iec104.master import Asked, ControllingStation, MasterSettings, ObjectsReceived, Started  # noqa: PLC0415

    received = last_ns = interrogated = started = 0
    times: dict[int, int] = {}
    ready, answered = asyncio.Event(), asyncio.Event()

    def tell(event: Any) -> None:
        nonlocal received, last_ns, interrogated, started
        if type(event) is ObjectsReceived:
            asdu = event.asdu
            if asdu.cause == Cause.SPONTANEOUS:
                last_ns = time.monotonic_ns()
                received += len(asdu.objects)
                if len(times) < 2 * _LATENCIES:
                    for one in asdu.objects:
                        times[round(one.value)] = last_ns  # type: ignore[arg-type]
            elif asdu.cause == Cause.INTERROGATED:
                interrogated += len(asdu.objects)
        elif type(event) is Started:
            started += 1
            if started == masters:
                ready.set()
        elif type(event) is Asked and event.typeID is TypeID.C_IC_NA_1:
            answered.set()

    stations = [ControllingStation(MasterSettings((1,), interrogate=False)) for _ in range(masters)]
    clients = [
        Iec104Client(Reach(f"centre{n}", (("127.0.0.1", port),), source=f"{_FIRST_MASTER}{1 + n}"), station, tell)
        for n, station in enumerate(stations)
    ]
    for client in clients:
        client.start()
    await asyncio.wait_for(ready.wait(), _PATIENCE_S)

    async def serve(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal received, last_ns, interrogated
        if "reset" in request:
            received = last_ns = 0
            times.clear()
            return {}
        if "interrogate" in request:
            interrogated, began = 0, time.monotonic()
            stations[0].interrogate(1, clients[0].now())
            clients[0].flush()
            await asyncio.wait_for(answered.wait(), _PATIENCE_S)
            return {"objects": interrogated, "seconds": time.monotonic() - began}
        if "times" in request:
            return {"at": times}
        return {"received": received, "last_ns": last_ns}

    answer({"ready": True})
    await answer_requests(serve)
    for client in clients:
        await client.close()


def _c104_source(points: int) -> None:
    import c104  # noqa: PLC0415 - GPL-3.0: in processes of its own

    server = c104.Server(ip="127.0.0.1", port=free_ports(1)[0], tick_rate_ms=_C104_TICK_MS)
    station = server.add_station(common_address=1)
    assert station is not None
    all_points = [station.add_point(io_address=1 + n, type=c104.Type.M_ME_TF_1) for n in range(points)]
    server.start()
    value = 0

    def change() -> int:
        nonlocal value
        value += 1
        point = all_points[value % points]
        assert point is not None
        point.value = float(value)
        point.transmit(cause=c104.Cot.SPONTANEOUS)
        return value

    answer({"port": server.port})
    for request in requests():
        if "latencies" in request:
            at = {}
            for _ in range(request["latencies"]):
                begun_ns = time.monotonic_ns()
                at[change()] = begun_ns
                time.sleep(_LATENCY_GAP_S)
            answer({"at": at})
            continue
        began, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < request["seconds"]:
            for _ in range(int(elapsed * request["rate"]) - sent):
                change()
                sent += 1
            time.sleep(_TICK_S)
        answer({"sent": sent, "seconds": time.monotonic() - began, "last_ns": time.monotonic_ns()})
    server.stop()


def _c104_sink(port: int, points: int) -> None:
    import c104  # noqa: PLC0415 - GPL-3.0: in processes of its own

    client = c104.Client(tick_rate_ms=_C104_TICK_MS)
    connection = client.add_connection(ip="127.0.0.1", port=port, init=c104.Init.NONE)
    assert connection is not None
    station = connection.add_station(common_address=1)
    assert station is not None
    lock = threading.Lock()
    got: deque[int] = deque(maxlen=1)
    received = 0
    times: dict[int, int] = {}

    def on_receive(
        point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage
    ) -> c104.ResponseState:
        del previous_info, message
        nonlocal received
        now_ns = time.monotonic_ns()
        with lock:
            received += 1
            got.append(now_ns)
            if len(times) < 2 * _LATENCIES:
                times[round(point.value)] = now_ns  # type: ignore[arg-type]
        return c104.ResponseState.SUCCESS

    # c104 reads the annotations of a callback.
    on_receive.__annotations__ = {
        "point": c104.Point,
        "previous_info": c104.Information,
        "message": c104.IncomingMessage,
        "return": c104.ResponseState,
    }
    for n in range(points):
        point = station.add_point(io_address=1 + n, type=c104.Type.M_ME_TF_1)
        assert point is not None
        point.on_receive(callable=on_receive)
    client.start()
    deadline = time.monotonic() + _PATIENCE_S
    while connection.state != c104.ConnectionState.OPEN:
        if time.monotonic() > deadline:
            raise BenchError("c104's client does not connect")
        if connection.state == c104.ConnectionState.OPEN_MUTED:
            connection.unmute()
        time.sleep(0.05)
    time.sleep(1.0)
    answer({"ready": True})
    for request in requests():
        with lock:
            if "reset" in request:
                received = 0
                got.clear()
                times.clear()
                said: dict[str, Any] = {}
            elif "times" in request:
                said = {"at": dict(times)}
            else:
                said = {"received": received, "last_ns": got[0] if got else 0}
        answer(said)
    client.stop()


_C104_TICK_MS: Final = 50
"""The shortest that c104 takes."""


def _main(role: str, *numbers: str) -> None:
    values = [int(number) for number in numbers]
    match role:
        case "source":
            asyncio.run(_source(values[0], values[1]))
        case "sink":
            asyncio.run(_sink(values[0], values[1], values[2]))
        case "c104-source":
            _c104_source(values[0])
        case "c104-sink":
            _c104_sink(values[0], values[1])


if __name__ == "__main__":
    _main(*sys.argv[1:])
