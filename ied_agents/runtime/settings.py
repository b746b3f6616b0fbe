"""Everything one agent process is told, as one JSON document; made by whoever read the site file and the SCD.

The agent itself reads neither: it stays small, and what it runs with stands in one file that can be looked at.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch
from ied_agents.dflisr.views import AgentConfig
from ied_agents.goose.publisher import PublisherConfig
from ied_agents.goose.subscriber import SubscriberConfig


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
class AgentSettings:
    """One agent.

    Attributes:
        ied: its name in the SCD.
        config: its switch and surroundings.
        own: what it publishes.
        peers: by switch number, what it subscribes to.
    """

    ied: str
    config: AgentConfig
    own: SwitchStreams
    peers: dict[int, SwitchStreams]

    def to_json(self) -> str:
        """The document that :meth:`from_json` reads."""
        config = self.config
        return json.dumps(
            {
                "ied": self.ied,
                "number": config.number,
                "detection_time_s": config.detection_time_s,
                "pickup_factor": config.pickup_factor,
                "switches": [asdict(switch) for switch in config.feeder.switches],
                "sections": [asdict(section) for section in config.feeder.sections],
                "own": asdict(self.own),
                "peers": {str(number): asdict(streams) for number, streams in self.peers.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> AgentSettings:
        """Read the document.

        Raises:
            AgentSettingsError: it is no JSON, or a member is missing or wrong.
        """
        try:
            data = json.loads(text)
            peers = {int(number): _streams(streams) for number, streams in data["peers"].items()}
            feeder = Feeder(
                tuple(FeederSwitch(**{**s, "sides": (s["sides"][0], s["sides"][1])}) for s in data["switches"]),
                tuple(FeederSection(**section) for section in data["sections"]),
            )
            config = AgentConfig(
                number=data["number"],
                feeder=feeder,
                subscribed=frozenset(peers),
                detection_time_s=data["detection_time_s"],
                pickup_factor=data["pickup_factor"],
            )
            if config.number not in feeder.by_number:
                raise AgentSettingsError(f"number: switch {config.number} is not among the switches")
            return cls(data["ied"], config, _streams(data["own"]), peers)
        except KeyError as error:
            raise AgentSettingsError(f"{error.args[0]}: missing") from None
        except (TypeError, ValueError, IndexError) as error:
            raise AgentSettingsError(str(error)) from None


@dataclass(frozen=True, slots=True)
class AgentProcessSettings:
    """One agent process: the agent, and where on this machine everything is.

    Attributes:
        agent: see :class:`AgentSettings`.
        interface: Ethernet interface for GOOSE.
        state: file of the durable state.
        journal: file of the journal.
        inputs: path of the datagram socket on which the process's snapshots arrive.
        process: path of the datagram socket that takes the orders to the switch.
        operator: path of the datagram socket for an operator's requests.
        receive_loss: share of the frames that are dropped on arrival, 0 to 1; for trials only.
    """

    agent: AgentSettings
    interface: str
    state: str
    journal: str
    inputs: str
    process: str
    operator: str
    receive_loss: float = 0.0

    def to_json(self) -> str:
        """The document that :meth:`from_json` reads."""
        places = {name: getattr(self, name) for name in _PLACES}
        return json.dumps(
            {**places, "receive_loss": self.receive_loss, "agent": json.loads(self.agent.to_json())}, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> AgentProcessSettings:
        """Read the document.

        Raises:
            AgentSettingsError: it is no JSON, or a member is missing or wrong.
        """
        try:
            data = json.loads(text)
            places = {name: data[name] for name in _PLACES}
            agent = data["agent"]
            receive_loss = float(data["receive_loss"])
        except KeyError as error:
            raise AgentSettingsError(f"{error.args[0]}: missing") from None
        except (TypeError, ValueError) as error:
            raise AgentSettingsError(f"no settings document: {error}") from None
        wrong = [name for name, value in places.items() if not isinstance(value, str) or not value]
        if wrong:
            raise AgentSettingsError(f"{wrong[0]}: expected a name or path")
        return cls(agent=AgentSettings.from_json(json.dumps(agent)), receive_loss=receive_loss, **places)


_PLACES: Final = ("interface", "state", "journal", "inputs", "process", "operator")


def _streams(data: dict[str, Any]) -> SwitchStreams:
    return SwitchStreams(StreamSettings(**data["fast"]), StreamSettings(**data["slow"]))
