"""The MMS servers of a machine's agents in one process: ``python -m ied_agents.mms.host SETTINGS.json``.

It may be killed and started again at any time: what the agents said meanwhile is in their journals, and is reported
with its times. It decides nothing, sends no GOOSE, and runs at a lower priority than the agents.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ied_agents.documents import JsonObject, read_json
from ied_agents.mms.device import Device
from ied_agents.mms.library import MmsLibraryError, load
from ied_agents.mms.model import MmsModelError
from ied_agents.mms.server import MmsServerError
from ied_agents.mms.tls_front import INNER_HOST, TlsFront, free_port
from ied_agents.runtime.journal import JournalError
from ied_agents.runtime.tls import TlsError, TlsFiles, server_context
from scl.document import SclError
from scl.reader import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NICE: Final = 10
_BUSY_S: Final = 0.005
"""Between two looks at the clients, while there are some."""
_IDLE_S: Final = 0.05
_FOLLOW_S: Final = 0.05
"""Between two looks at the journals."""
_STATUS_S: Final = 1.0
_SILENT_S: Final = 5.0
"""Between two questions to an agent that does not answer."""


class HostSettingsError(ValueError):
    """Settings that cannot be used; the message names the member."""


@dataclass(frozen=True, slots=True)
class ServedIed:
    """One IED to be served.

    Attributes:
        ied: its name in the SCD.
        address, port: where its server listens.
        operator: path of its agent's operator socket.
        journal: path of its agent's journal.
    """

    ied: str
    address: str
    port: int
    operator: str
    journal: str


@dataclass(frozen=True, slots=True)
class HostTls:
    """Paths of PEM files, as :class:`TlsFiles` has them; ``revoked`` empty for none."""

    certificate: str
    key: str
    authority: str
    revoked: str = ""

    def files(self) -> TlsFiles:
        """The same as paths."""
        revoked = Path(self.revoked) if self.revoked else None
        return TlsFiles(Path(self.certificate), Path(self.key), Path(self.authority), revoked)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What a host process serves: IEDs of one SCD, with TLS to all of them or to none."""

    scd: str
    ieds: tuple[ServedIed, ...]
    tls: HostTls | None = None

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        tls = None if self.tls is None else {name: path for name, path in asdict(self.tls).items() if path}
        whole = {"scd": self.scd, "ieds": [asdict(ied) for ied in self.ieds]}
        return json.dumps(whole | ({"tls": tls} if tls else {}), indent=1)

    @classmethod
    def from_json(cls, text: str) -> HostSettings:
        """Read settings.

        Raises:
            HostSettingsError: no JSON, or a member is missing, unknown or wrong.
        """
        root = JsonObject(read_json(text, HostSettingsError), "", HostSettingsError)
        ieds = tuple(_served(entry) for entry in root.objects("ieds"))
        tls = _tls(root.object("tls")) if "tls" in root.names() else None
        settings = cls(root.string("scd"), ieds, tls)
        root.finish()
        return settings


def _served(entry: JsonObject) -> ServedIed:
    made = ServedIed(
        entry.string("ied"),
        entry.string("address"),
        entry.integer("port", 1, 65_535),
        entry.string("operator"),
        entry.string("journal"),
    )
    entry.finish()
    return made


def _tls(entry: JsonObject) -> HostTls:
    revoked = entry.string("revoked") if "revoked" in entry.names() else ""
    made = HostTls(entry.string("certificate"), entry.string("key"), entry.string("authority"), revoked)
    entry.finish()
    return made


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
