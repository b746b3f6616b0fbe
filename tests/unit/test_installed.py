"""The tests must judge what users install: the wheel, here and in every child process."""

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGES = ("gateway", "ied_agents", "scl", "tools")


@pytest.fixture(scope="module", autouse=True)
def _installed_from_a_wheel(require):
    origin = importlib.metadata.distribution("flisr").read_text("direct_url.json") or "{}"
    editable = json.loads(origin).get("dir_info", {}).get("editable", False)
    require(not editable, "flisr is installed as editable here; make test installs the wheel")


@pytest.mark.parametrize("name", PACKAGES)
def test_package_comes_from_site_packages(name):
    package = importlib.import_module(name)
    assert Path(package.__file__).parent == Path(sysconfig.get_path("purelib"), name)


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("how", [["-c"], ["-I", "-c"]])
def test_child_process_gets_it_from_site_packages(name, how):
    program = f"import {name}; print({name}.__file__)"
    child = subprocess.run([sys.executable, *how, program], capture_output=True, text=True, check=True)
    assert Path(child.stdout.strip()).parent == Path(sysconfig.get_path("purelib"), name)


def test_everything_typed_is_marked_so():
    files = {str(file) for file in importlib.metadata.files("flisr")}
    assert {f"{name}/py.typed" for name in PACKAGES} <= files


def test_console_command_is_installed():
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="flisr")
    assert callable(command.load())
