"""What the agent tells the service manager that started it: ready, alive, stopping (sd_notify protocol of systemd)."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ServiceManager:
    """The service manager of this process; without one, nothing is sent.

    Args:
        environment: with ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` as systemd sets them.

    Attributes:
        alive_every_s: how often :meth:`alive` must be called; None if nobody watches.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with @ and named with a zero octet.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        watched = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # A third of the patience: two words may be lost or late.
        self.alive_every_s = int(watched) / 3e6 if path and mine and watched.isascii() and watched.isdigit() else None

    def ready(self) -> None:
        """Everything is open, and heard from now on."""
        self._notify("READY=1")

    def alive(self) -> None:
        """The loop turns."""
        self._notify("WATCHDOG=1")

    def stopping(self) -> None:
        """An orderly end has begun."""
        self._notify("STOPPING=1")

    def _notify(self, state: str) -> None:
        if not self._address:
            return
        # A service manager that is gone or busy must not hold up the agent.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as s:
            s.sendto(state.encode(), self._address)
