"""How a gateway is, for who asks: at a Unix socket beside its store, and for Prometheus over HTTP where that is wanted.

Both say the same document (:mod:`gateway.status`), gathered once for all who ask within half a second: however many
ask and however often, it costs the gateway no more than that.

A request at the socket is one line of JSON, ``{"request": "status"}``; the answer is one line likewise.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from gateway.bounded_server import BoundedServer
from gateway.status import CentreStatus, EventLogStatus, MasterStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from gateway.adapters.iec104_outlet import Outlet
    from gateway.points.event_log import EventLog
    from gateway.status import GatewayStatus

_LOG: Final = logging.getLogger(__name__)
_FRESH_S: Final = 0.5


def socket_of(store: Path) -> Path:
    """Where the gateway of this event log answers."""
    return store.with_name(f"{store.name}-status")


def centres_of(outlet: Outlet) -> tuple[CentreStatus, ...]:
    """How the control centres are."""
    found = []
    for name, masters in outlet.server.masters.items():
        waits = outlet.log.consumer(name)
        told = tuple(MasterStatus(peer=peer.removeprefix(f"{name} "), started=started) for peer, started in masters)
        found.append(
            CentreStatus(name=name, waiting=waits.waiting, most=waits.most, lost=waits.overflowed, masters=told)
        )
    return tuple(found)


def event_log_of(log: EventLog) -> EventLogStatus:
    """How the events on disk are."""
    return EventLogStatus(
        octets=log.octets, most_octets=log.most_octets, storing=log.storing, trouble=tuple(log.trouble)
    )


class Supervision:
    """Says how the gateway is.

    Args:
        gather: looks at all of it.
    """

    def __init__(self, gather: Callable[[], Coroutine[Any, Any, GatewayStatus]]) -> None:
        self._gather = gather
        self._servers: list[BoundedServer] = []
        self._gathering: asyncio.Task[GatewayStatus] | None = None
        self._last: tuple[float, GatewayStatus] | None = None

    async def listen_at(self, path: Path) -> None:
        """Answer at a Unix socket.

        Raises:
            OSError: it cannot be made.
        """
        server = BoundedServer("status", b"\n", self._said)
        self._servers.append(server)
        await server.listen_at(path)

    async def serve_metrics(self, host: str, port: int) -> int:
        """Answer Prometheus; returns the port.

        Raises:
            OSError: the address cannot be had.
        """
        from gateway.metrics import http_answer  # noqa: PLC0415 - who wants none need not load its library

        async def answer(request: bytes) -> bytes:
            return await http_answer(request, self.status)

        server = BoundedServer("metrics", b"\r\n\r\n", answer)
        self._servers.append(server)
        return await server.listen_on(host, port)

    async def close(self) -> None:
        """Answer no more."""
        await asyncio.gather(*(server.close() for server in self._servers))
        if self._gathering is not None:
            self._gathering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._gathering

    async def status(self) -> GatewayStatus:
        """How the gateway is, or was half a second ago."""
        now = asyncio.get_running_loop().time()
        if self._last is not None and now - self._last[0] < _FRESH_S:
            return self._last[1]
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_task(self._look())
        # Who asked first may leave before the others.
        return await asyncio.shield(self._gathering)

    async def _look(self) -> GatewayStatus:
        try:
            found = await self._gather()
            self._last = asyncio.get_running_loop().time(), found
            return found
        finally:
            self._gathering = None

    async def _said(self, request: bytes) -> bytes:
        try:
            asked = json.loads(request)["request"]
        except (ValueError, LookupError, TypeError, RecursionError):
            asked = None
        if asked != "status":
            return b'{"kind": "Refused", "why": "expected {\\"request\\": \\"status\\"}"}\n'
        try:
            said = (await self.status()).document()
        except Exception as error:  # noqa: BLE001 - a part that cannot say how it is must not end the server
            _LOG.exception("status: internal error")
            said = {"kind": "Refused", "why": f"internal error: {error!r}"}
        return json.dumps(said).encode() + b"\n"
