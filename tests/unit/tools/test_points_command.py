"""``flisr points``: what it prints and writes."""

import csv
import io
import json
from pathlib import Path

import pytest

import scl
from gateway.points.assigned import AssignedError, parse_assigned
from scl.document import SclError
from tools import cli
from tools.points_command import PointsCommandError

SAMPLE = Path(scl.__file__).parent / "samples" / "two_source.scd"


def points(*arguments):
    cli.app(["points", *map(str, arguments)], exit_on_error=False, print_error=False, result_action="return_value")


def test_table(capsys):
    points(SAMPLE)
    output = capsys.readouterr().out
    assert "/XCBR1.Pos.stVal" in output
    assert "31 M_DP_TB_1" in output
    assert "commands, 10 IEDs" in output.splitlines()[-2]
    assert "--assigned FILE keeps them" in output.splitlines()[-1]


def test_csv_and_json_say_the_same(capsys):
    points(SAMPLE, "--csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    points(SAMPLE, "--json")
    content = json.loads(capsys.readouterr().out)
    assert [row["object"] for row in rows] == [point["object"] for point in content["points"]]
    assert [(int(row["CA"]), int(row["IOA"])) for row in rows] == [(p["CA"], p["IOA"]) for p in content["points"]]
    assert content["problems"] == []
    assert len({(row["CA"], row["IOA"]) for row in rows}) == len(rows) > 50


def test_patterns_and_one_common_address(capsys):
    points(SAMPLE, "--json", "--include", "*/XCBR1.Pos", "--include", "*/XSWI1.Pos", "--common-address", "9")
    content = json.loads(capsys.readouterr().out)["points"]
    assert content
    assert {point["name"].partition(".")[2] for point in content} == {"Pos"}
    assert {point["CA"] for point in content} == {9}


def test_assigned_addresses_are_written_once_and_kept(tmp_path, capsys):
    file = tmp_path / "addresses.csv"
    points(SAMPLE, "--csv", "--assigned", file, "--include", "*.Pos")
    first = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    before = file.read_bytes()
    parse_assigned(before.decode())
    points(SAMPLE, "--csv", "--assigned", file)
    more = {row["object"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert all((more[row["object"]]["CA"], more[row["object"]]["IOA"]) == (row["CA"], row["IOA"]) for row in first)
    after = file.read_bytes()
    assert after.startswith(before)
    assert len(after) > len(before)
    points(SAMPLE, "--csv", "--assigned", file)
    assert file.read_bytes() == after
    assert [each.name for each in tmp_path.iterdir()] == ["addresses.csv"]


def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path, capsys):
    text = SAMPLE.read_text(encoding="utf-8")
    broken = tmp_path / "broken.scd"
    broken.write_text(
        text.replace('lnClass="XCBR" inst="1" lnType="', 'lnClass="XCBR" inst="1" lnType="no', 1), "utf-8"
    )
    with pytest.raises(SystemExit) as stop:
        points(broken, "--csv", "--assigned", tmp_path / "a.csv")
    assert stop.value.code == 1
    output = capsys.readouterr()
    assert f"error: {broken}:" in output.err
    assert output.out.count("\n") > 50
    assert not (tmp_path / "a.csv").exists()


def test_arguments_that_cannot_be(tmp_path):
    with pytest.raises(PointsCommandError, match="one of them"):
        points(SAMPLE, "--csv", "--json")
    with pytest.raises(PointsCommandError, match="65534"):
        points(SAMPLE, "--common-address", "65535")
    with pytest.raises(SclError):
        points(tmp_path / "none.scd")
    (tmp_path / "a.csv").write_bytes(b"\xff")
    with pytest.raises(AssignedError, match="UTF-8"):
        points(SAMPLE, "--assigned", tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(AssignedError):
        points(SAMPLE, "--assigned", tmp_path / "a.csv")


def test_a_centre_of_a_site_file(capsys):
    site = SAMPLE.with_name("two_source_104.toml")
    points(site, "--centre", "neighbour", "--json")
    found = json.loads(capsys.readouterr().out)["points"]
    assert {(point["CA"], point["type"]) for point in found} == {(20, "M_DP_TB_1"), (20, "C_DC_TA_1")}
    points(site, "--centre", "regional", "--csv")
    assert "1,1001,59,C_DC_TA_1,control,F1Q1FLISR/CSWI1.Pos" in capsys.readouterr().out
    for words, said in (
        ((site,), "which centre\\?; --centre: regional, neighbour"),
        ((site, "--centre", "x"), "no centre x; --centre: regional, neighbour"),
        ((site, "--centre", "regional", "--settings"), "the site file says which points"),
        ((SAMPLE, "--centre", "regional"), "is no site file"),
    ):
        with pytest.raises(PointsCommandError, match=said):
            points(*words)
