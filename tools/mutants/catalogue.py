"""The mutants: each the agents' logic with one rule taken away or bent, and what comes of it.

Where the one who grants and the one who closes check the same thing, a mutant takes it away in both places: each check
alone would hide the loss of the other. Longer than most files: it is a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.control.decision import HOT_LINE_TAG, WORK_TAG, Authority
from tools.campaign.occurrences import Control, Forge, Occurrence, Tag
from tools.mutants import arrangements as arranged
from tools.mutants.change import Change

if TYPE_CHECKING:
    from tools.mutants.arrangements import Arrangement


@dataclass(frozen=True, slots=True)
class Mutant:
    """The logic with one rule taken away or bent.

    Attributes:
        name: what it does otherwise, in words for a list.
        attacks: the invariants that the rule is there for, as the judge calls them.
        why: what goes wrong with it.
        changes: what is changed.
        where: makes of a scenario one that has what it takes to show it; None where that cannot be.
        model: the mutant of the model check that lacks the same rule of the protocol; "" if it has none.
    """

    name: str
    attacks: frozenset[str]
    why: str
    changes: tuple[Change, ...]
    where: Arrangement = arranged.anything
    model: str = ""


_AGENT: Final = "ied_agents.dflisr.agent:Agent"
_CAPACITY: Final = "ied_agents.dflisr.capacity"
_CLAIMANT: Final = "ied_agents.dflisr.claimant:Claimant"
_CLOSER: Final = "ied_agents.dflisr.closer:Closer"
_CONTROL: Final = "ied_agents.control.decision"
_ISOLATE: Final = "ied_agents.dflisr.isolate"
_LOCATOR: Final = "ied_agents.dflisr.locate:Locator"
_OFFERS: Final = "ied_agents.dflisr.offers"
_PUBLISH: Final = "ied_agents.dflisr.publish"
_RECLOSE: Final = "ied_agents.dflisr.reclose"
_STORED: Final = "ied_agents.dflisr.stored:Record"
_SITUATION: Final = "ied_agents.dflisr.views:Situation"


def _mutant(
    attacks: str,
    name: str,
    why: str,
    *changes: tuple[str, str, str],
    where: Arrangement = arranged.anything,
    model: str = "",
) -> Mutant:
    return Mutant(name, frozenset(attacks.split()), why, tuple(Change(*change) for change in changes), where, model)


MUTANTS: Final = (
    # -- I1: nothing faulted, suspect or locked is energised ------------------------------------------------------
    _mutant(
        "I1",
        "flags of sections do not count when an island is claimed and closed",
        "An island that hangs together with a faulted section through a switch that did not open is energised.",
        (f"{_SITUATION}.isolated", "if state is not SectionState.NONE:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is SectionState.FAULTED:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is not SectionState.NONE:", "if False:"),
        where=arranged.stuck,
    ),
    _mutant(
        "I1",
        "a suspect section counts as healthy",
        "What could not be told to be healthy is isolated by nobody and energised.",
        (
            f"{_SITUATION}._flag",
            "if side.section is SectionState.NONE or",
            "if side.section is SectionState.SUSPECT or side.section is SectionState.NONE or",
        ),
        where=arranged.hostile,
    ),
    _mutant(
        "I1",
        "a section beyond a switch that does not open is not isolated",
        "Nothing widens: what is behind the switch that failed is restored onto the fault.",
        (f"{_AGENT}._widen", "elif self._record.sides[side].section is SectionState.NONE:", "elif False:"),
        (f"{_SITUATION}.isolated", "if state is not SectionState.NONE:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is SectionState.FAULTED:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is not SectionState.NONE:", "if False:"),
        where=arranged.stuck,
    ),
    _mutant(
        "I1",
        "shots are not counted",
        "A breaker recloses onto a permanent fault again and again.",
        (f"{_RECLOSE}:Recloser.shoot", "self._made += 1", "pass"),
        where=arranged.reclosing,
    ),
    _mutant(
        "I1",
        "shots that are given up are forgotten",
        "A fault for which a breaker has tripped, and on which it does not reclose, is held by nobody.",
        (f"{_AGENT}._give_up_shot", "if self._position(now) == (Dbpos.ON, 0) or self._doubt(*doubtful):", "if True:"),
        (
            f"{_AGENT}._shot_first",
            "return pickup.awaits_shot",
            "pickup.settled = pickup.until is not None\n    return pickup.awaits_shot",
        ),
        where=arranged.reclosing,
    ),
    _mutant(
        "I1",
        "an island is claimed and promised before it is known where the fault is",
        "Fault current that is still being located does not keep anybody from restoring what it flows in.",
        (f"{_AGENT}._claim", "located = (pickup is None", "located = (True or pickup is None"),
        (f"{_LOCATOR}.resolved", "if pickup is None:", "if True:"),
        where=arranged.unlocated,
    ),
    _mutant(
        "I1",
        "any fault explains a current without direction",
        "The section behind the switch that saw it has a second fault, and is restored with the rest.",
        (
            "ied_agents.dflisr.undirected:doubtful_sides",
            "if any(not _fed(situation, side, picture) for picture in pictures) and",
            "if False and",
        ),
        where=arranged.aside,
    ),
    # -- I2: never two sources ------------------------------------------------------------------------------------
    _mutant(
        "I2",
        "one promise may be missing",
        "The last switch on the boundary is not waited for, by claimant and tie alike.",
        (f"{_CLAIMANT}._gather", "for bound in claim.boundary:", "for bound in claim.boundary[:-1]:"),
        (f"{_SITUATION}.isolated", "for bound in island.boundary:", "for bound in island.boundary[:-1]:"),
    ),
    _mutant(
        "I2 I5",
        "what a silent switch said last is believed",
        "It may have moved since, and promised to somebody else.",
        (f"{_SITUATION}.heard", "not view.alive or", ""),
        where=arranged.silenced,
    ),
    _mutant(
        "I2",
        "promises do not count",
        "A claimant grants, and a tie closes, without the promise of anybody.",
        (f"{_SITUATION}.bound_by", "state.promises[bound.side] == claim", "True"),
    ),
    _mutant(
        "I2",
        "an island need not be dead",
        "Neither claimant nor tie look at voltages or whether a source hangs on it.",
        (f"{_SITUATION}.isolated", "if self.feeder.has_source(island.sections):", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if situation.feeder.has_source(island.sections):", "if False:"),
        (f"{_SITUATION}.isolated", "if known.voltage[bound.side] is Voltage.PRESENT or known.pickup:", "if False:"),
        (f"{_SITUATION}.isolated", "return Reason.NONE if absent else Reason.ISLAND_NOT_DEAD", "return Reason.NONE"),
        where=arranged.generating,
    ),
    _mutant(
        "I2",
        "switches inside an island are not asked",
        "One that is opened by somebody meanwhile splits the island unnoticed, and two restore it.",
        (f"{_CLAIMANT}._asked", "for island in islands for n in sorted(island.inner)", "for island in () for n in ()"),
        (f"{_SITUATION}.isolated", "or inside.promises != (claim.id, claim.id)", ""),
        where=arranged.parted,
        model="a switch inside the island is not asked",
    ),
    _mutant(
        "I2",
        "a switch obeys a lower claim after a higher one",
        "The one asked last is obeyed: a claim that has been overtaken still closes.",
        ("ied_agents.dflisr.closer:higher", "return max(promised, asked)", "return asked"),
        where=arranged.contested,
        model="a switch promises a lower claim",
    ),
    _mutant(
        "I2",
        "a switch with a close on its way counts as open",
        "Its promise is believed while it closes.",
        (f"{_SITUATION}.known_open", "and not state.close_outstanding", ""),
        (f"{_AGENT}._restore", "and not condition.close_outstanding", ""),
        (f"{_CONTROL}:refuse_close", "or condition.close_outstanding", ""),
        (f"{_CLOSER}.promise", "if ATTEMPT.can(self._state[side], AttemptEvent.ASKED):", "if True:"),
        (f"{_CLOSER}.follow", "and ATTEMPT.can(self._state[side], AttemptEvent.ASKED)", ""),
        (
            f"{_CLOSER}.follow",
            "self._state[side] = ATTEMPT.step(self._state[side], AttemptEvent.ASKED)",
            "self._state[side] = AttemptState.PROMISING",
        ),
        model="a switch promises while a close is on its way",
    ),
    # -- I3: nothing locked, tagged, held ... is closed -----------------------------------------------------------
    _mutant(
        "I3",
        "a lock does not keep a switch from closing",
        "People close a switch that bounds the fault; neither its lock nor the flags refuse.",
        (f"{_CONTROL}:refuse_close", "if condition.locked:", "if False:"),
        (
            "ied_agents.dflisr.tasks:Tasks.refuse_close",
            "if self._now.flag(section)[0] is not SectionState.NONE:",
            "if False:",
        ),
        (f"{_SITUATION}.isolated", "if state is not SectionState.NONE:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is SectionState.FAULTED:", "if False:"),
        (f"{_CLAIMANT}._hopeless", "if state is not SectionState.NONE:", "if False:"),
        (f"{_CLAIMANT}._asked", "mine_locked = locked(self._now.own)", "mine_locked = False"),
        (f"{_CLAIMANT}._may_supply", "not locked(state)", "True"),
        where=arranged.tried,
    ),
    _mutant(
        "I3",
        "a tag does not keep a switch from closing",
        "Somebody works there.",
        (f"{_CONTROL}:refuse_close", "if condition.tags:", "if False:"),
        where=arranged.at_a_tie(lambda tie: Tag(tie, "crew", WORK_TAG)),
    ),
    _mutant(
        "I3",
        "a hot-line tag does not keep a switch from closing",
        "Only a work tag does.",
        (f"{_STORED}.all_tags", "HOT_LINE_TAG if any(bits & HOT_LINE_TAG for", "HOT_LINE_TAG if any(False for"),
        where=arranged.at_a_tie(lambda tie: Tag(tie, "crew", HOT_LINE_TAG)),
    ),
    _mutant(
        "I3",
        "local control does not keep a switch from closing",
        "Whoever has taken the switch over is not asked.",
        (f"{_CONTROL}:refuse_close", "if condition.local:", "if False:"),
        where=arranged.at_a_tie(lambda tie: Control(tie, Authority.LOCAL)),
    ),
    _mutant(
        "I3",
        "a switch held to split an island closes like any other",
        "What has been cut off for lack of capacity is connected again.",
        (f"{_CLOSER}._guard", "if situation.own.held and", "if False and"),
        (f"{_CLAIMANT}._held", "return state is None or state.held", "return state is None"),
        ("ied_agents.dflisr.closer:higher", "return max(promised, asked)", "return asked"),
        where=arranged.overruled,
    ),
    _mutant(
        "I3",
        "locks that are not proven since the start do not hold",
        "Who has just started closes on what he found on his disk.",
        (f"{_CONTROL}:refuse_close", "if not condition.proven or", "if"),
        (f"{_AGENT}._ready", "and not self._unproven", ""),
        where=arranged.unproven,
    ),
    # -- I4: nothing is overloaded --------------------------------------------------------------------------------
    _mutant(
        "I4",
        "reservations of others do not count",
        "Capacity is handed out twice.",
        (f"{_CAPACITY}:Ledger._room", "for entry in entries:", "for entry in ():"),
        (f"{_OFFERS}:_reserved", "() if state is None else state.reservations", "()"),
        where=arranged.alive,
    ),
    _mutant(
        "I4",
        "what several heads share is not looked at",
        "Each head has room, their transformer has not.",
        (f"{_CAPACITY}:Ledger._shared_room", "if element.owner != me:", "if True:"),
        (f"{_OFFERS}:spare_elements", "if element in shared_by(situation, head):", "if False:"),
        where=arranged.tight,
    ),
    _mutant(
        "I4",
        "only the head's rating counts",
        "A switch between the head and the tie carries more than it may.",
        (f"{_CAPACITY}:Ledger._judge", "for number in (*path, request.tie):", "for number in (me,):"),
        (f"{_CLOSER}._guard", "if spare_a(situation, side) < reserved / 10:", "if False:"),
        (
            f"{_OFFERS}:spare_elements",
            "if load is None: return None spare[number] =",
            "if load is None:\n            return None\n        if number == head:\n            spare[number] =",
        ),
        where=arranged.alive,
    ),
    _mutant(
        "I4",
        "load is what flows at the moment of the fault",
        "With the breaker's opening the load has gone: nothing seems to be needed.",
        ("ied_agents.dflisr.picture:Picture._picture", "now - FREEZE_AGE_S", "now"),
        ("ied_agents.dflisr.picture:Picture._renew_loads", "now - FREEZE_AGE_S", "now"),
        ("ied_agents.dflisr.picture:Picture._note_signs", "if not self.alert(now):", "if True:"),
        where=arranged.alive,
    ),
    _mutant(
        "I4",
        "local generation counts against the load",
        "It has gone with the supply, and does not come back with it.",
        ("ied_agents.dflisr.picture:Picture._load_at", "max(0.0, total + generation)", "max(0.0, total)"),
        (
            f"{_OFFERS}:drawn_a",
            "inflow + sum(frozen.generation_a.get(section, 0.0) for section in fed)",
            "inflow",
        ),
        where=arranged.alive,
    ),
    _mutant(
        "I4",
        "a reservation ends when its tie is closed",
        "What the tie carries has not been measured yet when the next one asks.",
        (
            f"{_CAPACITY}:Ledger._happened",
            "measured = closed_since is not None and now >= closed_since + LOADS_SETTLE_S",
            "measured = closed_since is not None",
        ),
        (f"{_CAPACITY}:Ledger._judge", "sure = spare if number == me else", "sure = spare if True else"),
        where=arranged.unheard,
    ),
    # -- I4': no load-break switch opens on what it cannot break --------------------------------------------------
    _mutant(
        "I4'",
        "a load-break switch opens under fault current",
        "It does not wait for a breaker to clear, nor for the current to fall.",
        (f"{_AGENT}._isolate", "(not carries_fault(pickup) and self.situation.inputs_valid(now))", "True"),
        (f"{_CONTROL}:refuse_open", "if current_a > breaking_a:", "if False:"),
    ),
    _mutant(
        "I4'",
        "a load-break switch is treated as a breaker",
        "Its breaking capability is not looked at.",
        ("ied_agents.dflisr.orders:Orders.open", "math.inf if self._me.breaker else self._me.breaking_a", "math.inf"),
        (f"{_AGENT}._isolate", "if self.situation.me.breaker or", "if True or"),
    ),
    # -- I5: nothing stale, false or of a test operates anything --------------------------------------------------
    _mutant(
        "I5",
        "what a test says is taken for real",
        "A false fault, marked as of a test, locks and opens switches.",
        (f"{_SITUATION}.usable", "return state.behaviour in self._usable[self.behaviour]", "return True"),
        where=arranged.with_too(Occurrence(arranged.BEFORE_S, Forge(simulated=False))),
    ),
    _mutant(
        "I5",
        "simulated frames are taken for real",
        "A test device's false fault locks and opens switches.",
        ("ied_agents.goose.subscriber:Subscriber.accept", "if simulation and not self.accept_simulation:", "if False:"),
        ("tools.campaign.light_station:LightSubscriber.take", "if frame.simulation:", "if False:"),
        where=arranged.with_too(Occurrence(arranged.BEFORE_S, Forge(simulated=True))),
    ),
    _mutant(
        "I5",
        "an agent that is not in service operates its switch",
        "Blocked, in test or off, it opens and closes like any other.",
        (f"{_CONTROL}:refuse_close", "if condition.behaviour is not Behaviour.ON:", "if False:"),
        (f"{_CONTROL}:refuse_open", "if condition.behaviour is not Behaviour.ON:", "if False:"),
        where=arranged.called("people"),
    ),
    _mutant(
        "I6",
        "old frames pass for new ones",
        "What was true before a restart, or a moment ago, is believed again.",
        (
            "ied_agents.goose.subscriber:Subscriber._follow",
            "if incarnation < self._last_incarnation or (incarnation == self._last_incarnation and restarted):",
            "if False:",
        ),
        (
            "tools.campaign.light_station:LightSubscriber.take",
            "if incarnation < self._incarnation or (incarnation == self._incarnation and restarted):",
            "if False:",
        ),
        where=arranged.called("bad network"),
    ),
    _mutant(
        "I5 I1 I7",
        "a direction that is not to be trusted is trusted",
        "The wrong section is declared.",
        ("ied_agents.dflisr.locate:Pickup.entered", "if self.trusted else None", ""),
        (f"{_LOCATOR}.answer", "or not state.direction_trusted", ""),
        (
            "ied_agents.process.plant:Plant._inputs",
            "direction=switch.direction,",
            (
                "direction=switch.direction if number not in self._settings.untrusted_direction else "
                "{Direction.FORWARD: Direction.BACKWARD, Direction.BACKWARD: Direction.FORWARD}"
                ".get(switch.direction, switch.direction),"
            ),
        ),
        where=arranged.lying,
    ),
    # -- I6: no loss, delay, replay, crash or restart breaks any of these -----------------------------------------
    _mutant(
        "I6",
        "promises are published before they are on disk",
        "After a crash the switch knows of no promise and gives another one.",
        (f"{_PUBLISH}:agent_state", "promises=stored.promises", "promises=record.promises"),
        (f"{_CLOSER}.stored", "and promises[side] == self._promised[side]", ""),
        (f"{_CLAIMANT}._gather", "if stored.promises[bound.side] != claim.id:", "if False:"),
        where=arranged.CRASHING,
        model="a promise is published before it is on disk",
    ),
    _mutant(
        "I6",
        "promises are forgotten by a restart",
        "The switch may promise a lower claim than before.",
        (f"{_STORED}.started", "clean=False,", "clean=False, promises=(NO_CLAIM, NO_CLAIM),"),
        where=arranged.in_vain,
    ),
    _mutant(
        "I6",
        "an attempt is not spent by a restart",
        "The switch tries twice under one claim; the second close meets whatever has come since.",
        (
            f"{_CLOSER}.__init__",
            "ATTEMPT.step(AttemptState.FREE if promise == NO_CLAIM else AttemptState.PROMISED, AttemptEvent.RESTARTED)",
            "AttemptState.FREE if promise == NO_CLAIM else AttemptState.PROMISED",
        ),
        (
            f"{_CLOSER}.__init__",
            "self._restarted_with = record.promises",
            "self._restarted_with = (NO_CLAIM, NO_CLAIM)",
        ),
        where=arranged.in_vain,
    ),
    _mutant(
        "I6",
        "claims are published before they are on disk",
        "After a crash another claim gets the same number.",
        (
            f"{_PUBLISH}:agent_state",
            "claims[0] if claims[0].id in (NO_CLAIM, stored.claims[0]) else own.claims[0]",
            "claims[0]",
        ),
        (
            f"{_PUBLISH}:agent_state",
            "claims[1] if claims[1].id in (NO_CLAIM, stored.claims[1]) else own.claims[1]",
            "claims[1]",
        ),
        (f"{_CLAIMANT}._advance", "if stored.claims[side] != campaign.claim.id:", "if False:"),
        where=arranged.CRASHING,
        model="a claim is published before its number is on disk",
    ),
    _mutant(
        "I6",
        "locks are forgotten by a restart",
        "Whoever comes back closes on the fault he had locked out.",
        (f"{_STORED}.started", "clean=False,", "clean=False, sides=(StoredSide(), StoredSide()),"),
        (
            f"{_OFFERS}:expected_loads",
            "len(island.sections):\n        return {}, None",
            "len(island.sections):\n        return dict.fromkeys(island.sections, 1.0), None",
        ),
        where=arranged.at_the_end,
    ),
    _mutant(
        "I6",
        "the incarnation is not raised by a restart",
        "Nobody hears the new process, or takes an old frame for one of its own.",
        (
            f"{_STORED}.started",
            "incarnation=max(self.incarnation + 1, min(clock_s, CLOCK_LIMIT_S))",
            "incarnation=max(self.incarnation, 1)",
        ),
        where=arranged.anew,
    ),
    _mutant(
        "I6",
        "reservations are forgotten by a restart",
        "Capacity that is granted is handed out again.",
        (f"{_STORED}.started", "clean=False,", "clean=False, reservations=(),"),
        where=arranged.CRASHING,
        model="capacity is given before it is on disk",
    ),
    _mutant(
        "I6",
        "a hold is forgotten by a restart",
        "What has been split for lack of capacity is connected again.",
        (f"{_STORED}.started", "clean=False,", "clean=False, hold_claim=NO_CLAIM, hold_event=NO_EVENT,"),
        where=arranged.transferred,
    ),
    _mutant(
        "I6",
        "a close that a process before may have ordered is not awaited",
        "The switch promises while the order of its former life is on its way.",
        ("ied_agents.dflisr.orders:Orders.__init__", "now + me.operating_time_s", "math.inf"),
        where=arranged.CRASHING,
        model="a restarted switch assumes no close on its way",
    ),
    # -- I7: what can be served is served -------------------------------------------------------------------------
    _mutant(
        "I7",
        "pickups are never answered",
        "Nothing is declared before the breaker's own delay, and suspect then.",
        (f"{_LOCATOR}.answers", "return tuple(self._answers.values())", "return ()"),
        where=arranged.restarted,
    ),
    _mutant(
        "I7",
        "silence is an answer",
        "Sections are declared that pass the fault current on.",
        (
            f"{_LOCATOR}.judge",
            "kind in (AnswerKind.NOT_SEEN, AnswerKind.ENTERS_TOO)",
            "kind in (AnswerKind.NONE, AnswerKind.NOT_SEEN, AnswerKind.ENTERS_TOO)",
        ),
        where=arranged.alive,
    ),
    _mutant(
        "I7",
        "nobody claims",
        "What is isolated stays dark.",
        (f"{_CLAIMANT}.fault_event", "return max(mine)[1] if mine else NO_EVENT", "return NO_EVENT"),
        where=arranged.alive,
    ),
    _mutant(
        "I7",
        "islands are never split",
        "What no single tie can take stays dark.",
        (f"{_CLAIMANT}._best", "most_parts=GRANTS - len(parts)", "most_parts=1"),
        (f"{_CLAIMANT}._best", "most_splits=room if", "most_splits=0 if"),
        where=arranged.alive,
    ),
    _mutant(
        "I7",
        "capacity is never freed",
        "What was asked for and not used stands in the way of the next.",
        (
            f"{_CAPACITY}:Ledger.follow",
            "event = self._happened(entry, now)",
            "event = ReservationEvent.CONFIRMED if self._happened(entry, now) is ReservationEvent.CONFIRMED else None",
        ),
        where=arranged.again,
    ),
    _mutant(
        "I7",
        "priorities do not count",
        "What matters less is served.",
        (f"{_CLAIMANT}._best", "priorities = {s.index: s.priority for", "priorities = {s.index: 0 for"),
        where=arranged.scarce,
    ),
    _mutant(
        "I7",
        "a tie that was refused once is never asked for anything else",
        "The island is not split for what capacity there is.",
        ("ied_agents.dflisr.claimant:Campaign.limit", "if possible_a:", "if False:"),
        where=arranged.crowded,
    ),
)
