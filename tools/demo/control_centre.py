"""A control centre made by others (c104) as master of the gateway: ``python -m tools.demo.control_centre``.

Asked by lines of JSON, answers each with one. The first is what it is to know: ``port``, and ``monitored`` and
``controls``: names by address. Then ``{"do": "heard"}``, all messages so far in the order they came, and
``{"do": "close", "address": N}``: what became of a selected close, and c104's own words for the last answer.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import Any, Final

import c104

_TICK_MS: Final = 50
_PATIENCE_S: Final = 40.0
_TYPES: Final = {"Pos": "M_DP_TB_1", "BlkCls": "M_SP_TB_1"}
"""By the end of a point's name."""
_TYPE_AT, _CAUSE_AT, _ADDRESS_AT = 6, 8, 12
"""Octets of an APDU."""
_NEGATIVE: Final = 0x40


def main() -> int:
    """Be the centre until the input ends."""
    setup = json.loads(sys.stdin.readline())
    heard: list[dict[str, Any]] = []
    answers: list[bytes] = []
    client = c104.Client(tick_rate_ms=_TICK_MS, command_timeout_ms=round(_PATIENCE_S * 1000))
    connection = client.add_connection(ip="127.0.0.1", port=setup["port"], init=c104.Init.NONE)
    assert connection is not None
    station = connection.add_station(common_address=1)
    assert station is not None

    # c104 looks at the annotations, which must be the classes themselves; so they are put there by hand.
    def told(point, previous_info, message):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, ARG001 - as c104 calls it
        at = message.info.recorded_at
        heard.append(
            {
                "name": setup["monitored"][str(point.io_address)],
                "value": int(getattr(message.info.value, "value", message.info.value)),
                "quality": str(int(getattr(message.info.quality, "value", 0))),
                "cause": message.cot.name,
                "at_ns": None if at is None else round(at.timestamp() * 1000) * 1_000_000,
                "came_ns": time.time_ns(),
            }
        )
        return c104.ResponseState.SUCCESS

    def answered(connection, data):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, ARG001 - as c104 calls it
        if len(data) > _ADDRESS_AT and data[_TYPE_AT] == c104.Type.C_DC_TA_1.value:
            answers.append(bytes(data))

    told.__annotations__ = {
        "point": c104.Point,
        "previous_info": c104.Information,
        "message": c104.IncomingMessage,
        "return": c104.ResponseState,
    }
    answered.__annotations__ = {"connection": c104.Connection, "data": bytes, "return": None}
    connection.on_receive_raw(callable=answered)
    for address, name in setup["monitored"].items():
        kind = getattr(c104.Type, _TYPES[name.rsplit(".", 1)[-1]])
        point = station.add_point(io_address=int(address), type=kind)
        assert point is not None
        point.on_receive(callable=told)
    mode = c104.CommandMode.SELECT_AND_EXECUTE
    controls = {
        int(address): station.add_point(io_address=int(address), type=c104.Type.C_DC_TA_1, command_mode=mode)
        for address in setup["controls"]
    }
    client.start()
    deadline = time.monotonic() + _PATIENCE_S
    while connection.state != c104.ConnectionState.OPEN and time.monotonic() < deadline:
        if connection.state == c104.ConnectionState.OPEN_MUTED:
            connection.unmute()  # c104 now and then forgets to send STARTDT
        time.sleep(_TICK_MS / 1000)
    is_open = connection.state == c104.ConnectionState.OPEN and connection.interrogation(common_address=1)
    print(json.dumps({"open": is_open}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "heard":
            print(json.dumps(heard), flush=True)
            continue
        answers.clear()
        control = controls[asked["address"]]
        assert control is not None
        now = dt.datetime.now(dt.UTC)
        control.info = c104.DoubleCmd(c104.Double.ON, recorded_at=now)
        carried_out = control.transmit(cause=c104.Cot.ACTIVATION)
        deadline = time.monotonic() + _TICK_MS / 1000 * 20
        while not (carried_out or answers) and time.monotonic() < deadline:  # what came is told by another thread
            time.sleep(_TICK_MS / 1000)
        last = answers[-1] if answers else b""
        said = {
            "carried_out": carried_out,
            "negative": bool(last and last[_CAUSE_AT] & _NEGATIVE),
            "answer": c104.explain_bytes(apdu=last).split(" (")[0] if last else "",
        }
        print(json.dumps(said), flush=True)
    client.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
