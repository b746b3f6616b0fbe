"""Who may ask a running agent for what: another user of the machine, told by the kernel."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scl
from ied_agents.runtime.access import Access, AccessError, Gatekeeper
from ied_agents.runtime.journal import read_journal
from tools.lab import HOST_INTERFACE

SAMPLES = Path(scl.__file__).parent / "samples"
OTHER = "nobody"
PATIENCE_S = 15.0
ASK = """
import json, os, sys
from pathlib import Path
from ied_agents.runtime.operator_client import ask
os.setgroups([])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
print(json.dumps(ask(Path(sys.argv[1]), json.loads(sys.argv[2]))))
"""
EVERYTHING = {
    "operate": [
        {"request": "close"},
        {"request": "open"},
        {"request": "tag", "owner": "crew 7", "tags": 1},
        {"request": "mode", "mode": "blocked"},
        {"request": "authority", "authority": "local"},
        {"request": "restore", "side": "A", "epoch": 1},
    ],
    "unlock": [{"request": "confirm"}, {"request": "unlock", "event": [1, 5]}, {"request": "return", "event": [1, 5]}],
}


@pytest.fixture
def start(make_lab, tmp_path_factory, require):
    """``start("operate = [...]")``: an agent with such an ``[access]``; returns its folder."""
    require(os.getuid() == 0, "only root can be somebody else")
    children = []

    def run(access):
        root = tmp_path_factory.mktemp("r")
        for file in ("two_source.scd", "two_source.toml"):
            shutil.copy(SAMPLES / file, root)
        site = root / "two_source.toml"
        site.write_text(site.read_text(encoding="utf-8") + f"\n[access]\n{access}\n", encoding="utf-8")
        command = [sys.executable, "-P", "-m", "tools.cli", "agent", "run", "--ied", "T9", "--root", str(root)]
        command += ["--scd", str(root / "two_source.scd"), "--interface", HOST_INTERFACE]
        children.append(make_lab("a9").spawn("a9", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        if children[-1].stdout.readline() == b"":
            return children[-1].communicate()[1].decode()
        for folder in (root, *root.parents[:2], root / "T9"):
            folder.chmod(0o777)
        (root / "T9" / "operator").chmod(0o666)
        return root / "T9"

    yield run
    for child in children:
        child.kill()
        child.communicate()


def asked_by_other(folder, request):
    uid = pwd.getpwnam(OTHER).pw_uid
    command = [sys.executable, "-P", "-c", ASK, str(folder / "operator"), json.dumps(request), str(uid)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_another_user_may_look_and_nothing_else(start):
    folder = start("")
    assert asked_by_other(folder, {"request": "status"})["done"]
    for right, requests in EVERYTHING.items():
        for request in requests:
            answer = asked_by_other(folder, request)
            assert answer["done"] is False
            assert f"may not {right}" in answer["why"]
            assert f"uid {pwd.getpwnam(OTHER).pw_uid}" in answer["why"]
    status = asked_by_other(folder, {"request": "status"})
    assert (status["tags"], status["mode"], status["held_until_confirmed"]) == ({}, "ON", True)


def test_a_user_has_the_right_that_the_site_file_gives_him_and_it_is_on_record(start):
    folder = start(f'operate = ["{OTHER}"]')
    assert asked_by_other(folder, {"request": "tag", "owner": "crew 7", "tags": 1})["done"]
    assert "may not unlock" in asked_by_other(folder, {"request": "confirm"})["why"]
    deadline = time.monotonic() + PATIENCE_S
    said = []
    while len(said) < 2:
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
        if not (folder / "journal.jsonl").exists():  # it is written behind time
            continue
        entries = read_journal(folder / "journal.jsonl")
        said = [(e["user"], json.loads(e["request"])["request"], e["done"]) for e in entries if e["kind"] == "operator"]
    assert said == [(OTHER, "tag", True), (OTHER, "confirm", False)]


def test_a_user_who_may_unlock_may_not_operate(start):
    folder = start(f'unlock = ["{OTHER}"]')
    assert asked_by_other(folder, {"request": "confirm"})["done"]
    assert "may not operate" in asked_by_other(folder, {"request": "open"})["why"]


def test_a_user_that_is_not_there_ends_the_start_by_name(start):
    said = start('operate = ["nobody-at-all"]')
    assert "there is no user 'nobody-at-all' on this machine" in said


def test_the_own_user_and_root_may_everything_and_who_is_not_known_nothing():
    gatekeeper = Gatekeeper(Access())
    for request in ("open", "unlock"):
        assert gatekeeper.refuse(request, 0) == gatekeeper.refuse(request, os.getuid()) == ""
        assert "nobody known may not" in gatekeeper.refuse(request, None)
    for request in ("status", "check", "no such request", None, 5, []):
        assert gatekeeper.refuse(request, None) == ""
    with pytest.raises(AccessError, match="nobody-at-all"):
        Gatekeeper(Access(unlock=("nobody-at-all",)))
