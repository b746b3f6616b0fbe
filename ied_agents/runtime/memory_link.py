"""Links within one process: a network that loses, doubles, delays and replays frames as told. Sans-IO.

For runs in virtual time and for machines where no packet socket may be opened. The same seed gives the same
run. What a frame is does not matter here: octets as they would go over the wire, or anything else that its
receivers understand.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from random import Random

FrameT = TypeVar("FrameT")

REPLAYABLE: Final = 2048
"""Frames that are kept for being replayed."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """How bad the network is.

    Attributes:
        loss: share of the deliveries that never happen, 0 to 1.
        duplicate: share of the deliveries that happen twice, with delays of their own.
        replay: share of the sent frames after which an old one, of any sender, is delivered again.
        min_delay_s: shortest time from sending to delivery.
        max_delay_s: longest one; a later frame may overtake an earlier one if the two differ.
        burst_share: share of the time during which everything from one link to another is lost, below 1.
        burst_s: how long such a burst lasts on average.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    replay: float = 0.0
    min_delay_s: float = 0.0
    max_delay_s: float = 0.0
    burst_share: float = 0.0
    burst_s: float = 0.1


Delivery = tuple[int, float]
"""A frame on its way: to which link, and when it gets there, in s."""


@dataclass(slots=True)
class _Burst:
    """Whether the way from one link to another loses everything, and until when."""

    losing: bool
    until: float


class MemoryNetwork(Generic[FrameT]):
    """One Ethernet segment: a frame goes to the links that want its sender's frames, but not to the sender.

    Attributes:
        disturbance: how bad it is; may be replaced at any time and holds for frames sent from then on.
        sent: frames given to the network.
        delivered: deliveries made.
        lost: deliveries dropped, by chance or by a cut.
    """

    def __init__(self, rng: Random, disturbance: Disturbance | None = None) -> None:
        self.disturbance = disturbance or Disturbance()
        self.sent = self.delivered = self.lost = 0
        self._rng = rng
        self._links: dict[int, MemoryLink[FrameT]] = {}
        self._receivers: dict[int, list[MemoryLink[FrameT]]] = {}
        self._part: dict[int, int] = {}
        self._deaf: frozenset[tuple[int, int]] = frozenset()
        self._bursts: dict[tuple[int, int], _Burst] = {}
        self._order = count()
        self._past: deque[tuple[int, FrameT]] = deque(maxlen=REPLAYABLE)

    def attach(
        self, link_id: int, mac: bytes, clock: Callable[[], float], hears: Collection[int] | None = None
    ) -> MemoryLink[FrameT]:
        """A new link.

        Args:
            link_id: its name here.
            mac: its address, 6 octets.
            clock: gives the seconds that the link sends and receives at.
            hears: links whose frames it wants, as a multicast filter would choose them; None for all.

        Raises:
            ValueError: the name is taken.
        """
        if link_id in self._links:
            raise ValueError(f"link {link_id} is attached already")
        link = MemoryLink(self, link_id, mac, clock, hears)
        self._links[link_id] = link
        self._receivers.clear()
        return link

    def detach(self, link_id: int) -> None:
        """Take a link away; what is on its way to it is lost. Harmless when repeated."""
        link = self._links.pop(link_id, None)
        if link is not None:
            self.lost += len(link.queue)
            self._receivers.clear()

    def partition(self, *parts: Collection[int]) -> None:
        """Cut the network: links named in different parts do not hear each other.

        Those not named are a part of their own. Holds for frames sent from then on. Without arguments the
        network is whole again.
        """
        self._part = {link_id: number for number, part in enumerate(parts, 1) for link_id in part}

    def deafen(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Cut one-way: of each pair the second link does not hear the first. Replaces what was said before."""
        self._deaf = frozenset(pairs)

    def hears(self, receiver: int, sender: int) -> bool:
        """Whether nothing is cut between two links, in this direction."""
        return self._part.get(receiver) == self._part.get(sender) and (sender, receiver) not in self._deaf

    def send(self, sender: int, frame: FrameT, now: float) -> Sequence[Delivery]:
        """Put a frame on its way.

        Returns:
            The deliveries to expect, those of an older frame that is replayed after this one included.
        """
        self.sent += 1
        deliveries = self._convey(sender, frame, now)
        self._past.append((sender, frame))
        if self.disturbance.replay and self._rng.random() < self.disturbance.replay:
            deliveries += self.replay(now)
        return deliveries

    def replay(self, now: float, age: int | None = None) -> Sequence[Delivery]:
        """Send one of the last 2,048 frames again.

        Args:
            now: seconds.
            age: which: 0 the last, 1 the one before it, and so on, up to the oldest kept; None one by chance.

        Returns:
            The deliveries to expect.
        """
        if not self._past:
            return []
        if age is None:
            age = self._rng.randrange(len(self._past))
        return self._convey(*self._past[-1 - min(age, len(self._past) - 1)], now)

    def inject(self, receiver: int, frame: FrameT, now: float) -> Delivery:
        """Put a frame that no link has sent on its way to one link, undisturbed.

        Raises:
            KeyError: no such link is attached.
        """
        heapq.heappush(self._links[receiver].queue, (now, next(self._order), frame))
        return receiver, now

    @property
    def next_deadline(self) -> float | None:
        """When the next delivery is due; None if nothing is on its way."""
        return min((link.queue[0][0] for link in self._links.values() if link.queue), default=None)

    def waiting_for(self, link_id: int) -> float | None:
        """When the next delivery to one link is due, s; None if nothing is on its way to it."""
        queue = self._links[link_id].queue
        return queue[0][0] if queue else None

    def fetch(self, link_id: int, now: float) -> list[FrameT]:
        """The deliveries to one link that are due, in the order of their times."""
        queue = self._links[link_id].queue
        frames = []
        while queue and queue[0][0] <= now:
            frames.append(heapq.heappop(queue)[2])
        self.delivered += len(frames)
        return frames

    def _convey(self, sender: int, frame: FrameT, now: float) -> list[Delivery]:
        how, rng, cut = self.disturbance, self._rng, bool(self._part or self._deaf)
        receivers = self._receivers.get(sender)
        if receivers is None:
            wanting = [link for link in self._links.values() if link.hears is None or sender in link.hears]
            receivers = self._receivers[sender] = [link for link in wanting if link.link_id != sender]
        deliveries = []
        for link in receivers:
            receiver = link.link_id
            if cut and not self.hears(receiver, sender):
                self.lost += 1
                continue
            if how.burst_share and self._in_burst(sender, receiver, now):
                self.lost += 1
                continue
            for _ in range(2 if how.duplicate and rng.random() < how.duplicate else 1):
                if how.loss and rng.random() < how.loss:
                    self.lost += 1
                    continue
                due = now + how.min_delay_s + (how.max_delay_s - how.min_delay_s) * rng.random()
                heapq.heappush(link.queue, (due, next(self._order), frame))
                deliveries.append((receiver, due))
        return deliveries

    def _in_burst(self, sender: int, receiver: int, now: float) -> bool:
        """Whether one way is in a burst: losing and sound times follow each other, each of random length."""
        how, rng = self.disturbance, self._rng
        burst = self._bursts.get((sender, receiver))
        if burst is None:
            losing = rng.random() < how.burst_share
            burst = self._bursts[sender, receiver] = _Burst(losing, now + self._lasting(losing=losing))
        while now >= burst.until:
            burst.losing = not burst.losing
            burst.until += self._lasting(losing=burst.losing)
        return burst.losing

    def _lasting(self, *, losing: bool) -> float:
        how = self.disturbance
        mean_s = how.burst_s if losing else how.burst_s * (1 - how.burst_share) / how.burst_share
        return self._rng.expovariate(1 / mean_s)


class MemoryLink(Generic[FrameT]):
    """One station's access to a :class:`MemoryNetwork`; a :class:`~ied_agents.runtime.link.Link` if frames are octets.

    Whoever drives links asks the network's :attr:`~MemoryNetwork.next_deadline` when to call :meth:`receive`.

    Attributes:
        link_id: its name in the network.
        mac: its address, 6 octets.
        hears: links whose frames it wants; None for all.
        queue: the frames on their way to it, a heap by due time and order; the network's.
    """

    def __init__(
        self,
        network: MemoryNetwork[FrameT],
        link_id: int,
        mac: bytes,
        clock: Callable[[], float],
        hears: Collection[int] | None,
    ) -> None:
        self.link_id = link_id
        self.mac = mac
        self.hears = hears
        self.queue: list[tuple[float, int, FrameT]] = []
        self._network = network
        self._clock = clock

    def send(self, frame: FrameT) -> None:
        """Send a frame now."""
        self._network.send(self.link_id, frame, self._clock())

    def receive(self) -> list[FrameT]:
        """The frames that came since the last call."""
        return self._network.fetch(self.link_id, self._clock())

    def close(self) -> None:
        """Leave the network; harmless when repeated."""
        self._network.detach(self.link_id)
