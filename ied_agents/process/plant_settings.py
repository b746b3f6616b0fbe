"""Settings of the plant process: one JSON document, checked member by member."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, cast

from ied_agents.documents import JsonObject, read_json
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import (
    PlantNetwork,
    PlantNetworkError,
    PlantSection,
    PlantSwitch,
    SwitchKind,
)

_PATH_MAX: Final = 107  # octets of a UNIX socket's path (unix(7))


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
    slowness = plant.object("slowness")
    result = PlantSettings(
        fault_current_a=plant.number("fault_current_a"),
        pickup_spread_s=plant.number("pickup_spread_s"),
        pickup_reset_s=plant.number("pickup_reset_s"),
        refresh_s=plant.number("refresh_s", low=0.01),
        opens_above_capability=plant.boolean("opens_above_capability"),
        fail_to_open=frozenset(plant.integers("fail_to_open")),
        fail_to_close=frozenset(plant.integers("fail_to_close")),
        slowness={slowness.key(name, None): slowness.number(name) for name in slowness.names()},
        untrusted_direction=frozenset(plant.integers("untrusted_direction")),
    )
    slowness.finish()
    plant.finish()
    return result


def _socket(owner: JsonObject, name: str) -> str:
    path = owner.string(name)
    if len(path.encode()) > _PATH_MAX:
        owner.refuse(name, f"socket path of at most {_PATH_MAX} octets")
    return path
