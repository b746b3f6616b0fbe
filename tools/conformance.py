"""``python -m tools.conformance docs``: the conformance statements of IEC 61850 (PICS, PIXIT, MICS) in ``docs/``.

What is served is written down here with the test that shows it; the model is that of a generated SCD, and the figures
are the program's own constants. A test compares the file with what this gives.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ied_agents.dflisr.views import INPUTS_LIFE_S
from ied_agents.mms.client import TIMEOUT_S
from ied_agents.mms.client_report import MOST_WAITING
from ied_agents.mms.server import MOST_CLIENTS
from scl.agent_model import DATA_NAME_SPACE
from scl.reader import parse
from scl.topology import AGENT_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME: Final = "iec61850-conformance.md"
_YES, _NO = "X", ""
_SAMPLE_IED: Final = "F1Q1"
_PRIVATE: Final = f"private, dataNs {DATA_NAME_SPACE}"
_INTRODUCTION: Final = """# Conformance statements of IEC 61850

Made by `python -m tools.conformance docs`. X: supported; empty: not. *Server* is an agent behind its MMS host, *client*
the gateway. No certificate of a test laboratory stands behind this: the last column names the test that anyone can run
(`make test ARGS="-k NAME"`).

## PICS (IEC 61850-7-2, Annex A)
"""
_PICS: Final = (
    (
        "Basic conformance",
        (
            ("B11", "server side of two-party application association", _YES, _NO, "`test_mms_server`"),
            ("B12", "client side of it", _NO, _YES, "`test_mms_field`"),
            ("B21", "SCSM: IEC 61850-8-1", _YES, _YES, "`test_mms_server`, `test_mms_field`"),
            ("B31", "publisher of GOOSE", _YES, _NO, "`test_goose_libiec61850`, `test_goose_own_frames` (tshark)"),
            ("B32", "subscriber of GOOSE", _YES, _NO, "`test_goose_libiec61850`, `test_goose_open61850`"),
            ("B41, B42", "publisher, subscriber of sampled values", _NO, _NO, ""),
        ),
    ),
    (
        "Models",
        (
            ("M1 to M4", "logical device, logical node, data, data set", _YES, _YES, "`test_mms_server`"),
            ("M5", "substitution", _NO, _NO, ""),
            ("M6", "setting group control", _NO, _NO, ""),
            ("M7", "buffered report control", _YES, _YES, "`test_mms_server`, `test_mms_field`"),
            ("M7-1 to M7-11", "all optional fields, BufTm, IntgPd, GI, conf-revision", _YES, _YES, "`test_mms_server`"),
            ("M8", "unbuffered report control", _YES, _YES, "`test_mms_server`, `test_mms_field`"),
            ("M9, M10", "log control, log", _NO, _NO, ""),
            ("M11", "control", _YES, _YES, "`test_mms_server`, `test_mms_field`"),
            (
                "M12",
                "GOOSE (not shown by MMS: only the agent publishes)",
                _YES,
                _NO,
                "`test_goose_libiec61850`, `test_goose_open61850`",
            ),
            ("M13", "GSSE", _NO, _NO, ""),
            ("M14, M15", "sampled values", _NO, _NO, ""),
            ("M16", "time (of the machine's clock)", _YES, _YES, "`test_doctor`"),
            ("M17", "file transfer", _NO, _NO, ""),
        ),
    ),
    (
        "Services",
        (
            ("S1 to S4", "GetServerDirectory, Associate, Abort, Release", _YES, _YES, "`test_mms_server`"),
            (
                "S5 to S8",
                "directories of devices and nodes, GetAllDataValues, GetDataValues",
                _YES,
                _YES,
                "`test_mms_server`",
            ),
            ("S9", "SetDataValues", _NO, _YES, "`test_mms_server`: refused; `test_mms_client`"),
            ("S10, S11", "GetDataDirectory, GetDataDefinition", _YES, _YES, "`test_mms_server`"),
            ("S12, S16", "GetDataSetValues, GetDataSetDirectory", _YES, _YES, "`test_mms_server`"),
            ("S13 to S15", "SetDataSetValues, CreateDataSet, DeleteDataSet", _NO, _NO, "`test_mms_server`: refused"),
            ("S17", "SetDataValues for substitution", _NO, _NO, ""),
            ("S18 to S23", "setting groups", _NO, _NO, ""),
            ("S24, S27", "Report with dchg, qchg; dupd is never a reason", _YES, _YES, "`test_mms_server`"),
            ("S25, S26, S28, S29", "Get- and SetBRCBValues, Get- and SetURCBValues", _YES, _YES, "`test_mms_server`"),
            ("S30 to S36", "logs", _NO, _NO, ""),
            ("S51", "Select", _NO, _YES, "`test_mms_field`"),
            ("S52 to S55", "SelectWithValue, Cancel, Operate, CommandTermination", _YES, _YES, "`test_mms_server`"),
            ("S56", "TimeActivatedOperate", _NO, _NO, ""),
            ("S57 to S60", "files", _NO, _NO, "`test_mms_server`: refused"),
        ),
    ),
)


def document() -> str:
    """The whole file."""
    parts = [_INTRODUCTION]
    for title, rows in _PICS:
        parts.append(f"**{title}**\n")
        parts.append(_table(("", "", "server", "client", "shown by"), rows))
    parts += ["## PIXIT\n", _table(("", "value"), _pixit()), _mics()]
    return "\n".join(parts)


def _pixit() -> list[tuple[str, str]]:
    return [
        ("clients of a server at once", f"{MOST_CLIENTS} for each IED; the next is refused"),
        ("TCP keep-alive, loss of a client", "by TCP; buffered blocks keep what is not sent"),
        ("authentication", "none without TLS; with TLS certificates on both sides (IEC 62351-3)"),
        ("control model of the switch", "sbo-with-enhanced-security; `Mod` and `Sim` direct-with-normal-security"),
        ("test bit, check bits in a control", "Test: refused, AddCause 8; Check: cannot switch anything off"),
        ("originator categories that operate", "bay, station, remote, and their automatic forms, by authority"),
        ("time limit of an operate", "5 s to open, 30 s to close; then AddCause 16"),
        ("buffer of reports after a restart", "the last 5,000 states of the journal, with new EntryIDs"),
        ("GOOSE: retransmission", "after 4, 16, 100, then every 1000 ms"),
        ("GOOSE: frame with a simulation flag", "refused unless `LPHD.Sim` is set, in test only"),
        ("GOOSE: wrong ConfRev, data set or member count", "refused, counted, said in the journal"),
        ("GOOSE: time to live over", "all its values count as unknown; flags stand until they are cleared"),
        ("GOOSE: VLAN tag, fixed-length encoding", "sent as the SCD says; both forms are received"),
        ("inputs of the own process", f"believed for {INPUTS_LIFE_S:g} s"),
        ("client: time limit of a request", f"{TIMEOUT_S:g} s unless the site file says otherwise"),
        ("client: reports that wait", f"{MOST_WAITING}; then it connects anew and goes on after the last entry"),
        ("client: a block of another client", "the next free instance is taken; else the points are polled"),
        ("client: IPv6", "not supported"),
    ]


def _mics() -> str:
    """The model of an agent, by logical nodes."""
    text = (importlib.resources.files("scl") / "samples" / "two_source.scd").read_bytes()
    scl = parse(text)
    assert scl.templates is not None
    cdcs = {each.id: each.cdc for each in scl.templates.do_types}
    nodes = {each.id: each for each in scl.templates.lnode_types}
    rows = []
    ied = scl.ied(_SAMPLE_IED)
    assert ied is not None
    used = dict.fromkeys(node.lnType for _, device in ied.ldevices() for node in device.nodes())
    for kind in map(nodes.__getitem__, used):
        objects = ", ".join(f"{each.name} ({cdcs[each.type]})" for each in kind.data_objects)
        rows.append((f"`{kind.lnClass}`", _PRIVATE if kind.lnClass == AGENT_CLASS else "IEC 61850-7-4", objects))
    return (
        f"## MICS: the model of an agent\n\nOf `{_SAMPLE_IED}` in the shipped sample; `flisr scl generate` makes all "
        "agents alike, load-break switches with `XSWI` in place of `XCBR`.\n\n"
        + _table(("node", "name space", "data objects (common data class)"), rows)
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |"]
    lines.append("|" + "---|" * (lines[0].count("|") - 1))
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """Write it into a folder of documentation."""
    (folder / NAME).write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
