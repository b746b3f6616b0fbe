"""Control centres, field devices and points of a site file: the sample resolves, and all that is wrong is located."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

import scl
from gateway.iec104.asdu import Sizes, TypeID
from gateway.site import SiteError, read_site
from gateway.site_rtu import split_host

SAMPLES = Path(scl.__file__).parent / "samples"
CENTRE = '[[centre]]\nname = "a"\nlisten = "127.0.0.1"\npoints = { include = ["F1Q1*/CSWI1.Pos"] }\n'
RTU = '[[rtu]]\nname = "r"\nhosts = ["h"]\nCAs = [1]\n'
OVERFLOW = CENTRE + "overflow_CA = 3\noverflow_IOA = 9\n"
ALONE = '[site]\nname = "n"\n'
POINT = '[[rtu.point]]\nname = "p"\ncdc = "DPC"\ntypeID = 31\nIOA = 5\n'


@pytest.fixture
def site(tmp_path):
    (tmp_path / "two_source.scd").write_bytes((SAMPLES / "two_source.scd").read_bytes())
    base = (SAMPLES / "two_source.toml").read_text(encoding="utf-8")

    def write(more):
        file = tmp_path / "two_source.toml"
        file.write_text(base + more, encoding="utf-8")
        return file

    return write


def problems(file):
    with pytest.raises(SiteError) as refused:
        read_site(file).iec104()
    return [problem.removeprefix(f"{file}: ") for problem in refused.value.problems]


def test_the_sample_resolves():
    centres, rtus = read_site(SAMPLES / "two_source_104.toml").iec104()
    regional, neighbour = centres
    assert (regional.listen, regional.port, regional.tls) == ("127.0.0.1", 2404, None)
    station = regional.config.station
    assert (station.time_base.name, station.cyclic_s, station.command_age_s) == ("Europe/Sarajevo", 60.0, 30.0)
    assert (regional.config.most_events, {row.CA for row in regional.config.rows}) == (50_000, {1})
    assert neighbour.config.station.sizes == Sizes(2, 1, 2)
    assert (neighbour.config.station.link.k, neighbour.config.station.link.w) == (6, 4)
    assert {row.cdc for row in neighbour.config.rows} == {"DPC"}
    (rtu,) = rtus
    config = rtu.config
    assert config.reach.addresses == (("192.0.2.11", 2404), ("198.51.100.11", 2404))
    assert (config.settings.CAs, config.settings.clock_s, config.settings.counters) == ((31,), 3600.0, True)
    assert [point.IOA for point in config.points] == [100, 400, 500]
    assert [(control.IOA, control.select) for control in config.controls] == [(2100, True)]


def test_the_switches_of_the_sample_are_those_of_the_plain_one():
    with_104 = read_site(SAMPLES / "two_source_104.toml").settings
    plain = read_site(SAMPLES / "two_source.toml").settings
    assert (with_104.switch, with_104.section) == (plain.switch, plain.section)


def test_a_point_is_as_the_site_says():
    centres, _ = read_site(SAMPLES / "two_source_104.toml").iec104()
    rows = {(row.name, row.control): row for row in centres[0].config.rows}
    assert [rows["F1Q1FLISR/CSWI1.Pos", way].IOA for way in (False, True)] == [1, 1001]
    assert rows["F1Q1FLISR/CSWI1.Pos", False].background
    health = rows["F1Q1FLISR/LLN0.Health", False]
    assert (health.typeID, health.expectedValue, health.event_class) == (TypeID.M_SP_TB_1, 1, 1)
    assert rows["F1Q1FLISR/XCBR1.OpCnt", False].typeID is TypeID.M_ME_NB_1


def test_files_are_beside_the_site_file_and_tls_has_its_own_port(site):
    more = 'tls = { certificate = "c.pem", key = "k.pem", authority = "a.pem" }\ncertificates = ["scada"]\n'
    file = site(CENTRE + more + 'clients = ["10.0.0.0/8"]\nassigned = "a.csv"\n')
    (centre,), _ = read_site(file).iec104()
    assert centre.port == 19998
    assert (centre.tls.key, centre.tls.revoked, centre.assigned) == (file.parent / "k.pem", None, file.parent / "a.csv")
    assert centre.config.clients == (ip_network("10.0.0.0/8"),)
    assert centre.config.certificates == {"scada"}


WRONG = {
    "w above k": (CENTRE + "link = { k = 4, w = 5 }\n", r"centre\[1\]\.link\.w: .*w is 5; 1 to k, which is 4"),
    "k below the default of w": (CENTRE + "link = { k = 4 }\n", r"centre\[1\]\.link\.w: .*w is 8; 1 to k"),
    "t2 above t1": (CENTRE + "link = { t1_s = 5.0 }\n", r"centre\[1\]\.link\.t2_s: .*t2 is 10 s; less than t1"),
    "t3 infinite": (CENTRE + "link = { t3_s = inf }\n", r"centre\[1\]\.link\.t3_s: .*more than 0"),
    "no zone": (CENTRE + 'time_zone = "Mars/Base"\n', r"centre\[1\]\.time_zone: .*'Mars/Base' is no time zone"),
    "no listen": (CENTRE.replace("127.0.0.1", "here"), r"centre\[1\]\.listen: .*'here'"),
    "no network": (CENTRE + 'clients = ["10.0.0.1/8"]\n', r"centre\[1\]\.clients\[1\]"),
    "sizes": (CENTRE + "sizes = { COT = 3 }\n", r"centre\[1\]\.sizes\.COT: "),
    "addresses too long": (CENTRE + "sizes = { IOA = 1 }\n", r"centre\[1\]\.sizes: CA 1 IOA 20001: does not fit"),
    "unknown key": (CENTRE + "speed = 1\n", r"centre\[1\]\.speed: Extra inputs"),
    "certificates without TLS": (CENTRE + 'certificates = ["a"]\n', r"centre\[1\]\.certificates: only with tls"),
    "name twice": (CENTRE + CENTRE + "port = 1\n", r"centre\[2\]\.name: a is centre\[1\] too"),
    "same place": (CENTRE + CENTRE.replace('"a"', '"b"'), r"centre\[2\]: centre\[1\] listens there too"),
    "no point": (CENTRE.replace("F1Q1", "None"), r"centre\[1\]\.points: no point is left"),
    "unknown point": (
        CENTRE + '[point."F1Q1FLISR/CSWI1.Poss"]\nIOA = 1\n',
        r'point\."F1Q1FLISR/CSWI1\.Poss": .*no point.*; there is F1Q1FLISR/CSWI1\.Pos',
    ),
    "impossible type": (
        CENTRE + '[point."F1Q1FLISR/CSWI1.Pos"]\ntypeID = "M_ME_NC_1"\n',
        r'point\."F1Q1FLISR/CSWI1\.Pos": type 13 cannot monitor a DPC',
    ),
    "type that is none": (
        CENTRE + '[point."F1Q1FLISR/CSWI1.Pos"]\ntypeID = "M_XX"\n',
        r'point\."F1Q1FLISR/CSWI1\.Pos"\.typeID: .*no type identification',
    ),
    "group": (
        CENTRE + '[point."F1Q1FLISR/CSWI1.Pos"]\ngroups = [17]\n',
        r'point\."F1Q1FLISR/CSWI1\.Pos"\.groups: .*expected some of 1 to 16',
    ),
    "address twice": (
        CENTRE.replace("Q1*", "*") + "common_address = 1\n"
        '[point."F1Q1FLISR/CSWI1.Pos"]\nIOA = 1\n[point."F1L2FLISR/CSWI1.Pos"]\nIOA = 1\n',
        r"centre\[1\]\.points: .*F1Q1FLISR/CSWI1\.Pos\.stVal: CA 1 IOA 1: F1L2FLISR/CSWI1\.Pos\.stVal has it too",
    ),
    "host": (RTU.replace('"h"', '"h:0"'), r"rtu\[1\]\.hosts: .*expected HOST"),
    "no host": (RTU.replace('"h"', ""), r"rtu\[1\]\.hosts: "),
    "point twice": (
        RTU + POINT + POINT.replace("= 5", "= 6"),
        r"rtu\[1\]\.point\[2\]\.name: p is rtu\[1\]\.point\[1\]",
    ),
    "rtu address twice": (RTU + POINT + POINT.replace('"p"', '"q"'), r"rtu\[1\]\.point\[2\]\.IOA: .*point\[1\] has it"),
    "bit string selected": (
        RTU + POINT.replace("DPC", "INC").replace("31", "51") + 'direction = "control"\nselect = true\n',
        r"rtu\[1\]\.point\[1\]\.select: a bit string",
    ),
    "half an address": (CENTRE + "overflow_CA = 3\n", r"centre\[1\]\.overflow_IOA: missing"),
    "overflow at an address that is taken": (
        OVERFLOW + '[point."F1Q1FLISR/CSWI1.Pos"]\nCA = 3\nIOA = 9\n',
        r"centre\[1\]\.points: .*flisr/a\.EvtLost\.stVal: CA 3 IOA 9: F1Q1FLISR/CSWI1\.Pos\.stVal has it too",
    ),
    "no point but of overflows": (OVERFLOW.replace("F1Q1", "None"), r"centre\[1\]\.points: no point is left"),
    "unknown point and no centre": ('[point."x/y.z"]\nIOA = 1\n', r'point\."x/y\.z": .*no point'),
    "near a field device's point": (
        CENTRE + RTU + POINT.replace('"p"', '"R/GGIO1.Ind1"') + '[point."R/GGIO1.Ind2"]\nIOA = 1\n',
        r'point\."R/GGIO1\.Ind2": .*; there is R/GGIO1\.Ind1',
    ),
    "impossible for a field device's point": (
        CENTRE.replace('"F1Q1*/CSWI1.Pos"', '"p"') + RTU + POINT + '[point."p"]\ntypeID = 36\n',
        r'point\."p": type 36 cannot monitor a DPC',
    ),
    "class": (RTU + POINT.replace("DPC", "DOC"), r"rtu\[1\]\.point\[1\]\.cdc: 'DOC'; expected one of SPS"),
    "type for class": (RTU + POINT.replace("31", "36"), r"rtu\[1\]\.point\[1\]: type 36 cannot monitor a DPC"),
    "which CA": (RTU.replace("[1]\n", "[1, 2]\n") + POINT, r"rtu\[1\]\.point\[1\]\.CA: missing; r has 1, 2"),
    "foreign CA": (RTU + POINT + "CA = 3\n", r"rtu\[1\]\.point\[1\]\.CA: 3 is none of r"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_located(site, case):
    more, expected = WRONG[case]
    [problem] = problems(site(more))
    assert re.match(expected, problem), problem


def test_all_is_told_at_once(site):
    more = (
        CENTRE + 'certificates = ["a"]\n' + RTU + POINT + "CA = 3\n" + '[point."x/y.z"]\nIOA = 1\n'
        '[point."F1Q1FLISR/CSWI1.Pos"]\nscale = 2.0\ntypeID = 36\n'
    )
    found = problems(site(more))
    assert [problem.split(":")[0] for problem in found] == [
        "centre[1].certificates",
        'point."F1Q1FLISR/CSWI1.Pos"',
        'point."x/y.z"',
        "rtu[1].point[1].CA",
    ]


def test_what_is_wrong_with_agents_and_with_104_is_told_together(site):
    file = site(CENTRE + 'certificates = ["a"]\n[section."F9/S1"]\nload_a = 1.0\n')
    with pytest.raises(SiteError) as refused:
        read_site(file)
    found = [problem.removeprefix(f"{file}: ").split(":")[0] for problem in refused.value.problems]
    assert found == ['section."F9/S1"', "centre[1].certificates"]


def test_centres_get_the_points_of_field_devices_at_addresses_of_their_own(site):
    more = POINT.replace('"p"', '"R/XCBR1.Pos"') + 'description = "coupler"\n'
    control = POINT.replace('"p"', '"R/XCBR1.Pos"').replace("31", "46") + 'direction = "control"\nselect = true\n'
    other = CENTRE.replace('"a"', '"b"') + "port = 9\n"
    file = site(
        CENTRE.replace('"F1Q1*/CSWI1.Pos"', '"F1Q1*/CSWI1.Pos", "R/*"') + other + RTU + more + control
        + '[point."R/XCBR1.Pos"]\nIOA = 77\ngroups = [3]\n'
    )  # fmt: skip
    (a, b), _ = read_site(file).iec104()
    rows = {row.control: row for row in a.config.rows if row.name == "R/XCBR1.Pos"}
    assert [(row.IOA, row.typeID, row.select, row.source) for row in rows.values()] == [
        (77, TypeID.M_DP_TB_1, False, "r"),
        (50001, TypeID.C_DC_TA_1, True, "r"),
    ]
    assert (rows[False].groups, rows[False].description) == ({3}, "coupler")
    assert {point.name: point.source for point in a.points.points()}["R/XCBR1.Pos"] == "r", "as the device is known"
    assert not [row for row in b.config.rows if row.source == "r"]


def test_of_two_devices_at_the_same_address_each_point_has_its_own(site):
    second = RTU.replace('"r"', '"s"') + POINT.replace('"p"', '"S/q"')
    file = site(CENTRE.replace('"F1Q1*/CSWI1.Pos"', '"R/*", "S/*"') + RTU + POINT.replace('"p"', '"R/p"') + second)
    (centre,), _ = read_site(file).iec104()
    assert len({(row.CA, row.IOA) for row in centre.config.rows}) == len(centre.config.rows) == 2


def test_only_addressed_means_field_devices_too(site):
    only = CENTRE.replace('include = ["F1Q1*/CSWI1.Pos"]', "addressed_only = true")
    file = site(only + RTU + POINT.replace('"p"', '"R/p"') + POINT.replace('"p"', '"R/q"').replace("= 5", "= 6")
                + '[point."R/q"]\nIOA = 3\n')  # fmt: skip
    (centre,), _ = read_site(file).iec104()
    assert [row.name for row in centre.config.rows] == ["R/q"]


def test_a_centre_has_a_point_that_tells_of_lost_events(site):
    (centre,), _ = read_site(site(OVERFLOW)).iec104()
    assert centre.config.overflow == "flisr/a.EvtLost"
    (row,) = [row for row in centre.config.rows if row.name == centre.config.overflow]
    assert (row.CA, row.IOA, row.typeID, row.cdc) == (3, 9, TypeID.M_SP_TB_1, "SPS")


def test_a_site_may_have_no_agents_and_no_scd(tmp_path):
    file = tmp_path / "site.toml"
    file.write_text(ALONE + CENTRE.replace("F1Q1*/CSWI1.Pos", "*") + RTU + POINT.replace('"p"', '"R/p"'))
    read = read_site(file)
    (centre,), (rtu,) = read.iec104()
    assert (read.agents, read.network.switches) == ({}, ())
    assert [(row.name, row.CA, row.IOA) for row in centre.config.rows] == [("R/p", 1, 20001)]
    assert [point.rule.name for point in rtu.config.points] == ["R/p"]


def test_each_value_of_an_enumeration_may_have_an_object_of_its_own(site):
    values = "".join(
        f'[[rtu.point]]\nname = "R/LLN0.Beh"\ncdc = "ENS"\ntypeID = 30\nIOA = {n}\nexpectedValue = {n}\n'
        for n in (1, 2)
    )
    (centre,), (rtu,) = read_site(site(CENTRE.replace("F1Q1*/CSWI1.Pos", "R/*") + RTU + values)).iec104()
    assert rtu.config.problems() == []
    assert [(row.name, row.typeID) for row in centre.config.rows] == [("R/LLN0.Beh", TypeID.M_ME_TE_1)]


def test_a_damaged_file_of_addresses_is_named(site):
    file = site(CENTRE + 'assigned = "a.csv"\n')
    (file.parent / "a.csv").write_text("nonsense", encoding="utf-8")
    assert re.match(r"centre\[1\]\.assigned: .*a\.csv:1: no file of assigned addresses", problems(file)[0])


def test_hosts():
    assert split_host("h", 1) == ("h", 1)
    assert split_host("h:2", 1) == ("h", 2)
    assert split_host("[::1]:3", 1) == ("::1", 3)
    assert split_host("[::1]", 1) == ("::1", 1)
    for bad in ("", ":1", "h:", "h:x", "h:70000", "::1", "a:b:1"):
        with pytest.raises(ValueError, match="expected HOST"):
            split_host(bad, 1)
