"""Frames of formats I, S and U, whole, octet by octet, and broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.iec104.apci import (
    FrameError,
    FrameSplitter,
    IFrame,
    SFrame,
    UFrame,
    UFunction,
    encode_i,
    encode_s,
    encode_u,
)
from gateway.iec104.errors import Iec104EncodeError

ASDU = bytes.fromhex("64010600010000000014")
FRAMES = [
    ("680407000000", UFrame(UFunction.STARTDT_ACT)),
    ("68040b000000", UFrame(UFunction.STARTDT_CON)),
    ("680413000000", UFrame(UFunction.STOPDT_ACT)),
    ("680423000000", UFrame(UFunction.STOPDT_CON)),
    ("680443000000", UFrame(UFunction.TESTFR_ACT)),
    ("680483000000", UFrame(UFunction.TESTFR_CON)),
    ("680401000000", SFrame(0)),
    ("680401007e14", SFrame(2623)),  # zeek's s-format.test
    ("68040100feff", SFrame(32767)),
    ("680e00000000" + ASDU.hex(), IFrame(0, 0, ASDU)),
    ("680eeecec20e" + ASDU.hex(), IFrame(26487, 1889, ASDU)),  # zeek's m_me_nc_1-sq-2.test
    ("680efefffeff" + ASDU.hex(), IFrame(32767, 32767, ASDU)),
    ("68fd02000400" + "aa" * 249, IFrame(1, 2, b"\xaa" * 249)),
]
IDS = [octets[:12] for octets, _ in FRAMES]


def encode(frame):
    match frame:
        case IFrame():
            return encode_i(*frame)
        case SFrame():
            return encode_s(*frame)
        case UFrame():
            return encode_u(*frame)


def same(ours, theirs):
    """Frames are tuples: S and U with one number are equal."""
    return ours == theirs and [type(frame) for frame in ours] == [type(frame) for frame in theirs]


@pytest.mark.parametrize(("octets", "frame"), FRAMES, ids=IDS)
def test_frame(octets, frame):
    octets = bytes.fromhex(octets)
    assert encode(frame) == octets
    assert same(FrameSplitter().feed(octets), [frame])
    splitter = FrameSplitter()
    for octet in octets[:-1]:
        assert splitter.feed(bytes((octet,))) == []
    assert same(splitter.feed(octets[-1:]), [frame])
    assert same(FrameSplitter().feed(octets + octets[:-1]), [frame])
    assert same(FrameSplitter().feed(octets * 3), [frame] * 3)


def test_frames_of_all_formats_together():
    stream = b"".join(bytes.fromhex(octets) for octets, _ in FRAMES)
    assert same(FrameSplitter().feed(stream), [frame for _, frame in FRAMES])


@pytest.mark.parametrize(
    ("octets", "field", "offset", "reason"),
    [
        ("00", "START", 0, "0x00, not 0x68"),
        ("680407000000 16", "START", 6, "0x16, not 0x68"),
        ("6803", "length", 1, "3, not 4 to 253"),
        ("6800", "length", 1, "0, not 4 to 253"),
        ("68fe", "length", 1, "254, not 4 to 253"),
        ("680400", "length", 1, "4 of an I frame, not 10 or more"),
        ("680902", "length", 1, "9 of an I frame, not 10 or more"),
        ("680501", "length", 1, "5 of an S or U frame, not 4"),
        ("680e07", "length", 1, "14 of an S or U frame, not 4"),
        ("680403", "control field", 2, "0x03 is no function of a U frame"),
        ("68040f", "control field", 2, "0x0F is no function of a U frame"),
        ("6804ff", "control field", 2, "0xFF is no function of a U frame"),
        ("680405", "control field", 2, "0x05 in an S frame, not 0x01"),
        ("68040701", "control field", 3, "0x01: reserved bits are set"),
        ("6804070001", "control field", 4, "0x01: reserved bits are set"),
        ("680407000080", "control field", 5, "0x80: reserved bits are set"),
        ("68040102", "control field", 3, "0x02: reserved bits are set"),
        ("6804010003", "control field", 4, "0x03: reserved bits are set"),
        ("680efeff01", "control field", 4, "0x01: reserved bits are set"),
    ],
)
def test_broken(octets, field, offset, reason):
    """Refused with the octet that breaks it, not later; all before it is still to come out."""
    octets = bytes.fromhex(octets)
    splitter = FrameSplitter()
    assert [frame for octet in octets[:-1] for frame in splitter.feed(bytes((octet,)))] == (
        [UFrame(UFunction.STARTDT_ACT)] if offset == 6 else []
    )
    with pytest.raises(FrameError) as caught:
        splitter.feed(octets[-1:])
    assert (caught.value.field, caught.value.offset, caught.value.reason) == (field, offset, reason)

    before = bytes.fromhex(FRAMES[-1][0])
    splitter = FrameSplitter()
    with pytest.raises(FrameError) as caught:
        splitter.feed(before + octets + b"\x68\x04\x07\x00\x00\x00")
    assert (caught.value.field, caught.value.offset, caught.value.reason) == (field, len(before) + offset, reason)
    assert caught.value.frames[0] == FRAMES[-1][1]
    assert len(caught.value.frames) == 1 + (offset == 6)
    for _ in range(2):
        with pytest.raises(FrameError) as again:
            splitter.feed(b"\x68\x04\x07\x00\x00\x00")
        assert str(again.value) == str(caught.value)
        assert again.value.frames == ()


def test_smaller_fields_have_shorter_asdus():
    octets = bytes.fromhex("680800000000" + "66010501")
    with pytest.raises(FrameError, match="8 of an I frame, not 10 or more"):
        FrameSplitter().feed(octets)
    assert FrameSplitter(4).feed(octets) == [IFrame(0, 0, bytes.fromhex("66010501"))]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: encode_i(32768, 0, ASDU), "N\\(S\\) 32768"),
        (lambda: encode_i(-1, 0, ASDU), "N\\(S\\) -1"),
        (lambda: encode_i(0, 32768, ASDU), "N\\(R\\) 32768"),
        (lambda: encode_i(0, 0, b""), "0 octets"),
        (lambda: encode_i(0, 0, bytes(250)), "250 octets"),
        (lambda: encode_s(32768), "N\\(R\\) 32768"),
        (lambda: encode_s(-1), "N\\(R\\) -1"),
    ],
)
def test_what_has_no_encoding(call, reason):
    with pytest.raises(Iec104EncodeError, match=reason):
        call()


numbers = st.integers(0, 32767)
frames = st.one_of(
    st.builds(IFrame, numbers, numbers, st.binary(min_size=6, max_size=249)),
    st.builds(SFrame, numbers),
    st.builds(UFrame, st.sampled_from(UFunction)),
)
pieces = st.one_of(
    frames.map(encode),
    frames.map(encode).flatmap(lambda octets: st.integers(0, len(octets)).map(lambda end: octets[:end])),
    st.binary(max_size=6),
    st.binary(max_size=6).map(lambda tail: b"\x68" + tail),
    st.binary(max_size=4).map(lambda tail: b"\x68\x04" + tail),
)


def split(chunks):
    """All frames, and the error at the end."""
    splitter = FrameSplitter()
    found = []
    for chunk in chunks:
        try:
            found += splitter.feed(chunk)
        except FrameError as error:
            return found + list(error.frames), str(error)
        assert len(splitter._rest) < 255
    return found, None


@given(st.lists(frames, max_size=20), st.lists(st.integers(1, 600), max_size=20))
def test_frames_come_back(sent, cuts):
    stream = b"".join(encode(frame) for frame in sent)
    chunks = []
    for cut in cuts:
        chunks.append(stream[:cut])
        stream = stream[cut:]
    found, error = split([*chunks, stream])
    assert same(found, sent)
    assert error is None


@given(st.lists(pieces, max_size=8).map(b"".join), st.integers(1, 40))
def test_any_octets_mean_the_same_however_they_are_cut(stream, size):
    whole, error = split([stream])
    for cut in (1, size):
        found, same_error = split([stream[at : at + cut] for at in range(0, len(stream), cut)])
        assert same(found, whole)
        assert same_error == error
    assert stream.startswith(b"".join(encode(frame) for frame in whole))
