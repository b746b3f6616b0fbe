"""Nothing is lost between an IED and a control centre, whatever is killed or cut between them."""

from __future__ import annotations

import importlib.util

import pytest
from mms_field_kill import campaign
from mms_field_site import KINDS


@pytest.fixture(autouse=True)
def _needs(require):
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850-ng is not installed")
    require(importlib.util.find_spec("open61850"), "open61850 is not installed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["worker", "gateway", "line"])
async def test_every_event_comes_through_in_order_whatever_is_killed(what, kind, tmp_path):
    count = await campaign(tmp_path, what, kind, rounds=20 if what == "worker" else 10, seed=7)
    assert count.good, count.as_dict()


async def test_who_keeps_an_entry_before_its_event_is_stored_loses_events(tmp_path):
    """The judge can see a loss."""
    count = await campaign(tmp_path, "gateway", "libiec61850", rounds=5, seed=7, order="at once", write_s=0.4)
    assert count.lost
