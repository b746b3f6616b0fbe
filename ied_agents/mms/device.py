"""One agent as its MMS clients see it: values from its journal, controls decided by the agent itself.

Nothing here permits anything: every select and operate is a question to the agent process, and a control has ended
well only when the agent has published the position. While the agent does not answer, what it said last is shown as
old.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ied_agents.control.decision import Behaviour, Reason
from ied_agents.dflisr.records import LockState, SectionState
from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import TimeQuality, UtcTime
from ied_agents.mms.server import MmsServer
from ied_agents.runtime.clock import time_quality
from ied_agents.runtime.journal import JournalTail
from ied_agents.runtime.operator_client import AgentLateError, AgentSilentError, ask
from scl.agent_model import LDEVICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ied_agents.mms.server import Clients, ControlRequest
    from scl.model import SCL

PATIENCE_S: Final = 0.5
"""How long the agent may take to answer; other IEDs of this process wait meanwhile."""
OPEN_TIME_LIMIT_S: Final = 5.0
CLOSE_TIME_LIMIT_S: Final = 30.0
"""From operate to the confirmed position; a close is claimed, promised and reserved first."""
_HISTORY: Final = 5_000
"""Most entries of the journal that are reported again after a restart."""
_OLD: Final = 0b11_0000_0100000
"""Quality questionable, oldData."""
_CLOCK: Final = f"{LDEVICE}/LTMS1"
_STREAM_LOST: Final = "StreamLost"
_STREAM_RESUMED: Final = "StreamResumed"
_ACCURACY: Final = 0x1F
_BLOCKING: Final = ("AFSR1.SideA.st.lock", "AFSR1.SideB.st.lock", "AFSR1.Sw.tags", "AFSR1.Sw.unprv")
"""What of an agent's words blocks every close: a lock, a tag, locks that are not proven."""
_READY: Final = "AFSR1.Sw.rdy"
_STAGE: Final = "AFSR1.Prg.st.prg"
_INDICATED: Final = {
    **{
        f"AFSR1.Side{side}.st.sec": ((f"Flt{side}", (SectionState.FAULTED,)), (f"Sus{side}", (SectionState.SUSPECT,)))
        for side in "AB"
    },
    **{f"AFSR1.Side{side}.st.lock": ((f"Lok{side}", (LockState.VOLATILE, LockState.DURABLE)),) for side in "AB"},
    "AFSR1.Hold.st.on": (("Held", (True,)),),
}
"""Private words of an agent, and what they say for everybody, each with the values for which it is so."""
_OK: Final = 1
_ALARM: Final = 3
"""Of Health, IEC 61850-7-4."""
_MOST_INT32: Final = 0x7FFFFFFF
_SELECTED: Final = f"{LDEVICE}/CSWI1.Pos"
_MODE: Final = f"{LDEVICE}/LLN0.Mod"
_SIM: Final = f"{LDEVICE}/LPHD1.Sim"
_AT_ONCE: Final = (_MODE, _SIM)
"""Controls that have ended when the agent has answered: done means on disk."""
_ORIGINS: Final = {1: "bay", 2: "station", 3: "remote", 5: "station", 6: "remote"}
"""By orCat. Nobody speaks as automatic bay control but the agent itself."""
_CAUSES: Final = {
    Reason.LOCKED: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.SECTION_SUSPECT: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.ISLAND_NOT_DEAD: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.ISOLATION_NOT_CONFIRMED: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.HELD: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.NO_CAPACITY: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.LOAD_UNKNOWN: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.NO_SUPPLY: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.SUPPLY_NOT_LIVE: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.PEER_SILENT: AddCause.BLOCKED_BY_INTERLOCKING,
    Reason.BOTH_SIDES_LIVE: AddCause.BLOCKED_BY_SYNCHROCHECK,
    Reason.TAGGED: AddCause.BLOCKED_BY_COMMAND,
    Reason.MODE: AddCause.BLOCKED_BY_MODE,
    Reason.LOCAL: AddCause.BLOCKED_BY_SWITCHING_HIERARCHY,
    Reason.NOT_READY: AddCause.BLOCKED_BY_HEALTH,
    Reason.DID_NOT_CLOSE: AddCause.BLOCKED_BY_PROCESS,
    Reason.DID_NOT_OPEN: AddCause.BLOCKED_BY_PROCESS,
    Reason.OVERTAKEN: AddCause.BLOCKED_BY_COMMAND,
}
_FAILURES: Final = {"close refused": "reason", "task finished": "how"}
"""Journal entries that end an operator's close, and the member that says how."""


def _cause(reason: str | None) -> AddCause:
    """What a reason by its name, or another word of the agent, is as an AddCause."""
    known = Reason.__members__.get(reason or "")
    return AddCause.UNKNOWN if known is None else _CAUSES.get(known, AddCause.UNKNOWN)


def _encode(t_ns: int) -> bytes:
    return UtcTime.of_clock(t_ns, time_quality()).encode()


def _supervised(scl: SCL, iedName: str) -> dict[str, str]:
    """The LGOS that watches each control block, by the ``gocbRef`` that its frames carry."""
    nodes = {}
    for ied in scl.ieds:
        ldevice = ied.ldevice(LDEVICE) if ied.name == iedName else None
        for ln in ldevice.nodes() if ldevice else ():
            watched = ln.value("GoCBRef", "setSrcRef") if ln.lnClass == "LGOS" else None
            if watched:
                nodes[watched.replace("LLN0.", "LLN0$GO$")] = f"{LDEVICE}/{ln.name}"
    return nodes


class Device:
    """One agent's IED.

    Args:
        library: as loaded.
        scl: describes it.
        iedName: its name.
        operator: path of the agent's operator socket.
        journal: path of the agent's journal.
        clients: whose connections alone are served; None: all.

    Attributes:
        server: what clients talk to.
    """

    def __init__(
        self, library: Any, scl: SCL, iedName: str, operator: Path, journal: Path, clients: Clients | None = None
    ) -> None:
        self.server = MmsServer(library, scl, iedName, self, clients)
        self._operator = operator
        self._tail = JournalTail(journal)
        attributes = self.server.model.attributes
        self._switch = "XCBR1" if f"{LDEVICE}/XCBR1.Pos.stVal" in attributes else "XSWI1"
        self._behaviours = [name for name in attributes if name.endswith(".Beh.stVal")]
        self._qualities = [name for name in attributes if name.endswith(".q")]
        self._watching = _supervised(scl, iedName)
        self._blocking: dict[str, bool] = {}
        self._standing: dict[str, bool | float | str] = {}
        self._position = Dbpos.INTERMEDIATE
        self._position_ns = self._started_ns = 0
        self._until = 0.0
        self._failed: AddCause | None = None
        self._silent = False

    # -- values ---------------------------------------------------------------------------------------------------

    def refill(self) -> None:
        """Report what the journal holds, with its times; to be called before the server is started."""
        history: deque[dict[str, Any]] = deque(self._tail.read(), maxlen=_HISTORY)
        for entry in history:
            self._show(entry)

    def follow(self) -> None:
        """Show what the agent has journalled since the last call."""
        for entry in self._tail.read():
            self._show(entry)

    def look(self) -> bool:
        """Ask the agent how it is; while it is silent its values are old. Returns whether it answered."""
        try:
            status = ask(self._operator, {"request": "status", "streams": True}, patience_s=PATIENCE_S)
            said = ask(self._operator, {"request": "values"}, patience_s=PATIENCE_S) if self._silent else {}
        except AgentSilentError:
            if not self._silent:
                self._silent = True
                self._qualify(_OLD, _encode(time.time_ns()))
            return False
        now_ns = time.time_ns()
        now = _encode(now_ns)
        if self._silent:
            self._silent = False
            self._qualify(0, now)
            self._apply(said["values"], now_ns)
        local = status["authority"] == "LOCAL"
        for name in (f"{LDEVICE}/LLN0.Loc", f"{LDEVICE}/CSWI1.Loc", f"{LDEVICE}/{self._switch}.Loc"):
            self.server.update({f"{name}.t": now, f"{name}.stVal": local})
        self._change(_SIM, status.get("simulation", False), now)
        self._show_clock(now)
        for gocbRef, stream in status.get("streams", {}).items():
            self._show_stream(gocbRef, stream, now)
        return True

    def _qualify(self, quality: int, t: bytes) -> None:
        """Change all qualities; the time of an object is that of the change of its quality, too."""
        times = [name.removesuffix("q") + "t" for name in self._qualities]
        known = self.server.model.attributes
        self.server.update({**{name: t for name in times if name in known}, **dict.fromkeys(self._qualities, quality)})

    def _show_clock(self, now: bytes) -> None:
        """The clock of this machine is the agent's; what it follows the kernel does not say."""
        quality = time_quality()
        bad = quality & (TimeQuality.NOT_SYNCHRONISED | TimeQuality.CLOCK_FAILURE)
        self._change(f"{_CLOCK}.TmSrc", "CLOCK_REALTIME", now)
        self._change(f"{_CLOCK}.TmAcc", quality & _ACCURACY, now)
        self._change(f"{_CLOCK}.TmSyn", 0 if bad else 1, now)

    def _show_stream(self, gocbRef: str, stream: Sequence[Any], now: bytes) -> None:
        node = self._watching.get(gocbRef)
        if node is None:
            return
        alive, simulated, stNum, expected, received = stream
        self._change(f"{node}.St", alive, now)
        self._change(f"{node}.SimSt", simulated, now)
        self._change(f"{node}.LastStNum", min(stNum or 0, _MOST_INT32), now)
        self._change(f"{node}.ConfRevNum", min(expected, _MOST_INT32), now)
        self._change(f"{node}.RxConfRevNum", min(received or 0, _MOST_INT32), now)

    def _change(self, reference: str, value: bool | float | str, t: bytes) -> None:
        """Show the value of a data object with the time of its change; the same again changes nothing."""
        if self._standing.get(reference) != value and f"{reference}.stVal" in self.server.model.attributes:
            self._standing[reference] = value
            self.server.update({f"{reference}.t": t, f"{reference}.stVal": value})

    def _show(self, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == "published" and isinstance(entry.get("values"), dict):
            self._apply(entry["values"], entry["t_ns"])
        elif entry["kind"] in (_STREAM_LOST, _STREAM_RESUMED) and entry.get("gocbRef") in self._watching:
            node = self._watching[entry["gocbRef"]]
            self._change(f"{node}.St", entry["kind"] == _STREAM_RESUMED, _encode(entry["t_ns"]))
        elif entry["kind"] in _FAILURES and self._until:
            reason = entry.get(_FAILURES[entry["kind"]])
            if reason != Reason.NONE.name:
                self._failed = _cause(reason)
        elif entry["kind"] == "did not close" and self._until:
            self._failed = AddCause.BLOCKED_BY_PROCESS

    def _apply(self, values: Mapping[str, Any], t_ns: int) -> None:
        """Show published values; the time of an object and its quality go before its value."""
        t = _encode(t_ns)
        shown: dict[str, Any] = {}
        for name, value in values.items():
            reference = f"{LDEVICE}/{name.replace('SW1', self._switch, 1) if name.startswith('SW1') else name}"
            shown[reference] = value
            if name == "SW1.Pos.stVal":
                self._position, self._position_ns = Dbpos(value), t_ns
            if name.startswith("SW1.Pos."):
                shown[f"{_SELECTED}.{name.rsplit('.', 1)[1]}"] = value
            if name in _BLOCKING:
                self._blocking[name] = bool(value)
                shown[f"{LDEVICE}/{self._switch}.BlkCls.stVal"] = any(self._blocking.values())
            for told, meant in _INDICATED.get(name, ()):
                shown[f"{LDEVICE}/AFSR1.{told}.stVal"] = value in meant
            if name == _STAGE:
                shown[f"{LDEVICE}/AFSR1.Stage.stVal"] = value
            if name == _READY:
                shown[f"{LDEVICE}/LLN0.Health.stVal"] = _OK if value else _ALARM
            if name == "LLN0.Beh.stVal":
                shown |= dict.fromkeys([*self._behaviours, f"{LDEVICE}/LLN0.Mod.stVal"], value)
        times = {f"{'.'.join(reference.split('.')[:2])}.t": t for reference in shown}
        known = self.server.model.attributes
        ordered = {**times, **{r: v for r, v in shown.items() if r.endswith(".q")}, **shown}
        self.server.update({reference: value for reference, value in ordered.items() if reference in known})

    def close(self) -> None:
        """Drop all clients and free everything."""
        self.server.close()
        self._tail.close()

    # -- controls -------------------------------------------------------------------------------------------------

    def check(self, request: ControlRequest) -> AddCause:
        """Ask the agent whether it would."""
        if request.reference == _MODE:
            return self._check_mode(request)
        if request.reference == _SIM:
            return self._ask(request, {"request": "check", "operation": "sim", "sim": bool(request.value)})[0]
        target = Dbpos.ON if request.value else Dbpos.OFF
        if request.test:
            return AddCause.BLOCKED_BY_MODE  # an agent operates in no test mode, and means nothing else when it is on
        if time.monotonic() < self._until and not request.select:
            return AddCause.COMMAND_ALREADY_IN_EXECUTION
        refusal, answer = self._ask(request, {"request": "check", "operation": "close" if request.value else "open"})
        return AddCause.POSITION_REACHED if answer.get("position") == target.name else refusal

    def _check_mode(self, request: ControlRequest) -> AddCause:
        if request.value not in set(Behaviour):
            return AddCause.INCONSISTENT_PARAMETERS
        return self._ask(request, {"request": "check", "operation": "mode"})[0]

    def start(self, request: ControlRequest) -> AddCause:
        """Hand the request to the agent; it decides again."""
        if request.reference == _MODE:
            mode = Behaviour(request.value).name.lower()
            refusal, _ = self._ask(request, {"request": "mode", "mode": mode})
            return refusal
        if request.reference == _SIM:
            refusal, _ = self._ask(request, {"request": "sim", "sim": bool(request.value)})
            if refusal is AddCause.NONE:
                self._change(_SIM, bool(request.value), _encode(time.time_ns()))
            return refusal
        self._failed, self._started_ns = None, time.time_ns()
        refusal, _ = self._ask(request, {"request": "close" if request.value else "open"}, late=AddCause.NONE)
        if refusal is AddCause.NONE:
            limit = CLOSE_TIME_LIMIT_S if request.value else OPEN_TIME_LIMIT_S
            self._until = time.monotonic() + limit
        return refusal

    def outcome(self, request: ControlRequest) -> AddCause | None:
        """Whether the agent has published the position, or why it will not come."""
        if request.reference in _AT_ONCE:
            return AddCause.NONE
        self.follow()
        ended: AddCause | None = self._failed
        # What was published before does not confirm it: the journal may lag behind the switch.
        moved = self._position_ns >= self._started_ns
        if moved and self._position is (Dbpos.ON if request.value else Dbpos.OFF):
            ended = AddCause.NONE
        elif ended is None and time.monotonic() >= self._until:
            ended = AddCause.TIME_LIMIT_OVER
        if ended is not None:
            self._until = 0.0
        return ended

    def _ask(
        self, request: ControlRequest, what: dict[str, Any], late: AddCause = AddCause.BLOCKED_BY_HEALTH
    ) -> tuple[AddCause, dict[str, Any]]:
        """What speaks against it by the agent's word, and the whole of its answer.

        Args:
            request: the client's.
            what: to ask.
            late: what it means if the agent has the question and does not answer in time. It may act on an order all
                the same: then the outcome tells.
        """
        origin = _ORIGINS.get(request.orCat)
        if origin is None:
            return AddCause.BLOCKED_BY_SWITCHING_HIERARCHY, {}
        said = {"origin": origin, "by": f"MMS {request.peer}", "orIdent": request.orIdent}
        if request.certificate is not None:
            said["certificate"] = request.certificate
        try:
            answer = ask(self._operator, {**what, **said}, patience_s=PATIENCE_S)
        except AgentLateError:
            return late, {}
        except AgentSilentError:
            return AddCause.BLOCKED_BY_HEALTH, {}
        if answer["done"]:
            return AddCause.NONE, answer
        if answer.get("access") is False:
            return AddCause.NO_ACCESS_AUTHORITY, answer
        return _cause(answer["why"]), answer
