"""An agent's station with a relay beside it: what it believes of the relay's frames, and what it tells the relay."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.site import read_site
from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import CLEAR_SIDE, AgentState, EventId, LoadState, LockState, SectionState
from ied_agents.dflisr.stored import COMMISSIONED, Record
from ied_agents.dflisr.wire import encode_fast, encode_slow
from ied_agents.goose.publisher import Publisher
from ied_agents.goose.subscriber import Receiver, Subscriber
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.quality import GOOD, INVALID, Quality
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.process.inputs import Direction, SwitchCommand, SwitchInputs, Voltage
from ied_agents.runtime.relay_process import STATUS_LAYOUT as STATUS
from ied_agents.runtime.relay_process import RelayProcessSettings, RelayPublishers
from ied_agents.runtime.relay_streams import ORDERS, Standing
from ied_agents.runtime.settings import AgentSettingsError
from ied_agents.runtime.station import Station

MAC, RELAY_MAC = bytes.fromhex("020000000003"), bytes.fromhex("020000000103")
UTC_NS = 1_700_000_000_000_000_000
ME, PEER = 3, 2  # breaker R3, and L2 on the side of the source
LIVE = (Voltage.PRESENT, Voltage.PRESENT)


@pytest.fixture(scope="module")
def site():
    return read_site(Path(str(files("scl") / "samples" / "two_source_relays.toml")))


class Beside:
    """A station and its simulated relay; time goes on by itself."""

    def __init__(self, site, record=None, **config):
        settings = site.agents[ME]
        settings = replace(settings, config=replace(settings.config, **config))
        self.relay_settings = next(relay for relay in site.simulated_relays() if relay.switch == ME)
        record = record or COMMISSIONED.started(1000)
        self.station = Station(settings, record, unclean=False, mac=MAC, now=0.0)
        self.relay = RelayPublishers(self.relay_settings, RELAY_MAC)
        self.inputs = SwitchInputs(
            switch=ME,
            sequence=1,
            stamp_ns=UTC_NS,
            position=Dbpos.ON,
            position_valid=True,
            pickup=False,
            direction=Direction.UNKNOWN,
            direction_trusted=False,
            flow_a=60.0,
            current_a=60.0,
            voltage=LIVE,
            generation_a=(0.0, 0.0),
        )
        self.now = 0.0
        self.told = []
        subscriber = Subscriber(settings.relay.orders.subscriber(), ORDERS.decode)
        self.listener = Receiver([subscriber])

    def frames(self, **changes):
        self.inputs = replace(self.inputs, sequence=self.inputs.sequence + 1, **changes)
        self.inputs = replace(self.inputs, stamp_ns=UTC_NS + round(self.now * 1e9) + 1)
        return self.relay.say(self.inputs, self.now)

    def say(self, **changes):
        for frame in self.frames(**changes):
            self.station.receive_frame(frame, self.now)
        return self.turn()

    def turn(self, after=0.001):
        self.now += after
        output = self.station.turn(self.now, UTC_NS + round(self.now * 1e9))
        assert output.commands == []  # they have become frames
        if output.record is not None:
            self.station.stored(*output.record)
        for frame in output.frames:
            self.told += [event.value for event in self.listener.receive(frame, self.now)]
        return output

    def turns(self, seconds):
        """The relay repeats meanwhile."""
        until = self.now + seconds
        while self.now < until:
            if self.now >= self.relay.next_deadline:
                for frame in self.relay.repeat(self.now):
                    self.station.receive_frame(frame, self.now)
            self.turn(0.01)

    @property
    def state(self):
        return self.station.published[0]

    @property
    def orders(self):
        """Open, close, block."""
        leaves = self.told[-1]
        return leaves[0], leaves[2], leaves[4]


@pytest.fixture
def beside(site):
    return Beside(site)


def test_the_agent_says_what_its_relay_says(beside):
    beside.say()
    assert beside.state.position is Dbpos.ON
    assert beside.state.position_quality == 0
    assert beside.state.ready
    beside.turns(1.0)
    assert beside.station.published[1].flow_a == pytest.approx(60.0)
    beside.say(pickup=True, direction=Direction.FORWARD, direction_trusted=True)
    assert (beside.state.pickup, beside.state.direction, beside.state.direction_trusted) == (
        True,
        Direction.FORWARD,
        True,
    )


def test_the_start_without_direction_of_an_untrusted_one_counts(beside):
    beside.say(pickup=True, direction=Direction.FORWARD, direction_trusted=False)
    assert beside.state.pickup
    assert not beside.state.direction_trusted


def test_a_quiet_relay_is_believed_as_long_as_it_repeats(beside):
    beside.say()
    beside.turns(10.0)
    assert beside.state.ready


def test_a_relay_that_falls_silent_is_believed_no_more_and_again_when_it_is_back(beside):
    beside.say()
    beside.turns(1.0)
    for _ in range(300):
        beside.turn(0.01)
    assert not beside.state.ready
    assert beside.state.position_quality != 0
    assert not beside.state.pickup
    beside.turns(1.5)  # the same state, repeated
    assert beside.state.ready
    assert beside.state.position_quality == 0


def test_its_loss_is_noted(beside):
    beside.say()
    kinds = [note.kind for _ in range(400) for note in beside.turn(0.01).notes]
    assert kinds.count("StreamLost") == 2


def test_an_old_frame_of_the_relay_changes_nothing(beside):
    old = beside.frames()
    for frame in old:
        beside.station.receive_frame(frame, beside.now)
    beside.turn()
    beside.say(position=Dbpos.OFF)
    for frame in old:
        beside.station.receive_frame(frame, beside.now)
    beside.turn()
    assert beside.state.position is Dbpos.OFF


def test_simulated_frames_of_the_relay_are_refused(beside):
    beside.say()
    stream = beside.relay_settings.status
    forger = Publisher(replace(stream.publisher(RELAY_MAC), simulation=True))
    status = beside.relay._status_of(replace(beside.inputs, position=Dbpos.OFF))
    frame = forger.publish(STATUS.encode(status), beside.now, UtcTime.from_ns(UTC_NS))
    beside.station.receive_frame(frame, beside.now)
    notes = beside.turn().notes
    assert [note.kind for note in notes] == ["SimulationRefused"]
    assert beside.state.position is Dbpos.ON


@pytest.mark.parametrize("cut", [20, 60, 120, -1])
def test_a_frame_that_cannot_be_read_changes_nothing(beside, cut):
    beside.say()
    status = beside.frames(position=Dbpos.OFF)[0]
    beside.station.receive_frame(status[:cut], beside.now)
    beside.turn()
    assert beside.state.position is Dbpos.ON


def test_members_of_another_type_are_noted_with_element_and_reason_and_not_known(beside):
    beside.say()
    stream = beside.relay_settings.status
    publisher = Publisher(stream.publisher(RELAY_MAC))
    wrong = b"\x83\x01\x01" * stream.entries  # eight booleans
    frame = publisher.publish(wrong, beside.now, UtcTime.from_ns(UTC_NS + 10**12))
    beside.station.receive_frame(frame, beside.now)
    (note,) = beside.turn().notes
    assert note.kind == "relay values refused"
    assert "F1R3P/PROT/XCBR1.Pos (Pos, value): BitString expected, not bool" in note.detail["why"]
    assert not beside.state.ready
    assert beside.state.position_quality != 0


def test_a_new_state_that_cannot_be_read_leaves_the_old_one_in_force_no_longer(beside):
    beside.say()
    status = beside.frames(position=Dbpos.OFF)[0]
    broken = status[:-3] + b"\x85\x02\x01"  # the last member claims more octets than there are
    beside.station.receive_frame(broken, beside.now)
    beside.turn()
    assert not beside.state.ready
    assert beside.state.position_quality != 0
    beside.station.receive_frame(status, beside.now)
    beside.turn()
    assert (beside.state.position, beside.state.ready) == (Dbpos.OFF, True)


def test_between_a_silent_relay_and_one_whose_switch_did_not_move_there_is_a_difference(beside):
    """What was heard before the order, and measurements after it, say nothing of the switch."""
    beside.say(position=Dbpos.OFF)
    beside.turns(1.0)
    agent = beside.station.agent
    heard_at = agent.situation.inputs_at
    for _ in range(100):
        measured = beside.frames(current_a=float(_))[-1]
        beside.station.receive_frame(measured, beside.now)
        beside.turn(0.01)
    assert agent.situation.inputs_at <= heard_at
    assert beside.now - agent.situation.inputs_at > 0.9


def test_a_relay_and_an_agent_on_one_address_are_both_heard(site):
    """``scl check`` only warns of it."""
    settings = site.agents[ME]
    shared = settings.relay.streams[0].mac
    fast = replace(settings.peers[PEER].fast, mac=shared)
    peers = {**settings.peers, PEER: replace(settings.peers[PEER], fast=fast)}
    station = Station(replace(settings, peers=peers), COMMISSIONED.started(1000), unclean=False, mac=MAC, now=0.0)
    publisher = Publisher(fast.publisher(bytes.fromhex("020000000002")))
    station.receive_frame(publisher.publish(encode_fast(AgentState(1000)), 0.0, UtcTime.from_ns(UTC_NS)), 0.0)
    assert station.agent.situation.views[PEER].state == AgentState(1000)


# -- what the relay is told -------------------------------------------------------------------------------------------


def declared(beside, **changes):
    """L2's agent declares the section between it and R3."""
    streams = Publisher(beside.peer.fast.publisher(bytes.fromhex("020000000002")))
    event = EventId(PEER, 7)
    flagged = CLEAR_SIDE._replace(
        section=SectionState.FAULTED, section_event=event, lock=LockState.VOLATILE, lock_event=event
    )
    state = AgentState(1000, position=Dbpos.ON, ready=True, last_event=event, sides=(CLEAR_SIDE, flagged), **changes)
    frame = streams.publish(encode_fast(state), beside.now, UtcTime.from_ns(UTC_NS))
    beside.station.receive_frame(frame, beside.now)


@pytest.fixture
def locked(site, beside):
    beside.peer = site.agents[ME].peers[PEER]
    beside.say()
    declared(beside)
    beside.turn()
    return beside


def test_a_lock_opens_the_switch_and_blocks_it_against_closing_in_one_frame(locked):
    assert locked.orders == (True, False, True)
    assert len(locked.told) == 2
    locked.say(position=Dbpos.OFF)
    assert locked.orders == (False, False, True)


def test_an_order_to_a_relay_that_does_nothing_ends_after_the_longest_operating_time(locked):
    locked.turns(locked.station.agent.situation.me.operating_time_s + 0.02)
    assert locked.orders == (False, False, True)


def test_before_anything_happens_the_relay_is_told_that_all_is_free(beside):
    beside.say()
    assert beside.orders == (False, False, False)


def test_a_tag_blocks_closing(beside):
    beside.say()
    beside.station.agent.tag("crew 7", 1)
    beside.station.touch()
    beside.turn()
    assert beside.orders == (False, False, True)


def test_a_shadow_tells_its_relay_nothing_but_that_it_is_one(site):
    shadow = Beside(site, shadow=True)
    shadow.peer = site.agents[ME].peers[PEER]
    shadow.say()
    declared(shadow)
    shadow.turn()
    assert shadow.state.sides[0].lock is not LockState.NONE
    assert shadow.orders == (False, False, False)
    assert shadow.told[-1][1] == Quality(test=True)


def test_orders_of_an_agent_in_test_are_marked(beside):
    beside.say()
    beside.station.agent.set_mode(Behaviour.TEST)
    beside.station.touch()
    beside.turn()
    assert beside.told[-1][1] == Quality(test=True)


def test_what_a_relay_in_test_says_counts_as_long_as_the_agent_is_in_test(beside):
    beside.say()
    beside.station.agent.set_mode(Behaviour.TEST)
    beside.station.touch()
    beside.turn()
    test = Quality(test=True)
    leaves = list(beside.relay._status_of(replace(beside.inputs, position=Dbpos.OFF)))
    leaves[1] = leaves[4] = leaves[6] = test
    beside.now += 0.01
    t = UtcTime.from_ns(UTC_NS + 10**11)
    frame = beside.relay._status.publish(STATUS.encode(leaves), beside.now, t)
    beside.station.receive_frame(frame, beside.now)
    beside.turn()
    assert (beside.state.position, beside.state.ready) == (Dbpos.OFF, True)
    beside.station.agent.set_mode(Behaviour.ON)
    beside.station.touch()
    beside.turn()
    assert not beside.state.ready
    assert beside.state.position_quality == INVALID.to_int()


def test_the_longest_silence_of_orders_is_a_second(beside):
    beside.say()
    deadlines = [beside.station.next_deadline - beside.now for _ in range(50) if beside.turn(0.02)]
    assert max(deadlines) <= 0.5


@pytest.fixture
def closing(beside):
    """An order to close is on its way."""
    beside.say(position=Dbpos.OFF)
    give(beside, SwitchCommand(ME, "close", 1))
    assert beside.orders == (False, True, False)
    return beside


def give(beside, command):
    standing = Standing.of(beside.station.agent, beside.now)
    frames = beside.station.relay.orders([command], standing, beside.now, UtcTime.from_ns(UTC_NS))
    beside.told += [event.value for frame in frames for event in beside.listener.receive(frame, beside.now)]


def test_a_close_ends_when_the_switch_has_closed_even_if_it_tripped_at_once(closing):
    for position in (Dbpos.ON, Dbpos.OFF):
        for frame in closing.frames(position=position):
            closing.station.receive_frame(frame, closing.now)
    closing.turn()
    assert closing.orders == (False, False, False)


def test_a_close_ends_with_fault_current(closing):
    closing.say(pickup=True, direction=Direction.FORWARD, direction_trusted=True)
    assert closing.orders == (False, False, False)


@pytest.mark.parametrize("mode", [Behaviour.BLOCKED, Behaviour.TEST, Behaviour.OFF])
def test_a_close_ends_with_the_mode(closing, mode):
    closing.station.agent.set_mode(mode)
    closing.station.touch()
    closing.turn()
    assert closing.orders == (False, False, False)


def test_a_close_ends_with_a_tag_which_blocks_in_the_same_frame(closing):
    closing.station.agent.tag("crew 7", 1)
    closing.station.touch()
    closing.turn()
    assert closing.orders == (False, False, True)


def test_an_agent_that_waits_to_be_confirmed_blocks_closing(site):
    held = Beside(site, record=Record().started(1000))
    held.say()
    assert held.orders == (False, False, True)
    held.station.agent.confirm()
    held.station.touch()
    held.turn()
    assert held.orders == (False, False, False)


def test_what_a_tag_blocks_stays_blocked_in_a_test(beside):
    beside.say()
    beside.station.agent.tag("crew 7", 1)
    beside.station.agent.set_mode(Behaviour.TEST)
    beside.station.touch()
    beside.turn()
    ordered, blocked = beside.told[-1][1], beside.told[-1][5]
    assert beside.orders == (False, False, True)
    assert (ordered, blocked) == (Quality(test=True), GOOD)


def test_what_only_a_test_locks_is_marked_as_test(site, beside):
    beside.peer = site.agents[ME].peers[PEER]
    beside.say()
    beside.station.agent.set_mode(Behaviour.TEST)
    beside.station.touch()
    beside.turn()
    declared(beside, behaviour=Behaviour.TEST)
    beside.turn()
    assert beside.orders == (False, False, True)
    assert beside.told[-1][5] == Quality(test=True)


# -- settings ---------------------------------------------------------------------------------------------------------


def test_settings_of_the_relays_survive_the_way_through_json(site):
    settings = RelayProcessSettings(site.simulated_relays(), "br0", "/run/relays", "/run/plant")
    assert RelayProcessSettings.from_json(settings.to_json()) == settings
    with pytest.raises(AgentSettingsError, match=r"relays\[0\]\.nominal_v: number from 1"):
        RelayProcessSettings.from_json(settings.to_json().replace("20000.0", "0", 1))
    with pytest.raises(AgentSettingsError, match="relays: one at least"):
        RelayProcessSettings.from_json('{"relays": [], "interface": "lo", "inputs": "x", "plant": "y"}')


def test_the_slow_data_set_of_an_agent_without_a_load_says_so(beside):
    beside.say()
    beside.say(flow_a=None)
    load = beside.station.published[1]
    assert isinstance(load, LoadState)
    assert load.flow_quality == INVALID.to_int()
    assert encode_slow(load)


# -- simulated (LPHD.Sim) --------------------------------------------------------------------------------------------


def as_simulated(frame):
    """The same frame with the simulation bit of its header set."""
    at = 22 if frame[12:14] == b"\x81\x00" else 18
    return frame[:at] + bytes((frame[at] | 0x80,)) + frame[at + 1 :]


def test_a_simulated_relay_is_heard_in_test_and_the_real_ones_word_comes_back_after_it(site):
    beside = Beside(site, record=replace(COMMISSIONED, behaviour=Behaviour.TEST).started(1000))
    beside.say()
    play = RelayPublishers(beside.relay_settings, RELAY_MAC)
    fault = {"pickup": True, "direction": Direction.FORWARD, "direction_trusted": True}
    false = [as_simulated(frame) for frame in play.say(replace(beside.inputs, position=Dbpos.OFF, **fault), beside.now)]
    for sim in (False, True):
        beside.station.agent.set_simulation(None, on=sim)
        for frame in false:
            beside.station.receive_frame(frame, beside.now)
        beside.turn()
        assert (beside.state.position is Dbpos.OFF, beside.state.pickup) == (sim, sim)
    beside.say(position=Dbpos.ON)  # nobody listens to the real one
    assert beside.state.position is Dbpos.OFF
    beside.station.agent.set_mode(Behaviour.ON)
    for _ in range(3):
        beside.turn()
    assert (beside.state.position_quality != 0, beside.state.ready) == (True, False)
    beside.turns(2.5)
    assert (beside.state.position, beside.state.position_quality, beside.state.pickup) == (Dbpos.ON, 0, False)
    assert not beside.station.agent.record.held, "what it saw was not its own relay's"
    assert beside.orders == (False, False, True), "its locks are not proven yet"
