"""What is said by MQTT: topics, and the JSON of values, commands and replies (docs/mqtt-schema.json). Sans-IO."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.points.point import KINDS, Kind
from gateway.points.words import clock_text, quality_text, time_text
from ied_agents.iec61850.dbpos import Dbpos

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.points.point import PointValue, Value

MOST_OCTETS: Final = 4096
"""Of a command."""
_LONGEST_ID: Final = 128
_LONGEST_BY: Final = 40
_LONGEST_TOPIC: Final = 1024
"""Characters of a point's name, or of a response topic: replies wait in memory."""
_MOST_SHOWN: Final = 60
_INT32: Final = 1 << 31
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PHASES: Final = ("phsA", "phsB", "phsC", "neut")
_DIRECTIONS: Final = ("unknown", "forward", "backward", "both")
_STEPS: Final[dict[str, Literal["select", "execute", "cancel"]]] = {
    "operate": "execute",
    "select": "select",
    "cancel": "cancel",
}
_KEYS: Final = ("id", "step", "value", "time", "by", "test")

Result = Literal["selected", "cancelled", "accepted", "done", "refused", "failed", "timed out", "unknown"]


class CommandError(ValueError):
    """A command that cannot be read; says what was expected."""


def topic_fault(text: str) -> str:
    """Why a text cannot stand in a topic; empty if it can."""
    wrong = sorted({each for each in text if each in "+#" or not each.isprintable()})
    if wrong:
        return f"{text!r} has {', '.join(map(repr, wrong))}, which no topic may have"
    if not text or text.startswith(("/", "$")) or text.endswith("/"):
        return f"{text!r} cannot be a part of a topic: expected such as NORTH/XCBR1.Pos"
    return "" if len(text) <= _LONGEST_TOPIC else f"{text[:_MOST_SHOWN]!r}... is too long for a topic"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a broker.

    Attributes:
        prefix: what the gateways of all sites have in common.
        site: name of the site.
    """

    prefix: str
    site: str

    @property
    def root(self) -> str:
        """What all of them begin with."""
        return f"{self.prefix}/{self.site}"

    @property
    def status(self) -> str:
        """Whether the gateway is there; retained."""
        return f"{self.root}/status"

    @property
    def commands(self) -> str:
        """Filter of all commands."""
        return f"{self.root}/command/#"

    def event(self, name: str) -> str:
        """Each event of a point."""
        return f"{self.root}/event/{name}"

    def state(self, name: str) -> str:
        """How a point stands now; retained."""
        return f"{self.root}/state/{name}"

    def reply(self, name: str) -> str:
        """To who commands and names no topic for it."""
        return f"{self.root}/reply/{name}"

    def commanded(self, topic: str) -> str:
        """The point that a command is for."""
        return topic.removeprefix(f"{self.root}/command/")

    def reply_fault(self, topic: str) -> str:
        """Why a reply does not go there: who may command may not have us speak in the gateway's name; empty if it does.

        The prefix is that of other sites too, and of their commands.
        """
        if not topic or set("+#\0") & set(topic) or topic.startswith("$") or len(topic) > _LONGEST_TOPIC:
            return f"no reply can go to the topic {topic[:_MOST_SHOWN]!r}"
        ours = topic == self.prefix or topic.startswith(f"{self.prefix}/")
        if ours and not topic.startswith(f"{self.root}/reply/"):
            return f"no reply goes to {topic[:_MOST_SHOWN]!r}; expected a topic of your own, or {self.root}/reply/..."
        return ""


# -- values ---------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    """JSON has no number for these."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _double(value: Any) -> Any:
    return Dbpos(value).name.lower()


def _step(value: Any) -> Any:
    return {"position": value[0], "transient": bool(value[1])}


def _activation(value: Any) -> Any:
    return {name: bool(each) for name, each in zip(("general", *_PHASES), value, strict=False)}


def _direction(value: Any) -> Any:
    said = {name: bool(each) for name, each in zip(("general", "dirGeneral", *_PHASES), value, strict=False)}
    if "dirGeneral" in said:
        return said | {"dirGeneral": _DIRECTIONS[value[1] & 3]}
    return said


_SAID: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.SINGLE: _plain,
    Kind.DOUBLE: _double,
    Kind.INTEGER: _plain,
    Kind.FLOAT: _number,
    Kind.STEP: _step,
    Kind.COUNTER: _plain,
    Kind.ACTIVATION: _activation,
    Kind.DIRECTION: _direction,
}


def value_json(cdc: str, value: Value) -> Any:
    """A point's value as it stands in JSON."""
    return _SAID[KINDS[cdc]](value)


def point_json(name: str, cdc: str, point: PointValue | None, sequence: int = 0) -> bytes:
    """A point's message.

    Args:
        name: of the point.
        cdc: its common data class.
        point: what it says; None before it has said anything.
        sequence: of an event; 0 for how it stands now.

    Raises:
        ValueError, TypeError, IndexError, AttributeError: the value is none of that class.
    """
    said: dict[str, Any] = {"point": name, "cdc": cdc}
    if point is None:
        said |= {"value": None, "quality": "invalid"}
    else:
        said |= {
            "value": value_json(cdc, point.value),
            "quality": quality_text(point.quality),
            "time": time_text(point.t_ns),
            "clock": clock_text(point.time_quality),
            "arrived": time_text(point.arrived_ns),
        }
    if sequence:
        said["sequence"] = sequence
    return json.dumps(said, allow_nan=False).encode()


def status_json(status: Literal["online", "offline"], reason: str, since_ns: int = 0) -> bytes:
    """Whether the gateway is there, and why."""
    said: dict[str, Any] = {"status": status, "reason": reason}
    if since_ns:
        said["since"] = time_text(since_ns)
    return json.dumps(said).encode()


# -- commands -------------------------------------------------------------------------------------------------------


class CommandAsked(NamedTuple):
    """A command as it was read.

    Attributes:
        id: of who asks; empty for none.
        step: select, execute or cancel.
        value: by the common data class, as :class:`CommandValue` has it.
        t_ns: when it was asked, ns since 1970.
        by: who asks, as he says.
        test: nothing may move.
    """

    id: str
    step: Literal["select", "execute", "cancel"]
    value: bool | int | float
    t_ns: int
    by: str
    test: bool


def read_command(payload: bytes, cdc: str) -> CommandAsked:
    """Read a command.

    Args:
        payload: of the message.
        cdc: common data class of the point that it is for.

    Raises:
        CommandError: it is none.
    """
    said = command_object(payload)
    unknown = sorted(said.keys() - set(_KEYS))
    if unknown:
        raise CommandError(f"{_shown(unknown[0])} is not known; expected {', '.join(_KEYS)}")
    missing = [key for key in ("value", "time") if key not in said]
    if missing:
        raise CommandError(
            f'{missing[0]} is missing; expected such as {{"value": ..., "time": "2026-11-23T08:00:00Z"}}'
        )
    step = said.get("step", "operate")
    if not isinstance(step, str) or step not in _STEPS:
        raise CommandError(f"step {_shown(step)}; expected {', '.join(_STEPS)}")
    test = said.get("test", False)
    if not isinstance(test, bool):
        raise CommandError(f"test {_shown(test)}; expected true or false")
    return CommandAsked(
        _text(said, "id", _LONGEST_ID),
        _STEPS[step],
        _value(cdc, said["value"]),
        _time(said["time"]),
        _text(said, "by", _LONGEST_BY),
        test,
    )


def command_object(payload: bytes) -> dict[str, Any]:
    """The JSON object of a command, whatever is in it.

    Raises:
        CommandError: it is none.
    """
    if len(payload) > MOST_OCTETS:
        raise CommandError(f"{len(payload)} octets; expected {MOST_OCTETS} at most")
    try:
        said = json.loads(payload.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except CommandError:
        raise
    except (ValueError, RecursionError):
        raise CommandError(f"{_shown(payload[:_MOST_SHOWN])} is no JSON; expected an object in UTF-8") from None
    if not isinstance(said, dict):
        raise CommandError(f"{_shown(said)}; expected a JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CommandError("a key stands twice in an object; expected each once")
    return found


def _no_constant(text: str) -> Any:
    raise CommandError(f"{text} is no number in JSON")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _text(said: dict[str, Any], key: str, longest: int) -> str:
    text = said.get(key, "")
    if not isinstance(text, str) or len(text) > longest or not (text.isprintable() or not text):
        raise CommandError(f"{key} {_shown(text)}; expected a printable text of {longest} characters at most")
    return text


def _time(text: Any) -> int:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise CommandError(f"time {_shown(text)}; expected ISO 8601 with Z or an offset: 2026-11-23T08:00:00.5Z")
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _value(cdc: str, value: Any) -> bool | int | float:
    """The control value of a common data class."""
    if cdc in ("SPC", "SPG"):
        expected = "true or false"
        if isinstance(value, bool):
            return value
    elif cdc == "DPC":
        expected = '"on" or "off"'
        if value in ("on", "off") and isinstance(value, str):
            return value == "on"
    elif cdc in ("BSC", "BAC"):
        expected = '"lower" or "higher"'
        if value in ("lower", "higher") and isinstance(value, str):
            return 1 if value == "lower" else 2
    elif cdc in ("APC", "ASG"):
        expected = "a number"
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e38:
            return float(value)
    else:
        expected = "a whole number of 32 bits"
        if isinstance(value, int) and not isinstance(value, bool) and -_INT32 <= value < _INT32:
            return value
    raise CommandError(f"value {_shown(value)}; expected {expected} for a {cdc}")


def reply_json(
    point: str,
    result: Result,
    reason: str,
    now_ns: int,
    *,
    final: bool,
    id: str = "",  # noqa: A002 - its name in JSON
    repeated: bool = False,
) -> bytes:
    """What has become of a command.

    Args:
        point: its point.
        result: what.
        reason: why, of what was not done.
        now_ns: when this is said.
        final: nothing more is said of it.
        id: as who asks gave it.
        repeated: it was asked again, and not done again.
    """
    said: dict[str, Any] = {"id": id} if id else {}
    said |= {"point": point, "result": result, "final": final}
    if reason:
        said["reason"] = reason
    if repeated:
        said["repeated"] = True
    return json.dumps(said | {"time": time_text(now_ns)}).encode()
