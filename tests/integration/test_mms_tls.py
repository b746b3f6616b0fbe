"""The MMS host behind TLS: who gets in, what his certificate's name lets him do, and who holds up nobody."""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from authorities import Authority
from mms_clients import Open61850, RefusedError

import scl
from gateway.site import read_site
from ied_agents.iec61850.addcause import AddCause
from ied_agents.mms.client import MmsClient, MmsClientError
from ied_agents.mms.host_settings import HostSettings, HostTls, ServedIed
from ied_agents.mms.library import load
from ied_agents.mms.tls_line import TlsLine
from ied_agents.process.plant import PlantSettings
from ied_agents.runtime.access import Access
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.tls import client_context, server_context
from tools.demo.stage import Stage

SAMPLES = Path(scl.__file__).parent / "samples"
PATIENCE_S = 20.0
IED = "F1R3"
POSITION = f"{IED}FLISR/CSWI1.Pos"
MODE = f"{IED}FLISR/LLN0$ST$Beh$stVal"


@pytest.fixture(scope="module")
def authority(tmp_path_factory, require):
    require(shutil.which("openssl"), "no openssl command")
    made = Authority(tmp_path_factory.mktemp("pki") / "own", "own authority")
    for name in ("host", "anna", "bela", "revoked"):
        made.issue(name)
    made.issue("expired", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    made.revoke("revoked")
    return made


@pytest.fixture(scope="module")
def foreign(authority):
    made = Authority(authority.folder.parent / "foreign", "foreign authority")
    made.issue("anna")
    return made


class Hosted:
    """Agents, a host of one of them behind TLS, and what it says."""

    def __init__(self, stage, folder, authority):
        self.stage = stage
        self.number = next(number for number, agent in stage.site.agents.items() if agent.ied == IED)
        self.journal = stage.out / f"{IED}.jsonl"
        self.port = free_port()
        operator = str(stage.room / f"{self.number}.operator")
        files = authority.files("host")
        tls = HostTls(str(files.certificate), str(files.key), str(files.authority), str(files.revoked))
        served = (ServedIed(IED, "127.0.0.1", self.port, operator, str(self.journal)),)
        settings = folder / "host.json"
        settings.write_text(HostSettings(str(SAMPLES / "two_source.scd"), served, tls).to_json())
        self.log = folder / "host.log"
        with self.log.open("wb") as log:
            words = [sys.executable, "-P", "-m", "ied_agents.mms.host", str(settings)]
            self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)
        assert json.loads(self.child.stdout.readline())["kind"] == "HostReady"

    def said(self, words):
        """Wait until the host says something."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    @contextlib.contextmanager
    def client(self, files):
        """open61850 over a line of TLS."""
        with Line(self.port, client_context(files)) as line:
            made = Open61850(line.port)
            try:
                yield made
            finally:
                made.close()

    def journals(self, entry):
        """Wait until the agent's journal has it."""
        deadline = time.monotonic() + PATIENCE_S
        while entry not in self.asked():
            assert time.monotonic() < deadline, self.asked()
            time.sleep(0.05)

    def asked(self):
        """What the agent journalled of requests that name a certificate."""
        entries = [entry for entry in read_journal(self.journal) if entry["kind"] == "operator"]
        requests = [(json.loads(entry["request"]), entry["done"]) for entry in entries]
        return [
            (request["certificate"], request["request"], done) for request, done in requests if "certificate" in request
        ]


class Line:
    """Plain on one end, TLS on the other: for clients that have none of their own."""

    def __init__(self, port, context):
        self._far = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._far = context.wrap_socket(self._far)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._far.close()

    def _run(self):
        near, _ = self._listener.accept()
        other = threading.Thread(target=self._pass, args=(self._far, near))
        self._threads.append(other)
        other.start()
        self._pass(near, self._far)
        near.close()

    @staticmethod
    def _pass(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 14):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def hosted(make_lab, tmp_path, authority):
    site = read_site(SAMPLES / "two_source.toml")
    access = Access(operate=("CN=anna",))
    site = replace(site, agents={n: replace(agent, access=access) for n, agent in site.agents.items()})
    with Stage(site, tmp_path / "out", PlantSettings(), 1) as stage:
        made = Hosted(stage, tmp_path, authority)
        yield made
        made.child.terminate()
        made.child.communicate(timeout=PATIENCE_S)
        assert made.child.returncode == 0


def test_a_certificates_name_has_the_rights_that_the_site_gives_it(hosted, authority):
    with hosted.client(authority.files("anna")) as anna, hosted.client(authority.files("bela")) as bela:
        assert anna.read(MODE) == bela.read(MODE) == 1
        with pytest.raises(RefusedError) as refused:
            bela.operate(POSITION, False)
        assert refused.value.add_cause == AddCause.NO_ACCESS_AUTHORITY
        hosted.journals(("bela", "check", False))
        anna.operate(POSITION, False)
        hosted.journals(("anna", "open", True))
        assert [each for each in hosted.asked() if each[0] == "bela"] == [("bela", "check", False)]


def test_libiec61850s_own_client_gets_in_with_its_own_tls(hosted, authority):
    library, files = load(), authority.files("anna")
    pointer, text = ctypes.c_void_p, ctypes.c_char_p

    def call(name, *arguments, result=pointer, types=()):
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(types)
        return function(*arguments)

    tls = call("TLSConfiguration_create")
    mine = {"types": (pointer, text), "result": ctypes.c_bool}
    assert call("TLSConfiguration_setOwnCertificateFromFile", tls, bytes(files.certificate), **mine)
    assert call("TLSConfiguration_addCACertificateFromFile", tls, bytes(files.authority), **mine)
    key = (tls, bytes(files.key), None)
    assert call("TLSConfiguration_setOwnKeyFromFile", *key, types=(pointer, text, text), result=ctypes.c_bool)
    call("TLSConfiguration_setClientMode", tls, result=None, types=(pointer,))
    connection = call("IedConnection_createWithTlsSupport", tls, types=(pointer,))
    error = ctypes.c_int(-1)
    library.IedConnection_setConnectTimeout(connection, 10_000)
    library.IedConnection_connect(connection, ctypes.byref(error), b"127.0.0.1", hosted.port)
    assert error.value == 0
    made = library.IedConnection_readObject(connection, ctypes.byref(error), f"{IED}FLISR/LLN0.Beh.stVal".encode(), 0)
    assert (error.value, library.MmsValue_toInt64(made)) == (0, 1)
    library.MmsValue_delete(made)
    library.IedConnection_close(connection)
    library.IedConnection_destroy(connection)
    call("TLSConfiguration_destroy", tls, result=None, types=(pointer,))


def flisr_mms(files, *words):
    """``flisr mms`` over TLS."""
    argv = [sys.executable, "-P", "-m", "tools.cli", "mms", *words]
    argv += ["--certificate", files.certificate, "--key", files.key, "--authority", files.authority]
    argv += ["--revoked", files.revoked, "--timeout", "10"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False)


def test_our_own_client_asks_and_operates(hosted, authority, foreign):
    where = f"127.0.0.1:{hosted.port}"
    read = flisr_mms(authority.files("bela"), "read", where, f"{IED}FLISR/LLN0.Beh.stVal", "--json")
    assert json.loads(read.stdout) == {f"{IED}FLISR/LLN0.Beh.stVal[ST]": 1}
    refused = flisr_mms(authority.files("bela"), "control", where, POSITION, "open", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["add_cause"]) == (1, AddCause.NO_ACCESS_AUTHORITY)
    done = flisr_mms(authority.files("anna"), "control", where, POSITION, "open", "--json")
    assert (done.returncode, json.loads(done.stdout)["done"]) == (0, True)
    hosted.journals(("bela", "check", False))
    hosted.journals(("anna", "open", True))
    other = replace(foreign.files("anna"), authority=authority.folder / "ca.pem", revoked=authority.folder / "crl.pem")
    stranger = flisr_mms(other, "browse", where)
    assert stranger.returncode != 0
    assert "TLS: " in stranger.stderr
    assert "Traceback" not in stranger.stderr


@contextlib.contextmanager
def answering(with_client):
    """A server whose first client is treated so; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run():
            near, _ = server.accept()
            with near, contextlib.suppress(OSError):
                with_client(near)

        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        thread.join(PATIENCE_S)


def until_it_goes(line):
    while line.recv(100):
        pass


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("expired", r"the server's certificate has expired: renew it.*\(.*certificate has expired"),
        ("revoked", r"the server's certificate is revoked: .*\(.*certificate revoked"),
        ("foreign", r"comes from none of our authorities \(.*unable to get local issuer certificate"),
        ("plain", r"the server answers without TLS: .*\(.*WRONG_VERSION_NUMBER"),
        ("hangs up", "the server ended the handshake|[Cc]onnection reset"),
        ("silent", "the server says nothing"),
    ],
)
def test_our_own_client_refuses_a_server_and_says_why(authority, foreign, server, why):
    def secured(files):
        def with_client(near):
            with server_context(files).wrap_socket(near, server_side=True) as line:
                until_it_goes(line)

        return with_client

    def garbage(near):
        near.sendall(b"MMS, in the clear")
        until_it_goes(near)

    foreigner = replace(foreign.files("anna"), authority=authority.folder / "ca.pem", revoked=None)
    by_kind = {"foreign": secured(foreigner), "plain": garbage, "silent": until_it_goes}
    by_kind["hangs up"] = lambda near: near.recv(10_000)
    with_client = by_kind.get(server) or secured(authority.files(server))
    with answering(with_client) as port, pytest.raises(MmsClientError, match=why):
        MmsClient("127.0.0.1", port, timeout_s=1.0, tls=client_context(authority.files("anna")))


def test_where_nobody_listens_tls_is_not_blamed(authority):
    with pytest.raises(MmsClientError, match=r"connect: .*Connect call failed"):
        MmsClient("127.0.0.1", free_port(), timeout_s=1.0, tls=client_context(authority.files("anna")))


def test_nobody_elses_connection_speaks_with_our_certificate(authority):
    seen = []

    def served(near):
        with server_context(authority.files("host")).wrap_socket(near, server_side=True) as line:
            while octets := line.recv(100):
                seen.append(octets)

    other = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.sendall(b'other')"
    with answering(served) as port:
        line = TlsLine("127.0.0.1", port, client_context(authority.files("anna")), PATIENCE_S)
        # The one stays open until it is closed, the other is gone before anybody looks at it.
        for words in (other + "; print(s.recv(1) == b'')", other):
            subprocess.run([sys.executable, "-c", words, str(line.port)], check=False, capture_output=True, timeout=10)
        with socket.create_connection(("127.0.0.1", line.port), timeout=PATIENCE_S) as own:
            own.sendall(b"own")
            deadline = time.monotonic() + PATIENCE_S
            while not seen and time.monotonic() < deadline:
                time.sleep(0.01)
        line.close()
    assert b"".join(seen) == b"own"


CONNECT = bytes.fromhex("0300001611e00000000100c1020000c2020001c0010d")


def is_served(hosted, context):
    """Whether a connection request of ISO transport is answered."""
    with socket.create_connection(("127.0.0.1", hosted.port), timeout=PATIENCE_S) as plain:
        try:
            with context.wrap_socket(plain) as line:
                line.sendall(CONNECT)
                return bool(line.recv(1))
        except TimeoutError:
            raise
        except OSError:
            return False


def test_who_is_refused_and_why(hosted, authority, foreign):
    stranger = ssl.create_default_context(cafile=authority.folder / "ca.pem")
    stranger.check_hostname = False
    old = client_context(authority.files("anna"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    for end in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            setattr(old, end, ssl.TLSVersion.TLSv1_1)
    static = client_context(authority.files("anna"))
    static.maximum_version = ssl.TLSVersion.TLSv1_2
    static.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    other = client_context(replace(foreign.files("anna"), authority=authority.folder / "ca.pem", revoked=None))
    assert is_served(hosted, client_context(authority.files("anna")))
    for context, why in (
        (stranger, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (other, "unable to get local issuer certificate"),
        (client_context(authority.files("expired")), "certificate has expired"),
        (client_context(authority.files("revoked")), "certificate revoked"),
        (old, "UNSUPPORTED_PROTOCOL"),
        (static, "NO_SHARED_CIPHER"),
    ):
        assert not is_served(hosted, context)
        hosted.said(why)
    with socket.create_connection(("127.0.0.1", hosted.port), timeout=PATIENCE_S) as plain:
        plain.sendall(CONNECT)  # MMS without TLS
        with contextlib.suppress(ConnectionError):
            while plain.recv(100):
                pass
    hosted.said("WRONG_VERSION_NUMBER")


def test_who_says_nothing_in_his_handshake_holds_up_nobody(hosted, authority):
    with contextlib.ExitStack() as silent:
        for _ in range(10):
            silent.enter_context(socket.create_connection(("127.0.0.1", hosted.port)))
        began = time.monotonic()
        with hosted.client(authority.files("bela")) as bela:
            assert bela.read(MODE) == 1
        assert time.monotonic() - began < PATIENCE_S / 4
        hosted.said("refused by TLS: SSL handshake is taking longer than 10.0 seconds")


def test_connections_are_bounded(hosted, authority):
    with contextlib.ExitStack() as silent:
        for _ in range(40):
            silent.enter_context(socket.create_connection(("127.0.0.1", hosted.port)))
        hosted.said("refused: 32 connections are open")
    until = time.monotonic() + PATIENCE_S
    while True:  # once they have gone
        try:
            with hosted.client(authority.files("bela")) as bela:
                assert bela.read(MODE) == 1
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            return


def test_whoever_comes_past_tls_is_aborted(hosted, authority):
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    own = [line for line in listening.splitlines() if f"pid={hosted.child.pid}," in line]
    (inner,) = {int(line.split()[3].rpartition(":")[2]) for line in own} - {hosted.port}
    plain = socket.create_connection(("127.0.0.1", inner), timeout=PATIENCE_S)
    with plain, contextlib.suppress(ConnectionError):
        plain.sendall(CONNECT)
        while plain.recv(100):  # until it is closed
            pass
    hosted.said("aborted: it came past TLS")
    assert hosted.asked() == []
    with hosted.client(authority.files("bela")) as bela:
        assert bela.read(MODE) == 1


def test_a_host_without_its_certificate_says_so(tmp_path):
    settings = HostSettings(str(SAMPLES / "two_source.scd"), (), HostTls("no.pem", "no.key", "ca.pem"))
    (tmp_path / "host.json").write_text(settings.to_json())
    words = [sys.executable, "-P", "-m", "ied_agents.mms.host", str(tmp_path / "host.json")]
    run = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 2
    assert "no.pem" in run.stderr
    assert "Traceback" not in run.stderr


def gateway_of(folder, port, files):
    """``flisr run`` with the IED behind TLS, its site file, and its log."""
    folder.mkdir()
    (folder / "s.scd").write_bytes((SAMPLES / "two_source.scd").read_bytes())
    site = folder / "s.toml"
    text = (SAMPLES / "two_source.toml").read_text().replace("two_source.scd", "s.scd")
    names = {name: str(getattr(files, name)) for name in ("certificate", "key", "authority", "revoked")}
    tls = ", ".join(f"{name} = {json.dumps(value)}" for name, value in names.items() if value != "None")
    text += f'\n[[ied]]\nname = "{IED}"\nhost = "127.0.0.1:{port}"\ntls = {{ {tls} }}\n'
    text += f'\n[[centre]]\nname = "west"\nlisten = "127.0.0.1"\nport = {free_port()}\ncommon_address = 1\n'
    site.write_text(text)
    words = [sys.executable, "-P", "-m", "tools.cli", "run", str(site), "--json"]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)
    if not child.stdout.readline():
        child.communicate()
        raise AssertionError((folder / "log").read_text())
    return child, site


@contextlib.contextmanager
def followed(folder, port, files):
    """Asks a gateway how the IED is, until it says what is waited for."""
    child, site = gateway_of(folder, port, files)

    def until(found):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            words = [sys.executable, "-P", "-m", "tools.cli", "status", str(site), "--json"]
            said = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
            (ied,) = said["ieds"]
            if found(ied):
                return ied
            assert time.monotonic() < deadline, (ied, (folder / "log").read_text())

    try:
        yield until
    finally:
        child.terminate()
        child.communicate(timeout=PATIENCE_S)


def test_a_gateway_follows_an_ied_over_tls_and_says_why_it_does_not(hosted, authority, foreign, tmp_path):
    with followed(tmp_path / "good", hosted.port, authority.files("anna")) as until:
        assert until(lambda ied: ied["heard_ns"])["connected"]
    stranger = replace(foreign.files("anna"), authority=authority.folder / "ca.pem", revoked=None)
    with followed(tmp_path / "stranger", hosted.port, stranger) as until:
        assert "TLS: " in until(lambda ied: "TLS" in ied["why"])["why"]
    other = replace(authority.files("anna"), authority=foreign.folder / "ca.pem", revoked=None)
    with followed(tmp_path / "other", hosted.port, other) as until:
        assert "CERTIFICATE_VERIFY_FAILED" in until(lambda ied: "TLS" in ied["why"])["why"]


@contextlib.contextmanager
def serving(port, with_client):
    """A server at this port, one client after another, each treated so."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def run():
            while not over.is_set():
                with contextlib.suppress(OSError):
                    near, _ = server.accept()
                    near.settimeout(PATIENCE_S)
                    with near:
                        with_client(near)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE_S)


def test_a_gateway_says_why_it_refuses_a_server_and_comes_back_by_itself(hosted, authority, tmp_path):
    def expired(near):
        with server_context(authority.files("expired")).wrap_socket(near, server_side=True) as line:
            until_it_goes(line)

    def plain(near):
        near.sendall(b"MMS, in the clear")
        near.recv(10_000)

    def right(near):
        with socket.create_connection(("127.0.0.1", hosted.port)) as far:
            back = threading.Thread(target=Line._pass, args=(far, near))
            back.start()
            Line._pass(near, far)
            back.join(PATIENCE_S)

    port = free_port()
    with contextlib.ExitStack() as gateway:
        with serving(port, expired):
            until = gateway.enter_context(followed(tmp_path / "site", port, authority.files("anna")))
            assert not until(lambda ied: "certificate has expired: renew it" in ied["why"])["connected"]
        with serving(port, plain):
            assert not until(lambda ied: "the server answers without TLS" in ied["why"])["connected"]
        with serving(port, right):
            # Connected is said first, and only then the first value read.
            assert until(lambda ied: ied["heard_ns"])["connected"]
            gateway.close()
    log = (tmp_path / "site" / "log").read_text()
    # Once each, however often it was tried.
    assert [log.count(words) for words in ("certificate has expired: renew it", "answers without TLS")] == [1, 1]


def test_files_of_tls_that_are_not_there_are_named_before_anything_is_started(authority, tmp_path):
    files = replace(authority.files("anna"), key=tmp_path / "none.key")
    with pytest.raises(AssertionError, match=rf"ied {IED}: {tmp_path}/none.key"):
        gateway_of(tmp_path / "s", 1, files)
