"""``[[ied]]`` of a site file: a foreign IED through ``flisr run``, and the site's own agents through their MMS host."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import signal
import sys

import foreign_ied
import pytest
from iec104_field_site import PATIENCE_S, Centre, until
from mms_field_site import Foreign, site
from mms_hosted import SAMPLES, SITE, Hosted

from gateway.iec104.asdu import TypeID
from ied_agents.iec61850.quality import Quality, Validity
from ied_agents.process.plant import PlantSettings
from scl.reader import read
from tools.demo.stage import Stage

OLD = Quality(Validity.QUESTIONABLE, oldData=True).to_int()
T_NS = 1_600_000_000_250_000_000


@pytest.fixture(autouse=True)
def _needs(require):
    require(importlib.util.find_spec("pyiec61850"), "pyiec61850-ng is not installed")


@contextlib.asynccontextmanager
async def running(file):
    """``flisr run``: the port of its centre."""
    words = [sys.executable, "-P", "-m", "tools.cli", "run", str(file), "--json"]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        assert said["devices"] == ["REL1"]
        yield said["served"][0]["port"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_a_site_with_a_foreign_IED_runs(tmp_path):
    ied = await Foreign.start("libiec61850")
    (tmp_path / "s.scd").write_text(foreign_ied.scd())
    file = tmp_path / "s.toml"
    file.write_text(
        f'[site]\nname = "s"\nscd = "s.scd"\n[[ied]]\nname = "REL1"\nhost = "127.0.0.1:{ied.port}"\n'
        '[[centre]]\nname = "west"\nlisten = "127.0.0.1"\nport = 0\ncommon_address = 1\n'
        '[point."REL1LD0/GGIO2.Pos1"]\nIOA = 77\n[point."REL1LD0/CSWI1.Pos"]\ncontrol_IOA = 78\n'
    )
    try:
        async with running(file) as port:
            centre = Centre(port, (1,))
            ied.set(GGIO2__Pos1={"stVal": 2, "q": 0, "t": [T_NS, 10]})
            await centre.hears((1, 77, 2, 0, False))
            ended = await centre.command(1, 78, TypeID.C_DC_TA_1, 2, select=True)
            assert (ended.done, ended.stage) == (True, "termination")
            await centre.client.close()
        ied.set(GGIO2__Pos1={"stVal": 1, "q": 0, "t": [T_NS + 10**9, 10]})
        async with running(file) as port:
            centre = Centre(port, (1,))
            await centre.hears((1, 77, 1, 0, False))
            await centre.client.close()
    finally:
        await ied.close()


@pytest.fixture
def hosted(make_lab, tmp_path):
    """Not made in a running loop: the laboratory has one of its own."""
    with Stage(SITE, tmp_path / "out", PlantSettings(), 1) as stage:
        made = Hosted(stage, tmp_path)
        made.start()
        yield made
        made.kill()


async def test_a_breaker_that_moves_in_an_agent_is_at_the_centre_with_the_agents_time(hosted, tmp_path):
    async with site(tmp_path, hosted.ports["F1R3"], scl=read(SAMPLES / "two_source.scd"), ied="F1R3") as made:
        await until(lambda: (made.shown("XCBR1.Pos") or ())[:2] == (2, 0))
        # The agent's authority is station: a control centre has none.
        assert (await made.command("CSWI1.Pos", 1, select=True))[:2] == (False, "select")
        await asyncio.to_thread(hosted.ask, "F1R3", request="authority", authority="remote")
        assert await made.command("CSWI1.Pos", 1, select=True) == (True, "termination", "")
        await until(lambda: made.shown("XCBR1.Pos")[:2] == (1, 0))
        opened = [each["t_ns"] for each in hosted.journal("F1R3") if each.get("values", {}).get("SW1.Pos.stVal") == 1]
        assert abs(made.shown("XCBR1.Pos")[2] - opened[-1]) < 10**9
        row = made.row("XCBR1.Pos")
        await made.centre.hears((row.CA, row.IOA, 2, 0, False), (row.CA, row.IOA, 1, 0, False))
        orders = [json.loads(each["request"]) for each in hosted.journal("F1R3") if each["kind"] == "operator"]
        assert [each["orIdent"] for each in orders if each["request"] == "open"] == ["west"]
        hosted.kill()
        await until(lambda: made.shown("XCBR1.Pos")[1] == OLD)
        await asyncio.to_thread(hosted.start)
        await until(lambda: made.shown("XCBR1.Pos")[:2] == (1, 0))
