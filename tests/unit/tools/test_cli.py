"""The console command as a whole."""

import importlib.metadata
import subprocess
import sys

import pytest

from tools import cli


def flisr(*arguments):
    return subprocess.run([sys.executable, "-m", "tools.cli", *arguments], capture_output=True, text=True, check=False)


def test_help_names_the_commands():
    result = flisr("--help")
    assert result.returncode == 0
    assert {"demo", "scl", "campaign"} <= set(result.stdout.split())


def test_it_says_its_version():
    assert flisr("--version").stdout.split() == ["flisr", importlib.metadata.version("flisr")]


def test_help_imports_no_command():
    program = "import sys; from tools import cli; cli.app.help_print(); print(sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = result.stdout.splitlines()[-1]
    assert "tools.cli" in modules
    assert not [name for name in ("lxml", "pydantic", "pyroute2", "ied_agents", "'scl'") if name in modules]


class OurError(Exception):
    pass


OurError.__module__ = "scl.errors"


@pytest.mark.parametrize("error", [OurError("line 7: no IED"), FileNotFoundError("line 7: no IED")])
def test_error_for_the_user_is_one_line(error, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "flisr: line 7: no IED\n"


def test_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "app", lambda _: {}["missing"])
    with pytest.raises(KeyError):
        cli.main()
