"""IEDs of a site file: how they are followed, and all that is wrong is located."""

from __future__ import annotations

import subprocess
import sys

import foreign_ied
import pytest

from gateway.adapters.mms_plan import plan
from gateway.points.point_list import point_list
from gateway.site import SiteError, read_site
from scl.reader import parse

HEAD = '[site]\nname = "s"\nscd = "s.scd"\n'
IED = '[[ied]]\nname = "REL1"\nhost = "192.0.2.7:1102"\n'
CENTRE = '[[centre]]\nname = "a"\nlisten = "127.0.0.1"\nport = 0\n'
ADDRESS = """<Communication><SubNetwork name="W"><ConnectedAP iedName="REL1" apName="P1"><Address>
<P type="IP">192.0.2.9</P></Address></ConnectedAP></SubNetwork></Communication><IED """


@pytest.fixture
def site(tmp_path):
    def write(more, scd=foreign_ied.scd()):  # noqa: B008 - it is not changed
        (tmp_path / "s.scd").write_text(scd)
        file = tmp_path / "s.toml"
        file.write_text(HEAD + more)
        return file

    return write


def problems(file):
    with pytest.raises(SiteError) as said:
        read_site(file).mms()
    return [problem.removeprefix(f"{file}: ") for problem in said.value.problems]


def test_an_IED_of_the_SCD_is_followed_where_the_site_file_or_the_SCD_says(site):
    (ied,) = read_site(site(IED + "poll_s = 2.0\ntimeout_s = 3.0\n")).mms()
    assert (ied.name, ied.host, ied.port, ied.poll_s, ied.timeout_s) == ("REL1", "192.0.2.7", 1102, 2.0, 3.0)
    assert len(ied.points) == 43
    assert ied.controls["REL1LD0/CSWI1.Pos"] is True
    assert ied.controls["REL1LD0/CSWI2.Pos"] is False
    text = '[[ied]]\nname = "REL1"\n'
    (ied,) = read_site(site(text, foreign_ied.scd().replace("<IED ", ADDRESS, 1))).mms()
    assert (ied.host, ied.port) == ("192.0.2.9", 102)


def test_what_only_a_control_centre_wants_is_followed_too(site):
    (plain,) = read_site(site(IED)).mms()
    (more,) = read_site(site(IED + CENTRE + "points = { housekeeping = true }\n")).mms()
    assert {each.name for each in more.points} >= {each.name for each in plain.points}


def test_all_that_is_wrong_is_said_with_its_place(site):
    text = (
        IED
        + '[[ied]]\nname = "REL1"\n'
        + '[[ied]]\nname = "REL9"\n'
        + IED.replace("REL1", "REL1").replace("192.0.2.7:1102", "h:x")
        + CENTRE.replace('"a"', '"b"').replace("port = 0\n", 'port = 0\ncertificates = ["c"]\n')
    )
    assert problems(site(text)) == [
        "centre[1].certificates: only with tls: without it nobody shows one",
        "ied[2].name: REL1 is ied[1] too",
        "ied[2].host: missing; the SCD has no IP address of REL1",
        "ied[3].name: the SCD has no IED REL9; it has REL1",
        "ied[4].name: REL1 is ied[1] too",
        "ied[4].name: REL1 is ied[2] too",
        "ied[4].host: 'h:x'; expected HOST, HOST:PORT or [ADDRESS]:PORT",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("poll_s = 0", "ied[1].poll_s: Input should be greater than 0"),
        ("timeout_s = 9", "ied[1].timeout_s: Input should be less than or equal to 8"),
        ("pol_s = 1", "ied[1].pol_s: Extra inputs are not permitted"),
    ],
)
def test_what_an_IED_cannot_be(site, line, said):
    assert problems(site(f"{IED}{line}\n")) == [said]


# -- the plan ---------------------------------------------------------------------------------------------------------


def planned(scd):
    scl = parse(scd)
    return plan(scl, scl.ied("REL1"), point_list(scl, common=1).rows)


def test_blocks_are_as_few_as_will_do_and_buffered_ones_first():
    made = planned(foreign_ied.scd())
    assert [(each.candidates[0].rpartition(".")[2], each.buffered) for each in made.blocks] == [
        ("brcbcount01", True),
        ("brcbstatus01", True),
        ("brcbparts01", True),
        ("urcbmeasured01", False),
    ]
    sets = {**foreign_ied.SETS, "all": foreign_ied.SETS["status"] + foreign_ied.SETS["measured"]}
    made = planned(foreign_ied.scd(sets=sets, blocks={**foreign_ied.BLOCKS, "all": True}))
    assert [each.candidates[0].rpartition(".")[2] for each in made.blocks] == [
        "brcbcount01",
        "brcball01",
        "brcbparts01",
    ]


def test_a_data_set_without_the_quality_does_not_tell_a_point():
    sets = {**foreign_ied.SETS, "parts": ["GGIO3.Ind1.stVal[ST]"]}
    assert not any("parts" in each.candidates[0] for each in planned(foreign_ied.scd(sets=sets)).blocks)


def test_an_integer_measurand_is_scaled_as_the_file_says():
    (point,) = [each for each in planned(foreign_ied.scd()).points if each.name.endswith("GGIO4.AnIn1")]
    assert (point.leaves, point.scale, point.offset) == (("mag.i", "q", "t"), 0.5, 100.0)


def test_the_gateway_loads_nothing_foreign():
    code = (
        "import gateway.app, gateway.adapters.mms_process, sys;"
        "print([name for name in sys.modules if 'iec61850' in name and 'ied_agents.iec61850' not in name"
        " or name in ('ied_agents.mms.library', 'ied_agents.mms.client', 'ied_agents.mms.worker')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
