"""What is wrong in an SCL file: findings with rule, severity, place.

A finding names one fault at the element where it is to be mended; what merely follows from it elsewhere is
not reported again. ``RULES`` says what each rule asks for.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from scl.document import SclError
from scl.reader import parse_all
from scl.rules import RULES, Checked, Finding, Severity, of_error
from scl.rules_agents import AGENT_CHECKS
from scl.rules_communication import COMMUNICATION_CHECKS
from scl.rules_references import REFERENCE_CHECKS
from scl.rules_relays import RELAY_CHECKS
from scl.rules_structure import STRUCTURE_CHECKS
from scl.rules_types import TYPE_CHECKS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from scl.model import SCL

_CHECKS: Final = (
    *STRUCTURE_CHECKS,
    *TYPE_CHECKS,
    *REFERENCE_CHECKS,
    *COMMUNICATION_CHECKS,
    *AGENT_CHECKS,
    *RELAY_CHECKS,
)

MAX_FINDINGS: Final = 1_000
"""Most findings that one check makes; a file that is wrong all over has as many as anyone wants to read."""

__all__ = ["RULES", "Finding", "Severity", "check", "validate"]


def check(
    data: bytes,
    file: str = "",
    *,
    normally_open: Collection[str] | None = None,
    others: Sequence[SCL] = (),
) -> list[Finding]:
    """Read a file and validate it; a file that cannot be read at all gives one finding.

    Args:
        data: the file.
        file: its name.
        normally_open: paths of the switches that are normally open, from the site file. With it every
            subscription that an agent needs is asked for, without it only those to the switches next to its
            own.
        others: files of single IEDs (CID, IID) whose copies of publishers must agree with this file.
    """
    try:
        scl, problems = parse_all(data, file)
    except SclError as error:
        return [of_error(error)]
    return validate(scl, problems, normally_open=normally_open, others=others)


def validate(
    scl: SCL,
    problems: Sequence[SclError] = (),
    *,
    normally_open: Collection[str] | None = None,
    others: Sequence[SCL] = (),
) -> list[Finding]:
    """Findings of a file that was read, by line; ``problems`` are the reader's, the rest as ``check``."""
    checked = Checked(scl, normally_open, tuple(others))
    unread = {(problem.line, problem.path) for problem in problems}
    findings = {of_error(problem): None for problem in problems}
    for each in _CHECKS:
        # What the reader could not read is a stand-in, of which nothing more can be said.
        for finding in islice(each(checked), MAX_FINDINGS):
            if (finding.line, finding.path) not in unread:
                findings[finding] = None
    return sorted(findings, key=lambda finding: (finding.file != scl.file, finding.file, finding.line))
