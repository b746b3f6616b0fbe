"""c104 (GPL-3.0, and able to end its process) in a process of its own; asked by lines of JSON, answers each with one.

``server``: one point of each type; ``client PORT``: the same points as a master has them.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

if __name__ == "__main__":  # whoever only wants the addresses does not load it
    import c104

TICK_MS = 50
CA = 1
MONITORED = {
    1: "M_SP_NA_1", 2: "M_DP_NA_1", 3: "M_ST_NA_1", 4: "M_BO_NA_1", 5: "M_ME_NA_1", 6: "M_ME_NB_1", 7: "M_ME_NC_1",
    8: "M_IT_NA_1", 9: "M_ME_ND_1",
    11: "M_SP_TB_1", 12: "M_DP_TB_1", 13: "M_ST_TB_1", 14: "M_BO_TB_1", 15: "M_ME_TD_1", 16: "M_ME_TE_1",
    17: "M_ME_TF_1", 18: "M_IT_TB_1",
}  # fmt: skip
COMMANDS = {
    101: "C_SC_NA_1", 102: "C_DC_NA_1", 103: "C_RC_NA_1", 104: "C_SE_NA_1", 105: "C_SE_NB_1", 106: "C_SE_NC_1",
    107: "C_BO_NA_1",
    111: "C_SC_TA_1", 112: "C_DC_TA_1", 113: "C_RC_TA_1", 114: "C_SE_TA_1", 115: "C_SE_TB_1", 116: "C_SE_TC_1",
    117: "C_BO_TA_1",
}  # fmt: skip
SELECTED = 120
REFUSED = 121


def plain(value):
    """c104's values as JSON has them."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, c104.Byte32):
        return int(str(value), 2)
    for kind in (int, float):
        try:
            number = kind(value)
        except (TypeError, ValueError):
            continue
        return float(value) if isinstance(value, c104.NormalizedFloat) else number
    return str(value)


def valued(kind, value):
    """A plain value as c104 has it for a type."""
    if "_DP_" in kind or "_DC_" in kind:
        return c104.Double(value) if isinstance(value, int) else value
    if "_ST_" in kind:
        return c104.Int7(value)
    if "_RC_" in kind:
        return c104.Step(value)
    if "_BO_" in kind:
        return c104.Byte32(value)
    if kind.rpartition("_")[0].endswith(("ME_NA", "ME_TD", "ME_ND", "SE_NA", "SE_TA")):
        return c104.NormalizedFloat(value)
    if kind.rpartition("_")[0].endswith(("ME_NB", "ME_TE", "SE_NB", "SE_TB")):
        return c104.Int16(value)
    return value


class Heard:
    """What came, from c104's threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._messages = []

    def add(self, **message):
        with self._lock:
            self._messages.append(message)

    def taken(self):
        with self._lock:
            messages, self._messages = self._messages, []
        return messages


heard = Heard()


def listen(point, answer):
    def on_receive(point, previous_info, message):
        del previous_info
        info = message.info
        heard.add(
            ioa=point.io_address,
            type=message.type.name,
            cause=message.cot.name,
            value=plain(info.value),
            quality=str(info.quality),
            at=None if info.recorded_at is None else info.recorded_at.timestamp(),
            test=message.is_test,
            select=message.is_select_command,
        )
        return answer

    on_receive.__annotations__ = {
        "point": c104.Point,
        "previous_info": c104.Information,
        "message": c104.IncomingMessage,
        "return": c104.ResponseState,
    }
    point.on_receive(callable=on_receive)


def serve():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = c104.Server(ip="127.0.0.1", port=port, tick_rate_ms=TICK_MS)
    station = server.add_station(common_address=CA)
    points = {ioa: station.add_point(io_address=ioa, type=getattr(c104.Type, kind)) for ioa, kind in MONITORED.items()}
    for ioa, kind in COMMANDS.items():
        listen(station.add_point(io_address=ioa, type=getattr(c104.Type, kind)), c104.ResponseState.SUCCESS)
    modes = {SELECTED: c104.CommandMode.SELECT_AND_EXECUTE, REFUSED: c104.CommandMode.DIRECT}
    for ioa, mode in modes.items():
        point = station.add_point(io_address=ioa, type=c104.Type.C_DC_NA_1, command_mode=mode)
        listen(point, c104.ResponseState.FAILURE if ioa == REFUSED else c104.ResponseState.SUCCESS)
    server.start()
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "set" in asked:
            point = points[asked["set"]]
            point.value = valued(MONITORED[asked["set"]], asked["value"])
            said = {"sent": point.transmit(cause=c104.Cot.SPONTANEOUS)}
        else:
            said = {"heard": heard.taken()}
        print(json.dumps(said), flush=True)
    server.stop()


def ask(port):
    client = c104.Client(tick_rate_ms=TICK_MS, command_timeout_ms=5000)
    connection = client.add_connection(ip="127.0.0.1", port=port, init=c104.Init.NONE)
    station = connection.add_station(common_address=CA)
    points = {}
    for ioa, kind in (MONITORED | COMMANDS | {SELECTED: "C_DC_NA_1", REFUSED: "C_DC_NA_1"}).items():
        points[ioa] = station.add_point(io_address=ioa, type=getattr(c104.Type, kind))
        if ioa in MONITORED:
            listen(points[ioa], c104.ResponseState.SUCCESS)
    points[SELECTED].command_mode = c104.CommandMode.SELECT_AND_EXECUTE
    client.start()
    deadline = time.monotonic() + 30
    while connection.state != c104.ConnectionState.OPEN and time.monotonic() < deadline:
        if connection.state == c104.ConnectionState.OPEN_MUTED:
            connection.unmute()
        time.sleep(0.02)
    print(json.dumps({"open": connection.state == c104.ConnectionState.OPEN}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        match asked:
            case {"command": ioa, "value": value}:
                kind = {SELECTED: "C_DC_NA_1", REFUSED: "C_DC_NA_1"}.get(ioa) or COMMANDS[ioa]
                points[ioa].value = valued(kind, value)
                done = points[ioa].transmit(cause=c104.Cot.ACTIVATION)
            case {"interrogate": group}:
                qoi = c104.Qoi.STATION if group == 0 else getattr(c104.Qoi, f"GROUP_{group}")
                done = connection.interrogation(common_address=CA, qualifier=qoi)
            case {"counters": _}:
                done = connection.counter_interrogation(common_address=CA)
            case {"clock": _}:
                done = connection.clock_sync(common_address=CA)
            case {"test": _}:
                done = connection.test(common_address=CA)
            case {"read": ioa}:
                done = points[ioa].read()
            case _:
                print(json.dumps({"heard": heard.taken()}), flush=True)
                continue
        print(json.dumps({"done": done}), flush=True)
    client.stop()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve()
    else:
        ask(int(sys.argv[2]))
