"""What an operator's program says to a running agent: a JSON datagram each way, as ``agent_process`` describes them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE_S: Final = 5.0
"""A request is answered when its effect is on disk."""
_LONGEST_ANSWER: Final = 1 << 16
_LONGEST_PATH: Final = 107
"""Octets of a socket's path that Linux takes."""


class AgentSilentError(OSError):
    """An agent that does not answer; the message names its socket and says why."""


class AgentLateError(AgentSilentError):
    """An agent that has the request and has not answered in time: it may act on it all the same."""


def answers_folder(agent: Path) -> Path:
    """Where who asks an agent waits for the answer.

    A folder of its own, so that nobody needs a right to write where the agent's state is; and a path, for only paths
    pass between network namespaces.
    """
    return agent.with_name(f"{agent.name}.answers")


def ask(agent: Path, request: Mapping[str, Any], *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """Send one request and wait for the answer.

    Args:
        agent: path of its operator socket.
        request: as ``agent_process`` describes.
        patience_s: s.

    Raises:
        AgentSilentError: nobody listens there, or this user does not get there.
        AgentLateError: no answer came in time.
    """
    address = answers_folder(agent) / f"{os.getpid()}.{os.urandom(4).hex()}"
    if len(os.fsencode(address)) > _LONGEST_PATH:
        raise AgentSilentError(f"{address}: a socket's path has at most {_LONGEST_PATH} octets; use a shorter folder")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        try:
            asker.bind(str(address))
            address.chmod(0o666)  # the agent may run as another user; the folder says who gets here
            asker.settimeout(patience_s)
            asker.sendto(json.dumps(request).encode(), str(agent))
            answer: dict[str, Any] = json.loads(asker.recv(_LONGEST_ANSWER))
        except TimeoutError:
            raise AgentLateError(f"{agent}: no answer within {patience_s:g} s; is the agent stopped?") from None
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AgentSilentError(f"{agent}: no agent listens there ({error.strerror}); is it running?") from None
        except PermissionError:
            raise AgentSilentError(f"{agent}: this user may not ask it; who may is in the agent's group") from None
        finally:
            with contextlib.suppress(OSError):
                address.unlink(missing_ok=True)
    return answer
