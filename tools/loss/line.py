"""A line between a master and a station that can be cut, in the midst of whatever flows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 1 << 16


class Line:
    """Passes octets on to a port of this machine, until it is cut.

    Attributes:
        port: where masters connect.
        cuts: how often it was cut while something flowed.
        since: when it was last taken into use, in the loop's time, s; infinite while it is not.
        open: masters are let in.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._octets_left: int | None = None
        self._cut: Callable[[], None] | None = None
        self.cuts = 0
        self.since = float("inf")
        self.open = True

    @classmethod
    async def between(cls, target: int) -> Line:
        """A line to a port."""
        line = cls(target)
        line._server = await asyncio.start_server(line._accept, "127.0.0.1", 0)
        line.port = line._server.sockets[0].getsockname()[1]
        return line

    _server: asyncio.Server
    port: int

    async def cut(self, after: int) -> None:
        """Cut it when so many octets more have come from the station: rarely at the end of a frame.

        What has been read up to there is passed on, the rest never.
        """
        cut = asyncio.Event()
        self._octets_left, self._cut = after, cut.set
        await cut.wait()
        self.cuts += 1

    async def close(self) -> None:
        """End it."""
        self._server.close()
        self._drop()
        await self._server.wait_closed()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.since = float("inf")

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()  # nobody is there just now
            return
        self._writers |= {writer, far_writer}
        self.since = asyncio.get_running_loop().time()
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer, counted=True))
        for each in (writer, far_writer):
            each.transport.abort()
            self._writers.discard(each)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool = False) -> None:
        while data := await reader.read(_CHUNK):
            left = self._octets_left if counted else None
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                await writer.drain()
                self._octets_left = None
                self._drop()
                if self._cut is not None:
                    self._cut()
                return
            if left is not None:
                self._octets_left = left - len(data)
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
