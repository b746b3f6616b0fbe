"""Reading SCL files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scl.binding import Problems, bind
from scl.document import MAX_OCTETS, SCL_NAMESPACE, SclError, parse_document
from scl.model import SCL

if TYPE_CHECKING:
    from os import PathLike


def read(path: str | PathLike[str]) -> SCL:
    """Read an SCL file.

    Raises:
        SclError: the file cannot be opened, is no well-formed SCL, or has a value that is missing or wrong;
            the first of them, with file, line and element path.
    """
    return parse(load(path), str(path))


def load(path: str | PathLike[str]) -> bytes:
    """The octets of a file, never more than the reader takes.

    Raises:
        SclError: the file cannot be opened.
    """
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MAX_OCTETS + 1)
    except OSError as error:
        raise SclError(f"cannot be read: {error.strerror}", file=str(path)) from None


def parse(data: bytes | str, file: str = "") -> SCL:
    """Read SCL from memory; as ``read``."""
    scl, problems = parse_all(data, file)
    if problems:
        raise problems[0]
    return scl


def parse_all(data: bytes | str, file: str = "") -> tuple[SCL, list[SclError]]:
    """Read SCL as far as possible, with every wrong or missing value as a located error.

    Raises:
        SclError: no well-formed XML, or its root is no SCL.
    """
    document = parse_document(data, file)
    root = document.root
    if root.local != "SCL" or root.namespace not in {SCL_NAMESPACE, ""}:
        found = f"{{{root.namespace}}}{root.local}" if root.namespace else root.local
        raise SclError(
            f"root element {found}; expected {{{SCL_NAMESPACE}}}SCL",
            file=file,
            line=root.line,
            path=root.path,
        )
    problems = Problems()
    scl = bind(SCL, root, problems, document=document)
    for problem in problems.found:
        problem.file = file
    return scl, problems.found
