"""What is made of a worker's words, and of commands; no worker, no IED."""

from __future__ import annotations

import logging

import pytest
from iec104_field_world import Outlet

from gateway.adapters.iec104_outlet import PointCommand
from gateway.adapters.mms_field import MmsField, MmsFieldConfig
from gateway.adapters.mms_values import MmsPoint
from gateway.points.mapping import CommandValue
from gateway.points.point import PointConfig
from gateway.points.table import PointTable
from ied_agents.goose.data import encode_data
from ied_agents.iec61850.data import BitString
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms.worker_messages import (
    Alive,
    Blocks,
    Confirmed,
    Connected,
    Enabled,
    Ended,
    Noted,
    Told,
    WorkerMessageError,
)

S = 10**9
T_NS = 1_600_000_000 * S
NOW_NS = 1_700_000_000 * S
OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
INVALID = Quality(Validity.INVALID).to_int()
BLOCK, OTHER = "LD/LLN0.BR.b01", "LD/LLN0.BR.b02"
POINTS = (
    MmsPoint(name="LD/X.Ind", cdc="SPS", leaves=("stVal", "q", "t")),
    MmsPoint(name="LD/X.Mv", cdc="MV", leaves=("mag.f", "q", "t")),
)


class StoringOutlet(Outlet):
    """Stores when it is told to."""

    def __init__(self, table):
        super().__init__(table)
        self.waiting = []

    def when_stored(self, call):
        self.waiting.append(call)

    def store(self):
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()


class World:
    def __init__(self, entries=None):
        table = PointTable(PointConfig(name=each.name, cdc=each.cdc, source="IED") for each in POINTS)
        self.outlet = StoringOutlet(table)
        config = MmsFieldConfig(
            name="IED",
            host="h",
            port=1,
            points=POINTS,
            controls={"LD/Q.Pos": True, "LD/R.Pos": False},
            blocks=(Blocks((BLOCK, OTHER), buffered=True),),
        )
        self.field = MmsField(config, self.outlet, entries or {})
        self.field.take(Connected({}), NOW_NS)

    def tell(
        self, name="LD/X.Ind", *, entry=b"", answer=False, overflow=False, entry_ms=0, at=0, block=BLOCK, **leaves
    ):
        made = {"q": BitString(0, 13), **({} if at is None else {"t": UtcTime.from_ns(T_NS + at * S, 10)})}
        made |= {leaf.replace("mag", "mag.f"): value for leaf, value in leaves.items()}
        octets = {leaf: b"" if value is None else encode_data(value) for leaf, value in made.items() if value != ""}
        self.field.take(Told(block, entry, overflow, answer, entry_ms, {name: octets}), NOW_NS)

    def heard(self):
        told, self.outlet.told = self.outlet.told, []
        return [(name.partition("/")[2], value.value, value.quality, (value.t_ns - T_NS) // S) for name, value in told]

    def operate(self, number, step, name="LD/Q.Pos", value=True, **more):
        command = CommandValue(value, step == "select", 0)
        self.field.operate(
            PointCommand(number, step, name, command, more.get("test", False), more.get("originator", 0), "west"), 100.0
        )

    def orders(self):
        orders = list(self.field.orders)
        self.field.orders.clear()
        return orders

    def answers(self):
        answers, self.outlet.answers = self.outlet.answers, []
        return answers


@pytest.fixture
def world():
    return World()


# -- what it tells ----------------------------------------------------------------------------------------------------


def test_a_report_is_an_event_with_the_devices_time(world):
    world.tell(stVal=True, at=3)
    world.tell("LD/X.Mv", mag=1.5, at=4)
    assert world.heard() == [("X.Ind", True, 0, 3), ("X.Mv", 1.5, 0, 4)]


def test_what_is_told_twice_is_one_event_and_a_state_with_another_time_has_happened_again(world):
    for at in (3, 3, 4):
        world.tell(stVal=True, at=at)
    assert [each[3] for each in world.heard()] == [3, 4]


def test_a_state_of_a_clock_that_is_not_synchronised_happens_again_too(world):
    for at in (3, 4):
        world.tell(stVal=True, t=UtcTime.from_ns(T_NS + at * S, 0x3F))
    assert [each[3] for each in world.heard()] == [3, 4]


def test_an_answer_is_an_event_only_if_it_is_news(world):
    world.tell(stVal=True, at=3)
    world.tell(stVal=True, at=4, answer=True)
    world.tell(stVal=False, at=5, answer=True)
    assert world.heard() == [("X.Ind", True, 0, 3), ("X.Ind", False, 0, 5)]


def test_an_entry_is_gone_on_after_by_the_next_worker_at_once_and_by_the_next_gateway_once_it_is_stored(world):
    first, second = bytes(7) + b"\1", bytes(7) + b"\2"
    world.tell(stVal=True, entry=first)
    world.tell(stVal=False, entry=second)
    assert (world.field.entries, world.field.changed, world.field.unstored) == ({}, False, 2)
    assert world.field.begin().entries == {BLOCK: second}
    world.outlet.store()
    assert (world.field.entries, world.field.changed, world.field.unstored) == ({BLOCK: second}, True, 0)
    assert World({OTHER: first}).field.begin().entries == {OTHER: first}


@pytest.mark.parametrize(("block", "entry"), [("LD/LLN0.BR.b03", bytes(8)), (BLOCK, bytes(9))])
def test_a_worker_tells_of_no_entry_that_nobody_asked_for(world, block, entry):
    with pytest.raises(WorkerMessageError, match="entry"):
        world.tell(stVal=True, entry=entry, block=block)
    assert world.heard() == []


def test_attributes_that_come_one_by_one_are_put_together_and_a_time_is_that_of_what_it_came_with(world):
    world.tell(stVal=True, q="", at=None, entry_ms=(T_NS + S) // 10**6)
    assert world.heard() == []  # nobody knows its quality
    world.tell(stVal=True, answer=True, at=None, entry_ms=(T_NS + 2 * S) // 10**6)
    world.tell(q=BitString(1, 13), at=5)
    world.tell(stVal=False, q="", at=None, entry_ms=(T_NS + 9 * S) // 10**6)
    assert world.heard() == [("X.Ind", True, 0, 2), ("X.Ind", True, 1, 5), ("X.Ind", False, 1, 9)]


def test_a_lost_device_makes_its_points_old_once(world):
    world.tell(stVal=True, at=3)
    world.heard()
    world.field.lose("cut", NOW_NS)
    world.field.lose("cut", NOW_NS)
    assert [each[:3] for each in world.heard()] == [("X.Ind", True, OLD)]
    world.field.take(Connected({}), NOW_NS)
    world.tell(stVal=True, at=3, answer=True)
    assert world.heard() == [("X.Ind", True, 0, 3)]


def test_a_point_that_the_device_lacks_is_invalid_and_said_once(world, caplog):
    world.tell(stVal=True, at=3)
    world.heard()
    for _ in range(2):
        world.field.take(Connected({"LD/X.Ind": "the IED does not have it", "LD/X.Mv": "likewise"}), NOW_NS)
    assert [each[:3] for each in world.heard()] == [("X.Ind", True, INVALID)]
    assert [each for each in caplog.messages if "LD/X.Ind" in each] == [
        "IED: LD/X.Ind is invalid: the IED does not have it; said once"
    ]


def test_a_value_that_the_device_cannot_give_is_invalid_and_costs_no_other(world):
    world.tell(stVal=True, at=3)
    world.tell(stVal=None)
    world.tell("LD/X.Mv", mag=1.5)
    world.tell("LD/X.Nope", stVal=True)
    assert [each[:3] for each in world.heard()] == [("X.Ind", True, 0), ("X.Ind", True, INVALID), ("X.Mv", 1.5, 0)]


def test_an_old_value_too_becomes_invalid(world):
    world.tell(stVal=True, at=3)
    world.field.lose("cut", NOW_NS)
    world.heard()
    world.field.take(Connected({"LD/X.Ind": "gone"}), NOW_NS)
    assert [each[:3] for each in world.heard()] == [("X.Ind", True, INVALID)]


def test_overflow_and_an_entry_that_is_gone_are_told(world, caplog):
    world.tell(stVal=True, entry=bytes(8), overflow=True)
    assert world.field.overflows == 1
    world.field.take(Enabled(BLOCK, resumed=False), NOW_NS)
    world.field.take(Noted("a word"), NOW_NS)
    world.field.take(Alive(), NOW_NS)
    said = "\n".join(caplog.messages)
    assert f"{BLOCK}: its buffer has overflowed: events before 0000000000000000 are lost" in said
    assert f"{BLOCK} does not know our last entry any more: events may be lost" in said
    assert "IED: a word" in said


def test_of_many_faults_only_the_first_are_said(world, caplog):
    for number in range(500):
        world.tell(f"LD/X.N{number}", stVal=True)
    assert len(caplog.messages) == 101


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_selection_is_the_devices_own_and_its_end_that_of_the_device(world, caplog):
    caplog.set_level(logging.INFO)
    world.operate(1, "select", originator=7)
    (order,) = world.orders()
    assert (order.step, order.reference, order.value, order.orIdent, order.until) == (
        "select",
        "LD/Q.Pos",
        True,
        "west/7",
        110.0,
    )
    assert world.answers() == []
    world.field.take(Ended(1, "", unknown=False), NOW_NS)
    assert world.answers() == [("confirm", 1, "")]
    world.operate(2, "execute")
    assert [each.step for each in world.orders()] == ["execute"]
    world.field.take(Confirmed(2), NOW_NS)
    world.field.take(Confirmed(2), NOW_NS)
    assert world.answers() == [("confirm", 2, "")]
    world.field.take(Ended(2, "", unknown=False), NOW_NS)
    assert world.answers() == [("terminate", 2, "")]
    assert "IED: execute True of LD/Q.Pos for west (0): done" in caplog.messages
    world.field.take(Ended(2, "", unknown=False), NOW_NS)
    assert world.answers() == []


def test_a_refusal_says_why(world):
    world.operate(1, "execute", "LD/R.Pos")
    world.field.take(Ended(1, "operate: blocked by interlocking (AddCause 10)", unknown=False), NOW_NS)
    assert world.answers() == [("confirm", 1, "IED: operate: blocked by interlocking (AddCause 10)")]


def test_a_termination_that_is_negative_comes_after_the_confirmation(world):
    world.operate(1, "execute", "LD/R.Pos")
    world.field.take(Confirmed(1), NOW_NS)
    world.field.take(Ended(1, "termination: blocked by process (AddCause 9)", unknown=False), NOW_NS)
    assert [each[0] for each in world.answers()] == ["confirm", "terminate"]


def test_what_a_direct_control_selects_is_kept_here(world):
    world.operate(1, "select", "LD/R.Pos")
    assert (world.answers(), world.orders()) == ([("confirm", 1, "")], [])
    world.operate(2, "cancel", "LD/R.Pos")
    assert (world.answers(), world.orders()) == ([("confirm", 2, "")], [])


def test_a_selection_is_cancelled_at_the_device(world):
    world.operate(1, "select")
    world.field.take(Ended(1, "", unknown=False), NOW_NS)
    world.operate(2, "cancel")
    assert [each.step for each in world.orders()] == ["select", "cancel"]
    world.operate(3, "select")  # it is on its way
    world.operate(4, "cancel")
    assert [each.step for each in world.orders()] == ["select", "cancel"]


def test_a_worker_lost_between_select_and_execute_is_told_and_nothing_is_sent(world):
    world.operate(1, "select")
    world.field.take(Ended(1, "", unknown=False), NOW_NS)
    world.orders()
    world.field.lose("its worker has ended", NOW_NS)
    world.field.take(Connected({}), NOW_NS)
    world.operate(2, "execute")
    assert world.orders() == []
    assert world.answers()[-1] == (
        "confirm", 2, "IED: not executed: the selection was lost: its worker has ended; select again"
    )  # fmt: skip
    world.operate(3, "select")
    assert [each.step for each in world.orders()] == ["select"]


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_worker_lost_while_it_executes_leaves_the_outcome_unknown(world, confirmed):
    world.operate(1, "execute", "LD/R.Pos")
    if confirmed:
        world.field.take(Confirmed(1), NOW_NS)
        assert world.answers() == [("confirm", 1, "")]
    world.field.lose("its worker has ended", NOW_NS)
    why = "IED: its worker has ended; it may have been executed: its outcome is not known"
    assert world.answers() == [("terminate" if confirmed else "confirm", 1, why)]


def test_a_worker_lost_while_it_selects_has_operated_nothing(world):
    world.operate(1, "select")
    world.field.lose("its worker has ended", NOW_NS)
    assert world.answers() == [("confirm", 1, "IED: its worker has ended")]


@pytest.mark.parametrize("step", ["select", "execute"])
@pytest.mark.parametrize("name", ["LD/Q.Pos", "LD/R.Pos"])
def test_without_a_connection_nothing_is_sent_and_it_is_said(step, name):
    world = World()
    world.field.lose("cut", NOW_NS)
    world.operate(1, step, name)
    assert (world.answers(), world.orders()) == ([("confirm", 1, "IED: not connected: nothing was sent")], [])


def test_a_test_command_is_one_to_the_device(world):
    world.operate(1, "execute", "LD/R.Pos", test=True)
    assert world.orders()[0].test
