"""The site file: the sample resolves; all that is wrong is named by file, path and expectation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scl
from gateway.site import SiteError, read_site
from ied_agents.dflisr.feeder import SharedElement
from ied_agents.runtime.access import Access

SAMPLES = Path(scl.__file__).parent / "samples"


@pytest.fixture
def folder(tmp_path):
    for name in ("two_source.toml", "two_source.scd"):
        (tmp_path / name).write_bytes((SAMPLES / name).read_bytes())
    return tmp_path


def edit(folder, name, *changes):
    """Replace text in a copy; each text must be there, ``None`` as count means every one of them."""
    file = folder / name
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text, encoding="utf-8")


def problems_of(folder, name="two_source.toml"):
    with pytest.raises(SiteError) as refused:
        read_site(folder / name)
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


# -- the sample ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample():
    return read_site(SAMPLES / "two_source.toml")


def test_the_shipped_sample_has_an_agent_for_each_of_its_ten_switches(sample):
    assert sample.name == "two_source"
    assert [agent.ied for agent in sample.agents.values()] == [
        *("F1Q1", "F1L2", "F1R3", "F1L4", "F2Q5", "F2L6", "F2R7", "F2L8", "T9", "T10")
    ]
    assert list(sample.agents) == list(range(1, 11))


def test_an_agent_is_told_what_scd_and_site_file_say_of_its_switch(sample):
    switch = sample.agents[1].config.feeder.by_number[1]
    assert (switch.name, switch.breaker, switch.normally_closed) == ("ALPHA/V20/F1/Q1", True, True)
    assert (switch.rating_a, switch.breaking_a) == (400.0, 16000.0)
    assert (switch.trip_delay_s, switch.operating_time_s) == (0.3, 0.05)
    tie = sample.agents[9].config.feeder.by_number[9]
    assert (tie.breaker, tie.normally_closed, tie.trip_delay_s) == (False, False, 0.0)
    assert sample.agents[9].config.detection_time_s == 0.003


def test_an_agent_publishes_on_the_addresses_of_the_scd(sample):
    own = sample.agents[1].own
    assert (own.fast.gocbRef, own.fast.datSet) == ("F1Q1FLISR/LLN0$GO$gcbFast", "F1Q1FLISR/LLN0$fast")
    assert (own.fast.mac, own.fast.appid, own.fast.vlan_priority) == ("010ccd010002", 0x8001, 4)
    assert (own.fast.min_time_ms, own.fast.max_time_ms) == (4, 1000)
    assert own.slow.gocbRef == "F1Q1FLISR/LLN0$GO$gcbSlow"
    assert own.slow.entries == 7
    streams = [s for agent in sample.agents.values() for s in (agent.own.fast, agent.own.slow)]
    assert len({(stream.mac, stream.appid) for stream in streams}) == 20


def test_subscriptions_point_at_what_the_others_publish(sample):
    for number, agent in sample.agents.items():
        assert number not in agent.peers
        assert agent.config.subscribed == frozenset(agent.peers)
        for peer, streams in agent.peers.items():
            assert streams == sample.agents[peer].own


def test_each_agent_hears_its_feeder_its_ties_and_the_feeder_behind_them(sample):
    for agent in sample.agents.values():
        assert len(agent.peers) == 9


def test_the_plant_gets_the_loads_and_normal_positions_of_the_site_file(sample):
    plant = sample.plant()
    loads = {section.name: section.load_a for section in plant.sections if not section.is_source}
    assert loads == {
        "F1/S1": 30.0,
        "F1/S2": 50.0,
        "F1/S3": 35.0,
        "F1/S4": 25.0,
        "F2/S1": 20.0,
        "F2/S2": 45.0,
        "F2/S3": 40.0,
        "F2/S4": 30.0,
    }
    assert [switch.number for switch in plant.switches if not switch.closed] == [9, 10]
    assert sum(section.is_source for section in plant.sections) == 2


def test_what_the_site_file_does_not_say_is_off(folder):
    edit(folder, "two_source.toml", ("load_a = 30.0\ncustomers = 90\npriority = 1\n", "load_a = 30.0\n"))
    site = read_site(folder / "two_source.toml")
    config = site.agents[1].config
    assert (config.shadow, config.pickup_factor, config.feeder.shared) == (False, 1.0, ())
    switch = config.feeder.by_number[1]
    assert (switch.shots, switch.transfer_after_s, switch.paralleling) == ((), 0.0, False)
    assert {s.name: s.priority for s in config.feeder.sections}["F1/S1"] == 0
    assert not any(section.infeed or section.generation_a for section in site.plant().sections)


# -- what a site may say besides -----------------------------------------------------------------------------

SHARED = """\
[shared."T1"]
rating_a = 500.0
heads = ["BRAVO/V20/F2/Q5", "ALPHA/V20/F1/Q1"]
"""


def test_every_agent_is_told_what_else_the_site_file_says(folder):
    edit(
        folder,
        "two_source.toml",
        ("detection_time_ms = 3.0", "detection_time_ms = 3.0\nshadow = true\npickup_factor = 1.5"),
        (Q1, SHARED + Q1 + "shots_ms = [300.0, 15000.0]\ntransfer_after_ms = 1200.0\n"),
        ('[switch."F1/T9"]', '[switch."F1/T9"]\nparalleling = true'),
        ("load_a = 30.0\ncustomers = 90\npriority = 1", "load_a = 30.0\ncustomers = 90\npriority = 7"),
    )
    for agent in read_site(folder / "two_source.toml").agents.values():
        assert (agent.config.shadow, agent.config.pickup_factor) == (True, 1.5)
        feeder = agent.config.feeder
        assert {n: s.shots for n, s in feeder.by_number.items() if s.shots} == {1: (0.3, 15.0)}
        assert {n: s.transfer_after_s for n, s in feeder.by_number.items() if s.transfer_after_s} == {1: 1.2}
        assert [n for n, s in feeder.by_number.items() if s.paralleling] == [9]
        assert {s.name: s.priority for s in feeder.sections}["F1/S1"] == 7
        assert feeder.shared == (SharedElement("T1", 500.0, 5, (5, 1)),), "the owner is the first head"


def test_every_agent_is_told_who_may_do_what(folder):
    edit(folder, "two_source.toml", (Q1, '[access]\noperate = ["anna", "@shift"]\ntag = ["@crews"]\n' + Q1))
    for agent in read_site(folder / "two_source.toml").agents.values():
        assert agent.access == Access(operate=("anna", "@shift"), tag=("@crews",))


def test_generation_of_a_section_is_an_infeed_only_where_the_site_says_so(folder):
    edit(
        folder,
        "two_source.toml",
        ("load_a = 30.0", "load_a = 30.0\ngeneration_a = 12.0\ninfeed = true"),
        ("load_a = 50.0", "load_a = 50.0\ngeneration_a = 7.0"),
    )
    sections = read_site(folder / "two_source.toml").plant().sections
    told = {section.name: (section.generation_a, section.infeed) for section in sections if section.generation_a}
    assert told == {"F1/S1": (12.0, True), "F1/S2": (7.0, False)}


# -- broken site files ---------------------------------------------------------------------------------------

Q1 = """\
[switch."ALPHA/V20/F1/Q1"]
normal = "closed"
rating_a = 400.0
breaking_a = 16000.0
trip_delay_ms = 300.0
"""
Q1_PATH = r'switch\."ALPHA/V20/F1/Q1"'
# name: text replaced, by what, and what the one error must say after the file's name
BROKEN = {
    "no TOML": ("[site]", "[site", "no TOML"),
    "unknown table": ("[site]", "[cite]\n[site]", "cite: Extra inputs are not permitted"),
    "unknown member": ('name = "two_source"', 'nam = 1\nname = "two_source"', "site.nam: Extra inputs"),
    "missing name": ('name = "two_source"\n', "", "site.name: Field required"),
    "missing scd": ('scd = "two_source.scd"\n', "", "site.scd: missing; the file has switches"),
    "name of wrong type": ('name = "two_source"', "name = 5", "site.name: Input should be a valid string"),
    "detection time 0": (
        "detection_time_ms = 3.0",
        "detection_time_ms = 0.0",
        "site.detection_time_ms: Input should be greater than 0",
    ),
    "detection time not a number": (
        "detection_time_ms = 3.0",
        "detection_time_ms = nan",
        "site.detection_time_ms: Input should be",
    ),
    "rating infinite": (Q1, Q1.replace("400.0", "inf"), Q1_PATH + r"\.rating_a: Input should be"),
    "pickup factor below 1": (
        "detection_time_ms = 3.0",
        "pickup_factor = 0.9",
        "site.pickup_factor: Input should be greater than or equal to 1",
    ),
    "unknown position": (
        Q1,
        Q1.replace('"closed"', '"shut"'),
        Q1_PATH + r"\.normal: Input should be 'closed' or",
    ),
    "negative rating": (
        Q1,
        Q1.replace("400.0", "-1.0"),
        Q1_PATH + r"\.rating_a: Input should be greater than 0",
    ),
    "rating as text": (
        Q1,
        Q1.replace("400.0", '"much"'),
        Q1_PATH + r"\.rating_a: Input should be a valid number",
    ),
    "breaking capacity missing": (
        Q1,
        Q1.replace("breaking_a = 16000.0\n", ""),
        Q1_PATH + r"\.breaking_a: Field required",
    ),
    "negative delay": (
        Q1,
        Q1.replace("300.0", "-1.0"),
        Q1_PATH + r"\.trip_delay_ms: Input should be greater than or equal to 0",
    ),
    "breaker without delay": (
        Q1,
        Q1.replace("trip_delay_ms = 300.0\n", ""),
        Q1_PATH + r"\.trip_delay_ms: missing; a breaker needs its own delay, above 0",
    ),
    "load-break switch with delay": (
        '[switch."F1/L2"]',
        '[switch."F1/L2"]\ntrip_delay_ms = 100.0',
        r'switch\."F1/L2"\.trip_delay_ms: a load-break switch has none',
    ),
    "shots of a load-break switch": (
        '[switch."F1/L2"]',
        '[switch."F1/L2"]\nshots_ms = [300.0]',
        r'switch\."F1/L2"\.shots_ms: a load-break switch cannot reclose',
    ),
    "four shots": (
        Q1,
        Q1 + "shots_ms = [300.0, 300.0, 300.0, 300.0]\n",
        Q1_PATH + r"\.shots_ms: Tuple should have at most 3 items",
    ),
    "a shot without dead time": (
        Q1,
        Q1 + "shots_ms = [300.0, 0.0]\n",
        Q1_PATH + r"\.shots_ms\[2\]: Input should be greater than 0",
    ),
    "transfer before the loss": (
        Q1,
        Q1 + "transfer_after_ms = -1.0\n",
        Q1_PATH + r"\.transfer_after_ms: Input should be greater than or equal to 0",
    ),
    "paralleling as text": (
        Q1,
        Q1 + 'paralleling = "sometimes"\n',
        Q1_PATH + r"\.paralleling: Input should be a valid boolean",
    ),
    "negative priority": (
        "priority = 1",
        "priority = -1",
        r'section\."F1/S1"\.priority: Input should be greater than or equal to 0',
    ),
    "negative generation": (
        "load_a = 30.0",
        "load_a = 30.0\ngeneration_a = -1.0",
        r'section\."F1/S1"\.generation_a: Input should be greater than or equal to 0',
    ),
    "shared element with an unknown head": (
        Q1,
        SHARED.replace("F1/Q1", "F1/Q2") + Q1,
        r'shared\."T1"\.heads: two_source\.scd has no switch ALPHA/V20/F1/Q2; it has .*BRAVO/V20/F2/Q5',
    ),
    "shared element with one head": (
        Q1,
        SHARED.replace(', "ALPHA/V20/F1/Q1"', "") + Q1,
        r"shared\.T1\.heads: Tuple should have at least 2 items",
    ),
    "shared element without rating": (
        Q1,
        SHARED.replace("rating_a = 500.0\n", "") + Q1,
        r"shared\.T1\.rating_a: Field required",
    ),
    "unknown right": (Q1, '[access]\nclose = ["anna"]\n' + Q1, "access.close: Extra inputs"),
    "a user without a name": (Q1, '[access]\ntag = ["@"]\n' + Q1, r"access\.tag\[1\]: String should match"),
    "users as text": (Q1, '[access]\ntag = "anna"\n' + Q1, r"access\.tag: Input should be a valid tuple"),
    "unknown section": (
        '[section."F1/S1"]',
        '[section."F1/S9"]\n[section."F1/S1"]',
        r'section\."F1/S9": two_source\.scd has no such section; it has .*F1/S1',
    ),
    "negative load": (
        "load_a = 30.0",
        "load_a = -30.0",
        r'section\."F1/S1"\.load_a: Input should be greater than',
    ),
    "customers as fraction": (
        "customers = 90",
        "customers = 90.5",
        r'section\."F1/S1"\.customers: Input should be a valid integer',
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_one_error_is_named_by_file_path_and_expectation(folder, what):
    old, new, expected = BROKEN[what]
    edit(folder, "two_source.toml", (old, new))
    [problem] = problems_of(folder)
    assert re.match(re.escape(str(folder / "two_source.toml")) + ": " + expected, problem), problem


def test_a_switch_under_a_wrong_path_is_both_unknown_and_missing(folder):
    edit(folder, "two_source.toml", ('[switch."F1/L4"]', '[switch."F1/L5"]'))
    missing, unknown = problems_of(folder)
    assert missing == f'{folder}/two_source.toml: switch."F1/L4": missing; two_source.scd has it'
    assert unknown.startswith(f'{folder}/two_source.toml: switch."F1/L5": two_source.scd has no switch with an agent')
    assert unknown.endswith(
        "it has ALPHA/V20/F1/Q1, F1/L2, F1/R3, F1/L4, BRAVO/V20/F2/Q5, F2/L6, F2/R7, F2/L8, F1/T9, F1/T10"
    )


def test_all_errors_of_form_are_reported_at_once(folder):
    edit(
        folder,
        "two_source.toml",
        ("detection_time_ms = 3.0", "detection_time_ms = -3.0\ncolour = 1"),
        (Q1, Q1.replace("400.0", "0.0")),
        ("load_a = 30.0", "load_a = -30.0"),
    )
    problems = problems_of(folder)
    assert len(problems) == 4
    for path in ("site.detection_time_ms", "site.colour", "rating_a", "load_a"):
        assert sum(path in problem for problem in problems) == 1


def test_all_differences_from_the_scd_are_reported_at_once(folder):
    edit(
        folder,
        "two_source.toml",
        ('[switch."F1/L4"]', '[switch."F1/L5"]'),
        ('[section."F1/S1"]', '[section."F1/S9"]'),
        (Q1, Q1.replace("trip_delay_ms = 300.0\n", "")),
    )
    assert len(problems_of(folder)) == 4


@pytest.mark.parametrize("name", ["two_source.toml", "two_source.scd"])
def test_a_file_that_is_not_there_is_named(folder, name):
    (folder / name).unlink()
    [problem] = problems_of(folder)
    assert problem.startswith(f"{folder / name}: ")
    assert "No such file or directory" in problem


def test_a_site_file_in_another_encoding_is_named(folder):
    (folder / "two_source.toml").write_bytes(b"\xff\xfe[site]")
    [problem] = problems_of(folder)
    assert problem.startswith(f"{folder / 'two_source.toml'}: no TOML")


# -- broken SCD files ----------------------------------------------------------------------------------------

GSE = r'        <GSE ldInst="FLISR" cbName="gcb{}">.*?</GSE>\n'


def cut(folder, pattern, replacement=""):
    """Take the first match of a pattern out of the SCD."""
    file = folder / "two_source.scd"
    text, count = re.subn(pattern, replacement, file.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    assert count == 1
    file.write_text(text, encoding="utf-8")


def scd_problem(folder):
    [problem] = problems_of(folder)
    return problem


FAULTS_OF_SCD = {
    "no XML": "</SCL>",
    "no address": GSE.format("Fast"),
    "no control block": r'<GSEControl [^>]*name="gcbSlow".*?(/>|</GSEControl>)',
    "member missing": r'<FCDA [^>]*doName="Ld" daName="q" fc="MX"/>',
    "last member missing": r'<FCDA [^>]*doName="Spr" daName="sideB" fc="MX"/>',
}


@pytest.mark.parametrize("what", FAULTS_OF_SCD)
def test_an_error_in_the_scd_names_its_file(folder, what):
    cut(folder, FAULTS_OF_SCD[what])
    assert str(folder / "two_source.scd") in scd_problem(folder)


def test_a_scd_that_is_no_xml_is_named_with_its_line(folder):
    cut(folder, "</SCL>")
    lines = (folder / "two_source.scd").read_text(encoding="utf-8").count("\n")
    assert re.search(rf"\b({lines}|{lines + 1})\b", scd_problem(folder))


@pytest.mark.parametrize("control", ["Fast", "Slow"])
def test_a_control_block_without_address_is_named(folder, control):
    cut(folder, GSE.format(control))
    assert f"F1Q1FLISR/LLN0$GO$gcb{control}: no GSE address" in scd_problem(folder)


def test_a_missing_control_block_is_named(folder):
    cut(folder, r'<GSEControl [^>]*name="gcbSlow".*?(/>|</GSEControl>)')
    problem = scd_problem(folder)
    assert "F1Q1" in problem
    assert "gcbSlow" in problem


def test_a_data_set_without_one_member_is_named_with_the_first_deviation(folder):
    cut(folder, r'<FCDA ldInst="FLISR" lnClass="AFSR" lnInst="1" doName="Ld" daName="q" fc="MX"/>\n')
    problem = scd_problem(folder)
    assert "F1Q1FLISR/LLN0$slow: member 3" in problem
    assert "expected ('AFSR1', 'Ld', 'q', 'MX'" in problem


def test_a_data_set_in_another_order_is_named_with_the_first_deviation(folder):
    cut(
        folder,
        r'(<FCDA [^>]*daName="sideA" fc="MX"/>)(\s*)(<FCDA [^>]*daName="sideB" fc="MX"/>)',
        r"\3\2\1",
    )
    assert "F1Q1FLISR/LLN0$slow: member 6" in scd_problem(folder)


def test_a_data_set_cut_short_is_named_with_both_lengths(folder):
    cut(folder, r'<FCDA [^>]*doName="Spr" daName="sideB" fc="MX"/>\n')
    assert "F1Q1FLISR/LLN0$slow: 6 members, expected 7" in scd_problem(folder)


def test_a_control_block_without_fixed_lengths_is_named(folder):
    cut(folder, r'(<GSEControl [^>]*) fixedOffs="true"', r"\1")
    problem = scd_problem(folder)
    assert "fixedOffs is not true" in problem
    assert "F1Q1FLISR/LLN0$GO$gcbFast" in problem


@pytest.mark.parametrize("control", ["gcbFast", "gcbSlow"])
def test_a_peer_that_is_subscribed_by_half_is_left_out(folder, control):
    cut(folder, rf'<ExtRef iedName="F1L2" [^>]*srcCBName="{control}"/>\n')  # the first: in the inputs of F1Q1
    site = read_site(folder / "two_source.toml")
    assert set(site.agents[1].peers) == set(range(1, 11)) - {1, 2}
    assert site.agents[1].config.subscribed == frozenset(site.agents[1].peers)
    assert 2 in site.agents[3].peers
