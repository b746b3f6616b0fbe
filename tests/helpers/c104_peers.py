"""Ours beside c104's: our station and our master with all types, c104 in processes, a recorder on the line between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import time
from collections import deque
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from iec104_world import event_of

from gateway.iec104.apci import FrameSplitter, IFrame, UFrame
from gateway.iec104.asdu import Step, TypeID, decode, tag_of, untagged
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.commands import CommandDesk
from gateway.iec104.image import Control, Image, Monitored
from gateway.iec104.master import (
    Asked,
    CommandEnded,
    ControllingStation,
    Lost,
    MasterSettings,
    ObjectsReceived,
    Started,
)
from gateway.iec104.server import Centre, Iec104Server
from gateway.iec104.station import ControlledStation, StationSettings
from tools.pcap import PcapWriter

PATIENCE_S = 120.0
PROCESS = Path(__file__).with_name("c104_process.py")
PORT = 2404
LATE_S = 0.002
"""What a station says takes this: c104's client now and then misses an answer that is there before it waits for one."""
UTC_NS = 1_795_000_000_123_000_000
MONITORED = {
    1: "M_SP_NA_1", 2: "M_DP_NA_1", 3: "M_ST_NA_1", 4: "M_BO_NA_1", 5: "M_ME_NA_1", 6: "M_ME_NB_1", 7: "M_ME_NC_1",
    8: "M_IT_NA_1", 9: "M_ME_ND_1", 10: "M_PS_NA_1",
    11: "M_SP_TB_1", 12: "M_DP_TB_1", 13: "M_ST_TB_1", 14: "M_BO_TB_1", 15: "M_ME_TD_1", 16: "M_ME_TE_1",
    17: "M_ME_TF_1", 18: "M_IT_TB_1", 21: "M_EP_TD_1", 22: "M_EP_TE_1", 23: "M_EP_TF_1",
}  # fmt: skip
CONTROLS = {
    101: "C_SC_NA_1", 102: "C_DC_NA_1", 103: "C_RC_NA_1", 104: "C_SE_NA_1", 105: "C_SE_NB_1", 106: "C_SE_NC_1",
    107: "C_BO_NA_1",
    111: "C_SC_TA_1", 112: "C_DC_TA_1", 113: "C_RC_TA_1", 114: "C_SE_TA_1", 115: "C_SE_TB_1", 116: "C_SE_TC_1",
    117: "C_BO_TA_1",
    120: "C_DC_NA_1", 121: "C_DC_NA_1", 122: "C_DC_TA_1", 123: "C_DC_TA_1",
}  # fmt: skip
SELECTED, REFUSED, SELECTED_TAGGED, REFUSED_TAGGED = 120, 121, 122, 123
TO_SELECT = (SELECTED, SELECTED_TAGGED)
TO_REFUSE = (REFUSED, REFUSED_TAGGED)
COUNTERS = {8, 18}
PROTECTION = {21, 22, 23}


class Line(NamedTuple):
    """A connection as it was recorded: octets of each direction, in the order in which they came."""

    chunks: list[tuple[int, bool, bytes]]  # time, from the server's end, octets


class _End(asyncio.Protocol):
    """One end of a recorded line."""

    def __init__(self, line, from_server):
        self.line, self.from_server = line, from_server
        self.transport = self.other = None
        self._late = deque()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.line.chunks.append((time.time_ns(), self.from_server, data))
        self._pass_on(data)

    def _pass_on(self, data):
        """None: that was the last."""
        self._late.append(data)
        if self.from_server:
            asyncio.get_running_loop().call_later(LATE_S, self._write)
        else:
            self._write()

    def _write(self):
        data = self._late.popleft()
        if data is None:
            self.other.transport.close()
        else:
            self.other.transport.write(data)

    def pause_writing(self):
        self.other.transport.pause_reading()

    def resume_writing(self):
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc):
        if self.other is not None:
            self._pass_on(None)


class Recorder:
    """Passes octets on between a master and a station and keeps them."""

    def __init__(self, target=0, source="127.0.0.1"):
        self.target, self.source = target, source
        self.lines = []
        self._ends = []
        self._joining = set()
        self._server = None

    async def listen(self):
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        return self.port

    @property
    def port(self):
        return self._server.sockets[0].getsockname()[1]

    def _accept(self):
        line = Line([])
        near = _End(line, from_server=False)
        made = near.connection_made

        def connection_made(transport):
            made(transport)
            transport.pause_reading()
            task = asyncio.create_task(self._join(near, line))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

        near.connection_made = connection_made
        return near

    async def _join(self, near, line):
        far = _End(line, from_server=True)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: far, "127.0.0.1", self.target, local_addr=(self.source, 0)
            )
        except OSError:  # the station is away
            near.transport.abort()
            return
        near.other, far.other = far, near
        self.lines.append(line)
        self._ends += [near, far]
        near.transport.resume_reading()
        if near.transport.is_closing():
            far.transport.close()

    def cut(self):
        """Both ends lose the connection, as when the network fails."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def close(self):
        if self._server is not None:
            self._server.close()
        for task in list(self._joining):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.cut()
        await asyncio.sleep(0)

    def frames(self, *, from_server, line=None):
        """What one end sent, on one line or on all."""
        lines = self.lines if line is None else [self.lines[line]]
        return [frame for one in lines for frame in FrameSplitter().feed(_octets(one, from_server=from_server))]

    def asdus(self, *, from_server, line=None):
        return [decode(f.asdu) for f in self.frames(from_server=from_server, line=line) if isinstance(f, IFrame)]


def _octets(line, *, from_server):
    return b"".join(data for _, server, data in line.chunks if server is from_server)


# -- what tshark says of it ----------------------------------------------------------------------------------------


def write_capture(path, lines):
    """Each line as a TCP conversation with port 2404; client ports from 40000 on."""
    with path.open("wb") as file:
        writer = PcapWriter(file)
        for number, line in enumerate(lines):
            if not line.chunks:
                continue
            ports, sequences = [40000 + number, PORT], [1000, 5000]

            def write(t_ns, way, flags, data=b"", ports=ports, sequences=sequences):
                acknowledged = sequences[1 - way] if flags & 0x10 else 0
                head = (ports[way], ports[1 - way], sequences[way], acknowledged, 0x50, flags, 0xFFFF, 0, 0)
                tcp = struct.pack(">HHIIBBHHH", *head) + data
                ends = 0x0A000001 + way, 0x0A000001 + 1 - way
                ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, *ends)
                writer.write(t_ns, bytes(12) + b"\x08\x00" + ip + tcp)
                sequences[way] += len(data) + (flags >> 1 & 1)

            first = line.chunks[0][0]
            write(first, 0, 0x02)
            write(first, 1, 0x12)
            write(first, 0, 0x10)
            for t_ns, from_server, octets in line.chunks:
                for begin in range(0, len(octets), 32768):
                    write(t_ns, int(from_server), 0x18, octets[begin : begin + 32768])
                    write(t_ns, int(not from_server), 0x10)


class Seen(NamedTuple):
    """An ASDU as tshark has it."""

    typeID: int
    cause: int
    CA: int
    count: int


def read_with_tshark(path):
    """By end (0 client, 1 server) the ASDUs and the number of APDUs; and all complaints, with the octets."""
    fields = ["tcp.dstport", "iec60870_104.type", "iec60870_asdu.typeid", "iec60870_asdu.causetx", "iec60870_asdu.addr"]
    fields += ["iec60870_asdu.numix", "_ws.malformed", "_ws.expert.message", "tcp.payload"]
    argv = ["tshark", "-r", str(path), "-Y", "tcp.len > 0", "-T", "fields", "-E", "separator=|"]
    argv += [word for field in fields for word in ("-e", field)]
    asdus, apdus, complaints = ([], []), [0, 0], ([], [])
    for row in subprocess.run(argv, capture_output=True, check=True, text=True).stdout.splitlines():
        port, kinds, *rest, malformed, expert, payload = row.split("|")
        end = int(port != str(PORT))
        apdus[end] += len(kinds.split(",")) if kinds else 0
        asdus[end].extend(
            Seen(*map(int, one)) for one in zip(*(text.split(",") for text in rest), strict=True) if one[0]
        )
        if malformed or expert:
            complaints[end].append(f"{malformed} {expert}: {payload[:600]}")
    return asdus, apdus, complaints


def check_wire(recorder, path, *, ours_is_server):
    """All that we sent is read by tshark as we meant it, and without complaint."""
    write_capture(path, recorder.lines)
    asdus, apdus, complaints = read_with_tshark(path)
    end = int(ours_is_server)
    assert complaints[end] == []
    sent = recorder.frames(from_server=ours_is_server)
    assert apdus[end] == len(sent)
    meant = [decode(frame.asdu) for frame in sent if isinstance(frame, IFrame)]
    assert asdus[end] == [Seen(one.typeID, one.cause, one.CA, len(one.objects)) for one in meant]
    return meant


# -- c104 ----------------------------------------------------------------------------------------------------------


class CrashedError(AssertionError):
    """c104 has ended its process by a signal: a fault of its own (2.2.1, when a connection is cut under it)."""


class Process:
    """c104 in its own process."""

    @classmethod
    async def start(cls, role, **setup):
        self = cls()
        pipe = asyncio.subprocess.PIPE
        words = (sys.executable, "-P", str(PROCESS), role)
        self.process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, limit=1 << 25)
        self.setup = {"monitored": MONITORED, "controls": CONTROLS, "selected": TO_SELECT} | setup
        if role == "server":
            self.setup.setdefault("refused", TO_REFUSE)
        self.process.stdin.write(json.dumps(self.setup).encode() + b"\n")
        self.ready = await self._read()
        return self

    async def ask(self, do, **more):
        self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        return (await self._read())["said"]

    async def _read(self):
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        if not line and await self.process.wait() < 0:
            raise CrashedError(f"c104's process was ended by signal {-self.process.returncode}")
        assert line, f"c104's process has ended: {self.process.returncode}"
        return json.loads(line)

    async def heard(self, found):
        """All that it hears until what is found is true."""
        messages = []
        deadline = time.monotonic() + PATIENCE_S
        while not found(messages):
            assert time.monotonic() < deadline, messages
            await asyncio.sleep(0.02)
            self.process.stdin.write(b'{"do": "hear"}\n')
            messages += (await self._read())["heard"]
        return messages

    async def kill(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def end(self):
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            await self.kill()


# -- ours ------------------------------------------------------------------------------------------------------------


class Events:
    """An event source in memory."""

    def __init__(self):
        self.waiting, self.taken, self.last = [], {}, 0

    def add(self, IOA, typeID, value, qualifier=0, t_ns=UTC_NS, **more):
        self.last += 1
        self.waiting.append(event_of(self.last, 1, IOA, typeID, value, qualifier, t_ns, **more))

    def take(self, limit):
        events, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken |= {event.token: event for event in events}
        return events

    def acknowledge(self, tokens):
        for token in tokens:
            self.taken.pop(token, None)

    def release(self):
        self.waiting = [*self.taken.values(), *self.waiting]
        self.taken = {}


def monitored(**more):
    """All types; IOA 1 is in group 3, 8 and 18 in counter groups, all together in group 16."""
    groups = {1: {3, 16}, 8: {1, 4}, 18: {2, 4}}
    return [
        Monitored(1, ioa, TypeID[kind], frozenset(groups.get(ioa, {16})), **more) for ioa, kind in MONITORED.items()
    ]


class Ours:
    """Our server, its centres (name: address of their masters) with their events, and what was asked of it."""

    def __init__(self, points=None, settings=None, centres=None):
        centres = {"c104": ()} if centres is None else centres
        controls = [
            Control(1, ioa, untagged(TypeID[kind]), f"c{ioa}", ioa in TO_SELECT) for ioa, kind in CONTROLS.items()
        ]
        self.image = Image(monitored() if points is None else points, controls)
        self.desk = CommandDesk()
        self.sources = {name: Events() for name in centres}
        self.events = next(iter(self.sources.values()))
        self.stations = [
            ControlledStation(settings or StationSettings(), self.image, source, self.desk)
            for source in self.sources.values()
        ]
        served = zip(centres.items(), self.stations, strict=True)
        self.server = Iec104Server([Centre(name, one, clients) for (name, clients), one in served], self.desk, self)
        self.requests, self.asked = [], []

    def command(self, request):
        self.requests.append(request)
        why = "it must not" if request.control.IOA in TO_REFUSE else ""
        self.desk.confirm(request.number, self.server.now(), why=why)
        if request.step == "execute":
            self.desk.terminate(request.number)

    def ask(self, station, asked):
        self.asked.append(asked)
        station.answer(asked.number)

    def set(self, IOA, value, qualifier=0, t_ns=UTC_NS, elapsed_ms=0):
        entry = self.image.entry(1, IOA)
        entry.value, entry.qualifier, entry.t_ns, entry.time_invalid = value, qualifier, t_ns, False
        entry.elapsed_ms = elapsed_ms


class Master:
    """Our client."""

    def __init__(self, port, tls=None, **settings):
        self.events = []
        self._changed = asyncio.Event()
        self.station = ControllingStation(MasterSettings((1,), **settings))
        reach = Reach("c104", (("127.0.0.1", port),), tls=tls, first_s=0.1, longest_s=0.5)
        self.client = Iec104Client(reach, self.station, self._tell)
        self.client.start()

    def _tell(self, event):
        self.events.append(event)
        self._changed.set()

    async def until(self, found):
        async with asyncio.timeout(PATIENCE_S):
            while not (said := found()):
                self._changed.clear()
                await self._changed.wait()
        return said

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def started(self, times=1):
        await self.until(lambda: len(self.of(Started)) >= times)

    async def lost(self, times=1):
        await self.until(lambda: len(self.of(Lost)) >= times)

    def told(self, cause):
        """Type and object of all that was told with a cause, in order."""
        return [(e.asdu.typeID, o) for e in self.of(ObjectsReceived) if e.asdu.cause == cause for o in e.asdu.objects]

    async def asks(self, what, /, *arguments, **more):
        """Have one of the station's requests made, and wait for its end."""
        before = len(self.of(Asked))
        getattr(self.station, what)(1, *arguments, **more)
        self.client.flush()
        return (await self.until(lambda: self.of(Asked)[before:]))[0]

    async def command(self, IOA, typeID, value, **more):
        number = self.station.command(1, IOA, typeID, value, self.client.now(), time.time_ns(), **more)
        self.client.flush()
        return await self.until(lambda: next((e for e in self.of(CommandEnded) if e.number == number), None))


def as_ours(message):
    """Value, qualifier, elapsed time and time in ns of what c104 heard, as our information objects have them."""
    value = message["value"]
    if isinstance(value, list):
        value = Step(value[0], transient=value[1])
    at_ns = None if message["at_ms"] is None else message["at_ms"] * 10**6
    return value, message["qualifier"], message["elapsed_ms"], at_ns


# -- what is told of each type ---------------------------------------------------------------------------------------

_VALUES = {
    "M_SP": (False, True),
    "M_DP": (0, 1, 2, 3),
    "M_ST": (Step(-64, transient=False), Step(-5, transient=True), Step(63, transient=True)),
    "M_BO": (0, 0xA5A50001, 0xFFFFFFFF),
    "M_PS": (0, 0x8001_0005, 0xFFFF_FFFF),
    "M_ME_NA": (-1.0, -0.25, 0.5, 32767 / 32768),
    "M_ME_NB": (-32768, -1234, 32767),
    "M_ME_NC": (1.5, -2.5e6, 2.0**-126, 2.0**127),
    "M_IT": (-(2**31), -1, 123456, 2**31 - 1),
    "M_EP_TD": (0, 1, 2, 3),
    "M_EP_TE": (0, 0x21, 0x3F),
    "M_EP_TF": (0, 0x09, 0x0F),
}
_QUALITIES = {"M_ME_ND": (0,), "M_IT": (0, 0x01, 0x1F, 0x20, 0x40, 0x80, 0xEA)}
_QUALITIES |= dict.fromkeys(("M_SP", "M_DP"), (0, 0x10, 0x20, 0x40, 0x80, 0xF0))
_QUALITIES |= dict.fromkeys(("M_EP_TD", "M_EP_TE", "M_EP_TF"), (0, 0x08, 0x10, 0x20, 0x40, 0x80, 0xF8))
_OTHERS = (0, 0x01, 0x10, 0x20, 0x40, 0x80, 0xF1)
ELAPSED_MS = (0, 1, 1000, 65535)


def _of_family(table, kind, otherwise=None):
    family = untagged(TypeID[kind]).name[:7]
    return table.get(kind[:7]) or table.get(family) or table.get(family[:4]) or otherwise


def vectors(kind):
    """Value, qualifier and elapsed time: each value of interest of a type, each quality bit alone, all together."""
    values = _VALUES["M_ME_NA"] if kind == "M_ME_ND_1" else _of_family(_VALUES, kind)
    qualities = _of_family(_QUALITIES, kind, _OTHERS)
    elapsed = ELAPSED_MS if kind.startswith("M_EP") else (0,)
    count = max(len(values), len(qualities), len(elapsed))
    return [(values[n % len(values)], qualities[n % len(qualities)], elapsed[n % len(elapsed)]) for n in range(count)]


def wire(value):
    """A value of ours as JSON has it."""
    return list(value) if isinstance(value, Step) else value


_COMMAND_VALUES = {
    "C_SC_NA_1": (False, True),
    "C_DC_NA_1": (1, 2),
    "C_RC_NA_1": (1, 2),
    "C_SE_NA_1": (-1.0, 0.5),
    "C_SE_NB_1": (-32768, 77),
    "C_SE_NC_1": (1.25, -3.0e5),
    "C_BO_NA_1": (0xA5A50001, 0xFFFFFFFF),
}


def commands():
    """Address, type, value, and qualifier as c104 and as our information objects have it.

    Not twice in a row to the same object: a termination that c104's client has not quite taken in yet when it sends the
    next command it takes for that one's answer, and calls that failed.
    """
    by_object = []
    for ioa, kind in CONTROLS.items():
        values = _COMMAND_VALUES[untagged(TypeID[kind]).name]
        qualifiers = {"C_SE": (0, 1, 127), "C_BO": (0,)}.get(kind[:4], (0, 1, 2, 3))
        shift = 0 if kind.startswith("C_SE") else 2
        by_object.append([(ioa, kind, value, q, q << shift) for q in qualifiers for value in values])
    return [one for turn in zip_longest(*by_object) for one in turn if one is not None]


def tagged_ms(kind):
    return {"at_ms": time.time_ns() // 10**6} if tag_of(TypeID[kind]) else {}


def expected(kind):
    """All vectors of a type as they are told, with a time for each."""
    tagged = tag_of(TypeID[kind]) is not None
    return [(*one, UTC_NS + number * 10**6 if tagged else None) for number, one in enumerate(vectors(kind))]


def u_frames(recorder, *, from_server):
    return [f.function for f in recorder.frames(from_server=from_server) if isinstance(f, UFrame)]


# -- all of it together ------------------------------------------------------------------------------------------------


class Stage:
    """What a test needs of both; ends it all, and has tshark read what ours sent."""

    def __init__(self):
        self._stack = contextlib.AsyncExitStack()
        self.recorders = []

    async def record(self, target=0, *, ours_is_server, source="127.0.0.1", plain=True):
        recorder = Recorder(target, source)
        await recorder.listen()
        if plain:
            self.recorders.append((recorder, ours_is_server))
        self._stack.push_async_callback(recorder.close)
        return recorder

    async def ours(self, **more):
        """Our server; ``ours.port`` is its own."""
        ours = Ours(**more)
        ours.port = await ours.server.listen("127.0.0.1", 0)
        self._stack.push_async_callback(ours.server.close)
        return ours

    async def their_client(self, recorder, **setup):
        client = await Process.start("client", port=recorder.port, **setup)
        self._stack.push_async_callback(client.end)
        assert client.ready == {"open": True}
        return client

    async def both(self, *, client=None, **more):
        """Our server, c104's client at it, the recorder between."""
        ours = await self.ours(**more)
        recorder = await self.record(ours.port, ours_is_server=True)
        return ours, await self.their_client(recorder, **(client or {})), recorder

    async def their_server(self, **setup):
        server = await Process.start("server", **setup)
        self._stack.push_async_callback(server.end)
        return server, await self.record(server.ready["port"], ours_is_server=False, plain="tls" not in setup)

    async def master(self, recorder, **settings):
        master = Master(recorder.port, **settings)
        self._stack.push_async_callback(master.client.close)
        await master.started()
        return master

    def at_end(self, close):
        """Await ``close()`` at the end."""
        self._stack.push_async_callback(close)

    async def close(self):
        await self._stack.aclose()

    def check(self, folder):
        for number, (recorder, ours_is_server) in enumerate(self.recorders):
            check_wire(recorder, folder / f"{number}.pcap", ours_is_server=ours_is_server)
