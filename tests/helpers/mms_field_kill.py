"""A counting IED, its gateway, and a control centre, while something is killed or cut: what becomes of the events.

``tests/integration/test_mms_field.py`` does it. By hand: ``python tests/helpers/mms_field_kill.py FOLDER WHAT KIND
[ROUNDS] [SEED] [ORDER]``: WHAT is ``worker``, ``gateway`` or ``line``; KIND is whose server the IED is; ORDER is ``at
once`` for a gateway that keeps EntryIDs before it has stored the events.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

import foreign_ied
from iec104_field_kill import start
from iec104_field_site import Centre, until
from mms_field_site import Foreign

from gateway.iec104.asdu import Cause
from gateway.iec104.master import ObjectsReceived
from gateway.points.point_list import Selection, point_list
from tools.loss.judge import Heard, judge
from tools.loss.line import Line

GATEWAY = Path(__file__).with_name("mms_gateway_process.py")
RATE, WRITE_S, PATIENCE_S = 200, 0.02, 90.0
_ROWS = point_list(foreign_ied.SCL, common=1, selection=Selection(include=("*/GGIO1.*",))).rows
PLACES = {row.IOA: int(row.name.removeprefix("REL1LD0/GGIO1.AnIn")) - 1 for row in _ROWS}


def heard_by(centre):
    """What the centre was told, in order."""
    asdus = [each.asdu for each in centre.events if isinstance(each, ObjectsReceived)]
    return [
        Heard(PLACES[one.IOA], round(one.value), not one.time.invalid and not one.qualifier)
        for asdu in asdus
        if asdu.cause == Cause.SPONTANEOUS
        for one in asdu.objects
        if one.value  # 0 is how they stood before anything was counted
    ]


def worker_of(gateway):
    """Process of the gateway's worker; None while there is none."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return int(children[0]) if children else None


async def campaign(folder, what, kind, rounds, seed, order="stored", write_s=WRITE_S):
    """Kill or cut so often; the IED goes on all the time."""
    chance = random.Random(seed)
    ied = await Foreign.start(kind, rate=RATE)
    line = await Line.between(ied.port)
    gateway, port = await start(GATEWAY, folder, line.port, 0, write_s, order)
    centre = Centre(port, (1,), interrogate=False)
    try:
        # Not every server keeps entries before a block is enabled for the first time.
        await until(lambda: len(centre.told()) >= len(PLACES))
        ied.order("count")
        for _ in range(rounds):
            if chance.random() < 0.75:
                before = len(centre.events)
                await until(lambda: len(centre.events) > before)  # noqa: B023 - it is under way; else it may still begin
            await asyncio.sleep(chance.uniform(0, 0.6))
            if what == "line":
                await line.cut(chance.randrange(1, 3000))
            elif what == "worker":
                if (pid := worker_of(gateway)) is not None:
                    os.kill(pid, signal.SIGKILL)
            else:
                gateway.kill()
                await gateway.wait()
                gateway, _ = await start(GATEWAY, folder, line.port, port, write_s, order)
        made = await ied.stop()
        last, since = 0, time.monotonic()
        while time.monotonic() < since + 5.0:
            await asyncio.sleep(0.2)
            if len(centre.events) != last:
                last, since = len(centre.events), time.monotonic()
        return judge(heard_by(centre), made)
    finally:
        await centre.client.close()
        await line.close()
        if gateway.returncode is None:
            gateway.kill()
            await gateway.wait()
        await ied.close()


if __name__ == "__main__":
    folder, what, kind, *words = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    rounds = int(words[0]) if words else 20
    seed = int(words[1]) if words[1:] else random.randrange(10**6)
    result = asyncio.run(campaign(Path(folder), what, kind, rounds, seed, words[2] if words[2:] else "stored"))
    print(f"{what}, {kind}, seed {seed}, {rounds} rounds: {result.as_dict()}")
