"""The point list of every SCL file of the corpus: a list or located errors, the same again and in any order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.points.assigned import format_assigned, parse_assigned
from gateway.points.mapping import Control, Monitor
from gateway.points.point_list import Selection, point_list
from gateway.points.table import PointTable
from scl.document import SclError
from scl.reader import load, parse_all

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = Selection(housekeeping=True, settings=True)


@pytest.fixture(scope="module")
def files(corpus: Path):
    """Every file that is SCL, as far as it can be read."""
    found = {}
    for path in sorted(path for path in (corpus / "scl").rglob("*") if path.is_file()):
        name = path.relative_to(corpus / "scl").as_posix()
        try:
            found[name] = parse_all(load(path), name)[0]
        except SclError:  # located, as test_scl_corpus.py shows
            continue
    assert len(found) == 174
    return found


def test_every_file_gives_a_list_or_located_errors(files):
    rows = controls = with_problems = empty = 0
    cdcs: Counter[str] = Counter()
    for name, scl in files.items():
        found = point_list(scl, selection=EVERYTHING)
        for place in (*found.problems, *found.notes):
            assert place.file == name
            assert place.line > 0
            assert place.path.startswith("/")
        with_problems += bool(found.problems)
        rows += len(found.rows)
        controls += sum(row.control for row in found.rows)
        cdcs.update(row.cdc for row in found.rows)
        # Everything in it works: addresses differ, each has a mapping, the table takes all points.
        assert len({(row.CA, row.IOA) for row in found.rows}) == len(found.rows)
        assert all(0 < row.CA < 0xFFFF and 0 < row.IOA < 1 << 16 for row in found.rows)
        for row in found.rows:
            (Control if row.control else Monitor)(row.rule)
        assert len(PointTable(found.points())) == len({row.name for row in found.rows})
        empty += not found.rows and not found.problems and any(True for ied in scl.ieds for _ in ied.ldevices())
    assert rows > 7_000
    assert controls > 1_000
    # All classes of 80-1 that a logical node of the corpus uses; the others stand only in types.
    assert set(cdcs) == {
        "ACD", "ACT", "ASG", "CMV", "DPC", "ENC", "ENS", "INC", "ING", "INS", "MV", "SPC", "SPG", "SPS",
    }  # fmt: skip
    # Logical nodes and data objects whose types are not in the file; in one a logical node stands twice.
    assert with_problems == 23
    # Looked at one by one: test files whose types have names but no values.
    assert empty == 13


def test_lists_are_the_same_again_and_in_any_order_of_ieds(files):
    for scl in files.values():
        first = point_list(scl)
        again = point_list(scl)
        assert again.rows == first.rows
        assert [str(problem) for problem in again.problems] == [str(problem) for problem in first.problems]
        ieds = list(scl.ieds)
        if first.problems or len(ieds) < 2:
            continue
        random.Random(len(ieds)).shuffle(ieds)
        assert point_list(replace(scl, ieds=tuple(ieds))).rows == first.rows


def test_with_the_file_no_address_moves_when_ieds_come_back_one_by_one(files):
    for scl in files.values():
        ieds = list(scl.ieds)
        if not 1 < len(ieds) < 40:
            continue
        random.Random(len(ieds)).shuffle(ieds)
        assigned = []
        known: dict[str, tuple[int, int]] = {}
        for count in range(1, len(ieds) + 1):
            found = point_list(replace(scl, ieds=tuple(ieds[:count])), assigned=assigned)
            places = {row.object: (row.CA, row.IOA) for row in found.rows}
            assert {name: places.get(name) for name in known} == known
            assert found.assigned[: len(assigned)] == assigned
            known, assigned = places, parse_assigned(format_assigned(found.assigned))
