"""A field device made of our own link, and what a gateway makes of it; no sockets."""

from __future__ import annotations

from gateway.adapters.iec104_field import FieldControl, FieldPoint, FieldRtu, FieldRtuConfig
from gateway.adapters.iec104_outlet import PointCommand
from gateway.iec104.asdu import Asdu, Cause, InformationObject, TypeID, encode, mirror
from gateway.iec104.client import Reach
from gateway.iec104.commands import CommandDesk
from gateway.iec104.link import AsduReceived, Link, LinkConfig, Role
from gateway.iec104.master import MasterSettings
from gateway.iec104.time_tag import TimeBase
from gateway.points.mapping import CommandValue
from gateway.points.mapping_rules import Rule
from gateway.points.point import (
    PointConfig,
)
from gateway.points.table import PointTable
from ied_agents.iec61850.quality import Quality, Validity

UTC = TimeBase("UTC")
T_NS = 1_795_000_000_000_000_000
S = 10**9
OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
SP, SP_PLAIN, DP, ME, IT = (TypeID[name] for name in ("M_SP_TB_1", "M_SP_NA_1", "M_DP_TB_1", "M_ME_TF_1", "M_IT_TB_1"))
ACT_CON, END, DEACT_CON = Cause.ACTIVATION_CON, Cause.TERMINATION, Cause.DEACTIVATION_CON


def point(IOA, name, cdc, typeID, CA=1, **more):
    return FieldPoint(CA=CA, IOA=IOA, rule=Rule(name=name, cdc=cdc, typeID=typeID, **more))


def control(IOA, name, cdc, typeID, *, select=False, terminated=True, CA=1, **more):
    rule = Rule(name=name, cdc=cdc, typeID=typeID, **more)
    return FieldControl(CA=CA, IOA=IOA, rule=rule, select=select, terminated=terminated)


POINTS = [
    point(1, "in", "SPS", SP),
    point(2, "Q1", "DPC", DP),
    point(3, "I", "MV", ME, scale=10.0),
    point(4, "Wh", "BCR", IT),
]
CONTROLS = [
    control(12, "Q1", "DPC", TypeID.C_DC_TA_1, select=True),
    control(13, "P", "APC", TypeID.C_SE_NC_1, terminated=False),
    control(14, "Q2", "SPC", TypeID.C_SC_NA_1),
]


def config(points=POINTS, controls=CONTROLS, name="RTU", **settings):
    more = {"interrogate": False} | settings
    return FieldRtuConfig(
        name=name,
        reach=Reach(name, (("127.0.0.1", 1),)),
        settings=MasterSettings(more.pop("CAs", (1,)), **more),
        points=points,
        controls=controls,
    )


class Outlet:
    """What an outlet is to a field device; keeps what it is told."""

    def __init__(self, table):
        self.table = table
        self.desk = CommandDesk()
        self.told, self.answers = [], []

    def update(self, name, value):
        event = self.table.update(name, value)
        if event is not None:
            self.tell([(name, event)])

    def tell(self, events):
        self.told += events

    def confirm(self, number, why=""):
        self.answers.append(("confirm", number, why))

    def terminate(self, number, why=""):
        self.answers.append(("terminate", number, why))


class World:
    """A field device, its connections, and what is made of it."""

    def __init__(self, of=None, deadbands=(), *, start=True, **settings):
        self.now, self.utc_ns = 0.0, T_NS
        of = of or config(**settings)
        table = PointTable(
            PointConfig(name=p.rule.name, cdc=p.rule.cdc, source="RTU", deadband=dict(deadbands).get(p.rule.name, 0.0))
            for p in {p.rule.name: p for p in of.points}.values()
        )
        self.outlet = Outlet(table)
        self.rtu = FieldRtu(of, self.outlet)
        self.links = {}
        self.asdus = []
        if start:
            self.connect()

    def connect(self, number=1):
        self.links[number] = Link(LinkConfig(), Role.CONTROLLED, self.now)
        self.rtu.station.connect(number, self.now)
        self.run()

    def cut(self, number=1, why="cut"):
        del self.links[number]
        self.take(self.rtu.station.disconnect(number, why, self.now))
        self.run()

    def take(self, events):
        for event in events:
            self.rtu.take(event, self.now, self.utc_ns)

    def run(self):
        for _ in range(100):
            said = [each for each in self.rtu.station.data_to_send() if each[0] in self.links]
            for number, octets in said:
                for event in self.links[number].receive(octets, self.now):
                    if isinstance(event, AsduReceived):
                        self.asdus.append(event.octets)
            answers = [(number, link.data_to_send()) for number, link in self.links.items()]
            for number, octets in answers:
                self.take(self.rtu.station.receive(number, octets, self.now, self.utc_ns))
                self.rtu.station.stored(number, self.rtu.station.received(number), self.now)
            if not said and not any(octets for _, octets in answers):
                return
        raise AssertionError("never quiet")

    def wait(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            self.take(self.rtu.station.handle_timer(self.now, self.utc_ns))
            for link in self.links.values():
                link.handle_timer(self.now)
            self.run()

    def say(self, octets):
        self.links[min(self.links)].send(octets, self.now)
        self.run()

    def tell(
        self, IOA, value, *, typeID=SP, cause=Cause.SPONTANEOUS, at=None, qualifier=0, invalid=False, CA=1, **more
    ):
        """The device tells an object; ``at``: seconds after T_NS in its tag."""
        tag = None if at is None else UTC.encode(T_NS + round(at * S), invalid=invalid)
        one = InformationObject(IOA, value, qualifier, tag)
        if tag is None:
            typeID = {SP: SP_PLAIN, DP: TypeID.M_DP_NA_1, ME: TypeID.M_ME_NC_1, IT: TypeID.M_IT_NA_1}.get(
                typeID, typeID
            )
        self.say(encode(Asdu(typeID, cause, CA, (one,), **more)))

    def answer(self, cause, *, negative=False):
        """The device answers the one ASDU that it was told."""
        (octets,) = self.asdus
        self.asdus.clear()
        self.say(mirror(octets, self.rtu.config.settings.sizes, cause, negative=negative))
        return octets

    def operate(self, number, step, name, value, *, qualifier=0, test=False):
        command = CommandValue(value, step == "select", qualifier)
        self.rtu.operate(PointCommand(number, step, name, command, test, 0), self.now, self.utc_ns)
        self.run()

    def heard(self):
        told, self.outlet.told = self.outlet.told, []
        return [(name, value.value, value.quality, (value.t_ns - T_NS) / S) for name, value in told]

    def answers(self):
        answers, self.outlet.answers = self.outlet.answers, []
        return answers


def interrogated(world, IOA, value, **more):
    world.tell(IOA, value, cause=Cause.INTERROGATED, **more)
