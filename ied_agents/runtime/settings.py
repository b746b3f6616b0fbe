"""Everything one agent process is told, as one JSON document; made by whoever read the site file and the SCD.

The agent itself reads neither: it stays small, and what it runs with stands in one file that can be looked at.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, cast

from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch, SharedElement
from ied_agents.dflisr.views import AgentConfig
from ied_agents.documents import JsonObject, read_json
from ied_agents.goose.publisher import PublisherConfig
from ied_agents.goose.subscriber import SubscriberConfig
from ied_agents.process.relay import RelayConfig, RelaySignal
from ied_agents.runtime.access import Access
from ied_agents.runtime.realtime import RealTimeHelp

if TYPE_CHECKING:
    from pathlib import Path

    from ied_agents.process.relay import Part

MAX_SWITCH: Final = 32_767
"""Switch number * 2 + side must fit 16 bits on the wire."""
MOST_INTERFACES: Final = 2
_UINT32: Final = 0xFFFF_FFFF


class AgentSettingsError(ValueError):
    """Settings that cannot be used; the message names the member."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """One GOOSE control block, its address and its repetition.

    Attributes:
        mac: multicast address in hexadecimal, 12 digits.
        appid, vlan_id, vlan_priority: of the frame header.
        gocbRef, datSet, goID, confRev, entries: of the PDU.
        min_time_ms, max_time_ms: ends of the repetition curve.
    """

    mac: str
    appid: int
    vlan_id: int
    vlan_priority: int
    gocbRef: str
    datSet: str
    goID: str
    confRev: int
    entries: int
    min_time_ms: int
    max_time_ms: int

    def publisher(self, src: bytes) -> PublisherConfig:
        """The publisher of this stream with our own address; the agents' data sets are of fixed length."""
        return PublisherConfig(
            dst=bytes.fromhex(self.mac),
            src=src,
            vlan_id=self.vlan_id,
            vlan_priority=self.vlan_priority,
            appid=self.appid,
            gocbRef=self.gocbRef,
            datSet=self.datSet,
            goID=self.goID,
            confRev=self.confRev,
            numDatSetEntries=self.entries,
            min_time_ms=self.min_time_ms,
            max_time_ms=self.max_time_ms,
            fixedOffs=True,
        )

    def subscriber(self) -> SubscriberConfig:
        """A subscriber of this stream."""
        return SubscriberConfig(
            dst=bytes.fromhex(self.mac),
            appid=self.appid,
            gocbRef=self.gocbRef,
            datSet=self.datSet,
            goID=self.goID,
            confRev=self.confRev,
            numDatSetEntries=self.entries,
        )


@dataclass(frozen=True, slots=True)
class SwitchStreams:
    """The fast and the slow stream of one switch's agent."""

    fast: StreamSettings
    slow: StreamSettings


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The relay beside an agent.

    Attributes:
        streams: what it publishes, as far as the agent takes it.
        config: what is in them.
        orders: what the agent publishes for it.
    """

    streams: tuple[StreamSettings, ...]
    config: RelayConfig
    orders: StreamSettings


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent.

    Attributes:
        ied: its name in the SCD.
        config: its switch and surroundings.
        own: what it publishes.
        peers: by switch number, what it subscribes to.
        relay: the relay beside it, by which it knows and operates its switch; None for a process of another kind.
        access: who may operate, unlock and tag besides its own user and root.
    """

    ied: str
    config: AgentConfig
    own: SwitchStreams
    peers: dict[int, SwitchStreams]
    relay: RelaySettings | None = None
    access: Access = field(default_factory=Access)

    def addresses(self) -> tuple[list[bytes], list[bytes]]:
        """Multicast addresses: those on which a reaction may hang at once, and the others.

        The first are the fast streams of the switches that share a section with the own one, or for which it clears,
        and those of its relay.
        """
        feeder, me = self.config.feeder, self.config.number
        near: set[int] = set()
        waiting, seen = list(feeder.by_number[me].sides), set(feeder.by_number[me].sides)
        while waiting:
            for bound in feeder.peers(me, waiting.pop()):
                near.add(bound.switch)
                switch = feeder.by_number[bound.switch]
                beyond = switch.sides[1 - bound.side]
                # A breaker clears for load-break switches further out, too.
                if (
                    feeder.by_number[me].breaker
                    and not switch.breaker
                    and switch.normally_closed
                    and beyond not in seen
                ):
                    seen.add(beyond)
                    waiting.append(beyond)
        prompt = [bytes.fromhex(streams.fast.mac) for number, streams in self.peers.items() if number in near]
        if self.relay is not None:
            prompt += [bytes.fromhex(stream.mac) for stream in self.relay.streams]
        every = [bytes.fromhex(s.mac) for streams in self.peers.values() for s in (streams.fast, streams.slow)]
        return prompt, [address for address in every if address not in prompt]

    def longest_silence_s(self) -> float:
        """On an interface on which anybody is heard, something is heard within this time, a lost frame included."""
        streams = [stream for peer in self.peers.values() for stream in (peer.fast, peer.slow)]
        streams += () if self.relay is None else self.relay.streams
        return 2.5e-3 * max((stream.max_time_ms for stream in streams), default=_UINT32)

    def to_json(self) -> str:
        """The document that :meth:`from_json` reads."""
        config = self.config
        return json.dumps(
            {
                "ied": self.ied,
                "number": config.number,
                "detection_time_s": config.detection_time_s,
                "pickup_factor": config.pickup_factor,
                "shadow": config.shadow,
                "switches": [asdict(switch) for switch in config.feeder.switches],
                "sections": [asdict(section) for section in config.feeder.sections],
                "shared": [asdict(element) for element in config.feeder.shared],
                "own": asdict(self.own),
                "peers": {str(number): asdict(streams) for number, streams in self.peers.items()},
                **({} if self.relay is None else {"relay": asdict(self.relay)}),
                "access": asdict(self.access),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """Read the document.

        Raises:
            AgentSettingsError: it is no JSON, or a member is missing or wrong.
        """
        return cls.read(JsonObject(read_json(text, AgentSettingsError), "", AgentSettingsError))

    @classmethod
    def read(cls, root: JsonObject) -> AgentSettings:
        """Read an object of a document; raises as :meth:`from_json`."""
        try:
            feeder = Feeder(
                tuple(_switch(switch) for switch in root.objects("switches")),
                tuple(_section(section) for section in root.objects("sections")),
                tuple(_shared(element) for element in root.objects("shared")),
            )
        except ValueError as error:
            raise AgentSettingsError(str(error)) from None
        numbers = set(feeder.by_number)
        number = root.integer("number")
        if number not in numbers:
            root.refuse("number", "number of one of the switches")
        listed = root.object("peers")
        peers = {listed.key(name, numbers): _streams(listed.object(name)) for name in listed.names()}
        config = AgentConfig(
            number=number,
            feeder=feeder,
            subscribed=frozenset(peers),
            detection_time_s=root.number("detection_time_s", low=1e-6),
            pickup_factor=root.number("pickup_factor", low=1.0),
            shadow=root.boolean("shadow"),
        )
        relay = _relay(root.object("relay")) if "relay" in root.names() else None
        access = _access(root.object("access"))
        settings = cls(root.string("ied"), config, _streams(root.object("own")), peers, relay, access)
        root.finish()
        return settings


@dataclass(frozen=True, slots=True)
class AgentProcessSettings:
    """One agent process: the agent, and where on this machine everything is.

    Attributes:
        agent: see :class:`AgentSettings`.
        interfaces: Ethernet interfaces for GOOSE: one, or two on separate networks.
        state: file of the durable state.
        journal: file of the journal.
        inputs: path of the datagram socket on which the process's snapshots arrive.
        process: path of the datagram socket that takes the orders to the switch.
        operator: path of the datagram socket for an operator's requests.
        receive_loss: share of the frames that are dropped on arrival, 0 to 1; for trials only.
        realtime: what the process asks of the kernel, to be on time.
    """

    agent: AgentSettings
    interfaces: tuple[str, ...]
    state: str
    journal: str
    inputs: str
    process: str
    operator: str
    receive_loss: float = 0.0
    realtime: RealTimeHelp = field(default_factory=RealTimeHelp)

    @classmethod
    def in_folder(
        cls, agent: AgentSettings, folder: Path, interfaces: tuple[str, ...], process: Path | None, fifo: int
    ) -> AgentProcessSettings:
        """Those of an agent that has a folder to itself.

        Args:
            agent: which.
            folder: for its state, journal and sockets.
            interfaces: for GOOSE.
            process: socket that takes the orders to the switch; None for ``process`` in the folder.
            fifo: priority under SCHED_FIFO, with the memory locked; 0 for neither.
        """
        return cls(
            agent=agent,
            interfaces=interfaces,
            state=str(folder / "state"),
            journal=str(folder / "journal.jsonl"),
            inputs=str(folder / "inputs"),
            process=str(process if process is not None else folder / "process"),
            operator=str(folder / "operator"),
            realtime=RealTimeHelp(fifo_priority=fifo or None, lock_memory=bool(fifo)),
        )

    def to_json(self) -> str:
        """The document that :meth:`from_json` reads."""
        places = {name: getattr(self, name) for name in _PLACES}
        realtime = {**asdict(self.realtime), "cpus": sorted(self.realtime.cpus)}
        realtime["fifo_priority"] = self.realtime.fifo_priority or 0
        others = {"receive_loss": self.receive_loss, "realtime": realtime, "agent": json.loads(self.agent.to_json())}
        return json.dumps({"interfaces": self.interfaces} | places | others, indent=1)

    @classmethod
    def from_json(cls, text: str) -> AgentProcessSettings:
        """Read the document.

        Raises:
            AgentSettingsError: it is no JSON, or a member is missing or wrong.
        """
        root = JsonObject(read_json(text, AgentSettingsError), "", AgentSettingsError)
        interfaces = tuple(root.strings("interfaces"))
        if not 0 < len(interfaces) <= MOST_INTERFACES or len(set(interfaces)) < len(interfaces):
            root.refuse("interfaces", f"1 to {MOST_INTERFACES} different names")
        settings = cls(
            interfaces=interfaces,
            agent=AgentSettings.read(root.object("agent")),
            receive_loss=root.number("receive_loss", high=1.0),
            realtime=_realtime(root.object("realtime")),
            **{name: root.string(name) for name in _PLACES},
        )
        root.finish()
        return settings


_PLACES: Final = ("state", "journal", "inputs", "process", "operator")


def _realtime(wishes: JsonObject) -> RealTimeHelp:
    result = RealTimeHelp(
        fifo_priority=wishes.integer("fifo_priority", high=99) or None,
        lock_memory=wishes.boolean("lock_memory"),
        cpus=frozenset(wishes.integers("cpus")),
        freeze_gc=wishes.boolean("freeze_gc"),
    )
    wishes.finish()
    return result


def _switch(switch: JsonObject) -> FeederSwitch:
    a, b = switch.integers("sides", (_UINT32, _UINT32))
    result = FeederSwitch(
        number=switch.integer("number", low=1, high=MAX_SWITCH),
        name=switch.string("name"),
        ied=switch.string("ied"),
        breaker=switch.boolean("breaker"),
        sides=(a, b),
        normally_closed=switch.boolean("normally_closed"),
        rating_a=switch.number("rating_a"),
        breaking_a=switch.number("breaking_a"),
        trip_delay_s=switch.number("trip_delay_s"),
        operating_time_s=switch.number("operating_time_s", low=1e-3),
        shots=switch.numbers("shots"),
        transfer_after_s=switch.number("transfer_after_s"),
        paralleling=switch.boolean("paralleling"),
    )
    switch.finish()
    return result


def _section(section: JsonObject) -> FeederSection:
    result = FeederSection(
        section.integer("index"),
        section.string("name"),
        section.boolean("is_source"),
        section.integer("priority"),
    )
    section.finish()
    return result


def _shared(element: JsonObject) -> SharedElement:
    result = SharedElement(
        element.string("name"),
        element.number("rating_a"),
        element.integer("owner"),
        tuple(element.integers("heads")),
    )
    element.finish()
    return result


def _streams(streams: JsonObject) -> SwitchStreams:
    result = SwitchStreams(read_stream(streams.object("fast")), read_stream(streams.object("slow")))
    streams.finish()
    return result


def _access(access: JsonObject) -> Access:
    result = Access(*(tuple(access.strings(right)) for right in ("operate", "unlock", "tag")))
    access.finish()
    return result


def _relay(relay: JsonObject) -> RelaySettings:
    streams = tuple(read_stream(stream) for stream in relay.objects("streams"))
    told = relay.object("config")
    generation_a = told.numbers("generation_a")
    if len(generation_a) != 2:
        told.refuse("generation_a", "two numbers")
    config = RelayConfig(
        signals=tuple(_signal(signal, len(streams)) for signal in told.objects("signals")),
        reversed=told.boolean("reversed"),
        generation_a=(generation_a[0], generation_a[1]),
        pulse_s=told.number("pulse_s", low=1e-3),
    )
    told.finish()
    result = RelaySettings(streams, config, read_stream(relay.object("orders")))
    relay.finish()
    return result


def _signal(signal: JsonObject, streams: int) -> RelaySignal:
    part = signal.string("part")
    if part not in ("value", "quality", "direction"):
        signal.refuse("part", "value, quality or direction")
    result = RelaySignal(
        signal=signal.string("signal"),
        part=cast("Part", part),
        element=signal.string("element"),
        stream=signal.integer("stream", high=streams - 1),
        place=tuple(signal.integers("place")),
        nominal=signal.number("nominal"),
    )
    signal.finish()
    return result


def read_stream(stream: JsonObject) -> StreamSettings:
    """Read one stream of a document; raises as :meth:`AgentSettings.from_json`."""
    mac = stream.string("mac")
    if not re.fullmatch("[0-9a-fA-F]{12}", mac):
        stream.refuse("mac", "12 hexadecimal digits")
    result = StreamSettings(
        mac=mac,
        appid=stream.integer("appid", high=0xFFFF),
        vlan_id=stream.integer("vlan_id", high=0xFFF),
        vlan_priority=stream.integer("vlan_priority", high=7),
        gocbRef=stream.string("gocbRef"),
        datSet=stream.string("datSet"),
        goID=stream.string("goID"),
        confRev=stream.integer("confRev", high=_UINT32),
        entries=stream.integer("entries", low=1),
        min_time_ms=stream.integer("min_time_ms", low=1),
        max_time_ms=stream.integer("max_time_ms", low=1),
    )
    stream.finish()
    return result
