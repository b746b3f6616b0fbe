"""Captures read and written, whole and broken."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.pcap import ETHERNET, CaptureError, Packet, PcapWriter, read_capture, read_stream

FRAMES = [(1_700_000_000_123_456_789, b"\x01" * 60), (1_700_000_001_000_000_000, b"\x02" * 1514), (0, b"")]


def written(frames=FRAMES):
    file = io.BytesIO()
    writer = PcapWriter(file)
    for time_ns, frame in frames:
        writer.write(time_ns, frame)
    return file.getvalue()


def read(octets):
    return list(read_stream(io.BytesIO(octets)))


def test_what_is_written_is_read():
    packets = read(written())
    assert packets == [Packet(time_ns, frame, len(frame), ETHERNET) for time_ns, frame in FRAMES]


@pytest.mark.parametrize("time_ns", [-1, 2**32 * 10**9])
def test_times_that_do_not_fit(time_ns):
    with pytest.raises(ValueError, match="1970 to 2106"):
        written([(time_ns, b"")])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B2C3D4, 123_456), (0xA1B23C4D, 123_456_789)])
def test_classic_pcap_of_both_byte_orders_and_resolutions(order, magic, fraction):
    octets = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    octets += struct.pack(order + "IIII", 1_700_000_000, fraction, 3, 60) + b"abc"
    (packet,) = read(octets)
    expected = 1_700_000_000_123_456_000 if magic == 0xA1B2C3D4 else FRAMES[0][0]
    assert packet == Packet(expected, b"abc", 60, 1)


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order):
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order, link_type=1, options=b""):
    return block(order, 1, struct.pack(order + "HHI", link_type, 0, 0) + options)


def enhanced(order, number, ticks, data, length=None):
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length or len(data))
    return block(order, 6, head + data + bytes(-len(data) % 4))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(order):
    nanoseconds = struct.pack(order + "HHB3x", 9, 1, 9) + struct.pack(order + "HH", 0, 0)
    binary = struct.pack(order + "HHB3x", 9, 1, 0x80 | 10) + struct.pack(order + "HHq", 14, 8, 100)
    octets = b"".join(
        [
            section(order),
            interface(order),
            interface(order, 113, nanoseconds),
            block(order, 0x12345678, b"unknown kinds are skipped"),
            enhanced(order, 0, 1_500_000, b"abc", 60),
            enhanced(order, 1, 1_700_000_000_123_456_789, b"abcd"),
            interface(order, 1, binary),
            enhanced(order, 2, 1 << 9, b""),
            block(order, 3, struct.pack(order + "I", 2) + b"xy"),
            section(order),  # interfaces are numbered anew
            interface(order, 7),
            enhanced(order, 0, 0, b"z"),
        ]
    )
    assert read(octets) == [
        Packet(1_500_000_000, b"abc", 60, 1),
        Packet(1_700_000_000_123_456_789, b"abcd", 4, 113),
        Packet(100_500_000_000, b"", 0, 1),
        Packet(0, b"xy", 2, 1),
        Packet(0, b"z", 1, 7),
    ]


def test_byte_order_may_change_between_sections():
    octets = (
        section("<")
        + interface("<")
        + enhanced("<", 0, 5, b"a")
        + section(">")
        + interface(">")
        + enhanced(">", 0, 6, b"b")
    )
    assert [(packet.time_ns, packet.data) for packet in read(octets)] == [(5000, b"a"), (6000, b"b")]


@pytest.mark.parametrize(
    ("whole", "boundaries"),
    [
        (written(), {24, 24 + 16 + 60, 24 + 16 + 60 + 16 + 1514, 24 + 16 + 60 + 16 + 1514 + 16}),
        (section("<") + interface("<") + enhanced("<", 0, 5, b"abcd"), {28, 28 + 20, 28 + 20 + 36}),
    ],
    ids=["pcap", "pcapng"],
)
def test_a_file_that_ends_too_early_gives_what_it_has_and_a_located_error(whole, boundaries):
    for end in range(len(whole) + 1):
        packets, error = [], None
        try:
            packets += read_stream(io.BytesIO(whole[:end]))
        except CaptureError as caught:
            error = caught
        assert (error is None) == (end in boundaries)
        assert error is None or error.offset <= end


@pytest.mark.parametrize(
    ("octets", "offset", "reason"),
    [
        (b"", 0, "0 of 4"),
        (b"GIF89a", 0, "neither"),
        (written()[:24] + struct.pack("<IIII", 0, 0, 2**31, 5), 24, "longest"),
        (section("<") + enhanced("<", 0, 0, b""), 28, "names no interface"),
        (section("<") + interface("<") + block("<", 6, b"1234"), 48, "too short"),
        (section("<") + block("<", 1, b"12"), 28, "too short"),
        (section("<") + interface("<") + block("<", 3, b"\xff\0\0\0"), 48, "too short"),
        (section("<")[:8] + b"1234" + section("<")[12:], 8, "byte order"),
        (section("<") + struct.pack("<III", 5, 13, 13), 28, "13 octets"),
        (section("<") + struct.pack("<III", 5, 8, 8), 28, "8 octets"),
        (section("<") + struct.pack("<II", 5, 2**30), 28, "octets"),
        (section("<")[:-4] + b"\0\0\0\0", 24, "differs"),
        (section("<") + interface("<") + b"\0\0", 48, "begin nothing"),
    ],
)
def test_broken_files(octets, offset, reason):
    with pytest.raises(CaptureError, match=reason) as caught:
        read(octets)
    assert caught.value.offset == offset


@given(
    st.binary(max_size=100),
    st.sampled_from([b"", written()[:24], section("<") + interface("<"), section(">")]),
)
def test_any_octets_end_in_packets_or_a_located_error(tail, head):
    octets = head + tail
    try:
        outcome = read(octets)
    except CaptureError as error:
        outcome = error
    assert isinstance(outcome, list) or 0 <= outcome.offset <= len(octets)


def test_tshark_reads_what_is_written(tmp_path, require):
    require(shutil.which("tshark"), "tshark is not installed")
    file = tmp_path / "own.pcap"
    file.write_bytes(written())
    argv = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"]
    lines = subprocess.run(argv, capture_output=True, check=True, text=True).stdout.split()
    assert lines == ["1700000000.123456789", "60", "1700000001.000000000", "1514", "0.000000000", "0"]


def test_corpus_captures_have_the_packets_that_tshark_counts(corpus):
    for name, packets in {
        "ipal/goose-single.pcapng": 1,
        "ipal/iec104.pcap": 64,
        "iti/pcaps/IEC61850/Sample_File_MMS_and_GOOSE.pcap": 301,
    }.items():
        assert len(list(read_capture(corpus / "pcap" / name))) == packets
