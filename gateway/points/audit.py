"""The audit trail: what was asked of whom, by whom, and what became of it. How a step of it goes through the event log.

A step waits in the event log as an event does, under a key that no point has, and is for the history alone.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

AUDIT_KEY: Final = " audit"
"""In the event log. No point's name begins with a space."""
LONGEST_TEXT: Final = 400
"""Characters of a text; what is longer is cut."""


class AuditDecodeError(ValueError):
    """A step that cannot be read; says why."""


class AuditStep(NamedTuple):
    """One step.

    Attributes:
        t_ns: when, by the clock of who wrote it, ns since 1970.
        via: by which way it came: "104", "mqtt", or "agent" for what an agent was asked on its own machine or by MMS.
        who: asks: a control centre with its address and certificate, or a user.
        originator: originator address of IEC 60870-5-104.
        target: what is to be operated: a point, an agent, or the address that stands for none.
        step: select, execute, cancel, or what else an agent was asked.
        value: that it is to have, in words.
        test: nothing may move.
        outcome: asked, confirmed, done; refused, failed, timed out; ended of a selection that was never executed.
        reason: of what is not as it was asked.
        request: number that the rows of one step share; 0 where there is none.
    """

    t_ns: int
    via: str
    who: str
    originator: int
    target: str
    step: str
    value: str
    test: bool
    outcome: str
    reason: str
    request: int


_TEXTS: Final = ("via", "who", "target", "step", "value", "outcome", "reason")
_NUMBERS: Final = ("t_ns", "originator", "request")
_MOST: Final = 1 << 63


def encode_step(step: AuditStep) -> bytes:
    """For the event log. Of a text what every database takes: one line, not too long."""
    told = step._asdict() | {name: _plain(getattr(step, name)) for name in _TEXTS}
    return json.dumps(told, separators=(",", ":")).encode()


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_TEXT])


def decode_step(octets: bytes) -> AuditStep:
    """What :func:`encode_step` made.

    Raises:
        AuditDecodeError: it is none.
    """
    try:
        found = AuditStep(**json.loads(octets))
    except (ValueError, TypeError, RecursionError) as error:
        raise AuditDecodeError(f"no step of the audit trail: {error}") from None
    for name in _TEXTS:
        if not isinstance(getattr(found, name), str):
            raise AuditDecodeError(f"{name} is no text")
    for name in _NUMBERS:
        value = getattr(found, name)
        if not isinstance(value, int) or not 0 <= value < _MOST:
            raise AuditDecodeError(f"{name} is {value!r}; 0 to {_MOST - 1} expected")
    return found._replace(test=bool(found.test))
