"""How a running gateway is: by ``flisr status``, by Prometheus; disturbed by nobody who connects."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import pytest
from iec104_field_site import PATIENCE_S, until
from prometheus_client.parser import text_string_to_metric_families
from site_world import OFF, ON, SITE, free_port, world

from gateway.bounded_server import MOST, BoundedServer
from tools.status_command import StatusError, ask_gateway

WORDS = [sys.executable, "-P", "-m", "tools.cli"]
HISTORY = '\n[history]\nwhere = "h.db"\n'


def flisr(*words):
    return subprocess.run([*WORDS, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


async def asked(site):
    """What the gateway says now, past what it has said in the last half second."""
    await asyncio.sleep(0.6)
    return await asyncio.to_thread(ask_gateway, site.folder / "store-status")


async def test_all_that_runs_is_said_and_what_does_not_with_the_reason(tmp_path):
    async with world(tmp_path, HISTORY) as site:
        began_ns = time.time_ns()
        site.device.say(ON)
        await site.centre.hears((7, 1, ON, 0, False))
        said = await asked(site)
        assert (said["site"], said["pid"], said["points"]) == ("north", os.getpid(), 1)
        (centre,) = said["centres"]
        assert (centre["name"], centre["lost"]) == ("scada", 0)
        assert [master["started"] for master in centre["masters"]] == [True]
        assert centre["masters"][0]["peer"].startswith("127.0.0.1:")
        (rtu,) = said["rtus"]
        assert (rtu["name"], rtu["connected"], rtu["why"]) == ("NORTH", True, "")
        assert 0 < rtu["since_ns"] < began_ns < rtu["heard_ns"] <= said["now_ns"]
        assert (said["history"]["reachable"], said["history"]["name"]) == (True, str(tmp_path / "h.db"))
        assert said["event_log"]["storing"]
        assert 0 < said["event_log"]["octets"] < said["event_log"]["most_octets"]
        # Nobody is there to take it: it waits.
        await site.centre.client.close()
        site.device.say(OFF)
        await until(lambda: site.gateway._outlet.log.consumer("scada").waiting == 1)
        (centre,) = (await asked(site))["centres"]
        assert (centre["waiting"], centre["masters"]) == (1, [])
        await site.device.outlet.server.close()
        await until(lambda: not site.gateway._rtus.rtus["NORTH"].standing.up)
        lost = await asked(site)
        assert not lost["rtus"][0]["connected"]
        assert lost["rtus"][0]["since_ns"] > rtu["heard_ns"]
        words = await asyncio.to_thread(flisr, "status", site.file)
        assert words.returncode == 0
        (line,) = [each for each in words.stdout.splitlines() if each.startswith("RTU")]
        assert "NORTH  NOT CONNECTED for " in line
        assert "; heard " in line
        # The position, and that it is old now.
        assert "no master connected; 2 of 100000 events wait" in words.stdout


async def test_events_that_are_lost_and_a_database_that_refuses_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.historian.database._BUSY_MS", 50)
    async with world(tmp_path, HISTORY, centre=False) as site:
        await until(lambda: site.gateway._rtus.rtus["NORTH"].standing.up)
        waits = site.gateway._outlet.log.consumer("scada")
        waits.most = 2
        with contextlib.closing(sqlite3.connect(tmp_path / "h.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for position in (ON, OFF, ON, OFF, ON):
                site.device.say(position)
            await until(lambda: waits.overflowed >= 2)
            await until(lambda: site.gateway._history.trouble)
            said = await site.gateway.status()
            assert (said.centres[0].waiting, said.centres[0].lost) == (2, waits.overflowed)
            assert "consumer scada: more events were waiting" in said.event_log.trouble[0]
            assert not said.history.reachable
            assert said.history.why.endswith("h.db: database is locked")
            assert said.history.waiting > 0
            assert said.started_ns < said.history.since_ns < said.now_ns
            words = await asyncio.to_thread(flisr, "status", site.file)
            assert f"2 of 2 events wait, {waits.overflowed} LOST" in words.stdout
            assert "database is locked" in words.stdout
            other.execute("ROLLBACK")
        await until(lambda: not site.gateway._history.trouble)
        said = await site.gateway.status()
        assert (said.history.reachable, said.history.why, said.history.since_ns) == (True, "", 0)


async def test_the_socket_is_for_this_user_alone_and_goes_with_the_gateway(tmp_path):
    deep = tmp_path.joinpath(*["a-folder-whose-name-is-long"] * 5)
    deep.mkdir(parents=True)
    async with world(deep) as site:
        place = deep / "store-status"
        assert len(str(place)) > 107
        assert place.stat().st_mode & 0o777 == 0o600
        assert (await asyncio.to_thread(ask_gateway, place))["site"] == "north"
        assert site.gateway.metrics is None
    assert not place.exists()
    assert sorted(path.name for path in deep.iterdir()) == ["device", "north.toml", "store"]


async def test_a_file_in_its_place_is_left_alone_and_named(tmp_path):
    (tmp_path / "store-status").write_text("mine")
    with pytest.raises(FileExistsError, match="store-status: it is there, and is no socket"):
        async with world(tmp_path):
            pass
    assert (tmp_path / "store-status").read_text() == "mine"


def test_a_gateway_that_is_not_there_is_said_plainly(tmp_path):
    file = tmp_path / "north.toml"
    missing = flisr("status", file)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "north.toml" in missing.stderr
    file.write_text(SITE.format(port=1, rtu=""))
    never = flisr("status", file, "--json")
    assert (never.returncode, never.stdout) == (2, "")
    assert "no gateway of this site runs here: there is no" in never.stderr
    assert "Traceback" not in missing.stderr + never.stderr


def test_one_that_was_killed_and_one_that_hangs(tmp_path):
    file = tmp_path / "north.toml"
    file.write_text(SITE.format(port=1, rtu=""))
    child = subprocess.Popen(
        [*WORDS, "run", str(file), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(StatusError, match=f"process {child.pid}, runs and does not answer within 0.5 s"):
            ask_gateway(tmp_path / "store-status", patience_s=0.5)
        child.send_signal(signal.SIGCONT)
        assert ask_gateway(tmp_path / "store-status")["pid"] == child.pid
        # Whatever else the site file says by now.
        file.write_text("[[centre]]\nnonsense = 1\n")
        assert f"pid {child.pid}" in flisr("status", file).stdout
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    dead = flisr("status", file)
    assert (dead.returncode, dead.stdout) == (2, "")
    assert "has ended without order" in dead.stderr
    # The next one takes the place of what is left.
    file.write_text(SITE.format(port=1, rtu=""))
    child = subprocess.Popen(
        [*WORDS, "run", str(file), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout.readline()
        assert flisr("status", file).returncode == 0
    finally:
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
        child.stdout.close()
    assert not (tmp_path / "store-status").exists()


# -- whoever connects ------------------------------------------------------------------------------------------------


def connect(place):
    """A connection that has been accepted, or that the kernel keeps for later."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(PATIENCE_S)
    while True:
        try:
            made.connect(str(place))
        except BlockingIOError:
            time.sleep(0.001)
        else:
            return made


async def test_a_thousand_connections_that_say_nothing_keep_nobody_out(tmp_path):
    async with world(tmp_path) as site:
        place = tmp_path / "store-status"

        def crowd():
            with contextlib.ExitStack() as opened:
                made = [opened.enter_context(connect(place)) for _ in range(1000)]
                assert ask_gateway(place)["site"] == "north"
                return len(made)

        assert await asyncio.to_thread(crowd) == 1000
        (server,) = site.gateway._supervision._servers
        assert len(server._talks) <= MOST
        site.device.say(ON)
        await site.centre.hears((7, 1, ON, 0, False))


@pytest.mark.parametrize(
    "octets", [b"\0" * 100_000, b"{}\n", b'{"request": "kill"}\n', b"[" * 8000 + b"\n", b"\xff\n", b"half a line"]
)
async def test_garbage_is_refused_or_cut_off(tmp_path, octets):
    async with world(tmp_path, centre=False) as site:
        place = tmp_path / "store-status"

        def send():
            with connect(place) as talk, contextlib.suppress(OSError):
                talk.sendall(octets)
                talk.shutdown(socket.SHUT_WR)
                return talk.recv(1000)
            return b""

        answer = await asyncio.to_thread(send)
        assert answer == b"" or json.loads(answer)["kind"] == "Refused"
        assert (answer != b"") == (octets.endswith(b"\n"))
        assert (await asyncio.to_thread(ask_gateway, place))["rtus"][0]["name"] == "NORTH"
        await until(lambda: not site.gateway._supervision._servers[0]._talks)


async def test_who_does_not_read_is_cut_off(tmp_path):
    big = b"x" * 50_000_000

    async def answer(request):
        del request
        return big

    server = BoundedServer("test", b"\n", answer, patience_s=0.2)
    await server.listen_at(tmp_path / "s")
    try:
        with await asyncio.to_thread(connect, tmp_path / "s") as slow:
            slow.sendall(b"give\n")
            await until(lambda: server._talks)
            await until(lambda: not server._talks)
            read = await asyncio.to_thread(lambda: sum(map(len, iter(lambda: slow.recv(1 << 20), b""))))
            assert read < len(big)
        with await asyncio.to_thread(connect, tmp_path / "s") as silent:
            assert await asyncio.to_thread(silent.recv, 1) == b""
    finally:
        await server.close()


async def test_who_has_not_asked_gives_way_to_who_comes(tmp_path):
    go = asyncio.Event()

    async def answer(request):
        await go.wait()
        return request

    server = BoundedServer("test", b"\n", answer, most=3)
    await server.listen_at(tmp_path / "s")
    with contextlib.ExitStack() as opened:
        asking, *silent = (opened.enter_context(connect(tmp_path / "s")) for _ in range(3))
        asking.sendall(b"first\n")
        await until(lambda: sorted(server._talks.values()) == [False, False, True])
        fourth = opened.enter_context(connect(tmp_path / "s"))
        fourth.sendall(b"fourth\n")
        await until(lambda: sorted(server._talks.values()) == [False, True, True])
        go.set()
        assert await asyncio.to_thread(asking.recv, 100) == b"first\n"
        assert await asyncio.to_thread(fourth.recv, 100) == b"fourth\n"
        assert await asyncio.to_thread(silent[0].recv, 100) == b""
        await server.close()
        assert await asyncio.to_thread(silent[1].recv, 100) == b""


# -- Prometheus ------------------------------------------------------------------------------------------------------


def figures(text):
    """``{(name, *label values): value}``."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_prometheus_has_the_same_figures(tmp_path):
    port = free_port()
    more = HISTORY + f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n'

    def scrape():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    async with world(tmp_path, more) as site:
        assert site.gateway.metrics == ("127.0.0.1", port)
        site.device.say(ON)
        await site.centre.hears((7, 1, ON, 0, False))
        said = await asked(site)
        kind, text = await asyncio.to_thread(scrape)
        assert kind.startswith("text/plain; version=")
        found = figures(text)
        assert found["flisr_gateway_info", "north", said["program"]] == 1
        assert found["flisr_gateway_points",] == 1
        assert found["flisr_gateway_start_time_seconds",] == said["started_ns"] / 1e9
        assert found["flisr_centre_masters", "scada"] == 1
        assert found["flisr_centre_started", "scada"] == 1
        assert found["flisr_centre_events_limit", "scada"] == 100_000
        assert found["flisr_centre_events_lost_total", "scada"] == 0
        assert found["flisr_rtu_connected", "NORTH"] == 1
        assert found["flisr_rtu_heard_timestamp_seconds", "NORTH"] == said["rtus"][0]["heard_ns"] / 1e9
        assert found["flisr_history_reachable",] == 1
        assert found["flisr_event_log_bytes",] == said["event_log"]["octets"]
        assert found["flisr_event_log_limit_bytes",] == said["event_log"]["most_octets"]
        assert not any("127.0.0.1" in str(key) for key in found), "who connects makes no series"
        assert not [name for name, *_ in found if not name.startswith("flisr_")]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /metrics HTTP/2\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET /metrics?name=x HTTP/1.0\r\n\r\n", b"200"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b""),
        (b"GET /metrics", b""),
    ],
)
async def test_garbage_over_http_disturbs_nobody(tmp_path, octets, code):
    port = free_port()
    async with world(tmp_path, f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n', centre=False):

        def send():
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as talk, contextlib.suppress(OSError):
                talk.sendall(octets)
                talk.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: talk.recv(1 << 16), b""))
            return b""

        answer = await asyncio.to_thread(send)
        assert answer[9:12] == code
        if octets.startswith(b"HEAD"):
            assert answer.endswith(b"\r\n\r\n")
        url = f"http://127.0.0.1:{port}/metrics"
        assert await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=PATIENCE_S).read())


async def test_an_address_that_is_taken_is_named(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            async with world(tmp_path, f'\n[metrics]\nlisten = "127.0.0.1:{port}"\n'):
                pass
