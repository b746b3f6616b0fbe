"""A controlled station and its masters, made of our own link, without sockets: octets go when they are told to."""

from __future__ import annotations

from collections import defaultdict

import pytest

from gateway.iec104.asdu import DEFAULT_SIZES, Asdu, Cause, InformationObject, TypeID, decode, encode
from gateway.iec104.commands import CommandDesk
from gateway.iec104.event import Event, EventHead, address_octets, object_writer
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.link import AsduReceived, Link, LinkConfig, Role
from gateway.iec104.station import ControlledStation, StationSettings
from gateway.iec104.time_tag import TimeBase

UTC = TimeBase("UTC")
T_NS = 1_750_000_000_000_000_000
SP, ME, BO, IT = TypeID.M_SP_TB_1, TypeID.M_ME_TE_1, TypeID.M_BO_TB_1, TypeID.M_IT_TB_1
ACT, ACT_CON, DEACT, DEACT_CON = Cause.ACTIVATION, Cause.ACTIVATION_CON, Cause.DEACTIVATION, Cause.DEACTIVATION_CON
END = Cause.TERMINATION
TAG = UTC.encode(T_NS)
KEYS = [(ME, 1, 1), (ME, 1, 2), (BO, 1, 3), (BO, 7, 1)]


def event_of(
    token, CA, IOA, typeID, value, qualifier, t_ns, *, cause=Cause.SPONTANEOUS, time_invalid=False, elapsed_ms=0,
    test=False, sizes=DEFAULT_SIZES, say=pytest.fail,
):  # fmt: skip
    write = object_writer(CA, typeID, sizes, UTC, say)
    octets = write(address_octets(CA, IOA, sizes), value, qualifier, t_ns, time_invalid, elapsed_ms)
    return Event(token, EventHead(CA, typeID, cause, test), octets)


class Source:
    """Keeps events until they are acknowledged, and is strict about how it is asked."""

    def __init__(self):
        self.waiting = []
        self.taken = {}
        self.added = 0
        self.notes = []

    def add(self, typeID=SP, value=True, CA=1, IOA=1, qualifier=0, t_ns=T_NS, **more):
        self.added += 1
        event = event_of(self.added, CA, IOA, typeID, value, qualifier, t_ns, say=self.notes.append, **more)
        self.waiting.append(event)

    def take(self, limit):
        assert limit > 0
        out, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken.update((event.token, event) for event in out)
        return out

    def acknowledge(self, tokens):
        for token in tokens:
            del self.taken[token]

    def release(self):
        self.waiting = sorted((*self.taken.values(), *self.waiting), key=lambda event: event.token)
        self.taken.clear()


class World:
    """A station and its masters; octets go from one to the other when they are told to."""

    def __init__(self, image=None, *, desk=None, source=None, first=1, **more):
        self.now = 0.0
        self.utc_ns = T_NS
        self.source = source or Source()
        self.desk = desk or CommandDesk()
        self.image = image or Image([Monitored(1, 1, SP)], [Control(1, 1, TypeID.C_SC_NA_1, "Q1")])
        self.station = ControlledStation(StationSettings(**more), self.image, self.source, self.desk)
        self.masters = {}
        self.told = defaultdict(list)
        self.closed = set()
        self.last = first - 1

    def connect(self, *, start=True, **config):
        self.last += 1
        assert self.station.connect(self.last, f"m{self.last}", self.now)
        self.masters[self.last] = Link(LinkConfig(**config), Role.CONTROLLING, self.now)
        if start:
            self.masters[self.last].start(self.now)
            self.run()
        return self.last

    def up(self, number):
        self.station.receive(number, self.masters[number].data_to_send(), self.now, self.utc_ns)

    def down(self, *, only=None, lost=()):
        for number, octets, close in self.station.data_to_send():
            master = self.masters.get(number)
            if master is not None and number not in lost and only in (None, number):
                for event in master.receive(octets, self.now):
                    if isinstance(event, AsduReceived):
                        self.told[number].append(decode(event.octets, self.station.settings.sizes))
            if close:
                self.closed.add(number)
                self.masters.pop(number, None)

    def run(self):
        """Until nobody has anything to say."""
        for _ in range(100_000):
            for number in list(self.masters):
                self.up(number)
            self.station.pump(self.now)
            before = sum(map(len, self.told.values())), len(self.closed)
            self.down()
            after = sum(map(len, self.told.values())), len(self.closed)
            if after == before and not any(master._out for master in self.masters.values()):
                return
        raise AssertionError("never quiet")

    def wait(self, seconds):
        """Let time pass, with timers, in small steps."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            self.utc_ns += 10**9
            self.station.handle_timer(self.now)
            self.desk.handle_timer(self.now)
            for master in self.masters.values():
                master.handle_timer(self.now)
            self.pass_on()
            self.run()

    def pass_on(self):
        for answer in self.desk.answers:
            self.station.tell(answer)
        self.desk.answers.clear()

    def say(self, number, asdu):
        """A master says something; returns what it is told then."""
        octets = asdu if isinstance(asdu, bytes) else encode(asdu, self.station.settings.sizes)
        self.masters[number].send(octets, self.now)
        return self.hear(number)

    def hear(self, number):
        self.run()
        self.pass_on()
        self.run()
        told, self.told[number] = self.told[number], []
        return told

    def cut(self, number):
        self.masters.pop(number)
        self.station.disconnect(number, "cut")


def one(typeID, value=None, qualifier=0, *, IOA=0, CA=1, cause=ACT, time=None, elapsed=0, **more):
    return Asdu(typeID, cause, CA, (InformationObject(IOA, value, qualifier, time, elapsed),), **more)


def interrogation(qualifier=20, **more):
    return one(TypeID.C_IC_NA_1, None, qualifier, **more)


def causes(told):
    return [(asdu.typeID, asdu.cause, asdu.negative) for asdu in told]


def started(world, **config):
    number = world.connect(**config)
    assert [asdu.typeID for asdu in world.told.pop(number)] == [TypeID.M_EI_NA_1] * len(world.image.CAs)
    return number


BREAKER = Image(
    [Monitored(1, 1, SP)],
    [Control(1, 1, TypeID.C_DC_NA_1, "Q1", select=True), Control(1, 2, TypeID.C_SE_NC_1, "P")],
)


def switch(value=2, *, select=False, qualifier=0, **more):
    return one(TypeID.C_DC_NA_1, value, qualifier | (0x80 if select else 0), IOA=1, **more)


def decided(world, number, why=""):
    """The device answers the one request there is."""
    (request,) = world.desk.requests
    world.desk.requests.clear()
    world.desk.confirm(request.number, world.now, why=why)
    return request, world.hear(number)
