"""What an MMS host process is told, as one JSON document; made by who starts it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ied_agents.documents import JsonObject, read_json
from ied_agents.runtime.tls import TlsFiles


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
    """What a host process serves: IEDs of one SCD, with TLS to all of them or to none.

    ``parent``: the process with which it ends, however that ends; 0 for none.
    """

    scd: str
    ieds: tuple[ServedIed, ...]
    tls: HostTls | None = None
    parent: int = 0

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        tls = None if self.tls is None else {name: path for name, path in asdict(self.tls).items() if path}
        whole = {"scd": self.scd, "ieds": [asdict(ied) for ied in self.ieds]}
        parent = {"parent": self.parent} if self.parent else {}
        return json.dumps(whole | ({"tls": tls} if tls else {}) | parent, indent=1)

    @classmethod
    def from_json(cls, text: str) -> HostSettings:
        """Read settings.

        Raises:
            HostSettingsError: no JSON, or a member is missing, unknown or wrong.
        """
        root = JsonObject(read_json(text, HostSettingsError), "", HostSettingsError)
        ieds = tuple(_served(entry) for entry in root.objects("ieds"))
        tls = _tls(root.object("tls")) if "tls" in root.names() else None
        parent = root.integer("parent", low=1) if "parent" in root.names() else 0
        settings = cls(root.string("scd"), ieds, tls, parent)
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
