"""libiec61850 through ctypes: where it is, which version, and the signatures of what is used of it.

The library comes with the wheel ``pyiec61850-ng`` (extra ``mms``); its SWIG layer is not used: it holds the
interpreter's lock in blocking calls. ``CDLL`` gives the lock back on every call. Nothing in the library guards a NULL:
whoever calls looks at errors and pointers first.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

VERSION: Final = "1.6.1"
"""The only version whose behaviour is known here."""
PATH_VARIABLE: Final = "FLISR_LIBIEC61850"
"""Environment variable with the path of another copy of that version."""
_WHEEL: Final = "pyiec61850-ng"

Pointer = ctypes.c_void_p

_TYPES: Final[dict[str, Any]] = {
    "-": None,
    "ptr": Pointer,
    "str": ctypes.c_char_p,
    "bool": ctypes.c_bool,
    "int": ctypes.c_int,
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "f32": ctypes.c_float,
}
# Result and arguments of every function that is called, as the headers of 1.6.1 declare them.
_SIGNATURES: Final = """
LibIEC61850_getVersionString str
IedModel_create ptr str
IedModel_destroy - ptr
LogicalDevice_createEx ptr str ptr str
LogicalNode_create ptr str ptr
DataObject_create ptr str ptr int
DataAttribute_create ptr str ptr int int u8 int u32
DataAttribute_setValue - ptr ptr
ModelNode_getChild ptr ptr str
ModelNode_getChildWithIdx ptr ptr int
DataSet_create ptr str ptr
DataSetEntry_create ptr ptr str int str
ReportControlBlock_create ptr str ptr str bool str u32 u8 u8 u32 u32
IedServerConfig_create ptr
IedServerConfig_destroy - ptr
IedServerConfig_setEdition - ptr u8
IedServerConfig_setMaxMmsConnections - ptr int
IedServerConfig_setReportBufferSize - ptr int
IedServerConfig_enableFileService - ptr bool
IedServerConfig_enableDynamicDataSetService - ptr bool
IedServer_createWithConfig ptr ptr ptr ptr
IedServer_destroy - ptr
IedServer_setLocalIpAddress - ptr str
IedServer_setServerIdentity - ptr str str str
IedServer_startThreadless - ptr int
IedServer_stopThreadless - ptr
IedServer_isRunning bool ptr
IedServer_processIncomingData - ptr
IedServer_performPeriodicTasks - ptr
IedServer_getNumberOfOpenConnections int ptr
IedServer_lockDataModel - ptr
IedServer_unlockDataModel - ptr
IedServer_updateAttributeValue - ptr ptr ptr
IedServer_setPerformCheckHandler - ptr ptr ptr ptr
IedServer_setControlHandler - ptr ptr ptr ptr
ControlAction_setAddCause - ptr int
ControlAction_isSelect bool ptr
ControlAction_getOrCat int ptr
ControlAction_getOrIdent ptr ptr ptr
ControlAction_getClientConnection ptr ptr
ClientConnection_getPeerAddress str ptr
MmsValue_newBoolean ptr bool
MmsValue_newIntegerFromInt64 ptr i64
MmsValue_newUnsignedFromUint32 ptr u32
MmsValue_newFloat ptr f32
MmsValue_newVisibleString ptr str
MmsValue_newMmsString ptr str
MmsValue_newBitString ptr int
MmsValue_setBitStringFromIntegerBigEndian - ptr u32
MmsValue_newUtcTimeByMsTime ptr u64
MmsValue_setUtcTimeByBuffer - ptr str
MmsValue_getBoolean bool ptr
MmsValue_toInt64 i64 ptr
MmsValue_getType int ptr
MmsValue_delete - ptr
"""

PERFORM_CHECK: Final = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer, Pointer, ctypes.c_bool, ctypes.c_bool)
"""``ControlPerformCheckHandler``: action, parameter, value, test, interlock check."""
CONTROL: Final = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer, Pointer, ctypes.c_bool)
"""``ControlHandler``: action, parameter, value, test."""


class CheckResult(IntEnum):
    """``CheckHandlerResult``."""

    ACCEPTED = -1
    HARDWARE_FAULT = 1
    TEMPORARILY_UNAVAILABLE = 2
    OBJECT_ACCESS_DENIED = 3


class ControlResult(IntEnum):
    """``ControlHandlerResult``."""

    FAILED = 0
    OK = 1
    WAITING = 2


class MmsLibraryError(RuntimeError):
    """The library is not there, or is another one than is known here; the message says what to do."""


@cache
def load() -> Any:
    """The library, with all signatures declared.

    Raises:
        MmsLibraryError: it is not installed, cannot be loaded, or has another version.
    """
    path = _path()
    try:
        library: Any = ctypes.CDLL(str(path))
    except OSError as error:
        raise MmsLibraryError(f"{path}: {error}") from None
    for line in _SIGNATURES.split("\n"):
        if not line:
            continue
        name, result, *arguments = line.split()
        try:
            function = getattr(library, name)
        except AttributeError:
            raise MmsLibraryError(f"{path}: has no {name}: libiec61850 {VERSION} expected") from None
        function.restype = _TYPES[result]
        function.argtypes = [_TYPES[argument] for argument in arguments]
    version = library.LibIEC61850_getVersionString().decode("ascii", "replace")
    if version != VERSION:
        raise MmsLibraryError(f"{path}: version {version}; {VERSION} expected")
    return library


def _path() -> Path:
    given = os.environ.get(PATH_VARIABLE)
    if given:
        return Path(given)
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise MmsLibraryError(
            f"MMS needs libiec61850, which is GPL-3.0 and not part of the base install: pip install 'flisr[mms]', "
            f"or name a copy of version {VERSION} in {PATH_VARIABLE}"
        ) from None
    found = [file for file in files if file.name.startswith("libiec61850") and ".so" in file.name]
    if not found:
        raise MmsLibraryError(f"{_WHEEL} is installed, but has no libiec61850 in it for this machine")
    return Path(str(found[0].locate()))
