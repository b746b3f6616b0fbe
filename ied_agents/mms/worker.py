"""A worker: one connection to one IED in a process of its own, for a gateway: ``python -m ied_agents.mms.worker FD``.

It does what it is told over the socket of that number (:mod:`ied_agents.mms.worker_messages`): connects, enables report
control blocks, reads what no report tells, operates. It ends with its connection; whoever started it starts another.
It keeps nothing: it may be killed at any time.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ied_agents.goose.data import encode_data
from ied_agents.goose.errors import GooseEncodeError
from ied_agents.mms.client import MmsClient, MmsClientError, Reference
from ied_agents.mms.client_control import Control, ControlModel, ControlRefusedError
from ied_agents.mms.client_report import FROM_THE_FIRST, ReportQueue, Subscription
from ied_agents.mms.library import MmsLibraryError
from ied_agents.mms.values import Cause
from ied_agents.mms.worker_messages import (
    LENGTH,
    Alive,
    Begin,
    Confirmed,
    Connected,
    Enabled,
    Ended,
    Lost,
    Noted,
    Order,
    Told,
    frame,
    read_to_worker,
)
from ied_agents.runtime.tls import TlsError, TlsFiles, client_context

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ied_agents.iec61850.data import Data
    from ied_agents.mms.client_report import Report
    from ied_agents.mms.values import Shape
    from ied_agents.mms.worker_messages import Blocks, FromWorker, Watched

_ALIVE_S: Final = 1.0
_FIRST_S: Final = 1.0
"""Before the second attempt to connect; then twice as long, and so on."""
_MOST_REPORTS: Final = 10_000
"""That wait for the gateway. If there are more the connection is given up, and another one goes on after the last."""
_MOST_ORDERS: Final = 64
_RESERVE_S: Final = 60
"""How long a buffered block is kept for us after the connection has ended."""
_QUIET_S: Final = 0.5
"""Without a report for so long, a block has told what it had buffered."""
_NEVER_QUIET_S: Final = 10.0
_SETTLE_S: Final = 0.5
"""What was read is told unless a report tells it within this: more than the buffer times of usual devices."""
_BUSY_S: Final = 3.0
"""A block of which an entry is known may be enabled for our last connection, which the IED does not know to be over."""
_RETRY_S: Final = 0.2
_MOST_NAMED: Final = 5
_NEEDS: Final = frozenset(("dchg", "qchg", "reasonCode", "timeStamp"))
_NEEDS_BUFFERED: Final = _NEEDS | {"entryID", "bufOvfl"}
_NO_CHANGE: Final = frozenset(("gi", "period"))
_SELECT_MODELS: Final = (ControlModel.SBO_NORMAL, ControlModel.SBO_ENHANCED)
_REMOTE: Final = 3
"""Originator category: remote control (IEC 61850-7-3)."""
_SURE: Final = (
    Cause.NOT_CONNECTED,
    Cause.INVALID_ARGUMENT,
    Cause.INVALID_REFERENCE,
    Cause.ACCESS_DENIED,
    Cause.NO_SUCH_OBJECT,
    Cause.ACCESS_UNSUPPORTED,
    Cause.TYPE_INCONSISTENT,
    Cause.TEMPORARILY_UNAVAILABLE,
    Cause.OBJECT_UNDEFINED,
    Cause.VALUE_INVALID,
)
"""Of these the device has refused, or was not asked; after another one it may have operated."""


def _is_over(client: MmsClient, error: MmsClientError) -> bool:
    """Whether a failed request says something of the connection, and nothing of what was asked."""
    return not client.connected or error.cause in (Cause.NO_ANSWER_IN_TIME, Cause.CONNECTION_LOST, Cause.NOT_CONNECTED)


class GatewayGoneError(OSError):
    """The socket is closed at the other end."""


class Link:
    """The socket to the gateway; any thread may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._alive_at = 0.0

    def send(self, message: FromWorker) -> None:
        """Waits while the gateway does not read."""
        octets = frame(message)
        with self._lock:
            self._connection.sendall(octets)

    def alive(self) -> None:
        """Say so, from time to time; to be called often, and by the thread whose hanging would matter."""
        if time.monotonic() - self._alive_at >= _ALIVE_S:
            self._alive_at = time.monotonic()
            self.send(Alive())

    def receive(self) -> Begin | Order:
        """The next message.

        Raises:
            GatewayGoneError: there is none any more.
            WorkerMessageError: it is none.
        """
        (length,) = LENGTH.unpack(self._octets(LENGTH.size))
        return read_to_worker(self._octets(length))

    def _octets(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            some = self._connection.recv(min(count - len(octets), 1 << 20))
            if not some:
                raise GatewayGoneError
            octets += some
        return octets


class Reported:
    """An enabled block, and what of it is told to the gateway.

    Attributes:
        subscription: the block.
        objects: references that are told by it.
        resumed: its next report goes on after one that is known.
    """

    def __init__(self, client: MmsClient, subscription: Subscription, watched: Iterable[Watched]) -> None:
        self.subscription = subscription
        self.resumed = True
        self._shapes: dict[str, tuple[str, Shape]] = {}
        wanted = {f"{each.reference}.{leaf}": (each.reference, leaf) for each in watched for leaf in each.leaves}
        there = set()
        for member in subscription.members:
            reference = Reference.read(member)
            if not any(leaf == reference.plain or leaf.startswith(reference.plain + ".") for leaf in wanted):
                continue
            shape = client.shape(reference)
            self._shapes[member] = reference.plain, shape
            there |= {f"{reference.plain}.{path}" if path else reference.plain for path in shape.paths()}
        self.objects = {
            each.reference
            for each in watched
            # The time of a change is that of the report where the data set has none.
            if all(leaf == "t" or f"{each.reference}.{leaf}" in there for leaf in each.leaves)
        }
        self._wanted = {leaf: place for leaf, place in wanted.items() if place[0] in self.objects}

    def leaves(self, values: dict[str, Data | Cause]) -> dict[str, dict[str, bytes]]:
        """What is to be told of a report, or of the data set as it was read."""
        found: dict[str, dict[str, bytes]] = {}
        for member, value in values.items():
            if member not in self._shapes:
                continue
            plain, shape = self._shapes[member]
            for place, octets in self._member(plain, shape, value):
                reference, leaf = place
                found.setdefault(reference, {})[leaf] = octets
        return found

    def _member(self, plain: str, shape: Shape, value: Data | Cause) -> Iterator[tuple[tuple[str, str], bytes]]:
        if isinstance(value, Cause):
            below = plain + "."
            yield from ((place, b"") for leaf, place in self._wanted.items() if leaf == plain or leaf.startswith(below))
            return
        for leaf, data in shape.leaves(value, plain):
            if leaf in self._wanted:
                yield self._wanted[leaf], _octets(data)


def _octets(data: Data) -> bytes:
    try:
        return encode_data(data)
    except GooseEncodeError:
        return b""


class Session:
    """All that happens on a connection.

    Args:
        link: to the gateway.
        begin: what to do.
    """

    def __init__(self, link: Link, begin: Begin) -> None:
        self._link = link
        self._begin = begin
        self._client: MmsClient | None = None
        self._queue = ReportQueue(_MOST_REPORTS)
        self._reported: dict[str, Reported] = {}
        self._polled: list[Watched] = []
        self._shapes: dict[str, Shape] = {}
        self._fresh: set[str] = set()
        self._report_at = 0.0
        self._controls: dict[str, Control] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._orders = threading.BoundedSemaphore(_MOST_ORDERS)

    def run(self) -> str:
        """Until the connection is over; returns why."""
        self._client = client = self._connect()
        try:
            there = self._check(client)
            for blocks in self._begin.blocks:
                self._link.alive()
                self._enable(client, blocks, there)
            reported = {name for each in self._reported.values() for name in each.objects}
            self._polled = [each for each in there if each.reference not in reported]
            self._say_polled()
            self._follow(client)
        except MmsClientError as error:
            self._pass_on_all()
            return str(error)

    def _connect(self) -> MmsClient:
        begin, said = self._begin, ""
        pause_s = min(_FIRST_S, begin.longest_s)
        while True:
            self._link.alive()
            try:
                # Read anew each time: files may have been replaced since.
                tls = client_context(TlsFiles(*map(Path, begin.tls))) if begin.tls else None
                return MmsClient(begin.host, begin.port, timeout_s=begin.timeout_s, tls=tls)
            except (MmsClientError, TlsError) as error:
                if str(error) != said:
                    said = str(error)
                    self._link.send(Noted(f"{error}; tried again, and said once"))
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                self._link.alive()
                time.sleep(min(_ALIVE_S, max(until - time.monotonic(), 0)))
            pause_s = min(2 * pause_s, begin.longest_s)

    def _check(self, client: MmsClient) -> list[Watched]:
        """The objects that are there as they are expected; of the others it is said why not."""
        missing: dict[str, str] = {}
        there = []
        for each in self._begin.objects:
            self._link.alive()
            try:
                shape = client.shape(Reference.read(each.reference)._replace(fc=each.fc))
            except MmsClientError as error:
                if _is_over(client, error):
                    raise
                missing[each.reference] = f"the IED does not have it: {error.cause}"
                continue
            except ValueError as error:
                missing[each.reference] = str(error)
                continue
            absent = set(each.leaves) - set(shape.paths())
            if absent:
                missing[each.reference] = f"in the IED it has no {', '.join(sorted(absent))}"
                continue
            self._shapes[each.reference] = shape
            there.append(each)
        self._link.send(Connected(missing))
        return there

    # -- reports --------------------------------------------------------------------------------------------------

    def _enable(self, client: MmsClient, blocks: Blocks, there: list[Watched]) -> None:
        """Enable one of several blocks: the one of which an entry is known, else the first that is free."""
        entries = self._begin.entries
        why = []
        for block in sorted(blocks.candidates, key=lambda block: block not in entries):
            known = blocks.buffered and block in entries
            until = time.monotonic() + (_BUSY_S if known else 0.0)
            while True:
                self._link.alive()
                try:
                    self._enable_one(client, block, there, buffered=blocks.buffered)
                except MmsClientError as error:
                    if _is_over(client, error):
                        raise
                    if error.cause is not Cause.TEMPORARILY_UNAVAILABLE or time.monotonic() >= until:
                        why.append(str(error))
                        break
                    time.sleep(_RETRY_S)
                except ValueError as error:
                    why.append(str(error))
                    break
                else:
                    return
        more = f" and {len(why) - _MOST_NAMED} more" if len(why) > _MOST_NAMED else ""
        said = "; ".join(why[:_MOST_NAMED])
        self._link.send(Noted(f"no report control block of {len(blocks.candidates)} is to be had: {said}{more}"))

    def _enable_one(self, client: MmsClient, block: str, there: list[Watched], *, buffered: bool) -> None:
        after = self._begin.entries.get(block, FROM_THE_FIRST) if buffered else None
        subscription = Subscription(
            client,
            block,
            self._queue.put,
            after=after,
            needs=_NEEDS_BUFFERED if buffered else _NEEDS,
            reserve_s=_RESERVE_S if buffered else None,
        )
        told = {name for each in self._reported.values() for name in each.objects}
        try:
            # Reports come already: they wait in the queue until it is known what is to be told of them.
            reported = Reported(client, subscription, [each for each in there if each.reference not in told])
        except (MmsClientError, ValueError):
            subscription.close()
            raise
        self._reported[subscription.block] = reported
        reported.resumed = subscription.resumed and after != FROM_THE_FIRST
        self._link.send(Enabled(subscription.block, subscription.resumed))
        if not reported.objects:
            self._link.send(Noted(f"{block}: its data set {subscription.data_set} tells none of the points"))

    def _pass_on(self, report: Report) -> None:
        """Tell the gateway of a report; all of it is on its way then, whatever becomes of this process."""
        reported = self._reported.get(report.block)
        if reported is None:
            return  # it is closed again
        answer = bool(report.reasons) and set(report.reasons.values()) <= _NO_CHANGE
        objects = reported.leaves(report.values)
        self._fresh |= objects.keys()
        self._report_at = time.monotonic()
        # Who does not go on after an entry is told of an overflow whatever was lost before his time.
        overflow = report.overflow and reported.resumed
        reported.resumed = True
        # An entry that answers an interrogation may be taken out of the buffer, and is not to go on after.
        entryID = b"" if report.more or answer else report.entryID or b""
        self._link.send(Told(report.block, entryID, overflow, answer, report.time_ms or 0, objects))

    def _pass_on_all(self) -> None:
        while (report := self._queue.get(0)) is not None:
            self._pass_on(report)

    def _follow(self, client: MmsClient) -> NoReturn:
        """Pass on what comes, and read what does not."""
        begun = self._report_at = time.monotonic()
        poll_at, look = begun, bool(self._reported)
        while True:
            self._link.alive()
            report = self._queue.get(min(_RETRY_S, max(poll_at - time.monotonic(), 0.0)))
            if report is not None:
                self._pass_on(report)
            elif self._queue.lost:
                message = f"more than {_MOST_REPORTS} wait for the gateway"
                raise MmsClientError(client.peer, "reports", Cause.UNKNOWN, message)
            elif not client.connected:
                raise MmsClientError(client.peer, "connection", Cause.CONNECTION_LOST)
            now = time.monotonic()
            if look and (now - self._report_at >= _QUIET_S or now - begun >= _NEVER_QUIET_S):
                look = False
                for each in self._reported.values():
                    self._look(client, each)
            if now >= poll_at:
                self._poll(client)
                poll_at = max(poll_at + self._begin.poll_s, time.monotonic())

    # -- reading --------------------------------------------------------------------------------------------------

    def _look(self, client: MmsClient, reported: Reported) -> None:
        """How stands what no report has told since the connection began? A report that comes meanwhile knows better."""
        if reported.objects <= self._fresh:
            return
        try:
            found = reported.leaves(client.read_data_set(reported.subscription.data_set))
        except MmsClientError as error:
            if _is_over(client, error):
                raise
            watched = [each for each in self._begin.objects if each.reference in reported.objects - self._fresh]
            found = {each.reference: self._read(client, each) for each in watched}
        until = time.monotonic() + _SETTLE_S
        while (left_s := until - time.monotonic()) > 0:
            report = self._queue.get(left_s)
            if report is not None:
                self._pass_on(report)
        self._answer({name: leaves for name, leaves in found.items() if name not in self._fresh})

    def _poll(self, client: MmsClient) -> None:
        if not self._polled:
            client.devices()  # whoever never asks does not notice that nobody is there any more
        for each in self._polled:
            self._link.alive()
            self._answer({each.reference: self._read(client, each)})

    def _read(self, client: MmsClient, watched: Watched) -> dict[str, bytes]:
        reference = Reference.read(watched.reference)._replace(fc=watched.fc)
        try:
            data = client.read(str(reference))
        except MmsClientError as error:
            if _is_over(client, error):
                raise
            return dict.fromkeys(watched.leaves, b"")
        read = dict(self._shapes[watched.reference].leaves(data, ""))
        return {leaf: _octets(read[f".{leaf}"]) if f".{leaf}" in read else b"" for leaf in watched.leaves}

    def _answer(self, objects: dict[str, dict[str, bytes]]) -> None:
        if objects:
            self._link.send(Told("", b"", overflow=False, answer=True, entry_ms=0, objects=objects))

    def _say_polled(self) -> None:
        if self._polled and self._begin.blocks:
            names = ", ".join(each.reference for each in self._polled[:_MOST_NAMED])
            more = f" and {len(self._polled) - _MOST_NAMED} more" if len(self._polled) > _MOST_NAMED else ""
            self._link.send(Noted(f"no report tells {names}{more}: read every {self._begin.poll_s:g} s"))

    # -- orders: each in a thread of its own, those of one object one after the other --------------------------------

    def order(self, order: Order) -> None:
        """Carry it out; returns at once."""
        if not self._orders.acquire(blocking=False):
            self._link.send(Ended(order.number, f"{_MOST_ORDERS} orders are running: nothing was sent", unknown=False))
            return
        lock = self._locks.setdefault(order.reference, threading.Lock())
        threading.Thread(target=self._carry_out, args=(order, lock), daemon=True).start()

    def _carry_out(self, order: Order, lock: threading.Lock) -> None:
        why, unknown = "", False
        try:
            with lock:
                self._step(order)
        except ControlRefusedError as error:
            why, unknown = str(error), _is_unknown(order, error)
        except (MmsClientError, ValueError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - whoever commands is told, and no silence taken for a yes
            why, unknown = f"internal error: {error!r}", order.step == "execute"
        finally:
            self._orders.release()
        self._link.send(Ended(order.number, why, unknown))

    def _step(self, order: Order) -> None:
        client = self._client
        if client is None:
            raise ValueError("not connected: nothing was sent")
        if time.monotonic() >= order.until:
            raise ValueError("it came too late to be sent")
        control = self._controls.pop(order.reference, None)
        if order.step == "cancel":
            if control is not None:
                with control:
                    control.cancel()
            return
        if control is None or order.step == "select":
            if control is not None:
                control.close()  # the same master selects again
            control = Control(client, order.reference, orCat=_REMOTE, orIdent=order.orIdent, test=order.test)
            selects = control.model in _SELECT_MODELS
            if order.step == "select" and not selects:
                control.close()
                raise ValueError(f"the IED's ctlModel is {control.model.name.lower()}: it cannot be selected")
            if selects:
                try:
                    control.select(order.value)
                except BaseException:
                    control.close()
                    raise
        if order.step == "select":
            self._controls[order.reference] = control
            return
        with control:
            if time.monotonic() >= order.until:
                raise ValueError("it was selected too late to be executed")
            control.begin(order.value)
            self._link.send(Confirmed(order.number))
            control.finish()


def _is_unknown(order: Order, error: ControlRefusedError) -> bool:
    """Whether the device may have operated although it was not heard to."""
    if order.step != "execute" or error.stage in ("select", "cancel") or error.add_cause is not None:
        return False
    return error.stage == "termination" or error.cause not in _SURE


def main(arguments: list[str]) -> None:
    """Until the connection is over, or the gateway gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the gateway at a terminal does not stop us before it
    link = Link(socket.socket(fileno=int(arguments[0])))
    begin = link.receive()
    if not isinstance(begin, Begin):
        raise SystemExit("the first message is to be Begin")
    session = Session(link, begin)

    def take_orders() -> None:
        try:
            while isinstance(order := link.receive(), Order):
                session.order(order)
        finally:  # nobody is there to work for; what the library still does must not hold us up
            os._exit(0)

    threading.Thread(target=take_orders, daemon=True).start()
    try:
        why = session.run()
    except MmsLibraryError as error:
        why = str(error)
    except OSError:
        os._exit(0)
    link.send(Lost(why))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
