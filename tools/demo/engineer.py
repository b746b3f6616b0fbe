"""An engineer's MMS client, made by others (open61850): ``python -m tools.demo.engineer PORT IED``.

Tries to close the switch of one agent, with select and operate, as from the control room; prints what became of it.
"""

from __future__ import annotations

import json
import sys

from open61850.mms import control
from open61850.mms.client import MmsClient

from ied_agents.iec61850.addcause import AddCause
from scl.agent_model import LDEVICE

_STATION_CONTROL = 2


def main(arguments: list[str]) -> int:
    """Try it; the result is one JSON object on standard output."""
    port, ied = int(arguments[0]), arguments[1]
    origin = control.Origin(category=_STATION_CONTROL, ident=b"engineer")
    client = MmsClient.connect("127.0.0.1", port)
    said: dict[str, object] = {"ied": ied, "refused": False}
    try:
        control.operate(client, f"{ied}{LDEVICE}/CSWI1.Pos", True, origin=origin)
    except control.ControlError as error:
        cause = error.last_appl_error.add_cause if error.last_appl_error is not None else AddCause.UNKNOWN
        words = AddCause(cause).name.lower().replace("_", " ")
        said |= {"refused": True, "stage": error.stage, "add_cause": int(cause), "cause": words}
    finally:
        client.close()
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
