"""The figures of :mod:`gateway.status` for Prometheus, and the little of HTTP that it needs.

Names end in their unit, counters in ``_total``. There are as many series as the site file has devices: nobody who
connects makes one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector, CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from gateway.status import GatewayStatus

_LOG: Final = logging.getLogger(__name__)
_NS: Final = 1e9


class _Figure(NamedTuple):
    """A metric, and the attribute of the status that it tells.

    Attributes:
        name: of the metric; that of a counter without ``_total``.
        attribute: of the status; one that ends in ``_ns`` is told in seconds, one that is None not at all.
        what: for people.
        counter: it only ever rises.
    """

    name: str
    attribute: str
    what: str
    counter: bool = False


_WAITING: Final = "Events that it has not acknowledged."
_MOST: Final = "Events that wait at most."
_LOST: Final = "Events that were lost to that bound, restarts included."
_CONNECTED: Final = "1: it tells its points."
_SINCE: Final = "When that began or ended; 0: it was never otherwise."
_HEARD: Final = "When it told something last."

_GATEWAY: Final = (
    _Figure("flisr_gateway_start_time_seconds", "started_ns", "When the gateway was started."),
    _Figure("flisr_gateway_points", "points", "Points."),
)
_CENTRE: Final = (
    _Figure("flisr_centre_masters", "connected", "Connections of the control centre."),
    _Figure("flisr_centre_started", "started", "1: events go to one of them."),
    _Figure("flisr_centre_events_waiting", "waiting", _WAITING),
    _Figure("flisr_centre_events_limit", "most", _MOST),
    _Figure("flisr_centre_events_lost", "lost", _LOST, counter=True),
)
_RTU: Final = (
    _Figure("flisr_rtu_connected", "connected", _CONNECTED),
    _Figure("flisr_rtu_changed_timestamp_seconds", "since_ns", _SINCE),
    _Figure("flisr_rtu_heard_timestamp_seconds", "heard_ns", _HEARD),
)
_IED: Final = (
    _Figure("flisr_ied_connected", "connected", _CONNECTED),
    _Figure("flisr_ied_changed_timestamp_seconds", "since_ns", _SINCE),
    _Figure("flisr_ied_heard_timestamp_seconds", "heard_ns", _HEARD),
    _Figure("flisr_ied_workers", "workers", "Worker processes, one after the other.", counter=True),
    _Figure("flisr_ied_overflows", "overflows", "Reports before which the IED lost events itself.", counter=True),
)
_GOOSE: Final = (
    _Figure("flisr_goose_connected", "connected", "1: the control block is heard."),
    _Figure("flisr_goose_changed_timestamp_seconds", "since_ns", _SINCE),
    _Figure("flisr_goose_heard_timestamp_seconds", "heard_ns", _HEARD),
    _Figure("flisr_goose_frames", "received", "Frames that named it.", counter=True),
    _Figure("flisr_goose_states", "states", "Frames that brought a new state.", counter=True),
    _Figure("flisr_goose_missed", "missed", "Frames and states that were skipped.", counter=True),
    _Figure("flisr_goose_losses", "lost", "How often its time to live ran out.", counter=True),
    _Figure("flisr_goose_refused", "refused", "Frames that were not taken.", counter=True),
)
_AGENT: Final = (
    _Figure("flisr_agent_process_up", "up", "1: there is a process."),
    _Figure("flisr_agent_process_changed_timestamp_seconds", "since_ns", "When that began or ended."),
    _Figure("flisr_agent_restarts", "restarts", "How often it was started again.", counter=True),
    _Figure("flisr_agent_ready", "ready", "1: it may close its switch if nothing else is against it."),
    _Figure("flisr_agent_confirmed", "confirmed", "0: new, and held until an operator confirms."),
    _Figure("flisr_agent_locks_proven", "proven", "1: its locks are proven since the start."),
)
_HOST: Final = (
    _Figure("flisr_mms_host_up", "up", "1: there is a process."),
    _Figure("flisr_mms_host_restarts", "restarts", "How often it was started again.", counter=True),
)
_HISTORY: Final = (
    _Figure("flisr_history_reachable", "reachable", "1: the database took what it was given last."),
    _Figure("flisr_history_events_waiting", "waiting", _WAITING),
    _Figure("flisr_history_events_limit", "most", _MOST),
    _Figure("flisr_history_events_lost", "lost", _LOST, counter=True),
)
_BROKER: Final = (
    _Figure("flisr_broker_connected", "connected", "1: it takes what it is given."),
    _Figure("flisr_broker_changed_timestamp_seconds", "since_ns", "When that began or ended."),
    _Figure("flisr_broker_events_waiting", "waiting", _WAITING),
    _Figure("flisr_broker_events_limit", "most", _MOST),
    _Figure("flisr_broker_events_lost", "lost", _LOST, counter=True),
)
_EVENT_LOG: Final = (
    _Figure("flisr_event_log_bytes", "octets", "All files of the event log."),
    _Figure("flisr_event_log_limit_bytes", "most_octets", "Their bound."),
    _Figure("flisr_event_log_storing", "storing", "1: the disk takes events."),
)


class StatusCollector(Collector):
    """Tells one status.

    Args:
        status: it.
    """

    def __init__(self, status: GatewayStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        status = self._status
        info = GaugeMetricFamily("flisr_gateway_info", "1: the gateway runs.", labels=["site", "version"])
        info.add_metric([status.site, status.program], 1.0)
        yield info
        yield from _families(_GATEWAY, "", (status,))
        yield from _families(_CENTRE, "centre", status.centres)
        yield from _families(_RTU, "rtu", status.rtus)
        yield from _families(_IED, "ied", status.ieds)
        yield from _families(_GOOSE, "gocb", status.goose)
        yield from _families(_AGENT, "ied", status.agents)
        yield from _families(_HOST, "host", status.hosts)
        yield from _families(_HISTORY, "", () if status.history is None else (status.history,))
        yield from _families(_BROKER, "broker", status.brokers)
        yield from _families(_EVENT_LOG, "", (status.event_log,))


def _families(figures: Sequence[_Figure], label: str, parts: Sequence[object]) -> Iterator[Metric]:
    for figure in figures if parts else ():
        kind: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily
        if figure.counter:
            kind = CounterMetricFamily
        family = kind(figure.name, figure.what, labels=[label] if label else [])
        for part in parts:
            value = getattr(part, figure.attribute)
            if value is not None:
                scale = _NS if figure.attribute.endswith("_ns") else 1.0
                family.add_metric([getattr(part, "name")] if label else [], value / scale)  # noqa: B009 - all have one
        yield family


def exposition(status: GatewayStatus) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status))
    return generate_latest(registry)


async def http_answer(request: bytes, status: Callable[[], Awaitable[GatewayStatus]]) -> bytes:
    """The answer to a request for ``/metrics``, or the refusal of any other.

    Args:
        request: its head: the request line, headers, an empty line; anything may be in it.
        status: looks at the gateway.
    """
    words = request.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _response("400 Bad Request", b"no HTTP/1 request\n")
    if words[0] not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"GET only\n", "Allow: GET, HEAD\r\n")
    if words[1].partition(b"?")[0] != b"/metrics":
        return _response("404 Not Found", b"what there is is at /metrics\n")
    try:
        text = exposition(await status())
    except Exception:  # noqa: BLE001 - said with its place, and the next scrape may be better off
        _LOG.exception("metrics: internal error")
        return _response("500 Internal Server Error", b"the gateway's log says why\n")
    return _response("200 OK", text, f"Content-Type: {CONTENT_TYPE_LATEST}\r\n", without_body=words[0] == b"HEAD")


def _response(code: str, body: bytes, headers: str = "", *, without_body: bool = False) -> bytes:
    if "Content-Type" not in headers:
        headers += "Content-Type: text/plain; charset=utf-8\r\n"
    head = f"HTTP/1.1 {code}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if without_body else body)
