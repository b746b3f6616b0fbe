"""Which entries of an agent's journal are steps of the audit trail, and that each gets there once."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway import agent_trail
from gateway.agent_trail import AgentTrail, audited
from gateway.points.audit import AUDIT_KEY, AuditDecodeError, AuditStep, decode_step, encode_step
from ied_agents.runtime.journal import Journal, JournalTail

T_NS = 1_790_000_000_000_000_000


def entry(kind, **fields):
    return {"t_ns": T_NS, "mono": 1.0, "kind": kind, **fields}


def operator(request, **answer):
    text = request if isinstance(request, str) else json.dumps(request)
    return entry("operator", user="jim", uid=1000, pid=7, request=text, **answer)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (operator({"request": "open", "origin": "station"}, done=True), ("jim (station)", "open", "", "confirmed", "")),
        (
            operator(
                {"request": "close", "origin": "remote", "by": "MMS", "orIdent": "scada"}, done=False, why="LOCKED"
            ),
            ("jim, MMS, scada (remote)", "close", "", "refused", "LOCKED"),
        ),
        (
            operator({"request": "tag", "owner": "crew 7", "tags": 1}, done=True),
            ("jim", "tag", "owner crew 7, tags 1", "confirmed", ""),
        ),
        (operator("{", done=False, why="no"), ("jim", "not understood", "{", "refused", "no")),
        (operator("[1]", done=False, why="no"), ("jim", "not understood", "[1]", "refused", "no")),
        (entry("open ordered", event=[1, 5]), ("the agent itself", "open", "", "asked", '{"event": [1, 5]}')),
        (entry("closed", claim=3), ("the agent itself", "close", "", "done", '{"claim": 3}')),
        (entry("close refused", claim=3, reason="TAG"), ("the agent itself", "close", "", "refused", "TAG")),
        (
            entry("did not open in time", position="ON"),
            ("the agent itself", "open", "", "failed", '{"position": "ON"}'),
        ),
    ],
)
def test_what_an_entry_tells(given, told):
    step = audited("T9", given)
    assert (step.who, step.step, step.value, step.outcome, step.reason) == told
    assert (step.t_ns, step.via, step.target) == (T_NS, "agent", "T9")


@pytest.mark.parametrize("kind", ["published", "picked up", "position", "started", "order"])
def test_what_is_no_control_is_none(kind):
    assert audited("T9", entry(kind)) is None


def test_every_line_of_a_step_is_read_and_others_are_not_parsed(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for kind in ("published", "operator", "open ordered", *agent_trail._KINDS):
        journal.record(kind, 1.0)
    journal.close()
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b"no JSON at all\n")
    tail = JournalTail(tmp_path / "journal.jsonl", agent_trail._MARKS)
    assert [each["kind"] for each in tail.read()] == ["operator", "open ordered", *agent_trail._KINDS]
    tail.close()


class Outlet:
    """Keeps what it is given; says that it is stored when it is told to."""

    def __init__(self):
        self.kept = []
        self.calls = []
        self.stores = True

    def keep(self, key, payload, t_ns):
        assert key == AUDIT_KEY
        self.kept.append(decode_step(payload))

    def when_stored(self, call):
        if self.stores:
            call()


async def run(outlet, folder, until):
    trail = AgentTrail({"T9": folder / "journal.jsonl"}, outlet, folder / "audit.json")
    async with asyncio.timeout(30):
        while not until():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    await trail.close()


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(agent_trail, "_LOOK_S", 0.01)


def write(folder, numbers):
    journal = Journal(folder / "journal.jsonl")
    for number in numbers:
        journal.record("operator", 1.0, request=json.dumps({"request": "tag", "tags": number}), done=True)
        journal.record("published", 1.0, values={})
        journal.write_some()
    journal.close()


def told(outlet):
    return [int(each.value.removeprefix("tags ")) for each in outlet.kept]


async def test_a_journal_is_gone_on_with_where_it_was_left(tmp_path, quickly):
    write(tmp_path, range(5))
    outlet = Outlet()
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 5)
    write(tmp_path, range(5, 8))
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 8)
    assert told(outlet) == list(range(8))


async def test_what_was_not_stored_comes_again(tmp_path, quickly):
    write(tmp_path, range(5))
    outlet = Outlet()
    outlet.stores = False
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 5)
    outlet.stores = True
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 10)
    assert told(outlet) == [*range(5), *range(5)]


async def test_of_too_many_the_newest_are_kept_and_it_is_said(tmp_path, quickly, monkeypatch):
    monkeypatch.setattr(agent_trail, "_MOST_BEHIND", 10)
    monkeypatch.setattr(agent_trail, "_MOST_AT_ONCE", 3)
    write(tmp_path, range(25))
    outlet = Outlet()
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 10)
    assert (outlet.kept[0].outcome, outlet.kept[0].reason) == (
        "missing",
        "16 steps before this were too many to be kept",
    )
    outlet.kept.pop(0)
    assert told(outlet) == list(range(16, 25))


async def test_a_damaged_journal_or_position_is_said_and_does_no_harm(tmp_path, quickly, caplog):
    write(tmp_path, range(2))
    (tmp_path / "audit.json").write_text("{")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'"kind":"operator"\n')
    outlet = Outlet()
    await run(outlet, tmp_path, lambda: len(outlet.kept) == 2)
    assert told(outlet) == [0, 1]
    said = [record.getMessage() for record in caplog.records]
    assert "audit.json: damaged" in said[0]
    assert len([each for each in said if "no journal entry" in each or "no JSON" in each]) == 1


# -- a step in the event log -----------------------------------------------------------------------------------------


def test_a_step_is_read_as_it_was_written():
    step = AuditStep(T_NS, "104", "scada 10.0.0.1:4711 (CN é)", 3, "A/Q1.Pos", "select", "true", True, "asked", "", 7)
    assert decode_step(encode_step(step)) == step


def test_a_text_is_one_line_and_not_too_long():
    step = AuditStep(T_NS, "104", "a\nb\0" + "x" * 1000, 0, "A", "select", "", False, "asked", "", 0)
    assert decode_step(encode_step(step)).who == "a?b?" + "x" * 396


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        encode_step(AuditStep(1, "", "", 0, "", "", "", False, "", "", 0)).replace(b'"t_ns":1', b'"t_ns":-1'),
        encode_step(AuditStep(1, "", "", 0, "", "", "", False, "", "", 0)).replace(b'"who":""', b'"who":1'),
        encode_step(AuditStep(1, "", "", 0, "", "", "", False, "", "", 0)).replace(b'"t_ns":1', b'"t_ns":1.5'),
    ],
)
def test_what_is_no_step_is_an_error_of_its_own(octets):
    with pytest.raises(AuditDecodeError):
        decode_step(octets)
