"""``flisr site init`` on the SCL files of others: what is valid and has points gives a site file that checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.run_command import check
from tools.site_command import init


@pytest.fixture
def made(tmp_path, capsys):
    """``made(files)``: the JSON documents that ``flisr site init`` prints of them."""

    def play(files):
        with pytest.raises(SystemExit):  # some of them are wrong
            init(*files, folder=tmp_path, as_json=True)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return play


def test_a_site_file_of_a_valid_scd_checks_and_of_others_the_error_is_located(corpus, made, capsys):
    by_stem = {file.stem: file for file in sorted((corpus / "scl").rglob("*.*"))}
    documents = made(by_stem.values())
    assert len(documents) == len(by_stem) > 150
    whole = [document for document in documents if not document["problems"]]
    assert len(whole) >= 80
    for document in whole:
        check(Path(document["site"]), as_json=True)
        checked = json.loads(capsys.readouterr().out)
        assert (checked["problems"], checked["points"]) == ([], document["points"])
        assert document["points"] > 0
    wrong = [document for document in documents if document["problems"]]
    for document in wrong:
        assert [problem.startswith(document["scd"]) for problem in document["problems"]] == [True], document
    nothing = [document for document in wrong if "nothing for a gateway" in document["problems"][0]]
    assert len(wrong) - len(nothing) < 20


def test_an_existing_site_file_is_left_as_it_is(tmp_path, made, corpus):
    scd = next((corpus / "scl" / "robidev").glob("open_substation.scd"))
    file = tmp_path / "open_substation.toml"
    file.write_text("mine")
    assert "exists already" in made([scd])[0]["problems"][0]
    assert file.read_text() == "mine"
