"""Settings of the plant process: read as written, and refused with the path of what is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ied_agents.process.inputs import Voltage
from ied_agents.process.plant import PlantSettings
from ied_agents.process.plant_network import PlantNetwork, PlantSection, PlantSwitch
from ied_agents.process.plant_settings import PlantProcessSettings, PlantSettingsError, read_plant_settings

SETTINGS = PlantProcessSettings(
    network=PlantNetwork(
        sections=(
            PlantSection(0, "busbar", is_source=True),
            PlantSection(1, "line", load_a=12.5, generation_a=1.0, infeed=True),
        ),
        switches=(PlantSwitch(7, "Q7", (0, 1), "breaker", True, 20000.0, 0.05, 0.06),),
    ),
    plant=PlantSettings(
        pickup_spread_s=0.002,
        fail_to_open=frozenset({7}),
        slowness={7: 2.0},
        opens_above_capability=False,
        generation_trip_s=0.5,
        position_late_s={7: 0.25},
        voltage_stuck={7: (None, Voltage.ABSENT), 8: (Voltage.UNKNOWN, None)},
    ),
    seed=42,
    socket="run/plant",
    agents={7: "run/agent7"},
    log="run/plant.jsonl",
)


def test_settings_are_read_as_they_were_written():
    assert read_plant_settings(SETTINGS.to_json()) == SETTINGS


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["seed"], -1, "seed: integer from 0 expected"),
        (["seed"], None, "seed: integer from 0 expected"),
        (["socket"], "x" * 108, "socket: socket path of at most 107 octets expected"),
        (["log"], "", "log: text expected"),
        (["agents"], [], "agents: object expected"),
        (["agents", "8"], "run/agent8", "agents.8: number of a switch as name expected"),
        (["agents", "seven"], "run/agent7", "agents.seven: number of a switch as name expected"),
        (["agents", "9" * 5000], "run/agent9", f"agents.{'9' * 5000}: number of a switch as name expected"),
        (["agents", "7"], 7, "agents.7: text expected"),
        (["extra"], 1, "extra: nothing of that name expected"),
        (["plant", "refresh_s"], 0, "plant.refresh_s: number from 0.01 expected"),
        (["plant", "pickup_spread_s"], "fast", "plant.pickup_spread_s: number from 0 expected"),
        (["plant", "pickup_spread_s"], float("nan"), "plant.pickup_spread_s: number from 0 expected"),
        (["plant", "pickup_spread_s"], 10**400, "plant.pickup_spread_s: number from 0 expected"),
        (["plant", "fail_to_open"], [True], "plant.fail_to_open: list of integers expected"),
        (["plant", "opens_above_capability"], 1, "plant.opens_above_capability: true or false expected"),
        (["plant", "slowness", "7"], None, "plant.slowness.7: number from 0 expected"),
        (["plant", "generation_trip_s"], -1, "plant.generation_trip_s: number from 0 expected"),
        (["plant", "position_late_s", "Q7"], 1, "plant.position_late_s.Q7: number of a switch as name expected"),
        (["plant", "voltage_stuck", "7", "b"], 3, "plant.voltage_stuck.7.b: integer from 0 to 2 expected"),
        (["plant", "voltage_stuck", "7", "c"], 1, "plant.voltage_stuck.7.c: nothing of that name expected"),
        (["network", "sections", 1, "infeed"], 1, "network.sections[1].infeed: true or false expected"),
        (["network", "sections"], {}, "network.sections: list of objects expected"),
        (["network", "sections", 1], 5, "network.sections[1]: object expected"),
        (["network", "sections", 1, "load_a"], True, "network.sections[1].load_a: number from 0 expected"),
        (["network", "switches", 0, "sides"], [0], "network.switches[0].sides: two sections expected, not 1"),
        (["network", "switches", 0, "number"], 0, "network.switches[0].number: integer from 1 expected"),
        (["network", "switches", 0, "sides"], [0, 9], "network: switch 7: section 9 does not exist"),
        (
            ["network", "switches", 0, "rating"],
            1,
            "network.switches[0].rating: nothing of that name expected",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_path(path, value, problem):
    document = json.loads(SETTINGS.to_json())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(PlantSettingsError) as caught:
        read_plant_settings(json.dumps(document))
    assert str(caught.value) == problem


def test_what_is_missing_is_named():
    document = json.loads(SETTINGS.to_json())
    del document["plant"]["pickup_reset_s"]
    with pytest.raises(PlantSettingsError) as caught:
        read_plant_settings(json.dumps(document))
    assert str(caught.value) == "plant.pickup_reset_s: a value expected"


@given(st.one_of(st.text(max_size=50), st.just("[" * 5000), st.recursive(st.none(), st.lists).map(json.dumps)))
def test_anything_else_is_refused(text):
    with pytest.raises(PlantSettingsError):
        read_plant_settings(text)
