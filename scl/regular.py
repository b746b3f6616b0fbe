"""Feeder systems of any size that look alike everywhere: for trials, measurements and load."""

from __future__ import annotations

from scl.generate import FeederSpec, LateralSpec, NetworkSpec, SwitchSpec, TieSpec

_FEEDERS_PER_SUBSTATION = 4


def regular_network(
    name: str,
    *,
    feeders: int = 2,
    switches: int = 4,
    laterals: int = 0,
    ties: int = 1,
    ders: int = 0,
    breaker_every: int = 2,
) -> NetworkSpec:
    """A system of equal feeders, each tied to the next, and the last to the first.

    Args:
        name: of the system.
        feeders: how many; up to four share a substation, neighbours stand in different ones.
        switches: in series along each feeder.
        laterals: behind a load-break switch, on each feeder.
        ties: between each pair of neighbours, from the ends inwards.
        ders: local generation behind a breaker, on each feeder.
        breaker_every: each nth switch of a feeder is a breaker, from the first on; the others break load.

    Raises:
        ValueError: a number is too small, or there are more ties than sections to hang them on.
    """
    for what, number, least in (
        ("feeders", feeders, 1),
        ("switches", switches, 1),
        ("laterals", laterals, 0),
        ("ties", ties, 0),
        ("ders", ders, 0),
        ("breaker_every", breaker_every, 1),
    ):
        if number < least:
            raise ValueError(f"{what} {number}; expected at least {least}")
    if ties > switches:
        raise ValueError(f"{ties} ties between neighbours with {switches} sections each")
    substations = max(2, -(-feeders // _FEEDERS_PER_SUBSTATION))
    pairs = [(n, n + 1) for n in range(1, feeders)] + ([(feeders, 1)] if feeders > 2 else [])
    return NetworkSpec(
        name,
        tuple(
            FeederSpec(
                f"F{n}",
                f"SUB{(n - 1) % substations + 1}",
                tuple(
                    SwitchSpec(f"Q{index + 1}", "load_break" if index % breaker_every else "breaker")
                    for index in range(switches)
                ),
                (
                    *(
                        LateralSpec(f"LAT{index + 1}", f"F{n}/S{index % switches + 1}", SwitchSpec(f"L{index + 1}"))
                        for index in range(laterals)
                    ),
                    *(
                        LateralSpec(
                            f"DER{index + 1}",
                            f"F{n}/S{switches - index % switches}",
                            SwitchSpec(f"G{index + 1}", "breaker"),
                            is_der=True,
                        )
                        for index in range(ders)
                    ),
                ),
            )
            for n in range(1, feeders + 1)
        ),
        tuple(
            TieSpec(SwitchSpec(f"T{a}_{b}_{index + 1}"), f"F{a}/S{section}", f"F{b}/S{section}")
            for a, b in pairs
            for index in range(ties)
            for section in [switches - index * switches // ties]
        ),
    )
