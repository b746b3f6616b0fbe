"""The judge must be able to fail: for each clause a world in which it is broken, and one like it that is legal.

The plant is the real one. What the agents say and order is put into their mouths, so that they can do wrong.
Longer than most files: each clause has a pair of worlds.
"""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.feeder import FeederSwitch, SharedElement
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    EMPTY_CLAIM,
    NO_REQUEST,
    AgentState,
    Bound,
    Claim,
    ClaimId,
    ClaimKind,
    EventId,
    LockState,
    SectionState,
)
from ied_agents.process.inputs import SwitchCommand
from ied_agents.process.plant import Plant, PlantSettings
from ied_agents.process.plant_network import PlantSection
from ied_agents.runtime.memory_link import MemoryNetwork
from tools.campaign.feeders import FeederSystem, assemble
from tools.campaign.judge import RETRIED_S, Judge
from tools.campaign.world import PROCESS_DELAY_S

EVENT = EventId(1, 7)
CLAIM = ClaimId(0, 1, 3)
LATER = 0.2


def _system(**changes) -> FeederSystem:
    """source 0 - Q1 - 1 - L2 - 2 - L3 - 3 - T4 (open) - 4 - Q5 - source 5, 50 A in each section.

    Args:
        changes: of a switch by its name, as a dict; of a section by ``s`` and its index; ``shared`` elements.
    """
    template = FeederSwitch(0, "", "", False, (0, 0), True, 400.0, 630.0, 0.0, 0.06)
    switches = [
        replace(
            template,
            **{
                "number": number,
                "name": name,
                "ied": f"IED{number}",
                "breaker": name[0] == "Q",
                "sides": sides,
                "normally_closed": name[0] != "T",
                "breaking_a": 16000.0 if name[0] == "Q" else 630.0,
                **changes.get(name, {}),
            },
        )
        for number, name, sides in (
            (1, "Q1", (0, 1)),
            (2, "L2", (1, 2)),
            (3, "L3", (2, 3)),
            (4, "T4", (3, 4)),
            (5, "Q5", (5, 4)),
        )
    ]
    sections = [PlantSection(i, f"S{i}", is_source=i in (0, 5), load_a=0.0 if i in (0, 5) else 50.0) for i in range(6)]
    sections = [replace(s, **changes.get(f"s{s.index}", {})) for s in sections]
    return assemble(switches, sections, 0.003, shared=changes.get("shared", ()), priorities=changes.get("priorities"))


class Stage:
    """The real plant, agents that say and order what they are told to, and the judge."""

    def __init__(self, system: FeederSystem | None = None, **settings) -> None:
        self.system = system or _system()
        self.plant_settings = PlantSettings(**settings)
        self.plant = Plant(self.system.plant, self.plant_settings, random.Random(1))
        self.now = 0.0
        self.acted = 0
        self.network = MemoryNetwork(random.Random(1))
        self.hosts = {number: SimpleNamespace(station=None) for number in self.system.agents}
        for number in self.hosts:
            self.start(number)
        self.judge = Judge(self.system)
        self.run(1.0)
        declared = CLEAR_SIDE._replace(section_event=EVENT)
        self.judge.books.hear(EVENT.switch, AgentState(1, sides=(declared, declared)), self.now)

    def start(self, number: int) -> None:
        situation = SimpleNamespace(own=AgentState(1))
        self.hosts[number].station = SimpleNamespace(agent=SimpleNamespace(situation=situation))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.plant.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.plant.handle_timer(self.now)
            self._look()
        self.now = until

    def _look(self, acted: int = 0) -> None:
        self.acted = acted
        self.judge.look(self)

    def say(self, number: int, **changes) -> None:
        situation = self.hosts[number].station.agent.situation
        situation.own = situation.own._replace(**changes)
        self._look(number)

    def hold(self, number: int, side: int, section: SectionState, lock: LockState, event: EventId = EVENT) -> None:
        state = CLEAR_SIDE._replace(section=section, section_event=event, lock=lock, lock_event=event)
        sides = list(self.hosts[number].station.agent.situation.own.sides)
        sides[side] = state
        self.say(number, sides=tuple(sides))

    def order(self, number: int, operation: str, then_s: float = LATER, *, decided_s: float = 1e-3) -> None:
        """An order that reaches the plant; it was decided so long after what was said last."""
        self.now += decided_s + PROCESS_DELAY_S
        self.plant.command(SwitchCommand(number, operation, 1), self.now)
        self._look()
        self.run(then_s)

    def by_hand(self, number: int, operation: str, then_s: float = LATER) -> None:
        self.plant.operate_by_hand(number, operation, self.now)
        self._look()
        self.run(then_s)

    def fault(self, section: int, then_s: float = LATER) -> None:
        self.plant.inject_fault(section, self.now)
        self._look()
        self.run(then_s)

    def promise(self, number: int, side: int, claim: ClaimId = CLAIM) -> None:
        promises = list(self.hosts[number].station.agent.situation.own.promises)
        promises[side] = claim
        self.say(number, promises=tuple(promises))

    def grant(
        self,
        *bounds: Bound,
        to: Bound,
        claim: ClaimId = CLAIM,
        kind: ClaimKind = ClaimKind.RESTORE,
    ) -> None:
        """All promise, the claimant grants."""
        for bound in bounds:
            self.promise(*bound, claim)
        said = Claim(claim, EVENT, bounds, NO_REQUEST, (to,), kind)
        self.say(claim.switch, claims=(EMPTY_CLAIM, said))

    def grant_head(self, number: int) -> None:
        """Q1 is granted to close."""
        self.grant(Bound(1, 1), Bound(4, 0), to=Bound(1, 1), claim=ClaimId(0, number, 1))

    def restore_tail(self, kind: ClaimKind = ClaimKind.RESTORE, then_s: float = LATER) -> None:
        """The legal restoration of section 3, dead behind the open L3, by T4."""
        self.grant(Bound(3, 1), Bound(4, 0), to=Bound(4, 0), kind=kind)
        self.order(4, "close", then_s)

    @property
    def broken(self) -> set[str]:
        return {violation.invariant for violation in self.judge.violations}

    @property
    def told(self) -> str:
        return "\n".join(violation.what for violation in self.judge.violations)


def _faulted(section: int, **settings) -> Stage:
    """A fault that has shown itself; Q1 has tripped on it."""
    stage = Stage(**settings)
    stage.fault(section, 0.02)
    stage.order(1, "open")
    assert stage.broken == set()
    return stage


def test_a_restoration_by_the_book_breaks_nothing():
    stage = _faulted(2)
    for number, side in ((2, 1), (3, 0)):
        stage.hold(number, side, SectionState.FAULTED, LockState.DURABLE)
        stage.order(number, "open")
    stage.restore_tail()
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.judge.violations == []
    assert set(stage.plant.energised()) == {0, 1, 3, 4, 5}
    service = stage.judge.finish(stage, benign=True)
    assert (service.served_a, service.could_a, service.islands) == (100.0, 100.0, 2)
    assert stage.judge.violations == []


# -- I1 ---------------------------------------------------------------------------------------------------------------


def test_I1_a_faulted_section_energised():
    stage = _faulted(2)
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == {"I1"}
    assert "switch 1 energises faulted section 2" in stage.told


def test_I1_a_fault_that_came_up_in_the_dark_cannot_be_known():
    stage = Stage()
    stage.by_hand(1, "open")
    stage.fault(2)
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == set()


def test_I1_a_fault_hidden_behind_another_cannot_be_known_until_it_shows():
    stage = Stage()
    stage.fault(2, 0.0)
    stage.fault(3, 0.02)
    stage.order(1, "open")
    stage.order(3, "open")
    stage.grant(Bound(1, 1), Bound(3, 0), to=Bound(1, 1), claim=ClaimId(0, 2, 1))
    stage.order(1, "close", 0.1)
    assert stage.broken == set(), "only section 3 has shown itself"
    stage.order(1, "open")
    stage.grant(Bound(1, 1), Bound(3, 0), to=Bound(1, 1), claim=ClaimId(0, 3, 1))
    stage.order(1, "close")
    assert stage.broken == {"I1"}


def test_I1_a_fault_seen_too_shortly_cannot_be_known():
    stage = Stage()
    stage.fault(2, 0.004)
    stage.by_hand(1, "open", 0.0)
    stage.plant.clear_fault(2, stage.now)
    stage.run(LATER)
    stage.fault(2, 0.0)
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == set()


@pytest.mark.parametrize(("deaf", "broken"), [((2, 3), set()), ((3, 4), {"I1"}), ((1, 5), {"I1"})])
def test_I1_a_cut_hides_a_fault_only_from_those_around_its_section(deaf, broken):
    stage = Stage()
    stage.network.deafen([deaf])
    stage.judge.cut(stage)
    stage.run(LATER)
    stage.network.deafen(())
    stage.judge.cut(stage)
    stage.fault(2, 0.02)
    stage.order(1, "open")
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == broken


@pytest.mark.parametrize("state", [SectionState.FAULTED, SectionState.SUSPECT, SectionState.WIDENED])
@pytest.mark.parametrize("down", [False, True])
def test_I1_a_section_that_an_agent_holds_energised_elsewhere(state, down):
    stage = Stage()
    stage.by_hand(1, "open")
    stage.hold(3, 0, state, LockState.NONE)
    if down:
        stage.hosts[3].station = None
        stage._look()
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == {"I1"}
    assert "section 2, which agents hold" in stage.told


def test_I1_a_lock_stands_although_its_agent_has_forgotten_it():
    stage = Stage()
    stage.by_hand(1, "open")
    stage.hold(3, 0, SectionState.NONE, LockState.DURABLE)
    stage.start(3)
    stage.say(3, position_quality=1)
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == {"I1"}


@pytest.mark.parametrize(("number", "broken"), [(1, set()), (2, {"I1"})])
def test_I1_an_event_is_cleared_by_its_own_declarer_only(number, broken):
    stage = Stage()
    stage.by_hand(1, "open")
    stage.hold(3, 0, SectionState.FAULTED, LockState.DURABLE)
    stage.say(number, cleared=(EVENT,))
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == broken


def test_I1_a_person_may_unlock_and_vouches_for_the_section():
    stage = _faulted(2)
    stage.hold(2, 1, SectionState.FAULTED, LockState.DURABLE)
    stage.judge.unlocked(EVENT)
    stage.grant_head(2)
    stage.order(1, "close", 0.1)
    assert stage.broken == set()
    stage.order(1, "open")
    stage.grant_head(3)
    stage.order(1, "close")
    assert stage.broken == {"I1"}, "it was still faulted, and has shown itself again"


def test_I1_what_a_person_does_by_hand_is_not_charged_nor_what_comes_up_meanwhile():
    stage = _faulted(2)
    stage.by_hand(1, "close", 0.1)
    assert stage.broken == set()
    stage = Stage()
    stage.by_hand(1, "open")
    stage.grant_head(2)
    stage.order(1, "close", 0.01)
    stage.hold(3, 0, SectionState.SUSPECT, LockState.VOLATILE)
    stage.run(LATER)
    assert stage.broken == set()


def test_I1_a_hand_that_finds_the_switch_closing_does_not_make_the_order_a_persons():
    stage = _faulted(2)
    stage.grant_head(2)
    stage.order(1, "close", 0.01)
    stage.by_hand(1, "close")
    assert stage.broken == {"I1"}


# -- reclosing shots --------------------------------------------------------------------------------------------------


def _with_shots(*dead_times_s: float) -> Stage:
    stage = Stage(_system(Q1={"shots": dead_times_s}))
    stage.fault(2, 0.02)
    stage.order(1, "open")
    return stage


def test_as_many_shots_as_the_breaker_has_are_legal_and_no_more():
    stage = _with_shots(0.3, 0.5)
    for _ in range(2):
        stage.order(1, "close", 0.1)
        stage.order(1, "open")
    assert stage.broken == set()
    stage.order(1, "close")
    assert stage.broken == {"I1", "P"}
    assert "2 of 2 shots are spent" in stage.told


def test_a_new_fault_has_its_own_shots():
    stage = _with_shots(0.3)
    stage.plant.clear_fault(2, stage.now)
    stage.order(1, "close")
    stage.fault(2, 0.02)
    stage.order(1, "open")
    stage.order(1, "close")
    assert stage.broken == set()


def test_no_shot_onto_a_section_that_somebody_holds():
    stage = _with_shots(0.3)
    stage.hold(2, 1, SectionState.FAULTED, LockState.VOLATILE)
    stage.order(1, "close")
    assert stage.broken == {"I1"}
    assert "agents hold" in stage.told


@pytest.mark.parametrize(
    ("deaf", "for_s", "broken"), [((2, 1), 1.0, set()), ((2, 1), 3.0, {"I1"}), ((1, 2), 1.0, {"I1"})]
)
def test_a_shot_may_not_know_what_somebody_said_whom_it_has_not_heard_for_a_moment(deaf, for_s, broken):
    stage = _with_shots(0.3)
    stage.network.deafen([deaf])
    stage.judge.cut(stage)
    stage.hold(2, 1, SectionState.FAULTED, LockState.VOLATILE)
    stage.run(for_s)
    stage.order(1, "close")
    assert stage.broken == broken


def test_no_shot_by_a_breaker_that_tripped_for_no_fault():
    stage = Stage(_system(Q1={"shots": (0.3,)}))
    stage.judge.ordered()
    stage.order(1, "open")
    stage.order(1, "close")
    assert stage.broken == {"P"}
    assert "tripped for no fault" in stage.told


# -- I2 ---------------------------------------------------------------------------------------------------------------


def _return(stage: Stage) -> None:
    stage.judge.ordered()
    stage.grant(Bound(4, 0), to=Bound(4, 0), kind=ClaimKind.RETURN)


def test_I2_sources_paralleled():
    stage = Stage()
    _return(stage)
    stage.order(4, "close")
    assert stage.broken == {"I2", "P"}, "where there is a source nothing binds the island"
    assert "switch 4 connects what was live on both sides" in stage.told


@pytest.mark.parametrize(
    ("kind", "breaks"), [(ClaimKind.RETURN, False), (ClaimKind.RESTORE, True), (ClaimKind.MANUAL, True)]
)
def test_I2_only_a_return_to_normal_may_parallel_and_only_where_the_site_allows(kind, breaks):
    stage = Stage(_system(T4={"paralleling": True}))
    stage.judge.ordered()
    for bound in (Bound(1, 1), Bound(5, 1)):
        stage.promise(*bound)
    stage.grant(Bound(4, 0), to=Bound(4, 0), kind=kind)
    stage.order(4, "close")
    assert ("I2" in stage.broken) is breaks


def test_I2_two_orders_that_each_found_a_dead_island():
    stage = Stage()
    stage.by_hand(1, "open")
    stage.grant(Bound(1, 1), Bound(4, 0), to=Bound(1, 1))
    stage.order(4, "close", 0.01)
    stage.order(1, "close")
    assert "I2" in stage.broken


def test_I2_an_island_held_by_generation_closed_onto_a_live_network():
    stage = Stage(_system(s3={"generation_a": 20.0, "infeed": True}), generation_trip_s=5.0)
    stage.by_hand(3, "open")
    assert 3 in stage.plant.flow().island
    stage.restore_tail()
    assert stage.broken == {"I2"}


def test_I2_a_ring_on_one_source():
    system = _system()
    stage = Stage(
        assemble(
            [replace(s, sides=(1, 3)) if s.name == "T4" else s for s in system.feeder.switches],
            system.plant.sections,
            0.003,
        )
    )
    stage.judge.ordered()
    stage.grant(Bound(4, 0), Bound(4, 1), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == {"I2", "P"}
    assert "switch 4 connects what was live on both sides; sections [0, 0] feed them" in stage.told


def test_I2_a_person_who_closes_elsewhere_meanwhile_is_not_charged_to_the_agents():
    stage = Stage()
    stage.by_hand(1, "open")
    stage.by_hand(4, "close", 0.04)
    stage.grant(Bound(1, 1), Bound(4, 0), to=Bound(1, 1))
    stage.order(1, "close")
    assert stage.broken == set()
    stage = Stage()
    stage.by_hand(1, "open")
    stage.by_hand(4, "close")
    stage.grant(Bound(1, 1), to=Bound(1, 1))
    stage.order(1, "close")
    assert stage.broken == {"I2", "P"}, "the person had closed before"


# -- I3 ---------------------------------------------------------------------------------------------------------------


def _tail_open() -> Stage:
    stage = Stage()
    stage.by_hand(3, "open")
    return stage


def test_I3_a_locked_switch():
    stage = _tail_open()
    stage.hold(4, 1, SectionState.NONE, LockState.VOLATILE)
    stage.restore_tail()
    assert stage.broken == {"I3"}
    assert "locked for event 7 of switch 1" in stage.told


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"behaviour": Behaviour.BLOCKED}, "not in service"),
        ({"behaviour": Behaviour.TEST}, "not in service"),
        ({"unproven": True}, "not sure of its locks"),
        ({"held": True, "hold_claim": ClaimId(0, 9, 2)}, "held open for a higher claim"),
    ],
)
def test_I3_what_an_agent_says_against_its_own_close(changes, what):
    stage = _tail_open()
    stage.say(4, **changes)
    stage.restore_tail()
    assert what in stage.told
    assert stage.broken - {"I5"} == {"I3"}


@pytest.mark.parametrize("claim", [CLAIM, ClaimId(0, 0, 9)])
def test_I3_held_for_the_claim_that_grants_or_a_lower_one_is_no_obstacle(claim):
    stage = _tail_open()
    stage.say(4, held=True, hold_claim=claim)
    stage.restore_tail()
    assert stage.broken == set()


def test_I3_a_tagged_switch_and_one_in_local_control():
    stage = _tail_open()
    stage.judge.tagged(4, stage.now)
    stage.restore_tail()
    assert stage.broken == {"I3"}
    stage = _tail_open()
    stage.judge.local(4, stage.now)
    stage.restore_tail()
    assert stage.broken == {"I3"}
    stage = _tail_open()
    stage.judge.tagged(4, stage.now)
    stage.judge.local(4, stage.now)
    stage.judge.untagged(4)
    stage.judge.remote(4)
    stage.restore_tail()
    assert stage.broken == set()


def test_I3_a_tag_that_came_while_the_order_was_on_the_way_is_too_late():
    stage = _tail_open()
    stage.grant(Bound(3, 1), Bound(4, 0), to=Bound(4, 0))
    stage.judge.tagged(4, stage.now + PROCESS_DELAY_S / 2)
    stage.order(4, "close", decided_s=0.0)
    assert stage.broken == set()


# -- I4 ---------------------------------------------------------------------------------------------------------------


def test_I4_a_switch_overloaded_by_a_close():
    stage = Stage(_system(Q5={"rating_a": 60.0}))
    stage.by_hand(3, "open")
    stage.restore_tail()
    assert stage.broken == {"I4"}
    assert "switch 5 carries 100.0 A, rating 60.0 A" in stage.told


def test_I4_a_shared_element_overloaded_though_no_head_is():
    shared = (SharedElement("transformer", 190.0, 1, (1, 5)),)
    stage = Stage(_system(shared=shared, L3={"normally_closed": False}))
    stage.judge.ordered()
    stage.restore_tail()
    assert stage.broken == {"I4"}
    assert "transformer carries 200.0 A, rating 190.0 A" in stage.told


def test_I4_no_charge_for_what_was_so_before_or_normally_or_came_by_hand():
    stage = Stage(_system(Q5={"rating_a": 40.0}))
    stage.by_hand(3, "open")
    stage.by_hand(3, "close")
    assert stage.broken == set()
    stage = Stage(_system(Q5={"rating_a": 60.0}))
    stage.by_hand(3, "open")
    stage.by_hand(4, "close")
    assert stage.broken == set()
    stage.by_hand(1, "open")
    stage.grant(Bound(1, 1), Bound(3, 0), to=Bound(1, 1), claim=ClaimId(0, 2, 1))
    stage.order(1, "close")
    assert stage.broken == set(), "Q5 was overloaded by hand; Q1 adds nothing to it"


@pytest.mark.parametrize(("after_s", "broken"), [(0.0, set()), (RETRIED_S + 0.01, {"I4"})])
def test_I4_what_a_person_closes_is_not_known_at_once(after_s, broken):
    stage = Stage(_system(Q5={"rating_a": 60.0}))
    stage.by_hand(2, "open")
    stage.by_hand(3, "open")
    stage.by_hand(4, "close", stage.system.plant.switches[3].closing_time_s + after_s)
    stage.grant(Bound(2, 1), Bound(3, 0), to=Bound(3, 0))
    stage.order(3, "close")
    assert stage.broken == broken


@pytest.mark.parametrize(("more", "broken"), [(False, set()), (True, {"I4"})])
def test_I4_a_shot_gives_back_what_its_trip_took_and_no_more(more, broken):
    stage = Stage(_system(Q1={"rating_a": 60.0, "shots": (0.3,)}, L3={"normally_closed": False}))
    stage.by_hand(3, "open" if more else "close")
    stage.fault(2, 0.02)
    stage.order(1, "open")
    stage.plant.clear_fault(2, stage.now)
    if more:
        stage.by_hand(3, "close")
    stage.order(1, "close")
    assert stage.broken == broken


@pytest.mark.parametrize(("opened", "broken"), [("in the fault", set()), ("after the trip", {"I4"})])
def test_I4_a_shot_gives_back_what_a_person_put_on_its_breaker_before_it_tripped(opened, broken):
    stage = Stage(_system(Q1={"rating_a": 150.0, "shots": (0.3,)}))
    stage.by_hand(4, "close")  # a ring now: Q1 and Q5 carry 100 A each
    stage.fault(2, 0.02)
    if opened == "in the fault":
        stage.by_hand(5, "open")
    stage.order(1, "open")
    if opened != "in the fault":
        stage.by_hand(5, "open")
    stage.plant.clear_fault(2, stage.now)
    stage.order(1, "close")
    assert stage.broken == broken


def test_I4_generation_that_is_lost_counts_once_somebody_closes():
    stage = Stage(_system(Q1={"rating_a": 110.0}, s2={"generation_a": 50.0}))
    stage.by_hand(1, "open")
    stage.grant_head(2)
    stage.order(1, "close")
    assert stage.broken == {"I4"}


def test_I4_a_load_break_switch_ordered_to_open_on_fault_current():
    stage = Stage()
    stage.fault(2, 0.02)
    stage.order(2, "open")
    assert stage.broken == {"I4'"}
    assert "switch 2 opens on 4100 A" in stage.told


def test_I4_a_load_break_switch_opens_by_hand_or_before_it_could_know():
    stage = Stage()
    stage.fault(2, 0.02)
    stage.by_hand(2, "open")
    assert stage.broken == set()
    stage = Stage()
    stage.fault(2, 0.002)
    stage.order(2, "open")
    assert stage.broken == set()


def test_I4_a_load_break_switch_ordered_to_open_on_too_much_load():
    stage = Stage(_system(L2={"breaking_a": 90.0}))
    stage.judge.ordered()
    stage.order(2, "open")
    assert stage.broken == {"I4'"}


# -- I5 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["open", "close"])
def test_I5_nothing_is_ordered_while_all_is_quiet(operation):
    stage = Stage()
    stage.order(3 if operation == "open" else 4, operation)
    assert "I5" in stage.broken
    assert f"ordered to {operation} while all is quiet" in stage.told


def test_I5_a_loss_of_supply_a_fault_a_hand_and_an_order_end_the_quiet():
    for disturb in (
        lambda s: s.plant.set_source(0, False, s.now),
        lambda s: s.plant.inject_fault(4, s.now),
        lambda s: s.plant.operate_by_hand(5, "open", s.now),
        lambda s: s.judge.ordered(),
    ):
        stage = Stage()
        disturb(stage)
        stage.run(LATER)
        stage.order(3, "open")
        assert stage.broken == set()


@pytest.mark.parametrize("behaviour", [b for b in Behaviour if b is not Behaviour.ON])
def test_I5_an_agent_out_of_service_orders_nothing(behaviour):
    stage = _faulted(2)
    stage.say(3, behaviour=behaviour)
    stage.order(3, "open")
    assert stage.broken == {"I5"}
    stage = _faulted(2)
    stage.say(3, behaviour=behaviour)
    stage.say(3, behaviour=Behaviour.ON)
    stage.order(3, "open")
    assert stage.broken == set()


def test_I5_a_mode_that_came_in_the_instant_of_an_order_came_after_it():
    stage = _faulted(2)
    stage.say(3, behaviour=Behaviour.TEST)
    stage.order(3, "open", decided_s=0.0)
    assert stage.broken == set()


def test_I3_a_lock_of_the_very_instant_is_charged():
    """An agent that publishes a lock and orders a close in one turn."""
    stage = _tail_open()
    stage.grant(Bound(3, 1), Bound(4, 0), to=Bound(4, 0))
    stage.hold(4, 1, SectionState.NONE, LockState.VOLATILE)
    stage.order(4, "close", decided_s=0.0)
    assert "I3" in stage.broken


def test_I5_nobody_believes_in_an_event_that_its_own_switch_never_declared():
    stage = Stage()
    stage.hold(2, 1, SectionState.FAULTED, LockState.VOLATILE, EventId(3, 1_000_000))
    assert stage.broken == {"I5"}
    assert "switch 2 believes in event (3, 1000000), never declared" in stage.told
    stage = Stage()
    stage.hold(3, 0, SectionState.FAULTED, LockState.VOLATILE, EventId(3, 1_000_000))
    stage.hold(2, 1, SectionState.FAULTED, LockState.VOLATILE, EventId(3, 1_000_000))
    assert stage.broken == set()


# -- P ----------------------------------------------------------------------------------------------------------------


def test_P_a_close_without_a_grant():
    stage = _tail_open()
    stage.order(4, "close")
    assert stage.broken == {"P"}
    assert "without a grant" in stage.told


def test_P_a_grant_without_the_own_promise_and_one_promised_away():
    stage = _tail_open()
    stage.grant(Bound(3, 1), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == {"P"}
    stage = _tail_open()
    stage.grant(Bound(3, 1), Bound(4, 0), to=Bound(4, 0))
    stage.promise(4, 0, ClaimId(0, 2, 5))
    stage.order(4, "close")
    assert stage.broken == {"P"}


def test_P_one_attempt_per_claim_and_switch_ever():
    stage = _tail_open()
    stage.restore_tail()
    stage.by_hand(4, "open")
    stage.order(4, "close")
    assert stage.broken == {"P"}
    assert "switch 4 is ordered to close without a grant" in stage.told


def test_P_another_switch_bounds_the_island_unbound():
    stage = _tail_open()
    stage.grant(Bound(4, 0), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == {"P"}
    assert "switch 4 closes under claim (0, 1, 3); nothing binds the island" in stage.told


@pytest.mark.parametrize(("after_s", "broken"), [(2.4, {"P"}), (2.6, set())])
def test_P_a_switch_whose_lock_somebody_may_still_count_closes_nothing(after_s, broken):
    stage = _tail_open()
    stage.hold(4, 1, SectionState.NONE, LockState.DURABLE)
    stage.say(1, cleared=(EVENT,))
    stage.say(4, sides=(CLEAR_SIDE, CLEAR_SIDE))
    stage.run(after_s)
    stage.restore_tail()
    assert stage.broken == broken


@pytest.mark.parametrize(("after_s", "broken"), [(2.4, set()), (2.6, {"P"})])
def test_P_such_a_lock_binds_until_then(after_s, broken):
    stage = _tail_open()
    stage.hold(3, 0, SectionState.NONE, LockState.DURABLE)
    stage.say(1, cleared=(EVENT,))
    stage.say(3, sides=(CLEAR_SIDE, CLEAR_SIDE))
    stage.run(after_s)
    stage.grant(Bound(4, 0), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == broken


@pytest.mark.parametrize(("after_s", "broken"), [(2.4, set()), (2.6, {"P"})])
def test_P_so_does_one_that_is_no_longer_said_to_be_durable(after_s, broken):
    """Its agent locates a fault current: whoever has heard so does not rely on it."""
    stage = _tail_open()
    stage.hold(3, 0, SectionState.NONE, LockState.DURABLE)
    stage.hold(3, 0, SectionState.NONE, LockState.VOLATILE)
    stage.run(after_s)
    stage.grant(Bound(4, 0), to=Bound(4, 0), claim=ClaimId(0, 1, 5))
    stage.order(4, "close")
    assert stage.broken == broken


def test_P_a_lock_said_in_test_is_counted_by_nobody():
    stage = _tail_open()
    stage.say(4, behaviour=Behaviour.TEST)
    stage.hold(4, 1, SectionState.NONE, LockState.DURABLE)
    stage.say(4, behaviour=Behaviour.ON, sides=(CLEAR_SIDE, CLEAR_SIDE))
    stage.restore_tail()
    assert stage.broken == set()


def test_P_what_an_unbound_open_switch_leads_to_is_bound_in_its_stead():
    for bounds, broken in (
        ((Bound(1, 1), Bound(4, 0)), set()),
        ((Bound(1, 1), Bound(3, 1), Bound(4, 0)), set()),
        ((Bound(2, 1), Bound(4, 0)), set()),
        ((Bound(2, 0), Bound(4, 0)), {"P"}),
        ((Bound(3, 0), Bound(4, 0)), {"P"}),
        ((Bound(1, 0), Bound(4, 0)), {"P"}),
    ):
        stage = _tail_open()
        stage.by_hand(1, "open")
        stage.by_hand(2, "open")
        stage.grant(*bounds, to=Bound(4, 0))
        stage.order(4, "close")
        assert stage.broken == broken, bounds


def test_P_a_promise_to_another_claim_binds_nobody_a_durable_lock_does():
    stage = _tail_open()
    stage.promise(3, 1, ClaimId(0, 9, 5))
    stage.grant(Bound(4, 0), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == {"P"}
    for lock, broken in ((LockState.DURABLE, set()), (LockState.VOLATILE, {"P"})):
        stage = _tail_open()
        stage.hold(3, 0, SectionState.NONE, lock)
        stage.grant(Bound(4, 0), to=Bound(4, 0), claim=ClaimId(0, 1, 5))
        stage.order(4, "close")
        assert stage.broken == broken


def test_P_a_lock_binds_until_its_agent_has_heard_that_it_is_cleared():
    stage = _tail_open()
    stage.hold(3, 0, SectionState.NONE, LockState.DURABLE)
    stage.judge.unlocked(EVENT)
    stage.grant(Bound(4, 0), to=Bound(4, 0), claim=ClaimId(0, 1, 5))
    stage.order(4, "close")
    assert stage.broken == set()


def test_P_a_promise_kept_by_an_agent_that_is_down_counts():
    stage = _tail_open()
    stage.promise(3, 1)
    stage.hosts[3].station = None
    stage._look()
    stage.grant(Bound(4, 0), to=Bound(4, 0), claim=CLAIM._replace(switch=5))
    stage.promise(4, 0, CLAIM)
    assert stage.broken == set()
    stage = _tail_open()
    stage.grant(Bound(3, 1), Bound(4, 0), to=Bound(4, 0), claim=ClaimId(0, 1, 5))
    stage.hosts[3].station = None
    stage._look()
    stage.order(4, "close")
    assert stage.broken == set()


def test_P_another_granted_claim_may_still_act_on_the_island():
    stage = _tail_open()
    rival = ClaimId(0, 2, 5)
    stage.promise(3, 1)
    stage.promise(3, 1, rival)
    stage.say(5, claims=(EMPTY_CLAIM, Claim(rival, EVENT, (Bound(3, 1),), NO_REQUEST, (Bound(3, 1),))))
    stage.grant(Bound(4, 0), to=Bound(4, 0))
    stage.order(4, "close")
    assert stage.broken == {"P"}
    assert "3 may under (0, 2, 5)" in stage.told


def test_P_a_grant_sent_by_an_agent_that_died_of_it_counts():
    stage = _tail_open()
    stage.promise(4, 0, ClaimId(0, 1, 5))
    stage.promise(3, 1, ClaimId(0, 1, 5))
    own = stage.hosts[5].station.agent.situation
    stage._look(5)
    own.own = own.own._replace(
        claims=(EMPTY_CLAIM, Claim(ClaimId(0, 1, 5), EVENT, (), NO_REQUEST, (Bound(4, 0),))),
        sides=(CLEAR_SIDE, CLEAR_SIDE._replace(section=SectionState.SUSPECT, section_event=EVENT)),
    )
    stage.hosts[5].station = None
    stage._look(5)
    stage.order(4, "close")
    assert stage.broken == set(), "and what it forbade in that turn may have left it or not"


# -- I7 ---------------------------------------------------------------------------------------------------------------


def _isolated(**changes) -> Stage:
    """Section 1 is faulted and isolated: 2 and 3 could be served by T4."""
    stage = Stage(_system(**changes))
    stage.fault(1, 0.02)
    stage.order(1, "open")
    stage.hold(1, 1, SectionState.FAULTED, LockState.DURABLE)
    stage.hold(2, 0, SectionState.FAULTED, LockState.DURABLE)
    stage.order(2, "open")
    return stage


def test_I7_an_island_left_dark():
    stage = _isolated()
    service = stage.judge.finish(stage, benign=True)
    assert stage.broken == {"I7"}
    assert "[2, 3] nothing is served; possible is 100.0 A of priority 0: switch 4 for sections [2, 3]" in stage.told
    assert (service.served_a, service.could_a, len(service.missed)) == (0.0, 100.0, 1)


def test_I7_is_judged_only_where_it_must_hold():
    stage = _isolated()
    assert stage.judge.finish(stage, benign=False).could_a == 0.0
    assert stage.broken == set()


@pytest.mark.parametrize(
    "prevent",
    [
        lambda s: s.judge.tagged(4, s.now),
        lambda s: s.judge.local(4, s.now),
        lambda s: s.say(4, behaviour=Behaviour.OFF),
        lambda s: s.hold(3, 1, SectionState.SUSPECT, LockState.DURABLE),
        lambda s: s.plant.set_source(5, False, s.now) or s.run(LATER),
    ],
)
def test_I7_what_cannot_be_served_is_not_missed(prevent):
    stage = _isolated()
    prevent(stage)
    assert stage.judge.finish(stage, benign=True).could_a == 0.0
    assert stage.broken == set()


def test_I7_a_section_wrongly_declared_should_have_been_served():
    stage = Stage()
    stage.fault(4, 0.02)
    stage.order(5, "open")
    for number, side in ((2, 1), (3, 0)):
        stage.hold(number, side, SectionState.FAULTED, LockState.DURABLE)
        stage.order(number, "open")
    service = stage.judge.finish(stage, benign=True)
    assert [missed.sections for missed in service.missed] == [(2,)], "section 3 hangs on it"
    assert stage.broken == {"I7"}


def test_I7_half_of_an_island_served_where_all_could_be():
    stage = _isolated()
    stage.order(3, "open")
    stage.say(3, held=True, hold_claim=CLAIM)
    stage.restore_tail()
    service = stage.judge.finish(stage, benign=True)
    assert (service.served_a, service.could_a) == (50.0, 100.0)
    assert stage.broken == {"I7"}


def test_I7_half_of_an_island_served_where_no_more_fits():
    stage = _isolated(Q5={"rating_a": 110.0})
    stage.order(3, "open")
    stage.say(3, held=True, hold_claim=CLAIM)
    stage.restore_tail()
    service = stage.judge.finish(stage, benign=True)
    assert (service.served_a, service.could_a) == (50.0, 50.0)
    assert stage.broken == set()


def test_I7_the_shared_element_limits_what_could_be_served():
    stage = _isolated(shared=(SharedElement("transformer", 60.0, 5, (5, 1)),))
    assert stage.judge.finish(stage, benign=True).could_a == 0.0
    stage = _isolated(shared=(SharedElement("transformer", 110.0, 5, (5, 1)),))
    assert stage.judge.finish(stage, benign=True).could_a == 50.0
