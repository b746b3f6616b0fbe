"""Who may do what: whoever asks is known by what the kernel says of him, and allowed what the site file gives him.

Users and groups are looked up once, when the agent starts: a lookup may wait for a network, and an agent must not.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Final, Literal, get_args

Right = Literal["operate", "unlock", "tag"]
RIGHTS: Final[tuple[Right, ...]] = get_args(Right)

_NEEDED: Final[dict[str, tuple[Right, ...]]] = {
    "open": ("operate",),
    "close": ("operate",),
    "mode": ("operate",),
    "authority": ("operate",),
    "restore": ("operate",),
    "confirm": ("unlock",),
    "unlock": ("unlock",),
    "return": ("operate", "unlock"),
    "tag": ("tag",),
}
_GROUP: Final = "@"
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
CREDENTIALS_SPACE: Final = socket.CMSG_SPACE(_CREDENTIALS.size)
"""Octets of ancillary data for :meth:`Access.asker`."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Local users, and groups as ``@name``, who have a right beside root and the agent's own user.

    Attributes:
        operate: open and close the switch, set mode and authority, have an island restored.
        unlock: clear events, vouch for locks. A return to normal needs both.
        tag: set and take off tags.
    """

    operate: tuple[str, ...] = ()
    unlock: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sent a request, as the kernel says.

    Attributes:
        user: name of the local user; his number where he has none.
        uid: number of that user.
        pid: process; 0 where it cannot be seen from here.
    """

    user: str
    uid: int
    pid: int


class Access:
    """What everybody on this machine may ask of one agent.

    Args:
        settings: who has which right.

    Attributes:
        unknown: names in the settings that nobody here has; they give nobody anything.
    """

    def __init__(self, settings: AccessSettings) -> None:
        users = pwd.getpwall()
        self._names = {user.pw_uid: user.pw_name for user in reversed(users)}
        self.unknown: list[str] = []
        self._allowed: dict[Right, set[int]] = {}
        for right in RIGHTS:
            allowed = self._allowed[right] = {0, os.geteuid()}
            for name in getattr(settings, right):
                try:
                    allowed |= _members(name, users) if name.startswith(_GROUP) else {pwd.getpwnam(name).pw_uid}
                except KeyError:
                    self.unknown.append(name)

    def asker(self, ancillary: list[tuple[int, int, bytes]]) -> Asker | None:
        """Who sent a datagram to a socket with ``SO_PASSCRED``; None if the kernel does not say."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) == _CREDENTIALS.size:
                pid, uid, _ = _CREDENTIALS.unpack(data)
                return Asker(self._names.get(uid, str(uid)), uid, pid)
        return None

    def refuse(self, request: str, asker: Asker | None) -> str:
        """Why somebody may not ask for something; empty if he may. Looking is everybody's who gets here.

        Args:
            request: its name; of a check, that of the operation.
            asker: who asks.
        """
        for right in _NEEDED.get(request, ()):
            if asker is None:
                return f"nobody knows who asks: no right to {right}"
            if asker.uid not in self._allowed[right]:
                return f"user {asker.user} has no right to {right}: [access] in the site file says who has"
        return ""


def _members(group: str, users: list[pwd.struct_passwd]) -> set[int]:
    """Who is in a group, be it his first or another one.

    Raises:
        KeyError: there is no such group.
    """
    found = grp.getgrnam(group.removeprefix(_GROUP))
    return {user.pw_uid for user in users if user.pw_gid == found.gr_gid or user.pw_name in found.gr_mem}
