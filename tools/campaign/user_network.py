"""The user's own network for a campaign: its SCD and the site file beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.site import site_of
from tools.campaign.feeders import FeederSystem

if TYPE_CHECKING:
    from pathlib import Path


def user_system(scd: Path, site: Path | None = None) -> FeederSystem:
    """The network of an SCD; arguments and errors as of ``site_of``."""
    read = site_of(scd, site)
    return FeederSystem(read.plant(), next(iter(read.agents.values())).config.feeder, read.agents)
