"""Commands that come by MQTT: which are let through to the desk of all masters, and what is replied. Sans-IO.

A command of unknown age is not executed. Each bears the time at which it was asked; it is refused if that is longer ago
than the limit, or further ahead, or before this gateway began: then the one before it may have executed it. What comes
again with the same id or correlation data is not executed again; its reply is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.adapters.field_news import OUTCOME_UNKNOWN
from gateway.adapters.mqtt_feed import Publication
from gateway.adapters.mqtt_messages import CommandError, command_object, read_command, reply_json
from gateway.iec104.asdu import Cause
from gateway.iec104.commands import ControlStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.adapters.mqtt_feed import BrokerConfig
    from gateway.adapters.mqtt_messages import CommandAsked, Result
    from gateway.iec104.commands import Answer, CommandStep
    from gateway.points.point_list import PointRow

_LOG: Final = logging.getLogger(__name__)
MQTT: Final = "mqtt"
"""In the audit trail."""
_MOST_KNOWN: Final = 1000
_MOST_SAID: Final = 100
_NS: Final = 10**9
LONGEST_AGE_S: Final = 300.0
_KNOWN_NS: Final = 2 * round(LONGEST_AGE_S) * _NS
"""A command may be asked as far ahead as ago: who is forgotten after this is refused for its age."""
_LONGEST_CORRELATION: Final = 256


class CommandMessage(NamedTuple):
    """A message under the topic of commands.

    Attributes:
        topic: of it.
        payload: of it.
        retained: the broker keeps it, and gives it to whoever comes.
        again: it may have been delivered before.
        reply_to: response topic; empty for none.
        correlation: correlation data.
        expired: its message expiry interval is over.
    """

    topic: str
    payload: bytes
    retained: bool = False
    again: bool = False
    reply_to: str = ""
    correlation: bytes = b""
    expired: bool = False


class DeskCommand(NamedTuple):
    """A command that is let through.

    Attributes:
        token: comes back with each answer.
        who: asks; a selection is his.
        origin: of the command, for devices and logs.
        row: what is to be operated.
        step: select, execute or cancel.
        value: by the common data class.
        test: nothing may move.
    """

    token: bytes
    who: str
    origin: str
    row: PointRow
    step: CommandStep
    value: bool | int | float
    test: bool


@dataclass(slots=True)
class _Known:
    """A command that was let through, to be recognised."""

    content: tuple[object, ...]
    at_ns: int
    message: CommandMessage
    name: str
    id: str
    step: CommandStep
    origin: str
    result: Result | Literal[""] = ""
    reason: str = ""
    final: bool = False


class BrokerCommands:
    """The commands of one broker.

    Args:
        config: of the broker.
        ask: has the desk decide; its answers go to :meth:`answered`, then or later.
        say: sends a reply.
        record: keeps in the audit trail what was refused before the desk heard of it.
        began_ns: when this process began to take commands, ns since 1970.
    """

    def __init__(
        self,
        config: BrokerConfig,
        ask: Callable[[DeskCommand], None],
        say: Callable[[Publication], None],
        record: Callable[[ControlStep], None],
        began_ns: int,
    ) -> None:
        self._config = config
        self._ask = ask
        self._say = say
        self._record = record
        self._began_ns = began_ns
        self._controls = {row.name: row for row in config.rows if row.control}
        self._known: OrderedDict[tuple[object, ...], _Known] = OrderedDict()
        self._running: dict[bytes, _Known] = {}
        self._last = 0
        self._warned = 0
        self._now_ns = began_ns

    def take(self, message: CommandMessage, now_ns: int) -> None:
        """A message has come; replied to in any case.

        Args:
            message: it.
            now_ns: ns since 1970.
        """
        self._now_ns = now_ns
        topics = self._config.topics
        name = topics.commanded(message.topic)
        fault = topics.reply_fault(message.reply_to) if message.reply_to else ""
        if fault or len(message.correlation) > _LONGEST_CORRELATION:
            fault = fault or f"correlation data of {len(message.correlation)} octets; expected at most 256"
            self._refuse(message._replace(reply_to="", correlation=b""), name, fault)
            return
        row = self._controls.get(name)
        if message.retained:
            self._refuse(message, name, "the message is retained: it would be executed again and again; clear it")
        elif message.expired:
            self._refuse(message, name, "its message expiry interval is over")
        elif row is None:
            self._refuse(message, name, "no point of this name can be commanded through this broker")
        else:
            try:
                self._command(message, row, read_command(message.payload, row.cdc))
            except CommandError as error:
                self._refuse(message, name, str(error))

    def _command(self, message: CommandMessage, row: PointRow, asked: CommandAsked) -> None:
        now_ns = self._now_ns
        if not message.correlation and not asked.id:
            raise CommandError("no id: expected correlation data, or id in the object, to know it if it comes again")
        key = row.name, message.reply_to, message.correlation or asked.id
        content = asked.step, asked.value, asked.by, asked.test
        known = self._known.get(key)
        if known is not None and now_ns - known.at_ns < _KNOWN_NS:
            if known.content != content:
                raise CommandError("its id or correlation data was used for another command; expected a new one")
            self._reply(known, repeated=True)
            return
        self._check_age(message, asked.t_ns, now_ns)
        self._forget(now_ns)
        if len(self._known) >= _MOST_KNOWN:
            raise CommandError(f"{_MOST_KNOWN} commands came in {2 * self._config.command_age_s:g} s; ask again later")
        origin = f"{self._config.name}/{asked.by}" if asked.by else self._config.name
        known = _Known(content, now_ns, message._replace(payload=b""), row.name, asked.id, asked.step, origin)
        self._known[key] = known
        self._known.move_to_end(key)
        self._last += 1
        token = str(self._last).encode()
        self._running[token] = known
        who = asked.by or message.reply_to
        self._ask(DeskCommand(token, who, origin, row, asked.step, asked.value, asked.test))

    def _check_age(self, message: CommandMessage, t_ns: int, now_ns: int) -> None:
        limit_s = self._config.command_age_s
        age_s = (now_ns - t_ns) / _NS
        if age_s > limit_s:
            raise CommandError(f"it was asked {age_s:.1f} s ago; expected {limit_s:g} s at most")
        if age_s < -limit_s:
            raise CommandError(f"its time is {-age_s:.1f} s ahead of the gateway's; is one of the clocks wrong?")
        alive_s = (now_ns - self._began_ns) / _NS
        if t_ns < self._began_ns or (message.again and alive_s < limit_s):
            raise CommandError(
                "the gateway has been started since: it may have been executed before; look, and ask anew"
            )

    def _forget(self, now_ns: int) -> None:
        """Forget what is old; and of what is too much that which would be refused for its age."""
        limit_ns = round(2 * self._config.command_age_s * _NS)
        while self._known:
            oldest = next(iter(self._known.values()))
            age_ns = now_ns - oldest.at_ns
            if age_ns < _KNOWN_NS and (len(self._known) < _MOST_KNOWN or age_ns < limit_ns):
                return
            self._known.popitem(last=False)

    def answered(self, answer: Answer, now_ns: int) -> None:
        """The desk says what has become of a command."""
        self._now_ns = now_ns
        known = self._running.get(answer.asdu)
        if known is None:
            return
        known.reason = answer.why
        known.result = _result(answer, known.step)
        known.final = known.result != "accepted"
        if known.final:
            del self._running[answer.asdu]
        level = logging.INFO if known.result in ("selected", "cancelled", "accepted", "done") else logging.WARNING
        why = f": {known.reason}" if known.reason else ""
        _LOG.log(level, "%s: %s of %s: %s%s", known.origin, known.step, known.name, known.result, why)
        self._reply(known)

    def _reply(self, known: _Known, *, repeated: bool = False) -> None:
        if not known.result:
            return  # it comes when it is decided
        payload = reply_json(
            known.name,
            known.result,
            known.reason,
            self._now_ns,
            final=known.final,
            id=known.id,
            repeated=repeated,
        )
        self._send(known.message, known.name, payload)

    def _refuse(self, message: CommandMessage, name: str, why: str) -> None:
        """What does not come as far as the desk."""
        if self._warned < _MOST_SAID:
            self._warned += 1
            more = "; from here on it is not said any more" if self._warned == _MOST_SAID else ""
            _LOG.warning("%s: command to %.80s refused: %s%s", self._config.name, name, why, more)
        self._record(ControlStep("command", "refused", name, self._config.name, why, via=MQTT))
        try:
            said = command_object(message.payload).get("id", "")
        except CommandError:
            said = ""
        own = said if isinstance(said, str) and len(said) <= _LONGEST_CORRELATION else ""
        self._send(message, name, reply_json(name, "refused", why, self._now_ns, final=True, id=own))

    def _send(self, message: CommandMessage, name: str, payload: bytes) -> None:
        topic = message.reply_to or self._config.topics.reply(name)
        self._say(Publication(topic, payload, correlation=message.correlation))


def _result(answer: Answer, step: CommandStep) -> Result:
    if answer.negative:
        if OUTCOME_UNKNOWN in answer.why:
            return "unknown"
        if answer.late:
            return "timed out"
        return "failed" if answer.cause is Cause.TERMINATION else "refused"
    if answer.cause is Cause.TERMINATION:
        return "done"
    if step == "execute":
        return "accepted"
    return "selected" if step == "select" else "cancelled"
