"""The user's own network for a campaign: its SCD and the site file beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.site import SiteError, read_site
from tools.campaign.feeders import FeederSystem

if TYPE_CHECKING:
    from pathlib import Path


def user_system(scd: Path, site: Path | None = None) -> FeederSystem:
    """The network of an SCD.

    Args:
        scd: the file.
        site: its site file; None for the TOML beside it that has its name.

    Raises:
        SiteError: with every problem found.
    """
    file = site if site is not None else scd.with_suffix(".toml")
    if site is None and not file.exists():
        raise SiteError([f"{scd}: there is no {file.name} beside it; name the site file with --site"])
    read = read_site(file)
    named = file.parent / read.settings.site.scd
    if named.resolve() != scd.resolve():
        raise SiteError([f"{file}: it is the site file of {named}, not of {scd}"])
    return FeederSystem(read.plant(), next(iter(read.agents.values())).config.feeder, read.agents)
