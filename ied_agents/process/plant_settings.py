"""Settings of the plant process: one JSON document, checked member by member."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, cast

from ied_agents.documents import JsonObject, read_json
from ied_agents.process.inputs import Voltage
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import (
    PlantNetwork,
    PlantNetworkError,
    PlantSection,
    PlantSwitch,
    SwitchKind,
)

_PATH_MAX: Final = 107  # octets of a UNIX socket's path (unix(7))
_SIDES: Final = ("a", "b")


class PlantSettingsError(ValueError):
    """Settings that cannot be used; the message gives the path in the document and what was expected."""


@dataclass(frozen=True, slots=True)
class PlantProcessSettings:
    """Everything the plant process is told.

    Attributes:
        network: the simulated equipment.
        plant: how it behaves.
        seed: of the random pickup delays.
        socket: path of the datagram socket on which the plant receives commands.
        agents: path of the datagram socket of each switch's agent; a switch without one just tells nobody.
        log: path of the file that the plant's events are appended to as JSON lines.
    """

    network: PlantNetwork
    plant: PlantSettings
    seed: int
    socket: str
    agents: dict[int, str]
    log: str

    def to_json(self) -> str:
        """The document that :func:`read_plant_settings` reads."""
        plant = asdict(self.plant)
        for name in ("fail_to_open", "fail_to_close", "untrusted_direction"):
            plant[name] = sorted(plant[name])
        plant["voltage_stuck"] = {
            number: {side: int(voltage) for side, voltage in zip(_SIDES, stuck, strict=True) if voltage is not None}
            for number, stuck in self.plant.voltage_stuck.items()
        }
        return json.dumps(
            {
                "network": asdict(self.network),
                "plant": plant,
                "seed": self.seed,
                "socket": self.socket,
                "agents": self.agents,
                "log": self.log,
            },
            indent=1,
            allow_nan=False,
        )


def read_plant_settings(text: str) -> PlantProcessSettings:
    """Read and check settings.

    Raises:
        PlantSettingsError: for anything that is not as expected.
    """
    root = JsonObject(read_json(text, PlantSettingsError), "", PlantSettingsError)
    network = _network(root.object("network"))
    plant = _plant(root.object("plant"))
    numbers = {switch.number for switch in network.switches}
    agents = root.object("agents")
    settings = PlantProcessSettings(
        network=network,
        plant=plant,
        seed=root.integer("seed"),
        socket=_socket(root, "socket"),
        agents={agents.key(name, numbers): _socket(agents, name) for name in agents.names()},
        log=root.string("log"),
    )
    agents.finish()
    root.finish()
    return settings


def _network(network: JsonObject) -> PlantNetwork:
    sections = tuple(_section(section) for section in network.objects("sections"))
    switches = tuple(_switch(switch) for switch in network.objects("switches"))
    network.finish()
    try:
        return PlantNetwork(sections, switches)
    except PlantNetworkError as error:
        raise PlantSettingsError(f"network: {error}") from None


def _section(section: JsonObject) -> PlantSection:
    result = PlantSection(
        index=section.integer("index"),
        name=section.string("name"),
        is_source=section.boolean("is_source"),
        load_a=section.number("load_a"),
        generation_a=section.number("generation_a"),
        infeed=section.boolean("infeed"),
    )
    section.finish()
    return result


def _switch(switch: JsonObject) -> PlantSwitch:
    sides = switch.integers("sides")
    if len(sides) != 2:
        raise PlantSettingsError(f"{switch.path}sides: two sections expected, not {len(sides)}")
    result = PlantSwitch(
        number=switch.integer("number", low=1),
        name=switch.string("name"),
        sides=(sides[0], sides[1]),
        kind=cast("SwitchKind", switch.string("kind")),
        closed=switch.boolean("closed"),
        breaking_a=switch.number("breaking_a"),
        opening_time_s=switch.number("opening_time_s"),
        closing_time_s=switch.number("closing_time_s"),
    )
    switch.finish()
    return result


def _plant(plant: JsonObject) -> PlantSettings:
    result = PlantSettings(
        fault_current_a=plant.number("fault_current_a"),
        pickup_spread_s=plant.number("pickup_spread_s"),
        pickup_reset_s=plant.number("pickup_reset_s"),
        refresh_s=plant.number("refresh_s", low=0.01),
        opens_above_capability=plant.boolean("opens_above_capability"),
        fail_to_open=frozenset(plant.integers("fail_to_open")),
        fail_to_close=frozenset(plant.integers("fail_to_close")),
        slowness=_by_switch(plant.object("slowness")),
        untrusted_direction=frozenset(plant.integers("untrusted_direction")),
        generation_trip_s=plant.number("generation_trip_s"),
        position_late_s=_by_switch(plant.object("position_late_s")),
        voltage_stuck=_stuck(plant.object("voltage_stuck")),
    )
    plant.finish()
    return result


def _by_switch(numbers: JsonObject) -> dict[int, float]:
    return {numbers.key(name, None): numbers.number(name) for name in numbers.names()}


def _stuck(switches: JsonObject) -> dict[int, tuple[Voltage | None, Voltage | None]]:
    result = {}
    for name in switches.names():
        number = switches.key(name, None)
        switch = switches.object(name)
        sides = {side: Voltage(switch.integer(side, high=max(Voltage))) for side in _SIDES if side in switch.names()}
        switch.finish()
        result[number] = (sides.get("a"), sides.get("b"))
    return result


def _socket(owner: JsonObject, name: str) -> str:
    path = owner.string(name)
    if len(path.encode()) > _PATH_MAX:
        owner.refuse(name, f"socket path of at most {_PATH_MAX} octets")
    return path
