"""Who may ask an agent for what: local users, by the kernel's word of who wrote the datagram.

Everybody who reaches the operator's socket may look. To operate (open, close, mode, sim, authority, restore; tag too)
and to unlock (unlock, confirm) is for the agent's own user, for root, and for whom the site file names; it may name
others who only tag. A return to normal unlocks and then operates: it takes both rights.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid (unix(7))
CREDENTIALS_SPACE: Final = socket.CMSG_SPACE(_CREDENTIALS.size)

_CN: Final = "CN="
Right = Literal["operate", "unlock", "tag"]
_RIGHTS: Final[dict[str, tuple[Right, ...]]] = {
    **dict.fromkeys(("open", "close", "mode", "sim", "authority", "restore"), ("operate",)),
    "tag": ("tag",),
    **dict.fromkeys(("unlock", "confirm"), ("unlock",)),
    "return": ("unlock", "operate"),
}


@dataclass(frozen=True, slots=True)
class Access:
    """Who has a right besides the agent's own user and root.

    Local users, groups as ``@name``, and clients of MMS over TLS as ``CN=name``, by the name of their certificate.
    """

    operate: tuple[str, ...] = ()
    unlock: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()


class Gatekeeper:
    """Decides who may ask. Users are looked up once: no name service is asked while the agent works.

    Args:
        access: as the site file says.

    Attributes:
        unknown: what this machine does not know of the named users and groups, in words; they have no right. The
            others keep theirs, and the agent works: a directory that does not answer must not stop it.
    """

    def __init__(self, access: Access) -> None:
        users = pwd.getpwall()
        self._names = {user.pw_uid: user.pw_name for user in reversed(users)}
        self.unknown: list[str] = []
        always = {0, os.getuid()}
        operate = always | self._uids(access.operate, users)
        self._may: dict[Right, set[int]] = {
            "operate": operate,
            "unlock": always | self._uids(access.unlock, users),
            "tag": operate | self._uids(access.tag, users),
        }
        self._certificates: dict[Right, set[str]] = {
            "operate": _common_names(access.operate),
            "unlock": _common_names(access.unlock),
            "tag": _common_names((*access.operate, *access.tag)),
        }

    def who(self, uid: int | None) -> str:
        """A user by name, or by number where he had none when the agent started."""
        return "nobody known" if uid is None else self._names.get(uid, f"uid {uid}")

    def refuse(self, request: object, uid: int | None, certificate: object = None) -> str:
        """Why somebody may not ask for this, of a check what it asks about; empty if he may.

        Args:
            request: what he asks.
            uid: of the user who asks.
            certificate: name of the certificate of a client for whom that user asks; None if he asks for himself. Both
                need the right then.
        """
        rights = _RIGHTS.get(request, ()) if isinstance(request, str) else ()
        for right in rights:
            if uid not in self._may[right]:
                user = f"{self.who(uid)} (uid {uid})" if uid in self._names else self.who(uid)
                return f"{user} may not {right}: the site file's [access] names who may"
            if certificate is not None and certificate not in self._certificates[right]:
                return f"the client with the certificate of {certificate} may not {right}: [access] names who may"
        return ""

    def _uids(self, names: Iterable[str], users: list[pwd.struct_passwd]) -> set[int]:
        uids: set[int] = set()
        for name in names:
            if name.startswith(_CN):
                continue
            kind = "group" if name.startswith("@") else "user"
            try:
                uids |= _members(name[1:], users) if kind == "group" else {pwd.getpwnam(name).pw_uid}
            except KeyError:
                self.unknown.append(f"access: there is no {kind} {name.removeprefix('@')!r} on this machine")
        return uids


def _common_names(names: Iterable[str]) -> set[str]:
    return {name.removeprefix(_CN) for name in names if name.startswith(_CN)}


def attend(endpoint: socket.socket) -> None:
    """From now on the kernel says with each datagram who wrote it."""
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def writer_of(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int | None, int]:
    """Uid and process of who wrote a datagram; None and 0 if the kernel does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid, uid, _ = _CREDENTIALS.unpack_from(data)
            return uid, pid
    return None, 0


def _members(group: str, users: list[pwd.struct_passwd]) -> set[int]:
    """Who is in a group, be it his first or another one."""
    found = grp.getgrnam(group)
    return {user.pw_uid for user in users if user.pw_gid == found.gr_gid or user.pw_name in found.gr_mem}
