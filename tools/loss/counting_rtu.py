"""A field device that counts: each change of a point has the next number as its value, and its own time.

Its events wait on its disk until they are acknowledged to it. ``python -m tools.loss.counting_rtu FOLDER PORT FIRST
RATE`` says on standard output, line by line, its port, and then the last number that is on disk. On SIGUSR1 it makes no
more, and says the last number once more and then, with an empty line, that it was the last.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.adapters.iec104_outlet import CentreConfig, Outlet
from gateway.iec104.asdu import TypeID
from gateway.points.point import PointConfig, PointValue
from gateway.points.point_list import PointRow
from gateway.points.table import PointTable

if TYPE_CHECKING:
    from gateway.adapters.iec104_outlet import PointCommand
    from gateway.iec104.station import ControlledStation, StationAsked

POINTS: Final = 20
CA: Final = 1
NAMES: Final = [f"RTU/M{number}" for number in range(POINTS)]


class _Nobody:
    """Operates nothing."""

    outlet: Outlet

    def operate(self, command: PointCommand) -> None:
        self.outlet.confirm(command.number, "it only counts")

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        station.answer(asked.number, why="it only counts")


async def main(folder: str, port: str, first: str, rate: str) -> None:
    """Count until SIGUSR1, then only serve."""
    rows = [
        PointRow(
            CA=CA, IOA=1 + n, typeID=TypeID.M_ME_TF_1, control=False, name=name, attribute="mag", cdc="MV", source="RTU"
        )
        for n, name in enumerate(NAMES)
    ]
    table = PointTable(PointConfig(name=name, cdc="MV", source="RTU") for name in NAMES)
    nobody = _Nobody()
    nobody.outlet = outlet = Outlet(table, Path(folder), [CentreConfig("centre", rows)], nobody)
    told = outlet.server.events_ready
    made = int(first)

    def ready() -> None:
        if not outlet.log.needs_write:
            print(made, flush=True)
        told()

    outlet.server.events_ready = ready  # type: ignore[method-assign]
    print(await outlet.server.listen("127.0.0.1", int(port)), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, ended.set)
    parent = os.getppid()
    while not ended.is_set() and os.getppid() == parent:
        made += 1
        now_ns = time.time_ns()
        outlet.update(NAMES[made % POINTS], PointValue(float(made), 0, now_ns, 10, now_ns))
        await asyncio.sleep(1 / float(rate))
    # With its number: this is called before "ready" has said it.
    outlet.when_stored(lambda: print(f"{made}\n", flush=True))
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody says that it has died
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=Path(sys.argv[1], "rtu.log"), format="%(asctime)s %(message)s", level=logging.INFO)
    asyncio.run(main(*sys.argv[1:]))
