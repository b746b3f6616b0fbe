"""Which entry of a device's reports to go on after, kept on disk: one small file per device."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_LOG: Final = logging.getLogger(__name__)
_VERSION: Final = 1


class EntriesError(ValueError):
    """A file of EntryIDs that cannot be used; says which, and why."""


def read_entries(file: Path) -> dict[str, bytes]:
    """EntryID by report control block; none if there is no file, or it is damaged: then all comes once more.

    Raises:
        EntriesError: a newer version of this program wrote it.
    """
    try:
        given: Any = json.loads(file.read_bytes())
        version = given["version"]
        entries = {str(block): bytes.fromhex(entryID) for block, entryID in given.get("entries", {}).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _LOG.error("%s: damaged (%s): what the device has buffered is told once more", file, error)
        return {}
    if version != _VERSION:
        raise EntriesError(f"{file}: version {version}; this program reads version {_VERSION}")
    return entries


def write_entries(file: Path, entries: dict[str, bytes]) -> None:
    """Replace the file as a whole.

    Not forced to the disk: what a power failure leaves of it, an older one or a damaged one, costs events told twice.
    """
    new = file.with_name(file.name + ".new")
    text = json.dumps({"version": _VERSION, "entries": {block: each.hex() for block, each in entries.items()}})
    new.write_text(text, encoding="ascii")
    new.replace(file)
