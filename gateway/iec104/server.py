"""Serves control centres over TCP and TLS: the connections of the controlled stations.

Sends, receives and arms timers; decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.iec104.transport import BoundedProtocol
from ied_agents.runtime.tls import common_name

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Container, Hashable, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from gateway.iec104.commands import Answer, CommandDesk, CommandRequested, ControlStep
    from gateway.iec104.station import ControlledStation, StationAsked

PORT: Final = 2404
TLS_PORT: Final = 19998

_LOG: Final = logging.getLogger(__name__)
_MOST_UNSERVED: Final = 1024
_MOST_EARLY: Final = 1 << 16
_HANDSHAKE_S: Final = 10.0
_MOST_HANDSHAKES: Final = 256
_MOST_OF_ONE: Final = 16
"""Handshakes of one address: who holds all open that he may disturbs no other address."""


class Operator(Protocol):
    """Whoever operates the devices; called in the loop, and answers through the desk or the station, then or later."""

    def command(self, request: CommandRequested) -> None:
        """A master commands; answered with ``desk.confirm`` and ``desk.terminate``, then ``server.serve()``."""

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        """A master sets clock or parameter, or resets; answered with ``station.answer``, then ``server.serve()``."""


@dataclass(frozen=True)
class Centre:
    """A control centre.

    Attributes:
        name: for the log.
        station: what serves it.
        clients: networks that its masters connect from; none for any.
        certificates: common names of its masters' certificates; none for any. Only with TLS.
    """

    name: str
    station: ControlledStation
    clients: tuple[IPv4Network | IPv6Network, ...] = ()
    certificates: frozenset[str] = field(default_factory=frozenset)

    def serves(self, peer: str, certificate: str | None) -> bool:
        """Whether a master with this address and certificate is one of its own."""
        return (not self.certificates or certificate in self.certificates) and self.admits(peer)

    def admits(self, peer: str) -> bool:
        """Whether its masters may come from this address."""
        return not self.clients or any(ip_address(peer) in network for network in self.clients)


class _Connection(BoundedProtocol):
    """One master's connection."""

    def __init__(self, server: Iec104Server, tls: ssl.SSLContext | None, centres: tuple[Centre, ...]) -> None:
        super().__init__()
        self._server = server
        self._tls = tls
        self.centres = centres
        self._early = b""
        self.number = 0
        self.centre: Centre | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._tls is None:
            self._server.connected(self)
        else:
            self._server.shake_hands(self, self._tls)

    def secured(self, transport: asyncio.Transport) -> None:
        """TLS is there, and maybe what the master said at once."""
        self.transport = transport
        self._server.connected(self)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self.centre is not None:
            self.centre.station.receive(self.number, data, self._server.now(), time.time_ns())
            self._server.serve_one(self.centre)
        elif not self.number and len(self._early) < _MOST_EARLY:
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.disconnected(self, "by the master" if exc is None else str(exc) or type(exc).__name__)


class Iec104Server:
    """The connections of all control centres.

    Args:
        centres: in the order in which they are asked whether a master is theirs.
        desk: the stations' common one.
        operator: decides.

    Attributes:
        trail: keeps what was asked at the desk and became of it.
        now: the clock, s.
        elsewhere: takes answers to masters that are none of its connections.
    """

    def __init__(self, centres: Sequence[Centre], desk: CommandDesk, operator: Operator) -> None:
        self._centres = tuple(centres)
        self._desk = desk
        self._operator = operator
        self._connections: dict[int, _Connection] = {}
        self._last = 0
        self._servers: list[asyncio.Server] = []
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._desk_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.now: Callable[[], float] = self._loop.time
        self.trail: Callable[[ControlStep, float, int], None] | None = None
        self.elsewhere: Callable[[Answer], None] | None = None

    async def listen(
        self, host: str, port: int = PORT, *, tls: ssl.SSLContext | None = None, only: Container[str] | None = None
    ) -> int:
        """Accept masters at an address; returns the port.

        Args:
            host: own address.
            port: 0 for any.
            tls: for all who connect there; None for plain TCP.
            only: names of the centres that are served there: one with TLS is not to be had beside it without.

        Raises:
            OSError: the address can't be had.
        """
        centres = tuple(centre for centre in self._centres if only is None or centre.name in only)
        server = await self._loop.create_server(
            lambda: _Connection(self, tls, centres), host, port, backlog=_MOST_UNSERVED
        )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """End all connections and listen no more."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.linger()
        for task in self._handshakes:
            task.cancel()
        for handle in (*self._timers.values(), self._desk_timer):
            if handle is not None:
                handle.cancel()
        for server in self._servers:
            await server.wait_closed()

    @property
    def masters(self) -> dict[str, list[tuple[str, bool]]]:
        """Of each control centre who is connected, and whether he is the one that is started."""
        return {centre.name: centre.station.masters for centre in self._centres}

    # -- called by the connections --------------------------------------------------------------------------------

    def shake_hands(self, connection: _Connection, tls: ssl.SSLContext) -> None:
        """A master that must show a certificate has connected."""
        transport = connection.transport
        assert transport is not None
        host = _host(transport)
        if not any(centre.admits(host) for centre in connection.centres):
            _LOG.warning("%s: refused: of no control centre", _peer(transport))
            transport.abort()
            return
        of_one = sum(other == host for other in self._handshakes.values())
        if len(self._handshakes) >= _MOST_HANDSHAKES or of_one >= _MOST_OF_ONE:
            _LOG.warning(
                "%s: refused: %d others are shaking hands, %d of this address",
                *(_peer(transport), len(self._handshakes), of_one),
            )
            transport.abort()
            return
        task = self._loop.create_task(self._secure(connection, transport, tls))
        self._handshakes[task] = host
        task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _secure(self, connection: _Connection, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        # Not left to create_server: it tells nobody why a handshake failed.
        peer = _peer(transport)
        try:
            secured = await self._loop.start_tls(
                transport, connection, tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except (OSError, TimeoutError) as error:
            _LOG.warning("%s: refused by TLS: %s", peer, str(error) or "it says nothing")
            transport.abort()
            return
        if secured is not None and not secured.is_closing():
            connection.secured(secured)

    def connected(self, connection: _Connection) -> None:
        """A master has connected: find whose he is."""
        transport = connection.transport
        assert transport is not None
        certificate = common_name(transport.get_extra_info("peercert"))
        who = _peer(transport) + (f" ({certificate})" if certificate else "")
        host = _host(transport)
        centre = next((centre for centre in connection.centres if centre.serves(host, certificate)), None)
        if centre is None:
            _LOG.warning("%s: refused: of no control centre", who)
            transport.abort()
            return
        self._last += 1
        if not centre.station.connect(self._last, f"{centre.name} {who}", self.now()):
            self._log(centre)
            transport.abort()
            return
        connection.number, connection.centre = self._last, centre
        connection.bound(centre.station.settings.link.k)
        self._connections[self._last] = connection
        _LOG.info("%s %s: connected", centre.name, who)
        self.serve_one(centre)

    def disconnected(self, connection: _Connection, why: str) -> None:
        """A connection has ended."""
        if connection.centre is not None:
            self._connections.pop(connection.number, None)
            connection.centre.station.disconnect(connection.number, why)
            self.serve_one(connection.centre)

    def centre_of(self, master: Hashable) -> str:
        """Name of the control centre of a request's master; empty once his connection is over."""
        connection = self._connections.get(master) if isinstance(master, int) else None
        return "" if connection is None or connection.centre is None else connection.centre.name

    # -- serving --------------------------------------------------------------------------------------------------

    def events_ready(self) -> None:
        """There are new events, and they are on disk."""
        now = self.now()
        for centre in self._centres:
            if centre.station.started:
                centre.station.pump(now)
                self._flush(centre)

    def serve(self) -> None:
        """Pass on what was decided, and have decided what is new."""
        self._decide()
        for answer in _taken(self._desk.answers):
            connection = self._connections.get(answer.master) if isinstance(answer.master, int) else None
            if connection is not None and connection.centre is not None:
                connection.centre.station.tell(answer)
            elif not isinstance(answer.master, int) and self.elsewhere is not None:
                self.elsewhere(answer)
        for centre in self._centres:
            centre.station.pump(self.now())
            self._flush(centre)
        self._arm_desk()

    def serve_one(self, centre: Centre) -> None:
        """Do what a station has to do after it was told something."""
        questions = _taken(centre.station.asked)
        for asked in questions:
            try:
                self._operator.ask(centre.station, asked)
            except Exception:  # noqa: BLE001 - no answer may be taken for a yes, and no connection be lost by it
                _LOG.exception("%s of CA %d was not decided", asked.matter, asked.CA)
                centre.station.answer(asked.number, why="internal error")
        self._decide()
        if questions:
            centre.station.pump(self.now())
        if self._desk.answers:
            self.serve()
        self._flush(centre)
        self._arm_desk()

    def _decide(self) -> None:
        for request in _taken(self._desk.requests):
            try:
                self._operator.command(request)
            except Exception:  # noqa: BLE001 - no answer may be taken for a yes, and no connection be lost by it
                _LOG.exception("%s of %s was not decided", request.step, request.control.name)
                self._desk.confirm(request.number, self.now(), why="internal error")

    def _flush(self, centre: Centre) -> None:
        for number, octets, close in centre.station.data_to_send():
            connection = self._connections.get(number)
            if connection is None or connection.transport is None:
                continue
            if octets:
                connection.transport.write(octets)
            if close:
                connection.centre = None
                del self._connections[number]
                connection.linger()
        self._log(centre)
        self._arm(centre)

    def _log(self, centre: Centre) -> None:
        for note in _taken(centre.station.notes):
            _LOG.info("%s", note)

    def _arm(self, centre: Centre) -> None:
        """One timer for each station; one that is early looks again."""
        deadline = centre.station.next_deadline
        handle = self._timers.get(centre.name)
        if handle is not None and not handle.cancelled() and handle.when() <= deadline:
            return
        if handle is not None:
            handle.cancel()
        if deadline != float("inf"):
            self._timers[centre.name] = self._loop.call_at(deadline, self._due, centre)

    def _due(self, centre: Centre) -> None:
        del self._timers[centre.name]
        centre.station.handle_timer(self.now())
        self.serve_one(centre)

    def _arm_desk(self) -> None:
        for step in _taken(self._desk.trail) if self._desk.trail else ():
            if self.trail is not None:
                self.trail(step, self.now(), time.time_ns())
        deadline = self._desk.next_deadline
        if self._desk_timer is not None:
            self._desk_timer.cancel()
            self._desk_timer = None
        if deadline != float("inf"):
            self._desk_timer = self._loop.call_at(deadline, self._desk_due)

    def _desk_due(self) -> None:
        self._desk_timer = None
        self._desk.handle_timer(self.now())
        self.serve()


def _taken(items: list[Any]) -> list[Any]:
    taken = items[:]
    items.clear()
    return taken


def _host(transport: asyncio.Transport) -> str:
    return str((transport.get_extra_info("peername") or ("0.0.0.0",))[0])


def _peer(transport: asyncio.Transport) -> str:
    host, port, *_ = transport.get_extra_info("peername") or ("gone", 0)
    return f"{host}:{port}"
