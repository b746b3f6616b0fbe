"""What all tests share: the corpus, laboratory networks, one rule for what a machine lacks."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from histories import postgresql as postgresql_server

from tools.lab import Lab, LabUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from histories import PostgreSQL

# No deadline: the machine is shared, and time is measured elsewhere. Not derandomized, not even in CI: each
# run tries other examples, and the seed in pytest's header repeats it.
hypothesis.settings.register_profile("flisr", deadline=None, print_blob=True)
hypothesis.settings.load_profile("flisr")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads the option
def pytest_configure(config: pytest.Config) -> None:
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = random.SystemRandom().getrandbits(32)


def pytest_report_header(config: pytest.Config) -> str:
    return f"Using --hypothesis-seed={config.option.hypothesis_seed}"


def _require(condition: object, reason: str) -> None:
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def require() -> Callable[[object, str], None]:
    """``require(condition, reason)``: skip the test where the machine lacks something, but fail it in CI."""
    return _require


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of foreign input files."""
    default = Path(__file__).resolve().parents[2] / "shared" / "corpus"
    folder = Path(os.environ.get("FLISR_CORPUS", default))
    _require(folder.is_dir(), f"no corpus at {folder}; FLISR_CORPUS names its folder")
    return folder


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """``make_lab("a", "b", lans=1)``: a laboratory network with hosts of these names, taken down after the test."""
    with contextlib.ExitStack() as labs:

        def make(*host_names: str, lans: int = 1) -> Lab:
            try:
                return labs.enter_context(Lab.open(host_names, lans))
            except LabUnavailable as obstacle:
                _require(condition=False, reason=str(obstacle))
                raise

        yield make


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of the tests' own."""
    with postgresql_server(_require) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new()
