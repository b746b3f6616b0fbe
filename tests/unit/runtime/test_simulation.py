"""LPHD.Sim: an agent in test follows simulated frames, and nothing of them is left when it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scl
from gateway.site import read_site
from ied_agents.control.decision import Authority, Behaviour, Origin, Reason
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    EMPTY_CLAIM,
    AgentState,
    Answer,
    AnswerKind,
    Bound,
    Claim,
    ClaimId,
    EventId,
    LoadState,
    LockState,
    SectionState,
)
from ied_agents.dflisr.stored import COMMISSIONED, StoredSide
from ied_agents.dflisr.wire import encode_fast, encode_slow
from ied_agents.goose.publisher import Publisher
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import Direction, SwitchInputs, Voltage
from ied_agents.runtime.relay_streams import Standing
from ied_agents.runtime.station import Station

AGENTS = read_site(Path(scl.__file__).parent / "samples" / "two_source.toml").agents
ME, BEFORE_ME, BEHIND_ME = 3, 2, 4
MAC = bytes.fromhex("020000000003")
UTC_NS = 1_700_000_000_000_000_000
TESTING = [Behaviour.TEST, Behaviour.TEST_BLOCKED]
INCARNATION = 500
EVENT = EventId(BEFORE_ME, 65)
LIVE = (Voltage.PRESENT, Voltage.PRESENT)


def flagged(event=EVENT, section=SectionState.FAULTED):
    return CLEAR_SIDE._replace(
        section=section, section_event=event, lock=LockState.DURABLE, lock_event=event, clear=True, clear_event=event
    )


def both_sides(event=EVENT):
    return {"sides": (flagged(event), flagged(event)), "last_event": event}


class Peer:
    """The real or a simulated publisher of one switch."""

    def __init__(self, number, streams, *, simulation):
        closed = AGENTS[ME].config.feeder.by_number[number].normally_closed
        position = Dbpos.ON if closed else Dbpos.OFF
        self.state = AgentState(INCARNATION, position=position, voltage=LIVE, ready=True)
        self.fast, self.slow = (
            Publisher(replace(stream.publisher(bytes(6)), simulation=simulation))
            for stream in (streams.fast, streams.slow)
        )

    def says(self, now, **changes):
        self.state = self.state._replace(**changes)
        frame = self.fast.publish(encode_fast(self.state), now, UtcTime(1_700_000_000))
        return frame if frame is not None else self.fast.handle_timer(self.fast.next_deadline)

    def carries(self, now, amperes):
        frame = self.slow.publish(encode_slow(LoadState(self.state.incarnation, amperes)), now, UtcTime(1))
        return frame if frame is not None else self.slow.handle_timer(self.slow.next_deadline)


class Stage:
    """A station, all its peers twice, its process and its disk."""

    def __init__(self, record=COMMISSIONED, behaviour=Behaviour.ON):
        self.now = 100.0
        started = replace(record, behaviour=behaviour).started(1000)
        self.station = Station(AGENTS[ME], started, unclean=False, mac=MAC, now=self.now)
        self.disk = started
        self.disk_works = True
        self.unwritten = []
        self.commands, self.notes, self.frames = [], [], []
        self.written = []
        peers = AGENTS[ME].peers
        self.real = {n: Peer(n, streams, simulation=False) for n, streams in peers.items()}
        self.false = {n: Peer(n, streams, simulation=True) for n, streams in peers.items()}
        self.inputs = SwitchInputs(
            *(ME, 1, 1, Dbpos.ON, True, False, Direction.UNKNOWN, False), *(10.0, 10.0, LIVE, (0.0, 0.0))
        )
        self.run(3.0)

    @property
    def agent(self):
        return self.station.agent

    @property
    def state(self):
        return self.station.published[0]

    def feed(self, **changes):
        self.inputs = replace(
            self.inputs, sequence=self.inputs.sequence + 1, stamp_ns=self.inputs.stamp_ns + 1, **changes
        )
        self.station.receive_inputs(self.inputs, self.now)

    def turn(self):
        for _ in range(20):
            output = self.station.turn(self.now, UTC_NS + round(self.now * 1e9))
            self.commands += [command.operation for command in output.commands]
            self.notes += [note.kind for note in output.notes]
            self.frames += output.frames
            if output.record is not None:
                self.unwritten.append(output.record)
            if not (self.disk_works and self.unwritten):
                break
            while self.unwritten:
                version, self.disk = self.unwritten.pop(0)
                self.written.append(self.disk)
                self.station.stored(version, self.disk)
        else:
            pytest.fail("it never comes to rest")

    def hear(self, number, *, simulated=False, **changes):
        peer = (self.false if simulated else self.real)[number]
        self.station.receive_frame(peer.says(self.now, **changes), self.now)
        if not self.station.react(self.now, UTC_NS):
            return
        self.commands += [command.operation for command in self.station.trip(self.now, UTC_NS).commands]

    def load(self, number, amperes, *, simulated=False):
        peer = (self.false if simulated else self.real)[number]
        self.station.receive_frame(peer.carries(self.now, amperes), self.now)

    def run(self, seconds, step=0.25, *, peers=True):
        """Time goes by; the real peers repeat themselves, and answer this start."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.feed()
            for number, peer in self.real.items() if peers else ():
                ours = Answer(ME, self.agent.record.incarnation, 0, AnswerKind.NONE)
                self.station.receive_frame(peer.says(self.now, answers=(ours,)), self.now)
                self.load(number, 10.0)
            self.turn()
            self.now += 0.002
            self.turn()

    def sim(self, on=True):
        answer = self.agent.set_simulation(None, on=on)
        self.station.touch()
        self.turn()
        return answer

    def mode(self, behaviour):
        self.agent.set_mode(behaviour)
        self.station.touch()
        self.turn()


@pytest.fixture
def stage():
    return Stage(behaviour=Behaviour.TEST)


def lasting(record):
    """What of a record may decide anything; numbers that only must not come twice, and marks, are left out."""
    return replace(record, incarnation=0, events_reserved=0, claim_number=0, clean=False)


# -- when it may be set ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", Behaviour)
def test_it_is_set_in_test_only(behaviour):
    stage = Stage(behaviour=behaviour)
    assert stage.sim() is (Reason.NONE if behaviour in TESTING else Reason.MODE)
    assert stage.agent.record.simulation is (behaviour in TESTING)
    stage.hear(BEFORE_ME, simulated=True, **both_sides())
    followed = stage.agent.situation.views[BEFORE_ME].test_sides[1].section is SectionState.FAULTED
    assert followed is (behaviour in TESTING)


@pytest.mark.parametrize("authority", Authority)
@pytest.mark.parametrize("origin", [Origin.BAY, Origin.STATION, Origin.REMOTE])
def test_it_is_for_whoever_has_the_authority(stage, authority, origin):
    stage.agent.set_authority(authority)
    fits = (origin, authority) in list(zip([Origin.BAY, Origin.STATION, Origin.REMOTE], Authority, strict=True))
    for on in (True, False):
        assert stage.agent.set_simulation(origin, on=on) is (Reason.NONE if fits else Reason.LOCAL)


@pytest.mark.parametrize("behaviour", Behaviour)
def test_it_ends_when_the_test_ends(stage, behaviour):
    stage.sim()
    stage.mode(behaviour)
    assert stage.agent.record.simulation is (behaviour in TESTING)
    assert stage.disk.simulation is (behaviour in TESTING)
    assert ("simulation over" in stage.notes) is (behaviour not in TESTING)


def test_after_a_restart_it_is_not_set_and_the_restart_says_that_it_was(stage):
    stage.sim()
    again = Stage(stage.disk, Behaviour.TEST)
    assert "simulation over" in again.notes
    assert (again.agent.record.simulation, again.disk.simulation) == (False, False)
    assert "simulation over" not in Stage(again.disk, Behaviour.TEST).notes


# -- while it is set -------------------------------------------------------------------------------------------------


def test_a_stream_that_has_seen_no_simulated_frame_goes_on_with_the_real_ones(stage):
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, pickup_id=7)
    stage.hear(BEFORE_ME, pickup_id=8)
    stage.hear(BEHIND_ME, pickup_id=9)
    views = stage.agent.situation.views
    assert (views[BEFORE_ME].state.pickup_id, views[BEHIND_ME].state.pickup_id) == (7, 9)
    standing = {
        name.partition("FLISR")[0]: one[:3] for name, one in stage.station.supervision().items() if "Fast" in name
    }
    assert (standing["F1L2"][1], standing["F1L4"][1]) == (True, False)
    assert standing["F1L2"][2] == 1


@pytest.mark.parametrize("behaviour", TESTING)
@pytest.mark.parametrize("said", [Behaviour.ON, Behaviour.BLOCKED, Behaviour.TEST_BLOCKED])
def test_a_simulated_fault_makes_it_react_without_an_operation_and_as_a_test(behaviour, said):
    stage = Stage(behaviour=behaviour)
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, behaviour=said, **both_sides())
    stage.run(1.0)
    assert {"simulation followed", "locked", "would open"} <= set(stage.notes)
    assert stage.commands == []
    assert (stage.state.sides[0].section, stage.state.behaviour) == (SectionState.FAULTED, behaviour)
    assert stage.disk.sides == (StoredSide(), StoredSide())
    assert stage.disk.simulation


def test_its_locks_and_promises_go_on_without_the_disk(stage):
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, **both_sides())
    stage.run(0.5)
    assert stage.state.sides[0].lock is LockState.DURABLE
    assert stage.agent.record.sides[0].locked
    assert [record for record in stage.written if record.sides[0].locked] == []


def test_a_real_lock_is_neither_cleared_by_a_simulated_word_nor_told_to_the_relay_as_gone():
    stage = Stage()
    stage.hear(BEFORE_ME, **both_sides())
    stage.turn()
    assert stage.disk.sides[0].locked
    stage.mode(Behaviour.TEST)
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, sides=(CLEAR_SIDE, CLEAR_SIDE), cleared=(EVENT,), returning=EVENT)
    stage.run(0.5)
    assert stage.disk.sides[0].event == EVENT
    stage.agent.unlock(EVENT)  # a person plays too
    stage.station.touch()
    stage.turn()
    assert not stage.agent.record.locked
    standing = Standing.of(stage.agent, stage.now, stage.station._simulation.real)
    assert (standing.blocked, standing.test_block) == (True, False)
    stage.sim(on=False)
    stage.run(2.0)
    assert (stage.agent.record.sides[0].event, stage.agent.record.locked) == (EVENT, True)
    assert EVENT not in stage.agent.record.cleared


def test_what_agents_in_operation_declare_meanwhile_is_real_and_stays(stage):
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, pickup_id=3)
    event = EventId(BEHIND_ME, 70)
    side = AGENTS[ME].config.feeder.by_number[ME].sides.index(AGENTS[ME].config.feeder.by_number[BEHIND_ME].sides[0])
    stage.hear(BEHIND_ME, **both_sides(event))
    stage.run(0.5)
    assert stage.disk.sides[side] == StoredSide(SectionState.FAULTED, event, locked=True)
    stage.mode(Behaviour.ON)
    stage.run(0.5, peers=False)
    assert stage.agent.record.sides[side].locked
    assert stage.state.sides[side].lock is LockState.VOLATILE, "nobody relies on it until its peers have been heard"


def test_tags_mode_and_authority_are_no_play(stage):
    stage.sim()
    stage.agent.tag("crew", 1)
    stage.agent.set_authority(Authority.LOCAL)
    stage.station.touch()
    stage.turn()
    assert (stage.disk.tags, stage.disk.authority) == ((("crew", 1),), Authority.LOCAL)
    stage.mode(Behaviour.ON)
    stage.run(1.0)
    assert (stage.agent.record.tags, stage.agent.record.authority) == ((("crew", 1),), Authority.LOCAL)


def test_numbers_of_a_play_are_never_used_again(stage):
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, pickup_id=3)
    for _ in range(100):
        stage.agent._new_event()
        stage.turn()
    used = stage.agent._event_counter
    stage.agent._record = replace(stage.agent._record, claim_number=40)
    stage.station.touch()
    stage.turn()
    assert stage.disk.events_reserved >= used
    incarnation = stage.agent.record.incarnation
    stage.sim(on=False)
    assert stage.agent._event_counter >= used
    assert stage.agent.record.claim_number == 40
    assert stage.agent.record.incarnation > incarnation


# -- how it ends -----------------------------------------------------------------------------------------------------


def test_the_real_word_from_before_comes_back_as_after_a_loss(stage):
    stage.hear(BEFORE_ME, pickup_id=41)
    stage.load(BEFORE_ME, 77.0)
    stage.turn()
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, incarnation=0xFFFF_FFFF, pickup_id=42)
    stage.load(BEFORE_ME, 11.0, simulated=True)
    stage.turn()
    stage.sim(on=False)
    view = stage.agent.situation.views[BEFORE_ME]
    assert (view.state.pickup_id, view.load.flow_a) == (41, 77.0)
    assert (view.alive, view.load_alive) == (False, False)
    stage.hear(BEFORE_ME)
    stage.load(BEFORE_ME, 77.0)
    assert (view.alive, view.load_alive) == (True, True)
    stage.hear(BEFORE_ME, simulated=True, pickup_id=43)
    assert view.state.pickup_id == 41


def test_it_starts_anew_only_when_that_is_on_disk_and_says_nothing_until_then(stage):
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, **both_sides())
    stage.run(0.5)
    old = stage.agent
    stage.disk_works = False
    stage.mode(Behaviour.ON)
    for _ in range(8):
        stage.run(0.25)
        assert stage.station.starting_anew
        assert stage.agent is old
        assert stage.state.behaviour is Behaviour.TEST
    stage.agent.tag("crew", 1)  # in that very moment
    stage.station.touch()
    stage.disk_works = True
    stage.run(0.25)
    assert stage.agent is not old
    assert stage.agent.record.tags == stage.disk.tags == (("crew", 1),)
    assert stage.state.behaviour is Behaviour.ON
    stage.run(2.0)
    assert (stage.agent.record.locked, stage.commands) == (False, [])
    assert not stage.state.unproven


def test_until_its_peers_have_answered_the_new_start_it_is_not_ready(stage):
    stage.sim()
    stage.mode(Behaviour.ON)
    stage.run(2.0, peers=False)
    assert (stage.state.ready, stage.state.unproven) == (False, True)
    stage.run(1.0)
    assert (stage.state.ready, stage.state.unproven) == (True, False)


def test_fault_current_that_it_saw_meanwhile_is_for_a_person_to_judge(stage):
    stage.sim()
    fault = {"direction": Direction.FORWARD, "direction_trusted": True, "current_a": 3000.0}
    stage.feed(pickup=True, **fault)
    stage.turn()
    stage.feed(pickup=False, direction=Direction.UNKNOWN, direction_trusted=False, current_a=10.0)
    stage.run(1.0)
    assert stage.disk.held
    stage.mode(Behaviour.ON)
    stage.run(2.0)
    assert not stage.state.ready
    stage.agent.confirm()
    stage.run(0.5)
    assert stage.state.ready


def test_a_clear_request_that_comes_with_the_end_of_the_test_trips_nothing():
    """Simulated, and the mode is on again before the next turn."""
    stage = Stage(behaviour=Behaviour.TEST)
    stage.sim()
    stage.hear(BEFORE_ME, simulated=True, pickup_id=3)
    stage.turn()
    stage.agent.set_mode(Behaviour.ON)
    stage.station.touch()
    stage.hear(BEFORE_ME, simulated=True, **both_sides())
    stage.turn()
    stage.run(2.0)
    assert (stage.commands, stage.agent.record.locked) == ([], False)


# -- no sequence lets a simulated frame through -----------------------------------------------------------------------

EVENTS = st.builds(EventId, st.sampled_from((BEFORE_ME, BEHIND_ME, ME)), st.integers(60, 70))
NO_REQUEST = EMPTY_CLAIM.request
CLAIM = st.builds(
    lambda number, by: Claim(ClaimId(0, number, by), EVENT, (Bound(ME, 0), Bound(ME, 1)), NO_REQUEST, ()),
    st.integers(1, 2**32 - 1),
    st.sampled_from((BEFORE_ME, BEHIND_ME)),
)
WORDS = st.fixed_dictionaries(
    {},
    optional={
        "incarnation": st.sampled_from((0, INCARNATION, 0xFFFF_FFFF)),
        "position": st.sampled_from(Dbpos),
        "voltage": st.tuples(st.sampled_from(Voltage), st.sampled_from(Voltage)),
        "pickup": st.booleans(),
        "pickup_id": st.integers(0, 9),
        "direction": st.sampled_from((Direction.FORWARD, Direction.BACKWARD)),
        "direction_trusted": st.booleans(),
        "sides": st.tuples(*[st.one_of(st.just(CLEAR_SIDE), st.builds(flagged, EVENTS))] * 2),
        "cleared": st.lists(EVENTS, max_size=2).map(tuple),
        "returning": EVENTS,
        "claims": st.tuples(CLAIM, st.just(EMPTY_CLAIM)),
        "promises": st.tuples(st.just(ClaimId(0, 2**32 - 1, BEHIND_ME)), st.just(ClaimId(0, 0, 0))),
        "behaviour": st.sampled_from(Behaviour),
        "breaker_failure": st.booleans(),
    },
)
PEERS = st.sampled_from((BEFORE_ME, BEHIND_ME))
SIMULATED = st.tuples(st.just("hear"), PEERS, WORDS)
REAL = st.tuples(st.just("real"), PEERS, st.fixed_dictionaries({}, optional={"pickup_id": st.integers(0, 9)}))
LOADS = st.tuples(st.just("load"), PEERS, st.floats(0.0, 500.0, width=32))
STEPS = st.lists(
    st.one_of(
        SIMULATED,
        SIMULATED,
        REAL,
        LOADS,
        st.tuples(st.just("sim"), st.booleans()),
        st.tuples(st.just("mode"), st.sampled_from(Behaviour)),
        st.tuples(st.just("wait"), st.floats(0.05, 0.5)),
    ),
    max_size=25,
)


def play(stage, steps, *, simulated):
    for what, *arguments in steps:
        if what == "hear" and simulated:
            stage.hear(arguments[0], simulated=True, **arguments[1])
        elif what == "load" and simulated:
            stage.load(*arguments, simulated=True)
        elif what == "real":
            stage.hear(arguments[0], **arguments[1])
        elif what == "sim":
            stage.sim(on=arguments[0])
        elif what == "mode":
            stage.mode(arguments[0])
        elif what == "wait":
            stage.run(arguments[0], step=arguments[0])


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_in_operation_simulated_frames_change_nothing(steps):
    """Sim is asked for in operation at any time, and refused: frames, orders, records and notes are as without them."""
    steps = [step for step in steps if step[0] != "mode" or step[1] in (Behaviour.ON, Behaviour.BLOCKED, Behaviour.OFF)]
    beside, stage = Stage(), Stage()
    play(beside, steps, simulated=False)
    play(stage, steps, simulated=True)
    beside.run(1.0)
    stage.run(1.0)
    refused = [kind for kind in stage.notes if kind != "SimulationRefused"]
    assert (stage.frames, stage.commands, stage.written, refused) == (
        beside.frames,
        beside.commands,
        beside.written,
        beside.notes,
    )


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_nothing_of_a_simulation_outlives_it(steps):
    """Beside an agent with the same modes and Sim that never heard a simulated frame: in the end they agree."""
    beside, stage = Stage(), Stage()
    for one in (beside, stage):
        one.mode(Behaviour.TEST)
        one.sim()
        play(one, steps, simulated=one is stage)
        assert one.commands == []
        assert lasting(one.disk) == replace(
            lasting(beside.disk), simulation=one.disk.simulation, behaviour=one.disk.behaviour
        )
        one.mode(Behaviour.ON)
        one.run(4.0)
        assert one.commands == []
    assert lasting(stage.agent.record) == lasting(beside.agent.record)
    assert stage.agent.situation.active_events() == beside.agent.situation.active_events() == frozenset()
    apart = {"incarnation": 0}
    assert stage.state._replace(**apart) == beside.state._replace(**apart)
    for number, view in stage.agent.situation.views.items():
        other = beside.agent.situation.views[number]
        assert (view.alive, view.sides, view.load) == (other.alive, other.sides, other.load)
