"""An MMS client: connect, browse, read, write, data sets. Reports and controls stand in files of their own.

It blocks: every request gives the interpreter's lock away while it waits, and one is in flight at a time. Whoever runs
an event loop calls it from another thread. It needs no agent and knows none: any IEC 61850 server will do.
"""

from __future__ import annotations

import atexit
import ctypes
import re
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ied_agents.goose.errors import GooseEncodeError
from ied_agents.mms.library import FC, load
from ied_agents.mms.tls_front import INNER_HOST
from ied_agents.mms.tls_line import TlsLine
from ied_agents.mms.values import Cause, Shape, strings, to_data, to_mms
from ied_agents.runtime.tls import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ied_agents.iec61850.data import Data

PORT: Final = 102
TLS_PORT: Final = 3782
"""IEC 62351-4: MMS over TLS."""
TIMEOUT_S: Final = 5.0
_CONNECTED: Final = 2
_LONGEST: Final = 61
"""Characters of a reference below its device, so that it fits the library's buffers with its FC: 64 (IEC 61850-8-1)."""
_REFERENCE: Final = re.compile(
    r"(?P<device>\w{1,64})/(?P<node>\w+)(?:\$(?P<mms>[A-Z]{2}))?(?P<path>(?:[.$]\w+(?:\(\d{1,5}\))?)+)"
    r"(?:\[(?P<fc>[A-Z]{2})\])?",
    re.ASCII,
)


class MmsClientError(OSError):
    """A request that failed; the message names the peer, the reference and the cause.

    Attributes:
        cause: as the library or the server gave it.
    """

    def __init__(self, peer: str, about: str, cause: Cause, detail: str = "") -> None:
        super().__init__(f"{peer}: {about}: {detail or cause}")
        self.cause = cause


class Reference(NamedTuple):
    """A data object, an attribute or a part of one.

    Attributes:
        device: logical device with its IED's name.
        path: logical node, data object and what is below, with dots.
        fc: functional constraint; empty where it is not given.
    """

    device: str
    path: str
    fc: str = ""

    @classmethod
    def read(cls, text: str) -> Reference:
        """Read ``F1Q1FLISR/XCBR1.Pos.stVal``, the same with ``[ST]`` behind, or ``F1Q1FLISR/XCBR1$ST$Pos$stVal``.

        Raises:
            ValueError: it is none of them, too long, or its FC is none.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no reference: LD/LN.DO.DA, LD/LN.DO.DA[FC] or LD/LN$FC$DO$DA expected, "
                f"for example F1Q1FLISR/XCBR1.Pos.stVal"
            )
        fc = found["mms"] or found["fc"] or ""
        if fc and fc not in FC:
            raise ValueError(f"{text!r}: there is no functional constraint {fc!r}")
        path = found["node"] + found["path"].replace("$", ".")
        if len(path) > _LONGEST:
            raise ValueError(f"{text!r}: more than {_LONGEST} characters below the logical device")
        return cls(found["device"], path, fc)

    def __str__(self) -> str:
        return f"{self.plain}[{self.fc}]" if self.fc else self.plain

    @property
    def plain(self) -> str:
        """Without its functional constraint."""
        return f"{self.device}/{self.path}"


class MmsClient:
    """A connection to a server; :meth:`close` it, or use it in a ``with`` statement.

    Attributes:
        peer: the server's address and port.
        library: as loaded.
        report_ids: of the report control blocks that are enabled here.
    """

    def __init__(
        self, host: str, port: int = PORT, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        """Connect.

        Args:
            host: name or IPv4 address.
            port: TCP port.
            timeout_s: how long connecting, and every request after it, may take.
            tls: as :func:`ied_agents.runtime.tls.client_context` makes it; None for a connection without.

        Raises:
            MmsClientError: nobody serves there, TLS refuses one of us, or no answer came in time.
            MmsLibraryError: the library is not there.
        """
        self.peer = f"{host}:{port}"
        self.library: Any = load()
        self.report_ids: set[str] = set()
        self._lock = threading.RLock()
        self._closers: list[Callable[[], None]] = []
        self._variables: dict[str, list[str]] = {}
        try:
            address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
        except (socket.gaierror, UnicodeError) as error:
            raise MmsClientError(self.peer, "connect", Cause.INVALID_ADDRESS, f"no such host ({error})") from None
        self._tls = tls
        self._line: TlsLine | None = None
        self._handle: int | None = None
        until = time.monotonic() + timeout_s
        while not self._connect(str(address), port, round(timeout_s * 1000)):
            if time.monotonic() >= until:
                raise MmsClientError(self.peer, "connect", Cause.CONNECTION_LOST)

    def _connect(self, address: str, port: int, timeout_ms: int) -> bool:
        """Try once. A server that answers at once may leave the library in a state of which it does not come out.

        It notes that it waits for the answer after it has asked, and overwrites with it that the answer has come
        (libiec61850 1.6.1). Such a connection calls every request lost, and is dropped here.
        """
        if self._tls is not None:
            try:
                self._line = TlsLine(address, port, self._tls, timeout_ms / 1000)
            except OSError as error:
                tls = "TLS: " if isinstance(error, ssl.SSLError) else ""
                # Where the other end closes in the handshake, asyncio's error has no words.
                silence = (
                    "says nothing" if isinstance(error, TimeoutError) else "ended the handshake: has it TLS there?"
                )
                why = f"{tls}{in_words(error)}" if str(error) else f"TLS: the server {silence}"
                raise MmsClientError(self.peer, "connect", Cause.CONNECTION_REJECTED, why) from None
            address, port = INNER_HOST, self._line.port
        self._handle = self.library.IedConnection_create()
        atexit.register(self.close)  # its thread must not outlive the interpreter
        self.library.IedConnection_setConnectTimeout(self._handle, timeout_ms)
        self.library.IedConnection_setRequestTimeout(self._handle, timeout_ms)
        try:
            self.call("connect", "connect", address.encode(), port)
            self.devices()
        except MmsClientError as error:
            stuck = error.cause is Cause.CONNECTION_LOST and self.connected
            self.close()
            ended = error.cause in (Cause.CONNECTION_REJECTED, Cause.CONNECTION_LOST) and not stuck
            if self._line is not None and ended:
                # Not every server sends the alert that says so: asyncio's does not.
                why = self._line.why or "the server ended the connection; it may not take our certificate"
                raise MmsClientError(self.peer, "connect", error.cause, f"TLS: {why}") from None
            if not stuck:
                raise
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and all that was made with it."""
        with self._lock:
            if self._handle is None:
                return
            for closer in self._closers[::-1]:  # each takes itself off the list
                closer()
            handle, self._handle = self._handle, None
        atexit.unregister(self.close)
        self.library.IedConnection_close(handle)
        self.library.IedConnection_destroy(handle)
        if self._line is not None:
            self._line.close()

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        with self._lock:
            return self._handle is not None and self.library.IedConnection_getState(self._handle) == _CONNECTED

    # -- for reports and controls ---------------------------------------------------------------------------------

    def call(self, service: str, about: str, *arguments: Any) -> Any:
        """One service of the library's connection, ``IedConnection_…``.

        Args:
            service: its name.
            about: what to name in an error.
            arguments: what follows the connection and the error.

        Raises:
            MmsClientError: it failed.
        """
        error = ctypes.c_int()
        with self.held(about) as handle:
            result = getattr(self.library, f"IedConnection_{service}")(handle, ctypes.byref(error), *arguments)
        if error.value:
            raise MmsClientError(self.peer, about, Cause(error.value))
        return result

    @contextmanager
    def held(self, about: str) -> Iterator[int]:
        """The connection's pointer for one use, in which nobody else uses it."""
        with self._lock:
            if self._handle is None:
                raise MmsClientError(self.peer, about, Cause.NOT_CONNECTED, "the client is closed")
            yield self._handle

    def on_close(self, closer: Callable[[], None]) -> None:
        """Have something closed before the connection is."""
        self._closers.append(closer)

    def forget(self, closer: Callable[[], None]) -> None:
        """It is closed already."""
        with suppress(ValueError):
            self._closers.remove(closer)

    # -- browse ---------------------------------------------------------------------------------------------------

    def devices(self) -> list[str]:
        """Names of the logical devices."""
        return strings(self.library, self.call("getServerDirectory", "logical devices", False))

    def variables(self, device: str) -> list[str]:
        """Names of all variables of a logical device, ``XCBR1$ST$Pos$stVal``; asked for once."""
        if device not in self._variables:
            found = self.call("getLogicalDeviceVariables", device, _name(device))
            self._variables[device] = strings(self.library, found)
        return self._variables[device]

    def nodes(self, device: str) -> list[str]:
        """Names of its logical nodes."""
        return list(dict.fromkeys(name.partition("$")[0] for name in self.variables(device)))

    def data_sets(self, device: str) -> list[str]:
        """References of its data sets, ``F1Q1FLISR/LLN0.status``."""
        found = strings(self.library, self.call("getLogicalDeviceDataSets", device, _name(device)))
        return [f"{device}/{name.replace('$', '.')}" for name in found]

    def report_blocks(self, device: str) -> list[str]:
        """References of its report control blocks, ``F1Q1FLISR/LLN0.BR.brcbStatus01``."""
        parts = [name.split("$") for name in self.variables(device)]
        return [f"{device}/{'.'.join(part)}" for part in parts if len(part) == 3 and part[1] in ("BR", "RP")]

    def constraints(self, reference: Reference) -> list[Reference]:
        """The reference with each functional constraint that the server has for it.

        Raises:
            MmsClientError: it has none.
        """
        if reference.fc:
            return [reference]
        node, data_object, *attribute = re.sub(r"\(\d+\)", "", reference.path).split(".")
        below = [data_object, *attribute[:1]]  # not every server lists what is deeper
        variables = set(self.variables(reference.device))
        found = [fc for fc in FC if "$".join([node, fc, *below]) in variables]
        if not found:
            raise MmsClientError(self.peer, str(reference), Cause.NO_SUCH_OBJECT)
        return [reference._replace(fc=fc) for fc in found]

    # -- values ---------------------------------------------------------------------------------------------------

    def read(self, reference: str) -> Data:
        """One value.

        Args:
            reference: as :meth:`Reference.read` takes it; without an FC it must have but one.

        Raises:
            MmsClientError: it has none, or there are several to choose from.
            ValueError: no reference.
        """
        found = self.constraints(Reference.read(reference))
        if len(found) > 1:
            raise MmsClientError(
                self.peer, reference, Cause.INVALID_REFERENCE, f"which of {', '.join(str(one) for one in found)}?"
            )
        return self._read(found[0])

    def _read(self, reference: Reference) -> Data:
        value = self.call("readObject", str(reference), reference.plain.encode(), FC[reference.fc])
        data = to_data(self.library, value)
        if value:
            self.library.MmsValue_delete(value)
        if isinstance(data, Cause):
            raise MmsClientError(self.peer, str(reference), data)
        return data

    def read_leaves(self, reference: str) -> dict[str, Data]:
        """All basic values at or below a reference, under each of its functional constraints, by their references.

        Raises:
            MmsClientError: there is no such object, or it cannot be read.
            ValueError: no reference.
        """
        leaves: dict[str, Data] = {}
        for one in self.constraints(Reference.read(reference)):
            if one.fc == "CO" and not Reference.read(reference).fc:
                continue  # to read SBO selects
            for leaf, data in self.shape(one).leaves(self._read(one), one.plain):
                leaves[f"{leaf}[{one.fc}]"] = data
        return leaves

    def shape(self, reference: Reference) -> Shape:
        """What a variable is made of."""
        made = self.call("getVariableSpecification", str(reference), reference.plain.encode(), FC[reference.fc])
        shape = Shape.of(self.library, made)
        self.library.MmsVariableSpecification_destroy(made)
        return shape

    def write(self, reference: str, data: Data) -> None:
        """Write one value, exactly of its type: ``Unsigned(5)`` for an INT32U, for example.

        Raises:
            MmsClientError: refused.
            ValueError: no reference, or no MMS Data.
        """
        found = self.constraints(Reference.read(reference))
        if len(found) > 1:
            raise MmsClientError(self.peer, reference, Cause.INVALID_REFERENCE, "give its functional constraint too")
        value = self.new_value(str(found[0]), data)
        try:
            self.call("writeObject", str(found[0]), found[0].plain.encode(), FC[found[0].fc], value)
        finally:
            self.library.MmsValue_delete(value)

    def new_value(self, about: str, data: Data) -> int:
        """A value of the library; whoever asks deletes it.

        Raises:
            ValueError: no MMS Data.
        """
        try:
            made = to_mms(self.library, data)
        except GooseEncodeError as error:
            raise ValueError(f"{about}: {error}") from None
        if made is None:
            raise ValueError(f"{about}: {data!r}: the library has no such type")
        return made

    # -- data sets ------------------------------------------------------------------------------------------------

    def data_set_members(self, reference: str) -> list[str]:
        """References of a data set's members with their functional constraints, ``F1Q1FLISR/XCBR1.Pos[ST]``."""
        name = str(Reference.read(reference))
        deletable = ctypes.c_bool()
        return strings(self.library, self.call("getDataSetDirectory", name, name.encode(), ctypes.byref(deletable)))

    def read_data_set(self, reference: str) -> dict[str, Data | Cause]:
        """The members' values, or why one has none, by their references."""
        name = str(Reference.read(reference))
        members = self.data_set_members(reference)
        data_set = self.call("readDataSetValues", name, name.encode(), None)
        values = self.library.ClientDataSet_getValues(data_set)
        count = self.library.MmsValue_getArraySize(values) if values else 0
        read = [
            to_data(self.library, self.library.MmsValue_getElement(values, place))
            for place in range(min(count, len(members)))
        ]
        self.library.ClientDataSet_destroy(data_set)
        if count != len(members):
            raise MmsClientError(self.peer, name, Cause.DATA_SET_MISMATCH, f"{count} values for {len(members)} members")
        return dict(zip(members, read, strict=True))


def _name(device: str) -> bytes:
    if re.fullmatch(r"\w{1,64}", device, re.ASCII) is None:
        raise ValueError(f"{device!r} is no name of a logical device")
    return device.encode()
