"""Event logs, short, for their tests."""

import errno
import os

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog

T0 = 1_795_000_000_000_000_000
SMALL = {"segment_octets": 8192, "most_octets": 16 * 8192}


def priority(key):
    """Class of keys like "a0", "b1": the digit; keys with "-" are for nobody."""
    return None if "-" in key else int(key[1:2])


SCADA = ConsumerConfig("scada", priority)
BACKUP = ConsumerConfig("backup", lambda key: 0 if key[0] == "a" else None)


def opened(folder, *consumers, **options):
    return EventLog.open(folder, consumers or (SCADA,), **({"now_ns": T0} | options))


def store(log):
    """Write everything."""
    while log.needs_write:
        log.written(log.write())


def payloads(consumer, limit=10**9):
    return [each.payload.decode() for each in consumer.take(limit)]


def filled(log, *names):
    """Append events whose key is the first two letters of their payload, and write them."""
    sequences = [log.append(each[:2], each.encode(), T0 + at) for at, each in enumerate(names)]
    store(log)
    return sequences


class FullDisk:
    """Stands in for ``os``: lets so many octets through, then the disk is full."""

    def __init__(self, monkeypatch, room):
        self.room = room
        monkeypatch.setattr(event_segments, "os", self)

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, file, octets):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        octets = octets[: self.room]
        self.room -= len(octets)
        return os.write(file, octets)
