"""Generated files: the shipped sample, who listens to whom, what is refused."""

# ruff: noqa: E501  a piece of SCL stands on one line

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.resources import files

import open61850.scl
import pytest

from scl.generate import (
    FeederSpec,
    LateralSpec,
    LoadSpec,
    NetworkSpec,
    SwitchSpec,
    TieSpec,
    generate_icd,
    generate_scd,
    generate_site,
    generated_switches,
)
from scl.listening import needed_in, needed_subscriptions
from scl.reader import parse, read
from scl.regular import regular_network
from scl.sample import TWO_SOURCE
from scl.streams import GooseIndex, inputs_of
from scl.topology import primary_network
from scl.validation import check

SAMPLES = files("scl") / "samples"


def breaker(name: str, **values: float) -> SwitchSpec:
    return SwitchSpec(name, "breaker", **values)


TREE = NetworkSpec(
    "tree",
    (
        FeederSpec(
            "FA",
            "SUB",
            (breaker("Q", trip_delay_ms=900.0), breaker("R")),
            (
                LateralSpec("P", "FA/S1"),
                LateralSpec("X", "FA/S1", breaker("RX", rating_a=200.0)),
                LateralSpec("Y", "FA/X", SwitchSpec("LY", breaking_a=100.0)),
                LateralSpec("PV", "FA/S2", breaker("RP"), is_der=True),
            ),
        ),
        FeederSpec("FB", "SUB", (breaker("Q"),)),
        FeederSpec("FC", "OTHER", (breaker("Q"), SwitchSpec("L"))),
        FeederSpec("FD", "OTHER", (SwitchSpec("Q"),)),
    ),
    (TieSpec(SwitchSpec("T1"), "FA/Y", "FC/S2"),),
    loads={"FA/S1": LoadSpec(11.5, 3, 2)},
    voltage_kv=12.7,
)


@pytest.mark.parametrize("name", ["two_source.scd", "two_source.toml"])
def test_shipped_sample_is_what_the_generator_writes(name):
    text = (generate_scd if name.endswith("scd") else generate_site)(TWO_SOURCE)
    assert (SAMPLES / name).read_text(encoding="utf-8") == text


def test_parts_stand_in_the_order_of_the_schema():
    tags = [element.local for element in parse(generate_scd(TREE)).element.elements()]
    order = ["Header", "Substation", "Communication", "IED", "DataTypeTemplates", "Line"]
    assert list(dict.fromkeys(tags)) == order


def test_tree_network():
    found = primary_network(parse(generate_scd(TREE)))
    names = [section.name for section in found.sections]
    assert [
        (switch.number, switch.iedName, switch.path, *(names[index] for index in switch.sections))
        for switch in found.switches
    ] == [
        (1, "FAQ", "SUB/V12_7/FA/Q", "SUB/V12_7/BB/N1", "FA/S1"),
        (2, "FAR", "FA/R", "FA/S1", "FA/S2"),
        (3, "FARX", "FA/RX", "FA/S1", "FA/X"),
        (4, "FALY", "FA/LY", "FA/X", "FA/Y"),
        (5, "FARP", "FA/RP", "FA/S2", "FA/PV"),
        (6, "FBQ", "SUB/V12_7/FB/Q", "SUB/V12_7/BB/N1", "FB/S1"),
        (7, "FCQ", "OTHER/V12_7/FC/Q", "OTHER/V12_7/BB/N1", "FC/S1"),
        (8, "FCL", "FC/L", "FC/S1", "FC/S2"),
        (9, "FDQ", "OTHER/V12_7/FD/Q", "OTHER/V12_7/BB/N1", "FD/S1"),
        (10, "T1", "FA/T1", "FA/Y", "FC/S2"),
    ]
    assert [(each.number, each.iedName, each.path, each.normally_open) for each in generated_switches(TREE)] == [
        (switch.number, switch.iedName, switch.path, switch.number == 10) for switch in found.switches
    ]
    assert [item.equipment.type for item in found.section("FA/PV").equipment] == ["GEN"]
    assert found.section("FA/PV").nodes == ("FA/PV",)


HEARD = {
    # FA and, across T1, FC: 1-5, 10, 7, 8. Heads of one busbar hear each other and each other's ties.
    1: {2, 3, 4, 5, 6, 7, 8, 10},
    2: {1, 3, 4, 5, 7, 8, 10},
    3: {1, 2, 4, 5, 7, 8, 10},
    4: {1, 2, 3, 5, 7, 8, 10},
    5: {1, 2, 3, 4, 7, 8, 10},
    6: {1, 10},
    7: {1, 2, 3, 4, 5, 8, 9, 10},
    8: {1, 2, 3, 4, 5, 7, 10},
    9: {7, 10},
    10: {1, 2, 3, 4, 5, 7, 8},
}


def test_subscriptions_of_the_tree():
    scl = parse(generate_scd(TREE))
    streams = GooseIndex(scl)
    network = primary_network(scl)
    numbers = {switch.iedName: switch.number for switch in network.switches}
    for switch in network.switches:
        found, missing = streams.subscriptions(switch.iedName)
        assert missing == ()
        heard = {}
        for each in found:
            heard.setdefault(numbers[each.stream.iedName], set()).add(each.stream.cbName)
        assert set(heard) == HEARD[switch.number]
        assert all(blocks == {"gcbFast", "gcbSlow"} for blocks in heard.values())
    assert needed_in(network, {10}) == HEARD


def test_everyone_of_two_tied_feeders_hears_everyone():
    needed = needed_in(primary_network(read(str(SAMPLES / "two_source.scd"))), {9, 10})
    assert needed == {number: set(range(1, 11)) - {number} for number in range(1, 11)}


def test_neighbours_of_neighbours_are_not_heard():
    # source 0 -1- a -2(tie)- b -3- 0;  b -4(tie)- c -5- source 9
    switches = {1: (0, "a"), 2: ("a", "b"), 3: ("b", 0), 4: ("b", "c"), 5: ("c", 9)}
    needed = needed_subscriptions(switches, {0, 9}, {2, 4})
    assert needed[5] == {4, 3, 2}
    assert needed[3] == {1, 2, 4, 5}


def test_a_tie_onto_a_busbar_hears_its_feeder_and_the_heads():
    needed = needed_subscriptions({1: (0, "a"), 2: ("a", 9), 3: (9, "b")}, {0, 9}, {2})
    assert needed == {1: {2}, 2: {1, 3}, 3: {2}}


def test_site_file():
    site = tomllib.loads(generate_site(TREE))
    assert site["site"] == {"name": "tree", "scd": "tree.scd", "detection_time_ms": 3.0}
    switches = site["switch"]
    assert list(switches) == [switch.path for switch in primary_network(parse(generate_scd(TREE))).switches]
    assert switches["FA/T1"] == {
        "normal": "open", "rating_a": 400.0, "breaking_a": 630.0, "operating_time_ms": 50.0,
    }  # fmt: skip
    assert {path: entry["trip_delay_ms"] for path, entry in switches.items() if "trip_delay_ms" in entry} == {
        "SUB/V12_7/FA/Q": 900.0,
        "FA/R": 100.0,
        "FA/RX": 100.0,
        "FA/RP": 100.0,
        "SUB/V12_7/FB/Q": 100.0,
        "OTHER/V12_7/FC/Q": 100.0,
    }
    assert (switches["FA/RX"]["rating_a"], switches["FA/LY"]["breaking_a"]) == (200.0, 100.0)
    assert set(site["section"]) == {
        "FA/S1",
        "FA/S2",
        "FA/X",
        "FA/Y",
        "FA/PV",
        "FB/S1",
        "FC/S1",
        "FC/S2",
        "FD/S1",
    }
    assert site["section"]["FA/S1"] == {"load_a": 11.5, "customers": 3, "priority": 2}
    assert site["section"]["FA/PV"] == {"load_a": 0.0, "customers": 0, "priority": 1, "generation_a": 30.0}


def test_grading_is_longest_at_the_head():
    feeder = FeederSpec("F", "S", (breaker("A"), SwitchSpec("L"), breaker("B"), breaker("C")))
    switches = tomllib.loads(generate_site(NetworkSpec("n", (feeder,))))["switch"]
    assert [switches[path]["trip_delay_ms"] for path in ("S/V20/F/A", "F/B", "F/C")] == [500.0, 300.0, 100.0]


def test_addresses_are_unique_and_of_their_class():
    scl = parse(
        generate_scd(NetworkSpec("n", tuple(FeederSpec(f"F{n}", f"S{n}", (breaker("Q"),)) for n in range(300))))
    )
    streams = [stream for ied in scl.ieds for stream in GooseIndex(scl).published_by(ied.name)]
    assert len({stream.address.mac for stream in streams}) == 600
    assert len({stream.address.appid for stream in streams}) == 600
    for stream in streams:
        assert stream.address.mac.hex("-").startswith("01-0c-cd-01-")
        assert 0x8000 <= stream.address.appid <= 0xBFFF if stream.cbName == "gcbFast" else stream.address.appid < 0x4000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a b"}, "network 'a b'"),
        ({"feeders": (replace(TREE.feeders[0], name='F"'),)}, "feeder 'F\"'"),
        ({"feeders": (TREE.feeders[1], TREE.feeders[1])}, "feeder FB is named twice"),
        ({"feeders": (FeederSpec("SUB", "SUB", (breaker("Q"),)),)}, "feeder SUB is named like a substation"),
        ({"feeders": (FeederSpec("BB", "SUB", (breaker("Q"),)),)}, "SUB/V12_7/BB is named twice"),
        ({"feeders": (FeederSpec("FA", "SUB", ()),)}, "feeder FA without a switch"),
        ({"feeders": (FeederSpec("FA", "SUB", (breaker("Q"), breaker("Q"))),)}, "FAQ is named twice"),
        ({"feeders": (FeederSpec("FA", "SUB", (breaker("Q"), breaker("S1b"))),)}, "FA/S1b is named twice"),
        ({"ties": (TieSpec(SwitchSpec("T"), "FA/S1", "FA/S9"),)}, "no section 'FA/S9'"),
        ({"ties": (TieSpec(SwitchSpec("T"), "FA/S1", "FA/S1"),)}, "both ends in section FA/S1"),
        ({"loads": {"FA/S9": LoadSpec()}}, "no section 'FA/S9'"),
        ({"feeders": (*TREE.feeders[1:], FeederSpec("FA", "SUB", (breaker("Q"),), (LateralSpec("X", "FB/S1"),)))}, "hangs on FB/S1"),
        ({"feeders": (FeederSpec("FA", "SUB", (breaker("Q"),), (LateralSpec("S1", "FA/S1", breaker("R")),)),)}, "FA/S1 is named twice"),
        ({"feeders": (FeederSpec("FA", "SUB", (breaker("Q"),), (LateralSpec("G", "FA/S1", is_der=True),)),)}, "DER G of FA without a switch"),
    ],
)  # fmt: skip
def test_impossible_specifications_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        generate_scd(replace(TREE, **({"ties": (), "loads": {}} | change)))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 9),
        ({"feeders": 1, "switches": 1, "ties": 0}, 1),
        ({"feeders": 3, "switches": 2, "ties": 2, "laterals": 3, "ders": 2, "breaker_every": 1}, 27),
        ({"feeders": 9, "switches": 5, "ties": 2, "laterals": 1, "ders": 1}, 81),
    ],
)
def test_regular_networks_are_valid_and_read_by_others(options, count, tmp_path):
    spec = regular_network("reg", **options)
    text = generate_scd(spec)
    switches = generated_switches(spec)
    assert len(switches) == count
    assert check(text.encode(), normally_open=[each.path for each in switches if each.normally_open]) == []
    path = tmp_path / "reg.scd"
    path.write_text(text, encoding="utf-8")
    assert [ied.name for ied in open61850.scl.load_ieds(str(path))] == [each.iedName for each in switches]
    model = open61850.scl.load_model(str(path), switches[0].iedName)
    assert list(model.logical_devices) == [switches[0].iedName + "FLISR"]
    site = tomllib.loads(generate_site(spec))
    assert list(site["switch"]) == [each.path for each in switches]
    assert set(site["section"]) == {name for each in switches for name in each.sections if "/" in name}


@pytest.mark.parametrize("relays", [False, True])
def test_every_subscribed_stream_is_supervised(relays):
    scl = parse(generate_scd(replace(TWO_SOURCE, relays=relays)))
    for ied in scl.ieds:
        ldevice = ied.ldevice("FLISR")
        if ldevice is None:
            continue
        sources = [(extref.iedName, extref.srcLDInst, extref.srcCBName) for extref in inputs_of(ied)]
        heard = list(dict.fromkeys(f"{ied}{device}/LLN0.{control}" for ied, device, control in sources))
        nodes = [ln for ln in ldevice.nodes() if ln.lnClass == "LGOS"]
        assert [ln.value("GoCBRef", "setSrcRef") for ln in nodes] == heard
        assert [ln.inst for ln in nodes] == [str(place) for place in range(1, len(heard) + 1)]
        assert len(heard) == 18 + 2 * relays


@pytest.mark.parametrize(
    "options", [{"feeders": 0}, {"switches": 0}, {"ties": 5}, {"laterals": -1}, {"breaker_every": 0}]
)
def test_impossible_regular_networks(options):
    with pytest.raises(ValueError, match=r"expected at least|ties between"):
        regular_network("n", **options)


@pytest.mark.parametrize(("kind", "node"), [("breaker", "XCBR"), ("load_break", "XSWI")])
def test_icd_of_an_agent(kind, node, tmp_path):
    text = generate_icd(kind)
    assert check(text.encode()) == []
    scl = parse(text)
    assert [ied.name for ied in scl.ieds] == ["TEMPLATE"]
    ldevice = scl.ieds[0].ldevice("FLISR")
    nodes = ["LLN0", "LPHD", node, "CSWI", "PTOC", "PTRC", "RBRF", "LTMS", "AFSR"]
    assert [ln.lnClass for ln in ldevice.nodes()] == nodes
    assert ldevice.node("", "AFSR", "1").value("SwNum", "setVal") is None
    assert {"XCBR", "XSWI"} & {each.lnClass for each in scl.templates.lnode_types} == {node}
    path = tmp_path / "agent.icd"
    path.write_text(text, encoding="utf-8")
    (ied,) = open61850.scl.load_ieds(str(path))
    references = [block.gocb_ref for block in ied.goose_controls]
    assert references == [f"TEMPLATEFLISR/LLN0$GO$gcb{name}" for name in ("Fast", "Slow", "Relay")]
