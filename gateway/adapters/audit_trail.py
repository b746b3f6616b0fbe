"""Control steps to the audit trail: into the event log at once, from where the history has them.

Who commands faster than the trail can reasonably grow does not push what others did out of it: beyond a rate steps are
counted, and the trail says how many it does not have.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.iec104.asdu import InformationObject
from gateway.points.audit import AUDIT_KEY, AuditStep, encode_step
from gateway.points.mapping import Control
from gateway.points.mapping_rules import MappingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.iec104.commands import ControlStep

_LOG: Final = logging.getLogger(__name__)
PER_S: Final = 100.0
"""Steps that are kept, in the long run."""
BURST: Final = 2_000
"""Steps that are kept at once."""


class AuditTrail:
    """Keeps steps.

    Args:
        keep: takes key, payload and time for the event log.
    """

    def __init__(self, keep: Callable[[str, bytes, int], None]) -> None:
        self._keep = keep
        self._room = float(BURST)
        self._at = 0.0
        self._missing = 0

    def note(self, step: ControlStep, now: float, utc_ns: int) -> None:
        """A step at the desk of all masters.

        Args:
            step: it.
            now: s.
            utc_ns: ns since 1970.
        """
        self.add(
            AuditStep(
                t_ns=utc_ns,
                via=step.via,
                who=step.who,
                originator=step.originator,
                target=step.name,
                step=step.step,
                value=_value(step),
                test=step.test,
                outcome=step.outcome,
                reason=step.why,
                request=step.number,
            ),
            now,
        )

    def add(self, step: AuditStep, now: float) -> None:
        """Keep a step, unless there were too many of late."""
        self._room = min(BURST, self._room + (now - self._at) * PER_S)
        self._at = now
        if self._room < 1:
            if not self._missing:
                _LOG.error("audit trail: more than %g steps a second: not all are kept", PER_S)
            self._missing += 1
            return
        if self._missing:
            gap = AuditStep(step.t_ns, step.via, "", 0, "", "", "", False, "missing", "", 0)
            why = f"{self._missing} steps before this were too many to be kept"
            self._missing = 0
            self.add(gap._replace(reason=why), now)
        self._room -= 1
        self._keep(AUDIT_KEY, encode_step(step), step.t_ns)


def _value(step: ControlStep) -> str:
    """What the point is to be: that of the object may have another sense or scale."""
    value: object = step.value
    control = step.control
    if control is not None and isinstance(control.detail, Control):
        try:
            value = control.detail.to_command(InformationObject(control.IOA, step.value, step.qualifier)).value
        except MappingError:
            return f"{value} (of the object)"
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
