"""What carries whole Ethernet frames: the one protocol that real and in-memory links share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class LinkError(OSError):
    """A link cannot be opened or used; the message names the interface and the way out."""


class Link(Protocol):
    """Sends and receives frames, from destination address to payload, with their 802.1Q tag."""

    @property
    def mac(self) -> bytes:
        """Our source address, 6 octets."""

    def send(self, frame: bytes) -> None:
        """Send a frame now.

        Raises:
            LinkError: it could not be handed to the network.
        """

    def receive(self) -> Sequence[bytes]:
        """The frames that came since the last call, without waiting.

        Raises:
            LinkError: the network is gone.
        """

    def close(self) -> None:
        """Give everything back; harmless when repeated."""
