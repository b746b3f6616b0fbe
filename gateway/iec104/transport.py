"""What the connections of both ends have in common: a peer that does not read makes nothing pile up."""

from __future__ import annotations

import asyncio
from typing import Final

_LINGER_S: Final = 5.0
_MOST_UNREAD: Final = 1 << 16
"""Octets beside a full window that wait for the peer to read; then nothing more is read from it either."""
_LONGEST_FRAME: Final = 255


class BoundedProtocol(asyncio.Protocol):
    """A connection whose unsent octets are bounded.

    Attributes:
        transport: None until there is a connection.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None

    def bound(self, k: int) -> None:
        """Bound what may wait, for a link with this window."""
        assert self.transport is not None
        window = k * _LONGEST_FRAME
        self.transport.set_write_buffer_limits(high=_MOST_UNREAD + window, low=window)

    def pause_writing(self) -> None:
        """It asks and does not read: what it asks for must not pile up. The link's time limits say when to give up."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        assert self.transport is not None
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def linger(self) -> None:
        """Close it behind what is written already, but wait not long for a peer that reads nothing more."""
        assert self.transport is not None
        self.transport.close()
        self._lingering = asyncio.get_running_loop().call_later(_LINGER_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        del exc
        if self._lingering is not None:
            self._lingering.cancel()
