"""Rules on references: data sets, links, inputs, subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scl.datasets import resolve_member
from scl.document import SclError
from scl.rules import of_error
from scl.streams import ControlBlock, data_set_of, inputs_of
from scl.substation import NO_IED, LNode
from scl.types import TypeResolutionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scl.control_blocks import ClientLN, DataSet, ExtRef, IEDName
    from scl.ied import IED, LN, LN0, AnyLN
    from scl.model import SCL
    from scl.rules import Checked, Finding


def data_sets(checked: Checked) -> Iterator[Finding]:
    """Data sets have members, and each resolves."""
    for ied, node in _nodes(checked):
        for data_set in node.datasets:
            if not data_set.members:
                yield checked.finding("data-set-empty", f"data set {data_set.name} without members", data_set)
            yield from _members(checked, ied, data_set)


def _members(checked: Checked, ied: IED, data_set: DataSet) -> Iterator[Finding]:
    seen: dict[object, int] = {}
    for fcda in data_set.members:
        key = (
            fcda.ldInst,
            fcda.prefix,
            fcda.lnClass,
            fcda.lnInst,
            fcda.doName,
            fcda.daName,
            fcda.fc,
            fcda.ix,
        )
        first = seen.setdefault(key, fcda.line)
        if first != fcda.line:
            message = f"member stands twice in data set {data_set.name}; the first is in line {first}"
            yield checked.finding("member-duplicate", message, fcda)
        ldevice = ied.ldevice(fcda.ldInst)
        node = ldevice.node(fcda.prefix, fcda.lnClass, fcda.lnInst) if ldevice else None
        if node is not None and checked.type_of(node) is None:
            continue
        try:
            resolve_member(checked.scl, checked.types, ied, fcda)
        except SclError as error:
            if error.rule == "member":  # else the types are wrong, which is reported there
                yield of_error(error)


def controls(checked: Checked) -> Iterator[Finding]:
    """Control blocks have their data set, a revision, and subscribers that exist."""
    for _, node in _nodes(checked):
        names = {data_set.name for data_set in node.datasets}
        gse = getattr(node, "gse_controls", ())
        for control in (*gse, *getattr(node, "sv_controls", ()), *node.reports, *node.log_controls):
            if control.datSet and control.datSet not in names:
                message = f"{node.name} has no data set {control.datSet!r}"
                yield checked.finding("data-set-missing", message, control)
        for control in gse:
            if control.datSet and not control.confRev:
                reason = "without confRev" if control.confRev is None else "with confRev 0"
                yield checked.finding("conf-rev-missing", f"GSEControl {control.name} {reason}", control)
        for control in (*gse, *getattr(node, "sv_controls", ())):
            for subscriber in control.subscribers:
                yield from _known(checked, subscriber.value.strip(), subscriber)
        for report in node.reports:
            for client in report.enabled.clients if report.enabled else ():
                yield from _known(checked, client.iedName, client)


def _known(checked: Checked, iedName: str, node: IEDName | ClientLN) -> Iterator[Finding]:
    if iedName not in checked.ieds:
        yield checked.finding("subscriber-missing", f"IED {iedName} is not in the file", node)


def servers(checked: Checked) -> Iterator[Finding]:
    """``ServerAt`` names an access point of the same IED that has a server."""
    for ied in checked.scl.ieds:
        with_server = {point.name for point in ied.access_points if point.server is not None}
        for point in ied.access_points:
            for server_at in point.server_at:
                if server_at.apName not in with_server:
                    message = f"{ied.name} has no access point {server_at.apName} with a server"
                    yield checked.finding("server-missing", message, server_at)


def links(checked: Checked) -> Iterator[Finding]:
    """Links of the primary system lead to logical nodes."""
    scl = checked.scl
    for top in (*scl.substations, *scl.lines, *scl.processes):
        for lnode in top.walk():
            if not isinstance(lnode, LNode) or lnode.iedName in {NO_IED, ""}:
                continue
            ied = checked.ieds.get(lnode.iedName)
            name = f"{lnode.ldInst}/{lnode.prefix}{lnode.lnClass}{lnode.lnInst}"
            if ied is None:
                yield checked.finding("lnode-missing", f"IED {lnode.iedName} is not in the file", lnode)
            elif not _has_node(ied, lnode):
                yield checked.finding("lnode-missing", f"{lnode.iedName} has no logical node {name}", lnode)


def _has_node(ied: IED, lnode: LNode) -> bool:
    if lnode.ldInst:
        ldevice = ied.ldevice(lnode.ldInst)
        return ldevice is not None and ldevice.node(lnode.prefix, lnode.lnClass, lnode.lnInst) is not None
    wanted = (lnode.prefix, lnode.lnClass, lnode.lnInst)
    return any((ln.prefix, ln.lnClass, ln.inst) == wanted for point in ied.access_points for ln in point.lns)


def inputs(checked: Checked) -> Iterator[Finding]:
    """Inputs: publisher, control block and data exist, and the control block sends the data."""
    for ied in checked.scl.ieds:
        for extref in inputs_of(ied):
            if extref.iedName:
                yield from _input(checked, ied, extref)


def _input(checked: Checked, ied: IED, extref: ExtRef) -> Iterator[Finding]:
    name = ied.name if extref.iedName == "@" else extref.iedName
    publisher = checked.ieds.get(name)
    if publisher is None:
        yield checked.finding("publisher-missing", f"IED {name} is not in the file", extref)
        return
    if not _control_exists(publisher, extref):
        where = f"{extref.srcLDInst or extref.ldInst}/{_source_node(extref)}"
        yield checked.finding("publisher-missing", f"{name} has no control block {extref.srcCBName} in {where}", extref)
        return
    if extref.doName and (reason := _unknown_data(checked, publisher, extref)):
        yield checked.finding("input-unknown", reason, extref)
        return
    if extref.serviceType not in {"", "GOOSE"} or not extref.doName:
        return
    block = checked.goose.find(extref, ied.name)
    if isinstance(block, str):
        if block:
            yield checked.finding("input-not-sent", block, extref)
    elif data_set_of(block) is not None and not checked.goose.carries(block, extref):
        message = f"data set {block.control.datSet} of {name} does not have {extref.doName}.{extref.daName}"
        yield checked.finding("input-not-sent", message.removesuffix("."), extref)


def _source_node(extref: ExtRef) -> str:
    return f"{extref.srcPrefix}{extref.srcLNClass or 'LLN0'}{extref.srcLNInst}"


def _control_exists(publisher: IED, extref: ExtRef) -> bool:
    if not extref.srcCBName:
        return True
    ldevice = publisher.ldevice(extref.srcLDInst or extref.ldInst)
    node: LN0 | LN | None = (
        ldevice.node(extref.srcPrefix, extref.srcLNClass or "LLN0", extref.srcLNInst) if ldevice else None
    )
    if node is None:
        return False
    blocks = {
        "GOOSE": getattr(node, "gse_controls", ()),
        "SMV": getattr(node, "sv_controls", ()),
        "Report": node.reports,
    }
    wanted = blocks.values() if extref.serviceType not in blocks else (blocks[extref.serviceType],)
    return any(control.name == extref.srcCBName for group in wanted for control in group)


def _unknown_data(checked: Checked, publisher: IED, extref: ExtRef) -> str:
    """Why the publisher does not have the data of an input; empty if it does."""
    ldevice = publisher.ldevice(extref.ldInst)
    if ldevice is None:
        return f"{publisher.name} has no logical device {extref.ldInst!r}"
    node = ldevice.node(extref.prefix, extref.lnClass, extref.lnInst)
    if node is None:
        name = f"{extref.prefix}{extref.lnClass}{extref.lnInst}"
        return f"logical device {extref.ldInst} of {publisher.name} has no logical node {name!r}"
    try:
        if extref.daName:
            checked.types.resolve(node.lnType, extref.doName, extref.daName)
        else:
            checked.types.data_object(node.lnType, extref.doName)
    except TypeResolutionError as error:
        return "" if error.in_types else f"{publisher.name}: {error}"
    return ""


def supervision(checked: Checked) -> Iterator[Finding]:
    """A subscriber's LGOS watches a control block of the file, and expects its revision."""
    revisions: dict[str, int | None] = {}
    for block in checked.goose.blocks():
        domain = block.ldevice.domain(block.ied.name)
        revisions[f"{domain}/LLN0.{block.control.name}"] = block.control.confRev
    for _, node in _nodes(checked):
        watched = node.value("GoCBRef", "setSrcRef") if node.lnClass == "LGOS" else None
        if not watched:
            continue
        expected = node.value("ConfRevNum", "stVal")
        reference = watched.replace("$", ".").replace(".GO.", ".")
        if reference not in revisions:
            message = f"{node.name} watches {watched}, which is not in the file"
            yield checked.finding("publisher-missing", message, node)
        elif expected is not None and str(revisions[reference]) != expected:
            message = f"{node.name} expects confRev {expected} of {watched}, which has {revisions[reference]}"
            yield checked.finding("conf-rev", message, node)


def copies(checked: Checked) -> Iterator[Finding]:
    """Publishers as other files know them agree with this one."""
    ours = {_reference(block): block for block in checked.goose.blocks()}
    for other in checked.others:
        for ied in other.ieds:
            for access_point, ldevice in ied.ldevices():
                for control in ldevice.ln0.gse_controls:
                    theirs = ControlBlock(ied, access_point, ldevice, control)
                    block = ours.get(_reference(theirs))
                    if block is not None:
                        yield from _differences(checked, block, theirs, other)


def _reference(block: ControlBlock) -> tuple[str, str, str]:
    return block.ied.name, block.ldevice.inst, block.control.name


def _differences(checked: Checked, ours: ControlBlock, theirs: ControlBlock, other: SCL) -> Iterator[Finding]:
    name = f"{ours.control.name} of {ours.ied.name}"
    if ours.control.confRev != theirs.control.confRev:
        message = f"{name} has confRev {theirs.control.confRev} here, {ours.control.confRev} in {checked.scl.file}"
        yield checked.finding("conf-rev", message, theirs.control, other)
        return
    our_set, their_set = data_set_of(ours), data_set_of(theirs)
    if our_set is not None and their_set is not None and our_set.members != their_set.members:
        message = f"data set of {name} differs from that in {checked.scl.file}, confRev does not"
        yield checked.finding("conf-rev", message, their_set, other)


def _nodes(checked: Checked) -> Iterator[tuple[IED, AnyLN]]:
    """All logical nodes with their IED, those of access points without a server included."""
    for ied in checked.scl.ieds:
        for _, ldevice in ied.ldevices():
            for node in ldevice.nodes():
                yield ied, node
        for access_point in ied.access_points:
            for ln in access_point.lns:
                yield ied, ln


REFERENCE_CHECKS: Final = (data_sets, controls, servers, links, inputs, supervision, copies)
