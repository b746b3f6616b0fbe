"""The two-source samples that ship in ``scl/samples``: ten switches, two feeders, two ties; one with relays."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from scl.generate import FeederSpec, LateralSpec, LoadSpec, NetworkSpec, SwitchSpec, TieSpec

TWO_SOURCE: Final = NetworkSpec(
    name="two_source",
    feeders=(
        FeederSpec(
            name="F1",
            substation="ALPHA",
            switches=(
                SwitchSpec("Q1", "breaker"),
                SwitchSpec("L2"),
                SwitchSpec("R3", "breaker"),
                SwitchSpec("L4"),
            ),
            laterals=(LateralSpec("LAT1", "F1/S2"),),
        ),
        FeederSpec(
            name="F2",
            substation="BRAVO",
            switches=(
                SwitchSpec("Q5", "breaker"),
                SwitchSpec("L6"),
                SwitchSpec("R7", "breaker"),
                SwitchSpec("L8"),
            ),
        ),
    ),
    ties=(
        TieSpec(SwitchSpec("T9"), "F1/S4", "F2/S4"),
        TieSpec(SwitchSpec("T10"), "F1/S2", "F2/S2"),
    ),
    loads={
        "F1/S1": LoadSpec(30.0, 90),
        "F1/S2": LoadSpec(50.0, 180),
        "F1/S3": LoadSpec(35.0, 110, priority=2),
        "F1/S4": LoadSpec(25.0, 70),
        "F2/S1": LoadSpec(20.0, 60),
        "F2/S2": LoadSpec(45.0, 150, priority=3),
        "F2/S3": LoadSpec(40.0, 120),
        "F2/S4": LoadSpec(30.0, 95),
    },
)
"""Feeder F1 from ALPHA: Q1, L2, R3, L4; feeder F2 from BRAVO: Q5, L6, R7, L8; T9 joins their ends, T10 their
middles."""
TWO_SOURCE_RELAYS: Final = replace(TWO_SOURCE, name="two_source_relays", relays=True)
"""The same, with a simulated relay at each switch."""
