"""Commands at a controlled station: select, execute, deselect, and what becomes of them. Sans-IO.

One desk serves all control centres, so that two masters meet at the device and not at an address. It checks what the
standard asks for (IEC 60870-5-101 7.2.6.26, 60870-5-5 6.8): one command at a time for a device, a select before the
execute where the control asks for it, by the same master, with the same value and qualifier, in time. What it lets
through it hands to whoever operates the device, and answers the master with what that one says, and nothing else:
a confirmation and a termination are positive only if they were said to be. Of all that it leaves a trail.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from gateway.iec104.asdu import Cause
from ied_agents.machine import Machine, Transition

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.iec104.asdu import Value
    from gateway.iec104.image import Control

CommandStep = Literal["select", "execute", "cancel"]
IEC_104: Final = "104"
"""The protocol of the masters whose desk it is."""


class Phase(StrEnum):
    """How a device stands with the masters."""

    FREE = "free"
    SELECTING = "selecting"
    SELECTED = "selected"
    CANCELLING = "cancelling"
    EXECUTING = "executing"
    MOVING = "moving"


class Happening(StrEnum):
    """What moves a device on."""

    SELECT = "select"
    EXECUTE = "execute"
    CANCEL = "cancel"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ENDED = "ended"
    LATE = "time over"
    GONE = "master gone"
    SPOILT = "execute that is not as selected"


DEVICE: Final = Machine(
    "commanded device",
    (
        Transition(Phase.FREE, Happening.SELECT, Phase.SELECTING, ""),
        Transition(Phase.FREE, Happening.EXECUTE, Phase.EXECUTING, "where no select is asked for"),
        Transition(Phase.SELECTING, Happening.CONFIRMED, Phase.SELECTED, "confirmed"),
        Transition(Phase.SELECTING, Happening.REFUSED, Phase.FREE, "refused"),
        Transition(Phase.SELECTING, Happening.LATE, Phase.FREE, "refused; the device is told to cancel"),
        Transition(Phase.SELECTING, Happening.GONE, Phase.FREE, "the device is told to cancel"),
        Transition(Phase.SELECTED, Happening.SELECT, Phase.SELECTING, "the same master's again"),
        Transition(Phase.SELECTED, Happening.EXECUTE, Phase.EXECUTING, ""),
        Transition(Phase.SELECTED, Happening.CANCEL, Phase.CANCELLING, ""),
        Transition(Phase.SELECTED, Happening.LATE, Phase.FREE, "the device is told to cancel"),
        Transition(Phase.SELECTED, Happening.GONE, Phase.FREE, "the device is told to cancel"),
        Transition(Phase.SELECTED, Happening.SPOILT, Phase.FREE, "refused; the device is told to cancel"),
        Transition(Phase.CANCELLING, Happening.CONFIRMED, Phase.FREE, "confirmed"),
        Transition(Phase.CANCELLING, Happening.REFUSED, Phase.FREE, "refused: the selection is over all the same"),
        Transition(Phase.CANCELLING, Happening.LATE, Phase.FREE, "refused"),
        Transition(Phase.CANCELLING, Happening.GONE, Phase.FREE, ""),
        Transition(Phase.EXECUTING, Happening.CONFIRMED, Phase.MOVING, "confirmed"),
        Transition(Phase.EXECUTING, Happening.REFUSED, Phase.FREE, "refused"),
        Transition(Phase.EXECUTING, Happening.LATE, Phase.FREE, "refused: nobody has said yes"),
        Transition(Phase.EXECUTING, Happening.GONE, Phase.EXECUTING, "an order that is on its way is not called back"),
        Transition(Phase.MOVING, Happening.ENDED, Phase.FREE, "terminated"),
        Transition(Phase.MOVING, Happening.LATE, Phase.FREE, "terminated as failed"),
        Transition(Phase.MOVING, Happening.GONE, Phase.MOVING, "it goes on moving, and nobody is told"),
    ),
)
"""What is not in it is refused, and changes nothing."""


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """Time limits.

    Attributes:
        select_s: an execute must follow its select within this, s.
        confirm_s: the device's side answers within this, or the master is told no, s.
        terminate_s: the device has moved within this, or the master is told that it has not, s.
    """

    select_s: float = 30.0
    confirm_s: float = 10.0
    terminate_s: float = 60.0


@dataclass(frozen=True, slots=True)
class CommandRequested:
    """Somebody must decide: answer with :meth:`CommandDesk.confirm`, and an executed one with ``terminate`` too.

    Attributes:
        number: to answer with.
        step: select, execute or cancel.
        control: what is to be operated.
        value: as it came.
        qualifier: QU or QL, without S/E.
        test: the ASDU's test bit: nothing may move.
        master: who asks.
        originator: the originator address.
    """

    number: int
    step: CommandStep
    control: Control
    value: Value
    qualifier: int
    test: bool
    master: Hashable
    originator: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a master is to be told of the ASDU that he sent.

    Attributes:
        master: whom.
        asdu: his own octets.
        cause: confirmation or termination.
        negative: it is a no.
        why: of a no, for the log.
        late: it is a no because nobody has answered in time.
    """

    master: Hashable
    asdu: bytes
    cause: Cause
    negative: bool
    why: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class ControlStep:
    """What was asked, or became of it, for the audit trail.

    Attributes:
        step: select, execute or cancel; "command" of one that was refused before that was known; reset, parameter.
        outcome: asked, confirmed, done; refused, failed, timed out; ended of a selection without its master's word.
        name: of the control, or the address that stands for none.
        who: the master.
        why: of what is not as it was asked.
        number: of the request, the same until its end; 0 of one that went no further.
        originator: the originator address.
        control: None where the address stands for none.
        value: as it came.
        qualifier: QU or QL.
        test: the test bit.
        via: the protocol that he commands by.
    """

    step: str
    outcome: str
    name: str
    who: str
    why: str = ""
    number: int = 0
    originator: int = 0
    control: Control | None = None
    value: Value = None
    qualifier: int = 0
    test: bool = False
    via: str = IEC_104


@dataclass(slots=True)
class _Device:
    control: Control
    phase: Phase = Phase.FREE
    number: int = 0
    master: Hashable = None
    asdu: bytes = b""
    value: Value = None
    qualifier: int = 0
    test: bool = False
    originator: int = 0
    who: str = ""
    via: str = IEC_104
    deadline: float = float("inf")


@dataclass(frozen=True, slots=True)
class Command:
    """What a master asks.

    Attributes:
        master: who; a connection, for a selection does not outlive it.
        asdu: his octets, to be mirrored; of a master of another protocol what he knows it by.
        control: the addressed control.
        step: select, execute or cancel.
        value: of the object.
        qualifier: QU or QL, without S/E.
        test: the test bit.
        originator: the originator address.
        who: the master, in words.
        via: the protocol that he commands by.
    """

    master: Hashable
    asdu: bytes
    control: Control
    step: CommandStep
    value: Value
    qualifier: int
    test: bool
    originator: int
    who: str = ""
    via: str = IEC_104


@dataclass
class CommandDesk:
    """All devices that the masters may operate.

    Attributes:
        settings: time limits.
        requests: what is to be decided, oldest first; whoever decides takes them from here.
        answers: what is to be told to masters, oldest first.
        trail: what was asked and became of it, oldest first; whoever keeps it takes it from here.
    """

    settings: CommandSettings = field(default_factory=CommandSettings)
    requests: list[CommandRequested] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    trail: list[ControlStep] = field(default_factory=list)
    _devices: dict[str, _Device] = field(default_factory=dict)
    _running: dict[int, _Device] = field(default_factory=dict)
    _last: int = 0

    @property
    def next_deadline(self) -> float:
        """When :meth:`handle_timer` is due, s."""
        return min((device.deadline for device in self._devices.values()), default=float("inf"))

    def command(self, command: Command, now: float) -> None:
        """Somebody commands: it is refused at once, or handed on."""
        device = self._devices.get(command.control.name) or _Device(command.control)
        why = self._refuse(device, command, now)
        if why:
            who = command.control.name, command.who, why, 0, command.originator
            asked = command.control, command.value, command.qualifier, command.test, command.via
            self.trail.append(ControlStep(command.step, "refused", *who, *asked))
            self._tell(command.master, command.asdu, _CONFIRMS[command.step], why)
            if device.phase is Phase.SELECTED and device.master == command.master and command.step == "execute":
                self._move(device, Happening.SPOILT)
            return
        self._devices[command.control.name] = device
        device.phase = DEVICE.step(device.phase, Happening(command.step))
        self._running.pop(device.number, None)
        device.control, device.originator = command.control, command.originator
        device.master, device.asdu = command.master, command.asdu
        device.value, device.qualifier, device.test = command.value, command.qualifier, command.test
        device.who, device.via = command.who, command.via
        device.deadline = now + self.settings.confirm_s
        device.number = self._request(device, command.step)
        self._running[device.number] = device
        self._note(device, command.step, "asked")

    def record(self, step: ControlStep) -> None:
        """Into the trail: what was refused before it came to the desk, or is none of its business."""
        self.trail.append(step)

    def _note(self, device: _Device, step: CommandStep, outcome: str, why: str = "") -> None:
        asked = device.control, device.value, device.qualifier, device.test, device.via
        who = device.control.name, device.who, why, device.number, device.originator
        self.trail.append(ControlStep(step, outcome, *who, *asked))

    def _request(self, device: _Device, step: CommandStep) -> int:
        """Have the device's side decide; the number to answer with."""
        self._last += 1
        asked = (self._last, step, device.control, device.value, device.qualifier, device.test)
        self.requests.append(CommandRequested(*asked, device.master, device.originator))
        return self._last

    def _move(self, device: _Device, happening: Happening) -> None:
        """Move a device on. Where a selection ends without its master's word, the device's side is told to cancel it.

        Nobody waits for the answer to that. What is free again is forgotten, so that names do not pile up.
        """
        selected = device.phase in (Phase.SELECTING, Phase.SELECTED)
        if (device.phase is Phase.SELECTED and happening in _UNSAID) or (selected and happening is Happening.GONE):
            self._note(device, "select", "ended", happening.value)
        device.phase = DEVICE.step(device.phase, happening)
        if device.phase is not Phase.FREE:
            return
        if selected and happening in _UNSAID:
            self._request(device, "cancel")
        self._running.pop(device.number, None)
        self._devices.pop(device.control.name, None)

    def _refuse(self, device: _Device, command: Command, now: float) -> str:
        """Why a command goes no further; empty if it does."""
        mine = device.master == command.master and now < device.deadline
        # The address too: the same device may have another sense or scale at another one.
        same = (device.control, device.value, device.qualifier, device.test) == (
            command.control,
            command.value,
            command.qualifier,
            command.test,
        )
        match command.step, device.phase:
            case "select" | "execute", Phase.SELECTED if not mine:
                return f"{device.control.name} is selected by another master"
            case "execute", Phase.SELECTED:
                return "" if same else f"{device.control.name} was selected with another value, qualifier or address"
            case "cancel", Phase.SELECTED:
                return "" if mine and same else f"{device.control.name} is not so selected by this master"
            case "execute", Phase.FREE if command.control.select:
                return f"{device.control.name} must be selected first"
        if DEVICE.can(device.phase, Happening(command.step)):
            return ""
        if command.step == "cancel":
            return f"{device.control.name}: nothing to cancel: it is {device.phase.value}"
        return f"{device.control.name} is {device.phase.value} for a command before this one"

    def confirm(self, number: int, now: float, *, why: str = "") -> None:
        """The device's side has decided about a request.

        Args:
            number: of the request; one that is answered or too late already is passed over.
            now: s.
            why: it is refused, because of this.
        """
        device = self._running.get(number)
        if device is None or device.phase not in _STEPS:
            return
        step = _STEPS[device.phase]
        self._note(device, step, "refused" if why else "confirmed", why)
        self._tell(device.master, device.asdu, _CONFIRMS[step], why)
        self._move(device, Happening.REFUSED if why else Happening.CONFIRMED)
        if device.phase is Phase.SELECTED:
            device.deadline = now + self.settings.select_s
        elif device.phase is Phase.MOVING:
            device.deadline = now + self.settings.terminate_s

    def terminate(self, number: int, *, why: str = "") -> None:
        """What was executed has come to its end.

        Args:
            number: of the request.
            why: it failed, because of this; empty: the device's side has seen it done.
        """
        device = self._running.get(number)
        if device is None or device.phase is not Phase.MOVING:
            return
        self._note(device, "execute", "failed" if why else "done", why)
        self._tell(device.master, device.asdu, Cause.TERMINATION, why)
        self._move(device, Happening.ENDED)

    def gone(self, master: Hashable) -> None:
        """A master's connection is over: what he had selected is free; what moves goes on moving, and tells nobody."""
        for device in list(self._devices.values()):
            if device.master == master:
                device.master = None
                self._move(device, Happening.GONE)

    def handle_timer(self, now: float) -> None:
        """End what is too late."""
        for device in list(self._devices.values()):
            if now < device.deadline:
                continue
            late = f"{device.control.name}: no answer in time while {device.phase.value}"
            if device.phase in _STEPS or device.phase is Phase.MOVING:
                self._note(device, _STEPS.get(device.phase, "execute"), "timed out", late)
            if device.phase in _STEPS:
                self._tell(device.master, device.asdu, _CONFIRMS[_STEPS[device.phase]], late, late=True)
            elif device.phase is Phase.MOVING:
                self._tell(device.master, device.asdu, Cause.TERMINATION, late, late=True)
            self._move(device, Happening.LATE)

    def _tell(self, master: Hashable, asdu: bytes, cause: Cause, why: str, *, late: bool = False) -> None:
        if master is not None:
            self.answers.append(Answer(master, asdu, cause, bool(why), why, late))


_CONFIRMS: Final[dict[CommandStep, Cause]] = {
    "select": Cause.ACTIVATION_CON,
    "execute": Cause.ACTIVATION_CON,
    "cancel": Cause.DEACTIVATION_CON,
}
_UNSAID: Final = (Happening.LATE, Happening.GONE, Happening.SPOILT)
"""How a selection ends without its master's word."""
_STEPS: Final[dict[Phase, CommandStep]] = {
    Phase.SELECTING: "select",
    Phase.EXECUTING: "execute",
    Phase.CANCELLING: "cancel",
}
