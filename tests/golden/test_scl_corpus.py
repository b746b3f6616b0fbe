"""Every SCL file of the corpus: read or refused with a place, counts as an independent tool found them."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from scl.document import SclError, serialise
from scl.reader import load, parse_all
from scl.streams import GooseIndex
from scl.topology import primary_network

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = {
    "ied": ("IED",),
    "gse": ("GSE",),
    "gsec": ("GSEControl",),
    "smv": ("SampledValueControl",),
    "rpt": ("ReportControl",),
    "extref": ("ExtRef",),
    "bay": ("Bay",),
    "ce": ("ConductingEquipment",),
    "ln": ("LN", "LN0"),
}
FOREIGN_ROOT = "compas-sct/sct-commons__src__test__resources__cb_comm__Template_DA_COMM_v1.xml"


@pytest.fixture(scope="module")
def facts(corpus: Path) -> list[dict[str, object]]:
    return json.loads((corpus / "facts" / "scl.json").read_text(encoding="utf-8"))


def test_counts_agree_with_the_facts(corpus, facts):
    assert len(facts) == 174
    differences = []
    for fact in facts:
        if fact["file"] == FOREIGN_ROOT:
            continue
        scl, problems = parse_all(load(corpus / "scl" / fact["file"]), fact["file"])
        raw = Counter(element.local for element in scl.element.walk())
        typed = Counter(type(node).__name__ for node in scl.walk())
        # Typed elements are those of SCL's own name space; Private may hold others of the same name.
        foreign = Counter(element.local for element in scl.element.walk() if element.namespace != scl.element.namespace)
        absent = sum("without LN0" in problem.message for problem in problems)
        for key, names in COUNTED.items():
            if sum(raw[name] for name in names) != fact[key]:
                differences.append((fact["file"], key, fact[key], raw))
            own = fact[key] - sum(foreign[name] for name in names)
            if sum(typed[name] for name in names) - (absent if key == "ln" else 0) != own:
                differences.append((fact["file"], key, own, typed))
        assert len(scl.substations) == fact["ss"]
        edition = (scl.version or "2003") + scl.revision + ("" if scl.release is None else str(scl.release))
        assert edition == fact["ver"]
        assert sorted({ied.manufacturer for ied in scl.ieds}) == fact["man"]
        assert (scl.header.toolID if scl.header else "") == (fact["tool"] or "")
    assert differences == []


def files(corpus: Path) -> list[Path]:
    return sorted(path for path in (corpus / "scl").rglob("*") if path.is_file())


def test_every_file_is_read_or_refused_with_a_place(corpus):
    refused = {}
    found = files(corpus)
    assert len(found) == 175
    for path in found:
        name = path.relative_to(corpus / "scl").as_posix()
        try:
            _, problems = parse_all(load(path), name)
        except SclError as error:
            problems = [error]
        for problem in problems:
            assert problem.file == name
            assert problem.line > 0
            assert problem.path.startswith("/")
        if problems:
            refused[name.rpartition("/")[2]] = (problems[0].line, len(problems))
    # Looked at one by one: each of these files lacks what SCL requires, most of them on purpose.
    pre = "packages__plugins__test__testfiles__"
    assert refused == {
        FOREIGN_ROOT.rpartition("/")[2]: (5, 1),
        "tools__model_generator__sampleModel_errors.icd": (20, 1),
        "packages__openscd__test__testfiles__Editing.scd": (8, 2),
        "packages__openscd__test__testfiles__valid2007B4withIEDModifications.scd": (218, 1),
        pre + "communication__move-gse-testfile.scd": (25, 1),
        pre + "editors__iedEditorWithIEDs.scd": (218, 1),
        pre + "editors__substation__Line.scd": (210, 2),
        pre + "editors__substation__TapChanger.scd": (24, 1),
        pre + "invalid2007B.scd": (8, 1),
        pre + "validators__doandsdotestfile.scd": (11, 7),
        pre + "wizards__fcda.scd": (48, 1),
        pre + "wizards__ied.scd": (346, 8),
        "tIED__insertIED__validWithMultiSubnets.iid": (334, 3),
    }


def test_read_write_read_gives_the_same_model_and_loses_nothing(corpus):
    for path in files(corpus):
        if path.name in FOREIGN_ROOT:
            continue
        scl, problems = parse_all(load(path))
        written = serialise(scl.document)
        again, problems_again = parse_all(written)
        assert again == scl
        assert len(problems_again) == len(problems)
        assert etree.tostring(etree.fromstring(written), method="c14n2") == etree.tostring(
            etree.fromstring(path.read_bytes()), method="c14n2"
        ), path


def test_streams_and_network_of_every_file_are_found_or_refused_with_a_place(corpus):
    streams = subscriptions = 0
    places: list[int] = []
    for path in files(corpus):
        if path.name in FOREIGN_ROOT:
            continue
        scl, _ = parse_all(load(path), path.name)
        index = GooseIndex(scl)
        for ied in scl.ieds:
            try:
                streams += len(index.published_by(ied.name))
                subscriptions += len(index.subscriptions(ied.name)[0])
            except SclError as error:
                places.append(error.line)
        problems: list[SclError] = []
        primary_network(scl, problems)
        places += [problem.line for problem in problems]
    assert all(line > 0 for line in places)
    assert streams > 50
    assert subscriptions > 40
