"""A GOOSE station made of libiec61850, for tests: a process of its own, since the library is native code.

``python libiec61850_goose.py receive INTERFACE GOCBREF APPID`` prints one JSON line for each message.
``python libiec61850_goose.py publish INTERFACE`` sends what it is told by JSON lines on standard input.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

P, N, U, B, S = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_bool, ctypes.c_char_p
H, D, L = ctypes.c_uint16, ctypes.c_uint64, ctypes.c_int64
SIGNATURES = {
    "GooseReceiver_create": (P,),
    "GooseReceiver_setInterfaceId": (None, P, S),
    "GooseReceiver_addSubscriber": (None, P, P),
    "GooseReceiver_startThreadless": (P, P),
    "GooseReceiver_tick": (B, P),
    "GooseSubscriber_create": (P, S, P),
    "GooseSubscriber_setAppId": (None, P, H),
    "GooseSubscriber_setListener": (None, P, P, P),
    "GooseSubscriber_isValid": (B, P),
    "GooseSubscriber_getParseError": (N, P),
    "GooseSubscriber_getStNum": (U, P),
    "GooseSubscriber_getSqNum": (U, P),
    "GooseSubscriber_isTest": (B, P),
    "GooseSubscriber_getConfRev": (U, P),
    "GooseSubscriber_needsCommission": (B, P),
    "GooseSubscriber_getTimeAllowedToLive": (U, P),
    "GooseSubscriber_getTimestamp": (D, P),
    "GooseSubscriber_getGoId": (S, P),
    "GooseSubscriber_getGoCbRef": (S, P),
    "GooseSubscriber_getDataSet": (S, P),
    "GooseSubscriber_getDataSetValues": (P, P),
    "GooseSubscriber_isVlanSet": (B, P),
    "GooseSubscriber_getVlanId": (H, P),
    "GooseSubscriber_getVlanPrio": (ctypes.c_uint8, P),
    "GoosePublisher_createEx": (P, P, S, B),
    "GoosePublisher_publish": (N, P, P),
    "GoosePublisher_increaseStNum": (D, P),
    "GoosePublisher_setStNum": (None, P, U),
    "GoosePublisher_setSqNum": (None, P, U),
    "GoosePublisher_setGoID": (None, P, S),
    "GoosePublisher_setGoCbRef": (None, P, S),
    "GoosePublisher_setDataSetRef": (None, P, S),
    "GoosePublisher_setConfRev": (None, P, U),
    "GoosePublisher_setNeedsCommission": (None, P, B),
    "GoosePublisher_setSimulation": (None, P, B),
    "GoosePublisher_setTimeAllowedToLive": (None, P, U),
    "LinkedList_create": (P,),
    "LinkedList_add": (None, P, P),
    "MmsValue_getType": (N, P),
    "MmsValue_getArraySize": (U, P),
    "MmsValue_getElement": (P, P, N),
    "MmsValue_setElement": (None, P, N, P),
    "MmsValue_getBoolean": (B, P),
    "MmsValue_getBitStringSize": (N, P),
    "MmsValue_getBitStringBit": (B, P, N),
    "MmsValue_setBitStringBit": (None, P, N, B),
    "MmsValue_toInt64": (L, P),
    "MmsValue_toUint32": (U, P),
    "MmsValue_toFloat": (ctypes.c_float, P),
    "MmsValue_toDouble": (ctypes.c_double, P),
    "MmsValue_getOctetStringSize": (H, P),
    "MmsValue_getOctetStringOctet": (ctypes.c_uint8, P, N),
    "MmsValue_setOctetString": (None, P, S, N),
    "MmsValue_toString": (S, P),
    "MmsValue_getUtcTimeBuffer": (P, P),
    "MmsValue_setUtcTimeByBuffer": (None, P, S),
    "MmsValue_getBinaryTimeAsUtcMs": (D, P),
    "MmsValue_newBoolean": (P, B),
    "MmsValue_newIntegerFromInt64": (P, L),
    "MmsValue_newUnsignedFromUint32": (P, U),
    "MmsValue_newFloat": (P, ctypes.c_float),
    "MmsValue_newDouble": (P, ctypes.c_double),
    "MmsValue_newBitString": (P, N),
    "MmsValue_newOctetString": (P, N, N),
    "MmsValue_newVisibleString": (P, S),
    "MmsValue_newMmsString": (P, S),
    "MmsValue_newUtcTimeByMsTime": (P, D),
    "MmsValue_createEmptyStructure": (P, N),
    "MmsValue_createEmptyArray": (P, N),
}
TYPES = [
    *("array", "structure", "boolean", "bit string", "integer", "unsigned", "float", "octet string"),
    *(
        "visible string",
        "generalized time",
        "binary time",
        "bcd",
        "object id",
        "mms string",
        "utc time",
        "error",
    ),
]


class CommParameters(ctypes.Structure):
    _fields_ = [("priority", ctypes.c_uint8), ("vlan_id", H), ("appid", H), ("dst", ctypes.c_uint8 * 6)]


def load():
    packages = Path(importlib.util.find_spec("pyiec61850").origin).parent.parent
    (path,) = packages.glob("pyiec61850_ng.libs/libiec61850*.so*")
    library = ctypes.CDLL(path)
    for name, (result, *arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = load()


def read_value(value):
    """[type, content] of an MmsValue."""
    kind = TYPES[lib.MmsValue_getType(value)]
    match kind:
        case "array" | "structure":
            count = lib.MmsValue_getArraySize(value)
            content = [read_value(lib.MmsValue_getElement(value, index)) for index in range(count)]
        case "boolean":
            content = lib.MmsValue_getBoolean(value)
        case "bit string":
            size = lib.MmsValue_getBitStringSize(value)
            content = "".join(str(int(lib.MmsValue_getBitStringBit(value, bit))) for bit in range(size))
        case "integer":
            content = lib.MmsValue_toInt64(value)
        case "unsigned":
            content = lib.MmsValue_toUint32(value)
        case "float":
            content = lib.MmsValue_toDouble(value)
        case "octet string":
            size = lib.MmsValue_getOctetStringSize(value)
            content = bytes(lib.MmsValue_getOctetStringOctet(value, index) for index in range(size)).hex()
        case "visible string" | "mms string":
            content = lib.MmsValue_toString(value).decode()
        case "utc time":
            content = ctypes.string_at(lib.MmsValue_getUtcTimeBuffer(value), 8).hex()
        case "binary time":
            content = lib.MmsValue_getBinaryTimeAsUtcMs(value)
        case _:
            content = None
    return [kind, content]


def make_value(kind, content):
    match kind:
        case "array" | "structure":
            create = lib.MmsValue_createEmptyArray if kind == "array" else lib.MmsValue_createEmptyStructure
            value = create(len(content))
            for index, member in enumerate(content):
                lib.MmsValue_setElement(value, index, make_value(*member))
        case "boolean":
            value = lib.MmsValue_newBoolean(content)
        case "bit string":
            value = lib.MmsValue_newBitString(len(content))
            for index, bit in enumerate(content):
                lib.MmsValue_setBitStringBit(value, index, bit == "1")
        case "integer":
            value = lib.MmsValue_newIntegerFromInt64(content)
        case "unsigned":
            value = lib.MmsValue_newUnsignedFromUint32(content)
        case "float":
            value = lib.MmsValue_newFloat(content)
        case "double":
            value = lib.MmsValue_newDouble(content)
        case "octet string":
            octets = bytes.fromhex(content)
            value = lib.MmsValue_newOctetString(len(octets), len(octets))
            lib.MmsValue_setOctetString(value, octets, len(octets))
        case "visible string":
            value = lib.MmsValue_newVisibleString(content.encode())
        case "mms string":
            value = lib.MmsValue_newMmsString(content.encode())
        case "utc time":
            value = lib.MmsValue_newUtcTimeByMsTime(0)
            lib.MmsValue_setUtcTimeByBuffer(value, bytes.fromhex(content))
    return value


def receive(interface, reference, appid):
    def listener(subscriber, _):
        values = lib.GooseSubscriber_getDataSetValues(subscriber)
        message = {
            "valid": lib.GooseSubscriber_isValid(subscriber),
            "error": lib.GooseSubscriber_getParseError(subscriber),
            "gocbRef": lib.GooseSubscriber_getGoCbRef(subscriber).decode(),
            "timeAllowedtoLive": lib.GooseSubscriber_getTimeAllowedToLive(subscriber),
            "datSet": lib.GooseSubscriber_getDataSet(subscriber).decode(),
            "goID": lib.GooseSubscriber_getGoId(subscriber).decode(),
            "t_ms": lib.GooseSubscriber_getTimestamp(subscriber),
            "stNum": lib.GooseSubscriber_getStNum(subscriber),
            "sqNum": lib.GooseSubscriber_getSqNum(subscriber),
            "simulation": lib.GooseSubscriber_isTest(subscriber),
            "confRev": lib.GooseSubscriber_getConfRev(subscriber),
            "ndsCom": lib.GooseSubscriber_needsCommission(subscriber),
            "vlan": [lib.GooseSubscriber_getVlanId(subscriber), lib.GooseSubscriber_getVlanPrio(subscriber)]
            if lib.GooseSubscriber_isVlanSet(subscriber)
            else None,
            "allData": read_value(values)[1] if values else None,
        }
        print(json.dumps(message), flush=True)

    callback = ctypes.CFUNCTYPE(None, P, P)(listener)
    receiver = lib.GooseReceiver_create()
    subscriber = lib.GooseSubscriber_create(reference.encode(), None)
    lib.GooseSubscriber_setAppId(subscriber, int(appid))
    lib.GooseSubscriber_setListener(subscriber, callback, None)
    lib.GooseReceiver_addSubscriber(receiver, subscriber)
    lib.GooseReceiver_setInterfaceId(receiver, interface.encode())
    if not lib.GooseReceiver_startThreadless(receiver):
        raise SystemExit("libiec61850 opened no socket")
    lib.GooseReceiver_tick(receiver)  # the first one binds the socket
    print(json.dumps("ready"), flush=True)
    while True:
        lib.GooseReceiver_tick(receiver)


def publish(interface):
    publishers = {}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        reference = order["gocbRef"]
        if reference not in publishers:
            dst = (ctypes.c_uint8 * 6)(*bytes.fromhex(order["dst"]))
            vlan = order["vlan"]
            parameters = CommParameters(vlan[1] if vlan else 0, vlan[0] if vlan else 0, order["appid"], dst)
            publisher = lib.GoosePublisher_createEx(ctypes.byref(parameters), interface.encode(), bool(vlan))
            if not publisher:
                raise SystemExit("libiec61850 opened no socket")
            lib.GoosePublisher_setGoCbRef(publisher, reference.encode())
            lib.GoosePublisher_setDataSetRef(publisher, order["datSet"].encode())
            if order["goID"] is not None:
                lib.GoosePublisher_setGoID(publisher, order["goID"].encode())
            lib.GoosePublisher_setConfRev(publisher, order["confRev"])
            lib.GoosePublisher_setNeedsCommission(publisher, order["ndsCom"])
            lib.GoosePublisher_setSimulation(publisher, order["simulation"])
            lib.GoosePublisher_setTimeAllowedToLive(publisher, order["timeAllowedtoLive"])
            publishers[reference] = publisher
        publisher = publishers[reference]
        if order["new_state"]:
            lib.GoosePublisher_increaseStNum(publisher)
        values = lib.LinkedList_create()
        for member in order["allData"]:
            lib.LinkedList_add(values, make_value(*member))
        if lib.GoosePublisher_publish(publisher, values):
            raise SystemExit("libiec61850 did not send")
        print(json.dumps("sent"), flush=True)


if __name__ == "__main__":
    {"receive": receive, "publish": publish}[sys.argv[1]](*sys.argv[2:])
