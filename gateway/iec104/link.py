"""One connection of IEC 60870-5-104 (clause 5): numbering, acknowledgement, start, stop and test. Sans-IO.

``receive`` and ``handle_timer`` say what has come of it, ``data_to_send`` what is to be written, ``next_deadline`` when
to look again. Every violation closes the connection and names what came and what was expected; nothing comes after it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

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

_INF: Final = float("inf")


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Window and time limits of a connection (5.5, 9.6); both ends must agree on k and w.

    Attributes:
        k: most I frames that may be unacknowledged.
        w: I frames that are acknowledged at the latest when so many have come; two thirds of k is usual.
        t1_s: an I frame or a U frame that asks is answered within this, s.
        t2_s: I frames are acknowledged within this, s.
        t3_s: the connection is tested when nothing has come for so long, s.
        shortest_asdu: fewest octets of an ASDU; less than the default only with smaller address fields.

    Raises:
        ValueError: names the field and what was expected.
    """

    k: int = 12
    w: int = 8
    t1_s: float = 15.0
    t2_s: float = 10.0
    t3_s: float = 20.0
    shortest_asdu: int = SHORTEST_ASDU

    def __post_init__(self) -> None:
        if not 1 <= self.k < SEQUENCE_NUMBERS:
            raise ValueError(f"k is {self.k}; 1 to {SEQUENCE_NUMBERS - 1} expected")
        if not 1 <= self.w <= self.k:
            raise ValueError(f"w is {self.w}; 1 to k, {self.k}, expected: or the other end waits for t2")
        if not 0 < self.t2_s < self.t1_s:
            raise ValueError(f"t2 is {self.t2_s} s; more than 0 and less than t1, {self.t1_s} s, expected")
        if self.t3_s <= 0:
            raise ValueError(f"t3 is {self.t3_s} s; more than 0 expected")


class Role(Enum):
    """Which end this is."""

    CONTROLLED = "controlled"
    CONTROLLING = "controlling"


class LinkState(Enum):
    """Whether data flow (5.3): the standard's states, with both unconfirmed ones of stopping in one."""

    STOPPED = "stopped"
    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class DataTransferStarted:
    """STARTDT is confirmed."""


@dataclass(frozen=True, slots=True)
class DataTransferStopped:
    """STOPDT is confirmed."""


@dataclass(frozen=True, slots=True)
class AsduReceived:
    """An ASDU has come, in its turn."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All own ASDUs up to and including this number have arrived."""

    number: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The connection is to be closed; the last of its events."""

    reason: str


LinkEvent = DataTransferStarted | DataTransferStopped | AsduReceived | Acknowledged | LinkClosed

_LEADS_TO: Final[dict[tuple[Role, LinkState, UFunction], LinkState]] = {
    (Role.CONTROLLED, LinkState.STOPPED, UFunction.STARTDT_ACT): LinkState.STARTED,
    (Role.CONTROLLED, LinkState.STARTED, UFunction.STARTDT_ACT): LinkState.STARTED,
    (Role.CONTROLLED, LinkState.STOPPED, UFunction.STOPDT_ACT): LinkState.STOPPING,
    (Role.CONTROLLED, LinkState.STARTED, UFunction.STOPDT_ACT): LinkState.STOPPING,
    (Role.CONTROLLED, LinkState.STOPPING, UFunction.STOPDT_ACT): LinkState.STOPPING,
    (Role.CONTROLLING, LinkState.STARTING, UFunction.STARTDT_CON): LinkState.STARTED,
    (Role.CONTROLLING, LinkState.STOPPING, UFunction.STOPDT_CON): LinkState.STOPPED,
}
"""Where a U frame that starts or stops leads; one that is not in it closes the connection."""
_TAKES_I: Final = frozenset(
    (
        (Role.CONTROLLED, LinkState.STARTED),
        (Role.CONTROLLING, LinkState.STARTED),
        (Role.CONTROLLING, LinkState.STOPPING),
    )
)
"""When I frames may come: to a controlling station until its STOPDT is confirmed."""


class Link:
    """One connection.

    Args:
        config: window and time limits.
        role: which end this is.
        now: when the connection was made, s.

    Attributes:
        state: whether data flow.
        close_reason: why it is closed; empty while it is open.
    """

    def __init__(self, config: LinkConfig, role: Role, now: float) -> None:
        self.config = config
        self.role = role
        self.state = LinkState.STOPPED
        self.close_reason = ""
        self._splitter = FrameSplitter(config.shortest_asdu)
        self._out: list[bytes] = []
        self._sent_at: deque[float] = deque()
        self._sent = 0
        self._acknowledged = 0
        self._received = 0
        self._told = 0  # of those received the other end knows
        self._ack_due = _INF
        self._idle_due = now + config.t3_s
        self._answer_due: dict[UFunction, float] = {}

    @property
    def window(self) -> int:
        """How many ASDUs may be sent now."""
        return self.config.k - self._sent + self._acknowledged if self.state is LinkState.STARTED else 0

    @property
    def next_deadline(self) -> float:
        """When :meth:`handle_timer` is due, s."""
        if self.state is LinkState.CLOSED:
            return _INF
        unacknowledged = self._sent_at[0] + self.config.t1_s if self._sent_at else _INF
        return min(self._ack_due, self._idle_due, unacknowledged, *self._answer_due.values())

    def data_to_send(self) -> bytes:
        """What is to be written now."""
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    def send(self, asdu: bytes, now: float) -> int:
        """Send an ASDU.

        Returns:
            Its number on this connection, from 0 on; :class:`Acknowledged` refers to it.

        Raises:
            ValueError: the window is closed.
            Iec104EncodeError: the ASDU is too long.
        """
        if self.window <= 0:
            raise ValueError("nothing may be sent now: look at window before")
        self._out.append(encode_i(self._sent % SEQUENCE_NUMBERS, self._received % SEQUENCE_NUMBERS, asdu))
        self._told, self._ack_due = self._received, _INF
        self._sent_at.append(now)
        self._sent += 1
        return self._sent - 1

    # -- asked for by our side ------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """As the controlling station: ask for data."""
        if self.role is Role.CONTROLLING and self.state is LinkState.STOPPED:
            self.state = LinkState.STARTING
            self._ask(UFunction.STARTDT_ACT, UFunction.STARTDT_CON, now)

    def stop(self, now: float) -> None:
        """As the controlling station: ask for no more data."""
        if self.role is Role.CONTROLLING and self.state is LinkState.STARTED:
            self._acknowledge()
            self.state = LinkState.STOPPING
            self._ask(UFunction.STOPDT_ACT, UFunction.STOPDT_CON, now)

    def deactivate(self) -> None:
        """As the controlled station: another connection of the group has started; nothing more is sent here."""
        if self.role is Role.CONTROLLED and self.state is LinkState.STARTED:
            self._acknowledge()
            self.state = LinkState.STOPPED

    def test(self, now: float) -> None:
        """Test the connection now."""
        if self.state is not LinkState.CLOSED and UFunction.TESTFR_CON not in self._answer_due:
            self._ask(UFunction.TESTFR_ACT, UFunction.TESTFR_CON, now)

    def _ask(self, function: UFunction, answer: UFunction, now: float) -> None:
        self._out.append(encode_u(function))
        self._answer_due[answer] = now + self.config.t1_s

    def _acknowledge(self) -> None:
        if self._told < self._received:
            self._out.append(encode_s(self._received % SEQUENCE_NUMBERS))
            self._told, self._ack_due = self._received, _INF

    # -- what comes -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Octets have come; what they mean, in order."""
        events: list[LinkEvent] = []
        if self.state is LinkState.CLOSED:
            return events
        slipped = ""
        try:
            frames = self._splitter.feed(data)
        except FrameError as error:
            frames, slipped = list(error.frames), str(error)
        before = self._acknowledged
        why = ""
        for frame in frames:
            why = self._take(frame, events)
            if why:
                break
        if self._acknowledged > before:
            events.append(Acknowledged(self._acknowledged - 1))
        if self._stop_confirmed():
            events.append(DataTransferStopped())
        if why or slipped:
            return [*events, self._close(why or slipped)]
        if frames:
            self._idle_due = now + self.config.t3_s
        if self._received - self._told >= self.config.w:
            self._acknowledge()
        elif self._received > self._told and self._ack_due == _INF:
            self._ack_due = now + self.config.t2_s
        return events

    def _take(self, frame: Frame, events: list[LinkEvent]) -> str:
        """Act on a frame; why the connection must be closed, empty if it need not."""
        if isinstance(frame, IFrame):
            ns, nr, asdu = frame
            if (self.role, self.state) not in _TAKES_I:
                return f"I frame while data transfer is {self.state.value}; none expected"
            if ns != self._received % SEQUENCE_NUMBERS:
                return f"N(S) {ns}; {self._received % SEQUENCE_NUMBERS} expected"
            self._received += 1
            events.append(AsduReceived(asdu))
            return self._take_nr(nr)
        if isinstance(frame, SFrame):
            return self._take_nr(frame.nr)
        return self._take_u(frame.function, events)

    def _take_nr(self, nr: int) -> str:
        arrived = (nr - self._acknowledged) % SEQUENCE_NUMBERS
        waiting = self._sent - self._acknowledged
        if arrived > waiting:
            first = self._acknowledged % SEQUENCE_NUMBERS
            return f"N(R) {nr}; {first} to {self._sent % SEQUENCE_NUMBERS} expected"
        self._acknowledged += arrived
        for _ in range(arrived):
            self._sent_at.popleft()
        return ""

    def _take_u(self, function: UFunction, events: list[LinkEvent]) -> str:
        if function is UFunction.TESTFR_ACT:
            self._out.append(encode_u(UFunction.TESTFR_CON))
            return ""
        if function is UFunction.TESTFR_CON:
            self._answer_due.pop(function, None)  # one that nobody asked for does no harm
            return ""
        state = _LEADS_TO.get((self.role, self.state, function))
        if state is None:
            return f"{function.name} at the {self.role.value} station while data transfer is {self.state.value}"
        self._answer_due.pop(function, None)
        before, self.state = self.state, state
        if function is UFunction.STARTDT_ACT:
            self._out.append(encode_u(UFunction.STARTDT_CON))
        if state is LinkState.STARTED and before is not state:
            events.append(DataTransferStarted())
        elif function is UFunction.STOPDT_CON:
            self._acknowledge()
            events.append(DataTransferStopped())
        elif function is UFunction.STOPDT_ACT:
            self._acknowledge()
            if self._stop_confirmed():
                events.append(DataTransferStopped())
        return ""

    def _stop_confirmed(self) -> bool:
        """As the controlled station: confirm a STOPDT as soon as all own I frames have arrived (5.3)."""
        if self.state is not LinkState.STOPPING or self.role is not Role.CONTROLLED or self._sent_at:
            return False
        self._out.append(encode_u(UFunction.STOPDT_CON))
        self.state = LinkState.STOPPED
        return True

    def handle_timer(self, now: float) -> list[LinkEvent]:
        """Do what is due."""
        config = self.config
        if self.state is LinkState.CLOSED:
            return []
        if self._sent_at and now >= self._sent_at[0] + config.t1_s:
            return [self._close(f"{len(self._sent_at)} I frames not acknowledged within t1, {config.t1_s:g} s")]
        for answer, due in self._answer_due.items():
            if now >= due:
                return [self._close(f"no {answer.name} within t1, {config.t1_s:g} s")]
        if now >= self._ack_due:
            self._acknowledge()
        if now >= self._idle_due:
            self._idle_due = now + config.t3_s
            self.test(now)
        return []

    def _close(self, reason: str) -> LinkClosed:
        self.state, self.close_reason = LinkState.CLOSED, reason
        self._sent_at.clear()
        self._answer_due.clear()
        return LinkClosed(reason)
