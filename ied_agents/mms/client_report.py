"""Reports to an MMS client: enabled with or without an EntryID to go on after, handed over as plain values."""

from __future__ import annotations

import ctypes
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ied_agents.iec61850.data import BitString
from ied_agents.mms.client import MmsClientError, Reference
from ied_agents.mms.library import REPORT, REPORT_OPTIONS
from ied_agents.mms.values import Cause, octet_string, to_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from ied_agents.iec61850.data import Data
    from ied_agents.mms.client import MmsClient

MOST_WAITING: Final = 1000
"""Reports that a queue holds for who is slow."""
TRIGGERS: Final = {"dchg": 1, "qchg": 2, "dupd": 4, "period": 8, "gi": 16}
"""``TRG_OPT_…`` of the library."""
_RPT_ENA: Final = 2
_OPT_FLDS: Final = 32
_TRG_OPS: Final = 256
_GI: Final = 1024
_ENTRY_ID: Final = 4096
_RESV_TMS: Final = 16384
_ENTRY_ID_SIZE: Final = 8
FROM_THE_FIRST: Final = bytes(_ENTRY_ID_SIZE)
"""The EntryID after which all comes that is buffered (IEC 61850-7-2)."""
_TRIGGER_BITS: Final = ("", "dchg", "qchg", "dupd", "period", "gi")
_OPTION_BITS: Final = (
    "", "seqNum", "timeStamp", "reasonCode", "dataSet", "dataRef", "bufOvfl", "entryID", "configRef",
)  # fmt: skip
"""Both in the order of IEC 61850-8-1."""
_REASONS: Final = {1: "dchg", 2: "qchg", 4: "dupd", 8: "period", 16: "gi", 32: "application", 64: "unknown"}
"""``IEC61850_REASON_…``; 0 is not included."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says.

    Attributes:
        block: reference of its control block.
        rptID: its identifier.
        entryID: to go on after, 8 octets; None where the block does not send it.
        seqNum: sequence number; None where it is not sent.
        time_ms: when the entry was made, ms since 1970; None where it is not sent.
        overflow: entries before it are lost in the server's buffer.
        more: the same entry goes on in the next report.
        values: of the members that are in it, or why one has none, by their references with functional constraint.
        reasons: why each is in it.
    """

    block: str
    rptID: str
    entryID: bytes | None
    seqNum: int | None
    time_ms: int | None
    overflow: bool
    more: bool
    values: dict[str, Data | Cause]
    reasons: dict[str, str]


class ReportQueue:
    """Takes reports in the library's thread and gives them to another one.

    Attributes:
        lost: reports that came while it was full. Those that are in it go before: who goes on after the last one's
            EntryID misses none of a buffered block.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._reports: queue.Queue[Report] = queue.Queue(most)
        self.lost = 0

    def put(self, report: Report) -> None:
        """Take one; never waits. Once one was lost no more are taken."""
        if self.lost:
            self.lost += 1
            return
        try:
            self._reports.put_nowait(report)
        except queue.Full:
            self.lost += 1

    def get(self, timeout_s: float) -> Report | None:
        """The next one; None if none comes in that time."""
        try:
            return self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return None


class Subscription:
    """An enabled report control block; :meth:`close` disables it, and so does the end of the connection.

    Attributes:
        block: its reference.
        data_set: reference of its data set.
        members: references of its data set's members.
        resumed: whether the reports go on after the entry that was asked for. If not, it is gone from the server's
            buffer, and all that is buffered comes.
    """

    def __init__(
        self,
        client: MmsClient,
        block: str,
        take: Callable[[Report], None],
        *,
        after: bytes | None = None,
        triggers: frozenset[str] | None = None,
        options: frozenset[str] | None = None,
        needs: frozenset[str] = frozenset(),
        reserve_s: int | None = None,
        interrogate: bool = False,
    ) -> None:
        """Enable a block.

        Args:
            client: connected.
            block: ``F1Q1FLISR/LLN0.BR.brcbStatus01``.
            take: is given every report, in the library's thread: it must neither raise, nor wait, nor use the client.
                :meth:`ReportQueue.put` is one.
            after: EntryID of the last report that is known.
            triggers: names of :data:`TRIGGERS`; None leaves them as they are. To write them purges the buffer of a
                buffered block (IEC 61850-7-2).
            options: names of :data:`REPORT_OPTIONS`; None leaves them as they are.
            needs: of both, what is added where it is missing.
            reserve_s: have it kept for this client for so long after the connection ends, where the block can do
                that (``ResvTms``).
            interrogate: ask for a report of all members at once.

        Raises:
            MmsClientError: there is no such block, or it is another client's.
            ValueError: no reference, or no EntryID.
        """
        if after is not None and len(after) != _ENTRY_ID_SIZE:
            raise ValueError(f"an EntryID has {_ENTRY_ID_SIZE} octets, not {len(after)}")
        self.block = Reference.read(block).plain
        self._client = client
        self._take = take
        library = client.library
        reference = self.block.encode()
        # Attribute by attribute: not every server lets a block be read as a whole.
        self._rptID = str(self._read("RptID")) or self.block.replace(".", "$")
        data_set = str(self._read("DatSet"))
        if not data_set:
            raise MmsClientError(client.peer, self.block, Cause.ATTRIBUTE_INCONSISTENT, "it has no data set")
        # Not every server says its logical device.
        device = "" if "/" in data_set else self.block.partition("/")[0] + "/"
        self.data_set = device + data_set.replace("$", ".")
        self.members = client.data_set_members(self.data_set)
        if self._read("RptEna") is True:
            message = "it is enabled for another client"
            raise MmsClientError(client.peer, self.block, Cause.TEMPORARILY_UNAVAILABLE, message)
        if needs:
            triggers = _with(needs, _TRIGGER_BITS, self._read("TrgOps"), triggers)
            options = _with(needs, _OPTION_BITS, self._read("OptFlds"), options)
        control = library.ClientReportControlBlock_create(reference)
        try:
            self._callback = REPORT(self._receive)
            with client.held(self.block) as handle:
                if self._rptID in client.report_ids:
                    message = f"a block with its RptID {self._rptID} is enabled on this connection already"
                    raise MmsClientError(client.peer, self.block, Cause.CONSTRAINT_CONFLICT, message)
                client.report_ids.add(self._rptID)
                pointer = ctypes.cast(self._callback, ctypes.c_void_p)
                library.IedConnection_installReportHandler(handle, reference, self._rptID.encode(), pointer, None)
            client.on_close(self._release)
            try:
                if reserve_s is not None:
                    self._reserve(control, reserve_s)
                self.resumed = self._enable(control, after, triggers, options)
                if interrogate:
                    library.ClientReportControlBlock_setGI(control, True)
                    self._set(control, _GI)
            except BaseException:
                self._release()
                raise
        finally:
            library.ClientReportControlBlock_destroy(control)

    def _enable(
        self, control: int, after: bytes | None, triggers: frozenset[str] | None, options: frozenset[str] | None
    ) -> bool:
        library = self._client.library
        if triggers is not None:
            library.ClientReportControlBlock_setTrgOps(control, sum(TRIGGERS[name] for name in triggers))
            self._set(control, _TRG_OPS)
        if options is not None:
            library.ClientReportControlBlock_setOptFlds(control, sum(REPORT_OPTIONS[name] for name in options))
            self._set(control, _OPT_FLDS)
        # Not every server goes back to the first entry by itself where the one that is asked for is gone.
        known = after is None or self._takes_entry(control, after)
        entry = after is not None and (known or self._takes_entry(control, FROM_THE_FIRST))
        library.ClientReportControlBlock_setRptEna(control, True)
        # Again and in one request: some forget the EntryID when the next event comes before they are enabled.
        self._set(control, _ENTRY_ID | _RPT_ENA if entry else _RPT_ENA)
        return known

    def _read(self, name: str) -> Data:
        return self._client.read(f"{self.block.replace('.', '$')}${name}")

    def _reserve(self, control: int, reserve_s: int) -> None:
        self._client.library.ClientReportControlBlock_setResvTms(control, reserve_s)
        try:
            self._set(control, _RESV_TMS)
        except MmsClientError as error:  # it has none, unless it is another's
            if not self._client.connected or error.cause is Cause.TEMPORARILY_UNAVAILABLE:
                raise

    def _takes_entry(self, control: int, after: bytes) -> bool:
        library = self._client.library
        entry = library.MmsValue_newOctetString(_ENTRY_ID_SIZE, _ENTRY_ID_SIZE)
        library.MmsValue_setOctetString(entry, after, _ENTRY_ID_SIZE)
        library.ClientReportControlBlock_setEntryId(control, entry)
        library.MmsValue_delete(entry)
        try:
            self._set(control, _ENTRY_ID)
        except MmsClientError:
            if not self._client.connected:
                raise
            return False
        return True

    def _set(self, control: int, members: int) -> None:
        self._client.call("setRCBValues", self.block, control, members, True)

    def close(self) -> None:
        """Disable the block, so that others may have it.

        Raises:
            MmsClientError: the server did not answer to it.
        """
        self._release()
        self._client.write(self.block.replace(".", "$") + "$RptEna", data=False)

    def _release(self) -> None:
        client = self._client
        client.forget(self._release)
        with client.held(self.block) as handle:
            client.library.IedConnection_uninstallReportHandler(handle, self.block.encode())
            client.report_ids.discard(self._rptID)

    def _receive(self, _: int, report: int) -> None:
        """In the library's thread: what is not copied here is gone afterwards."""
        self._take(_copy(self._client.library, report, self.block, self.members))


def _copy(library: Any, report: int, block: str, members: list[str]) -> Report:
    values: dict[str, Data | Cause] = {}
    reasons: dict[str, str] = {}
    given = library.ClientReport_getDataSetValues(report)
    count = library.MmsValue_getArraySize(given) if given else 0
    for place, member in enumerate(members[:count]):
        reason = library.ClientReport_getReasonForInclusion(report, place)
        if reason:
            values[member] = to_data(library, library.MmsValue_getElement(given, place))
            reasons[member] = _REASONS.get(reason, f"reason {reason}")
    return Report(
        block,
        _text(library.ClientReport_getRptId(report)),
        octet_string(library, library.ClientReport_getEntryId(report)),
        library.ClientReport_getSeqNum(report) if library.ClientReport_hasSeqNum(report) else None,
        library.ClientReport_getTimestamp(report) if library.ClientReport_hasTimestamp(report) else None,
        bool(library.ClientReport_hasBufOvfl(report) and library.ClientReport_getBufOvfl(report)),
        bool(library.ClientReport_hasSubSeqNum(report) and library.ClientReport_getMoreSeqmentsFollow(report)),
        values,
        reasons,
    )


def _with(
    needs: frozenset[str], names: tuple[str, ...], has: Data, given: frozenset[str] | None
) -> frozenset[str] | None:
    """What is to be set of these bits; None if they may stay as they are."""
    bits = f"{has.value:0{has.size}b}" if isinstance(has, BitString) else ""
    wanted = (
        frozenset(name for name, bit in zip(names, bits, strict=False) if name and bit == "1")
        if given is None
        else given
    )
    missing = needs & frozenset(names) - wanted
    return wanted | missing if missing else given


def _text(octets: bytes | None) -> str:
    return (octets or b"").decode("utf-8", "replace")
