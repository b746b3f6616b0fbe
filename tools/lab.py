"""A laboratory Ethernet: hosts around a bridge, or two, each in a network namespace of its own.

The namespaces have no name anywhere: this process holds them by file descriptor, so the kernel takes them,
their interfaces and the bridge away when it ends, however it ends. Root, or who else has CAP_SYS_ADMIN and
CAP_NET_ADMIN, makes them as it is; anyone else first moves this process into a user namespace of its own.

Opening blocks for about 0.1 s while pyroute2 runs an event loop of its own: open before starting one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import IO

    File = int | IO[bytes] | None

BRIDGE: Final = "br0"
_CARRIER_S: Final = 5.0
_ETHERNET: Final = 1
"""Interface of the bridge, and the place to ``spawn`` a program beside it."""
HOST_INTERFACE: Final = "eth0"
"""Interface of every host."""
BRIDGES: Final = (BRIDGE, "br1")
HOST_INTERFACES: Final = (HOST_INTERFACE, "eth1")
"""By number of the network, where there are two."""
MTU: Final = 1500

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"

# Runs before the program proper and asks the kernel to kill it with its parent, which outlasts exec. It is an
# interpreter of its own, because code between fork and exec is unsafe in a parent with threads.
_DIE_WITH_PARENT: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""

_libc = ctypes.CDLL(None, use_errno=True)


class LabUnavailable(Exception):  # noqa: N818 - it names a condition of the machine, not a fault
    """Network namespaces cannot be had here; the message says why and what would help."""


class Lab:
    """A bridge and hosts with one interface each, joined by virtual cables; all twice where two networks are asked for.

    The bridge neither speaks STP nor filters multicast, so it passes frames from the first moment. IPv6 is
    off, so that only what the hosts' programs send is on the wire.
    """

    def __init__(self) -> None:
        self._namespaces: dict[str, int] = {}
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def open(cls, host_names: Sequence[str], lans: int = 1) -> Self:
        """Make the bridge and the hosts, all up.

        Where the caller lacks the rights, the whole process enters a user namespace, for good: it is root
        there, owns its files as before, and of the network it came from keeps only the sockets it has open.

        Args:
            host_names: what to call the hosts; they differ from each other and from ``BRIDGE``.
            lans: how many separate networks join them, 1 or 2.

        Raises:
            LabUnavailable: the machine does not let this process have network namespaces.
            ValueError: two hosts have one name.
        """
        if len({BRIDGE, *host_names}) != len(host_names) + 1:
            raise ValueError(f"host names must differ from each other and from {BRIDGE}: {list(host_names)}")
        try:
            from pyroute2 import NetlinkError  # noqa: PLC0415 - an extra: its absence is an obstacle like others
        except ImportError as error:
            raise LabUnavailable("pyroute2 is not installed; pip install 'flisr[demo]' brings it") from error
        if not _may_make_namespaces():
            _enter_user_namespace()
        lab = cls()
        try:
            for name in (BRIDGE, *host_names):
                lab._namespaces[name] = _new_namespace()
            lab._wire(list(host_names), lans)
        except BaseException as error:
            lab.close()
            if isinstance(error, OSError | NetlinkError):
                raise LabUnavailable(f"the kernel refused a laboratory network: {error}") from error
            raise
        return lab

    def __enter__(self) -> Self:
        """Return the laboratory itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Kill what was spawned here and still runs, and let go of the namespaces."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()
        self._children.clear()
        while self._namespaces:
            os.close(self._namespaces.popitem()[1])

    def enter(self, host: str) -> AbstractContextManager[None]:
        """Move the calling thread to a host: sockets it opens and processes it starts inside belong there.

        Do not await inside: other tasks of the loop would run in that namespace too.

        Args:
            host: one of the names given to ``open``, or ``BRIDGE``.
        """
        return _inside(self._namespaces[host])

    def bridge(self) -> AbstractContextManager[None]:
        """Move the calling thread beside the bridge, where a capture on ``BRIDGE`` sees every frame."""
        return self.enter(BRIDGE)

    def switch_lan(self, lan: int, *, on: bool) -> None:
        """Cut a network, as if its switch had died: its hosts' interfaces stay up. Or mend it.

        Args:
            lan: its number, from 0.
            on: whether it is to pass frames.
        """
        from pyroute2 import IPRoute  # noqa: PLC0415 - an extra

        with self.bridge(), IPRoute() as route:
            route.link("set", index=route.link_lookup(ifname=BRIDGES[lan])[0], state="up" if on else "down")

    def spawn(
        self,
        host: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: File = subprocess.DEVNULL,
        stdout: File = None,
        stderr: File = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host.

        It is killed when the thread that called this ends, when this process does, and when the lab closes.

        Args:
            host: one of the names given to ``open``, or ``BRIDGE``.
            argv: program and arguments.
            env: its environment; None for that of this process.
            cwd: its working directory; None for that of this process.
            stdin: as for ``subprocess.Popen``; nothing by default.
            stdout: as for ``subprocess.Popen``.
            stderr: as for ``subprocess.Popen``.
            pass_fds: file descriptors it inherits.
        """
        wrapped = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *argv]
        with self.enter(host):
            child = subprocess.Popen(  # noqa: S603 - the caller's own program
                wrapped, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds
            )
        self._children.append(child)
        return child

    def _wire(self, hosts: list[str], lans: int) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 - an extra

        for namespace in self._namespaces:
            with self.enter(namespace):
                _disable_ipv6()
        for lan in range(lans):
            self._wire_lan(hosts, lan)
        for host in hosts:
            with self.enter(host), IPRoute() as route:
                for interface in ("lo", *HOST_INTERFACES[:lans]):
                    route.link("set", index=route.link_lookup(ifname=interface)[0], state="up")
        # The bridge passes frames of a port only once the kernel has noticed its carrier.
        deadline = time.monotonic() + _CARRIER_S
        with self.bridge(), IPRoute() as route:
            while any(
                link.get_attr("IFLA_OPERSTATE") != "UP" for link in route.get_links() if link["ifi_type"] == _ETHERNET
            ):
                if time.monotonic() > deadline:
                    raise LabUnavailable(f"the bridge's ports are not up after {_CARRIER_S:.0f} s")
                time.sleep(0.005)

    def _wire_lan(self, hosts: list[str], lan: int) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 - an extra

        with self.bridge(), IPRoute() as route:
            route.link(
                "add",
                ifname=BRIDGES[lan],
                kind="bridge",
                address=_mac(0, lan),
                br_stp_state=0,
                br_forward_delay=0,
                br_mcast_snooping=0,
            )
            bridge = route.link_lookup(ifname=BRIDGES[lan])[0]
            for number, host in enumerate(hosts, 1):
                cable = {
                    "ifname": HOST_INTERFACES[lan],
                    "net_ns_fd": self._namespaces[host],
                    "address": _mac(number, lan),
                    "mtu": MTU,
                }
                name = f"{'pq'[lan]}{number}"
                route.link("add", ifname=name, kind="veth", mtu=MTU, peer=cable)
                port = route.link_lookup(ifname=name)[0]
                route.link("set", index=port, master=bridge, state="up")
            route.link("set", index=bridge, state="up")


def _call(function: str, *arguments: int) -> None:
    """Call a function of the C library that Python 3.11 does not offer; raise OSError where it fails."""
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


@contextlib.contextmanager
def _inside(namespace: int) -> Iterator[None]:
    """Move the calling thread to a network namespace and back."""
    before = os.open(_OWN_NAMESPACE, os.O_RDONLY)
    try:
        _call("setns", namespace, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _new_namespace() -> int:
    """Return a file descriptor that holds a new network namespace; the calling thread stays where it is."""
    before = os.open(_OWN_NAMESPACE, os.O_RDONLY)
    try:
        _call("unshare", _CLONE_NEWNET)
        try:
            return os.open(_OWN_NAMESPACE, os.O_RDONLY)
        finally:
            _call("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _may_make_namespaces() -> bool:
    """Whether this thread has CAP_SYS_ADMIN and CAP_NET_ADMIN."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    effective = int(status.split("CapEff:", 1)[1].split(maxsplit=1)[0], 16)
    wanted = 1 << 21 | 1 << 12
    return effective & wanted == wanted


def _enter_user_namespace() -> None:
    """Make this process root of a user namespace of its own.

    Raises:
        LabUnavailable: the process has threads, or the kernel forbids it. The process is then as it was.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise LabUnavailable(
            f"this process lacks CAP_SYS_ADMIN or CAP_NET_ADMIN and has {threads} threads; only one with "
            "one thread can enter a user namespace: open the laboratory before starting threads, or be root"
        )
    # A child tries it first: a namespace whose identities cannot be mapped could not be left again.
    if (child := os.fork()) == 0:
        try:
            _unshare_user()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    if number := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise LabUnavailable(
            "this process lacks CAP_SYS_ADMIN or CAP_NET_ADMIN and may not enter a user namespace "
            f"({os.strerror(number)}); be root, or allow unprivileged user namespaces (sysctl "
            "user.max_user_namespaces above 0, on Debian also kernel.unprivileged_userns_clone=1, on Ubuntu "
            "also kernel.apparmor_restrict_unprivileged_userns=0), or give the container both capabilities"
        )
    _unshare_user()


def _unshare_user() -> None:
    """Enter a new user namespace that knows one user, root, and with it a network namespace.

    The latter because root there may not return to the network namespace of the outer world once out of it.
    """
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
    # The kernel lets an unprivileged process map its group only once it has given up setgroups().
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", file).write_text(text, encoding="ascii")


def _disable_ipv6() -> None:
    """Keep the kernel from sending router solicitations and the like here, where /proc/sys is writable."""
    for name in ("all", "default"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1", encoding="ascii")


def _mac(number: int, lan: int = 0) -> str:
    """Return a locally administered address, the same one in every run."""
    return f"02:00:00:{lan:02x}:{number >> 8:02x}:{number & 255:02x}"
