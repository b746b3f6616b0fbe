"""libiec61850's publisher on a real Ethernet is heard by the gateway's listener: value, quality, time, loss, return."""

from __future__ import annotations

import asyncio

import goose_site
import pytest
from goose_site import APPID, CONF_REV, DATASET, DST, GO_ID, GOCB, at
from iec104_field_world import Outlet

from gateway.adapters.goose_listener import GooseListener
from gateway.points.point_list import point_list
from gateway.points.table import PointTable
from gateway.site import read_site
from ied_agents.iec61850.quality import Quality, Validity
from tools.lab import HOST_INTERFACE

OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
PATIENCE_S = 60
POS = "REL1LD0/GGIO2.Pos1"


def send(station, position, seconds, *, new=True, conf_rev=CONF_REV):
    t = ["utc time", at(seconds).encode().hex()]
    good = ["bit string", "0" * 13]
    members = [["bit string", position], good, t, ["boolean", False], good, t, ["integer", 0], good]
    head = {"gocbRef": GOCB, "datSet": DATASET, "goID": GO_ID, "confRev": conf_rev, "appid": APPID, "dst": DST.hex()}
    flags = {"ndsCom": False, "simulation": False, "timeAllowedtoLive": 500, "vlan": None}
    station.order(**head, **flags, new_state=new, allData=members)


@pytest.fixture
def read(tmp_path):
    (tmp_path / "s.scd").write_text(goose_site.scd())
    file = tmp_path / "s.toml"
    text = f'[site]\nname = "s"\nscd = "s.scd"\n[[ied]]\nname = "REL1"\nmms = false\ngoose = "{HOST_INTERFACE}"\n'
    file.write_text(text)
    return read_site(file)


@pytest.fixture
def lab(make_lab):
    return make_lab("ours", "theirs")


async def until(true):
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)


async def test_a_foreign_publisher_is_heard_lost_and_heard_again(lab, libiec61850, read):
    station = libiec61850(lab, "theirs", "publish", HOST_INTERFACE)
    outlet = Outlet(PointTable(point_list(read.scl, common=1).points()))
    listener = GooseListener(read.goose())
    with lab.enter("ours"):
        listener.start(outlet)
    try:

        def told(*wanted):
            return any(name == POS and tuple(point[:2]) == wanted for name, point in outlet.told)

        send(station, "10", 100)
        await until(lambda: told(2, 0))
        assert outlet.told[0][1].t_ns == 100 * 10**9
        await until(lambda: told(2, OLD))  # it says nothing more
        outlet.told.clear()
        send(station, "01", 200)
        await until(lambda: told(1, 0))
        await until(lambda: told(1, OLD))
        wrong = libiec61850(lab, "theirs", "publish", HOST_INTERFACE)
        outlet.told.clear()
        send(wrong, "10", 300, conf_rev=CONF_REV + 1)
        await until(lambda: listener.status()[0].refused == 1)
        assert not outlet.told
        assert "confRev is 8; the SCD says 7" in listener.status()[0].why
    finally:
        listener.close()
