"""Who may ask a running agent for what: other users of the machine, told by the kernel."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scl
from ied_agents.runtime.access import Access, Gatekeeper
from ied_agents.runtime.journal import read_journal
from ied_agents.runtime.operator_client import ask
from tools.lab import HOST_INTERFACE

SAMPLES = Path(scl.__file__).parent / "samples"
OTHER, CREW = "nobody", "games"
PATIENCE_S = 15.0
ASK = """
import json, os, sys
from pathlib import Path
from ied_agents.runtime.operator_client import AgentSilentError, ask
os.setgroups([])
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[3]))
try:
    print(os.getpid(), json.dumps(ask(Path(sys.argv[1]), json.loads(sys.argv[2]))))
except AgentSilentError as error:
    print(os.getpid(), json.dumps({"silent": str(error)}))
"""
EVERYTHING = {
    "operate": [
        {"request": "close"},
        {"request": "open"},
        {"request": "check", "operation": "close"},
        {"request": "mode", "mode": "blocked"},
        {"request": "sim", "sim": False},
        {"request": "authority", "authority": "local"},
        {"request": "restore", "side": "A", "epoch": 1},
    ],
    "tag": [{"request": "tag", "owner": "crew 7", "tags": 1}],
    "unlock": [{"request": "confirm"}, {"request": "unlock", "event": [1, 5]}, {"request": "return", "event": [1, 5]}],
}


@pytest.fixture
def start(make_lab, tmp_path_factory, require):
    """``start("operate = [...]")``: an agent with such an ``[access]``, of root's group; returns its folder."""
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
        for folder in (root, *root.parents[:2]):
            folder.chmod(0o711)
        return root / "T9"

    yield run
    for child in children:
        child.kill()
        child.communicate()


def asked_by(user, folder, request, gid=0):
    uid = pwd.getpwnam(user).pw_uid
    command = [sys.executable, "-P", "-c", ASK, str(folder / "operator"), json.dumps(request), str(uid), str(gid)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    pid, said = run.stdout.split(maxsplit=1)
    return {**json.loads(said), "pid": int(pid)}


def asked_by_other(folder, request):
    return asked_by(OTHER, folder, request)


def on_record(folder, count):
    """The first operators' requests in the journal, which is written behind time."""
    deadline = time.monotonic() + PATIENCE_S
    said = []
    while len(said) < count:
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
        if (folder / "journal.jsonl").exists():
            said = [entry for entry in read_journal(folder / "journal.jsonl") if entry["kind"] == "operator"]
    return said


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
    tag, confirm = {"request": "tag", "owner": "crew 7", "tags": 1}, {"request": "confirm"}
    first, second = asked_by_other(folder, tag), asked_by_other(folder, confirm)
    assert first["done"]
    assert "may not unlock" in second["why"]
    asked_by_other(folder, {"request": "status"})
    asked_by_other(folder, {"request": "check", "operation": "open"})
    said = [(e["user"], e["uid"], e["pid"], json.loads(e["request"]), e["done"]) for e in on_record(folder, 2)]
    uid = pwd.getpwnam(OTHER).pw_uid
    assert said == [(OTHER, uid, first["pid"], tag, True), (OTHER, uid, second["pid"], confirm, False)]


def test_a_user_who_may_unlock_may_not_operate(start):
    folder = start(f'unlock = ["{OTHER}"]')
    assert asked_by_other(folder, {"request": "confirm"})["done"]
    assert "may not operate" in asked_by_other(folder, {"request": "open"})["why"]
    assert "may not operate" in asked_by_other(folder, {"request": "return", "event": [1, 5]})["why"]


def test_a_group_may_tag_and_nothing_else(start):
    folder = start(f'tag = ["@{CREW}"]')
    assert asked_by(CREW, folder, {"request": "tag", "owner": "crew 7", "tags": 1})["done"]
    assert "may not operate" in asked_by(CREW, folder, {"request": "open"})["why"]
    assert "may not tag" in asked_by(OTHER, folder, {"request": "tag", "owner": "crew 7", "tags": 0})["why"]
    assert [(e["user"], e["done"]) for e in on_record(folder, 3)] == [(CREW, True), (CREW, False), (OTHER, False)]


def test_who_is_not_in_the_agents_group_does_not_get_there(start):
    said = asked_by(OTHER, start(f'operate = ["{OTHER}"]'), {"request": "status"}, gid=pwd.getpwnam(OTHER).pw_gid)
    assert "this user may not ask it" in said["silent"]


def test_sockets_and_folders_are_for_whom_they_are_for(start):
    folder = start("")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes["T9"] == 0o750
    assert (modes["operator"], modes["inputs"], modes["operator.answers"]) == (0o660, 0o600, 0o1730)
    ask(folder / "operator", {"request": "status"})
    assert list((folder / "operator.answers").iterdir()) == []


def test_what_a_killed_asker_left_is_gone_with_the_next_start(start, make_lab):
    folder = start("")
    left = folder / "operator.answers" / "4711.aabbccdd"
    left.touch()
    running = json.loads((folder / "settings.json").read_text())
    running["state"] += ".other"
    (folder / "settings.json").write_text(json.dumps(running))
    words = [sys.executable, "-P", "-m", "ied_agents.runtime.agent_process", str(folder / "settings.json")]
    again = make_lab("again").spawn("again", words, stdout=subprocess.PIPE)
    try:
        assert again.stdout.readline()
        assert not left.exists()
    finally:
        again.kill()
        again.communicate()


def test_a_user_that_is_not_there_is_named_and_the_agent_works_for_the_others(start):
    folder = start(f'operate = ["nobody-at-all", "{OTHER}"]')
    assert asked_by_other(folder, {"request": "mode", "mode": "blocked"})["done"]
    on_record(folder, 1)
    (started,) = (e for e in read_journal(folder / "journal.jsonl") if e["kind"] == "started")
    assert "access: there is no user 'nobody-at-all' on this machine" in started["refused"]


def test_the_own_user_and_root_may_everything_and_who_is_not_known_nothing():
    gatekeeper = Gatekeeper(Access())
    for request in ("open", "unlock"):
        assert gatekeeper.refuse(request, 0) == gatekeeper.refuse(request, os.getuid()) == ""
        assert "nobody known may not" in gatekeeper.refuse(request, None)
    for request in ("status", "check", "no such request", None, 5, []):
        assert gatekeeper.refuse(request, None) == ""
