"""What becomes of events that are numbered: lost, told twice, out of order, invented."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.loss.counting_rtu import POINTS

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED: Final = 10


class Heard(NamedTuple):
    """What a consumer was told.

    Attributes:
        point: number of the point.
        number: its value.
        clear: with a time to be trusted: it was an event; else the answer to an interrogation, or a loss.
    """

    point: int
    number: int
    clear: bool


@dataclass
class Count:
    """What one consumer was told.

    Attributes:
        made: events that the device had on its disk.
        told: of these.
        lost: never told.
        disordered: told first behind a later one of the same point.
        invented: told and never made.
        repeated: told more than once, which is allowed.
        answers: told without being events.
    """

    made: int = 0
    told: int = 0
    lost: list[int] = field(default_factory=list)
    disordered: list[int] = field(default_factory=list)
    invented: list[Heard] = field(default_factory=list)
    repeated: int = 0
    answers: int = 0

    @property
    def good(self) -> bool:
        """Nothing was lost, nothing out of order, nothing invented, and there was something."""
        return self.told > 0 and not (self.lost or self.disordered or self.invented)

    def as_dict(self) -> dict[str, Any]:
        """How many of each, and the first of what should not be."""
        wrong = ("lost", "disordered", "invented")
        counts = {name: len(getattr(self, name)) if name in wrong else value for name, value in asdict(self).items()}
        first = {name: [str(each) for each in getattr(self, name)[:_NAMED]] for name in wrong if getattr(self, name)}
        return counts | ({"first": first} if first else {})


def judge(heard: Iterable[Heard], made: int) -> Count:
    """Compare what was told with the events 1 to ``made``, each at the point of its number."""
    count = Count(made=made)
    seen: set[int] = set()
    last: dict[int, int] = {}
    for each in heard:
        if each.number % POINTS != each.point or not 0 < each.number <= made:
            count.invented.append(each)
        elif not each.clear:
            count.answers += 1
        elif each.number in seen:
            count.repeated += 1
        else:
            seen.add(each.number)
            if each.number < last.get(each.point, 0):
                count.disordered.append(each.number)
            last[each.point] = max(each.number, last.get(each.point, 0))
    count.told = len(seen)
    count.lost = sorted(set(range(1, made + 1)) - seen)
    return count
