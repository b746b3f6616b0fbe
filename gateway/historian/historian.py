"""The historian: a consumer of the event log whose events become rows of a database.

What it has not committed waits in the log, also over a restart: a database that is away, locked or full costs nothing
until the log's own bound is reached, and the log counts what is lost then. The loop's thread never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.historian.database import Database, HistoryError, HistoryUnusable
from gateway.historian.writer import HistoryWriter, Retention
from gateway.points.audit import AUDIT_KEY
from gateway.points.event_log import ConsumerConfig
from gateway.status import HistoryStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.points.event_log import Consumer
    from gateway.points.point import PointConfig

_LOG: Final = logging.getLogger(__name__)
_NAME: Final = "history"
_MOST: Final = 2_000
"""Events in one transaction. Bounds how long it keeps the loop's thread to hand them over."""
_GATHER_S: Final = 0.5
"""A history need not be quicker; one sync for all events of that time spares the disk."""
_TIDY_S: Final = 60.0
_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0
_Result = TypeVar("_Result")


class Historian:
    """Keeps the history of a gateway's points.

    Args:
        where: URL of the database, or path of an SQLite file.
        points: what is known of the points.
        retention: how long rows are kept.

    Attributes:
        config: of the event log's consumer.

    Raises:
        HistoryUnusable: the URL names no database that can be used here.
    """

    def __init__(self, where: str, points: Iterable[PointConfig], retention: Retention | None = None) -> None:
        database = Database(where)
        if database.file is not None and not database.file.absolute().parent.is_dir():
            raise HistoryUnusable(f"{database.name}: there is no folder {database.file.parent}")
        # What was commanded is lost last.
        self.config = ConsumerConfig(_NAME, lambda key: 0 if key == AUDIT_KEY else 1)
        self._writer = HistoryWriter(database, points, retention or Retention())
        self._name = database.name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._ready = asyncio.Event()
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wait_s = 0.0
        self._why = ""
        self._since_ns = 0

    @property
    def trouble(self) -> bool:
        """Whether the database refused the last time."""
        return self._wait_s > 0

    def status(self) -> HistoryStatus:
        """How it is; after :meth:`begin`."""
        return HistoryStatus(
            name=self._name,
            waiting=self._consumer.waiting,
            most=self._consumer.most,
            lost=self._consumer.overflowed,
            reachable=not self.trouble,
            why=self._why,
            since_ns=self._since_ns,
        )

    async def check(self) -> None:
        """Look at the database before anything depends on it. One that is away is no error here: it may come.

        Raises:
            HistoryUnusable: waiting for it does not help.
        """
        try:
            await self._in_thread(self._writer.open)
        except HistoryUnusable:
            self._thread.shutdown()
            raise
        except HistoryError as error:
            self._failed(error)

    def begin(self, consumer: Consumer, acknowledged: Callable[[], None]) -> None:
        """Take events from the log from now on.

        Args:
            consumer: the log's, of :attr:`config`.
            acknowledged: called when the log has acknowledgements to write.
        """
        self._consumer = consumer
        self._acknowledged = acknowledged
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def events_ready(self) -> None:
        """The log may offer events."""
        self._ready.set()

    async def close(self) -> None:
        """Write what is offered, unless the database refuses, and give it up. Before the log is closed."""
        self._closed.set()
        self._ready.set()  # once more, for what has come since
        if self._task is not None:
            await self._task
        await self._in_thread(self._writer.close)
        self._thread.shutdown()

    async def _serve(self) -> None:
        closing = False
        while not closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TIDY_S):
                    await self._ready.wait()
            self._ready.clear()
            if self._consumer.waiting < _MOST:  # else a gateway that never lives longer than this would store nothing
                await self._pause(_GATHER_S)
            closing = self._closed.is_set()
            while await self._round():
                if self.trouble:
                    await self._pause(self._wait_s)
                if self.trouble and self._closed.is_set():
                    return

    async def _round(self) -> bool:
        """Bring some events into the database, and old rows out; whether there is more to do."""
        batch = self._consumer.take(_MOST)
        try:
            if batch:
                await self._in_thread(lambda: self._writer.store(batch))
                self._consumer.acknowledge([each.sequence for each in batch])
                self._acknowledged()
            more = await self._in_thread(lambda: self._writer.tidy(time.time_ns()))
        except Exception as error:  # noqa: BLE001 - a defect must not end the history, and is told with its place
            self._consumer.release()
            self._failed(error)
            return True
        if self.trouble:
            self._wait_s, self._why, self._since_ns = 0.0, "", 0
            _LOG.info("%s: events are stored again", self._name)
        # Old rows can wait for the next start.
        return len(batch) == _MOST or (more and not self._closed.is_set())

    def _failed(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__
        if not self.trouble:
            self._since_ns = time.time_ns()
            unexpected = None if isinstance(error, HistoryError) else error
            _LOG.error(
                "%s; events wait in the event log until the database takes them",
                error or self._name,
                exc_info=unexpected,
            )
        self._wait_s = min(2 * self._wait_s or _FIRST_S, _LONGEST_S)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when it is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
