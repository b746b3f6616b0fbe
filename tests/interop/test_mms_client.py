"""Our MMS client before our own server and before those of two others: open61850 (Python) and iec61850 (Rust)."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from iec61850 import IedServer
from open61850.server import IedModel
from open61850.server import MmsServer as PureServer

import scl
from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.data import Array, BitString, Structure, Unsigned
from ied_agents.mms.client import MmsClient, MmsClientError, Reference
from ied_agents.mms.client_control import Control, ControlModel, ControlRefusedError
from ied_agents.mms.client_report import ReportQueue, Subscription
from ied_agents.mms.values import Cause

SCD_FILE = Path(scl.__file__).parent / "samples" / "two_source.scd"
LD = "F1Q1FLISR"
BRCB = f"{LD}/LLN0.BR.brcbStatus01"
POSITION = f"{LD}/CSWI1.Pos"
OFF, ON = BitString(1, 2), BitString(2, 2)


@pytest.fixture
def pure():
    """A server of open61850 with our IED; its controls set the position."""
    with PureServer(IedModel.from_scl(SCD_FILE, "F1Q1"), "127.0.0.1", 0) as server:
        server.start()
        yield server


@pytest.fixture
def client(pure):
    with MmsClient("127.0.0.1", pure.port, timeout_s=3.0) as made:
        yield made


# -- browse, read, write ----------------------------------------------------------------------------------------------


def test_it_browses(client):
    assert client.devices() == [LD]
    assert {"LLN0", "XCBR1", "CSWI1", "AFSR1"} <= set(client.nodes(LD))
    assert set(client.data_sets(LD)) == {f"{LD}/LLN0.{name}" for name in ("fast", "slow", "status", "loads")}
    assert BRCB in client.report_blocks(LD)
    found = client.constraints(Reference.read(f"{LD}/AFSR1.Ans.ans(3).sw"))
    assert [str(one) for one in found] == [f"{LD}/AFSR1.Ans.ans(3).sw[ST]"]


def test_it_reads_values_of_every_kind(client, pure):
    pure.model.set(f"{LD}/XCBR1.Pos.stVal[ST]", 2)
    assert client.read(f"{LD}/XCBR1.Pos.stVal") == ON
    assert client.read(f"{LD}/XCBR1$ST$Pos$stVal") == ON
    assert client.read(f"{LD}/AFSR1.SwNum.setVal") == 1
    assert client.read(f"{LD}/LLN0.NamPlt.vendor") == "flisr"
    assert client.read(f"{LD}/AFSR1.Ld.flow") == pytest.approx(0.0)
    answers = client.read(f"{LD}/AFSR1.Ans.ans")
    assert answers == Array([Structure([Unsigned(0), Unsigned(0), Unsigned(0), 0])] * 8)
    assert client.read(f"{LD}/CSWI1.Pos.origin.orIdent") == b""


def test_leaves_carry_their_names_and_a_selection_is_not_read(client):
    leaves = client.read_leaves(f"{LD}/CSWI1.Pos")
    assert leaves[f"{LD}/CSWI1.Pos.origin.orCat[ST]"] == 0
    assert leaves[f"{LD}/CSWI1.Pos.ctlModel[CF]"] == 4
    assert not any("[CO]" in name for name in leaves)
    arrays = client.read_leaves(f"{LD}/AFSR1.Ans")
    assert arrays[f"{LD}/AFSR1.Ans.ans(7).ans[ST]"] == 0


def test_a_data_set_is_read_by_its_members(client):
    values = client.read_data_set(f"{LD}/LLN0.fast")
    assert len(values) == 39
    assert values[f"{LD}/AFSR1.Id.inc[ST]"] == Unsigned(0)


def test_it_writes(client):
    entry = f"{LD}/LLN0$BR$brcbStatus01$IntgPd"
    client.write(entry, Unsigned(7000))
    assert client.read(entry) == Unsigned(7000)
    with pytest.raises(ValueError, match="is no MMS Data"):
        client.write(entry, object())


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        (f"{LD}/XCBR1.Nope", Cause.NO_SUCH_OBJECT),
        (f"{LD}/XCBR1.Nope[ST]", Cause.NO_SUCH_OBJECT),
        (f"{LD}/XCBR1.Pos", Cause.INVALID_REFERENCE),
    ],
)
def test_what_cannot_be_read_is_named(client, reference, cause):
    with pytest.raises(MmsClientError) as said:
        client.read(reference)
    assert said.value.cause is cause
    assert client.peer in str(said.value)
    assert reference in str(said.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "XCBR1.Pos",
        f"{LD}/XCBR1",
        f"{LD}/XCBR1.Pos[XX]",
        f"{LD}/XCBR1.{'x' * 60}",
        f"{'L' * 65}/XCBR1.Pos",
        "a/b.c\0",
    ],
)
def test_what_is_no_reference_does_not_reach_the_library(client, text):
    with pytest.raises(ValueError, match=r"no reference|constraint|characters"):
        client.read(text)


# -- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_says_which_members_and_why(client, pure):
    reports = ReportQueue()
    block = Subscription(client, BRCB, reports.put)
    pure.model.set(f"{LD}/XCBR1.Pos.stVal[ST]", 2)
    told = reports.get(3.0)
    assert told.values[f"{LD}/XCBR1.Pos[ST]"][0] == ON
    assert told.reasons == {f"{LD}/XCBR1.Pos[ST]": "dchg"}
    assert (told.block, told.rptID, len(told.entryID)) == (BRCB, "F1Q1_status", 8)
    assert told.time_ms == pytest.approx(time.time() * 1000, abs=60_000)
    block.close()
    pure.model.set(f"{LD}/XCBR1.Pos.stVal[ST]", 1)
    assert reports.get(0.3) is None
    assert client.read(f"{LD}/LLN0$BR$brcbStatus01$RptEna") is False


def test_a_queue_that_is_full_keeps_what_goes_before_so_that_the_rest_can_be_asked_for(client, pure):
    few = ReportQueue(2)
    block = Subscription(client, BRCB, few.put)
    for place in (2, 1, 2, 1):
        pure.model.set(f"{LD}/XCBR1.Pos.stVal[ST]", place)
        time.sleep(0.1)
    kept = [few.get(1.0), few.get(1.0)]
    assert few.lost == 2
    block.close()
    rest = ReportQueue()
    again = Subscription(client, BRCB, rest.put, after=kept[-1].entryID)
    assert again.resumed
    told = [rest.get(2.0), rest.get(2.0)]
    assert [one.values[f"{LD}/XCBR1.Pos[ST]"][0] for one in [*kept, *told]] == [ON, OFF, ON, OFF]


def test_what_is_no_EntryID_is_refused(client):
    with pytest.raises(ValueError, match="an EntryID has 8 octets, not 3"):
        Subscription(client, BRCB, ReportQueue().put, after=b"abc")


def test_a_block_of_another_client_is_refused_by_name(client, pure):
    reports = ReportQueue()
    Subscription(client, BRCB, reports.put)
    with (
        MmsClient("127.0.0.1", pure.port, timeout_s=3.0) as other,
        pytest.raises(MmsClientError, match=r"brcbStatus01"),
    ):
        Subscription(other, BRCB, reports.put)
    with pytest.raises(MmsClientError, match="RptID F1Q1_status"):
        Subscription(client, BRCB.replace("01", "02"), reports.put)


def test_triggers_options_and_an_interrogation(client):
    reports = ReportQueue()
    block = f"{LD}/LLN0.RP.urcbLoads01"
    options = frozenset(("seqNum", "reasonCode"))
    Subscription(client, block, reports.put, triggers=frozenset(("gi",)), options=options, interrogate=True)
    told = reports.get(3.0)
    assert set(told.reasons.values()) == {"gi"}
    assert (told.time_ms, told.entryID, told.seqNum) == (None, None, 0)


# -- controls ---------------------------------------------------------------------------------------------------------


def test_it_selects_and_operates(client):
    with Control(client, POSITION) as operated:
        assert operated.model is ControlModel.SBO_ENHANCED
        operated.execute(True)
    assert client.read(f"{POSITION}.stVal") == ON
    assert client.read(f"{POSITION}.origin.orCat[ST]") == 2


def test_what_was_cancelled_is_selected_no_more(client):
    with Control(client, POSITION) as operated:
        operated.select(True)
        operated.cancel()
        with pytest.raises(ControlRefusedError) as said:
            operated.operate(True)
    assert (said.value.stage, said.value.add_cause) == ("operate", AddCause.OBJECT_NOT_SELECTED)
    assert str(said.value).endswith(f"{POSITION}: operate: object not selected (AddCause 18)")


def test_a_number_is_a_value_of_an_enumeration(client):
    with Control(client, f"{LD}/LLN0.Mod") as operated:
        assert operated.model is ControlModel.DIRECT_NORMAL
        operated.execute(2)
    assert client.read(f"{LD}/LLN0.Mod.stVal") == 2


def test_what_cannot_be_controlled_is_named(client):
    with pytest.raises(MmsClientError, match=r"XCBR1\.Pos: ctlModel 0: it cannot be controlled"):
        Control(client, f"{LD}/XCBR1.Pos")
    with pytest.raises(MmsClientError, match=r"AFSR1\.Id\.ctlModel"):
        Control(client, f"{LD}/AFSR1.Id")


# -- connections ------------------------------------------------------------------------------------------------------


def test_who_does_not_answer_is_named_in_time_and_holds_up_no_other_thread():
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.wait(0.01):
            ticks.append(time.monotonic())

    other = threading.Thread(target=tick)
    other.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        begun = time.monotonic()
        with pytest.raises(MmsClientError, match=f"127.0.0.1:{port}: connect: "):
            MmsClient("127.0.0.1", port, timeout_s=0.5)
        assert time.monotonic() - begun < 3.0
        stop.set()
        other.join()
        assert sum(at > begun for at in ticks) > 10
    with pytest.raises(MmsClientError, match=f"127.0.0.1:{port}: connect: connection rejected"):
        MmsClient("127.0.0.1", port, timeout_s=0.5)
    with pytest.raises(MmsClientError, match="no such host"):
        MmsClient("no.such.host.invalid", port)


def test_a_server_that_goes_away_is_noticed(pure):
    client = MmsClient("127.0.0.1", pure.port, timeout_s=1.0)
    operated = Control(client, POSITION)
    pure.stop()
    until = time.monotonic() + 5.0
    while client.connected and time.monotonic() < until:
        time.sleep(0.05)
    assert not client.connected
    with pytest.raises(MmsClientError, match=r"connection lost|not connected"):
        client.read(f"{LD}/XCBR1.Pos.stVal")
    with pytest.raises(ControlRefusedError):
        operated.operate(True)
    client.close()
    with pytest.raises(MmsClientError, match="the client is closed"):
        client.devices()


FORGETFUL = f"""
import sys
from ied_agents.mms.client import MmsClient
from ied_agents.mms.client_report import ReportQueue, Subscription
block = Subscription(MmsClient("127.0.0.1", int(sys.argv[1])), "{BRCB}", ReportQueue().put, interrogate=True)
raise SystemExit(3)
"""


def test_a_process_that_closes_nothing_ends_in_order_all_the_same(pure):
    ended = subprocess.run([sys.executable, "-c", FORGETFUL, str(pure.port)], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, b"")


# -- iec61850's server: it takes neither data sets nor report control blocks out of the file ---------------------------


@pytest.fixture
async def rust():
    """Its port, and a list: what is in it refuses."""
    server = IedServer.from_scl(SCD_FILE, ied_name="F1Q1")
    server.bind("127.0.0.1:0")
    refusals = []

    def check(*_):
        if refusals:
            raise refusals[0]

    server.on_control("FLISR/CSWI1.Pos", ctl_model="sbo-enhanced", check=check, operate=lambda *_: None)
    await server.start()
    server.update_int32("FLISR/CSWI1.Pos.ctlModel", 4)  # it does not take the file's value
    yield int(server.bound_addr.rpartition(":")[2]), refusals
    await server.stop()


async def test_it_reads_and_operates_a_server_in_rust(rust):
    port, refusals = rust

    def work():
        with MmsClient("127.0.0.1", port, timeout_s=3.0) as client:
            assert client.devices() == [LD]
            assert client.read(f"{LD}/CSWI1.Pos.ctlModel") == 4
            assert client.read_leaves(f"{LD}/XCBR1.Pos")[f"{LD}/XCBR1.Pos.stVal[ST]"].size == 2
            with Control(client, POSITION) as operated:
                operated.execute(True)
                refusals.append(ValueError("no"))
                with pytest.raises(ControlRefusedError) as said:
                    operated.execute(True)
        return said.value.stage, said.value.add_cause

    assert await asyncio.to_thread(work) == ("select", None)  # it sends no LastApplError


async def test_a_server_that_answers_at_once_does_not_leave_the_library_stuck(rust):
    port, _ = rust

    def work():
        for _ in range(30):
            with MmsClient("127.0.0.1", port, timeout_s=3.0) as client:
                assert client.read(f"{LD}/AFSR1.SwNum.setVal") is not None

    await asyncio.to_thread(work)


# -- the command ------------------------------------------------------------------------------------------------------


def flisr(*words):
    ended = subprocess.run(
        [sys.executable, "-m", "tools.cli", "mms", *words], capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_looks_and_operates(pure):
    host = f"127.0.0.1:{pure.port}"
    _, out, _ = flisr("browse", host, "--json")
    assert BRCB in json.loads(out)[LD]["reports"]
    _, out, _ = flisr("browse", host, f"{LD}/XCBR1")
    assert f"{LD}/XCBR1.Pos.stVal[ST]" in out.split()
    status, out, _ = flisr("control", host, POSITION, "close")
    assert (status, out) == (0, f"{POSITION}: close: carried out, positive termination\n")
    _, out, _ = flisr("read", host, f"{LD}/CSWI1.Pos.stVal", f"{LD}/LLN0.loads", "--json")
    assert json.loads(out)[f"{LD}/CSWI1.Pos.stVal[ST]"] == "10"
    _, out, _ = flisr("report", host)
    assert f"{BRCB}  free" in out
    _, out, _ = flisr("report", host, BRCB, "--interrogate", "--count", "1", "--json")
    assert json.loads(out)["values"][f"{LD}/CSWI1.Pos[ST]"][2] == "10"
    pure.controls.set_check(POSITION, lambda _: AddCause.BLOCKED_BY_MODE)
    status, out, err = flisr("control", host, POSITION, "open")
    assert (status, out) == (1, "")
    assert "select: blocked by mode (AddCause 8)" in err
    status, out, _ = flisr("control", host, POSITION, "open", "--json")
    assert (status, json.loads(out)["add_cause"]) == (1, 8)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("read", "127.0.0.1:99999", "x"), "no HOST or HOST:PORT"),
        (("read", "127.0.0.1:1"), "nothing to read"),
        (("control", "127.0.0.1:1", POSITION, "perhaps"), "'perhaps' is no value"),
        (("browse", "127.0.0.1:1"), "127.0.0.1:1: connect: connection rejected"),
    ],
)
def test_the_command_says_what_is_wrong(words, said):
    status, _, err = flisr(*words)
    assert status == 2
    assert said in err
