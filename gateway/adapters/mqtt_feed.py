"""Points to an MQTT broker: each event until the broker has acknowledged it, and how each point stands. Sans-IO.

* An event leaves the log with the broker's PUBACK. As many as the window has room for are under way at once, in the
  order of the log. With the connection all that is not acknowledged is given again.
* The state of a point is retained by the broker. Only the newest is sent: a slow line thins states out, never events.
* All states are sent when this process connects first, those that nobody has told yet as invalid, and whenever the
  broker has forgotten us. If it has not, those of the last hour are sent again: a broker that was killed comes back
  with what it had last saved.
* A broker that refuses an event (not authorised, quota) gets it again after a pause, with all that follows. Nothing is
  lost by that up to the bound of the log. A refused state is said and not sent again before it changes.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.adapters.mqtt_messages import Topics, point_json
from gateway.points.event_log import ConsumerConfig
from gateway.points.point import PointDecodeError, decode_value

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gateway.points.event_log import Consumer
    from gateway.points.point_list import PointRow
    from gateway.points.table import PointTable

_LOG: Final = logging.getLogger(__name__)
_FORGETS_S: Final = 3600.0
"""Mosquitto saves every half hour, if not told otherwise."""
_HELD_S: Final = 15.0
_WINDOW: Final = 100
"""Messages under way at most; fewer if the broker says so."""
_TURNS: Final = ("said", "event", "state", "event")
"""Whose turn it is, so that none waits for the others for ever; who has nothing is passed over."""
_MOST_REPLIES: Final = 1000
_MOST_SAID: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """A broker.

    Attributes:
        name: its events wait under this name.
        host: where it is.
        port: TCP port.
        topics: of this site.
        client_id: under which it remembers us.
        rows: its points, and those that may be commanded through it.
        commands: commands are taken.
        tls: None for plain TCP.
        user: empty for none.
        password: of the user.
        command_age_s: a command that was asked longer ago is refused, s.
        most_events: that wait for it.
        keepalive_s: a line that says nothing is tried after this, s.
        first_s: before the second attempt to connect, s; then twice as long, and so on.
        longest_s: at most so long, s.
    """

    name: str
    host: str
    port: int
    topics: Topics
    client_id: str
    rows: Sequence[PointRow]
    commands: bool = False
    tls: ssl.SSLContext | None = None
    user: str = ""
    password: str = ""
    command_age_s: float = 10.0
    most_events: int = 100_000
    keepalive_s: int = 30
    first_s: float = 1.0
    longest_s: float = 30.0


class Publication(NamedTuple):
    """A message for the broker, QoS 1.

    Attributes:
        topic: of it.
        payload: of it.
        retain: it is kept for who comes later.
        sequence: number of an event; 0 for what is none.
        state: point of a state; empty for what is none.
        correlation: of a reply.
    """

    topic: str
    payload: bytes
    retain: bool = False
    sequence: int = 0
    state: str = ""
    correlation: bytes = b""


class BrokerFeed:
    """What one broker is to be sent, and what of that it has.

    Args:
        config: of the broker.
        table: the points.

    Attributes:
        config: as given.
        consumer: of the event log.
        held_until: events are not sent before this, on the clock of ``now``, s; 0 for none held.
        took: the broker has acknowledged something on this connection.
        closing: no event or state is sent any more.
    """

    def __init__(self, config: BrokerConfig, table: PointTable) -> None:
        self.config = config
        self.held_until = 0.0
        self.took = False
        self.closing = False
        self._table = table
        monitored = [row for row in config.rows if not row.control]
        self._cdcs = {row.name: row.cdc for row in monitored}
        classes: dict[str, int] = {}
        for row in monitored:
            classes[row.name] = min(row.event_class, classes.get(row.name, row.event_class))
        # No name of a control centre has a colon.
        self.consumer = ConsumerConfig(f"mqtt:{config.name}", classes.get, config.most_events)
        self._seen = table.sequence
        self._changed: dict[str, None] = dict.fromkeys(self._cdcs)
        self._told_s: dict[str, float] = {}
        self._first: deque[Publication] = deque()
        self._window = 0
        self._turn = 0
        self._under_way: dict[int, Publication] = {}
        self._fetched: deque[Publication] = deque()
        self._said: set[str] = set()

    def begin(self, waiting: Consumer, acknowledged: Callable[[], None]) -> None:
        """Events come from here; ``acknowledged`` is called when the log has acknowledgements to write."""
        self._waiting = waiting
        self._acknowledged = acknowledged

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._under_way and not self._first

    def connected(self, window: int, now: float, *, remembered: bool) -> None:
        """There is a connection.

        Args:
            window: messages under way that the broker takes.
            now: s.
            remembered: the broker knows us from before.
        """
        self._window = max(1, min(window, _WINDOW))
        self.held_until = 0.0
        self.took = False
        self.look()
        newer = now - _FORGETS_S if remembered else float("-inf")
        self._changed |= dict.fromkeys(name for name, at in self._told_s.items() if at >= newer)

    def lost(self) -> None:
        """The connection is over."""
        again = [each for each in self._under_way.values() if not each.sequence and not each.state and not each.retain]
        self._changed |= dict.fromkeys(each.state for each in self._under_way.values() if each.state)
        self._under_way.clear()
        self._fetched.clear()
        # A birth is of its connection; a reply is not.
        self._first = deque([*again, *(each for each in self._first if not each.retain)])
        self._window = 0
        self._waiting.release()

    def say(self, publication: Publication) -> None:
        """A status or a reply."""
        if len(self._first) >= _MOST_REPLIES:
            self._first.popleft()
            self._say("replies", f"more than {_MOST_REPLIES} replies wait: the oldest are lost")
        self._first.append(publication)

    def look(self) -> None:
        """Points may have changed."""
        while True:
            changes, missed, self._seen = self._table.changes_since(self._seen)
            if missed:
                self._changed |= dict.fromkeys(self._cdcs)
            if not changes:
                return
            self._changed |= {change.name: None for change in changes if change.name in self._cdcs}

    def next(self, now: float) -> Publication | None:
        """What is to be sent now; None: nothing, or no room. Told with :meth:`sent`."""
        if len(self._under_way) >= self._window:
            return None
        for _ in _TURNS:
            turn = _TURNS[self._turn]
            self._turn = (self._turn + 1) % len(_TURNS)
            publication = None
            if turn == "said":
                publication = self._first.popleft() if self._first else None
            elif not self.closing:
                publication = self._event(now) if turn == "event" else self._state(now)
            if publication is not None:
                return publication
        return None

    def sent(self, number: int, publication: Publication) -> None:
        """It is under way, with this packet identifier."""
        self._under_way[number] = publication

    def unsent(self, publication: Publication) -> None:
        """It could not be sent: it is given again on the next connection, events by the log."""
        if publication.state:
            self._changed[publication.state] = None
        elif not publication.sequence and not publication.retain:
            self._first.appendleft(publication)

    def acknowledged(self, number: int, fault: str, now: float) -> None:
        """The broker has it, or refuses it.

        Args:
            number: as it was sent with; others are passed over.
            fault: why it is refused; empty if it is not.
            now: s.
        """
        publication = self._under_way.pop(number, None)
        if publication is None:
            return
        if fault:
            self._refused(publication, fault, now)
            return
        self.took = True
        if publication.sequence:
            self._waiting.acknowledge((publication.sequence,))
            self._acknowledged()

    def _refused(self, publication: Publication, fault: str, now: float) -> None:
        what = f"{publication.topic} is refused by the broker: {fault}"
        if not publication.sequence:
            self._say(publication.topic, what)
            return
        self._say(publication.topic, f"{what}; events are held, and tried again every {_HELD_S:g} s")
        self.held_until = now + _HELD_S

    def release_held(self, now: float) -> None:
        """Send again what was held; not before all that was under way then is decided, or one would be so twice."""
        if any(each.sequence for each in self._under_way.values()):
            self.held_until = now + _HELD_S
            return
        self.held_until = 0.0
        self._fetched.clear()
        self._waiting.release()

    def _say(self, key: str, text: str) -> None:
        if key not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(key)
            _LOG.error("%s: %s; said once", self.config.name, text)

    def _state(self, now: float) -> Publication | None:
        if not self._changed:
            return None
        name = next(iter(self._changed))
        del self._changed[name]
        self._told_s[name] = now
        point = self._table.get(name)
        try:
            payload = point_json(name, self._cdcs[name], point)
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            self._say(name, f"{name}: its value cannot be told: {error}")
            payload = point_json(name, self._cdcs[name], None)
        return Publication(self.config.topics.state(name), payload, retain=True, state=name)

    def _event(self, now: float) -> Publication | None:
        if self.held_until > now:
            return None
        if not self._fetched:
            self._fetch()
        return self._fetched.popleft() if self._fetched else None

    def _fetch(self) -> None:
        done = []
        for logged in self._waiting.take(self._window):
            try:
                point = decode_value(logged.payload)
                payload = point_json(logged.key, self._cdcs[logged.key], point, logged.sequence)
            except (PointDecodeError, ValueError, TypeError, LookupError, AttributeError) as error:
                # The point has become another since: what can't be told must not hold up all that follows.
                _LOG.error("%s: %s: event %d can't be told: %s", self.config.name, logged.key, logged.sequence, error)
                done.append(logged.sequence)
            else:
                topic = self.config.topics.event(logged.key)
                self._fetched.append(Publication(topic, payload, sequence=logged.sequence))
        if done:
            self._waiting.acknowledge(done)
            self._acknowledged()
