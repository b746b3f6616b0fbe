"""The whole way: c104's server as field device, our gateway, c104's client as control centre.

What ours sends in both directions is read by tshark afterwards, as in the tests beside.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from c104_peers import (
    CONTROLS,
    COUNTERS,
    MONITORED,
    PROTECTION,
    SELECTED,
    SELECTED_TAGGED,
    TO_REFUSE,
    TO_SELECT,
    UTC_NS,
    as_ours,
    commands,
    tagged_ms,
    vectors,
    wire,
)
from iec104_field_site import control, gateway, point, rtu, until

from gateway.iec104.asdu import Cause, TypeID, tag_of
from gateway.iec104.master import CommandEnded

CDCS = {
    "M_SP": "SPS", "M_DP": "DPS", "M_ST": "BSC", "M_BO": "INS", "M_ME": "MV", "M_IT": "BCR",
    "M_EP_TE": "ACD", "M_EP_TF": "ACT",
    "C_SC": "SPC", "C_DC": "DPC", "C_RC": "BSC", "C_SE_NA": "APC", "C_SE_TA": "APC", "C_SE_NC": "APC",
    "C_SE_TC": "APC", "C_SE": "INC", "C_BO": "INC",
}  # fmt: skip
UNMAPPED = ("M_PS_NA_1", "M_EP_TD_1")
"""IEC TS 61850-80-1 has nothing for packed points and protection events 38."""
POINTS = {ioa: kind for ioa, kind in MONITORED.items() if kind not in UNMAPPED}


def cdc(kind):
    return CDCS.get(kind[:7]) or CDCS[kind[:4]]


def device(port, select=TO_SELECT):
    return rtu(
        "c104",
        [port],
        [point(ioa, f"m{ioa}", cdc(kind), TypeID[kind]) for ioa, kind in POINTS.items()],
        [
            control(ioa, f"c{ioa}", cdc(kind), TypeID[kind], select=ioa in select, terminated=False)
            for ioa, kind in CONTROLS.items()
        ],
        counters=True,
    )


def on_the_way(kind, qualifier):
    """What is left of a qualifier behind c104's server and a point: see the tests beside, and the mapping."""
    if kind.startswith("M_BO") or kind == "M_ME_ND_1":
        return 0  # c104 leaves it out; the type has none
    if kind.startswith("M_IT"):
        return qualifier & 0x80
    return qualifier & 0xF0 | 0x08 if kind.startswith("M_EP") else qualifier


async def the_whole_way(stage, folder, stack, **client):
    server, field = await stage.their_server()
    site = await stack.enter_async_context(gateway(folder, device(field.port), centre=False, first_CA=1, **client))
    await until(lambda: site.rtus.rtus["c104"].station.started)
    recorder = await stage.record(site.port, ours_is_server=True)
    more = {"selected": ()} if client else {}
    return server, site, await stage.their_client(recorder, **more), field


@pytest.fixture
async def way(stage, tmp_path):
    """``way()``: device, our gateway, centre, and the line to the device."""
    async with AsyncExitStack() as stack:
        yield lambda **client: the_whole_way(stage, tmp_path / "events", stack, **client)


async def test_every_mapped_type_goes_the_whole_way(way):
    server, site, client, _ = await way()
    await until(lambda: not site.rtus.rtus["c104"].station._requests)
    shown = len(site.outlet.table.snapshot())  # what the interrogations found; the centre is told that first
    first = await client.heard(lambda said: len({m["ioa"] for m in said if "ioa" in m}) == shown)
    wanted = {m["ioa"]: [as_ours(m)] for m in first if "ioa" in m}
    for ioa, kind in POINTS.items():
        for number, (value, qualifier, elapsed_ms) in enumerate(vectors(kind)):
            at_ms = UTC_NS // 10**6 + number
            more = {"qualifier": qualifier, "elapsed_ms": elapsed_ms, "at_ms": at_ms}
            assert await server.ask("set", ioa=ioa, value=wire(value), cause="SPONTANEOUS", **more)
            time_ns = at_ms * 10**6 if tag_of(TypeID[kind]) else None
            wanted.setdefault(ioa, []).append((value, on_the_way(kind, qualifier), 0, time_ns))
    last = {ioa: told[-1][:2] for ioa, told in wanted.items()}

    def arrived(said):
        return {m["ioa"]: as_ours(m)[:2] for m in said if "ioa" in m} == last

    heard = first + await client.heard(arrived)
    for ioa, kind in POINTS.items():
        told = [message for message in heard if message.get("ioa") == ioa]
        assert {(m["type"], m["cause"]) for m in told} == {(kind, "SPONTANEOUS")}
        assert without_repeats([as_ours(m) for m in told]) == without_repeats(wanted[ioa]), kind
    assert (site.rtus.rtus["c104"].unknown, site.rtus.rtus["c104"].unfit) == (0, 0)


def without_repeats(told):
    """Without those that are no news: a type without time says the same again, as do numbers."""
    return [one for before, one in zip([None, *told], told, strict=False) if before is None or before[:2] != one[:2]]


async def test_what_the_device_shows_is_interrogated_the_whole_way(stage, tmp_path):
    server, field = await stage.their_server()
    values = {ioa: vectors(kind)[1][0] for ioa, kind in POINTS.items()}
    for ioa, value in values.items():
        assert await server.ask("set", ioa=ioa, value=wire(value), at_ms=UTC_NS // 10**6)
    async with gateway(tmp_path, device(field.port), centre=False, first_CA=1) as site:
        told = {ioa for ioa, kind in POINTS.items() if kind != "M_ME_ND_1"} - PROTECTION  # c104 leaves these out
        await until(lambda: len(site.outlet.table.snapshot()) == len(told))
        recorder = await stage.record(site.port, ours_is_server=True)
        client = await stage.their_client(recorder)
        assert await client.ask("interrogate")
        asdus = recorder.asdus(from_server=True)
        shown = {o.IOA: (o.value, o.qualifier) for a in asdus if a.cause == Cause.INTERROGATED for o in a.objects}
        assert shown == {
            ioa: (values[ioa], 0) if ioa in told else (0.0, 0) for ioa in set(POINTS) - COUNTERS - PROTECTION
        }


async def test_commands_of_every_type_go_the_whole_way_and_back(way):
    server, _, client, _ = await way()
    await server.heard(lambda said: True)
    for ioa, kind, value, qualifier, _ in commands():
        done = await client.ask("command", ioa=ioa, value=value, qualifier=qualifier, **tagged_ms(kind))
        assert done is (ioa not in TO_REFUSE), (kind, value, qualifier)
        (message,) = await server.heard(lambda said: said)  # once, and of the device's own selects it says nothing
        assert (message["ioa"], message["type"], *as_ours(message)[:2]) == (ioa, kind, value, qualifier)


async def test_what_only_the_device_wants_selected(way):
    server, _, client, field = await way(select=False)
    await server.heard(lambda said: True)
    for ioa in (SELECTED, SELECTED_TAGGED):
        assert await client.ask("command", ioa=ioa, value=2, **tagged_ms(CONTROLS[ioa]))
        (message,) = await server.heard(lambda said: said)
        assert (message["ioa"], message["value"]) == (ioa, 2)
        sent = [o for a in field.asdus(from_server=False) for o in a.objects if ioa == o.IOA]
        assert [one.qualifier for one in sent] == [0x80, 0]


async def test_a_slow_disk_slows_their_server_down_and_costs_nothing(way, monkeypatch):
    server, site, client, field = await way()
    write = site.outlet.log.write

    def slowly():
        time.sleep(0.03)
        return write()

    monkeypatch.setattr(site.outlet.log, "write", slowly)
    values = list(range(1, 301))
    for value in values:
        assert await server.ask("set", ioa=6, value=value, cause="SPONTANEOUS")
    heard = await client.heard(lambda said: any(m.get("ioa") == 6 and m["value"] == values[-1] for m in said))
    assert [m["value"] for m in heard if m.get("ioa") == 6 and m["value"]] == values
    assert len(field.lines) == 1  # and never was the connection given up


async def test_a_device_that_is_killed_is_shown_as_old_and_comes_back(stage, tmp_path):
    server, field = await stage.their_server()
    assert await server.ask("set", ioa=6, value=77)
    async with gateway(tmp_path, device(field.port), centre=False, first_CA=1) as site:
        recorder = await stage.record(site.port, ours_is_server=True)
        client = await stage.their_client(recorder)
        good = ("SPONTANEOUS", 77, 0)

        def shows(*wanted):
            return lambda said: wanted in [(m["cause"], m["value"], m["qualifier"]) for m in said if m.get("ioa") == 6]

        await client.heard(shows(*good))
        await server.kill()
        await client.heard(shows("SPONTANEOUS", 77, 0x40))
        assert not await client.ask("command", ioa=101, value=True)
        server, _ = await stage.their_server()
        assert await server.ask("set", ioa=6, value=77)
        field.target = server.ready["port"]
        await client.heard(shows(*good))
        async with asyncio.timeout(60):
            while not await client.ask("command", ioa=101, value=True):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.1)


async def test_a_cancel_that_the_device_takes_for_a_select_is_no_yes(stage):
    """c104's server knows no cancel (cause 8): it selects again and says so."""
    _, recorder = await stage.their_server()
    master = await stage.master(recorder, interrogate=False, confirm_s=1.0)
    kind = TypeID[CONTROLS[SELECTED]]
    ended = await master.command(SELECTED, kind, 2, select=True, execute=False, terminated=False)
    assert (ended.done, ended.stage) == (True, "select")
    master.station.cancel(1, SELECTED, kind, 2, master.client.now(), 0)
    master.client.flush()
    _, ended = await master.until(lambda: master.of(CommandEnded)[1:] and master.of(CommandEnded))
    assert (ended.done, ended.stage, ended.moving) == (False, "cancel", False)
    assert recorder.asdus(from_server=False)[-1].cause == Cause.DEACTIVATION
    answers = [asdu.cause for asdu in recorder.asdus(from_server=True)]
    assert answers.count(Cause.ACTIVATION_CON) == 2
    assert Cause.DEACTIVATION_CON not in answers
