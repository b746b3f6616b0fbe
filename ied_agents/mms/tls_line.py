"""A line of TLS from this process to a server, for the library's client (IEC 62351-3, -4: TLS profile).

The library's own TLS waits in its handshake for a server that says nothing, whatever time limit it was given (1.6.1,
measured).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ied_agents.mms.tls_front import INNER_HOST, pass_on

if TYPE_CHECKING:
    import ssl

_SOCKETS: Final = Path("/proc/self/net/tcp")


class TlsLine:
    """TLS on the far end; on the near end a port of the loopback address that takes one connection of this process.

    Attributes:
        port: the near end's.
        why: what TLS has against it, once it has ended for that.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> None:
        """Connect and shake hands.

        Args:
            host: address of the server.
            port: its TCP port.
            context: as :func:`ied_agents.runtime.tls.client_context` makes it.
            timeout_s: for that, and again for the client to come.

        Raises:
            OSError: nobody is there, or TLS refuses him; one who says nothing is a TimeoutError.
        """
        self.why = ""
        self._reach = host, port, context, timeout_s
        self._ready: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._run())
        self._thread = threading.Thread(target=self._work, name="TLS of an MMS client", daemon=True)
        self._thread.start()
        self.port = self._ready.result()

    def close(self) -> None:
        """End it."""
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _work(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _run(self) -> None:
        host, port, context, timeout_s = self._reach
        try:
            async with asyncio.timeout(timeout_s):
                far_reader, far_writer = await asyncio.open_connection(host, port, ssl=context)
        except OSError as error:
            self._ready.set_exception(error)
            return
        try:
            with socket.create_server((INNER_HOST, 0)) as listener:
                listener.setblocking(False)
                self._ready.set_result(listener.getsockname()[1])
                async with asyncio.timeout(timeout_s):
                    near = await _own_client(listener)
            await pass_on(far_reader, far_writer, *await asyncio.open_connection(sock=near))
        except TimeoutError:
            pass  # nobody came for it
        finally:
            far_writer.transport.abort()
            self.why = str(far_reader.exception() or "")


async def _own_client(listener: socket.socket) -> socket.socket:
    """The first connection that comes from this process: another's would speak in the name of our certificate."""
    while True:
        near, peer = await asyncio.get_running_loop().sock_accept(listener)
        if _is_ours(peer, listener.getsockname()):
            return near
        near.close()


def _is_ours(local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether the socket between these is open in this process (proc_net_tcp; proc(5), /proc/pid/fd).

    One that was closed behind its octets has the inode 0 there, and belongs to nobody.
    """
    ends = [f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}" for host, port in (local, remote)]
    rows = (line.split() for line in _SOCKETS.read_text(encoding="ascii").splitlines()[1:])
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1:3] == ends}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            if str(descriptor.readlink()) in inodes:
                return True
    return False
