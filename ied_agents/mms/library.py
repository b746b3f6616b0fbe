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


class LastApplError(ctypes.Structure):
    """``LastApplError``: why the server refused or ended a control."""

    _fields_ = (("ctlNum", ctypes.c_int), ("error", ctypes.c_int), ("addCause", ctypes.c_int))


_TYPES: Final[dict[str, Any]] = {
    "-": None,
    "ptr": Pointer,
    "str": ctypes.c_char_p,
    "bool": ctypes.c_bool,
    "int": ctypes.c_int,
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "i16": ctypes.c_int16,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "f32": ctypes.c_float,
    "lae": LastApplError,
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
ClientConnection_abort bool ptr
IedServer_setConnectionIndicationHandler - ptr ptr ptr
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
MmsValue_getArraySize int ptr
MmsValue_getElement ptr ptr int
MmsValue_getDataAccessError int ptr
MmsValue_getOctetStringBuffer ptr ptr
MmsValue_getOctetStringSize u16 ptr
MmsValue_newOctetString ptr int int
MmsValue_setOctetString - ptr str int
MmsValue_encodeMmsData int ptr ptr int bool
MmsValue_decodeMmsData ptr ptr int int ptr
MmsVariableSpecification_destroy - ptr
MmsVariableSpecification_getType int ptr
MmsVariableSpecification_getName str ptr
MmsVariableSpecification_getSize int ptr
MmsVariableSpecification_getChildSpecificationByIndex ptr ptr int
MmsVariableSpecification_getArrayElementSpecification ptr ptr
LinkedList_getNext ptr ptr
LinkedList_getData ptr ptr
LinkedList_destroy - ptr
IedConnection_create ptr
IedConnection_setConnectTimeout - ptr u32
IedConnection_setRequestTimeout - ptr u32
IedConnection_connect - ptr ptr str int
IedConnection_getState int ptr
IedConnection_close - ptr
IedConnection_destroy - ptr
IedConnection_getServerDirectory ptr ptr ptr bool
IedConnection_getLogicalDeviceVariables ptr ptr ptr str
IedConnection_getLogicalDeviceDataSets ptr ptr ptr str
IedConnection_getVariableSpecification ptr ptr ptr str int
IedConnection_readObject ptr ptr ptr str int
IedConnection_writeObject - ptr ptr str int ptr
IedConnection_getDataSetDirectory ptr ptr ptr str ptr
IedConnection_readDataSetValues ptr ptr ptr str ptr
ClientDataSet_getValues ptr ptr
ClientDataSet_destroy - ptr
IedConnection_getRCBValues ptr ptr ptr str ptr
IedConnection_setRCBValues - ptr ptr ptr u32 bool
IedConnection_installReportHandler - ptr str str ptr ptr
IedConnection_uninstallReportHandler - ptr str
ClientReportControlBlock_create ptr str
ClientReportControlBlock_destroy - ptr
ClientReportControlBlock_getRptEna bool ptr
ClientReportControlBlock_setRptEna - ptr bool
ClientReportControlBlock_setGI - ptr bool
ClientReportControlBlock_setEntryId - ptr ptr
ClientReportControlBlock_setTrgOps - ptr int
ClientReportControlBlock_setOptFlds - ptr int
ClientReportControlBlock_setResvTms - ptr i16
ClientReport_getRptId str ptr
ClientReport_hasSeqNum bool ptr
ClientReport_getSeqNum u16 ptr
ClientReport_hasSubSeqNum bool ptr
ClientReport_getMoreSeqmentsFollow bool ptr
ClientReport_hasTimestamp bool ptr
ClientReport_getTimestamp u64 ptr
ClientReport_hasBufOvfl bool ptr
ClientReport_getBufOvfl bool ptr
ClientReport_hasReasonForInclusion bool ptr
ClientReport_getReasonForInclusion int ptr int
ClientReport_getEntryId ptr ptr
ClientReport_getDataSetValues ptr ptr
ControlObjectClient_createEx ptr str ptr int ptr
ControlObjectClient_destroy - ptr
ControlObjectClient_getCtlValType int ptr
ControlObjectClient_setOrigin - ptr str int
ControlObjectClient_setTestMode - ptr bool
ControlObjectClient_setInterlockCheck - ptr bool
ControlObjectClient_setSynchroCheck - ptr bool
ControlObjectClient_select bool ptr
ControlObjectClient_selectWithValue bool ptr ptr
ControlObjectClient_operate bool ptr ptr u64
ControlObjectClient_cancel bool ptr
ControlObjectClient_getLastError int ptr
ControlObjectClient_getLastApplError lae ptr
ControlObjectClient_setCommandTerminationHandler - ptr ptr ptr
"""

PERFORM_CHECK: Final = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer, Pointer, ctypes.c_bool, ctypes.c_bool)
"""``ControlPerformCheckHandler``: action, parameter, value, test, interlock check."""
CONTROL: Final = ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer, Pointer, ctypes.c_bool)
"""``ControlHandler``: action, parameter, value, test."""
CONNECTION: Final = ctypes.CFUNCTYPE(None, Pointer, Pointer, ctypes.c_bool, Pointer)
"""``IedConnectionIndicationHandler``: server, connection, connected, parameter."""
REPORT: Final = ctypes.CFUNCTYPE(None, Pointer, Pointer)
"""``ReportCallbackFunction``: parameter, report."""
TERMINATION: Final = ctypes.CFUNCTYPE(None, Pointer, Pointer)
"""``CommandTerminationHandler``: parameter, control object."""
_FCS: Final = "ST MX SP SV CF DC SG SE SR OR BL EX CO US MS RP BR LG GO"
FC: Final = {name: number for number, name in enumerate(_FCS.split())}
"""``FunctionalConstraint``; data of a model has those up to MS, the others are services."""


REPORT_OPTIONS: Final = {
    "seqNum": 1,
    "timeStamp": 2,
    "reasonCode": 4,
    "dataSet": 8,
    "dataRef": 16,
    "bufOvfl": 32,
    "entryID": 64,
    "configRef": 128,
}
"""``RPT_OPT_…``."""


class MmsType(IntEnum):
    """``MmsType``, as far as a kind is asked for."""

    ARRAY = 0
    STRUCTURE = 1
    BOOLEAN = 2
    BIT_STRING = 3
    INTEGER = 4
    UNSIGNED = 5
    FLOAT = 6
    DATA_ACCESS_ERROR = 15


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
