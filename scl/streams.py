"""GOOSE streams: what a publisher and its subscribers must know, and who subscribes to which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scl.datasets import Member, resolve_data_set
from scl.types import Types

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.communication import GSE, Address, MaxTime, MinTime, P
    from scl.control_blocks import FCDA, DataSet, ExtRef, GSEControl
    from scl.ied import IED, AccessPoint, LDevice
    from scl.model import SCL

DEFAULT_VLAN_PRIORITY: Final = 4
"""IEC 61850-8-1: priority of GOOSE where none is given."""

_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){5}", re.ASCII)
_MULTIPLIERS: Final = {"": 1000.0, "m": 1.0, "k": 1e6}


@dataclass(frozen=True, slots=True)
class MulticastAddress:
    """Layer 2 address of a GOOSE or sampled value stream.

    Attributes:
        mac: destination, 6 octets.
        appid: application identifier of the frame header.
        vlan_id: 0 to 4095.
        vlan_priority: 0 to 7.
    """

    mac: bytes
    appid: int
    vlan_id: int
    vlan_priority: int


@dataclass(frozen=True, slots=True)
class GooseStream:
    """One GOOSE control block with its address and data set.

    Attributes:
        iedName: publisher.
        apName: access point its server stands on.
        ldInst: logical device.
        cbName: name of the control block.
        gocbRef: reference as it stands in frames, ``F1Q1FLISR/LLN0$GO$gcbFast``.
        datSet: reference of the data set as in frames, ``F1Q1FLISR/LLN0$fast``.
        goID: the control block's ``appID``.
        confRev: configuration revision.
        fixedOffs: fixed-length encoding is asked for.
        address: None where the Communication section gives none.
        min_time_ms: shortest repetition gap, None where not given.
        max_time_ms: longest repetition gap, None where not given.
        members: of the data set, in wire order.
        control: where the control block stands in the file.
    """

    iedName: str
    apName: str
    ldInst: str
    cbName: str
    gocbRef: str
    datSet: str
    goID: str
    confRev: int
    fixedOffs: bool
    address: MulticastAddress | None
    min_time_ms: float | None
    max_time_ms: float | None
    members: tuple[Member, ...]
    control: GSEControl


@dataclass(frozen=True, slots=True)
class Subscription:
    """A stream that an IED takes inputs from, and the inputs."""

    stream: GooseStream
    extrefs: tuple[ExtRef, ...]


@dataclass(frozen=True, slots=True)
class UnresolvedInput:
    """An input whose stream cannot be found, and why."""

    extref: ExtRef
    reason: str


@dataclass(frozen=True, slots=True)
class ControlBlock:
    """A GOOSE control block and what it hangs on."""

    ied: IED
    access_point: AccessPoint
    ldevice: LDevice
    control: GSEControl


class GooseIndex:
    """All GOOSE control blocks of a file. Streams are resolved when they are asked for, once each.

    A fault in one IED thus stands in the way only of those who need its streams.
    """

    def __init__(self, scl: SCL, types: Types | None = None) -> None:
        self.scl = scl
        self.types = types or Types(scl.templates)
        self._blocks: dict[str, dict[tuple[str, str], ControlBlock]] = {}
        self._by_data: dict[str, dict[tuple[str, ...], list[ControlBlock]]] = {}
        self._contents: dict[int, dict[tuple[str, ...], set[str]]] = {}
        self._streams: dict[int, GooseStream] = {}
        for ied in scl.ieds:
            blocks = self._blocks.setdefault(ied.name, {})
            for access_point, ldevice in ied.ldevices():
                for control in ldevice.ln0.gse_controls:
                    if control.type == "GOOSE":
                        blocks.setdefault(
                            (ldevice.inst, control.name), ControlBlock(ied, access_point, ldevice, control)
                        )
        self._gse: dict[tuple[str, str, str], dict[str, GSE]] = {}
        for subnetwork in scl.communication.subnetworks if scl.communication else ():
            for connected in subnetwork.connected:
                for gse in connected.gse:
                    places = self._gse.setdefault((connected.iedName, gse.ldInst, gse.cbName), {})
                    places.setdefault(connected.apName, gse)

    def published_by(self, iedName: str) -> tuple[GooseStream, ...]:
        """Streams of an IED, in the order of the file; control blocks without ``datSet`` are not in use.

        Raises:
            SclError: a stream names no data set of its node, lacks confRev, or has a member or an address
            that cannot be used.
        """
        blocks = self._blocks.get(iedName, {}).values()
        return tuple(self._stream(block) for block in blocks if block.control.datSet)

    def blocks(self) -> Iterator[ControlBlock]:
        """All GOOSE control blocks, in the order of the file."""
        for blocks in self._blocks.values():
            yield from blocks.values()

    def gse(self, block: ControlBlock) -> GSE | None:
        """Where the Communication section gives a block its address, None where it does not."""
        places = self._gse.get((block.ied.name, block.ldevice.inst, block.control.name), {})
        return places.get(block.access_point.name) or next(iter(places.values()), None)

    def stream(self, iedName: str, ldInst: str, cbName: str) -> GooseStream | None:
        """One stream, None where there is no such control block; raises as ``published_by``."""
        block = self._blocks.get(iedName, {}).get((ldInst, cbName))
        return self._stream(block) if block else None

    def subscriptions(self, iedName: str) -> tuple[tuple[Subscription, ...], tuple[UnresolvedInput, ...]]:
        """Streams that an IED takes inputs from, and inputs whose stream is not in the file.

        An input with ``srcCBName`` (Edition 2) names its control block. One without (Edition 1) belongs to
        the control block of the publisher whose data set holds the data: the one that lists the subscriber,
        if several. Inputs that are polled, reported or sampled are left out, and so are places that are not
        bound yet.

        Raises:
            SclError: a stream that is subscribed to cannot be resolved.
        """
        ied = self.scl.ied(iedName)
        found: dict[int, tuple[ControlBlock, list[ExtRef]]] = {}
        unresolved: list[UnresolvedInput] = []
        for extref in inputs_of(ied) if ied else ():
            if not extref.iedName or extref.serviceType not in {"", "GOOSE"}:
                continue
            block = self.find(extref, iedName)
            if isinstance(block, ControlBlock):
                found.setdefault(id(block.control), (block, []))[1].append(extref)
            elif block:
                unresolved.append(UnresolvedInput(extref, block))
        subscriptions = tuple(Subscription(self._stream(block), tuple(extrefs)) for block, extrefs in found.values())
        return subscriptions, tuple(unresolved)

    def find(self, extref: ExtRef, subscriber: str) -> ControlBlock | str:
        """Control block that an input of a subscriber comes from.

        Returns:
            The block, else why there is none; empty where the input need not come by GOOSE.
        """
        publisher = subscriber if extref.iedName == "@" else extref.iedName
        blocks = self._blocks.get(publisher)
        if blocks is None:
            return f"IED {publisher} is not in the file"
        if extref.srcCBName:
            ldInst = extref.srcLDInst or extref.ldInst
            block = blocks.get((ldInst, extref.srcCBName))
            if block is not None:
                return block
            return (
                f"{publisher} has no GOOSE control block {extref.srcCBName} in {ldInst}" if extref.serviceType else ""
            )
        candidates = [block for block in self._holding(publisher, extref) if self.carries(block, extref)]
        listed = [b for b in candidates if any(name.value.strip() == subscriber for name in b.control.subscribers)]
        if listed or candidates:
            return (listed or candidates)[0]
        return f"no GOOSE data set of {publisher} holds this data" if extref.serviceType else ""

    def carries(self, block: ControlBlock, extref: ExtRef) -> bool:
        """Whether the block's data set has the attribute itself or the whole data object."""
        attributes = self._sent(block).get(_key(extref))
        return attributes is not None and (not extref.daName or not attributes.isdisjoint(("", extref.daName)))

    def _sent(self, block: ControlBlock) -> dict[tuple[str, ...], set[str]]:
        """Attributes by data object in a block's data set; an empty name stands for the whole object."""
        known = self._contents.get(id(block.control))
        if known is None:
            known = self._contents[id(block.control)] = {}
            data_set = data_set_of(block)
            for fcda in data_set.members if data_set else ():
                known.setdefault(_key(fcda), set()).add(fcda.daName)
        return known

    def _holding(self, iedName: str, extref: ExtRef) -> list[ControlBlock]:
        """Control blocks of an IED whose data sets hold something of a data object."""
        known = self._by_data.get(iedName)
        if known is None:
            known = self._by_data[iedName] = {}
            for block in self._blocks[iedName].values():
                for key in self._sent(block):
                    known.setdefault(key, []).append(block)
        return known.get(_key(extref), [])

    def _stream(self, block: ControlBlock) -> GooseStream:
        known = self._streams.get(id(block.control))
        if known is None:
            known = self._streams[id(block.control)] = self._resolve(block)
        return known

    def _resolve(self, block: ControlBlock) -> GooseStream:
        control, ied, ldevice = block.control, block.ied, block.ldevice
        data_set = data_set_of(block)
        if data_set is None:
            raise self.scl.error(
                "data-set-missing",
                f"GSEControl {control.name}: its logical node has no DataSet {control.datSet!r}",
                control,
            )
        if control.confRev is None:
            raise self.scl.error("conf-rev-missing", f"GSEControl {control.name} without confRev", control)
        gse = self.gse(block)
        node = f"{ldevice.domain(ied.name)}/LLN0$"
        return GooseStream(
            iedName=ied.name,
            apName=block.access_point.name,
            ldInst=ldevice.inst,
            cbName=control.name,
            gocbRef=f"{node}GO${control.name}",
            datSet=f"{node}{control.datSet}",
            goID=control.appID,
            confRev=control.confRev,
            fixedOffs=control.fixedOffs,
            address=multicast_address(self.scl, gse.address) if gse and gse.address else None,
            min_time_ms=milliseconds(self.scl, gse.min_time) if gse and gse.min_time else None,
            max_time_ms=milliseconds(self.scl, gse.max_time) if gse and gse.max_time else None,
            members=resolve_data_set(self.scl, self.types, ied, data_set),
            control=control,
        )


def inputs_of(ied: IED) -> list[ExtRef]:
    """All inputs of an IED, bound or not, in the order of the file."""
    nodes = [node for _, ldevice in ied.ldevices() for node in ldevice.nodes()]
    nodes += [ln for access_point in ied.access_points for ln in access_point.lns]
    return [extref for node in nodes if node.inputs for extref in node.inputs.extrefs]


def data_set_of(block: ControlBlock) -> DataSet | None:
    """Data set of a control block, None where its logical node has none of that name."""
    return next((item for item in block.ldevice.ln0.datasets if item.name == block.control.datSet), None)


def _key(data: ExtRef | FCDA) -> tuple[str, ...]:
    return data.ldInst, data.prefix, data.lnClass, data.lnInst, data.doName


def multicast_address(scl: SCL, address: Address) -> MulticastAddress:
    """MAC, APPID and VLAN of an address.

    Raises:
        SclError: MAC-Address or APPID is missing, or a parameter has a form that cannot be read.
    """
    mac = address.get("MAC-Address")
    appid = address.get("APPID")
    if mac is None or appid is None:
        raise scl.error("address", f"address without {'MAC-Address' if mac is None else 'APPID'}", address)
    octets = mac.value.strip()
    if not _MAC.fullmatch(octets):
        raise scl.error("address", f"MAC-Address {octets[:40]!r}; expected six octets such as 01-0C-CD-01-00-01", mac)
    vlan_id = address.get("VLAN-ID")
    priority = address.get("VLAN-PRIORITY")
    return MulticastAddress(
        mac=bytes.fromhex(octets.replace("-", "").replace(":", "")),
        appid=_number(scl, appid, 16, 0xFFFF),
        vlan_id=_number(scl, vlan_id, 16, 0xFFF) if vlan_id else 0,
        vlan_priority=_number(scl, priority, 10, 7) if priority else DEFAULT_VLAN_PRIORITY,
    )


def _number(scl: SCL, parameter: P, base: int, limit: int) -> int:
    text = parameter.value.strip()
    digits = "hexadecimal digits" if base == 16 else "digits"
    if re.fullmatch("[0-9A-Fa-f]{1,8}" if base == 16 else "[0-9]{1,8}", text, re.ASCII) and int(text, base) <= limit:
        return int(text, base)
    top = f"{limit:X}" if base == 16 else str(limit)
    raise scl.error("address", f"{parameter.type} {text[:40]!r}; expected {digits} up to {top}", parameter)


def milliseconds(scl: SCL, duration: MinTime | MaxTime) -> float:
    """A duration in ms.

    Raises:
        SclError: it is not positive, or in a unit that is none of s and ms.
    """
    factor = _MULTIPLIERS.get(duration.multiplier)
    if duration.unit != "s" or factor is None:
        raise scl.error(
            "times",
            f"{duration.element.local} in {duration.multiplier}{duration.unit}; expected ms or s",
            duration,
        )
    if not duration.value > 0:
        raise scl.error("times", f"{duration.element.local} {duration.value:g}; expected more than 0", duration)
    return duration.value * factor
