"""Links within one process: a network that loses, doubles, delays and replays frames as told. Sans-IO.

For runs in virtual time and for machines where no packet socket may be opened. The same seed gives the same
run.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

_REPLAYABLE: Final = 256
"""Frames that are kept for being replayed."""


@dataclass(slots=True)
class Disturbance:
    """How bad the network is. May be changed at any time; holds for frames sent from then on.

    Attributes:
        loss: share of the deliveries that never happen, 0 to 1.
        duplicate: share of the deliveries that happen twice, with delays of their own.
        replay: share of the sent frames after which an old one, of any sender, is delivered again.
        min_delay_s: shortest time from sending to delivery.
        max_delay_s: longest one; a later frame may overtake an earlier one if the two differ.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    replay: float = 0.0
    min_delay_s: float = 0.0
    max_delay_s: float = 0.0


class MemoryNetwork:
    """One Ethernet segment: a frame goes to all links in its sender's part of it, but not to the sender.

    Attributes:
        disturbance: how bad it is.
        sent: frames given to the network.
        delivered: deliveries made.
        lost: deliveries dropped, by chance or by a partition.
    """

    def __init__(self, rng: Random, disturbance: Disturbance | None = None) -> None:
        self.disturbance = disturbance or Disturbance()
        self.sent = self.delivered = self.lost = 0
        self._rng = rng
        self._links: dict[int, MemoryLink] = {}
        self._part: dict[int, int] = {}
        self._queue: list[tuple[float, int, int, int, bytes]] = []  # due, order, sender, receiver, frame
        self._order = count()
        self._past: deque[tuple[int, bytes]] = deque(maxlen=_REPLAYABLE)

    def attach(self, link_id: int, mac: bytes, clock: Callable[[], float]) -> MemoryLink:
        """A new link.

        Args:
            link_id: its name in :meth:`deliver` and :meth:`partition`.
            mac: its address, 6 octets.
            clock: gives the seconds that the link sends and receives at.

        Raises:
            ValueError: the name is taken.
        """
        if link_id in self._links:
            raise ValueError(f"link {link_id} is attached already")
        link = MemoryLink(self, link_id, mac, clock)
        self._links[link_id] = link
        return link

    def detach(self, link_id: int) -> None:
        """Take a link away; what is on its way to it is lost. Harmless when repeated."""
        self._links.pop(link_id, None)

    def partition(self, *parts: Sequence[int]) -> None:
        """Cut the network: links named in different parts do not hear each other.

        Those not named are a part of their own. Frames on their way are cut off too. Without arguments the
        network is whole again.
        """
        self._part = {link_id: number for number, part in enumerate(parts, 1) for link_id in part}

    def send(self, sender: int, frame: bytes, now: float) -> None:
        """Queue a frame for delivery."""
        self.sent += 1
        self._queue_frame(sender, frame, now)
        self._past.append((sender, frame))
        if self.disturbance.replay and self._rng.random() < self.disturbance.replay:
            self.replay(now)

    def replay(self, now: float, age: int | None = None) -> None:
        """Send one of the last 256 frames again.

        Args:
            now: seconds.
            age: which: 0 the last, 1 the one before it, and so on, up to the oldest kept; None one by chance.
        """
        if not self._past:
            return
        if age is None:
            age = self._rng.randrange(len(self._past))
        self._queue_frame(*self._past[-1 - min(age, len(self._past) - 1)], now)

    @property
    def next_deadline(self) -> float | None:
        """When the next delivery is due; None if nothing is on its way."""
        return self._queue[0][0] if self._queue else None

    def deliver(self, now: float) -> list[tuple[int, bytes]]:
        """The deliveries that are due, in the order of their times: link and frame."""
        due: list[tuple[int, bytes]] = []
        while self._queue and self._queue[0][0] <= now:
            _, _, sender, receiver, frame = heapq.heappop(self._queue)
            if receiver not in self._links or self._part.get(sender) != self._part.get(receiver):
                self.lost += 1
                continue
            self.delivered += 1
            due.append((receiver, frame))
        return due

    def distribute(self, now: float) -> None:
        """Put the deliveries that are due where :meth:`MemoryLink.receive` finds them."""
        for receiver, frame in self.deliver(now):
            self._links[receiver].put(frame)

    def _queue_frame(self, sender: int, frame: bytes, now: float) -> None:
        how, rng = self.disturbance, self._rng
        for receiver in self._links:
            if receiver == sender:
                continue
            copies = 2 if how.duplicate and rng.random() < how.duplicate else 1
            for _ in range(copies):
                if how.loss and rng.random() < how.loss:
                    self.lost += 1
                    continue
                delay = rng.uniform(how.min_delay_s, how.max_delay_s)
                heapq.heappush(self._queue, (now + delay, next(self._order), sender, receiver, frame))


class MemoryLink:
    """One station's access to a :class:`MemoryNetwork`; a :class:`~ied_agents.runtime.link.Link`.

    Whoever drives links asks the network's :attr:`~MemoryNetwork.next_deadline` when to call :meth:`receive`.

    Attributes:
        link_id: its name in the network.
        mac: its address, 6 octets.
    """

    def __init__(self, network: MemoryNetwork, link_id: int, mac: bytes, clock: Callable[[], float]) -> None:
        self.link_id = link_id
        self.mac = mac
        self._network = network
        self._clock = clock
        self._inbox: list[bytes] = []

    def send(self, frame: bytes) -> None:
        """Send a frame now."""
        self._network.send(self.link_id, frame, self._clock())

    def receive(self) -> list[bytes]:
        """The frames that came since the last call. Those due for other links wait there."""
        self._network.distribute(self._clock())
        frames, self._inbox = self._inbox, []
        return frames

    def put(self, frame: bytes) -> None:
        """Let a frame wait for :meth:`receive`."""
        self._inbox.append(frame)

    def close(self) -> None:
        """Leave the network; harmless when repeated."""
        self._network.detach(self.link_id)
