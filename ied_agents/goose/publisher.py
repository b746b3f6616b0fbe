"""Publishes one GOOSE control block: numbers, repetitions, time to live (IEC 61850-8-1). Sans-IO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ied_agents.goose.ber import encode_element, encode_length, read_header
from ied_agents.goose.errors import GooseEncodeError
from ied_agents.goose.frame import MAX_PAYLOAD, encode_frame_header, encode_length_and_reserved
from ied_agents.goose.pdu import (
    MAX_COUNTER,
    encode_boolean,
    encode_counter,
    encode_fixed_counter,
    encode_reference,
)

if TYPE_CHECKING:
    from ied_agents.iec61850.utctime import UtcTime

_MIDDLE_GAPS_MS: Final = (16, 100)

_LIVE_GAPS: Final = 2.5
"""timeAllowedtoLive in longest gaps. The standard's idea is two; the half more lets a subscriber miss one
frame without a race between the end of the time and the frame that follows the lost one. The value is the
same for every
frame: a shorter one just after a change would let a single lost frame end the stream."""


@dataclass(frozen=True, slots=True)
class PublisherConfig:
    """One GOOSE control block and its address, as the SCD gives them.

    Attributes:
        dst: multicast address, 6 octets.
        src: our address, 6 octets.
        vlan_id: of the 802.1Q tag; None for no tag.
        vlan_priority: 0 to 7; 4 is the standard's default.
        appid: 16 bits.
        gocbRef: reference of the control block.
        datSet: reference of the data set.
        goID: identifier; None for none.
        confRev: configuration revision.
        numDatSetEntries: members of the data set.
        min_time_ms: gap to the first repetition (MinTime).
        max_time_ms: longest gap (MaxTime).
        simulation: whether we speak in place of a real device.
        ndsCom: whether the control block needs commissioning.
        fixedOffs: write the counters in their full width (GSEControl fixedOffs); the members come encoded.
    """

    dst: bytes
    src: bytes
    vlan_id: int | None
    vlan_priority: int
    appid: int
    gocbRef: str
    datSet: str
    goID: str | None
    confRev: int
    numDatSetEntries: int
    min_time_ms: int = 4
    max_time_ms: int = 1000
    simulation: bool = False
    ndsCom: bool = False
    fixedOffs: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.min_time_ms <= self.max_time_ms:
            raise GooseEncodeError(f"MinTime {self.min_time_ms} ms must be above 0 and not above MaxTime")

    @property
    def gaps_ms(self) -> tuple[int, ...]:
        """Time from each frame of a state to the next; the last one repeats."""
        middle = [gap for gap in _MIDDLE_GAPS_MS if self.min_time_ms < gap < self.max_time_ms]
        return (self.min_time_ms, *middle, self.max_time_ms)

    @property
    def timeAllowedtoLive(self) -> int:
        """What every frame says, in ms."""
        return round(self.max_time_ms * _LIVE_GAPS)


class _Shape(NamedTuple):
    """The octets that all states have in common whose numbers and members take the same room.

    A frame is ``before_t``, t, ``before_stNum``, stNum, ``before_data``, members.
    """

    before_t: bytes
    before_stNum: bytes
    stNum_octets: int
    before_data: bytes
    data_octets: int


class Publisher:
    """State machine of one control block.

    Send every frame that :meth:`publish` or :meth:`handle_timer` returns, at once, and call
    :meth:`handle_timer` when :attr:`next_deadline` has come. Times are seconds of one monotonic clock.

    Attributes:
        config: as given.
        stNum: number of the current state; 0 before the first.
        sqNum: number of the last frame within it.
    """

    def __init__(self, config: PublisherConfig) -> None:
        self.config = config
        self.stNum = 0
        self.sqNum = 0
        self._deadline: float | None = None
        self._gaps = tuple(gap / 1000 for gap in config.gaps_ms)
        self._sent = 0  # frames of this state, as far as the gaps differ
        self._all_data: bytes | None = None
        self._counter = encode_fixed_counter if config.fixedOffs else encode_counter
        self._ethernet = encode_frame_header(config.dst, config.src, config.vlan_id, config.vlan_priority, config.appid)
        self._before_t = (
            encode_reference(0x80, config.gocbRef)
            + self._counter(0x81, config.timeAllowedtoLive)
            + encode_reference(0x82, config.datSet)
            + (b"" if config.goID is None else encode_reference(0x83, config.goID))
            + b"\x84\x08"
        )
        self._after_sqNum = (
            encode_boolean(0x87, config.simulation)
            + self._counter(0x88, config.confRev)
            + encode_boolean(0x89, config.ndsCom)
            + self._counter(0x8A, config.numDatSetEntries)
            + b"\xab"
        )
        self._shape = _Shape(b"", b"", 0, b"", -1)
        self._first_sqNum = (0, 0)  # where the sqNum lies in frames of that shape
        self._frame = b""
        self._t_start = self._sqNum_start = self._sqNum_stop = 0

    @property
    def next_deadline(self) -> float | None:
        """When the next repetition is due; None before the first state."""
        return self._deadline

    def publish(self, all_data: bytes, now: float, t: UtcTime) -> bytes | None:
        """Offer the members' current values.

        Args:
            all_data: the members, encoded one after the other (without allData's own tag and length).
            now: seconds.
            t: the time of the change, if it is one.

        Returns:
            The frame of the new state; None if nothing changed.

        Raises:
            GooseEncodeError: the number of members differs from the data set's, or the frame grows too long.
        """
        if all_data == self._all_data:
            return None
        if self._all_data is None:
            self._check_count(all_data)
        stNum = self.stNum % MAX_COUNTER + 1
        shape = self._shape
        # After the overrun stNum is short again.
        if len(all_data) == shape.data_octets and 1 < stNum < 1 << 8 * shape.stNum_octets - 1:
            number = stNum.to_bytes(shape.stNum_octets, "big")
            self._frame = b"".join(
                (shape.before_t, t.encode(), shape.before_stNum, number, shape.before_data, all_data)
            )
            self._sqNum_start, self._sqNum_stop = self._first_sqNum
        else:
            self._render(t.encode(), stNum, 0, all_data)
        self._all_data = all_data
        self.stNum, self.sqNum = stNum, 0
        self._sent = 0
        self._deadline = now + self._gaps[0]
        return self._frame

    def handle_timer(self, now: float) -> bytes | None:
        """The next repetition if it is due, else None.

        The gaps are counted from deadline to deadline, so that they do not drift. A call that comes later
        than a whole gap sends one frame and counts from then on.
        """
        if self._deadline is None or now < self._deadline or self._all_data is None:
            return None
        self.sqNum = self.sqNum % MAX_COUNTER + 1
        frame, start, stop = self._frame, self._sqNum_start, self._sqNum_stop
        if self.sqNum >> 8 * (stop - start) - 1:
            self._render(frame[self._t_start : self._t_start + 8], self.stNum, self.sqNum, self._all_data)
        else:
            self._frame = b"".join((frame[:start], self.sqNum.to_bytes(stop - start, "big"), frame[stop:]))
        self._sent = min(self._sent + 1, len(self._gaps) - 1)
        gap = self._gaps[self._sent]
        self._deadline += gap
        if self._deadline <= now:
            self._deadline = now + gap
        return self._frame

    def _render(self, t: bytes, stNum: int, sqNum: int, all_data: bytes) -> None:
        """Write the frame anew. It stays as it was if it would be too long."""
        state = self._before_t + t + self._counter(0x85, stNum)
        sequence = self._counter(0x86, sqNum)
        content = b"".join((state, sequence, self._after_sqNum, encode_length(len(all_data)), all_data))
        apdu = encode_element(0x61, content)
        if len(apdu) + 8 > MAX_PAYLOAD:
            raise GooseEncodeError(f"{self.config.gocbRef}: {len(apdu) + 8} octets do not fit a frame of {MAX_PAYLOAD}")
        reserved = encode_length_and_reserved(len(apdu), simulated=self.config.simulation)
        frame = self._frame = self._ethernet + reserved + apdu
        start = len(frame) - len(content)
        t_start = self._t_start = start + len(self._before_t)
        stNum_start, stNum_stop = t_start + 10, start + len(state)
        self._sqNum_start, self._sqNum_stop = stNum_stop + 2, stNum_stop + len(sequence)
        if sqNum == 0:
            before_data = frame[stNum_stop : len(frame) - len(all_data)]
            self._first_sqNum = self._sqNum_start, self._sqNum_stop
            self._shape = _Shape(
                frame[:t_start],
                frame[t_start + 8 : stNum_start],
                stNum_stop - stNum_start,
                before_data,
                len(all_data),
            )

    def _check_count(self, all_data: bytes) -> None:
        count = position = 0
        while position < len(all_data):
            _, _, position = read_header(all_data, position, len(all_data), "allData", strict=True)
            count += 1
        if count != self.config.numDatSetEntries:
            raise GooseEncodeError(
                f"{self.config.gocbRef}: {count} members, the data set has {self.config.numDatSetEntries}"
            )
