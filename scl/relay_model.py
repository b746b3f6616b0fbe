"""What an agent and the relay beside it tell each other by GOOSE: inputs by their meaning, and a relay to simulate.

An input of an agent says in ``ExtRef.intAddr`` what it means to the agent (one of ``SIGNALS``), whatever the relay
calls it. Several elements may mean the same: all protection starts count, of currents the largest, of voltages all
phases. An input names an attribute, or a whole data object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scl.agent_model import DIRECTION, Attribute, Member


@dataclass(frozen=True, slots=True)
class Signal:
    """What an input can mean to an agent.

    Attributes:
        meaning: for people.
        values: the attribute that holds the value, by name, and the basic types it may have.
        needed: why an agent cannot do without it; empty if it can.
        pLN, pDO: where a relay has it, as a rule.
    """

    meaning: str
    values: dict[str, tuple[str, ...]]
    needed: str
    pLN: str
    pDO: str


_MEASURED: Final[dict[str, tuple[str, ...]]] = dict.fromkeys(
    ("mag.f", "instMag.f", "cVal.mag.f", "instCVal.mag.f"), ("FLOAT32",)
)
_VOLTAGE: Final = _MEASURED | {"stVal": ("BOOLEAN",), "general": ("BOOLEAN",)}

SIGNALS: Final[dict[str, Signal]] = {
    "Pos": Signal("position of the switch", {"stVal": ("Dbpos",)}, "it decides nothing without it", "XCBR", "Pos"),
    "Str": Signal(
        "start of a protection element, with dirGeneral if it is directional",
        {"general": ("BOOLEAN",)},
        "it sees no fault without it",
        "PTOC",
        "Str",
    ),
    "Tr": Signal("trip by the relay's own protection", {"general": ("BOOLEAN",)}, "", "PTRC", "Tr"),
    "A": Signal("current, A", _MEASURED, "it knows no load without it, and opens no load-break switch", "MMXU", "A"),
    "TotW": Signal("active power, positive from side A to side B", _MEASURED, "its load has no sign", "MMXU", "TotW"),
    "VolA": Signal("voltage at side A, V, or its presence", _VOLTAGE, "it closes nothing without it", "MMXU", "PPV"),
    "VolB": Signal("voltage at side B, V, or its presence", _VOLTAGE, "it closes nothing without it", "MMXU", "PPV"),
    "GenA": Signal("local generation in the section at side A, A", _MEASURED, "", "MMXU", "A"),
    "GenB": Signal("local generation in the section at side B, A", _MEASURED, "", "MMXU", "A"),
    "Health": Signal("health of relay or switch", {"stVal": ("Enum",)}, "", "LPHD", "PhyHealth"),
}
"""By ``intAddr``."""

QUALITY: Final = "q"
"""Attribute that says how far an input can be trusted; where it is not sent, the value is."""
DIRECTION_ATTRIBUTE: Final = "dirGeneral"

ORDERS: Final = ("OpOpn", "OpCls", "BlkCls")
"""Data objects of ``agent_model.RELAY`` that a relay must subscribe to: open, close, blocked against closing."""

# -- the simulated relay ----------------------------------------------------------------------------------------------

RELAY_LDEVICE: Final = "PROT"
STATUS_DATASET: Final = "status"
STATUS_CONTROL: Final = "gcbStatus"
MEASURED_DATASET: Final = "measured"
MEASURED_CONTROL: Final = "gcbMeasured"


def _one(ln: str, do: str, da: str, bType: str, fc: str = "ST", literals: tuple[str, ...] = ()) -> Member:
    return Member(ln, do, da, fc, (Attribute(da, bType, literals),))


STATUS: Final[tuple[tuple[str, Member], ...]] = (
    ("Pos", _one("SW1", "Pos", "stVal", "Dbpos")),
    ("Pos", _one("SW1", "Pos", "q", "Quality")),
    ("Str", _one("PTOC1", "Str", "general", "BOOLEAN")),
    ("Str", _one("PTOC1", "Str", "dirGeneral", "Enum", literals=DIRECTION)),
    ("Str", _one("PTOC1", "Str", "q", "Quality")),
    ("Str", _one("PIOC1", "Str", "general", "BOOLEAN")),
    ("Str", _one("PIOC1", "Str", "q", "Quality")),
    ("Health", _one("LLN0", "Health", "stVal", "Enum", literals=("", "Ok", "Warning", "Alarm"))),
)
MEASURED: Final[tuple[tuple[str, Member], ...]] = (
    ("A", _one("MMXU1", "AvAPhs", "mag.f", "FLOAT32", "MX")),
    ("A", _one("MMXU1", "AvAPhs", "q", "Quality", "MX")),
    ("TotW", _one("MMXU1", "TotW", "mag.f", "FLOAT32", "MX")),
    ("TotW", _one("MMXU1", "TotW", "q", "Quality", "MX")),
    ("VolA", _one("MMXU1", "AvPPVPhs", "mag.f", "FLOAT32", "MX")),
    ("VolA", _one("MMXU1", "AvPPVPhs", "q", "Quality", "MX")),
    ("VolB", _one("MMXU2", "AvPPVPhs", "mag.f", "FLOAT32", "MX")),
    ("VolB", _one("MMXU2", "AvPPVPhs", "q", "Quality", "MX")),
    ("GenA", _one("MMXU3", "AvAPhs", "mag.f", "FLOAT32", "MX")),
    ("GenB", _one("MMXU4", "AvAPhs", "mag.f", "FLOAT32", "MX")),
)
"""Data sets of a simulated relay, with what each member means to its agent: a directional and a non-directional start,
currents, voltages on both sides, local generation measured at both sections.
"""
