"""What is made of GOOSE frames: points, their times and qualities, and what is refused; no socket."""

from __future__ import annotations

import random

import goose_site
import pytest
from goose_site import DST, GOCB, at, members, publisher
from iec104_field_world import Outlet

from gateway.adapters.goose_field import GooseField
from gateway.points.point import TIME_UNKNOWN
from gateway.points.point_list import point_list
from gateway.points.table import PointTable
from gateway.site import SiteError, read_site
from ied_agents.goose.data import encode_all_data
from ied_agents.iec61850.quality import Quality, Validity

S = 10**9
NOW_NS = 1_700_000_000 * S
OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
POS, IND, NUMBER = (f"REL1LD0/GGIO2.{name}" for name in ("Pos1", "Ind1", "IntIn1"))
IED = '[[ied]]\nname = "REL1"\nhost = "192.0.2.7"\ngoose = "eth1"\n'


@pytest.fixture
def site(tmp_path):
    def write(more):
        (tmp_path / "s.scd").write_text(goose_site.scd())
        file = tmp_path / "s.toml"
        file.write_text('[site]\nname = "s"\nscd = "s.scd"\n' + more)
        return file

    return write


class World:
    def __init__(self, file):
        made = read_site(file)
        (config,) = made.goose()
        self.outlet = Outlet(PointTable(point_list(made.scl, common=1).points()))
        self.field = GooseField(config, self.outlet)

    def hear(self, source, values, t, now):
        self.field.receive(source.publish(encode_all_data(values), now, t), now, NOW_NS)

    def heard(self):
        told, self.outlet.told = self.outlet.told, []
        return [(name, value.value, value.quality, value.t_ns // S) for name, value in told]

    @property
    def status(self):
        (status,) = self.field.status()
        return status


@pytest.fixture
def world(site):
    return World(site(IED))


def test_members_are_the_points_with_their_own_time_or_that_of_the_frame(world):
    world.hear(publisher(), members(2, at(100), indication=True, number=5), at(200), 1.0)
    assert sorted(world.heard()) == sorted([(POS, 2, 0, 100), (IND, True, 0, 100), (NUMBER, 5, 0, 200)])
    assert world.status.connected


def test_what_GOOSE_tells_is_not_followed_by_MMS(site):
    made = read_site(site(IED))
    (by_mms,) = made.mms()
    assert not {POS, IND, NUMBER} & {point.name for point in by_mms.points}
    assert len(by_mms.points) == 40
    assert not read_site(site(IED + "mms = false\n")).mms()


def test_a_stream_that_is_lost_makes_its_points_old_until_it_is_back(world):
    source = publisher()
    world.hear(source, members(1, at(100)), at(100), 1.0)
    world.heard()
    world.field.handle_timer(world.field.next_deadline, NOW_NS)
    assert {(name, quality) for name, _, quality, _ in world.heard()} == {(POS, OLD), (IND, OLD), (NUMBER, OLD)}
    assert "time to live" in world.status.why
    world.field.receive(source.handle_timer(source.next_deadline), 900.0, NOW_NS)
    assert {(name, value, q) for name, value, q, _ in world.heard()} == {(POS, 1, 0), (IND, False, 0), (NUMBER, 0, 0)}
    assert world.status.connected


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"confRev": 8}, "confRev is 8; the SCD says 7"),
        ({"appid": 5}, "appid"),
        ({"goID": "x"}, "goID"),
        ({"ndsCom": True}, "ndsCom"),
        ({"simulation": True}, "simulated"),
    ],
)
def test_what_is_not_as_the_SCD_says_is_refused_said_once_and_counted(world, caplog, changed, why):
    source = publisher(**changed)
    for number in range(3):
        world.hear(source, members(1, at(100 + number)), at(100 + number), float(number))
    assert not world.heard()
    assert why in world.status.why
    assert world.status.refused == 3
    assert len([each for each in caplog.messages if why in each]) == 1


def test_members_of_other_types_are_refused_whole(world):
    values = members(1, at(100))
    values[3] = 1  # no truth
    world.hear(publisher(), values, at(100), 1.0)
    assert not world.heard()
    assert "cannot be read" in world.status.why


def test_damaged_frames_never_stop_it(world):
    rng = random.Random(1)
    source = publisher()
    good = source.publish(encode_all_data(members(1, at(100))), 1.0, at(100))
    for _ in range(3000):
        damaged = bytearray(good[: rng.randrange(len(good) + 1)] if rng.random() < 0.3 else good)
        for _ in range(rng.randrange(4)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        world.field.receive(bytes(damaged), 1.0, NOW_NS)
        world.field.receive(DST + rng.randbytes(rng.randrange(80)), 1.0, NOW_NS)
    assert world.status.name == GOCB


def test_an_unknown_control_block_is_located(site):
    with pytest.raises(SiteError, match=r"ied\[1\].goose_blocks: gcb9: REL1 has no such GOOSE control block"):
        read_site(site(IED + 'goose_blocks = ["gcb9"]\n')).goose()


def test_a_publisher_without_a_clock_says_no_time_so_it_is_that_of_its_arrival(world):
    world.hear(publisher(), members(2, at(100)), at(0), 0.0)
    assert sorted(world.heard()) == sorted([(POS, 2, 0, 100), (IND, False, 0, 100), (NUMBER, 0, 0, NOW_NS // S)])
    assert world.outlet.table.get(NUMBER).time_quality == TIME_UNKNOWN


def test_a_stream_that_comes_and_goes_does_not_fill_the_log(world, caplog):
    caplog.set_level("INFO")
    source = publisher()
    world.hear(source, members(1, at(100)), at(100), 1.0)
    for _ in range(50):
        world.field.handle_timer(world.field.next_deadline, NOW_NS)
        assert not world.status.connected
        world.field.receive(source.handle_timer(source.next_deadline), 900.0, NOW_NS)
        assert world.status.connected
    assert [record.getMessage().split(":")[1].split()[1:3] for record in caplog.records] == [
        ["is", "heard"],
        ["is", "lost"],
    ]
