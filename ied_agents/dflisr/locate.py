"""Locate: own pickups, answers to peers' pickups, declaration (design section 4, step 1).

A section is faulted when fault current enters it through at least one of its switches and leaves through none.
Silence is not an answer, nor is "unsure": they delay the declaration until the breaker's own delay, and the section
is then suspect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.dflisr.records import Answer, AnswerKind, SectionState
from ied_agents.dflisr.views import entered_side, own_voltage
from ied_agents.process.inputs import Direction, Voltage
from scl.agent_model import ANSWERS

if TYPE_CHECKING:
    from ied_agents.dflisr.records import EventId
    from ied_agents.dflisr.views import Situation

LATE_FACTOR: Final = 4
"""A pickup may come later than the detection time, up to so many times it, and still answer for the same fault."""
RESET_SPREAD_S: Final = 0.05
"""Pickups of one fault current reset within this time of each other."""
ANSWER_PATIENCE_S: Final = 0.12
"""How long after the fault current has gone answers are awaited: three repetitions of a frame."""
RESET_PATIENCE_S: Final = 0.5
"""How long after a pickup has reset without complete answers the voltage may take to show whether a breaker tripped."""


@dataclass(slots=True)
class Pickup:
    """The last pickup of the own switch.

    Attributes:
        id: counts pickups of this incarnation.
        direction, trusted: as the process said.
        since, until: start and reset, s; ``until`` None while it lasts.
        began: since when current has flowed without a break, whatever its direction, s.
        settled: nothing more will come of it: declared, passed on, explained, or judged harmless.
        confirmed: peers were asked once more when the own delay ran out.
        passed_on: somebody has said so.
        passed_by: who said so, with the incarnation that did.
        passed_until: when the last peer that passed it on saw it end, s.
        outlived: it ended clearly later than with any peer that passed it on, so that not all of it went there.
        awaits_shot: a breaker reclosing on it will show whether there still is a fault.
        vouched: it has ended, and a person has released what this switch held.
    """

    id: int
    direction: Direction
    trusted: bool
    since: float
    began: float
    until: float | None = None
    settled: bool = False
    confirmed: bool = False
    passed_on: bool = False
    passed_by: dict[int, int] = field(default_factory=dict)
    passed_until: float = math.inf
    outlived: bool = False
    awaits_shot: bool = False
    vouched: bool = False

    @property
    def entered(self) -> int | None:
        """Side into which the current flows, if that can be said."""
        return entered_side(self.direction) if self.trusted else None


class Verdict(NamedTuple):
    """What a pickup comes to now.

    ``declare`` and ``suspect`` concern the section at side ``side``.
    """

    side: int
    declare: bool = False
    suspect: bool = False
    trip: bool = False


NOTHING: Final = Verdict(0)


class Locator:
    """One agent's part in locating."""

    def __init__(self, situation: Situation) -> None:
        self._now = situation
        me, feeder = situation.me, situation.feeder
        self._neighbours = {b.switch for section in me.sides for b in feeder.peers(me.number, section)}
        self.pickup: Pickup | None = None
        self._count = 0
        self._carries_since = math.inf
        self._flows_since: dict[int, float] = {}
        """Since when a peer has carried fault current without a break, as heard, s."""
        self._flowed: dict[int, tuple[float, float]] = {}
        """When a peer's last fault current began and ended, as heard, s."""
        self._asked: dict[tuple[int, int, int], float] = {}
        self._answers: dict[int, Answer] = {}

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Answers to publish, one per switch that asked last."""
        return tuple(self._answers.values())

    def observe(self, now: float) -> Pickup | None:
        """Follow the own pickup; returns it when it is new."""
        inputs = self._now.inputs
        if inputs is None:
            return None
        pickup = self.pickup
        self._carries_since = min(self._carries_since, now) if inputs.pickup else math.inf
        if inputs.pickup and self._now.inputs_valid(now):
            if (
                pickup is None
                or pickup.until is not None
                or (pickup.direction, pickup.trusted) != (inputs.direction, inputs.direction_trusted)
            ):
                self._count += 1
                began = self._carries_since
                self.pickup = Pickup(self._count, inputs.direction, inputs.direction_trusted, now, began)
                return self.pickup
            if self._still_enters(pickup, now) or self._trips_unsure(pickup, now):
                # Whoever passed the fault on has cleared it, or is gone, and current still enters: there may be another
                # one before.
                self._count += 1
                self.pickup = Pickup(
                    self._count,
                    pickup.direction,
                    pickup.trusted,
                    pickup.since,
                    pickup.began,
                    confirmed=pickup.confirmed,
                )
                return self.pickup
        elif pickup is not None and pickup.until is None:
            pickup.until = now
        return None

    def forget(self) -> bool:
        """Forget the own pickup, and say whether it was resolved; a current that still flows is a new one."""
        resolved, self.pickup = self.resolved, None
        return resolved

    def _still_enters(self, pickup: Pickup, now: float) -> bool:
        """Whether the own pickup lasts although no peer that passed it on still says that it sees fault current."""
        side = pickup.entered
        if side is None or not (pickup.settled and pickup.passed_on):
            return False
        section = self._now.me.sides[side]
        passing = [n for n, kind in self._received(section).items() if kind is AnswerKind.PASSES_ON]
        states = [self._now.heard(number) for number in passing]
        if any(state is not None and state.pickup for state in states):
            pickup.passed_until = math.inf
            return False
        pickup.passed_until = min(pickup.passed_until, now)
        return now >= pickup.passed_until + RESET_SPREAD_S

    def _trips_unsure(self, pickup: Pickup, now: float) -> bool:
        """Whether the own delay runs out on a fault that somebody passed on: is it still he who passes it on?"""
        me = self._now.me
        if not me.breaker or not pickup.settled or pickup.confirmed or now < pickup.since + me.trip_delay_s:
            return False
        pickup.confirmed = True
        return pickup.entered is not None and AnswerKind.PASSES_ON in self._received(me.sides[pickup.entered]).values()

    def answer(self, now: float) -> tuple[list[Answer], float]:
        """Answer every peer's pickup that enters a section of this switch.

        Returns:
            The answers that are new, and when to look again (infinity if nothing is due).
        """
        new: list[Answer] = []
        wake = float("inf")
        situation = self._now
        for number, view in situation.views.items():
            state = view.state
            if state is None or not (state.pickup or state.unproven or number in self._flows_since):
                continue  # it asks for nothing
            if situation.heard(number) is None:
                continue
            if state.pickup:
                self._flowed[number] = self._flows_since.setdefault(number, now), math.inf
            elif number in self._flows_since:
                self._flowed[number] = self._flows_since.pop(number), now
            if (
                state.unproven
                and number in self._neighbours
                and self._answers.get(number, (0, 0))[1] != state.incarnation
            ):
                # A peer that has started asks for nothing but a sign that our flags are current.
                new.append(self._give(Answer(number, state.incarnation, 0, AnswerKind.NOT_SEEN)))
            if not state.pickup or state.pickup_quality or not state.direction_trusted:
                continue
            side = entered_side(state.direction)
            if side is None:
                continue
            section = situation.feeder.by_number[number].sides[side]
            if section not in situation.me.sides:
                continue
            key = (number, state.incarnation, state.pickup_id)
            heard_at = self._asked.setdefault(key, now)
            if len(self._asked) > 4 * ANSWERS:
                del self._asked[next(iter(self._asked))]
            given = self._answers.get(number)
            if given is not None and given[:3] == key and given.kind is not AnswerKind.NOT_SEEN:
                continue
            kind = self._judge(section, heard_at, self._flows_since[number], now)
            if kind is AnswerKind.NONE:
                wake = min(wake, heard_at + situation.config.detection_time_s)
            elif given != (*key, kind):
                new.append(self._give(Answer(*key, kind)))
        return new, wake

    def _give(self, answer: Answer) -> Answer:
        self._answers.pop(answer.switch, None)
        self._answers[answer.switch] = answer
        if len(self._answers) > ANSWERS:
            del self._answers[next(iter(self._answers))]
        return answer

    def _judge(self, section: int, heard_at: float, flows_since: float, now: float) -> AnswerKind:
        detection = self._now.config.detection_time_s
        if not self._now.inputs_valid(now):
            return AnswerKind.UNSURE
        pickup = self.pickup
        # A pickup that starts much later than the one asked about has another cause: a second fault.
        same = pickup is not None and pickup.since <= heard_at + LATE_FACTOR * detection
        if pickup is not None and same and (pickup.until is None or pickup.until >= heard_at - detection):
            if pickup.entered is None:
                return AnswerKind.UNSURE
            if self._now.me.sides[pickup.entered] == section:
                return AnswerKind.ENTERS_TOO
            # It did not pass on what flowed before it began to flow here: there may be another fault in the section.
            late = pickup.began > flows_since + LATE_FACTOR * detection
            return AnswerKind.UNSURE if late else AnswerKind.PASSES_ON
        return AnswerKind.NOT_SEEN if now >= heard_at + detection else AnswerKind.NONE

    @property
    def resolved(self) -> bool:
        """Whether fault current of the own switch, if there was any, has ended and it is known where it went."""
        pickup = self.pickup
        if pickup is None:
            return True
        if pickup.until is None or not pickup.settled:
            return False
        return not self._outlasted(pickup) or self._vouched(pickup)

    def _outlasted(self, pickup: Pickup) -> bool:
        """Whether fault current that peers passed on flowed longer than any of them takes to open."""
        lasted = -math.inf if pickup.until is None else pickup.until - pickup.since
        switches = self._now.feeder.by_number
        return bool(pickup.passed_by) and all(
            lasted > switches[number].operating_time_s + RESET_SPREAD_S for number in pickup.passed_by
        )

    def _flowed_on(self, pickup: Pickup) -> bool:
        """Whether the own current ended clearly later than that of every peer that passed it on, as far as heard.

        Their ends are heard late, if anything; so what is lost on the way hides this, and never feigns it.
        """
        if pickup.until is None:
            return False
        ends = (self._flowed.get(number, (math.inf, math.inf))[1] for number in pickup.passed_by)
        latest = pickup.until - LATE_FACTOR * self._now.config.detection_time_s
        return bool(pickup.passed_by) and all(pickup.since < end < latest for end in ends)

    def _vouched(self, pickup: Pickup) -> bool:
        """Whether a peer that passed the current on, and has not been started again since, saw it end."""
        states = ((self._now.heard(number), started) for number, started in pickup.passed_by.items())
        return any(state is not None and state.incarnation == started and not state.pickup for state, started in states)

    def _forgotten_by_passers(self, pickup: Pickup) -> bool:
        """Whether all that passed the current on were started again: it may have ended in the section after that."""
        states = ((self._now.heard(number), started) for number, started in pickup.passed_by.items())
        return self._outlasted(pickup) and all(
            state is not None and state.incarnation != started for state, started in states
        )

    def explains(self, event: EventId) -> bool:
        """Whether the current that an event was declared for began no later than the own one, and lasted as long.

        What flowed before it here, or flows on when it has ended, has another fault. Of an own event nothing is asked.
        """
        pickup = self.pickup
        if pickup is None or event.switch == self._now.me.number:
            return True
        since, until = self._flowed.get(event.switch, (math.inf, -math.inf))
        late = pickup.began + LATE_FACTOR * self._now.config.detection_time_s
        return since <= late and (pickup.until is None or until >= pickup.until - RESET_SPREAD_S)

    @property
    def unexplained(self) -> bool:
        """Whether an own current without direction had flowed for long before anybody else's was heard of."""
        pickup = self.pickup
        if pickup is None or pickup.entered is not None:
            return False
        latest = pickup.began + LATE_FACTOR * self._now.config.detection_time_s
        return all(since > latest for since in self._flows_since.values())

    def peers_missing(self, section: int) -> list[int]:
        """Peers in the section that have not answered the present pickup with anything that settles it."""
        return [
            number for number, kind in self._received(section).items() if kind in (AnswerKind.NONE, AnswerKind.UNSURE)
        ]

    def _received(self, section: int) -> dict[int, AnswerKind]:
        pickup_id = 0 if self.pickup is None else self.pickup.id
        me, key = self._now.me.number, (self._now.me.number, self._now.incarnation, pickup_id)
        kinds: dict[int, AnswerKind] = {}
        for bound in self._now.feeder.peers(me, section):
            state = self._now.state(bound.switch)
            # An answer stays one when its sender falls silent; one of a switch in test never was one.
            given = () if state is None or not self._now.usable(state) else state.answers
            kind = next((a.kind for a in given if a[:3] == key), AnswerKind.NONE)
            if kind is AnswerKind.PASSES_ON and self._began_later(bound.switch):
                kind = AnswerKind.UNSURE
            kinds[bound.switch] = kind
        return kinds

    def _began_later(self, switch: int) -> bool:
        """Whether a peer's fault current was heard of so late that frames lost on the way do not explain it.

        It compares the own question with its current when it hears it, which may be long after the own current began:
        then it passes on another fault's.
        """
        pickup = self.pickup
        since, _ = self._flowed.get(switch, (-math.inf, 0.0))
        return pickup is not None and since > pickup.began + ANSWER_PATIENCE_S

    def judge(self, now: float) -> tuple[Verdict, float]:
        """What the own pickup comes to.

        Args:
            now: s.

        Returns:
            The verdict, and when to look again.
        """
        pickup, never = self.pickup, float("inf")
        if pickup is None:
            return NOTHING, never
        me = self._now.me
        lasts = pickup.until is None
        trip_at = pickup.since + me.trip_delay_s
        trip = me.breaker and lasts and now >= trip_at
        wake = trip_at if me.breaker and lasts and not trip else never
        if lasts:
            wake = min(wake, pickup.passed_until + RESET_SPREAD_S)
        side = pickup.entered
        if side is None:
            return Verdict(0, trip=trip), wake
        section = me.sides[side]
        if self._now.feeder.is_source(section):
            # Local generation has fed a fault elsewhere: nothing here, once it is over.
            pickup.settled = not lasts
            return Verdict(side, trip=trip), wake
        received = self._received(section)
        kinds = received.values()
        if AnswerKind.PASSES_ON in kinds and not pickup.outlived:
            pickup.passed_on = True
            for number, kind in received.items():
                state = self._now.state(number)
                if kind is AnswerKind.PASSES_ON and state is not None:
                    pickup.passed_by[number] = state.incarnation
            # Whoever passed it on has opened, and then this one or a breaker before it ended what still flowed: the
            # voltage tells.
            pickup.outlived = self._flowed_on(pickup)
            pickup.settled = not pickup.outlived
            if pickup.settled:
                return Verdict(side, trip=trip), wake
        if self._forgotten_by_passers(pickup):
            pickup.passed_by.clear()
            live = self._now.inputs is not None and self._now.inputs.voltage[side] is Voltage.PRESENT
            return Verdict(side, suspect=not live, trip=trip), wake
        if pickup.settled:
            return Verdict(side, trip=trip), wake
        complete = all(kind in (AnswerKind.NOT_SEEN, AnswerKind.ENTERS_TOO) for kind in kinds)
        if lasts:
            # Asked again when the own delay ran out, peers have until the breaker is open to answer.
            suspect = trip and not complete and not pickup.confirmed
            return Verdict(side, declare=complete, suspect=suspect, trip=trip), wake
        # The current has gone: was it a breaker, or only an inrush or a fuse? The voltage tells.
        inputs = self._now.inputs
        assert inputs is not None
        assert pickup.until is not None
        if not self._now.inputs_valid(now):
            return NOTHING, wake  # of a process that has fallen silent nothing can be concluded
        voltage = inputs.voltage[side]
        if voltage is Voltage.UNKNOWN:
            voltage = own_voltage(self._now, now)
        if voltage is Voltage.ABSENT or (voltage is Voltage.UNKNOWN and pickup.awaits_shot):
            late = now >= pickup.until + ANSWER_PATIENCE_S
            if not complete and not late:
                wake = min(wake, pickup.until + ANSWER_PATIENCE_S)
            return Verdict(side, declare=complete, suspect=not complete and late), wake
        if voltage is Voltage.UNKNOWN:
            return NOTHING, wake
        if now >= pickup.until + RESET_PATIENCE_S:
            pickup.settled = True
            return NOTHING, wake
        return NOTHING, min(wake, pickup.until + RESET_PATIENCE_S)


def forgotten(situation: Situation, side: int) -> bool:
    """Whether fault current entered the section at ``side`` of this switch, and nobody says where it went.

    To be asked after a restart, in which this switch may have forgotten that it went on through itself.
    """
    me, feeder = situation.me, situation.feeder
    section = me.sides[side]
    if situation.inputs is not None and situation.inputs.voltage[side] is Voltage.PRESENT:
        return False
    heard = ((bound.side, situation.heard(bound.switch)) for bound in feeder.peers(me.number, section))
    if any(state is not None and state.voltage[at] is Voltage.PRESENT for at, state in heard):
        return False
    for bound in feeder.peers(me.number, section):
        state = situation.heard(bound.switch)
        if state is None or not state.pickup_id:
            continue
        if state.direction_trusted and entered_side(state.direction) != bound.side:
            continue
        if not _declared_beyond(situation, section, bound.switch):
            return True
    return False


def _declared_beyond(situation: Situation, section: int, entering: int) -> bool:
    """Whether anything is held where a current may have gone that entered a section through a switch."""
    if situation.flag(section)[0] is SectionState.FAULTED:
        return True
    area = situation.feeder.island(section, lambda n: n != entering and situation.last_closed(n))
    beyond = {situation.other_side(bound) for bound in area.boundary if bound.switch != entering}
    # That the section itself is suspect may be for want of this switch's own word.
    return any(situation.flag(s)[0] for s in (area.sections | beyond) - {section})
