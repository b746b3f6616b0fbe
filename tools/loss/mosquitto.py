"""A Mosquitto broker of its own, on a loopback port; started, stopped and killed by its process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S: Final = 30.0
_PLACES: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"  # of Debian not in every user's path


def program() -> str | None:
    """Where it is."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_PLACES)


def missing() -> str:
    """Why there can be none here; empty if there can."""
    return "" if program() else "no MQTT broker here; Debian has it in mosquitto"


class Mosquitto:
    """A broker with a folder of its own.

    Args:
        folder: for its configuration and log.
        more: lines of its configuration.
        anonymous: whoever connects may do all; else ``more`` says who may what.

    Attributes:
        port: where it listens, the same over restarts.
        folder: as given.
    """

    def __init__(self, folder: Path, more: str = "", *, anonymous: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        # Run by root it would become a user who cannot read the folder.
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\nuser root\nlog_type all\n"
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(text + more, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        words = [program() or "mosquitto", "-c", str(self._configuration)]
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder)  # noqa: S603 - our own words
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise OSError(f"mosquitto does not start: {self.log[-2000:]}") from None
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """SIGKILL: it saves nothing, and says goodbye to nobody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_PATIENCE_S)
            self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE_S)
            self._process = None
