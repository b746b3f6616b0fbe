"""A real link that loses frames on arrival, for trials where the kernel cannot be told to."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ied_agents.runtime.af_packet import FRAMES_AT_ONCE

if TYPE_CHECKING:
    from ied_agents.runtime.af_packet import AfPacketLink


class LossyLink:
    """Drops a share of what a link receives; a :class:`~ied_agents.runtime.link.Link`.

    Args:
        link: carries the frames.
        loss: share of the frames lost, 0 to 1.

    Attributes:
        mac: own address.
    """

    def __init__(self, link: AfPacketLink, loss: float) -> None:
        self.mac = link.mac
        self._link = link
        self._loss = loss
        self._rng = Random(int.from_bytes(link.mac))

    def fileno(self) -> int:
        """For the event loop."""
        return self._link.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame; nothing is lost on the way out."""
        self._link.send(frame)

    def receive(self, most: int = FRAMES_AT_ONCE) -> list[bytes]:
        """The frames that came and were not lost; of at most ``most`` that came."""
        return [frame for frame in self._link.receive(most) if self._rng.random() >= self._loss]

    def close(self) -> None:
        """Close the link."""
        self._link.close()
