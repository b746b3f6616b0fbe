"""Settings of the plant process: one JSON document, checked member by member."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import (
    PlantNetwork,
    PlantNetworkError,
    PlantSection,
    PlantSwitch,
    SwitchKind,
)

_PATH_MAX: Final = 107  # octets of a UNIX socket's path (unix(7))
_INTEGER_MAX: Final = 2**63 - 1
_NUMBER_MAX: Final = 1e12


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
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlantSettingsError(f"no JSON: {error}") from None
    root = _Object(document, "")
    network = _network(root.object("network"))
    plant = _plant(root.object("plant"))
    numbers = {switch.number for switch in network.switches}
    agents = root.object("agents")
    settings = PlantProcessSettings(
        network=network,
        plant=plant,
        seed=root.integer("seed"),
        socket=root.socket("socket"),
        agents={agents.key(name, numbers): agents.socket(name) for name in agents.names()},
        log=root.string("log"),
    )
    agents.finish()
    root.finish()
    return settings


def _network(network: _Object) -> PlantNetwork:
    sections = tuple(_section(section) for section in network.objects("sections"))
    switches = tuple(_switch(switch) for switch in network.objects("switches"))
    network.finish()
    try:
        return PlantNetwork(sections, switches)
    except PlantNetworkError as error:
        raise PlantSettingsError(f"network: {error}") from None


def _section(section: _Object) -> PlantSection:
    result = PlantSection(
        index=section.integer("index"),
        name=section.string("name"),
        is_source=section.boolean("is_source"),
        load_a=section.number("load_a"),
        generation_a=section.number("generation_a"),
    )
    section.finish()
    return result


def _switch(switch: _Object) -> PlantSwitch:
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


def _plant(plant: _Object) -> PlantSettings:
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


class _Object:
    """One JSON object of the document, each member taken once by name and type."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise PlantSettingsError(f"{path.rstrip('.') or 'document'}: object expected")
        self.path = path
        self._left: dict[str, Any] = value

    def names(self) -> list[str]:
        return list(self._left)

    def object(self, name: str) -> _Object:
        return _Object(self._take(name), f"{self.path}{name}.")

    def objects(self, name: str) -> list[_Object]:
        value = self._take(name)
        if not isinstance(value, list):
            self._refuse(name, "list of objects")
        return [_Object(each, f"{self.path}{name}[{place}].") for place, each in enumerate(value)]

    def integer(self, name: str, low: int = 0) -> int:
        value = self._take(name)
        if type(value) is not int or not low <= value <= _INTEGER_MAX:
            self._refuse(name, f"integer from {low}")
        return cast("int", value)

    def integers(self, name: str) -> list[int]:
        value = self._take(name)
        if not isinstance(value, list) or not all(type(each) is int for each in value):
            self._refuse(name, "list of integers")
        return cast("list[int]", value)

    def number(self, name: str, low: float = 0.0) -> float:
        value = self._take(name)
        if type(value) not in (int, float) or not low <= value <= _NUMBER_MAX:
            self._refuse(name, f"number from {low:g}")
        return float(value)

    def boolean(self, name: str) -> bool:
        value = self._take(name)
        if type(value) is not bool:
            self._refuse(name, "true or false")
        return cast("bool", value)

    def string(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str) or not value:
            self._refuse(name, "text")
        return cast("str", value)

    def socket(self, name: str) -> str:
        path = self.string(name)
        if len(path.encode()) > _PATH_MAX:
            self._refuse(name, f"socket path of at most {_PATH_MAX} octets")
        return path

    def key(self, name: str, numbers: set[int] | None) -> int:
        """A member's name that is the number of a switch."""
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else -1
        if number < 0 or (numbers is not None and number not in numbers):
            self._refuse(name, "number of a switch as name")
        return number

    def finish(self) -> None:
        for name in self._left:
            self._refuse(name, "nothing of that name")

    def _take(self, name: str) -> Any:
        if name not in self._left:
            self._refuse(name, "a value")
        return self._left.pop(name)

    def _refuse(self, name: str, expected: str) -> None:
        raise PlantSettingsError(f"{self.path}{name}: {expected} expected")
