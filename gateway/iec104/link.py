"""One connection of IEC 60870-5-104, either end of it: start, stop, test, order, windows (clause 5). Sans-IO.

What a peer may send is in two tables, one for each role; all else closes the connection with a reason. Beside them:

* t1: each I frame must be acknowledged, each act confirmed, within t1 of its sending.
* t2: what is received is acknowledged within t2, at once when w frames have come, at once when data transfer ends;
  an own I frame does it too.
* t3: when no frame has come for t3, in any state, TESTFR act is sent. Not while a con is waited for: t1 tells then.
* N(S) must be the next number. N(R) may acknowledge nothing that was not sent, and take nothing back. Numbers go on
  over STOPDT and STARTDT; they begin anew with the connection only.
* STOPDT act is confirmed when all own I frames are acknowledged. Neither end sends I frames after it.
* A connection that is deactivated (another one of its group was started) is stopped, but its master may not know yet.
  An I frame on it is refused like any in that state: it could be a command, and is not to be executed.
* A link that holds acknowledges only what it was told is stored (:meth:`Link.stored`). Where t2 or w ask for an
  acknowledgement before, it follows on the storing at once; meanwhile the peer's window and t1 run on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, StrEnum
from math import inf, isfinite
from typing import Final, TypeAlias

from gateway.iec104.apci import (
    SEQUENCE_NUMBERS,
    SHORTEST_ASDU,
    Frame,
    FrameError,
    FrameSplitter,
    IFrame,
    SFrame,
    UFunction,
    encode_i,
    encode_s,
    encode_u,
)
from ied_agents.machine import Machine, Transition

_WRAP: Final = SEQUENCE_NUMBERS - 1
_U_FRAMES: Final = {function: encode_u(function) for function in UFunction}


class Role(Enum):
    """Which end of the connection this is."""

    CONTROLLED = "controlled"
    CONTROLLING = "controlling"


class LinkState(StrEnum):
    """Whether data are transferred."""

    STOPPED = "stopped"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    CLOSED = "closed"


class LinkInput(StrEnum):
    """What happens to a connection. TESTFR is not among it: that is answered in every state and changes none."""

    STARTDT_ACT = "STARTDT act"
    STARTDT_CON = "STARTDT con"
    STOPDT_ACT = "STOPDT act"
    STOPDT_CON = "STOPDT con"
    I_FRAME = "I frame"
    ACKNOWLEDGEMENT = "S frame that acknowledges"
    S_REPEATED = "S frame that acknowledges nothing new"
    START = "start ordered"
    STOP = "stop ordered"
    DEACTIVATE = "another connection of the group started"
    SETTLED = "all own I frames acknowledged"
    FAILED = "violation or t1"


_S, _I = LinkState, LinkInput
_FAILURES: Final = tuple(Transition(state, _I.FAILED, _S.CLOSED, "") for state in (_S.STOPPED, _S.STARTED, _S.STOPPING))
CONTROLLED_LINK: Final = Machine(
    "controlled link",
    (
        Transition(_S.STOPPED, _I.STARTDT_ACT, _S.STARTED, "confirmed"),
        Transition(_S.STOPPED, _I.STOPDT_ACT, _S.STOPPED, "confirmed again"),
        Transition(_S.STARTED, _I.STARTDT_ACT, _S.STARTED, "confirmed again"),
        Transition(_S.STARTED, _I.I_FRAME, _S.STARTED, ""),
        Transition(_S.STARTED, _I.ACKNOWLEDGEMENT, _S.STARTED, ""),
        Transition(_S.STARTED, _I.S_REPEATED, _S.STARTED, ""),
        Transition(_S.STARTED, _I.STOPDT_ACT, _S.STOPPING, "what was received is acknowledged; nothing more is sent"),
        Transition(_S.STARTED, _I.DEACTIVATE, _S.STOPPING, "likewise, but not confirmed"),
        Transition(_S.STOPPING, _I.ACKNOWLEDGEMENT, _S.STOPPING, ""),
        Transition(_S.STOPPING, _I.S_REPEATED, _S.STOPPING, ""),
        Transition(_S.STOPPING, _I.STOPDT_ACT, _S.STOPPING, "to be confirmed"),
        Transition(_S.STOPPING, _I.STARTDT_ACT, _S.STARTED, "the master has thought better of it"),
        Transition(_S.STOPPING, _I.SETTLED, _S.STOPPED, "confirmed, if STOPDT act came"),
        *_FAILURES,
    ),
)
CONTROLLING_LINK: Final = Machine(
    "controlling link",
    (
        Transition(_S.STOPPED, _I.START, _S.STARTING, "STARTDT act"),
        Transition(_S.STARTING, _I.STARTDT_CON, _S.STARTED, ""),
        Transition(_S.STARTED, _I.I_FRAME, _S.STARTED, ""),
        Transition(_S.STARTED, _I.ACKNOWLEDGEMENT, _S.STARTED, ""),
        Transition(_S.STARTED, _I.S_REPEATED, _S.STARTED, ""),
        Transition(_S.STARTED, _I.STOP, _S.STOPPING, "what was received is acknowledged, then STOPDT act"),
        Transition(_S.STOPPING, _I.I_FRAME, _S.STOPPING, "was under way; acknowledged at once, the con waits for that"),
        Transition(_S.STOPPING, _I.ACKNOWLEDGEMENT, _S.STOPPING, ""),
        Transition(_S.STOPPING, _I.S_REPEATED, _S.STOPPING, ""),
        Transition(_S.STOPPING, _I.STOPDT_CON, _S.STOPPED, ""),
        # Some devices confirm first and acknowledge then.
        Transition(_S.STOPPED, _I.ACKNOWLEDGEMENT, _S.STOPPED, "of what was sent before STOPDT act"),
        Transition(_S.STARTING, _I.ACKNOWLEDGEMENT, _S.STARTING, "of what was sent before STOPDT act"),
        *_FAILURES,
        Transition(_S.STARTING, _I.FAILED, _S.CLOSED, ""),
    ),
)
MACHINES: Final = (CONTROLLED_LINK, CONTROLLING_LINK)

_MACHINE_OF: Final = {Role.CONTROLLED: CONTROLLED_LINK, Role.CONTROLLING: CONTROLLING_LINK}
_INPUT_OF: Final = {
    UFunction.STARTDT_ACT: _I.STARTDT_ACT,
    UFunction.STARTDT_CON: _I.STARTDT_CON,
    UFunction.STOPDT_ACT: _I.STOPDT_ACT,
    UFunction.STOPDT_CON: _I.STOPDT_CON,
}
_FROM_PEER: Final = frozenset((*_INPUT_OF.values(), _I.I_FRAME, _I.ACKNOWLEDGEMENT, _I.S_REPEATED))


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Window and time limits (clause 9.6). Those of the peer need not be the same.

    Attributes:
        k: I frames that may be unacknowledged, 1 to 32767.
        w: after so many received I frames they are acknowledged at the latest, 1 to k.
        t1_s: within this an I frame must be acknowledged and an act be confirmed, s.
        t2_s: within this a received I frame is acknowledged, s; less than t1.
        t3_s: after this without a frame received the connection is tested, s.
        most_queued: S and U frames that may wait for :meth:`Link.data_to_send`. A peer that makes us answer more, and
            does not read the answers, is cut off.
        shortest_asdu: octets of an ASDU's header; less than 6 with a shorter COT or CA.

    Raises:
        ValueError: a value is out of its range.
    """

    k: int = 12
    w: int = 8
    t1_s: float = 15.0
    t2_s: float = 10.0
    t3_s: float = 20.0
    most_queued: int = 1024
    shortest_asdu: int = SHORTEST_ASDU

    def __post_init__(self) -> None:
        if not 1 <= self.k <= _WRAP:
            raise ValueError(f"k is {self.k}; 1 to {_WRAP} expected")
        if not 1 <= self.w <= self.k:
            raise ValueError(f"w is {self.w}; 1 to k, which is {self.k}, expected")
        for name, seconds in (("t1", self.t1_s), ("t2", self.t2_s), ("t3", self.t3_s)):
            if not (isfinite(seconds) and seconds > 0):
                raise ValueError(f"{name} is {seconds} s; more than 0 expected")
        if self.t2_s >= self.t1_s:
            raise ValueError(f"t2 is {self.t2_s:g} s; less than t1, which is {self.t1_s:g} s, expected")
        if self.most_queued < 1:
            raise ValueError(f"most_queued is {self.most_queued}; 1 or more expected")
        if not 1 <= self.shortest_asdu <= SHORTEST_ASDU:
            raise ValueError(f"shortest_asdu is {self.shortest_asdu}; 1 to {SHORTEST_ASDU} expected")


@dataclass(frozen=True, slots=True)
class DataTransferStarted:
    """ASDUs may go in both directions now."""


@dataclass(frozen=True, slots=True)
class DataTransferStopped:
    """The peer has stopped, or confirmed the stop; on a controlled station what was sent is acknowledged by now.

    It does not follow on :meth:`Link.deactivate`: who calls that knows.
    """


@dataclass(frozen=True, slots=True)
class AsduReceived:
    """An ASDU has come.

    Attributes:
        octets: as they came, not looked into.
    """

    octets: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """ASDUs have arrived at the peer.

    Attributes:
        number: of :meth:`Link.send`; all up to it have arrived.
    """

    number: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The connection has to be closed: write what :meth:`Link.data_to_send` still has, then close it.

    Attributes:
        reason: what came and what was expected.
    """

    reason: str


LinkEvent: TypeAlias = DataTransferStarted | DataTransferStopped | AsduReceived | Acknowledged | LinkClosed


class _ViolationError(Exception):
    """The peer has broken a rule; never leaves this module."""


class Link:
    """One TCP connection, from its establishment on.

    Args:
        config: window and time limits.
        role: which end this is.
        now: s, of a clock that never goes back.
        holds: what is received is acknowledged only when :meth:`stored` says so.

    Attributes:
        config: as given.
        role: as given.
        state: whether data are transferred.
        received: how many ASDUs have come, never wrapped.
    """

    def __init__(self, config: LinkConfig, role: Role, now: float, *, holds: bool = False) -> None:
        self.config = config
        self.role = role
        self.state = LinkState.STOPPED
        self.received = 0
        self._machine = _MACHINE_OF[role]
        self._takes_asdus = False
        self._told_started = False
        self._owes_stop_con = False
        self._splitter = FrameSplitter(config.shortest_asdu)
        self._out: list[bytes] = []
        self._queued = 0  # S and U frames in _out
        # Sending: numbers of ASDUs, never wrapped; for each unacknowledged one the moment at which t1 ends.
        self._sent = 0
        self._acknowledged = 0
        self._t1_of: deque[float] = deque()
        # Receiving: V(R); how many of the last are not acknowledged, and how many of these must not be yet.
        self._expected = 0
        self._unacknowledged = 0
        self._held = 0
        self._holds = int(holds)
        self._awaited: UFunction | None = None
        self._t1_awaited = inf
        self._t1_test = inf
        self._t2 = inf
        self._t3 = now + config.t3_s

    # -- what comes -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Octets have come; returns what they mean, in order.

        After :class:`LinkClosed`, which is always the last, there is nothing more.
        """
        if self.state is LinkState.CLOSED:
            return []
        events: list[LinkEvent] = []
        frames: list[Frame] | tuple[Frame, ...]
        fault: FrameError | None = None
        try:
            frames = self._splitter.feed(data)
        except FrameError as error:
            frames, fault = error.frames, error  # what was complete before is still good
        if frames:
            self._t3 = now + self.config.t3_s
        append = events.append
        try:
            for frame in frames:
                # I frames come by the thousand: no calls for those that are as expected.
                if isinstance(frame, IFrame):
                    ns, nr, asdu = frame
                    if ns != self._expected or not self._takes_asdus:
                        self._refuse_i(ns)
                    if nr != self._acknowledged & _WRAP:
                        self._acknowledge(nr, events)
                    self._expected = (ns + 1) & _WRAP
                    self._unacknowledged += 1
                    self.received += 1
                    self._held += self._holds
                    append(AsduReceived(asdu))
                elif isinstance(frame, SFrame):
                    self._receive_s(frame.nr, events)
                else:
                    self._receive_u(frame.function, events)
            self._conclude(fault, now)
        except _ViolationError as violation:
            append(self._close(str(violation)))
        return events

    def _conclude(self, fault: FrameError | None, now: float) -> None:
        """What follows on all frames of one call: one S frame does for them."""
        if fault is not None:
            raise _ViolationError(str(fault))
        self._acknowledge_due(now)
        if self._unacknowledged and self._t2 == inf:
            self._t2 = now + self.config.t2_s
        if self._queued > self.config.most_queued:
            raise _ViolationError(f"{self._queued} answers wait to be sent: the peer asks and does not read")

    def stored(self, received: int, now: float) -> None:
        """What was received is safe and may be acknowledged; at once where t2 or w have asked for it before.

        Args:
            received: the first so many of the ASDUs that have come, as :attr:`received` counts them.
            now: s.
        """
        self._held = min(self._held, self.received - received)
        self._acknowledge_due(now)

    def _acknowledge_due(self, now: float) -> None:
        due = self._unacknowledged >= self.config.w or self.state is LinkState.STOPPING or now >= self._t2
        if due and self._owed:
            self._send_s()

    def _refuse_i(self, ns: int) -> None:
        self._check(LinkInput.I_FRAME)
        raise _ViolationError(f"I frame with N(S) {ns}; {self._expected} expected")

    def _receive_s(self, nr: int, events: list[LinkEvent]) -> None:
        repeated = nr == self._acknowledged & _WRAP
        self._check(LinkInput.S_REPEATED if repeated else LinkInput.ACKNOWLEDGEMENT)
        if repeated:
            return
        self._acknowledge(nr, events)
        if self.role is Role.CONTROLLED and self.state is LinkState.STOPPING and not self._t1_of:
            self._settle(events)

    def _acknowledge(self, nr: int, events: list[LinkEvent]) -> None:
        """Take an N(R) that is not the last one again."""
        count = (nr - self._acknowledged) & _WRAP
        if count > len(self._t1_of):
            first, last = self._acknowledged & _WRAP, self._sent & _WRAP
            expected = f"{first} expected" if first == last else f"{first} to {last} expected"
            raise _ViolationError(f"N(R) {nr}; {expected}")
        for _ in range(count):
            self._t1_of.popleft()
        self._acknowledged += count
        events.append(Acknowledged(self._acknowledged - 1))

    def _receive_u(self, function: UFunction, events: list[LinkEvent]) -> None:
        if function is UFunction.TESTFR_ACT:
            self._write_u(UFunction.TESTFR_CON)
            return
        if function is UFunction.TESTFR_CON:
            self._t1_test = inf  # one that nobody waits for does no harm
            return
        given = _INPUT_OF[function]
        self._check(given)
        # Where data transfer ends S frames do: what is not acknowledged yet must be so before.
        self._send_owed_s()
        self._step(given)
        match function:
            case UFunction.STARTDT_ACT:
                self._owes_stop_con = False
                self._write_u(UFunction.STARTDT_CON)
                self._tell_started(events)
            case UFunction.STARTDT_CON:
                self._awaited, self._t1_awaited = None, inf
                self._tell_started(events)
            case UFunction.STOPDT_ACT:
                self._owes_stop_con = True
                if self.state is LinkState.STOPPED:
                    self._confirm_stop()
                elif not self._t1_of:
                    self._settle(events)
            case UFunction.STOPDT_CON:
                self._awaited, self._t1_awaited = None, inf
                self._tell_stopped(events)

    def _settle(self, events: list[LinkEvent]) -> None:
        """Stopping has come to its end on a controlled station."""
        self._step(LinkInput.SETTLED)
        self._confirm_stop()
        self._tell_stopped(events)

    def _confirm_stop(self) -> None:
        if self._owes_stop_con:
            self._owes_stop_con = False
            self._write_u(UFunction.STOPDT_CON)

    def _tell_started(self, events: list[LinkEvent]) -> None:
        if not self._told_started:
            self._told_started = True
            events.append(DataTransferStarted())

    def _tell_stopped(self, events: list[LinkEvent]) -> None:
        if self._told_started:
            self._told_started = False
            events.append(DataTransferStopped())

    # -- time -----------------------------------------------------------------------------------------------------

    @property
    def next_deadline(self) -> float:
        """When :meth:`handle_timer` is due, s; infinite once it is closed."""
        return min(
            self._t1_of[0] if self._t1_of else inf,
            self._t1_awaited,
            self._t1_test,
            self._t2 if self._owed else inf,
            self._t3 if self._may_test else inf,
        )

    def handle_timer(self, now: float) -> list[LinkEvent]:
        """Do what is due; too early or too often does no harm."""
        t1 = f"within t1, {self.config.t1_s:g} s"
        if self._t1_of and now >= self._t1_of[0]:
            return [self._close(f"I frame with N(S) {self._acknowledged & _WRAP} was not acknowledged {t1}")]
        if self._awaited is not None and now >= self._t1_awaited:
            return [self._close(f"{_INPUT_OF[self._awaited]} was not confirmed {t1}")]
        if now >= self._t1_test:
            return [self._close(f"TESTFR act was not confirmed {t1}")]
        self._acknowledge_due(now)
        if now >= self._t3 and self._may_test:
            self.test(now)
        return []

    @property
    def _may_test(self) -> bool:
        """Whether no con is waited for: one function at a time."""
        return self._t1_test == inf and self._awaited is None

    # -- what goes ------------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many ASDUs may be sent now."""
        return self.config.k - len(self._t1_of) if self.state is LinkState.STARTED else 0

    def send(self, asdu: bytes, now: float) -> int:
        """Send an ASDU.

        Args:
            asdu: 1 to 249 octets.
            now: s.

        Returns:
            Its number, counted from 0 for each connection, never wrapped.

        Raises:
            ValueError: the window is 0.
            Iec104EncodeError: the ASDU is too long, or empty.
        """
        if not self.window:
            raise ValueError(f"the window is 0: {self.state}, {len(self._t1_of)} of {self.config.k} unacknowledged")
        number = self._sent
        self._out.append(encode_i(number & _WRAP, self._acknowledging(), asdu))
        self._sent = number + 1
        self._t1_of.append(now + self.config.t1_s)
        return number

    def start(self, now: float) -> None:
        """Ask for data transfer: controlling, stopped. Nothing is done when it is closed: the event may be on its way.

        Raises:
            ValueError: it is controlled, or not stopped.
        """
        if self._order(LinkInput.START):
            self._activate(UFunction.STARTDT_ACT, now)

    def stop(self, now: float) -> None:
        """End data transfer: controlling, started. Nothing is done when it is closed.

        Raises:
            ValueError: it is controlled, or not started.
        """
        if self._order(LinkInput.STOP):
            self._send_owed_s()
            self._activate(UFunction.STOPDT_ACT, now)

    def test(self, now: float) -> None:
        """Test the connection, unless a test is under way, or it is closed."""
        if self.state is not LinkState.CLOSED and self._t1_test == inf:
            self._write_u(UFunction.TESTFR_ACT)
            self._t1_test = now + self.config.t1_s

    def deactivate(self) -> None:
        """End data transfer without the master's asking: another connection of its group was started.

        Nothing is to be done where it is stopped or closed.

        Raises:
            ValueError: it is controlling.
        """
        if self.role is not Role.CONTROLLED:
            raise ValueError("a controlling station stops its connections itself")
        self._told_started = False
        if self.state is LinkState.STARTED:
            self._send_owed_s()
            self._step(LinkInput.DEACTIVATE)
            if not self._t1_of:
                self._step(LinkInput.SETTLED)

    def data_to_send(self) -> bytes:
        """All that is to be written now; it is told once. To be asked after whatever was called."""
        octets = b"".join(self._out)
        self._out.clear()
        self._queued = 0
        return octets

    def _activate(self, function: UFunction, now: float) -> None:
        self._write_u(function)
        self._awaited = function
        self._t1_awaited = now + self.config.t1_s

    def _write_u(self, function: UFunction) -> None:
        self._out.append(_U_FRAMES[function])
        self._queued += 1

    @property
    def _owed(self) -> int:
        """How many ASDUs can be acknowledged; where no I frame may come no S frame may go."""
        return self._unacknowledged - self._held if self._takes_asdus else 0

    def _send_owed_s(self) -> None:
        if self._owed:
            self._send_s()

    def _send_s(self) -> None:
        self._out.append(encode_s(self._acknowledging()))
        self._queued += 1

    def _acknowledging(self) -> int:
        """The N(R) of a frame that goes now. What is still held keeps the t2 of the first, which is the strictest."""
        self._unacknowledged = self._held
        if not self._held:
            self._t2 = inf
        return (self._expected - self._held) & _WRAP

    # -- state ----------------------------------------------------------------------------------------------------

    def _check(self, given: LinkInput) -> None:
        """Refuse what the table has no row for."""
        if not self._machine.can(self.state, given):
            rows = (row for row in self._machine.rows if row.source is self.state and row.event in _FROM_PEER)
            expected = ", ".join(row.event for row in rows) or "TESTFR"
            raise _ViolationError(f"{given} while {self.state}; expected: {expected}")

    def _order(self, given: LinkInput) -> bool:
        if self.state is LinkState.CLOSED:
            return False
        if not self._machine.can(self.state, given):
            raise ValueError(f"{given} while {self.state} and {self.role.value}")
        self._step(given)
        return True

    def _step(self, given: LinkInput) -> None:
        self.state = self._machine.step(self.state, given)
        self._takes_asdus = self._machine.can(self.state, LinkInput.I_FRAME)

    def _close(self, reason: str) -> LinkClosed:
        self._step(LinkInput.FAILED)
        self._t1_of.clear()
        self._unacknowledged = 0
        self._awaited = None
        self._t1_awaited = self._t1_test = self._t2 = self._t3 = inf
        return LinkClosed(reason)
