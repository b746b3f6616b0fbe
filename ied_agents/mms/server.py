"""One IED's MMS server, driven without threads: whoever owns it calls :meth:`MmsServer.process` often.

What a client may do is decided elsewhere: every select and operate is handed to a :class:`Controls`, and its answer
given back with its AddCause.
"""

from __future__ import annotations

import ctypes
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from ied_agents.iec61850.addcause import AddCause
from ied_agents.mms.library import CONTROL, PERFORM_CHECK, CheckResult, ControlResult, MmsType
from ied_agents.mms.model import Model, build, new_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scl.model import SCL

MOST_CLIENTS: Final = 5
"""The wheel's library is built for no more."""
_REPORT_BUFFER: Final = 1 << 20
"""Octets of each buffered report control block."""
_EDITION_2: Final = 1


class MmsServerError(OSError):
    """A server that could not be started; the message names the IED, address and port."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """What a client asks of a controllable data object.

    Attributes:
        reference: of the object, without the IED's name, ``FLISR/CSWI1.Pos``.
        value: ctlVal.
        select: it selects (select before operate); else it operates.
        test: its Test flag.
        orCat: originator category (IEC 61850-7-3).
        orIdent: who it says it is; nobody has proven it.
        peer: the client's address and port.
    """

    reference: str
    value: int
    select: bool
    test: bool
    orCat: int
    orIdent: str
    peer: str


class Controls(Protocol):
    """Who decides about controls."""

    def check(self, request: ControlRequest) -> AddCause:
        """Whether a select or operate is permitted now: NONE, or why not. Called before anything is done."""

    def start(self, request: ControlRequest) -> AddCause:
        """Begin what has been permitted: NONE, or why not."""

    def outcome(self, request: ControlRequest) -> AddCause | None:
        """What became of it: NONE once the field device has confirmed it, a cause if it failed, None if not known yet.

        Asked again until it is known.
        """


class MmsServer:
    """The server of one IED.

    Args:
        library: as loaded.
        scl: describes the IED.
        iedName: its name.
        controls: decides about its controls.

    Attributes:
        model: what clients see.
    """

    def __init__(self, library: Any, scl: SCL, iedName: str, controls: Controls) -> None:
        self._library = library
        self._decides = controls
        self.model: Model = build(library, scl, iedName)
        config = library.IedServerConfig_create()
        library.IedServerConfig_setEdition(config, _EDITION_2)
        library.IedServerConfig_setMaxMmsConnections(config, MOST_CLIENTS)
        library.IedServerConfig_setReportBufferSize(config, _REPORT_BUFFER)
        library.IedServerConfig_enableFileService(config, False)
        library.IedServerConfig_enableDynamicDataSetService(config, False)
        self._server = library.IedServer_createWithConfig(self.model.handle, None, config)
        library.IedServerConfig_destroy(config)
        library.IedServer_setServerIdentity(self._server, b"flisr", b"agent", b"")
        self._running: set[str] = set()
        # The library keeps pointers to these.
        self._callbacks: list[Any] = []
        for reference, node in self.model.controls.items():
            self._set_handlers(reference, node)

    def start(self, address: str, port: int) -> None:
        """Listen.

        Raises:
            MmsServerError: nobody may listen there.
        """
        self._library.IedServer_setLocalIpAddress(self._server, address.encode())
        self._library.IedServer_startThreadless(self._server, port)
        if not self._library.IedServer_isRunning(self._server):
            raise MmsServerError(f"{self.model.iedName}: cannot listen on {address} port {port}; is it taken?")

    def process(self) -> int:
        """Answer what clients have sent, and do what is due. Returns how many are connected."""
        self._library.IedServer_processIncomingData(self._server)
        self._library.IedServer_performPeriodicTasks(self._server)
        return int(self._library.IedServer_getNumberOfOpenConnections(self._server))

    def update(self, values: Mapping[str, bool | float | str | bytes]) -> None:
        """Change values; members of one data set that change together go into one report entry.

        Args:
            values: by reference without the IED's name, as ``model.new_value`` takes them; times first, for the
                change of a value is what makes a report.

        Raises:
            KeyError: the model has no such attribute.
        """
        with self._locked():
            for reference, value in values.items():
                attribute = self.model.attributes[reference]
                made = new_value(self._library, attribute, value)
                if made is not None:
                    self._library.IedServer_updateAttributeValue(self._server, attribute.node, made)
                    self._library.MmsValue_delete(made)

    def close(self) -> None:
        """Stop listening, drop all clients and free everything."""
        self._library.IedServer_stopThreadless(self._server)
        self._library.IedServer_destroy(self._server)
        self._library.IedModel_destroy(self.model.handle)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._library.IedServer_lockDataModel(self._server)
        try:
            yield
        finally:
            self._library.IedServer_unlockDataModel(self._server)

    # -- controls: a callback never raises ------------------------------------------------------------------------

    def _set_handlers(self, reference: str, node: int) -> None:
        def check(action: int, _: int, value: int, test: bool, __: bool) -> int:
            try:
                request = self._request(reference, action, value, test=test)
                refusal = self._decides.check(request)
                if refusal is AddCause.NONE and not request.select:
                    self._running.discard(reference)  # whatever became of the one before
            except Exception:  # noqa: BLE001 - it would be lost in the library
                traceback.print_exc(file=sys.stderr)
                refusal = AddCause.UNKNOWN
            if refusal is AddCause.NONE:
                return CheckResult.ACCEPTED
            self._library.ControlAction_setAddCause(action, refusal)
            return CheckResult.OBJECT_ACCESS_DENIED

        def operate(action: int, _: int, value: int, test: bool) -> int:
            try:
                ended = self._operate(self._request(reference, action, value, test=test))
            except Exception:  # noqa: BLE001 - it would be lost in the library
                traceback.print_exc(file=sys.stderr)
                ended = AddCause.UNKNOWN
            if ended is None:
                return ControlResult.WAITING
            self._running.discard(reference)
            if ended is AddCause.NONE:
                return ControlResult.OK
            self._library.ControlAction_setAddCause(action, ended)
            return ControlResult.FAILED

        callbacks = PERFORM_CHECK(check), CONTROL(operate)
        self._callbacks += callbacks
        pointers = [ctypes.cast(callback, ctypes.c_void_p) for callback in callbacks]
        self._library.IedServer_setPerformCheckHandler(self._server, node, pointers[0], None)
        self._library.IedServer_setControlHandler(self._server, node, pointers[1], None)

    def _operate(self, request: ControlRequest) -> AddCause | None:
        """The library asks again and again until it is not told to wait."""
        if request.reference not in self._running:
            self._running.add(request.reference)
            refusal = self._decides.start(request)
            if refusal is not AddCause.NONE:
                return refusal
        return self._decides.outcome(request)

    def _request(self, reference: str, action: int, value: int, *, test: bool) -> ControlRequest:
        library = self._library
        client = library.ControlAction_getClientConnection(action)
        peer = library.ClientConnection_getPeerAddress(client) if client else b""
        length = ctypes.c_int(0)
        identity = library.ControlAction_getOrIdent(action, ctypes.byref(length))
        return ControlRequest(
            reference,
            _number(library, value),
            bool(library.ControlAction_isSelect(action)),
            bool(test),
            library.ControlAction_getOrCat(action),
            ctypes.string_at(identity, length.value).decode("utf-8", "replace") if identity else "",
            (peer or b"").decode("ascii", "replace"),
        )


def _number(library: Any, value: int | None) -> int:
    """The ``ctlVal`` as a number; 0 where there is none: a select with normal security has no value."""
    if not value:
        return 0
    if library.MmsValue_getType(value) == MmsType.BOOLEAN:
        return int(library.MmsValue_getBoolean(value))
    return int(library.MmsValue_toInt64(value))
