"""TLS of the 104 server, as IEC 62351-3 has it: who may come in, who may not, and what the log says of it."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
import sys

import pytest
from authorities import Authority
from iec104_peers import PATIENCE_S, Peer, serving

from gateway.iec104.client import Iec104Client, Reach
from gateway.iec104.master import Asked, ControllingStation, MasterSettings
from ied_agents.runtime.tls import TlsError, TlsFiles, client_context, server_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory, require):
    require(shutil.which("openssl"), "no openssl command")
    authority = Authority(tmp_path_factory.mktemp("pki") / "own", "own authority")
    for name in ("station", "north", "south", "revoked", "stranger"):
        authority.issue(name)
    authority.issue("expired", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    authority.issue("early", "-startdate", "20680101000000Z", "-enddate", "20690101000000Z")
    authority.revoke("revoked")
    return authority


@pytest.fixture(scope="module")
def foreign(authority):
    foreign = Authority(authority.folder.parent / "foreign", "foreign authority")
    foreign.issue("north")
    return foreign


@pytest.fixture
def site(authority, caplog):
    caplog.set_level(logging.INFO, "gateway.iec104")
    return lambda: serving(
        ("north", "", ("north",)),
        ("south", "", ("south", "expired", "revoked")),
        tls=server_context(authority.files("station")),
    )


async def is_served(site, context):
    peer = await Peer.connect(site.port, ssl=context)
    await peer.start()
    assert await peer.interrogate() == site.points
    await peer.close()


async def _ask_to_start(site, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
    try:
        writer.write(bytes.fromhex("680407000000"))
        async with asyncio.timeout(PATIENCE_S):
            await reader.readexactly(6)
    finally:
        writer.transport.abort()


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.01)


async def is_refused(site, context):
    """Whoever comes so gets no octet of 104; a refusal may come with the handshake or, in TLS 1.3, behind it."""
    with pytest.raises((OSError, EOFError)):
        await _ask_to_start(site, context)
    assert not site.server._connections


def lenient(authority, name=None):
    """A client that takes every server, with a certificate or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if name is not None:
        context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    return context


def logged(caplog):
    return "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_good_certificate_works_and_its_common_name_chooses_the_centre(site, authority, caplog, version):
    async with site() as served:
        for name in ("north", "south"):
            context = client_context(authority.files(name))
            context.minimum_version = context.maximum_version = version
            await is_served(served, context)
            assert f"({name}): started" in caplog.text
            assert f"INFO {name} " in caplog.text or f"{name} 127.0.0.1" in caplog.text
        assert logged(caplog) == ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "peer did not return a certificate"),
        ("expired", "certificate has expired"),
        ("early", "certificate is not yet valid"),
        ("revoked", "certificate revoked"),
        ("stranger", "of no control centre"),
        ("foreign", "certificate verify failed"),
    ],
)
async def test_who_may_not_come_in_is_refused_and_logged(site, authority, foreign, caplog, name, reason, version):
    context = lenient(foreign, "north") if name == "foreign" else lenient(authority, name)
    context.minimum_version = context.maximum_version = version
    async with site() as served:
        await is_refused(served, context)
        await until(lambda: reason in logged(caplog).lower())
        assert "127.0.0.1:" in logged(caplog)
        await is_served(served, client_context(authority.files("north")))


async def test_tls_1_1_is_refused(site, authority, caplog):
    context = lenient(authority, "north")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with site() as served:
        await is_refused(served, context)
        assert "unsupported protocol" in logged(caplog).lower()


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256", "NULL"])
async def test_a_weak_cipher_is_refused(site, authority, caplog, cipher):
    context = lenient(authority, "north")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{cipher}:@SECLEVEL=0")
    async with site() as served:
        await is_refused(served, context)
        assert "no shared cipher" in logged(caplog).lower()


async def test_plain_tcp_where_tls_is_wanted(site, caplog):
    async with site() as served:
        peer = await Peer.connect(served.port)
        peer.writer.write(bytes.fromhex("680407000000"))
        await peer.closed()
        assert "refused by TLS" in logged(caplog)


async def test_who_hangs_up_in_the_handshake_is_logged_with_a_reason(site, caplog):
    async with site() as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.close()
        await until(lambda: "refused by TLS" in logged(caplog))
        assert not logged(caplog).endswith("TLS: ")


async def test_what_is_said_with_the_handshake_is_not_lost(site, authority):
    async with site() as served:
        context = client_context(authority.files("north"))
        peer = await Peer.connect(served.port, ssl=context)
        peer.writer.write(bytes.fromhex("680407000000"))  # the server may still be at its end of the handshake
        assert await peer.reader.readexactly(6) == bytes.fromhex("68040b000000")
        await peer.close()


async def test_handshakes_that_never_end_keep_out_nobody_else(site, authority, caplog):
    async with site() as served:
        silent = []
        for number in range(40):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.9", 0))
            silent.append((number, writer))
        await is_served(served, client_context(authority.files("north")))
        assert "16 of this address" in logged(caplog)
        for _, writer in silent:
            writer.transport.abort()


async def test_a_certificate_is_only_looked_at_where_the_address_may_come_from(authority, caplog):
    tls = server_context(authority.files("station"))
    async with serving(("north", "127.0.0.1/32", ("north",)), tls=tls) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0))
        await until(lambda: "of no control centre" in logged(caplog))
        writer.transport.abort()
        await is_served(served, client_context(authority.files("north")))


async def test_our_client_and_a_station_that_it_may_not_trust(site, authority, foreign, caplog):
    caplog.set_level(logging.INFO, "gateway.iec104.client")
    async with site() as served:
        for files, good in ((foreign.files("north"), False), (authority.files("north"), True)):
            events = []
            reach = Reach("device", (("127.0.0.1", served.port),), client_context(files), first_s=0.01)
            client = Iec104Client(reach, ControllingStation(MasterSettings((1,))), events.append)
            client.start()
            if good:
                await until(lambda events=events: any(isinstance(each, Asked) for each in events))
            else:
                await until(lambda: "verify failed" in caplog.text)
            await client.close()
            assert good or not events


@pytest.mark.parametrize("field", ["certificate", "key", "authority", "revoked"])
def test_files_that_cannot_be_used_are_named(authority, tmp_path, field):
    files = authority.files("station")
    for content in (None, b"no pem"):
        bad = tmp_path / f"bad-{field}"
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(TlsError, match=f"bad-{field}"):
            server_context(TlsFiles(**{**{n: getattr(files, n) for n in files.__slots__}, field: bad}))


def test_a_key_with_a_password_or_of_another_certificate_is_refused(authority):
    files = authority.files("station")
    folder = authority.folder
    argv = ["openssl", "ec", "-in", "station.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    with pytest.raises(TlsError, match="password"):
        server_context(TlsFiles(files.certificate, folder / "locked.key", files.authority))
    with pytest.raises(TlsError, match="no certificate with its key"):
        server_context(TlsFiles(files.certificate, folder / "north.key", files.authority))
    with pytest.raises(TlsError, match="no revocation list"):
        server_context(TlsFiles(files.certificate, files.key, files.authority, files.authority))


def test_the_command_line_speaks_tls_too(authority, foreign):
    def words(kind, files, *more):
        given = ("--certificate", files.certificate, "--key", files.key, "--authority", files.authority)
        flisr = (sys.executable, "-P", "-m", "tools.cli", "104", kind)
        return [str(word) for word in (*flisr, *more, *given, "--revoked", files.revoked)]

    command = words("outstation", authority.files("station"), "--port", "0", "--json")
    outstation = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        where = f"127.0.0.1:{json.loads(outstation.stdout.readline())['port']}"
        order = ("--command", "1:50001:59=close", "--select", "--seconds", "5")
        for files, status in ((authority.files("north"), 0), (foreign.files("north"), 2)):
            run = subprocess.run(words("master", files, where, *order), capture_output=True, text=True, check=False)
            assert run.returncode == status, run.stderr
    finally:
        outstation.terminate()
        log = outstation.communicate(timeout=PATIENCE_S)[1]
    assert "(north): connected" in log
    assert "refused by TLS" in log
