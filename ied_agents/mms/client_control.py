"""Controls by an MMS client: select, operate, cancel, and how they ended (IEC 61850-7-2 clause 20)."""

from __future__ import annotations

import ctypes
import threading
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self

from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.data import BitString, Data, Unsigned
from ied_agents.mms.client import MmsClientError, Reference
from ied_agents.mms.library import FC, TERMINATION, MmsType
from ied_agents.mms.values import Cause

if TYPE_CHECKING:
    from types import TracebackType

    from ied_agents.mms.client import MmsClient
    from ied_agents.mms.library import LastApplError

TERMINATION_S: Final = 60.0
"""How long an operation may take; a close that is claimed, promised and reserved first takes up to 30 s."""
_LOOK_S: Final = 0.5
"""How often a wait looks whether the connection still stands."""
STATION: Final = 2
"""Originator category: station control."""
_LONGEST: Final = 54
"""Characters of a path, so that the library's ``LN$CO$DO$Cancel`` has at most 64."""


class ControlModel(IntEnum):
    """``ctlModel``."""

    STATUS_ONLY = 0
    DIRECT_NORMAL = 1
    SBO_NORMAL = 2
    DIRECT_ENHANCED = 3
    SBO_ENHANCED = 4


class ControlRefusedError(MmsClientError):
    """A control that the server refused or that failed; the message says at which step and why.

    Attributes:
        stage: ``select``, ``operate``, ``cancel`` or ``termination``.
        add_cause: the server's reason; None where it gave none.
    """

    def __init__(self, peer: str, about: str, stage: str, cause: Cause, add_cause: AddCause | None) -> None:
        said = str(cause) if add_cause is None else f"{words(add_cause)} (AddCause {add_cause.value})"
        super().__init__(peer, about, cause, f"{stage}: {said}")
        self.stage = stage
        self.add_cause = add_cause


def words(add_cause: AddCause) -> str:
    """An AddCause in words."""
    return add_cause.name.lower().replace("_", " ")


class Control:
    """One controllable data object; :meth:`close` it, or use it in a ``with`` statement.

    Attributes:
        reference: its own.
        model: its control model.
    """

    def __init__(
        self,
        client: MmsClient,
        reference: str,
        *,
        orCat: int = STATION,
        orIdent: str = "flisr",
        test: bool = False,
        checks: bool = True,
    ) -> None:
        """Ask the server for its control model.

        Args:
            client: connected.
            reference: ``F1Q1FLISR/CSWI1.Pos``.
            orCat: originator category.
            orIdent: originator identification.
            test: set the Test flag.
            checks: ask for synchrocheck and interlocking check.

        Raises:
            MmsClientError: there is no such object, or nobody may control it.
            ValueError: no reference.
        """
        found = Reference.read(reference)
        if len(found.path) > _LONGEST:
            raise ValueError(f"{reference!r}: more than {_LONGEST} characters below the logical device")
        self.reference = found.plain
        self._client = client
        model = client.read(f"{self.reference}.ctlModel[CF]")
        models: dict[object, ControlModel] = {
            one.value: one for one in ControlModel if one is not ControlModel.STATUS_ONLY
        }
        if model not in models:
            raise MmsClientError(
                client.peer, self.reference, Cause.ACCESS_UNSUPPORTED, f"ctlModel {model!r}: it cannot be controlled"
            )
        self.model = models[model]
        library = client.library
        name = self.reference.encode()
        shape = client.call("getVariableSpecification", self.reference, name, FC["CO"])
        with client.held(self.reference) as handle:
            made = library.ControlObjectClient_createEx(name, handle, self.model, shape)
        library.MmsVariableSpecification_destroy(shape)
        if not made:
            raise MmsClientError(client.peer, self.reference, Cause.TYPE_INCONSISTENT, "its Oper has no ctlVal or T")
        self._handle: int | None = made
        library.ControlObjectClient_setOrigin(made, orIdent.encode(), orCat)
        library.ControlObjectClient_setTestMode(made, test)
        library.ControlObjectClient_setInterlockCheck(made, checks)
        library.ControlObjectClient_setSynchroCheck(made, checks)
        self._terminated = threading.Event()
        self._end: LastApplError | None = None
        self._callback = TERMINATION(self._terminate)
        pointer = ctypes.cast(self._callback, ctypes.c_void_p)
        library.ControlObjectClient_setCommandTerminationHandler(made, pointer, None)
        client.on_close(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free it. What was selected stays so until the server's time limit."""
        self._client.forget(self.close)
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with self._client.held(self.reference):
                self._client.library.ControlObjectClient_destroy(handle)

    def execute(self, value: bool | float, *, termination_s: float = TERMINATION_S) -> None:
        """Select, if the control model has it, and operate.

        Raises:
            ControlRefusedError: refused or failed. What was selected and not operated is cancelled.
        """
        if self.model in (ControlModel.SBO_NORMAL, ControlModel.SBO_ENHANCED):
            self.select(value)
        self.operate(value, termination_s=termination_s)

    def select(self, value: bool | float) -> None:
        """Select; with enhanced security for this value.

        Raises:
            ControlRefusedError: refused.
        """
        if self.model is ControlModel.SBO_ENHANCED:
            self._step("select", "selectWithValue", value)
        else:
            self._step("select", "select")

    def operate(self, value: bool | float, *, termination_s: float = TERMINATION_S) -> None:
        """Operate; with enhanced security wait for the termination.

        Args:
            value: ctlVal.
            termination_s: how long to wait.

        Raises:
            ControlRefusedError: refused, failed, or not terminated in time; then nobody knows what became of it.
        """
        self.begin(value)
        self.finish(termination_s)

    def begin(self, value: bool | float) -> None:
        """Operate, and return as soon as the server has accepted it; :meth:`finish` says how it ended.

        Raises:
            ControlRefusedError: refused.
        """
        self._terminated.clear()
        self._end = None
        self._step("operate", "operate", value, 0)

    def finish(self, termination_s: float = TERMINATION_S) -> None:
        """Wait for the termination of what was begun; without enhanced security there is none.

        Raises:
            ControlRefusedError: failed, or not terminated in time; then nobody knows what became of it.
        """
        if self.model not in (ControlModel.DIRECT_ENHANCED, ControlModel.SBO_ENHANCED):
            return
        end = self._wait(termination_s)
        if end is not None and (end.error or end.addCause):
            raise ControlRefusedError(self._client.peer, self.reference, "termination", Cause.UNKNOWN, _add_cause(end))

    def _wait(self, termination_s: float) -> LastApplError | None:
        peer, until = self._client.peer, time.monotonic() + termination_s
        while not self._terminated.wait(max(0.0, min(_LOOK_S, until - time.monotonic()))):
            if not self._client.connected:
                raise ControlRefusedError(peer, self.reference, "termination", Cause.CONNECTION_LOST, None)
            if time.monotonic() >= until:
                raise ControlRefusedError(peer, self.reference, "termination", Cause.NO_ANSWER_IN_TIME, None)
        return self._end

    def cancel(self) -> None:
        """Take a selection, or a command that has not ended, back.

        Raises:
            ControlRefusedError: refused.
        """
        self._step("cancel", "cancel")

    def _step(self, stage: str, service: str, value: bool | float | None = None, *more: int) -> None:
        client, library = self._client, self._client.library
        with client.held(f"{self.reference}: {stage}"):
            if self._handle is None:
                raise MmsClientError(client.peer, self.reference, Cause.NOT_CONNECTED, "this control is closed")
            arguments = () if value is None else (self._value(value),)
            done = getattr(library, f"ControlObjectClient_{service}")(self._handle, *arguments, *more)
            if arguments:
                library.MmsValue_delete(arguments[0])
            said = library.ControlObjectClient_getLastApplError(self._handle)
            cause = Cause(library.ControlObjectClient_getLastError(self._handle))
        if not done:
            add_cause = _add_cause(said) if said.error or said.addCause else None
            raise ControlRefusedError(client.peer, self.reference, stage, cause, add_cause)

    def _value(self, value: bool | float) -> int:
        kind = self._client.library.ControlObjectClient_getCtlValType(self._handle)
        data: Data
        match kind:
            case MmsType.BOOLEAN:
                data = bool(value)
            case MmsType.INTEGER:
                data = int(value)
            case MmsType.UNSIGNED:
                data = Unsigned(value)
            case MmsType.BIT_STRING:  # Tcmd: stop, lower, higher
                data = BitString(int(value), 2)
            case MmsType.FLOAT | MmsType.STRUCTURE:  # the library puts it into an AnalogueValue
                data = float(value)
            case _:
                raise ValueError(f"{self.reference}: ctlVal is of MMS type {kind}: none that a number stands for")
        return self._client.new_value(self.reference, data)

    def _terminate(self, _: int, control: int) -> None:
        """In the library's thread."""
        self._end = self._client.library.ControlObjectClient_getLastApplError(control)
        self._terminated.set()


def _add_cause(said: LastApplError) -> AddCause:
    known = set(AddCause)
    return AddCause(said.addCause) if said.addCause in known else AddCause.UNKNOWN
