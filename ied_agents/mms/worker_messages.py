"""What the gateway and a worker say to each other over a socket: frames of a length and a JSON object.

The gateway trusts a worker as little as a peer: foreign code runs in it. Values go as the octets of MMS Data, so that
whoever reads them needs no foreign library. Knows no socket.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LENGTH: Final = struct.Struct(">I")
"""Octets of the JSON that follows."""
LONGEST: Final = 4 << 20
"""Octets of a frame from a worker; the connection's PDUs have 64 kB at most, and two digits stand for an octet."""
_LONGEST_NUMBER: Final = 1 << 63


class WorkerMessageError(ValueError):
    """A frame that is none of a worker's; says which member, and what was expected."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A data object that is a point.

    Attributes:
        reference: ``F1Q1FLISR/XCBR1.Pos``.
        fc: functional constraint of what is wanted.
        leaves: attributes below it, with points: ``mag.f``, ``q``, ``t``.
    """

    reference: str
    fc: str
    leaves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Report control blocks of which one is to be had, all with the same data set.

    Attributes:
        candidates: their references, ``F1Q1FLISR/LLN0.BR.brcbStatus01``, in the order in which they are tried.
        buffered: they keep entries for a client that is away.
    """

    candidates: tuple[str, ...]
    buffered: bool


# -- from the gateway -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: what to do, for as long as the worker lives.

    Attributes:
        host: of the IED.
        port: TCP port.
        timeout_s: of each request.
        poll_s: period in which is read what no report tells.
        longest_s: between two attempts to connect.
        objects: what is wanted.
        blocks: where reports tell it.
        entries: EntryID of the last report that is known, by the block's reference.
        tls: files of certificate, key, authority and, if there is one, revocation list; none for plain TCP.
    """

    host: str
    port: int
    timeout_s: float
    poll_s: float
    longest_s: float
    objects: tuple[Watched, ...]
    blocks: tuple[Blocks, ...]
    entries: dict[str, bytes] = field(default_factory=dict)
    tls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """Operate something; answered with :class:`Ended`, and if it is executed with :class:`Confirmed` before.

    Attributes:
        number: to answer with.
        step: ``select``, ``execute`` or ``cancel``.
        reference: of the data object.
        value: ctlVal.
        test: its Test flag.
        orIdent: who asks.
        until: not begun later than this, s on the machine's monotonic clock.
    """

    number: int
    step: str
    reference: str
    value: bool | int | float
    test: bool
    orIdent: str
    until: float


# -- from a worker ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alive:
    """Said at least every second while the worker does not hang."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands, and the model was looked at.

    Attributes:
        missing: why a data object is not to be had, by its reference.
    """

    missing: dict[str, str]


@dataclass(frozen=True, slots=True)
class Enabled:
    """A report control block is enabled.

    Attributes:
        block: its reference.
        resumed: it goes on after the entry that was named; False: it does not know that entry any more, and all that
            it has buffered comes. True where none was named.
    """

    block: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that people should know, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """Values.

    Attributes:
        block: of the report; empty for what was read.
        entryID: of the report, once it is whole and tells changes; empty where there is nothing to go on after.
        overflow: entries before it are lost in the device's buffer.
        answer: it tells how things stand, not that they have changed.
        entry_ms: when the entry was made, ms since 1970; 0 if that is not said.
        objects: MMS Data of the leaves that are told, by reference and leaf; empty octets: the device has no value.
    """

    block: str
    entryID: bytes
    overflow: bool
    answer: bool
    entry_ms: int
    objects: dict[str, dict[str, bytes]]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The device has accepted what is to be executed, and carries it out."""

    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An order has come to its end.

    Attributes:
        number: of the order.
        why: it was refused or failed, because of this; empty: it is done.
        unknown: it may have been carried out all the same.
    """

    number: int
    why: str
    unknown: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is over, and so is the worker."""

    why: str


FromWorker = Alive | Connected | Enabled | Noted | Told | Confirmed | Ended | Lost
ToWorker = Begin | Order


def frame(message: FromWorker | ToWorker) -> bytes:
    """The octets of a message."""
    body = json.dumps([type(message).__name__, _plain(message)], separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def _plain(value: Any) -> Any:
    """As JSON has it: octets in hexadecimal digits, a dataclass as an object."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value


def read_from_worker(body: bytes) -> FromWorker:
    """Read the JSON of a frame.

    Raises:
        WorkerMessageError: it is none of a worker's messages.
    """
    name, members = _named(body)
    reader = _FROM_WORKER.get(name)
    if reader is None:
        raise WorkerMessageError(f"message {name[:40]!r}; expected one of {', '.join(_FROM_WORKER)}")
    message = reader(members)
    members.end(name)
    return message


def read_to_worker(body: bytes) -> ToWorker:
    """Likewise, of the gateway's messages."""
    name, members = _named(body)
    if name == "Begin":
        return Begin(
            members.text("host"),
            members.number("port"),
            members.seconds("timeout_s"),
            members.seconds("poll_s"),
            members.seconds("longest_s"),
            tuple(Watched(x.text("reference"), x.text("fc"), x.texts("leaves")) for x in members.each("objects")),
            tuple(Blocks(x.texts("candidates"), x.truth("buffered")) for x in members.each("blocks")),
            {key: _octets(key, text) for key, text in members.mapping("entries").items()},
            members.texts("tls"),
        )
    if name == "Order":
        return Order(
            members.number("number"),
            members.text("step"),
            members.text("reference"),
            members.value("value"),
            members.truth("test"),
            members.text("orIdent"),
            members.seconds("until"),
        )
    raise WorkerMessageError(f"message {name[:40]!r}; expected Begin or Order")


def _named(body: bytes) -> tuple[str, _Members]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WorkerMessageError(f"no JSON: {error}") from None
    match given:
        case [str(name), dict(members)]:
            return name, _Members(members)
    raise WorkerMessageError("no pair of a name and an object")


def _octets(name: str, text: object) -> bytes:
    try:
        return bytes.fromhex(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise WorkerMessageError(f"{name}: {text!r:.40}; expected octets in hexadecimal digits") from None


class _Members:
    """The members of a JSON object, each taken once and of the type that is expected."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def _take(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        if name not in self._members:
            raise WorkerMessageError(f"{name}: missing; expected {what}")
        value = self._members.pop(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, _VALUES)):
            raise WorkerMessageError(f"{name}: {value!r:.40}; expected {what}")
        return value

    def text(self, name: str) -> str:
        return str(self._take(name, str, "a text"))

    def truth(self, name: str) -> bool:
        return bool(self._take(name, bool, "true or false"))

    def number(self, name: str) -> int:
        value = int(self._take(name, int, "a whole number"))
        if not 0 <= value < _LONGEST_NUMBER:
            raise WorkerMessageError(f"{name}: {value!r:.40}; expected 0 or more, with 63 bits")
        return value

    def seconds(self, name: str) -> float:
        return float(self._take(name, (int, float), "a number"))

    def value(self, name: str) -> bool | int | float:
        value: bool | int | float = self._take(name, _VALUES, "true, false or a number")
        return value

    def octets(self, name: str) -> bytes:
        return _octets(name, self._take(name, str, "octets in hexadecimal digits"))

    def mapping(self, name: str) -> dict[str, Any]:
        return dict(self._take(name, dict, "an object"))

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(_text(name, each) for each in self._take(name, list, "a list"))

    def by_name(self, name: str) -> dict[str, str]:
        return {key: _text(name, each) for key, each in self.mapping(name).items()}

    def each(self, name: str) -> Iterator[_Members]:
        for one in self._take(name, list, "a list"):
            if not isinstance(one, dict):
                raise WorkerMessageError(f"{name}: {one!r:.40}; expected an object")
            yield _Members(one)

    def objects(self, name: str) -> dict[str, dict[str, bytes]]:
        found = {}
        for key, leaves in self.mapping(name).items():
            if not isinstance(leaves, dict):
                raise WorkerMessageError(f"{name}: {leaves!r:.40}; expected an object")
            found[key] = {leaf: _octets(f"{key}.{leaf}", text) for leaf, text in leaves.items()}
        return found

    def end(self, name: str) -> None:
        """Nothing is left.

        Raises:
            WorkerMessageError: something is.
        """
        if self._members:
            raise WorkerMessageError(f"{name}: has no {', '.join(self._members)!r:.80}")


_VALUES: Final = (bool, int, float)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise WorkerMessageError(f"{name}: {value!r:.40}; expected a text")
    return value


_FROM_WORKER: Final[Mapping[str, Callable[[_Members], FromWorker]]] = {
    "Alive": lambda _: Alive(),
    "Connected": lambda x: Connected(x.by_name("missing")),
    "Enabled": lambda x: Enabled(x.text("block"), x.truth("resumed")),
    "Noted": lambda x: Noted(x.text("text")),
    "Told": lambda x: Told(
        x.text("block"),
        x.octets("entryID"),
        x.truth("overflow"),
        x.truth("answer"),
        x.number("entry_ms"),
        x.objects("objects"),
    ),
    "Confirmed": lambda x: Confirmed(x.number("number")),
    "Ended": lambda x: Ended(x.number("number"), x.text("why"), x.truth("unknown")),
    "Lost": lambda x: Lost(x.text("why")),
}
