"""The site file: one TOML beside the SCDs that says what SCL has no place for, and what it resolves to.

``read_site`` reads both, checks one against the other, reports every error at once with its path, and yields what
the parts of a site are told: the agents' settings, and the equipment for a simulated plant.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from gateway.site_agents import Embedded, SiteAgent, SiteAgents, agent_problems, embedded, followed
from gateway.site_iec104 import SiteCentre, SitePoint, Strict, all_points, resolve_centres
from gateway.site_ied import SiteIed, resolve_ieds
from gateway.site_mqtt import SiteBroker, resolve_brokers
from gateway.site_rtu import SiteRtu, resolve_rtus, split_host
from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch, SharedElement
from ied_agents.dflisr.views import AgentConfig
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch
from ied_agents.process.relay import RelayConfig, RelaySignal
from ied_agents.runtime.access import Access
from ied_agents.runtime.relay_process import SimulatedRelay
from ied_agents.runtime.settings import AgentSettings, RelaySettings, StreamSettings, SwitchStreams
from scl import agent_model
from scl.document import SclError
from scl.equipment import walk_primary
from scl.reader import parse, read
from scl.relay_inputs import relay_inputs
from scl.relay_model import MEASURED_DATASET, SIGNALS, STATUS_DATASET
from scl.streams import GooseIndex
from scl.topology import AGENT_CLASS, primary_network

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.adapters.goose_field import GooseFieldConfig
    from gateway.adapters.mms_field import MmsFieldConfig
    from gateway.points.point import PointConfig
    from gateway.site_iec104 import ServedCentre
    from gateway.site_mqtt import BrokerOfSite
    from gateway.site_rtu import RtuOfSite
    from scl.model import SCL
    from scl.relay_inputs import RelayInput
    from scl.streams import GooseStream
    from scl.topology import PrimaryNetwork, Switch

METRICS_PORT: Final = 9104

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Account = Annotated[str, Field(pattern=r"^(CN=.*\S|@?[^@:=\s]+)$")]


class SiteHead(Strict):
    """``[site]``: name, SCD beside this file, and what holds for all agents.

    Without ``scd`` there are no agents, and no points but those of field devices.
    """

    name: str
    scd: str | None = None
    detection_time_ms: _Positive = 3.0
    pickup_factor: Annotated[float, Field(ge=1)] = 1.0
    shadow: bool = False


class SiteSwitch(Strict):
    """``[switch."equipment path"]``: what SCL has no place for. Times in ms, currents in A.

    ``relay_reversed``: the forward direction of the relay beside it is from side B to side A.
    """

    normal: Literal["closed", "open"]
    rating_a: _Positive
    breaking_a: _Positive
    operating_time_ms: _Positive
    trip_delay_ms: _NotNegative = 0.0
    shots_ms: Annotated[tuple[_Positive, ...], Field(max_length=3)] = ()
    transfer_after_ms: _NotNegative = 0.0
    paralleling: bool = False
    relay_reversed: bool = False


class SiteSection(Strict):
    """``[section."name"]``: what hangs on a section; with ``infeed`` its generation feeds faults and islands."""

    load_a: _NotNegative = 0.0
    generation_a: _NotNegative = 0.0
    infeed: bool = False
    customers: Annotated[int, Field(ge=0)] = 0
    priority: Annotated[int, Field(ge=0)] = 0


class SiteShared(Strict):
    """``[shared."name"]``: a transformer or busbar that several heads draw from, by equipment path; the owner first."""

    rating_a: _Positive
    heads: Annotated[tuple[str, ...], Field(min_length=2)]


class SiteAccess(Strict):
    """``[access]``: who has a right besides the agents' own user and root.

    Local users, groups as ``@name``, and clients of MMS over TLS as ``CN=name``, by the name of their certificate.
    """

    operate: tuple[_Account, ...] = ()
    unlock: tuple[_Account, ...] = ()
    tag: tuple[_Account, ...] = ()


class SiteGateway(Strict):
    """``[gateway]``: ``store`` is the folder of the event log, beside the site file."""

    store: Annotated[str, Field(min_length=1)] = "store"


class SiteHistory(Strict):
    """``[history]``: what is told is kept in a database: ``where`` is a URL, or an SQLite file beside the site file.

    ``rows``: so many events and as many measurements, for ``days`` at most.
    """

    where: Annotated[str, Field(min_length=1)]
    days: _Positive | None = None
    rows: Annotated[int, Field(gt=0)] = 10_000_000


class SiteMetrics(Strict):
    """``[metrics]``: ``listen`` is the own address, ``HOST:PORT``, at which Prometheus is answered over HTTP.

    Anybody who reaches it reads the figures: there is no password and no TLS.
    """

    listen: str

    @field_validator("listen")
    @classmethod
    def _possible(cls, value: str) -> str:
        split_host(value, METRICS_PORT)
        return value


class SiteFile(Strict):
    """The whole file."""

    site: SiteHead
    access: SiteAccess = SiteAccess()
    gateway: SiteGateway = SiteGateway()
    history: SiteHistory | None = None
    metrics: SiteMetrics | None = None
    switch: dict[str, SiteSwitch] = Field(default_factory=dict)
    section: dict[str, SiteSection] = Field(default_factory=dict)
    shared: dict[str, SiteShared] = Field(default_factory=dict)
    centre: tuple[SiteCentre, ...] = ()
    broker: tuple[SiteBroker, ...] = ()
    rtu: tuple[SiteRtu, ...] = ()
    ied: tuple[SiteIed, ...] = ()
    agents: SiteAgents = SiteAgents()
    agent: tuple[SiteAgent, ...] = ()
    point: dict[str, SitePoint] = Field(default_factory=dict)


_NO_SECTION = SiteSection()
_NO_SCD = '<SCL xmlns="http://www.iec.ch/61850/2003/SCL"/>'
_SIMULATED = [f"LLN0${STATUS_DATASET}", f"LLN0${MEASURED_DATASET}"]


class SiteError(ValueError):
    """Everything that is wrong with a site, one message per line; each names file, path and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Site:
    """A site that has been read and resolved.

    Attributes:
        file: the site file.
        name: of the site.
        settings: the site file's content.
        network: switches and sections of the SCD.
        agents: settings of each agent, by switch number.
        scl: the SCD.
    """

    file: Path
    name: str
    settings: SiteFile
    network: PrimaryNetwork
    agents: dict[int, AgentSettings]
    scl: SCL

    def iec104(self) -> tuple[list[ServedCentre], list[RtuOfSite]]:
        """Control centres and field devices of IEC 60870-5-104.

        Raises:
            SiteError: with every problem found.
        """
        parts = self._parts()
        return parts.centres, parts.rtus

    def mms(self) -> list[MmsFieldConfig]:
        """Field devices that speak MMS.

        Raises:
            SiteError: with every problem found.
        """
        return self._parts().ieds

    def goose(self) -> list[GooseFieldConfig]:
        """Field devices that are heard by GOOSE; raises as :meth:`mms`."""
        return self._parts().goose

    def mqtt(self) -> list[BrokerOfSite]:
        """MQTT brokers; raises as :meth:`mms`."""
        return self._parts().brokers

    def embedded(self) -> Embedded | None:
        """The agents that the gateway runs; None without any."""
        given, scd = self.settings, self.settings.site.scd
        if scd is None or not given.agent:
            return None
        folder = self.file.parent
        return embedded(given.agents, given.agent, self.agents.values(), folder / scd, folder)

    def metrics(self) -> tuple[str, int] | None:
        """Own address at which Prometheus is answered; None where it is not."""
        given = self.settings.metrics
        return None if given is None else split_host(given.listen, METRICS_PORT)

    def _parts(self) -> _Parts:
        parts = _resolve(self.settings, self.scl, self.file.parent)
        if parts.problems:
            raise SiteError([f"{self.file}: {problem}" for problem in parts.problems])
        return parts

    def points(self) -> list[PointConfig]:
        """All points: those of the SCD, of field devices, and the gateway's own.

        Raises:
            SiteError: with every problem found.
        """
        centres, rtus = self.iec104()
        rows = [row for rtu in rtus for row in rtu.rows]
        return all_points(self.settings.point, self.scl, rows, centres)

    def plant(self) -> PlantNetwork:
        """The primary equipment for a simulated plant; its switches take 0.8 of their longest operating time."""
        sections = self.settings.section
        switches = []
        for switch in self.network.switches:
            given = self.settings.switch[switch.path]
            typical_s = 0.8 * given.operating_time_ms / 1000
            switches.append(
                PlantSwitch(
                    number=switch.number,
                    name=switch.name,
                    sides=switch.sections,
                    kind=switch.kind,
                    closed=given.normal == "closed",
                    breaking_a=given.breaking_a,
                    opening_time_s=typical_s,
                    closing_time_s=typical_s,
                )
            )
        return PlantNetwork(
            tuple(
                PlantSection(
                    index=section.index,
                    name=section.name,
                    is_source=section.is_source,
                    load_a=sections.get(section.name, _NO_SECTION).load_a,
                    generation_a=sections.get(section.name, _NO_SECTION).generation_a,
                    infeed=sections.get(section.name, _NO_SECTION).infeed,
                )
                for section in self.network.sections
            ),
            tuple(switches),
        )

    def simulated_relays(self) -> tuple[SimulatedRelay, ...]:
        """The relays beside the agents, if all are of the kind that can be simulated; else none."""
        relays = []
        for number, agent in self.agents.items():
            streams = () if agent.relay is None else agent.relay.streams
            if agent.relay is None or [stream.datSet.rpartition("/")[2] for stream in streams] != _SIMULATED:
                return ()
            status, measured = streams
            nominal_v = max(signal.nominal for signal in agent.relay.config.signals)
            relays.append(SimulatedRelay(number, nominal_v, status, measured, agent.relay.orders))
        return tuple(relays)


def site_of(scd: Path, file: Path | None = None) -> Site:
    """Read the site of an SCD.

    Args:
        scd: the SCD.
        file: its site file; None for the TOML beside it that has its name.

    Raises:
        SiteError: with every problem found.
    """
    beside = file if file is not None else scd.with_suffix(".toml")
    if file is None and not beside.exists():
        raise SiteError([f"{scd}: there is no {beside.name} beside it; name the site file with --site"])
    site = read_site(beside)
    named = site.settings.site.scd
    if named is None or (beside.parent / named).resolve() != scd.resolve():
        whose = "no SCD" if named is None else beside.parent / named
        raise SiteError([f"{beside}: it is the site file of {whose}, not of {scd}"])
    return site


def read_site(file: Path) -> Site:
    """Read a site file and its SCD.

    Raises:
        SiteError: with every problem found.
    """
    try:
        content = SiteFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SiteError([f"{file}: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteError([f"{file}: no TOML: {error}"]) from None
    except ValidationError as error:
        raise SiteError([f"{file}: {_path(e['loc'])}: {e['msg']}" for e in error.errors()]) from None
    scd = file.parent / (content.site.scd or "")
    try:
        scl = parse(_NO_SCD) if content.site.scd is None else read(scd)
        wrong: list[SclError] = []
        network = primary_network(scl, wrong)
        if wrong and (network.switches or content.switch):
            raise wrong[0]  # without agents nobody asks for the network
        problems = _differences(content, network, scd)
        if problems:  # the rest is found when somebody asks for it, but who must mend one may as well mend all
            problems += _resolve(content, scl, file.parent).problems
            raise SiteError([f"{file}: {problem}" for problem in problems])
        agents = _agents(content, network, GooseIndex(scl))
        problems = agent_problems(content.agents, content.agent, agents.values(), content.ied, file.parent)
        if problems:
            raise SiteError([f"{file}: {each}" for each in problems + _resolve(content, scl, file.parent).problems])
    except OSError as error:
        raise SiteError([f"{scd}: {error.strerror}"]) from None
    except SclError as error:
        error.file = error.file or str(scd)
        raise SiteError([str(error)]) from None
    return Site(file, content.site.name, content, network, agents, scl)


class _Parts(NamedTuple):
    """Control centres, brokers, field devices, and all that is wrong with them."""

    centres: list[ServedCentre]
    rtus: list[RtuOfSite]
    ieds: list[MmsFieldConfig]
    goose: list[GooseFieldConfig]
    brokers: list[BrokerOfSite]
    problems: list[str]


def _resolve(content: SiteFile, scl: SCL, folder: Path) -> _Parts:
    rtus, problems = resolve_rtus(content.rtu, folder)
    rows = [row for rtu in rtus for row in rtu.rows]
    centres, more = resolve_centres(content.centre, content.point, scl, folder, rows)
    brokers, faults = resolve_brokers(content.broker, content.point, scl, folder, rows, content.site.name)
    wanted = [row for centre in centres for row in centre.points.rows]
    wanted += [row for broker in brokers for row in broker.config.rows]
    ieds, heard, wrong = resolve_ieds(content.ied, scl, wanted, folder)
    agents = tuple(each for each in followed(content.agents, content.agent) if scl.ied(each.name) is not None)
    own, _, ours = resolve_ieds(agents, scl, wanted, folder, "agent")
    # They are near, and come back soon.
    own = [replace(each, first_s=0.2, longest_s=1.0) for each in own]
    # A point that is wrong is so for everybody who has it.
    problems = list(dict.fromkeys([*more, *problems, *faults, *wrong, *ours]))
    return _Parts(centres, rtus, [*ieds, *own], heard, brokers, problems)


def _path(location: Iterable[int | str]) -> str:
    """Places in a list are counted from 1."""
    steps = (f'"{step}"' if isinstance(step, str) and "/" in step else step for step in location)
    return "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _differences(content: SiteFile, network: PrimaryNetwork, scd: Path) -> list[str]:
    """What the site file says of equipment that the SCD does not have, and the reverse."""
    if content.site.scd is None and (content.switch or content.section or content.shared):
        return ["site.scd: missing; the file has switches, sections or shared elements of an SCD"]
    switches = {switch.path: switch for switch in network.switches}
    problems = [
        f'switch."{path}": {scd.name} has no switch with an agent there; it has {", ".join(switches) or "none"}'
        for path in content.switch.keys() - switches.keys()
    ]
    problems += [f'switch."{path}": missing; {scd.name} has it' for path in switches.keys() - content.switch.keys()]
    names = [section.name for section in network.sections]
    problems += [
        f'section."{name}": {scd.name} has no such section; it has {", ".join(names)}'
        for name in content.section.keys() - set(names)
    ]
    for path in content.switch.keys() & switches.keys():
        given = content.switch[path]
        if switches[path].kind == "breaker" and given.normal == "closed" and not given.trip_delay_ms:
            problems.append(f'switch."{path}".trip_delay_ms: missing; a breaker needs its own delay, above 0')
        if switches[path].kind == "load_break" and given.trip_delay_ms:
            problems.append(f'switch."{path}".trip_delay_ms: a load-break switch has none')
        if switches[path].kind == "load_break" and given.shots_ms:
            problems.append(f'switch."{path}".shots_ms: a load-break switch cannot reclose')
    for name, element in content.shared.items():
        problems += [
            f'shared."{name}".heads: {scd.name} has no switch {path}; it has {", ".join(switches) or "none"}'
            for path in element.heads
            if path not in switches
        ]
    return sorted(problems)


def _agents(content: SiteFile, network: PrimaryNetwork, index: GooseIndex) -> dict[int, AgentSettings]:
    feeder = Feeder(
        tuple(_feeder_switch(switch, content.switch[switch.path]) for switch in network.switches),
        tuple(
            FeederSection(s.index, s.name, s.is_source, content.section.get(s.name, _NO_SECTION).priority)
            for s in network.sections
        ),
        tuple(_shared_element(name, element, network) for name, element in content.shared.items()),
    )
    by_ied = {switch.iedName: switch for switch in network.switches}
    own = {switch.iedName: _own_streams(switch, index) for switch in network.switches}
    agents = {}
    for switch in network.switches:
        subscriptions, _ = index.subscriptions(switch.iedName)
        heard = {subscription.stream.gocbRef for subscription in subscriptions}
        # Who is heard only by half is not heard: a decision needs his state and his load.
        peers = {
            by_ied[ied].number: streams
            for ied, streams in own.items()
            if ied != switch.iedName and {streams.fast.gocbRef, streams.slow.gocbRef} <= heard
        }
        agents[switch.number] = AgentSettings(
            ied=switch.iedName,
            config=AgentConfig(
                number=switch.number,
                feeder=feeder,
                subscribed=frozenset(peers),
                detection_time_s=content.site.detection_time_ms / 1000,
                pickup_factor=content.site.pickup_factor,
                shadow=content.site.shadow,
            ),
            own=own[switch.iedName],
            peers=peers,
            relay=_relay(switch, content, network, index),
            access=Access(content.access.operate, content.access.unlock, content.access.tag),
        )
    return agents


def _relay(switch: Switch, content: SiteFile, network: PrimaryNetwork, index: GooseIndex) -> RelaySettings | None:
    """What an agent whose inputs come from a relay is told of that."""
    ied = index.scl.ied(switch.iedName)
    ldevice = ied.ldevice(switch.ldInst) if ied is not None else None
    ln = next((ln for ln in (ldevice.lns if ldevice else ()) if ln.lnClass == AGENT_CLASS), None)
    if ln is None:
        return None
    inputs, problems = relay_inputs(index, switch.iedName, ln)
    if problems:
        extref, problem = problems[0]
        raise index.scl.error("relay-input", problem, extref)
    if not inputs:
        return None
    missing = [name for name, signal in SIGNALS.items() if signal.needed and name not in {i.signal for i in inputs}]
    if missing:
        raise index.scl.error("relay-input-missing", f"agent {switch.iedName} has no input {', '.join(missing)}", ln)
    nodes = {node for section in switch.sections for node in network.sections[section].nodes}
    nominal_v = next((each.voltage_v for each in walk_primary(index.scl).nodes if each.path in nodes), None)
    streams = list({each.stream.gocbRef: each.stream for each in inputs}.values())
    place = {stream.gocbRef: index for index, stream in enumerate(streams)}
    given = content.switch[switch.path]
    generation_a = [content.section.get(network.sections[s].name, _NO_SECTION).generation_a for s in switch.sections]
    config = RelayConfig(
        signals=tuple(
            RelaySignal(
                signal=each.signal,
                part=each.part,
                element=each.element,
                stream=place[each.stream.gocbRef],
                place=each.place,
                nominal=_nominal(each, nominal_v),
            )
            for each in inputs
        ),
        reversed=given.relay_reversed,
        generation_a=(generation_a[0], generation_a[1]),
        pulse_s=given.operating_time_ms / 1000,
    )
    orders = _published(switch, index, agent_model.RELAY_CONTROL, agent_model.RELAY)
    return RelaySettings(tuple(_stream_settings(stream) for stream in streams), config, orders)


def _nominal(wanted: RelayInput, nominal_v: float | None) -> float:
    """What a measured voltage is compared with, V; of phase to earth less than of phase to phase."""
    if wanted.signal not in ("VolA", "VolB") or wanted.part != "value" or wanted.bType == "BOOLEAN":
        return 0.0
    if nominal_v is None:
        raise SclError(f"{wanted.element}: its voltage level has no Voltage; present and absent are judged by that")
    return nominal_v if "PPV" in wanted.element else nominal_v / math.sqrt(3)


def _feeder_switch(switch: Switch, given: SiteSwitch) -> FeederSwitch:
    return FeederSwitch(
        number=switch.number,
        name=switch.path,
        ied=switch.iedName,
        breaker=switch.kind == "breaker",
        sides=switch.sections,
        normally_closed=given.normal == "closed",
        rating_a=given.rating_a,
        breaking_a=given.breaking_a,
        trip_delay_s=given.trip_delay_ms / 1000,
        operating_time_s=given.operating_time_ms / 1000,
        shots=tuple(dead_ms / 1000 for dead_ms in given.shots_ms),
        transfer_after_s=given.transfer_after_ms / 1000,
        paralleling=given.paralleling,
    )


def _shared_element(name: str, element: SiteShared, network: PrimaryNetwork) -> SharedElement:
    numbers = {switch.path: switch.number for switch in network.switches}
    heads = tuple(numbers[path] for path in element.heads)
    return SharedElement(name, element.rating_a, heads[0], heads)


def _own_streams(switch: Switch, index: GooseIndex) -> SwitchStreams:
    return SwitchStreams(
        _published(switch, index, agent_model.FAST_CONTROL, agent_model.FAST),
        _published(switch, index, agent_model.SLOW_CONTROL, agent_model.SLOW),
    )


def _published(
    switch: Switch, index: GooseIndex, control: str, expected: tuple[agent_model.Member, ...]
) -> StreamSettings:
    """A stream of the agent itself."""
    stream = index.stream(switch.iedName, switch.ldInst, control)
    if stream is None:
        raise SclError(f"IED {switch.iedName} has no GOOSE control block {control}; an agent publishes it")
    _check_members(stream, expected)
    return _stream_settings(stream)


def _check_members(stream: GooseStream, expected: tuple[agent_model.Member, ...]) -> None:
    """The data set must be the agents' wire format, member by member."""
    found = [
        (
            f"{m.fcda.lnClass or ''}{m.fcda.lnInst or ''}".replace("XCBR1", "SW1").replace("XSWI1", "SW1"),
            m.doName,
            m.daName,
            m.fc,
            m.type.count,
            tuple(a.bType for a in m.type.attributes) or (m.type.bType,),
        )
        for m in stream.members
    ]
    wanted = [(m.ln, m.do, m.da, m.fc, m.count, tuple(a.bType for a in m.attributes)) for m in expected]
    if found == wanted:
        if not stream.fixedOffs:
            raise SclError(f"{stream.gocbRef}: fixedOffs is not true; agents publish with fixed lengths")
        return
    for number, (have, want) in enumerate(zip(found, wanted, strict=False), 1):
        if have != want:
            raise SclError(f"{stream.datSet}: member {number} is {have}, expected {want}")
    raise SclError(f"{stream.datSet}: {len(found)} members, expected {len(wanted)}")


def _stream_settings(stream: GooseStream) -> StreamSettings:
    if stream.address is None:
        raise SclError(f"{stream.gocbRef}: no GSE address in the Communication section")
    address = stream.address
    return StreamSettings(
        mac=address.mac.hex(),
        appid=address.appid,
        vlan_id=address.vlan_id,
        vlan_priority=address.vlan_priority,
        gocbRef=stream.gocbRef,
        datSet=stream.datSet,
        goID=stream.goID,
        confRev=stream.confRev,
        entries=len(stream.members),
        min_time_ms=round(stream.min_time_ms or 4),
        max_time_ms=round(stream.max_time_ms or 1000),
    )
