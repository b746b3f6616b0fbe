"""One switch's agent: what it hears goes in, what it publishes, orders, stores and notes comes out. Sans-IO.

Longer than most files: it is one turn, told in the order in which it is decided; whatever can be decided apart stands
in the modules it calls.

The driver feeds everything that has arrived and then calls :meth:`Agent.evaluate` once; one turn decides everything
from the present situation, in the order observe, locate, isolate, restore, so that a decision and the frame, the
command and the record that belong to it leave together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import (
    HOT_LINE_TAG,
    WORK_TAG,
    Authority,
    Behaviour,
    Origin,
    Reason,
    SwitchCondition,
    refuse_close,
    refuse_origin,
)
from ied_agents.dflisr import publish
from ied_agents.dflisr.capacity import Ledger
from ied_agents.dflisr.claimant import AGENT_EPOCH, Claimant, Purpose
from ied_agents.dflisr.closer import Closer
from ied_agents.dflisr.isolate import (
    Widening,
    carries_fault,
    clear_request_for_me,
    infeed_side,
)
from ied_agents.dflisr.locate import ANSWER_PATIENCE_S, RESET_PATIENCE_S, Locator, forgotten
from ied_agents.dflisr.machines import ReclosingState
from ied_agents.dflisr.offers import relies_on_generation
from ied_agents.dflisr.orders import Orders
from ied_agents.dflisr.picture import Picture
from ied_agents.dflisr.reclose import SHOT_PATIENCE_S, Recloser, reclosing_is_safe, shots_before
from ied_agents.dflisr.records import (
    CLEAR_SIDE,
    IDLE,
    NO_CLAIM,
    NO_EVENT,
    NO_OUTCOME,
    AgentState,
    Bound,
    ClaimKind,
    EventId,
    LoadState,
    LockState,
    Outcome,
    Progress,
    SectionState,
    Stage,
)
from ied_agents.dflisr.reflex import Reflex
from ied_agents.dflisr.stored import CLEARED_KEPT, EVENT_BLOCK, TAG_OWNERS, Record, StoredSide
from ied_agents.dflisr.tasks import Tasks
from ied_agents.dflisr.undirected import doubtful_sides, supplied_by_all_accounts
from ied_agents.dflisr.views import SAID_IN_SHADOW, TESTING, AgentConfig, Situation, own_voltage
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.process.inputs import Voltage

if TYPE_CHECKING:
    from ied_agents.dflisr.views import Frozen
    from ied_agents.process.inputs import Operation, SwitchCommand, SwitchInputs

NEVER: Final = float("inf")
RELEASE_S: Final = 2.6
"""Longer than any peer believes the last state it has heard: the time to live of the fast stream is 2.5 s at most."""
_LEAST_S: Final = 1e-3
_URGENCY: Final = (Stage.IDLE, Stage.FINISHED, Stage.LOCATING, Stage.ISOLATING, Stage.RESTORING, Stage.STOPPED)
"""Of several things under way the last one here is published."""
ALL_TAGS: Final = WORK_TAG | HOT_LINE_TAG


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
        self._claimant = Claimant(self.situation, record.island_loads)
        self._closer = Closer(self.situation, record)
        self._widening = Widening(self.situation)
        self._reflex = Reflex(self.situation)
        self._recloser = Recloser(self.situation.me.shots, now)
        self._tasks = Tasks(self.situation)
        self._shot_side: int | None = None
        self._cleared_for = NO_EVENT
        """Event of the clear request that was served since the last turn."""
        self._breaker_failure = False
        self._free_from = now + RELEASE_S if record.cleared else -NEVER
        """Until then somebody may believe a lock that has been released, s."""
        self._released: deque[EventId] = deque(maxlen=8)
        self._returned: deque[EventId] = deque(maxlen=CLEARED_KEPT)
        """Orders to return that were adopted: each is carried out once."""
        self._ledger = Ledger(self.situation, record.reservations)
        self._unproven = unclean
        self._found: frozenset[EventId] = frozenset()
        """Events that this process found when it started: of the time before them it knows nothing."""
        self._orders = Orders(self.situation.me, now)
        self._event_counter = record.events_reserved - EVENT_BLOCK
        self._picture = Picture(self.situation)
        self._areas: dict[EventId, tuple[Frozen, frozenset[int]]] = {}
        """By event what hung together with the own sections before it, and the picture that says so."""
        self._outcome = NO_OUTCOME
        self._progress = IDLE
        self._deadline = self._evaluated_at = now
        self._stop_requested = False
        self._notes: list[Note] = []
        self._turn = Turn(self.situation.own, LoadState(record.incarnation))
        if record.simulation:
            self._record = replace(record, simulation=False)
            self._note_for_next_turn("simulation over", {"why": "the process before this one has ended"})

    # -- what comes in --------------------------------------------------------------------------------------------

    @property
    def next_deadline(self) -> float:
        """When :meth:`evaluate` must be called even if nothing arrives, s; infinity if never."""
        return self._deadline

    @property
    def record(self) -> Record:
        """Durable state as it was decided last, on disk or on its way there."""
        return self._record

    def succeed(self, other: Agent) -> None:
        """Take over from another agent of the same process: what its peers have said, and what it had to note.

        Its versions of the record count no more.
        """
        self.situation.views = other.situation.views
        self.situation.behaviour = other.situation.behaviour  # whether a test ends with this start
        self._picture.news.update(self.situation.views)
        self._version = self._stored_version = other.next_version()
        self._notes += other._notes

    def next_version(self) -> int:
        """A number for a record that is none of this agent's own."""
        self._version += 1
        return self._version

    def alert(self, now: float) -> bool:
        """Whether there was a sign of a fault in the last two seconds, or a restoration is under way."""
        return self._picture.alert(now) or self._progress.stage in (Stage.ISOLATING, Stage.RESTORING)

    def receive_inputs(self, inputs: SwitchInputs, now: float, heard_at: float | None = None) -> None:
        """The process's latest snapshot; with ``heard_at``, s, its word is of then."""
        last = self.situation.inputs
        if inputs.switch != self.situation.me.number:
            self._note_for_next_turn("inputs refused", {"why": f"they are those of switch {inputs.switch}"})
            return
        older = last is not None and inputs.sequence <= last.sequence and inputs.stamp_ns <= last.stamp_ns
        # Order counts only against what is still believed: one wild number must not deafen the agent for good.
        if older and self.situation.inputs_valid(now):
            return
        self.situation.inputs, self.situation.inputs_at = inputs, now if heard_at is None else heard_at
        for side, voltage in enumerate(inputs.voltage):
            since = self.situation.live_since[side]
            # Of what was before the first word nothing is known: a loss of supply counts if it was seen.
            began = now if last is not None else -NEVER
            self.situation.live_since[side] = min(since, began) if voltage is Voltage.PRESENT else NEVER
        self._picture.take(inputs)

    def process_lost(self) -> None:
        """The process is heard no more: nothing of it is believed until the next snapshot."""
        self.situation.inputs_at = -NEVER

    def receive_state(self, switch: int, state: AgentState) -> None:
        """A peer's fast data set, already put in order by its incarnation, stNum and sqNum."""
        view = self.situation.views[switch]
        before = view.state
        if before is None or (before.position is Dbpos.OFF) is not (state.position is Dbpos.OFF):
            self._reflex.moved()
        view.state, view.alive = state, True
        if self.situation.in_operation(state):
            view.sides = state.sides
        view.test_sides = state.sides
        self._picture.news.add(switch)

    def receive_load(self, switch: int, load: LoadState) -> None:
        """A peer's slow data set."""
        view = self.situation.views[switch]
        view.load, view.load_alive, view.load_at = load, True, self._evaluated_at
        self._picture.news.add(switch)

    def peer_lost(self, switch: int, *, fast: bool) -> None:
        """A stream's time to live ran out: nothing of it is believed as a permission any more."""
        view = self.situation.views[switch]
        self._picture.news.add(switch)
        if fast:
            view.alive = False
        else:
            view.load_alive = False

    def peer_resumed(self, switch: int, *, fast: bool) -> None:
        """A lost stream repeats its last state again."""
        view = self.situation.views[switch]
        self._picture.news.add(switch)
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
        """An operator vouches for the locks as they are: takes a new agent into service, or proves its locks.

        Of a fault current that has ended, and of which it is not known where it went, he says that it needs none.
        """
        self._unproven = False
        pickup = self._locator.pickup
        if pickup is not None and pickup.until is not None and pickup.entered is None:
            pickup.vouched = pickup.settled = True
        self._found = self.situation.active_events()
        self._record = replace(self._record, held=False)
        self._note_for_next_turn("operator confirmed", {})

    def unlock(self, event: EventId) -> None:
        """An authorised unlock: the event is cleared everywhere, durably.

        Raises:
            ValueError: nobody holds anything for that event.
        """
        held = self.held_events()
        if event not in held:
            raise ValueError(f"event {event.counter} of switch {event.switch} holds nothing; held: {sorted(held)}")
        self._clear(event)
        self._note_for_next_turn("unlocked", {"event": event})

    def held_events(self) -> frozenset[EventId]:
        """Events for which somebody flags something, or this switch is locked."""
        return self.situation.active_events() | {side.event for side in self._record.sides if side.locked}

    def tag(self, owner: str, tags: int) -> None:
        """Set one owner's work and hot-line tags (bits of ``control.decision``); 0 takes them off.

        Raises:
            ValueError: another bit is set, no owner is named, or too many have tags here.
        """
        if tags not in range(ALL_TAGS + 1):
            raise ValueError(f"tags {tags}: expected 0, {WORK_TAG} (work), {HOT_LINE_TAG} (hot line) or their sum")
        if not owner:
            raise ValueError("owner: a name expected")
        others = tuple(tag for tag in self._record.tags if tag[0] != owner)
        if tags and len(others) >= TAG_OWNERS:
            raise ValueError(f"{len(others)} owners have tags here, no more are possible")
        self._record = replace(self._record, tags=(*others, (owner, tags)) if tags else others)
        self._note_for_next_turn("tags set", {"owner": owner, "tags": tags})

    def set_mode(self, behaviour: Behaviour) -> None:
        """Set the mode of the agent (``Mod``, IEC 61850-7-4); only ``on`` operates the switch.

        Outside of test there is no simulation.
        """
        simulation = self._record.simulation and behaviour in TESTING
        self._record = replace(self._record, behaviour=behaviour, simulation=simulation)
        self._note_for_next_turn("mode set", {"mode": behaviour.name})

    def refuse_simulation(self, origin: Origin | None, *, on: bool) -> Reason:
        """Why simulation may not be set so now; NONE permits it. Nothing is done.

        The standard lets it be set at any time; here what is simulated must never meet what operates a switch.
        """
        refusal = Reason.NONE if origin is None else refuse_origin(self._record.authority, origin)
        if refusal is Reason.NONE and on and self._record.behaviour not in TESTING:
            return Reason.MODE
        return refusal

    def set_simulation(self, origin: Origin | None, *, on: bool) -> Reason:
        """Accept simulated frames in place of real ones (``LPHD.Sim``, IEC 61850-7-4), or no more.

        Returns:
            Why it is refused; NONE: it is so from now on.
        """
        refusal = self.refuse_simulation(origin, on=on)
        if refusal is Reason.NONE:
            self._record = replace(self._record, simulation=on)
        asked = {} if origin is None else {"origin": origin.name}
        self._note_for_next_turn("simulation asked", {"on": on, **asked, "answer": refusal.name})
        return refusal

    def set_authority(self, authority: Authority) -> None:
        """Set who may operate the switch; while it is local nothing closes it by itself."""
        self._record = replace(self._record, authority=authority)
        self._note_for_next_turn("authority set", {"authority": authority.name})

    def refuse_request(self, operation: Operation, origin: Origin, now: float) -> Reason:
        """Why an operator may not open or close the switch now; NONE permits it. Nothing is done."""
        refusal = refuse_origin(self._record.authority, origin)
        if refusal is not Reason.NONE:
            return refusal
        if self.situation.config.shadow:
            return Reason.MODE  # nobody is told yes to what will not be done
        if operation == "open":
            return Reason.NONE if self._record.behaviour is Behaviour.ON else Reason.MODE
        refusal = refuse_close(self._condition(now), Reason.NONE)
        return refusal if refusal is not Reason.NONE else self._tasks.refuse_close()

    def request_open(self, origin: Origin) -> Reason:
        """An operator's opening of the switch; what it feeds goes dark and stays so.

        Returns:
            Why it is refused; NONE: it is ordered with the next turn.
        """
        refusal = self.refuse_request("open", origin, self._evaluated_at)
        if refusal is Reason.NONE:
            for event in self._tasks.open(self._record.returning):
                self._clear(event)
        self._note_for_next_turn("open requested", {"origin": origin.name, "answer": refusal.name})
        return refusal

    def request_close(self, origin: Origin, now: float) -> Reason:
        """An operator's close. It needs what every close needs: it is claimed, promised, reserved and guarded.

        Returns:
            Why it is refused at once; NONE: it is under way, and what becomes of it is published.
        """
        refusal = self.refuse_request("close", origin, now)
        if refusal is Reason.NONE:
            self._tasks.close(self._picture.now(now))
        self._note_for_next_turn("close requested", {"origin": origin.name, "answer": refusal.name})
        return refusal

    def request_return(self, event: EventId, origin: Origin) -> Reason:
        """Return to normal after the repair of an event: unlock it, and have every switch it moved go back.

        Returns:
            Why it is refused; NONE: the order is published, and resumed after a restart.

        Raises:
            ValueError: nobody here holds, or has held, anything for that event.
        """
        known = {*self.held_events(), *self._record.cleared, self._record.hold_event} - {NO_EVENT}
        if event not in known:
            raise ValueError(
                f"event {event.counter} of switch {event.switch} is not known here; known: {sorted(known)}"
            )
        refusal = refuse_origin(self._record.authority, origin)
        if refusal is Reason.NONE:
            self._record = replace(self._record, returning=event)
            self._returned.append(event)
            self._clear(event)
        self._note_for_next_turn("return requested", {"event": event, "answer": refusal.name})
        return refusal

    def request_restore(self, side: int, epoch: int, now: float) -> Reason:
        """Claim the dark island at ``side`` with the authority of ``epoch``, higher than the agents' own.

        For the centralized fallback: the same claims, promises, reservations and locks hold.

        Raises:
            ValueError: that is no higher authority.
        """
        if not AGENT_EPOCH < epoch <= 0xFF:
            raise ValueError(f"epoch {epoch}: expected {AGENT_EPOCH + 1} to 255")
        self._tasks.restore(side, epoch, self._picture.now(now))
        self._note_for_next_turn("restore requested", {"side": "AB"[side], "epoch": epoch})
        return Reason.NONE

    def stop(self) -> None:
        """An orderly end: the next turn's record carries the mark of a clean stop."""
        self._stop_requested = True

    # -- one turn -------------------------------------------------------------------------------------------------

    def clear_request(self, switch: int, before: AgentState | None, now: float) -> EventId:
        """The event for which a clear request asks this breaker to trip, where the turn is sure to trip for it.

        To be called only when the last state of ``switch`` is all that has come in since the last turn, and before
        :attr:`next_deadline`. What :meth:`prepare` gave last may then be published at once; :meth:`trip` and
        :meth:`evaluate` must follow.

        Args:
            switch: whose state :meth:`receive_state` has just taken.
            before: its state until then; None if it had none.
            now: s.

        Returns:
            The event; NO_EVENT if the turn is to decide.
        """
        # With no order to open on its way or in vain, the last turn saw no reason of another kind.
        if self._orders.opening or self._record.behaviour is not Behaviour.ON:
            return NO_EVENT
        return self._reflex.request(switch, before, now)

    def trip(self, event: EventId, now: float) -> Turn:
        """Order the trip for what :meth:`clear_request` gave, and publish it."""
        inputs = self.situation.inputs
        self._recloser.follow(now, closed=True, pickup=inputs is not None and inputs.pickup)
        self._turn = turn = Turn(self._reflex.prepare(), self._turn.slow)
        if self._serve_clear(event, now):
            self.situation.own = turn.fast
        return turn

    def prepare(self) -> AgentState | None:
        """Get ready for :meth:`clear_request`; to be called when all that a turn decided has been sent.

        Returns:
            What a trip now would have it publish; None where there is nothing to trip.
        """
        own = self.situation.own
        ready = self.situation.me.breaker and own.position is Dbpos.ON and not own.trip
        return self._reflex.prepare() if ready else None

    def evaluate(self, now: float) -> Turn:
        """Decide everything anew."""
        self._deadline, self._evaluated_at = NEVER, now
        self._turn = turn = Turn(self.situation.own, self._turn.slow, notes=self._notes)
        self._notes = []
        before_turn = self.situation.own
        was_testing = self.situation.testing
        self.situation.behaviour = self._record.behaviour
        if was_testing and not self.situation.testing:
            self._forget_test()
        self.situation.begin_turn()
        self._closer.stored(self._stored.promises)
        self._adopt_cleared()
        self._observe(now)
        self._picture.follow(now)
        if self._record.behaviour is Behaviour.OFF:
            event = NO_EVENT
            self.situation.say(self._state(event, now))
        else:
            self._prove()
            self._locate(now)
            self._isolate(now)
            event = self._event()
            # What follows judges the own switch by the same type as the others: by what it is about to publish.
            self.situation.say(self._state(event, now))
            before = self._decided()
            self._reclose(now)
            self._restore(event, now)
            if self._decided() != before:
                self.situation.say(self._state(event, now))
        self.situation.end_turn()
        for side, (said, says) in enumerate(zip(before_turn.sides, self.situation.own.sides, strict=True)):
            if said.lock is not LockState.DURABLE and says.lock is LockState.DURABLE:
                self._note("lock durable", {"section": self._section(side), "event": says.lock_event})
        if self._stop_requested:
            self._record = replace(self._record, clean=not self._unproven and self._locator.resolved)
        if self._record != self._handed:
            self._handed = self._record
            self._version += 1
            turn.record = (self._version, self._record)
        turn.fast = self.situation.own
        turn.slow = publish.load_state(self.situation, self._turn.slow, now)
        if self._deadline <= now:
            self._deadline = now + _LEAST_S  # a process that turns for ever hears nobody
        return turn

    def _forget_test(self) -> None:
        """What was locked because of test data, or of currents that a tester injected, ends with the test.

        Whether a current that this switch saw was injected, or flowed into a fault, only a person knows: until an
        operator confirms, the agent brings nothing back and promises nothing.
        """
        # Whether it was ordered by somebody in test is not known any more.
        self._record = replace(self._record, returning=NO_EVENT)
        if not self._locator.forget():
            self._record = replace(self._record, held=True)
        said = list(self.situation.own.sides)
        for side in (0, 1):
            forgotten = self._record.sides[side]
            if forgotten.test:
                if forgotten.event.switch == self.situation.me.number:
                    self._record = replace(self._record, held=True)
                self._set_side(side, StoredSide())
                said[side] = CLEAR_SIDE  # nor does the own word of it count any more
                self._note("test over", {"section": self._section(side)})
        self.situation.own = self.situation.own._replace(sides=(said[0], said[1]))

    def _decided(self) -> tuple[Any, ...]:
        """What reclosing and restoring may change of what is published."""
        orders, recloser = self._orders, self._recloser
        return (
            self._record,
            self._claimant.claims(),
            self._outcome,
            self._progress,
            orders.close_outstanding,
            orders.tripped_at,
            recloser.state,
            recloser.armed,
        )

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
        return publish.position(self.situation, now)

    def _observe(self, now: float) -> None:
        if self.situation.inputs_valid(now):
            self._wake(self.situation.inputs_at + 3.0 + 1e-3)
        new_pickup = self._locator.observe(now)
        if new_pickup is not None:
            self._orders.new_pickup()
            self._remember_shot()  # what the shot has met is located anew
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
        closed_again = known is Dbpos.ON and self._orders.was_open
        claim, reason = self._orders.closed(known, self.situation.inputs_at)
        if claim is not None or not self._orders.close_outstanding:
            self._closer.ended()
        if closed_again:
            self._closer.closed_otherwise()
        if claim == NO_CLAIM:
            if reason is not Reason.NONE:
                self._give_up_shots(now)
            self._note("reclosed" if reason is Reason.NONE else "did not reclose", {})
        elif claim is not None and reason is not Reason.NONE:
            self._outcome = Outcome(claim, self.situation.me.number, reason)
            self._note("did not close", {"claim": claim})
        elif claim is not None:
            self._note("closed", {"claim": claim})
        if self._orders.open_overdue(known, now):
            self._note("did not open in time", {"position": position.name})
        self._wake(self._orders.deadline(now))
        inputs = self.situation.inputs
        pickup = inputs is not None and inputs.pickup
        # What has been ordered open is not quiet, although it is still closed.
        closed = known is Dbpos.ON and self._orders.tripped_at is None
        self._recloser.follow(now, closed=closed, pickup=pickup)
        if (
            known is Dbpos.OFF
            and not self._orders.close_outstanding
            and self._recloser.state is ReclosingState.RECLOSED
        ):
            self._give_up_shots(now)  # opened by somebody else within the reclaim time
        self._wake(self._recloser.deadline(now))
        if closed_again and (self._record.hold_claim, self._record.duties) != (NO_CLAIM, (NO_EVENT, NO_EVENT)):
            # What it was held open for, and whom it had to see served: closed, it has done with both.
            self._record = replace(self._record, hold_claim=NO_CLAIM, hold_event=NO_EVENT, duties=(NO_EVENT, NO_EVENT))

    def _adopt_cleared(self) -> None:
        for number, view in self.situation.views.items():
            state = view.state
            if state is None or not (state.cleared or state.returning.counter) or self.situation.heard(number) is None:
                continue
            ordered = state.returning
            known = (NO_EVENT, self._record.returning, *self._returned)
            if ordered not in known and self._moved_for(ordered):
                self._record = replace(self._record, returning=ordered)
                self._returned.append(ordered)
                self._note("return to normal", {"event": ordered})
            for event in state.cleared if self.situation.in_operation(state) else ():
                if event not in self._record.cleared:
                    self._clear(event)

    def _moved_for(self, event: EventId) -> bool:
        """Whether this switch holds something for an event, or has just released it."""
        if event in self._released:
            # That the event is cleared may be heard before the order to return.
            return True
        record = self._record
        return event in (record.hold_event, *record.duties) or any(side.event == event for side in record.sides)

    def _clear(self, event: EventId) -> None:
        cleared = (*(e for e in self._record.cleared if e != event), event)[-CLEARED_KEPT:]
        self._record = replace(self._record, cleared=cleared)
        self.situation.cleared = cleared
        self.situation.changed()
        pickup = self._locator.pickup
        if pickup is not None and pickup.until is None:
            # Fault current that still flows is no matter of what has been cleared.
            pickup.settled = False
        elif (
            pickup is not None
            and pickup.entered is None
            and self._locator.explains(event)
            and any(side.event == event for side in self._record.sides)
        ):
            # Else the other side would have this one held again.
            pickup.vouched = pickup.settled = True

    def _prove(self) -> None:
        """Locks are proven when every peer of both sections has seen this start and its flags have been adopted."""
        if not self._unproven or self.situation.inputs is None:
            return
        situation = self.situation
        me = situation.me
        for section in me.sides:
            for bound in situation.feeder.peers(me.number, section):
                state = situation.heard(bound.switch)
                if (
                    state is None
                    or state.unproven
                    or not any(a[:2] == (me.number, situation.incarnation) for a in state.answers)
                ):
                    return
        # A fault current that went on through this switch while it died may have been declared by it alone.
        carried = me.normally_closed or not situation.known_open(me.number)
        if carried and not all(self._doubt(1 - side) for side in (0, 1) if forgotten(situation, side)):
            return
        self._unproven = False
        self._found = situation.active_events()
        self._note("locks proven", {"by": "peers"})

    def _ready(self, now: float) -> bool:
        return self.situation.inputs_valid(now) and not self._unproven and not self._record.held

    def _condition(self, now: float) -> SwitchCondition:
        record = self._record
        position, quality = self._position(now)
        return SwitchCondition(
            known_open=position is Dbpos.OFF and quality == 0,
            known_closed=position is Dbpos.ON and quality == 0,
            close_outstanding=self._orders.close_outstanding,
            locked=record.locked,
            proven=not self._unproven and not record.held,
            behaviour=record.behaviour,
            tags=record.all_tags,
            local=record.authority is Authority.LOCAL,
        )

    # -- locate ---------------------------------------------------------------------------------------------------

    def _locate(self, now: float) -> None:
        answers, wake = self._locator.answer(now)
        self._wake(wake)
        for answer in answers:
            if answer.pickup:
                self._note("answered", {"to": answer.switch, "pickup": answer.pickup, "answer": answer.kind.name})
        pickup = self._locator.pickup
        verdict, wake = self._locator.judge(now)
        self._wake(wake)
        self._shot_side = None
        shot = self._shot_first(verdict.side, now) if verdict.declare or verdict.suspect else False
        if shot and pickup is not None:
            if self.situation.me.breaker and (verdict.declare or verdict.trip):
                if self._position(now) != (Dbpos.OFF, 0) and self._open(NO_EVENT, now):
                    self._recloser.tripped(now, final=False)
                    self._remember_shot(verdict.side)
                    self._note("trips for a shot", {"section": self._section(verdict.side)})
            elif verdict.declare and pickup.until is None:
                self._shot_side = infeed_side(pickup, verdict.side)
        elif (verdict.declare or verdict.suspect) and pickup is not None:
            state = SectionState.FAULTED if verdict.declare else SectionState.SUSPECT
            side = self._record.sides[verdict.side]
            held = SectionState.NONE if side.event in self.situation.cleared else side.section
            # After a restart the fault may still stand; it needs no second name.
            new = held is SectionState.NONE or (held is SectionState.SUSPECT and verdict.declare)
            pickup.settled = not new or self._declare(verdict.side, state)
        if verdict.trip and self._position(now) != (Dbpos.OFF, 0) and self._open(self._event(), now):
            self._note("own delay has run out", {"delay_s": self.situation.me.trip_delay_s})
            self._orders.tripped_by_delay = True
            self._recloser.tripped(now, final=self._record.locked)
            # Without a direction to rely on the fault may be on either side.
            sides = (0, 1) if pickup is None or pickup.entered is None else (pickup.entered,)
            if self._recloser.reclosing:
                self._remember_shot(*sides)
            elif len(sides) == 2:
                self._doubt(*sides)
        if not self._recloser.reclosing and any(self._record.shot_for):
            self._give_up_shot(now)

    def _doubt(self, *sides: int) -> bool:
        """Hold what lies at these sides for suspect, if nothing else; False while there is no id for it."""
        done = True
        for side in sides:
            source = self.situation.feeder.is_source(self.situation.me.sides[side])
            if not source and self._record.sides[side].section is SectionState.NONE:
                done = self._declare(side, SectionState.SUSPECT) and done
        return done

    def _remember_shot(self, *sides: int) -> None:
        """What it has opened for is not declared: it must outlast a restart in the dead time."""
        self._record = replace(self._record, shot_for=(0 in sides, 1 in sides))

    def _give_up_shot(self, now: float) -> None:
        """No shot will show whether the fault is still there, given up or forgotten by a restart as it was."""
        if not self.situation.inputs_valid(now):
            return
        doubtful = [side for side in (0, 1) if self._record.shot_for[side]]
        if self._position(now) == (Dbpos.ON, 0) or self._doubt(*doubtful):
            self._remember_shot()

    def _shot_first(self, side: int, now: float) -> bool:
        """Whether a fault is not declared yet, because the breaker that clears it recloses first."""
        pickup = self._locator.pickup
        if pickup is None or (self.situation.me.breaker and self._record.locked):
            return False  # a locked breaker recloses on nothing
        shots, reclosing = shots_before(self.situation, side, self._recloser)
        if pickup.until is not None and not shots and reclosing and pickup.awaits_shot:
            return True  # the last shot is on its way: what it meets is another pickup
        patient_until = (pickup.since if pickup.until is None else pickup.until) + SHOT_PATIENCE_S
        pickup.awaits_shot = shots and (now < patient_until or (reclosing and pickup.until is not None))
        if pickup.awaits_shot and now < patient_until:
            self._wake(patient_until)
        return pickup.awaits_shot

    def _new_event(self) -> EventId:
        """An event id that no one has ever seen; NO_EVENT while the disk has not taken the last counters."""
        if self._event_counter >= self._stored.events_reserved:
            # An id that the disk does not know could be used twice; the breaker's own delay still protects.
            self._note("no event id", {"why": "the disk has not taken the last event counters"})
            return NO_EVENT
        self._event_counter += 1
        while EventId(self.situation.me.number, self._event_counter) in self._record.cleared:
            self._event_counter += 1
        if self._event_counter + EVENT_BLOCK // 2 > self._record.events_reserved:
            self._record = replace(self._record, events_reserved=self._event_counter + EVENT_BLOCK)
        return EventId(self.situation.me.number, self._event_counter)

    def _declare(self, side: int, state: SectionState) -> bool:
        """Hold a section for faulted or suspect under a new event; False while there is no id for it."""
        event = self._new_event()
        if event == NO_EVENT:
            return False
        silent = self._locator.peers_missing(self.situation.me.sides[side])
        test = self.situation.testing
        self._set_side(side, replace(self._record.sides[side], section=state, event=event, locked=True, test=test))
        kind = "declared faulted" if state is SectionState.FAULTED else "held suspect"
        self._note(kind, {"section": self._section(side), "event": event, "no_clear_answer_from": silent})
        return True

    # -- isolate --------------------------------------------------------------------------------------------------

    def _set_side(self, side: int, value: StoredSide) -> None:
        sides = list(self._record.sides)
        sides[side] = value
        self._record = replace(self._record, sides=(sides[0], sides[1]))

    def _isolate(self, now: float) -> None:
        for side, section in enumerate(self.situation.me.sides):
            # A flagged section means: lock that side.
            self._follow_duty(side, *self.situation.flag(section, to_operate=True), now)
        self._explain_undirected(now)
        self._widen(now)
        locked_sides = [side for side in (0, 1) if self._record.sides[side].locked]
        open_now = self._position(now) == (Dbpos.OFF, 0)
        pickup = self._locator.pickup
        if locked_sides and not open_now:
            side = locked_sides[0]
            event = self._record.sides[side].event
            if self.situation.me.breaker or (not carries_fault(pickup) and self.situation.inputs_valid(now)):
                self._open(event, now)
            elif self.situation.inputs is not None:
                # Under fault current, or under one that is not known any more. Before the first word of its process
                # after a start nothing speaks for one.
                self._request_clear(1 - side if pickup is None else infeed_side(pickup, side), event)
        for side in (0, 1):
            asked = self._record.sides[side].clear_event
            if asked != NO_EVENT and (open_now or asked in self.situation.cleared):
                self._set_side(side, replace(self._record.sides[side], clear_event=NO_EVENT))
        if self._orders.tripped_by_delay or self._orders.opened_for in self.situation.cleared:
            event = self._event()
            if event != NO_EVENT:
                self._orders.rename(event)
        event = clear_request_for_me(self.situation)
        if event != NO_EVENT and not open_now:
            self._serve_clear(event, now)
        if self._cleared_for.counter and self._locator.unexplained:
            # It has tripped for another's fault, but its own current began before that one.
            self._doubt(0, 1)
        self._cleared_for = NO_EVENT

    def _serve_clear(self, event: EventId, now: float) -> bool:
        """Trip for a load-break switch under fault current, unless an order is on its way; True if it was ordered."""
        if not self._open(event, now):
            return False
        # Whoever has not carried the fault current himself does not try whether it is still there.
        self._recloser.tripped(now, final=event.counter != 0 or not carries_fault(self._locator.pickup))
        self._cleared_for = event
        self._note("clears for a load-break switch", {"event": event})
        return True

    def _explain_undirected(self, now: float) -> None:
        """Fault current seen without a direction to rely on: explained by what is flagged, harmless, or suspect."""
        pickup = self._locator.pickup
        if pickup is None or pickup.entered is not None or pickup.vouched:
            return
        flagged: dict[EventId, frozenset[int]] = {}
        if not pickup.settled:
            active = set(self.situation.active_events()) | {side.event for side in self._record.sides if side.section}
            explaining = (e for e in active if e in self.situation.frozen and self._locator.explains(e))
            flagged = {event: self._flagged(event) for event in explaining if self._concerns_me(event)}
        voltage = own_voltage(self.situation, now)
        ended_with_supply = pickup.until is not None and voltage is Voltage.ABSENT
        doubtful = doubtful_sides(
            self.situation, pickup, self._record.sides, flagged, ended_with_supply=ended_with_supply
        )
        if not self._doubt(*doubtful) or pickup.settled or pickup.until is None:
            return
        if voltage is Voltage.PRESENT:
            pickup.settled = now >= pickup.until + RESET_PATIENCE_S
            self._wake(pickup.until + RESET_PATIENCE_S if not pickup.settled else NEVER)
        elif voltage is Voltage.UNKNOWN:
            # Of a process that is silent, or contradicts itself, nothing can be concluded: others may know better.
            pickup.settled = self._position(now) == (Dbpos.ON, 0) and supplied_by_all_accounts(
                self.situation, pickup.until, now
            )
        elif flagged:
            pickup.settled = True
        elif now < pickup.until + ANSWER_PATIENCE_S:
            self._wake(pickup.until + ANSWER_PATIENCE_S)
        elif not self._recloser.reclosing and not any(
            state.reclosing for n in self.situation.views if (state := self.situation.heard(n)) is not None
        ):
            # It has ended with the supply, and nobody says where it went.
            pickup.settled = self._doubt(0, 1)

    def _widen(self, now: float) -> None:
        """Isolate one section more where a switch of a faulted one does not open; never a source section."""
        due, wake = self._widening.due(now)
        self._wake(wake)
        if self._orders.open_failed:
            # The own switch: what lies on its other side is the section beyond.
            due += [
                (1 - side, held.event)
                for side, held in enumerate(self._record.sides)
                if held.section in (SectionState.FAULTED, SectionState.SUSPECT)
            ]
        self._breaker_failure = False
        for side, event in due:
            if self.situation.feeder.is_source(self.situation.me.sides[side]):
                self._breaker_failure = True
            elif self._record.sides[side].section is SectionState.NONE:
                held = StoredSide(SectionState.WIDENED, event, locked=True, test=self.situation.testing)
                self._set_side(side, held)
                self._note("widened", {"section": self._section(side), "event": event})

    def _follow_duty(self, side: int, section: SectionState, event: EventId, now: float) -> None:
        known = self._record.sides[side]
        if known.section is not SectionState.NONE and known.event in self.situation.cleared:
            self._released.append(known.event)
            known = StoredSide(clear_event=known.clear_event)
            self._set_side(side, known)
            self._free_from = now + RELEASE_S
            self._note("lock released", {"section": self._section(side)})
        heard_worse = section is SectionState.FAULTED and known.section is not SectionState.FAULTED
        if section is not SectionState.NONE and (known.section is SectionState.NONE or heard_worse):
            test = self.situation.testing and not self.situation.really_flagged(self.situation.me.sides[side])
            self._set_side(side, replace(known, section=section, event=event, locked=True, test=test))
            known = self._record.sides[side]
        if known.locked and self.situation.own.sides[side].lock is LockState.NONE:
            self._note("locked", {"section": self._section(side), "event": known.event})

    def _open(self, event: EventId, now: float, *, protecting: bool = True) -> bool:
        """Order the switch open, unless an order is still on its way; True if it was ordered now."""
        inputs = self.situation.inputs
        # A current that is not known may be a fault current.
        current = inputs.current_a if inputs is not None and self.situation.inputs_valid(now) else None
        current = NEVER if current is None else current
        command = self._orders.open(event, self._condition(now), current, now, protecting=protecting)
        if command is None:
            mode = self._record.behaviour
            if mode is not Behaviour.ON and self._orders.withhold(event):
                self._note("would open", {"event": event, "mode": mode.name})
            return False
        pickup = self._locator.pickup
        if protecting:
            # An earlier pickup says nothing of this fault.
            self._orders.tripped_into = pickup.entered if pickup is not None and carries_fault(pickup) else None
        self._order("open", command, {"event": event}, now)
        return True

    def _order(self, what: str, command: SwitchCommand, detail: dict[str, Any], now: float) -> None:
        """Give an order to the switch; in shadow only note it: what becomes of it, the live system shows."""
        self._wake(self._orders.deadline(now))
        if self.situation.config.shadow:
            self._note(f"would {what}", {**detail, "mode": "SHADOW"})
            return
        self._turn.commands.append(command)
        self._note(f"{what} ordered", detail)

    def _request_clear(self, side: int, event: EventId) -> None:
        if self._record.sides[side].clear_event != event:
            self._set_side(side, replace(self._record.sides[side], clear_event=event))
            self._orders.opened_for = event
            self._note("clear requested", {"towards": self._section(side), "event": event})

    # -- restore --------------------------------------------------------------------------------------------------

    def _event(self) -> EventId:
        """The event that this agent is concerned with: the highest uncleared one of its area, else the last one."""
        situation = self.situation
        active = set(situation.active_events())
        active.update(side.event for side in self._record.sides if side.section is not SectionState.NONE)
        own = situation.own.last_event
        for event in sorted(active, reverse=True):
            if event not in situation.cleared and (event == own or self._concerns_me(event)):
                return event
        return own if own not in situation.cleared else NO_EVENT

    def _concerns_me(self, event: EventId) -> bool:
        """Whether an event's section hung together with one of the own sections when the network was quiet."""
        situation = self.situation
        frozen = self._picture.before(event)
        if frozen is None:
            return True
        flagged = self._flagged(event)
        known = self._areas.get(event)
        if known is None or known[0] is not frozen:
            ours = [situation.feeder.island(section, frozen.closed.__contains__) for section in situation.me.sides]
            # Of an event that is over nothing is asked any more.
            self._areas = {e: area for e, area in self._areas.items() if e in situation.frozen}
            self._areas[event] = known = frozen, ours[0].sections | ours[1].sections
        return bool(flagged & known[1])

    def _flagged(self, event: EventId) -> frozenset[int]:
        """Sections that anybody holds for an event."""
        situation = self.situation
        return frozenset(
            situation.feeder.by_number[number].sides[side]
            for number, state in situation.states()
            for side in (0, 1)
            if state.sides[side].section_event == event
        ) | {situation.me.sides[side] for side in (0, 1) if self._record.sides[side].event == event}

    def _reclose(self, now: float) -> None:
        """A shot, once the dead time is over and nothing speaks against it."""
        if self._record.locked and self._recloser.reclosing:
            self._give_up_shots(now)
        if not self._recloser.due(now):
            return
        condition, inputs = self._condition(now), self.situation.inputs
        claimed = any(claim.id != NO_CLAIM for claim in self._claimant.claims()) or bool(self._closer.asked())
        safe = reclosing_is_safe(self.situation) and not claimed
        refusal = refuse_close(condition, Reason.NONE if safe else Reason.ISLAND_NOT_DEAD)
        frozen = self._picture.before(NO_EVENT)
        if refusal is Reason.NONE and frozen is not None and inputs is not None:
            dark = inputs.voltage.index(Voltage.ABSENT)  # or it would not be safe
            if relies_on_generation(self.situation, dark, frozen):
                refusal = Reason.NO_CAPACITY
        if refusal is not Reason.NONE:
            self._give_up_shots(now)
            self._note("may not reclose", {"reason": refusal.name})
            return
        self._recloser.shoot()
        if self._locator.pickup is not None:
            self._locator.pickup.settled = True
        self._order("reclose", self._orders.close(NO_CLAIM, now), {}, now)

    def _give_up_shots(self, now: float) -> None:
        self._recloser.give_up()
        if any(self._record.shot_for):
            self._wake(now + 1e-3)  # to declare what it has tripped for

    def _restore(self, event: EventId, now: float) -> None:
        self._progress = self._isolation_progress(event, now)
        self._follow_tasks(now)
        claims = self._claimant.claims()
        idle = event == NO_EVENT and not self._tasks.any() and not any(claim.id.number for claim in claims)
        if idle and not self.situation.claims() and not self._ledger.concerned():
            return
        condition, ready = self._condition(now), self._ready(now)
        if ready:
            self._open_for_claim(condition, now)
        for side in (0, 1):
            self._claim(side, now, ready=ready)
        still = (condition.known_open or condition.known_closed) and not condition.close_outstanding
        # A promise says too that all the promising switch knows of a fault is in its flags.
        if now < self._free_from:
            self._wake(self._free_from)
        elif ready and still and self._locator.resolved:
            due = self._closer.promise(self._record.promises, self._claimant.claims())
            for side in (0, 1):
                if due[side] != self._record.promises[side]:
                    self._note("promised", {"claim": due[side], "side": "AB"[side]})
            if due != self._record.promises:
                # Whoever has promised closes under that claim or not at all.
                self._give_up_shots(now)
                self._record = replace(self._record, promises=due)
        if ready:
            self._serve_requests(now)
        if now < self._free_from:
            return
        order, wake = self._closer.close_order(self._claimant.claims(), now)
        self._wake(wake)
        if order is None:
            return
        refusal = refuse_close(self._condition(now), order.refusal)
        self._closer.spend(order, ordered=refusal is Reason.NONE)
        if refusal is not Reason.NONE:
            self._outcome = Outcome(order.claim, self.situation.me.number, refusal)
            self._note("close refused", {"claim": order.claim, "reason": refusal.name})
            return
        self._order("close", self._orders.close(order.claim, now), {"claim": order.claim}, now)

    def _before_a_shot(self) -> bool:
        """Whether fault current may be back while this switch, which cannot break it, moves: a breaker is reclosing."""
        inputs, views = self.situation.inputs, self.situation.views
        if self.situation.me.breaker or inputs is None or Voltage.PRESENT in inputs.voltage:
            return False
        return any(state.reclosing for n in views if (state := self.situation.heard(n)) is not None)

    def _follow_tasks(self, now: float) -> None:
        """What is to be done without a fault: an operator's orders, a return to normal, a loss of supply."""
        tasks, position = self._tasks, self._position(now)
        if tasks.open_wanted:
            self._give_up_shots(now)
            shot = self._before_a_shot()
            # A close that is under way cannot be taken back: its end is awaited.
            tasks.open_wanted = shot or self._orders.close_outstanding
            if not shot and position != (Dbpos.OFF, 0) and self._open(NO_EVENT, now, protecting=False):
                tasks.open_wanted = False
        closed = position == (Dbpos.ON, 0)
        if tasks.supply_lost(now, closed=closed) and self._open(NO_EVENT, now, protecting=False):
            self._note("supply lost", {"for_s": self.situation.me.transfer_after_s})
            tasks.transfer(self._picture.now(now))
        if tasks.follow_return(
            self._record.returning,
            now,
            is_open=position == (Dbpos.OFF, 0),
            may_close=lambda: refuse_close(self._condition(now), Reason.NONE) is Reason.NONE,
            is_locked=self._record.locked,
            frozen=lambda: self._picture.now(now),
        ):
            self._record = replace(self._record, returning=NO_EVENT)
        self._wake(tasks.deadline)
        for side in (0, 1):
            if tasks.nameless(side):
                tasks.name(side, self._new_event())
            event = self._claimant.claims()[side].event
            kind = tasks.finished(side, self._claimant.progress[side])
            if kind is not None:
                self._clear(event)
                self._note("task finished", {"task": kind.name, "how": self._claimant.progress[side].reason.name})
            if kind is ClaimKind.RETURN:
                self._record = replace(self._record, returning=self._record.returning if closed else NO_EVENT)

    def _open_for_claim(self, condition: SwitchCondition, now: float) -> None:
        """Open to split an island, or to give back what a return to normal takes over."""
        claim = self._closer.must_open()
        if claim is None or condition.known_open:
            return
        if self._orders.open_failed:
            if self._outcome.claim != claim.id:
                self._outcome = Outcome(claim.id, self.situation.me.number, Reason.DID_NOT_OPEN)
        elif self._open(NO_EVENT, now, protecting=False) and self.situation.me.normally_closed:
            self._record = replace(self._record, hold_claim=claim.id, hold_event=claim.event)
            self._note("opens to split the island", {"claim": claim.id})

    def _purpose(self, side: int) -> Purpose | None:
        event = self._claimant.fault_event(side, self._orders.tripped_at, self._orders.tripped_into)
        duty = self._record.duties[side]
        if event == NO_EVENT and duty in self.situation.active_events():
            # As the process before this one had found out.
            flagged = self.situation.flag(self.situation.me.sides[side])[0] is not SectionState.NONE
            event = NO_EVENT if flagged or not self.situation.known_open(self.situation.me.number) else duty
        if event != NO_EVENT:
            return Purpose(ClaimKind.RESTORE, event, self._tasks.epoch(side))
        return self._tasks.purpose(side)

    def _set_duty(self, side: int, event: EventId) -> None:
        duties = list(self._record.duties)
        duties[side] = event
        self._record = replace(self._record, duties=(duties[0], duties[1]))

    def _claim(self, side: int, now: float, *, ready: bool) -> None:
        claimant = self._claimant
        before = claimant.claims()[side]
        pickup = self._locator.pickup
        # As long as it is not known where the own fault current went, nothing is claimed.
        located = (pickup is None or pickup.settled) and not self._recloser.reclosing
        purpose = self._purpose(side)
        if purpose is not None and purpose.kind is ClaimKind.RESTORE and self._record.duties[side] != purpose.event:
            # Written down with the lock: the process after this one was not there when the island was live.
            claimant.remember(side, purpose.event)
            self._set_duty(side, purpose.event)
        new = claimant.claim(side, purpose, self._record, now) if ready and located else None
        if new is not None:
            claims = list(self._record.claims)
            claim = claimant.claims()[side]
            claims[side] = new
            self._record = replace(self._record, claims=(claims[0], claims[1]), claim_number=new.number)
            if claim.kind is not ClaimKind.RESTORE:
                self._set_duty(side, NO_EVENT)
            if claim.kind is ClaimKind.TRANSFER:
                self._record = replace(self._record, hold_claim=new, hold_event=claim.event)
            self._note("claimed", {"claim": new, "asked": [b.switch for b in claim.boundary]})
            before = claim
        # What is granted must be seen to its end; before, nothing goes on until it is known where the current went.
        granted = bool(claimant.claims()[side].grants)
        progress = claimant.pursue(side, self._stored, now) if located or granted else claimant.progress[side]
        if claimant.island_loads != self._record.island_loads:
            self._record = replace(self._record, island_loads=claimant.island_loads)
        after = claimant.claims()[side]
        if after.request != before.request:
            self._note("capacity requested", {"claim": after.id, **after.request._asdict()})
        if after.grants != before.grants:
            self._note("granted", {"claim": after.id, "to": [b.switch for b in after.grants]})
        if progress.stage in (Stage.RESTORING, Stage.STOPPED):
            self._wake(now + 0.25)
        if _URGENCY.index(progress.stage) > _URGENCY.index(self._progress.stage):
            self._progress = progress

    def _isolation_progress(self, event: EventId, now: float) -> Progress:
        if self._breaker_failure:
            return Progress(Stage.STOPPED, Reason.DID_NOT_OPEN, event)
        if event == NO_EVENT or event in self.situation.cleared:
            pickup = self._locator.pickup
            return Progress(Stage.LOCATING, Reason.NONE, NO_EVENT) if carries_fault(pickup) else IDLE
        concerned = self._record.locked or self._orders.opened_for == event
        if not concerned:
            return IDLE
        if self._position(now) == (Dbpos.OFF, 0):
            if event in self._found and self._forsaken():
                return Progress(Stage.STOPPED, Reason.LOAD_UNKNOWN, event)
            return Progress(Stage.FINISHED, Reason.NONE, event)
        if self._orders.open_failed:
            return Progress(Stage.STOPPED, Reason.DID_NOT_OPEN, event)
        return Progress(Stage.ISOLATING, Reason.NONE, event)

    def _forsaken(self) -> bool:
        """Whether what this switch feeds in the normal state is dark and healthy, and nobody claims it."""
        situation, side = self.situation, self._tasks.normal_side
        return (
            side is not None
            and situation.inputs is not None
            and situation.inputs.voltage[side] is Voltage.ABSENT
            and situation.flag(situation.me.sides[side])[0] is SectionState.NONE
            and self._claimant.claims()[side].id == NO_CLAIM
            and not any(Bound(situation.me.number, side) in claim.boundary for _, claim in situation.claims())
        )

    def _serve_requests(self, now: float) -> None:
        """As owner of capacity: judge what is asked, drop what has ended."""
        ledger, me = self._ledger, self.situation.me.number
        ledger.follow(now)
        for answer in (*ledger.forwarded(now), *ledger.refused_elsewhere()):
            self._answer_request(answer)
        for _, claim in [*self.situation.claims(), *((me, c) for c in self._claimant.claims())]:
            request = claim.request
            if claim.id == NO_CLAIM or request.owner != me:
                continue
            if any(bound.switch == request.tie for bound in claim.grants):
                continue
            if ledger.find(claim.id, request.tie, request.deciamperes) is None:
                self._answer_request(ledger.judge(claim, now))
        if ledger.entries != self._record.reservations:
            self._record = replace(self._record, reservations=ledger.entries)
        outcome = self._outcome
        if any(
            (entry.reservation.claim, entry.reservation.tie) == outcome[:2] and entry.reservation.whole
            for entry in ledger.entries
        ):
            # What was refused once is reserved now.
            self._outcome = NO_OUTCOME

    def _answer_request(self, answer: Outcome) -> None:
        """Note and publish what became of a request for capacity."""
        detail = {"claim": answer.claim, "tie": answer.tie}
        if answer.reason is Reason.PEER_SILENT:
            self._wake(self._evaluated_at + 0.03)
        elif answer.reason is Reason.NONE:
            self._note("reserved", detail)
        elif self._outcome != answer:
            self._outcome = answer
            self._note(
                "capacity refused", {**detail, "reason": answer.reason.name, "possible_a": answer.deciamperes / 10}
            )

    # -- what is published ----------------------------------------------------------------------------------------

    def _state(self, event: EventId, now: float) -> AgentState:
        orders, situation, mode = self._orders, self.situation, self._record.behaviour
        return publish.agent_state(
            situation,
            self._record,
            self._stored,
            now,
            pickup=self._locator.pickup,
            answers=self._locator.answers,
            last_event=event,
            close_outstanding=orders.close_outstanding,
            trip=orders.tripped_at is not None,
            shot_side=self._shot_side,
            located=not (self._unproven or self._record.held)
            and (self._locator.resolved or carries_fault(self._locator.pickup)),
            breaker_failure=self._breaker_failure,
            shots=self._recloser.armed,
            reclosing=self._recloser.reclosing,
            ready=self._ready(now),
            unproven=self._unproven,
            behaviour=SAID_IN_SHADOW[mode] if situation.config.shadow else mode,
            claims=self._claimant.claims(),
            outcome=self._outcome,
            progress=self._progress,
        )
