"""The conformance statements in the documentation are what the program gives, and name tests that there are."""

import re
from pathlib import Path

from tools.conformance import NAME, document, main

TESTS = Path(__file__).resolve().parents[2]


def test_the_file_in_docs_is_what_the_program_gives():
    written = (TESTS.parent / "docs" / NAME).read_text(encoding="utf-8")
    assert written == document(), "write it again: python -m tools.conformance docs"


def test_every_test_that_is_named_is_there(tmp_path):
    main(tmp_path)
    named = set(re.findall(r"`(test_\w+)`", (tmp_path / NAME).read_text(encoding="utf-8")))
    assert len(named) > 5
    assert named <= {path.stem for path in TESTS.rglob("test_*.py")}
