"""The Ethernet interfaces of an agent as one link: one, or two on separate networks.

Every frame goes out on each of them. Of what comes the first copy counts, whichever interface brings it; the other is
counted and dropped, however late it is, for in a stream it would pass for an old state. So nothing waits for a network
to be found dead, and one that comes back changes nothing.
"""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.agent import Note
from ied_agents.goose.frame import ETHERTYPE
from ied_agents.runtime.af_packet import FRAMES_AT_ONCE, AfPacketLink
from ied_agents.runtime.link import LinkError
from ied_agents.runtime.lossy_link import LossyLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOOK_S: Final = 0.5
"""How often each interface is judged, and one that is gone is looked for."""
BACK_S: Final = 1.0
"""An interface is back when it has been heard, and could be used, for so long: one that comes and goes says little."""
_FIRST_COPIES: Final = 256
"""Frames remembered until their copy comes: those of some seconds without, of some 0.1 s with a fault in the system."""


@dataclass(slots=True)
class LanCounters:
    """Frames of one interface since the start.

    Attributes:
        received: that came.
        copies: of those, which another interface had brought before.
        sent: that went out.
        not_sent: that did not.
        lost: how often the interface was lost.
    """

    received: int = 0
    copies: int = 0
    sent: int = 0
    not_sent: int = 0
    lost: int = 0


class LanHealth:
    """Whether an interface works: it can be used, and something is heard on it. Sans-IO.

    Args:
        silent_s: who is heard at all is heard within this time.
        now: s.

    Attributes:
        why: what is wrong with it; empty while it works.
    """

    def __init__(self, silent_s: float, now: float) -> None:
        self.why = ""
        self._silent_s = silent_s
        self._since = now
        self._failed_at = -math.inf
        self._told = False

    def failed(self, why: str, now: float) -> None:
        """It could not be used just now."""
        self.why = why
        self._failed_at = now

    def judge(self, heard_at: float, now: float) -> bool:
        """Look at it again; call this often.

        Args:
            heard_at: when something was heard on it last, s.
            now: s.

        Returns:
            Whether it was lost, or has come back, since the last call.
        """
        silent = now - max(heard_at, self._since) > self._silent_s
        if silent and not self.why:
            self.failed(f"nothing heard for {self._silent_s:g} s", now)
        elif self.why and not silent and heard_at > self._failed_at and now - self._failed_at >= BACK_S:
            self.why = ""
        news = self._told is not bool(self.why)
        self._told = bool(self.why)
        return news


class _Lan:
    """One interface.

    Attributes:
        interface: its name.
        counters: of its frames.
        health: whether it works.
        heard: when each multicast address was heard last, s.
        links: for the addresses that wake the process, and for the others; none while the interface is not there.
    """

    def __init__(self, interface: str, addresses: Sequence[list[bytes]], loss: float, health: LanHealth) -> None:
        self.interface = interface
        self.counters = LanCounters()
        self.health = health
        self.heard: dict[bytes, float] = dict.fromkeys((a for part in addresses for a in part), -math.inf)
        self.links: list[AfPacketLink | LossyLink] = []
        self._addresses = addresses
        self._loss = loss
        self._index = 0

    def open(self) -> None:
        """Raises LinkError."""
        links: list[AfPacketLink | LossyLink] = []
        try:
            for addresses in self._addresses:
                link = AfPacketLink(self.interface, addresses, tags=False)  # which nothing here asks for
                links.append(LossyLink(link, self._loss) if self._loss else link)
            self._index = socket.if_nametoindex(self.interface)
        except OSError:
            for opened in links:
                opened.close()
            raise
        self.links = links

    def close(self) -> None:
        for link in self.links:
            link.close()
        self.links = []

    def is_gone(self) -> bool:
        """The interface that was opened is no more, though there may be another one of its name."""
        try:
            return socket.if_nametoindex(self.interface) != self._index
        except OSError:
            return True

    def send(self, frame: bytes, now: float) -> None:
        if not self.links:
            self.counters.not_sent += 1
            return
        try:
            self.links[0].send(frame)
        except LinkError as error:
            self.counters.not_sent += 1
            self.health.failed(_said(error), now)
        else:
            self.counters.sent += 1

    def receive(self, which: int, most: int, now: float) -> list[bytes]:
        if not self.links:
            return []
        try:
            frames = self.links[which].receive(most)
        except LinkError as error:
            self.health.failed(_said(error), now)
            return []
        self.counters.received += len(frames)
        for frame in frames:
            if frame[:6] in self.heard:
                self.heard[frame[:6]] = now
        return frames


class Lans:
    """All interfaces of one agent.

    Args:
        interfaces: their names.
        addresses: multicast addresses that wake the process, and the others.
        silent_s: an interface on which nothing is heard for so long is lost.
        loss: share of the frames that are dropped on arrival; for trials only.
        now: s.

    Attributes:
        mac: source address of all frames, on each interface the same, so that copies are alike.
        backlog: there may be more to fetch than was fetched last.

    Raises:
        LinkError: none of them can be used.
    """

    def __init__(
        self,
        interfaces: Sequence[str],
        addresses: tuple[list[bytes], list[bytes]],
        *,
        silent_s: float,
        loss: float,
        now: float,
    ) -> None:
        self.backlog = False
        self._lans = [_Lan(interface, addresses, loss, LanHealth(silent_s, now)) for interface in interfaces]
        self._silent_s = silent_s
        self._first: dict[bytes, _Lan] = {}
        self._look_at = now
        self._add: Callable[[int], object] = _nobody
        self._remove: Callable[[int], object] = _nobody
        macs: list[bytes] = []
        problems: list[LinkError] = []
        for lan in self._lans:
            try:
                lan.open()
            except LinkError as error:
                problems.append(error)
                lan.health.failed(_said(error), now)
            else:
                macs.append(lan.links[0].mac)
        if not macs:
            raise LinkError(problems[0].errno, "; ".join(map(_said, problems)))
        self.mac = macs[0]

    def wake(self, add: Callable[[int], object], remove: Callable[[int], object]) -> None:
        """From now on have the process woken for what comes.

        Args:
            add: told each file descriptor that is to be watched.
            remove: told each that is not any more.
        """
        self._add, self._remove = add, remove
        for lan in self._lans:
            for link in lan.links[:1]:
                add(link.fileno())

    def send(self, frame: bytes, now: float) -> None:
        """Send a frame on each interface; where that fails it is counted, and told by :meth:`look`."""
        for lan in self._lans:
            lan.send(frame, now)

    def prompt(self, now: float) -> Iterator[bytes]:
        """The frames for which the process is woken, each fetched when it is asked for."""
        for lan in self._lans:
            for _ in range(FRAMES_AT_ONCE):
                frames = lan.receive(0, 1, now)
                if not frames:
                    break
                if not self._is_copy(frames[0], lan):
                    yield frames[0]

    def others(self, now: float) -> Iterator[bytes]:
        """The frames that have waited."""
        self.backlog = False
        for lan in self._lans:
            frames = lan.receive(1, FRAMES_AT_ONCE, now)
            self.backlog = self.backlog or len(frames) >= FRAMES_AT_ONCE
            for frame in frames:
                if not self._is_copy(frame, lan):
                    yield frame

    def _is_copy(self, frame: bytes, lan: _Lan) -> bool:
        if len(self._lans) == 1:
            return False
        # What lies outside may differ: tag, padding, PRP's trailer.
        start = 14 if frame[12:14] == ETHERTYPE else 18
        message = frame[start : start + int.from_bytes(frame[start + 2 : start + 4], "big")]
        first = self._first.pop(message, None)
        if first is not None and first is not lan:
            lan.counters.copies += 1
            return True
        self._first[message] = lan
        if len(self._first) > _FIRST_COPIES:
            del self._first[next(iter(self._first))]
        return False

    def look(self, now: float) -> list[Note]:
        """Judge each interface, open what is there again; returns what is new, for the journal."""
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        notes = []
        for lan in self._lans:
            self._mend(lan, now)
            if lan.health.judge(max(lan.heard.values(), default=now), now):
                lan.counters.lost += bool(lan.health.why)
                why = {"why": lan.health.why} if lan.health.why else {}
                notes.append(Note("interface lost" if why else "interface back", {"interface": lan.interface, **why}))
        return notes

    def _mend(self, lan: _Lan, now: float) -> None:
        if lan.links and lan.health.why and lan.is_gone():
            self._remove(lan.links[0].fileno())
            lan.close()
        if not lan.links:
            try:
                lan.open()
            except LinkError as error:
                lan.health.failed(_said(error), now)
            else:
                self._add(lan.links[0].fileno())

    def counters(self) -> dict[str, LanCounters]:
        """By interface."""
        return {lan.interface: lan.counters for lan in self._lans}

    def standing(self, now: float) -> dict[str, tuple[str, set[bytes]]]:
        """By interface: what is wrong with it, if anything, and the addresses that are not heard on it."""
        return {
            lan.interface: (lan.health.why, {a for a, at in lan.heard.items() if now - at > self._silent_s})
            for lan in self._lans
        }

    def close(self) -> None:
        """Close everything."""
        for lan in self._lans:
            lan.close()


def _nobody(_: int) -> None:
    pass


def _said(error: LinkError) -> str:
    return error.strerror or str(error)
