"""A broker that is killed, and a gateway that is killed: counting device, ``flisr run``, Mosquitto, subscriber.

What a broker acknowledges and then loses with its own end is no loss of the gateway's. So the subscriber is always
there before the gateway is let in, and it is one that the broker writes to before it acknowledges.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

from tools.loss.chain import PATIENCE_S, RATE, Chain, LossError, complete, read_line, start_process, until
from tools.loss.counting_rtu import CA, NAMES
from tools.loss.judge import Heard
from tools.loss.line import Line
from tools.loss.mosquitto import Mosquitto

if TYPE_CHECKING:
    import random
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

    from tools.loss.judge import Count
    from tools.loss.mqtt_subscriber import Message, Subscriber

_ROOT: Final = "flisr/loss"
_SITE: Final = """
[site]
name = "loss"

[[broker]]
name = "cloud"
host = "127.0.0.1:{broker}"
most_events = 1_000_000

[[rtu]]
name = "RTU"
hosts = ["127.0.0.1:{rtu}"]
CAs = [{CA}]
interrogate = false
"""
_POINT: Final = """
[[rtu.point]]
name = "{name}"
cdc = "MV"
typeID = "M_ME_TF_1"
IOA = {at}
"""


class BrokerChain:
    """All of it; an asynchronous context.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._no_more = asyncio.Event()
        self._heard: list[Heard] = []
        self._taken = 0

    async def __aenter__(self) -> Self:
        self._broker = Mosquitto(self._folder / "mosquitto", "max_inflight_messages 100\n")
        self._rtu = await start_process(
            *(sys.executable, "-P", "-m", "tools.loss.counting_rtu", self._folder / "rtu", 0, 0, RATE)
        )
        rtu_port = int(await read_line(self._rtu))
        self._follow = asyncio.create_task(self._follow_rtu())
        self._line = await Line.between(self._broker.port)
        self._line.open = False
        self._site = self._folder / "loss.toml"
        points = "".join(_POINT.format(name=name, at=1 + n) for n, name in enumerate(NAMES))
        values = {"broker": self._line.port, "rtu": rtu_port, "CA": CA}
        self._site.write_text(_SITE.format(**values) + points, encoding="utf-8")
        self._subscriber: Subscriber | None = None
        await self.start_broker()
        await self.start_gateway()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._follow.cancel()
        if self._subscriber is not None:
            await asyncio.to_thread(self._subscriber.close)
        await self._line.close()
        processes: list[Process] = [self._rtu, self._gateway]
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._broker.kill()

    async def _follow_rtu(self) -> None:
        assert self._rtu.stdout is not None
        while line := await self._rtu.stdout.readline():
            if line.strip():
                self._made = int(line)
            else:
                self._no_more.set()

    # -- what is done to it ---------------------------------------------------------------------------------------

    async def start_broker(self) -> None:
        """Start it, subscribe, and let the gateway in."""
        from tools.loss.mqtt_subscriber import Subscriber  # noqa: PLC0415 - only this trial needs paho

        await asyncio.to_thread(self._broker.start)
        if self._subscriber is None:
            topics = f"{_ROOT}/event/#", f"{_ROOT}/status"
            self._subscriber = await asyncio.to_thread(Subscriber, self._broker.port, *topics)
        await asyncio.to_thread(self._subscriber.wait)
        self._line.open = True

    async def kill_broker(self) -> None:
        """SIGKILL; nobody is let in before :meth:`start_broker`."""
        assert self._subscriber is not None
        self._line.open = False
        self._subscriber.lost()
        await asyncio.to_thread(self._broker.kill)

    async def start_gateway(self) -> None:
        """Start it, and wait until it serves."""
        words = [sys.executable, "-P", *Chain.program, "run", self._site, "--json"]
        self._gateway = await start_process(*words, log=self._folder / "gateway.log")
        await read_line(self._gateway)

    async def kill_gateway(self) -> None:
        """SIGKILL; the broker says so to the others: its will."""
        began = len(self._messages)
        self._gateway.kill()
        await self._gateway.wait()
        will = "offline"
        try:
            await until(lambda: any(_status(each) == will for each in self._messages[began:]))
        except TimeoutError:
            raise LossError("the gateway was killed and the broker does not say that it is offline") from None

    @property
    def _messages(self) -> list[Message]:
        assert self._subscriber is not None
        return self._subscriber.messages

    async def told_more(self) -> None:
        """Wait until the subscriber is told something more."""
        before = len(self._messages)
        try:
            await until(lambda: any(_status(each) == "" for each in self._messages[before:]))
        except TimeoutError:
            log = (self._folder / "gateway.log").read_text(encoding="utf-8")
            raise LossError(f"the subscriber is told nothing; made: {self._made}; {log[-2000:]}") from None

    async def finish(self) -> Count:
        """Make no more events, and see what has become of them all."""
        self._rtu.send_signal(signal.SIGUSR1)
        await asyncio.wait_for(self._no_more.wait(), PATIENCE_S)
        take = asyncio.create_task(self._take())
        try:
            return await complete(self._heard, self._made)
        finally:
            take.cancel()

    async def _take(self) -> None:
        """Messages of the other thread as they come."""
        while True:
            for each in self._messages[self._taken :]:
                self._taken += 1
                if _status(each) == "":
                    said = each.said
                    clear = said["quality"] == "good" and not said["clock"]
                    self._heard.append(Heard(NAMES.index(said["point"]), round(said["value"]), clear))
            await asyncio.sleep(0.05)


def _status(message: Message) -> str:
    """What a message says of the gateway; empty for an event."""
    return str(json.loads(message.payload)["status"]) if message.topic == f"{_ROOT}/status" else ""


async def broker(folder: Path, rounds: int, rng: random.Random, done: Callable[[int], None]) -> dict[str, Any]:
    """The broker is killed while events flow, and started again; every second time the gateway is killed instead."""
    kills = {"broker": 0, "gateway": 0}
    began = time.monotonic()
    async with BrokerChain(folder) as chain:
        for number in range(rounds):
            if rng.random() < 0.75:
                await chain.told_more()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            if number % 2:
                await chain.told_more()  # who was never online has left no will
                await chain.kill_gateway()
                await chain.start_gateway()
                kills["gateway"] += 1
            else:
                await chain.kill_broker()
                await asyncio.sleep(rng.uniform(0.0, 0.5))
                await chain.start_broker()
                kills["broker"] += 1
            done(number + 1)
        await chain.told_more()
        count = await chain.finish()
    note = f"{kills['broker']} kills of the broker, {kills['gateway']} of the gateway, each followed by its will"
    return {
        "kills": kills,
        "consumers": {"mqtt": count.as_dict()},
        "notes": [note, f"{round(time.monotonic() - began)} s"],
        "good": count.good,
    }
