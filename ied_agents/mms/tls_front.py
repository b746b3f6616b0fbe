"""Ends TLS before an MMS server, and passes on what clients with a good certificate say (IEC 62351-3, -4: TLS profile).

The library's own TLS keeps the whole process waiting for a client that says nothing in its handshake (1.6.1, measured).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Final

from ied_agents.runtime.tls import common_name

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKE_S: Final = 10.0
MOST_CONNECTIONS: Final = 32
"""Of one front, handshakes included: a client that connects and says nothing is no reason to grow."""
INNER_HOST: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16


def free_port() -> int:
    """A port of the loopback address for a server behind a front."""
    with socket.socket() as probe:
        probe.bind((INNER_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class TlsFront:
    """What clients of one MMS server connect to.

    Args:
        context: as :func:`ied_agents.runtime.tls.server_context` makes it.
        name: of the IED, for messages.
        inner_port: where the server itself listens.
        say: takes messages of who is refused and why.
    """

    def __init__(
        self, context: ssl.SSLContext, name: str, inner_port: int, say: Callable[[str], object] | None = None
    ) -> None:
        self._context = context
        self._name = name
        self._inner_port = inner_port
        self._say = say or (lambda text: sys.stderr.write(f"{text}\n"))
        self._clients: dict[str, tuple[str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, address: str, port: int) -> int:
        """Accept clients; returns the port.

        Raises:
            OSError: nobody may listen there.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(_CHUNK), self._accepted), address, port
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def client(self, peer: str) -> tuple[str, str] | None:
        """Address and certificate's common name of the client behind a connection of this front, if one is."""
        return self._clients.get(peer)

    async def close(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port, *_ = writer.get_extra_info("peername") or ("gone", 0)
        if len(self._tasks) >= MOST_CONNECTIONS:
            self._say(f"{self._name}: {host}:{port}: refused: {MOST_CONNECTIONS} connections are open")
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, f"{host}:{port}"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        try:
            await writer.start_tls(self._context, ssl_handshake_timeout=HANDSHAKE_S)
        except (OSError, ssl.SSLError) as error:  # the time limit is a ConnectionError too
            self._say(f"{self._name}: {peer}: refused by TLS: {error or 'it says nothing'}")
            writer.transport.abort()
            return
        name = common_name(writer.get_extra_info("peercert"))
        if name is None:
            self._say(f"{self._name}: {peer}: refused: its certificate has no common name")
            writer.transport.abort()
            return
        inner = socket.socket()
        inner.setblocking(False)
        inner.bind((INNER_HOST, 0))
        own = f"{INNER_HOST}:{inner.getsockname()[1]}"
        self._clients[own] = peer, name  # before the server can see the connection
        try:
            await asyncio.get_running_loop().sock_connect(inner, (INNER_HOST, self._inner_port))
            inner_reader, inner_writer = await asyncio.open_connection(sock=inner)
        except OSError as error:
            self._say(f"{self._name}: {peer}: the MMS server does not take it: {error}")
            inner.close()
            writer.transport.abort()
            del self._clients[own]
            return
        try:
            await pass_on(inner_reader, inner_writer, reader, writer)
        finally:
            self._clients.pop(own, None)


async def pass_on(
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Pass octets both ways until one end is over, then end the other."""
    passing = {
        asyncio.ensure_future(_pass(reader, inner_writer)),
        asyncio.ensure_future(_pass(inner_reader, writer)),
    }
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in passing:
            each.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        # First the inner end: what a server still decides must have a name.
        inner_writer.transport.abort()
        writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of them ends."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
