"""How long a frame takes from a process to a process on a live network: probes, and who answers them.

A probe is a small GOOSE-sized frame with the VLAN tag of the agent's own, so that switches treat it alike. It disturbs
nobody: the multicast addresses are private ones that no device listens to, the APPID lies outside those of GOOSE, and
there are 100 a second, 0.3 Mbit/s. Half of the way there and back is one hop.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ied_agents.goose.errors import GooseDecodeError
from ied_agents.goose.frame import EthernetFrame
from ied_agents.runtime.af_packet import AfPacketLink
from ied_agents.runtime.link import LinkError

if TYPE_CHECKING:
    from ied_agents.runtime.settings import StreamSettings

ASKED: Final = b"\x03flisQ"
ANSWERED: Final = b"\x03flisA"
"""Where probes and answers go: 03-66-6C-69-73-51 and -41, groups of local administration."""
APPID: Final = 0xFFFF
EVERY_S: Final = 0.01
_OCTETS: Final = 300
"""As many as the APDU of an agent's fast data set has, about."""
_TOKEN: Final = 8
_NUMBER: Final = 4
_LAST_S: Final = 0.2
"""How long the last answers are waited for."""
_MOST_ANSWERS: Final = 10
"""For each 10 ms: of more, somebody floods."""


@dataclass(frozen=True, slots=True)
class Hops:
    """What probes have measured.

    Attributes:
        sent: how many went out.
        taken_s: half of the way there and back of each that was answered, sorted, s.
    """

    sent: int
    taken_s: tuple[float, ...]

    def quantile_s(self, share: float) -> float:
        """The time that this share of the hops does not exceed, s."""
        return self.taken_s[min(len(self.taken_s) - 1, int(share * len(self.taken_s)))]


def probe_frame(dst: bytes, src: bytes, like: StreamSettings, content: bytes) -> bytes:
    """A probe or an answer, with the tag of a GOOSE stream."""
    return EthernetFrame(
        dst, src, like.vlan_id, like.vlan_priority, APPID, False, content.ljust(_OCTETS, b"\0")
    ).encode()


def read_probe(frame: bytes) -> bytes:
    """What identifies a probe; empty if it is none."""
    try:
        read = EthernetFrame.decode(frame)
    except GooseDecodeError:
        return b""
    return read.apdu[: _TOKEN + _NUMBER] if read.appid == APPID and len(read.apdu) == _OCTETS else b""


async def measure(interface: str, like: StreamSettings, seconds: float) -> Hops:
    """Send probes for some time, and time the answers.

    Args:
        interface: its name.
        like: the stream whose tag they carry.
        seconds: for how long.

    Raises:
        LinkError: the interface cannot be used.
    """
    loop = asyncio.get_running_loop()
    link = AfPacketLink(interface, [ANSWERED])
    token = os.urandom(_TOKEN)
    left: dict[bytes, float] = {}
    taken: list[float] = []
    failed: list[LinkError] = []

    def read() -> None:
        try:
            for frame in link.receive():
                at = left.pop(read_probe(frame), None)
                if at is not None:  # the first answer counts
                    taken.append((loop.time() - at) / 2)
        except LinkError as error:
            failed.append(error)
            loop.remove_reader(link.fileno())

    loop.add_reader(link.fileno(), read)
    try:
        sent = round(seconds / EVERY_S)
        for number in range(sent):
            content = token + number.to_bytes(_NUMBER, "big")
            left[content] = loop.time()
            link.send(probe_frame(ASKED, link.mac, like, content))
            await asyncio.sleep(EVERY_S)
            if failed:
                raise failed[0]
        await asyncio.sleep(_LAST_S)
    finally:
        loop.remove_reader(link.fileno())
        link.close()
    return Hops(sent, tuple(sorted(taken)))


async def answer(interface: str, like: StreamSettings) -> None:
    """Answer the probes of others until cancelled.

    Raises:
        LinkError: the interface cannot be used.
    """
    loop = asyncio.get_running_loop()
    link = AfPacketLink(interface, [ASKED])
    ended: asyncio.Future[None] = loop.create_future()
    window = [0.0, 0.0]  # when it began, answers in it

    def reply() -> None:
        try:
            for frame in link.receive():
                content = read_probe(frame)
                if loop.time() - window[0] > EVERY_S:
                    window[:] = [loop.time(), 0.0]
                if content and window[1] < _MOST_ANSWERS:
                    window[1] += 1
                    link.send(probe_frame(ANSWERED, link.mac, like, content))
        except LinkError as error:
            loop.remove_reader(link.fileno())
            if not ended.done():
                ended.set_exception(error)

    loop.add_reader(link.fileno(), reply)
    try:
        await ended
    finally:
        loop.remove_reader(link.fileno())
        link.close()
