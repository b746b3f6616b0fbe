"""The trials: each plays a chain, does something to it, and counts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.loss import mosquitto
from tools.loss.broker import broker  # noqa: F401 - played by its name, as those here
from tools.loss.chain import PATIENCE_S, Chain, LossError
from tools.loss.postgresql import PostgreSQL, missing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tools.loss.judge import Count

    Progress = Callable[[int], None]

_MOST_OCTETS: Final = 3000
"""Of a window: the line is cut after up to so many, mostly within a frame and before the acknowledgement."""
_HOLDS_S: Final = 2.5
"""A line to the device that holds longer than the pause before it lets the next pause be the first one again (1 s, then
2 s): cut at once, again and again, it would soon be waited for by the minute."""
_DISK: Final = "6m"
_FULL_S: Final = 3.0
_CHUNK: Final = 1 << 16


async def kill(folder: Path, rounds: int, rng: random.Random, done: Progress) -> dict[str, Any]:
    """The gateway is killed at random moments, also before it has begun to tell anything, and started again."""
    async with Chain(folder) as chain:
        for number in range(rounds):
            if rng.random() < 0.75:
                await chain.told_more()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            await chain.kill()
            await chain.start()
            done(number + 1)
        return _said(chain, await chain.finish(), kills=rounds)


async def cut(folder: Path, rounds: int, rng: random.Random, done: Progress) -> dict[str, Any]:
    """The line to our centre, or that to the device, is cut within a window."""
    loop = asyncio.get_running_loop()
    async with Chain(folder) as chain:
        for number in range(rounds):
            line = chain.field if number % 3 == 0 else chain.centre
            async with asyncio.timeout(PATIENCE_S):
                while line is chain.field and loop.time() < line.since + _HOLDS_S:  # noqa: ASYNC110 - time has no event
                    await asyncio.sleep(0.1)
                await line.cut(rng.randrange(1, _MOST_OCTETS))
            done(number + 1)
        return _said(chain, await chain.finish(), cuts_to_device=chain.field.cuts, cuts_to_centre=chain.centre.cuts)


async def disk(folder: Path, rounds: int, rng: random.Random, done: Progress) -> dict[str, Any]:
    """The disk of the event log is full for some seconds, again and again; the gateway is not killed meanwhile."""
    store = folder / "store"
    store.mkdir()
    script = f'mount -t tmpfs -o size={_DISK} tmpfs "{store}" && exec "$0" "$@"'
    async with Chain(folder, wrap=("unshare", "--mount", "sh", "-c", script)) as chain:
        seen = Path(f"/proc/{chain.gateway.pid}/root{store}")  # it is mounted for the gateway alone
        full = 0
        for number in range(rounds):
            await chain.told_more()
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            full += _fill(seen / "filler")
            await asyncio.sleep(_FULL_S)
            (seen / "filler").unlink()
            done(number + 1)
        await asyncio.sleep(_FULL_S)  # it tries again
        log = (folder / "gateway.log").read_text(encoding="utf-8")
        refused = sum("not stored" in line or "No space left" in line for line in log.splitlines())
        if not refused:
            raise LossError("the disk was full and the gateway's log does not say so")
        return _said(chain, await chain.finish(), full=full, said_in_log=refused)


def _fill(file: Path) -> bool:
    """Write until nothing goes any more."""
    try:
        with file.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(_CHUNK))
    except OSError as error:
        if "space" in str(error):
            return True
        raise


async def database(folder: Path, rounds: int, rng: random.Random, done: Progress) -> dict[str, Any]:
    """PostgreSQL is stopped as in a crash, and started again; now and then the gateway is killed too."""
    with contextlib.closing(PostgreSQL()) as server:
        server.start()
        async with Chain(folder, history=server.new()) as chain:
            kills = 0
            for number in range(rounds):
                await asyncio.sleep(rng.uniform(0.2, 2.0))
                server.stop(signal.SIGQUIT)
                if number % 4 == 3:
                    await chain.kill()
                    kills += 1
                await asyncio.sleep(rng.uniform(0.0, 1.0))
                server.start()
                if number % 4 == 3:
                    await chain.start()
                done(number + 1)
            await chain.told_more()
            return _said(chain, await chain.finish(), kills=kills)


def not_here(trial: str) -> str:
    """Why a trial cannot be played on this machine; empty if it can."""
    if trial == "disk" and os.geteuid():
        return "only root can give the gateway a small disk of its own"
    if trial == "disk" and not sys.platform.startswith("linux"):
        return "it takes mount namespaces of Linux"
    if trial == "broker":
        return mosquitto.missing()
    return missing() if trial == "database" else ""


def _said(chain: Chain, counts: dict[str, Count], **more: int) -> dict[str, Any]:
    consumers = {name: count.as_dict() for name, count in counts.items()}
    return {**more, "consumers": consumers, "notes": chain.notes, "good": all(c.good for c in counts.values())}
