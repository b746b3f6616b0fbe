"""The event log against a simple model, with power cuts, refusing disks and changed configurations."""

import os
import shutil
import tempfile
from pathlib import Path

import event_log_kill
import pytest
from event_logs import (
    SCADA,
    T0,
    FullDisk,
    priority,
    store,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.points import event_segments
from gateway.points.event_log import ConsumerConfig, EventLog


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """So that small segments hold something."""
    with event_log_kill.small_blocks():
        yield


FEW = ConsumerConfig("few", priority, most=6)
EXTRA = ConsumerConfig("extra", lambda key: 1 if key[0] == "b" else None)
BLOCK = 64
BOUNDS = {"segment_octets": 1024, "most_octets": 16 * 1024}


class Modelled:
    """One consumer as it should be."""

    def __init__(self, config):
        self.config = config
        self.waiting = {}  # class by sequence
        self.taken = set()
        self.overflowed = 0
        self.must = set()  # offered after any crash now
        self.may = set()
        self.unsure = set()  # acknowledged or lost, but that may not be on disk yet

    def append(self, sequence, key):
        priority = self.config.classify(key)
        if priority is None:
            return
        self.waiting[sequence] = priority
        self.may.add(sequence)
        if len(self.waiting) > self.config.most:
            oldest = min(set(self.waiting) - self.taken, key=lambda each: (-self.waiting[each], each))
            self.finish(oldest)
            self.overflowed += 1

    def finish(self, sequence):
        del self.waiting[sequence]
        self.taken.discard(sequence)
        self.must.discard(sequence)
        self.unsure.add(sequence)

    def stored(self):
        self.may -= self.unsure
        self.unsure.clear()
        self.must = set(self.waiting)

    def next(self, limit, unoffered):
        ready = set(self.waiting) - self.taken - unoffered
        return sorted(ready, key=lambda each: (self.waiting[each], each))[:limit]


class Machine(RuleBasedStateMachine):
    """The log and its model, with power cuts, refusing disks and changes of the configuration."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(event_segments, "_BLOCK", BLOCK)
        # The model cuts the power itself.
        self.patch.setattr(os, "fsync", lambda _: None)
        self.patch.setattr(os, "fdatasync", lambda _: None)
        self.events = {}
        self.unoffered = set()
        self.degraded = False
        self.starts = 0

    @initialize()
    def begin(self):
        self.model = {each.name: Modelled(each) for each in (SCADA, FEW)}
        self.open()
        self.store()

    def open(self):
        self.starts += 1
        self.log = EventLog.open(
            self.folder,
            [each.config for each in self.model.values()],
            **BOUNDS,
            now_ns=T0 // self.starts,
        )

    def store(self):
        store(self.log)
        self.unoffered.clear()
        self.degraded = False
        for each in self.model.values():
            each.stored()

    @precondition(lambda self: len(self.events) < 70)
    @rule(names=st.lists(st.sampled_from(["a0", "a1", "b0", "b1", "c-"]), min_size=1, max_size=5))
    def append(self, names):
        for key in names:
            payload = b"%d" % len(self.events)
            sequence = self.log.append(key, payload, len(self.events))
            assert sequence > max(self.events, default=0)
            self.events[sequence] = (sequence, key, payload, len(self.events))
            if not self.degraded:
                self.unoffered.add(sequence)
            for each in self.model.values():
                each.append(sequence, key)

    @rule()
    def write(self):
        self.store()

    @rule(room=st.integers(0, 200), degraded=st.booleans())
    def refuse(self, room, degraded):
        if not self.log.needs_write:
            return
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, room)
            try:
                while self.log.needs_write:
                    self.log.written(self.log.write())
            except OSError as error:
                if degraded:
                    self.log.degraded(error)
                    self.degraded = True
            disk.room = 0
        if degraded and self.degraded:
            self.unoffered.clear()
        else:
            # Some of it may have been stored: make sure.
            self.store()

    @rule(data=st.data(), limit=st.integers(0, 20))
    def take(self, data, limit):
        name = data.draw(st.sampled_from(sorted(self.model)))
        model = self.model[name]
        expected = model.next(limit, self.unoffered)
        assert self.log.consumer(name).take(limit) == [self.events[each] for each in expected]
        model.taken |= set(expected)

    @rule(data=st.data())
    def acknowledge(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        model = self.model[name]
        done = data.draw(st.sets(st.sampled_from(sorted(model.taken)))) if model.taken else set()
        self.log.consumer(name).acknowledge(done)
        for each in done:
            model.finish(each)

    @rule(data=st.data())
    def release(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.log.consumer(name).release()
        self.model[name].taken.clear()

    @rule(data=st.data(), zeros=st.booleans())
    def power_cut(self, data, zeros):
        """In the middle of a write: the file it grew ends at any octet, or the rest of it is zeros."""
        before = self.files()
        least = {name: each.overflowed for name, each in self.model.items()} if not self.log.needs_write else {}
        self.log.write()
        after = self.files()
        self.log.close()
        (name,) = [each for each in after if after[each] != before.get(each)]
        begin = len(before.get(name, b""))
        end = data.draw(st.integers(begin, len(after[name])))
        if end == len(after[name]) and data.draw(st.booleans()):
            image = after
        else:
            rest = bytes(len(after[name]) - end) if zeros else b""
            image = before | {name: after[name][:end] + rest}
        for each in self.folder.glob("events-*"):
            each.unlink()
        for each, content in image.items():
            (self.folder / each).write_bytes(content)
        self.open()
        assert not [each for each in self.log.trouble if "offset" in each], "a power cut is no damage"
        self.look(least)

    @rule(extra=st.booleans(), stored=st.booleans())
    def restart(self, extra, stored):
        if stored:
            self.store()
        self.log.close()
        waited = self.model.pop("extra", None)
        if extra:
            self.model["extra"] = waited or Modelled(EXTRA)
        self.open()
        self.look({})

    def look(self, least):
        """Whatever the log says it has must lie within what the model allows; from here on it is certain."""
        store(self.log)
        self.degraded = False
        self.unoffered.clear()
        for name, model in self.model.items():
            consumer = self.log.consumer(name)
            offered = [each.sequence for each in consumer.take(10**9)]
            assert set(offered) <= model.may, "invented"
            if len(model.may) <= model.config.most:
                assert model.must <= set(offered), "lost"
                assert consumer.overflowed <= model.overflowed
            assert consumer.overflowed >= least.get(name, 0)
            assert offered == sorted(offered, key=lambda each: (model.config.classify(self.events[each][1]), each))
            consumer.release()
            model.waiting = {each: model.config.classify(self.events[each][1]) for each in offered}
            model.taken.clear()
            model.unsure.clear()
            model.may = set(offered)
            model.must = set(offered)
            model.overflowed = consumer.overflowed

    def files(self):
        return {each.name: each.read_bytes() for each in self.folder.glob("events-*.log")}

    def check_counts(self):
        for name, model in self.model.items():
            consumer = self.log.consumer(name)
            assert (consumer.waiting, consumer.overflowed) == (len(model.waiting), model.overflowed)
        assert self.log.octets <= BOUNDS["most_octets"]

    def teardown(self):
        if hasattr(self, "log"):
            self.check_counts()
            self.log.close()
        self.patch.undo()
        shutil.rmtree(self.folder)


TestModel = Machine.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=40)
