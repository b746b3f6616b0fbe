"""A master that is away for hours: the gateway's outlet, its event log on a real disk, and a clock that is put on.

Every timer of the process sees the hours go by. The events of each second bear its time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import Cause, TypeID
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import ControllingStation, MasterSettings, ObjectsReceived
from gateway.iec104.time_tag import CP56Time2a
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable
from tools.loss.counting_rtu import CA, NAMES, POINTS
from tools.loss.judge import Heard, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PER_S: Final = 20
_PATIENCE_S: Final = 60.0
_NS: Final = 10**9


class _PutOn(asyncio.SelectorEventLoop):
    """A loop whose clock can be put on.

    Attributes:
        put_on_s: by how much it is ahead, s.
    """

    put_on_s = 0.0

    def time(self) -> float:
        return super().time() + self.put_on_s


def away(folder: Path, hours: float, done: Callable[[int], None]) -> dict[str, Any]:
    """The master has what is there, goes, and comes back hours later.

    Args:
        folder: for the event log.
        hours: of virtual time.
        done: called with each hundred seconds of them.
    """
    with asyncio.Runner(loop_factory=_PutOn) as runner:
        return runner.run(_away(folder, round(hours * 3600), done))


class _Master:
    def __init__(self, port: int, heard: list[tuple[Heard, int]]) -> None:
        self._heard = heard
        self._station = ControllingStation(MasterSettings((CA,), interrogate=False))
        reach = Reach("outlet", (("127.0.0.1", port),), first_s=0.05, longest_s=0.1)
        self.client = Iec104Client(reach, self._station, self._hear)
        self.client.start()

    def _hear(self, event: object) -> None:
        if isinstance(event, ObjectsReceived) and event.asdu.cause == Cause.SPONTANEOUS:
            for one in event.asdu.objects:
                assert isinstance(one.value, float)
                assert isinstance(one.time, CP56Time2a)
                t_ns = self._station.settings.time_base.decode(one.time)
                clear = not one.time.invalid and not one.qualifier
                self._heard.append((Heard(one.IOA - 1, round(one.value), clear), t_ns))


async def _away(folder: Path, seconds: int, done: Callable[[int], None]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _PutOn)
    rows = [
        PointRow(
            CA=CA, IOA=1 + n, typeID=TypeID.M_ME_TF_1, control=False, name=name, attribute="mag", cdc="MV", source="RTU"
        )
        for n, name in enumerate(NAMES)
    ]
    table = PointTable(PointConfig(name=name, cdc="MV", source="RTU") for name in NAMES)
    most = (seconds + 2) * _PER_S
    outlet = Outlet(table, folder, [CentreConfig("centre", rows, most_events=most)], _Nobody())
    port = await outlet.server.listen("127.0.0.1", 0)
    heard: list[tuple[Heard, int]] = []
    began_ns = time.time_ns() // _NS * _NS
    made = 0

    async def second(number: int) -> None:
        nonlocal made
        changes = []
        for part in range(_PER_S):
            made += 1
            t_ns = began_ns + number * _NS + part * (_NS // _PER_S)
            changes.append((NAMES[made % POINTS], PointValue(float(made), 0, t_ns, 10, t_ns)))
        stored = asyncio.Event()
        outlet.update_all(changes)
        outlet.when_stored(stored.set)
        await stored.wait()

    master = _Master(port, heard)
    await second(0)
    await _until(lambda: len(heard) >= _PER_S)
    await master.client.close()
    for number in range(1, seconds + 1):
        loop.put_on_s += 1.0
        await second(number)
        if not number % 100:
            done(number)
    waited = outlet.log.consumer("centre").waiting
    master = _Master(port, heard)
    back = time.monotonic()
    await _until(lambda: len(heard) >= made)
    took_s = time.monotonic() - back
    await master.client.close()
    await outlet.close()
    count = judge((each for each, _ in heard), made)
    # In 104 times are of whole milliseconds.
    wrong = sum(
        t_ns != (began_ns + (each.number - 1) // _PER_S * _NS + (each.number - 1) % _PER_S * (_NS // _PER_S))
        for each, t_ns in heard
    )
    return {
        "away_s": seconds,
        "waiting": waited,
        "told_again_in_s": round(took_s, 2),
        "with_another_time": wrong,
        "consumers": {"ours": count.as_dict()},
        "notes": [],
        "good": count.good and not wrong,
    }


async def _until(found: Callable[[], bool]) -> None:
    """Or until nothing more comes: the count says what is missing."""
    deadline = time.monotonic() + _PATIENCE_S
    while not found() and time.monotonic() < deadline:  # noqa: ASYNC110 - what it looks at has no event
        await asyncio.sleep(0.01)


class _Nobody:
    """Operates nothing."""

    def operate(self, command: Any) -> None:
        raise AssertionError(f"nothing is commanded here: {command}")

    def ask(self, station: Any, asked: Any) -> None:
        station.answer(asked.number, why="nobody is there")
