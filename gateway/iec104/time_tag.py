"""Time tags of IEC 60870-5-101 (7.2.6.18 CP56Time2a, 7.2.6.19 CP24Time2a), and the clock time they are told in.

A tag says neither its century nor its time zone. Years 70 to 99 are 1970 to 1999 here, 00 to 69 are 2000 to 2069; the
zone is a matter of configuration: :class:`TimeBase`.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from gateway.iec104.errors import Iec104DecodeError, Iec104EncodeError

if TYPE_CHECKING:
    from typing import Self

_NO_SAVING: Final = dt.timedelta(0)
_NS_PER_MS: Final = 1_000_000
_NS_PER_MINUTE: Final = 60_000_000_000
_NEVER_MS: Final = 1 << 80
_MS_PER_MINUTE: Final = 60_000
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2069
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# Minutes since 1970 whose year may be in range; what is not, is told apart in local time.
_FIRST_MINUTE: Final = -1440
_LAST_MINUTE: Final = (dt.datetime(2070, 1, 2, tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(minutes=1)


class _TimeTag(bytes):
    """What both tags have in common: milliseconds and minute."""

    __slots__ = ()
    SIZE: int

    def __new__(cls, octets: bytes) -> Self:
        if len(octets) != cls.SIZE:
            raise Iec104EncodeError(f"{cls.__name__} has {cls.SIZE} octets, not {len(octets)}")
        return super().__new__(cls, octets)

    @property
    def milliseconds(self) -> int:
        """Of the minute, seconds included; 0 to 59999 in a valid tag, 65535 at most."""
        return self[0] | self[1] << 8

    @property
    def minute(self) -> int:
        """Of the hour; 0 to 59 in a valid tag, 63 at most."""
        return self[2] & 0x3F

    @property
    def invalid(self) -> bool:
        """IV: the clock that told this is not to be trusted."""
        return self[2] >= 0x80

    @property
    def substituted(self) -> bool:
        """RES1 used as GEN: the time was put in by an intermediate station."""
        return self[2] & 0x40 != 0


class CP24Time2a(_TimeTag):
    """3 octets: minute and milliseconds, in an hour that only the receiver's clock knows."""

    __slots__ = ()
    SIZE = 3


class CP56Time2a(_TimeTag):
    """7 octets: date and time. They are kept as they came: nothing is checked before :meth:`TimeBase.decode`."""

    __slots__ = ()
    SIZE = 7

    @property
    def hour(self) -> int:
        """0 to 23 in a valid tag, 31 at most."""
        return self[3] & 0x1F

    @property
    def summer(self) -> bool:
        """SU: the hour is one of summer time."""
        return self[3] >= 0x80

    @property
    def day(self) -> int:
        """Of the month; 1 to 31, or 0 in an invalid tag."""
        return self[4] & 0x1F

    @property
    def day_of_week(self) -> int:
        """1 Monday to 7 Sunday, 0 not used."""
        return self[4] >> 5

    @property
    def month(self) -> int:
        """1 to 12 in a valid tag, 15 at most."""
        return self[5] & 0x0F

    @property
    def year(self) -> int:
        """Of the century; 0 to 99 in a valid tag, 127 at most."""
        return self[6] & 0x7F

    @property
    def valid_date(self) -> bool:
        """Whether calendar and clock know this time; IV is another matter, and so is the time zone."""
        try:
            _read_local_minute(self)
        except Iec104DecodeError:
            return False
        return self.milliseconds < _MS_PER_MINUTE


_NO_TIME: Final = CP56Time2a(bytes.fromhex("00008000010146"))  # 1970-01-01 00:00, IV


class TimeBase:
    """The clock time that tags are told in: UTC, or local time with the summer bit.

    SU says which of the two hours it is when clocks are put back. It follows the zone strictly: a tag whose SU
    is not what the zone had at that time is refused, since one of the two is an hour off.

    Args:
        name: ``UTC``, or an IANA zone such as ``Europe/Sarajevo``.

    Raises:
        Iec104EncodeError: this machine knows no such zone.

    Attributes:
        name: as given.
    """

    def __init__(self, name: str = "UTC") -> None:
        self.name = name
        self._zone: dt.tzinfo = dt.UTC
        if name != "UTC":
            try:
                self._zone = ZoneInfo(name)
            except (KeyError, ValueError, OSError) as error:
                raise Iec104EncodeError(f"{name!r} is no time zone of this machine") from error
        self._winter_is_deviation: dict[int, bool] = {}
        # What was encoded and decoded last, all but the milliseconds: events come in bursts.
        self._minute_begins_ms = _NEVER_MS
        self._above_ms = (b"", b"")
        self._octets_read = b""
        self._ns_read = 0

    def encode(self, utc_ns: int, *, invalid: bool = False) -> CP56Time2a:
        """The tag of a time, cut to milliseconds. The day of the week is left out.

        Args:
            utc_ns: nanoseconds since 1970.
            invalid: set IV. A time that no tag can hold is then told as 1970-01-01 00:00.

        Raises:
            Iec104EncodeError: outside of the local years 1970 to 2069.
        """
        return bytes.__new__(CP56Time2a, self._octets(utc_ns, invalid=invalid))  # past the constructor's check

    def tag(self, utc_ns: int, *, invalid: bool = False) -> CP56Time2a:
        """As :meth:`encode`; of a time that no tag can hold one that says so: its clock is not to be believed."""
        return bytes.__new__(CP56Time2a, self.octets(utc_ns, invalid=invalid))

    def octets(self, utc_ns: int, *, invalid: bool = False) -> bytes:
        """As :meth:`tag`, without a class around it: events come by the ten thousand."""
        try:
            return self._octets(utc_ns, invalid=invalid)
        except Iec104EncodeError:
            return self._octets(utc_ns, invalid=True)

    def parts(self, utc_ns: int, invalid: bool, /) -> tuple[int, bytes]:
        """What :meth:`encode` puts together: the milliseconds of the minute, and the 5 octets behind them.

        Raises:
            Iec104EncodeError: as :meth:`encode`, whatever IV says.
        """
        # Only divisors below 2 ** 30: Python takes several times as long for others.
        ms = utc_ns // _NS_PER_MS - self._minute_begins_ms
        if not 0 <= ms < _MS_PER_MINUTE:
            minute, ms = divmod(utc_ns // _NS_PER_MS, _MS_PER_MINUTE)
            above_ms = self._tell_minute(minute)
            if above_ms is None:
                raise Iec104EncodeError(f"{utc_ns} ns since 1970: a CP56Time2a holds the years 1970 to 2069")
            self._minute_begins_ms, self._above_ms = minute * _MS_PER_MINUTE, above_ms
        return ms, self._above_ms[invalid]

    def _octets(self, utc_ns: int, *, invalid: bool) -> bytes:
        try:
            ms, above_ms = self.parts(utc_ns, invalid)
        except Iec104EncodeError:
            if invalid:
                return _NO_TIME
            raise
        return ms.to_bytes(2, "little") + above_ms

    def decode(self, tag: CP56Time2a) -> int:
        """Nanoseconds since 1970, whatever IV says.

        Raises:
            Iec104DecodeError: names the part that makes it no time; of a time that the zone leaves out the hour.
        """
        ms = tag[0] | tag[1] << 8
        if ms >= _MS_PER_MINUTE:
            raise Iec104DecodeError("milliseconds", 0, f"{ms}, above 59999")
        octets = tag[2:]
        if octets != self._octets_read:
            self._ns_read = self._read_minute(tag)
            self._octets_read = octets
        return self._ns_read + ms * _NS_PER_MS

    def _tell_minute(self, minute: int) -> tuple[bytes, bytes] | None:
        """The octets after the milliseconds, without and with IV; None if there are none."""
        if not _FIRST_MINUTE <= minute <= _LAST_MINUTE:
            return None
        local = (_EPOCH + dt.timedelta(minutes=minute)).astimezone(self._zone)
        # Liberia was 44.5 minutes behind UTC until 1972; no other zone has parts of a minute since 1970.
        if not _FIRST_YEAR <= local.year <= _LAST_YEAR or local.second:
            return None
        rest = bytes((local.hour | self._is_summer(local) << 7, local.day, local.month, local.year % 100))
        return bytes((local.minute,)) + rest, bytes((local.minute | 0x80,)) + rest

    def _read_minute(self, tag: CP56Time2a) -> int:
        wall = _read_local_minute(tag)
        exists = False
        for fold in (0, 1):  # the second is another time only where clocks are put back
            local = wall.replace(fold=fold, tzinfo=self._zone)
            utc = local.astimezone(dt.UTC)
            if utc.astimezone(self._zone).replace(tzinfo=None) == wall:
                exists = True
                if self._is_summer(local) == tag.summer:
                    return (utc - _EPOCH) // dt.timedelta(minutes=1) * _NS_PER_MINUTE
        if not exists:
            raise Iec104DecodeError("hour", 3, f"clocks of {self.name} left out {wall:%Y-%m-%d %H:%M}")
        raise Iec104DecodeError("SU", 3, f"{tag.summer:d}, which {self.name} did not have at {wall:%Y-%m-%d %H:%M}")

    def _is_summer(self, local: dt.datetime) -> bool:
        """Whether it is summer time; also where the law calls that the standard and winter the deviation (Ireland)."""
        saving = local.dst()
        if saving:
            return saving > _NO_SAVING
        if local.year not in self._winter_is_deviation:
            days = (dt.datetime(local.year, month, day, tzinfo=self._zone) for month in range(1, 13) for day in (1, 15))
            self._winter_is_deviation[local.year] = any((day.dst() or _NO_SAVING) < _NO_SAVING for day in days)
        return self._winter_is_deviation[local.year]


def _read_local_minute(tag: CP56Time2a) -> dt.datetime:
    """Date, hour and minute as they are told.

    Raises:
        Iec104DecodeError: names the part that the calendar or the clock does not know.
    """
    if tag.minute > 59:
        raise Iec104DecodeError("minute", 2, f"{tag.minute}, above 59")
    if tag.hour > 23:
        raise Iec104DecodeError("hour", 3, f"{tag.hour}, above 23")
    if not 1 <= tag.month <= 12:
        raise Iec104DecodeError("month", 5, f"{tag.month}, not 1 to 12")
    if tag.year > 99:
        raise Iec104DecodeError("year", 6, f"{tag.year}, above 99")
    year = tag.year + (1900 if tag.year >= _FIRST_YEAR % 100 else 2000)
    try:
        return dt.datetime(year, tag.month, tag.day, tag.hour, tag.minute)  # noqa: DTZ001 - the zone comes later
    except ValueError:
        raise Iec104DecodeError("day", 4, f"{tag.day} of {year}-{tag.month:02}") from None
