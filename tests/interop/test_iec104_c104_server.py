"""Our IEC 60870-5-104 client at c104's server.

All that ours sends in each test is read by tshark afterwards, and must be there what we meant, without a complaint.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from c104_peers import (
    CONTROLS,
    COUNTERS,
    MONITORED,
    PATIENCE_S,
    PROTECTION,
    REFUSED,
    REFUSED_TAGGED,
    SELECTED,
    SELECTED_TAGGED,
    TO_REFUSE,
    TO_SELECT,
    UTC_NS,
    as_ours,
    commands,
    expected,
    u_frames,
    vectors,
    wire,
)

from gateway.iec104.apci import UFunction
from gateway.iec104.asdu import Cause, TypeID, tag_of
from gateway.iec104.link import LinkConfig
from gateway.iec104.master import Asked, Lost, ObjectsReceived
from gateway.iec104.time_tag import TimeBase
from ied_agents.runtime.tls import TlsFiles, client_context

ROOT = Path(__file__).parents[2]
UTC = TimeBase("UTC")


async def test_their_server_tells_us_every_type_value_quality_and_time(stage):
    server, recorder = await stage.their_server()
    master = await stage.master(recorder, interrogate=False)
    count = 0
    for ioa, kind in MONITORED.items():
        for number, (value, qualifier, elapsed_ms) in enumerate(vectors(kind)):
            more = {"qualifier": qualifier, "elapsed_ms": elapsed_ms, "at_ms": UTC_NS // 10**6 + number}
            assert await server.ask("set", ioa=ioa, value=wire(value), cause="SPONTANEOUS", **more)
            count += 1
    await master.until(lambda: len(master.told(Cause.SPONTANEOUS)) >= count)
    for ioa, kind in MONITORED.items():
        told = [(typeID, one) for typeID, one in master.told(Cause.SPONTANEOUS) if ioa == one.IOA]
        assert {typeID.name for typeID, _ in told} == {kind}
        times = [one.time and UTC.decode(one.time) for _, one in told]
        assert [(o.value, o.qualifier, o.elapsed_ms, t) for (_, o), t in zip(told, times, strict=True)] == [
            (value, as_c104_sends(kind, qualifier), *rest) for value, qualifier, *rest in expected(kind)
        ]


def as_c104_sends(kind, qualifier):
    """c104 leaves out the quality of bit strings, and exchanges CY and CA of counters."""
    if kind.startswith("M_BO"):
        return 0
    if kind.startswith("M_IT"):
        return qualifier & 0x9F | (qualifier & 0x20) << 1 | (qualifier & 0x40) >> 1
    return qualifier


async def test_we_interrogate_their_server(stage):
    server, recorder = await stage.their_server()
    for ioa, kind in MONITORED.items():
        assert await server.ask("set", ioa=ioa, value=wire(vectors(kind)[1][0]), at_ms=UTC_NS // 10**6)
    master = await stage.master(recorder, counters=True, clock_s=3600.0, originator=5)
    await master.until(lambda: len(master.of(Asked)) >= 3)
    assert {(a.typeID, a.why) for a in master.of(Asked)} == {
        (TypeID.C_CS_NA_1, ""),
        (TypeID.C_IC_NA_1, ""),
        (TypeID.C_CI_NA_1, ""),
    }
    # c104 tells what has a time with it, and leaves these two out.
    told = {one.IOA: one.value for _, one in master.told(Cause.INTERROGATED)}
    assert told == {
        ioa: vectors(kind)[1][0]
        for ioa, kind in MONITORED.items()
        if ioa not in COUNTERS | PROTECTION and kind not in {"M_ME_ND_1", "M_PS_NA_1"}
    }
    counted = {one.IOA: one.value for _, one in master.told(Cause.COUNTER_GENERAL)}
    assert counted == {ioa: vectors(MONITORED[ioa])[1][0] for ioa in COUNTERS}
    (clock,) = [m for m in await server.heard(lambda said: any("clock_ms" in m for m in said)) if "clock_ms" in m]
    assert clock["clock_ms"] <= time.time_ns() // 10**6
    # It has no groups; and says so.
    assert (await master.asks("interrogate", master.client.now(), group=3)).why == "refused"
    assert (await master.asks("count", master.client.now(), request=1)).why == "refused"
    for freeze in (1, 2, 3):
        assert not (await master.asks("count", master.client.now(), freeze=freeze)).why
    assert not (await master.asks("test", master.client.now(), time.time_ns())).why
    assert (await master.asks("reset", master.client.now())).why
    assert not (await master.asks("set_clock", master.client.now(), UTC_NS)).why
    await server.heard(lambda said: any(m.get("clock_ms") == UTC_NS // 10**6 for m in said))
    assert {asdu.originator for asdu in recorder.asdus(from_server=False)} == {5}


async def test_we_read_at_their_server(stage):
    server, recorder = await stage.their_server()
    master = await stage.master(recorder, interrogate=False)
    for ioa, kind in MONITORED.items():
        if ioa in COUNTERS | PROTECTION:  # c104 answers no read of these
            continue
        value, qualifier, elapsed_ms = vectors(kind)[1]
        await server.ask(
            "set", ioa=ioa, value=wire(value), qualifier=qualifier, elapsed_ms=elapsed_ms, at_ms=UTC_NS // 10**6
        )
        master.station.read(1, ioa, master.client.now())
        master.client.flush()
        await master.until(lambda ioa=ioa: any(ioa == one.IOA for _, one in master.told(Cause.REQUESTED)))
        ((typeID, one),) = [(t, one) for t, one in master.told(Cause.REQUESTED) if ioa == one.IOA]
        assert (typeID.name, one.value, one.qualifier) == (kind, value, as_c104_sends(kind, qualifier))
        assert (one.time is not None) == (tag_of(typeID) is not None)
    unread = (*COUNTERS, *PROTECTION, 999)
    for ioa in unread:
        master.station.read(1, ioa, master.client.now())
    master.client.flush()
    # All refusals before the next question: its own end is what is asked for below.
    await master.until(lambda: sum(bool(asked.why) for asked in master.of(Asked)) == len(unread))
    assert {asked.qualifier: asked.why for asked in master.of(Asked) if asked.why} == dict.fromkeys(unread, "refused")
    assert not (await master.asks("test", master.client.now(), time.time_ns())).why


async def test_their_server_reports_by_itself(stage):
    server, recorder = await stage.their_server(periodic={7: 100}, returns={101: 1})
    master = await stage.master(recorder)
    await master.until(lambda: len(master.told(Cause.PERIODIC)) >= 2)
    assert {(typeID, one.IOA) for typeID, one in master.told(Cause.PERIODIC)} == {(TypeID.M_ME_NC_1, 7)}
    assert await server.ask("set", ioa=17, value=2.5, cause="BACKGROUND_SCAN")
    await master.until(lambda: any(one.value == 2.5 for _, one in master.told(Cause.BACKGROUND)))
    for ioa in (5, 6):
        await server.ask("set", ioa=ioa, value={5: 0.5, 6: 6}[ioa])
        assert await server.ask("batch", ioas=[ioa])
    await master.until(lambda: {(5, 0.5), (6, 6)} <= {(o.IOA, o.value) for _, o in master.told(Cause.SPONTANEOUS)})
    assert (await master.command(101, TypeID.C_SC_NA_1, True, terminated=False)).done
    await master.until(lambda: [one.IOA for _, one in master.told(Cause.RETURN_REMOTE)] == [1])
    # After its initialisation it is interrogated again.
    before = len(master.of(Asked))
    assert await server.ask("initialized", cause="REMOTE_RESET")
    await master.until(lambda: len(master.of(Asked)) > before)
    (ended,) = (e.asdu for e in master.of(ObjectsReceived) if e.asdu.typeID == TypeID.M_EI_NA_1)
    assert (ended.cause, ended.objects[0].qualifier) == (Cause.INITIALISED, 2)


async def test_their_server_takes_our_commands_and_refuses(stage):
    server, recorder = await stage.their_server()
    master = await stage.master(recorder, interrogate=False, originator=9)
    for ioa, kind, value, qualifier, ours in commands():
        select = ioa in TO_SELECT
        ended = await master.command(ioa, TypeID[kind], value, qualifier=ours, select=select, terminated=False)
        assert (ended.done, ended.why) == ((False, "refused") if ioa in TO_REFUSE else (True, "")), (kind, value)
        (message,) = await server.heard(lambda said: said)
        got = as_ours(message)
        assert (message["ioa"], message["type"], message["originator"]) == (ioa, kind, 9)
        assert got[:2] == (value, qualifier)
        assert (got[3] is not None) == (tag_of(TypeID[kind]) is not None)
    for ioa in (SELECTED, SELECTED_TAGGED):
        assert (await master.command(ioa, TypeID[CONTROLS[ioa]], 1, terminated=False)).why == "refused"
    for ioa in (REFUSED, REFUSED_TAGGED):
        ended = await master.command(ioa, TypeID[CONTROLS[ioa]], 1, terminated=False)
        assert (ended.stage, ended.why) == ("execute", "refused")
    assert not (await master.command(999, TypeID.C_DC_NA_1, 1, terminated=False)).done
    assert not (await master.command(1, TypeID.C_SC_NA_1, True, terminated=False)).done


async def test_a_command_that_their_server_does_not_terminate_may_have_moved(stage):
    _, recorder = await stage.their_server()
    master = await stage.master(recorder, interrogate=False, terminate_s=0.5)
    ended = await master.command(102, TypeID.C_DC_NA_1, 2)
    assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)


async def test_we_interrogate_many_at_their_server(stage):
    count = 5000
    server, recorder = await stage.their_server(
        monitored=dict.fromkeys(range(1, count + 1), "M_ME_NB_1"), controls={}, selected=()
    )
    assert await server.ask("set", ioa=count, value=4321)
    master = await stage.master(recorder, link=LinkConfig(k=4, w=2))
    (asked,) = await master.until(lambda: master.of(Asked))
    assert asked.why == ""
    told = {one.IOA: one.value for _, one in master.told(Cause.INTERROGATED)}
    assert told == dict.fromkeys(range(1, count), 0) | {count: 4321}


async def all_gone(server):
    until = time.monotonic() + PATIENCE_S
    while await server.ask("open") != [0, 0]:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_several_of_us_at_their_server_and_stopped_in_good_order(stage):
    server, recorder = await stage.their_server()
    masters = [await stage.master(recorder) for _ in range(3)]
    for master in masters:
        await master.until(lambda master=master: master.of(Asked))
    for number in range(100):
        assert await server.ask("set", ioa=6, value=number, cause="SPONTANEOUS")
    for master in masters:
        await master.until(lambda master=master: len(master.told(Cause.SPONTANEOUS)) >= 100)
        assert [one.value for _, one in master.told(Cause.SPONTANEOUS)] == list(range(100))
        await master.client.close()
    ours, theirs = u_frames(recorder, from_server=False), u_frames(recorder, from_server=True)
    assert ours == [UFunction.STARTDT_ACT, UFunction.STOPDT_ACT] * 3
    assert theirs == [UFunction.STARTDT_CON, UFunction.STOPDT_CON] * 3
    await all_gone(server)


async def test_idle_links_to_their_server_are_tested(stage):
    _, recorder = await stage.their_server(parameters={"keep_alive_interval": 60})
    await stage.master(recorder, link=LinkConfig(t3_s=1.0))
    until = time.monotonic() + PATIENCE_S
    while u_frames(recorder, from_server=True).count(UFunction.TESTFR_CON) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    _, second = await stage.their_server(parameters={"keep_alive_interval": 1})
    await stage.master(second)
    while u_frames(second, from_server=False).count(UFunction.TESTFR_CON) < 2:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_we_come_back_to_their_server_that_was_killed(stage):
    server, recorder = await stage.their_server()
    master = await stage.master(recorder)
    for times in (1, 2):
        await master.until(lambda times=times: len([a for a in master.of(Asked) if not a.why]) >= times)
        await server.kill()
        await master.lost(times)
        with pytest.raises(ValueError, match="not connected"):
            await master.command(102, TypeID.C_DC_NA_1, 2)
        server, _ = await stage.their_server()
        recorder.target = server.ready["port"]
        await master.started(times + 1)
    assert (await master.command(102, TypeID.C_DC_NA_1, 2, terminated=False)).done
    # And where the network fails under a command, that is what is said.
    command = asyncio.create_task(master.command(107, TypeID.C_BO_NA_1, 1))
    await server.heard(lambda said: any(message.get("ioa") == 107 for message in said))
    recorder.cut()
    ended = await command
    assert (ended.done, ended.stage, ended.moving) == (False, "termination", True)
    await master.started(4)
    assert len(master.of(Lost)) == 3


async def test_their_server_outlives_our_client_that_was_killed(stage):
    server, recorder = await stage.their_server()
    words = (sys.executable, "-c", "from tools.cli import main; main()", "104", "master", f"127.0.0.1:{recorder.port}")
    for number in (11, 22):
        assert await server.ask("set", ioa=6, value=number)
        pipe = asyncio.subprocess.PIPE
        ours = await asyncio.create_subprocess_exec(*words, "--json", stdout=pipe, cwd=ROOT)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (line := await ours.stdout.readline()) and not told(json.loads(line), 6, number):
                    pass
                assert line, "our client has ended"
        finally:
            ours.kill()
            await ours.wait()
    await all_gone(server)


def told(document, IOA, value):
    return IOA in document.values() and value in document.values()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory, require):
    """Files of two stations of one authority."""
    require(shutil.which("openssl"), "no openssl command")
    folder = tmp_path_factory.mktemp("pki")
    own = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    (folder / "openssl.cnf").write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n"
        f"keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n[own]\n{own}"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )

    def make(name, extensions, *issuer):
        words = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "9",
        ]
        words += ["-config", "openssl.cnf", "-subj", f"/CN={name}", "-extensions", extensions, *issuer]
        subprocess.run(
            [*words, "-keyout", f"{name}.key", "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True
        )
        return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "authority.pem")

    make("authority", "ca")
    return [make(name, "own", "-CA", "authority.pem", "-CAkey", "authority.key") for name in ("ours", "theirs")]


def as_c104_has_it(files, version):
    return {
        "certificate": str(files.certificate),
        "key": str(files.key),
        "authority": str(files.authority),
        "version": version,
    }


# The other way round is not possible: c104 2.2.1's client gives its TLS library no host name, and that then refuses any
# server (mbedTLS -0x5D80), whatever is to be validated; that of the openssl command too.
@pytest.mark.parametrize("version", ["TLS_1_2", "TLS_1_3"])
async def test_our_client_at_their_server_over_tls(stage, certificates, version):
    ours_files, their_files = certificates
    server, recorder = await stage.their_server(tls=as_c104_has_it(their_files, version))
    master = await stage.master(recorder, tls=client_context(ours_files))
    (asked,) = await master.until(lambda: master.of(Asked))
    assert not asked.why
    for number in range(500):
        assert await server.ask("set", ioa=6, value=number, cause="SPONTANEOUS")
    await master.until(lambda: len(master.told(Cause.SPONTANEOUS)) >= 500)
    assert (await master.command(SELECTED, TypeID.C_DC_NA_1, 2, select=True, terminated=False)).done
