"""``flisr fuzz goose``: broken frames by the million and hours of foreign traffic.

Every frame must end in a value or a ``GooseDecodeError``, in decoder and subscriber, soon, and nothing may
grow. The same seed makes the same frames; each process has a seed of its own derived from it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from ied_agents.goose.data import encode_all_data
from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.frame import EthernetFrame
from ied_agents.goose.layout import DataSetLayout
from ied_agents.goose.pdu import decode_pdu
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.data import (
    Array,
    Bcd,
    BinaryTime,
    BitString,
    BooleanArray,
    Data,
    Float64,
    MMSString,
    ObjectId,
    Structure,
    Unsigned,
)
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import OLD_DATA
from ied_agents.iec61850.utctime import UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable

_DST: Final = bytes.fromhex("010ccd010001")
_VALUES: Final[tuple[Data, ...]] = (
    *(
        True,
        5,
        -300,
        Unsigned(70_000),
        1.5,
        Float64(2.5),
        BitString(1, 2),
        BitString(5, 13),
        BooleanArray(3, 4),
    ),
    *(b"octets", "visible", MMSString("text"), UtcTime(1), BinaryTime(5, 6), Bcd(7), ObjectId("1.0.9506")),
    *(Structure((True, Structure((1, Array((2, 3)))))), Array((Structure((1, 2)), Structure((3, 4))))),
)
_FIXED: Final = ("BOOLEAN", "INT32", "INT8U", "Enum", "Quality", "Dbpos", "FLOAT32", "Timestamp")
_SLOWEST_S: Final = 0.25  # one frame, on a machine that does other things too; an endless loop takes longer
_MOST_GROWTH_KB: Final = 32_768


class FuzzFailure(Exception):  # noqa: N818 - the finding, not a fault of the tool
    """A frame did what none may; the message holds it in hex."""


def run(
    *,
    frames: Annotated[int, Parameter(help="Mutated frames.")] = 1_000_000,
    hours: Annotated[float, Parameter(help="Virtual time of foreign traffic.")] = 2.0,
    streams: Annotated[int, Parameter(help="Foreign streams, one frame a second each.")] = 1000,
    seed: Annotated[int, Parameter(help="Makes the same frames again.")] = 1,
    processes: Annotated[int, Parameter(help="Side by side; 0 for one per processor.")] = 0,
    as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send mutated frames into decoder and subscriber, then foreign streams for hours of virtual time."""
    start = time.monotonic()
    workers = processes or os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        shares = [pool.submit(fuzz, f"{seed}/{number}", -(-frames // workers)) for number in range(workers)]
        parts = [share.result() for share in shares]
    result: dict[str, Any] = {
        "seed": seed,
        "processes": workers,
        "commit": _commit(),
        "frames": sum(part["frames"] for part in parts),
        "decoded_strict": sum(part["decoded_strict"] for part in parts),
        "decoded_lenient": sum(part["decoded_lenient"] for part in parts),
        "slowest_ms": max(part["slowest_ms"] for part in parts),
        "growth_kb": max(part["growth_kb"] for part in parts),
        "foreign": flood(streams, hours * 3600),
    }
    result["wall_s"] = round(time.monotonic() - start, 1)
    print(json.dumps(result, indent=1) if as_json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def fuzz(seed: str, frames: int) -> dict[str, Any]:
    """Mutated frames into strict and lenient decoder and receiver.

    Raises:
        FuzzFailure: an error of another kind, a frame that took too long, or memory that grew.
    """
    rng = random.Random(seed)
    originals, receivers = _originals(), [_receiver(strict=True), _receiver(strict=False)]
    decoded = {True: 0, False: 0}
    slowest = 0.0
    before_kb = 0
    for number in range(frames):
        frame = _mutated(rng, originals)
        start = time.perf_counter()
        try:
            for receiver in receivers:
                receiver.receive(frame, number / 1000)
                receiver.handle_timer(number / 1000)
            for strict in decoded:
                decoded[strict] += _decodes(frame, strict=strict)
        except Exception as error:
            raise FuzzFailure(f"{type(error).__name__}: {error} for {frame.hex()}") from error
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        if took > _SLOWEST_S:
            raise FuzzFailure(f"{took:.3f} s for {frame.hex()}")
        if number == frames // 10:  # all that fills up once has filled up
            before_kb = _memory_kb()
    growth_kb = _memory_kb() - before_kb
    if growth_kb > _MOST_GROWTH_KB:
        raise FuzzFailure(f"{growth_kb} kB more memory after {frames} frames")
    return {
        "frames": frames,
        "decoded_strict": decoded[True],
        "decoded_lenient": decoded[False],
        "slowest_ms": round(slowest * 1000, 2),
        "growth_kb": growth_kb,
    }


def flood(streams: int, seconds: float) -> dict[str, Any]:
    """Foreign streams beside our own for a virtual time: one frame a second each, a new state every minute.

    Raises:
        FuzzFailure: memory grew, or a stream of ours was disturbed.
    """
    foreign = [_publisher(f"foreign{number}", fixedOffs=False) for number in range(streams)]
    ours = _publisher("plain", fixedOffs=False)
    receiver = _receiver(strict=True)
    before_kb = 0
    events = 0
    for second in range(int(seconds)):
        now = float(second)
        for number, publisher in enumerate((ours, *foreign)):
            if second % 60 == number % 60 or not publisher.stNum:
                values = (*_VALUES[:1], second, *_VALUES[2:])
                frame = publisher.publish(encode_all_data(values), now, UtcTime(second))
            else:
                frame = publisher.handle_timer(now)
            if frame is not None:
                events += len(receiver.receive(frame, now))
        events += len(receiver.handle_timer(now))
        if second == 120:
            before_kb = _memory_kb()
    growth_kb = _memory_kb() - before_kb if before_kb else 0
    counters = receiver.subscribers[ours.config.gocbRef].counters
    if growth_kb > _MOST_GROWTH_KB or events != counters.states or counters.lost:
        raise FuzzFailure(f"{growth_kb} kB more memory, {events} events, {counters}")
    return {
        "streams": streams,
        "virtual_s": int(seconds),
        "unknown": receiver.unknown,
        "growth_kb": growth_kb,
    }


def _decodes(frame: bytes, *, strict: bool) -> bool:
    try:
        decode_pdu(EthernetFrame.decode(frame).apdu, strict=strict)
    except GooseDecodeError as error:
        if not 0 <= error.offset <= len(frame):
            raise FuzzFailure(f"{error}: outside of the frame") from error
        return False
    return True


def _publisher(name: str, *, fixedOffs: bool) -> Publisher:
    entries = len(_FIXED) if fixedOffs else len(_VALUES)
    config = PublisherConfig(
        *(_DST, bytes(6), 5, 4, 1, f"IED/LLN0$GO${name}", "IED/LLN0$set", name, 1, entries),
        fixedOffs=fixedOffs,
    )
    return Publisher(config)


def _receiver(*, strict: bool) -> Receiver:
    layout = DataSetLayout(_FIXED)
    subscribers: list[Subscriber[Any]] = []
    decoders: list[tuple[str, int, Callable[[bytes], Any] | None]] = [
        ("plain", len(_VALUES), None),
        ("fixed", len(_FIXED), layout.decode),
    ]
    for name, entries, decode in decoders:
        config = SubscriberConfig(_DST, 1, f"IED/LLN0$GO${name}", "IED/LLN0$set", name, 1, entries)
        subscribers.append(Subscriber(config, decode))
    return Receiver(subscribers, strict=strict)


def _originals() -> list[bytes]:
    """Frames of two streams, plain and fixed-length, states and repetitions."""
    frames: list[bytes | None] = []
    plain, fixed = _publisher("plain", fixedOffs=False), _publisher("fixed", fixedOffs=True)
    layout = DataSetLayout(_FIXED)
    for number in range(8):
        values = (*_VALUES[:1], number, *_VALUES[2:])
        frames.append(plain.publish(encode_all_data(values), number * 10.0, UtcTime(number)))
        leaves = (True, number - 4, 200, 3, OLD_DATA, Dbpos.ON, 1.5, UtcTime(number))
        frames.append(fixed.publish(layout.encode(leaves), number * 10.0, UtcTime(number)))
        frames += [publisher.handle_timer(number * 10.0 + 5) for publisher in (plain, fixed)]
    return [frame for frame in frames if frame is not None]


def _mutated(rng: random.Random, originals: list[bytes]) -> bytes:
    """A frame with one to four things wrong with it; one in ten has nothing wrong."""
    frame = bytearray(rng.choice(originals))
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 3, 4))):
        at = rng.randrange(len(frame)) if frame else 0
        match rng.randrange(7):
            case 0:
                frame[at : at + 1] = rng.randbytes(1)
            case 1 if frame:
                frame[at] ^= 1 << rng.randrange(8)
            case 2:
                del frame[at:]
            case 3:
                del frame[at : at + rng.randrange(1, 8)]
            case 4:
                frame[at:at] = rng.randbytes(rng.randrange(1, 8))
            case 5:  # what decoders trip over
                frame[at : at + 1] = rng.choice((b"\x00", b"\x7f", b"\x80", b"\x81", b"\x84", b"\xa2", b"\xff"))
            case _:
                other = rng.choice(originals)
                start = rng.randrange(len(other))
                frame[at:] = other[start : start + rng.randrange(1, 200)]
    return bytes(frame)


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _commit() -> str | None:
    """Of the checkout this file is in; None for an installed package."""
    argv = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(argv, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
