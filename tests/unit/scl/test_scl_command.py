"""``flisr scl``: what its commands write, print and answer to the shell."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest

from scl.generate import generate_icd
from scl.reader import read
from scl.topology import primary_network
from tools import cli

# In a test it takes a run without explicit tokens for a mistake; here sys.argv is what is tested.

SAMPLES = files("scl") / "samples"


@pytest.fixture
def flisr(monkeypatch, capsys):
    """Run the command line; gives exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flisr", "scl", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code
        else:
            status = 0
        return int(status or 0), *capsys.readouterr()

    return run


@pytest.fixture
def sample(tmp_path):
    for name in ("two_source.scd", "two_source.toml"):
        shutil.copy(str(SAMPLES / name), tmp_path)
    return tmp_path / "two_source.scd"


def test_generate_then_check(flisr, tmp_path):
    path = tmp_path / "grid.scd"
    options = ("--feeders", 3, "--switches", 3, "--laterals", 1, "--ties", 1, "--ders", 1, "--json")
    status, out, _ = flisr("generate", path, *options)
    assert status == 0
    result = json.loads(out)
    assert result["switches"] == 3 * (3 + 1 + 1) + 3
    assert len(primary_network(read(path)).switches) == result["switches"]
    status, out, _ = flisr("check", path, "--site", tmp_path / "grid.toml")
    assert status == 0
    assert out == f"{path}: 0 errors, 0 warnings\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "x.txt"), "expected a name that ends in .scd"),
        (("generate", "x.scd", "--ties", 9), "9 ties between neighbours with 4 sections each"),
        (("generate", "a b.scd"), "network 'a b'"),
        (("check", "none.scd"), "none.scd: cannot be read: No such file"),
        (("show", "none.scd"), "none.scd: cannot be read: No such file"),
    ],
)
def test_arguments_that_cannot_be_used(flisr, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = flisr(*arguments)
    assert status == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_site_file_that_is_none(flisr, sample, tmp_path):
    site = tmp_path / "bad.toml"
    site.write_text("[switch.x]\nnormal = 1\nrating", encoding="utf-8")
    status, _, err = flisr("check", sample, "--site", site)
    assert status == 2
    assert "bad.toml: no site file" in err


def test_check_tells_place_and_status(flisr, sample):
    text = sample.read_text(encoding="utf-8")
    sample.write_text(text.replace('datSet="slow"', 'datSet="slo"', 1), encoding="utf-8")
    line = text[: text.index('datSet="slow"')].count("\n") + 1
    status, out, _ = flisr("check", sample)
    assert status == 1
    assert f"{sample}:{line}: error data-set-missing: LLN0 has no data set 'slo'" in out
    status, out, _ = flisr("check", sample, "--json")
    assert status == 1
    result = json.loads(out)
    assert result["errors"] == len(result["findings"])
    assert {finding["line"] for finding in result["findings"]} == {line}


def test_check_against_a_copy(flisr, sample, tmp_path):
    copy = tmp_path / "copy.cid"
    text = sample.read_text(encoding="utf-8")
    copy.write_text(text.replace('confRev="2"', 'confRev="9"', 1), encoding="utf-8")
    status, out, _ = flisr("check", sample, "--against", copy)
    assert status == 1
    assert "gcbFast of F1Q1 has confRev 9 here, 2 in" in out


def test_icd(flisr, tmp_path):
    status, out, _ = flisr("icd", "--kind", "load_break")
    assert (status, out) == (0, generate_icd("load_break"))
    flisr("icd", "--out", tmp_path / "a.icd")
    assert (tmp_path / "a.icd").read_text(encoding="utf-8") == generate_icd("breaker")


def test_show(flisr, sample):
    status, out, _ = flisr("show", sample, "--json")
    assert status == 0
    content = json.loads(out)
    assert list(content["ieds"]) == [ied.name for ied in read(sample).ieds]
    agent = content["ieds"]["F1Q1"]
    assert agent["ldevices"]["P1 FLISR"]["goose"]["gcbFast"]["mac"] == "01-0C-CD-01-00-02"
    assert len(agent["inputs"]["streams"]) == 18
    status, out, _ = flisr("show", sample)
    assert status == 0
    assert "gocbRef: F1Q1FLISR/LLN0$GO$gcbFast" in out


def test_show_tells_what_cannot_be_resolved(flisr, sample):
    text = sample.read_text(encoding="utf-8")
    sample.write_text(text.replace("01-0C-CD-01-00-02", "01-0C-CD", 1), encoding="utf-8")
    content = json.loads(flisr("show", sample, "--json")[1])
    assert "MAC-Address '01-0C-CD'" in content["ieds"]["F1Q1"]["ldevices"]["P1 FLISR"]["goose"]["gcbFast"]["error"]
    assert "MAC-Address" in content["ieds"]["T9"]["inputs"]["error"]


@pytest.mark.parametrize("with_site", [True, False])
def test_topology(flisr, sample, tmp_path, with_site):
    site = ("--site", tmp_path / "two_source.toml") if with_site else ()
    svg = tmp_path / "net.svg"
    status, out, _ = flisr("topology", sample, *site, "--svg", svg, "--json")
    assert status == 0
    content = json.loads(out)
    assert [each["ied"] for each in content["switches"] if each["normal"] == "open"] == ["T9", "T10"]
    assert content["switches"][1]["sections"] == ["F1/S1", "F1/S2"]
    assert {each["name"] for each in content["sections"] if each["source"]} == {
        "ALPHA/V20/BB/N1",
        "BRAVO/V20/BB/N1",
    }
    drawn = "".join(ET.fromstring(svg.read_text(encoding="utf-8")).itertext())
    assert all(each["ied"] in drawn for each in content["switches"])
    status, out, _ = flisr("topology", sample, *site)
    assert status == 0
    assert all(each["name"] in out for each in content["sections"])


def test_topology_without_agents(flisr, tmp_path):
    path = tmp_path / "a.icd"
    path.write_text(generate_icd("breaker"), encoding="utf-8")
    status, _, err = flisr("topology", path)
    assert status == 2
    assert "no switch with an agent" in err
