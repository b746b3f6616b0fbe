"""Who may ask an agent for what: local users, by the kernel's word of who wrote the datagram.

Everybody who reaches the operator's socket may look. To operate (open, close, tag, mode, authority, restore) and to
unlock (unlock, confirm, return to normal) is for the agent's own user, for root, and for whom the site file names.
"""

from __future__ import annotations

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

Right = Literal["operate", "unlock"]
_RIGHTS: Final[dict[str, Right]] = {
    **dict.fromkeys(("open", "close", "tag", "mode", "authority", "restore"), "operate"),
    **dict.fromkeys(("unlock", "confirm", "return"), "unlock"),
}


class AccessError(ValueError):
    """A user that this machine does not know; the message names it."""


@dataclass(frozen=True, slots=True)
class Access:
    """Names of the local users, besides the agent's own and root, who have a right."""

    operate: tuple[str, ...] = ()
    unlock: tuple[str, ...] = ()


class Gatekeeper:
    """Decides who may ask. Users are looked up once: no name service is asked while the agent works.

    Args:
        access: as the site file says.

    Raises:
        AccessError: there is no such user.
    """

    def __init__(self, access: Access) -> None:
        always = {0, os.getuid()}
        self._names = {uid: _name(uid) for uid in always}
        self._may: dict[Right, set[int]] = {
            "operate": always | self._uids(access.operate),
            "unlock": always | self._uids(access.unlock),
        }

    def _uids(self, names: Iterable[str]) -> set[int]:
        uids = set()
        for name in names:
            try:
                uid = pwd.getpwnam(name).pw_uid
            except KeyError:
                raise AccessError(f"access: there is no user {name!r} on this machine") from None
            self._names[uid] = name
            uids.add(uid)
        return uids

    def who(self, uid: int | None) -> str:
        """A user for the journal: by name if that was looked up, else by number."""
        return "nobody known" if uid is None else self._names.get(uid, f"uid {uid}")

    def refuse(self, request: object, uid: int | None) -> str:
        """Why a user may not ask for this; empty if he may."""
        right = _RIGHTS.get(request) if isinstance(request, str) else None
        if right is None or uid in self._may[right]:
            return ""
        return f"{self.who(uid)} may not {right}: the site file's [access] names who may"


def attend(endpoint: socket.socket) -> None:
    """From now on the kernel says with each datagram who wrote it."""
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def writer_of(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """The uid of who wrote a datagram; None if the kernel does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            _, uid, _ = _CREDENTIALS.unpack_from(data)
            return int(uid)
    return None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
