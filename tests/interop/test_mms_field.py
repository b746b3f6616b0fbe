"""Foreign IEDs as points of a control centre: servers of libiec61850, open61850 and iec61850."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import time

import foreign_ied
import pytest
from iec104_field_site import until
from mms_field_site import KINDS, Foreign, site

from gateway.adapters.mms_entries import EntriesError, read_entries, write_entries
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms.client import MmsClient
from scl.reader import parse

T_NS = 1_600_000_000_250_000_000
UNSYNCHRONISED = 0x2A
OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
BLOCKED = Quality(Validity.QUESTIONABLE, oldData=True, operatorBlocked=True).to_int()


def at(ns):
    """A time as the wire has it, to the next 60 ns."""
    return UtcTime.from_ns(ns).to_ns()


@pytest.fixture(params=KINDS)
async def ied(request, require):
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850-ng is not installed")
    made = await Foreign.start(request.param)
    yield made
    await made.close()


async def settled(made):
    """All points are known."""
    await until(lambda: made.field.connected and len(made.outlet.table.snapshot()) == len(made.config.points))


VALUES = [
    ("GGIO2.Ind1", {"stVal": True}, True),
    ("GGIO2.Pos1", {"stVal": 2}, 2),
    ("GGIO2.IntIn1", {"stVal": -7}, -7),
    ("GGIO2.EnIn1", {"stVal": 3}, 3),
    ("MMTR1.TotWh", {"actVal": 123_456}, 123_456),
    ("PTOC1.Op", {"general": True, "phsA": False, "phsC": True}, (1, 0, 0, 1)),
    ("PTOC1.Str", {"general": True, "dirGeneral": 2}, (1, 2)),
    ("ATCC1.TapChg", {"valWTr.posVal": -3, "valWTr.transInd": True}, (-3, 1)),
    ("GGIO1.AnIn7", {"mag.f": 1.5}, 1.5),
    ("GGIO4.AnIn1", {"mag.i": 40}, 120.0),
    ("GGIO4.Ind1", {"stVal": True}, True),
    ("MMXU1.A.phsB", {"cVal.mag.f": 230.5}, 230.5),
    ("GGIO5.Ind1", {"stVal": True}, True),
    ("GGIO5.AnIn1", {"mag.f": -2.25}, -2.25),
]


async def test_values_quality_and_the_devices_own_time_come_through(ied, tmp_path):
    """Buffered, unbuffered and polled."""
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for number, (name, leaves, _) in enumerate(VALUES):
            tag = [T_NS + number * 10**9, UNSYNCHRONISED]
            ied.set(**{name.replace(".", "__"): {**leaves, "q": BLOCKED, "t": tag}})
        for number, (name, _, value) in enumerate(VALUES):
            expected = (value, BLOCKED, at(T_NS + number * 10**9), UNSYNCHRONISED)
            with contextlib.suppress(TimeoutError):
                await until(lambda name=name, expected=expected: made.shown(name) == expected)
            assert made.shown(name) == expected, name
        # A data set of single attributes without a time: that of the report.
        begun = time.time_ns()
        ied.set(GGIO3__Ind1={"stVal": True, "q": BLOCKED})
        await until(lambda: made.shown("GGIO3.Ind1")[:2] == (True, BLOCKED))
        assert abs(made.shown("GGIO3.Ind1")[2] - begun) < 60 * 10**9
        row = made.row("GGIO2.Pos1")
        await made.centre.hears((row.CA, row.IOA, 2, 0x50, False))  # NT, BL


async def test_a_lost_worker_and_a_lost_ied_make_points_old_until_they_tell_again(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        ied.set(GGIO2__Ind1={"stVal": True, "q": 0, "t": [T_NS, 10]})
        good = True, 0, at(T_NS), 10
        await until(lambda: made.shown("GGIO2.Ind1") == good)
        before = made.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        await until(lambda: made.shown("GGIO2.Ind1") == good)
        assert made.pid not in (0, before)
        ied.process.kill()
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        row = made.row("GGIO2.Ind1")
        heard = [(row.CA, row.IOA, True, qds, False) for qds in (0, 0x40, 0, 0x40)]
        await made.centre.hears(*heard)


# -- commands ---------------------------------------------------------------------------------------------------------

CONTROLS = [
    ("CSWI1.Pos", 2, True, 2),  # select before operate, enhanced security
    ("CSWI2.Pos", 2, False, 2),  # direct, enhanced
    ("GGIO6.SPCSO1", True, False, True),  # direct, normal
    ("GGIO6.SPCSO2", True, True, True),  # select before operate, normal
    ("GGIO6.ISCSO1", 17, False, 17),
]


async def test_commands_go_out_as_ctlModel_has_it_with_their_origin(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for name, value, select, _ in CONTROLS:
            assert await made.command(name, value, select=select) == (True, "termination", ""), name
        # A select with normal security names nobody.
        asked = [each for each in ied.asked() if not (each.get("select") and each["asked"].endswith("SPCSO2"))]
        assert {each["asked"] for each in asked} == {f"LD0/{name}" for name, *_ in CONTROLS}
        assert {(each["orCat"], each["orIdent"], each["test"]) for each in asked} == {(3, "west", False)}
        if ied.process_kind == "open61850":  # its server carries out what it accepts
            for name, _, _, value in CONTROLS:
                await until(lambda name=name, value=value: made.shown(name)[0] == value)


async def test_a_refusal_is_the_devices_own(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        for name, value, select, _ in CONTROLS[:2]:
            ied.order(f"refuse {name} 10")
            done, stage, _why = await made.command(name, value, select=select)
            assert (done, stage) == (False, "select" if select else "execute")
        ied.order("refuse CSWI1.Pos 0")
        assert (await made.command("CSWI1.Pos", 1, select=True))[0]


async def test_a_test_command_carries_its_flag(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        await made.command("CSWI2.Pos", 2, test=True)
        assert ied.asked()[-1]["test"] is True


async def test_a_worker_killed_between_select_and_execute_loses_the_selection_and_says_so(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        row = made.row("CSWI1.Pos", control=True)
        centre = made.centre
        assert (await centre.command(row.CA, row.IOA, row.typeID, 2, select=True, execute=False)).done
        before = len(ied.asked())
        worker = made.pid
        os.kill(worker, signal.SIGKILL)
        await until(lambda: made.pid not in (0, worker) and made.field.connected)
        ended = await centre.command(row.CA, row.IOA, row.typeID, 2)
        assert (ended.done, ended.moving) == (False, False)
        assert len(ied.asked()) == before  # nothing was sent
        assert (await made.command("CSWI1.Pos", 2, select=True))[0]


async def test_a_worker_killed_while_a_command_runs_leaves_its_outcome_unknown_which_is_a_no(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    ied = await Foreign.start("libiec61850")
    try:
        async with site(tmp_path, ied.port) as made:
            await settled(made)
            ied.order("refuse end CSWI2.Pos -1")  # it goes on moving
            await asyncio.sleep(0.2)
            row = made.row("CSWI2.Pos", control=True)
            running = asyncio.create_task(made.centre.command(row.CA, row.IOA, row.typeID, 2))
            await until(lambda: any("accepted" in each for each in caplog.messages))
            os.kill(made.pid, signal.SIGKILL)
            ended = await running
            assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)
            assert any("its outcome is not known" in each for each in caplog.messages)
    finally:
        await ied.close()


async def test_nothing_is_sent_while_there_is_no_connection(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        ied.process.kill()
        await until(lambda: not made.field.connected)
        assert (await made.command("CSWI2.Pos", 2))[:2] == (False, "execute")
        assert (await made.command("CSWI1.Pos", 2, select=True))[:2] == (False, "select")


async def test_an_IED_that_does_not_answer_any_more_is_noticed_without_its_saying_so(tmp_path):
    """As one whose cable is out: no connection ends."""
    ied = await Foreign.start("libiec61850")
    try:
        for settings in ({}, {"points": ()}):  # also where nothing is polled
            async with site(tmp_path / str(len(settings)), ied.port, timeout_s=1.0, **settings) as made:
                await until(lambda made=made: made.field.connected)
                ied.process.send_signal(signal.SIGSTOP)
                await until(lambda made=made: not made.field.connected)
                ied.process.send_signal(signal.SIGCONT)
                await until(lambda made=made: made.field.connected)
    finally:
        await ied.close()


async def test_a_worker_that_hangs_is_killed_and_started_again(ied, tmp_path, caplog):
    async with site(tmp_path, ied.port, hung_s=2.5) as made:
        await settled(made)
        hung = made.pid
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
        assert any("has said nothing for 2.5 s" in each for each in caplog.messages)
        await until(lambda: made.pid not in (0, hung) and made.shown("GGIO2.Ind1")[1] == 0)
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)


# -- workers that cannot be trusted -----------------------------------------------------------------------------------

GARBAGE = """
import os, socket, sys, time
to = socket.socket(fileno=int(sys.argv[1]))
frame = lambda octets: len(octets).to_bytes(4, "big") + octets
to.sendall({"noise": os.urandom(5000), "long": b"\\xff\\xff\\xff\\xff" + bytes(100), "half": frame(b"x" * 50)[:20],
            "other": frame(b'["Order", {}]'), "nothing": b"",
            "entry": frame(b'["Told", {"block": "LD/X", "entryID": "0000000000000001", "overflow": false, '
                           b'"answer": false, "entry_ms": 0, "objects": {}}]'),
            "early": frame(b'["Ended", {"number": 1, "why": "", "unknown": false}]')}["WHAT"])
if "WHAT" in ("noise", "nothing"):
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("noise", "its worker"),
        ("long", "its worker announced 4294967295 octets"),
        ("half", "its worker has ended"),
        ("other", "its worker said what it may not: message 'Order'"),
        ("entry", "its worker said what it may not: entry 0000000000000001 of 'LD/X'"),
        ("nothing", "its worker has said nothing for 0.5 s"),
        ("early", "its worker has ended"),
    ],
)
async def test_garbage_from_a_worker_ends_it_and_nothing_else(what, said, tmp_path, caplog, monkeypatch):
    from gateway.adapters import mms_process

    ied = await Foreign.start("libiec61850")
    try:
        with monkeypatch.context() as patch:
            script = tmp_path / "garbage.py"
            script.write_text(GARBAGE.replace("WHAT", what))
            patch.setattr(mms_process, "_WORKER", ("-P", str(script)))
            async with site(tmp_path, ied.port, hung_s=0.5) as made:
                await until(lambda: sum(said in each for each in caplog.messages) >= 2)
                assert not made.outlet.table.snapshot()
                assert (await made.command("CSWI2.Pos", 2))[0] is False
        async with site(tmp_path, ied.port) as made:
            await settled(made)
    finally:
        await ied.close()


# -- what the IED has is not what the SCD says, or not to be had ------------------------------------------------------


async def test_a_model_that_is_not_the_SCDs_costs_the_points_that_differ(ied, tmp_path, caplog):
    nodes = {
        **foreign_ied.NODES,
        "GGIO2": {**foreign_ied.NODES["GGIO2"], "Ind9": "SPS"},
        "GGIO5": {"Ind1": "MV", "AnIn1": "MV"},
        "GGIO9": {"Ind1": "SPS"},
    }
    sets = {**foreign_ied.SETS, "status": [*foreign_ied.SETS["status"], "GGIO9.Ind1[ST]"]}
    async with site(tmp_path, ied.port, scl=parse(foreign_ied.scd(nodes, sets))) as made:
        missing = {"GGIO2.Ind9", "GGIO5.Ind1", "GGIO9.Ind1"}
        await until(lambda: len(made.outlet.table.snapshot()) == len(made.config.points) - len(missing))
        for name in missing:
            assert made.shown(name) is None
            assert sum(f"{name} is invalid" in each for each in caplog.messages) == 1
        ied.set(GGIO2__Ind1={"stVal": True, "q": 0, "t": [T_NS, 10]})
        await until(lambda: made.shown("GGIO2.Ind1") == (True, 0, at(T_NS), 10))


async def test_an_IED_of_another_name_has_none_of_the_points_and_says_so(ied, tmp_path, caplog):
    other = parse(foreign_ied.scd().replace('IED name="REL1"', 'IED name="REL2"'))
    async with site(tmp_path, ied.port, scl=other, ied="REL2") as made:
        await until(lambda: sum("is invalid" in each for each in caplog.messages) == len(made.config.points))
        assert not made.outlet.table.snapshot()


async def test_a_block_of_another_client_is_left_to_him_and_without_one_it_is_read(ied, tmp_path, caplog):
    def take(*numbers):
        client = MmsClient("127.0.0.1", ied.port, timeout_s=3.0)
        for number in numbers:
            client.write(f"{foreign_ied.LD}/LLN0$BR$brcbstatus{number:02}$RptEna", data=True)
        return client

    taken = await asyncio.to_thread(take, 1, 2)
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        ied.set(GGIO2__Ind1={"stVal": True, "q": 0, "t": [T_NS, 10]})
        await until(lambda: made.shown("GGIO2.Ind1") == (True, 0, at(T_NS), 10))
        assert set(made.field.begin().entries) == {f"{foreign_ied.LD}/LLN0.BR.brcbstatus03"}
    more = await asyncio.to_thread(take, 3)
    async with site(tmp_path / "other", ied.port) as made:
        await settled(made)
        assert any("no report control block of 3 is to be had" in each for each in caplog.messages)
        ied.set(GGIO2__Ind1={"stVal": False, "q": 0, "t": [T_NS + 10**9, 10]})
        await until(lambda: made.shown("GGIO2.Ind1") == (False, 0, at(T_NS + 10**9), 10))
        assert not made.field.begin().entries
    await asyncio.to_thread(taken.close)
    await asyncio.to_thread(more.close)


# -- what the IED has buffered ----------------------------------------------------------------------------------------


async def pulses(ied, first, count):
    for number in range(first, first + count):
        ied.set(GGIO2__IntIn1={"stVal": number, "q": 0, "t": [T_NS + number * 10**9, 10]})
        await asyncio.sleep(0.05)


def told(made):
    row = made.row("GGIO2.IntIn1")
    return [value for CA, IOA, value, qds, _ in made.centre.told() if (CA, IOA, qds) == (row.CA, row.IOA, 0)]


async def test_what_happened_while_no_gateway_was_there_comes_after_what_is_known(ied, tmp_path):
    async with site(tmp_path, ied.port) as made:
        await settled(made)
        await pulses(ied, 1, 3)
        await until(lambda: told(made)[-3:] == [1, 2, 3])
        await until(lambda: made.field.entries)
    await pulses(ied, 4, 3)
    async with site(tmp_path, ied.port) as made:
        await until(lambda: told(made)[-3:] == [4, 5, 6])
        await settled(made)
        assert told(made) == [4, 5, 6]


async def test_an_entry_that_is_gone_is_said_and_all_that_is_buffered_comes(tmp_path, caplog):
    ied = await Foreign.start("libiec61850")
    try:
        await pulses(ied, 1, 3)
        block = f"{foreign_ied.LD}/LLN0.BR.brcbstatus01"
        (tmp_path / "mms").mkdir()
        write_entries(tmp_path / "mms" / "REL1.json", {block: b"\x09" * 8})
        async with site(tmp_path, ied.port) as made:
            await until(lambda: told(made)[-3:] == [1, 2, 3])
            assert any(f"{block} does not know our last entry any more" in each for each in caplog.messages)
    finally:
        await ied.close()


async def test_an_overflow_of_its_buffer_is_told(tmp_path, caplog):
    ied = await Foreign.start("open61850")
    try:
        async with site(tmp_path, ied.port) as made:
            await settled(made)
            await pulses(ied, 1, 3)
            await until(lambda: made.field.entries and told(made)[-1:] == [3])
        ied.order("keep 4")
        await pulses(ied, 4, 10)
        async with site(tmp_path, ied.port) as made:
            await until(lambda: told(made)[-1:] == [13])
            await settled(made)
            assert (told(made), made.field.overflows) == ([10, 11, 12, 13], 1)
        assert any("brcbstatus01: its buffer has overflowed" in each for each in caplog.messages)
    finally:
        await ied.close()


def test_a_damaged_file_of_entries_costs_nothing_but_repetition_and_a_newer_one_is_refused(tmp_path, caplog):
    file = tmp_path / "REL1.json"
    assert read_entries(file) == {}
    write_entries(file, {"b": bytes(8)})
    assert read_entries(file) == {"b": bytes(8)}
    for text in ("", "[]", "{}", '{"version": 1, "entries": {"b": 1}}', '{"version": 1, "entries": {"b": "xy"}}'):
        file.write_text(text)
        assert read_entries(file) == {}
        assert "damaged" in caplog.messages[-1]
    file.write_text('{"version": 2}')
    with pytest.raises(EntriesError, match="version 2; this program reads version 1"):
        read_entries(file)


# -- iec61850's server (Rust): it takes neither data sets nor report control blocks out of the file, sets no times ----


async def test_an_IED_without_reports_is_read_and_operated(tmp_path, caplog, require):
    require(importlib.util.find_spec("iec61850"), "iec61850 is not installed")
    import iec61850 as rust

    server = rust.IedServer.from_scl_str(foreign_ied.scd(), ied_name=foreign_ied.IED)
    server.bind("127.0.0.1:0")
    operated, refusals = [], []

    def check(*_):
        if refusals:
            raise refusals[0]

    server.on_control(
        "LD0/CSWI1.Pos", ctl_model="sbo-enhanced", check=check, operate=lambda *given: operated.append(given)
    )
    await server.start()
    server.update_int32("LD0/CSWI1.Pos.ctlModel", 4)  # it does not take the file's value
    try:
        async with site(tmp_path, int(server.bound_addr.rpartition(":")[2])) as made:
            await settled(made)
            server.update_bool("LD0/GGIO2.Ind1.stVal", value=True)
            server.update_float32("LD0/GGIO1.AnIn3.mag.f", 2.5)
            server.update_int32("LD0/GGIO2.IntIn1.stVal", -9)
            await until(lambda: made.shown("GGIO2.Ind1")[:2] == (True, 0))
            await until(lambda: made.shown("GGIO1.AnIn3")[:2] == (2.5, 0))
            await until(lambda: made.shown("GGIO2.IntIn1")[:2] == (-9, 0))
            assert await made.command("CSWI1.Pos", 2, select=True) == (True, "termination", "")
            assert operated
            refusals.append(ValueError("no"))
            assert (await made.command("CSWI1.Pos", 1, select=True))[:2] == (False, "select")
            worker = made.pid
            os.kill(worker, signal.SIGKILL)
            await until(lambda: made.shown("GGIO2.Ind1")[1] == OLD)
            await until(lambda: made.shown("GGIO2.Ind1")[:2] == (True, 0))
    finally:
        await server.stop()
    assert any("no report control block of 3 is to be had" in each for each in caplog.messages)
