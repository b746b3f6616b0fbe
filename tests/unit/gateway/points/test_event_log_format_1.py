"""An event log of format 1, as an earlier version left it on disk: no event of it is lost at the upgrade."""

import base64
import zlib

from gateway.points.event_log import ConsumerConfig, EventLog

SEGMENT = "events-0000000002.log"
# Written by commit d27d3a4: events a, b, a, c for "north", all but b for "south"; the
# first two acknowledged by "north".
OCTETS = (
    "c-nLG@eB@f4dY^9WPkxCllZ3-A1+t=@50C+0_018Mdh7bU<w}cCa&pcV$fs21z7X)i%K#O+~WMwl8lFHyO#JeGq8e05+62r{$J0+pbM7gcXC8"
    "CfEkIMQjl1glb@KPVDNC+iX+<~CNL&FoRW5%5n+N8nhA_h3<9Yz6AT}&y0qCEp~)GKwP`R-Mh|~AEq@HLmMQt6;_Nybgb6NKOkjet(_tnUlNV"
    "qNqhJ(_f>AIEM!_f;1*2dTjDk@x3Pu67z{83IrTfACd;tcGetw+ai9}WgAt)EtO~>qPkAhJ!3P!;w7zLwX6pVsVFbYP&C>RB!U{C`9aKJ|u"
)
A, B, A_AGAIN, C = 1_000_001, 1_000_002, 1_000_003, 1_000_004
NORTH = ConsumerConfig("north", lambda _: 0)
SOUTH = ConsumerConfig("south", lambda key: None if key == "b" else 0)


def reopened(folder):
    return EventLog.open(folder, [NORTH, SOUTH], now_ns=1_000_000_000)


def numbers(log, name):
    return [event.sequence for event in log.consumer(name).take(10)]


def store(log):
    while log.needs_write:
        log.written(log.write())


def test_what_waits_in_format_1_is_offered_and_acknowledged_beside_what_is_written_since(tmp_path):
    (tmp_path / SEGMENT).write_bytes(zlib.decompress(base64.b85decode(OCTETS)))
    with reopened(tmp_path) as log:
        assert (log.trouble, log.torn_octets) == ([], 0)
        new = log.append("b", b"payload 4", 104)
        store(log)
        assert log.consumer("north").take(10) == [
            (A_AGAIN, "a", b"payload 2", 102),
            (C, "c", b"payload 3", 103),
            (new, "b", b"payload 4", 104),
        ]
        assert numbers(log, "south") == [A, A_AGAIN, C]
        log.consumer("north").acknowledge([A_AGAIN])
        log.consumer("south").acknowledge([A, C])
        store(log)
    with reopened(tmp_path) as log:
        store(log)
        assert (numbers(log, "north"), numbers(log, "south")) == ([C, new], [A_AGAIN])
        assert log.trouble == []
