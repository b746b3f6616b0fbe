"""One plant and two sets of agents under virtual time: the live one, and its shadow on a network of its own.

Both hear the same process at the same moments. Each set has its own network and its own disks, and a frame or a record
takes as long in both: the delays are drawn by who sends or writes and when. So what an agent decides its shadow must
decide at the same moment. Only the live set's commands are to reach the plant.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Final

from tools.campaign.world import ToldPlant, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from ied_agents.process.inputs import SwitchCommand, SwitchInputs
    from ied_agents.process.plant import PlantSettings
    from ied_agents.runtime.memory_link import Disturbance
    from ied_agents.runtime.station import Output
    from tools.campaign.feeders import FeederSystem
    from tools.campaign.light_station import LightOutput
    from tools.campaign.world import Host

SETTLED_S: Final = 20.0
"""So long after the last change only repetitions are left; what a site lets its agents wait for comes on top."""
_PLANT_STEP_S: Final = 60.0


class _Alike(World):
    """A world in which chance goes by the agent and the moment, not by what has happened before.

    A frame that only one set sends (that its agent's mode is another) would shift all later delays else.

    Attributes:
        ordered: commands that reached the plant.
    """

    def __init__(self, system: FeederSystem, plant: PlantSettings, seed: int, disturbance: Disturbance) -> None:
        self.ordered = 0
        self.seed = seed
        super().__init__(
            system.plant, plant, system.agents, random.Random(seed), disturbance, real_frames=False, telling=True
        )

    def _carry_out(self, host: Host, output: Output | LightOutput) -> None:
        self.rng.seed(hash((self.seed, host.number, self.now)))
        super()._carry_out(host, output)

    def _write(self, host: Host) -> None:
        self.rng.seed(hash((self.seed, -host.number, self.now)))
        super()._write(host)

    def _obey(self, command: SwitchCommand) -> None:
        self.ordered += 1
        super()._obey(command)


class LiveWorld(_Alike):
    """The live set: the plant is its own.

    Args:
        system: the network, with the agents' settings.
        plant: how the plant behaves.
        seed: of all chance.
        disturbance: how bad the network is.

    Attributes:
        beside: its shadow, which hears the same process.
    """

    beside: ShadowWorld | None = None

    def build_plant(self) -> ToldPlant:
        """The plant, with chance of its own."""
        return ToldPlant(self.plant_network, self.plant_settings, random.Random(self.seed))

    def _send_inputs(self, inputs: SwitchInputs) -> None:
        super()._send_inputs(inputs)
        if self.beside is not None:
            self.beside.show(inputs)


class ShadowWorld(_Alike):
    """The shadow set: it moves with the live one, and what its agents order would reach the live one's plant.

    Args:
        live: the live set.
        system: the network, with the agents' settings.
    """

    def __init__(self, live: LiveWorld, system: FeederSystem) -> None:
        self._live = live
        super().__init__(system, live.plant_settings, live.seed, live.disturbance)

    def build_plant(self) -> ToldPlant:
        """That of the live set."""
        return self._live.plant

    def at(self, t: float, action: Callable[[], None]) -> None:
        """Do something at a virtual time, in the one order of all that happens."""
        self._live.at(t, partial(self._act, action))

    def show(self, inputs: SwitchInputs) -> None:
        """What the process says to a live agent it says to its shadow."""
        self.now = self._live.now
        self._send_inputs(inputs)

    def _act(self, action: Callable[[], None]) -> None:
        self.now = self._live.now
        action()

    def _follow_plant(self) -> None:
        """The live set does."""


class Beside:
    """Runs both sets together.

    Args:
        system: the network, with the live agents' settings.
        shadows: the same, with their shadows' settings.
        plant: how the plant behaves.
        seed: of all chance.
        disturbance: how bad both networks are.

    Attributes:
        live, shadow: the sets.
        stepped_s: how much of the time was taken step by step, s.
    """

    def __init__(
        self, system: FeederSystem, shadows: FeederSystem, plant: PlantSettings, seed: int, disturbance: Disturbance
    ) -> None:
        self.stepped_s = 0.0
        self.live = LiveWorld(system, plant, seed, disturbance)
        self.shadow = self.live.beside = ShadowWorld(self.live, shadows)
        waits = (s.transfer_after_s + s.trip_delay_s + sum(s.shots) for s in system.feeder.switches)
        self._settled_s = SETTLED_S + max(waits)

    @property
    def now(self) -> float:
        """Virtual time, s."""
        return self.live.now

    def run(self, until: float, *, every_step: bool = False) -> None:
        """Let both run until virtual time ``until``, s.

        Args:
            until: when something happens next.
            every_step: quiet time is not passed over.
        """
        while self.now < until:
            quiet_s = math.floor(until - self.now)
            if quiet_s > 1 and not every_step and self._quiet():
                self._pass_over(self.now + quiet_s - 1)
            before, to = self.now, min(self.now + 1.0, until)
            self.live.run(to)
            self.shadow.now = to
            self.stepped_s += to - before

    def _quiet(self) -> bool:
        changed_at = max(max(world.changed_at, world.occurred_at) for world in (self.live, self.shadow))
        return self.now >= changed_at + self._settled_s

    def _pass_over(self, until: float) -> None:
        """The plant takes its steps, which are cheap; of what it says only the last is of interest."""
        said: dict[int, SwitchInputs] = {}
        at = self.now
        while at < until:
            at = min(at + _PLANT_STEP_S, until)
            said |= {inputs.switch: inputs for inputs in self.live.plant.handle_timer(at)}
        for world in (self.live, self.shadow):
            world.pass_over(until, said.values())
