"""How a running gateway is: the one document that ``flisr status`` prints and that the metrics are made of.

Each part fills in its own piece. Times are ns since 1970, 0 for never; what can be said in words is said in words.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

VERSION: Final = 1
"""Of the document: what is added leaves it as it is, what means something else does not."""

AgentState = Literal["running", "held", "silent", "down"]


@dataclass(slots=True)
class Standing:
    """How the connection to a field device stands, as it is kept beside it.

    Attributes:
        up: it tells its points.
        since_ns: when that began or ended.
        why: why it is not up.
        heard_ns: when it told something last.
    """

    up: bool = False
    since_ns: int = 0
    why: str = ""
    heard_ns: int = 0

    def begin(self, utc_ns: int) -> None:
        """The device tells its points from now on."""
        self.up, self.since_ns, self.why = True, utc_ns, ""

    def end(self, why: str, utc_ns: int) -> None:
        """It does so no more; what is not up already stays so since it was, with the newer reason."""
        if self.up or not self.since_ns:
            self.up, self.since_ns = False, utc_ns
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterStatus:
    """A connection of a control centre.

    Attributes:
        peer: who, with the common name of his certificate.
        started: events go there.
    """

    peer: str
    started: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatus:
    """Somebody for whom events are kept until he has them.

    Attributes:
        name: of the control centre, the history, or whoever else.
        waiting: events that he has not acknowledged.
        most: so many wait at most.
        lost: events that he has lost to that bound, restarts included.
    """

    name: str
    waiting: int
    most: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreStatus(ConsumerStatus):
    """A control centre.

    Attributes:
        masters: its connections.
    """

    masters: tuple[MasterStatus, ...]

    @property
    def connected(self) -> int:
        """How many of its masters are connected."""
        return len(self.masters)

    @property
    def started(self) -> bool:
        """Events go to one of them."""
        return any(each.started for each in self.masters)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """One of the ways to a field device.

    Attributes:
        where: host and port.
        why: why it is not connected; empty if it is.
    """

    where: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """A field device.

    Attributes:
        name: of the device.
        connected: it tells its points.
        since_ns: when that began or ended; 0 if it was never otherwise.
        why: why it is not connected; empty if it is.
        heard_ns: when it told something last.
    """

    name: str
    connected: bool
    since_ns: int
    why: str
    heard_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RtuStatus(DeviceStatus):
    """A field device that speaks IEC 60870-5-104; ``links``: the ways to it."""

    links: tuple[LinkStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IedStatus(DeviceStatus):
    """A field device that speaks MMS, agents of this gateway included.

    Attributes:
        pid: of its worker; 0 while there is none.
        workers: how many there were, one after the other.
        overflows: reports before which it has lost events itself.
    """

    pid: int
    workers: int
    overflows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GooseStatus(DeviceStatus):
    """A GOOSE control block that is heard; ``name`` is its gocbRef.

    Attributes:
        ied: the field device.
        interface: where it is heard.
        points: how many it tells.
        received: frames that named it.
        states: those that brought a new state.
        missed: frames and states that were skipped.
        lost: how often its time to live ran out.
        refused: frames that were not taken: not as the SCD says, unreadable, simulated, old, or in conflict.
    """

    ied: str
    interface: str
    points: int
    received: int
    states: int
    missed: int
    lost: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStatus:
    """A process that the gateway keeps running.

    Attributes:
        name: of the agent, or number of the MMS host.
        pid: 0 while there is none.
        since_ns: when it was started, or taken over; or when it ended.
        restarts: how often it was started again.
        ended: how the one before it ended, or why none can be started; empty if none ever did.
    """

    name: str
    pid: int
    since_ns: int
    restarts: int
    ended: str

    @property
    def up(self) -> bool:
        """There is a process."""
        return self.pid > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus(ProgramStatus):
    """An agent.

    Attributes:
        state: running; held (until an operator confirms, or its locks are proven); silent: the process does not
            answer; down: there is none.
        health: ok or alarm, as its ``LLN0.Health``; empty while it does not answer, and so the others.
        ready: it may close its switch if nothing else is against it.
        confirmed: it is not held until an operator confirms.
        proven: its locks are.
        locked: sides on which it is locked, ``A`` and ``B``.
        mode: Mod of IEC 61850-7-4.
    """

    state: AgentState
    health: str = ""
    ready: bool | None = None
    confirmed: bool | None = None
    proven: bool | None = None
    locked: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStatus(ConsumerStatus):
    """The history.

    Attributes:
        reachable: the database took what it was given last.
        why: why not.
        since_ns: when it began to refuse; 0 while it does not.
    """

    reachable: bool
    why: str
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatus(ConsumerStatus):
    """An MQTT broker.

    Attributes:
        where: its host and port.
        connected: it takes what it is given.
        since_ns: when that began or ended.
        why: why not.
    """

    where: str
    connected: bool
    since_ns: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLogStatus:
    """The events on disk.

    Attributes:
        octets: of all files.
        most_octets: the bound.
        storing: the disk takes them.
        trouble: what an operator should know.
    """

    octets: int
    most_octets: int
    storing: bool
    trouble: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatus:
    """All of it.

    Attributes:
        site: its name.
        program: version of flisr.
        pid: of the gateway.
        started_ns: when it was started.
        now_ns: when this was said.
        points: how many there are.
        centres: control centres.
        rtus: field devices that speak IEC 60870-5-104.
        ieds: field devices that speak MMS.
        goose: GOOSE control blocks that are heard.
        agents: those that the gateway runs.
        hosts: their MMS hosts.
        history: None without one.
        brokers: MQTT brokers.
        event_log: the events on disk.
    """

    site: str
    program: str
    pid: int
    started_ns: int
    now_ns: int
    points: int
    centres: tuple[CentreStatus, ...]
    rtus: tuple[RtuStatus, ...]
    ieds: tuple[IedStatus, ...]
    agents: tuple[AgentStatus, ...]
    hosts: tuple[ProgramStatus, ...]
    history: HistoryStatus | None
    brokers: tuple[BrokerStatus, ...]
    event_log: EventLogStatus
    goose: tuple[GooseStatus, ...] = ()

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"kind": "GatewayStatus", "version": VERSION, **asdict(self)}
