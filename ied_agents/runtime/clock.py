"""What the kernel says about the clock, as the quality octet of GOOSE time stamps."""

from __future__ import annotations

import ctypes
from typing import Final

from ied_agents.iec61850.utctime import TimeQuality

_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_UNSPECIFIED_ACCURACY: Final = 31
_MICROSECONDS: Final = 1e-6


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux; read-only queries need no privilege."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("padding", ctypes.c_long * 32),
    )


def time_quality() -> int:
    """Quality octet of CLOCK_REALTIME: not synchronised unless the kernel knows better, and how many bits count."""
    timex = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0 or state == _TIME_ERROR or timex.status & _STA_UNSYNC:
        # A plain number: every time stamp is put together of it, and a flag's own operators take 25 us.
        return int(TimeQuality.NOT_SYNCHRONISED) | _UNSPECIFIED_ACCURACY
    error_s = max(timex.esterror, 1) * _MICROSECONDS
    bits = 0
    while bits < 24 and 2.0 ** -(bits + 1) >= error_s:
        bits += 1
    return bits
