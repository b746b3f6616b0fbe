"""A small network and one agent in it, fed by hand: what the tests of the decision logic share.

    A-bus 0 --Q1-- 1 --L2-- 2 --R3-- 3 --T9(open)--- 4 --Q5--- 5 B-bus
                            |        |
                            L4       +--T10(open)-- 6 --Q11-- 7 C-bus
                            |
                            8

Section numbers stand between the switches; side A of every switch is the one named first in ``SWITCHES``. A test may
add switches and say more of those that are there, see ``feeder``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ied_agents.dflisr.agent import Agent
from ied_agents.dflisr.feeder import Feeder, FeederSection, FeederSwitch
from ied_agents.dflisr.records import (
    AgentState,
    Answer,
    AnswerKind,
    Bound,
    EventId,
    LoadState,
    LockState,
    SectionState,
    SideState,
)
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.dflisr.views import AgentConfig, Situation
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage

# number: breaker, sections at side A and B, normally closed, own delay in s
SWITCHES = {
    1: (True, (0, 1), True, 0.3),
    2: (False, (1, 2), True, 0.0),
    3: (True, (2, 3), True, 0.1),
    4: (False, (2, 8), True, 0.0),
    5: (True, (5, 4), True, 0.3),
    9: (False, (3, 4), False, 0.0),
    10: (True, (3, 6), False, 0.0),
    11: (True, (7, 6), True, 0.3),
}
SOURCES = (0, 5, 7)
NORMAL_FLOW_A = {1: 100.0, 2: 90.0, 3: 40.0, 4: 20.0, 5: 60.0, 9: 0.0, 10: 0.0, 11: 200.0}
RATING_A = 400.0
BREAKING_A = 630.0
PEER_INCARNATION = 500
CLOCK_S = 1_000
OF_AGENT = ("subscribed", "detection_time_s", "pickup_factor", "shadow")
EVENT = EventId(2, 65)
"""The fault in section 2 that most tests play: declared by L2."""


def feeder(also=None, priority=None, shared=(), **of_switches):
    """The network, with changes.

    ``also``: more switches, in the form of ``SWITCHES``; ``priority``: by section; ``shared``: ``SharedElement``;
    any other names a member of ``FeederSwitch`` and gives it by switch, as ``rating_a={1: 50.0}``.
    """
    made = Feeder(
        tuple(
            FeederSwitch(
                number=number,
                name=f"SW{number}",
                ied=f"IED{number}",
                breaker=breaker,
                sides=sides,
                normally_closed=closed,
                rating_a=RATING_A,
                breaking_a=16_000.0 if breaker else BREAKING_A,
                trip_delay_s=delay,
                operating_time_s=0.05,
            )
            for number, (breaker, sides, closed, delay) in (SWITCHES | (also or {})).items()
        ),
        tuple(
            FeederSection(index, f"S{index}", index in SOURCES, (priority or {}).get(index, 0)) for index in range(9)
        ),
        tuple(shared),
    )
    changed = made.switches
    for name, values in of_switches.items():
        changed = tuple(replace(s, **{name: values[s.number]}) if s.number in values else s for s in changed)
    return replace(made, switches=changed)


def flagged(section=SectionState.FAULTED, event=EVENT, lock=LockState.DURABLE, clear=False):
    """One side of a switch that bounds a flagged section."""
    none = EventId(0, 0)
    return SideState(
        section,
        event if section else none,
        lock,
        event if lock else none,
        clear,
        event if clear else none,
    )


def normal_state(number, *, closed=None):
    """What a peer publishes in normal operation."""
    closed = SWITCHES[number][2] if closed is None else closed
    return AgentState(
        PEER_INCARNATION,
        position=Dbpos.ON if closed else Dbpos.OFF,
        voltage=(Voltage.PRESENT, Voltage.PRESENT),
        ready=True,
    )


class Turned:
    """What came out of a turn and the turns its durable records brought about."""

    def __init__(self, turns):
        self.fast = turns[-1].fast
        self.slow = turns[-1].slow
        self.orders = [command.operation for turn in turns for command in turn.commands]
        self.notes = [note.kind for turn in turns for note in turn.notes]
        self.records = [turn.record[1] for turn in turns if turn.record is not None]


class Bench:
    """One agent, its peers and its process played by the test.

    Keywords are those of ``AgentConfig`` and of ``feeder``. ``hear`` and ``feed`` change single members and hand the
    whole over; ``turn`` decides. What the agent wants on disk is on disk at once unless ``disk_works`` is False.
    """

    def __init__(self, number, record=COMMISSIONED, unclean=False, **config):
        network = feeder(**{name: config.pop(name) for name in sorted(config) if name not in OF_AGENT})
        closed = {switch.number: switch.normally_closed for switch in network.switches}
        subscribed = frozenset(config.pop("subscribed", set(closed) - {number}))
        self.now = 1000.0
        self.number = number
        self.config = AgentConfig(number, network, subscribed, **config)
        self.record = record.started(CLOCK_S)
        self.agent = Agent(self.config, self.record, unclean=unclean, now=self.now)
        self.disk_works = True
        self.unwritten = []
        self.peers = {n: normal_state(n, closed=closed[n]) for n in sorted(subscribed)}
        self.loads = {n: LoadState(PEER_INCARNATION, NORMAL_FLOW_A.get(n, 0.0)) for n in sorted(subscribed)}
        self.inputs = SwitchInputs(
            switch=number,
            sequence=0,
            stamp_ns=1,
            position=Dbpos.ON if closed[number] else Dbpos.OFF,
            position_valid=True,
            pickup=False,
            direction=Direction.UNKNOWN,
            direction_trusted=False,
            flow_a=NORMAL_FLOW_A.get(number, 0.0),
            current_a=NORMAL_FLOW_A.get(number, 0.0),
            voltage=(Voltage.PRESENT, Voltage.PRESENT),
            generation_a=(0.0, 0.0),
        )

    @property
    def situation(self):
        return self.agent.situation

    @property
    def incarnation(self):
        return self.record.incarnation

    def quiet(self):
        """Normal operation for 2 s, so that every close from before the start has ended and every supply is steady."""
        for number in self.peers:
            self.hear(number)
            self.load(number)
        for _ in range(5):
            self.feed()
            self.turn(after=0.4)
        return self

    def hear(self, number, **changes):
        """A peer publishes its last state with these changes."""
        self.peers[number] = self.peers[number]._replace(**changes)
        self.agent.receive_state(number, self.peers[number])

    def load(self, number, **changes):
        """A peer publishes its last load with these changes."""
        self.loads[number] = replace(self.loads[number], **changes)
        self.agent.receive_load(number, self.loads[number])

    def feed(self, **changes):
        """The process sends a snapshot."""
        self.inputs = replace(
            self.inputs, sequence=self.inputs.sequence + 1, stamp_ns=self.inputs.stamp_ns + 1, **changes
        )
        self.agent.receive_inputs(self.inputs, self.now)

    def pick_up(self, direction=Direction.FORWARD, trusted=True, **changes):
        """Fault current through the own switch."""
        fault = {"pickup": True, "direction": direction, "direction_trusted": trusted, "current_a": 3000.0}
        self.feed(**fault | changes)

    def answer(self, number, kind, pickup=None):
        """A peer answers the own pickup."""
        locator = self.agent._locator.pickup
        pickup_id = locator.id if pickup is None else pickup
        given = Answer(self.number, self.incarnation, pickup_id, AnswerKind(kind))
        self.hear(number, answers=(given,))

    def turn(self, after=0.0):
        self.now += after
        turns = [self.agent.evaluate(self.now)]
        if turns[0].record is not None:
            self.unwritten.append(turns[0].record)
        while self.disk_works and self.unwritten:
            self.agent.stored(*self.unwritten.pop(0))
            turns.append(self.agent.evaluate(self.now))
            if turns[-1].record is not None:
                self.unwritten.append(turns[-1].record)
        return Turned(turns)

    def turns(self, seconds, step=0.05):
        """Turns for some time, with the process refreshing its inputs; returns all of them as one."""
        orders, notes = [], []
        for _ in range(round(seconds / step)):
            self.now += step
            self.feed()
            last = self.turn()
            orders += last.orders
            notes += last.notes
        last.orders, last.notes = orders, notes
        return last

    def open(self, voltage):
        """The own switch is seen open, without current."""
        self.feed(
            position=Dbpos.OFF,
            pickup=False,
            direction=Direction.UNKNOWN,
            direction_trusted=False,
            flow_a=0.0,
            current_a=0.0,
            voltage=voltage,
        )


class Network:
    """The names above, for tests that cannot import this file."""

    event = EVENT
    switches = SWITCHES
    sources = SOURCES
    incarnation = PEER_INCARNATION
    feeder = staticmethod(feeder)
    flagged = staticmethod(flagged)
    normal_state = staticmethod(normal_state)


@pytest.fixture(scope="session")
def network():
    return Network


@pytest.fixture
def bench():
    """``bench(number)``: the agent of that switch, just started; ``bench(number).quiet()`` in operation."""
    return Bench


@pytest.fixture
def situation():
    """``situation(number)``: what an agent knows that has heard every peer in normal operation."""

    def make(number, **changes):
        network = feeder(**changes)
        closed = {switch.number: switch.normally_closed for switch in network.switches}
        made = Situation(AgentConfig(number, network, frozenset(closed) - {number}), CLOCK_S)
        made.own = normal_state(number)._replace(incarnation=CLOCK_S)
        for peer, view in made.views.items():
            view.state, view.alive = normal_state(peer, closed=closed[peer]), True
            view.load, view.load_alive = LoadState(PEER_INCARNATION, NORMAL_FLOW_A.get(peer, 0.0)), True
        return made

    return make


@pytest.fixture
def dead_section_3(network):
    """``dead_section_3(bench)``: the fault in section 2 is isolated; what lies behind R3 is dark and claimed.

    For the tie T9. R3 claims section 3, T10 has promised, Q5 has reserved, R3 grants T9 side A.
    """
    from ied_agents.dflisr.records import Claim, ClaimId, Request, Reservation

    claim_id = ClaimId(0, 7, 3)
    claim = Claim(claim_id, EVENT, (Bound(9, 0), Bound(10, 0)), Request(9, 5, 400), ())

    def play(bench):
        none, dark, live = flagged(SectionState.NONE, lock=LockState.NONE), Voltage.ABSENT, Voltage.PRESENT
        bench.hear(2, position=Dbpos.OFF, last_event=EVENT, voltage=(dark, dark), sides=(none, flagged()))
        bench.hear(4, position=Dbpos.OFF, last_event=EVENT, voltage=(dark, dark), sides=(flagged(), none))
        bench.hear(
            3,
            position=Dbpos.OFF,
            last_event=EVENT,
            voltage=(dark, dark),
            sides=(flagged(), none),
            claims=(bench.peers[3].claims[0], claim),
        )
        bench.hear(10, last_event=EVENT, voltage=(dark, live), promises=(claim_id, ClaimId(0, 0, 0)))
        bench.hear(5, reservations=(Reservation(claim_id, 9, 400, whole=True),), last_event=EVENT)
        bench.feed(voltage=(dark, live))
        return claim

    return play
