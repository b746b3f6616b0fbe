"""A point's time and quality in words, for people and for protocols that speak in text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ied_agents.iec61850.quality import Quality
from ied_agents.iec61850.utctime import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DETAILS: Final = (
    "overflow", "outOfRange", "badReference", "oscillatory", "failure", "oldData", "inconsistent", "inaccurate",
    "substituted", "test", "operatorBlocked",
)  # fmt: skip


def time_text(t_ns: int, zone: tzinfo | None = UTC) -> str:
    """ISO 8601 with all nine digits: a device's clock may tell them.

    Args:
        t_ns: ns since 1970 UTC.
        zone: None for that of the machine, with its offset; else UTC.
    """
    at = (_EPOCH + timedelta(seconds=t_ns // 1_000_000_000)).astimezone(zone)
    offset = "Z" if zone is not None else at.isoformat()[19:]
    return f"{at:%Y-%m-%dT%H:%M:%S}.{t_ns % 1_000_000_000:09}{offset}"


def quality_text(bits: int) -> str:
    """The quality (13 bits) in the words of IEC 61850-7-3: ``good``, ``questionable|oldData``."""
    return "|".join(_quality_words(Quality.from_int(bits)))


def _quality_words(quality: Quality) -> Iterator[str]:
    yield quality.validity.name.lower()
    for name in _DETAILS:
        if getattr(quality, name):
            yield name


def clock_text(octet: int) -> str:
    """What the clock of a time says of itself, by its quality octet; nothing if it is well."""
    return "|".join(
        word
        for bit, word in ((TimeQuality.CLOCK_FAILURE, "failure"), (TimeQuality.NOT_SYNCHRONISED, "not synchronised"))
        if octet & bit
    )
