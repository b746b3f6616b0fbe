"""A subscriber made with paho-mqtt alone, as others write them: no code of the gateway's in it."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import ConnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

_PATIENCE_S: Final = 30.0


class Message(NamedTuple):
    """A message as it came.

    Attributes:
        topic: of it.
        payload: of it.
        retained: the broker had kept it.
        correlation: correlation data.
    """

    topic: str
    payload: bytes
    retained: bool
    correlation: bytes

    @property
    def said(self) -> Any:
        """The payload as JSON."""
        return json.loads(self.payload)


class Subscriber:
    """Subscribes to topics of one broker, in a thread of its own.

    Args:
        port: of the broker, at 127.0.0.1.
        topics: filters.
        user: and password; empty for none.
        password: of the user.
        tls: None for plain TCP.

    Attributes:
        messages: what has come, in its order; another thread adds to it.
    """

    def __init__(
        self,
        port: int,
        *topics: str,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.messages: list[Message] = []
        self._topics = topics
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if user:
            self._client.username_pw_set(user, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, port)
        self._client.loop_start()

    def wait(self) -> None:
        """Until it is subscribed."""
        if not self._subscribed.wait(_PATIENCE_S):
            raise TimeoutError("the broker does not take a subscription")

    def lost(self) -> None:
        """The broker is about to go: :meth:`wait` waits for the next subscription."""
        self._subscribed.clear()

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        reply_to: str = "",
        correlation: bytes = b"",
        expiry_s: int = 0,
        qos: int = 1,
        retain: bool = False,
    ) -> None:
        """Send a message, and wait until the broker has it."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if reply_to:
            properties.ResponseTopic = reply_to
        if correlation:
            properties.CorrelationData = correlation
        if expiry_s:
            properties.MessageExpiryInterval = expiry_s
        self._client.publish(topic, payload, qos, retain, properties).wait_for_publish(_PATIENCE_S)

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        del userdata, flags, properties
        if not reason.is_failure and self._topics:
            # QoS 0: the broker writes it to us before it acknowledges it to the gateway, and keeps nothing.
            client.subscribe([(topic, 0) for topic in self._topics])

    def _on_subscribe(self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        del client, userdata, mid, reasons, properties
        self._subscribed.set()

    def _on_message(self, client: paho.Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        correlation = bytes(getattr(message.properties, "CorrelationData", b""))
        self.messages.append(Message(message.topic, bytes(message.payload), message.retain, correlation))


def until(found: Any, what: str = "", patience_s: float = _PATIENCE_S) -> Any:
    """Wait for what another thread does; returns what ``found`` returned.

    Raises:
        TimeoutError: it does not come.
    """
    deadline = time.monotonic() + patience_s
    while not (said := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or found} does not come")
        time.sleep(0.01)
    return said
