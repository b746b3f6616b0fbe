"""Keeps the connections to a field device over TCP and TLS.

Connects, again and later each time; sends, receives, arms timers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.iec104.transport import BoundedProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gateway.iec104.master import ControllingStation, MasterEvent

_LOG: Final = logging.getLogger(__name__)
_STOP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a field device is, and how it is looked for.

    Attributes:
        name: of the device, for the log.
        addresses: host and port of each of its links.
        tls: for all of them; None for plain TCP.
        source: own address to connect from, on a machine that has several; empty for any.
        connect_s: how long connecting may take, s.
        first_s: pause before the second attempt, s; it doubles with each further one, until a connection has held
            longer than that.
        longest_s: the longest pause, s.
    """

    name: str
    addresses: tuple[tuple[str, int], ...]
    tls: ssl.SSLContext | None = None
    source: str = ""
    connect_s: float = 10.0
    first_s: float = 1.0
    longest_s: float = 60.0


class _Link(BoundedProtocol):
    def __init__(self, client: Iec104Client, number: int, where: str) -> None:
        super().__init__()
        self._client = client
        self.number = number
        self.where = where
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._client.connected(self)

    def data_received(self, data: bytes) -> None:
        self._client.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._client.disconnected(self, "closed by the device" if exc is None else str(exc) or type(exc).__name__)
        self.ended.set()


class Iec104Client:
    """The connections of one field device.

    Args:
        reach: where it is.
        station: what is said to it.
        tell: called with each event, in order.
        when_stored: for a station that holds: calls back once all that was told before is safe.

    Attributes:
        links: of each address why it is not connected; empty if it is.
    """

    def __init__(
        self,
        reach: Reach,
        station: ControllingStation,
        tell: Callable[[MasterEvent], None],
        when_stored: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._reach = reach
        self._station = station
        self._tell = tell
        self._when_stored = when_stored
        self.links = {f"{host}:{port}": "not connected yet" for host, port in reach.addresses}
        self._links: dict[int, _Link] = {}
        self._last = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to connect."""
        self._tasks = [asyncio.create_task(self._keep(host, port)) for host, port in self._reach.addresses]

    async def close(self) -> None:
        """End all connections and connect no more. What has come is acknowledged, so that it does not come again."""
        self._station.stop(self.now())
        self.flush()
        if self._station.started:
            self._stopped.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _STOP_S)
        self._closing = True
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for link in list(self._links.values()):
            assert link.transport is not None
            link.linger()
            await link.ended.wait()
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        """The station's time, s."""
        return self._loop.time()

    def flush(self) -> None:
        """Send what the station was asked to say; to be called after each request to it."""
        for number, octets in self._station.data_to_send():
            transport = self._links[number].transport
            assert transport is not None
            transport.write(octets)
        for number in [number for number in self._links if not self._station.is_open(number)]:
            self._links.pop(number).linger()
        for note in self._station.notes:
            _LOG.warning("%s: %s", self._reach.name, note)
        self._station.notes.clear()
        self._arm()

    # -- called by the links --------------------------------------------------------------------------------------

    def connected(self, link: _Link) -> None:
        """A connection is there."""
        _LOG.info("%s: %s: connected", self._reach.name, link.where)
        self._links[link.number] = link
        self.links[link.where] = ""
        link.bound(self._station.settings.link.k)
        self._station.connect(link.number, self.now())
        self.flush()

    def received(self, link: _Link, data: bytes) -> None:
        """Octets have come."""
        before = self._station.received(link.number)
        self._pass_on(self._station.receive(link.number, data, self.now(), time.time_ns()))
        received = self._station.received(link.number)
        if self._when_stored is not None and received > before:
            self._when_stored(lambda: self._stored(link, received))

    def _stored(self, link: _Link, received: int) -> None:
        if self._links.get(link.number) is link:
            self._station.stored(link.number, received, self.now())
            self.flush()

    def disconnected(self, link: _Link, why: str) -> None:
        """A connection has ended."""
        self._links.pop(link.number, None)
        self.links[link.where] = why
        if self._closing:
            return
        _LOG.info("%s: %s: %s", self._reach.name, link.where, why)
        self._pass_on(self._station.disconnect(link.number, why, self.now()))

    def _pass_on(self, events: Sequence[MasterEvent]) -> None:
        for event in events:
            try:
                self._tell(event)
            except Exception:  # noqa: BLE001 - the events behind this one are acknowledged and must not be lost
                _LOG.exception("%s: an event was not taken: %s", self._reach.name, event)
        if not self._station.started:
            self._stopped.set()
        self.flush()

    def _arm(self) -> None:
        deadline = self._station.next_deadline
        if self._timer is not None:
            if self._timer.when() <= deadline and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        if deadline != float("inf"):
            self._timer = self._loop.call_at(deadline, self._due)

    def _due(self) -> None:
        self._timer = None
        self._pass_on(self._station.handle_timer(self.now(), time.time_ns()))

    async def _keep(self, host: str, port: int) -> None:
        """Keep one link: connect, wait until it ends, and again."""
        pause_s = self._reach.first_s
        where = f"{host}:{port}"
        while True:
            self._last += 1
            link = _Link(self, self._last, where)
            began = self.now()
            try:
                async with asyncio.timeout(self._reach.connect_s):
                    source = (self._reach.source, 0) if self._reach.source else None
                    await self._loop.create_connection(
                        lambda link=link: link, host, port, ssl=self._reach.tls, local_addr=source
                    )
            except (OSError, TimeoutError) as error:
                self.links[where] = str(error) or "no answer in time"
                _LOG.info("%s: %s: %s", self._reach.name, where, self.links[where])
            else:
                await link.ended.wait()
                if self.now() - began > pause_s:
                    pause_s = self._reach.first_s  # it was worth the wait
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._reach.longest_s)
