"""What a site file says about MQTT brokers: ``[[broker]]``, and what is published there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from gateway.adapters.mqtt_commands import LONGEST_AGE_S
from gateway.adapters.mqtt_feed import BrokerConfig
from gateway.adapters.mqtt_messages import Topics, topic_fault
from gateway.site_iec104 import Name, Seconds, SitePoint, SitePoints, Strict, rows_for
from gateway.site_rtu import split_host
from ied_agents.runtime.tls import TlsError, named_server_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.points.point_list import PointRow
    from scl.model import SCL

PORT = 1883
TLS_PORT = 8883
_LONGEST_PASSWORD = 65_535
_Whole = Annotated[int, Field(gt=0)]


class SiteBrokerTls(Strict):
    """``tls``: PEM files, relative to the site file; the broker is known by its authority and its host name.

    ``certificate`` and ``key`` are shown to a broker that asks for them.
    """

    authority: str
    certificate: str | None = None
    key: str | None = None
    revoked: str | None = None


class SiteBroker(Strict):
    """``[[broker]]``: an MQTT 5 broker. Times in s.

    Attributes:
        host: ``HOST`` or ``HOST:PORT``, IPv6 as ``[ADDRESS]:PORT``; port 1883, with TLS 8883.
        password_file: the user's password is its first line.
        prefix: topics begin with it and the site's name.
        client_id: ``flisr-SITE-NAME`` if left out.
        points: which data objects it gets, and which may be commanded through it.
        commands: commands are taken from it.
        command_age_s: one that was asked longer ago is refused.
        keepalive_s: after so long without a word the line is tried.
    """

    name: Name
    host: str
    tls: SiteBrokerTls | None = None
    user: str = ""
    password_file: str | None = None
    prefix: str = "flisr"
    client_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    points: SitePoints = SitePoints()
    commands: bool = False
    command_age_s: Annotated[Seconds, Field(le=LONGEST_AGE_S)] = 10.0
    most_events: _Whole = 100_000
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        split_host(value, PORT)
        return value

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        fault = topic_fault(value)
        if fault:
            raise ValueError(fault)
        return value


@dataclass(frozen=True, slots=True)
class BrokerOfSite:
    """A broker as the site file has it.

    Attributes:
        config: for the adapter, without TLS and password.
        tls: its files; None for plain TCP.
        password_file: of the user; None for none.
        folder: of the site file.
    """

    config: BrokerConfig
    tls: SiteBrokerTls | None
    password_file: Path | None
    folder: Path

    def ready(self) -> tuple[BrokerConfig, list[str]]:
        """With what the files hold; and all that is wrong with them."""
        problems = []
        context, password = None, ""
        tls = self.tls
        if tls is not None:
            own = None
            if tls.certificate is not None and tls.key is not None:
                own = self.folder / tls.certificate, self.folder / tls.key
            revoked = None if tls.revoked is None else self.folder / tls.revoked
            try:
                context = named_server_context(self.folder / tls.authority, own, revoked)
            except TlsError as error:
                problems.append(f"tls: {error}")
        if self.password_file is not None:
            try:
                password = self.password_file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
            except OSError as error:
                problems.append(f"password_file: {self.password_file}: {error.strerror}")
            except UnicodeDecodeError:
                problems.append(f"password_file: {self.password_file}: no text in UTF-8")
            else:
                if not 0 < len(password.encode()) <= _LONGEST_PASSWORD:
                    problems.append(f"password_file: {self.password_file}: expected the password in its first line")
        return replace(self.config, tls=context, password=password), problems


def resolve_brokers(
    brokers: tuple[SiteBroker, ...],
    points: dict[str, SitePoint],
    scl: SCL,
    folder: Path,
    field_rows: Sequence[PointRow],
    site: str,
) -> tuple[list[BrokerOfSite], list[str]]:
    """What is published to the brokers, and all that is wrong.

    Args:
        brokers: ``[[broker]]``.
        points: ``[point]``.
        scl: the site's SCD.
        folder: of the site file.
        field_rows: points of field devices.
        site: its name.
    """
    problems = _among(brokers, site)
    overrides = {name: point.override() for name, point in points.items()}
    resolved = []
    for number, broker in enumerate(brokers, 1):
        path = f"broker[{number}]"
        found, why = rows_for(broker.points, overrides, scl, field_rows)
        problems += [each if each.startswith("point.") else f"{path}.{each}" for each in why]
        if found is None:
            continue
        # A name with a level separator at an end, or a wildcard, cannot be told from others, or not be sent at all.
        faults = {row.name: fault for row in found.rows if (fault := topic_fault(row.name))}
        problems += [f"{path}.points: {fault}; leave it out with exclude" for fault in faults.values()]
        if broker.commands and not any(row.control for row in found.rows):
            problems.append(f"{path}.commands: none of its points can be commanded; expected false, or other points")
        host, port = split_host(broker.host, PORT if broker.tls is None else TLS_PORT)
        config = BrokerConfig(
            name=broker.name,
            host=host,
            port=port,
            topics=Topics(broker.prefix, site),
            client_id=_client_id(broker, site),
            rows=found.rows,
            commands=broker.commands,
            user=broker.user,
            command_age_s=broker.command_age_s,
            most_events=broker.most_events,
            keepalive_s=broker.keepalive_s,
        )
        password_file = None if broker.password_file is None else folder / broker.password_file
        resolved.append(BrokerOfSite(config, broker.tls, password_file, folder))
    return resolved, problems


def _client_id(broker: SiteBroker, site: str) -> str:
    return broker.client_id or f"flisr-{site}-{broker.name}"


def _among(brokers: tuple[SiteBroker, ...], site: str) -> list[str]:
    """What cannot be, of each and beside each other."""
    problems = []
    fault = topic_fault(site) or ("" if "/" not in site else f"{site!r} has '/', which divides topics")
    if brokers and fault:
        problems.append(f"site.name: {fault}; it is part of the topics of broker[1]")
    for number, broker in enumerate(brokers, 1):
        path = f"broker[{number}]"
        if broker.password_file is not None and not broker.user:
            problems.append(f"{path}.user: missing; password_file is of a user")
        if broker.tls is not None and (broker.tls.certificate is None) != (broker.tls.key is None):
            missing = "certificate" if broker.tls.certificate is None else "key"
            problems.append(f"{path}.tls.{missing}: missing; a certificate has a key, and both are given or none")
        for before, other in enumerate(brokers[: number - 1], 1):
            if other.name == broker.name:
                problems.append(f"{path}.name: {broker.name} is broker[{before}] too; each needs its own")
            if other.host != broker.host:
                continue
            if other.prefix == broker.prefix:
                problems.append(
                    f"{path}.prefix: broker[{before}] publishes there under {broker.prefix} too; each needs its own"
                )
            if _client_id(other, site) == _client_id(broker, site) and other.name != broker.name:
                problems.append(f"{path}.client_id: broker[{before}] has it too; each needs its own")
    return problems
