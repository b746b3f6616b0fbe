"""Short conversations with whoever connects: one request, one answer, and the end. Nobody is worth waiting for long.

Who says nothing, says too much, or does not read what he asked for, is cut off after a while; who comes when there are
too many takes the place of one that has not asked for anything yet, or else of the oldest.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

_LOG: Final = logging.getLogger(__name__)
PATIENCE_S: Final = 5.0
"""For a request, and for its answer to be read."""
MOST: Final = 32
"""Conversations at a time."""
_LONGEST: Final = 8192
"""Octets of a request."""
_BACKLOG: Final = 16


class BoundedServer:
    """Answers requests at a Unix socket or a TCP port.

    Args:
        name: for the log.
        end: the octets with which a request ends.
        answer: gives the octets of the answer to a request, which may be anything; must not raise.
        patience_s: for a request; the same again for its answer to be read, s.
        most: conversations at a time.
    """

    def __init__(
        self,
        name: str,
        end: bytes,
        answer: Callable[[bytes], Awaitable[bytes]],
        *,
        patience_s: float = PATIENCE_S,
        most: int = MOST,
    ) -> None:
        self._name = name
        self._end = end
        self._answer = answer
        self._patience_s = patience_s
        self._most = most
        self._server: asyncio.Server | None = None
        self._path: tuple[Path, int] | None = None
        self._talks: dict[asyncio.Task[None], bool] = {}  # whether it has asked; the oldest first

    async def listen_at(self, path: Path) -> None:
        """Listen at a Unix socket that is for this user alone, in place of what a killed process has left there.

        Raises:
            OSError: it cannot be made; the message names the path.
        """
        listener = _listener(path)
        # From 3.13 on it would remove the socket by the name that it was bound to.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await asyncio.start_unix_server(
            self._talk, sock=listener, limit=_LONGEST, backlog=_BACKLOG, **keep
        )
        self._path = path, _inode(path)

    async def listen_on(self, host: str, port: int) -> int:
        """Listen at a TCP port; returns it.

        Raises:
            OSError: the address cannot be had; the message names it.
        """
        self._server = await asyncio.start_server(self._talk, host, port, limit=_LONGEST, backlog=_BACKLOG)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """End all conversations, and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        if self._path is not None:
            path, made = self._path
            if _inode(path) == made:
                path.unlink(missing_ok=True)

    def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has connected."""
        if len(self._talks) >= self._most:
            silent = (task for task, asked in self._talks.items() if not asked)
            oldest = next(silent, None) or next(iter(self._talks))
            del self._talks[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._talks[task] = False
        task.add_done_callback(lambda done: self._talks.pop(done, None))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                request = await reader.readuntil(self._end)
            task = asyncio.current_task()
            if task in self._talks:
                self._talks[task] = True
            answer = await self._answer(request)
            async with asyncio.timeout(self._patience_s):
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _LOG.debug("%s: cut off: %r", self._name, error)
        except Exception:  # noqa: BLE001 - one conversation's trouble is nobody else's
            _LOG.exception("%s: internal error", self._name)
        finally:
            writer.transport.abort()


def _inode(path: Path) -> int:
    """Of the socket that has this name now; 0 if there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _listener(path: Path) -> socket.socket:
    """A listening socket for this user alone."""
    fresh = path.with_name(f".{path.name}.new")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise FileExistsError(errno.EEXIST, "it is there, and is no socket")
        fresh.unlink(missing_ok=True)
        with short_path(fresh) as place:
            listener.bind(place)
        fresh.chmod(0o600)  # before anybody finds it
        listener.listen(_BACKLOG)  # nobody finds one that does not listen
        fresh.replace(path)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{path}: {error.strerror}") from None
    return listener


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A name for a Unix socket that fits, however long its path is: Linux takes 107 octets.

    Raises:
        OSError: there is no such folder.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
