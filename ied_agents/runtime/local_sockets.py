"""The Unix sockets by which an agent's process is reached on its machine."""

from __future__ import annotations

import socket
from pathlib import Path

from ied_agents.runtime.operator_client import answers_folder


def datagram_socket(path: str, mode: int) -> socket.socket:
    """A datagram socket at a path, in place of what a killed process has left there.

    Raises:
        OSError: it cannot be made; the message names the path.
    """
    Path(path).unlink(missing_ok=True)
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        endpoint.bind(path)
        Path(path).chmod(mode)
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, f"{path}: {error.strerror}") from None
    return endpoint


def operator_socket(path: str) -> socket.socket:
    """Where those of the agent's group may ask, and wait for the answer; who may do what is decided by who they are."""
    answers = answers_folder(Path(path))
    answers.mkdir(exist_ok=True)
    answers.chmod(0o1730)  # nobody lists or removes what is another's
    for left in answers.iterdir():
        left.unlink(missing_ok=True)
    return datagram_socket(path, 0o660)
