"""An outstation, a gateway that is killed at random moments, and a control centre: what becomes of the events.

``tests/integration/test_iec104_field.py`` does it. By hand: ``python tests/helpers/iec104_field_kill.py FOLDER
[KILLS] [SEED] [at once]``; the last has the gateway acknowledge before it has stored, which loses events.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.iec104.asdu import Cause
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import ControllingStation, MasterSettings, ObjectsReceived
from tools.loss import counting_rtu

HERE = Path(__file__).parent
RTU, GATEWAY = Path(counting_rtu.__file__), HERE / "iec104_gateway_process.py"
POINTS = 20
PATIENCE_S = 60.0
WRITE_S = 0.02


class Heard(NamedTuple):
    """An event as the centre was told it."""

    IOA: int
    number: int
    clear: bool  # with a time that is to be trusted: it was an event at the outstation, no answer to an interrogation


@dataclass
class Count:
    """What became of the events.

    Attributes:
        made: how many the outstation had on disk.
        lost: of these, never told to the centre.
        twice: told more than once.
        disordered: first told behind a later one of the same point.
        invented: told and never made.
        answers: told without being events: how points stood when a new gateway asked.
        kills: of the gateway.
    """

    made: int = 0
    lost: list[int] = field(default_factory=list)
    twice: int = 0
    disordered: list[int] = field(default_factory=list)
    invented: list[Heard] = field(default_factory=list)
    answers: int = 0
    kills: int = 0


class Centre:
    """The control centre, in this process: it is never killed."""

    def __init__(self, port):
        self.heard: list[Heard] = []
        self.station = ControllingStation(MasterSettings((2,), interrogate=False))
        reach = Reach("gateway", (("127.0.0.1", port),), first_s=0.05, longest_s=0.1)
        self.client = Iec104Client(reach, self.station, self._tell)
        self.client.start()

    def hears_more(self):
        before = len(self.heard)
        return lambda: len(self.heard) > before

    def _tell(self, event):
        if isinstance(event, ObjectsReceived) and event.asdu.cause == Cause.SPONTANEOUS:
            self.heard += [
                Heard(one.IOA, round(one.value), not one.time.invalid and not one.qualifier)
                for one in event.asdu.objects
            ]


async def start(*words):
    # With -P a script does not find those beside it.
    paths = os.pathsep.join((str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    assert line, f"{words[0]} has ended"
    return process, int(line)


class Follower:
    """Reads the outstation's last number on disk."""

    def __init__(self, process):
        self.last = 0
        self._task = asyncio.create_task(self._follow(process))

    async def _follow(self, process):
        while line := await process.stdout.readline():
            self.last = int(line)

    def end(self):
        self._task.cancel()


async def campaign(folder, kills, seed, *, order="stored", rate=1000):
    """Kill the gateway so often; the outstation goes on all the time."""
    chance = random.Random(seed)
    rtu, rtu_port = await start(RTU, folder / "rtu", 0, 0, rate)
    follower = Follower(rtu)
    port, centre, gateway = 0, None, None
    try:
        for life in range(kills + 1):
            gateway, port = await start(GATEWAY, folder / "gateway", rtu_port, port, WRITE_S, order)
            centre = centre or Centre(port)
            if life < kills:
                if chance.random() < 0.75:
                    await until(centre.hears_more())  # it is under way; else it may still begin
                await asyncio.sleep(chance.uniform(0, 0.5))
                gateway.kill()
                await gateway.wait()
        made = follower.last
        wait_until = time.monotonic() + PATIENCE_S
        while True:
            before = len(centre.heard)
            await asyncio.sleep(1.0)
            seen = {each.number for each in centre.heard if each.clear}
            # What is lost never comes: enough that what was made later has come.
            if seen >= set(range(1, made + 1)) or (max(seen, default=0) > made + rate and len(centre.heard) > before):
                break
            assert time.monotonic() < wait_until, "the centre is not told what has been made"
        await centre.client.close()
        rtu.kill()
        await rtu.wait()
        await follower._task
        return judge(centre.heard, made, follower.last + rate, kills)
    finally:
        follower.end()
        for process in (rtu, gateway):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()


async def until(found):
    async with asyncio.timeout(PATIENCE_S):
        while not found():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)


def judge(heard, made, most, kills):
    count = Count(made=made, kills=kills)
    seen: set[int] = set()
    last: dict[int, int] = {}
    for each in heard:
        if 101 + each.number % POINTS != each.IOA or not 0 < each.number <= most:
            count.invented.append(each)
        elif not each.clear:
            count.answers += 1
        elif each.number in seen:
            count.twice += 1
        else:
            seen.add(each.number)
            if each.number < last.get(each.IOA, 0):
                count.disordered.append(each.number)
            last[each.IOA] = max(each.number, last.get(each.IOA, 0))
    count.lost = sorted(set(range(1, made + 1)) - seen)
    return count


if __name__ == "__main__":
    words = sys.argv[2:]
    kills, seed = int(words[0]) if words else 20, int(words[1]) if words[1:] else random.randrange(10**6)
    result = asyncio.run(campaign(Path(sys.argv[1]), kills, seed, order=words[2] if words[2:] else "stored"))
    print(
        f"seed {seed}: {result.kills} kills, {result.made} events made, {len(result.lost)} lost, "
        f"{result.twice} told twice, {len(result.disordered)} out of order, {len(result.invented)} invented, "
        f"{result.answers} answers to interrogations"
    )
