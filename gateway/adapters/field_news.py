"""What of a field device's words is news: the same rules for every protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.points.point import TIME_UNKNOWN

if TYPE_CHECKING:
    from gateway.adapters.iec104_outlet import Outlet
    from gateway.points.point import PointValue

OUTCOME_UNKNOWN: Final = "it may have been executed: its outcome is not known"
"""In the reason of a negative answer that is no proof that nothing has moved."""


def tell_event(outlet: Outlet, name: str, point: PointValue, *, state: bool, timed: bool) -> None:
    """A device says that something has happened.

    A state that is told again with another time has happened again; with the same time it is the same event, sent
    twice. A value of which only an answer was known is told with its time.

    Args:
        outlet: takes the event.
        name: of the point.
        point: what it says.
        state: it is no number: that it is told again is news.
        timed: its time is the device's.
    """
    table = outlet.table
    known = table.process_value(name)
    if not timed or known is None or known[:2] != point[:2]:
        outlet.update(name, point)
    elif known.t_ns != point.t_ns and (state or known.time_quality == TIME_UNKNOWN):
        event = table.update(name, point)  # the table takes it for no news
        if event is not None or table.get(name) is point:
            outlet.tell([(name, point)])


def tell_answer(outlet: Outlet, name: str, point: PointValue) -> None:
    """A device answers how things stand: no news if it is known so, for its time says no more than that."""
    known = outlet.table.process_value(name)
    if known is None or known[:2] != point[:2]:
        outlet.update(name, point)
