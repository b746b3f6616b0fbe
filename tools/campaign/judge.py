"""Judges a run by the plant's truth. Shares no code with the agents' logic: its own graph search, its own books.

I1  a faulted section is never energised by a command that was let through, once its fault has shown itself, nor is a
    section that somebody holds for faulted, suspect or widened, or locked, and that nobody entitled has cleared
I2  a command never connects two sides that are both under voltage, be it from sources, from one source or from local
    generation, unless it is a return to normal and the switch allows paralleling
I3  no close is ordered of a switch that is locked, tagged, held for a higher claim, in local control, not in service,
    or not sure of its locks
I4  no element, switch or shared, carries more than its rating because of a close
I4' no load-break switch is ordered to open on more than it can break
I5  while nothing has happened nothing is ordered, an agent that is not in service orders nothing, and nobody holds a
    section for an event that its own switch has not declared
I6  all of it under loss, duplication, reordering, replay, crash and restart: I1 to I5 are judged after every step
I7  with communication alive what can be served is served: judged at the end, by ``tools.campaign.service``
P   the protocol's books, see ``tools.campaign.books``; who closes without a claim closes for a reclosing shot

What a person does at the apparatus is not charged to the agents, nor what comes of it; their later orders are. An
agent is not charged for what came up while its order was on the way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.control.decision import Behaviour
from ied_agents.dflisr.records import NO_CLAIM, ClaimKind, LockState, SectionState
from ied_agents.process.inputs import Direction
from ied_agents.process.plant_events import (
    CommandNotObeyed,
    CommandReceived,
    FaultAppeared,
    FaultCleared,
    OpenedAboveCapability,
    OperatedByHand,
    SourceLost,
)
from tools.campaign.books import Books
from tools.campaign.network_truth import NetworkTruth
from tools.campaign.service import Restoring, Service, Standing, judge_service
from tools.campaign.world import PROCESS_DELAY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ied_agents.dflisr.agent import Agent
    from ied_agents.dflisr.records import EventId
    from ied_agents.process.plant_events import PlantEvent
    from ied_agents.process.plant_flow import PlantFlow
    from tools.campaign.books import Permission
    from tools.campaign.feeders import FeederSystem
    from tools.campaign.world import World


TOLERANCE_A: Final = 0.2
RETRIED_S: Final = 0.12
"""A frame has been repeated three times by then (after 4, 16 and 100 ms)."""
REPEATED_S: Final = 1.0
"""Whoever was not heard while the network was cut is heard so long after it is whole again."""
JUST_S: Final = 0.5
"""Who trips so long after a fault current has ended trips because of it."""
SAME_FAULT: Final = 4
"""Pickups that follow each other within so many detection times are of one fault, as far as anybody can tell."""
_SAME_INSTANT_S: Final = 1e-6
"""A mode that a person sets in the instant of a decision may have come after it."""
_NEVER: Final = float("inf")


class Violation(NamedTuple):
    """A broken invariant: which, when in virtual seconds, and what happened."""

    invariant: str
    t: float
    what: str


@dataclass(frozen=True, slots=True)
class _Order:
    """An order to operate a switch that is under way.

    Attributes:
        at: when it was decided, s.
        by_hand: a person operates; nothing of the rest is known then.
        permission: the claim it was given under; None for a reclosing shot, or nothing at all.
        shot_for: appearances of the faults that a legal reclosing shot may energise once more.
        held: sections that somebody held then.
        exposed: sections whose faults had shown themselves then.
    """

    at: float
    by_hand: bool
    permission: Permission | None = None
    shot_for: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()
    exposed: frozenset[int] = frozenset()


class Judge:
    """Watches one world; :meth:`look` is its ``observe``.

    Args:
        system: the network and its settings.

    Attributes:
        violations: so far.
        books: what the agents have said.
        disturbed: whether anything has happened that agents may act on: a fault, a loss of supply, a person's order.
    """

    def __init__(self, system: FeederSystem) -> None:
        self.violations: list[Violation] = []
        self.truth = NetworkTruth(system.plant)
        self.books = Books(self.truth)
        self.disturbed = False
        self._system = system
        self._switches = system.feeder.by_number
        self._shared = system.feeder.shared
        self._detection_s = max(settings.config.detection_time_s for settings in system.agents.values())
        self._agents: dict[int, Agent] = {}
        self._closed_before = self._conducting = frozenset(s.number for s in system.plant.switches if s.closed)
        self._flow: PlantFlow | None = None
        self._flow_before: Mapping[int, float] = {}
        self._normal: dict[str, float] = {}
        # People: since when, s.
        self._tagged: dict[int, float] = {}
        self._local: dict[int, float] = {}
        # Orders that are under way, and the one before, in case the switch does not obey.
        self._closing: dict[int, _Order] = {}
        self._opening: dict[int, _Order] = {}
        self._replaced: _Order | None = None
        # Faults: each appearance has a number of its own.
        self._faults: dict[int, int] = {}
        self._appearances = 0
        self._showing: dict[int, float] = {}
        self._exposed: set[int] = set()
        self._just_fed: dict[int, tuple[float, frozenset[int]]] = {}
        """By switch when fault current ended that flowed through it, s, and which appearances of faults it fed."""
        self._fault_current: dict[int, tuple[float, float]] = {}
        """By switch when fault current began to flow through it, and when it ended, s."""
        # Reclosing: what a breaker tripped for, and how often it has reclosed on each appearance of a fault.
        self._tripped_for: dict[int, frozenset[int]] = {}
        self._shots: Counter[tuple[int, int]] = Counter()
        self._live_otherwise: dict[int, float] = {}
        """Sections that came under voltage last by something else than an agent's order, and when, s."""
        self._deaf: set[tuple[int, int]] = set()
        """Of each pair the first switch does not hear the second now."""
        self._deaf_at: dict[tuple[int, int], float] = {}
        """By such a pair when that was so last, s."""
        self._upset_until = -_NEVER
        """Until when what hangs on the switches may be other than anybody can know, s."""
        self._carried: dict[int, Mapping[str, float]] = {}
        """By switch what every element carried when fault current began to flow through it, A."""
        self._ever_faulted: set[int] = set()
        self._restoring: dict[int, Restoring] = {}

    # -- what people do -------------------------------------------------------------------------------------------

    def tagged(self, switch: int, now: float) -> None:
        """A person has tagged a switch, and its agent has acknowledged."""
        self._tagged[switch] = now

    def untagged(self, switch: int) -> None:
        """The last tag of a switch is gone."""
        self._tagged.pop(switch, None)

    def local(self, switch: int, now: float) -> None:
        """A switch is in local control, and its agent knows."""
        self._local[switch] = now

    def remote(self, switch: int) -> None:
        """A switch is not in local control any more."""
        self._local.pop(switch, None)

    def unlocked(self, event: EventId) -> None:
        """An authorised person vouches that what was held for an event is sound."""
        self._exposed -= self.books.clear(event)
        self.disturbed = True

    def cut(self, world: World) -> None:
        """Who hears whom has changed."""
        hears, switches = world.network.hears, self.truth.sides
        self._deaf_at.update(dict.fromkeys(self._deaf, world.now))
        self._deaf = {(a, b) for a in switches for b in switches if not hears(a, b)}

    def ordered(self) -> None:
        """A person has ordered something: a return to normal, a close."""
        self.disturbed = True

    # -- after every step -----------------------------------------------------------------------------------------

    def look(self, world: World) -> None:
        """Judge what the last step did."""
        number = world.acted
        if number:
            self._hear(world, number)
        events = world.plant.events()
        if events or self._flow is None:
            self._follow(world, events)

    def _hear(self, world: World, number: int) -> None:
        station = world.hosts[number].station
        if station is not None:
            self._agents[number] = station.agent
            state = station.agent.situation.own
            # Who is in test may believe what a test says; it must not outlast the test.
            believed = self.books.hear(number, state, world.now)
            for event in believed if state.behaviour not in (Behaviour.TEST, Behaviour.TEST_BLOCKED) else ():
                self._break(world, "I5", f"switch {number} believes in event {tuple(event)}, never declared")
        elif number in self._agents:
            # It died in this very step: what it said last may have left it or not.
            self.books.hear(number, self._agents.pop(number).situation.own, world.now, sent=False)

    def _follow(self, world: World, events: list[PlantEvent]) -> None:
        flow = world.plant.flow()
        if self._flow is None:
            self._flow = flow
            self._flow_before = flow.load_a
            self._normal = self._loads(flow)
        for event in events:
            match event:
                case CommandReceived():
                    self._judge_order(world, event)
                case OperatedByHand():
                    self._take_order(event.switch, event.operation, _Order(world.now, by_hand=True))
                    self.disturbed = True
                case CommandNotObeyed():
                    self._take_back(event)
                case OpenedAboveCapability():
                    self._judge_breaking(world, event)
                case FaultAppeared():
                    self._appearances += 1
                    self._faults[event.section] = self._appearances
                    self._ever_faulted.add(event.section)
                    self.disturbed = True
                case FaultCleared():
                    self._note_fed(world, self._flow.fault)
                    self._faults.pop(event.section, None)
                    self._exposed.discard(event.section)
                case SourceLost():
                    self.disturbed = True
                    self._upset_until = world.now
        conducting = world.plant.conducting()
        if conducting is not self._conducting:
            self._judge_closed(world, conducting, flow)
        if flow is not self._flow:
            self._note_faults(world, flow)
        self._conducting, self._flow = conducting, flow

    def _break(self, world: World, invariant: str, what: str) -> None:
        self.violations.append(Violation(invariant, world.now, what))

    # -- orders ---------------------------------------------------------------------------------------------------

    def _take_order(self, switch: int, operation: str, order: _Order) -> None:
        orders = self._closing if operation == "close" else self._opening
        self._replaced = orders.get(switch)
        orders[switch] = order

    def _take_back(self, event: CommandNotObeyed) -> None:
        """The order that came just before this event comes to nothing; one that was under way goes on."""
        orders = self._closing if event.operation == "close" else self._opening
        if event.reason == "not broken" or self._replaced is None:
            orders.pop(event.switch, None)
        else:
            orders[event.switch] = self._replaced

    def _judge_order(self, world: World, event: CommandReceived) -> None:
        decided = world.now - PROCESS_DELAY_S
        if not self.disturbed:
            self._break(world, "I5", f"switch {event.switch} is ordered to {event.operation} while all is quiet")
        if self.books.out_of_service(event.switch, decided - _SAME_INSTANT_S):
            self._break(world, "I5", f"the agent of switch {event.switch}, not in service, orders {event.operation}")
        if event.operation == "close":
            self._take_order(event.switch, "close", self._judge_close(world, event.switch, decided))
            return
        self._take_order(event.switch, "open", _Order(decided, by_hand=False))
        self._tripped_for[event.switch] = self._fed_through(world, event.switch)

    def _judge_close(self, world: World, switch: int, decided: float) -> _Order:
        against = self.books.objections(switch, decided)
        if self._tagged.get(switch, _NEVER) <= decided:
            against.append("tagged")
        if self._local.get(switch, _NEVER) <= decided:
            against.append("in local control")
        permission = self.books.permission(switch)
        claim = NO_CLAIM if permission is None else permission.claim.id
        if self.books.held_against(switch, claim):
            against.append("held open for a higher claim")
        for what in against:
            self._break(world, "I3", f"switch {switch} is ordered to close while {what}")
        shot_for: frozenset[int] = frozenset()
        unheard: set[int] = set()
        if permission is None:
            shot_for = self._judge_shot(world, switch)
            # Nobody promises anything for a shot: silence that is too short to be noticed cannot forbid it.
            unheard = self._unheard(switch, self.truth.sides, world.now)
        else:
            for what in self.books.attempt(switch, permission, self._conducting, world.now):
                self._break(world, "P", what)
        self._settle_exposure(world, world.now)
        return _Order(
            decided,
            by_hand=False,
            permission=permission,
            shot_for=shot_for,
            held=self.books.held_sections(decided, unheard),
            exposed=frozenset(self._exposed),
        )

    def _judge_shot(self, world: World, switch: int) -> frozenset[int]:
        """A close without a claim must be a reclosing shot: the faults that it may energise once more."""
        tripped_for = self._tripped_for.get(switch, frozenset())
        allowed = len(self._switches[switch].shots)
        used = max((self._shots[switch, fault] for fault in tripped_for), default=0)
        if allowed and tripped_for and used < allowed:
            self._shots.update((switch, fault) for fault in tripped_for)
            return tripped_for
        why = "it tripped for no fault" if allowed and not tripped_for else f"{used} of {allowed} shots are spent"
        self._break(world, "P", f"switch {switch} is ordered to close without a grant; {why}")
        return frozenset()

    def _judge_breaking(self, world: World, event: OpenedAboveCapability) -> None:
        """Charged unless a person opens, or fault current came up too late to be known when it was decided."""
        order = self._opening.get(event.switch)
        if order is None or order.by_hand:
            return
        began, _ = self._fault_current.get(event.switch, (_NEVER, _NEVER))
        known_after = began + world.plant_settings.pickup_spread_s + PROCESS_DELAY_S
        load = abs(self._flow.load_a.get(event.switch, 0.0)) if self._flow is not None else 0.0
        if load > event.breaking_a or known_after <= order.at:
            self._break(world, "I4'", f"switch {event.switch} opens on {event.current_a:.0f} A")

    # -- what a close did -----------------------------------------------------------------------------------------

    def _judge_closed(self, world: World, conducting: frozenset[int], flow: PlantFlow) -> None:
        assert self._flow is not None
        before = self._flow
        live = flow.source.keys() | flow.island.keys()
        newly = {section for section in live if not before.under_voltage(section)}
        by_agents = {}
        for switch in sorted(conducting - self._conducting):
            order = self._closing.pop(switch, None)
            if order is not None and not order.by_hand:
                by_agents[switch] = order
            elif order is not None:
                self._upset_until = world.now + RETRIED_S  # by then everybody has heard of it
        for switch in self._conducting - conducting:
            if switch in self._carried:
                # What people do while the fault current flows, they do to what a shot gives back.
                self._carried[switch] = Counter(self._carried[switch]) | Counter(self._loads(before))
            if self._opening.pop(switch, None) is not None:
                # Fault current may have come while it was opening.
                self._tripped_for[switch] = self._tripped_for.get(switch, frozenset()) | self._fed_through(
                    world, switch
                )
            self._restoring.pop(switch, None)
        for switch, order in by_agents.items():
            self._note_restoring(switch, order, world.now)
            self._judge_energised(world, switch, order, newly & self.truth.reach(self.truth.sides[switch], conducting))
            self._judge_both_live(world, switch, order, flow)
            # What has shown itself must show itself anew: it may be gone, and nothing was declared before a shot.
            self._exposed -= {section for section, fault in self._faults.items() if fault in order.shot_for}
        # What comes to hang on a switch while it closes, because of a lost source or a person, is nobody's decision.
        if any(order.at >= self._upset_until for order in by_agents.values()):
            self._judge_loads(world, flow, [switch for switch, order in by_agents.items() if order.shot_for])
        for section in newly:
            if by_agents:
                self._live_otherwise.pop(section, None)
            else:
                self._live_otherwise[section] = world.now

    def _note_restoring(self, switch: int, order: _Order, now: float) -> None:
        if order.permission is None or order.permission.claim.kind not in (ClaimKind.RESTORE, ClaimKind.TRANSFER):
            return
        assert self._flow is not None
        claim, side = order.permission
        self._restoring[switch] = Restoring(
            self.truth.sides[switch][side],
            self.books.claimed_at[claim.id],
            self.books.granted_at[claim.id],
            now,
            dict(self._flow.load_a),
        )

    def _judge_energised(self, world: World, switch: int, order: _Order, newly: set[int]) -> None:
        """I1."""
        for section in sorted(newly & order.exposed & self._faults.keys()):
            if self._faults[section] not in order.shot_for:
                self._break(world, "I1", f"switch {switch} energises faulted section {section}")
        for section in sorted(newly & order.held & self.books.held_sections(order.at)):
            self._break(world, "I1", f"switch {switch} energises section {section}, which agents hold")

    def _judge_both_live(self, world: World, switch: int, order: _Order, flow: PlantFlow) -> None:
        """I2."""
        assert self._flow is not None
        both = all(self._flow.under_voltage(section) for section in self.truth.sides[switch])
        if not both and not flow.paralleled - self._flow.paralleled:
            return
        returning = order.permission is not None and order.permission.claim.kind is ClaimKind.RETURN
        if returning and self._switches[switch].paralleling:
            return
        if any(self._live_otherwise.get(section, order.at) > order.at for section in self.truth.sides[switch]):
            return
        fed = [flow.source.get(section, flow.island.get(section)) for section in self.truth.sides[switch]]
        self._break(world, "I2", f"switch {switch} connects what was live on both sides; sections {fed} feed them")

    def _loads(self, flow: PlantFlow) -> dict[str, float]:
        """Magnitude of what every element carries, A."""
        loads = {f"switch {number}": abs(a) for number, a in flow.load_a.items()}
        for element in self._shared:
            out = 0.0
            for head in element.heads:
                a, _ = self.truth.sides[head]
                flow_a = flow.load_a.get(head, 0.0)
                out += flow_a if a in self.truth.sources else -flow_a
            loads[element.name] = abs(out)
        return loads

    def _judge_loads(self, world: World, flow: PlantFlow, shots: Iterable[int]) -> None:
        """I4: charged is what is above its rating, and was neither before this close nor in normal operation.

        A reclosing shot gives back what its trip took: nor before that.
        """
        assert self._flow is not None
        before = Counter(self._loads(self._flow))
        for switch in shots:
            before |= Counter(self._carried.get(switch, {}))
        ratings = {f"switch {number}": switch.rating_a for number, switch in self._switches.items()}
        ratings |= {element.name: element.rating_a for element in self._shared}
        held = {f"switch {n}" for n, s in self._switches.items() if not flow.island.keys().isdisjoint(s.sides)}
        for name, load in self._loads(flow).items():
            if name in held:
                continue  # generation that holds an island gives what it can, and trips
            known = max(before.get(name, 0.0), self._normal.get(name, 0.0))
            if load > max(ratings[name], known) + TOLERANCE_A:
                self._break(world, "I4", f"{name} carries {load:.1f} A, rating {ratings[name]:.1f} A")

    # -- faults ---------------------------------------------------------------------------------------------------

    def _note_faults(self, world: World, flow: PlantFlow) -> None:
        """Follow which switches carry fault current, and which faults show themselves."""
        assert self._flow is not None
        now = world.now
        for switch in flow.fault.keys() - self._flow.fault.keys():
            self._fault_current[switch] = (now, _NEVER)
            if switch in self._conducting:  # not by a shot, which finds less
                self._carried[switch] = self._loads(self._flow)
        ended = self._flow.fault.keys() - flow.fault.keys()
        for switch in ended:
            began, _ = self._fault_current[switch]
            self._fault_current[switch] = (began, now)
        self._note_fed(world, ended)
        self._settle_exposure(world, now)
        showing = self._show(world, flow) if flow.fault else ()
        self._showing = {section: self._showing.get(section, now) for section in showing}

    def _note_fed(self, world: World, switches: Iterable[int]) -> None:
        """Remember which faults switches feed whose current ends now; a repair may have taken one away before."""
        for switch in switches:
            fed = self._fed_through(world, switch)
            if fed:
                self._just_fed[switch] = (world.now, fed)

    def _show(self, world: World, flow: PlantFlow) -> set[int]:
        """Faulted sections that fault current enters through a switch whose agent runs, and leaves through none."""
        entered: set[int] = set()
        left: set[int] = set()
        for switch, direction in flow.fault.items():
            a, b = self.truth.sides[switch]
            alive = world.hosts[switch].station is not None
            if direction is not Direction.BACKWARD:
                entered.update({b} if alive else ())
                left.add(a)
            if direction is not Direction.FORWARD:
                entered.update({a} if alive else ())
                left.add(b)
        return (entered - left) & self._faults.keys() - self.truth.sources

    def _settle_exposure(self, world: World, now: float) -> None:
        """A fault has shown itself when it could be seen, and told, for as long as the agents need for that."""
        needed_s = SAME_FAULT * self._detection_s + world.plant_settings.pickup_spread_s
        disturbance = world.network.disturbance
        retried_s = RETRIED_S if disturbance.loss or disturbance.burst_share else 0.0
        for section, since in self._showing.items():
            # Those who must answer each other, and whoever could close onto the section, are those around it.
            around = [number for number, _, _ in self.truth.at[section]]
            cut = any(self._unheard(number, around, now) for number in around)
            if section in self._faults and now >= since + needed_s + (REPEATED_S if cut else retried_s):
                self._exposed.add(section)

    def _unheard(self, switch: int, others: Iterable[int], now: float) -> set[int]:
        """Of the others those whom a switch does not hear, or may not have heard again yet."""
        if not self._deaf and not self._deaf_at:
            return set()
        pairs = ((switch, other) for other in others)
        return {p[1] for p in pairs if p in self._deaf or now < self._deaf_at.get(p, -_NEVER) + REPEATED_S}

    def _fed_through(self, world: World, switch: int) -> frozenset[int]:
        """Appearances of faults whose current flows, or has just flowed, through a switch."""
        assert self._flow is not None
        direction = self._flow.fault.get(switch)
        if direction is None:
            ended, fed = self._just_fed.get(switch, (_NEVER, frozenset[int]()))
            return fed if ended <= world.now <= ended + JUST_S else frozenset()
        a, b = self.truth.sides[switch]
        into = {b} if direction is Direction.FORWARD else {a} if direction is Direction.BACKWARD else {a, b}
        beyond = self.truth.reach(into, self._conducting - {switch})
        return frozenset(appearance for section, appearance in self._faults.items() if section in beyond)

    # -- in the end -----------------------------------------------------------------------------------------------

    def finish(self, world: World, *, benign: bool) -> Service:
        """Judge what has been served in the end.

        Args:
            world: where.
            benign: communication, agents and apparatus were alive, so that I7 must hold; else nothing is judged.
        """
        if not benign:
            return Service()
        service = judge_service(self._system, self.truth, self._standing(world))
        for missed in service.missed:
            self._break(world, "I7", str(missed))
        return service

    def _standing(self, world: World) -> Standing:
        flow = world.plant.flow()
        out = set(self._faults)
        for section in self.truth.load_a:
            flags = self.books.flagged(section)
            # Held for faulted without ever having been so: it should have been served.
            if flags - {SectionState.FAULTED} or (flags and section in self._ever_faulted):
                out.add(section)
        down = {number for number, host in world.hosts.items() if host.station is None}
        held = {number for number in self.truth.sides if self.books.held_open(number)} - self._conducting
        split = {n for n in held & self._closed_before if self.truth.sources.isdisjoint(self.truth.sides[n])}
        return Standing(
            conducting=self._conducting,
            live_sources=frozenset(s for s in self.truth.sources if flow.source.get(s) == s),
            generation_a=flow.generation_a,
            closed_before=self._closed_before,
            flow_before_a=self._flow_before,
            restoring=self._restoring,
            split=frozenset(split),
            locked=frozenset(n for n in self.truth.sides if self.books.locked_for(n, LockState.DURABLE)),
            not_closable=frozenset(
                number
                for number in self.truth.sides
                if number in down | self._tagged.keys() | self._local.keys() | (held - split)
                or self.books.out_of_service(number, world.now)
                or not out.isdisjoint(self.books.locked_for(number, LockState.VOLATILE))
            ),
            out=frozenset(out),
        )
