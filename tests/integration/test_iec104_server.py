"""The 104 server over real sockets: slow, silent, deaf and broken masters, and others that must not notice them."""

from __future__ import annotations

import asyncio
import logging
import random
import resource

import pytest
from iec104_peers import PATIENCE_S, T_NS, Peer, serving

from gateway.iec104 import transport as transport_module
from gateway.iec104.apci import UFunction, encode_i, encode_u
from gateway.iec104.asdu import Asdu, Cause, InformationObject, TypeID, encode
from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.link import LinkConfig
from gateway.iec104.master import ControllingStation, MasterSettings, ObjectsReceived, Started
from gateway.iec104.time_tag import TimeBase

GOOD, BAD = ("good", "127.0.0.1/32"), ("bad", "127.0.0.2/32")
STARTDT, TESTFR = encode_u(UFunction.STARTDT_ACT), encode_u(UFunction.TESTFR_ACT)
INTERROGATION = encode(Asdu(TypeID.C_IC_NA_1, Cause.ACTIVATION, 1, (InformationObject(0, None, 20),)))
QUICK = LinkConfig(t1_s=0.4, t2_s=0.2, t3_s=0.4)
COMMAND = Asdu(TypeID.C_SC_NA_1, Cause.ACTIVATION, 1, (InformationObject(1, True),))


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "gateway.iec104")


async def good(site):
    peer = await Peer.connect(site.port)
    await peer.start()
    return peer


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.01)


async def test_a_slow_sender_is_served_and_disturbs_nobody():
    async with serving(GOOD, BAD) as site:
        other = await good(site)
        slow = await Peer.connect(site.port, "127.0.0.2")
        for octet in STARTDT + encode_i(0, 0, INTERROGATION):
            slow.writer.write(bytes((octet,)))
            await slow.writer.drain()
            await asyncio.sleep(0.002)
        # It has had all: started, end of initialisation, confirmation, objects, termination.
        octets = b""
        async with asyncio.timeout(PATIENCE_S):
            while bytes.fromhex("64010a00 0100 000000 14") not in octets:
                octets += await slow.reader.read(4096)
        assert await other.interrogate() == site.points
        await slow.close()
        await other.close()


@pytest.mark.parametrize("said", [b"", b"\x68", STARTDT, STARTDT + b"\x68\x0e\x00"])
async def test_who_falls_silent_is_closed(said, caplog):
    async with serving(GOOD, BAD, link=QUICK) as site:
        other = await good(site)
        silent = await Peer.connect(site.port, "127.0.0.2")
        silent.writer.write(said)
        await silent.closed()
        assert "was not" in caplog.text
        await other.close()


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x68\x03", b"\x00", encode_i(0, 0, INTERROGATION)])
async def test_garbage_closes_its_connection_with_a_logged_reason(octets, caplog):
    async with serving(GOOD, BAD) as site:
        other = await good(site)
        peer = await Peer.connect(site.port, "127.0.0.2")
        peer.writer.write(octets)
        await peer.closed()
        assert any("bad 127.0.0.2" in line and "closed: " in line for line in caplog.messages)
        assert await other.interrogate() == site.points
        await other.close()


async def test_much_random_garbage():
    rng = random.Random(104)
    async with serving(GOOD, BAD) as site:
        other = await good(site)
        for _ in range(100):
            peer = await Peer.connect(site.port, "127.0.0.2")
            head = STARTDT if rng.random() < 0.7 else b""
            peer.writer.write(head + encode_i(0, 0, rng.randbytes(rng.randrange(6, 60))) + rng.randbytes(9))
            peer.writer.write_eof()
            await peer.closed()
        assert await other.interrogate() == site.points
        await other.close()
        await until(lambda: not site.server._connections)


def _many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))


async def test_a_thousand_connections_of_one_centre_leave_the_other_alone():
    _many_files()
    async with serving(GOOD, BAD) as site:
        other = await good(site)
        peers = []
        for _ in range(20):
            peers += await asyncio.gather(*(Peer.connect(site.port, "127.0.0.2") for _ in range(50)))
        assert await other.interrogate() == site.points
        await until(lambda: len(site.server._connections) == 9)
        for peer in (*peers, other):
            peer.writer.transport.abort()
        await until(lambda: not site.server._connections)


async def test_a_thousand_connections_are_served():
    _many_files()
    async with serving(("all",), most_connections=1000) as site:
        peers = []
        for _ in range(20):
            peers += await asyncio.gather(*(Peer.connect(site.port) for _ in range(50)))
        for peer in peers:
            peer.writer.write(TESTFR)
        async with asyncio.timeout(PATIENCE_S):
            for peer in peers:
                assert await peer.reader.readexactly(6) == encode_u(UFunction.TESTFR_CON)
        await peers[-1].start()
        assert await peers[-1].interrogate() == site.points
        for peer in peers:
            peer.writer.transport.abort()
        await until(lambda: not site.server._connections)


async def test_who_asks_and_never_reads_makes_nothing_grow():
    async with serving(GOOD, BAD, link=LinkConfig(k=12, w=8, t1_s=3.0, t2_s=1.0, t3_s=2.0), points=5000) as site:
        other = await good(site)
        deaf = await Peer.connect(site.port, "127.0.0.2")
        transport = deaf.writer.transport
        transport.pause_reading()
        await until(lambda: len(site.server._connections) == 2)
        served = max(site.server._connections.values(), key=lambda each: each.number).transport
        most = 0
        deaf.writer.write(STARTDT + encode_i(0, 0, INTERROGATION))
        async with asyncio.timeout(PATIENCE_S):
            while not served.is_closing():
                if transport.get_write_buffer_size() < 1 << 20 and not transport.is_closing():
                    deaf.writer.write(TESTFR * 4096)
                most = max(most, served.get_write_buffer_size())
                await asyncio.sleep(0.001)
        # Both limits, and the answers to what was read in one piece before reading was paused.
        assert most <= transport_module._MOST_UNREAD + 12 * 255 + (1 << 18)
        assert await other.interrogate() == site.points
        transport.abort()
        await other.close()


async def test_who_is_of_no_centre_is_refused(caplog):
    async with serving(GOOD) as site:
        peer = await Peer.connect(site.port, "127.0.0.3")
        await peer.closed()
        assert "of no control centre" in caplog.text


async def test_events_are_handed_over_to_the_next_connection():
    async with serving(("all",)) as site:
        source = site.sources["all"]
        seen = set()
        for number in range(5):
            for value in range(100):
                source.add(value % 10 + 1, number * 100 + value)
            peer = await Peer.connect(site.port)
            peer.writer.write(STARTDT)
            await peer.reader.readexactly(6 + number * 400)  # in the middle of a window, nothing acknowledged
            peer.writer.transport.abort()
        peer = await Peer.connect(site.port)
        heard = await peer.start()
        clock = Asdu(TypeID.C_CS_NA_1, Cause.ACTIVATION, 1, (InformationObject(0, None, 0, TimeBase().encode(T_NS)),))
        while source.waiting or source.taken:
            site.server.events_ready()
            peer.say(clock)
            heard += await peer.hear(lambda each: isinstance(each, Asdu) and each.typeID == TypeID.C_CS_NA_1)
        for asdu in heard:
            if isinstance(asdu, Asdu) and asdu.typeID == TypeID.M_BO_TB_1:
                seen |= {one.value for one in asdu.objects}
        assert seen == set(range(500))
        await peer.close()


async def test_commands_over_the_wire_and_an_operator_that_fails(caplog):
    async with serving(GOOD, BAD) as site:
        peer, other = await good(site), await good(site)
        await peer.close()
        other.say(COMMAND)
        heard = await other.hear(lambda each: isinstance(each, Asdu) and each.cause == Cause.TERMINATION)
        assert [(each.cause, each.negative) for each in heard if isinstance(each, Asdu)] == [
            (Cause.ACTIVATION_CON, False),
            (Cause.TERMINATION, False),
        ]
        site.operator.fails = True
        for asdu in (COMMAND, Asdu(TypeID.C_RP_NA_1, Cause.ACTIVATION, 1, (InformationObject(0, None, 1),))):
            other.say(asdu)
            heard = await other.hear(lambda each: isinstance(each, Asdu))
            assert [each.negative for each in heard if isinstance(each, Asdu)] == [True]
        assert caplog.text.count("was not decided") == 2
        assert await other.interrogate() == site.points
        await other.close()


# -- the client -------------------------------------------------------------------------------------------------------


def told(events):
    asdus = [each.asdu for each in events if isinstance(each, ObjectsReceived) and each.asdu.typeID == TypeID.M_BO_TB_1]
    return [one.value for asdu in asdus for one in asdu.objects]


async def test_a_client_comes_back_and_loses_nothing_by_its_listener():
    async with serving(("all",)) as site:
        events = []

        def tell(event):
            events.append(event)
            raise RuntimeError("the listener is broken")

        station = ControllingStation(MasterSettings((1,)))
        reach = Reach("device", (("127.0.0.1", site.port),), first_s=0.01, longest_s=0.05)
        client = Iec104Client(reach, station, tell)
        client.start()
        for value in range(3):
            site.sources["all"].add(1, value)
            await until(lambda: site.stations["all"].started)
            site.server.events_ready()
            await until(lambda value=value: value in told(events))
            for connection in list(site.server._connections.values()):
                connection.transport.abort()
            await until(lambda: not site.stations["all"].started)
        await until(lambda: sum(isinstance(each, Started) for each in events) >= 3)
        await client.close()


@pytest.mark.parametrize("octets", [b"\x00", b"\x68\xff", STARTDT, encode_i(0, 0, INTERROGATION)])
async def test_a_device_that_talks_garbage_is_left_and_tried_again(octets):
    connections = 0

    async def device(reader, writer):
        nonlocal connections
        connections += 1
        writer.write(octets)
        while await reader.read(100):
            pass
        writer.close()

    server = await asyncio.start_server(device, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    station = ControllingStation(MasterSettings((1,)))
    client = Iec104Client(
        Reach("device", (("127.0.0.1", port),), first_s=0.01, longest_s=0.02), station, lambda _: None
    )
    client.start()
    await until(lambda: connections >= 3)
    await client.close()
    server.close()
    await server.wait_closed()
