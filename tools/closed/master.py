"""A control centre of ours, in a process of its own: ``python -m tools.closed.master PORT``, asked by lines of JSON."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

from gateway.iec104.asdu import TypeID
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import CommandEnded, ControllingStation, MasterSettings, Started
from tools.bench_processes import answer, answer_requests

_CLOSE: Final = 2
"""Of a double command: on."""


async def _main(port: int) -> None:
    started = asyncio.Event()
    ended: dict[int, asyncio.Future[CommandEnded]] = {}

    def tell(event: Any) -> None:
        if type(event) is Started:
            started.set()
        elif type(event) is CommandEnded and event.number in ended:
            ended.pop(event.number).set_result(event)

    station = ControllingStation(MasterSettings((1,)))
    client = Iec104Client(Reach("centre", (("127.0.0.1", port),)), station, tell)
    client.start()
    await started.wait()
    answer({"ready": True})

    async def serve(request: dict[str, Any]) -> dict[str, Any]:
        while True:
            try:
                number = station.command(
                    1,
                    request["IOA"],
                    TypeID.C_DC_TA_1,
                    _CLOSE,
                    client.now(),
                    time.time_ns(),
                    select=request["select"],
                    execute=request["execute"],
                )
            except ValueError:
                await asyncio.sleep(0.1)  # the connection is not there again yet
            else:
                break
        waiting = ended[number] = asyncio.get_running_loop().create_future()
        client.flush()
        end = await waiting
        return {"done": end.done, "why": f"{end.stage}: {end.why}"}

    await answer_requests(serve)
    await client.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
