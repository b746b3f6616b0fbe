"""What tshark, an independent decoder, reads in a capture of GOOSE frames."""

from __future__ import annotations

import datetime as dt
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ied_agents.iec61850.data import (
    Array,
    Bcd,
    BinaryTime,
    BitString,
    BooleanArray,
    Float64,
    MMSString,
    ObjectId,
    Structure,
    Unsigned,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TsharkTime(NamedTuple):
    """A UtcTime as tshark shows it: nanoseconds as text says, quality octet from the raw octets."""

    ns: int
    quality: int


class TsharkFrame(NamedTuple):
    """One GOOSE frame: header fields by tshark's names, members, complaints."""

    number: int
    shown: dict[str, str]
    t: TsharkTime | None
    all_data: tuple[object, ...]
    complaints: tuple[str, ...]


def _time(field: ET.Element) -> TsharkTime:
    date, fraction = field.get("show").removesuffix(" UTC").split(".")
    seconds = dt.datetime.strptime(date + " +0000", "%b %d, %Y %H:%M:%S %z").timestamp()
    return TsharkTime(int(seconds) * 1_000_000_000 + int(fraction), int(field.get("value")[14:16], 16))


def _octets(field: ET.Element) -> bytes:
    return bytes.fromhex(field.get("show").replace(":", ""))


def _bits(kind: type[BitString], node: ET.Element, octets: bytes) -> BitString:
    padding = [int(field.get("show")) for field in node if field.get("name") == "ber.bitstring.padding"]
    if not padding:  # tshark calls it empty
        return kind(0, 0)
    return kind(int.from_bytes(octets, "big") >> padding[0], 8 * len(octets) - padding[0])


def _member(node: ET.Element) -> object:
    field = next(child for child in node if child.get("name").startswith("goose."))
    shown = field.get("show")
    match field.get("name"):
        case "goose.boolean":
            return shown == "1"
        case "goose.bit_string":
            return _bits(BitString, node, _octets(field))
        case "goose.booleanArray":
            return _bits(BooleanArray, node, _octets(field))
        case "goose.integer":
            return int(shown)
        case "goose.unsigned":
            return Unsigned(shown)
        case "goose.bcd":
            return Bcd(shown)
        case "goose.floating_point" if len(_octets(field)) == 9:
            return Float64(struct.unpack(">d", _octets(field)[1:])[0])
        case "goose.floating_point":
            value = struct.unpack(">f", _octets(field)[1:])[0]
            (text,) = (child.get("show") for child in node if child.get("name") == "goose.float_value")
            assert float(text) == pytest.approx(value, rel=1e-5, nan_ok=True)
            return value
        case "goose.octet_string":
            return _octets(field)
        case "goose.visible_string":
            return shown
        case "goose.mMSString":
            return MMSString(shown)
        case "goose.objId":
            return ObjectId(shown)
        case "goose.binary_time":
            octets = _octets(field)
            days = int.from_bytes(octets[4:], "big") if len(octets) == 6 else None
            return BinaryTime(int.from_bytes(octets[:4], "big"), days)
        case "goose.utc_time":
            return _time(field)
        case "goose.structure":
            return Structure(_member(child) for child in field)
        case "goose.array":
            return Array(_member(child) for child in field)
        case name:
            raise AssertionError(f"a member that this reader does not know: {name}")


def _frame(packet: ET.Element) -> TsharkFrame:
    fields = {field.get("name"): field for field in packet.iter("field")}
    shown = {name: field.get("show") for name, field in fields.items()}
    t = _time(fields["goose.t"]) if "goose.t" in fields else None
    all_data = tuple(_member(node) for node in fields["goose.allData"]) if "goose.allData" in fields else ()
    complaints = tuple(
        field.get("showname") or field.get("name")
        for field in packet.iter("field")
        if (field.get("name") or "").startswith(("_ws.expert", "_ws.malformed", "goose.malformed"))
    )
    return TsharkFrame(int(shown["num"]), shown, t, all_data, complaints)


@pytest.fixture(scope="session")
def read_with_tshark(require: Callable[[object, str], None]) -> Callable[[Path], list[TsharkFrame]]:
    """``read_with_tshark(capture)``: its GOOSE frames."""
    require(shutil.which("tshark"), "tshark is not installed")

    def read(capture: Path) -> list[TsharkFrame]:
        argv = ["tshark", "-r", str(capture), "-Y", "goose", "-T", "pdml"]
        output = subprocess.run(argv, capture_output=True, check=True).stdout
        return [_frame(packet) for packet in ET.fromstring(output).iter("packet")]

    return read
