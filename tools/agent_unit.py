"""The systemd unit of an agent: only the rights it needs, watched, started again at once."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CAPABILITIES: Final = ("CAP_NET_RAW", "CAP_SYS_NICE", "CAP_IPC_LOCK")
"""Packet sockets; SCHED_FIFO; memory locked."""

_UNIT: Final = """\
# /etc/systemd/system/flisr-agent@.service: the agent of the IED that stands behind the @.
[Unit]
Description=flisr agent %i
After=network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
Restart=always
RestartSec=200ms
# A loop that does not turn for so long is killed and started again; it holds until its locks are proven.
WatchdogSec=2s
TimeoutStartSec=30s
TimeoutStopSec=5s
User={user}
Group={user}
UMask=0027
StateDirectory=flisr flisr/%i
StateDirectoryMode=0750
OOMScoreAdjust=-900

# Packet sockets for GOOSE, SCHED_FIFO, memory locked; nothing else.
AmbientCapabilities={capabilities}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
RestrictAddressFamilies=AF_PACKET AF_UNIX
IPAddressDeny=any
# adjtimex reads the quality of the clock.
SystemCallFilter=@system-service adjtimex
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
ProtectSystem=strict
ProtectHome=read-only
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
PrivateDevices=yes
PrivateTmp=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes

[Install]
WantedBy=multi-user.target
"""


def unit(scd: Path, interfaces: Sequence[str], site: Path | None, user: str, fifo: int) -> str:
    """The text of ``flisr-agent@.service``.

    Args:
        scd: absolute path of the SCD.
        interfaces: Ethernet interfaces for GOOSE.
        site: absolute path of the site file; None for that beside the SCD.
        user: who runs it.
        fifo: SCHED_FIFO priority; 0 for the ordinary scheduler.
    """
    words = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "%i"]
    words += ["--scd", str(scd), *(word for name in interfaces for word in ("--interface", name))]
    words += ["--fifo", str(fifo), "--root", "/var/lib/flisr"]
    if site is not None:
        words += ["--site", str(site)]
    command = " ".join(word if word == "%i" else shlex.quote(word).replace("%", "%%") for word in words)
    return _UNIT.format(command=command, user=user, capabilities=" ".join(CAPABILITIES))
