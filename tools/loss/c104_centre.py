"""A control centre made with c104 (GPL-3.0), in a process of its own: ``python -m tools.loss.c104_centre PORT``.

Says each value it is told on standard output: IOA, value, 1 if its quality is good. c104's client can end its process,
when its connection is reset as soon as it is there: whoever started it starts it again.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Final

import c104

from tools.loss.chain import CENTRE_CA, IOAS

_TICK_MS: Final = 50


def main(port: int) -> None:
    """Connect, again and again, and print, until standard input ends."""
    lock = threading.Lock()

    def on_receive(
        point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage
    ) -> c104.ResponseState:
        del previous_info
        if message.cot == c104.Cot.SPONTANEOUS:
            quality = point.info.quality
            good = isinstance(quality, c104.Quality) and quality.is_good()
            # One write each: whole lines or nothing, whenever the process ends.
            with lock:
                os.write(1, f"{point.io_address} {point.info.value:.0f} {good:d}\n".encode())
        return c104.ResponseState.SUCCESS

    # c104 reads the annotations of a callback.
    on_receive.__annotations__ = {
        "point": c104.Point,
        "previous_info": c104.Information,
        "message": c104.IncomingMessage,
        "return": c104.ResponseState,
    }
    client = c104.Client(tick_rate_ms=_TICK_MS)
    connection = client.add_connection(ip="127.0.0.1", port=port, init=c104.Init.NONE)
    assert connection is not None
    station = connection.add_station(common_address=CENTRE_CA)
    assert station is not None
    for ioa in IOAS:
        point = station.add_point(io_address=ioa, type=c104.Type.M_ME_TF_1)
        assert point is not None
        point.on_receive(callable=on_receive)
    client.start()
    ended = threading.Thread(target=sys.stdin.read)
    ended.start()
    while ended.is_alive():
        if connection.state == c104.ConnectionState.OPEN_MUTED:  # as it is after each connect
            connection.unmute()
        time.sleep(_TICK_MS / 1000)


if __name__ == "__main__":
    main(int(sys.argv[1]))
