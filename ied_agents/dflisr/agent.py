"""One switch's agent: what it hears goes in, what it publishes, orders, stores and notes comes out. Sans-IO.

Longer than most files: it is one turn, told in the order in which it is decided; whatever can be decided apart stands
in the modules it calls.

The driver feeds everything that has arrived and then calls :meth:`Agent.evaluate` once; one turn decides everything
from the present situation, in the order observe, locate, isolate, restore, so that a decision and the frame, the
command and the record that belong to it leave together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from ied_agents.control.decision import (
    HOT_LINE_TAG,
    WORK_TAG,
    Behaviour,
    Reason,
    SwitchCondition,
    refuse_close,
)
from ied_agents.dflisr.capacity import FLOW_DEADBAND_A, HIGHEST_CURRENT_A, Ledger, spare_a
from ied_agents.dflisr.isolate import SideDuty, carries_fault, clear_request_for_me, infeed_side, side_duties
from ied_agents.dflisr.locate import Locator
from ied_agents.dflisr.orders import Orders
from ied_agents.dflisr.picture import FREEZE_AGE_S, Picture
from ied_agents.dflisr.records import (
    IDLE,
    NO_CLAIM,
    NO_EVENT,
    NO_OUTCOME,
    AgentState,
    EventId,
    LoadState,
    LockState,
    Outcome,
    Progress,
    SectionState,
    SideState,
    Stage,
)
from ied_agents.dflisr.restore import Restorer
from ied_agents.dflisr.stored import CLEARED_KEPT, EVENT_BLOCK, Record, StoredSide
from ied_agents.dflisr.views import AgentConfig, Situation, locked
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Direction, SwitchCommand, SwitchInputs, Voltage
from scl.agent_model import CLEARED

NEVER: Final = float("inf")
INVALID_QUALITY: Final = 0b01_0000_0000000
"""Validity invalid; the first quality bit is the most significant of 13."""


@dataclass(frozen=True, slots=True)
class Note:
    """One journal entry: what was seen, decided and why."""

    kind: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Turn:
    """What one turn decided.

    Attributes:
        fast, slow: data sets to publish; the publisher finds out what changed.
        commands: orders to the own switch.
        record: version to make durable, with its number; None if nothing changed.
        notes: journal entries.
    """

    fast: AgentState
    slow: LoadState
    commands: list[SwitchCommand] = field(default_factory=list)
    record: tuple[int, Record] | None = None
    notes: list[Note] = field(default_factory=list)


class Agent:
    """The agent of one switch.

    Args:
        config: itself and its surroundings.
        record: its durable state, already that of the new process (:meth:`Record.started`).
        unclean: the last process did not stop in order: locks are unproven until peers confirm.
        now: s.

    Attributes:
        situation: what it knows.
    """

    def __init__(self, config: AgentConfig, record: Record, *, unclean: bool, now: float) -> None:
        self.situation = Situation(config, record.incarnation)
        self.situation.cleared = record.cleared
        self._record = record
        self._handed = self._stored = record
        self._version = self._stored_version = 0
        self._locator = Locator(self.situation)
        self._restorer = Restorer(self.situation, record)
        self._ledger = Ledger(self.situation, record.reservations)
        self._unproven = unclean
        self._orders = Orders(self.situation.me, now)
        self._declared: tuple[EventId, int, int] | None = None
        """Own declaration: event, pickup id, side."""
        self._event_counter = record.events_reserved - EVENT_BLOCK
        self._picture = Picture(self.situation)
        self._outcome = NO_OUTCOME
        self._progress = IDLE
        self._published_flow = 0.0
        self._deadline = now
        self._stop_requested = False
        self._notes: list[Note] = []
        self._turn = Turn(self.situation.own, LoadState(record.incarnation))

    # -- what comes in --------------------------------------------------------------------------------------------

    @property
    def next_deadline(self) -> float:
        """When :meth:`evaluate` must be called even if nothing arrives, s; infinity if never."""
        return self._deadline

    def alert(self, now: float) -> bool:
        """Whether there was a sign of a fault in the last two seconds, or a restoration is under way."""
        return self._picture.alert(now) or self._progress.stage in (Stage.ISOLATING, Stage.RESTORING)

    def receive_inputs(self, inputs: SwitchInputs, now: float) -> None:
        """The process's latest snapshot."""
        last = self.situation.inputs
        if inputs.switch != self.situation.me.number:
            self._note_for_next_turn("inputs refused", {"why": f"they are those of switch {inputs.switch}"})
            return
        older = last is not None and inputs.sequence <= last.sequence and inputs.stamp_ns <= last.stamp_ns
        # Order counts only against what is still believed: one wild number must not deafen the agent for good.
        if older and self.situation.inputs_valid(now):
            return
        self.situation.inputs, self.situation.inputs_at = inputs, now
        self._picture.take(inputs, now)

    def receive_state(self, switch: int, state: AgentState) -> None:
        """A peer's fast data set, already put in order by its incarnation, stNum and sqNum."""
        view = self.situation.views[switch]
        view.state, view.alive = state, True

    def receive_load(self, switch: int, load: LoadState) -> None:
        """A peer's slow data set."""
        view = self.situation.views[switch]
        view.load, view.load_alive = load, True

    def peer_lost(self, switch: int, *, fast: bool) -> None:
        """A stream's time to live ran out: nothing of it is believed as a permission any more."""
        view = self.situation.views[switch]
        if fast:
            view.alive = False
        else:
            view.load_alive = False

    def peer_resumed(self, switch: int, *, fast: bool) -> None:
        """A lost stream repeats its last state again."""
        view = self.situation.views[switch]
        if fast:
            view.alive = view.state is not None
        else:
            view.load_alive = view.load is not None

    def stored(self, version: int, record: Record) -> None:
        """The writer has ``record`` on disk."""
        if version > self._stored_version:
            self._stored_version, self._stored = version, record

    # -- what an operator may ask ---------------------------------------------------------------------------------

    def confirm(self) -> None:
        """An operator vouches for the locks as they are: takes a new agent into service, or proves its locks."""
        self._unproven = False
        self._record = replace(self._record, held=False)
        self._note_for_next_turn("operator confirmed", {})

    def unlock(self, event: EventId) -> None:
        """An authorised unlock: the event is cleared everywhere, durably.

        Raises:
            ValueError: nobody holds anything for that event.
        """
        held = self.situation.active_events() | {side.event for side in self._record.sides if side.locked}
        if event not in held:
            raise ValueError(f"event {event.counter} of switch {event.switch} holds nothing; held: {sorted(held)}")
        self._clear(event)
        self._note_for_next_turn("unlocked", {"event": event})

    def tag(self, tags: int) -> None:
        """Set work and hot-line tags (bits of ``control.decision``).

        Raises:
            ValueError: another bit is set.
        """
        if tags not in range((WORK_TAG | HOT_LINE_TAG) + 1):
            raise ValueError(f"tags {tags}: expected 0, {WORK_TAG} (work), {HOT_LINE_TAG} (hot line) or their sum")
        self._record = replace(self._record, tags=tags)
        self._note_for_next_turn("tags set", {"tags": tags})

    def request_close(self, now: float) -> Reason:
        """An operator's close. This release energises only under a grant, so it is always refused, with the reason."""
        refusal = refuse_close(self._condition(now), Reason.BEYOND_RELEASE)
        self._note_for_next_turn("close refused", {"origin": "operator", "reason": refusal.name})
        return refusal

    def stop(self) -> None:
        """An orderly end: the next turn's record carries the mark of a clean stop."""
        self._stop_requested = True

    # -- one turn -------------------------------------------------------------------------------------------------

    def evaluate(self, now: float) -> Turn:
        """Decide everything anew."""
        self._deadline = NEVER
        self._turn = turn = Turn(self.situation.own, self._turn.slow, notes=self._notes)
        self._notes = []
        self._adopt_cleared()
        self._observe(now)
        self._wake(self._picture.follow(now))
        self._prove()
        self._locate(now)
        self._isolate(now)
        event = self._event()
        # What follows judges the own switch by the same type as the others: by what it is about to publish.
        self.situation.own = self._state(event, now)
        before = self._decided()
        self._restore(event, now)
        if self._stop_requested:
            self._record = replace(self._record, clean=not self._unproven)
        if self._record != self._handed:
            self._handed = self._record
            self._version += 1
            turn.record = (self._version, self._record)
        if self._decided() != before:
            self.situation.own = self._state(event, now)
        turn.fast = self.situation.own
        turn.slow = self._load(now)
        return turn

    def _decided(self) -> tuple[Any, ...]:
        """What restoring may change of what is published."""
        return self._record, self._restorer.claims(), self._orders.close_outstanding, self._outcome, self._progress

    def _wake(self, at: float) -> None:
        self._deadline = min(self._deadline, at)

    def _note(self, kind: str, detail: dict[str, Any]) -> None:
        self._turn.notes.append(Note(kind, detail))

    def _note_for_next_turn(self, kind: str, detail: dict[str, Any]) -> None:
        self._notes.append(Note(kind, detail))

    def _section(self, side: int) -> str:
        index = self.situation.me.sides[side]
        return next(s.name for s in self.situation.feeder.sections if s.index == index)

    # -- observe --------------------------------------------------------------------------------------------------

    def _position(self, now: float) -> tuple[Dbpos, int]:
        inputs = self.situation.inputs
        if inputs is None or not self.situation.inputs_valid(now) or not inputs.position_valid:
            return Dbpos.INTERMEDIATE if inputs is None else inputs.position, INVALID_QUALITY
        return inputs.position, 0

    def _observe(self, now: float) -> None:
        if self.situation.inputs_valid(now):
            self._wake(self.situation.inputs_at + 3.0 + 1e-3)
        new_pickup = self._locator.observe(now)
        if new_pickup is not None:
            self._orders.new_pickup()
            assert self.situation.inputs is not None
            self._note(
                "picked up",
                {
                    "pickup": new_pickup.id,
                    "direction": new_pickup.direction.name,
                    "stamp_ns": self.situation.inputs.stamp_ns,
                },
            )
        position, quality = self._position(now)
        last = self.situation.own.position
        if quality == 0 and position is not last:
            self._note("position", {"position": position.name})
        known = position if quality == 0 else Dbpos.INTERMEDIATE
        claim, reason = self._orders.closed(known, self.situation.inputs_at)
        if claim is not None and reason is not Reason.NONE:
            self._outcome = Outcome(claim, self.situation.me.number, reason)
            self._note("did not close", {"claim": claim})
        elif claim is not None:
            self._note("closed", {"claim": claim})
        if self._orders.open_overdue(known, now):
            self._note("did not open in time", {"position": position.name})
        self._wake(self._orders.deadline(now))

    def _adopt_cleared(self) -> None:
        for number in self.situation.views:
            state = self.situation.heard(number)
            for event in () if state is None else state.cleared:
                if event not in self._record.cleared:
                    self._clear(event)

    def _clear(self, event: EventId) -> None:
        cleared = (*(e for e in self._record.cleared if e != event), event)[-CLEARED_KEPT:]
        self._record = replace(self._record, cleared=cleared)
        self.situation.cleared = cleared

    def _prove(self) -> None:
        """Locks are proven when every peer of both sections has seen this start and its flags have been adopted."""
        if not self._unproven:
            return
        situation = self.situation
        me = situation.me.number
        for section in situation.me.sides:
            for bound in situation.feeder.peers(me, section):
                state = situation.heard(bound.switch)
                if (
                    state is None
                    or state.unproven
                    or not any(a[:2] == (me, situation.incarnation) for a in state.answers)
                ):
                    return
        self._unproven = False
        self._note("locks proven", {"by": "peers"})

    def _ready(self, now: float) -> bool:
        return self.situation.inputs_valid(now) and not self._unproven and not self._record.held

    def _condition(self, now: float) -> SwitchCondition:
        position, quality = self._position(now)
        return SwitchCondition(
            known_open=position is Dbpos.OFF and quality == 0,
            known_closed=position is Dbpos.ON and quality == 0,
            close_outstanding=self._orders.close_outstanding,
            locked=any(side.locked for side in self._record.sides),
            proven=not self._unproven and not self._record.held,
            behaviour=Behaviour.ON,
            tags=self._record.tags,
        )

    # -- locate ---------------------------------------------------------------------------------------------------

    def _locate(self, now: float) -> None:
        answers, wake = self._locator.answer(now)
        self._wake(wake)
        for answer in answers:
            if answer.pickup:
                self._note("answered", {"to": answer.switch, "pickup": answer.pickup, "answer": answer.kind.name})
        pickup = self._locator.pickup
        declared = self._declared
        standing = (
            declared[2]
            if declared is not None
            and pickup is not None
            and declared[1] == pickup.id
            and declared[0] not in self.situation.cleared
            else None
        )
        verdict, wake = self._locator.judge(now, standing)
        self._wake(wake)
        if verdict.withdraw and declared is not None:
            self._clear(declared[0])
            self._note("declaration withdrawn", {"event": declared[0], "why": "a peer passes the fault on"})
        if (verdict.declare or verdict.suspect) and pickup is not None:
            state = SectionState.FAULTED if verdict.declare else SectionState.SUSPECT
            held = self._record.sides[verdict.side].section
            # After a restart the fault may still stand; it needs no second name.
            if held is SectionState.NONE or (held is SectionState.SUSPECT and verdict.declare):
                self._declare(verdict.side, state, pickup.id)
            pickup.settled = True
        if verdict.trip and self._position(now) != (Dbpos.OFF, 0) and self._open(self._event(), now):
            self._note("own delay has run out", {"delay_s": self.situation.me.trip_delay_s})
            self._orders.tripped_by_delay = True

    def _declare(self, side: int, state: SectionState, pickup_id: int) -> None:
        if self._event_counter >= self._stored.events_reserved:
            # An id that the disk does not know could be used twice; the breaker's own delay still protects.
            self._note("cannot declare", {"why": "the disk has not taken the last event counters"})
            return
        self._event_counter += 1
        while EventId(self.situation.me.number, self._event_counter) in self._record.cleared:
            self._event_counter += 1
        if self._event_counter + EVENT_BLOCK // 2 > self._record.events_reserved:
            self._record = replace(self._record, events_reserved=self._event_counter + EVENT_BLOCK)
        event = EventId(self.situation.me.number, self._event_counter)
        self._declared = (event, pickup_id, side)
        silent = self._locator.peers_missing(self.situation.me.sides[side])
        self._set_side(side, replace(self._record.sides[side], section=state, event=event, locked=True))
        kind = "declared faulted" if state is SectionState.FAULTED else "held suspect"
        self._note(kind, {"section": self._section(side), "event": event, "no_clear_answer_from": silent})

    # -- isolate --------------------------------------------------------------------------------------------------

    def _set_side(self, side: int, value: StoredSide) -> None:
        sides = list(self._record.sides)
        sides[side] = value
        self._record = replace(self._record, sides=(sides[0], sides[1]))

    def _isolate(self, now: float) -> None:
        for side, duty in enumerate(side_duties(self.situation)):
            self._follow_duty(side, duty)
        self._doubt_both_sides()
        locked_sides = [side for side in (0, 1) if self._record.sides[side].locked]
        open_now = self._position(now) == (Dbpos.OFF, 0)
        pickup = self._locator.pickup
        if locked_sides and not open_now:
            side = locked_sides[0]
            event = self._record.sides[side].event
            if self.situation.me.breaker or (not carries_fault(pickup) and self.situation.inputs_valid(now)):
                self._open(event, now)
            else:
                # Under fault current, or under one that is not known.
                self._request_clear(1 - side if pickup is None else infeed_side(pickup, side), event)
        for side in (0, 1):
            asked = self._record.sides[side].clear_event
            if asked != NO_EVENT and (open_now or asked in self.situation.cleared):
                self._set_side(side, replace(self._record.sides[side], clear_event=NO_EVENT))
        event = self._event()
        if event != NO_EVENT and (self._orders.tripped_by_delay or self._orders.opened_for in self.situation.cleared):
            self._orders.rename(event)
        event = clear_request_for_me(self.situation)
        if event != NO_EVENT and not open_now and self._open(event, now):
            self._note("clears for a load-break switch", {"event": event})

    def _doubt_both_sides(self) -> None:
        """Fault current seen without a direction to rely on: if one side is suspect, the fault may be on either."""
        pickup = self._locator.pickup
        if pickup is None or pickup.entered is not None:
            return
        for side in (0, 1):
            one, other = self._record.sides[side], self._record.sides[1 - side]
            frozen = self.situation.frozen.get(one.event)
            if (
                one.section is SectionState.SUSPECT
                and other.section is SectionState.NONE
                and (frozen is None or pickup.since >= frozen.at - FREEZE_AGE_S)
                and not self.situation.feeder.is_source(self.situation.me.sides[1 - side])
            ):
                self._declare(1 - side, SectionState.SUSPECT, pickup.id)

    def _follow_duty(self, side: int, duty: SideDuty) -> None:
        known = self._record.sides[side]
        if known.section is not SectionState.NONE and known.event in self.situation.cleared:
            known = StoredSide(clear_event=known.clear_event)
            self._set_side(side, known)
            self._note("lock released", {"section": self._section(side)})
        heard_worse = duty.section is SectionState.FAULTED and known.section is SectionState.SUSPECT
        if duty.section is not SectionState.NONE and (known.section is SectionState.NONE or heard_worse):
            self._set_side(side, replace(known, section=duty.section, event=duty.event, locked=True))
            known = self._record.sides[side]
        stored = self._stored.sides[side]
        was = self.situation.own.sides[side].lock
        if known.locked and was is LockState.NONE:
            self._note("locked", {"section": self._section(side), "event": known.event})
        if known.locked and was is LockState.VOLATILE and stored.locked and stored.event == known.event:
            self._note("lock durable", {"section": self._section(side), "event": known.event})

    def _open(self, event: EventId, now: float) -> bool:
        """Order the switch open, unless an order is still on its way; True if it was ordered now."""
        inputs = self.situation.inputs
        # A current that is not known may be a fault current.
        current = inputs.current_a if inputs is not None and self.situation.inputs_valid(now) else NEVER
        command = self._orders.open(event, self._condition(now), current, now)
        if command is None:
            return False
        self._turn.commands.append(command)
        self._wake(self._orders.deadline(now))
        self._note("open ordered", {"event": event})
        return True

    def _request_clear(self, side: int, event: EventId) -> None:
        if self._record.sides[side].clear_event != event:
            self._set_side(side, replace(self._record.sides[side], clear_event=event))
            self._orders.opened_for = event
            self._note("clear requested", {"towards": self._section(side), "event": event})

    # -- restore --------------------------------------------------------------------------------------------------

    def _event(self) -> EventId:
        """The event that this agent is concerned with: the highest uncleared one of its area, else the last one."""
        situation = self.situation
        active = situation.active_events() | {
            side.event for side in self._record.sides if side.section is not SectionState.NONE
        }
        active -= set(situation.cleared)
        own = situation.own.last_event
        relevant = {event for event in active if event == own or self._concerns_me(event)}
        return max(relevant, default=own if own not in situation.cleared else NO_EVENT)

    def _concerns_me(self, event: EventId) -> bool:
        """Whether an event's section hung together with one of the own sections when the network was quiet."""
        situation = self.situation
        closed = self._picture.closed_before(event)
        flagged = {
            situation.feeder.by_number[number].sides[side]
            for number, state in situation.states()
            for side in (0, 1)
            if state.sides[side].section_event == event
        } | {situation.me.sides[side] for side in (0, 1) if self._record.sides[side].event == event}
        if closed is None:
            return True
        for section in situation.me.sides:
            area = situation.feeder.island(section, lambda n: n in closed)
            if flagged & area.sections:
                return True
        return False

    def _restore(self, event: EventId, now: float) -> None:
        restorer = self._restorer
        self._progress = self._isolation_progress(event, now)
        if event == NO_EVENT and not restorer.concerned():
            return
        condition, ready = self._condition(now), self._ready(now)
        if ready and condition.known_open and not condition.close_outstanding:
            due = restorer.promises_due(self._record.promises)
            for side in (0, 1):
                if due[side] != self._record.promises[side]:
                    self._note("promised", {"claim": due[side], "side": "AB"[side]})
            if due != self._record.promises:
                self._record = replace(self._record, promises=due)
        for side in (0, 1):
            self._claim(side, event, now, ready=ready)
        if ready:
            self._serve_requests()
        order, wake = restorer.close_order(self._record, self._stored, now)
        self._wake(wake)
        if order is None:
            return
        refusal = refuse_close(self._condition(now), order.refusal)
        restorer.spend(order)
        if refusal is not Reason.NONE:
            self._outcome = Outcome(order.claim, self.situation.me.number, refusal)
            self._note("close refused", {"claim": order.claim, "reason": refusal.name})
            return
        self._turn.commands.append(self._orders.close(order.claim, now))
        self._wake(self._orders.deadline(now))
        self._note("close ordered", {"claim": order.claim})

    def _claim(self, side: int, event: EventId, now: float, *, ready: bool) -> None:
        restorer = self._restorer
        before = restorer.claims()[side]
        new = restorer.claim(side, event, self._orders.opened_for, self._record, now) if ready else None
        if new is not None:
            claims, promises = list(self._record.claims), list(self._record.promises)
            claims[side] = new
            claim = restorer.claims()[side]
            if any(bound == (self.situation.me.number, side) for bound in claim.boundary):
                promises[side] = max(promises[side], new)
            self._record = replace(
                self._record,
                claims=(claims[0], claims[1]),
                promises=(promises[0], promises[1]),
                claim_number=new.number,
            )
            self._note("claimed", {"claim": new, "asked": [b.switch for b in claim.boundary]})
            before = claim
        progress = restorer.pursue(side, event, self._stored, now)
        after = restorer.claims()[side]
        if after.request != before.request:
            self._note("capacity requested", {"claim": after.id, **after.request._asdict()})
        if after.grants != before.grants:
            self._note("granted", {"claim": after.id, "to": [b.switch for b in after.grants]})
        if progress.stage is Stage.RESTORING:
            self._wake(now + 0.25)
        if progress.stage > self._progress.stage:
            self._progress = progress

    def _isolation_progress(self, event: EventId, now: float) -> Progress:
        if event == NO_EVENT or event in self.situation.cleared:
            pickup = self._locator.pickup
            return Progress(Stage.LOCATING, Reason.NONE, NO_EVENT) if carries_fault(pickup) else IDLE
        concerned = any(side.locked for side in self._record.sides) or self._orders.opened_for == event
        if not concerned:
            return IDLE
        if self._position(now) == (Dbpos.OFF, 0):
            return Progress(Stage.FINISHED, Reason.NONE, event)
        if self._orders.open_failed:
            return Progress(Stage.STOPPED, Reason.DID_NOT_OPEN, event)
        return Progress(Stage.ISOLATING, Reason.NONE, event)

    def _serve_requests(self) -> None:
        """As owner of capacity: judge what is asked, drop what has ended."""
        ledger, me = self._ledger, self.situation.me.number
        ledger.drop_ended()
        for claimant, claim in [*self.situation.claims(), *((me, c) for c in self._restorer.claims())]:
            request = claim.request
            if claim.id == NO_CLAIM or request.owner != me or claim.grants:
                continue
            if ledger.find(claim.id, request.tie, request.deciamperes) is not None:
                continue
            refused = ledger.judge(claim)
            detail = {"claim": claim.id, "tie": request.tie, "amperes": request.deciamperes / 10}
            if refused is Reason.NONE:
                self._note("reserved", {**detail, "for": claimant})
            elif refused is not Reason.PEER_SILENT and self._outcome[:2] != (claim.id, request.tie):
                self._outcome = Outcome(claim.id, request.tie, refused)
                self._note("capacity refused", {**detail, "reason": refused.name})
        if ledger.entries != self._record.reservations:
            self._record = replace(self._record, reservations=ledger.entries)

    # -- what is published ----------------------------------------------------------------------------------------

    def _state(self, event: EventId, now: float) -> AgentState:
        situation, record, stored = self.situation, self._record, self._stored
        position, quality = self._position(now)
        pickup = self._locator.pickup
        inputs = situation.inputs
        valid = situation.inputs_valid(now) and inputs is not None
        claims = self._restorer.claims()
        return AgentState(
            incarnation=situation.incarnation,
            position=position,
            position_quality=quality,
            close_outstanding=self._orders.close_outstanding,
            pickup=carries_fault(pickup),
            direction=Direction.UNKNOWN if pickup is None else pickup.direction,
            pickup_quality=0 if valid else INVALID_QUALITY,
            pickup_id=0 if pickup is None else pickup.id,
            direction_trusted=pickup is not None and pickup.trusted,
            answers=self._locator.answers,
            last_event=event,
            trip=self._orders.tripped_by_delay or (event != NO_EVENT and self._orders.tripped_for == event),
            voltage=inputs.voltage if valid and inputs is not None else (Voltage.UNKNOWN, Voltage.UNKNOWN),
            sides=(
                _published_side(record.sides[0], stored.sides[0]),
                _published_side(record.sides[1], stored.sides[1]),
            ),
            cleared=stored.cleared[-CLEARED:],
            held=record.held,
            ready=self._ready(now),
            behaviour=Behaviour.ON,
            tags=record.tags,
            unproven=self._unproven,
            claims=(
                claims[0] if claims[0].id in (NO_CLAIM, stored.claims[0]) else situation.own.claims[0],
                claims[1] if claims[1].id in (NO_CLAIM, stored.claims[1]) else situation.own.claims[1],
            ),
            promises=stored.promises,
            reservations=tuple(entry.reservation for entry in stored.reservations),
            outcome=self._outcome,
            progress=self._progress,
        )

    def _load(self, now: float) -> LoadState:
        situation, last = self.situation, self._turn.slow
        inputs = situation.inputs
        if inputs is None or not situation.inputs_valid(now):
            return replace(last, flow_quality=INVALID_QUALITY, spare_a=(0.0, 0.0))
        flow = min(max(inputs.flow_a, -HIGHEST_CURRENT_A), HIGHEST_CURRENT_A)
        generation = min(max(inputs.generation_a, -HIGHEST_CURRENT_A), HIGHEST_CURRENT_A)
        if abs(flow - self._published_flow) < FLOW_DEADBAND_A:
            flow = self._published_flow
        self._published_flow = flow
        idle = situation.known_open(situation.me.number) and not locked(situation.own)
        spare = (spare_a(situation, 0), spare_a(situation, 1)) if idle else (0.0, 0.0)
        steady = all(abs(new - old) < FLOW_DEADBAND_A for new, old in zip(spare, last.spare_a, strict=True))
        return LoadState(
            situation.incarnation,
            flow,
            0,
            generation,
            last.spare_a if steady else spare,
        )


def _published_side(side: StoredSide, stored: StoredSide) -> SideState:
    lock = LockState.NONE
    if side.locked:
        durable = stored.locked and stored.event == side.event
        lock = LockState.DURABLE if durable else LockState.VOLATILE
    return SideState(
        section=side.section,
        section_event=side.event,
        lock=lock,
        lock_event=side.event if side.locked else NO_EVENT,
        clear=side.clear_event != NO_EVENT,
        clear_event=side.clear_event,
    )
