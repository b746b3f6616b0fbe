"""Commands at a controlled station: select, execute, deselect, and what becomes of them. Sans-IO.

One desk serves all control centres, so that two masters meet at the device and not at an address. It checks what the
standard asks for (IEC 60870-5-101 7.2.6.26, 60870-5-5 6.8): one command at a time for a device, a select before the
execute where the control asks for it, by the same master, with the same value and qualifier, in time. What it lets
through it hands to whoever operates the device, and answers the master with what that one says, and nothing else:
a confirmation and a termination are positive only if they were said to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from gateway.iec104.asdu import Cause

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.iec104.asdu import Value
    from gateway.iec104.image import Control

EXECUTE_BIT: Final = 0x80
"""S/E of the qualifier: 1 selects, 0 executes."""

Step = Literal["select", "execute", "cancel"]


class Phase(Enum):
    """How a device stands with the masters."""

    FREE = "free"
    SELECTING = "selecting"
    SELECTED = "selected"
    CANCELLING = "cancelling"
    EXECUTING = "executing"
    MOVING = "moving"


class Happening(Enum):
    """What moves a device on."""

    SELECT = "select"
    EXECUTE = "execute"
    CANCEL = "cancel"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ENDED = "ended"
    LATE = "time over"
    GONE = "master gone"


TRANSITIONS: Final[dict[tuple[Phase, Happening], Phase]] = {
    (Phase.FREE, Happening.SELECT): Phase.SELECTING,
    (Phase.FREE, Happening.EXECUTE): Phase.EXECUTING,
    (Phase.SELECTING, Happening.CONFIRMED): Phase.SELECTED,
    (Phase.SELECTING, Happening.REFUSED): Phase.FREE,
    (Phase.SELECTING, Happening.LATE): Phase.FREE,
    (Phase.SELECTING, Happening.GONE): Phase.FREE,
    (Phase.SELECTED, Happening.SELECT): Phase.SELECTING,
    (Phase.SELECTED, Happening.EXECUTE): Phase.EXECUTING,
    (Phase.SELECTED, Happening.CANCEL): Phase.CANCELLING,
    (Phase.SELECTED, Happening.LATE): Phase.FREE,
    (Phase.SELECTED, Happening.GONE): Phase.FREE,
    (Phase.CANCELLING, Happening.CONFIRMED): Phase.FREE,
    (Phase.CANCELLING, Happening.REFUSED): Phase.FREE,
    (Phase.CANCELLING, Happening.LATE): Phase.FREE,
    (Phase.CANCELLING, Happening.GONE): Phase.FREE,
    (Phase.EXECUTING, Happening.CONFIRMED): Phase.MOVING,
    (Phase.EXECUTING, Happening.REFUSED): Phase.FREE,
    (Phase.EXECUTING, Happening.LATE): Phase.FREE,
    (Phase.EXECUTING, Happening.GONE): Phase.EXECUTING,
    (Phase.MOVING, Happening.ENDED): Phase.FREE,
    (Phase.MOVING, Happening.LATE): Phase.FREE,
    (Phase.MOVING, Happening.GONE): Phase.MOVING,
}
"""What is not in it is refused, and changes nothing: an order that is on its way is not called back."""


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
    step: Step
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
    """

    master: Hashable
    asdu: bytes
    cause: Cause
    negative: bool
    why: str = ""


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
    deadline: float = float("inf")


@dataclass(frozen=True, slots=True)
class Command:
    """What a master asks.

    Attributes:
        master: who; a connection, for a selection does not outlive it.
        asdu: his octets, to be mirrored.
        control: the addressed control.
        step: select, execute or cancel.
        value: of the object.
        qualifier: QU or QL, without S/E.
        test: the test bit.
        originator: the originator address.
    """

    master: Hashable
    asdu: bytes
    control: Control
    step: Step
    value: Value
    qualifier: int
    test: bool
    originator: int


@dataclass
class CommandDesk:
    """All devices that the masters may operate.

    Attributes:
        settings: time limits.
        requests: what is to be decided, oldest first; whoever decides takes them from here.
        answers: what is to be told to masters, oldest first.
    """

    settings: CommandSettings = field(default_factory=CommandSettings)
    requests: list[CommandRequested] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
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
            self._tell(command.master, command.asdu, _CONFIRMS[command.step], why)
            if device.phase is Phase.SELECTED and device.master == command.master and command.step == "execute":
                self._withdraw(device)  # a wrong execute ends the selection
            return
        self._devices[command.control.name] = device
        device.phase = TRANSITIONS[device.phase, Happening(command.step)]
        self._running.pop(device.number, None)
        device.control, device.originator = command.control, command.originator
        device.master, device.asdu = command.master, command.asdu
        device.value, device.qualifier, device.test = command.value, command.qualifier, command.test
        device.deadline = now + self.settings.confirm_s
        device.number = self._request(device, command.step)
        self._running[device.number] = device

    def _request(self, device: _Device, step: Step) -> int:
        """Have the device's side decide; the number to answer with."""
        self._last += 1
        asked = (self._last, step, device.control, device.value, device.qualifier, device.test)
        self.requests.append(CommandRequested(*asked, device.master, device.originator))
        return self._last

    def _withdraw(self, device: _Device) -> None:
        """A selection is over without its master's word: the device's side is told; nobody waits for its answer."""
        self._request(device, "cancel")
        self._free(device)

    def _refuse(self, device: _Device, command: Command, now: float) -> str:
        """Why a command goes no further; empty if it does."""
        mine = device.master == command.master and now < device.deadline
        same = (device.value, device.qualifier, device.test) == (command.value, command.qualifier, command.test)
        match command.step, device.phase:
            case "select" | "execute", Phase.SELECTED if not mine:
                return f"{device.control.name} is selected by another master"
            case "execute", Phase.SELECTED:
                return "" if same else f"{device.control.name} was selected with another value or qualifier"
            case "cancel", Phase.SELECTED:
                return "" if mine and same else f"{device.control.name} is not so selected by this master"
            case "execute", Phase.FREE if command.control.select:
                return f"{device.control.name} must be selected first"
        if (device.phase, Happening(command.step)) in TRANSITIONS:
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
        self._tell(device.master, device.asdu, _CONFIRMS[step], why)
        device.phase = TRANSITIONS[device.phase, Happening.REFUSED if why else Happening.CONFIRMED]
        match device.phase:
            case Phase.SELECTED:
                device.deadline = now + self.settings.select_s
            case Phase.MOVING:
                device.deadline = now + self.settings.terminate_s
            case _:
                self._free(device)

    def terminate(self, number: int, *, why: str = "") -> None:
        """What was executed has come to its end.

        Args:
            number: of the request.
            why: it failed, because of this; empty: the device's side has seen it done.
        """
        device = self._running.get(number)
        if device is None or device.phase is not Phase.MOVING:
            return
        self._tell(device.master, device.asdu, Cause.TERMINATION, why)
        self._free(device)

    def gone(self, master: Hashable) -> None:
        """A master's connection is over: what he had selected is free; what moves goes on moving, and tells nobody."""
        for device in list(self._devices.values()):
            if device.master != master or device.phase is Phase.FREE:
                continue
            selected = device.phase in _SELECTED
            device.phase = TRANSITIONS[device.phase, Happening.GONE]
            device.master = None
            if selected:
                self._withdraw(device)
            elif device.phase is Phase.FREE:
                self._free(device)

    def handle_timer(self, now: float) -> None:
        """End what is too late."""
        for device in list(self._devices.values()):
            if now < device.deadline:
                continue
            late = f"{device.control.name}: no answer in time while {device.phase.value}"
            if device.phase in _STEPS:
                self._tell(device.master, device.asdu, _CONFIRMS[_STEPS[device.phase]], late)
            elif device.phase is Phase.MOVING:
                self._tell(device.master, device.asdu, Cause.TERMINATION, late)
            if device.phase in _SELECTED:
                self._withdraw(device)
            else:
                self._free(device)

    def _tell(self, master: Hashable, asdu: bytes, cause: Cause, why: str) -> None:
        if master is not None:
            self.answers.append(Answer(master, asdu, cause, bool(why), why))

    def _free(self, device: _Device) -> None:
        """Nothing is on its way any more; kept is only what is not free, so that names do not pile up."""
        device.phase = Phase.FREE
        self._running.pop(device.number, None)
        self._devices.pop(device.control.name, None)


_CONFIRMS: Final[dict[Step, Cause]] = {
    "select": Cause.ACTIVATION_CON,
    "execute": Cause.ACTIVATION_CON,
    "cancel": Cause.DEACTIVATION_CON,
}
_SELECTED: Final = (Phase.SELECTING, Phase.SELECTED)
"""The device's side may hold the device selected."""
_STEPS: Final[dict[Phase, Step]] = {
    Phase.SELECTING: "select",
    Phase.EXECUTING: "execute",
    Phase.CANCELLING: "cancel",
}
