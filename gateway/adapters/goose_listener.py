"""Hears the GOOSE of field devices: a packet socket and a timer for each; what is made of it is the core's.

An interface that goes down, or is away, makes the device's points old; it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.adapters.goose_field import GooseField
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.link import LinkError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.adapters.goose_field import GooseFieldConfig
    from gateway.adapters.iec104_outlet import Outlet
    from gateway.status import GooseStatus

_LOG: Final = logging.getLogger(__name__)
_AGAIN_S: Final = 1.0
"""Between attempts to open an interface."""


class _Heard:
    """One device: its socket, if there is one, and its timer."""

    def __init__(self, field: GooseField) -> None:
        self.field = field
        self._link: AfPacketLink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._said = ""

    def open(self) -> None:
        config = self.field.config
        try:
            self._link = AfPacketLink(config.interface, {block.config.dst for block in config.blocks})
        except LinkError as error:
            self._fail(error)
            return
        self._said = ""
        asyncio.get_running_loop().add_reader(self._link, self._receive, self._link)

    def _fail(self, error: LinkError) -> None:
        self.close()
        why = error.strerror or str(error)
        self.field.lose(why, time.time_ns())
        if why != self._said:
            self._said = why
            _LOG.error("%s: no GOOSE is heard: %s", self.field.config.name, why)
        self._timer = asyncio.get_running_loop().call_later(_AGAIN_S, self.open)

    def _receive(self, link: AfPacketLink) -> None:
        try:
            frames = link.receive()
        except LinkError as error:
            self._fail(error)
            return
        now, utc_ns = time.monotonic(), time.time_ns()
        for frame in frames:
            self.field.receive(frame, now, utc_ns)
        self._arm()

    def _arm(self) -> None:
        """The timer stands at the next deadline or before it: one that comes too soon finds nothing to do."""
        due = self.field.next_deadline
        if due is None or (self._timer is not None and self._due is not None and self._due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer = self._due = None
        link = self._link
        if link is not None:
            self._receive(link)  # what waits in the socket came before the time ran out
        if self._link is not None:
            self.field.handle_timer(time.monotonic(), time.time_ns())
            self._arm()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._due = None
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
            self._link = None


class GooseListener:
    """The field devices of a site that are heard by GOOSE.

    Args:
        configs: which, and what they tell.
    """

    def __init__(self, configs: Iterable[GooseFieldConfig]) -> None:
        self._configs = tuple(configs)
        self._heard: list[_Heard] = []

    def start(self, outlet: Outlet) -> None:
        """Hear them; what they tell goes to the outlet."""
        self._heard = [_Heard(GooseField(config, outlet)) for config in self._configs]
        for each in self._heard:
            each.open()

    def status(self) -> tuple[GooseStatus, ...]:
        """How their control blocks are."""
        return tuple(status for each in self._heard for status in each.field.status())

    def close(self) -> None:
        """Hear nothing any more."""
        for each in self._heard:
            each.close()
