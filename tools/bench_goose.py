"""``flisr bench goose``: our GOOSE codec beside open61850's, and a burst on a virtual Ethernet.

Both get the same 22 members of mixed types, every one and ``t`` different in every frame, in the form each
takes its input in, made before the clock runs. Both decode strictly, from Ethernet frame to typed members.
Ours is the stateless way (:func:`decode`), with no frame remembered; what the receiver makes of an unchanged
repetition is measured apart, beside the peer's strict decoding, for it has no shorter way.
"""

from __future__ import annotations

import gc
import json
import math
import random
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from ied_agents.goose.events import StateReceived
from ied_agents.goose.frame import format_mac, read_frame_header
from ied_agents.goose.layout import DataSetLayout, Leaf
from ied_agents.goose.pdu import read_pdu_header
from ied_agents.goose.publisher import Publisher, PublisherConfig
from ied_agents.goose.subscriber import Receiver, Subscriber, SubscriberConfig
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import Quality
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.runtime.af_packet import AfPacketLink
from tools.lab import HOST_INTERFACE, Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEMBERS: Final = (
    *("BOOLEAN", "Dbpos", "Quality", "Timestamp", "Enum", "INT32", "INT32U", "FLOAT32", "INT8", "INT16U"),
    *("BOOLEAN", "Dbpos", "Quality", "Timestamp", "Enum", "INT32", "INT32U", "FLOAT32", "FLOAT64", "INT64"),
    *("BOOLEAN", "Quality"),
)
FRAMES: Final = 2000
ROUNDS: Final = 9
_PORTIONS: Final = [slice(start, start + 100) for start in range(0, FRAMES, 100)]
BURST_STREAMS: Final = 50
BURST_FRAMES: Final = 5000
_BURST_SEED: Final = 5

_DST: Final = bytes.fromhex("010ccd010001")
_SRC: Final = bytes.fromhex("020000000001")
_PATIENCE_S: Final = 10.0


class BenchError(Exception):
    """The measurement cannot be made here."""


def run(*, as_json: Annotated[bool, Parameter(name="--json", help="Print the result as JSON.")] = False) -> None:
    """Measure encoding, decoding, repetitions and a burst; ratios are the peer's time over ours."""
    result = codec_figures() | burst_figures()
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for name in ("encode", "decode", "repeat"):
        ours, peer = result[f"{name}_us"], result[f"peer_{name}_us"]
        print(f"{name:7} {ours:7.2f} us, open61850 {peer:7.2f} us: {result[name + '_ratio']:.1f} times faster")
    print(
        f"burst   {result['burst_sent']} frames of {BURST_STREAMS} streams, {result['burst_lost']} lost,"
        f" {result['burst_rate_per_s']:.0f} frames/s"
    )


def decode(frame: bytes, layout: DataSetLayout) -> tuple[Leaf, ...]:
    """Read one frame strictly, from the Ethernet header to the typed members, knowing no other frame.

    Raises:
        GooseDecodeError: it is not as the standard and the data set say.
    """
    ethernet = read_frame_header(frame)
    pdu = read_pdu_header(frame, ethernet.apdu_start, ethernet.apdu_stop, strict=True)
    return layout.decode(frame[pdu.allData_span[0] : pdu.allData_span[1]])


def codec_figures() -> dict[str, Any]:
    """Microseconds of encoding, decoding and repetition, ours and open61850's, and the ratios.

    Raises:
        BenchError: open61850 is not installed.
    """
    try:
        from open61850 import goose as peer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BenchError("open61850, the peer, is not installed; pip install 'flisr[test]' brings it") from error
    rng = random.Random(1)
    layout = DataSetLayout(MEMBERS)
    states = [_leaves(rng) for _ in range(FRAMES)]
    times = [UtcTime(1_700_000_000 + number, number * 4096, 0x0A) for number in range(FRAMES)]
    publisher = Publisher(_config("bench", len(MEMBERS)))
    frames = [publisher.publish(layout.encode(leaves), 0.0, t) or b"" for leaves, t in zip(states, times, strict=True)]
    peer_pdus = [peer.decode_goose_frame(frame, strict=True)[1] for frame in frames]  # type: ignore[index]
    peer_address = {"dst_mac": format_mac(_DST), "src_mac": format_mac(_SRC), "app_id": 1, "vlan_id": 5}
    _check_equal(states, frames, layout, peer_pdus)

    fresh = Publisher(_config("bench", len(MEMBERS)))

    def encode_ours(portion: slice) -> None:
        for leaves, t in zip(states[portion], times[portion], strict=True):
            fresh.publish(layout.encode(leaves), 0.0, t)

    def encode_theirs(portion: slice) -> None:
        for pdu in peer_pdus[portion]:
            peer.encode_goose_frame(pdu, vlan_priority=4, **peer_address)  # type: ignore[arg-type]

    def decode_ours(portion: slice) -> None:
        for frame in frames[portion]:
            decode(frame, layout)

    def decode_theirs(portion: slice) -> None:
        for frame in frames[portion]:
            peer.decode_goose_frame(frame, strict=True)

    repetitions = [publisher.handle_timer(number * 10.0) or b"" for number in range(1, FRAMES + 1)]
    subscriber = Subscriber(_subscription("bench", len(MEMBERS)), layout.decode)
    receiver = Receiver([subscriber])
    receiver.receive(frames[-1], 0.0)

    def repeat_ours(portion: slice) -> None:
        subscriber.sqNum = portion.start
        for frame in repetitions[portion]:
            receiver.receive(frame, 0.0)

    def repeat_theirs(portion: slice) -> None:
        for frame in repetitions[portion]:
            peer.decode_goose_frame(frame, strict=True)

    result: dict[str, Any] = {"entries": len(MEMBERS), "frames": FRAMES}
    for name, ours, theirs in (
        ("encode", encode_ours, encode_theirs),
        ("decode", decode_ours, decode_theirs),
        ("repeat", repeat_ours, repeat_theirs),
    ):
        ours_us, theirs_us = _side_by_side(ours, theirs)
        result |= {
            f"{name}_us": round(ours_us, 3),
            f"peer_{name}_us": round(theirs_us, 3),
            f"{name}_ratio": round(theirs_us / ours_us, 1),
        }
    if subscriber.counters.repetitions != ROUNDS * FRAMES:
        raise BenchError(f"the repetitions were not taken as such: {subscriber.counters}")
    return result


def burst_figures() -> dict[str, Any]:
    """Frames of many streams, each a new state, sent back to back by another process and received here.

    Raises:
        LabUnavailable: no network namespaces here.
        BenchError: the sender failed.
    """
    layout = DataSetLayout(MEMBERS)
    subscribers = [
        Subscriber(_subscription(f"stream{number}", len(MEMBERS)), layout.decode) for number in range(BURST_STREAMS)
    ]
    receiver = Receiver(subscribers)
    with Lab.open(["sender", "receiver"]) as lab:
        with lab.enter("receiver"):
            link = AfPacketLink(HOST_INTERFACE, [_DST])
        argv = [sys.executable, "-c", "from tools.bench_goose import send_burst; send_burst()"]
        sender = lab.spawn("sender", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if sender.stdin is None or sender.stdout is None or sender.stdout.readline() != b"ready\n":
            raise BenchError("the sender of the burst did not start")
        gc.collect()
        sender.stdin.write(b"go\n")
        sender.stdin.close()
        first = last = 0.0
        states = frames = 0
        while frames < BURST_FRAMES and select.select([link], [], [], _PATIENCE_S)[0]:
            first = first or time.perf_counter()
            for frame in link.receive():
                frames += 1
                states += sum(isinstance(event, StateReceived) for event in receiver.receive(frame, 0.0))
            last = time.perf_counter()
        sender.stdout.close()
        dropped = link.dropped
        link.close()
    if not states:
        raise BenchError("no frame of the burst was received")
    return {
        "burst_sent": BURST_FRAMES,
        "burst_lost": BURST_FRAMES - states,
        "burst_dropped_by_kernel": dropped,
        "burst_streams": BURST_STREAMS,
        "burst_rate_per_s": round(states / (last - first)),
    }


def send_burst() -> None:
    """The burst's sender: prepare, say so, wait for the word, send all frames as fast as it goes."""
    rng = random.Random(_BURST_SEED)
    layout = DataSetLayout(MEMBERS)
    publishers = [Publisher(_config(f"stream{number}", len(MEMBERS))) for number in range(BURST_STREAMS)]
    frames = [
        publishers[number % BURST_STREAMS].publish(layout.encode(_leaves(rng)), 0.0, UtcTime(number)) or b""
        for number in range(BURST_FRAMES)
    ]
    link = AfPacketLink(HOST_INTERFACE, [])
    print("ready", flush=True)
    sys.stdin.readline()
    for frame in frames:
        link.send(frame)
    link.close()


def _config(name: str, entries: int) -> PublisherConfig:
    gocbRef = f"IED1LD0/LLN0$GO${name}"
    return PublisherConfig(_DST, _SRC, 5, 4, 1, gocbRef, "IED1LD0/LLN0$bench", gocbRef, 1, entries, fixedOffs=True)


def _subscription(name: str, entries: int) -> SubscriberConfig:
    config = _config(name, entries)
    return SubscriberConfig(_DST, 1, config.gocbRef, config.datSet, config.goID, 1, entries)


def _leaves(rng: random.Random) -> tuple[Leaf, ...]:
    """Members by chance; no two frames have one in common, up to what a type can tell apart."""
    make: dict[str, Callable[[], Leaf]] = {
        "BOOLEAN": lambda: rng.random() < 0.5,
        "Dbpos": lambda: Dbpos(rng.randrange(4)),
        "Quality": lambda: Quality.from_int(rng.randrange(1 << 13)),
        "Timestamp": lambda: UtcTime(rng.randrange(1 << 32), rng.randrange(1 << 24), 0x0A),
        "Enum": lambda: rng.randrange(-128, 128),
        "INT8": lambda: rng.randrange(-128, 128),
        "INT32": lambda: rng.randrange(-(1 << 31), 1 << 31),
        "INT64": lambda: rng.randrange(-(1 << 63), 1 << 63),
        "INT16U": lambda: rng.randrange(1 << 16),
        "INT32U": lambda: rng.randrange(1 << 32),
        "FLOAT32": lambda: rng.randrange(1 << 24) / 256,
        "FLOAT64": rng.random,
    }
    return tuple(make[member]() for member in MEMBERS)


def _check_equal(
    states: Sequence[tuple[Leaf, ...]],
    frames: Sequence[bytes],
    layout: DataSetLayout,
    peer_pdus: Sequence[Any],
) -> None:
    """Both must have read what was sent, or the times mean nothing."""
    for leaves, frame, pdu in zip(states, frames, peer_pdus, strict=True):
        read = decode(frame, layout)
        for leaf, ours, theirs in zip(leaves, read, pdu.all_data, strict=True):
            if ours != leaf or not _same(leaf, theirs.value):
                raise BenchError(f"{leaf!r} was sent, we read {ours!r}, open61850 reads {theirs!r}")


def _same(leaf: Leaf, peer_value: Any) -> bool:
    match leaf:
        case Dbpos():
            return bool(peer_value == bytes((leaf << 6,)))
        case Quality():
            return bool(peer_value == (leaf.to_int() << 3).to_bytes(2, "big"))
        case UtcTime():
            return bool(abs(peer_value.timestamp() - leaf.to_seconds()) < 1e-5)
        case float():  # the peer rounds 32-bit floats to their shortest text
            return math.isclose(peer_value, leaf, rel_tol=1e-6)
        case _:
            return bool(peer_value == leaf)


def _side_by_side(ours: Callable[[slice], None], theirs: Callable[[slice], None]) -> tuple[float, float]:
    """Time per frame in us: each portion's best of some rounds, taken in turns, without garbage collector.

    Portions are short, so that on a busy machine each has a round in which nothing came between.
    """
    best = [[float("inf"), float("inf")] for _ in _PORTIONS]
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for times, portion in zip(best, _PORTIONS, strict=True):
                for which, action in enumerate((ours, theirs)):
                    times[which] = min(times[which], _seconds(action, portion))
    finally:
        gc.enable()
    return sum(t[0] for t in best) / FRAMES * 1e6, sum(t[1] for t in best) / FRAMES * 1e6


def _seconds(action: Callable[[slice], None], portion: slice) -> float:
    start = time.perf_counter()
    action(portion)
    return time.perf_counter() - start
