"""Rules on addresses and streams."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from scl.document import SclError
from scl.frame_size import MAX_PAYLOAD, largest_payload
from scl.rules import of_error
from scl.streams import milliseconds, multicast_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.communication import GSE, SMV, ConnectedAP, SubNetwork
    from scl.ied import IED
    from scl.rules import Checked, Finding
    from scl.streams import MulticastAddress

TEMPLATE: Final = "TEMPLATE"
"""Name of the IED of an ICD file."""

_GOOSE_APPIDS: Final = (range(0x4000), range(0x8000, 0xC000))
_SMV_APPIDS: Final = (range(0x4000, 0x8000), range(1))  # 0 is the default of a stream that was given none
_GOOSE_MACS: Final = bytes.fromhex("010ccd01")
_SMV_MACS: Final = bytes.fromhex("010ccd04")


def connected(checked: Checked) -> Iterator[Finding]:
    """Access points and control blocks that have addresses exist."""
    for _, access_point in _access_points(checked):
        ied = checked.ieds.get(access_point.iedName)
        if ied is None:
            yield checked.finding(
                "access-point-missing", f"IED {access_point.iedName} is not in the file", access_point
            )
            continue
        if all(point.name != access_point.apName for point in ied.access_points):
            message = f"{ied.name} has no access point {access_point.apName}"
            yield checked.finding("access-point-missing", message, access_point)
        for gse in access_point.gse:
            if not _has_control(ied, gse.ldInst, gse.cbName, "gse_controls"):
                message = f"{ied.name} has no GOOSE control block {gse.cbName} in {gse.ldInst}"
                yield checked.finding("control-missing", message, gse)
        for smv in access_point.smv:
            if not _has_control(ied, smv.ldInst, smv.cbName, "sv_controls"):
                message = f"{ied.name} has no sampled value control block {smv.cbName} in {smv.ldInst}"
                yield checked.finding("control-missing", message, smv)


def _has_control(ied: IED, ldInst: str, cbName: str, kind: str) -> bool:
    ldevice = ied.ldevice(ldInst)
    return ldevice is not None and any(control.name == cbName for control in getattr(ldevice.ln0, kind))


def streams_have_addresses(checked: Checked) -> Iterator[Finding]:
    """GOOSE control blocks in use have an address; those of an ICD's template get theirs later."""
    for block in checked.goose.blocks():
        if not block.control.datSet or block.ied.name == TEMPLATE:
            continue
        gse = checked.goose.gse(block)
        if gse is None or gse.address is None:
            message = f"GOOSE control block {block.control.name} of {block.ied.name} without address"
            yield checked.finding("address-missing", message, block.control)


def addresses(checked: Checked) -> Iterator[Finding]:
    """Stream addresses are well formed, in the range of their service, and unique on their subnetwork."""
    for subnetwork in checked.scl.communication.subnetworks if checked.scl.communication else ():
        macs: dict[bytes, GSE | SMV] = {}
        appids: dict[int, GSE | SMV] = {}
        both: dict[tuple[bytes, int], GSE | SMV] = {}
        for place in _places(subnetwork):
            if place.address is None:
                continue
            try:
                address = multicast_address(checked.scl, place.address)
            except SclError as error:
                yield of_error(error)
                continue
            yield from _ranges(checked, place, address)
            key = (address.mac, address.appid)
            twin, same_mac, same_appid = both.get(key), macs.get(address.mac), appids.get(address.appid)
            text = f"MAC {address.mac.hex('-').upper()}"
            if twin is not None:
                message = f"{text} and APPID {address.appid:04X} are also those of line {twin.line}"
                yield checked.finding("address-duplicate", message, place)
            elif same_mac is not None:
                yield checked.finding("mac-shared", f"{text} is also that of line {same_mac.line}", place)
            elif same_appid is not None and address.appid:
                message = f"APPID {address.appid:04X} is also that of line {same_appid.line}"
                yield checked.finding("appid-shared", message, place)
            both.setdefault(key, place)
            macs.setdefault(address.mac, place)
            appids.setdefault(address.appid, place)


def _places(subnetwork: SubNetwork) -> Iterator[GSE | SMV]:
    for access_point in subnetwork.connected:
        yield from access_point.gse
        yield from access_point.smv


def _ranges(checked: Checked, place: GSE | SMV, address: MulticastAddress) -> Iterator[Finding]:
    is_goose = place.element.local == "GSE"
    service = "GOOSE" if is_goose else "sampled values"
    text = address.mac.hex("-").upper()
    start = _GOOSE_MACS if is_goose else _SMV_MACS
    if not address.mac[0] & 1:
        yield checked.finding("mac-unicast", f"MAC {text} is no multicast address", place)
    elif not address.mac.startswith(start):
        message = f"MAC {text}; {service} start with {start.hex('-').upper()}"
        yield checked.finding("mac-range", message, place)
    if not any(address.appid in each for each in (_GOOSE_APPIDS if is_goose else _SMV_APPIDS)):
        yield checked.finding("appid-range", f"APPID {address.appid:04X} is not in the range of {service}", place)


def times(checked: Checked) -> Iterator[Finding]:
    """Repetition times are positive, and the shortest is not longer than the longest."""
    for _, access_point in _access_points(checked):
        for gse in access_point.gse:
            found = {}
            for each in (gse.min_time, gse.max_time):
                if each is not None:
                    try:
                        found[each.element.local] = milliseconds(checked.scl, each)
                    except SclError as error:
                        yield of_error(error)
            if len(found) == 2 and found["MinTime"] > found["MaxTime"]:
                message = f"MinTime {found['MinTime']:g} ms is longer than MaxTime {found['MaxTime']:g} ms"
                yield checked.finding("times", message, gse)


def ip_addresses(checked: Checked) -> Iterator[Finding]:
    """IP addresses are well formed and unique on their subnetwork."""
    seen: dict[tuple[str, str], int] = {}
    for subnetwork, access_point in _access_points(checked):
        parameter = access_point.address.get("IP") if access_point.address else None
        if parameter is None or not (text := parameter.value.strip()):
            continue
        try:
            ipaddress.ip_address(text)
        except ValueError:
            yield checked.finding("ip", f"{text[:60]!r} is no IP address", parameter)
            continue
        first = seen.setdefault((subnetwork.name, text), parameter.line)
        if first != parameter.line and text != "0.0.0.0":
            yield checked.finding("ip-duplicate", f"IP {text} is also that of line {first}", parameter)


def identifiers(checked: Checked) -> Iterator[Finding]:
    """GOOSE identifiers are unique."""
    seen: dict[str, int] = {}
    for block in checked.goose.blocks():
        control = block.control
        first = seen.setdefault(control.appID, control.line)
        if control.appID and control.datSet and first != control.line:
            message = f"appID {control.appID} of {block.ied.name} is also that of line {first}"
            yield checked.finding("go-id-duplicate", message, control)


def frame_sizes(checked: Checked) -> Iterator[Finding]:
    """Data sets fit a frame."""
    for block in checked.goose.blocks():
        try:
            stream = checked.goose.stream(block.ied.name, block.ldevice.inst, block.control.name)
        except SclError:
            continue  # reported by the rule that it breaks
        size = largest_payload(stream) if stream else 0
        if size > MAX_PAYLOAD:
            message = f"frames of {block.control.name} of {block.ied.name} can take {size} octets of {MAX_PAYLOAD}"
            yield checked.finding("frame-size", message, block.control)


def service_limits(checked: Checked) -> Iterator[Finding]:
    """What an IED states that it can do is enough for what it is given."""
    for ied in checked.scl.ieds:
        for access_point in ied.access_points:
            services = access_point.services or ied.services
            if services is None or access_point.server is None:
                continue
            nodes = [node for ldevice in access_point.server.ldevices for node in ldevice.nodes()]
            data_sets = [data_set for node in nodes for data_set in node.datasets]
            blocks = [control for ldevice in access_point.server.ldevices for control in ldevice.ln0.gse_controls]
            members = max((len(data_set.members) for data_set in data_sets), default=0)
            for what, count, limit in (
                ("data sets", len(data_sets), services.limit("ConfDataSet")),
                ("members of a data set", members, services.limit("ConfDataSet", "maxAttributes")),
                ("GOOSE control blocks", len(blocks), services.limit("GOOSE")),
            ):
                if limit is not None and count > limit:
                    message = f"{ied.name} has {count} {what}; it states {limit}"
                    yield checked.finding("service-limit", message, services)


def _access_points(checked: Checked) -> Iterator[tuple[SubNetwork, ConnectedAP]]:
    for subnetwork in checked.scl.communication.subnetworks if checked.scl.communication else ():
        for access_point in subnetwork.connected:
            yield subnetwork, access_point


COMMUNICATION_CHECKS: Final = (
    connected,
    streams_have_addresses,
    addresses,
    times,
    ip_addresses,
    identifiers,
    frame_sizes,
    service_limits,
)
