"""Every 104 frame of the corpus beside tshark; zeek's annotated vectors; and all that we encode, read by tshark."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from typing import NamedTuple

import pytest
from iec104_vectors import VECTORS

from gateway.iec104.apci import FrameError, FrameSplitter, IFrame, SFrame, UFrame, encode_i, encode_s, encode_u
from gateway.iec104.asdu import Asdu, Cause, InformationObject, Step, TypeID, decode, encode, pack
from gateway.iec104.errors import Iec104DecodeError
from gateway.iec104.time_tag import CP24Time2a, CP56Time2a, TimeBase
from tools.pcap import PcapWriter, read_capture

PORT = 2404
CAPTURES = {  # I, S and U frames in each, as the corpus's facts/captures.json has them
    "ipal/iec104.pcap": (91, 14, 10),
    "zeek-iec104/testing/Traces/first/iec104.pcap": (91, 14, 10),
    "iti/pcaps/IEC60870-5-104/JavaRMI_and_IEC_Misc.pcap": (128, 45, 62),
}
# What tshark 4.0 does not take apart: it shows the octets after the address, of type 102 there are none.
RAW = frozenset((17, 18, 19, 20, 38, 39, 40, 102, 104, 106, 107, 113))


class TsharkFrame(NamedTuple):
    """One APDU: direction, fields by tshark's names, fields of each object, octets it could not read."""

    direction: str
    shown: dict[str, str]
    objects: list[dict[str, str]]


def tshark(capture):
    """The APDUs of a capture, and all that tshark complains about in them."""
    argv = ["tshark", "-r", str(capture), "-Y", "iec60870_104", "-T", "pdml"]
    output = subprocess.run(argv, capture_output=True, check=True).stdout
    frames, complaints = [], []
    for packet in ET.fromstring(output).iter("packet"):
        named = {field.get("name"): field.get("show") for field in packet.iter("field")}
        direction = f"{named['ip.src']}:{named['tcp.srcport']} to {named['ip.dst']}:{named['tcp.dstport']}"
        for proto in packet.iter("proto"):
            if proto.get("name") not in {"iec60870_104", "iec60870_asdu", "_ws.malformed"}:
                continue
            complaints += [
                field.get("showname")
                for field in proto.iter("field")
                if field.get("name").startswith(("_ws.", "iec104."))
            ]
            if proto.get("name") == "iec60870_104":
                frames.append(TsharkFrame(direction, fields(proto), []))
            elif proto.get("name") == "iec60870_asdu":
                frames[-1].shown.update(fields(proto))
                nodes = [child for child in proto if child.get("show").startswith("IOA: ")]
                frames[-1].objects.extend(map(fields, nodes))
            else:
                complaints.append("malformed")
    return frames, complaints


def fields(node):
    """All fields below, by their names without the protocol."""
    return {
        field.get("name").partition(".")[2]: field.get("show")
        for field in node.iter("field")
        if field.get("name").startswith("iec60870_")
    }


def streams(capture):
    """Octets of each direction of each connection to port 2404, in order, what came twice left out."""
    found = {}
    for packet in read_capture(capture):
        octets = packet.data
        if octets[12:14] != b"\x08\x00" or octets[23] != 6:
            continue
        ip = octets[14 : 14 + int.from_bytes(octets[16:18], "big")]
        tcp = ip[(ip[0] & 15) * 4 :]
        source, destination, sequence = struct.unpack_from(">HHI", tcp)
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if PORT not in (source, destination) or not payload:
            continue
        direction = "{}.{}.{}.{}:{} to {}.{}.{}.{}:{}".format(*ip[12:16], source, *ip[16:20], destination)
        expected, _ = found.setdefault(direction, [sequence, bytearray()])
        if sequence == expected:
            found[direction][0] = (sequence + len(payload)) % (1 << 32)
            found[direction][1].extend(payload)
        else:
            assert (expected - sequence) % (1 << 32) >= len(payload), "a gap, or out of order"
    return {direction: bytes(octets) for direction, (_, octets) in found.items()}


def bits(name, octet, **positions):
    """The bits of an octet as tshark names them."""
    return {f"{name}.{bit}": str(octet >> position & 1) for bit, position in positions.items()}


def quality(name, octet):
    return {name: f"0x{octet:02x}", **bits(name, octet, bl=4, sb=5, nt=6, iv=7)}


def expected_time(tag):
    if tag is None:
        return {}
    kind = "cp56time" if isinstance(tag, CP56Time2a) else "cp24time"
    shown = {f"{kind}.ms": tag.milliseconds, f"{kind}.min": tag.minute, f"{kind}.iv": int(tag.invalid)}
    if isinstance(tag, CP56Time2a):
        shown |= {"gen": int(tag.substituted), "hour": tag.hour, "su": int(tag.summer), "day": tag.day}
        shown |= {"dow": tag.day_of_week, "month": tag.month, "year": tag.year}
    return {name if "." in name else f"cp56time.{name}": str(value) for name, value in shown.items()}


def expected_value(typeID, value, qualifier):
    """What tshark shows for value and qualifier; figures as texts that :func:`comparable` understands."""
    family = typeID.name[2:7] if typeID < 110 else typeID.name[2:7] + "P"
    octet = f"0x{(value or 0) | qualifier:02x}" if isinstance(value, int) and value < 4 else None
    qds = {**quality("qds", qualifier), "qds.ov": str(qualifier & 1)}
    qos = {"qos": f"0x{qualifier:02x}", "qos.ql": str(qualifier & 0x7F), "qos.se": str(qualifier >> 7)}
    qpm = {"qpm": f"0x{qualifier:02x}", "qpm.kpa": str(qualifier & 0x3F), **bits("qpm", qualifier, lpc=6, pop=7)}
    command = {"qu": str(qualifier >> 2 & 0x1F), "se": str(qualifier >> 7)}
    match family:
        case "SP_NA" | "SP_TA" | "SP_TB":
            return {**quality("siq", value | qualifier), "siq.spi": str(int(value))}
        case "DP_NA" | "DP_TA" | "DP_TB":
            return {**quality("diq", value | qualifier), "diq.dpi": str(value)}
        case "ST_NA" | "ST_TA" | "ST_TB":
            vti = value.position & 0x7F | value.transient << 7
            return {"vti": f"0x{vti:02x}", "vti.v": str(value.position), "vti.t": str(int(value.transient)), **qds}
        case "BO_NA" | "BO_TA" | "BO_TB":
            # tshark shows the octets as they come, the least first.
            shown = {"bitstring": "0x" + value.to_bytes(4, "little").hex()}
            return shown if typeID.name.startswith("C") else {**shown, **qds}
        case "ME_NA" | "ME_TA" | "ME_TD":
            return {"normval": f"{value:g}", **qds}
        case "ME_ND":
            return {"normval": f"{value:g}"}
        case "ME_NB" | "ME_TB" | "ME_TE":
            return {"scalval": str(value), **qds}
        case "ME_NC" | "ME_TC" | "ME_TF":
            return {"float": f"{value:g}", **qds}
        case "IT_NA" | "IT_TA" | "IT_TB":
            counter = bits("bcr", qualifier, cy=5, ca=6, iv=7)
            return {"bcr.count": str(value), "bcr.sq": str(qualifier & 0x1F), **counter}
        case "SC_NA" | "SC_TA":
            return {"sco": octet, "sco.on": str(int(value)), **{f"sco.{name}": text for name, text in command.items()}}
        case "DC_NA" | "DC_TA":
            return {"dco": octet, "dco.on": str(value), **{f"dco.{name}": text for name, text in command.items()}}
        case "RC_NA" | "RC_TA":
            return {"rco": octet, "rco.up": str(value), **{f"rco.{name}": text for name, text in command.items()}}
        case "SE_NA" | "SE_TA":
            return {"normval": f"{value:g}", **qos}
        case "SE_NB" | "SE_TB":
            return {"scalval": str(value), **qos}
        case "SE_NC" | "SE_TC":
            return {"float": f"{value:g}", **qos}
        case "ME_NAP":
            return {"normval": f"{value:g}", **qpm}
        case "ME_NBP":
            return {"scalval": str(value), **qpm}
        case "ME_NCP":
            return {"float": f"{value:g}", **qpm}
        case "EI_NA":
            return {"coi": f"0x{qualifier:02x}", "coi_r": str(qualifier & 0x7F), "coi_i": str(qualifier >> 7)}
        case "IC_NA":
            return {"qoi": str(qualifier)}
        case "CI_NA":
            return {"qcc": f"0x{qualifier:02x}", "rqt": str(qualifier & 0x3F), "frz": str(qualifier >> 6)}
        case "CS_NA":
            return {}
        case "RP_NA":
            return {"qrp": str(qualifier)}
        case _:
            raise AssertionError(f"tshark shows no values of {typeID.name}")


def comparable(shown):
    """Figures as tshark rounds them: six digits; times by their parts, since tshark does sums with SU."""
    return {
        name: f"{float(text):.5g}" if name in {"float", "normval"} else text
        for name, text in shown.items()
        if name not in {"cp56time", "cp24time"}
    }


def compare(frame, shown_frame):
    """One of our frames beside tshark's."""
    shown = shown_frame.shown
    if isinstance(frame, SFrame):
        assert (shown["type"], shown["rx"]) == ("0x00000001", str(frame.nr))
        return
    if isinstance(frame, UFrame):
        assert (shown["type"], int(shown["utype"], 16)) == ("0x00000003", frame.function >> 2)
        return
    assert (shown["type"], shown["tx"], shown["rx"]) == ("0x00000000", str(frame.ns), str(frame.nr))
    assert int(shown["apdulen"]) == 4 + len(frame.asdu)
    asdu = decode(frame.asdu)
    assert encode(asdu) == frame.asdu
    assert int(shown["typeid"]) == asdu.typeID
    assert (shown["sq"] == "1", int(shown["numix"])) == (asdu.sequence, len(asdu.objects))
    assert (int(shown["causetx"]), shown["nega"] == "1", shown["test"] == "1") == (
        asdu.cause,
        asdu.negative,
        asdu.test,
    )
    assert (int(shown["oa"]), int(shown["addr"])) == (asdu.originator, asdu.CA)
    if asdu.typeID in RAW:
        assert int(shown["ioa"]) == asdu.objects[0].IOA
        assert bytes.fromhex(shown.get("rawdata", "").replace(":", "")) == frame.asdu[9:]
        return
    assert len(shown_frame.objects) == len(asdu.objects)
    for ours, theirs in zip(asdu.objects, shown_frame.objects, strict=True):
        expected = {"ioa": str(ours.IOA), **expected_value(asdu.typeID, ours.value, ours.qualifier)}
        assert comparable(theirs) == comparable({**expected, **expected_time(ours.time)})
        assert ours.elapsed_ms == 0


@pytest.fixture(scope="session")
def read_with_tshark(require):
    require(shutil.which("tshark"), "tshark is not installed")
    return tshark


@pytest.mark.parametrize("name", CAPTURES)
def test_captures_decode_to_what_tshark_shows(corpus, read_with_tshark, name):
    shown_frames, complaints = read_with_tshark(corpus / "pcap" / name)
    assert complaints == []
    found = {}
    counts = dict.fromkeys((IFrame, SFrame, UFrame), 0)
    for direction, octets in streams(corpus / "pcap" / name).items():
        frames = FrameSplitter().feed(octets)
        assert b"".join(map(encode_frame, frames)) == octets
        found[direction] = frames
        for frame in frames:
            counts[type(frame)] += 1
    shown_by_direction = {}
    for shown_frame in shown_frames:
        shown_by_direction.setdefault(shown_frame.direction, []).append(shown_frame)
    assert found.keys() == shown_by_direction.keys()
    for direction, frames in found.items():
        for frame, shown_frame in zip(frames, shown_by_direction[direction], strict=True):
            compare(frame, shown_frame)
    assert tuple(counts.values()) == CAPTURES[name]


def encode_frame(frame):
    match frame:
        case IFrame():
            return encode_i(*frame)
        case SFrame():
            return encode_s(*frame)
        case UFrame():
            return encode_u(*frame)


# -- zeek's vectors ------------------------------------------------------------------------------------------------

# Written for zeek's parser, not after the standard: a read command has no information element.
NOT_STANDARD = {"c_rd_na_1.test": 1}
CUT_SHORT = "c_rd_na_1-sq.test"  # its length octet says 27, 23 octets follow
CAUSES = {
    "Act": Cause.ACTIVATION,
    "ActCon": Cause.ACTIVATION_CON,
    "Actcon": Cause.ACTIVATION_CON,
    "ActTerm": Cause.TERMINATION,
    "Init": Cause.INITIALISED,
    "Inrogen": Cause.INTERROGATED,
    "Spont": Cause.SPONTANEOUS,
}


def read_annotated(path):
    """Octets of a vector, and for each APDU what the comments say: (name, text) in order."""
    octets = bytearray()
    apdus = []
    for line in path.read_text().splitlines():
        code, _, comment = line.partition(";")
        octets += bytes.fromhex(code)
        if not code.strip():
            continue
        notes = re.findall(r"(\w+)=([\w.:+-]+)", comment)
        if "Apdu" in comment:
            apdus.append([])
        if comment.strip() == "iec104::QDS":  # in one place without its bits
            notes = [(name, "?") for name in ("ov", "bl", "sb", "nt")]
        apdus[-1] += notes
    return bytes(octets), apdus


def said(notes, name):
    return [text for key, text in notes if key == name]


@pytest.fixture
def vectors(corpus):
    folder = corpus / "pcap/zeek-iec104/testing/analyzer"
    return {path.name: read_annotated(path) for path in sorted(folder.glob("*.test"))}


def test_zeek_vectors(vectors):
    assert len(vectors) == 15
    checked = 0
    for name, (octets, apdus) in vectors.items():
        frames = FrameSplitter().feed(octets)
        if name == CUT_SHORT:
            assert frames == []
            continue
        assert len(frames) == len(apdus), name
        assert b"".join(map(encode_frame, frames)) == octets
        refused = 0
        for frame, notes in zip(frames, apdus, strict=True):
            if isinstance(frame, SFrame):
                assert said(notes, "rsn") == [str(frame.nr)]
                continue
            assert (said(notes, "ssn"), said(notes, "rsn")) == ([str(frame.ns)], [str(frame.nr)])
            assert said(notes, "len") == [str(4 + len(frame.asdu))]
            try:
                asdu = decode(frame.asdu)
            except Iec104DecodeError as error:
                field = error.field
                assert field == "number of objects"
                refused += 1
                continue
            assert encode(asdu) == frame.asdu
            compare_annotated(asdu, notes)
            checked += len(asdu.objects)
        assert refused == NOT_STANDARD.get(name, 0), name
    assert checked == 352


def compare_annotated(asdu, notes):
    assert said(notes, "type_id") == [f"TypeID::{asdu.typeID.name}"] or said(notes, "type_id") == ["TypeID"]
    assert said(notes, "nobj") == [str(len(asdu.objects))]
    assert said(notes, "sq") == [str(int(asdu.sequence))]
    (cause,) = said(notes, "cot")
    assert CAUSES[cause.removeprefix("CoT::")] == asdu.cause
    assert (said(notes, "pn"), said(notes, "test")) == ([str(int(asdu.negative))], [str(int(asdu.test))])
    assert said(notes, "originator_address") == [str(asdu.originator)]
    assert said(notes, "common_address") == [str(asdu.CA)]
    if asdu.sequence:
        assert said(notes, "base_addr") == [str(asdu.objects[0].IOA)]
        assert [one.IOA for one in asdu.objects] == list(
            range(asdu.objects[0].IOA, asdu.objects[0].IOA + len(asdu.objects))
        )
    elif addresses := said(notes, "obj_addr"):  # one ASDU has only octets
        assert addresses == [str(one.IOA) for one in asdu.objects]
    for name in ("spi", "dpi", "sva", "rcs"):
        if texts := said(notes, name):
            assert [int(text) for text in texts] == [one.value for one in asdu.objects]
    if texts := said(notes, "r32"):
        assert [float(text) for text in texts] == pytest.approx([one.value for one in asdu.objects], rel=2e-4)
    for position, name in ((0, "ov"), (4, "bl"), (5, "sb"), (6, "nt")):
        if texts := said(notes, name):
            found = [str(one.qualifier >> position & 1) for one in asdu.objects]
            assert texts == ["?" if text == "?" else bit for text, bit in zip(texts, found, strict=True)]
    if asdu.typeID in (TypeID.C_SE_TB_1, TypeID.C_RC_NA_1):
        assert [int(text) for text in said(notes, "se")] == [one.qualifier >> 7 for one in asdu.objects]
    times = [one.time for one in asdu.objects if one.time is not None]
    for name, part in (("ms", "milliseconds"), ("dow", "day_of_week"), ("su", "summer")):
        assert [int(text) for text in said(notes, name)] == [getattr(time, part) for time in times]
    for name in ("minute", "hour", "day", "month", "year"):
        assert [int(text) for text in said(notes, name)] == [getattr(time, name) for time in times]


# -- what we encode ------------------------------------------------------------------------------------------------


def write_capture(path, apdus):
    """One TCP segment for each."""
    sequence = 1
    with path.open("wb") as file:
        writer = PcapWriter(file)
        for number, apdu in enumerate(apdus):
            tcp = struct.pack(">HHIIBBHHH", PORT, 40000, sequence, 1, 0x50, 0x18, 0xFFFF, 0, 0) + apdu
            ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, 0x0A000001, 0x0A000002)
            writer.write(number * 1_000_000, bytes(12) + b"\x08\x00" + ip + tcp)
            sequence += len(apdu)


def check_own(path, read_with_tshark, asdus):
    frames = [IFrame(number, 2 * number, asdu) for number, asdu in enumerate(asdus)]
    write_capture(path, map(encode_frame, frames))
    shown_frames, complaints = read_with_tshark(path)
    assert complaints == []
    for frame, shown_frame in zip(frames, shown_frames, strict=True):
        compare(frame, shown_frame)
    return shown_frames


def test_tshark_reads_every_type(tmp_path, read_with_tshark):
    asdus = [
        Asdu(typeID, 7, 400, (one,), negative=True, test=True, originator=9) for typeID, (_, one) in VECTORS.items()
    ]
    shown_frames = check_own(tmp_path / "types.pcap", read_with_tshark, map(encode, asdus))
    # Values not by way of our decoder
    for asdu, shown_frame in zip(asdus, shown_frames, strict=True):
        (one,) = asdu.objects
        if asdu.typeID not in RAW:
            expected = {**expected_value(asdu.typeID, one.value, one.qualifier), **expected_time(one.time)}
            assert comparable(shown_frame.objects[0]) == comparable({"ioa": str(one.IOA), **expected})


def test_tshark_reads_packed_objects(tmp_path, read_with_tshark):
    base = TimeBase("Europe/Sarajevo")
    start_ns = 1_792_884_600_000_000_000  # a few minutes around the end of summer time 2026
    values = {
        TypeID.M_SP_NA_1: lambda index: index % 3 == 0,
        TypeID.M_DP_TB_1: lambda index: index % 4,
        TypeID.M_ST_NA_1: lambda index: Step(index % 128 - 64, transient=index % 5 == 0),
        TypeID.M_ME_TD_1: lambda index: (index * 997 % 65536 - 32768) / 32768,
        TypeID.M_ME_NB_1: lambda index: index * 991 % 65536 - 32768,
        TypeID.M_ME_TF_1: lambda index: (index - 100) * 1.25,
        TypeID.M_IT_TB_1: lambda index: index * 65537 - (1 << 22),
    }
    asdus = []
    for typeID, value in values.items():
        tagged = typeID >= 30
        for step in (1, 3):
            objects = [
                InformationObject(
                    index * step,
                    value(index),
                    (index << 4) & 0xF0,
                    base.encode(start_ns + index * 37_123_456_789, invalid=index % 7 == 0) if tagged else None,
                )
                for index in range(1, 201)
            ]
            asdus += [octets for octets, _ in pack(typeID, Cause.SPONTANEOUS, 1, objects)]
    assert any(octets[1] >= 0x80 for octets in asdus)
    assert max(map(len, asdus)) > 240
    check_own(tmp_path / "packed.pcap", read_with_tshark, asdus)


def test_short_tags_are_read_too():
    """So that the comparison above has them: only types with CP24Time2a have it."""
    kinds = {type(one.time) for _, one in VECTORS.values()}
    assert kinds == {type(None), CP24Time2a, CP56Time2a}


def test_broken_stream_after_good_frames(corpus):
    octets, *_ = streams(corpus / "pcap/ipal/iec104.pcap").values()
    frames = FrameSplitter().feed(octets)
    with pytest.raises(FrameError) as caught:
        FrameSplitter().feed(octets + b"\x00" + octets)
    assert list(caught.value.frames) == frames
    assert caught.value.offset == len(octets)
