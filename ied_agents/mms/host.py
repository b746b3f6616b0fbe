"""The MMS servers of a machine's agents in one process: ``python -m ied_agents.mms.host SETTINGS.json``.

It may be killed and started again at any time: what the agents said meanwhile is in their journals, and is reported
with its times. It decides nothing, sends no GOOSE, and runs at a lower priority than the agents.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ied_agents.mms.device import Device
from ied_agents.mms.host_settings import HostSettings, HostSettingsError
from ied_agents.mms.library import MmsLibraryError, load
from ied_agents.mms.model import MmsModelError
from ied_agents.mms.server import MmsServerError
from ied_agents.mms.tls_front import INNER_HOST, TlsFront, free_port
from ied_agents.runtime.journal import JournalError
from ied_agents.runtime.tls import TlsError, server_context
from scl.document import SclError
from scl.reader import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ied_agents.mms.host_settings import ServedIed

_NICE: Final = 10
_PR_SET_PDEATHSIG: Final = 1
_BUSY_S: Final = 0.005
"""Between two looks at the clients, while there are some."""
_IDLE_S: Final = 0.05
_FOLLOW_S: Final = 0.05
"""Between two looks at the journals."""
_STATUS_S: Final = 1.0
_SILENT_S: Final = 5.0
"""Between two questions to an agent that does not answer."""


class Host:
    """Drives the devices of one process.

    Args:
        settings: which.
        library: as loaded.

    Raises:
        SclError, OSError: the SCD cannot be read.
        MmsModelError, MmsServerError, JournalError: an IED cannot be served.
    """

    def __init__(self, settings: HostSettings, library: Any) -> None:
        scl = read(settings.scd)
        context = None if settings.tls is None else server_context(settings.tls.files())
        self._devices: list[Device] = []
        self._fronts: list[tuple[TlsFront, ServedIed]] = []
        self._due: dict[int, float] = {}
        try:
            for served in settings.ieds:
                address, port, front = served.address, served.port, None
                if context is not None:
                    address, port = INNER_HOST, free_port()
                    front = TlsFront(context, served.ied, port)
                    self._fronts.append((front, served))
                device = Device(library, scl, served.ied, Path(served.operator), Path(served.journal), front)
                self._devices.append(device)
                device.refill()
                device.server.start(address, port)
        except BaseException:
            self.close()
            raise

    async def run(self, stop: Sequence[int], ready: Callable[[], None]) -> None:
        """Serve until ``stop`` is not empty; ``ready`` is called when all listen.

        Raises:
            OSError: nobody may listen there.
        """
        try:
            for front, served in self._fronts:
                await front.listen(served.address, served.port)
            ready()
            await self._serve(stop)
        finally:
            await asyncio.gather(*(front.close() for front, _ in self._fronts))

    async def _serve(self, stop: Sequence[int]) -> None:
        follow = 0.0
        while not stop:
            clients = sum([device.server.process() for device in self._devices])
            now = time.monotonic()
            if now >= follow:
                follow = now + _FOLLOW_S
                for number, device in enumerate(self._devices):
                    device.follow()
                    if now >= self._due.get(number, 0.0):
                        self._due[number] = now + (_STATUS_S if device.look() else _SILENT_S)
            await asyncio.sleep(_BUSY_S if clients else _IDLE_S)

    def close(self) -> None:
        """Stop all servers."""
        for device in self._devices:
            device.close()


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends: nothing is lost, and its ports are free.

    Raises:
        OSError: the parent has ended already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError(f"process {parent}, which it is to end with, has ended")


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    if len(arguments) != 1:
        print("usage: python -m ied_agents.mms.host SETTINGS.json", file=sys.stderr)
        return 2
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    try:
        settings = HostSettings.from_json(Path(arguments[0]).read_text(encoding="utf-8"))
        if settings.parent:
            _end_with(settings.parent)
        os.nice(_NICE)
        host = Host(settings, load())
    except (
        HostSettingsError,
        MmsLibraryError,
        MmsModelError,
        SclError,
        JournalError,
        MmsServerError,
        TlsError,
        OSError,
    ) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    said = {"kind": "HostReady", "ieds": [s.ied for s in settings.ieds], "pid": os.getpid()}
    try:
        asyncio.run(host.run(stop, lambda: print(json.dumps(said), flush=True)))
    except OSError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    except JournalError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    finally:
        host.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
