"""Captures on the bridge of a laboratory network, against what was sent and against tshark."""

import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tools.lab import BRIDGE, HOST_INTERFACE
from tools.wire_capture import WireCapture

HEADER = bytes.fromhex("010ccd010001 020000000001")
FRAMES = {
    "untagged": HEADER + bytes.fromhex("88b8") + b"a" * 60,
    "priority 4, VLAN 0": HEADER + bytes.fromhex("8100 8000 88b8") + b"b" * 60,
    "priority 7, VLAN 5, full": HEADER + bytes.fromhex("8100 e005 88b8") + b"c" * 1498,
    "service tag": HEADER + bytes.fromhex("88a8 0007 88b8") + b"d" * 60,
    "unicast": bytes.fromhex("020000000002 020000000001 88b8") + b"e" * 60,
}


@pytest.fixture
def wire(make_lab):
    """A laboratory, a capture on its bridge, a socket of a host to send with."""
    lab = make_lab("left", "right")
    with lab.bridge():
        capture = WireCapture()
    with lab.enter("left"):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind((HOST_INTERFACE, 0))
    with capture, sender:
        yield lab, capture, sender


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_frame_is_seen_once_and_whole(wire, frame):
    _, capture, sender = wire
    sender.send(frame)
    assert [seen for _, seen in capture.read()] == [frame]
    assert capture.read() == []


def test_stamp_lies_within_the_call_that_sent_the_frame(wire):
    _, capture, sender = wire
    sent = []
    for _ in range(100):
        before = time.clock_gettime_ns(time.CLOCK_REALTIME)
        sender.send(FRAMES["untagged"])
        sent.append((before, time.clock_gettime_ns(time.CLOCK_REALTIME)))
    stamps = [stamp for stamp, _ in capture.read()]
    assert len(stamps) == 100
    assert all(before <= stamp <= after for (before, after), stamp in zip(sent, stamps, strict=True))


def test_descriptor_is_readable_while_frames_wait(wire):
    _, capture, sender = wire
    assert select.select([capture], [], [], 0)[0] == []
    sender.send(FRAMES["untagged"])
    assert select.select([capture], [], [], 0)[0] == [capture]
    capture.read()
    assert select.select([capture], [], [], 0)[0] == []


def test_overflow_is_counted_and_capture_goes_on(wire):
    _, capture, sender = wire
    for _ in range(9000):
        sender.send(FRAMES["untagged"])
    kept = len(capture.read())
    assert 8000 < kept < 9000
    assert capture.dropped == 9000 - kept
    sender.send(FRAMES["unicast"])
    assert [frame for _, frame in capture.read()] == [FRAMES["unicast"]]
    assert capture.dropped == 9000 - kept


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_capturing_process_writes_what_tshark_reads(wire, tmp_path, stop, require):
    require(shutil.which("tshark"), "tshark (Debian package tshark) is not installed")
    lab, _, sender = wire
    file = tmp_path / "wire.pcap"
    command = [sys.executable, "-m", "tools.wire_capture", "--out", str(file)]
    process = lab.spawn(BRIDGE, command, stdout=subprocess.PIPE)
    assert json.loads(process.stdout.readline()) == {"capturing": "br0"}
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    for number in range(5000):
        sender.send(FRAMES["priority 4, VLAN 0"] + number.to_bytes(2, "big"))
    after = time.clock_gettime_ns(time.CLOCK_REALTIME)
    process.send_signal(stop)
    last, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(last) == {"frames": 5000, "dropped": 0, "truncated": 0}
    fields = ["frame.time_epoch", "vlan.priority", "frame.len"]
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", *(word for field in fields for word in ("-e", field))],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert [row[1:] for row in rows] == [["4", str(len(FRAMES["priority 4, VLAN 0"]) + 2)]] * 5000
    stamps = [int(row[0].replace(".", "")) for row in rows]
    assert before <= stamps[0] <= stamps[-1] <= after
    assert stamps == sorted(stamps)
