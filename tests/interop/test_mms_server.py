"""Our MMS server before clients of three makers: iec61850 (Rust), open61850 (Python) and libiec61850 (C)."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import threading
import time

import pytest
from iec61850 import FC, ControlModel, IedConnection, OriginValue, RcbWriteMask
from mms_clients import CLIENTS, RefusedError, wait_for
from open61850.mms.client import MmsClient
from open61850.mms.errors import MmsError

from ied_agents.iec61850.addcause import AddCause
from ied_agents.iec61850.data import BitString, Unsigned
from ied_agents.iec61850.dbpos import Dbpos
from ied_agents.iec61850.utctime import UtcTime
from ied_agents.mms.client import MmsClient as NativeClient
from ied_agents.mms.client import MmsClientError
from ied_agents.mms.client_report import ReportQueue, Subscription
from ied_agents.mms.library import load
from ied_agents.mms.server import MOST_CLIENTS, MmsServer, MmsServerError
from scl.generate import generate_scd
from scl.reader import parse
from scl.sample import TWO_SOURCE

IED = "F1Q1"
LD = f"{IED}FLISR"
BRCB = f"{LD}/LLN0.BR.brcbStatus01"
POSITION = f"{LD}/CSWI1.Pos"
SCL = parse(generate_scd(TWO_SOURCE))
NODES = {"LLN0", "LPHD1", "XCBR1", "CSWI1", "PTOC1", "PTRC1", "RBRF1", "LTMS1", "AFSR1"} | {
    f"LGOS{number}" for number in range(1, 19)
}
THEN_NS = 1_600_000_000_250_000_000
REMOTE = OriginValue(or_cat=3, or_ident=b"test")


class Scripted:
    """Decides as a test says, and remembers what was asked."""

    def __init__(self):
        self.refusal = AddCause.NONE
        self.start_refusal = AddCause.NONE
        self.ends = AddCause.NONE
        self.asked = []

    def check(self, request):
        self.asked.append(request)
        return self.refusal

    def start(self, request):
        self.asked.append(request)
        return self.start_refusal

    def outcome(self, request):
        return self.ends


class Served:
    """A server with a thread that drives it."""

    def __init__(self):
        self.controls = Scripted()
        self.server = MmsServer(load(), SCL, IED, self.controls)
        self.port = free_port()
        self._waiting = []
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self.server.start("127.0.0.1", self.port)
        self._thread.start()
        return self

    def _run(self):
        while not self._stop:
            while self._waiting:
                self.server.update(self._waiting.pop(0))
            self.server.process()
            time.sleep(0.002)

    def update(self, **values):
        """Only the thread that drives the server touches it."""
        self._waiting.append({f"FLISR/{name.replace('__', '.')}": value for name, value in values.items()})
        while self._waiting:
            time.sleep(0.002)

    def close(self):
        self._stop = True
        if self._thread.is_alive():
            self._thread.join()
        self.server.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def served():
    made = Served()
    yield made.start()
    made.close()


@pytest.fixture
async def rust(served):
    client = await IedConnection.connect(f"127.0.0.1:{served.port}")
    yield client
    await client.disconnect()


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS)
def connect(request, served):
    """``connect()``: another client of one maker."""
    made = []

    def connect(**how):
        made.append(request.param(served.port, **how))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(connect):
    return connect()


def moved(position, t_ns):
    return {
        "XCBR1__Pos__t": UtcTime.from_ns(t_ns).encode(),
        "XCBR1__Pos__q": 0,
        "XCBR1__Pos__stVal": position,
    }


# -- browse and read --------------------------------------------------------------------------------------------------


async def test_a_client_browses_what_the_scd_describes(rust):
    assert await rust.get_server_directory() == [LD]
    nodes = await rust.get_logical_device_directory(LD)
    assert set(nodes) == NODES
    model = (await rust.get_device_model())["logical_devices"][0]["variables"]
    assert {"XCBR1$ST$Pos$stVal", "CSWI1$CO$Pos$SBOw$origin$orCat", "AFSR1$ST$SideA$st$lock"} <= set(model)


def test_other_clients_browse_it_too(client):
    assert client.nodes(LD) == NODES


def test_data_sets_have_the_members_of_the_scd(client):
    ln0 = next(ied for ied in SCL.ieds if ied.name == IED).ldevice("FLISR").ln0
    for data_set in ln0.datasets:
        expected = [
            "$".join(name for name in (f"{f.prefix}{f.lnClass}{f.lnInst}", f.fc, f.doName, f.daName) if name)
            for f in data_set.members
        ]
        assert client.members(LD, data_set.name) == expected


GIVEN = {**moved(Dbpos.ON, THEN_NS), "AFSR1__SideB__st__lock": 2, "AFSR1__SideB__st__lockCnt": 4_000_000_000}


async def test_values_are_read_as_they_were_given(served, rust):
    served.update(**GIVEN)
    assert await rust.read(f"{LD}/XCBR1.Pos.stVal", FC.ST) == b"\x80"
    assert await rust.read_timestamp(f"{LD}/XCBR1.Pos.t", FC.ST) is not None
    assert await rust.read(f"{LD}/AFSR1.SideB.st.lock", FC.ST) == 2
    assert await rust.read(f"{LD}/AFSR1.SideB.st.lockCnt", FC.ST) == 4_000_000_000
    assert await rust.read(f"{LD}/CSWI1.Pos.ctlModel", FC.CF) == 4
    assert await rust.read(f"{LD}/AFSR1.SwNum.setVal", FC.SP) == 1


def test_other_clients_read_the_same(served, client):
    served.update(**GIVEN)
    expected = {
        "XCBR1$ST$Pos$stVal": b"\x80",
        "AFSR1$ST$SideB$st$lock": 2,
        "AFSR1$ST$SideB$st$lockCnt": 4_000_000_000,
        "CSWI1$CF$Pos$ctlModel": 4,
        "AFSR1$SP$SwNum$setVal": 1,
        "LGOS2$SP$GoCBRef$setSrcRef": "F1L2FLISR/LLN0.gcbSlow",
    }
    assert {item: int_or_octets(client.read(f"{LD}/{item}")) for item in expected} == expected


def int_or_octets(value):
    return value if isinstance(value, bytes | str) else int(value)


def test_the_elements_of_an_array_of_structures_are_read(served):
    served.update(**{"AFSR1__Ans__ans(3)__sw": 7, "AFSR1__Ans__ans(3)__pkp": 9})
    with MmsClient.connect("127.0.0.1", served.port) as pure:
        answers = pure.read(f"{LD}/AFSR1$ST$Ans$ans")
    assert len(answers.elements) == 8
    assert [leaf.value for leaf in answers.elements[3].members] == [7, 0, 9, 0]


def test_five_clients_are_served_at_once_and_a_sixth_is_not(connect):
    clients = [connect() for _ in range(MOST_CLIENTS)]
    for client in clients:
        assert int(client.read(f"{LD}/AFSR1$SP$SwNum$setVal")) == 1
    with pytest.raises((MmsError, MmsClientError)):
        connect(timeout_s=1.0)


# -- reports ----------------------------------------------------------------------------------------------------------


def test_what_changed_before_the_client_came_is_reported_with_its_time(served, client):
    for number, place in enumerate((Dbpos.ON, Dbpos.OFF, Dbpos.ON)):
        served.update(**moved(place, THEN_NS + number * 10**9))
        time.sleep(0.06)  # bufTm: what changes within it goes into one entry
    reports = wait_for(client.enable(BRCB), 3)
    assert [one.t for one in reports] == [pytest.approx(THEN_NS / 1e9 + number, abs=1e-6) for number in range(3)]
    assert [one.value for one in reports] == [b"\x80", b"\x40", b"\x80"]


def test_a_client_that_was_away_asks_for_what_came_after_the_last_entry_it_has(served, connect):
    first = connect()
    reports = first.enable(BRCB)
    served.update(**moved(Dbpos.ON, THEN_NS))
    last = wait_for(reports, 1)[-1].entryID
    first.close()
    time.sleep(0.2)
    for number, place in enumerate((Dbpos.OFF, Dbpos.ON)):
        served.update(**moved(place, THEN_NS + (5 + number) * 10**9))
        time.sleep(0.06)
    missed = wait_for(connect().enable(BRCB, after=last), 2)
    time.sleep(0.2)
    assert [one.value for one in missed] == [b"\x40", b"\x80"]
    assert last not in [one.entryID for one in missed]


def test_after_an_entry_that_is_gone_all_that_is_buffered_comes(served):
    served.update(**moved(Dbpos.ON, THEN_NS))
    reports = ReportQueue()
    with NativeClient("127.0.0.1", served.port) as client:
        assert not Subscription(client, BRCB, reports.put, after=bytes([9] * 8)).resumed
        assert f"{LD}/XCBR1.Pos[ST]" in reports.get(3.0).values


async def test_another_kind_of_client_gets_reports_too(served, rust):
    got = asyncio.Queue()
    loop = asyncio.get_running_loop()
    handle = await rust.get_rcb_values(BRCB)
    await rust.install_report_handler(
        BRCB, lambda r: loop.call_soon_threadsafe(got.put_nowait, r), rpt_id=handle.rpt_id
    )
    handle.rpt_ena = True
    await rust.set_rcb_values(handle, RcbWriteMask.fields("rpt_ena"))
    dispatcher = rust.spawn_report_dispatcher(20)
    await asyncio.to_thread(served.update, **moved(Dbpos.ON, THEN_NS))
    told = await asyncio.wait_for(got.get(), 5)
    assert told.dataset_name == f"{LD}/LLN0$status"
    dispatcher.stop()


# -- controls ---------------------------------------------------------------------------------------------------------


async def select_and_operate(rust, value):
    handle = rust.create_control_object(POSITION, ControlModel.SBO_ENHANCED)
    handle.set_origin(REMOTE)
    selected = await handle.select_with_value(value)
    return selected, await handle.operate(value) if selected.success else None


async def test_an_accepted_control_ends_with_a_positive_termination_and_says_who_asked(served, rust):
    selected, operated = await select_and_operate(rust, True)
    assert (selected.success, operated.success) == (True, True)
    select, check, start = served.controls.asked
    assert (select.select, check.select) == (True, False)
    assert (select.reference, select.value, select.orCat, select.test) == ("FLISR/CSWI1.Pos", 1, 3, False)
    assert (select.orIdent, select.peer.partition(":")[0]) == ("test", "127.0.0.1")
    assert start.value == 1


def refused(client, **how):
    with pytest.raises(RefusedError) as said:
        client.operate(POSITION, True, **how)
    return said.value.stage, said.value.add_cause


def test_other_clients_operate_it_too(served, client):
    client.operate(POSITION, True, orCat=3)
    select, check, start = served.controls.asked
    assert (select.select, check.select) == (True, False)
    assert (start.reference, start.value, start.orCat, start.test) == ("FLISR/CSWI1.Pos", 1, 3, False)


CAUSES = [AddCause.BLOCKED_BY_INTERLOCKING, AddCause.BLOCKED_BY_MODE, AddCause.BLOCKED_BY_SWITCHING_HIERARCHY]


@pytest.mark.parametrize("cause", CAUSES)
def test_a_refused_select_carries_its_cause(served, client, cause):
    served.controls.refusal = cause
    assert refused(client) == ("select", cause)


async def test_a_refused_select_of_another_kind_of_client(served, rust):
    served.controls.refusal = AddCause.BLOCKED_BY_MODE
    selected, _ = await select_and_operate(rust, True)
    assert not selected.success


@pytest.mark.parametrize("member", ["start_refusal", "ends"])
def test_what_fails_after_it_was_permitted_ends_with_a_negative_termination(served, client, member):
    setattr(served.controls, member, AddCause.TIME_LIMIT_OVER)
    assert refused(client) == ("termination", AddCause.TIME_LIMIT_OVER)


def test_the_termination_waits_for_the_outcome(served, client):
    served.controls.ends = None

    def confirm():
        time.sleep(0.5)
        served.controls.ends = AddCause.NONE

    threading.Thread(target=confirm).start()
    begun = time.monotonic()
    client.operate(POSITION, True)
    assert time.monotonic() - begun >= 0.4


def test_a_client_that_goes_away_while_it_waits_leaves_nothing_behind(served, client, connect):
    served.controls.ends = None
    leaving = connect()
    assert refused(leaving, termination_s=0.2) == ("termination", None)
    leaving.close()
    time.sleep(0.2)
    served.controls.ends = AddCause.NONE
    time.sleep(0.2)
    served.controls.asked.clear()
    client.operate(POSITION, True)
    assert len(served.controls.asked) == 3, "select, operate, start"


def test_an_operate_without_a_select_is_refused_and_nobody_is_asked(served, client):
    assert refused(client, select=False) == ("operate", AddCause.OBJECT_NOT_SELECTED)
    assert served.controls.asked == []


def test_the_test_flag_arrives(served, client):
    client.operate(POSITION, True, test=True)
    assert [asked.test for asked in served.controls.asked] == [True, True, True]


def test_a_decider_that_fails_refuses(served, client, capfd):
    served.controls.check = None
    stage, add_cause = refused(client)
    assert (stage, add_cause or AddCause.UNKNOWN) == ("select", AddCause.UNKNOWN)
    assert "TypeError" in capfd.readouterr().err


# -- what does not start ----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named(served):
    other = Served()
    other.port = served.port
    with pytest.raises(MmsServerError, match=f"{IED}: cannot listen on 127.0.0.1 port {served.port}"):
        other.server.start("127.0.0.1", other.port)
    other.close()


def test_what_the_conformance_statement_excludes_is_refused(served):
    """Data sets are not made, values not written, and there are no files."""
    library = load()
    with NativeClient("127.0.0.1", served.port) as native:
        before = native.data_set_members(f"{LD}/LLN0.status")
        error = ctypes.c_int()
        for name, arguments in (
            ("createDataSet", (f"{LD}/LLN0.mine".encode(), _list(library, f"{LD}/XCBR1.Pos.stVal[ST]"))),
            ("deleteDataSet", (f"{LD}/LLN0.status".encode(),)),
            ("getFileDirectory", (b"",)),
            ("deleteFile", (b"x",)),
        ):
            function = getattr(library, f"IedConnection_{name}")
            function.restype = ctypes.c_void_p if name == "getFileDirectory" else ctypes.c_bool
            function.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)] + [
                ctypes.c_char_p if isinstance(each, bytes) else ctypes.c_void_p for each in arguments
            ]
            with native.held(name) as handle:
                function(handle, ctypes.byref(error), *arguments)
            assert error.value, name
        assert native.data_set_members(f"{LD}/LLN0.status") == before
        for item, value in (("XCBR1$ST$Pos$stVal", BitString(2, 2)), ("CSWI1$CF$Pos$ctlModel", 1)):
            was = native.read(f"{LD}/{item}")
            with pytest.raises(MmsClientError):
                native.write(f"{LD}/{item}", value)
            assert native.read(f"{LD}/{item}") == was


def _list(library, *texts):
    library.LinkedList_create.restype = ctypes.c_void_p
    library.LinkedList_add.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    made = library.LinkedList_create()
    for text in texts:
        library.LinkedList_add(made, ctypes.cast(ctypes.c_char_p(text.encode()), ctypes.c_void_p))
    return made


def test_reports_come_by_interrogation_and_periodically_with_all_optional_fields(served):
    options = frozenset(("seqNum", "timeStamp", "reasonCode", "dataSet", "dataRef", "bufOvfl", "entryID", "configRef"))
    reports = ReportQueue()
    with NativeClient("127.0.0.1", served.port) as native:
        native.write(f"{LD}/LLN0$BR$brcbStatus01$IntgPd", Unsigned(200))
        Subscription(
            native, BRCB, reports.put, triggers=frozenset(("dchg", "period", "gi")), options=options, interrogate=True
        )
        reasons = set()
        until = time.monotonic() + 5.0
        while {"gi", "period"} - reasons and time.monotonic() < until:
            report = reports.get(1.0)
            if report is not None:
                reasons |= set(report.reasons.values())
                assert (report.seqNum is None, report.time_ms is None, report.entryID is None) == (False,) * 3
    assert reasons == {"gi", "period"}
