"""An event log in a process that is killed at random moments; nothing may be lost and nothing invented.

``test_event_log.py`` does this a few times. By hand: ``python tests/helpers/event_log_kill.py FOLDER [RUNS]``.
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog

# Small, so that segments are begun, moved and removed all the time.
BOUNDS = {"segment_octets": 8192, "most_octets": 16 * 8192}
T0 = 1_795_000_000_000_000_000


@contextlib.contextmanager
def small_blocks():
    """So that small segments hold something."""
    usual, event_segments._BLOCK = event_segments._BLOCK, 512
    try:
        yield
    finally:
        event_segments._BLOCK = usual


def consumers():
    return [
        ConsumerConfig("scada", lambda key: int(key[1]) % 3),
        ConsumerConfig("backup", lambda key: 0 if key < "k5" else None),
    ]


def say(kind, *numbers):
    # One write each: whole lines or nothing, whenever the process dies.
    os.write(1, f"{kind} {' '.join(map(str, numbers))}\n".encode())


def live(folder, seed):
    """Append, write, take and acknowledge until killed; say before and after what is done."""
    chance = random.Random(seed)
    log = EventLog.open(folder, consumers(), **BOUNDS)
    log.written(log.write())
    waiting_done = []
    n = seed * 1_000_000
    while True:
        new = []
        for _ in range(chance.randrange(12)):
            n += 1
            new.append(log.append(f"k{n % 10}", b"%d" % n, T0 + n))
            say("append", new[-1], n)
        log.written(log.write())
        if new:
            say("written", *new)
        for index, done in waiting_done:
            say("gone", index, *done)
        waiting_done = []
        for index, name in enumerate(("scada", "backup")):
            consumer = log.consumer(name)
            if index and consumer.waiting < 150:
                continue  # a slow one: what it waits for must be moved
            taken = [each.sequence for each in consumer.take(chance.randrange(40))]
            done = [each for each in taken if chance.random() < 0.8]
            if done:
                say("done", index, *done)
                consumer.acknowledge(done)
                waiting_done.append((index, done))
            if chance.random() < 0.5:
                consumer.release()


class Witness:
    """Knows what the processes said, and so what must and what may be offered."""

    def __init__(self, folder):
        self.folder = folder
        self.events = {}
        self.must = [set(), set()]
        self.may = [set(), set()]
        self.lines = 0

    def run(self, seed, seconds):
        """Let a process live so long, kill it, hear what it said, and look what there is."""
        with subprocess.Popen(
            [sys.executable, __file__, str(self.folder), "live", str(seed)], stdout=subprocess.PIPE, text=True
        ) as process:
            heard = [process.stdout.readline()]  # it is under way
            time.sleep(seconds)
            process.kill()
            heard += process.stdout.read().split("\n")
        assert process.returncode == -9
        for line in heard:
            if line.strip():
                self.hear(line)
        self.look()

    def hear(self, line):
        kind, *words = line.split()
        numbers = [int(each) for each in words]
        self.lines += 1
        if kind == "append":
            sequence, n = numbers
            assert sequence not in self.events, "sequence numbers repeat"
            self.events[sequence] = (f"k{n % 10}", b"%d" % n, T0 + n)
            for index in self.wanted_by(sequence):
                self.may[index].add(sequence)
        elif kind == "written":
            for sequence in numbers:
                for index in self.wanted_by(sequence):
                    self.must[index].add(sequence)
        elif kind == "done":
            self.must[numbers[0]] -= set(numbers[1:])
        else:
            self.may[numbers[0]] -= set(numbers[1:])

    def wanted_by(self, sequence):
        return [0, 1] if self.events[sequence][0] < "k5" else [0]

    def look(self):
        with EventLog.open(self.folder, consumers(), **BOUNDS) as log:
            while log.needs_write:
                log.written(log.write())
            assert log.trouble == []
            for index, name in enumerate(("scada", "backup")):
                events = log.consumer(name).take(10**9)
                offered = {each.sequence for each in events}
                assert len(offered) == len(events)
                assert self.must[index] <= offered, "lost"
                assert offered <= self.may[index], "invented"
                assert all(self.events[each.sequence] == each[1:] for each in events)
                # It has been written again now: from here on it is certain.
                self.must[index] = set(offered)
                self.may[index] = set(offered)
            size = sum(each.stat().st_size for each in self.folder.glob("events-*"))
            assert size <= BOUNDS["most_octets"]


def campaign(folder, runs):
    witness = Witness(folder)
    chance = random.Random()
    with small_blocks():
        for seed in range(1, runs + 1):
            witness.run(seed, chance.uniform(0, 0.3))
    return witness


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2:3] == ["live"]:
        with contextlib.suppress(BrokenPipeError), small_blocks():
            live(where, int(sys.argv[3]))
    else:
        result = campaign(where, int((sys.argv[2:] or ["100"])[0]))
        print(f"nothing lost, nothing invented: {len(result.events)} events, {result.lines} lines heard")
