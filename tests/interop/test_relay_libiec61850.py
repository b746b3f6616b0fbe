"""A relay made of libiec61850 beside a real agent's station: what it says is believed, what it is told it can read."""

from __future__ import annotations

import importlib.resources
import select
import time

import pytest

from gateway.site import read_site
from ied_agents.dflisr.stored import COMMISSIONED
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, Voltage
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.station import Station
from tools.lab import HOST_INTERFACE

PATIENCE_S = 30.0
ME = 3
GOOD = ["bit string", "0" * 13]
INVALID = ["bit string", "01" + "0" * 11]


@pytest.fixture(scope="module")
def settings():
    with importlib.resources.as_file(importlib.resources.files("scl") / "samples") as samples:
        return read_site(samples / "two_source_relays.toml").agents[ME]


class Agent:
    """The station on its link, driven by hand."""

    def __init__(self, settings, link):
        self.settings, self.link = settings, link
        self.station = Station(settings, COMMISSIONED.started(1000), unclean=False, mac=link.mac, now=0.0)

    def run_until(self, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while not wanted():
            now = time.monotonic()
            assert now < deadline, self.station.published
            select.select([self.link], [], [], 0.01)
            for frame in self.link.receive():
                self.station.receive_frame(frame, now)
            self.turn(now)

    def turn(self, now):
        output = self.station.turn(now, time.time_ns())
        for frame in output.frames:
            self.link.send(frame)
        if output.record is not None:
            self.station.stored(*output.record)

    @property
    def inputs(self):
        return self.station.agent.situation.inputs


@pytest.fixture
def lab(make_lab):
    return make_lab("ours", "theirs")


@pytest.fixture
def agent(lab, settings):
    with lab.enter("ours"):
        link = AfPacketLink(HOST_INTERFACE, [address for part in settings.addresses() for address in part])
    yield Agent(settings, link)
    link.close()


@pytest.fixture
def relay(lab, libiec61850, settings):
    """``relay(position, pickup, ...)``: publish both streams of the relay, in libiec61850's own encoding."""
    station = libiec61850(lab, "theirs", "publish", HOST_INTERFACE)
    status, measured = settings.relay.streams

    def say(position="10", quality=GOOD, *, pickup=False, direction=0, amperes=60.0, volts=20_000.0):
        members = [["bit string", position], quality, ["boolean", pickup], ["integer", direction], GOOD]
        members += [["boolean", pickup], GOOD, ["integer", 1]]
        values = [["float", amperes], GOOD, ["float", amperes * 34_641.0], GOOD]
        values += [["float", volts], GOOD] * 2 + [["float", 0.0]] * 2
        for stream, data in ((status, members), (measured, values)):
            station.order(
                dst=stream.mac,
                vlan=[stream.vlan_id, stream.vlan_priority],
                appid=stream.appid,
                gocbRef=stream.gocbRef,
                datSet=stream.datSet,
                goID=stream.goID,
                confRev=stream.confRev,
                ndsCom=False,
                simulation=False,
                timeAllowedtoLive=3000,
                new_state=True,
                allData=data,
            )

    return say


def test_the_agent_believes_a_relay_made_by_others(agent, relay):
    relay()
    agent.run_until(lambda: agent.inputs is not None and agent.inputs.flow_a is not None)
    inputs = agent.inputs
    assert (inputs.position, inputs.position_valid, inputs.pickup) == (Dbpos.ON, True, False)
    assert (inputs.flow_a, inputs.voltage) == (60.0, (Voltage.PRESENT, Voltage.PRESENT))
    relay(pickup=True, direction=2, amperes=4000.0, volts=0.0)
    agent.run_until(lambda: agent.inputs.pickup and agent.inputs.current_a == 4000.0)
    assert (agent.inputs.direction, agent.inputs.direction_trusted) == (Direction.BACKWARD, True)
    assert agent.inputs.voltage == (Voltage.ABSENT, Voltage.ABSENT)
    assert agent.station.published[0].pickup
    relay(position="01", quality=INVALID)
    agent.run_until(lambda: not agent.inputs.position_valid)
    assert agent.station.published[0].position_quality != 0


def test_a_relay_made_by_others_reads_its_orders(agent, relay, lab, libiec61850, settings):
    orders = settings.relay.orders
    listener = libiec61850(lab, "theirs", "receive", HOST_INTERFACE, orders.gocbRef, orders.appid)
    relay()
    agent.run_until(lambda: agent.station.published[0] is not None and agent.station.published[0].ready)

    def told():
        data = listener.line()["allData"]
        return [value for kind, value in data if kind == "boolean"]

    assert told() == [False, False, False]
    agent.station.agent.tag("crew 7", 1)
    agent.station.touch()
    agent.turn(time.monotonic())
    while (said := told()) == [False, False, False]:
        pass  # repetitions
    assert said == [False, False, True]
