"""The journals of this machine's agents, as far as they tell of control, into the audit trail.

A control centre's command is in the trail already, as the gateway's desk saw it; here is what the agent was asked, also
on its own machine or by other clients of MMS, and what it ordered its switch. The agents need not run, and the gateway
need not have run when it happened: a journal is gone on with where it was left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from gateway.points.audit import AUDIT_KEY, AuditStep, encode_step
from ied_agents.runtime.journal import JournalError, JournalTail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.adapters.iec104_outlet import Outlet

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
_MOST_AT_ONCE: Final = 100
"""Steps that a look takes, of all agents."""
_MOST_BEHIND: Final = 1_000
"""Steps of an agent that wait to be taken; of more the newest."""
_VIA: Final = "agent"
_ITSELF: Final = "the agent itself"
_OPERATOR: Final = "operator"
_ORDERED: Final = " ordered"
_KINDS: Final = {
    "closed": ("close", "done"),
    "did not close": ("close", "failed"),
    "close refused": ("close", "refused"),
    "reclosed": ("reclose", "done"),
    "did not reclose": ("reclose", "failed"),
    "did not open in time": ("open", "failed"),
}
_WHO: Final = ("request", "origin", "by", "orIdent", "certificate")
_NO_DETAIL: Final = ("t_ns", "mono", "kind", "reason")


def audited(ied: str, entry: Mapping[str, Any]) -> AuditStep | None:
    """The step that an entry of an agent's journal tells; None if it tells of something else.

    Args:
        ied: the agent.
        entry: of its journal.
    """
    kind = entry["kind"]
    if kind == _OPERATOR:
        return _asked(ied, entry)
    if kind.endswith(_ORDERED):
        step, outcome = kind.removesuffix(_ORDERED), "asked"
    elif kind in _KINDS:
        step, outcome = _KINDS[kind]
    else:
        return None
    detail = {name: value for name, value in entry.items() if name not in _NO_DETAIL}
    said = AuditStep(entry["t_ns"], _VIA, _ITSELF, 0, ied, step, "", False, outcome, str(entry.get("reason", "")), 0)
    return said._replace(reason=said.reason or (json.dumps(detail) if detail else ""))


def _asked(ied: str, entry: Mapping[str, Any]) -> AuditStep:
    """What somebody asked the agent, and its answer."""
    text = str(entry.get("request", ""))
    try:
        request = json.loads(text)
        step = str(request["request"])
    except (ValueError, LookupError, TypeError, RecursionError):
        request, step = {}, "not understood"
    who = str(entry.get("user", ""))
    for name in ("by", "orIdent", "certificate"):
        who += f", {request[name]}" if request.get(name) else ""
    who += f" ({request['origin']})" if request.get("origin") else ""
    more = {name: value for name, value in request.items() if name not in _WHO}
    value = ", ".join(f"{name} {value}" for name, value in more.items()) if request else text
    done = entry.get("done") is True
    why = "" if done else str(entry.get("words") or entry.get("why", ""))
    outcome = "confirmed" if done else "refused"
    return AuditStep(entry["t_ns"], _VIA, who, 0, ied, step, value, False, outcome, why, 0)


class _Agent:
    """One agent's journal.

    Attributes:
        waiting: steps that are not taken yet, oldest first.
    """

    def __init__(self, ied: str, journal: Path, left_at_ns: int) -> None:
        self.ied = ied
        self.waiting: deque[AuditStep] = deque(maxlen=_MOST_BEHIND)
        self._tail = JournalTail(journal, only=_MARKS)
        self._left_at_ns = left_at_ns
        self._said = ""

    def look(self) -> None:
        """Read what has come; for a thread."""
        lost = 0
        try:
            for entry in self._tail.read():
                step = _step(self.ied, entry)
                if step is None:
                    continue
                if step.t_ns == self._left_at_ns:
                    self.waiting.clear()  # up to here all is in the trail
                    lost = 0
                    continue
                lost += len(self.waiting) == _MOST_BEHIND
                self.waiting.append(step)
        except (JournalError, OSError) as error:
            if str(error) != self._said:
                self._said = str(error)
                _LOG.error("audit trail: agent %s: %s", self.ied, error)
        if lost:
            why = f"{lost + 1} steps before this were too many to be kept"
            self.waiting[0] = self.waiting[0]._replace(who="", step="", value="", outcome="missing", reason=why)

    def close(self) -> None:
        self._tail.close()


_MARKS: Final = (b'"kind":"operator"', b' ordered"', *(f'"kind":"{kind}"'.encode() for kind in _KINDS))


def _step(ied: str, entry: Mapping[str, Any]) -> AuditStep | None:
    try:
        return audited(ied, entry)
    except (LookupError, TypeError, ValueError) as error:
        _LOG.warning("audit trail: agent %s: an entry cannot be read: %s", ied, error)
        return None


class AgentTrail:
    """Brings the steps of all agents into the trail.

    Args:
        journals: by agent.
        outlet: keeps the steps, and says when they are on disk.
        file: where is kept how far each journal was read.
    """

    def __init__(self, journals: Mapping[str, Path], outlet: Outlet, file: Path) -> None:
        self._outlet = outlet
        self._file = file
        self._kept = self._left_at()
        self._agents = [_Agent(ied, journal, self._kept.get(ied, 0)) for ied, journal in journals.items()]
        self._changed = False
        self._closing = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def _left_at(self) -> dict[str, int]:
        try:
            given = json.loads(self._file.read_bytes())
            return {str(ied): int(t_ns) for ied, t_ns in given.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            _LOG.error("%s: damaged (%s): the agents' journals are read once more", self._file, error)
            return {}

    async def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                await asyncio.to_thread(self._look)
                while any(agent.waiting for agent in self._agents) and not self._closing.is_set():
                    self._take()
                    await self._pause()
                    await self._keep()
            except Exception:  # noqa: BLE001 - a defect must not end the trail, and is told with its place
                _LOG.exception("audit trail of the agents: internal error")
            await self._pause()
            await self._keep()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._closing.wait()

    def _look(self) -> None:
        for agent in self._agents:
            agent.look()

    def _take(self) -> None:
        """Some steps into the event log; where to go on after them is kept once they are on disk."""
        room, last, now_ns = _MOST_AT_ONCE, {}, time.time_ns()
        for agent in self._agents:
            while agent.waiting and room:
                step = agent.waiting.popleft()
                self._outlet.keep(AUDIT_KEY, encode_step(step), now_ns)
                last[agent.ied] = step.t_ns
                room -= 1
        self._outlet.when_stored(lambda: self._stored(last))

    def _stored(self, last: Mapping[str, int]) -> None:
        self._kept |= last
        self._changed = True

    async def _keep(self) -> None:
        if self._changed:
            self._changed = False
            try:
                await asyncio.to_thread(self._write, json.dumps(self._kept))
            except OSError as error:
                self._changed = True
                _LOG.error("%s: %s; the agents' journals may be read once more", self._file, error.strerror)

    def _write(self, text: str) -> None:
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(text, encoding="ascii")
        new.replace(self._file)

    async def close(self) -> None:
        """Follow no more; before the outlet is closed."""
        # Not cancelled: a thread that writes how far it was read would go on, beside the next one.
        self._closing.set()
        await self._task
        await self._keep()
        for agent in self._agents:
            agent.close()
