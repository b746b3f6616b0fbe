"""The gateway of one site: makes its parts from the site file, puts them together, starts and ends them.

Field devices tell points; control centres, MQTT brokers and the history are told of them; commands go back to the
device of their point.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from gateway.adapters.audit_trail import AuditTrail
from gateway.adapters.goose_listener import GooseListener
from gateway.adapters.iec104_field import FieldRtus
from gateway.adapters.iec104_outlet import Outlet
from gateway.adapters.mms_process import MmsFields
from gateway.agent_trail import AgentTrail
from gateway.embedded import EmbeddedAgents
from gateway.points.table import PointTable
from gateway.site import SiteError
from gateway.status import GatewayStatus
from gateway.supervision import Supervision, centres_of, event_log_of, socket_of
from ied_agents.runtime.tls import TlsError, client_context, server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gateway.adapters.iec104_field import FieldRtuConfig
    from gateway.adapters.iec104_outlet import Listener as EventListener
    from gateway.adapters.iec104_outlet import PointCommand
    from gateway.adapters.mqtt_client import MqttBroker
    from gateway.adapters.mqtt_feed import BrokerConfig
    from gateway.historian.historian import Historian
    from gateway.iec104.station import ControlledStation, StationAsked
    from gateway.site import Site
    from gateway.site_iec104 import ServedCentre
    from ied_agents.runtime.tls import TlsFiles


class Listener(NamedTuple):
    """Where masters connect.

    Attributes:
        host: own address.
        port: TCP port; 0 for any.
        tls: None for plain TCP.
        centres: names of the control centres that are served there.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    centres: frozenset[str]


def listeners_of(centres: Sequence[ServedCentre]) -> list[Listener]:
    """One for each address and port.

    Raises:
        TlsError: names the first file that is wrong, and whose it is.
    """
    by_place: dict[tuple[str, int, TlsFiles | None], list[str]] = {}
    for number, centre in enumerate(centres):
        # A port that is any is each one's own.
        place = (centre.listen, centre.port or -number - 1, centre.tls)
        by_place.setdefault(place, []).append(centre.config.name)
    listeners = []
    for (host, port, files), names in by_place.items():
        try:
            tls = None if files is None else server_context(files)
        except TlsError as error:
            raise TlsError(f"{', '.join(names)}: {error}") from None
        listeners.append(Listener(host, max(port, 0), tls, frozenset(names)))
    return listeners


class _Devices:
    """All field devices, whatever they speak: a command goes to the one that has its point."""

    def __init__(self, rtus: FieldRtus, ieds: MmsFields) -> None:
        self._rtus = rtus
        self._ieds = ieds

    def operate(self, command: PointCommand) -> None:
        (self._ieds if command.name in self._ieds.controls else self._rtus).operate(command)

    def ask(self, station: ControlledStation, asked: StationAsked) -> None:
        self._rtus.ask(station, asked)


class Gateway:
    """The running gateway of a site.

    Args:
        site: as it was read.

    Raises:
        SiteError: with every problem found, those of the certificates included.

    Attributes:
        listeners: where control centres are served, with the ports that were had once it is started.
        devices: names of the field devices.
        metrics: where Prometheus is answered, with the port that was had; None where it is not.
        brokers: where is published by MQTT, ``HOST:PORT`` by name.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._centres, rtus = site.iec104()
        ieds, heard = site.mms(), site.goose()
        problems = []
        configs: list[FieldRtuConfig] = []
        self._broker_configs: list[BrokerConfig] = []
        try:
            self.listeners = listeners_of(self._centres)
        except TlsError as error:
            problems.append(f"centre {error}")
        for rtu in rtus:
            try:
                configs.append(rtu.ready())
            except TlsError as error:
                problems.append(f"rtu {rtu.config.name}: {error}")
        for ied in ieds:
            try:
                if ied.tls is not None:
                    client_context(ied.tls)
            except TlsError as error:
                problems.append(f"ied {ied.name}: {error}")
        there = [name for _, name in socket.if_nameindex()] if heard else []
        problems += [
            f"ied {each.name}: goose: there is no interface {each.interface} here; there are: {', '.join(there)}"
            for each in heard
            if each.interface not in there
        ]
        brokers = site.mqtt()
        for number, broker in enumerate(brokers, 1):
            config, faults = broker.ready()
            self._broker_configs.append(config)
            problems += [f"broker[{number}].{fault}" for fault in faults]
        if not problems and not any((self._centres, brokers, rtus, ieds, heard)):
            nobody = "no [[centre]], no [[broker]], no [[rtu]], no [[ied]] and no [[agent]]"
            problems.append(f"{nobody} in it: nobody to serve, and nobody to hear")
        if problems:
            raise SiteError([f"{site.file}: {problem}" for problem in problems])
        names = [*(each.name for each in configs), *(each.name for each in ieds), *(each.name for each in heard)]
        self.devices = list(dict.fromkeys(names))
        self.brokers = {each.name: f"{each.host}:{each.port}" for each in self._broker_configs}
        self._rtus = FieldRtus(configs)
        store = site.file.parent / site.settings.gateway.store
        self._ieds = MmsFields(ieds, store.with_name(f"{store.name}-mms"))
        self._goose = GooseListener(heard)
        self._embedded = EmbeddedAgents(site.embedded())
        self._table = PointTable(site.points())
        self._history: Historian | None = None
        self._brokers: list[MqttBroker] = []
        self._outlet: Outlet | None = None
        self._agent_trail: AgentTrail | None = None
        self._started_ns = 0
        self._supervision = Supervision(self.status)
        self.metrics = site.metrics()

    @property
    def points(self) -> int:
        """How many there are."""
        return len(self._table)

    async def start(self) -> None:
        """Serve the control centres, and connect to brokers and field devices.

        What was started before something went wrong is to be closed too.

        Raises:
            HistoryUnusable, StoreError, EntriesError, MappingError, OSError: what can't be used; names it.
        """
        self._started_ns = time.time_ns()
        site, folder = self._site, self._site.file.parent
        for centre in self._centres:
            centre.keep_assigned()
        consumers: list[EventListener] = []
        if site.settings.history is not None:
            from gateway.historian.historian import Historian  # noqa: PLC0415 - who wants none need not load SQLAlchemy
            from gateway.historian.writer import Retention  # noqa: PLC0415

            given = site.settings.history
            where = given.where if "://" in given.where else str(folder / given.where)
            historian = Historian(where, self._table, Retention(given.days, given.rows))
            await historian.check()
            self._history = historian
            consumers.append(historian)
        if self._broker_configs:
            from gateway.adapters.mqtt_client import MqttBroker  # noqa: PLC0415 - who has none need not load paho

            self._brokers = [MqttBroker(config, self._table) for config in self._broker_configs]
            consumers += self._brokers
        store = folder / site.settings.gateway.store
        configs = [centre.config for centre in self._centres]
        devices = _Devices(self._rtus, self._ieds)
        self._outlet = outlet = Outlet(self._table, store, configs, devices, listeners=consumers)
        if self._history is not None:
            outlet.server.trail = AuditTrail(outlet.keep).note
            if self._embedded.journals:
                file = store.with_name(f"{store.name}-audit.json")
                self._agent_trail = AgentTrail(self._embedded.journals, outlet, file)
        self._embedded.start()
        self._rtus.start(outlet)
        self._ieds.start(outlet)
        self._goose.start(outlet)
        for broker in self._brokers:
            broker.start(outlet)
        served = []
        for each in self.listeners:
            port = await outlet.server.listen(each.host, each.port, tls=each.tls, only=each.centres)
            served.append(each._replace(port=port))
        self.listeners = served
        # Last: who is answered may take it that all the rest is there.
        if self.metrics is not None:
            host, port = self.metrics
            self.metrics = host, await self._supervision.serve_metrics(host, port)
        await self._supervision.listen_at(socket_of(store))

    async def status(self) -> GatewayStatus:
        """How it is; once it is started."""
        assert self._outlet is not None
        agents = await self._embedded.status()
        return GatewayStatus(
            site=self._site.name,
            program=version("flisr"),
            pid=os.getpid(),
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
            points=self.points,
            centres=centres_of(self._outlet),
            rtus=self._rtus.status(),
            ieds=self._ieds.status(),
            goose=self._goose.status(),
            agents=agents,
            hosts=self._embedded.hosts(),
            history=None if self._history is None else self._history.status(),
            brokers=tuple(broker.status() for broker in self._brokers),
            event_log=event_log_of(self._outlet.log),
        )

    async def close(self) -> None:
        """End all connections; what is not acknowledged stays on disk."""
        await self._supervision.close()
        self._goose.close()
        # Devices first: what has come from them is stored and acknowledged while the log is open.
        await asyncio.gather(self._rtus.close(), self._ieds.close())
        await asyncio.gather(*(broker.close() for broker in self._brokers))
        await self._embedded.close()
        if self._agent_trail is not None:
            await self._agent_trail.close()
        if self._history is not None:
            await self._history.close()
        if self._outlet is not None:
            await self._outlet.close()
