"""The connection to an MQTT broker: the only place that knows aiomqtt, and paho-mqtt below it.

aiomqtt says neither what a PUBACK refuses, nor whether the broker knows us, nor that a message comes again; its
callbacks, which paho calls in the loop's thread, do. Each connection is a client of its own: what was under way on the
last one is given again by the event log, and not by paho.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.adapters.iec104_outlet import AsItIs, Requester
from gateway.adapters.mqtt_commands import MQTT, BrokerCommands, CommandMessage
from gateway.adapters.mqtt_feed import BrokerFeed, Publication
from gateway.adapters.mqtt_messages import MOST_OCTETS, status_json
from gateway.iec104.asdu import untagged
from gateway.iec104.commands import Command, ControlStep
from gateway.iec104.image import Control
from gateway.status import BrokerStatus, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import Client, ConnectFlags, MQTTMessage

    from gateway.adapters.iec104_outlet import Outlet
    from gateway.adapters.mqtt_commands import DeskCommand
    from gateway.adapters.mqtt_feed import BrokerConfig
    from gateway.iec104.commands import Answer, ControlStep
    from gateway.points.event_log import Consumer
    from gateway.points.table import PointTable

_LOG: Final = logging.getLogger(__name__)
_TIMEOUT_S: Final = 5.0
_LAST_S: Final = 2.0
"""What is under way when the gateway stops has so long to arrive."""
_MOST_COMMANDS: Final = 20
_SESSION_S: Final = 3600
"""So long the broker remembers us: what we are subscribed to, and that it has our states."""
_MOST_DEFAULT: Final = 65_535
_REFUSED: Final = 0x80
"""From here on a reason code is an error, this one without a reason: paho says it where a line is cut."""
_TAKEN_OVER: Final = 142
_AT_ONCE: Final = 200
"""Messages between two looks at the loop's other work."""


class _Connection(aiomqtt.Client):
    """A client that hands on what aiomqtt keeps to itself.

    Attributes:
        remembered: the broker knows us from before.
        window: messages under way that the broker takes.
    """

    def __init__(
        self,
        config: BrokerConfig,
        acknowledged: Callable[[int, str], None],
        heard: Callable[[CommandMessage], None],
    ) -> None:
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = _SESSION_S
        connect.ReceiveMaximum = _MOST_COMMANDS
        # A command that is too long gets an answer, but not one that would take our memory.
        connect.MaximumPacketSize = 16 * MOST_OCTETS
        super().__init__(
            config.host,
            config.port,
            username=config.user or None,
            password=config.password or None,
            identifier=config.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(config.topics.status, status_json("offline", "the connection is lost"), 1, retain=True),
            clean_start=False,
            timeout=_TIMEOUT_S,
            keepalive=config.keepalive_s,
            max_inflight_messages=_MOST_DEFAULT,  # the feed keeps to the window
            tls_context=config.tls,
            properties=connect,
        )
        self.remembered = False
        self.window = _MOST_DEFAULT
        self._acknowledged = acknowledged
        self._heard = heard

    def send(self, publication: Publication) -> int:
        """Send a message; returns its packet identifier.

        Raises:
            aiomqtt.MqttError: there is no connection.
        """
        properties = None
        if publication.correlation:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = publication.correlation
        info = self._client.publish(
            publication.topic, publication.payload, 1, publication.retain, properties=properties
        )
        if info.rc:
            raise aiomqtt.MqttCodeError(info.rc, "not sent")
        return info.mid

    def _on_connect(
        self,
        client: Client,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.remembered = flags.session_present
        self.window = int(getattr(properties, "ReceiveMaximum", _MOST_DEFAULT))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        self._acknowledged(mid, str(reason_code) if reason_code.value >= _REFUSED else "")
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        properties = message.properties
        self._heard(
            CommandMessage(
                message.topic,
                bytes(message.payload),
                retained=bool(message.retain),
                again=bool(message.dup),
                reply_to=str(getattr(properties, "ResponseTopic", "")),
                correlation=bytes(getattr(properties, "CorrelationData", b"")),
                expired=getattr(properties, "MessageExpiryInterval", 1) == 0,
            )
        )


class MqttBroker:
    """One broker: events and states to it, commands from it.

    Args:
        config: of the broker.
        table: the points.

    Attributes:
        config: of the event log's consumer.
        standing: whether it is connected, since when, and why not.
    """

    def __init__(self, config: BrokerConfig, table: PointTable) -> None:
        self._broker = config
        self._feed = BrokerFeed(config, table)
        self.config = self._feed.consumer
        self.standing = Standing()
        self._consumer: Consumer | None = None
        self._began_ns = time.time_ns()
        self._connection: _Connection | None = None
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._outlet: Outlet | None = None
        self._commands = BrokerCommands(config, self._ask, self._feed.say, self._record, self._began_ns)
        self._wait_s = 0.0
        self._said: set[str] = set()
        self._idle = asyncio.Event()
        self._pumping = False

    @property
    def _where(self) -> str:
        return f"{self._broker.name}: broker {self._broker.host}:{self._broker.port}"

    # -- of the gateway -------------------------------------------------------------------------------------------

    def begin(self, consumer: Consumer, acknowledged: Callable[[], None]) -> None:
        """Take events from the log from now on; called by the outlet."""
        self._consumer = consumer
        self._feed.begin(consumer, acknowledged)

    def events_ready(self) -> None:
        """The log may offer events, and points may have changed."""
        self._feed.look()
        self._pump()

    def start(self, outlet: Outlet) -> None:
        """Connect, and hand commands to this outlet's desk."""
        self._outlet = outlet
        outlet.answers_of(self.config.name, self._answered)
        self._task = self._loop.create_task(self._serve())

    def status(self) -> BrokerStatus:
        """How it is; after :meth:`begin`."""
        assert self._consumer is not None
        return BrokerStatus(
            name=self._broker.name,
            waiting=self._consumer.waiting,
            most=self._consumer.most,
            lost=self._consumer.overflowed,
            where=f"{self._broker.host}:{self._broker.port}",
            connected=self.standing.up,
            since_ns=self.standing.since_ns,
            why="" if self.standing.up else self.standing.why or "not connected yet",
        )

    async def close(self) -> None:
        """Say that we go, and end the connection; what is not acknowledged stays in the log."""
        self._closed.set()
        if self._task is not None:
            await self._task

    # -- the connection -------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                await self._connect()
            except aiomqtt.MqttError as error:
                self._failed(error)
            except Exception:  # noqa: BLE001 - a defect must not end the outlet, and is told with its place
                _LOG.exception("%s", self._where)
                self._failed(None)
            if self._closed.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._closed.wait()

    async def _connect(self) -> None:
        config, topics = self._broker, self._broker.topics
        connection = _Connection(config, self._acknowledged, self._heard)
        async with connection:
            said = "it knows us from before" if connection.remembered else "it does not know us"
            _LOG.info("%s: connected; %s", self._where, said)
            try:
                if config.commands:
                    await self._subscribe(connection)
                elif connection.remembered:
                    await connection.unsubscribe(topics.commands)  # they were taken once
                self._connection = connection
                self.standing.begin(time.time_ns())
                self._feed.connected(connection.window, self._loop.time(), remembered=connection.remembered)
                birth = status_json("online", "", self._began_ns)
                self._feed.say(Publication(topics.status, birth, retain=True))
                self._pump()
                lost = self._loop.create_task(_lost(connection))
                ended = self._loop.create_task(self._closed.wait())
                await asyncio.wait((lost, ended), return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if not lost.done():
                    await self._say_goodbye()
                    lost.cancel()
                    await asyncio.gather(lost, return_exceptions=True)
                else:
                    lost.result()
            finally:
                self._connection = None
                if self._again is not None:
                    self._again.cancel()
                    self._again = None
                self._feed.lost()

    async def _subscribe(self, connection: _Connection) -> None:
        # As published: else one that is retained and comes live looks like any other.
        options = SubscribeOptions(qos=1, retainAsPublished=True, noLocal=True)
        codes = await connection.subscribe(self._broker.topics.commands, options=options)
        for code in codes:
            if _number(code) >= _REFUSED:
                self._say(f"it gives us no commands: {self._broker.topics.commands}: {code}")

    async def _say_goodbye(self) -> None:
        """What is under way may still arrive; then the gateway is offline in order."""
        last = status_json("offline", "the gateway was stopped")
        with contextlib.suppress(TimeoutError, aiomqtt.MqttError):
            async with asyncio.timeout(_LAST_S):
                self._feed.closing = True
                self._feed.say(Publication(self._broker.topics.status, last, retain=True))
                self._idle.clear()
                self._pump()
                while not self._feed.idle:
                    await self._idle.wait()
                    self._idle.clear()

    def _failed(self, error: aiomqtt.MqttError | None) -> None:
        """Said once, until the broker has taken something."""
        if self._feed.took:
            self._said.clear()
            self._wait_s = 0.0
            self._feed.took = False
        config = self._broker
        self._wait_s = min(2 * self._wait_s or config.first_s, config.longest_s)
        if error is None:
            self.standing.end("internal error", time.time_ns())
            return
        cause = error.__cause__ or error
        if isinstance(cause, MqttConnectError):
            why = f"it refuses us: {cause}; look at user, password_file, client_id and the broker's own log"
        elif isinstance(cause, aiomqtt.MqttCodeError) and _number(cause.rc) == _TAKEN_OVER:
            why = f"another client has connected as {config.client_id}; each gateway needs a client_id of its own"
            self._wait_s = config.longest_s
        elif isinstance(cause, aiomqtt.MqttCodeError):
            said = isinstance(cause.rc, ReasonCode) and cause.rc.value != _REFUSED
            why = f"it has ended the connection: {cause.rc}" if said else "the connection is lost"
        else:
            why = f"not connected: {cause}"
        self.standing.end(why, time.time_ns())
        self._say(f"{why}; events wait in the event log")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _LOG.error("%s: %s", self._where, text)

    # -- what flows -----------------------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Not within a callback of paho: there it only queues, and would be asked to write later."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Send what there is room for."""
        self._pumping = False
        connection, now = self._connection, self._loop.time()
        if connection is None:
            return
        for _ in range(_AT_ONCE):
            publication = self._feed.next(now)
            if publication is None:
                break
            try:
                self._feed.sent(connection.send(publication), publication)
            except aiomqtt.MqttError as error:
                # Lost: soon the connection says so too.
                self._feed.unsent(publication)
                _LOG.debug("%s: %s", self._where, error)
                return
        else:
            self._pump_soon()
        if self._feed.held_until and self._again is None:
            self._again = self._loop.call_at(self._feed.held_until, self._release_held)

    def _release_held(self) -> None:
        self._again = None
        self._feed.release_held(self._loop.time())
        self._pump()

    def _acknowledged(self, number: int, fault: str) -> None:
        self._feed.acknowledged(number, fault, self._loop.time())
        self._pump_soon()
        if self._feed.idle:
            self._idle.set()

    # -- commands -------------------------------------------------------------------------------------------------

    def _heard(self, message: CommandMessage) -> None:
        if not self._broker.commands:
            return
        try:
            self._commands.take(message, time.time_ns())
        except Exception:  # noqa: BLE001 - no command may end the connection, and none be executed by a defect
            _LOG.exception("%s: a command to %.80s was not decided", self._where, message.topic)
        self._pump_soon()

    def _ask(self, command: DeskCommand) -> None:
        assert self._outlet is not None
        requester, row = Requester(self.config.name, command.who, command.origin), command.row
        control = Control(0, 0, untagged(row.typeID), row.name, row.select, AsItIs(row.name))
        asked = command.token, control, command.step, command.value, 0, command.test, 0
        self._outlet.ask_desk(Command(requester, *asked, command.origin, MQTT))

    def _record(self, step: ControlStep) -> None:
        assert self._outlet is not None
        self._outlet.desk.record(step)
        self._outlet.server.serve()

    def _answered(self, answer: Answer) -> None:
        self._commands.answered(answer, time.time_ns())
        self._pump_soon()


async def _lost(connection: _Connection) -> None:
    """Wait for the end of a connection, and raise what ended it."""
    async for _ in connection.messages:
        pass


def _number(code: ReasonCode | int | None) -> int:
    return code if isinstance(code, int) else 0 if code is None else code.value
