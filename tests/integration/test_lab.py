"""Laboratory networks on the real kernel: with rights, without, and after a violent end."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.lab import BRIDGE, HOST_INTERFACE

PATIENCE_S = 30

# What a program sees of the network it runs in: the interfaces' names and addresses.
INTERFACES = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    for _, name in socket.if_nameindex():
        reply = fcntl.ioctl(any_socket, 0x8927, struct.pack("16s16x", name.encode()))  # SIOCGIFHWADDR
        print(name, reply[18:24].hex())
"""

# Opens a laboratory and has one host send to the other; prints what the other one receives.
EXCHANGE = """
import socket, sys
from tools.lab import Lab, LabUnavailable
try:
    lab = Lab.open(["left", "right"])
except LabUnavailable as obstacle:
    print("unavailable:", obstacle)
    sys.exit(3)
with lab, lab.enter("right"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B8)) as ear:
    ear.bind(("eth0", 0x88B8))
    ear.settimeout(30)
    sender = 'import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0));' \\
        's.send(bytes.fromhex("010ccd010001" "020000000001" "88b8") + b"hello")'
    assert lab.spawn("left", [sys.executable, "-c", sender]).wait() == 0
    print(ear.recv(2048).hex())
"""


def ethernet(payload):
    return bytes.fromhex("010ccd010001 020000000001 88b8") + payload


def raw_socket(lab, host):
    with lab.enter(host):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind((HOST_INTERFACE, 3))
    opened.settimeout(PATIENCE_S)
    return opened


@pytest.fixture
def unprivileged(require):
    """A command prefix that takes away the right to make namespaces."""
    if os.geteuid() != 0:
        return []
    require(shutil.which("setpriv"), "setpriv (Debian package util-linux) is not installed")
    # Over a shell, because setpriv itself still has root's rights when it looks for the program.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", 'exec "$@"', "sh"]
    trial = subprocess.run([*nobody, sys.executable, "-c", "import tools"], check=False, capture_output=True)
    if trial.returncode == 0:
        return nobody
    # Nobody may not read this interpreter: stay root in name, with the one capability that the kernel wants
    # to see in whoever maps root into a user namespace, and with which no network namespace can be made.
    return ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"]


def test_frames_pass_from_any_host_to_all_others_at_once(make_lab):
    lab = make_lab("a", "b", "c")
    ports = {host: raw_socket(lab, host) for host in ("a", "b", "c")}
    for sender, port in ports.items():
        port.send(ethernet(sender.encode()))
        for host in ports.keys() - {sender}:
            assert ports[host].recv(2048) == ethernet(sender.encode())
    for port in ports.values():
        port.close()


def test_nothing_but_our_frames_is_on_the_wire(make_lab):
    lab = make_lab("a", "b")
    with raw_socket(lab, "a") as left, raw_socket(lab, "b") as right:
        for number in range(20):
            left.send(ethernet(bytes([number])))
        assert [right.recv(2048) for _ in range(20)] == [ethernet(bytes([number])) for number in range(20)]


def test_spawned_program_lives_on_its_host(make_lab):
    lab = make_lab("a", "b")
    seen = {}
    for host in ("a", "b", BRIDGE):
        child = lab.spawn(host, [sys.executable, "-c", INTERFACES], stdout=subprocess.PIPE)
        seen[host] = dict(line.split() for line in child.communicate()[0].decode().splitlines())
    assert seen["a"] == {"lo": "000000000000", "eth0": "020000000001"}
    assert seen["b"] == {"lo": "000000000000", "eth0": "020000000002"}
    assert seen[BRIDGE].keys() == {"lo", BRIDGE, "p1", "p2"}


def test_thread_returns_from_a_host_also_by_an_exception(make_lab):
    lab = make_lab("a")
    own = Path("/proc/thread-self/ns/net")
    before = own.stat().st_ino
    with contextlib.suppress(KeyError), lab.enter("a"):
        inside = own.stat().st_ino
        raise KeyError
    assert own.stat().st_ino == before
    assert inside != before


def test_close_kills_what_was_spawned(make_lab):
    lab = make_lab("a")
    child = lab.spawn("a", ["sleep", "1000"])
    lab.close()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("names", [["a", "a"], [BRIDGE]])
def test_ambiguous_names_are_refused(make_lab, names):
    with pytest.raises(ValueError, match="differ"):
        make_lab(*names)


def test_everything_vanishes_when_the_owner_is_killed(make_lab):
    make_lab("probe").close()  # skips where there is no laboratory to be had
    program = """
import time
from tools.lab import Lab
lab = Lab.open(["a"])
print(lab.spawn("a", ["sleep", "1000"]).pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        sleeper = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
    try:
        # A process descriptor becomes readable when the process has ended, and with it the last hold on its
        # namespace: the owner's descriptors are closed, and there is no name that could keep it.
        assert select.select([sleeper], [], [], PATIENCE_S)[0] == [sleeper]
    finally:
        os.close(sleeper)


def test_unprivileged_user_gets_a_laboratory_too(unprivileged, require):
    result = subprocess.run(
        [*unprivileged, sys.executable, "-c", EXCHANGE], capture_output=True, text=True, check=False
    )
    require(result.returncode != 3, result.stdout)
    assert result.stderr == ""
    assert bytes.fromhex(result.stdout) == ethernet(b"hello")


def test_unprivileged_process_with_threads_is_told_so(unprivileged):
    program = f"import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n{EXCHANGE}"
    result = subprocess.run([*unprivileged, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert "has 2 threads" in result.stdout


def test_forbidden_user_namespace_is_explained_and_leaves_the_process_alone(require):
    require(os.geteuid() == 0, "only root can take the last capability away")
    require(shutil.which("setpriv"), "setpriv (Debian package util-linux) is not installed")
    program = f"""
import os
before = os.stat("/proc/self/ns/user").st_ino
try:
    exec({EXCHANGE!r})
finally:
    print(os.stat("/proc/self/ns/user").st_ino == before)
"""
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    result = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 3
    obstacle, unchanged = result.stdout.splitlines()
    assert "may not enter a user namespace (Operation not permitted)" in obstacle
    assert unchanged == "True"
